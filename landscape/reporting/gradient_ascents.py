"""Figures of `gradients`: single ascents as pictures, to one class from many starts, and to all from one start."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from landscape.reporting.gradient_parts import (
    PICTURE,
    Room,
    class_name,
    coloured,
    distinct,
    kinds,
    labels_along,
    rooms,
    share,
    shown_classes,
    some,
)
from landscape.reporting.latent_parts import read
from landscape.reporting.sheet import SOFT, Strip, note, sheet

FRAMES, SIDE_BY_SIDE = 5, 2  # recorded pictures of an ascent, places in a row
STARTS = {"image": 3, "noise": 2, "zeros": 1}
SAMPLED = 3  # places that one start is told of


def fixed_target(data: xr.Dataset) -> int:
    """The first class that no start is of, so that every start has to move; the first class where there is none."""
    taken = set(labels_along(data, "start"))
    return next((c for c in range(data.sizes["class"]) if c not in taken), 0)


def steps_of(data: xr.Dataset) -> np.ndarray:
    """Steps made before each recorded picture: the start, then equally far apart."""
    return np.round(np.linspace(0, data.sizes["t"], data.sizes["frame"])).astype(int)


def start_name(data: xr.Dataset, kind: str, start: int) -> str:
    """The class of the image that is started from, or the kind of start."""
    return class_name(data, labels_along(data, "start")[start]) if kind == "image" else kind


def final(data: xr.Dataset, room: Room) -> np.ndarray | None:
    """Probability of the class climbed at the end [kind, start, class] by those that guide nothing, of the pictures.

    Hidden layers have no such judges: theirs is the guide's own.
    """
    name = "ascent_probability" if room.hidden else "ascent_held_out"
    values = read(data, f"{name}.{room.name}", "member", "kind", "start", "class")
    return None if values is None else values[0]


def target(data: xr.Dataset) -> Figure | None:
    """One class climbed from every start: recorded pictures, two places side by side."""
    goal, known = fixed_target(data), rooms(data, "picture_ascent")
    if not known:
        return None
    frames, strips, groups = some(data.sizes["frame"], FRAMES), [], []
    each, across = len(frames), min(SIDE_BY_SIDE, len(known))
    for block in (known[i : i + across] for i in range(0, len(known), across)):
        named = [(r * each, (r + 1) * each - 1, room.label) for r, room in enumerate(block)]
        groups, titles = groups or named, named if groups else []
        for kind in kinds(data):
            for i in range(min(STARTS.get(kind, 1), distinct(data, kind, "start"))):
                images, texts = _courses(data, block, kind, i, goal, frames)
                above = 0.2 if titles else 0.07 if i == 0 else 0.0
                row = Strip(start_name(data, kind, i), "#333333", images, above, texts, titles=titles)
                strips.append(row)
                titles = []
    heads = [f"step {t}" if n == 0 else f"{t}" for n, t in enumerate(steps_of(data)[frames])] * across
    before = [0.18 if j == each else 0.0 for j in range(across * each)]
    figure = sheet(strips, groups=groups, heads=heads, before=before, top=0.16)
    note(figure, 0.06, 0.04, f"toward class {class_name(data, goal)}", va="top", weight="bold")
    return figure


def _courses(
    data: xr.Dataset, block: list[Room], kind: str, start: int, goal: int, frames: list[int]
) -> tuple[list[np.ndarray], list[str]]:
    """(pictures, texts) of one start in the places of a block; the final probability stands under the last picture."""
    k, images, texts = kinds(data).index(kind), [], []
    for room in block:
        seen = read(data, f"picture_ascent.{room.name}", "kind", "start", "class", "frame", *PICTURE)
        told = final(data, room)
        images += list(seen[k, start, goal, frames])
        texts += [*[""] * (len(frames) - 1), "" if told is None else share(told[k, start, goal])]
    return images, texts


def sample(data: xr.Dataset) -> Figure | None:
    """One start of each kind climbed to every class: ends, and what they changed on one symmetric scale a row."""
    known = [room for room in rooms(data, "picture_ascent") if not room.hidden][:SAMPLED]
    if not known:
        return None
    labels, strips, groups = labels_along(data, "start"), [], []
    classes = shown_classes(data, [labels[0]] if labels[0] is not None else [])
    for room in known:
        seen = read(data, f"picture_ascent.{room.name}", "kind", "start", "class", "frame", *PICTURE)
        told = final(data, room)
        named = [(1, len(classes), f"{room.label}, toward class")]
        groups, titles = groups or named, named if groups else []
        for k, kind in enumerate(kinds(data)):
            begun, ends = seen[k, 0, classes[0], 0], seen[k, 0, classes, -1]
            texts = ["", *("" if told is None else share(told[k, 0, c]) for c in classes)]
            above = 0.2 if titles else 0.04
            strips.append(Strip(start_name(data, kind, 0), room.color, [begun, *ends], above, texts, titles=titles))
            titles = []
            if kind != "zeros":  # what is added to nothing is the picture itself
                changes, scale = coloured(ends - seen[k, 0, classes, 0])
                strips.append(Strip("change", SOFT, [None, *changes], right=scale))
    heads = ["start", *(class_name(data, c, limit=7) for c in classes)]
    return sheet(strips, groups=groups, heads=heads, before=[0.0, 0.1], room=0.5, cell=0.42)
