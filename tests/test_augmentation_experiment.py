"""The experiment on augmentation: what is tried, what is chosen, paired differences that are planted, a whole run."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
import whole_runs
import xarray as xr
from whole_runs import load, smoke_config

from landscape import ensembles, experiments, objectives, runs
from landscape.experiments import setting
from landscape.experiments.augmentation import EXPERIMENT, arms, figures
from landscape.experiments.augmentation import estimates as ae
from landscape.experiments.augmentation.config import CONTROLS
from landscape.experiments.inputs import read_inputs
from landscape.files import UserError
from landscape.reporting.figures import draw
from landscape.stats.table import Row, Table
from landscape.training.runner_up import KINDS, acts

ARMS = ("nothing", "image", "conv1", "autoencoder", "autoencoder_conv1")
LAYERS = arms.Layers(("image", "conv1"), ("image", "conv1"))


@pytest.mark.parametrize("size", ["digits", "digits,full"])
def test_every_control_is_tried_as_often_as_the_moves(size):
    config = load("augmentation", size)
    trials = arms.trials_of(config, LAYERS)
    names = [trial.arm for trial in trials]
    moves = [trial for trial in trials if arms.is_move(trial)]
    assert {trial.arm for trial in moves} == {"image", "conv1", "autoencoder", "autoencoder_conv1"}
    counted = ["random_tuned", "manifold_mixup"]
    counted += ["input_mixup", "adversarial"] if "full" in size else []
    assert [names.count(name) for name in counted] == [len(moves)] * len(counted)
    assert ("reconstruct" in names) == ("full" in size)
    assert all(acts(trial.how) for trial in trials if trial.arm != "adversarial")
    settings = [(trial.arm, trial.setting(LAYERS)) for trial in trials]
    assert len({*settings}) == len(settings) and all(text for _, text in settings)
    section = config.augmentation
    grid = len(section.epsilons) * len(section.probabilities) * len(section.gates)
    assert names.count("conv1") == grid and names.count("autoencoder") == grid * len(section.coded)


def test_the_best_is_chosen_by_accuracy_then_by_loss_and_controls_follow_it():
    config = load("augmentation", "digits")
    config.augmentation.controls = CONTROLS
    trials = arms.trials_of(config, LAYERS)
    accuracy, loss = np.full(len(trials), 0.9), np.linspace(1, 2, len(trials))
    own = [i for i, trial in enumerate(trials) if trial.arm == "conv1"]
    accuracy[own] = 0.95
    loss[own[1]] = 0.5
    accuracy[[trial.arm == "random_tuned" for trial in trials]] = 0.99  # a control is never the best move
    chosen, best = arms.chosen(trials, accuracy, loss, config.augmentation)
    by_name = {trial.arm: trial.how for trial in chosen}
    assert best == "conv1" and by_name["conv1"] == trials[own[1]].how and not acts(by_name["nothing"])
    assert [trial.arm for trial in chosen][:6] == [*ARMS, "random"]
    config.augmentation.num_moves = 2
    some, _ = arms.chosen(trials, accuracy, loss, config.augmentation)
    assert [trial.arm for trial in some][:4] == ["nothing", "image", "conv1", "random"]  # the second best by its loss
    for name in ("random", "batch_sum"):
        assert by_name[name]._replace(kind=0) == by_name["conv1"] and KINDS[by_name[name].kind] == name


def planted(num_members=8, num=200, gain=0.1):
    """Arms whose loss is that of `nothing` less a gain of the move `conv1`, with noise of its own."""
    rng = np.random.default_rng(0)
    names = ["nothing", "image", "conv1", "random", "random_tuned", "manifold_mixup"]
    shape, values = (len(names), num_members, num), {}
    base = rng.normal(size=(1, num_members, 1)) + rng.normal(size=(1, 1, num))
    change = np.where(np.asarray(names) == "conv1", -gain, 0.0)[:, None, None]
    values["loss"] = 3 + base + change + 0.01 * rng.normal(size=shape)
    values["right"] = rng.random(shape) < np.where(np.asarray(names) == "conv1", 0.95, 0.9)[:, None, None]
    values["robust"] = values["right"] & (rng.random(shape) < 0.5)
    values["confidence"] = np.full(shape, 0.9)
    values["brier"], values["margin"] = rng.random(shape), 1 + rng.random(shape)
    for prefix in ("input", "weight"):
        values[f"{prefix}_probability_drop"] = 0.1 * rng.random(shape)
        values[f"{prefix}_margin_drop"] = 0.5 * values["margin"]
    data = {
        name: (("arm", "member", "example" if name in ("right", "loss", "brier", "confidence") else "probed"), value)
        for name, value in values.items()
    }
    moved = (2, num_members, num)
    for name in ("changed", "to_runner_up", "stays_in_class", "was_in_class"):
        data[name] = (("move", "member", "probed"), rng.random(moved) < 0.3)
    for name in ("distance_after", "distance_before", "error_after", "error_before"):
        data[name] = (("move", "member", "probed"), 1 + rng.random(moved))
    for name in ("error_after", "error_before"):
        data[name][1][1] = np.nan  # of a hidden layer
    data |= {"trial_accuracy": (("trial", "search_seed"), rng.random((6, 2)))}
    data |= {"trial_loss": (("trial", "search_seed"), rng.random((6, 2)))}
    data["step_seconds"] = (("timed", "round"), np.outer([1.0, 1.5], 1 + 0.01 * rng.normal(size=8)))
    data["batch_cosine"] = (("direct", "member", "batched"), 0.3 + 0.1 * rng.normal(size=(2, num_members, 64)))
    data["own_length"] = (("direct", "member", "batched"), 1 + rng.random((2, num_members, 64)))
    data["batch_length"] = (("direct", "member", "batched"), 40 * data["own_length"][1])
    data["label"] = ("example", rng.integers(0, 10, num))
    data["images"] = (("shown", "height", "width", "channel"), rng.random((3, 8, 8, 1)))
    data["pictures"] = (("move", "shown", "height", "width", "channel"), rng.random((2, 3, 8, 8, 1)))
    data["neighbors"] = (("move", "side", "shown", "height", "width", "channel"), rng.random((2, 2, 3, 8, 8, 1)))
    coords = {"arm": names, "setting": ("arm", [f"of {name}" for name in names]), "move": ["image", "conv1"]}
    coords |= {"trial": np.arange(6), "trial_arm": ("trial", names), "timed": ["nothing", "best"]}
    coords["direct"] = ["image", "conv1"]
    coords |= {"trial_setting": ("trial", names), "trial_epsilon": ("trial", np.ones(6)), "side": ["before", "after"]}
    found = xr.Dataset(data, coords, {"best": "conv1"})
    for name in found.data_vars:
        found[name].attrs["units"] = EXPERIMENT.schema[name].unit
    return found


def test_planted_differences_come_back_paired_for_new_images_and_for_these():
    config, data = load("augmentation", "digits"), planted()
    table = ae.estimate(data, config)
    about = {"population": "best", "reference": "nothing"}
    rows = {images: table.one("calibration.nll", images=images, **about) for images in ("new", "these")}
    for images, row in rows.items():
        assert row["value"] == pytest.approx(-0.1, abs=2e-3) and row["high"] - row["low"] < 0.01, images
    assert (rows["new"]["generalises_to"], rows["these"]["generalises_to"]) == ("both", "new seeds")
    raw = table.one("calibration.nll", population="best", reference=None, images="new")
    assert raw["high"] - raw["low"] > 1 and raw["unit"] == "nats"  # unpaired, seeds and images count
    ratio = table.one("input_flatness.scale_free", population="image", reference=None, images="new")
    assert ratio["value"] == pytest.approx(0.5) and ratio["unit"] == "1"
    same = [table.one("accuracy.test", population=arm, reference=None, images="new") for arm in ("best", "conv1")]
    assert same[0].interval == same[1].interval
    by_hand = (data.right.sel(arm="conv1").mean() - data.right.sel(arm="random").mean()).item()
    found = table.one("accuracy.test", population="best", reference="random", images="new")
    assert found["value"] == pytest.approx(by_hand)
    cosine, ratio = (table.one(f"augmentation.batch_sum_{k}", population="image") for k in ("cosine", "length"))
    assert cosine["low"] < 0.3 < cosine["high"] and ratio["value"] == pytest.approx(40)
    time = table.one("throughput.step_time", population="best", reference="nothing")
    assert time["value"] == pytest.approx(1.5) and time["generalises_to"] == "this machine"


def test_what_is_said_claimed_and_checked():
    config, data = load("augmentation", "digits"), planted()
    table = ae.estimate(data, config)
    config.num_members = 9  # of which one is a copy, say: those that count are in the table
    text = ae.headline(table, config)
    assert " points more than without, over 8 paired seeds of cnn on digits, " in text
    worse = Table(tuple(Row(row, value=-0.02, low=-0.03, high=-0.01) for row in table))
    assert "accuracy: 2.0 [1.0, 3.0] points less than without" in ae.headline(worse, config)
    assert "(of conv1) raises test accuracy: " in text and "a training step takes 1.50 [1.50, 1.50] times" in text
    assert "It raises robust accuracy" in text or "It does not clearly change robust accuracy" in text
    verdicts = {claim["name"]: claim["verdict"] for claim in ae.claims(table, config)}
    assert verdicts == {"augmentation_helps": "supported", "runner_up_beats_random": "supported"}
    assert all(check.passed for check in ae.checks(data, table, config))
    worse = data.assign(right=data.right & (data.arm != "image"))
    failed = [check.name for check in ae.checks(worse, ae.estimate(worse, config), config) if not check.passed]
    assert failed == ["accuracy.above_chance"]
    fallen = Table(tuple(Row(row, value=0.3) if row["name"] == "accuracy.test" else row for row in table))
    assert [check.name for check in ae.checks(data, fallen, config) if not check.passed] == ["search.no_collapse"]
    calibrated = table.one("calibration.ece", population="nothing", reference=None, images="these")
    assert calibrated["value"] == pytest.approx(
        np.abs(data.right.sel(arm="nothing").mean("example") - 0.9).mean().item(), abs=1e-6
    )


def test_figures_are_drawn(tmp_path, unsaved):
    data = planted()
    table = ae.estimate(data, load("augmentation", "digits"))
    found, absent = draw(figures.FIGURES, (ae.derive(data), table), tmp_path)
    assert not absent and [one.spec.name for one in found] == ["differences", "search", "moves", "pictures"]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("augmentation.layers", ("dense1",), "augmentation.layers=.*conv3, which cnn has"),
        ("augmentation.layers", ("conv1",), "augmentation.layers=.*: expected image among them"),
        ("augmentation.epsilons", (), "augmentation.epsilons=.*: expected one or more numbers above 0"),
        ("augmentation.probabilities", (2.0,), "expected probabilities"),
        ("augmentation.alphas", (1.0, 0.5), "expected the smallest and the largest"),
        ("sweep.ema", (0.5, 0.9), "sweep.ema=.*: expected no sweep"),
        ("claims.augmentation_helps.reference", "more", "expected a measure among"),
        ("model.checkpoints", ("a",), "model.checkpoints: expected none"),
    ],
)
def test_what_a_config_may_not_say(field, value, message):
    config = load("augmentation", "digits,full")
    config.update_from_flattened_dict({field: value})
    with pytest.raises(UserError, match=message):
        experiments.validate(config)


def plain_losses(config, folder):
    """Losses of members that are trained without augmentation on the run's test images, [S, N]."""
    with runs.open_run(config, folder / "again") as run:
        prepared = setting.prepare(config, run)
    test = setting.examples(prepared.dataset, "test", config.measure.num_examples, config.seed)
    members = ensembles.take(prepared.ensemble, np.flatnonzero(prepared.trained))
    apply = jax.jit(lambda weights, x, label: objectives.loss(prepared.classifier.apply(weights, x), label))
    return np.stack([apply(ensembles.take(members, i), *test[:2]) for i in range(ensembles.size(members))])


@pytest.mark.parametrize("coded", [(), pytest.param(("residual",), marks=pytest.mark.slow)])
def test_a_run_from_its_config_to_its_report(tmp_path, shared, coded):
    """Moves in the image, and through the autoencoders of a hidden layer."""
    changes = {"model.name": "mlp", "augmentation.layers": ("image",), "augmentation.coded_layers": ("dense2",)}
    changes["augmentation.coded"] = coded
    changes["augmentation.controls"] = ("batch_sum", "reconstruct") if coded else ("batch_sum",)
    config = smoke_config("augmentation", tmp_path, **changes, **shared)
    arrays, summary = whole_runs.done(config, tmp_path / "run", audited=bool(coded))
    moves = ["image", *(["autoencoder_dense2"] if coded else [])]
    assert arrays.attrs["best"] in moves
    assert arrays.arm.values.tolist()[: len(moves) + 2] == ["nothing", *moves, "random"]
    assert arrays.trial_accuracy.shape == (7 if coded else 3, 1)
    assert summary["headline"].startswith("Training on examples moved toward")
    moved, origin = read_inputs(str(tmp_path / "run" / "moved_image.npz"), setting.load(config)[0])
    np.testing.assert_array_equal(moved.label, arrays.label)
    assert 0 < np.abs(moved.x - origin).max() <= 1
    assert arrays.batch_cosine.shape == (1, 4, 24) and (abs(arrays.batch_cosine) <= 1.001).all()
    # Arms and seeds are in order: without augmentation members are those of every other experiment.
    np.testing.assert_allclose(arrays.loss.sel(arm="nothing"), plain_losses(config, tmp_path), rtol=1e-4)
    right = arrays.right.sel(example=arrays.probed.values).transpose("arm", "member", "example").values
    assert not (arrays.robust.transpose("arm", "member", "probed").values & ~right).any()
    assert "Not drawn" not in (tmp_path / "run/report.html").read_text()


@pytest.mark.slow
def test_arms_may_start_from_members_trained_without_augmentation(tmp_path, shared):
    """One more epoch from there on, also for the arm without augmentation; the artefacts say where they began."""
    changes = {"model.name": "mlp", "augmentation.layers": ("image",), "augmentation.coded": ()}
    changes |= {"augmentation.num_finetune_epochs": 1, "train.num_epochs": 3, "artifacts": str(tmp_path / "artifacts")}
    config = smoke_config("augmentation", tmp_path, **shared | changes)
    arrays, _ = whole_runs.done(config, tmp_path / "run", audited=False)
    tuned, plain = arrays.loss.sel(arm="nothing").values, plain_losses(config, tmp_path)
    assert (tuned.mean(axis=1) < plain.mean(axis=1)).all()
    folders = [path for path in Path(config.artifacts).glob("*/*/metadata.json")]
    known = {path.parent.name: json.loads(path.read_text())["identity"] for path in folders}
    begun = {name: about for name, about in known.items() if "start" in about}
    assert len(begun) == 4 * 4 + 3  # arms, two of them alike, of four seeds; trials of the search of one
    for about in begun.values():
        source = known[about["start"]]
        assert "start" not in source and source["member"] == about["member"]
        assert (source["training"]["num_epochs"], about["training"]["num_epochs"]) == (3, 1)
