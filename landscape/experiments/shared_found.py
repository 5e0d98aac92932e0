"""Estimates of `shared` about what is made for all attackers at once: joint searches and universal perturbations."""

import numpy as np

from landscape.experiments.shared_joint import MADE_BY, NORM, ONE, radii_of
from landscape.experiments.shared_values import LEAST, Members
from landscape.stats.claims import estimate_dict
from landscape.stats.intervals import Interval, interval, of_share
from landscape.stats.resampling import crossed_bootstrap
from landscape.types import Arrays

ENDS = ("", "_low", "_high")


def estimates(config, arrays: Arrays, members: Members) -> tuple[list[dict], Arrays]:
    """(estimates, arrays for the figures); all over images that every learned member classifies rightly.

    joint_all [objective, ball]: share of images that fool every attacker. joint_held_out, universal_attackers and
    universal_held_out: share of (member, image) that are fooled; each with its ends.
    """
    right = np.all(arrays["clean_prediction"][1][members.all] == arrays["label"][1], axis=0)
    count = arrays["joint_wrong"][1].shape[-1]
    found, curves = [], {}
    if right[:count].sum() < LEAST:
        return found, curves
    radii = radii_of(config)
    joint = arrays["joint_wrong"][1][..., right[:count]].astype(float)
    everyone = joint[:, :, members.attackers].min(axis=2)
    for o, objective in enumerate(config.joint.objectives):
        for b, epsilon in enumerate(radii):
            about = {"objective": objective, "norm": NORM, "epsilon": float(epsilon)}
            told = {"joint_all": everyone[o, b][None], "joint_held_out": joint[o, b][members.held_out]}
            for name, values in told.items():
                value = _share(values)
                _keep(curves, name, joint.shape[:2], (o, b), value)
                written = {"joint_all": "shared.attackers_fooled", "joint_held_out": "shared.held_out_fooled"}[name]
                found.append(estimate_dict(value, written, population="joint", unit="1", **about))
    found += _radii(arrays, members, right[:count], float(radii[-1]))
    universal = arrays["universal_wrong"][1][..., right].astype(float)
    for m, made_by in enumerate(MADE_BY):
        for b, epsilon in enumerate(radii):
            about = {"made_by": made_by, "norm": NORM, "epsilon": float(epsilon)}
            # What one attacker makes, the others are judged by.
            others = members.attackers[members.attackers > 0] if made_by == ONE else members.attackers
            for targets, rows in (("attackers", others), ("held_out", members.held_out)):
                value = _share(universal[m, b][rows])
                _keep(curves, f"universal_{targets}", universal.shape[:2], (m, b), value)
                name = f"shared.universal_{targets}_fooled"
                found.append(estimate_dict(value, name, population="universal", unit="1", **about))
    dims = {"joint": ("objective", "ball"), "universal": ("made_by", "ball")}
    return found, {name: (dims[name.split("_")[0]], value) for name, value in curves.items()}


def _share(values: np.ndarray) -> Interval:
    return of_share(interval(values), values.shape[1])


def _keep(curves: dict, name: str, shape: tuple, at: tuple, value: Interval) -> None:
    for end, number in zip(ENDS, value[:3], strict=True):
        curves.setdefault(f"{name}{end}", np.full(shape, np.nan))[at] = number


def _radii(arrays: Arrays, members: Members, right: np.ndarray, largest: float) -> list[dict]:
    """The median smallest radius that fools all attackers, that of each alone, and how far the first lies beyond.

    Beyond the hardest: the mean over images of the radius that fools all, over the largest of the radii that fool each.
    """
    radius = arrays["smallest_radius"][1][right].astype(float)
    own = arrays["own_radius"][1][members.attackers][:, right].astype(float)
    wrong = arrays["smallest_wrong"][1][members.held_out][:, right].astype(float)
    found = []
    for name, values in (("distance.radius_all", radius[None]), ("distance.radius_one", own)):
        value = _median_interval(np.minimum(values, largest), largest)
        if value is not None:
            found.append(estimate_dict(value, name, population="joint", unit="pixels", norm=NORM))
    told = np.isfinite(radius)
    if told.sum() >= LEAST:
        ratio = radius[told] / own[:, told].max(axis=0)
        about = {"population": "joint", "norm": NORM, "examples": int(told.sum())}
        found.append(estimate_dict(interval(ratio[None]), "distance.beyond_hardest", unit="1", **about))
        value = of_share(interval(wrong[:, told]), int(told.sum()))
        found.append(estimate_dict(value, "shared.smallest_held_out_fooled", unit="1", **about))
    return found


def _median_interval(values: np.ndarray, largest: float) -> Interval | None:
    """Median of values [S, N] censored at `largest`, with the crossed bootstrap; an end that is censored is NaN."""
    value = crossed_bootstrap(lambda s, n: weighted_median(values, s, n), *values.shape)
    if value.value >= largest:
        return None
    return value._replace(high=value.high if value.high < largest else float("nan"))


def weighted_median(values: np.ndarray, weight_members: np.ndarray, weight_images: np.ndarray) -> float:
    """The smallest of values [S, N] up to which half of the weight lies."""
    weights = np.outer(weight_members, weight_images).ravel()
    order = np.argsort(values.ravel())
    at = np.searchsorted(np.cumsum(weights[order]), 0.5 * weights.sum())
    return float(values.ravel()[order][min(at, len(order) - 1)])
