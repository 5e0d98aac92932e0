"""Sampling of codes: exhaustive enumeration of small targets, the fitted prior, and what is refused."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape.files import UserError
from landscape.latent import chains, gibbs, targets

C, P, B = 32, 3, 3
STATES = np.array(list(itertools.product(range(B), repeat=P)))  # all B^P of them, in the order of their number
CODES = np.random.default_rng(0).normal(size=(B, 2)).astype(np.float32)
WEIGHTS = np.random.default_rng(1).normal(size=(2 * P, 4)).astype(np.float32)
LOG_PRIOR = np.log(np.random.default_rng(2).dirichlet(np.ones(B), size=P)).astype(np.float32)


def log_prob(u, label, weights):
    return targets.class_log_prob(lambda weights, u: u @ weights, weights, u, label)


def lookup(codes, index):
    return codes[index]


def run(of_points, data, *, num_steps=4000, frames=2000, log_prior=LOG_PRIOR, rows=slice(None)):
    likelihood = gibbs.on_codes(of_points, lookup)

    @jax.jit
    def sampled(keys, index0, data, shared):
        return gibbs.gibbs(
            keys,
            likelihood,
            index0,
            log_prior,
            data,
            num_steps=num_steps,
            frames=frames,
            shared=shared,
        )

    keys, index0 = jax.random.split(jax.random.key(0), C), jnp.zeros((C, P), jnp.int32)
    rows = jax.tree.map(lambda leaf: leaf[rows], (keys, index0, data))
    return sampled(*rows, (jnp.asarray(CODES), jnp.asarray(WEIGHTS)))


def class_log_probs():
    """log p(c = 1) of every state, in float64."""
    logits = CODES.astype(np.float64)[STATES].reshape(len(STATES), -1) @ WEIGHTS
    return logits[:, 1] - np.log(np.exp(logits).sum(axis=1))


def agree(out, log_target):
    """Frequencies of all states within 4 standard errors, from the effective sample size of each indicator."""
    expected = np.exp(log_target - np.logaddexp.reduce(log_target))
    number = np.asarray(out.index) @ B ** np.arange(P)[::-1]
    seen = (number[..., None] == np.arange(B**P)).astype(np.float64)
    sem = np.sqrt(expected * (1 - expected) / chains.ess(seen))
    assert np.isfinite(sem).all() and sem.max() < 0.01
    np.testing.assert_array_less(np.abs(seen.mean(axis=(0, 1)) - expected), 4 * sem)
    assert np.abs(expected - 1 / B**P).max() > 0.04  # far from uniform
    np.testing.assert_allclose(out.log_density, log_target[number], rtol=1e-4, atol=1e-5)


def test_the_global_target_has_the_frequencies_of_enumeration():
    data = targets.Global(jnp.ones(C, int), jnp.full(C, 0.5))
    prior = LOG_PRIOR[np.arange(P), STATES].sum(axis=1, dtype=np.float64)
    agree(run(gibbs.tempered(log_prob), data), class_log_probs() / 0.5 + prior)


@pytest.mark.parametrize("s", [0.7, 5.0])
def test_the_local_target_has_the_frequencies_of_enumeration(s):
    """By p(c) and the distance of whole states: the prior of places is that, up to its own constant."""
    origin = CODES[np.array([2, 0, 1])]
    data = targets.Local(jnp.ones(C, int), jnp.tile(origin.reshape(-1), (C, 1)), jnp.full(C, s), jnp.full(C, 0.5))
    distance = np.sum((CODES.astype(np.float64)[STATES] - origin) ** 2, axis=(1, 2))
    prior = gibbs.local_prior(jnp.asarray(CODES), jnp.tile(origin[None], (C, 1, 1)), data.radius)
    out = run(gibbs.tempered(log_prob), data, log_prior=prior)
    apart = np.sum((CODES.astype(np.float64)[None] - origin[:, None]) ** 2, axis=-1)
    constant = np.log(np.exp(-apart / (2 * s**2)).sum(axis=1)).sum()
    agree(out, class_log_probs() / 0.5 - distance / (2 * s**2) - constant)


def test_without_guidance_every_draw_of_the_prior_is_taken():
    out = run(gibbs.tempered(log_prob), targets.Global(jnp.ones(C, int), jnp.full(C, jnp.inf)))
    np.testing.assert_array_equal(out.acceptance, 1.0)
    agree(out, LOG_PRIOR[np.arange(P), STATES].sum(axis=1, dtype=np.float64))
    # A proposal differs from a code of the prior with probability sum_b q (1 - q), whatever the place.
    expected = np.mean(np.sum(np.exp(LOG_PRIOR) * (1 - np.exp(LOG_PRIOR)), axis=1))
    np.testing.assert_allclose(np.mean(out.changed), expected, atol=0.01)  # 128,000 steps: about 7 standard errors


def test_a_chain_is_the_same_whatever_runs_beside_it():
    data = targets.Global(jnp.arange(C) % 4, jnp.linspace(0.3, 2.0, C))
    every, again = (run(gibbs.tempered(log_prob), data, num_steps=100, frames=10) for _ in range(2))
    pair = run(gibbs.tempered(log_prob), data, num_steps=100, frames=10, rows=slice(3, 5))
    np.testing.assert_array_equal(every.index, again.index)
    np.testing.assert_array_equal(every.index[:, 3:5], pair.index)
    assert every.index.shape == (10, C, P)


def test_a_state_without_a_density_is_never_entered():
    def only_some(u, data, *shared):
        return jnp.where(u[:, 0] == CODES[2, 0], jnp.nan, 0.0)

    out = run(only_some, targets.Global(jnp.ones(C, int), jnp.ones(C)), num_steps=200, frames=200)
    assert not np.any(out.index[..., 0] == 2) and np.any(out.index[..., 1] == 2)
    assert np.all(np.isfinite(out.acceptance)) and np.all(out.acceptance < 1)


def test_the_prior_counts_with_smoothing():
    index = np.array([[0, 2], [0, 1], [1, 1], [0, 1]])
    prior = np.exp(gibbs.fit_code_prior(index, 3))
    np.testing.assert_allclose(prior, np.array([[4, 2, 1], [1, 4, 2]]) / 7, rtol=1e-6)
    sharp = np.exp(gibbs.fit_code_prior(index, 3, smoothing=1e-9))
    np.testing.assert_allclose(sharp, np.array([[3, 1, 0], [0, 3, 1]]) / 4, atol=1e-6)
    for bad in (index + 1, index - 1, index[:0]):
        with pytest.raises(ValueError):
            gibbs.fit_code_prior(bad, 3)
    with pytest.raises(ValueError, match="smoothing=0"):
        gibbs.fit_code_prior(index, 3, smoothing=0.0)


def test_what_does_not_fit_is_told():
    data = targets.Global(jnp.ones(C, int), jnp.ones(C))
    with pytest.raises(UserError, match="multiple of frames"):
        run(gibbs.tempered(log_prob), data, num_steps=10, frames=3)
    with pytest.raises(UserError, match="log_prior for 3 places, index0 with 2"):
        gibbs.gibbs(
            jax.random.split(jax.random.key(0), 1),
            lambda index, data: jnp.zeros(1),
            jnp.zeros((1, 2), jnp.int32),
            LOG_PRIOR,
            data,
            num_steps=1,
            frames=1,
        )
