"""Attacks that look for the nearest image which is not given the class: no ball, the norm itself is made small.

All take one example key each (unused: nothing is random here), and return images in [0, 1]; where nothing was found,
the image itself. An image that is not given the class stays as it is.
"""

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Float

from landscape import objectives
from landscape.attacks import rules
from landscape.objectives import Objective
from landscape.samplers import fixed
from landscape.search import better, search, unit
from landscape.spaces import LENGTH, Space, l2_norm, per_example, pixels
from landscape.types import Apply, Images, Labels, Variables

# DeepFool: logits by which a step goes beyond the linear boundary, and the last overshoot.
BEYOND, OVERSHOOT = 1e-4, 0.02
# Carlini & Wagner: images are brought this far inside (0, 1), where atanh is finite; step size of Adam, unit of w;
# how many weights are tried.
EDGE, CW_STEP, CW_WEIGHTS = 1e-6, 0.02, 6


def nearness(apply: Apply, norm: str) -> Objective:
    """Rank of a minimum-norm attack, minus the distance from the image where the class is lost, else minus infinity.

    Target: (images [N, ...], labels [N], ...). Pixels.
    """

    def rank(variables: Variables, z: Images, target: tuple) -> Float[Array, " N"]:
        x, label = target[:2]
        lost = objectives.margin(apply(variables, z), label) < 0
        return jnp.where(lost, -LENGTH[norm](z - x), -jnp.inf)

    return rank


def fmn(keys, variables, x, label, *, apply: Apply, norm: str, num_steps: int) -> Float[Array, "N H W C"]:
    """Fast minimum norm; its rule is `rules.fmn` (Pintor et al. 2021, arXiv:2102.12827)."""
    del keys

    def objective(variables, z, target):
        return -objectives.margin(apply(variables, z), target[1])

    parts = {"objective": objective, "rank": nearness(apply, norm), "sampler": fixed(variables)}
    parts |= {"space": pixels("linf"), "epsilon": 1.0, "optimizer": rules.fmn(norm, x, num_steps)}  # the box alone
    return search(jax.random.key(0), x, (x, label), num_steps=num_steps, **parts).z


def carlini_wagner(keys, variables, x, label, *, apply: Apply, norm: str, num_steps: int) -> Float[Array, "N H W C"]:
    """min ||z - x||^2 + c max(margin(z), 0) with z = (1 + tanh w) / 2 by Adam over w; c by bisection, an example each.

    c begins at 1 pixel^2 a logit, grows tenfold until the class is lost, then halves the interval of its logarithm.

    Args:
      norm: "l2" alone. num_steps: of Adam, for each of the CW_WEIGHTS values of c.

    Raises:
      ValueError: another norm.

    Source: Carlini & Wagner 2017, arXiv:1608.04644, section V.
    """
    del keys
    if norm != "l2":
        raise ValueError(f"norm={norm!r}: expected l2, what its penalty is; try fmn")
    rank, space = nearness(apply, norm), _inside_the_box()
    parts = {"objective": _penalised(apply), "rank": rank, "sampler": fixed(variables), "space": space}
    parts |= {"optimizer": optax.adam(CW_STEP), "epsilon": jnp.inf, "num_steps": num_steps}

    def one(state, _):
        best, low, high, weight = state
        z = space.decode(search(jax.random.key(0), space.encode(x), (x, label, weight), **parts).z)
        value = rank(variables, z, (x, label))
        lost = value > -jnp.inf
        low, high = jnp.where(lost, low, weight), jnp.where(lost, weight, high)
        weight = jnp.where(jnp.isinf(high), 10 * low, jnp.where(low > 0, jnp.sqrt(low * high), 0.1 * high))
        return (better(best, (z, value)), low, high, weight), None

    weight = jnp.ones(x.shape[:1], x.dtype)
    best = (x, jnp.where(_is_lost(apply, variables, x, label), 0.0, -jnp.inf))
    start = (best, 0 * weight, jnp.inf * weight, weight)
    return lax.scan(one, start, None, length=CW_WEIGHTS)[0][0][0]


def _penalised(apply: Apply) -> Objective:
    """-||z - x||^2 - c max(margin, 0). Target: (images, labels, weights c [N])."""

    def objective(variables, z, target):
        x, label, weight = target
        short = jnp.maximum(objectives.margin(apply(variables, z), label), 0.0)
        return -jnp.sum(jnp.square((z - x).reshape(x.shape[0], -1)), axis=1) - weight * short

    return objective


def _inside_the_box() -> Space:
    """w of images (1 + tanh w) / 2."""
    return Space(
        encode=lambda x: jnp.arctanh((2 * x - 1) * (1 - EDGE)),
        decode=lambda w: 0.5 * (1 + jnp.tanh(w)),
        project=lambda w, origin, epsilon: w,
    )


def deepfool(keys, variables, x, label, *, apply: Apply, norm: str, num_steps: int) -> Float[Array, "N H W C"]:
    """Steps to the nearest of the linearised boundaries to other classes, until one is passed.

        k = argmin (l_c - l_k) / ||grad (l_k - l_c)||*,    delta += (l_c - l_k) / ||.||*  times the steepest direction

    Source: Moosavi-Dezfooli et al. 2016, arXiv:1511.04599, algorithm 2.
    """
    del keys
    num_classes = jax.eval_shape(apply, variables, x).shape[-1]

    def lead(z, k):
        """l_k - l_c and its gradient."""

        def total(z):
            logits = apply(variables, z)
            own = jnp.take_along_axis(logits, label[:, None], axis=-1)[:, 0]
            values = logits[:, k] - own
            return jnp.sum(values), values

        return jax.grad(total, has_aux=True)(z)

    def nearest(z):
        def closer(best, k):
            gradient, behind = lead(z, k)
            flat = gradient.reshape(gradient.shape[0], -1)
            dual = l2_norm(gradient) if norm == "l2" else jnp.sum(jnp.abs(flat), axis=1)
            far = (jnp.abs(behind) + BEYOND) / jnp.maximum(dual, 1e-12)
            far = jnp.where(k == label, jnp.inf, far)
            return better(best, (per_example(far, z) * unit(gradient, norm), -far)), None

        first = (jnp.zeros_like(z), jnp.full(z.shape[:1], -jnp.inf, z.dtype))
        return lax.scan(closer, first, jnp.arange(num_classes))[0][0]

    def at(delta):
        return jnp.clip(x + (1 + OVERSHOOT) * delta, 0.0, 1.0)

    def step(delta, _):
        z = at(delta)
        done = _is_lost(apply, variables, z, label)
        return jnp.where(per_example(done, z) > 0, delta, delta + nearest(z)), None

    z = at(lax.scan(step, jnp.zeros_like(x), None, length=num_steps)[0])
    return jnp.where(per_example(_is_lost(apply, variables, z, label), z) > 0, z, x)


def _is_lost(apply: Apply, variables: Variables, z: Images, label: Labels) -> Array:
    return objectives.margin(apply(variables, z), label) < 0
