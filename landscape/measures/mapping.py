"""A measure of one classifier on one batch, made for every member and population."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from landscape.ensembles import Mapping, Rows, map_members
from landscape.types import Ensemble


def ensemble_measure(
    measure: Callable[..., dict[str, Array]],
    keys: jax.Array,
    ensemble: Ensemble,
    x: Float[Array, "S P N H W C"],
    label: Int[Array, "S P N"],
    *per_example: Array,
    how: Mapping | None = None,
) -> dict[str, Float[Array, "... S P N"]]:
    """measure(keys, variables, x, label, *per_example) for every member and population, one after the other within a
    member.

    Keys are the same for all members and populations, so that these are paired.

    Args:
      per_example: further arrays [N, ...], the same for all members and populations.
      how: mapping of the members; None means `ensembles.auto`.

    Returns:
      The names of the measure, each [..., S, P, N].
    """

    def member(variables, x, label, keys, *per_example):
        out = lax.map(lambda args: measure(keys, variables, *args, *per_example), (x, label))
        return jax.tree.map(lambda value: jnp.moveaxis(value, -1, 0), out)

    shared = tuple(map(Rows, (keys, *per_example)))
    out = map_members(member, ensemble, Rows(x, 1), Rows(label, 1), shared=shared, how=how)
    return jax.tree.map(lambda value: jnp.moveaxis(value, (0, 2, 1), (-3, -2, -1)), out)
