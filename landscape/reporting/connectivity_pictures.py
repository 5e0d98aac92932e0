"""Pictures of `connectivity`: ends of lines, their highest points, and where a bypass takes them."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from landscape.reporting import plate
from landscape.reporting.connectivity_barriers import LOOKS
from landscape.reporting.numbers import text
from landscape.reporting.sheet import Strip, sheet
from landscape.reporting.style import INK

IMAGE = ("height", "width", "channel")
HEADS = {"first": "genuine", "highest": "highest", "bypass": "bypass", "last": "other end"}


def pictures(data: xr.Dataset) -> Figure | None:
    """A row for each kind, a group of pictures for each pair; beneath, the loss of the pair's class."""
    found = data["picture"].transpose("picture_kind", "shown", "place", *IMAGE).values
    loss = data["picture_loss"].transpose("picture_kind", "shown", "place").values
    shown, places = found.shape[1:3]
    strips = [
        Strip(
            LOOKS[kind][0],
            INK,
            list(images.reshape(-1, *images.shape[2:])),
            texts=[text(float(f"{value:.2g}")) if np.isfinite(value) else "" for value in values.ravel()],
        )
        for kind, images, values in zip(plate.names(data, "picture_kind"), found, loss, strict=True)
    ]
    before = [0.12 if i and i % places == 0 else 0.0 for i in range(shown * places)]
    heads = [HEADS[name] for name in plate.names(data, "place")] * shown
    return sheet(strips, heads=heads, before=before, margin=1.15)
