"""Populations: sets of inputs made from the same images, and what a member says of them.

`genuine` and `natural_error` are the clean images that a member gets right and wrong; all others start from images it
gets right. {genuine, boosted, natural_error, adversarial} is the 2 x 2 of {not optimised, optimised} x {right, wrong}.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from landscape import objectives, samplers
from landscape.attacks import projected
from landscape.attacks.projected import Budget, equal_norm_noise
from landscape.presets.names import ISO_TOLERANCE
from landscape.spaces import fold, l2_norm, linf_norm
from landscape.training.runner_up import all_moved
from landscape.types import Apply, Images, Labels, Variables

# The inputs that are made (axis P of the programs) ...
INPUTS = (
    "clean",
    "adversarial",
    "boosted",
    "boundary",
    "noise_linf",
    "noise_l2",
    "adversarial_iso",
    "boosted_iso",
)
FURTHER = ("augmented", "noisy", "reconstructed", "manifold")  # made where a config asks for them
# ... and the populations that are reported: the clean images split by whether the member is right.
CLEAN = ("genuine", "natural_error")
POPULATIONS = (*CLEAN, *INPUTS[1:])
SOURCE = {name: name for name in (*INPUTS, *FURTHER)} | dict.fromkeys(CLEAN, "clean")


class Outcome(NamedTuple):
    """What one member says of inputs [P, N, ...]; the tracked class is its prediction.

    margin (logits), log_odds (nats): of the tracked class. true_margin: of the label, logits.
    delta_l2, delta_linf: distance from the image, pixels.
    """

    prediction: Array
    margin: Array
    log_odds: Array
    true_margin: Array
    delta_l2: Array
    delta_linf: Array


def make(
    keys: jax.Array, variables: Variables, x: Images, label: Labels, *, apply: Apply, budget: Budget
) -> Float[Array, "P N H W C"]:
    """All INPUTS for one member, in their order.

    Boosted inputs come from the adversarial search with the sign of its objective turned, from the same random starts;
    the noises have the L-inf or the L2 norm of that
    example's adversarial perturbation; the steered searches start where the full-budget ones ended, in the same ball,
    and aim at the class predicted there (adversarial_iso) and at the label (boosted_iso).
    """
    key_start, key_linf, key_l2 = (fold(keys, i) for i in range(3))
    ball = {"apply": apply, "norm": budget.norm, "epsilon": budget.epsilon, "step_size": budget.step_size}
    full = {name: getattr(budget, name) for name in ("norm", "epsilon", "num_steps", "num_restarts")}

    def searched(toward_label):
        return projected.multi_targeted(key_start, variables, x, label, apply=apply, toward_label=toward_label, **full)

    adversarial, boosted = jax.lax.map(searched, jnp.array([False, True]))  # one program for both
    boundary = projected.first_flip(key_start, variables, x, label, **ball, num_steps=budget.num_steps)

    delta = adversarial - x
    noise_linf = equal_norm_noise(key_linf, x, linf_norm(delta), norm="linf")
    noise_l2 = equal_norm_noise(key_l2, x, l2_norm(delta), norm="l2")

    ended = jnp.argmax(apply(variables, adversarial), axis=-1).astype(label.dtype)
    clean = objectives.log_odds(apply(variables, x), label)
    wanted = wanted_log_odds(clean, budget)
    steer = ball | {"num_steps": budget.iso_steps}
    adversarial_iso = projected.steered(key_start, variables, x, ended, wanted, **steer, start=adversarial)
    boosted_iso = projected.steered(key_start, variables, x, label, wanted, **steer, start=boosted)
    return jnp.stack([x, adversarial, boosted, boundary, noise_linf, noise_l2, adversarial_iso, boosted_iso])


def augmented(variables: Variables, x: Images, epsilon: ArrayLike, *, apply: Apply) -> Images:
    """Images moved toward their runner-up class, as training on them has it (`training.runner_up`), cut to [0, 1].

    epsilon: length of the move over the L2 norm of the image.
    """
    return jnp.clip(all_moved(partial(apply, variables), x, epsilon)[0], 0.0, 1.0)


def noisy(
    keys: jax.Array,
    variables: Variables,
    x: Images,
    label: Labels,
    key: jax.Array,
    radius: ArrayLike,
    *,
    apply: Apply,
    budget: Budget,
) -> Images:
    """The adversarial search against a fresh classifier at every step, drawn from the ball of noise around the member
    whose radius is relative to each layer's weights (`samplers.ball`).

    Args:
      keys: [N], one an example. x: [N, H, W, C] in [0, 1]. label: [N].
      key: of the draws, the same for all examples. radius: share of the norm of each layer's weights.

    Returns:
      [N, H, W, C], in the budget's ball around x.
    """
    full = {name: getattr(budget, name) for name in ("norm", "epsilon", "num_steps", "num_restarts")}
    drawn = {"sampler": partial(samplers.ball, sigma=radius, kind="layer_relative"), "key": key}
    return projected.multi_targeted(fold(keys, 0), variables, x, label, apply=apply, **full, **drawn)


def wanted_log_odds(clean: Float[Array, " N"], budget: Budget) -> Float[Array, " N"]:
    """Log-odds that both steered searches aim at, nats: those of the image's own clean version, or fixed ones.

    At those of the clean version genuine, adversarial and boosted inputs are alike. Below them boosted ones would have
    been searched against the class that they are to be searched for.
    """
    return clean if budget.iso_log_odds == "clean" else jnp.full_like(clean, budget.iso_log_odds)


def outcome(
    variables: Variables, inputs: Float[Array, "P N H W C"], x: Images, label: Labels, *, apply: Apply
) -> Outcome:
    """What a member says of inputs made from the images x: every field [P, N]."""

    def one(z):
        logits = apply(variables, z)
        prediction = jnp.argmax(logits, axis=-1).astype(label.dtype)
        return Outcome(
            prediction,
            objectives.margin(logits, prediction),
            objectives.log_odds(logits, prediction),
            objectives.margin(logits, label),
            l2_norm(z - x),
            linf_norm(z - x),
        )

    return jax.lax.map(one, inputs)


def valid(found: Outcome, label: Labels, wanted: Float[ArrayLike, " N"], names: tuple[str, ...]) -> dict:
    """Which examples belong to each population, name -> bool [N].

    genuine: right on the clean image. natural_error: wrong on it. adversarial: right there, wrong here. boosted: right
    there and here. boundary: right there, label lost by FLIP_MARGIN here. noises, augmented: right there. iso: as their
    namesakes, with the tracked class's log-odds within ISO_TOLERANCE of the wanted ones. noisy: as adversarial.
    reconstructed: as boosted. manifold, which needs those: right there and there, wrong here.

    Args:
      found: fields [P, N] in the order of `names`, "clean" among them.
      wanted: log-odds of the steered searches, nats.
      names: names of axis P.
    """
    right = found.prediction == label[None, :]
    reached = jnp.abs(found.log_odds - wanted[None, :]) <= ISO_TOLERANCE
    further = {
        "adversarial": ~right,
        "boosted": right,
        "boundary": found.true_margin <= -projected.FLIP_MARGIN,
        "adversarial_iso": ~right & reached,
        "boosted_iso": right & reached,
        "noisy": ~right,
        "reconstructed": right,
    }
    if "manifold" in names:
        further["manifold"] = ~right & right[names.index("reconstructed")][None, :]
    was_right = right[names.index("clean")]
    own = {name: was_right & further[name][i] if name in further else was_right for i, name in enumerate(names)}
    return {"genuine": own.pop("clean"), "natural_error": ~was_right} | own
