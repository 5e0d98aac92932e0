"""What is tried, and what is trained for good: arms of a run, each chosen among its trials on validation images."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from landscape.experiments.augmentation.config import AUTOENCODER, IMAGE, NOTHING, layers_of
from landscape.training.runner_up import CODED, EACH_STEP, KINDS, Augmentation, acts

RUNNER_UP, RANDOM, MIXUP, BATCH_SUM = range(len(KINDS))


class Layers(NamedTuple):
    """Layers of a classifier in which examples are moved, in its order: directly, and through their autoencoders."""

    direct: tuple[str, ...]
    coded: tuple[str, ...]

    @classmethod
    def of(cls, config, known: tuple[str, ...]) -> "Layers":
        """Those that a config asks for; `known`: the classifier's, "image" first."""
        section = config.augmentation
        return cls(layers_of(section.layers, known), layers_of(section.coded_layers, known) if section.coded else ())


class Trial(NamedTuple):
    """One way to train. arm: that it is tried for. radius: of adversarial training, pixels."""

    arm: str
    how: Augmentation = Augmentation()
    radius: float = 0.0

    @property
    def size(self) -> float:
        """The number by which trials of one arm differ first: alpha, the radius, or epsilon."""
        return self.how.alpha or self.radius or self.how.epsilon

    def layer(self, layers: Layers) -> str:
        """The layer in which it moves examples."""
        return (layers.coded if self.how.coded else layers.direct)[int(self.how.layer)]

    def setting(self, layers: Layers) -> str:
        """It in words."""
        how = self.how
        if self.radius:
            return f"radius {self.radius:.3g}"
        if how.kind == MIXUP:
            return f"alpha {how.alpha:.3g}"
        if not how.probability:
            return ""
        where = self.layer(layers)
        if how.coded:
            where = f"{AUTOENCODER}{'' if where == IMAGE else f' of {where}'}, {CODED[how.coded]}"
        parts = [where, f"epsilon {how.epsilon:g}"]
        return ", ".join([*parts, f"p {how.probability:g}", *(["if correct"] if how.correct else [])])


def moves_of(config, layers: Layers) -> list[Trial]:
    """Moves toward the runner-up class of every size, in every layer, directly and through its autoencoder."""
    section = config.augmentation
    numbers = [
        {"epsilon": epsilon, "probability": probability, "correct": int(gate == "correct")}
        for epsilon, probability, gate in itertools.product(section.epsilons, section.probabilities, section.gates)
    ]
    direct = [Trial(name, Augmentation(layer=i, **one)) for i, name in enumerate(layers.direct) for one in numbers]
    coded = []
    for i, name in enumerate(layers.coded):
        arm = AUTOENCODER if name == IMAGE else f"{AUTOENCODER}_{name}"
        forms = itertools.product(map(CODED.index, section.coded), numbers)
        coded += [Trial(arm, Augmentation(layer=i, coded=form, **one)) for form, one in forms]
    return direct + coded


def trials_of(config, layers: Layers) -> list[Trial]:
    """Everything that is tried: the moves, and as many trials of each control as the moves have in all."""
    section, moves = config.augmentation, moves_of(config, layers)
    trials = moves + [Trial("random_tuned", move.how._replace(kind=RANDOM)) for move in moves]
    alphas = np.geomspace(*section.alphas, len(moves))
    mixups = {"manifold_mixup": EACH_STEP}
    if "input_mixup" in section.controls:
        mixups["input_mixup"] = layers.direct.index(IMAGE)
    trials += [Trial(arm, Augmentation(MIXUP, layer, alpha=float(a))) for arm, layer in mixups.items() for a in alphas]
    if "adversarial" in section.controls:
        trials += [Trial("adversarial", radius=float(r)) for r in np.geomspace(*section.radii, len(moves))]
    if "reconstruct" in section.controls:
        replace = {"coded": CODED.index("replace"), "epsilon": 0.0}
        grid = itertools.product(range(len(layers.coded)), section.probabilities, section.gates)
        trials += [
            Trial("reconstruct", Augmentation(layer=i, probability=p, correct=int(gate == "correct"), **replace))
            for i, p, gate in grid
        ]
    return trials


def chosen(trials: Sequence[Trial], accuracy: np.ndarray, loss: np.ndarray, section) -> tuple[list[Trial], str]:
    """The trial of each arm that is best on validation images, and which move is the best of all.

    The highest mean accuracy over the search's seeds wins, of equal ones the lowest mean loss. Of the moves the best
    `section.num_moves` are arms, all where that is 0.

    Args:
      accuracy, loss: of each trial, [trial].

    Returns:
      (arms in the order of figures: `nothing` first, then the moves, then controls; the name of the best move.)
    """
    order = sorted(range(len(trials)), key=lambda i: (-round(float(accuracy[i]), 9), float(loss[i])))
    first = {}
    for i in order:
        first.setdefault(trials[i].arm, trials[i])
    names, moves = [*dict.fromkeys(trial.arm for trial in trials)], [arm for arm in first if is_move(first[arm])]
    best, kept = first[moves[0]], moves[: section.num_moves or None]
    found = [Trial(NOTHING), *(first[name] for name in names if name in kept)]
    found.append(Trial("random", best.how._replace(kind=RANDOM)))
    found += [first[name] for name in names if name not in moves]
    if "batch_sum" in section.controls:
        found.append(Trial("batch_sum", best.how._replace(kind=BATCH_SUM)))
    return found, best.arm


def is_move(trial: Trial) -> bool:
    """Whether a trial is a move toward the runner-up, one of those that compete."""
    return acts(trial.how) and trial.how.kind == RUNNER_UP and trial.how.epsilon > 0
