"""Pairs, and what is said of their paths: planted barriers, graphs by hand, checks that can fail, a whole run."""

import re

import numpy as np
import pytest
import whole_runs
import xarray as xr
from ml_collections import ConfigDict
from whole_runs import load, smoke_config

from landscape import experiments
from landscape.experiments.connectivity import estimates as ce
from landscape.experiments.connectivity.config import KINDS, PATHS
from landscape.experiments.connectivity.figures import FIGURES
from landscape.experiments.connectivity.pairs import NONE, Pairs, drawn, nodes_of, pairs_by_label, pairs_of
from landscape.files import UserError
from landscape.reporting import figures
from landscape.stats.table import Table

S, Q = 6, 80
BOTH = ("genuine", "adversarial")
ERRORS = ("genuine", "adversarial_iso", "natural_error")


def made_up(heights, kinds=BOTH, /, *, paths=("line", "bypass"), seed=0, **changes):
    """A run's dataset with heights [kind, member, pair] of the line, halved on other paths; a NaN does not count."""
    rng = np.random.default_rng(seed)
    line = np.asarray(heights, np.float64)
    halves = np.asarray([1.0] + [0.5] * (len(paths) - 1))
    values = line[:, None] * halves[:, None, None]
    along, ends = ("kind", "path", "member", "pair"), ("kind", "member", "pair")
    known, pair = np.isfinite(line), ("pair",)
    steps, t = [1, 2, 4], np.linspace(0, 1, 5)
    after = np.stack([line, line, 0.01 * line], axis=1)
    hump = line[:, None] * (4 * t * (1 - t))[:, None, None]
    found = {
        "valid": (along, np.isfinite(values)),
        "barrier": (along, values, {"units": "nats"}),
        "fine": (along, values),
        "left": (along, (values > 0.7).astype(float)),
        "end_log_odds": (ends, np.where(known, rng.uniform(1, 5, line.shape), np.nan)),
        "end_loss": (ends, np.where(known, rng.uniform(0, 1, line.shape), np.nan)),
        "after": (("kind", "steps", "member", "pair"), after),
        "out_of_plane": (ends, np.full(line.shape, 1e-7)),
        **{f"{name}_profile": (("kind", "t", "member", "pair"), hump) for name in ("line", "bypass")},
        "source_distance": (pair, rng.uniform(1, 2, line.shape[-1])),
        "pair_class": (pair, np.zeros(line.shape[-1], int)),
    }
    coords = {"kind": list(kinds), "path": list(paths), "steps": steps, "t": t}
    coords |= {"control": ("member", ["trained"] * line.shape[1])}
    data = xr.Dataset(found, coords, {"tolerance": 0.01})
    return data.assign({name: (data[name].dims, value) for name, value in changes.items()})


def tuned(data):
    """The same with an adaptive attack, graphs and pictures."""
    rng, members = np.random.default_rng(1), data.sizes["member"]
    found = {
        "tuning_barrier": (("weight", "member", "tuning_pair"), rng.exponential(size=(2, members, 9))),
        "tuning_reached": (("weight", "member", "tuning_pair"), np.ones((2, members, 9), bool)),
        **{f"tuning_{n}": (("member", "tuning_pair"), np.ones((members, 9))) for n in ("genuine", "rise", "right")},
        "adaptive_weight": ((), 1.0),
        "picture": (("shown", "point", "height", "width", "channel"), rng.random((3, 4, 8, 8, 1))),
        "picture_loss": (("shown", "point"), rng.random((3, 4))),
    }
    coords = {"weight": [0.0, 1.0], "point": ["first", "highest", "bypass", "last"]}
    coords |= {"picture_kind": ("shown", ["genuine", "adversarial", "adversarial"])}
    return with_graph(data.assign(found).assign_coords(coords))


def with_graph(data, classes=7):
    """The same with a graph of each class, whose every edge is 1 high and every node 0."""
    nodes = ("graph_class", "member", "node")
    found = {"graph_peak": (("graph_class", "member", "edge"), np.ones((classes, S, 15)))}
    found |= {"graph_loss": (nodes, np.zeros((classes, S, 6))), "graph_left": (nodes, np.zeros((classes, S, 6), bool))}
    return data.assign(found).assign_coords(node_kind=("node", np.repeat(["genuine", "adversarial"], 3)))


@pytest.fixture
def config():
    config = load("connectivity")
    config.pairs.kinds = BOTH
    return config


# ---- barriers ----


def test_differences_are_paired_by_their_images(config):
    """An image's own height, which both kinds have, is no noise of their difference."""
    rng = np.random.default_rng(0)
    own = 5 * rng.random(Q)
    both = np.stack([own + 0.1 * rng.random((S, Q)), own + 0.3 + 0.1 * rng.random((S, Q))])
    table = ce.estimate(made_up(both), config)
    row = table.one("barrier.loss", population="adversarial", reference="genuine", path="line")
    assert row["value"] == pytest.approx((both[1] - both[0]).mean()) and row["high"] - row["low"] < 0.05
    claim = next(c for c in ce.claims(table, config) if c["measure"] == "barrier.loss")
    assert claim["verdict"] == "supported" and claim["value"] == row["value"]
    assert {c["verdict"] for c in ce.claims(table, config)} == {"supported", "undecided"}


def test_members_with_too_few_pairs_do_not_count(config):
    barrier = np.ones((1, S, Q))
    barrier[0, 1, :4], barrier[0, 1, 4:] = 100.0, np.nan
    row = ce.estimate(made_up(barrier, ("genuine",)), config).one("barrier.loss", path="line")
    assert row["value"] == 1.0 and row["members"] == S - 1
    barrier[0, :3, 4:] = np.nan
    found = ce.estimate(made_up(barrier, ("genuine",)), config)
    assert not found.select("barrier.loss")  # three are left, too few to speak of others


def test_distribution_functions_are_those_of_exponential_barriers(config):
    line = np.random.default_rng(0).exponential(0.5, size=(1, S, 200))
    cube = ce.estimate(made_up(line, ("genuine",)), config).select("barrier.below", path="line").cube("up_to")
    truth = 1 - np.exp(-ce.HEIGHTS / 0.5)
    assert ((cube.low <= truth) & (truth <= cube.high)).mean() >= 0.9 and np.abs(cube.value - truth).max() < 0.03


def test_what_a_bypass_removes_is_counted_among_pairs_that_have_a_barrier(config):
    """Half of the pairs have a barrier; of it 96 % is removed for three quarters of them, 94 % for the others."""
    line = np.where(np.arange(Q) < Q // 2, 1.0, 0.001) * np.ones((1, S, 1))
    left = line * np.where(np.arange(Q) % 4 < 3, 0.04, 0.06)
    after = np.stack([line, line, left], axis=1)
    data = made_up(line, ("genuine",), after=after, barrier=np.stack([line, left], axis=1))
    table = ce.estimate(data, config)
    assert table.one("barrier.share")["value"] == 0.5
    whole = table.one("path.barrier_removed", steps=None)
    assert whole["value"] == pytest.approx(0.75) and whole["examples"] == Q // 2
    by_steps = [row["value"] for row in table.select("path.barrier_removed", waypoints=1)]
    np.testing.assert_allclose(by_steps, [0.0, 0.0, 0.75])


def test_copies_of_a_member_count_once(config):
    data = made_up(np.random.default_rng(0).exponential(size=(2, S, Q)))
    twice = data.isel(member=[0, 1, 2, 3, 3, 4, 5])
    assert ce.estimate(twice, config).one("barrier.share", population="genuine")["members"] == S
    first = ce.checks(twice, ce.estimate(twice, config), config)[0]
    assert not first.passed and "member 4 repeats member 3" in first.detail


def test_values_of_a_sweep_are_strata(config):
    data = made_up(np.random.default_rng(0).exponential(size=(2, 8, Q)))
    data = data.assign_coords(train_weight_decay=("member", [0.0] * 4 + [1.0] * 4))
    table = ce.estimate(data, config)
    alone = ce.estimate(data.isel(member=slice(4, None)).drop_vars("train_weight_decay"), config)
    about = {"name": "barrier.loss", "population": "adversarial", "path": "line", "reference": None}
    assert table.one(train_weight_decay=1.0, **about).interval == alone.one(**about).interval
    assert "at weight decay 0" in ce.headline(table, config)


# ---- the detector ----


def auroc(data, config, population="adversarial", reference="genuine", matching="raw"):
    about = {"population": population, "reference": reference, "matching": matching, "path": "line"}
    return ce.estimate(data, config).get("auroc.barrier.area", **about)


def test_equal_scores_are_not_detected(config):
    scores = np.random.default_rng(0).exponential(size=(S, Q))
    table = ce.estimate(made_up([scores, scores]), config)
    row = table.one("auroc.barrier.area", path="line")
    assert row["value"] == pytest.approx(0.5, abs=1e-12) and row["low"] <= 0.5 <= row["high"]
    cube = table.select("auroc.barrier.roc").cube("rate")
    np.testing.assert_allclose(cube.value, cube.rate, atol=1 / Q + 1e-9)
    # But for rounding half of the scores are 0, which must not order them.
    half = np.where(np.arange(Q) % 2, 0.0, scores)
    assert auroc(made_up([half, half + 5e-7 * (half == 0)]), config)["value"] == pytest.approx(0.5, abs=1e-12)


@pytest.mark.parametrize("what", ["margin", *(pytest.param(w, marks=pytest.mark.slow) for w in ("distance", "class"))])
def test_a_difference_that_a_covariate_makes_is_gone_where_it_is_equal(config, what):
    """Barriers that are a function of the margin, the source's distance or the class, which errors have otherwise."""
    rng, num = np.random.default_rng(2), 400
    half = np.arange(num) < num // 2  # regular pairs, then errors
    shift = np.where(half, 0.0, 0.5)
    far, classes = rng.uniform(0, 2, num) + shift, (rng.random(num) < np.where(half, 0.3, 0.6)).astype(int)
    margin = rng.uniform(0, 2, (3, S, num)) + (shift if what == "margin" else 0)
    level = {"margin": margin, "distance": far, "class": classes + 1.0}[what] + 0.01 * rng.normal(size=(3, S, num))
    level = np.where(np.stack([half, half, ~half])[:, None], level, np.nan)
    level -= np.nanmin(level) - 0.1
    about = {"end_log_odds": margin, "source_distance": far if what == "distance" else np.ones(num)}
    about["pair_class"] = classes if what == "class" else np.zeros(num, int)
    data = made_up(level, ERRORS, **about)
    assert auroc(data, config, "adversarial_iso", "natural_error")["value"] < 0.42
    row = auroc(data, config, "adversarial_iso", "natural_error", "matched")
    assert row["value"] == pytest.approx(0.5, abs=0.06) and row["low"] < 0.5 < row["high"]
    assert row["same_class"] == 1 or what != "class"
    assert abs(row["distance_smd_after"]) < 0.2 and (what != "distance" or row["distance_smd_before"] < -0.5)


def test_members_with_few_errors_are_left_out_and_counted(config):
    rng, half = np.random.default_rng(3), np.arange(300) < 150
    scores = rng.exponential(size=(3, S, 300))
    scores[:2, :, ~half] = np.nan
    scores[2, :, half] = np.nan
    scores[2, 2, 154:] = np.nan  # four are left
    assert auroc(made_up(scores, ERRORS), config, "adversarial_iso", "natural_error")["members"] == S - 1
    scores[2, :3, 154:] = np.nan  # three members would be left, too few for an interval
    assert auroc(made_up(scores, ERRORS), config, "adversarial_iso", "natural_error") is None


def test_the_weight_that_is_detected_worst_and_still_succeeds_is_taken():
    genuine, every = np.tile(np.arange(10.0), (4, 1)), np.ones((4, 10), bool)
    attacks = np.stack([genuine + 5, genuine + 1, 0 * genuine])
    few = every & (np.arange(10) < 3)
    found = ce.detected_by_weight(attacks, np.stack([every, every, few]), genuine, every)
    np.testing.assert_allclose(found, [0.875, 0.595, 0.05], atol=1e-12)  # 0 ties with one of ten
    assert ce.chosen_weight(found, np.array([1.0, 1.0, 1.0]), keep=0.95) == 1  # 0.05 is far below chance
    found[2] = 0.45
    assert ce.chosen_weight(found, np.array([1.0, 1.0, 0.94]), keep=0.95) == 1
    found[0] = 0.5
    assert ce.chosen_weight(found, np.array([1.0, 1.0, 0.96]), keep=0.95) == 2  # 0 is the attack without it
    none = ce.detected_by_weight(attacks[:2], np.stack([every, ~every]), genuine, every)
    assert np.isnan(none[1]) and ce.chosen_weight(none, np.array([1.0, 1.0]), keep=0.95) == 0


# ---- graphs ----


def test_what_the_loss_rises_to_genuine_nodes_by_hand():
    edges = np.array(
        [[0.1, 3.0, 2.0, 1.0], [3.0, 0.2, 5.0, 4.0], [2.0, 5.0, 0.3, 6.0], [1.0, 4.0, 6.0, 0.4]]
    )  # minimax heights but for 1 to 2, 1 to 3 and 2 to 3, which go by way of 0
    heights = np.minimum(edges, np.maximum(edges[:, :1], edges[:1]))
    found = ce.to_genuine(heights, np.array([True, True, True, False]))
    # The last one reaches 0 at 1, 1 at 3 and 2 at 2; without 0 the nearest is 2.
    np.testing.assert_allclose(found, [2.0 - 0.1, 3.0 - 0.2, 2.0 - 0.3, (1.0 + 1.0 + 2.0) / 3 - 0.4])


def test_nodes_of_one_law_rise_alike():
    edges = np.random.default_rng(2).random((4000, 6, 6))
    found = ce.to_genuine(np.maximum(np.triu(edges), np.triu(edges, 1).swapaxes(1, 2)), np.arange(6) < 3).mean(axis=0)
    assert found[:3].mean() == pytest.approx(found[3:].mean(), abs=0.015)  # 4 standard errors; 0.08 with a target more


def test_classes_are_the_units_of_graphs(config):
    """Every edge is 1 high, every node 0: all rise by 1, whatever the class, the member and the kind."""
    table = ce.estimate(with_graph(made_up(np.ones((2, S, Q)))), config)
    rows = table.select("path.minimax_barrier")
    assert len(rows) == 2 and all(r["value"] == r["low"] == r["high"] == 1.0 and r["examples"] == 7 for r in rows)
    cube = table.select("path.components").cube("threshold")
    np.testing.assert_allclose(cube.value, np.where(cube.threshold < 1, 6.0, 1.0))


def test_a_node_of_another_class_joins_nothing():
    found = ce.joined(np.array([1.0, 2.0, 3.0]), np.zeros(3), np.array([False, True, False]))
    np.testing.assert_array_equal(found[0], [0.0, np.inf, 2.0])
    assert np.isinf(found[1]).all()


# ---- checks, headline, figures ----


def checked(config, data, name):
    return {check.name: check for check in ce.checks(data, Table(), config)}[name]


@pytest.mark.parametrize(("raised", "passed"), [(15, True), (16, False)])
def test_barriers_that_more_points_raise_are_counted_among_the_pairs_that_have_one(config, raised, passed):
    """Of 300 pairs that have one on the line 5 % may be raised on a path, whatever others have left there."""
    line, left = np.zeros((1, S, Q)), np.zeros((1, S, Q))
    line[..., :50] = 1.0
    left.reshape(-1)[np.flatnonzero(line.reshape(-1))[:raised]] = 0.1
    data = made_up(line, ("genuine",), barrier=np.stack([line, 0.9 * left], 1), fine=np.stack([line, left], 1))
    check = checked(config, data, "bypass.points_are_enough")
    assert check.passed == passed and f"of 300 pairs with a barrier above 0.01 nats, {raised} of them" in check.detail
    low = made_up(0 * line + 0.005, ("genuine",))
    assert not [check for check in ce.checks(low, Table(), config) if "points" in check.name]


@pytest.mark.parametrize("holds", [True, False])
def test_waypoints_out_of_their_planes_and_a_detector_without_weight_fail_their_checks(config, holds):
    flat = np.ones((2, S, Q))
    data = tuned(made_up(flat, out_of_plane=(0.5 if holds else 2.0) * 1e-5 * flat)).assign(adaptive_weight=3.0 * holds)
    assert checked(config, data, "bypass.in_its_plane").passed == holds
    check = checked(config, data, "adaptive.detector_has_weight")
    assert check.passed == holds and f"weight {3 * holds:g} was taken" in check.detail


def test_the_headline_says_what_was_run_and_no_more(config):
    scores = np.random.default_rng(0).exponential(size=(2, S, Q))
    text = ce.headline(ce.estimate(made_up(scores), config), config)
    assert text.count(". ") == 1 and text.endswith("(guessing: 0.5).") and "of the straight lines between" in text
    config.pairs.kinds = (*BOTH, "adaptive")
    text = ce.headline(ce.estimate(tuned(made_up(scores)), config), config)
    assert text.endswith("and unknown (too few pairs) against an attack built to evade it.")
    config.pairs.kinds = ("genuine",)
    assert "AUROC" not in ce.headline(ce.estimate(made_up(scores[:1], ("genuine",)), config), config)


@pytest.mark.slow  # the whole run draws them too
@pytest.mark.parametrize("height", [0.0, 0.3, 100.0])
def test_figures_are_drawn_of_barriers_of_any_height(config, tmp_path, height):
    line = height * np.random.default_rng(0).random((len(KINDS), S, Q))
    data = tuned(made_up(line, KINDS, paths=PATHS))
    found, absent = figures.draw(FIGURES, (ce.derive(data), ce.estimate(data, config)), tmp_path)
    missing = {"steps"} if height == 0 else set()
    assert {one.spec.name for one in absent} == missing and all(one.paths[0].stat().st_size > 3000 for one in found)


# ---- pairs ----


def test_pairs_are_what_they_are_called_and_share_no_image():
    """Of members that err on a tenth of the images, partly of the same ones."""
    rng = np.random.default_rng(0)
    label, probability = rng.integers(4, size=400), rng.dirichlet(np.ones(4), size=400)
    prediction, wrong = np.tile(label, (3, 1)), rng.random((3, 400)) < 0.1
    prediction[wrong] = rng.integers(4, size=wrong.sum())
    pairs = pairs_of(label, prediction, probability, num_pairs=30, num_errors=25, seed=0)
    right, regular = np.all(prediction == label, axis=0), np.arange(len(pairs.label)) < pairs.regular
    assert pairs.regular == 30 and (~regular).sum() == 25
    used = np.concatenate(pairs[:3])
    used = used[used != NONE]
    assert len(used) == len(set(used.tolist())) == 3 * 30 + 2 * 25
    for name, rows in (("reference", slice(None)), ("partner", regular)):
        chosen = getattr(pairs, name)[rows]
        assert np.all(right[chosen]) and np.array_equal(label[chosen], pairs.label[rows])
    source = pairs.source[regular]
    others = np.where(np.arange(4) == label[source][:, None], -1, probability[source])
    assert np.all(right[source]) and np.array_equal(others.argmax(axis=1), pairs.label[regular])
    errors = pairs.source[~regular]
    assert np.all(pairs.partner[~regular] == NONE) and np.all(label[errors] != pairs.label[~regular])
    assert np.all(np.any(prediction[:, errors] == pairs.label[~regular], axis=0))
    counts = np.bincount(pairs.label[regular], minlength=4)
    assert counts.max() - counts.min() <= 1  # class by class in turn
    by_label = pairs_by_label(label, num_pairs=300, seed=0)
    used = np.concatenate(by_label[:3])
    assert len(by_label.label) == by_label.regular > 110 and len(used) == len(set(used.tolist()))
    assert all(np.array_equal(label[part], by_label.label) for part in by_label[:2])
    assert np.all(label[by_label.source] != by_label.label)
    first = pairs_by_label(label, num_pairs=5, seed=0)
    assert all(np.array_equal(a, b[:5]) for a, b in zip(first[:4], by_label[:4], strict=True))
    assert pairs_by_label(np.zeros(9, int), num_pairs=5, seed=0).regular == 0  # no source of another class


def test_values_are_drawn_from_those_of_the_member():
    values, mask = np.arange(12.0).reshape(3, 4), np.array([[1, 1, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0]])
    found = drawn(values, mask, 50, seed=(0, 5), otherwise=-1.0)
    assert set(found[0]) == {0, 1, 3} and set(found[1]) == {4} and set(found[2]) == {-1}


def test_graphs_take_as_many_nodes_as_half_of_the_classes_have():
    label = np.repeat(np.arange(5), [3, 3, 2, 1, 0])
    pairs = Pairs(*np.arange(3 * len(label)).reshape(3, -1), label, len(label))
    # Four classes have nodes at all; two of these have three, three have two.
    assert {c: rows.tolist() for c, rows in nodes_of(pairs, 3, 5).items()} == {0: [0, 1, 2], 1: [3, 4, 5]}
    assert [*nodes_of(pairs, 2, 5)] == [0, 1, 2] and nodes_of(pairs, 0, 5) == {}


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("pairs.kinds", ("adversarial",), "genuine among them"),
        ("pairs.kinds", ("genuine", "adversarail"), "did you mean adversarial"),
        ("paths.more", ("bezeir",), "did you mean bezier"),
        ("pairs.num_pairs", 4, "at least 5"),
        ("bypass.num_points", 2, "at least 3"),
        ("bypass.depth", 0, "at least 1"),
        ("adaptive.keep", 0.0, "a share above 0"),
        ("adaptive.weights", (), "at least one weight"),
        ("search.epsilon", 0.0, "a radius above 0"),
        ("manifold.family", "vq", "latents are numbers"),
        ("claims.a_barrier_detects_adversarial.measure", "auroc.barrier", "one of barrier.loss"),
        ("claims.a_barrier_detects_adversarial.direction", "more", "greater or less"),
    ],
)
def test_configs_that_would_fail_late_are_refused(name, value, expected):
    config = ConfigDict(load("connectivity").to_dict())
    experiments.validate(config)
    config.update_from_flattened_dict({name: value})
    with pytest.raises(UserError, match=expected):
        experiments.validate(config)


# ---- a whole run ----


def test_a_run_from_its_config_to_its_report(tmp_path, shared):
    kinds = ("genuine", "natural_error", "adversarial", "adaptive", "source")
    few = {"model.name": "mlp", "pairs.kinds": kinds, "graph.num_nodes": 0}
    config = smoke_config("connectivity", tmp_path, **few, **shared)
    arrays, summary = whole_runs.done(config, tmp_path / "run")
    assert arrays.kind.values.tolist() == [*kinds] and arrays.path.values.tolist() == ["line", "bypass", "bezier"]
    genuine = arrays.sel(kind="genuine")
    regular = genuine.valid.sel(path="line").all("member").values
    assert regular.sum() == config.pairs.num_pairs and np.isnan(genuine.barrier.values[..., ~regular]).all()
    errors = arrays.sel(kind="natural_error", path="line")
    assert np.isnan(errors.barrier.values[:, regular]).all() and np.isfinite(errors.barrier.values[:, ~regular]).all()
    assert arrays.valid.sel(kind="source", path="line").values[:, regular].all()  # of another class, as all members say
    line, over = (genuine.barrier.sel(path=path).values[:, regular] for path in ("line", "bypass"))
    profile = genuine.line_profile.transpose("t", "member", "pair").values[..., regular]
    rise = profile.max(axis=0) - np.maximum(profile[0], profile[-1])
    # Looked at closely, the highest point is a little higher.
    assert np.all(line >= rise - 1e-5) and np.all(line <= 1.2 * rise + 1e-3) and np.mean(over <= line + 1e-3) > 0.95
    assert np.isfinite(genuine.barrier.sel(path="bezier").values).sum() == 4 * config.paths.num_pairs
    assert np.nanmax(genuine.out_of_plane) < 1e-4
    names = {check["name"] for check in summary["checks"]}
    assert {"members.distinct", "bypass.in_its_plane", "adaptive.detector_has_weight"} <= names
    assert "AUROC" in summary["headline"] and len(summary["claims"]) == 2
    missing = re.findall(r"Not drawn: <b>(.*?)</b>", (tmp_path / "run/report.html").read_text())
    assert set(missing) <= {"How many steps the first waypoint of a bypass needs"}  # of few pairs


def test_too_few_images_are_refused(tmp_path, shared):
    config = smoke_config("connectivity", tmp_path, **{"model.name": "mlp", "pairs.num_examples": 12}, **shared)
    with pytest.raises(UserError, match="expected 5 or more"):
        whole_runs.done(config, tmp_path / "few")
