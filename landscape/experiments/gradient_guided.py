"""Stage of `gradients`: one ascent guided by k classifiers together, and what others make of where it ends.

Guides are disjoint blocks of k of the first classifiers, so that blocks of one size are repetitions; judges are the
classifiers that guide nothing. Rows of everything are [kind of start, start]; every start has one class to climb.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from landscape import ensembles, objectives, runs, spaces
from landscape.ensembles import map_members
from landscape.experiments.autoencoder_cells import Layer, reconstruction
from landscape.experiments.autoencoder_use import targets_of
from landscape.experiments.gradient_ascents import ball, rule
from landscape.experiments.gradient_places import KINDS, Place, guides_of, judges_of, normal, starts
from landscape.experiments.latent_families import Family
from landscape.experiments.setting import Examples, Setting, example_keys, stage_key
from landscape.measures import neighbors
from landscape.measures.flatness import flatness
from landscape.runs import Run
from landscape.samplers import fixed
from landscape.search import search
from landscape.types import Arrays, Ensemble

ROWS = ("kind", "guided_start")


def blocks_of(config, guides: Ensemble, size: int) -> Ensemble:
    """Disjoint blocks of `size` classifiers, [B, size, ...], at most `config.guided.num_blocks`."""
    count = min(max(config.guided.sizes) // size, config.guided.num_blocks)
    return ensembles.take(guides, np.arange(count * size).reshape(count, size))


def guided(
    config, run: Run, prepared: Setting, place: Place, layer: Layer, family: Family, test: Examples, far: float
) -> Arrays:
    """Ascents guided by blocks of every size, by every objective.

    Args:
      layer: of the images, whose training images are the bank.
      family: its second autoencoder judges by its reconstruction error.
      test: images to start from; noise and zeros are as many.
      far: L2 distance from the start, pixels, at which objectives are compared, since some go less far than others.

    Returns:
      By `name.place`, means over blocks, NaN where one classifier leaves an objective without meaning:
      guided_held_out [size, guide, judge, guided_t, *ROWS], the start first; guided_own [size, guide, guided_t, *ROWS],
      mean probability of the guides; guided_moved, guided_nearest (pixels), guided_error [size, guide, *ROWS];
      guided_far [size, guide, *ROWS], the share of blocks that go as far as `far`, and guided_held_out_far
      [size, guide, judge, *ROWS], the judges' probability at the first step there, 0 of blocks that do not;
      guided_by_block [size, guide, block, *ROWS], the judges' mean probability at the end, NaN where blocks are fewer;
      guided_margin, guided_margin_drop (logits, of each judge's own prediction under noise of `config.guided.sigma`)
      [size, guide, judge, *ROWS]; picture_guided [size, guide, *ROWS, ...], first block; picture_guided_start.
    """
    settings, n = config.guided, len(test.label)
    guides, judges = guides_of(config, prepared), judges_of(config, prepared)
    apply, rows = prepared.classifier.apply, (len(KINDS), n)
    target = jnp.tile(jnp.asarray(targets_of(test.label, len(prepared.dataset.class_names), config.seed)), len(KINDS))
    x, eps = jnp.asarray(test.x), normal(config, place, "guided", test.ids)
    optimizer = rule(settings.rule, settings.step * place.size, int(np.prod(place.shape)))
    value_fn = objectives.VALUES[settings.value]

    def climb(objective, source, own, x, eps):
        """Images of every step, the start first: [T + 1, N, ...]."""
        space = place.space(own, None)
        z0 = starts(config, place, own, None, x, eps)
        found = search(
            stage_key(config.seed, f"guided.{place.name}"),
            z0,
            target,
            objective=objective,
            space=space,
            sampler=fixed(source),
            optimizer=optimizer,
            epsilon=ball(settings.radius, place.size),
            num_steps=settings.num_steps,
            frames=settings.num_steps,
        )
        return jax.lax.map(space.decode, jnp.concatenate([z0[None], found.frames]))

    def along(classifiers, images):
        """Probability of the target at every step, [classifier, T + 1, N]."""
        one = lambda c: jax.lax.map(lambda x: objectives.probability(apply(c, x), target), images)  # noqa: E731
        return jax.lax.map(one, classifiers)

    def seen(block, judges, images):
        held_out = along(judges, images)
        moved = jax.lax.map(lambda x: spaces.l2_norm(x - images[0]), images)
        there = moved >= far
        gone, first = jnp.any(there, axis=0), jnp.argmax(there, axis=0)
        return {
            "guided_held_out": held_out,
            "guided_own": along(block, images).mean(axis=0),
            "guided_moved": moved[-1],
            "guided_far": gone.astype(moved.dtype),
            "guided_held_out_far": gone[None] * held_out[:, first, jnp.arange(len(first))],
        }, images[-1]

    def by_each(block, own, judges, x, eps, numbers):
        objective = objectives.guided(apply, value_fn, caution=settings.caution)
        return jax.lax.map(lambda i: seen(block, judges, climb(objective, (block, i), own, x, eps)), numbers)

    def of_size(size: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """(values [guide, ...] by name, means over blocks; images [block, guide, N, ...]).

        Of one classifier all objectives but the mean, the first one, say nothing new, and are left out.
        """
        blocks = blocks_of(config, guides, size)
        how = ensembles.parse(config.mapping, ensembles.size(blocks))
        numbers = jnp.arange(len(objectives.GUIDES) if size > 1 else 1)
        shared = (place.own, judges, x, eps, numbers)
        found = jax.jit(lambda b, *s: map_members(by_each, b, shared=s, how=how))(blocks, *shared)
        values, images = jax.tree.map(np.asarray, found)
        by_block = np.moveaxis(values["guided_held_out"][..., -1, :].mean(axis=2), 0, 1)
        means = {name: value.mean(axis=0) for name, value in values.items()}
        return means | {"guided_by_block": _filled(by_block, settings.num_blocks, axis=1)}, images

    judged = _judge(config, prepared, layer, family, judges, test)

    def work() -> Arrays:
        per_size, pictures = [], []
        for size in settings.sizes:
            values, images = of_size(size)
            told = [[judged(image) for image in block] for block in images]
            values |= {
                name: np.stack([np.mean([block[g][name] for block in told], axis=0) for g in range(images.shape[1])])
                for name in told[0][0]
            }
            per_size.append(values)
            pictures.append(images[0])
        count = len(objectives.GUIDES)
        dims = {
            "guided_held_out": ("judge", "guided_t", *ROWS),
            "guided_held_out_far": ("judge", *ROWS),
            "guided_by_block": ("block", *ROWS),
            "guided_own": ("guided_t", *ROWS),
            "guided_margin": ("judge", *ROWS),
            "guided_margin_drop": ("judge", *ROWS),
        }
        arrays: Arrays = {}
        for name in per_size[0]:
            stacked = np.stack([_filled(values[name], count) for values in per_size])
            arrays[f"{name}.{place.name}"] = (
                ("size", "guide", *dims.get(name, ROWS)),
                stacked.reshape(*stacked.shape[:-1], *rows).astype(np.float32),
            )
        drawn = np.stack([_filled(images, count) for images in pictures])
        pixel = ("height", "width", "channel")
        arrays[f"picture_guided.{place.name}"] = (
            ("size", "guide", *ROWS, *pixel),
            drawn.reshape(*drawn.shape[:2], *rows, *x.shape[1:]),
        )
        begun = jax.jit(lambda own, x, eps: place.space(own, None).decode(starts(config, place, own, None, x, eps)))
        arrays[f"picture_guided_start.{place.name}"] = (
            (*ROWS, *pixel),
            np.asarray(begun(place.own, x, eps)).reshape(*rows, *x.shape[1:]),
        )
        arrays["guided_target"] = (("guided_start",), np.asarray(target[:n]))
        return arrays

    return runs.once(run, f"guided.{place.name}", work)


def _judge(config, prepared: Setting, layer: Layer, family: Family, judges: Ensemble, test: Examples) -> Callable:
    """judged(images [N, ...]) -> what is told of where ascents end, by name."""
    apply, settings = prepared.classifier.apply, config.guided
    how = ensembles.parse(config.mapping, ensembles.size(judges))
    other = ensembles.take(family.cell.ensemble, 1)
    reconstruct = reconstruction(family.cell.autoencoder)
    bank = layer.bank_points[0].reshape(len(layer.bank_points[0]), -1)
    keys = jnp.concatenate([example_keys(config.seed, f"guided.flatness.{kind}", test.ids) for kind in KINDS])

    def judge(variables, keys, images):
        logits = apply(variables, images)
        label = jnp.argmax(logits, axis=-1)
        options = {"apply": apply, "sigmas": jnp.asarray([settings.sigma]), "num_trials": settings.num_trials}
        found = flatness(keys, variables, images, label, **options)
        return {"guided_margin": objectives.margin(logits, label), "guided_margin_drop": found["margin_drop"][0]}

    @jax.jit
    def program(judges, keys, images, other):
        again = reconstruct(other, images, None)
        error = jnp.mean(jnp.square((again - images).reshape(images.shape[0], -1)), axis=1)
        return map_members(judge, judges, shared=(keys, images), how=how) | {"guided_error": error}

    def judged(images: np.ndarray) -> dict[str, np.ndarray]:
        found = jax.tree.map(np.asarray, program(judges, keys, jnp.asarray(images), other))
        near = neighbors.nearest(images.reshape(len(images), -1), bank, 1)[0][:, 0]
        return found | {"guided_nearest": np.asarray(near)}

    return judged


def _filled(values: np.ndarray, length: int, axis: int = 0) -> np.ndarray:
    """NaN for what was not run: objectives along the first axis, or blocks along the second."""
    width = [(0, 0)] * values.ndim
    width[axis] = (0, length - values.shape[axis])
    return np.pad(values, width, constant_values=np.nan)
