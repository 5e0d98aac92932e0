"""Mean and standard error of arrays that come one at a time (Welford), accurate in float32 far from zero."""

from typing import Any

import jax
import jax.numpy as jnp

State = tuple[jax.Array, Any, Any]  # count, mean, sum of squared deviations; the last two are pytrees of arrays


def start(zeros: Any) -> State:
    """The state before any value, for a pytree of arrays of zeros."""
    return jnp.zeros((), jnp.int32), zeros, zeros


def update(state: State, values: Any) -> State:
    """The state with one more pytree of values."""
    count, mean, squares = state
    count = count + 1
    delta = jax.tree.map(jnp.subtract, values, mean)
    mean = jax.tree.map(lambda m, d: m + d / count, mean, delta)
    return count, mean, jax.tree.map(lambda s, d, v, m: s + d * (v - m), squares, delta, values, mean)


def finish(state: State) -> tuple[Any, Any]:
    """(mean, standard error of the mean = std / sqrt(count)) of at least two values, pytrees."""
    count, mean, squares = state
    return mean, jax.tree.map(lambda s: jnp.sqrt(s / (count * (count - 1))), squares)
