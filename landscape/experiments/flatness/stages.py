"""The stages of a flatness run: audit, noise levels, search of the populations, neighbours, a stage a measure."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from landscape import objectives, populations, presets, runs, spaces
from landscape.attacks import projected
from landscape.attacks.projected import Budget
from landscape.data import Dataset
from landscape.ensembles import Rows, map_members
from landscape.experiments import audits, descriptions, setting
from landscape.experiments.base import Stage, described, run_once, run_stage
from landscape.experiments.descriptions import Description
from landscape.experiments.flatness import COMPUTED, along
from landscape.experiments.flatness.works import (
    MOST_TRAINING,
    Chunk,
    Work,
    chunk_size,
    measures,
    member_keys,
    tangents,
)
from landscape.experiments.inputs import read_inputs
from landscape.experiments.setting import Setting, example_keys
from landscape.files import UserError
from landscape.measures import neighbors, spectrum
from landscape.measures.weight_hessian import weight_hessian
from landscape.models import contract, external
from landscape.spaces import l2_norm
from landscape.training import classifier_members, imported
from landscape.types import Apply, Images

PROPORTIONAL = ("multiplicative", "envelope")  # kinds of noise whose length follows the image
NUM_SHOWN = 16  # examples pictured
# Whose Hessian of the weights is looked at: the images that all of a group have in common.
WEIGHED = (("genuine", "boosted", "adversarial"), ("boosted_iso", "adversarial_iso"))


def compute(config, run: runs.Run) -> xr.Dataset:
    """Every array of a run; what is on disk is not computed again."""
    mine = read_inputs(config.inputs, setting.load(config)[0]) if config.inputs else None  # before any long work
    prepared = setting.prepare(config, run, partial(check, config))
    test = setting.examples(prepared.dataset, "test", config.flatness.num_examples, config.seed)
    audit = audits.audit_dataset(config, run, prepared)
    levels = levels_stage(config, run, prepared)
    data = by_population(measured(config, run, prepared, setting.as_dataset(test), inputs_of(config), levels))
    data = data.merge(neighbours(run, prepared, test, data))
    data["pictures"] = pictures(data, prepared)
    if "weight_hessian" in config.measures:
        data = data.merge(weight_hessians(config, run, prepared, data))
    data = data.drop_vars("inputs")
    if mine is not None:
        user = measured(config, run, prepared, setting.as_dataset(*mine), ("clean",), levels, suffix="_user")
        data = with_user(data, user.drop_vars(["inputs", "valid"]))
    if config.along.use:
        way = along.compute(config, run, prepared, levels, budget_of(config))
        data = data.merge(way.reindex(example=data.example, fill_value=_empty(way)))
    data = data.merge(audit).merge(levels).assign_coords(setting.coordinates(prepared))
    return data.assign_attrs(epsilon=config.search.epsilon, norm=config.search.norm)


def check(config, dataset: Dataset) -> None:
    """Refuses images that the autoencoder does not fit, and too few or too small ones for tangent spaces."""
    if "reconstructed" in config.populations:
        descriptions.check_manifold(config, dataset)
    if "tangent" in config.measures:
        half, count = math.prod(dataset.images.shape[1:]) // 2, len(dataset.splits["train"])
        limits = {"dim": (half, "half of the numbers of an image"), "num_neighbors": (count, "the training images")}
        for name, (most, what) in limits.items():
            if config.tangent[name] > most:
                raise UserError(f"tangent.{name}={config.tangent[name]}: expected at most {most}, {what}; take fewer")
    if "relative" in config.measures and presets.is_own(config.model.name):
        _check_last_layer(config, dataset)


def _check_last_layer(config, dataset: Dataset) -> None:
    """Refuses an own classifier whose last layer, as training finds it, is not followed by a dense one."""
    classifier, x = setting.classifier_of(config, dataset), jnp.asarray(setting.examples(dataset, "test", 8, 0).x)
    if len(classifier.layers) == 1:
        return
    one = imported.one_of(config, classifier, dataset, classifier_members.members_of(config, classifier))
    with external.named(f"{config.model.name}: fails at {classifier.layers[-1]!r}", "expected h; leave the layer out"):
        one = one if classifier.init is None else classifier.init(jax.random.key(config.seed), x[:1])
        contract.check_last_layer("relative among the measures", config.model.name, classifier, one, x)


def inputs_of(config) -> tuple[str, ...]:
    """The inputs of a run, "clean" first."""
    return (*populations.INPUTS, *config.populations)


def budget_of(config, iso_log_odds: float = np.nan) -> Budget:
    """What the config's searches may spend; with the log-odds that steered ones aim at, NaN for each image's own."""
    fields = {name: config.search[name] for name in Budget._fields}
    return Budget(**fields | {"iso_log_odds": "clean" if np.isnan(iso_log_odds) else iso_log_odds})


def levels_stage(config, run: runs.Run, prepared: Setting) -> xr.Dataset:
    """Noise levels sigma = r ||delta|| / (sqrt(D) scale), ||delta|| the mean L2 norm of adversarial perturbations; and
    the log-odds that steered searches aim at, NaN for those of each image's own clean version.

    `scale` is 1 but for noise proportional to the image, where it is the images' root mean square: so noise of every
    kind has the length r ||delta||. All is taken on validation images, before any test image is touched.
    """
    budget, apply = budget_of(config), prepared.classifier.apply

    def member(variables, keys, x, label):
        full = {name: getattr(budget, name) for name in ("norm", "epsilon", "num_steps", "num_restarts")}
        z = projected.multi_targeted(keys, variables, x, label, apply=apply, **full)
        logits = apply(variables, x)
        return l2_norm(z - x), jnp.argmax(logits, axis=-1) == label, objectives.log_odds(logits, label)

    def work() -> dict[str, Any]:
        chosen = setting.examples(prepared.dataset, "validation", config.audit.num_examples, config.seed)
        keys = example_keys(config.seed, "levels", chosen.ids)
        program = jax.jit(lambda e, *s: map_members(member, e, shared=s, how=prepared.how))
        norms, right, log_odds = map(np.asarray, program(prepared.ensemble, keys, chosen.x, chosen.label))
        genuine = right & prepared.trained[:, None]
        norm = float(norms[genuine].mean())
        r = np.asarray(config.flatness.levels, np.float64)
        rms = float(np.sqrt(np.square(chosen.x).mean()))
        scale = np.asarray([rms if kind in PROPORTIONAL else 1.0 for kind in config.flatness.noises])
        sigma = r * norm / np.sqrt(chosen.x[0].size)
        aim = np.float32(_aim(config.search.iso_log_odds, log_odds[genuine]))
        return {
            "r": r,
            "sigma": sigma[None] / scale[:, None],
            "perturbation_norm": np.float32(norm),
            "iso_log_odds": aim,
        }

    found = run_once(run, "levels", work, COMPUTED).set_coords(["r", "sigma"])
    found = found.assign_coords(noise=list(config.flatness.noises))
    if "weight" in config.measures:
        xi = np.asarray(config.weight.xi, np.float32)
        found = found.assign_coords(weight_noise=list(config.weight.noises), xi=xi)
    return found


def _aim(wanted: str, genuine: np.ndarray) -> float:
    """Log-odds that a config asks steered searches for: a number, a quantile of `genuine` ones, NaN for "clean"."""
    if wanted == "clean":
        return np.nan
    return float(np.quantile(genuine, float(wanted.split()[1]))) if wanted.startswith("quantile") else float(wanted)


def neighbours(run: runs.Run, prepared: Setting, test: setting.Examples, data: xr.Dataset) -> xr.Dataset:
    """How far the nearest training image of another class is, and which class the one nearest to each adversarial
    input has: whether a perturbation is small, in the data's own units.
    """

    def work() -> dict[str, Any]:
        training = setting.examples(prepared.dataset, "train", MOST_TRAINING, 0)
        adversarial = data.inputs.sel(population="adversarial").transpose("member", "example", ...).values
        flat = adversarial.reshape(-1, *test.x.shape[1:])
        _, index = neighbors.nearest(flat, training.x, 1)
        near = training.label[np.asarray(index)[:, 0]].reshape(adversarial.shape[:2])
        taken = data.prediction.sel(population="adversarial").transpose("member", "example").values
        return {
            "nearest_other": neighbors.nearest_of_another_class(test.x, test.label, training.x, training.label),
            "nearest_taken": near == taken,
        }

    return run_once(run, "neighbours", work, COMPUTED)


def measured(
    config,
    run: runs.Run,
    prepared: Setting,
    images: xr.Dataset,
    names: tuple[str, ...],
    levels: xr.Dataset,
    *,
    suffix: str = "",
) -> xr.Dataset:
    """Inputs `names` of the images and every measure on them, (..., member, input, example).

    Args:
      images: x, origin (images that the "envelope" noise follows) and true_label, by example. suffix: of stage names.
    """
    shared = {"ensemble": prepared.ensemble}

    def stage(name: str, work: Work, inputs: xr.Dataset, **more) -> xr.Dataset:
        chunk = chunk_size(name, images.x.values)
        return run_stage(run, Stage(f"{name}{suffix}", work, inputs, chunk, shared | more), COMPUTED)

    if "tangent" in config.measures:
        images = images.merge(tangents(config, run, prepared, images, suffix))
    budget = budget_of(config, float(levels.iso_log_odds))
    each = {"own": jnp.asarray(~prepared.trained), "key": member_keys(config, prepared, "noisy")}
    coder, manifold = None, ()
    if "reconstructed" in names:
        layer, coder = descriptions.of_images(config, run, prepared)
        manifold = descriptions.manifold(config, coder, layer.training.x)
    found = stage("search", search(config, prepared, names, budget, coder), images, **each, manifold=manifold)
    inputs = images.drop_vars(["x", "true_label"]).merge(found[["inputs", "prediction", "label"]])
    parts = [stage(name, work, inputs) for name, work in measures(config, prepared, levels)]
    return xr.merge([found, *(spectra(config, part) for part in parts)]).assign_coords(input=list(names))


def spectra(config, part: xr.Dataset) -> xr.Dataset:
    """Eigenvalues and their density in the place of Lanczos' matrices, where a stage has those."""
    if "lanczos_diagonal" not in part:
        return part
    nodes, weights = spectrum.quadrature(part.lanczos_diagonal.values, part.lanczos_coupling.values)
    largest = spectrum.largest(nodes, config.spectrum.num_eigenvalues)
    shares, dims = spectrum.density(nodes, weights), part.lanczos_diagonal.dims[2:]
    found = {"hessian_eigenvalues": (("rank", *dims), largest), "spectral_density": (("bin", *dims), shares)}
    coords = {"rank": 1 + np.arange(len(largest)), "bin": spectrum.MIDDLES, "example": part.example}
    return described(xr.Dataset({n: (d, v.astype(np.float32)) for n, (d, v) in found.items()}, coords), COMPUTED)


def weight_hessians(config, run: runs.Run, prepared: Setting, data: xr.Dataset) -> xr.Dataset:
    """The Hessian of each member's weights, of its mean loss over each population of WEIGHED; NaN for others."""
    names = [name for group in WEIGHED for name in group]
    together = [data.valid.sel(population=list(group)).all("population") for group in WEIGHED]
    alike = [
        one.transpose("member", "example").values for one, group in zip(together, WEIGHED, strict=True) for _ in group
    ]
    part = data[["inputs", "prediction"]].sel(population=names)
    part = part.transpose("member", "population", "example", ...)
    counts = {"num_steps": config.weight_hessian.num_steps, "num_probes": config.weight_hessian.num_probes}
    measure = partial(weight_hessian, apply=prepared.classifier.apply, **counts)

    def member(variables, key, x, label, where):
        return jax.lax.map(lambda one: measure(key, variables, *one), (x, label, where))

    def work() -> dict[str, Any]:
        program = jax.jit(lambda *arguments: map_members(member, *arguments, how=prepared.how))
        keys, where = member_keys(config, prepared, "weight_hessian"), np.stack(alike, axis=1)
        found = program(prepared.ensemble, keys, part.inputs.values, part.prediction.values, where)
        whole = {name: np.full((len(where), data.sizes["population"]), np.nan, np.float32) for name in found}
        for name, values in found.items():
            whole[name][:, [data.population.values.tolist().index(one) for one in names]] = values
        return whole

    return run_once(run, "weight_hessian", work, COMPUTED)


def added_inputs(config, name: str, apply: Apply, budget: Budget, coder: Description | None) -> Callable[..., Images]:
    """(keys, variables, x, label, key, manifold) -> the inputs of one of `populations.FURTHER`.

    key: of the classifiers that a search draws. manifold: what `descriptions.manifold` gives for `coder`.
    """

    def make(keys, variables, x, label, key, manifold) -> Images:
        if name == "augmented":
            return populations.augmented(variables, x, config.augmented.epsilon, apply=apply)
        if name == "noisy":
            return populations.noisy(keys, variables, x, label, key, config.noisy.radius, apply=apply, budget=budget)
        weights, radius = manifold
        decode = partial(descriptions.decoder(coder.autoencoder), weights)
        space = spaces.latent(partial(coder.autoencoder.encode, weights), decode)
        if name == "reconstructed":
            return space.decode(space.encode(x))
        ball = {"norm": "l2", "epsilon": radius, "step_size": 0.1 * radius, "num_steps": config.manifold.num_steps}
        return projected.on_manifold(keys, variables, x, label, apply=apply, space=space, **ball)

    return make


def search(config, prepared: Setting, names: tuple[str, ...], budget: Budget, coder: Description | None = None) -> Work:
    """The inputs made of each example, with what each member says of them."""
    apply = prepared.classifier.apply
    more = [added_inputs(config, name, apply, budget, coder) for name in names if name in populations.FURTHER]

    def member(variables, own, key, keys, x, origin, label, manifold):
        # A control member has no true classes to speak of: its own clean prediction takes their place.
        label = jnp.where(own, jnp.argmax(apply(variables, x), axis=-1).astype(label.dtype), label)
        made = populations.make(keys, variables, x, label, apply=apply, budget=budget) if len(names) > 1 else x[None]
        added = [make(keys, variables, x, label, key, manifold)[None] for make in more]
        made = jnp.concatenate([made, *added])
        seen = populations.outcome(variables, made, origin, label, apply=apply)
        rounded = populations.outcome(variables, jnp.round(made * 255) / 255, origin, label, apply=apply)
        wanted = populations.wanted_log_odds(seen.log_odds[names.index("clean")], budget)
        masks = populations.valid(seen, label, wanted, names)
        valid = jnp.stack([*masks.values()])
        kept = rounded.prediction == seen.prediction
        found = {"inputs": made, "label": label[None], "valid": valid, "survives_8_bits": kept, **seen._asdict()}
        return {name: jnp.moveaxis(value, 1, 0) for name, value in found.items()}

    def work(chunk: Chunk, ensemble, own, key, manifold) -> dict[str, jax.Array]:
        keys = example_keys(config.seed, "search", chunk["example"])
        images = map(Rows, (keys, chunk["x"], chunk["origin"], chunk["true_label"]))
        found = map_members(member, ensemble, own, key, shared=(*images, manifold), how=prepared.how)
        found = {name: jnp.moveaxis(value, 2, 1) for name, value in found.items()}
        return found | {"label": found["label"][:, 0]}

    return work


# ---- from inputs as computed to populations as saved ----


def by_population(data: xr.Dataset) -> xr.Dataset:
    """By population instead of by input: the clean input stands twice, as `genuine` and as `natural_error`."""
    inputs = data.input.values.tolist()
    names = [*populations.CLEAN, *inputs[1:]]
    source = [inputs.index(populations.SOURCE[name]) for name in names]
    data = data.drop_vars("input").assign_coords(population=names)
    return data.isel(input=xr.DataArray(source, dims="population"))


def pictures(data: xr.Dataset, prepared: Setting) -> xr.DataArray:
    """The first images that are adversarial and boosted for the first trained member, in all populations."""
    first = data.isel(member=int(np.flatnonzero(prepared.trained)[0]))
    good = first.valid.sel(population=["adversarial", "boosted"]).all("population")
    chosen = np.argsort(~good.values, kind="stable")[:NUM_SHOWN]
    return first.inputs.isel(example=chosen).rename(example="shown").reset_coords(drop=True)


def with_user(data: xr.Dataset, user: xr.Dataset) -> xr.Dataset:
    """A user's inputs behind the test images on the example axis, as the population `user`, valid nowhere else."""
    names = [*data.population.values.tolist(), "user"]
    user = user.rename(input="population").assign_coords(population=["user"])
    user["valid"] = xr.ones_like(user.margin, bool)
    parts = [part.reindex(population=names, fill_value=_empty(part)) for part in (data, user)]
    return xr.concat(parts, "example", data_vars="minimal", join="exact", combine_attrs="override")


def _empty(data: xr.Dataset) -> dict[str, Any]:
    """What stands where a population has no such example."""
    kinds = {"f": np.nan, "b": False}
    return {str(name): kinds.get(variable.dtype.kind, -1) for name, variable in data.data_vars.items()}
