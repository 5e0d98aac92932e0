"""Does searching against a classifier redrawn from a ball at every step end in flatter, more transferable places?

Stages: members, trajectories, autoencoders -> accuracy that noise leaves -> for each search: step sizes on validation
images, every arm on test images -> the grid of step size x draws x radius -> estimates -> report.
"""

import numpy as np

from landscape import runs
from landscape.experiments import noise_arms, noise_estimates, noise_grid, noise_measures, noise_search, setting
from landscape.experiments.noise_collapse import BY
from landscape.experiments.noise_estimates import QUANTITIES
from landscape.experiments.noise_search import MATCHINGS
from landscape.experiments.noise_setting import NoiseSetting, prepare, search_of
from landscape.types import Arrays

ABOUT = {  # array: (units, long_name)
    "kept": ("1", "share of an arm's classifiers that classify the validation image rightly"),
    "kept_told": ("1", "accuracy that an arm's classifiers keep on validation images"),
    "kept_low": ("1", "lower end of its 95 % interval"),
    "kept_high": ("1", "upper end of its 95 % interval"),
    "tuning": ("logits", "the unperturbed source's goal at the end on validation images, by step size"),
    "chosen": ("1", "step size chosen, share of the radius"),
    "noise_length": ("pixels", "L2 distance that the search without noise went on validation images"),
    "sigma": ("pixels", "standard deviation of the noise under which flatness is told"),
    "right": ("1", "whether all sources classify the start rightly"),
    "goal": ("logits", "margin toward the goal at the end, by the source"),
    "moved": ("pixels", "L2 distance of the end from the start"),
    "reached": ("1", "whether the equal margin was reached"),
    "success": ("1", "whether the source is fooled (ascent: sees the class aimed at)"),
    "transfer": ("1", "share of the judges that are"),
    "margin": ("logits", "margin of the tracked class"),
    "margin_drop": ("logits", "mean drop of the tracked class's margin under noise"),
    "linearity": ("logits", "largest departure of the margin from its tangent within the noise's length"),
    "gradient_norm": ("nats/pixel", "norm of the loss's gradient"),
    "hessian_top": ("nats/pixel^2", "largest eigenvalue of the loss's Hessian"),
    "manifold": ("pixels", "L2 distance to the reconstruction by an autoencoder of another seed"),
    "distance": ("pixels", "L2 distance from the start"),
    "picture": ("1", "results at equal norm of the first source, in [0, 1]"),
    "picture_start": ("1", "their starts"),
    "told": ("1", "estimate of an arm, unit of the quantity"),
    "told_low": ("1", "lower end of its 95 % interval"),
    "told_high": ("1", "upper end of its 95 % interval"),
    "change": ("1", "paired difference from no noise, unit of the quantity"),
    "change_low": ("1", "lower end of its 95 % interval"),
    "change_high": ("1", "upper end of its 95 % interval"),
    "grid_margin": ("logits", "margin of the tracked class at the end"),
    "grid_drop": ("logits", "mean drop of that margin under noise"),
    "grid_success": ("1", "whether the source is fooled"),
    "grid_moved": ("pixels", "L2 distance of the end from the image"),
    "grid_eta": ("pixels", "L2 length of the first step"),
    "grid_draws": ("1", "gradients a step"),
    "grid_radius": ("1", "radius of the noise"),
    "grid_flatness": ("1", "scale-free drop at the end"),
    "collapse": ("1", "share of the variance between cells that a quadratic in the logarithm explains"),
    "collapse_low": ("1", "lower end of its 95 % interval"),
    "collapse_high": ("1", "upper end of its 95 % interval"),
    "grid_radius_value": ("1", "radius of the noise"),
    "search": ("1", "search that arms are compared in"),
    "matching": ("1", "how results are made comparable: equal norm, or equal margin"),
    "quantity": ("1", "what is told"),
    "arm": ("1", "which classifiers the search sees"),
    "kind": ("1", "kind of arm"),
    "radius": ("1", "radius of the arm's noise, NaN without a dose"),
    "step_size": ("1", "step sizes tried, share of the radius"),
    "by": ("1", "what the fit is a function of"),
}
START = "start_"  # prefix of what is measured where searches begin


def run(config, run: runs.Run) -> None:
    """Runs every stage that is not on disk yet and writes arrays.nc and summary.json."""
    prepared = setting.prepare(config, run)
    noisy = prepare(config, run, prepared)
    told, arms = noise_arms.arms_of(config)
    arrays = noise_arms.accuracy_kept(config, run, noisy, arms)
    measured = noise_measures.measurer(config, noisy)
    parts = []
    for name in config.noise.searches:
        search = search_of(config, noisy, name)
        program = noise_search.searcher(config, noisy, search, arms)
        tuning = noise_search.tuned(config, run, noisy, search, len(told), program)
        parts.append(tuning | noise_measures.compared(config, run, noisy, search, tuning, program, measured))
    arrays |= {
        name: (("search", *dims), np.stack([part[name][1] for part in parts])) for name, (dims, _) in parts[0].items()
    }
    arrays |= noise_grid.grid(config, run, noisy, float(parts[0]["sigma"][1]))
    results = noise_estimates.estimate(config, told, arrays)
    save(config, run, noisy, told, arrays | results.curves, results)


def save(config, run: runs.Run, noisy: NoiseSetting, arms: list[dict], arrays: Arrays, results) -> None:
    """Writes arrays.nc, then summary.json."""
    arms_along = {key: (("arm",), np.asarray([arm[key] for arm in arms])) for key in ("arm", "kind", "radius")}
    coords: Arrays = {
        "member": (("member",), noisy.seeds),
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
    attrs = {}
    for name in (*arrays, *coords):
        units, long_name = ABOUT.get(name.removeprefix(START), ("", ""))
        if units:
            where = "of the start: " if name.startswith(START) else ""
            attrs[name] = {"units": units, "long_name": f"{where}{long_name}"}
    runs.write_arrays(run, arrays, coords, attrs, epsilon=config.pixels.epsilon, norm=config.pixels.norm)
    runs.write_summary(
        run,
        headline=results.headline,
        estimates=results.estimates,
        checks=results.checks,
        claims=results.claims,
    )
