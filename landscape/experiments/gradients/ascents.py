"""Ascents of a class, guided by one classifier and by several, and what classifiers that take no part say of them."""

from collections.abc import Callable

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
from landscape.search import normalized_steps, search
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


def ball(radius: float, size: float):
    """A radius in units of the space; 0 is none."""
    return radius * size if radius else jnp.inf


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
    config, prepared: Setting, space: AscentSpace, bank: Layer, images: Examples, classes: np.ndarray
) -> dict[str, np.ndarray]:
    """Ascents of every class from every start by each of the first `config.num_alone` classifiers.

    Args:
      bank: training images, or what they are in the hidden layer that the space is.
      images: to start from.

    Returns:
      Arrays by name. Pictures are of the first classifier; of hidden layers they are the nearest training images, and
      the held-out classifiers have nothing to say there.
    """
    settings, count = config.ascent, config.num_alone
    num_classes, n = len(prepared.dataset.class_names), len(images.label)
    rows = (len(STARTS), n, num_classes)
    guides, how = alone(config, space.guides)
    held_out, dim, frames = held_out_of(config, prepared), int(np.prod(space.shape)), settings.num_frames
    key = stage_key(config.seed, f"ascent.{space.name}")
    steps = {"num_steps": settings.num_steps, "frames": frames, "epsilon": ball(settings.radius, space.size)}
    optimizer = rule(settings.rule, settings.step * space.size, dim)
    target = jnp.tile(jnp.arange(num_classes, dtype=jnp.int32), len(STARTS) * n)

    def member(guide, own, held_out, x, eps):
        moves = space.space(own, guide)
        objective, with_latent = objective_of(config, space, own)
        z0 = jnp.repeat(starts(space, own, guide, x, eps), num_classes, axis=0)
        how_far = steps | {"objective": objective, "space": with_latent(moves), "sampler": fixed(guide)}
        found = search(key, z0, target, optimizer=optimizer, **how_far)
        seen = lax.map(moves.decode, jnp.concatenate([z0[None], found.frames]))
        ends = {
            "ascent_probability": objectives.probability(space.apply(guide, seen[-1]), target),
            "ascent_moved": spaces.l2_norm(seen[-1] - seen[0]),
        }
        if space.kind != "layer":
            of = lambda v: objectives.probability(prepared.classifier.apply(v, seen[-1]), target)  # noqa: E731
            ends["ascent_held_out"] = lax.map(of, held_out).mean(axis=0)
        return ends, found.value, seen

    program = jax.jit(lambda guides, *shared: map_members(member, guides, shared=shared, how=how))
    eps = normal(config, space, "ascent", images.ids)
    ends, value, seen = program(guides, space.own, held_out, jnp.asarray(images.x), eps)
    seen = np.asarray(seen)
    points = bank.bank_points.reshape(*bank.bank_points.shape[:2], -1)
    last = seen[:, -1].reshape(count, -1, dim if space.kind == "layer" else points.shape[-1])
    ends["ascent_nearest"] = np.stack([_nearest(points, last, s, space)[0] for s in range(count)])
    pictures = seen[0]
    if space.kind == "layer":
        pictures = bank.bank.x[_nearest(points, pictures.reshape(1, -1, dim), 0, space)[1]]
    pictures = pictures.reshape(frames + 1, *rows, *pictures.shape[-3:])
    course = pictures[:, :, :, course_class(prepared, images)]
    return {
        **{name: np.asarray(end).reshape(count, *rows) for name, end in ends.items()},
        "ascent_value": np.asarray(value).reshape(count, -1, *rows),
        "picture_course": np.moveaxis(course, 0, 2),
        "picture_end": pictures[-1, :, 0][:, classes],
    }


def _nearest(points: np.ndarray, queries: np.ndarray, member: int, space: AscentSpace) -> tuple[np.ndarray, np.ndarray]:
    """Distance and index of the training point nearest to each of a member's queries [S, Q, D]."""
    own = points[member if len(points) > 1 else 0]
    flat = queries[member].reshape(len(queries[member]), -1)
    if space.kind != "layer":
        distance, index = neighbors.nearest(flat, own, 1)
    else:  # points are standardised there, queries are not: distances are in the layer's own units
        mean, scale = (np.asarray(space.guides[name])[member] for name in ("mean", "scale"))
        distance, index = neighbors.nearest((flat - mean.reshape(1, -1)) / scale, own, 1)
        distance = distance * scale
    return np.asarray(distance)[:, 0], np.asarray(index)[:, 0]


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
      Arrays by name, means over blocks, NaN where one classifier leaves an objective without meaning.
    """
    settings, n = config.guided, len(together.label)
    held_out, names = held_out_of(config, prepared), tuple(GUIDES)
    evaluate = evaluation(config, prepared, layer, held_out, together)
    shown = np.concatenate([k * n + pictured_starts(targets(config, prepared, together)) for k in range(len(STARTS))])
    per_size, pictures = [], []
    for size in settings.sizes:
        blocks = blocks_of(config, guides_of(config, prepared), size)
        chosen = names if size > 1 else names[:1]  # of one classifier all objectives are the same
        values, images = led_by(config, prepared, space, blocks, held_out, together, chosen, distance)
        ends = [[evaluate(image) for image in block] for block in images]
        for name in ends[0][0]:
            values[name] = np.stack([np.mean([e[g][name] for e in ends], axis=0) for g in range(len(chosen))])
        per_size.append({name: _filled(value, len(names)) for name, value in values.items()})
        pictures.append(_filled(images[0][:, shown], len(names)))
    rows = (len(STARTS), n)
    stacked = {name: np.stack([values[name] for values in per_size]) for name in per_size[0]}
    found = {name: one.reshape(*one.shape[:-1], *rows).astype(np.float32) for name, one in stacked.items()}
    begun = jax.jit(lambda own, x, eps: space.space(own, None).decode(starts(space, own, None, x, eps)))
    begun = np.asarray(begun(space.own, jnp.asarray(together.x), normal(config, space, "guided", together.ids)))
    few, image = (len(STARTS), len(shown) // len(STARTS)), begun.shape[1:]
    found["picture_guided"] = np.stack(pictures).reshape(len(per_size), len(names), *few, *image)
    return found | {"picture_guided_start": begun[shown].reshape(*few, *image)}


def led_by(
    config,
    prepared: Setting,
    space: AscentSpace,
    blocks: Ensemble,
    held_out: Ensemble,
    together: Examples,
    names: tuple[str, ...],
    distance: float,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """(values [objective, ...] by name, means over blocks; ends [block, objective, N, ...]) of blocks of one size."""
    settings, apply = config.guided, prepared.classifier.apply
    target = jnp.tile(jnp.asarray(targets(config, prepared, together)), len(STARTS))
    optimizer = rule(settings.rule, settings.step * space.size, int(np.prod(space.shape)))
    steps = {"num_steps": settings.num_steps, "frames": settings.num_steps}
    steps |= {"epsilon": ball(settings.radius, space.size), "optimizer": optimizer}
    key, value_fn = stage_key(config.seed, f"guided.{space.name}"), objectives.VALUES[settings.value]

    def along(classifiers, images):
        """Probability of the target at every step, [classifier, T + 1, N]."""
        one = lambda c: lax.map(lambda x: objectives.probability(apply(c, x), target), images)  # noqa: E731
        return lax.map(one, classifiers)

    def led(block, own, held_out, x, eps, name):
        z0, moves = starts(space, own, None, x, eps), space.space(own, None)
        how = steps | {"objective": GUIDES[name](apply, value_fn), "space": moves, "sampler": fixed(block)}
        found = search(key, z0, target, **how)
        images = lax.map(moves.decode, jnp.concatenate([z0[None], found.frames]))
        held = along(held_out, images)
        moved = lax.map(lambda x: spaces.l2_norm(x - images[0]), images)
        there = moved >= distance
        reached, first = jnp.any(there, axis=0), jnp.argmax(there, axis=0)
        return {
            "guided_held_out": held,
            "guided_probability": along(block, images).mean(axis=0),
            "guided_moved": moved[-1],
            "guided_reached": reached.astype(moved.dtype),
            "guided_held_out_there": reached[None] * held[:, first, jnp.arange(len(first))],
        }, images[-1]

    def by_each(block, *shared):
        return jax.tree.map(lambda *each: jnp.stack(each), *(led(block, *shared, name) for name in names))

    how = ensembles.parse(config.mapping, ensembles.size(blocks))
    shared = (space.own, held_out, jnp.asarray(together.x), normal(config, space, "guided", together.ids))
    found = jax.jit(lambda b, *s: map_members(by_each, b, shared=s, how=how))(blocks, *shared)
    values, images = jax.tree.map(np.asarray, found)
    by_block = np.moveaxis(values["guided_held_out"][..., -1, :].mean(axis=2), 0, 1)
    means = {name: value.mean(axis=0) for name, value in values.items()}
    return means | {"guided_held_out_by_block": _filled(by_block, settings.num_blocks, axis=1)}, images


def evaluation(config, prepared: Setting, layer: Layer, held_out: Ensemble, together: Examples) -> Callable:
    """evaluate(images [N, ...]) -> what is measured where ascents end, by name."""
    apply, settings = prepared.classifier.apply, config.guided
    how = ensembles.parse(config.mapping, ensembles.size(held_out))
    bank = layer.bank_points[0].reshape(len(layer.bank_points[0]), -1)
    keys = jnp.concatenate([example_keys(config.seed, f"guided.flatness.{kind}", together.ids) for kind in STARTS])
    options = {"apply": apply, "sigmas": jnp.asarray([settings.sigma]), "num_trials": settings.num_trials}

    def member(variables, keys, images):
        logits = apply(variables, images)
        label = jnp.argmax(logits, axis=-1)
        found = flatness(keys, variables, images, label, **options)
        return {"guided_margin": objectives.margin(logits, label), "guided_margin_drop": found["margin_drop"][0]}

    program = jax.jit(lambda held_out, *shared: map_members(member, held_out, shared=shared, how=how))

    def evaluate(images: np.ndarray) -> dict[str, np.ndarray]:
        found = jax.tree.map(np.asarray, program(held_out, keys, jnp.asarray(images)))
        near = neighbors.nearest(images.reshape(len(images), -1), bank, 1)[0][:, 0]
        return found | {"guided_nearest": np.asarray(near)}

    return evaluate


def _filled(values: np.ndarray, length: int, axis: int = 0) -> np.ndarray:
    """NaN for what was not run: objectives along the first axis, or blocks along the second."""
    width = [(0, 0)] * values.ndim
    width[axis] = (0, length - values.shape[axis])
    return np.pad(values, width, constant_values=np.nan)


def targets(config, prepared: Setting, together: Examples) -> np.ndarray:
    """The class that each start's guided ascent raises, another than its own."""
    return targets_of(together.label, len(prepared.dataset.class_names), config.seed)


def pictured_starts(target: np.ndarray) -> np.ndarray:
    """Places of the first starts whose targets differ, then of the others."""
    first = np.sort(np.unique(target, return_index=True)[1])
    others = np.setdiff1d(np.arange(len(target)), first)
    return np.concatenate([first, others])[:NUM_STARTS_SHOWN]
