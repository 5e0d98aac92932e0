"""What finished runs say, read from their directories: for what puts several runs on one page. Imports no JAX."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landscape import files
from landscape.experiments.base import Check, Quantity, read_estimates
from landscape.files import UserError
from landscape.presets.check import leaves
from landscape.reporting.link import Link
from landscape.stats.table import Row, Table, read_csv

if TYPE_CHECKING:
    import xarray as xr  # imported where it is used: half a second

NEEDED = ("summary.json", "config.json", "environment.json", "estimates.csv")
# Where runs keep things, and what says the same as another field, are no differences between them.
NO_DIFFERENCE = ("artifacts", "data.cache", "data.dir", "experiment", "data.name")
NAMED = ("smoke", "model.name", "seed", "sweep.", "train.", "search.")  # fields that a run is named by first
SCHEMA = {
    "run": Quantity(("run",), "1", "directory of the run"),
    "experiment": Quantity(("run",), "1", "its experiment"),
    "dataset": Quantity(("run",), "1", "its data set"),
    "command": Quantity(("run",), "1", "its command"),
    "machine": Quantity(("run",), "1", "devices that it ran on"),
    "headline": Quantity(("run",), "1", "what it says first"),
    "question": Quantity(("run",), "1", "what it asks"),
    "seconds": Quantity(("run",), "seconds", "time of its stages"),
    "passed": Quantity(("run",), "1", "checks that passed"),
    "failed": Quantity(("run",), "1", "names of the checks that failed"),
    "num_checks": Quantity(("run",), "1", "checks made"),
    "verdicts": Quantity(("run",), "1", "verdicts on its claims, as JSON"),
    "config": Quantity(("run",), "1", "its config, as JSON"),
    "estimates": Quantity(("run",), "1", "its table of estimates, as CSV"),
}


def read(directories: Sequence[str], questions: Mapping[str, str]) -> "xr.Dataset":
    """What each run says, by run.

    Raises:
      UserError: a folder that is no finished run, or one that an earlier version wrote.
    """
    import xarray as xr

    rows = [_read(Path(directory), questions) for directory in directories]
    arrays = {name: ("run", [row[name] for row in rows]) for name in rows[0]}
    return xr.Dataset(arrays, {"run": [str(directory) for directory in directories]})


def _read(directory: Path, questions: Mapping[str, str]) -> dict[str, Any]:
    missing = [name for name in NEEDED if not (directory / name).is_file()]
    if missing:
        raise UserError(f"{directory}: no {', '.join(missing)}; expected the directory of a finished run; name others")
    read_estimates(directory / "estimates.csv")  # what is damaged is named here
    summary, config, environment = (files.read_json(directory / name, "name others") for name in NEEDED[:3])
    try:
        return _said(directory, summary, config, environment, questions)
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{directory}: {type(error).__name__} ({error}) in its summary; expected that of a finished run of this "
            "version; --reestimate writes it anew"
        ) from error


def _said(directory: Path, summary: Any, config: Any, environment: Any, questions: Mapping[str, str]) -> dict[str, Any]:
    checks = summary["checks"]
    devices = environment.get("devices", [])
    return {
        "experiment": summary["experiment"],
        "dataset": summary["dataset"],
        "command": environment.get("command", ""),
        "machine": f"{environment['processors']} cores" if "cpu" in str(devices) else ", ".join(devices),
        "headline": summary["headline"],
        "question": questions.get(summary["experiment"], ""),
        "seconds": float(sum(summary["stages"].values())),
        "passed": sum(check["passed"] for check in checks),
        "failed": ", ".join(check["name"] for check in checks if not check["passed"]),
        "num_checks": len(checks),
        "verdicts": json.dumps({claim["name"]: claim["verdict"] for claim in summary["claims"]}),
        "config": json.dumps(config),
        "estimates": (directory / "estimates.csv").read_text(encoding="utf-8"),
    }


def differences(data: "xr.Dataset") -> list[dict[str, Any]]:
    """For each run the fields of its config, with their values, in which runs of its experiment and data differ."""
    from ml_collections import ConfigDict

    configs = [dict(leaves(ConfigDict(json.loads(text)))) for text in data.config.values.tolist()]
    configs = [{k: v for k, v in config.items() if k not in NO_DIFFERENCE} for config in configs]
    kinds, found = [*zip(data.experiment.values.tolist(), data.dataset.values.tolist(), strict=True)], []
    for kind, own in zip(kinds, configs, strict=True):
        alike = [config for other, config in zip(kinds, configs, strict=True) if other == kind]
        differ = [name for name in own if any(other.get(name) != own[name] for other in alike)]
        values = {name: own[name] for name in differ}  # what a table's column cannot hold, as text
        found.append({k: v if isinstance(v, int | float | str) else ", ".join(map(str, v)) for k, v in values.items()})
    return found


def labels(data: "xr.Dataset") -> list[str]:
    """A short name of each run: its experiment and data set, what differs, its folder where nothing else differs."""
    found = []
    parts = zip(data.experiment.values.tolist(), data.dataset.values.tolist(), differences(data), strict=True)
    for kind, dataset, differ in parts:
        said = sorted(differ, key=lambda name: (*map(name.startswith, NAMED), True).index(True))[:3]
        about = ", ".join(f"{name.split('.')[-1]} {differ[name]}" for name in said)
        found.append(f"{kind}, {dataset}" + (f", {about}" if about else ""))
    runs = [Path(run).name for run in data.run.values.tolist()]
    return [f"{label}, {run}" if found.count(label) > 1 else label for label, run in zip(found, runs, strict=True)]


# ---- what the estimates of such a page are made of ----


def derive(data: "xr.Dataset") -> "xr.Dataset":
    """The runs as they are."""
    return data


def estimate(data: "xr.Dataset", config) -> Table:
    """The headline rows of all runs, and all of `config.names`, each with its run and what differs between them.

    Columns of fields of the configs begin with "config.".
    """
    names, rows = config.get("names", ()), []
    for label, text, differ in zip(labels(data), data.estimates.values, differences(data), strict=True):
        about = {"run": label, **{f"config.{k}": v for k, v in differ.items()}}
        rows += [Row(row, **about) for row in read_csv(str(text)) if row.get("headline") or row["name"] in names]
    return Table(tuple(rows))


def claims(table: Table, config) -> list[dict]:
    """None of their own: those of the runs are in their reports."""
    return []


def checks(data: "xr.Dataset", table: Table, config) -> list[Check]:
    """Of each run: whether all of its checks passed."""
    parts = zip(labels(data), data.passed.values, data.num_checks.values, data.failed.values, strict=True)
    return [
        Check(label, not failed, f"{passed} of {total} checks passed" + (f"; failed: {failed}" if failed else ""))
        for label, passed, total, failed in parts
    ]


def links(data: "xr.Dataset", directory: Path) -> list[Link]:
    """Each run with its headline, its main figure and the way to its report, from a report in `directory`."""
    found = []
    texts = zip(labels(data), data.question.values.tolist(), data.headline.values.tolist(), strict=True)
    for run, (label, question, headline) in zip(data.run.values.tolist(), texts, strict=True):
        report = Path(run, "report.html")
        place = str(report.relative_to(directory)) if report.is_relative_to(directory) else report.resolve().as_uri()
        found.append(Link(label, question, headline, place, _main_figure(Path(run))))
    return found


def _main_figure(run: Path) -> Path | None:
    """The figure that has a PDF for papers; None where the run has none, or is not reported yet."""
    shown = (pdf.with_suffix(ending) for pdf in sorted(run.glob("figures/*.pdf")) for ending in (".svg", ".png"))
    return next((path for path in shown if path.is_file()), None)
