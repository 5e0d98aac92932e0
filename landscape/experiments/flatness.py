"""Is the landscape flatter around genuine or around adversarial examples, in input and in weight space?

Stages: members -> audit -> noise levels -> search of the populations -> one stage a measure -> estimates -> report.
"""

from landscape import populations, runs
from landscape.experiments import flatness_estimates, setting
from landscape.experiments import flatness_stages as stages
from landscape.experiments.flatness_arrays import assemble
from landscape.experiments.flatness_plan import plan
from landscape.experiments.inputs import read_inputs

__all__ = ["plan", "run"]


def run(config, run: runs.Run) -> None:
    """Runs every stage that is not on disk yet and writes arrays.nc, summary.json and the report's inputs."""
    mine = read_inputs(config.inputs, setting.load(config)[0]) if config.inputs else None  # before any long work
    prepared = setting.prepare(config, run)
    test = setting.examples(prepared.dataset, "test", config.flatness.num_examples, config.seed)
    audited, checks = stages.audit_stage(config, run, prepared)
    levels = stages.levels_stage(config, run, prepared)
    parts = [stages.measured(config, run, prepared, test, test.x, populations.INPUTS, levels)]
    if mine is not None:
        user, origin = mine
        parts.append(stages.measured(config, run, prepared, user, origin, ("clean",), levels, suffix="_user"))
    arrays, coords = assemble(config, prepared, test, parts, levels)
    results = flatness_estimates.estimate(config, prepared, arrays, coords)
    flatness_estimates.save(config, run, prepared, arrays | audited, coords, results, checks)
