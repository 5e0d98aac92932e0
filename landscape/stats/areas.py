"""How much of several classifiers' adversarial areas is common to them, from counts of points.

A region is cut into rings. `wrong[..., r, s, m]` is the number of points of ring r on which classifier s of S errs and
m + 1 of all S do. From it follow the counts `number[..., m]` of points on which exactly m + 1 classifiers err, and from
these the points on which all, or any, of k classifiers err. NumPy, float64.
"""

from math import comb

import numpy as np
from jaxtyping import Float, Int


def by_number(wrong: Int[np.ndarray, "*B R S S"]) -> Float[np.ndarray, "*B S"]:
    """Points of all rings on which exactly 1 .. S classifiers err."""
    return wrong.sum(axis=(-3, -2)) / np.arange(1, wrong.shape[-1] + 1)


def if_independent(wrong: Int[np.ndarray, "*B R S S"], points: Int[np.ndarray, " R"]) -> Float[np.ndarray, "*B S"]:
    """The same, as expected where each classifier keeps its points of every ring, but they are placed independently.

    Of rings around an image this is the mean over turns of each classifier's area about it, by angles of their own.

    Args:
      points: of each ring.

    Returns:
      Sum over rings of their points times the Poisson-binomial probabilities of 1 .. S classifiers.
    """
    chance = wrong.sum(axis=-1) / points[:, None]
    found = np.zeros((*chance.shape[:-1], chance.shape[-1] + 1))
    found[..., 0] = 1.0
    for p in np.moveaxis(chance, -1, 0)[..., None]:
        found[..., 1:] = found[..., 1:] * (1 - p) + found[..., :-1] * p
        found[..., :1] *= 1 - p
    return np.einsum("...rm,r->...m", found[..., 1:], points)


def all_and_any(number: Float[np.ndarray, "*B S"], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Points on which all, and on which any, of `size` classifiers err: the means over all subsets of that size.

    Of S classifiers of which m err at a point, a share C(m, k) / C(S, k) of the subsets of k errs wholly there, and
    1 - C(S - m, k) / C(S, k) in part.

    Returns:
      Intersection and union, [...]; their quotient is the intersection over union.
    """
    total = number.shape[-1]
    every, some = (
        np.array([share(m) / comb(total, size) for m in range(1, total + 1)])
        for share in (lambda m: comb(m, size), lambda m: comb(total, size) - comb(total - m, size))
    )
    return number @ every, number @ some


def ratio_of_pairs(
    top: Float[np.ndarray, "*B S S N"], bottom: Float[np.ndarray, "*B S S N"]
) -> Float[np.ndarray, "*B S S N"]:
    """Sum of `top` over sum of `bottom`, of all ordered pairs of members and all examples, as an influence array.

    u = R + (top - R bottom) / mean(bottom): its mean over pairs is the ratio R, its deviations are the first-order
    effects of pairs and examples (the delta method). The diagonal is not counted. NaN where `bottom` is 0 throughout.
    """
    off = ~np.eye(top.shape[-2], dtype=bool)
    sums = (one[..., off, :].mean(axis=(-2, -1))[..., None, None, None] for one in (top, bottom))
    above, below = sums
    below = np.where(below > 0, below, np.nan)
    return above / below + (top - above / below * bottom) / below
