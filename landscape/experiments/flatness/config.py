"""What a config of `flatness` may say: values that would run but mean something else are refused in one line."""

import re
from typing import Any

from ml_collections import ConfigDict

from landscape.files import UserError
from landscape.presets import Field
from landscape.presets.measuring import MEASURES as OF_ANY_INPUTS
from landscape.presets.values import DATASETS

MEASURES = (*OF_ANY_INPUTS, "weight_hessian")  # whose groups have images in common
COMPARED_WITH = {  # populations that a config may add, and what each is compared with
    "augmented": "genuine",
    "noisy": "adversarial",
    "reconstructed": "genuine",
    "manifold": "reconstructed",
}
FIELDS = {
    "measures": Field(MEASURES),
    "populations": Field((*COMPARED_WITH,), may_be_empty=True),
    "weight_hessian.num_probes": Field(least=2),
}
PAIRS = [("adversarial", "boosted"), ("adversarial", "genuine")]  # of populations, compared first
TWINS = {"adversarial": "adversarial_iso", "boosted": "boosted_iso"}  # at equal log-odds
MATCHINGS = ("raw", "iso", "matched")
CLAIMED = ("input_flatness.probability_drop", "input_flatness.loss_rise", "input_flatness.margin_drop")
CLAIMED += ("input_flatness.scale_free", "input_flatness.beyond_linear", "input_flatness.scale_free_beyond_linear")
POPULATIONS = ("genuine", "natural_error", "adversarial", "boosted", "boundary", "noise_linf", "noise_l2")


def check(config: ConfigDict, fields: dict[str, Any]) -> None:
    """UserError for what the stages or the estimates would stumble over after hours of work."""
    if not fields["along.log_odds"] or min(fields["along.log_odds"]) <= 0:
        raise UserError(f"along.log_odds={fields['along.log_odds']}: expected numbers of nats above 0; try (0.5, 1.0)")
    epsilon = fields["search.epsilon"]
    if epsilon <= 0:
        raise UserError(f"search.epsilon={epsilon}: expected a radius above 0, in pixels of [0, 1]; try 0.1")
    if fields["search.norm"] == "l2" and epsilon == DATASETS[fields["data.name"]]["epsilon"]:
        raise UserError(
            f"search.norm=l2 with epsilon={epsilon:g}, the L-inf preset: expected an L2 radius over the whole image; "
            "try --config.search.epsilon=1.5"
        )
    aim = fields["search.iso_log_odds"]
    if not re.fullmatch(r"clean|\d+(\.\d*)?|quantile (0?\.\d+|0|1)", aim):
        raise UserError(
            f"search.iso_log_odds={aim!r}: expected clean, a number of nats or a quantile; try quantile 0.5"
        )
    if "manifold" in config.populations and "reconstructed" not in config.populations:
        raise UserError(
            f"populations={tuple(config.populations)}: expected reconstructed with manifold, which is compared "
            "with the decoded images that its search starts from; add it"
        )
    known = (*POPULATIONS, *config.populations, *(("user",) if fields["inputs"] else ()))
    for name, claim in config.claims.items():
        _check_claim(name, claim, config, known)


def _check_claim(name: str, claim: ConfigDict, config: ConfigDict, known: tuple[str, ...]) -> None:
    def refuse(field: str, expected: str) -> None:
        raise UserError(f"claims.{name}.{field}={claim[field]}: expected {expected}")

    if claim.measure not in CLAIMED:
        refuse("measure", f"one of {', '.join(CLAIMED)}")
    if len(claim.populations) != 2 or not set(claim.populations) <= set(known):
        refuse("populations", f"two of {', '.join(known)}")
    if claim.matching not in MATCHINGS:
        refuse("matching", f"one of {', '.join(MATCHINGS)}")
    if claim.matching == "iso" and not set(claim.populations) <= {*TWINS, "genuine"}:
        refuse("matching", f"iso with populations among {', '.join(TWINS)}, genuine, which can have equal log-odds")
    if claim.direction not in ("greater", "less"):
        refuse("direction", "greater or less")
    if claim.smallest_effect < 0:
        refuse("smallest_effect", "a number of at least 0, in the unit of the measure")
    if not any(abs(level - claim.r) < 0.01 * level for level in config.flatness.levels):
        levels = config.flatness.levels
        refuse("r", f"one of flatness.levels, {levels}; try --config.claims.{name}.r={levels[0]}")
    if "flatness" not in config.measures or "additive" not in config.flatness.noises:
        refuse("measure", "flatness among the measures and additive among flatness.noises; or drop the claim")
