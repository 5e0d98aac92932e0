"""Axes, keys and marks that several figures of `autoencoders` share."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from landscape.presets.names import CODED
from landscape.reporting import style
from landscape.reporting.autoencoder_cells import DASHED, LOOKS, Cell, look


def size_colors(sizes: Sequence[int]) -> dict[int, Any]:
    """A colour a size, dark to light; the yellow end is left out, since it fades on white."""
    places = np.linspace(0.0, 0.82, len(sizes)) if len(sizes) != 1 else [0.35]
    return {size: mpl.colormaps["viridis"](place) for size, place in zip(sorted(sizes), places, strict=True)}


def log_y(axes: Axes, *, small: bool = False, include: Sequence[float] = ()) -> None:
    """Make y logarithmic over what is drawn and `include`; nothing happens where nothing positive is drawn."""
    drawn = [line.get_ydata() for line in axes.lines if line.get_transform() == axes.transData]
    limits = log_limits([*drawn, np.asarray(include)])
    if limits is not None:
        axes.set_yscale("log")
        axes.set_ylim(*limits)
        log_ticks(axes, *limits, small=small)


def log_ticks(axes: Axes, low: float, high: float, *, small: bool = False) -> None:
    """Ticks of a log axis that lie within its limits: `log_axis` also takes round places 3 % outside."""
    style.log_axis(axes.yaxis, low / 0.97, high / 1.03, small=small)


def log_limits(drawn: Sequence[Any], *, above: float = 1.15) -> tuple[float, float] | None:
    """(low, high) of a log axis around all positive values, with two round numbers in it; None without any value."""
    values = np.concatenate([np.asarray(y, float) for y in drawn]) if drawn else np.empty(0)
    values = values[np.isfinite(values) & (values > 0)]
    if not len(values):
        return None
    low, high = values.min() / 1.15, values.max() * above
    round_ = np.outer(10.0 ** np.arange(np.floor(np.log10(low)) - 1, np.log10(high) + 2), (1, 2, 5)).ravel()
    if np.sum((round_ >= low) & (round_ <= high)) < 2:
        low, high = min(low, round_[round_ <= values.min()].max()), max(high, round_[round_ >= values.max()].min())
    return float(low), float(high)


def size_axis(axes: Axes, sizes: Sequence[int]) -> None:
    """A log axis whose ticks are the sizes themselves, thinned where they are many."""
    known = np.unique(np.asarray(sizes, float))
    style.log_x(axes, known)
    axes.set_xlim(known[0] / 1.25, known[-1] * 1.25)
    ticks = known[:: -(-len(known) // 7)]
    axes.set_xticks(ticks, [f"{tick:.0f}" for tick in ticks])


def legend_columns(count: int, *, most: int = 9) -> int:
    """Columns of a legend whose rows are equally long, at most `most`."""
    rows = -(-count // most)
    return -(-count // max(rows, 1))


def setting_note(figure: Figure, setting: str) -> None:
    """Which point of a sweep is drawn, in the lower left corner; the tables have all."""
    if setting:
        told = "at " + setting.replace(", ", "\n")
        figure.text(0.005, 0.01, told, ha="left", va="bottom", fontsize=6, color="#777777")


def family_keys(families: Sequence[str]) -> list[tuple[Line2D, str]]:
    known = [name for name in LOOKS if name in families] + [n for n in dict.fromkeys(families) if n not in LOOKS]
    looks = [look(name) for name in known]
    return [(Line2D([], [], color=s.color, linestyle=s.line, marker=s.marker, markersize=4), s.label) for s in looks]


def by_size(axes: Axes, told: list[tuple[Cell, np.ndarray]]) -> None:
    """A line a family against the dimension of the latent, dots the members; codes and centres as level lines."""
    x: list[int] = []
    for family in dict.fromkeys(cell.family for cell, _ in told):
        s, own = look(family), [(cell.size, values) for cell, values in told if cell.family == family]
        if family in (*CODED, "class_mean", "kmeans"):
            for _, values in own:
                axes.axhline(np.nanmean(values), color=s.color, linestyle=DASHED, linewidth=0.9)
            continue
        sizes = [size for size, _ in own]
        axes.plot(sizes, [values.mean() for _, values in own], color=s.color, linestyle=s.line, marker=s.marker)
        for size, values in own:
            axes.plot(np.full(len(values), size), values, ".", color=s.color, alpha=0.5, markersize=2)
        x += sizes
    if x:
        size_axis(axes, x)
    axes.set_xlabel("dimensions of the latent")


def dots(axes: Axes, values: np.ndarray, y: float | int, color: str, *, hollow: bool = False) -> None:
    """Members as dots, their mean as a black tick."""
    values = values[np.isfinite(values)]
    if len(values):
        face = {"markerfacecolor": "white", "markeredgewidth": 0.9} if hollow else {"markeredgewidth": 0}
        axes.plot(values, np.full(len(values), y), "o", color=color, markersize=3.6, alpha=0.75, **face)
        axes.plot([values.mean()], [y], marker="|", color="#222222", markersize=8, linestyle="", zorder=4)
