"""Algebra on pytrees of arrays: parameters, and noise of their shape."""

from typing import Any

import jax
import numpy as np

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
