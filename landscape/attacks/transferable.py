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
from landscape.types import Apply, Images, Labels, Variables


def di_fgsm(
    keys: jax.Array,
    variables: Variables,
    x: Images,
    label: Labels,
    *,
    apply: Apply,
    share: float = 0.5,
    smallest: float = 0.85,
    **budget,
) -> Float[Array, "N H W C"]:
    """Gradients of inputs that are, with probability `share`, resized to `smallest` .. 1 of their size and padded.

    Args:
      budget: as `mi_fgsm` takes it, with a `key` of the random sizes and places, which are new at every step and the
        same for all examples.

    Source: Xie et al. 2019, arXiv:1803.06978.
    """

    def objective(drawn, z, label):
        variables, key = drawn
        return -objectives.gap(apply(variables, resized(key, z, share=share, smallest=smallest)), label)

    return mi_fgsm(keys, variables, x, label, apply=apply, objective=objective, sampler=beside_a_key, **budget)


def beside_a_key(variables: Variables) -> Sampler:
    """(the classifier, a fresh key) at every step."""
    return keyed(fixed(variables))


def resized(key: jax.Array, x: Images, *, share: float, smallest: float) -> Images:
    """With probability `share` all images at one random size and place on black, else as they are."""
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
    keys: jax.Array,
    variables: Variables,
    x: Images,
    label: Labels,
    *,
    apply: Apply,
    epsilon: ArrayLike,
    radius: float = 1.0,
    num_inner: int = 8,
    **budget,
) -> Float[Array, "N H W C"]:
    """Reverse adversarial perturbation: the gradient at the worst point for the attack near z; see `at_the_worst`.

    Args:
      radius: of that neighbourhood, L-inf, as a share of epsilon; num_inner: steps of the search in it.

    Source: Qin et al. 2022, arXiv:2210.05968 (without its late start).
    """
    lower = objectives.descend(apply, objectives.gap)
    objective = at_the_worst(lower, radius=radius * epsilon, num_steps=num_inner)
    return mi_fgsm(keys, variables, x, label, apply=apply, objective=objective, epsilon=epsilon, **budget)


def at_the_worst(objective: Objective, *, radius: ArrayLike, num_steps: int) -> Objective:
    """objective(z + n), n the point of the L-inf ball of that radius (pixels) that sign steps find to be lowest.

    n counts as a constant of z: the gradient is that at z + n.
    """
    if num_steps < 1:
        raise ValueError(f"num_steps={num_steps}: expected at least 1; try 8")

    def value(variables: Variables, z: Images, target: object):
        def total(n):
            return jnp.sum(objective(variables, lax.stop_gradient(z) + n, target))

        def step(n, _):
            lower = n - 2 * radius / num_steps * jnp.sign(jax.grad(total)(n))
            return jnp.clip(lower, -radius, radius), None

        n, _ = lax.scan(step, jnp.zeros_like(z), None, length=num_steps)
        return objective(variables, z + lax.stop_gradient(n), target)

    return value


def pgn(
    keys: jax.Array,
    variables: Variables,
    x: Images,
    label: Labels,
    *,
    apply: Apply,
    epsilon: ArrayLike,
    step_size: ArrayLike,
    reach: float = 3.0,
    num_near: int = 8,
    balance: float = 0.5,
    **budget,
) -> Float[Array, "N H W C"]:
    """Penalised gradient norm: gradients of random neighbours, balanced with those a step down from each.

        g = mean over z' of (1 - balance) grad(z') + balance grad(z' - step grad(z') / mean |grad(z')|)

    the gradient of L - lambda ||grad L|| by finite differences, lambda = balance step ||grad L|| / mean |grad L|.

    Args:
      reach: of the neighbours, z' uniform in the cube of half side `reach` epsilon around z. num_near: their number.
      balance: in [0, 1].
      budget: as `mi_fgsm` takes it, with a `key` of the offsets, the same for all examples, new at every step.

    Source: Ge et al. 2023, arXiv:2306.05225.
    """
    lower = objectives.descend(apply, objectives.gap)

    def objective(drawn, z, label):
        variables, key = drawn

        def gradient(z):
            return jax.grad(lambda z: jnp.sum(lower(variables, z, label)))(z)

        def near(total, i):
            offset = jax.random.uniform(jax.random.fold_in(key, i), z[0].shape, z.dtype, -1.0, 1.0)
            here = lax.stop_gradient(z) + reach * epsilon * offset[None]
            own = gradient(here)
            size = jnp.mean(jnp.abs(own), axis=(1, 2, 3), keepdims=True)
            behind = gradient(here - step_size * own / jnp.maximum(size, 1e-12))
            return total + (1 - balance) * own + balance * behind, None

        slope, _ = lax.scan(near, jnp.zeros_like(z), jnp.arange(num_near))
        slope = lax.stop_gradient(slope / num_near)
        # The value at z, with that gradient.
        plain = lax.stop_gradient(lower(variables, z, label))
        return plain + jnp.sum(slope * (z - lax.stop_gradient(z)), axis=(1, 2, 3))

    ball = {"epsilon": epsilon, "step_size": step_size}
    return mi_fgsm(keys, variables, x, label, apply=apply, objective=objective, sampler=beside_a_key, **ball, **budget)
