"""What a config of `transfer` may say: values that would run but mean something else are refused in one line."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from landscape.files import UserError
from landscape.presets import Field
from landscape.presets.names import largest_epsilon

PARTS = ("joint", "guides", "geometry", "between")  # beside transfer itself
KINDS = ("full", "first_flip")  # of attacks
OBJECTIVES = ("loss", "hardmin")  # of searches against all attackers
MEMBERS = "members"  # guides without noise
SETS = ("ball", "frozen", "trajectory", "swag", "random", "members_ball")  # of guides, beside those
TOGETHER = (MEMBERS, "members_ball")  # guidance that takes a gradient of every member at each step
FIELDS = {
    "parts": Field(PARTS, may_be_empty=True),
    "transfer.attacks": Field(KINDS),
    "joint.objectives": Field(OBJECTIVES),
    "guides.sets": Field(SETS, may_be_empty=True),
    "geometry.num_trials": Field(least=2),
    "geometry.num_probes": Field(least=2),
}
BUDGETS = ("gradients", "steps")
CLAIMED = ("transfer.same_beyond_chance", "shared.held_out_gain")
LEAST_POINTS = 3
LEAST_TARGETS = 2  # attackers beside the source


class Attack(NamedTuple):
    """One attack: kind, norm and radius in pixels."""

    kind: str
    norm: str
    epsilon: float


class GuideSet(NamedTuple):
    """How a search is guided: the guidance, the classifiers of a block, and the radius of the noise on their weights.

    guidance: "members" (all of a block at once) or "members_ball" (the same with noise on their weights); of one
    classifier with noise drawn at every step "ball", drawn once "frozen", from its trajectory "trajectory" or "swag"; a
    "random" attacker at every step.
    """

    guidance: str
    size: int
    radius: float

    @property
    def name(self) -> str:
        return f"{self.guidance}.{self.size}"

    @property
    def alone(self) -> bool:
        """Whether one gradient is taken a step, whatever the size of the block."""
        return self.guidance not in TOGETHER

    @property
    def gradients(self) -> int:
        """Gradients a step."""
        return 1 if self.alone else self.size


def attacks_of(config: ConfigDict) -> list[Attack]:
    """All attacks of a config, in order; the first one is that of the headline: the full budget, the middle radius."""
    found = []
    for norm in ("linf", "l2"):
        radii = [float(r) for r in config.transfer[norm]]
        middle = len(radii) // 2
        for kind in config.transfer.attacks if radii else ():
            chosen = [*radii[middle:], *radii[:middle]] if kind == "full" else radii[-1:]
            found += [Attack(kind, norm, r) for r in chosen]
    return sorted(found, key=lambda attack: attack.kind != "full" or attack.norm != found[0].norm)


def guide_sets(config: ConfigDict) -> list[GuideSet]:
    """All guide sets in order: k members, then the others that the config names."""
    sizes, radius = config.guides.sizes, float(config.noise.radius)
    found = [GuideSet(MEMBERS, k, 0.0) for k in sizes]
    for name in config.guides.sets:
        if name == "members_ball":
            found += [GuideSet(name, k, radius) for k in sizes[1:]]  # of one it is the ball
        else:
            found.append(GuideSet(name, sizes[-1] if name == "random" else 1, radius * (name in ("ball", "frozen"))))
    return found


def check(config: ConfigDict, fields: dict[str, Any]) -> None:
    """UserError for what stages or estimates would stumble over: too few targets, radii, sizes, claims."""
    for part in (_members, _attacks, _guides, _claims):
        for name, expected in part(config, fields):
            raise UserError(f"{name}={fields[name]}: expected {expected}")


def _members(config: ConfigDict, fields: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(field, what is expected) of numbers of classifiers."""
    attackers = fields["num_attackers"]
    if attackers <= LEAST_TARGETS:
        yield "num_attackers", f"more than {LEAST_TARGETS}, since attackers are tried on one another"
    if fields["num_members"] < attackers + 2:
        yield "num_members", f"at least num_attackers + 2 = {attackers + 2}: the rest is held out"
    for model in ("model", "held_out_model"):
        if any(config.sweep.values()) and config[model].checkpoints and not config[model].finetune:
            yield f"{model}.checkpoints", "no files beside a sweep, which they are no part of; leave config.sweep out"


def _attacks(config: ConfigDict, fields: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(field, what is expected) of attacks, their radii, and what is measured of them."""
    if "full" not in fields["transfer.attacks"]:
        yield "transfer.attacks", "full among them, which the headline is of"
    for norm, about in (("linf", "images are in [0, 1]"), ("l2", "over the whole image")):
        radii, largest = fields[f"transfer.{norm}"], largest_epsilon(norm, fields["data.name"])
        if any(not 0 < r <= largest for r in radii) or list(radii) != sorted(set(radii)):
            most = max(radii)
            meant = f"; did you mean {most / 255:.3g}, {most:g} of 255?" if most > 1 else ""
            yield f"transfer.{norm}", f"growing radii above 0, at most {largest:.4g}: {about}{meant}"
    if fields["measures"] and "geometry" not in fields["parts"]:
        yield "measures", "geometry among parts, whose inputs are measured; add it"
    if not fields["transfer.linf"]:
        yield "transfer.linf", "one radius or more, since joint searches are in L-inf"
    if not fields["transfer.step"]:
        yield "transfer.step", "a share of the radius above 0, such as 0.1"
    if fields["geometry.rho"] >= 0.5:
        yield "geometry.rho", "less than 0.5, since further out balls around an example and its image meet; try 0.25"
    if fields["between.num_points"] < LEAST_POINTS:
        yield "between.num_points", f"at least {LEAST_POINTS}: both ends and what lies between"


def _guides(config: ConfigDict, fields: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(field, what is expected) of searches guided by several classifiers."""
    sizes, attackers, steps = fields["guides.sizes"], fields["num_attackers"], fields["guides.step_sizes"]
    if not sizes or sizes[0] != 1 or any(b != 2 * a for a, b in pairwise(sizes)):
        yield "guides.sizes", "1, 2, 4, ..., each twice the one before"
    elif sizes[-1] != attackers:
        powers = ",".join(str(2**i) for i in range(int(attackers).bit_length()))
        power_of_2 = attackers & (attackers - 1) == 0
        advice = f"; try --config.guides.sizes='({powers})'" if power_of_2 else "; take 4, 8 or 16"
        yield "guides.sizes", f"to end at num_attackers={attackers}, all of which the last set takes{advice}"
    elif fields["guides.num_steps"] % sizes[-1]:
        yield "guides.num_steps", f"a multiple of the largest of guides.sizes={sizes}"
    if not steps or list(steps) != sorted(set(steps)):
        yield "guides.step_sizes", "growing shares of the radius, such as (0.05, 0.1)"


def _claims(config: ConfigDict, fields: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(field, what is expected) of claims."""
    sizes = fields["guides.sizes"]
    for name, claim in config.claims.items():
        if claim.measure not in CLAIMED:
            yield f"claims.{name}.measure", f"one of {', '.join(CLAIMED)}"
        if claim.direction not in ("greater", "less"):
            yield f"claims.{name}.direction", "greater or less"
        if claim.measure == CLAIMED[0] and claim.matching not in ("all", "clean_correct"):
            yield f"claims.{name}.matching", "all or clean_correct: sets that all pairs have in common"
        if claim.measure == CLAIMED[1] and claim.matching not in BUDGETS:
            yield f"claims.{name}.matching", f"one of {', '.join(BUDGETS)}"
        if claim.measure == CLAIMED[1] and claim.size not in sizes[1:]:
            yield f"claims.{name}.size", f"one of guides.sizes={sizes} above 1"
