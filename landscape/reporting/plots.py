"""Plots that several experiments draw: curves with bands, small multiples of them, distributions.

What is drawn comes as a cube of the table (`Table.cube`): value, low, high, band_low and band_high over `population`
and further dims. An experiment says what is drawn, this file how.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from landscape.reporting import style
from landscape.stats.table import ENDS, Row, Table

MANY = 20  # more panels than this would be unreadable: their curves share one as thin lines


def curves(axes: Axes, cube: xr.Dataset, x: str, *, band: bool = False) -> None:
    """The curve of each population over x, log-spaced, with pointwise intervals or simultaneous bands."""
    style.log_x(axes, cube[x].values)
    looks = {name: style.look(name) for name in cube.population.values.tolist()}
    lines(axes, cube, x, "population", looks, ends=("band_low", "band_high") if band else ("low", "high"))
    axes.axhline(0, color="#888888", linewidth=0.6, zorder=0.6)


def lines(
    axes: Axes,
    cube: xr.Dataset,
    x: str,
    dim: str,
    looks: Mapping[Any, style.Look],
    *,
    interval: bool = True,
    ends: tuple[str, str] = ("low", "high"),
) -> None:
    """A line for each value of `dim` over x, with its interval as a band; what has no value is left out."""
    for value, look in looks.items():
        one = cube.sel({dim: value})
        style.line(axes, one[x].values, one.value.values, look, *(one[end].values for end in ends if interval))
    axes.grid(axis="y")


def lines_of(
    axes: Axes, table: Table, of: str, x: str, looks: Mapping[str, style.Look], *, scale: float = 1.0, room: float = 0.0
) -> list[str]:
    """A line over the column x for each value of the column `of`, with bars as intervals; the names of those drawn.

    Args:
      room: how far neighbouring lines are moved apart, so that bars do not cover one another; on a log axis as a share
        of x.
    """
    drawn = [name for name in looks if table.select(**{of: name})]
    for number, name in enumerate(drawn):
        rows = sorted(table.select(**{of: name}), key=lambda row: row[x])  # several may have one x
        at, value = (np.array([row[column] for row in rows], float) for column in (x, "value"))
        low, high = (np.array([row["value" if row[end] is None else end] for row in rows]) for end in ("low", "high"))
        at = at + room * (number - (len(drawn) - 1) / 2) * (at if axes.get_xscale() == "log" else 1)
        ends = scale * np.stack([value - low, high - value]).clip(0)
        look = looks[name]
        how = {"color": look.color, "linestyle": look.line, "marker": look.marker, "markersize": 3.2, "elinewidth": 0.8}
        axes.errorbar(at, scale * value, yerr=ends, linewidth=1.2, **how)
    axes.grid(axis="y")
    return drawn


def shades(values: Sequence[Any], labels: Sequence[str]) -> dict[Any, style.Look]:
    """Looks of ordered values, from dark to light."""
    colors = mpl.colormaps["viridis"](np.linspace(0.05, 0.85, max(len(values), 2)))
    return {
        value: style.Look(label, to_hex(color), marker="")
        for value, label, color in zip(values, labels, colors, strict=False)
    }


def key(
    place: Figure | Axes,
    looks: Iterable[style.Look],
    *,
    columns: int = 7,
    band: str = "",
    more: Mapping[str, Artist] = {},
) -> None:
    """What lines are, and what the shading around them is where there is any, above all panels or one of them.

    more: label -> what else is drawn.
    """
    looks = list(looks)
    handles: list = [Line2D([], [], color=one.color, linestyle=one.line, marker=one.marker) for one in looks]
    handles += [Patch(color="#0072B2", alpha=0.2, linewidth=0)] if band else []
    labels = [*(one.label for one in looks), *([band] * bool(band)), *more]
    style.legend_above(place, [*handles, *more.values()], labels, columns=columns)


def legend(
    figure: Figure, cubes: Iterable[xr.Dataset], shading: str, *, columns: int = 7, also: Sequence[style.Look] = ()
) -> None:
    """The populations of the cubes above all panels, and `also`; `shading` says what that is, where there is any."""
    cubes = list(cubes)
    names = in_order([name for cube in cubes for name in cube.population.values.tolist()])
    shaded = any(np.isfinite(cube.low).any() for cube in cubes)  # below four members there are no intervals
    key(figure, [*map(style.look, names), *also], columns=columns, band=shading if shaded else "")


def in_order(names: Iterable[str]) -> list[str]:
    """Populations in the order of the legend, each once, unknown ones last."""
    known = list(dict.fromkeys(names))
    return [name for name in style.LOOKS if name in known] + [name for name in known if name not in style.LOOKS]


def fit(axes: Axes, cube: xr.Dataset, main: Sequence[str]) -> None:
    """y over all curves and the bands of the populations `main`: a wide band of another would dwarf the rest."""
    some = cube.sel(population=[name for name in cube.population.values if name in main])
    values = np.concatenate(
        [cube.value.values.ravel(), some.band_low.values.ravel(), some.band_high.values.ravel(), [0]]
    )
    low, high = np.nanmin(values), np.nanmax(values)
    if high > low:
        axes.set_ylim(low - 0.06 * (high - low), high + 0.06 * (high - low))


def small_multiples(
    cube: xr.Dataset,
    dim: str,
    x: str,
    labels: tuple[str, str],
    *,
    title: Callable[[Any], str],
    decorate: Callable[[Axes], None] = lambda axes: None,
    **layout: Any,
) -> Figure:
    """One panel of curves with intervals for each value of `dim`, under one legend.

    Args:
      labels: of x and y. title: value of dim -> title. decorate: adds to each panel.
      layout: as `style.panels` takes it.
    """
    figure, panels = style.panels(cube.sizes[dim], **layout)
    for axes, value in zip(panels, cube[dim].values.tolist(), strict=True):
        curves(axes, cube.sel({dim: value}), x)
        axes.set_title(title(value))
        decorate(axes)
    style.shared_labels(figure, *labels)
    legend(figure, [cube], "95 % interval")
    return figure


def thin_curves(
    cube: xr.Dataset,
    dim: str,
    x: str,
    labels: tuple[str, str],
    at: float,
    *,
    decorate: Callable[[Axes], None] = lambda axes: None,
) -> Figure:
    """One panel a population, one thin line a value of `dim`; the highest and the lowest near x = at are named."""
    populations, names, levels = cube.population.values.tolist(), cube[dim].values.tolist(), cube[x].values
    figure, panels = style.panels(len(populations), columns=4, height=1.5, top=0.5, gap=(0.2, 0.75), sharey=True)
    near = int(np.argmin(np.abs(np.log(levels / at))))
    for axes, population in zip(panels, populations, strict=True):
        values = cube.value.sel(population=population).transpose(dim, x).values
        style.log_x(axes, levels)
        style.thin_lines(axes, levels, values, style.look(population).color, alpha=0.35)
        known = np.flatnonzero(np.isfinite(values[:, near]))
        title = style.look(population).label
        order = known[np.argsort(values[known, near], kind="stable")]
        for word, index in zip(("most", "least"), order[[-1, 0]] if len(order) else (), strict=False):
            axes.plot(levels, values[index], color="#222222", linewidth=1.0)
            title += f"\n{word}: {style.plain(names[index], limit=20)}"
        axes.set_title(title, fontsize=7)
        axes.grid(axis="y")
        decorate(axes)
    style.shared_labels(figure, *labels)
    return figure


Series = Mapping[str, Sequence[Row | None]]  # name -> a row or None for each label


def forest(
    panels: Mapping[str, Series],
    labels: Sequence[str],
    looks: Mapping[str, style.Look],
    *,
    units: Mapping[str, str] = {},
    scale: float | Mapping[str, float] = 1.0,
    columns: int = 4,
    zero: bool = False,
    **layout: Any,
) -> Figure | None:
    """Estimates of several series as marks with their intervals, one line a label and one panel a title; None without.

    Args:
      panels: title -> series. looks: of the series, by name; they are the legend where there are several.
      units: title -> what stands beneath the panel. scale: what values are multiplied by, or title -> that.
      zero: whether a line marks 0. layout: as `style.panels` takes it.
    """
    used = [name for name in looks if any(any(series.get(name, ())) for series in panels.values())]
    if not used:
        return None
    legend_rows, title_lines = -(-len(used) // 4) * (len(looks) > 1), max(title.count("\n") for title in panels)
    top, beneath = 0.3 + 0.12 * title_lines, 0.2 * any(units.values())
    height = max(0.45, min(0.4, 0.14 + 0.06 * len(used)) * len(labels))
    given = {"height": height, "top": top + style.LEGEND_ROW * legend_rows, "gap": (0.25, 0.12 + top + beneath)}
    given |= {"left": max(0.25, 0.15 + 0.054 * max(map(len, labels))), "bottom": 0.42}
    figure, axes = style.panels(len(panels), columns=columns, **given | layout)
    for number, (one, (title, series)) in enumerate(zip(axes, panels.items(), strict=True)):
        times = scale if isinstance(scale, float) else scale[title]
        for k, name in enumerate(used):
            rows, look = series.get(name, ()), looks[name]
            shift = 0.7 * ((k + 0.5) / len(used) - 0.5)
            interval_rows(one, rows, [look.color] * len(rows), scale=times, shift=shift, marker=look.marker)
        if zero:
            one.axvline(0, color="#888888", linewidth=0.6, zorder=0.6)
        one.set(title=title, xlabel=units.get(title, ""))
        name_rows(one, labels)
        one.tick_params(axis="y", length=0, labelleft=number % columns == 0)
        one.xaxis.set_major_locator(MaxNLocator(max(3, 7 - min(columns, len(panels))), steps=(1, 2, 5, 10)))
        for line in range(1, len(labels)):
            one.axhline(line - 0.5, color="#eeeeee", linewidth=0.6, zorder=0)
    if len(looks) > 1:
        key(figure, [looks[name]._replace(line="") for name in used], columns=4)
    return figure


def intervals(
    rows: Mapping[str, tuple[Sequence[Row | Sequence[Row | None] | None], str]],
    labels: Sequence[str],
    *,
    scale: float | Mapping[str, float] = 1.0,
    looks: Sequence[tuple[str, str, str]] = (("", style.EXTRA_COLORS[0], "o"),),
    columns: int = 6,
    **layout: Any,
) -> Figure | None:
    """`forest` of one series, or of a few, with units beneath the panels and a line at 0.

    Args:
      rows: title -> (a row or None for each label, or one for each of `looks`; unit of the axis).
      looks: (name, colour, marker) of those that share a line. layout: as `style.panels` takes it.
    """
    known = {name: style.Look(name, color, marker=marker) for name, color, marker in looks}
    panels = {}
    for title, (entries, _) in rows.items():
        by_label = [entry if isinstance(entry, Sequence) else [entry] for entry in entries]
        panels[title] = dict(zip(known, zip(*by_label, strict=True), strict=True))
    units = {title: unit for title, (_, unit) in rows.items()}
    return forest(panels, labels, known, units=units, scale=scale, columns=columns, zero=True, **layout)


def specification_curve(
    rows: Sequence[Row],
    choices: Mapping[str, Sequence[str]],
    known: Mapping[str, Sequence[str]],
    ylabel: str,
    *,
    scale: float = 1.0,
) -> Figure:
    """All estimates of one question in order of size with their intervals, and beneath each what was chosen for it.

    Args:
      choices: factor -> the choice of each row. known: factor -> its choices in order, a line each.

    Source: Simonsohn, Simmons & Nelson 2020 (Nature Human Behaviour 4:1208).
    """
    order, number = np.argsort([row["value"] for row in rows], kind="stable"), sum(map(len, known.values()))
    beneath = 0.13 * number + 0.1 * len(known)
    room = {"height": 1.3 + beneath, "left": 1.35, "bottom": 0.1, "top": 0.1}
    figure, (whole,) = style.panels(1, columns=1, **room)
    whole.axis("off")
    share = beneath / room["height"]
    upper, lower = whole.inset_axes((0, share, 1, 1 - share)), whole.inset_axes((0, 0, 1, share - 0.02))
    at = np.arange(len(rows))
    values, low, high = (
        scale * np.array([row["value"] if row[end] is None else row[end] for row in rows])[order] for end in ENDS[:3]
    )
    clear = np.array([row.excludes_zero for row in rows])[order]
    for some, color in ((clear, style.EXTRA_COLORS[0]), (~clear, "#999999")):
        ends = np.stack([values - low, high - values])[:, some].clip(0)
        upper.errorbar(at[some], values[some], yerr=ends, color=color, linestyle="", marker="o", markersize=2.6)
    upper.axhline(0, color="#888888", linewidth=0.6)
    upper.spines["bottom"].set_visible(False)
    upper.set(ylabel=ylabel, xticks=[], xlim=(-1, len(rows)))
    labels, line = [], 0.0
    for factor, names in known.items():
        for name in names:
            own = np.array([choice == name for choice in choices[factor]])[order]
            lower.plot(at[own], np.full(own.sum(), line), "|", color=style.INK, markersize=4)
            labels.append((line, name))
            line -= 1
        line -= 0.8
    lower.set(xlim=(-1, len(rows)), xticks=[], ylim=(line + 1.2, 0.6))
    lower.set_yticks([y for y, _ in labels], [name for _, name in labels], fontsize=6)
    lower.tick_params(axis="y", length=0)
    lower.spines[:].set_visible(False)
    return figure


def interval_rows(
    axes: Axes,
    rows: Sequence[Row | None],
    colors: Sequence[Any],
    *,
    scale: float = 1.0,
    shift: float = 0.0,
    marker: str = "o",
    hollow: bool = False,
) -> None:
    """Estimates as dots with their intervals, the first one on top; `shift` moves them down, None leaves a gap."""
    for line, (row, color) in enumerate(zip(rows, colors, strict=True)):
        if row is None or row["value"] is None:
            continue
        if row["low"] is not None:
            axes.hlines(line + shift, scale * row["low"], scale * row["high"], color=color, linewidth=1.4)
        face = {"markerfacecolor": "white"} if hollow else {}
        size = 6 if marker == "|" else 4
        axes.plot(scale * row["value"], line + shift, marker, color=color, markersize=size, **face)


def name_rows(axes: Axes, labels: Sequence[str], colors: Sequence[Any] | None = None) -> None:
    """Names of the rows of a panel on its left, the first one on top."""
    axes.set_yticks(range(len(labels)), labels)
    for text, color in zip(axes.get_yticklabels(), colors or (), strict=False):
        text.set_color(color)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.grid(axis="x")


def matrices(
    shown: Sequence[tuple[str, np.ndarray | None]],
    columns: int,
    labels: tuple[str, str],
    *,
    limits: tuple[float, float],
    cmap: str,
    names: Sequence[str] = (),
    sides: Sequence[str] = (),
) -> Figure:
    """Square matrices side by side under one colour scale; NaN is sand-coloured, None leaves a gap.

    Args:
      shown: (title, matrix), row by row. labels: of x and y. names: of the entries, numbers where there are none.
      sides: what stands left of each row of matrices.
    """
    left, right, gap = 0.75 + 0.15 * bool(sides), 0.6, 0.2
    texts = [style.plain(name, limit=7) for name in names]
    upright = max(map(len, texts), default=0) > 2
    under = 0.75 if upright else 0.5
    side = min(1.3, (style.PAGE - left - right - gap * (columns - 1)) / columns)
    width = left + right + columns * side + (columns - 1) * gap
    layout = {"left": left, "right": right, "top": 0.25, "bottom": under, "gap": (gap, under)}
    figure, panels = style.panels(len(shown), columns=columns, width=width, height=side, **layout)
    how = {"vmin": limits[0], "vmax": limits[1], "cmap": mpl.colormaps[cmap].with_extremes(bad="#d9d2c5")}
    picture = None
    for number, (axes, (title, values)) in enumerate(zip(panels, shown, strict=True)):
        if values is None:
            axes.set_axis_off()
            continue
        picture = _matrix(axes, values, texts, **how)
        axes.set_title(title, fontsize=7)
        axes.tick_params(length=0, pad=1.5, labelsize=5.5, labelleft=number % columns == 0)
        axes.tick_params(axis="x", labelrotation=90 * upright)
        if sides and number % columns == 0:
            axes.set_ylabel(sides[number // columns])
    color_bar(picture, panels[0], right=1 - 0.5 / width)
    style.shared_labels(figure, *labels)
    return figure


def matrix(axes: Axes, values: np.ndarray, dim: str, title: str) -> None:
    """A square matrix over pairs of one dim, with its colour bar on the right; NaN is left blank."""
    picture = _matrix(axes, values, (), cmap="cividis")
    axes.set(xlabel=dim, ylabel=dim, title=title)
    bar = color_bar(picture, axes, right=axes.get_position().x1 + 0.08 / axes.figure.get_figwidth())
    bar.yaxis.set_major_locator(MaxNLocator(5))


def _matrix(axes: Axes, values: np.ndarray, texts: Sequence[str], **how: Any) -> AxesImage:
    """Draws it, with names or numbers for some ten of its entries."""
    picture = axes.imshow(values, interpolation="nearest", **how)
    ticks = np.arange(len(values))[:: -(-len(values) // 10)]
    shown = [texts[i] if texts else str(i) for i in ticks]
    axes.set_xticks(ticks, shown)
    axes.set_yticks(ticks, shown)
    axes.spines[:].set_visible(False)
    return picture


def color_bar(picture: AxesImage, beside: Axes, *, right: float) -> Axes:
    """The scale of a picture, as high as the axes that it stands beside, from `right` on, a share of the figure."""
    box, figure = beside.get_position(), beside.figure
    bar = figure.add_axes((right, box.y0, 0.09 / figure.get_figwidth(), box.height))
    figure.colorbar(picture, cax=bar).outline.set_visible(False)
    return bar


def histogram_rows(pooled: Mapping[str, np.ndarray], label: str) -> Figure:
    """One row of a histogram for each population, with its median; `label` of x."""
    together = np.concatenate(list(pooled.values()))
    low, high = min(0.0, float(np.quantile(together, 0.001))), float(np.quantile(together, 0.999))
    edges = np.linspace(low, max(high, low + 1e-6), 49)
    figure, (axes,) = style.panels(1, columns=1, height=0.4 * len(pooled), left=2.0, top=0.1)
    bases = -np.arange(len(pooled), dtype=float)
    for base, (name, values) in zip(bases, pooled.items(), strict=True):
        counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
        heights = base + 0.85 * counts / counts.max()
        axes.stairs(heights, edges, baseline=base, fill=True, color=style.look(name).color, alpha=0.75)
        axes.plot([np.median(values)] * 2, [base, base + 0.85], color="#111111", linewidth=1.3)
        axes.axhline(base, color="#aaaaaa", linewidth=0.5)
    axes.set_yticks(bases + 0.3, [f"{style.look(name).label} (n = {len(values)})" for name, values in pooled.items()])
    axes.tick_params(axis="y", length=0)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.set_ylim(bases[-1] - 0.05, 0.95)
    axes.set_xlabel(label)
    return figure


def spreads(measures: Mapping[str, Mapping[str, np.ndarray]]) -> Figure | None:
    """One panel a measure (label -> population -> values), one row a population: 5-95 %, 25-75 %, median."""
    populations = in_order(name for pooled in measures.values() for name in pooled)
    if not populations:
        return None
    labels = [style.look(name).label for name in populations]
    layout = {"left": 0.25 + 0.054 * max(map(len, labels)), "top": 0.1, "bottom": 0.55, "gap": (0.16, 0.6)}
    figure, panels = style.panels(len(measures), columns=3, height=0.15 * len(populations), sharey=True, **layout)
    for axes, (label, pooled) in zip(panels, measures.items(), strict=True):
        rows = [row for row, name in enumerate(populations) if name in pooled]
        if rows:
            q = np.array([np.quantile(pooled[populations[row]], [0.05, 0.25, 0.5, 0.75, 0.95]) for row in rows])
            colors = [style.look(populations[row]).color for row in rows]
            axes.hlines(rows, q[:, 0], q[:, 4], colors=colors, linewidth=1)
            axes.hlines(rows, q[:, 1], q[:, 3], colors=colors, linewidth=4.5)
            axes.plot(q[:, 2], rows, "|", color="#111111", markersize=6, markeredgewidth=1.3)
            _spread_axis(axes, q)
        axes.set_xlabel(label)
        axes.set_yticks(range(len(populations)), labels)
        axes.set_ylim(len(populations) - 0.4, -0.6)
        axes.grid(axis="x")
    return figure


def _spread_axis(axes: Axes, quantiles: np.ndarray) -> None:
    """Log where all is positive, else linear near zero and log outside, with few ticks."""
    low, high = quantiles.min(), quantiles.max()
    if low > 0 and high / low > 20:
        axes.set_xscale("log")
        style.log_axis(axes.xaxis, low, high, small=True)
        return
    size = np.abs(quantiles)
    if low > 0 or high <= 0 or not size.max() > 0:
        return
    threshold = max(float(np.quantile(size, 0.25)), float(size.max()) * 1e-5)
    if size.max() / threshold > 30:
        axes.set_xscale("symlog", linthresh=threshold)
        decades = 10.0 ** np.arange(np.ceil(np.log10(threshold)), np.floor(np.log10(size.max())) + 1)
        decades = decades[:: max(1, -(-len(decades) // 3))]
        ticks = np.concatenate([-decades[::-1] if low < -threshold else [], [0], decades])
        shown = [f"{tick:.0e}".replace("e-0", "e-").replace("e+0", "e") if tick else "0" for tick in ticks]
        axes.set_xticks(ticks, shown)
        axes.minorticks_off()


def log_y(axes: Axes, *, small: bool = False) -> None:
    """Make y logarithmic over what is drawn, with few ticks inside its limits."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    style.log_axis(axes.yaxis, low / 0.97, high / 1.03, small=small)
    axes.set_ylim(low, high)
