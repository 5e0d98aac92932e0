"""Weight noise: moments and radii of every kind, what carries noise, and the samplers built on it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape import samplers

NUM_DRAWS = 4000
KEY = jax.random.key(0)


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
    drawn = jax.jit(jax.vmap(lambda key: samplers.directed(samplers.draw(key, weights), weights, kind=kind)))(keys)
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


def test_filters_and_spheres_have_the_weights_norms():
    weights, drawn = draw_many("filter_normalised")
    norms = np.linalg.norm(drawn["kernel"].reshape(NUM_DRAWS, -1, 3), axis=1)
    truth = np.linalg.norm(np.asarray(weights["kernel"]).reshape(-1, 3), axis=0)
    np.testing.assert_allclose(norms, np.broadcast_to(truth, norms.shape), rtol=1e-5)
    assert near(drawn["kernel"].mean(axis=0), 0.0, drawn["kernel"])
    assert np.all(drawn["bias"] == 0)
    weights, drawn = draw_many("layer_sphere")
    length = np.linalg.norm(drawn["kernel"].reshape(NUM_DRAWS, -1), axis=1)
    np.testing.assert_allclose(length, float(jnp.linalg.norm(weights["kernel"])), rtol=1e-5)


@pytest.mark.parametrize("kind", samplers.WEIGHT_NOISES)
def test_zero_weights_and_zero_sigma(kind):
    zero = jax.tree.map(jnp.zeros_like, variables())
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(samplers.perturb(KEY, zero, 1.0, kind=kind)))
    equal(samplers.perturb(KEY, variables(), 0.0, kind=kind), variables())


def equal(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_unknown_kind_lists_the_known_ones():
    for call in (lambda: samplers.ball({}, 0.1, kind="gauss"), lambda: samplers.perturb(KEY, {}, 0.1, kind="gauss")):
        with pytest.raises(ValueError, match=r"kind='gauss'.*layer_relative"):
            call()


# ---- samplers of samplers ----


def ensemble_of(count=5, seed=2):
    keys = jax.random.split(jax.random.key(seed), count)
    return {"w": jax.vmap(lambda key: jax.random.normal(key, (3, 2)))(keys), "count": jnp.arange(count)}


def draws(sampler, count=NUM_DRAWS):
    keys = jax.random.split(jax.random.key(0), count)
    return jax.jit(jax.vmap(sampler.draw, (0, None)))(keys, sampler.source)


def test_a_member_is_whole_and_each_is_as_likely():
    members = ensemble_of()
    drawn = draws(samplers.member(members))
    np.testing.assert_array_equal(drawn["w"], members["w"][drawn["count"]])
    share = np.bincount(drawn["count"], minlength=5) / NUM_DRAWS
    assert (np.abs(share - 0.2) < 4 * np.sqrt(0.2 * 0.8 / NUM_DRAWS)).all()


def test_a_part_of_an_ensemble_is_chosen_by_numbers_without_compiling_anew():
    members, traces = ensemble_of(), []

    @jax.jit
    def drawn(keys, low, count):
        traces.append(low)
        sampler = samplers.member(members, low, count)
        return jax.vmap(sampler.draw, (0, None))(keys, sampler.source)["count"]

    keys = jax.random.split(jax.random.key(0), 200)
    for low, count in ((0, 1), (1, 3), (0, 5)):
        found = drawn(keys, jnp.int32(low), jnp.int32(count))
        assert set(found.tolist()) == set(range(low, low + count))
    np.testing.assert_array_equal(found, draws(samplers.member(members), 200)["count"])
    assert len(traces) == 1


def test_noise_on_members_is_noise_about_each():
    """The variance is that between members plus that of the noise, sigma^2 of additive noise."""
    members = ensemble_of()
    sampler = samplers.noisy(samplers.member(members), 0.3, kind="additive")
    drawn = np.asarray(draws(sampler)["w"], np.float64)
    expected = np.asarray(members["w"]).var(axis=0) + 0.09
    np.testing.assert_allclose(drawn.var(axis=0), expected, rtol=0.1)  # 4 standard errors
    still = samplers.noisy(samplers.fixed(ensemble_of(1)), 0.0, kind="additive")
    np.testing.assert_array_equal(still.draw(jax.random.key(1), still.source)["w"], ensemble_of(1)["w"])


def fading(sampler):
    """Noise that changes along a search."""
    return samplers.noisy(sampler, 0.5, kind="additive")._replace(at=lambda step, source: (source[0], 0.5 - 0.1 * step))


def test_a_number_says_whether_a_draw_is_frozen():
    """Frozen, it is that of the first step, noise that changes along the search included; else nothing is changed."""
    around = fading(samplers.fixed({"w": jnp.ones((4, 3))}))
    key, traces = jax.random.key(0), []

    @jax.jit
    def drawn(key, step, still):
        traces.append(step)
        return samplers.drawn_at(samplers.frozen(around, jax.random.key(5), still), key, step)["w"]

    free = [samplers.drawn_at(around, key, jnp.int32(step))["w"] for step in (0, 2)]
    first = samplers.drawn_at(around, jax.random.key(5), jnp.int32(0))["w"]
    for step, expected in zip((0, 2), free, strict=True):
        np.testing.assert_allclose(drawn(key, jnp.int32(step), False), expected, rtol=1e-6)
        np.testing.assert_allclose(drawn(key, jnp.int32(step), True), first, rtol=1e-6)
    np.testing.assert_array_equal(*(drawn(key, jnp.int32(step), True) for step in (0, 2)))
    assert len(traces) == 1


def test_several_draws_are_stacked_and_independent():
    sampler = samplers.several(samplers.member(ensemble_of()), 4)
    drawn = draws(sampler, 500)
    assert drawn["w"].shape == (500, 4, 3, 2)
    pairs = np.asarray(drawn["count"])
    assert abs(np.mean(pairs[:, 0] == pairs[:, 1]) - 0.2) < 4 * np.sqrt(0.2 * 0.8 / 500)
    with pytest.raises(ValueError, match="num_draws=0"):
        samplers.several(sampler, 0)


def test_swag_has_the_moments_of_its_trajectory():
    """Mean that of the points; covariance half their variances on the diagonal, half theirs, K / (K - 1) of it."""
    points = ensemble_of(6)
    fit = samplers.fit_swag(points)
    w = np.asarray(points["w"], np.float64).reshape(6, -1)
    drawn = np.asarray(draws(samplers.swag(fit), 20_000)["w"], np.float64).reshape(20_000, -1)
    expected = 0.5 * np.diag(w.var(axis=0)) + 0.5 * np.cov(w, rowvar=False)
    error = 5 * np.sqrt((np.outer(np.diag(expected), np.diag(expected)) + expected**2) / 20_000)
    assert (np.abs(np.cov(drawn, rowvar=False) - expected) < error).all()
    assert (np.abs(drawn.mean(axis=0) - w.mean(axis=0)) < 5 * np.sqrt(np.diag(expected) / 20_000)).all()
    assert int(draws(samplers.swag(fit), 3)["count"][0]) == 5
    np.testing.assert_allclose(draws(samplers.swag(fit, 0.0), 2)["w"][1], points["w"].mean(axis=0), rtol=1e-5)
    with pytest.raises(ValueError, match="1 points: expected at least 2"):
        samplers.fit_swag(ensemble_of(1))


def test_statistics_are_taken_anew_for_every_draw():
    """A classifier whose "statistics" are the mean of its own first layer: those of the drawn weights, not the old."""
    weights = {"w": jnp.ones((3, 2)), "mean": jnp.zeros(2)}
    statistics = lambda v, x: v | {"mean": jnp.mean(x[..., 0, 0] @ v["w"], axis=0)}  # noqa: E731
    x = jax.random.normal(jax.random.key(1), (7, 3, 1, 1))
    sampler = samplers.re_estimated(samplers.ball(weights, 0.5, kind="additive"), statistics, x)
    drawn = sampler.draw(jax.random.key(3), sampler.source)
    np.testing.assert_allclose(drawn["mean"], jnp.mean(x[..., 0, 0] @ drawn["w"], axis=0), rtol=1e-6)
    assert float(jnp.abs(drawn["w"] - 1).max()) > 0.1


def test_one_of_several_samplers_is_chosen_by_a_number_without_compiling_anew():
    members = ensemble_of()
    fit = samplers.fit_swag(members)
    one = jax.tree.map(lambda leaf: leaf[0], members)
    choices = [samplers.fixed(one), samplers.member(members), samplers.swag(fit)]
    traces = []

    @jax.jit
    def drawn(key, number):
        traces.append(number)
        sampler = samplers.one_of(choices, number)
        return sampler.draw(key, sampler.source)

    for number, choice in enumerate(choices):
        expected = jax.jit(choice.draw)(jax.random.key(4), choice.source)
        equal(drawn(jax.random.key(4), jnp.int32(number)), expected)
    assert len(traces) == 1
    with pytest.raises(ValueError, match="0 samplers"):
        samplers.one_of([], 0)
    with pytest.raises(ValueError, match="none with 'at'"):
        samplers.one_of([fading(samplers.fixed(variables()))], 0)
