"""Permuted units compute the same, and matching finds planted permutations again."""

import itertools
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape.models import classifiers
from landscape.models.permutations import groups_of, permute, readers_of
from landscape.training.alignment import activation_matching, activations, assign, weight_matching

X = jax.random.uniform(jax.random.key(0), (6, 8, 8, 1))


SMALL = {"widths": (8, 16), "blocks": (2, 2)}


@cache
def built(name, norm):
    """(apply, shapes of the variables)."""
    options = {"num_classes": 3, "mean": (0.5,), "std": (0.3,), "norm": norm, "activation": "relu"}
    if name == "resnet":
        network = classifiers.ResNet(**options, **SMALL, conv=jax.lax.conv_general_dilated)
    else:
        network = classifiers.build(name, **options)
    return jax.jit(lambda variables, x: network.apply(variables, x)), jax.eval_shape(network.init, jax.random.key(1), X)


def made(name, norm, seed=0):
    """(apply, variables), every leaf drawn, so that no two units are alike and biases are not 0."""
    apply, shapes = built(name, norm)
    rng = np.random.default_rng(seed)

    def drawn(path, leaf):
        positive = str(path[-1].key) in ("var", "scale")
        values = rng.normal(size=leaf.shape) * (0.3 if len(leaf.shape) > 1 else 0.5)
        return np.asarray(0.5 + np.abs(values) if positive else values, np.float32)

    return apply, jax.tree_util.tree_map_with_path(drawn, shapes)


def shuffled(groups, seed=0):
    """A permutation of every group that leaves sets of units that share statistics together."""
    rng = np.random.default_rng(seed)
    found = {}
    for name, group in groups.items():
        sets = np.arange(group.size).reshape(-1, group.together)[rng.permutation(group.size // group.together)]
        found[name] = np.concatenate([rng.permutation(one) for one in sets])
    return found


CASES = [(n, m) for n in ("mlp", "cnn", "cnn_wide", "resnet") for m in ("none", "group", "batch")]


@pytest.mark.parametrize(("name", "norm"), CASES)
def test_units_in_another_order_compute_the_same_and_are_aligned_exactly(name, norm):
    """The line between a member and its copy with permuted units is then one point, and its barrier 0."""
    apply, variables = made(name, norm)
    groups = groups_of(variables)
    moved = permute(variables, groups, shuffled(groups))
    np.testing.assert_allclose(apply(moved, X), apply(variables, X), rtol=2e-4, atol=2e-4)
    moves = [not np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (moved, variables)), strict=True)]
    assert sum(moves) >= len(moves) - 1 - (norm != "none")  # all but the bias of the logits
    assert {g.together for g in groups.values()} == {8 if norm == "group" else 1}
    found = permute(moved, groups, weight_matching(variables, moved, seed=0))
    jax.tree.map(np.testing.assert_array_equal, found, variables)


def test_matching_never_makes_them_less_alike():
    (_, a), (_, b) = made("cnn", "none", 0), made("cnn", "none", 1)
    groups = groups_of(a)

    def apart(b):
        return sum(float(np.square(x - y).sum()) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))

    few, many = (apart(permute(b, groups, weight_matching(a, b, seed=3, restarts=n))) for n in (1, 4))
    assert many <= few * (1 + 1e-6) < apart(b)


def test_sets_of_units_stay_together_in_the_best_order():
    likeness = np.random.default_rng(0).normal(size=(6, 6))
    found = assign(likeness, 2)
    best = -np.inf
    for sets in itertools.permutations(range(3)):
        for flips in itertools.product([(0, 1), (1, 0)], repeat=3):
            order = [2 * s + f for s, flip in zip(sets, flips, strict=True) for f in flip]
            best = max(best, likeness[np.arange(6), order].sum())
    assert likeness[np.arange(6), found].sum() == pytest.approx(best)
    assert all({found[2 * i] // 2, found[2 * i + 1] // 2} == {found[2 * i] // 2} for i in range(3))
    free = assign(likeness)
    assert likeness[np.arange(6), free].sum() >= best and sorted(free.tolist()) == list(range(6))


def test_unlike_architectures_are_refused():
    with pytest.raises(ValueError, match="one architecture"):
        weight_matching(made("cnn", "none")[1], made("cnn_wide", "none")[1], seed=0)
    with pytest.raises(ValueError, match="expected those of an mlp, a cnn or a resnet"):
        groups_of({"params": {"head": {"kernel": jnp.zeros((2, 2))}}})


@pytest.mark.parametrize(("name", "norm"), [("mlp", "none"), ("cnn_wide", "batch"), ("resnet_small", "group")])
def test_activations_of_every_group_find_a_permuted_copy(name, norm, monkeypatch):
    """Each by itself: one wrong place in a residual stream would spoil the order of its group."""
    monkeypatch.setitem(classifiers.FAMILIES, "resnet_small", (classifiers.ResNet, SMALL))
    classifier = classifiers.build(name, num_classes=3, norm=norm, mean=(0.5,), std=(0.3,))
    x = jax.random.uniform(jax.random.key(2), (48, 8, 8, 1))
    rng = np.random.default_rng(3)

    def drawn(path, leaf):
        """As at the start of training, with every bias and scale a little moved."""
        name, spread = path[-1].key, np.sqrt(2 / np.prod(leaf.shape[:-1]))
        values = rng.normal(size=leaf.shape) * (spread if name == "kernel" else 0.05)
        return np.asarray(values + (name in ("scale", "var")), np.float32)

    variables = jax.tree_util.tree_map_with_path(drawn, jax.eval_shape(classifier.init, jax.random.key(1), x))
    groups = groups_of(variables)
    orders = shuffled(groups, 4)
    active = jax.jit(lambda variables: activations(variables, x, classifier=classifier))
    own, other = (jax.tree.map(np.asarray, active(v)) for v in (variables, permute(variables, groups, orders)))
    other = {group: 5 + 2 * values for group, values in other.items()}  # scale and mean are of no matter
    found = activation_matching(own, other, groups)
    for group, order in orders.items():
        assert own[group].shape[1] == groups[group].size
        alive = own[group].std(axis=0) > 1e-3  # units that are always 0 are all alike
        assert alive.mean() > 0.5
        np.testing.assert_array_equal(order[found[group]][alive], np.flatnonzero(alive), err_msg=group)


def test_readers_of_a_stream_are_its_blocks_and_what_comes_behind():
    _, variables = made("resnet", "none")
    groups = groups_of(variables)
    assert readers_of(variables, groups["stem"]) == ("block1_1_conv1", "block1_2_conv1", "block2_1_conv1")
    assert readers_of(variables, groups["block2_1"]) == ("block2_2_conv1", "logits")
    assert readers_of(variables, groups["block1_1_conv1"]) == ("block1_1_conv2",)
