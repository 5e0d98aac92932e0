"""The check of a finished config: values that would run but mean something else are refused in one line."""

import math
import re
from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict

from landscape.files import UserError
from landscape.presets import (
    autoencoder_check,
    gradients_check,
    noise_check,
    own_check,
    shared_check,
    training_check,
)
from landscape.presets.names import (
    ACTIVATIONS,
    AVERAGES,
    CURVES,
    FAMILIES,
    GUIDES,
    INPUT_NOISES,
    JOINT,
    KERNELS,
    LADDER_SEARCHES,
    MEASURES,
    MODEL_NORMS,
    MODELS,
    NETWORKS,
    NOISE_ARMS,
    NOISE_SEARCHES,
    NORMS,
    OPTIMIZERS,
    PAIRS,
    PATHS,
    PRECISIONS,
    RESNETS,
    RULES,
    RUNGS,
    SHARED_ATTACKS,
    STEMS,
    VALUES,
    WEIGHT_MATCHINGS,
    WEIGHT_NOISES,
    did_you_mean,
)
from landscape.presets.resolve import unchecked
from landscape.presets.values import DATASETS, is_dataset

NAMES = {  # by field
    "model.name": MODELS,
    "model.norm": MODEL_NORMS,
    "model.activation": ACTIVATIONS,
    "model.stem": STEMS,
    "held_out_model.name": MODELS,
    "held_out_model.norm": MODEL_NORMS,
    "held_out_model.activation": ACTIVATIONS,
    "held_out_model.stem": STEMS,
    "train.optimizer": OPTIMIZERS,
    "train.precision": PRECISIONS,
    "train.adversarial.norm": NORMS,
    "search.norm": NORMS,
    "flatness.noises": INPUT_NOISES,
    "weight.noises": WEIGHT_NOISES,
    "benchmark.models": MODELS,
    "measures": MEASURES,
    "autoencoder.families": FAMILIES,
    "autoencoder.ladder": FAMILIES,
    "autoencoder.network": NETWORKS,
    "hidden.families": FAMILIES,
    "families": FAMILIES,
    "mcmc.kernels": KERNELS,
    "mcmc.guide": GUIDES,
    "maps.value": VALUES,
    "ascent.value": VALUES,
    "ascent.rule": RULES,
    "guided.value": VALUES,
    "guided.rule": RULES,
    "noise.searches": NOISE_SEARCHES,
    "noise.arms": NOISE_ARMS,
    "noise.kind": WEIGHT_NOISES,
    "noise.average": AVERAGES,
    "pixels.norm": NORMS,
    "manifold.family": FAMILIES,
    "transfer.attacks": SHARED_ATTACKS,
    "joint.objectives": JOINT,
    "ladder.rungs": RUNGS,
    "ladder.searches": LADDER_SEARCHES,
    "joint.radius_objective": JOINT,
    "pairs.kinds": PAIRS,
    "paths.more": PATHS[2:],
    "paths.kinds": PAIRS,
    "weights.matchings": WEIGHT_MATCHINGS,
    "weights.curves": CURVES,
}
# Fresh and frozen draws, k members, and lines are always compared.
MAY_BE_EMPTY = ("noise.arms", "ladder.rungs", "paths.more", "paths.kinds", "weights.curves")
FLAGS = ("smoke", "autoencoder.spatial", "noise.re_estimate", "model.finetune", "held_out_model.finetune")
# A standard error takes two.
LEAST = {
    "flatness.num_trials": 2,
    "weight.num_draws": 2,
    "curvature.num_probes": 2,
    "autoencoder.dim": 1,
    "trajectory.num_models": 2,
}
LEAST |= {"noise.num_sources": 2, "measure.num_trials": 2, "measure.num_probes": 2}
LEAST |= {"shapes.num_trials": 2, "shapes.num_probes": 2}
LEAST |= {"graph.num_nodes": 0}  # 0 leaves them out
LEAST |= {"model.num_trained": 0, "held_out_model.num_trained": 0}
LEAST |= {"maps.num_trials": 2, "guided.num_trials": 2, "num_alone": 2}
CHECKS = {  # by experiment
    "autoencoders": (autoencoder_check.check,),
    "latent": (autoencoder_check.check,),
    "gradients": (autoencoder_check.check, gradients_check.check),
    "noise": (autoencoder_check.check, noise_check.check),
    "shared": (autoencoder_check.check, shared_check.check),
    "connectivity": (autoencoder_check.check,),
}


def validate(config: ConfigDict) -> None:
    """Refuses values that would run but mean something else. Changes nothing.

    Raises:
      UserError: names the field, its value, what was expected and what to try.
    """
    fields = dict(leaves(config))
    if not is_dataset(fields["data.name"]):
        _check_names("data.name", fields["data.name"], (*DATASETS, "tfds:NAME"))
    for name, value in fields.items():
        if unchecked(name, value):
            continue
        if name in NAMES:
            _check_names(name, value, NAMES[name])
        elif isinstance(value, tuple) and not name.startswith(("claims.", "hidden.layers", "ascent.layers")):
            _check_numbers(name, value)
        elif isinstance(value, int | float) and name not in FLAGS:
            _check_numbers(name, (value,))
            least = LEAST.get(name, 1 if re.search(r"(^|\.)(num_\w+|batch_size)$", name) else 0)
            if value < least:
                raise UserError(f"{name}={value}: expected at least {least}; leave the field out to keep its default")
    if fields.get("inputs") and config.experiment != "flatness":
        raise UserError(f"inputs={fields['inputs']!r}: expected with configs/flatness.py alone; leave it out")
    training_check.check(config, fields)
    own_check.check(config, fields)
    for check in CHECKS.get(config.experiment, ()):
        check(config, fields)
    training_check.refuse_large("epsilon", fields.get("search.norm", "linf"), fields.get("search.epsilon", 0.0))
    for model in ("model", "held_out_model"):
        name, stem = fields.get(f"{model}.name", "resnet18"), fields.get(f"{model}.stem", "small")
        if stem != "small" and name not in RESNETS:
            raise UserError(
                f"{model}.stem={stem!r}: expected 'small' for {name}; other stems have {', '.join(RESNETS)}"
            )
    if fields.get("worst.rho_fraction", 0.0) >= 0.5:
        raise UserError(
            f"worst.rho_fraction={fields['worst.rho_fraction']:g}: expected less than 0.5, since balls of half epsilon "
            "around an adversarial input and its genuine image meet; try 0.25"
        )
    if fields.get("data.name") == "folder" and not fields["data.dir"]:
        raise UserError("data.dir='': expected DIR holding <split>/<class>/*.png; try --config.data.dir=DIR")
    if not re.fullmatch(r"auto|vmap|map([1-9]\d*)?", fields.get("mapping", "auto")):
        raise UserError(
            f"mapping={fields['mapping']!r}: expected auto, map, mapN (blocks of N members) or vmap; try auto"
        )
    if len(config.get("claims", ())) > 3:
        raise UserError(f"claims: {len(config.claims)} came, expected at most three primary statements; drop some")


def leaves(config: ConfigDict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of every field."""
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _check_names(name: str, value: Any, known: tuple[str, ...]) -> None:
    for word in value if isinstance(value, tuple) else (value,):
        if word not in known:
            raise UserError(f"{name}={word!r}: expected one of {', '.join(known)}{did_you_mean(str(word), known)}")
    if value == () and name not in MAY_BE_EMPTY:
        raise UserError(f"{name}=(): expected at least one of {', '.join(known)}")


def _check_numbers(name: str, values: tuple) -> None:
    for value in values:
        # ml_collections reads '(8/255,)' as the text itself rather than as a number.
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise UserError(f"{name}={value!r}: expected finite numbers; write 8/255 as {8 / 255:.4f}")
        if value < 0:
            raise UserError(f"{name}={value!r}: expected numbers of at least 0; drop the minus sign")
