"""Figures of `latent`: what lies on straight and on spherical paths between two embeddings."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from landscape.reporting import plate, style
from landscape.reporting.latent_parts import DASHED, families, labels_of, look, mean, read, shaded
from landscape.reporting.sheet import Strip, sheet

COLUMNS, POINTS, COUPLES = 5, 9, 2
OTHER = "#d0d0d0"


def shares(data: xr.Dataset, family: str, *, held_out: bool = False) -> dict[str, np.ndarray] | None:
    """Mean probability of the start's class, the end's and all others [kind, t], over couples of two classes.

    Classes are the own classifier's at the ends; the probabilities are its own, or those of all others.
    """
    values = read(data, f"path_probability.{family}", "member", "judge", "path", "t", "couple", "class")
    if values is None:
        return None
    own = np.arange(len(values))
    values = np.where(np.isfinite(values), values, 0.0)
    ends = values[own, own][:, :, [0, -1]].argmax(axis=-1)  # [member, path, 2, couple]
    two = ends[:, :, 0] != ends[:, :, 1]
    if (held_out and len(own) < 2) or not two.any():
        return None
    if held_out:
        values = (values.sum(axis=1) - values[own, own]) / (len(own) - 1)
    else:
        values = values[own, own]
    start, end = (
        np.take_along_axis(values, ends[:, :, i][:, :, None, :, None], axis=-1)[..., 0] for i in (0, 1)
    )  # [member, path, t, couple]
    known = np.broadcast_to(two[:, :, None], start.shape)
    told = {"start": start, "end": end, "other": values.sum(axis=-1) - start - end}
    return {name: mean(np.where(known, v, np.nan), (0, 3)) for name, v in told.items()}


def probabilities(data: xr.Dataset) -> Figure | None:
    """Stacked probabilities along the path: a column a family, a row a kind of path."""
    told = [(family, found) for family in families(data) if (found := shares(data, family)) is not None]
    if not told:
        return None
    kinds = plate.names(data, "path")
    columns = min(COLUMNS, len(told))
    blocks = -(-len(told) // columns)
    figure, axes = style.panels(
        blocks * len(kinds) * columns,
        columns=columns,
        height=0.95,
        left=0.72,
        top=0.45,
        bottom=0.42,
        gap=(0.12, 0.28 if blocks == 1 else 0.42),
    )
    for index, one in enumerate(axes):
        row, column = divmod(index, columns)
        block, kind = divmod(row, len(kinds))
        if block * columns + column >= len(told):
            one.remove()
            continue
        family, found = told[block * columns + column]
        t = np.linspace(0, 1, found["start"].shape[1])
        color = look(family).color
        layers = [found[name][kind] for name in ("start", "other", "end")]
        one.stackplot(t, *layers, colors=[color, OTHER, shaded(color, 0.55)], linewidth=0)
        judged = shares(data, family, held_out=True)
        if judged is not None:
            edges = (judged["start"][kind], 1 - judged["end"][kind])
            one.plot(t, np.transpose(edges), color="white", linewidth=1.6)
            one.plot(t, np.transpose(edges), color="#222222", linewidth=0.8, linestyle=DASHED)
        one.set(xlim=(0, 1), ylim=(0, 1))
        one.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        one.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
        one.tick_params(labelleft=column == 0, labelbottom=kind == len(kinds) - 1)
        if kind == 0:
            one.set_title(look(family).label, color=color)
        if column == 0:
            one.set_ylabel(kinds[kind])
    style.shared_labels(figure, "place t on the path", "mean probability")
    keys = [Patch(color=c, linewidth=0) for c in ("#444444", OTHER, shaded("#444444", 0.55))]
    keys.append(Line2D([], [], color="#222222", linewidth=0.8, linestyle=DASHED))
    names = ["class at the start (dark)", "other classes", "class at the end (light)", "by other seeds"]
    style.legend_above(figure, keys, names, columns=4)
    return figure


def pictures(data: xr.Dataset) -> Figure | None:
    """Two couples side by side, a row for each family and kind of path."""
    kinds, labels, rows = plate.names(data, "path"), labels_of(data, "end"), []
    half = len(labels) // 2
    apart = [i for i in range(half) if labels[i] != labels[half + i]] or list(range(half))
    couples = apart[:COUPLES]
    if not couples:
        return None
    steps = 0
    for family in families(data):
        states = read(data, f"picture_path.{family}", "path", "couple", "t", "height", "width", "channel")
        if states is None:
            continue
        steps = min(POINTS, states.shape[2])
        points = np.round(np.linspace(0, states.shape[2] - 1, steps)).astype(int)
        for kind, name in enumerate(kinds):
            images = [states[kind, couple, t] for couple in couples for t in points]
            color = look(family).color
            rows.append(Strip(f"{look(family).label}, {name}", color, images, 0.06 if kind == 0 and rows else 0.0))
    if not rows:
        return None
    groups = [(i * steps, (i + 1) * steps - 1, f"{labels[c]} to {labels[half + c]}") for i, c in enumerate(couples)]
    before = [0.12 if i and i % steps == 0 else 0.0 for i in range(len(couples) * steps)]
    return sheet(rows, groups=groups, before=before, margin=1.18)
