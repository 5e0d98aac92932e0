"""The numbers of an attack's way: by position, on both sides of the flip at equal confidence, checked and said."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from landscape.experiments.base import Check
from landscape.experiments.flatness.config import PAIRS
from landscape.presets.names import ISO_TOLERANCE
from landscape.stats.table import Design, Estimate, Table, tabulate

if TYPE_CHECKING:
    import xarray as xr  # imported where it is used: half a second

# Variable -> first part of its estimates' names.
OF_WAY = {"log_odds": "confidence", "input_probability_drop": "input_flatness", "worst_loss_rise": "input_flatness"}
OF_WAY |= {"worst_margin_drop": "input_flatness", "gradient_norm": "gradient", "hessian_top": "curvature"}
OF_WAY |= {"hessian_trace": "curvature", "weight_probability_drop": "weight_sharpness"}
OF_WAY |= {"relative_flatness": "weight_sharpness", "linearity_loss": "linearity", "linearity_margin": "linearity"}
OF_WAY |= {"certified_radius": "certified_radius", "tangent_curvature": "curvature", "beyond_linear": "input_flatness"}
# What is never below 0.
POSITIVE = ("worst_loss_rise", "worst_margin_drop", "gradient_norm", "hessian_top", "relative_flatness")
POSITIVE += ("linearity_loss", "linearity_margin")


def along(data: "xr.Dataset", control: str = "") -> Table:
    """Every measure by position, on both ways, and by log-odds on both sides of the flip, for the same images at all.

    control: the kind of members that it is of, which has no log-odds to compare at.
    """
    data = _beyond_linear(data)
    names = [name for name in OF_WAY if f"along_{name}" in data]
    if not names or not data.along_valid.any():
        return Table()
    ways = {"groups": ("adversarial",), "about": {"population": control}} if control else {}
    rows = []
    for name in names:
        about = {"where": "along_valid", "by": ("position",), "band": "position"}
        rows.append(Estimate(f"{OF_WAY[name]}.along.{name}", f"along_{name}", **about, **ways))
        if not control:
            rows.append(Estimate(rows[-1].name, f"along_{name}", versus=PAIRS[:1], **about))
    table = tabulate(data, rows, Design(compare="way"))
    return table if control else table + _across(data, names) + _ratios(data, names)


def _beyond_linear(data: "xr.Dataset") -> "xr.Dataset":
    """With what noise takes above what it takes from the classifier linearised, where that was measured."""
    for part in ("along", "across"):
        if f"{part}_linear_probability_drop" in data:
            linear = data[f"{part}_linear_probability_drop"]
            own = (data[f"{part}_input_probability_drop"] - linear).assign_attrs(linear.attrs)
            data = data.assign({f"{part}_beyond_linear": own})
    return data


def both_sides(data: "xr.Dataset") -> "xr.DataArray":
    """The images that reach all log-odds on both sides of the flip."""
    return data.across_valid.all("at_log_odds")


def _across(data: "xr.Dataset", names: Sequence[str]) -> Table:
    """Both sides of the flip at each log-odds, and the difference."""
    rows, data = [], data.assign(both_sides=both_sides(data))
    for name in names:
        about = {"where": "both_sides", "by": ("at_log_odds",), "band": "at_log_odds"}
        of = f"{OF_WAY[name]}.across_flip.{name}", f"across_{name}"
        rows.append(Estimate(*of, about={"matching": "iso"}, **about))
        rows.append(Estimate(*of, versus=[("after", "before")], matching="iso", **about))
    return tabulate(data, rows, Design(compare="side"))


def _ratios(data: "xr.Dataset", names: Sequence[str]) -> Table:
    """What cannot be negative, as ratios of means: the flip over the image, the end over the flip, one side over the
    other at equal confidence.
    """
    import xarray as xr

    rows, found = [], {}
    for name in (name for name in names if name in POSITIVE):
        way = data[f"along_{name}"].sel(way="adversarial", drop=True)
        image, flip, end = (way.isel(position=at, drop=True) for at in (0, way.sizes["position"] // 2, -1))
        before, after = (data[f"across_{name}"].sel(side=side, drop=True) for side in ("before", "after"))
        parts = {"image": image, "flip": flip, "end": end, "before": before, "after": after}
        found |= {f"{part}_{name}": one for part, one in parts.items()}
        for word, top, bottom in (("at_the_flip", "flip", "image"), ("after_the_flip", "end", "flip")):
            of = f"{OF_WAY[name]}.{word}.{name}", f"{top}_{name}", f"{bottom}_{name}"
            rows.append(Estimate(*of, where="along_valid"))
        about = {"where": "both_sides", "by": ("at_log_odds",), "band": "at_log_odds"}
        about["about"] = {"population": "after", "reference": "before", "matching": "iso"}
        rows.append(Estimate(f"{OF_WAY[name]}.over_the_flip.{name}", f"after_{name}", f"before_{name}", **about))
    masks = {"along_valid": data.along_valid, "both_sides": both_sides(data)}
    return tabulate(xr.Dataset(found | masks), rows, Design())


def alike_across_the_flip(data: "xr.Dataset") -> Check:
    """Whether the points compared on the two sides of the flip are equally sure, and of how many images there are."""
    missed = np.abs(data.across_log_odds - data.at_log_odds).max("side").where(data.across_valid)
    most = float(missed.max()) if data.across_valid.any() else 0.0
    number = max(int((data.right & np.isfinite(data.along_log_odds.isel(way=0, position=0))).sum()), 1)
    flip, both = (100 * float(part.sum()) / number for part in (data.along_valid, both_sides(data)))
    detail = f"log-odds are within {most:.3g} nats of those wanted; expected at most {ISO_TOLERANCE:g}; "
    detail += f"{flip:.0f} % of attacks flip the class, {both:.0f} % of images reach all log-odds on both sides"
    return Check("along.equal_confidence", most <= ISO_TOLERANCE, detail)


def of_the_way(table: Table) -> str:
    """What relative flatness does along the attack, as found and at equal confidence; nothing if none was followed."""
    name = "weight_sharpness.{}.relative_flatness".format
    flip, end = table.get(name("at_the_flip")), table.get(name("after_the_flip"))
    across = table.select(name("over_the_flip")).rows
    if flip is None or end is None:
        return ""
    text = f" Along the attack, curvature in the last layer's weights (relative flatness) is {flip.text(1.0, 2)} times "
    text += f"that of the image at the flip, and at the end {end.text(1.0, 2)} times that of the flip"
    if across:
        row = across[len(across) // 2]
        text += f"; at equal confidence (log-odds {row['at_log_odds']:g}) it is {row.text(1.0, 2)} times as large "
        text += "after the flip as before it"
    return text + "."
