"""The searches of `noise`: every population from the same images, with the same keys and number of gradients.

What comes out is compared at two places:

- "norm": each displacement z - z0 is shortened to one length that all populations and images of a source have in
  common, and that is as many of its radii for every source: `config.noise.equal_norm` of the mean distance that the
  search without noise covers on validation images, in the space's own L2 norm. A shorter one has not reached it;
- "margin": on the straight line from z0 to z, the first point where the source's margin toward the goal is
  `config.noise.equal_margin`. The *goal* is the class aimed at, or any but the class left. A search whose margin never
  gets there has not reached it.

Both points stay in the ball, which is convex; on the manifold both are taken in the latent, then decoded.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float

from landscape import objectives
from landscape import search as inputs
from landscape.ensembles import map_members
from landscape.experiments.noise import draws
from landscape.experiments.noise.draws import Kind
from landscape.experiments.noise.sources import Search, Sources, source_keys, space_of
from landscape.spaces import l2_norm, per_example
from landscape.types import Values, Variables

POINTS, HALVINGS = 16, 8  # of the line to equal margin: where it is looked at first, then halved


class Found(NamedTuple):
    """What the searches of one source found, P populations.

    Attributes:
      images: at equal norm and at equal margin, [P, 2, N, H, W, C]. start: where all began, [N, H, W, C].
      goal: the source's margin toward the goal at the ends, [P, N], logits.
      distance: L2 distance of the ends from the start in the space, [P, N]: pixels, or units of the latent.
      reached: whether the two places were, [P, 2, N].
    """

    images: Float[Array, "P 2 N H W C"]
    start: Float[Array, "N H W C"]
    goal: Float[Array, "P N"]
    distance: Float[Array, "P N"]
    reached: Bool[Array, "P 2 N"]


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

    The line is looked at in POINTS even places, the stretch before the first that has reached it halved HALVINGS times:
    the point is exact to 1 / (POINTS 2^HALVINGS) of the line, and on its far side.
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


def searcher(config, sources: Sources, search: Search, kinds: Kind) -> Callable[..., Found]:
    """program(x, label, step_sizes [P], length [S]) -> what all sources' searches find, an axis S first.

    `length` is that of equal norm of each source, in the space. One compiled program a search: validation and test
    images come in chunks of one size.
    """
    apply = sources.classifier.apply
    objective = (objectives.ascend if search.toward else objectives.descend)(apply, objectives.gap)

    def goal(variables: Variables, x: Array, label: Array) -> Values:
        margin = objectives.margin(apply(variables, x), label)
        return margin if search.toward else -margin

    def member(own, trajectory, frozen, key, autoencoder, radius, length, guides, images, kinds, step_sizes, x, label):
        bases = draws.bases_of(own, trajectory, frozen, guides, images)
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
                sampler=draws.sampler_of(config, sources.classifier, bases, kind),
                optimizer=inputs.steepest(search.norm, step_size * radius),
                epsilon=radius,
                num_steps=config.noise.num_evaluations,
            ).z

        def value(z):
            return goal(own, space.decode(z), label)

        z = jax.lax.map(end, (kinds, step_sizes))
        places = (
            jax.lax.map(lambda z: at_length(z0, z, length), z),
            jax.lax.map(lambda z: at_value(value, z0, z, config.noise.equal_margin), z),
        )
        at, reached = (jnp.stack(part, axis=1) for part in zip(*places, strict=True))
        found = jax.lax.map(jax.vmap(space.decode), at)
        distance = jax.vmap(l2_norm)(z - z0[None])
        return Found(found, space.decode(z0), jax.lax.map(value, z), distance, reached)

    keys = source_keys(config, f"noise.{search.name}", sources.seeds)
    each = (*sources.each, keys, sources.autoencoders.ensemble, jnp.asarray(search.radius))
    numbers = jax.tree.map(jnp.asarray, kinds)
    program = jax.jit(lambda shared, *a: map_members(member, *a, shared=shared, how=sources.how))

    def found(x, label, step_sizes, length):
        shared = (sources.guides, sources.training, numbers, jnp.asarray(step_sizes, jnp.float32), x, label)
        return program(shared, *each, jnp.asarray(length, jnp.float32))

    return found
