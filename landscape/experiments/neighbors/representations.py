"""What classifiers make of inputs at chosen layers, layer 0 being the image, and the reference sets of these."""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float

from landscape import ensembles, presets, runs
from landscape.data import Dataset
from landscape.experiments import descriptions, setting, works
from landscape.experiments.setting import Examples, Setting
from landscape.files import UserError
from landscape.measures import neighbors
from landscape.models.classifiers import Classifier
from landscape.presets.names import ALL
from landscape.training import classifier_members, references
from landscape.types import Variables

IMAGE = "image"
BLOCK = 1000  # points that go through a classifier at once

# (variables, points of the layer `start` [N, ...]) -> flat representations [N, D] at that layer and those behind it.
Represent = Callable[[Variables, Array], list[Float[Array, "N D"]]]


class Layers(NamedTuple):
    """The layers of a run, the image first.

    Attributes:
      names; classifier.
      chained: whether a layer can be computed from the one before; own classifiers go from the image to each layer.
      represent: by the layer where points are.
    """

    names: tuple[str, ...]
    classifier: Classifier
    chained: bool
    represent: dict[str, Represent]

    def behind(self, start: str) -> tuple[str, ...]:
        """The layers that a point of the layer `start` is seen at: it and those that can be computed from it."""
        return self.names[self.names.index(start) :] if self.chained or start == IMAGE else (start,)

    def through(self, variables: Variables, h: Array, start: str = IMAGE) -> list[Array]:
        """The activations at each of these layers, of points h of the first."""
        found = [h]
        for before, name in itertools.pairwise(self.behind(start)):
            one = (found[-1], name, before) if self.chained else (h, name)
            found.append(self.classifier.features(variables, *one))
        return found


def layers_of(config, classifier: Classifier) -> Layers:
    """The layers that a config names, in the classifier's order."""
    wanted = config.hidden.layers
    names = (IMAGE, *(name for name in classifier.layers[1:] if ALL in wanted or name in wanted))
    layers = Layers(names, classifier, not presets.is_own(config.model.name), {})

    def program(start: str) -> Represent:
        def flat(h: Array, variables: Variables) -> list[Array]:
            return [one.reshape(one.shape[0], -1) for one in layers.through(variables, h, start)]

        return jax.jit(lambda variables, h: ensembles.map_examples(flat, h, shared=(variables,)))

    layers.represent.update({name: program(name) for name in names})
    return layers


def in_blocks(program: Represent, variables: Variables, points: np.ndarray) -> list[np.ndarray]:
    """`program` of many points, BLOCK at a time, on the host."""
    parts = [program(variables, points[i : i + BLOCK]) for i in range(0, len(points), BLOCK)]
    return [np.concatenate([np.asarray(part) for part in layer]) for layer in zip(*parts, strict=True)]


def check(config, dataset: Dataset) -> None:
    """Refuses images that the autoencoder does not fit, and fewer for training than neighbours are asked for."""
    works.check(config, dataset)
    descriptions.check_manifold(config, dataset)
    count, k = len(dataset.splits["train"]), config.neighbors.k
    if count <= k:
        raise UserError(
            f"neighbors.k={k}: expected fewer than the {count} training images of {dataset.name}; try a smaller "
            "--config.neighbors.k"
        )


class Reference(NamedTuple):
    """The reference set of all members: training images, and their points at each layer of each member."""

    images: Examples
    points: Callable[[int, str], np.ndarray]


def reference_of(config, run: runs.Run, prepared: Setting, layers: Layers) -> Reference:
    """The training images as a reference set; points of hidden layers are artefacts, computed where there are none."""
    images = setting.examples(prepared.dataset, "train", config.neighbors.num_reference, config.seed)
    members = classifier_members.members_of(config, prepared.classifier)
    own = [classifier_members.identity(config, prepared.dataset, member) for member in members]

    def points(i: int, layer: str) -> np.ndarray:
        if layer == IMAGE:
            return images.x.reshape(len(images.x), -1)
        variables = ensembles.take(prepared.ensemble, i)
        program = jax.jit(lambda v, x: prepared.classifier.features(v, x, layer).reshape(len(x), -1))
        width = jax.eval_shape(program, variables, images.x[:1]).shape[1]

        def observe(start: int, stop: int) -> np.ndarray:
            blocks = range(start, stop, BLOCK)
            return np.concatenate([np.asarray(program(variables, images.x[j : min(j + BLOCK, stop)])) for j in blocks])

        about = references.identity(own[i], layer, "train", images.ids)
        return references.reference_set(run, about, (len(images.x), width), observe)

    return Reference(images, points)


def typical_distance(distance: Float[np.ndarray, "C k"]) -> np.float32:
    """Median distance of calibration images to their k-th neighbour: the unit of distances at a layer.

    NaN where it is 0, as of a data set full of copies: distances in no unit have no value.
    """
    found = np.float32(np.median(distance[:, -1]))
    return found if found > np.finfo(np.float32).tiny else np.float32(np.nan)


def apart(one: Float[np.ndarray, "N D"], other: Float[np.ndarray, "N D"], metric: str) -> Float[np.ndarray, " N"]:
    """The distance of each point from another one, in a metric of `neighbors.nearest`."""
    a, b = (np.asarray(neighbors.as_rows(x, metric)) for x in (one, other))
    squares = np.square(a - b).sum(axis=1)
    return squares / 2 if metric == "cosine" else np.sqrt(squares)
