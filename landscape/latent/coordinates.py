"""White coordinates u of a latent z: one white unit is one typical spread of the latent, in every direction.

    u = C^(-1/2) (z - mean),    z = mean + C^(1/2) u

Radii, step sizes and temperatures then mean the same for every autoencoder. Latents that are maps are flattened first.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float

Points = Float[Array, "N D"] | Float[np.ndarray, "N D"]


class Whitening(NamedTuple):
    """mean [D]; root C^(1/2) and inverse C^(-1/2), both [D, D] and symmetric; float32, unit of the latent and its
    inverse. A pytree: hand it to compiled functions as an argument."""

    mean: Float[Array, " D"] | Float[np.ndarray, " D"]
    root: Float[Array, "D D"] | Float[np.ndarray, "D D"]
    inverse: Float[Array, "D D"] | Float[np.ndarray, "D D"]


def fit_whitening(z: Float[np.ndarray, "N D"], *, ridge: float = 1e-6) -> Whitening:
    """Mean and symmetric square root of the covariance, in float64.

    C = cov(z) + ridge v I, where v is the mean of cov(z)'s eigenvalues. A direction in which the latent does not vary
    (a constant dimension, fewer examples than dimensions) so has the standard deviation sqrt(ridge v): the data sit at
    u = 0 there, and one white unit is a thousandth of the typical spread with the default ridge.

    Args:
      z: latents of the training examples.
      ridge: positive, a share of v. Directions of variance far above ridge v become exactly white; the ratio of the
        largest to the smallest entry of the roots stays below sqrt(D / ridge), so that float32 carries a round trip.

    Raises:
      ValueError: fewer than two examples, values that are not finite, no variance at all, or ridge not positive.
    """
    z = np.asarray(z, np.float64)
    if z.ndim != 2 or len(z) < 2 or not np.isfinite(z).all():
        raise ValueError(f"latents of shape {z.shape}: expected [N, D], N at least 2, all finite; flatten maps first")
    if not ridge > 0:
        raise ValueError(f"ridge={ridge}: expected a positive share of the mean variance; try 1e-6")
    mean = z.mean(axis=0)
    covariance = (z - mean).T @ (z - mean) / (len(z) - 1)
    scale = np.trace(covariance) / z.shape[1]
    if not scale > 0:
        raise ValueError(f"{len(z)} equal latents: expected some variance; has the encoder collapsed?")
    values, vectors = np.linalg.eigh(covariance)
    # eigh may give an eigenvalue of 0 as a slightly negative number.
    deviations = np.sqrt(np.maximum(values, 0.0) + ridge * scale)
    root, inverse = (vectors * deviations) @ vectors.T, (vectors / deviations) @ vectors.T
    return Whitening(*(part.astype(np.float32) for part in (mean, root, inverse)))


def fit_scaling(z: Float[np.ndarray, "N D"], code: int) -> Whitening:
    """Coordinates that differ from latents by one number: codes have no other, since they lie on a grid.

    The mean over examples of the sum of squares about the mean is 1 for each code of `code` numbers.
    """
    spread = np.sqrt(np.square(z - z.mean(axis=0)).sum(axis=1).mean() / (z.shape[1] // code))
    scale, one = np.float32(spread), np.eye(z.shape[1], dtype=np.float32)
    return Whitening(np.zeros(z.shape[1], np.float32), scale * one, one / scale)


def to_white(whitening: Whitening, z: Points) -> Points:
    """u = C^(-1/2) (z - mean), white units."""
    return (z - whitening.mean[None]) @ whitening.inverse


def from_white(whitening: Whitening, u: Points) -> Points:
    """z = mean + C^(1/2) u, units of the latent: the inverse of `to_white` up to float32 rounding."""
    return whitening.mean[None] + u @ whitening.root
