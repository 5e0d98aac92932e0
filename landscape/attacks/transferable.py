"""Attacks whose gradients are taken around the point rather than at it, to find what other classifiers are fooled by.

All are MI-FGSM with another objective: gradients of randomly resized inputs (input diversity), at the worst point
nearby (RAP), or pulled toward where the gradient is small (PGN).
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Float

from landscape import objectives
from landscape.attacks.projected import mi_fgsm
from landscape.objectives import Objective
from landscape.samplers import Sampler, fixed, keyed
from landscape.search import scaled
from landscape.types import Apply, Images, Variables


def di_fgsm(keys, variables, x, label, *, apply: Apply, smallest: float = 0.85, **budget) -> Float[Array, "N H W C"]:
    """Gradients of inputs that are, half of the time, resized to `smallest` .. 1 of their size and padded.

    Args:
      budget: as `mi_fgsm` takes it, with a `key` of the random sizes and positions, which are new at every step and the
        same for all examples.

    Source: Xie et al. 2019, arXiv:1803.06978.
    """

    def objective(drawn, z, label):
        variables, key = drawn
        return -objectives.log_odds(apply(variables, resized(key, z, share=0.5, smallest=smallest)), label)

    return mi_fgsm(keys, variables, x, label, apply=apply, objective=objective, sampler=beside_a_key, **budget)


def beside_a_key(variables: Variables) -> Sampler:
    """(the classifier, a fresh key) at every step."""
    return keyed(fixed(variables))


def resized(key: jax.Array, x: Images, *, share: float, smallest: float) -> Images:
    """With probability `share` all images at one random size and position on black, else as they are."""
    key_use, key_size, key_place = jax.random.split(key, 3)
    size = jax.random.uniform(key_size, (), minval=smallest, maxval=1.0)
    sides = jnp.asarray(x.shape[1:3], x.dtype)
    shift = jax.random.uniform(key_place, (2,)) * (1 - size) * sides
    move = partial(jax.image.scale_and_translate, shape=x.shape[1:3], spatial_dims=(0, 1), method="linear")

    def one(image):
        parts = [
            move(image[..., c], scale=jnp.stack([size, size]), translation=shift, antialias=False)
            for c in range(x.shape[-1])
        ]
        return jnp.stack(parts, axis=-1)

    return jnp.where(jax.random.uniform(key_use) < share, jax.vmap(one)(x), x)


def rap(
    keys,
    variables,
    x,
    label,
    *,
    apply: Apply,
    epsilon,
    num_steps: int,
    num_inner: int = 8,
    late: float = 0.25,
    **budget,
) -> Float[Array, "N H W C"]:
    """Reverse adversarial perturbation: the gradient at the worst point for the attack in the L-inf ball around z.

    Args:
      num_inner: steps of the search in that ball, see `at_the_worst`.
      late: share of the steps that come first, with the gradient at z itself (RAP-LS: 100 of 400; 0: RAP).

    Source: Qin et al. 2022, arXiv:2210.05968, algorithm 1: radius epsilon = 16/255, 8 inner steps.
    """
    plain = objectives.descend(apply, objectives.log_odds)
    worst = at_the_worst(plain, radius=epsilon, num_steps=num_inner)
    first = round(late * num_steps)

    def objective(drawn, z, label):
        variables, step = drawn
        return lax.cond(step < first, plain, worst, variables, z, label)

    own = {"epsilon": epsilon, "num_steps": num_steps, "objective": objective, "sampler": beside_the_step}
    return mi_fgsm(keys, variables, x, label, apply=apply, **own, **budget)


def beside_the_step(variables: Variables) -> Sampler:
    """(the classifier, the number of the step)."""
    return Sampler(lambda key, source: source, (variables, jnp.int32(0)), at=lambda step, source: (source[0], step))


def at_the_worst(objective: Objective, *, radius: ArrayLike, num_steps: int) -> Objective:
    """objective(z + n), n the point that sign steps find to be lowest of the L-inf ball of that radius (pixels).

    The steps start at z (the published code: at a random point of the ball) and are of radius / num_steps, so that they
    reach the ball's corners and no further; z + n stays in [0, 1]. n counts as a constant of z: the gradient is that at
    z + n.
    """

    def value(variables: Variables, z: Images, target: object):
        here = lax.stop_gradient(z)

        def step(n, _):
            slope = jax.grad(lambda n: jnp.sum(objective(variables, here + n, target)))(n)
            lower = jnp.clip(n - radius / num_steps * jnp.sign(slope), -radius, radius)
            return jnp.clip(here + lower, 0.0, 1.0) - here, None

        n, _ = lax.scan(step, jnp.zeros_like(z), None, length=num_steps)
        return objective(variables, z + lax.stop_gradient(n), target)

    return value


def pgn(
    keys, variables, x, label, *, apply: Apply, epsilon, step_size, reach=3.0, num_near=20, balance=0.5, **budget
) -> Float[Array, "N H W C"]:
    """Penalised gradient norm: gradients of random neighbours, balanced with those a step down from each.

        g = mean over z' of (1 - balance) grad(z') + balance grad(z' - step grad(z') / mean |grad(z')|)
          = mean over z' of grad(z') - balance step H grad(z') / mean |grad(z')| + O(step^2)

    with L the cross-entropy and H its Hessian: the gradient of L - lambda ||grad L|| at z', by a finite difference,
    lambda = balance step ||grad L|| / mean |grad L| held constant. Not of the log-odds that the other attacks lower:
    neighbours and the two gradients of each are weighted by how much of the loss is left there.

    Args:
      reach: of the neighbours, z' uniform in the cube of half side `reach` epsilon around z. num_near: their number.
      balance: in [0, 1].
      budget: as `mi_fgsm` takes it, with a `key` of the offsets, the same for all examples, new at every step.

    Source: Ge et al. 2023, arXiv:2306.05225, algorithm 1, with its 3, 20 and 0.5.
    """
    rise = objectives.ascend(apply, objectives.loss)
    flat = toward_flat(rise, reach=reach * epsilon, step=step_size, num_near=num_near, balance=balance)
    own = {"epsilon": epsilon, "step_size": step_size, "objective": flat, "sampler": beside_a_key}
    return mi_fgsm(keys, variables, x, label, apply=apply, **own, **budget)


def toward_flat(
    objective: Objective, *, reach: ArrayLike, step: ArrayLike, num_near: int, balance: ArrayLike
) -> Objective:
    """The value of an objective with the gradient of the formula in `pgn`; its classifier is (variables, key)."""

    def value(drawn, z, target):
        variables, key = drawn

        def gradient(z):
            return jax.grad(lambda z: jnp.sum(objective(variables, z, target)))(z)

        def near(total, i):
            offset = jax.random.uniform(jax.random.fold_in(key, i), z[0].shape, z.dtype, -1.0, 1.0)
            here = lax.stop_gradient(z) + reach * offset[None]
            own = gradient(here)
            behind = gradient(here - step * scaled(own, jnp.mean(jnp.abs(own), axis=(1, 2, 3))))
            return total + (1 - balance) * own + balance * behind, None

        total, _ = lax.scan(near, jnp.zeros_like(z), jnp.arange(num_near))
        slope = lax.stop_gradient(total / num_near)
        plain = lax.stop_gradient(objective(variables, z, target))
        return plain + jnp.sum(slope * (z - lax.stop_gradient(z)), axis=(1, 2, 3))

    return value
