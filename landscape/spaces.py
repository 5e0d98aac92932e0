"""Where a search moves: pixels, or an autoencoder's latent; a hidden layer has the same three functions."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Float

NORMS = ("linf", "l2")
SECANTS = 24  # steps of a projection onto a hyperplane; Newton's method alone takes a handful


Project = Callable[[Array, Array, ArrayLike], Array]  # (z, origin [N, ...], epsilon, scalar or [N]) -> feasible point


class Space(NamedTuple):
    """Three pure functions.

    encode: images [N, H, W, C] -> points z [N, ...].
    decode: points z -> images [N, H, W, C], differentiable.
    project: z -> the feasible point that it is replaced by.
    """

    encode: Callable[[Array], Array]
    decode: Callable[[Array], Array]
    project: Project


def per_example(value: ArrayLike, like: Float[Array, "N ..."]) -> Float[Array, "N ..."]:
    """A scalar or [N] array, shaped to broadcast against `like` [N, ...]."""
    value = jnp.broadcast_to(jnp.asarray(value, like.dtype), like.shape[:1])
    return value.reshape(-1, *(1,) * (like.ndim - 1))


def l2_norm(delta: Float[Array, "N ..."]) -> Float[Array, " N"]:
    """Euclidean norm of every example over all its entries. Pixels, [N]."""
    return jnp.sqrt(jnp.sum(jnp.square(delta), axis=tuple(range(1, delta.ndim))))


def linf_norm(delta: Float[Array, "N ..."]) -> Float[Array, " N"]:
    """Largest absolute entry of every example. Pixels, [N]."""
    return jnp.max(jnp.abs(delta), axis=tuple(range(1, delta.ndim)))


LENGTH = {"linf": linf_norm, "l2": l2_norm}


def pixels(norm: str) -> Space:
    """The image itself, in the ball of radius epsilon (pixels) around its origin and in [0, 1].

    For "linf" `project` is the exact projection on ball and box. For "l2" it projects on the ball, then clips: the
    result is feasible, since clipping moves a point no further from an origin inside the box, and doing it twice
    changes nothing, but it is not always the nearest feasible point.

    Raises:
      ValueError: unknown norm.
    """

    ball = balls(norm)
    return Space(same, same, lambda z, origin, epsilon: jnp.clip(ball(z, origin, epsilon), 0.0, 1.0))


def same(x: Array) -> Array:
    """The point itself."""
    return x


def balls(norm: str) -> Project:
    """(z, origin, epsilon) -> the nearest point of the ball of that radius around the origin, without a box.

    Raises:
      ValueError: unknown norm.
    """
    if norm not in NORMS:
        raise ValueError(f"norm={norm!r}: expected one of {', '.join(NORMS)}; try linf")
    return {"linf": into_cube, "l2": into_ball}[norm]


def into_cube(z: Array, origin: Array, epsilon: ArrayLike) -> Array:
    """The nearest point of the L-inf ball of radius epsilon around origin."""
    radius = per_example(epsilon, z)
    return jnp.clip(z, origin - radius, origin + radius)


def into_ball(z: Array, origin: Array, epsilon: ArrayLike) -> Array:
    """The nearest point of the L2 ball of radius epsilon around origin."""
    delta = z - origin
    length = per_example(l2_norm(delta), z)
    radius = per_example(epsilon, z)
    # `where` keeps an inside point bit for bit and never divides by zero.
    shrink = jnp.where(length > radius, radius / jnp.where(length > radius, length, 1.0), 1.0)
    return jnp.where(length > radius, origin + delta * shrink, z)


def section(normal: Float[Array, "N ..."]) -> Space:
    """The part of [0, 1]^D in the hyperplane through each origin that is orthogonal to `normal`; epsilon is not read.

    `project` is the exact projection: clip(z - lambda n, 0, 1) with the one lambda that puts it into the hyperplane
    through the origin, found by Newton's method kept within a bracket. The origin has to be in [0, 1], so that there
    is such a point. The rest <x - origin, n> is some units of rounding of |n| |z - origin|.

    Args:
      normal: of any length above 0.
    """
    flat = normal.reshape(normal.shape[0], -1)
    unit = flat / jnp.maximum(jnp.linalg.norm(flat, axis=1, keepdims=True), jnp.finfo(flat.dtype).tiny)

    def project(z, origin, epsilon):
        del epsilon
        rows, base = z.reshape(unit.shape), origin.reshape(unit.shape)
        # Beyond these every coordinate with a part in the normal is clipped, so that the answer lies between.
        reach = jnp.where(unit != 0, (1 + jnp.abs(rows)) / jnp.where(unit != 0, jnp.abs(unit), 1.0), 0.0)
        furthest = jnp.max(reach, axis=1)

        def excess_at(shift):
            """<clip(z - shift n) - origin, n>, which falls as the shift grows, and how steeply."""
            moved = rows - shift[:, None] * unit
            free = (moved > 0) & (moved < 1)
            excess = jnp.sum(unit * (jnp.clip(moved, 0.0, 1.0) - base), axis=1)
            return excess, jnp.sum(jnp.where(free, jnp.square(unit), 0.0), axis=1)

        def narrow(state):
            count, shift, low, high, excess, slope = state
            low, high = jnp.where(excess > 0, shift, low), jnp.where(excess > 0, high, shift)
            newton = shift + excess / jnp.where(slope > 0, slope, 1.0)
            within = (slope > 0) & (newton >= low) & (newton <= high)
            shift = jnp.where(within, newton, 0.5 * (low + high))
            return count + 1, shift, low, high, *excess_at(shift)

        # Rounding leaves as much of a sum over what was gone.
        enough = 4 * jnp.finfo(z.dtype).eps * jnp.linalg.norm(rows - base, axis=1)

        def apart(state):
            return (state[0] < SECANTS) & jnp.any(jnp.abs(state[4]) > enough)

        start = jnp.zeros(unit.shape[0], unit.dtype)
        _, shift, *_ = lax.while_loop(apart, narrow, (0, start, -furthest, furthest, *excess_at(start)))
        return jnp.clip(rows - shift[:, None] * unit, 0.0, 1.0).reshape(z.shape)

    return Space(same, same, project)


def plane(normal: Float[Array, "N ..."], decode: Callable[[Array], Array]) -> Space:
    """The hyperplane through each origin that is orthogonal to `normal`, in a latent; epsilon is not read.

    Args:
      normal: of any length above 0.
      decode: of the autoencoder.
    """
    unit = normal / per_example(jnp.maximum(l2_norm(normal), jnp.finfo(normal.dtype).tiny), normal)

    def project(z, origin, epsilon):
        del epsilon
        return z - per_example(jnp.sum((unit * (z - origin)).reshape(z.shape[0], -1), axis=1), z) * unit

    return Space(same, decode, project)


def latent(encode: Callable[[Array], Array], decode: Callable[[Array], Array]) -> Space:
    """An autoencoder's latent z [N, ...], in the L2 ball of radius epsilon (units of z, over the whole latent).

    What `decode` makes of a point is the manifold that the autoencoder learned: a search here stays on it. Latents that
    fill only part of space (a sphere, codes) need a `decode` that brings points there first.
    """
    return Space(encode, decode, into_ball)


def hidden(features: Callable[[Array], Array]) -> Space:
    """A hidden layer h [N, ...], in the L2 ball of radius epsilon (units of h): h itself is what the objective sees.

    So the objective's `apply` is the classifier from that layer on, `head(variables, h)`; there is no way back to
    pixels, and no box.
    """
    return latent(features, same)


def fold(keys: jax.Array, number: ArrayLike) -> jax.Array:
    """fold_in(key, number) of every example's key."""
    return jax.vmap(jax.random.fold_in, (0, None))(keys, number)


def draw_flat(
    draw: Callable[[jax.Array, tuple[int, ...]], Array], keys: jax.Array, like: Float[Array, "N ..."]
) -> Float[Array, "N ..."]:
    """draw(key, (D,)) for every key, in the shape of `like`.

    The bits are those of a draw in the image's shape, but XLA compiles a flat draw in a fraction of the time.
    """
    return jax.vmap(lambda key: draw(key, (like[0].size,)))(keys).reshape(like.shape)


def random_start(keys: jax.Array, origin: Float[Array, "N ..."], epsilon: ArrayLike, *, norm: str) -> Array:
    """Uniform point of the ball of radius epsilon around each origin, before the box. Same shape as `origin`.

    L-inf: uniform in the cube. L2: uniform in the ball, a uniform direction times U^(1/D). Drawn in float32 whatever
    the dtype, so that a search in double precision begins where the one in single precision does.
    """
    radius = per_example(epsilon, origin)

    def cube(key, shape):
        return jax.random.uniform(key, shape, jnp.float32, -1.0, 1.0)

    def ball(key, shape):
        key_direction, key_length = jax.random.split(key)
        direction = jax.random.normal(key_direction, shape, jnp.float32)
        length = jax.random.uniform(key_length, (), jnp.float32) ** (1.0 / direction.size)
        return direction * (length / jnp.sqrt(jnp.sum(jnp.square(direction))))

    return origin + radius * draw_flat({"linf": cube, "l2": ball}[norm], keys, origin).astype(origin.dtype)
