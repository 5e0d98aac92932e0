"""Several processes that run one program: what one alone does, what compiled programs send, and whole runs of two."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from test_data import write_folder

from landscape import ensembles
from landscape.data import load
from landscape.ensembles import Mapping, Rows
from landscape.files import UserError
from landscape.runs import processes
from landscape.stats.table import read_csv

ROOT = Path(__file__).parents[1]
# landscape.main with a checkpoint after every piece of training, not one in ten seconds.
MAIN = "from landscape.training import loop; loop.CHECKPOINT_SECONDS = 0.0; "
MAIN += "import sys; from landscape.main import main; sys.exit(main())"
CHECKPOINT = "run/stages/training-state/checkpoint.npz"
COLLECTIVES = r"= [^=]*\b(all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter|collective-broadcast)"


def test_a_process_alone_agrees_with_itself(tmp_path):
    assert processes.first() and not processes.several()
    assert processes.agree([3, True]) == [3, True] and processes.any_of(0) == 0
    processes.same("anything", {"a": 1}, "nothing to try")
    processes.mirror(tmp_path / "absent")
    assert not (tmp_path / "absent").exists()


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({}, False),
        ({"JAX_NUM_PROCESSES": "1"}, False),
        ({"SLURM_STEP_NUM_TASKS": "1"}, False),
        ({"SLURM_STEP_NUM_TASKS": "2"}, True),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, True),
        ({"JAX_COORDINATOR_ADDRESS": "a:1", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "1"}, True),
    ],
)
def test_the_environment_says_that_there_are_others(monkeypatch, variables, wanted):
    for name in ("JAX_NUM_PROCESSES", "SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert processes.expected() is wanted


def test_half_of_the_variables_are_refused(monkeypatch):
    monkeypatch.setenv("JAX_NUM_PROCESSES", "2")
    monkeypatch.setenv("JAX_PROCESS_ID", "2")
    with pytest.raises(UserError, match=r"JAX_COORDINATOR_ADDRESS.*launch/local\.sh"):
        processes.expected()


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("mesh", [(2, 1), (1, 2)])
def test_work_is_done_apart_and_only_results_are_gathered(monkeypatch, several, mesh):
    """Of the compiled program: with one process no collective, with several one all-gather a result, at its end."""
    monkeypatch.setattr(jax, "process_count", lambda: 2 if several else 1)

    def ascend(weight, start, x):
        def step(_, z):
            return z + 0.1 * jnp.sign(jax.grad(lambda z: jnp.tanh(x * weight[None] * z).sum())(z))

        end = jax.lax.fori_loop(0, 3, step, jnp.broadcast_to(start[None], x.shape))
        return {"end": end, "far": jnp.abs(end).max(axis=-1)}

    weight, start = jnp.linspace(-1, 1, 24).reshape(4, 6), jnp.ones((4, 6))
    x = jnp.linspace(0, 1, 24).reshape(4, 6)

    def mapped(how):
        return jax.jit(lambda w, s, x: ensembles.map_members(ascend, w, s, shared=(Rows(x),), how=how))

    program = mapped(Mapping("map", 1, *mesh))
    text = program.lower(weight, start, x).compile().as_text()
    entry = text[text.index("\nENTRY ") :]
    sent = re.findall(COLLECTIVES, text)
    assert sent == (["all-gather"] * 2 if several else [])
    assert re.findall(COLLECTIVES, entry) == sent  # and none within the loops
    out = program(weight, start, x)
    assert out["end"].is_fully_replicated is several
    np.testing.assert_array_equal(out["end"], mapped(Mapping())(weight, start, x)["end"])


def test_local_shows_what_it_would_start():
    shown = run_local("--dry-run", "2", "--", "--config=configs/train.py:digits,smoke").stdout.splitlines()
    assert len(shown) == 2 and "JAX_PROCESS_ID=1 " in shown[1] and "JAX_NUM_PROCESSES=2 " in shown[0]
    assert all(line.endswith("-m landscape.main --config=configs/train.py:digits,smoke") for line in shown)
    assert run_local("two", "--").returncode == 2


def run_local(*arguments, timeout=300):
    """launch/local.sh, with two host devices a process."""
    command = [str(ROOT / "launch/local.sh"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=timeout)


def environment(**more):
    own = {"PYTHONPATH": str(ROOT), "PYTHON": sys.executable, "JAX_PLATFORMS": "cpu"}
    return os.environ | own | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"} | more


def flags_of(tmp_path, name="run", experiment="train"):
    where = [f"--workdir={tmp_path / name}", f"--config.artifacts={tmp_path / 'artifacts'}"]
    return [f"--config=configs/{experiment}.py:digits,smoke", "--config.model.name=mlp", *where]


class Two:
    """Two processes of one run, started one by one, so that a test can end one of them."""

    def __init__(self, *flags, hosts=(ROOT, ROOT)):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        named = {"JAX_COORDINATOR_ADDRESS": address, "JAX_COORDINATOR_BIND_ADDRESS": address, "JAX_NUM_PROCESSES": "2"}
        self.started = [
            subprocess.Popen(
                [sys.executable, "-c", MAIN, *flags[i]],
                cwd=hosts[i],
                env=environment(JAX_PROCESS_ID=str(i), **named),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for i in range(2)
        ]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.started:
            process.kill()
            process.wait()

    def ends(self, timeout=120):
        """[(exit status, standard error)] of both."""
        said = [process.communicate(timeout=timeout)[1] for process in self.started]
        return [(process.returncode, text) for process, text in zip(self.started, said, strict=True)]


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def assert_same(one: Path, two: Path):
    """Estimates and arrays of two runs to float tolerance, of sums over hundreds of float32 values."""
    first, second = map(estimates_of, (one, two))
    assert len(first) == len(second) > 0
    for left, right in zip(first, second, strict=True):
        assert left.keys() == right.keys()
        for name, value in left.items():
            expected = pytest.approx(value, rel=1e-4, abs=1e-6) if isinstance(value, float) else value
            assert right[name] == expected, (left["name"], name)
    arrays = [xr.load_dataset(path / "arrays.nc", engine="h5netcdf") for path in (one, two)]
    for name, array in arrays[0].items():
        if array.dtype.kind == "f":
            np.testing.assert_allclose(arrays[1][name], array, rtol=1e-4, atol=1e-5, err_msg=name)


def estimates_of(path: Path) -> list[dict]:
    """All of them: in the table where a run has one, else in its summary."""
    if (path / "estimates.csv").exists():
        return [*read_csv((path / "estimates.csv").read_text())]
    return json.loads((path / "summary.json").read_text())["estimates"]


def alone(*flags):
    command = [sys.executable, "-m", "landscape.main", *flags]
    return subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=True, timeout=600)


@pytest.mark.slow
@pytest.mark.parametrize("experiment", ["train", "flatness", "transfer"])
def test_two_processes_get_what_one_gets(tmp_path, experiment):
    alone(*flags_of(tmp_path / "a", "run", experiment))
    found = run_local(2, "--", *flags_of(tmp_path / "b", "run", experiment), timeout=600)
    assert found.returncode == 0, found.stderr
    assert_same(tmp_path / "a" / "run", tmp_path / "b" / "run")


@pytest.mark.slow
@pytest.mark.parametrize("warm", [False, True])
def test_images_are_decoded_by_one_process_or_by_each(tmp_path, warm):
    """Of a cold cache that both share, and of one that is warm for process 0 alone: nobody waits for ever."""
    write_folder(tmp_path / "images", n=40, shape=(8, 8))
    flags = [f"--config={ROOT}/configs/train.py:folder,smoke", f"--config.data.dir={tmp_path / 'images'}"]
    flags += [*flags_of(tmp_path)[1:], "--config.train.batch_size=16", "--config.data.cache=cache"]
    hosts = [tmp_path / "host0", tmp_path / ("host1" if warm else "host0")]  # disks of their own, or one
    for host in hosts:
        host.mkdir(exist_ok=True)
    if warm:
        load("folder", directory=str(tmp_path / "images"), cache=hosts[0] / "cache")
    with Two(flags, flags, hosts=hosts) as two:
        assert [status for status, _ in two.ends()] == [0, 0]
    assert all((host / "cache").is_dir() for host in hosts)


@pytest.mark.slow
def test_processes_of_unlike_configs_refuse_to_start(tmp_path):
    flags = flags_of(tmp_path)
    with Two(flags, [*flags, "--config.seed=1"]) as two:
        ends = two.ends()
    assert [status for status, _ in ends] == [2, 2]
    assert "processes: unlike configs; expected the same in all 2" in ends[0][1]
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_process_ends_the_other_and_the_run_goes_on(tmp_path, killed):
    """Killed in training; then one process goes on: what was begun on four devices ends on two."""
    flags = [*flags_of(tmp_path), "--config.train.num_epochs=40"]
    with Two(flags, flags) as two:
        wait_for((tmp_path / CHECKPOINT).exists)
        two.started[killed].kill()
        began = time.monotonic()
        status, said = two.ends()[1 - killed]
    assert time.monotonic() - began < 60
    assert status not in (0, 2) and (tmp_path / CHECKPOINT).exists()
    if killed == 1:  # without process 0 there is only what JAX says
        assert status == processes.AGAIN and "process 1 does not answer" in said
    assert re.search("training: .*found done", alone(*flags).stdout)
    other = flags_of(tmp_path / "other")
    alone(*other, "--config.train.num_epochs=40")
    assert_same(tmp_path / "run", tmp_path / "other" / "run")


@pytest.mark.slow
def test_a_signal_to_one_process_stops_both_and_both_go_on(tmp_path):
    flags = [*flags_of(tmp_path), "--config.train.num_epochs=40"]
    with Two(flags, flags) as two:
        wait_for((tmp_path / "run/metrics.jsonl").exists)
        two.started[1].send_signal(signal.SIGTERM)
        ends = two.ends()
    assert [status for status, _ in ends] == [143, 143]
    found = run_local(2, "--", *flags)
    assert found.returncode == 0 and "found done" in found.stdout, found.stdout


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(4, 1), (1, 4)])
def test_a_run_goes_on_with_another_number_of_devices(tmp_path, before, after):
    """Stopped in mid-training, goes on with others until its searches, and ends as it began; as one of `after` from the
    start.
    """
    flags, others = (
        [*flags_of(folder, experiment="flatness"), "--config.train.num_epochs=40"]
        for folder in (tmp_path, tmp_path / "other")
    )
    stopped(before, flags, tmp_path / CHECKPOINT)
    assert not (tmp_path / "run/stages/search").exists()
    said = stopped(after, flags, tmp_path / "run/stages/search/0.npz")
    assert re.search("training: .*found done", said[0])
    for end, devices in ((flags, before), (others, after)):
        process = on_devices(devices, end)
        said = process.communicate(timeout=600)
        assert process.returncode == 0, said[1]
    assert_same(tmp_path / "run", tmp_path / "other" / "run")


def on_devices(count, flags):
    """A run on so many host devices, started."""
    named = environment(XLA_FLAGS=f"--xla_force_host_platform_device_count={count}")
    command = [sys.executable, "-c", MAIN, *flags]
    return subprocess.Popen(command, cwd=ROOT, env=named, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def stopped(count, flags, sign: Path):
    """Runs until a file is there, then stops by SIGTERM, with work left over: (standard output, standard error)."""
    with on_devices(count, flags) as process:
        try:
            wait_for(sign.exists)
            process.send_signal(signal.SIGTERM)
            said = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == 143, said
    return said
