"""Figures of a latent run: curves and intervals come from the table, distributions and pictures from the dataset."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from landscape.experiments.latent import portraits
from landscape.experiments.latent.estimates import main_family
from landscape.experiments.latent.looks import (
    DASHED,
    DOTTED,
    GREY,
    REFERENCE,
    curve,
    family_key,
    in_order,
    mixed,
    radius_axis,
    sampler_look,
    samplers,
)
from landscape.experiments.latent.pictures import global_pictures, of_main_family, path_pictures, pictures
from landscape.reporting import figures, plots, style
from landscape.reporting.figures import FigureSpec
from landscape.reporting.style import Look
from landscape.stats.table import ENDS, Row, Table

REACH, OWN_CLASS = "size s of noise, reach s of chains (white units)", "probability of own class"
WHO = ("guided, own classifier", "guided, held out", "noise, own classifier", "noise, held out")


# ---- chains near embeddings ----


def confidence(axes: Axes, data: xr.Dataset, table: Table, family: str) -> bool:
    """Probability of the own class along chains of the first sampler and under noise, by both classifiers."""
    drawn, color, kernel = False, style.look(family).color, samplers(data, family)[0]
    for who, line in (("own", "-"), ("held_out", DASHED)):
        noise = table.select("confidence.noise", family=family, noise="gaussian", classifier=who)
        guided = table.select("confidence.local", family=family, kernel=kernel, classifier=who)
        marker = "o" if who == "own" else ""
        drawn |= curve(axes, noise, "radius", Look("", GREY, line, marker))
        drawn |= curve(axes, guided, "radius", Look("", color, line, marker))
    decoded = table.get("confidence.decoded", family=family, classifier="own")
    if decoded:
        axes.axhline(decoded["value"], color=GREY, linewidth=0.7, linestyle=DOTTED)
    radius_axis(axes, data)
    axes.set_ylim(-0.02, 1.02)
    return drawn


def key(color: str) -> list[Line2D]:
    """What the lines of `confidence` are."""
    pairs = ((color, "-"), (color, DASHED), (GREY, "-"), (GREY, DASHED))
    return [Line2D([], [], color=c, linestyle=line, marker="o" if line == "-" else "") for c, line in pairs]


def gains(axes: Axes, data: xr.Dataset, table: Table) -> None:
    """What guided chains keep beyond noise, a line a family; of many families one interval alone, or none is seen."""
    names = in_order(data)
    for family in names:
        kernel = samplers(data, family)[0]
        rows = table.select("confidence.gain", family=family, kernel=kernel, classifier="own")
        curve(axes, rows, "radius", style.look(family), band=len(names) <= 3 or family == main_family(names))
    axes.axhline(0, color=GREY, linewidth=0.6)
    radius_axis(axes, data)


def chains(data: xr.Dataset, table: Table, *, narrow: bool = False) -> Figure | None:
    """Pictures of guided chains of one family; beneath them its probabilities, and all families' differences."""
    family, below = main_family(in_order(data)), 4.3 if narrow else 2.45
    width = style.COLUMN if narrow else style.PAGE
    figure = of_main_family(data, 4 if narrow else 6, narrow=narrow, below=below) or Figure(figsize=(width, below))
    height, left = figure.get_figheight(), 0.55
    across = width - left - 0.12 if narrow else (width - left - 0.8) / 2
    places = ((left, 2.42), (left, 0.42)) if narrow else ((left, 0.42), (left + across + 0.68, 0.42))
    panels = [figure.add_axes((x / width, y / height, across / width, 1.3 / height)) for x, y in places]
    if not confidence(panels[0], data, table, family):
        return None
    gains(panels[1], data, table)
    panels[0].set(ylabel=OWN_CLASS, xlabel="size, reach s (white units)")
    panels[1].set(ylabel="guided − noise", xlabel="size, reach s (white units)")
    place = {"loc": "lower left", "bbox_to_anchor": (-0.02, 1.0), "handletextpad": 0.5, "columnspacing": 1.2}
    place["fontsize"] = 6.5 if narrow else 7
    panels[0].legend(
        key(style.look(family).color), [f"{style.look(family).label}: {WHO[0]}", *WHO[1:]], ncols=2, **place
    )
    panels[1].legend(*family_key(in_order(data)), ncols=4, **place)
    return figure


def chains_narrow(data: xr.Dataset, table: Table) -> Figure | None:
    return chains(data, table, narrow=True)


def chains_table(data: xr.Dataset, table: Table) -> list[tuple]:
    """The rows behind the curves: confidence along chains, under noise, and their difference."""
    columns = ("name", "family", "kernel", "noise", "radius", "classifier", *ENDS[:3])
    rows = table.select(["confidence.local", "confidence.noise", "confidence.gain"])
    return [columns, *(tuple("" if row.get(c) is None else row[c] for c in columns) for row in rows)]


def guided(data: xr.Dataset, table: Table) -> Figure | None:
    """The curves of the main figure, a panel a family."""
    names = in_order(data)
    figure, panels = style.panels(len(names), columns=4, height=1.15, top=0.45, gap=(0.12, 0.4), sharey=True)
    drawn = [confidence(axes, data, table, family) for axes, family in zip(panels, names, strict=True)]
    for place, (axes, family) in enumerate(zip(panels, names, strict=True)):
        look = style.look(family)
        axes.set_title(f"{look.label}, {sampler_look(samplers(data, family)[0], look.color).label}", color=look.color)
        axes.tick_params(axis="y", labelleft=place % 4 == 0)
    style.shared_labels(figure, REACH, OWN_CLASS)
    style.legend_above(figure, key("#333333"), list(WHO), columns=4)
    return figure if any(drawn) else None


BEHAVIOUR = (  # estimate, title, limits of y
    ("confidence.local", "own class", (-0.03, 1.03)),
    ("distance.local_drift", "drift (white units)", None),
    ("acceptance.local", "acceptance", (-0.03, 1.03)),
    ("rhat.local_converged", "R-hat below 1.1", (-0.03, 1.03)),
    ("ess.local", "effective samples", (0, None)),
)


def behaviour(data: xr.Dataset, table: Table) -> Figure | None:
    """Rows families, columns what chains report of themselves, against s; a line a sampler."""
    names, width = in_order(data), len(BEHAVIOUR)
    room = {"height": 0.72, "left": 0.98, "top": 0.5, "gap": (0.42, 0.17), "bottom": 0.4}
    figure, panels = style.panels(len(names) * width, columns=width, **room)
    drawn = False
    for place, axes in enumerate(panels):
        (family, column), color = (names[place // width], place % width), style.look(names[place // width]).color
        name, title, limits = BEHAVIOUR[column]
        for kernel in samplers(data, family):
            rows = table.select(name, family=family, kernel=kernel, classifier="own" if column == 0 else None)
            drawn |= curve(axes, rows, "radius", sampler_look(kernel, color))
        if name == "acceptance.local":
            changed = table.select("acceptance.local_changed", family=family, kernel="gibbs")
            curve(axes, changed, "radius", Look("", color, DOTTED, "."))
        radius_axis(axes, data)
        if limits:
            axes.set_ylim(*limits)
        elif axes.lines:  # codes may not move at all
            axes.set_yscale("log")
            axes.set_ylim(bottom=max(axes.get_ylim()[0], data.radius.values.min() / 10))
            style.log_axis(axes.yaxis, *axes.get_ylim(), small=True)
        axes.tick_params(labelbottom=place // width == len(names) - 1)
        if place < width:
            axes.set_title(title, fontsize=7, loc="center")
        if column == 0:
            axes.set_ylabel(style.look(family).label, color=color, rotation=0, ha="right", va="center")
    style.shared_labels(figure, "reach s (white units)")
    looks = [sampler_look(kernel, "#777777") for kernel in figures.names(data, "kernel")]
    keys = [Line2D([], [], color=s.color, linestyle=s.line, marker=s.marker, markersize=3) for s in looks]
    style.legend_above(figure, keys, [s.label for s in looks], columns=6)
    return figure if drawn else None


# ---- chains that may go anywhere ----


REACHED = (  # estimate, title, unit of x
    ("confidence.global", "a  class reached", "probability"),
    ("agreement.next_class", "b  class kept", "share of steps"),
    ("rhat.global_converged", "c  converged", "share with R-hat < 1.1"),
    ("ess.global", "d  sample size", "effective samples"),
)


def reached(data: xr.Dataset, table: Table) -> Figure | None:
    """A row a sampler: class reached, class kept, convergence, sample size."""
    runs = [(family, kernel) for family in in_order(data) for kernel in samplers(data, family)]
    looks = [style.look(family) for family, _ in runs]
    labels = [f"{s.label}  {sampler_look(kernel, s.color).label}" for s, (_, kernel) in zip(looks, runs, strict=True)]
    room = {"height": max(1.0, 0.25 * len(runs)), "left": 0.98, "top": 0.47, "gap": (0.25, 0.3), "right": 0.16}
    figure, panels = style.panels(len(REACHED), columns=4, **room)

    def rows(name: str, **about: Any) -> list[Row | None]:
        return [table.get(name, family=family, kernel=kernel, **about) for family, kernel in runs]

    colors, drawn = [s.color for s in looks], False
    for place, (axes, (name, title, unit)) in enumerate(zip(panels, REACHED, strict=True)):
        if place == 0:
            above, under = rows(name, classifier="own"), rows(name, classifier="held_out")
            plots.interval_rows(axes, under, colors, shift=0.17, hollow=True)
            axes.axvline(1 / data.sizes["class"], **REFERENCE)
        else:
            above, under = rows(name, guidance="guided"), rows(name, guidance="unguided")
            plots.interval_rows(axes, under, [GREY] * len(runs), shift=0.17)
        plots.interval_rows(axes, above, colors, shift=-0.17)
        drawn |= any(above)
        plots.name_rows(axes, labels, colors)
        axes.tick_params(axis="y", length=0, labelleft=place == 0)
        axes.set(title=title, xlabel=unit)
        axes.set_xlim(*((-0.03, 1.03) if place < 3 else (0, None)))
    keys = [Line2D([], [], color=c, marker="o", linestyle="", markerfacecolor=f) for c, f in (
        ("#444444", "#444444"), ("#444444", "white"), (GREY, GREY))]  # fmt: skip
    style.legend_above(figure, keys, ["guided", "guided, held-out classifier", "unguided"], columns=3)
    return figure if drawn else None


def mixing(data: xr.Dataset, table: Table) -> Figure | None:
    """P(next class | class) along the chains of each family's first sampler: guided above, unguided beneath."""
    shown, sides, families = [], [], in_order(data)
    columns = min(5, len(families))
    for block in (families[i : i + columns] for i in range(0, len(families), columns)):
        for which in figures.names(data, "guidance"):
            for family in block:
                counts = data.mixing.sel(family=family, kernel=samplers(data, family)[0], guidance=which)
                counts = counts.sum("member").transpose("class", "next_class").values
                visits = counts.sum(axis=1, keepdims=True)
                stay = 100 * np.trace(counts) / max(counts.sum(), 1)
                shares = np.where(visits > 0, counts / np.maximum(visits, 1), np.nan)
                shown.append((f"{style.look(family).label}: {stay:.0f} %", shares))
                sides.append(which)
            shown += [("", None)] * (columns - len(block))
            sides += [which] * (columns - len(block))
    limits = (0.0, float(np.nanmax([shares for _, shares in shown if shares is not None])))
    labels, about = ("class of the next kept state", "class of a kept state"), {"names": figures.names(data, "class")}
    return plots.matrices(shown, columns, labels, limits=limits, cmap="Blues", sides=sides[::columns], **about)


# ---- noise and paths ----


def noise(data: xr.Dataset, table: Table) -> Figure | None:
    """Curves over the size of the noise, a colour a family; right, how sure the classifier is of prior draws."""
    names = in_order(data)
    figure, panels = style.panels(3, columns=3, height=1.75, left=0.55, top=0.48, gap=(0.6, 0.3), bottom=0.42)
    drawn = False
    for axes, name, label in (
        (panels[0], "confidence.noise", OWN_CLASS),
        (panels[1], "distance.noise", "distance (L2, pixels)"),
    ):
        for family in names:
            for kind, line in (("gaussian", "-"), ("shell", DASHED)):
                who = "own" if name.startswith("confidence") else None
                rows = table.select(name, family=family, noise=kind, classifier=who)
                look = Look("", style.look(family).color, line, "." if kind == "gaussian" else "")
                drawn |= curve(axes, rows, "radius", look, band=kind == "gaussian" and len(names) <= 3)
        radius_axis(axes, data)
        axes.set(xlabel="size s (white units)", ylabel=label)
        axes.set_ylim(*((-0.02, 1.02) if name.startswith("confidence") else (0, None)))
    for place, family in enumerate(names):
        low, left, middle, right, high = np.nanpercentile(data.prior_confidence.sel(family=family), (5, 25, 50, 75, 95))
        color = style.look(family).color
        panels[2].plot([low, high], [place, place], color=color, linewidth=1.0)
        panels[2].plot([left, right], [place, place], color=color, linewidth=4.0, solid_capstyle="butt")
        panels[2].plot(middle, place, "|", color="#222222", markersize=8)
    plots.name_rows(panels[2], [style.look(name).label for name in names], [style.look(name).color for name in names])
    panels[2].set(title="draws of the prior", xlabel="largest class probability", xlim=(0, 1))
    keys, labels = family_key(names)
    keys += [Line2D([], [], color="#555555", linestyle=line) for line in ("-", DASHED)]
    style.legend_above(figure, keys, [*labels, "Gaussian", "shell"], columns=10)
    return figure if drawn else None


def paths(data: xr.Dataset, table: Table) -> Figure | None:
    """Stacked probabilities along paths: a column a family, a row a kind of path."""
    table = table.select(["path.first_class", "path.last_class"])
    kinds, names = figures.names(data, "path"), [f for f in in_order(data) if len(table.select(family=f))]
    if not names:
        return None
    columns = min(5, len(names))
    blocks = [names[i : i + columns] for i in range(0, len(names), columns)]
    grid = [(family, kind) for block in blocks for kind in kinds for family in (*block, *[""] * (columns - len(block)))]
    room = {"left": 0.72, "top": 0.45, "gap": (0.12, 0.28 if len(blocks) == 1 else 0.42)}
    figure, panels = style.panels(len(grid), columns=columns, height=0.95, **room)
    for place, (axes, (family, kind)) in enumerate(zip(panels, grid, strict=True)):
        if not family:
            axes.remove()
            continue
        cube, color = (
            table.select(family=family, path=kind).cube("name", "classifier", "t").value,
            style.look(family).color,
        )
        first, last = (cube.sel(classifier="own", name=f"path.{end}_class").values for end in ("first", "last"))
        axes.stackplot(
            cube.t, first, 1 - first - last, last, colors=[color, "#d0d0d0", mixed(color, 0.55)], linewidth=0
        )
        first, last = (cube.sel(classifier="held_out", name=f"path.{end}_class").values for end in ("first", "last"))
        axes.plot(cube.t, np.transpose([first, 1 - last]), color="white", linewidth=1.6)
        axes.plot(cube.t, np.transpose([first, 1 - last]), color="#222222", linewidth=0.8, linestyle=DASHED)
        axes.set(xlim=(0, 1), ylim=(0, 1))
        axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
        axes.tick_params(labelleft=place % columns == 0, labelbottom=kind == kinds[-1])
        if kind == kinds[0]:
            axes.set_title(style.look(family).label, color=color)
        if place % columns == 0:
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


FIGURES = (
    FigureSpec(
        "chains",
        "What lies around embeddings, guided toward their class",
        "Pictures: a test image, what its embedding decodes to, and states of chains that reach s white units (1 is a "
        "typical spread of the latent) while the seed's own classifier guides toward the image's class, beside "
        "unguided noise of that size (first seed). Below, left: where the coloured line stays above the grey one, "
        "guidance finds the class where chance would lose it; where dashed falls below solid, it finds what only its "
        "guide believes (dotted: the embedding itself). Right: the difference of guided chains and noise, for every "
        "family. Bands are 95 % intervals.",
        ("local_probability", "around_probability", "picture_local", "picture_path"),
        chains,
        narrow=chains_narrow,
        table=chains_table,
    ),
    FigureSpec(
        "guided",
        "The same curves for every family",
        "A larger gap between colour (chains) and grey (noise) is more of the class in directions that chance seldom "
        "takes. First sampler of each family; the latents of vq and fsq are codes, whose s is in typical distances of "
        "a code from their mean.",
        ("local_probability", "around_probability"),
        guided,
    ),
    FigureSpec(
        "pictures",
        "The same embedding in every family",
        "Columns as in the first figure, then decoded draws of the prior, which is fitted to the latents where the "
        "family has none of its own; not chosen, first seed.",
        ("picture_local", "picture_around", "picture_prior", "picture_path"),
        pictures,
        kind="png",
    ),
    FigureSpec(
        "samplers",
        "Do the samplers agree, and have they converged?",
        "Samplers of one target should lie on one line in the first two columns. Drift is the root mean square "
        "distance from the embedding. Converged: share of embeddings whose chains, begun apart, are alike. The "
        "effective sample size is of the worst dimension; of codes it and R-hat are of the log density. Dotted beside "
        "the acceptance of codes: the share of steps that change one.",
        ("local_probability", "local_drift", "local_ess"),
        behaviour,
    ),
    FigureSpec(
        "reached",
        "Chains that may go anywhere",
        "Guided toward each class in turn (colour) or not at all (grey), with 95 % intervals; dashed in a is an even "
        "share. Families without a prior of their own (all but vae and sphere) take the Gaussian fitted to their "
        "latents, or the frequencies of their codes. Poor mixing between classes (grey near 1 in b, low c) is a "
        "finding about the latent space, not an error, though few effective samples leave open whether longer chains "
        "would mix. Samplers keep states at different intervals, so compare b within one.",
        ("global_probability", "global_rhat", "mixing"),
        reached,
    ),
    FigureSpec(
        "mixing",
        "From class to class along these chains",
        "Row: predicted class of a kept state, column: of the next one, all chains and seeds of the first sampler; "
        "rows sum to 1, sand-coloured rows were never visited; above, the share of steps within a class. Unguided, a "
        "dark diagonal is a latent space whose classes are islands, a dark column a class that much of the latent "
        "decodes to. Guided, chains toward all classes are pooled, so the diagonal also says how firmly guidance "
        "holds its class.",
        ("mixing",),
        mixing,
    ),
    FigureSpec(
        "global_pictures",
        "Where chains toward each class end",
        "Last state of a chain guided toward the class above, first seed and sampler, not chosen.",
        ("picture_global",),
        global_pictures,
        kind="png",
    ),
    FigureSpec(
        "measures",
        "The latent in numbers",
        "Lines are 95 % intervals over seeds. a: dimensions given, used (active), spanned (effective, from the "
        "spectrum) and occupied (intrinsic, TwoNN, which reads low in many dimensions). b: distance of the latents "
        "from the prior (vae, sphere; filled) or from the Gaussian fitted to them (others; hollow). c: how often a "
        "classifier recognises latents beside draws of that Gaussian, 0.5 is chance. d, e: how well classes are "
        "separated. f, g: 1 is the same latent up to rotation, or up to a linear map.",
        ("spectrum", "probe"),
        portraits.measures,
    ),
    FigureSpec(
        "spectrum",
        "How many directions the latents use",
        "A curve that rises late uses its dimensions evenly.",
        ("spectrum",),
        portraits.spectrum,
    ),
    FigureSpec(
        "spread",
        "How latents are spread",
        "Thin 5 to 95 %, thick 25 to 75 %, black tick the median. A Gaussian of many dimensions has latents of one "
        "length; its skewness and excess kurtosis are 0. Negative kurtosis is flatter than a Gaussian, as with codes "
        "on a grid.",
        ("norms", "skewness", "excess_kurtosis"),
        portraits.spread,
    ),
    FigureSpec(
        "projection",
        "Test images in the latent",
        "Each panel shows the two directions of largest variance of the first seed's latents, coloured by true class; "
        "classes that overlap here may still be apart in other directions.",
        ("projection", "label"),
        portraits.projections,
    ),
    FigureSpec(
        "correlation",
        "Correlations between latent dimensions",
        "First seed, red together and blue opposite; a blank square off the diagonal is a latent whose dimensions are "
        "used independently (to second order).",
        ("correlation",),
        portraits.correlations,
        when=lambda data, table: "correlation" not in data or bool(data.correlation.notnull().any()),
    ),
    FigureSpec(
        "noise",
        "Noise around embeddings",
        "Unguided noise of growing size: the further right a line falls, the larger the region that decodes to the "
        "class; solid and dashed agree where only the distance matters. Right: decoded draws of the prior (thin 5 to "
        "95 %, thick 25 to 75 %, tick the median); far right are draws that look like a class.",
        ("around_probability", "around_moved", "prior_confidence"),
        noise,
    ),
    FigureSpec(
        "paths",
        "Between two embeddings",
        "How the classifier's probability passes from the first point's class to the last one's, mean over seeds and "
        "pairs of two different classes; grey in the middle is the price of a third class or of doubt on the way. "
        "Spherical paths keep the typical length of latents, linear ones pass nearer to the mean.",
        ("path_probability",),
        paths,
    ),
    FigureSpec(
        "path_pictures",
        "Paths as pictures",
        "Pairs of test images, from the decoded first to the decoded last point in equal steps; first seed.",
        ("picture_path",),
        path_pictures,
        kind="png",
    ),
)
