"""How frozen runs of gradients differ from what it writes now."""

import xarray as xr

from frozen.runs import Frozen, numbers, of_pairs
from landscape.stats.contrasts import LEAST_DISTINCT

MADE = "log_probability"  # the value that gradients are of; runs of now have that alone


def gradients(old: xr.Dataset) -> xr.Dataset:
    """Spaces are a dim, and what has no image there is NaN; two of five ways of guiding are left; few pictures."""
    spaces = ["pixels", *old.family.values.tolist(), *old.get("layer", old.family[:0]).values.tolist()]
    kinds = ["pixels", *["manifold"] * old.sizes["family"], *["layer"] * old.sizes.get("layer", 0)]
    old = old.sel(guide=["mean", "agreeing"])
    names = {"own": "probability", "far": "reached", "held_out_far": "held_out_there"}
    names = {f"guided_{a}": f"guided_{b}" for a, b in names.items()}
    gone = ("picture", "point", "latent", "ascent_grad", "guided_error", "gradient_norm", "guided_by_block")
    by_name: dict[str, list[xr.DataArray]] = {}
    for name in [name for name in old.data_vars if "." in name and not name.startswith(gone)]:
        own, space = name.split(".")
        one = old[name].expand_dims(space=[space])
        if "guide" in one.dims:  # of one classifier all objectives are the same
            one = one.fillna(one.sel(guide="mean", drop=True)).transpose(*one.dims)
        by_name.setdefault(names.get(own, own), []).append(one)
    arrays = {n: xr.concat(each, "space").reindex(space=spaces) for n, each in by_name.items()}
    new = xr.Dataset(arrays | {name: old[name] for name in ("prediction", "smooth_cosine")})
    new = new.sel(value=MADE, drop=True).expand_dims("training")
    new = new.assign({name: old[name] for name in ("label", "guided_target", "guided_distance")})
    new["kind_of_space"] = ("space", kinds)
    # What a run of now has and no estimate reads.
    dims = {"start": "ascent_example", "kind": "start", "guided_start": "guided_example", "t": "step"}
    dims |= {"step": "step_length", "guided_t": "guided_step", "judge": "held_out"}
    dims |= {"size": "guides", "guide": "objective"}
    return new.drop_vars(["family", "layer", "frame", "shown"], errors="ignore").rename(dims)


def gradients_row(row: dict) -> dict | None:
    """Plainer words; of fewer than five starts there is no interval, of shares that all agree on the binomial one."""
    if row.get("guide", "mean") not in ("mean", "agreeing") or row.get("of", MADE) != MADE:
        return None
    if row["name"] == "confidence.guided_held_out" and row.get("given") == "these judges":
        return None  # intervals over blocks of guides: no headline, figure or check used them
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
    if row["name"] in ("agreement.gradient", "agreement.smooth_gradient"):
        return of_pairs(row)
    return row | ({"name": "path.reached_distance"} if row["name"] == "path.gone_far" else {})


FROZEN = {
    "gradients": Frozen(
        gradients,
        gradients_row,
        dict.fromkeys(
            ("agreement.gradient", "agreement.smooth_gradient"),
            (1e-5, "means over images are float64 ones, not float32"),
        ),
        gone={
            "gradient.norm": "no headline, figure or check used it",
            "gradient.smooth_error": "no headline, figure or check used it",
            "agreement.smooth_with_plain": "no statement used it",
            "mse.guided_under_another": "took a second autoencoder; the distance to training images says as much",
        },
        words=False,
        said=lambda text: [] if "[0.00, 1.00]" in text else numbers(text),  # two starts have no interval any more
    ),
}
