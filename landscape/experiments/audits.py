"""The audit of an attack as a stage of a run."""

import numpy as np

from landscape import ensembles, runs
from landscape.attacks import projected
from landscape.attacks.audit import Attack, audit, num_searches
from landscape.attacks.projected import Budget
from landscape.experiments.setting import Examples, example_keys
from landscape.types import Apply, Arrays, Ensemble


def audit_stage(
    run: runs.Run,
    stage: str,
    members: Ensemble,
    images: Examples,
    *,
    apply: Apply,
    budget: Budget,
    mapping: str,
    seed: int,
    attack: Attack = projected.pgd,
) -> tuple[Arrays, list[dict]]:
    """The audit's arrays and checks; the checks travel in the stage's file as text.

    Args:
      members: trained ones. images: of the validation split. mapping: text, as `ensembles.parse` takes it.
    """

    def work() -> Arrays:
        with runs.progress(run, stage, num_searches(), "searches") as bar:
            arrays, checks = audit(
                example_keys(seed, "audit", images.ids),
                members,
                images.x,
                images.label,
                apply=apply,
                budget=budget,
                how=ensembles.parse(mapping, ensembles.size(members)),
                attack=attack,
                advance=bar.advance,
            )
        rows = [[check["name"], str(int(check["passed"])), check["detail"]] for check in checks]
        return arrays | {"checks": (("check", "part"), np.asarray(rows))}

    arrays = runs.once(run, stage, work)
    rows = arrays.pop("checks")[1].tolist()
    return arrays, [{"name": name, "passed": passed == "1", "detail": detail} for name, passed, detail in rows]
