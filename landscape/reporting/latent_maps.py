"""Figures of `latent`: correlations between latent dimensions, and test images on their first two principal axes."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from landscape.reporting import style
from landscape.reporting.latent_parts import class_colors, class_names, families, look, read

NAMED = 20  # classes up to which each is written at its middle
SHORT = 2  # letters of names that are written among the points as well: longer ones would cover each other


def correlations(data: xr.Dataset) -> Figure | None:
    """Correlation matrix of the first member's latent dimensions, a panel a family."""
    told = [(family, _first(data, family)) for family in families(data)]
    told = [(family, matrix) for family, matrix in told if matrix is not None]
    if not told:
        return None
    columns = 4 if len(told) in (4, 7, 8) else min(5, len(told))
    left, gap, bar = 0.5, 0.3, 0.55
    side = (style.PAGE - left - bar - (max(4, columns) - 1) * gap) / max(4, columns)
    width = max(2.6, left + bar + columns * side + (columns - 1) * gap)
    figure, axes = style.panels(
        len(told),
        columns=columns,
        width=width,
        height=side,
        left=left,
        right=width - left - columns * side - (columns - 1) * gap,
        top=0.25,
        bottom=0.42,
        gap=(gap, 0.42),
    )
    picture = None
    for one, (family, matrix) in zip(axes, told, strict=True):
        picture = one.imshow(matrix, vmin=-1, vmax=1, cmap="RdBu_r", interpolation="nearest")
        one.set_title(look(family).label, color=look(family).color)
        for axis in (one.xaxis, one.yaxis):
            axis.set_major_locator(MaxNLocator(4, integer=True))
        one.tick_params(length=0)
        one.spines[:].set_visible(False)
    box = axes[columns - 1].get_position()
    scale = figure.add_axes((box.x1 + 0.1 / width, box.y0, 0.09 / width, box.height))
    figure.colorbar(picture, cax=scale).outline.set_visible(False)
    scale.set_yticks([-1, 0, 1], ["−1", "0", "+1"])
    style.shared_labels(figure, "latent dimension", "latent dimension")
    return figure


def _first(data: xr.Dataset, family: str) -> np.ndarray | None:
    matrix = read(data, f"correlation.{family}", "member", f"latent_{family}")
    return matrix[0] if matrix is not None and np.isfinite(matrix[0]).any() else None


def projections(data: xr.Dataset) -> Figure | None:
    """Test images on the first two principal axes of their latents, coloured by true class; a panel a family."""
    told = [(family, read(data, f"projection.{family}", "example", "axis")) for family in families(data)]
    told = [(family, points) for family, points in told if points is not None and points.shape[1] >= 2]
    if not told or "label" not in data.variables:
        return None
    label, names = data["label"].values.astype(int), class_names(data)
    count = max(len(names), int(label.max()) + 1)
    names = [*names, *(str(i) for i in range(len(names), count))]
    colors, legend = class_colors(count), count <= NAMED
    columns = min(3, len(told))
    across = 10 if max(map(len, names)) < 5 else 5
    rows = -(-count // across) if legend else 0
    figure, axes = style.panels(
        len(told),
        columns=columns,
        width=style.PAGE if columns == 3 else 0.6 + columns * 2.3,
        height=1.9,
        left=0.55,
        top=0.28 + 0.17 * rows,
        bottom=0.4,
        gap=(0.32, 0.38),
    )
    for one, (family, points) in zip(axes, told, strict=True):
        known = np.isfinite(points[:, :2]).all(axis=1) & (label >= 0)
        shade = np.asarray([colors[i] for i in label[known]])
        size = float(np.clip(2500 / max(1, known.sum()), 1.5, 9))
        one.scatter(*points[known, :2].T, c=shade, s=size, linewidths=0, alpha=0.75, rasterized=True)
        if legend and max(map(len, names)) <= SHORT:
            _write_classes(one, points, label, known, names, colors)
        one.set_title(look(family).label, color=look(family).color)
        one.set_aspect("equal", adjustable="datalim")
        for axis in (one.xaxis, one.yaxis):
            axis.set_major_locator(MaxNLocator(4))
    style.shared_labels(figure, "first principal axis (unit of the latent)", "second principal axis")
    if legend:
        keys = [Line2D([], [], color=c, marker="o", linestyle="", markersize=4) for c in colors]
        style.legend_above(figure, keys, names, columns=across)
    return figure


def _write_classes(axes, points, label, known, names, colors) -> None:
    """Each class's name at its median point."""
    for i in np.unique(label[known]):
        x, y = np.median(points[known & (label == i), :2], axis=0)
        halo = [withStroke(linewidth=2.5, foreground="white")]
        axes.text(
            x,
            y,
            names[i],
            ha="center",
            va="center",
            fontsize=7.5,
            weight="bold",
            color=colors[i],
            path_effects=halo,
        )
