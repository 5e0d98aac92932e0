"""The launch scripts, with stand-ins for gcloud, curl, the program and Slurm that record what they were asked.

Of gcloud's stand-in the machine and the bucket are folders: ssh and scp work in the first, rsync goes between the two.
That of the program writes a chunk, then ends as the next word of the file `ends` says.
"""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from whole_runs import ROOT, load

from landscape import presets

STAND_INS = {
    "gcloud": r"""
echo "$*" >>"$WORLD/asked"
place() { case $1 in gs://*) echo "$WORLD/bucket/${1#gs://}" ;; /*) echo "$1" ;; *) echo "$PWD/$1" ;; esac; }
vm=$WORLD/vm
case "$*" in
  *"tpu-vm describe"*) cat "$WORLD/state" ;;
  *"tpu-vm create"*) [ ! -e "$WORLD/state" ] && mkdir "$vm" && echo READY >"$WORLD/state" ;;
  *"tpu-vm delete"*) rm -r "$WORLD/state" "$vm" ;;
  *"tpu-vm scp"*) cp "$5" "$vm/landscape.tar.gz" ;;
  *"tpu-vm ssh"*)
    command=${*: -1}
    cd "$vm" && HOME=$vm setsid --wait bash -c "${command#--command=}" || status=$?
    [ "$(cat "$WORLD/state")" = READY ] || exit 255
    exit "${status:-0}"
    ;;
  *"storage cp"*)
    [ ! -e "$WORLD/no-bucket" ] || exit 1
    from=$(place "${*: -2:1}") to=$(place "${*: -1}")
    mkdir -p "$to" && cp -r "$from" "$to"
    ;;
  *"storage rsync"*)
    from=$(place "${*: -2:1}") to=$(place "${*: -1}") exclude=$(printf '%s\n' "$@" | sed -n 's/--exclude=//p')
    mkdir -p "$to" && cd "$from"
    find . -type f -printf '%P\n' | grep -Ev "^(${exclude:-/})" | tar -cf - -T - | tar -xf - -C "$to"
    ;;
  *) exit 2 ;;
esac
""",
    "curl": 'echo "${WORKER:-0}"',
    "python3": ":",
    "uv": 'if [ "$1" = venv ]; then mkdir -p .venv/bin && cp "$(dirname "$0")/program" .venv/bin/python; fi',
    "program": r"""
echo "program $*" >>"$WORLD/asked"
mkdir -p runs/train/a runs/cache && touch runs/cache/x runs/train/a/.tmp-1 runs/train/a/.lock
touch "runs/train/a/$(find runs/train/a -name '*.npz' | wc -l).npz"
read -r end <"$WORLD/ends" && sed -i 1d "$WORLD/ends" && echo "the end is $end"
case $end in preempted) ;; 143) kill -TERM $PPID && exit 143 ;; *) exit "$end" ;; esac
until [ -e "$WORLD/bucket/b/r/train/a/0.npz" ]; do sleep 0.02; done
echo PREEMPTED >"$WORLD/state" && kill -KILL 0
""",
    "srun": 'echo "srun $*" >>"$WORLD/asked"; [ "$END" != 143 ] || kill -TERM $PPID; exit "$END"',
    "scontrol": 'echo "scontrol $*" >>"$WORLD/asked"',
}
ARGUMENTS = ("--config=configs/train.py:digits,smoke", "--config.sweep.learning_rate=(1e-3, 3e-3)")


class World:
    """A checkout, a machine and a bucket in one folder, and the stand-ins first on PATH."""

    def __init__(self, folder: Path):
        self.folder, self.checkout, self.vm = folder, folder / "checkout", folder / "vm"
        self.bucket = folder / "bucket/b/r"
        shutil.copytree(ROOT / "launch", self.checkout / "launch")
        for name, text in STAND_INS.items():
            path = folder / "bin" / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"#!/usr/bin/env bash\nset -eu\n{text}\n")
            path.chmod(0o755)
        git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
        for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"]):
            subprocess.run([*git, *arguments], cwd=self.checkout, check=True)

    def start(self, *command: str, cwd: Path | None = None, ends: str = "", **environ: str) -> int:
        """The exit status of a command; `ends` are those of the program, one after the other."""
        (self.folder / "ends").write_text(ends.replace(" ", "\n") + "\n")
        own = {"WORLD": str(self.folder), "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"}
        own |= {"TPU": "mine", "BUCKET": "gs://b/r", "ZONE": "z", "PAUSE": "0", "SYNC_SECONDS": "0.05"}
        where = {"cwd": cwd or self.checkout, "env": {**own, "HOME": "/nowhere", **environ}}
        done = subprocess.run(["bash", *command], **where, capture_output=True, text=True, timeout=60)
        self.output, self.errors = done.stdout, done.stderr
        return done.returncode

    def asked(self) -> list[str]:
        """What the stand-ins were asked so far."""
        path = self.folder / "asked"
        return path.read_text().splitlines() if path.exists() else []

    def files(self, folder: Path) -> list[str]:
        return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def test_a_spot_machine_is_made_again_and_the_run_goes_on(world):
    status = world.start("launch/tpu_vm.sh", "--spot", "run", *ARGUMENTS, ends="preempted 143 0")
    assert status == 0, world.output + world.errors
    tpu = [line.split() for line in world.asked() if "tpu-vm" in line]
    assert all("mine" in words[4] or words[5].startswith("mine:") for words in tpu)
    assert all("--zone=z" in words for words in tpu)
    verbs = [words[3] for words in tpu if words[3] != "describe"]
    tried = ["scp", "ssh", "ssh"]
    assert verbs == ["create", *tried, "delete", "create", *tried, *tried]
    for words in tpu:
        assert words[3] != "create" or "--spot" in words
        assert words[3] not in ("scp", "ssh") or "--worker=all" in words
    program = f"program -m landscape.main {' '.join(ARGUMENTS)}"
    assert [line for line in world.asked() if line.startswith("program")] == [program] * 3
    found = [name for name in world.files(world.bucket) if not name.startswith("logs/")]
    assert found == [f"train/a/{i}.npz" for i in range(3)]  # the second machine knew what the first had done
    logs = [path.read_text() for path in (world.bucket / "logs").glob("*-0.txt")]
    assert len(logs) == 3 and sum("the end is 0" in text for text in logs) == 1
    assert world.start("launch/tpu_vm.sh", "fetch") == 0
    assert "train/a/2.npz" in world.files(world.checkout / "runs")
    assert world.start("launch/tpu_vm.sh", "delete") == 0 and not world.vm.exists()


@pytest.mark.parametrize(
    ("ends", "status", "runs"),
    [("2 0", 2, 1), ("130 1 0", 0, 3), ("1 1 0", 1, 2), ("143 255 137 0", 137, 3)],
)
def test_what_is_run_again(world, ends, status, runs):
    assert world.start("launch/tpu_vm.sh", "--spot", "run", ends=ends, TRIES="3") == status, world.errors
    assert sum(line.startswith("program") for line in world.asked()) == runs
    assert sum(" create " in line for line in world.asked()) == 1


def test_verbs_by_hand(world):
    (world.folder / "bucket/b").mkdir(parents=True)
    (world.folder / "bucket/b/images.zip").write_text("")
    made = {"TYPE": "v5p-16", "CREATE_FLAGS": "--network=n", "DATA": "gs://b/images.zip"}
    for verb in ("create", "setup"):
        assert world.start("launch/tpu_vm.sh", verb, **made) == 0
    assert world.start("launch/tpu_vm.sh", "run", *ARGUMENTS, ends="143") == 143  # once only
    create, scp, setup, run = [line for line in world.asked() if "tpu-vm" in line]
    assert create.endswith("--accelerator-type=v5p-16 --version=tpu-ubuntu2204-base --network=n")
    assert (world.vm / "landscape/data/images.zip").exists()
    assert "storage cp --recursive --no-clobber gs://b/images.zip data/" in setup and "--worker=all" in scp
    assert "landscape.tar.gz" not in run and "--worker=all" in run
    assert world.start("launch/tpu_vm.sh", "--dry-run", "--spot", "run", *ARGUMENTS) == 0
    shown = [line.split()[4] for line in world.output.splitlines()]
    assert shown == ["create", "scp", "ssh", "ssh"]


def worker(world, attempt: str, **changes: str) -> int:
    (world.vm / "landscape").mkdir(parents=True, exist_ok=True)
    shutil.copytree(ROOT / "launch", world.vm / "landscape/launch", dirs_exist_ok=True)
    subprocess.run([world.folder / "bin/uv", "venv"], cwd=world.vm / "landscape", check=True)
    return world.start("landscape/launch/tpu_worker.sh", attempt, "gs://b/r", "--a=b c", cwd=world.vm, **changes)


def test_a_connection_that_comes_back_takes_the_status_of_its_run(world):
    assert worker(world, "first", ends="143 0") == 143
    assert worker(world, "first", ends="0") == 143  # not run
    assert worker(world, "second", ends="0") == 0
    assert [line for line in world.asked() if line.startswith("program")] == ["program -m landscape.main --a=b c"] * 2


def test_only_worker_0_reads_and_writes_results(world):
    (world.bucket / "train/a").mkdir(parents=True)
    (world.bucket / "train/a/0.npz").write_text("")
    assert worker(world, "first", ends="0", WORKER="1") == 0
    assert "train/a/1.npz" not in world.files(world.vm / "landscape/runs")  # nor reads them: process 0 tells it
    assert world.files(world.bucket) == ["logs/first-1.txt", "train/a/0.npz"]
    assert "the end is 0" in (world.bucket / "logs/first-1.txt").read_text()


def test_what_reached_the_bucket_in_part_is_made_anew(world):
    whole = ["arrays.nc", "estimates.csv", "config.json", "environment.json", "summary.json"]
    runs = {"whole": whole, **{f"no {name}": [n for n in whole if n != name] for name in whole[:-1]}}
    runs |= {"begun": ["config.json", "stages/a/0.npz"], "foreign": ["stages/a/0.npz"]}  # stages came without config
    for folder, names in runs.items():
        for name in names:
            (world.bucket / folder / name).parent.mkdir(parents=True, exist_ok=True)
            (world.bucket / folder / name).write_text("")
    assert worker(world, "first", ends="0") == 0
    found = world.files(world.vm / "landscape/runs")
    assert [name for name in found if name.endswith("summary.json")] == ["whole/summary.json"]
    assert "begun/stages/a/0.npz" in found and not any(name.startswith("foreign") for name in found)


def test_a_bucket_that_cannot_be_written_is_known_before_the_run(world):
    (world.folder / "no-bucket").touch()
    assert worker(world, "first", ends="0") == 1
    assert "gs://b/r: runs/logs/first-0.txt could not be copied there" in world.output
    assert not any(line.startswith("program") for line in world.asked())


@pytest.mark.parametrize(
    ("arguments", "environ", "line"),
    [
        (["run"], {"TPU": ""}, "TPU: expected the machine's name"),
        (["run"], {"BUCKET": "b/r"}, "BUCKET=b/r: expected where results go"),
        (["--spott", "run"], {}, "--spott: expected --dry-run or --spot before the verb"),
        (["go"], {}, "go: expected create, setup, run, stop, logs, fetch or delete"),
        (["run", "--workdir=/tmp/x"], {}, "--workdir=/tmp/x: expected NAME=runs/.."),
        (["--spot", "run", "--force"], {}, "--force: expected a run that goes on"),
    ],
)
def test_what_would_be_lost_is_refused_in_one_line(world, arguments, environ, line):
    assert world.start("launch/tpu_vm.sh", *arguments, **environ) == 2
    assert world.errors.startswith(line) and world.errors.count("\n") == 1
    assert world.asked() == []


@pytest.mark.parametrize(
    ("end", "restarts", "tasks", "again"),
    [
        ("0", "0", "1", False),
        ("2", "0", "4", False),
        ("1", "0", "4", False),
        ("130", "0", "1", True),
        ("143", "19", "1", True),
        ("143", "20", "1", False),
        ("75", "0", "4", True),
        ("137", "0", "4", True),  # srun tells of the killed one, whose status is above those of the others
        ("134", "0", "4", True),
        ("137", "0", "1", False),  # by itself it ran out of memory, and will again
    ],
)
def test_slurm_queues_a_stopped_run_again(world, end, restarts, tasks, again):
    slurm = {"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": restarts, "SLURM_CPUS_PER_TASK": "4", "SLURM_NTASKS": tasks}
    assert world.start("launch/slurm.sbatch", *ARGUMENTS, END=end, PYTHON="py", **slurm) == int(end)
    srun, *rest = world.asked()
    options = "--cpus-per-task=4 --gpu-bind=none --kill-on-bad-exit=0 --wait=600"
    assert srun == f"srun {options} py -m landscape.main {' '.join(ARGUMENTS)}"
    assert rest == ["scontrol requeue 7"] * again


def test_a_task_of_a_slurm_array_has_its_value(world):
    def last(**environ: str) -> str:
        assert world.start("launch/slurm.sbatch", "--dry-run", "--config.seed={}", **environ) == 0
        return world.output.split()[-1]

    assert last(SLURM_ARRAY_TASK_ID="3") == "--config.seed=3"
    assert last(SLURM_ARRAY_TASK_ID="1", VALUES="1e-3 3e-3") == "--config.seed=3e-3"
    status = world.start("launch/slurm.sbatch", "--config.seed={}", SLURM_ARRAY_TASK_ID="2", VALUES="1e-3 3e-3")
    assert status == 2 and "expected --array=0-1" in world.errors
    assert world.asked() == []


def test_the_page_names_what_there_is(world):
    """Its commands name scripts, configs and fields that exist; those of the TPU are printed by a dry run."""
    page = (ROOT / "launch/README.md").read_text()
    commands = [line.strip() for line in page.splitlines() if line.startswith("    ")]
    assert len(commands) > 10
    for command in commands:
        for word in re.findall(r"(?:launch|configs)/\w+\.\w+", command):
            assert (ROOT / word).exists(), command
        config = re.search(r"--config=configs/(\w+)\.py:?([\w,]*)", command)
        if config:
            fields = dict(presets.leaves(load(*config.groups("digits"))))
            assert set(re.findall(r"--config\.([\w.]+)", command)) <= set(fields), command
        if command.startswith("launch/tpu_vm.sh"):
            words = shlex.split(command, comments=True)
            assert world.start(words[0], "--dry-run", *words[1:]) == 0, world.errors
    assert world.asked() == []
