#!/usr/bin/env bash
# Trains on Google Kubernetes Engine as a JobSet: one slice or more of TPUs, or nodes with GPUs.
# Failed or preempted pods start the whole set again, which goes on from the last checkpoint.
# Usage:
#   launch/gke.sh tpu CONFIG gs://BUCKET/WORKDIR [overrides]   submits launch/gke_jobset.yaml
#   launch/gke.sh gpu CONFIG gs://BUCKET/WORKDIR [overrides]   submits launch/gke_gpu_jobset.yaml
#   launch/gke.sh logs      follows process 0
#   launch/gke.sh status
#   launch/gke.sh delete    stops with the state saved; submit again to go on
# Variables:
#   NAME              of the JobSet, such as toys (up to 20 lower-case letters, digits, hyphens)
#   IMAGE             built from launch/Dockerfile with EXTRAS=tpu or cuda12, in a registry
#   SERVICE_ACCOUNT   of Kubernetes (default), which may write to the bucket
#   NAMESPACE         (default)
#   SPOT=1            on Spot nodes
#   MAX_RESTARTS      after crashes; those after preemption do not count (10)
#   TPU: TPU_ACCELERATOR (tpu-v5-lite-podslice), TPU_TOPOLOGY (4x4), CHIPS_PER_HOST (4),
#        HOSTS_PER_SLICE (4), NUM_SLICES (1)
#   GPU: GPU_ACCELERATOR (nvidia-h100-80gb), GPUS_PER_NODE (8), NUM_NODES (1)
#   DATA              prepared images in the same bucket (gs://BUCKET/data/celeba64), which each node
#                     copies to its disk first
#   CACHE_SIZE        of the node's disk, for what is read from the bucket (20Gi)
#   CHECK_BATCH=0     does not check how the batch is divided
#   DRY_RUN=1         prints the manifest instead of submitting it
# The cluster needs the JobSet controller (v0.6 or later) and the Cloud Storage FUSE CSI driver. This
# script needs bash 4 or later, which macOS does not come with.
set -euo pipefail
here=$(dirname "$0")
# shellcheck source=launch/common.sh
source "$here/common.sh"

action=${1:-}
case $action in
  tpu | gpu | logs | status | delete) shift ;;
  *) usage ;;
esac
need NAME 'the name of the run on the cluster, such as toys'
# Names of pods, <NAME>-workers-<slice>-<host>-<random>, are host names: up to 63 characters.
[[ $NAME =~ ^[a-z]([-a-z0-9]{0,18}[a-z0-9])?$ ]] ||
  fail "NAME is $NAME. Use up to 20 lower-case letters, digits and hyphens, a letter first."
NAMESPACE=${NAMESPACE:-default}
place=("--namespace=$NAMESPACE")

case $action in
  logs)
    run kubectl logs "${place[@]}" --follow --container=train \
      "--selector=jobset.sigs.k8s.io/jobset-name=$NAME,jobset.sigs.k8s.io/job-index=0,batch.kubernetes.io/job-completion-index=0"
    exit
    ;;
  status)
    run kubectl get "${place[@]}" "jobset/$NAME"
    run kubectl get "${place[@]}" pods "--selector=jobset.sigs.k8s.io/jobset-name=$NAME"
    exit
    ;;
  delete)
    run kubectl delete "${place[@]}" "jobset/$NAME"
    exit
    ;;
esac

(($# >= 2)) || usage
need IMAGE 'the address of the image that was built from launch/Dockerfile'
split_bucket "$2"

workdir=/bucket/$path
data=()
if [[ ${DATA:-} ]]; then
  mounted=$bucket
  split_bucket "$DATA" DATA
  [[ $bucket == "$mounted" ]] ||
    fail "DATA is in the bucket $bucket, and only $mounted is mounted. Copy it there."
  data=("--config.data.source=/bucket/$path" --config.data.local_copy=/tmp/data)
fi
if [[ $action == tpu ]]; then
  devices=$((${NUM_SLICES:-1} * ${HOSTS_PER_SLICE:-4} * ${CHIPS_PER_HOST:-4}))
  # Chips of two devices each.
  if [[ ${TPU_ACCELERATOR:-} =~ ^tpu(-v3|7x) ]]; then devices=$((2 * devices)); fi
else
  devices=$((${NUM_NODES:-1} * ${GPUS_PER_NODE:-8}))
fi
check_batch "$devices" "$1" "${@:3}"

# The arguments as a list of YAML (JSON), in which only \ and " are special. Nodes may have to be
# made first, which takes longer than the five minutes that processes wait for each other.
arguments=
for word in "--config=$1" "--workdir=$workdir" "--config.platform=$action" \
  --coordinator_timeout=1800 ${data[@]+"${data[@]}"} "${@:3}"; do
  # Kubernetes would put variables in place of $(…).
  # shellcheck disable=SC2016
  [[ $word != *[$'\n\t']* && $word != *'$('* ]] ||
    fail "The argument $word has a line break, a tab or \$(, which a manifest does not carry."
  word=${word//\\/\\\\}
  arguments+=${arguments:+, }\"${word//\"/\\\"}\"
done

declare -A values=(
  [NAME]=$NAME [NAMESPACE]=$NAMESPACE [IMAGE]=$IMAGE [BUCKET]=$bucket [ARGUMENTS]=$arguments
  [SERVICE_ACCOUNT]=${SERVICE_ACCOUNT:-default} [MAX_RESTARTS]=${MAX_RESTARTS:-10}
  [TPU_ACCELERATOR]=${TPU_ACCELERATOR:-tpu-v5-lite-podslice} [TPU_TOPOLOGY]=${TPU_TOPOLOGY:-4x4}
  [CHIPS_PER_HOST]=${CHIPS_PER_HOST:-4} [HOSTS_PER_SLICE]=${HOSTS_PER_SLICE:-4}
  [NUM_SLICES]=${NUM_SLICES:-1}
  [GPU_ACCELERATOR]=${GPU_ACCELERATOR:-nvidia-h100-80gb} [GPUS_PER_NODE]=${GPUS_PER_NODE:-8}
  [NUM_NODES]=${NUM_NODES:-1} [CACHE_SIZE]=${CACHE_SIZE:-20Gi}
)
if [[ $action == tpu ]]; then manifest=gke_jobset.yaml; else manifest=gke_gpu_jobset.yaml; fi
text=
while IFS= read -r line; do
  # Comments of the file are for its readers; lines marked so are for Spot nodes only.
  if [[ $line =~ ^' '*'#' || (-z ${SPOT:-} && $line == *'# spot') ]]; then continue; fi
  line=${line%' # spot'}
  while [[ $line =~ \$\{([A-Z_]+)\} ]]; do
    key=${BASH_REMATCH[1]}
    [[ ${values[$key]+there} ]] || fail "$manifest asks for $key, which is unknown."
    # What stands in a value is not looked at again.
    text+=${line%%"\${$key}"*}${values[$key]}
    line=${line#*"\${$key}"}
  done
  text+=$line$'\n'
done <"$here/$manifest"

if [[ ${DRY_RUN:-} ]]; then
  printf '%s' "$text"
else
  printf '%s' "$text" | kubectl apply --filename=-
fi
