"""Worst-case input flatness: the largest rise of the loss and drop of the margin within a radius rho of an input.

    worst_loss_rise   = max over ||delta|| <= rho of loss(x + delta) - loss(x)          nats
    worst_margin_drop = max over ||delta|| <= rho of margin(x) - margin(x + delta)      logits

of the tracked class, over points in [0, 1]. What projected ascent finds is a lower bound. Around an adversarial input,
a rho beyond half the attack's radius reaches back towards the genuine basin, so local claims use less than that.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import ArrayLike

from landscape import arguments, objectives, spaces
from landscape.samplers import fixed
from landscape.search import search, steepest
from landscape.types import Apply, Images, Labels, Values, Variables


def worst_case(
    keys: jax.Array,
    variables: Variables,
    x: Images,
    label: Labels,
    *,
    apply: Apply,
    norm: str,
    rho: ArrayLike,
    num_steps: int = 20,
    num_restarts: int = 2,
) -> dict[str, Values]:
    """Largest loss rise and margin drop found near every input; see the module's head for the formulas.

    Two searches lower the log-odds and the margin (the loss itself is flat where the classifier is saturated), from x
    itself and from num_restarts - 1 uniform points of the ball, by steepest ascent in steps of 2.5 rho / num_steps.
    Every iterate of a search counts for its own value, its last one for both, and x itself always: no value is below 0.

    Args:
      norm: "linf" or "l2". rho: radius in that norm, pixels.
      num_steps: of a search. num_restarts: starts, at least 1; start r of example i comes from fold_in(keys[i], r).

    Returns:
      worst_loss_rise, worst_margin_drop: each [N].
    """
    if num_restarts < 1:
        raise ValueError(f"num_restarts={num_restarts}: expected at least 1, the input itself; try 2")
    arguments.check(variables, x, label, apply=apply, keys=keys)
    arguments.check_radius(rho, norm, x)
    # The log-odds stand for the loss: the loss falls as they rise, and they do not saturate.
    lowered = (objectives.log_odds, objectives.margin)
    parts = {"space": spaces.pixels(norm), "optimizer": steepest(norm, 2.5 * rho / num_steps)}
    parts |= {"sampler": fixed(variables), "epsilon": rho, "num_steps": num_steps, "origin": x}

    def lower(value_fn, z0):
        """Best values of -value_fn on the way, and the last iterate."""
        found = search(jax.random.key(0), z0, label, objective=objectives.descend(apply, value_fn), **parts)
        return jnp.max(found.value, axis=0), found.z

    def one(restart):
        z0 = jnp.where(restart == 0, x, spaces.random_start(spaces.fold(keys, restart), x, rho, norm=norm))
        ways, ends = zip(*[lower(value_fn, z0) for value_fn in lowered], strict=True)
        ends = [apply(variables, z) for z in ends]
        return [
            jnp.maximum(way, jnp.max(jnp.stack([-value_fn(end, label) for end in ends]), axis=0))
            for value_fn, way in zip(lowered, ways, strict=True)
        ]

    clean = apply(variables, x)
    odds, margin = (jnp.max(best, axis=0) for best in lax.map(one, jnp.arange(num_restarts)))
    return {
        "worst_loss_rise": jax.nn.softplus(odds) - objectives.loss(clean, label),
        "worst_margin_drop": objectives.margin(clean, label) + margin,
    }
