"""The transfer matrix of `shared`: who is fooled by whose adversarial examples, and by which mistake."""

import numpy as np
import xarray as xr
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
    share, chance = _cells(data)
    if not finite(share):
        return None
    roles = data["role"].values.astype(str)
    order = np.argsort([list(ROLES).index(role) if role in ROLES else len(ROLES) for role in roles], kind="stable")
    num_sources, num_targets = share.shape[1:]
    groups = roles[order]
    x = np.arange(num_targets) + GAP * np.cumsum(np.r_[0, groups[1:] != groups[:-1]])
    narrow = width < style.PAGE
    left, right, top, bottom = 0.42, 0.14, 0.6 if narrow else 0.5, 0.36
    cell = (width - left - right) / (x[-1] + 1)
    tall = 0.62 * cell if num_targets > 12 else min(0.62 * cell, 0.3)
    figure = Figure(figsize=(width, top + bottom + tall * num_sources))
    height = figure.get_figheight()
    axes = figure.add_axes((left / width, bottom / height, 1 - (left + right) / width, 1 - (top + bottom) / height))
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
    step = 1 if tall > 0.1 else 2
    axes.set_yticks(np.arange(0, num_sources, step) + 0.5, [str(v) for v in data["source"].values[::step]])
    axes.set_ylabel("made on (seed)")
    middle = [(x[groups == g].min() + x[groups == g].max() + 1) / 2 for g in dict.fromkeys(groups)]
    names = [ROLES.get(g, style.plain(g)) for g in dict.fromkeys(groups)]
    names = [name.replace(" ", "\n") if narrow or name == "shuffled labels" else name for name in names]
    axes.set_xticks(middle, names)
    axes.set_title(attack_label(data, ATTACK))
    handles = [Patch(color=color) for _, color in OUTCOMES.values()]
    handles.append(Patch(facecolor=INK, linewidth=0))
    labels = [label for label, _ in OUTCOMES.values()] + ["same by chance (tick)"]
    style.legend_above(figure, handles, labels, columns=2 if narrow else 4)
    return figure
