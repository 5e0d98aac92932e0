"""Figures of `noise` over the dose: the main one, the same at equal margin, and how step sizes were chosen."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from landscape.reporting import style
from landscape.reporting.noise_parts import (
    ARMS,
    DASHED,
    GREY,
    INK,
    QUANTITIES,
    SEARCHES,
    Told,
    bars,
    of_kind,
    searches,
    told,
)

ROWS = ("success", "flatness", "transfer", "manifold")
MARGIN_ROWS = ("flatness", "transfer", "manifold", "linearity")
MARKED = ("member", "trajectory", "swag")
X = "accuracy that the noisy classifier keeps (%)"


def dose(data: xr.Dataset) -> Figure | None:
    """A column a search, a row a quantity, at equal norm."""
    return _dose(data, searches(data), ROWS, "norm", width=style.PAGE)


def dose_column(data: xr.Dataset) -> Figure | None:
    """The first search alone, one column wide."""
    return _dose(data, searches(data)[:1], ROWS, "norm", width=style.COLUMN)


def at_margin(data: xr.Dataset) -> Figure | None:
    """The same at equal margin, where success says nothing."""
    return _dose(data, searches(data), MARGIN_ROWS, "margin", width=style.PAGE)


def dose_table(data: xr.Dataset) -> list[tuple]:
    """The main figure's data."""
    rows: list[tuple] = [("search", "quantity", "unit", "arm", "radius", "accuracy_kept", "value", "low", "high")]
    for search in searches(data):
        for quantity in ROWS:
            found = told(data, "told", search, "norm", quantity)
            for a in range(data.sizes["arm"] if found else 0):
                about = (str(data["kind"].values[a]), float(data["radius"].values[a]), 100 * _kept(data)[a])
                rows.append((search, quantity, QUANTITIES[quantity].unit, *about, *(part[a] for part in found)))
    return rows


def _kept(data: xr.Dataset) -> np.ndarray:
    """Where each arm stands on x: a frozen draw at the accuracy of fresh ones of its radius. Shares."""
    kept = data["kept_told"].values.astype(float).copy()
    fresh, frozen = of_kind(data, "fresh"), of_kind(data, "frozen")
    if len(fresh) == len(frozen):
        kept[frozen] = kept[fresh]
    return kept


def _dose(data: xr.Dataset, names: list[str], rows: tuple[str, ...], matching: str, *, width: float) -> Figure | None:
    found = {(q, s): told(data, "told", s, matching, q) for q in rows for s in names}
    names = [s for s in names if any(found[q, s] is not None for q in rows)]
    if not names:
        return None
    narrow = width < style.PAGE
    options = {"width": width, "height": 1.05, "left": 0.68, "gap": (0.42, 0.14), "top": 0.62 if narrow else 0.42}
    figure, axes = style.panels(len(rows) * len(names), columns=len(names), bottom=0.42, sharex=True, **options)
    grid = np.reshape(axes, (len(rows), len(names)))
    x = 100 * _kept(data)
    span = x[np.concatenate([of_kind(data, kind) for kind in ("none", "fresh", *MARKED)])]
    room = 0.06 * max(float(np.ptp(span)), 1.0)
    for row, quantity in zip(grid, rows, strict=True):
        for one, search in zip(row, names, strict=True):
            if found[quantity, search] is None:
                one.text(0.5, 0.5, "too few images", ha="center", va="center", color=GREY, transform=one.transAxes)
            else:
                _panel(one, data, x, found[quantity, search])
            one.grid(axis="y")
            one.tick_params(labelbottom=quantity == rows[-1])
            if quantity == rows[0]:
                one.set_title(SEARCHES[search][0])
        written = QUANTITIES[quantity]
        row[0].set_ylabel(f"{written.label}\n({written.unit})")
    grid[0, 0].set_xlim(float(span.max()) + room, float(span.min()) - room)  # noise grows to the right
    style.shared_labels(figure, x="accuracy kept (%)" if narrow else X)
    figure.align_ylabels(grid[:, 0])
    _key(figure, data, columns=2 if narrow else 6)
    return figure


def _panel(axes: Axes, data: xr.Dataset, x: np.ndarray, values: Told) -> None:
    none = of_kind(data, "none")
    if len(none) and np.isfinite(values.value[none[0]]):
        axes.axhspan(values.low[none[0]], values.high[none[0]], color=INK, alpha=0.07, linewidth=0)
        axes.axhline(values.value[none[0]], color=INK, linewidth=0.9)
    shift = 0.006 * np.ptp(x[np.isfinite(x)])  # so that bars of one radius do not hide each other
    for kind, aside in (("fresh", shift), ("frozen", -shift)):
        index = of_kind(data, kind)
        _, color, marker = ARMS[kind]
        still = kind == "frozen"
        look = {"markerfacecolor": "white", "linestyle": DASHED, "linewidth": 0.9} if still else {"linewidth": 1.3}
        bars(axes, x[index] + aside, values, index, color=color, marker=marker, markersize=3.6, **look)
    for kind in MARKED:
        index = of_kind(data, kind)
        _, color, marker = ARMS[kind]
        bars(axes, x[index], values, index, color=color, marker=marker, markersize=4.2, linestyle="", zorder=3)


def _key(figure: Figure, data: xr.Dataset, *, columns: int) -> None:
    handles, labels = [], []
    for kind in ("none", "fresh", "frozen", *MARKED):
        if len(of_kind(data, kind)):
            label, color, marker = ARMS[kind]
            line = DASHED if kind == "frozen" else "-" if kind in ("none", "fresh") else ""
            face = "white" if kind == "frozen" else color
            drawn = {"color": color, "marker": marker, "markersize": 3.6, "markerfacecolor": face}
            handles.append(Line2D([], [], linestyle=line, linewidth=1.1, **drawn))
            labels.append(label)
    style.legend_above(figure, handles, labels, columns=columns)


def tuning(data: xr.Dataset) -> Figure | None:
    """Goal on validation images over the step size, a panel a search; ringed is what each arm took."""
    names = searches(data)
    if not np.isfinite(data["tuning"].values).any():
        return None
    options = {"height": 1.9, "left": 0.5, "gap": (0.42, 0.3), "top": 0.42}
    figure, axes = style.panels(len(names), columns=len(names), **options)
    size = data["step_size"].values.astype(float)
    fresh = of_kind(data, "fresh")
    for one, search in zip(axes, names, strict=True):
        curve = data["tuning"].sel(search=search).transpose("arm", "step_size", "member").values.mean(axis=-1)
        chosen = data["chosen"].sel(search=search).values
        for a in range(data.sizes["arm"]):
            color, line, wide = _shade(data, a, fresh)
            one.plot(size, curve[a], color=color, linestyle=line, linewidth=wide, zorder=1 + wide)
            at = int(np.argmin(np.abs(size - chosen[a])))
            one.plot(size[at], curve[a, at], "o", markersize=3, markerfacecolor="white", color=color, zorder=3)
        style.log_x(one, size, small=True)
        one.set_xticks(size, [f"{s:g}" for s in size])
        one.set(title=SEARCHES[search][0], xlabel="step size (share of the radius)")
        one.grid(axis="y")
    axes[0].set_ylabel("source's margin at the goal (logits)")
    shown = [("no noise", INK, "-"), ("redrawn, darker with the radius", "#2171b5", "-")]
    shown += [("frozen draws", ARMS["frozen"][1], DASHED), ("other arms", GREY, "-")]
    handles = [Line2D([], [], color=color, linestyle=line) for _, color, line in shown]
    style.legend_above(figure, handles, [label for label, *_ in shown], columns=4)
    return figure


def _shade(data: xr.Dataset, arm: int, fresh: np.ndarray) -> tuple:
    """(colour, line, width) of an arm among the step-size curves: fresh ones darken with the radius."""
    kind = str(data["kind"].values[arm])
    if kind == "none":
        return INK, "-", 1.6
    if kind == "fresh":
        share = (1 + list(fresh).index(arm)) / len(fresh)
        light, dark = np.array([0.62, 0.79, 0.88]), np.array([0.03, 0.19, 0.42])
        return tuple(light + share * (dark - light)), "-", 1.2
    return (ARMS["frozen"][1], DASHED, 0.6) if kind == "frozen" else (GREY, "-", 0.6)
