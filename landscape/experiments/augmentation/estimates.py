"""The numbers of an augmentation run, from its arrays alone.

Arms are populations: every one has the same seeds and images, so that differences are paired in both. Rows with
images "new" speak of new seeds and new images; those with images "these" of new seeds, on these test images.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from landscape.experiments import measured
from landscape.experiments.augmentation import MEASURED
from landscape.experiments.augmentation.config import BEST, NOTHING, REFERENCES
from landscape.experiments.base import Check
from landscape.stats.calibration import calibration_error
from landscape.stats.claims import estimate_dict
from landscape.stats.contrasts import Least
from landscape.stats.duplicates import distinct_members, duplicate_check
from landscape.stats.intervals import LEVEL
from landscape.stats.medians import median
from landscape.stats.resampling import crossed_bootstrap, one_by_one
from landscape.stats.table import Design, Estimate, Row, Table, tabulate, verdicts

if TYPE_CHECKING:
    import xarray as xr  # imported where it is used: half a second

NUM_BINS = 15  # of confidence
MEASURES = {  # name -> variable, what it is divided by
    "accuracy.test": ("right", ""),
    "calibration.nll": ("loss", ""),
    "calibration.brier": ("brier", ""),
}
PROBED = {  # the same of images that are probed
    "attack.robust_accuracy": ("robust", ""),
    "input_flatness.scale_free": ("input_margin_drop", "margin"),
    "input_flatness.probability_drop": ("input_probability_drop", ""),
    "weight_sharpness.scale_free": ("weight_margin_drop", "margin"),
    "weight_sharpness.probability_drop": ("weight_probability_drop", ""),
}
MOVES = {  # of the moves in classifiers trained without them
    "augmentation.changes_prediction": ("changed", ""),
    "augmentation.to_runner_up": ("to_runner_up", ""),
    "purity.nearest_before": ("was_in_class", ""),
    "purity.nearest_after": ("stays_in_class", ""),
    "distance.nearest_of_before": ("distance_after", "distance_before"),
    "distance.reconstruction_of_before": ("error_after", "error_before"),
}
NEW, THESE = {"images": "new"}, {"images": "these"}
SAID = ("accuracy.test", "calibration.nll", "attack.robust_accuracy", "input_flatness.scale_free")
SAID += ("weight_sharpness.scale_free",)
NEAR_CHANCE = 0.15  # an accuracy above chance by less than this share of the rest is near chance


def derive(data: "xr.Dataset") -> "xr.Dataset":
    """Distinct members, the best move once more as the arm BEST, and the calibration error of each member."""
    import xarray as xr

    data = data.isel(member=distinct_members(data.loss.sel(arm=NOTHING).values))
    best = data.sel(arm=[data.attrs["best"]]).assign_coords(arm=[BEST])
    varying = [name for name, variable in data.data_vars.items() if "arm" in variable.dims]
    both = xr.concat([data[varying], best[varying]], "arm", combine_attrs="override")
    data = data.drop_dims("arm").assign({name: both[name] for name in varying}).assign_coords(arm=both.arm)
    errors = [
        calibration_error(
            data.confidence.sel(arm=arm).values.astype(np.float64), data.right.sel(arm=arm).values, num_bins=NUM_BINS
        )
        for arm in data.arm.values
    ]
    data["ece"] = (("arm", "member"), np.asarray(errors), {"units": "1"})
    return data


def compared(arms: list[str]) -> list[tuple[str, str]]:
    """Each arm with none, and the best move with the controls."""
    pairs = [(arm, NOTHING) for arm in arms if arm != NOTHING]
    return pairs + [(BEST, control) for control in REFERENCES[1:] if control in arms]


def estimate(data: "xr.Dataset", config) -> Table:
    """The table of a run."""
    settings = dict(zip(data.arm.values.tolist(), data.setting.values.tolist(), strict=True))
    settings[BEST] = settings[data.attrs["best"]]
    data = derive(data)
    arms = data.arm.values.tolist()
    pairs = compared(arms)
    table, every = Table(()), MEASURES | PROBED
    shares = _shares(data)
    others = data.drop_dims("example")  # whose place `probed` takes
    for part, measures, dim in ((data, MEASURES, "example"), (others, PROBED, "probed")):
        design = Design(crossed=("member", dim), compare="arm")
        table += tabulate(part, _declared(shares, measures, arms, pairs, NEW), design)
    used = sorted({name for pair in every.values() for name in pair if name})
    means = data[used].astype(float).mean(["example", "probed"], keep_attrs=True).assign(ece=data.ece)
    alone = Design(crossed=("member", ""), compare="arm", least=Least(paired=1))
    every |= {"calibration.ece": ("ece", "")}
    table += tabulate(means, _declared(shares, every, arms, pairs, THESE), alone)
    table += calibration(data, arms, pairs) + of_moves(others) + step_times(data)
    table += of_batch_sums(others) if "batch_cosine" in data else Table(())
    table = Table(
        tuple(
            Row(row, setting=settings[row["population"]])
            if row["name"] == "accuracy.test" and "reference" not in row
            else row
            for row in table
        )
    )
    return table.headline_rows(
        {"name": "accuracy.test", "population": [NOTHING, BEST], "reference": None, **NEW},
        {"name": SAID, "population": BEST, "reference": [NOTHING, *REFERENCES[1:]], **NEW},
        {"name": "throughput.step_time", "reference": NOTHING},
    )


def of_measures(data: "xr.Dataset", config) -> Table:
    """The rows of `config.measures`, of all probed images in every arm."""
    data = derive(data)
    return measured.table(data, data.measured_margin.notnull(), MEASURED)


def _shares(data: "xr.Dataset") -> set[str]:
    """Names of the variables whose means are shares."""
    return {str(name) for name in data.data_vars if data[name].dtype == bool}


def _declared(shares: set[str], measures, groups, pairs, about) -> Iterator[Estimate]:
    """Means of every measure, and differences of pairs; `shares`: variables whose means are."""
    for name, (of, per) in measures.items():
        yield Estimate(name, of, per, where="", groups=groups, about=about, share=of in shares)
        if pairs:
            yield Estimate(name, of, per, where="", versus=pairs, about=about)


def of_moves(data: "xr.Dataset") -> Table:
    """What the moves do in classifiers trained without them; reconstruction errors of images alone."""
    design, every = Design(crossed=("member", "probed"), compare="move"), data.move.values.tolist()
    images = [move for move in every if np.isfinite(data.error_after.sel(move=move)).all()]
    last = "distance.reconstruction_of_before"
    parts = [({name: of for name, of in MOVES.items() if name != last}, every), ({last: MOVES[last]}, images)]
    tables = [tabulate(data, _declared(_shares(data), part, of, (), NEW), design) for part, of in parts if of]
    return sum(tables, Table(()))


def of_batch_sums(data: "xr.Dataset") -> Table:
    """The gradient of batch_sum beside that of the own runner-up: their cosine, and the ratio of mean lengths."""
    measures = {
        "augmentation.batch_sum_cosine": ("batch_cosine", ""),
        "augmentation.batch_sum_length": ("batch_length", "own_length"),
    }
    design = Design(crossed=("member", "batched"), compare="direct")
    return tabulate(data, _declared(_shares(data), measures, data.direct.values.tolist(), (), {}), design)


def calibration(data: "xr.Dataset", arms: list[str], pairs: list[tuple[str, str]]) -> Table:
    """Expected calibration errors and their differences, for new images: intervals of the crossed bootstrap."""
    confidence = {arm: data.confidence.sel(arm=arm).values.astype(np.float64) for arm in arms}
    right = {arm: data.right.sel(arm=arm).values for arm in arms}

    def error(arm, members, examples) -> float:
        each = calibration_error(confidence[arm], right[arm], num_bins=NUM_BINS, weight=examples)
        return float(np.average(each, weights=members))

    rows = []
    for a, b in [(arm, None) for arm in arms] + pairs:
        statistic = one_by_one(lambda s, n, a=a, b=b: error(a, s, n) - (error(b, s, n) if b else 0.0))
        found = crossed_bootstrap(statistic, *right[a].shape, num_resamples=200)
        about = {"population": a, **NEW} | ({"reference": b, "matching": "raw"} if b else {})
        rows.append(Row(estimate_dict(found, "calibration.ece", unit="1", **about)))
    return Table(tuple(rows))


def step_times(data: "xr.Dataset") -> Table:
    """Seconds of a training step, and ratios to that without augmentation in the same round: medians over rounds."""
    rows = []
    seconds = {name: data.step_seconds.sel(timed=name).values for name in data.timed.values.tolist()}
    for name, values in seconds.items():
        wanted = [({}, values, "seconds")]
        if name != NOTHING:
            wanted.append(({"reference": NOTHING}, values / seconds[NOTHING], "times"))
        for about, one, unit in wanted:
            value, low, high, level = median(one)
            ends = {"value": value, "low": low, "high": high} if level >= LEVEL else {"value": value}
            row = {"name": "throughput.step_time", "population": name, "low": None, "high": None, "sem": None, **ends}
            row |= {"unit": unit, "level": level, "members": 1, "examples": len(one)}
            rows.append(Row(row, generalises_to="this machine", **about))
    return Table(tuple(rows))


def claims(table: Table, config) -> list[dict]:
    """Verdicts on the config's claims, each about the best move and an arm, for new seeds and images."""
    stated = {
        name: {**claim, "populations": (BEST, claim["reference"]), "contrast": "difference", "matching": "raw"}
        for name, claim in config.claims.to_dict().items()
    }
    for claim in stated.values():
        claim["sigma"] = 0.0  # no noise

    def where(claim) -> dict:
        return {"population": BEST, "reference": claim["populations"][1], **NEW}

    return verdicts(table, stated, where)


def checks(data: "xr.Dataset", table: Table, config) -> list[Check]:
    """Members above chance in every arm and no copies; the chosen move as good on test images as when it was chosen."""
    found = derive(data)
    chance = float(np.bincount(data.label.values).max() / data.sizes["example"])
    limit = chance + NEAR_CHANCE * (1 - chance)
    lowest = found.right.mean("example").min("member")
    arm = str(lowest.arm.values[int(lowest.values.argmin())])
    detail = f"lowest test accuracy {float(lowest.min()):.3f}, of a member of {arm}; expected above {limit:.3f}"
    checked = [Check("accuracy.above_chance", bool(lowest.min() > limit), detail)]
    checked.append(Check(**duplicate_check(data.loss.sel(arm=NOTHING).values)))
    best = table.one("accuracy.test", population=BEST, reference=None, **NEW)
    tried = data.trial_accuracy.mean("search_seed").max()
    detail = f"test accuracy {best['value']:.3f}; expected above 0.8 times that on validation images of the search, "
    detail += f"{float(tried):.3f}"
    checked.append(Check("search.no_collapse", best["value"] > 0.8 * float(tried), detail))
    return checked


def headline(table: Table, config) -> str:
    """The gains of the best move with their intervals, beside the controls, and what a step takes."""

    def gain(name: str, reference: str) -> Row:
        return table.one(name, population=BEST, reference=reference, **NEW)

    def more(name: str, reference: str, unit: str = "") -> str:
        """The difference in words: "1.0 [0.4, 1.9] less"; what is not clear as "-0.1 [-1.0, 1.2] more"."""
        row = gain(name, reference)
        if row["value"] >= 0 or not row.excludes_zero:
            return f"{row.text(100.0)}{unit} more"
        return f"{Row(row, value=-row['value'], low=-row['high'], high=-row['low']).text(100.0)}{unit} less"

    def verb(row: Row) -> str:
        return ("raises" if row["value"] > 0 else "lowers") if row.excludes_zero else "does not clearly change"

    accuracy, robust = "accuracy.test", "attack.robust_accuracy"
    setting = table.one(accuracy, population=BEST, reference=None, **NEW)["setting"]
    time = table.one("throughput.step_time", population=BEST, reference=NOTHING)
    seeds = f"{gain(accuracy, NOTHING)['members']} paired seeds of {config.model.name} on {config.data.name}"
    return (
        f"Training on examples moved toward their runner-up class ({setting}) {verb(gain(accuracy, NOTHING))} test "
        f"accuracy: {more(accuracy, NOTHING, ' points')} than without, over {seeds}, {more(accuracy, 'random')} than "
        f"random moves of equal length, {more(accuracy, 'manifold_mixup')} than Manifold Mixup. It "
        f"{verb(gain(robust, NOTHING))} robust accuracy: {more(robust, NOTHING, ' points')}, {more(robust, 'random')} "
        f"than random moves; a training step takes {time.text(1.0, 2)} times as long."
    )
