"""Paths between two inputs, as functions of t in [0, 1]: lines, polygons and Bezier curves, which can be trained.

A path through P points begins at the first and ends at the last one, bit for bit. It runs in pixels or in a latent,
whatever its points are.

Source: Garipov et al. 2018, arXiv:1802.10026, for trained curves, there between networks.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Float

from landscape import tree
from landscape.samplers import Sampler
from landscape.search import search
from landscape.spaces import Space, per_example
from landscape.types import Images, Labels, Values

DRAWS = 4  # values of t at every step of a trained curve

Points = Float[Array, "P N ..."]
Path = Callable[[Float[Array, "*N"]], Float[Array, "N ..."]]  # t of each pair, or one for all
Height = Callable[[Any, Images, Labels], Values]


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


def trained(
    key: jax.Array,
    variables: Any,
    a: Float[Array, "N ..."],
    b: Float[Array, "N ..."],
    label: Labels,
    *,
    height: Height,
    num_steps: int,
    learning_rate: ArrayLike = 0.005,
) -> Points:
    """The points a, z, b of a Bezier curve that is trained over all of its length.

    z, at first the middle of the line, lowers E over t ~ U[0, 1] of f(curve(t)) by Adam, DRAWS values of t a step, one
    in each of as many equal parts of [0, 1]. It is kept in [0, 1], so that the whole curve, a convex combination of its
    points, is.

    Args:
      key: of the t of every step, the same for all pairs.
      variables: whatever `height` takes.
      a, b: ends, pixels in [0, 1].
      height: (variables, x, label) -> f [N], to be lowered.
    """

    def draw(key, variables):
        return variables, (jnp.arange(DRAWS) + jax.random.uniform(jax.random.split(key)[0], (DRAWS,))) / DRAWS

    def objective(drawn, z, target):
        (variables, t), (label, a, b) = drawn, target
        path = curve(jnp.stack([a, z, b]), "bezier")
        return -jnp.mean(jax.lax.map(lambda t: height(variables, path(t), label), t), axis=0)

    box = Space(lambda z: z, lambda z: z, lambda z, origin, epsilon: jnp.clip(z, 0.0, 1.0))
    found = search(
        key,
        a + 0.5 * (b - a),
        (label, a, b),
        objective=objective,
        space=box,
        sampler=Sampler(draw, variables),
        optimizer=optax.adam(learning_rate),
        epsilon=jnp.inf,
        num_steps=num_steps,
    )
    return jnp.stack([a, found.z, b])
