"""Guided sampling in white coordinates: whitening, noise, paths, targets of known moments, chains, codes."""

import itertools
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape.files import UserError
from landscape.latent import around, chains, coordinates, gibbs, targets
from landscape.stats.convergence import ess, rhat

C = 16  # chains


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def normal32(*shape, seed=0):
    return jnp.asarray(normal(*shape, seed=seed), jnp.float32)


def keys_of(num, seed=0):
    return jax.random.split(jax.random.key(seed), num)


# ---- coordinates ----


def test_white_coordinates_have_covariance_one_and_lead_back():
    z = (normal(4000, 5) @ normal(5, 5, seed=1) + 3.0).astype(np.float32)
    whitening = coordinates.fit_whitening(z, ridge=1e-9)
    u = np.asarray(coordinates.to_white(whitening, z), np.float64)
    np.testing.assert_allclose(np.cov(u, rowvar=False), np.eye(5), atol=1e-4)  # float32, condition number of C^(1/2)
    np.testing.assert_allclose(u.mean(axis=0), 0.0, atol=1e-4)
    np.testing.assert_allclose(coordinates.from_white(whitening, jnp.asarray(u, jnp.float32)), z, atol=1e-4)


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


# ---- around and between embeddings ----

N, D = 4000, 6


def standard(values):
    """Whether draws [N, D] have mean 0 and covariance 1, to 4 standard errors."""
    assert np.abs(values.mean(axis=0)).max() < 4 / np.sqrt(N)
    assert np.abs(values.T @ values / N - np.eye(D)).max() < 4 * np.sqrt(2 / N)


@pytest.mark.parametrize("draw", [around.gaussian, around.shell])
def test_noise_has_its_moments_and_one_draw_for_all_levels(draw):
    u, levels = normal32(N, D, seed=1), jnp.array([0.3, 1.5])
    points = draw(keys_of(N), u, levels)
    eps = np.asarray(points[1] - u) / 1.5
    np.testing.assert_allclose((points[0] - u) / 0.3, eps, atol=1e-5)
    standard(eps)  # E x_i x_j = delta_ij on a shell as well, where x_i^2 has less variance
    if draw is around.shell:
        lengths = np.linalg.norm(points - u[None], axis=-1)
        np.testing.assert_allclose(lengths, levels[:, None] * np.sqrt(D) * np.ones((1, N)), rtol=1e-5)
    few = draw(keys_of(N)[2:5], u[2:5], levels)  # an example's draws do not depend on the others
    np.testing.assert_array_equal(points[:, 2:5], few)
    assert not np.allclose(few, draw(keys_of(3, seed=1), u[2:5], levels))


def test_the_prior_is_standard_normal_row_by_row():
    u = np.asarray(around.prior(jax.random.key(0), N, D))
    standard(u)
    np.testing.assert_array_equal(around.prior(jax.random.key(0), 5, D), u[:5])


@pytest.mark.parametrize("path", [around.linear, around.spherical])
def test_ends_are_exact_and_the_way_back_is_the_same(path):
    a, b = normal32(7, D), 3 * normal32(7, D, seed=1)
    points = path(a, b, 5)
    np.testing.assert_array_equal(points[0], a)
    np.testing.assert_array_equal(points[-1], b)
    np.testing.assert_allclose(path(b, a, 5)[::-1], points, atol=1e-5)
    if path is around.linear:
        steps = np.diff(points, axis=0)
        np.testing.assert_allclose(steps, np.broadcast_to((b - a) / 4, steps.shape), atol=1e-6)


def test_an_arc_turns_evenly_and_its_length_changes_linearly():
    a, b = normal32(7, D), 3 * normal32(7, D, seed=1)
    points = np.asarray(around.spherical(a, b, 9), np.float64)
    lengths = np.linalg.norm(points, axis=-1)
    t = np.linspace(0, 1, 9)[:, None]
    np.testing.assert_allclose(lengths, (1 - t) * lengths[0] + t * lengths[-1], rtol=1e-5)
    unit = points / lengths[..., None]
    angles = np.arccos(np.sum(unit[1:] * unit[:-1], axis=-1))
    total = np.arccos(np.sum(unit[0] * unit[-1], axis=-1))
    # Angles that are equal and add up to the whole one lie in one plane.
    np.testing.assert_allclose(angles, np.broadcast_to(total / 8, angles.shape), rtol=1e-3)


def test_where_no_arc_exists_the_line_serves():
    """Parallel, nearly, antipodal, from the centre; and just beyond the switch the arc is exact."""
    a = jnp.asarray([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    b = jnp.asarray([[2.0, 0.0], [1.0, 1e-5], [-1.0, 0.0], [0.0, 3.0]])
    np.testing.assert_allclose(around.spherical(a, b, 5), around.linear(a, b, 5), atol=1e-6)
    angle, t = 2e-3, np.linspace(0, 1, 5)[:, None]
    b = jnp.array([[np.cos(angle), np.sin(angle)]], jnp.float32)
    exact = np.stack([np.cos(t * angle), np.sin(t * angle)], axis=-1)
    np.testing.assert_allclose(around.spherical(a[:1], b, 5), exact, atol=3e-7)


# ---- targets ----


def logits_of(weights, x):
    return x @ weights


def class_log_prob(u, label, weights):
    return targets.class_log_prob(logits_of, weights, u, label)


def test_a_vote_is_the_log_of_the_mean_probability():
    ensemble, x, label = normal32(4, 3, 5), normal(6, 3, seed=1), np.arange(6) % 5
    logits = np.einsum("nd,sdk->snk", x, np.asarray(ensemble, np.float64))
    probs = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    expected = np.log(probs.mean(axis=0)[np.arange(6), label])
    x, label = jnp.asarray(x, jnp.float32), jnp.asarray(label)
    np.testing.assert_allclose(targets.vote_log_prob(logits_of, ensemble, x, label), expected, rtol=1e-5)
    one = class_log_prob(x, label, ensemble[2])
    np.testing.assert_allclose(one, np.log(probs[2, np.arange(6), label]), rtol=1e-5)


@pytest.mark.parametrize("gap", [60.0, -60.0])
def test_log_probabilities_keep_their_gradient_at_saturation(gap):
    scale = jnp.array([[[0.0, 1.0]], [[0.0, 0.9]]])  # logits (0, x) and (0, 0.9 x)
    x, label = jnp.array([[gap]]), jnp.array([1])

    def exact(x):
        return np.logaddexp(-np.logaddexp(0, -x), -np.logaddexp(0, -0.9 * x)) - np.log(2)

    value, gradient = jax.value_and_grad(lambda x: targets.vote_log_prob(logits_of, scale, x, label)[0])(x)
    # 1 - p is about 1e-24 at 54, where float64 differences of log p lose it too: take them of the sum of the others.
    expected = 0.5 * (np.exp(-gap) + 0.9 * np.exp(-0.9 * gap)) if gap > 0 else (exact(gap + 1e-4) - exact(gap)) / 1e-4
    np.testing.assert_allclose(gradient[0, 0], expected, rtol=1e-3)
    assert value <= 0 and gradient[0, 0] > 0


def test_densities_have_their_formula():
    u, origin = normal32(4, 3), normal32(4, 3, seed=1)
    label, temperature = jnp.arange(4) % 2, jnp.array([1.0, 2.0, 0.5, jnp.inf])
    radius, weights = jnp.array([0.1, 1.0, 10.0, 1.0]), normal32(3, 2, seed=2)
    pulled = class_log_prob(u, label, weights) / temperature
    local = targets.local(class_log_prob)(u, targets.Local(label, origin, radius, temperature), weights)
    np.testing.assert_allclose(local, pulled - np.sum((u - origin) ** 2, axis=1) / (2 * radius**2), rtol=1e-5)
    everywhere = targets.global_(class_log_prob)(u, targets.Global(label, temperature), weights)
    prior = -0.5 * np.sum(u**2, axis=1) - 1.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(everywhere, pulled + prior, rtol=1e-5, atol=1e-6)


def test_what_is_classified_is_the_decoded_point():
    z = normal(40, 12).astype(np.float32)
    whitening = coordinates.fit_whitening(z)

    def decode(scale, z):
        return scale * jnp.sum(z.reshape(-1, 4, 3), axis=1)

    log_prob = targets.decoded(decode, partial(targets.class_log_prob, logits_of))
    weights, label = normal32(3, 2), jnp.arange(40) % 2
    value = log_prob(coordinates.to_white(whitening, jnp.asarray(z)), label, whitening, 2.0, weights)
    expected = class_log_prob(jnp.asarray(2 * z.reshape(40, 4, 3).sum(axis=1)), label, weights)
    np.testing.assert_allclose(value, expected, rtol=1e-3, atol=1e-4)


# ---- chains: targets of known moments ----

A, TAU = normal(4, 3, seed=3), 0.8  # a linear decoder x = A u, a likelihood N(x; y_c, TAU^2)
CENTERS = normal(2, 4, seed=4)
ORIGIN, TEMPERATURE = np.array([0.5, -1.0, 0.2]), 2.0
UNIT = coordinates.Whitening(np.zeros(3, np.float32), np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32))
GAUSSIAN = (UNIT, jnp.float32(A), jnp.float32(CENTERS))


def gaussian_log_prob(centers, x, label):
    return -0.5 * jnp.sum(jnp.square(x - centers[label]), axis=-1) / TAU**2


AROUND = targets.local(targets.decoded(lambda matrix, z: z @ matrix.T, gaussian_log_prob))


@cache
def sampler(kernel, log_density=AROUND, num_steps=1000, num_warmup=300, frames=500, step_size=1.0, prior=None):
    """Compiled once for all reaches and starts."""
    counts = {"num_warmup": num_warmup, "num_steps": num_steps, "frames": frames}
    options = {"kernel": kernel, "step_size": step_size, "prior": prior, **counts}
    return jax.jit(lambda keys, start, data, shared: chains.sample(keys, log_density, start, data, shared=shared,
                                                                   **options))  # fmt: skip


def local_data(s, count=C):
    full = partial(np.full, count, dtype=np.float32)
    return targets.Local(jnp.zeros(count, int), jnp.tile(jnp.float32(ORIGIN), (count, 1)), full(s), full(TEMPERATURE))


def run(kernel, s, **options):
    """Chains of the local target around ORIGIN."""
    data = local_data(s)
    return sampler(kernel, **options)(keys_of(C), data.origin, data, GAUSSIAN)


def agree(positions, mean, covariance):
    """Means and covariances within 4 standard errors, which come from the effective sample size of each product."""
    positions = np.asarray(positions, np.float64)
    assert np.all(rhat(positions) < 1.02)
    apart = positions - mean
    sem = np.sqrt(np.diag(covariance) / ess(positions))
    np.testing.assert_array_less(np.abs(apart.mean(axis=(0, 1))), 4 * sem)
    products = np.einsum("fcd,fce->fcde", apart, apart).reshape(*positions.shape[:2], -1)
    sem = products.std(axis=(0, 1)) / np.sqrt(ess(products))
    np.testing.assert_array_less(np.abs(products.mean(axis=(0, 1)) - covariance.ravel()), 4 * sem)


@pytest.mark.parametrize(
    "kernel, s, prior",
    [
        ("mala", 1.0, targets.LOCAL),
        *(
            pytest.param(*one, marks=pytest.mark.slow)
            for one in (("mala", 1.0, None), ("mala", 0.1, None), ("mala", 30.0, None), ("hmc", 1.0, targets.LOCAL),
                        ("nuts", 1.0, targets.LOCAL))
        ),
    ],
)  # fmt: skip
def test_a_gaussian_target_has_its_mean_and_covariance(kernel, s, prior):
    """Also with jumps of the prior between the steps, which alone would not do."""
    out = run(kernel, s, num_steps=4000 if kernel == "mala" else 1000, prior=prior)
    scale = 1 / (TAU**2 * TEMPERATURE)
    covariance = np.linalg.inv(scale * A.T @ A + np.eye(3) / s**2)
    mean = covariance @ (scale * A.T @ CENTERS[0] + ORIGIN / s**2)
    agree(out.positions, mean, covariance)
    # Adapted in 300 steps, each chain for itself. Near the leapfrog's limit of stability acceptance falls at once, so
    # that the mean of the logarithms of steps that are accepted 65 % of the time on average is accepted more often.
    np.testing.assert_allclose(out.acceptance, chains.ACCEPTANCE[kernel], atol=0.22 if kernel == "hmc" else 0.12)
    assert np.all(out.divergent == 0) and out.positions.shape == (500, C, 3)
    if prior is None:
        assert np.isnan(out.jumped).all()
        return
    # Jumps are accepted as often as draws of the prior would be from these states.
    draws = ORIGIN + s * normal(500, C, 3)
    logs = [-0.5 * scale * np.sum((u @ A.T - CENTERS[0]) ** 2, axis=-1) for u in (draws, np.asarray(out.positions))]
    expected = np.mean(np.minimum(1, np.exp(logs[0] - logs[1])))
    np.testing.assert_allclose(np.mean(out.jumped), expected, atol=0.01)
    for f in (0, 499):
        expected = AROUND(out.positions[f], local_data(s), *GAUSSIAN)
        np.testing.assert_allclose(out.log_density[f], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kernel", ["mala", *(pytest.param(k, marks=pytest.mark.slow) for k in ("hmc", "nuts"))])
def test_a_chain_is_the_same_whatever_runs_beside_it(kernel):
    keys, start = keys_of(6, seed=1), normal32(6, 3)
    data = targets.Local(jnp.arange(6) % 2, start, jnp.linspace(0.1, 2.0, 6), jnp.ones(6))
    sampled = sampler(kernel, num_steps=10, num_warmup=10, frames=5, step_size=0.1)
    every, again = (sampled(keys, start, data, GAUSSIAN).positions for _ in range(2))
    np.testing.assert_array_equal(every, again)
    others = data._replace(label=data.label.at[::2].set(1))
    changed = sampled(keys, start.at[::2].add(1.0), others, GAUSSIAN).positions
    np.testing.assert_array_equal(every[:, 1::2], changed[:, 1::2])
    assert not np.allclose(every[:, ::2], changed[:, ::2])
    if kernel != "nuts":  # which takes longest to compile for another number of chains
        pair = sampled(*jax.tree.map(lambda leaf: leaf[1:3], (keys, start, data)), GAUSSIAN)
        # Other batch sizes may sum in another order, which trajectories near their limit of stability amplify.
        np.testing.assert_allclose(every[:, 1:3], pair.positions, atol=2e-3)
    assert not np.allclose(sampled(keys_of(6, seed=2), start, data, GAUSSIAN).positions[-1], every[-1])


def test_without_warm_up_the_step_size_is_the_given_one():
    """Steps are nearly all noise, of standard deviation 0.1: 4 standard errors."""
    sampled = sampler("mala", targets.local(lambda u, label: jnp.zeros(u.shape[0])), 1000, 0, 1000, 0.1)
    out = sampled(keys_of(C), jnp.zeros((C, 3)), local_data(1.0)._replace(origin=jnp.zeros((C, 3))), ())
    steps = np.diff(out.positions, axis=0)
    np.testing.assert_allclose(steps.std(), 0.1, rtol=4 / np.sqrt(2 * steps.size))


def standard_density(u, data):
    return -0.5 * jnp.sum(jnp.square(u), axis=-1)


def test_a_trajectory_of_a_period_does_not_trap_hmc():
    """Leapfrog steps of 2 sin(pi / L) bring N(0, I) exactly back to where it began after L of them."""
    dim, count = 32, 200
    sampled = sampler("hmc", standard_density, count, 0, count, 2 * np.sin(np.pi / chains.LEAPFROG_STEPS))
    out = sampled(keys_of(C), normal32(C, dim), jnp.zeros(C), ())
    assert np.min(ess(np.asarray(out.positions))) > 0.3 * count * C  # of a fixed length 0.005


@pytest.mark.slow
def test_nuts_doubles_at_most_six_times():
    """63 leapfrog steps of 1e-3 take momentum p no further than 0.064 |p| (|p| < 5); ten doublings, 16 times that."""
    found = sampler("nuts", standard_density, 1, 0, 1, 1e-3)(keys_of(32), jnp.zeros((32, 1)), (), ())
    assert 0.05 < float(jnp.abs(found.positions).max()) < 0.064 * 5


@pytest.mark.parametrize(
    "change, what",
    [
        ({"kernel": "gibs"}, "kernel='gibs': expected one of mala, hmc, nuts; try mala"),
        ({"frames": 3}, "multiple of frames"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(change, what):
    numbers = {"kernel": "mala", "step_size": 0.1, "num_warmup": 1, "num_steps": 10, "frames": 5} | change
    with pytest.raises(UserError, match=what):
        chains.sample(keys_of(C), AROUND, jnp.zeros((C, 3)), None, **numbers)


# ---- codes: exhaustive enumeration ----

CHAINS, PLACES, B = 32, 3, 3
STATES = np.array(list(itertools.product(range(B), repeat=PLACES)))  # all of them, in the order of their number
CODES = normal(B, 2).astype(np.float32)
WEIGHTS = normal(2 * PLACES, 4, seed=1).astype(np.float32)
LOG_PRIOR = np.log(np.random.default_rng(2).dirichlet(np.ones(B), size=PLACES)).astype(np.float32)
OF_PRIOR = LOG_PRIOR[np.arange(PLACES), STATES].sum(axis=1, dtype=np.float64)


def everywhere(temperature):
    return targets.Global(jnp.ones(CHAINS, int), jnp.full(CHAINS, temperature))


def run_codes(data, log_prob=class_log_prob, *, log_prior=LOG_PRIOR, rows=slice(None), **counts):
    likelihood, counts = gibbs.likelihood(log_prob), {"num_steps": 4000, "frames": 2000} | counts
    sampled = jax.jit(lambda keys, index, data, shared: gibbs.gibbs(keys, likelihood, index, log_prior, data,
                                                                    shared=shared, **counts))  # fmt: skip
    chosen = jax.tree.map(lambda leaf: leaf[rows], (keys_of(CHAINS), jnp.zeros((CHAINS, PLACES), jnp.int32), data))
    return sampled(*chosen, (jnp.asarray(CODES), jnp.asarray(WEIGHTS)))


def class_log_probs():
    """log p(c = 1) of every state, in float64."""
    logits = CODES.astype(np.float64)[STATES].reshape(len(STATES), -1) @ WEIGHTS
    return logits[:, 1] - np.log(np.exp(logits).sum(axis=1))


def frequencies_agree(out, log_target):
    """Frequencies of all states within 4 standard errors, from the effective sample size of each indicator."""
    expected = np.exp(log_target - np.logaddexp.reduce(log_target))
    number = np.asarray(out.index) @ B ** np.arange(PLACES)[::-1]
    seen = (number[..., None] == np.arange(B**PLACES)).astype(np.float64)
    sem = np.sqrt(expected * (1 - expected) / ess(seen))
    assert np.isfinite(sem).all() and sem.max() < 0.01
    np.testing.assert_array_less(np.abs(seen.mean(axis=(0, 1)) - expected), 4 * sem)
    assert np.abs(expected - 1 / B**PLACES).max() > 0.04  # far from uniform
    np.testing.assert_allclose(out.log_density, log_target[number], rtol=1e-4, atol=1e-5)


def test_the_global_target_has_the_frequencies_of_enumeration():
    frequencies_agree(run_codes(everywhere(0.5)), class_log_probs() / 0.5 + OF_PRIOR)


@pytest.mark.parametrize("s", [0.7, 5.0])
def test_the_local_target_has_the_frequencies_of_enumeration(s):
    """By p(c) and the distance of whole states: the prior of places is that, up to its own constant."""
    origin = CODES[np.array([2, 0, 1])]
    data = local_data(s, CHAINS)._replace(label=jnp.ones(CHAINS, int), temperature=jnp.full(CHAINS, 0.5))
    prior = gibbs.local_prior(jnp.asarray(CODES), jnp.tile(origin[None], (CHAINS, 1, 1)), jnp.asarray(data.radius))
    distance = np.sum((CODES.astype(np.float64)[STATES] - origin) ** 2, axis=(1, 2))
    apart = np.sum((CODES.astype(np.float64)[None] - origin[:, None]) ** 2, axis=-1)
    constant = np.log(np.exp(-apart / (2 * s**2)).sum(axis=1)).sum()
    frequencies_agree(run_codes(data, log_prior=prior), class_log_probs() / 0.5 - distance / (2 * s**2) - constant)


def test_without_guidance_every_draw_of_the_prior_is_taken():
    out = run_codes(everywhere(np.inf))
    np.testing.assert_array_equal(out.acceptance, 1.0)
    frequencies_agree(out, OF_PRIOR)
    # A proposal differs from a code of the prior with probability sum_b q (1 - q), whatever the place.
    expected = np.mean(np.sum(np.exp(LOG_PRIOR) * (1 - np.exp(LOG_PRIOR)), axis=1))
    np.testing.assert_allclose(np.mean(out.changed), expected, atol=0.01)  # 128,000 steps: about 7 standard errors


def test_a_chain_of_codes_is_the_same_whatever_runs_beside_it():
    data = targets.Global(jnp.arange(CHAINS) % 4, jnp.linspace(0.3, 2.0, CHAINS))
    every, pair = (run_codes(data, num_steps=100, frames=10, rows=rows) for rows in (slice(None), slice(3, 5)))
    np.testing.assert_array_equal(every.index[:, 3:5], pair.index)
    assert every.index.shape == (10, CHAINS, PLACES)


def test_warm_up_of_codes_is_not_recorded():
    """25 steps are rounded up to 30, the three frames before those that a run without warm-up would record."""
    late, every = (run_codes(everywhere(1.0), **n, frames=n["num_steps"] // 10)
                   for n in ({"num_steps": 100, "num_warmup": 25}, {"num_steps": 130}))  # fmt: skip
    np.testing.assert_array_equal(late.index, every.index[3:])
    early = run_codes(everywhere(1.0), num_steps=30, frames=3)
    for name in ("acceptance", "jumped"):  # as many steps of each kind
        parts = 30 * getattr(early, name) + 100 * getattr(late, name)
        np.testing.assert_allclose(parts, 130 * getattr(every, name), rtol=0.02)


def test_a_state_without_a_density_is_never_entered():
    def only_some(u, label, *shared):
        return jnp.where(u[:, 0] == CODES[2, 0], jnp.nan, 0.0)

    out = run_codes(everywhere(1.0), only_some, num_steps=200, frames=200)
    assert not np.any(out.index[..., 0] == 2) and np.any(out.index[..., 1] == 2)
    assert np.all(np.isfinite(out.acceptance)) and np.all(out.acceptance < 1)


def test_the_prior_counts_with_smoothing():
    index = np.array([[0, 2], [0, 1], [1, 1], [0, 1]])
    prior = np.exp(gibbs.fit_code_prior(index, 3))
    np.testing.assert_allclose(prior, np.array([[4, 2, 1], [1, 4, 2]]) / 7, rtol=1e-6)
    for bad in (index + 1, index - 1, index[:0]):
        with pytest.raises(ValueError):
            gibbs.fit_code_prior(bad, 3)
    with pytest.raises(UserError, match="log_prior for 2 places, index0 with 3"):
        run_codes(everywhere(1.0), log_prior=LOG_PRIOR[:2], num_steps=1, frames=1)
