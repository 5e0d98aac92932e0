"""Noise on inputs: every kind is made from one Gaussian draw, x -> x + sigma * direction(draw, x, origin).

One draw of an (example, trial) serves all kinds, sigmas, populations and members, so that comparisons are paired.
Noisy inputs are not clipped to [0, 1], but for "additive_clipped": clipping bends the identity between noise and the
Hessian (mean drop = -sigma^2 tr(H) / 2 for small sigma).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from landscape.types import Images

CLIPPED = "additive_clipped"
INPUT_NOISES = ("additive", "multiplicative", "envelope", "sphere", "linf_ball", CLIPPED)


def draw(keys: jax.Array, like: Images) -> Images:
    """Standard Gaussian noise [N, H, W, C] in the shape and dtype of `like`; row i depends on keys[i] alone."""
    return jax.vmap(lambda key: jax.random.normal(key, like.shape[1:], like.dtype))(keys)


def direction(kind: str, base: Images, x: Images, origin: Images) -> Images:
    """What sigma multiplies. With e = `base` ~ N(0, 1) for every pixel and D = H W C:

    - additive, additive_clipped: e.
    - multiplicative: x e, which leaves black pixels black.
    - envelope: x0 e, with x0 the genuine image: the same noise for every population made from it.
    - sphere: sqrt(D) e / ||e||, uniform on the L2 sphere of radius sqrt(D).
    - linf_ball: sqrt(3) (2 Phi(e) - 1), uniform in [-sqrt(3), sqrt(3)] for every pixel: standard deviation 1.

    Args:
      kind: one of INPUT_NOISES. base: a draw.
      x: points that noise is added to. origin: genuine images that they were made from.

    Raises:
      ValueError: unknown kind.
    """
    if kind in ("additive", CLIPPED):
        return base
    if kind == "multiplicative":
        return x * base
    if kind == "envelope":
        return origin * base
    if kind == "sphere":
        length = jnp.sqrt(jnp.sum(jnp.square(base), axis=(1, 2, 3), keepdims=True))
        return base * (base[0].size ** 0.5 / jnp.where(length > 0, length, 1.0))
    if kind == "linf_ball":
        return 3**0.5 * jax.lax.erf(base * 0.5**0.5)
    raise ValueError(f"kind={kind!r}: expected one of {', '.join(INPUT_NOISES)}; try additive")


def move(x: Images, step: Images, sigma: ArrayLike, *, clipped: ArrayLike) -> Images:
    """x + sigma * step, cut to [0, 1] where `clipped` (a scalar, also a traced one). [N, H, W, C]."""
    moved: Float[Array, "N H W C"] = x + sigma * step
    return jnp.where(clipped, jnp.clip(moved, 0.0, 1.0), moved)
