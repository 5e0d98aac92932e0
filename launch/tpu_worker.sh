#!/usr/bin/env bash
# One try of a run on one worker of a TPU slice; launch/tpu_vm.sh starts it on all of them. Results are restored from
# BUCKET at the start and synced to it by worker 0, whose process writes them.
#
#     launch/tpu_worker.sh TRY BUCKET ARGUMENTS
#
# TRY names the try: an ssh that lost its connection and comes back waits for the run that it lost and has its status.
set -euo pipefail
cd "$(dirname "$0")/.."
try=$1 bucket=$2
shift 2
attribute=http://metadata.google.internal/computeMetadata/v1/instance/attributes/agent-worker-number
worker=$(curl --silent --fail --header 'Metadata-Flavor: Google' "$attribute")
log=runs/logs/$try-$worker.txt ended=runs/logs/.$try-$worker
mkdir -p runs/logs
exec 9>runs/logs/.lock
flock 9
if [ -e "$ended" ]; then exit "$(cat "$ended")"; fi
echo "$try on worker $worker, $(hostname): $*" >>"$log"
exec > >(tee -p -a "$log") 2>&1 # which outlives a lost connection
trap : TERM INT                 # they are for the program, which saves its state; that is synced below

# Caches, locks and what is being written (names with a dot first) stay. One sync at a time.
sync() {
  local said
  said=$(flock runs/logs/.sync gcloud storage rsync --recursive --exclude='(cache|logs)/|(.*/)?\.' "$@" 2>&1) ||
    { echo "no sync of $1 to $2: ${said##*$'\n'}" && return 1; }
}

# One a worker and try. It is never restored: that would take it from under tee.
put_log() { gcloud storage cp "$log" "$bucket/logs/" >/dev/null 2>&1; }

# Process 0 gives the others what they need of earlier tries.
restore() {
  sync "$bucket" runs || return 1
  # A bucket has no order: the summary that says all is done may have reached it before the rest, and stages before the
  # config that they are of.
  local name
  for name in arrays.nc estimates.csv config.json environment.json; do
    find runs -name summary.json -execdir test ! -e "$name" \; -delete
  done
  find runs -depth -type d -name stages -execdir test ! -e config.json \; -exec rm -r {} +
}

work() {
  # A bucket that cannot be used shows here, not after hours of work.
  put_log || { echo "$bucket: $log could not be copied there; may this machine's account write to it?" && return 1; }
  [ "$worker" != 0 ] || restore || return 1
  PYTHONUNBUFFERED=1 .venv/bin/python -m landscape.main "$@"
}

sync_often() { while sleep "${SYNC_SECONDS:-60}" >/dev/null 2>&1; do sync runs "$bucket" && put_log || true; done; }

sync_last() { sync runs "$bucket" || { sleep 5 && sync runs "$bucket"; }; }

loop=''
if [ "$worker" = 0 ]; then
  sync_often 9>&- &
  loop=$!
fi
status=0
work "$@" || status=$?
if [ -n "$loop" ]; then
  kill "$loop" 2>/dev/null || true
  wait "$loop" 2>/dev/null || true
  sync_last || status=$((status ? status : 1)) # done is what is in the bucket
fi
put_log || true
echo "$status" >"$ended"
exit "$status"
