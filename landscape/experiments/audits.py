"""The audit of an attack as a stage of a run: its accuracies, its checks as coordinates."""

import numpy as np
import xarray as xr

from landscape import ensembles, runs
from landscape.attacks import projected
from landscape.attacks.audit import Attack, audit, num_searches
from landscape.attacks.projected import Budget
from landscape.experiments import setting
from landscape.experiments.setting import Examples, Setting, example_keys
from landscape.types import Apply, Arrays, Ensemble

SEARCHED = ("norm", "epsilon", "step_size", "num_steps", "num_restarts")  # fields of config.search
CHECK = {"name": "check", "passed": "check_passed", "detail": "check_detail"}  # of `audit` -> of the dataset


def budget_of(config) -> Budget:
    """What the searches of config.search may spend."""
    return Budget(**{name: config.search[name] for name in SEARCHED})


def audit_dataset(config, run: runs.Run, prepared: Setting, budget: Budget | None = None) -> xr.Dataset:
    """The audit of the trained members on config.audit.num_examples validation images, by default with the budget of
    config.search."""
    images = setting.examples(prepared.dataset, "validation", config.audit.num_examples, config.seed)
    members = ensembles.take(prepared.ensemble, np.flatnonzero(prepared.trained))
    budget = budget or budget_of(config)
    how = {"apply": prepared.classifier.apply, "mapping": config.mapping, "seed": config.seed}
    return audit_stage_dataset(run, members, images, budget=budget, **how)


def audit_stage_dataset(
    run: runs.Run,
    members: Ensemble,
    images: Examples,
    *,
    apply: Apply,
    budget: Budget,
    mapping: str,
    seed: int,
    attack: Attack = projected.multi_targeted,
) -> xr.Dataset:
    """The audit of some members on some images.

    Args:
      members: trained ones. images: of the validation split. mapping: text, as `ensembles.parse` takes it.
    """

    def work() -> Arrays:
        keys, how = example_keys(seed, "audit", images.ids), ensembles.parse(mapping, ensembles.size(members))
        options = {"apply": apply, "budget": budget, "how": how, "attack": attack}
        with runs.progress(run, "audit", num_searches(), "searches") as bar:
            arrays, checks = audit(keys, members, images.x, images.label, advance=bar.advance, **options)
        columns = {name: (("check",), np.asarray([one[key] for one in checks])) for key, name in CHECK.items()}
        return arrays | columns

    return xr.Dataset(runs.once(run, "audit", work)).set_coords(["audit_attack", "audit_epsilon", *CHECK.values()])
