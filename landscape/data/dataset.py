"""What every data set looks like once it is loaded, and what is computed from its pixels."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Int, UInt8

from landscape import files

SPLITS = ("train", "validation", "test")
COPIES = 0.01  # share of a split that may be copies: published sets have a few
BLOCK = 1024  # images whose pixels are counted at a time


class Raw(NamedTuple):
    """A data set as its source gives it, before the splits it lacks are carved out.

    Attributes:
      images: uint8 [N, H, W, C], channels last, C = 1 (grey) or 3 (red, green, blue).
      labels: int32 [N], in 0 .. len(class_names) - 1.
      ids: int64 [N], 0 <= id < 2**31 (they are folded into random keys), unique over the whole set.
      class_names: one name a label.
      splits: the splits that the source publishes: name -> int64 indices into the arrays above; disjoint.
    """

    images: UInt8[np.ndarray, "N H W C"]
    labels: np.ndarray
    ids: np.ndarray
    class_names: tuple[str, ...]
    splits: dict[str, np.ndarray]


class Source(NamedTuple):
    """A place that holds a data set.

    Attributes:
      name: the data set's name, as given to `load`.
      location: where it was found; names the cache together with `name`.
      about: what it is and whose splits it publishes, for the report.
      fingerprint: changes whenever the files behind `read` do, and costs less than reading them.
      read: decodes everything, () -> Raw; raises UserError on bad files.
      validation, test: examples to take from the training split where the source has no such split, as shares of it.
    """

    name: str
    location: str
    about: str
    fingerprint: Any
    read: Callable[[], Raw]
    validation: float = 0.1
    test: float = 0.2


class Dataset(NamedTuple):
    """Images with labels and fixed splits, as `Raw` has them; the images are a file's, read-only.

    Attributes:
      name: as given to `load`.
      ids: the same whatever the splits: an example's name.
      splits: {"train", "validation", "test"} -> int64 indices into the arrays above; disjoint, covering all.
      checksum: sha256 (hex) of the images, labels, ids, class names and splits.
      about: what the data are, and which part of what is published each split is.
      checks: of the data, each {"name", "passed", "detail"}.
    """

    name: str
    images: UInt8[np.ndarray, "N H W C"]
    labels: np.ndarray
    ids: np.ndarray
    class_names: tuple[str, ...]
    splits: dict[str, np.ndarray]
    checksum: str
    about: str = ""
    checks: tuple[dict, ...] = ()


def fingerprint(named: Iterable[tuple[str, Path]]) -> list[list]:
    """[name, size, time] of files: changes whenever they do."""
    stats = [(name, files.stat(path)) for name, path in named]
    return [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]


def class_mapping(class_names: Sequence[str], most: int = 12) -> str:
    """`0 cat, 1 dog` of the labels and what they mean, in one line: the first of many, and the last.

    `0 to 9` where classes are named by their labels.
    """
    if [*class_names] == [*map(str, range(len(class_names)))]:
        return f"0 to {len(class_names) - 1}"
    named = [f"{label} {' '.join(name.split())[:40]}" for label, name in enumerate(class_names)]
    return ", ".join(named if len(named) <= most else [*named[: most - 1], "..", named[-1]])


def copies_check(images: UInt8[np.ndarray, "N H W C"], splits: dict[str, np.ndarray]) -> dict:
    """Whether held-out images are no copies, pixel by pixel, of those that classifiers learn from or are tuned on."""
    seen, found = set(), {}
    for split in SPLITS:
        own = [hash(images[i].tobytes()) for i in splits[split]]
        found[split] = sum(one in seen for one in own)
        seen.update(own)
    passed = all(found[split] <= COPIES * len(splits[split]) for split in SPLITS[1:])
    detail = f"{found['validation']} of {len(splits['validation'])} validation images are in train too, "
    detail += f"{found['test']} of {len(splits['test'])} test images in train or validation; expected at "
    detail += f"most {100 * COPIES:g} %"
    return {"name": "data.no_copies", "passed": passed, "detail": detail}


def pixels(images: UInt8[np.ndarray, "*shape"]) -> Float32[np.ndarray, "*shape"]:
    """Images as float32 in [0, 1]: byte / 255. Every radius in this project is in these units."""
    return images.astype(np.float32) / np.float32(255)


def moments(dataset: Dataset) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel over the training split, in pixel units of [0, 1].

    Exact: taken in float64 from the counts of the 256 byte values. A channel that never varies is given a
    standard deviation of 1, so that it can be divided by.

    Returns:
      (mean, std), each a tuple of C floats.
    """
    values = np.arange(256) / 255
    means, stds = [], []
    for counts in _counts(dataset):
        share = counts / counts.sum()
        mean = float(np.sum(share * values))
        variance = float(np.sum(share * np.square(values - mean)))
        means.append(mean)
        stds.append(variance**0.5 if np.count_nonzero(counts) > 1 else 1.0)
    return tuple(means), tuple(stds)


def levels(dataset: Dataset) -> tuple[int, ...]:
    """The byte values that the pixels of the training split take, rising; all 256 where more than half of them occur.

    Images of 17 grey levels (scikit-learn's digits) have 17. Of 8-bit ones a small data set may miss a few.
    """
    found = np.flatnonzero(_counts(dataset).sum(axis=0)).tolist()
    return tuple(found if len(found) <= 128 else range(256))


def level_index(levels: tuple[int, ...]) -> Int[np.ndarray, "256"]:
    """Position among the levels of the one that is nearest to each byte value, the lower one of two."""
    return np.searchsorted((np.asarray(levels[:-1]) + np.asarray(levels[1:])) / 2, np.arange(256))


def _counts(dataset: Dataset) -> Int[np.ndarray, "C 256"]:
    """How often each channel of the training split takes each byte value."""
    train, channels = dataset.splits["train"], dataset.images.shape[-1]
    counted = np.zeros((channels, 256), np.int64)
    for start in range(0, len(train), BLOCK):  # NumPy counts in words of 8 bytes, which all images at once would fill
        block = dataset.images[train[start : start + BLOCK]]
        counted += [np.bincount(block[..., channel].ravel(), minlength=256) for channel in range(channels)]
    return counted
