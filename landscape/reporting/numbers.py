"""Numbers as text in a report: the terminal's digits, with a true minus sign."""

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
    if estimate.get("value") is None:
        return MISSING
    return _typeset(summary.interval({"low": None, "high": None, **estimate}))


def _typeset(number: str) -> str:
    return number.replace("e-0", "e-").replace("e+0", "e").replace("-", "−")


def duration(seconds: float) -> str:
    """Seconds as `0.8 s`, `12 s`, `3 min 20 s` or `2 h 5 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
