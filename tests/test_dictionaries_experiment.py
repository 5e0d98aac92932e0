"""The experiment `dictionaries`: planted numbers, what the headline says, and a run through the same door as `main`."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import whole_runs
import xarray as xr

from landscape import experiments, presets
from landscape.experiments import setting
from landscape.experiments.dictionaries import SCHEMA, estimates, figures, stages
from landscape.experiments.dictionaries.config import KINDS, STARTS, TIMES
from landscape.files import UserError
from landscape.measures.feature_agreement import cosines, matched
from landscape.models.dictionaries import Dictionary
from landscape.stats.table import Row, Table

CONFIG = whole_runs.load("autoencoders", "digits,dictionaries")


def smoke(folder, **changes):
    config = whole_runs.load("autoencoders", "digits,smoke,dictionaries")
    config.artifacts, config.data.cache = str(folder / "artifacts"), str(folder / "data")
    config.update_from_flattened_dict(changes)
    config = presets.resolve(config)
    experiments.validate(config)
    return config


def made_up(constraint=0.0, shared=0.3, seeds=5, width=6):
    """A dataset as a run saves it: cosines after training 0.5, and what constraint and shared start add."""
    rng = np.random.default_rng(0)
    layers, times = ("conv2", "conv3"), (4, 16)
    settings = list(itertools.product(layers, KINDS, times, STARTS, (2.0, 4.0)))
    count, sizes = len(settings), {"of_curve": 4, "dictionary": seeds, "target": seeds, "example": 12, "feature": width}
    sizes |= {"setting": count, "layer": 2, "kind": 3, "start": 3, "time": 2, "shown": 2, "rank": 3}
    sizes |= {"height": 4, "width": 4, "channel": 1}
    data = xr.Dataset(
        {name: (one.dims, rng.uniform(0.4, 0.6, [sizes[dim] for dim in one.dims]))
         for name, one in SCHEMA.items() if one.dims and name not in sizes and not one.dims == ("setting",)}
    ).drop_vars("layer_of", errors="ignore")  # fmt: skip
    layer, kind, times, start, k = zip(*settings, strict=True)
    about = {"layer_of": layer, "kind_of": kind, "times": times, "start_of": start, "sparsity": k}
    data = data.assign_coords({name: ("setting", list(value)) for name, value in about.items()})
    data = data.assign_coords(compared=("setting", [one == 4 for one in times]))
    data = data.assign_coords(layer=list(layers), kind=list(KINDS), start=list(STARTS), time=list(TIMES))
    data["active"] = data.active.dims, np.ones(data.active.shape)
    data["shown_feature"] = data.shown_feature.dims, np.array([[0, 1], [2, 3]])
    for name in estimates.AGREEMENT.values():
        noise = rng.normal(0, 0.01, data[name].shape)
        own = xr.DataArray(0.5 + noise + np.moveaxis(noise, -1, -2), dims=data[name].dims, coords=data[name].coords)
        own = own + constraint * (own.kind == "archetypal") + shared * (own.start == "shared")
        own = xr.where((own.time == "before") & (own.start == "shared"), 1.0, own).transpose(*data[name].dims)
        data[name] = own.where(~np.eye(seeds, dtype=bool))
    return data


def test_effects_of_constraint_and_start_are_those_planted():
    data = made_up(constraint=0.1, shared=0.3)
    table = estimates.estimate(data, CONFIG)
    at = {"layer": "conv3", "time": "after"}
    row = table.one("agreement.atoms", population="archetypal", reference="topk", start="random", **at)
    assert row["value"] == pytest.approx(0.1, abs=0.03) and row["low"] < row["value"] < row["high"]
    row = table.one("agreement.atoms", population="shared", reference="random", kind="topk", **at)
    assert row["value"] == pytest.approx(0.3, abs=0.03) and row["members"] == 5
    mean = table.one("agreement.activations", kind="jumprelu", start="own", reference=None, **at)
    own = data.activations_agree.sel(layer="conv3", kind="jumprelu", start="own", time="after").values
    assert mean["value"] == pytest.approx(np.nanmean(own), rel=1e-9)
    assert "shared start more so" in estimates.headline(table, None)
    # A seed without a living feature agrees with nobody: neither 0 nor a mean over the others.
    data.activations_agree[1, 0, 0, 1, 2, :] = data.activations_agree[1, 0, 0, 1, :, 2] = np.nan
    table = estimates.estimate(data, CONFIG)
    assert not table.select("agreement.activations", kind="topk", start="random", **at)
    assert table.select("agreement.activations", kind="topk", start="shared", **at)
    assert "not defined on conv3" in estimates.headline(table, None)
    assert figures.FIGURES[0].draw(data, table) is not None


def test_shares_of_settings_are_ratios_of_sums():
    data = made_up()
    table = estimates.estimate(data, CONFIG)
    row = table.one("fvu.dictionary", layer="conv3", kind="topk", times=16, start="own", sparsity=2.0)
    columns = (data[name].values.tolist() for name in ("layer_of", "kind_of", "times", "start_of", "sparsity"))
    index = list(zip(*columns, strict=True)).index(("conv3", "topk", 16, "own", 2.0))
    expected = data.error.values[index].mean(axis=0).sum() / data.from_mean.values[index].sum()
    assert row["value"] == pytest.approx(expected, rel=1e-6) and row["examples"] == 12 and row["members"] == 4
    dead = table.one("usage.dead", layer="conv3", kind="topk", times=16, start="own", sparsity=2.0)
    assert dead["value"] == pytest.approx(data.dead.values[index].mean()) and dead["generalises_to"] == "new seeds"


def test_the_strongest_feature_is_that_with_the_largest_change_of_each_seed():
    data = made_up()
    data.logit_change[1, :, 3] = 7.0
    data.logit_change[1, :, 4] = np.nan  # never active
    data.changed[1, :, 3] = 0.25
    data.share_active[:] = 0.7  # of twelve images, 8 or more
    data.logit_change[1, :, 5], data.share_active[1, :, 5] = 9.0, 0.1
    table = estimates.estimate(data, CONFIG)
    assert table.one("distance.logit_without", layer="conv3", feature="strongest")["value"] == pytest.approx(7)
    assert table.one("agreement.without", layer="conv3", feature="strongest")["value"] == pytest.approx(0.75)
    mean = table.one("distance.logit_without", layer="conv3", feature="mean")["value"]
    assert mean == pytest.approx(data.logit_change[1].mean("feature").mean())
    data.share_active[1] = 0.1  # none on enough images: none is said to be the strongest
    table = estimates.estimate(data, CONFIG)
    assert table.get("distance.logit_without", layer="conv3", feature="strongest") is None
    assert table.one("distance.logit_without", layer="conv3", feature="mean")["value"] == mean
    assert stages.strongest(np.array([1.0, 9.0, np.nan, 3.0]), np.array([1.0, 0.1, 1.0, 1.0]), 3, 0.5).tolist() == [
        3,
        0,
        1,
    ]


@pytest.mark.parametrize(
    ("constraint", "shared", "said"),
    [
        ((0.1, 0.05, 0.15), (0.3, 0.2, 0.4), "either alone makes seeds agree more, the shared start more so"),
        ((0.2, 0.1, 0.3), (0.3, 0.2, 0.4), "either alone makes seeds agree more, about equally"),
        ((0.0, -0.1, 0.1), (0.3, 0.2, 0.4), "the shared start alone makes seeds agree more"),
        ((0.3, 0.2, 0.4), (-0.3, -0.4, -0.2), "the constraint alone makes seeds agree more"),
        ((0.0, -0.1, 0.1), (0.0, -0.1, 0.1), "neither alone makes seeds agree more"),
        ((0.0, None, None), (0.3, 0.2, 0.4), "too few seeds"),
    ],
)
def test_the_verdict_follows_the_intervals(constraint, shared, said):
    rows = [Row(zip(("value", "low", "high"), one, strict=True)) for one in (constraint, shared)]
    assert estimates.verdict(*rows).startswith(said)


def test_checks_find_planted_faults():
    data = made_up()

    def failed(data):
        return [check.name for check in estimates.checks(data, Table(), None) if not check.passed]

    assert failed(data) == []
    assert failed(data.assign(error=data.error * np.nan)) == ["errors.finite"]
    assert failed(data.assign(active=data.active + 2)) == ["active.at_most_k"]
    copies = data.atoms_agree.copy()
    copies[0, 0, 0, 1, 2, 3] = 1.0
    assert failed(data.assign(atoms_agree=copies)) == ["seeds.distinct"]
    apart = data.atoms_agree.copy()
    apart[0, 0, 2, 0, 2, 3] = 0.9
    assert failed(data.assign(atoms_agree=apart)) == ["start.shared"]


@pytest.mark.parametrize("dataset", presets.DATASETS)
def test_the_config_is_valid_for_every_data_set_and_full_is_the_largest(dataset):
    found = [whole_runs.load("autoencoders", f"{dataset},dictionaries{size}") for size in (",smoke", "", ",full")]
    for config in found:
        config.data.dir = "somewhere" if dataset == "folder" else ""
        experiments.validate(config)
    assert found[0].dictionaries.num_epochs < found[1].dictionaries.num_epochs < found[2].dictionaries.num_epochs
    assert {*found[0].dictionaries} == {*found[1].dictionaries} == {*found[2].dictionaries}


def test_values_that_do_not_fit_each_other_are_refused(tmp_path):
    for field, value, said in (
        ("num_seeds", 2, "expected at least 3"),
        ("num_curve_seeds", 9, "expected at most num_seeds"),
        ("k", 3, "expected 3 among them"),
        ("width", 5, "expected 5 among them"),
        ("revived", 2.0, "expected a share"),
    ):
        with pytest.raises(UserError, match=said):
            smoke(tmp_path, **{f"dictionaries.{field}": value})
    with pytest.raises(UserError, match="all dictionaries are of one classifier"):
        smoke(tmp_path, num_members=3)
    for field, value, said in (
        ("num_layers", 9, "num_layers=9: expected at most 3, the classifier's"),
        ("num_points", 2, "num_points=2: 8 points of conv3; expected .* for a batch"),
    ):
        config = smoke(tmp_path, **{"dictionaries.num_layers": 1} | {f"dictionaries.{field}": value})
        with pytest.raises(UserError, match=said):
            stages.check(config, setting.load(config)[0])


def test_every_figure_is_drawn_of_many_shapes():
    data = made_up()
    table = estimates.estimate(data, CONFIG)
    for figure in figures.FIGURES:
        assert figure.draw(data, table) is not None, figure.name
    assert figures.FIGURES[0].narrow(data, table).get_figwidth() < 4
    assert len(figures.agreement_table(data, table)) == 1 + 2 * 2 * 3 * 3 * 2


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dictionaries")
    config = smoke(folder, **{"dictionaries.num_epochs": 1, "dictionaries.num_layers": 1})
    return whole_runs.done(config, folder / "run"), folder


def test_a_run_goes_from_its_config_to_its_report(done):
    (data, summary), folder = done
    assert "Matched features of two seeds" in summary["headline"] and all(c["passed"] for c in summary["checks"])
    page = (folder / "run/report.html").read_text()
    assert "How alike the features of two seeds are" in page and "Not drawn" not in page
    assert data.sizes["dictionary"] == 4 and set(data.kind_of.values.tolist()) == set(KINDS)
    assert float(data.active.sel(setting=data.kind_of == "topk").max()) <= 4


# ---- what is computed, again another way ----

SHAPE, SEEDS = (2, 2, 3), 3


def small(kind="topk", width=5):
    """(a layer of 2 x 2 places, random dictionaries of three seeds)."""
    rng = np.random.default_rng(5)

    def normal(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    layer = stages.Layer("h", SHAPE, 2.0, normal(40, 3), normal(7, 4, 3), np.zeros(3, np.float32))
    threshold = np.full((SEEDS, width), 0.5 * (kind == "jumprelu"), np.float32)
    biases = normal(SEEDS, width), normal(SEEDS, 3)
    return layer, Dictionary(normal(SEEDS, width, 3), normal(SEEDS, 3, width), *biases, threshold)


def activations(kind, own, s, h, k):
    e = (h - own.bias[s]) @ own.encoder[s] + own.encoder_bias[s]
    if kind == "jumprelu":
        return np.where(e > own.threshold[s], e, 0)
    return np.where(e >= np.sort(e, axis=-1)[..., -k, None], np.maximum(e, 0), 0)


@pytest.mark.parametrize("kind", ["topk", "jumprelu"])
def test_errors_and_dead_features_are_those_of_numpy(kind):
    layer, own = small(kind)
    own.encoder_bias[0, 1] = -100  # never active
    found = stages.measured(layer, kind, own, 2.0, 3)
    for s in range(SEEDS):
        z = activations(kind, own, s, layer.test, 2)
        error = np.square(z @ own.atoms[s] + own.bias[s] - layer.test).mean(axis=(1, 2))
        np.testing.assert_allclose(found["error"][s], error, rtol=1e-5)
        np.testing.assert_allclose(found["active"][s], (z > 0).sum(axis=2).mean(axis=1))
        alive = (activations(kind, own, s, layer.train, 2) > 0).any(axis=0)
        np.testing.assert_array_equal(found["alive"][s], alive)
        assert found["dead"][s] == pytest.approx(1 - alive.mean())
    assert not found["alive"][0, 1]


def test_effects_of_a_feature_are_those_of_a_linear_head_by_hand():
    layer, own = small()
    w = np.random.default_rng(6).standard_normal((12, 4)).astype(np.float32)
    z = np.stack([activations("topk", own, s, layer.test, 2) for s in range(SEEDS)]).astype(np.float32)
    found = stages.effects(
        lambda variables, h, name: h.reshape(len(h), -1) @ variables, jnp.asarray(w), layer, own, z, layer.test
    )
    s, feature = 1, int(np.argmax((z[1] > 0).sum(axis=(0, 1))))
    whole = 2 * layer.test.reshape(7, -1) @ w
    left = 2 * (layer.test - z[s, ..., feature, None] * own.atoms[s, feature]).reshape(7, -1) @ w
    top, active = whole.argmax(axis=1), (z[s, ..., feature] > 0).any(axis=1)
    change = np.abs(left - whole)[np.arange(7), top][active].mean()
    assert found["logit_change"][s, feature] == pytest.approx(change, rel=1e-4)
    assert found["changed"][s, feature] == pytest.approx((left.argmax(axis=1) != top)[active].mean())
    assert found["share_active"][s, feature] == pytest.approx(active.mean())


def test_agreement_is_of_features_alive_at_the_end_at_both_times():
    """A seed whose living features are another one's in another order agrees wholly with it."""
    _, before = small()
    order, after = [2, 0, 1, 4, 3], jax.tree.map(np.copy, before)
    after.atoms[1] = after.atoms[0][order]
    alive = np.ones((SEEDS, 5), bool)
    alive[0, 4] = alive[1, 3] = False  # the same feature
    z = np.random.default_rng(7).random((2, SEEDS, 30, 5))
    z[1, 1] = z[1, 0][:, order]
    found = stages.similarities((before, after), list(z), alive)
    assert found["atoms_agree"][1, 0, 1] == pytest.approx(1, abs=1e-6)
    assert found["activations_agree"][1, 0, 1] == pytest.approx(1, abs=1e-6)
    kept = [before.atoms[s][alive[s]] for s in range(2)]
    assert found["atoms_agree"][0, 1, 0] == pytest.approx(matched(cosines(*kept)))
    assert found["stayed"][2] == pytest.approx(np.square(before.atoms[2]).sum(axis=1).mean(), rel=1e-5)
    assert np.isnan(found["atoms_agree"][0, 2, 2])
