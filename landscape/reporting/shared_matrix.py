"""The transfer matrix of `shared`: who is fooled by whose adversarial examples, and by which mistake."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from landscape.reporting import style
from landscape.reporting.shared_parts import GREY, INK, OUTCOMES, ROLES, attack_label, condition_of, finite

ATTACK = 0  # that of the headline
GAP = 0.5  # cells: between members of unlike roles


def matrix(data: xr.Dataset) -> Figure | None:
    """Every pair as a bar of the three outcomes, the chance rate of same mistakes as a tick."""
    return _matrix(data, width=style.PAGE)


def matrix_column(data: xr.Dataset) -> Figure | None:
    """The same one column wide."""
    return _matrix(data, width=style.COLUMN)


def matrix_table(data: xr.Dataset) -> list[tuple]:
    """The figure's data."""
    share, chance = _cells(data)
    half = data["share_half"].isel(attack=ATTACK).sel(condition=condition_of(data, ATTACK))
    half = half.transpose("source", "target").values
    rows: list[tuple] = [("source", "target", "role", *OUTCOMES, "chance_of_same", "half_interval_of_mistakes")]
    for s, source in enumerate(data["source"].values):
        for t, role in enumerate(data["role"].values.astype(str)):
            rows.append((int(source), t, role, *share[:, s, t], chance[s, t], half[s, t]))
    return rows


def _cells(data: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Shares [outcome, source, target] and chance [source, target] of the headline's attack."""
    at = {"condition": condition_of(data, ATTACK)}
    share = data["share"].isel(attack=ATTACK).sel(at).transpose("outcome", "source", "target").values
    return share, data["share_chance"].isel(attack=ATTACK).sel(at).transpose("source", "target").values


def _matrix(data: xr.Dataset, *, width: float) -> Figure | None:
    if not finite(_cells(data)[0]):
        return None
    narrow = width < style.PAGE
    left, right, top, bottom = 0.42, 0.14, 0.6 if narrow else 0.5, 0.36
    tall, num_sources = height_of(data, width - left - right), data.sizes["source"]
    figure = Figure(figsize=(width, top + bottom + tall * num_sources))
    height = figure.get_figheight()
    axes = figure.add_axes((left / width, bottom / height, 1 - (left + right) / width, 1 - (top + bottom) / height))
    panel(axes, data, step=1 if tall > 0.1 else 2, narrow=narrow)
    style.legend_above(figure, *keys(), columns=2 if narrow else 4)
    return figure


def keys() -> tuple[list[Patch], list[str]]:
    """Handles and labels of the legend."""
    handles = [*(Patch(color=color) for _, color in OUTCOMES.values()), Patch(facecolor=INK, linewidth=0)]
    return handles, [label for label, _ in OUTCOMES.values()] + ["same by chance (tick)"]


def _places(data: xr.Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Targets in order, their roles, and where they stand, in cells."""
    roles = data["role"].values.astype(str)
    order = np.argsort([list(ROLES).index(role) if role in ROLES else len(ROLES) for role in roles], kind="stable")
    groups = roles[order]
    return order, groups, np.arange(len(order)) + GAP * np.cumsum(np.r_[0, groups[1:] != groups[:-1]])


def height_of(data: xr.Dataset, width: float) -> float:
    """Inches a row takes where all columns together take `width`."""
    x = _places(data)[2]
    cell = 0.62 * width / (x[-1] + 1)
    return cell if len(x) > 12 else min(cell, 0.3)


def panel(axes: Axes, data: xr.Dataset, *, step: int, narrow: bool) -> None:
    """The matrix on given axes; every `step`th row is named, long names of roles are broken where it is narrow."""
    share, chance = _cells(data)
    order, groups, x = _places(data)
    num_sources = share.shape[1]
    boxes, colors, ticks, own = [], [], [], []
    stacked = [OUTCOMES[name] for name in ("same", "different", "unfooled")]
    for s in range(num_sources):
        for place, t in zip(x, order, strict=True):
            begin = 0.0
            for part, (_, color) in zip(share[[1, 2, 0], s, t], stacked, strict=True):
                if np.isfinite(part) and part > 0:
                    boxes.append(Rectangle((place + 0.04 + 0.92 * begin, s + 0.08), 0.92 * part, 0.84))
                    colors.append(color)
                    begin += part
            if np.isfinite(chance[s, t]):
                at = place + 0.04 + 0.92 * chance[s, t]
                ticks.append([(at, s + 0.55), (at, s + 0.98)])
            if t == s:
                own.append(Rectangle((place + 0.02, s + 0.04), 0.96, 0.92))
    axes.add_collection(PatchCollection(boxes, facecolors=colors, linewidths=0))
    axes.add_collection(LineCollection(ticks, colors=INK, linewidths=0.7))
    axes.add_collection(PatchCollection(own, facecolors="none", edgecolors=GREY, linewidths=0.7))
    axes.set(xlim=(0, x[-1] + 1), ylim=(num_sources, 0))
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(length=0)
    axes.set_yticks(np.arange(0, num_sources, step) + 0.5, [str(v) for v in data["source"].values[::step]])
    axes.set_ylabel("made on (seed)")
    middle = [(x[groups == g].min() + x[groups == g].max() + 1) / 2 for g in dict.fromkeys(groups)]
    names = [ROLES.get(g, style.plain(g)) for g in dict.fromkeys(groups)]
    names = [name.replace(" ", "\n") if narrow or name == "shuffled labels" else name for name in names]
    axes.set_xticks(middle, names, fontsize=5.5 if narrow else None)
    axes.set_title(attack_label(data, ATTACK))
