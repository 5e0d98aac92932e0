"""What the stages of the measures do with a chunk of inputs: one entry a measure."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from landscape import ensembles, objectives, runs
from landscape.experiments import setting
from landscape.experiments.base import run_once
from landscape.experiments.flatness import COMPUTED
from landscape.experiments.flatness.config import first_noise
from landscape.experiments.setting import Setting, example_keys, stage_key
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

# Pixels in a chunk of each stage: about 1 - 5 s of work on two cores for the default classifier.
CHUNK_PIXELS = {"search": 16 * 784, "flatness": 16 * 784, "worst": 64 * 784, "curvature": 32 * 784, "weight": 32 * 784}
CHUNK_PIXELS |= {"relative": 64 * 784, "linearity": 64 * 784, "certified": 16 * 784, "spectrum": 32 * 784}
CHUNK_PIXELS |= {"tangent": 32 * 784, "along": 32 * 784}
MOST_TRAINING = 100_000  # training images among which neighbours are looked for
LINEAR = ("probability_drop", "margin_drop")  # of the linearised classifier

Chunk = Mapping[str, jax.Array]
Work = Callable[..., dict[str, Any]]


def chunk_size(stage: str, x: np.ndarray) -> int:
    """Examples a chunk: fewer of larger images; chunks as even as they go."""
    most = max(4, ensembles.roominess() * CHUNK_PIXELS[stage] // x[0].size)
    return -(-len(x) // -(-len(x) // most))


def tangents(config, run: runs.Run, prepared: Setting, images: xr.Dataset, suffix: str) -> xr.Dataset:
    """The directions in which the training images nearest to each image lie, of which inputs are made."""

    def work() -> dict[str, Any]:
        training = setting.examples(prepared.dataset, "train", MOST_TRAINING, 0)
        return {"tangent": local_directions(images.origin.values, training.x, **config.tangent)}

    return run_once(run, f"tangents{suffix}", work, COMPUTED)


def member_keys(config, prepared: Setting, stage: str) -> jax.Array:
    """One key a member, [S], by its seed."""
    seeds = jnp.asarray([m["seed"] for m in prepared.members], jnp.uint32)
    return jax.vmap(jax.random.fold_in, (None, 0))(stage_key(config.seed, stage), seeds)


def measures(config, prepared: Setting, levels: xr.Dataset) -> Iterator[tuple[str, Work]]:
    """(name, work) of config.measures, but for that of all examples at once.

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
    for name, measure in _of_one_classifier(config, prepared, levels).items():
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


def _of_one_classifier(config, prepared: Setting, levels: xr.Dataset) -> dict[str, Callable]:
    """Measures of one member at one batch, by name."""
    apply, about = prepared.classifier.apply, config.certified
    rho = config.worst.rho_fraction * config.search.epsilon
    ball = {"apply": apply, "norm": config.search.norm, "rho": rho, "num_steps": config.worst.num_steps}
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
