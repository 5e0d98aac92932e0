"""What a config of `surfaces` may say: values that would run but mean something else are refused."""

from typing import Any

from ml_collections import ConfigDict

from landscape.files import UserError
from landscape.presets import Field, is_own
from landscape.presets.names import CODED

COUNTED = ("adversarial", "gradient", "random")  # planes whose areas are counted, of every image
PICTURED = ("latent", "hidden")  # planes that are drawn alone
WEIGHT_PLANES = ("random", "members", "trajectory")
LEAST_MEMBERS = 3  # of whom a plane in weight space is made, and pairs have an interval
FIELDS = {
    "surfaces.planes": Field(COUNTED + PICTURED),
    "surfaces.num_examples": Field(least=2),
    "weights.planes": Field(WEIGHT_PLANES, may_be_empty=True),
    "num_members": Field(least=LEAST_MEMBERS),
}


def check(config: ConfigDict, fields: dict[str, Any]) -> None:
    """UserError for what the stages would find out late."""

    def refuse(name: str, expected: str) -> None:
        raise UserError(f"{name}={fields[name]}: expected {expected}")

    if "adversarial" not in fields["surfaces.planes"]:
        refuse("surfaces.planes", "adversarial among them, which the others are compared with")
    for name in ("surfaces.grid", "surfaces.map_grid", "weights.grid"):
        if fields[name] < 3 or fields[name] % 2 == 0:
            refuse(name, "an odd number from 3, so that the first input is a point of the grid")
    if not fields["search.epsilon"]:
        refuse("search.epsilon", "a radius above 0, pixels in [0, 1]")
    if fields["manifold.family"] in CODED:
        refuse("manifold.family", "a family whose latents are numbers, since planes run in them; try vae")
    if "hidden" in fields["surfaces.planes"] and len(fields["hidden.layers"]) != 1:
        refuse("hidden.layers", "one layer, in which the hidden plane runs, such as ('last',)")
    if fields["weights.planes"] and (is_own(config.model.name) or fields["model.norm"] == "batch"):
        refuse("weights.planes", "() for classifiers that are not built here or have running statistics (norm=batch)")
    if "trajectory" in fields["weights.planes"] and config.model.checkpoints:
        refuse("weights.planes", "no trajectory of classifiers from files")
    for name in (name for name, values in fields.items() if name.startswith("sweep.") and values):
        refuse(name, "no sweep, since members are seeds of one training here; set train.* and run once for each")
    if config.claims:
        raise UserError(f"claims={list(config.claims)}: expected none with surfaces; leave them out")
