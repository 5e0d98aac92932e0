"""Checks of the experiment `noise`: what must hold if nothing is broken, and for its comparisons to say something."""

from collections.abc import Sequence

import numpy as np

from landscape.experiments import noise_collapse
from landscape.experiments.noise_search import MATCHINGS
from landscape.experiments.noise_values import LEAST, Values, values_of
from landscape.experiments.tuning import RISE, outside
from landscape.stats.pseudo_values import LEAST_MEMBERS
from landscape.types import Arrays

WALKED = ("trajectory", "swag")  # arms without further noise
KEEPS = 0.9  # of the source's accuracy
REACHES = 0.9  # of the images, by most arms
MARGIN_REACHED = 0.3  # of the images, without noise
FEW = 0.25  # of the arms
ROOM = (0.3, 0.95)  # success of the search without noise on validation images, by which radii are chosen


def checks(config, arms: Sequence[dict], arrays: Arrays) -> list[dict]:
    """All checks of a run but the audit's."""
    bad = [n for n, (_, v) in arrays.items() if v.dtype.kind == "f" and not np.isfinite(v).all()]
    found = [{"name": "finite", "passed": not bad, "detail": ", ".join(bad) or "all arrays are finite"}]
    kept = arrays["kept"][1].mean(axis=(1, 2))
    dose = np.concatenate([kept[:1], [k for k, a in zip(kept, arms, strict=True) if a["kind"] == "fresh"]])
    detail = "accuracy kept, from no noise to the largest radius: " + ", ".join(f"{100 * k:.0f} %" for k in dose)
    found.append({"name": "dose", "passed": bool((np.diff(dose) < 0.02).all()), "detail": detail})
    sources = arrays["kept"][1].shape[1]
    detail = f"{sources} sources judge one another; below {LEAST_MEMBERS} transfer has no interval"
    found.append({"name": "judges", "passed": sources >= LEAST_MEMBERS, "detail": detail})
    found += walks(arms, arrays["kept"][1])
    for s, search in enumerate(config.noise.searches):
        found.append(ball(search, arrays["tuned_success"][1][s, 0].mean()))
        found.append(step_sizes(search, arms, arrays["tuning"][1][s].mean(axis=-1)))
        values = values_of(arrays, s)
        common = values.reached.shape[-1]
        detail = f"{common} of {arrays['right'][1].shape[-1]} images start rightly classified by all"
        detail += f"; at least {2 * LEAST} are expected"
        found.append({"name": f"{search}.common", "passed": common >= 2 * LEAST, "detail": detail})
        found += compared(config, search, arms, values) if common else []
    return [*found, noise_collapse.check(noise_collapse.grid_of(arrays))]


def ball(search: str, share: float) -> dict:
    """Whether the radius leaves room, from the share of validation images that fall without noise."""
    detail = f"{100 * share:.0f} % of the validation images fall without noise; the radius is to leave 30 to 95 %"
    return {"name": f"{search}.ball", "passed": bool(ROOM[0] <= share <= ROOM[1]), "detail": detail}


def compared(config, search: str, arms: Sequence[dict], values: Values) -> list[dict]:
    """Whether a search's arms can be compared at equal norm and at equal margin."""
    norm, margin = (MATCHINGS.index(name) for name in ("norm", "margin"))
    there = values.reached[norm, 0]
    share = values.of["success"][norm, 0][there].mean() if there.any() else 0.0
    detail = f"{100 * share:.0f} % of the images fall without noise at equal norm; 5 to 98 % leave room both ways"
    found = [reaches(search, arms, values.reached[norm].mean(axis=(1, 2)))]
    found.append({"name": f"{search}.unsaturated", "passed": bool(0.05 <= share <= 0.98), "detail": detail})
    reached = values.reached[margin, 0].mean()
    detail = f"{100 * reached:.0f} % reach a margin of {config.noise.equal_margin:g} logits without noise"
    detail += f"; {100 * MARGIN_REACHED:.0f} % are expected"
    return [*found, {"name": f"{search}.reached", "passed": bool(reached >= MARGIN_REACHED), "detail": detail}]


def reaches(search: str, arms: Sequence[dict], share: np.ndarray) -> dict:
    """Whether most arms reach the length of equal norm, from the share [arm] of images for which they do."""
    short = [f"{arm['arm']} {100 * s:.0f} %" for arm, s in zip(arms, share, strict=True) if s < REACHES]
    detail = (
        f"{len(arms) - len(short)} of {len(arms)} arms reach the length of equal norm for {100 * REACHES:.0f} % of "
    )
    detail += "the images" + (f"; the others: {', '.join(short)}" if short else "")
    return {"name": f"{search}.length", "passed": len(short) <= FEW * len(arms), "detail": detail}


def step_sizes(search: str, arms: Sequence[dict], goal: np.ndarray) -> dict:
    """Whether the best step sizes lie inside their grid, from goals [step_size, arm]."""
    beyond = [arms[a]["arm"] for a in outside(goal)]
    detail = f"{len(beyond)} of {len(arms)} arms rise by more than {RISE} logits to an end of the grid of step sizes"
    detail += f": {', '.join(beyond)}" if beyond else ""
    return {"name": f"{search}.tuned", "passed": not beyond, "detail": detail}


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
    detail += f"; {100 * KEEPS:.0f} % are expected"
    return [{"name": "trajectory", "passed": bool(share.min() >= KEEPS), "detail": detail}]
