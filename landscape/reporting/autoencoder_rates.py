"""Error of images against bits, and against dimensions."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from landscape.presets.names import CODED
from landscape.reporting import style
from landscape.reporting.autoencoder_axes import (
    by_size,
    family_keys,
    legend_columns,
    log_limits,
    log_ticks,
    setting_note,
)
from landscape.reporting.autoencoder_cells import (
    IMAGE,
    Cell,
    cells_of,
    look,
    means_of,
    one_setting,
    settings,
    values_of,
)


def rates(data: xr.Dataset) -> Figure | None:
    """Mean squared error of test images against bits an image (left) and against dimensions (right)."""
    whole = data
    data, setting = one_setting(data)
    cells = [cell for cell in cells_of(data, layer=IMAGE) if means_of(data, "mse", cell) is not None]
    if not cells:
        return None
    keys = family_keys([cell.family for cell in cells])
    columns = legend_columns(len(keys))
    top = 0.3 + 0.16 * -(-len(keys) // columns)
    figure, (left, right) = style.panels(2, columns=2, height=2.7, top=top, gap=(0.3, 0.4), right=0.6, sharey=True)
    bits = [x for cell in cells for x in _rate_of(left, data, cell)] + _posterior_rates(left, whole, cells)
    _coarse_ends(left, data, cells)
    by_size(right, [(c, means_of(data, "mse", c)) for c in cells if c.family not in CODED])
    bits = [x for x in bits if np.isfinite(x) and x > 0]
    if bits:
        style.log_x(left, np.asarray(bits))
    left.set(xlabel="bits an image", ylabel="mean squared error (pixels in [0, 1])", title="a  rate")
    right.set_title("b  dimensions")
    for axes in (left, right):
        axes.grid()
    limits = log_limits([line.get_ydata() for axes in (left, right) for line in axes.lines], above=1.4)
    if limits is None:
        return None
    low, high = limits
    left.set_yscale("log")
    left.set_ylim(low, high)
    log_ticks(left, low, high)
    decibels = right.twinx()
    decibels.set_ylim(-10 * np.log10(low), -10 * np.log10(high))
    decibels.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    decibels.spines["right"].set_visible(True)
    decibels.set_ylabel("PSNR of that error (dB)")
    style.legend_above(figure, [key for key, _ in keys], [text for _, text in keys], columns=columns)
    setting_note(figure, setting)
    return figure


def _rate_of(axes: Axes, data: xr.Dataset, cell: Cell) -> list[float]:
    """Draws a quantised cell's curve, or the point of one with codes; returns the bits drawn."""
    s = look(cell.family)
    curve = _quantised(data, cell)
    if curve is not None:
        x, y = curve
        axes.plot(x, y, color=s.color, linestyle=s.line, linewidth=0.9, alpha=0.85)
        axes.plot(x[:1], y[:1], color=s.color, marker=s.marker, markersize=3, linestyle="")
        return x.tolist()
    used, error = means_of(data, "code_bits", cell), means_of(data, "mse", cell)
    if used is None or error is None:
        return []
    x, y = [float(used.mean())], float(error.mean())
    if "code_bound" in data.variables and np.isfinite(bound := float(data["code_bound"].values[cell.image])):
        axes.plot([x[0], bound], [y, y], color=s.color, linewidth=0.9)
        axes.plot([bound], [y], color=s.color, marker="|", markersize=7)
        x.append(bound)
    axes.plot(x[:1], [y], color=s.color, marker=s.marker, markersize=5.5, linestyle="", zorder=4)
    return x


def _quantised(data: xr.Dataset, cell: Cell) -> tuple[np.ndarray, np.ndarray] | None:
    """(bits, error) of the uniformly quantised latent, finest first."""
    bits, error = values_of(data, "rate_bits", cell), values_of(data, "rate_mse", cell)
    if bits is None or error is None:
        return None
    x, y = bits.mean(axis=(0, 2)), error.mean(axis=(0, 2))
    order = np.argsort(-x)
    return x[order], y[order]


def _posterior_rates(axes: Axes, whole: xr.Dataset, cells: list[Cell]) -> list[float]:
    """Families with a posterior: a line through their sizes, one for each point of a sweep; returns the bits drawn."""
    drawn: list[float] = []
    for family in dict.fromkeys(cell.family for cell in cells):
        own = [cell for cell in cells if cell.family == family]
        told = [(values_of(whole, "latent_kl", cell), means_of(whole, "draw_mse", cell)) for cell in own]
        told = [(latent, error) for latent, error in told if latent is not None and error is not None]
        for _, members in settings(whole) if told else ():
            x = [latent[members].mean() / np.log(2) for latent, _ in told]
            y = [error[members].mean() for _, error in told]
            s = look(family)
            axes.plot(x, y, color=s.color, marker=s.marker, linewidth=0.9, markersize=4.5, zorder=4)
            drawn += x
    return drawn


def _coarse_ends(axes: Axes, data: xr.Dataset, cells: list[Cell]) -> None:
    """The sizes, written once above the coarse ends of all curves of a size."""
    ends: dict[int, list[tuple[float, float]]] = {}
    for cell in cells:
        curve = _quantised(data, cell) if cell.family in ("ae", "pca") else None
        if curve is not None:
            ends.setdefault(cell.size, []).append((curve[0][-1], curve[1][-1]))
    for index, (size, places) in enumerate(sorted(ends.items())):
        x, y = max(places, key=lambda place: place[1])
        text = f"{size} dims" if index == 0 else str(size)
        axes.annotate(text, (x, y), (2, 3), textcoords="offset points", va="bottom", fontsize=6.5, color="#555555")
