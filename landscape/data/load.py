"""The one door to all data sets."""

from pathlib import Path

import numpy as np

from landscape import runs
from landscape.data import digits, fashion_mnist, folder, prepared, tiny_imagenet
from landscape.data.cache import cached, checksum
from landscape.data.dataset import SPLITS, Dataset, Raw, Source
from landscape.data.splits import complete
from landscape.files import UserError
from landscape.runs import processes

SOURCES = {
    "digits": lambda directory, cache: digits.source(),
    "fashion_mnist": lambda directory, cache: fashion_mnist.source(directory),
    "cifar10": lambda directory, cache: prepared.source("cifar10", prepared.locate("cifar10", directory)),
    "cifar100": lambda directory, cache: prepared.source("cifar100", prepared.locate("cifar100", directory)),
    "tiny_imagenet": tiny_imagenet.source,
    "folder": lambda directory, cache: folder.source(directory),
}


def load(name: str, *, directory: str = "", cache: str | Path = "runs/cache/data", seed: int = 0) -> Dataset:
    """A data set with its training, validation and test splits.

    Published splits are kept; a missing one is carved out of the training split at random, stratified by class, fixed
    by the seed alone. Images are decoded once and cached as uint8 with a checksum.

    Args:
      name: digits | fashion_mnist | cifar10 | cifar100 | tiny_imagenet | folder | tfds:NAME (any image classification
        set of TensorFlow Datasets).
      directory: where its files are; needed by `folder`. See each source for the places looked at without one.
      cache: directory of the decoded arrays.
      seed: of the carved splits.

    Returns:
      Dataset. digits: 1197 / 200 / 400 images of 8 x 8 x 1; fashion_mnist: 55000 / 5000 / 10000 of 28 x 28 x 1;
      tiny_imagenet: 90000 / 10000 / 10000 of 64 x 64 x 3.

    Raises:
      UserError: unknown name; missing, damaged or empty files; labels out of range.
    """
    source = _source(name, directory, cache)
    raw, content = cached(source._replace(read=lambda: _checked(name, source.read())), cache)
    runs.check()
    splits = complete(raw.splits, raw.labels, name=name, validation=source.validation, test=source.test, seed=seed)
    drawn = f" drawn from the published train, stratified by class, with seed {seed}"
    parts = [f"{split} {len(splits[split])} images{'' if split in raw.splits else drawn}" for split in SPLITS]
    about = f"{source.about}; {', '.join(parts)}"
    found = checksum(content, splits)
    processes.same("data", found, f"copy the same files of {name} to all hosts")
    return Dataset(name, *raw._replace(splits=splits), checksum=found, about=about)


def _source(name: str, directory: str, cache: str | Path) -> Source:
    if name.startswith("tfds:"):
        bare = name.removeprefix("tfds:")
        return prepared.source(name, prepared.locate(bare, directory))
    if name not in SOURCES:
        known = ", ".join([*SOURCES, "tfds:NAME"])
        raise UserError(f"data set {name!r} is not known, expected one of {known}; check --config.data.name")
    return SOURCES[name](directory, cache)


def _checked(name: str, raw: Raw) -> Raw:
    """`raw`, if it can be worked with."""
    for split, index in raw.splits.items():
        if len(index) == 0:
            raise UserError(f"data set {name!r}: split {split!r} is empty, expected examples; check its files")
    if raw.labels.min() < 0 or raw.labels.max() >= len(raw.class_names):
        raise UserError(
            f"data set {name!r}: labels run from {raw.labels.min()} to {raw.labels.max()}, expected "
            f"0 to {len(raw.class_names) - 1} for its {len(raw.class_names)} classes; check its label files"
        )
    if not len(raw.images) == len(raw.labels) == len(np.unique(raw.ids)):
        raise ValueError(
            f"data set {name!r}: {len(raw.images)} images, {len(raw.labels)} labels and {len(np.unique(raw.ids))} "
            "different ids, expected one of each an example; correct its source"
        )
    return raw
