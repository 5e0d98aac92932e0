"""The main figure of `autoencoders`: how much of each layer fits through a bottleneck, by depth."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from landscape.presets.names import CODED, YARDSTICKS
from landscape.reporting import style
from landscape.reporting.autoencoder_axes import by_size, family_keys, legend_columns, log_y, setting_note, size_colors
from landscape.reporting.autoencoder_cells import (
    DASHED,
    GREY,
    HYPER,
    Cell,
    cells_of,
    layers_of,
    look,
    main_family,
    means_of,
    one_setting,
    shares_in_class,
)

DEPTH = (("share of the variance within classes", "a  what the bottleneck loses"), ("KL (nats)", "b  what that costs"))


def depth(data: xr.Dataset, *, width: float = style.PAGE) -> Figure | None:
    """In-class FVU and KL after substitution by depth, a line a bottleneck; by size where there is one layer."""
    data, setting = one_setting(data)
    measured = [(cell, shares_in_class(data, cell), means_of(data, "kl", cell)) for cell in cells_of(data)]
    if not any(values is not None and np.isfinite(values).any() for _, *both in measured for values in both):
        return None
    layers = [name for name in layers_of(data) if any(cell.layer == name for cell, *_ in measured)]
    narrow = width < style.PAGE
    by_layer = len(layers) > 1
    if by_layer:  # what no deeper layer has would stand alone
        deeper = {(cell.family, cell.size) for cell, *_ in measured if cell.layer != layers[0]}
        measured = [told for told in measured if told[0].layer != layers[0] or (told[0].family, told[0].size) in deeper]
    keys = _depth_keys(measured, narrow) if by_layer else family_keys([cell.family for cell, *_ in measured])
    columns = legend_columns(len(keys), most=3 if narrow else 7)
    top = 0.3 + 0.16 * -(-len(keys) // columns)
    shape = dict(columns=1, height=1.8, gap=(0.3, 0.5)) if narrow else dict(columns=2, height=2.3, gap=(0.62, 0.4))
    figure, axes = style.panels(2, width=width, top=top, **shape)
    for index, (one, (unit, title)) in enumerate(zip(axes, DEPTH, strict=True)):
        told = [(cell, values[index]) for cell, *values in measured if values[index] is not None]
        if index == 0 and by_layer:  # the class mean, by construction
            one.axhline(1, color=GREY, linestyle=DASHED, linewidth=1.0, zorder=1)
            told = [(cell, values) for cell, values in told if cell.family != "class_mean"]
        if by_layer:
            _by_layer(one, told, layers)
        else:
            by_size(one, told)
        one.set(ylabel=unit, title=title)
        one.grid(axis="y")
        log_y(one, include=(1.0,) if index == 0 and by_layer else ())
    if narrow:
        axes[0].set_xlabel("")
    style.legend_above(figure, [key for key, _ in keys], [text for _, text in keys], columns=columns)
    setting_note(figure, setting)
    return figure


def _depth_keys(measured: list, narrow: bool) -> list[tuple[Line2D, str]]:
    family = main_family([cell for cell, *_ in measured])
    sizes = sorted({cell.size for cell, *_ in measured if cell.family == family})
    colors = size_colors(sizes)
    keys = [(Line2D([], [], color=colors[size], marker="o"), str(size)) for size in sizes]
    if keys:
        unit = "codes" if family in CODED else "dimensions"
        text = f" {sizes[0]}" if narrow else f", {sizes[0]} {unit}"
        keys[0] = (keys[0][0], look(family).label + text)
    for yardstick in YARDSTICKS:
        some = sorted({cell.size for cell, *_ in measured if cell.family == yardstick})
        if some:
            s = look(yardstick)
            text = f"{s.label} {some[0] or ''}".strip()
            if yardstick == "pca":
                text = "PCA" if narrow else "PCA, same colours"
            keys.append((Line2D([], [], color=s.color, linestyle=s.line, linewidth=1.0), text))
    return keys


def _by_layer(axes: Axes, told: list[tuple[Cell, np.ndarray]], layers: list[str]) -> None:
    """A line a size of the main family, with a band from the lowest to the highest member; yardsticks thin."""
    family = main_family([cell for cell, _ in told])
    colors = size_colors(sorted({cell.size for cell, _ in told if cell.family == family}))
    groups: dict[tuple[str, int], dict[str, np.ndarray]] = {}
    for cell, values in told:
        groups.setdefault((cell.family, cell.size), {})[cell.layer] = values
    for (kind, size), by_layer in groups.items():
        if kind != family and (kind not in YARDSTICKS or (kind == "pca" and size not in colors)):
            continue
        x = np.asarray([layers.index(name) for name in layers if name in by_layer])
        y = np.stack([by_layer[layers[i]] for i in x])
        y = np.where(y > 0, y, np.nan)
        mean = y.mean(axis=1)
        if kind == family:
            axes.fill_between(x, y.min(axis=1), y.max(axis=1), color=colors[size], alpha=0.2, linewidth=0)
            axes.plot(x, mean, color=colors[size], marker="o", zorder=3)
            if len(x) == 1:
                axes.plot(np.repeat(x, y.shape[1]), y[0], ".", color=colors[size], alpha=0.5, markersize=2)
        else:
            color = colors[size] if kind == "pca" else look(kind).color
            line = {"linestyle": look(kind).line, "marker": "." if len(x) == 1 or kind == "pca" else ""}
            axes.plot(x, mean, color=color, linewidth=1.0, markersize=2.5, **line)
    axes.set_xticks(range(len(layers)), [style.plain(name, limit=12) for name in layers])
    axes.set_xlim(-0.25, len(layers) - 0.75)
    axes.set_xlabel("layer, the pixels first")


def depth_narrow(data: xr.Dataset) -> Figure | None:
    return depth(data, width=style.COLUMN)


def depth_table(data: xr.Dataset) -> list[tuple]:
    """One row a cell and member: what the main figure shows, and of all families."""
    swept = [name for name in HYPER if len({*data[name].values.tolist()} if name in data.coords else ()) > 1]
    rows: list[tuple] = [("layer", "family", "size", "member", "seed", *swept, "fvu_in_class", "kl")]
    seed = data["seed"].values if "seed" in data.coords else np.arange(data.sizes["member"])
    nothing = np.full(data.sizes["member"], np.nan)
    for cell in cells_of(data):
        both = [shares_in_class(data, cell), means_of(data, "kl", cell)]
        share, kl = (nothing if values is None else values for values in both)
        for i in range(data.sizes["member"]):
            told = (data[name].values[i] for name in swept)
            rows.append((cell.layer, cell.family, cell.size, i, seed[i], *told, share[i], kl[i]))
    return rows
