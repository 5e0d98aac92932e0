"""The searches of the experiment `noise`: every arm from the same images, with the same keys and number of gradients.

An arm is one setting of `noise_arms`. Its step size is the one of `config.noise.step_sizes` (shares of the radius)
with which, on validation images, the unperturbed source's *goal* at the end is highest: the margin of the class aimed
at, or minus that of the class left, mean over sources and images. What comes out is compared at two places:

- "norm": the displacement of each arm, z - z0, shortened to one length that all arms and images of a source have in
  common, and that is as many of its radii for every source: `config.noise.equal_norm` of the mean way that the search
  without noise goes on validation images, in the space's own L2 norm. An arm whose way is shorter has not reached it;
- "margin": on the straight way from z0 to z, the first place where the source's goal is `config.noise.equal_margin`.
  An arm whose goal never gets there has not reached it.

Arms are compared over the images for which both have reached the place, and are told by the share that they reach.
Both stay in the ball, which is convex; on the manifold both are taken in the latent, then decoded.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float

from landscape import objectives, runs
from landscape.attacks import projected
from landscape.attacks.projected import Budget
from landscape.ensembles import map_members
from landscape.experiments import noise_arms
from landscape.experiments.audits import audit_stage
from landscape.experiments.noise_arms import Arm
from landscape.experiments.noise_setting import NoiseSetting, Search, source_keys, space_of
from landscape.experiments.setting import Examples
from landscape.search import search as climb
from landscape.search import steepest
from landscape.spaces import l2_norm, per_example
from landscape.types import Arrays, Values, Variables

MATCHINGS = ("norm", "margin")
POINTS, HALVINGS = 16, 8  # of the way to equal margin: where it is looked at first, then halved


class Found(NamedTuple):
    """What all arms of one source found.

    Attributes:
      images: at equal norm and at equal margin, [A, 2, N, H, W, C]. start: where all began, [N, H, W, C].
      goal: the source's goal at the ends, [A, N], logits.
      way: L2 distance of the ends from the start in the space, [A, N]: pixels, or units of the latent.
      reached: whether the two places were, [A, 2, N].
    """

    images: Float[Array, "A 2 N H W C"]
    start: Float[Array, "N H W C"]
    goal: Float[Array, "A N"]
    way: Float[Array, "A N"]
    reached: Bool[Array, "A 2 N"]


def at_length(
    z0: Float[Array, "N ..."], z: Float[Array, "N ..."], length: ArrayLike
) -> tuple[Float[Array, "N ..."], Bool[Array, " N"]]:
    """(the place on the way from z0 to z that is `length` away, whether the way is that long); z where it is not."""
    way = l2_norm(z - z0)
    share = jnp.minimum(1.0, length / jnp.where(way > 0, way, 1.0))
    return z0 + per_example(share, z) * (z - z0), way >= length


def lengths_of(way: Float[np.ndarray, "S N"], radius: Float[np.ndarray, " S"], share: float) -> Float[np.ndarray, " S"]:
    """The length of equal norm of each source: `share` of the mean way, both told in radii of the source's ball.

    Autoencoders of unlike seeds may have latents of unlike size: one length in units of the latent would be most of the
    way in one of them and beyond every end in another.
    """
    return share * float(np.mean(way / radius[:, None])) * radius


def at_value(
    value_fn: Callable[[Array], Values], z0: Float[Array, "N ..."], z: Float[Array, "N ..."], wanted: float
) -> tuple[Float[Array, "N ..."], Bool[Array, " N"]]:
    """(the first place on the way from z0 to z where value_fn reaches `wanted`, whether it does); z where it does not.

    The way is looked at in POINTS even places, the stretch before the first that has reached it halved HALVINGS times:
    the place is exact to 1 / (POINTS 2^HALVINGS) of the way, and on its far side.
    """

    def place(t):
        return z0 + per_example(t, z) * (z - z0)

    steps = (jnp.arange(POINTS, dtype=z.dtype) + 1) / POINTS
    there = jax.lax.map(lambda t: value_fn(place(t)) >= wanted, steps)
    reached, first = jnp.any(there, axis=0), jnp.argmax(there, axis=0)
    far = jnp.where(reached, steps[first], 1.0)

    def halve(_, ends):
        near, far = ends
        middle = 0.5 * (near + far)
        there = value_fn(place(middle)) >= wanted
        return jnp.where(there, near, middle), jnp.where(there, middle, far)

    _, halved = jax.lax.fori_loop(0, HALVINGS, halve, (far - 1 / POINTS, far))
    return place(jnp.where(reached, halved, 1.0)), reached


def searcher(config, noisy: NoiseSetting, search: Search, arms: Arm) -> Callable[..., Found]:
    """program(x, label, step_sizes [A], length [S]) -> what all sources' arms find, each field with a leading axis S.

    `length` is that of equal norm of each source, in the space. One compiled program a search: validation and test
    images come in chunks of one size.
    """
    apply, num_draws = noisy.classifier.apply, config.noise.num_draws
    num_steps = config.noise.num_evaluations // num_draws
    make = objectives.ascend if search.toward else objectives.descend
    objective = make(apply, objectives.gap)
    if num_draws > 1:
        objective = objectives.averaged(apply, partial(make, value_fn=objectives.gap), config.noise.average)

    def goal(variables: Variables, x: Array, label: Array) -> Values:
        margin = objectives.margin(apply(variables, x), label)
        return margin if search.toward else -margin

    def member(own, trajectory, frozen, key, autoencoder, radius, length, guides, bank, arms, step_sizes, x, label):
        bases = noise_arms.bases_of(own, trajectory, frozen, guides, bank)
        space = space_of(noisy, search, autoencoder)
        z0 = space.encode(x)

        def end(args: tuple[Arm, Any]):
            arm, step_size = args
            sampler = noise_arms.draws(config, noisy.classifier, bases, arm, num_steps, num_draws)
            return climb(
                key,
                z0,
                label,
                objective=objective,
                space=space,
                sampler=sampler,
                optimizer=steepest(search.norm, step_size * radius),
                epsilon=radius,
                num_steps=num_steps,
            ).z

        def value(z):
            return goal(own, space.decode(z), label)

        z = jax.lax.map(end, (arms, step_sizes))
        places = (
            jax.lax.map(lambda z: at_length(z0, z, length), z),
            jax.lax.map(lambda z: at_value(value, z0, z, config.noise.equal_margin), z),
        )
        at, reached = (jnp.stack(part, axis=1) for part in zip(*places, strict=True))
        images = jax.lax.map(jax.vmap(space.decode), at)
        way = jax.vmap(l2_norm)(z - z0[None])
        return Found(images, space.decode(z0), jax.lax.map(value, z), way, reached)

    keys = source_keys(config, f"noise.{search.name}", noisy.seeds)
    per_source = (*noisy.per_source, keys, noisy.cell.ensemble, jnp.asarray(search.radius))
    numbers = jax.tree.map(jnp.asarray, arms)
    program = jax.jit(lambda shared, *a: map_members(member, *a, shared=shared, how=noisy.how))

    def found(x, label, step_sizes, length):
        shared = (noisy.guides, noisy.bank, numbers, jnp.asarray(step_sizes, jnp.float32), x, label)
        return program(shared, *per_source, jnp.asarray(length, jnp.float32))

    return found


def tuned(
    config, run: runs.Run, noisy: NoiseSetting, search: Search, count: int, program: Callable[..., Found]
) -> Arrays:
    """Step sizes of the `count` arms and the length of equal norm, by validation images alone.

    tuning [step_size, arm, member]: mean goal at the end, logits. chosen [arm]: share of the radius.
    length [member]: at which arms are compared, in the space. length_pixels: mean L2 distance in pixels of the search
    without noise there. tuned_reached [matching, arm, member]: share of the images that reach each place.
    tuned_success [arm, member]: share whose end has the goal above 0, with which the source is fooled.
    """
    shares = [float(share) for share in config.noise.step_sizes]
    chosen: Examples = noisy.validation

    def work() -> Arrays:
        images = jnp.asarray(chosen.x), jnp.asarray(search.label(chosen, noisy.num_classes, config.seed))
        tried = [program(*images, np.full(count, share), np.zeros(len(noisy.seeds))) for share in shares]
        goal = np.stack([np.asarray(found.goal).mean(axis=-1).T for found in tried])
        best = goal.mean(axis=-1).argmax(axis=0)
        length = lengths_of(np.asarray(tried[best[0]].way[:, 0]), search.radius, config.noise.equal_norm)
        found = program(*images, np.asarray(shares)[best], length)
        there = np.asarray(found.reached)
        norm = MATCHINGS.index("norm")
        distance = np.asarray(jax.vmap(l2_norm)(found.images[:, 0, norm] - found.start))
        return {
            "tuning": (("step_size", "arm", "member"), goal),
            "chosen": (("arm",), np.asarray(shares)[best]),
            "length": (("member",), length.astype(np.float32)),
            "length_pixels": ((), np.float32(distance[there[:, 0, norm]].mean())),
            "tuned_reached": (("matching", "arm", "member"), np.moveaxis(there.mean(axis=-1), 0, -1).swapaxes(0, 1)),
            "tuned_success": (("arm", "member"), np.asarray(found.goal > 0).mean(axis=-1).T),
        }

    return runs.once(run, f"tune.{search.name}", work)


def audited(config, run: runs.Run, noisy: NoiseSetting, share: float) -> tuple[Arrays, list[dict]]:
    """The audit of the search in pixels without noise, steps of `share` of the radius, on validation images."""
    epsilon = config.pixels.epsilon
    return audit_stage(
        run,
        "audit",
        noisy.sources,
        noisy.validation,
        apply=noisy.classifier.apply,
        budget=Budget(config.pixels.norm, epsilon, share * epsilon, config.noise.num_evaluations),
        mapping=config.mapping,
        seed=config.seed,
        attack=projected.bim,
    )
