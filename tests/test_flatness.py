"""The main experiment through the same door as `main`: what it writes, how it resumes, what moves its numbers."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from whole_runs import ROOT, done, smoke_config

from landscape import data, ensembles, objectives, runs
from landscape.experiments import flatness_estimates, inputs, setting
from landscape.files import UserError
from landscape.main import execute
from landscape.measures.curvature import curvature
from landscape.models import conv
from landscape.populations import POPULATIONS

MLP = {"model.name": "mlp"}  # no stage knows what a classifier is made of, and convolutions take longer to compile


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished smoke run with a user's own inputs: seven test images under stripes of noise."""
    folder = tmp_path_factory.mktemp("flatness")
    dataset = data.load("digits", cache=str(folder / "data"))
    index = dataset.splits["test"][:7]
    x = np.clip(data.pixels(dataset.images[index]) + np.linspace(0, 0.1, 8, dtype=np.float32)[:, None], 0, 1)
    np.savez(folder / "mine.npz", x=x, label=dataset.labels[index])
    config = smoke_config("flatness", folder, **MLP, inputs=str(folder / "mine.npz"))
    return folder / "run", *done(config, folder / "run")


def test_it_writes_what_is_promised(finished):
    directory, arrays, summary = finished
    for name in ("config.json", "environment.json", "metrics.jsonl", "report.html", "figures/flatness.pdf"):
        assert (directory / name).stat().st_size > 0, name
    assert not (directory / "stages").exists()
    assert arrays.sizes["population"] == len(POPULATIONS) + 1 and arrays.sizes["member"] == 5
    assert all(v.attrs["units"] and v.attrs["long_name"] for v in arrays.variables.values())
    assert json.loads(arrays.attrs["config"])["experiment"] == "flatness"
    assert summary["schema"] == 1 and {c["name"] for c in summary["claims"]} == {"adversarial_is_sharper"}
    assert {"search", "flatness", "worst", "curvature", "weight", "audit", "training"} <= set(summary["stages"])


def test_no_value_is_missing_where_a_population_is_valid(finished):
    _, arrays, _ = finished
    valid = arrays["valid"].transpose("member", "population", "example").values
    assert valid.any(axis=(0, 2)).sum() >= 8
    for name, array in arrays.data_vars.items():
        if array.dims[-3:] == ("member", "population", "example") and array.dtype.kind == "f":
            assert np.isfinite(array.values[..., valid]).all(), name


def test_a_users_inputs_are_a_population_of_their_own(finished):
    _, arrays, summary = finished
    valid = arrays["valid"].sel(population="user").values
    assert valid.sum(axis=1).tolist() == [7] * 5 and not valid[:, :24].any()
    assert not arrays["valid"].values[:, : len(POPULATIONS), 24:].any()
    told = [e for e in summary["estimates"] if e["population"] == "user" and e.get("reference") == "genuine"]
    assert {e["matching"] for e in told} >= {"raw", "scale_free"} and all(np.isfinite(e["value"]) for e in told)
    parts = [e for e in summary["estimates"] if e["population"] == "user_right"]
    assert {e.get("reference") for e in parts} == {None, "genuine"}
    right = (arrays["prediction"].sel(population="user") == arrays["label"]).isel(example=slice(24, None))
    drop = arrays["input_probability_drop"].sel(population="user").isel(noise=0, sigma=1, example=slice(24, None))
    trained = (arrays["control"] == "trained").values
    expected = drop.where(right).isel(member=trained).mean("example").mean("member")  # members without any: left out
    wanted = {"name": "input_flatness.probability_drop", "noise": "additive", "r": float(arrays["r"][1])}
    (found,) = [e for e in parts if "reference" not in e and all(e.get(k) == v for k, v in wanted.items())]
    np.testing.assert_allclose(found["value"], expected, rtol=1e-5)


@pytest.mark.slow
def test_a_users_inputs_change_no_other_estimate(finished, tmp_path):
    """Same members and images, no user: what does not speak of the user's inputs is equal to the last digit."""
    directory, arrays, summary = finished
    test = arrays.isel(example=slice(24), population=slice(len(POPULATIONS)))
    saved = {n: (v.dims, v.values) for n, v in test.data_vars.items() if not n.startswith(("curve", "match"))}
    coords = {n: (v.dims, v.values) for n, v in test.coords.items()}
    with runs.open_run(smoke_config("flatness", directory.parent, **MLP), tmp_path / "alone") as run:
        alone = flatness_estimates.estimate(run.config, setting.prepare(run.config, run), saved, coords)
    mine = [e for e in summary["estimates"] if not e["population"].startswith("user")]
    assert len(alone.estimates) == len(mine) < len(summary["estimates"])
    for a, b in zip(alone.estimates, mine, strict=True):
        assert a["name"] == b["name"] and a["examples"] == b["examples"]
        for key in ("value", "low", "high", "df", "sem"):
            np.testing.assert_allclose(np.array(a[key], float), np.array(b[key], float), rtol=1e-9, atol=1e-12)
    assert alone.headline == summary["headline"] and alone.claims == summary["claims"]
    user = arrays["curve"].sel(cell="user", reading="raw")
    assert np.isfinite(user).all() and "user" not in alone.curves["cell"][1]


def test_shares_have_intervals_within_their_range(finished):
    _, _, summary = finished
    shares = [
        e for e in summary["estimates"] if e["name"] in ("accuracy.test", "attack.success", "confidence.gap_above_15")
    ]
    bounded = [e for e in shares if e["low"] is not None]  # a handful of images has no interval
    assert len(bounded) >= 8 and all(0 <= e["low"] <= e["value"] <= e["high"] <= 1 for e in bounded)


@pytest.mark.slow
def test_the_top_eigenvalue_on_trained_members_is_that_of_the_dense_hessian(finished, tmp_path):
    """On real digits and restored members, within 0.1 % of `jax.hessian` (relative to its largest eigenvalue)."""
    directory, _, _ = finished
    with runs.open_run(smoke_config("flatness", directory.parent, **MLP), tmp_path / "again") as run:
        prepared = setting.prepare(run.config, run)
    member = ensembles.take(prepared.ensemble, 0)
    chosen = setting.examples(prepared.dataset, "test", 6, 0)
    model, plain = prepared.classifier, setting.classifier_of(run.config, prepared.dataset, conv=conv.plain)
    x = jnp.asarray(chosen.x)
    label = jnp.argmax(model.apply(member, x), axis=-1)
    keys = setting.example_keys(0, "curvature", chosen.ids)
    out = jax.jit(lambda k, v, x, c: curvature(k, v, x, c, apply=model.apply, num_steps=12, num_probes=64))(
        keys, member, x, label
    )

    @jax.jit
    def dense(x, c):
        return jax.hessian(lambda flat: objectives.loss(plain.apply(member, flat.reshape(1, 8, 8, 1)), c[None])[0])(x)

    values = np.stack(
        [np.linalg.eigvalsh(np.asarray(dense(x.ravel(), c), np.float64)) for x, c in zip(x, label, strict=True)]
    )
    size = np.maximum(np.abs(values).max(axis=1), 1e-6)
    assert (size > 1e-3).all()  # not saturated: something is compared
    np.testing.assert_array_less(np.abs(out["hessian_top"] - values[:, -1]), 1e-3 * size)
    np.testing.assert_array_less(np.abs(out["hessian_trace"] - values.sum(axis=1)), 1e-4 * np.abs(values).sum(axis=1))


def test_estimates_follow_from_the_arrays(finished):
    """Accuracy and a raw mean, recomputed from arrays.nc as a reader of it would."""
    _, arrays, summary = finished
    trained = arrays.isel(member=(arrays["control"] == "trained").values, example=slice(24))
    estimates = {(e["name"], e["population"], e.get("r"), e.get("reference")): e for e in summary["estimates"]}
    genuine = trained["valid"].sel(population="genuine")
    np.testing.assert_allclose(estimates["accuracy.test", "clean", None, None]["value"], genuine.mean(), rtol=1e-6)
    level = int(np.argmin(np.abs(trained["r"].values - 0.3)))
    drop = trained["input_probability_drop"].isel(noise=0, sigma=level).sel(population="genuine")
    expected = drop.where(genuine).mean("example").mean()
    found = estimates["input_flatness.probability_drop", "genuine", float(trained["r"][level]), None]
    np.testing.assert_allclose(found["value"], expected, rtol=1e-5)


def test_control_members_are_judged_by_their_own_predictions(finished):
    _, arrays, _ = finished
    untrained = arrays.isel(member=(arrays["control"] == "untrained").values, example=slice(24))
    np.testing.assert_array_equal(untrained["prediction"].sel(population="genuine"), untrained["label"])
    assert untrained["valid"].sel(population="genuine").all()


def test_a_finished_run_is_only_reported_again(finished):
    directory, _, summary = finished
    config = json.loads((directory / "config.json").read_text())
    before = (directory / "arrays.nc").stat().st_mtime_ns
    from ml_collections import ConfigDict

    with runs.open_run(ConfigDict(config), directory) as run:
        assert runs.finished(run)
        execute(run, plan=False)
        assert runs.read_summary(run) == summary
    assert (directory / "arrays.nc").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((2, 8, 8, 1), np.float32)}, r"missing \['label'\]"),
        ({"x": np.zeros((2, 9, 8, 1), np.float32), "label": np.zeros(2, int)}, r"expected \[2, 8, 8, 1\]"),
        ({"x": np.full((2, 8, 8, 1), 255.0), "label": np.zeros(2, int)}, "divide 8-bit images by 255"),
        ({"x": np.full((2, 8, 8, 1), np.nan), "label": np.zeros(2, int)}, "128 values that are NaN or infinite"),
        ({"x": np.zeros((2, 8, 8, 1)), "label": np.array([0, 10])}, r"from 0 to 10; expected .* integers in 0\.\.9"),
        ({"x": np.zeros((2, 8, 8, 1)), "label": np.array([0.0, 1.0])}, r"integers in 0\.\.9"),
    ],
)
def test_wrong_inputs_are_told_in_one_line(tmp_path, arrays, message):
    dataset = data.load("digits", cache=str(tmp_path / "data"))
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(UserError, match=message):
        inputs.read_inputs(str(tmp_path / "x.npz"), dataset)
    with pytest.raises(UserError, match="no such file"):
        inputs.read_inputs(str(tmp_path / "y.npz"), dataset)


def test_broken_inputs_are_told_in_one_line(tmp_path):
    dataset = data.load("digits", cache=str(tmp_path / "data"))
    np.save(tmp_path / "array.npy", np.zeros((2, 8, 8, 1)))
    np.savez(tmp_path / "whole.npz", x=np.zeros((2, 8, 8, 1)), label=np.zeros(2, int))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:-30])
    for name in ("array.npy", "cut.npz"):
        with pytest.raises(UserError, match=r"not readable .* expected an \.npz made by numpy\.savez"):
            inputs.read_inputs(str(tmp_path / name), dataset)
    np.savez(tmp_path / "scalar.npz", x=np.zeros((2, 8, 8, 1)), label=np.int64(1))
    with pytest.raises(UserError, match="x has shape"):
        inputs.read_inputs(str(tmp_path / "scalar.npz"), dataset)


@pytest.mark.slow
def test_kill_9_at_ten_random_moments_changes_no_estimate(tmp_path):
    """Each run is killed at a random moment of what is left of it, ten times over, then left to end."""
    command = [sys.executable, "-m", "landscape.main", f"--config={ROOT}/configs/flatness.py:digits,smoke"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}

    def start(workdir):
        shared = [f"--config.artifacts={workdir}/artifacts", f"--workdir={workdir}/run"]
        return subprocess.Popen([*command, *shared], cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL)

    began = time.monotonic()
    assert start(tmp_path / "whole").wait() == 0
    length = time.monotonic() - began
    rng, kills, ended = random.Random(0), 0, 0
    while kills < 10:  # a run that ends before its kill is followed by another from nothing
        workdir = tmp_path / f"killed{ended}"
        process = start(workdir)
        try:
            assert process.wait(timeout=rng.uniform(2, length / 2)) == 0
            ended += 1
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
    assert start(tmp_path / f"killed{ended}").wait() == 0

    def told(workdir):
        summary = json.loads((tmp_path / workdir / "run" / "summary.json").read_text())
        return {part: summary[part] for part in ("estimates", "claims", "checks", "headline")}

    for number in range(ended + 1):
        assert told(f"killed{number}") == told("whole")
