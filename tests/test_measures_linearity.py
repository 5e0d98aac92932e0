"""Local linearity against closed forms: a linear classifier does not stray, a quadratic one by half its curvature."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape import objectives
from landscape.measures.linearity import linearity

SHAPE, RHO = (2, 2, 1), 0.3
CURVED = jnp.array([4.0, -1.0, 0.5, 2.0])


def linear(w, x):
    return x.reshape(x.shape[0], -1) @ w


def quadratic(w, x):
    """Two logits whose difference is b . x + x' A x / 2, A diagonal."""
    flat = x.reshape(x.shape[0], -1)
    value = flat @ w["b"] + 0.5 * jnp.square(flat) @ w["a"]
    return jnp.stack([value, jnp.zeros_like(value)], axis=1)


def given(count=6):
    keys = jax.random.split(jax.random.key(0), count)
    return keys, jax.random.uniform(jax.random.key(1), (count, *SHAPE)), jnp.zeros(count, jnp.int32)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_linear_margin_does_not_stray(norm):
    keys, x, label = given()
    w = jax.random.normal(jax.random.key(2), (4, 2))
    found = linearity(keys, w, x, label, apply=linear, norm=norm, rho=RHO, value_fn=objectives.margin)
    np.testing.assert_allclose(found, 0, atol=2e-6)  # rounding of two logits of order 1
    assert float(linearity(keys, w, x, label, apply=linear, norm=norm, rho=RHO).min()) > 1e-4  # its loss is curved


@pytest.mark.parametrize(
    ("norm", "curved", "expected"),
    [
        # L2: half rho^2 times the largest curvature. L-inf: its sum over pixels, where the signs agree.
        ("l2", CURVED, 0.5 * RHO**2 * 4.0),
        ("linf", jnp.abs(CURVED), 0.5 * RHO**2 * 7.5),
        ("linf", -jnp.abs(CURVED), 0.5 * RHO**2 * 7.5),
    ],
)
def test_a_quadratic_margin_strays_by_half_its_curvature(norm, curved, expected):
    keys, x, label = given()
    w = {"b": jnp.array([1.0, -2.0, 0.5, 0.0]), "a": curved}
    options = {"apply": quadratic, "norm": norm, "value_fn": objectives.margin, "num_steps": 30}
    found = linearity(keys, w, x, label, rho=RHO, **options)
    np.testing.assert_allclose(found, expected, rtol=0.01)  # 30 power iterations, eigenvalues 2 apart
    assert float(found.max()) < expected * (1 + 1e-4)  # a lower bound
    each = linearity(keys, w, x, label, rho=RHO * jnp.linspace(0.5, 1.0, len(x)), **options)
    np.testing.assert_allclose(each, expected * np.linspace(0.5, 1.0, len(x)) ** 2, rtol=0.01)
