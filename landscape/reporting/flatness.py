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
MANY = 20  # more classes than this share one panel


def shade(axes: Axes) -> None:
    """Grey where noise is no longer local; a thin line where it reaches as far as the perturbation itself."""
    low, high = axes.get_xlim()
    if high > LOCAL:
        axes.axvspan(max(LOCAL, low), high, color="#f1f1f1", zorder=0, linewidth=0)
    if low < 1 < high:
        axes.axvline(1, color="#bbbbbb", linewidth=0.7, linestyle=(0, (3, 2)), zorder=0.5)


def nearest(r: np.ndarray, wanted: float) -> int:
    """Index of the noise level whose r is nearest to the one wanted, on the log scale."""
    return int(np.nanargmin(np.abs(np.log(np.where(r > 0, r, np.nan) / wanted))))


def additive(data: xr.Dataset) -> xr.Dataset:
    """The arrays under additive noise, or under the first kind where a run has no additive noise."""
    kinds = plate.names(data, "noise")
    return data.isel(noise=kinds.index("additive") if "additive" in kinds else 0)


def in_order(names: list[str]) -> list[str]:
    """Populations in the order of the legend, unknown ones last."""
    return [name for name in style.LOOKS if name in names] + [name for name in names if name not in style.LOOKS]


def _band(data: xr.Dataset, name: str, text: str) -> str:
    """The legend's word for the shading, where there is any: below four members there are no intervals."""
    return text if np.isfinite(data[name].values).any() else ""


def _curves(data: xr.Dataset, *, across: bool) -> Figure | None:
    """One panel a reading, and beside it the same with only r <= 0.3, whose differences the whole range hides."""
    readings = [name for name in READINGS if name in plate.names(data, "reading")]
    r = data["r"].values
    whole = np.isfinite(r) & (r > 0)
    local = whole & (r <= LOCAL * 1.01)
    ranges = [whole] if local.sum() < 2 or local.sum() == whole.sum() else [whole, local]
    count = len(ranges) * len(readings)
    if across:
        figure, axes = style.panels(count, columns=len(readings), height=1.6, left=0.66, gap=(0.72, 0.42))
        grid = np.reshape(axes, (len(ranges), len(readings)))
    else:
        room = {"width": style.COLUMN, "height": 1.35, "top": 0.72, "gap": (0.42, 0.43), "left": 0.48}
        figure, axes = style.panels(count, columns=len(ranges), **room)
        grid = np.reshape(axes, (len(readings), len(ranges))).T
    drawn: list[str] = []
    for row, levels in zip(grid, ranges, strict=True):
        for one, reading, letter in zip(row, readings, "abc", strict=False):
            title, ylabel = READINGS[reading]
            drawn += _reading(one, data.sel(reading=reading).isel(sigma=levels.nonzero()[0]))
            if levels is whole:
                one.set_title(f"{letter}  {title}")
                shade(one)
            else:
                one.set_title(f"{letter}  {title}, r ≤ {LOCAL}" if across else f"r ≤ {LOCAL}")
            if across or levels is whole:
                one.set_ylabel(ylabel)
            if (across and levels is ranges[-1]) or (not across and reading == readings[-1]):
                one.set_xlabel(RADIUS if across else "r = σ√D / ‖δ‖")
    if not drawn:
        return None
    band = _band(data, "curve_band_low", "95 % band")
    style.legend(figure, in_order(list(dict.fromkeys(drawn))), columns=7 if across else 3, band=band)
    return figure


def _reading(axes: Axes, data: xr.Dataset) -> list[str]:
    """Draw all cells of one reading; returns those that have finite values."""
    r = data["r"].values
    style.log_x(axes, r)
    drawn = []
    for cell in plate.names(data, "cell"):
        value, low, high = (data[name].sel(cell=cell).values for name in ("curve", "curve_band_low", "curve_band_high"))
        if style.line(axes, r, value, cell, low, high):
            drawn.append(cell)
    if not drawn:
        axes.text(0.5, 0.5, "too few inputs", ha="center", va="center", color="#888888", transform=axes.transAxes)
        return drawn
    axes.axhline(0, color="#888888", linewidth=0.6, zorder=0.6)
    axes.grid(axis="y")
    _fit(axes, data)
    return drawn


def _fit(axes: Axes, data: xr.Dataset) -> None:
    """y over all lines and the bands of the main cells: few natural errors have a band that would dwarf the rest."""
    main = [cell for cell in plate.names(data, "cell") if cell in ("genuine", "boosted", "adversarial")]
    bands = data[["curve_band_low", "curve_band_high"]].sel(cell=main).to_array().values
    values = np.concatenate([data["curve"].values.ravel(), bands.ravel(), [0.0]])
    low, high = np.nanmin(values), np.nanmax(values)
    if high > low:
        axes.set_ylim(low - 0.06 * (high - low), high + 0.06 * (high - low))


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
    rows: list[tuple] = [("reading", "cell", "sigma_pixels", "r", *columns)]
    for reading in plate.names(data, "reading"):
        for cell in plate.names(data, "cell"):
            here = data.sel(reading=reading, cell=cell)
            values = np.stack([here[name].values for name in columns])
            for i in np.flatnonzero(np.isfinite(values[0])):
                rows.append((reading, cell, data["sigma"].values[i], data["r"].values[i], *values[:, i]))
    return rows


def classes(data: xr.Dataset) -> Figure | None:
    """Mean drop by true class: one small panel a class, or every class as a thin line when there are many."""
    known = plate.names(data, "cell")
    cells = [c for c in CELLS if c in known and np.isfinite(data["class_curve"].sel(cell=c).values).any()]
    if not cells:
        return None
    return _class_panels(data, cells) if data.sizes["class"] <= MANY else _class_lines(data, cells)


def _class_panels(data: xr.Dataset, cells: list[str]) -> Figure:
    names = plate.names(data, "class")
    figure, axes = style.panels(len(names), columns=5, height=0.85, gap=(0.16, 0.32), sharex=True, sharey=True)
    r = data["r"].values
    for one, index, name in zip(axes, range(len(names)), names, strict=True):
        style.log_x(one, r, small=True)
        values = data["class_curve"].isel({"class": index})
        if not any([style.line(one, r, values.sel(cell=cell).values, cell) for cell in cells]):
            one.text(0.5, 0.5, "no inputs", ha="center", va="center", color="#888888", transform=one.transAxes)
        one.set_title(style.plain(name, limit=19))
        one.grid(axis="y")
        shade(one)
    style.shared_labels(figure, RADIUS, "probability drop")
    style.legend(figure, cells)
    return figure


def _class_lines(data: xr.Dataset, cells: list[str]) -> Figure:
    figure, axes = style.panels(len(cells), columns=4, height=1.5, top=0.5, gap=(0.2, 0.75), sharey=True)
    r = data["r"].values
    keep = np.isfinite(r) & (r > 0)
    names = plate.names(data, "class")
    at = nearest(r, LOCAL)
    for one, cell in zip(axes, cells, strict=True):
        values = data["class_curve"].sel(cell=cell).values
        style.log_x(one, r)
        style.thin_lines(one, r[keep], values[:, keep], style.look(cell).color, alpha=0.35)
        known = np.flatnonzero(np.isfinite(values[:, at]))
        title = style.look(cell).label
        if len(known):
            order = known[np.argsort(values[known, at], kind="stable")]
            for word, index in (("most", order[-1]), ("least", order[0])):
                one.plot(r[keep], values[index, keep], color="#222222", linewidth=1.0)
                title += f"\n{word}: {style.plain(names[index], limit=20)}"
        one.set_title(title, fontsize=7)
        one.grid(axis="y")
        shade(one)
    style.shared_labels(figure, RADIUS, "probability drop")
    return figure


def shares(data: xr.Dataset) -> Figure | None:
    """Where the noisy copies go: kept, returned to the true class, elsewhere; stacked to one."""
    parts = [data[f"share_{name}"] for name in ("kept", "returned", "elsewhere")]
    cells = [cell for cell in plate.names(data, "cell") if np.isfinite(parts[0].sel(cell=cell).values).any()]
    if not cells:
        return None
    figure, axes = style.panels(len(cells), columns=3, height=1.0, sharex=True, sharey=True)
    r = data["r"].values
    keep = np.flatnonzero(np.isfinite(r) & (r > 0))
    colors, labels = ("#9db7cc", "#009E73", "#E69F00"), ["kept", "returned to the true class", "elsewhere"]
    for one, cell in zip(axes, cells, strict=True):
        values = np.stack([part.sel(cell=cell).values[keep] for part in parts])
        x = r[keep]
        style.log_x(one, r)
        if len(keep) == 1:  # a single level has no area: widen it to a bar
            x, values = np.array(one.get_xlim()), np.repeat(values, 2, axis=1)
        areas = one.stackplot(x, values, colors=colors, edgecolor="white", linewidth=0.4)
        one.set(xlim=(x.min() * 0.999, x.max() * 1.001), ylim=(0, 1), title=style.look(cell).label)
        one.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    style.legend_above(figure, areas, labels, columns=3)
    style.shared_labels(figure, RADIUS, "share of noisy copies")
    return figure


def weights(data: xr.Dataset) -> Figure | None:
    """Drop of probability when the weights move instead of the input, one panel a kind of weight noise."""
    unit = "size of the weight noise ξ (relative to the weights; additive: in weight units)"
    return _kinds(data, "weight_curve", "weight_noise", data["xi"].values, unit, columns=4, height=1.5)


def noises(data: xr.Dataset) -> Figure | None:
    """The main comparison under every kind of input noise, one panel a kind."""
    return _kinds(data, "noise_curve", "noise", data["r"].values, RADIUS, columns=3, height=0.95, local=True)


def _kinds(
    data: xr.Dataset, name: str, dim: str, x: np.ndarray, unit: str, *, local: bool = False, **room
) -> Figure | None:
    """A curve with its interval by cell, one panel a kind of noise; `local`: x is the noise radius r."""
    kinds = plate.names(data, dim)
    figure, axes = style.panels(len(kinds), gap=(0.46, 0.4), **room)
    drawn = []
    for one, index, kind in zip(axes, range(len(kinds)), kinds, strict=True):
        style.log_x(one, x)
        for cell in plate.names(data, "cell"):
            here = data.isel({dim: index}).sel(cell=cell)
            value, low, high = (here[f"{name}{end}"].values for end in ("", "_low", "_high"))
            if style.line(one, x, value, cell, low, high):
                drawn.append(cell)
        one.axhline(0, color="#888888", linewidth=0.6, zorder=0.6)
        one.grid(axis="y")
        one.set_title(style.plain(kind).replace("linf", "L∞"))
        if local:
            shade(one)
    if not drawn:
        return None
    style.shared_labels(figure, unit, "probability drop")
    band = _band(data, f"{name}_low", "95 % interval")
    style.legend(figure, in_order(list(dict.fromkeys(drawn))), band=band)
    return figure


def audit(data: xr.Dataset) -> Figure | None:
    """Robust accuracy against the attack's radius, one line an attack."""
    epsilon, robust = data["audit_epsilon"].values, data["audit"].values
    known = [i for i in range(len(robust)) if (np.isfinite(epsilon) & np.isfinite(robust[i])).any()]
    if not known:
        return None
    figure, (axes,) = style.panels(1, columns=1, width=style.PAGE * 0.7, height=1.9, right=1.4, top=0.12)
    for index in known:
        keep = np.isfinite(epsilon) & np.isfinite(robust[index])
        color, marker = style.EXTRA_COLORS[index % 8], "os^Dv<>P"[index % 8]
        label = style.plain(plate.names(data, "audit_attack")[index], limit=18)
        axes.plot(epsilon[keep], robust[index, keep], color=color, marker=marker, label=label)
    axes.set(ylim=(-0.02, 1.02), ylabel="robust accuracy", xlabel="attack radius ε (pixels, images in [0, 1])")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.grid()
    axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1.0), borderaxespad=0)
    return figure
