"""The way of an attack: its points from the image over the flip of the class to the end of the budget.

Steepest descent of the true class's log-odds starts at the image itself and every step is kept; *boosted* is the same
search with its sign turned. Points between two steps lie on the straight line between them.

Two ways to look at it. By position: -1 is the image, 0 the flip, 1 the end of the budget, in equal numbers of steps
between them; the boosted way is looked at after as many steps. By confidence: for a number of log-odds, the last point
before the flip where the true class has them, and the first one after it where another class has them. Where the image
itself is less sure, the former lies on the boosted way. Both have one probability and one loss, on either side.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Bool, Float

from landscape import objectives
from landscape.samplers import fixed
from landscape.search import search, steepest
from landscape.spaces import per_example, pixels
from landscape.types import Apply, Images, Labels, Values, Variables

Frames = Float[Array, "F N H W C"]
WAYS = ("adversarial", "boosted")
SIDES = ("before", "after")  # the flip
HALVINGS = 10  # of a step, when the place of an event is looked for


def ways(
    variables: Variables,
    x: Images,
    label: Labels,
    *,
    apply: Apply,
    norm: str,
    epsilon: ArrayLike,
    step_size: ArrayLike,
    num_steps: int,
) -> tuple[Frames, Frames]:
    """All points of the adversarial and of the boosted way, the image first: [num_steps + 1, N, H, W, C] each."""

    def one(sign):
        def objective(variables, z, label):
            return sign * objectives.log_odds(apply(variables, z), label)

        parts = {"objective": objective, "space": pixels(norm), "sampler": fixed(variables), "epsilon": epsilon}
        counts = {"num_steps": num_steps, "frames": num_steps}
        found = search(jax.random.key(0), x, label, optimizer=steepest(norm, step_size), **parts, **counts)
        return jnp.concatenate([x[None], found.frames])

    adversarial, boosted = lax.map(one, jnp.array([-1.0, 1.0]))
    return adversarial, boosted


def at(frames: Frames, step: Values) -> Images:
    """The points after so many steps, [N, H, W, C]; between two of them linearly."""
    low = jnp.clip(jnp.floor(step), 0, frames.shape[0] - 2).astype(jnp.int32)
    rows = jnp.arange(frames.shape[1])
    share = per_example(step - low, frames[0])
    return (1 - share) * frames[low, rows] + share * frames[low + 1, rows]


def first_reaching(
    value_fn: Callable[[Images], Values], frames: Frames, values: Float[Array, "F N"], level: ArrayLike
) -> tuple[Values, Bool[Array, " N"]]:
    """After how many steps a value first comes to `level`, and whether it does; by bisection within that step.

    Args:
      values: of the frames; -inf for those that do not count.

    Returns:
      The step [N], at which the value is at least `level` (the last one where it never is), and whether it is reached.
    """
    level = jnp.broadcast_to(jnp.asarray(level, values.dtype), values.shape[1:])
    above = values >= level[None]
    reached = above.any(axis=0)
    first = jnp.where(reached, jnp.argmax(above, axis=0), frames.shape[0] - 1).astype(frames.dtype)

    def halve(_, bounds):
        low, high = bounds
        middle = 0.5 * (low + high)
        there = value_fn(at(frames, middle)) >= level
        return jnp.where(there, low, middle), jnp.where(there, middle, high)

    _, high = lax.fori_loop(0, HALVINGS, halve, (jnp.maximum(first - 1, 0), first))
    return jnp.where(reached, high, first), reached


def points(
    variables: Variables,
    x: Images,
    label: Labels,
    *,
    apply: Apply,
    positions: Sequence[float],
    log_odds: Sequence[float],
    **budget,
) -> dict[str, Array]:
    """Points by position on both ways, and by confidence on both sides of the flip; see the module's head.

    Args:
      positions: in [-1, 1]. log_odds: nats, above 0.
      budget: as `ways` takes it.

    Returns:
      along [way, position, N, H, W, C], of WAYS; across [side, level, N, H, W, C], of SIDES; along_valid [N], whether
      the image has the class and loses it; across_valid [level, N], whether moreover both sides reach the log-odds.
    """
    adversarial, boosted = ways(variables, x, label, apply=apply, **budget)
    last = adversarial.shape[0] - 1

    def own(z):
        return objectives.log_odds(apply(variables, z), label)

    def other(z):
        """Log-odds of the class that is the most probable beside the label."""
        logits = apply(variables, z)
        without = jnp.where(jnp.arange(logits.shape[-1])[None] == label[:, None], -jnp.inf, logits)
        return objectives.log_odds(logits, jnp.argmax(without, axis=-1))

    def lost(z):
        return -objectives.margin(apply(variables, z), label)

    losses = lax.map(lost, adversarial)
    flip, flipped = first_reaching(lost, adversarial, losses, 0.0)
    steps = [flip * (1 + u) if u <= 0 else flip + u * (last - flip) for u in positions]
    along = jnp.stack([jnp.stack([at(way, step) for step in steps]) for way in (adversarial, boosted)])

    number = jnp.arange(last + 1)[:, None]
    back = jnp.concatenate([adversarial[::-1], boosted[1:]])  # from the end back to the image and on
    beyond = jnp.concatenate([number[::-1] > flip[None], jnp.zeros((last, len(x)), bool)])
    owns = jnp.where(beyond, -jnp.inf, lax.map(own, back))
    others = lax.map(other, adversarial)  # above 0 after the flip alone

    def sides(level):
        before, there = first_reaching(own, back, owns, level)
        after, reached = first_reaching(other, adversarial, others, level)
        return jnp.stack([at(back, before), at(adversarial, after)]), there & reached

    across, reached = lax.map(sides, jnp.asarray(log_odds, x.dtype))
    valid = flipped & (losses[0] < 0)
    return {
        "along": along,
        "across": jnp.moveaxis(across, 1, 0),
        "along_valid": valid,
        "across_valid": valid[None] & reached,
    }
