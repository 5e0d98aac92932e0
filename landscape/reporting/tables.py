"""Tables and claims of a report as plain rows of text, chosen and worded from summary.json; no number is made here."""

import math
from typing import Any

from landscape.reporting.numbers import MISSING, interval, text
from landscape.reporting.style import look

Summary = dict[str, Any]

TABLE_ROWS = 12  # of the headline table where no estimate is marked for it
READINGS = (("raw", "raw"), ("iso", "equal margin"), ("matched", "matched"), ("scale_free", "scale-free"))
# Shown in columns of their own, or only in summary.json; what is left tells estimates of one name apart.
IN_COLUMNS = ("name", "population", "reference", "value", "low", "high", "members", "examples", "unit")
NOT_SHOWN = ("level", "generalises_to", "headline", "sem", "df", "var_member", "var_example", "var_residual")
WORDS = {"r": "r", "sigma": "σ", "xi": "ξ", "epsilon": "ε"}
VERDICTS = {"supported": "✓", "opposite": "✗", "negligible": "≈", "undecided": "?"}


def words(name: object) -> str:
    """`input_flatness.probability_drop` -> `input flatness: probability drop`."""
    return str(name).replace("_", " ").replace(".", ": ", 1).replace(".", ", ")


def contrast(estimate: dict, *, matched: bool = False) -> str:
    """The population, or `population − reference` of a difference; `matched` leaves out how margins were matched."""
    told = (str(estimate[key]) for key in ("population", "reference") if estimate.get(key))
    return " − ".join(look(name.removesuffix("_iso") if matched else name).label for name in told)


def condition(estimate: dict) -> str:
    """The coordinates that tell this estimate from others of its name."""
    parts = []
    for key, value in estimate.items():
        if key in IN_COLUMNS or key in NOT_SHOWN or value is None or value == "" or (key == "incomplete" and not value):
            continue
        parts.append(f"{WORDS.get(key, key.replace('_', ' '))} = {text(value).replace('_', ' ')}")
    return ", ".join(parts)


def estimate_row(estimate: dict) -> dict[str, Any]:
    """One estimate as text."""
    return {
        "name": words(estimate.get("name", "")),
        "contrast": contrast(estimate),
        "condition": condition(estimate),
        "value": interval(estimate),
        "unit": "" if estimate.get("unit") in (None, "1") else estimate["unit"],
        "members": text(estimate.get("members")),
        "examples": text(estimate.get("examples")),
        "generalises_to": estimate.get("generalises_to") or MISSING,
        "excludes_zero": _excludes_zero(estimate),
    }


def _excludes_zero(estimate: dict) -> bool:
    low, high = estimate.get("low"), estimate.get("high")
    return low is not None and high is not None and (low > 0 or high < 0)


def headline_radius(summary: Summary) -> float | None:
    """The r of the first claim, or the r nearest to 0.3 that has estimates; None where nothing has an r."""
    claimed = [claim["r"] for claim in summary.get("claims", []) if claim.get("r")]
    wanted = claimed[0] if claimed else 0.3
    known = sorted({e["r"] for e in summary.get("estimates", []) if e.get("r")})
    return min(known, key=lambda r: abs(math.log(r / wanted))) if known else None


def _is_reading(estimate: dict, r: float | None) -> bool:
    """Whether an estimate is a difference of populations at the headline radius: a cell of the four readings."""
    names = ("input_flatness.probability_drop", "input_flatness.scale_free")
    told = estimate.get("name") in names and estimate.get("reference") and estimate.get("r") is not None
    return bool(told) and estimate["r"] == r and estimate.get("noise") in (None, "additive")


def four_readings(summary: Summary) -> list[dict[str, Any]]:
    """Differences of populations at the headline radius, one row a contrast and one column a reading."""
    r = headline_radius(summary)
    rows: dict[str, dict[str, dict]] = {}
    for estimate in summary.get("estimates", []):
        if _is_reading(estimate, r):
            reading = "scale_free" if estimate["name"].endswith("scale_free") else estimate.get("matching")
            rows.setdefault(contrast(estimate, matched=True), {}).setdefault(reading, estimate)
    return [
        {"contrast": name, "cells": [_cell(cells[key]) if key in cells else None for key, _ in READINGS]}
        for name, cells in rows.items()
    ]


def _cell(estimate: dict) -> dict[str, Any]:
    """One reading of one contrast in parts that stay on a line; of a matched one, the share that found a partner."""
    row, kept = estimate_row(estimate), estimate.get("share_kept")
    value, bracket, ends = row["value"].partition("[")
    parts = [value.strip(), bracket + ends, "" if kept is None else f"({100 * kept:.0f} % kept)"]
    return row | {"parts": [part for part in parts if part]}


def headline_rows(summary: Summary) -> list[dict[str, Any]]:
    """The estimates of the terminal's table (those marked for it, else the first ones) that no other table shows."""
    estimates, r = summary.get("estimates", []), headline_radius(summary)
    chosen = [e for e in estimates if e.get("headline")] or estimates[:TABLE_ROWS]
    return [estimate_row(estimate) for estimate in chosen if not _is_reading(estimate, r)]


def claim_card(claim: dict) -> dict[str, Any]:
    """One claim as text, with the geometry of its interval bar in percent of the bar's width."""
    verdict = str(claim.get("verdict") or "undecided")
    about = " − ".join(look(name).label for name in claim.get("populations") or []) or claim.get("contrast", "")
    detail = [("measure", words(claim.get("measure", "")))]
    for key in ("matching", "r", "direction", "smallest_effect", "p"):
        if claim.get(key) is not None:
            detail.append((key.replace("_", " "), text(claim[key]).replace("_", " ")))
    return {
        "name": str(claim.get("name", "")).replace("_", " "),
        "about": str(about),
        "value": interval(claim),
        "detail": detail,
        "verdict": verdict,
        "sign": VERDICTS.get(verdict, "?"),
        "bar": _bar(claim),
    }


def _bar(claim: dict) -> dict[str, float] | None:
    """Places of zero, the interval, the value and the band of negligible effects; None without an interval."""
    value, low, high = (claim.get(key) for key in ("value", "low", "high"))
    if value is None or low is None or high is None:
        return None
    smallest = abs(claim.get("smallest_effect") or 0.0)
    left, right = min(low, -smallest, 0.0), max(high, smallest, 0.0)
    if not (math.isfinite(left) and math.isfinite(right) and right > left):
        return None
    room = 0.06 * (right - left)
    span = right - left + 2 * room

    def place(x: float) -> float:
        return round(100 * (x - left + room) / span, 2)

    return {
        "zero": place(0.0),
        "value": place(value),
        "low": place(low),
        "width": round(100 * (high - low) / span, 2),
        "small": place(-smallest),
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
