"""Average-case weight sharpness: closed forms for linear classifiers, shared draws, one road against the other."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from landscape.ensembles import Mapping
from landscape.measures.flatness import DROPS
from landscape.measures.weight_sharpness import ensemble_weight_sharpness, weight_sharpness
from landscape.samplers import WEIGHT_NOISES


def probit(variables, x):
    """Two classes, P(class 0) = Phi(w.x)."""
    t = (x.reshape(x.shape[0], -1) @ variables["kernel"])[:, 0]
    logit = jax.scipy.stats.norm.logcdf(t) - jax.scipy.stats.norm.logcdf(-t)
    return jnp.stack([logit, jnp.zeros_like(logit)], axis=1)


def linear(variables, x):
    return x.reshape(x.shape[0], -1) @ variables["kernel"]


def setting(num_examples, num_classes):
    x = jax.random.uniform(jax.random.key(1), (num_examples, 2, 3, 1))
    return x, {"kernel": jax.random.normal(jax.random.key(2), (6, num_classes))}


@pytest.mark.parametrize("kind", ["additive", "multiplicative"])
def test_probit_classifier_in_closed_form(kind):
    """E Phi(x.(w + xi e s)) = Phi(x.w / sqrt(1 + xi^2 |x s|^2)), with s = 1 (additive) or w (multiplicative)."""
    x, variables = setting(6, 1)
    xis = (0.3, 0.8)
    run = functools.partial(weight_sharpness, apply=probit, num_draws=800, kind=kind)
    out = jax.jit(run)(jax.random.key(0), variables, x, jnp.zeros(6, jnp.int32), sigmas=jnp.array(xis))
    flat, w = np.asarray(x, np.float64).reshape(6, -1), np.asarray(variables["kernel"], np.float64)[:, 0]
    scale = np.ones_like(w) if kind == "additive" else w
    for i, xi in enumerate(xis):
        width = np.sqrt(1 + xi**2 * np.sum((flat * scale) ** 2, axis=1))
        truth = special.ndtr(flat @ w) - special.ndtr(flat @ w / width)
        sem = np.asarray(out["probability_drop_sem"][i])
        assert np.all(np.abs(out["probability_drop"][i] - truth) < 4 * sem)
        # Phi over the draws, by 100 000 normal quantiles; the deviation found in M draws has a relative error of
        # sqrt((kurtosis - 1) / 4 M).
        quantiles = special.ndtri((np.arange(100_000) + 0.5) / 100_000)
        values = special.ndtr(flat @ w + np.sqrt(width**2 - 1) * quantiles[:, None])
        tolerance = 4 * np.sqrt((stats.kurtosis(values, fisher=False) - 1) / (4 * 800))
        assert np.all(np.abs(sem / (values.std(axis=0) / np.sqrt(800)) - 1) < tolerance)


@pytest.mark.parametrize("kind", WEIGHT_NOISES)
def test_a_draw_is_one_ray_shared_by_all_examples(kind):
    """Linear in the weights: the margin of class 0 of two moves by xi times the same direction for every example."""
    x, variables = setting(5, 2)
    label = jnp.zeros(5, jnp.int32)
    run = jax.jit(functools.partial(weight_sharpness, apply=linear, num_draws=3, kind=kind))
    out = run(jax.random.key(0), variables, x, label, sigmas=jnp.array([0.1, 0.2]))
    np.testing.assert_allclose(out["margin_drop"][1], 2 * out["margin_drop"][0], rtol=1e-3, atol=1e-5)
    turned = run(jax.random.key(0), variables, x[::-1].at[:3].set(0.1), label, sigmas=jnp.array([0.1, 0.2]))
    np.testing.assert_allclose(turned["margin_drop"][:, 3:], out["margin_drop"][:, 1::-1], rtol=1e-5, atol=1e-6)
    other = run(jax.random.key(1), variables, x, label, sigmas=jnp.array([0.1, 0.2]))
    assert np.abs(other["margin_drop"] - out["margin_drop"]).min() > 0
    # Linear in the input as well: at 2 x the same draws drop the margin twice as much.
    double = run(jax.random.key(0), variables, 2 * x, label, sigmas=jnp.array([0.1, 0.2]))
    np.testing.assert_allclose(double["margin_drop"], 2 * out["margin_drop"], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("how", [Mapping(), Mapping(devices=2)])
def test_ensemble_equals_one_classifier_at_a_time(how):
    num_members, num_populations, num_examples = 3, 2, 4
    ensemble = {"kernel": jax.random.normal(jax.random.key(0), (num_members, 6, 3))}
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(9), jnp.arange(num_members))
    x = jax.random.uniform(jax.random.key(2), (num_members, num_populations, num_examples, 2, 3, 1))
    label = jax.random.randint(jax.random.key(3), x.shape[:3], 0, 3)
    sigmas, kinds = jnp.array([0.1, 0.5]), ("layer_relative", "additive")
    run = functools.partial(ensemble_weight_sharpness, apply=linear, num_draws=3, kinds=kinds, how=how)
    together = jax.jit(run)(keys, ensemble, x, label, sigmas=sigmas)
    assert set(together) == {*DROPS, *(f"{name}_sem" for name in DROPS)}
    for k, kind in enumerate(kinds):
        alone_fn = jax.jit(functools.partial(weight_sharpness, apply=linear, num_draws=3, kind=kind))
        for s in range(num_members):
            for p in range(num_populations):
                alone = alone_fn(keys[s], {"kernel": ensemble["kernel"][s]}, x[s, p], label[s, p], sigmas=sigmas)
                for name, value in alone.items():
                    np.testing.assert_allclose(value, together[name][k, :, s, p], rtol=1e-5, atol=2e-6)


def test_no_noise_changes_nothing_and_too_few_draws_are_refused():
    x, variables = setting(2, 3)
    label = jnp.zeros(2, jnp.int32)
    sigmas, run = jnp.zeros(1), functools.partial(weight_sharpness, apply=linear)
    out = jax.jit(functools.partial(run, num_draws=2))(jax.random.key(0), variables, x, label, sigmas=sigmas)
    assert all(jnp.all(value == 0) for value in out.values())
    with pytest.raises(ValueError, match="num_draws=1"):
        run(jax.random.key(0), variables, x, label, sigmas=sigmas, num_draws=1)
