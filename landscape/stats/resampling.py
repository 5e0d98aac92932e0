"""Crossed bootstrap for statistics that are no means: AUROC, quantiles, survival medians."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from landscape.stats.intervals import LEVEL, MIN_MEMBERS, Interval, t_quantile

ENTRIES = 4_000_000  # of the weights of members and images that a statistic is given at once: 32 MB
MAX_UNDEFINED = 0.02  # share of resamples on which a statistic may be undefined before the interval is refused


# (weight_members [R, S], weight_examples [R, N]) -> [R] or [R, L]
Statistic = Callable[[np.ndarray, np.ndarray], np.ndarray]


def one_by_one(statistic: Callable[[np.ndarray, np.ndarray], float | np.ndarray]) -> Statistic:
    """A statistic of one resample, (weight_members [S], weight_examples [N]) -> float or array, as one of many."""
    return lambda members, examples: np.array([statistic(*each) for each in zip(members, examples, strict=True)])


class _Draws(NamedTuple):
    """A statistic on the data and on resamples [R, ...]; units: members or, with too few of these, examples."""

    value: np.ndarray
    draws: np.ndarray
    units: int


def _drawn(statistic: Statistic, num_members: int, num_examples: int, num_resamples: int, seed: int) -> _Draws:
    fixed_members = num_members < MIN_MEMBERS
    units = num_examples if fixed_members else num_members
    if num_members < 1 or units < 2:
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
    at_once = max(1, ENTRIES // (num_members * num_examples))
    starts = range(0, num_resamples, at_once)
    parts = [statistic(draws_s[i : i + at_once], draws_n[i : i + at_once]) for i in starts]
    draws = np.concatenate(parts).astype(np.float64)
    undefined = float(np.mean(~np.isfinite(draws)))
    if undefined > MAX_UNDEFINED:
        raise ValueError(
            f"statistic is undefined on {undefined:.1%} of the resamples: expected at most {MAX_UNDEFINED:.0%}; "
            "the group it needs is too small, take more examples."
        )
    draws = np.where(np.isfinite(draws), draws, np.nan)
    return _Draws(value, draws, units)


def crossed_bootstrap(
    statistic: Statistic,
    num_members: int,
    num_examples: int,
    *,
    num_resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Percentile interval from resampling members and images independently, stretched for few members.

    Each of R resamples draws S members and N images with replacement; their counts are handed to the statistic: the
    weight of value (s, i) is weight_s weight_i, so images stay crossed with members. The percentile interval is
    stretched about the estimate by sqrt(S / (S - 1)) t_{S-1} / z (z = 1.96 at 95 %), since S draws from S members vary
    too little. With S < 4 the members keep weight 1, images alone are drawn, and N stands for S in the stretch.

    Args:
      statistic: (weight_members [R, S], weight_examples [R, N]) -> [R] or [R, L] of some of the resamples; weights are
        float64 counts, 1 each for the estimate itself. May be NaN where a resample leaves it undefined (at most 2 % of
        the resamples). `one_by_one` makes it of a function of one resample.
      num_members, num_examples: S, N.
      num_resamples: 1000 give the ends to about 4 % of the width.

    Returns:
      Interval with the shape of the statistic in value, low, high, sem; variance components NaN.

    Raises:
      ValueError: the statistic is undefined on the data or on too many resamples; one image and fewer than 4 members.

    Source: Owen 2007 (Annals of Applied Statistics 1:386).
    """
    value, draws, units = _drawn(statistic, num_members, num_examples, num_resamples, seed)
    low, high = np.nanquantile(draws, [0.5 - 0.5 * LEVEL, 0.5 + 0.5 * LEVEL], axis=0)
    small, stretch = _small(units), _stretch(units)
    low, high, sem = value - stretch * (value - low), value + stretch * (high - value), small * np.nanstd(draws, axis=0)
    if value.ndim == 0:
        value, low, high, sem = map(float, (value, low, high, sem))
    return Interval(value, low, high, float(units - 1), sem, num_members, num_examples, *[float("nan")] * 3)


def crossed_band(
    statistic: Statistic,
    num_members: int,
    num_examples: int,
    *,
    num_resamples: int = 1000,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(value, low, high) of a curve [L], its band holding at all levels together.

    The half width is c sd at each level, sd over resamples, stretched as by `crossed_bootstrap`, c the quantile of the
    largest |draw - value| / sd over levels. A level without spread keeps zero width.

    Args, Raises: as of `crossed_bootstrap`.
    """
    value, draws, units = _drawn(statistic, num_members, num_examples, num_resamples, seed)
    sd = np.sqrt(np.nanmean(np.square(draws - value), axis=0))
    varying = sd > 0
    if not varying.any():
        return value, value.copy(), value.copy()
    defined = np.isfinite(draws).all(axis=1)
    largest = np.max(np.abs(draws - value)[defined][:, varying] / sd[varying], axis=1)
    half = np.quantile(largest, LEVEL) * _stretch(units) * sd
    return value, value - half, value + half


def _small(units: int) -> float:
    return float(np.sqrt(units / (units - 1)))


def _stretch(units: int) -> float:
    return _small(units) * float(t_quantile(float(units - 1)) / t_quantile(np.inf))
