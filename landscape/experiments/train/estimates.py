"""The numbers of a train run, from its arrays alone: accuracy, calibration, and how members differ. Float64."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int

from landscape.experiments.base import Check, by_stratum, named, of_members, strata_of
from landscape.stats.calibration import calibration_error
from landscape.stats.claims import estimate_dict
from landscape.stats.duplicates import distinct_members, duplicate_check
from landscape.stats.intervals import interval
from landscape.stats.pseudo_values import of_pairs
from landscape.stats.resampling import crossed_bootstrap, one_by_one
from landscape.stats.table import Design, Estimate, Row, Table, tabulate

if TYPE_CHECKING:
    import xarray as xr  # imported where it is used: half a second

NEAR_CHANCE = 0.15  # an accuracy above chance by less than this share of the rest is near chance
CONTROLS = ("untrained", "shuffled")
CLEAN = {"population": "clean"}
Pairs = Float[np.ndarray, "S S N"]


def derive(data: "xr.Dataset") -> "xr.Dataset":
    """All members, with whether they are right, and which images are of each class."""
    import xarray as xr

    classes = xr.DataArray(np.arange(data.sizes["class"]), dims="class")
    return data.assign(right=data.prediction == data.label, of_class=data.label == classes)


def estimate(data: "xr.Dataset", config) -> Table:
    """The table of a run; of a sweep, everything by its values. Control members are populations of their own."""
    derived = derive(data)

    def of_stratum(part: "xr.Dataset") -> Table:
        several = part.isel({"class": (part.of_class.sum("example") > 1).values.nonzero()[0]})
        by_class = Estimate("accuracy.class", "right", where="", by=("class",), share=True, about=CLEAN)
        table = tabulate(part, declare(config), Design())
        return table + tabulate(several, [by_class], Design(support="of_class")) + agreement(part)

    trained = of_members(derived)
    table = by_stratum(trained.isel(member=distinct_members(trained.loss.values)), of_stratum)
    for control in CONTROLS:
        own = Estimate("accuracy.test", "right", where="", share=True, about={"population": control})
        others = of_members(derived, control)
        table += tabulate(others, [own], Design()) if others.sizes["member"] else Table()
    first = ["accuracy.test", "calibration.nll", "calibration.brier", "calibration.ece"]
    pairs = [f"agreement.{name}" for name in ("disagreement", "disagreement_expected", "ratio")]
    return table.headline_rows({"name": [*first, *pairs], **CLEAN})


def declare(config) -> Iterator:
    """Accuracy and calibration."""
    yield Estimate("accuracy.test", "right", where="", share=True, about=CLEAN)
    yield Estimate("calibration.nll", "loss", where="", about=CLEAN)
    yield Estimate("calibration.brier", "brier", where="", about=CLEAN)
    yield lambda data: calibration(data, config.calibration.num_bins)


def claims(table: Table, config) -> list[dict]:
    """None are stated."""
    return []


# ---- calibration ----


def calibration(data: "xr.Dataset", num_bins: int) -> Table:
    """The expected calibration error, mean over members, with the interval of the crossed bootstrap."""
    confidence, right = data.confidence.values.astype(np.float64), data.right.values

    def error(weight_members, weight_examples) -> float:
        each = calibration_error(confidence, right, num_bins=num_bins, weight=weight_examples)
        return float(np.average(each, weights=weight_members))

    found = crossed_bootstrap(one_by_one(error), *right.shape)
    return Table((Row(estimate_dict(found, "calibration.ece", unit="1", num_bins=num_bins, **CLEAN)),))


# ---- how members differ ----


def disagreements(prediction: Int[np.ndarray, "S N"]) -> Bool[np.ndarray, "S S N"]:
    """Whether two members predict different classes."""
    return prediction[:, None, :] != prediction[None, :, :]


def expected_disagreements(onehot: Float[np.ndarray, "S N K"], label: Int[np.ndarray, " N"]) -> Pairs:
    """What two members would disagree on if, given the true class, they predicted independently. Mean over N: a share.

    The mean is 1 - sum_y P(y) sum_k C_s[y, k] C_t[y, k], C the confusion matrices (rows: true classes): the
    disagreement of two classifiers of these accuracies whose errors have nothing to do with each other. Image i of
    class y contributes 1 - (o_s . C_t[y] + C_s[y] . o_t - C_s[y] . C_t[y]), o its one-hot prediction: the influence of
    the image, so that intervals see that the matrices are estimates. A member with itself is meaningless.
    """
    rows = np.zeros((len(onehot), onehot.shape[-1], onehot.shape[-1]))
    for y in np.unique(label):
        rows[:, y] = onehot[:, label == y].mean(axis=1)
    own = rows[:, label]  # [S, N, K]
    cross = np.einsum("snk,tnk->stn", onehot, own)
    return 1 - (cross + cross.swapaxes(0, 1) - np.einsum("snk,tnk->stn", own, own))


def agreement(data: "xr.Dataset") -> Table:
    """Pairwise disagreement, what unrelated errors would give, and their ratio, over all pairs; none of one member."""
    if data.sizes["member"] < 2:
        return Table()
    prediction, label = data.prediction.values, data.label.values
    seen = of_pairs(disagreements(prediction).astype(float))
    expected = of_pairs(expected_disagreements(np.eye(data.sizes["class"])[prediction], label))
    found = {"disagreement": seen, "disagreement_expected": expected}
    if expected.mean() > 0:
        ratio = seen.mean() / expected.mean()
        found["ratio"] = ratio + (seen - ratio * expected) / expected.mean()
    rows = (estimate_dict(interval(u), f"agreement.{name}", unit="1", **CLEAN) for name, u in found.items())
    return Table(tuple(map(Row, rows)))


# ---- checks and headline ----


def checks(data: "xr.Dataset", table: Table, config) -> list[Check]:
    """Controls near chance, trained members above it, no copies among them."""
    derived = derive(data)
    chance = float(np.bincount(data.label.values).max() / data.sizes["example"])
    found, limit = [], chance + NEAR_CHANCE * (1 - chance)
    for control in CONTROLS:
        right = of_members(derived, control).right.values
        if len(right):
            detail = f"mean test accuracy {right.mean():.3f}; expected below {limit:.3f} (most frequent class "
            detail += f"{chance:.3f})"
            found.append(Check(f"controls.{control}", bool(right.mean() < limit), detail))
    trained = of_members(derived)
    lowest = float(trained.right.values.mean(axis=1).min())
    detail = f"lowest test accuracy of a trained member {lowest:.3f}; expected above {limit:.3f} (most frequent class "
    detail += f"{chance:.3f})"
    found.append(Check("accuracy.above_chance", lowest > limit, detail))
    return [*found, Check(**duplicate_check(trained.loss.values))]


def headline(table: Table, config) -> str:
    """The answer in one or two sentences; of a sweep, of the value with the best accuracy."""
    trained = table.select("accuracy.test", **CLEAN)
    best = max(trained, key=lambda row: row["value"])
    kinds = strata_of(table)
    same = next(kind for kind in kinds if all(best.get(name) == value for name, value in kind.items()))
    which = f", {named(same)} (the best of {len(kinds)} kinds of training)" if same else ""
    about = f"{config.model.name} on {config.data.name}{which}"
    text = f"{best['members']} classifiers ({about}) are right on {_percent(best)} of the test images."
    ratio = table.get("agreement.ratio", **same)
    if ratio is None:
        return text
    disagreement = _percent(table.one("agreement.disagreement", **same))
    return (
        f"{text} Two of them disagree on {disagreement}, {ratio['value']:.2f} times what unrelated errors of equal "
        "accuracy would give."
    )


def _percent(row: Row) -> str:
    value, *ends = row.text(100.0).split(" ", 1)
    return f"{value} %{' ' + ends[0] if ends else ''}"
