"""Figures of `gradients`: how ascents of all classes climb, and where they end, in numbers."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from landscape.reporting import style
from landscape.reporting.autoencoder_axes import log_limits, log_ticks
from landscape.reporting.gradient_parts import (
    Room,
    distinct,
    dots_on_row,
    kind_look,
    kinds,
    number,
    over,
    rooms,
    value_name,
    with_unit,
)
from landscape.reporting.latent_parts import mean, read
from landscape.reporting.sheet import note

APART = 0.17  # rows apart: held-out above, guide below


def by_step(data: xr.Dataset, name: str, kind: str) -> np.ndarray | None:
    """Means over starts and classes, [member, t]."""
    values = read(data, name, "kind", "member", "t", "start", "class")
    if values is None:
        return None
    return over(values[kinds(data).index(kind)][:, :, : distinct(data, kind, "start")], 2)


def curves(data: xr.Dataset) -> Figure | None:
    """Objective and length of its gradient by step: a column a place, a line a kind of start, thin ones members."""
    known = rooms(data, "ascent_value")
    if not known:
        return None
    figure, axes = style.panels(
        2 * len(known), columns=len(known), height=1.3, left=0.68, top=0.48, bottom=0.42, gap=(0.12, 0.16)
    )
    rows = (("ascent_value", axes[: len(known)]), ("ascent_grad_norm", axes[len(known) :]))
    for name, across in rows:
        drawn: dict[str, list[np.ndarray]] = {}
        for one, room in zip(across, known, strict=True):
            for kind in kinds(data):
                values = by_step(data, f"{name}.{room.name}", kind)
                if values is not None:
                    drawn.setdefault(room.name, []).append(values)
                    t, color = np.arange(values.shape[1]), kind_look(kind).color
                    style.thin_lines(one, t, values, color, alpha=0.35)
                    one.plot(t, mean(values, 0), color=color, linewidth=1.4, marker="" if len(t) > 1 else "o")
            one.set_xlim(0, max(1, data.sizes["t"] - 1))
            one.grid(axis="y")
        # In a layer gradients vanish by many decades: such lines may leave the panel, so that the others can be read.
        asked = [room for room in known if not room.hidden] or known
        told = [values for room in asked for values in drawn.get(room.name, [])]
        _limits(across, told, log=name == "ascent_grad_norm")
    for c, room in enumerate(known):
        axes[c].set_title(room.label, color=room.color)
        axes[c].tick_params(labelbottom=False)
    value, unit = value_name(data, "ascent")
    axes[0].set_ylabel(with_unit(value, unit))
    axes[len(known)].set_ylabel("its gradient (L2)")
    style.shared_labels(figure, "step")
    keys = [Line2D([], [], color=kind_look(kind).color) for kind in kinds(data)]
    labels = [kind_look(kind).label for kind in kinds(data)]
    keys.append(Line2D([], [], color="#777777", linewidth=0.6))
    style.legend_above(figure, keys, [*labels, "single classifiers"], columns=len(keys))
    return figure


def _limits(across: list[Axes], drawn: list[np.ndarray], *, log: bool) -> None:
    """One scale for all panels of a row; numbers on the first one alone."""
    limits = log_limits(drawn) if log else None
    finite = np.concatenate([values[np.isfinite(values)] for values in drawn] or [np.zeros(1)])
    low, high = limits or (float(finite.min()), float(finite.max()))
    room = 0.0 if limits else 0.05 * ((high - low) or 1.0)
    for i, axes in enumerate(across):
        if limits:
            axes.set_yscale("log")
        axes.set_ylim(low - room, high + room)
        if limits:
            log_ticks(axes, low, high, small=True)
        axes.tick_params(labelleft=i == 0)


def at_end(data: xr.Dataset, name: str, kind: str) -> np.ndarray | None:
    """Means over starts and classes, [member]."""
    values = read(data, name, "kind", "member", "start", "class")
    if values is None:
        return None
    return over(values[kinds(data).index(kind)][:, : distinct(data, kind, "start")], 1)


def ends(data: xr.Dataset) -> Figure | None:
    """a: probability by the guide and by classifiers that do not guide. b, c: distances. A row a place and start."""
    known, starts = rooms(data, "ascent_probability"), kinds(data)
    if not known:
        return None
    rows = [(room, kind, r * (len(starts) + 0.6) + k) for r, room in enumerate(known) for k, kind in enumerate(starts)]
    tall = max(1.2, 0.17 * (rows[-1][2] + 1))
    figure, axes = style.panels(3, columns=3, height=tall, left=1.5, top=0.48, bottom=0.42, gap=(0.22, 0.3))
    for room, kind, y in rows:
        color = kind_look(kind).color
        for name, hollow, shift in (("held_out", False, -APART), ("probability", True, APART)):
            values = at_end(data, f"ascent_{name}.{room.name}", kind)
            if values is not None:
                dots_on_row(axes[0], values, y + (shift if not room.hidden else 0.0), color, hollow=hollow)
        for one, name in zip(axes[1:], ("moved", "nearest"), strict=True):
            values = at_end(data, f"ascent_{name}.{room.name}", kind)
            if values is not None and not room.hidden:
                dots_on_row(one, values, y, color)
    for one, name in zip(axes[1:], ("moved", "nearest"), strict=True):
        one.set_xlim(left=0)
        _in_own_units(one, data, name, rows)
    for one, title in zip(axes, ("a  probability", "b  moved", "c  to nearest training image"), strict=True):
        one.set_title(title)
        one.set_ylim(rows[-1][2] + 0.6, -0.6)
        one.set_yticks([y for *_, y in rows], [kind_look(kind).label for _, kind, _ in rows])
        one.tick_params(axis="y", length=0, labelleft=one is axes[0])
        one.grid(axis="x")
        one.set_xlabel("of the class climbed" if one is axes[0] else "L2, pixels")
    axes[0].set_xlim(-0.02, 1.02)
    axes[0].set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    _name_places(figure, axes[0], known, rows)
    keys = [
        Line2D([], [], color="#555555", marker="o", markersize=3.5, linestyle=""),
        Line2D([], [], color="#555555", marker="o", markersize=3.5, linestyle="", markerfacecolor="white"),
        Line2D([], [], color="#222222", marker="|", markersize=7, linestyle=""),
    ]
    style.legend_above(figure, keys, ["by classifiers that do not guide", "by the guide", "mean"], columns=3)
    return figure


def _in_own_units(axes: Axes, data: xr.Dataset, name: str, rows: list[tuple[Room, str, float]]) -> None:
    """Distances in a hidden layer, which no axis of pixels can show, as numbers."""
    for room, kind, y in rows:
        values = at_end(data, f"ascent_{name}.{room.name}", kind) if room.hidden else None
        if values is not None:
            told = f"{number(float(mean(values, 0)))} units of the layer"
            axes.text(0.03, y, told, transform=axes.get_yaxis_transform(), va="center", fontsize=6.5, color="#777777")


def _name_places(figure: Figure, axes: Axes, known: list[Room], rows: list[tuple[Room, str, float]]) -> None:
    """Each place's name at the far left of its first row."""
    height = figure.get_figheight()
    box, (bottom, top) = axes.get_position(), axes.get_ylim()
    for room in known:
        y = next(y for r, _, y in rows if r.name == room.name)
        up = box.y0 + box.height * (y - bottom) / (top - bottom)
        note(figure, 0.06, (1 - up) * height, room.label, va="center", weight="bold", color=room.color)
