"""The stages of the measures: levels of noise, the work of each measure on a chunk of inputs, all of them at once."""

import math
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from landscape import ensembles, objectives, presets, runs
from landscape.attacks import projected
from landscape.attacks.projected import Budget
from landscape.data import Dataset
from landscape.ensembles import map_members
from landscape.experiments import audits, setting
from landscape.experiments.base import Stage, described, run_once, run_stage
from landscape.experiments.quantities import MEASURED, VALUES, in_place
from landscape.experiments.setting import Setting, example_keys, stage_key
from landscape.files import UserError
from landscape.measures import spectrum
from landscape.measures.certified import certified_radius
from landscape.measures.curvature import curvature
from landscape.measures.flatness import CLIPPED, ensemble_flatness, ensemble_linear_drops
from landscape.measures.linearity import linearity
from landscape.measures.mapping import ensemble_measure
from landscape.measures.relative_flatness import relative_flatness
from landscape.measures.spectrum import tridiagonals
from landscape.measures.tangent import local_directions, tangent_curvature
from landscape.measures.weight_sharpness import ensemble_weight_sharpness
from landscape.measures.worst_case import worst_case
from landscape.models import contract, external
from landscape.presets.measuring import first_noise
from landscape.spaces import l2_norm
from landscape.training import classifier_members, imported

# Pixels in a chunk of each stage: about 1 - 5 s of work on two cores for the default classifier.
CHUNK_PIXELS = {"search": 16 * 784, "flatness": 16 * 784, "worst": 64 * 784, "curvature": 32 * 784, "weight": 32 * 784}
CHUNK_PIXELS |= {"relative": 64 * 784, "linearity": 64 * 784, "certified": 16 * 784, "spectrum": 32 * 784}
CHUNK_PIXELS |= {"tangent": 32 * 784, "along": 32 * 784, "seen": 64 * 784}
MOST_TRAINING = 100_000  # training images among which neighbours are looked for
NUM_VALIDATION = 128  # images by which levels of noise are set, where `measured` sets them
PROPORTIONAL = ("multiplicative", "envelope")  # kinds of noise whose length follows the image
LINEAR = ("probability_drop", "margin_drop")  # of the linearised classifier

Chunk = Mapping[str, jax.Array]
Work = Callable[..., dict[str, Any]]


def chunk_size(stage: str, x: np.ndarray) -> int:
    """Examples a chunk: fewer of larger images; chunks as even as they go."""
    most = max(4, ensembles.roominess() * CHUNK_PIXELS[stage] // x[0].size)
    return -(-len(x) // -(-len(x) // most))


def levels_stage(
    config, run: runs.Run, prepared: Setting, budget: Budget, count: int, iso_log_odds: str = "clean"
) -> xr.Dataset:
    """Noise levels sigma = r ||delta|| / (sqrt(D) scale), ||delta|| the mean L2 norm of adversarial perturbations; and
    the log-odds that steered searches aim at, NaN for those of each image's own clean version.

    `scale` is 1 but for noise proportional to the image, where it is the images' root mean square: so noise of every
    kind has the length r ||delta||. All is taken on `count` validation images, before any test image is touched.

    budget: of the attack. iso_log_odds: what steered searches aim at, as a config says it.
    """
    apply = prepared.classifier.apply

    def member(variables, keys, x, label):
        full = {name: getattr(budget, name) for name in ("norm", "epsilon", "num_steps", "num_restarts")}
        z = projected.multi_targeted(keys, variables, x, label, apply=apply, **full)
        logits = apply(variables, x)
        return l2_norm(z - x), jnp.argmax(logits, axis=-1) == label, objectives.log_odds(logits, label)

    def work() -> dict[str, Any]:
        chosen = setting.examples(prepared.dataset, "validation", count, config.seed)
        keys = example_keys(config.seed, "levels", chosen.ids)
        program = jax.jit(lambda e, *s: map_members(member, e, shared=s, how=prepared.how))
        norms, right, log_odds = map(np.asarray, program(prepared.ensemble, keys, chosen.x, chosen.label))
        genuine = right & prepared.trained[:, None]
        norm = float(norms[genuine].mean())
        r = np.asarray(config.flatness.levels, np.float64)
        rms = float(np.sqrt(np.square(chosen.x).mean()))
        scale = np.asarray([rms if kind in PROPORTIONAL else 1.0 for kind in config.flatness.noises])
        sigma = r * norm / np.sqrt(chosen.x[0].size)
        aim = np.float32(_aim(iso_log_odds, log_odds[genuine]))
        return {
            "r": r,
            "sigma": sigma[None] / scale[:, None],
            "perturbation_norm": np.float32(norm),
            "iso_log_odds": aim,
        }

    found = run_once(run, "levels", work, MEASURED).set_coords(["r", "sigma"])
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


def tangents(config, run: runs.Run, prepared: Setting, images: xr.Dataset, suffix: str) -> xr.Dataset:
    """The directions in which the training images nearest to each image lie, of which inputs are made."""

    def work() -> dict[str, Any]:
        training = setting.examples(prepared.dataset, "train", MOST_TRAINING, 0)
        return {"tangent": local_directions(images.origin.values, training.x, **config.tangent)}

    return run_once(run, f"tangents{suffix}", work, MEASURED)


def member_keys(config, prepared: Setting, stage: str) -> jax.Array:
    """One key a member, [S], by its seed."""
    seeds = jnp.asarray([m["seed"] for m in prepared.members], jnp.uint32)
    return jax.vmap(jax.random.fold_in, (None, 0))(stage_key(config.seed, stage), seeds)


def measures(config, prepared: Setting, levels: xr.Dataset, budget: Budget) -> Iterator[tuple[str, Work]]:
    """(name, work) of config.measures, but for that of all examples at once. Balls are shares of the budget's.

    A chunk has inputs, prediction [S, P, N], label [S, N], origin, and tangent where that is measured.
    """

    def keys(name: str, chunk: Chunk) -> jax.Array:
        return example_keys(config.seed, name, chunk["example"])

    def per_member(name: str, measure: Callable, *more: str) -> Work:
        return lambda chunk, ensemble: ensemble_measure(
            measure,
            keys(name, chunk),
            ensemble,
            chunk["inputs"],
            chunk["prediction"],
            *(chunk[one] for one in more),
            how=prepared.how,
        )

    if "flatness" in config.measures:
        yield "flatness", _under_input_noise(config, prepared, levels, keys)
    if "weight" in config.measures:
        yield "weight", _under_weight_noise(config, prepared)
    for name, measure in _of_one_classifier(config, prepared, levels, budget).items():
        if name in config.measures:
            yield name, per_member(name, measure, *(("tangent",) if name == "tangent" else ()))


def _under_input_noise(config, prepared: Setting, levels: xr.Dataset, keys: Callable) -> Work:
    options = {"num_trials": config.flatness.num_trials, "how": prepared.how, "apply": prepared.classifier.apply}
    every = {"kinds": tuple(config.flatness.noises), "sigmas": jnp.asarray(levels.sigma.values, jnp.float32)}
    kind = first_noise(config.flatness.noises)
    main = jnp.asarray(levels.sigma.sel(noise=kind).values, jnp.float32)

    def work(chunk: Chunk, ensemble) -> dict[str, jax.Array]:
        at, own = (keys("flatness", chunk), ensemble, chunk["inputs"], chunk["prediction"]), chunk["origin"]
        found = _named("input", ensemble_flatness(*at, chunk["label"], own, **every, **options))
        if kind == CLIPPED:  # no multiple of sigma
            return found
        linear = ensemble_linear_drops(*at, own, kind=kind, sigmas=main, **options)
        return found | _named("linear", {name: linear[name] for name in LINEAR})

    return work


def _under_weight_noise(config, prepared: Setting) -> Work:
    """Weight noise belongs to the (member, draw): the same draws for all examples and populations."""
    own = member_keys(config, prepared, "weight")
    draws = {"num_draws": config.weight.num_draws, "kinds": tuple(config.weight.noises), "how": prepared.how}
    draws |= {"sigmas": jnp.asarray(config.weight.xi, jnp.float32), "apply": prepared.classifier.apply}

    def work(chunk: Chunk, ensemble) -> dict[str, jax.Array]:
        found = ensemble_weight_sharpness(own, ensemble, chunk["inputs"], chunk["prediction"], **draws)
        return _named("weight", found)

    return work


def _of_one_classifier(config, prepared: Setting, levels: xr.Dataset, budget: Budget) -> dict[str, Callable]:
    """Measures of one member at one batch, by name."""
    apply, about = prepared.classifier.apply, config.certified
    rho = config.worst.rho_fraction * budget.epsilon
    ball = {"apply": apply, "norm": budget.norm, "rho": rho, "num_steps": config.worst.num_steps}
    counts = {"num_steps": config.curvature.num_lanczos, "num_probes": config.curvature.num_probes}
    counts |= {"piecewise_linear": prepared.classifier.piecewise_linear}
    size = np.prod(prepared.dataset.images.shape[1:])
    votes = {"num_choosing": about.num_choosing, "num_draws": about.num_draws}
    votes |= {"sigma": about.r * float(levels.perturbation_norm) / float(size) ** 0.5}
    lanczos = {"num_steps": config.spectrum.num_steps, "num_probes": config.spectrum.num_probes}

    def strays(*of):
        values = {"loss": objectives.loss, "margin": objectives.margin}
        return _named("linearity", {name: linearity(*of, value_fn=value, **ball) for name, value in values.items()})

    found = {
        "worst": partial(worst_case, num_restarts=config.worst.num_restarts, **ball),
        "curvature": partial(curvature, apply=apply, **counts),
        "linearity": strays,
        "certified": partial(certified_radius, apply=apply, **votes),
        "spectrum": partial(tridiagonals, apply=apply, **lanczos),
        "tangent": partial(tangent_curvature, apply=apply),
    }
    if len(prepared.classifier.layers) > 1:  # a last hidden layer is named; the pixels alone are none
        parts = {"features": prepared.classifier.features, "head": prepared.classifier.head}
        found["relative"] = partial(relative_flatness, layer=prepared.classifier.layers[-1], **parts)
    return found


def _named(prefix: str, found: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    return {f"{prefix}_{name}": value for name, value in found.items()}


def spectra(config, part: xr.Dataset) -> xr.Dataset:
    """Eigenvalues and their density in the place of Lanczos' matrices, where a stage has those."""
    if "lanczos_diagonal" not in part:
        return part
    nodes, weights = spectrum.quadrature(part.lanczos_diagonal.values, part.lanczos_coupling.values)
    largest = spectrum.largest(nodes, config.spectrum.num_eigenvalues)
    shares, dims = spectrum.density(nodes, weights), part.lanczos_diagonal.dims[2:]
    found = {"hessian_eigenvalues": (("rank", *dims), largest), "spectral_density": (("bin", *dims), shares)}
    coords = {"rank": 1 + np.arange(len(largest)), "bin": spectrum.MIDDLES, "example": part.example}
    return described(xr.Dataset({n: (d, v.astype(np.float32)) for n, (d, v) in found.items()}, coords), MEASURED)


# ---- at the inputs of any experiment ----


def check(config, dataset: Dataset) -> None:
    """Refuses, before training, images and own classifiers on which a measure of config.measures is not defined."""
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
    classifier = setting.classifier_of(config, dataset)
    if len(classifier.layers) == 1:
        return  # no layer is named: this measure is left out
    x = jnp.asarray(setting.examples(dataset, "test", 8, config.seed).x)
    one = imported.one_of(config, classifier, dataset, classifier_members.members_of(config, classifier))
    with external.named(f"{config.model.name}: fails at {classifier.layers[-1]!r}", "expected h; leave the layer out"):
        one = one if classifier.init is None else classifier.init(jax.random.key(config.seed), x[:1])
        contract.check_last_layer("relative among the measures", config.model.name, classifier, one, x)


def measured(
    config,
    run: runs.Run,
    prepared: Setting,
    inputs: np.ndarray,
    images: setting.Examples,
    dims: tuple[str, str, str],
    *,
    suffix: str = "",
    budget: Budget | None = None,
) -> xr.Dataset:
    """Every measure of config.measures at inputs that an experiment compares, named as in `quantities.measured_schema`.

    Numbers are those that `flatness` has of the same inputs: noise on inputs depends on example and trial alone, noise
    on weights on member and draw. Its levels are those of the members that are measured first, for all of a run.

    Args:
      prepared: its members are those measured. inputs: [S, P, N, H, W, C], of every member.
      images: what the inputs of each example are made from. dims: those of the experiment.
      suffix: of the names of stages. budget: of the attack that noise and balls are as large as, or shares of; where
        None that of config.search.
    """
    budget = budget or audits.budget_of(config)
    levels = levels_stage(config, run, prepared, budget, NUM_VALIDATION)
    data = setting.as_dataset(images)[["origin"]]
    data["inputs"] = ((*VALUES, *data.origin.dims[1:]), inputs)
    data["label"] = (("member", "example"), np.broadcast_to(images.label, (len(inputs), len(images.label))))
    if "tangent" in config.measures:
        of = zlib.crc32(np.ascontiguousarray(images.x))  # once for the same images, whoever else is measured there
        data = data.merge(tangents(config, run, prepared, data, f".measured.{of:08x}"))

    def stage(name: str, work: Work) -> xr.Dataset:
        about = (data, chunk_size(name, images.x), {"ensemble": prepared.ensemble})
        return run_stage(run, Stage(f"measured.{name}{suffix}", work, *about), MEASURED)

    seen = stage("seen", _seen(prepared))
    data = data.merge(seen[["prediction"]])
    parts = [spectra(config, stage(name, work)) for name, work in measures(config, prepared, levels, budget)]
    found = xr.merge([seen[["margin"]], *parts]).merge(levels.drop_vars([*levels.data_vars])).drop_vars("example")
    return found.rename({old: new for old, new in in_place(dims).items() if old in {*found.variables, *found.dims}})


def _seen(prepared: Setting) -> Work:
    """What every member says of the inputs; the tracked class is its prediction."""

    def member(variables, inputs):
        def one(x):
            logits = prepared.classifier.apply(variables, x)
            prediction = jnp.argmax(logits, axis=-1).astype(jnp.int32)
            return {"prediction": prediction, "margin": objectives.margin(logits, prediction)}

        return jax.lax.map(one, inputs)

    return lambda chunk, ensemble: map_members(member, ensemble, chunk["inputs"], how=prepared.how)
