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
from landscape.experiments.autoencoders.config import HYPER as AUTOENCODER_HYPER
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
    old: str = ""  # the experiment's name then
    check: Callable[[dict], dict | None] = lambda check: (
        check
    )  # an old check -> its name and detail now, None where gone


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


NOISE = {"none": "no_noise", "fresh": "redrawn", "frozen": "frozen", "member": "random_member"}
NOISE |= {"trajectory": "trajectory", "swag": "swag"}


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
    renamed |= {f"start_{name}": f"start_{renamed[name]}" for name in ("manifold", "linearity")}
    same = ("kept", "length", "right", "reached", "success", "distance", "margin", "margin_drop", "start_margin")
    same += ("start_margin_drop", "picture", "picture_start", "grid_right", "audit")
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
    if row["population"] != "noisy":
        return row
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


def autoencoders(old: xr.Dataset) -> xr.Dataset:
    """All is along the description; what follows from other arrays is not saved."""
    gone = ["held_out_confidence", "moved", "hidden_cell", "hidden_layer", "cell_layer", "judged"]
    gone += [name for name in old.variables if name.startswith("picture_neighbour")]
    others = old.judge != old.seed  # (judge, member)
    agree = ((old.judged == old.original) & others).sum("judge").astype(np.float32)
    new = old.drop_vars(gone, errors="ignore").assign(others_agree=agree)
    new = new.assign_coords(described_layer=("cell", old.cell_layer.values))
    names = {"held_out_along": "confidence", "moved_along": "moved", "held_out_success": "success"}
    names |= {"picture_cell": "picture_back", "picture_samples": "picture_sample", "picture_use": "picture_end"}
    names |= {"cell_family": "family", "cell_size": "size", "use_cell": "manifold"}
    new = new.rename({was: name for was, name in names.items() if was in new.variables})
    parts = [new.drop_dims([dim for dim in ("image_cell", "sample_cell") if dim in new.dims])]
    for dim in ("image_cell", "sample_cell"):
        own = new[[name for name, one in new.data_vars.items() if dim in one.dims]].drop_vars("cell", errors="ignore")
        own = own.reset_coords(drop=True).rename({dim: "cell"}).reindex(cell=old.cell)
        parts.append(own)
    new = xr.merge(parts, compat="override").rename(cell="description").rename(judge="classifier")
    new = new.drop_vars(["classifier", "member"], errors="ignore")
    every = xr.ones_like(new.mse.isel(example=0, drop=True)).where(new.train_loss.notnull().any("epoch"))
    own = {name: (new[name] * every).reset_coords(drop=True) for name in AUTOENCODER_HYPER if name in new}
    return new.drop_vars([*own]).assign(own).transpose("description", "manifold", "layer", "classifier", ...)


def autoencoders_row(row: dict) -> dict:
    """What is the same for all rows of a name is no column; of fewer than five starts there is no interval."""
    for name in ("beta", "prior", "matched"):
        row.pop(name, None)
    few = row["population"] == "manifold" and row["examples"] < LEAST_DISTINCT
    return row | dict.fromkeys(("low", "high", "sem")) if few else row


def autoencoders_config(config: ConfigDict) -> None:
    """The same families under another name."""
    config.autoencoder.families_at_dims = config.autoencoder.ladder


FROZEN = {
    "autoencoders": Frozen(
        autoencoders,
        autoencoders_row,
        {"psnr.reconstruction": (1e-4, "from logarithms in float64; of float32 ones variances keep few digits")},
        words=False,
        config=autoencoders_config,
    ),
    "gradients": Frozen(
        gradients,
        gradients_row,
        dict.fromkeys(
            ("agreement.gradient", "agreement.smooth_gradient"),
            (1e-5, "means over images are float64 ones, not float32"),
        ),
        gone={
            "agreement.smooth_with_plain": "no statement used it",
            "mse.guided_under_another": "took a second autoencoder; the distance to training images says as much",
        },
        words=False,
        said=lambda text: [] if "[0.00, 1.00]" in text else numbers(text),  # two starts have no interval any more
    ),
    "noise": Frozen(
        noise,
        noise_row,
        gone={
            "curvature.gradient_norm": "no claim, figure or page used it",
            "curvature.hessian_top": "no claim, figure or page used it",
        },
        words=False,
        config=noise_config,
        check=noise_check,
    ),
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
RUNS = [
    (name, path.name)
    for name, frozen in FROZEN.items()
    for path in sorted(GOLDEN.glob(f"{frozen.old or name}*"))
    if path.name.removesuffix("-smoke") == (frozen.old or name)
]
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not RUNS, reason="LANDSCAPE_GOLDEN: no frozen runs there")]


def key(row: Mapping) -> tuple:
    """What tells a row from others; numbers to six digits."""
    coords = {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items() if k not in (*FIELDS, *QUALITY)}
    return row["name"], *sorted(coords.items())


def numbers(text: str) -> list[str]:
    """Values with their intervals."""
    return re.findall(r"-?[\d.]+ \[[^\]]*\]", text)


def figures(text: str) -> list[str]:
    """All numbers."""
    return re.findall(r"-?[\d.]+", text)


@pytest.mark.parametrize(("name", "folder"), RUNS)
def test_estimates_of_frozen_runs_come_out_as_they_were(name, folder):
    experiment = experiments.load(name)
    frozen, estimates = FROZEN[name], experiment.module("estimates")
    old = json.loads((GOLDEN / folder / "summary.json").read_text())
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
        assert (found["members"], found["examples"]) == (row["members"], row.get("examples", found["examples"]))
        assert bool(found.get("headline")) == bool(row.get("headline")), row
    assert len(wanted) > 15
    verdicts = [[(c["name"], c["verdict"]) for c in made] for made in (estimates.claims(table, config), old["claims"])]
    assert verdicts[0] == verdicts[1]
    made, said = estimates.headline(table, config), old["headline"]
    said = (
        said if frozen.words or numbers(made) else re.sub(r" \[[^\]]*\]", "", said)
    )  # of too few images there are no intervals
    assert made == said if frozen.words else sorted(numbers(made)) == sorted((frozen.said or numbers)(said))
    own = {check.name: check for check in estimates.checks(data, table, config)}
    both = {check["name"]: check for check in map(frozen.check, old["checks"]) if check}
    gone = {check["name"] for check in old["checks"] if not frozen.check(check)}
    assert {*own} - gone == {*both} & {*own}
    for name, check in both.items():
        if name in own:
            made, said = own[name].detail, check["detail"]
            assert own[name].passed == check["passed"], name
            assert made == said if frozen.words else figures(made) == figures(said)
