"""Image grids: rows of small images with names, texts, frames and scales, as one figure."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from landscape.reporting import style

SOFT = "#777777"
DPI = 200  # of pictures; what `style.save` writes
GAP, MARGIN = 0.035, 0.62  # inches: between pictures, names on the left
TEXT = 0.1  # inches: height of the texts beneath pictures
FRAME = 3  # dots: width of a frame, which lies in the gap


class ImageRow(NamedTuple):
    """One row of an image grid.

    Attributes:
      name: stands on the left, in `color`.
      images: pictures [H, W, C] in [0, 1]; None is left blank.
      above: inches left free above the row. titles: (first column, last column, text) within them.
      texts: beneath each picture. frames: a colour around each, "" for none.
      right: stands right of the row.
    """

    name: str
    color: str
    images: Sequence[np.ndarray | None]
    above: float = 0.0
    texts: Sequence[str] = ()
    frames: Sequence[str] = ()
    right: str = ""
    titles: Sequence[tuple[int, int, str]] = ()


def image_grid(
    image_rows: Sequence[ImageRow],
    *,
    groups: Sequence[tuple[int, int, str]] = (),
    heads: Sequence[str] = (),
    before: Sequence[float] = (),
    width: float = style.PAGE,
    margin: float = MARGIN,
    cell: float = 0.46,
    top: float = 0.0,
    below: float = 0.05,
    room: float = 0.06,
) -> Figure | None:
    """Rows of pictures as one figure, None where there is no picture.

    Args:
      groups: (first column, last column, text) above the pictures; heads: a smaller text beneath it for each column.
      before: inches left free before each column.
      width: of the figure at most; margin: for the rows' names; cell: of a picture at most.
      top, below, room: inches left free above the heads, beneath the pictures and right of them.
    """
    shapes = [image.shape for row in image_rows for image in row.images if image is not None]
    if not shapes:
        return None
    columns = max(len(row.images) for row in image_rows)
    across, tall = min(cell, (width - room - margin - sum(before)) / columns - GAP), shapes[0][0] / shapes[0][1]
    size = (across, across * tall) if tall <= 2 else (2 * across / tall, 2 * across)  # across and down
    free = np.cumsum([*before, *[0.0] * (columns - len(before))])
    left = margin + free + np.arange(columns) * (size[0] + GAP)
    head = top + 0.06 + 0.15 * bool(groups) + 0.11 * bool(heads)
    height = head + sum(size[1] + GAP + row.above + TEXT * bool(row.texts) for row in image_rows) + below
    figure = Figure(figsize=(width, height))
    y, placed = head, []
    for row in image_rows:
        y += row.above
        for first, last, text in row.titles:
            note(figure, (left[first] + left[last] + size[0]) / 2, y - 0.03, text, ha="center", va="bottom")
        note(figure, margin - 0.07, y + size[1] / 2, row.name, ha="right", va="center", color=row.color)
        frames = [*row.frames, *[""] * (len(row.images) - len(row.frames))]
        shown = zip(left, row.images, frames, strict=False)
        placed += [(x, y, image, frame) for x, image, frame in shown if image is not None]
        if row.right:
            x = left[len(row.images) - 1] + size[0] + 0.06
            note(figure, x, y + size[1] / 2, row.right, va="center", fontsize=6.5, color=row.color)
        y += size[1] + GAP
        for x, text in zip(left, row.texts, strict=False):
            note(figure, x + size[0] / 2, y - 0.015, text, ha="center", va="top", fontsize=5.5, color=SOFT)
        y += TEXT * bool(row.texts)
    for first, last, text in groups:
        note(figure, (left[first] + left[last] + size[0]) / 2, top + 0.04, text, ha="center", va="top")
    for x, text in zip(left, heads, strict=False):
        note(figure, x + size[0] / 2, head - 0.03, text, ha="center", va="bottom", fontsize=6, color=SOFT)
    _paste(figure, placed, size)
    return figure


def note(figure: Figure, x: float, y: float, text: str, **how: Any) -> None:
    """Text at (x, y) inches from the top left."""
    width, height = figure.get_size_inches()
    figure.text(x / width, 1 - y / height, text, **({"fontsize": 7, "color": "#333333"} | how))


def signed(change: np.ndarray, scale: float) -> np.ndarray:
    """Values [..., H, W, C] in [-scale, scale] as RGB in [0, 1]: zero is white (one channel) or mid-grey (colours)."""
    unit = 0.5 + 0.5 * np.nan_to_num(change, nan=0.0) / scale
    return mpl.colormaps["RdBu_r"](unit[..., 0])[..., :3] if change.shape[-1] == 1 else np.clip(unit, 0, 1)


def _paste(figure: Figure, placed: list[tuple[float, float, np.ndarray, str]], size: tuple[float, float]) -> None:
    """Draws (left, top in inches, picture, colour of its frame) as one image: hundreds of axes would take seconds."""
    wide, high = (max(1, round(part * DPI)) for part in size)
    x, y = (np.round(np.asarray([one[axis] for one in placed]) * DPI).astype(int) for axis in (0, 1))
    edge = FRAME if any(frame for *_, frame in placed) else 0
    left, top = x.min() - edge, y.min() - edge
    canvas = np.ones((y.max() - top + high + edge, x.max() - left + wide + edge, 3))
    for (_, _, image, frame), i, j in zip(placed, y - top, x - left, strict=True):
        shown = np.clip(np.nan_to_num(np.asarray(image, float), nan=0.9), 0, 1)
        shown = np.repeat(shown[..., :1], 3, axis=-1) if shown.shape[-1] < 3 else shown[..., :3]
        rows, columns = (np.arange(n) * m // n for n, m in zip((high, wide), shown.shape[:2], strict=True))
        if frame:
            canvas[i - FRAME : i + high + FRAME, j - FRAME : j + wide + FRAME] = to_rgb(frame)
        canvas[i : i + high, j : j + wide] = shown[rows[:, None], columns]
    width, height = figure.get_size_inches() * DPI
    box = (left / width, 1 - (top + canvas.shape[0]) / height, canvas.shape[1] / width, canvas.shape[0] / height)
    axes = figure.add_axes(box)
    axes.imshow(canvas, aspect="auto", interpolation="nearest")
    axes.set_axis_off()
