"""The audit of an attack as a stage of a run."""

import numpy as np
import xarray as xr

from landscape import ensembles, runs
from landscape.attacks import projected
from landscape.attacks.audit import Attack, audit, num_searches
from landscape.attacks.projected import Budget
from landscape.experiments import setting
from landscape.experiments.setting import Examples, Setting, example_keys
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


def audit_dataset(
    config, run: runs.Run, prepared: Setting, budget: Budget, images: Examples | None = None, **options
) -> xr.Dataset:
    """The audit of the trained members on validation images: its accuracies, its checks as coordinates.

    images: config.audit.num_examples of them where None. options: as `audit_stage` takes them.
    """
    if images is None:
        images = setting.examples(prepared.dataset, "validation", config.audit.num_examples, config.seed)
    return audit_stage_dataset(
        run,
        ensembles.take(prepared.ensemble, np.flatnonzero(prepared.trained)),
        images,
        apply=prepared.classifier.apply,
        budget=budget,
        mapping=config.mapping,
        seed=config.seed,
        **options,
    )


def audit_stage_dataset(run: runs.Run, members: Ensemble, images: Examples, **options) -> xr.Dataset:
    """The audit of some members on some images, see `audit_stage`: its accuracies, its checks as coordinates."""
    arrays, checks = audit_stage(run, "audit", members, images, **options)
    found = xr.Dataset(arrays).set_coords(["audit_attack", "audit_epsilon"])
    return found.assign_coords(
        check=[check["name"] for check in checks],
        check_passed=("check", [check["passed"] for check in checks]),
        check_detail=("check", [check["detail"] for check in checks]),
    )
