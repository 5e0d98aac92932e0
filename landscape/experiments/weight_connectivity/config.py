"""What a config of `weight_connectivity` may say: values that would run but mean something else are refused."""

from typing import Any

from ml_collections import ConfigDict

from landscape.files import UserError
from landscape.presets.resolve import is_own

LEAST_MEMBERS = 2


def check(config: ConfigDict, fields: dict[str, Any]) -> None:
    """UserError for what the stages would find out late."""

    def refuse(name: str, expected: str) -> None:
        raise UserError(f"{name}={fields[name]}: expected {expected}")

    if is_own(config.model.name):
        raise UserError(
            f"model.name={config.model.name!r}: expected with other experiments, since the units of a classifier that "
            "is not built here cannot be matched; leave it out"
        )
    if fields["num_members"] < LEAST_MEMBERS:
        refuse("num_members", f"at least {LEAST_MEMBERS}, which paths join")
    if "none" not in fields["weights.matchings"]:
        refuse("weights.matchings", "none among them, which the others are compared with")
    if fields["weights.num_points"] < 3 or fields["weights.num_points"] % 2 == 0:
        refuse("weights.num_points", "an odd number from 3: both endpoints, and the middle")
    if fields["weights.restarts"] < 1:
        refuse("weights.restarts", "at least 1")
    if fields["weights.learning_rate"] <= 0:
        refuse("weights.learning_rate", "a number above 0, such as 3e-3")
    if not fields["search.epsilon"]:
        refuse("search.epsilon", "a radius above 0, pixels in [0, 1]")
    if config.claims:
        raise UserError(f"claims={list(config.claims)}: expected none with weight_connectivity; leave them out")
