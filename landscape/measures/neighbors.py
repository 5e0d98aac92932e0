"""Exact nearest neighbours by blocks of matrix products; devices share the queries."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int
from numpy import ndarray

from landscape.ensembles import over_examples

METRICS = ("euclidean", "cosine")
BLOCK = (1024, 8192)  # queries and points of one product: 32 MiB of distances
ROWS = 128  # queries of one product on the host
ROUNDING = 1e-6  # of squared distances in single precision
GROUP = 32  # columns of a block of which the largest is looked for first
SPARE = 4  # candidates beyond k, since the product's rounding may swap points at nearly one distance


def nearest(
    queries: Float[Array | ndarray, "Q *shape"],
    points: Float[Array | ndarray, "N *shape"],
    k: int,
    *,
    metric: str = "euclidean",
    exclude_self: bool = False,
    block: tuple[int, int] = BLOCK,
) -> tuple[Float[Array, "Q k"], Int[Array, "Q k"]]:
    """The k points nearest to every query, nearest first; of points at one distance, the lower index first.

    Candidates come from ||p||^2 - 2 p . q (||q||^2 is the same for all points), both seen from the mean of the points,
    which loses fewer digits. The distances of the k + 4 best are then taken from the differences p - q, and the k
    smallest of them returned: equal points are exactly 0 apart. The rounding of the product, about 1e-6 of the squared
    spread of the points, decides only where more than k + 4 points lie that close to the k-th.

    Args:
      queries, points: of one shape, flattened here; float32 unless JAX has double precision enabled.
      k: number of neighbours.
      metric: "euclidean", ||p - q||; or "cosine", 1 - p . q / (||p|| ||q||), which is half the squared L2 distance of
        the vectors at unit length. A vector of zeros has the cosine distance 1/2 to all others, and 0 to its like.
      exclude_self: the queries are the points: no query is its own neighbour (by index; a copy of it may be).
      block: numbers of queries and of points of one product; they bound the memory and change no result.

    Returns:
      Distances, in the unit of the points (cosine: none), and indices into the points; each [Q, k].

    Raises:
      ValueError: k outside 1 .. N (N - 1 with `exclude_self`), `exclude_self` for unlike numbers, a block below 1,
        another metric.
    """
    if metric not in METRICS:
        raise ValueError(f"metric={metric!r}: expected one of {', '.join(METRICS)}; try euclidean")
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
    queries, points = (as_rows(x, metric) for x in (queries, points))
    own = jnp.arange(num_queries) if exclude_self else jnp.full(num_queries, -1)
    distance, index = _nearest(queries, own, points, k=k, exclude_self=exclude_self, block=block)
    return (jnp.square(distance) / 2 if metric == "cosine" else distance), index


def num_nearer(
    queries: Float[Array | ndarray, "Q *shape"],
    points: Float[Array | ndarray, "N *shape"],
    others: Float[Array | ndarray, "Q *shape"],
    *,
    metric: str = "euclidean",
    block: tuple[int, int] = BLOCK,
) -> Int[Array, " Q"]:
    """How many points are nearer to each query than that query's own `other` is: the rank of the other, from 0.

    Points and others that are nearly as far are told apart up to the rounding of the product, about 1e-6 of the squared
    spread of the points; one that is as far as the other is not nearer. Memory is bounded as in `nearest`.

    Args:
      queries, points, metric, block: as in `nearest`. others: one a query.
    """
    block = (max(1, min(block[0], queries.shape[0])), min(block[1], points.shape[0]))
    return _num_nearer(*(as_rows(x, metric) for x in (queries, others, points)), block=block)


def as_rows(x: Float[Array | ndarray, "N *shape"], metric: str) -> Float[Array, "N D"]:
    """Points as rows, for the cosine at unit length."""
    flat = jnp.asarray(x).reshape(x.shape[0], -1)
    if metric == "euclidean":
        return flat
    return flat / jnp.maximum(jnp.linalg.norm(flat, axis=1, keepdims=True), jnp.finfo(flat.dtype).tiny)


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
    queries: Float[Array, "Q D"],
    own: Int[Array, " Q"],
    points: Float[Array, "N D"],
    *,
    k: int,
    exclude_self: bool,
    block: tuple[int, int],
) -> tuple[Float[Array, "Q k"], Int[Array, "Q k"]]:
    """`nearest` of flat points, one block of queries after the other; `own`: the point that each query may not find."""
    centre = jnp.mean(points, axis=0, keepdims=True)
    squares = jnp.sum(jnp.square(points - centre), axis=1)
    kept = min(k + SPARE, points.shape[0] - exclude_self)

    def rows(queries, own, points, centre, squares):
        def one_block(rows, own):
            index = _candidates(rows - centre, own, points, centre, squares, kept, block[1])
            distance = jnp.sqrt(jnp.sum(jnp.square(points[index] - rows[:, None]), axis=2))
            distance, index = lax.sort((distance, index), dimension=1, num_keys=2)
            return distance[:, :k], index[:, :k]

        return _by_blocks(one_block, block[0], queries, own)

    return over_examples(rows, queries, own, shared=(points, centre, squares))


@partial(jax.jit, static_argnames=("block",))
def _num_nearer(
    queries: Float[Array, "Q D"], others: Float[Array, "Q D"], points: Float[Array, "N D"], *, block: tuple[int, int]
) -> Int[Array, " Q"]:
    """`num_nearer` of flat points."""
    centre = jnp.mean(points, axis=0, keepdims=True)

    def rows(queries, others, points, centre):
        def one_block(rows, others):
            rows, others = rows - centre, others - centre
            # Of ||p||^2 - 2 p . q, as `_candidates` compares; by the same product, so that equal points count as equal.
            limit = jnp.sum(jnp.square(others), axis=1) - 2 * jnp.sum(rows * others, axis=1)
            slack = ROUNDING * (jnp.abs(limit) + jnp.sum(jnp.square(rows), axis=1))

            def count(found, at):
                start, first_new = at
                fresh = lax.dynamic_slice_in_dim(points, start, block[1]) - centre
                far = jnp.sum(jnp.square(fresh), axis=1)[None, :]
                far = far - 2 * jnp.matmul(rows, fresh.T, precision=lax.Precision.HIGHEST)
                new = start + jnp.arange(block[1]) >= first_new
                return found + jnp.sum(new[None, :] & (far < (limit - slack)[:, None]), axis=1), None

            starts = _starts(points.shape[0], block[1])
            nothing = jnp.zeros(rows.shape[0], jnp.int32)
            return lax.scan(count, nothing, (starts, jnp.arange(len(starts)) * block[1]))[0]

        return _by_blocks(one_block, block[0], queries, others)

    return over_examples(rows, queries, others, shared=(points, centre))


def _by_blocks(fn, size: int, *rows: Array):
    """fn(*rows) of blocks of at most `size` rows, one after the other; the last block overlaps the one before."""
    count = rows[0].shape[0]
    size = min(size, count)  # a device may have fewer rows than a block
    starts = _starts(count, size)
    found = lax.map(lambda start: fn(*(lax.dynamic_slice_in_dim(one, start, size) for one in rows)), starts)
    row = jnp.arange(count)
    number = row // size
    return jax.tree.map(lambda value: value[number, row - starts[number]], found)


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
        near, found = _largest(jnp.where(left_out, -jnp.inf, near), kept)
        # What earlier blocks found stands first, since top_k prefers the first of equal values.
        near, index = (jnp.concatenate(pair, axis=1) for pair in zip(best, (near, start + found), strict=True))
        near, found = lax.top_k(near, kept)
        return (near, jnp.take_along_axis(index, found, axis=1)), None

    nothing = jnp.full((rows.shape[0], kept), -jnp.inf, rows.dtype), jnp.zeros((rows.shape[0], kept), starts.dtype)
    (_, found), _ = lax.scan(one_block, nothing, (starts, jnp.arange(len(starts)) * size))
    return found


def _largest(values: Float[Array, "B n"], count: int) -> tuple[Float[Array, "B m"], Int[Array, "B m"]]:
    """The `count` largest of each row, or all where there are fewer, and where they are; of equal ones the first.

    They lie in the `count` groups of columns whose largest values are the largest: a maximum over each group is far
    cheaper than top_k, which then sees a few columns.
    """
    size = values.shape[1]
    if size % GROUP or size < 2 * count * GROUP:
        return tuple(lax.top_k(values, min(count, size)))
    groups = values.reshape(values.shape[0], -1, GROUP)
    chosen = jnp.sort(lax.top_k(jnp.max(groups, axis=2), count)[1], axis=1)  # in order, for the first of equal ones
    few = jnp.take_along_axis(groups, chosen[:, :, None], axis=1).reshape(values.shape[0], -1)
    found, at = lax.top_k(few, count)
    return found, jnp.take_along_axis(chosen, at // GROUP, axis=1) * GROUP + at % GROUP


def _starts(num: int, size: int) -> Int[Array, " B"]:
    """First rows of blocks that cover all of `num`; the last is moved back to end with them, over some rows again."""
    return jnp.minimum(jnp.arange(-(-num // size)) * size, num - size)
