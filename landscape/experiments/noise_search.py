"""The searches of the experiment `noise`: every arm from the same images, with the same keys and number of gradients.

An arm is one setting of `noise_arms`. Its step size is the one of `config.noise.step_sizes` (shares of the radius)
with which, on validation images, the unperturbed source's *goal* at the end is highest: the margin of the class aimed
at, or minus that of the class left, mean over sources and images. What comes out is compared at two places:

- "norm": the displacement of each arm, z - z0, shortened to the length of the shortest arm's (same source and image);
- "margin": on the straight way from z0 to z, the first place where the source's goal is `config.noise.equal_margin`.
  Arms whose goal never gets there have not reached it, and are told by the share that has.

Both stay in the ball, which is convex; on the manifold both are taken in the latent, then decoded.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from landscape import objectives, runs
from landscape.ensembles import map_members
from landscape.experiments import noise_arms
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
      goal: the source's goal at the ends, [A, N], logits. moved: L2 distance of the ends from the start, pixels.
      reached: whether the equal margin was.
    """

    images: Float[Array, "A 2 N H W C"]
    start: Float[Array, "N H W C"]
    goal: Float[Array, "A N"]
    moved: Float[Array, "A N"]
    reached: Bool[Array, "A N"]


def equal_length(z: Float[Array, "A N ..."], z0: Float[Array, "N ..."]) -> Float[Array, "A N ..."]:
    """Every arm's displacement from z0, shortened to the length of the shortest arm's, for each example."""
    delta = z - z0[None]
    length = jax.vmap(l2_norm)(delta)
    share = jnp.min(length, axis=0)[None] / jnp.where(length > 0, length, 1.0)
    return z0[None] + delta * jax.vmap(per_example)(share, delta)


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
    """program(x, label, step_sizes [A]) -> what all sources' arms find, each field with a leading axis S.

    One compiled program a search: validation and test images come in chunks of one size.
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

    def member(own, trajectory, frozen, key, autoencoder, radius, guides, bank, arms, step_sizes, x, label):
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
        level, reached = jax.lax.map(lambda z: at_value(value, z0, z, config.noise.equal_margin), z)
        start = space.decode(z0)
        images = jax.lax.map(jax.vmap(space.decode), jnp.stack([equal_length(z, z0), level], axis=1))
        moved = jax.lax.map(lambda z: l2_norm(space.decode(z) - start), z)
        return Found(images, start, jax.lax.map(value, z), moved, reached)

    keys = source_keys(config, f"noise.{search.name}", noisy.seeds)
    per_source = (*noisy.per_source, keys, noisy.cell.ensemble, jnp.asarray(search.radius))
    numbers = jax.tree.map(jnp.asarray, arms)
    program = jax.jit(lambda shared, *a: map_members(member, *a, shared=shared, how=noisy.how))

    def found(x, label, step_sizes):
        shared = (noisy.guides, noisy.bank, numbers, jnp.asarray(step_sizes, jnp.float32), x, label)
        return program(shared, *per_source)

    return found


def tuned(
    config, run: runs.Run, noisy: NoiseSetting, search: Search, count: int, program: Callable[..., Found]
) -> Arrays:
    """Step sizes of the `count` arms, chosen on validation images by the criterion at the head of this module.

    tuning [step_size, arm, member]: mean goal at the end, logits. chosen [arm]: share of the radius. noise_length: mean
    L2 distance that the search without noise went, pixels: what the noise of flatness is a share of.
    """
    shares = [float(share) for share in config.noise.step_sizes]
    chosen: Examples = noisy.validation

    def work() -> Arrays:
        label = search.label(chosen, noisy.num_classes, config.seed)
        x = jnp.asarray(chosen.x)
        tried = [program(x, jnp.asarray(label), np.full(count, share)) for share in shares]
        goal = np.stack([np.asarray(found.goal).mean(axis=-1).T for found in tried])
        best = goal.mean(axis=-1).argmax(axis=0)
        return {
            "tuning": (("step_size", "arm", "member"), goal),
            "chosen": (("arm",), np.asarray(shares)[best]),
            "noise_length": ((), np.float32(np.asarray(tried[best[0]].moved)[:, 0].mean())),
        }

    return runs.once(run, f"tune.{search.name}", work)
