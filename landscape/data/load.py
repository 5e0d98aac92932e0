"""The one door to all data sets, and the seeded, stratified splits that they lack."""

from pathlib import Path

import numpy as np

from landscape import runs
from landscape.data import digits, fashion_mnist, folder, prepared, tiny_imagenet
from landscape.data.cache import cached, checksum
from landscape.data.dataset import SPLITS, Dataset, Raw, Source, copies_check
from landscape.files import UserError
from landscape.runs import processes

SOURCES = {
    "digits": lambda directory, cache: digits.source(),
    "fashion_mnist": lambda directory, cache: fashion_mnist.source(directory),
    "cifar10": lambda directory, cache: prepared.source("cifar10", prepared.locate("cifar10", directory)),
    "cifar100": lambda directory, cache: prepared.source("cifar100", prepared.locate("cifar100", directory)),
    "tiny_imagenet": tiny_imagenet.source,
}


def load(
    name: str, *, directory: str = "", cache: str | Path = "runs/cache/data", seed: int = 0, resize: int = 0
) -> Dataset:
    """A data set with its training, validation and test splits.

    Published splits are kept; a missing one is carved out of the training split at random, stratified by class, fixed
    by the seed alone. Images are decoded once and cached as uint8 with a checksum.

    Args:
      name: digits | fashion_mnist | cifar10 | cifar100 | tiny_imagenet | folder | tfds:NAME (any image classification
        set of TensorFlow Datasets).
      directory: where its files are; needed by `folder`. See each source for the places looked at without one.
      cache: directory of the decoded arrays. seed: of the carved splits.
      resize: of `folder` and tfds:NAME, whose images may have many sizes: side of the square that each is brought to.

    Raises:
      UserError: unknown name; missing, damaged or empty files; labels out of range; fewer than two classes; training
        images that are all the same.
    """
    cache = Path(cache).expanduser()
    source = _source(name, directory, cache, resize)
    raw, content = cached(source._replace(read=lambda: _checked(name, source.read())), cache)
    runs.check()
    splits = complete(raw.splits, raw.labels, name=name, validation=source.validation, test=source.test, seed=seed)
    _refuse_shared(name, raw.ids, splits)
    drawn = f" drawn from the published train, stratified by class, with seed {seed}"
    parts = [f"{split} {len(splits[split])} images{'' if split in raw.splits else drawn}" for split in SPLITS]
    about = f"{source.about}; {', '.join(parts)}"
    found = checksum(content, splits)
    processes.same("data", found, f"copy the same files of {name} to all hosts")
    checks = (copies_check(raw.images, splits),)
    return Dataset(name, *raw._replace(splits=splits), checksum=found, about=about, checks=checks)


def _source(name: str, directory: str, cache: Path, resize: int) -> Source:
    if name == "folder":
        return folder.source(directory, resize)
    if name.startswith("tfds:"):
        bare = name.removeprefix("tfds:")
        return prepared.source(name, prepared.locate(bare, directory), resize)
    if name not in SOURCES:
        known = ", ".join([*SOURCES, "folder", "tfds:NAME"])
        raise UserError(f"data set {name!r} is not known, expected one of {known}; check --config.data.name")
    return SOURCES[name](directory, cache)


def _checked(name: str, raw: Raw) -> Raw:
    """`raw`, if it can be worked with."""
    if len(raw.class_names) < 2:
        raise UserError(
            f"data set {name!r}: its only class is {raw.class_names[0]!r}, expected two or more to tell apart; add "
            "images of another class"
        )
    first = raw.images[raw.splits["train"][:1]]
    if not any((raw.images[i] != first).any() for i in raw.splits["train"]):
        raise UserError(
            f"data set {name!r}: all {len(raw.splits['train'])} training images are the same, expected images of which "
            "something can be learned; check its files"
        )
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


def _refuse_shared(name: str, ids: np.ndarray, splits: dict[str, np.ndarray]) -> None:
    """Refuses splits that share an example, such as validation images among test ones."""
    found, count = np.unique(np.concatenate([ids[index] for index in splits.values()]), return_counts=True)
    if shared := found[count > 1].tolist():
        own = [split for split, index in splits.items() if shared[0] in ids[index]]
        raise ValueError(
            f"data set {name!r}: {len(shared)} examples are in more than one split, that of id {shared[0]} in "
            f"{' and '.join(own)}; expected each in one; correct its source"
        )


def stratified(labels: np.ndarray, sizes: tuple[int, ...], seed: int) -> tuple[np.ndarray, ...]:
    """Disjoint random parts of the given sizes, in each of which the classes keep their shares.

    Systematic sampling: within its class, example number j of n (in random order) is placed at (j + 1/2) / n; all
    examples are sorted by place, ties in random order, and cut into runs. A run then holds of every class within
    two examples of its proportional share. `sizes` add up to N; the seed alone fixes the split.

    Returns:
      One sorted int64 index array a part; together they are 0 .. N - 1.
    """
    rng = np.random.default_rng(seed)
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    order = np.lexsort((rng.random(len(labels)), place))
    return tuple(np.sort(part).astype(np.int64) for part in np.split(order, np.cumsum(sizes)[:-1]))


def complete(
    published: dict[str, np.ndarray], labels: np.ndarray, *, name: str, validation: float, test: float, seed: int
) -> dict[str, np.ndarray]:
    """The three splits of a data set, as int64 indices: those published, the others carved out of the training split.

    Args:
      published: name -> indices; has "train", may lack "validation" and "test".
      labels: int [N] of the whole set. name: the data set's, for messages.
      validation, test: share of the published training split that goes to a missing split, rounded to whole
        examples, at least one.
    """
    whole = published["train"]
    shares = {"validation": validation, "test": test}
    wanted = {s: max(1, round(shares[s] * len(whole))) for s in ("validation", "test") if s not in published}
    left = len(whole) - sum(wanted.values())
    if left < 1:
        raise UserError(
            f"data set {name!r}: its training split has {len(whole)} example(s), expected at least "
            f"{1 + len(wanted)} since {' and '.join(wanted)} must be taken from it; add examples or these splits"
        )
    parts = stratified(labels[whole], (*wanted.values(), left), seed)
    carved = {split: whole[part] for split, part in zip((*wanted, "train"), parts, strict=True)}
    return {split: carved.get(split, published.get(split)) for split in SPLITS}
