"""Paths between two latents, all pairs at once: points [T, N, D] at t = 0, 1/(T-1) .. 1; both ends are exact."""

import jax.numpy as jnp
from jaxtyping import Array, Float

# Radians from 0 or pi at which the straight line takes over. Near 0 arc and chord are angle^2 / 8 = 1e-7 of the radius
# apart, which float32 does not tell; near pi the plane of the circle is lost in rounding.
SMALL_ANGLE = 1e-3


def linear(a: Float[Array, "N D"], b: Float[Array, "N D"], num_points: int) -> Float[Array, "T N D"]:
    """(1 - t) a + t b. Between latents of a Gaussian its middle lies nearer the mean than either end.

    Raises:
      ValueError: num_points below 2.
    """
    t = _grid(num_points)
    return _with_ends(a, (1 - t) * a[None] + t * b[None], b)


def spherical(a: Float[Array, "N D"], b: Float[Array, "N D"], num_points: int) -> Float[Array, "T N D"]:
    """Around 0, the mean in white coordinates, the direction turns at a constant rate along the great circle and the
    length changes linearly:

        ((1 - t) |a| + t |b|) (sin((1 - t) w) a / |a| + sin(t w) b / |b|) / sin(w),   w the angle between a and b.

    Lengths stay those of typical latents of a Gaussian in many dimensions, where a straight line's middle does not.
    Where the directions nearly agree it is the straight line, which is then the same. Antipodal points have no one
    great circle, and the point 0 no direction: the straight line again, through 0.

    Source: Shoemake 1985 (SIGGRAPH 19:3) for the directions; White 2016, arXiv:1609.04468, for latents.

    Raises:
      ValueError: num_points below 2.
    """
    t = _grid(num_points)
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
    return _with_ends(a, jnp.where(straight[None], (1 - t) * a[None] + t * b[None], turned), b)


def _grid(num_points: int) -> Float[Array, "T 1 1"]:
    if num_points < 2:
        raise ValueError(f"num_points={num_points}: expected at least 2, the two ends; try 9")
    return jnp.linspace(0.0, 1.0, num_points)[:, None, None]


def _with_ends(a: Float[Array, "N D"], points: Float[Array, "T N D"], b: Float[Array, "N D"]) -> Array:
    return points.at[0].set(a).at[-1].set(b)
