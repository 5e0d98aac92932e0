"""report.html: everything a run found on one self-contained page, made from the run directory alone."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import xarray as xr

from landscape.files import UserError, read_json, write_text
from landscape.reporting import tables
from landscape.reporting.figures import Drawn, FigureSpec, draw, trained
from landscape.reporting.link import Link
from landscape.reporting.numbers import duration, text
from landscape.stats.table import Table

HERE = Path(__file__).parent
MEDIA = {".svg": "image/svg+xml", ".png": "image/png"}


def write(
    directory: Path,
    *,
    question: str,
    figures: Sequence[FigureSpec],
    drawn: tuple[xr.Dataset, Table],
    data: xr.Dataset,
    links: Sequence[Link] = (),
) -> Path:
    """Draw the figures of a run and write its report; returns the report's path.

    Args:
      directory: holds arrays.nc, summary.json, config.json and environment.json; figures/ and report.html are
        written there. The same files in give the same bytes out.
      question: what the experiment asks. figures: what it draws, of `drawn`: its derived dataset and its table.
      data: what arrays.nc holds. links: other runs that the page leads to.

    Raises:
      UserError: a file is missing or damaged.
    """
    directory = Path(directory)
    needed = ("arrays.nc", "summary.json", "config.json", "environment.json")
    missing = [name for name in needed if not (directory / name).is_file()]
    if missing:
        raise UserError(
            f"{directory}: no {', '.join(missing)}; expected the directory of a finished run; "
            "give the run's own directory, or run its command again to finish it"
        )
    summary, config, environment = (read_json(directory / name) for name in needed[1:])
    summary = summary | {"estimates": [*drawn[1]]}
    shown, absent = draw(figures, drawn, directory / "figures")
    page = _template().render(
        css=jinja2.filters.Markup((HERE / "report.css").read_text(encoding="utf-8")),
        summary=summary,
        question=question,
        facts=_facts(data, summary, config),
        failed=[check for check in summary.get("checks", []) if not check.get("passed")],
        claims=[tables.claim_card(claim) for claim in summary.get("claims", [])],
        radius=tables.headline_radius(summary),
        readings=tables.four_readings(summary),
        reading_names=[title for _, title in tables.READINGS],
        cells=tables.cell_tables(summary),
        headline_rows=tables.headline_rows(summary),
        figures=[_shown(figure) for figure in shown],
        links=[link._asdict() | {"figure": link.figure and _inline(link.figure)} for link in links],
        absent=absent,
        estimates=[tables.estimate_row(estimate) for estimate in summary.get("estimates", [])],
        config=tables.flat(config),
        environment=tables.flat(environment),
        command=_command(summary, environment),
        directory=str(directory),
    )
    return write_text(directory / "report.html", page)


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["text"] = text
    return environment.get_template("report.html")


def _shown(figure: Drawn) -> dict[str, Any]:
    """A figure as the template wants it: pictures inlined, so that the page needs nothing else."""
    return {
        "spec": figure.spec,
        "percent": round(100 * figure.share),
        "wide": _inline(figure.paths[0]),
        "narrow": _inline(figure.paths[1]) if len(figure.paths) > 1 else None,
    }


def _inline(path: Path) -> str:
    return f"data:{MEDIA[path.suffix]};base64,{base64.b64encode(path.read_bytes()).decode()}"


def _facts(data: xr.Dataset, summary: dict[str, Any], config: dict[str, Any]) -> list[tuple[str, str]]:
    """What was compared, in a handful of (label, value)."""
    facts = [("data set", str(summary.get("dataset", "")))]
    if {"guides", "held_out"} <= set(data.sizes):  # members are then only the guides that are measured one by one
        facts.append(("classifiers", f"{data['guides'].values.max()} guides, {data.sizes['held_out']} held out"))
    elif "role" in data.coords:
        roles = data["role"].values.astype(str).tolist()
        facts.append(("classifiers", f"{roles.count('attacker')} attackers, {roles.count('held_out')} held out"))
        if config.get("held_out_model", config.get("model")) != config.get("model"):
            other = {k: v for k, v in config["held_out_model"].items() if v != config["model"].get(k)}
            facts.append(("held out of another kind", ", ".join(map(str, other.values()))))
    elif "member" in data.sizes:
        facts.append(("classifiers", text(trained(data).sizes["member"])))
    if "example" in data.sizes:
        own = data["valid"].sel(population="user").any("member").sum() if "user" in data.get("population", ()) else 0
        facts.append(("images", text(data.sizes["example"] - int(own))))
    starts = next(
        (name for name in ("guided_example", "start") if name in data.sizes), None
    )  # the headline's come first
    if starts:
        facts.append(("images started from", text(data.sizes[starts])))
    if "epsilon" in data.attrs:
        norm = {"linf": "L∞", "l2": "L2"}.get(str(data.attrs.get("norm")), str(data.attrs.get("norm", "")))
        facts.append(("attack radius", f"{norm} {text(float(data.attrs['epsilon']))}".strip()))
    stages = summary.get("stages") or {}
    if stages:
        facts.append(("time", duration(float(sum(stages.values())))))
    if config.get("smoke"):
        facts.append(("smoke run", "hardly trained, few examples"))
    return facts


def _command(summary: dict[str, Any], environment: dict[str, Any]) -> str:
    """The command as it was given where the environment holds it, else the plain one of the experiment."""
    given = environment.get("command")
    if given:
        return given if isinstance(given, str) else " ".join(given)
    return f"python -m landscape.main --config=configs/{summary['experiment']}.py:{summary['dataset']}"
