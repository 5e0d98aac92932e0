"""What a config of `weight_connectivity` may say: values that would run but mean something else are refused."""

from typing import Any

from ml_collections import ConfigDict

from landscape.files import UserError
from landscape.presets import Field, is_own

MATCHINGS = ("none", "weight", "activation")  # by what the second classifier's units are put in order
CURVES = ("bezier", "chain")  # trained paths
FIELDS = {
    "num_members": Field(least=2),  # which paths join
    "weights.matchings": Field(MATCHINGS),
    "weights.curves": Field(CURVES, may_be_empty=True),
}


def check(config: ConfigDict, fields: dict[str, Any]) -> None:
    """UserError for what the stages would find out late."""

    def refuse(name: str, expected: str) -> None:
        raise UserError(f"{name}={fields[name]}: expected {expected}")

    if is_own(config.model.name):
        raise UserError(
            f"model.name={config.model.name!r}: expected with other experiments, since the units of a classifier that "
            "is not built here cannot be matched; leave it out"
        )
    if "none" not in fields["weights.matchings"]:
        refuse("weights.matchings", "none among them, which the others are compared with")
    if fields["weights.num_points"] < 3 or fields["weights.num_points"] % 2 == 0:
        refuse("weights.num_points", "an odd number from 3: both endpoints, and the middle")
    if fields["weights.learning_rate"] <= 0:
        refuse("weights.learning_rate", "a number above 0, such as 3e-3")
    if not fields["search.epsilon"]:
        refuse("search.epsilon", "a radius above 0, pixels in [0, 1]")
    if config.claims:
        raise UserError(f"claims={list(config.claims)}: expected none with weight_connectivity; leave them out")
