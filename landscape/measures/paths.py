"""Paths between two points, as functions of t in [0, 1]: lines, polygons, Bezier curves, and their length.

A path through P points begins at the first and ends at the last one, bit for bit. It runs in pixels or in a latent,
whatever its points are.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from landscape import tree
from landscape.spaces import l2_norm, per_example

Points = Float[Array, "P N ..."]
Path = Callable[[Float[Array, "*N"]], Float[Array, "N ..."]]  # t of each pair, or one for all


def curve(points: Points, kind: str = "chain") -> Path:
    """The chain of straight pieces through the points, or the Bezier curve that they steer."""
    first, last = points[0], points[-1]
    beyond = points[1:] - first[None]

    def at(t):
        weights = jnp.vectorize(lambda t: tree.CURVES[kind](t, points.shape[0])[1:], signature="()->(p)")(t)
        # From the first point on: a path whose points are all one point stays there exactly.
        over = tree.blend(weights, beyond) if t.ndim == 0 else jnp.einsum("np,pn...->n...", weights, beyond)
        return jnp.where(per_example(t, first) == 1, last, first + over)

    return at


def line(a: Float[Array, "N ..."], b: Float[Array, "N ..."]) -> Path:
    """(1 - t) a + t b."""
    return curve(jnp.stack([a, b]))


def grid(num_points: int) -> Float[Array, " T"]:
    """t = 0, 1 / (T - 1) .. 1.

    Raises:
      ValueError: fewer than two points.
    """
    if num_points < 2:
        raise ValueError(f"num_points={num_points}: expected at least 2, the two ends; try 33")
    return jnp.linspace(0.0, 1.0, num_points)


def length(path: Path, num_points: int) -> Float[Array, " N"]:
    """Length of the path through T of its points over the distance of its ends, at least 1; 1 for equal ends."""
    places = jax.lax.map(path, grid(num_points))
    pieces = jax.vmap(l2_norm)(places[1:] - places[:-1])
    whole, straight = jnp.sum(pieces, axis=0), l2_norm(places[-1] - places[0])
    return jnp.where(straight > 0, whole / jnp.where(straight > 0, straight, 1.0), 1.0)
