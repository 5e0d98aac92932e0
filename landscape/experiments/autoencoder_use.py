"""Which autoencoder is better, by use: class ascent on each manifold, judged by a classifier that did not guide it.

From each of a few test images another class is climbed with one classifier as guide, in the latent of every cell and in
pixels. A manifold that holds more of what images are should give results that (a) a held-out classifier agrees with,
(b) other autoencoders reconstruct well, (c) lie near training images. Balls of different spaces are not of one size, so
every step is kept: manifolds are compared at equal distance from the start as well.
"""

import jax
import jax.numpy as jnp
import numpy as np

from landscape import ensembles, objectives, runs, spaces
from landscape.ensembles import map_members
from landscape.experiments.autoencoder_cells import Cell, Layer, sources
from landscape.experiments.setting import Examples, Setting, stage_key
from landscape.measures import neighbors
from landscape.runs import Run
from landscape.samplers import fixed
from landscape.search import normalized_steps, search
from landscape.types import Arrays

PIXELS = "pixels"
RADIUS = 1.5  # of the ball in a latent, in root mean squared norms of centred latents
STEP = 0.05  # of the radius


def targets_of(label: np.ndarray, num_classes: int, seed: int) -> np.ndarray:
    """For each example another class, uniform among them."""
    shift = np.random.default_rng([seed, 1]).integers(1, num_classes, len(label))
    return ((label + shift) % num_classes).astype(np.int32)


def ascents(
    config, run: Run, prepared: Setting, layer: Layer, cells: list[Cell], radii: dict[str, np.ndarray], test: Examples
) -> Arrays:
    """Ascent on the manifold of every cell, and in pixels within the distance that the first cell's ascent went.

    Args:
      cells: autoencoders of images. All of them, of the next seed, judge every result by their reconstruction errors.
      radii: of the balls in their latents, [member] by cell name.
      test: the images to start from.

    Returns:
      Arrays by `name.cell`: confidence of guide and held-out classifier in the target, distance moved, mean error under
      the other seed's autoencoders, distance to the nearest training image, all [member, start]; held_out_along and
      moved_along [member, ascent_step, start], the decoded start first; pictures of the first member.
    """
    apply, chosen = prepared.classifier.apply, sources(config)
    how = ensembles.parse(config.mapping, len(chosen))
    held_out = np.roll(np.arange(config.num_members), -1)[chosen]
    guides, judges = (ensembles.take(prepared.ensemble, index) for index in (chosen, held_out))
    target = targets_of(test.label, len(prepared.dataset.class_names), config.seed)
    # The next seed of the same swept values: members are seeds, fastest, for each value.
    by_value = np.arange(len(chosen)).reshape(-1, config.num_members)
    others = [ensembles.take(cell.ensemble, np.roll(by_value, -1, axis=1).ravel()) for cell in cells]
    bank = layer.bank_points[0].reshape(len(layer.bank_points[0]), -1)
    num_steps = config.use.num_steps

    def judged(judge, guide, others, steps, x, target):
        """What is told of the images of every step, [T + 1, N, ...]."""
        found = steps[-1]

        def along(images):
            return objectives.probability(apply(judge, images), target), spaces.l2_norm(images - x)

        def error(cell, other):
            again = cell.reconstruct(other, found, target)
            return jnp.mean(jnp.square((again - found).reshape(target.shape[0], -1)), axis=1)

        held_out, moved = jax.lax.map(along, steps)
        return {
            "guide_confidence": objectives.probability(apply(guide, found), target),
            "held_out_confidence": held_out[-1],
            "held_out_success": jnp.argmax(apply(judge, found), axis=-1) == target,
            "moved": moved[-1],
            "error_under_another": jnp.mean(jnp.stack([error(*pair) for pair in zip(cells, others, strict=True)]), 0),
            "held_out_along": held_out,
            "moved_along": moved,
            "found": found,
        }

    def climb(space, guide, x, target, epsilon):
        """The images of every step, the decoded start first."""
        objective = objectives.ascend(apply, objectives.gap)
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

    def in_latent(cell):
        autoencoder = cell.autoencoder

        def member(variables, guide, judge, others, radius, x, target):
            space = spaces.latent(
                lambda x: autoencoder.encode(variables, x),
                lambda z: autoencoder.decode(variables, autoencoder.project(variables, z)),
            )
            return judged(judge, guide, others, climb(space, guide, x, target, radius), x, target)

        return member

    def in_pixels(variables, guide, judge, others, radius, x, target):
        return judged(judge, guide, others, climb(spaces.pixels("l2"), guide, x, target, radius), x, target)

    def told(cell_name: str, member, variables, radius) -> Arrays:
        shared = (jnp.asarray(test.x), jnp.asarray(target))
        out = jax.jit(lambda *a: map_members(member, *a, shared=shared, how=how))(
            variables, guides, judges, others, jnp.asarray(radius, jnp.float32)
        )
        found = np.asarray(out.pop("found"))
        far = [neighbors.nearest(m.reshape(len(m), -1), bank, 1)[0][:, 0] for m in found]
        along = ("member", "ascent_step", "start")
        arrays: Arrays = {
            f"{name}.{cell_name}": (along if value.ndim == 3 else ("member", "start"), np.asarray(value, np.float32))
            for name, value in out.items()
        }
        arrays[f"nearest_training.{cell_name}"] = (("member", "start"), np.asarray(far, np.float32))
        arrays[f"picture_use.{cell_name}"] = (("start", "height", "width", "channel"), found[0])
        return arrays

    def work() -> Arrays:
        arrays: Arrays = {
            "target": (("start",), target),
            "picture_start": (("start", "height", "width", "channel"), test.x),
        }
        for cell in cells:
            arrays |= told(cell.name, in_latent(cell), cell.ensemble, radii[cell.name])
        went = np.median(arrays[f"moved.{cells[0].name}"][1], axis=1)
        arrays |= told(PIXELS, in_pixels, cells[0].ensemble, went)
        return arrays

    return runs.once(run, "use", work)
