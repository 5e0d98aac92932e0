"""Which images make a pair. NumPy.

A *pair* is two inputs that a member predicts as one class c. Pairs are made of images that all members classify
rightly, class by class in turn: the `reference` image and its `partner` are of class c; the `source` image is of
another class, and its most probable wrong class, by the members' mean, is c; there attacks aim. Natural errors come
behind them, each with a reference image of the class that it is most often taken for. No image is in two pairs, so
that pairs are the units of all statistics.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

NONE = -1  # where a pair lacks an image
SOURCES = 2  # images that a pair takes for its source, of which the first is used


class Pairs(NamedTuple):
    """Places of each pair's images on the axis of examples, [Q], NONE where there is none.

    The first `regular` pairs have all three; the others are natural errors, the error standing as `source`. label: the
    class c.
    """

    reference: np.ndarray
    partner: np.ndarray
    source: np.ndarray
    label: np.ndarray
    regular: int

    def rows(self, kind: str) -> np.ndarray:
        """The places of a kind's pairs."""
        first, last = (self.regular, len(self.label)) if kind == "natural_error" else (0, self.regular)
        return np.arange(first, last)


def pairs_of(
    label: Int[np.ndarray, " N"],
    prediction: Int[np.ndarray, "S N"],
    probability: Float[np.ndarray, "N K"],
    *,
    num_pairs: int,
    num_errors: int,
    seed: int,
) -> Pairs:
    """Up to `num_pairs` regular pairs and up to `num_errors` natural errors; probability is the members' mean."""
    rng = np.random.default_rng([seed, 4])
    right = np.all(prediction == label, axis=0)
    masked = probability.copy()
    masked[np.arange(len(label)), label] = -np.inf
    likely = masked.argmax(axis=1)
    order = rng.permutation(np.flatnonzero(right)).tolist()
    # Natural errors first draw their reference images from the end of the order, so that they do not starve.
    errors, left = _errors(label, prediction, order, num_errors, rng)
    found, classes = [], sorted(set(label.tolist()))
    while classes and len(found) < num_pairs:
        for c in tuple(classes):
            genuine = [i for i in left if label[i] == c][:2]
            sources = [i for i in left if likely[i] == c and label[i] != c][:SOURCES]
            if len(genuine) < 2 or len(sources) < SOURCES:
                classes.remove(c)
                continue
            used = {*genuine, *sources}
            left = [i for i in left if i not in used]
            found.append((*genuine, sources[0], c))
            if len(found) == num_pairs:
                break
    rows = [*found, *((reference, NONE, error, c) for reference, error, c in errors)]
    return Pairs(*np.asarray(rows, int).reshape(-1, 4).T, regular=len(found))


def _errors(label, prediction, order: list[int], count: int, rng) -> tuple[list[tuple[int, int, int]], list[int]]:
    """((reference, error, class) of each natural error, the images that are left)."""
    wrong = np.flatnonzero(np.any(prediction != label, axis=0))
    found, left = [], list(order)
    for error in rng.permutation(wrong).tolist()[:count]:
        own = prediction[:, error]
        values, counts = np.unique(own[own != label[error]], return_counts=True)
        c = int(values[counts.argmax()])
        reference = next((i for i in reversed(left) if label[i] == c), None)
        if reference is not None:
            left.remove(reference)
            found.append((reference, error, c))
    return found, left


def drawn(
    values: Float[np.ndarray, "S N"], mask: np.ndarray, count: int, *, seed: tuple[int, int], otherwise: float
) -> Float[np.ndarray, "S Q"]:
    """`count` values drawn from each member's own masked ones, with replacement; `otherwise` where it has none."""
    rng = np.random.default_rng(seed)
    found = np.full((len(values), count), otherwise, np.float32)
    for own, one, valid in zip(found, values, mask.astype(bool), strict=True):
        if valid.any():
            own[:] = rng.choice(one[valid], size=count)
    return found


class Nodes(NamedTuple):
    """How many nodes of each kind a class's graph has, the classes, and rows of their pairs, [class, row]."""

    count: int
    classes: np.ndarray
    rows: np.ndarray


def nodes_of(pairs: Pairs, most: int, num_classes: int) -> Nodes:
    """As many nodes of each kind, at most `most`, as half of the classes have pairs enough for; those classes."""
    by_class = [np.flatnonzero(pairs.label[: pairs.regular] == c) for c in range(num_classes)]
    enough = np.asarray([len(rows) for rows in by_class])
    sizes = [count for count in range(1, most + 1) if 2 * np.sum(enough >= count) >= np.sum(enough > 0) > 0]
    count = max(sizes, default=0)
    classes = np.flatnonzero(enough >= count) if count else np.zeros(0, int)
    return Nodes(count, classes, np.asarray([by_class[c][:count] for c in classes], int).reshape(len(classes), count))
