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
from landscape.stats.contrasts import LEAST_DISTINCT
from landscape.stats.table import FIELDS

GOLDEN = Path(os.environ.get("LANDSCAPE_GOLDEN", "golden"))
COMPARED = ("value", "low", "high", "sem", "df", "var_member", "var_example", "var_residual")
QUALITY = ("share_kept", "smd_before", "smd_after", "same_class")  # of a match, no coordinates


class Frozen(NamedTuple):
    """How frozen runs of an experiment differ from what it writes now.

    adapt: old arrays -> as they are saved now. row: an old estimate's coordinates -> the new ones, None where gone.
    close: estimates that are equal to a relative tolerance, and why not to 1e-9.
    gone: estimates that are not compared, and why. words: whether the headline has the same words. said: the numbers
    of an old headline that the new one has, where they are not all.
    config: changes an old config to what it is now.
    """

    adapt: Callable[[xr.Dataset], xr.Dataset]
    row: Callable[[dict], dict | None] = lambda row: row
    close: Mapping[str, tuple[float, str]] = {}
    gone: Mapping[str, str] = {}
    words: bool = True
    said: Callable[[str], list[str]] | None = None
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


def gradients(old: xr.Dataset) -> xr.Dataset:
    """Spaces are a dim, and what has no image there is NaN; two of five ways of guiding are left; few pictures."""
    spaces = ["pixels", *old.family.values.tolist(), *old.get("layer", old.family[:0]).values.tolist()]
    kinds = ["pixels", *["manifold"] * old.sizes["family"], *["layer"] * old.sizes.get("layer", 0)]
    old = old.sel(guide=["mean", "agreeing"])
    names = {"own": "probability", "far": "reached", "held_out_far": "held_out_there"}
    names = {f"guided_{a}": f"guided_{b}" for a, b in names.items() | {("by_block", "held_out_by_block")}}
    gone = ("picture", "point", "latent", "ascent_grad", "guided_error")
    by_name: dict[str, list[xr.DataArray]] = {}
    for name in [name for name in old.data_vars if "." in name and not name.startswith(gone)]:
        own, space = name.split(".")
        one = old[name].expand_dims(space=[space])
        by_name.setdefault(names.get(own, own), []).append(one)
    arrays = {n: xr.concat(each, "space").reindex(space=spaces) for n, each in by_name.items()}
    plain = ("label", "prediction", "smooth_cosine", "smooth_error", "guided_target", "guided_distance")
    new = xr.Dataset(arrays | {name: old[name] for name in plain})
    new["kind_of_space"] = ("space", kinds)
    # What a run of now has and no estimate reads.
    dims = {"start": "ascent_example", "kind": "start", "guided_start": "guided_example", "t": "step"}
    dims |= {"step": "step_length", "guided_t": "guided_step", "value": "class_value", "judge": "held_out"}
    dims |= {"size": "guides", "guide": "objective"}
    return new.drop_vars(["family", "layer", "frame", "shown"], errors="ignore").rename(dims)


def gradients_row(row: dict) -> dict | None:
    """Plainer words; of fewer than five starts there is no interval, of shares that all agree on the binomial one."""
    if row.get("guide", "mean") not in ("mean", "agreeing"):
        return None
    words = {"place": "space", "of": "class_value", "guide": "objective"}
    words |= {"step": "step_length"} if row["name"] == "agreement.pushed_with_step" else {}
    row = {words.get(name, name): value for name, value in row.items()}
    row |= {"matching": "raw"} if row.get("reference") else {}
    texts = {"dreamed": "synthesised", "these judges": "these held-out classifiers", "mean guide": "mean"}
    texts["1 guides"] = "1 guide"
    row = {name: texts.get(value, value) if isinstance(value, str) else value for name, value in row.items()}
    if row["examples"] < LEAST_DISTINCT:
        row |= dict.fromkeys(("low", "high", "sem"))
    elif row["sem"] == 0 and row["name"] == "path.gone_far" and row["value"] in (0, 1):
        room = 0.025 ** (1 / row["examples"])
        row |= {"low": room, "high": 1.0} if row["value"] else {"low": 0.0, "high": 1 - room}
    elif row["name"] == "confidence.guided_held_out" and "distance" in row:
        del row["examples"]  # only those that get there count now
    return row | ({"name": "path.reached_distance"} if row["name"] == "path.gone_far" else {})


FROZEN = {
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
FROZEN["gradients"] = Frozen(
    gradients,
    gradients_row,
    dict.fromkeys(
        ("agreement.gradient", "agreement.smooth_gradient"), (1e-5, "means over images are float64 ones, not float32")
    ),
    gone={
        "agreement.smooth_with_plain": "no statement used it",
        "mse.guided_under_another": "took a second autoencoder; the distance to training images says as much",
    },
    words=False,
    said=lambda text: [] if "[0.00, 1.00]" in text else numbers(text),  # two starts have no interval any more
)
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
        assert (found["members"], found["examples"]) == (row["members"], row.get("examples", found["examples"]))
        assert bool(found.get("headline")) == bool(row.get("headline")), row
    assert len(wanted) > 15
    verdicts = [[(c["name"], c["verdict"]) for c in made] for made in (estimates.claims(table, config), old["claims"])]
    assert verdicts[0] == verdicts[1]
    made, said = estimates.headline(table, config), old["headline"]
    assert made == said if frozen.words else sorted(numbers(made)) == sorted((frozen.said or numbers)(said))
    own = {check.name: check for check in estimates.checks(data, table, config)}
    both = [c for c in old["checks"] if c["name"] in own]
    assert len(both) == len(own)
    assert all((own[c["name"]].passed, own[c["name"]].detail) == (c["passed"], c["detail"]) for c in both)
