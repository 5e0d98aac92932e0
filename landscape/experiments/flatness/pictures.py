"""Pictures of a flatness run: the same images as found and as searched, and what the search changed."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from landscape.reporting import figures, style
from landscape.reporting.image_grid import signed
from landscape.stats.table import Table

ROWS = ("genuine", "adversarial", "boosted")
PICTURED = 10  # columns
RIGHT, WRONG = "#0072B2", "#D55E00"
MARGIN, CELL = 1.05, 0.52  # inches: row names on the left, largest side of a picture
LABEL, GAP = 0.15, 0.05  # inches: height of a class name, space between pictures


def pictures(data: xr.Dataset, table: Table) -> Figure | None:
    """Rows: genuine, adversarial, boosted with the predicted class, then the differences on one symmetric scale."""
    present = figures.names(data, "population")
    rows = [name for name in ROWS if name in present]
    count = min(data.sizes["shown"], PICTURED)
    if "genuine" not in rows or not count:
        return None
    some = data.isel(shown=slice(count)).sel(population=rows)
    first = data[["prediction", "label"]].isel(member=0).sel(population=rows, example=some.shown.values)
    images = some["pictures"].transpose("population", "shown", "height", "width", "channel").values.astype(np.float64)
    changes = images[1:] - images[:1]
    finite = np.abs(changes[np.isfinite(changes)])
    scale = float(finite.max()) if finite.size and finite.max() > 0 else 1.0
    grey = images.shape[-1] == 1

    tall = images.shape[2] / images.shape[3]
    side = min(CELL, (style.PAGE - MARGIN - 0.62) / count - GAP)
    cell = np.array([side, side * tall]) if tall <= 2 else np.array([side * 2 / tall, side * 2])
    named = [LABEL + cell[1] + GAP] * len(rows)
    heights = named + [cell[1] + 2 * GAP] * len(changes)
    size = (style.PAGE, sum(heights) + 0.1)
    figure = Figure(figsize=size)
    top = size[1] - 0.05
    for index, (name, height) in enumerate(zip(rows, named, strict=True)):
        bottom = top - height + GAP
        strip = np.clip(np.nan_to_num(images[index], nan=0.9), 0, 1)
        _image_row(figure, strip, bottom, cell, size)
        _row_name(figure, style.look(name).label, bottom + cell[1] / 2, size)
        _class_names(figure, first.isel(population=index), figures.names(data, "class"), bottom + cell[1], cell, size)
        top -= height
    first = top
    for name, change in zip(rows[1:], changes, strict=True):
        top -= cell[1] + 2 * GAP
        _image_row(figure, signed(change, scale), top + GAP, cell, size)
        _row_name(figure, f"{style.look(name).label}\n− genuine", top + GAP + cell[1] / 2, size)
    if len(changes):
        left = MARGIN + count * (cell[0] + GAP) + 0.05
        _scale_bar(figure, scale, grey, left, top + GAP, first - top - 2 * GAP, size)
    return figure


def _image_row(figure: Figure, images: np.ndarray, bottom: float, cell: np.ndarray, size: tuple[float, float]) -> None:
    """One row of pictures [n, H, W, C], drawn as a single image with gaps."""
    width = images.shape[2]
    gap = GAP / cell[0] * width
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_position((MARGIN / size[0], bottom / size[1], len(images) * (cell[0] + GAP) / size[0], cell[1] / size[1]))
    for index, image in enumerate(images):
        left = index * (width + gap)
        shown = image[..., 0] if image.shape[-1] == 1 else image[..., :3]
        axes.imshow(shown, cmap="gray", vmin=0, vmax=1, extent=(left, left + width, 0, 1), interpolation="nearest")
    axes.set(xlim=(0, len(images) * (width + gap)), ylim=(0, 1), aspect="auto")
    axes.set_axis_off()


def _row_name(figure: Figure, text: str, middle: float, size: tuple[float, float]) -> None:
    figure.text((MARGIN - 0.08) / size[0], middle / size[1], text, ha="right", va="center", fontsize=7.5)


def _class_names(
    figure: Figure, first: xr.Dataset, known: list[str], bottom: float, cell: np.ndarray, size: tuple[float, float]
) -> None:
    """Predicted classes above the pictures, blue where right and orange where wrong."""
    labels = first["label"].values
    limit = max(3, int(cell[0] / 0.068))
    for index, predicted in enumerate(first["prediction"].values.astype(int)):
        name = known[predicted] if 0 <= predicted < len(known) else str(predicted)
        x = (MARGIN + index * (cell[0] + GAP) + cell[0] / 2) / size[0]
        color = RIGHT if predicted == labels[index] else WRONG
        text = style.plain(name, limit=limit)
        figure.text(x, (bottom + 0.03) / size[1], text, ha="center", va="bottom", fontsize=6.5, color=color)


def _scale_bar(
    figure: Figure, scale: float, grey: bool, left: float, bottom: float, height: float, size: tuple[float, float]
) -> None:
    bar = figure.add_axes((left / size[0], bottom / size[1], 0.09 / size[0], height / size[1]))
    ramp = np.linspace(-scale, scale, 64)[:, None, None, None]
    colors = signed(ramp if grey else np.repeat(ramp, 3, axis=-1), scale)[:, 0]
    bar.imshow(colors, extent=(0, 1, -scale, scale), origin="lower", aspect="auto")
    bar.set_xticks([])
    bar.yaxis.tick_right()
    bar.set_yticks([-scale, 0, scale], [f"−{scale:.2g}", "0", f"+{scale:.2g}"])
    bar.yaxis.set_label_position("right")
    bar.set_ylabel("change (pixels)", labelpad=-6, fontsize=7)
    bar.spines[:].set_visible(False)
