"""Algebra on pytrees of arrays: parameters, noise of their shape, curves through them.

A curve with P points is sum over i of w_i(t) p_i, t in [0, 1], that begins at the first point and ends at the last one:
weights w are those of a Bezier curve, which only its ends are on, or of a chain of straight pieces, equally long in t.

Source: Garipov et al. 2018, arXiv:1802.10026, for both.
"""

from math import comb
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Tree = Any


def size(tree: Tree) -> int:
    """Number of scalars over all leaves."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def normal_like(key: jax.Array, tree: Tree) -> Tree:
    """Independent N(0, 1) entries in the structure of `tree`: one flat draw, cut up in the order of the leaves.

    A draw for every leaf would cost XLA a second of compilation each.
    """
    leaves, structure = jax.tree.flatten(tree)
    flat = jax.random.normal(key, (size(tree),))
    ends = np.cumsum([leaf.size for leaf in leaves])
    parts = [flat[end - leaf.size : end].reshape(leaf.shape) for leaf, end in zip(leaves, ends, strict=True)]
    return jax.tree.unflatten(structure, [p.astype(a.dtype) for p, a in zip(parts, leaves, strict=True)])


def bezier(t: Float[Array, ""], num_points: int) -> Float[Array, " P"]:
    """Weights of a Bezier curve: the Bernstein polynomials of degree P - 1, comb(P-1, i) t^i (1-t)^(P-1-i)."""
    i = np.arange(num_points)
    times = np.asarray([comb(num_points - 1, k) for k in i], np.float32)
    return times * t**i * (1 - t) ** (num_points - 1 - i)


def chain(t: Float[Array, ""], num_points: int) -> Float[Array, " P"]:
    """Weights of a chain through all points, which takes 1 / (P - 1) of t for each straight piece."""
    return jnp.maximum(0.0, 1 - jnp.abs(t * (num_points - 1) - np.arange(num_points, dtype=np.float32)))


CURVES = {"bezier": bezier, "chain": chain}


def blend(weights: Float[Array, " P"], points: Tree) -> Tree:
    """sum over i of weights[i] points[i], of leaves [P, ...] -> [...]."""
    return jax.tree.map(lambda leaf: jnp.tensordot(weights.astype(leaf.dtype), leaf, axes=1), points)
