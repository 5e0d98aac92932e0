#!/usr/bin/env bash
# A run on a Cloud TPU VM or slice, by gcloud; its results in a bucket. launch/README.md says more.
#
#     TPU=NAME BUCKET=gs://NAME/FOLDER [ZONE=..] [TYPE=v4-8] [VERSION=tpu-ubuntu2204-base] [DATA="gs://NAME/FILE .."] \
#         launch/tpu_vm.sh [--dry-run] [--spot] create | setup | run ARGUMENTS | stop | logs | fetch | delete
#
# With --spot, run makes the machine, makes it again after a preemption, and runs until the exit status is 0 or 2.
# --dry-run prints the commands. CREATE_FLAGS are added to gcloud's create; TRIES and PAUSE (seconds) bound --spot.
set -euo pipefail
cd "$(dirname "$0")/.."

refuse() {
  echo "$*" >&2
  exit 2
}

run() { if [ -n "$dry" ]; then printf '%q ' "$@" && echo; else "$@"; fi; }

tpu() { run gcloud compute tpus tpu-vm "$1" "$TPU" --quiet ${ZONE:+"--zone=$ZONE"} "${@:2}"; }

# A worker that is gone is noticed within two minutes. gcloud tries a lost connection again by itself.
on() { tpu ssh --worker="$1" --ssh-flag=-oConnectTimeout=20 --ssh-flag=-oServerAliveInterval=30 --command="$2"; }

create() {
  local extra
  read -ra extra <<<"${CREATE_FLAGS:-}"
  tpu create --accelerator-type="${TYPE:-v4-8}" --version="${VERSION:-tpu-ubuntu2204-base}" ${spot:+--spot} \
    ${extra[@]+"${extra[@]}"}
}

# The files of this checkout as they are, ignored ones left out. Packed once, so that all tries of a run have the same.
pack() {
  source=landscape.tar.gz
  [ -z "$dry" ] || return 0
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  source=$folder/$source
  git ls-files -z --cached --others --exclude-standard | tar --null -T - -czf "$source"
}

setup() {
  local install="mkdir -p landscape/data && tar -xzf landscape.tar.gz -C landscape && cd landscape"
  install+=" && python3 -m pip install --quiet --user uv && export PATH=\$HOME/.local/bin:\$PATH"
  install+=" && uv venv --quiet --allow-existing --python 3.12 .venv && uv pip install --quiet -e '.[tpu]'"
  [ -z "${DATA:-}" ] || install+=" && gcloud storage cp --recursive --no-clobber $DATA data/"
  run gcloud compute tpus tpu-vm scp "$source" "$TPU:landscape.tar.gz" --worker=all --quiet ${ZONE:+"--zone=$ZONE"} &&
    on all "$install"
}

try() {
  local name
  name=$(date +%Y%m%d-%H%M%S)-$commit-$RANDOM # its logs in runs/logs say when and of which commit
  on all "cd landscape && launch/tpu_worker.sh $name $(printf '%q ' "$BUCKET" "$@")"
}

state() { [ -n "$dry" ] || tpu describe --format='value(state)' 2>/dev/null || true; }

# The machine, made if there is none. What was preempted keeps its name until it is deleted.
ready() {
  case "$(state)" in
    READY) ;;
    '') create ;;
    PREEMPTED | TERMINATED) tpu delete && create ;;
    *) return 1 ;; # on its way up or down
  esac
}

# Again: 129, 130 and 143 (stopped, saved), 75 (another process was lost), a machine lost or not to be had. Never: 2 (bad
# input), and 1 twice in a row on a machine that stands, which is an error of the program.
persist() {
  local status errors=0 i
  for ((i = 1; i <= ${TRIES:-100}; i++)); do
    status=0
    { ready && setup && try "$@"; } || status=$?
    case $status in 0 | 2) return "$status" ;; esac
    if [ "$status" = 1 ] && [ "$(state)" = READY ]; then errors=$((errors + 1)); else errors=0; fi
    [ "$errors" -lt 2 ] || return 1
    echo "try $i ended with $status; again in ${PAUSE:-60} s" >&2
    sleep "${PAUSE:-60}"
  done
  return "$status"
}

# What would not survive: results outside runs/ are not synced, and --force would start over at every try.
check_arguments() {
  local word
  for word in "$@"; do
    case $word in
      --workdir=runs/* | --config.artifacts=runs/*) ;;
      --workdir* | --config.artifacts*) refuse "$word: expected NAME=runs/.., since what lies below runs/ is synced" ;;
      --force*) refuse "$word: expected a run that goes on; to start over, delete its folder from $BUCKET" ;;
    esac
  done
}

dry='' spot=''
while [[ ${1:-} == --* ]]; do
  case $1 in
    --dry-run) dry=1 ;;
    --spot) spot=1 ;;
    *) refuse "$1: expected --dry-run or --spot before the verb; see the top of $0" ;;
  esac
  shift
done
verb=${1:-}
[ -n "${TPU:-}" ] || refuse "TPU: expected the machine's name; try TPU=NAME $0 .."
[[ ${BUCKET:-} == gs://?* ]] || refuse "BUCKET=${BUCKET:-}: expected where results go; try BUCKET=gs://NAME/FOLDER"
commit=$(git describe --always --dirty)
case $verb in
  create) create ;;
  setup) pack && setup ;;
  run)
    check_arguments "${@:2}"
    if [ -n "$spot" ]; then pack && persist "${@:2}"; else try "${@:2}"; fi
    ;;
  stop) on all 'pkill -TERM -f "[l]andscape.main"' ;; # the run saves its state and ends with 143
  logs) on 0 "tail -n 100 -F \"\$(ls -t landscape/runs/logs/*-0.txt | head -n 1)\"" ;;
  fetch) run mkdir -p runs && run gcloud storage rsync --recursive "$BUCKET" runs ;;
  delete) tpu delete ;;
  *) refuse "${verb:-no verb}: expected create, setup, run, stop, logs, fetch or delete" ;;
esac
