"""Everything `connectivity` says: estimates, judged claims, checks and the headline, from its arrays."""

from typing import NamedTuple

import numpy as np

from landscape.experiments import connectivity_detector as detectors
from landscape.experiments import connectivity_estimates as estimates
from landscape.experiments import connectivity_graph_estimates as graph_estimates
from landscape.experiments.connectivity_detector import Separated
from landscape.experiments.connectivity_ends import BOOSTED, NATURAL, READ_AS
from landscape.experiments.connectivity_told import REFERENCE, Told
from landscape.stats import claims as verdicts
from landscape.stats.intervals import Interval
from landscape.types import Arrays

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


def estimate(config, arrays: Arrays, kinds: tuple[str, ...], paths: tuple[str, ...], between: list[dict]) -> Results:
    """Every number the report tells; `between` are the estimates of ways between classifiers."""
    told = Told(arrays, kinds, paths)
    apart = detectors.separated(config, told, arrays["carrier_distance"][1])
    along, detector = estimates.paths(config, told), detectors.detector(apart)
    graph = graph_estimates.graph(arrays)
    found = marked(along.estimates + detector.estimates + graph.estimates + between)
    return Results(
        along.curves | detector.curves | graph.curves,
        found,
        _claims(config, told, apart),
        _checks(config.bypass.tolerance, told) + _exact(told) + _adaptive(config, arrays),
        _headline(config, found, _cares(arrays), int(np.sum(arrays["valid"][1][kinds.index(REFERENCE), 0, 0] >= 0))),
    )


def _claims(config, told: Told, apart: list[Separated]) -> list[dict]:
    stated, intervals = [], []
    for name, claim in config.claims.items():
        about = {"name": name, "contrast": "difference", "radius": float(config.search.epsilon), **claim.to_dict()}
        if claim.measure == "barrier.loss":
            about["populations"] = ("adversarial", REFERENCE)
            one = estimates.difference(told, "adversarial", "line")
            intervals.append(one and one[0])
        else:
            about["populations"] = ("adversarial_iso", NATURAL)
            intervals.append(_above_chance(apart))
        stated.append(about)
    return verdicts.judge(stated, [None if one is None or one.sem == 0 else one for one in intervals])


def _above_chance(apart: list[Separated]) -> Interval | None:
    """AUROC on the line, adversarial against natural errors, matched, less 1/2."""
    for reading, path, told in apart:
        if (reading.about["population"], reading.about["matching"], path) == ("adversarial_iso", "matched", "line"):
            one = told.auroc
            return one._replace(value=one.value - 0.5, low=one.low - 0.5, high=one.high - 0.5)
    return None


def _checks(tolerance: float, told: Told) -> list[dict]:
    """Whether barriers depend on the number of points, among pairs with one above the nats from which a bypass is
    searched, on the path or the straight line: few are left on others, and one of a few is no share.
    """
    found = []
    for path in told.paths:
        there = [kind for kind in told.kinds if kind != READ_AS and told.has(kind, path)]
        if not there:
            continue
        coarse, fine, straight = (
            np.concatenate([told.of(name, kind, way)[told.mask(kind, path)] for kind in there])
            for name, way in (("barrier", path), ("fine", path), ("fine", "line"))
        )
        high = fine > tolerance
        had = int(np.sum(high | (straight > tolerance)))
        if not had:
            continue
        raised = int(np.sum(fine[high] - coarse[high] > FINE * fine[high]))
        left = "" if path == "line" else f", {high.sum()} of them on this path"
        detail = (
            f"of {had} pairs with a barrier above {tolerance:g} nats{left}, twice as many points raise {raised} by "
            "over 1 %; take a larger bypass.num_points where that is too many"
        )
        enough = raised <= max(1, (1 - OFTEN) * had)
        found.append({"name": f"{path}.points_are_enough", "passed": bool(enough), "detail": detail})
    planes = [told.kind("plane", kind)[told.mask(kind, "bypass")] for kind in told.kinds if kind != READ_AS]
    worst = float(np.nanmax(np.concatenate(planes), initial=0.0))
    detail = f"bends are out of their hyperplanes by at most {worst:.1e} of the way they went"
    found.append({"name": "bypass.in_its_plane", "passed": worst <= PLANE, "detail": detail})
    return found


def _adaptive(config, arrays: Arrays) -> list[dict]:
    """Whether the attack that knows the detector cares for it at all."""
    if "adaptive_weight" not in arrays:
        return []
    weight, tried = float(arrays["adaptive_weight"][1]), ", ".join(f"{w:g}" for w in config.adaptive.weights)
    detail = (
        f"weight {weight:g} was taken, on validation images, of {tried}; "
        f"0 where none keeps {100 * config.adaptive.keep:g} % of the successes of an attack that does not care"
    )
    return [{"name": "adaptive.cares_for_the_detector", "passed": weight > 0, "detail": detail}]


def _exact(told: Told) -> list[dict]:
    """Barriers of lines beside the maxima at kinks, in float64."""
    if "exact_barrier" not in told.arrays:
        return []
    exact, kinds = (told.arrays[name][1] for name in ("exact_barrier", "exact_kind"))
    found = np.stack([told.of("barrier", kind, "line")[0, : exact.shape[1]] for kind in kinds.tolist()])
    missed = exact - found
    share = float(np.mean(missed <= np.maximum(FINE * exact, SMALL)))
    detail = (
        f"lines miss at most {missed.max():.2g} nats of the exact barrier of {exact.size} of them; over 1 % and "
        f"{SMALL:g} nats of {100 * (1 - share):.0f} %"
    )
    return [{"name": "line.beside_exact", "passed": share >= OFTEN, "detail": detail}]


MARKED = (  # what the table at the top shows
    {"name": "auroc.barrier", "path": "line", "population": "adversarial", "reference": REFERENCE},
    {"name": "auroc.barrier", "path": "line", "population": "adversarial", "reference": BOOSTED},
    {"name": "auroc.barrier", "path": "line", "population": "adversarial_iso", "matching": "matched"},
    {"name": "auroc.barrier", "path": "line", "population": "adaptive", "reference": REFERENCE},
    {"name": "auroc.end_loss", "path": "line", "population": "adaptive", "reference": REFERENCE},
    {"name": "auroc.barrier", "path": "bypass", "population": "adversarial", "reference": REFERENCE},
    *(
        {"name": "barrier.loss", "path": "line", "population": kind}
        for kind in (REFERENCE, BOOSTED, NATURAL, "adversarial")
    ),
    {"name": "barrier.loss", "path": "bypass", "population": "adversarial"},
    *({"name": "barrier.share", "population": kind} for kind in (REFERENCE, "adversarial")),
    *({"name": "path.gone", "population": kind} for kind in (REFERENCE, "adversarial")),
    {"name": "attack.predicted_as_class", "path": "line", "population": "adversarial"},
    {"name": "path.climb_to_genuine", "population": "adversarial"},
    *(
        {"name": "barrier.weight_loss", "variant": "barrier", "curve": "line", "matching": m, "statistics": "plain"}
        for m in ("none", "weight", "activation")
    ),
    *({"name": "barrier.weight_loss", "variant": "barrier", "curve": curve} for curve in ("bezier", "chain")),
)


def marked(found: list[dict]) -> list[dict]:
    """The estimates, those of MARKED told as such: values themselves, whose name is not that of a difference."""

    def chosen(one: dict) -> bool:
        value = "reference" not in one or one["name"].startswith("auroc")
        return value and "steps" not in one and any(wanted.items() <= one.items() for wanted in MARKED)

    return [one | ({"headline": True} if chosen(one) else {}) for one in found]


def _cares(arrays: Arrays) -> bool:
    return "adaptive_weight" in arrays and float(arrays["adaptive_weight"][1]) > 0


def _headline(config, found: list[dict], cares: bool, pairs: int) -> str:
    """What was found of paths, of who is told by them, and of classifiers: of each what has been run.

    cares: whether the attack that knows the detector cares for it.
    """
    parts = [_joined(config, found, pairs), _told_apart(config, found, cares), _between(found)]
    return " ".join(part for part in parts if part)


def _one(found: list[dict], name: str, **about) -> dict | None:
    wanted = {"name": name, **about}
    return next((e for e in found if wanted.items() <= e.items() and about.keys() >= e.keys() & {"reference"}), None)


def _joined(config, found: list[dict], pairs: int) -> str:
    """How many lines rise, and how many of these a bypass brings down again."""
    told = []
    for kind, words in ((REFERENCE, "two genuine images"), ("adversarial", "a genuine and an adversarial one")):
        rises = _one(found, "barrier.share", population=kind)
        gone = [e for e in found if e["name"] == "path.gone" and e["population"] == kind and "steps" not in e]
        if rises is not None:
            away = f" (a bypass takes this away for {percent(gone[0])})" if gone else ""
            told.append(f"{percent(rises)} of the lines between {words}{away}")
    if not told:
        return ""
    rise = f"{config.bypass.tolerance:g} nats above both ends"
    return f"Between inputs of one prediction ({pairs} pairs) the loss rises by over {rise} along {' and '.join(told)}."


def _told_apart(config, found: list[dict], cares: bool) -> str:
    """The AUROC of the line's barrier, against each of the controls that have been run."""

    def auroc(population: str, reference: str, matching: str = "raw", name: str = "auroc.barrier") -> str:
        one = _one(found, name, population=population, reference=reference, matching=matching, path="line")
        return "an unknown value (too few pairs)" if one is None else ranged(one)

    kinds = set(config.pairs.kinds)
    clauses = [f"from genuine ones with AUROC {auroc('adversarial', REFERENCE)}"]
    if BOOSTED in kinds:
        clauses.append(f"from ones that the same attack made surer of their own class {auroc('adversarial', BOOSTED)}")
    if {NATURAL, "adversarial_iso"} <= kinds:
        matched = auroc("adversarial_iso", NATURAL, "matched")
        clauses.append(f"from natural errors of equal margin, as far from where they came from, {matched}")
    if "adaptive" in kinds and not cares:
        clauses.append("an attack that knows the detector was not found")
    elif "adaptive" in kinds:
        own = auroc("adaptive", REFERENCE, name="auroc.end_loss")
        knowing = f"under an attack that knows the detector {auroc('adaptive', REFERENCE)}"
        clauses.append(f"{knowing} (which its own loss tells with {own})")
    if "adversarial" not in kinds:
        return ""
    return f"Told by that rise, adversarial inputs stand out {'; '.join(clauses)}."


def _between(found: list[dict]) -> str:
    """How much of the barrier between two classifiers is left once their units are matched, and along curves."""

    def loss(**about) -> str:
        one = _one(found, "barrier.weight_loss", variant="barrier", **about)
        return "" if one is None else ranged(one)

    line = {way: loss(curve="line", matching=way, statistics="plain") for way in ("none", "weight", "activation")}
    curve = loss(curve="bezier")
    if not line["none"]:
        return ""
    told = f"Between two classifiers the loss rises by {line['none']} nats"
    told += "".join(f", with units matched by {way}s by {line[way]}" for way in ("weight", "activation") if line[way])
    return told + (f", along Bezier curves by {curve}." if curve else ".")


def percent(one: dict) -> str:
    """A share with its interval, percent."""
    value, *ends = (f"{100 * one[key]:.0f}" for key in ("value", "low", "high") if one[key] is not None)
    return f"{value} % [{', '.join(ends)}]" if ends else f"{value} %"


def ranged(one: dict) -> str:
    """A number with its interval where it has one."""
    # 0 is added since rounding makes -0.
    value, *ends = (f"{round(one[key], 2) + 0.0:.2f}" for key in ("value", "low", "high") if one[key] is not None)
    return f"{value} [{', '.join(ends)}]" if ends else value
