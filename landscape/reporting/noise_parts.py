"""What figures of `noise` share: looks of arms and searches, units of quantities, reading of told values."""

from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from landscape.reporting import plate, style

GREY, INK = "#8a8a8a", "#222222"
DASHED = (0, (4, 1.5))
BLUE, ORANGE = "#0072B2", "#D55E00"


class Quantity(NamedTuple):
    """How a quantity is written: its name, unit, and the factor its values are multiplied by."""

    label: str
    unit: str
    factor: float


QUANTITIES = {
    "success": Quantity("source fooled", "%", 100.0),
    "flatness": Quantity("margin lost", "% under noise", 100.0),
    "transfer": Quantity("judges fooled", "%", 100.0),
    "manifold": Quantity("off manifold", "L2 pixels", 1.0),
    "linearity": Quantity("off tangent", "% of margin", 100.0),
    "gradient": Quantity("gradient of the loss", "nats/pixel", 1.0),
    "curvature": Quantity("top Hessian eigenvalue", "nats/pixel²", 1.0),
    "distance": Quantity("off start", "L2 pixels", 1.0),
}
SEARCHES = {  # name -> (label, colour, marker)
    "pixels": ("adversarial, pixels", "#0072B2", "o"),
    "manifold": ("adversarial, manifold", "#009E73", "s"),
    "ascent": ("ascent to a class, pixels", "#CC79A7", "^"),
}
ARMS = {  # name -> (label, colour, marker)
    "none": ("no noise", INK, ""),
    "fresh": ("redrawn at every gradient", BLUE, "o"),
    "frozen": ("one frozen draw", ORANGE, "o"),
    "member": ("random member", "#009E73", "^"),
    "trajectory": ("trajectory (LGV)", "#CC79A7", "D"),
    "swag": ("SWAG", "#E69F00", "s"),
    "member_ball": ("member × ball", "#009E73", "v"),
    "trajectory_ball": ("trajectory × ball", "#CC79A7", "v"),
    "annealed": ("annealed radius", "#56B4E9", "P"),
}


class Told(NamedTuple):
    """Value and ends of the interval of every arm, [A], in the unit a quantity is written in."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


def told(data: xr.Dataset, name: str, search: str, matching: str, quantity: str) -> Told | None:
    """`told` or `change` of every arm; None where the run has none, or nothing finite."""
    at = {"search": search, "matching": matching, "quantity": quantity}
    if name not in data.variables or any(value not in plate.names(data, dim) for dim, value in at.items()):
        return None
    factor = QUANTITIES[quantity].factor
    found = Told(*(factor * data[f"{name}{end}"].sel(at).values.astype(float) for end in ("", "_low", "_high")))
    return found if np.isfinite(found.value).any() else None


def of_kind(data: xr.Dataset, kind: str) -> np.ndarray:
    """Numbers of the arms of a kind, by growing radius."""
    index = np.flatnonzero(data["kind"].values.astype(str) == kind)
    return index[np.argsort(data["radius"].values[index], kind="stable")]


def searches(data: xr.Dataset) -> list[str]:
    return [name for name in plate.names(data, "search") if name in SEARCHES]


def label_of(data: xr.Dataset, arm: int) -> str:
    """An arm in words, with its radius where it has a dose."""
    kind, radius = str(data["kind"].values[arm]), float(data["radius"].values[arm])
    label = ARMS.get(kind, (style.plain(kind), GREY, "o"))[0]
    return f"{'redrawn' if kind == 'fresh' else 'frozen'}, ξ = {radius:g}" if kind in ("fresh", "frozen") else label


def bars(axes: Axes, x: np.ndarray, values: Told, index: np.ndarray, **drawn: Any) -> None:
    """Points with the bars of their intervals."""
    value, low, high = (part[index] for part in values)
    keep = np.isfinite(value)
    ends = np.abs(np.stack([value - low, high - value])[:, keep])
    axes.errorbar(x[keep], value[keep], yerr=np.nan_to_num(ends), elinewidth=0.7, capsize=0, **drawn)
