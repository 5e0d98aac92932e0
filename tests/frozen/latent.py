"""How frozen runs of latent differ from what it writes now."""

import json

import numpy as np
import xarray as xr

from frozen.runs import Frozen


def latent(old: xr.Dataset) -> xr.Dataset:
    """Families and samplers are dims, in the place of parts of names; so are own and held-out classifiers."""
    parts = [str(name).split(".") for name in old.data_vars]
    kernels = list(dict.fromkeys(part[2] for part in parts if len(part) == 3))
    dims = {"around": "noise", "guided": "guidance", "couple": "pair", "shown_draw": "shown"}

    def one(name: str, family: str, kernel: str = "") -> xr.DataArray:
        found = old[".".join(filter(None, (name, family, kernel)))].drop_attrs()
        own = {dim: new for dim, new in (dims | {f"latent_{family}": "latent"}).items() if dim in found.dims}
        found = found.drop_vars([c for c in found.coords if c not in found.dims]).rename(own)
        if "latent" in found.dims:
            found = found.assign_coords(latent=np.arange(found.sizes["latent"]))
        return found.expand_dims(family=[family], **({"kernel": [kernel]} if kernel else {}))

    def both(name: str) -> xr.DataArray:
        """Of all families and samplers; those without it have NaN, or no steps."""
        found = [one(*part) for part in parts if part[0] == name]
        fill = 0 if name == "mixing" else np.nan
        if "kernel" not in found[0].dims:
            return xr.concat(found, "family", join="outer", fill_value=fill)
        rows = {}
        for array in found:
            rows.setdefault(array.family.item(), []).append(array)
        rows = [xr.concat(row, "kernel", join="outer", fill_value=fill) for row in rows.values()]
        return xr.concat(rows, "family", join="outer", fill_value=fill)

    known = {part[0] for part in parts if len(part) > 1}
    gone = {"percentiles", "mmd_low", "mmd_high", "around_kept", "prior_prediction", "correlation", "cka", "linear_r2"}
    gone |= {"path_probability", *(name for name in known if name.startswith("picture"))}
    new = {name: both(name) for name in known - gone}
    for name in [name for name in new if name.endswith("_held_out")]:
        own = f"{name.removesuffix('held_out')}probability"
        new[own] = xr.concat(
            [new[own], new.pop(name)], xr.DataArray(["own", "held_out"], dims="classifier", name="classifier")
        )
    paths, own = both("path_probability"), np.arange(old.sizes["member"])
    new["path_probability"] = xr.concat(
        [
            paths.isel(member=xr.DataArray(own, dims="member"), judge=xr.DataArray(judge, dims="member"))
            for judge in (own, np.roll(own, -1))
        ],
        xr.DataArray(["own", "held_out"], dims="classifier", name="classifier"),
    ).assign_coords(t=np.linspace(0, 1, old.sizes["t"]))
    upper = np.triu_indices(len(own), 1)
    for name in ("cka", "linear_r2"):
        pairs = both(name)
        values = np.ones((pairs.sizes["family"], len(own), len(own)))
        values[:, upper[0], upper[1]] = values[:, upper[1], upper[0]] = pairs.values
        new[name] = xr.DataArray(values, {"family": pairs.family}, ("family", "other", "member"))
    found = xr.Dataset(new | {"label": old.label.drop_attrs()})
    found = found if "active_units" in found else found.assign(active_units=xr.full_like(found.mmd, np.nan))
    found = found.assign_coords({name: old[name].drop_attrs() for name in ("class", "example", "start", "end", "seed")})
    found = found.transpose(
        "family", "kernel", "noise", "path", "guidance", "radius", "classifier", "other", "member", ...
    )
    config = json.loads(old.attrs["config"])
    found["sampled"] = found.local_acceptance.notnull().any(("radius", "member", "start", "chain"))
    return found.reindex(kernel=kernels).assign_attrs(guide=config["mcmc"]["guide"])


EXACT = ("rhat.local_converged", "acceptance.local_changed", "acceptance.local")  # shares, whose ends are binomial now


def latent_row(row: dict) -> dict:
    """Who evaluates and who guides are coordinates; an interval from fewer than five images is none."""
    if row["name"] in ("accuracy.told_from_gaussian",):
        row["name"] = "accuracy.versus_gaussian"
    for name in ("states", "steps_between", "pairs", "largest_p"):
        row.pop(name, None)
    if row["name"].startswith("agreement.") and "kernel" not in row:  # of pairs of members, not of images
        row |= {"examples": 1}
    if "chains" in row:
        row["guidance"] = row.pop("chains")
    if row["name"].startswith(("confidence", "path")):
        row["classifier"] = "held_out" if row["name"].endswith("_held_out") else "own"
        row["name"] = row["name"].removesuffix("_held_out")
    if row["name"] == "confidence.gain" and row["classifier"] == "held_out" and row["radius"] == 1.0:
        row["headline"] = True  # of the guide itself it is never negative
    if 1 < row["examples"] < 5:
        row |= dict.fromkeys(("low", "high", "sem"))
    elif row["sem"] == 0 and row["examples"] > 1 and row["value"] in (0.0, 1.0) and row["name"] in EXACT:
        room = 0.025 ** (1 / row["examples"])
        row |= {"low": room} if row["value"] == 1 else {"high": 1 - room}
    return row


FROZEN = {
    "latent": Frozen(
        latent,
        latent_row,
        gone={
            "acceptance.local_divergent": "read from the arrays by its check, and by nobody else",
            "acceptance.global_divergent": "read from the arrays by its check, and by nobody else",
            **{
                f"path.{name}{who}": "in no figure, page or headline; the figure of paths shows third classes and doubt"
                for name in ("third_class", "lowest_confidence")
                for who in ("", "_held_out")
            },
        },
        words=False,
    ),
}
