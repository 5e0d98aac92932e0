"""Members to be trained: seeds x swept hyperparameters, and controls."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

CONTROLS = ("trained", "untrained", "shuffled")


class Member(NamedTuple):
    """One model to be had: a classifier or an autoencoder.

    Attributes:
      seed: its number i; its random keys are folded from (config.seed, i). The members of a sweep with one seed share
        initial weights and the order of examples, so that values are compared in pairs.
      control: "trained"; "untrained", its initial weights; "shuffled", trained on labels permuted once for all.
      hyper: its own numbers, a NamedTuple of hyperparameters that change no shape.
      file: number of the config's file that it is, or that its training starts from; None for neither.
    """

    seed: int
    control: str
    hyper: Any
    file: int | None = None


def grid(base: Any, sweep: Mapping[str, Sequence[float]], num_seeds: int) -> list[Member]:
    """Trained members: every combination of swept values for every seed, seeds fastest.

    Args:
      base: hyperparameters, a NamedTuple; those without swept values keep theirs.
      sweep: values by name; empty ones are not swept.
    """
    names = type(base)._fields
    values = [tuple(map(float, sweep.get(name, ()))) or (float(getattr(base, name)),) for name in names]
    points = [type(base)(*point) for point in itertools.product(*values)]
    return [Member(seed, "trained", point) for point in points for seed in range(num_seeds)]


def stack_hyper(members: Sequence[Member]) -> Any:
    """The members' hyperparameters as float32 arrays [S]."""
    values = zip(*(m.hyper for m in members), strict=True)
    return type(members[0].hyper)(*(np.asarray(v, np.float32) for v in values))
