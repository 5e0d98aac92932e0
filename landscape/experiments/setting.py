"""What every experiment begins with: the data, the classifier, its trained members and how they are mapped."""

import itertools
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from ml_collections import ConfigDict

from landscape import data, ensembles, presets
from landscape.data import Dataset
from landscape.models import classifiers, external
from landscape.models.classifiers import Classifier
from landscape.presets.autoencoder_check import check_layers
from landscape.presets.resolve import ARCHITECTURE
from landscape.presets.training_check import FIELDS
from landscape.runs import Run, begin_on
from landscape.training import classifier_members, imported
from landscape.types import Ensemble


class Setting(NamedTuple):
    """Data, classifier and members of a run.

    ensemble: all members, controls among them, stacked [S, ...]. members: one dict each, "seed", "control" and
    hyperparameters. trained: [S] bool, the members that statistics use. how: the mapping of all of them.
    """

    dataset: Dataset
    classifier: Classifier
    ensemble: Ensemble
    members: list[dict]
    trained: np.ndarray
    how: ensembles.Mapping


class Examples(NamedTuple):
    """Images of one split. x: float32 [N, H, W, C] in [0, 1]. label: int32 [N]. ids: int64 [N]."""

    x: np.ndarray
    label: np.ndarray
    ids: np.ndarray


def load(config) -> tuple[Dataset, Classifier]:
    """The data set and the classifier that a config names."""
    dataset = data.load(
        config.data.name,
        directory=config.data.dir,
        cache=config.data.cache,
        seed=config.seed,
        resize=config.data.resize,
    )
    return dataset, classifier_of(config, dataset)


def classifier_of(config, dataset: Dataset, **changes) -> Classifier:
    """The classifier that a config names, for a data set; `changes` are other fields of its model, and `conv`."""
    own = ConfigDict(config.to_dict())
    conv = {name: changes.pop(name) for name in ("conv",) if name in changes}
    own.model.update(changes)
    num_classes = len(dataset.class_names)
    if presets.is_own(own.model.name):
        return external.load(own.model.name, num_classes=num_classes, image_shape=dataset.images.shape[1:])
    mean, std = classifier_members.statistics_of(own, dataset)
    architecture = {name: own.model[name] for name in ARCHITECTURE}
    return classifiers.build(num_classes=num_classes, mean=mean, std=std, **architecture, **conv)


def prepare(config, run: Run, check: Callable[[Dataset], None] = lambda dataset: None) -> Setting:
    """Loads the data and restores or trains the members, controls included.

    check: raises a UserError where the data are too few for what comes later; before anything is trained.
    """
    dataset, classifier = load(config)
    if presets.is_own(config.model.name):
        check_layers(dict(presets.leaves(config)), config.model.name, classifier.layers[1:])
    check(dataset)
    begin_on(run, dataset.checksum, dataset.about, dataset.checks)
    ensemble, members = classifier_members.ensemble(run, config, dataset, classifier)
    trained = np.array([member["control"] == "trained" for member in members])
    return Setting(dataset, classifier, ensemble, members, trained, ensembles.parse(config.mapping, len(members)))


def examples(dataset: Dataset, split: str, num_examples: int, seed: int) -> Examples:
    """`num_examples` images of a split (all of a smaller one), drawn by seed alone and in the data set's order."""
    chosen = _chosen(dataset, split, num_examples, seed)
    return Examples(data.pixels(dataset.images[chosen]), dataset.labels[chosen].astype(np.int32), dataset.ids[chosen])


def drawn(dataset: Dataset, split: str, seed: int) -> np.ndarray:
    """Where the images of a split are in the data set, in the order in which `examples` draws them."""
    return np.random.default_rng([seed, zlib.crc32(split.encode())]).permutation(dataset.splits[split])


def labels(dataset: Dataset, split: str, num_examples: int, seed: int) -> np.ndarray:
    """The labels of `examples`, without their images."""
    return dataset.labels[_chosen(dataset, split, num_examples, seed)]


def _chosen(dataset: Dataset, split: str, num_examples: int, seed: int) -> np.ndarray:
    return np.sort(drawn(dataset, split, seed)[:num_examples])


def layer_shapes(config, dataset: Dataset, names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Shapes of a point of hidden layers, by name, known before any classifier is trained."""
    classifier = classifier_of(config, dataset)
    one = imported.one_of(config, classifier, dataset, classifier_members.members_of(config, classifier))
    image = np.zeros((1, *dataset.images.shape[1:]), np.float32)
    found = {}
    for name in names:
        with external.named(f"{config.model.name}: features fail at layer {name!r}", "expected h; leave the layer out"):
            found[name] = jax.eval_shape(partial(classifier.features, layer=name), one, image).shape[1:]
    return found


def shuffled(dataset: Dataset, split: str, num_examples: int, seed: int) -> Examples:
    """The same in random order, since a folder's come class by class: for what is made of the first ones."""
    chosen = examples(dataset, split, num_examples, seed)
    order = np.random.default_rng(seed).permutation(len(chosen.label))
    return Examples(*(part[order] for part in chosen))


def as_dataset(chosen: Examples, origin: np.ndarray | None = None) -> xr.Dataset:
    """x, origin (the images that x was made from; x itself where None) and true_label, by example, for `run_stage`."""
    image = ("example", "height", "width", "channel")
    arrays = {"x": (image, chosen.x), "origin": (image, chosen.x if origin is None else origin)}
    return xr.Dataset(arrays | {"true_label": ("example", chosen.label)}, {"example": chosen.ids})


def with_members(config, count: int) -> ConfigDict:
    """The config of that many members, for what fewer seeds are trained of than there are classifiers."""
    found = ConfigDict(config.to_dict())
    found.num_members = count
    return found


def by_training(config) -> list[ConfigDict]:
    """The config of each kind of training that a sweep asks for, without the sweep: one where nothing is swept."""
    swept, found = {name: values for name, values in config.sweep.items() if values}, []
    for values in itertools.product(*swept.values()):
        own = ConfigDict(config.to_dict())
        own.sweep = {name: () for name in own.sweep}
        with own.ignore_type():
            own.update_from_flattened_dict({FIELDS[name][0]: v for name, v in zip(swept, values, strict=True)})
        found.append(own)
    return found


def stage_key(seed: int, stage: str) -> jax.Array:
    """The PRNG key of a named stage. CRC, not `hash`: that one changes with every Python process."""
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(stage.encode()))


def example_keys(seed: int, stage: str, ids: np.ndarray | jax.Array) -> jax.Array:
    """One key an example, [N]: the stage's key with the example's id, so a result never depends on its batch."""
    return jax.vmap(jax.random.fold_in, (None, 0))(stage_key(seed, stage), jnp.asarray(ids, jnp.uint32))


def coordinates(setting: Setting) -> dict[str, tuple[str, list]]:
    """The coordinates that `base.SCHEMA` has: of the member axis, and the classes' names."""
    found = {"class": ("class", list(setting.dataset.class_names))}
    for name in setting.members[0]:
        own = name if name in ("seed", "control", "file") else f"train_{name}"
        found[own] = ("member", [member[name] for member in setting.members])
    return found


def targets_of(label: np.ndarray, num_classes: int, seed: int) -> np.ndarray:
    """For each example another class, uniform among them."""
    shift = np.random.default_rng([seed, 1]).integers(1, num_classes, len(label))
    return ((label + shift) % num_classes).astype(np.int32)
