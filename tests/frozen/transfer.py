"""How frozen runs of transfer, which was shared, differ from what it writes now."""

import xarray as xr
from ml_collections import ConfigDict

from frozen.runs import Frozen

OBJECTIVES = ["loss", "hardmin"]  # that are left


JUDGED = ("input_loss_rise", "worst_loss_rise", "delta_linf", "error_probability", "loss", "true_margin")


def transfer(old: xr.Dataset) -> xr.Dataset:
    """The parts of the run have other names; curves, matrices and means are made of the arrays."""
    curves = ("share", "mean", "count_", "joint_all", "joint_held", "universal", "ladder_told", "ladder_before")
    curves += ("effective", "ladder_block_told", "between_low", "between_high", "shape_low", "shape_high")
    curves += ("shape_difference", "shape_measure", "shape_population", "shape_contrast", "made_by", "reading")
    gone = [name for name in old.variables if name.startswith(curves)]
    gone += [
        "between",
        "shape",
        "shape_picture",
        "condition",
        "outcome",
        "targets",
        "quantity",
        *(f"shape_{name}" for name in JUDGED),
    ]
    new = old.drop_vars(gone).sel(objective=OBJECTIVES)
    names = {"ladder_tuning": "tuning", "ladder_step": "chosen_step", "ladder_wrong": "guided_wrong"}
    names |= {"ladder_block": "block_wrong", "ladder_start": "start_wrong", "rung_name": "guidance"}
    names |= {"ladder_example": "guided_example", "judge": "held_out", "ground": "space"}
    names |= {"rung": "guide_set", "between_shown": "pair_shown"}
    names |= {n: n.replace("shape_", "geometry_") for n in (*new.variables, *new.dims) if n.startswith("shape_")}
    pairs = new["pair"].variable
    new = new.drop_vars(["pair", "between_pair"]).rename(names)
    return new.assign(endpoints=pairs).assign_coords(pair_shown=("pair_shown", old.between_pair.values))


def transfer_row(row: dict) -> dict | None:
    """Conditions, budgets and comparisons have columns of their own; attacks, guide sets have names."""
    row = dict(row)
    first = row["name"].split(".")[0]
    if row.get("objective", "loss") not in OBJECTIVES:
        return None
    if first == "transfer":
        row["condition"] = row.pop("matching")
    if "attack" in row:
        row["kind"] = row["attack"]
        row["attack"] = f"{row['kind']}.{row['norm']}.{row['epsilon']:g}"
    if "rung" in row:
        row["guidance"] = row.pop("rung")
        row["guide_set"] = f"{row['guidance']}.{row['size']}"
        renamed = {"judges_gaining": "held_out_gaining", "judges": "held_out", "told": "text"}
        row = {renamed.get(name, name): value for name, value in row.items()}
    if row["name"] == "shared.held_out_gain":
        guidance, size = row["guidance"], row["size"]
        row["reference"] = f"members.{size if guidance == 'members_ball' else 1}"
    if row["name"] == "shared.effective_members":
        row["name"] = "shared.equivalent_size"
    if row["name"] == "path.largest_disagreement" and "reference" in row:
        row["matching"] = "raw"
    if "reference" not in row:
        row.pop("matching", None)
    return row


def transfer_config(config: ConfigDict) -> None:
    """The same choices under other names."""
    config.guides, config.geometry = config.ladder, config.shapes
    config.guides.sets, config.claims.many_guide_better.measure = config.ladder.rungs, "shared.held_out_gain"


def transfer_check(check: dict) -> dict:
    """The same checks of guides under other names."""
    name, detail = check["name"].replace("ladder.", "guides."), check["detail"].replace("rungs,", "guide sets,")
    return check | {"name": name, "detail": detail}


FROZEN = {
    "transfer": Frozen(
        transfer,
        transfer_row,
        gone={
            "input_flatness.loss_rise": "says what the falls of probability and of the margin say",
            "shared.universal_attackers_fooled": "universal perturbations served no headline, claim or page",
            "shared.universal_held_out_fooled": "as above",
        },
        words=False,
        config=transfer_config,
        old="shared",
        check=transfer_check,
    ),
}
