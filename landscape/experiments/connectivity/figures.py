"""Figures of a connectivity run: curves and intervals come from the table, single pairs from the derived dataset.

Of a sweep they are of the first kind of training.
"""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from landscape.experiments.base import first_stratum, named, strata, strata_of
from landscape.experiments.connectivity.detection import ALWAYS, DRAWN, SOURCE, tuning
from landscape.experiments.connectivity.estimates import GRAPHS
from landscape.reporting import figures, plots, style
from landscape.reporting.figures import FigureSpec
from landscape.reporting.image_grid import ImageRow, image_grid
from landscape.reporting.numbers import text
from landscape.stats.table import ENDS, Table

GREY, INK = "#8a8a8a", "#222222"
LOOKS = {  # kind of pair -> (label, colour, marker)
    "genuine": ("genuine", "#0072B2", "o"),
    "boosted": ("boosted", "#56B4E9", "s"),
    "natural_error": ("natural error", "#E69F00", "o"),
    "adversarial": ("adversarial", "#D55E00", "s"),
    "adversarial_iso": ("adversarial, equal margin", "#D55E00", "D"),
    "adaptive": ("adaptive", "#CC79A7", "s"),
    "joint": ("joint", "#009E73", "^"),
    SOURCE: ("clean source image", GREY, "x"),
}
MAIN = ("genuine", "boosted", "natural_error", "adversarial", "adaptive")
PATHS = {
    "line": "straight line",
    "bypass": "bypass",
    "bezier": "Bézier curve",
    "all": "bypass, all members",
    "manifold_bypass": "bypass on the manifold",
}
DETECTIONS = dict(  # of DRAWN: label, colour, dashes
    zip(
        DRAWN,
        (
            ("among genuine inputs", "#D55E00", "-"),
            ("among boosted inputs", "#56B4E9", ":"),
            ("among natural errors, matched", "#E69F00", "--"),
            ("adaptive attack", "#CC79A7", "-."),
        ),
        strict=True,
    )
)
DASHES = {"line": "-", "bypass": "--"}
NEAR_ZERO = 0.01  # nats: below, the axis is linear
IMAGE = ("height", "width", "channel")
HEADS = {"first": "genuine", "highest": "highest", "bypass": "bypass", "last": "other end"}


def nats_axis(axes: Axes, which: str, top: float) -> None:
    """An axis of nats from 0 to `top`, linear near 0 and then logarithmic, with few plain ticks."""
    ticks = [tick for tick in (0, 0.01, 0.1, 1, 10) if tick <= top]
    getattr(axes, f"set_{which}scale")("symlog", linthresh=NEAR_ZERO, linscale=0.5)
    getattr(axes, f"set_{which}ticks")(ticks, [f"{tick:g}" for tick in ticks])
    getattr(axes, f"set_{which}lim")(0, top)
    axes.minorticks_off()


def sweep(data: xr.Dataset, table: Table) -> Figure | None:
    """How well the barrier of the line detects adversarial inputs, at each kind of training."""
    every, panels = strata_of(table), {}
    for population, reference, matching in DRAWN:
        about = {"population": population, "reference": reference, "matching": matching, "path": "line"}
        rows = [table.get("auroc.barrier.area", **about, **kind) for kind in every]
        if any(rows):
            panels[DETECTIONS[population, reference, matching][0]] = (rows, "AUROC")
    return plots.intervals(panels, [named(kind) for kind in every]) if panels else None


def main(data: xr.Dataset, table: Table) -> Figure | None:
    """Distribution functions beside ROC curves."""
    return _main(table, columns=2, width=style.PAGE)


def main_column(data: xr.Dataset, table: Table) -> Figure | None:
    """The same, one below the other."""
    return _main(table, columns=1, width=style.COLUMN)


def _main(table: Table, *, columns: int, width: float) -> Figure | None:
    below = first_stratum(table).select("barrier.below", population=[*MAIN])
    curves = first_stratum(table).select("auroc.barrier.roc")
    if not below:
        return None
    options = {"width": width, "left": 0.5, "gap": (0.55, 0.62), "top": 0.62 if columns == 1 else 0.46}
    figure, (left, *right) = style.panels(1 + bool(curves), columns=columns, height=2.1, bottom=0.42, **options)
    cube = below.cube("population", "path", "up_to")
    shown = [kind for kind in MAIN if kind in cube.population]
    for kind in shown:
        for path in ALWAYS:
            value, low, high = (100 * cube[end].sel(population=kind, path=path).values for end in ENDS[:3])
            left.plot(cube.up_to, value, color=LOOKS[kind][1], linestyle=DASHES[path], linewidth=1.2)
            if path == "line":  # the others lie on top of one another
                left.fill_between(cube.up_to, low, high, color=LOOKS[kind][1], alpha=0.14, linewidth=0)
    # To where all pairs lie below, if that is reached.
    short = np.flatnonzero((cube.value < 1).any(("population", "path")).values)
    nats_axis(left, "x", max(cube.up_to.values[min(short.max(initial=0) + 1, cube.sizes["up_to"] - 1)], NEAR_ZERO))
    left.set(xlabel="barrier (nats)", ylabel="pairs (%)", ylim=(0, 102))
    left.grid()
    handles = [Line2D([], [], color=LOOKS[kind][1]) for kind in shown]
    rows = 2 if columns == 1 else 1
    style.legend_above(figure, handles, [LOOKS[kind][0] for kind in shown], columns=-(-len(shown) // rows))
    if right:
        roc(right[0], curves)
    return figure


def roc(axes: Axes, curves: Table) -> None:
    """ROC curves of the line's barrier with their bands."""
    axes.plot([0, 100], [0, 100], color="#cccccc", linewidth=0.8, zorder=0)
    for (population, reference, matching), (label, color, dashes) in DETECTIONS.items():
        own = curves.select(population=population, reference=reference, matching=matching)
        if not own:
            continue
        cube = 100 * own.cube("rate")
        rate = 100 * cube.rate.values
        axes.plot(rate, cube.value.values, color=color, linestyle=dashes, label=label)
        axes.fill_between(rate, cube.band_low.values, cube.band_high.values, color=color, alpha=0.13, linewidth=0)
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
    shown = [path for path in PATHS if found.select(path=path)]
    if not names:
        return None
    options = {"height": 0.17 * len(names), "left": 1.75, "gap": (0.16, 0.42), "top": 0.3, "bottom": 0.42}
    figure, panels = style.panels(len(shown), columns=4, sharey=True, **options)
    top = 1.3 * max(NEAR_ZERO, *(row["value"] if row["high"] is None else row["high"] for row in found))
    for axes, path in zip(panels, shown, strict=True):
        for place, kind in enumerate(names):
            row, (_, color, marker) = found.get("barrier.loss", population=kind, path=path), LOOKS[kind]
            if row is None:
                continue
            if row["low"] is not None:
                axes.hlines(place, row["low"], row["high"], color=color, linewidth=1)
            axes.plot(row["value"], place, color=color, marker=marker, markersize=3.5, clip_on=False)
        axes.set_title(PATHS[path])
        nats_axis(axes, "x", top)
        axes.set_yticks(range(len(names)), [LOOKS[kind][0] for kind in names])
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x")
    style.shared_labels(figure, x="mean barrier (nats)")
    return figure


def profiles(data: xr.Dataset, table: Table) -> Figure | None:
    """The loss along lines and bypasses, a panel for each of the main kinds."""
    data = strata(data)[0][1]
    counted = data.valid.sel(path="line", drop=True).any(("member", "pair"))
    shown = [kind for kind in MAIN if kind in data.kind and counted.sel(kind=kind)]
    if not shown:
        return None
    options = {"height": 1.2, "left": 0.5, "gap": (0.22, 0.3), "top": 0.3, "bottom": 0.42, "sharey": True}
    figure, panels = style.panels(len(shown), columns=len(shown), **options)
    for axes, kind in zip(panels, shown, strict=True):
        for path in ALWAYS:
            _spread(axes, data, kind, path, LOOKS[kind][1], DASHES[path])
        if kind in ("adversarial", "adaptive") and SOURCE in data.kind:
            _spread(axes, data, SOURCE, "line", GREY, ":")
        axes.set(xlim=(0, 1), title=LOOKS[kind][0])
        axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        axes.grid()
    top = max(max(axes.get_ylim()[1] for axes in panels), NEAR_ZERO)
    for axes in panels:
        nats_axis(axes, "y", top)
    style.shared_labels(figure, x="share of the path, from the genuine image", y="loss (nats)")
    return figure


def _spread(axes: Axes, data: xr.Dataset, kind: str, path: str, color: str, dashes: str) -> None:
    """Median and quarters over members and pairs of the loss along a path."""
    values = data[f"{path}_profile"].sel(kind=kind).transpose("t", "member", "pair").values
    values = values[:, data.valid.sel(kind=kind, path=path).transpose("member", "pair").values]
    if values.shape[1]:
        low, middle, high = np.quantile(values, (0.25, 0.5, 0.75), axis=1)
        axes.plot(data.t, middle, color=color, linestyle=dashes, linewidth=1.2)
        axes.fill_between(data.t, low, high, color=color, alpha=0.12, linewidth=0)


def steps(data: xr.Dataset, table: Table) -> Figure | None:
    """How many steps remove barriers, by kind of pair."""
    rows = [row for row in first_stratum(table).select("path.barrier_removed", population=[*MAIN]) if "steps" in row]
    if not rows:
        return None
    cube = Table(tuple(rows)).cube("population", "steps")
    figure, (axes,) = style.panels(1, columns=1, width=style.COLUMN + 1.6, height=1.8, left=0.5, right=1.9, top=0.15)
    for kind in cube.population.values.tolist():
        label, color, marker = LOOKS[kind]
        value = 100 * cube.value.sel(population=kind)
        axes.plot(cube.steps, value, color=color, marker=marker, markersize=3, linewidth=1, label=label)
    style.log_x(axes, cube.steps.values)
    axes.set(xlabel="steps of the first waypoint's search", ylabel="barriers removed (%)", ylim=(0, 102))
    axes.grid()
    axes.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), fontsize=6.5, labelcolor=INK)
    return figure


def components(data: xr.Dataset, table: Table) -> Figure | None:
    """Number of components against the loss up to which nodes and paths are there; dotted, the number of nodes."""
    found = first_stratum(table).select(["path.components", "path.nodes"])
    if not found:
        return None
    figure, panels = style.panels(len(GRAPHS), columns=3, height=1.6, left=0.5, gap=(0.4, 0.3), top=0.3, bottom=0.42)
    for axes, (prefix, name) in zip(panels, GRAPHS.items(), strict=True):
        cube = found.select(graph=name).cube("name", "threshold")
        curve, nodes = cube.sel(name="path.components"), cube.value.sel(name="path.nodes")
        color = "#D55E00" if prefix == "shared" else "#0072B2"
        axes.plot(cube.threshold, nodes, color=GREY, linestyle=":", label="inputs that are there")
        axes.plot(cube.threshold, curve.value, color=color, label="components")
        low, high = (curve[end].clip(0, float(nodes.max())) for end in ENDS[3:])
        axes.fill_between(cube.threshold, low, high, color=color, alpha=0.18, linewidth=0)
        style.log_x(axes, cube.threshold.values)
        # Room for the legend above.
        axes.set(title=name, ylim=(0, 1.4 * float(nodes.max())), xlabel="loss up to (nats)")
        axes.set_ylabel("mean over classes" if prefix == "graph" else "")
        axes.grid()
        axes.legend(loc="upper left", fontsize=6.5)
    return figure


def tuned(data: xr.Dataset, table: Table) -> Figure | None:
    """What each weight of the detector makes of its AUROC and of the attack's success, on validation images."""
    detected, reached = tuning(data)
    if not np.isfinite(detected).any():
        return None
    weights, taken = data.weight.values.astype(float), float(data.adaptive_weight)
    place = np.arange(len(weights))
    figure, panels = style.panels(2, columns=2, height=1.4, left=0.62, gap=(0.6, 0.3), top=0.15, bottom=0.42)
    labelled = ((detected, "AUROC of the barrier"), (100 * reached, "success (%)"))
    for axes, (values, label) in zip(panels, labelled, strict=True):
        axes.plot(place, values, color=INK, marker="o", markersize=3)
        chosen = np.flatnonzero(weights == taken)
        axes.plot(chosen, values[chosen], "o", color="none", markeredgecolor="#D55E00", markersize=8)
        axes.set_xticks(place, [style.short_number(w) for w in weights])
        axes.set(xlabel="weight of the detector (logits / nat)", ylabel=label)
        axes.grid()
    return figure


def pictures(data: xr.Dataset, table: Table) -> Figure | None:
    """A row for each kind, a group of pictures for each pair; beneath, the loss of the pair's class."""
    found = data.picture.transpose("picture_kind", "shown", "place", *IMAGE).values
    loss = data.picture_loss.transpose("picture_kind", "shown", "place").values
    shown, places = found.shape[1:3]
    image_rows = [
        ImageRow(
            LOOKS[kind][0],
            INK,
            list(images.reshape(-1, *images.shape[2:])),
            texts=[text(float(f"{value:.2g}")) if np.isfinite(value) else "" for value in values.ravel()],
        )
        for kind, images, values in zip(figures.names(data, "picture_kind"), found, loss, strict=True)
    ]
    before = [0.12 if i and i % places == 0 else 0.0 for i in range(shown * places)]
    heads = [HEADS[name] for name in figures.names(data, "place")] * shown
    return image_grid(image_rows, heads=heads, before=before, margin=1.15)


FIGURES = (
    FigureSpec(
        "sweep",
        "What training changes",
        "How well the barrier of the line detects adversarial inputs, with 95 % intervals, for each value that was "
        "swept: 0.5 is chance. The figures below are of the first value.",
        ("barrier", "valid"),
        sweep,
        when=lambda data, table: len(strata_of(table)) > 1,
    ),
    FigureSpec(
        "main",
        "How far the loss rises between two inputs of one prediction, and whether that detects adversarial ones",
        "The barrier of a path is how far the loss of the pair's class, nats, rises above that of its worse endpoint. "
        "Left: share of pairs whose barrier is at most so high, mean over members; solid on the straight line, "
        "dashed after the bypass. Curves further right have higher barriers. Right: how well the barrier of the line "
        "detects adversarial inputs among genuine ones, among boosted ones (the same attack, toward the image's own "
        "class), among natural errors of equal margin and distance, and under an attack adapted to this detector. "
        "Bands are 95 % intervals over members and pairs, at the left pointwise and of the line, at the right for all "
        "rates together. The diagonal is guessing.",
        ("barrier", "valid"),
        main,
        narrow=main_column,
        table=main_table,
    ),
    FigureSpec(
        "kinds",
        "Every kind of pair and path",
        "Mean barrier with its 95 % interval between a genuine image of a class and: another one (genuine), one that "
        "an attack made surer of it (boosted), one of another class that is taken for it by itself (natural error), or "
        "is attacked (adversarial; to margins that natural errors have; adaptive, so that lines rise as those of "
        "genuine pairs do; joint, by all members together). Kinds of which members have too few pairs are left out. "
        "Paths found are upper bounds: others may be lower.",
        ("barrier", "valid"),
        kinds,
    ),
    FigureSpec(
        "profiles",
        "The loss along the path",
        "Median over members and pairs, band from the lower to the upper quarter; solid the straight line, dashed the "
        "bypass. The clean source image (grey) is evaluated with the class of the pair: what its own contents add.",
        ("line_profile", "bypass_profile", "valid"),
        profiles,
    ),
    FigureSpec(
        "steps",
        "How many steps the first waypoint of a bypass needs",
        "Share of the pairs whose line rises by more than the tolerance of which the first waypoint has removed 95 %.",
        ("after",),
        steps,
    ),
    FigureSpec(
        "pictures",
        "What lies between",
        "Genuine image, highest point of the line between the endpoints, where the bypass takes it, other endpoint; "
        "beneath, the first member's loss of the class, nats. Of each kind the pairs whose lines are highest for that "
        "member, which may have no barrier all the same.",
        ("picture", "picture_loss"),
        pictures,
        kind="png",
    ),
    FigureSpec(
        "components",
        "The graph of inputs of one class",
        "Inputs (genuine, boosted, adversarial) are there from their own loss on, and joined where the better of line "
        "and bypass stays below. Where the two curves part, inputs have been joined; at 1 all are connected. Shared "
        "inputs (genuine, and those that fool all members) are the same for every member; in the middle a path has to "
        "stay low for all of them. Paths found are upper bounds, so the number of components is one too.",
        ("graph_peak", "shared_peak", "alone_peak"),
        components,
        optional=True,
    ),
    FigureSpec(
        "tuning",
        "How the adaptive attack was tuned",
        "On validation images: how well the barrier detects its results among genuine pairs (0.5: not at all), and how "
        "often they reach the class. The weight is that of the detector against logits; at 0 it does not count. "
        "Ringed, the weight that was taken.",
        ("tuning_barrier", "tuning_reached", "weight", "adaptive_weight"),
        tuned,
        optional=True,
    ),
)
