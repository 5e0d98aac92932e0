"""Pictures of a transfer run: examples that fool many held-out classifiers beside those that fool few, or all."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from landscape.experiments.transfer.estimates import HELD_OUT, places
from landscape.reporting import style
from landscape.reporting.image_grid import ImageRow, image_grid
from landscape.reporting.style import GREY, INK
from landscape.stats.table import Table

MOST = 6  # pictures of each sort
CAPTION = 8  # letters of a class name beneath a picture


def images(data: xr.Dataset, name: str) -> np.ndarray:
    """Pictures [n, H, W, C]."""
    return data[name].transpose(..., "height", "width", "channel").values


def classes(data: xr.Dataset) -> list[str]:
    """Class names as captions."""
    return [style.plain(name, limit=CAPTION) for name in data["class"].values.astype(str)]


def examples(data: xr.Dataset, table: Table) -> Figure | None:
    """Adversarial examples of the first attacker by the number of held-out classifiers that they fool."""
    start, found, held = images(data, "picture_start"), images(data, "picture"), places(data, HELD_OUT)
    first = data.isel(example=slice(len(found)), attack=0, source=0)
    prediction, label = first.prediction.transpose("target", "example").values, first.label.values
    fooled = (prediction[held] != label).sum(axis=0)
    index = np.flatnonzero(first.right.values & (prediction[0] != label))
    if not len(index):
        return None
    index = index[np.argsort(fooled[index], kind="stable")]
    few = index[: min(MOST, len(index) // 2)]
    many = index[::-1][: min(MOST, len(index) - len(few))]
    order = [*few, *many]
    scale = float(np.abs(found - start)[order].max()) or 1.0
    names = classes(data)
    counted = [f"{fooled[i]} of {len(held)}" for i in order]
    change = list(0.5 + 0.5 * (found - start)[order] / scale)
    image_rows = [
        ImageRow("image", GREY, list(start[order]), texts=[names[label[i]] for i in order]),
        ImageRow("adversarial", INK, list(found[order]), texts=[names[prediction[0, i]] for i in order]),
        ImageRow("difference", GREY, change, texts=counted, right=f"±{scale:.2g}"),
    ]
    groups = [(0, len(few) - 1, "fool fewest held-out")] if len(few) else []
    groups.append((len(few), len(order) - 1, "fool most"))
    before = [0.15 if len(few) and i == len(few) else 0.0 for i in range(len(order))]
    return image_grid(image_rows, groups=groups, before=before, margin=0.85, room=0.4)


def nearest(data: xr.Dataset, table: Table) -> Figure | None:
    """The nearest image found that fools every attacker, beside its start; the radius beneath."""
    found, start = images(data, "joint_picture"), images(data, "picture_start")
    radius = data.smallest_radius.values[: min(len(found), len(start))]
    index = np.flatnonzero(np.isfinite(radius) & (radius > 0))[: 2 * MOST]
    image_rows = [
        ImageRow("image", GREY, list(start[index])),
        ImageRow("fools all", INK, list(found[index]), texts=[f"{radius[i]:.3f}" for i in index]),
    ]
    return image_grid(image_rows, margin=0.75)


def between_pictures(data: xr.Dataset, table: Table) -> Figure | None:
    """The places of the largest disagreement on the lines where that is largest, and on those where it is smallest."""
    pictures = images(data, "between_picture")
    lines = data[["disagreement", "vote"]].isel(space=0, pair=data.pair_shown.values)
    apart = lines.disagreement.transpose("step", "pair").values
    vote = lines.vote.transpose("step", "pair", "class").values
    at = (1 + apart[1:-1].argmax(axis=0)).tolist()
    count, last, names = len(pictures), len(apart) - 1, classes(data)
    split = -(-count // 2)

    def said(step: int, i: int, kept: int) -> str:
        order = np.argsort(-vote[step, i], kind="stable")[:kept]
        return "\n".join(f"{names[c]} ({vote[step, i, c]})" for c in order if vote[step, i, c])

    image_rows = [
        ImageRow("one end", GREY, list(pictures[:, 0]), texts=[said(0, i, 1) for i in range(count)]),
        ImageRow("between", INK, list(pictures[:, 1]), texts=[said(at[i], i, 2) for i in range(count)]),
        ImageRow("other end", GREY, list(pictures[:, 2]), above=0.1, texts=[said(last, i, 1) for i in range(count)]),
    ]
    peaks = [f"{apart[at[i], i]:.2f} nats" for i in range(count)]
    groups = [(0, split - 1, "where they disagree most"), (split, count - 1, "where they disagree least")]
    before = [0.15 if i == split else 0.0 for i in range(count)]
    return image_grid(image_rows, groups=[g for g in groups if g[0] <= g[1]], heads=peaks, before=before, margin=0.75)
