"""Exact nearest neighbours by blocks of matrix products, on whatever device holds the points."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int
from numpy import ndarray

BLOCK = (1024, 8192)  # queries and points of one product: 32 MiB of distances
ROWS = 128  # queries of one product on the host
SPARE = 4  # candidates beyond k, since the product's rounding may swap points at nearly one distance


def nearest(
    queries: Float[Array | ndarray, "Q *shape"],
    points: Float[Array | ndarray, "N *shape"],
    k: int,
    *,
    exclude_self: bool = False,
    block: tuple[int, int] = BLOCK,
) -> tuple[Float[Array, "Q k"], Int[Array, "Q k"]]:
    """The k points nearest to every query in L2, nearest first; of points at one distance, the lower index first.

    Candidates come from ||p||^2 - 2 p . q (||q||^2 is the same for all points), both seen from the mean of the points,
    which loses fewer digits. The distances of the k + 4 best are then taken from the differences p - q, and the k
    smallest of them returned: equal points are exactly 0 apart. The rounding of the product, about 1e-6 of the squared
    spread of the points, decides only where more than k + 4 points lie that close to the k-th.

    Args:
      queries, points: of one shape, flattened here; float32 unless JAX has double precision enabled.
      k: number of neighbours.
      exclude_self: the queries are the points: no query is its own neighbour (by index; a copy of it may be).
      block: numbers of queries and of points of one product; they bound the memory and change no result.

    Returns:
      Distances, in the unit of the points, and indices into the points; each [Q, k].

    Raises:
      ValueError: k outside 1 .. N (N - 1 with `exclude_self`), `exclude_self` for unlike numbers, a block below 1.
    """
    num_queries, num_points = queries.shape[0], points.shape[0]
    most = num_points - exclude_self
    if not 1 <= k <= most:
        raise ValueError(f"k={k}: expected 1 to {most}, the number of points to choose from; take more points")
    if exclude_self and num_queries != num_points:
        raise ValueError(
            f"exclude_self with {num_queries} queries and {num_points} points: expected the points as their own queries"
        )
    if min(block) < 1:
        raise ValueError(f"block={block}: expected two numbers of 1 or more; try {BLOCK}")
    block = (max(1, min(block[0], num_queries)), min(block[1], num_points))
    flat = [jnp.asarray(x).reshape(x.shape[0], -1) for x in (queries, points)]
    return _nearest(*flat, k=k, exclude_self=exclude_self, block=block)


def nearest_of_another_class(
    queries: Float[ndarray, "Q *shape"],
    labels: Int[ndarray, " Q"],
    points: Float[ndarray, "N *shape"],
    point_labels: Int[ndarray, " N"],
) -> Float[ndarray, " Q"]:
    """L2 distance of each query to the nearest point of another class than its own; inf where there is none."""
    flat, at = (x.reshape(len(x), -1).astype(np.float64) for x in (queries, points))
    squares, found = np.square(at).sum(axis=1), np.full(len(flat), np.inf)
    for first in range(0, len(flat), ROWS):
        rows = slice(first, first + ROWS)
        near = squares - 2 * flat[rows] @ at.T
        near[labels[rows, None] == point_labels[None]] = np.inf
        found[rows] = np.sqrt(np.maximum(near.min(axis=1) + np.square(flat[rows]).sum(axis=1), 0))
    return found


@partial(jax.jit, static_argnames=("k", "exclude_self", "block"))
def _nearest(
    queries: Float[Array, "Q D"], points: Float[Array, "N D"], *, k: int, exclude_self: bool, block: tuple[int, int]
) -> tuple[Float[Array, "Q k"], Int[Array, "Q k"]]:
    """`nearest` of flat points, one block of queries after the other."""
    num_queries, size = queries.shape[0], block[0]
    centre = jnp.mean(points, axis=0, keepdims=True)
    squares = jnp.sum(jnp.square(points - centre), axis=1)
    kept = min(k + SPARE, points.shape[0] - exclude_self)

    def one_block(start: Int[Array, ""]) -> tuple[Float[Array, "B k"], Int[Array, "B k"]]:
        rows = lax.dynamic_slice_in_dim(queries, start, size)
        own = start + jnp.arange(size) if exclude_self else jnp.full(size, -1)
        index = _candidates(rows - centre, own, points, centre, squares, kept, block[1])
        distance = jnp.sqrt(jnp.sum(jnp.square(points[index] - rows[:, None]), axis=2))
        distance, index = lax.sort((distance, index), dimension=1, num_keys=2)
        return distance[:, :k], index[:, :k]

    starts = _starts(num_queries, size)
    found = lax.map(one_block, starts)
    row = jnp.arange(num_queries)
    number = row // size
    return tuple(value[number, row - starts[number]] for value in found)


def _candidates(
    rows: Float[Array, "B D"],
    own: Int[Array, " B"],
    points: Float[Array, "N D"],
    centre: Float[Array, "1 D"],
    squares: Float[Array, " N"],
    kept: int,
    size: int,
) -> Int[Array, "B kept"]:
    """Indices of the points of smallest ||p||^2 - 2 p . q, seen from the centre; never that of `own`."""
    starts = _starts(points.shape[0], size)

    def one_block(best, at):
        start, first_new = at
        index = start + jnp.arange(size)
        fresh = lax.dynamic_slice_in_dim(points, start, size) - centre
        # HIGHEST: accelerators would otherwise multiply with three digits.
        near = 2 * jnp.matmul(rows, fresh.T, precision=lax.Precision.HIGHEST)
        near = near - lax.dynamic_slice_in_dim(squares, start, size)[None, :]
        left_out = (index < first_new)[None, :] | (index[None, :] == own[:, None])
        # What earlier blocks found stands first, since top_k prefers the first of equal values.
        near = jnp.concatenate([best[0], jnp.where(left_out, -jnp.inf, near)], axis=1)
        near, found = lax.top_k(near, kept)
        earlier = jnp.take_along_axis(best[1], jnp.minimum(found, kept - 1), axis=1)
        return (near, jnp.where(found < kept, earlier, start + found - kept)), None

    nothing = jnp.full((rows.shape[0], kept), -jnp.inf, rows.dtype), jnp.zeros((rows.shape[0], kept), starts.dtype)
    (_, found), _ = lax.scan(one_block, nothing, (starts, jnp.arange(len(starts)) * size))
    return found


def _starts(num: int, size: int) -> Int[Array, " B"]:
    """First rows of blocks that cover all of `num`; the last is moved back to end with them, over some rows again."""
    return jnp.minimum(jnp.arange(-(-num // size)) * size, num - size)
