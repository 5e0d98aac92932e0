"""Estimates of `connectivity`: barriers and shapes of paths by kind of pair, and how well a barrier tells them apart.

A pair counts for a member that predicts its class at both ends (`valid`). Members have unlike pairs then: estimates are
means over members of each one's mean (`linearise.masked_mean`). No image is in two pairs, so pairs are the units; a
regular pair's ends of all kinds are made from the same images, so that differences between kinds are paired.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from landscape.experiments.connectivity_ends import NATURAL, READ_AS
from landscape.presets.names import BYPASS_FRAMES as FRAMES
from landscape.stats.auroc import Separation, member_separation, separation
from landscape.stats.claims import estimate_dict
from landscape.stats.intervals import MIN_MEMBERS, Interval, interval, of_share, t_quantile
from landscape.stats.linearise import masked_mean
from landscape.stats.matching import Matching, match
from landscape.stats.resampling import crossed_bootstrap
from landscape.types import Arrays

LEAST = 5  # pairs that every member needs
GONE = 0.95  # share of the line's barrier that a bypass has to take away
REFERENCE = "genuine"
ENDS = ("", "_low", "_high")
TOLD = {  # array: (estimate, unit)
    "barrier": ("barrier.loss", "nats"),
    "above_line": ("barrier.above_line", "nats"),
    "probability": ("barrier.probability", "probability"),
    "left": ("barrier.left_class", "1"),
    "climb": ("barrier.climb", "nats"),
    "length": ("path.length", "1"),
    "deviation_linf": ("path.deviation_linf", "pixels"),
    "deviation_l2": ("path.deviation_l2", "pixels"),
    "deviation_total_variation": ("path.total_variation", "pixels"),
    "manifold": ("distance.manifold", "pixels"),
}
OF_PATHS = ("length", "deviation_linf", "deviation_l2", "deviation_total_variation")  # 1 or 0 of a line
SHARES = ("left",)
QUANTILES = np.asarray((0.5, 0.9))
RESAMPLES = 400  # places the ends to about 6 % of the width


class Told(NamedTuple):
    """Values of all kinds and paths, [S, Q] each, and which of them count."""

    arrays: Arrays
    kinds: tuple[str, ...]
    paths: tuple[str, ...]

    def of(self, name: str, kind: str, path: str) -> np.ndarray:
        values = self.arrays[name][1][self.kinds.index(kind), self.paths.index(path)].astype(np.float64)
        return values

    def end(self, name: str, kind: str) -> np.ndarray:
        return self.arrays[name][1][self.kinds.index(kind)].astype(np.float64)

    def mask(self, kind: str, path: str) -> np.ndarray:
        return self.of("valid", kind, path) == 1

    def has(self, kind: str, path: str) -> bool:
        """Whether every member has pairs enough."""
        known = kind in self.kinds and path in self.paths
        return known and bool(np.all(self.mask(kind, path).sum(axis=1) >= LEAST))


class Found(NamedTuple):
    """Estimates, and arrays for the figures."""

    estimates: list[dict]
    curves: Arrays


def paths(config, told: Told) -> Found:
    """Means of everything along every kind of path, and differences from genuine pairs.

    mean_barrier [kind, path] with its ends; gone [kind, frame]: share of barriers that the first bend has taken away
    after each part of its steps.
    """
    found: list[dict] = []
    shape = (len(told.kinds), len(told.paths))
    curves = {f"mean_barrier{end}": np.full(shape, np.nan) for end in ENDS}
    for k, kind in enumerate(told.kinds):
        for p, path in enumerate(told.paths):
            if not told.has(kind, path):
                continue
            mask = told.mask(kind, path)
            about = {"population": kind, "path": path, "examples": _carried(mask)}
            for name, (estimate, unit) in TOLD.items():
                if (path == "line" and name in OF_PATHS) or (kind == READ_AS and name != "climb"):
                    continue
                one = interval(masked_mean(told.of(name, kind, path), mask))
                one = of_share(one, _carried(mask)) if name in SHARES else one
                found.append(estimate_dict(one, estimate, unit=unit, **about))
                if name == "barrier":
                    for end, value in zip(ENDS, one[:3], strict=True):
                        curves[f"mean_barrier{end}"][k, p] = value
            found += _difference(told, kind, path)
    found += _valid(told) + _quantiles(told)
    gone, more = _gone(config, told)
    return Found(found + more, {n: (("kind", "path"), v) for n, v in curves.items()} | gone)


def _carried(mask: np.ndarray) -> int:
    """Pairs that count for at least one member."""
    return int(mask.any(axis=0).sum())


def difference(told: Told, kind: str, path: str, reference: str = REFERENCE) -> tuple[Interval, int] | None:
    """Mean barrier of a kind less that of another on the same path, nats."""
    if kind in (reference, READ_AS) or not (told.has(kind, path) and told.has(reference, path)):
        return None
    masks = [told.mask(name, path) for name in (kind, reference)]
    one, other = (
        masked_mean(told.of("barrier", name, path), mask) for name, mask in zip((kind, reference), masks, strict=True)
    )
    return interval(one - other), _carried(masks[0])


def _difference(told: Told, kind: str, path: str) -> list[dict]:
    found = []
    for reference in (REFERENCE, NATURAL):
        one = difference(told, kind, path, reference)
        if one is not None:
            about = {"population": kind, "reference": reference, "path": path, "examples": one[1]}
            found.append(estimate_dict(one[0], "barrier.loss", unit="nats", **about))
    return found


def _valid(told: Told) -> list[dict]:
    """The share of a kind's pairs whose ends a member predicts as it has to."""
    found = []
    for kind in told.kinds:
        if kind == READ_AS:  # valid where its far end is not of the class
            continue
        values = told.of("valid", kind, "line")
        there = np.isfinite(values).all(axis=0)
        if there.sum() >= LEAST:
            one = of_share(interval(values[:, there]), int(there.sum()))
            found.append(estimate_dict(one, "attack.predicted_as_class", population=kind, unit="1"))
    return found


def _quantiles(told: Told) -> list[dict]:
    """Median and upper tenth of the barriers of every kind on the line and after the bypass, pairs of all members."""
    found = []
    for path in ("line", "bypass"):
        for kind in told.kinds:
            if kind == READ_AS or not told.has(kind, path):
                continue
            values, mask = told.of("barrier", kind, path), told.mask(kind, path)
            order = np.argsort(np.where(mask, values, np.inf), axis=None)
            ordered = np.where(mask, values, 0.0).ravel()[order]

            def quantiles(weight_s, weight_n, order=order, ordered=ordered, mask=mask):
                weight = np.cumsum((np.outer(weight_s, weight_n) * mask).ravel()[order])
                return ordered[np.minimum(np.searchsorted(weight, QUANTILES * weight[-1]), len(ordered) - 1)]

            both = crossed_bootstrap(quantiles, *mask.shape, num_resamples=RESAMPLES)
            for i, share in enumerate(QUANTILES):
                one = both._replace(value=both.value[i], low=both.low[i], high=both.high[i], sem=both.sem[i])
                about = {"population": kind, "path": path, "quantile": share, "examples": _carried(mask)}
                found.append(estimate_dict(one, "barrier.quantile", unit="nats", **about))
    return found


def _gone(config, told: Told) -> tuple[Arrays, list[dict]]:
    """Of pairs whose line has a barrier: the share whose bypass has taken GONE of it away, in the end and by steps."""
    curve = np.full((len(told.kinds), FRAMES), np.nan)
    found = []
    steps = config.bypass.num_steps * (1 + np.arange(FRAMES)) // FRAMES
    for k, kind in enumerate(told.kinds):
        if kind == READ_AS or not told.has(kind, "bypass"):
            continue
        line = told.of("barrier", kind, "line")
        mask = told.mask(kind, "bypass") & (line > config.bypass.tolerance)
        if np.any(mask.sum(axis=1) < LEAST):
            continue
        about = {"population": kind, "path": "bypass", "examples": _carried(mask)}
        has = interval(masked_mean((line > config.bypass.tolerance).astype(float), told.mask(kind, "line")))
        has = of_share(has, _carried(told.mask(kind, "line")))
        found.append(estimate_dict(has, "barrier.share", population=kind, unit="1", path="line"))
        gone = told.of("barrier", kind, "bypass") <= (1 - GONE) * line
        one = of_share(interval(masked_mean(gone.astype(float), mask)), _carried(mask))
        found.append(estimate_dict(one, "path.gone", unit="1", **about))
        after = told.arrays["after"][1][told.kinds.index(kind), told.paths.index("bypass")].astype(np.float64)
        for f in range(FRAMES):
            one = interval(masked_mean((after[:, f] <= (1 - GONE) * line).astype(float), mask))
            curve[k, f] = one.value
            one = of_share(one, _carried(mask))
            found.append(estimate_dict(one, "path.gone", unit="1", **about, steps=int(steps[f]), bends=1))
    return {"gone": (("kind", "frame"), curve)}, found


# ---- the detector ----


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
            about = reading.about | {"path": path, "examples": _carried(reading.mask_positive)}
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


RATES = np.linspace(0, 1, 51)
RISE = 1e-12  # keeps rates growing where several are one


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
    """Number of the weight whose attack is told least well, of those that succeed nearly as often as the first one.

    Args:
      told, share: AUROC and share of successes of each weight's attack, that of weight 0 first.
      keep: share of the first one's successes that a weight must keep.
    """
    return int(np.argmin(np.where((share >= keep * share[0]) & np.isfinite(told), told, np.inf)))
