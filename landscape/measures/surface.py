"""Surfaces: what a classifier says at the points of a plane, of inputs or of weights.

A plane goes through three points, in any space whose points are arrays. Its coordinates are those of an orthonormal
basis, so that lengths and areas in it are those of the space:

    x(s, t) = a + s e1 + t e2,    e1 along b - a,    e2 along what is left of c - a.

Source: Garipov et al. 2018, arXiv:1802.10026, for the plane of three networks; Somepalli et al. 2022, arXiv:2203.08124,
for that of three images; Li et al. 2018, arXiv:1712.09913, for random directions and trajectories in weight space.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from landscape import objectives
from landscape.ensembles import map_examples
from landscape.types import Apply, Variables

Through = Callable[..., Array]  # as `models.classifiers.Classifier` has it

BLOCK_PIXELS = 128 * 784  # of the points computed at once: of 32 to 225 images of 28 x 28 the fastest


class Plane(NamedTuple):
    """origin: the first of three points. first, second: orthonormal directions, 0 where the points leave none.

    at: coordinates (s, t) of the three points, [3, 2], in the unit of the space; the first is (0, 0).
    """

    origin: Float[Array, "..."]
    first: Float[Array, "..."]
    second: Float[Array, "..."]
    at: Float[Array, "3 2"]


class Surface(NamedTuple):
    """log_odds: of the tracked class, nats; loss and probability follow from it. decision: the class predicted.

    margin: of the tracked class, logits.
    """

    log_odds: Float[Array, " K"]
    decision: Int[Array, " K"]
    margin: Float[Array, " K"]


def _unit(v: Array) -> tuple[Array, Array]:
    """v over its length, and that; 0 where it has none."""
    length = jnp.sqrt(jnp.sum(jnp.square(v)))
    return v / jnp.where(length > 0, length, 1.0), length


def through(a: Float[Array, "..."], b: Float[Array, "..."], c: Float[Array, "..."]) -> Plane:
    """The plane through three points of one shape."""
    first, along = _unit(b - a)
    share = jnp.sum((c - a) * first)
    second, beside = _unit(c - a - share * first)
    zero = jnp.zeros_like(along)
    return Plane(
        a, first, second, jnp.stack([jnp.stack(row) for row in ((zero, zero), (along, zero), (share, beside))])
    )


def radius(plane: Plane) -> Float[Array, ""]:
    """The longer of the ways from the first point to the two others."""
    return jnp.sqrt(jnp.max(jnp.sum(jnp.square(plane.at), axis=-1)))


def point(plane: Plane, at: Float[Array, " 2"]) -> Float[Array, "..."]:
    """x(s, t)."""
    return plane.origin + at[0] * plane.first + at[1] * plane.second


def grid(num_points: int) -> Float[np.ndarray, "K 2"]:
    """num_points x num_points coordinates (s, t) of [-1, 1]^2, row by row: t is that of the row.

    Raises:
      ValueError: an even number, whose grid has no point in the middle.
    """
    if num_points < 3 or num_points % 2 == 0:
        raise ValueError(f"num_points={num_points}: expected an odd number from 3, with the first point in the middle")
    along = np.linspace(-1, 1, num_points, dtype=np.float32)
    return np.stack(np.meshgrid(along, along), axis=-1).reshape(-1, 2)


def rings(num_points: int) -> Int[np.ndarray, " K"]:
    """The ring of each point of `grid`, by its distance from the middle in steps of the grid, rounded; -1 beyond 1.

    Ring 0 is the middle alone; the rings together are the disc of radius 1.
    """
    away = np.linalg.norm(grid(num_points), axis=1)
    return np.where(away <= 1 + 1e-6, np.round(away * (num_points // 2)), -1).astype(np.int32)


def surface(
    variables: Variables,
    plane: Plane,
    at: Float[Array, "K 2"],
    label: Int[ArrayLike, ""],
    *,
    apply: Apply,
    through: Through | None = None,
) -> Surface:
    """What a classifier says at points of one plane.

    Args:
      plane: of inputs that `apply` takes, one input each. at: coordinates of the points. label: tracked class.
      through: of a classifier whose first submodule is affine in its input, as that of every one built here is
        (`Classifier.through`). What it puts out is then interpolated over the plane, which is exact and costs less than
        to compute it at every point.
    """
    logits_at = _logits(variables, plane, apply=apply, through=through)

    def of_points(at):
        logits = logits_at(at)
        tracked = jnp.full(len(at), label, jnp.int32)
        decision = jnp.argmax(logits, axis=-1).astype(jnp.int32)
        return Surface(objectives.log_odds(logits, tracked), decision, objectives.margin(logits, tracked))

    block = max(1, BLOCK_PIXELS // plane.origin.size) if jax.default_backend() == "cpu" else None
    return map_examples(of_points, at, block=block)


def _logits(
    variables: Variables, plane: Plane, *, apply: Apply, through: Through | None
) -> Callable[[Float[Array, "K 2"]], Float[Array, "K C"]]:
    """Coordinates of points -> their logits."""
    if through is None:
        return lambda at: apply(variables, jax.vmap(point, (None, 0))(plane, at))
    reach = jnp.maximum(radius(plane), jnp.finfo(plane.origin.dtype).tiny)  # differences over it lose fewest digits
    corners = jnp.stack([plane.origin, plane.origin + reach * plane.first, plane.origin + reach * plane.second])
    out: list[Array] = []
    through(variables, corners, lambda name, h, own: out.append(own) or own)
    base, first, second = out[0][:1], (out[0][1:2] - out[0][:1]) / reach, (out[0][2:] - out[0][:1]) / reach

    def at_points(at):
        s, t = (along.reshape(-1, *(1,) * (base.ndim - 1)) for along in at.T)
        first_of_all = iter([base + s * first + t * second])
        # What the first submodule itself puts out is of no use, and is not computed.
        nothing = jnp.zeros((len(at), *plane.origin.shape), plane.origin.dtype)
        return through(variables, nothing, lambda name, h, own: next(first_of_all, own))

    return at_points


def surfaces(
    variables: Variables,
    planes: Plane,
    at: Float[Array, "K 2"],
    label: Int[Array, " P"],
    *,
    apply: Apply,
    through: Through | None = None,
) -> Surface:
    """`surface` of P planes [P, ...], one after the other; coordinates in units of each plane's `radius`. [P, K]."""

    def one(part):
        plane, label = part
        return surface(variables, plane, radius(plane) * at, label, apply=apply, through=through)

    return lax.map(one, (planes, label))


def counts(wrong: Bool[Array, "S P K"], ring: Int[np.ndarray, " K"]) -> Int[Array, "P R S S"]:
    """Points of each ring on which member s errs and m + 1 of all members do: [plane, ring, s, m].

    Args:
      ring: of each point, all from 0 on.
    """
    num_members = wrong.shape[0]
    number = jnp.sum(wrong, axis=0)[..., None] == jnp.arange(1, num_members + 1)[None, None, :]
    inside = jnp.asarray(ring[:, None] == np.arange(ring.max() + 1), jnp.float32)
    found = jnp.einsum("spk,pkm,kr->prsm", wrong.astype(jnp.float32), number.astype(jnp.float32), inside)
    return found.astype(jnp.int32)


def principal(path: Float[np.ndarray, "K D"]) -> tuple[np.ndarray, np.ndarray, float]:
    """The plane through the first point of a path that holds most of it: the first two principal axes.

    Axes are those of the differences from that point, so that it is the middle of the plane.

    Returns:
      Orthonormal axes [2, D]; coordinates of the path's points [K, 2]; the share of their squared distances from the
      first point that lies in the plane.

    Source: Li et al. 2018, arXiv:1712.09913, section 7, for differences from the last point.
    """
    away = np.asarray(path, np.float64) - path[0]
    _, size, axes = np.linalg.svd(away, full_matrices=False)
    return axes[:2], away @ axes[:2].T, float(np.sum(size[:2] ** 2) / max(np.sum(size**2), np.finfo(float).tiny))
