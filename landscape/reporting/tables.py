"""Tables and claims of a report as plain rows of text, chosen and worded from summary.json; no number is made here."""

import math
from typing import Any

from landscape.presets.names import BASELINES
from landscape.reporting.numbers import MISSING, interval, text
from landscape.reporting.style import look

Summary = dict[str, Any]

TABLE_ROWS = 12  # of the headline table where no estimate is marked for it
READINGS = (("raw", "raw"), ("iso", "equal margin"), ("matched", "matched"), ("scale_free", "scale-free"))
# Shown in columns of their own, or only in summary.json; what is left tells estimates of one name apart.
IN_COLUMNS = ("name", "population", "reference", "value", "low", "high", "members", "examples", "unit")
NOT_SHOWN = ("level", "generalises_to", "headline", "sem", "df", "var_member", "var_example", "var_residual")
NOT_SHOWN += ("band_low", "band_high")
WORDS = {"r": "r", "sigma": "σ", "xi": "ξ", "epsilon": "ε"}
USE = (
    ("usage.perplexity", "perplexity"),
    ("usage.active_units", "units"),
    ("usage.effective_dimension", "effective"),
)
# Columns of the table of cells: (heading, unit, factor, ((name of an estimate, what kind it is), ...)), the first kind
# that a cell has is shown.
ERRORS = (
    ("MSE", "10⁻³", 1e3, (("mse.reconstruction", ""),)),
    ("MSE", "drawn, 10⁻³", 1e3, (("mse.draw", ""),)),
    ("MSE", "of PCA's, %", 100.0, (("fvu.of_pca", ""),)),
    ("MSE", "of ae's, %", 100.0, (("mse.of_ae", ""),)),
    ("PSNR", "dB", 1.0, (("psnr.reconstruction", ""),)),
    ("SSIM", "", 1.0, (("ssim.reconstruction", ""),)),
    ("FVU", "total, %", 100.0, (("fvu.total", ""),)),
    ("FVU", "in class, %", 100.0, (("fvu.in_class", ""),)),
    ("error", "of the norm, %", 100.0, (("distance.of_norm", ""),)),
    ("error", "of a pair, %", 100.0, (("distance.of_typical_pair", ""),)),
)
JUDGED = (
    ("accuracy", "%", 100.0, (("accuracy.substituted", ""),)),
    ("accuracy", "change, %", 100.0, (("accuracy.change", ""),)),
    ("agrees", "%", 100.0, (("agreement.substituted", ""),)),
    ("agrees", "held out, %", 100.0, (("agreement.held_out", ""),)),
    ("KL", "nats", 1.0, (("distance.kl", ""),)),
    ("rate", "bits", 1.0, (("rate.kl", "KL"), ("rate.codes", "codes"), ("rate.quantised", ""))),
    ("rate", "bits a dim", 1.0, (("rate.bits_per_dim", ""),)),
    ("in use", "", 1.0, USE),
    ("Fréchet", "back", 1.0, (("frechet.reconstruction", ""),)),
    ("Fréchet", "samples", 1.0, (("frechet.samples", ""),)),
)
IN_UNIT = ("mse.reconstruction", "mse.draw")  # of the layer: shown of images alone
RELATIVE = ("distance.of_norm", "distance.of_typical_pair")  # shown of hidden layers alone
CELL_TABLES = (  # title, whether of images, columns
    ("Images: errors", True, tuple(c for c in ERRORS if c[3][0][0] not in RELATIVE)),
    ("Images: what classifiers make of them, rates, samples", True, JUDGED),
    ("Hidden layers", False, tuple(c for c in (*ERRORS, *JUDGED) if c[3][0][0] not in IN_UNIT)),
)
CELL_COORDINATES = ("layer", "family", "dim", "codes", "step", "prior")
FAMILY_WORDS = {"pca": "PCA", "class_mean": "class mean", "kmeans": "k-means"}
VERDICTS = {"supported": "✓", "opposite": "✗", "negligible": "≈", "undecided": "?"}


def words(name: object) -> str:
    """`input_flatness.probability_drop` -> `input flatness: probability drop`."""
    return str(name).replace("_", " ").replace(".", ": ", 1).replace(".", ", ")


def contrast(estimate: dict, *, matched: bool = False) -> str:
    """The population, or `population − reference` of a difference; `matched` leaves out how margins were matched."""
    names = (str(estimate[key]) for key in ("population", "reference") if estimate.get(key))
    return " − ".join(look(name.removesuffix("_iso") if matched else name).label for name in names)


def condition(estimate: dict) -> str:
    """The coordinates that tell this estimate from others of its name."""
    parts = []
    for key, value in estimate.items():
        if key.startswith("config."):  # a joined run is named by what differs
            continue
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
    known = estimate.get("name") in names and estimate.get("reference") and estimate.get("r") is not None
    return bool(known) and estimate["r"] == r and estimate.get("noise") in (None, "additive")


def four_readings(summary: Summary) -> list[dict[str, Any]]:
    """Differences of populations at the headline radius, one row a contrast and one column a reading."""
    r = headline_radius(summary)
    rows: dict[str, dict[str, dict]] = {}
    own = [] if summary["experiment"] in ("tour", "gather") else summary.get("estimates", [])  # of one run alone
    for estimate in own:
        if _is_reading(estimate, r):
            reading = "scale_free" if estimate["name"].endswith("scale_free") else estimate.get("matching")
            trained = [
                f"{key.removeprefix('train_').replace('_', ' ')} {text(v)}"
                for key, v in estimate.items()
                if key.startswith("train_")
            ]
            row = ", ".join([contrast(estimate, matched=True), *trained])
            rows.setdefault(row, {}).setdefault(reading, estimate)
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


def _is_cell(estimate: dict) -> bool:
    """Whether an estimate is of one description of one layer: a cell of `cell_tables`."""
    return bool(estimate.get("family") and estimate.get("layer"))


def headline_rows(summary: Summary) -> list[dict[str, Any]]:
    """The estimates of the terminal's table (those marked for it, else the first ones) that no other table shows."""
    estimates, r = summary.get("estimates", []), headline_radius(summary)
    chosen = [e for e in estimates if e.get("headline")] or estimates[:TABLE_ROWS]
    return [estimate_row(e) for e in chosen if not _is_reading(e, r) and not _is_cell(e)]


def cell_tables(summary: Summary) -> list[dict[str, Any]]:
    """Tables of cells, the estimates that have a `family` and a `layer`: two of images, one of hidden layers.

    One row a cell. A table has the columns that any of its cells has; hidden layers are grouped by layer.
    """
    cells: dict[tuple, dict[str, dict]] = {}
    for estimate in summary.get("estimates", []):
        if _is_cell(estimate):
            held = cells.setdefault(_cell_key(estimate), {})
            known = held.get(estimate["name"])  # of several widths of the quantiser the finest, next to no rounding
            if known is None or (estimate.get("step") or 0) < (known.get("step") or 0):
                held[estimate["name"]] = estimate
    found = []
    for title, image, all_columns in CELL_TABLES:
        own = {key: held for key, held in cells.items() if (key[0] == "image") == image}
        columns = [column for column in all_columns if any(_cell_entry(held, column) for held in own.values())]
        layers: dict[str, list] = {}
        for key, held in sorted(own.items(), key=_rank(own)):
            layers.setdefault("" if image else key[0], []).append(_cell_row(key, held, columns))
        if columns:
            found.append({"title": title, "columns": [c[:2] for c in columns], "groups": list(layers.items())})
    return found


def _cell_key(estimate: dict) -> tuple:
    """(layer, family, size, swept values as text) of an estimate of a cell."""
    size = estimate.get("dim") or estimate.get("codes") or 0
    hidden = (*IN_COLUMNS, *NOT_SHOWN, *CELL_COORDINATES, "incomplete")
    swept = condition({key: value for key, value in estimate.items() if key not in hidden})
    return str(estimate.get("layer", "")), str(estimate["family"]), size, swept


def _rank(cells: dict[tuple, dict]) -> Any:
    """Order of rows: layers and families as they come, baselines last, then by size."""
    layers = list(dict.fromkeys(key[0] for key in cells))
    families = list(dict.fromkeys(key[1] for key in cells))

    def rank(item: tuple[tuple, dict]) -> tuple:
        layer, family, size, _ = item[0]
        return layers.index(layer), family in BASELINES, families.index(family), size

    return rank


def _cell_row(key: tuple, held: dict[str, dict], columns: list[tuple]) -> dict[str, Any]:
    _, family, size, swept = key
    return {
        "name": f"{FAMILY_WORDS.get(family, family.replace('_', ' '))} {size or ''}".strip(),
        "swept": swept,
        "baseline": family in BASELINES,
        "entries": [_cell_entry(held, column) or [MISSING] for column in columns],
    }


def _cell_entry(held: dict[str, dict], column: tuple) -> list[str]:
    """Value, interval and kind as text, as far as they exist; nothing where the cell has none of the estimates."""
    _, _, factor, kinds = column
    for name, kind in kinds:
        estimate = held.get(name, {})
        value = estimate.get("value")
        if value is None or (name.startswith("usage.") and value < 0):  # whole numbers have no NaN: -1 is none
            continue
        if estimate.get("step") is not None:
            kind = f"at {text(estimate['step'])} σ"
        if name == "usage.perplexity" and (used := held.get("usage.codes", {}).get("value")) is not None:
            kind = f"{kind}, {100 * used:.0f} %"
        return [part for part in (*short_interval(estimate, factor), kind) if part]
    return []


def short_interval(estimate: dict, factor: float = 1.0) -> tuple[str, str]:
    """(value, "[low, high]" or "") times a factor: as `interval`, but with at most three significant digits."""
    scaled = {key: None if estimate.get(key) is None else factor * estimate[key] for key in ("value", "low", "high")}
    value, low, high = scaled.values()
    if low is None or high is None or not high > low:
        return text(value), ""
    most = max(abs(value), abs(low), abs(high))
    if not 1e-4 <= most < 1e6:
        value, _, ends = interval(scaled).partition(" [")
        return value, f"[{ends}"
    decimals = min(-math.floor(math.log10((high - low) / 6)), 2 - math.floor(math.log10(most)))
    rounded = (f"{round(x, decimals) + 0.0:.{max(0, decimals)}f}".replace("-", "−") for x in scaled.values())
    value, *ends = rounded
    return value, "" if ends == [value, value] else f"[{', '.join(ends)}]"


def claim_card(claim: dict) -> dict[str, Any]:
    """One claim as text, with the geometry of its interval bar in percent of the bar's width."""
    verdict = str(claim.get("verdict") or "undecided")
    about = " − ".join(look(name).label for name in claim.get("populations") or []) or claim.get("contrast", "")
    detail = [("measure", words(claim.get("measure", "")))]
    for key in ("matching", "r", "radius", "direction", "smallest_effect", "p"):
        if claim.get(key) is not None:
            detail.append((key.replace("_", " "), text(claim[key]).replace("_", " ")))
    return {
        "name": str(claim.get("name", "")).replace("_", " "),
        "about": str(about),
        "value": interval(claim) if claim.get("value") is not None else "too few values, or none",
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
