"""What a config of `augmentation` may say: values that would run but mean something else are refused in one line."""

import re
from typing import Any

from ml_collections import ConfigDict

from landscape.files import UserError
from landscape.presets import ALL, LAYERS, OPPOSITE_PAIRS, Field, is_own
from landscape.presets.names import CODED as CODES
from landscape.presets.names import FAMILIES
from landscape.stats.claims import DIRECTIONS

IMAGE, AUTOENCODER = "image", "autoencoder"
NOTHING, BEST = "nothing", "best"  # arms: without augmentation; the move that validation images prefer
GATES = ("always", "correct")
CODED = ("residual", "replace")
CONTROLS = ("input_mixup", "adversarial", "batch_sum", "reconstruct")  # beyond those of every run
CLAIMED = ("accuracy.test", "calibration.nll", "attack.robust_accuracy")
REFERENCES = ("nothing", "random", "random_tuned", "manifold_mixup")  # what the best arm is compared with
NAMES = Field((ALL, IMAGE, *sorted({name for layers in LAYERS.values() for name in layers})))
FIELDS = {
    "num_members": Field(least=2),
    "augmentation.layers": NAMES,
    "augmentation.coded_layers": NAMES,
    "augmentation.gates": Field(GATES),
    "manifold.family": Field(tuple(family for family in FAMILIES if family not in CODES)),  # moves need gradients
    "augmentation.coded": Field(CODED, may_be_empty=True),
    "augmentation.controls": Field(CONTROLS, may_be_empty=True),
    "augmentation.num_finetune_epochs": Field(least=0),
    "augmentation.num_moves": Field(least=0),
    "hidden.dim": Field(least=1),
    "measure.num_draws": OPPOSITE_PAIRS,
}


def layers_of(wanted: tuple[str, ...], known: tuple[str, ...]) -> tuple[str, ...]:
    """The layers that a config asks for, in the classifier's order; `known` begins with the image."""
    return known if ALL in wanted else tuple(name for name in known if name in wanted)


def check(config: ConfigDict, fields: dict[str, Any]) -> None:
    """UserError for what the stages would find out late."""
    section = config.augmentation

    def refuse(name: str, expected: str) -> None:
        raise UserError(f"{name}={fields[name]}: expected {expected}")

    if is_own(config.model.name):
        raise UserError(
            f"model.name={config.model.name!r}: expected with other experiments, since training has to be cut at the "
            "layers of a classifier that is built here; leave it out"
        )
    if config.model.checkpoints:
        raise UserError(
            "model.checkpoints: expected none with augmentation, whose classifiers are trained in pairs from the same "
            "initial weights; try --config.augmentation.num_finetune_epochs=5, which finetunes members trained here"
        )
    swept = [name for name, values in fields.items() if re.match(r"(autoencoder\.)?sweep\.", name) and values]
    if swept:
        refuse(swept[0], "no sweep, since arms are compared under one training; run once for each value")
    known = (ALL, IMAGE, *LAYERS[config.model.name])
    for field in ("layers", "coded_layers"):
        for name in section[field]:
            if name not in known:
                refuse(f"augmentation.{field}", f"some of {', '.join(known)}, which {config.model.name} has")
    for name in ("epsilons", "probabilities"):
        if not section[name] or min(section[name]) <= 0:
            refuse(f"augmentation.{name}", "one or more numbers above 0; the arm 'nothing' is trained without")
    if max(section.probabilities) > 1:
        refuse("augmentation.probabilities", "probabilities, such as (0.5, 1.0)")
    for name in ("alphas", "radii"):
        if len(section[name]) != 2 or not 0 < section[name][0] < section[name][1]:
            refuse(f"augmentation.{name}", "the smallest and the largest value that are tried, above 0")
    if "input_mixup" in section.controls and IMAGE not in layers_of(section.layers, known[1:]):
        refuse("augmentation.layers", "image among them, where input_mixup takes place")
    if "reconstruct" in section.controls and not section.coded:
        refuse("augmentation.controls", "no reconstruct without augmentation.coded, which names autoencoder arms")
    for name, claim in config.claims.items():
        if claim.measure not in CLAIMED or claim.reference not in REFERENCES or claim.direction not in DIRECTIONS:
            raise UserError(
                f"claims.{name}: expected a measure among {', '.join(CLAIMED)}, a reference among "
                f"{', '.join(REFERENCES)}, and the direction greater or less"
            )
