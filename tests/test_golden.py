"""Estimates made anew from the arrays of frozen runs of earlier code, and held against those that it made itself.

LANDSCAPE_GOLDEN names the folder of these runs: NAME/ and NAME-smoke/ with arrays.nc, config.json and summary.json.
"""

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import xarray as xr
from ml_collections import ConfigDict

from landscape import experiments
from landscape.experiments.base import described
from landscape.presets.names import SWEPT
from landscape.stats.table import FIELDS

GOLDEN = Path(os.environ.get("LANDSCAPE_GOLDEN", "golden"))
COMPARED = ("value", "low", "high", "sem", "df", "var_member", "var_example", "var_residual")
QUALITY = ("share_kept", "smd_before", "smd_after", "same_class")  # of a match, no coordinates


class Frozen(NamedTuple):
    """How frozen runs of an experiment differ from what it writes now.

    adapt: old arrays -> as they are saved now. row: an old estimate's coordinates -> the new ones, None where gone.
    close: estimates that are equal to a relative tolerance, and why not to 1e-9.
    gone: estimates that are not compared, and why. words: whether the headline has the same words.
    config: changes an old config to what it is now.
    """

    adapt: Callable[[xr.Dataset], xr.Dataset]
    row: Callable[[dict], dict | None] = lambda row: row
    close: Mapping[str, tuple[float, str]] = {}
    gone: Mapping[str, str] = {}
    words: bool = True
    config: Callable[[ConfigDict], None] = lambda config: None


def members(old: xr.Dataset) -> xr.Dataset:
    """Hyperparameters of members have names of their own now."""
    own = [name for name in SWEPT if name in old.coords and old[name].dims == ("member",)]
    return old.rename({name: f"train_{name}" for name in own})


def flatness(old: xr.Dataset) -> xr.Dataset:
    """Levels are a dim of their own name, curves are rows of the table."""
    sigma, r = (old.sigma / old.noise_scale).transpose("noise", "sigma").values, old.r.values
    curves = ("curve", "class_curve", "share_", "noise_curve", "weight_curve", "match_", "picture_")
    gone = [name for name in old.variables if name.startswith(curves)]
    new = members(old.drop_vars([*gone, "reading", "cell", "noise_scale", "r", "sigma"]))
    return new.rename_dims({"sigma": "r"}).assign_coords(r=r, sigma=(("noise", "r"), sigma))


def flatness_row(row: dict) -> dict:
    """`matching` was written on means too, in which nothing is matched."""
    told = "reference" in row or row["name"].startswith("input_flatness.effect")
    return row if told else {k: v for k, v in row.items() if k != "matching"}


def train(old: xr.Dataset) -> xr.Dataset:
    """What follows from predictions is not saved; the probabilities' distance from the true class was not."""
    kept = ["label", "prediction", "confidence", "loss", "train_loss", "validation_accuracy"]
    new = members(old[kept].drop_vars("bin", errors="ignore"))
    return new.assign(brier=xr.zeros_like(new.loss)).assign_coords({"class": old["class"].values})


def train_row(row: dict) -> dict:
    """Controls are populations of their own."""
    control = row.pop("control", None)
    return row | {"population": control} if control else row


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
    if 1 < row["examples"] < 5:
        row |= dict.fromkeys(("low", "high", "sem"))
    elif row["sem"] == 0 and row["examples"] > 1 and row["value"] in (0.0, 1.0) and row["name"] in EXACT:
        room = 0.025 ** (1 / row["examples"])
        row |= {"low": room} if row["value"] == 1 else {"high": 1 - room}
    return row


EXACT = ("rhat.local_converged", "acceptance.local_changed", "acceptance.local")  # shares, whose ends are binomial now
FROZEN = {
    "latent": Frozen(
        latent,
        latent_row,
        gone={
            "acceptance.local_divergent": "read from the arrays by its check, and by nobody else",
            "acceptance.global_divergent": "read from the arrays by its check, and by nobody else",
        },
        words=False,
    ),
    "flatness": Frozen(flatness, flatness_row, words=False),
    "train": Frozen(
        train,
        train_row,
        {
            "calibration.nll": (1e-6, "from float32 losses, not float64 ones of the logits, which are not saved"),
            "calibration.ece": (1e-6, "from float32 confidences"),
        },
        {"calibration.brier": "its values were not saved"},
    ),
}
RUNS = [path.name for path in sorted(GOLDEN.glob("*")) if path.name.removesuffix("-smoke") in FROZEN]
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not RUNS, reason="LANDSCAPE_GOLDEN: no frozen runs there")]


def key(row: Mapping) -> tuple:
    """What tells a row from others; numbers to six digits."""
    coords = {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items() if k not in (*FIELDS, *QUALITY)}
    return row["name"], *sorted(coords.items())


def numbers(text: str) -> list[str]:
    """Values with their intervals."""
    return re.findall(r"-?[\d.]+ \[[^\]]*\]", text)


@pytest.mark.parametrize("name", RUNS)
def test_estimates_of_frozen_runs_come_out_as_they_were(name):
    experiment = experiments.load(name.removesuffix("-smoke"))
    frozen, estimates = FROZEN[name.removesuffix("-smoke")], experiment.module("estimates")
    old = json.loads((GOLDEN / name / "summary.json").read_text())
    config = ConfigDict(json.loads((GOLDEN / name / "config.json").read_text()))
    frozen.config(config)
    data = frozen.adapt(xr.load_dataset(GOLDEN / name / "arrays.nc", engine="h5netcdf"))
    table = estimates.estimate(described(data, experiment.schema), config)
    new = {key(row): row for row in table}
    assert len(new) == len(table)  # a row is told from every other by its coordinates
    wanted = [frozen.row(dict(row)) for row in old["estimates"] if row["name"] not in frozen.gone]
    wanted = [row for row in wanted if row is not None]
    for row in wanted:
        found = new[key(row)]
        tolerance, _ = frozen.close.get(row["name"], (1e-9, ""))
        for field in COMPARED:
            if row[field] is None:
                assert found[field] is None, (row, field)
            else:
                np.testing.assert_allclose(
                    found[field], row[field], rtol=tolerance, atol=1e-15, err_msg=f"{field} {row}"
                )
        assert (found["members"], found["examples"]) == (row["members"], row["examples"])
        assert bool(found.get("headline")) == bool(row.get("headline")), row
    assert len(wanted) > 15
    verdicts = [[(c["name"], c["verdict"]) for c in made] for made in (estimates.claims(table, config), old["claims"])]
    assert verdicts[0] == verdicts[1]
    made, said = estimates.headline(table, config), old["headline"]
    said = said if numbers(made) else re.sub(r" \[[^\]]*\]", "", said)  # of too few images there are no intervals
    assert made == said if frozen.words else sorted(numbers(made)) == sorted(numbers(said))
    own = {check.name: check for check in estimates.checks(data, table, config)}
    both = [c for c in old["checks"] if c["name"] in own]
    assert len(both) == len(own)
    assert all((own[c["name"]].passed, own[c["name"]].detail) == (c["passed"], c["detail"]) for c in both)
