"""Runs resume to the same numbers, keep out of each other's way, and refuse what they cannot do right."""

import contextlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from ml_collections import ConfigDict
from rich.console import Console

from landscape import files, runs
from landscape.files import UserError
from landscape.runs import directory, environment, signals, summary
from landscape.runs.directory import read_metrics

ROOT = Path(__file__).parents[1]
ESTIMATE = {
    **dict(name="accuracy.test", population="genuine", value=0.97123, low=0.96, high=0.98, level=0.95),
    **dict(members=8, examples=256, unit="share", generalises_to="both"),
}


def config(**changes):
    return ConfigDict(
        {"experiment": "fake", "seed": 0, "data": {"name": "digits"}, "artifacts": "runs/artifacts", **changes}
    )


@pytest.fixture
def run(tmp_path):
    with runs.open_run(config(), tmp_path / "run") as opened:
        yield opened


def squares(start, stop):
    """One array along examples, one with examples second, one without."""
    x = np.arange(start, stop, dtype=np.float32)
    return {
        "square": (("example",), x**2),
        "table": (("step", "example"), np.stack([x, -x])),
        "levels": (("sigma",), np.array([0.1, np.nan])),
        "name": (("example",), x.astype(int).astype(str)),
        "odd": (("example",), x % 2 == 1),
    }


def assert_same(one, other):
    assert {name: dims for name, (dims, _) in one.items()} == {name: dims for name, (dims, _) in other.items()}
    for name, (_, array) in one.items():
        assert array.dtype.kind == other[name][1].dtype.kind
        np.testing.assert_array_equal(array, other[name][1])


class Killed(Exception):
    pass


def killed_at(fn, moment):
    """fn that fails on chunks from `moment` on."""

    def failing(start, stop):
        if start >= moment:
            raise Killed
        return fn(start, stop)

    return failing


def noting(done):
    """squares that notes the ranges it is asked for."""
    return lambda start, stop: done.append((start, stop)) or squares(start, stop)


# chunks


def test_a_resumed_stage_redoes_only_what_is_missing_in_chunks_of_the_size_it_began_with(run):
    with pytest.raises(Killed):
        runs.chunks(run, "squares", killed_at(squares, 6), 10, 3)
    done = []
    assert_same(runs.chunks(run, "squares", noting(done), 10, 5), squares(0, 10))
    assert done == [(6, 9), (9, 10)]
    assert_same(runs.chunks(run, "squares", killed_at(squares, 0), 10, 3), squares(0, 10))
    with pytest.raises(UserError, match=r"begun with 10 along example, now 12 along example.*--force"):
        runs.chunks(run, "squares", squares, 12, 3)
    with pytest.raises(ValueError, match=r"total=0.*is the split empty"):
        runs.chunks(run, "none", squares, 0, 4)


def short_of_memory(fn, most, tried):
    """fn on a device that holds `most` examples, as JAX says it."""

    def limited(start, stop):
        tried.append((start, stop))
        if stop - start > most:
            raise type("JaxRuntimeError", (RuntimeError,), {})("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes.")
        return fn(start, stop)

    return limited


def test_out_of_memory_halves_what_is_tried_says_so_once_and_is_kept(run, capsys):
    tried = []
    with pytest.raises(Killed):
        runs.chunks(run, "squares", short_of_memory(killed_at(squares, 10), 3, tried), 30, 10)
    assert tried[:3] == [(0, 10), (0, 5), (0, 3)]  # what is too large is tried once
    said = [line for line in capsys.readouterr().out.splitlines() if "out of memory" in line]
    assert said == [
        "squares: out of memory with 10 examples at once; going on with 5",
        "squares: out of memory with 5 examples at once; going on with 3",
    ]
    found = runs.chunks(run, "squares", short_of_memory(squares, 3, tried := []), 30, 10)
    assert tried == [(n, min(n + 3, end)) for end in (20, 30) for n in range(end - 10, end, 3)]
    assert_same(found, squares(0, 30))
    with pytest.raises(UserError, match=r"small: one of the examples.*try fewer members"):
        runs.chunks(run, "small", short_of_memory(squares, 0, []), 30, 10)


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "other range"])
def test_a_damaged_chunk_is_redone(run, damage):
    whole = runs.chunks(run, "squares", squares, 600, 200)
    path = run.directory / "stages" / "squares" / "200.npz"
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[300] ^= 1
    elif damage == "other range":
        data = (path.parent / "0.npz").read_bytes()
    path.write_bytes({"cut": data[: len(data) // 2], "empty": b""}.get(damage, data))
    done = []
    redone = runs.chunks(run, "squares", noting(done), 600, 200)
    assert done == [(200, 400)]
    assert_same(redone, whole)


def test_chunks_refuse_arrays_that_do_not_fit(run):
    with pytest.raises(ValueError, match=r"x: shape \(3,\).*expected example = 4"):
        runs.chunks(run, "bad", lambda a, b: {"x": (("example",), np.zeros(3))}, 8, 4)
    with pytest.raises(ValueError, match="differs between chunks"):
        runs.chunks(run, "unlike", lambda a, b: {"x": (("sigma",), np.array([a]))}, 8, 4)


def test_once_is_saved(run):
    def fn():
        return {"x": (("sigma",), np.arange(3)), "y": ((), np.array(2.5))}

    first = runs.once(run, "fit", fn)
    again = runs.once(run, "fit", lambda: pytest.fail("done already"))
    assert_same(first, again)


def test_stage_seconds_are_those_of_the_work_whoever_did_it(run, monkeypatch):
    def slow(start, stop):
        time.sleep(0.02)
        return squares(start, stop)

    with pytest.raises(Killed):
        runs.chunks(run, "z", killed_at(slow, 2), 4, 1)
    monkeypatch.setattr(time, "time", lambda: 0.0)  # a clock set back
    runs.once(run, "a", lambda: slow(0, 1))
    runs.chunks(run, "z", slow, 4, 1)
    seconds = runs.stage_seconds(run)
    assert list(seconds) == ["z", "a"]  # in the order they were begun
    assert 0.08 <= seconds["z"] < 5 and 0.02 <= seconds["a"] < 5


# signals


def test_a_signal_stops_between_chunks_and_the_run_goes_on(run, restored_signals):
    signals.install()

    def fn(start, stop):
        if start == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return squares(start, stop)

    with pytest.raises(runs.Interrupted) as raised:
        runs.chunks(run, "squares", fn, 10, 2)
    assert raised.value.status == 143
    saved = {path.name for path in (run.directory / "stages" / "squares").glob("*.npz")}
    assert saved == {"0.npz", "2.npz", "4.npz"}  # the chunk under way was finished and saved, the next not begun
    signals.install()
    assert_same(runs.chunks(run, "squares", killed_at(squares, 99), 10, 2), squares(0, 10))


def test_hanging_up_is_ignored_under_nohup(restored_signals):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signals.install()
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_a_second_signal_stops_at_once(restored_signals):
    signals.install()
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(runs.Interrupted) as raised:
        signal.raise_signal(signal.SIGINT)
    assert raised.value.status == 130


@pytest.fixture
def restored_signals():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    signals._received.clear()
    for number, handler in before.items():
        signal.signal(number, handler)


JOB = """
import sys, time
import numpy as np
import xarray as xr
from ml_collections import ConfigDict
from landscape import files, runs

config = ConfigDict({"experiment": "fake", "seed": 0, "data": {"name": "digits"}, "artifacts": "a"})
with runs.open_run(config, sys.argv[1]) as run:
    if not runs.finished(run):
        def fn(start, stop):
            time.sleep(0.02)
            rows = [np.random.default_rng(i).normal(size=50) for i in range(start, stop)]
            return {"x": (("example", "trial"), np.array(rows))}
        base = runs.once(run, "base", lambda: {"b": ((), np.array(np.pi))})
        one = runs.chunks(run, "one", fn, 30, 4)
        two = runs.chunks(run, "two", fn, 30, 7)
        for step in range(5):
            run.log("fit", step, loss=1 / (step + 1))
        arrays = {"x": one["x"], "y": (two["x"][0], two["x"][1] * base["b"][1])}
        files.write_netcdf(run.directory / "arrays.nc", xr.Dataset(arrays))
        runs.write_summary(run, headline="done", estimates=[], checks=[], stages={})
    runs.finish(run)
"""


def _count(folder):
    return sum(len(names) for _, _, names in os.walk(folder))


@pytest.mark.slow  # of whole experiments: test_kills.py
def test_kill_minus_nine_at_random_moments_ends_with_the_same_arrays(tmp_path):
    command = [sys.executable, "-c", JOB]
    options = {"env": {**os.environ, "PYTHONPATH": str(ROOT)}, "stdout": subprocess.DEVNULL}
    subprocess.run([*command, tmp_path / "whole"], check=True, **options)
    moments = random.Random(0)
    killed_within = set()
    for _ in range(6):
        job = subprocess.Popen([*command, tmp_path / "killed"], **options)
        more = _count(tmp_path / "killed") + moments.randint(1, 5)  # so that every start gets a little further
        while _count(tmp_path / "killed") < more and job.poll() is None:
            time.sleep(0.002)
        time.sleep(moments.uniform(0, 0.03))
        job.kill()
        job.wait()
        killed_within.add(_count(tmp_path / "killed"))
    assert len(killed_within) > 3
    subprocess.run([*command, tmp_path / "killed"], check=True, **options)
    mine = config(artifacts="a")
    with runs.open_run(mine, tmp_path / "whole") as whole, runs.open_run(mine, tmp_path / "killed") as killed:
        assert runs.read_arrays(whole).identical(runs.read_arrays(killed))
        lines = [read_metrics(opened.directory / "metrics.jsonl") for opened in (whole, killed)]
    assert lines[0] == lines[1]
    assert sorted(p.name for p in (tmp_path / "killed").iterdir()) == sorted(
        p.name for p in (tmp_path / "whole").iterdir()
    )
    assert not (tmp_path / "killed" / "stages").exists()


# directory


def test_the_directory_is_named_after_the_config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with runs.open_run(config()) as one, runs.open_run(config(seed=1)) as other:
        assert one.directory != other.directory
        assert one.directory == Path(f"runs/fake/digits-{one.config_hash[:8]}")
        assert files.read_json(one.directory / "config.json") == one.config.to_dict()
        saved = files.read_json(one.directory / "environment.json")
    assert saved["seed"] == 0 and saved["versions"]["jax"] and saved["python"].startswith("3.")


def test_a_directory_in_use_or_of_another_config_is_refused_and_left_alone(tmp_path):
    with runs.open_run(config(), tmp_path / "run") as run:
        runs.once(run, "a", lambda: {"x": ((), np.array(1))})
        with pytest.raises((AttributeError, TypeError)):
            run.config.seed = 3
        with pytest.raises(UserError, match="in use by process"):
            runs.open_run(config(), run.directory)
    for force in (False, True):
        with pytest.raises(UserError, match=r"another config \(seed 0 there and 1 here\); try another --workdir"):
            runs.open_run(config(seed=1), tmp_path / "run", force=force)
    assert (tmp_path / "run" / "stages" / "a" / "0.npz").exists()
    runs.open_run(config(), tmp_path / "run").close()  # a refusal leaves no lock behind


def test_a_refused_command_leaves_nothing_and_keeps_what_was_computed_or_there(tmp_path):
    def refused(directory, *, computed=False):
        with pytest.raises(UserError), runs.open_run(config(), directory) as run:
            runs.begin_on(run, "abc", "some data")
            if computed:
                runs.once(run, "found", lambda: {"one": ((), np.ones(()))})
            raise UserError("too few images")
        return sorted(path.name for path in tmp_path.rglob("*") if path.is_dir())

    (tmp_path / "mine").mkdir()
    assert refused(tmp_path / "new/run") == ["mine"]
    assert refused(tmp_path / "mine") == ["mine"] and not [*(tmp_path / "mine").iterdir()]
    assert refused(tmp_path / "new", computed=True) == refused(tmp_path / "new") == ["found", "mine", "new", "stages"]


def test_a_directory_of_something_else_or_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(UserError, match=r"holds 'thesis.tex' but no config.json"):
        runs.open_run(config(), tmp_path, force=True)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(
        UserError, match=r"thesis.tex is no folder; expected a folder to write to; try another --workdir"
    ):
        runs.open_run(config(), tmp_path / "thesis.tex" / "run")


@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize("name", ["config.json", "environment.json"])
def test_what_a_damaged_file_is_answered_with_helps(tmp_path, name, ends):
    with runs.open_run(config(), tmp_path / "run") as run:
        _ = finish_with(run) if ends else runs.once(run, "a", lambda: {"x": ((), np.array(1))})
    (tmp_path / "run" / name).write_text('{"a": ')

    def opened():
        with runs.open_run(config(), tmp_path / "run") as run:
            return files.read_json(run.directory / name)

    with pytest.raises(UserError, match=f"{name}: not readable as JSON") as error:
        opened()
    if name == "config.json":  # without it, nobody knows whose directory this is
        assert "delete the directory, which keeps trained members, or try another --workdir" in str(error.value)
        shutil.rmtree(tmp_path / "run")
    else:
        assert str(error.value).endswith("delete it")
        (tmp_path / "run" / name).unlink()
    assert opened()["seed"] == 0


def results(directory):
    """(path, bytes) of all files but the lock."""
    paths = [path for path in directory.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(directory)): path.read_bytes() for path in paths}


def made_before(directory, **own):
    """The results of a finished run, with a figure and a file of the user's own."""
    with runs.open_run(config(**own), directory) as run:
        finish_with(run)
        files.write_text(run.directory / "notes.txt", "the user's own")
        files.write_text(run.directory / "figures" / "a.svg", "")
    return results(directory)


def test_force_clears_results_and_keeps_models(tmp_path):
    artifacts = tmp_path / "artifacts"
    files.write_text(artifacts / "member", "weights")
    before = made_before(tmp_path / "run", artifacts=str(artifacts))
    with runs.open_run(config(artifacts=str(artifacts)), tmp_path / "run", force=True) as run:
        assert not runs.finished(run)
        left = {path.name for path in run.directory.iterdir()}
        assert left == {".earlier", ".lock", "config.json", "environment.json", "notes.txt"}
        finish_with(run)
        runs.finish(run)
    assert {*results(tmp_path / "run")} == {*before} - {"figures/a.svg"}
    assert (artifacts / "member").exists()


def test_what_killed_writers_left_is_swept_when_the_run_is_opened_again(tmp_path):
    before = made_before(tmp_path)
    for name in (".tmp-1-arrays.nc", "figures/.tmp-2-a.svg", "stages/a/.tmp-3-0.npz"):
        files.write_text(tmp_path / name, "half")
    with runs.open_run(config(), tmp_path):
        assert results(tmp_path) == before


def begun(run, computed):
    """A run that has begun its first stage, and perhaps computed a part of it."""
    runs.begin_on(run, "abc", "mine")
    run.log("training", 1, loss=0.5)
    files.write_json(run.directory / "stages/a/stage.json", {"began": 1})
    if computed:
        files.write_npz(run.directory / "stages/a/0.npz", {"x": np.array(1)})


@pytest.mark.parametrize("ended", [UserError, OSError, runs.Interrupted])
def test_a_forced_run_that_ends_with_nothing_computed_leaves_the_earlier_results(tmp_path, ended):
    before = made_before(tmp_path)
    with contextlib.suppress(ended), runs.open_run(config(), tmp_path, force=True) as run:
        begun(run, computed=False)
        raise ended(15)
    assert results(tmp_path) == before


def test_a_forced_run_that_has_computed_something_goes_on_without_force(tmp_path):
    before = made_before(tmp_path)
    with contextlib.suppress(UserError), runs.open_run(config(), tmp_path, force=True) as run:
        begun(run, computed=True)
        raise UserError("the disk is full")
    for force in (False, True):  # again with --force: the unfinished results go, the finished ones are kept
        with runs.open_run(config(), tmp_path, force=force) as run:
            assert (run.directory / "stages/a/0.npz").exists() != force and not runs.finished(run)
    assert results(tmp_path) == before


@pytest.mark.parametrize("parts", [False, True], ids=["", "of parts"])
@pytest.mark.parametrize("back", [False, True], ids=["set aside", "put back"])
def test_a_kill_while_results_are_moved_loses_none(tmp_path, monkeypatch, back, parts):
    before, real, died = made_before(tmp_path / "run"), os.replace, 0
    if parts:
        files.write_text(tmp_path / "run/parts/train/arrays.nc", "")
        before = results(tmp_path / "run")
    for moves in range(20):  # before the process dies
        left = iter([*[real] * moves, None])

        def replace(one, other, left=left):
            if (go := next(left)) is None:
                raise SystemExit
            go(one, other)

        folder = tmp_path / f"{moves}"
        shutil.copytree(tmp_path / "run", folder)
        if back:
            directory.set_aside(folder)
            files.write_text(folder / "metrics.jsonl", "of the new run")
        with monkeypatch.context() as patch, contextlib.suppress(SystemExit):
            patch.setattr(os, "replace", replace)
            (directory.put_back if back else directory.set_aside)(folder)
            break
        died += 1
        runs.open_run(config(), folder).lock.pop_all()  # left open, so that nothing is done at its end
        assert results(folder) == before
    assert died == 1 + sum((tmp_path / "run" / name).exists() for name in directory.RESULTS)


def test_another_environment_stands_beside_the_first(tmp_path, monkeypatch):
    path = tmp_path / "environment.json"
    environment.write(path, seed=0)
    environment.add(path, devices=["cpu:0"])
    environment.write(path, seed=0)
    assert files.read_json(path)["earlier"] == []
    monkeypatch.setattr(environment, "_version", lambda name: "0.0")
    environment.write(path, seed=0)
    assert [earlier["versions"]["jax"] != "0.0" for earlier in files.read_json(path)["earlier"]] == [True]


def test_a_run_that_goes_on_with_other_code_says_so(tmp_path, capsys, monkeypatch):
    for version, said in (("1", False), ("1", False), ("2", True)):
        monkeypatch.setattr(environment, "_version", lambda name, version=version: version)
        with runs.open_run(config(), tmp_path / "run") as run:
            runs.begin_on(run, "abc", "mine")
        assert ("began with other versions" in capsys.readouterr().out) == said


def test_a_directory_of_another_experiment_is_named(tmp_path):
    with runs.open_run(config(), tmp_path / "run"):
        pass
    with pytest.raises(
        UserError, match=r"holds a run of the experiment fake, expected one of other, .* another --work"
    ):
        runs.open_run(config(experiment="other", more=1), tmp_path / "run")


def test_stages_of_other_data_are_refused(tmp_path, capsys):
    """Members are trained anew on other data; inputs that were searched for before would not be theirs."""
    for checksum in ("abc", "abc"):
        with runs.open_run(config(), tmp_path / "run") as run:
            runs.begin_on(run, checksum, "mine")
            runs.begin_on(run, checksum, "mine")  # as where several kinds of members are prepared
    assert capsys.readouterr().out.count("data: mine") == 2  # once a command
    assert files.read_json(run.directory / "environment.json")["data"] == "mine"
    with (
        runs.open_run(config(), tmp_path / "run") as run,
        pytest.raises(UserError, match=r"begun on other data.*start over with --force"),
    ):
        runs.begin_on(run, "abd", "mine")
    with runs.open_run(config(), tmp_path / "run", force=True) as run:
        runs.begin_on(run, "abd", "mine")


def test_the_runs_room_does_not_start_jax():
    code = "import sys; from landscape import main, presets, runs; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})


# metrics


def test_metrics_of_steps_done_again_are_not_logged_twice(tmp_path):
    path = tmp_path / "run" / "metrics.jsonl"
    with runs.open_run(config(), tmp_path / "run") as run:
        for step in range(5):
            run.log("train", step, loss=np.array([step, np.nan]), accuracy=0.5)
            run.log("probe", step, value=step)
    with open(path, "a") as file:
        file.write('{"stage": "train", "st')  # killed in the middle of a line
    with open(path, "ab") as file:
        file.write(b"\n\xff\x00\n7\n{}\n")  # what a power cut may leave
    with runs.open_run(config(), tmp_path / "run") as run:
        for step in (3, 4, 5):
            run.log("train", step, loss=-step)
    lines = read_metrics(path)
    assert [line["step"] for line in lines if line["stage"] == "train"] == [0, 1, 2, 3, 4, 5]
    assert [line["loss"] for line in lines if line["stage"] == "train"] == [[0, None], [1, None], [2, None], -3, -4, -5]
    assert [line["step"] for line in lines if line["stage"] == "probe"] == [0, 1, 2, 3, 4]
    assert all(json.loads(line) for line in path.read_text().splitlines())


# summary


def finish_with(run, **parts):
    """Finishes a run of one stage; its summary."""
    runs.once(run, "fit", lambda: {"x": ((), np.array(1))})
    given = {"headline": "It is flat.", "estimates": [ESTIMATE], "checks": [], "stages": runs.stage_seconds(run)}
    runs.write_summary(run, **given | parts)
    runs.finish(run)
    return runs.read_summary(run)


def test_finishing_keeps_the_seconds_and_drops_the_stages(run):
    with pytest.raises(ValueError, match=r"no summary\.json"):
        runs.finish(run)
    assert not runs.finished(run)
    written = finish_with(run, claims=[{"name": "c", "value": np.nan}])
    assert runs.finished(run) and not (run.directory / "stages").exists()
    assert written["schema"] == 2 and written["claims"] == [{"name": "c", "value": None}]
    assert written["config_hash"] == run.config_hash and list(written["stages"]) == ["fit"]
    runs.finish(run)  # killed in between, it is called once more


def test_the_terminal_has_failures_first_and_the_report_last(run):
    difference = {
        **{**ESTIMATE, "name": "input_flatness.scale_free", "population": "adversarial", "value": 0.0123456},
        **{"low": None, "high": None, "reference": "boosted", "noise": "additive", "r": 0.3, "headline": True},
    }
    claim = {"name": "sharper", "verdict": "undecided", "value": 0.0123456, "low": -0.5, "high": 1234.5, "r": 0.3}
    claim |= {"measure": "distance.l2", "populations": ["adversarial", "boosted"], "matching": "iso"}
    claim |= {"direction": "less", "smallest_effect": 0.02}
    checks = [{"name": "audit", "passed": False, "detail": "[x] fell"}, {"name": "fine", "passed": True, "detail": ""}]
    ratio = {**ESTIMATE, "name": "throughput.step_time", "population": "best", "reference": "nothing", "unit": "times"}
    written = finish_with(run, estimates=[difference, ratio], checks=checks, claims=[claim])
    shown = io.StringIO()
    quiet = runs.Run(**{**vars(run), "console": Console(file=shown, width=120)})
    runs.print_summary(quiet, written, Path("runs/x/report.html"))
    text = shown.getvalue()
    lines = text.strip().splitlines()
    assert lines[0] == "FAILED CHECK audit: [x] fell"
    assert "It is flat." in text and "claim sharper: undecided, 0.0123 [-0.5, 1230]" in text
    about = "distance.l2: adversarial - boosted, iso, r 0.3; expected below 0, smallest effect 0.02"
    assert lines[lines.index("claim sharper: undecided, 0.0123 [-0.5, 1230]") + 1].strip() == about
    assert "input_flatness.scale_free" in text and "adversarial - boosted" in text and "additive, r 0.3" in text
    assert "throughput.step_time: best / nothing" in text
    assert "checks: 1 of 2 passed" in text
    assert lines[-1] == "report: runs/x/report.html"


def test_numbers_have_three_digits_at_most():
    texts = {0.97123: "0.971", -0.5: "-0.5", 1234.5: "1230", 0.000123456: "0.000123", 1.234e-5: "1.23e-05"}
    texts |= {0.0: "0", 12345678: "1.23e+07", 8: "8", None: "-"}
    assert {value: summary.number(value) for value in texts} == texts


# progress


def shown(run, *, restored=0, fail=False, **terminal):
    """What three epochs show; the second may fail."""
    text = io.StringIO()
    console = Console(file=text, width=100, **terminal)
    with contextlib.suppress(Killed):
        with runs.progress(runs.Run(**{**vars(run), "console": console}), "train", 3, "epochs") as bar:
            if restored:
                bar.restore(restored)
            for epoch in range(restored, 3):
                bar.advance(1, f"loss {epoch}")
                if fail and epoch == 1:
                    raise Killed
    return text.getvalue()


def test_progress_on_a_pipe_is_a_line_at_each_end_and_now_and_then(run, monkeypatch):
    first, last = shown(run).splitlines()
    assert first == "train: 0/3 epochs" and last.startswith("train: 3/3 epochs, loss 2 in ")
    last = shown(run, restored=1, fail=True).splitlines()[-1]
    assert last.startswith("train: 2/3 epochs") and last.endswith("(1 found done)") and " in " not in last
    # by module: the package's attribute of that name is the function
    monkeypatch.setattr(sys.modules["landscape.runs.progress"], "LINE_SECONDS", 0.0)
    lines = shown(run).splitlines()
    assert len(lines) == 4 and "/s, " in lines[1] and " left, loss 0" in lines[1]


def test_progress_on_a_terminal_is_a_bar(run):
    text = shown(run, force_terminal=True)
    assert "3/3 epochs, loss 2" in text and "━" in text


def test_the_time_left_does_not_count_what_the_first_unit_compiled(monkeypatch):
    """A minute for the first, a second for each of the others; one was found done."""
    module, now = sys.modules["landscape.runs.progress"], [0.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    bar = module.Bar(Console(file=io.StringIO()), "train", 5, "epochs")
    bar.restore(1)
    states = []
    for seconds in (60.0, 1.0, 1.0):
        now[0] += seconds
        bar.advance()
        states.append(bar.state())
    assert states[1:] == ["3/5 epochs, 1/s, 2.0 s left", "4/5 epochs, 1/s, 1.0 s left"]
