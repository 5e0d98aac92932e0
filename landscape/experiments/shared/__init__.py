"""Are adversarial examples shared between classifiers, and can shared ones be found?

Stages: members -> what all say of clean images -> every attack of every attacker, seen by every member -> gradients ->
audit -> searches that have all attackers to fool -> universal perturbations -> the ladder of guides -> what shared
examples look like -> lines between classes -> estimates.
"""

import numpy as np

from landscape import ensembles, runs
from landscape.attacks import projected
from landscape.attacks.projected import Budget
from landscape.experiments import (
    shared_between,
    shared_estimates,
    shared_joint,
    shared_ladder,
    shared_setting,
    shared_shapes,
    shared_transfer,
)
from landscape.experiments.audits import audit_stage
from landscape.experiments.shared_arrays import describe
from landscape.experiments.shared_between import GROUNDS
from landscape.experiments.shared_joint import MADE_BY
from landscape.experiments.shared_ladder import BUDGETS, rungs_of
from landscape.experiments.shared_setting import HELD_OUT, SharedSetting
from landscape.experiments.shared_shape_estimates import CONTRASTS, MEASURES, READINGS, TOLD
from landscape.experiments.shared_shapes import INPUTS
from landscape.experiments.shared_transfer import Attack
from landscape.experiments.shared_values import QUANTITIES, TARGETS
from landscape.stats.transfer import CONDITIONS, OUTCOMES
from landscape.types import Arrays

AUDITED = 4  # attackers


def run(config, run: runs.Run) -> None:
    """Runs every stage that is not on disk yet and writes arrays.nc and summary.json."""
    shared = shared_setting.prepare(config, run)
    layer, cell = shared_setting.manifold(config, run, shared)
    attacks = shared_transfer.attacks_of(config)
    arrays = shared_setting.clean(run, shared) | {"label": (("example",), shared.test.label)}
    arrays |= shared_transfer.transferred(config, run, shared)
    arrays |= shared_transfer.gradients(config, run, shared)
    audited, checks = _audit(config, run, shared, attacks)
    arrays |= shared_joint.together(config, run, shared)
    arrays |= shared_joint.universal(config, run, shared, shared.prepared.dataset)
    arrays |= shared_ladder.ladder(config, run, shared, cell)
    arrays |= shared_shapes.shapes(config, run, shared, layer, cell)
    arrays |= shared_between.between(config, run, shared, cell, arrays)
    results = shared_estimates.estimate(config, attacks, arrays)
    save(config, run, shared, attacks, arrays | audited | results.curves, results, checks)


def _audit(config, run: runs.Run, shared: SharedSetting, attacks: list[Attack]) -> tuple[Arrays, list[dict]]:
    """The audit of the full budget in the largest ball of the headline's norm, on validation images.

    Of the first attackers. In smaller balls one ascent is no bound of what can be found, which transfer does not ask.
    """
    attack = max((a for a in attacks if a[1:3] == attacks[0][1:3]), key=lambda a: a.epsilon)
    section = config.transfer
    budget = Budget(attack.norm, attack.epsilon, section.step * attack.epsilon, section.num_steps, section.num_restarts)
    return audit_stage(
        run,
        "audit",
        ensembles.take(shared.attackers, slice(AUDITED)),
        shared.validation,
        apply=shared.classifier.apply,
        budget=budget,
        mapping=config.mapping,
        seed=config.seed,
        attack=projected.pgd,
    )


def save(config, run: runs.Run, shared: SharedSetting, attacks, arrays: Arrays, results, audit_checks) -> None:
    """Writes arrays.nc, then summary.json."""
    rungs = rungs_of(config)
    coords: Arrays = {
        "source": (("source",), shared.seeds[: config.num_attackers]),
        "other": (("other",), shared.seeds[: config.num_attackers]),
        "target": (("target",), np.arange(len(shared.names))),
        "target_seed": (("target",), shared.seeds),
        "role": arrays.pop("role"),
        "example": (("example",), shared.test.ids),
        "attack": (("attack",), np.asarray([a.name for a in attacks])),
        "kind": (("attack",), np.asarray([a.kind for a in attacks])),
        "norm": (("attack",), np.asarray([a.norm for a in attacks])),
        "epsilon": (("attack",), np.asarray([a.epsilon for a in attacks])),
        "class": (("class",), np.asarray(shared.class_names)),
        "condition": (("condition",), np.asarray(CONDITIONS)),
        "outcome": (("outcome",), np.asarray(OUTCOMES)),
        "targets": (("targets",), np.asarray(TARGETS)),
        "quantity": (("quantity",), np.asarray(QUANTITIES)),
        "objective": (("objective",), np.asarray(config.joint.objectives)),
        "ball": (("ball",), shared_joint.radii_of(config)),
        "made_by": (("made_by",), np.asarray(MADE_BY)),
        "search": (("search",), np.asarray(config.ladder.searches)),
        "rung": (("rung",), np.asarray([f"{r.name}.{r.size}" for r in rungs])),
        "rung_name": (("rung",), np.asarray([r.name for r in rungs])),
        "size": (("rung",), np.asarray([r.size for r in rungs])),
        "budget": (("budget",), np.asarray(BUDGETS)),
        "step_size": (("step_size",), np.asarray(config.ladder.step_sizes, np.float64)),
        "input": (("input",), np.asarray(INPUTS)),
        "judge": (("judge",), np.flatnonzero(shared.names == HELD_OUT)),
        "shape_measure": (("shape_measure",), np.asarray(list(MEASURES))),
        "shape_population": (("shape_population",), np.asarray(TOLD)),
        "shape_contrast": (("shape_contrast",), np.asarray(CONTRASTS)),
        "reading": (("reading",), np.asarray(READINGS)),
        "ground": (("ground",), np.asarray(GROUNDS)),
    }
    for dim, array in (("joint", "smallest_radius"), ("ladder", "ladder_start"), ("shape", "shape_margin")):
        coords[f"{dim}_example"] = ((f"{dim}_example",), shared.test.ids[: arrays[array][1].shape[-1]])
    coords |= {name: arrays.pop(name) for name in ("audit_attack", "audit_epsilon", "step") if name in arrays}
    attrs = {name: told for name in (*arrays, *coords) if (told := describe(name))}
    runs.write_arrays(run, arrays, coords, attrs, epsilon=attacks[0].epsilon, norm=attacks[0].norm)
    runs.write_summary(
        run,
        headline=results.headline,
        estimates=results.estimates,
        checks=[*audit_checks, *results.checks],
        claims=results.claims,
    )
