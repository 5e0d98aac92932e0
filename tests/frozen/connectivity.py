"""How frozen runs of connectivity, once one experiment with weight_connectivity, differ from what these write now."""

import itertools
import json

import numpy as np
import xarray as xr
from ml_collections import ConfigDict

from frozen.runs import Frozen, numbers
from landscape import experiments
from landscape.experiments.connectivity.config import KINDS, PATHS

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
    new = new.sel(kind=[kind for kind in KINDS if kind in new.kind], path=[p for p in PATHS if p in new.path])
    new["valid"], new["end_loss"] = new.valid == 1, new.end_loss.sel(path="line", drop=True)
    # Nodes that remain, and the edges between them.
    kept = np.isin(new.node_kind.values.astype(str), ("genuine", "boosted", "adversarial"))
    edges = [kept[a] and kept[b] for a, b in itertools.combinations(range(len(kept)), 2)]
    new = new.isel(node=kept, edge=np.asarray(edges))
    # One axis of pictures takes the place of kinds and pairs.
    new = new.drop_vars([name for name in new.variables if name not in schema or name.startswith("picture")])
    dims = {name: schema[name].dims for name in new.data_vars}
    new = new.assign({name: new[name].transpose(*own) for name, own in dims.items()})
    return new.assign_attrs(tolerance=about["bypass"]["tolerance"])


def connectivity_row(row: dict) -> dict | None:
    """In plain words; `matching` is written on every difference, and pairs of either population count for it."""
    if row["population"] not in (*KINDS, "carrier") or row.get("path", "line") not in PATHS:
        return None
    name = row["name"]
    names = {"path.gone": "path.barrier_removed", "auroc.barrier": "auroc.barrier.area"}
    names |= {f"auroc.barrier_tpr_at_{n}": f"auroc.barrier.tpr_at_{n}_percent" for n in (1, 5)}
    names["auroc.end_loss"] = "auroc.end_loss.area"
    row["name"], row["population"] = names.get(name, name), RENAMED.get(row["population"], row["population"])
    if "bends" in row:
        row["waypoints"] = row.pop("bends")
    if "reference" in row:
        row["matching"] = row.get("matching", "raw")
        del row["examples"]  # pairs of either population count now
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
    if at == "everywhere" or (at and "reference" in row):
        return None  # UNUSED
    if at:
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
            **{name: UNUSED for name in ("barrier.climb", "auroc.climb", "auroc.above_line", "barrier.quantile")},
            **{name: UNUSED for name in ("barrier.above_line", "barrier.probability", "path.length")},
            **{name: UNUSED for name in ("distance.manifold", "auroc.barrier.validation", "attack.validation_success")},
        },
        words=False,
        said=lambda text: numbers(text)[::2],  # among genuine inputs, and once the attack evades it
        config=connectivity_config,
        summary=connectivity_summary,
        new=("members.distinct",),
    ),
    "weight_connectivity": Frozen(
        weight_connectivity,
        weight_connectivity_row,
        gone={"barrier.weight_loss_over_line": UNUSED},
        words=False,
        old="connectivity",
        summary=weight_connectivity_summary,
        new=("members.distinct",),
    ),
}
