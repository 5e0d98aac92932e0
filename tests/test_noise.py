"""The experiment `noise`: planted numbers, a run through the same door as `main`, and its parts by another road."""

import csv

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import pytest
import whole_runs
import xarray as xr
from whole_runs import smoke_config

from landscape import ensembles, objectives, runs, samplers, spaces
from landscape.experiments import base, setting
from landscape.experiments.base import described
from landscape.experiments.noise import EXPERIMENT, collapse, estimates, figures, grid, searches
from landscape.experiments.noise import config as fields
from landscape.files import UserError
from landscape.reporting import figures as drawing
from landscape.reporting import style
from landscape.search import search, steepest
from landscape.stats.table import Row, Table, read_csv

S, N = 4, 30
NAMES = ("no_noise", "redrawn_0.1", "redrawn_0.3", "frozen_0.1", "frozen_0.3", "random_member", "swag")
NORM, CONFIDENCE = fields.MATCHINGS.index("norm"), fields.MATCHINGS.index("confidence")
SIZES = {"matching": 2, "member": S, "target": S, "example": N, "validation_image": 8, "step_size": 3}
SIZES |= {"grid_radius": 2, "draws": 3, "eta": 3, "height": 6, "width": 6, "channel": 1}


def made_up(names=NAMES, kinds=("pixels", "manifold", "ascent"), shown=6):
    """A dataset as `noise` saves it: margins of 2, all starts right, all points of comparison reached."""
    rng, sizes = np.random.default_rng(0), SIZES | {"search": len(kinds), "population": len(names), "shown": shown}
    dosed = [name.rpartition("_") if name[-1].isdigit() else (name, "", "nan") for name in names]
    radius = np.array([float(text) for *_, text in dosed])
    coords = {"search": list(kinds), "matching": list(fields.MATCHINGS), "population": list(names)}
    coords |= {"kind": ("population", [kind for kind, *_ in dosed]), "radius": ("population", radius)}
    coords |= {"step_size": [0.05, 0.1, 0.2], "grid_radius": [0.0, 0.3], "draws": [1, 2, 4], "eta": [0.1, 0.2, 0.4]}
    own = {
        n: q.dims for n, q in EXPERIMENT.schema.items() if n not in (*base.SCHEMA, *coords) and {*q.dims} <= {*sizes}
    }
    data = xr.Dataset({n: (dims, rng.normal(0.5, 0.02, [sizes[d] for d in dims])) for n, dims in own.items()}, coords)
    data = data.assign_coords(example=np.arange(N))

    def fill(name, values):
        data[name] = (values + xr.zeros_like(data[name])).transpose(*own[name]).astype(getattr(values, "dtype", float))

    of_example = xr.DataArray(rng.normal(0, 0.1, N), dims="example")  # in which images differ far more than by search
    for name in ("margin_drop", "off_tangent", "off_manifold", "distance"):
        fill(name, data[name] + of_example)
    for name, value in (("margin", 2.0), ("grid_margin", 2.0), ("validation_success", 0.6), ("chosen_step_size", 0.1)):
        fill(name, value)
    for name in ("right", "reached", "grid_right"):
        fill(name, np.True_)
    for name, share in (("success", 0.7), ("transfer", 0.3)):
        fill(name, (xr.zeros_like(data[name]) + rng.random(data[name].shape) < share).astype(float))
    fill("kept", xr.DataArray(np.where(np.isfinite(radius), 1 - np.nan_to_num(radius) / 2, 0.98), dims="population"))
    fill("validation_goal", data.validation_goal + xr.DataArray([0.0, 3.0, 0.0], dims="step_size"))
    fill("grid_margin_drop", data.grid_margin_drop + np.log(data.eta / data.draws) / 10)
    fill("grid_at_boundary", (data.eta > 0.3).astype(float))
    return described(data, EXPERIMENT.schema)


@pytest.fixture
def config(tmp_path):
    """What goes with `made_up`."""
    found = smoke_config("noise", tmp_path)
    found.noise.searches, found.noise.others = ("pixels", "manifold", "ascent"), ("random_member", "swag")
    return found


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setattr(collapse, "NUM_RESAMPLES", 20)


MIDDLE = {"search": "pixels", "matching": "norm", "population": "redrawn_0.3", "reference": "no_noise"}


def table_of(data, config):
    return estimates.estimate(data, config)


# ---- numbers ----


def test_a_planted_difference_is_found_and_is_paired(config):
    """Falls larger by 0.2 of margins of 2, on images that differ far more: a point at a tenth."""
    data = made_up()
    ends = data.margin_drop.sel(population="no_noise").values
    data.margin_drop.loc[{"population": "redrawn_0.3"}] = ends + 0.2
    about = {"search": "pixels", "matching": "norm", "population": "redrawn_0.3", "reference": "no_noise"}
    row = table_of(data, config).one("input_flatness.scale_free", **about)
    assert row["value"] == pytest.approx(0.1) and row["high"] - row["low"] < 1e-9 and row["examples"] == N


def test_what_has_not_reached_the_point_counts_for_no_difference_and_no_mean(config):
    data = made_up()
    data.reached.loc[{"population": "redrawn_0.3", "matching": "confidence"}][..., :20] = False
    data.reached.loc[{"population": "no_noise", "matching": "confidence"}][..., 27:] = False
    table, about = table_of(data, config), {"search": "pixels", "population": "redrawn_0.3"}
    name = "transfer.success"
    examples = {
        (matching, reference): table.one(name, **about, matching=matching, reference=reference)["examples"]
        for matching in ("norm", "confidence")
        for reference in (None, "no_noise")
    }
    assert examples == {
        ("norm", None): N,
        ("norm", "no_noise"): N,
        ("confidence", None): 10,
        ("confidence", "no_noise"): 7,
    }
    reached = table.one("attack.reached", **about, matching="confidence")
    assert reached["value"] == pytest.approx(1 / 3) and reached["examples"] == N
    data.reached.loc[{"population": "redrawn_0.3", "matching": "confidence", "member": 0}][..., 20:] = False
    assert not table_of(data, config).select(name, **about, matching="confidence")  # one source has none


def test_images_are_those_whose_start_all_sources_classify_rightly(config):
    data = made_up()
    data.right.loc[{"search": "manifold"}][2, :18] = False
    data.margin_drop.loc[{"search": "manifold"}][..., :18] = np.nan
    table = table_of(data, config)
    rows = {s: table.select("input_flatness.scale_free", search=s) for s in ("pixels", "manifold")}
    assert {row["examples"] for row in rows["manifold"]} == {12} and {row["examples"] for row in rows["pixels"]} == {N}
    data.right.loc[{"search": "manifold"}][2, 18:26] = False
    assert not table_of(data, config).select("input_flatness.scale_free", search="manifold")


def test_two_sources_have_transfer_without_an_interval(config):
    data = made_up().isel(member=slice(2), target=slice(2))
    row = table_of(data, config).select("transfer.success", reference=None).rows[0]
    assert row["value"] is not None and row["low"] is None
    found = {check.name: check for check in estimates.checks(data, Table(), config)}
    assert not found["sources"].passed and found["finite"].passed


def swept():
    """Classifiers of two learning rates; those of the second fool nobody."""
    data = (
        made_up(kinds=("pixels",))
        .isel(target=slice(2))
        .assign_coords(train_learning_rate=("member", [0.1, 0.1, 0.2, 0.2]))
    )
    data.transfer.loc[{"member": [2, 3]}] = 0.0
    return data


@pytest.mark.slow  # two tables
def test_values_of_a_sweep_are_estimated_alone_and_named(config, tmp_path):
    data, config.noise.searches = swept(), ("pixels",)
    table = table_of(data, config)
    alone = table_of(data.isel(member=[2, 3]).drop_vars("train_learning_rate"), config)
    found = table.select(train_learning_rate=0.2)
    assert len(table) == 2 * len(found) == 2 * len(alone)
    assert [row["value"] for row in found] == [row["value"] for row in alone]
    assert {row["value"] for row in found.select("transfer.success", reference=None)} == {0.0}
    assert len(estimates.claims(table, config)) == 6
    first, second = (table.one("transfer.success", train_learning_rate=rate, **MIDDLE) for rate in (0.1, 0.2))
    text = estimates.headline(table, config)
    assert (
        f"confidence, by {100 * first['value']:+.1f} points, " in text
        and " at learning rate 0.1; +0.0 points, " in text
    )
    assert text.endswith(" at learning rate 0.2.") and second["value"] == 0
    drawings, absent = drawing.draw(figures.FIGURES[:2], (data, table), tmp_path)
    assert not absent and [one.spec.name for one in drawings] == ["sweep", "dose"]
    with mpl.rc_context(style.RC):
        panels = figures.sweep(data, table).axes
    assert [label.get_text() for label in panels[0].get_yticklabels()] == ["learning rate 0.1", "learning rate 0.2"]
    dots = [float(line.get_xdata()[0]) for line in panels[0].lines if line.get_marker() == "o"]
    assert dots[:2] == pytest.approx([100 * first["value"], 0.0])


def test_each_value_of_a_sweep_has_a_config_of_its_own(tmp_path):
    swept = {"sweep.adversarial_epsilon": (0.0, 0.1), "sweep.crop": (0.0, 2.0)}
    kinds = setting.by_training(smoke_config("noise", tmp_path, **swept))
    assert [(own.train.adversarial.epsilon, own.train.crop) for own in kinds] == [(0, 0), (0, 2), (0.1, 0), (0.1, 2)]
    assert not any(own.sweep.adversarial_epsilon or own.sweep.crop for own in kinds)
    alone = smoke_config("noise", tmp_path)
    assert [own.to_dict() for own in setting.by_training(alone)] == [alone.to_dict()]


def test_claims_are_about_the_first_search_in_the_matching_they_name(config):
    data = made_up()
    ends = data.margin_drop.sel(population="no_noise").values
    data.margin_drop.loc[{"population": "redrawn_0.3"}] = ends
    data.margin_drop.loc[{"population": "redrawn_0.3", "matching": "confidence", "search": "pixels"}] -= 0.2
    data.margin_drop.loc[{"population": "redrawn_0.3", "search": "manifold"}] += 0.5
    noise = np.random.default_rng(1).normal(0, 1e-3, data.margin_drop.shape)
    data["margin_drop"] = data.margin_drop + noise
    found = {claim["name"]: claim for claim in estimates.claims(table_of(data, config), config)}
    assert found["noise_is_flatter_at_equal_confidence"]["verdict"] == "supported"
    assert found["noise_is_flatter_at_equal_confidence"]["value"] == pytest.approx(-0.1, abs=1e-3)
    assert found["noise_is_flatter"]["verdict"] == "negligible"


def fill(name, value, **at):
    """A change that sets a variable at coordinates."""
    return lambda data: data[name].loc.__setitem__(at, value) if at else data[name].values.fill(value)


def test_checks_find_what_they_are_for(config):
    def failed(change):
        data = made_up()
        change(data)
        return {check.name for check in estimates.checks(data, Table(), config) if not check.passed}

    def dead(data):
        data.kept.loc[{"population": "swag"}][1, 2:] = 0.0

    def short(data):
        data.reached.values[:, NORM, :2, :, :20] = False

    def rising(data):
        data.validation_goal.loc[{"search": "ascent"}][2] = 9.0

    assert failed(lambda data: None) == set()
    assert failed(dead) == {"trajectory"} and failed(short) == {f"{s}.length" for s in figures.SEARCHES}
    assert failed(rising) == {"ascent.tuned"}
    assert failed(fill("validation_success", 0.97, search="pixels")) == {"pixels.ball"}
    assert failed(fill("success", 1.0)) == {f"{s}.unsaturated" for s in figures.SEARCHES}
    assert failed(fill("kept", 1.0, population="redrawn_0.3")) == {"dose"}
    assert failed(fill("margin", np.inf, search="ascent")) == {"finite"}
    assert failed(fill("right", False, search="pixels")) == {"pixels.common"}
    assert failed(fill("reached", False, matching="confidence")) == {f"{s}.reached" for s in figures.SEARCHES}


def test_the_headline_has_equal_norm_and_equal_confidence_beside_no_noise_and_beside_one_draw(config):
    config.noise.radii = (0.3,)

    def row(name, matching, reference, value):
        about = MIDDLE | {"matching": matching, "reference": reference}
        return Row(name=name, value=value, low=value - 0.01, high=value + 0.01, **about)

    rows = [Row(name="accuracy.kept", population="redrawn_0.3", value=0.9)]
    for (name, matching), value in zip(estimates.HEADLINE, (0.1, 0.2, 0.3), strict=True):
        rows += [row(name, matching, "no_noise", value), row(name, matching, "frozen_0.3", -value)]
    assert estimates.headline(Table(tuple(rows)), config) == (
        "In pixels, redrawing the classifier at every gradient (weight noise that leaves 90 % accuracy) changes the "
        "share of other classifiers that are fooled by +10.0 [+9.0, +11.0] points at equal norm, and the share of the "
        "margin that input noise takes by +30.0 [+29.0, +31.0] points at equal confidence. Relative to one frozen draw "
        "the latter is -30.0 [-31.0, -29.0] points."
    )
    rows[-2:] = [row("input_flatness.scale_free", "confidence", "no_noise", -1e-5)]
    text = estimates.headline(Table(tuple(rows)), config)
    assert "by +0.0 [-1.0, +1.0] points at equal confidence" in text  # no minus zero
    assert "Relative to one frozen draw the latter is an unknown amount (too few images)" in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_members": 4}, "num_members=4: expected more than noise.num_sources=4"),
        ({"noise.radii": (0.3, 0.1)}, "noise.radii=.*growing"),
        ({"grid.num_draws": (1, 3)}, "grid.num_draws=.*divisors of grid.num_evaluations=4"),
        ({"grid.radii": (0.2,)}, "grid.radii=.*0 among them"),
        ({"noise.num_examples": 13}, "noise.num_examples=13: expected a multiple of noise.num_validation=12"),
        ({"noise.others": ("swagg",)}, "noise.others='swagg'.*did you mean swag"),
        ({"pixels.epsilon": 8.0}, "pixels.epsilon=8.0: expected at most 1 in linf"),
        ({"noise.equal_log_odds": 0.0}, "noise.equal_log_odds=0.0: expected a number above 0"),
        ({"grid.num_draws": (1, 2)}, "grid.num_draws=.*at least 3 step sizes and 3 numbers of draws"),
        (
            {"claims.noise_transfers.populations": ("swag", "no_noise")},
            "populations=.*expected one of .*redrawn.*no_noise",
        ),
        ({"claims.noise_transfers.radius": 0.2}, "claims.noise_transfers.radius=0.2: expected one of 0.1, 0.3"),
        ({"claims.noise_transfers.measure": "curvature.trace"}, "expected one of transfer.success"),
    ],
)
def test_what_is_refused(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        smoke_config("noise", tmp_path, **changes)


def test_redrawn_and_frozen_noise_are_compared_without_other_populations(tmp_path):
    config = smoke_config("noise", tmp_path, **{"noise.others": (), "noise.radii": (0.1, 0.3)})
    names = [one.name for one in fields.populations_of(config)]
    assert names == ["no_noise", "redrawn_0.1", "redrawn_0.3", "frozen_0.1", "frozen_0.3"]
    kinds = searches.kinds_of(config, fields.populations_of(config))
    np.testing.assert_allclose(kinds.radius, [0, 0.1, 0.3, 0.1, 0.3], rtol=1e-6)
    assert kinds.frozen.tolist() == [False, False, False, True, True]


def test_the_grid_costs_the_same_and_has_its_control(tmp_path):
    config = smoke_config("noise", tmp_path)
    points = grid.points_of(config, 64)
    assert len(points.eta) == 18 and set(points.radius) == set(config.grid.radii)
    np.testing.assert_allclose(points.eta.max(), 0.4 * config.pixels.epsilon * 8, rtol=1e-6)
    assert all(config.grid.num_evaluations % m == 0 for m in points.draws)


# ---- figures ----


def drawn(fn, data, config):
    with mpl.rc_context(style.RC):
        return fn(data, table_of(data, config))


@pytest.mark.slow
def test_every_figure_is_drawn(config, tmp_path):
    data = made_up()
    table = table_of(data, config)
    found, absent = drawing.draw(figures.FIGURES, (data, table), tmp_path)
    assert not absent and len(found) == len(figures.FIGURES) - 1  # without a sweep
    assert (tmp_path / "dose_column.svg").stat().st_size > 1000
    with open(tmp_path / "dose.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 4 * len(NAMES)
    at = {"search": "pixels", "population": "redrawn_0.3"}
    (one,) = (r for r in rows if {**r, **at} == r and r["measure"] == "transfer.success")
    value = table.one("transfer.success", matching="norm", reference=None, **at)["value"]
    assert float(one["value"]) == pytest.approx(100 * value) and float(one["accuracy_kept"]) == pytest.approx(85)


def test_figures_are_drawn_whatever_a_run_leaves_out(config, tmp_path, unsaved):
    data = made_up(names=("no_noise", "redrawn_0.3", "frozen_0.3", "swag"), shown=1, kinds=("ascent", "pixels"))
    config.noise.searches, config.noise.radii = ("ascent", "pixels"), (0.3,)
    _, absent = drawing.draw(figures.FIGURES, (data, table_of(data, config)), tmp_path)
    assert not absent


def test_open_symbols_are_frozen_and_stand_at_their_radius_inside_the_axis(config):
    data = made_up()
    data.kept.loc[{"population": ["frozen_0.1", "frozen_0.3"]}] = 0.5  # a single draw, whatever it keeps
    data.kept.loc[{"population": "swag"}] = 0.4  # less than the largest radius leaves
    axes = drawn(figures.doses, data, config).axes[0]
    redrawn, frozen = [line for line in axes.lines if line.get_marker() == "o"]
    assert frozen.get_markerfacecolor() == "white" and redrawn.get_markerfacecolor() != "white"
    np.testing.assert_allclose(redrawn.get_xdata(), frozen.get_xdata(), atol=1.5)
    left, right = axes.get_xlim()
    assert left > 98 and right < 40  # noise grows to the right


def test_a_search_without_images_has_no_panel_and_no_image_at_all_is_no_figure(config):
    data = made_up()
    data.right.loc[{"search": "manifold"}] = False
    assert len(drawn(figures.doses, data, config).axes) == 8  # of the other two
    data.right.values[...], data.grid_right.values[...] = False, False
    assert drawn(figures.doses, data, config) is None and drawn(figures.collapse, data, config) is None


def test_the_grids_panels_say_what_each_axis_explains_and_which_searches_are_stuck(config):
    data = made_up()
    figure, table = drawn(figures.collapse, data, config), table_of(data, config)
    share = table.one("agreement.collapse", by="eta/M", grid_radius=0.0, reference=None)
    assert figure.axes[0].get_title(loc="left") == f"ξ = 0: explains {share.text(100.0, 0)} %"
    x = np.concatenate([line.get_xdata() for line in figure.axes[0].lines])
    assert set(np.round(x, 6)) == {round(e / m, 6) for e in (0.1, 0.2, 0.4) for m in (1, 2, 4)}
    stuck = [line for line in figure.axes[1].lines if line.get_markerfacecolor() == "white"]
    assert len(stuck) == 3 and {float(line.get_xdata()[0]) for line in stuck} == {0.4}
    filled = [line for line in figure.axes[1].lines if line not in stuck]
    assert min(line.get_zorder() for line in stuck) > max(line.get_zorder() for line in filled)  # else covered by them


# ---- a run ----


@pytest.fixture(scope="module")
def done(tmp_path_factory, shared):
    """A finished smoke run: (config, arrays, summary, directory)."""
    folder = tmp_path_factory.mktemp("noise")
    few = {"noise.searches": ("pixels",), "noise.others": ("random_member", "trajectory"), "noise.radii": (0.3,)}
    few["model.name"] = "mlp"  # no stage knows what a classifier is made of, and convolutions take longer to compile
    config = smoke_config("noise", folder, **few, **shared)
    arrays, summary = whole_runs.done(config, folder / "run", audited=False)
    return config, arrays, summary, folder


@pytest.fixture(scope="module")
def opened(done):
    """What the run's searches were made of."""
    config, _, _, folder = done
    with runs.open_run(config, folder / "again") as run:
        yield searches.prepare(run.config, run, setting.prepare(run.config, run))


def test_it_writes_what_is_promised(done):
    _, arrays, summary, folder = done
    described(arrays, EXPERIMENT.schema)
    names = ["no_noise", "redrawn_0.3", "frozen_0.3", "random_member", "trajectory"]
    assert arrays.population.values.astype(str).tolist() == names
    wanted = {*estimates.MEASURES, "accuracy.kept", "attack.reached", "attack.at_boundary", "agreement.collapse"}
    assert wanted <= {row["name"] for row in read_csv((folder / "run" / "estimates.csv").read_text())}
    claims = {"noise_transfers", "noise_is_flatter", "noise_is_flatter_at_equal_confidence"}
    assert {c["name"] for c in summary["claims"]} == claims
    assert {"kept", "tune.pixels", "search.pixels", "audit", "grid", "trajectory"} <= set(summary["stages"])
    assert any(check["name"].startswith("audit.") for check in summary["checks"])
    assert arrays["audit_attack"].values.astype(str).tolist()[-1] == "multi-targeted"
    assert np.isnan(arrays.radius.sel(population="trajectory"))


@pytest.mark.slow
def test_lengths_are_equal_and_pictures_are_what_was_measured(done, opened):
    """Success, transfer and both distances of the first source again from its pictures, by hand."""
    _, arrays, _, _ = done
    d = arrays.sel(search="pixels", matching="norm").isel(member=0)
    start = d.picture_start.transpose("shown", "height", "width", "channel").values
    found = d.picture.transpose("population", "shown", "height", "width", "channel").values
    away = np.sqrt(np.square(found - start[None]).sum(axis=(2, 3, 4)))
    count = len(start)
    np.testing.assert_allclose(away[d.reached.values[:, :count]], float(d.length), rtol=1e-4)
    assert (away[~d.reached.values[:, :count].astype(bool)] < float(d.length)).all()
    label = opened.test.label[:count]
    np.testing.assert_allclose(d.distance.values[:, :count], away, rtol=1e-4)
    apply = jax.jit(opened.classifier.apply)
    member = [ensembles.take(opened.ensemble, s) for s in range(len(opened.seeds))]
    says = np.stack([[np.argmax(apply(one, jnp.asarray(x)), axis=-1) for x in found] for one in member])
    np.testing.assert_array_equal(d.success.values[:, :count], says[0] != label)
    transfer = d.transfer.transpose("target", "population", "example").values
    np.testing.assert_array_equal(transfer[..., :count], says != label)
    second = ensembles.take(opened.autoencoders.ensemble, 1)  # of another seed than the source's own
    reconstruct = jax.jit(opened.autoencoders.reconstruct)
    again = np.stack([reconstruct(second, jnp.asarray(x), jnp.asarray(label)) for x in found])
    off = np.sqrt(np.square(again - found).sum(axis=(2, 3, 4)))
    np.testing.assert_allclose(d.off_manifold.values[:, :count], off, rtol=1e-3)


@pytest.mark.slow
def test_no_noise_is_the_plain_search_whose_distance_gives_the_length(done, opened):
    """Of every source on validation images: by a fixed sampler, without populations."""
    config, arrays, _, _ = done
    d = arrays.sel(search="pixels")
    x, label = jnp.asarray(opened.validation.x), jnp.asarray(opened.validation.label)
    kinds = searches.kinds_of(config, fields.populations_of(config))
    program = searches.searcher(config, opened, searches.search_of(config, opened, "pixels"), kinds)
    length = np.array([0.1, 0.2, 0.3, 0.05], np.float32)
    found = program(x, label, np.full(len(kinds.low), float(d.chosen_step_size[0, 0])), length)
    for s in range(4):
        own = ensembles.take(opened.ensemble, s)
        end = search(
            jax.random.key(99),
            x,
            label,
            objective=objectives.descend(opened.classifier.apply, objectives.log_odds),
            space=spaces.pixels("linf"),
            sampler=samplers.fixed(own),
            optimizer=steepest("linf", float(d.chosen_step_size[0, 0]) * config.pixels.epsilon),
            epsilon=config.pixels.epsilon,
            num_steps=config.noise.num_evaluations,
        ).z
        logits = opened.classifier.apply(own, end)
        goal = np.where(np.arange(10) == label[:, None], -np.inf, logits).argmax(axis=-1)
        np.testing.assert_allclose(found.goal[s, 0], objectives.log_odds(logits, goal), rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(found.distance[s, 0], spaces.l2_norm(end - x), rtol=1e-4)
        away = spaces.l2_norm((found.images[s, 0, NORM] - found.start[s]).reshape(len(x), -1))
        np.testing.assert_allclose(away, np.minimum(length[s], found.distance[s, 0]), rtol=1e-4)
        np.testing.assert_allclose(d.validation_success[s], np.mean(logits.argmax(axis=-1) != label), atol=1e-6)
    np.testing.assert_array_equal(found.reached[:, :, NORM], found.distance >= length[:, None, None])
    assert (
        found.reached[:, :, CONFIDENCE] >= (found.goal >= config.noise.equal_log_odds)
    ).all()  # or passed on the way
    # All balls are of one radius: a share of the mean distance, and of that the noise of flatness, on 64 pixels.
    np.testing.assert_allclose(d.length, config.noise.equal_norm * np.mean(found.distance[:, 0]), rtol=1e-4)
    np.testing.assert_allclose(d.sigma, config.measure.level * d.length / 8, rtol=1e-4)


def drawn_from(config, opened, s):
    """(bases of source s, draw(name, step, key): the classifier of a step), compiled once for all populations."""
    own, walked = ensembles.take(opened.ensemble, s), ensembles.take(opened.trajectories, s)
    bases = searches.bases_of(own, walked, opened.frozen[s], opened.guides, opened.training)
    populations = fields.populations_of(config)
    kinds = searches.kinds_of(config, populations)
    named = {one.name: jax.tree.map(lambda leaf, i=i: leaf[i], kinds) for i, one in enumerate(populations)}

    @jax.jit
    def draw(kind, step, key):
        return samplers.drawn_at(searches.sampler_of(config, opened.classifier, bases, kind), key, step)

    return bases, lambda name, step, key=0: draw(named[name], jnp.int32(step), jax.random.key(key))


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


@pytest.mark.slow
def test_populations_see_what_their_names_say(done, opened):
    config, _, _, _ = done
    _, draw = drawn_from(config, opened, 1)
    own = ensembles.take(opened.ensemble, 1)
    assert same(draw("no_noise", 0), own) and same(draw("no_noise", 3, 5), own)  # bit for bit
    assert not same(draw("redrawn_0.3", 0), draw("redrawn_0.3", 1))
    frozen = [draw("frozen_0.3", step, key) for step, key in ((0, 0), (3, 8))]
    assert same(*frozen)
    moved = jax.tree.map(lambda a, b: float(jnp.linalg.norm(a - b) / jnp.linalg.norm(b)), frozen[0], own)
    moved = jax.tree.leaves(moved)
    assert max(moved) <= 0.3 * (1 + 1e-5) and max(moved) > 0.15
    walked = ensembles.take(opened.trajectories, 1)
    points = [ensembles.take(walked, k) for k in range(config.trajectory.num_models)]
    assert all(any(same(draw("trajectory", t), p) for p in points) for t in range(4))


@pytest.mark.slow
def test_targets_never_guide(done, opened):
    """What any search may draw from are the source, the guides and the source's own trajectory: no other source."""
    config, _, _, _ = done
    for s in range(len(opened.seeds)):
        bases, draw = drawn_from(config, opened, s)
        rows = jax.tree.leaves(bases.points)[0].shape[0]
        guides = ensembles.size(opened.guides)
        assert rows == 1 + guides + config.trajectory.num_models
        for j in set(range(len(opened.seeds))) - {s}:
            target = ensembles.take(opened.ensemble, j)
            assert not any(same(target, ensembles.take(bases.points, r)) for r in range(rows))
        points = [ensembles.take(bases.points, r) for r in range(rows)]
        seen = {next(r for r in range(rows) if same(points[r], draw("random_member", t))) for t in range(16)}
        assert seen == set(range(1 + guides))


# ---- comparing at one length, and at one margin ----


def test_displacements_are_shortened_to_one_length_and_never_made_longer():
    z0 = jnp.ones((4, 3))
    z = z0 + jnp.array([[3.0, 0, 0], [0, -0.5, 0], [0, 0, 0], [0.6, 0, 0.8]])
    found, reached = searches.at_length(z0, z, 1.0)
    np.testing.assert_allclose(found - z0, [[1, 0, 0], [0, -0.5, 0], [0, 0, 0], [0.6, 0, 0.8]], atol=1e-6)
    assert reached.tolist()[:3] == [True, False, False]
    whole, reached = searches.at_length(z0, z, 0.0)
    np.testing.assert_array_equal(whole, z0)
    assert reached.all()


def test_a_latent_that_is_larger_is_walked_as_much_farther():
    """One source's latent is stretched threefold, its ball with it: nothing else may change, of no source."""
    way, radius = np.array([[1.0, 3.0], [2.0, 4.0]]), np.array([2.0, 4.0])
    plain = searches.lengths_of(way, radius, 0.5)
    np.testing.assert_allclose(plain, 0.5 * np.mean([0.5, 1.5, 0.5, 1.0]) * radius)
    stretch = np.array([3.0, 1.0])
    np.testing.assert_allclose(searches.lengths_of(way * stretch[:, None], radius * stretch, 0.5), plain * stretch)


def test_the_first_point_of_a_value_is_found():
    """Values 10 t: reached at t = 0.37 of the way; a hump that falls again counts where it is first reached."""
    z0, z = jnp.zeros((3, 2)), jnp.ones((3, 2))
    hump = lambda p: jnp.where(jnp.arange(3) == 1, 10 - 40 * jnp.square(p[:, 0] - 0.5), 10 * p[:, 0])  # noqa: E731
    wanted = jnp.array([3.7, 8.0, 11.0])
    found, reached = searches.at_value(lambda p: hump(p) - wanted, z0, z, 0.0)
    exact = 1 / (searches.POINTS * 2**searches.HALVINGS)
    np.testing.assert_allclose(found[0], 0.37, atol=exact)
    np.testing.assert_allclose(found[1], 0.5 - np.sqrt(2 / 40), atol=exact)
    assert reached.tolist() == [True, True, False] and found[2].tolist() == [1, 1]
