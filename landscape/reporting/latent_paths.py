"""Figures of `latent`: what lies on straight and on spherical paths between two embeddings."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from landscape.reporting import plate, style
from landscape.reporting.latent_parts import Strip, families, labels_of, look, mean, read, shaded, sheet

COLUMNS, POINTS, COUPLES = 5, 9, 2
OTHER = "#d0d0d0"


def shares(data: xr.Dataset, family: str) -> dict[str, np.ndarray] | None:
    """Mean probability of the start's class, the end's and all others [kind, t], over couples of two classes."""
    values = read(data, f"path_probability.{family}", "member", "path", "t", "couple", "class")
    if values is None:
        return None
    values = np.where(np.isfinite(values), values, 0.0)
    ends = values[:, :, [0, -1]].argmax(axis=-1)  # [member, path, 2, couple]
    two = ends[:, :, 0] != ends[:, :, 1]
    if not two.any():
        return None
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
    names = ["class at the start (below, dark)", "other classes", "class at the end (above, light)"]
    style.legend_above(figure, keys, names, columns=3)
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
