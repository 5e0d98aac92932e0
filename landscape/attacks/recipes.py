"""Named attacks: each is `landscape.search.search` with other parts.

All take one example key each, `keys [N]`, and return images [N, H, W, C] inside the ball and in [0, 1]. Radii and step
sizes are pixels of [0, 1] and may be traced: a new radius compiles nothing.

The cross-entropy attacks climb the log-odds of the class, `objectives.gap`: its gradient is the cross-entropy's times
1 / (1 - p) > 0, so sign and normalised steps are the same ones, and it does not underflow where p rounds to 1.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, ArrayLike, Float

from landscape import objectives
from landscape.objectives import Objective
from landscape.samplers import fixed
from landscape.search import search, steepest
from landscape.spaces import draw_flat, l2_norm, per_example, pixels, random_start
from landscape.types import Apply, Images, Labels, Variables

# Logits by which the class must have lost before a first-flip search stops: rounding undoes a flip at margin 0.
FLIP_MARGIN = 0.05
# A steered search ends with steps this much smaller than it began with, which brings the margin within 0.1 logits.
FINAL_STEP = 1e-3


class Budget(NamedTuple):
    """What a search may spend; radii and step sizes in pixels of [0, 1].

    norm: "linf" or "l2". epsilon: radius. step_size, num_steps, num_restarts: of the full-budget searches.
    iso_steps: of the margin-steered ones. iso_margin: their margin m*, logits, or "clean" for the image's own.
    """

    norm: str
    epsilon: ArrayLike
    step_size: ArrayLike
    num_steps: int
    num_restarts: int = 1
    iso_steps: int = 60
    iso_margin: float | str = 4.0


def attack(
    keys: jax.Array,
    variables: Variables,
    x: Images,
    target: object,
    *,
    objective: Objective,
    norm: str,
    epsilon: ArrayLike,
    step_size: ArrayLike | optax.Schedule,
    num_steps: int,
    num_restarts: int = 1,
    start: str | Array = "random",
    stop_value: ArrayLike = jnp.inf,
    rank: Objective | None = None,
) -> Float[Array, "N H W C"]:
    """Projected steepest ascent of an objective in a ball around x; of restarts, the one ranked highest.

    Args:
      keys: one key an example; restart r starts from fold_in(key, r).
      target: pytree with leading axis N for the objective (labels, or labels and margins).
      norm: "linf" (sign steps) or "l2" (normalised steps).
      epsilon, step_size: pixels (L-inf: per pixel; L2: over the whole image).
      start: "random" (uniform in the ball), "image", or points [N, H, W, C]. More restarts need random starts.
      rank: objective by which the ends of restarts are compared; `objective` where None.
      stop_value: an example stops moving once its objective reaches this.

    Raises:
      ValueError: unknown start, or restarts that would all be the same.

    Source: Madry et al. 2018, arXiv:1706.06083.
    """
    named = isinstance(start, str)
    if named and start not in ("random", "image"):
        raise ValueError(f"start={start!r}: expected random or image; try random")
    drawn = named and start == "random"
    if not drawn and num_restarts != 1:
        raise ValueError(f"num_restarts={num_restarts} from a given start: they would be the same; try start='random'")

    def one(restart):
        restart_keys = jax.vmap(jax.random.fold_in, (0, None))(keys, restart)
        z0 = random_start(restart_keys, x, epsilon, norm=norm) if drawn else x if named else start
        found = search(
            jax.random.key(0),  # the classifier is fixed: nothing is drawn from this
            z0,
            target,
            objective=objective,
            space=pixels(norm),
            sampler=fixed(variables),
            optimizer=steepest(norm, step_size),
            epsilon=epsilon,
            num_steps=num_steps,
            origin=x,
            stop_value=stop_value,
        )
        return found.z

    if num_restarts == 1:
        return one(0)

    def better(best, restart):
        x_best, value_best = best
        z = one(restart)
        value = (rank or objective)(variables, z, target)
        won = value > value_best
        return (jnp.where(won[:, None, None, None], z, x_best), jnp.where(won, value, value_best)), None

    first = (x, jnp.full(x.shape[:1], -jnp.inf, x.dtype))
    return lax.scan(better, first, jnp.arange(num_restarts))[0][0]


def fgsm(keys, variables, x, label, *, apply: Apply, norm: str, epsilon: ArrayLike) -> Float[Array, "N H W C"]:
    """One step of the whole radius from the image (Goodfellow et al. 2015, arXiv:1412.6572; L2: normalised)."""
    whole = {"norm": norm, "epsilon": epsilon, "step_size": epsilon, "num_steps": 1, "start": "image"}
    return attack(keys, variables, x, label, objective=objectives.descend(apply, objectives.gap), **whole)


def pgd(keys, variables, x, label, *, apply: Apply, value_fn=objectives.gap, **budget) -> Float[Array, "N H W C"]:
    """Away from the class `label` within the ball, full budget, random start (Madry et al. 2018, arXiv:1706.06083)."""
    # A restart that has flipped the class wins over one that has only lowered its probability further.
    lost = objectives.descend(apply, objectives.margin)
    return attack(keys, variables, x, label, objective=objectives.descend(apply, value_fn), rank=lost, **budget)


def targeted_pgd(keys, variables, x, label, *, apply: Apply, value_fn=objectives.gap, **budget):
    """Toward the class `label` within the ball. With the true class as label it makes the `boosted` population."""
    return attack(keys, variables, x, label, objective=objectives.ascend(apply, value_fn), **budget)


def first_flip(keys, variables, x, label, *, apply: Apply, **budget) -> Float[Array, "N H W C"]:
    """From the image away from the class `label`, stopped once that class has lost by FLIP_MARGIN logits."""
    objective = objectives.descend(apply, objectives.margin)
    return attack(keys, variables, x, label, objective=objective, start="image", stop_value=FLIP_MARGIN, **budget)


def steered(
    keys: jax.Array,
    variables: Variables,
    x: Images,
    label: Labels,
    margin: Float[Array, " N"],
    *,
    apply: Apply,
    norm: str,
    epsilon: ArrayLike,
    step_size: ArrayLike,
    num_steps: int,
    start: str | Array = "random",
) -> Float[Array, "N H W C"]:
    """To a point of the ball around x where the class `label` has the given margin, by shrinking steps.

    Not from the image itself: where its margin is already the wanted one, the gradient is all rounding.
    """
    schedule = optax.cosine_decay_schedule(1.0, num_steps, alpha=FINAL_STEP)
    return attack(
        keys,
        variables,
        x,
        (label, margin),
        objective=objectives.steer(apply),
        norm=norm,
        epsilon=epsilon,
        step_size=lambda t: step_size * schedule(t),
        num_steps=num_steps,
        start=start,
    )


def equal_norm_noise(keys: jax.Array, x: Images, radius: ArrayLike, *, norm: str) -> Float[Array, "N H W C"]:
    """Random perturbation of a given norm, clipped to [0, 1] as an attack is.

    "linf": x + radius * sign, signs fair and independent. "l2": x + radius * u, u uniform on the unit sphere.
    """
    draw = {"linf": jax.random.rademacher, "l2": jax.random.normal}[norm]
    noise = draw_flat(lambda key, shape: draw(key, shape, x.dtype), keys, x)
    if norm == "l2":
        noise = noise / per_example(l2_norm(noise), noise)
    return jnp.clip(x + per_example(radius, x) * noise, 0.0, 1.0)
