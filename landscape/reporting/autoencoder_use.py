"""Use of a manifold: how far and how honestly a class was climbed on it, and how near its images are to real ones."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator, PercentFormatter

from landscape.reporting import plate, style
from landscape.reporting.autoencoder_axes import dots, setting_note
from landscape.reporting.autoencoder_cells import (
    DASHED,
    IMAGE,
    Manifold,
    cells_of,
    in_order,
    look,
    manifolds,
    means_of,
    one_setting,
)

USES = (
    ("held_out_confidence", "confidence in the class", "a  class reached?"),
    ("error_under_another", "mean squared error", "b  error under others"),
    ("moved", "L2 (pixels)", "c  distance moved"),
    ("nearest_training", "L2 (pixels)", "d  to a training image"),
)


def use(data: xr.Dataset) -> Figure | None:
    """Confidence of guide and held-out classifier, error under another autoencoder, distances; a row a manifold."""
    data, setting = one_setting(data)
    shown = [entry for entry in USES if entry[0] in data.variables and np.isfinite(data[entry[0]].values).any()]
    rows = manifolds(data)
    if not shown or not rows:
        return None
    figure, axes = style.panels(
        len(shown), columns=4, height=max(0.9, 0.23 * len(rows)), left=0.95, top=0.28, gap=(0.3, 0.5), sharey=True
    )
    for one, (name, unit, title) in zip(axes, shown, strict=True):
        values = data[name].transpose("use_cell", "member", "start").values.mean(axis=2)
        if name == "held_out_confidence":
            _confidences(one, data, rows, values)
        else:
            for y, row in enumerate(rows):
                dots(one, values[row.index], y, row.look.color)
        if name == "error_under_another":
            by_name = dict(zip(plate.names(data, "cell"), in_order(data), strict=True))
            climbed = [by_name[name] for name in plate.names(data, "use_cell") if name in by_name]
            usual = [means_of(data, "mse", cell) for cell in climbed]
            if usual := [error.mean() for error in usual if error is not None]:
                one.axvline(np.mean(usual), color="#888888", linestyle=DASHED, linewidth=0.8, zorder=0)
        one.set(xlabel=unit, title=title)
        one.grid(axis="x")
        one.set_yticks(range(len(rows)), [row.label for row in rows])
        one.tick_params(axis="y", length=0)
        one.set_ylim(len(rows) - 0.4, -0.6)
        if name != "held_out_confidence":
            one.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
            one.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
            one.set_xlim(0, 1.1 * float(np.nanmax(values)) or 1.0)
    setting_note(figure, setting)
    return figure


def _confidences(axes: Axes, data: xr.Dataset, rows: list[Manifold], held_out: np.ndarray) -> None:
    """Held-out confidence in colour, the guide's hollow; a line joins the two means."""
    guide = None
    if "guide_confidence" in data.variables:
        guide = data["guide_confidence"].transpose("use_cell", "member", "start").values.mean(axis=2)
    for y, row in enumerate(rows):
        own = held_out[row.index]
        if guide is not None and np.isfinite(guide[row.index]).any():
            ends = [np.nanmean(own), np.nanmean(guide[row.index])]
            axes.plot(ends, [y + 0.17, y - 0.17], color="#cccccc", linewidth=1.0, zorder=0)
            dots(axes, guide[row.index], y - 0.17, row.look.color, hollow=True)
        dots(axes, own, y + 0.17, row.look.color)
    axes.set_xlim(-0.03, 1.03)
    axes.set_xticks([0, 0.5, 1])
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))


def along(data: xr.Dataset) -> Figure | None:
    """Held-out confidence against distance moved, from the decoded start on; a line a manifold, means of all."""
    data, setting = one_setting(data)
    rows = manifolds(data)
    names = ("moved_along", "held_out_along")
    if not rows or any(name not in data.variables or not np.isfinite(data[name].values).any() for name in names):
        return None
    x, y = (data[name].transpose("use_cell", "ascent_step", ...).values for name in names)
    x, y = (v.reshape(*v.shape[:2], -1).mean(axis=2) for v in (x, y))
    figure, (axes,) = style.panels(1, columns=1, height=2.3, left=0.6, top=0.3)
    for row in rows:
        s, told = row.look, (x[row.index], y[row.index])
        axes.plot(*told, color=s.color, linestyle=s.line, linewidth=1.1, label=row.label)
        axes.plot(told[0][-1:], told[1][-1:], color=s.color, marker=s.marker, markersize=4, linestyle="")
    axes.set(xlabel="L2 distance from the start (pixels)", ylabel="held-out confidence in the class")
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlim(0, None)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.grid()
    style.legend_above(figure, *axes.get_legend_handles_labels(), columns=5)
    setting_note(figure, setting)
    return figure


def frechet(data: xr.Dataset) -> Figure | None:
    """Frechet distances of reconstructions and prior samples to training images, a row a cell; dashed: test images."""
    data, setting = one_setting(data)
    panels = []
    for name, title in (("reconstruction", "a  reconstructions"), ("samples", "b  samples of the prior")):
        told = [(cell, means_of(data, f"frechet_{name}", cell)) for cell in cells_of(data, layer=IMAGE)]
        told = [(cell, values) for cell, values in told if values is not None]
        if told:
            panels.append((title, told))
    if not panels:
        return None
    most = max(len(told) for _, told in panels)
    figure, axes = style.panels(
        len(panels), columns=2, height=max(0.8, 0.17 * most), left=0.95, top=0.28, gap=(0.95, 0.0)
    )
    for one, (title, told) in zip(axes, panels, strict=True):
        for y, (cell, values) in enumerate(told):
            dots(one, values, y, look(cell.family).color)
        if "frechet_floor" in data.variables and np.isfinite(data["frechet_floor"].values).any():
            one.axvline(np.nanmean(data["frechet_floor"].values), color="#555555", linestyle=DASHED, linewidth=0.8)
        one.set(xlabel="Fréchet distance / variance", title=title)
        one.set_yticks(range(len(told)), [cell.label for cell, _ in told])
        one.tick_params(axis="y", length=0)
        one.set_ylim(most - 0.4, -0.6)
        _wide_x(one, [values for _, told in panels for _, values in told])
        one.grid(axis="x")
    setting_note(figure, setting)
    return figure


def _wide_x(axes: Axes, values: list[np.ndarray]) -> None:
    """A logarithmic axis, linear about 0 where extrapolated distances may fall on either side of it."""
    means = np.abs([v.mean() for v in values])
    least, most = max(np.nanmin(means), 1e-6), np.nanmax(means)
    decade = 10.0 ** np.floor(np.log10(min(least, most / 10)))
    axes.set_xscale("symlog", linthresh=decade)
    low, high = min(0.0, *(np.nanmin(v) for v in values)), max(np.nanmax(v) for v in values)
    axes.set_xlim(1.3 * low if low < 0 else 0, 1.6 * high)
    exponents = range(round(np.log10(decade)), int(np.floor(np.log10(1.6 * max(high, decade)))) + 1)
    ticks = [0.0, *(10.0**e for e in exponents)]
    axes.set_xticks([-decade, *ticks] if low < -0.5 * decade else ticks)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}".replace("-", "−")))
    axes.xaxis.set_minor_locator(NullLocator())
