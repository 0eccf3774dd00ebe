#!/usr/bin/env bash
# Trains on a Cloud TPU VM: one slice, of one host or many. The workdir lies in a bucket, so that
# it outlives the TPU; the same `run` goes on from there.
# Usage:
#   launch/tpu_vm.sh create                                    asks for the TPU
#   launch/tpu_vm.sh setup gs://BUCKET/WORKDIR                 copies the last commit to all hosts and installs
#   launch/tpu_vm.sh run CONFIG gs://BUCKET/WORKDIR [overrides]    starts in the background on all hosts
#   launch/tpu_vm.sh logs                                      follows the output of host WORKER (0)
#   launch/tpu_vm.sh alive                                     exit code 0 where all hosts are at work
#   launch/tpu_vm.sh stop                                      stops with the state saved
#   launch/tpu_vm.sh kill                                      stops at once, back to the last checkpoint
#   launch/tpu_vm.sh delete
# Variables:
#   TPU_NAME, ZONE                        always
#   ACCELERATOR_TYPE, RUNTIME_VERSION     for create: v5litepod-16 and v2-alpha-tpuv5-lite, say
#   SPOT=1                                for create: cheaper, and taken away at any time
#   AUTOCHECKPOINT=1                      for create: SIGTERM some minutes before maintenance, by
#                                         which the state is saved; not with Spot's preemption
#   PROJECT, SERVICE_ACCOUNT              those of gcloud's configuration where not set
#   DATA                                  for run: prepared images in a bucket, which each host copies
#                                         to its disk first
#   GCSFUSE_INSTALL                       for setup: see launch/tpu_host.sh
#   CHECK_BATCH=0                         run does not check how the batch is divided
#   DRY_RUN=1                             prints the commands
# The TPU's service account needs the role storage.objectUser on the bucket.
set -euo pipefail
here=$(dirname "$0")
# shellcheck source=launch/common.sh
source "$here/common.sh"

tpu() {
  run gcloud compute tpus tpu-vm "$1" "$TPU_NAME" "--zone=$ZONE" \
    ${PROJECT:+"--project=$PROJECT"} "${@:2}"
}

# Runs the command $2 in the repository, on host $1 or all.
remote() { tpu ssh "--worker=$1" "--command=cd jax3dgan && $2"; }

action=${1:-}
case $action in
  create | setup | run | logs | alive | stop | kill | delete) shift ;;
  *) usage ;;
esac
need TPU_NAME 'the name of the TPU VM, such as toys-tpu'
need ZONE 'the zone of the TPU, such as us-west4-a'

case $action in
  create)
    need ACCELERATOR_TYPE 'the kind and size of the slice, such as v5litepod-16'
    need RUNTIME_VERSION 'the image for it, such as v2-alpha-tpuv5-lite'
    tpu create "--accelerator-type=$ACCELERATOR_TYPE" "--version=$RUNTIME_VERSION" \
      ${SPOT:+--spot} ${AUTOCHECKPOINT:+--autocheckpoint-enabled} \
      ${SERVICE_ACCOUNT:+"--service-account=$SERVICE_ACCOUNT"}
    ;;
  setup)
    (($# == 1)) || usage
    split_bucket "$1"
    archive=${TMPDIR:-/tmp}/jax3dgan_$TPU_NAME.tar.gz
    run git -C "$here/.." archive --format=tar.gz "--output=$archive" HEAD
    run gcloud compute tpus tpu-vm scp "$archive" "$TPU_NAME:jax3dgan.tar.gz" "--zone=$ZONE" \
      ${PROJECT:+"--project=$PROJECT"} --worker=all
    run rm -f "$archive"
    install=$(quoted env ${GCSFUSE_INSTALL:+"GCSFUSE_INSTALL=$GCSFUSE_INSTALL"} \
      launch/tpu_host.sh setup "$bucket")
    unpack='mkdir -p jax3dgan && tar -xzf jax3dgan.tar.gz -C jax3dgan && cd jax3dgan'
    tpu ssh --worker=all "--command=$unpack && $install"
    ;;
  run)
    (($# >= 2)) || usage
    split_bucket "$2"
    check_batch "$(tpu_devices "${ACCELERATOR_TYPE:-}")" "$1" "${@:3}"
    train=$(quoted ${DATA:+env "DATA=$DATA"} launch/tpu_host.sh run "$@")
    # Two runs in one workdir would spoil each other.
    # shellcheck disable=SC2016  # expanded on the hosts
    busy='if kill -0 $(cat run.pid 2>/dev/null || echo none) 2>/dev/null; then'
    busy+=' echo "A run is at work here already." >&2; exit 1; fi'
    # Outlives the connection; the group is of its own, the process id that of the training.
    remote all "{ $busy; nohup setsid $train >>run.log 2>&1 </dev/null & echo \$! >run.pid; }"
    ;;
  logs) remote "${WORKER:-0}" 'tail -n 100 -F run.log' ;;
  alive) remote all "kill -0 \$(cat run.pid)" ;;
  stop) remote all "kill -TERM \$(cat run.pid)" ;;
  kill) remote all "kill -KILL \$(cat run.pid)" ;;
  delete) tpu delete --quiet ;;
esac
