"""What a config of `connectivity` may say: values that would run but mean something else are refused in one line."""

from typing import Any

from ml_collections import ConfigDict

from landscape.files import UserError
from landscape.presets import Field
from landscape.presets.names import CODED

# What is joined with a genuine image, and how; see `pairs` and `paths`.
KINDS = ("genuine", "boosted", "natural_error", "adversarial", "adversarial_iso", "adaptive", "joint", "source")
ALWAYS = ("line", "bypass")  # paths that every pair has
TOGETHER = "all"  # the path that all members search
PATHS = (*ALWAYS, "bezier", TOGETHER, "manifold_bypass")
LEAST_PAIRS = 5  # of a kind, that a member needs to count
LEAST_POINTS = 3  # of a path: both endpoints and what lies between
FIELDS = {
    "pairs.kinds": Field(KINDS),
    "pairs.num_pairs": Field(least=LEAST_PAIRS),
    "paths.more": Field(PATHS[len(ALWAYS) :], may_be_empty=True),
    "paths.kinds": Field(KINDS, may_be_empty=True),
    "bypass.num_points": Field(least=LEAST_POINTS),
    "bypass.depth": Field(least=1),
    "adaptive.num_points": Field(least=LEAST_POINTS),
    "graph.num_nodes": Field(least=0),
}
CLAIMED = {  # measure: the populations that a claim about it compares
    "barrier.loss": ("adversarial", "genuine"),
    "auroc.barrier.area": ("adversarial_iso", "natural_error"),
}


def check(config: ConfigDict, fields: dict[str, Any]) -> None:
    """UserError for what stages would find out late: kinds without their reference, values without a use, claims."""

    def refuse(name: str, expected: str) -> None:
        raise UserError(f"{name}={fields[name]}: expected {expected}")

    if "genuine" not in fields["pairs.kinds"]:
        refuse("pairs.kinds", "genuine among them, which all others are compared with")
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
