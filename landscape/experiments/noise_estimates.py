"""Estimates, claims, checks and headline of the experiment `noise`, from its arrays. NumPy, float64.

Everything is told of the *common* images of a search: those whose start all sources, the judges among them, classify
rightly. Members are the sources; what judges say is averaged over a source's judges first. Sources judge one another,
so their transfers are not quite independent, which the two-way interval does not know.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from landscape.experiments import noise_collapse
from landscape.experiments.noise_arms import NONE
from landscape.experiments.noise_search import MATCHINGS
from landscape.stats import claims as verdicts
from landscape.stats import linearise
from landscape.stats.claims import estimate_dict
from landscape.stats.intervals import Interval, interval, of_share
from landscape.types import Arrays

RISE = 0.1  # logits to an end of the grid of step sizes that say the best one lies beyond
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
HEADLINES = ("success", "flatness", "transfer", "manifold")
POPULATIONS = {"pixels": "adversarial", "manifold": "manifold", "ascent": "ascended"}


class Results(NamedTuple):
    """What `estimate` makes: curves for the figures, estimates, judged claims, checks and the headline."""

    curves: Arrays
    estimates: list[dict]
    claims: list[dict]
    checks: list[dict]
    headline: str


class Values(NamedTuple):
    """One search's arrays on its common images.

    of: by name, [matching, arm, member, example]. start: [member, example]. reached, goal: [arm, member, example].
    """

    of: dict[str, np.ndarray]
    start: dict[str, np.ndarray]
    reached: np.ndarray
    goal: np.ndarray


def values_of(arrays: Arrays, search: int) -> Values:
    """A search's arrays, cut to its common images."""
    common = arrays["right"][1][search].all(axis=0)
    arms = ("search", "matching", "arm", "member", "example")
    named = {n: v[search][..., common].astype(np.float64) for n, (dims, v) in arrays.items() if dims == arms}
    start = {n: v[search][:, common].astype(np.float64) for n, (dims, v) in arrays.items() if n.startswith("start_")}
    return Values(named, start, arrays["reached"][1][search][..., common], arrays["goal"][1][search][..., common])


def influence(values: Values, quantity: str, matching: int, arm: int, mask: np.ndarray) -> np.ndarray | None:
    """The quantity of one arm as an influence array [member, example]; None where too few images are left."""
    _, _, array, divided = QUANTITIES[quantity]
    if not mask.size or mask.sum(axis=1).min() < LEAST:
        return None
    top = values.of[array][matching, arm]
    return linearise.ratio(top, values.of["margin"][matching, arm] if divided else np.ones_like(top), mask)


def mask_of(values: Values, matching: int, *arms: int) -> np.ndarray:
    """The images that count for all these arms: at equal margin those that all of them reached it for."""
    everything = np.ones_like(values.reached[0])
    return values.reached[list(arms)].all(axis=0) if MATCHINGS[matching] == "margin" else everything


def told(values: Values, quantity: str, matching: int, arm: int, reference: int | None = None):
    """(interval, number of images) of an arm, or of its difference from another; None where too few are left."""
    mask = mask_of(values, matching, arm, *([] if reference is None else [reference]))
    u = influence(values, quantity, matching, arm, mask)
    if u is None:
        return None
    if reference is not None:
        return interval(u - influence(values, quantity, matching, reference, mask)), int(mask.any(axis=0).sum())
    found = interval(u)
    return (of_share(found, mask.shape[1]) if quantity in SHARES else found), int(mask.any(axis=0).sum())


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
    collapse, drawn = noise_collapse.estimates(config, arrays)
    found += collapse
    told_dims = ("search", "matching", "quantity", "arm")
    lines: Arrays = {n: (told_dims if v.ndim == 4 else ("arm",), v) for n, v in curves.items()}
    judged = _claims(config, arms, arrays)
    return Results(lines | drawn, found, judged, _checks(config, arms, arrays), headline(config, found, middle))


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
    """Share of images for which an arm reaches the equal margin."""
    found = []
    for a, arm in enumerate(arms if values.reached.shape[-1] >= LEAST else ()):
        one = of_share(interval(values.reached[a].astype(np.float64)), values.reached.shape[-1])
        own = POPULATIONS[search] if arm["arm"] == NONE else "noisy"
        found.append(estimate_dict(one, "attack.reached_margin", population=own, unit="1", search=search, **_of(arm)))
    return found


def _starts(values: Values, search: str) -> list[dict]:
    """The same of where all arms began: genuine images, on the manifold their reconstructions."""
    found = []
    for quantity in ("flatness", "manifold", "linearity", "gradient", "curvature"):
        name, unit, array, divided = QUANTITIES[quantity]
        top = values.start[f"start_{array}"]
        bottom = values.start["start_margin"] if divided else np.ones_like(top)
        if top.shape[1] >= LEAST:
            u = linearise.ratio(top, bottom, np.ones(top.shape, bool))
            found.append(estimate_dict(interval(u), name, population="genuine", unit=unit, search=search))
    return found


# ---- claims ----


CLAIMED = {"transfer.success": "transfer", "input_flatness.scale_free": "flatness"}


def _claims(config, arms: Sequence[dict], arrays: Arrays) -> list[dict]:
    """The config's claims: fresh noise of radius r minus no noise, in the first search, at equal norm or margin."""
    stated, intervals = [], []
    values = values_of(arrays, 0)
    for name, claim in config.claims.items():
        arm = next(i for i, a in enumerate(arms) if a["kind"] == "fresh" and abs(a["radius"] / claim.r - 1) < 1e-6)
        one = told(values, CLAIMED[claim.measure], MATCHINGS.index(claim.matching), arm, 0)
        stated.append({"name": name, **claim.to_dict()})
        intervals.append(None if one is None else one[0])
    return verdicts.judge(stated, intervals)


# ---- checks ----

WALKED = ("trajectory", "swag")  # arms without further noise
KEEPS = 0.9  # of the source's accuracy
HALF = 0.5  # of the way


def _checks(config, arms: Sequence[dict], arrays: Arrays) -> list[dict]:
    """What must hold if nothing is broken, and what must hold for the comparison to say something."""
    bad = [n for n, (_, v) in arrays.items() if v.dtype.kind == "f" and not np.isfinite(v).all()]
    found = [{"name": "finite", "passed": not bad, "detail": ", ".join(bad) or "all arrays are finite"}]
    kept = arrays["kept"][1].mean(axis=(1, 2))
    dose = np.concatenate([kept[:1], [k for k, a in zip(kept, arms, strict=True) if a["kind"] == "fresh"]])
    detail = "accuracy kept, from no noise to the largest radius: " + ", ".join(f"{100 * k:.0f} %" for k in dose)
    found.append({"name": "dose", "passed": bool((np.diff(dose) < 0.02).all()), "detail": detail})
    found += walks(arms, arrays["kept"][1])
    for s, search in enumerate(config.noise.searches):
        values = values_of(arrays, s)
        common = values.reached.shape[-1]
        detail = f"{common} of {arrays['right'][1].shape[-1]} images start rightly classified by all"
        found.append({"name": f"{search}.common", "passed": common >= 2 * LEAST, "detail": detail})
        if common == 0:
            continue
        found.append(lengths(search, arrays["distance"][1][s, MATCHINGS.index("norm"), 0], arrays["moved"][1][s, 0]))
        share = values.of["success"][MATCHINGS.index("norm"), 0].mean()
        detail = f"{100 * share:.0f} % of the images fall without noise at equal norm; 5 to 98 % leave room both ways"
        found.append({"name": f"{search}.unsaturated", "passed": bool(0.05 <= share <= 0.98), "detail": detail})
        reached = values.reached[0].mean()
        detail = f"{100 * reached:.0f} % reach a margin of {config.noise.equal_margin:g} logits without noise"
        found.append({"name": f"{search}.reached", "passed": bool(reached >= 0.3), "detail": detail})
        beyond = [arms[a]["arm"] for a in _beyond(arrays["tuning"][1][s].mean(axis=-1))]
        detail = (
            f"{len(beyond)} of {len(arms)} arms rise by more than {RISE} logits to an end of the grid of step sizes"
        )
        detail += f": {', '.join(beyond)}" if beyond else ""
        found.append({"name": f"{search}.tuned", "passed": not beyond, "detail": detail})
    return found


def walks(arms: Sequence[dict], kept: np.ndarray) -> list[dict]:
    """Whether every source's trajectory still classifies, of kept [arm, member, example]; nothing without such arms.

    A walk whose learning rate was too large ends in a classifier without gradients, which no loss tells.
    """
    chosen = [a for a, arm in enumerate(arms) if arm["kind"] in WALKED]
    if not chosen:
        return []
    accuracy = kept.mean(axis=-1)
    share = accuracy[chosen] / accuracy[0]
    detail = f"arms along trajectories keep at least {100 * share.min():.0f} % of their source's accuracy"
    return [{"name": "trajectory", "passed": bool(share.min() >= KEEPS), "detail": detail}]


def lengths(search: str, distance: np.ndarray, moved: np.ndarray) -> dict:
    """How much of the way without noise, moved [member, example], is left at equal norm, distance [member, example].

    The shortest of all arms is what they are shortened to: one that hardly moves would decide what is compared.
    """
    left = distance / np.where(moved > 0, moved, 1.0)
    short = float(np.mean(left < HALF))
    detail = f"at equal norm half of the images keep {100 * np.median(left):.0f} % of the way without noise, "
    detail += f"{100 * short:.0f} % of them less than half"
    return {"name": f"{search}.length", "passed": short <= 0.1, "detail": detail}


def _beyond(goal: np.ndarray) -> np.ndarray:
    """Arms whose best step size may lie outside the grid, from goals [step_size, arm]."""
    if len(goal) < 2:
        return np.arange(goal.shape[1])
    best = goal.argmax(axis=0)
    rises = np.where(best == 0, goal[0] - goal[1], np.where(best == len(goal) - 1, goal[-1] - goal[-2], 0.0))
    return np.flatnonzero(rises > RISE)


def headline(config, estimates: Sequence[dict], middle: float) -> str:
    """The answer in a few sentences: fresh noise of the middle radius beside none, beside frozen, and the collapse."""
    first = config.noise.searches[0]

    def of(name: str, **about) -> dict | None:
        about = {"search": first, "matching": "norm", "arm": "fresh", "radius": float(middle), **about}
        return next((e for e in estimates if e["name"] == name and all(e.get(k) == v for k, v in about.items())), None)

    def points(entry: dict | None) -> str:
        if entry is None:
            return "an unknown number of"
        ends = "" if entry["low"] is None else f" [{100 * entry['low']:+.1f}, {100 * entry['high']:+.1f}]"
        return f"{100 * entry['value']:+.1f}{ends}"

    reference = POPULATIONS[first]
    kept = next((e for e in estimates if e["name"] == "accuracy.kept" and e.get("radius") == float(middle)), None)
    where = "in pixels" if first == "pixels" else "on the manifold" if first == "manifold" else "by class ascent"
    text = (
        f"At equal cost and norm, redrawing the classifier within radius {middle:g} at every gradient (accuracy "
        f"{100 * kept['value']:.0f} %) changes transfer {where} by "
        f"{points(of('transfer.success', reference=reference))} points beside no noise, by "
        f"{points(of('transfer.success', reference='frozen draw'))} beside one frozen draw, and the share of the "
        f"margin lost under noise by {points(of('input_flatness.scale_free', reference=reference))} points."
    )
    return text + noise_collapse.sentence(estimates)
