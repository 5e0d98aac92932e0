"""What a config of `dictionaries` may say. Imports no JAX."""

from typing import Any

from landscape.files import UserError

KINDS = ("topk", "jumprelu", "archetypal")  # those of models.dictionaries
# Atoms of each seed at random; at the centres of its own k-means; all seeds at those of one k-means.
STARTS = ("random", "own", "shared")
TIMES = ("before", "after")  # training
RANKS = 8  # images pictured of a feature, and the fewest where it is active to count among the strongest
FIELDS: dict = {}


def check(config, fields: dict[str, Any]) -> None:
    """Sizes that do not fit each other.

    Raises:
      UserError: too few seeds; compared values that are not trained; several classifiers.
    """
    section = config.dictionaries
    if section.num_seeds < 3:
        raise UserError(f"dictionaries.num_seeds={section.num_seeds}: expected at least 3, to compare pairs; try 8")
    if section.num_curve_seeds > section.num_seeds:
        raise UserError(
            f"dictionaries.num_curve_seeds={section.num_curve_seeds}: expected at most num_seeds={section.num_seeds}"
        )
    for name, one in (("ks", section.k), ("penalties", section.penalty), ("widths", section.width)):
        if one not in section[name]:
            raise UserError(
                f"dictionaries.{name}={section[name]}: expected {one} among them, which seeds are compared at; add it"
            )
    if not 0 <= section.revived <= 1:
        raise UserError(f"dictionaries.revived={section.revived}: expected a share of the epochs, such as 0.75")
    if config.num_members != 1:
        raise UserError(
            f"num_members={config.num_members}: expected 1, since all dictionaries are of one classifier; "
            "seeds are dictionaries.num_seeds"
        )
    if any(config.sweep.values()):
        raise UserError("sweep: expected none, since all dictionaries are of one classifier; leave it out")
