"""Figures of a latent run: curves and intervals come from the table, distributions from the dataset.

Of a sweep the figure `sweep` shows all values, the others the first ones.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from landscape.experiments.base import named, of_one_kind, strata_of
from landscape.experiments.latent import pictures
from landscape.experiments.latent.estimates import main_family
from landscape.experiments.latent.pictures import in_order, samplers
from landscape.reporting import figures, plots, style
from landscape.reporting.figures import FigureSpec
from landscape.reporting.style import Look
from landscape.stats.table import ENDS, Row, Table

GREY, DASHED, DOTTED = style.GREY, (0, (4, 1.5)), (0, (1, 1.3))
SAMPLERS = {  # its line, and its family's colour made lighter (up to 1) or darker (down to -1)
    "mala": (Look("MALA", "", "-", "o"), 0.0),
    "hmc": (Look("HMC", "", DASHED, "s"), 0.35),
    "nuts": (Look("NUTS", "", DOTTED, "^"), -0.45),
    "gibbs": (Look("Gibbs", "", "-", "D"), 0.0),
}
SWEPT = {"noise": "confidence.noise", "guided": "confidence.local", "guided − noise,\nheld out": "confidence.gain"}
REACH, OWN_CLASS = "size s of noise, reach s of chains (white units)", "probability of own class"


def of_first(figure: FigureSpec) -> dict[str, Callable]:
    """How a figure is drawn of the first kind of training alone."""
    ways = {way: getattr(figure, way) for way in ("draw", "narrow", "table")}
    return {way: of_one_kind(draw) for way, draw in ways.items() if draw}


def looks_of(data: xr.Dataset) -> dict[str, Look]:
    """The looks of the run's families."""
    return {family: style.look(family) for family in in_order(data)}


def sampler_look(kernel: str, color: str) -> Look:
    """A sampler's line in its family's colour."""
    look, shade = SAMPLERS[kernel]
    return look._replace(color=mixed(color, shade))


def mixed(color: str, shade: float) -> Any:
    """A colour mixed with white (shade > 0) or black (shade < 0)."""
    return tuple(part + abs(shade) * ((1.0 if shade > 0 else 0.0) - part) for part in to_rgb(color))


def curve(axes: Axes, rows: Table, look: Look, *, x: str = "radius", band: bool = True) -> bool:
    """One line over x, with its intervals where they are wanted; False where the table has no rows of it."""
    if not len(rows):
        return False
    cube = rows.cube(x)
    ends = (cube.low.values, cube.high.values) if band else ()
    return style.line(axes, cube[x].values, cube.value.values, look, *ends)


def bounded(axes: Axes, table: Table, name: str, look: Look, **at: Any) -> bool:
    """Upright bars over all that chains that have not converged leave possible: both bounds with their intervals."""
    least, most = (table.select(f"{name}_{end}", **at) for end in ("least", "most"))
    if not len(least):
        return False
    least, most = (rows.cube("radius") for rows in (least, most))
    low, high = (end.where(np.isfinite(end), mean) for end, mean in ((least.low, least.value), (most.high, most.value)))
    axes.vlines(low.radius.values, low.values, high.values, colors=[look.color], linewidth=2.5, alpha=0.6)
    return True


def radius_axis(axes: Axes, data: xr.Dataset) -> None:
    """A log axis of s."""
    style.log_x(axes, data.radius.values, small=True)
    axes.grid(axis="y")


def sweep(data: xr.Dataset, table: Table) -> Figure | None:
    """What noise and guided chains of the first sampler leave of the own class at each value, by family."""
    every, looks = strata_of(table), looks_of(data)
    largest = table.select(radius=float(data.radius.max()))

    def row(name: str, family: str, kind: dict[str, float]) -> Row | None:
        by = {"noise": "gaussian"} if name == "confidence.noise" else {"kernel": samplers(data, family)[0]}
        by |= {"classifier": "held_out" if name == "confidence.gain" else "own"}
        return largest.get(name, family=family, **by, **kind)

    panels = {
        title: {family: [row(name, family, kind) for kind in every] for family in looks}
        for title, name in SWEPT.items()
    }
    return plots.forest(panels, [named(kind) for kind in every], looks, columns=3)


# ---- chains near embeddings ----


def confidence(axes: Axes, data: xr.Dataset, table: Table, family: str) -> list[Look]:
    """Probability of the own class along chains of the first sampler and under noise; the looks of what was drawn."""
    lines, at = [], {"family": family}
    for name, label, color, by in (
        ("confidence.local", "guided", style.look(family).color, {"kernel": samplers(data, family)[0]}),
        ("confidence.noise", "noise", GREY, {"noise": "gaussian"}),
    ):
        for who, words, line, marker in (("own", "own classifier", "-", "o"), ("held_out", "held out", DASHED, "")):
            look = Look(f"{label}, {words}", color, line, marker)
            drawn = bounded(axes, table, name, look, classifier=who, **by, **at)
            drawn |= curve(axes, table.select(name, classifier=who, **by, **at), look)
            lines += [look] if drawn else []
    decoded = table.get("confidence.decoded", classifier="own", **at)
    if decoded:
        axes.axhline(decoded["value"], color=GREY, linewidth=0.7, linestyle=DOTTED)
    radius_axis(axes, data)
    axes.set_ylim(-0.02, 1.02)
    return lines


def chains(data: xr.Dataset, table: Table, width: float = style.PAGE) -> Figure | None:
    """Probabilities of the main family along chains and under noise, and all families' differences."""
    looks = looks_of(data)
    main = main_family([*looks])
    columns, room = (1, {"gap": (0.3, 0.85)}) if width < style.PAGE else (2, {"gap": (0.6, 0.3)})
    figure, (left, right) = style.panels(2, columns=columns, width=width, height=1.6, top=0.45, **room)
    lines = confidence(left, data, table, main)
    for family, look in looks.items():  # of many families one interval alone, or none is seen
        at = {"family": family, "kernel": samplers(data, family)[0], "classifier": "held_out"}
        curve(right, table.select("confidence.gain", **at), look, band=len(looks) <= 3 or family == main)
        bounded(right, table, "confidence.gain", look, **at)
    right.axhline(0, color=GREY, linewidth=0.6)
    radius_axis(right, data)
    left.set(ylabel=f"{OWN_CLASS}, {looks[main].label}", xlabel=REACH)
    right.set(ylabel="guided − noise, held out", xlabel=REACH)
    plots.key(left, lines, columns=2)
    plots.key(right, looks.values(), columns=4)
    return figure if lines else None


def chains_table(data: xr.Dataset, table: Table) -> list[tuple]:
    """The rows behind the curves: confidence along chains, under noise, and their difference."""
    columns = ("name", "family", "kernel", "noise", "radius", "classifier", *ENDS[:3])
    along = [f"confidence.{name}{end}" for name in ("local", "gain") for end in ("", "_least", "_most")]
    rows = table.select([*along, "confidence.noise"])
    return [columns, *(tuple("" if row.get(c) is None else row[c] for c in columns) for row in rows)]


BEHAVIOUR = (  # estimate, title, limits of y
    ("confidence.local", "own class", (-0.03, 1.03)),
    ("distance.local_drift", "drift (white units)", None),
    ("acceptance.local", "acceptance", (-0.03, 1.03)),
    ("rhat.local_converged", "converged", (-0.03, 1.03)),
    ("ess.local", "effective samples", (0, None)),
)


def behaviour(data: xr.Dataset, table: Table) -> Figure | None:
    """Rows families, columns what chains report of themselves, against s; a line a sampler."""
    grid = [(family, look, *column) for family, look in looks_of(data).items() for column in BEHAVIOUR]
    room = {"height": 0.72, "left": 0.98, "top": 0.5, "gap": (0.42, 0.17), "bottom": 0.4}
    figure, panels = style.panels(len(grid), columns=len(BEHAVIOUR), **room)
    drawn = False
    for axes, (family, look, name, title, limits) in zip(panels, grid, strict=True):
        for kernel in samplers(data, family):
            own = {"classifier": "own"} if name == "confidence.local" else {}
            rows = table.select(name, family=family, kernel=kernel, **own)
            drawn |= curve(axes, rows, sampler_look(kernel, look.color))
            bounded(axes, table, name, sampler_look(kernel, look.color), family=family, kernel=kernel, **own)
        if name == "acceptance.local":
            changed = table.select("acceptance.local_changed", family=family, kernel="gibbs")
            curve(axes, changed, Look("", look.color, DOTTED, "."))
        radius_axis(axes, data)
        if limits:
            axes.set_ylim(*limits)
        elif axes.lines:  # codes may not move at all
            plots.log_y(axes, small=True)
        axes.tick_params(labelbottom=family == grid[-1][0])
        if family == grid[0][0]:
            axes.set_title(title, fontsize=7, loc="center")
        if name == BEHAVIOUR[0][0]:
            axes.set_ylabel(look.label, color=look.color, rotation=0, ha="right", va="center")
    style.shared_labels(figure, "reach s (white units)")
    plots.key(figure, [sampler_look(kernel, "#777777") for kernel in figures.names(data, "kernel")], columns=6)
    return figure if drawn else None


# ---- chains that may go anywhere ----

REACHED = {  # title: estimate
    "a  class reached\n(probability)": "confidence.global",
    "b  class kept\n(share of steps)": "agreement.next_class",
    "c  converged\n(share of groups)": "rhat.global_converged",
    "d  effective\nsamples": "ess.global",
}
GUIDANCE = {  # series: its look, which rows
    "guided": (Look("guided", "#D55E00"), {"guidance": "guided", "classifier": ["own", None]}),
    "held_out": (Look("guided, held-out classifier", "#E69F00", marker="D"), {"classifier": "held_out"}),
    "unguided": (Look("unguided", GREY, marker="s"), {"guidance": "unguided"}),
}


def reached(data: xr.Dataset, table: Table) -> Figure | None:
    """A row a sampler: class reached, class kept, convergence, sample size."""
    runs = [(family, kernel) for family in in_order(data) for kernel in samplers(data, family)]
    panels = {
        title: {
            series: [table.get(name, family=family, kernel=kernel, **rows) for family, kernel in runs]
            for series, (_, rows) in GUIDANCE.items()
        }
        for title, name in REACHED.items()
    }
    labels = [f"{style.look(family).label}  {SAMPLERS[kernel][0].label}" for family, kernel in runs]
    return plots.forest(panels, labels, {series: look for series, (look, _) in GUIDANCE.items()})


def mixing(data: xr.Dataset, table: Table) -> Figure | None:
    """P(next class | class) along the chains of each family's first sampler: guided above, unguided beneath."""
    shown, looks = [], looks_of(data)
    for which in figures.names(data, "guidance"):
        for family, look in looks.items():
            counts = data.mixing.sel(family=family, kernel=samplers(data, family)[0], guidance=which)
            counts = counts.sum("member").transpose("class", "next_class").values
            visits = counts.sum(axis=1, keepdims=True)
            stay = 100 * np.trace(counts) / max(counts.sum(), 1)
            shares = np.where(visits > 0, counts / np.maximum(visits, 1), np.nan)
            shown.append((f"{look.label}: {stay:.0f} %", shares))
    limits = (0.0, float(np.nanmax([shares for _, shares in shown])))
    labels, about = ("class of the next kept state", "class of a kept state"), {"names": figures.names(data, "class")}
    about["sides"] = figures.names(data, "guidance")
    return plots.matrices(shown, len(looks), labels, limits=limits, cmap="Blues", **about)


# ---- noise and paths ----


def noise(data: xr.Dataset, table: Table) -> Figure | None:
    """Curves over the size of the noise, a colour a family."""
    looks, drawn = looks_of(data), False
    figure, panels = style.panels(2, columns=2, height=1.75, left=0.55, top=0.48, gap=(0.6, 0.3), bottom=0.42)
    measured = (("confidence.noise", {"classifier": "own"}, OWN_CLASS), ("distance.noise", {}, "distance (L2, pixels)"))
    for axes, (name, own, label) in zip(panels, measured, strict=True):
        for family, look in looks.items():
            for kind, line in (("gaussian", "-"), ("shell", DASHED)):
                rows = table.select(name, family=family, noise=kind, **own)
                drawn |= curve(axes, rows, look._replace(line=line), band=kind == "gaussian" and len(looks) <= 3)
        radius_axis(axes, data)
        axes.set(xlabel="size s (white units)", ylabel=label)
        axes.set_ylim(0, 1.02 if own else None)
    kinds = [Look("Gaussian", "#555555", "-", ""), Look("shell", "#555555", DASHED, "")]
    plots.key(figure, [*looks.values(), *kinds], columns=10)
    return figure if drawn else None


def paths(data: xr.Dataset, table: Table) -> Figure | None:
    """Stacked probabilities along paths: a column a family, a row a kind of path."""
    table = table.select(["path.first_class", "path.last_class"])
    looks = {family: look for family, look in looks_of(data).items() if len(table.select(family=family))}
    if not looks:
        return None
    kinds = figures.names(data, "path")
    grid = [(family, look, kind) for kind in kinds for family, look in looks.items()]
    room = {"left": 0.72, "top": 0.45, "gap": (0.12, 0.28), "sharex": True, "sharey": True}
    figure, panels = style.panels(len(grid), columns=len(looks), height=0.95, **room)
    for axes, (family, look, kind) in zip(panels, grid, strict=True):
        cube = table.select(family=family, path=kind).cube("name", "classifier", "t").value
        cube = cube.sel(name=[f"path.{end}_class" for end in ("first", "last")])
        first, last = cube.sel(classifier="own").values
        colors = [look.color, "#d0d0d0", mixed(look.color, 0.55)]
        axes.stackplot(cube.t, first, 1 - first - last, last, colors=colors, linewidth=0)
        first, last = cube.sel(classifier="held_out").values
        axes.plot(cube.t, np.transpose([first, 1 - last]), color="white", linewidth=1.6)
        axes.plot(cube.t, np.transpose([first, 1 - last]), color="#222222", linewidth=0.8, linestyle=DASHED)
        axes.set(xlim=(0, 1), ylim=(0, 1), yticks=[0, 0.5, 1])
        axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        if kind == kinds[0]:
            axes.set_title(look.label, color=look.color)
        if family == grid[0][0]:
            axes.set_ylabel(kind)
    style.shared_labels(figure, "point t of the path", "mean probability")
    keys = [Patch(color=c, linewidth=0) for c in ("#444444", "#d0d0d0", mixed("#444444", 0.55))]
    keys.append(Line2D([], [], color="#222222", linewidth=0.8, linestyle=DASHED))
    texts = [
        "class of the first point (dark)",
        "other classes",
        "class of the last point (light)",
        "held-out classifier",
    ]
    style.legend_above(figure, keys, texts, columns=4)
    return figure


# ---- what the set of a family's latents looks like ----

MEASURES = {  # title: what is shown -> estimate
    "a  dimensions": {name: f"usage.{name}_{of}" for name, of in (
        ("active", "units"), ("effective", "dimension"), ("intrinsic", "dimension"))},
    "b  MMD²": {"prior": "distance.mmd_from_prior", "gaussian": "distance.mmd_from_gaussian"},
    "c  against a Gaussian\n(accuracy)": {"value": "accuracy.versus_gaussian"},
    "d  class, linear probe\n(accuracy)": {"value": "accuracy.linear_probe"},
    "e  class, neighbours\n(accuracy)": {"value": "accuracy.neighbours"},
    "f  alike between seeds\n(CKA)": {"value": "agreement.cka"},
    "g  alike between seeds\n(R² of a linear map)": {"value": "agreement.linear_map"},
}  # fmt: skip
SHOWN = {
    "active": Look("active dimensions", "#E69F00", marker="s"),
    "effective": Look("effective", "#0072B2"),
    "intrinsic": Look("intrinsic", "#D55E00", marker="^"),
    "prior": Look("from the prior", "#009E73", marker="D"),
    "gaussian": Look("from the fitted Gaussian", "#CC79A7", marker="v"),
    "value": Look("other measures", "#222222"),
}


def measures(data: xr.Dataset, table: Table) -> Figure | None:
    """A row a family, a panel a measure, with intervals."""
    looks = looks_of(data)
    panels = {
        title: {shown: [table.get(name, family=family) for family in looks] for shown, name in of.items()}
        for title, of in MEASURES.items()
    }
    given = data.spectrum.isel(member=0).notnull().sum("latent")
    labels = [f"{look.label} ({int(given.sel(family=family))})" for family, look in looks.items()]
    return plots.forest(panels, labels, SHOWN)


def spread(data: xr.Dataset, table: Table) -> Figure | None:
    """Lengths of latents, skewness and excess kurtosis of their dimensions, how sure decoded prior draws are."""
    shown = {
        "length over the median length": data.norms / data.norms.median("example"),
        "skewness": data.skewness,
        "excess kurtosis": data.excess_kurtosis,
        "draws of the prior: largest class probability": data.prior_confidence,
    }

    def pooled(values: xr.DataArray) -> dict[str, np.ndarray]:
        found = {name: values.sel(family=name).values.ravel() for name in in_order(data)}
        found = {name: one[np.isfinite(one)] for name, one in found.items()}
        return {name: one for name, one in found.items() if len(one)}

    return plots.spreads({label: pooled(values) for label, values in shown.items()})


def spectrum(data: xr.Dataset, table: Table) -> Figure | None:
    """Share of the variance along the first principal axes, a line a family, thin ones its seeds."""
    figure, (axes,) = style.panels(1, columns=1, width=style.COLUMN, height=1.7)
    for family, look in looks_of(data).items():
        values = data.spectrum.sel(family=family).dropna("latent").transpose("latent", "member").values
        if len(values):
            shares, x = np.cumsum(values, axis=0) / values.sum(axis=0), np.arange(1.0, len(values) + 1)
            axes.plot(x, shares, color=look.color, linewidth=0.5, alpha=0.4)
            axes.plot(x, shares.mean(axis=1), color=look.color, marker="." if len(x) <= 16 else "")
    style.log_x(axes, np.arange(1.0, data.sizes["latent"] + 1))
    axes.set(xlabel="principal axes", ylabel="share of the variance", ylim=(0, 1.03))
    axes.grid()
    plots.key(figure, looks_of(data).values(), columns=5)
    return figure if axes.lines else None


def projections(data: xr.Dataset, table: Table) -> Figure | None:
    """Test images on the first two principal axes of the first member's latents, coloured by true class."""
    looks, classes = looks_of(data), figures.names(data, "class")
    label, legend = data.label.values.astype(int), len(classes) <= plots.MANY
    colors = class_colors(len(classes))
    across = 10 if max(map(len, classes)) < 5 else 5
    room = {"left": 0.55, "top": 0.28 + 0.17 * -(-len(classes) // across) * legend, "bottom": 0.4, "gap": (0.32, 0.38)}
    figure, panels = style.panels(len(looks), columns=3, height=1.9, **room)
    for axes, (family, look) in zip(panels, looks.items(), strict=True):
        points = data.projection.sel(family=family).transpose("example", "axis").values
        size = float(np.clip(2500 / len(points), 1.5, 9))
        axes.scatter(*points.T, c=[colors[i] for i in label], s=size, linewidths=0, alpha=0.75, rasterized=True)
        axes.set_title(look.label, color=look.color)
        axes.set_aspect("equal", adjustable="datalim")
        axes.locator_params(nbins=4)
    style.shared_labels(figure, "first principal axis (unit of the latent)", "second principal axis")
    if legend:
        keys = [Line2D([], [], color=c, marker="o", linestyle="", markersize=4) for c in colors]
        style.legend_above(figure, keys, [style.plain(name, limit=10) for name in classes], columns=across)
    return figure


def class_colors(count: int) -> list[Any]:
    """A colour a class: ten that colour-blind readers can distinguish (Paul Tol's muted set), more by hue."""
    muted = "#332288 #88CCEE #44AA99 #117733 #999933 #DDCC77 #CC6677 #882255 #AA4499 #888888".split()
    return muted[:count] if count <= 10 else [colormaps["hsv"](i / count) for i in range(count)]


def correlations(data: xr.Dataset, table: Table) -> Figure | None:
    """Correlation of the first member's latent dimensions, a matrix a family."""
    shown = []
    for family, look in looks_of(data).items():
        matrix = data.correlation.sel(family=family).transpose("first", "second").values
        kept = np.isfinite(matrix).any(axis=0)
        if kept.any():
            shown.append((look.label, matrix[np.ix_(kept, kept)]))
    labels = ("latent dimension", "latent dimension")
    return plots.matrices(shown, min(5, len(shown)), labels, limits=(-1.0, 1.0), cmap="RdBu_r") if shown else None


SWEEP = FigureSpec(
    "sweep",
    "What training of the classifiers changes",
    "Probability of the image's own class at the largest s, under noise and along chains of the first sampler, and "
    "their difference, with 95 % intervals, for each swept value. The autoencoders are the same. The figures below "
    "show the first value.",
    ("local_probability", "around_probability"),
    sweep,
    when=lambda data, table: len(strata_of(table)) > 1,
)
OF_FIRST = (
    FigureSpec(
        "chains",
        "What lies around embeddings, guided toward their class",
        "Left: probability of the image's class along chains that reach s white units (coloured; 1 is a typical "
        "spread of the latent), and under noise of that size (grey), for the classifier that guides the chains "
        "(solid) and for one that guides nothing (dashed). The guide's own coloured line is higher by construction. "
        "Dotted: the embedding itself. Right: guided chains minus noise for the classifier that guides nothing, for "
        "every family. Bands are 95 % intervals. Upright bars: not all chains have converged; bounds, with "
        "their intervals.",
        ("local_probability", "around_probability"),
        chains,
        narrow=partial(chains, width=style.COLUMN),
        table=chains_table,
    ),
    FigureSpec(
        "embeddings",
        "The images along these chains",
        "A test image, its decoded embedding, and states of chains that reach s white units while the seed's own "
        "classifier guides toward the image's class, beside unguided noise of that size; first seed.",
        ("picture_local", "picture_around", "picture_path"),
        pictures.of_embeddings,
        kind="png",
    ),
    FigureSpec(
        "pictures",
        "The same embedding in every family",
        "Columns as above, then decoded draws of the prior, which is fitted to the latents where the family has none "
        "of its own; not selected, first seed.",
        ("picture_local", "picture_around", "picture_prior", "picture_path"),
        pictures.of_families,
        kind="png",
    ),
    FigureSpec(
        "samplers",
        "Do the samplers agree, and have they converged?",
        "Samplers of one target should agree in the first two columns, where upright bars are bounds of chains that "
        "have not converged. Drift is the root mean square distance from the embedding. Converged: share of "
        "embeddings whose chains agree although they began apart, in every number of the latent and in how often they "
        "are in each class and hold each code. The effective sample size is the smallest of all these. Dotted beside "
        "the acceptance of codes: the share of steps that change a code.",
        ("local_probability", "local_drift", "local_ess"),
        behaviour,
    ),
    FigureSpec(
        "reached",
        "Chains that may go anywhere",
        "Guided toward each class in turn (colour) or not at all (grey), with 95 % intervals. Families without a "
        "prior of their own (all but vae and sphere) use the Gaussian fitted to their latents, or the frequencies of "
        "their codes. The class reached has no value where chains have not converged. Guided chains also jump, grey "
        "ones do not: poor mixing of these between classes (grey near 1 in b, low c) is a finding about the latent "
        "space, but with few effective samples longer chains might still mix. Samplers save states at different "
        "intervals, so compare b within one.",
        ("global_probability", "global_rhat", "mixing"),
        reached,
    ),
    FigureSpec(
        "mixing",
        "From class to class along these chains",
        "Rows: predicted class of a saved state; columns: of the next one; all chains and seeds of the first sampler. "
        "Rows sum to 1; sand-coloured rows were never visited; above, the share of steps within a class. In unguided "
        "chains, a dark diagonal means that classes are islands, a dark column that much of the latent decodes to one "
        "class. Guided chains toward all classes are pooled and jump, so the diagonal also shows how firmly guidance "
        "holds its class.",
        ("mixing",),
        mixing,
    ),
    FigureSpec(
        "global_pictures",
        "Where chains toward each class end",
        "Last state of a chain guided toward the class above, first seed and sampler, not selected.",
        ("picture_global",),
        pictures.of_classes,
        kind="png",
    ),
    FigureSpec(
        "measures",
        "The latent in numbers",
        "Lines are 95 % intervals over seeds; the number behind each family's name is its dimension. a: dimensions "
        "used (active), spanned (effective, from the spectrum) and occupied (intrinsic, TwoNN, biased downwards in "
        "many dimensions). b: distance from the prior (vae, sphere) or from the Gaussian fitted to latents. c: "
        "accuracy of a classifier that separates latents from draws of that Gaussian, 0.5 is chance. d, e: how well "
        "classes are separated. f, g: 1 is the same latent up to rotation, or up to a linear map.",
        ("spectrum", "probe"),
        measures,
    ),
    FigureSpec(
        "spectrum",
        "How many directions the latents use",
        "Share of the variance along the first principal axes: thin, each seed; thick, their mean. A curve that rises "
        "late uses its dimensions evenly.",
        ("spectrum",),
        spectrum,
    ),
    FigureSpec(
        "spread",
        "How latents are spread",
        "Thin 5 to 95 %, thick 25 to 75 %, black tick the median. In many dimensions the latents of a Gaussian have "
        "one length; its skewness and excess kurtosis are 0. Negative kurtosis is flatter than a Gaussian, as with "
        "codes on a grid. Last panel: decoded draws of the prior; draws on the far right look like a class.",
        ("norms", "skewness", "excess_kurtosis", "prior_confidence"),
        spread,
    ),
    FigureSpec(
        "projection",
        "Test images in the latent",
        "Each panel shows the two directions of largest variance of the first seed's latents, coloured by true class; "
        "classes that overlap here may still be apart in other directions.",
        ("projection", "label"),
        projections,
    ),
    FigureSpec(
        "correlation",
        "Correlations between latent dimensions",
        "First seed, red together and blue opposite; a blank square off the diagonal is a latent whose dimensions are "
        "used independently (to second order).",
        ("correlation",),
        correlations,
        when=lambda data, table: "correlation" not in data or bool(data.correlation.notnull().any()),
    ),
    FigureSpec(
        "noise",
        "Noise around embeddings",
        "Unguided noise of growing size: the further right a line falls, the larger the region that decodes to the "
        "class. Solid and dashed agree where only the distance matters. Bands of solid lines, drawn for up to three "
        "families, are 95 % intervals.",
        ("around_probability", "around_moved"),
        noise,
    ),
    FigureSpec(
        "paths",
        "Between two embeddings",
        "How the classifier's probability passes from the first point's class to the last one's, mean over seeds and "
        "pairs of two different classes; grey in the middle is the probability of all other classes. Spherical paths "
        "keep the typical length of latents, linear ones pass nearer to the mean.",
        ("path_probability",),
        paths,
    ),
    FigureSpec(
        "path_pictures",
        "Paths as pictures",
        "Pairs of test images, from the decoded first to the decoded last point in equal steps; first seed.",
        ("picture_path",),
        pictures.paths,
        kind="png",
    ),
)
FIGURES = (SWEEP, *(figure._replace(**of_first(figure)) for figure in OF_FIRST))
