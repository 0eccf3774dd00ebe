#!/usr/bin/env bash
# Trains on this machine: in one process on all devices that JAX finds, or in several processes
# that talk over localhost, as on several machines.
# Usage: launch/local.sh [--processes N] [--devices-per-process M] CONFIG WORKDIR [overrides]
#   launch/local.sh configs/toys.py runs/toys --config.seed=1
#   launch/local.sh --processes 2 --devices-per-process 4 configs/toys.py runs/toys
# GPUs are dealt out in order (of CUDA_VISIBLE_DEVICES, where it is set), and must be used; without
# GPUs, or with JAX_PLATFORMS=cpu, M is the number of CPU devices that JAX pretends to have.
# Several processes: each writes to WORKDIR/logs/process_I.log and, marked with [I], to the
# terminal. Ctrl-C or SIGTERM stops all of them with the state saved, a second one at once. When a
# process fails the others are stopped, and its exit code is the script's.
# Variables: PYTHON (python), COORDINATOR_PORT (a free one), GRACE_SECONDS that the others have
# after a failure (10), JAX_COMPILATION_CACHE_DIR (~/.cache/jax3dgan/xla), DRY_RUN=1.
set -euo pipefail
# shellcheck source=launch/common.sh
source "$(dirname "$0")/common.sh"

python=${PYTHON:-python}
grace=${GRACE_SECONDS:-10}
processes=1
devices=
while [[ ${1:-} == --* ]]; do
  case $1 in
    --processes | --devices-per-process)
      [[ ${2:-} =~ ^[1-9][0-9]*$ ]] || fail "$1 takes a whole number from 1, not '${2:-}'."
      if [[ $1 == --processes ]]; then processes=$2; else devices=$2; fi
      shift 2
      ;;
    *) usage ;;
  esac
done
(($# >= 2)) || usage
config=$1
workdir=$2
shift 2
command=("$python" -m jax3dgan.main "--config=$config" "--workdir=$workdir" "$@")

# The GPUs to deal out; none on a machine, or for a run, without them.
gpus=()
if ((processes > 1)) || [[ $devices ]]; then
  if [[ ${JAX_PLATFORMS:-} != cpu ]]; then
    if [[ ${CUDA_VISIBLE_DEVICES:-} ]]; then
      IFS=, read -ra gpus <<<"$CUDA_VISIBLE_DEVICES"
    elif command -v nvidia-smi >/dev/null; then
      while read -r index; do gpus+=("$index"); done < <(
        nvidia-smi --query-gpu=index --format=csv,noheader 2>/dev/null || true
      )
    fi
  fi
fi
if ((${#gpus[@]})); then
  each=${devices:-$((${#gpus[@]} / processes))}
  ((each > 0 && each * processes <= ${#gpus[@]})) ||
    fail "$processes processes of ${devices:-at least 1} GPUs each need more than the" \
      "${#gpus[@]} there are. Ask for fewer, or set JAX_PLATFORMS=cpu."
fi

if ((${#gpus[@]})); then
  gpu_memory
  command=("${command[@]:0:5}" --config.platform=gpu "${command[@]:5}")
fi

# What process $1 has in its environment, as a word for env.
settings() {
  if ((${#gpus[@]})); then
    local mine=("${gpus[@]:$(($1 * each)):each}")
    (IFS=,; printf 'CUDA_VISIBLE_DEVICES=%s\n' "${mine[*]}")
  elif [[ $devices ]]; then
    printf 'JAX_NUM_CPU_DEVICES=%s\n' "$devices"
  fi
}

if ((processes == 1)); then
  if [[ $devices ]]; then command=(env "$(settings 0)" "${command[@]}"); fi
  if [[ ${DRY_RUN:-} ]]; then
    quoted "${command[@]}"
    exit
  fi
  exec "${command[@]}"
fi

# Below 32768, where Linux begins to give ports to whoever asks for any; closed means free.
free_port() {
  local port
  for _ in {1..50}; do
    port=$((20000 + RANDOM % 12000))
    if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
      echo "$port"
      return
    fi
  done
  fail 'No free port was found. Set COORDINATOR_PORT to one.'
}
port=${COORDINATOR_PORT:-$(free_port)}

# Reads the output of process $1: to its log, and marked to the terminal.
copy_output() {
  trap '' INT TERM # ends with the output
  : >>"$workdir/logs/process_$1.log"
  local line
  while IFS= read -r line || [[ $line ]]; do
    printf '%s\n' "$line" >>"$workdir/logs/process_$1.log"
    printf '[%s] %s\n' "$1" "$line"
  done
}

if [[ ! ${DRY_RUN:-} ]]; then
  mkdir -p "$workdir/logs"
  pipes=$(mktemp -d)
  trap 'rm -rf "$pipes"' EXIT
fi
# A proxy must not come between the processes. Without one nothing is set: JAX warns of no_proxy too.
if [[ ${http_proxy:-}${https_proxy:-}${HTTP_PROXY:-}${HTTPS_PROXY:-} ]]; then
  export no_proxy="localhost,127.0.0.1${no_proxy:+,$no_proxy}"
fi
pids=()
readers=()
running=()
signals=0
interrupted=

send() {
  if ((${#running[@]})); then kill -s "$1" "${running[@]}" 2>/dev/null || true; fi
}

# shellcheck disable=SC2329  # called by the trap
stop_all() {
  ((signals += 1))
  if [[ $1 == INT ]]; then interrupted=1; fi
  # Ctrl-C too becomes SIGTERM, the signal at which JAX's processes agree on a step to save.
  if ((signals == 1)); then send TERM; else send KILL; fi
}
if [[ ! ${DRY_RUN:-} ]]; then
  trap 'stop_all INT' INT
  trap 'stop_all TERM' TERM
fi

for ((i = 0; i < processes; i++)); do
  setting=$(settings "$i")
  full=(env ${setting:+"$setting"} "${command[@]}"
    "--coordinator=127.0.0.1:$port" "--num_processes=$processes" "--process_id=$i")
  if [[ ${DRY_RUN:-} ]]; then
    quoted "${full[@]}"
    continue
  fi
  mkfifo "$pipes/$i"
  copy_output "$i" <"$pipes/$i" &
  readers+=($!)
  "${full[@]}" >"$pipes/$i" 2>&1 </dev/null &
  pids+=($!)
  running+=($!)
done
[[ ! ${DRY_RUN:-} ]] || exit 0
if ((signals)); then send TERM; fi # came before all had started

# Waits for all; looks again every tenth of a second, since `wait -n` is not in every bash.
status=0
deadline=
while ((${#running[@]})); do
  still=()
  for pid in "${running[@]}"; do
    if kill -0 "$pid" 2>/dev/null; then
      still+=("$pid")
      continue
    fi
    code=0
    wait "$pid" || code=$?
    if ((code != 0 && status == 0)); then
      status=$code
      for ((i = 0; i < processes; i++)); do
        if [[ ${pids[i]} == "$pid" ]]; then break; fi
      done
      if ((signals == 0)); then
        echo "Process $i ended with exit code $code: see $workdir/logs/process_$i.log." \
          'Stopping the others.' >&2
        deadline=$((SECONDS + grace))
        send TERM
      fi
    fi
  done
  running=(${still[@]+"${still[@]}"})
  # Processes that wait for the dead one in a collective operation do not hear SIGTERM.
  if [[ $deadline ]] && ((SECONDS >= deadline)); then send KILL; fi
  if ((${#running[@]})); then
    sleep 0.1 &
    wait $! || true # unlike a sleep in the foreground, ends when a signal comes
  fi
done
wait "${readers[@]}" || true # the last lines
# As of a single process: 130 after Ctrl-C and 0 after SIGTERM, if all went well.
if [[ $interrupted ]] && ((status == 0)); then status=130; fi
exit "$status"
