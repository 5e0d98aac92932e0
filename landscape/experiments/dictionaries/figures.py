"""Figures of a dictionaries run: numbers come from the table, features one by one and pictures from the dataset."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from landscape.experiments.dictionaries.config import KINDS, STARTS, TIMES
from landscape.experiments.dictionaries.estimates import AGREEMENT, RANDOM, TOPK
from landscape.reporting import figures, plots, style
from landscape.reporting.figures import FigureSpec
from landscape.reporting.image_grid import ImageRow, image_grid
from landscape.reporting.style import Look
from landscape.stats.table import ENDS, Row, Table

LINES = {"topk": ("-", "o"), "jumprelu": ((0, (4, 1.5)), "s")}
WHEN = {"before": Look("step 0", "#E69F00", marker="D"), "after": Look("end of training", "#0072B2")}
FROM = {"random": "random", "own": "own k-means", "shared": "shared k-means"}
WHAT = {"agreement.atoms": ("by atoms", "cosine"), "agreement.activations": ("by activations", "correlation")}


# ---- the main figure: agreement ----


def agreement(data: xr.Dataset, table: Table, width: float = style.PAGE) -> Figure | None:
    """Agreement of two seeds by kind and start, at step 0 and at the end; the last layer alone where narrow."""
    narrow = width < style.PAGE
    layers = figures.names(data, "layer")[-1:] if narrow else figures.names(data, "layer")
    settings = [(kind, start) for kind in KINDS for start in STARTS]
    panels, units = {}, {}
    for layer in layers:
        for name, (what, unit) in WHAT.items():
            rows = table.select(name, layer=layer, reference=None)
            series = {
                time: [rows.get(name, kind=kind, start=start, time=time) for kind, start in settings] for time in TIMES
            }
            panels[f"{style.plain(layer, limit=14)}\n{what}"] = series
            units[f"{style.plain(layer, limit=14)}\n{what}"] = unit
    labels = [f"{kind}, {FROM[start]}" for kind, start in settings]
    room = {"height": 2.4, "left": 1.5, "bottom": 0.5}
    figure = plots.forest(panels, labels, WHEN, units=units, columns=2 if narrow else 4, width=width, **room)
    chance = [table.get(name, layer=layer, kind=TOPK, start=RANDOM, time="before") for layer in layers for name in WHAT]
    for axes, row in zip(figure.axes if figure else (), chance, strict=False):
        axes.set_xlim(0, 1.06)
        axes.set_xticks((0, 0.5, 1), ("0", "0.5", "1"))
        if row is not None:
            axes.axvline(row["value"], color=style.GREY, linewidth=0.8, linestyle=(0, (1, 1.3)), zorder=0.7)
        for line in (2.5, 5.5):
            axes.axhline(line, color="#999999", linewidth=0.6, zorder=0)
    return figure


def agreement_table(data: xr.Dataset, table: Table) -> list[tuple]:
    """The rows of the main figure."""
    rows: list[tuple] = [("layer", "kind", "start", "time", "estimate", *ENDS[:3])]
    for row in table.select([*AGREEMENT], reference=None):
        ends = [np.nan if row[end] is None else row[end] for end in ENDS[:3]]
        rows.append((*(row[name] for name in ("layer", "kind", "start", "time", "name")), *ends))
    return rows


# ---- error against active features ----


def curve(data: xr.Dataset, table: Table) -> Figure | None:
    """Share of the variance left unexplained against active features a point, a line a kind and width."""
    layers, errors = figures.names(data, "layer"), table.select("fvu.dictionary", start=RANDOM)
    widths = sorted({row["times"] for row in errors})
    shades = plots.shades(widths, [f"{times} times the layer's width" for times in widths])
    figure, panels = style.panels(len(layers), columns=2, height=2.4, top=0.62, gap=(0.5, 0.5))
    for axes, layer in zip(panels, layers, strict=True):
        seen = [_curve(axes, table, layer, kind, times, shades[times].color) for kind in LINES for times in widths]
        x, y = np.concatenate(seen, axis=1)
        style.log_x(axes, x)
        axes.set(title=layer, xlabel="active features a point", ylabel="variance unexplained (share)")
        axes.grid()
        axes.set_yscale("log")  # over the values: few seeds of unlike outcome have intervals of any length
        axes.set_ylim(0.8 * y.min(), 1.4 * y.max())
        plots.log_y(axes)
    kinds = [Look(kind, style.INK, line, marker) for kind, (line, marker) in LINES.items()]
    plots.key(figure, [*kinds, *(look._replace(line="-") for look in shades.values())], columns=5)
    return figure


def _curve(axes, table: Table, layer: str, kind: str, times: int, color: str) -> np.ndarray:
    """One line with intervals; returns its active features and its values, [2, sparsities]."""
    at = {"layer": layer, "kind": kind, "times": times, "start": RANDOM}
    pairs = [
        (table.one("usage.active", sparsity=row["sparsity"], **at), row) for row in table.select("fvu.dictionary", **at)
    ]
    active, error = zip(*sorted(pairs, key=lambda pair: pair[0]["value"]), strict=True)
    line, marker = LINES[kind]
    x, y = (np.array([row["value"] for row in rows]) for rows in (active, error))
    ends = {f"{name}err": _bars(rows) for name, rows in (("x", active), ("y", error))}
    axes.errorbar(
        x, y, **ends, color=color, linestyle=line, marker=marker, markersize=3.2, elinewidth=0.8, linewidth=1.2
    )
    return np.stack([x, y])


def _bars(rows: tuple[Row, ...]) -> np.ndarray:
    """Lengths of intervals below and above, 0 without one."""
    value, low, high = (np.array([row["value"] if row[end] is None else row[end] for row in rows]) for end in ENDS[:3])
    return np.stack([value - low, high - value]).clip(0)


# ---- features one by one ----


def removed(data: xr.Dataset, table: Table) -> Figure | None:
    """Change of the logit, and changed predictions, without one feature; features in order, a line a seed."""
    layers = figures.names(data, "layer")
    measures = {"logit_change": "change of the logit (logits)", "changed": "share of predictions changed"}
    figure, panels = style.panels(2 * len(layers), columns=2, height=1.6, top=0.3, gap=(0.6, 0.62))
    for number, axes in enumerate(panels):
        layer, (name, label) = layers[number // 2], [*measures.items()][number % 2]
        values = data[name].sel(layer=layer).values
        rank = np.sort(np.nan_to_num(values, nan=0.0), axis=1)[:, ::-1]
        style.thin_lines(axes, np.arange(1.0, rank.shape[1] + 1), rank, "#0072B2", alpha=0.7)
        axes.autoscale_view()
        axes.set_ylim(0, max(1e-3, 1.05 * rank.max()))
        axes.set(title=layer, xlabel="features, in order of the value", ylabel=label)
        axes.grid(axis="y")
    return figure


def images(data: xr.Dataset, table: Table) -> Figure | None:
    """Test images that make the features with the largest effect most active, a row a feature."""
    rows = []
    for layer in figures.names(data, "layer"):
        one = data.sel(layer=layer)
        for number, index in enumerate(one.shown_feature.values):
            change = float(one.logit_change.values[0, index])
            changed = float(one.changed.values[0, index])
            about = f"logit {change:.2f}, {100 * changed:.0f} % change"
            pictures = list(one.picture_top.values[number])
            rows.append(ImageRow(f"{layer} {index}", style.INK, pictures, above=0.12 * (number == 0), right=about))
    return image_grid(rows, margin=0.8, room=1.7)


FIGURES = (
    FigureSpec(
        "agreement",
        "How alike the features of two seeds are",
        "Mean over matched features, then over pairs of seeds, with 95 % intervals over seeds; the best one-to-one "
        "matching of features that are alive at the end. Rows are kinds of dictionaries and what their atoms start at. "
        "Dotted: topk with random atoms at step 0, the chance level of topk. Archetypal atoms lie in a narrow cone, so "
        "that their cosines are large by chance (orange); activations tell more. If the constraint makes seeds agree, "
        "archetypal from random starts ends far right of topk from random starts; if a shared start does, it is the "
        "shared rows that end at the right.",
        ("atoms_agree", "activations_agree"),
        agreement,
        narrow=lambda data, table: agreement(data, table, style.COLUMN),
        table=agreement_table,
    ),
    FigureSpec(
        "curve",
        "Active features against the variance they leave unexplained",
        "Test images; from random starts. A dictionary is the better the lower and the further left it lies. Bars are "
        "95 % intervals over seeds and images, cut at the frame.",
        ("error", "active"),
        curve,
    ),
    FigureSpec(
        "removed",
        "What the classifier loses with one feature",
        "Topk dictionaries from random starts, a line a seed: mean change of the predicted class's logit (left) and "
        "share of predictions that change (right) on the test images where a feature is active, when it alone is "
        "removed. The features of each seed stand in order of this value.",
        ("logit_change", "changed"),
        removed,
    ),
    FigureSpec(
        "images",
        "Images that make a feature most active",
        "First seed, the features with the largest effect on the logit among those active on some images. Right: mean "
        "change of the predicted class's logit where the feature is removed, and predictions that change.",
        ("picture_top",),
        images,
        kind="png",
    ),
)
