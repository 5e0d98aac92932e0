"""A figure of `latent`: how each sampler's local chains behave, by family."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from landscape.reporting import style
from landscape.reporting.latent_parts import (
    DOTTED,
    NEAREST,
    REFERENCE,
    by_radius,
    curve,
    families,
    kernel_look,
    log_y,
    look,
    radius_axis,
    read,
    rhat_axis,
    samplers,
    shaded,
    states_kept,
)
from landscape.reporting.sheet import note

CHANGED = {"linestyle": DOTTED, "marker": "o", "markerfacecolor": "white"}  # steps of codes that do not stay
UNMOVED = 1e-3  # drift over s below which chains of codes did not move: what is left is rounding
PANELS = (
    ("probability", "probability of own class"),
    ("drift", "drift (white units)"),
    ("acceptance", "acceptance"),
    ("rhat", "R-hat"),
    ("ess", "effective samples"),
)


def behaviour(data: xr.Dataset) -> Figure | None:
    """Rows families, columns what is measured, against s; a line a sampler."""
    measured = {
        (family, kernel): {name: _values(data, name, family, kernel) for name, _ in PANELS}
        for family in families(data)
        for kernel in samplers(data, family)
    }
    rows = list(dict.fromkeys(f for (f, _), told in measured.items() if told["probability"] is not None))
    if not rows:
        return None
    figure, axes = style.panels(
        len(rows) * len(PANELS), columns=len(PANELS), height=0.72, left=0.98, top=0.5, gap=(0.42, 0.17), bottom=0.4
    )
    s = data["radius"].values
    order = np.argsort(s, kind="stable")
    for i, (name, _) in enumerate(PANELS):
        column = axes[i :: len(PANELS)]
        for one, family in zip(column, rows, strict=True):
            for kernel in samplers(data, family):
                values, k = measured[family, kernel][name], kernel_look(kernel)
                if values is not None:
                    drawn = {"linestyle": k.line, "marker": k.marker}
                    curve(one, s[order], values[:, order], shaded(look(family).color, k.shade), **drawn)
                changed = by_radius(data, f"local_changed.{family}.{kernel}") if name == "acceptance" else None
                if changed is not None:
                    curve(one, s[order], changed[:, order], look(family).color, **CHANGED)
            radius_axis(one, s)
            one.grid(axis="y")
            one.tick_params(labelbottom=family == rows[-1])
        known = [told[name].ravel() for told in measured.values() if told[name] is not None]
        _scale(column, name, np.concatenate(known) if known else np.empty(0), s, states_kept(data))
    _labels(figure, axes, rows)
    kernels = list(dict.fromkeys(kernel for _, kernel in measured))
    keys = [_key(kernel) for kernel in kernels]
    labels = [kernel_look(kernel).label for kernel in kernels]
    if any(name.startswith("local_changed") for name in data.variables):
        keys.append(Line2D([], [], color="#777777", markersize=3, **CHANGED))
        labels.append("steps that change a code")
    style.legend_above(figure, keys, labels, columns=6)
    return figure


def _values(data: xr.Dataset, name: str, family: str, kernel: str) -> np.ndarray | None:
    """[member, radius]; R-hat and sample size are medians over embeddings, R-hat less 1."""
    full = f"local_{name}.{family}.{kernel}"
    if name not in ("rhat", "ess"):
        values = by_radius(data, full)
        if name == "drift" and values is not None:
            values = np.where(values > UNMOVED * data["radius"].values, values, np.nan)
        return values
    values = read(data, full, "member", "radius")
    if values is None:
        return None
    values = values.reshape(*values.shape[:2], -1)
    known = np.isfinite(values)
    middle = np.full(values.shape[:2], np.nan)
    for at in zip(*np.nonzero(known.any(axis=-1)), strict=True):
        middle[at] = np.median(values[at][known[at]])
    return np.maximum(middle - 1, NEAREST) if name == "rhat" else middle


def _scale(column: list[Axes], name: str, values: np.ndarray, s: np.ndarray, most: float | None) -> None:
    """One y axis for a column, and its lines of reference."""
    for one in column:
        if name in ("probability", "acceptance"):
            one.set_ylim(-0.03, 1.03)
            one.set_yticks([0, 0.5, 1])
        elif name == "drift":
            log_y(one, np.concatenate([values, s]))
            one.plot(np.sort(s), np.sort(s), **REFERENCE)
        elif name == "rhat":
            rhat_axis(one, "y", values)
        elif len(values):
            log_y(one, np.append(values, most if most else np.nan))
            if most:
                one.axhline(most, **REFERENCE)


def _labels(figure: Figure, axes: list[Axes], rows: list[str]) -> None:
    height = figure.get_figheight()
    for one, (_, title) in zip(axes, PANELS, strict=False):
        one.set_title(title, fontsize=7.5, loc="center")
    for i, family in enumerate(rows):
        box = axes[i * len(PANELS)].get_position()
        y = height * (1 - (box.y0 + box.y1) / 2)
        note(figure, 0.08, y, look(family).label, ha="left", va="center", fontsize=8, color=look(family).color)
    style.shared_labels(figure, "reach s (white units)")


def _key(kernel: str) -> Line2D:
    k = kernel_look(kernel)
    return Line2D([], [], color=shaded("#777777", k.shade), linestyle=k.line, marker=k.marker, markersize=3)
