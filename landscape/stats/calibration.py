"""The expected calibration error of classifiers."""

import numpy as np
from jaxtyping import Bool, Float, Int


def bins_of(confidence: Float[np.ndarray, "S N"], num_bins: int) -> Int[np.ndarray, "S N"]:
    """The bin of equal width that each confidence is in."""
    return np.clip((confidence * num_bins).astype(int), 0, num_bins - 1)


def bin_sums(values: np.ndarray, bins: np.ndarray, num_bins: int) -> Float[np.ndarray, "S B"]:
    """Sum of values [S, N] in each member's bins."""
    num_members = len(values)
    flat = (bins + num_bins * np.arange(num_members)[:, None]).ravel()
    return np.bincount(flat, values.ravel(), minlength=num_members * num_bins).reshape(num_members, num_bins)


def calibration_error(
    confidence: Float[np.ndarray, "S N"],
    right: Bool[np.ndarray, "S N"],
    *,
    num_bins: int,
    weight: Float[np.ndarray, " N"] | None = None,
) -> Float[np.ndarray, " S"]:
    """Expected calibration error of each member: sum over bins of |share right - mean confidence| times its share.

    `num_bins` bins of equal width in confidence; `weight` counts the images. Biased upwards by sampling noise, of the
    order sqrt(num_bins / N). Guo et al. 2017, arXiv:1706.04599.
    """
    weight = np.ones(confidence.shape[1]) if weight is None else weight
    gaps = bin_sums((right - confidence) * weight[None, :], bins_of(confidence, num_bins), num_bins)
    return np.abs(gaps).sum(axis=1) / weight.sum()
