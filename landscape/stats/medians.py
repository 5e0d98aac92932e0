"""The median of a few independent values, with an interval that needs no distribution."""

import math

import numpy as np

from landscape.stats.intervals import LEVEL


def median(values: np.ndarray) -> tuple[float, float, float, float]:
    """The median, and the narrowest interval between order statistics that covers the true one with LEVEL.

    Between the k-th smallest and the k-th largest of n independent values it lies with probability
    1 - 2 P(Binomial(n, 1/2) < k), whatever their distribution. Fewer than 6 values reach less than 95 % at k = 1.

    Returns:
      (median, low, high, level reached).
    """
    ordered = np.sort(np.asarray(values, float))
    n = len(ordered)
    cover = {k: 1 - 2 * sum(math.comb(n, i) for i in range(k)) / 2**n for k in range(1, n // 2 + 1)} or {1: 0.0}
    k = max((k for k, level in cover.items() if level >= LEVEL), default=1)
    return float(np.median(ordered)), float(ordered[k - 1]), float(ordered[-k]), cover[k]
