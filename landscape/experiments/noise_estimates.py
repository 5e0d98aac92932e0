"""Estimates and claims of the experiment `noise`, from its arrays. NumPy, float64."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from landscape.experiments import noise_checks, noise_collapse, noise_words
from landscape.experiments.noise_arms import NONE
from landscape.experiments.noise_search import MATCHINGS
from landscape.experiments.noise_values import LEAST, POPULATIONS, QUANTITIES, Values, told, values_of
from landscape.stats import claims as verdicts
from landscape.stats import influence
from landscape.stats.claims import estimate_dict
from landscape.stats.intervals import Interval, interval, of_share
from landscape.types import Arrays

HEADLINES = ("success", "flatness", "transfer", "manifold")


class Results(NamedTuple):
    """What `estimate` makes: curves for the figures, estimates, judged claims, checks and the headline."""

    curves: Arrays
    estimates: list[dict]
    claims: list[dict]
    checks: list[dict]
    headline: str


def estimate(config, arms: Sequence[dict], arrays: Arrays) -> Results:
    """Every number the report tells, with its interval over sources and images."""
    searches = list(config.noise.searches)
    shape = (len(searches), len(MATCHINGS), len(QUANTITIES), len(arms))
    curves = {name: np.full(shape, np.nan) for name in ("told", "told_low", "told_high")}
    curves |= {name: np.full(shape, np.nan) for name in ("change", "change_low", "change_high")}
    found = _kept(arms, arrays, curves)
    frozen = {a["radius"]: i for i, a in enumerate(arms) if a["kind"] == "frozen"}
    middle = config.noise.radii[len(config.noise.radii) // 2]
    for s, search in enumerate(searches):
        values = values_of(arrays, s)
        population = POPULATIONS[search]
        for m, matching in enumerate(MATCHINGS):
            for q, (quantity, (name, unit, *_)) in enumerate(QUANTITIES.items()):
                if matching == "margin" and quantity == "success":
                    continue  # reached it, by construction
                for a, arm in enumerate(arms):
                    about = {"search": search, "matching": matching, **_of(arm)}
                    own = population if arm["arm"] == NONE else "noisy"
                    shown = search == "pixels" and matching == "norm" and quantity in HEADLINES
                    shown &= arm["arm"] == NONE or (arm["kind"] == "fresh" and arm["radius"] == middle)
                    one = told(values, quantity, m, a)
                    if one is None:
                        continue
                    _keep(curves, "told", (s, m, q, a), one[0])
                    found.append(_entry(one, name, own, unit, about, headline=shown))
                    if arm["arm"] == NONE:
                        continue
                    change = told(values, quantity, m, a, 0)
                    if change is not None:
                        _keep(curves, "change", (s, m, q, a), change[0])
                        found.append(_entry(change, name, own, unit, about | {"reference": population}))
                    still = frozen.get(arm["radius"]) if arm["kind"] == "fresh" else None
                    apart = None if still is None else told(values, quantity, m, a, still)
                    if apart is not None:
                        found.append(_entry(apart, name, own, unit, about | {"reference": "frozen draw"}))
        found += _reached(values, search, arms)
        found += _starts(values, search)
    collapse, drawn = noise_collapse.estimates(config.seed, arrays)
    found += collapse
    told_dims = ("search", "matching", "quantity", "arm")
    lines: Arrays = {n: (told_dims if v.ndim == 4 else ("arm",), v) for n, v in curves.items()}
    judged = _claims(config, arms, arrays)
    checks = noise_checks.checks(config, arms, arrays)
    return Results(lines | drawn, found, judged, checks, noise_words.headline(config, found))


def _of(arm: dict) -> dict:
    dose = arm["kind"] in ("fresh", "frozen")
    return {"arm": arm["kind"], "radius": float(arm["radius"]) if dose else None}


def _keep(curves: dict, name: str, at: tuple, found: Interval) -> None:
    curves[name][at], curves[f"{name}_low"][at], curves[f"{name}_high"][at] = found.value, found.low, found.high


def _entry(one: tuple, name: str, population: str, unit: str, about: dict, *, headline: bool = False) -> dict:
    found, examples = one
    entry = estimate_dict(found, name, population=population, unit=unit, examples=examples, **about)
    return entry | ({"headline": True} if headline else {})


def _kept(arms: Sequence[dict], arrays: Arrays, curves: dict) -> list[dict]:
    """Accuracy that each arm's classifiers keep, on validation images; a frozen arm's is that of its one draw."""
    kept = arrays["kept"][1].astype(np.float64)
    found = []
    for name in ("kept_told", "kept_low", "kept_high"):
        curves[name] = np.full(len(arms), np.nan)
    for a, arm in enumerate(arms):
        one = of_share(interval(kept[a]), kept.shape[2])
        curves["kept_told"][a], curves["kept_low"][a], curves["kept_high"][a] = one.value, one.low, one.high
        found.append(estimate_dict(one, "accuracy.kept", population="clean", unit="1", **_of(arm)))
    return found


def _reached(values: Values, search: str, arms: Sequence[dict]) -> list[dict]:
    """Share of images for which an arm reaches the length, and the margin, that arms are compared at."""
    found, common = [], values.reached.shape[-1]
    for m, matching in enumerate(MATCHINGS):
        for a, arm in enumerate(arms if common >= LEAST else ()):
            one = of_share(interval(values.reached[m, a].astype(np.float64)), common)
            name, own = f"attack.reached_{matching}", POPULATIONS[search] if arm["arm"] == NONE else "noisy"
            found.append(estimate_dict(one, name, population=own, unit="1", search=search, **_of(arm)))
    return found


def _starts(values: Values, search: str) -> list[dict]:
    """The same of where all arms began: genuine images, on the manifold their reconstructions."""
    found = []
    for quantity in ("flatness", "manifold", "linearity", "gradient", "curvature"):
        name, unit, array, divided = QUANTITIES[quantity]
        top = values.start[f"start_{array}"]
        bottom = values.start["start_margin"] if divided else np.ones_like(top)
        if top.shape[1] >= LEAST:
            u = influence.ratio(top, bottom, np.ones(top.shape, bool))
            found.append(estimate_dict(interval(u), name, population="genuine", unit=unit, search=search))
    return found


# ---- claims ----


CLAIMED = {"transfer.success": "transfer", "input_flatness.scale_free": "flatness"}


def _claims(config, arms: Sequence[dict], arrays: Arrays) -> list[dict]:
    """The config's claims: fresh noise of one radius minus no noise, in the first search, at equal norm or margin."""
    stated, intervals = [], []
    values = values_of(arrays, 0)
    for name, claim in config.claims.items():
        arm = next(i for i, a in enumerate(arms) if a["kind"] == "fresh" and abs(a["radius"] / claim.radius - 1) < 1e-6)
        one = told(values, CLAIMED[claim.measure], MATCHINGS.index(claim.matching), arm, 0)
        stated.append({"name": name, **claim.to_dict()})
        intervals.append(None if one is None else one[0])
    return verdicts.judge(stated, intervals)
