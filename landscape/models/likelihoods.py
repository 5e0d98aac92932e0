"""Log-densities that autoencoders are measured by: of pixels, of 8-bit bins, of the sphere."""

import math

import jax.numpy as jnp
from jax.scipy import special
from jaxtyping import Array, ArrayLike, Float

from landscape.types import Values

BIN = 1 / 255  # width of an 8-bit bin, pixels

Points = Float[Array, "N ..."]


def log_normal(x: Points, mean: Points, sigma: ArrayLike) -> Points:
    """log N(x; mean, sigma^2) of every entry, nats."""
    return -0.5 * jnp.square((x - mean) / sigma) - jnp.log(sigma) - 0.5 * math.log(2 * math.pi)


def log_bins(x: Points, mean: Points, sigma: ArrayLike) -> Points:
    """log P(the 8-bit bin of x) under N(mean, sigma^2), nats; the first and the last bin reach to infinity.

    log(Phi(b) - Phi(a)), a < b, written on the side of 0 where both are small: log Phi(b) + log(1 - Phi(a) / Phi(b)).
    Their sum over pixels, divided by -D log 2, is bits per dimension.

    Source: Salimans et al. 2017, arXiv:1701.05517, section 2.1, with a Gaussian for the logistic distribution.
    """
    middle = jnp.round(x * 255) / 255
    low, high = (middle - BIN / 2 - mean) / sigma, (middle + BIN / 2 - mean) / sigma
    low, high = jnp.where(middle <= 0, -jnp.inf, low), jnp.where(middle >= 1, jnp.inf, high)
    flip = low + high > 0  # the bin lies above the mean: reflect it
    low, high = jnp.where(flip, -high, low), jnp.where(flip, -low, high)
    # An edge at infinity must not reach the gradient: log_ndtr's is not a number there.
    open_end = jnp.isinf(low)
    upper = special.log_ndtr(high)
    lower = special.log_ndtr(jnp.where(open_end, high - 1.0, low))
    return upper + jnp.where(open_end, 0.0, _log1mexp(upper - lower))


def _log1mexp(gap: Array) -> Array:
    """log(1 - exp(-gap)) for gap > 0 (Maechler 2012)."""
    gap = jnp.maximum(gap, jnp.finfo(gap.dtype).tiny)
    small = gap < math.log(2)
    return jnp.where(
        small, jnp.log(-jnp.expm1(-jnp.where(small, gap, 1.0))), jnp.log1p(-jnp.exp(-jnp.where(small, 1.0, gap)))
    )


def log_uniform_on_sphere(z: Float[Array, "N D"]) -> Values:
    """log density of the uniform distribution on the sphere of radius sqrt(D): minus the log of its area, nats."""
    dim = z.shape[-1]
    log_area = math.log(2) + 0.5 * dim * math.log(math.pi) - math.lgamma(dim / 2) + (dim - 1) * 0.5 * math.log(dim)
    return jnp.full(z.shape[:1], -log_area, z.dtype)
