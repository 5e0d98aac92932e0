"""How well a score detects one population among another: AUROC and true-positive rates, per member, then averaged."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import special

from landscape.stats.intervals import Interval, checked, t_quantile
from landscape.stats.resampling import crossed_band, crossed_bootstrap

FALSE_POSITIVE_RATES = (0.01, 0.05)


class Separation(NamedTuple):
    """AUROC and TPR at 1 % and 5 % FPR: intervals (`separation`) or arrays [S] (`member_separation`)."""

    auroc: Interval | np.ndarray
    tpr_at_1: Interval | np.ndarray
    tpr_at_5: Interval | np.ndarray


class _Ranked(NamedTuple):
    """One member's scores of both groups, from the highest down.

    example: [n], whose each score is. positive: [n], of which group. last: [G], where scores that tie end.
    """

    example: np.ndarray
    positive: np.ndarray
    last: np.ndarray


def _ranked(positive, negative, mask_positive, mask_negative) -> list[_Ranked]:
    """Of scores [S, N], read inside the masks; a mask that is None counts all."""
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
    found = []
    for own, there in zip(zip(*scores, strict=True), zip(*masks, strict=True), strict=True):
        group, example = np.nonzero(np.stack(there))
        value = np.stack(own)[group, example]
        order = np.argsort(-value, kind="stable")
        last = np.flatnonzero(np.append(np.diff(value[order]) != 0, True))
        found.append(_Ranked(example[order], group[order] == 0, last))
    return found


def _rates(ranked: _Ranked, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False- and true-positive rate of a member above each of its G thresholds, images weighted by weight [R, N].

    [R, G] each; NaN where the images of a group have no weight.
    """
    each, rates = weight[:, ranked.example], []
    for group in (~ranked.positive, ranked.positive):
        above = np.cumsum(np.where(group, each, 0.0), axis=1)
        with np.errstate(invalid="ignore"):
            rates.append(above[:, ranked.last] / above[:, -1:])
    return rates[0], rates[1]


def _evaluate(ranked: _Ranked, weight: np.ndarray) -> np.ndarray:
    """AUROC and TPR at each false-positive rate of a member, [R, 3]."""
    false, true = _rates(ranked, weight)
    area = np.sum(np.diff(true, prepend=0.0) * (1 - false + 0.5 * np.diff(false, prepend=0.0)), axis=1)
    # The lowest threshold whose false-positive rate is allowed; a step, never interpolated. 1e-9: rounding of sums.
    at = [np.max(np.where(false <= rate + 1e-9, true, 0.0), axis=1) for rate in FALSE_POSITIVE_RATES]
    undefined = np.isnan(area)
    return np.stack([area, *(np.where(undefined, np.nan, rate) for rate in at)], axis=1)


def _weighted(members: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Mean of values [R, S, ...] over members with weights [R, S]; what a member without weight has does not count."""
    weights = members.reshape(*members.shape, *[1] * (values.ndim - 2))
    return np.sum(np.where(weights > 0, weights * values, 0.0), axis=1) / weights.sum(axis=1)


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
    ones = np.ones((1, np.shape(positive)[1]))
    ranked = _ranked(positive, negative, mask_positive, mask_negative)
    return Separation(*np.concatenate([_evaluate(member, ones) for member in ranked]).T)


def separation(
    positive: Float[np.ndarray, "S N"],
    negative: Float[np.ndarray, "S N"],
    *,
    mask_positive: Bool[np.ndarray, "S N"] | None = None,
    mask_negative: Bool[np.ndarray, "S N"] | None = None,
    num_resamples: int = 400,
) -> Separation:
    """`member_separation` averaged over members, with intervals of the crossed bootstrap on the logit scale.

    The ends are expit(logit(v) -+ q sem / (v (1 - v))), v the mean, sem and the quantile q of t those of
    `crossed_bootstrap`: few members near 1 may show neither their spread nor its skewness, which this scale implies.
    A mean of 0 or 1 has the ends of `crossed_bootstrap`, cut to [0, 1]. An image's positive and negative score get the
    same weight: it is one unit. With S < 4 over images only.

    @@COVERAGE@@

    Returns:
      Separation of Intervals.
    """
    ranked = _ranked(positive, negative, mask_positive, mask_negative)

    def statistic(members: np.ndarray, examples: np.ndarray) -> np.ndarray:
        return _weighted(members, np.stack([_evaluate(member, examples) for member in ranked], axis=1))

    joint = crossed_bootstrap(statistic, *np.shape(positive), num_resamples=num_resamples)
    ends = {"value": joint.value, "df": joint.df, "sem": joint.sem, "skew": joint.skew}
    ends |= dict(zip(("low", "high"), _ends(joint), strict=True))
    each = (joint._replace(**{name: float(value[k]) for name, value in ends.items()}) for k in range(3))
    return Separation(*each)


def _ends(found: Interval) -> np.ndarray:
    """Low and high ends of shares, from the t interval of their log-odds. [2, ...]"""
    slope = found.value * (1 - found.value)
    with np.errstate(divide="ignore", invalid="ignore"):
        half = t_quantile(found.df) * found.sem / slope
        ends = special.expit(special.logit(found.value) + np.stack([-half, half]))
    return np.where(slope > 0, ends, np.clip([found.low, found.high], 0.0, 1.0))


def roc(
    positive: Float[np.ndarray, "S N"],
    negative: Float[np.ndarray, "S N"],
    rates: Float[np.ndarray, " R"],
    *,
    mask_positive: Bool[np.ndarray, "S N"] | None = None,
    mask_negative: Bool[np.ndarray, "S N"] | None = None,
    num_resamples: int = 200,
) -> Float[np.ndarray, "3 R"]:
    """True-positive rate at given false-positive rates, mean over members, and its simultaneous band cut to [0, 1].

    Scores that tie are ordered at random: the curve is straight across them, so that its area is the AUROC. Where it
    rises straight up its upper end is taken. With S < 4 the band is over images only.

    Args:
      positive, negative: scores, column i of both from image i, read inside the masks only.
      num_resamples: 200 of each kind (`crossed_bootstrap`) give the band to about 6 % of its width.
    """
    ranked = _ranked(positive, negative, mask_positive, mask_negative)

    def curves(member: _Ranked, examples: np.ndarray) -> list[np.ndarray]:
        return [_risen(rates, *each) for each in zip(*_rates(member, examples), strict=True)]

    def statistic(members: np.ndarray, examples: np.ndarray) -> np.ndarray:
        return _weighted(members, np.stack([curves(member, examples) for member in ranked], axis=1))

    value, low, high = crossed_band(statistic, *np.shape(positive), num_resamples=num_resamples)
    return np.stack([value, np.clip(low, 0, 1), np.clip(high, 0, 1)])


def _risen(rates: np.ndarray, false: np.ndarray, true: np.ndarray) -> np.ndarray:
    """True rate at false rates, linear between the points of a curve from (0, 0), the highest of several at one."""
    # Rounded, since `interp` takes the last of equal points, which sums of shares are but for rounding.
    return np.interp(np.round(rates, 12), np.round(np.append(0.0, false), 12), np.append(0.0, true))
