"""Means over pairs of members of what one makes of another's adversarial examples, with their intervals.

Attackers judge one another: `pseudo_values`, in which a member counts as source and as judge. Held-out members judge
all attackers alike: one value each, the mean over attackers, who are taken as given; so do controls.
"""

from typing import NamedTuple

import numpy as np

from landscape.experiments.shared_setting import ATTACKER, CONTROLS, HELD_OUT
from landscape.stats.intervals import Interval, interval, of_share
from landscape.stats.pseudo_values import pseudo_values
from landscape.stats.transfer import chance_matrix, condition_mask, outcomes
from landscape.types import Arrays

TARGETS = ("attackers", "held_out", *CONTROLS)
NONE = np.zeros(0, int)
LEAST = 5  # images for an interval
QUANTITIES = ("wrong", "same", "different", "chance", "same_beyond_chance", "noise", "aim")
SHARES = ("wrong", "same", "different", "chance", "noise", "aim")


class Members(NamedTuple):
    """Places on the axis of targets: of attackers and held-out members that have learned, and of controls by kind."""

    attackers: np.ndarray
    held_out: np.ndarray
    controls: dict[str, np.ndarray] = {}  # noqa: RUF012

    @property
    def all(self) -> np.ndarray:
        return np.concatenate([self.attackers, self.held_out])

    def judges(self, targets: str) -> np.ndarray:
        """Who judges, by one of TARGETS."""
        return {"attackers": self.attackers, "held_out": self.held_out}.get(targets, self.controls.get(targets, NONE))


def members_of(role: np.ndarray) -> Members:
    """The members that statistics are of."""
    controls = {kind: np.flatnonzero(role == kind) for kind in CONTROLS}
    return Members(np.flatnonzero(role == ATTACKER), np.flatnonzero(role == HELD_OUT), controls)


class Seen(NamedTuple):
    """One attack under one condition.

    of: by one of QUANTITIES, [source, target, example] of all sources and targets; what is of chance is computed on the
    common images. mask: images that count for each source, [source, example]. common: those that count for all learned
    sources, [example]. own_chance: chance on each source's own images, [source, target, example].
    """

    of: dict[str, np.ndarray]
    mask: np.ndarray
    common: np.ndarray
    own_chance: np.ndarray


def seen(arrays: Arrays, attack: int, condition: str) -> Seen:
    """What all targets make of one attack's examples, as values whose means are shares."""
    members, label = members_of(arrays["role"][1]), arrays["label"][1]
    told = arrays["prediction"][1][attack].astype(int)
    count = len(told)
    own = told[np.arange(count), np.arange(count)]
    mask = condition_mask(condition, arrays["clean_prediction"][1][members.all], own, label)
    outcome = outcomes(own[:, None], told, label)
    common = mask[members.attackers].all(axis=0)
    chance = chance_matrix(own, told, label, np.broadcast_to(common, mask.shape))
    alike = np.array_equal(mask, np.broadcast_to(common, mask.shape))
    of = {"wrong": outcome != 0, "same": outcome == 1, "different": outcome == 2}
    of = {name: value.astype(float) for name, value in of.items()}
    of |= {"chance": chance, "same_beyond_chance": of["same"] - chance}
    of["aim"] = (told == arrays["aim"][1]).astype(float)
    of["noise"] = arrays["noise_wrong"][1][attack].astype(float)
    return Seen(of, mask, common, chance if alike else chance_matrix(own, told, label, mask))


def over_pairs(values: np.ndarray, members: Members, targets: str) -> Interval:
    """Mean over pairs of values [source, target, N]: attackers with one another, or attackers with other judges."""
    rows = values[members.attackers]
    if targets == "attackers":
        return interval(pseudo_values(rows[:, members.attackers]))
    return interval(rows[:, members.judges(targets)].mean(axis=0))


def told(one: Seen, quantity: str, members: Members, targets: str) -> Interval | None:
    """A quantity over the images that all pairs have in common; None where they, or judges, are too few."""
    common = one.common
    if common.sum() < LEAST or not len(members.judges(targets)):
        return None
    found = over_pairs(one.of[quantity][..., common], members, targets)
    return of_share(found, int(common.sum())) if quantity in SHARES else found
