"""How frozen runs of transfer, which was shared, differ from what it writes now."""

import xarray as xr
from ml_collections import ConfigDict

from frozen.runs import Frozen
from landscape.experiments.transfer import BY_TRAINING, EXPERIMENT

OBJECTIVES = ["loss", "hardmin"]  # that are left
RENAMED = {
    "ladder_tuning": "tuning",
    "ladder_wrong": "guided_wrong",
    "ladder_block": "block_wrong",
    "ladder_example": "guided_example",
    "rung": "guide_set",
    "rung_name": "guidance",
    "judge": "held_out",
    "ground": "space",
    "between_shown": "pair_shown",
    "between_pair": "pictured",
    "place": "point",
}


def transfer(old: xr.Dataset) -> xr.Dataset:
    """Other names; of one kind of training; curves, matrices and means are made of the arrays."""
    names = RENAMED | {n: n.replace("shape_", "geometry_") for n in (*old, *old.dims) if n.startswith("shape_")}
    new = old.rename(names).sel(search="pixels")
    new = new.drop_vars([name for name in new.variables if name not in EXPERIMENT.schema])
    new = new.isel(attack=new.kind.values != "targeted").sel(objective=OBJECTIVES)
    return new.assign({name: new[name].expand_dims("training") for name in new if name in BY_TRAINING})


def transfer_row(row: dict) -> dict | None:
    """Conditions, budgets and comparisons have columns of their own; attacks and guide sets have one name."""
    row = dict(row)
    if row.get("objective", "loss") not in OBJECTIVES or row.get("attack") == "targeted":
        return None
    if row["population"] == "start" or row.pop("search", "pixels") != "pixels":
        return None
    if row["name"].startswith("transfer."):
        row["condition"] = row.pop("matching")
    if row["name"] == "shared.held_out_gain":
        row["reference"] = f"members.{row['size'] if row['rung'] == 'members_ball' else 1}"
    if row["name"] == "shared.effective_members":
        row["name"] = "shared.equivalent_size"
    if row["name"] == "path.largest_disagreement" and "reference" in row:
        row["matching"] = "raw"
    if "reference" not in row:
        row.pop("matching", None)
    guided = ("shared.held_out_success", "shared.held_out_gain", "shared.equivalent_size")
    if row["name"] in guided or row["name"].startswith(("shared.attackers", "shared.held", "distance.radius")):
        row["given"] = "these guides" if row["name"] in guided else "these attackers"
    renamed = {"attack": "kind", "rung": "guidance", "judges_gaining": "held_out_gaining", "judges": "held_out"}
    return {(renamed | {"told": "text"}).get(name, name): value for name, value in row.items()}


def transfer_config(config: ConfigDict) -> None:
    """The same choices under other names."""
    config.guides, config.geometry = config.ladder, config.shapes
    config.guides.sets, config.claims.many_guide_better.measure = config.ladder.rungs, "shared.held_out_gain"


def transfer_check(check: dict) -> dict | None:
    """The same checks of guides under other names; of copies they are said in other words."""
    name, detail = check["name"].replace("ladder.pixels", "guides").replace("ladder.", "guides."), check["detail"]
    if name.startswith("targeted."):
        return None
    return check | {"name": name, "detail": None if name == "members.distinct" else detail}


ASIDE = "no headline, claim, figure or page had it"
FROZEN = {
    "transfer": Frozen(
        transfer,
        transfer_row,
        gone={
            "input_flatness.loss_rise": "says what the falls of probability and of the margin say",
            "shared.universal_attackers_fooled": "universal perturbations served no headline, claim or page",
            "shared.universal_held_out_fooled": "as above",
            "agreement.perturbation": "directions of perturbations and gradients were on no page",
            "agreement.gradient": "as above",
            "shared.correlation": ASIDE,
            "shared.smallest_held_out_fooled": ASIDE,
            "distance.beyond_hardest": ASIDE,
            "transfer.aim": "attacks toward a class were in `full` alone, and on no page",
        },
        words=False,
        config=transfer_config,
        old="shared",
        check=transfer_check,
        new=("first_flip.linf.0.25.order", "first_flip.l2.1.5.order"),
    ),
}
