"""Values of a config that the experiment `noise` would stumble over."""

from typing import Any

from ml_collections import ConfigDict

from landscape.files import UserError
from landscape.presets.names import LARGEST_EPSILON, MATCHINGS, NOISE_CLAIMED


def check(config: ConfigDict, fields: dict[str, Any]) -> None:
    """What the experiment `noise` would find out late: guides, equal costs, chunks, radii, claims."""

    def refuse(name: str, expected: str) -> None:
        raise UserError(f"{name}={fields[name]}: expected {expected}")

    sources, draws, most = (fields[f"noise.{n}"] for n in ("num_sources", "num_draws", "num_evaluations"))
    if fields["num_members"] <= sources:
        refuse("num_members", f"more than noise.num_sources={sources}, since members behind the sources are the guides")
    for name in ("noise.radii", "noise.step_sizes", "grid.step_sizes"):
        if not fields[name] or min(fields[name]) <= 0:
            refuse(name, "one or more numbers above 0, such as (0.1, 0.3)")
        if len(set(fields[name])) < len(fields[name]) or list(fields[name]) != sorted(fields[name]):
            refuse(name, "growing numbers, each once")
    if most % draws:
        refuse("noise.num_draws", f"a divisor of noise.num_evaluations={most}, the gradients of every search; try 1")
    if 0 not in fields["grid.radii"]:
        refuse("grid.radii", "one or more numbers, 0 among them as the control")
    for each in fields["grid.num_draws"]:
        if not isinstance(each, int) or each < 1 or fields["grid.num_evaluations"] % each:
            refuse("grid.num_draws", f"divisors of grid.num_evaluations={fields['grid.num_evaluations']}")
    if min(len(fields["grid.step_sizes"]), len(set(fields["grid.num_draws"]))) < 3:
        refuse("grid.num_draws", "at least 3 step sizes and 3 numbers of draws, since a surface is fitted to the cells")
    if fields["noise.num_examples"] % fields["noise.num_validation"]:
        refuse("noise.num_examples", f"a multiple of noise.num_validation={fields['noise.num_validation']}")
    for name in (
        "pixels.epsilon",
        "manifold.epsilon",
        "ascent.epsilon",
        "measure.level",
        "noise.equal_norm",
        "noise.equal_margin",
    ):
        if fields[name] <= 0:
            refuse(name, "a number above 0")
    for name, norm in (("pixels.epsilon", fields["pixels.norm"]), ("ascent.epsilon", "l2")):
        if fields[name] > LARGEST_EPSILON[norm]:
            refuse(name, f"at most {LARGEST_EPSILON[norm]:g} in {norm}, since images are in [0, 1]")
    for name, claim in config.claims.items():
        if claim.measure not in NOISE_CLAIMED:
            refuse(f"claims.{name}.measure", f"one of {', '.join(NOISE_CLAIMED)}")
        if claim.matching not in MATCHINGS:
            refuse(f"claims.{name}.matching", f"one of {', '.join(MATCHINGS)}")
        if claim.direction not in ("greater", "less"):
            refuse(f"claims.{name}.direction", "greater or less")
        if claim.radius not in fields["noise.radii"]:
            refuse(f"claims.{name}.radius", f"one of noise.radii={fields['noise.radii']}")
