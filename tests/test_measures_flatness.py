"""Average-case input flatness and its noises: closed forms, the Hessian, invariances, one road against the other."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from landscape.ensembles import Mapping
from landscape.measures.flatness import (
    CLIPPED,
    DROPS,
    direction,
    draws,
    ensemble_flatness,
    ensemble_linear_drops,
    flatness,
    moved,
    values,
)

SHAPE = (2, 3, 1)


def mlp(variables, x):
    """Two dense layers with tanh on flat pixels."""
    first, last = variables
    return jnp.tanh(x.reshape(x.shape[0], -1) @ first) @ last


def mlp_init(key, num_classes=3, dtype=jnp.float32):
    key_first, key_last = jax.random.split(key)
    return jax.random.normal(key_first, (6, 5), dtype), 2 * jax.random.normal(key_last, (5, num_classes), dtype)


def probit(variables, x):
    """Two classes, P(class 0) = Phi(a + w.x) exactly: the logit is log Phi(t) - log Phi(-t)."""
    a, w = variables
    t = a + x.reshape(x.shape[0], -1) @ w
    logit = jax.scipy.stats.norm.logcdf(t) - jax.scipy.stats.norm.logcdf(-t)
    return jnp.stack([logit, jnp.zeros_like(logit)], axis=1)


def inputs(num_examples):
    x = np.random.default_rng(1).uniform(size=(num_examples, *SHAPE))
    x = x if jax.config.jax_enable_x64 else x.astype(np.float32)
    return jnp.asarray(x), jax.random.split(jax.random.key(0), num_examples)


# One program for most tests: six examples, two sigmas, eight trials.
NUM_TRIALS = 8
SIGMAS = jnp.array([0.2, 1.0])


@functools.partial(jax.jit, static_argnames="noise")
def run(keys, variables, x, label, *, sigmas=SIGMAS, origin=None, true_label=None, noise="additive"):
    return flatness(
        keys,
        variables,
        x,
        label,
        apply=mlp,
        sigmas=sigmas,
        num_trials=NUM_TRIALS,
        noise=noise,
        origin=x if origin is None else origin,
        true_label=label if true_label is None else true_label,
    )


# ---- noise ----


def perturb(kind, base, x, origin, sigma):
    return moved(x, direction(kind, base, x, origin), sigma, clipped=kind == CLIPPED)


def test_moments_and_radii_of_every_noise():
    x, origin = jnp.full((1, *SHAPE), 0.5), jnp.full((1, *SHAPE), 0.25)
    base = draws(jax.random.split(jax.random.key(0), 1), x, num_trials=4000)
    std = {"additive": 1.0, "multiplicative": 0.5, "envelope": 0.25, "sphere": 1.0, "linf_ball": 1.0}
    for kind, truth in std.items():
        noisy = jax.jit(jax.vmap(lambda eps, kind=kind: perturb(kind, eps, x, origin, 0.1)))(base)
        delta = (np.asarray(noisy, np.float64) - 0.5).reshape(4000, -1) / 0.1
        assert np.all(np.abs(delta.mean(axis=0)) < 4 * truth / np.sqrt(4000)), kind
        spread = np.std(delta**2, axis=0) / np.sqrt(4000)
        assert np.all(np.abs((delta**2).mean(axis=0) - truth**2) < 4 * spread + 1e-5), kind
        if kind == "sphere":
            np.testing.assert_allclose(np.linalg.norm(delta, axis=1), np.sqrt(6), rtol=1e-5)
        if kind == "linf_ball":
            assert stats.kstest(delta.ravel(), "uniform", args=(-np.sqrt(3), 2 * np.sqrt(3))).pvalue > 1e-3
    plain = perturb("additive", base[0], x, origin, 9.0)
    assert plain.min() < 0
    np.testing.assert_array_equal(perturb("additive_clipped", base[0], x, origin, 9.0), jnp.clip(plain, 0, 1))
    assert jnp.all(direction("sphere", jnp.zeros_like(x), x, x) == 0)
    with pytest.raises(ValueError, match=r"kind='gauss'.*linf_ball"):
        direction("gauss", x, x, x)


# ---- planted truths ----


def test_probit_classifier_in_closed_form():
    """E Phi(a + w.(x + sigma eps)) = Phi((a + w.x) / sqrt(1 + sigma^2 |w|^2)); with an envelope v, |w v| for |w|."""
    x, keys = inputs(64)
    variables = jnp.float32(0.4), jnp.array([1.0, -0.8, 0.5, 0.3, -1.2, 0.7])
    origin = 1.0 - x
    sigmas = jnp.array([0.3, 1.0])
    kinds = ("additive", "multiplicative", "envelope")
    ensemble = jax.tree.map(lambda leaf: leaf[None], variables)
    label = jnp.zeros((1, 1, 64), jnp.int32)
    measure = functools.partial(ensemble_flatness, apply=probit, num_trials=256, kinds=kinds, how=Mapping())
    out = jax.jit(measure)(keys, ensemble, x[None, None], label, label[:, 0], origin, sigmas=sigmas)
    flat = np.asarray(x, np.float64).reshape(64, -1)
    w = np.asarray(variables[1], np.float64)
    t = float(variables[0]) + flat @ w
    for k, envelope in enumerate((np.ones_like(flat), flat, 1 - flat)):
        for i, sigma in enumerate((0.3, 1.0)):
            width = np.sqrt(1 + sigma**2 * np.sum((w * envelope) ** 2, axis=1))
            truth = special.ndtr(t) - special.ndtr(t / width)
            z = (out["probability_drop"][k, i, 0, 0] - truth) / out["probability_drop_sem"][k, i, 0, 0]
            # 64 independent examples: the mean of z is N(0, 1/64), that of z^2 is 1 with deviation sqrt(2/64).
            assert np.abs(np.mean(z)) < 4 / 8, (kinds[k], sigma)
            assert 1 - 4 * 0.18 < np.mean(np.square(z)) < 1 + 4 * 0.18, (kinds[k], sigma)
    # Two classes: predicted class and margin sign agree, P(t + sigma |w| n > 0) = Phi(t / (sigma |w|)).
    kept = np.asarray(out["kept"][0, 1, 0, 0])
    truth = special.ndtr(t / np.linalg.norm(w))
    assert abs(np.mean(kept - truth)) < 4 * np.sqrt(np.mean(truth * (1 - truth)) / (64 * 256))


def test_small_noise_gives_the_trace_of_the_hessian():
    """drop = -sigma g.mean(eps) - sigma^2 mean(eps' H eps) / 2 + O(sigma^3), with H the Hessian of p."""
    with jax.enable_x64(True):
        x, keys = inputs(4)
        assert x.dtype == jnp.float64  # at sigma = 1e-4 the second-order term is 1e-8 of p
        variables = mlp_init(jax.random.key(3), dtype=jnp.float64)
        label = jnp.zeros(4, jnp.int32)
        sigma, trials = 1e-4, 512
        measure = jax.jit(functools.partial(flatness, apply=mlp, num_trials=trials))
        out = measure(keys, variables, x, label, sigmas=jnp.array([sigma]))

        def p(flat):
            return jax.nn.softmax(mlp(variables, flat[None])[0])[0]

        flat = x.reshape(4, -1)
        gradient, hessian = jax.jit(lambda flat: (jax.vmap(jax.grad(p))(flat), jax.vmap(jax.hessian(p))(flat)))(flat)
        eps = draws(keys, x, num_trials=trials).reshape(trials, 4, -1)
        quadratic = jnp.einsum("rnd,nde,rne->rn", eps, hessian, eps)
        slope = jnp.einsum("nd,rnd->n", gradient, eps) / trials
        second = (out["probability_drop"][0] + sigma * slope) / sigma**2
        np.testing.assert_allclose(second, -quadratic.mean(axis=0) / 2, rtol=1e-3, atol=1e-4)  # O(sigma) left over
        trace = jnp.trace(hessian, axis1=1, axis2=2)
        sem = quadratic.std(axis=0) / 2 / trials**0.5
        assert jnp.all(jnp.abs(second + trace / 2) < 4 * sem)
        assert jnp.all(jnp.abs(trace) > 10 * sem)  # the truth is far from zero, so this says something


def test_kept_and_returned_are_counts_of_predictions():
    x, keys = inputs(6)
    variables = mlp_init(jax.random.key(5))
    label, true_label = jnp.array([0, 1, 2, 0, 1, 2]), jnp.array([0, 0, 1, 1, 1, 0])
    out = run(keys, variables, x, label, true_label=true_label)
    eps = draws(keys, x, num_trials=NUM_TRIALS)
    for i, sigma in enumerate(SIGMAS):
        logits = np.stack([mlp(variables, x + sigma * e) for e in eps])
        predicted, label, true_label = logits.argmax(axis=2), np.asarray(label), np.asarray(true_label)
        np.testing.assert_allclose(out["kept"][i], np.mean(predicted == label, axis=0), atol=1e-6)
        returned = np.mean(predicted == true_label, axis=0) * (label != true_label)
        np.testing.assert_allclose(out["returned"][i], returned, atol=1e-6)
    assert 0 < returned.max() < 1


# ---- contracts ----


@pytest.mark.parametrize(
    "how", [pytest.param(Mapping(), marks=pytest.mark.slow), Mapping(devices=2), Mapping(examples=2)]
)
def test_ensemble_equals_one_classifier_at_a_time(how):
    _, keys = inputs(6)
    ensemble = jax.vmap(mlp_init)(jax.random.split(jax.random.key(1), 3))
    rng = np.random.default_rng(2)
    x = jnp.asarray(rng.uniform(size=(3, 2, 6, *SHAPE)), jnp.float32)
    label = jnp.asarray(rng.integers(3, size=(3, 2, 6)), jnp.int32)
    kinds = ("envelope", "additive_clipped")
    together = jax.jit(functools.partial(ensemble_flatness, apply=mlp, num_trials=NUM_TRIALS, kinds=kinds, how=how))(
        keys, ensemble, x, label, label[:, 0], x[0, 0], sigmas=SIGMAS
    )
    for (k, kind), s, p in itertools.product(enumerate(kinds), range(3), range(2)):
        variables = jax.tree.map(lambda leaf, s=s: leaf[s], ensemble)
        alone = run(keys, variables, x[s, p], label[s, p], origin=x[0, 0], true_label=label[s, 0], noise=kind)
        assert set(alone) == set(together) == {*DROPS, *(f"{n}_sem" for n in DROPS), "kept", "returned"}
        for name, value in alone.items():
            # One rounding of logits of size 5 is 5e-7: lowerings of the matrix product may differ by it.
            np.testing.assert_allclose(value, together[name][k, :, s, p], rtol=1e-5, atol=2e-6, err_msg=name)


def test_no_noise_changes_nothing():
    x, keys = inputs(6)
    variables = mlp_init(jax.random.key(5))
    label = jnp.asarray(np.argmax(mlp(variables, x), axis=1))
    out = run(keys, variables, x, label, sigmas=jnp.zeros(2))
    assert all(np.all(out[name] == 0) for name in DROPS) and np.all(out["kept"] == 1)


# ---- the classifier linearised ----


@pytest.mark.parametrize("kind", ["additive", pytest.param("multiplicative", marks=pytest.mark.slow)])
def test_linearised_drops_are_those_of_a_linear_classifier_and_of_the_jacobian(kind):
    """Members on several populations: equal to `ensemble_flatness` where logits are linear, else to J by `jax.jvp`."""
    x, keys = inputs(6)
    ensemble = jax.vmap(mlp_init)(jax.random.split(jax.random.key(3), 2))
    many, label = jnp.stack([jnp.stack([x, 1 - x])] * 2), jnp.zeros((2, 2, 6), int).at[1].set(2)
    options = {"sigmas": SIGMAS, "num_trials": NUM_TRIALS}
    linear = lambda v, x: x.reshape(x.shape[0], -1) @ v[0] @ v[1]  # noqa: E731
    truth = ensemble_flatness(keys, ensemble, many, label, label[:, 0], x, apply=linear, kinds=(kind,), **options)
    found = ensemble_linear_drops(keys, ensemble, many, label, x, apply=linear, kind=kind, **options)
    for name in DROPS:
        np.testing.assert_allclose(found[name], truth[name][0], rtol=1e-6, atol=2e-6)

    found = ensemble_linear_drops(keys, ensemble, many, label, x, apply=mlp, kind=kind, **options)
    steps = [direction(kind, eps, many[1, 1], x) for eps in draws(keys, x, num_trials=NUM_TRIALS)]
    own = lambda z: mlp(jax.tree.map(lambda leaf: leaf[1], ensemble), z)  # noqa: E731
    pairs = [jax.jvp(own, (many[1, 1],), (step,)) for step in steps]
    for level, sigma in enumerate(SIGMAS):
        moved = [values(logits + sigma * change, label[1, 1]) for logits, change in pairs]
        for name in DROPS:
            clean = values(pairs[0][0], label[1, 1])[name]
            expected = np.mean([one[name] for one in moved], axis=0) - clean
            np.testing.assert_allclose(found[name][level, 1, 1], expected, atol=2e-6)


def test_clipped_noise_has_no_linear_baseline():
    x, keys = inputs(6)
    ensemble = jax.tree.map(lambda leaf: leaf[None], mlp_init(jax.random.key(3)))
    about = (keys, ensemble, x[None, None], jnp.zeros((1, 1, 6), int), x)
    with pytest.raises(ValueError, match="expected another kind"):
        ensemble_linear_drops(*about, apply=mlp, kind=CLIPPED, sigmas=SIGMAS, num_trials=2)
