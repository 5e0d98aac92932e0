"""summary.json, and what the terminal shows of it at the end."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.table import Table
from rich.text import Text

from landscape import files
from landscape.runs.chunks import stage_seconds
from landscape.runs.directory import Run
from landscape.stats.vocabulary import VOCABULARY

ESTIMATE = ("name", "population", "value", "low", "high", "level", "members", "examples", "unit", "generalises_to")
# How an interval came about: in summary.json, and in no table.
TECHNICAL = ("sem", "df", "var_member", "var_example", "var_residual", "incomplete")
TECHNICAL += ("band_low", "band_high", "smd_before", "smd_after", "same_class")
CHECK = ("name", "passed", "detail")
CLAIM = ("name", "value", "low", "high", "verdict")
VERDICTS = ("supported", "opposite", "negligible", "undecided")
SCHEMA = 2  # of summary.json: its estimates are those of the headline, estimates.csv has all
TABLE_ROWS = 12  # of the terminal's table; the report has all


def write_summary(
    run: Run,
    *,
    headline: str,
    estimates: Sequence[Mapping[str, Any]],
    checks: Sequence[Mapping[str, Any]],
    claims: Sequence[Mapping[str, Any]] = (),
    stages: Mapping[str, float] | None = None,
    **parts: Any,
) -> dict[str, Any]:
    """Saves summary.json, which ends the run: call it last. NaN becomes null.

    Args:
      headline: the answer in one or two sentences.
      estimates: dicts with the keys of ESTIMATE and any coordinates; the terminal's table shows those with
        `"headline": True`, or the first ones where none has it.
      checks, claims: dicts with the keys of CHECK and CLAIM.
      stages: seconds by stage, where the stages are gone.
      parts: further entries, JSON values.

    Returns:
      The summary, as read back.
    """
    _require("estimate", estimates, ESTIMATE)
    _require("check", checks, CHECK)
    _require("claim", claims, CLAIM)
    for estimate in estimates:
        if estimate["name"].split(".")[0] not in VOCABULARY:
            raise ValueError(f"estimate {estimate['name']!r}: expected a name that begins with one of {VOCABULARY}")
    for claim in claims:
        if claim["verdict"] not in VERDICTS:
            raise ValueError(f"claim {claim['name']!r}: verdict {claim['verdict']!r}; expected one of {VERDICTS}")
    summary = {
        "schema": SCHEMA,
        "experiment": run.config.experiment,
        "dataset": run.config.data.name,
        "config_hash": run.config_hash,
        "headline": headline,
        "stages": stage_seconds(run) if stages is None else stages,
        "claims": claims,
        "estimates": estimates,
        "checks": checks,
        **parts,
    }
    files.write_json(run.directory / "summary.json", summary)
    return read_summary(run)


def read_summary(run: Run) -> dict[str, Any]:
    """What `write_summary` saved."""
    return files.read_json(run.directory / "summary.json")


def print_summary(run: Run, summary: Mapping[str, Any], report: Path) -> None:
    """Failed checks, the headline, claims with verdicts, the headline estimates, where the report is."""
    show = run.console.print
    failed = [check for check in summary["checks"] if not check["passed"]]
    for check in failed:
        show(Text(f"FAILED CHECK {check['name']}: {check['detail']}", style="bold red"))
    show(Text(f"\n{summary['headline']}\n", style="bold"))
    for claim in summary["claims"]:
        text = "too few values, or none" if claim["value"] is None else interval(claim)
        show(Text(f"claim {claim['name']}: {claim['verdict']}, {text}"))
    estimates = [e for e in summary["estimates"] if e.get("headline")] or summary["estimates"][:TABLE_ROWS]
    if estimates:
        show(_table(estimates))
    show(Text("all estimates: the report and estimates.csv beside it"))
    show(Text(f"checks: {len(summary['checks']) - len(failed)} of {len(summary['checks'])} passed"))
    run.console.print(f"report: {report}", soft_wrap=True, highlight=False, markup=False)


def number(value: int | float | None) -> str:
    """Three significant digits, in powers of ten only below 0.0001 and from a million; None is a dash."""
    if value is None:
        return "-"
    if value and not 1e-4 <= abs(value) < 1e6:
        return f"{value:.2e}"
    return np.format_float_positional(value, precision=3, unique=False, fractional=False, trim="-")


def interval(estimate: Mapping[str, Any]) -> str:
    """`value [low, high]`, or the value alone where there is no interval."""
    if estimate["low"] is None or estimate["high"] is None:
        return number(estimate["value"])
    return f"{number(estimate['value'])} [{number(estimate['low'])}, {number(estimate['high'])}]"


def _table(estimates: Iterable[Mapping[str, Any]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    table.add_column("estimate")
    table.add_column("value [95 % interval]", no_wrap=True)
    hidden = {*ESTIMATE, *TECHNICAL, "reference", "headline"}
    for estimate in estimates:
        population = estimate["population"] or ""
        if estimate.get("reference"):
            population += f" - {estimate['reference']}"
        where = [  # a text coordinate tells itself what it is, a number does not
            value if isinstance(value, str) else f"{name} {number(value) if isinstance(value, float) else value}"
            for name, value in estimate.items()
            if name not in hidden and not name.startswith("config.") and value is not None
        ]
        what = ", ".join(filter(None, [population, *where]))
        # Text: square brackets are no markup
        unit = "" if estimate["unit"] == "1" else f" {estimate['unit']}"
        table.add_row(Text(f"{estimate['name']}: {what}"), Text(f"{interval(estimate)}{unit}"))
    return table


def _require(kind: str, entries: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> None:
    for entry in entries:
        missing = [key for key in keys if key not in entry]
        if missing:
            raise ValueError(f"{kind} {dict(entry)}: lacks {', '.join(missing)}; expected the keys {', '.join(keys)}")
