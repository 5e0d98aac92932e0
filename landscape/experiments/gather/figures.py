"""Figures of a gather run: the main quantities of all runs, and the verdicts on their claims."""

import textwrap

import xarray as xr
from matplotlib.figure import Figure

from landscape.experiments.gather.estimates import MOST, line, quantities, title, verdicts
from landscape.experiments.joined import links
from landscape.reporting import plots, style
from landscape.reporting.figures import FigureSpec
from landscape.stats.table import ENDS, Table

VERDICTS = {  # name -> colour
    "supported": "#0072B2",
    "detected": "#56B4E9",
    "negligible": "#8a8a8a",
    "undecided": "#E69F00",
    "opposite": "#D55E00",
}
__all__ = ["FIGURES", "links"]


def intervals(data: xr.Dataset, table: Table) -> Figure | None:
    """The first quantities, a panel each, a line a run."""
    chosen = quantities(table)[:MOST]
    if not chosen:
        return None
    names = list(dict.fromkeys(line(row) for rows in chosen for row in rows))
    panels = {}
    for rows in chosen:
        own = {line(row): row for row in rows}
        first = rows.rows[0]
        label = "\n".join(textwrap.wrap(title(first), 46, max_lines=2, placeholder=" …"))
        label += f" ({len(panels) + 1})" * (label in panels)
        panels[label] = [own.get(name) for name in names], "" if first["unit"] == "1" else first["unit"]
    return plots.intervals(panels, names, columns=2)


def intervals_table(data: xr.Dataset, table: Table) -> list[tuple]:
    """The rows that are drawn."""
    rows: list[tuple] = [("run", "estimate", "unit", *ENDS[:3])]
    for own in quantities(table)[:MOST]:
        rows += [(line(row), title(row), row["unit"], *(row[end] for end in ENDS[:3])) for row in own]
    return rows


def counts(data: xr.Dataset, table: Table) -> Figure | None:
    """How many runs gave each claim which verdict."""
    found = verdicts(data)
    if not found:
        return None
    labels = [style.plain(name) for name in found]
    left = 0.2 + 0.055 * max(map(len, labels))
    figure, (axes,) = style.panels(1, columns=1, height=0.3 + 0.22 * len(labels), left=left, top=0.35)
    start = [0] * len(found)
    for verdict, color in VERDICTS.items():
        own = [one[verdict] for one in found.values()]
        if any(own):
            axes.barh(range(len(found)), own, left=start, color=color, height=0.6, label=verdict)
            start = [a + b for a, b in zip(start, own, strict=True)]
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.set(xlabel="runs")
    axes.xaxis.get_major_locator().set_params(integer=True)
    style.legend_above(figure, *axes.get_legend_handles_labels(), columns=5)
    return figure


FIGURES = (
    FigureSpec(
        "intervals",
        "Side by side",
        "One line for each run: the value with its 95 % interval. Runs of one experiment are named by what differs in "
        "their configs.",
        ("estimates",),
        intervals,
        table=intervals_table,
    ),
    FigureSpec(
        "verdicts",
        "Verdicts on the claims",
        "How many runs support each claim that was stated beforehand.",
        ("verdicts",),
        counts,
        optional=True,
        when=lambda data, table: bool(verdicts(data)),
    ),
)
