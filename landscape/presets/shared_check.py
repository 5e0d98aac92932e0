"""Values of a config that the experiment `shared` would stumble over."""

from itertools import pairwise
from typing import Any

from ml_collections import ConfigDict

from landscape.files import UserError
from landscape.presets.names import BUDGETS, LARGEST_EPSILON, SHARED_CLAIMED

LEAST_POINTS = 3
LEAST_JUDGES = 2  # attackers that judge one another, beside the source


def check(config: ConfigDict, fields: dict[str, Any]) -> None:
    """What the experiment `shared` would find out late: too few judges, radii, claims."""

    def refuse(name: str, expected: str) -> None:
        raise UserError(f"{name}={fields[name]}: expected {expected}")

    if fields["num_attackers"] <= LEAST_JUDGES:
        refuse("num_attackers", f"more than {LEAST_JUDGES}, since attackers judge one another")
    if fields["num_members"] < fields["num_attackers"] + 2:
        refuse("num_members", f"at least num_attackers + 2 = {fields['num_attackers'] + 2}: the rest is held out")
    if "full" not in fields["transfer.attacks"]:
        refuse("transfer.attacks", "full among them, which the headline is of")
    for norm in ("linf", "l2"):
        radii = fields[f"transfer.{norm}"]
        if any(not 0 < r <= LARGEST_EPSILON[norm] for r in radii) or list(radii) != sorted(set(radii)):
            shown = (
                f"; did you mean {max(radii) / 255:.3g}, {max(radii):g} of 255?" if max(radii, default=0) > 1 else ""
            )
            about = "images are in [0, 1]" if norm == "linf" else "over the whole image"
            refuse(f"transfer.{norm}", f"growing radii above 0, at most {LARGEST_EPSILON[norm]:g}: {about}{shown}")
    if not fields["transfer.linf"]:
        refuse("transfer.linf", "one radius or more, since joint searches and universal perturbations are in L-inf")
    for name in ("transfer.step", "universal.step"):
        if not fields[name]:
            refuse(name, "a share of the radius above 0, such as 0.1")
    if fields["shapes.rho"] >= 0.5:
        refuse("shapes.rho", "less than 0.5, since further out balls around an example and its image meet; try 0.25")
    if fields["between.num_points"] < LEAST_POINTS:
        refuse("between.num_points", f"at least {LEAST_POINTS}: both ends and what lies between")
    sizes, attackers = fields["ladder.sizes"], fields["num_attackers"]
    if not sizes or sizes[0] != 1 or any(b != 2 * a for a, b in pairwise(sizes)):
        refuse("ladder.sizes", "1, 2, 4, ..., each twice the one before")
    if sizes[-1] != attackers:
        powers = ",".join(str(2**i) for i in range(int(attackers).bit_length()))
        told = f"; try --config.ladder.sizes='({powers})'" if attackers & (attackers - 1) == 0 else "; take 4, 8 or 16"
        refuse("ladder.sizes", f"to end at num_attackers={attackers}, all of which the last rung takes{told}")
    if fields["ladder.num_steps"] % sizes[-1]:
        refuse("ladder.num_steps", f"a multiple of the largest of ladder.sizes={sizes}")
    if not fields["ladder.step_sizes"] or list(fields["ladder.step_sizes"]) != sorted(set(fields["ladder.step_sizes"])):
        refuse("ladder.step_sizes", "growing shares of the radius, such as (0.05, 0.1)")
    for name, claim in config.claims.items():
        if claim.measure not in SHARED_CLAIMED:
            refuse(f"claims.{name}.measure", f"one of {', '.join(SHARED_CLAIMED)}")
        if claim.direction not in ("greater", "less"):
            refuse(f"claims.{name}.direction", "greater or less")
        if claim.measure == "shared.held_out_success":
            if claim.matching not in BUDGETS:
                refuse(f"claims.{name}.matching", f"one of {', '.join(BUDGETS)}")
            if claim.size not in sizes:
                refuse(f"claims.{name}.size", f"one of ladder.sizes={sizes}")
            continue
        if claim.matching not in ("all", "clean_correct"):
            refuse(f"claims.{name}.matching", "all or clean_correct: sets that all pairs have in common")
