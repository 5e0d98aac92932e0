"""From intervals to what a run says: estimates as plain dicts, and verdicts on its primary claims."""

import math
import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy import special

from landscape.stats.intervals import LEVEL, Interval, t_quantile
from landscape.stats.vocabulary import VOCABULARY

DIRECTIONS = {"greater": 1, "less": -1}
MAX_CLAIMS = 3
CLAIM_FIELDS = ("name", "measure", "populations", "contrast", "matching", "direction", "smallest_effect")
# Of noise, a claim has one: on inputs over the perturbation's length, on inputs in pixels, on weights.
SIZES = ("r", "sigma", "radius")


def plain(value):
    """JSON-ready: NumPy scalars and arrays become Python's, numbers that are not finite become None."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def check_name(name: str) -> str:
    """The estimate's name, if dotted, lower-case and from the vocabulary; ValueError otherwise."""
    first = name.split(".")[0]
    if first not in VOCABULARY:
        raise ValueError(f"estimate name {name!r} begins with {first!r}: expected one of {', '.join(VOCABULARY)}.")
    if not re.fullmatch(r"[a-z0-9_]+(\.[a-z0-9_]+)+", name):
        raise ValueError(
            f"estimate name {name!r}: expected lower-case words joined by dots; try {name.lower().replace(' ', '_')!r} "
            f"with a second part, as in 'accuracy.test'."
        )
    return name


def estimate_dict(
    interval: Interval,
    name: str,
    *,
    population: str,
    unit: str,
    examples: int | None = None,
    **coords,
) -> dict:
    """One entry of summary.json's "estimates".

    Args:
      name: dotted, its first part from VOCABULARY.
      population: which inputs. unit: of value, low and high.
      examples: number of images that carry the estimate, where a mask makes that fewer than `interval.examples`.
      coords: reference, matching, noise, sigma, ... (plain values; NumPy scalars are converted).

    Returns:
      {"name", "population", "value", "low", "high", "level", "members", "examples", "unit", "generalises_to", "sem",
      "df", "skew", "var_member", "var_example", "var_residual", ...coords}; None for what is not finite.
    """
    entry = {
        "name": check_name(name),
        "population": population,
        "value": interval.value,
        "low": interval.low,
        "high": interval.high,
        "level": LEVEL,
        "members": interval.members,
        "examples": interval.examples if examples is None else examples,
        "unit": unit,
        "generalises_to": interval.generalises_to,
        "sem": interval.sem,
        "df": interval.df,
        "skew": interval.skew,
        "var_member": interval.var_member,
        "var_example": interval.var_example,
        "var_residual": interval.var_residual,
    }
    return {key: plain(value) for key, value in {**entry, **coords}.items()}


def p_value(interval: Interval) -> float:
    """Two-sided p of "no difference" from t = q value / half, q the quantile of LEVEL; NaN where sem is NaN.

    half is the length of the half of the interval that reaches for 0: p < 1 - LEVEL exactly where it leaves 0 out.
    """
    if interval.sem == 0:
        return 1.0 if interval.value == 0 else 0.0
    half = interval.value - interval.low if interval.value > 0 else interval.high - interval.value
    p = float(2 * special.stdtr(interval.df, -t_quantile(interval.df) * abs(interval.value) / half))
    return p if abs(interval.value) > half else max(p, 1 - LEVEL)  # also where an end was cut to 0


def p_beyond(interval: Interval, effect: float | int, direction: str) -> float:
    """Two-sided p of "no more than the effect" where the value is beyond it in the direction; 1 where it is not.

    The interval is shifted by the effect: p < 1 - LEVEL exactly where all of it is beyond.

    Args:
      effect: counted in the direction: beyond 0.1 "less" is below -0.1, beyond -0.1 "less" is below 0.1.
    """
    sign = DIRECTIONS[direction]
    shifted = interval._replace(**{name: getattr(interval, name) - sign * effect for name in ("value", "low", "high")})
    return p_value(shifted) if sign * shifted.value > 0 else 1.0


def p_within(interval: Interval, effect: float | int) -> float:
    """The larger p of "as low as -effect" and of "as high as effect": p < 1 - LEVEL exactly where the whole interval
    lies between the two.

    Source: two one-sided tests, Schuirmann 1987 (Journal of Pharmacokinetics and Biopharmaceutics 15:657).
    """
    return max(p_beyond(interval, -effect, direction) for direction in DIRECTIONS)


def holm(p_values: Float[np.ndarray, " C"]) -> Float[np.ndarray, " C"]:
    """Step-down adjusted p values: the k-th smallest of C times C - k + 1, made monotone, at most 1. NaN counts as 1.

    Source: Holm 1979 (Scandinavian Journal of Statistics 6:65).
    """
    p_values = np.where(np.isnan(p_values), 1.0, p_values)
    order = np.argsort(p_values, kind="stable")
    steps = np.maximum.accumulate(p_values[order] * np.arange(p_values.size, 0, -1))
    adjusted = np.empty(p_values.size)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


def verdict(value: float, direction: str, *, p: float, beyond: float, within: float) -> str:
    """ "negligible", "supported", "detected", "opposite" or "undecided", by which p values are below 1 - LEVEL.

    negligible: `within`, significant or not. supported: `beyond`. Else by `p`: detected, in the claimed direction, or
    opposite, against it. All else is undecided.

    Args:
      value: of the contrast. p: of no difference. beyond, within: of `p_beyond`, `p_within` at the smallest effect. All
        three Holm-adjusted over the claims of a run; `p` is at most `beyond`.
    """
    alpha = 1 - LEVEL
    if within < alpha:
        return "negligible"
    if beyond < alpha:
        return "supported"
    if p < alpha:
        return "detected" if value * DIRECTIONS[direction] > 0 else "opposite"
    return "undecided"


def decide(claims: Sequence[dict], intervals: Sequence[Interval | None], *, strata: int = 1) -> list[dict]:
    """Verdicts on the primary claims of a run, Holm-corrected over them.

    Three p values are corrected, each over all claims: of no difference, of not being beyond the smallest effect, and
    of being as large as it. So with a chance of LEVEL or more nothing is wrongly called supported, and the same holds
    for negligible, and for different from 0 (detected, opposite).

    Args:
      claims: at most three of each stratum, each with the fields CLAIM_FIELDS and one of SIZES; direction is
        "greater" or "less" (the contrast than 0).
      intervals: the contrast's interval of each; None where there were too few data: the claim stays undecided, and
        counts in the correction with p = 1.

    Returns:
      Each claim with value, low, high, p, p_beyond and p_within (Holm-adjusted), members, generalises_to and verdict;
      all but the verdict None where there is no interval.

    Raises:
      ValueError: more than three claims, unlike lengths, a missing field, an unknown direction, an effect below 0.
    """
    if len(claims) > MAX_CLAIMS * strata or len(claims) != len(intervals):
        raise ValueError(
            f"{len(claims)} claims with {len(intervals)} intervals: expected at most {MAX_CLAIMS * strata} with one "
            "interval each; move the rest to the exploratory estimates."
        )
    raw = [_p_values(*one) for one in zip(claims, intervals, strict=True)]
    adjusted = [holm(np.array(column)) for column in zip(*raw, strict=True)]
    return [_decided(*one) for one in zip(claims, intervals, *adjusted, strict=True)]


def _p_values(claim: dict, interval: Interval | None) -> tuple[float, float, float]:
    """Of a claim that says all it should: p of no difference, and of `p_beyond` and `p_within` the smallest effect."""
    missing = [field for field in CLAIM_FIELDS if field not in claim]
    missing += [] if any(size in claim for size in SIZES) else ["the size of its noise"]
    if missing:
        raise ValueError(
            f"claim {claim.get('name', '?')!r} lacks {', '.join(missing)}: expected {', '.join(CLAIM_FIELDS)} and "
            f"one of {', '.join(SIZES)}; add what is missing."
        )
    direction, effect = claim["direction"], claim["smallest_effect"]
    if direction not in DIRECTIONS:
        raise ValueError(f"direction={direction!r}: expected one of {', '.join(DIRECTIONS)} (of the contrast than 0).")
    if not effect >= 0:
        raise ValueError(
            f"smallest_effect={effect}: expected a number >= 0 in the unit of the contrast; drop the sign."
        )
    if interval is None:
        return 1.0, 1.0, 1.0
    return p_value(interval), p_beyond(interval, effect, direction), p_within(interval, effect)


def _decided(claim: dict, interval: Interval | None, p: float, beyond: float, within: float) -> dict:
    """A claim with its verdict and its adjusted p values."""
    p_values = {"p": float(p), "p_beyond": float(beyond), "p_within": float(within)}
    if interval is None:
        nothing = dict.fromkeys(("value", "low", "high", *p_values, "members", "generalises_to"))
        return {**claim, **nothing, "verdict": "undecided"}
    result = {
        "value": interval.value,
        "low": interval.low,
        "high": interval.high,
        **p_values,
        "members": interval.members,
        "generalises_to": interval.generalises_to,
        "verdict": verdict(interval.value, claim["direction"], p=p, beyond=beyond, within=within),
    }
    return {key: plain(value) for key, value in {**claim, **result}.items()}
