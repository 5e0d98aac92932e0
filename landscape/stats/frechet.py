"""Frechet distance of two sets of features, as of two Gaussians, and its value for infinitely many examples."""

import numpy as np
from jaxtyping import Float, Int

from landscape.stats.intervals import checked


def frechet(a: Float[np.ndarray, "N D"], b: Float[np.ndarray, "M D"]) -> float:
    """||mean_a - mean_b||^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)), covariances with n - 1. Unit of the features squared.

    The trace of the root is that of (C_a^(1/2) C_b C_a^(1/2))^(1/2), which is symmetric.

    Raises:
      ValueError: fewer than two examples, or features of unlike number.

    Source: Dowson & Landau 1982 (Journal of Multivariate Analysis 12:3).
    """
    a, b = checked(a, "features", 2), checked(b, "features", 2)
    if a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise ValueError(f"features of shapes {a.shape}, {b.shape}: expected two examples or more, and one length")
    cov_a, cov_b = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (a, b))
    values, vectors = np.linalg.eigh(cov_a)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    product = np.linalg.eigvalsh(root @ cov_b @ root)
    apart = float(np.sum(np.square(a.mean(0) - b.mean(0))))
    return apart + float(np.trace(cov_a) + np.trace(cov_b) - 2 * np.sum(np.sqrt(np.maximum(product, 0.0))))


def extrapolated(
    a: Float[np.ndarray, "N D"],
    b: Float[np.ndarray, "M D"],
    *,
    strata_a: Int[np.ndarray, " N"] | None = None,
    strata_b: Int[np.ndarray, " M"] | None = None,
    num_splits: int = 8,
    seed: int = 0,
) -> float:
    """`frechet` for infinitely many examples: that of n is about d + slope / n, so d = 2 d_n - d_{n/2}.

    d_{n/2} is the mean over random halves of both sets. Two samples of one distribution have d = 0, whatever n; the
    plain distance of them is positive. Needs n well above the number of features.

    Sets drawn class by class must be halved class by class: halves at random would vary in how often each class occurs,
    which the sets do not, and the extrapolated distance would come out below 0.

    Args:
      strata_a, strata_b: classes of the rows of a set that was drawn so; None for one drawn at random.

    Source: Chong & Forsyth 2020, arXiv:1911.07023, who fit a line over many sizes.
    """
    rng = np.random.default_rng(seed)
    halves = []
    for _ in range(num_splits):
        split_a, split_b = _halves(rng, len(a), strata_a), _halves(rng, len(b), strata_b)
        halves += [frechet(a[rows_a], b[rows_b]) for rows_a, rows_b in zip(split_a, split_b, strict=True)]
    return 2 * frechet(a, b) - float(np.mean(halves))


def _halves(rng: np.random.Generator, count: int, strata: np.ndarray | None) -> list[np.ndarray]:
    """Two disjoint random halves of 0 .. count - 1; of every class half, where classes are given."""
    order = rng.permutation(count)
    if strata is not None:
        order = order[np.argsort(strata[order], kind="stable")]  # random within each class, class after class
    pairs = order[: count // 2 * 2].reshape(-1, 2)  # neighbours go to different halves
    return [pairs[:, 0], pairs[:, 1]]
