# Shared by the scripts of this folder, which source it; it does nothing alone.
# shellcheck shell=bash
# DRY_RUN=1 prints commands instead of running them.

# Prints the header comment of the calling script and exits with 2.
usage() {
  sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" >&2
  exit 2
}

fail() {
  printf 'Error: %s\n' "$*" >&2
  exit 2
}

# need VARIABLE 'what it is, and an example': fails unless the variable is set and not empty.
need() {
  [[ -n ${!1:-} ]] || fail "$1 is not set. Set it to $2."
}

# The arguments as words of a shell, those without special characters as they are.
quoted() {
  local word out=()
  for word in "$@"; do
    if [[ $word =~ ^[A-Za-z0-9_./:=,@%+-]+$ ]]; then
      out+=("$word")
    else
      # By sed: in ${…//…} versions of bash differ about quotes and backslashes.
      out+=("'$(printf '%s\n' "$word" | sed "s/'/'\\\\''/g")'")
    fi
  done
  printf '%s\n' "${out[*]}"
}

run() {
  if [[ ${DRY_RUN:-} ]]; then
    quoted "$@"
  else
    "$@"
  fi
}

# Splits gs://BUCKET/PATH into the variables bucket and path; $2 says what it is (WORKDIR).
# shellcheck disable=SC2034  # used by the callers
split_bucket() {
  [[ $1 =~ ^gs://([a-z0-9][a-z0-9._-]+)/(.+)$ ]] ||
    fail "${2:-WORKDIR} is $1. Give a folder in a bucket, such as gs://BUCKET/runs/toys."
  bucket=${BASH_REMATCH[1]}
  path=${BASH_REMATCH[2]%/}
}

# Has JAX take nearly all of a GPU's memory; its default is 75 %. It refuses both variables at once.
gpu_memory() {
  if [[ -z ${XLA_CLIENT_MEM_FRACTION:-}${XLA_PYTHON_CLIENT_MEM_FRACTION:-} ]]; then
    export XLA_CLIENT_MEM_FRACTION=.92
  fi
}

# The number of JAX's devices in a TPU slice of type $1; nothing for a type of another form. Types of
# v4 and v5p count cores, two of which are a device.
tpu_devices() {
  [[ $1 =~ ^(v[0-9]+[a-z]*|tpu7x)-([0-9]+)$ ]] || return 0
  case ${BASH_REMATCH[1]} in
    v4 | v5p) echo $((BASH_REMATCH[2] / 2)) ;;
    *) echo "${BASH_REMATCH[2]}" ;;
  esac
}

# check_batch NUM_DEVICES CONFIG [overrides]: says how the batch is divided, or why it cannot be,
# before anything is asked for. CHECK_BATCH=0 leaves that out, and so does a number that is unknown.
check_batch() {
  local python=${PYTHON:-python} installed
  if [[ ${CHECK_BATCH:-1} == 0 || ! $1 ]]; then return; fi
  installed='import importlib.util as u; exit(not all(map(u.find_spec, ("jax", "flax", "jax3dgan"))))'
  if ! "$python" -c "$installed" 2>/dev/null; then
    echo "jax3dgan is not installed here: how the batch is divided among $1 devices is not checked." >&2
    return
  fi
  JAX_PLATFORMS=cpu "$python" -m jax3dgan.tools.split "--devices=$1" "--config=$2" "${@:3}" >&2 ||
    exit 2
}
