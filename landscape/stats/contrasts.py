"""Means, ratios and contrasts of populations of crossed members and examples.

A `Sample` is one population: values [..., S, N] and a mask [S, N]. Every linear statistic of samples is an `Influence`,
an array u [..., S, N] whose plain mean is the statistic: one interval (`stats.intervals`) and one band (`stats.bands`)
serve them all, and a contrast is paired by construction, since it is a difference of u's. Leading axes (kinds of noise,
levels, paths) are carried along. What is not linear (AUROC) gives its intervals directly, as `Result`s.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from landscape.stats import auroc, influence, matching
from landscape.stats.bands import simultaneous
from landscape.stats.intervals import Interval, interval
from landscape.stats.pseudo_values import LEAST_MEMBERS, of_pairs

LEAST_PAIRED = 10  # examples a member, on average, below which no difference is reported
# Distinct examples below which a value has no interval: with 8 members that share them, a 95 % interval from one image
# covers the truth 19 % of the time, from two 82, three 90, six 95 (simulated, image SD 1, member SD 0.3).
LEAST_DISTINCT = 5
LEAST_RANKED = 10  # examples of either kind, for each member, below which a resample may hold none


class Least(NamedTuple):
    """Examples that a member needs to count, members that a statistic needs (of fewer all).

    paired: examples a member, on average, that a difference over the same examples needs.
    """

    examples: int = 1
    members: int = 1
    paired: int = LEAST_PAIRED

    def kept(self, *masks: Bool[np.ndarray, "S N"]) -> Bool[np.ndarray, " S"]:
        """The members that have examples enough in each mask; none where too few have."""
        rows = np.all([mask.sum(axis=1) >= self.examples for mask in masks], axis=0)
        return rows & (rows.sum() >= min(self.members, len(rows)))


ANY = Least()


class Sample(NamedTuple):
    """One population. where: who counts. per: denominators, where a statistic is a ratio of sums.

    covariate, classes: what matched differences are matched on. pairs: whether the first axis of values,
    [S, ..., S, N], is the member that another one's example is tried on; the statistic is then of ordered pairs.
    """

    values: Float[np.ndarray, "*B S N"]
    where: Bool[np.ndarray, "S N"]
    per: Float[np.ndarray, "*#B S N"] | None = None
    covariate: Float[np.ndarray, "S N"] | None = None
    classes: Int[np.ndarray, "S N"] | None = None
    pairs: bool = False


class Result(NamedTuple):
    """A statistic that is not linear: its interval, the examples behind it, the end of its name, further columns."""

    interval: Interval
    examples: int
    suffix: str = ""
    about: Mapping[str, Any] = {}


class Influence(NamedTuple):
    """A linear statistic: u [..., S', N] of the members that have examples, its mean the statistic.

    examples: distinct ones that count for one member at least, in one of the populations that are combined; of partners
    those of the first. incomplete: those of them that do not count for every member. least: distinct examples of the
    smallest of the populations compared. about: further columns.
    """

    u: Float[np.ndarray, "*B S N"]
    examples: int
    incomplete: int
    least: int
    about: Mapping[str, Any] = {}

    def interval(self, at: tuple[int, ...] = (), least: int = LEAST_DISTINCT) -> Interval:
        """Its two-way interval at leading indices; the value alone below `least` distinct examples; NaN where it is
        none."""
        if np.isnan(self.u[at]).any():
            return Interval(*(np.nan for _ in Interval._fields))
        found = interval(self.u[at])
        return found if self.least >= least else found._replace(low=np.nan, high=np.nan, sem=np.nan)

    def band(self, axis: int) -> Float[np.ndarray, "2 *B"]:
        """Ends of the band that holds along a leading axis together, at every index of the others."""
        levels = np.moveaxis(self.u, axis, -3)
        ends = np.full((2, *levels.shape[:-2]), np.nan)
        if self.least >= LEAST_DISTINCT:
            for at in np.ndindex(levels.shape[:-3]):
                if not np.isnan(levels[at]).any():
                    found = simultaneous(levels[at])
                    ends[:, *at] = found.band_low, found.band_high
        return np.moveaxis(ends, -1, 1 + axis)


def mean(a: Sample, least: Least = ANY) -> Influence | None:
    """Mean over members of each one's mean over its own examples; None where too few have any."""
    kept = least.kept(a.where)
    if not kept.any():
        return None
    return _influence(_linear(a, a.where, kept), a.where[kept], pairs=a.pairs)


def difference(a: Sample, b: Sample, least: Least = ANY) -> Influence | None:
    """a - b over the examples that both have, for each member its own; None where they are too few.

    (Only images valid for *every* member would be a selection that grows with their number: on digits a third of the
    images reach the iso margin for all of 8 members, and show two thirds of the difference.)
    """
    both = a.where & b.where
    kept = least.kept(both)
    if not kept.any() or both[kept].sum() < least.paired * kept.sum():
        return None
    return _influence(_linear(a, both, kept) - _linear(b, both, kept), both[kept], pairs=a.pairs)


def combine(samples: Sequence[Sample], weights: Sequence[float], least: Least = ANY) -> Influence | None:
    """Weighted sum of means, each over its own examples, of members that have some of every one; None without."""
    kept = least.kept(*(one.where for one in samples))
    if not kept.any():
        return None
    u = sum(w * _linear(one, one.where, kept) for one, w in zip(samples, weights, strict=True))
    masks = np.array([one.where[kept] for one in samples])
    fewest = int(masks.any(axis=1).sum(axis=1).min())
    return _influence(u, masks.any(axis=0), pairs=any(one.pairs for one in samples), least=fewest)


def partners(a: Sample, b: Sample) -> matching.Matching | None:
    """Partners for a among b by covariate, of one class where that can be; None where a member has no two of b."""
    if (b.where.sum(axis=1) < 2).any():
        return None
    classes = {"classes_treated": a.classes, "classes_reference": b.classes}
    return matching.match(a.covariate, b.covariate, a.where, b.where, **classes)


def matched(a: Sample, b: Sample, found: matching.Matching | None) -> Influence | None:
    """a - b of 1:1 partners, over members with two pairs; None where pairs are too few.

    Ratios of sums are those over the matched: sum of values over sum of denominators, on either side.
    """
    if found is None:
        return None
    kept = found.pairs >= 2
    if not kept.any() or found.pairs[kept].mean() < LEAST_PAIRED:
        return None
    partner = found.partner[kept]
    used = np.zeros(partner.shape, bool)
    member, treated = np.nonzero(partner >= 0)
    used[member, partner[member, treated]] = True
    top, bottom = (_linearised(one, kept, rows) for one, rows in ((a, partner >= 0), (b, used)))
    how = {"margin_treated": a.covariate[kept], "margin_reference": b.covariate[kept]}
    how["classes_reference"] = b.classes[kept] if found.same_class else None
    u = np.empty(top.shape)
    for at in np.ndindex(top.shape[:-2]):
        known = not np.isnan(top[at]).all() and not np.isnan(bottom[at]).all()
        u[at] = matching.matched_difference(top[at], bottom[at], partner, **how) if known else np.nan
    quality = {name: float(np.mean(getattr(found, name)[kept])) for name in ("share_kept", "smd_before", "smd_after")}
    return _influence(u, partner >= 0, about=quality | {"same_class": found.same_class})


def _linearised(one: Sample, kept: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Values of the members kept, [..., S', N]; of a ratio those whose mean over `rows` is the ratio of sums R, with
    its influence: R + (v - R d) / mean d.
    """
    if one.per is None:
        return one.values[..., kept, :]
    values, per, void = _divisible(one, rows, kept)
    mean, ratio = (
        np.where(rows, of, 0.0).sum(axis=-1, keepdims=True) / rows.sum(axis=-1, keepdims=True) for of in (per, values)
    )
    ratio = ratio / mean
    return np.where(void[..., None, None], np.nan, ratio + (values - ratio * per) / mean)


# ---- what is not linear: samples -> Results ----


def separation(a: Sample, b: Sample, least: int = LEAST_RANKED) -> list[Result]:
    """How well values detect a among b, high ones saying a; nothing where too few examples are left."""
    kept = np.minimum(a.where.sum(axis=1), b.where.sum(axis=1)) >= least
    if not kept.any():
        return []
    scores, masks = zip(*((np.nan_to_num(one.values)[kept], one.where[kept]) for one in (a, b)), strict=True)
    found = auroc.separation(*scores, mask_positive=masks[0], mask_negative=masks[1])
    examples = int((masks[0] | masks[1]).any(axis=0).sum())
    names = ("area", "tpr_at_1_percent", "tpr_at_5_percent")
    return [Result(one, examples, f".{name}") for one, name in zip(found, names, strict=True)]


def _linear(a: Sample, where: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Influence array of the mean, or the ratio of sums, of the members kept."""
    if a.pairs:
        if a.per is not None:
            raise ValueError("a ratio over pairs of members: expected a plain mean; divide before")
        u = influence.masked_mean(a.values[kept][..., kept, :], where[kept])
        return of_pairs(np.moveaxis(u, 0, -2))  # source, target, example
    if a.per is None:
        return influence.masked_mean(a.values[..., kept, :], where[kept])
    values, per, void = _divisible(a, where[kept], kept)
    u = influence.ratio(values, per, where[kept])
    u[void] = np.nan
    return u


def _divisible(one: Sample, rows: np.ndarray, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values and denominators [..., S', N] of the members kept, and the leading indices at which a member has nothing
    to divide by, where the denominators are 1: what a perfect reference leaves has no share."""
    values = one.values[..., kept, :]
    per = np.broadcast_to(one.per[..., kept, :], values.shape)
    void = np.asarray((np.where(rows, per, 0.0).sum(axis=-1) == 0).any(axis=-1))
    return values, np.where(void[..., None, None], 1.0, per), void


def _influence(
    u: np.ndarray,
    counts: Bool[np.ndarray, "S N"],
    *,
    pairs: bool = False,
    least: int | None = None,
    about: Mapping[str, Any] = {},
) -> Influence | None:
    """Of the members kept, with what counts for each. Of fewer than LEAST_MEMBERS members pairs have no interval, of
    one there is no pair."""
    someone, everyone = counts.any(axis=0), counts.all(axis=0)
    examples, incomplete = int(someone.sum()), int((someone & ~everyone).sum())
    if pairs and u.shape[-2] < LEAST_MEMBERS:
        return Influence(u, examples, incomplete, 0, about) if u.shape[-2] > 1 else None
    return Influence(u, examples, incomplete, examples if least is None else least, about)
