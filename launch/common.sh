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

# Splits gs://BUCKET/PATH into the variables bucket and path.
# shellcheck disable=SC2034  # used by the callers
split_bucket() {
  [[ $1 =~ ^gs://([a-z0-9][a-z0-9._-]+)/(.+)$ ]] ||
    fail "WORKDIR is $1. Give a folder in a bucket, such as gs://BUCKET/runs/toys."
  bucket=${BASH_REMATCH[1]}
  path=${BASH_REMATCH[2]%/}
}
