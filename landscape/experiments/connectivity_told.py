"""What the estimates of `connectivity` are made of: values along paths by kind of pair, and which of them count."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from landscape.presets.names import LEAST_PAIRS as LEAST
from landscape.stats.influence import masked_mean
from landscape.stats.intervals import MIN_MEMBERS, Interval, interval
from landscape.types import Arrays

REFERENCE = "genuine"
TRADED = "same_member"  # each member's example stands in two rows


class Told(NamedTuple):
    """Values of all kinds and paths, [S, Q] each, and which of them count."""

    arrays: Arrays
    kinds: tuple[str, ...]
    paths: tuple[str, ...]

    def of(self, name: str, kind: str, path: str) -> np.ndarray:
        """Of one path, [S, Q]."""
        return self.kind(name, kind)[self.paths.index(path)]

    def kind(self, name: str, kind: str) -> np.ndarray:
        """Of all paths, [P, S, ..., Q]; of ends, or of the bypass alone, [S, ..., Q]."""
        return self.arrays[name][1][self.kinds.index(kind)].astype(np.float64)

    def mask(self, kind: str, path: str) -> np.ndarray:
        return self.of("valid", kind, path) == 1

    def has(self, kind: str, path: str) -> bool:
        """Whether members enough have pairs enough."""
        known = kind in self.kinds and path in self.paths
        return known and len(members(self.mask(kind, path))) > 0


class Found(NamedTuple):
    """Estimates, and arrays for the figures."""

    estimates: list[dict]
    curves: Arrays


def members(*masks: Bool[np.ndarray, "S Q"], least: int = LEAST) -> np.ndarray:
    """Places of members with enough pairs in each mask; none where fewer than MIN_MEMBERS, or all of fewer, have."""
    rows = np.flatnonzero(np.all([mask.sum(axis=1) >= least for mask in masks], axis=0))
    return rows if len(rows) >= min(MIN_MEMBERS, len(masks[0])) else rows[:0]


def mean(kind: str, values: Float[np.ndarray, "S Q"], mask: Bool[np.ndarray, "S Q"]) -> Interval:
    """Mean over the members that have pairs enough of each one's mean over its own pairs.

    Of TRADED the members are taken as given: rows share examples, and their spread is no standard error.
    """
    rows = members(mask)
    influence = masked_mean(values[rows], mask[rows])
    return interval(influence.mean(axis=0, keepdims=True) if kind == TRADED else influence)


def about(kind: str, mask: Bool[np.ndarray, "S Q"]) -> dict:
    """Coordinates of an estimate of `mean`: the kind, its pairs, and of TRADED that the members are taken as given."""
    given = {"members": len(members(mask)), "generalises_to": "new images"} if kind == TRADED else {}
    return {"population": kind, "examples": carried(mask)} | given


def carried(mask: Bool[np.ndarray, "S Q"]) -> int:
    """Pairs that count for at least one of the members that do."""
    return int(mask[members(mask)].any(axis=0).sum())
