"""Contrasts of populations, told four ways, as influence arrays [S, N] that one interval serves.

raw: difference of means. iso: of the populations searched to equal margin. matched: of 1:1 partners of equal margin.
scale_free: of ratios of margin drops to margins, which do not move when logits are multiplied by a constant.
"""

from typing import NamedTuple

import numpy as np

from landscape.stats.intervals import Interval, interval
from landscape.stats.linearise import masked_mean, ratio
from landscape.stats.matching import Matching, match, matched_difference

MATCHINGS = ("raw", "iso", "matched", "scale_free")
USER = ("user", "user_right", "user_wrong")  # a user's inputs: all, and where the member is right and wrong
APART = {"natural_error", *USER}  # share no image with the others
LEAST_PAIRED = 10  # images a member, on average, below which no difference is told
# Distinct images below which a value has no interval: with 8 members that share them, a 95 % interval from one image
# covers the truth 19 % of the time, from two 79, three 90, six 93 (simulated, image SD 1, member SD 0.3).
LEAST_CARRIED = 5
ISO = {"adversarial": "adversarial_iso", "boosted": "boosted_iso"}


class Cells(NamedTuple):
    """Values by population of the members that statistics use.

    values: name -> [..., S, P, N]. valid: [S, P, N]. names: of axis P. prediction: [S, P, N]. noise: the population of
    random noise that has the attack's own norm. matches: partners found so far, which all measures share. user: the
    same with a user's inputs, which are further examples: what does not speak of them must not count them.
    """

    values: dict[str, np.ndarray]
    valid: np.ndarray
    names: tuple[str, ...]
    prediction: np.ndarray
    noise: str = "noise_linf"
    matches: dict | None = None
    user: "Cells | None" = None

    @property
    def told(self) -> tuple[str, ...]:
        """All populations, a user's among them."""
        return self.names if self.user is None else (*self.names, *USER)

    def of(self, name: str, population: str, at: tuple[int, ...] = ()) -> np.ndarray:
        """Values [S, N] of one population, at leading indices (noise, sigma) where the array has them."""
        return self.values[name][at][:, self.names.index(population)]

    def mask(self, population: str) -> np.ndarray:
        """Examples that belong to a population, [S, N]."""
        return self.valid[:, self.names.index(population)]


class Contrast(NamedTuple):
    """A difference or a mean, told by one interval.

    u: influence array [S', N] of the members used. examples: images that carry it, for one member at least.
    incomplete: those of them that do not do so for every member. carried: images that carry its least part.
    about: what else is told of it.
    """

    u: np.ndarray
    examples: int
    incomplete: int
    carried: int
    about: dict = {}  # noqa: RUF012

    @property
    def interval(self) -> Interval:
        """Its two-way interval; without ends where LEAST_CARRIED images are not reached."""
        found = interval(self.u)
        return found if self.carried >= LEAST_CARRIED else found._replace(low=np.nan, high=np.nan, sem=np.nan)


def influence(cells: Cells, measure: str, population: str, at: tuple[int, ...], mask: np.ndarray) -> np.ndarray:
    """Influence array of a population's mean of a measure over its mask, [S, N].

    A measure named "<prefix>scale_free" is the margin drop of that prefix over the margin, a ratio of sums per member:
    sum_i E[m(x_i) - m(x_i + noise)] / sum_i m(x_i). The mean of each example's own ratio has no use, since margins
    near zero blow it up; the arrays hold what it takes.
    """
    if measure.endswith("scale_free"):
        drop = measure.replace("scale_free", "margin_drop")
        return ratio(cells.of(drop, population, at), cells.of("margin", population), mask)
    return masked_mean(cells.of(measure, population, at), mask)


def mean(cells: Cells, measure: str, population: str, at: tuple[int, ...] = ()) -> Contrast | None:
    """A population's mean over each member's own valid examples; members without any are left out, None if all are."""
    if population in USER:
        cells = _columns(cells.user, cells.user.mask("user").any(axis=0))
    mask = cells.mask(population)
    kept = mask.any(axis=1)
    if not kept.any():
        return None
    part, carried = _members(cells, kept), int(mask.any(axis=0).sum())
    return Contrast(influence(part, measure, population, at, mask[kept]), carried, 0, carried)


def masked_reached(reached: np.ndarray, among: np.ndarray) -> Contrast | None:
    """Share of `among` [S, N] that is `reached` [S, N]."""
    cells = Cells({"v": reached[:, None].astype(float)}, among[:, None], ("p",), reached[:, None])
    return mean(cells, "v", "p")


def difference(
    cells: Cells, measure: str, a: str, b: str, at: tuple[int, ...] = (), *, matching="raw"
) -> Contrast | None:
    """Population a minus population b, one of MATCHINGS; None where too few examples are left.

    raw, scale_free and iso are paired: over the images that are valid in both populations, for each member its own.
    (Only images valid for *every* member would be a selection that grows with their number: on digits a third of the
    images reach the iso margin for all of 8 members, and show two thirds of the difference.) Where populations share
    no images (natural errors, a user's inputs) each is meant over its own.
    """
    if matching not in MATCHINGS or (matching == "scale_free") != measure.endswith("scale_free"):
        raise ValueError(
            f"matching={matching!r} for {measure}: expected one of {', '.join(MATCHINGS)}; scale_free goes with "
            "the measures of that name, and they with it"
        )
    cells = cells.user if {a, b} & set(USER) else cells
    if matching == "matched":
        return _matched(cells, measure, a, b, at)
    if matching == "iso":
        a, b = ISO.get(a, a), ISO.get(b, b)
    if {a, b} & APART:
        return combine(cells, measure, {a: 1.0, b: -1.0}, at)
    both = cells.mask(a) & cells.mask(b)
    kept = both.any(axis=1)
    if both.sum() < LEAST_PAIRED * max(kept.sum(), 1):
        return None
    part, mask = _members(cells, kept), both[kept]
    u = influence(part, measure, a, at, mask) - influence(part, measure, b, at, mask)
    carried = int(mask.any(axis=0).sum())
    return Contrast(u, carried, int((~mask.all(axis=0) & mask.any(axis=0)).sum()), carried)


def combine(cells: Cells, measure: str, weights: dict[str, float], at: tuple[int, ...]) -> Contrast | None:
    """Weighted sum of population means, each over each member's own valid examples; None where none has all."""
    masks = {name: cells.mask(name) for name in weights}
    kept = np.all([mask.any(axis=1) for mask in masks.values()], axis=0)
    if not kept.any():
        return None
    part = _members(cells, kept)
    u = sum(w * influence(part, measure, name, at, masks[name][kept]) for name, w in weights.items())
    carried = np.array([mask[kept].any(axis=0) for mask in masks.values()])
    return Contrast(u, int(carried.any(axis=0).sum()), 0, int(carried.sum(axis=1).min()))


def matching_of(cells: Cells, a: str, b: str) -> Matching | None:
    """Partners for population a among population b by the margin of the tracked class; None without two references."""
    if (cells.mask(b).sum(axis=1) < 2).any():
        return None
    if cells.matches is None:
        return _match(cells, a, b)
    if (a, b) not in cells.matches:
        cells.matches[a, b] = _match(cells, a, b)
    return cells.matches[a, b]


def _match(cells: Cells, a: str, b: str) -> Matching:
    return match(
        cells.of("margin", a),
        cells.of("margin", b),
        cells.mask(a),
        cells.mask(b),
        classes_treated=cells.prediction[:, cells.names.index(a)],
        classes_reference=cells.prediction[:, cells.names.index(b)],
    )


def _matched(cells: Cells, measure: str, a: str, b: str, at: tuple[int, ...]) -> Contrast | None:
    found = matching_of(cells, a, b)
    if found is None:
        return None
    kept = found.pairs >= 2
    if not kept.any() or found.pairs[kept].mean() < LEAST_PAIRED:
        return None
    part, partner = _members(cells, kept), found.partner[kept]
    classes = part.prediction[:, part.names.index(b)] if found.same_class else None
    u = matched_difference(
        part.of(measure, a, at),
        part.of(measure, b, at),
        partner,
        margin_reference=part.of("margin", b),
        classes_reference=classes,
    )
    carried = int((partner >= 0).any(axis=0).sum())
    quality = {name: float(np.mean(getattr(found, name)[kept])) for name in ("share_kept", "smd_before", "smd_after")}
    return Contrast(u, carried, 0, carried, quality | {"same_class": found.same_class})


def _columns(cells: Cells, kept: np.ndarray) -> Cells:
    """The cells of some examples only."""
    values = {name: array[..., kept] for name, array in cells.values.items()}
    return cells._replace(
        values=values, valid=cells.valid[..., kept], prediction=cells.prediction[..., kept], matches={}
    )


def without_user(cells: Cells, extra: int) -> Cells:
    """Cells of the test images, which hold the whole as `user`; `extra`: populations at the end that are a user's."""
    count = len(cells.names) - extra
    part = _columns(cells, ~cells.mask("user").any(axis=0))
    values = {name: array[..., :count, :] for name, array in part.values.items()}
    return part._replace(
        values=values,
        valid=part.valid[:, :count],
        prediction=part.prediction[:, :count],
        names=cells.names[:count],
        user=cells,
    )


def _members(cells: Cells, kept: np.ndarray) -> Cells:
    values = {name: array[..., kept, :, :] for name, array in cells.values.items()}
    return cells._replace(values=values, valid=cells.valid[kept], prediction=cells.prediction[kept], matches={})
