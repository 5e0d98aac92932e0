"""Estimates of `connectivity`: barriers and shapes of paths by kind of pair.

A pair counts for a member that predicts its class at both ends (`valid`), a member where it has pairs enough. Members
have unlike pairs then: estimates are means over members of each one's mean (`connectivity_told.mean`). No image is in
two pairs, so pairs are the units; a regular pair's ends of all kinds are made from the same images, so that differences
between kinds are paired.
"""

import numpy as np

from landscape.experiments.connectivity_distributions import distributions
from landscape.experiments.connectivity_ends import BOOSTED, NATURAL, READ_AS
from landscape.experiments.connectivity_told import LEAST, REFERENCE, TRADED, Found, Told, about, carried, mean, members
from landscape.stats.claims import estimate_dict
from landscape.stats.influence import masked_mean
from landscape.stats.intervals import Interval, interval, of_share

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
OF_CARRIERS = ("climb", "above_line")  # the others read a far end that is not of the class
SHARES = ("left",)
CONTROLS = (REFERENCE, NATURAL, BOOSTED)  # that other kinds are compared with


def paths(config, told: Told) -> Found:
    """Means of everything along every kind of path, and differences from CONTROLS. No mean can be below 0, where its
    interval is cut.

    mean_barrier [kind, path] with its ends, and the curves of `distributions`.
    """
    found: list[dict] = []
    shape = (len(told.kinds), len(told.paths))
    curves = {f"mean_barrier{end}": np.full(shape, np.nan) for end in ENDS}
    for k, kind in enumerate(told.kinds):
        for p, path in enumerate(told.paths):
            if not told.has(kind, path):
                continue
            mask = told.mask(kind, path)
            coords = about(kind, mask) | {"path": path}
            for name, (estimate, unit) in TOLD.items():
                if (path == "line" and name in OF_PATHS) or (kind == READ_AS and name not in OF_CARRIERS):
                    continue
                one = mean(kind, told.of(name, kind, path), mask)
                one = of_share(one, carried(mask)) if name in SHARES else one._replace(low=max(one.low, 0.0))
                found.append(estimate_dict(one, estimate, unit=unit, **coords))
                if name == "barrier":
                    for end, value in zip(ENDS, one[:3], strict=True):
                        curves[f"mean_barrier{end}"][k, p] = value
            found += _differences(told, kind, path)
    spread = distributions(config, told)
    arrays = {name: (("kind", "path"), value) for name, value in curves.items()}
    return Found(found + _valid(told) + spread.estimates, arrays | spread.curves)


def difference(told: Told, kind: str, path: str, reference: str = REFERENCE) -> tuple[Interval, int] | None:
    """Mean barrier of a kind less that of another on the same path, nats, and the pairs behind it."""
    if kind in (reference, READ_AS, TRADED) or not (told.has(kind, path) and told.has(reference, path)):
        return None
    masks = [told.mask(name, path) for name in (kind, reference)]
    rows = members(*masks)
    if not len(rows):
        return None
    one, other = (
        masked_mean(told.of("barrier", name, path)[rows], mask[rows])
        for name, mask in zip((kind, reference), masks, strict=True)
    )
    return interval(one - other), carried(masks[0])


def _differences(told: Told, kind: str, path: str) -> list[dict]:
    found = []
    for reference in CONTROLS:
        one = difference(told, kind, path, reference)
        if one is not None:
            coords = {"population": kind, "reference": reference, "path": path, "examples": one[1]}
            found.append(estimate_dict(one[0], "barrier.loss", unit="nats", **coords))
    return found


def _valid(told: Told) -> list[dict]:
    """The share of a kind's pairs whose ends, as the path has them, a member predicts as it has to."""
    found = []
    for kind in told.kinds:
        if kind == READ_AS:  # valid where its far end is not of the class
            continue
        for path in told.paths:
            values = told.of("valid", kind, path)
            there = np.isfinite(values).all(axis=0)
            if there.sum() >= LEAST:
                mask = np.broadcast_to(there, values.shape)
                one = of_share(mean(kind, values, mask), carried(mask))
                found.append(estimate_dict(one, "attack.predicted_as_class", path=path, unit="1", **about(kind, mask)))
    return found
