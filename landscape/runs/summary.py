"""summary.json, and what the terminal shows of it at the end."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.table import Table
from rich.text import Text

from landscape import files
from landscape.files import UserError
from landscape.runs.directory import Run

RATIO = "times"  # the unit of what is a ratio to its reference, rather than a difference
NO_VALUE = "no value: too few inputs, or all alike"  # of a claim
SCHEMA = 2  # of summary.json: its estimates are those of the headline, estimates.csv has all


def write_summary(
    run: Run,
    *,
    headline: str,
    estimates: Sequence[Mapping[str, Any]],
    checks: Sequence[Mapping[str, Any]],
    claims: Sequence[Mapping[str, Any]] = (),
    stages: Mapping[str, float],
    results: Sequence[str] = (),
) -> None:
    """Saves summary.json, which ends the run: call it last. NaN becomes null.

    Args:
      headline: the answer in one or two sentences.
      estimates, claims: rows of a `stats.table.Table`. checks: name, passed, detail of each.
      stages: seconds by stage. results: names of the files whose sha256 is kept, see `damaged`.
    """
    summary = {
        "schema": SCHEMA,
        "experiment": run.config.experiment,
        "dataset": run.config.data.name,
        "config_hash": run.config_hash,
        "headline": headline,
        "stages": stages,
        "claims": claims,
        "estimates": estimates,
        "checks": checks,
        "sha256": {name: files.file_checksum(run.directory / name) for name in results},
    }
    files.write_json(run.directory / "summary.json", summary)


def read_summary(run: Run) -> dict[str, Any]:
    """What `write_summary` saved."""
    return files.read_json(run.directory / "summary.json")


def damaged(run: Run) -> list[str]:
    """The results of a finished run that are no longer what they were when it ended: missing, cut, or changed."""
    try:
        known = read_summary(run).get("sha256", {})
    except UserError:
        return ["summary.json"]
    paths = {name: run.directory / name for name in known}
    return [name for name, path in paths.items() if not path.exists() or files.file_checksum(path) != known[name]]


def print_summary(run: Run, summary: Mapping[str, Any], report: Path) -> None:
    """Failed checks, the headline, claims with verdicts, the headline estimates, where the report is."""
    show = run.console.print
    failed = [check for check in summary["checks"] if not check["passed"]]
    for check in failed:
        show(Text(f"FAILED CHECK {check['name']}: {check['detail']}", style="bold red"))
    if run.config.get("smoke"):
        show("A smoke run: few images and hardly trained members.")
    show(Text(f"\n{summary['headline']}\n", style="bold"))
    for claim in summary["claims"]:
        text = NO_VALUE if claim["value"] is None else interval(claim)
        show(Text(f"claim {claim['name']}: {claim['verdict']}, {text}"))
        show(Text(f"      {_about(claim)}", style="dim"))
    if summary["estimates"]:
        show(_table(summary["estimates"]))
    show(Text("all estimates: the report and estimates.csv beside it"))
    show(Text(f"checks: {len(summary['checks']) - len(failed)} of {len(summary['checks'])} passed"))
    run.say(f"report: {report}")


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


def _about(claim: Mapping[str, Any]) -> str:
    """What a claim compares, under which conditions, and what it expects."""
    where = [f"{name} {number(claim[name])}" for name in ("r", "radius", "size") if claim.get(name) is not None]
    where = ", ".join([" - ".join(claim["populations"]), claim["matching"], *where])
    side = "above" if claim["direction"] == "greater" else "below"
    return f"{claim['measure']}: {where}; expected {side} 0, smallest effect {number(claim['smallest_effect'])}"


def _table(estimates: Iterable[Mapping[str, Any]]) -> Table:
    from landscape.stats.table import FIELDS

    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    table.add_column("estimate")
    table.add_column("value [95 % interval]", no_wrap=True)
    hidden = {*FIELDS, "population", "reference", "smd_before", "smd_after", "same_class"}
    for estimate in estimates:
        population = estimate["population"] or ""
        if estimate.get("reference"):
            population += f" {'/' if estimate['unit'] == RATIO else '-'} {estimate['reference']}"
        where = [  # a text coordinate says itself what it is, a number does not
            value if isinstance(value, str) else f"{name} {number(value) if isinstance(value, float) else value}"
            for name, value in estimate.items()
            if name not in hidden and not name.startswith("config.") and value is not None
        ]
        what = ", ".join(filter(None, [population, *where]))
        # Text: square brackets are no markup
        unit = "" if estimate["unit"] == "1" else f" {estimate['unit']}"
        table.add_row(Text(f"{estimate['name']}: {what}"), Text(f"{interval(estimate)}{unit}"))
    return table
