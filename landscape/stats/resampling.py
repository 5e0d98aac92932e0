"""Crossed bootstrap for statistics that are no means: true-positive rates, quantiles, survival medians."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from landscape.stats.intervals import LEVEL, MIN_MEMBERS, Interval, crossed_variance, ends, t_quantile

ENTRIES = 4_000_000  # of the weights of members and images that a statistic is given at once: 32 MB
MAX_UNDEFINED = 0.02  # share of resamples on which a statistic may be undefined before the interval is refused


# (weight_members [R, S], weight_examples [R, N]) -> [R] or [R, L]
Statistic = Callable[[np.ndarray, np.ndarray], np.ndarray]


def one_by_one(statistic: Callable[[np.ndarray, np.ndarray], float | np.ndarray]) -> Statistic:
    """A statistic of one resample, (weight_members [S], weight_examples [N]) -> float or array, as one of many."""
    return lambda members, examples: np.array([statistic(*each) for each in zip(members, examples, strict=True)])


class _Draws(NamedTuple):
    """A statistic on the data, on resamples [R, ...], its standard error, degrees of freedom and skewness."""

    value: np.ndarray
    draws: np.ndarray
    sem: np.ndarray
    df: np.ndarray
    skew: np.ndarray

    def ends(self, widened: float = 1.0) -> np.ndarray:
        """Low and high end of the interval, the t quantile widened. [2, ...]"""
        return ends(self.value, self.sem, widened * t_quantile(self.df), self.skew)


def _evaluated(statistic: Statistic, members: np.ndarray, examples: np.ndarray) -> np.ndarray:
    """The statistic at weights [R, S], [R, N], some resamples at a time; NaN for what is not finite."""
    at_once = max(1, ENTRIES // (members.shape[1] * examples.shape[1]))
    starts = range(0, len(members), at_once)
    parts = [statistic(members[i : i + at_once], examples[i : i + at_once]) for i in starts]
    found = np.concatenate(parts).astype(np.float64)
    return np.where(np.isfinite(found), found, np.nan)


def _cumulants(draws: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Variance and third cumulant of an estimate from resamples of `count` values, without their bias for a mean."""
    away = draws - np.nanmean(draws, axis=0)
    one, two = max(count - 1, 1), max(count - 2, 1)
    second, third = (np.nanmean(away**power, axis=0) for power in (2, 3))
    return np.asarray(count / one * second), np.asarray(count**2 / (one * two) * third)


def _error(statistic: Statistic, draws: np.ndarray, members: np.ndarray, examples: np.ndarray) -> tuple:
    """Standard error, degrees of freedom and skewness, from resamples of members alone and of images alone.

    What resamples of both have beyond these, draw by draw, is the residual, which they hold three times.
    """
    num_members, num_examples = members.shape[1], examples.shape[1]
    of_examples = _evaluated(statistic, np.ones_like(members), examples)
    example, third = _cumulants(of_examples, num_examples)
    df_example = max(num_examples - 2.0, 1.0)
    if num_members < MIN_MEMBERS:
        variance, df = example, np.full_like(example, df_example)
    else:
        of_members = _evaluated(statistic, members, np.ones_like(examples))
        member, more = _cumulants(of_members, num_members)
        residual = _cumulants(draws - of_members - of_examples, num_examples)[0] * num_members / (num_members - 1)
        variance, df = crossed_variance(member, example, residual, num_members - 2.0, df_example)
        third = third + more
    sem = np.asarray(np.sqrt(variance))
    skew = np.divide(third, sem**3, out=np.zeros_like(sem), where=sem**3 > 0)
    return sem, df, skew


def _drawn(statistic: Statistic, num_members: int, num_examples: int, num_resamples: int, seed: int) -> _Draws:
    fixed_members = num_members < MIN_MEMBERS
    if num_members < 1 or (num_examples if fixed_members else num_members) < 2:
        raise ValueError(
            f"num_members={num_members}, num_examples={num_examples}: expected at least 4 members or 2 examples "
            "to draw from; take more."
        )
    rng = np.random.default_rng(seed)
    ones_s, ones_n = np.ones(num_members), np.ones(num_examples)
    value = np.asarray(statistic(ones_s[None], ones_n[None])[0], dtype=np.float64)
    if not np.all(np.isfinite(value)):
        raise ValueError(
            f"statistic is {value.tolist()} on the data: expected finite numbers; check that each group has examples."
        )
    draws_n = rng.multinomial(num_examples, ones_n / num_examples, num_resamples).astype(np.float64)
    draws_s = rng.multinomial(num_members, ones_s / num_members, num_resamples).astype(np.float64)
    if fixed_members:
        draws_s = np.ones_like(draws_s)
    draws = _evaluated(statistic, draws_s, draws_n)
    undefined = float(np.mean(np.isnan(draws)))
    if undefined > MAX_UNDEFINED:
        raise ValueError(
            f"statistic is undefined on {undefined:.1%} of the resamples: expected at most {MAX_UNDEFINED:.0%}; "
            "the group it needs is too small, take more examples."
        )
    return _Draws(value, draws, *_error(statistic, draws, draws_s, draws_n))


def crossed_bootstrap(
    statistic: Statistic,
    num_members: int,
    num_examples: int,
    *,
    num_resamples: int = 400,
    seed: int = 0,
) -> Interval:
    """The two-way t interval of `intervals.interval`, its cumulants from resamples of members and of images.

    A resample draws S members or N images with replacement; their counts are handed to the statistic: the weight of
    value (s, i) is weight_s weight_i, so images stay crossed with members. R resamples of members alone, of images
    alone and of both give the variance that each brings and that of the residual, and the third cumulants; from these
    the standard error, the degrees of freedom (`crossed_variance`) and the skewness follow as for a mean, and the
    interval is the same (`intervals.ends`). With S < 4 the members keep weight 1.

    Args:
      statistic: (weight_members [R, S], weight_examples [R, N]) -> [R] or [R, L] of some of the resamples; weights are
        float64 counts, 1 each for the estimate itself. May be NaN where a resample leaves it undefined (at most 2 % of
        the resamples). `one_by_one` makes it of a function of one resample.
      num_members, num_examples: S, N.
      num_resamples: R of each kind; 400 give the ends to about 4 % of the width.

    Returns:
      Interval with the shape of the statistic in value, low, high, df, sem, skew; variance components NaN.

    Raises:
      ValueError: the statistic is undefined on the data or on too many resamples; one image and fewer than 4 members.

    Source: Owen 2007 (Annals of Applied Statistics 1:386).
    """
    drawn = _drawn(statistic, num_members, num_examples, num_resamples, seed)
    found = [drawn.value, *drawn.ends(), drawn.df, drawn.sem, drawn.skew]
    if drawn.value.ndim == 0:
        found = [float(one) for one in found]
    return Interval(*found[:5], num_members, num_examples, *[float("nan")] * 3, skew=found[5])


def crossed_band(
    statistic: Statistic,
    num_members: int,
    num_examples: int,
    *,
    num_resamples: int = 400,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(value, low, high) of a curve [L], its band holding at all levels together.

    Each level has the interval of `crossed_bootstrap`, its t quantile times c / z (z = 1.96 at 95 %), c the quantile of
    the largest |draw - value| / sd over levels, sd over resamples of both. A level without spread keeps zero width.

    Args, Raises: as of `crossed_bootstrap`.
    """
    drawn = _drawn(statistic, num_members, num_examples, num_resamples, seed)
    away = np.abs(drawn.draws - drawn.value)
    sd = np.sqrt(np.nanmean(np.square(away), axis=0))
    varying = sd > 0
    if not varying.any():
        return drawn.value, drawn.value.copy(), drawn.value.copy()
    defined = np.isfinite(away).all(axis=1)
    largest = np.quantile(np.max(away[defined][:, varying] / sd[varying], axis=1), LEVEL)
    return drawn.value, *drawn.ends(max(1.0, float(largest / t_quantile(np.inf))))
