"""Exact intervals for shares of independent draws."""

import numpy as np
from jaxtyping import ArrayLike
from scipy import special


def clopper_pearson(successes: ArrayLike, trials: ArrayLike, *, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Exact two-sided interval of a binomial share: each tail of the binomial holds at most (1 - level) / 2.

    low = Beta quantile((1 - level) / 2; k, n - k + 1), 0 for k = 0;
    high = Beta quantile((1 + level) / 2; k + 1, n - k), 1 for k = n.
    For a one-sided bound at 1 - a take one end at level 1 - 2 a. For draws that are independent of each other (noise
    draws around one input), not for examples shared by members.

    Args:
      successes, trials: k and n >= 1, broadcast against each other.

    Returns:
      (low, high), arrays of the broadcast shape.

    Raises:
      ValueError: k outside 0..n or n < 1.

    Source: Clopper & Pearson 1934 (Biometrika 26:404).
    """
    k, n = np.broadcast_arrays(np.asarray(successes, dtype=np.float64), np.asarray(trials, dtype=np.float64))
    if np.any(n < 1) or np.any(k < 0) or np.any(k > n):
        raise ValueError(
            f"successes in {k.min():g}..{k.max():g} of trials in {n.min():g}..{n.max():g}: expected 0 <= successes <= "
            "trials and trials >= 1; pass counts, not shares."
        )
    tail = 0.5 * (1 - level)
    low = np.where(k > 0, special.betaincinv(np.maximum(k, 1), n - k + 1, tail), 0.0)
    high = np.where(k < n, special.betaincinv(k + 1, np.maximum(n - k, 1), 1 - tail), 1.0)
    return low, high
