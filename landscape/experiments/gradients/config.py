"""What a config of `gradients` may say: numbers that do not fit each other are refused in one line."""

from typing import Any

from ml_collections import ConfigDict

from landscape.files import UserError
from landscape.presets import POPULATIONS, Field

VALUES = ("probability", "log_probability", "logit", "margin")  # of a class, that gradients are of
RULES = ("steepest", "sgd", "adam", "adamax", "nadam", "amsgrad", "adabelief", "adagrad", "rmsprop", "lion", "yogi")
FIELDS = {
    "population": POPULATIONS,
    "maps.value": Field(VALUES),
    "ascent.value": Field(VALUES),
    "ascent.rule": Field(RULES),
    "guided.value": Field(VALUES),
    "guided.rule": Field(RULES),
    "guided.num_trials": Field(least=2),
    "num_fit": Field(least=2),
    "num_alone": Field(least=2),
}


def check(config: ConfigDict, fields: dict[str, Any]) -> None:
    """UserError for numbers of guides, held-out classifiers, examples and frames that do not fit each other."""
    sizes = fields["guided.sizes"]
    if not sizes or not all(isinstance(size, int) and size >= 1 for size in sizes) or list(sizes) != sorted(set(sizes)):
        raise UserError(f"guided.sizes={sizes}: expected rising whole numbers of at least 1, such as (1, 4, 16)")
    most = max(sizes)
    if fields["num_members"] <= most:
        raise UserError(
            f"num_members={fields['num_members']} with guided.sizes={sizes}: expected more than {most}, since those "
            f"beyond guide nothing and evaluate; try --config.num_members={most + 4}"
        )
    if fields["num_alone"] > most:
        raise UserError(f"num_alone={fields['num_alone']}: expected at most {most}, the largest of guided.sizes")
    for name in ("ascent.step", "guided.step", "guided.distance"):
        if fields[name] <= 0:
            raise UserError(f"{name}={fields[name]}: expected a number above 0, in typical distances; try 0.05")
    for name in ("maps.num_examples", "ascent.num_starts", "guided.num_starts"):
        if fields[name] > fields["num_examples"]:
            raise UserError(f"{name}={fields[name]}: expected at most num_examples={fields['num_examples']}")
    if fields["maps.num_shown"] > fields["maps.num_examples"]:
        raise UserError(f"maps.num_shown={fields['maps.num_shown']}: expected at most maps.num_examples")
    frames = fields["ascent.num_frames"]
    if fields["ascent.num_steps"] % frames:
        raise UserError(
            f"ascent.num_steps={fields['ascent.num_steps']}: expected a multiple of ascent.num_frames={frames}; "
            f"try {frames * 6}"
        )
