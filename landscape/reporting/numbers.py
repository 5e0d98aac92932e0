"""Numbers as text in a report: as many digits as they deserve, with a true minus sign."""

import math
from collections.abc import Mapping
from typing import Any

from landscape.runs import summary

MISSING = "–"


def text(value: Any) -> str:
    """Any JSON value as text: floats with three digits, counts and names as they are, None and NaN as a dash."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return MISSING
    if isinstance(value, bool | str):
        return str(value)
    return _typeset(str(value) if isinstance(value, int) else summary.number(value))


def interval(estimate: Mapping[str, Any]) -> str:
    """`value [low, high]` of an estimate or claim, or the value alone where there is no interval."""
    return " ".join(parts(estimate)).strip()


def parts(estimate: Mapping[str, Any], factor: float = 1.0, digits: int = 4) -> tuple[str, str]:
    """(value, "[low, high]" or "" without an interval) of an estimate times a factor.

    All three get the decimals that show the half width with one digit, or two where it starts below 3, but no more than
    show `digits` of the largest.
    """
    scaled = [None if estimate.get(end) is None else factor * estimate[end] for end in ("value", "low", "high")]
    value, low, high = scaled
    if low is None or high is None or not high > low:
        return text(value), ""
    largest = max(abs(low), abs(high))
    if 1e-4 <= largest < 1e6:
        needed, most = -math.floor(math.log10((high - low) / 6)), digits - 1 - math.floor(math.log10(largest))
        decimals = max(0, min(6, needed, most))
        value, low, high = (_typeset(f"{round(x, decimals) + 0.0:.{decimals}f}") for x in scaled)
    else:
        value, low, high = (text(float(x)) for x in scaled)
    return value, f"[{low}, {high}]"


def _typeset(number: str) -> str:
    return number.replace("e-0", "e-").replace("e+0", "e").replace("-", "−")
