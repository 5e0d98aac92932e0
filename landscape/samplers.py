"""Classifiers drawn at random: a fixed one, or a point of a ball of weight noise around one.

Norm layers' scale and shift, running statistics and integer leaves carry no noise (`is_weight`): rescaling them is no
change of a filter, and with them in, the noise of a normalised network is dominated by a few of its numbers.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from landscape import tree
from landscape.types import Variables


class Sampler(NamedTuple):
    """draw(key, source) -> variables; `source` is a pytree, so that it can be mapped over members."""

    draw: Callable[[jax.Array, Any], Variables]
    source: Any


def fixed(variables: Variables) -> Sampler:
    """The classifier itself, whatever the key."""
    return Sampler(lambda key, source: source, variables)


def ball(variables: Variables, sigma: ArrayLike, *, kind: str) -> Sampler:
    """A fresh point of the noise ball around a classifier at every draw; see `perturb`."""
    _check(kind)
    return Sampler(lambda key, source: perturb(key, *source, kind=kind), (variables, sigma))


def keyed(sampler: Sampler) -> Sampler:
    """(classifier, key): a key beside every draw, for objectives that are random themselves."""

    def draw(key, source):
        own, beside = jax.random.split(key)
        return sampler.draw(own, source), beside

    return Sampler(draw, sampler.source)


def is_weight(path: tuple) -> bool:
    """Whether the leaf at a tree path (of `jax.tree_util.tree_leaves_with_path`) carries weight noise.

    No for leaves in the collection `batch_stats`, for leaves called `scale`, and for every leaf below a module whose
    name contains "norm" in any case (BatchNorm_0, GroupNorm_0, norm_1), which is how Flax names its norm layers.
    """
    names = [str(getattr(entry, "key", getattr(entry, "name", ""))) for entry in path]
    in_norm = any("norm" in name.lower() for name in names)
    return not in_norm and "batch_stats" not in names and names[-1:] != ["scale"]


def perturb(key: jax.Array, variables: Variables, sigma: ArrayLike, *, kind: str) -> Variables:
    """One draw of weight noise: variables + sigma * direction(key, variables, kind).

    The direction does not depend on sigma: with one key, a grid of sigmas walks out along one ray.

    Args:
      key: PRNG key of the draw.
      variables: Flax dict or any pytree.
      sigma: size of the noise, scalar: relative to the weights, but for "additive", where it is in their units.
      kind: one of WEIGHT_NOISES.
    """
    return along(variables, sigma, direction(key, variables, kind=kind))


def along(variables: Variables, sigma: ArrayLike, direction: Variables) -> Variables:
    """variables + sigma * direction; every leaf keeps its dtype, so integer ones stay as they are."""
    return jax.tree.map(lambda w, d: w + jnp.asarray(sigma).astype(w.dtype) * d, variables, direction)


def direction(key: jax.Array, variables: Variables, *, kind: str) -> Variables:
    """A random direction in weight space, zero on leaves that are no weight; e ~ N(0, 1) for every entry.

    - multiplicative: w e.
    - layer_relative: uniform in the L2 ball of radius ||w_l|| for every tensor l (a layer's kernel and bias are two
      tensors). Stutz et al. 2021, arXiv:2104.04448.
    - filter_normalised: Gaussian, each filter (last axis of a kernel) rescaled to the norm of the weight's filter;
      vectors (biases) stay where they are. Li et al. 2018, arXiv:1712.09913.
    - additive: e. Gubri et al. 2022, arXiv:2207.13129.

    One key gives the same e to all kinds, which are thereby compared on common random numbers.

    Raises:
      ValueError: unknown kind.
    """
    return directed(draw(key, variables), variables, kind=kind)


class Draw(NamedTuple):
    """Random numbers behind a direction: normal, N(0, 1) like the variables; uniform, in [0, 1), one for every leaf."""

    normal: Variables
    uniform: Variables


def draw(key: jax.Array, variables: Variables) -> Draw:
    """The random numbers of one draw, whatever the kind of noise."""
    key_normal, key_uniform = jax.random.split(key)
    leaves, structure = jax.tree.flatten(variables)
    uniform = jax.random.uniform(key_uniform, (len(leaves),))
    return Draw(tree.normal_like(key_normal, variables), jax.tree.unflatten(structure, list(uniform)))


def directed(drawn: Draw, variables: Variables, *, kind: str) -> Variables:
    """`direction` from random numbers already drawn."""
    _check(kind)

    def leaf_direction(path, weight, normal, uniform):
        if not is_weight(path) or not jnp.issubdtype(jnp.result_type(weight), jnp.inexact):
            return jnp.zeros_like(weight)
        return _DIRECTIONS[kind](weight, normal, uniform.astype(weight.dtype))

    return jax.tree_util.tree_map_with_path(leaf_direction, variables, *drawn)


def _multiplicative(weight: Float[Array, "..."], normal: Float[Array, "..."], uniform: Array) -> Float[Array, "..."]:
    return weight * normal


def _layer_relative(weight: Float[Array, "..."], normal: Float[Array, "..."], uniform: Array) -> Float[Array, "..."]:
    # A radius of U^(1/D) makes the point uniform in the ball rather than on its surface.
    radius = uniform ** (1.0 / max(weight.size, 1))
    return radius * _norm(weight, axis=None) * _unit(normal, axis=None)


def _filter_normalised(weight: Float[Array, "..."], normal: Float[Array, "..."], uniform: Array) -> Float[Array, "..."]:
    if weight.ndim < 2:
        return jnp.zeros_like(weight)
    within = tuple(range(weight.ndim - 1))
    return _norm(weight, axis=within) * _unit(normal, axis=within)


def _additive(weight: Float[Array, "..."], normal: Float[Array, "..."], uniform: Array) -> Float[Array, "..."]:
    return normal


_DIRECTIONS = {
    "multiplicative": _multiplicative,
    "layer_relative": _layer_relative,
    "filter_normalised": _filter_normalised,
    "additive": _additive,
}
WEIGHT_NOISES = tuple(_DIRECTIONS)


def _check(kind: str) -> None:
    if kind not in _DIRECTIONS:
        raise ValueError(f"kind={kind!r}: expected one of {', '.join(WEIGHT_NOISES)}; try multiplicative")


def _norm(values: Float[Array, "..."], *, axis: tuple[int, ...] | None) -> Float[Array, "..."]:
    return jnp.sqrt(jnp.sum(jnp.square(values), axis=axis, keepdims=True))


def _unit(values: Float[Array, "..."], *, axis: tuple[int, ...] | None) -> Float[Array, "..."]:
    """values / norm; zero where the norm is zero."""
    norm = _norm(values, axis=axis)
    return values / jnp.where(norm > 0, norm, 1.0)
