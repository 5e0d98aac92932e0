"""How autoencoders trained: validation error and training loss by epoch."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from landscape.presets.names import CODED
from landscape.reporting import style
from landscape.reporting.autoencoder_axes import log_y, setting_note, size_colors
from landscape.reporting.autoencoder_cells import (
    DOTTED,
    GREY,
    IMAGE,
    Cell,
    cells_of,
    layers_of,
    look,
    main_family,
    one_setting,
    values_of,
)

MOST_PANELS = 12


def training(data: xr.Dataset) -> Figure | None:
    """Validation error (lines) and training loss (dotted) by epoch; a panel a family of images, and a hidden layer."""
    data, setting = one_setting(data)
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells_of(data):
        if any(values_of(data, name, cell) is not None for name in ("validation_mse", "train_loss")):
            groups.setdefault((cell.layer, cell.family), []).append(cell)
    if len(groups) > MOST_PANELS:
        family = main_family(cells_of(data))
        groups = {key: cells for key, cells in groups.items() if key[0] == IMAGE or key[1] == family}
    order = layers_of(data)
    ranked = sorted(groups.items(), key=lambda item: order.index(item[0][0]) if item[0][0] in order else len(order))
    ranked = ranked[:MOST_PANELS]
    if not ranked:
        return None
    sizes = sorted({cell.size for _, cells in ranked for cell in cells if cell.family not in CODED})
    colors = size_colors(sizes) if sizes else {}
    keys = [
        (Line2D([], [], color=colors[size]), f"{size} dimensions" if size == sizes[0] else str(size)) for size in sizes
    ]
    keys.append((Line2D([], [], color=GREY, linestyle=DOTTED), "training loss"))
    top = 0.32 + 0.16 * -(-len(keys) // 8)
    figure, axes = style.panels(
        len(ranked), columns=4, height=1.05, top=top, left=0.62, gap=(0.62, 0.5), right=0.35, bottom=0.4
    )
    epoch = data["epoch"].values if "epoch" in data.coords else np.arange(1, data.sizes["epoch"] + 1)
    for one, ((layer, family), cells) in zip(axes, ranked, strict=True):
        losses = _curves(one, data, cells, epoch, colors)
        one.set_title(
            f"{look(family).label}" if layer == IMAGE else f"{style.plain(layer, limit=14)}, {look(family).label}"
        )
        one.grid(axis="y")
        log_y(one, small=True)
        one.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        if losses:
            _other_scale(one, losses, epoch, cells[0].family)
    style.shared_labels(figure, "epoch", "MSE on validation images")
    style.legend_above(figure, [key for key, _ in keys], [text for _, text in keys], columns=8)
    setting_note(figure, setting)
    return figure


def _curves(axes: Axes, data: xr.Dataset, cells: list[Cell], epoch: np.ndarray, colors: dict) -> list[tuple]:
    """Draws the curves of one panel; returns the (color, mean loss) that are on another scale than the errors."""
    apart = []
    curves = [values_of(data, name, cell) for cell in cells for name in ("validation_mse", "train_loss")]
    last = max(int(np.isfinite(curve).any(axis=0).nonzero()[0].max()) for curve in curves if curve is not None)
    epoch = epoch[: last + 1]
    marker = "." if last == 0 else ""
    axes.set_xlim(min(0, epoch[0]), max(epoch[-1], 1) * 1.04)
    for cell in cells:
        color = colors.get(cell.size, look(cell.family).color)
        error, loss = (values_of(data, name, cell) for name in ("validation_mse", "train_loss"))
        if error is not None:
            axes.plot(epoch, error.T[: last + 1], color=color, linewidth=0.6, alpha=0.8, marker=marker)
        if loss is not None:
            mean = loss.mean(axis=0)[: last + 1]
            near = error is None or np.nanmedian(mean) < 30 * np.nanmedian(error)
            if near:
                axes.plot(epoch, mean, color=color, linestyle=DOTTED, linewidth=1.0, marker=marker)
            else:
                apart.append((color, mean))
    return apart


def _other_scale(axes: Axes, losses: list[tuple], epoch: np.ndarray, family: str) -> None:
    """Losses in another unit, on an axis of their own on the right."""
    other = axes.twinx()
    for color, mean in losses:
        marker = "." if len(mean) == 1 else ""
        other.plot(epoch[: len(mean)], mean, color=color, linestyle=DOTTED, linewidth=1.0, marker=marker)
    log_y(other, small=True)
    other.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}" if value >= 100 else f"{value:.3g}"))
    other.spines["right"].set_visible(True)
    if family == "vae":
        other.set_title("nats", fontsize=6.5, loc="right", color="#555555")
