"""What `connectivity` says of its arrays: differences, checks, graphs and the headline, of planted values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from landscape.experiments.connectivity_setting import Pairs
from landscape.experiments.connectivity_told import Told, mean, members
from ml_collections import ConfigDict
from scipy import special

from landscape.experiments import (
    connectivity_adaptive,
    connectivity_detector,
    connectivity_estimates,
    connectivity_exact,
    connectivity_graph,
)
from landscape.experiments import connectivity_graph_estimates as graphs
from landscape.experiments import connectivity_results as results
from landscape.experiments.connectivity import wanted_margins
from landscape.models import classifiers

S, Q = 6, 80
CONFIG = ConfigDict({"bypass": {"tolerance": 0.01, "num_steps": 80}, "pairs": {"kinds": ("genuine", "adversarial")}})


def told_of(kinds, **arrays):
    """Told of the line alone, every pair valid; arrays [kind, S, Q]."""
    some = next(iter(arrays.values()))
    whole = {name: ((), np.asarray(value)[:, None]) for name, value in arrays.items()}
    return Told({"valid": ((), np.ones_like(some)[:, None])} | whole, kinds, ("line",))


# ---- differences ----


def test_differences_are_paired_by_their_images():
    """An image's own height, which both kinds have, is no noise of their difference."""
    rng = np.random.default_rng(0)
    own = 5 * rng.random(Q)
    genuine = own + 0.1 * rng.random((S, Q))
    adversarial = own + 0.3 + 0.1 * rng.random((S, Q))
    one, count = connectivity_estimates.difference(
        told_of(("genuine", "adversarial"), barrier=[genuine, adversarial]), "adversarial", "line"
    )
    assert one.value == pytest.approx((adversarial - genuine).mean()) and one.high - one.low < 0.05 and count == Q
    assert connectivity_estimates.difference(told_of(("genuine",), barrier=[genuine]), "genuine", "line") is None


def test_of_examples_that_stand_in_two_rows_members_are_taken_as_given():
    values = np.random.default_rng(1).random((S, Q)) + np.arange(S)[:, None]
    everyone, given = (mean(kind, values, np.ones((S, Q), bool)) for kind in ("adversarial", "same_member"))
    assert everyone.value == pytest.approx(given.value) and given.generalises_to == "new images"
    assert everyone.high - everyone.low > 5 * (given.high - given.low)


def test_members_with_too_few_pairs_do_not_count():
    mask = np.ones((S, Q), bool)
    mask[1, 4:] = False
    assert members(mask).tolist() == [0, 2, 3, 4, 5]
    values = np.where(mask, 1.0, np.nan)
    values[1] = 100.0
    assert mean("genuine", values, mask).value == 1.0
    mask[:3, 4:] = False
    assert len(members(mask)) == 0  # three are left, too few to speak of others
    assert members(np.ones((2, Q), bool)).tolist() == [0, 1]  # all of a small ensemble


# ---- checks ----


def test_barriers_that_more_points_raise_are_counted_among_high_ones():
    coarse = np.full((1, S, Q), 0.005)  # low ones say nothing, however much they rise
    coarse[..., :50] = 1.0
    fine = 2 * coarse
    fine[..., :49] = 1.009
    check, _ = _checked(coarse, fine)
    assert check["passed"] and "of 300 pairs" in check["detail"] and "raise 6 by over 1 %" in check["detail"]
    fine[..., 40:49] = 1.02
    check, _ = _checked(coarse, fine)
    assert not check["passed"]


@pytest.mark.parametrize(("raised", "passed"), [(15, True), (16, False)])
def test_barriers_that_are_left_are_counted_among_the_pairs_that_had_one(raised, passed):
    """Of 300 pairs that have one on the line 5 % may be raised on a path, whatever others have left there."""
    line, left = np.zeros((1, S, Q)), np.zeros((1, S, Q))
    line[..., :50] = 1.0
    left.reshape(-1)[np.flatnonzero(line.reshape(-1))[:raised]] = 0.1
    arrays = {"barrier": [line, 0.9 * left], "fine": [line, left], "valid": [line * 0 + 1] * 2}
    arrays = {name: ((), np.stack(values, axis=1)) for name, values in arrays.items()}
    arrays["plane"] = ((), np.zeros_like(line))
    by_name = {c["name"]: c for c in results._checks(0.01, Told(arrays, ("genuine",), ("line", "bypass")))}
    assert by_name["bypass.points_are_enough"]["passed"] == passed
    assert (
        f"of 300 pairs with a barrier above 0.01 nats, {raised} of them"
        in by_name["bypass.points_are_enough"]["detail"]
    )


def _checked(coarse, fine, plane=1e-6):
    told = told_of(("genuine",), barrier=coarse, fine=fine)
    both = {name: ((), np.repeat(value, 2, axis=1)) for name, (_, value) in told.arrays.items()}
    both["plane"] = ((), np.full_like(both["barrier"][1][:, 0], plane))
    found = results._checks(0.01, Told(both, ("genuine",), ("line", "bypass")))
    by_name = {check["name"]: check for check in found}
    return by_name["line.points_are_enough"], by_name["bypass.in_its_plane"]


def test_a_bend_out_of_its_plane_fails():
    flat = np.ones((1, S, Q))
    assert _checked(flat, flat)[1]["passed"] and not _checked(flat, flat, plane=2e-5)[1]["passed"]


@pytest.mark.parametrize("weight", [0.0, 3.0])
def test_an_attack_that_does_not_care_for_the_detector_fails_its_check(weight):
    config = ConfigDict({"adaptive": {"weights": (1.0, 3.0), "keep": 0.95}})
    (check,) = results._adaptive(config, {"adaptive_weight": ((), np.asarray(weight))})
    assert check["passed"] == (weight > 0) and f"weight {weight:g} was taken" in check["detail"]
    assert results._adaptive(config, {}) == []


def test_paths_without_a_barrier_have_no_check_of_their_points():
    flat = np.full((1, S, Q), 0.005)
    told = told_of(("genuine",), barrier=flat, fine=flat)
    both = {name: ((), np.repeat(value, 2, axis=1)) for name, (_, value) in told.arrays.items()}
    both["plane"] = ((), np.zeros_like(flat))
    found = results._checks(0.01, Told(both, ("genuine",), ("line", "bypass")))
    assert [check["name"] for check in found] == ["bypass.in_its_plane"]


def test_lines_are_held_against_the_exact_barriers_of_the_first_member():
    found = np.zeros((2, S, Q))
    found[:, 0, :10] = 1.0
    told = told_of(("genuine", "adversarial"), barrier=found)
    exact = np.full((2, 10), 1.005)
    told.arrays["exact_kind"] = ((), np.asarray(("genuine", "adversarial")))
    told.arrays["exact_barrier"] = ((), exact)
    assert results._exact(told)[0]["passed"]
    exact[1, :2] = 1.02  # 2 of 20
    check = results._exact(told)[0]
    assert not check["passed"] and "0.02 nats" in check["detail"] and "10 %" in check["detail"]


def test_the_exact_barrier_is_that_of_a_very_fine_grid():
    rng = np.random.default_rng(3)
    classifier = classifiers.build("mlp", num_classes=3, mean=(0.3,), std=(0.2,))
    a, b = rng.random((2, 4, 4, 1)).astype(np.float32)
    variables = jax.tree.map(lambda w: 3 * w, classifier.init(jax.random.key(0), jnp.asarray(a[None])))
    of_line = connectivity_exact.barrier_of(classifier.apply, variables)
    t = np.linspace(0, 1, 4001)[:, None, None, None]
    logits = np.asarray(classifier.apply(variables, jnp.asarray(a + t * (b - a), jnp.float32)), np.float64)
    highest = 0.0
    for label in range(3):
        exact, places = of_line(a, b, label)
        loss = np.log(np.exp(logits - logits[:, label][:, None]).sum(axis=1))
        grid = loss.max() - max(loss[0], loss[-1])
        assert places > 20 and exact >= grid - 1e-5 and exact == pytest.approx(grid, abs=2e-3)
        highest = max(highest, exact)
    assert highest > 0.1


def test_how_far_two_sets_of_pairs_are_apart_in_spreads_of_the_second():
    values = np.array([1.0, 3.0, 5.0, 7.0, 100.0])
    one, other = np.array([0, 0, 1, 1, 0], bool), np.array([1, 1, 0, 0, 0], bool)
    assert connectivity_detector._apart(values, one, other) == pytest.approx((6.0 - 2.0) / np.sqrt(2))


# ---- graphs ----


def test_components_are_told_of_each_member_with_a_band_over_members_and_classes():
    """Six members, four classes; only members differ, then only classes."""
    number = np.arange(6.0)[:, None, None] * np.ones((6, 4, 3))
    found = {name: values for name, (_, values) in graphs._counted("components", number).items()}
    np.testing.assert_array_equal(found["components_member"], np.arange(6.0)[:, None] * np.ones((6, 3)))
    half = special.stdtrit(5, 0.975) * np.arange(6).std(ddof=1) / np.sqrt(6)  # the t interval of six numbers
    np.testing.assert_allclose(found["components_low"], max(2.5 - half, 0), rtol=1e-6)
    np.testing.assert_allclose(found["components_high"], 2.5 + half, rtol=1e-6)
    one = graphs._counted("shared_components", np.arange(4.0)[None, :, None] * np.ones((1, 4, 3)))
    assert "shared_components_member" not in one and np.all(one["shared_components_low"][1] < 1.5)
    np.testing.assert_array_equal(one["shared_components"][1], 1.5)


def test_what_nodes_climb_to_genuine_ones_by_hand():
    edges = np.array(
        [[0.1, 3.0, 2.0, 1.0], [3.0, 0.2, 5.0, 4.0], [2.0, 5.0, 0.3, 6.0], [1.0, 4.0, 6.0, 0.4]]
    )  # minimax heights but for 1 to 2, 1 to 3 and 2 to 3, which go by way of 0
    heights = np.minimum(edges, np.maximum(edges[:, :1], edges[:1]))
    genuine = np.array([True, True, True, False])
    found = graphs.to_genuine(heights, genuine)
    # The last one reaches 0 at 1, 1 at 3 and 2 at 2; without 0 the nearest is 2.
    np.testing.assert_allclose(found, [2.0 - 0.1, 3.0 - 0.2, 2.0 - 0.3, (1.0 + 1.0 + 2.0) / 3 - 0.4])


def test_nodes_of_one_law_climb_alike():
    rng, told = np.random.default_rng(2), []
    for _ in range(4000):
        edges = rng.random((6, 6))
        edges = np.triu(edges, 1) + np.triu(edges, 1).T
        told.append(graphs.to_genuine(edges, np.arange(6) < 3))
    genuine, other = np.mean(told, axis=0)[:3].mean(), np.mean(told, axis=0)[3:].mean()
    assert genuine == pytest.approx(other, abs=0.015)  # 4 standard errors; one target more would take 0.08 off


def test_estimates_of_graphs_take_classes_as_units():
    """Every edge is 1 high, every node 0: all climb 1, whatever the class, the member and the kind."""
    kinds = np.repeat(["genuine", "adversarial"], 3)
    edges, classes = 15, 7
    arrays = {"node_kind": ((), kinds), "shared_node_kind": ((), kinds)}
    for prefix, shape in (("graph", (classes, S)), ("shared", (classes,)), ("alone", (classes, S))):
        arrays |= {f"{prefix}_peak": ((), np.ones((*shape, edges))), f"{prefix}_loss": ((), np.zeros((*shape, 6)))}
        arrays[f"{prefix}_left"] = ((), np.zeros((*shape, 6)))
    found = graphs.graph(arrays)
    assert len(found.estimates) == 4
    for one in found.estimates:
        assert one["value"] == one["low"] == one["high"] == 1.0 and one["examples"] == classes
    threshold = found.curves["threshold"][1]
    for name in ("components", "shared_components", "alone_components"):
        np.testing.assert_allclose(found.curves[name][1], np.where(threshold < 1, 6.0, 1.0))
        np.testing.assert_array_equal(found.curves[f"{name}_nodes"][1], 6.0)


def test_a_node_of_another_class_joins_nothing():
    peak = np.array([1.0, 2.0, 3.0])
    loss, left = np.zeros(3), np.array([False, True, False])
    found = connectivity_graph.joined(peak, loss, left)
    np.testing.assert_array_equal(found[0], [0.0, np.inf, 2.0])
    assert np.isinf(found[1]).all()


def planted_pairs(counts):
    label = np.repeat(np.arange(len(counts)), counts)
    places = np.arange(4 * len(label)).reshape(4, -1)
    return Pairs(*places, label, len(label))


def test_graphs_take_as_many_nodes_as_half_of_the_classes_have_and_no_pair_twice():
    pairs = planted_pairs([9, 9, 7, 3, 2])
    nodes = connectivity_graph.nodes_of(pairs, 3, 5)
    # Four classes have nodes at all; two of these have three, three have two.
    assert nodes.count == 3 and nodes.classes.tolist() == [0, 1] and nodes.rows.shape == (2, 9)
    assert len(set(nodes.rows.ravel().tolist())) == 18
    assert connectivity_graph.nodes_of(pairs, 2, 5).classes.tolist() == [0, 1, 2]
    assert connectivity_graph.nodes_of(planted_pairs([2, 2]), 3, 2).count == 0
    # What stands on one place of the list of pairs takes other images of these.
    used = {}
    for kind, (_, place) in connectivity_graph.NODES.items():
        image = {"genuine": "anchor", "boosted": "other"}.get(kind, "carrier")
        rows = nodes.rows[:, place * nodes.count : (place + 1) * nodes.count]
        used[kind] = set(getattr(pairs, image)[rows.ravel()].tolist())
    own = [used[kind] for kind in connectivity_graph.OWN]
    shared = [used[kind] for kind in connectivity_graph.SHARED]
    for group in (own, shared):
        assert len(set().union(*group)) == sum(map(len, group)) == 6 * len(group)


# ---- what attacks are after ----


def test_wanted_margins_are_those_of_own_natural_errors():
    label = np.zeros(40, int)
    prediction = np.tile(label, (3, 1))
    prediction[0, :4], prediction[1, 10:14] = 1, 1
    margin = np.arange(120.0).reshape(3, 40)
    pairs = planted_pairs([30])
    found = wanted_margins({"clean_prediction": ((), prediction), "clean_margin": ((), margin)}, pairs, label, seed=0)
    assert set(found[0]) == {0, 1, 2, 3} and set(found[1]) == {50, 51, 52, 53} and set(found[2]) == {1.0}


def test_wanted_rises_are_those_of_own_genuine_pairs_that_count():
    rise = np.arange(12.0).reshape(3, 4)
    right = np.array([[1, 1, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0]], bool)
    tuned = {"tuning_rise": ((), rise), "tuning_right": ((), right)}
    found = connectivity_adaptive.wanted_rises(tuned, 50, seed=0)
    assert set(found[0]) == {0, 1, 3} and set(found[1]) == {4} and set(found[2]) == {0}


# ---- the headline ----


def estimate(name, value, **about):
    return {"name": name, "value": value, "low": value - 0.1, "high": value + 0.1, **about}


def test_the_headline_tells_what_was_run_and_no_more():
    found = [
        estimate("barrier.share", 0.3, population="genuine"),
        estimate("path.gone", 0.9, population="genuine", steps=8),
        estimate("path.gone", 0.8, population="genuine"),
        estimate("auroc.barrier", 0.6, population="adversarial", reference="genuine", matching="raw", path="bypass"),
        estimate("auroc.barrier", 0.7, population="adversarial", reference="genuine", matching="raw", path="line"),
        estimate("barrier.weight_loss", 1.5, variant="barrier", curve="line", matching="none", statistics="plain"),
        estimate("barrier.weight_loss", -0.4, variant="barrier", curve="line", matching="weight", statistics="plain",
                 reference="none"),
    ]  # fmt: skip
    told = results._headline(CONFIG, found, True, 85)
    assert "(85 pairs)" in told and "30 % [20, 40]" in told and "for 80 % [70, 90]" in told
    assert "AUROC 0.70 [0.60, 0.80]." in told and "detector" not in told and "natural errors" not in told
    assert told.endswith("Between two classifiers the loss rises by 1.50 [1.40, 1.60] nats.")
    assert results.ranged(estimate("x", -0.001) | {"low": -0.004, "high": 0.1}) == "0.00 [0.00, 0.10]"
    every = ConfigDict({"bypass": {"tolerance": 0.01}, "pairs": {"kinds": ("genuine", "adversarial", "adaptive")}})
    assert "an attack that knows the detector an unknown value (too few pairs)" in results._headline(
        every, found, True, 85
    )
    assert "an attack that knows the detector was not found" in results._headline(every, found, False, 85)
    only = ConfigDict({"bypass": {"tolerance": 0.01}, "pairs": {"kinds": ("genuine",)}})
    assert "AUROC" not in results._headline(only, found, True, 85)
