"""Figures of a connectivity run: curves and intervals come from the table, single pairs from the derived dataset.

Of a sweep they are of the first kind of training.
"""

from functools import partial

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from landscape.experiments.base import first_stratum, named, strata, strata_of
from landscape.experiments.connectivity.config import ALWAYS, KINDS
from landscape.experiments.connectivity.estimates import DRAWN, SOURCE, tuning
from landscape.reporting import plots, style
from landscape.reporting.figures import FigureSpec
from landscape.reporting.image_grid import ImageRow, image_grid
from landscape.reporting.numbers import text
from landscape.reporting.style import GREY, INK, Look
from landscape.stats.table import ENDS, Table

LOOKS = {kind: style.look(kind) for kind in KINDS} | {  # of kinds of pairs
    "adaptive": Look("adaptive", "#CC79A7", marker="s"),
    "joint": Look("joint", "#009E73", marker="^"),
    SOURCE: Look("clean source image", GREY, ":", "x"),
}
MAIN = ("genuine", "boosted", "natural_error", "adversarial", "adaptive")
PATHS = {
    "line": "straight line",
    "bypass": "bypass",
    "bezier": "Bézier curve",
    "all": "bypass, all members",
    "manifold_bypass": "bypass on the manifold",
}
DETECTIONS = (  # of DRAWN
    Look("among genuine inputs", "#D55E00"),
    Look("among boosted inputs", "#56B4E9", ":"),
    Look("among natural errors, matched", "#E69F00", "--"),
    Look("adaptive attack", "#CC79A7", "-."),
)
DASHES = {"line": "-", "bypass": "--"}
NEAR_ZERO = 0.01  # nats: below, the axis is linear
HEADS = {"first": "genuine", "highest": "highest", "bypass": "bypass", "last": "other end"}


def nats_axis(axes: Axes, which: str, top: float) -> None:
    """An axis of nats from 0 to `top`, linear near 0 and then logarithmic, with few plain ticks."""
    ticks = [tick for tick in (0, 0.01, 0.1, 1, 10) if tick <= top]
    getattr(axes, f"set_{which}scale")("symlog", linthresh=NEAR_ZERO, linscale=0.5)
    getattr(axes, f"set_{which}ticks")(ticks, [f"{tick:g}" for tick in ticks])
    getattr(axes, f"set_{which}lim")(0, top)
    axes.minorticks_off()


def _curve(axes: Axes, x, values, color: str, line="-", **more) -> None:
    """A curve of (middle, low, high) with its band."""
    middle, low, high = values
    axes.plot(x, middle, color=color, linestyle=line, linewidth=1.2, **more)
    axes.fill_between(x, low, high, color=color, alpha=0.14, linewidth=0)


def sweep(data: xr.Dataset, table: Table) -> Figure | None:
    """How well the barrier of the line detects adversarial inputs, at each kind of training."""
    every, panels = strata_of(table), {}
    for (population, reference, matching), look in zip(DRAWN, DETECTIONS, strict=True):
        about = {"population": population, "reference": reference, "matching": matching, "path": "line"}
        rows = [table.get("auroc.barrier.area", **about, **kind) for kind in every]
        if any(rows):
            panels[look.label] = (rows, "AUROC")
    return plots.intervals(panels, [named(kind) for kind in every]) if panels else None


def main(data: xr.Dataset, table: Table, *, columns: int = 2, width: float = style.PAGE) -> Figure | None:
    """Distribution functions beside ROC curves, or above them where there is one column."""
    below = first_stratum(table).select("barrier.below", population=[*MAIN])
    curves = first_stratum(table).select("auroc.barrier.roc")
    if not below:
        return None
    layout = {"width": width, "left": 0.5, "gap": (0.55, 0.62), "top": 0.62 if columns == 1 else 0.46}
    figure, (left, *right) = style.panels(1 + bool(curves), columns=columns, height=2.1, bottom=0.42, **layout)
    cube = below.cube("population", "path", "up_to")
    shown = [kind for kind in MAIN if kind in cube.population]
    for kind in shown:
        for path in ALWAYS:
            value, low, high = (100 * cube[end].sel(population=kind, path=path).values for end in ENDS[:3])
            band = (low, high) if path == "line" else (value, value)  # the others lie on top of one another
            _curve(left, cube.up_to, (value, *band), LOOKS[kind].color, DASHES[path])
    # To where all pairs lie below, if that is reached.
    short = np.flatnonzero((cube.value < 1).any(("population", "path")).values)
    nats_axis(left, "x", max(cube.up_to.values[min(short.max(initial=0) + 1, cube.sizes["up_to"] - 1)], NEAR_ZERO))
    left.set(xlabel="barrier (nats)", ylabel="pairs (%)", ylim=(0, 102))
    left.grid()
    handles = [Line2D([], [], color=LOOKS[kind].color) for kind in shown]
    rows = 2 if columns == 1 else 1
    style.legend_above(figure, handles, [LOOKS[kind].label for kind in shown], columns=-(-len(shown) // rows))
    if right:
        roc(right[0], curves)
    return figure


def roc(axes: Axes, curves: Table) -> None:
    """ROC curves of the line's barrier with their bands."""
    axes.plot([0, 100], [0, 100], color="#cccccc", linewidth=0.8, zorder=0)
    for (population, reference, matching), look in zip(DRAWN, DETECTIONS, strict=True):
        if own := curves.select(population=population, reference=reference, matching=matching):
            cube = own.cube("rate")
            values = (100 * cube[end].values for end in ("value", *ENDS[3:]))
            _curve(axes, 100 * cube.rate, values, look.color, look.line, label=look.label)
    axes.set(xlabel="false positives (%)", ylabel="adversarial inputs detected (%)", xlim=(0, 100), ylim=(0, 101))
    axes.grid()
    axes.legend(loc="lower right", fontsize=6.5)


def main_table(data: xr.Dataset, table: Table) -> list[tuple]:
    """The rows of the main figure: distribution functions and ROC curves."""
    rows: list[tuple] = [("curve", "population", "reference", "matching", "path", "x", *ENDS)]
    for name, x in (("barrier.below", "up_to"), ("auroc.barrier.roc", "rate")):
        for row in first_stratum(table).select(name, population=[*MAIN, "adversarial_iso"]):
            about = (row.get(key, "") for key in ("population", "reference", "matching", "path", x))
            rows.append((name, *about, *(np.nan if row.get(end) is None else row[end] for end in ENDS)))
    return rows


def kinds(data: xr.Dataset, table: Table) -> Figure | None:
    """Mean barriers of every kind of pair, one panel a path."""
    found = first_stratum(table).select("barrier.loss", reference=None)
    names = [kind for kind in LOOKS if found.select(population=kind)]
    panels = {}
    for path in (one for one in PATHS if found.select(path=one)):
        panels[PATHS[path]] = ([found.get("barrier.loss", population=kind, path=path) for kind in names], "nats")
    if not panels:
        return None
    figure = plots.intervals(panels, [LOOKS[kind].label for kind in names], columns=4)
    top = 1.3 * max(NEAR_ZERO, *(row["value"] if row["high"] is None else row["high"] for row in found))
    for axes in figure.axes:
        nats_axis(axes, "x", top)
    return figure


def profiles(data: xr.Dataset, table: Table) -> Figure | None:
    """The loss along lines and bypasses, a panel for each of the main kinds."""
    data = strata(data)[0][1]
    counted = data.valid.sel(path="line", drop=True).any(("member", "pair"))
    shown = [kind for kind in MAIN if kind in data.kind and counted.sel(kind=kind)]
    if not shown:
        return None
    layout = {"height": 1.2, "left": 0.5, "gap": (0.22, 0.3), "top": 0.3, "bottom": 0.42, "sharey": True}
    figure, panels = style.panels(len(shown), columns=len(shown), **layout)
    for axes, kind in zip(panels, shown, strict=True):
        beside = [(SOURCE, "line")] if kind in ("adversarial", "adaptive") and SOURCE in data.kind else []
        for drawn, path in [(kind, path) for path in ALWAYS] + beside:
            values = data[f"{path}_profile"].sel(kind=drawn).transpose("t", "member", "pair").values
            values = values[:, data.valid.sel(kind=drawn, path=path).transpose("member", "pair").values]
            if values.shape[1]:
                line = DASHES[path] if drawn == kind else LOOKS[drawn].line
                _curve(axes, data.t, np.quantile(values, (0.5, 0.25, 0.75), axis=1), LOOKS[drawn].color, line)
        axes.set(xlim=(0, 1), title=LOOKS[kind].label)
        axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        axes.grid()
    top = max(max(axes.get_ylim()[1] for axes in panels), NEAR_ZERO)
    for axes in panels:
        nats_axis(axes, "y", top)
    style.shared_labels(figure, x="share of the path, from the genuine image", y="loss (nats)")
    return figure


def steps(data: xr.Dataset, table: Table) -> Figure | None:
    """How many steps remove barriers, by kind of pair."""
    rows = first_stratum(table).select("path.barrier_removed", population=[*MAIN], waypoints=1)
    if not rows:
        return None
    cube = rows.cube("population", "steps")
    figure, (axes,) = style.panels(1, columns=1, width=style.COLUMN + 1.6, height=1.8, left=0.5, right=1.9, top=0.15)
    looks = {kind: LOOKS[kind] for kind in cube.population.values.tolist()}
    plots.lines(axes, 100 * cube, "steps", "population", looks, interval=False)
    style.log_x(axes, cube.steps.values)
    axes.set(xlabel="steps of the first waypoint's search", ylabel="barriers removed (%)", ylim=(0, 102))
    labels = [look.label for look in looks.values()]
    axes.legend(axes.lines, labels, loc="center left", bbox_to_anchor=(1.02, 0.5), fontsize=6.5, labelcolor=INK)
    return figure


def components(data: xr.Dataset, table: Table) -> Figure | None:
    """Number of components against the loss up to which nodes and paths are there; dotted, the number of nodes."""
    found = first_stratum(table).select(["path.components", "path.nodes"])
    if not found:
        return None
    cube = found.cube("name", "threshold")
    curve, nodes = cube.sel(name="path.components"), cube.value.sel(name="path.nodes")
    figure, (axes,) = style.panels(1, columns=1, width=style.COLUMN, height=1.6, left=0.5, top=0.1)
    axes.plot(cube.threshold, nodes, color=GREY, linestyle=":", label="inputs that are there")
    band = (curve[end].clip(0, float(nodes.max())) for end in ENDS[3:])
    _curve(axes, cube.threshold, (curve.value, *band), "#0072B2", label="components")
    style.log_x(axes, cube.threshold.values)
    # Room for the legend above.
    axes.set(ylim=(0, 1.4 * float(nodes.max())), xlabel="loss up to (nats)", ylabel="mean over classes")
    axes.grid()
    axes.legend(loc="upper left", fontsize=6.5)
    return figure


def tuned(data: xr.Dataset, table: Table) -> Figure | None:
    """What each weight of the detector makes of its AUROC and of the attack's success, on validation images."""
    detected, reached = tuning(data)
    if not np.isfinite(detected).any():
        return None
    weights = data.weight.values.astype(float)
    x, chosen = np.arange(len(weights)), np.flatnonzero(weights == float(data.adaptive_weight))
    figure, panels = style.panels(2, columns=2, height=1.4, left=0.8, gap=(0.6, 0.3), top=0.15, bottom=0.42)
    labelled = ((detected, "AUROC of the barrier"), (100 * reached, "success (%)"))
    for axes, (values, label) in zip(panels, labelled, strict=True):
        axes.plot(x, values, color=INK, marker="o", markersize=3)
        axes.plot(chosen, values[chosen], "o", color="none", markeredgecolor="#D55E00", markersize=8)
        axes.set_xticks(x, [style.short_number(w) for w in weights])
        axes.set(xlabel="weight of the detector (logits / nat)", ylabel=label)
        axes.grid()
    return figure


def pictures(data: xr.Dataset, table: Table) -> Figure | None:
    """A row for each kind, a group of pictures for each pair; beneath, the loss of the pair's class."""
    image_rows, columns = [], 0
    for kind in (one for one in LOOKS if one in data.picture_kind):
        own = data.isel(shown=np.flatnonzero(data.picture_kind == kind))
        images = own.picture.transpose("shown", "point", ...).values
        columns = max(columns, len(images))
        losses = [text(float(f"{value:.2g}")) for value in own.picture_loss.transpose("shown", "point").values.ravel()]
        image_rows.append(ImageRow(LOOKS[kind].label, INK, [*images.reshape(-1, *images.shape[2:])], texts=losses))
    heads = [HEADS[str(name)] for name in data.point.values]
    before = [0.12 if i and i % len(heads) == 0 else 0.0 for i in range(columns * len(heads))]
    return image_grid(image_rows, heads=heads * columns, before=before, margin=1.15)


FIGURES = (
    FigureSpec(
        "sweep",
        "What training changes",
        "How well the barrier of the line detects adversarial inputs, with 95 % intervals, for each swept value: 0.5 "
        "is chance. The figures below show the first value.",
        ("barrier", "valid"),
        sweep,
        when=lambda data, table: len(strata_of(table)) > 1,
    ),
    FigureSpec(
        "main",
        "How far the loss rises between two inputs of one prediction, and whether that detects adversarial ones",
        "The barrier of a path is how far the loss of the pair's class, in nats, rises above that of its worse "
        "endpoint. Left: cumulative distribution of barriers over pairs, mean over members; solid on the straight "
        "line, dashed after the bypass. Right: how well the barrier of the line detects adversarial inputs among "
        "genuine ones, among boosted ones (the same attack, toward the image's own class), among natural errors of "
        "equal confidence and distance, and under an attack adapted to this detector; the diagonal is guessing. Bands "
        "are 95 % intervals over members and pairs: on the left pointwise and of the line, on the right simultaneous.",
        ("barrier", "valid"),
        main,
        narrow=partial(main, columns=1, width=style.COLUMN),
        table=main_table,
    ),
    FigureSpec(
        "kinds",
        "Every kind of pair and path",
        "Mean barrier with its 95 % interval from a genuine image of a class to: another one (genuine); that image "
        "after the attack's search toward the class (boosted); a clean image of another class that is predicted as it "
        "(natural error); an image of another class attacked toward it (adversarial; to the log-odds of natural "
        "errors; adaptive, so that lines rise as those of genuine pairs; joint, for all members together). Kinds with "
        "too few pairs for each member are left out. Barriers are upper bounds: other paths may be lower.",
        ("barrier", "valid"),
        kinds,
    ),
    FigureSpec(
        "profiles",
        "The loss along the path",
        "Median over members and pairs, with a band between the quartiles; solid: straight line, dashed: bypass. The "
        "clean source image (grey) is evaluated with the class of the pair, which shows what its content adds.",
        ("line_profile", "bypass_profile", "valid"),
        profiles,
    ),
    FigureSpec(
        "steps",
        "How many steps the first waypoint of a bypass needs",
        "Of the pairs whose line rises by more than the tolerance, the share whose barrier the first waypoint reduces "
        "by 95 %.",
        ("after",),
        steps,
    ),
    FigureSpec(
        "pictures",
        "What lies between",
        "Genuine image, highest point of the line between the endpoints, where the bypass moves it, other endpoint; "
        "beneath, the first member's loss of the class in nats. Pairs of each kind are those with the highest lines "
        "for that member, which may still have no barrier.",
        ("picture", "picture_loss"),
        pictures,
        kind="png",
    ),
    FigureSpec(
        "components",
        "The graph of inputs of one class",
        "At each threshold, inputs (genuine, boosted, adversarial) whose own loss is lower are nodes, and two nodes "
        "are joined if the lower of line and bypass stays below it. Where the two curves part, inputs have been "
        "joined; at 1 all are connected. The number of components is an upper bound, since lower paths may exist; its "
        "shading is a simultaneous 95 % band over members and classes.",
        ("graph_peak",),
        components,
        optional=True,
    ),
    FigureSpec(
        "tuning",
        "How the adaptive attack was tuned",
        "On validation images: how well the barrier detects the attack's results among genuine pairs (0.5: not at "
        "all), and how often they reach the class. The weight is that of the detector term relative to logits; at 0 "
        "it does not count. The chosen weight is ringed.",
        ("tuning_barrier", "tuning_reached", "weight", "adaptive_weight"),
        tuned,
        optional=True,
    ),
)
