"""The stages of a noise run: accuracy that noise leaves; for each kind of search step sizes on validation images, then
every population on test images; the audit of the search without noise; the grid of step size x draws x radius.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from landscape import objectives, runs, samplers
from landscape.attacks.projected import Budget
from landscape.data import Dataset
from landscape.ensembles import map_members
from landscape.experiments import audits, descriptions, setting, works
from landscape.experiments.base import Quantity, Stage, run_once, run_stage
from landscape.experiments.noise import IMAGE, MEASURED, OF_A_SEARCH, OTHERS, grid, searches
from landscape.experiments.noise.config import MATCHINGS, populations_of
from landscape.experiments.noise.searches import Found, Kind, Search, Sources, search_of, source_keys
from landscape.experiments.setting import example_keys
from landscape.measures.flatness import flatness
from landscape.measures.linearity import linearity
from landscape.spaces import l2_norm
from landscape.training import trajectory

NUM_SHOWN = 6  # images pictured
NORM = MATCHINGS.index("norm")

Program = Callable[..., Found]


def compute(config, run: runs.Run) -> xr.Dataset:
    """Every array of a run; what is on disk is not computed again.

    Each kind of training of a sweep has sources and guides of its own; pictures and audit are those of the first.
    """
    setting.prepare(config, run, partial(check, config))  # all classifiers are trained together
    kinds = setting.by_training(config)
    parts = [_of_training(own, run, f".{k}" if k else "") for k, own in enumerate(kinds)]
    data = xr.concat(parts, "member", data_vars="minimal", coords="minimal", compat="override", join="override")
    populations = populations_of(config)
    return data.assign_coords(
        matching=list(MATCHINGS),
        population=[one.name for one in populations],
        kind=("population", [one.kind for one in populations]),
        radius=("population", [one.radius for one in populations]),
        step_size=np.asarray(config.noise.step_sizes, np.float64),
    ).assign_attrs(epsilon=config.pixels.epsilon, norm=config.pixels.norm)


def check(config, dataset: Dataset) -> None:
    """Refuses a data set with too few images, or images that the autoencoder does not fit."""
    trajectory.check(config, dataset)
    works.check(config, dataset)
    descriptions.check_manifold(config, dataset)


def _of_training(config, run: runs.Run, suffix: str) -> xr.Dataset:
    """The arrays of classifiers that are all trained alike; their stages are named with the suffix."""
    prepared = setting.prepare(config, run)
    sources = searches.prepare(config, run, prepared, suffix)
    kinds = searches.kinds_of(config, populations_of(config))
    parts, found = [accuracy_kept(config, run, sources, kinds)], []
    for name in config.noise.searches:
        search = search_of(config, sources, name)
        program = searches.searcher(config, sources, search, kinds)
        tuned = tuned_on_validation(config, run, sources, search, program)
        tested = compared_on_test(config, run, sources, search, tuned, program)
        found.append(tuned.merge(tested.drop_vars("result", errors="ignore")))
        if config.measures:
            found[-1] = found[-1].merge(measured_by_name(config, run, prepared, sources, search, tested.result.values))
    parts.append(xr.concat(found, xr.Variable("search", list(config.noise.searches)), join="exact"))
    pixels = found[config.noise.searches.index("pixels")] if "pixels" in config.noise.searches else found[0]
    if not suffix and "pixels" in config.noise.searches:
        parts.append(audit(config, run, prepared))
    parts.append(grid.compute(config, run, sources, pixels.sigma.values))
    members = {
        name: ("member", values[: len(sources.seeds)])
        for name, (dims, values) in setting.coordinates(prepared).items()
        if dims == "member"
    }
    return xr.merge(parts, join="exact").assign_coords(members)


def accuracy_kept(config, run: runs.Run, sources: Sources, kinds: Kind) -> xr.Dataset:
    """kept: share of the classifiers of each population that classify validation images rightly.

    They are those of evenly spaced steps of a search; of a frozen draw there is one.
    """
    apply, num_steps = sources.classifier.apply, config.noise.num_evaluations
    x, label = jnp.asarray(sources.validation.x), jnp.asarray(sources.validation.label)
    steps = np.unique(np.linspace(0, num_steps - 1, config.noise.num_accuracy).astype(np.int32))

    def member(own, trajectory, frozen, key, guides, images, kinds, x, label):
        bases = searches.bases_of(own, trajectory, frozen, guides, images)

        def one(kind):
            sampler = searches.sampler_of(config, sources.classifier, bases, kind)

            def right(step):
                drawn = samplers.drawn_at(sampler, key, step)
                return (jnp.argmax(apply(drawn, x), axis=-1) == label).astype(jnp.float32)

            return jnp.mean(jax.lax.map(right, jnp.asarray(steps)), axis=0)

        return jax.lax.map(one, kinds)

    def work() -> dict[str, Any]:
        keys = source_keys(config, "noise.kept", sources.seeds)
        shared = (sources.guides, sources.training, jax.tree.map(jnp.asarray, kinds), x, label)
        program = jax.jit(lambda shared, *a: map_members(member, *a, shared=shared, how=sources.how))
        return {"kept": np.moveaxis(np.asarray(program(shared, *sources.each, keys)), 0, 1)}

    return run_once(run, f"kept{sources.suffix}", work, OTHERS)


def tuned_on_validation(config, run: runs.Run, sources: Sources, search: Search, program: Program) -> xr.Dataset:
    """Step sizes, the length of equal norm and the size of the input noise, by validation images alone.

    Each population takes the step size with which the unperturbed source's log-odds of the goal at the end are
    highest, mean over sources and images.
    """
    shares = np.asarray(config.noise.step_sizes, np.float64)
    chosen, count = sources.validation, len(populations_of(config))

    def work() -> dict[str, Any]:
        images = jnp.asarray(chosen.x), jnp.asarray(search.label(chosen, sources.num_classes, config.seed))
        tried = [program(*images, np.full(count, share), np.zeros(len(sources.seeds))) for share in shares]
        goal = np.stack([np.asarray(found.goal).mean(axis=-1).T for found in tried])
        best = goal.mean(axis=-1).argmax(axis=0)
        length = searches.lengths_of(np.asarray(tried[best[0]].distance[:, 0]), search.radius, config.noise.equal_norm)
        found = program(*images, shares[best], length)
        there = np.asarray(found.reached)[:, 0, NORM]
        distance = np.asarray(jax.vmap(l2_norm)(found.images[:, 0, NORM] - found.start))
        sigma = config.measure.level * float(np.float32(distance[there].mean())) / chosen.x[0].size ** 0.5
        ones = np.ones(len(sources.seeds))
        return {
            "validation_goal": goal,
            "chosen_step_size": shares[best][:, None] * ones,
            "validation_success": np.asarray(found.goal > 0).mean(axis=-1)[:, 0],
            "length": length.astype(np.float32),
            "sigma": np.float32(sigma) * ones.astype(np.float32),
        }

    return run_once(run, f"tune.{search.name}{sources.suffix}", work, OF_A_SEARCH)


def compared_on_test(
    config, run: runs.Run, sources: Sources, search: Search, tuned: xr.Dataset, program: Program
) -> xr.Dataset:
    """Every population's results on the test images, and what is measured of them."""
    chosen, measure = sources.test, measures(config, sources)
    label = search.label(chosen, sources.num_classes, config.seed)
    arrays = {
        "x": (("example", *IMAGE), chosen.x),
        "label": ("example", label),
        "true_label": ("example", chosen.label),
    }
    images = xr.Dataset(arrays, {"example": chosen.ids})
    step_sizes, length, sigma = tuned.chosen_step_size.values[:, 0], tuned.length.values, tuned.sigma.values[0]

    def work(chunk: Mapping[str, Any]) -> dict[str, jax.Array]:
        x, label, true_label = (jnp.asarray(chunk[name]) for name in ("x", "label", "true_label"))
        keys = example_keys(config.seed, f"noise.measure.{search.name}", chunk["example"])
        found = program(x, label, step_sizes, length)
        results, right = measure(found, keys, label, true_label, search.toward, sigma)
        results = {name: jnp.moveaxis(value, (0, 2), (2, 0)) for name, value in results.items()}
        pictures = {"picture": found.images[0, :, NORM], "picture_start": found.start[0]}
        pictures |= {"result": found.images[:, :, NORM]} if config.measures else {}
        return results | pictures | {"right": right}

    schema = (
        OF_A_SEARCH
        | OTHERS
        | {
            name: OF_A_SEARCH[name]._replace(dims=(*OF_A_SEARCH[name].dims[:-4], "example", *IMAGE))
            for name in ("picture", "picture_start")
        }
        | {"result": Quantity((*MEASURED, *IMAGE), "pixels", "results at equal norm")}
    )
    stage = Stage(f"search.{search.name}{sources.suffix}", work, images, config.noise.num_validation, jit=False)
    found = run_stage(run, stage, schema)
    shown = found[["picture", "picture_start"]].isel(example=slice(NUM_SHOWN)).rename(example="shown")
    return found.drop_vars(["picture", "picture_start"]).merge(shown.drop_vars("shown"))


def measured_by_name(
    config, run, prepared: setting.Setting, sources: Sources, search: Search, results: np.ndarray
) -> xr.Dataset:
    """config.measures at the results of a search at equal norm, [S, P, N, H, W, C], by their sources."""
    count = len(sources.seeds)
    own = {"ensemble": sources.ensemble, "members": prepared.members[:count], "trained": prepared.trained[:count]}
    about = {"suffix": f".{search.name}{sources.suffix}", "budget": budget_of(config)}
    return works.measured(
        config, run, prepared._replace(how=sources.how, **own), results, sources.test, MEASURED, **about
    )


def measures(config, sources: Sources) -> Callable[..., tuple[dict[str, jax.Array], jax.Array]]:
    """program(found, keys, label, true_label, toward, sigma) -> (what is measured of results, right), [S, ...] each.

    One program for all searches: what they differ in are numbers.
    """
    apply, section = sources.classifier.apply, config.measure

    def member(own, other, images, start, reached, ensemble, keys, label, true_label, toward, sigma):
        def hit(logits):
            predicted = jnp.argmax(logits, axis=-1)
            return jnp.where(toward, predicted == label, predicted != label).astype(jnp.float32)

        def one(x):
            logits = apply(own, x)
            tracked = jnp.argmax(logits, axis=-1)
            about = (keys, own, x, tracked)
            flat = flatness(*about, apply=apply, sigmas=sigma[None], num_trials=section.num_trials)
            rho = sigma * float(x[0].size) ** 0.5
            ball = {"norm": "l2", "rho": rho, "num_steps": section.num_linearity}
            return {
                "success": hit(logits),
                "transfer": jax.lax.map(lambda target: hit(apply(target, x)), ensemble),
                "margin": objectives.margin(logits, tracked),
                "margin_drop": flat["margin_drop"][0],
                "off_tangent": linearity(*about, apply=apply, value_fn=objectives.margin, **ball),
                "off_manifold": l2_norm(sources.autoencoders.reconstruct(other, x, label) - x),
                "distance": l2_norm(x - start),
            }

        found = jax.lax.map(one, images.reshape(-1, *start.shape))
        found = {name: value.reshape(*images.shape[:2], *value.shape[1:]) for name, value in found.items()}
        right = jax.lax.map(lambda target: jnp.argmax(apply(target, start), axis=-1) == true_label, ensemble)
        return found | {"reached": reached}, jnp.all(right, axis=0)

    others = jax.tree.map(lambda leaf: jnp.roll(leaf, -1, axis=0), sources.autoencoders.ensemble)
    program = jax.jit(lambda shared, *a: map_members(member, *a, shared=shared, how=sources.how))

    def measured(found: Found, keys, label, true_label, toward, sigma):
        shared = (sources.ensemble, keys, label, true_label, jnp.asarray(toward), jnp.float32(sigma))
        return program(shared, sources.ensemble, others, found.images, found.start, found.reached)

    return measured


def audit(config, run: runs.Run, prepared: setting.Setting) -> xr.Dataset:
    """The audit of the default attack at the radius of the searches in pixels, on all members.

    These searches are plain ascents, since how they end is the question here; none bounds a robust accuracy.
    """
    return audits.audit_dataset(config, run, prepared, budget_of(config))


def budget_of(config) -> Budget:
    """What the default attack may spend at the radius of the searches in pixels."""
    epsilon = config.pixels.epsilon
    return Budget(config.pixels.norm, epsilon, epsilon / 10, config.audit.num_steps)
