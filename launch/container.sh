#!/usr/bin/env bash
# What a container of launch/Dockerfile does: trains, on what its packages were installed for.
# Usage: launch/container.sh --config=CONFIG --workdir=WORKDIR [flags]   of python -m jax3dgan.main
# Variables:
#   JAX3DGAN_EXTRAS   of setup.py that the image was built with
#   JAX_PLATFORMS, XLA_CLIENT_MEM_FRACTION   by the extras, where they are not set
#   PYTHON (python), DRY_RUN=1
set -euo pipefail
# shellcheck source=launch/common.sh
source "$(dirname "$0")/common.sh"

(($#)) || usage
if [[ ! ${JAX_PLATFORMS:-} ]]; then
  case ${JAX3DGAN_EXTRAS:-} in
    *cuda*) export JAX_PLATFORMS=cuda,cpu ;;
    *tpu*) export JAX_PLATFORMS=tpu,cpu ;;
  esac
fi
case ${JAX_PLATFORMS:-} in
  cuda*) gpu_memory ;;
  tpu*)
    # The chips read and write memory of the host, which has to be locked.
    ulimit -l unlimited 2>/dev/null ||
      echo "Warning: only $(ulimit -l) KiB of memory can be locked, and the TPU may not start. Run as" \
        'root with the capability SYS_RESOURCE, as launch/gke_jobset.yaml does.' >&2
    ;;
esac
command=("${PYTHON:-python}" -m jax3dgan.main "$@")
if [[ ${DRY_RUN:-} ]]; then
  quoted "${command[@]}"
else
  exec "${command[@]}"
fi
