"""Per-example values: closed forms, float32 against float64 out to saturation, what the searches raise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape import objectives

GAPS = (0.0, 5.0, 10.0, 15.0, 20.0)
VALUES = (objectives.log_odds, objectives.loss, objectives.probability, objectives.error_probability, objectives.margin)


def logits_with_gaps(gaps, num_classes=5, dtype=np.float64):
    """Logits [N, K] whose class 2 has exactly these log-odds."""
    others = np.random.default_rng(0).normal(size=(len(gaps), num_classes))
    rest = np.delete(others, 2, axis=1)
    others[:, 2] = np.asarray(gaps) + np.log(np.sum(np.exp(rest), axis=1))
    return others.astype(dtype)


def test_values_are_functions_of_the_softmax():
    logits = logits_with_gaps((-3.0, 0.0, 2.0))
    label = np.array([2, 0, 4])
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    own = probs[np.arange(3), label]
    runner_up = np.max(np.where(np.arange(5) == label[:, None], -np.inf, logits), axis=1)
    expected = (np.log(own / (1 - own)), -np.log(own), own, 1 - own, logits[np.arange(3), label] - runner_up)
    for value_fn, truth in zip(VALUES, expected, strict=True):
        got = value_fn(jnp.asarray(logits, jnp.float32), jnp.asarray(label))
        np.testing.assert_allclose(got, truth, rtol=2e-6, atol=2e-6, err_msg=value_fn.__name__)


@pytest.mark.parametrize("value_fn", [objectives.loss, objectives.error_probability, objectives.margin])
def test_value_gradient_and_hessian_in_float32_equal_float64(value_fn):
    logits = logits_with_gaps(GAPS)
    label = np.full(len(GAPS), 2)

    def everything(dtype):
        def one(row, c):
            return value_fn(row[None], c[None])[0]

        @jax.jit
        def many(logits, label):
            return [jax.vmap(f)(logits, label) for f in (one, jax.grad(one), jax.hessian(one))]

        return many(jnp.asarray(logits, dtype), jnp.asarray(label, jnp.int32))

    single = everything(jnp.float32)
    with jax.enable_x64(True):
        double = [np.asarray(part) for part in everything(jnp.float64)]
    assert single[0].dtype == jnp.float32 and double[0].dtype == np.float64
    for part, truth in zip(single, double, strict=True):
        size = np.abs(truth).reshape(len(GAPS), -1).max(axis=1)
        error = np.abs(np.asarray(part, np.float64) - truth).reshape(len(GAPS), -1).max(axis=1)
        # Rounding logits of size 20 to float32 moves e^-gap by 2e-6 relative; the issue asks for 1e-4.
        assert np.all(error <= 1e-5 * size)


def test_values_stay_finite_at_extreme_logits():
    logits = jnp.array([[1e4, 0.0, -1e4], [-1e4, 0.0, 1e4]], jnp.float32)
    label = jnp.array([0, 0])

    @jax.jit
    def everything(logits):
        values = [value_fn(logits, label) for value_fn in VALUES]
        return values, [jax.grad(lambda z, f=value_fn: f(z, label).sum())(logits) for value_fn in VALUES]

    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(everything(logits)))


def test_what_searches_raise():
    def apply(variables, x):
        return x[:, 0, 0, :] * variables

    x = jax.random.normal(jax.random.key(0), (3, 1, 1, 4))
    label, scale = jnp.array([0, 1, 2]), jnp.float32(2.0)
    values = objectives.loss(apply(scale, x), label)
    np.testing.assert_array_equal(objectives.ascend(apply, objectives.loss)(scale, x, label), values)
    np.testing.assert_array_equal(objectives.descend(apply, objectives.loss)(scale, x, label), -values)
    odds = objectives.log_odds(apply(scale, x), label)
    steered = objectives.steer(apply)(scale, x, (label, jnp.array([4.0, 4.0, 4.0])))
    np.testing.assert_allclose(steered, -0.5 * (odds - 4.0) ** 2, rtol=1e-6)
    assert objectives.steer(apply)(scale, x, (label, odds)).max() == 0.0


def test_divergence_is_the_sum_over_classes():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 6, 4)) * 3
    p, q = (np.exp(x) / np.exp(x).sum(axis=1, keepdims=True) for x in (a, b))
    ours = objectives.divergence(jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32))
    np.testing.assert_allclose(ours, np.sum(p * np.log(p / q), axis=1), rtol=1e-4)
    np.testing.assert_array_equal(objectives.divergence(jnp.asarray(a), jnp.asarray(a)), 0.0)


# ---- several classifiers guide ----


def linear(variables, x):
    return x.reshape(x.shape[0], -1) @ variables


def several(count=3, num=4):
    """`count` linear classifiers of 2 x 2 images and 4 classes, images, classes."""
    keys = jax.random.split(jax.random.key(3), 2)
    return jax.random.normal(keys[0], (count, 4, 4)), jax.random.normal(keys[1], (num, 2, 2, 1)), jnp.arange(num) % 4


def test_guides_by_their_formulas():
    """The mean of values; its gradient is the mean of gradients, in agreeing pixels alone where those count."""
    ensemble, x, label = several()
    one = objectives.ascend(linear, objectives.log_probability)
    own = np.stack([one(w, x, label) for w in ensemble])
    slopes = np.stack([jax.grad(lambda x, w=w: jnp.sum(one(w, x, label)))(x) for w in ensemble])
    alike = np.abs(np.sign(slopes).sum(axis=0)) == 3
    assert 0 < alike.sum() < alike.size
    expected = {"mean": slopes.mean(axis=0), "agreeing": np.where(alike, slopes.mean(axis=0), 0.0)}
    assert set(expected) == set(objectives.GUIDES)
    for name, slope in expected.items():
        objective = objectives.GUIDES[name](linear, objectives.log_probability)
        np.testing.assert_allclose(objective(ensemble, x, label), own.mean(axis=0), rtol=1e-5, err_msg=name)
        found = jax.grad(lambda x, f=objective: jnp.sum(f(ensemble, x, label)))(x)
        np.testing.assert_allclose(found, slope, atol=1e-6, err_msg=name)


def test_total_variation_of_a_ramp_and_an_edge():
    ramp = jnp.broadcast_to(jnp.linspace(0, 1, 5)[None, :, None, None], (1, 5, 5, 2))
    edge = jnp.zeros((1, 5, 5, 2)).at[:, :, 3:].set(0.5)
    np.testing.assert_allclose(objectives.total_variation(jnp.concatenate([ramp, edge])), [5 * 2, 5 * 2 * 0.5])
