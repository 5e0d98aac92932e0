"""What a config of `connectivity` may say: values that would run but mean something else are refused in one line."""

from typing import Any

from ml_collections import ConfigDict

from landscape.files import UserError
from landscape.presets.names import CODED

LEAST_PAIRS = 5  # of a kind, that a member needs to count
LEAST_POINTS = 3  # of a path: both endpoints and what lies between
CLAIMED = {  # measure: the populations that a claim about it compares
    "barrier.loss": ("adversarial", "genuine"),
    "auroc.barrier.area": ("adversarial_iso", "natural_error"),
}


def check(config: ConfigDict, fields: dict[str, Any]) -> None:
    """UserError for what stages would find out late: kinds without their reference, too few points, claims."""

    def refuse(name: str, expected: str) -> None:
        raise UserError(f"{name}={fields[name]}: expected {expected}")

    if "genuine" not in fields["pairs.kinds"]:
        refuse("pairs.kinds", "genuine among them, which all others are compared with")
    if fields["pairs.num_pairs"] < LEAST_PAIRS:
        refuse("pairs.num_pairs", f"at least {LEAST_PAIRS}, which a member needs to count")
    for name in ("bypass.num_points", "adaptive.num_points"):
        if fields[name] < LEAST_POINTS:
            refuse(name, f"at least {LEAST_POINTS}: both endpoints and what lies between")
    for name in ("bypass.depth", "curves.num_waypoints", "curves.num_draws"):
        if fields[name] < 1:
            refuse(name, "at least 1")
    if not 0 < fields["adaptive.keep"] <= 1:
        refuse("adaptive.keep", "a share above 0, at most 1, such as 0.95")
    if not fields["adaptive.weights"]:
        refuse("adaptive.weights", "at least one weight of the detector, such as (1.0,)")
    if not fields["search.epsilon"]:
        refuse("search.epsilon", "a radius above 0, pixels in [0, 1]")
    if fields["manifold.family"] in CODED:
        refuse("manifold.family", "a family whose latents are numbers, since paths run in them; try vae")
    for name, claim in config.claims.items():
        if claim.measure not in CLAIMED:
            refuse(f"claims.{name}.measure", f"one of {', '.join(CLAIMED)}")
        if claim.direction not in ("greater", "less"):
            refuse(f"claims.{name}.direction", "greater or less")
