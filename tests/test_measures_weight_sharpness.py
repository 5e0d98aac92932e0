"""Average-case weight sharpness: closed forms for linear classifiers, shared draws, one road against the other."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from landscape import objectives, samplers
from landscape.ensembles import Mapping
from landscape.measures.flatness import DROPS
from landscape.measures.weight_sharpness import ensemble_weight_sharpness, weight_sharpness
from landscape.samplers import WEIGHT_NOISES

SIGMAS = jnp.array([0.1, 0.2])


def probit(variables, x):
    """Two classes, P(class 0) = Phi(w.x)."""
    t = (x.reshape(x.shape[0], -1) @ variables["kernel"])[:, 0]
    logit = jax.scipy.stats.norm.logcdf(t) - jax.scipy.stats.norm.logcdf(-t)
    return jnp.stack([logit, jnp.zeros_like(logit)], axis=1)


def linear(variables, x):
    return x.reshape(x.shape[0], -1) @ variables["kernel"]


def squared(variables, x):
    return jnp.square(linear(variables, x))


def setting(num_examples, num_classes):
    rng = np.random.default_rng(1)
    x = jnp.asarray(rng.uniform(size=(num_examples, 2, 3, 1)), jnp.float32)
    return x, {"kernel": jnp.asarray(rng.normal(size=(6, num_classes)), jnp.float32)}


@functools.partial(jax.jit, static_argnames=("kind", "apply"))
def run(key, variables, x, label, *, sigmas, kind="additive", apply=squared):
    return weight_sharpness(key, variables, x, label, apply=apply, sigmas=sigmas, num_draws=6, kind=kind)


@pytest.mark.parametrize("kind", ["additive", "multiplicative"])
def test_probit_classifier_in_closed_form(kind):
    """E Phi(x.(w + xi e s)) = Phi(x.w / sqrt(1 + xi^2 |x s|^2)), with s = 1 (additive) or w (multiplicative)."""
    x, variables = setting(6, 1)
    xis = (0.3, 0.8)
    measure = functools.partial(weight_sharpness, apply=probit, num_draws=800, kind=kind)
    out = jax.jit(measure)(jax.random.key(0), variables, x, jnp.zeros(6, jnp.int32), sigmas=jnp.array(xis))
    flat, w = np.asarray(x, np.float64).reshape(6, -1), np.asarray(variables["kernel"], np.float64)[:, 0]
    scale = np.ones_like(w) if kind == "additive" else w
    for i, xi in enumerate(xis):
        width = np.sqrt(1 + xi**2 * np.sum((flat * scale) ** 2, axis=1))
        truth = special.ndtr(flat @ w) - special.ndtr(flat @ w / width)
        sem = np.asarray(out["probability_drop_sem"][i])
        assert np.all(np.abs(out["probability_drop"][i] - truth) < 4 * sem)
        # The mean of a pair, by 100 000 normal quantiles; the deviation found in 400 pairs has a relative error of
        # sqrt((kurtosis - 1) / (4 x 400)).
        quantiles = special.ndtri((np.arange(100_000) + 0.5) / 100_000)[:, None]
        values = sum(special.ndtr(flat @ w + s * np.sqrt(width**2 - 1) * quantiles) for s in (1, -1)) / 2
        tolerance = 4 * np.sqrt((stats.kurtosis(values, fisher=False) - 1) / (4 * 400))
        assert np.all(np.abs(sem / (values.std(axis=0) / np.sqrt(400)) - 1) < tolerance)


@pytest.mark.parametrize("kind", ["layer_relative", "additive"])
def test_draws_are_opposite_pairs_of_the_sampler(kind):
    """Means and standard errors over pairs of classifiers that the sampler's own `along` gives, one at a time."""
    x, variables = setting(5, 2)
    label, key = jnp.zeros(5, jnp.int32), jax.random.key(3)
    out = run(key, variables, x, label, sigmas=SIGMAS, kind=kind)

    @jax.jit
    def drop(m, sigma):
        moved = samplers.perturb(jax.random.fold_in(key, m), variables, sigma, kind=kind)
        return objectives.margin(squared(variables, x), label) - objectives.margin(squared(moved, x), label)

    drops = np.stack([(drop(m, SIGMAS[1]) + drop(m, -SIGMAS[1])) / 2 for m in range(3)])
    np.testing.assert_allclose(out["margin_drop"][1], drops.mean(axis=0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(out["margin_drop_sem"][1], drops.std(axis=0, ddof=1) / 3**0.5, rtol=1e-3, atol=1e-6)
    # What is linear in the weights does not move at all: two draws of a pair cancel.
    odd = run(key, variables, x, label, sigmas=SIGMAS, kind=kind, apply=linear)
    np.testing.assert_allclose(odd["margin_drop"], 0, atol=1e-6)


@pytest.mark.parametrize("kind", WEIGHT_NOISES)
def test_a_draw_is_one_ray_shared_by_all_examples(kind):
    """Quadratic in the weights: the margin of class 0 of two falls by xi^2 times the same number for every xi."""
    x, variables = setting(5, 2)
    label = jnp.zeros(5, jnp.int32)
    out = run(jax.random.key(0), variables, x, label, sigmas=SIGMAS, kind=kind)
    np.testing.assert_allclose(out["margin_drop"][1], 4 * out["margin_drop"][0], rtol=1e-3, atol=1e-5)
    turned = run(jax.random.key(0), variables, x[::-1].at[:3].set(0.1), label, sigmas=SIGMAS, kind=kind)
    np.testing.assert_allclose(turned["margin_drop"][:, 3:], out["margin_drop"][:, 1::-1], rtol=1e-5, atol=1e-6)
    other = run(jax.random.key(1), variables, x, label, sigmas=SIGMAS, kind=kind)
    assert np.abs(other["margin_drop"] - out["margin_drop"]).min() > 0
    # Quadratic in the input as well: at 2 x the same draws drop the margin four times as much.
    double = run(jax.random.key(0), variables, 2 * x, label, sigmas=SIGMAS, kind=kind)
    np.testing.assert_allclose(double["margin_drop"], 4 * out["margin_drop"], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    "how", [pytest.param(Mapping(), marks=pytest.mark.slow), Mapping(devices=2), Mapping(examples=2)]
)
def test_ensemble_equals_one_classifier_at_a_time(how):
    """Three members, and five examples, on two devices."""
    rng = np.random.default_rng(2)
    ensemble = {"kernel": jnp.asarray(rng.normal(size=(3, 6, 2)), jnp.float32)}
    keys = jax.random.split(jax.random.key(9), 3)
    x = jnp.asarray(rng.uniform(size=(3, 2, 5, 2, 3, 1)), jnp.float32)
    label = jnp.asarray(rng.integers(2, size=(3, 2, 5)), jnp.int32)
    kinds = ("layer_relative", "additive")
    measure = functools.partial(ensemble_weight_sharpness, apply=squared, num_draws=6, kinds=kinds)
    together = jax.jit(functools.partial(measure, how=how))(keys, ensemble, x, label, sigmas=SIGMAS)
    assert set(together) == {*DROPS, *(f"{name}_sem" for name in DROPS)}
    for (k, kind), s, p in itertools.product(enumerate(kinds), range(3), range(2)):
        variables = {"kernel": ensemble["kernel"][s]}
        alone = run(keys[s], variables, x[s, p], label[s, p], sigmas=SIGMAS, kind=kind)
        for name, value in alone.items():
            np.testing.assert_allclose(value, together[name][k, :, s, p], rtol=1e-5, atol=2e-6, err_msg=name)


def test_no_noise_changes_nothing_and_too_few_draws_are_refused():
    x, variables = setting(5, 2)
    label = jnp.zeros(5, jnp.int32)
    out = run(jax.random.key(0), variables, x, label, sigmas=jnp.zeros(2))
    assert all(np.all(value == 0) for value in out.values())
    for count, nearest in ((1, 4), (2, 4), (7, 8)):
        with pytest.raises(ValueError, match=f"num_draws={count}: .* even .*; try {nearest}"):
            weight_sharpness(jax.random.key(0), variables, x, label, apply=linear, sigmas=SIGMAS, num_draws=count)
