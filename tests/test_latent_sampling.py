"""Guided sampling in white coordinates: whitening, targets of known moments, chains, diagnostics of known value."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape.files import UserError
from landscape.latent import chains, coordinates, targets

C = 16  # chains


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


# ---- coordinates ----


def test_white_coordinates_have_covariance_one_and_lead_back():
    z = (normal(4000, 5) @ normal(5, 5, seed=1) + 3.0).astype(np.float32)
    whitening = coordinates.fit_whitening(z, ridge=1e-9)
    u = np.asarray(coordinates.to_white(whitening, z), np.float64)
    np.testing.assert_allclose(np.cov(u, rowvar=False), np.eye(5), atol=1e-4)  # float32, condition number of C^(1/2)
    np.testing.assert_allclose(u.mean(axis=0), 0.0, atol=1e-4)
    np.testing.assert_allclose(coordinates.from_white(whitening, jnp.asarray(u, jnp.float32)), z, atol=1e-4)
    np.testing.assert_allclose(whitening.root @ whitening.root, np.cov(z, rowvar=False), rtol=1e-4, atol=1e-5)


def test_a_constant_dimension_stays_finite_and_at_zero():
    z = np.concatenate([2 * normal(500, 2), np.full((500, 1), 7.0)], axis=1).astype(np.float32)
    whitening = coordinates.fit_whitening(z, ridge=1e-6)
    u = coordinates.to_white(whitening, z)
    np.testing.assert_allclose(u[:, 2], 0.0, atol=1e-3)
    np.testing.assert_allclose(np.std(u[:, :2], axis=0), 1.0, rtol=0.02)
    unit = coordinates.from_white(whitening, jnp.eye(3)) - coordinates.from_white(whitening, jnp.zeros((3, 3)))
    np.testing.assert_allclose(unit[2, 2], 1e-3 * np.sqrt(np.trace(np.cov(z, rowvar=False)) / 3), rtol=1e-2)
    few = coordinates.fit_whitening(normal(3, 8))  # fewer examples than dimensions
    assert all(np.isfinite(part).all() for part in few)


@pytest.mark.parametrize(
    "z, ridge, what",
    [(np.ones((5, 2)), 1e-6, "collapsed"), (normal(1, 2), 1e-6, "at least 2"), (normal(5, 2), 0.0, "ridge=0")],
)
def test_latents_that_cannot_be_whitened_are_refused(z, ridge, what):
    with pytest.raises(ValueError, match=what):
        coordinates.fit_whitening(z, ridge=ridge)


# ---- targets ----


def logits_of(weights, x):
    return x @ weights


def test_a_vote_is_the_log_of_the_mean_probability():
    ensemble, x, label = jnp.asarray(normal(4, 3, 5), jnp.float32), normal(6, 3, seed=1), np.arange(6) % 5
    logits = np.einsum("nd,sdk->snk", x, np.asarray(ensemble, np.float64))
    probs = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    expected = np.log(probs.mean(axis=0)[np.arange(6), label])
    x, label = jnp.asarray(x, jnp.float32), jnp.asarray(label)
    vote = targets.vote_log_prob(logits_of, ensemble, x, label)
    np.testing.assert_allclose(vote, expected, rtol=1e-5)
    one = targets.class_log_prob(logits_of, ensemble[2], x, label)
    np.testing.assert_allclose(one, np.log(probs[2, np.arange(6), label]), rtol=1e-5)


@pytest.mark.parametrize("gap", [60.0, -60.0])
def test_log_probabilities_keep_their_gradient_at_saturation(gap):
    scale = jnp.array([[[0.0, 1.0]], [[0.0, 0.9]]])  # logits (0, x) and (0, 0.9 x)
    x, label = jnp.array([[gap]]), jnp.array([1])

    def vote(x):
        return targets.vote_log_prob(logits_of, scale, x, label)[0]

    def exact(x):
        return np.logaddexp(-np.logaddexp(0, -x), -np.logaddexp(0, -0.9 * x)) - np.log(2)

    value, gradient = jax.value_and_grad(vote)(x)
    # 1 - p is about 1e-24 at 54, where float64 differences of log p lose it too: take them of the sum of the others.
    expected = 0.5 * (np.exp(-gap) + 0.9 * np.exp(-0.9 * gap)) if gap > 0 else (exact(gap + 1e-4) - exact(gap)) / 1e-4
    np.testing.assert_allclose(gradient[0, 0], expected, rtol=1e-3)
    assert value <= 0 and gradient[0, 0] > 0


def test_densities_have_their_formula():
    u, origin = jnp.asarray(normal(4, 3), jnp.float32), jnp.asarray(normal(4, 3, seed=1), jnp.float32)
    label, temperature = jnp.arange(4) % 2, jnp.array([1.0, 2.0, 0.5, jnp.inf])
    radius, weights = jnp.array([0.1, 1.0, 10.0, 1.0]), jnp.asarray(normal(3, 2, seed=2), jnp.float32)

    def log_prob(u, label, weights):
        return targets.class_log_prob(logits_of, weights, u, label)

    pulled = log_prob(u, label, weights) / temperature
    local = targets.local(log_prob)(u, targets.Local(label, origin, radius, temperature), weights)
    np.testing.assert_allclose(local, pulled - np.sum((u - origin) ** 2, axis=1) / (2 * radius**2), rtol=1e-5)
    everywhere = targets.global_(log_prob, targets.standard)(u, targets.Global(label, temperature), weights)
    np.testing.assert_allclose(
        everywhere, pulled - 0.5 * np.sum(u**2, axis=1) - 1.5 * np.log(2 * np.pi), rtol=1e-5, atol=1e-6
    )


def test_what_is_judged_is_the_decoded_point():
    z = normal(40, 12).astype(np.float32)
    whitening = coordinates.fit_whitening(z)

    def decode(scale, z):
        return scale * jnp.sum(z.reshape(-1, 4, 3), axis=1)

    log_prob = targets.decoded(decode, partial(targets.class_log_prob, logits_of))
    weights, label = jnp.asarray(normal(3, 2), jnp.float32), jnp.arange(40) % 2
    value = log_prob(coordinates.to_white(whitening, jnp.asarray(z)), label, whitening, 2.0, weights)
    expected = targets.class_log_prob(logits_of, weights, jnp.asarray(2 * z.reshape(40, 4, 3).sum(axis=1)), label)
    np.testing.assert_allclose(value, expected, rtol=1e-3, atol=1e-4)


# ---- chains: targets of known moments ----

A, TAU = normal(4, 3, seed=3), 0.8  # a linear decoder x = A u, a likelihood N(x; y_c, TAU^2)
CLASSES = normal(2, 4, seed=4)
ORIGIN, TEMPERATURE = np.array([0.5, -1.0, 0.2]), 2.0
UNIT = coordinates.Whitening(np.zeros(3, np.float32), np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32))


def gaussian_log_prob(centers, x, label):
    return -0.5 * jnp.sum(jnp.square(x - centers[label]), axis=-1) / TAU**2


GUIDED = targets.decoded(lambda matrix, z: z @ matrix.T, gaussian_log_prob)


@cache
def sampler(kernel, log_density, num_steps, num_warmup, frames):
    """Compiled once for all reaches and starts."""
    return jax.jit(
        lambda keys, start, data, shared: chains.sample(
            keys,
            log_density,
            start,
            data,
            kernel=kernel,
            step_size=1.0,
            num_warmup=num_warmup,
            num_steps=num_steps,
            frames=frames,
            num_integration_steps=4,
            shared=shared,
        )
    )


AROUND = targets.local(GUIDED)


def run(kernel, s, *, num_steps=1000, num_warmup=300, frames=500, log_density=None, data=None, shared=None, seed=0):
    """Chains of the local target around ORIGIN, or of another one."""
    if data is None:
        full = partial(np.full, C, dtype=np.float32)
        data = targets.Local(jnp.zeros(C, int), jnp.tile(jnp.float32(ORIGIN), (C, 1)), full(s), full(TEMPERATURE))
    start = getattr(data, "origin", jnp.zeros((C, 2)))
    shared = (UNIT, jnp.float32(A), jnp.float32(CLASSES)) if shared is None else shared
    sampled = sampler(kernel, log_density or AROUND, num_steps, num_warmup, frames)
    return sampled(jax.random.split(jax.random.key(seed), C), start, data, shared)


def agree(positions, mean, covariance):
    """Means and covariances within 4 standard errors, which come from the effective sample size of each product."""
    positions = np.asarray(positions, np.float64)
    assert np.all(chains.rhat(positions) < 1.02)
    apart = positions - mean
    sem = np.sqrt(np.diag(covariance) / chains.ess(positions))
    np.testing.assert_array_less(np.abs(apart.mean(axis=(0, 1))), 4 * sem)
    products = np.einsum("fcd,fce->fcde", apart, apart).reshape(*positions.shape[:2], -1)
    sem = products.std(axis=(0, 1)) / np.sqrt(chains.ess(products))
    np.testing.assert_array_less(np.abs(products.mean(axis=(0, 1)) - covariance.ravel()), 4 * sem)


@pytest.mark.parametrize(
    "kernel, s",
    [
        ("mala", 1.0),
        ("hmc", 1.0),
        *(pytest.param(*one, marks=pytest.mark.slow) for one in (("mala", 0.1), ("mala", 30.0), ("nuts", 1.0))),
    ],
)
def test_a_gaussian_target_has_its_mean_and_covariance(kernel, s):
    out = run(kernel, s, num_steps=4000 if kernel == "mala" else 1000)
    scale = 1 / (TAU**2 * TEMPERATURE)
    covariance = np.linalg.inv(scale * A.T @ A + np.eye(3) / s**2)
    mean = covariance @ (scale * A.T @ CLASSES[0] + ORIGIN / s**2)
    agree(out.positions, mean, covariance)
    # Adapted in 300 steps, each chain for itself. Near the leapfrog's limit of stability acceptance falls at once, so
    # that the mean of the logarithms of steps that are accepted 65 % of the time on average is accepted more often.
    np.testing.assert_allclose(out.acceptance, chains.ACCEPTANCE[kernel], atol=0.22 if kernel == "hmc" else 0.12)
    assert np.all(out.divergent == 0) and out.positions.shape == (500, C, 3)


def test_a_short_reach_stays_at_the_embedding():
    out = run("mala", 1e-4, num_steps=100, frames=10)
    apart = np.asarray(out.positions) - ORIGIN[None, None]
    assert 1e-5 < np.abs(apart).max() < 1e-3 and np.all(out.acceptance > 0.2)


@pytest.mark.slow
def test_a_global_target_has_the_moments_of_the_grid():
    weights = np.array([[0.0, 2.5], [0.0, -1.5]])  # logits (0, 2.5 u1 - 1.5 u2)
    axis = np.linspace(-7, 7, 561)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    mass = np.exp(-np.logaddexp(0, -(grid @ weights[:, 1])) / 0.5 - 0.5 * np.sum(grid**2, axis=1))
    mass /= mass.sum()
    mean = mass @ grid
    covariance = (mass[:, None] * (grid - mean)).T @ (grid - mean)
    assert abs(mean[0]) > 0.5  # guidance matters here

    def log_prob(u, label, weights):
        return targets.class_log_prob(logits_of, weights, u, label)

    data = targets.Global(jnp.ones(C, int), jnp.full(C, 0.5))
    density = targets.global_(log_prob, targets.standard)
    out = run("mala", None, num_steps=4000, log_density=density, data=data, shared=(jnp.float32(weights),))
    agree(out.positions, mean, covariance)


def test_log_densities_are_those_of_the_positions():
    out = run("hmc", 1.0, num_steps=20, frames=4, num_warmup=5)
    data = targets.Local(jnp.zeros(C, int), jnp.tile(jnp.float32(ORIGIN), (C, 1)), jnp.ones(C), jnp.full(C, 2.0))
    for f in range(4):
        expected = targets.local(GUIDED)(out.positions[f], data, UNIT, jnp.float32(A), jnp.float32(CLASSES))
        np.testing.assert_allclose(out.log_density[f], expected, rtol=1e-4)


@pytest.mark.parametrize("kernel", ["mala", *(pytest.param(k, marks=pytest.mark.slow) for k in ("hmc", "nuts"))])
def test_a_chain_is_the_same_whatever_runs_beside_it(kernel):
    keys, start = jax.random.split(jax.random.key(1), 6), jnp.asarray(normal(6, 3), jnp.float32)
    data = targets.Local(jnp.arange(6) % 2, start, jnp.linspace(0.1, 2.0, 6), jnp.ones(6))

    @jax.jit
    def sampled(keys, start, data):
        return chains.sample(
            keys,
            targets.local(GUIDED),
            start,
            data,
            kernel=kernel,
            step_size=jnp.float32(0.1),
            num_warmup=10,
            num_steps=10,
            frames=5,
            shared=(UNIT, jnp.float32(A), jnp.float32(CLASSES)),
        )

    every = sampled(keys, start, data)
    again = sampled(keys, start, data)
    np.testing.assert_array_equal(every.positions, again.positions)
    changed = sampled(keys, start.at[::2].add(1.0), data._replace(label=data.label.at[::2].set(1)))
    np.testing.assert_array_equal(every.positions[:, 1::2], changed.positions[:, 1::2])
    assert not np.allclose(every.positions[:, ::2], changed.positions[:, ::2])
    if kernel != "nuts":  # which takes longest to compile for another number of chains
        pair = sampled(*jax.tree.map(lambda leaf: leaf[1:3], (keys, start, data)))
        # Other batch sizes may sum in another order, which trajectories near their limit of stability amplify.
        np.testing.assert_allclose(every.positions[:, 1:3], pair.positions, atol=2e-3)
        np.testing.assert_allclose(every.step_size[1:3], pair.step_size, rtol=2e-3)
    assert len(np.unique(every.step_size)) >= 5  # adapted each for itself; two that accepted every step are equal
    other = sampled(jax.random.split(jax.random.key(2), 6), start, data)
    assert not np.allclose(other.positions[-1], every.positions[-1])


def test_without_warm_up_the_step_size_is_the_given_one():
    data = targets.Local(jnp.zeros(C, int), jnp.zeros((C, 3)), jnp.ones(C), jnp.ones(C))
    keys, sizes = jax.random.split(jax.random.key(0), C), jnp.linspace(0.1, 2.0, C)
    out = chains.sample(
        keys,
        targets.local(lambda u, label: jnp.zeros(u.shape[0])),
        jnp.zeros((C, 3)),
        data,
        kernel="mala",
        step_size=sizes,
        num_warmup=0,
        num_steps=1000,
        frames=1000,
    )
    np.testing.assert_array_equal(out.step_size, sizes)
    steps = np.diff(out.positions[:, 0], axis=0)  # nearly all noise, of standard deviation 0.1: 4 standard errors
    np.testing.assert_allclose(steps.std(), 0.1, rtol=4 / np.sqrt(2 * steps.size))
    assert out.acceptance[0] > 0.99 and out.acceptance[-1] < 0.9


@pytest.mark.parametrize("num_integration_steps", [4, 8])
def test_a_trajectory_of_a_period_does_not_trap_hmc(num_integration_steps):
    """Leapfrog steps of 2 sin(pi / L) bring N(0, I) exactly back to where it began after L of them."""
    dim, count = 32, 200
    out = chains.sample(
        jax.random.split(jax.random.key(0), C),
        lambda u, data: -0.5 * jnp.sum(jnp.square(u), axis=-1),
        jnp.asarray(normal(C, dim), jnp.float32),
        jnp.zeros(C),
        kernel="hmc",
        step_size=2 * np.sin(np.pi / num_integration_steps),
        num_warmup=0,
        num_steps=count,
        frames=count,
        num_integration_steps=num_integration_steps,
    )
    assert np.min(chains.ess(out.positions)) > 0.3 * count * C  # of a fixed length 0.005


@pytest.mark.parametrize(
    "change, what",
    [
        ({"kernel": "gibs"}, "kernel='gibs': expected one of mala, hmc, nuts; try mala"),
        ({"frames": 3}, "multiple of frames"),
        ({"num_warmup": -1}, "num_warmup=-1"),
        ({"target_acceptance": 1.0}, "target_acceptance=1.0"),
        ({"step_size": 0.0}, "step_size=0.0"),
        ({"num_integration_steps": 0}, "num_integration_steps=0"),
    ],
)
def test_bad_numbers_are_told(change, what):
    numbers = {"kernel": "mala", "step_size": 0.1, "num_warmup": 1, "num_steps": 10, "frames": 5} | change
    with pytest.raises(UserError, match=what):
        chains.sample(jax.random.split(jax.random.key(0), C), targets.local(GUIDED), jnp.zeros((C, 3)), None, **numbers)


# ---- diagnostics ----


def test_independent_draws_count_fully():
    draws = normal(1000, 8, 3) + 100.0
    np.testing.assert_allclose(chains.rhat(draws), 1.0, atol=0.005)
    np.testing.assert_allclose(chains.ess(draws), 8000, rtol=0.15)
    one = chains.ess(draws[..., :1])
    assert one.shape == (1,) and chains.rhat(draws[..., :1]).shape == (1,)
    np.testing.assert_allclose(one[0], chains.ess(draws)[0], rtol=1e-3)


@pytest.mark.parametrize("rho", [0.5, 0.9])
def test_correlated_draws_count_as_theory_says(rho):
    noise = normal(4000, 8, 2)
    draws = np.empty_like(noise)
    draws[0] = noise[0]
    for t in range(1, len(noise)):
        draws[t] = rho * draws[t - 1] + np.sqrt(1 - rho**2) * noise[t]
    np.testing.assert_allclose(chains.ess(draws), 32000 * (1 - rho) / (1 + rho), rtol=0.2)


def test_chains_that_disagree_or_drift_are_found():
    apart = normal(400, 4, 2) + np.array([0, 0, 3, 3])[None, :, None] * np.array([1, 0])
    rhat = chains.rhat(apart)
    assert rhat[0] > 1.5 and rhat[1] < 1.02
    drifting = normal(400, 4, 1) + np.linspace(-3, 3, 400)[:, None, None]  # alike, yet none has arrived
    assert chains.rhat(drifting)[0] > 1.5
    assert chains.ess(apart)[0] < 50


@pytest.mark.slow
def test_nuts_doubles_at_most_six_times():
    """63 leapfrog steps of 1e-3 take momentum p no further than 0.064 |p| (|p| < 5); ten doublings, 16 times that."""
    keys = jax.random.split(jax.random.key(0), 32)
    normal = lambda u, data: -0.5 * jnp.sum(u**2, axis=-1)  # noqa: E731
    options = {"kernel": "nuts", "step_size": 1e-3, "num_warmup": 0, "num_steps": 1, "frames": 1}
    found = chains.sample(keys, normal, jnp.zeros((32, 1)), (), **options)
    assert 0.05 < float(jnp.abs(found.positions).max()) < 0.064 * 5


def test_chains_that_never_move_are_undefined():
    draws = normal(100, 4, 3)
    draws[..., 1], draws[..., 2] = 0.1, np.arange(4)[None]
    for diagnostic in (chains.rhat, chains.ess):
        values = diagnostic(draws)
        assert np.isfinite(values[0]) and np.isnan(values[1:]).all()
        np.testing.assert_allclose(values[0], diagnostic(draws[..., :1])[0], rtol=1e-4)
        assert np.isnan(diagnostic(draws[:3])).all()
