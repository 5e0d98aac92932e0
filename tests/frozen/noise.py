"""How frozen runs of noise differ from what it writes now."""

import re

import numpy as np
import xarray as xr
from ml_collections import ConfigDict

from frozen.runs import Frozen, numbers

NOISE = {"none": "no_noise", "fresh": "redrawn", "frozen": "frozen", "member": "random_member"}
NOISE |= {"trajectory": "trajectory", "swag": "swag"}


# (name, by, whether beside radius 0) of the fits that the answer and the figure are of.
FITS = [("collapse", by, False) for by in ("eta/M", "eta", "M", "both")]
FITS += [("collapse", "eta/M", True), ("collapse_adjusted", "eta/M - both", False)]


def noise(old: xr.Dataset) -> xr.Dataset:
    """Results of searches are populations; the grid has a dim for each of its axes."""
    old = old.isel(arm=np.isin(old.kind.values.astype(str), [*NOISE]))
    kinds = [NOISE[kind] for kind in old.kind.values.astype(str)]
    dosed = ("redrawn", "frozen")
    radius = old.radius.values
    names = [f"{kind}_{r:g}" if kind in dosed else kind for kind, r in zip(kinds, radius, strict=True)]
    ones = xr.DataArray(np.ones(old.sizes["member"]), dims="member")
    axes = [np.unique(old[f"grid_{name}"].values) for name in ("radius", "draws", "eta")]
    grid = {}
    for name, was in (("margin", "margin"), ("margin_drop", "drop"), ("at_boundary", "boundary")):
        values = old[f"grid_{was}"].values
        dims = ("grid_radius", "draws", "eta", "member", "example")
        grid[f"grid_{name}"] = dims, values.reshape(*map(len, axes), *values.shape[1:])
    renamed = {"tuning": "validation_goal", "manifold": "off_manifold", "linearity": "off_tangent"}
    same = ("kept", "length", "right", "reached", "success", "distance", "margin", "margin_drop")
    same += ("picture", "picture_start", "grid_right", "audit")
    new = old[[*same, *renamed, "audit_attack", "audit_epsilon"]].rename(renamed)
    new = new.drop_vars(["kind", "radius", "quantity", "by"], errors="ignore")
    new = new.rename(arm="population", validation_example="validation_image")
    new["transfer"] = (
        old.transfer.drop_vars(["source", "target", "kind", "radius"])
        .rename(source="member", arm="population")
        .assign_coords(member=new.member, population=new.population)
    )
    new["chosen_step_size"] = ("search", "population", "member"), (old.chosen * ones).values
    new["sigma"] = ("search", "member"), (old.sigma * ones).values
    new["validation_success"] = ("search", "member"), old.tuned_success.isel(arm=0).values
    new = new.drop_vars("member").assign(grid).assign_coords(population=names, kind=("population", kinds))
    return new.assign_coords(
        radius=("population", radius), **dict(zip(("grid_radius", "draws", "eta"), axes, strict=True))
    )


def noise_row(row: dict) -> dict | None:
    """Which classifiers a search saw is its population."""
    radius, kind = row.pop("radius", None), row.pop("arm", None)
    if kind and kind not in NOISE:
        return None
    if row["name"].startswith("attack.reached_"):
        row |= {"matching": row["name"].removeprefix("attack.reached_"), "name": "attack.reached"}
    if kind:
        row["population"] = NOISE[kind] + (f"_{radius:g}" if radius else "")
        if "reference" in row:
            row["reference"] = f"frozen_{radius:g}" if row["reference"] == "frozen draw" else "no_noise"
        return row
    if row["population"] == "genuine":
        return None  # where searches start: no claim, check, figure or page used it
    if row["population"] != "noisy":
        return row
    if (
        row["name"].startswith("agreement.")
        and (row["name"].removeprefix("agreement."), row["by"], "reference" in row) not in FITS
    ):
        return None
    del row["search"]  # the grid is of pixels
    row |= {"grid_radius": radius} | ({"reference": "no_noise"} if "reference" in row else {})
    return row | ({"points": row.pop("cells")} if "cells" in row else {})


def noise_config(config: ConfigDict) -> None:
    config.noise.others = tuple(NOISE[name] for name in config.noise.arms if name in NOISE)
    for claim in config.claims.values():
        claim.populations = ("redrawn", "no_noise")


def noise_check(check: dict) -> dict | None:
    """Counts of populations are others, since some are gone."""
    if check["name"].endswith((".tuned", ".length")):
        return None
    return check | {"name": check["name"].replace("judges", "sources")}


FROZEN = {
    "noise": Frozen(
        noise,
        noise_row,
        gone={
            "curvature.gradient_norm": "no claim, figure or page used it",
            "curvature.hessian_top": "no claim, figure or page used it",
            "input_flatness.scale_free_per_doubling": "no claim, headline or figure used it; fits answer the question",
        },
        words=False,
        config=noise_config,
        check=noise_check,
        # Of what one frozen draw changes, the headline has what is left at equal margin.
        said=lambda text: numbers(re.sub(r"(beside one frozen draw by) .*? and ", r"\1 ", text)),
    ),
}
