"""Statistics of pairs of members: every member is the source of some pairs and the target of others."""

import numpy as np
from jaxtyping import Float

LEAST_MEMBERS = 3  # without one of two members no pair is left


def pseudo_values(values: Float[np.ndarray, "*B S S N"]) -> Float[np.ndarray, "*B S N"]:
    """What each member contributes to the mean over ordered pairs of members, as source and as target together.

    With T_n the mean of t_ijn over all i != j, and T_n^(-c) that over the pairs without member c, the pseudo-value is
    P_cn = S T_n - (S - 1) T_n^(-c). Its mean over members is T_n, and to `intervals.interval` it is what one value a
    member is: for t_ijn = a_i + b_j, P_c = a_c + b_c. The mean over targets first would keep the spread of a
    alone: a target that is hard to fool is hard for all sources, and no row shows it.

    Linear in t: pseudo-values of a difference are the difference of pseudo-values.

    Args:
      values: t [..., source, target, N], any unit; the diagonal is not read. Of masked means, influence arrays.

    Returns:
      P [..., S, N], in the unit of t.

    Raises:
      ValueError: fewer than 3 members.

    Source: Arvesen 1969 (Annals of Mathematical Statistics 40:2076), the jackknife of U-statistics.
    """
    count = values.shape[-2]
    if count < LEAST_MEMBERS:
        raise ValueError(
            f"values have shape {values.shape}: expected [..., S, S, N] with S >= {LEAST_MEMBERS} members, each "
            "source and target; take more members"
        )
    pairs = np.where(np.eye(count, dtype=bool)[..., None], 0.0, values)
    total = pairs.sum(axis=(-3, -2))[..., None, :]
    own = pairs.sum(axis=-3) + pairs.sum(axis=-2)
    without = (total - own) / ((count - 1) * (count - 2))
    return total / (count - 1) - (count - 1) * without


def of_pairs(values: Float[np.ndarray, "*B S S N"]) -> Float[np.ndarray, "*B S N"]:
    """`pseudo_values`; of two members each one's own pair, and of one, which has none, the diagonal."""
    count = values.shape[-2]
    if count >= LEAST_MEMBERS:
        return pseudo_values(values)
    return values[..., [0, 1], [1, 0], :] if count == 2 else values[..., 0, :]
