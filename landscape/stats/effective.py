"""How many classifiers a search is worth that was guided by other means: the size whose success is the same."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import optimize

from landscape.stats.resampling import crossed_bootstrap, one_by_one

# Differences of means below this are rounding: of 32-bit decisions, averaged in double precision.
ROUNDING = 1e-9


class Effective(NamedTuple):
    """Effective number of classifiers k, and its interval; 0 says "fewer than the smallest size", inf "more than the
    largest". flat: whether no size does better than the smallest, so that k says nothing.
    """

    value: float
    low: float
    high: float
    flat: bool


def effective_size(sizes: Int[np.ndarray, " L"], success: Float[np.ndarray, " L"], reached: float) -> float:
    """The smallest k at which the rising curve through success(k) comes to `reached`.

    The curve is the isotonic regression of the success at each size, linear in log2 k between sizes.

    Args:
      sizes: growing. success: at each of them.

    Returns:
      k; 0.0 where even the smallest size succeeds oftener, inf where no size succeeds as often.
    """
    curve = optimize.isotonic_regression(success).x
    if reached < curve[0] - ROUNDING:
        return 0.0
    there = np.flatnonzero(curve >= reached - ROUNDING)
    if not len(there):
        return float("inf")
    i = there[0]
    if i == 0:
        return float(sizes[0])
    share = min((reached - curve[i - 1]) / (curve[i] - curve[i - 1]), 1.0)
    low, high = np.log2(sizes[i - 1]), np.log2(sizes[i])
    return float(2 ** (low + share * (high - low)))


def effective_interval(
    sizes: Int[np.ndarray, " L"],
    curve: Float[np.ndarray, "L T N"],
    reached: Float[np.ndarray, "T N"],
    *,
    num_resamples: int = 400,
    seed: int = 0,
) -> Effective:
    """`effective_size` with the interval of the crossed bootstrap over targets T and images N.

    Guides are taken as given: "conditional on these k". What is censored counts one doubling beyond the last size in
    the resamples; an end of the interval that is beyond the sizes is censored.

    Args:
      curve: success [size, target, image], mean over the blocks of a size. reached: of the other search, from the same
        images and targets.
    """
    bounds = np.log2(sizes[0]) - 1, np.log2(sizes[-1]) + 1

    def statistic(weight_targets, weight_images):
        weights = np.outer(weight_targets, weight_images) / (weight_targets.sum() * weight_images.sum())
        k = effective_size(sizes, np.einsum("ltn,tn->l", curve, weights), float(np.sum(reached * weights)))
        return float(np.clip(np.log2(k) if k > 0 else -np.inf, *bounds))

    found = crossed_bootstrap(one_by_one(statistic), *reached.shape, num_resamples=num_resamples, seed=seed)
    means = curve.mean(axis=(1, 2))

    def censored(log_k: float) -> float:
        if log_k < np.log2(sizes[0]) - ROUNDING:
            return 0.0
        return float("inf") if log_k > np.log2(sizes[-1]) + ROUNDING else float(2**log_k)

    flat = bool(optimize.isotonic_regression(means).x[-1] <= means[0] + ROUNDING)
    return Effective(censored(found.value), censored(found.low), censored(found.high), flat)
