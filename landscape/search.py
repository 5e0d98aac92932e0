"""The one optimiser of inputs: objective x space x sampler x optax rule.

Class-probability ascent, PGD, first-flip and steered searches, on-manifold and noisy searches all are `search`
with other parts.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, ArrayLike, Float

from landscape.ensembles import map_examples
from landscape.objectives import Objective
from landscape.samplers import Sampler, drawn_at
from landscape.spaces import Space, l2_norm, linf_norm, per_example

SMALL = 1e-15  # a gradient of this length has squares near the end of float32


class SearchResult(NamedTuple):
    """What a search found.

    z: last iterate; with a `rank`, of all iterates the one ranked highest.
    frames: F recorded iterates, the last one is the last.
    value: objective before each step t = 0 .. T-1.
    grad_norm: L2 norm of the objective's gradient with respect to z before each step.
    """

    z: Float[Array, "N ..."]
    frames: Float[Array, "F N ..."]
    value: Float[Array, "T N"]
    grad_norm: Float[Array, "T N"]


def normalized_steps(step_size: ArrayLike | optax.Schedule) -> optax.GradientTransformation:
    """Steps of L2 length `step_size` for every example (L2 steepest ascent); no step where the gradient is zero."""
    return steepest("l2", step_size)


def steepest(norm: str, step_size: ArrayLike | optax.Schedule) -> optax.GradientTransformation:
    """Steepest ascent in a norm: `step_size` in every coordinate for "linf", of that L2 length for "l2"."""
    return optax.chain(optax.stateless(lambda g, _: unit(g, norm)), optax.scale_by_learning_rate(step_size))


def unit(gradient: Float[Array, "N ..."], norm: str) -> Float[Array, "N ..."]:
    """The direction of steepest ascent of unit length in a norm: the sign ("linf") or g / ||g|| ("l2"); 0 for 0."""
    if norm == "linf":
        return jnp.sign(gradient)
    length = l2_norm(gradient)
    # The squares of a saturated probability's gradient vanish in float32: its largest entry is made 1 first.
    largest = linf_norm(gradient)
    even = scaled(gradient, jnp.where(largest >= jnp.finfo(gradient.dtype).tiny, largest, 0.0))
    return jnp.where(per_example(length < SMALL, gradient) > 0, scaled(even, l2_norm(even)), scaled(gradient, length))


def scaled(gradient: Float[Array, "N ..."], length: Float[Array, " N"]) -> Float[Array, "N ..."]:
    """Every example's gradient over its length; 0 where that is 0."""
    return gradient * per_example(jnp.where(length > 0, 1.0 / jnp.where(length > 0, length, 1.0), 0.0), gradient)


def search(
    key: jax.Array,
    z0: Float[Array, "N ..."],
    target: Any,
    *,
    objective: Objective,
    space: Space,
    sampler: Sampler,
    optimizer: optax.GradientTransformation,
    epsilon: ArrayLike,
    num_steps: int,
    origin: Float[Array, "N ..."] | None = None,
    frames: int | tuple[int, ...] = 1,
    stop_value: ArrayLike = jnp.inf,
    rank: Objective | None = None,
) -> SearchResult:
    """Ascends objective(variables, decode(z), target) from z0, kept feasible by `space.project` after every step.

    z <- project(z + rule(gradient), origin, epsilon), T = num_steps times, for all examples at once; row i depends on
    row i of the inputs alone.

    Args:
      target: pytree with leading axis N, handed to the objective.
      objective: (variables, images, target) -> values [N], to be raised.
      space, sampler: where z lives; the classifier of step t, `drawn_at(sampler, key, t)`, one key for all.
      optimizer: any optax rule; it receives the *descent* direction and `value`, minus the objective [N].
      epsilon: radius of the ball around the origin (z0 where None), in the space's units; scalar or [N].
      frames: F, number of iterates to record, evenly spaced; or after how many steps each, rising up to T.
      stop_value: an example whose value reaches this stays where it is; scalar or [N].
      rank: objective whose highest iterate is the result, start and end included, the first of equals; else the last.

    Raises:
      ValueError: num_steps is no positive multiple of frames, or these do not rise up to it.
    """
    now, num_frames = _schedule(num_steps, frames)
    origin = z0 if origin is None else origin
    optimizer = optax.with_extra_args_support(optimizer)
    ranks, gradients = _values(objective, rank, space)

    def step(state, now):
        z, opt_state, stopped, best, recorded = state
        t, frame = now
        gradient, (value, ranked) = map_examples(gradients, z, target, shared=(drawn_at(sampler, key, t),))
        best = better(best, (z, ranked)) if rank else best
        stopped = stopped | (value >= jnp.asarray(stop_value, value.dtype))
        updates, opt_state = optimizer.update(jax.tree.map(jnp.negative, gradient), opt_state, z, value=-value)
        moved = space.project(optax.apply_updates(z, updates), origin, epsilon)
        z = jnp.where(per_example(stopped, z) > 0, z, moved)
        # A frame is written over until its step has come.
        return (z, opt_state, stopped, best, recorded.at[frame].set(z)), (value, l2_norm(gradient))

    z0 = space.project(z0, origin, epsilon)
    best = (z0, jnp.full(z0.shape[:1], -jnp.inf, z0.dtype)) if rank else ()
    start = (z0, optimizer.init(z0), jnp.zeros(z0.shape[:1], bool), best, jnp.zeros((num_frames, *z0.shape), z0.dtype))
    (z, _, _, best, recorded), (value, grad_norm) = lax.scan(step, start, now)
    if rank:
        last = drawn_at(sampler, key, jnp.int32(num_steps))
        z, _ = better(best, (z, map_examples(ranks, z, target, shared=(last,))))
    return SearchResult(z, recorded, value, grad_norm)


def _values(objective: Objective, rank: Objective | None, space: Space) -> tuple[Callable, Callable]:
    """(z, target, variables) -> ranks [N]; and the same -> gradient of the objective, (its values, ranks) [N]."""

    def ranks(z, target, variables):
        return rank(variables, space.decode(z), target)

    def total(z, target, variables):
        values = objective(variables, space.decode(z), target)
        # The forward pass that both have in common is compiled once.
        return jnp.sum(values), (values, ranks(z, target, variables)) if rank else (values, values)

    return ranks, jax.grad(total, has_aux=True)


def _schedule(num_steps: int, frames: int | tuple[int, ...]) -> tuple[tuple[Array, Array], int]:
    """The numbers of the steps and of the frames that each of them writes; and how many frames there are."""
    if isinstance(frames, tuple):
        if not frames or min(np.diff((0, *frames))) < 1 or frames[-1] != num_steps:
            raise ValueError(f"frames={frames}: expected numbers of steps that rise up to num_steps={num_steps}")
        kept = np.asarray(frames)
    else:
        if num_steps < 1 or frames < 1 or num_steps % frames:
            raise ValueError(
                f"num_steps={num_steps}, frames={frames}: expected num_steps a positive multiple of frames"
            )
        kept = num_steps // frames * np.arange(1, frames + 1)
    steps = np.arange(num_steps)
    return (jnp.asarray(steps), jnp.asarray(np.searchsorted(kept, steps + 1))), len(kept)


def better(one: tuple[Array, Array], other: tuple[Array, Array]) -> tuple[Array, Array]:
    """For each example the point with the higher value, (points [N, ...], values [N]); the first of equals."""
    won = other[1] > one[1]
    return jnp.where(per_example(won, one[0]) > 0, other[0], one[0]), jnp.where(won, other[1], one[1])
