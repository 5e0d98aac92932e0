"""Everything `connectivity` says: estimates, judged claims, checks and the headline, from its arrays."""

from typing import NamedTuple

import numpy as np

from landscape.experiments import connectivity_estimates as estimates
from landscape.experiments import connectivity_graph_estimates as graph_estimates
from landscape.experiments import connectivity_paths
from landscape.experiments.connectivity_ends import NATURAL, READ_AS
from landscape.experiments.connectivity_estimates import LEAST as LEAST
from landscape.experiments.connectivity_estimates import REFERENCE, Told
from landscape.stats import claims as verdicts
from landscape.stats.intervals import Interval
from landscape.types import Arrays

PATHS_ALWAYS = connectivity_paths.ALWAYS
FINE = 0.01  # by how much twice as many points may raise a barrier
OFTEN = 0.95
PLANE = 1e-5  # of the way gone: how far a bend may be out of its hyperplane
SMALL = 1e-3  # nats: barriers below which a share of them says nothing


class Results(NamedTuple):
    """What `estimate` makes."""

    curves: Arrays
    estimates: list[dict]
    claims: list[dict]
    checks: list[dict]
    headline: str


def estimate(config, arrays: Arrays, kinds: tuple[str, ...], paths: tuple[str, ...]) -> Results:
    """Every number the report tells."""
    told = Told(arrays, kinds, paths)
    far = arrays["carrier_distance"][1]
    along, detector = estimates.paths(config, told), estimates.detector(config, told, far)
    graph = graph_estimates.graph(arrays)
    found = along.estimates + detector.estimates + graph.estimates
    return Results(
        along.curves | detector.curves | graph.curves,
        found,
        _claims(config, told, far),
        _checks(told) + _exact(arrays),
        _headline(config, found),
    )


def _claims(config, told: Told, far: np.ndarray) -> list[dict]:
    stated, intervals = [], []
    for name, claim in config.claims.items():
        about = {"name": name, "contrast": "difference", "radius": float(config.search.epsilon), **claim.to_dict()}
        if claim.measure == "barrier.loss":
            about["populations"] = ("adversarial", REFERENCE)
            one = estimates.difference(told, "adversarial", "line")
            intervals.append(one and one[0])
        else:
            about["populations"] = ("adversarial_iso", NATURAL)
            intervals.append(_above_chance(config, told, far))
        stated.append(about)
    return verdicts.judge(stated, [None if one is None or one.sem == 0 else one for one in intervals])


def _above_chance(config, told: Told, far: np.ndarray) -> Interval | None:
    """AUROC on the line, adversarial against natural errors, matched, less 1/2."""
    for reading in estimates.readings(config, told, "line", far):
        about = reading.about
        if (about["population"], about["matching"]) == ("adversarial_iso", "matched"):
            one = estimates.separation(*reading[:2], mask_positive=reading[2], mask_negative=reading[3]).auroc
            return one._replace(value=one.value - 0.5, low=one.low - 0.5, high=one.high - 0.5)
    return None


def _checks(told: Told) -> list[dict]:
    found = []
    for path in told.paths:
        there = [kind for kind in told.kinds if kind != READ_AS and told.has(kind, path)]
        if not there:
            continue
        coarse, fine = (
            np.concatenate([told.of(name, kind, path)[told.mask(kind, path)] for kind in there])
            for name in ("barrier", "fine")
        )
        close = fine - coarse <= np.maximum(FINE * fine, SMALL)
        share = float(np.mean(close))
        detail = f"twice as many points raise the barrier of {100 * (1 - share):.1f} % of the pairs by over 1 %"
        found.append({"name": f"{path}.points_are_enough", "passed": share >= OFTEN, "detail": detail})
    planes = [told.of("plane", kind, "bypass")[told.mask(kind, "bypass")] for kind in told.kinds if kind != READ_AS]
    worst = float(np.nanmax(np.concatenate(planes), initial=0.0))
    detail = f"bends are out of their hyperplanes by at most {worst:.1e} of the way they went"
    found.append({"name": "bypass.in_its_plane", "passed": worst <= PLANE, "detail": detail})
    return found


def _exact(arrays: Arrays) -> list[dict]:
    """The grid against the maxima at kinks, in float64."""
    if "exact_barrier" not in arrays:
        return []
    exact, grid = (arrays[f"{name}_barrier"][1].ravel() for name in ("exact", "grid"))
    missed = exact - grid
    share = float(np.mean(missed <= np.maximum(FINE * exact, SMALL)))
    detail = (
        f"the grid misses at most {missed.max():.2g} nats of the exact barrier of {exact.size} lines, over 1 % of "
        f"{100 * (1 - share):.0f} % of them"
    )
    return [{"name": "line.grid_beside_exact", "passed": share >= OFTEN, "detail": detail}]


def _headline(config, found: list[dict]) -> str:
    def auroc(population: str, reference: str, matching: str) -> str:
        about = {"population": population, "reference": reference, "matching": matching, "path": "line"}
        one = next((e for e in found if e["name"] == "auroc.barrier" and about.items() <= e.items()), None)
        return "an unknown value (too few pairs)" if one is None else ranged(one)

    raw, matched = auroc("adversarial", REFERENCE, "raw"), auroc("adversarial_iso", NATURAL, "matched")
    adaptive = auroc("adaptive", REFERENCE, "raw")
    return (
        "Told by the barrier on the straight line from a genuine image, adversarial inputs stand out with AUROC "
        f"{raw}; against natural errors of equal margin, as far from where they came from, {matched}; under an attack "
        f"that knows the detector, {adaptive}."
    )


def ranged(one: dict) -> str:
    """A number with its interval where it has one."""
    value, *ends = (f"{one[key]:.2f}" for key in ("value", "low", "high") if one[key] is not None)
    return f"{value} [{', '.join(ends)}]" if ends else value
