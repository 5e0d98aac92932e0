"""Arms of the experiment `noise`: which classifier a search sees at every gradient.

All arms are one sampler with other numbers, so that they share every compiled program: a base classifier (the source
itself, a random member, a random point of its trajectory, a SWAG draw), then weight noise of a radius that may change
along the search, from a key that is fresh at every gradient or frozen.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, Bool, Float, Int

from landscape import runs, samplers
from landscape.ensembles import map_members
from landscape.experiments.noise_setting import NoiseSetting, source_keys
from landscape.models.classifiers import Classifier
from landscape.models.repair import statistics_of
from landscape.samplers import Sampler
from landscape.types import Arrays, Ensemble, Images, Variables

NONE = "none"
# Arms without a dose: which classifiers noise is put on, and whether any is, of the middle radius.
SPECIAL = {
    "member": ("members", False),
    "trajectory": ("trajectory", False),
    "swag": ("swag", False),
    "member_ball": ("members", True),
    "trajectory_ball": ("trajectory", True),
}


class Arm(NamedTuple):
    """How an arm's classifiers are drawn: numbers alone; arrays [A] of several arms.

    low, count: rows of `Bases.points` that the base classifier is drawn from. swag: whether it is a SWAG draw.
    first, last: radius of the noise at the first and the last step, linear in between. frozen: one draw for the whole
    search.
    """

    low: Int[ArrayLike, "..."]
    count: Int[ArrayLike, "..."]
    swag: Bool[ArrayLike, "..."]
    first: Float[ArrayLike, "..."]
    last: Float[ArrayLike, "..."]
    frozen: Bool[ArrayLike, "..."]


def arms_of(config) -> tuple[list[dict], Arm]:
    """All arms in order: one dict each, "arm", "kind" and "radius" (NaN without a dose), and their numbers [A]."""
    radii = [float(r) for r in config.noise.radii]
    middle = radii[len(radii) // 2]
    guides = config.num_members - config.noise.num_sources
    rows = {"source": (0, 1), "members": (0, 1 + guides), "trajectory": (1 + guides, config.trajectory.num_models)}

    def numbers(base: str, first: float, last: float, frozen: bool = False) -> Arm:
        return Arm(*rows.get(base, (0, 1)), base == "swag", first, last, frozen)

    told = [(NONE, NONE, 0.0, numbers("source", 0.0, 0.0))]
    for kind in ("fresh", "frozen"):
        told += [(f"{kind}.{r:g}", kind, r, numbers("source", r, r, kind == "frozen")) for r in radii]
    for name in config.noise.arms:
        if name == "annealed":
            arm = numbers("source", radii[-1], 0.0)
        else:
            base, noisy = SPECIAL[name]
            arm = numbers(base, middle * noisy, middle * noisy)
        told.append((name, name, float("nan"), arm))
    columns = zip(*(arm for *_, arm in told), strict=True)
    types = (np.int32, np.int32, np.int32, np.float32, np.float32, bool)
    stacked = Arm(*(np.asarray(column, dtype) for column, dtype in zip(columns, types, strict=True)))
    return [{"arm": arm, "kind": kind, "radius": radius} for arm, kind, radius, _ in told], stacked


class Bases(NamedTuple):
    """What one source's arms draw from.

    points: the source, the guides, the points of its trajectory, [1 + G + K, ...].
    swag: the Gaussian fitted to the trajectory. bank: images for the statistics of norm layers. frozen: key of the
    frozen draw.
    """

    points: Ensemble
    swag: samplers.Swag
    bank: Images
    frozen: jax.Array


def bases_of(own: Variables, trajectory: Ensemble, frozen: jax.Array, guides: Ensemble, bank: Images) -> Bases:
    """The bases of one source, from what belongs to it and what all share."""
    points = jax.tree.map(lambda one, *rest: jnp.concatenate([one[None], *rest]), own, guides, trajectory)
    return Bases(points, samplers.fit_swag(trajectory), bank, frozen)


def sampler_of(config, classifier: Classifier, bases: Bases, arm: Arm, num_steps: int) -> Sampler:
    """The arm's classifier at each of `num_steps` steps of a search."""
    base = samplers.one_of([samplers.member(bases.points, arm.low, arm.count), samplers.swag(bases.swag)], arm.swag)

    def radius(step):
        return arm.first + (arm.last - arm.first) * step / max(num_steps - 1, 1)

    noisy = samplers.annealed(base, radius, kind=config.noise.kind)
    if config.noise.re_estimate:
        noisy = samplers.re_estimated(noisy, statistics_of(classifier), bases.bank)
    return samplers.frozen(noisy, bases.frozen, arm.frozen)


def accuracy_kept(config, run: runs.Run, noisy: NoiseSetting, arms: Arm) -> Arrays:
    """Accuracy of the classifiers that each arm draws, on validation images: what a radius is told as.

    kept [arm, member, example]: share of draws, of evenly spaced steps of a search, that classify the image rightly.
    A frozen arm's is that of its one draw.
    """
    apply, num_steps = noisy.classifier.apply, config.noise.num_evaluations // config.noise.num_draws
    x, label = noisy.validation.x, noisy.validation.label
    steps = np.unique(np.linspace(0, num_steps - 1, config.noise.num_accuracy).astype(np.int32))

    def member(own, trajectory, frozen, key, guides, bank, arms, x, label):
        bases = bases_of(own, trajectory, frozen, guides, bank)

        def one(arm):
            sampler = sampler_of(config, noisy.classifier, bases, arm, num_steps)

            def right(step):
                drawn = samplers.drawn_at(sampler, key, step)
                return (jnp.argmax(apply(drawn, x), axis=-1) == label).astype(jnp.float32)

            return jnp.mean(jax.lax.map(right, jnp.asarray(steps)), axis=0)

        return jax.lax.map(one, arms)

    def work() -> Arrays:
        keys = source_keys(config, "noise.kept", noisy.seeds)
        shared = (noisy.guides, noisy.bank, jax.tree.map(jnp.asarray, arms), jnp.asarray(x), jnp.asarray(label))
        program = jax.jit(lambda shared, *a: map_members(member, *a, shared=shared, how=noisy.how))
        kept = program(shared, *noisy.per_source, keys)
        return {"kept": (("arm", "member", "example"), np.moveaxis(np.asarray(kept), 0, 1))}

    return runs.once(run, "kept", work)


def draws(config, classifier: Classifier, bases: Bases, arm: Arm, num_steps: int, num_draws: int) -> Sampler:
    """The arm's sampler; of several draws a step, M of them stacked [M, ...]."""
    sampler = sampler_of(config, classifier, bases, arm, num_steps)
    return sampler if num_draws == 1 else samplers.several(sampler, num_draws)
