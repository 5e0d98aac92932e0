"""What the searches of `noise` are made of: sources, guides, trajectories, autoencoders, images.

The first members are the *sources*: each is searched against, with itself as the centre of the noise, and its results
are tried on the other sources. The members behind them are the *guides*: searches that see a random member see these
and the source, so that no target ever guides a search.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from landscape import ensembles, runs, spaces
from landscape.ensembles import Mapping, map_members
from landscape.experiments import descriptions, setting
from landscape.experiments.descriptions import Description
from landscape.experiments.setting import Examples, Setting, stage_key, targets_of
from landscape.models.classifiers import Classifier
from landscape.spaces import Space
from landscape.training import classifier_members, trajectory
from landscape.types import Ensemble, Images


class Sources(NamedTuple):
    """All that searches are made of.

    Attributes:
      classifier: of all members. seeds: of the sources, [S].
      ensemble: the sources, [S, ...]. guides: [G, ...]. trajectories: points of each source's own, [S, K, ...].
      frozen: key of each source's frozen draw, [S].
      autoencoders: of images, one a source. latent_norm: root mean squared norm of their centred latents, [S].
      training: training images, for the statistics of norm layers.
      validation, test: the images searched from. num_classes: K.
      how: mapping of the sources.
    """

    classifier: Classifier
    seeds: np.ndarray
    ensemble: Ensemble
    guides: Ensemble
    trajectories: Ensemble
    frozen: jax.Array
    autoencoders: Description
    latent_norm: np.ndarray
    training: Images
    validation: Examples
    test: Examples
    num_classes: int
    how: Mapping

    @property
    def each(self) -> tuple:
        """What `draws.bases_of` takes of each source, along the axis S."""
        return self.ensemble, self.trajectories, self.frozen


def prepare(config, run: runs.Run, prepared: Setting) -> Sources:
    """Restores or trains the trajectories and the autoencoders, and draws the images."""
    count = config.noise.num_sources
    how = ensembles.parse(config.mapping, count)
    sources, guides = (ensembles.take(prepared.ensemble, part) for part in (slice(count), slice(count, None)))
    members = classifier_members.members_of(config)[:count]
    walked = trajectory.ensemble(run, config, prepared.dataset, prepared.classifier, members, sources)
    autoencoders = _autoencoders(config, run, prepared, sources)
    images = jnp.asarray(setting.examples(prepared.dataset, "train", config.noise.num_training, config.seed).x)
    seeds = np.asarray([member.seed for member in members])
    return Sources(
        classifier=prepared.classifier,
        seeds=seeds,
        ensemble=sources,
        guides=guides,
        trajectories=walked,
        frozen=source_keys(config, "noise.frozen", seeds),
        autoencoders=autoencoders,
        latent_norm=_latent_norm(autoencoders, images, how),
        training=images,
        validation=shuffled(prepared.dataset, "validation", config.noise.num_validation, config.seed),
        test=shuffled(prepared.dataset, "test", config.noise.num_examples, config.seed),
        num_classes=len(prepared.dataset.class_names),
        how=how,
    )


def _autoencoders(config, run: runs.Run, prepared: Setting, sources: Ensemble) -> Description:
    """An autoencoder of images for each source, and for no other member."""
    small, family = setting.with_members(config, config.noise.num_sources), config.manifold.family
    own = prepared._replace(ensemble=sources, members=prepared.members[: config.noise.num_sources])
    layer = descriptions.image_layer(small, own)
    size = descriptions.size_of(config, family, config.autoencoder.dim)
    return descriptions.train(small, run, prepared, layer, family, size)


def source_keys(config, name: str, seeds: np.ndarray) -> jax.Array:
    """Keys [S] of a named draw, one a source."""
    return jax.vmap(jax.random.fold_in, (None, 0))(stage_key(config.seed, name), jnp.asarray(seeds, jnp.uint32))


def shuffled(dataset, split: str, count: int, seed: int) -> Examples:
    """Images of a split in random order, since a folder's come class by class."""
    chosen = setting.examples(dataset, split, count, seed)
    order = np.random.default_rng(seed).permutation(len(chosen.label))
    return Examples(*(part[order] for part in chosen))


def _latent_norm(autoencoders: Description, images: Images, how: Mapping) -> np.ndarray:
    def norm(variables, x):
        z = autoencoders.autoencoder.encode(variables, x)
        return jnp.sqrt(jnp.mean(jnp.square(spaces.l2_norm(z - jnp.mean(z, axis=0, keepdims=True)))))

    program = jax.jit(lambda e, x: map_members(norm, e, shared=(x,), how=how))
    return np.asarray(program(autoencoders.ensemble, images))


# ---- the three kinds of search ----


class Search(NamedTuple):
    """One kind of search.

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


def search_of(config, sources: Sources, name: str) -> Search:
    """A search by its name."""
    ones = np.ones(len(sources.seeds), np.float32)
    if name == "manifold":
        return Search(name, "l2", False, np.float32(config.manifold.epsilon) * sources.latent_norm)
    if name == "ascent":
        return Search(name, "l2", True, np.float32(config.ascent.epsilon) * ones)
    return Search(name, config.pixels.norm, False, np.float32(config.pixels.epsilon) * ones)


def space_of(sources: Sources, search: Search, autoencoder: Any) -> Space:
    """Where a search moves; `autoencoder`: the variables of the source's own."""
    if search.name != "manifold":
        return spaces.pixels(search.norm)
    functions = sources.autoencoders.autoencoder
    return spaces.latent(
        lambda x: functions.encode(autoencoder, x),
        lambda z: functions.decode(autoencoder, functions.project(autoencoder, z)),
    )
