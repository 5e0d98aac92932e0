"""The table of a gather run: the headline rows of all runs, side by side."""

import json
from collections import Counter
from typing import TYPE_CHECKING

from landscape.experiments.base import TRAINED, named
from landscape.experiments.joined import checks, claims, derive, estimate
from landscape.stats.table import Row, Table

if TYPE_CHECKING:
    import xarray as xr  # imported where it is used: half a second

MOST = 6  # quantities that are drawn
PLACE = ("space", "search", "targets", "guidance", "size", "guides", "measured")  # where a quantity is of
SAME = ("name", "population", "reference", "matching", *PLACE)  # what distinguishes one quantity from another
__all__ = ["checks", "claims", "derive", "estimate", "headline"]


def quantities(table: Table) -> list[Table]:
    """Rows of one quantity each: those of the most runs first, and of these differences; the first row of each line."""
    found: dict[tuple, dict[str, Row]] = {}
    for row in table:
        found.setdefault(tuple(row.get(name) for name in SAME), {}).setdefault(line(row), row)
    order = sorted(found, key=lambda key: (-len(found[key]), key[SAME.index("reference")] is None))
    return [Table(tuple(found[key].values())) for key in order]


def line(row: Row) -> str:
    """The run of a row and, where it was swept, the kind of training."""
    kind = {name: row[name] for name in TRAINED if row.get(name) is not None}
    return f"{row['run']}, {named(kind)}" if kind else row["run"]


def title(row: Row) -> str:
    """A quantity in words."""
    name = row["name"].replace("_", " ").replace(".", ": ")
    about = " − ".join(row[key].replace("_", " ") for key in ("population", "reference") if row.get(key))
    about += f" ({row['matching'].replace('_', '-')})" if row.get("matching") else ""
    places = (row[key] if isinstance(row[key], str) else f"{row[key]:g} {key}" for key in PLACE if row.get(key))
    return ", ".join((name, *filter(None, (about, *(place.replace("_", " ") for place in places)))))


def headline(table: Table, config) -> str:
    """How many runs there are, and the range of the first quantity; how many intervals exclude what no effect is."""
    if not table:
        return "No run has a headline row."
    runs = Counter(run.split(",")[0] for run in {row["run"]: None for row in table})
    said = " and ".join(f"{count} of {kind}" for kind, count in runs.items())
    text, rows = f"{sum(runs.values())} runs, {said}", quantities(table)[0].rows
    if len({row["run"] for row in rows}) < min(2, sum(runs.values())):
        return f"{text}; no quantity is shared by two of them."
    about = title(rows[0])
    values = [row["value"] for row in rows if row["value"] is not None] or [float("nan")]
    text += f". {about[0].upper()}{about[1:]}: between {min(values):.3g} and {max(values):.3g}"
    null = 0.5 if rows[0]["name"].startswith("auroc.") else 0.0 if rows[0].get("reference") else None
    if null is None:
        return f"{text}."
    sure = sum(row["low"] is not None and not row["low"] <= null <= row["high"] for row in rows)
    return f"{text}; the interval excludes {null:g} in {sure} of {len(rows)}."


def verdicts(data: "xr.Dataset") -> dict[str, Counter]:
    """How often each claim got which verdict."""
    found: dict[str, Counter] = {}
    for text in data.verdicts.values.tolist():
        for name, verdict in json.loads(text).items():
            found.setdefault(name, Counter())[verdict] += 1
    return found
