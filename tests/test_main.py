"""The command line as a user meets it: one line for bad input, exit statuses, stop and go on, report again."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

EXPERIMENT = """
import sys
import time
import numpy as np
from landscape import runs

class Fake:
    fields, question = {}, "Do squares grow?"

    def check(self, config, fields):
        pass

    def run(self, config, run):
        def fn(start, stop):
            time.sleep(0.05)
            return {"square": (("example",), np.arange(start, stop) ** 2.0)}
        runs.chunks(run, "squares", fn, 12 if run.config.seed else 1000, 4)
        self.summarise(config, run)

    def summarise(self, config, run):
        checks = [{"name": "sum", "passed": True, "detail": "as it should be"}]
        runs.write_summary(run, headline="Squares grow.", estimates=[], checks=checks, stages={})

    def report(self, run):
        print("jax was started" if "jax" in sys.modules else "jax was not started")
        return run.directory / "report.html"

EXPERIMENT = Fake()
"""
START = """
import sys
from landscape import experiments, main
experiments.EXPERIMENTS["fake"] = "fake_experiment"
sys.exit(main.main())
"""
CONFIG = """
from landscape import presets
def get_config(arg="digits"):
    config = presets.base(*presets.parse(arg)[:2])
    config.experiment = "fake"
    return config
"""


@pytest.fixture
def started(tmp_path):
    """Starts main with a small experiment of its own, in tmp_path."""
    (tmp_path / "fake_experiment.py").write_text(EXPERIMENT)
    (tmp_path / "fake.py").write_text(CONFIG)
    environ = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}", "JAX_PLATFORMS": "cpu"}
    environ.pop("XLA_FLAGS", None)
    running = []

    def start(*arguments, before=(), **streams):
        command = [*before, sys.executable, "-c", START, "--config=fake.py", *arguments]
        streams = streams or {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        job = subprocess.Popen(command, cwd=tmp_path, env=environ, text=True, **streams)
        running.append(job)
        return job

    yield start
    for job in running:
        job.kill()
        job.communicate()


def wait_for(path):
    deadline = time.monotonic() + 60
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.01)


def test_a_terminal_that_is_closed_leaves_a_run_that_goes_on(started, tmp_path):
    mine, its = os.openpty()
    job = started(
        "--workdir=run", before=("env", "--default-signal=HUP", "setsid", "--ctty"), stdin=its, stdout=its, stderr=its
    )
    os.close(its)
    wait_for(tmp_path / "run/stages/squares/8.npz")
    os.close(mine)
    assert job.wait(timeout=30) == 129 and not (tmp_path / "run/summary.json").exists()


@pytest.mark.parametrize(
    ("signum", "status", "flags"),
    [(signal.SIGTERM, 143, ()), (signal.SIGINT, 130, ()), (signal.SIGINT, 130, ("--force",))],
)
def test_a_signal_leaves_a_run_that_goes_on(started, tmp_path, signum, status, flags):
    job = started("--workdir=run", *flags)
    wait_for(tmp_path / "run/stages/squares/8.npz")
    job.send_signal(signum)
    _, errors = job.communicate(timeout=30)
    assert job.returncode == status and not (tmp_path / "run/summary.json").exists()
    same = "the same command without --force" if flags else "the same command"
    assert errors.splitlines()[-1] == f"stopped by {signal.Signals(signum).name}; {same} goes on from here"


def test_a_run_and_a_second_report(started, tmp_path):
    def ended(*arguments):
        job = started("--workdir=run", "--config.seed=1", *arguments)
        output, errors = job.communicate(timeout=60)
        assert job.returncode == 0, errors
        return output

    first = ended()
    assert "squares: 12/12 examples" in first and "jax was started" in first
    assert "Squares grow." in first and "checks: 1 of 1 passed" in first
    assert first.splitlines()[-1] == "report: run/report.html"
    again = ended()
    assert "jax was not started" in again and "squares:" not in again and "finished before: reported again" in again
    assert again.splitlines()[-1] == "report: run/report.html"


def test_only_a_finished_run_is_estimated_anew(started, tmp_path):
    outcomes = []
    for arguments in (["--reestimate"], [], ["--reestimate"]):
        job = started("--workdir=run", "--config.seed=1", *arguments)
        output, errors = job.communicate(timeout=60)
        anew = "estimated anew from arrays.nc: run/estimates.csv" in output
        outcomes.append((job.returncode, errors, "jax was not started" in output and anew))
        assert (tmp_path / "run").exists() == (job.returncode == 0)
    assert outcomes[0][0] == 2 and "run is no finished run; expected one" in outcomes[0][1]
    assert outcomes[1][0] == 0 and outcomes[2] == (0, "", True)


FLATNESS = "--config=configs/flatness.py"
BAD = [  # arguments, and parts of the line that they are answered with, in this order
    ([], "no --config came; expected one of configs/augmentation.py, configs/autoencoders.py"),
    (["--config=configs/flatnes.py"], "--config=configs/flatnes.py: no such config file; expected one of configs/"),
    (["--config=configs/flatness.py:digit"], "'digit': expected a data set (digits, .* did you mean digits"),
    ([FLATNESS, "--config.sed=3"], "config field 'sed': expected a field of the config; did you mean seed"),
    ([FLATNESS, "--config.serach.epsilon=0.2"], "config field 'serach': .* did you mean search"),
    ([FLATNESS, "--config.train.batchsize=3"], "config field 'train.batchsize': .* did you mean train.batch_size"),
    (
        [FLATNESS, "--confg=3"],
        "--confg: unknown flag; expected one of --config, .* did you mean --config?",
    ),
    (["--config.seed=3"], "--config.seed: expected --config=FILE before it; expected one of configs/augmentation.py"),
    ([FLATNESS, "--config.search.epsilon=8"], "epsilon=8: expected 0 <= epsilon <= 1, .* did you mean 8/255"),
    (
        [FLATNESS, "--config.search.norm=l2", "--config.search.epsilon=8.1"],
        "search.epsilon=8.1: expected 0 <= epsilon <= 8 (the L2 norm over a whole image), .* did you mean 8.1/255",
    ),
    (
        ["--config=configs/transfer.py:fashion_mnist", "--config.transfer.l2=(28.5,)"],
        "transfer.l2=(28.5,): expected growing radii above 0, at most 28",
    ),
    ([FLATNESS, "--config.search.epsilon=8/255"], "epsilon=8/255: expected a number, such as 0.0314"),
    ([FLATNESS, "--config.flatness.levels=(8/255,)"], "flatness.levels='(8/255,)': expected finite numbers"),
    ([FLATNESS, "--config.train=3"], "--config.train is a section; .* --config.train.FIELD=VALUE; configs/flatness.py"),
    ([FLATNESS, "--config.train={'num_epochs':3}"], "--config.train is a section; expected one of its fields"),
    ([FLATNESS, "--force=3"], "--force=3: expected true or false"),
    ([FLATNESS, "--config.num_members=two"], "--config.num_members=two: expected a whole number, such as 8"),
    ([FLATNESS, "--config.model.name=resnet50"], "model.name='resnet50': .* FILE.py:FUNCTION; did you mean resnet"),
    ([FLATNESS, "--force", "--reestimate"], "--force --reestimate: expected one of them"),
    ([FLATNESS, "--workdir=gs://b/run"], "--workdir=gs://b/run: expected a path on this .* launch/tpu_vm.sh run"),
    ([FLATNESS, "--config.data.dir=gs://b/images"], "data.dir=gs://b/images: expected a path .* mount it first"),
    ([FLATNESS, "--workdir=configs"], "configs: holds '.*' but no config.json; .* try another --workdir"),
    ([FLATNESS, "--workdir=README.md/run"], "README.md is no folder; expected a folder .* try another --workdir=DIR"),
    (
        [FLATNESS, "--workdir=DIR/a", "--config.artifacts=README.md"],
        "README.md is no folder; .* --config.artifacts=DIR",
    ),
    (
        [FLATNESS, "--workdir=DIR/b", "--config.data.cache=README.md"],
        "README.md is no folder; .* --config.data.cache=DIR",
    ),
    ([FLATNESS, "--config.data.resize=64"], "data.resize=64: expected 0 for digits, .* for folder and tfds:NAME"),
    (["--config=configs/neighbors.py", "--config.moves=s3://b/m.npz"], "moves=s3://b/m.npz: expected a path on this"),
    ([FLATNESS, "smoke"], "'smoke': unexpected word; expected flags only"),
]
FORKS = """
import json, os, sys
from landscape import main
folder, *cases = json.loads(sys.argv[1])
for number, arguments in enumerate(cases):
    if (child := os.fork()) == 0:
        sys.argv[1:] = arguments
        for stream in (1, 2):
            os.dup2(os.open(f"{folder}/{number}.{stream}", os.O_CREAT | os.O_WRONLY), stream)
        os._exit(main.main())
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_bad_input_is_one_line(tmp_path):
    """Each in a process of its own, which begins with everything imported."""
    every = ([word.replace("=DIR", f"={tmp_path}") for word in arguments] for arguments, _ in BAD)
    cases = json.dumps([str(tmp_path), *every, ["--help"]])
    command = [sys.executable, "-u", "-c", FORKS, cases]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    *statuses, helped = ended.stdout.split()
    assert statuses == ["2"] * len(BAD) and helped == "0", ended.stdout + ended.stderr
    assert "USAGE" in (tmp_path / f"{len(BAD)}.1").read_text()
    assert not [*tmp_path.glob("[ab]")]  # what is refused leaves no folder
    for number, (_, line) in enumerate(BAD):
        output, errors = ((tmp_path / f"{number}.{stream}").read_text() for stream in (1, 2))
        assert output == "" and len(errors.splitlines()) == 1, errors
        place = -1
        for part in line.split(".*"):
            place = errors.find(part, place + 1)
            assert place >= 0, errors


def test_a_file_error_that_nobody_expected_is_one_line(started, tmp_path):
    (tmp_path / "fake_experiment.py").write_text(
        EXPERIMENT.replace(
            "    def run(self, config, run):\n", "    def run(self, config, run):\n        open('gone/a.txt')\n"
        )
    )
    job = started("--workdir=run")
    _, errors = job.communicate(timeout=60)
    assert job.returncode == 2 and errors.startswith("gone/a.txt: No such file or directory; expected a path")
    assert len(errors.splitlines()) == 1


def test_an_error_of_the_program_is_not_hidden(started, tmp_path):
    bug = EXPERIMENT.replace(
        "    def run(self, config, run):\n", "    def run(self, config, run):\n        raise ValueError('a bug')\n"
    )
    (tmp_path / "fake_experiment.py").write_text(bug)
    job = started("--workdir=run")
    _, errors = job.communicate(timeout=60)
    assert job.returncode == 1 and "Traceback" in errors and "ValueError: a bug" in errors
