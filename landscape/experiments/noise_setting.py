"""What the experiment `noise` works with: sources, judges, guides, trajectories, autoencoders, images.

Members 0 .. S - 1 are the *sources*: each is searched against with itself as the centre of the noise, and judged by the
other sources. The members behind them are the *guides*: arms that draw random members draw these and the source, so
that no judge ever guides a search.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from landscape import ensembles, runs, spaces
from landscape.ensembles import Mapping, map_members
from landscape.experiments import autoencoder_cells as cells
from landscape.experiments import setting
from landscape.experiments.autoencoder_cells import Cell
from landscape.experiments.autoencoder_use import targets_of
from landscape.experiments.setting import Examples, Setting, stage_key
from landscape.models.classifiers import Classifier
from landscape.spaces import Space
from landscape.training import classifier_members, trajectory
from landscape.types import Ensemble, Images


class NoiseSetting(NamedTuple):
    """All that searches are made of.

    Attributes:
      classifier: of all members. seeds: of the sources, [S].
      sources: [S, ...]. guides: [G, ...]. trajectory: points of each source's trajectory, [S, K, ...].
      frozen: key of each source's frozen draw, [S].
      cell: autoencoders of images, one a source. latent_norm: root mean squared norm of their centred latents, [S].
      bank: training images, for the statistics of norm layers.
      validation, test: the images searched from. num_classes: K.
      how: mapping of the sources.
    """

    classifier: Classifier
    seeds: np.ndarray
    sources: Ensemble
    guides: Ensemble
    trajectory: Ensemble
    frozen: jax.Array
    cell: Cell
    latent_norm: np.ndarray
    bank: Images
    validation: Examples
    test: Examples
    num_classes: int
    how: Mapping

    @property
    def per_source(self) -> tuple:
        """What `noise_arms.bases_of` takes of each source, along the axis S."""
        return self.sources, self.trajectory, self.frozen


def prepare(config, run: runs.Run, prepared: Setting) -> NoiseSetting:
    """Restores or trains the trajectories and the autoencoders, and draws the images."""
    count = config.noise.num_sources
    how = ensembles.parse(config.mapping, count)
    sources, guides = (ensembles.take(prepared.ensemble, part) for part in (slice(count), slice(count, None)))
    members = classifier_members.members_of(config)[:count]
    walked = trajectory.ensemble(run, config, prepared.dataset, prepared.classifier, members, sources)
    small = setting.with_members(config, count)  # autoencoders are trained for the sources alone
    layer = cells.image_layer(small, prepared._replace(ensemble=sources, members=prepared.members[:count]))
    family = config.manifold.family
    cell = cells.train(small, run, prepared, layer, family, cells.size_of(config, family, config.autoencoder.dim))
    bank = jnp.asarray(setting.examples(prepared.dataset, "train", config.noise.num_bank, config.seed).x)
    seeds = np.asarray([member.seed for member in members])
    return NoiseSetting(
        prepared.classifier,
        seeds,
        sources,
        guides,
        walked,
        source_keys(config, "noise.frozen", seeds),
        cell,
        _latent_norm(cell, bank, how),
        bank,
        shuffled(prepared.dataset, "validation", config.noise.num_validation, config.seed),
        shuffled(prepared.dataset, "test", config.noise.num_examples, config.seed),
        len(prepared.dataset.class_names),
        how,
    )


def source_keys(config, name: str, seeds: np.ndarray) -> jax.Array:
    """Keys [S] of a named draw, one a source."""
    return jax.vmap(jax.random.fold_in, (None, 0))(stage_key(config.seed, name), jnp.asarray(seeds, jnp.uint32))


def shuffled(dataset, split: str, count: int, seed: int) -> Examples:
    """Images of a split in random order, since a folder's come class by class."""
    chosen = setting.examples(dataset, split, count, seed)
    order = np.random.default_rng(seed).permutation(len(chosen.label))
    return Examples(*(part[order] for part in chosen))


def _latent_norm(cell: Cell, bank: Images, how: Mapping) -> np.ndarray:
    def norm(variables, x):
        z = cell.autoencoder.encode(variables, x)
        return jnp.sqrt(jnp.mean(jnp.square(spaces.l2_norm(z - jnp.mean(z, axis=0, keepdims=True)))))

    return np.asarray(jax.jit(lambda e, x: map_members(norm, e, shared=(x,), how=how))(cell.ensemble, bank))


# ---- the three searches ----


class Search(NamedTuple):
    """One of the searches that arms are compared in.

    Attributes:
      name: "pixels" and "manifold" lead away from the true class, "ascent" toward another one.
      norm: of the ball. toward: whether `label` is the class aimed at rather than the one left.
      radius: of the ball of each source, [S]: pixels, or units of the latent.
    """

    name: str
    norm: str
    toward: bool
    radius: np.ndarray

    def label(self, chosen: Examples, num_classes: int, seed: int) -> np.ndarray:
        """The class aimed at, or left, for each image."""
        return targets_of(chosen.label, num_classes, seed) if self.toward else chosen.label


def search_of(config, noisy: NoiseSetting, name: str) -> Search:
    """A search by its name."""
    ones = np.ones(len(noisy.seeds), np.float32)
    if name == "manifold":
        return Search(name, "l2", False, np.float32(config.manifold.epsilon) * noisy.latent_norm)
    if name == "ascent":
        return Search(name, "l2", True, np.float32(config.ascent.epsilon) * ones)
    return Search(name, config.pixels.norm, False, np.float32(config.pixels.epsilon) * ones)


def space_of(noisy: NoiseSetting, search: Search, autoencoder: Any) -> Space:
    """Where a search moves; `autoencoder`: the variables of the source's own."""
    if search.name != "manifold":
        return spaces.pixels(search.norm)
    functions = noisy.cell.autoencoder
    return spaces.latent(
        lambda x: functions.encode(autoencoder, x),
        lambda z: functions.decode(autoencoder, functions.project(autoencoder, z)),
    )
