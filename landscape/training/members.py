"""Which members a config asks for: seeds x swept hyperparameters, and controls."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike

CONTROLS = ("trained", "untrained", "shuffled")


class Hyper(NamedTuple):
    """Hyperparameters that change no shape: numbers of one member, or arrays [S] along the member axis.

    Attributes:
      learning_rate: of AdamW at the first step; it falls to 0 along half a cosine.
      weight_decay: of kernels, decoupled; multiplied by the learning rate at each step.
      label_smoothing: share of the target spread evenly over all classes.
      input_noise: standard deviation of Gaussian noise on the training images, pixels in [0, 1].
      weight_noise: standard deviation of multiplicative Gaussian noise on the weights, fresh at each step.
    """

    learning_rate: ArrayLike
    weight_decay: ArrayLike
    label_smoothing: ArrayLike
    input_noise: ArrayLike
    weight_noise: ArrayLike


class Member(NamedTuple):
    """One classifier to be had.

    Attributes:
      seed: its number i; its random keys are folded from (config.seed, i). The members of a sweep with one seed share
        initial weights and the order of examples, so that values are compared in pairs.
      control: "trained"; "untrained", its initial weights; "shuffled", trained on labels permuted once for all.
      hyper: its own numbers.
    """

    seed: int
    control: str
    hyper: Hyper


def members_of(config) -> list[Member]:
    """Trained members, every swept value for every seed (seeds fastest), then untrained and shuffled controls.

    Controls take the hyperparameters of `config.train`, and the seeds 0, 1, ... again.
    """
    base = Hyper(*(float(config.train[name]) for name in Hyper._fields))
    values = [tuple(map(float, config.sweep[name])) or (getattr(base, name),) for name in Hyper._fields]
    trained = [
        Member(seed, "trained", Hyper(*point))
        for point in itertools.product(*values)
        for seed in range(config.num_members)
    ]
    controls = [
        Member(seed, control, base) for control in CONTROLS[1:] for seed in range(config.control_members[control])
    ]
    return trained + controls


def stack_hyper(members: Sequence[Member]) -> Hyper:
    """The members' hyperparameters as float32 arrays [S]."""
    return Hyper(*(np.asarray(values, np.float32) for values in zip(*(m.hyper for m in members), strict=True)))
