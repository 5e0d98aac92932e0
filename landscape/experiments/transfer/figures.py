"""Figures of a transfer run: means come from the table, single pairs and pictures from the derived dataset."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from landscape.experiments.transfer.config import BUDGETS, MEMBERS, TOGETHER
from landscape.experiments.transfer.estimates import ATTACKER, HELD_OUT, MAIN, UNLEARNED, guided, outcomes_of
from landscape.experiments.transfer.geometry_estimates import MEANS, MEASURES
from landscape.experiments.transfer.pictures import between_pictures, examples, nearest
from landscape.reporting import plots, style
from landscape.reporting.figures import FigureSpec
from landscape.reporting.style import GREY, INK, Look
from landscape.stats.table import ENDS, Row, Table

KINDS = {"full": "full budget", "first_flip": "first flip", "targeted": "targeted"}
NORMS = {"linf": "L∞", "l2": "L2"}
QUANTITIES = {
    "wrong": Look("fooled", INK),
    "same": Look("same mistake", "#D55E00", marker="s"),
    "chance": Look("same by chance", "#E69F00", marker="|"),
    "noise": Look("by noise of that norm", GREY, marker="^"),
}
OUTCOMES = {"same": ("same mistake", "#D55E00"), "different": ("different mistake", "#56B4E9")}
UNFOOLED = ("not fooled", "#e3e3e3")
ROLES = {  # in the order of the axis
    ATTACKER: "attackers",
    HELD_OUT: "held out",
    UNLEARNED: "not\nlearned",
    "untrained": "un-\ntrained",
    "shuffled": "shuffled\nlabels",
}
GUIDANCE = {
    MEMBERS: Look("k members", INK),
    "members_ball": Look("k members with noise", "#D55E00", marker="s"),
    "ball": Look("one with noise", "#0072B2", marker="s"),
    "frozen": Look("one frozen draw", "#E69F00", marker="D"),
    "trajectory": Look("one's trajectory", "#CC79A7", marker="v"),
    "swag": Look("one's SWAG", "#56B4E9", marker="^"),
    "random": Look("one at random a step", "#009E73", marker="P"),
}
BLOCK = Look("a block of k", GREY, line="")
DOTS, DASHES = (0, (1, 1.5)), (0, (4, 1.5))
START = Look("before any search", GREY, line=DOTS, marker="")
GUIDES, FOOLED = "members that guide together, k", "held-out members fooled (%)"
OBJECTIVES = {"loss": Look("mean loss", "#0072B2"), "hardmin": Look("hardest classifier", "#D55E00", marker="v")}
POPULATIONS = {
    "genuine": Look("genuine", "#0072B2"),
    "unshared": Look("fools no held-out member", "#E69F00", marker="s"),
    "shared": Look("fools every held-out one", "#D55E00", marker="s"),
    "joint": Look("the same, against all attackers", "#CC79A7", marker="D"),
}
COMPARISONS = {"raw": "raw", "change": "changed", "iso": "equal margin", "matched": "matched"}
TITLES = {
    "input_flatness.probability_drop": "probability lost to noise\n(probability)",
    "input_flatness.scale_free": "margin lost to noise\n(share)",
    "input_flatness.worst_margin_drop": "worst loss of margin\n(logits)",
    "curvature.gradient_norm": "gradient of the loss\n(nats / pixel)",
    "curvature.hessian_top": "curvature of the loss\n(nats / pixel²)",
    "confidence.margin": "margin of its class\n(logits)",
    "distance.l2": "L2 distance moved\n(pixels)",
    "distance.manifold": "to its reconstruction\n(pixels)",
    "distance.nearest_training": "to the nearest training\nimage (pixels)",
    "purity.true_class": "neighbours of the true\nclass (share)",
    "purity.predicted_class": "neighbours of its new\nclass (share)",
}
SPACES = {"manifold": Look("lines on the manifold", "#0072B2"), "pixels": Look("blends of pixels", "#D55E00")}


def attack_label(row: Mapping[str, Any]) -> str:
    """`full budget, L∞ 0.15` of a row's coordinates."""
    return f"{KINDS.get(row['kind'], row['kind'])}, {NORMS.get(row['norm'], row['norm'])} {row['epsilon']:g}"


def attacks(table: Table) -> list[Row]:
    """A row of each attack, by norm, kind and radius."""
    rows = {row["attack"]: row for row in table if "attack" in row}
    order = {kind: place for place, kind in enumerate(KINDS)}
    return sorted(rows.values(), key=lambda row: (row["norm"] != "linf", order.get(row["kind"], 9), row["epsilon"]))


def condition_of(row: Row) -> str:
    """The condition that an attack is read under: that of first flips is their own."""
    return "source_fooled" if row["kind"] == "first_flip" else MAIN


# ---- the main figure: guides beside the transfer matrix ----


def main(data: xr.Dataset, table: Table) -> Figure | None:
    """Held-out success over the ensemble size, beside the matrix of the headline's attack."""
    pairs = matrix_of(data)
    if pairs is None:
        return None
    shown = bool(table.select("shared.held_out_success", guidance=MEMBERS))
    marks = (_guide_marks(table), _matrix_marks())
    left, between, right, bottom = 0.48, 0.5, 0.16, 0.44  # inches
    top = 0.3 + 0.125 * -(-max(len(marks[place][1]) for place in (0, 1) if shown or place) // 2)
    room = style.PAGE - left - right - between * shown
    across = (0.4 * room, 0.6 * room) if shown else (0.0, room)
    columns = _columns(pairs)[2]
    cell = 0.62 * across[1] / (columns[-1] + 1)
    high = max(2.0, pairs.sizes["source"] * min(cell, 0.3))
    figure = Figure(figsize=(style.PAGE, top + bottom + high))
    width, height = figure.get_size_inches()
    starts = (left, left + across[0] + between * shown)
    for place, start in enumerate(starts):
        if across[place]:
            axes = figure.add_axes((start / width, bottom / height, across[place] / width, high / height))
            spot = (start + 0.5 * across[place]) / width, 1 - 0.03 / height
            options = {"borderaxespad": 0, "borderpad": 0, "columnspacing": 1.0, "handletextpad": 0.5}
            figure.legend(*marks[place], loc="upper center", bbox_to_anchor=spot, ncols=2, fontsize=6, **options)
            if place == 0:
                guide_panel(axes, data, table, str(data.search.values[0]), "steps")
                axes.set(xlabel=GUIDES, ylabel=FOOLED)
            else:
                matrix_panel(axes, pairs, title=attack_label(_first(table)))
    return figure


def _first(table: Table) -> Row:
    return next(row for row in table if "attack" in row)


def main_column(data: xr.Dataset, table: Table) -> Figure | None:
    """One column wide: the guides where there are any, else the matrix."""
    if table.select("shared.held_out_success", guidance=MEMBERS):
        return _guides(data, table, [str(data.search.values[0])], ("steps",), style.COLUMN)
    pairs = matrix_of(data)
    if pairs is None:
        return None
    figure, (axes,) = style.panels(1, columns=1, width=style.COLUMN, height=2.0, top=0.6, left=0.42)
    matrix_panel(axes, pairs, title=attack_label(_first(table)))
    style.legend_above(figure, *_matrix_marks(), columns=2)
    return figure


def main_table(data: xr.Dataset, table: Table) -> list[tuple]:
    """Held-out success of all guide sets, and the equivalent ensemble sizes."""
    rows: list[tuple] = [("search", "budget", "guidance", "members", *ENDS[:3], "equivalent_size")]
    for row in table.select("shared.held_out_success"):
        if "guide_set" in row:
            at = {name: row[name] for name in ("search", "budget", "guide_set")}
            size = table.get("shared.equivalent_size", **at)
            ends = (np.nan if row[end] is None else row[end] for end in ENDS[:3])
            rows.append(
                (*(row[n] for n in ("search", "budget", "guidance", "size")), *ends, size["text"] if size else "")
            )
    return rows


def matrix_of(data: xr.Dataset) -> xr.Dataset | None:
    """Shares of the headline's attack (source, target), over the images that all know; None where they are too few."""
    pairs = outcomes_of(data.isel(attack=[0]), (MAIN,)).isel(attack=0, condition=0)
    pairs = pairs[["same", "different", "chance"]].isel(example=pairs.common.values)
    if not pairs.sizes["example"]:
        return None
    return pairs.mean("example").assign_coords(source=data.source.values, role=("target", data.role.values.astype(str)))


def _columns(pairs: xr.Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Targets in order, their roles, and where they stand: half a cell between unlike roles."""
    roles, known = pairs.role.values, list(ROLES)
    order = np.argsort([known.index(role) if role in known else len(known) for role in roles], kind="stable")
    groups = roles[order]
    return order, groups, np.arange(len(order)) + 0.5 * np.cumsum(np.r_[0, groups[1:] != groups[:-1]])


def matrix_panel(axes: Axes, pairs: xr.Dataset, *, title: str) -> None:
    """Every pair as a bar of the three outcomes, the chance rate of same mistakes as a tick; framed: the source."""
    order, groups, x = _columns(pairs)
    same, different, chance = (pairs[n].transpose("source", "target").values for n in ("same", "different", "chance"))
    count, boxes, colors, ticks, own = len(same), [], [], [], []
    for s in range(count):
        for place, t in zip(x, order.tolist(), strict=True):
            begin, parts = place + 0.04, (same[s, t], different[s, t], 1 - same[s, t] - different[s, t])
            for part, color in zip(parts, [*(c for _, c in OUTCOMES.values()), UNFOOLED[1]], strict=True):
                boxes.append(Rectangle((begin, s + 0.08), 0.92 * part, 0.84))
                colors.append(color)
                begin += 0.92 * part
            at = place + 0.04 + 0.92 * chance[s, t]
            ticks.append([(at, s + 0.55), (at, s + 0.98)])
            if t == s:
                own.append(Rectangle((place + 0.02, s + 0.04), 0.96, 0.92))
    axes.add_collection(PatchCollection(boxes, facecolors=colors, linewidths=0))
    axes.add_collection(LineCollection(ticks, colors=INK, linewidths=0.7))
    axes.add_collection(PatchCollection(own, facecolors="none", edgecolors=GREY, linewidths=0.7))
    axes.set(xlim=(0, x[-1] + 1), ylim=(count, 0), ylabel="made on (seed)", title=title)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(length=0)
    step = 1 if count <= 10 else 2
    axes.set_yticks(np.arange(0, count, step) + 0.5, [str(v) for v in pairs.source.values[::step]])
    middle = [(x[groups == g].min() + x[groups == g].max() + 1) / 2 for g in dict.fromkeys(groups)]
    axes.set_xticks(middle, [ROLES.get(g, style.plain(g)) for g in dict.fromkeys(groups)], fontsize=5.5)


def _matrix_marks() -> tuple[list[Patch], list[str]]:
    looks = [*OUTCOMES.values(), UNFOOLED]
    marks = [*(Patch(color=color) for _, color in looks), Patch(facecolor=INK, linewidth=0)]
    return marks, [label for label, _ in looks] + ["same by chance (tick)"]


# ---- searches guided by several classifiers ----


def guide_sets(data: xr.Dataset, table: Table) -> Figure | None:
    """A column a search, a row a budget; of one search the budgets side by side."""
    return _guides(data, table, data.search.values.astype(str).tolist(), BUDGETS[::-1], style.PAGE)


def _guides(
    data: xr.Dataset, table: Table, searches: Sequence[str], budgets: Sequence[str], width: float
) -> Figure | None:
    if not table.select("shared.held_out_success", guidance=MEMBERS):
        return None
    marks, labels = _guide_marks(table)
    columns = 4 if width == style.PAGE else 2
    top = 0.26 + style.LEGEND_ROW * -(-len(labels) // columns)
    room = {"height": 2.0, "left": 0.5, "gap": (0.22, 0.42), "top": top, "bottom": 0.4, "width": width}
    places = [(search, budget) for budget in budgets for search in searches]
    across = len(searches) if len(searches) > 1 else len(budgets)
    figure, axes = style.panels(len(places), columns=across, sharex=True, sharey=True, **room)
    for one, place in zip(axes, places, strict=True):
        guide_panel(one, data, table, *place)
        one.tick_params(labelbottom=True)
    style.shared_labels(figure, x=GUIDES, y=FOOLED)
    style.legend_above(figure, marks, labels, columns=columns)
    return figure


def _guide_marks(table: Table) -> tuple[list[Line2D], list[str]]:
    used = {row.get("guidance") for row in table}
    looks = [look for name, look in GUIDANCE.items() if name in used]
    looks = [*(look._replace(line="-" if look in looks[:1] else DASHES) for look in looks), BLOCK, START]
    marks = [
        Line2D([], [], color=k.color, linestyle=k.line, marker=k.marker, markersize=3.4, linewidth=1.2) for k in looks
    ]
    return marks, [look.label for look in looks]


def guide_panel(axes: Axes, data: xr.Dataset, table: Table, search: str, budget: str) -> None:
    """One search at one budget: k members as a line, each block as a dot; what draws one classifier dashed."""
    rows = table.select("shared.held_out_success", search=search, budget=budget)
    sizes = np.unique(data["size"].values)
    axes.set_xscale("log", base=2)
    plots.lines_of(axes, rows, "guidance", "size", {name: GUIDANCE[name] for name in TOGETHER}, scale=100.0, room=0.04)
    blocks = (
        guided(data).block_wrong.sel(search=search, budget=budget).mean("guided_example").transpose("guide_set", ...)
    )
    for g in np.flatnonzero(data.guidance.values == MEMBERS).tolist():
        axes.plot(
            np.full(blocks.sizes["block"], data["size"].values[g] / 1.06), 100 * blocks.values[g], ".", color=GREY
        )
    start = table.get("shared.held_out_success", search=search, population="start")
    if start is not None:
        axes.axhline(100 * start["value"], color=GREY, linewidth=1, linestyle=DOTS)
    others = [row for row in rows if row["guidance"] not in TOGETHER]
    spots = np.geomspace(1.15, max(sizes.max() / 1.15, 1.2), max(len(others), 1))
    for spot, row in zip(spots, others, strict=False):
        look = GUIDANCE.get(row["guidance"], Look(row["guidance"], GREY))
        if row["low"] is not None:
            axes.axhspan(100 * row["low"], 100 * row["high"], color=look.color, alpha=0.06, linewidth=0)
        axes.axhline(100 * row["value"], color=look.color, linewidth=1.0, linestyle=DASHES)
        axes.plot([spot], [100 * row["value"]], marker=look.marker, color=look.color, markersize=4, zorder=4)
    axes.set_xticks(sizes, [str(k) for k in sizes])
    axes.minorticks_off()
    axes.set_title(f"{search}, equal {budget}")


# ---- attack by attack ----


def transfer(data: xr.Dataset, table: Table) -> Figure | None:
    """Mean shares of every attack, a panel for each kind of target."""
    rows = attacks(table)
    panels = {
        title: {
            name: [
                table.get(f"transfer.{name}", attack=r["attack"], condition=condition_of(r), targets=targets)
                for r in rows
            ]
            for name in QUANTITIES
        }
        for targets, title in (("attackers", "other attackers"), ("held_out", "held-out members"))
    }
    labels = [attack_label(row) for row in rows]
    figure = plots.forest(panels, labels, QUANTITIES, scale=100.0, columns=2, height=0.28 * len(labels), sharex=True)
    if figure is not None:
        style.shared_labels(figure, x="share of targets and images (%)")
    return figure


def counts(data: xr.Dataset, table: Table) -> Figure | None:
    """How many held-out classifiers an example fools, beside independence given their clean margins."""
    found = table.select("shared.fooled_count")
    rows = attacks(found)
    if not rows:
        return None
    room = {"height": 0.95, "left": 0.44, "gap": (0.26, 0.46), "top": 0.42, "bottom": 0.42}
    figure, axes = style.panels(len(rows), columns=min(5, len(rows)), **room)
    for one, row in zip(axes, rows, strict=True):
        cube = 100 * found.select(attack=row["attack"]).cube("population", "count").value
        x = cube["count"].values
        one.bar(x, cube.sel(population="adversarial"), color="#0072B2", width=0.7)
        expected = cube.sel(population="independent")
        one.plot(x, expected, color=INK, marker="_", markersize=7, linestyle="", markeredgewidth=1.4)
        one.set_title(attack_label(row))
        one.set_ylim(bottom=0)
        one.grid(axis="y")
        one.set_xticks(x[:: max(1, len(x) // 4)])
        one.locator_params(axis="y", nbins=4)
    style.shared_labels(figure, x="held-out members fooled", y="share of examples (%)")
    marks = [Patch(color="#0072B2"), Line2D([], [], color=INK, marker="_", linestyle="", markersize=7)]
    style.legend_above(figure, marks, ["seen", "if independent, given each member's clean margin"], columns=2)
    return figure


def directions(data: xr.Dataset, table: Table) -> Figure | None:
    """Mean cosines between attackers' perturbations, noise of the same norm, and gradients."""
    rows, looks = attacks(table), {"adversarial": Look("attackers", INK), "noise": QUANTITIES["noise"]}
    looks = {**looks, "clean": Look("gradients at the clean image", "#0072B2", marker="D")}
    series = {
        name: [None, *(table.get("agreement.perturbation", attack=r["attack"], population=name) for r in rows)]
        for name in ("adversarial", "noise")
    }
    series["clean"] = [table.get("agreement.gradient"), *[None] * len(rows)]
    labels = ["gradients", *map(attack_label, rows)]
    room = {"width": 0.75 * style.PAGE, "zero": True, "columns": 1, "top": 0.3}
    figure = plots.forest({"": series}, labels, looks, **room)
    if figure is not None:
        style.shared_labels(figure, x="mean cosine between two attackers")
    return figure


def joint(data: xr.Dataset, table: Table) -> Figure | None:
    """What searches against all attackers do to them, and to held-out classifiers, over the radius."""
    names = {"attackers_fooled": "images that fool every attacker", "held_out_fooled": "held-out members fooled"}
    parts = {title: table.select(f"shared.{name}") for name, title in names.items()}
    if not any(len(part) for part in parts.values()):
        return None
    figure, axes = style.panels(2, columns=2, sharey=True, height=1.7, left=0.5, gap=(0.3, 0.3), top=0.5)
    radius, drawn = data.ball.values.astype(float), []
    for one, (title, part) in zip(axes, parts.items(), strict=True):
        drawn = plots.lines_of(one, part, "objective", "epsilon", OBJECTIVES, scale=100.0, room=0.01 * np.ptp(radius))
        one.set(title=title, ylim=(-3, 103))
        one.set_xticks(radius, [f"{r:g}" for r in radius])
    style.shared_labels(figure, x=f"{NORMS['linf']} radius (pixels, images in [0, 1])", y="share (%)")
    plots.key(figure, [OBJECTIVES[name] for name in drawn])
    return figure


# ---- local geometry, and lines between classes ----


def geometry(data: xr.Dataset, table: Table) -> Figure | None:
    """Each measure's mean in each population, a panel a measure."""
    rows = {name: table.select(name, reference=None, population=list(MEANS)) for name in MEASURES}
    panels = {
        TITLES[name]: {one: [own.get(name, population=one)] for one in MEANS} for name, own in rows.items() if own
    }
    return plots.forest(panels, [""], POPULATIONS, height=0.6)


def differences(data: xr.Dataset, table: Table) -> Figure | None:
    """Shared minus unshared examples of every measure, a row a comparison."""
    panels = {}
    for name, (_, per) in MEASURES.items():
        found = table.select(name, reference="unshared")
        names = ["scale_free"] * len(COMPARISONS) if per else list(COMPARISONS)
        if found:
            rows = {p: [found.get(name, population=p, matching=m) for m in names] for p in ("shared", "joint")}
            rows = {p: [*own[:1], *[None] * (len(own) - 1)] if per else own for p, own in rows.items()}
            panels[TITLES[name]] = rows
    return plots.forest(panels, list(COMPARISONS.values()), POPULATIONS, zero=True)


def between(data: xr.Dataset, table: Table) -> Figure | None:
    """How far classifiers disagree along lines between two classes, and how large it gets on each."""
    found = table.select("path.disagreement")
    if not found:
        return None
    room = {"height": 1.6, "left": 0.5, "gap": (0.55, 0.3), "top": 0.3, "bottom": 0.42}
    figure, (left, right) = style.panels(2, columns=2, **room)
    for name, look in SPACES.items():
        cube = found.select(space=name).cube("step")
        left.plot(cube.step, cube.value, color=look.color)
        left.fill_between(cube.step, cube.low, cube.high, color=look.color, alpha=0.2, linewidth=0)
        peaks = np.sort(data.disagreement.sel(space=name).max("step").values)
        right.step(peaks, 100 * np.arange(1, len(peaks) + 1) / len(peaks), color=look.color, where="post")
    left.set(xlabel="share of the line from one image to the other", ylabel="mean disagreement (nats)", xlim=(0, 1))
    left.set_ylim(bottom=0)
    right.set(xlabel="largest disagreement on a line (nats)", ylabel="lines with no more (%)", ylim=(0, 103))
    right.set_xlim(left=0)
    for one in (left, right):
        one.grid(axis="y")
    plots.key(figure, [look._replace(marker="") for look in SPACES.values()])
    return figure


FIGURES = (
    FigureSpec(
        "main",
        "How many classifiers must guide a search, and who is fooled by whose examples",
        "Left: how often held-out classifiers, which no search has seen, are fooled by searches that k members guide "
        "together (95 % intervals over held-out classifiers and images; small dots: each disjoint block of k), beside "
        "searches guided by one classifier that is drawn anew (dashed, with the band of its interval). Where a dashed "
        "line meets the black one is its equivalent ensemble size. Dotted: what is wrong before any search. Right: a "
        "row is the classifier that examples are made on, a column one that they are tried on; red is the source's "
        "own mistake, and beyond the tick it is more than chance. Framed: the source itself.",
        ("prediction", "clean_prediction", "label"),
        main,
        narrow=main_column,
        table=main_table,
    ),
    FigureSpec(
        "guides",
        "Guide sets, by search and budget",
        "As in the main figure, for every space that searches move in. At equal steps every search takes as many; at "
        "equal gradients it spends as many, so that k members take one k-th of the steps.",
        ("guided_wrong", "block_wrong"),
        guide_sets,
        optional=True,
    ),
    FigureSpec(
        "transfer",
        "Attack by attack",
        "Means over pairs with 95 % intervals over classifiers and images. Triangles: noise of the same norm. First "
        "flips stop at the source's own boundary and are read where all sources are fooled; all others where all "
        "classifiers were right before. In targeted attacks all sources aim at one class, which they then share.",
        ("prediction",),
        transfer,
    ),
    FigureSpec(
        "counts",
        "How many classifiers does one example fool?",
        "Bars: share of examples that fool so many held-out classifiers, mean over sources. Black: what it would be if "
        "they were fooled independently, each as its margin on the clean image says. More at both ends than black "
        "means that classifiers are fooled together, beyond what is easy for all. Images on which every attacker fools "
        "itself.",
        ("prediction", "clean_margin"),
        counts,
    ),
    FigureSpec(
        "directions",
        "Do they point the same way?",
        "Mean cosines over pairs of attackers with 95 % intervals: between gradients, and between perturbations. "
        "Triangles are the zero line: noise of the same norms, which agrees with other noise where both are clipped "
        "at the same pixels.",
        ("gradient_cosine", "perturbation_cosine", "random_cosine"),
        directions,
    ),
    FigureSpec(
        "joint",
        "Searches that have all attackers to fool",
        "Left: share of images on which the search, which keeps its best step, fools every attacker at once. Right: "
        "how often it fools classifiers that no search has seen. Intervals on the left are over images, on the right "
        "over classifiers and images.",
        ("joint_wrong",),
        joint,
        optional=True,
    ),
    FigureSpec(
        "nearest",
        "The nearest image that fools every attacker",
        "Beneath: its L∞ distance, by bisection, an upper bound. The first images it is found for.",
        ("smallest_radius", "joint_picture", "picture_start"),
        nearest,
        kind="png",
        optional=True,
    ),
    FigureSpec(
        "examples",
        "Shared and unshared examples",
        "Adversarial examples of the first attacker, on the first test images: those that fool fewest held-out "
        "classifiers, and those that fool most. Beneath: the true class, the class it takes them for, and how many "
        "held-out classifiers are fooled.",
        ("picture", "picture_start", "prediction", "clean_prediction", "label"),
        examples,
        kind="png",
    ),
    FigureSpec(
        "geometry",
        "Local geometry of shared examples, as the classifier that they fool sees it",
        "Means with 95 % intervals over classifiers and images. Gold and red come of the same attack and differ in "
        "whether held-out classifiers are fooled, none or all; so they are of different images, and the next figure "
        "tells what is of the images alone. Purple: found by the search against all attackers. Blue: the images.",
        ("geometry_margin",),
        geometry,
        optional=True,
    ),
    FigureSpec(
        "geometry_differences",
        "Shared minus unshared examples",
        "Raw; of what the attack has changed, each example less its own image; of the same examples steered to one "
        "margin; of partners of equal margin. The share of the margin has one line, which is free of scale. Where raw "
        "and changed differ in sign, the images differ, not the examples.",
        ("geometry_margin",),
        differences,
        optional=True,
    ),
    FigureSpec(
        "between",
        "Where classifiers disagree between two classes",
        "Disagreement, H(mean p) - mean H(p), is 0 where all say the same, however unsure they are. Lines run between "
        "test images of two classes; bands are 95 % intervals over pairs, for these classifiers.",
        ("disagreement",),
        between,
        optional=True,
    ),
    FigureSpec(
        "between_pictures",
        "Pictures between classes where classifiers disagree most and least",
        "On the autoencoder's manifold: both ends of a line, and its place of largest disagreement between them. "
        "Above: that disagreement; beneath: how many of all trained classifiers predict which class. Least: where the "
        "largest on a line is smallest.",
        ("between_picture", "disagreement", "vote"),
        between_pictures,
        kind="png",
        optional=True,
    ),
)
