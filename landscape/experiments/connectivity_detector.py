"""How well the barrier of a path tells adversarial pairs apart: raw, matched, and under an attack that knows of it."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from landscape.experiments.connectivity_ends import NATURAL, READ_AS
from landscape.experiments.connectivity_told import LEAST, REFERENCE, Found, Told, carried
from landscape.stats.auroc import Separation, member_separation, separation
from landscape.stats.claims import estimate_dict
from landscape.stats.intervals import MIN_MEMBERS, t_quantile
from landscape.stats.matching import Matching, match

RATES = np.linspace(0, 1, 51)
RISE = 1e-12  # keeps rates growing where several are one


class Reading(NamedTuple):
    """One way to ask how well a score tells adversarial pairs from others: scores and masks, [S, Q] each.

    about: coordinates of its estimates.
    """

    positive: np.ndarray
    negative: np.ndarray
    mask_positive: np.ndarray
    mask_negative: np.ndarray
    about: dict


def readings(config, told: Told, path: str, far: np.ndarray) -> list[Reading]:
    """Raw: each kind against genuine pairs, adaptive attacks among them. Matched: steered attacks against natural
    errors of equal margin and equal distance of carrier from anchor (`far` [Q], in the autoencoder's latent).
    """
    found = []
    genuine = told.of("barrier", REFERENCE, path)
    for kind in told.kinds:
        if kind in (REFERENCE, READ_AS) or not (told.has(kind, path) and told.has(REFERENCE, path)):
            continue
        masks = told.mask(kind, path), told.mask(REFERENCE, path)
        about = {"population": kind, "reference": REFERENCE, "matching": "raw"}
        found.append(Reading(told.of("barrier", kind, path), genuine, *masks, about))
    for kind in ("adversarial_iso", "adversarial"):
        if kind in told.kinds and told.has(kind, path) and told.has(NATURAL, path):
            values = [told.of("barrier", name, path) for name in (kind, NATURAL)]
            masks = [told.mask(name, path) for name in (kind, NATURAL)]
            about = {"population": kind, "reference": NATURAL}
            found.append(Reading(*values, *masks, about | {"matching": "raw"}))
            matched = matching(told, kind, path, far)
            if matched is None:
                continue
            keep = matched.partner >= 0
            partners = np.zeros_like(keep)
            for s in range(len(keep)):
                partners[s, matched.partner[s][keep[s]]] = True
            about |= {
                "matching": "matched",
                "share_kept": float(np.mean(matched.share_kept)),
                "smd_after": float(np.mean(matched.smd_after)),
                "same_class": matched.same_class,
            }
            found.append(Reading(*values, keep, partners, about))
    return found


def matching(told: Told, kind: str, path: str, far: np.ndarray) -> Matching | None:
    """Steered adversarial pairs with natural errors; None where a member is left with fewer than LEAST."""
    masks = [told.mask(name, path) for name in (kind, NATURAL)]
    margins = [told.end("end_margin", name) for name in (kind, NATURAL)]
    wide = np.broadcast_to(far, masks[0].shape)
    classes = np.broadcast_to(told.arrays["pair_class"][1], masks[0].shape)
    found = match(*margins, *masks, classes_treated=classes, classes_reference=classes, others=[(wide, wide)])
    return found if np.all(found.pairs >= LEAST) else None


def detector(config, told: Told, far: np.ndarray) -> Found:
    """AUROC of the barrier on the line and after the bypass, with true-positive rates, in all readings.

    roc [path, reading, rate]: mean over members of the true-positive rate; reading names in `roc_reading`.
    """
    found, rocs, names = [], {}, []
    for path in ("line", "bypass"):
        if path not in told.paths:
            continue
        for reading in readings(config, told, path, far):
            one: Separation = separation(*reading[:2], mask_positive=reading[2], mask_negative=reading[3])
            about = reading.about | {"path": path, "examples": carried(reading.mask_positive)}
            for value, name in zip(one, ("auroc", "tpr_at_1", "tpr_at_5"), strict=True):
                estimate = "auroc.barrier" if name == "auroc" else f"auroc.barrier_{name}"
                found.append(estimate_dict(value, estimate, unit="1", **about))
            name = f"{about['population']}.{about['reference']}.{about['matching']}"
            names += [name] if name not in names else []
            rocs[path, name] = _roc(reading)
    kept = ("line", "bypass")
    curve = np.full((len(kept), len(names), 3, len(RATES)), np.nan)
    for (path, name), values in rocs.items():
        curve[kept.index(path), names.index(name)] = values
    dims = ("roc_path", "roc_reading", "roc_end", "rate")
    arrays = {"roc": (dims, curve)} if names else {}
    if names:
        arrays |= {"roc_reading": (("roc_reading",), np.asarray(names)), "rate": (("rate",), RATES)}
    return Found(found, arrays)


def _roc(reading: Reading) -> np.ndarray:
    """True-positive rate at RATES of false ones: mean over members and its 95 % interval over members, [3, rates].

    Scores that tie are told at random: the curve is straight across them.
    """
    rows = []
    for s in range(len(reading.positive)):
        groups = (reading.negative[s][reading.mask_negative[s]], reading.positive[s][reading.mask_positive[s]])
        thresholds = np.unique(np.concatenate(groups))[::-1]
        false, true = (np.mean(group[None] >= thresholds[:, None], axis=1) for group in groups)
        # Where the curve rises straight up, its upper end is taken.
        false = np.append(0.0, false) + RISE * np.arange(len(false) + 1)
        rows.append(np.interp(RATES, false, np.append(0.0, true)))
    rows = np.asarray(rows)
    middle = rows.mean(axis=0)
    if len(rows) < MIN_MEMBERS:
        return np.stack([middle, *np.full((2, len(RATES)), np.nan)])
    half = t_quantile(float(len(rows) - 1), 0.95) * rows.std(axis=0, ddof=1) / np.sqrt(len(rows))
    return np.stack([middle, np.clip(middle - half, 0, 1), np.clip(middle + half, 0, 1)])


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
        one = member_separation(values, genuine, mask_positive=mask, mask_negative=right) if usable else None
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
