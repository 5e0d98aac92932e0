"""Figures of `latent`: guided chains that may go anywhere, what classes they reach and whether they mix."""

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from landscape.reporting import plate, style
from landscape.reporting.latent_parts import (
    GREY,
    NEAREST,
    REFERENCE,
    class_names,
    dots,
    families,
    kernel_look,
    look,
    mean,
    read,
    rhat_axis,
    samplers,
    states_kept,
)
from landscape.reporting.sheet import Strip, sheet

WHICH = ("guided", "unguided")
COLUMNS = 5  # families side by side
SHARES = mpl.colormaps["Blues"].with_extremes(bad="#d9d2c5")  # sand: no chain was ever there
PICTURED = 14  # classes
APART = 0.17  # rows apart: guided above, unguided below


def _guide(data: xr.Dataset, name: str, which: str, *dims: str) -> np.ndarray | None:
    """Values of the guided or the unguided chains, [member, ...]."""
    known, values = plate.names(data, "guided"), read(data, name, "guided", "member", *dims)
    if values is None or which not in known:
        return None
    values = values[known.index(which)]
    return values if np.isfinite(values).any() else None


def _members(data: xr.Dataset, name: str, which: str) -> np.ndarray | None:
    values = _guide(data, name, which)
    return None if values is None else mean(values.reshape(len(values), -1), -1)


def _worst(data: xr.Dataset, name: str, which: str) -> np.ndarray | None:
    """R-hat - 1 of the worst class, [member]; infinite where the chains toward a class never moved."""
    values = _guide(data, name, which)
    if values is None:
        return None
    values = np.where(np.isfinite(values), values, np.inf).reshape(len(values), -1).max(axis=1)
    return np.maximum(values - 1, NEAREST)


def _stays(data: xr.Dataset, name: str, which: str) -> np.ndarray | None:
    """Share of steps between kept states after which the predicted class is the same, [member]."""
    counts = _guide(data, name, which, "class", "next_class")
    if counts is None:
        return None
    total = counts.sum(axis=(1, 2))
    return np.where(total > 0, np.trace(counts, axis1=1, axis2=2) / np.maximum(total, 1), np.nan)


def reached(data: xr.Dataset) -> Figure | None:
    """A row a sampler: probability of the class aimed at, share of steps within a class, R-hat, sample size."""
    rows = [(family, kernel) for family in families(data) for kernel in samplers(data, family)]
    rows = [row for row in rows if _members(data, f"global_probability.{'.'.join(row)}", "guided") is not None]
    if not rows:
        return None
    figure, axes = style.panels(
        4, columns=4, height=max(1.0, 0.25 * len(rows)), left=0.98, top=0.47, bottom=0.4, gap=(0.25, 0.3), right=0.16
    )
    for y, (family, kernel) in enumerate(rows):
        color, name = look(family).color, f"{family}.{kernel}"
        for which, at, shown in (("guided", y - APART, color), ("unguided", y + APART, GREY)):
            dots(axes[0], _members(data, f"global_held_out.{name}", which), at, shown, hollow=True)
            dots(axes[0], _members(data, f"global_probability.{name}", which), at, shown)
            dots(axes[1], _stays(data, f"mixing.{name}", which), at, shown)
            worst = _worst(data, f"global_rhat.{name}", which)
            dots(axes[2], worst, at, shown)
            if worst is not None and np.isinf(worst).any():
                text = f"{np.isinf(worst).sum()} seeds stuck"
                axes[2].text(
                    0.99, at, text, transform=axes[2].get_yaxis_transform(), ha="right", va="center", fontsize=6
                )
            dots(axes[3], _members(data, f"global_ess.{name}", which), at, shown)
    _furnish(axes, data, rows)
    looks = (
        ("guided", "#444444", False),
        ("next seed's classifier", "#444444", True),
        ("unguided", GREY, False),
    )
    keys = [Line2D([], [], color=c, marker="o", linestyle="", markerfacecolor="white" if h else c) for _, c, h in looks]
    style.legend_above(figure, keys, [text for text, _, _ in looks], columns=3)
    return figure


def _furnish(axes: list[Axes], data: xr.Dataset, rows: list[tuple[str, str]]) -> None:
    told = (
        ("a  class reached", "probability"),
        ("b  class kept", "share of steps"),
        ("c  convergence", "R-hat, worst class"),
        ("d  sample size", "effective samples"),
    )
    for i, (one, (title, unit)) in enumerate(zip(axes, told, strict=True)):
        one.set(title=title, xlabel=unit)
        one.set_yticks(range(len(rows)), [f"{look(f).label}  {kernel_look(k).label}" for f, k in rows])
        for label, (family, _) in zip(one.get_yticklabels(), rows, strict=True):
            label.set_color(look(family).color)
        one.tick_params(axis="y", length=0, labelleft=i == 0)
        one.set_ylim(len(rows) - 0.4, -0.6)
        one.grid(axis="x")
        for y in range(1, len(rows)):
            if rows[y][0] != rows[y - 1][0]:
                one.axhline(y - 0.5, color="#dddddd", linewidth=0.6)
    for one in axes[:2]:
        one.set_xlim(-0.03, 1.03)
        one.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    if data.sizes.get("class"):
        axes[0].axvline(1 / data.sizes["class"], **REFERENCE)
    drawn = [x for line in axes[2].lines for x in np.atleast_1d(line.get_xdata()) if line.get_marker() == "o"]
    rhat_axis(axes[2], "x", np.asarray(drawn, float))
    most = states_kept(data)
    if most:
        axes[3].axvline(most, **REFERENCE)
    axes[3].set_xlim(left=0)


# ---- mixing ----


def mixing(data: xr.Dataset) -> Figure | None:
    """P(next class | class) along the chains of each family's first sampler: guided above, unguided beneath."""
    told = []
    for family in families(data):
        for name in (f"mixing.{family}.{kernel}" for kernel in samplers(data, family)[:1]):
            both = {which: _shares(data, name, which) for which in WHICH}
            if any(shares is not None for shares in both.values()):
                told.append((family, name, both))
    if not told:
        return None
    most = max(float(np.nanmax(s)) for *_, both in told for s in both.values() if s is not None)
    most = min(1.0, np.ceil(10 * most) / 10)
    columns, left, right, gap = min(COLUMNS, len(told)), 0.62, 0.6, 0.16
    side = (style.PAGE - left - right - gap * (COLUMNS - 1)) / COLUMNS
    width = left + right + columns * side + (columns - 1) * gap
    shape = {"columns": columns, "width": width, "height": side, "left": left, "right": right}
    rows = len(WHICH) * -(-len(told) // columns)
    names = class_names(data, limit=7)
    under = 0.12 if max(map(len, names), default=0) < 3 else 0.4
    between = under + 0.2 if rows > len(WHICH) else 0.3
    figure, axes = style.panels(rows * columns, **shape, top=0.26, bottom=0.25 + under, gap=(gap, between))
    for index, one in enumerate(axes):
        row, column = divmod(index, columns)
        block, which = divmod(row, len(WHICH))
        i, which = block * columns + column, WHICH[which]
        if i >= len(told) or told[i][2][which] is None:
            one.remove()
            continue
        family, name, both = told[i]
        picture = one.imshow(both[which], vmin=0, vmax=most, cmap=SHARES, interpolation="nearest")
        stays = 100 * mean(_stays(data, name, which), 0)
        one.set_title(f"{look(family).label}: {stays:.0f} % stay", fontsize=7, color=look(family).color)
        _classes(one, names, left=column == 0, bottom=which == WHICH[-1])
        if column == 0:
            one.set_ylabel(f"class, {which}")
    box = figure.axes[0].get_position()
    bar = figure.add_axes((1 - 0.5 / width, box.y0, 0.09 / width, box.height))
    figure.colorbar(picture, cax=bar, ticks=[0, most / 2, most], format="{x:.2g}").outline.set_visible(False)
    style.shared_labels(figure, "class of the next kept state")
    return figure


def _shares(data: xr.Dataset, name: str, which: str) -> np.ndarray | None:
    counts = _guide(data, name, which, "class", "next_class")
    if counts is None:
        return None
    counts = np.where(np.isfinite(counts), counts, 0.0).sum(axis=0)
    visits = counts.sum(axis=1, keepdims=True)
    return np.where(visits > 0, counts / np.maximum(visits, 1), np.nan)


def _classes(axes: Axes, names: list[str], *, left: bool, bottom: bool) -> None:
    ticks = np.arange(len(names))[:: -(-len(names) // 10)]
    shown = [names[i] for i in ticks]
    axes.set_xticks(ticks, shown, fontsize=5.5, rotation=0 if max(map(len, shown)) < 3 else 90)
    axes.set_yticks(ticks, shown, fontsize=5.5)
    axes.tick_params(length=0, pad=1.5, labelleft=left, labelbottom=bottom)
    axes.spines[:].set_visible(False)


def pictures(data: xr.Dataset) -> Figure | None:
    """Last states of guided chains: a column a class, a row a family."""
    known = plate.names(data, "guided")
    rows = []
    for family in families(data):
        for kernel in samplers(data, family)[:1]:
            states = read(data, f"picture_global.{family}.{kernel}", "guided", "class", "height", "width", "channel")
            if states is not None and "guided" in known:
                rows.append(
                    Strip(look(family).label, look(family).color, list(states[known.index("guided")][:PICTURED]))
                )
    heads = class_names(data, limit=7)[:PICTURED]
    return sheet(rows, heads=heads, groups=[(0, len(heads) - 1, "class that the chain is guided toward")])
