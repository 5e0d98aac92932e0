"""What the estimates of `connectivity` are made of: values along paths by kind of pair, and which of them count."""

from typing import NamedTuple

import numpy as np

from landscape.types import Arrays

LEAST = 5  # pairs that every member needs
REFERENCE = "genuine"


class Told(NamedTuple):
    """Values of all kinds and paths, [S, Q] each, and which of them count."""

    arrays: Arrays
    kinds: tuple[str, ...]
    paths: tuple[str, ...]

    def of(self, name: str, kind: str, path: str) -> np.ndarray:
        values = self.arrays[name][1][self.kinds.index(kind), self.paths.index(path)].astype(np.float64)
        return values

    def end(self, name: str, kind: str) -> np.ndarray:
        return self.arrays[name][1][self.kinds.index(kind)].astype(np.float64)

    def mask(self, kind: str, path: str) -> np.ndarray:
        return self.of("valid", kind, path) == 1

    def has(self, kind: str, path: str) -> bool:
        """Whether every member has pairs enough."""
        known = kind in self.kinds and path in self.paths
        return known and bool(np.all(self.mask(kind, path).sum(axis=1) >= LEAST))


class Found(NamedTuple):
    """Estimates, and arrays for the figures."""

    estimates: list[dict]
    curves: Arrays


def carried(mask: np.ndarray) -> int:
    """Pairs that count for at least one member."""
    return int(mask.any(axis=0).sum())
