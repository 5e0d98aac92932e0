"""Grids of pictures: what comes back, draws from the prior, climbed images, nearest training images."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from landscape.presets.names import YARDSTICKS
from landscape.reporting import plate, style
from landscape.reporting.autoencoder_cells import (
    GREY,
    cells_of,
    compared,
    in_order,
    look,
    manifolds,
    means_of,
    one_setting,
)

MARGIN, LABEL, GAP, BLOCK = 1.05, 0.16, 0.05, 0.16  # inches: row names, texts above, between pictures, between blocks
INK = "#333333"
GOOD, BAD = "#0072B2", "#D55E00"  # what a classifier says of a picture


class Row(NamedTuple):
    """Pictures [n, H, W, C] side by side; `told` stands right of them, `frames` are colours or "" a picture."""

    name: str
    images: np.ndarray
    color: str = INK
    told: str = ""
    frames: Sequence[str] = ()


def _grid(
    rows: list[Row],
    *,
    over: Sequence[str] = (),
    blocks: Sequence[str] = ("",),
    told: str = "",
    side: float = 0.5,
    room: float = 0.1,
) -> Figure | None:
    """Rows of pictures. over: a text above each column. blocks: titles of equal groups of columns. told: heading of
    what stands on the right, within `room` inches.
    """
    count = len(rows[0].images) if rows else 0
    if not count or not any(np.isfinite(row.images).any() for row in rows):
        return None
    _, tall, wide, _ = rows[0].images.shape
    per = -(-count // len(blocks))
    free = style.PAGE - MARGIN - room - BLOCK * (len(blocks) - 1) - GAP * count
    side = min(side, free / count * max(1.0, tall / wide))
    across, down = side * min(1.0, wide / tall), side * min(1.0, tall / wide)
    left = [MARGIN + i * (across + GAP) + (i // per) * BLOCK for i in range(count)]
    head = 0.06 + LABEL * (bool(any(blocks)) + bool(len(over) or told))
    size = (left[-1] + across + room, head + len(rows) * (down + GAP) + 0.03)
    figure = Figure(figsize=size)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, size[0]), ylim=(0, size[1]), aspect="auto")
    axes.set_axis_off()
    for index, row in enumerate(rows):
        bottom = size[1] - head - (index + 1) * (down + GAP) + GAP
        middle = bottom + down / 2
        axes.text(MARGIN - 0.08, middle, row.name, ha="right", va="center", fontsize=7.5, color=row.color)
        axes.text(left[-1] + across + 0.08, middle, row.told, ha="left", va="center", fontsize=7, color=row.color)
        shown = np.clip(np.nan_to_num(np.asarray(row.images, float), nan=0.9), 0, 1)
        for i, image in enumerate(shown):
            image = image[..., 0] if image.shape[-1] == 1 else image[..., :3]
            box = (left[i], left[i] + across, bottom, bottom + down)
            axes.imshow(image, cmap="gray", vmin=0, vmax=1, extent=box, interpolation="nearest", aspect="auto")
            if i < len(row.frames) and row.frames[i]:
                corner = (left[i], bottom)
                axes.add_patch(Rectangle(corner, across, down, fill=False, edgecolor=row.frames[i], linewidth=1.4))
    axes.set(xlim=(0, size[0]), ylim=(0, size[1]))  # imshow moves them
    above = size[1] - head + 0.03
    for i, text in enumerate(over[:count]):
        axes.text(left[i] + across / 2, above, text, ha="center", va="bottom", fontsize=6.5, color=INK)
    axes.text(left[-1] + across + 0.08, above, told, ha="left", va="bottom", fontsize=7, color=INK)
    for b, title in enumerate(blocks):
        first, last = b * per, min(count, (b + 1) * per) - 1
        if title and first <= last:
            x = (left[first] + left[last] + across) / 2
            axes.text(x, size[1] - 0.04, title, ha="center", va="top", fontsize=8, color=INK)
    return figure


def _pictures(data: xr.Dataset, name: str, **index: int) -> np.ndarray:
    return data[name].isel(index).transpose(..., "height", "width", "channel").values


def _color(family: str) -> str:
    return GREY if family in YARDSTICKS else INK


def reconstructions(data: xr.Dataset) -> Figure | None:
    """Shown test images and what each cell at the compared dimension gives back, with its error over all of them."""
    one, _ = one_setting(data)
    rows = [Row("test images", _pictures(data, "picture"))]
    for cell in compared(data):
        error = means_of(one, "mse", cell)
        told = "" if error is None else f"{error.mean():#.3g}".rstrip(".")
        images = _pictures(data, "picture_cell", image_cell=cell.image)
        rows.append(Row(cell.label, images, _color(cell.family), told))
    return _grid(rows, told="MSE", room=0.55) if len(rows) > 1 else None


def samples(data: xr.Dataset) -> Figure | None:
    """Images decoded from draws of the prior."""
    along = plate.names(data, "sample_cell")
    known = {name: cell for name, cell in zip(plate.names(data, "cell"), in_order(data), strict=True)}
    order = sorted(along, key=lambda name: cells_of(data).index(known[name]) if name in known else -1)
    rows = [
        Row(known[name].label if name in known else style.plain(name), _pictures(data, "picture_samples")[i])
        for name, i in ((name, along.index(name)) for name in order)
    ]
    return _grid(rows)


def neighbours(data: xr.Dataset) -> Figure | None:
    """For each hidden layer, training images nearest to shown images and to their reconstructions there."""
    layers, own = plate.names(data, "hidden_layer"), plate.names(data, "hidden_cell")
    if not layers:
        return None
    count = min(data.sizes["shown"], max(2, 18 // len(layers)))
    data = data.isel(shown=slice(count))
    by_name = dict(zip(plate.names(data, "cell"), in_order(data), strict=True))
    original, nearest, back = (_pictures(data, f"picture{n}") for n in ("", "_neighbour", "_neighbour_cell"))
    rows = [Row("test images", np.concatenate([original] * len(layers)))]
    rows.append(Row("nearest to\nthe layer itself", np.concatenate(list(nearest))))
    empty = np.full(original.shape, np.nan)
    told = [(by_name[name], i) for i, name in enumerate(own) if name in by_name]
    for family, size in dict.fromkeys((c.family, c.size) for c in cells_of(data)):
        here = {cell.layer: i for cell, i in told if (cell.family, cell.size) == (family, size)}
        if here:
            images = [back[here[layer]] if layer in here else empty for layer in layers]
            same = [np.array_equal(a, b) for one, h in zip(images, nearest, strict=True) for a, b in zip(one, h)]  # noqa: B905
            frames = [GOOD if kept else "" for kept in same]
            rows.append(Row(f"… through {look(family).label} {size}", np.concatenate(images), frames=frames))
    return _grid(rows, blocks=[style.plain(name, limit=20) for name in layers])


def use_pictures(data: xr.Dataset) -> Figure | None:
    """What an ascent started from and what it made of it on each manifold, by the first member."""
    count = min(data.sizes["start"], 9)
    data = data.isel(start=slice(count))
    known = plate.names(data, "class") if "class" in data.sizes else []
    targets = data["target"].values.astype(int).tolist() if "target" in data.variables else []
    over = [f"to {style.plain(known[t] if 0 <= t < len(known) else t, limit=7)}" for t in targets]
    rows = [Row("start", _pictures(data, "picture_start"))]
    for manifold in manifolds(data):
        frames: list[str] = []
        if "held_out_success" in data.variables:
            won = data["held_out_success"].isel(use_cell=manifold.index, member=0).values
            frames = [GOOD if w > 0.5 else BAD if np.isfinite(w) else "" for w in won]
        rows.append(Row(manifold.label, _pictures(data, "picture_use", use_cell=manifold.index), frames=frames))
    return _grid(rows, over=over)
