#!/usr/bin/env bash
# Trains on TPUs of a cluster that xpk (Accelerated Processing Kit) manages. Flags as in xpk's
# src/xpk/parser/workload.py at commit 01b0557.
# Usage:
#   launch/xpk.sh create CONFIG WORKDIR [overrides]   submits; the same again goes on
#   launch/xpk.sh list
#   launch/xpk.sh delete                              stops with the state saved
# WORKDIR is a path below MOUNT_POINT, where a bucket was attached once for all workloads by
#   xpk storage attach NAME --type=gcsfuse --bucket=BUCKET --mount-point=/bucket --readonly=false \
#     --auto-mount=true --size=1 --cluster=... --zone=... --project=...
# Variables:
#   CLUSTER, ZONE, PROJECT   where; ZONE and PROJECT are gcloud's where not set
#   NAME                     of the workload
#   IMAGE                    built from launch/Dockerfile with EXTRAS=tpu
#   TPU_TYPE                 such as v5litepod-16
#   NUM_SLICES (1), MAX_RESTARTS (10), MOUNT_POINT (/bucket), DRY_RUN=1
# xpk prints where the logs are. For GPUs on Kubernetes there is launch/gke.sh.
set -euo pipefail
# shellcheck source=launch/common.sh
source "$(dirname "$0")/common.sh"

action=${1:-}
case $action in
  create | list | delete) shift ;;
  *) usage ;;
esac
need CLUSTER 'the name of the cluster that xpk made'
place=("--cluster=$CLUSTER" ${ZONE:+"--zone=$ZONE"} ${PROJECT:+"--project=$PROJECT"})
if [[ $action == list ]]; then
  run xpk workload list "${place[@]}"
  exit
fi
need NAME 'the name of the workload, such as toys'
if [[ $action == delete ]]; then
  run xpk workload delete "--workload=$NAME" "${place[@]}" --force
  exit
fi

(($# >= 2)) || usage
need IMAGE 'the address of the image that was built from launch/Dockerfile'
need TPU_TYPE 'the kind and size of a slice, such as v5litepod-16'
mount=${MOUNT_POINT:-/bucket}
[[ $2 == "$mount"/* ]] ||
  fail "WORKDIR is $2, which is not below $mount and is lost with the pod. Set MOUNT_POINT, or" \
    "choose a folder such as $mount/runs/toys."
train=$(quoted exec python -m jax3dgan.main "--config=$1" "--workdir=$2" "${@:3}")
# Without --restart-on-user-code-failure a stopped or crashed run is not started again.
run xpk workload create "--workload=$NAME" "${place[@]}" "--tpu-type=$TPU_TYPE" \
  "--num-slices=${NUM_SLICES:-1}" "--docker-image=$IMAGE" "--max-restarts=${MAX_RESTARTS:-10}" \
  --restart-on-user-code-failure --termination-grace-period-seconds=120 \
  "--env=JAX_COMPILATION_CACHE_DIR=$mount/jax_cache" "--command=$train"
