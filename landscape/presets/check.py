"""The check of a finished config: values that would run but mean something else are refused in one line."""

import math
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from landscape.files import UserError
from landscape.presets import autoencoder_check, measuring, training_check
from landscape.presets.names import (
    ACTIVATIONS,
    FAMILIES,
    INPUT_NOISES,
    MODEL_NORMS,
    MODELS,
    NETWORKS,
    NORMS,
    OPTIMIZERS,
    PRECISIONS,
    RESNETS,
    STEMS,
    WEIGHT_NOISES,
    did_you_mean,
)
from landscape.presets.resolve import is_own
from landscape.presets.values import DATASETS, is_dataset


class Field(NamedTuple):
    """What a field of a config may hold.

    choices: names that it may have, of any kind where (). may_be_empty: whether a tuple of them may have none.
    least: the smallest number; 1 of counts and 0 of others where None. even: whether it has to be even.
    """

    choices: tuple[str, ...] = ()
    may_be_empty: bool = False
    least: int | None = None
    even: bool = False


POPULATIONS = Field(("genuine", "augmented"))  # that may take the place of the test images
OPPOSITE_PAIRS = Field(least=4, even=True)  # a number of draws d, -d, of which a standard error takes two pairs

# What several experiments have. A standard error takes two; 0 leaves something out.
FIELDS = {
    **{
        f"{model}.{name}": field
        for model in ("model", "held_out_model")
        for name, field in {
            "name": Field((*MODELS, "FILE.py:FUNCTION")),
            "norm": Field(MODEL_NORMS),
            "activation": Field(ACTIVATIONS),
            "stem": Field(STEMS),
            "num_trained": Field(least=0),
        }.items()
    },
    "train.optimizer": Field(OPTIMIZERS),
    "train.precision": Field(PRECISIONS),
    "train.adversarial.norm": Field(NORMS),
    "search.norm": Field(NORMS),
    "autoencoder.families": Field(FAMILIES),
    "autoencoder.families_at_dims": Field(FAMILIES),
    "autoencoder.network": Field(NETWORKS),
    "families": Field(FAMILIES),
    "pixels.norm": Field(NORMS),
    "manifold.family": Field(FAMILIES),
    "autoencoder.dim": Field(least=1),
    "autoencoder.code_dim": Field(least=1),
    "autoencoder.places": Field(least=1),
    "trajectory.num_models": Field(least=2),
    "measure.num_trials": Field(least=2),
    "measures": Field(measuring.MEASURES, may_be_empty=True),
    "flatness.noises": Field(INPUT_NOISES),
    "flatness.num_trials": Field(least=2),
    "weight.noises": Field(WEIGHT_NOISES),
    "weight.num_draws": OPPOSITE_PAIRS,
    "curvature.num_probes": Field(least=2),
    "tangent.num_neighbors": Field(least=2),
}


def validate(config: ConfigDict, own: Mapping[str, Field] = MappingProxyType({})) -> None:
    """Refuses values that would run but mean something else. Changes nothing.

    own: the fields that the experiment alone has, and what they may hold.

    Raises:
      UserError: names the field, its value, what was expected and what to try.
    """
    fields, known = dict(leaves(config)), {**FIELDS, **own}
    if "model" in config and not is_dataset(fields["data.name"]):
        _check_names("data.name", fields["data.name"], Field((*DATASETS, "tfds:NAME")))
    for name, value in fields.items():
        if not _resolved(name, value) and not name.startswith("parts."):  # each part has a check of its own
            _check_field(name, value, known.get(name, Field()))
    if fields.get("inputs") and config.experiment not in ("flatness", "surfaces"):
        raise UserError(f"inputs={fields['inputs']!r}: expected with flatness or surfaces alone; leave it out")
    if "model" in config:
        _check_members(config, fields)
    if "measures" in fields:
        measuring.check(fields)
    if fields.get("worst.rho_fraction", 0.0) >= 0.5:
        raise UserError(
            f"worst.rho_fraction={fields['worst.rho_fraction']:g}: expected less than 0.5, since balls of half epsilon "
            "around an adversarial input and its genuine image meet; try 0.25"
        )
    if fields.get("data.name") == "folder" and not fields["data.dir"]:
        raise UserError("data.dir='': expected DIR holding <split>/<class>/*.png; try --config.data.dir=DIR")
    if fields.get("data.resize") and not fields["data.name"].startswith(("folder", "tfds:")):
        raise UserError(
            f"data.resize={fields['data.resize']}: expected 0 for {fields['data.name']}, whose images have one size; "
            "it is for folder and tfds:NAME; leave it out"
        )
    if not re.fullmatch(r"auto|vmap|map([1-9]\d*)?", fields.get("mapping", "auto")):
        raise UserError(
            f"mapping={fields['mapping']!r}: expected auto, map, mapN (blocks of N members) or vmap; try auto"
        )
    if len(config.get("claims", ())) > 3:
        raise UserError(f"claims: {len(config.claims)} came, expected at most three primary statements; drop some")


def _check_members(config: ConfigDict, fields: dict[str, Any]) -> None:
    """What every experiment on classifiers has."""
    training_check.check(config, fields)
    if "autoencoder" in config:
        autoencoder_check.check(config, fields)
    norm, epsilon = fields.get("search.norm", "linf"), fields.get("search.epsilon", 0.0)
    training_check.refuse_large("search.epsilon", norm, epsilon, fields["data.name"])
    for model in ("model", "held_out_model"):
        name, stem = fields.get(f"{model}.name", "resnet18"), fields.get(f"{model}.stem", "small")
        if stem != "small" and name not in RESNETS:
            raise UserError(
                f"{model}.stem={stem!r}: expected 'small' for {name}; other stems have {', '.join(RESNETS)}"
            )


def leaves(config: ConfigDict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of every field."""
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _resolved(name: str, value: Any) -> bool:
    """Whether a field holds words that `resolve` has seen to."""
    own = ("model.checkpoints", "model.checksums", "model.code")
    known = name in ("runs", "checksums", "names", "order") or name.endswith(own)
    return known or (name.endswith("model.name") and is_own(value))


def _check_field(name: str, value: Any, field: Field) -> None:
    """Refuses unknown names, numbers that are not finite or too small, and text in the place of numbers."""
    if field.choices:
        _check_names(name, value, field)
    elif isinstance(value, tuple) and not name.startswith(("claims.", "hidden.layers", "ascent.layers")):
        _check_numbers(name, value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        _check_numbers(name, (value,))
        least = 1 if re.search(r"(^|\.)(num_\w+|batch_size)$", name) else 0
        least = least if field.least is None else field.least
        if value < least:
            raise UserError(f"{name}={value}: expected at least {least}; leave the field out to keep its default")
        if field.even and value % 2:
            raise UserError(f"{name}={value}: expected an even number; try {value + 1}")


def _check_names(name: str, value: Any, field: Field) -> None:
    known = field.choices
    for word in value if isinstance(value, tuple) else (value,):
        if word not in known:
            raise UserError(f"{name}={word!r}: expected one of {', '.join(known)}{did_you_mean(str(word), known)}")
    if value == () and not field.may_be_empty:
        raise UserError(f"{name}=(): expected at least one of {', '.join(known)}")


def _check_numbers(name: str, values: tuple) -> None:
    for value in values:
        # ml_collections reads '(8/255,)' as the text itself rather than as a number.
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise UserError(f"{name}={value!r}: expected finite numbers; write 8/255 as {8 / 255:.4f}")
        if value < 0:
            raise UserError(f"{name}={value!r}: expected numbers of at least 0; drop the minus sign")
