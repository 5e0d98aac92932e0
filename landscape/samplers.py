"""Classifiers drawn at random: a fixed one, a member, a point of a ball of weight noise, of a Gaussian over weights.

Norm layers' scale and shift, running statistics and integer leaves carry no noise (`is_weight`): rescaling them is no
change of a filter, and with them in, the noise of a normalised network is dominated by a few of its numbers.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from landscape import tree
from landscape.types import Ensemble, Images, Variables


class Sampler(NamedTuple):
    """A random classifier: draw(key, source) -> variables.

    draw: pure. source: a pytree, so that it can be mapped over members.
    at: at(step, source) -> the source of that step of a search, for noise that changes along it; None: one for all.
    """

    draw: Callable[[jax.Array, Any], Variables]
    source: Any
    at: Callable[[Int[Array, ""], Any], Any] | None = None


def drawn_at(sampler: Sampler, key: jax.Array, step: Int[Array, ""]) -> Variables:
    """The classifier of a step of a search: drawn with fold_in(key, step) from the source of that step."""
    source = sampler.source if sampler.at is None else sampler.at(step, sampler.source)
    return sampler.draw(jax.random.fold_in(key, step), source)


def later(sampler: Sampler, first: int) -> Sampler:
    """The sampler of a search that goes on where another one has taken `first` steps."""
    if sampler.at is None:
        return sampler
    return sampler._replace(at=lambda step, source: sampler.at(first + step, source))


def fixed(variables: Variables) -> Sampler:
    """The classifier itself, whatever the key."""
    return Sampler(lambda key, source: source, variables)


def ball(variables: Variables, sigma: ArrayLike, *, kind: str) -> Sampler:
    """A fresh point of the noise ball around a classifier at every draw; see `perturb`."""
    _check(kind)
    return Sampler(lambda key, source: perturb(key, *source, kind=kind), (variables, sigma))


def member(ensemble: Ensemble, low: Int[ArrayLike, ""] = 0, count: Int[ArrayLike, ""] | None = None) -> Sampler:
    """One of the members low .. low + count - 1 of an ensemble [S, ...], each as likely; of all where not said.

    Trajectories and posterior samples are ensembles as well. `low` and `count` are numbers, not shapes: another part
    of the ensemble compiles nothing.

    Source: Gubri et al. 2022, arXiv:2207.13129 (LGV), for members along a trajectory.
    """
    count = jax.tree.leaves(ensemble)[0].shape[0] if count is None else count

    def draw(key, source):
        ensemble, low, count = source
        number = low + jax.random.randint(key, (), 0, count)
        return jax.tree.map(lambda leaf: leaf[number], ensemble)

    return Sampler(draw, (ensemble, low, count))


def noisy(sampler: Sampler, sigma: ArrayLike, *, kind: str) -> Sampler:
    """Weight noise on top of another sampler's draws: of `member`, balls around members; see `perturb`."""
    _check(kind)

    def draw(key, source):
        own, sigma = source
        key_own, key_noise = jax.random.split(key)
        return perturb(key_noise, sampler.draw(key_own, own), sigma, kind=kind)

    return _beside(sampler, sigma, draw)


def frozen(sampler: Sampler, key: jax.Array, still: Bool[ArrayLike, ""] = True) -> Sampler:
    """One draw for good: another classifier, but no noise. A noisy search is compared with it.

    Of a sampler whose source changes along a search, the draw from the source of its first step.

    Args:
      key: of the draw.
      still: whether the draw is frozen at all; where not, this is the sampler itself. A number, so that searches with
        and without one compile once.
    """

    def draw(fresh, source):
        key, still, own = source
        # The key of the sampler's first step, at every step.
        return sampler.draw(jnp.where(still, jax.random.fold_in(key, 0), fresh), own)

    def at(step, source):
        key, still, own = source
        return key, still, sampler.at(jnp.where(still, 0, step), own)

    return Sampler(draw, (key, still, sampler.source), None if sampler.at is None else at)


def several(sampler: Sampler, num_draws: int) -> Sampler:
    """M draws at once, stacked [M, ...]: for objectives that average over them; see `objectives.averaged`.

    Raises:
      ValueError: num_draws below 1.
    """
    if num_draws < 1:
        raise ValueError(f"num_draws={num_draws}: expected at least 1")

    def draw(key, source):
        return jax.vmap(sampler.draw, (0, None))(jax.random.split(key, num_draws), source)

    return sampler._replace(draw=draw)


def one_of(choices: Sequence[Sampler], number: Int[ArrayLike, ""]) -> Sampler:
    """The sampler with that number: a number, not a program, so that searches that differ in it compile once.

    Only the chosen one draws, but under `vmap` over numbers, where all do. Sources must not change along a search.

    Raises:
      ValueError: no sampler, or one with a source of every step.
    """
    if not choices or any(choice.at is not None for choice in choices):
        raise ValueError(f"{len(choices)} samplers: expected one or more, none with 'at'; wrap 'one_of' instead")
    branches = [lambda key, sources, i=i, draw=choice.draw: draw(key, sources[i]) for i, choice in enumerate(choices)]

    def draw(key, source):
        sources, number = source
        return jax.lax.switch(number, branches, key, sources)

    return Sampler(draw, (tuple(choice.source for choice in choices), number))


class Swag(NamedTuple):
    """A Gaussian over weights from a trajectory of K points: mean, variance of every weight, deviations [K, ...]."""

    mean: Variables
    variance: Variables
    deviations: Ensemble


def fit_swag(trajectory: Ensemble) -> Swag:
    """Mean, variance and deviations from the mean of the points [K, ...] of a trajectory.

    All points at once, where the source updates running means; leaves that are no floating numbers are the last ones.

    Raises:
      ValueError: fewer than two points.

    Source: Maddox et al. 2019, arXiv:1902.02476, section 3.
    """
    count = jax.tree.leaves(trajectory)[0].shape[0]
    if count < 2:
        raise ValueError(f"trajectory of {count} points: expected at least 2; collect more")

    def moments(leaf):
        if not jnp.issubdtype(leaf.dtype, jnp.inexact):
            return leaf[-1], jnp.zeros_like(leaf[-1]), jnp.zeros_like(leaf)
        mean = jnp.mean(leaf, axis=0)
        return mean, jnp.mean(jnp.square(leaf - mean[None]), axis=0), leaf - mean[None]

    leaves, structure = jax.tree.flatten(trajectory)
    parts = zip(*(moments(leaf) for leaf in leaves), strict=True)
    return Swag(*(jax.tree.unflatten(structure, list(part)) for part in parts))


def swag(fit: Swag, scale: ArrayLike = 1.0) -> Sampler:
    """w = mean + scale (sqrt(variance / 2) e + D z / sqrt(2 (K - 1))), e and z standard normal, D the deviations.

    Half the covariance is diagonal, half that of the trajectory, so that `scale` 1 keeps the variance of every weight
    up to K / (K - 1). Leaves that are no weight (`is_weight`) move along D with the others, without noise of their own;
    running statistics stay at their mean, since a variance that moves along D may fall below 0: see `re_estimated`.

    Source: Maddox et al. 2019, arXiv:1902.02476, equation 1.
    """

    def draw(key, source):
        fit, scale = source
        key_own, key_along = jax.random.split(key)
        count = jax.tree.leaves(fit.deviations)[0].shape[0]
        along = jax.random.normal(key_along, (count,))

        def leaf(path, mean, variance, deviations, normal):
            if not jnp.issubdtype(mean.dtype, jnp.inexact) or _is_statistic(path):
                return mean
            low = jnp.tensordot(along.astype(mean.dtype), deviations, 1) / (2 * (count - 1)) ** 0.5
            own = jnp.sqrt(0.5 * variance) * normal if is_weight(path) else 0.0
            return mean + jnp.asarray(scale, mean.dtype) * (own + low)

        return jax.tree_util.tree_map_with_path(leaf, *fit, tree.normal_like(key_own, fit.mean))

    return Sampler(draw, (fit, scale))


def re_estimated(sampler: Sampler, statistics: Callable[[Variables, Images], Variables], x: Images) -> Sampler:
    """Draws whose norm layers take their statistics anew on images x, since noise on weights shifts them.

    Args:
      statistics: (variables, x) -> variables with the statistics of x; the `train_apply` of a classifier gives them.
    """

    def draw(key, source):
        own, x = source
        return statistics(sampler.draw(key, own), x)

    return _beside(sampler, x, draw)


def _beside(sampler: Sampler, more: Any, draw: Callable[[jax.Array, Any], Variables]) -> Sampler:
    """A sampler whose source is (that of another one, more); what changes along a search goes on doing so."""
    at = None if sampler.at is None else lambda step, source: (sampler.at(step, source[0]), source[1])
    return Sampler(draw, (sampler.source, more), at)


def keyed(sampler: Sampler) -> Sampler:
    """(classifier, key): a key beside every draw, for objectives that are random themselves."""

    def draw(key, source):
        own, beside = jax.random.split(key)
        return sampler.draw(own, source), beside

    return sampler._replace(draw=draw)


def is_weight(path: tuple) -> bool:
    """Whether the leaf at a tree path (of `jax.tree_util.tree_leaves_with_path`) carries weight noise.

    No for leaves in the collection `batch_stats`, for leaves called `scale`, and for every leaf below a module whose
    name contains "norm" in any case (BatchNorm_0, GroupNorm_0, norm_1), which is how Flax names its norm layers.
    """
    names = _names(path)
    in_norm = any("norm" in name.lower() for name in names)
    return not in_norm and not _is_statistic(path) and names[-1:] != ["scale"]


def _is_statistic(path: tuple) -> bool:
    return "batch_stats" in _names(path)


def _names(path: tuple) -> list[str]:
    return [str(getattr(entry, "key", getattr(entry, "name", ""))) for entry in path]


def perturb(key: jax.Array, variables: Variables, sigma: ArrayLike, *, kind: str) -> Variables:
    """One draw of weight noise: variables + sigma times the direction of that kind, see `directed`.

    The direction does not depend on sigma: with one key, a grid of sigmas walks out along one ray.

    Args:
      sigma: size of the noise, scalar: relative to the weights, but for "additive", where it is in their units.
      kind: one of WEIGHT_NOISES.
    """
    return along(variables, sigma, directed(draw(key, variables), variables, kind=kind))


def along(variables: Variables, sigma: ArrayLike, direction: Variables) -> Variables:
    """variables + sigma * direction; every leaf keeps its dtype, so integer ones stay as they are."""
    return jax.tree.map(lambda w, d: w + jnp.asarray(sigma).astype(w.dtype) * d, variables, direction)


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
    """A random direction in weight space, zero on leaves that are no weight; e ~ N(0, 1) for every entry.

    - multiplicative: w e.
    - layer_relative: uniform in the L2 ball of radius ||w_l|| for every tensor l (a layer's kernel and bias are two
      tensors). Stutz et al. 2021, arXiv:2104.04448. layer_sphere: uniform on the sphere around that ball.
    - filter_normalised: Gaussian, each filter (last axis of a kernel) rescaled to the norm of the weight's filter;
      vectors (biases) stay where they are. Li et al. 2018, arXiv:1712.09913.
    - additive: e. Gubri et al. 2022, arXiv:2207.13129.

    One draw gives the same e to all kinds, which are thereby compared on common random numbers.

    Raises:
      ValueError: unknown kind.
    """
    _check(kind)

    def leaf_direction(path, weight, normal, uniform):
        if not is_weight(path) or not jnp.issubdtype(jnp.result_type(weight), jnp.inexact):
            return jnp.zeros_like(weight)
        return _DIRECTIONS[kind](weight, normal, uniform.astype(weight.dtype))

    return jax.tree_util.tree_map_with_path(leaf_direction, variables, *drawn)


def _filter_normalised(weight: Float[Array, "..."], normal: Float[Array, "..."]) -> Float[Array, "..."]:
    if weight.ndim < 2:
        return jnp.zeros_like(weight)
    within = tuple(range(weight.ndim - 1))
    return _norm(weight, axis=within) * _unit(normal, axis=within)


# kind -> (weight, its normal draw e, its uniform draw u) -> direction
_DIRECTIONS = {
    "multiplicative": lambda w, e, u: w * e,
    # A radius of U^(1/D) makes the point uniform in the ball rather than on its surface.
    "layer_relative": lambda w, e, u: u ** (1.0 / max(w.size, 1)) * _norm(w, axis=None) * _unit(e, axis=None),
    "layer_sphere": lambda w, e, u: _norm(w, axis=None) * _unit(e, axis=None),
    "filter_normalised": lambda w, e, u: _filter_normalised(w, e),
    "additive": lambda w, e, u: e,
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
