"""A figure of `gradients`: which pixels, and which directions of manifolds, raise each class of shown images."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from landscape.presets.names import CODED
from landscape.reporting.autoencoder_cells import look
from landscape.reporting.gradient_parts import (
    PICTURE,
    class_name,
    coloured,
    families,
    labels_along,
    number,
    shown_classes,
    value_name,
)
from landscape.reporting.latent_parts import read
from landscape.reporting.sheet import SOFT, Strip, note, sheet

IMAGES = 2  # shown images, of which each takes many rows
INK, MARK = "#333333", "#009E73"


def predicted(data: xr.Dataset) -> dict[int, int]:
    """By image id the class that most classifiers predict; of equally many the first."""
    if not {"prediction", "example"} <= set(data.variables):
        return {}
    votes = data["prediction"].transpose("example", "member").values.astype(int)
    return {
        image: int(np.bincount(v).argmax()) for image, v in zip(data["example"].values.tolist(), votes, strict=True)
    }


def rows_of(data: xr.Dataset) -> list[tuple[str, str, np.ndarray, np.ndarray | None]]:
    """(name, colour, signed pictures [shown, class, ...], picture [shown, ...] it belongs to) of every kind of map."""
    found, tests = [], read(data, "picture", "shown", *PICTURE)
    plain = read(data, "picture_gradient", "shown", "class", *PICTURE)
    if plain is not None:
        found.append(("pixels", INK, plain, tests))
    smooth = read(data, "picture_smooth", "sigma", "shown", "class", *PICTURE)
    if smooth is not None:
        for s in np.argsort(data["sigma"].values, kind="stable"):
            found.append((f"SmoothGrad\nσ = {number(float(data['sigma'].values[s]))}", INK, smooth[s], None))
    for family in families(data):
        s, kind = look(family), "straight-through" if family in CODED else "push-forward"
        back = read(data, f"picture_decoded.{family}", "shown", *PICTURE)
        for name, told, picture in (
            ("pushed", f"{s.label}\n{kind}", back),
            ("difference", f"{s.label}\nfinite step", None),
        ):
            values = read(data, f"picture_{name}.{family}", "shown", "class", *PICTURE)
            if values is not None:
                found.append((told, s.color, values, picture))
    return found


def maps(data: xr.Dataset) -> Figure | None:
    """Shown images, and beside each the signed gradient of every class by pixels and on every manifold."""
    rows = rows_of(data)
    if not rows:
        return None
    labels, ids = labels_along(data, "shown"), data["shown"].values.tolist()
    count, votes, strips = min(IMAGES, len(ids)), predicted(data), []
    classes = shown_classes(data, [c for i in range(count) for c in (votes.get(ids[i], -1), labels[i] or 0)])
    for i in range(count):
        guess = votes.get(ids[i])
        frames = [MARK if c == guess else "" for c in classes]
        for n, (name, color, values, picture) in enumerate(rows):
            images, scale = coloured(values[i, classes])
            first = [None if picture is None else picture[i]]
            strips.append(Strip(name, color, first + images, 0.0, (), ["", *frames], scale))
            if n == 0 and i:
                strips[-1] = strips[-1]._replace(above=0.2)
            elif picture is not None and n:
                strips[-1] = strips[-1]._replace(above=0.06)
    heads = ["image", *(class_name(data, c, limit=7) for c in classes)]
    groups = [(1, len(classes), f"gradient of the {value_name(data, 'maps')[0]} of class")]
    before = [0.0, 0.12]
    figure = sheet(strips, heads=heads, groups=groups, before=before, margin=0.98, room=0.5, cell=0.45, below=0.2)
    if figure is not None:
        grey = rows[0][2].shape[-1] == 1
        colors = "blue lowers, red raises" if grey else "colours that raise it, against grey"
        told = f"{colors}, ± is the end of a row's scale; green frame: the predicted class"
        note(figure, 0.98, figure.get_figheight() - 0.04, told, va="bottom", color=SOFT, fontsize=6.5)
    return figure
