"""What is measured of the results of the experiment `noise`: by the source, by the judges, by another autoencoder."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from landscape import objectives, runs
from landscape.ensembles import map_members
from landscape.experiments.noise_search import MATCHINGS, Found
from landscape.experiments.noise_setting import NoiseSetting, Search
from landscape.experiments.setting import example_keys
from landscape.measures.curvature import curvature
from landscape.measures.flatness import flatness
from landscape.measures.linearity import linearity
from landscape.spaces import l2_norm
from landscape.types import Arrays

MEASURES = (
    "success",
    "transfer",
    "margin",
    "margin_drop",
    "linearity",
    "gradient_norm",
    "hessian_top",
    "manifold",
    "distance",
)
PICTURED = 6  # images


def measurer(config, noisy: NoiseSetting):
    """program(found, keys, label, true_label, toward, sigma) -> (measures, of the start), [S, ...] each.

    One program for all searches: what they differ in are numbers. `transfer` is told for each judge, the source itself
    among them.
    """
    apply, section = noisy.classifier.apply, config.measure

    def member(own, other, images, start, sources, keys, label, true_label, toward, sigma):
        def hit(logits):
            predicted = jnp.argmax(logits, axis=-1)
            return jnp.where(toward, predicted == label, predicted != label).astype(jnp.float32)

        def one(x):
            logits = apply(own, x)
            tracked = jnp.argmax(logits, axis=-1)
            flat = flatness(keys, own, x, tracked, apply=apply, sigmas=sigma[None], num_trials=section.num_trials)
            counts = {"num_steps": section.num_lanczos, "num_probes": section.num_probes}
            bent = curvature(keys, own, x, tracked, apply=apply, **counts)
            rho = sigma * float(x[0].size) ** 0.5
            stray = linearity(
                keys,
                own,
                x,
                tracked,
                apply=apply,
                norm="l2",
                rho=rho,
                value_fn=objectives.margin,
                num_steps=section.num_linearity,
            )
            return {
                "success": hit(logits),
                "transfer": jax.lax.map(lambda judge: hit(apply(judge, x)), sources),
                "margin": objectives.margin(logits, tracked),
                "margin_drop": flat["margin_drop"][0],
                "linearity": stray,
                "gradient_norm": bent["gradient_norm"],
                "hessian_top": bent["hessian_top"],
                "manifold": l2_norm(noisy.cell.reconstruct(other, x, label) - x),
                "distance": l2_norm(x - start),
            }

        flat_images = jnp.concatenate([images.reshape(-1, *start.shape), start[None]])
        told = jax.lax.map(one, flat_images)
        right = jax.lax.map(lambda judge: jnp.argmax(apply(judge, start), axis=-1) == true_label, sources)
        shape = images.shape[:2]
        results = {name: value[:-1].reshape(*shape, *value.shape[1:]) for name, value in told.items()}
        return results, {n: value[-1] for n, value in told.items() if n != "distance"} | {
            "right": jnp.all(right, axis=0)
        }

    others = jax.tree.map(lambda leaf: jnp.roll(leaf, -1, axis=0), noisy.cell.ensemble)
    program = jax.jit(lambda shared, *a: map_members(member, *a, shared=shared, how=noisy.how))

    def measured(found: Found, keys, label, true_label, toward, sigma):
        shared = (noisy.sources, keys, label, true_label, jnp.asarray(toward), jnp.float32(sigma))
        return program(shared, noisy.sources, others, found.images, found.start)

    return measured


def compared(
    config, run: runs.Run, noisy: NoiseSetting, search: Search, tuning: Arrays, program: Callable[..., Found], measured
) -> Arrays:
    """Every arm's results on the test images, in chunks.

    MEASURES [matching, arm, member, example], transfer [matching, arm, source, target, example] among them, whose
    sources and targets are the same members; the same of where searches start, start_MEASURE; reached [matching, arm,
    member, example], goal and way [arm, member, example] of the ends, right [member, example]: whether all sources,
    judges among them, classify the start rightly; picture and picture_start of the first source.
    """
    chosen = noisy.test
    label = search.label(chosen, noisy.num_classes, config.seed)
    keys = example_keys(config.seed, f"noise.measure.{search.name}", chosen.ids)
    sigma = config.measure.level * float(tuning["length_pixels"][1]) / chosen.x[0].size ** 0.5
    step_sizes, length = tuning["chosen"][1], tuning["length"][1]
    cells = ("matching", "arm", "member", "example")
    pixel = ("height", "width", "channel")

    def work(start: int, stop: int) -> Arrays:
        rows = slice(start, stop)
        found = program(jnp.asarray(chosen.x[rows]), jnp.asarray(label[rows]), step_sizes, length)
        told, of_start = measured(
            found, keys[rows], jnp.asarray(label[rows]), jnp.asarray(chosen.label[rows]), search.toward, sigma
        )
        told["reached"] = found.reached
        arrays: Arrays = {n: (dims_of(n, cells), np.moveaxis(np.asarray(v), (0, 2), (2, 0))) for n, v in told.items()}
        for name in ("goal", "way"):
            arrays[name] = (cells[1:], np.moveaxis(np.asarray(getattr(found, name)), 0, 1))
        for name, value in of_start.items():
            told_as = name if name == "right" else f"start_{name}"
            arrays[told_as] = (dims_of(name, ("member", "example")), np.asarray(value))
        arrays["picture"] = (("arm", "example", *pixel), np.asarray(found.images[0, :, MATCHINGS.index("norm")]))
        arrays["picture_start"] = (("example", *pixel), np.asarray(found.start[0]))
        return arrays

    arrays = runs.chunks(run, f"search.{search.name}", work, len(chosen.label), config.noise.num_validation)
    for name in ("picture", "picture_start"):
        dims, values = arrays[name]
        axis = dims.index("example")
        dims = tuple("shown" if dim == "example" else dim for dim in dims)
        arrays[name] = (dims, np.take(values, np.arange(min(PICTURED, values.shape[axis])), axis=axis))
    return arrays | {"sigma": ((), np.float32(sigma))}


def dims_of(name: str, dims: tuple[str, ...]) -> tuple[str, ...]:
    """Dims of a measure: the transfer has a source and a target in the place of the member."""
    pair = ("source", "target") if name == "transfer" else ("member",)
    return tuple(part for dim in dims for part in (pair if dim == "member" else (dim,)))
