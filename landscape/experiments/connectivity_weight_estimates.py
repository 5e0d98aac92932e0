"""Estimates of `connectivity` about ways between classifiers, from its arrays. NumPy, float64.

The barrier of a pair is that of the mean loss over images (or of the share of errors), since what has a barrier is a
classifier, not an image:

    b = mean_n f_n(t*) - mean_n f_n(e),    t* the highest place of the mean, e its higher end,

so that v_n = f_n(t*) - f_n(e) has mean b, and its deviations are the first-order effects of images: where the highest
place lies changes b to second order only. Of noise in f the highest of several places is the one where chance adds
most: b errs upwards, the less the more images there are, and a barrier of 0 is told as a little above.

Pairs share members and all see the same images. `pseudo_values` turn values of pairs into what each member contributes,
and the two-way interval over members and images follows; all of one training set. Differences of ways are taken pair by
pair and image by image before.

Source: Entezari et al. 2022, arXiv:2110.06296, for barriers of means and above the line.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from landscape.experiments.connectivity_weights import INPUTS, Way
from landscape.stats import bands
from landscape.stats.claims import estimate_dict
from landscape.stats.intervals import interval, of_share
from landscape.stats.pseudo_values import LEAST_MEMBERS, pseudo_values
from landscape.types import Arrays

VARIANTS = ("barrier", "above_line")
VALUES = {"loss": "nats", "error": "1"}
PLANTED = 1e-4  # nats: a larger barrier to its own permuted copy says that matching has failed
SAME_ENDS = 1e-3  # nats, share of the loss: permuted units compute the same up to rounding
LEAST = 5  # images for an interval
KEPT = ("adversarial", "clean")
AT = ("middle", "end", "everywhere")
LINE = "line"
ENDS = ("", "_low", "_high")


class Ways(NamedTuple):
    """The arrays as they are read here.

    ways: [W]. of: "loss" (nats) and "error" of clean images, [W, Q, T, N]. wrong: [W, Q, 3, T, N], of `INPUTS`.
    pairs: ends of each pair, numbered from 0, [Q, 2]. t: places, [T].
    """

    ways: list[Way]
    of: dict[str, np.ndarray]
    wrong: np.ndarray
    pairs: np.ndarray
    t: np.ndarray

    @property
    def members(self) -> int:
        return int(self.pairs.max()) + 1


class Results(NamedTuple):
    """Arrays for the figures, estimates and checks."""

    curves: Arrays
    estimates: list[dict]
    checks: list[dict]


def ways_in(arrays: Arrays) -> Ways:
    """What `estimates` reads of the saved arrays."""
    names = zip(*(arrays[f"way_{field}"][1].tolist() for field in Way._fields), strict=True)
    wrong = arrays["weight_wrong"][1]
    of = {"loss": arrays["weight_loss"][1].astype(np.float64), "error": wrong[:, :, INPUTS.index("clean")]}
    ends = arrays["weight_pair_member"][1]
    pairs = np.unique(ends, return_inverse=True)[1].reshape(ends.shape)
    return Ways([Way(*name) for name in names], of, wrong, pairs, arrays["weight_t"][1].astype(np.float64))


def barrier_values(
    values: Float[np.ndarray, "Q T N"] | Bool[np.ndarray, "Q T N"], variant: str
) -> Float[np.ndarray, "Q N"]:
    """Values of images whose mean is the barrier of each pair; see the module's head.

    Args:
      variant: "barrier", above the higher end, or "above_line", above the straight line between the ends' means.
    """
    mean = values.mean(axis=2, dtype=np.float64)
    steps, rows = mean.shape[1], np.arange(len(values))
    t = np.linspace(0, 1, steps)
    first, last = (values[:, end].astype(np.float64) for end in (0, -1))
    if variant == "barrier":
        top = mean.argmax(axis=1)
        return values[rows, top] - np.where((mean[:, 0] >= mean[:, -1])[:, None], first, last)
    top = (mean - (1 - t) * mean[:, :1] - t * mean[:, -1:]).argmax(axis=1)
    share = t[top][:, None]
    return values[rows, top] - (1 - share) * first - share * last


def per_member(values: Float[np.ndarray, "Q N"], pairs: np.ndarray) -> Float[np.ndarray, "S N"]:
    """What each member contributes to the mean over unordered pairs; of two members, the one pair's for both."""
    count = int(pairs.max()) + 1
    square = np.zeros((count, count, values.shape[1]))
    square[pairs[:, 0], pairs[:, 1]] = square[pairs[:, 1], pairs[:, 0]] = values
    return per_source(square)


def per_source(values: Float[np.ndarray, "S S N"]) -> Float[np.ndarray, "S N"]:
    """The same of ordered pairs, from one's own end to the other's."""
    return pseudo_values(values) if len(values) >= LEAST_MEMBERS else values[[0, 1], [1, 0]]


def references_of(way: Way) -> list[Way]:
    """What a way is compared with: the line between units as they are, and itself without resetting."""
    found = [Way(LINE, "none", way.statistics), way._replace(statistics="plain")]
    return [other for i, other in enumerate(found) if other != way and other not in found[:i]]


def words(way: Way) -> str:
    """A way as one coordinate."""
    return ", ".join(way)


def estimates(arrays: Arrays) -> Results:
    """Every number about ways between classifiers that the report tells.

    barrier.weight_loss (nats), barrier.weight_error: mean over pairs, by `variant`, with what matching, resetting or
    bending takes off (`reference`). barrier.weight_loss_over_line: a way's mean barrier over that of the line between
    units as they are, told where that one is above 0. path.weight_wrong: of images that all ends classify rightly and
    that the attack turned at every end, the share that is wrong in the middle, at the other end and everywhere on the
    way, of adversarial examples and, but for the last, of the images themselves. All with `curve`, `matching`,
    `statistics`.
    """
    found = ways_in(arrays)
    told = _barriers(found)
    kept, curves = _kept(found)
    return Results(_profiles(found) | curves, told + kept, _checks(found, arrays))


def _barriers(found: Ways) -> list[dict]:
    told = []
    for name, unit in VALUES.items():
        for variant in VARIANTS:
            parts = [per_member(barrier_values(one, variant), found.pairs) for one in found.of[name]]
            for way, part in zip(found.ways, parts, strict=True):
                about = {"population": "clean", "variant": variant, **way._asdict()}
                told.append(estimate_dict(interval(part), f"barrier.weight_{name}", unit=unit, **about))
                for reference in references_of(way):
                    if reference not in found.ways:
                        continue
                    other, against = parts[found.ways.index(reference)], about | {"reference": words(reference)}
                    told.append(estimate_dict(interval(part - other), f"barrier.weight_{name}", unit=unit, **against))
                    alike = reference.statistics == way.statistics
                    if name == "loss" and alike and interval(other).low > 0:
                        share = interval(over_line(part, other))
                        told.append(estimate_dict(share, "barrier.weight_loss_over_line", unit="1", **against))
    return told


def over_line(values: Float[np.ndarray, "S N"], line: Float[np.ndarray, "S N"]) -> Float[np.ndarray, "S N"]:
    """The ratio of two means over members and images as an influence array, by the delta method."""
    ratio = values.mean() / line.mean()
    return ratio + (values - ratio * line) / line.mean()


def ordered(found: Ways, way: int, population: str) -> Bool[np.ndarray, "S S T N"]:
    """Whether images are wrong on the way from each member's own end, [source, other, step, example].

    "adversarial": examples made on the source; "clean": the images they are made from.
    """
    square = np.zeros((found.members, found.members, *found.wrong.shape[-2:]), bool)
    i, j = found.pairs.T
    first, second = ("clean", "clean") if population == "clean" else ("first", "second")
    square[i, j] = found.wrong[way, :, INPUTS.index(first)]
    square[j, i] = found.wrong[way, :, INPUTS.index(second), ::-1]
    return square


def plain_line(found: Ways) -> Way:
    """A way whose ends are the members as they were trained."""
    return next(way for way in found.ways if way[::2] == (LINE, "plain"))


def common(found: Ways) -> Bool[np.ndarray, " N"]:
    """Images that every member classifies rightly and that the attack on every member turns."""
    first = found.ways.index(plain_line(found))
    clean, turned = (ordered(found, first, population)[:, :, 0] for population in ("clean", "adversarial"))
    off = ~np.eye(found.members, dtype=bool)
    return (~clean[off]).all(axis=0) & turned[off].all(axis=0)


def _kept(found: Ways) -> tuple[list[dict], Arrays]:
    mask = common(found)
    shape = (len(found.ways), len(KEPT), len(found.t))
    curves = {f"weight_kept{end}": np.full(shape, np.nan) for end in ENDS}
    told: list[dict] = []
    plain = plain_line(found)
    for w, way in enumerate(found.ways if mask.sum() >= LEAST else []):
        of = {name: ordered(found, w, name)[..., mask].astype(np.float64) for name in KEPT}
        for k, name in enumerate(KEPT):
            band = _band([per_source(of[name][:, :, s]) for s in range(len(found.t))])
            for end, values in band.items():
                curves[f"weight_kept{end}"][w, k] = np.clip(values, 0, 1)
        middle = len(found.t) // 2
        values = {(name, "middle"): of[name][:, :, middle] for name in KEPT}
        values |= {(name, "end"): of[name][:, :, -1] for name in KEPT}
        values["adversarial", "everywhere"] = of["adversarial"].min(axis=2)
        for (name, at), value in values.items():
            if at == "end" and way != plain:
                continue  # whatever the way, the other end is the other member
            about = {"unit": "1", "at": at, "condition": "every_source_fooled", **way._asdict()}
            share = of_share(interval(per_source(value)), int(mask.sum()))
            told.append(estimate_dict(share, "path.weight_wrong", population=name, **about))
        more = interval(per_source(values["adversarial", "middle"] - values["clean", "middle"]))
        about = {"unit": "1", "at": "middle", "condition": "every_source_fooled", "reference": "clean", **way._asdict()}
        told.append(estimate_dict(more, "path.weight_wrong", population="adversarial", **about))
    arrays: Arrays = {name: (("weight_way", "weight_kept_of", "weight_step"), value) for name, value in curves.items()}
    return told, arrays | {"weight_kept_of": (("weight_kept_of",), np.asarray(KEPT))}


def _profiles(found: Ways) -> Arrays:
    """weight_profile [value, way, step] with its band over members and images, and that of each pair."""
    pairs = np.stack([value.mean(axis=-1, dtype=np.float64) for value in found.of.values()])
    shape = (len(VALUES), len(found.ways), len(found.t))
    ends = {f"weight_profile{end}": np.full(shape, np.nan) for end in ENDS}
    for v, value in enumerate(found.of.values()):
        for w, way in enumerate(value):
            band = _band([per_member(way[:, s].astype(np.float64), found.pairs) for s in range(len(found.t))])
            for end, values in band.items():
                ends[f"weight_profile{end}"][v, w] = values
    dims = ("weight_value", "weight_way", "weight_step")
    return {name: (dims, value) for name, value in ends.items()} | {
        "weight_value": (("weight_value",), np.asarray(list(VALUES))),
        "weight_pair_profile": (("weight_value", "weight_way", "weight_pair", "weight_step"), pairs),
    }


def _band(steps: list[Float[np.ndarray, "S N"]]) -> dict[str, np.ndarray]:
    """Mean at each place, and the band that holds at all places together."""
    band = bands.simultaneous(np.stack(steps))
    return dict(zip(ENDS, (band.value, band.band_low, band.band_high), strict=True))


def _checks(found: Ways, arrays: Arrays) -> list[dict]:
    """Is a permuted copy found again, and does another order of units leave the ends what they are?"""
    planted = dict(zip(arrays["weight_matching"][1].tolist(), arrays["weight_planted"][1].tolist(), strict=True))
    checks = []
    if matched := {name: value for name, value in planted.items() if name != "none"}:
        detail = ", ".join(f"{name} matching {value:.1e}" for name, value in matched.items())
        detail = f"barrier to a member's copy with permuted units, nats: {detail}"
        if "none" in planted:
            detail += f" (as it is: {planted['none']:.2g})"
        checks.append({"name": "weights.planted", "passed": max(matched.values()) < PLANTED, "detail": detail})
    plain = [w for w, way in enumerate(found.ways) if way[::2] == (LINE, "plain")]
    ends = found.of["loss"][plain][:, :, [0, -1]].mean(axis=-1)
    apart = np.abs(ends - ends[:1]).max()
    detail = f"mean losses of the ends of lines differ by at most {apart:.1e} nats between orders of units"
    same = bool(apart <= SAME_ENDS * max(ends.max(), 1.0))
    checks.append({"name": "weights.same_ends", "passed": same, "detail": detail})
    return checks
