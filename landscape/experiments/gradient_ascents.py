"""Stage of `gradients`: where the ascent of a class leads from images, noise and zeros, in every place.

From each start every class is climbed, so that one can look at one target from many starts, or at many targets from one
start. Rows of everything are [kind of start, start, class].
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from landscape import ensembles, objectives, runs, spaces
from landscape.ensembles import map_members
from landscape.experiments.autoencoder_cells import Layer
from landscape.experiments.gradient_places import KINDS, Place, judges_of, normal, starts
from landscape.experiments.setting import Examples, Setting, stage_key
from landscape.measures import neighbors
from landscape.objectives import Objective
from landscape.runs import Run
from landscape.samplers import fixed
from landscape.search import normalized_steps, search
from landscape.spaces import Space
from landscape.types import Arrays

STEEPEST = "steepest"
ROWS = ("kind", "start", "class")


def rule(name: str, length: float, dim: int) -> optax.GradientTransformation:
    """Steps of about an L2 length: normalised steepest ascent, or any optimiser of optax with its learning rate.

    Adaptive rules move every coordinate by about their rate, so that one is length / sqrt(D). Steps that fall to zero
    end no higher: on validation digits, ascents in the latent of a VAE reach 0.79 with them and 0.81 without.
    """
    return normalized_steps(length) if name == STEEPEST else getattr(optax, name)(length / dim**0.5)


def ball(radius: float, size: float):
    """A radius in units of the place; 0 is none."""
    return radius * size if radius else jnp.inf


def climbed(config, place: Place, own) -> tuple[Objective, Callable[[Space], Space]]:
    """The objective of ascents with what it takes off, and what the space becomes so that it can.

    value(c) - total_variation TV(x) + prior log p(z): the prior needs the latent, so that decode gives (x, z) there.
    """
    plain = objectives.ascend(place.apply, objectives.VALUES[config.ascent.value])
    rough, likely = config.ascent.total_variation, config.ascent.prior

    def objective(guide, decoded, target):
        x, z = decoded
        value = plain(guide, x, target)
        if rough and not place.hidden:
            value = value - rough * objectives.total_variation(x)
        if likely and place.log_prior is not None:
            value = value + likely * place.log_prior(own, z)
        return value

    return objective, lambda space: space._replace(decode=lambda z: (space.decode(z), z))


def ascents(config, run: Run, prepared: Setting, place: Place, bank: Layer, test: Examples) -> Arrays:
    """Ascents of every class from every start by each of the first `config.num_alone` classifiers.

    Args:
      bank: training images, or what they are in the hidden layer that the place is.
      test: the images to start from.

    Returns:
      By `name.place`: ascent_value, ascent_grad_norm [member, t, *ROWS]; ascent_probability (of the guide) and, but
      for hidden layers, ascent_held_out (mean over judges) [member, *ROWS]; ascent_moved, ascent_nearest [member,
      *ROWS], L2 distances from the start and from the nearest training image, in units of the place (hidden layers: of
      the layer); of the first member the recorded point_ascent [*ROWS, frame, D], start first, and picture_ascent
      [*ROWS, frame, ...] (hidden layers: the nearest training image).
    """
    settings, count = config.ascent, config.num_alone
    num_classes, n = len(prepared.dataset.class_names), len(test.label)
    guides, judges = ensembles.take(place.guides, slice(count)), judges_of(config, prepared)
    how = ensembles.parse(config.mapping, count)
    dim, frames = int(np.prod(place.shape)), settings.num_frames
    key = stage_key(config.seed, f"ascent.{place.name}")
    optimizer = rule(settings.rule, settings.step * place.size, dim)
    target = jnp.tile(jnp.arange(num_classes, dtype=jnp.int32), len(KINDS) * n)

    def member(guide, own, judges, x, eps):
        space = place.space(own, guide)
        objective, with_latent = climbed(config, place, own)
        z0 = jnp.repeat(starts(config, place, own, guide, x, eps), num_classes, axis=0)
        found = search(
            key,
            z0,
            target,
            objective=objective,
            space=with_latent(space),
            sampler=fixed(guide),
            optimizer=optimizer,
            epsilon=ball(settings.radius, place.size),
            num_steps=settings.num_steps,
            frames=frames,
        )
        walked = jnp.concatenate([z0[None], found.frames])
        seen = jax.lax.map(space.decode, walked)
        told = {
            "ascent_probability": objectives.probability(place.apply(guide, seen[-1]), target),
            "ascent_moved": spaces.l2_norm(seen[-1] - seen[0]),
        }
        if not place.hidden:
            each = jax.lax.map(lambda j: objectives.probability(prepared.classifier.apply(j, seen[-1]), target), judges)
            told["ascent_held_out"] = each.mean(axis=0)
        return told, found.value, found.grad_norm, seen, walked

    def work() -> Arrays:
        told, value, grad_norm, seen, walked = jax.jit(
            lambda guides, *shared: map_members(member, guides, shared=shared, how=how)
        )(guides, place.own, judges, jnp.asarray(test.x), normal(config, place, "ascent", test.ids))
        seen, rows = np.asarray(seen), (len(KINDS), n, num_classes)
        points = bank.bank_points.reshape(*bank.bank_points.shape[:2], -1)
        last = seen[:, -1].reshape(count, -1, dim if place.hidden else points.shape[-1])
        near = [_nearest(points, last, s, place) for s in range(count)]
        told["ascent_nearest"] = np.stack([distance for distance, _ in near])
        pictures = seen[0]
        if place.hidden:
            flat = pictures.reshape(-1, dim)
            pictures = bank.bank.x[_nearest(points, flat[None], 0, place)[1]]
        pictures = np.moveaxis(pictures.reshape(frames + 1, *rows, *pictures.shape[-3:]), 0, 3)
        walk = np.moveaxis(np.asarray(walked[0]).reshape(frames + 1, *rows, dim), 0, 3)
        steps = {"ascent_value": value, "ascent_grad_norm": grad_norm}
        found: Arrays = {
            **{k: (("member", *ROWS), np.asarray(v).reshape(count, *rows)) for k, v in told.items()},
            **{k: (("member", "t", *ROWS), np.asarray(v).reshape(count, -1, *rows)) for k, v in steps.items()},
            "picture_ascent": ((*ROWS, "frame", "height", "width", "channel"), pictures),
            "point_ascent": ((*ROWS, "frame", f"entry_{place.name}"), walk),
        }
        return {f"{name}.{place.name}": array for name, array in found.items()}

    return runs.once(run, f"ascent.{place.name}", work)


def _nearest(points: np.ndarray, queries: np.ndarray, member: int, place: Place) -> tuple[np.ndarray, np.ndarray]:
    """Distance and index of the training point nearest to each of a member's queries [S, Q, D]."""
    own = points[member if len(points) > 1 else 0]
    flat = queries[member].reshape(len(queries[member]), -1)
    if place.hidden:  # points are standardised there, queries are not: distances are told in the layer's own units
        mean, scale = (np.asarray(place.guides[name])[member] for name in ("mean", "scale"))
        distance, index = neighbors.nearest((flat - mean.reshape(1, -1)) / scale, own, 1)
        distance = distance * scale
    else:
        distance, index = neighbors.nearest(flat, own, 1)
    return np.asarray(distance)[:, 0], np.asarray(index)[:, 0]
