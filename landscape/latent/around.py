"""What lies around and between embeddings when nothing guides: noise, spheres, draws of the prior, paths.

All in white coordinates. Levels and radii of noise share their random numbers, so that two levels differ by the level
alone, and a key stands for (example, trial): an example's draws do not depend on the others. Paths are of all pairs at
once, points [T, N, D] at t = 0, 1/(T-1) .. 1; both ends are exact.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from landscape.spaces import draw_flat

# Radians from 0 or pi at which the straight line takes over. Near 0 arc and chord are angle^2 / 8 = 1e-7 of the radius
# apart, which float32 does not tell; near pi the plane of the circle is lost in rounding.
SMALL_ANGLE = 1e-3


def gaussian(keys: jax.Array, u: Float[Array, "N D"], levels: Float[Array, " L"]) -> Float[Array, "L N D"]:
    """u + s eps, eps ~ N(0, I) the same at all levels s (white units); about s sqrt(D) away."""
    return u[None] + levels[:, None, None] * draw_flat(jax.random.normal, keys, u)[None]


def shell(keys: jax.Array, u: Float[Array, "N D"], radii: Float[Array, " L"]) -> Float[Array, "L N D"]:
    """Uniform on the sphere of radius r sqrt(D) around u, in the same direction at all radii r.

    r is a root mean square per dimension (white units), so r here is as far as the level s = r of `gaussian`, on which
    it takes the spread of lengths away.
    """

    def direction(key: jax.Array, shape: tuple[int, ...]) -> Array:
        eps = jax.random.normal(key, shape)
        return eps / jnp.sqrt(jnp.mean(jnp.square(eps)))

    return u[None] + radii[:, None, None] * draw_flat(direction, keys, u)[None]


def prior(key: jax.Array, num: int, dim: int) -> Float[Array, "N D"]:
    """N(0, I): the Gaussian fitted to the training latents. Row i is the same whatever `num` is."""
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(num))
    return draw_flat(jax.random.normal, keys, jnp.zeros((num, dim)))


def linear(a: Float[Array, "N D"], b: Float[Array, "N D"], num_points: int) -> Float[Array, "T N D"]:
    """(1 - t) a + t b. Between latents of a Gaussian its middle lies nearer the mean than either end."""
    t = jnp.linspace(0.0, 1.0, num_points)[:, None, None]
    return ((1 - t) * a[None] + t * b[None]).at[0].set(a).at[-1].set(b)


def spherical(a: Float[Array, "N D"], b: Float[Array, "N D"], num_points: int) -> Float[Array, "T N D"]:
    """Around 0, the mean in white coordinates, the direction turns at a constant rate along the great circle and the
    length changes linearly:

        ((1 - t) |a| + t |b|) (sin((1 - t) w) a / |a| + sin(t w) b / |b|) / sin(w),   w the angle between a and b.

    Lengths stay those of typical latents of a Gaussian in many dimensions, where a straight line's middle does not.
    Where the directions nearly agree it is the straight line, which is then the same. Antipodal points have no one
    great circle, and the point 0 no direction: the straight line again, through 0.

    Source: Shoemake 1985 (SIGGRAPH 19:3) for the directions; White 2016, arXiv:1609.04468, for latents.
    """
    t = jnp.linspace(0.0, 1.0, num_points)[:, None, None]
    length_a, length_b = (jnp.linalg.norm(v, axis=-1, keepdims=True) for v in (a, b))
    at_center = (length_a == 0) | (length_b == 0)
    unit_a, unit_b = a / jnp.where(at_center, 1.0, length_a), b / jnp.where(at_center, 1.0, length_b)
    # Accurate at all angles; the arc cosine of the inner product is not near 0 and pi.
    angle = 2 * jnp.arctan2(
        jnp.linalg.norm(unit_a - unit_b, axis=-1, keepdims=True),
        jnp.linalg.norm(unit_a + unit_b, axis=-1, keepdims=True),
    )
    straight = at_center | (angle < SMALL_ANGLE) | (angle > jnp.pi - SMALL_ANGLE)
    angle = jnp.where(straight, 0.5 * jnp.pi, angle)[None]  # no NaN in the branch not taken
    direction = (jnp.sin((1 - t) * angle) * unit_a[None] + jnp.sin(t * angle) * unit_b[None]) / jnp.sin(angle)
    turned = ((1 - t) * length_a[None] + t * length_b[None]) * direction
    return jnp.where(straight[None], linear(a, b, num_points), turned).at[0].set(a).at[-1].set(b)
