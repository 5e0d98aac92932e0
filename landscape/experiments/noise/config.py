"""What a config of `noise` may say, and the populations that it names. Imports no JAX."""

from typing import Any, NamedTuple

from ml_collections import ConfigDict

from landscape.files import UserError
from landscape.presets import Field
from landscape.presets.names import WEIGHT_NOISES, largest_epsilon

NO_NOISE = "no_noise"
DOSED = ("redrawn", "frozen")  # noise of each radius, redrawn at every gradient or drawn once
CLAIMED = ("transfer.success", "input_flatness.scale_free")
MATCHINGS = ("norm", "confidence")
SEARCHES = ("pixels", "manifold", "ascent")
OTHERS = ("random_member", "trajectory", "swag")
FIELDS = {
    "noise.searches": Field(SEARCHES),
    "noise.others": Field(OTHERS, may_be_empty=True),
    "noise.kind": Field(WEIGHT_NOISES),
    "noise.num_sources": Field(least=2),
    "noise.num_training": Field(least=2),
}
POSITIVE = ("pixels.epsilon", "manifold.epsilon", "ascent.epsilon")
POSITIVE += ("measure.level", "noise.equal_norm", "noise.equal_log_odds")


class Population(NamedTuple):
    """The results of searches that see one kind of classifiers.

    name: `no_noise`, `redrawn_0.3`, .. kind: the same without the radius. radius: of the noise on the weights, NaN
    where it has no dose.
    """

    name: str
    kind: str
    radius: float


def populations_of(config: ConfigDict) -> list[Population]:
    """All populations of a run in order, the search without noise first."""
    doses = [Population(f"{kind}_{r:g}", kind, float(r)) for kind in DOSED for r in config.noise.radii]
    others = [Population(kind, kind, float("nan")) for kind in config.noise.others]
    return [Population(NO_NOISE, NO_NOISE, 0.0), *doses, *others]


def middle_radius(config: ConfigDict) -> float:
    """The radius of the headline."""
    return float(config.noise.radii[len(config.noise.radii) // 2])


def check(config: ConfigDict, fields: dict[str, Any]) -> None:
    """UserError for what stages or estimates would find out late: guides, equal costs, chunks, radii, claims."""

    def refuse(name: str, expected: str) -> None:
        raise UserError(f"{name}={fields[name]}: expected {expected}")

    sources = fields["noise.num_sources"]
    if fields["num_members"] <= sources:
        refuse("num_members", f"more than noise.num_sources={sources}, since members behind the sources are the guides")
    for name in ("noise.radii", "noise.step_sizes", "grid.step_sizes"):
        if not fields[name] or min(fields[name]) <= 0:
            refuse(name, "one or more numbers above 0, such as (0.1, 0.3)")
        if len(set(fields[name])) < len(fields[name]) or list(fields[name]) != sorted(fields[name]):
            refuse(name, "growing numbers, each once")
    if fields["noise.num_examples"] % fields["noise.num_validation"]:
        refuse("noise.num_examples", f"a multiple of noise.num_validation={fields['noise.num_validation']}")
    for name in POSITIVE:
        if fields[name] <= 0:
            refuse(name, "a number above 0")
    for name, norm in (("pixels.epsilon", fields["pixels.norm"]), ("ascent.epsilon", "l2")):
        if fields[name] > (most := largest_epsilon(norm, fields["data.name"])):
            refuse(name, f"at most {most:.4g} in {norm}, since images are in [0, 1]")
    _check_grid(fields, refuse)
    known = {"measure": CLAIMED, "matching": MATCHINGS, "direction": ("greater", "less"), "radius": config.noise.radii}
    known["populations"] = [(kind, NO_NOISE) for kind in DOSED]
    for name, claim in config.claims.items():
        for field, words in known.items():
            if claim[field] not in words:
                expected = (
                    f"expected one of {', '.join(map(str, words))}; try --config.claims.{name}.{field}={words[0]}"
                )
                raise UserError(f"claims.{name}.{field}={claim[field]}: {expected}")


def _check_grid(fields: dict[str, Any], refuse) -> None:
    if 0 not in fields["grid.radii"]:
        refuse("grid.radii", "one or more numbers, 0 among them as the control")
    for each in fields["grid.num_draws"]:
        if not isinstance(each, int) or each < 1 or fields["grid.num_evaluations"] % each:
            refuse("grid.num_draws", f"divisors of grid.num_evaluations={fields['grid.num_evaluations']}")
    for name in ("grid.radii", "grid.num_draws"):
        if len(set(fields[name])) < len(fields[name]):
            refuse(name, "each number once")
    if min(len(fields["grid.step_sizes"]), len(fields["grid.num_draws"])) < 3:
        refuse("grid.num_draws", "at least 3 step sizes and 3 numbers of draws, since a surface is fitted to the grid")
