"""Algebra on pytrees of arrays: parameters, gradients and their noise."""

from typing import Any

import jax
import jax.numpy as jnp

Tree = Any


def add_scaled(tree: Tree, scale, direction: Tree) -> Tree:
    """tree + scale * direction, leaf by leaf; `scale` is a scalar."""
    return jax.tree.map(lambda a, b: a + scale * b, tree, direction)


def norm(tree: Tree) -> jax.Array:
    """Euclidean norm over all leaves, scalar."""
    return jnp.sqrt(sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(tree)))


def size(tree: Tree) -> int:
    """Number of scalars over all leaves."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def normal_like(key: jax.Array, tree: Tree) -> Tree:
    """Independent N(0, 1) entries in the structure of `tree`, one named key per leaf position."""
    leaves, structure = jax.tree.flatten(tree)
    keys = jax.random.split(key, len(leaves))
    return jax.tree.unflatten(
        structure, [jax.random.normal(k, a.shape, a.dtype) for k, a in zip(keys, leaves, strict=True)]
    )
