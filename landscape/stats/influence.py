"""Influence arrays: masked means and ratios written as plain means over [S, N], so that one interval serves them all.

u [S, N] has row means equal to the members' estimates and deviations equal to each example's first-order effect on them
(the delta method). Contrasts of estimates are then the same sums and differences of their u's: pairing by image and by
member is kept by construction. Leading axes (kinds of noise, levels, paths) are carried along; the mask is one for all.
"""

import numpy as np
from jaxtyping import Bool, Float

from landscape.stats.intervals import checked


def small_sample_factor(count: np.ndarray, num_examples: int) -> np.ndarray:
    """sqrt(n (N - 1) / ((n - 1) N)) per member: makes var(u_s) / N the usual s^2 / n of a mean over n of N examples.

    Without it the deviations of n values from their own mean would be divided by n, not n - 1. 1 where n = N or n = 1.
    """
    return np.sqrt(np.where(count > 1, count * (num_examples - 1) / (np.maximum(count - 1, 1) * num_examples), 1.0))


def ratio(
    numerator: Float[np.ndarray, "*B S N"], denominator: Float[np.ndarray, "*#B S N"], mask: Bool[np.ndarray, "S N"]
) -> Float[np.ndarray, "*B S N"]:
    """Ratio of means per member as an influence array.

    R_s = sum_i w_si a_si / sum_i w_si b_si;  u_si = R_s + c_s w_si (a_si - R_s b_si) / mean_i(w_si b_si),
    c_s the factor of `small_sample_factor`. Values outside the mask are never read (they may be NaN).

    The scale-free drop is 1 - ratio(E margin(x + noise), margin(x), mask): it does not move when logits are multiplied.
    Delta method: good where the denominator's relative standard error is below about 0.2.

    Args:
      numerator, denominator: a, b [..., S, N].
      mask: w [S, N], the examples that count for each member.

    Returns:
      u [..., S, N], unit of a / b; u.mean(-1) = R.

    Raises:
      ValueError: a member without valid example, with a denominator of mean 0, or a NaN inside the mask.
    """
    mask, shape = np.asarray(mask, dtype=bool), np.shape(numerator)[-2:]
    if mask.shape != shape:
        raise ValueError(
            f"mask has shape {mask.shape}: expected {shape}, one mark per member and example; broadcast it."
        )
    count = mask.sum(-1)
    if np.any(count == 0):
        raise ValueError(
            f"member(s) {', '.join(map(str, np.flatnonzero(count == 0)))} have no valid example: expected at least one "
            "per member; leave these members out (and report it), or widen the population."
        )
    top = checked(np.where(mask, numerator, 0.0), "numerator (inside the mask)")
    bottom = checked(np.where(mask, denominator, 0.0), "denominator (inside the mask)")
    mean_bottom = bottom.mean(-1)
    if np.any(mean_bottom == 0):
        zero = ", ".join(str(s) for s in np.unique(np.nonzero(mean_bottom == 0)[-1]))
        raise ValueError(
            f"denominator has mean 0 for member(s) {zero}: expected a mean away from 0 to divide by; "
            "take the difference instead of the ratio, or leave these members out."
        )
    value = (top.sum(-1) / bottom.sum(-1))[..., None]
    deviation = (top - value * bottom) / mean_bottom[..., None]  # 0 outside the mask
    return value + small_sample_factor(count, mask.shape[1])[:, None] * deviation


def masked_mean(values: Float[np.ndarray, "*B S N"], mask: Bool[np.ndarray, "S N"]) -> Float[np.ndarray, "*B S N"]:
    """Mean over each member's own valid examples as an influence array.

    m_s = mean of v_si over w_si = 1;  u_si = m_s + c_s w_si (v_si - m_s) / mean_i w_si, with c_s of
    `small_sample_factor`; with a full mask u = v. Values outside the mask are never read (they may be NaN).

    Members may have unlike examples (their natural errors, say): this is the mean over members of each one's mean.

    Returns:
      u [..., S, N] in the unit of the values; u.mean(-1) = m.

    Raises:
      ValueError: a member without valid example, or a NaN inside the mask.
    """
    return ratio(values, np.ones(np.shape(values)[-2:]), mask)
