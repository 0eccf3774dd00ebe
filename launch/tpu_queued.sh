#!/usr/bin/env bash
# Trains on a Spot TPU slice until it is done: asks by a queued resource, waits, sets up, trains,
# and when the slice is taken away asks again and goes on. Deletes the slice at the end. Keep it
# running (in tmux, or on a small VM); stopped and started again, it takes up where it was.
# Usage: launch/tpu_queued.sh CONFIG gs://BUCKET/WORKDIR [overrides]
# Done means that WORKDIR/summary.json is there: delete it first to train on with more steps.
# Variables:
#   TPU_NAME, ZONE, ACCELERATOR_TYPE, RUNTIME_VERSION, PROJECT, SERVICE_ACCOUNT, AUTOCHECKPOINT,
#   DATA, GCSFUSE_INSTALL, CHECK_BATCH     as in launch/tpu_vm.sh
#   SPOT=             asks for capacity on demand instead (empty, not 1)
#   POLL_SECONDS      between two looks (60)
#   MAX_FAILURES      crashes of the run itself before giving up (3); the slice then stays, for
#                     its logs: launch/tpu_vm.sh logs
#   DRY_RUN=1         prints the commands of one round
set -euo pipefail
here=$(dirname "$0")
# shellcheck source=launch/common.sh
source "$here/common.sh"

(($# >= 2)) || usage
need TPU_NAME 'the name of the TPU VM, such as toys-tpu'
need ZONE 'the zone of the TPU, such as us-west4-a'
need ACCELERATOR_TYPE 'the kind and size of the slice, such as v5litepod-16'
need RUNTIME_VERSION 'the image for it, such as v2-alpha-tpuv5-lite'
split_bucket "$2"
workdir=gs://$bucket/$path
poll=${POLL_SECONDS:-60}
spot=${SPOT-1}
place=("--zone=$ZONE" ${PROJECT:+"--project=$PROJECT"})

say() { echo "$(date '+%F %T') $*" >&2; }

queue() { run gcloud compute tpus queued-resources "$1" "$TPU_NAME" "${place[@]}" "${@:2}"; }

create() {
  queue create "--node-id=$TPU_NAME" "--accelerator-type=$ACCELERATOR_TYPE" \
    "--runtime-version=$RUNTIME_VERSION" ${spot:+--spot} \
    ${AUTOCHECKPOINT:+--autocheckpoint-enabled} \
    ${SERVICE_ACCOUNT:+"--service-account=$SERVICE_ACCOUNT"}
}

# --force deletes the slice with the request.
delete() { queue delete --force --quiet; }

# ACCEPTED, PROVISIONING, ACTIVE, SUSPENDED, FAILED, ...; NONE where there is no request.
state() { queue describe '--format=value(state.state)' 2>/dev/null || echo NONE; }

finished() { run gcloud storage ls "$workdir/summary.json" >/dev/null 2>&1; }

check_batch "$(tpu_devices "$ACCELERATOR_TYPE")" "$1" "${@:3}"
export CHECK_BATCH=0 # once is enough

if [[ ${DRY_RUN:-} ]]; then
  quoted gcloud storage ls "$workdir/summary.json"
  create
  state
  "$here/tpu_vm.sh" setup "$workdir"
  "$here/tpu_vm.sh" run "$1" "$workdir" "${@:3}"
  "$here/tpu_vm.sh" alive
  delete
  exit
fi

failures=0
ready= # whether this slice is set up
until finished; do
  now=$(state)
  case $now in
    NONE)
      say "Asking for $ACCELERATOR_TYPE."
      ready=
      create || say 'The request failed; it is repeated.'
      ;;
    SUSPENDING | SUSPENDED | FAILED)
      say "The slice is gone ($now)."
      delete || true
      continue
      ;;
    ACTIVE)
      if [[ $ready ]] && "$here/tpu_vm.sh" alive >/dev/null 2>&1; then
        : # at work
      elif [[ $(state) != ACTIVE ]] || finished; then
        continue # that is why it is not at work
      elif [[ ! $ready ]] && "$here/tpu_vm.sh" alive >/dev/null 2>&1; then
        ready=1 # started by an earlier call of this script
      else
        if [[ $ready ]]; then
          ((failures += 1))
          if ((failures >= ${MAX_FAILURES:-3})); then
            fail "The run stopped $failures times while the slice was there:" \
              'see launch/tpu_vm.sh logs.'
          fi
          # Hosts that wait for a dead one may not hear a polite signal.
          "$here/tpu_vm.sh" stop >/dev/null 2>&1 || true
          sleep "$poll"
          "$here/tpu_vm.sh" kill >/dev/null 2>&1 || true
        fi
        say 'Setting up and starting.'
        if "$here/tpu_vm.sh" setup "$workdir" && "$here/tpu_vm.sh" run "$1" "$workdir" "${@:3}"; then
          ready=1
        else
          say 'That failed; it is repeated.'
        fi
      fi
      ;;
  esac
  sleep "$poll"
done
say "Done: $workdir."
if [[ $(state) != NONE ]]; then delete; fi
