"""Which classifier a search of `noise` sees at every gradient.

All kinds are one sampler with other numbers, so that they share every compiled program: a base classifier (the source
itself, a random member, a random point of its trajectory, a SWAG draw), then weight noise of a radius, from a key that
is fresh at every gradient or frozen.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, Bool, Float, Int

from landscape import samplers
from landscape.experiments.noise.config import Population
from landscape.models.classifiers import Classifier
from landscape.models.repair import statistics_of
from landscape.samplers import Sampler
from landscape.types import Ensemble, Images, Variables


class Kind(NamedTuple):
    """How a population's classifiers are drawn: numbers alone; arrays [P] of several populations.

    low, count: rows of `Bases.points` that the base classifier is drawn from. swag: 1 where it is a SWAG draw.
    radius: of the noise on its weights. frozen: one draw for the whole search.
    """

    low: Int[ArrayLike, "..."]
    count: Int[ArrayLike, "..."]
    swag: Int[ArrayLike, "..."]
    radius: Float[ArrayLike, "..."]
    frozen: Bool[ArrayLike, "..."]


def kinds_of(config, populations: Sequence[Population]) -> Kind:
    """The numbers [P] of the populations."""
    guides = config.num_members - config.noise.num_sources
    rows = {"random_member": (0, 1 + guides), "trajectory": (1 + guides, config.trajectory.num_models)}
    radius = [0.0 if np.isnan(one.radius) else one.radius for one in populations]
    low, count = zip(*(rows.get(one.kind, (0, 1)) for one in populations), strict=True)
    swag, frozen = ([one.kind == name for one in populations] for name in ("swag", "frozen"))
    types = (np.int32, np.int32, np.int32, np.float32, bool)
    columns = zip((low, count, swag, radius, frozen), types, strict=True)
    return Kind(*(np.asarray(column, dtype) for column, dtype in columns))


class Bases(NamedTuple):
    """What one source's classifiers are drawn from.

    points: the source, the guides, the points of its trajectory, [1 + G + K, ...].
    swag: the Gaussian fitted to the trajectory. images: for the statistics of norm layers. frozen: key of the frozen
    draw.
    """

    points: Ensemble
    swag: samplers.Swag
    images: Images
    frozen: jax.Array


def bases_of(own: Variables, trajectory: Ensemble, frozen: jax.Array, guides: Ensemble, images: Images) -> Bases:
    """The bases of one source, from what belongs to it and what all share."""
    points = jax.tree.map(lambda one, *rest: jnp.concatenate([one[None], *rest]), own, guides, trajectory)
    return Bases(points, samplers.fit_swag(trajectory), images, frozen)


def sampler_of(config, classifier: Classifier, bases: Bases, kind: Kind) -> Sampler:
    """The classifiers of one kind, one a gradient."""
    base = samplers.one_of([samplers.member(bases.points, kind.low, kind.count), samplers.swag(bases.swag)], kind.swag)
    noisy = samplers.noisy(base, kind.radius, kind=config.noise.kind)
    if config.noise.re_estimate:
        noisy = samplers.re_estimated(noisy, statistics_of(classifier), bases.images)
    return samplers.frozen(noisy, bases.frozen, kind.frozen)
