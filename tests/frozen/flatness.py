"""How frozen runs of flatness and train differ from what these write now."""

import xarray as xr

from frozen.runs import Frozen, members, of_pairs


def flatness(old: xr.Dataset) -> xr.Dataset:
    """Levels are a dim of their own name, curves are rows of the table."""
    sigma, r = (old.sigma / old.noise_scale).transpose("noise", "sigma").values, old.r.values
    curves = ("curve", "class_curve", "share_", "noise_curve", "weight_curve", "match_", "picture_")
    gone = [name for name in old.variables if name.startswith(curves)]
    new = members(old.drop_vars([*gone, "reading", "cell", "noise_scale", "r", "sigma"]))
    return new.rename_dims({"sigma": "r"}).assign_coords(r=r, sigma=(("noise", "r"), sigma))


def flatness_row(row: dict) -> dict:
    """`matching` was written on means too, in which nothing is matched."""
    compared = "reference" in row or row["name"].startswith("input_flatness.effect")
    return row if compared else {k: v for k, v in row.items() if k != "matching"}


def train(old: xr.Dataset) -> xr.Dataset:
    """What follows from predictions is not saved; the probabilities' distance from the true class was not."""
    kept = ["label", "prediction", "confidence", "loss", "train_loss", "validation_accuracy"]
    new = members(old[kept].drop_vars("bin", errors="ignore"))
    return new.assign(brier=xr.zeros_like(new.loss)).assign_coords({"class": old["class"].values})


def train_row(row: dict) -> dict:
    """Controls are populations of their own."""
    control = row.pop("control", None)
    row = of_pairs(row) if row["name"].startswith("agreement.") else row
    return row | {"population": control} if control else row


def train_check(check: dict) -> dict:
    """What is near chance is a share of what is left above it; checks say their limit."""
    return check | {"detail": None if check["name"].startswith(("controls.", "accuracy.")) else check["detail"]}


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
        words=False,  # an interval of pairs in the headline
        check=train_check,
    ),
}
