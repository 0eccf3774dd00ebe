#!/usr/bin/env bash
# What a host of a Cloud TPU VM does; launch/tpu_vm.sh copies the repository there and calls it.
# Usage, in the repository:
#   launch/tpu_host.sh setup BUCKET     installs gcsfuse, Python and the package
#   launch/tpu_host.sh run CONFIG gs://BUCKET/WORKDIR [overrides]
# The bucket is mounted at ~/buckets/BUCKET; compiled programs are kept in its folder jax_cache.
# Variables: DATA, prepared images in a bucket (gs://BUCKET/data/celeba64), which the run copies to the
# local disk first; CACHE_MB, of the local disk for what is read from the bucket
# (20000); GCSFUSE_VERSION (3.8.0), or GCSFUSE_INSTALL, a command that installs gcsfuse in another
# way; PYTHON_VERSION (3.12); VENV (~/jax3dgan_venv); DRY_RUN=1.
set -euo pipefail
# shellcheck source=launch/common.sh
source "$(dirname "$0")/common.sh"

venv=${VENV:-$HOME/jax3dgan_venv}
tools=$HOME/jax3dgan_tools # a virtual environment: later images keep pip out of their own Python

# apt-get as root; a fresh VM installs its own updates first, and for minutes keeps others out.
apt() {
  local i
  for i in {1..30}; do
    if run sudo apt-get -qq -y -o DPkg::Lock::Timeout=60 "$@"; then return; fi
    if ((i < 30)); then sleep "${RETRY_SECONDS:-10}"; fi
  done
  return 1
}

setup() {
  (($# == 1)) || usage
  if ! command -v gcsfuse >/dev/null; then
    install_gcsfuse ||
      fail 'gcsfuse could not be installed. Set GCSFUSE_INSTALL to the commands of the page' \
        '"Install Cloud Storage FUSE" in the documentation of Google Cloud.'
  fi
  # The images for v5e and v6e have Python 3.10; uv brings a later one.
  if [[ ! -x $tools/bin/uv ]]; then
    run python3 -m venv "$tools" || { apt install python3-venv && run python3 -m venv "$tools"; }
    run "$tools/bin/python" -m pip install --quiet uv
  fi
  [[ -x $venv/bin/python ]] || run "$tools/bin/uv" venv --python "${PYTHON_VERSION:-3.12}" "$venv"
  run "$tools/bin/uv" pip install --quiet --python "$venv/bin/python" -e '.[tpu]'
  huge_pages
  mount_bucket "$1"
}

install_gcsfuse() {
  if [[ ${GCSFUSE_INSTALL:-} ]]; then
    run bash -c "$GCSFUSE_INSTALL"
    return
  fi
  local version=${GCSFUSE_VERSION:-3.8.0}
  run curl --silent --show-error --fail --location --output gcsfuse.deb \
    "https://github.com/GoogleCloudPlatform/gcsfuse/releases/download/v$version/gcsfuse_${version}_amd64.deb" &&
    apt update && apt install ./gcsfuse.deb
}

# TPUs start and exchange data with their host faster with large pages of memory.
huge_pages() {
  local file=/sys/kernel/mm/transparent_hugepage/enabled
  if [[ -e $file && $(<"$file") != '[always]'* ]]; then
    run sudo bash -c "echo always >$file" || echo "Warning: $file cannot be set to always." >&2
  fi
}

# Sets `data`: the flags that make the run copy its images to the local disk, where DATA is set.
local_data() {
  local bucket path
  data=()
  if [[ ! ${DATA:-} ]]; then return; fi
  split_bucket "$DATA" DATA
  mount_bucket "$bucket"
  data=("--config.data.source=$HOME/buckets/$bucket/$path" "--config.data.local_copy=$HOME/data")
}

# Mounts bucket $1, once. Metadata is never cached: a host must see at once what another one wrote.
# What was read of a file is kept on the local disk, also where it is read in parts, as images are.
# A checkpoint becomes whole by the renaming of its folder, which gcsfuse refuses in a bucket
# without hierarchical namespace unless --rename-dir-limit allows it (and there is not atomic).
mount_bucket() {
  local folder=$HOME/buckets/$1
  if grep -qs " $folder fuse" /proc/mounts; then return; fi
  run mkdir -p "$folder"
  run gcsfuse --implicit-dirs --rename-dir-limit=100000 --metadata-cache-ttl-secs=0 \
    "--cache-dir=$HOME/gcsfuse_cache" "--file-cache-max-size-mb=${CACHE_MB:-20000}" \
    --file-cache-cache-file-for-range-read "$1" "$folder"
}

# An attribute of this VM.
metadata() {
  curl --silent --fail --header 'Metadata-Flavor: Google' \
    "http://metadata.google.internal/computeMetadata/v1/instance/attributes/$1"
}

# Sets `processes`: the flags that join the hosts of the slice, none on a single host. Endpoints
# are a list of hosts, or of name:id:address in older images (as in JAX's cloud_tpu_cluster.py).
find_processes() {
  processes=()
  local endpoints id hosts first
  if ! endpoints=$(metadata worker-network-endpoints) || ! id=$(metadata agent-worker-number); then
    fail 'This machine does not say that it is a TPU VM. Use launch/local.sh on other machines.'
  fi
  IFS=, read -ra hosts <<<"$endpoints"
  if ((${#hosts[@]} > 1)); then
    first=${hosts[0]##*:}
    processes=("--coordinator=$first:8482" "--num_processes=${#hosts[@]}" "--process_id=$id")
  fi
}

train() {
  (($# >= 2)) || usage
  local config=$1 bucket path
  split_bucket "$2"
  shift 2
  find_processes
  huge_pages
  mount_bucket "$bucket"
  local_data
  export JAX_COMPILATION_CACHE_DIR=$HOME/buckets/$bucket/jax_cache
  local command=("$venv/bin/python" -m jax3dgan.main "--config=$config"
    "--workdir=$HOME/buckets/$bucket/$path" --config.platform=tpu ${data[@]+"${data[@]}"}
    "$@" ${processes[@]+"${processes[@]}"})
  if [[ ${DRY_RUN:-} ]]; then
    quoted "JAX_COMPILATION_CACHE_DIR=$JAX_COMPILATION_CACHE_DIR" "${command[@]}"
  else
    # When the machine is taken away gcsfuse gets SIGTERM too; it cannot unmount what is in use.
    exec 9<"$HOME/buckets/$bucket"
    exec "${command[@]}" # in this process, whose id the stop command knows
  fi
}

case ${1:-} in
  setup) setup "${@:2}" ;;
  run) train "${@:2}" ;;
  *) usage ;;
esac
