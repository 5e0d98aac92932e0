"""REPAIR: every unit gets the mean and spread it was promised, and nothing else happens to a classifier."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape import ensembles, tree
from landscape.models import classifiers, repair

X = jax.random.uniform(jax.random.key(0), (48, 8, 8, 1))
NETWORKS = ("mlp", "cnn", "resnet_small")


@pytest.fixture(autouse=True)
def _small_resnet(monkeypatch):
    family = (classifiers.ResNet, {"widths": (8, 16), "blocks": (1, 1)})
    monkeypatch.setitem(classifiers.FAMILIES, "resnet_small", family)


def made(name, norm):
    return classifiers.build(name, num_classes=3, norm=norm, mean=(0.5,), std=(0.3,))


def drawn(classifier, seed, scale=1.0):
    """Variables in which no bias is 0 and no norm's scale 1."""
    rng = np.random.default_rng(seed)

    def leaf(path, shape):
        positive = path[-1].key in ("var", "scale")
        spread = np.sqrt(2 / np.prod(shape.shape[:-1])) if path[-1].key == "kernel" else 0.3
        values = scale * spread * rng.normal(size=shape.shape)
        return jnp.asarray(0.7 + np.abs(values) if positive else values, jnp.float32)

    return jax.tree_util.tree_map_with_path(leaf, jax.eval_shape(classifier.init, jax.random.key(0), X))


def middle(classifier, weights):
    """(what lies between two ends, its target) of weights [2]."""
    ends = [drawn(classifier, 1), drawn(classifier, 2, 1.3)]
    own = [repair.moments(end, X, classifier=classifier) for end in ends]
    return tuple(tree.blend(weights, ensembles.stack(parts)) for parts in (ends, own))


@pytest.mark.parametrize("norm", ["none", "group"])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_unit_gets_the_mean_and_spread_between_those_of_the_ends_which_stay(name, norm):
    classifier = made(name, norm)

    @jax.jit
    def between_ends(weights):
        between, target = middle(classifier, weights)
        found = repair.repaired(between, target, X, classifier=classifier)
        before, after = (repair.moments(v, X, classifier=classifier) for v in (between, found))
        return before, after, target, found

    before, after, target, _ = between_ends(jnp.asarray([0.3, 0.7]))
    assert set(target) == set(repair.sites(drawn(classifier, 1)))
    assert len(target) == {"mlp": 2, "cnn": 3, "resnet_small": 6}[name]
    for site, wanted in target.items():
        np.testing.assert_allclose(after[site].mean, wanted.mean, atol=2e-5)
        np.testing.assert_allclose(after[site].std, wanted.std, rtol=2e-5)
        assert np.abs(before[site].std / wanted.std - 1).max() > 0.05  # interpolation alone does not
    if norm == "none":
        assert np.mean([np.mean(before[site].std / wanted.std) for site, wanted in target.items()]) < 0.9
    for end, own in enumerate((drawn(classifier, 1), drawn(classifier, 2, 1.3))):
        found = between_ends(jnp.asarray([1.0 - end, float(end)]))[-1]
        for one, other in zip(*map(jax.tree.leaves, (found, own)), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)  # statistics summed in another program


def test_moments_of_a_dense_layer_in_closed_form():
    classifier = made("mlp", "none")
    variables = drawn(classifier, 3)
    found = jax.jit(lambda v: repair.moments(v, X, classifier=classifier))(variables)["dense1"]
    layer = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables["params"]["dense1"])
    pixels = ((np.asarray(X, np.float64) - 0.5) / 0.3).reshape(len(X), -1)
    np.testing.assert_allclose(found.mean, pixels.mean(axis=0) @ layer["kernel"] + layer["bias"], atol=1e-5)
    variance = np.einsum("iu,ij,ju->u", layer["kernel"], np.cov(pixels.T, bias=True), layer["kernel"])
    np.testing.assert_allclose(found.std, np.sqrt(variance), rtol=1e-4)


def test_a_unit_that_no_image_moves_is_shifted_alone():
    classifier = made("mlp", "none")

    @jax.jit
    def still():
        between, target = middle(classifier, jnp.asarray([0.5, 0.5]))
        between["params"]["dense1"]["kernel"] = between["params"]["dense1"]["kernel"].at[:, 4].set(0.0)
        found = repair.repaired(between, target, X, classifier=classifier)
        return found, target, repair.moments(found, X, classifier=classifier)["dense1"]

    found, target, own = still()
    assert own.std[4] < 1e-6 and all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(found))
    np.testing.assert_allclose(own.mean, target["dense1"].mean, atol=2e-5)


@pytest.mark.parametrize("name", ["mlp", "resnet_small"])
def test_with_batch_norm_statistics_are_taken_anew_and_nothing_else(name):
    classifier = made(name, "batch")
    variables = drawn(classifier, 1)
    kept = []

    @jax.jit
    def reset(variables):
        found = repair.repaired(variables, {}, X, classifier=classifier)
        kept.append(found["params"] is variables["params"])
        logits = (classifier.apply(found, X), classifier.train_apply(variables, X)[0])
        return *logits, repair.moments(found, X, classifier=classifier)

    again, logits, own_moments = reset(variables)
    assert kept == [True]
    np.testing.assert_allclose(again, logits, rtol=1e-3, atol=1e-3)
    # Which is what REPAIR promises: a norm puts out its bias and its scale, and so what lies between those of two ends.
    for site, own in own_moments.items():
        norm = variables["params"][site]
        np.testing.assert_allclose(own.mean, norm["bias"], atol=1e-4)
        np.testing.assert_allclose(own.std, np.abs(norm["scale"]), rtol=2e-3)  # the norm's own epsilon


@pytest.mark.parametrize("name", NETWORKS)
def test_a_visitor_sees_every_layer_in_order_and_changes_what_goes_on(name):
    classifier = made(name, "group")
    variables = drawn(classifier, 1)
    seen = []

    def look(layer, h, out):
        seen.append(layer)
        return out

    @jax.jit
    def all_ways(variables, x):
        last = classifier.through(variables, x, lambda layer, h, out: 0 * out if layer == "logits" else out)
        return classifier.through(variables, x, look), classifier.apply(variables, x), last

    visited, plain, last = all_ways(variables, X[:4])
    np.testing.assert_array_equal(visited, plain)
    assert set(seen) == set(variables["params"]) and seen[-1] == "logits"
    np.testing.assert_array_equal(last, 0.0)
