"""Which autoencoder is better, by use: class ascent on each manifold, tried on a classifier that did not guide it.

From each of a few test images another class is ascended with one classifier as guide, in the latent of every family and
in pixels. A manifold that holds more of what images are should give results that (a) a held-out classifier agrees with,
(b) other autoencoders reconstruct well, (c) lie near training images. Balls of different spaces are not of one size, so
every step is kept: manifolds are compared at equal distance from the start as well.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from landscape import ensembles, objectives, spaces
from landscape.ensembles import map_members
from landscape.experiments import setting
from landscape.experiments.autoencoders import OF_AN_ASCENT, PIXELS
from landscape.experiments.autoencoders import config as fields
from landscape.experiments.base import run_once
from landscape.experiments.descriptions import Description, Layer, encoded, sources
from landscape.experiments.setting import Setting, stage_key, targets_of
from landscape.measures import neighbors
from landscape.models.autoencoders import Autoencoder
from landscape.presets.names import CODED
from landscape.runs import Run
from landscape.samplers import fixed
from landscape.search import normalized_steps, search
from landscape.types import Ensemble

RADIUS = 1.5  # of the ball in a latent, in root mean squared norms of centred latents
STEP = 0.05  # of the radius
NUM_LATENTS = 2000  # training images whose latents have those norms


def ascents(config, run: Run, prepared: Setting, layer: Layer, described: list[Description]) -> xr.Dataset:
    """Ascent on the manifold of each family at the dimension where families are compared, and in pixels.

    In pixels it stays within the middle distance that the first family's ascent goes.
    """
    compared = [one for one in described if one.autoencoder]
    compared = [one for one in compared if one.family in CODED or one.size == config.autoencoder.dim]
    test = setting.examples(prepared.dataset, "test", config.use.num_examples, config.seed)
    target = targets_of(test.label, len(prepared.dataset.class_names), config.seed)
    guide = sources(config)
    held_out = np.roll(np.arange(config.num_members), -1)[guide]
    # The next seed of the same swept values: members are seeds, fastest, for each value.
    other = np.roll(np.arange(len(guide)).reshape(-1, config.num_members), -1, axis=1).ravel()
    classifiers = [ensembles.take(prepared.ensemble, index) for index in (guide, held_out)]
    others = [ensembles.take(one.ensemble, other) for one in compared]
    images = layer.training_points[0].reshape(len(layer.training_points[0]), -1)
    program = ascender(config, prepared, compared, jnp.asarray(test.x), jnp.asarray(target))

    def ascended(name: str, autoencoder: Autoencoder | None, variables: Ensemble, radius: np.ndarray) -> xr.Dataset:
        def work() -> dict[str, Any]:
            found = program(autoencoder)(variables, *classifiers, others, jnp.asarray(radius, jnp.float32))
            ends = np.asarray(found.pop("found"))
            far = [neighbors.nearest(m.reshape(len(m), -1), images, 1)[0][:, 0] for m in ends]
            found |= {"nearest_training": np.asarray(far), "picture_end": ends[0]}
            return {key: np.asarray(value, np.float32) for key, value in found.items()}

        return run_once(run, f"ascent.{name}", work, OF_AN_ASCENT)

    found = [ascended(one.name, one.autoencoder, one.ensemble, radius_of(config, layer, one)) for one in compared]
    went = np.median(found[0].moved.isel(ascent_step=-1).values, axis=1)
    found.append(ascended(fields.PIXELS, None, compared[0].ensemble, went))
    names = [*(one.name for one in compared), fields.PIXELS]
    together = xr.concat(found, xr.Variable("manifold", names), combine_attrs="drop")
    starts = {"target": ("start", target), "picture_start": (("start", *PIXELS), test.x)}
    return together.assign(starts).assign_coords(start=test.ids, ascent_step=np.arange(config.use.num_steps + 1))


def radius_of(config, layer: Layer, description: Description) -> np.ndarray:
    """Of the ball in a latent, [member]."""
    rows = np.random.default_rng(config.seed).permutation(len(layer.training.x))[:NUM_LATENTS]
    z = encoded(config, layer, description, layer.training.x[rows])
    return RADIUS * np.sqrt(z.reshape(*z.shape[:2], -1).var(axis=1).sum(axis=-1))


def ascender(config, prepared: Setting, compared: list[Description], x: jax.Array, target: jax.Array) -> Callable:
    """program(autoencoder, None for pixels)(variables, guides, held-out classifiers, others, radii) -> measures.

    Members come first, the ends are `found`. others: variables of another seed for each of `compared`, all of which
    reconstruct every end.
    """
    apply, num_steps = prepared.classifier.apply, config.use.num_steps
    how = ensembles.parse(config.mapping, len(sources(config)))

    def measured(held_out, guide, others, steps, x, target):
        """Of the images of every step, [T + 1, N, ...]."""
        found = steps[-1]

        def along(images):
            return objectives.probability(apply(held_out, images), target), spaces.l2_norm(images - x)

        def error(description, other):
            again = description.reconstruct(other, found, target)
            return jnp.mean(jnp.square((again - found).reshape(target.shape[0], -1)), axis=1)

        confidence, moved = jax.lax.map(along, steps)
        errors = [error(*pair) for pair in zip(compared, others, strict=True)]
        return {
            "confidence": confidence,
            "moved": moved,
            "guide_confidence": objectives.probability(apply(guide, found), target),
            "success": jnp.argmax(apply(held_out, found), axis=-1) == target,
            "error_under_another": jnp.mean(jnp.stack(errors), 0),
            "found": found,
        }

    def ascend(space, guide, x, target, epsilon):
        """The images of every step, the decoded start first."""
        objective = objectives.ascend(apply, objectives.log_odds)
        z0 = space.encode(x)
        steps = search(
            stage_key(config.seed, "ascent"),
            z0,
            target,
            objective=objective,
            space=space,
            sampler=fixed(guide),
            optimizer=normalized_steps(STEP * epsilon),
            epsilon=epsilon,
            num_steps=num_steps,
            frames=num_steps,
        ).frames
        return jax.lax.map(space.decode, jnp.concatenate([z0[None], steps]))

    def program(autoencoder: Autoencoder | None) -> Callable[..., dict[str, jax.Array]]:
        def member(variables, guide, held_out, others, radius, x, target):
            space = spaces.pixels("l2") if autoencoder is None else _latent(autoencoder, variables)
            return measured(held_out, guide, others, ascend(space, guide, x, target, radius), x, target)

        return jax.jit(lambda *a: map_members(member, *a, shared=(x, target), how=how))

    return program


def _latent(autoencoder: Autoencoder, variables) -> spaces.Space:
    return spaces.latent(
        lambda x: autoencoder.encode(variables, x),
        lambda z: autoencoder.decode(variables, autoencoder.project(variables, z)),
    )
