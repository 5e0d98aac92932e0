"""Bypass: a way around the highest point of a straight line between two inputs.

The highest point B of the line from a to b is moved to B', which lowers

    f(x) + 0.1 mean((x - B)^2) + 1e-8 TV(x - B)

by Adam, every iterate kept in [0, 1] and in the hyperplane through B orthogonal to b - a, which the path a, B', b still
has to cross. Done again on each half that still rises above the ends, the path is a polygon. On an autoencoder's
manifold line and hyperplane are those of the latent, where there is no box, and x is what is decoded. What is found is
an upper bound of the lowest height that a path can have.

Source: Vrabel et al. 2024, arXiv:2409.05800.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Float

from landscape import objectives, spaces
from landscape.ensembles import map_needed
from landscape.measures.paths import Height, Points, grid, line
from landscape.samplers import fixed
from landscape.search import search
from landscape.spaces import per_example
from landscape.types import Images, Labels, Values

NEAR, SMOOTH = 0.1, 1e-8  # weights of the mean square and of the total variation of what is added


class Bypass(NamedTuple):
    """A way around.

    points: of the polygon, 2^depth + 1 of them, the first and the last one the ends. iterates: F iterates of its first
    waypoint, the last one is the last; all at the middle of the line where there was nothing to go around.
    peak: share of the line at which the first waypoint's hyperplane stands.
    """

    points: Points
    iterates: Float[Array, "F N ..."]
    peak: Values


class Around(NamedTuple):
    """How a waypoint is searched.

    height: (variables, x, label) -> f [N], what is to be lowered, such as the loss, or the largest loss of members.
    decode: of an autoencoder whose latents the ends are; None in pixels.
    num_steps, learning_rate: of Adam. frames: after how many steps each of F iterates of the first waypoint is kept,
    rising up to num_steps; the last one alone where empty.
    num_points: T, of every piece, among which the highest is sought. tolerance: in units of f, how far above both ends
    of the whole path a piece has to rise to be bent.
    """

    height: Height
    decode: Callable[[Array], Images] | None = None
    num_steps: int = 1024
    learning_rate: ArrayLike = 0.005
    frames: tuple[int, ...] = ()
    num_points: int = 33
    tolerance: float = 0.01


def waypoints(
    variables: Any,
    a: Float[Array, "N ..."],
    b: Float[Array, "N ..."],
    label: Labels,
    peak: Values,
    *,
    around: Around,
) -> Float[Array, "F N ..."]:
    """Iterates of B' for every pair, the last one the result. Where a and b are one point there is no plane to keep.

    Args:
      variables: whatever `around.height` takes: one classifier, or many.
      a, b: ends, pixels in [0, 1] or latents.
      label: class tracked on the way.
      peak: share of the way from a to b at which B lies, [N] in [0, 1].
    """
    through = a + per_example(peak, a) * (b - a)
    space = spaces.section(b - a) if around.decode is None else spaces.plane(b - a, around.decode)

    def objective(variables, x, target):
        label, start = target
        added = x - start
        near = jnp.mean(jnp.square(added), axis=(1, 2, 3))
        return -(around.height(variables, x, label) + NEAR * near + SMOOTH * objectives.total_variation(added))

    found = search(
        jax.random.key(0),  # nothing is drawn
        through,
        (label, space.decode(through)),
        objective=objective,
        space=space,
        sampler=fixed(variables),
        optimizer=optax.adam(around.learning_rate),
        epsilon=jnp.inf,
        num_steps=around.num_steps,
        frames=around.frames or 1,
    )
    return found.frames


def halvings(num_steps: int) -> tuple[int, ...]:
    """1 or so .. a quarter, half and all of the steps, rising."""
    return tuple(num_steps >> k for k in reversed(range(num_steps.bit_length())))


def bypass(
    variables: Any,
    a: Float[Array, "N ..."],
    b: Float[Array, "N ..."],
    label: Labels,
    *,
    around: Around,
    depth: int,
) -> Bypass:
    """The line bent at a waypoint, then each piece of what came before, `depth` times; low pieces stay as they are.

    Args: as of `waypoints`.
    """
    ends = jnp.stack([a, b])
    limit = jnp.maximum(*(_height(variables, x, label, around) for x in ends))
    points, firsts = ends, []
    for _ in range(depth):
        points, *first = _halved(variables, points, label, limit, around)
        firsts.append(first)
    return Bypass(points, *firsts[0])


def _height(variables, z, label, around: Around) -> Values:
    return around.height(variables, z if around.decode is None else around.decode(z), label)


def _halved(variables, points: Points, label: Labels, limit: Values, around: Around) -> Bypass:
    """Points with one more in each piece, and what became of the first piece."""
    pieces = points.shape[0] - 1
    starts, stops = (part.reshape(-1, *points.shape[2:]) for part in (points[:-1], points[1:]))
    label, limit = (jnp.tile(part, pieces) for part in (label, limit))
    # The ends of a piece are where it meets others: moving them is no way around.
    t = grid(around.num_points)[1:-1]
    path = line(starts, stops)
    values = jax.lax.map(lambda t: _height(variables, path(t), label, around), t)
    peak = t[jnp.argmax(values, axis=0)]
    needed = jnp.max(values, axis=0) > limit + around.tolerance

    def waypoint(a, b, label, peak, variables):
        return jnp.moveaxis(waypoints(variables, a, b, label, peak, around=around), 0, 1)

    def straight(a, b, label, peak, variables):
        return jnp.repeat((a + 0.5 * (b - a))[:, None], max(1, len(around.frames)), axis=1)

    found = map_needed(waypoint, straight, needed, starts, stops, label, peak, shared=(variables,))
    middles = found[:, -1].reshape(pieces, *points.shape[1:])
    woven = jnp.stack([points[:-1], middles], axis=1).reshape(2 * pieces, *points.shape[1:])
    count = points.shape[1]
    stood = jnp.where(needed, peak, 0.5)[:count]
    return Bypass(jnp.concatenate([woven, points[-1:]]), jnp.moveaxis(found[:count], 1, 0), stood)
