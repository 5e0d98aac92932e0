"""Weight noise: moments and radii of every kind, what carries noise, and the samplers built on it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape import samplers

NUM_DRAWS = 4000


def variables():
    keys = iter(jax.random.split(jax.random.key(1), 8))
    return {
        "params": {
            "conv0": {"kernel": jax.random.normal(next(keys), (2, 2, 1, 3)), "bias": jnp.array([0.5, -1.0, 2.0])},
            "GroupNorm_0": {"scale": jnp.ones(3), "bias": jnp.ones(3)},
            "block": {"norm_1": {"bias": jnp.ones(2)}, "dense": {"kernel": jax.random.normal(next(keys), (4, 2))}},
            "count": jnp.int32(3),
        },
        "batch_stats": {"bn": {"mean": jnp.ones(3)}},
    }


def draw_many(kind):
    """Many draws for one kernel and one bias, as NumPy float64 with a leading axis of draws."""
    keys = jax.random.split(jax.random.key(0), NUM_DRAWS)
    weights = variables()["params"]["conv0"]
    drawn = jax.jit(jax.vmap(lambda key: samplers.direction(key, weights, kind=kind)))(keys)
    return weights, jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), drawn)


def near(mean, truth, samples):
    """|mean - truth| below 4 standard errors, entry by entry (5 where the test looks at some twenty of them)."""
    sem = np.std(samples, axis=0) / np.sqrt(NUM_DRAWS)
    return np.all(np.abs(mean - truth) <= 5 * sem)


@pytest.mark.parametrize("kind", samplers.WEIGHT_NOISES)
def test_norm_layers_statistics_and_integers_carry_no_noise(kind):
    drawn = samplers.perturb(jax.random.key(0), variables(), 0.3, kind=kind)
    for path, leaf in jax.tree_util.tree_leaves_with_path(drawn):
        name = jax.tree_util.keystr(path)
        before = dict((jax.tree_util.keystr(p), value) for p, value in jax.tree_util.tree_leaves_with_path(variables()))
        still = any(word in name for word in ("Norm", "norm", "batch_stats", "count"))
        still |= kind == "filter_normalised" and "bias" in name
        assert bool(jnp.all(leaf == before[name])) == still, name
        assert leaf.dtype == before[name].dtype


def test_is_weight_names():
    told = {
        jax.tree_util.keystr(path): samplers.is_weight(path)
        for path, _ in jax.tree_util.tree_leaves_with_path(variables())
    }
    assert [name for name, weight in told.items() if weight] == [
        "['params']['block']['dense']['kernel']",
        "['params']['conv0']['bias']",
        "['params']['conv0']['kernel']",
        "['params']['count']",
    ]


def test_multiplicative_and_additive_moments():
    for kind in ("multiplicative", "additive"):
        weights, drawn = draw_many(kind)
        drawn = drawn["kernel"]
        variance = np.asarray(weights["kernel"]) ** 2 if kind == "multiplicative" else 1.0
        assert near(drawn.mean(axis=0), 0.0, drawn)
        assert near((drawn**2).mean(axis=0), variance, drawn**2)
        other = drawn.reshape(NUM_DRAWS, -1)
        assert near((other[:, 0] * other[:, 5]).mean(), 0.0, other[:, 0] * other[:, 5])  # independent entries


def test_layer_relative_is_uniform_in_the_ball():
    weights, drawn = draw_many("layer_relative")
    for name in ("kernel", "bias"):
        points = drawn[name].reshape(NUM_DRAWS, -1)
        radius = np.linalg.norm(points, axis=1) / np.linalg.norm(np.asarray(weights[name], np.float64))
        dims = points.shape[1]
        assert radius.max() <= 1 + 1e-6
        assert near(radius.mean(), dims / (dims + 1), radius)  # E r for a uniform point of the unit ball
        assert near((radius**dims).mean(), 0.5, radius**dims)  # r^D is uniform in [0, 1]
        assert near(points.mean(axis=0), 0.0, points)


def test_filter_normalised_has_the_filters_norms():
    weights, drawn = draw_many("filter_normalised")
    norms = np.linalg.norm(drawn["kernel"].reshape(NUM_DRAWS, -1, 3), axis=1)
    truth = np.linalg.norm(np.asarray(weights["kernel"]).reshape(-1, 3), axis=0)
    np.testing.assert_allclose(norms, np.broadcast_to(truth, norms.shape), rtol=1e-5)
    assert near(drawn["kernel"].mean(axis=0), 0.0, drawn["kernel"])
    assert np.all(drawn["bias"] == 0)


@pytest.mark.parametrize("kind", samplers.WEIGHT_NOISES)
def test_one_key_is_one_ray(kind):
    key = jax.random.key(7)
    small, large = (samplers.perturb(key, variables(), sigma, kind=kind)["params"]["conv0"] for sigma in (0.1, 0.2))
    start = variables()["params"]["conv0"]
    np.testing.assert_allclose(
        large["kernel"] - start["kernel"], 2 * (small["kernel"] - start["kernel"]), rtol=1e-4, atol=1e-6
    )
    other = samplers.perturb(jax.random.key(8), variables(), 0.1, kind=kind)["params"]["conv0"]
    assert jnp.all(other["kernel"] != small["kernel"])


@pytest.mark.parametrize("kind", samplers.WEIGHT_NOISES)
def test_zero_weights_and_zero_sigma(kind):
    zero = jax.tree.map(jnp.zeros_like, variables())
    assert all(
        bool(jnp.all(jnp.isfinite(leaf)))
        for leaf in jax.tree.leaves(samplers.perturb(jax.random.key(0), zero, 1.0, kind=kind))
    )
    same = samplers.perturb(jax.random.key(0), variables(), 0.0, kind=kind)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool(jnp.all(a == b)), same, variables()))


def test_samplers():
    still = samplers.fixed(variables())
    assert jax.tree.all(
        jax.tree.map(lambda a, b: bool(jnp.all(a == b)), still.draw(jax.random.key(0), still.source), variables())
    )
    around = samplers.ball(variables(), 0.1, kind="additive")
    drawn = around.draw(jax.random.key(3), around.source)
    expected = samplers.perturb(jax.random.key(3), variables(), 0.1, kind="additive")
    assert jax.tree.all(jax.tree.map(lambda a, b: bool(jnp.all(a == b)), drawn, expected))


def test_unknown_kind_lists_the_known_ones():
    for call in (
        lambda: samplers.ball({}, 0.1, kind="gauss"),
        lambda: samplers.direction(jax.random.key(0), {}, kind="gauss"),
    ):
        with pytest.raises(ValueError, match=r"kind='gauss'.*layer_relative"):
            call()
