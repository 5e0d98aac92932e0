"""The one door to all data sets."""

from pathlib import Path

import numpy as np

from landscape.data import digits, fashion_mnist, folder, prepared
from landscape.data.cache import cached, checksum
from landscape.data.dataset import Dataset, Raw, Source
from landscape.data.splits import complete
from landscape.files import UserError

SOURCES = {
    "digits": lambda directory: digits.source(),
    "fashion_mnist": fashion_mnist.source,
    "folder": folder.source,
}


def load(name: str, *, directory: str = "", cache: str | Path = "runs/cache/data", seed: int = 0) -> Dataset:
    """A data set with its training, validation and test splits.

    Published splits are kept; a missing one is carved out of the training split at random, stratified by class, fixed
    by the seed alone. Images are decoded once and cached as uint8 with a checksum.

    Args:
      name: digits | fashion_mnist | folder | tfds:NAME (any image classification set of TensorFlow Datasets).
      directory: where its files are; needed by `folder`. See each source for the places looked at without one.
      cache: directory of the decoded arrays.
      seed: of the carved splits.

    Returns:
      Dataset. digits: 1197 / 200 / 400 images of 8 x 8 x 1; fashion_mnist: 55000 / 5000 / 10000 of 28 x 28 x 1.

    Raises:
      UserError: unknown name; missing, damaged or empty files; labels out of range.
    """
    source = _source(name, directory)
    raw = cached(source._replace(read=lambda: _checked(name, source.read())), cache)
    splits = complete(raw.splits, raw.labels, name=name, validation=source.validation, test=source.test, seed=seed)
    raw = raw._replace(splits=splits)
    return Dataset(name, *raw, checksum=checksum(raw))


def _source(name: str, directory: str) -> Source:
    if name.startswith("tfds:"):
        bare = name.removeprefix("tfds:")
        return prepared.source(name, prepared.locate(bare, directory))
    if name not in SOURCES:
        known = ", ".join([*SOURCES, "tfds:NAME"])
        raise UserError(f"data set {name!r} is not known, expected one of {known}; check --config.data.name")
    return SOURCES[name](directory)


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
