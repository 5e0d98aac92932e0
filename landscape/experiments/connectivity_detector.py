"""How well the barrier of a path tells adversarial pairs apart: raw, matched, and under an attack that knows of it."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from landscape.experiments.connectivity_along import ALWAYS
from landscape.experiments.connectivity_ends import BOOSTED, NATURAL, READ_AS
from landscape.experiments.connectivity_told import REFERENCE, TRADED, Found, Told, members
from landscape.stats.auroc import Separation, member_separation, roc, separation
from landscape.stats.claims import estimate_dict
from landscape.stats.matching import match

ATTACKS = ("adversarial", "adversarial_iso", "adaptive", "adaptive_unseen")
SCORES = {  # what tells: the name of its AUROC
    "barrier": "auroc.barrier",
    "above_line": "auroc.above_line",
    "climb": "auroc.climb",
    "last_loss": "auroc.end_loss",
}
ROUNDING = 1e-6  # nats: what two float32 losses of one image may differ by
RATES = np.linspace(0, 1, 51)


class Reading(NamedTuple):
    """One way to ask how well a score tells adversarial pairs from others: scores and masks, [S, Q] each.

    rows: the members. score: one of SCORES. about: coordinates of its estimates.
    """

    positive: np.ndarray
    negative: np.ndarray
    mask_positive: np.ndarray
    mask_negative: np.ndarray
    rows: np.ndarray
    score: str
    about: dict


def readings(config, told: Told, path: str, far: np.ndarray) -> list[Reading]:
    """All readings of a path, their scores cut at what the path can tell.

    Raw: each kind against genuine pairs, adaptive attacks among them, and attacks against boosted pairs, made by the
    same attack. Matched: steered attacks against natural errors of equal margin and equal distance of carrier from
    anchor (`far` [Q], in the autoencoder's latent). Besides the barrier: the rise above the straight line between the
    ends' losses, the climb from the genuine end, and the loss at the far end alone.
    """
    found = []
    for kind in told.kinds:
        for reference in (REFERENCE, *((BOOSTED,) if kind in ATTACKS else ())):
            if kind in (reference, READ_AS, TRADED):
                continue
            scores = tuple(SCORES) if path == "line" and kind in ATTACKS and reference == REFERENCE else ("barrier",)
            found += [_reading(config, told, (kind, reference), path, score) for score in scores]
    for kind in ("adversarial_iso", "adversarial"):
        raw = _reading(config, told, (kind, NATURAL), path, "barrier")
        found += [raw, raw and _matched(told, raw, path, far)]
    return [reading for reading in found if reading is not None]


def _reading(config, told: Told, kinds: tuple[str, str], path: str, score: str) -> Reading | None:
    """Raw, of the members with pairs enough of both kinds; None where these are too few."""
    if not all(told.has(kind, path) for kind in kinds):
        return None
    masks = [told.mask(kind, path) for kind in kinds]
    rows = members(*masks, least=_least(len(masks[0])))
    # Below, losses differ by rounding alone; a bypass is not searched further.
    floor = ROUNDING if path == "line" else config.bypass.tolerance
    values = [told.of(score, kind, path)[rows] for kind in kinds]
    if score != "last_loss":
        values = [np.where(value < floor, 0.0, value) for value in values]
    about = {"population": kinds[0], "reference": kinds[1], "matching": "raw"}
    return Reading(*values, *(mask[rows] for mask in masks), rows, score, about) if len(rows) else None


def _least(num_members: int) -> int:
    """Pairs that a member needs: of n drawn with replacement none is one of k with probability exp(-k), and at most one
    resample in a hundred may leave a member without any on either side.
    """
    return math.ceil(math.log(200 * num_members))


def _matched(told: Told, raw: Reading, path: str, far: np.ndarray) -> Reading | None:
    """The same among pairs of one margin and one distance; None where too few members keep pairs enough."""
    kinds = raw.about["population"], raw.about["reference"]
    masks = raw.mask_positive, raw.mask_negative
    margins = [told.kind("end_margin", kind)[raw.rows] for kind in kinds]
    wide, classes = (np.broadcast_to(value, masks[0].shape) for value in (far, told.arrays["pair_class"][1]))
    found = match(*margins, *masks, classes_treated=classes, classes_reference=classes, others=[(wide, wide)])
    keep = found.partner >= 0
    kept = members(keep, least=_least(len(keep)))
    if not len(kept):
        return None
    partners = np.zeros_like(keep)
    for s in kept:
        partners[s, found.partner[s][keep[s]]] = True
    about = raw.about | {
        "matching": "matched",
        "share_kept": float(np.mean(found.share_kept[kept])),
        "distinct_partners": found.distinct_partners,
        "smd_before": float(np.mean(found.smd_before[kept])),
        "smd_after": float(np.mean(found.smd_after[kept])),
        "distance_smd_before": float(np.mean([_apart(far, masks[0][s], masks[1][s]) for s in kept])),
        "distance_smd_after": float(np.mean([_apart(far, keep[s], partners[s]) for s in kept])),
        "same_class": found.same_class,
    }
    scores = (raw.positive[kept], raw.negative[kept])
    return Reading(*scores, keep[kept], partners[kept], raw.rows[kept], raw.score, about)


def _apart(values: np.ndarray, one: np.ndarray, other: np.ndarray) -> float:
    """Standardised mean difference of values [Q] between two sets of pairs, in standard deviations of the other."""
    spread = max(float(np.std(values[other], ddof=1)), np.finfo(np.float64).tiny)
    return float(values[one].mean() - values[other].mean()) / spread


class Separated(NamedTuple):
    """A reading of a path and how well its score separates."""

    reading: Reading
    path: str
    told: Separation


def separated(config, told: Told, far: np.ndarray) -> list[Separated]:
    """Every reading on the line and after the bypass."""
    return [
        Separated(reading, path, separation(*reading[:2], **_masks(reading)))
        for path in ALWAYS
        if path in told.paths
        for reading in readings(config, told, path, far)
    ]


def _masks(reading: Reading) -> dict:
    return {"mask_positive": reading.mask_positive, "mask_negative": reading.mask_negative}


def detector(found: list[Separated]) -> Found:
    """AUROC of every reading with true-positive rates of barriers.

    roc [roc_path, roc_reading, roc_end, rate]: mean over members of the true-positive rate, and its band.
    """
    estimates, rocs, names = [], {}, []
    for reading, path, told in found:
        about = reading.about | {"path": path, "examples": int(reading.mask_positive.any(axis=0).sum())}
        if reading.score != "barrier":
            estimates.append(estimate_dict(told.auroc, SCORES[reading.score], unit="1", **about))
            continue
        for value, name in zip(
            told, ("auroc.barrier", "auroc.barrier_tpr_at_1", "auroc.barrier_tpr_at_5"), strict=True
        ):
            estimates.append(estimate_dict(value, name, unit="1", **about))
        name = f"{about['population']}.{about['reference']}.{about['matching']}"
        names += [name] if name not in names else []
        rocs[path, name] = roc(*reading[:2], RATES, **_masks(reading))
    curve = np.full((len(ALWAYS), len(names), 3, len(RATES)), np.nan)
    for (path, name), values in rocs.items():
        curve[ALWAYS.index(path), names.index(name)] = values
    if not names:
        return Found(estimates, {})
    return Found(
        estimates,
        {
            "roc": (("roc_path", "roc_reading", "roc_end", "rate"), curve),
            "roc_reading": (("roc_reading",), np.asarray(names)),
            "rate": (("rate",), RATES),
        },
    )


def told_by_weight(
    barrier: Float[np.ndarray, "W S Q"],
    reached: Bool[np.ndarray, "W S Q"],
    genuine: Float[np.ndarray, "S Q"],
    right: Bool[np.ndarray, "S Q"],
) -> np.ndarray:
    """AUROC of each weight's attack against genuine pairs, mean over members; NaN where a member reached nothing.

    Args:
      barrier, reached: barriers and successes of each weight's attack. genuine, right: of genuine pairs.
    """
    told = []
    for values, mask in zip(barrier, reached, strict=True):
        usable = np.all(mask.sum(axis=1) > 0) and np.all(right.sum(axis=1) > 0)
        cut = [np.where(value < ROUNDING, 0.0, value) for value in (values, genuine)]
        one = member_separation(*cut, mask_positive=mask, mask_negative=right) if usable else None
        told.append(np.nan if one is None else one.auroc.mean())
    return np.asarray(told)


def chosen_weight(told: np.ndarray, share: np.ndarray, *, keep: float) -> int:
    """Number of the weight above 0 whose attack is told most nearly by chance, of those that succeed nearly as often as
    the attack of weight 0, the first one; 0 where none does.

    Args:
      told, share: AUROC and share of successes of each weight's attack, that of weight 0 first.
      keep: share of the first one's successes that a weight must keep.
    """
    off = np.where((share >= keep * share[0]) & np.isfinite(told), np.abs(told - 0.5), np.inf)[1:]
    return 1 + int(np.argmin(off)) if np.isfinite(off).any() else 0
