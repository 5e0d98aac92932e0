"""Crossed bootstrap for statistics that are no means: AUROC, quantiles, survival medians."""

from collections.abc import Callable

import numpy as np

from landscape.stats.intervals import MIN_MEMBERS, Interval, t_quantile

MAX_UNDEFINED = 0.02  # share of resamples on which a statistic may be undefined before the interval is refused


def crossed_bootstrap(
    statistic: Callable[[np.ndarray, np.ndarray], float | np.ndarray],
    num_members: int,
    num_examples: int,
    *,
    num_resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Percentile interval from resampling members and images independently, stretched for few members.

    Each resample draws S members and N images with replacement and hands their counts to the statistic: the weight of
    value (s, i) is weight_s weight_i, so images stay crossed with members. The percentile interval is stretched about
    the estimate by sqrt(S / (S - 1)) t_{S-1} / z (z = 1.96 at 95 %), since S draws from S members vary too little.
    With S < 4 the members keep weight 1, images alone are drawn, and N stands for S in the stretch.

    Args:
      statistic: (weight_members [S], weight_examples [N]) -> float or array; weights are float64 counts, 1 each for the
        estimate itself. May return NaN where a resample leaves it undefined (at most 2 % of the resamples).
      num_members, num_examples: S, N.
      num_resamples: 1000 places the ends to about 4 % of the width.
      level: nominal coverage.

    Returns:
      Interval with the shape of the statistic in value, low, high, sem; variance components NaN.

    Raises:
      ValueError: the statistic is undefined on the data or on too many resamples; one image and fewer than 4 members.

    Source: Owen 2007 (Annals of Applied Statistics 1:386).
    """
    fixed_members = num_members < MIN_MEMBERS
    units = num_examples if fixed_members else num_members
    if num_members < 1 or units < 2:
        raise ValueError(
            f"num_members={num_members}, num_examples={num_examples}: expected at least 4 members or 2 examples "
            "to draw from; take more."
        )
    rng = np.random.default_rng(seed)
    ones_s, ones_n = np.ones(num_members), np.ones(num_examples)
    value = np.asarray(statistic(ones_s, ones_n), dtype=np.float64)
    if not np.all(np.isfinite(value)):
        raise ValueError(
            f"statistic is {value.tolist()} on the data: expected finite numbers; check that each group has examples."
        )
    draws_n = rng.multinomial(num_examples, ones_n / num_examples, num_resamples).astype(np.float64)
    draws_s = rng.multinomial(num_members, ones_s / num_members, num_resamples).astype(np.float64)
    if fixed_members:
        draws_s = np.ones_like(draws_s)
    draws = np.array([statistic(s, n) for s, n in zip(draws_s, draws_n, strict=True)], dtype=np.float64)
    undefined = float(np.mean(~np.isfinite(draws)))
    if undefined > MAX_UNDEFINED:
        raise ValueError(
            f"statistic is undefined on {undefined:.1%} of the resamples: expected at most {MAX_UNDEFINED:.0%}; "
            "the group it needs is too small, take more examples."
        )
    draws = np.where(np.isfinite(draws), draws, np.nan)
    low, high = np.nanquantile(draws, [0.5 - 0.5 * level, 0.5 + 0.5 * level], axis=0)
    small = np.sqrt(units / (units - 1))
    stretch = small * t_quantile(float(units - 1), level) / t_quantile(np.inf, level)
    low, high, sem = value - stretch * (value - low), value + stretch * (high - value), small * np.nanstd(draws, axis=0)
    scalar = value.ndim == 0
    return Interval(
        value=float(value) if scalar else value,
        low=float(low) if scalar else low,
        high=float(high) if scalar else high,
        df=float(units - 1),
        sem=float(sem) if scalar else sem,
        members=num_members,
        examples=num_examples,
        var_member=float("nan"),
        var_example=float("nan"),
        var_residual=float("nan"),
    )
