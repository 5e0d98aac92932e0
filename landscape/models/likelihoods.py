"""Log-densities that autoencoders are measured by: of pixels, of the bins of their levels, of the sphere."""

import math

import jax.numpy as jnp
import numpy as np
from jax.scipy import special
from jaxtyping import Array, ArrayLike, Float

from landscape.data import level_index
from landscape.types import Values

BYTES = tuple(range(256))

Points = Float[Array, "N ..."]


def log_normal(x: Points, mean: Points, sigma: ArrayLike) -> Points:
    """log N(x; mean, sigma^2) of every entry, nats."""
    return -0.5 * jnp.square((x - mean) / sigma) - jnp.log(sigma) - 0.5 * math.log(2 * math.pi)


def bins(levels: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper end, pixels [256], of the bin that each byte value lies in.

    Bins are those of the levels: they meet halfway between neighbours, and the first and the last reach to infinity. A
    byte that is no level lies in the bin of the nearest one.
    """
    middles = (np.asarray(levels[:-1]) + np.asarray(levels[1:])) / 2
    edges = np.concatenate([[-np.inf], middles / 255, [np.inf]]).astype(np.float32)
    index = level_index(levels)
    return edges[index], edges[index + 1]


def log_bins(x: Points, mean: Points, sigma: ArrayLike, levels: tuple[int, ...] = BYTES) -> Points:
    """log P(the bin of x) under N(mean, sigma^2), nats, with the bins of the levels that images have; see `bins`.

    Bins narrower than the levels would count the values between them, which no image has, as possible.

    log(Phi(b) - Phi(a)), a < b, written on the side of 0 where both are small: log Phi(b) + log(1 - Phi(a) / Phi(b)).
    Their sum over pixels, divided by -D log 2, is bits per dimension.

    Source: Salimans et al. 2017, arXiv:1701.05517, section 2.1, with a Gaussian for the logistic distribution.
    """
    value = jnp.clip(jnp.round(x * 255), 0, 255).astype(jnp.int32)
    low, high = (_standardised(jnp.asarray(ends)[value], mean, sigma) for ends in bins(levels))
    flip = low + high > 0  # the bin lies above the mean: reflect it
    low, high = jnp.where(flip, -high, low), jnp.where(flip, -low, high)
    # An edge at infinity must not reach the gradient: log_ndtr's is not a number there.
    open_end = jnp.isinf(low)
    upper = special.log_ndtr(high)
    lower = special.log_ndtr(jnp.where(open_end, high - 1.0, low))
    return upper + jnp.where(open_end, 0.0, _log1mexp(upper - lower))


def _standardised(ends: Array, mean: Array, sigma: ArrayLike) -> Array:
    """(ends - mean) / sigma; infinite ones stay, without a gradient in sigma, which would not be a number."""
    far = jnp.isinf(ends)
    return jnp.where(far, ends, (jnp.where(far, 0.0, ends) - mean) / sigma)


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
