"""What a set of latents looks like: moments, correlations, dimensions, and classes that follow each other on chains.

Latents are z [N, D], one row an example, flattened by the caller; computed in double precision.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse

from landscape.measures.neighbors import nearest
from landscape.stats.intervals import t_quantile

PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
DISCARDED = 0.1  # share of the largest ratios that `intrinsic_dimension` leaves at its cut, as Facco et al. do
FEWEST = 20  # distinct points below which it says nothing


def checked(z: Float[np.ndarray, "N D"], name: str = "z", *, fewest: int = 2) -> Float[np.ndarray, "N D"]:
    """`z` as float64; refuses other than two axes, too few rows, no columns and values that are not finite."""
    z = np.asarray(z, np.float64)
    if z.ndim != 2 or len(z) < fewest or z.shape[1] < 1:
        raise ValueError(
            f"{name} has shape {z.shape}: expected [N, D] with N >= {fewest} examples and D >= 1 dimensions; "
            "flatten latents with z.reshape(len(z), -1)"
        )
    bad = int(np.sum(~np.isfinite(z)))
    if bad:
        raise ValueError(f"{name} holds {bad} of {z.size} values that are NaN or infinite: expected finite values")
    return z


# ---- one dimension, one example ----


def moments(z: Float[np.ndarray, "N D"]) -> dict[str, Float[np.ndarray, "..."]]:
    """Mean, standard deviation, shape and percentiles of every dimension.

    With d = z - mean: std^2 = sum d^2 / (N - 1), skewness = m3 / m2^1.5, excess kurtosis = m4 / m2^2 - 3, where m_p is
    the mean of d^p. A Gaussian has 0 and 0; standard errors are then about sqrt(6 / N) and sqrt(24 / N).

    Returns:
      mean, std [D], unit of z; skewness, excess_kurtosis [D], no unit, NaN for a constant dimension;
      percentiles [7, D], unit of z, at PERCENTILES.
    """
    z = checked(z)
    constant = np.ptp(z, axis=0) == 0
    centred = np.where(constant[None], 0.0, z - z.mean(axis=0))  # a mean of equal numbers is rounded
    second, third, fourth = (np.mean(centred**power, axis=0) for power in (2, 3, 4))
    spread = np.where(constant, np.nan, second)
    return {
        "mean": z.mean(axis=0),
        "std": np.sqrt(second * len(z) / (len(z) - 1)),
        "skewness": third / spread**1.5,
        "excess_kurtosis": fourth / spread**2 - 3,
        "percentiles": np.percentile(z, PERCENTILES, axis=0),
    }


def norms(z: Float[np.ndarray, "N D"]) -> Float[np.ndarray, " N"]:
    """||z|| / sqrt(D) of every example; near 1 for a standard Gaussian of many dimensions. Unit of z."""
    return np.sqrt(np.mean(np.square(checked(z, fewest=1)), axis=1))


def active_units(z: Float[np.ndarray, "N D"], threshold: float = 0.01, *, relative: bool = False) -> int:
    """How many dimensions move with the input: those of var_x(z_d) > threshold, variances over the examples (N - 1).

    Burda et al. take z to be the posterior mean of a variational autoencoder: its prior has variance 1, which makes
    0.01 a share. Where no prior sets the scale, `relative` compares with threshold times the largest variance.

    Source: Burda et al. 2016, arXiv:1509.00519, section 5.
    """
    variances = checked(z).var(axis=0, ddof=1)
    return int(np.sum(variances > threshold * (variances.max() if relative else 1.0)))


# ---- between dimensions ----


def correlation(z: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "D D"]:
    """Pearson's correlation of every two dimensions; 1 on the diagonal, 0 beside it where a dimension is constant."""
    z = checked(z)
    constant = np.ptp(z, axis=0) == 0
    centred = np.where(constant[None], 0.0, z - z.mean(axis=0))
    units = centred / np.where(constant, 1.0, np.linalg.norm(centred, axis=0))
    found = np.clip(units.T @ units, -1.0, 1.0)
    np.fill_diagonal(found, 1.0)
    return found


def spectrum(z: Float[np.ndarray, "N D"]) -> Float[np.ndarray, " D"]:
    """Variances (N - 1) along the principal axes, falling. Unit of z squared."""
    centred = checked(z) - np.mean(z, axis=0, dtype=np.float64)
    return np.maximum(np.linalg.eigvalsh(centred.T @ centred / (len(z) - 1))[::-1], 0.0)


def effective_dimension(variances: Float[np.ndarray, " D"]) -> float:
    """Participation ratio (sum v)^2 / sum v^2: D for equal variances, 1 for a single one, 0 if all are 0."""
    squares = float(np.sum(np.square(variances, dtype=np.float64)))
    return float(np.sum(variances, dtype=np.float64)) ** 2 / squares if squares > 0 else 0.0


# ---- the dimension of the set ----


class Dimension(NamedTuple):
    """An intrinsic dimension with its interval; NaN where the ratios do not tell one."""

    value: float
    low: float
    high: float
    sem: float
    points: int  # distinct points used
    duplicates: int  # rows left out since an equal one is kept


def intrinsic_dimension(z: Float[np.ndarray, "N D"], *, level: float = 0.95) -> Dimension:
    """TwoNN: the dimension that the distances r1, r2 to the two nearest neighbours tell.

    Where the density is constant as far as r2, mu = r2 / r1 has P(mu > m) = m^-d, so log mu is exponential of rate d.
    The largest tenth is the least local; Facco et al. leave it out of a line fit of -log(1 - F) on log mu. Here it is
    censored at its lower end c, and the fit is by maximum likelihood, which has less variance and a standard error:

        d = (r - 1) / sum_i min(log mu_i, log c),    r = the number of mu <= c.

    Points share neighbours, so their mu are not independent: the variance of d sums the products of the scores
    1[mu_i <= c] - d min(log mu_i, log c) over all pairs whose triples (point and two neighbours) overlap.

    Args:
      z: points; equal ones (in float32) count once. Neighbours by brute force, N^2 D multiplications.
      level: of the interval d -+ z sem. Simulated with N = 1000 and D = 2, 5, 10 (uniform, Gaussian, a sphere), it
        holds the *mean of the estimator* 93 - 97 % of the time, where independence would give 87 - 91 %.

    Returns:
      Dimension. The estimator itself is too low in many dimensions, where neighbours are far, and the interval does not
      know of it: with N = 1000 by about 1 % in 2 dimensions, 5 % for a Gaussian and 16 % for a cube of 10; a Gaussian
      of 64 comes out at 43 with N = 54000. NaN where most mu are 1 (codes on a grid).

    Raises:
      ValueError: fewer than 20 distinct points.

    Source: Facco et al. 2017, arXiv:1803.06992.
    """
    z = checked(z)
    centred = z - z.mean(axis=0)
    scale = np.abs(centred).max()
    distinct = np.unique((centred / (scale if scale > 0 else 1.0)).astype(np.float32), axis=0)
    num = len(distinct)
    if num < FEWEST:
        raise ValueError(f"{num} distinct points of {len(z)}: expected {FEWEST} or more; take more examples")
    distance, index = (np.asarray(a) for a in nearest(distinct, distinct, 2, exclude_self=True))
    log_mu = np.log(distance[:, 1].astype(np.float64) / distance[:, 0])
    cut = np.sort(log_mu)[int((1 - DISCARDED) * num) - 1]
    seen = log_mu <= cut
    total = float(np.minimum(log_mu, cut).sum())
    if cut <= 0:
        return Dimension(*[float("nan")] * 4, points=num, duplicates=len(z) - num)
    value = (int(seen.sum()) - 1) / total
    score = seen - value * np.minimum(log_mu, cut)
    triples = np.concatenate([np.arange(num)[:, None], index], axis=1)
    holds = sparse.csr_array((np.ones(3 * num), triples.ravel(), np.arange(0, 3 * num + 1, 3)), (num, num))
    overlap = holds @ holds.T
    overlap.data[:] = 1.0
    # A sum over overlapping pairs may come out below that of the points alone; it is then too low by chance.
    sem = value * float(np.sqrt(max(score @ (overlap @ score), score @ score))) / int(seen.sum())
    half = float(t_quantile(np.inf, level)) * sem
    return Dimension(value, value - half, value + half, sem, points=num, duplicates=len(z) - num)


# ---- classes along chains ----


class Mixing(NamedTuple):
    """Transitions between classes along chains: how many, and as shares of the row; row = class before the step."""

    counts: Int[np.ndarray, "K K"]
    shares: Float[np.ndarray, "K K"]


def mixing_matrix(states: Int[np.ndarray, "T C"], num_classes: int) -> Mixing:
    """P(next class = b | class = a), pooled over the T - 1 steps of C chains.

    Args:
      states: predicted class of every step and chain.
      num_classes: K.

    Returns:
      Mixing: shares sum to 1 over every row; those of a class that no step starts from are NaN.

    Raises:
      ValueError: a class outside 0 .. K - 1.
    """
    states = np.asarray(states)
    if states.size and not 0 <= states.min() <= states.max() < num_classes:
        raise ValueError(f"states from {states.min()} to {states.max()}: expected 0 to {num_classes - 1}")
    pairs = states[:-1].ravel().astype(np.int64) * num_classes + states[1:].ravel()
    counts = np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)
    visits = counts.sum(axis=1, keepdims=True)
    return Mixing(counts, np.where(visits > 0, counts / np.maximum(visits, 1), np.nan))
