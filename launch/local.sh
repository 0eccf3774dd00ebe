#!/usr/bin/env bash
# Trains on this machine, on all devices that JAX finds here.
# Usage: launch/local.sh CONFIG WORKDIR [overrides], for example
#   launch/local.sh configs/toys.py runs/toys --config.seed=1
set -euo pipefail

if (($# < 2)); then
  sed -n '2,4s/^# //p' "$0" >&2
  exit 2
fi
config=$1
workdir=$2
shift 2
exec python -m jax3dgan.main --config="$config" --workdir="$workdir" "$@"
