"""What a config of `neighbors` may say. Imports no JAX."""

from typing import Any

from ml_collections import ConfigDict

from landscape.files import UserError
from landscape.presets import Field
from landscape.presets.autoencoder_check import check_layers
from landscape.presets.names import CODED, FAMILIES, LAYERS
from landscape.presets.resolve import is_own

METRICS = ("euclidean", "cosine")
CONTINUOUS = tuple(family for family in FAMILIES if family not in CODED)  # a search needs gradients
POPULATIONS = ("genuine", "natural_error", "boosted", "adversarial", "noise", "manifold")
CLAIMED = ("auroc.credibility.area", "purity.true_class")
FIELDS = {
    "neighbors.metric": Field(METRICS),
    "populations": Field(("augmented",), may_be_empty=True),
    "manifold.family": Field(CONTINUOUS),
    "along.num_steps": Field(least=2),
    "along.num_examples": Field(least=2),
    "neighbors.num_examples": Field(least=4),
    "neighbors.k": Field(least=1),
}
POSITIVE = ("search.epsilon", "manifold.epsilon", "along.runner_up", "adaptive.weight")


def check(config: ConfigDict, fields: dict[str, Any]) -> None:
    """UserError for what the stages or the estimates would find out late."""
    for name in POSITIVE:
        if fields[name] <= 0:
            raise UserError(f"{name}={fields[name]}: expected a number above 0; leave it out for the default")
    section = config.neighbors
    if section.num_reference <= section.k:
        raise UserError(
            f"neighbors.num_reference={section.num_reference}: expected more than neighbors.k={section.k}; try 1000"
        )
    if config.along.num_examples > section.num_examples:
        raise UserError(
            f"along.num_examples={config.along.num_examples}: expected at most neighbors.num_examples="
            f"{section.num_examples}, of which it takes the first"
        )
    if not is_own(config.model.name):
        check_layers(fields, config.model.name, LAYERS[config.model.name])
    known = {"measure": CLAIMED, "direction": ("greater", "less"), "matching": ("raw",)}
    for name, claim in config.claims.items():
        for field, words in known.items():
            if claim[field] not in words:
                raise UserError(f"claims.{name}.{field}={claim[field]}: expected one of {', '.join(words)}")
        names = populations_of(config)
        if len(set(claim.populations)) != 2 or not set(claim.populations) <= set(names):
            raise UserError(f"claims.{name}.populations={claim.populations}: expected two of {', '.join(names)}")


def populations_of(config: ConfigDict) -> tuple[str, ...]:
    """The populations of a run."""
    return (*POPULATIONS, *(("adaptive",) if config.adaptive.use else ()), *config.populations)
