"""Ascents of a class, guided by one classifier and by several, and what classifiers that take no part say of them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from landscape import ensembles, objectives, spaces
from landscape.ensembles import map_members
from landscape.experiments.descriptions import Layer
from landscape.experiments.gradients.spaces import STARTS, AscentSpace, alone, guides_of, held_out_of, normal, starts
from landscape.experiments.setting import Examples, Setting, example_keys, stage_key, targets_of
from landscape.measures import neighbors
from landscape.measures.flatness import flatness
from landscape.objectives import GUIDES, Objective
from landscape.samplers import fixed
from landscape.search import SearchResult, normalized_steps, search
from landscape.spaces import Space
from landscape.types import Ensemble

STEEPEST = "steepest"
NUM_STARTS_SHOWN = 4


def rule(name: str, length: float, dim: int) -> optax.GradientTransformation:
    """Steps of about an L2 length: normalised steepest ascent, or any optimiser of optax with its learning rate.

    Adaptive rules move every coordinate by about their rate, so that one is length / sqrt(D). Steps that fall to zero
    end no higher: on validation digits, ascents in the latent of a VAE reach 0.79 with them and 0.81 without.
    """
    return normalized_steps(length) if name == STEEPEST else getattr(optax, name)(length / dim**0.5)


def ascend(
    settings, space: AscentSpace, moves: Space, objective: Objective, guide, key: jax.Array, z0, target, num_frames: int
) -> tuple[SearchResult, Any]:
    """An ascent from points z0 [n, ...], and what is decoded on its way, [F + 1, n, ...], of the start first.

    Args:
      settings: its rule, step, radius (0: none) and number of steps, in units of the space.
      moves: the space as `search` takes it.
    """
    found = search(
        key,
        z0,
        target,
        objective=objective,
        space=moves,
        sampler=fixed(guide),
        optimizer=rule(settings.rule, settings.step * space.size, int(np.prod(space.shape))),
        epsilon=settings.radius * space.size if settings.radius else jnp.inf,
        num_steps=settings.num_steps,
        frames=num_frames,
    )
    return found, lax.map(moves.decode, jnp.concatenate([z0[None], found.frames]))


# ---- ascents that one classifier guides ----


def objective_of(config, space: AscentSpace, own) -> tuple[Objective, Callable[[Space], Space]]:
    """The objective of ascents with what it takes off, and what the space becomes so that it can.

    value(c) - total_variation TV(x) + prior log p(z): the prior needs the latent, so that decode gives (x, z) there.
    """
    plain = objectives.ascend(space.apply, objectives.VALUES[config.ascent.value])
    rough, likely = config.ascent.total_variation, config.ascent.prior

    def objective(guide, decoded, target):
        x, z = decoded
        value = plain(guide, x, target)
        if rough and space.kind != "layer":
            value = value - rough * objectives.total_variation(x)
        if likely and space.log_prior is not None:
            value = value + likely * space.log_prior(own, z)
        return value

    return objective, lambda space: space._replace(decode=lambda z: (space.decode(z), z))


def ascents(
    config, prepared: Setting, space: AscentSpace, layer: Layer, images: Examples, classes: np.ndarray
) -> dict[str, np.ndarray]:
    """Ascents of every class from every start by each of the first `config.num_alone` classifiers.

    Args:
      layer: training images, or what they are in the hidden layer that the space is.
      images: to start from.

    Returns:
      Arrays by name. Pictures are of the first classifier; of hidden layers they are the nearest training images, and
      the held-out classifiers have nothing to say there.
    """
    num_classes, n = len(prepared.dataset.class_names), len(images.label)
    rows = (config.num_alone, len(STARTS), n, num_classes)
    guides, how = alone(config, space.guides)
    key = stage_key(config.seed, f"ascent.{space.name}")
    target = jnp.tile(jnp.arange(num_classes, dtype=jnp.int32), len(STARTS) * n)

    def member(guide, own, held_out, x, eps):
        objective, with_latent = objective_of(config, space, own)
        moves = with_latent(space.space(own, guide))
        z0 = jnp.repeat(starts(space, own, guide, x, eps), num_classes, axis=0)
        found, (seen, _) = ascend(
            config.ascent, space, moves, objective, guide, key, z0, target, config.ascent.num_frames
        )
        ends = {
            "ascent_probability": objectives.probability(space.apply(guide, seen[-1]), target),
            "ascent_moved": spaces.l2_norm(seen[-1] - seen[0]),
        }
        if space.kind != "layer":
            of = lambda v: objectives.probability(prepared.classifier.apply(v, seen[-1]), target)  # noqa: E731
            ends["ascent_held_out"] = lax.map(of, held_out).mean(axis=0)
        return ends, found.value, seen

    program = jax.jit(lambda guides, *shared: map_members(member, guides, shared=shared, how=how))
    shared = (held_out_of(config, prepared), jnp.asarray(images.x), normal(config, space, "ascent", images.ids))
    ends, value, seen = jax.tree.map(np.asarray, program(guides, space.own, *shared))
    ends["ascent_nearest"] = np.stack([_nearest(layer, seen[s, -1], s, space)[0] for s in range(config.num_alone)])
    pictures = seen[0]
    if space.kind == "layer":
        pictures = layer.training.x[_nearest(layer, pictures.reshape(-1, *space.shape), 0, space)[1]]
    pictures = pictures.reshape(-1, *rows[1:], *pictures.shape[-3:])
    course = pictures[:, :, :, course_class(prepared, images)]
    return {
        **{name: end.reshape(rows) for name, end in ends.items()},
        "ascent_value": value.reshape(rows[0], -1, *rows[1:]),
        "picture_course": np.moveaxis(course, 0, 2),
        "picture_end": pictures[-1, :, 0][:, classes],
    }


def _nearest(layer: Layer, queries: np.ndarray, member: int, space: AscentSpace) -> tuple[np.ndarray, np.ndarray]:
    """Distance and index of the training point nearest to each of a member's queries [Q, ...]."""
    points, scale = layer.training_points[member if len(layer.training_points) > 1 else 0], 1.0
    if space.kind == "layer":  # points are standardised there, queries are not: distances are in the layer's own units
        mean, scale = (np.asarray(space.guides[name])[member] for name in ("mean", "scale"))
        queries = (queries - mean) / scale
    distance, index = neighbors.nearest(queries, points, 1)
    return np.asarray(distance)[:, 0] * scale, np.asarray(index)[:, 0]


def course_class(prepared: Setting, images: Examples) -> int:
    """The first class that no start is of, so that every start has to move; the first class where there is none."""
    free = np.setdiff1d(np.arange(len(prepared.dataset.class_names)), images.label)
    return int(free[0]) if len(free) else 0


# ---- ascents that several classifiers guide ----


def blocks_of(config, guides: Ensemble, size: int) -> Ensemble:
    """Disjoint blocks of `size` classifiers, [B, size, ...], at most `config.guided.num_blocks`: repetitions."""
    count = min(max(config.guided.sizes) // size, config.guided.num_blocks)
    return ensembles.take(guides, np.arange(count * size).reshape(count, size))


def guided(
    config, prepared: Setting, space: AscentSpace, layer: Layer, together: Examples, distance: float
) -> dict[str, np.ndarray]:
    """Ascents guided by blocks of every size, by every objective; each start has one class to raise.

    Args:
      layer: of the images, whose training images ends are compared with.
      together: images to start from; noise and zeros are as many.
      distance: L2 distance from the start, pixels, at which objectives are compared, since some go less far.

    Returns:
      Arrays by name, means over blocks.
    """
    rows, image = (len(STARTS), len(together.label)), together.x.shape[1:]
    per_size, pictures = [], []
    for size in config.guided.sizes:
        values, begun, ends = led_by(config, prepared, space, size, together, distance)
        near = neighbors.nearest(ends.reshape(-1, *image), layer.training_points[0], 1)[0]
        values["guided_nearest"] = np.asarray(near).reshape(ends.shape[:3])
        # Means over blocks; of one classifier all objectives are the same, and the first alone was run.
        means = {name: value.mean(axis=0) for name, value in values.items()}
        per_size.append({name: np.broadcast_to(mean, (len(GUIDES), *mean.shape[1:])) for name, mean in means.items()})
        pictures.append(np.broadcast_to(ends[0], (len(GUIDES), *ends.shape[2:])))
    stacked = {name: np.stack([means[name] for means in per_size]) for name in per_size[0]}
    found = {name: one.reshape(*one.shape[:-1], *rows).astype(np.float32) for name, one in stacked.items()}
    pictured = pictured_starts(targets(config, prepared, together))
    found["picture_guided"] = np.stack(pictures).reshape(len(pictures), len(GUIDES), *rows, *image)[:, :, :, pictured]
    found["picture_guided_start"] = begun[0, 0].reshape(*rows, *image)[:, pictured]
    return found


def led_by(
    config, prepared: Setting, space: AscentSpace, size: int, together: Examples, distance: float
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """(values by name, starts, ends) of ascents that blocks of one size guide: [block, objective, ...] each."""
    settings, apply = config.guided, prepared.classifier.apply
    target = jnp.tile(jnp.asarray(targets(config, prepared, together)), len(STARTS))
    keys = jnp.concatenate([example_keys(config.seed, f"guided.flatness.{kind}", together.ids) for kind in STARTS])
    key, value_fn = stage_key(config.seed, f"guided.{space.name}"), objectives.VALUES[settings.value]
    noise = {"sigmas": jnp.asarray([settings.sigma]), "num_trials": settings.num_trials}

    def led(block, own, held_out, keys, x, eps, name):
        z0, moves, objective = starts(space, own, None, x, eps), space.space(own, None), GUIDES[name](apply, value_fn)
        _, images = ascend(settings, space, moves, objective, block, key, z0, target, settings.num_steps)

        def along(variables):
            """Probability of the target at every step, [T + 1, N]."""
            return lax.map(lambda x: objectives.probability(apply(variables, x), target), images)

        def at_end(variables):
            """Margin of the classifier's own prediction there, and how far that falls under noise, [N] each."""
            logits = apply(variables, images[-1])
            label = jnp.argmax(logits, axis=-1)
            drop = flatness(keys, variables, images[-1], label, apply=apply, **noise)["margin_drop"][0]
            return objectives.margin(logits, label), drop

        held, (margin, drop) = lax.map(lambda variables: (along(variables), at_end(variables)), held_out)
        moved = lax.map(lambda x: spaces.l2_norm(x - images[0]), images)
        there = moved >= distance
        reached, first = jnp.any(there, axis=0), jnp.argmax(there, axis=0)
        return {
            "guided_held_out": held,
            "guided_probability": lax.map(along, block).mean(axis=0),
            "guided_moved": moved[-1],
            "guided_reached": reached.astype(moved.dtype),
            "guided_held_out_there": reached[None] * held[:, first, jnp.arange(len(first))],
            "guided_margin": margin,
            "guided_margin_drop": drop,
        }, *(images[step] for step in (0, -1))

    def by_each(block, *shared):
        names = tuple(GUIDES)[: None if size > 1 else 1]
        return jax.tree.map(lambda *each: jnp.stack(each), *(led(block, *shared, name) for name in names))

    blocks = blocks_of(config, guides_of(config, prepared), size)
    how = ensembles.parse(config.mapping, ensembles.size(blocks))
    shared = (space.own, held_out_of(config, prepared), keys, jnp.asarray(together.x))
    shared += (normal(config, space, "guided", together.ids),)
    found = jax.jit(lambda b, *s: map_members(by_each, b, shared=s, how=how))(blocks, *shared)
    return jax.tree.map(np.asarray, found)


def targets(config, prepared: Setting, together: Examples) -> np.ndarray:
    """The class that each start's guided ascent raises, another than its own."""
    return targets_of(together.label, len(prepared.dataset.class_names), config.seed)


def pictured_starts(target: np.ndarray) -> np.ndarray:
    """Numbers of the first starts whose targets differ, then of the others."""
    first = np.sort(np.unique(target, return_index=True)[1])
    others = np.setdiff1d(np.arange(len(target)), first)
    return np.concatenate([first, others])[:NUM_STARTS_SHOWN]
