"""The stages of a flatness run: audit, noise levels, search of the populations, neighbours, a stage a measure."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from landscape import ensembles, objectives, populations, runs
from landscape.attacks import projected
from landscape.attacks.projected import Budget
from landscape.ensembles import Rows, map_members
from landscape.experiments import audits, setting
from landscape.experiments.base import Stage, run_once, run_stage
from landscape.experiments.flatness import COMPUTED
from landscape.experiments.flatness.config import first_noise
from landscape.experiments.inputs import read_inputs
from landscape.experiments.setting import Setting, example_keys, stage_key
from landscape.measures import neighbors
from landscape.measures.curvature import curvature
from landscape.measures.flatness import CLIPPED, ensemble_flatness, ensemble_linear_drops
from landscape.measures.mapping import ensemble_measure
from landscape.measures.relative_flatness import relative_flatness
from landscape.measures.weight_sharpness import ensemble_weight_sharpness
from landscape.measures.worst_case import worst_case
from landscape.models import contract
from landscape.spaces import l2_norm

# Pixels in a chunk of each stage: about 1 - 5 s of work on two cores for the default classifier.
CHUNK_PIXELS = {"search": 16 * 784, "flatness": 16 * 784, "worst": 64 * 784, "curvature": 32 * 784, "weight": 32 * 784}
CHUNK_PIXELS |= {"relative": 64 * 784}
MOST_TRAINING = 100_000  # training images among which neighbours are looked for
LINEAR = ("probability_drop", "margin_drop")  # of the linearised classifier
PROPORTIONAL = ("multiplicative", "envelope")  # kinds of noise whose length follows the image
NUM_SHOWN = 16  # examples pictured

Chunk = Mapping[str, jax.Array]
Work = Callable[..., dict[str, Any]]


def compute(config, run: runs.Run) -> xr.Dataset:
    """Every array of a run; what is on disk is not computed again."""
    mine = read_inputs(config.inputs, setting.load(config)[0]) if config.inputs else None  # before any long work
    prepared = setting.prepare(config, run)
    test = setting.examples(prepared.dataset, "test", config.flatness.num_examples, config.seed)
    if "relative" in config.measures and has_last_layer(prepared):
        one = ensembles.take(prepared.ensemble, 0)
        contract.check_last_layer(
            "relative among the measures", config.model.name, prepared.classifier, one, jnp.asarray(test.x[:8])
        )
    audit = audits.audit_dataset(config, run, prepared, budget_of(config))
    levels = levels_stage(config, run, prepared)
    data = by_population(measured(config, run, prepared, setting.as_dataset(test), inputs_of(config), levels))
    data = data.merge(neighbours(run, prepared, test, data))
    data["pictures"] = pictures(data, prepared)
    data = data.drop_vars("inputs")
    if mine is not None:
        user = measured(config, run, prepared, setting.as_dataset(*mine), ("clean",), levels, suffix="_user")
        data = with_user(data, user.drop_vars(["inputs", "valid"]))
    data = data.merge(audit).merge(levels).assign_coords(setting.coordinates(prepared))
    return data.assign_attrs(epsilon=config.search.epsilon, norm=config.search.norm)


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

    budget = budget_of(config, float(levels.iso_log_odds))
    found = stage("search", search(config, prepared, names, budget), images, own=jnp.asarray(~prepared.trained))
    inputs = images[["origin"]].merge(found[["inputs", "prediction", "label"]])
    parts = [stage(name, work, inputs) for name, work in measures(config, prepared, levels)]
    return xr.merge([found, *parts]).assign_coords(input=list(names))


def chunk_size(stage: str, x: np.ndarray) -> int:
    """Examples a chunk: fewer of larger images; chunks as even as they go."""
    most = max(4, ensembles.roominess() * CHUNK_PIXELS[stage] // x[0].size)
    return -(-len(x) // -(-len(x) // most))


def search(config, prepared: Setting, names: tuple[str, ...], budget: Budget) -> Work:
    """The inputs made of each example, with what each member says of them."""
    apply = prepared.classifier.apply

    def member(variables, own, keys, x, origin, label):
        # A control member has no true classes to speak of: its own clean prediction takes their place.
        label = jnp.where(own, jnp.argmax(apply(variables, x), axis=-1).astype(label.dtype), label)
        made = populations.make(keys, variables, x, label, apply=apply, budget=budget) if len(names) > 1 else x[None]
        if "augmented" in names:
            further = populations.augmented(variables, x, config.augmented.epsilon, apply=apply)
            made = jnp.concatenate([made, further[None]])
        seen = populations.outcome(variables, made, origin, label, apply=apply)
        rounded = populations.outcome(variables, jnp.round(made * 255) / 255, origin, label, apply=apply)
        wanted = populations.wanted_log_odds(seen.log_odds[names.index("clean")], budget)
        masks = populations.valid(seen, label, wanted, names)
        valid = jnp.stack([*masks.values()])
        kept = rounded.prediction == seen.prediction
        found = {"inputs": made, "label": label[None], "valid": valid, "survives_8_bits": kept, **seen._asdict()}
        return {name: jnp.moveaxis(value, 1, 0) for name, value in found.items()}

    def work(chunk: Chunk, ensemble, own) -> dict[str, jax.Array]:
        keys = example_keys(config.seed, "search", chunk["example"])
        images = (keys, chunk["x"], chunk["origin"], chunk["true_label"])
        found = map_members(member, ensemble, own, shared=tuple(map(Rows, images)), how=prepared.how)
        found = {name: jnp.moveaxis(value, 2, 1) for name, value in found.items()}
        return found | {"label": found["label"][:, 0]}

    return work


def measures(config, prepared: Setting, levels: xr.Dataset) -> Iterator[tuple[str, Work]]:
    """(name, work) of config.measures."""
    apply, how = prepared.classifier.apply, prepared.how

    def keys(name: str, chunk: Chunk) -> jax.Array:
        return example_keys(config.seed, name, chunk["example"])

    def named(prefix: str, found: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        return {f"{prefix}_{name}": value for name, value in found.items()}

    def per_member(name: str, measure) -> Work:
        return lambda chunk, ensemble: ensemble_measure(
            measure, keys(name, chunk), ensemble, chunk["inputs"], chunk["prediction"], how=how
        )

    if "flatness" in config.measures:
        options = {"num_trials": config.flatness.num_trials, "how": how, "apply": apply}
        every = {"kinds": tuple(config.flatness.noises), "sigmas": jnp.asarray(levels.sigma.values, jnp.float32)}
        kind = first_noise(config.flatness.noises)
        main = jnp.asarray(levels.sigma.sel(noise=kind).values, jnp.float32)

        def noisy(chunk: Chunk, ensemble) -> dict[str, jax.Array]:
            at, own = (keys("flatness", chunk), ensemble, chunk["inputs"], chunk["prediction"]), chunk["origin"]
            found = named("input", ensemble_flatness(*at, chunk["label"], own, **every, **options))
            if kind == CLIPPED:  # no multiple of sigma
                return found
            linear = ensemble_linear_drops(*at, own, kind=kind, sigmas=main, **options)
            return found | named("linear", {name: linear[name] for name in LINEAR})

        yield "flatness", noisy
    if "worst" in config.measures:
        rho = config.worst.rho_fraction * config.search.epsilon
        steps = {"num_steps": config.worst.num_steps, "num_restarts": config.worst.num_restarts}
        yield "worst", per_member("worst", partial(worst_case, apply=apply, norm=config.search.norm, rho=rho, **steps))
    if "curvature" in config.measures:
        counts = {"num_steps": config.curvature.num_lanczos, "num_probes": config.curvature.num_probes}
        yield "curvature", per_member("curvature", partial(curvature, apply=apply, **counts))
    if "weight" in config.measures:
        # Weight noise belongs to the (member, draw): the same draws for all examples and populations.
        seeds = jnp.asarray([m["seed"] for m in prepared.members], jnp.uint32)
        own = jax.vmap(jax.random.fold_in, (None, 0))(stage_key(config.seed, "weight"), seeds)
        draws = {"num_draws": config.weight.num_draws, "kinds": tuple(config.weight.noises), "how": how}
        draws |= {"sigmas": jnp.asarray(config.weight.xi, jnp.float32), "apply": apply}

        def moved(chunk: Chunk, ensemble) -> dict[str, jax.Array]:
            found = ensemble_weight_sharpness(own, ensemble, chunk["inputs"], chunk["prediction"], **draws)
            return named("weight", found)

        yield "weight", moved
    if "relative" in config.measures and has_last_layer(prepared):
        parts = {"features": prepared.classifier.features, "head": prepared.classifier.head}
        yield (
            "relative",
            per_member("relative", partial(relative_flatness, layer=prepared.classifier.layers[-1], **parts)),
        )


def has_last_layer(prepared: Setting) -> bool:
    """Whether the classifier names a last hidden layer; the pixels alone are none."""
    return len(prepared.classifier.layers) > 1


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
