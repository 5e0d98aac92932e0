"""Figures of a weight_connectivity run: the loss along paths between classifiers, and what stays adversarial.

Of a sweep they are of the first kind of training.
"""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from landscape.experiments.base import first_stratum, named, strata, strata_of
from landscape.experiments.weight_connectivity.estimates import PLAIN, Connection, connections, shown_first
from landscape.reporting import plots, style
from landscape.reporting.figures import FigureSpec
from landscape.reporting.style import INK, Look
from landscape.stats.table import ENDS, Table

MATCHINGS = {  # of the line
    "none": Look("units as they are", INK),
    "weight": Look("matched by weights", "#0072B2"),
    "activation": Look("matched by activations", "#D55E00"),
}
CURVES = {"bezier": Look("Bézier curve", "#009E73"), "chain": Look("chain of lines", "#CC79A7")}
RESET = Look("statistics reset", "#777777", (0, (3, 1.3)))
VALUES = {"loss": ("test loss (nats)", 1.0), "error": ("test errors (%)", 100.0)}
SHOWN = {
    "adversarial": Look("adversarial at the attacked end", "#D55E00"),
    "clean": Look("the images themselves", "#0072B2"),
}
BAND = "95 % band of the mean"


def look(one: Connection) -> Look:
    """The order of units, or the curve, gives the colour."""
    if one.curve != "line":
        return CURVES[one.curve]
    found = MATCHINGS[one.matching]
    if one.statistics == "plain":
        return found._replace(label=f"line, {found.label}")
    return found._replace(label=f"line, {found.label},\n{RESET.label}", line=RESET.line)


def sweep(data: xr.Dataset, table: Table) -> Figure | None:
    """Barriers at each kind of training, a panel a connection."""
    every, panels = strata_of(table), {}
    for label in shown_first(data)[:4]:
        about = {"population": label, "variant": "barrier", "reference": None}
        rows = [table.get("barrier.weight_loss", **about, **kind) for kind in every]
        panels[look(Connection(*label.split(", "))).label] = (rows, "barrier (nats)")
    return plots.intervals(panels, [named(kind) for kind in every])


def profiles(data: xr.Dataset, table: Table) -> Figure | None:
    """Loss and errors along every connection: the mean over pairs with its band, and, thin, each pair."""
    rows, every = first_stratum(table), connections(data)
    columns = 1 + any(one.curve != "line" for one in every)
    layout = {"height": 1.55, "left": 0.5, "gap": (0.2, 0.32), "top": 0.68, "sharex": True, "sharey": "row"}
    figure, panels = style.panels(columns * len(VALUES), columns=columns, **layout)
    some = data.isel(pair=np.isin(data.pair_member, strata(data)[0][1].member).all(axis=1))
    each = {"loss": some.loss, "error": some.wrong.sel(input="clean")}
    for v, (name, (label, scale)) in enumerate(VALUES.items()):
        row, seen = panels[columns * v : columns * (v + 1)], scale * each[name].mean("example")
        cube = scale * rows.select(f"path.weight_{name}").cube("population", "t")
        for one in every:
            # The line between units as they are stands in both panels: what everything else is compared with.
            for axes in row if one == PLAIN else row[:1] if one.curve == "line" else row[1:]:
                if one.statistics == "plain" or one.curve != "line":
                    pairs = seen.sel(connection=one.label).transpose("pair", "t").values
                    style.thin_lines(axes, cube.t.values, pairs, look(one).color, alpha=0.15)
                _curve(axes, cube.sel(population=one.label), look(one))
        row[0].set_ylabel(label)
        if name == "loss":
            row[0].set_yscale("log")
            low, high = (float(end) for end in (seen.where(seen > 0).min(), seen.max()))
            style.log_axis(row[0].yaxis, low, high)
            row[0].set_ylim(low / 1.3, high * 1.3)
        else:
            row[0].set_ylim(bottom=0)
    for axes, title in zip(panels, ("the straight line", "curves between units as they are")[:columns], strict=False):
        axes.set_title(title)
    style.shared_labels(figure, x="share of the path from one classifier to the other")
    known = [MATCHINGS[name] for name in data.matching.values] + [look(one) for one in every if one.curve != "line"]
    plots.key(figure, [one._replace(marker="") for one in (*known, RESET)], columns=4, band=BAND)
    return figure


def _curve(axes, cube: xr.Dataset, look: Look) -> None:
    """A mean with its band along a path."""
    low, high = (np.where(np.isfinite(cube[end]), cube[end], cube.value) for end in ENDS[3:])
    axes.fill_between(cube.t, low, high, color=look.color, alpha=0.2, linewidth=0)
    axes.plot(cube.t, cube.value, color=look.color, linestyle=look.line)
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.grid(axis="y")


def wrong(data: xr.Dataset, table: Table) -> Figure | None:
    """What share of one endpoint's adversarial examples is wrong on the path to the other, a panel a connection."""
    found = first_stratum(table).select("path.weight_wrong", reference=None)
    if not found:
        return None
    cube, every = 100 * found.cube("connection", "population", "t"), connections(data)
    layout = {"height": 1.1, "left": 0.5, "gap": (0.2, 0.5), "top": 0.62, "sharex": True, "sharey": True}
    figure, panels = style.panels(len(every), columns=4, **layout)
    for axes, one in zip(panels, every, strict=True):
        for name, own in SHOWN.items():
            _curve(axes, cube.sel(connection=one.label, population=name), own)
        axes.set_title(look(one).label, fontsize=6.5)
        axes.set_ylim(0, 103)
    style.shared_labels(figure, x="share of the path from the attacked classifier to the other one", y="wrong (%)")
    plots.key(figure, [one._replace(marker="") for one in SHOWN.values()], columns=3, band=BAND)
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
        "Barrier between two classifiers, with 95 % intervals, for each swept value. The figures below show the first "
        "value.",
        ("loss",),
        sweep,
        when=lambda data, table: len(strata_of(table)) > 1,
    ),
    FigureSpec(
        "profiles",
        "From one classifier to another, in weight space",
        "Test loss and errors of the classifiers on the path between two members: on the straight line, with the "
        "second one's hidden units as they are or permuted to match the first one's (dashed: with the units' mean and "
        "spread reset); and on trained curves. Thin: each pair. Bands are simultaneous, over members and images, for "
        "this training set. Barriers are upper bounds: another path may be lower.",
        ("loss", "wrong"),
        profiles,
        table=profiles_table,
    ),
    FigureSpec(
        "wrong",
        "What stays adversarial on the path to another classifier",
        "Share of images that the classifiers on the path get wrong: adversarial examples made on one endpoint, and "
        "the images that they are made from. At the right is the other endpoint, which the attack never saw. Images "
        "are those that every member classifies correctly and on which every member is fooled by its own attack. "
        "Where the images themselves go wrong, a wrong answer says little about the attack.",
        ("wrong",),
        wrong,
        optional=True,
    ),
)
