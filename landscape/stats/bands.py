"""Simultaneous bands: intervals for a curve over L levels that hold at all levels together."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import special

from landscape.stats.intervals import LEVEL, checked, generalises_to, two_way

NUM_STRATA = 500  # distinct chi-square values; divides the number of draws


class Band(NamedTuple):
    """A curve with pointwise and simultaneous intervals, every array [L], in the unit of the influence arrays."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    band_low: np.ndarray
    band_high: np.ndarray
    sem: np.ndarray
    df: np.ndarray


def _correlation(influence: np.ndarray) -> np.ndarray:
    """Correlation [L, L] of the curve's values from the two-way components A + B - E, its negative eigenvalues cut."""
    _, num_members, num_examples = influence.shape
    rows, columns = influence.mean(2), influence.mean(1)
    centre = rows.mean(1)
    rest = influence - rows[:, :, None] - columns[:, None, :] + centre[:, None, None]
    rows, columns, rest = rows - centre[:, None], columns - centre[:, None], rest.reshape(rest.shape[0], -1)
    scope = generalises_to(num_members, num_examples)
    covariance = np.zeros((influence.shape[0],) * 2)
    if scope != "new images":
        covariance += num_examples * rows @ rows.T / (num_members - 1)
    if scope != "new seeds":
        covariance += num_members * columns @ columns.T / (num_examples - 1)
    if scope == "both":
        covariance -= rest @ rest.T / ((num_members - 1) * (num_examples - 1))
    # Scaled by the larger of the two components first: levels of very unlike size must not drown each other.
    size = np.sqrt(np.maximum(np.einsum("ls,ls->l", rows, rows), np.einsum("ln,ln->l", columns, columns)))
    values, vectors = np.linalg.eigh(covariance / np.outer(size, size))
    positive = (vectors * np.maximum(values, 0.0)) @ vectors.T
    scale = np.sqrt(np.maximum(np.diag(positive), np.finfo(np.float64).tiny))
    return positive / np.outer(scale, scale)


def simultaneous(influence: Float[np.ndarray, "L S N"], *, num_draws: int = 10_000) -> Band:
    """Sup-t band of a curve: each level has its two-way t interval, widened until all L hold together.

    Draws of a t vector with the curve's estimated correlation (normal vector over a common chi-square draw, each level
    at its own df) give the law of the smallest two-sided p value over the levels; its (1 - LEVEL) quantile replaces
    1 - LEVEL in every level's t quantile, before the correction for skewness. So the band is never narrower than the
    pointwise interval of `intervals.interval`, and equals it for L = 1 or perfectly correlated levels, up to the error
    of the simulation (fixed seed).

    Args:
      influence: u [L, S, N] of the L levels (`influence`, `matching`, or plain values).
      num_draws: of the simulation; 10,000 draws give the critical value to about 1 %.

    Returns:
      Band; a level without variance keeps zero width.

    Raises:
      ValueError: not [L, S, N], not finite, or fewer than 4 members with one example only.

    Source: Montiel Olea & Plagborg-Moller 2019 (Journal of Applied Econometrics 34:1).
    """
    influence = checked(influence, "influence", 3)
    if influence.shape[1] < 4 and influence.shape[2] < 2:
        raise ValueError(
            f"influence has shape {influence.shape}: expected at least 2 examples or 4 members for a spread; take more."
        )
    result = two_way(influence)
    levels = np.full(result.value.shape, LEVEL)
    # Rounding of a constant level is no spread.
    varying = result.sem > 1e-12 * np.maximum(np.abs(influence).max((1, 2)), np.finfo(np.float64).tiny)
    if varying.sum() > 1:
        df = result.df[varying]
        values, vectors = np.linalg.eigh(_correlation(influence[varying]))
        rng = np.random.default_rng(0)
        normal = rng.standard_normal((num_draws, df.size)) @ (vectors * np.sqrt(np.maximum(values, 0.0))).T
        # The common chi-square draw takes equally likely values in turn: fewer quantiles to compute, and less noise.
        common = (np.arange(NUM_STRATA) + 0.5) / NUM_STRATA
        chi_square = 2 * special.gammaincinv(0.5 * df[None, :], common[:, None])
        draws = np.abs(normal) / np.sqrt(np.resize(chi_square, normal.shape) / df[None, :])
        smallest = np.min(2 * special.stdtr(df[None, :], -draws), axis=1)
        joint = min(float(np.quantile(smallest, 1 - LEVEL)), 1 - LEVEL)
        levels[varying] = 1 - joint
    return Band(result.value, *result.ends(), *result.ends(levels), result.sem, result.df)
