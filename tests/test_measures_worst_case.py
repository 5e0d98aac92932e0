"""Worst-case input flatness: closed form for a linear model, the box, bounds by sampling, saturation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape import objectives
from landscape.measures.worst_case import worst_case


def linear(variables, x):
    logit = variables["bias"] + x.reshape(x.shape[0], -1) @ variables["w"]
    return jnp.stack([logit, jnp.zeros_like(logit)], axis=1)


def mlp(variables, x):
    return jnp.tanh(x.reshape(x.shape[0], -1) @ variables["first"]) @ variables["last"]


LINEAR = {norm: jax.jit(functools.partial(worst_case, apply=linear, norm=norm)) for norm in ("linf", "l2")}


def setting(low, high, bias=1.0):
    keys = jax.random.split(jax.random.key(0), 5)
    x = jax.random.uniform(jax.random.key(1), (5, 3, 3, 1), minval=low, maxval=high)
    return keys, {"w": jax.random.normal(jax.random.key(2), (9,)), "bias": jnp.float32(bias)}, x


@pytest.mark.parametrize("bias", [1.0, 25.0])
@pytest.mark.parametrize("norm, dual", [("linf", 1), ("l2", 2)])
def test_linear_model_in_closed_form(norm, dual, bias):
    """Inside the box the margin w.x + b falls by rho |w| in the dual norm, the loss by what that makes of it.

    With the larger bias p is 1 in float32: only the log-odds still show where down is.
    """
    keys, variables, x = setting(0.3, 0.7, bias)
    out = LINEAR[norm](keys, variables, x, jnp.zeros(5, jnp.int32), rho=0.1)
    drop = 0.1 * np.linalg.norm(np.asarray(variables["w"], np.float64), dual)
    np.testing.assert_allclose(out["worst_margin_drop"], np.full(5, drop), rtol=1e-4)
    margin = np.asarray(linear(variables, x)[:, 0], np.float64)
    np.testing.assert_allclose(
        out["worst_loss_rise"], np.log1p(np.exp(drop - margin)) - np.log1p(np.exp(-margin)), rtol=1e-3
    )


def test_stays_in_the_box():
    keys, variables, x = setting(0.0, 1.0)
    out = LINEAR["linf"](keys, variables, x, jnp.zeros(5, jnp.int32), rho=0.4)
    corner = jnp.clip(x - 0.4 * jnp.sign(variables["w"]).reshape(1, 3, 3, 1), 0, 1)
    truth = linear(variables, x)[:, 0] - linear(variables, corner)[:, 0]
    np.testing.assert_allclose(out["worst_margin_drop"], truth, rtol=1e-4)


def test_beats_sampling_and_grows_with_the_radius():
    keys, _, x = setting(0.2, 0.8)
    key_first, key_last = jax.random.split(jax.random.key(4))
    variables = {"first": jax.random.normal(key_first, (9, 6)), "last": jax.random.normal(key_last, (6, 3))}
    label = jnp.array([0, 1, 2, 0, 1])  # also classes that are not predicted
    run = jax.jit(functools.partial(worst_case, apply=mlp, norm="linf", num_restarts=3))
    nothing, small, large = (run(keys, variables, x, label, rho=rho) for rho in (0.0, 0.05, 0.15))
    assert all(np.allclose(value, 0, atol=1e-6) for value in nothing.values())
    shifts = jax.random.uniform(jax.random.key(5), (500, *x.shape), minval=-0.05, maxval=0.05)
    clean = mlp(variables, x)
    nothing, small, large = (jax.tree.map(np.asarray, part) for part in (nothing, small, large))
    for name, value_fn, sign in (
        ("worst_loss_rise", objectives.loss, 1),
        ("worst_margin_drop", objectives.margin, -1),
    ):
        found = jax.vmap(lambda d, f=value_fn: f(mlp(variables, x + d), label))(shifts)
        sampled = (sign * (found - value_fn(clean, label)[None])).max(axis=0)
        assert jnp.all(small[name] >= sampled) and jnp.all(large[name] > small[name]), name
