#!/usr/bin/env bash
# N processes on this machine that run one command together, as N hosts would:
#   launch/local.sh [--dry-run] N -- --config=configs/train.py:digits,smoke
# Each joins the others by JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID; whoever starts processes on
# hosts that JAX does not know by itself (it knows Slurm, Open MPI and Cloud TPU) sets the same three.
# Ends with the exit status of process 0: 2 means never again, any other but 0 that the same command goes on.
set -euo pipefail
cd "$(dirname "$0")/.."
dry=""
if [[ "${1:-}" == --dry-run ]]; then dry=yes; shift; fi
if [[ ! "${1:-}" =~ ^[1-9][0-9]*$ || "${2:-}" != -- ]]; then
  echo "usage: launch/local.sh [--dry-run] N -- --config=FILE [FLAGS]" >&2
  exit 2
fi
count="$1"; shift 2
python="${PYTHON:-.venv/bin/python}"
free='import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
address=127.0.0.1:PORT
if [[ -z "$dry" ]]; then address="127.0.0.1:$("$python" -c "$free")"; fi
pids=()
# shellcheck disable=SC2329  # the trap calls it
stop() { for pid in "${pids[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done; }
trap stop TERM
trap : INT  # the terminal gives Ctrl-C to the processes too, and a second signal would end them at once
for ((i = 0; i < count; i++)); do
  command=(env JAX_COORDINATOR_ADDRESS="$address" JAX_COORDINATOR_BIND_ADDRESS="$address" JAX_NUM_PROCESSES="$count"
    JAX_PROCESS_ID="$i" "$python" -m landscape.main "$@")
  if [[ -n "$dry" ]]; then echo "${command[*]}"; else "${command[@]}" & pids+=("$!"); fi
done
status=0
for i in "${!pids[@]}"; do
  while code=0; wait "${pids[$i]}" || code=$?; kill -0 "${pids[$i]}" 2>/dev/null; do :; done  # a signal ends `wait`
  if ((i == 0)); then status=$code; fi
done
exit "$status"
