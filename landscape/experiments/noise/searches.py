"""The searches of `noise`: every population from the same images, with the same keys and number of gradients.

The first members are the *sources*: each is searched against, with itself as the centre of the noise, and its results
are tried on the other sources. The members behind them are the *guides*: searches that see a random member see these
and the source, so that no target ever guides a search.

Which classifier a search sees at every gradient is one sampler with other numbers for each population, so that all
share every compiled program: a base classifier (the source itself, a random member, a random point of its trajectory, a
SWAG draw), then weight noise of a radius, from a key that is fresh at every gradient or frozen.

Results are compared at two points:

- "norm": each displacement z - z0 is shortened to one length that all populations and images of a source have in
  common, and that is as many of its radii for every source: `config.noise.equal_norm` of the mean distance that the
  search without noise covers on validation images, in the space's own L2 norm. A shorter one has not reached it;
- "confidence": on the straight line from z0 to z, the first point where the source's log-odds of the goal are
  `config.noise.equal_log_odds`. The *goal* is the class aimed at, or of all but the class left the likeliest one
  at z. A search whose log-odds never get there has not reached it.

Both points stay in the ball, which is convex; on the manifold both are taken in the latent, then decoded.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from landscape import ensembles, objectives, runs, samplers, spaces
from landscape import search as inputs
from landscape.ensembles import Mapping, map_members
from landscape.experiments import descriptions, setting
from landscape.experiments.descriptions import Description
from landscape.experiments.noise.config import Population
from landscape.experiments.setting import Examples, Setting, stage_key, targets_of
from landscape.models.classifiers import Classifier
from landscape.models.repair import statistics_of
from landscape.samplers import Sampler
from landscape.spaces import Space, l2_norm, per_example
from landscape.training import classifier_members, trajectory
from landscape.types import Ensemble, Images, Labels, Logits, Values, Variables

POINTS, HALVINGS = 16, 8  # of the line to equal confidence: where it is looked at first, then halved


# ---- what searches are made of ----


class Sources(NamedTuple):
    """All that searches are made of.

    Attributes:
      classifier: of all members. seeds: of the sources, [S].
      ensemble: the sources, [S, ...]. guides: [G, ...]. trajectories: points of each source's own, [S, K, ...].
      frozen: key of each source's frozen draw, [S].
      autoencoders: of images, one a source. latent_norm: root mean squared norm of their centred latents, [S].
      training: training images, for the statistics of norm layers.
      validation, test: the images searched from. num_classes: K.
      how: mapping of the sources. suffix: of the names of their stages, "" for those of the first training.
    """

    classifier: Classifier
    seeds: np.ndarray
    ensemble: Ensemble
    guides: Ensemble
    trajectories: Ensemble
    frozen: jax.Array
    autoencoders: Description
    latent_norm: np.ndarray
    training: Images
    validation: Examples
    test: Examples
    num_classes: int
    how: Mapping
    suffix: str

    @property
    def each(self) -> tuple:
        """What `bases_of` takes of each source, along the axis S."""
        return self.ensemble, self.trajectories, self.frozen


def prepare(config, run: runs.Run, prepared: Setting, suffix: str = "") -> Sources:
    """Restores or trains the trajectories and the autoencoders, and draws the images."""
    count = config.noise.num_sources
    how = ensembles.parse(config.mapping, count)
    sources, guides = (ensembles.take(prepared.ensemble, part) for part in (slice(count), slice(count, None)))
    members = classifier_members.members_of(config)[:count]
    walked = trajectory.ensemble(run, config, prepared.dataset, prepared.classifier, members, sources)
    # An autoencoder of images for each source, and for no other member.
    few, family = setting.with_members(config, count), config.manifold.family
    layer = descriptions.image_layer(few, prepared._replace(ensemble=sources, members=prepared.members[:count]))
    size = descriptions.size_of(config, family, config.autoencoder.dim)
    autoencoders = descriptions.train(few, run, prepared, layer, family, size)
    images = jnp.asarray(setting.examples(prepared.dataset, "train", config.noise.num_training, config.seed).x)

    def latent_norm(variables, x):
        z = autoencoders.autoencoder.encode(variables, x)
        return jnp.sqrt(jnp.mean(jnp.square(l2_norm(z - jnp.mean(z, axis=0, keepdims=True)))))

    norms = jax.jit(lambda e, x: map_members(latent_norm, e, shared=(x,), how=how))(autoencoders.ensemble, images)
    seeds = np.asarray([member.seed for member in members])
    return Sources(
        classifier=prepared.classifier,
        seeds=seeds,
        ensemble=sources,
        guides=guides,
        trajectories=walked,
        frozen=source_keys(config, "noise.frozen", seeds),
        autoencoders=autoencoders,
        latent_norm=np.asarray(norms),
        training=images,
        validation=setting.shuffled(prepared.dataset, "validation", config.noise.num_validation, config.seed),
        test=setting.shuffled(prepared.dataset, "test", config.noise.num_examples, config.seed),
        num_classes=len(prepared.dataset.class_names),
        how=how,
        suffix=suffix,
    )


def source_keys(config, name: str, seeds: np.ndarray) -> jax.Array:
    """Keys [S] of a named draw, one a source."""
    return jax.vmap(jax.random.fold_in, (None, 0))(stage_key(config.seed, name), jnp.asarray(seeds, jnp.uint32))


# ---- which classifier each gradient sees ----


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
    low, count = np.array([rows.get(one.kind, (0, 1)) for one in populations], np.int32).T
    swag, frozen = (np.array([one.kind == name for one in populations]) for name in ("swag", "frozen"))
    radius = np.nan_to_num(np.array([one.radius for one in populations], np.float32))
    return Kind(low, count, swag.astype(np.int32), radius, frozen)


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


# ---- the three kinds of search ----


class Search(NamedTuple):
    """One kind of search.

    Attributes:
      name: "pixels" and "manifold" lead away from the true class, "ascent" toward another one.
      norm: of the ball. toward: whether `label` is the class aimed at rather than the one left.
      radius: of the ball of each source, [S]: pixels, or units of the latent.
    """

    name: str
    norm: str
    toward: bool
    radius: np.ndarray

    def label(self, chosen: Examples, num_classes: int, seed: int) -> np.ndarray:
        """The class aimed at, or left, for each image."""
        return targets_of(chosen.label, num_classes, seed) if self.toward else chosen.label


def search_of(config, sources: Sources, name: str) -> Search:
    """A search by its name."""
    unit = sources.latent_norm if name == "manifold" else np.ones(len(sources.seeds), np.float32)
    norm = config.pixels.norm if name == "pixels" else "l2"
    return Search(name, norm, name == "ascent", np.float32(config[name].epsilon) * unit)


def space_of(sources: Sources, search: Search, autoencoder: Any) -> Space:
    """Where a search moves; `autoencoder`: the variables of the source's own."""
    if search.name != "manifold":
        return spaces.pixels(search.norm)
    functions = sources.autoencoders.autoencoder
    return spaces.latent(partial(functions.encode, autoencoder), partial(descriptions.decoder(functions), autoencoder))


# ---- where results are compared ----


def at_length(
    z0: Float[Array, "N ..."], z: Float[Array, "N ..."], length: ArrayLike
) -> tuple[Float[Array, "N ..."], Bool[Array, " N"]]:
    """(the point between z0 and z that is `length` from z0, whether z is that far); z where it is not."""
    way = l2_norm(z - z0)
    share = jnp.minimum(1.0, length / jnp.where(way > 0, way, 1.0))
    return z0 + per_example(share, z) * (z - z0), way >= length


def lengths_of(
    distance: Float[np.ndarray, "S N"], radius: Float[np.ndarray, " S"], share: float
) -> Float[np.ndarray, " S"]:
    """The length of equal norm of each source: `share` of the mean distance, both in radii of the source's ball.

    Autoencoders of unlike seeds may have latents of unlike size: one length in units of the latent would be most of the
    distance in one of them and beyond every end in another.
    """
    return share * float(np.mean(distance / radius[:, None])) * radius


def at_value(
    value_fn: Callable[[Array], Values], z0: Float[Array, "N ..."], z: Float[Array, "N ..."], wanted: float
) -> tuple[Float[Array, "N ..."], Bool[Array, " N"]]:
    """(the first point from z0 to z where value_fn reaches `wanted`, whether it does); z where it does not.

    The line is looked at in POINTS even steps, the stretch before the first that has reached it halved HALVINGS times:
    the point is exact to 1 / (POINTS 2^HALVINGS) of the line, and on its far side.
    """

    def point(t):
        return z0 + per_example(t, z) * (z - z0)

    steps = (jnp.arange(POINTS, dtype=z.dtype) + 1) / POINTS
    there = jax.lax.map(lambda t: value_fn(point(t)) >= wanted, steps)
    reached, first = jnp.any(there, axis=0), jnp.argmax(there, axis=0)
    far = jnp.where(reached, steps[first], 1.0)

    def halve(_, ends):
        near, far = ends
        middle = 0.5 * (near + far)
        there = value_fn(point(middle)) >= wanted
        return jnp.where(there, near, middle), jnp.where(there, middle, far)

    _, halved = jax.lax.fori_loop(0, HALVINGS, halve, (far - 1 / POINTS, far))
    return point(jnp.where(reached, halved, 1.0)), reached


def likeliest_other(logits: Logits, label: Labels) -> Labels:
    """Of all classes but the label the one with the largest logit. [N]."""
    others = jnp.where(jnp.arange(logits.shape[-1])[None] == label[:, None], -jnp.inf, logits)
    return jnp.argmax(others, axis=-1).astype(label.dtype)


# ---- the searches themselves ----


class Found(NamedTuple):
    """What the searches of one source found, P populations.

    Attributes:
      images: at equal norm and at equal confidence, [P, 2, N, H, W, C]. start: where all began, [N, H, W, C].
      goal: the source's log-odds of the goal at the ends, [P, N], nats.
      distance: L2 distance of the ends from the start in the space, [P, N]: pixels, or units of the latent.
      reached: whether the two points were, [P, 2, N].
    """

    images: Float[Array, "P 2 N H W C"]
    start: Float[Array, "N H W C"]
    goal: Float[Array, "P N"]
    distance: Float[Array, "P N"]
    reached: Bool[Array, "P 2 N"]


def searcher(config, sources: Sources, search: Search, kinds: Kind) -> Callable[..., Found]:
    """program(x, label, step_sizes [P], length [S]) -> what all sources' searches find, an axis S first.

    `length` is that of equal norm of each source, in the space. One compiled program a search: validation and test
    images come in chunks of one size.
    """
    apply = sources.classifier.apply
    objective = (objectives.ascend if search.toward else objectives.descend)(apply, objectives.log_odds)

    def member(own, trajectory, frozen, key, autoencoder, radius, length, guides, images, kinds, step_sizes, x, label):
        bases = bases_of(own, trajectory, frozen, guides, images)
        space = space_of(sources, search, autoencoder)
        z0 = space.encode(x)

        def end(args: tuple[Kind, Any]):
            kind, step_size = args
            return inputs.search(
                key,
                z0,
                label,
                objective=objective,
                space=space,
                sampler=sampler_of(config, sources.classifier, bases, kind),
                optimizer=inputs.steepest(search.norm, step_size * radius),
                epsilon=radius,
                num_steps=config.noise.num_evaluations,
            ).z

        def goal(end):
            """The log-odds of the goal of a search that ended there, at any point."""
            aim = label if search.toward else likeliest_other(apply(own, space.decode(end)), label)
            return lambda z: objectives.log_odds(apply(own, space.decode(z)), aim)

        z = jax.lax.map(end, (kinds, step_sizes))
        points = (
            jax.lax.map(lambda z: at_length(z0, z, length), z),
            jax.lax.map(lambda z: at_value(goal(z), z0, z, config.noise.equal_log_odds), z),
        )
        at, reached = (jnp.stack(part, axis=1) for part in zip(*points, strict=True))
        found = jax.lax.map(jax.vmap(space.decode), at)
        distance = jax.vmap(l2_norm)(z - z0[None])
        return Found(found, space.decode(z0), jax.lax.map(lambda z: goal(z)(z), z), distance, reached)

    keys = source_keys(config, f"noise.{search.name}", sources.seeds)
    each = (*sources.each, keys, sources.autoencoders.ensemble, jnp.asarray(search.radius))
    numbers = jax.tree.map(jnp.asarray, kinds)
    program = jax.jit(lambda shared, *a: map_members(member, *a, shared=shared, how=sources.how))

    def found(x, label, step_sizes, length):
        shared = (sources.guides, sources.training, numbers, jnp.asarray(step_sizes, jnp.float32), x, label)
        return program(shared, *each, jnp.asarray(length, jnp.float32))

    return found
