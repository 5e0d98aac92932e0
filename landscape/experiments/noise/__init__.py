"""Does searching against a classifier redrawn from a ball at every step end in flatter, more transferable places?

Stages: members, trajectories, autoencoders -> accuracy that noise leaves -> for each search: step sizes on validation
images, every arm on test images; in pixels the audit of the search without noise -> the grid of step size x draws x
radius -> estimates -> report.
"""

import numpy as np

from landscape import runs
from landscape.experiments import noise_arms, noise_estimates, noise_grid, noise_measures, noise_search, setting
from landscape.experiments.noise_arrays import describe
from landscape.experiments.noise_collapse import BY
from landscape.experiments.noise_search import MATCHINGS
from landscape.experiments.noise_setting import NoiseSetting, prepare, search_of
from landscape.experiments.noise_values import QUANTITIES
from landscape.types import Arrays


def run(config, run: runs.Run) -> None:
    """Runs every stage that is not on disk yet and writes arrays.nc and summary.json."""
    prepared = setting.prepare(config, run)
    noisy = prepare(config, run, prepared)
    told, arms = noise_arms.arms_of(config)
    arrays = noise_arms.accuracy_kept(config, run, noisy, arms)
    measured = noise_measures.measurer(config, noisy)
    parts, checks = [], []
    for name in config.noise.searches:
        search = search_of(config, noisy, name)
        program = noise_search.searcher(config, noisy, search, arms)
        tuning = noise_search.tuned(config, run, noisy, search, len(told), program)
        parts.append(tuning | noise_measures.compared(config, run, noisy, search, tuning, program, measured))
        if name == "pixels":
            audited, checks = noise_search.audited(config, run, noisy, float(tuning["chosen"][1][0]))
            arrays |= audited
    arrays |= {
        name: (("search", *dims), np.stack([part[name][1] for part in parts])) for name, (dims, _) in parts[0].items()
    }
    arrays |= noise_grid.grid(config, run, noisy, float(parts[0]["sigma"][1]))
    results = noise_estimates.estimate(config, told, arrays)
    save(config, run, noisy, told, arrays | results.curves, results, checks)


def save(config, run: runs.Run, noisy: NoiseSetting, arms: list[dict], arrays: Arrays, results, audit_checks) -> None:
    """Writes arrays.nc, then summary.json."""
    arms_along = {key: (("arm",), np.asarray([arm[key] for arm in arms])) for key in ("arm", "kind", "radius")}
    coords: Arrays = {
        **{dim: ((dim,), noisy.seeds) for dim in ("member", "source", "target")},
        "example": (("example",), noisy.test.ids),
        "search": (("search",), np.asarray(config.noise.searches)),
        "matching": (("matching",), np.asarray(MATCHINGS)),
        "quantity": (("quantity",), np.asarray(list(QUANTITIES))),
        "step_size": (("step_size",), np.asarray(config.noise.step_sizes, np.float64)),
        "by": (("by",), np.asarray(BY)),
        **arms_along,
    }
    # Validation images have ids of their own.
    arrays = arrays | {"kept": (("arm", "member", "validation_example"), arrays["kept"][1])}
    coords |= {name: arrays.pop(name) for name in ("audit_attack", "audit_epsilon") if name in arrays}
    attrs = {name: told for name in (*arrays, *coords) if (told := describe(name))}
    runs.write_arrays(run, arrays, coords, attrs, epsilon=config.pixels.epsilon, norm=config.pixels.norm)
    runs.write_summary(
        run,
        headline=results.headline,
        estimates=results.estimates,
        checks=[*audit_checks, *results.checks],
        claims=results.claims,
    )
