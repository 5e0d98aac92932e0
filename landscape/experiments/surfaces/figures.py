"""Figures of a surfaces run: maps of decisions and log-odds, side by side on one scale; common areas; lines."""

from collections.abc import Callable, Sequence
from itertools import product
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from landscape.reporting import figures, plots, style
from landscape.reporting.figures import FigureSpec
from landscape.reporting.style import INK, Look
from landscape.stats.table import Table

MOST = 8  # members side by side
CLASS_COLORS = style.EXTRA_COLORS[:6]
TRUE, OTHER = "#ececec", "#8a8a8a"
ALL, ANY = Look("where all classifiers err", "#000000", "-", ""), Look("where any errs", "#000000", (0, (2, 1.2)), "")
DISC = Look("as far as the further input", OTHER, "-", "")
MARKS = ("o", "^", "s")
ADVERSARIAL = ("image", "adversarial, classifier 0", "adversarial, classifier 1")  # the inputs, in the order of MARKS
ANY_KIND = ("first input", "second input", "third input")
PLANES = {
    "adversarial": Look("two adversarial examples", "#D55E00"),
    "gradient": Look("a gradient and a random direction", "#0072B2", marker="s"),
    "random": Look("random directions", "#8a8a8a", marker="^"),
    "latent": Look("in the latent of an autoencoder", "#009E73"),
    "hidden": Look("in a hidden layer", "#CC79A7"),
    "user": Look("your inputs", "#CC79A7"),
}
UNITS = {"latent": "units of the latent", "hidden": "units of the layer"}
PIXELS = "pixels"


class Drawn(NamedTuple):
    """How one value is drawn: label, how it follows from the log-odds or, by name, the margin; colours and the ends of
    their scale."""

    label: str
    of: Callable[[np.ndarray], np.ndarray]
    cmap: str
    limits: Callable[[np.ndarray], tuple[float, float]]


def _symmetric(values: np.ndarray) -> tuple[float, float]:
    end = max(float(np.quantile(np.abs(values), 0.98)), 1e-3)
    return -end, end


VALUES = {
    "log_odds": Drawn("log-odds\n(nats)", lambda o: o, "PuOr", _symmetric),
    "margin": Drawn("margin\n(logits)", lambda m: m, "PuOr", _symmetric),
    "probability": Drawn("probability", lambda o: 1 / (1 + np.exp(-o)), "cividis", lambda values: (0.0, 1.0)),
    "loss": Drawn(
        "loss (nats)", lambda o: np.logaddexp(0, -o), "cividis_r", lambda v: (0.0, float(np.quantile(v, 0.98)))
    ),
}


def of_kind(data: xr.Dataset, kind: str) -> np.ndarray:
    """Numbers of the maps of one kind."""
    return np.flatnonzero(data.map_kind.values.astype(str) == kind)


def chosen_map(data: xr.Dataset) -> int:
    """Of the adversarial planes that are mapped, the one with the largest area where all members err."""
    own = of_kind(data, "adversarial")
    wrong = (data.decision != data.map_class).isel(map=own).all("member").sum(("row", "column"))
    return int(own[np.argmax(wrong.values)])


def decisions(data: xr.Dataset, table: Table) -> Figure:
    """What each member decides in one adversarial plane, and how sure it is of the image's class."""
    return maps(data, [chosen_map(data)], ("decision", "log_odds"))


def narrow(data: xr.Dataset, table: Table) -> Figure:
    """The same of the first four members."""
    return maps(data, [chosen_map(data)], ("decision", "log_odds"), most=4, width=style.COLUMN)


def values(data: xr.Dataset, table: Table) -> Figure:
    """Margin, probability and loss in the same plane."""
    return maps(data, [chosen_map(data)], ("margin", "probability", "loss"))


def planes(data: xr.Dataset, table: Table) -> Figure:
    """The same image's plane of every other kind, and that of a user's inputs."""
    number = of_kind(data, "adversarial").tolist().index(chosen_map(data))
    others = [of_kind(data, kind) for kind in PLANES if kind != "adversarial"]
    return maps(data, [int(own[min(number, len(own) - 1)]) for own in others if len(own)], ("decision", "log_odds"))


def maps(
    data: xr.Dataset, numbers: Sequence[int], shown: Sequence[str], *, most: int = MOST, width: float = style.PAGE
) -> Figure:
    """Maps of some planes, a column a member, under one scale for each value and one colour for each class.

    Args:
      numbers: of the maps. shown: what is drawn of each, "decision" or some of VALUES. most: members at most.
    """
    members, chosen = min(data.sizes["member"], most), data.isel(map=numbers)
    looks = class_looks(chosen) if "decision" in shown else {}
    keys, columns = key_of(looks, chosen), 4 if width > style.COLUMN else 2
    room = {"left": 0.7, "right": 0.36, "bottom": 0.4, "top": 0.3 + style.LEGEND_ROW * -(-len(keys) // columns)}
    side = (width - room["left"] - room["right"] - 0.05 * (members - 1)) / members
    layout = {"columns": members, "height": side, "width": width, "gap": (0.05, 0.18 if len(numbers) > 1 else 0.06)}
    figure, panels = style.panels(members * len(numbers) * len(shown), **layout, **room)
    scales = {value: VALUES[value].limits(drawn_of(chosen, value)) for value in shown if value != "decision"}
    for line, (number, value) in enumerate(product(numbers, shown)):
        own, row = data.isel(map=number), panels[members * line : members * (line + 1)]
        for member, axes in enumerate(row):
            picture = panel(axes, own.isel(member=member), value, looks, scales.get(value))
            outlines(axes, own, member)
            axes.set_title(str(member) if line == 0 else "", loc="center", fontsize=7, pad=2)
            axes.tick_params(labelleft=member == 0, labelbottom=value == shown[-1], labelsize=5.5, length=1.5, pad=1)
        name = "decision" if value == "decision" else VALUES[value].label
        row[0].set_ylabel(f"{own.map_kind.values}\n{name}" if len(numbers) > 1 else name, fontsize=6.5)
        if value != "decision":
            bar = plots.color_bar(picture, row[-1], right=row[-1].get_position().x1 + 0.06 / width)
            bar.tick_params(labelsize=5.5, length=1.5, pad=1)
    units = dict.fromkeys(UNITS.get(str(kind), PIXELS) for kind in chosen.map_kind.values)
    style.shared_labels(
        figure, x=f"L2 distance from the first input, in {' or '.join(units)}; classifiers 0 to {members - 1}"
    )
    style.legend_above(figure, keys, [str(one.get_label()) for one in keys], columns=columns)
    return figure


def drawn_of(data: xr.Dataset, value: str) -> np.ndarray:
    """A value at every point."""
    return VALUES[value].of(data["margin" if value == "margin" else "log_odds"].values.astype(np.float32))


def class_looks(data: xr.Dataset) -> dict[int, Look]:
    """Colours of wrong classes that are predicted somewhere; the commonest ones have their own."""
    wrong = data.decision.where(data.decision != data.map_class).values
    found, count = np.unique(wrong[np.isfinite(wrong)].astype(int), return_counts=True)
    order = found[np.argsort(-count, kind="stable")].tolist()
    names, own = figures.names(data, "class"), set(data.map_class.values.tolist())
    looks = {c: Look(style.plain(names[c], limit=16), color) for c, color in zip(order, CLASS_COLORS, strict=False)}
    looks |= {c: Look("others", OTHER) for c in order[len(CLASS_COLORS) :]}
    return looks if len(own) > 1 else {c: look for c, look in looks.items() if c not in own}


def key_of(looks: dict[int, Look], data: xr.Dataset) -> list:
    """Handles of the legend: classes, outlines, marks."""
    names = figures.names(data, "class")
    own = list(dict.fromkeys(names[c] for c in data.map_class.values))
    text = f"class {style.plain(own[0], limit=16)}, the image's" if len(own) == 1 else "class of the image"
    classes = {one.label: one.color for one in looks.values()}
    keys: list = [Patch(facecolor=TRUE, edgecolor=OTHER, linewidth=0.4, label=text)] if looks else []
    keys += [
        Patch(color=color, label=label if label == "others" else f"class {label}") for label, color in classes.items()
    ]
    keys += [
        Line2D([], [], color=one.color, linestyle=one.line, linewidth=0.9, label=one.label) for one in (ALL, ANY, DISC)
    ]
    kinds = list(dict.fromkeys(data.map_kind.values.astype(str).tolist()))
    labels = ADVERSARIAL if kinds == ["adversarial"] else ANY_KIND
    how = {"linestyle": "", "color": "white", "markeredgecolor": INK, "markersize": 3.5, "markeredgewidth": 0.7}
    return keys + [Line2D([], [], marker=mark, label=label, **how) for mark, label in zip(MARKS, labels, strict=True)]


def panel(axes: Axes, own: xr.Dataset, value: str, looks: dict[int, Look], limits: tuple[float, float] | None):
    """One map of one member."""
    end = float(own.reach)
    how = {"extent": (-end, end, -end, end), "origin": "lower", "interpolation": "nearest", "aspect": "equal"}
    if value == "decision":
        colors = [TRUE, *(one.color for one in looks.values())]
        number = np.zeros(own.decision.shape, int)
        for i, c in enumerate(looks, start=1):
            number[(own.decision.values == c) & (c != own.map_class.values)] = i
        return axes.imshow(number, cmap=ListedColormap(colors), vmin=-0.5, vmax=len(colors) - 0.5, **how)
    return axes.imshow(drawn_of(own, value), cmap=VALUES[value].cmap, norm=Normalize(*limits), **how)


def outlines(axes: Axes, own: xr.Dataset, member: int) -> None:
    """Where all members err, and where any does; and the three inputs.

    In a hidden layer each member has its own plane: there is nothing that they have in common.
    """
    wrong, end = (own.decision != own.map_class).transpose("member", ...).values, float(own.reach[member])
    at = np.linspace(-end, end, wrong.shape[-1])
    if str(own.map_kind.values) != "hidden":
        for some, look in ((wrong.all(axis=0), ALL), (wrong.any(axis=0), ANY)):
            if some.any() and not some.all():
                axes.contour(
                    at, at, some.astype(float), [0.5], colors=look.color, linestyles=[look.line], linewidths=0.7
                )
    marks = own.mark.transpose("member", "input", "axis").values[member]
    turn = np.linspace(0, 2 * np.pi, 100)
    axes.plot(*np.linalg.norm(marks, axis=1).max() * np.stack([np.cos(turn), np.sin(turn)]), color=OTHER, linewidth=0.5)
    for (x, y), mark in zip(marks, MARKS, strict=True):
        axes.plot(x, y, mark, color="white", markeredgecolor=INK, markersize=3, markeredgewidth=0.6)
    axes.set(xlim=(-end, end), ylim=(-end, end))
    tick = float(f"{0.6 * end:.1g}")
    axes.set_xticks([-tick, 0, tick], [f"{-tick:g}", "0", f"{tick:g}"])
    axes.set_yticks([-tick, 0, tick], [f"{-tick:g}", "0", f"{tick:g}"])
    axes.spines[:].set_visible(False)


def decisions_table(data: xr.Dataset, table: Table) -> list[tuple]:
    """Decision and log-odds at every point of the main figure."""
    own = data.isel(map=chosen_map(data)).transpose("member", "row", "column", ...)
    side, rows = own.sizes["row"], [("member", "s", "t", "decision", "log_odds")]
    for member in range(own.sizes["member"]):
        one = own.isel(member=member)
        at = np.linspace(-float(one.reach), float(one.reach), side)
        decision, log_odds = one.decision.values, one.log_odds.values.astype(float)
        rows += [(member, at[j], at[i], int(decision[i, j]), log_odds[i, j]) for i in range(side) for j in range(side)]
    return rows


# ---- numbers ----


def common(data: xr.Dataset, table: Table) -> Figure | None:
    """The common share by the number of members, as found and as expected of independent areas."""
    rows = table.select(["shared.area", "shared.area_if_independent"], population=["adversarial", "gradient"])
    kinds = [kind for kind in ("adversarial", "gradient") if rows.select(population=kind)]
    if not kinds:
        return None
    layout = {"height": 1.6, "left": 0.55, "top": 0.5, "sharey": True, "gap": (0.2, 0.4)}
    figure, panels = style.panels(len(kinds), columns=2, **layout)
    looks = {
        "shared.area": Look("as found", "#D55E00"),
        "shared.area_if_independent": Look(CHANCE, "#8a8a8a", "--", "^"),
    }
    for axes, kind in zip(panels, kinds, strict=True):
        plots.lines_of(axes, rows.select(population=kind), "name", "count", looks, scale=100.0, room=0.1)
        axes.set_title(f"planes of {PLANES[kind].label}")
        axes.set_xticks(np.arange(2, data.sizes["member"] + 1))
        axes.set_ylim(0, 105 * max(row["value"] if row["high"] is None else row["high"] for row in rows))
    style.shared_labels(figure, x="classifiers compared", y="common share (%)")
    plots.key(figure, looks.values(), columns=2)
    return figure


CHANCE = "turned about the image independently"


def shares(data: xr.Dataset, table: Table) -> Figure | None:
    """How large the adversarial area is, by plane and classifier."""
    kinds = [kind for kind in PLANES if table.select("attack.area", population=kind)]
    if not kinds:
        return None
    looks = {
        "own": Look("classifiers that the plane is of (of random planes all)", "#D55E00"),
        "other": Look("other classifiers", "#0072B2", marker="s"),
    }
    series = {of: [table.get("attack.area", population=kind, classifier=of) for kind in kinds] for of in looks}
    series["own"] = [
        one or table.get("attack.area", population=kind) for one, kind in zip(series["own"], kinds, strict=True)
    ]
    title, labels = "adversarial area (% of the disc)", [PLANES[kind].label for kind in kinds]
    return plots.forest({title: series}, labels, looks, scale=100.0, columns=1)


def lines(data: xr.Dataset, table: Table) -> Figure | None:
    """Log-odds along lines from the image, of the member that the line is of and of the others."""
    rows = table.select("path.log_odds")
    titles = {"own": "the classifier that the line is of", "other": "the other classifiers"}
    layout = {"height": 1.7, "left": 0.55, "top": 0.5, "sharey": True, "gap": (0.2, 0.4)}
    figure, panels = style.panels(2, columns=2, **layout)
    looks = {kind: PLANES[kind]._replace(label=text, marker="") for kind, text in DIRECTIONS.items()}
    for axes, (of, title) in zip(panels, titles.items(), strict=True):
        cube = rows.select(classifier=of).cube("population", "t")
        plots.lines(axes, cube, "t", "population", looks, ends=("band_low", "band_high"))
        axes.axhline(0, color="#888888", linewidth=0.6)
        axes.set_title(title)
    style.shared_labels(
        figure, x="share of the way to the adversarial example, or as far elsewhere", y="log-odds (nats)"
    )
    plots.key(figure, looks.values(), columns=3)
    return figure


DIRECTIONS = {"adversarial": "to the adversarial example", "gradient": "against the gradient", "random": "random"}


def weight_maps(data: xr.Dataset, table: Table) -> Figure:
    """Test loss and errors over planes in weight space."""
    titles = {"random": "random", "members": "three classifiers", "trajectory": "SGD"}
    count = data.sizes["weight_map"]
    room = {"left": 0.6, "right": 0.6, "top": 0.35, "bottom": 0.42, "gap": (0.3, 0.2)}
    side = min(1.3, (style.PAGE - 1.2 - 0.3 * (count - 1)) / count)
    width = 1.2 + count * side + 0.3 * (count - 1)
    figure, panels = style.panels(2 * count, columns=count, height=side, width=width, **room)
    loss = data.weight_loss.values
    ends = float(max(loss.min(), 1e-3)), float(max(np.quantile(loss, 0.98), 2e-3))
    drawn = {
        "weight_loss": (LogNorm(*ends, clip=True), "loss (nats)"),
        "weight_error": (Normalize(0, 1), "share of errors"),
    }
    for row, (name, (norm, label)) in enumerate(drawn.items()):
        for number, axes in enumerate(panels[count * row : count * (row + 1)]):
            own = data.isel(weight_map=number)
            end = float(own.weight_reach)
            how = {"extent": (-end, end, -end, end), "origin": "lower", "cmap": mpl.colormaps["cividis"]}
            picture = axes.imshow(own[name].transpose("weight_row", "weight_column").values, norm=norm, **how)
            marks = own.weight_mark.transpose("weight_mark_number", "axis").values
            axes.plot(
                *marks.T, "-" if str(own.weight_kind.values) == "trajectory" else "", color="white", linewidth=0.5
            )
            axes.plot(*marks.T, "o", color="white", markeredgecolor=INK, markersize=2.6, markeredgewidth=0.5)
            member = int(own.weight_member)
            title = titles[str(own.weight_kind.values)] + (f", {member}" if member >= 0 else "")
            axes.set_title(title if row == 0 else "", fontsize=7)
            axes.set(xlim=(-end, end), ylim=(-end, end))
            axes.tick_params(labelsize=5.5, length=1.5, pad=1, labelbottom=row == 1)
        bar = plots.color_bar(picture, axes, right=axes.get_position().x1 + 0.06 / width)
        if name == "weight_loss":
            style.log_axis(bar.yaxis, *ends)
        bar.tick_params(labelsize=5.5, length=1.5, pad=1)
        panels[count * row].set_ylabel(label, fontsize=6.5)
    style.shared_labels(figure, x="distance: L2 length of weights, or filters' lengths (random)")
    return figure


NEEDED = ("decision", "log_odds")
FIGURES = (
    FigureSpec(
        "decisions",
        "One plane, seen by every classifier",
        "Above, the class that each classifier predicts in the plane through a test image and the adversarial examples "
        "of two classifiers; below, the log-odds of the image's class, on one scale. Solid: the area where all "
        "classifiers err; dashed: where any does. Of the images that are mapped this is the one with most common area.",
        NEEDED,
        decisions,
        narrow=narrow,
        table=decisions_table,
    ),
    FigureSpec(
        "common",
        "How much several classifiers have in common",
        "Intersection over union of adversarial areas, by the number of classifiers compared (mean over subsets), and "
        "what it would be if each classifier's area were turned about the image by an angle of its own. Bars are 95 % "
        "intervals over images and over pairs of classifiers that span the plane.",
        ("wrong",),
        common,
    ),
    FigureSpec(
        "shares",
        "How large the adversarial area is",
        "Share of the disc around an image, as large as the longer perturbation, on which a classifier errs, by what "
        "spans the plane. Bars are 95 % intervals.",
        ("wrong",),
        shares,
    ),
    FigureSpec(
        "lines",
        "Along a line",
        "Log-odds of the true class from the image (0) to an adversarial example (1) and beyond, and as far in other "
        "directions. Shading is a simultaneous 95 % band of the mean.",
        ("line_log_odds",),
        lines,
    ),
    FigureSpec(
        "values",
        "Margin, probability and loss in the first plane",
        "The same plane as in the first figure: margin, probability and loss of the image's class, from above.",
        (*NEEDED, "margin"),
        values,
    ),
    FigureSpec(
        "planes",
        "Planes of other kinds",
        "Decisions and log-odds of the same image in planes of other directions and, where the run has them, in the "
        "latent of an autoencoder, in a hidden layer (each classifier's own plane) and of your inputs.",
        NEEDED,
        planes,
        optional=True,
        when=lambda data, table: len(set(data.map_kind.values.tolist())) > 1,
    ),
    FigureSpec(
        "weights",
        "Planes in weight space",
        "Test loss and share of errors of the classifiers around a member in two filter-normalised random directions, "
        "in the plane through three members, and in the plane that holds most of a walk of SGD from a member. White "
        "dots are the classifiers themselves, and the steps of the walk, which a line joins.",
        ("weight_loss",),
        weight_maps,
        optional=True,
    ),
)
