"""Attacks that take gradients elsewhere than at the point: closed forms of quadratic functions."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape.attacks import projected, transferable

SHAPE = (6, 5, 1)


def keys_for(num_examples):
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(7), jnp.arange(num_examples))


def curved():
    """A, b of q(z) = z A z / 2 + b z over 30 pixels, A symmetric and of either sign, and images of 6 x 5."""
    key_a, key_b, key_x = jax.random.split(jax.random.key(11), 3)
    a = jax.random.normal(key_a, (30, 30))
    return a + a.T, jax.random.normal(key_b, (30,)), jax.random.uniform(key_x, (4, *SHAPE), minval=0.4, maxval=0.6)


def quadratic(variables, z):
    flat = z.reshape(z.shape[0], -1)
    return 0.5 * jnp.sum((flat @ variables["a"]) * flat, axis=1) + flat @ variables["b"]


def two_classes(variables, z):
    """Logits of class 0 and 1: q and 0."""
    q = quadratic(variables, z)
    return jnp.stack([q, 0 * q], axis=1)


def test_pgn_is_the_gradient_less_that_of_a_penalty_on_its_norm():
    """Of a quadratic function exactly mean of g - balance step A g / mean |g|, g = A z' + b, over the neighbours z'."""
    a, b, x = curved()
    key, reach, step, balance = jax.random.key(3), 0.2, 0.03, 0.4
    flat = transferable.toward_flat(
        lambda variables, z, _: quadratic(variables, z), reach=reach, step=step, num_near=3, balance=balance
    )
    value, slope = jax.value_and_grad(lambda z: jnp.sum(flat(({"a": a, "b": b}, key), z, None)))(x)
    expected = 0.0
    for i in range(3):
        offset = jax.random.uniform(jax.random.fold_in(key, i), SHAPE, minval=-1.0, maxval=1.0)
        g = np.asarray((x + reach * offset[None]).reshape(4, 30) @ a + b[None], np.float64)
        expected += (g - balance * step * g @ np.asarray(a) / np.abs(g).mean(axis=1, keepdims=True)) / 3
    np.testing.assert_allclose(slope.reshape(4, 30), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(value, quadratic({"a": a, "b": b}, x).sum(), rtol=1e-5)


@pytest.mark.parametrize("balance", [0.0, 0.5])
def test_a_step_of_pgn_follows_the_cross_entropy_less_the_penalty(balance):
    """Logits q and 0 of class 0: L = log(1 + exp(-q)), grad L = -(A z + b) / (1 + exp(q)). One normalised step."""
    a, b, x = curved()
    a, b = 0.1 * a, 0.1 * b  # losses that are neither 0 nor linear
    step = 0.05
    options = {"norm": "l2", "epsilon": 10.0, "step_size": step, "num_steps": 1, "key": jax.random.key(0)}
    found = transferable.pgn(
        keys_for(4),
        {"a": a, "b": b},
        x,
        jnp.zeros(4, jnp.int32),
        apply=two_classes,
        reach=0.0,
        balance=balance,
        **options,
    )

    def slope(z):
        q = 0.5 * np.sum((z @ a) * z, axis=1, keepdims=True) + z @ b[:, None]
        return -(z @ a + b) / (1 + np.exp(q))

    a, b, z = (np.asarray(v, np.float64) for v in (a, b, x.reshape(4, 30)))
    own = slope(z)
    g = (1 - balance) * own + balance * slope(z - step * own / np.abs(own).mean(axis=1, keepdims=True))
    np.testing.assert_allclose(
        (found - x).reshape(4, 30), step * g / np.linalg.norm(g, axis=1, keepdims=True), atol=2e-6
    )


@pytest.mark.parametrize("num_inner", [1, 4])
def test_reverse_perturbation_takes_steps_of_its_radius_over_their_number(num_inner):
    """Of a linear function to a corner of the ball, within the box, whatever the number of steps."""
    w = jnp.asarray(np.random.default_rng(0).normal(size=SHAPE), jnp.float32)
    objective = lambda variables, z, target: jnp.sum(z * w[None], axis=(1, 2, 3))  # noqa: E731
    worst = transferable.at_the_worst(objective, radius=0.1, num_steps=num_inner)
    x = jnp.stack([jnp.full(SHAPE, 0.5), jnp.full(SHAPE, 0.02)])
    expected = [float(jnp.sum(w * jnp.clip(image - 0.1 * jnp.sign(w), 0, 1))) for image in x]
    np.testing.assert_allclose(worst((), x, None), expected, rtol=1e-5)


def test_the_gradient_of_rap_is_that_at_the_point_its_steps_lead_to():
    """A quadratic whose slope turns on the way: two steps of radius / 2 by hand, and the gradient at their end."""
    a, b, x = curved()
    wide_a, wide_b, z = (np.asarray(v, np.float64) for v in (a, b, x.reshape(4, 30)))
    radius, here = 0.2, z
    for _ in range(2):
        here = np.clip(here - radius / 2 * np.sign(here @ wide_a + wide_b), z - radius, z + radius)
    worst = transferable.at_the_worst(lambda variables, z, _: quadratic(variables, z), radius=radius, num_steps=2)
    slope = jax.grad(lambda z: jnp.sum(worst({"a": a, "b": b}, z, None)))(x)
    np.testing.assert_allclose(slope.reshape(4, 30), here @ wide_a + wide_b, rtol=1e-4, atol=1e-4)
    assert not (
        np.sign(z @ wide_a + wide_b) == np.sign(here @ wide_a + wide_b)
    ).all()  # the second step is another one than the first


def test_rap_starts_late():
    """A quarter of the steps are MI-FGSM's own, and the next one is not."""
    a, b, x = curved()
    label = jnp.argmax(two_classes({"a": a, "b": b}, x), -1)
    given = (keys_for(4), {"a": a, "b": b}, x, label)
    ball = {"norm": "linf", "epsilon": 0.05, "step_size": 0.01, "apply": two_classes}
    after = lambda num_steps, late: jax.jit(  # noqa: E731
        partial(transferable.rap, num_steps=num_steps, late=late, num_inner=2, **ball)
    )(*given)
    plain = lambda num_steps: jax.jit(partial(projected.mi_fgsm, num_steps=num_steps, **ball))(*given)  # noqa: E731
    one = plain(1)
    np.testing.assert_array_equal(after(1, 1.0), one)
    assert not np.array_equal(after(1, 0.0), one)
    # After a first step of its own, the second of four follows the gradient at the worst point near it.
    assert not np.array_equal(after(4, 0.25), plain(4))
    assert not np.array_equal(after(4, 0.25), after(4, 0.0))


@pytest.mark.slow
def test_a_resized_image_of_the_whole_size_is_itself_and_a_smaller_one_keeps_its_share():
    x = jax.random.uniform(jax.random.key(0), (3, *SHAPE))
    same = transferable.resized(jax.random.key(1), x, share=1.0, smallest=1.0)
    np.testing.assert_allclose(same, x, atol=1e-5)
    ones = jnp.ones((1, 12, 12, 1))
    shares = [float(transferable.resized(jax.random.key(k), ones, share=1.0, smallest=0.5).mean()) for k in range(8)]
    assert 0.2 < min(shares) < 0.5 < max(shares) <= 1
    np.testing.assert_array_equal(transferable.resized(jax.random.key(2), ones, share=0.0, smallest=0.5), ones)
