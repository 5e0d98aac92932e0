"""Cells of `autoencoders`: which there are, how each is drawn, and what the arrays hold of one."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from landscape.presets.names import CODED, FAMILIES, YARDSTICKS
from landscape.reporting import plate, style
from landscape.reporting.style import Look

DASHED, DOTTED, GREY = (0, (4, 1.5)), (0, (1, 1.3)), "#8a8a8a"
# One colour and marker a family, everywhere in a report (Okabe-Ito and a purple); yardsticks are grey.
LOOKS = {
    **{family: style.LOOKS[family] for family in FAMILIES},
    "pca": Look("PCA", GREY, DOTTED, "."),
    "class_mean": Look("class mean", GREY, DASHED, ""),
    "kmeans": Look("k-means", "#b8b8b8", (0, (5, 1.5, 1, 1.5)), ""),
}
IMAGE, PIXELS = "image", "pixels"
HYPER = ("learning_rate", "weight_decay", "noise", "contraction", "beta", "free_bits", "commitment", "restart")


class Cell(NamedTuple):
    """A row of the arrays along "cell"; `image` is its row along "image_cell", None for a hidden layer's."""

    index: int
    layer: str
    family: str
    size: int
    image: int | None

    @property
    def label(self) -> str:
        return f"{look(self.family).label} {self.size}" if self.size else look(self.family).label


def look(family: str) -> Look:
    """The look of a family; unknown ones are grey under their own name."""
    return LOOKS.get(family, Look(style.plain(family), GREY))


def cells_of(data: xr.Dataset, *, layer: str | None = None) -> list[Cell]:
    """All cells, or those of one layer, by family in the order of LOOKS and then by size."""
    along = plate.names(data, "image_cell") if "image_cell" in data.sizes else []
    told = zip(*(data[f"cell_{name}"].values.tolist() for name in ("layer", "family", "size")), strict=True)
    named = zip(plate.names(data, "cell"), told, strict=True)
    found = [Cell(i, *about, along.index(name) if name in along else None) for i, (name, about) in enumerate(named)]
    order = list(LOOKS)
    rank = {family: i for i, family in enumerate(order)}
    found.sort(key=lambda cell: (rank.get(cell.family, len(order)), cell.family, cell.size))
    return [cell for cell in found if layer in (None, cell.layer)]


def in_order(data: xr.Dataset) -> list[Cell]:
    return sorted(cells_of(data), key=lambda cell: cell.index)


def layers_of(data: xr.Dataset) -> list[str]:
    return plate.names(data, "layer") if "layer" in data.coords else sorted(set(data["cell_layer"].values.tolist()))


def config_of(data: xr.Dataset) -> dict[str, Any]:
    """The run's config as it is saved in the attributes; {} where it is not."""
    return json.loads(data.attrs.get("config") or "{}")


def compared_size(data: xr.Dataset) -> int | None:
    """The dimension at which families of images are compared: the config's, else the one most families have."""
    told = config_of(data).get("autoencoder", {}).get("dim")
    if told is not None:
        return int(told)
    sizes = [cell.size for cell in cells_of(data, layer=IMAGE) if cell.family not in (*CODED, *YARDSTICKS)]
    return max(sorted(set(sizes)), key=sizes.count) if sizes else None


def compared(data: xr.Dataset) -> list[Cell]:
    """Cells of images at the dimension where families are compared, and those of codes."""
    size = compared_size(data)
    return [cell for cell in cells_of(data, layer=IMAGE) if cell.family in CODED or cell.size == size]


def main_family(cells: Sequence[Cell]) -> str | None:
    """`ae` where it was trained, else the first trained family; None without one."""
    families = [cell.family for cell in cells if cell.family not in YARDSTICKS]
    return "ae" if "ae" in families else families[0] if families else None


def settings(data: xr.Dataset) -> list[tuple[str, np.ndarray]]:
    """(swept values as text, members that have them): one entry with the text "" where nothing was swept."""
    count = data.sizes["member"]
    swept = [name for name in HYPER if name in data.coords and len(set(data[name].values.tolist())) > 1]
    texts = [", ".join(f"{style.plain(n)} {float(data[n].values[i]):.3g}" for n in swept) for i in range(count)]
    return [(text, np.flatnonzero(np.asarray(texts) == text)) for text in dict.fromkeys(texts)]


def one_setting(data: xr.Dataset) -> tuple[xr.Dataset, str]:
    """The members of one point of a sweep, the config's own where it is among them, and its name ("" if none)."""
    known = settings(data)
    if len(known) == 1:
        return data, ""
    own = config_of(data).get("autoencoder", {})

    def apart(entry: tuple[str, np.ndarray]) -> int:
        first = entry[1][0]
        return sum(name in data.coords and float(data[name].values[first]) != own.get(name) for name in HYPER)

    text, members = min(known, key=apart)
    return data.isel(member=members), text


def values_of(data: xr.Dataset, name: str, cell: Cell) -> np.ndarray | None:
    """An array's values of one cell, members first; None where it has none (NaN, or -1 for whole numbers)."""
    if name not in data.variables or "member" not in data[name].dims:
        return None
    along = "image_cell" if "image_cell" in data[name].dims else "cell"
    row = cell.image if along == "image_cell" else cell.index
    if row is None or along not in data[name].dims:
        return None
    values = data[name].isel({along: row}).transpose("member", ...).values
    values = np.where(values < 0, np.nan, values.astype(float)) if values.dtype.kind in "iu" else values.astype(float)
    return values if np.isfinite(values).any() else None


def means_of(data: xr.Dataset, name: str, cell: Cell) -> np.ndarray | None:
    """The same as one mean a member, [member]."""
    values = values_of(data, name, cell)
    return None if values is None else values.reshape(len(values), -1).mean(axis=1)


def shares_in_class(data: xr.Dataset, cell: Cell) -> np.ndarray | None:
    """Error as a share of what the class mean leaves, [member]; None where something is missing."""
    error = means_of(data, "mse", cell)
    if error is None or "from_class_mean" not in data.variables or cell.layer not in layers_of(data):
        return None
    rest = data["from_class_mean"].isel(layer=layers_of(data).index(cell.layer)).transpose("member", ...).values
    rest = rest.reshape(len(rest), -1).mean(axis=1, dtype=np.float64)
    return error / np.where(rest > 0, rest, np.nan)


class Manifold(NamedTuple):
    """A row along "use_cell"."""

    index: int
    label: str
    look: Look


def manifolds(data: xr.Dataset) -> list[Manifold]:
    """Where a class was climbed, families in the order of LOOKS and pixels last."""
    along = plate.names(data, "use_cell")
    by_name = dict(zip(plate.names(data, "cell"), in_order(data), strict=True))
    order = cells_of(data)

    def rank(name: str) -> int:
        return len(order) + (name == PIXELS) if name not in by_name else order.index(by_name[name])

    found = []
    for name in sorted(along, key=rank):
        cell = by_name.get(name)
        s = Look(PIXELS, GREY) if cell is None else look(cell.family)
        found.append(Manifold(along.index(name), style.plain(name) if cell is None else cell.label, s))
    return found
