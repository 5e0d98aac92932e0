"""Every experiment, killed with -9 at random moments, ends with the estimates of a run that nobody killed.

By default each is killed a few times; LANDSCAPE_KILLS=40 kills it forty times.
"""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import xarray as xr

from landscape import experiments, files
from landscape.runs.directory import read_metrics

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
KILLS = int(os.environ.get("LANDSCAPE_KILLS", "4"))
SEED = 0
# landscape.main with a checkpoint after every piece of training, not one in ten seconds, and pieces of few steps.
MAIN = "from landscape.training import loop; loop.CHECKPOINT_SECONDS, loop.CHECKPOINT_SHARE = 0.0, 1e9; "
MAIN += "loop.SEGMENT_SECONDS = 0.2; import sys; from landscape.main import main; sys.exit(main())"
# `gather` and `tour` are made of runs; what `benchmark` estimates are times, unlike in every run.
OTHERS = ("gather", "tour", "benchmark")
EXPERIMENTS = sorted(set(experiments.EXPERIMENTS) - set(OTHERS))
CONFIGS = {"dictionaries": "autoencoders.py:digits,dictionaries"}
MOST = {"tour": ("--config.order=('train','flatness')",)}


def started(name, folder, *flags):
    """A smoke run in a process of its own; what runs share lies in `folder`, but for compiled programs."""
    config = CONFIGS.get(name, f"{name}.py:digits")
    command = [sys.executable, "-c", MAIN, f"--config=configs/{config},smoke", f"--workdir={folder / 'run'}"]
    command += [f"--config.artifacts={folder / 'artifacts'}", f"--config.data.cache={folder / 'data'}", *flags]
    own = {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": str(folder.parent / "xla")}
    with open(folder.parent / "said.txt", "ab") as said:
        return subprocess.Popen(command, cwd=ROOT, env=os.environ | own, stdout=said, stderr=said)


def ended(name, folder, *flags):
    """The same, to its end."""
    status = started(name, folder, *flags).wait(timeout=1800)
    assert status == 0, (folder.parent / "said.txt").read_text()[-3000:]


def written(folder):
    """Number of files that a run has written or is writing."""
    return sum(len(names) for _, _, names in os.walk(folder))


def killed(name, folder, moments, *flags):
    """Starts a run and kills it a random time after it has written some more files; False where it ended before."""
    job = started(name, folder, *flags)
    more = written(folder) + moments.randint(1, 6)
    while written(folder) < more and job.poll() is None:
        time.sleep(0.002)
    time.sleep(moments.choice((0.0, moments.uniform(0, 0.02), moments.uniform(0, 2.0))))
    job.send_signal(signal.SIGKILL)
    return job.wait() == -signal.SIGKILL


def halve(folder):
    """Cuts every second file of a folder to half."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file())[::2]:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def estimates(run):
    """The lines of estimates.csv but for those of times (`augmentation` times its steps)."""
    lines = (run / "estimates.csv").read_bytes().splitlines()
    return [line for line in lines if not line.startswith(b'"throughput.')]


def assert_same(one, other):
    """The same estimates to the byte, arrays, metrics and names of files of two finished runs."""
    assert len(estimates(one)) > 1 and estimates(one) == estimates(other)
    arrays = [xr.load_dataset(folder / "arrays.nc", engine="h5netcdf") for folder in (one, other)]
    xr.testing.assert_equal(*(data.drop_vars("step_seconds", errors="ignore") for data in arrays))
    said = [json.loads((folder / "summary.json").read_text()) for folder in (one, other)]
    assert all(said[0][field] == said[1][field] for field in ("claims", "checks"))
    one_said, other_said = (re.sub("takes .* times as long", "", each["headline"]) for each in said)  # of a step
    assert one_said == other_said
    names = [sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) for folder in (one, other)]
    assert names[0] == names[1]
    assert read_metrics(one / "metrics.jsonl") == read_metrics(other / "metrics.jsonl")


@pytest.mark.parametrize("name", [*EXPERIMENTS, "tour"])
def test_a_run_that_is_killed_again_and_again_ends_as_one_that_is_not(tmp_path, name):
    whole, parts = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, parts):
        folder.mkdir()
    flags = MOST.get(name, ())
    ended(name, whole, *flags)
    moments, kills = random.Random(f"{name} {SEED}"), 0
    while kills < KILLS and killed(name, parts, moments, *flags):
        kills += 1
    halve(tmp_path / "xla")  # as a power cut may leave compiled programs
    ended(name, parts, *flags)
    assert kills > 0, "it ended before it was killed"
    for part in ("run/parts/train", "run/parts/flatness") if name == "tour" else ("run",):
        assert_same(whole / part, parts / part)
    left = [path for path in (parts / "run").rglob("*") if path.name.startswith(files.TEMPORARY)]
    assert not left


def test_two_runs_that_share_artefacts_and_caches_at_once_end_as_one(tmp_path):
    """Both train the same members; one of them is told that the directory of the other is in use."""
    both = tmp_path / "both"
    both.mkdir()
    first, second = (started("train", both, f"--workdir={both / name}") for name in ("one", "other"))
    while not (both / "one/.lock").exists() and first.poll() is None:
        time.sleep(0.01)
    third = started("train", both, f"--workdir={both / 'one'}")
    assert [job.wait(timeout=600) for job in (first, second, third)] == [0, 0, 2]
    assert "one: in use by process" in (tmp_path / "said.txt").read_text()
    assert_same(both / "one", both / "other")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 3 MB, for those who may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("no permission to mount a file system")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_or_read_only_disk_is_one_line_and_the_run_goes_on_where_there_is_room(tmp_path, small_disk):
    """`neighbors` writes the most: points of all layers, beside members, inputs and figures."""

    def ends(*flags):
        (tmp_path / "said.txt").unlink(missing_ok=True)
        status = started("neighbors", small_disk, *flags).wait(timeout=1800)
        return status, (tmp_path / "said.txt").read_text().splitlines()[-1]

    status, line = ends()
    assert status == 2 and "the disk is full; expected room" in line
    subprocess.run(["mount", "-o", "remount,size=500m,ro", str(small_disk)], check=True)
    status, line = ends()
    assert status == 2 and "cannot be written; expected a folder to write to" in line
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    assert ends()[0] == 0
    whole = tmp_path / "whole"
    whole.mkdir()
    ended("neighbors", whole)
    assert_same(whole / "run", small_disk / "run")
