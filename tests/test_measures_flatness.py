"""Average-case input flatness and its noises: closed forms, the Hessian, invariances, one road against the other."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from landscape.ensembles import Mapping
from landscape.measures import noise as noises
from landscape.measures import welford
from landscape.measures.flatness import DROPS, draws, ensemble_flatness, flatness

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


def inputs(num_examples, seed=1):
    x = jax.random.uniform(jax.random.key(seed), (num_examples, *SHAPE))
    return x, jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(0), jnp.arange(num_examples))


# ---- noise ----


def test_moments_and_radii_of_every_noise():
    x, origin = jnp.full((1, *SHAPE), 0.5), jnp.full((1, *SHAPE), 0.25)
    base = draws(jax.random.split(jax.random.key(0), 1), x, num_trials=4000)
    std = {"additive": 1.0, "multiplicative": 0.5, "envelope": 0.25, "sphere": 1.0, "linf_ball": 1.0}
    for kind, truth in std.items():
        moved = jax.vmap(lambda eps, kind=kind: noises.perturb(kind, eps, x, origin, 0.1))(base)
        delta = np.asarray(moved - x[None], np.float64).reshape(4000, -1) / 0.1
        assert np.all(np.abs(delta.mean(axis=0)) < 4 * truth / np.sqrt(4000)), kind
        spread = np.std(delta**2, axis=0) / np.sqrt(4000)
        assert np.all(np.abs((delta**2).mean(axis=0) - truth**2) < 4 * spread + 1e-5), kind
        if kind == "sphere":
            np.testing.assert_allclose(np.linalg.norm(delta, axis=1), np.sqrt(6), rtol=1e-5)
        if kind == "linf_ball":
            assert stats.kstest(delta.ravel(), "uniform", args=(-np.sqrt(3), 2 * np.sqrt(3))).pvalue > 1e-3
    clipped = noises.perturb("additive_clipped", base[0], x, origin, 9.0)
    np.testing.assert_array_equal(clipped, jnp.clip(noises.perturb("additive", base[0], x, origin, 9.0), 0, 1))
    assert noises.perturb("additive", base[0], x, origin, 9.0).min() < 0


def test_zero_noise_on_the_sphere_and_unknown_kinds():
    x = jnp.ones((1, *SHAPE))
    assert jnp.all(noises.direction("sphere", jnp.zeros_like(x), x, x) == 0)
    with pytest.raises(ValueError, match=r"kind='gauss'.*linf_ball"):
        noises.direction("gauss", x, x, x)


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
    run = functools.partial(ensemble_flatness, apply=probit, num_trials=256, kinds=kinds, how=Mapping())
    out = jax.jit(run)(keys, ensemble, x[None, None], label, label[:, 0], origin, sigmas=sigmas)
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
        run = jax.jit(functools.partial(flatness, apply=mlp, num_trials=trials))
        out = run(keys, variables, x, label, sigmas=jnp.array([sigma]))

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
        assert jnp.all(jnp.abs(trace) > 10 * sem)  # the truth is far from zero, so this tells something


def test_last_layer_times_ten_leaves_the_scale_free_drop():
    x, keys = inputs(8)
    first, last = mlp_init(jax.random.key(3))
    label = jnp.argmax(mlp((first, last), x), axis=1)

    run = jax.jit(functools.partial(flatness, apply=mlp, num_trials=8))

    def scale_free(variables):
        out = run(keys, variables, x, label, sigmas=jnp.array([0.2, 0.5]))
        own = mlp(variables, x)
        margin = jnp.sort(own, axis=1)[:, -1] - jnp.sort(own, axis=1)[:, -2]
        return out["margin_drop"] / margin[None], out["probability_drop"]

    one, ten = scale_free((first, last)), scale_free((first, 10 * last))
    np.testing.assert_allclose(one[0], ten[0], rtol=1e-4, atol=1e-5)
    assert np.abs(one[1] - ten[1]).max() > 0.05


def test_digits_are_kept_at_saturation():
    """At log-odds beyond 20, where float32 p is 1, the drop equals float64's on the same draws."""

    def apply(w, x):
        logit = 20 + x.reshape(x.shape[0], -1) @ w
        return jnp.stack([logit, jnp.zeros_like(logit)], axis=1)

    x, keys = inputs(4)
    w = jnp.arange(1.0, 7.0)
    out = flatness(keys, w, x, jnp.zeros(4, jnp.int32), apply=apply, sigmas=jnp.array([0.1]), num_trials=16)
    eps = np.asarray(draws(keys, x, num_trials=16), np.float64).reshape(16, 4, -1)
    at = 20 + np.asarray(x, np.float64).reshape(4, -1) @ np.arange(1.0, 7.0)
    noisy = at + 0.1 * eps @ np.arange(1.0, 7.0)
    truth = special.expit(-noisy) - special.expit(-at)
    np.testing.assert_allclose(out["probability_drop"][0], truth.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(out["probability_drop_sem"][0], truth.std(axis=0, ddof=1) / 4, rtol=1e-4)


def test_kept_and_returned_are_counts_of_predictions():
    x, keys = inputs(6)
    variables = mlp_init(jax.random.key(5))
    label, true_label = jnp.array([0, 1, 2, 0, 1, 2]), jnp.array([0, 0, 1, 1, 1, 0])
    out = flatness(keys, variables, x, label, apply=mlp, sigmas=jnp.array([1.0]), num_trials=16, true_label=true_label)
    eps = draws(keys, x, num_trials=16)
    predicted = np.stack([np.argmax(mlp(variables, x + e), axis=1) for e in eps])
    np.testing.assert_allclose(out["kept"][0], np.mean(predicted == label[None], axis=0), atol=1e-6)
    returned = np.mean(predicted == true_label[None], axis=0) * (np.asarray(label) != np.asarray(true_label))
    np.testing.assert_allclose(out["returned"][0], returned, atol=1e-6)
    assert 0 < returned.max() < 1


# ---- contracts ----


def test_other_examples_of_the_batch_move_nothing():
    x, keys = inputs(6)
    variables, label = mlp_init(jax.random.key(5)), jnp.zeros(6, jnp.int32)
    run = jax.jit(functools.partial(flatness, apply=mlp, num_trials=4))
    out = run(keys, variables, x, label, sigmas=jnp.array([0.3]))
    moved = run(keys, variables, x.at[1:].set(0.9), label.at[1:].set(2), sigmas=jnp.array([0.3]))
    turned = run(keys[::-1], variables, x[::-1], label, sigmas=jnp.array([0.3]))
    for name, value in out.items():
        np.testing.assert_array_equal(value[:, 0], moved[name][:, 0], err_msg=name)
        np.testing.assert_allclose(value[:, ::-1], turned[name], rtol=1e-6, atol=1e-6, err_msg=name)
    assert not np.allclose(out["loss_rise"][:, 1:], moved["loss_rise"][:, 1:])


@pytest.mark.parametrize("how", [Mapping(), Mapping(devices=2), Mapping(kind="vmap")])
def test_ensemble_equals_one_classifier_at_a_time(how):
    num_members, num_populations, num_examples = 3, 2, 4
    _, keys = inputs(num_examples)
    ensemble = jax.vmap(mlp_init)(jax.random.split(jax.random.key(1), num_members))
    x = jax.random.uniform(jax.random.key(2), (num_members, num_populations, num_examples, *SHAPE))
    label = jax.random.randint(jax.random.key(3), x.shape[:3], 0, 3)
    true_label, origin, sigmas = label[:, 0], x[0, 0], jnp.array([0.1, 0.5])
    kinds = ("envelope", "additive_clipped")
    run = functools.partial(ensemble_flatness, apply=mlp, num_trials=3, kinds=kinds, how=how)
    together = jax.jit(run)(keys, ensemble, x, label, true_label, origin, sigmas=sigmas)
    for k, kind in enumerate(kinds):
        alone_fn = jax.jit(functools.partial(flatness, apply=mlp, sigmas=sigmas, num_trials=3, noise=kind))
        for s in range(num_members):
            variables = jax.tree.map(lambda leaf, s=s: leaf[s], ensemble)
            for p in range(num_populations):
                alone = alone_fn(keys, variables, x[s, p], label[s, p], origin=origin, true_label=true_label[s])
                assert set(alone) == set(together) == {*DROPS, *(f"{n}_sem" for n in DROPS), "kept", "returned"}
                for name, value in alone.items():
                    # One rounding of logits of size 5 is 5e-7: lowerings of the matrix product may differ by it.
                    np.testing.assert_allclose(value, together[name][k, :, s, p], rtol=1e-5, atol=2e-6)


def test_no_noise_changes_nothing_and_too_few_trials_are_refused():
    x, keys = inputs(2)
    variables = mlp_init(jax.random.key(5))
    label = jnp.argmax(mlp(variables, x), axis=1)
    out = jax.jit(functools.partial(flatness, apply=mlp, num_trials=2))(keys, variables, x, label, sigmas=jnp.zeros(1))
    assert all(jnp.all(out[name] == 0) for name in DROPS) and jnp.all(out["kept"] == 1)
    with pytest.raises(ValueError, match="num_trials=1"):
        flatness(keys, variables, x, label, apply=mlp, sigmas=jnp.zeros(1), num_trials=1)


def test_welford_keeps_the_spread_of_values_far_from_zero():
    values = (1e4 + np.random.default_rng(0).normal(size=(50, 3))).astype(np.float32)
    state, _ = jax.lax.scan(
        lambda state, row: (welford.update(state, row), None), welford.start(jnp.zeros(3)), jnp.asarray(values)
    )
    mean, sem = welford.finish(state)
    np.testing.assert_allclose(mean, values.astype(np.float64).mean(axis=0), rtol=1e-6)
    # 1e4 has a spacing of 1e-3 in float32: the running mean carries that against a spread of 1.
    np.testing.assert_allclose(sem, values.astype(np.float64).std(axis=0, ddof=1) / np.sqrt(50), rtol=2e-3)
