"""What is tried, and what is trained for good: arms of a run, each chosen among its trials on validation images."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from landscape.experiments.augmentation.config import AUTOENCODER, IMAGE, NOTHING
from landscape.training.runner_up import CODED, EACH_STEP, KINDS, Augmentation, acts

RUNNER_UP, RANDOM, MIXUP, BATCH_SUM = range(len(KINDS))


class Trial(NamedTuple):
    """One way to train. arm: that it is tried for. radius: of adversarial training, pixels."""

    arm: str
    how: Augmentation = Augmentation()
    radius: float = 0.0

    @property
    def size(self) -> float:
        """The number by which trials of one arm differ first: alpha, the radius, or epsilon."""
        return self.how.alpha or self.radius or self.how.epsilon

    def setting(self, layers: Sequence[str]) -> str:
        """It in words."""
        how = self.how
        if self.radius:
            return f"radius {self.radius:.3g}"
        if how.kind == MIXUP:
            return f"alpha {how.alpha:.3g}"
        if not how.probability:
            return ""
        where = AUTOENCODER if how.coded else layers[int(how.layer)]
        parts = [where, *([CODED[how.coded]] if how.coded else []), f"epsilon {how.epsilon:g}"]
        return ", ".join([*parts, f"p {how.probability:g}", *(["if correct"] if how.correct else [])])


def moves_of(config, layers: Sequence[str]) -> list[Trial]:
    """Moves toward the runner-up class: every layer asked for, and the image through its autoencoder, of every size.

    Args:
      layers: those that the config asks for, in order.
    """
    section = config.augmentation
    numbers = [
        {"epsilon": epsilon, "probability": probability, "correct": int(gate == "correct")}
        for epsilon, probability, gate in itertools.product(section.epsilons, section.probabilities, section.gates)
    ]
    direct = [Trial(name, Augmentation(layer=i, **one)) for i, name in enumerate(layers) for one in numbers]
    coded = [
        Trial(AUTOENCODER, Augmentation(coded=CODED.index(form), **one)) for form in section.coded for one in numbers
    ]
    return direct + coded


def trials_of(config, layers: Sequence[str]) -> list[Trial]:
    """Everything that is tried: the moves, and as many trials of each control as the moves have in all."""
    section, moves = config.augmentation, moves_of(config, layers)
    trials = moves + [Trial("random_tuned", move.how._replace(kind=RANDOM)) for move in moves]
    alphas = np.geomspace(*section.alphas, len(moves))
    trials += [Trial("manifold_mixup", Augmentation(kind=MIXUP, layer=EACH_STEP, alpha=float(a))) for a in alphas]
    if "input_mixup" in section.controls:
        trials += [
            Trial("input_mixup", Augmentation(kind=MIXUP, layer=layers.index(IMAGE), alpha=float(a))) for a in alphas
        ]
    if "adversarial" in section.controls:
        trials += [Trial("adversarial", radius=float(r)) for r in np.geomspace(*section.radii, len(moves))]
    if "reconstruct" in section.controls:
        replace = {"coded": CODED.index("replace"), "epsilon": 0.0}
        gates = [(p, int(gate == "correct")) for p in section.probabilities for gate in section.gates]
        trials += [Trial("reconstruct", Augmentation(probability=p, correct=gate, **replace)) for p, gate in gates]
    return trials


def chosen(trials: Sequence[Trial], accuracy: np.ndarray, loss: np.ndarray, section) -> tuple[list[Trial], str]:
    """The trial of each arm that is best on validation images, and which move is the best of all.

    The highest mean accuracy over the search's seeds wins, of equal ones the lowest mean loss.

    Args:
      accuracy, loss: of each trial, [trial].

    Returns:
      (arms in the order of figures: `nothing` first, then the moves, then controls; the name of the best move.)
    """
    order = sorted(range(len(trials)), key=lambda i: (-round(float(accuracy[i]), 9), float(loss[i])))
    first = {}
    for i in order:
        first.setdefault(trials[i].arm, trials[i])
    moves = {trial.arm for trial in trials if is_move(trial)}
    best = next(trials[i] for i in order if trials[i].arm in moves)
    found = [Trial(NOTHING), *(first[name] for name in dict.fromkeys(t.arm for t in trials) if name in moves)]
    found.append(Trial("random", best.how._replace(kind=RANDOM)))
    found += [first[name] for name in dict.fromkeys(t.arm for t in trials) if name not in moves]
    if "batch_sum" in section.controls:
        found.append(Trial("batch_sum", best.how._replace(kind=BATCH_SUM)))
    return found, best.arm


def is_move(trial: Trial) -> bool:
    """Whether a trial is a move toward the runner-up, one of those that compete."""
    return acts(trial.how) and trial.how.kind == RUNNER_UP and trial.how.epsilon > 0


def layer_of(trial: Trial, layers: Sequence[str]) -> str:
    """The layer in which examples are moved; the image where they go through its autoencoder."""
    return IMAGE if trial.how.coded else layers[int(trial.how.layer)]
