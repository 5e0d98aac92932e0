"""Figures of `flatness` that draw curves: the main figure, classes, shares, other noises, weight noise, audit."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from landscape.reporting import plate, style

CELLS = ("genuine", "natural_error", "boosted", "adversarial")  # {as found, searched for} x {right, wrong}
LOCAL = 0.3  # claims about local geometry use r up to here
RADIUS = "noise radius r = σ√D / ‖δ‖"
READINGS = {
    "raw": ("raw", "probability drop"),
    "iso": ("equal margin (iso)", "probability drop"),
    "scale_free": ("scale-free", "share of the margin lost"),
}


def shade(axes: Axes) -> None:
    """Grey where noise is no longer local; a thin line where it reaches as far as the perturbation itself."""
    low, high = axes.get_xlim()
    if high > LOCAL:
        axes.axvspan(max(LOCAL, low), high, color="#f1f1f1", zorder=0, linewidth=0)
    if low < 1 < high:
        axes.axvline(1, color="#bbbbbb", linewidth=0.7, linestyle=(0, (3, 2)), zorder=0.5)


def _curves(data: xr.Dataset, *, across: bool) -> Figure | None:
    """One panel a reading, and beside it the same with only r <= 0.3, whose differences the whole range hides."""
    readings = [name for name in READINGS if name in plate.names(data, "reading")]
    r = data["r"].values
    whole = np.isfinite(r) & (r > 0)
    local = whole & (r <= LOCAL * 1.01)
    ranges = [whole] if local.sum() < 2 or local.sum() == whole.sum() else [whole, local]
    if across:
        figure, grid = style.panels(len(ranges), len(readings), width=style.PAGE, height=0.5 + 1.9 * len(ranges))
    else:
        figure, grid = style.panels(len(readings), len(ranges), width=style.COLUMN, height=0.7 + 1.75 * len(readings))
        grid = grid.T
    drawn: list[str] = []
    for row, levels in zip(grid, ranges, strict=True):
        for axes, reading, letter in zip(row, readings, "abc", strict=False):
            title, ylabel = READINGS[reading]
            _reading(axes, data.sel(reading=reading).isel(sigma=levels.nonzero()[0]), drawn)
            if levels is whole:
                axes.set_title(f"{letter}  {title}")
                shade(axes)
            else:
                axes.set_title(f"r ≤ {LOCAL}" if not across else f"{letter}  {title}, r ≤ {LOCAL}")
            if across or levels is whole:
                axes.set_ylabel(ylabel)
            if (across and levels is ranges[-1]) or (not across and reading == readings[-1]):
                axes.set_xlabel(RADIUS if across else "r")
    if not drawn:
        return None
    cells = [cell for cell in style.LOOKS if cell in drawn] + [cell for cell in drawn if cell not in style.LOOKS]
    style.legend(
        figure,
        cells,
        columns=7 if across else 3,
        band="95 % band" if np.isfinite(data["curve_band_low"].values).any() else "",
    )
    return figure


def _reading(axes: Axes, data: xr.Dataset, drawn: list[str]) -> None:
    """All cells of one reading; those drawn are added to `drawn`."""
    r = data["r"].values
    style.log_x(axes, r)
    for cell in plate.names(data, "cell"):
        value, low, high = (data[name].sel(cell=cell).values for name in ("curve", "curve_band_low", "curve_band_high"))
        if style.line(axes, r, value, cell, low, high) and cell not in drawn:
            drawn.append(cell)
    axes.axhline(0, color="#888888", linewidth=0.6, zorder=0.6)
    axes.grid(axis="y")


def curves(data: xr.Dataset) -> Figure | None:
    """Drop against noise radius in three readings, both columns wide."""
    return _curves(data, across=True)


def curves_narrow(data: xr.Dataset) -> Figure | None:
    """The same, one column wide with the readings stacked."""
    return _curves(data, across=False)


def curves_table(data: xr.Dataset) -> list[tuple]:
    """The numbers of the main figure, as they are in arrays.nc; cells that a reading lacks are left out."""
    columns = ("curve", "curve_low", "curve_high", "curve_band_low", "curve_band_high")
    columns = tuple(name for name in columns if name in data)
    sigma = data["sigma"].values if "sigma" in data.coords else np.full(data.sizes["sigma"], np.nan)
    rows = [("reading", "cell", "sigma_pixels", "r", *columns)]
    for reading in plate.names(data, "reading"):
        for cell in plate.names(data, "cell"):
            here = data.sel(reading=reading, cell=cell)
            values = np.stack([here[name].values for name in columns])
            for i in np.flatnonzero(np.isfinite(values[0])):
                rows.append((reading, cell, sigma[i], data["r"].values[i], *values[:, i]))
    return rows


def classes(data: xr.Dataset) -> Figure | None:
    """Mean drop by true class: one small panel a class, or every class as a thin line when there are many."""
    count = data.sizes["class"]
    return _class_panels(data) if count <= 20 else _class_lines(data)


def _class_panels(data: xr.Dataset) -> Figure | None:
    rows, columns = style.grid_shape(data.sizes["class"], columns=5)
    figure, grid = style.panels(rows, columns, width=style.PAGE, height=0.55 + 1.15 * rows, sharex=True, sharey=True)
    r = data["r"].values
    drawn = set()
    for axes, (index, name) in zip(grid.flat, enumerate(plate.names(data, "class")), strict=False):
        style.log_x(axes, r, small=True)
        for cell in CELLS:
            if cell in plate.names(data, "cell") and style.line(
                axes, r, data["class_curve"].sel(cell=cell).isel({"class": index}).values, cell
            ):
                drawn.add(cell)
        axes.set_title(style.plain(name, limit=20))
        axes.grid(axis="y")
        shade(axes)
    for axes in list(grid.flat)[data.sizes["class"] :]:
        axes.remove()
    figure.supxlabel(RADIUS, fontsize=7.5, color="#333333")
    figure.supylabel("probability drop", fontsize=7.5, color="#333333")
    if drawn:
        style.legend(figure, [cell for cell in CELLS if cell in drawn], columns=4)
    return figure if drawn else None


def _class_lines(data: xr.Dataset) -> Figure | None:
    cells = [
        cell
        for cell in CELLS
        if cell in plate.names(data, "cell") and np.isfinite(data["class_curve"].sel(cell=cell).values).any()
    ]
    if not cells:
        return None
    figure, grid = style.panels(1, len(cells), width=style.PAGE, height=2.3, sharey=True)
    r = data["r"].values
    names = plate.names(data, "class")
    at = nearest(r, LOCAL)
    for axes, cell in zip(grid.flat, cells, strict=True):
        values = data["class_curve"].sel(cell=cell).values
        style.log_x(axes, r)
        keep = np.isfinite(r) & (r > 0)
        axes.plot(r[keep], values[:, keep].T, color=style.look(cell).color, linewidth=0.5, alpha=0.35)
        known = np.flatnonzero(np.isfinite(values[:, at]))
        lines = [style.look(cell).label]
        if len(known):
            order = known[np.argsort(values[known, at], kind="stable")]
            for word, index in (("most", order[-1]), ("least", order[0])):
                axes.plot(r[keep], values[index, keep], color="#222222", linewidth=1.0)
                lines.append(f"{word}: {style.plain(names[index], limit=19)}")
        axes.set_title("\n".join(lines), fontsize=7)
        axes.grid(axis="y")
        axes.set_xlabel("r = σ√D / ‖δ‖")
        shade(axes)
    grid[0, 0].set_ylabel("probability drop")
    return figure


def nearest(r: np.ndarray, wanted: float) -> int:
    """Index of the noise level whose r is nearest to the one wanted, on the log scale."""
    return int(np.nanargmin(np.abs(np.log(np.where(r > 0, r, np.nan) / wanted))))


def additive(data: xr.Dataset) -> xr.Dataset:
    """The arrays under additive noise, or under the first kind where a run has no additive noise."""
    kinds = plate.names(data, "noise")
    return data.isel(noise=kinds.index("additive") if "additive" in kinds else 0)


def shares(data: xr.Dataset) -> Figure | None:
    """Where the noisy copies go: kept, returned to the true class, elsewhere; stacked to one."""
    parts = [data[f"share_{name}"] for name in ("kept", "returned", "elsewhere")]
    cells = [cell for cell in plate.names(data, "cell") if np.isfinite(parts[0].sel(cell=cell).values).any()]
    if not cells:
        return None
    rows, columns = style.grid_shape(len(cells), columns=3)
    figure, grid = style.panels(rows, columns, width=style.PAGE, height=0.45 + 1.5 * rows, sharex=True, sharey=True)
    r = data["r"].values
    keep = np.flatnonzero(np.isfinite(r) & (r > 0))
    colors, labels = ("#9db7cc", "#009E73", "#E69F00"), ("kept", "returned to the true class", "elsewhere")
    for axes, cell in zip(grid.flat, cells, strict=False):
        values = np.stack([part.sel(cell=cell).values[keep] for part in parts])
        style.log_x(axes, r)
        if len(keep) == 1:  # a single level has no area: bars a factor of two wide
            foot = np.cumsum(values, axis=0) - values
            for value, bottom, color in zip(values, foot, colors, strict=True):
                axes.bar(r[keep], value, bottom=bottom, width=r[keep], color=color)
            areas = [axes.patches[0], axes.patches[1], axes.patches[2]]
        else:
            areas = axes.stackplot(r[keep], values, colors=colors, edgecolor="white", linewidth=0.4)
            axes.set_xlim(r[keep].min(), r[keep].max())
        axes.set_ylim(0, 1)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.set_title(style.look(cell).label)
    for axes in list(grid.flat)[len(cells) :]:
        axes.remove()
    figure.legend(areas, labels, loc="outside upper center", ncols=3)
    figure.supxlabel(RADIUS, fontsize=7.5, color="#333333")
    figure.supylabel("share of noisy copies", fontsize=7.5, color="#333333")
    return figure


def weights(data: xr.Dataset) -> Figure | None:
    """Drop of probability when the weights move instead of the input, one panel a kind of weight noise."""
    kinds = plate.names(data, "weight_noise")
    rows, columns = style.grid_shape(len(kinds), columns=4)
    figure, grid = style.panels(rows, columns, width=style.PAGE, height=0.5 + 1.75 * rows, sharey=True)
    xi = data["xi"].values
    drawn = []
    for axes, (index, kind) in zip(grid.flat, enumerate(kinds), strict=False):
        style.log_x(axes, xi)
        for cell in plate.names(data, "cell"):
            value, low, high = (
                data[name].isel(weight_noise=index).sel(cell=cell).values
                for name in ("weight_curve", "weight_curve_low", "weight_curve_high")
            )
            if style.line(axes, xi, value, cell, low, high) and cell not in drawn:
                drawn.append(cell)
        axes.axhline(0, color="#888888", linewidth=0.6, zorder=0.6)
        axes.grid(axis="y")
        axes.set_title(style.plain(kind))
    for axes in list(grid.flat)[len(kinds) :]:
        axes.remove()
    if not drawn:
        return None
    grid[0, 0].set_ylabel("probability drop")
    figure.supxlabel("size of the weight noise ξ (relative to the weights; additive: in weight units)", fontsize=7.5)
    style.legend(
        figure,
        [cell for cell in style.LOOKS if cell in drawn],
        columns=7,
        band="95 % interval" if np.isfinite(data["weight_curve_low"].values).any() else "",
    )
    return figure


def noises(data: xr.Dataset) -> Figure | None:
    """The main comparison under every kind of input noise: plain means over valid inputs and trained members."""
    data = plate.trained(data)
    cells = [name for name in CELLS if name in plate.names(data, "population")]
    drop = (
        data["input_probability_drop"]
        .sel(population=cells)
        .transpose("noise", "population", "sigma", "member", "example")
        .values
    )
    valid = data["valid"].sel(population=cells).transpose("population", "member", "example").values
    weight = (valid[None, :, None] & np.isfinite(drop)).astype(np.float64)
    total = weight.sum((-2, -1))
    mean = np.where(total > 0, (np.where(weight > 0, drop, 0)).sum((-2, -1)) / np.maximum(total, 1), np.nan)
    kinds = plate.names(data, "noise")
    rows, columns = style.grid_shape(len(kinds), columns=3)
    figure, grid = style.panels(rows, columns, width=style.PAGE, height=0.5 + 1.4 * rows, sharex=True, sharey=True)
    r = data["r"].values
    drawn = set()
    for axes, kind, values in zip(grid.flat, kinds, mean, strict=False):
        style.log_x(axes, r)
        drawn |= {cell for cell, value in zip(cells, values, strict=True) if style.line(axes, r, value, cell)}
        axes.set_title(style.plain(kind).replace("linf", "L∞"))
        axes.grid(axis="y")
        shade(axes)
    for axes in list(grid.flat)[len(kinds) :]:
        axes.remove()
    if not drawn:
        return None
    figure.supxlabel(RADIUS, fontsize=7.5, color="#333333")
    figure.supylabel("probability drop", fontsize=7.5, color="#333333")
    style.legend(figure, [cell for cell in CELLS if cell in drawn], columns=4)
    return figure


def audit(data: xr.Dataset) -> Figure | None:
    """Robust accuracy against the attack's radius, one line an attack."""
    epsilon, robust = data["audit_epsilon"].values, data["audit"].values
    figure, grid = style.panels(1, 1, width=style.COLUMN * 1.35, height=2.5)
    axes = grid[0, 0]
    drawn = 0
    markers = "os^Dv<>P"
    for index, name in enumerate(plate.names(data, "audit_attack")):
        keep = np.isfinite(epsilon) & np.isfinite(robust[index])
        if not keep.any():
            continue
        color = style.EXTRA_COLORS[index % len(style.EXTRA_COLORS)]
        marker = markers[index % len(markers)]
        axes.plot(epsilon[keep], robust[index, keep], color=color, marker=marker, label=style.plain(name))
        drawn += 1
    if not drawn:
        return None
    axes.set(ylim=(-0.02, 1.02), ylabel="robust accuracy", xlabel="attack radius ε (pixels, images in [0, 1])")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.grid()
    figure.legend(loc="outside right upper")
    return figure
