"""From intervals to what a run says: estimates as plain dicts, and verdicts on its primary claims."""

import math
import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy import special

from landscape.stats.intervals import LEVEL, Interval, sides
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
    """Two-sided p of "no difference" from t = value / (sem a), a of `intervals.sides`; NaN where sem is NaN.

    p < 1 - LEVEL exactly where an interval of `intervals.interval` leaves 0 out; `sides` stay those of LEVEL at any p.
    """
    if interval.sem == 0:
        return 1.0 if interval.value == 0 else 0.0
    lower, upper = sides(interval.skew)
    side = lower if interval.value > 0 else upper  # the half that reaches for 0
    return float(2 * special.stdtr(interval.df, -abs(interval.value) / (interval.sem * side)))


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


def verdict(interval: Interval, adjusted_p: float, *, direction: str, smallest_effect: float | int) -> str:
    """ "negligible", "supported", "detected", "opposite" or "undecided".

    negligible: the whole interval lies inside (-smallest_effect, smallest_effect), significant or not. Of what is
    significant (adjusted p < 1 - LEVEL): opposite, against the claimed direction; supported, where the whole interval
    is beyond the smallest effect; detected, where it is not. All else is undecided.
    """
    if direction not in DIRECTIONS:
        raise ValueError(f"direction={direction!r}: expected one of {', '.join(DIRECTIONS)} (of the contrast than 0).")
    if not smallest_effect >= 0:
        raise ValueError(
            f"smallest_effect={smallest_effect}: expected a number >= 0 in the unit of the contrast; drop the sign."
        )
    if max(-interval.low, interval.high) < smallest_effect:
        return "negligible"
    if adjusted_p < 1 - LEVEL:
        if interval.value * DIRECTIONS[direction] < 0:
            return "opposite"
        nearest = interval.low if direction == "greater" else -interval.high
        return "supported" if nearest >= smallest_effect else "detected"
    return "undecided"


def decide(claims: Sequence[dict], intervals: Sequence[Interval | None], *, strata: int = 1) -> list[dict]:
    """Verdicts on the primary claims of a run, Holm-corrected over them.

    Args:
      claims: at most three of each stratum, each with the fields CLAIM_FIELDS and one of SIZES; direction is
        "greater" or "less" (the contrast than 0).
      intervals: the contrast's interval of each; None where there were too few data: the claim stays undecided, and
        counts in the correction with p = 1.

    Returns:
      Each claim with value, low, high, p (Holm-adjusted), p_raw, members, generalises_to and verdict.

    Raises:
      ValueError: more than three claims, unlike lengths, a missing field, an unknown direction.
    """
    if len(claims) > MAX_CLAIMS * strata or len(claims) != len(intervals):
        raise ValueError(
            f"{len(claims)} claims with {len(intervals)} intervals: expected at most {MAX_CLAIMS * strata} with one "
            "interval each; move the rest to the exploratory estimates."
        )
    raw = np.array([1.0 if interval is None else p_value(interval) for interval in intervals])
    return [_decided(*one) for one in zip(claims, intervals, raw, holm(raw), strict=True)]


def _decided(claim: dict, interval: Interval | None, raw: float, adjusted: float) -> dict:
    """A claim with its verdict; `raw` and `adjusted` are its p values."""
    missing = [field for field in CLAIM_FIELDS if field not in claim]
    missing += [] if any(size in claim for size in SIZES) else ["the size of its noise"]
    if missing:
        raise ValueError(
            f"claim {claim.get('name', '?')!r} lacks {', '.join(missing)}: expected {', '.join(CLAIM_FIELDS)} and "
            f"one of {', '.join(SIZES)}; add what is missing."
        )
    if interval is None:
        nothing = dict.fromkeys(("value", "low", "high", "members", "generalises_to"))
        return {**claim, **nothing, "p": 1.0, "p_raw": 1.0, "verdict": "undecided"}
    effect = {field: claim[field] for field in ("direction", "smallest_effect")}
    result = {
        "value": interval.value,
        "low": interval.low,
        "high": interval.high,
        "p": float(adjusted),
        "p_raw": float(raw),
        "members": interval.members,
        "generalises_to": interval.generalises_to,
        "verdict": verdict(interval, float(adjusted), **effect),
    }
    return {key: plain(value) for key, value in {**claim, **result}.items()}
