#!/usr/bin/env bash
# Trains on TPUs of a cluster that xpk (Accelerated Processing Kit) manages. Flags as in xpk's
# src/xpk/parser/workload.py of 2025; before, --restart-on-exit-codes was another: see RESTART.
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
#   IMAGE                    built from launch/Dockerfile with EXTRAS=tpu and RUN_AS=root
#   TPU_TYPE                 such as v5litepod-16
#   NUM_SLICES (1), MAX_RESTARTS (10), MOUNT_POINT (/bucket), DRY_RUN=1
#   DATA                     a path below MOUNT_POINT with prepared images, which each host copies to
#                            its disk first
#   RESTART                  the flag by which crashes are restarted; of an xpk that does not know it
#                            --restart-on-user-code-failure (--restart-on-exit-codes=1,130)
#   CHECK_BATCH=0            does not check how the batch is divided
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
slices=${NUM_SLICES:-1}
each=$(tpu_devices "$TPU_TYPE")
check_batch "${each:+$((each * slices))}" "$1" "${@:3}"
train=$(quoted exec /app/launch/container.sh "--config=$1" "--workdir=$2" --config.platform=tpu \
  --coordinator_timeout=1800 \
  ${DATA:+"--config.data.source=$DATA" --config.data.local_copy=/tmp/data} "${@:3}")
# xpk starts again what ends by a signal or with 127 to 255: with 143 a run that was stopped, and not
# finished. A crash is 1.
run xpk workload create "--workload=$NAME" "${place[@]}" "--tpu-type=$TPU_TYPE" \
  "--num-slices=$slices" "--docker-image=$IMAGE" "--max-restarts=${MAX_RESTARTS:-10}" \
  "${RESTART:---restart-on-exit-codes=1,130}" --termination-grace-period-seconds=120 \
  "--env=JAX_COMPILATION_CACHE_DIR=$mount/jax_cache" --env=JAX3DGAN_SIGTERM_EXIT_CODE=143 \
  "--command=$train"
