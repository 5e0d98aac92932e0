"""What figures of `gradients` share: places, starts, objectives, their looks and words, classes that are shown."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from landscape.reporting import plate, style
from landscape.reporting.autoencoder_cells import config_of, look
from landscape.reporting.latent_parts import class_names, mean, read
from landscape.reporting.sheet import signed
from landscape.reporting.style import Look

PIXELS = "pixels"
PICTURE = ("height", "width", "channel")
SHOWN_CLASSES = 10
KINDS = {
    "image": Look("from images", "#0072B2"),
    "noise": Look("from noise", "#E69F00", marker="^"),
    "zeros": Look("from zeros", "#222222", marker="s"),
}
GUIDES = {
    "mean": Look("mean", "#222222"),
    "least": Look("least", "#D55E00", marker="v"),
    "cautious": Look("cautious", "#0072B2", (0, (4, 1.5)), "s"),
    "agreeing": Look("agreeing", "#009E73", marker="^"),
    "disagreeing": Look("disagreeing", "#CC79A7", marker="X"),
}
VALUES = {  # of a class: name, unit
    "probability": ("probability", ""),
    "log_probability": ("log probability", "nats"),
    "logit": ("logit", "logits"),
    "margin": ("margin", "logits"),
}


class Room(NamedTuple):
    """A place that is climbed in: its name in the arrays, its label and colour, and whether its points are images."""

    name: str
    label: str
    color: str
    hidden: bool = False


def rooms(data: xr.Dataset, needs: str) -> list[Room]:
    """Places that have the array `needs`.<place> with anything finite in it: pixels, families, hidden layers."""
    layers = plate.names(data, "layer") if "layer" in data.sizes else []
    found = [Room(PIXELS, PIXELS, "#222222")]
    found += [Room(name, look(name).label, look(name).color) for name in families(data)]
    found += [Room(name, f"layer {style.plain(name, limit=10)}", "#777777", hidden=True) for name in layers]
    return [room for room in found if read(data, f"{needs}.{room.name}") is not None]


def families(data: xr.Dataset) -> list[str]:
    """Families of autoencoders, in the order of the run: in the first one several guide."""
    return plate.names(data, "family") if "family" in data.sizes else []


def kinds(data: xr.Dataset) -> list[str]:
    return plate.names(data, "kind")


def kind_look(kind: str) -> Look:
    return KINDS.get(kind, Look(f"from {style.plain(kind)}", "#8a8a8a"))


def guide_look(guide: str) -> Look:
    return GUIDES.get(guide, Look(style.plain(guide), "#8a8a8a"))


def value_name(data: xr.Dataset, part: str) -> tuple[str, str]:
    """(name, unit) of what a part of the config (maps, ascent, guided) differentiates or climbs."""
    value = config_of(data).get(part, {}).get("value", "")
    return VALUES.get(value, (style.plain(value) or "value", ""))


def with_unit(name: str, unit: str) -> str:
    return f"{name} ({unit})" if unit else name


def labels_by_id(data: xr.Dataset) -> dict[int, int]:
    """True classes by id of the test image."""
    if not {"label", "example"} <= set(data.variables):
        return {}
    return dict(zip(data["example"].values.tolist(), data["label"].values.astype(int).tolist(), strict=True))


def labels_along(data: xr.Dataset, along: str) -> list[int | None]:
    """True classes of images whose ids are along `along`; None where unknown."""
    known = labels_by_id(data)
    return [known.get(image) for image in data[along].values.tolist()]


def class_name(data: xr.Dataset, number: int | None, *, limit: int = 9) -> str:
    """A class by its number in at most `limit` letters; "?" where unknown."""
    known = class_names(data, limit=limit)
    return "?" if number is None else known[number] if 0 <= number < len(known) else str(number)


def shown_classes(data: xr.Dataset, always: Sequence[int] = ()) -> list[int]:
    """At most ten classes, rising: those of `always`, then the first ones."""
    count = data.sizes["class"]
    wanted = list(dict.fromkeys([*(c for c in always if 0 <= c < count), *range(count)]))
    return sorted(wanted[:SHOWN_CLASSES])


def some(count: int, most: int) -> list[int]:
    """At most `most` of the numbers below `count`, evenly spaced, first and last among them."""
    return np.unique(np.round(np.linspace(0, count - 1, min(count, most))).astype(int)).tolist()


def level(values: np.ndarray) -> float:
    """The largest finite absolute value, the end of a symmetric scale; 1 where nothing moves."""
    finite = np.abs(values[np.isfinite(values)])
    return float(finite.max()) if finite.size and finite.max() > 0 else 1.0


def coloured(changes: np.ndarray) -> tuple[list[np.ndarray], str]:
    """Signed pictures [n, H, W, C] on one symmetric scale, as RGB, and how far that scale goes."""
    scale = level(changes)
    return list(signed(changes, scale)), f"±{number(scale)}"


def number(value: float) -> str:
    """At most three significant digits."""
    return f"{value:.2g}" if 1e-3 <= abs(value) < 100 or value == 0 else f"{value:.0e}".replace("e-0", "e-")


def share(value: float) -> str:
    """A probability in two decimals, "" where unknown."""
    return f"{value:.2f}" if np.isfinite(value) else ""


def distinct(data: xr.Dataset, kind: str, along: str) -> int:
    """How many different starts of one kind there are: zeros are a single one."""
    return 1 if kind == "zeros" else data.sizes[along]


def over(values: np.ndarray, keep: int) -> np.ndarray:
    """Means over all but the first `keep` axes of what is finite."""
    return mean(values.reshape(*values.shape[:keep], -1), -1)


def dots_on_row(axes: Axes, values: np.ndarray, y: float, color: str, *, hollow: bool = False) -> None:
    """Values as dots along a row, their mean as a tick."""
    values = np.asarray(values, float).ravel()
    values = values[np.isfinite(values)]
    if len(values):
        face = {"markerfacecolor": "white", "markeredgewidth": 0.8} if hollow else {"markeredgewidth": 0}
        axes.plot(values, np.full(len(values), y), "o", color=color, markersize=3.2, alpha=0.7, **face)
        axes.plot([values.mean()], [y], "|", color="#222222", markersize=7, linestyle="", zorder=4)
