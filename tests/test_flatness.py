"""The main experiment through the same door as `main`: what it writes, how it resumes, what moves its numbers."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import xarray as xr
from ml_collections import ConfigDict
from whole_runs import ROOT, done, smoke_config

from landscape import data, experiments, runs
from landscape.attacks import audit
from landscape.experiments import execute, inputs, measured, neighbors, setting, works
from landscape.experiments.connectivity import stages
from landscape.experiments.connectivity.pairs import Pairs
from landscape.experiments.flatness import estimates
from landscape.experiments.flatness.config import COMPARED_WITH
from landscape.files import UserError
from landscape.populations import FURTHER, POPULATIONS
from landscape.stats.table import Row, Table, read_csv

OWN = (*POPULATIONS, *FURTHER)
MLP = {"model.name": "mlp"}  # no stage knows what a classifier is made of, and convolutions take longer to compile


@pytest.fixture(scope="module")
def finished(tmp_path_factory, shared):
    """A finished smoke run on two devices with a user's own inputs: seven test images under stripes of noise."""
    folder = tmp_path_factory.mktemp("flatness")
    dataset = data.load("digits", cache=shared["data.cache"])
    index = dataset.splits["test"][:7]
    x = np.clip(data.pixels(dataset.images[index]) + np.linspace(0, 0.1, 8, dtype=np.float32)[:, None], 0, 1)
    np.savez(folder / "mine.npz", x=x, label=dataset.labels[index])
    own = MLP | {"populations": FURTHER, "inputs": str(folder / "mine.npz")}
    own["data.cache"] = shared["data.cache"]  # members of its own: they log
    config = smoke_config("flatness", folder, **own)
    arrays, summary = done(config, folder / "run", devices=2)
    return Finished(folder / "run", config, arrays, summary, table_of(folder / "run"))


class Finished(NamedTuple):
    """What a run left."""

    directory: Path
    config: ConfigDict
    arrays: xr.Dataset
    summary: dict
    table: Table


def table_of(directory):
    return read_csv((directory / "estimates.csv").read_text())


def test_it_writes_what_is_promised(finished):
    directory, _, arrays, summary, table = finished
    for name in ("config.json", "environment.json", "metrics.jsonl", "report.html", "figures/flatness.pdf"):
        assert (directory / name).stat().st_size > 0, name
    assert not (directory / "stages").exists()
    assert arrays.population.values.tolist() == [*OWN, "user"] and arrays.sizes["member"] == 5
    assert all(v.attrs["units"] and v.attrs["long_name"] for v in arrays.variables.values())
    assert json.loads(arrays.attrs["config"])["experiment"] == "flatness"
    assert summary["schema"] == 2 and {c["name"] for c in summary["claims"]} == {
        "sharper_than_boosted",
        "sharper_than_genuine",
    }
    assert {"search", "flatness", "worst", "curvature", "weight", "audit", "training"} <= set(summary["stages"])
    shown = [dict(row) for row in table if row.get("headline")]
    assert summary["estimates"] == shown and 0 < len(shown) <= 12 < len(table)


def test_no_value_is_missing_where_a_population_is_valid(finished):
    arrays = finished.arrays
    valid = arrays["valid"].transpose("member", "population", "example").values
    assert valid.any(axis=(0, 2)).sum() >= 8
    for name, array in arrays.data_vars.items():
        if array.dims[-3:] == ("member", "population", "example") and array.dtype.kind == "f":
            assert np.isfinite(array.values[..., valid]).all(), name


def test_augmented_inputs_are_compared_with_genuine_ones(finished):
    """A tenth of the image's norm away, less what is cut off at 0 and 1."""
    arrays, table = finished.arrays.isel(example=slice(24)), finished.table
    moved = arrays["delta_l2"].sel(population="augmented")
    assert (moved > 0).all() and (moved <= 0.1 * 8).all()
    assert (arrays["valid"].sel(population="augmented", drop=True) == arrays["valid"].sel(population="genuine")).all()
    compared = table.select("input_flatness.scale_free", population="augmented", reference="genuine")
    assert {row["matching"] for row in compared} >= {"raw"} and all(np.isfinite(row["value"]) for row in compared)


def test_inputs_of_noisy_weights_and_of_an_autoencoder_are_compared_with_what_they_are_made_beside(finished):
    arrays, table = finished.arrays.isel(example=slice(24)), finished.table
    valid = {name: arrays["valid"].sel(population=name).values for name in OWN}
    right = (arrays["prediction"] == arrays["label"]).transpose("population", "member", "example")
    right = dict(zip(arrays.population.values.tolist(), right.values, strict=True))
    assert (valid["noisy"] == valid["genuine"] & ~right["noisy"]).all() and valid["noisy"].any()
    assert (valid["reconstructed"] == valid["genuine"] & right["reconstructed"]).all()
    assert (valid["manifold"] == valid["reconstructed"] & ~right["manifold"]).all()
    assert arrays["delta_linf"].sel(population="noisy").max() <= finished.config.search.epsilon + 1e-6
    moved = arrays["delta_l2"].sel(population=["reconstructed", "manifold"])
    assert (moved > 0).all() and (abs(moved[:, 1] - moved[:, 0]) > 0).any()
    for name in ("input_flatness.scale_free", "input_flatness.worst_loss_rise", "weight_sharpness.relative_flatness"):
        for one, reference in {"noisy": "adversarial", "reconstructed": "genuine"}.items():
            assert len(table.select(name, population=one, reference=reference, matching="raw").rows), (name, one)


def test_other_experiments_measure_the_same_at_the_same_images(finished, tmp_path, monkeypatch):
    """Clean images as `neighbors` has them, and as endpoints of `connectivity`: their arrays and estimates."""
    with runs.open_run(finished.config, tmp_path / "members") as run:
        prepared = setting.prepare(finished.config, run)
    test = setting.examples(prepared.dataset, "test", 24, finished.config.seed)
    inputs = np.broadcast_to(test.x, (5, *test.x.shape))
    monkeypatch.setattr(works, "NUM_VALIDATION", finished.config.audit.num_examples)

    def of_neighbors(config, run):
        return works.measured(config, run, prepared, inputs[:, None], test, neighbors.INPUT)

    def of_connectivity(config, run):  # of pairs in another order than the images
        order = np.arange(24)
        split = stages.Split(test, xr.Dataset(), Pairs(order, order[::-1], order, test.label[::-1], 24))
        found = stages.measured_by_name(config, run, prepared, split, {"genuine": inputs[:, ::-1]})
        return found.isel(pair=slice(None, None, -1)).rename(kind="population", pair="example")

    genuine = finished.arrays.sel(population=["genuine"], noise=["additive"]).isel(example=slice(24))
    genuine = genuine.drop_vars("example")
    for name, measure in {"neighbors": of_neighbors, "connectivity": of_connectivity}.items():
        own = MLP | {"measures": ("flatness", "weight", "relative")}
        own |= {"pairs.kinds": ("genuine",)} if name == "connectivity" else {}
        with runs.open_run(smoke_config(name, tmp_path, **own), tmp_path / name) as run:
            found = measure(run.config, run).assign_coords(population=["genuine"])
        for one in ("input_margin_drop", "linear_margin_drop", "weight_margin_drop", "relative_flatness", "margin"):
            there = found[f"measured_{one}"]
            wanted = genuine[one].transpose(*(str(dim).removeprefix("measured_") for dim in there.dims))
            np.testing.assert_allclose(there.values, wanted.values, rtol=1e-3, atol=1e-5, err_msg=f"{name}: {one}")
        trained = found.isel(member=slice(4)), genuine.valid.isel(member=slice(4))
        table = measured.table(*trained, ("member", "population", "example"))
        others = [one for one, *_ in measured.OTHERS]  # which `flatness` has at one level alone
        rows = [row for row in table if row["name"] not in others]
        assert {row["measured"] for row in rows} == {"flatness", "weight", "relative"}
        for row in rows:
            about = {key: row[key] for key in ("noise", "r", "weight_noise", "xi") if key in row}
            same = finished.table.one(row["name"], population="genuine", reference=None, matching=None, **about)
            assert all(same[key] == row[key] for key in ("unit", "members", "examples"))
            assert row.interval[:3] == pytest.approx(same.interval[:3], rel=1e-3, abs=1e-5), row


def test_a_users_inputs_are_a_population_of_their_own(finished):
    arrays, table = finished.arrays, finished.table
    valid = arrays["valid"].sel(population="user").values
    assert valid.sum(axis=1).tolist() == [7] * 5 and not valid[:, :24].any()
    assert not arrays["valid"].values[:, : len(OWN), 24:].any()
    compared = table.select(population="user", reference="genuine")
    assert {row["matching"] for row in compared} >= {"raw"}
    assert all(np.isfinite(row["value"]) for row in compared)
    assert {row.get("reference") for row in table.select(population="user_right")} == {None, "genuine"}
    right = (arrays["prediction"].sel(population="user") == arrays["label"]).isel(example=slice(24, None))
    drop = arrays["input_probability_drop"].sel(population="user", noise="additive").isel(r=1, example=slice(24, None))
    trained = (arrays["control"] == "trained").values
    expected = drop.where(right).isel(member=trained).mean("example").mean("member")  # members without any: left out
    where = {"population": "user_right", "reference": None, "noise": "additive", "r": float(arrays["r"][1])}
    found = table.one("input_flatness.probability_drop", **where)
    np.testing.assert_allclose(found["value"], expected, rtol=1e-5)


@pytest.mark.slow  # two tables
def test_a_users_inputs_change_no_other_estimate(finished):
    """Same members and images, no user: rows of other populations are equal to the last digits."""
    test = finished.arrays.isel(example=slice(24), population=slice(len(OWN)))
    alone = estimates.estimate(test, finished.config)
    others = [row for row in finished.table if not row["population"].startswith("user")]
    assert len(alone) == len(others) < len(finished.table)
    for a, b in zip(alone, others, strict=True):
        assert a["name"] == b["name"] and a["examples"] == b["examples"]
        for key in ("value", "low", "high", "df", "sem"):
            np.testing.assert_allclose(
                np.array(a[key], float), np.array(b[key], float), rtol=1e-9, atol=1e-12, err_msg=f"{a} {b}"
            )
    assert estimates.headline(alone, finished.config) == finished.summary["headline"]
    assert json.loads(json.dumps(estimates.claims(alone, finished.config))) == finished.summary["claims"]


def test_labels_of_a_users_inputs_in_another_order_are_noticed(finished):
    mine = finished.arrays.sel(population="user").isel(member=finished.arrays.control.values == "trained")
    right = (mine.prediction == mine.label).values[mine.valid.values].mean()
    assert finished.table.one("accuracy.user")["value"] == pytest.approx(right)
    for user, passed in ((0.8, True), (0.1, False)):
        rows = (Row(name="accuracy.test", value=0.97), Row(name="accuracy.user", value=user))
        (check,) = estimates._user_accuracy(finished.arrays, Table(rows))
        assert check.passed == passed and "0 to 9" in check.detail
    assert estimates._user_accuracy(finished.arrays, Table(rows[:1])) == []
    assert "inputs.accuracy" in {check["name"] for check in finished.summary["checks"]}


def test_estimates_are_made_anew_without_jax_and_come_out_the_same(finished, tmp_path):
    """In a process of its own, where importing JAX is an error; what was written is written again."""
    directory, files = tmp_path / "run", ("summary.json", "estimates.csv", "figures/flatness.csv")
    shutil.copytree(finished.directory, directory)
    before = {name: (directory / name).read_text() for name in files}
    (directory / "estimates.csv").write_text("")
    summary = json.loads(before["summary.json"])
    (directory / "summary.json").write_text(json.dumps(summary | {"headline": "", "claims": [], "checks": []}))
    program = """
import sys
from pathlib import Path
sys.modules["jax"] = None
from ml_collections import ConfigDict
from landscape import experiments, files, runs
config = ConfigDict(files.read_json(Path(sys.argv[1]) / "config.json"))
with runs.open_run(config, sys.argv[1]) as run:
    experiments.execute(run, reestimate=True)
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", program, str(directory)], check=True, env=environment, stdout=subprocess.PIPE)
    for name in files:
        assert (directory / name).read_text() == before[name], name


def test_slack_and_populations_are_those_of_the_searches():
    assert estimates.BALL_SLACK == audit.BALL_SLACK and set(COMPARED_WITH) == set(FURTHER)


def test_the_example_of_its_page_runs(finished, monkeypatch):
    monkeypatch.chdir(finished.directory)
    (block,) = re.findall(
        r"```python\n(.*?)```", (ROOT / "landscape/experiments/flatness/README.md").read_text(), re.DOTALL
    )
    names = {}
    exec(block, names)
    assert Path("drop.png").stat().st_size > 1000
    assert names["drop"].dims == ("r", "member", "population", "example") and np.isfinite(names["drop"]).any()


def test_estimates_follow_from_the_arrays(finished):
    """Accuracy and a raw mean, recomputed from arrays.nc as a reader of it would."""
    arrays, table = finished.arrays, finished.table
    trained = arrays.isel(member=(arrays["control"] == "trained").values, example=slice(24))
    genuine = trained["valid"].sel(population="genuine")
    np.testing.assert_allclose(table.one("accuracy.test", population="clean")["value"], genuine.mean(), rtol=1e-6)
    r = float(trained["r"][np.argmin(np.abs(trained["r"].values - 0.3))])
    drop = trained["input_probability_drop"].sel(noise="additive", r=r, population="genuine")
    where = {"population": "genuine", "reference": None, "matching": None, "noise": "additive", "r": r}
    found = table.one("input_flatness.probability_drop", **where)
    np.testing.assert_allclose(found["value"], drop.where(genuine).mean("example").mean(), rtol=1e-5)


def test_the_curves_at_equal_confidence_differ_by_the_iso_estimate(finished):
    """Both lines are over the images that both twins have; here every image reached its log-odds."""
    data = finished.arrays.copy(deep=True)
    clean = data.valid.sel(population="genuine").values
    for name in ("adversarial_iso", "boosted_iso"):
        data.valid.loc[{"population": name}] = clean
    table = estimates.estimate(data, finished.config).select(estimates.DROP[0], noise="additive", matching="iso")
    differences = table.select(population="adversarial", reference="boosted")
    assert len(differences) == data.sizes["r"]
    for row in differences:
        twins = ("adversarial_iso", "boosted_iso")
        a, b = (table.one(row["name"], population=name, reference=None, r=row["r"]) for name in twins)
        assert a["value"] - b["value"] == pytest.approx(row["value"], rel=1e-9)


def test_control_members_have_their_own_predictions_for_labels(finished):
    arrays = finished.arrays
    untrained = arrays.isel(member=(arrays["control"] == "untrained").values, example=slice(24))
    np.testing.assert_array_equal(untrained["prediction"].sel(population="genuine"), untrained["label"])
    assert untrained["valid"].sel(population="genuine").all()
    own = finished.table.select("input_flatness.scale_free", population="untrained")
    assert [row["members"] for row in own] == [1, 1, 1]


def test_a_run_without_additive_noise_speaks_of_the_first_kind(finished):
    """Its claim dropped, as the check of the config asks for."""
    config = ConfigDict(finished.config.to_dict())
    config.claims = ConfigDict()
    config.flatness.noises = ("sphere", "linf_ball")
    experiments.validate(config)
    table = estimates.estimate(finished.arrays.sel(noise=["sphere", "linf_ball"]), config)
    assert {row.get("noise") for row in table.select("input_flatness.loss_rise")} == {"sphere"}
    assert "sphere noise (r = 0.3) takes" in estimates.headline(table, config) and estimates.claims(table, config) == []


@pytest.mark.slow  # a whole run
def test_a_sweep_is_estimated_by_value_and_nothing_is_pooled(finished, tmp_path):
    """Two values for every seed in one run; each value's rows are those of its members alone."""
    changes = {"sweep.weight_decay": (1e-4, 1.0), "num_members": 2, "control_members.untrained": 0}
    changes |= {"measures": ("flatness",), "search.num_steps": 2, "search.iso_steps": 2}
    config = smoke_config("flatness", tmp_path, **MLP, **changes)
    arrays, summary = done(config, tmp_path / "run")
    table = table_of(tmp_path / "run")
    assert arrays.train_weight_decay.values.tolist() == [1e-4, 1e-4, 1.0, 1.0]
    assert {row.get("train_weight_decay") for row in table} == {1e-4, 1.0}
    part = estimates.estimate(arrays.isel(member=[2, 3]), config)
    assert [
        {k: v for k, v in row.items() if k != "train_weight_decay"} for row in table.select(train_weight_decay=1.0)
    ] == [dict(row) for row in part]
    assert len(part) * 2 >= len(table) > len(part)
    claimed = ("sharper_than_boosted", "sharper_than_genuine")
    names = [f"{name}, weight_decay {value}" for name in claimed for value in ("0.0001", "1")]
    assert [claim["name"] for claim in summary["claims"]] == names
    assert "at weight decay 0.0001; " in summary["headline"] and summary["headline"].endswith("at weight decay 1.")
    page = (tmp_path / "run/report.html").read_text()
    assert "<h3>What training changes</h3>" in page and "Not drawn: <b>How fast" not in page


# ---- the headline ----


def compared(matching, value, low, high, name="probability_drop", **more):
    coords = {"population": "adversarial", "reference": "boosted", "noise": "additive", "r": 0.3, "matching": matching}
    return Row(name=f"input_flatness.{name}", value=value, low=low, high=high, **coords | more)


RAW = compared("raw", 0.012, 0.008, 0.016, "scale_free")
ISO = compared("iso", 0.026, 0.022, 0.03, "scale_free", share_kept=0.7)
BESIDE = [Row(row, reference="genuine") for row in (RAW, compared("iso", 0.001, -0.004, 0.006, "scale_free"))]
MATCHED = compared("matched", -0.01, -0.015, -0.005, "scale_free", share_kept=0.08)
DROP = compared("raw", -0.02, -0.03, -0.01)


@pytest.fixture(scope="module")
def headline(tmp_path_factory):
    config = smoke_config("flatness", tmp_path_factory.mktemp("headline"))
    return lambda *rows: estimates.headline(Table(rows), config)


def test_the_answer_is_beside_genuine_and_boosted_inputs_with_the_range_of_all(headline):
    beyond = compared("iso", 0.02, 0.01, 0.03, "scale_free_beyond_linear")
    beside = Row(beyond, reference="genuine", value=0.015)
    assert headline(RAW, ISO, MATCHED, DROP, *BESIDE, beyond, beside).split(". ") == [
        "The landscape is sharper around adversarial inputs: at the confidence of the clean image, which 70 % of them "
        "reach, noise (r = 0.3) takes 1.5 [1.0, 3.0] percentage points more of the margin than around genuine images, "
        "and 2.0 [1.0, 3.0] more than around boosted inputs, beyond what it takes from linear classifiers with the "
        "same gradients",
        "Of all 8 comparisons under noise on the input (reference, matching, measure, kind of noise) 5 say clearly "
        "sharper and 2 clearly flatter, those of the margin from -1.0 to 2.6 points; of the 2 in which linear "
        "classifiers show nothing 2 say sharper and 0 flatter.",
    ]
    opposite = [Row(row, value=-0.02, low=-0.03, high=-0.01) for row in (beyond, beside)]
    assert "is flatter around" in headline(RAW, ISO, *BESIDE, *opposite)  # by what is said
    without = headline(RAW, ISO, *BESIDE)
    assert "0.1 [-0.4, 0.6] percentage points more of the margin than around genuine" in without
    assert "linear" not in without


def test_what_is_not_clear_is_said_so(headline):
    text = headline(compared("raw", -0.001, -0.01, 0.008, "scale_free"))
    assert text == (
        "The landscape is not clearly sharper or flatter around adversarial inputs: as they were found, at "
        "unlike confidences, since too few inputs reached equal confidence, noise (r = 0.3) takes -0.1 [-1.0, 0.8] "
        "percentage points more of the margin than around boosted inputs."
    )
    assert "is not clearly" in headline(RAW, ISO, *BESIDE)  # they disagree
    flat = compared("iso", -0.02, -0.03, -0.01, "scale_free")
    for one, interval in ((flat, " [1.0, 3.0]"), (Row(flat, low=None, high=None), "")):
        text = headline(RAW, one, Row(one, reference="genuine"))
        assert "is flatter around" in text and f"takes 2.0{interval} percentage points less of" in text
    for alone in (flat, Row(flat, reference="genuine")):
        assert "is not clearly" in headline(RAW, alone)
    for rows in ((), (ISO,), (DROP,), (Row(RAW, r=0.1), Row(ISO, r=0.1))):
        assert headline(*rows).startswith("No comparison can be made")


def test_of_clear_comparisons_those_count_that_would_be_printed(headline):
    tiny = compared("raw", -1e-6, -2e-6, -1e-7)  # less than is printed
    unclear = compared("raw", 0, -0.1, 0.1, "scale_free")
    assert "1 say clearly sharper and 0 clearly flatter" in headline(unclear, ISO, tiny)


@pytest.mark.parametrize("bad", [None, *estimates.PAIRS])
def test_every_matched_pair_has_to_be_balanced(finished, monkeypatch, bad):
    def quality(data, pair):
        return xr.Dataset({"share_kept": ("member", [0.5]), "smd_after": ("member", [0.2 * (pair == bad)])})

    monkeypatch.setattr(estimates, "match_quality", quality)
    (check,) = (c for c in estimates.checks(finished.arrays, finished.table, finished.config) if "balanced" in c.name)
    assert check.passed == (bad is None)


def test_a_run_of_an_earlier_version_is_refused_in_one_line(finished, tmp_path):
    shutil.copytree(finished.directory, tmp_path / "run")
    (tmp_path / "run/summary.json").write_text(json.dumps(finished.summary | {"schema": 1}))
    for reestimate in (False, True):
        with runs.open_run(finished.config, tmp_path / "run") as run, pytest.raises(UserError, match="add --force"):
            execute(run, reestimate=reestimate)


def test_other_inputs_of_the_same_name_are_another_run(finished, tmp_path):
    found = {finished.config.inputs_checksum}
    for x in (np.zeros((1, 8, 8, 1)), np.ones((1, 8, 8, 1))):
        np.savez(tmp_path / "mine.npz", x=x, label=np.zeros(1, int))
        found.add(smoke_config("flatness", tmp_path, inputs=str(tmp_path / "mine.npz")).inputs_checksum)
    assert len(found) == 3 and {len(checksum) for checksum in found} == {64}


# ---- a user's inputs ----


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((2, 8, 8, 1), np.float32)}, "missing label"),
        ({"x": np.zeros((2, 9, 8, 1), np.float32), "label": np.zeros(2, int)}, r"expected \[2, 8, 8, 1\]"),
        ({"x": np.full((2, 8, 8, 1), 255.0), "label": np.zeros(2, int)}, "divide 8-bit images by 255"),
        ({"x": np.full((2, 8, 8, 1), np.nan), "label": np.zeros(2, int)}, "128 values that are NaN or infinite"),
        ({"x": np.zeros((2, 8, 8, 1)), "label": np.array([0, 10])}, r"from 0 to 10; expected .* integers in 0\.\.9"),
        ({"x": np.zeros((2, 8, 8, 1)), "label": np.array([0.0, 1.0])}, r"integers in 0\.\.9"),
        ({"x": np.zeros((2, 8, 8, 1)), "label": np.int64(1)}, "x has shape"),
        (
            {"x": np.zeros((2, 8, 8, 1)), "label": np.array(["3", "1"])},
            r"dtype <U1.* \(0 to 9\); try .astype\(int\)",
        ),
        ({"x": np.zeros((2, 8, 8, 1)), "label": np.array([1, 10])}, "do they begin at 1"),
        ({"x": np.zeros((2, 8, 8, 1), "V2"), "label": np.zeros(2, int)}, r"x is \|V2; .* write bfloat16 as"),
        ({"x": np.full((2, 8, 8, 1), 1.001), "label": np.zeros(2, int)}, r"to 1.001; expected floats in \[0, 1\]"),
    ],
)
def test_wrong_inputs_are_refused_in_one_line(tmp_path, arrays, message):
    dataset = data.load("digits", cache=str(tmp_path / "data"))
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(UserError, match=message):
        inputs.read_inputs(str(tmp_path / "x.npz"), dataset)


def test_missing_and_broken_inputs_are_refused_in_one_line(tmp_path):
    dataset = data.load("digits", cache=str(tmp_path / "data"))
    np.savez(tmp_path / "whole.npz", x=np.zeros((2, 8, 8, 1)), label=np.zeros(2, int))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:-30])
    np.save(tmp_path / "array.npy", np.zeros((2, 8, 8, 1)))
    unreadable = r"not readable .* expected an \.npz made by numpy\.savez"
    for name, message in {"cut.npz": unreadable, "array.npy": unreadable, "no.npz": "no such file"}.items():
        with pytest.raises(UserError, match=message):
            inputs.read_inputs(str(tmp_path / name), dataset)


def test_inputs_that_leave_the_box_by_rounding_are_cut_to_it(tmp_path):
    x = np.full((2, 8, 8, 1), 1.000001)
    np.savez(tmp_path / "x.npz", x=x, origin=-1e-6 * x, label=np.zeros(2, int))
    found, origin = inputs.read_inputs(str(tmp_path / "x.npz"), data.load("digits", cache=str(tmp_path / "data")))
    assert found.x.max() == 1 and origin.min() == 0 and found.x.dtype == np.float32


@pytest.mark.slow
def test_kill_9_at_ten_random_moments_changes_no_estimate(tmp_path):
    """Each run is killed at a random moment of what is left of it, ten times over, then left to end."""

    def start(workdir):
        command = [sys.executable, "-m", "landscape.main", f"--config={ROOT}/configs/flatness.py:digits,smoke"]
        command += [f"--config.artifacts={workdir}/artifacts", f"--workdir={workdir}/run"]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        return subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL)

    began = time.monotonic()
    assert start("whole").wait() == 0
    length, rng, kills, ended = time.monotonic() - began, random.Random(0), 0, 0
    while kills < 10:  # a run that ends before its kill is followed by another from nothing
        process = start(f"killed{ended}")
        try:
            assert process.wait(timeout=rng.uniform(2, length / 2)) == 0
            ended += 1
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
    assert start(f"killed{ended}").wait() == 0

    def results(workdir):
        summary = json.loads((tmp_path / workdir / "run/summary.json").read_text())
        return [summary[part] for part in ("claims", "checks", "headline")], [*table_of(tmp_path / workdir / "run")]

    assert all(results(f"killed{number}") == results("whole") for number in range(ended + 1))
