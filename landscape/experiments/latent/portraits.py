"""Figures of what the set of a family's latents looks like: dimensions, distances, spread, projection, correlation."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from landscape.experiments.latent.looks import GREY, REFERENCE, family_key, in_order
from landscape.reporting import figures, plots, style
from landscape.stats.table import Table

MEASURES = (  # estimates, title, unit, value of chance or of nothing
    (("distance.mmd_from_prior", "distance.mmd_from_gaussian"), "b  MMD² from prior", "", 0.0),
    (("accuracy.versus_gaussian",), "c  against a Gaussian", "accuracy", 0.5),
    (("accuracy.linear_probe",), "d  class, linear probe", "accuracy", None),
    (("accuracy.neighbours",), "e  class, 10 neighbours", "accuracy", None),
    (("agreement.cka",), "f  alike between seeds", "CKA", None),
    (("agreement.linear_map",), "g  alike between seeds", "R² of a linear map", None),
)
DIMENSIONS = (("active_units", "s"), ("effective_dimension", "o"), ("intrinsic_dimension", "^"))


def measures(data: xr.Dataset, table: Table) -> Figure | None:
    """A row a family, a panel a measure, with intervals."""
    names = in_order(data)
    colors, labels = [style.look(name).color for name in names], [style.look(name).label for name in names]
    room = {"left": 0.85, "top": 0.45, "bottom": 0.4, "gap": (0.18, 0.62)}
    figure, panels = style.panels(1 + len(MEASURES), columns=4, height=max(0.8, 0.2 * len(names)), **room)
    given = data.spectrum.isel(member=0).notnull().sum("latent").sel(family=names).values
    panels[0].plot(given, range(len(names)), "|", color=GREY, markersize=9, markeredgewidth=1.4)
    for name, marker in DIMENSIONS:
        rows = [table.get(f"usage.{name}", family=family) for family in names]
        plots.interval_rows(panels[0], rows, colors, marker=marker, hollow=name == "active_units")
    style.log_x(panels[0], np.asarray([1.0, *given]), small=True)
    panels[0].set(title="a  dimensions", xlabel="number")
    drawn = False
    for axes, (estimates, title, unit, nothing) in zip(panels[1:], MEASURES, strict=True):
        for place, name in enumerate(estimates):
            rows = [table.get(name, family=family) for family in names]
            plots.interval_rows(axes, rows, colors, hollow=place > 0)
            drawn |= any(rows)
        if nothing is not None:
            axes.axvline(nothing, **REFERENCE)
        axes.set(title=title, xlabel=unit)
        axes.margins(x=0.1)
        axes.locator_params(axis="x", nbins=4)
    for place, axes in enumerate(panels):
        plots.name_rows(axes, labels, colors)
        axes.tick_params(axis="y", length=0, labelleft=place % 4 == 0)
    markers = (("|", GREY), ("s", "white"), ("o", "#555555"), ("^", "#555555"))
    keys = [Line2D([], [], color="#555555", marker=m, linestyle="", markerfacecolor=f) for m, f in markers]
    texts = [f"{name} dimensions" for name in ("given", "active", "effective", "intrinsic")]
    style.legend_above(figure, keys, texts, columns=4)
    return figure if drawn else None


def spread(data: xr.Dataset, table: Table) -> Figure | None:
    """Lengths of latents, skewness and excess kurtosis of their dimensions, by family."""
    lengths = data.norms / data.norms.median("example")
    shown = {
        "length over the median length": lengths,
        "skewness": data.skewness,
        "excess kurtosis": data.excess_kurtosis,
    }

    def pooled(values: xr.DataArray) -> dict[str, np.ndarray]:
        found = {name: values.sel(family=name).values.ravel() for name in in_order(data)}
        found = {name: one[np.isfinite(one)] for name, one in found.items()}
        return {name: one for name, one in found.items() if len(one)}

    return plots.spreads({label: pooled(values) for label, values in shown.items()})


def spectrum(data: xr.Dataset, table: Table) -> Figure | None:
    """Share of the variance along the first principal axes, a line a family, thin ones its seeds."""
    figure, (axes,) = style.panels(1, columns=1, width=style.COLUMN, height=1.7)
    most = 1
    for family in in_order(data):
        values = data.spectrum.sel(family=family).transpose("member", "latent").values
        values = values[:, np.isfinite(values).all(axis=0)]
        if values.shape[1]:
            shares, look = np.cumsum(values, axis=1) / values.sum(axis=1, keepdims=True), style.look(family)
            x, most = np.arange(1.0, values.shape[1] + 1), max(most, values.shape[1])
            axes.plot(x, shares.T, color=look.color, linewidth=0.5, alpha=0.4)
            axes.plot(x, shares.mean(axis=0), color=look.color, marker="." if len(x) <= 16 else "")
    style.log_x(axes, np.asarray([1.0, most]))
    axes.set(xlabel="principal axes", ylabel="share of the variance", ylim=(0, 1.03))
    axes.grid()
    style.legend_above(figure, *family_key(in_order(data)), columns=5)
    return figure if axes.lines else None


def projections(data: xr.Dataset, table: Table) -> Figure | None:
    """Test images on the first two principal axes of the first member's latents, coloured by true class."""
    names, classes = in_order(data), figures.names(data, "class")
    label, legend = data.label.values.astype(int), len(classes) <= plots.MANY
    colors = class_colors(len(classes))
    across = 10 if max(map(len, classes)) < 5 else 5
    room = {"left": 0.55, "top": 0.28 + 0.17 * -(-len(classes) // across) * legend, "bottom": 0.4, "gap": (0.32, 0.38)}
    columns = min(3, len(names))
    width = style.PAGE if columns == 3 else 0.6 + columns * 2.3
    figure, panels = style.panels(len(names), columns=columns, width=width, height=1.9, **room)
    for axes, family in zip(panels, names, strict=True):
        points = data.projection.sel(family=family).transpose("example", "axis").values
        size = float(np.clip(2500 / len(points), 1.5, 9))
        axes.scatter(*points.T, c=[colors[i] for i in label], s=size, linewidths=0, alpha=0.75, rasterized=True)
        axes.set_title(style.look(family).label, color=style.look(family).color)
        axes.set_aspect("equal", adjustable="datalim")
        axes.locator_params(nbins=4)
    style.shared_labels(figure, "first principal axis (unit of the latent)", "second principal axis")
    if legend:
        keys = [Line2D([], [], color=c, marker="o", linestyle="", markersize=4) for c in colors]
        style.legend_above(figure, keys, [style.plain(name, limit=10) for name in classes], columns=across)
    return figure


def class_colors(count: int) -> list[Any]:
    """A colour a class: ten that colour-blind readers tell apart (Paul Tol's muted set), more by hue."""
    muted = "#332288 #88CCEE #44AA99 #117733 #999933 #DDCC77 #CC6677 #882255 #AA4499 #888888".split()
    return muted[:count] if count <= 10 else [colormaps["hsv"](i / count) for i in range(count)]


def correlations(data: xr.Dataset, table: Table) -> Figure | None:
    """Correlation of the first member's latent dimensions, a matrix a family."""
    shown = []
    for family in in_order(data):
        matrix = data.correlation.sel(family=family).transpose("first", "second").values
        kept = np.isfinite(matrix).any(axis=0)
        if kept.any():
            shown.append((style.look(family).label, matrix[np.ix_(kept, kept)]))
    labels = ("latent dimension", "latent dimension")
    return plots.matrices(shown, min(5, len(shown)), labels, limits=(-1.0, 1.0), cmap="RdBu_r") if shown else None
