"""report.html: everything a run found on one self-contained page, made from the run directory alone."""

import base64
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jinja2
import xarray as xr

from landscape.files import read_json, write_text
from landscape.reporting import tables
from landscape.reporting.figures import Drawn, FigureSpec, draw
from landscape.reporting.link import Link
from landscape.reporting.numbers import text
from landscape.reporting.tables import ReportTable
from landscape.stats.table import Row, Table

HERE = Path(__file__).parent
MEDIA = {".svg": "image/svg+xml", ".png": "image/png"}


def write(
    directory: Path,
    *,
    question: str,
    facts: Sequence[tuple[str, str]],
    report_tables: Sequence[ReportTable],
    headline_rows: Sequence[Row],
    figures: Sequence[FigureSpec],
    drawn: tuple[xr.Dataset, Table],
    more: Iterable[Row] = (),
    links: Sequence[Link] = (),
) -> Path:
    """Draw the figures of a run and write its report; returns the report's path.

    Args:
      directory: holds summary.json, config.json and environment.json; figures/ and report.html are written there. The
        same files in give the same bytes out.
      question: what the experiment asks. facts: (label, value) of what was compared.
      report_tables, headline_rows: estimates in tables of their own, and in the table of the headline.
      figures: what the experiment draws, of `drawn`: its derived dataset and its table.
      more: estimates that are listed behind those of `drawn`.
      links: other runs that the page leads to.
    """
    summary, config, environment = (
        read_json(directory / name) for name in ("summary.json", "config.json", "environment.json")
    )
    plain_command = f"python -m landscape.main --config=configs/{summary['experiment']}.py:{summary['dataset']}"
    shown, absent = draw(figures, drawn, directory / "figures")
    page = _template().render(
        css=jinja2.filters.Markup((HERE / "report.css").read_text(encoding="utf-8")),
        summary=summary,
        question=question,
        facts=facts,
        failed=[check for check in summary["checks"] if not check["passed"]],
        claims=[tables.claim_card(claim) for claim in summary["claims"]],
        tables=report_tables,
        headline_rows=[tables.estimate_row(row) for row in headline_rows],
        figures=[_shown(figure) for figure in shown],
        links=[link._asdict() | {"figure": link.figure and _inline(link.figure)} for link in links],
        absent=absent,
        estimates=[tables.estimate_row(row) for row in (*drawn[1], *more)],
        config=tables.flat(config),
        environment=tables.flat(environment),
        command=environment.get("command", plain_command),
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
