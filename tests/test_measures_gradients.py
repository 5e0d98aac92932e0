"""Gradients of classes on classifiers and decoders whose derivatives are known."""

import jax
import jax.numpy as jnp
import numpy as np

from landscape import objectives
from landscape.measures import gradients
from landscape.models import conv

SHAPE, K = (3, 2, 1), 4


def linear(variables, x):
    return x.reshape(x.shape[0], -1) @ variables


def quadratic(variables, x):
    """Logit k is w_k . x^2 / 2: its gradient w_k x is linear in x."""
    return 0.5 * jnp.square(x.reshape(x.shape[0], -1)) @ variables


def make(num=5):
    w = jax.random.normal(jax.random.key(0), (6, K))
    return w, jax.random.uniform(jax.random.key(1), (num, *SHAPE))


def test_gradients_of_a_linear_classifier():
    """d p_c = p_c (w_c - sum_k p_k w_k), d log p_c = d p_c / p_c, and those of logits and margins are differences."""
    w, x = make()
    p = np.asarray(jax.nn.softmax(linear(w, x)), np.float64)
    w64, logits = np.asarray(w, np.float64), np.asarray(linear(w, x))
    mean = p @ w64.T  # [N, D]
    for c in range(K):
        rival = np.where(np.arange(K) == c, -np.inf, logits).argmax(axis=1)
        expected = {
            "probability": p[:, c, None] * (w64[:, c] - mean),
            "log_probability": w64[:, c] - mean,
            "logit": np.tile(w64[:, c], (5, 1)),
            "margin": w64[:, c] - w64[:, rival].T,
        }
        for name, value in expected.items():
            found = gradients.class_gradients(w, x, apply=linear, value_fn=objectives.VALUES[name], num_classes=K)
            np.testing.assert_allclose(found[c].reshape(5, -1), value, atol=1e-5, err_msg=name)


def test_a_gradient_on_a_manifold_is_pulled_back_and_pushed_forward():
    """x = A z: the gradient is A'w, its push-forward A A'w, the same by finite steps since A is linear."""
    w, _ = make()
    a = jax.random.normal(jax.random.key(2), (6, 3))
    decode = lambda z: (z @ a.T).reshape(-1, *SHAPE)  # noqa: E731
    z = jax.random.normal(jax.random.key(3), (4, 3))
    options = {"apply": linear, "value_fn": objectives.logit, "num_classes": K, "decode": decode}
    found = gradients.class_gradients(w, z, **options)
    np.testing.assert_allclose(found, np.tile((a.T @ w).T[:, None], (1, 4, 1)), atol=1e-5)
    forward = gradients.push_forward(decode, z, found[1])
    expected = np.tile(a @ a.T @ w[:, 1], (4, 1)).reshape(4, *SHAPE)
    np.testing.assert_allclose(forward, expected, atol=1e-4)
    np.testing.assert_allclose(gradients.difference(decode, z, found[1], 0.5), expected, atol=1e-4)


def test_smoothing_a_quadratic_classifier_leaves_its_gradient():
    """E w (x + s eps) = w x; the variance of one trial is s^2 w^2, by pixel."""
    w, x = make(3)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(5), jnp.arange(3))
    options = {"apply": quadratic, "value_fn": objectives.logit, "num_classes": K}
    mean = gradients.smooth_gradients(keys, w, x, sigma=0.5, num_trials=400, **options)
    plain = gradients.class_gradients(w, x, **options)
    size = np.abs(np.asarray(w)).T.reshape(K, 1, *SHAPE) * 0.5 / 20
    assert (np.abs(np.asarray(mean - plain)) < 4.5 * size).all()
    again = gradients.smooth_gradients(keys[1:], w, x[1:], sigma=0.5, num_trials=400, **options)
    np.testing.assert_allclose(again, mean[:, 1:], atol=1e-5)  # whatever is beside it


def test_cosines_by_hand():
    g = jnp.array([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    found = gradients.cosine(g[:, None], g[None])
    np.testing.assert_allclose(found, [[1, 0.5**0.5, 0], [0.5**0.5, 1, 0], [0, 0, 0]], atol=1e-6)


def test_a_push_forward_passes_a_convolution_with_its_own_backward_pass():
    """`models.conv.convolution` has no forward mode; the plain one has, and reads the same kernel."""
    kernel = jax.random.normal(jax.random.key(0), (3, 3, 2, 1))
    z, direction = jax.random.normal(jax.random.key(1), (2, 3, 5, 5, 2))

    def decode(convolve):
        return lambda z: jnp.tanh(convolve(z, kernel, (1, 1), "SAME", dimension_numbers=conv.DIMENSIONS))

    expected = jax.jvp(decode(conv.plain), (z,), (direction,))[1]
    np.testing.assert_allclose(gradients.push_forward(decode(conv.convolution), z, direction), expected, atol=1e-5)
