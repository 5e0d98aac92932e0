"""One quantity of one arm of the experiment `noise`, or its difference from another arm, with its interval.

Everything is told of the *common* images of a search: those whose start all sources, the judges among them, classify
rightly; and of these, those for which the arms that are compared have reached the place of comparison. Members are the
sources. Sources judge one another, so what a strict judge says is said of all sources: transfer is told by the
pseudo-values of `stats.pseudo_values`, in which a member counts as source and as judge. That takes 3 sources; of 2
transfer has no interval.
"""

from typing import NamedTuple

import numpy as np

from landscape.stats.influence import masked_mean, ratio
from landscape.stats.intervals import Interval, interval, of_share
from landscape.stats.pseudo_values import LEAST_MEMBERS, pseudo_values
from landscape.types import Arrays

LEAST = 5  # images that each source needs for an interval

# Quantity: (estimate, unit, array, divided by the tracked margin).
QUANTITIES = {
    "success": ("attack.success", "1", "success", False),
    "flatness": ("input_flatness.scale_free", "1", "margin_drop", True),
    "transfer": ("transfer.success", "1", "transfer", False),
    "manifold": ("distance.manifold", "pixels", "manifold", False),
    "linearity": ("linearity.scale_free", "1", "linearity", True),
    "gradient": ("curvature.gradient_norm", "nats/pixel", "gradient_norm", False),
    "curvature": ("curvature.hessian_top", "nats/pixel^2", "hessian_top", False),
    "distance": ("distance.l2", "pixels", "distance", False),
}
SHARES = ("success", "transfer")
POPULATIONS = {"pixels": "adversarial", "manifold": "manifold", "ascent": "ascended"}


class Values(NamedTuple):
    """One search's arrays on its common images.

    of: by name, [matching, arm, member, example]; of `transfer`, [matching, arm, source, target, example].
    start: by name, [member, example]. reached: [matching, arm, member, example].
    """

    of: dict[str, np.ndarray]
    start: dict[str, np.ndarray]
    reached: np.ndarray


def values_of(arrays: Arrays, search: int) -> Values:
    """A search's arrays, cut to its common images."""
    common = arrays["right"][1][search].all(axis=0)
    named, start = {}, {}
    for name, (dims, values) in arrays.items():
        told = named if dims[:3] == ("search", "matching", "arm") and dims[-1] == "example" else start
        if told is named or name.startswith("start_"):
            told[name] = values[search][..., common].astype(np.float64)
    return Values(named, start, named.pop("reached").astype(bool))


def mask_of(values: Values, matching: int, *arms: int) -> np.ndarray:
    """The images [member, example] that count for all these arms: those for which all of them reached the place."""
    return values.reached[matching, list(arms)].all(axis=0)


def influence(values: Values, quantity: str, matching: int, arm: int, mask: np.ndarray) -> np.ndarray | None:
    """The quantity of one arm as an influence array [member, example]; None where too few images are left."""
    if not mask.size or mask.sum(axis=1).min() < LEAST:
        return None
    _, _, array, divided = QUANTITIES[quantity]
    top = values.of[array][matching, arm]
    if quantity == "transfer":
        return influence_of_judged(top, mask)
    return ratio(top, values.of["margin"][matching, arm] if divided else np.ones_like(top), mask)


def influence_of_judged(hits: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The mean over ordered pairs of hits [source, target, example] over each source's own images, [member, example].

    Of 2 members, who have no pseudo-values, each one's with the other as judge.
    """
    u = np.stack([masked_mean(hits[:, judge], mask) for judge in range(hits.shape[1])], axis=1)
    return pseudo_values(u) if len(u) >= LEAST_MEMBERS else u[[0, 1], [1, 0]]


def told(values: Values, quantity: str, matching: int, arm: int, reference: int | None = None):
    """(interval, number of images) of an arm, or of its difference from another; None where too few are left."""
    mask = mask_of(values, matching, arm, *([] if reference is None else [reference]))
    u = influence(values, quantity, matching, arm, mask)
    if u is None:
        return None
    if reference is not None:
        u = u - influence(values, quantity, matching, reference, mask)
    found, count = interval(u), int(mask.any(axis=0).sum())
    if quantity == "transfer" and len(u) < LEAST_MEMBERS:
        return without_ends(found), count
    return (of_share(found, count) if quantity in SHARES and reference is None else found), count


def without_ends(found: Interval) -> Interval:
    """The value alone."""
    return found._replace(low=float("nan"), high=float("nan"), sem=float("nan"))
