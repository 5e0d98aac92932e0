"""Update rules of attacks as optax rules, for `landscape.search.search`: momentum, means of gradients, APGD's, FMN's.

Each is a pure function of (gradient, state, point), for all examples at once, row by row. Those that keep a ball of
their own project inside; the search's projection then changes nothing.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from landscape.search import scaled, steepest, unit
from landscape.spaces import LENGTH, balls, l2_norm, per_example, pixels

Points = Float[Array, "N ..."]

# APGD (Croce & Hein 2020, section 3.1): share of rising steps that a step size must keep, momentum, and where it looks.
RISING, MOMENTUM = 0.75, 0.75
FIRST_PERIOD, SHORTER, SHORTEST = 0.22, 0.03, 0.06


def momentum(norm: str, step_size: ArrayLike) -> optax.GradientTransformation:
    """Steepest ascent along m <- m + g / ||g||_1 (MI-FGSM: Dong et al. 2018, arXiv:1710.06081, with decay 1)."""

    def normalize(g, _):
        return scaled(g, jnp.sum(jnp.abs(g), axis=tuple(range(1, g.ndim))))

    return optax.chain(optax.stateless(normalize), optax.trace(1.0), steepest(norm, step_size))


# ---- the mean of several gradients ----


class MeanState(NamedTuple):
    """count: gradients held. total: their sum. inner: state of the rule that takes their mean."""

    count: Int[Array, ""]
    total: Points
    inner: optax.OptState


def mean_of(rule: optax.GradientTransformation, num_draws: Int[ArrayLike, ""]) -> optax.GradientTransformation:
    """A step of `rule` along the mean of M gradients in a row, and no move in between.

    With a classifier drawn anew for every gradient this is a search with M draws a step, averaged in loss, whose M is a
    number rather than a shape: at an equal number T of gradients, T / M steps, all M compile once. What is left over
    where M does not divide T is never used.
    """

    def init(params):
        return MeanState(jnp.int32(0), jnp.zeros_like(params), rule.init(params))

    def update(updates, state, params=None):
        count, total = state.count + 1, state.total + updates
        full = count >= num_draws
        moved, inner = rule.update(total / jnp.asarray(num_draws, total.dtype), state.inner, params)
        inner = jax.tree.map(lambda new, old: jnp.where(full, new, old), inner, state.inner)
        kept = MeanState(jnp.where(full, 0, count), jnp.where(full, 0.0, total), inner)
        return jnp.where(full, moved, 0.0), kept

    return optax.GradientTransformation(init, update)


# ---- APGD ----


class ApgdState(NamedTuple):
    """step: number of the next step. previous: the point before. value: objective there. step_size: pixels.

    best, best_gradient, best_value: of the highest point so far. rising: steps since the last look that rose.
    looked_value, halved: best value at the last look, and whether it halved the step size.
    """

    step: Int[Array, ""]
    previous: Points
    value: Float[Array, " N"]
    step_size: Float[Array, " N"]
    best: Points
    best_gradient: Points
    best_value: Float[Array, " N"]
    rising: Int[Array, " N"]
    looked_value: Float[Array, " N"]
    halved: Bool[Array, " N"]


def looks(num_steps: int) -> list[int]:
    """Steps w_j at which APGD looks back: ceil(p_j T), p_1 = 0.22, p_(j+1) = p_j + max(p_j - p_(j-1) - 0.03, 0.06)."""
    found, period, at = set(), FIRST_PERIOD, FIRST_PERIOD
    while at < 1 - 1e-9:
        found.add(math.ceil(at * num_steps - 1e-9))
        period = max(period - SHORTER, SHORTEST)
        at += period
    return sorted(found)


def apgd(norm: str, epsilon: ArrayLike, num_steps: int, origin: Points) -> optax.GradientTransformationExtraArgs:
    """Auto-PGD: steps with momentum whose size starts at 2 epsilon and is halved where progress stalls.

        y = P(x + eta s(g)),    x <- P(x + 0.75 (y - x) + 0.25 (x - previous x)),    s steepest ascent of unit length

    At the looks w_j an example's eta is halved and it returns to its best point if fewer than 0.75 of the steps since
    w_(j-1) rose, or if neither eta nor the best value has changed since then.

    Args:
      epsilon: radius around the origin, pixels, scalar or [N]; P projects into that ball and the box.
      num_steps: T, which sets the looks.

    Source: Croce & Hein 2020, arXiv:2003.01690, algorithm 1.
    """
    at_looks = looks(num_steps)
    since = np.zeros(num_steps + 1, np.int32)  # at a look, steps since the last one
    since[at_looks] = np.diff(at_looks, prepend=0)
    since, project = jnp.asarray(since), partial(pixels(norm).project, origin=origin, epsilon=epsilon)

    def init(z):
        number = z.shape[:1]
        lowest = jnp.full(number, -jnp.inf, z.dtype)
        size = jnp.broadcast_to(jnp.asarray(2.0 * epsilon, z.dtype), number)
        none = jnp.zeros(number, jnp.int32)
        return ApgdState(jnp.int32(0), z, lowest, size, z, z, lowest, none, lowest, jnp.zeros(number, bool))

    def update(updates, state, params, *, value, **_):
        gradient, value, first = -updates, -value, state.step == 0
        rising = state.rising + ((value > state.value) & ~first)
        better = value > state.best_value
        chosen = per_example(better, params) > 0
        best, best_gradient = jnp.where(chosen, params, state.best), jnp.where(chosen, gradient, state.best_gradient)
        best_value = jnp.where(better, value, state.best_value)

        looking = since[state.step] > 0
        stalled = (rising < RISING * since[state.step]) | (~state.halved & (state.looked_value >= best_value))
        halve = looking & stalled
        back = per_example(halve, params) > 0
        at, slope = jnp.where(back, best, params), jnp.where(back, best_gradient, gradient)
        step_size = jnp.where(halve, 0.5 * state.step_size, state.step_size)

        ahead = project(at + per_example(step_size, at) * unit(slope, norm))
        alpha = jnp.where(first, 1.0, MOMENTUM)
        moved = project(at + alpha * (ahead - at) + (1 - alpha) * (at - state.previous))
        return moved - params, ApgdState(
            state.step + 1,
            at,
            jnp.where(halve, best_value, value),  # of the point it is at, as the next rise is counted from there
            step_size,
            best,
            best_gradient,
            best_value,
            jnp.where(looking, 0, rising),
            jnp.where(looking, best_value, jnp.where(first, value, state.looked_value)),
            jnp.where(looking, halve, state.halved),
        )

    return optax.GradientTransformationExtraArgs(init, update)


# ---- fast minimum norm ----


class FmnState(NamedTuple):
    """step: number of the next step. radius: of the ball, pixels. smallest: norm of the best point that lost, inf."""

    step: Int[Array, ""]
    radius: Float[Array, " N"]
    smallest: Float[Array, " N"]


def fmn(
    norm: str, origin: Points, num_steps: int, *, step_size: float = 1.0, shrink: float = 0.05
) -> optax.GradientTransformationExtraArgs:
    """Fast minimum-norm: a ball that shrinks while the class is lost and grows while it is not, and steps within it.

    With L the margin of the class (minus the objective), delta = z - origin and gamma, alpha falling as half cosines:

        radius <- ||delta|| + L / ||grad L||*               not lost yet: as far as a linear boundary
                  radius (1 + gamma)                        not lost here, but before
                  min(radius (1 - gamma), smallest)         lost here
        delta  <- P_radius(delta - alpha grad L / ||grad L||_2)

    In the gradient pixels at an end of [0, 1] that would leave it count as 0: clipping takes that part of a step away
    again, so that in L2 with many black pixels a radius of the whole gradient's falls short of the boundary for good.

    Args:
      norm: "linf" or "l2", of the perturbation; ||.||* its dual.
      origin: the images. num_steps: T of the half cosines.
      step_size: first alpha, pixels (L2); it ends at a hundredth. shrink: first gamma.

    Source: Pintor et al. 2021, arXiv:2102.12827, algorithm 1.
    """

    def anneal(first, last, step):
        return last + 0.5 * (first - last) * (1 + jnp.cos(jnp.pi * step / num_steps))

    def init(z):
        unknown = jnp.full(z.shape[:1], jnp.inf, z.dtype)
        return FmnState(jnp.int32(0), unknown, unknown)

    def update(updates, state, params, *, value, **_):
        # `updates` is the gradient of L = `value`.
        stuck = ((params <= 0) & (updates > 0)) | ((params >= 1) & (updates < 0))
        updates = jnp.where(stuck, 0.0, updates)
        delta = params - origin
        here, lost = LENGTH[norm](delta), value < 0
        smallest = jnp.where(lost, jnp.minimum(state.smallest, here), state.smallest)
        dual = l2_norm(updates) if norm == "l2" else jnp.sum(jnp.abs(updates), axis=tuple(range(1, updates.ndim)))
        gamma = anneal(shrink, 0.0, state.step)
        linear = here + jnp.abs(value) / jnp.maximum(dual, 1e-12)
        farther = jnp.where(jnp.isinf(smallest), linear, state.radius * (1 + gamma))
        # The first ball has no radius to shrink: an image that is lost already stays where it is.
        nearer = jnp.minimum(jnp.where(jnp.isinf(state.radius), here, state.radius) * (1 - gamma), smallest)
        radius = jnp.where(lost, nearer, farther)
        alpha = anneal(step_size, 0.01 * step_size, state.step)
        delta = balls(norm)(delta - alpha * unit(updates, "l2"), jnp.zeros_like(delta), radius)
        return origin + delta - params, FmnState(state.step + 1, radius, smallest)

    return optax.GradientTransformationExtraArgs(init, update)
