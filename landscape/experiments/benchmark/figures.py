"""The figures of a benchmark: how long others take, how strong attacks are, rates by the number of classifiers."""

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from landscape.experiments.benchmark.config import ATTACKERS, NORMS, ONE_BY_ONE, OURS
from landscape.experiments.benchmark.estimates import WORK
from landscape.reporting import plots, style
from landscape.reporting.figures import FigureSpec
from landscape.reporting.style import Look
from landscape.stats.table import Table

if TYPE_CHECKING:
    import xarray as xr

RACES = {race: work[0].upper() + work[1:] for race, work in WORK.items()}
WAYS = {
    "one_device": "landscape, one device",
    "map": "members one at a time",
    "vmap": "members at once (vmap)",
    "loop": "Python loop over members",
    "pytorch": "PyTorch",
    "pytorch_channels_last": "PyTorch, channels last",
    "foolbox": "Foolbox on PyTorch",
    ONE_BY_ONE: "PyTorch, image by image",
}
ROBUST, NEAREST = "robust accuracy (%)", "median distance (pixels)"
ATTACKS = {OURS: Look("landscape", style.EXTRA_COLORS[0]), "foolbox": Look("Foolbox's best", style.EXTRA_COLORS[1])}


def models_of(data: "xr.Dataset") -> dict[str, Look]:
    """How classifiers are drawn."""
    names = data.model.values.astype(str).tolist()
    colors = (style.EXTRA_COLORS[i % len(style.EXTRA_COLORS)] for i in range(len(names)))
    return {name: Look(style.plain(name), color) for name, color in zip(names, colors, strict=True)}


def ratios(data: "xr.Dataset", table: Table) -> Figure | None:
    """Bars of median ratios by race, way and classifier, with a dot a round; the name of each race above its bars."""
    known = Table(tuple(row for row in table.select("throughput.ratio") if row["value"] is not None))
    if not known:
        return None
    lines: list[tuple[str, str]] = []
    for race in dict.fromkeys(row["race"] for row in known):
        lines += [(race, ""), *((race, way) for way in dict.fromkeys(row["way"] for row in known.select(race=race)))]
    looks, values = models_of(data), data.ratio.values[np.isfinite(data.ratio.values)]
    low, high = min(0.8, float(values.min()) / 1.1), max(1.25, float(values.max()) * 1.1)
    figure, (axes,) = style.panels(1, columns=1, height=0.21 * len(lines), left=1.75, top=0.35, right=0.6)
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    style.log_axis(axes.xaxis, low, high)
    thick = 0.8 / len(looks)
    for place, (race, way) in enumerate(lines):
        if not way:
            at = (0, place), (-124, -3), ("axes fraction", "data"), "offset points"
            axes.annotate(RACES[race], *at, fontweight="bold")
        for row in known.select(race=race, way=way):
            beside = [*looks].index(row["model"]) - (len(looks) - 1) / 2
            rounds = data.ratio.sel(race=race, way=way, model=row["model"]).values
            _bar(axes, row["value"], rounds, place + beside * thick, thick, looks[row["model"]].color)
    axes.axvline(1, color="#333333", linewidth=0.8)
    axes.set_yticks(range(len(lines)), [WAYS.get(way, "") for _, way in lines])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(lines) - 0.4, -0.6)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.set_xlabel("time for the same work / time of landscape (to the right of 1: landscape is faster)")
    handles = [Patch(color=look.color) for look in looks.values()]
    style.legend_above(figure, handles, [look.label for look in looks.values()], columns=6)
    return figure


def _bar(axes: Axes, median: float, rounds: np.ndarray, place: float, thick: float, color: str) -> None:
    """One bar from 1 to the median, a dot a round, and the median in figures."""
    axes.barh(place, median - 1, left=1, height=0.85 * thick, color=color, alpha=0.8)
    axes.plot(rounds, np.full(len(rounds), place), ".", color="#222222", markersize=2, alpha=0.7)
    at = max(median, rounds.max(), 1.0)
    axes.annotate(f"{median:.2f}×", (at, place), (4, 0), textcoords="offset points", va="center", fontsize=6.5)


def seconds_table(data: "xr.Dataset", table: Table) -> list[tuple]:
    """Times as they are in arrays.nc; ways that took no part are left out."""
    dims = ("race", "model", "way", "round")
    known = data.seconds.transpose(*dims).to_series().dropna()
    return [(*dims, "seconds"), *((*at, value) for at, value in zip(known.index, known.to_numpy(), strict=True))]


def strength(data: "xr.Dataset", table: Table) -> Figure | None:
    """Robust accuracy and median distance under the attacks of each, by norm."""
    panels, known = {}, table.select(reference=None)
    for title, name in ((ROBUST, "attack.robust_accuracy"), (NEAREST, "attack.distance")):
        panels[title] = {one: [known.get(name, population=one, norm=norm) for norm in NORMS] for one in ATTACKERS}
    return plots.forest(panels, ["L∞", "L2"], ATTACKS, columns=2, scale={ROBUST: 100.0, NEAREST: 1.0})


def by_count(data: "xr.Dataset", table: Table) -> Figure | None:
    """Classifiers a second over their number, a panel a race."""
    races, looks = data.race.values.astype(str).tolist(), models_of(data)
    figure, panels = style.panels(len(races), columns=3, height=1.5, left=0.62, top=0.5, gap=(0.45, 0.4))
    for axes, race in zip(panels, races, strict=True):
        style.log_x(axes, data["count"].values.astype(float))
        axes.set_yscale("log")
        plots.lines_of(axes, table.select("throughput.members", race=race), "model", "count", looks)
        axes.set_title(RACES[race])
    style.shared_labels(figure, x="members", y="members a second")
    plots.key(figure, looks.values())
    return figure


FIGURES = (
    FigureSpec(
        "ratios",
        "How long the others take",
        "Bars are medians over rounds of the time that a way of doing the work takes, divided by the time that "
        "landscape takes in the same round. Dots are the rounds, so their spread is the noise of the machine.",
        ("seconds",),
        ratios,
        table=seconds_table,
        optional=True,
    ),
    FigureSpec(
        "strength",
        "Whether attacks find as much",
        "The best result of any attack for each image, on the same trained classifiers: the share of images that stay "
        "right in a ball, and the distance to the nearest image that is given another class. Lower is a stronger "
        "attack. Bars are 95 % intervals.",
        ("robust", "distance"),
        strength,
        optional=True,
    ),
    FigureSpec(
        "by_count",
        "What more members cost",
        "Where a line rises in proportion, many members take as long as one; where it is flat, each further member "
        "costs as much as the first. Bars are 95 % intervals of medians over rounds.",
        ("member_seconds",),
        by_count,
        optional=True,
    ),
)
