"""Figures of a flatness run: curves come from the table, single inputs from the derived dataset.

Those of further measures are in `measure_figures`. Of a sweep the first figure shows all values, the others the first
one.
"""

from functools import partial

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from landscape.experiments.base import named, of_one_kind, strata_of
from landscape.experiments.flatness import measure_figures
from landscape.experiments.flatness.along_estimates import OF_WAY
from landscape.experiments.flatness.config import MATCHINGS
from landscape.experiments.flatness.estimates import (
    BALANCED,
    BESIDE,
    BEYOND,
    CONTROLS,
    DROP,
    LINEAR,
    PAIRS,
    SCALE_FREE,
    TWINS,
    match_quality,
    nearest,
    specifications,
)
from landscape.experiments.flatness.measure_figures import TWO_BY_TWO, compared, drawn, pooled
from landscape.presets.measuring import first_noise
from landscape.reporting import figures, plots, style
from landscape.reporting.figures import FigureSpec
from landscape.reporting.image_grid import ImageRow, image_grid, signed
from landscape.stats.table import ENDS, Table

MAIN = ("genuine", "boosted", "adversarial")  # whose bands an axis has room for; pictured
LOCAL = 0.3  # claims about local geometry use r up to here
RADIUS, FALL = "noise radius r = σ√D / ‖δ‖", "probability drop"
ISO = {"matching": "iso"}
COMPARISONS = {  # title, y axis, measure, rows of the table
    "raw": ("as found", FALL, DROP, {}),
    "iso": ("at equal confidence", FALL, DROP, ISO),
    "scale_free": ("at equal confidence", "share of the margin lost", SCALE_FREE, ISO),
}
SWEPT = {  # title of a panel: measure, matching
    "scale-free, at\nequal confidence": (SCALE_FREE, "iso"),
    "scale-free": (SCALE_FREE, "raw"),
    "at equal\nconfidence": (DROP, "iso"),
    "as found": (DROP, "raw"),
}
MEASURES = {  # of the specification curve
    SCALE_FREE[0]: "share of the margin",
    BEYOND[SCALE_FREE][0]: "margin, beyond linear",
    DROP[0]: "probability",
    BEYOND[DROP][0]: "probability, beyond linear",
}
LOCAL_MEASURES = {  # along an attack, and beside one another
    "relative_flatness": "relative flatness\n(logits²)",
    "input_probability_drop": "probability drop\nunder noise",
    "worst_margin_drop": "worst-case margin\ndrop (logits)",
    "hessian_top": "top eigenvalue, loss\n(nats per pixel unit²)",
}
SIDES = {
    "before": style.Look("before the flip: the true class", "#0072B2"),
    "after": style.Look("after the flip: another class", "#D55E00", marker="s"),
}
SHARES = {"kept": "#9db7cc", "returned to the true class": "#009E73", "elsewhere": "#E69F00"}
STRAIGHT = style.Look("linear classifier, same colour", "#555555", ":", "")
BAND = ("band_low", "band_high")
PICTURED = 10  # images
RIGHT, WRONG = "#0072B2", "#D55E00"


def sweep(data: xr.Dataset, table: Table) -> Figure | None:
    """The difference of adversarial and boosted inputs at each kind of training, in each comparison."""
    every, r = strata_of(table), nearest(data.r.values, LOCAL)
    about = {"population": "adversarial", "reference": "boosted", "noise": main_noise(data), "r": r}
    panels = {}
    for title, (of, matching) in SWEPT.items():
        rows = [table.get(of[0], **about, matching=matching, **kind) for kind in every]
        if any(rows):
            panels[title] = rows, "% of the margin" if of is SCALE_FREE else "points of probability"
    return plots.intervals(panels, [named(kind) for kind in every], scale=100.0) if panels else None


def shade(axes: Axes) -> None:
    """Grey where noise is no longer local; a thin line where it reaches as far as the perturbation itself."""
    low, high = axes.get_xlim()
    if high > LOCAL:
        axes.axvspan(max(LOCAL, low), high, color="#f1f1f1", zorder=0, linewidth=0)
    if low < 1 < high:
        axes.axvline(1, color="#bbbbbb", linewidth=0.7, linestyle=(0, (3, 2)), zorder=0.5)


def main_noise(data: xr.Dataset) -> str:
    """The noise that most figures are of."""
    return first_noise(data.noise.values.tolist())


def comparisons(data: xr.Dataset, table: Table) -> dict[str, xr.Dataset]:
    """The curves of the main figure, of all populations as they were found and of the twins at equal confidence; with
    `linear`, what the classifier linearised at each input loses.
    """
    every, found, kind = (*compared(data), *CONTROLS, "user"), {}, main_noise(data)
    for name, (_, _, of, rows) in COMPARISONS.items():
        cube = drawn(table, ("genuine", *TWINS.values()) if rows else every, "r", name=of[0], noise=kind, **rows)
        linear = drawn(
            table, ("genuine", *TWINS.values()) if rows else MAIN, "r", name=LINEAR[of][0], noise=kind, **rows
        )
        if cube is not None:
            found[name] = cube if linear is None else cube.assign(linear=linear.value)
    return found


def curves(data: xr.Dataset, table: Table, *, across: bool) -> Figure | None:
    """A panel a comparison of drop against radius, and the same with only r <= 0.3, which the whole range hides.

    across: both columns wide, with comparisons side by side; else one column wide, with comparisons stacked.
    """
    found = comparisons(data, table)
    if not found:
        return None
    local = data.r.values <= LOCAL * 1.01
    ranges = [np.ones_like(local)] if local.sum() < 2 or local.all() else [np.ones_like(local), local]
    if across:
        places = [(name, levels) for levels in ranges for name in found]
        room = {"columns": len(found), "height": 1.6, "left": 0.66, "gap": (0.72, 0.42), "top": 0.6}
    else:
        places = [(name, levels) for name in found for levels in ranges]
        room = {"columns": len(ranges), "height": 1.35, "left": 0.48, "gap": (0.42, 0.43)}
        room |= {"width": style.COLUMN, "top": 0.86}
    figure, panels = style.panels(len(places), **room)
    for axes, (name, levels) in zip(panels, places, strict=True):
        cube, (title, ylabel, *_) = found[name].sel(r=data.r.values[levels]), COMPARISONS[name]
        plots.curves(axes, cube, "r", band=True)
        for one in cube.get("linear", ()):
            color = style.look(one.population.item()).color
            axes.plot(cube.r.values, one.values, color=color, linestyle=":", linewidth=1.0)
        plots.fit(axes, cube, MAIN)
        if levels.all():
            shade(axes)
            axes.set_title(title)
        else:
            axes.set_title(f"{title}, r ≤ {LOCAL}" if across else f"r ≤ {LOCAL}")
        axes.set_ylabel(ylabel if across or levels.all() else "")
    style.shared_labels(figure, x=RADIUS)
    linear = [STRAIGHT] * any("linear" in cube for cube in found.values())
    plots.legend(figure, found.values(), "95 % band", columns=4 if across else 2, also=linear)
    return figure


@of_one_kind
def curves_table(data: xr.Dataset, table: Table) -> list[tuple]:
    """The rows of the main figure."""
    rows: list[tuple] = [("comparison", "population", "r", *ENDS)]
    for name, cube in comparisons(data, table).items():
        for row in cube.to_dataframe().dropna(subset="value").reset_index().to_dict("records"):
            rows.append((name, row["population"], row["r"], *(row[end] for end in ENDS)))
    return rows


@of_one_kind
def pictures(data: xr.Dataset, table: Table) -> Figure | None:
    """Rows: genuine, adversarial, boosted with the predicted class, then the differences on one symmetric scale."""
    rows = [name for name in ("genuine", "adversarial", "boosted") if name in data.population]
    some = data.isel(shown=slice(PICTURED)).sel(population=rows)
    first = data[["prediction", "label"]].isel(member=0).sel(population=rows, example=some.shown.values)
    images = some.pictures.transpose("population", "shown", "height", "width", "channel").values.astype(np.float64)
    changes, classes, shown = images[1:] - images[:1], figures.names(data, "class"), []
    scale = float(np.nanmax(np.abs(changes), initial=0.0)) or 1.0
    for name, own, predicted in zip(rows, images, first.prediction.values.astype(int), strict=True):
        texts = [style.plain(classes[k], limit=9) for k in predicted]
        frames = [RIGHT if right else WRONG for right in predicted == first.label.values]
        shown.append(ImageRow(style.look(name).label, style.INK, list(own), texts=texts, frames=frames))
    for name, change in zip(rows[1:], changes, strict=True):
        label = f"{style.look(name).label}\n− genuine"
        shown.append(ImageRow(label, style.INK, list(signed(change, scale)), 0.05, right=f"±{scale:.2g}"))
    return image_grid(shown, margin=1.05, cell=0.52, room=0.4)


@of_one_kind
def classes(data: xr.Dataset, table: Table) -> Figure | None:
    """Mean drop by true class: one small panel a class, or every class as a thin line when there are many."""
    cube = drawn(table, TWO_BY_TWO, "class", "r", name="input_flatness.class_drop")
    if cube is None:
        return None
    if cube.sizes["class"] > plots.MANY:
        return plots.thin_curves(cube, "class", "r", (RADIUS, FALL), LOCAL, decorate=shade)
    room = {"columns": 5, "height": 0.85, "gap": (0.16, 0.32), "sharex": True, "sharey": True}
    title = partial(style.plain, limit=19)
    return plots.small_multiples(cube, "class", "r", (RADIUS, FALL), title=title, decorate=shade, **room)


@of_one_kind
def shares(data: xr.Dataset, table: Table) -> Figure | None:
    """Where the noisy copies go: kept, returned to the true class, elsewhere; stacked to one."""
    names = [f"input_flatness.{part}" for part in ("kept", "returned", "elsewhere")]
    cube = drawn(table, compared(data), "name", "r", name=names)
    if cube is None:
        return None
    figure, panels = style.panels(cube.sizes["population"], columns=3, height=1.0, sharex=True, sharey=True)
    for axes, population in zip(panels, cube.population.values.tolist(), strict=True):
        x, values = cube.r.values, cube.value.sel(population=population, name=names).values
        style.log_x(axes, x)
        if len(x) == 1:  # a single level has no area: widen it to a bar
            x, values = np.array(axes.get_xlim()), np.repeat(values, 2, axis=1)
        areas = axes.stackplot(x, values, colors=[*SHARES.values()], edgecolor="white", linewidth=0.4)
        axes.set(xlim=(x.min() * 0.999, x.max() * 1.001), ylim=(0, 1), title=style.look(population).label)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    style.legend_above(figure, areas, [*SHARES], columns=3)
    style.shared_labels(figure, RADIUS, "share of noisy copies")
    return figure


@of_one_kind
def weights(data: xr.Dataset, table: Table) -> Figure | None:
    """Drop of probability when the weights move instead of the input, one panel a kind of weight noise."""
    cube = drawn(table, compared(data), "weight_noise", "xi", name="weight_sharpness.probability_drop")
    size = "size of the weight noise ξ (relative to the weights; additive: in weight units)"
    room = {"columns": 4, "height": 1.5, "gap": (0.46, 0.4)}
    return cube and plots.small_multiples(cube, "weight_noise", "xi", (size, FALL), title=_kind, **room)


@of_one_kind
def noises(data: xr.Dataset, table: Table) -> Figure | None:
    """The main comparison under every kind of input noise, one panel a kind."""
    cube = drawn(table, compared(data), "noise", "r", name=DROP[0])
    room = {"columns": 3, "height": 0.95, "gap": (0.46, 0.4)}
    return cube and plots.small_multiples(cube, "noise", "r", (RADIUS, FALL), title=_kind, decorate=shade, **room)


@of_one_kind
def relative(data: xr.Dataset, table: Table) -> Figure | None:
    """Differences in relative flatness under each matching, a panel a pair of populations."""
    panels = {}
    for a, b in PAIRS:
        rows = [
            table.get("weight_sharpness.relative_flatness", population=a, reference=b, matching=how)
            for how in style.MATCHINGS
        ]
        if any(rows):
            panels[f"{style.look(a).label} − {style.look(b).label}"] = rows, "logits²"
    return plots.intervals(panels, [*style.MATCHINGS.values()], columns=3) if panels else None


@of_one_kind
def along(data: xr.Dataset, table: Table) -> Figure | None:
    """Measures by position along the attack, above, and at equal log-odds on both sides of its flip, beneath."""
    titles = {name: title for name, title in LOCAL_MEASURES.items() if f"along_{name}" in data}
    found = {name: table.select(f"{OF_WAY[name]}.along.{name}", reference=None) for name in titles}
    if not any(found.values()):
        return None
    layout = {"height": 1.25, "left": 0.4, "top": 0.86, "bottom": 0.45, "gap": (0.46, 0.55)}
    figure, panels = style.panels(2 * len(titles), columns=len(titles), **layout)
    for above, beneath, (name, title) in zip(panels, panels[len(titles) :], titles.items(), strict=False):
        ways = found[name].cube("population", "position")
        looks = {way: style.look(way) for way in ways.population.values.tolist()}
        plots.lines(above, ways, "position", "population", looks, ends=BAND)
        above.axvline(0, color="#888888", linewidth=0.7, linestyle=(0, (3, 2)), zorder=0.5)
        above.set_title(title)
        above.set_xticks([-1, 0, 1], ["image", "flip", "end"])
        across = table.select(f"{OF_WAY[name]}.across_flip.{name}", reference=None)
        if across:
            plots.lines(
                beneath, across.cube("population", "at_log_odds"), "at_log_odds", "population", SIDES, ends=BAND
            )
        for axes in (above, beneath):
            axes.set_ylim(min(0, axes.get_ylim()[0]))
    style.shared_labels(figure, x="beneath: log-odds of the predicted class (nats), equal on both sides of the flip")
    drawn_ways = dict.fromkeys(row["population"] for own in found.values() for row in own)
    plots.key(figure, [*map(style.look, drawn_ways), *SIDES.values()], columns=3)
    return figure


@of_one_kind
def all_comparisons(data: xr.Dataset, table: Table) -> Figure | None:
    """Adversarial minus genuine or boosted inputs near r = 0.3 in each matching, measure and noise, in order."""
    rows = specifications(table, nearest(data.r.values, LOCAL))
    choices = {
        "than": [BESIDE[row["reference"]] for row in rows],
        "matching": [style.MATCHINGS[row["matching"]] for row in rows],
        "measure": [MEASURES[row["name"]] for row in rows],
        "noise": [_kind(row["noise"]) for row in rows],
    }
    known = {"than": [*BESIDE.values()], "matching": [style.MATCHINGS[name] for name in MATCHINGS]}
    known["measure"] = [*MEASURES.values()]
    known["noise"] = [_kind(name) for name in data.noise.values.tolist()]
    title = "adversarial minus\nreference (points)"
    return plots.specification_curve(rows, choices, known, title, scale=100.0) if rows else None


def _kind(name: str) -> str:
    return style.plain(name).replace("linf", "L∞")


def audit(data: xr.Dataset, table: Table) -> Figure | None:
    """Robust accuracy against the attack's radius, one line an attack."""
    known = data.audit.dropna("audit_attack", how="all")
    if not len(known):
        return None
    figure, (axes,) = style.panels(1, columns=1, width=style.PAGE * 0.7, height=1.9, right=1.4, top=0.12)
    for one, color, marker in zip(known, style.EXTRA_COLORS, "os^Dv<>P", strict=False):
        one = one.dropna("audit_epsilon")
        label = style.plain(one.audit_attack.item(), limit=18)
        axes.plot(one.audit_epsilon.values, one.values, color=color, marker=marker, label=label)
    axes.set(ylim=(-0.02, 1.02), ylabel="robust accuracy", xlabel="attack radius ε (pixels, images in [0, 1])")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.grid()
    axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1.0), borderaxespad=0)
    return figure


@of_one_kind
def histograms(data: xr.Dataset, table: Table) -> Figure | None:
    """Per-input flatness at r near 0.3, one row a population."""
    kind, near = main_noise(data), nearest(data.r.values, LOCAL)
    values = pooled(data, data.input_probability_drop.sel(noise=kind, r=near))
    label = f"{FALL} of one input at r = {near:.2g}, {_kind(kind)} noise"
    return plots.histogram_rows(values, label) if values else None


@of_one_kind
def matching(data: xr.Dataset, table: Table) -> Figure | None:
    """Standardised differences of log-odds before and after matching, and the share kept; one line or dot a member."""
    quality = match_quality(data)
    if quality is None or not np.isfinite([quality.smd_before, quality.smd_after]).any():
        return None
    figure, (left, right) = style.panels(2, columns=2, height=1.4, top=0.25, gap=(0.65, 0.0))
    color = style.look("adversarial").color
    left.axhspan(-BALANCED, BALANCED, color="#e9e9e9", linewidth=0, zorder=0)
    left.axhline(0, color="#888888", linewidth=0.6)
    left.plot([0, 1], np.stack([quality.smd_before, quality.smd_after]), color=color, marker="o", alpha=0.7)
    left.set_xticks([0, 1], ["before matching", "after"])
    left.set(xlim=(-0.2, 1.2), ylabel="log-odds difference (SDs)", title="adversarial − genuine")
    spots = np.arange(quality.sizes["member"])
    right.bar(spots, quality.share_kept.values, color=color, alpha=0.75, width=0.7)
    right.set(ylim=(0, 1), xlabel="classifier", ylabel="share kept", title="adversarial inputs with a partner")
    right.set_xticks(spots[:: -(-len(spots) // 8)])
    right.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return figure


FIGURES = (
    FigureSpec(
        "sweep",
        "What training changes",
        "Adversarial minus boosted inputs near r = 0.3, with 95 % intervals, for each swept value: above zero the "
        "landscape is sharper around adversarial inputs. The figures below show the first value.",
        ("input_probability_drop",),
        sweep,
        when=lambda data, table: len(strata_of(table)) > 1,
    ),
    FigureSpec(
        "flatness",
        "How fast the prediction fades as the input moves",
        "A higher line is a sharper landscape: the tracked class loses more under noise of radius r, in units of the "
        "attack's own perturbation. Inputs in blue are classified correctly, those in warm colours wrongly; squares "
        "were found by a search. Compare adversarial with genuine inputs, and with boosted ones, which come from the "
        "same search: at equal confidence, where both are moved to the log-odds of their clean image. Dotted: what a "
        "linear classifier with the same gradients would lose; what is lost above that is beyond linear, and comes of "
        "curvature. The panels with r up to 0.3 magnify the local part (the wide band of few natural errors may be cut "
        "off). Shaded: r above 0.3 is no longer local, and beyond about 1 (thin dashed) noise around an adversarial "
        "input reaches back to its image.",
        ("input_probability_drop",),
        of_one_kind(partial(curves, across=True)),
        narrow=of_one_kind(partial(curves, across=False)),
        table=curves_table,
        optional=True,
    ),
    FigureSpec(
        "comparisons",
        "Every way of comparing",
        "Each dot is one comparison of adversarial with genuine or boosted inputs near r = 0.3, with its 95 % interval "
        "(grey where that holds 0), in order of size; the marks beneath say which matching, measure and kind of noise "
        "it is of. Above zero the landscape is sharper around adversarial inputs: an answer holds as far as it does "
        "not hang on the choice.",
        ("input_probability_drop", "input_margin_drop"),
        all_comparisons,
        optional=True,
    ),
    FigureSpec(
        "pictures",
        "The inputs themselves",
        "Beneath each picture is its predicted class; the frame is blue where that is right, orange where it is "
        "wrong. The lower rows show what the search added, on one scale whose limit is on the right (in colour "
        "images, mid-grey is no change).",
        ("pictures",),
        pictures,
        kind="png",
    ),
    FigureSpec(
        "classes",
        "Class by class",
        "The raw curves averaged within each true class: if the order of the lines is the same in every panel, no "
        "single class makes the result. With more than 20 classes each is a thin line; the most and the least "
        "sensitive at r near 0.3 are named.",
        ("input_probability_drop",),
        classes,
        optional=True,
    ),
    FigureSpec(
        "histograms",
        "Input by input",
        "Each row is the distribution over single inputs of their drop near r = 0.3 (share of inputs; black: median): "
        "does the mean stand for many inputs, or hide two kinds? Members and images are pooled, so n counts (member, "
        "image) pairs.",
        ("input_probability_drop", "valid"),
        histograms,
        optional=True,
    ),
    FigureSpec(
        "shares",
        "Where the noisy copies go",
        "Share of noisy copies that keep the tracked class, return to the true class, or go elsewhere: a return to "
        "the true class is a different geometry from a move to a third class.",
        ("input_kept", "input_returned"),
        shares,
        optional=True,
    ),
    FigureSpec(
        "noises",
        "Other kinds of input noise",
        "The same comparison under each kind of noise, with pointwise 95 % intervals: the order of the lines should "
        "not depend on the kind.",
        ("input_probability_drop",),
        noises,
        optional=True,
    ),
    FigureSpec(
        "weights",
        "When the weights move instead",
        "Drop of the tracked class's probability as noise of size ξ is added to the weights, with pointwise 95 % "
        "intervals and a scale for each kind: the higher a line, the more the prediction depends on the exact weights.",
        ("weight_probability_drop",),
        weights,
        optional=True,
    ),
    *measure_figures.FIGURES,
    FigureSpec(
        "relative",
        "Relative flatness of the last layer",
        "Differences in the curvature of the loss in the last layer's weights, times the size of these weights, with "
        "95 % intervals: left of zero, adversarial inputs lie in a flatter place. It vanishes as confidence grows, so "
        "what remains is what the rows at equal confidence show. The second row is of the same images as the third.",
        ("relative_flatness",),
        relative,
        optional=True,
    ),
    FigureSpec(
        "along",
        "Along the way of an attack",
        "Above, measures from the image (left) over the flip of the class (middle) to the end of the budget, and on "
        "the boosted way after as many steps. What rises to the flip and falls after it may do so because confidence "
        "does the opposite. Beneath, both sides of the flip at equal confidence: where orange lies under blue, the "
        "wrong side is the flatter one. 95 % bands.",
        ("along_log_odds",),
        along,
        optional=True,
    ),
    FigureSpec(
        "matching",
        "How well adversarial inputs match genuine ones",
        "One line for each classifier: after matching, the standardised difference of log-odds should lie within the "
        "grey band (0.1). The share kept is that of adversarial inputs which the matched comparison uses.",
        ("log_odds",),
        matching,
        optional=True,
    ),
    FigureSpec(
        "audit",
        "Is the attack sound?",
        "Accuracy left under each attack as its radius grows: every line should fall steadily, and the iterated "
        "attacks should lie below the single step, which lies below transfer and noise. In a sweep, lines are means "
        "over all members.",
        ("audit",),
        audit,
    ),
)
