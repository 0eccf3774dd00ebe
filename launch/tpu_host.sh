#!/usr/bin/env bash
# What a host of a Cloud TPU VM does; launch/tpu_vm.sh copies the repository there and calls it.
# Usage, in the repository:
#   launch/tpu_host.sh setup BUCKET     installs gcsfuse, Python and the package
#   launch/tpu_host.sh run CONFIG gs://BUCKET/WORKDIR [overrides]
# The bucket is mounted at ~/buckets/BUCKET; compiled programs are kept in its folder jax_cache.
# Variables: GCSFUSE_INSTALL, a command that installs gcsfuse where `apt-get` does not know it;
# PYTHON_VERSION (3.12); VENV (~/jax3dgan_venv); DRY_RUN=1.
set -euo pipefail
# shellcheck source=launch/common.sh
source "$(dirname "$0")/common.sh"

venv=${VENV:-$HOME/jax3dgan_venv}

setup() {
  (($# == 1)) || usage
  if ! command -v gcsfuse >/dev/null; then
    local install='sudo apt-get update -qq && sudo apt-get install -y -qq gcsfuse'
    run bash -c "${GCSFUSE_INSTALL:-$install}" ||
      fail 'gcsfuse could not be installed. Set GCSFUSE_INSTALL to the commands of the page' \
        '"Install Cloud Storage FUSE" in the documentation of Google Cloud.'
  fi
  # The images for v5e and v6e have Python 3.10; uv brings a later one.
  run python3 -m pip install --quiet --user uv
  [[ -x $venv/bin/python ]] || run python3 -m uv venv --python "${PYTHON_VERSION:-3.12}" "$venv"
  run python3 -m uv pip install --quiet --python "$venv/bin/python" -e '.[tpu]'
  mount_bucket "$1"
}

# Mounts bucket $1, once. Metadata is never cached: a host must see at once what another one wrote.
# A checkpoint becomes whole by the renaming of its folder, which gcsfuse refuses in a bucket
# without hierarchical namespace unless --rename-dir-limit allows it (and there is not atomic).
mount_bucket() {
  local folder=$HOME/buckets/$1
  if grep -qs " $folder fuse" /proc/mounts; then return; fi
  run mkdir -p "$folder"
  run gcsfuse --implicit-dirs --rename-dir-limit=100000 --metadata-cache-ttl-secs=0 "$1" "$folder"
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
  mount_bucket "$bucket"
  export JAX_COMPILATION_CACHE_DIR=$HOME/buckets/$bucket/jax_cache
  local command=("$venv/bin/python" -m jax3dgan.main "--config=$config"
    "--workdir=$HOME/buckets/$bucket/$path" "$@" ${processes[@]+"${processes[@]}"})
  if [[ ${DRY_RUN:-} ]]; then
    quoted "JAX_COMPILATION_CACHE_DIR=$JAX_COMPILATION_CACHE_DIR" "${command[@]}"
  else
    exec "${command[@]}" # in this process, whose id the stop command knows
  fi
}

case ${1:-} in
  setup) setup "${@:2}" ;;
  run) train "${@:2}" ;;
  *) usage ;;
esac
