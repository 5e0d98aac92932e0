"""Barriers: how far a classifier's output rises along a path between two inputs.

For values f along a path of T points, its ends first and last,

    barrier    = max over t of f(t) - max(f(0), f(1))
    above_line = max over t of f(t) - (1 - t) f(0) - t f(1)

both at least 0. f is the loss (nats) or the error probability of the class that both ends are predicted as; a path has
*left the class* where another one is predicted. A path found is an upper bound of what has to be climbed: other paths
may be lower.

Source: Entezari et al. 2022, arXiv:2110.06296, for `above_line`; Garipov et al. 2018, arXiv:1802.10026.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from landscape import objectives
from landscape.measures.paths import Path, grid, line
from landscape.spaces import per_example
from landscape.types import Apply, Images, Labels, Values, Variables

CLOSER = 15  # places where the highest point of a grid is looked at again


def said(
    variables: Variables, path: Path, label: Labels, places: Float[Array, "T *N"], *, apply: Apply
) -> dict[str, Float[Array, "T N"]]:
    """What a classifier says along paths of images, at places t of them.

    Args:
      path: t -> images; a path in a latent has to be decoded first.
      label: tracked class.
      places: [T], or [T, N], of every path its own.

    Returns:
      loss (nats), error_probability, left (1 where another class is predicted): each [T, N].
    """

    def at(t):
        logits = apply(variables, path(t))
        loss = objectives.loss(logits, label)
        return {
            "loss": loss,
            "error_probability": objectives.error_probability(logits, label),
            "left": (jnp.argmax(logits, axis=-1) != label).astype(loss.dtype),
        }

    return jax.lax.map(at, places)


def profile(
    variables: Variables, path: Path, label: Labels, *, apply: Apply, num_points: int
) -> dict[str, Float[Array, "T N"]]:
    """`said` at t = 0, 1 / (T - 1) .. 1; num_points is T, at least 2."""
    return said(variables, path, label, grid(num_points), apply=apply)


def closely(
    variables: Variables, path: Path, label: Labels, coarse: dict[str, Float[Array, "T N"]], *, apply: Apply
) -> tuple[Float[Array, "M N"], dict[str, Float[Array, "M N"]]]:
    """A `profile` together with CLOSER more places between the neighbours of its highest one.

    Error probability is 1 - exp(-loss), so that both are highest at one place.

    Returns:
      t of the places, the first and the last one the ends, and what is said there, as of `said`.
    """
    num_points = coarse["loss"].shape[0]
    top = jnp.argmax(coarse["loss"], axis=0)
    low, high = (jnp.clip(top + step, 0, num_points - 1) / (num_points - 1) for step in (-1, 1))
    share = grid(CLOSER + 2)[1:-1]
    near = low[None] + share[:, None] * (high - low)[None]
    more = said(variables, path, label, near, apply=apply)
    places = jnp.broadcast_to(grid(num_points)[:, None], coarse["loss"].shape)

    def woven(coarse, fine):
        return jnp.concatenate([coarse[:-1], fine, coarse[-1:]])

    return woven(places, near), {name: woven(value, more[name]) for name, value in coarse.items()}


def barriers(values: Float[Array, "T *N"], t: Float[Array, "T *N"] | None = None) -> dict[str, Float[Array, "*N"]]:
    """barrier, above_line (see the module's head) and peak, the share of the way at which the value is largest.

    Args:
      values: along the path, the first and the last one of its ends.
      t: their places, equal steps where left out.
    """
    first, last = values[0], values[-1]
    if t is None:
        t = jnp.linspace(0.0, 1.0, values.shape[0], dtype=values.dtype).reshape(-1, *(1,) * (values.ndim - 1))
    t = jnp.broadcast_to(t, values.shape)
    return {
        "barrier": jnp.max(values, axis=0) - jnp.maximum(first, last),
        "above_line": jnp.max(values - (1 - t) * first[None] - t * last[None], axis=0),
        "peak": jnp.take_along_axis(t, jnp.argmax(values, axis=0)[None], axis=0)[0],
    }


def line_rise(variables: Variables, a: Images, b: Images, label: Labels, *, apply: Apply, num_points: int) -> Values:
    """How far the loss between a and b is above both ends, or how far below the worse one it stays, nats, [N].

    The largest loss of the inner points of a grid less that of the worse end; its positive part is the barrier on that
    grid. Below 0 it still has a gradient, which a barrier of 0 has not. The gradient is that at the highest inner point
    alone, which by the envelope theorem is all of it.
    """

    def loss(x):
        return objectives.loss(apply(variables, x), label)

    path, inner = line(jax.lax.stop_gradient(a), jax.lax.stop_gradient(b)), grid(num_points)[1:-1]
    top = jnp.argmax(jax.lax.map(lambda t: loss(path(t)), inner), axis=0)
    share = per_example(inner[top], a)
    return loss(a + share * (b - a)) - jnp.maximum(loss(a), loss(b))
