"""Figures of a weight_connectivity run: the loss along paths between classifiers, and what stays adversarial.

Of a sweep they are of the first kind of training.
"""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from landscape.experiments.base import first_stratum, named, strata, strata_of
from landscape.experiments.weight_connectivity.estimates import PLAIN, Connection, connections, shown_first
from landscape.reporting import plots, style
from landscape.reporting.figures import FigureSpec
from landscape.stats.table import ENDS, Table

MATCHINGS = {  # -> (label, colour)
    "none": ("units as they are", "#222222"),
    "weight": ("matched by weights", "#0072B2"),
    "activation": ("matched by activations", "#D55E00"),
}
CURVES = {"bezier": ("Bézier curve", "#009E73"), "chain": ("chain of lines", "#CC79A7")}
STATISTICS = {"plain": ("as interpolated", "-"), "reset": ("statistics reset", (0, (3, 1.3)))}
VALUES = {"loss": ("test loss (nats)", 1.0), "error": ("test errors (%)", 100.0)}
SHOWN = {"adversarial": ("adversarial at the attacked end", "#D55E00"), "clean": ("the images themselves", "#0072B2")}
SHARE = "share of the path from one classifier to the other"
TICKS = ([0, 0.5, 1], ["0", "0.5", "1"])


def looks(one: Connection):
    """(colour, line style): the order of units, or the curve, gives the colour."""
    if one.curve == "line":
        return MATCHINGS[one.matching][1], STATISTICS[one.statistics][1]
    return CURVES[one.curve][1], "-"


def words(one: Connection) -> str:
    """A connection as a title."""
    if one.curve != "line":
        return CURVES[one.curve][0]
    return f"line, {MATCHINGS[one.matching][0]}" + (",\nstatistics reset" if one.statistics == "reset" else "")


def sweep(data: xr.Dataset, table: Table) -> Figure | None:
    """Barriers at each kind of training, a panel a connection."""
    every, panels = strata_of(table), {}
    for label in shown_first(data)[:4]:
        about = {"population": label, "variant": "barrier", "reference": None}
        rows = [table.get("barrier.weight_loss", **about, **kind) for kind in every]
        panels[words(Connection(*label.split(", ")))] = (rows, "barrier (nats)")
    return plots.intervals(panels, [named(kind) for kind in every])


def profiles(data: xr.Dataset, table: Table) -> Figure | None:
    """Loss and errors along every connection: the mean over pairs with its band, and, thin, each pair."""
    rows, every = first_stratum(table), connections(data)
    cubes = {name: rows.select(f"path.weight_{name}").cube("population", "t") for name in VALUES}
    columns = 1 + any(one.curve != "line" for one in every)
    options = {"height": 1.55, "left": 0.5, "gap": (0.2, 0.32), "top": 0.68, "bottom": 0.42, "sharex": True}
    figure, panels = style.panels(columns * len(VALUES), columns=columns, sharey="row", **options)
    some = data.isel(pair=np.isin(data.pair_member, strata(data)[0][1].member).all(axis=1))
    each = {"loss": some.loss, "error": some.wrong.sel(input="clean")}
    for v, (name, (label, scale)) in enumerate(VALUES.items()):
        row, seen = panels[columns * v : columns * (v + 1)], scale * each[name].mean("example")
        for one in every:
            # The line between units as they are stands in both panels: what everything else is compared with.
            shown = row if one == PLAIN else row[:1] if one.curve == "line" else row[1:]
            pairs = seen.sel(connection=one.label).transpose("pair", "t").values
            for axes in shown:
                _curve(axes, scale * cubes[name].sel(population=one.label), one, pairs)
        row[0].set_ylabel(label)
        for axes in row:
            axes.set_xlim(0, 1)
            axes.set_xticks(*TICKS)
            axes.grid(axis="y")
        if name == "loss":
            row[0].set_yscale("log")
            low, high = (float(end) for end in (seen.where(seen > 0).min(), seen.max()))
            style.log_axis(row[0].yaxis, low, high)
            row[0].set_ylim(low / 1.3, high * 1.3)
        else:
            row[0].set_ylim(bottom=0)
    panels[0].set_title("the straight line")
    if columns == 2:
        panels[1].set_title("curves between units as they are")
    style.shared_labels(figure, x=SHARE)
    _legend(figure, every)
    return figure


def _curve(axes, cube: xr.Dataset, one: Connection, pairs: np.ndarray) -> None:
    color, line = looks(one)
    if one.statistics == "plain" or one.curve != "line":
        style.thin_lines(axes, cube.t.values, pairs, color, alpha=0.15)
    low, high = (np.where(np.isfinite(cube[end]), cube[end], cube.value) for end in ENDS[3:])
    axes.fill_between(cube.t, low, high, color=color, alpha=0.2, linewidth=0)
    axes.plot(cube.t, cube.value, color=color, linestyle=line)


def _legend(figure: Figure, every: list[Connection]) -> None:
    known = [MATCHINGS[name] for name in MATCHINGS if any(o.curve == "line" and o.matching == name for o in every)]
    known += [CURVES[name] for name in CURVES if any(one.curve == name for one in every)]
    handles: list = [Line2D([], [], color=color) for _, color in known]
    labels = [label for label, _ in known]
    if any(one.curve == "line" and one.statistics == "reset" for one in every):
        handles.append(Line2D([], [], color="#777777", linestyle=STATISTICS["reset"][1]))
        labels.append(STATISTICS["reset"][0])
    handles.append(Patch(color="#777777", alpha=0.3, linewidth=0))
    style.legend_above(figure, handles, [*labels, "95 % band of the mean over pairs"], columns=4)


def wrong(data: xr.Dataset, table: Table) -> Figure | None:
    """What share of one endpoint's adversarial examples is wrong on the path to the other, a panel a connection."""
    found = first_stratum(table).select("path.weight_wrong", reference=None)
    if not found:
        return None
    cube, every = 100 * found.cube("connection", "population", "t"), connections(data)
    options = {"height": 1.1, "left": 0.5, "gap": (0.2, 0.5), "top": 0.62, "bottom": 0.42}
    figure, panels = style.panels(len(every), columns=4, sharex=True, sharey=True, **options)
    for axes, one in zip(panels, every, strict=True):
        for name, (_, color) in SHOWN.items():
            own = cube.sel(connection=one.label, population=name)
            low, high = (own[end].clip(0, 100) for end in ENDS[3:])
            axes.fill_between(cube.t, low, high, color=color, alpha=0.2, linewidth=0)
            axes.plot(cube.t, own.value, color=color)
        axes.set_title(words(one), fontsize=6.5)
        axes.set(xlim=(0, 1), ylim=(0, 103))
        axes.set_xticks(*TICKS)
        axes.grid(axis="y")
    style.shared_labels(figure, x="share of the path from the attacked classifier to the other one", y="wrong (%)")
    handles: list = [Line2D([], [], color=color) for _, color in SHOWN.values()]
    handles.append(Patch(color="#777777", alpha=0.3, linewidth=0))
    style.legend_above(figure, handles, [*(label for label, _ in SHOWN.values()), "95 % band"], columns=3)
    return figure


def profiles_table(data: xr.Dataset, table: Table) -> list[tuple]:
    """The rows of the main figure."""
    rows = first_stratum(table).select([f"path.weight_{name}" for name in VALUES])
    values = ((r["name"], r["population"], r["t"], *(np.nan if r.get(e) is None else r[e] for e in ENDS)) for r in rows)
    return [("curve", "connection", "t", *ENDS), *values]


FIGURES = (
    FigureSpec(
        "sweep",
        "What training changes",
        "Barrier between two classifiers, with 95 % intervals, for each value that was swept. The figures below are of "
        "the first value.",
        ("loss",),
        sweep,
        when=lambda data, table: len(strata_of(table)) > 1,
    ),
    FigureSpec(
        "profiles",
        "From one classifier to another, in weight space",
        "Test loss and errors of the classifiers on the path between two members: on the straight line, with the "
        "second one's hidden units as they are or in the order most like the first one's, and, dashed, with the units' "
        "mean and spread reset; and on trained curves. Thin: each pair. Bands hold at all places together, over "
        "members and images, for this training set. A path found is an upper bound: another one may be lower.",
        ("loss", "wrong"),
        profiles,
        table=profiles_table,
    ),
    FigureSpec(
        "wrong",
        "What stays adversarial on the path to another classifier",
        "Share of images that the classifiers on the path get wrong: adversarial examples made on one endpoint, and "
        "the images that they are made from. At the right is the other endpoint, which the attack never saw. Images "
        "that every member classifies rightly and on which every member is fooled by its own attack. Where the images "
        "themselves go wrong, a wrong answer says little about the attack.",
        ("wrong",),
        wrong,
        optional=True,
    ),
)
