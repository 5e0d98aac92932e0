"""Accuracy, calibration and agreement: closed forms, and truths planted in simulated predictions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from whole_runs import done, load, smoke_config

from landscape import runs
from landscape.ensembles import Mapping
from landscape.experiments import setting
from landscape.experiments.setting import Setting
from landscape.experiments.train import estimates as te
from landscape.experiments.train import figures, stages
from landscape.models import external
from landscape.stats.table import read_csv

RNG = np.random.default_rng(0)


@pytest.fixture
def config():
    return load("train")


def said(prediction, label, *controls, **hyper):
    """A run's dataset of such predictions: right ones are 90 % sure, wrong ones 60 %."""
    num_classes = int(label.max()) + 1
    right = prediction == label
    confidence = np.where(right, 0.9, 0.6).astype(np.float32)
    pair = ("member", "example")
    coords = {"control": ("member", list(controls or ["trained"] * len(prediction)))}
    coords |= {f"train_{name}": ("member", list(values)) for name, values in hyper.items()}
    coords |= {"class": list("abcdefghij"[:num_classes]), "example": np.arange(len(label))}
    loss = np.where(right, 0.1, 2.0) + RNG.uniform(0, 0.01, prediction.shape)
    data = {"prediction": (pair, prediction), "confidence": (pair, confidence), "loss": (pair, loss, {"units": "nats"})}
    data |= {"brier": (pair, np.where(right, 0.02, 1.2)), "label": ("example", label)}
    return xr.Dataset(data, coords)


def test_what_is_computed_of_known_probabilities():
    """Loss, squared distance and confidence of three classes by hand; pixels are the logits here."""
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]], np.float32)
    made = external.of(lambda w, x: x[:, 0, 0, :] + w)
    members = {"params": jnp.array([0.0, 3.0])}  # logits of one member are shifted, which changes nothing
    prepared = Setting(None, made, members, [{}, {}], np.array([True, True]), Mapping())
    chunk = {"x": jnp.log(probabilities)[:, None, None, :], "true_label": jnp.array([0, 1])}
    found = stages.predict(prepared)(chunk, members)
    for s in range(2):
        np.testing.assert_allclose(found["loss"][s], -np.log([0.7, 0.1]), rtol=1e-5)
        brier = [0.3**2 + 0.2**2 + 0.1**2, 0.1**2 + 0.9**2 + 0.8**2]
        np.testing.assert_allclose(found["brier"][s], brier, rtol=1e-5)
        np.testing.assert_allclose(found["confidence"][s], [0.7, 0.8], rtol=1e-6)
        np.testing.assert_array_equal(found["prediction"][s], [0, 2])


def test_calibration_error_by_hand():
    """Two bins: (0.8, right), (0.9, wrong) above one half; (0.4, right) below."""
    confidence, right = np.array([[0.8, 0.9, 0.4]]), np.array([[True, False, True]])
    np.testing.assert_allclose(te.calibration_error(confidence, right, num_bins=2), [(0.7 + 0.6) / 3])
    weighted = te.calibration_error(confidence, right, num_bins=2, weight=np.array([2.0, 0.0, 1.0]))
    np.testing.assert_allclose(weighted, [(0.4 + 0.6) / 3])


def predictions(label, accuracy, num_members, num_classes, *, hard=0.0):
    """Members right with probability `accuracy`, else a random other class, independently; on a share `hard` of the
    images all of them repeat member 0."""
    wrong = (label + RNG.integers(1, num_classes, (num_members, len(label)))) % num_classes
    made = np.where(RNG.uniform(size=wrong.shape) < accuracy, label, wrong)
    return np.where(RNG.uniform(size=len(label)) < hard, made[:1], made)


def test_expected_disagreement_is_the_product_of_confusion_matrices():
    label = RNG.integers(0, 3, 200)
    prediction = predictions(label, 0.6, 2, 3)
    onehot = np.eye(3)[prediction]
    rows = np.stack([[onehot[s, label == y].mean(axis=0) for y in range(3)] for s in range(2)])
    agree = sum(np.mean(label == y) * rows[0, y] @ rows[1, y] for y in range(3))
    np.testing.assert_allclose(te.expected_disagreements(onehot, label).mean(axis=-1)[0, 1], 1 - agree)


@pytest.mark.parametrize(("hard", "low", "high"), [(0.0, 0.9, 1.1), (0.5, 0.4, 0.6)])
def test_the_ratio_of_shared_errors_is_below_that_of_unrelated_ones(config, hard, low, high):
    label = RNG.integers(0, 4, 4000)
    data = said(predictions(label, 0.8, 6, 4, hard=hard), label)
    table = te.estimate(data, config)
    ratio = table.one("agreement.ratio")
    assert low < ratio["low"] < ratio["value"] < ratio["high"] < high
    assert abs(table.one("accuracy.test")["value"] - 0.8) < 0.02
    assert [row["class"] for row in table.select("accuracy.class")] == list("abcd")
    assert all(check.passed for check in te.checks(data, table, config))


@pytest.mark.parametrize(("right", "passes"), [(1.0, True), (0.88, False)])
def test_above_chance_of_uneven_classes_is_a_share_of_the_rest(config, right, passes):
    """With 88 % of one class, to be above chance is 0.898 and more, not 1.03."""
    label = np.repeat([0, 1], [88, 12])
    every = np.where(np.arange(100) < 100 * right, label, 0)
    data = said(np.tile(every, (4, 1)), label)
    found = {check.name: check.passed for check in te.checks(data, te.estimate(data, config), config)}
    assert found["accuracy.above_chance"] == passes


def test_accuracy_of_a_class_counts_its_images_alone(config):
    label = np.concatenate([np.zeros(30, int), np.ones(10, int), [2]])
    data = said(predictions(label, 0.7, 5, 3), label)
    table = te.estimate(data, config)
    assert [(row["class"], row["examples"]) for row in table.select("accuracy.class")] == [("a", 30), ("b", 10)]
    alone = te.estimate(data.isel(example=label == 1), config)
    assert table.one("accuracy.class", **{"class": "b"}).interval == alone.one("accuracy.test").interval


def test_calibration_error_of_a_run(config):
    """A share a of answers is right and 90 % sure, the others are 60 % sure and wrong: |a (1 - 0.9)| + (1 - a) 0.6."""
    label = RNG.integers(0, 4, 300)
    data = said(predictions(label, 0.8, 6, 4), label)
    row = te.estimate(data, config).one("calibration.ece")
    share = float((data.prediction == data.label).mean())
    assert row["value"] == pytest.approx(share * 0.1 + (1 - share) * 0.6, rel=1e-5) and row["num_bins"] == 15
    assert row["low"] < row["value"] < row["high"]
    config.calibration.num_bins = 4
    assert figures.num_bins(te.estimate(data, config)) == 4  # those of the reliability figure


def test_sweeps_are_strata_and_controls_are_checked(config):
    label = RNG.integers(0, 4, 400)
    good, bad, chance = predictions(label, 0.95, 2, 4), predictions(label, 0.6, 2, 4), RNG.integers(0, 4, (1, 400))
    every = np.concatenate([bad, good, chance, label[None]])
    data = said(every, label, *["trained"] * 4, "untrained", "shuffled", learning_rate=[1.0, 1.0, 2.0, 2.0, 1.0, 1.0])
    config.sweep.learning_rate = (1.0, 2.0)
    table = te.estimate(data, config)
    accuracy = {
        row.get("train_learning_rate"): row["value"] for row in table.select("accuracy.test", population="clean")
    }
    assert accuracy[1.0] < 0.7 < 0.9 < accuracy[2.0] and set(accuracy) == {1.0, 2.0}
    control = {name: table.one("accuracy.test", population=name)["value"] for name in ("untrained", "shuffled")}
    assert control["shuffled"] == 1.0 and control["untrained"] < 0.4
    alone = te.estimate(data.isel(member=[2, 3]), config)
    for row in alone:
        same = {"population": row["population"], "train_learning_rate": 2.0, "class": row.get("class")}
        assert table.one(row["name"], **same).interval == row.interval
    passed = {check.name: check.passed for check in te.checks(data, table, config)}
    assert passed["controls.untrained"] and not passed["controls.shuffled"] and passed["accuracy.above_chance"]
    text = te.headline(table, config)
    assert text.startswith(
        "2 classifiers (cnn on digits, learning rate 2 (the best of 2 kinds of training)) are right on 9"
    )
    assert "times what unrelated errors of equal accuracy would give" in text


def test_few_members_and_members_that_agree_everywhere(config):
    """Without pairs there is no agreement, without errors no ratio."""
    label = np.arange(40) % 4
    table = te.estimate(said(np.stack([label] * 4), label), config)
    names = {row["name"] for row in table}
    assert "agreement.disagreement" in names and "agreement.ratio" not in names
    assert te.headline(table, config).endswith("of the test images.")
    table = te.estimate(said(predictions(label, 0.8, 1, 4), label), config)
    assert not [row for row in table if row["name"].startswith("agreement")]
    assert table.one("accuracy.test")["generalises_to"] == "new images"


def test_copies_of_a_member_count_once(config):
    label = RNG.integers(0, 4, 100)
    data = said(predictions(label, 0.8, 2, 4), label).isel(member=[0, 0, 1, 0])
    table = te.estimate(data, config)
    assert table.one("accuracy.test")["members"] == 2
    copies = {check.name: check for check in te.checks(data, table, config)}["members.distinct"]
    assert not copies.passed and "intervals use the 2 distinct members of 4" in copies.detail


def test_a_run_says_what_its_members_say(tmp_path, shared):
    """A whole smoke run; accuracy and agreement recomputed from the restored members."""
    config = smoke_config("train", tmp_path, **{"model.name": "mlp"}, **shared)
    arrays, summary = done(config, tmp_path / "run")
    table = read_csv((tmp_path / "run/estimates.csv").read_text())
    with runs.open_run(config, tmp_path / "again") as run:
        prepared = setting.prepare(config, run)
    test = setting.examples(prepared.dataset, "test", 400, 0)
    logits = jax.vmap(prepared.classifier.apply, (0, None))(prepared.ensemble, jnp.asarray(test.x))
    np.testing.assert_array_equal(arrays.prediction, logits.argmax(axis=-1))
    prediction = np.asarray(logits.argmax(axis=-1))[prepared.trained]
    assert table.one("accuracy.test", population="clean")["value"] == pytest.approx((prediction == test.label).mean())
    pairs = [np.mean(prediction[s] != prediction[t]) for s in range(4) for t in range(s)]
    assert table.one("agreement.disagreement")["value"] == pytest.approx(np.mean(pairs))
    own = -jax.nn.log_softmax(logits)[:, np.arange(400), test.label]
    assert table.one("calibration.nll")["value"] == pytest.approx(float(own[prepared.trained].mean()), rel=1e-4)
    assert arrays.attrs["num_parameters"] == sum(leaf.size for leaf in jax.tree.leaves(prepared.ensemble)) // 5
    assert summary["schema"] == 2 and summary["estimates"][0]["name"] == "accuracy.test"
    page = (tmp_path / "run/report.html").read_text()
    assert "Not drawn" not in page and page.count("<figure") == 4
