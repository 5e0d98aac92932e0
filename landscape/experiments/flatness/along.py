"""The measures along the way of an attack: by position, the flip at 0, and at equal confidence on its two sides."""

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from ml_collections import ConfigDict

from landscape import objectives, runs
from landscape.attacks import way
from landscape.attacks.projected import Budget
from landscape.ensembles import Rows, map_members
from landscape.experiments import setting
from landscape.experiments.base import Stage, described, run_stage
from landscape.experiments.flatness import ALONG, COMPUTED, EXPERIMENT
from landscape.experiments.flatness.agreement import middle
from landscape.experiments.flatness.estimates import main
from landscape.experiments.setting import Setting
from landscape.experiments.works import Chunk, Work, chunk_size, measures, tangents
from landscape.types import Logits

NOISES = ("noise", "r", "weight_noise", "xi")  # dims of which one value is left


def compute(config, run: runs.Run, prepared: Setting, levels: xr.Dataset, budget: Budget) -> xr.Dataset:
    """along_* (member, way, position, example) and across_* (member, side, level, example) of the first test images.

    Under noise, one kind and level of it stands for all.
    """
    number = min(config.along.num_examples, config.flatness.num_examples)
    images = setting.as_dataset(setting.examples(prepared.dataset, "test", number, config.seed))
    shared = {"ensemble": prepared.ensemble}

    def stage(name: str, work: Work, inputs: xr.Dataset, **more) -> xr.Dataset:
        size = chunk_size(name, images.x.values)
        return run_stage(run, Stage(f"{name}_along", work, inputs, size, shared | more), COMPUTED)

    found = stage("along", search(config, prepared, budget), images, own=jnp.asarray(~prepared.trained))
    inputs = images[["origin"]].merge(found[["inputs", "prediction", "label"]])
    if "tangent" in config.measures:
        inputs = inputs.merge(tangents(config, run, prepared, images, "_along"))
    own, here = of_one_noise(config, levels)
    parts = [stage(name, work, inputs) for name, work in measures(own, prepared, here, budget)]
    values = xr.merge([found, *parts])
    values = values.isel({dim: 0 for dim in NOISES if dim in values.dims}, drop=True)
    valid = {name: found[name] for name in ("along_valid", "across_valid")}
    return _arranged(config, values[[name for name in ALONG if name in values]]).assign(valid)


def of_one_noise(config, levels: xr.Dataset) -> tuple[ConfigDict, xr.Dataset]:
    """The config and the levels of one kind and level of noise, on the input and on the weights, and of the measures
    that an example has a number of.
    """
    here, own = main(levels.r.values, config), ConfigDict(config.to_dict())
    own.measures = tuple(name for name in config.measures if name != "spectrum")
    own.flatness.noises, own.flatness.levels = (here["noise"],), (here["r"],)
    own.weight.noises, own.weight.xi = config.weight.noises[:1], (config.weight.xi[middle(config.weight.xi)],)
    return own, levels.sel(noise=[here["noise"]]).isel(r=[int(np.argmin(np.abs(levels.r.values - here["r"])))])


def search(config, prepared: Setting, budget: Budget) -> Work:
    """The points of each example's way, with what each member says of them."""
    apply, about = prepared.classifier.apply, config.along
    options = {name: getattr(budget, name) for name in ("norm", "epsilon", "step_size")}
    options |= {"num_steps": about.num_steps, "positions": positions(config), "log_odds": tuple(about.log_odds)}

    def member(variables, own, x, label):
        # A control member has no true classes to speak of: its own clean prediction takes their place.
        label = jnp.where(own, jnp.argmax(apply(variables, x), axis=-1).astype(label.dtype), label)
        found = way.points(variables, x, label, apply=apply, **options)
        made = jnp.concatenate([found[name].reshape(-1, *x.shape) for name in ("along", "across")])
        seen = jax.lax.map(lambda z: _said(apply(variables, z)), made)
        out = {"inputs": made, "label": label[None], **seen}
        out |= {"along_valid": found["along_valid"][None], "across_valid": found["across_valid"]}
        return {name: jnp.moveaxis(value, 1, 0) for name, value in out.items()}

    def work(chunk: Chunk, ensemble, own) -> dict[str, jax.Array]:
        images = (Rows(chunk["x"]), Rows(chunk["true_label"]))
        found = map_members(member, ensemble, own, shared=images, how=prepared.how)
        found = {name: jnp.moveaxis(value, 2, 1) for name, value in found.items()}
        return found | {name: found[name][:, 0] for name in ("label", "along_valid")}

    return work


def positions(config) -> tuple[float, ...]:
    """From the image at -1 over the flip at 0 to the end of the budget at 1, evenly on each side."""
    number = config.along.num_positions
    return tuple(i / number for i in range(-number, number + 1))


def _said(logits: Logits) -> dict[str, jax.Array]:
    """What a member says of inputs; the tracked class is its prediction."""
    prediction = jnp.argmax(logits, axis=-1).astype(jnp.int32)
    return {"prediction": prediction, "log_odds": objectives.log_odds(logits, prediction)}


def _arranged(config, values: xr.Dataset) -> xr.Dataset:
    """Values (member, input, example) by way and position, and by side and log-odds."""
    number, found = len(positions(config)), {}
    cut = len(way.WAYS) * number
    for name, one in values.items():
        array = one.transpose("member", "input", "example").values
        members, _, examples = array.shape
        for prefix, dims, part in (
            ("along", ("way", "position"), array[:, :cut]),
            ("across", ("side", "at_log_odds"), array[:, cut:]),
        ):
            found[f"{prefix}_{name}"] = ("member", *dims, "example"), part.reshape(members, 2, -1, examples)
    coords = {"way": list(way.WAYS), "side": list(way.SIDES), "position": np.asarray(positions(config), np.float32)}
    coords |= {"at_log_odds": np.asarray(config.along.log_odds, np.float32), "example": values.example}
    return described(xr.Dataset(found, coords), EXPERIMENT.schema)
