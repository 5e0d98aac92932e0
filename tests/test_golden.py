"""Estimates made anew from the arrays of frozen runs of earlier code, and held against those that it made itself.

LANDSCAPE_GOLDEN names the folder of these runs: NAME/ and NAME-smoke/ with arrays.nc, config.json and summary.json.
"""

import itertools
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
from landscape.presets.names import PAIRS, PATHS, SWEPT
from landscape.stats.table import FIELDS

GOLDEN = Path(os.environ.get("LANDSCAPE_GOLDEN", "golden"))
COMPARED = ("value", "low", "high", "sem", "df", "var_member", "var_example", "var_residual")
QUALITY = ("share_kept", "smd_before", "smd_after", "same_class")  # of a match, no coordinates


class Frozen(NamedTuple):
    """How frozen runs of an experiment differ from what it writes now.

    adapt: old arrays -> as they are saved now. row: an old estimate's coordinates -> the new ones, None where gone.
    close: estimates that are equal to a relative tolerance, and why not to 1e-9.
    gone: estimates that are not compared, and why. words: whether the headline has the same words.
    config: changes an old config to what it is now. folder: name of the runs, where that is not the experiment's.
    summary: what an old summary says of this experiment, in its names. new: checks that earlier code did not make.
    """

    adapt: Callable[[xr.Dataset], xr.Dataset]
    row: Callable[[dict], dict | None] = lambda row: row
    close: Mapping[str, tuple[float, str]] = {}
    gone: Mapping[str, str] = {}
    words: bool = True
    config: Callable[[ConfigDict], None] = lambda config: None
    folder: str = ""
    summary: Callable[[dict], dict] = lambda old: old
    new: tuple[str, ...] = ()


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


# ---- connectivity, which was one experiment with weight_connectivity ----

RENAMED = {"carrier": "source", "last_loss": "end_loss", "plane": "out_of_plane", "frame": "steps"}
RENAMED |= {"anchor_id": "reference_id", "other_id": "partner_id", "carrier_id": "source_id"}
RENAMED |= {"carrier_distance": "source_distance"}
BETWEEN = "Between two classifiers"  # where the headline's part about weight space begins


def connectivity(old: xr.Dataset) -> xr.Dataset:
    """Fewer kinds of pairs and paths, in plain words; curves are rows of the table."""
    about = json.loads(old.attrs["config"])
    schema = experiments.load("connectivity").schema
    new = old.rename(
        {before: after for before, after in RENAMED.items() if before in old.variables or before in old.dims}
    )
    new = new.assign_coords(kind=[RENAMED.get(kind, kind) for kind in new.kind.values])
    new = new.assign_coords(control=("member", ["trained"] * new.sizes["member"]))
    new = new.sel(kind=[kind for kind in PAIRS if kind in new.kind], path=[p for p in PATHS if p in new.path])
    new["valid"], new["end_loss"] = new.valid == 1, new.end_loss.sel(path="line", drop=True)
    # Nodes that remain, and the edges between them.
    kept = np.isin(new.node_kind.values.astype(str), ("genuine", "boosted", "adversarial"))
    edges = [kept[a] and kept[b] for a, b in itertools.combinations(range(len(kept)), 2)]
    new = new.isel(node=kept, edge=np.asarray(edges))
    new = new.drop_vars([name for name in new.variables if name not in schema])
    dims = {name: schema[name].dims for name in new.data_vars}
    new = new.assign({name: new[name].transpose(*own) for name, own in dims.items()})
    return new.assign_attrs(tolerance=about["bypass"]["tolerance"])


def connectivity_row(row: dict) -> dict | None:
    """In plain words; `matching` is written on every difference, and pairs of either population count for it."""
    if row["population"] not in (*PAIRS, "carrier") or row.get("path", "line") not in PATHS:
        return None
    name = row["name"]
    names = {"path.gone": "path.barrier_removed", "auroc.barrier": "auroc.barrier.area"}
    names |= {f"auroc.barrier_tpr_at_{n}": f"auroc.barrier.tpr_at_{n}_percent" for n in (1, 5)}
    names["auroc.end_loss"] = "auroc.end_loss.area"
    row["name"], row["population"] = names.get(name, name), RENAMED.get(row["population"], row["population"])
    if "bends" in row:
        row["waypoints"] = row.pop("bends")
    if "reference" in row:
        row |= {"matching": row.get("matching", "raw"), "examples": 30 if row["path"] in PATHS[:2] else 6}
    return row


def connectivity_summary(old: dict) -> dict:
    """What is about inputs, without the check against exact maxima."""
    names = {"adaptive.cares_for_the_detector": "adaptive.detector_has_weight"}
    checks = [check | {"name": names.get(check["name"], check["name"])} for check in old["checks"]]
    checks = [check for check in checks if not check["name"].startswith(("weights.", "line.beside_exact"))]
    for check in checks:
        if check["name"].startswith(("line.", "bypass.")):
            check["detail"] = None  # counts pairs of all kinds, of which there are fewer now
    return old | {"checks": checks, "headline": old["headline"].split(BETWEEN)[0]}


def connectivity_config(config: ConfigDict) -> None:
    """One measure has another name."""
    for claim in config.claims.values():
        claim.measure = claim.measure.replace("auroc.barrier", "auroc.barrier.area")


def weight_connectivity(old: xr.Dataset) -> xr.Dataset:
    """Connections have one name each; curves are rows of the table."""
    labels = [", ".join(one) for one in zip(*(old[f"way_{n}"].values for n in CONNECTION), strict=True)]
    tail = ("weight_step", "weight_example")
    found = {
        "loss": (("connection", "pair", "t", "example"), old.weight_loss.transpose("weight_way", "weight_pair", *tail)),
        "wrong": (
            ("connection", "pair", "input", "t", "example"),
            old.weight_wrong.transpose("weight_way", "weight_pair", "weight_input", *tail),
        ),
        "pair_member": (("pair", "end"), old.weight_pair_member),
        "planted": (("matching",), old.weight_planted),
    }
    coords = {"connection": labels, "t": old.weight_t.values, "matching": old.weight_matching.values}
    coords |= {"input": old.weight_input.values, "control": ("member", ["trained"] * 4)}
    return xr.Dataset({name: (dims, value.values) for name, (dims, value) in found.items()}, coords)


def weight_connectivity_row(row: dict) -> dict | None:
    """A connection is one coordinate; what is wrong at a place is a point of the curve."""
    label, at = ", ".join(row.pop(name) for name in CONNECTION), row.pop("at", None)
    row.pop("condition", None)
    row |= {"connection": label} if at else {"population": label}
    if at == "everywhere":
        row["name"] += "_everywhere"
    elif at:
        row["t"] = {"middle": 0.5, "end": 1.0}[at]
    return row | ({"matching": "raw"} if "reference" in row else {})


def weight_connectivity_summary(old: dict) -> dict:
    """What is about weight space; no claims were made of it."""
    names = ("barrier.weight_", "path.weight_")
    estimates = [row for row in old["estimates"] if row["name"].startswith(names)]
    checks = [check for check in old["checks"] if check["name"].startswith("weights.")]
    headline = BETWEEN + old["headline"].split(BETWEEN)[1]
    return old | {"estimates": estimates, "checks": checks, "headline": headline, "claims": []}


CONNECTION = ("curve", "matching", "statistics")
OF_WEIGHTS = "of weight_connectivity"
UNUSED = "in no headline, claim, check, figure or page"
FROZEN = {
    "connectivity": Frozen(
        connectivity,
        connectivity_row,
        gone={
            **{f"barrier.weight_{name}": OF_WEIGHTS for name in ("loss", "error", "loss_over_line")},
            "path.weight_wrong": OF_WEIGHTS,
            **{f"path.{name}": UNUSED for name in ("deviation_linf", "deviation_l2", "total_variation")},
            **{name: UNUSED for name in ("barrier.climb", "auroc.climb", "auroc.above_line")},
        },
        words=False,
        config=connectivity_config,
        summary=connectivity_summary,
        new=("members.distinct",),
    ),
    "weight_connectivity": Frozen(
        weight_connectivity,
        weight_connectivity_row,
        gone={"barrier.weight_loss_over_line": UNUSED},
        words=False,
        folder="connectivity",
        summary=weight_connectivity_summary,
        new=("members.distinct",),
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
RUNS = [
    (name, path.name)
    for name, frozen in FROZEN.items()
    for path in sorted(GOLDEN.glob("*"))
    if path.name.removesuffix("-smoke") == (frozen.folder or name)
]
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not RUNS, reason="LANDSCAPE_GOLDEN: no frozen runs there")]


def key(row: Mapping) -> tuple:
    """What tells a row from others; numbers to six digits."""
    coords = {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items() if k not in (*FIELDS, *QUALITY)}
    return row["name"], *sorted(coords.items())


def numbers(text: str) -> list[str]:
    """Values with their intervals."""
    return re.findall(r"-?[\d.]+ \[[^\]]*\]", text)


def digits(detail: str) -> list[float]:
    """The numbers in what a check found."""
    return [float(number) for number in re.findall(r"\d+(?:\.\d+)?(?:e[-+]?\d+)?", detail)]


@pytest.mark.parametrize(("name", "folder"), RUNS)
def test_estimates_of_frozen_runs_come_out_as_they_were(name, folder):
    experiment = experiments.load(name)
    frozen, estimates = FROZEN[name], experiment.module("estimates")
    old = frozen.summary(json.loads((GOLDEN / folder / "summary.json").read_text()))
    config = ConfigDict(json.loads((GOLDEN / folder / "config.json").read_text()))
    frozen.config(config)
    data = frozen.adapt(xr.load_dataset(GOLDEN / folder / "arrays.nc", engine="h5netcdf"))
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
    assert made == said if frozen.words else sorted(numbers(made)) == sorted(numbers(said))
    own = {check.name: check for check in estimates.checks(data, table, config)}
    assert set(own) - {check["name"] for check in old["checks"]} == set(frozen.new)
    for check in old["checks"]:
        found = own.get(check["name"])
        if found is not None:  # others were made while arrays were computed
            assert found.passed == check["passed"]
            if check["detail"] is not None:
                assert digits(found.detail) == digits(check["detail"])
                assert found.detail == check["detail"] or not frozen.words
