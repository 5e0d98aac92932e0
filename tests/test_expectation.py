"""Attacks on classifiers that are drawn anew: what a step climbs is the mean over all of its draws."""

import jax
import jax.numpy as jnp
import numpy as np

from landscape.attacks.expectation import DRAWS, on_the_mean
from landscape.samplers import ball, several

SHAPE = (3, 2, 1)


def linear(w, x):
    return jnp.stack([x.reshape(x.shape[0], -1) @ w, jnp.zeros(x.shape[0])], axis=1)


def test_a_step_goes_along_the_mean_gradient_of_its_draws():
    """Log-odds w x of class 0: the gradient is w, and the mean over draws of w (1 + e) that of the step's draws."""
    w, key = jax.random.normal(jax.random.key(0), (6,)), jax.random.key(1)
    x = jax.random.uniform(jax.random.key(2), (2, *SHAPE), minval=0.4, maxval=0.6)
    noisy = lambda w: ball(w, 1.0, kind="multiplicative")  # noqa: E731
    budget = {"norm": "l2", "epsilon": 1.0, "step_size": 0.1, "num_steps": 1, "start": "image"}
    keys = jax.random.split(jax.random.key(3), 2)
    z = on_the_mean(keys, w, x, jnp.zeros(2, jnp.int32), apply=linear, sampler=noisy, key=key, **budget)
    first = jax.random.fold_in(jax.random.fold_in(key, 0), 0)  # of the first start, of the first step
    drawn = np.asarray(several(noisy(w), DRAWS).draw(first, noisy(w).source), np.float64)
    assert drawn.shape == (DRAWS, 6) and np.ptp(drawn, axis=0).min() > 0.1
    mean = drawn.mean(axis=0)
    expected = np.broadcast_to(-0.1 * mean / np.linalg.norm(mean), (2, 6))
    np.testing.assert_allclose((z - x).reshape(2, 6), expected, atol=1e-6)
