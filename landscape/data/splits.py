"""Seeded, stratified splits."""

import numpy as np

from landscape.data.dataset import SPLITS
from landscape.files import UserError


def stratified(labels: np.ndarray, sizes: tuple[int, ...], seed: int) -> tuple[np.ndarray, ...]:
    """Disjoint random parts of the given sizes, in each of which the classes keep their shares.

    Systematic sampling: within its class, example number j of n (in random order) is placed at (j + 1/2) / n; all
    examples are sorted by place, ties in random order, and cut into runs. A run then holds of every class within
    two examples of its proportional share.

    Args:
      labels: int [N].
      sizes: examples in each part; their sum must be N.
      seed: fixes the split; nothing else does.

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
    """The three splits of a data set: those published, the others carved out of the training split.

    Args:
      published: name -> indices; has "train", may lack "validation" and "test".
      labels: int [N] of the whole set.
      name: the data set's, for messages.
      validation, test: share of the published training split that goes to a missing split, rounded to whole
        examples, at least one.
      seed: of the carving.

    Returns:
      {"train", "validation", "test"} -> int64 indices.
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
