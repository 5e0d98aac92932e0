"""What a set of latents looks like: moments, correlations, dimensions, and classes that follow each other on chains.

Latents are z [N, D], one row an example, flattened by the caller; computed in double precision.
"""

import numpy as np
from jaxtyping import Float, Int

from landscape.measures.neighbors import nearest

DISCARDED = 0.1  # share of the largest ratios that `intrinsic_dimension` leaves at its cut, as Facco et al. do
FEWEST = 20  # distinct points below which it says nothing
ACTIVE = 0.01  # variance above which a dimension counts as active


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
    """Mean, standard deviation and shape of every dimension.

    With d = z - mean: std^2 = sum d^2 / (N - 1), skewness = m3 / m2^1.5, excess kurtosis = m4 / m2^2 - 3, where m_p is
    the mean of d^p. A Gaussian has 0 and 0; standard errors are then about sqrt(6 / N) and sqrt(24 / N).

    Returns:
      mean, std [D], unit of z; skewness, excess_kurtosis [D], no unit, NaN for a constant dimension.
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
    }


def norms(z: Float[np.ndarray, "N D"]) -> Float[np.ndarray, " N"]:
    """||z|| / sqrt(D) of every example; near 1 for a standard Gaussian of many dimensions. Unit of z."""
    return np.sqrt(np.mean(np.square(checked(z, fewest=1)), axis=1))


def active_units(z: Float[np.ndarray, "N D"], *, relative: bool = False) -> int:
    """How many dimensions move with the input: those of var_x(z_d) > ACTIVE, variances over the examples (N - 1).

    Burda et al. take z to be the posterior mean of a variational autoencoder: its prior has variance 1, which makes
    ACTIVE a share. Where no prior sets the scale, `relative` compares with ACTIVE times the largest variance.

    Source: Burda et al. 2016, arXiv:1509.00519, section 5.
    """
    variances = checked(z).var(axis=0, ddof=1)
    return int(np.sum(variances > ACTIVE * (variances.max() if relative else 1.0)))


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


def intrinsic_dimension(z: Float[np.ndarray, "N D"]) -> float:
    """TwoNN: the dimension that the distances r1, r2 to the two nearest neighbours imply.

    Where the density is constant as far as r2, mu = r2 / r1 has P(mu > m) = m^-d, so log mu is exponential of rate d.
    The largest tenth is the least local; Facco et al. leave it out of a line fit of -log(1 - F) on log mu. Here it is
    censored at its lower end c, and the fit is by maximum likelihood, which has less variance:

        d = (r - 1) / sum_i min(log mu_i, log c),    r = the number of mu <= c.

    Args:
      z: points; equal ones (in float32) count once. Neighbours by brute force, N^2 D multiplications.

    Returns:
      The estimate, too low in many dimensions, where neighbours are far: with N = 1000 by about 1 % in 2 dimensions,
      5 % for a Gaussian and 16 % for a cube of 10; a Gaussian of 64 comes out at 43 with N = 54000. NaN where most mu
      are 1 (codes on a grid).

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
    distance = np.asarray(nearest(distinct, distinct, 2, exclude_self=True)[0])
    log_mu = np.log(distance[:, 1].astype(np.float64) / distance[:, 0])
    cut = np.sort(log_mu)[int((1 - DISCARDED) * num) - 1]
    if cut <= 0:
        return float("nan")
    return (int(np.sum(log_mu <= cut)) - 1) / float(np.minimum(log_mu, cut).sum())


# ---- classes along chains ----


def transitions(states: Int[np.ndarray, "T C"], num_classes: int) -> Int[np.ndarray, "K K"]:
    """How often class b follows class a, [a, b], over the T - 1 steps of C chains of predicted classes.

    Raises:
      ValueError: a class outside 0 .. K - 1.
    """
    states = np.asarray(states)
    if states.size and not 0 <= states.min() <= states.max() < num_classes:
        raise ValueError(f"states from {states.min()} to {states.max()}: expected 0 to {num_classes - 1}")
    pairs = states[:-1].ravel().astype(np.int64) * num_classes + states[1:].ravel()
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)
