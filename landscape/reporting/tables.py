"""Tables and claims of a report as plain text, of the numbers that a finished run has; no number is made here."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from landscape.reporting.numbers import MISSING, interval, text
from landscape.reporting.style import look
from landscape.runs.summary import NO_VALUE, RATIO
from landscape.stats.table import FIELDS, Row

# What is no part of where an estimate holds: in columns of its own, or in estimates.csv alone.
NOT_WHERE = {*FIELDS, "population", "reference"}
SYMBOLS = {"sigma": "σ", "xi": "ξ", "epsilon": "ε"}
VERDICTS = {"supported": "✓", "detected": "+", "opposite": "✗", "negligible": "≈", "undecided": "?"}


class Entry(NamedTuple):
    """One value of a table, with what stands in small letters beneath it; empty texts are left out."""

    texts: Sequence[str]
    bold: bool = False


class Line(NamedTuple):
    """One line of a table: its name with what stands beneath it, an entry a column; a baseline is greyed."""

    name: str
    entries: Sequence[Entry]
    beneath: str = ""
    baseline: bool = False


class ReportTable(NamedTuple):
    """A table of a report.

    columns: (heading, unit). groups: heading, "" for none -> lines. first: heading of the lines' names.
    """

    columns: Sequence[tuple[str, str]]
    groups: Mapping[str, Sequence[Line]]
    title: str = ""
    first: str = ""
    note: str = ""


def words(name: object) -> str:
    """`input_flatness.probability_drop` -> `input flatness: probability drop`."""
    return str(name).replace("_", " ").replace(".", ": ", 1).replace(".", ", ")


def contrast(estimate: Mapping[str, Any], *, twins: bool = False) -> str:
    """The population, `population − reference` of a difference or `population / reference` of a ratio; `twins` at equal
    confidence by the others' names."""
    names = (str(estimate[key]) for key in ("population", "reference") if estimate.get(key))
    sign = " / " if estimate.get("unit") == RATIO else " − "
    return sign.join(look(name.removesuffix("_iso") if twins else name).label for name in names)


def condition(estimate: Mapping[str, Any], *, hidden: Sequence[str] = ()) -> str:
    """The coordinates that an estimate has beside those of its name; of a joined run its name says what differs."""
    shown = [key for key in estimate if key not in (*NOT_WHERE, *hidden) and not key.startswith("config.")]
    own = {key: estimate[key] for key in shown if estimate[key] or estimate[key] == 0}
    return ", ".join(f"{SYMBOLS.get(k, k.replace('_', ' '))} = {text(v).replace('_', ' ')}" for k, v in own.items())


def estimate_row(estimate: Row) -> dict[str, str]:
    """One estimate as text."""
    return {
        "name": words(estimate["name"]),
        "contrast": contrast(estimate),
        "condition": condition(estimate),
        "value": interval(estimate),
        "unit": "" if estimate.get("unit") in (None, "1") else estimate["unit"],
        "members": text(estimate.get("members")),
        "examples": text(estimate.get("examples")),
        "generalises_to": estimate.get("generalises_to") or MISSING,
    }


def claim_card(claim: dict) -> dict[str, Any]:
    """One claim as text, with the geometry of its interval bar in percent of the bar's width."""
    verdict = str(claim.get("verdict") or "undecided")
    about = " − ".join(look(name).label for name in claim.get("populations") or []) or claim.get("contrast", "")
    detail = [("measure", words(claim.get("measure", "")))]
    for key in ("matching", "r", "radius", "direction", "smallest_effect", "p", "p_beyond", "p_within"):
        if claim.get(key) is not None:
            detail.append((key.replace("_", " "), text(claim[key]).replace("_", " ")))
    return {
        "name": str(claim.get("name", "")).replace("_", " "),
        "about": str(about),
        "value": interval(claim) if claim.get("value") is not None else NO_VALUE,
        "detail": detail,
        "verdict": verdict,
        "sign": VERDICTS.get(verdict, "?"),
        "bar": _bar(claim),
    }


def _bar(claim: dict) -> dict[str, float] | None:
    """Positions of zero, the interval, the value and the band of negligible effects; None without an interval."""
    value, low, high = (claim.get(key) for key in ("value", "low", "high"))
    if value is None or low is None or high is None:
        return None
    smallest = abs(claim.get("smallest_effect") or 0.0)
    left, right = min(low, -smallest, 0.0), max(high, smallest, 0.0)
    if not (math.isfinite(left) and math.isfinite(right) and right > left):
        return None
    margin = 0.06 * (right - left)
    span = right - left + 2 * margin

    def position(x: float) -> float:
        return round(100 * (x - left + margin) / span, 2)

    return {
        "zero": position(0.0),
        "value": position(value),
        "low": position(low),
        "width": round(100 * (high - low) / span, 2),
        "small": position(-smallest),
        "small_width": round(200 * smallest / span, 2),
    }


def flat(config: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Nested JSON as (dotted.key, text) rows; lists of plain values stay on one line."""
    if isinstance(config, dict) and config:
        return [row for key, value in config.items() for row in flat(value, f"{prefix}.{key}" if prefix else str(key))]
    if isinstance(config, list) and any(isinstance(item, dict | list) for item in config):
        return [row for index, value in enumerate(config) for row in flat(value, f"{prefix}[{index}]")]
    if isinstance(config, list):
        return [(prefix, ", ".join(str(item) for item in config) or MISSING)]
    return [(prefix, MISSING if config is None or config in ("", {}) else str(config))]
