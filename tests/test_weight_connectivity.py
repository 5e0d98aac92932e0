"""Paths between classifiers: the stages on a few images, and barriers, intervals and figures of planted ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import whole_runs
import xarray as xr
from ml_collections import ConfigDict
from whole_runs import load, smoke_config

from landscape import ensembles, experiments, objectives, runs
from landscape.data import Dataset
from landscape.experiments import setting
from landscape.experiments.setting import Setting
from landscape.experiments.weight_connectivity import estimates as we
from landscape.experiments.weight_connectivity import stages
from landscape.experiments.weight_connectivity.estimates import PLAIN, Connection
from landscape.experiments.weight_connectivity.figures import FIGURES
from landscape.files import UserError
from landscape.models import classifiers
from landscape.reporting import figures

S, T, N = 4, 3, 20


def config_of(tmp_path, norm="none", **changes):
    config = load("weight_connectivity", "digits,smoke")
    config.artifacts, config.chunk, config.mapping = str(tmp_path / "artifacts"), 16, "map"
    config.model.norm, config.train.batch_size = norm, 16
    config.weights.update({"num_points": T, "num_images": 24} | changes)
    return config


def prepared_of(config, count=S + 1):
    """Members as they are drawn, all of them called trained but the last one."""
    rng = np.random.default_rng(0)
    label, index = rng.integers(0, 3, 70), np.arange(70)
    images = np.clip(rng.normal(40 + 60 * label[:, None, None, None], 30, (70, 4, 4, 1)), 0, 255).astype(np.uint8)
    splits = {"train": index[:40], "validation": index[40:50], "test": index[50:]}
    dataset = Dataset("made", images, label, index, ("a", "b", "c"), splits, "0")
    made = classifiers.build(config.model.name, norm=config.model.norm, num_classes=3, mean=(0.4,), std=(0.3,))
    keys = jax.random.split(jax.random.key(1), count)
    ensemble = jax.jit(jax.vmap(lambda key: made.init(key, jnp.zeros((1, 4, 4, 1)))))(keys)
    trained = np.arange(count) < max(count - 1, 2)
    members = [{"seed": i, "control": "trained" if kept else "untrained"} for i, kept in enumerate(trained)]
    return Setting(dataset, made, ensemble, members, trained, ensembles.parse("map", count))


def unused(*_):
    raise AssertionError("a stage that is found done runs nothing")


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    """(config, prepared, dataset of the stages, the same again from its chunks)."""
    folder = tmp_path_factory.mktemp("weights")
    config = config_of(folder, curves=("chain",))
    prepared = prepared_of(config)
    with pytest.MonkeyPatch.context() as patch, runs.open_run(config, folder / "run") as run:
        patch.setattr(setting, "prepare", lambda config, run: prepared)
        data = stages.compute(config, run)
        broken = prepared._replace(classifier=prepared.classifier._replace(apply=unused))
        patch.setattr(setting, "prepare", lambda config, run: broken)
        again = stages.compute(config, run)
    return config, prepared, data, again


@pytest.mark.slow
def test_the_stages_keep_what_they_promise(followed):
    _, prepared, data, again = followed
    assert data.sizes["connection"] == 7 and data.connection.values[-1] == "chain, none, plain"
    assert data.loss.shape == (7, 6, T, N) and data.wrong.shape == (7, 6, 3, T, N)
    xr.testing.assert_identical(data, again)
    # The ends of every plain connection are the members, in whatever order the units of one are.
    x = jnp.asarray(prepared.dataset.images[50:].astype(np.float32) / 255)
    label = jnp.asarray(prepared.dataset.labels[50:])
    logits = jax.jit(jax.vmap(prepared.classifier.apply, (0, None)))(prepared.ensemble, x)
    for q, ends in enumerate(data.pair_member.values):
        for at, member in zip((0, -1), ends, strict=True):
            own = objectives.loss(logits[int(member)], label)
            for one in we.connections(data):
                tolerance = 1e-4 if one.statistics == "plain" else 1e-3
                seen = data.loss.sel(connection=one.label)[q, at]
                np.testing.assert_allclose(seen, own, rtol=tolerance, atol=tolerance)
    assert data.planted[0] > 0.01 and np.all(data.planted[1:] < 1e-4)


def test_with_batch_norm_curves_are_reset():
    config = load("weight_connectivity", "digits,full")
    config.model.norm = "batch"
    assert [one.statistics for one in stages.connections_of(config)[-2:]] == ["reset", "reset"]


def test_pairs_are_of_trained_members_of_one_kind_of_training():
    trained = np.array([True, True, False, True, True])
    assert stages.pairs_of({}, trained).tolist() == [[0, 1], [0, 3], [0, 4], [1, 3], [1, 4], [3, 4]]
    kinds = {"train_ema": ("member", [0.0, 1.0, 0.0, 0.0, 1.0])}
    assert stages.pairs_of(kinds, trained).tolist() == [[0, 3], [1, 4]]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("num_members", 1, "at least 2"),
        ("weights.matchings", ("weight",), "none among them"),
        ("weights.matchings", ("none", "wieght"), "did you mean weight"),
        ("weights.curves", ("spline",), "one of bezier, chain"),
        ("weights.num_points", 24, "an odd number from 3"),
        ("weights.learning_rate", 0.0, "above 0"),
    ],
)
def test_configs_that_would_fail_late_are_refused(name, value, expected):
    config = ConfigDict(load("weight_connectivity").to_dict())
    experiments.validate(config)
    config.update_from_flattened_dict({name: value})
    with pytest.raises(UserError, match=expected):
        experiments.validate(config)


# ---- barriers and intervals by hand ----


def test_barriers_are_those_of_the_mean():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(5, 9, 40))
    mean = values.mean(axis=2)
    plain = we.barrier_values(values, "barrier").mean(axis=1)
    np.testing.assert_allclose(plain, mean.max(axis=1) - np.maximum(mean[:, 0], mean[:, -1]), atol=1e-12)
    line = np.linspace(1, 0, 9) * mean[:, :1] + np.linspace(0, 1, 9) * mean[:, -1:]
    above = we.barrier_values(values, "above_line").mean(axis=1)
    np.testing.assert_allclose(above, (mean - line).max(axis=1), atol=1e-12)
    assert np.all(we.barrier_values(np.broadcast_to(np.linspace(0, 1, 9)[None, :, None], (1, 9, 4)), "barrier") == 0)
    wrong = values > 0
    np.testing.assert_allclose(we.barrier_values(wrong, "barrier"), we.barrier_values(wrong.astype(float), "barrier"))


def planted(height=1.0, members=S, own=None, base=None, num=40):
    """A dataset of members between whom a matched line is `height` lower than the other, pair by pair."""
    rng = np.random.default_rng(3)
    every = [PLAIN, Connection("line", "weight", "plain"), Connection("chain", "none", "plain")]
    pairs, t = stages.pairs_of({}, np.ones(members, bool)), np.linspace(0, 1, 5)
    hump = 4 * t * (1 - t)
    own = 2 + rng.random((len(pairs), 1, num)) if own is None else own
    # Each member's own loss, as an end of all its lines.
    ends = 1e-3 * np.arange(members)[pairs][:, :, None, None]
    base = (rng.random((1, 1, num)) if base is None else base) + (1 - t)[:, None] * ends[:, 0] + t[:, None] * ends[:, 1]
    loss = np.stack([base + hump[:, None] * part for part in (own, own - height, 0.05 * own)])
    wrong = np.zeros((3, len(pairs), 3, 5, num), bool)
    wrong[:, :, 1] = t[:, None] < 0.6  # examples of the first end are wrong up to the middle and a bit beyond
    wrong[:, :, 2] = t[:, None] > 0.4  # those of the second one from the other side
    wrong[0, :, 0, 2] = True  # the unmatched line errs on everything in the middle
    wrong[:, 0, 0, 0, 7] = True  # one member errs on one image
    wrong[:, 2, 2, -1, 8] = False  # one image is not turned by one member
    values = {"loss": (("connection", "pair", "t", "example"), loss, {"units": "nats"})}
    values |= {"wrong": (("connection", "pair", "input", "t", "example"), wrong)}
    values |= {"pair_member": (("pair", "end"), pairs), "planted": ("matching", [1.0, 1e-5])}
    coords = {"connection": [one.label for one in every], "t": t, "input": list(stages.INPUTS)}
    coords |= {"matching": ["none", "weight"], "control": ("member", ["trained"] * members)}
    return xr.Dataset(values, coords)


def test_the_interval_of_a_barrier_covers_it():
    """Members, pairs and images vary; the truth is the barrier of the mean over all of them, 1 nat."""
    rng = np.random.default_rng(2)
    covered, count, pairs = 0, 60, stages.pairs_of({}, np.ones(6, bool))
    about = {"population": PLAIN.label, "variant": "above_line", "reference": None}
    for _ in range(count):
        own, image = 0.1 * rng.normal(size=6), 0.5 * rng.normal(size=60)
        height = 1 + own[pairs].sum(axis=1)[:, None] + image[None] + 0.1 * rng.normal(size=(len(pairs), 60))
        data = planted(members=6, own=height[:, None], base=0.3 * rng.normal(size=(1, 1, 60)), num=60)
        whole = we.ordered(we.derive(data.isel(connection=slice(1))))
        row = we.tabulate(whole, [next(we.declare(whole))], we.OVER_PAIRS).one("barrier.weight_loss", **about)
        covered += row["low"] <= 1 <= row["high"]
    assert covered / count >= 0.88  # 95 %, less 2.5 standard errors


def test_differences_are_paired():
    data = planted()
    table = we.estimate(data, None)
    about = {"variant": "barrier", "population": "line, weight, plain"}
    less = table.one("barrier.weight_loss", reference=PLAIN.label, **about)
    assert less["value"] == pytest.approx(-1) and less["high"] - less["low"] < 1e-9
    plain = table.one("barrier.weight_loss", variant="barrier", population=PLAIN.label, reference=None)
    assert 2.4 < plain["value"] < 2.6 and plain["low"] < plain["value"] < plain["high"] and plain["headline"]
    errors = table.one("barrier.weight_error", variant="barrier", population=PLAIN.label, reference=None)
    assert errors["value"] == pytest.approx(1.0, abs=0.01) and errors["unit"] == "1"
    text = we.headline(table, None)
    assert f"rises by {plain.text(1.0, 2)} nats, by 1.5" in text and "by their weights" in text and "curve" not in text
    assert all(check.passed for check in we.checks(data, table, None))
    failed = we.checks(data.assign(planted=("matching", [1.0, 2e-4])), table, None)
    assert [check.passed for check in failed] == [True, False, True]
    other = data.loss.copy()
    other[1, :, 0] += 0.1
    assert [check.passed for check in we.checks(data.assign(loss=other), table, None)] == [True, True, False]


def test_what_stays_adversarial_is_read_from_the_attacked_end(tmp_path):
    data = planted()
    whole = we.ordered(we.derive(data))
    assert whole.common.sum() == 38 and not whole.common[7] and not whole.common[8]
    table = we.estimate(data, None)
    for name, wanted in (("adversarial", [1, 1, 1, 0, 0]), ("clean", [0, 0, 1, 0, 0])):
        rows = table.select("path.weight_wrong", population=name, connection=PLAIN.label, reference=None)
        np.testing.assert_allclose([row["value"] for row in rows], wanted)
        assert {row["examples"] for row in rows} == {38}
    never = data.wrong.copy()
    never[:, :, 1:] = False
    found = we.estimate(data.assign(wrong=never), None)
    assert not found.select("path.weight_wrong")  # nothing is fooled
    _, absent = figures.draw(FIGURES, (we.derive(data), found), tmp_path)
    assert [one.spec.name for one in absent] == ["wrong"]


def test_copies_of_a_member_count_once():
    data = planted()
    twice = data.isel(member=[0, 1, 2, 3, 3])  # a member that no pair has, and its copy
    pairs = np.concatenate([data.pair_member.values, [[0, 4]]])
    twice = xr.concat([twice.isel(pair=slice(6)), twice.isel(pair=[2])], "pair", data_vars="minimal")
    twice = twice.assign(pair_member=(("pair", "end"), pairs))
    assert not we.checks(twice, we.estimate(twice, None), None)[0].passed
    about = {"population": PLAIN.label, "variant": "barrier", "reference": None}
    one, other = (we.estimate(some, None).one("barrier.weight_loss", **about) for some in (data, twice))
    assert one.interval == other.interval


def test_values_of_a_sweep_are_strata_and_figures_are_drawn(tmp_path):
    data = planted(members=8).assign_coords(train_ema=("member", [0.0] * 4 + [0.9] * 4))
    table = we.estimate(data, None)
    assert {row["train_ema"] for row in table} == {0.0, 0.9} and "With ema 0.9, along" in we.headline(table, None)
    found, absent = figures.draw(FIGURES, (we.derive(data), table), tmp_path)
    assert not absent and [one.spec.name for one in found] == ["sweep", "profiles", "wrong"]


def test_a_run_from_its_config_to_its_report(tmp_path, shared):
    config = smoke_config("weight_connectivity", tmp_path, **{"model.name": "mlp", "weights.curves": ()}, **shared)
    arrays, summary = whole_runs.done(config, tmp_path / "run", audited=False)
    assert arrays.sizes["pair"] == 6 and arrays.sizes["connection"] == 6
    assert {check["name"]: check["passed"] for check in summary["checks"]} == {
        name: True
        for name in (
            "audit.falls_with_radius",
            "data.no_copies",
            "members.distinct",
            "weights.planted",
            "weights.same_ends",
        )
    }
    assert "once hidden units are matched by their weights" in summary["headline"]
    assert "Not drawn" not in (tmp_path / "run/report.html").read_text()
