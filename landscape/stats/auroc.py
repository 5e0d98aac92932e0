"""How well a score detects one population among another: AUROC and true-positive rates, per member, then averaged."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from landscape.stats.intervals import Interval, checked
from landscape.stats.resampling import crossed_band, crossed_bootstrap

FALSE_POSITIVE_RATES = (0.01, 0.05)


class Separation(NamedTuple):
    """AUROC and TPR at 1 % and 5 % FPR: intervals (`separation`) or arrays [S] (`member_separation`)."""

    auroc: Interval | np.ndarray
    tpr_at_1: Interval | np.ndarray
    tpr_at_5: Interval | np.ndarray


class _Ranked(NamedTuple):
    """Scores of both groups as ranks among the member's distinct scores, falling; G the most ranks of any member."""

    positive: np.ndarray  # [S, N] int, 0 the highest score; G outside the mask
    negative: np.ndarray  # [S, N]
    num_ranks: int  # G


def _ranked(positive, negative, mask_positive, mask_negative) -> _Ranked:
    """Scores [S, N], read inside the masks; a mask that is None counts all."""
    scores, masks = [], []
    given = {"positive": (positive, mask_positive), "negative": (negative, mask_negative)}
    for name, (values, mask) in given.items():
        mask = np.ones(np.shape(values), dtype=bool) if mask is None else np.asarray(mask, dtype=bool)
        empty = np.flatnonzero(mask.sum(1) == 0)
        if empty.size:
            raise ValueError(
                f"member(s) {', '.join(map(str, empty))} have no {name} example: expected at least one in each group; "
                "leave these members out, or widen the population."
            )
        scores.append(checked(np.where(mask, values, 0.0), f"{name} scores (inside the mask)", 2))
        masks.append(mask)
    ranks = [np.unique(-np.concatenate(both), return_inverse=True)[1] for both in zip(*scores, strict=True)]
    num_ranks = 2 * np.shape(positive)[1]  # one spare bin beyond the largest rank takes what is masked out
    groups = np.moveaxis(np.reshape(ranks, (len(ranks), 2, -1)), 1, 0)
    return _Ranked(*(np.where(mask, rank, num_ranks) for mask, rank in zip(masks, groups, strict=True)), num_ranks)


def _shares(ranks: np.ndarray, weight: np.ndarray, num_ranks: int) -> np.ndarray:
    """Weight at each rank as a share of the member's whole, [S, G]; NaN for a member without any."""
    num_members = ranks.shape[0]
    flat = (ranks + np.arange(num_members)[:, None] * (num_ranks + 1)).ravel()
    total = np.bincount(flat, np.tile(weight, num_members), num_members * (num_ranks + 1))
    total = total.reshape(num_members, num_ranks + 1)[:, :num_ranks]
    with np.errstate(invalid="ignore"):
        return total / total.sum(1, keepdims=True)


def _evaluate(ranked: _Ranked, weight: np.ndarray) -> np.ndarray:
    """AUROC and TPR at each false-positive rate of every member, [S, 3], examples weighted by weight [N]."""
    positive = _shares(ranked.positive, weight, ranked.num_ranks)
    negative = _shares(ranked.negative, weight, ranked.num_ranks)
    true_rate, false_rate = np.cumsum(positive, 1), np.cumsum(negative, 1)
    area = np.sum(positive * (1 - false_rate + 0.5 * negative), 1)
    # The lowest threshold whose false-positive rate is allowed; a step, never interpolated. 1e-9: rounding of sums.
    at = [np.max(np.where(false_rate <= rate + 1e-9, true_rate, 0.0), 1) for rate in FALSE_POSITIVE_RATES]
    undefined = np.isnan(area)
    return np.stack([area, *(np.where(undefined, np.nan, rate) for rate in at)], axis=1)


def member_separation(
    positive: Float[np.ndarray, "S N"],
    negative: Float[np.ndarray, "S N"],
    *,
    mask_positive: Bool[np.ndarray, "S N"] | None = None,
    mask_negative: Bool[np.ndarray, "S N"] | None = None,
) -> Separation:
    """AUROC = P(score+ > score-) + P(equal) / 2 and the true-positive rate at 1 % and 5 % false positives, each [S].

    The direction is fixed beforehand: a high score says "positive". An AUROC below 0.5 is reported as it is.
    TPR at f is the largest share of positives above a threshold that at most f of the negatives reach; with fewer than
    1 / f negatives that is the share above every negative.

    Args:
      positive, negative: scores [S, N]; column i of both comes from image i. Read inside the masks only.
    """
    rates = _evaluate(_ranked(positive, negative, mask_positive, mask_negative), np.ones(np.shape(positive)[1]))
    return Separation(rates[:, 0], rates[:, 1], rates[:, 2])


def separation(
    positive: Float[np.ndarray, "S N"],
    negative: Float[np.ndarray, "S N"],
    *,
    mask_positive: Bool[np.ndarray, "S N"] | None = None,
    mask_negative: Bool[np.ndarray, "S N"] | None = None,
    num_resamples: int = 1000,
) -> Separation:
    """`member_separation` averaged over members, with intervals of the crossed bootstrap cut to [0, 1].

    An image's positive and negative score get the same weight: it is one unit. With S < 4 over images only.

    Returns:
      Separation of Intervals.
    """
    ranked = _ranked(positive, negative, mask_positive, mask_negative)

    def statistic(weight_s: np.ndarray, weight_n: np.ndarray) -> np.ndarray:
        drawn = weight_s > 0  # a member without weight must not make the mean NaN
        return weight_s[drawn] @ _evaluate(ranked, weight_n)[drawn] / weight_s.sum()

    joint = crossed_bootstrap(statistic, *np.shape(positive), num_resamples=num_resamples)
    ends = {"value": joint.value, "sem": joint.sem}
    ends |= {"low": np.clip(joint.low, 0.0, 1.0), "high": np.clip(joint.high, 0.0, 1.0)}
    each = (joint._replace(**{name: float(value[k]) for name, value in ends.items()}) for k in range(3))
    return Separation(*each)


def roc(
    positive: Float[np.ndarray, "S N"],
    negative: Float[np.ndarray, "S N"],
    rates: Float[np.ndarray, " R"],
    *,
    mask_positive: Bool[np.ndarray, "S N"] | None = None,
    mask_negative: Bool[np.ndarray, "S N"] | None = None,
    num_resamples: int = 400,
) -> Float[np.ndarray, "3 R"]:
    """True-positive rate at given false-positive rates, mean over members, and its simultaneous band cut to [0, 1].

    Scores that tie are ordered at random: the curve is straight across them, so that its area is the AUROC. Where it
    rises straight up its upper end is taken. With S < 4 the band is over images only.

    Args:
      positive, negative: scores, column i of both from image i, read inside the masks only.
      num_resamples: 400 give the band to about 6 % of its width.
    """
    ranked = _ranked(positive, negative, mask_positive, mask_negative)

    def statistic(weight_s: np.ndarray, weight_n: np.ndarray) -> np.ndarray:
        true, false = (
            np.cumsum(_shares(ranks, weight_n, ranked.num_ranks), axis=1)
            for ranks in (ranked.positive, ranked.negative)
        )
        drawn = np.flatnonzero(weight_s > 0)
        curves = np.stack([_risen(rates, false[s], true[s]) for s in drawn])
        return weight_s[drawn] @ curves / weight_s.sum()

    value, low, high = crossed_band(statistic, *np.shape(positive), num_resamples=num_resamples)
    return np.stack([value, np.clip(low, 0, 1), np.clip(high, 0, 1)])


def _risen(rates: np.ndarray, false: np.ndarray, true: np.ndarray) -> np.ndarray:
    """True rate at false rates, linear between the points of a curve from (0, 0), the highest of several at one."""
    # Rounded, since `interp` takes the last of equal points, which sums of shares are but for rounding.
    return np.interp(np.round(rates, 12), np.round(np.append(0.0, false), 12), np.append(0.0, true))
