"""Values of a config that the experiment `connectivity` would stumble over."""

from typing import Any

from ml_collections import ConfigDict

from landscape.files import UserError
from landscape.presets.connectivity_weights import check_weights
from landscape.presets.names import CODED, CONNECTED_CLAIMED, LEAST_PAIRS

LEAST_POINTS = 3


def check(config: ConfigDict, fields: dict[str, Any]) -> None:
    """What the experiment `connectivity` would find out late: kinds without their reference, uneven steps, claims."""

    def refuse(name: str, expected: str) -> None:
        raise UserError(f"{name}={fields[name]}: expected {expected}")

    kinds = fields["pairs.kinds"]
    if "genuine" not in kinds:
        refuse("pairs.kinds", "genuine among them, which all others are compared with")
    if fields["pairs.num_pairs"] < LEAST_PAIRS:
        refuse("pairs.num_pairs", f"at least {LEAST_PAIRS}, which a member needs to count")
    for name in ("bypass.num_points", "adaptive.num_points"):
        if fields[name] < LEAST_POINTS:
            refuse(name, f"at least {LEAST_POINTS}: both ends and what lies between")
    for name in ("bypass.depth", "curves.num_bends", "curves.num_draws"):
        if fields[name] < 1:
            refuse(name, "at least 1")
    if not 0 < fields["adaptive.keep"] <= 1:
        refuse("adaptive.keep", "a share above 0, at most 1, such as 0.95")
    if not fields["adaptive.weights"]:
        refuse("adaptive.weights", "at least one weight of the barrier, such as (1.0,)")
    if not fields["search.epsilon"]:
        refuse("search.epsilon", "a radius above 0, pixels in [0, 1]")
    if fields["manifold.family"] in CODED:
        refuse("manifold.family", "a family whose latents are numbers, since paths run in them; try vae")
    for name, claim in config.claims.items():
        if claim.measure not in CONNECTED_CLAIMED:
            refuse(f"claims.{name}.measure", f"one of {', '.join(CONNECTED_CLAIMED)}")
        if claim.direction not in ("greater", "less"):
            refuse(f"claims.{name}.direction", "greater or less")
    check_weights(fields)
