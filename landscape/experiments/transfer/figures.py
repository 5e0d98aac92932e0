"""Figures of a transfer run: means come from the table, single pairs and pictures from the derived dataset.

Of a sweep the first figure shows all values, the others the first one.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from landscape.experiments.base import named, of_one_kind, strata_of
from landscape.experiments.transfer.config import BUDGETS, MEMBERS, TOGETHER
from landscape.experiments.transfer.estimates import (
    ATTACK,
    ATTACKER,
    HELD_OUT,
    MAIN,
    MEASURES,
    UNLEARNED,
    guided,
    of_one,
    outcomes_of,
    positions,
)
from landscape.reporting import plots, style
from landscape.reporting.figures import FigureSpec
from landscape.reporting.image_grid import ImageRow, image_grid
from landscape.reporting.style import GREY, INK, Look
from landscape.stats.table import ENDS, Table

KINDS = {"full": "full budget", "first_flip": "first flip"}
NORMS = {"linf": "L∞", "l2": "L2"}
QUANTITIES = {
    "wrong": Look("fooled", INK),
    "same": Look("same mistake", "#D55E00", marker="s"),
    "chance": Look("same by chance", "#E69F00", marker="|"),
    "noise": Look("by noise of that norm", GREY, marker="^"),
}
OUTCOMES = {"same mistake": "#D55E00", "different mistake": "#56B4E9", "not fooled": "#e3e3e3"}
ROLES = {  # in the order of the axis
    ATTACKER: "attackers",
    HELD_OUT: "held out",
    UNLEARNED: "not\nlearned",
    "untrained": "un-\ntrained",
    "shuffled": "shuffled\nlabels",
}
DASHES = (0, (4, 1.5))
GUIDANCE = {
    MEMBERS: Look("k members", INK),
    "members_ball": Look("k members with noise", "#D55E00", DASHES, "s"),
    "ball": Look("one with noise", "#0072B2", DASHES, "s"),
    "frozen": Look("one frozen draw", "#E69F00", DASHES, "D"),
    "trajectory": Look("one's trajectory", "#CC79A7", DASHES, "v"),
    "swag": Look("one's SWAG", "#56B4E9", DASHES, "^"),
    "random": Look("one at random a step", "#009E73", DASHES, "P"),
}
BLOCK = Look("a block of k", GREY, line="")
GUIDES, FOOLED = "members that guide together, k", "held-out members fooled (%)"
OBJECTIVES = {"loss": Look("mean loss", "#0072B2"), "hardmin": Look("hardest classifier", "#D55E00", marker="v")}
POPULATIONS = {
    "shared": Look("fools every held-out member", "#D55E00", marker="s"),
    "joint": Look("the same, found against all attackers", "#CC79A7", marker="D"),
}
COMPARISONS = {"raw": "raw", "change": "changed", "iso": "equal confidence", "matched": "matched"}
TITLES = {
    "input_flatness.probability_drop": "probability lost to noise\n(probability)",
    "input_flatness.scale_free": "margin lost to noise\n(share)",
    "input_flatness.worst_margin_drop": "worst loss of margin\n(logits)",
    "curvature.gradient_norm": "gradient of the loss\n(nats / pixel)",
    "curvature.hessian_top": "curvature of the loss\n(nats / pixel²)",
    "confidence.log_odds": "log-odds of its class\n(nats)",
    "distance.l2": "L2 distance moved\n(pixels)",
    "distance.manifold": "to its reconstruction\n(pixels)",
    "distance.nearest_training": "to the nearest training\nimage (pixels)",
    "purity.true_class": "neighbours of the true\nclass (share)",
    "purity.predicted_class": "neighbours of its new\nclass (share)",
}
SPACES = {"manifold": Look("lines on the manifold", "#0072B2"), "pixels": Look("blends of pixels", "#D55E00")}
MOST = 6  # pictures of each sort
CAPTION = 8  # letters of a class name beneath a picture


def attack_label(row: Mapping[str, Any]) -> str:
    """`full budget, L∞ 0.15`."""
    return f"{KINDS[row['kind']]}, {NORMS[row['norm']]} {row['epsilon']:.3g}"


def attacks_of(data: xr.Dataset) -> list[dict[str, Any]]:
    """The coordinates of each attack, in the order of the arrays, the headline's first."""
    return [dict(zip(ATTACK, one, strict=True)) for one in zip(*(data[n].values.tolist() for n in ATTACK), strict=True)]


def sweep(data: xr.Dataset, table: Table) -> Figure | None:
    """Transfer of the headline's attack at each kind of training."""
    every, panels, attack = strata_of(table), {}, attacks_of(data)[0]
    shown = [(look.label, name, "attackers") for name, look in QUANTITIES.items()]
    for title, name, targets in (*shown, ("held-out fooled", "wrong", "held_out")):
        at = {"condition": MAIN, "targets": targets, **attack}
        rows = [table.get(f"transfer.{name}", **at, **kind) for kind in every]
        if any(rows):
            panels[title] = (rows, "% of the cases")
    return plots.intervals(panels, [named(kind) for kind in every], scale=100.0) if panels else None


# ---- the main figure: guides beside the transfer matrix ----


def main(data: xr.Dataset, table: Table) -> Figure | None:
    """Held-out success over the ensemble size, beside the matrix of the headline's attack."""
    return _main(data, table, style.PAGE)


def main_column(data: xr.Dataset, table: Table) -> Figure | None:
    """One column wide: the guides where there are any, else the matrix."""
    return _main(data, table, style.COLUMN)


def _main(data: xr.Dataset, table: Table, width: float) -> Figure | None:
    pairs, guides = matrix_of(data), bool(table.select("shared.held_out_success", guidance=MEMBERS))
    if pairs is None:
        return None
    both = guides and width == style.PAGE
    marks = [_guide_marks(table)] * guides + [_matrix_marks()] * (both or not guides)
    high, bottom = max(2.0, 0.22 * pairs.sizes["source"]), 0.44  # inches
    top = 0.3 + 0.125 * -(-max(len(labels) for _, labels in marks) // 2)
    figure = Figure(figsize=(width, top + high + bottom))
    tall = figure.get_figheight()
    sizes = {"left": 0.48 / width, "right": 1 - 0.16 / width, "bottom": bottom / tall, "top": 1 - top / tall}
    panels = figure.subplots(1, len(marks), squeeze=False, width_ratios=(2, 3)[: len(marks)], gridspec_kw=sizes)[0]
    for axes, (handles, labels) in zip(panels, marks, strict=True):
        spot = {"loc": "upper center", "bbox_to_anchor": (0.5, 1 + (top - 0.03) / high), "fontsize": 6}
        axes.legend(handles, labels, ncols=2, borderaxespad=0, borderpad=0, columnspacing=1.0, **spot)
    if guides:
        guide_panel(panels[0], data, table, "steps")
        panels[0].set(xlabel=GUIDES, ylabel=FOOLED)
    if both or not guides:
        matrix_panel(panels[-1], pairs, title=attack_label(attacks_of(data)[0]))
    return figure


def main_table(data: xr.Dataset, table: Table) -> list[tuple]:
    """Held-out success of all guide sets, and the equivalent ensemble sizes."""
    columns = ("budget", "guidance", "size")
    rows: list[tuple] = [(*columns[:2], "members", *ENDS[:3], "equivalent_size")]
    for row in table.select("shared.held_out_success"):
        at = {name: row[name] for name in columns}
        size = table.get("shared.equivalent_size", **at)
        ends = (np.nan if row[end] is None else row[end] for end in ENDS[:3])
        rows.append((*at.values(), *ends, size["text"] if size else ""))
    return rows


def matrix_of(data: xr.Dataset) -> xr.Dataset | None:
    """Shares of the headline's attack (source, target), over the images that all know; None where they are too few."""
    pairs = outcomes_of(data.isel(attack=[0]), (MAIN,)).isel(attack=0, condition=0)
    pairs = pairs[["same", "different", "chance"]].isel(example=pairs.common.values)
    if not pairs.sizes["example"]:
        return None
    return pairs.mean("example").assign_coords(source=data.source.values, role=("target", data.role.values.astype(str)))


def matrix_panel(axes: Axes, pairs: xr.Dataset, *, title: str) -> None:
    """Every pair as a bar of the three outcomes, a tick where same mistakes exceed chance; framed: the source.

    Half a bar is left free between targets of unlike roles.
    """
    order = np.argsort([list(ROLES).index(role) for role in pairs.role.values], kind="stable")
    pairs = pairs.isel(target=order).transpose("source", "target")
    groups, count = pairs.role.values, pairs.sizes["source"]
    x = np.arange(len(order)) + 0.5 * np.cumsum(np.r_[0, groups[1:] != groups[:-1]])
    across, down = (grid.ravel() for grid in np.meshgrid(x + 0.04, np.arange(count) + 0.5))
    begin = across
    for part, color in zip(
        (pairs.same, pairs.different, 1 - pairs.same - pairs.different), OUTCOMES.values(), strict=True
    ):
        wide = 0.92 * part.values.ravel()
        axes.barh(down, wide, 0.84, begin, color=color)
        begin = begin + wide
    tick = pairs.chance.values.ravel()
    axes.vlines(across + 0.92 * tick, down + 0.05, down + 0.48, color=INK, linewidth=0.7)
    own = [order.tolist().index(s) for s in range(count)]
    axes.barh(np.arange(count) + 0.5, 0.96, 0.92, x[own] + 0.02, fill=False, edgecolor=GREY, linewidth=0.7)
    axes.set(xlim=(0, x[-1] + 1), ylim=(count, 0), ylabel="made on (seed)", title=title)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(length=0)
    step = 1 if count <= 10 else 2
    axes.set_yticks(np.arange(0, count, step) + 0.5, [str(v) for v in pairs.source.values[::step]])
    middle = {ROLES[g]: (x[groups == g].min() + x[groups == g].max() + 1) / 2 for g in groups}
    axes.set_xticks([*middle.values()], [*middle], fontsize=5.5)


def _matrix_marks() -> tuple[list[Patch], list[str]]:
    colors = {**OUTCOMES, "same by chance (tick)": INK}
    return [Patch(facecolor=color, linewidth=0) for color in colors.values()], [*colors]


# ---- searches guided by several classifiers ----


def guide_sets(data: xr.Dataset, table: Table) -> Figure | None:
    """Both budgets side by side."""
    if not table.select("shared.held_out_success", guidance=MEMBERS):
        return None
    marks, labels = _guide_marks(table)
    top = 0.26 + style.LEGEND_ROW * -(-len(labels) // 4)
    figure, axes = style.panels(2, columns=2, height=2.0, left=0.5, top=top, bottom=0.4, sharex=True, sharey=True)
    for one, budget in zip(axes, BUDGETS[::-1], strict=True):
        guide_panel(one, data, table, budget)
    style.shared_labels(figure, x=GUIDES, y=FOOLED)
    style.legend_above(figure, marks, labels, columns=4)
    return figure


def _guide_marks(table: Table) -> tuple[list[Line2D], list[str]]:
    used = {row.get("guidance") for row in table}
    looks = [look._replace(line="-") if name in TOGETHER else look for name, look in GUIDANCE.items() if name in used]
    marks = [
        Line2D([], [], color=k.color, linestyle=k.line, marker=k.marker, markersize=3.4, linewidth=1.2)
        for k in (*looks, BLOCK)
    ]
    return marks, [look.label for look in (*looks, BLOCK)]


def guide_panel(axes: Axes, data: xr.Dataset, table: Table, budget: str) -> None:
    """Searches at one budget: k members as a line, each block as a dot; what draws one classifier dashed."""
    rows, sizes = table.select("shared.held_out_success", budget=budget), np.unique(data["size"].values)
    axes.set_xscale("log", base=2)
    together = {name: GUIDANCE[name]._replace(line="-") for name in TOGETHER}
    plots.lines_of(axes, rows, "guidance", "size", together, scale=100.0, room=0.04)
    blocks = guided(data).block_wrong.sel(budget=budget).mean("guided_example")
    blocks = 100 * blocks.isel(guide_set=data.guidance.values == MEMBERS).transpose("block", "guide_set").values
    axes.plot(data["size"].values[data.guidance.values == MEMBERS] / 1.06, blocks.T, ".", color=GREY)
    others = [row for row in rows if row["guidance"] not in TOGETHER]
    spots = np.geomspace(1.15, max(sizes.max() / 1.15, 1.2), max(len(others), 1))
    for spot, row in zip(spots, others, strict=False):
        look = GUIDANCE[row["guidance"]]
        if row["low"] is not None:
            axes.axhspan(100 * row["low"], 100 * row["high"], color=look.color, alpha=0.06, linewidth=0)
        axes.axhline(100 * row["value"], color=look.color, linewidth=1.0, linestyle=DASHES)
        axes.plot([spot], [100 * row["value"]], marker=look.marker, color=look.color, markersize=4, zorder=4)
    axes.set_xticks(sizes, [str(k) for k in sizes])
    axes.minorticks_off()
    axes.set_title(f"equal {budget}")


# ---- attack by attack ----


def transfer(data: xr.Dataset, table: Table) -> Figure | None:
    """Mean shares of every attack, a panel for each kind of target."""
    rows, panels = attacks_of(data), {}
    for targets, title in (("attackers", "other attackers"), ("held_out", "held-out members")):
        # First flips are read under a condition of their own.
        at = [row | {"condition": "source_fooled" if row["kind"] == "first_flip" else MAIN} for row in rows]
        panels[title] = {name: [table.get(f"transfer.{name}", targets=targets, **a) for a in at] for name in QUANTITIES}
    labels = [attack_label(row) for row in rows]
    figure = plots.forest(panels, labels, QUANTITIES, scale=100.0, columns=2, height=0.28 * len(labels), sharex=True)
    if figure is not None:
        style.shared_labels(figure, x="share of targets and images (%)")
    return figure


def counts(data: xr.Dataset, table: Table) -> Figure | None:
    """How many held-out classifiers an example fools, beside independence given their clean margins."""
    found = table.select("shared.fooled_count")
    rows = [attack for attack in attacks_of(data) if found.select(**attack)]
    if not rows:
        return None
    sizes = {"height": 0.95, "left": 0.44, "gap": (0.26, 0.46), "top": 0.42, "bottom": 0.42}
    figure, axes = style.panels(len(rows), columns=min(5, len(rows)), **sizes)
    looks = {"color": INK, "marker": "_", "markersize": 7, "linestyle": "", "markeredgewidth": 1.4}
    for one, row in zip(axes, rows, strict=True):
        cube = 100 * found.select(**row).cube("population", "count").value
        x = cube["count"].values
        one.bar(x, cube.sel(population="adversarial"), color="#0072B2", width=0.7)
        one.plot(x, cube.sel(population="independent"), **looks)
        one.set(title=attack_label(row), xticks=x[:: max(1, len(x) // 4)])
        one.set_ylim(bottom=0)
        one.grid(axis="y")
        one.locator_params(axis="y", nbins=4)
    style.shared_labels(figure, x="held-out members fooled", y="share of examples (%)")
    marks = [Patch(color="#0072B2"), Line2D([], [], **looks)]
    style.legend_above(figure, marks, ["seen", "if independent, given each member's clean margin"], columns=2)
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
        one.set_xticks(radius, [f"{r:.3g}" for r in radius])
    style.shared_labels(figure, x=f"{NORMS['linf']} radius (pixels, images in [0, 1])", y="share (%)")
    plots.key(figure, [OBJECTIVES[name] for name in drawn])
    return figure


# ---- local geometry, and lines between classes ----


def differences(data: xr.Dataset, table: Table) -> Figure | None:
    """Shared minus unshared examples of every measure, a row a comparison; ratios have no change."""
    panels = {}
    for name in MEASURES:
        found = table.select(name, reference="unshared")
        if found:
            each = {p: [found.get(name, population=p, matching=m) for m in COMPARISONS] for p in POPULATIONS}
            panels[TITLES[name]] = each
    return plots.forest(panels, list(COMPARISONS.values()), POPULATIONS, zero=True)


def between(data: xr.Dataset, table: Table) -> Figure | None:
    """How far classifiers disagree along lines between two classes, and how large it gets on each."""
    found = table.select("path.disagreement")
    if not found:
        return None
    sizes = {"height": 1.6, "left": 0.5, "gap": (0.55, 0.3), "top": 0.3, "bottom": 0.42}
    figure, (left, right) = style.panels(2, columns=2, **sizes)
    plots.lines(
        left, found.cube("space", "step"), "step", "space", {n: k._replace(marker="") for n, k in SPACES.items()}
    )
    for name, look in SPACES.items():
        peaks = np.sort(data.disagreement.sel(space=name).max("step").values)
        right.step(peaks, 100 * np.arange(1, len(peaks) + 1) / len(peaks), color=look.color, where="post")
    left.set(xlabel="share of the line from one image to the other", ylabel="mean disagreement (nats)", xlim=(0, 1))
    left.set_ylim(bottom=0)
    right.set(xlabel="largest disagreement on a line (nats)", ylabel="lines with no more (%)", ylim=(0, 103))
    right.set_xlim(left=0)
    right.grid(axis="y")
    plots.key(figure, [look._replace(marker="") for look in SPACES.values()])
    return figure


# ---- pictures ----


def images(data: xr.Dataset, name: str) -> np.ndarray:
    """Pictures [n, H, W, C]."""
    return data[name].transpose(..., "height", "width", "channel").values


def classes(data: xr.Dataset) -> list[str]:
    """Class names as captions."""
    return [style.plain(name, limit=CAPTION) for name in data["class"].values.astype(str)]


def _grid(rows: Sequence[ImageRow], first: int, titles: Sequence[str], **options: Any) -> Figure | None:
    """Rows of pictures, the `first` ones apart from the others."""
    count = len(rows[0].images)
    groups = [(a, b, title) for a, b, title in zip((0, first), (first - 1, count - 1), titles, strict=True) if a <= b]
    before = [0.15 if 0 < i == first else 0.0 for i in range(count)]
    return image_grid(rows, groups=groups, before=before, **options)


def examples(data: xr.Dataset, table: Table) -> Figure | None:
    """Adversarial examples of the first attacker by the number of held-out classifiers that they fool."""
    start, found, held = images(data, "picture_start"), images(data, "picture"), positions(data, HELD_OUT)
    first = data.isel(example=slice(len(found)), attack=0, source=0)
    prediction, label = first.prediction.transpose("target", "example").values, first.label.values
    fooled = (prediction[held] != label).sum(axis=0)
    index = np.flatnonzero(first.right.values & (prediction[0] != label))
    if not len(index):
        return None
    index = index[np.argsort(fooled[index], kind="stable")]
    few = index[: min(MOST, len(index) // 2)]
    order = [*few, *index[::-1][: min(MOST, len(index) - len(few))]]
    scale, names = float(np.abs(found - start)[order].max()) or 1.0, classes(data)
    change, counted = 0.5 + 0.5 * (found - start)[order] / scale, [f"{fooled[i]} of {len(held)}" for i in order]
    rows = [
        ImageRow("image", GREY, list(start[order]), texts=[names[label[i]] for i in order]),
        ImageRow("adversarial", INK, list(found[order]), texts=[names[prediction[0, i]] for i in order]),
        ImageRow("difference", GREY, list(change), texts=counted, right=f"±{scale:.2g}"),
    ]
    return _grid(rows, len(few), ("fool fewest held-out", "fool most"), margin=0.85, room=0.4)


def nearest(data: xr.Dataset, table: Table) -> Figure | None:
    """The nearest image found that fools every attacker, beside its start; the radius beneath."""
    found, start = images(data, "joint_picture"), images(data, "picture_start")
    radius = data.smallest_radius.values[: min(len(found), len(start))]
    index = np.flatnonzero(np.isfinite(radius) & (radius > 0))[: 2 * MOST]
    rows = [
        ImageRow("image", GREY, list(start[index])),
        ImageRow("fools all", INK, list(found[index]), texts=[f"{radius[i]:.3f}" for i in index]),
    ]
    return image_grid(rows, margin=0.75)


def between_pictures(data: xr.Dataset, table: Table) -> Figure | None:
    """Where disagreement is largest on the lines where that is largest, and on those where it is smallest."""
    pictures, lines = images(data, "between_picture"), data.isel(space=0, pair=data.pictured.values)
    apart = lines.disagreement.transpose("step", "pair").values
    vote = lines.vote.transpose("step", "pair", "class").values
    at = (1 + apart[1:-1].argmax(axis=0)).tolist()
    count, names = len(pictures), classes(data)

    def said(step: int, i: int, kept: int) -> str:
        order = np.argsort(-vote[step, i], kind="stable")[:kept]
        return "\n".join(f"{names[c]} ({vote[step, i, c]})" for c in order if vote[step, i, c])

    rows = [
        ImageRow("one end", GREY, list(pictures[:, 0]), texts=[said(0, i, 1) for i in range(count)]),
        ImageRow("between", INK, list(pictures[:, 1]), texts=[said(at[i], i, 2) for i in range(count)]),
        ImageRow("other end", GREY, list(pictures[:, 2]), above=0.1, texts=[said(-1, i, 1) for i in range(count)]),
    ]
    titles = ("where they disagree most", "where they disagree least")
    peaks = [f"{apart[at[i], i]:.2f} nats" for i in range(count)]
    return _grid(rows, -(-count // 2), titles, heads=peaks, margin=0.75)


OF_ONE = (
    FigureSpec(
        "main",
        "How many classifiers must guide a search, and who is fooled by whose examples",
        "Left: intervals are 95 %, over held-out classifiers and images; small dots are the disjoint blocks of k; "
        "dashed lines with a band are searches guided by one classifier drawn at random. Right: bars are shares of "
        "images; the source itself is framed.",
        ("prediction", "clean_prediction", "label"),
        main,
        narrow=main_column,
        table=main_table,
    ),
    FigureSpec(
        "guides",
        "Guide sets at equal steps and at equal gradients",
        "As in the main figure. At equal steps all searches take the same number of steps; at equal gradients they "
        "spend the same number of gradients, so that k members take 1/k of the steps.",
        ("guided_wrong", "block_wrong"),
        guide_sets,
        optional=True,
    ),
    FigureSpec(
        "transfer",
        "Attack by attack",
        "Means over pairs with 95 % intervals over classifiers and images. Triangles: noise of the same norm. First "
        "flips stop at the source's own boundary and are measured on images where all sources are fooled, other "
        "attacks on images that all classifiers classify correctly.",
        ("prediction",),
        transfer,
    ),
    FigureSpec(
        "counts",
        "How many classifiers does one example fool?",
        "Bars: share of examples that fool this number of held-out classifiers, mean over sources. Black: the same if "
        "they were fooled independently, with probabilities from their margins on the clean image. Bars above black "
        "at both ends mean that classifiers are fooled together, beyond what is easy for all. Images are those on "
        "which every attacker is fooled by its own attack.",
        ("prediction", "clean_margin"),
        counts,
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
        "Beneath each image is its L∞ distance, an upper bound found by bisection. Images are the first for which one "
        "is found.",
        ("smallest_radius", "joint_picture", "picture_start"),
        nearest,
        kind="png",
        optional=True,
    ),
    FigureSpec(
        "examples",
        "Shared and unshared examples",
        "Adversarial examples of the first attacker, on the first test images: those that fool fewest held-out "
        "classifiers, and those that fool most. Beneath: the true class, the class that the attacker predicts, and "
        "how many held-out classifiers are fooled.",
        ("picture", "picture_start", "prediction", "clean_prediction", "label"),
        examples,
        kind="png",
    ),
    FigureSpec(
        "geometry_differences",
        "Shared minus unshared examples",
        "Differences are raw, of changes (each example minus its own image), of the same examples moved to "
        "equal confidence, and between partners of equal confidence. "
        "Where raw and changed differ in sign, the images differ, not the examples.",
        ("geometry_margin",),
        differences,
        optional=True,
    ),
    FigureSpec(
        "between",
        "Where classifiers disagree between two classes",
        "Disagreement, H(mean p) - mean H(p), is 0 where all give the same probabilities, however unsure they are. "
        "Lines run between test images of two classes; bands are 95 % intervals over pairs, for these classifiers.",
        ("disagreement",),
        between,
        optional=True,
    ),
    FigureSpec(
        "between_pictures",
        "Pictures between classes where classifiers disagree most and least",
        "On the autoencoder's manifold: both ends of a line and, between them, its point of largest disagreement. "
        "Above: that disagreement; beneath: how many of all trained classifiers predict each class. Least: lines "
        "whose largest disagreement is smallest.",
        ("between_picture", "disagreement", "vote"),
        between_pictures,
        kind="png",
        optional=True,
    ),
)


def first(draw: Callable | None) -> Callable | None:
    """The same drawing, of the first kind of training alone."""
    return None if draw is None else of_one_kind(lambda data, table: draw(of_one(data), table))


FIGURES = (
    FigureSpec(
        "sweep",
        "Every value of the sweep",
        "An adversarial example of the headline's attack, tried on the other attackers and the held-out classifiers "
        "that were trained with the same value, with 95 % intervals. Figures below show the first value.",
        ("prediction",),
        sweep,
        when=lambda data, table: len(strata_of(table)) > 1,
    ),
    *(one._replace(draw=first(one.draw), narrow=first(one.narrow), table=first(one.table)) for one in OF_ONE),
)
