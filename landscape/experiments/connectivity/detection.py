"""How well the barrier of a path detects adversarial inputs, and the weight it has in the attack that evades it."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float

from landscape.stats.auroc import member_separation, roc
from landscape.stats.claims import estimate_dict
from landscape.stats.contrasts import Least, Sample, separation
from landscape.stats.intervals import MIN_MEMBERS, Interval
from landscape.stats.matching import match
from landscape.stats.table import Row, Table

if TYPE_CHECKING:
    import xarray as xr  # imported where it is used: half a second

GENUINE, NATURAL, BOOSTED = "genuine", "natural_error", "boosted"
SOURCE = "source"  # its second endpoint is not of the class that it is evaluated with
ATTACKS = ("adversarial", "adversarial_iso", "adaptive")
ALWAYS = ("line", "bypass")  # paths that every pair has
ROUNDING = 1e-6  # nats: what two float32 losses of one image may differ by
RATES = np.linspace(0, 1, 51)  # false-positive rates of ROC curves
# Detections that are drawn: population, reference, matching.
DRAWN = (
    ("adversarial", GENUINE, "raw"),
    ("adversarial", BOOSTED, "raw"),
    ("adversarial_iso", NATURAL, "matched"),
    ("adaptive", GENUINE, "raw"),
)


def detection(data: "xr.Dataset") -> Table:
    """How well the barrier from a genuine image detects the inputs at the other endpoint: AUROC and ROC curves.

    Raw: each kind against genuine pairs, and attacks against boosted pairs, made by the same attack. Matched: attacks
    against natural errors of equal margin and equal distance of source from reference image. On the line also the loss
    at the second endpoint alone, against genuine pairs.
    """
    kinds = [kind for kind in data.kind.values.tolist() if kind not in (GENUINE, SOURCE)]
    comparisons = [(kind, GENUINE, "raw") for kind in kinds]
    comparisons += [(kind, BOOSTED, "raw") for kind in kinds if kind in ATTACKS]
    comparisons += [(k, NATURAL, how) for k in kinds if k in ATTACKS[:2] for how in ("raw", "matched")]
    rows: list[Row] = []
    for path in ALWAYS:
        for kind, reference, matching in comparisons:
            found = _compared(data.sel(path=path), kind, reference, matching)
            if found is None:
                continue
            samples, more = found
            about = {"population": kind, "reference": reference, "matching": matching, "path": path, "unit": "1"}
            about |= more
            rows += _separated("barrier", *(one._replace(values=one.values[0]) for one in samples), about)
            if path == "line" and (reference, matching) == (GENUINE, "raw") and kind in ATTACKS:
                rows += _separated("end_loss", *(one._replace(values=one.values[1]) for one in samples), about)
            if path == "line" and (kind, reference, matching) in DRAWN:
                rows += _roc(*samples, about)
    return Table(tuple(rows))


def _separated(score: str, a: Sample, b: Sample, about: dict) -> Iterator[Row]:
    for result in separation(a, b, 1):  # members with too few pairs are left out already
        yield Row(estimate_dict(result.interval, f"auroc.{score}{result.suffix}", examples=result.examples, **about))


def _roc(a: Sample, b: Sample, about: dict) -> Iterator[Row]:
    """The ROC curve of the barrier, with its band over members and pairs."""
    values = [np.nan_to_num(one.values[0]) for one in (a, b)]
    curves = roc(*values, RATES, mask_positive=a.where, mask_negative=b.where)
    shape = (*a.where.shape, *[np.nan] * 3)
    for rate, value, low, high in zip(RATES, *curves, strict=True):
        one = Interval(value, *[np.nan] * 4, *shape)
        yield Row(estimate_dict(one, "auroc.barrier.roc", rate=rate, band_low=low, band_high=high, **about))


def _least_ranked(num_members: int) -> Least:
    """Pairs that a member needs: of n drawn with replacement none is one of k with probability exp(-k), and at most one
    resample in a hundred may leave a member without any on either side.
    """
    return Least(math.ceil(math.log(200 * num_members)), MIN_MEMBERS)


def _compared(
    data: "xr.Dataset", kind: str, reference: str, matching: str
) -> tuple[tuple[Sample, Sample], dict] | None:
    """Samples whose values are [barrier_score, end_loss] of members with pairs enough, and columns about a match."""
    both = [data.sel(kind=name) for name in (kind, reference) if name in data.kind]
    if len(both) < 2:
        return None
    a, b = (Sample(np.stack([one.barrier_score.values, one.end_loss.values]), one.valid.values) for one in both)
    kept = _least_ranked(len(a.where)).kept(a.where, b.where)
    if not kept.any():
        return None
    a, b = (one._replace(values=one.values[:, kept], where=one.where[kept]) for one in (a, b))
    if matching == "raw":
        return (a, b), {}
    margins = [one.end_margin.values[kept].astype(np.float64) for one in both]
    return _matched(a, b, margins, data.source_distance.values, data.pair_class.values)


def _matched(
    a: Sample, b: Sample, margins: list[np.ndarray], distance: np.ndarray, classes: np.ndarray
) -> tuple[tuple[Sample, Sample], dict] | None:
    """The pairs of one margin and one distance, within a class where numbers allow; None where too few are left."""
    wide, classes = (np.broadcast_to(value, a.where.shape) for value in (distance, classes))
    about = {"classes_treated": classes, "classes_reference": classes, "others": [(wide, wide)]}
    found = match(*margins, a.where, b.where, **about)
    keep = found.partner >= 0
    kept = np.flatnonzero(_least_ranked(len(keep)).kept(keep))
    if not len(kept):
        return None
    partners = np.zeros_like(keep)
    for s in kept:
        partners[s, found.partner[s][keep[s]]] = True

    def mean(values) -> float:
        return float(np.mean([values(s) for s in kept]))

    quality = {
        "share_kept": mean(lambda s: found.share_kept[s]),
        "smd_before": mean(lambda s: found.smd_before[s]),
        "smd_after": mean(lambda s: found.smd_after[s]),
        "distance_smd_before": mean(lambda s: standardised_difference(distance, a.where[s], b.where[s])),
        "distance_smd_after": mean(lambda s: standardised_difference(distance, keep[s], partners[s])),
        "distinct_partners": found.distinct_partners,
        "same_class": found.same_class,
    }
    some = ((a, keep), (b, partners))
    first, second = (one._replace(values=one.values[:, kept], where=mask[kept]) for one, mask in some)
    return (first, second), quality


def standardised_difference(values: np.ndarray, one: np.ndarray, other: np.ndarray) -> float:
    """Difference of the means of values [Q] over two sets of pairs, in standard deviations of the other set."""
    spread = max(float(np.std(values[other], ddof=1)), np.finfo(np.float64).tiny)
    return float(values[one].mean() - values[other].mean()) / spread


# ---- the weight of the detector in the adaptive attack, chosen on validation images ----


def detected_by_weight(
    barrier: Float[np.ndarray, "W S Q"],
    reached: Bool[np.ndarray, "W S Q"],
    genuine: Float[np.ndarray, "S Q"],
    right: Bool[np.ndarray, "S Q"],
) -> Float[np.ndarray, " W"]:
    """AUROC of each weight's attack against genuine pairs, mean over members; NaN where a member reached nothing.

    Args:
      barrier, reached: barriers and successes of each weight's attack. genuine, right: of genuine pairs.
    """
    found = np.full(len(barrier), np.nan)
    for w, (values, mask) in enumerate(zip(barrier, reached, strict=True)):
        if np.all(mask.sum(axis=1) > 0) and np.all(right.sum(axis=1) > 0):
            cut = [np.where(value < ROUNDING, 0.0, value) for value in (values, genuine)]
            found[w] = member_separation(*cut, mask_positive=mask, mask_negative=right).auroc.mean()
    return found


def chosen_weight(detected: np.ndarray, share: np.ndarray, *, keep: float) -> int:
    """Number of the weight above 0 whose attack is detected worst, AUROC nearest to 1/2, of those that succeed nearly
    as often as the attack of weight 0, which comes first; 0 where none does.

    Args:
      detected, share: AUROC and share of successes of each weight's attack.
      keep: share of the first one's successes that a weight must keep.
    """
    off = np.where((share >= keep * share[0]) & np.isfinite(detected), np.abs(detected - 0.5), np.inf)[1:]
    return 1 + int(np.argmin(off)) if np.isfinite(off).any() else 0


def tuning(data: "xr.Dataset") -> "tuple[np.ndarray, np.ndarray]":
    """AUROC and share of successes of each weight's attack, on validation images."""
    names = ("tuning_barrier", "tuning_reached", "tuning_genuine", "tuning_right")
    barrier, reached, genuine, right = (data[name].values for name in names)
    detected = detected_by_weight(barrier, reached.astype(bool), genuine, right.astype(bool))
    return detected, reached.mean(axis=(1, 2))


def tried_weights(data: "xr.Dataset") -> Table:
    """What the adaptive attack was tuned with, on validation images of all members; no intervals."""
    if "adaptive_weight" not in data:
        return Table()
    size = (data.sizes["member"], data.sizes["tuning_pair"], *[np.nan] * 3)

    def row(name: str, value: float, **about) -> Row:
        return Row(estimate_dict(Interval(value, *[np.nan] * 4, *size), name, population="adaptive", **about))

    rows = [row("attack.detector_weight", float(data.adaptive_weight), unit="logits / nat")]
    for weight, detected, share in zip(data.weight.values, *tuning(data), strict=True):
        rows.append(row("auroc.barrier.validation", detected, unit="1", weight=float(weight)))
        rows.append(row("attack.validation_success", share, unit="1", weight=float(weight)))
    return Table(tuple(rows))
