"""Plots that several experiments draw: curves with bands, small multiples of them, distributions.

What is drawn comes as a cube of the table (`Table.cube`): value, low, high, band_low and band_high over `population`
and further dims. An experiment says what is drawn, this file how.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from landscape.reporting import style
from landscape.stats.table import ENDS, Row, Table

MANY = 20  # more panels than this would be unreadable: their curves share one as thin lines


def curves(axes: Axes, cube: xr.Dataset, x: str, *, of: str = "population", band: bool = False) -> None:
    """The curve of each population over x, log-spaced, with pointwise intervals or simultaneous bands.

    Args:
      of: the dim whose values are the names of the curves.
    """
    style.log_x(axes, cube[x].values)
    ends = ("value", "band_low", "band_high") if band else ("value", "low", "high")
    for name in cube[of].values.tolist():
        value, low, high = (cube[end].sel({of: name}).values for end in ends)
        style.line(axes, cube[x].values, value, name, low, high)
    axes.axhline(0, color="#888888", linewidth=0.6, zorder=0.6)
    axes.grid(axis="y")


def lines(
    axes: Axes, cube: xr.Dataset, x: str, dim: str, looks: Mapping[Any, style.Look], *, interval: bool = True
) -> None:
    """A line for each value of `dim` over x, with its pointwise interval; what has no value is left out."""
    for value, look in looks.items():
        one = cube.sel({dim: value})
        known = np.isfinite(one.value.values)
        places, (middle, low, high) = one[x].values[known], (one[end].values[known] for end in ("value", "low", "high"))
        marker = look.marker or ("_" if known.sum() == 1 else "")
        axes.plot(places, middle, color=look.color, linestyle=look.line, marker=marker, linewidth=1.2)
        if interval:
            axes.fill_between(places, low, high, color=look.color, alpha=0.15, linewidth=0)
    axes.grid(axis="y")


def shades(values: Sequence[Any], labels: Sequence[str]) -> dict[Any, style.Look]:
    """Looks of ordered values, from dark to light."""
    colors = mpl.colormaps["viridis"](np.linspace(0.05, 0.85, max(len(values), 2)))
    return {
        value: style.Look(label, to_hex(color), marker="")
        for value, label, color in zip(values, labels, colors, strict=False)
    }


def key(figure: Figure, looks: Iterable[style.Look], *, columns: int = 7) -> None:
    """What lines are, above all panels."""
    looks = list(looks)
    handles = [Line2D([], [], color=one.color, linestyle=one.line, marker=one.marker) for one in looks]
    style.legend_above(figure, handles, [one.label for one in looks], columns=columns)


def legend(figure: Figure, cubes: Iterable[xr.Dataset], shading: str, *, columns: int = 7) -> None:
    """The populations of the cubes above all panels; `shading` says what that is, where there is any."""
    cubes = list(cubes)
    names = in_order([name for cube in cubes for name in cube.population.values.tolist()])
    shaded = any(np.isfinite(cube.low).any() for cube in cubes)  # below four members there are no intervals
    style.legend(figure, names, columns=columns, band=shading if shaded else "")


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
    **room: Any,
) -> Figure:
    """One panel of curves with intervals for each value of `dim`, under one legend.

    Args:
      labels: of x and y. title: value of dim -> title. decorate: adds to each panel. room: as `style.panels` takes it.
    """
    figure, panels = style.panels(cube.sizes[dim], **room)
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
    populations, names, places = cube.population.values.tolist(), cube[dim].values.tolist(), cube[x].values
    figure, panels = style.panels(len(populations), columns=4, height=1.5, top=0.5, gap=(0.2, 0.75), sharey=True)
    near = int(np.argmin(np.abs(np.log(places / at))))
    for axes, population in zip(panels, populations, strict=True):
        values = cube.value.sel(population=population).transpose(dim, x).values
        style.log_x(axes, places)
        style.thin_lines(axes, places, values, style.look(population).color, alpha=0.35)
        known = np.flatnonzero(np.isfinite(values[:, near]))
        title = style.look(population).label
        order = known[np.argsort(values[known, near], kind="stable")]
        for word, index in zip(("most", "least"), order[[-1, 0]] if len(order) else (), strict=False):
            axes.plot(places, values[index], color="#222222", linewidth=1.0)
            title += f"\n{word}: {style.plain(names[index], limit=20)}"
        axes.set_title(title, fontsize=7)
        axes.grid(axis="y")
        decorate(axes)
    style.shared_labels(figure, *labels)
    return figure


ONE_LOOK = (("", style.EXTRA_COLORS[0], "o"),)


def intervals(
    rows: Mapping[str, tuple[Sequence[Row | Sequence[Row | None] | None], str]],
    labels: Sequence[str],
    *,
    scale: float | Mapping[str, float] = 1.0,
    looks: Sequence[tuple[str, str, str]] = ONE_LOOK,
    columns: int = 6,
) -> Figure:
    """Estimates as dots with their intervals, one line a label; one panel a title, of rows and their unit.

    Args:
      rows: title -> (a row or None for each label, or one for each of `looks`; unit of the axis).
      scale: what values are multiplied by, or title -> that. looks: (name, colour, marker) of those that share a line.
      columns: panels side by side, at most.
    """
    left = 0.2 + 0.055 * max(map(len, labels))
    tall, several = 0.14 + 0.06 * len(looks), len(looks) > 1
    room = {"columns": columns, "height": 0.25 + tall * len(labels), "bottom": 0.45, "left": left}
    figure, panels = style.panels(len(rows), gap=(0.25, 0.3), top=0.5 if several else 0.3, sharey=True, **room)
    for axes, (title, (own, unit)) in zip(panels, rows.items(), strict=True):
        times = scale if isinstance(scale, float) else scale[title]
        series = zip(*([entry] if entry is None or isinstance(entry, Row) else entry for entry in own), strict=True)
        for k, (each, (_, color, marker)) in enumerate(zip(series, looks, strict=True)):
            shift = 0.24 * (k - (len(looks) - 1) / 2)
            interval_rows(axes, each, [color] * len(each), scale=times, shift=shift, marker=marker)
        axes.axvline(0, color="#888888", linewidth=0.6, zorder=0.6)
        axes.set(title=title, xlabel=unit)
        name_rows(axes, labels)
    if several:
        handles = [Line2D([], [], color=color, marker=marker, linestyle="") for _, color, marker in looks]
        style.legend_above(figure, handles, [name for name, *_ in looks], columns=len(looks))
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
    for place, (row, color) in enumerate(zip(rows, colors, strict=True)):
        if row is None or row["value"] is None:
            continue
        if row["low"] is not None:
            axes.hlines(place + shift, scale * row["low"], scale * row["high"], color=color, linewidth=1.4)
        face = {"markerfacecolor": "white"} if hollow else {}
        size = 6 if marker == "|" else 4
        axes.plot(scale * row["value"], place + shift, marker, color=color, markersize=size, **face)


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
    cmap: Any,
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
    under = 0.5 if max(map(len, texts), default=0) <= 2 else 0.75
    side = min(1.3, (style.PAGE - left - right - gap * (columns - 1)) / columns)
    width = left + right + columns * side + (columns - 1) * gap
    room = {"left": left, "right": right, "top": 0.25, "bottom": under, "gap": (gap, under)}
    figure, panels = style.panels(len(shown), columns=columns, width=width, height=side, **room)
    cmap = mpl.colormaps[cmap].with_extremes(bad="#d9d2c5")
    picture = None
    for place, (axes, (title, values)) in enumerate(zip(panels, shown, strict=True)):
        if values is None:
            axes.set_axis_off()
            continue
        picture = axes.imshow(values, vmin=limits[0], vmax=limits[1], cmap=cmap, interpolation="nearest")
        axes.set_title(title, fontsize=7)
        ticks = np.arange(len(values))[:: -(-len(values) // 10)]
        own = [texts[i] if len(texts) else str(i) for i in ticks]
        axes.set_xticks(ticks, own, fontsize=5.5, rotation=0 if under == 0.5 else 90)
        axes.set_yticks(ticks, own, fontsize=5.5)
        if sides and place % columns == 0:
            axes.set_ylabel(sides[place // columns])
        axes.tick_params(length=0, pad=1.5, labelleft=place % columns == 0)
        axes.spines[:].set_visible(False)
    box = panels[0].get_position()
    bar = figure.add_axes((1 - 0.5 / width, box.y0, 0.09 / width, box.height))
    figure.colorbar(picture, cax=bar).outline.set_visible(False)
    style.shared_labels(figure, *labels)
    return figure


def forest(
    panels: Mapping[str, Mapping[str, Sequence[Row | None]]],
    labels: Sequence[str],
    looks: Mapping[str, style.Look],
    *,
    scale: float | Mapping[str, float] = 1.0,
    columns: int = 4,
    zero: bool = False,
    **room: Any,
) -> Figure | None:
    """Estimates of several series as marks with their intervals, one line a label and one panel a title; None without.

    Args:
      panels: title -> series -> a row or None for each label. looks: of the series, by name; they are the legend.
      scale: what values are multiplied by, or title -> that. zero: whether a line marks 0.
      room: as `style.panels` takes it.
    """
    used = [name for name in looks if any(any(series.get(name, ())) for series in panels.values())]
    if not used:
        return None
    legends = style.LEGEND_ROW * -(-len(used) // 4)
    lines = any("\n" in title for title in panels)
    room = {"height": 0.2 * len(labels), "top": 0.3 + legends + 0.12 * lines, "gap": (0.2, 0.42 + 0.12 * lines)} | room
    room |= {"left": max(0.25, 0.12 + 0.052 * max(map(len, labels)))}
    figure, axes = style.panels(len(panels), columns=columns, **room)
    for number, (one, (title, series)) in enumerate(zip(axes, panels.items(), strict=True)):
        times = scale if isinstance(scale, float) else scale[title]
        for place, name in enumerate(used):
            rows, shift = series.get(name, ()), 0.7 * ((place + 0.5) / len(used) - 0.5)
            look = {"scale": times, "shift": shift, "marker": looks[name].marker}
            interval_rows(one, rows, [looks[name].color] * len(rows), **look)
        if zero:
            one.axvline(0, color="#888888", linewidth=0.6, zorder=0.6)
        one.set(title=title, ylim=(len(labels) - 0.4, -0.6))
        one.set_yticks(range(len(labels)), labels if number % columns == 0 else [""] * len(labels))
        one.tick_params(axis="y", length=0)
        one.xaxis.set_major_locator(MaxNLocator(4 if columns > 2 else 6))
        one.grid(axis="x")
        for line in range(1, len(labels)):
            one.axhline(line - 0.5, color="#eeeeee", linewidth=0.6, zorder=0)
    marks = [Line2D([], [], color=looks[n].color, marker=looks[n].marker, linestyle="", markersize=4) for n in used]
    style.legend_above(figure, marks, [looks[name].label for name in used], columns=4)
    return figure


def lines_of(
    axes: Axes, table: Table, of: str, x: str, looks: Mapping[str, style.Look], *, scale: float = 1.0, room: float = 0.0
) -> list[str]:
    """One line with intervals over the column x for each value of the column `of`; the names of those drawn.

    Args:
      room: how far neighbouring lines are moved apart, so that intervals do not cover one another; on a log axis as a
        share of x.
    """
    drawn = [name for name in looks if table.select(**{of: name})]
    for place, name in enumerate(drawn):
        rows = sorted(table.select(**{of: name}), key=lambda row: row[x])
        value = scale * np.array([row["value"] for row in rows])
        low, high = (scale * np.array([row["value" if row[e] is None else e] for row in rows]) for e in ENDS[1:3])
        at = np.array([row[x] for row in rows], float)
        at = at + room * (place - (len(drawn) - 1) / 2) * (at if axes.get_xscale() == "log" else 1)
        ends = np.clip(np.stack([value - low, high - value]), 0, None)
        look = looks[name]
        drawn_as = {"color": look.color, "linestyle": look.line, "marker": look.marker}
        axes.errorbar(at, value, yerr=ends, markersize=3.2, linewidth=1.2, elinewidth=0.8, **drawn_as)
    axes.grid(axis="y")
    return drawn


def matrix(axes: Axes, values: np.ndarray, dim: str, title: str) -> None:
    """A square matrix over pairs of one dim, with its colour bar on the right; NaN is left blank."""
    figure = axes.figure
    picture = axes.imshow(values, cmap="cividis", interpolation="nearest")
    ticks = np.arange(len(values))[:: -(-len(values) // 8)]
    axes.set_xticks(ticks, ticks)
    axes.set_yticks(ticks, ticks)
    axes.set(xlabel=dim, ylabel=dim, title=title)
    axes.spines[:].set_visible(False)
    box, width = axes.get_position(), figure.get_figwidth()
    bar = figure.add_axes((box.x1 + 0.08 / width, box.y0, 0.1 / width, box.height))
    figure.colorbar(picture, cax=bar).outline.set_visible(False)
    bar.yaxis.set_major_locator(MaxNLocator(5))


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
    room = {"left": 1.5, "top": 0.1, "bottom": 0.55, "gap": (0.16, 0.6)}
    figure, panels = style.panels(len(measures), columns=3, height=0.15 * len(populations), sharey=True, **room)
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
        axes.set_yticks(range(len(populations)), [style.look(name).label for name in populations])
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
