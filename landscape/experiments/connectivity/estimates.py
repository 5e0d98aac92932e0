"""The numbers of a connectivity run, from its arrays alone: barriers, who is detected by them, graphs, checks.

A pair counts for a member that predicts its class at both endpoints (`valid`), a member where it has pairs enough. No
image is in two pairs, so pairs are the units; endpoints of all kinds are made from the same images, so that
differences between kinds are paired. Members may have unlike pairs: numbers are means over members of each one's mean.
"""

import math
from collections.abc import Iterator
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float

from landscape.experiments import measured
from landscape.experiments.base import Check, by_stratum, named, of_members, strata_of, worst_of
from landscape.experiments.connectivity import MEASURED
from landscape.experiments.connectivity.config import ALWAYS, CLAIMED, LEAST_PAIRS
from landscape.stats import components
from landscape.stats.auroc import member_separation, roc
from landscape.stats.claims import estimate_dict
from landscape.stats.contrasts import Least, Sample, separation
from landscape.stats.duplicates import distinct_members, duplicate_check
from landscape.stats.intervals import MIN_MEMBERS, Interval
from landscape.stats.matching import match
from landscape.stats.table import Design, Estimate, Row, Table, tabulate, verdicts

if TYPE_CHECKING:
    import xarray as xr  # imported where it is used: half a second

GENUINE, NATURAL, BOOSTED = "genuine", "natural_error", "boosted"
SOURCE = "source"  # its second endpoint is not of the class that it is evaluated with
ATTACKS = ("adversarial", "adversarial_iso", "adaptive")
ROUNDING = 1e-6  # nats: what two float32 losses of one image may differ by
RATES = np.linspace(0, 1, 51)  # false-positive rates of ROC curves
# Detections that are drawn: population, reference, matching.
DRAWN = (
    ("adversarial", GENUINE, "raw"),
    ("adversarial", BOOSTED, "raw"),
    ("adversarial_iso", NATURAL, "matched"),
    ("adaptive", GENUINE, "raw"),
)
LEAST = Least(LEAST_PAIRS, MIN_MEMBERS)
DESIGN = Design(("member", "pair"), compare="kind", paired=False, least=LEAST)
REMOVED = 0.95  # share of the line's barrier that a bypass has to remove
HEIGHTS = np.concatenate([[0.0], np.geomspace(1e-3, 30, 46)])  # nats, at which distribution functions are taken
THRESHOLDS = np.logspace(-4, 1.5, 45)  # nats
FINE = 0.01  # by how much twice as many points may raise a barrier
OFTEN = 0.95  # share of barriers that they may not raise
PLANE = 1e-5  # of the line's length: how far a waypoint may be out of its hyperplane


def derive(data: "xr.Dataset") -> "xr.Dataset":
    """The distinct trained members, with whose line rises, of whom a bypass removes that, and what detectors see."""
    import xarray as xr

    data = of_members(data)
    data = data.isel(member=distinct_members(_of_genuine(data)))
    tolerance = data.attrs["tolerance"]
    line = data.barrier.sel(path="line", drop=True).astype(np.float64)
    # Below, losses differ by rounding alone; a bypass is not searched further.
    floor = xr.where(data.path == "line", ROUNDING, tolerance)
    heights = xr.DataArray(HEIGHTS, {"up_to": HEIGHTS}, "up_to", attrs={"units": "nats"})
    left = (1 - REMOVED) * line
    found = {
        "known": np.isfinite(data.barrier).all("member"),
        "rises": line > tolerance,
        "high": data.valid & (line > tolerance),
        "removed": data.barrier <= left,
        "removed_by": data.after <= left,
        "below": data.barrier.sel(path=[*ALWAYS]) <= heights,
        "barrier_score": data.barrier.where(data.barrier >= floor, 0.0),
    }
    return data.assign({name: one.assign_attrs(units="1") for name, one in found.items()})


def _of_genuine(data: "xr.Dataset") -> np.ndarray:
    """Margins at the second endpoint of genuine pairs, [member, pair]: equal for copies of a member."""
    return np.nan_to_num(data.end_log_odds.sel(kind=GENUINE).values)


def estimate(data: "xr.Dataset", config) -> Table:
    """The table of a run."""
    table = by_stratum(derive(data), lambda part: tabulate(part, declare(part), DESIGN) + _graphs(part))
    detected, line = {"name": "auroc.barrier.area"}, {"path": "line"}
    return (table + detector_weight(data)).headline_rows(
        {"population": "adversarial", "reference": [GENUINE, BOOSTED], "matching": "raw"} | detected | line,
        {"population": "adversarial_iso", "matching": "matched"} | detected | line,
        {"population": "adaptive", "reference": GENUINE, "matching": "raw"} | detected | line,
        {"population": "adaptive", "name": "auroc.end_loss.area"},
        {"population": "adversarial", "reference": GENUINE, "matching": "raw", "path": "bypass"} | detected,
        {"name": "barrier.loss", "population": [GENUINE, BOOSTED, NATURAL, "adversarial"], "reference": None} | line,
        {"name": "barrier.loss", "population": "adversarial", "reference": None, "path": "bypass"},
        {"name": "barrier.share", "population": [GENUINE, "adversarial"]},
        {"name": "path.barrier_removed", "population": [GENUINE, "adversarial"], "steps": None},
        {"name": "attack.predicted_as_class", "population": "adversarial"} | line,
        {"name": "path.minimax_barrier", "population": "adversarial"},
    )


def of_measures(data: "xr.Dataset", config) -> Table:
    """The rows of `config.measures`: of second endpoints whose pair counts for the member."""
    line = {"path": "line", "drop": True}
    return by_stratum(derive(data), lambda part: measured.table(part, part.valid.sel(**line), MEASURED))


def declare(data: "xr.Dataset") -> Iterator:
    """Barriers by kind and path, differences between kinds, distributions, and detection."""
    kinds = data.kind.values.tolist()
    plain = [kind for kind in kinds if kind != SOURCE]
    along = {"groups": plain, "by": ("path",)}
    yield Estimate("barrier.loss", "barrier", positive=True, **along)
    yield Estimate("barrier.left_class", "left", share=True, **along)
    yield Estimate("attack.predicted_as_class", "valid", where="known", share=True, **along)
    references = [kind for kind in (GENUINE, NATURAL, BOOSTED) if kind in kinds]
    versus = [(kind, reference) for reference in references for kind in plain if kind != reference]
    yield Estimate("barrier.loss", "barrier", versus=versus, by=("path",))
    yield Estimate("barrier.share", "rises", at={"path": "line"}, groups=plain, share=True)
    bypass = {"where": "high", "at": {"path": "bypass"}, "groups": plain, "share": True}
    yield Estimate("path.barrier_removed", "removed", **bypass)
    yield Estimate("path.barrier_removed", "removed_by", by=("steps",), about={"waypoints": 1}, **bypass)
    always = {"at": {"path": [*ALWAYS]}, "groups": plain}
    yield Estimate("barrier.below", "below", by=("path", "up_to"), share=True, **always)
    yield detection


# ---- detection ----


def detection(data: "xr.Dataset") -> Table:
    """How well the barrier from a genuine image detects the inputs at the other endpoint: AUROC and ROC curves.

    Raw: each kind against genuine pairs, and attacks against boosted pairs, made by the same attack. Matched: attacks
    against natural errors of equal log-odds and equal distance of source from reference. On the line also the loss
    at the second endpoint alone, against genuine pairs.
    """
    kinds = [kind for kind in data.kind.values.tolist() if kind not in (GENUINE, SOURCE)]
    comparisons = [(kind, GENUINE, "raw") for kind in kinds]
    comparisons += [(kind, BOOSTED, "raw") for kind in kinds if kind in ATTACKS]
    comparisons += [(k, NATURAL, how) for k in kinds if k in ATTACKS[:2] for how in ("raw", "matched")]
    each = (_detected_on(data.sel(path=path), path, *one) for path in ALWAYS for one in comparisons)
    return Table(tuple(row for rows in each for row in rows))


def _detected_on(data: "xr.Dataset", path: str, kind: str, reference: str, matching: str) -> Iterator[Row]:
    found = _compared(data, kind, reference, matching)
    if found is None:
        return
    samples, more = found
    about = {"population": kind, "reference": reference, "matching": matching, "path": path, "unit": "1"} | more
    by_itself = path == "line" and (reference, matching) == (GENUINE, "raw") and kind in ATTACKS
    for i, score in enumerate(("barrier", "end_loss") if by_itself else ("barrier",)):
        own = (one._replace(values=one.values[i]) for one in samples)
        for result in separation(*own, 1):  # members with too few pairs are left out already
            name = f"auroc.{score}{result.suffix}"
            yield Row(estimate_dict(result.interval, name, examples=result.examples, **about))
    if path == "line" and (kind, reference, matching) in DRAWN:
        yield from _roc(*samples, about)


def _roc(a: Sample, b: Sample, about: dict) -> Iterator[Row]:
    """The ROC curve of the barrier, with its band over members and pairs."""
    values = [np.nan_to_num(one.values[0]) for one in (a, b)]
    curves = roc(*values, RATES, mask_positive=a.where, mask_negative=b.where)
    shape = (*a.where.shape, *[np.nan] * 3)
    for rate, value, low, high in zip(RATES, *curves, strict=True):
        one = Interval(value, *[np.nan] * 4, *shape)
        yield Row(estimate_dict(one, "auroc.barrier.roc", rate=rate, band_low=low, band_high=high, **about))


def _least_ranked(num_members: int) -> Least:
    """Pairs that a member needs: of n drawn with replacement none is one of k with probability exp(-k), and at most one
    resample in a hundred may leave a member without any on either side.
    """
    return Least(math.ceil(math.log(200 * num_members)), MIN_MEMBERS)


def _compared(
    data: "xr.Dataset", kind: str, reference: str, matching: str
) -> tuple[tuple[Sample, Sample], dict] | None:
    """Samples whose values are [barrier_score, end_loss] of members with pairs enough, and columns about a match."""
    both = [data.sel(kind=name) for name in (kind, reference) if name in data.kind]
    if len(both) < 2:
        return None
    a, b = (Sample(np.stack([one.barrier_score.values, one.end_loss.values]), one.valid.values) for one in both)
    kept = _least_ranked(len(a.where)).kept(a.where, b.where)
    if not kept.any():
        return None
    a, b = (one._replace(values=one.values[:, kept], where=one.where[kept]) for one in (a, b))
    if matching == "raw":
        return (a, b), {}
    log_odds = [one.end_log_odds.values[kept].astype(np.float64) for one in both]
    return _matched(a, b, log_odds, data.source_distance.values, data.pair_class.values)


def _matched(
    a: Sample, b: Sample, log_odds: list[np.ndarray], distance: np.ndarray, classes: np.ndarray
) -> tuple[tuple[Sample, Sample], dict] | None:
    """The pairs of one confidence and one distance, within a class where numbers allow; None where too few are left."""
    wide, classes = (np.broadcast_to(value, a.where.shape) for value in (distance, classes))
    about = {"classes_treated": classes, "classes_reference": classes, "others": [(wide, wide)]}
    found = match(*log_odds, a.where, b.where, **about)
    keep = found.partner >= 0
    kept = _least_ranked(len(keep)).kept(keep)
    if not kept.any():
        return None
    members, pairs = np.nonzero(keep)
    partners = np.zeros_like(keep)
    partners[members, found.partner[members, pairs]] = True
    quality = {name: float(np.mean(getattr(found, name)[kept])) for name in ("share_kept", "smd_before", "smd_after")}
    for when, masks in (("before", (a.where, b.where)), ("after", (keep, partners))):
        apart = [standardised_difference(distance, *two) for two in zip(*(m[kept] for m in masks), strict=True)]
        quality[f"distance_smd_{when}"] = float(np.mean(apart))
    quality |= {"distinct_partners": found.distinct_partners, "same_class": found.same_class}
    some = ((a, keep), (b, partners))
    first, second = (one._replace(values=one.values[:, kept], where=mask[kept]) for one, mask in some)
    return (first, second), quality


def standardised_difference(values: np.ndarray, one: np.ndarray, other: np.ndarray) -> float:
    """Difference of the means of values [Q] over two sets of pairs, in standard deviations of the other set."""
    spread = max(float(np.std(values[other], ddof=1)), np.finfo(np.float64).tiny)
    return float(values[one].mean() - values[other].mean()) / spread


# The weight of the detector in the adaptive attack, chosen on validation images.


def detected_by_weight(
    barrier: Float[np.ndarray, "W S Q"],
    reached: Bool[np.ndarray, "W S Q"],
    genuine: Float[np.ndarray, "S Q"],
    right: Bool[np.ndarray, "S Q"],
) -> Float[np.ndarray, " W"]:
    """AUROC of each weight's attack against genuine pairs, mean over members; NaN where a member reached nothing.

    Args:
      barrier, reached: barriers and successes of each weight's attack. genuine, right: of genuine pairs.
    """
    found = np.full(len(barrier), np.nan)
    for w, (values, mask) in enumerate(zip(barrier, reached, strict=True)):
        if np.all(mask.sum(axis=1) > 0) and np.all(right.sum(axis=1) > 0):
            cut = [np.where(value < ROUNDING, 0.0, value) for value in (values, genuine)]
            found[w] = member_separation(*cut, mask_positive=mask, mask_negative=right).auroc.mean()
    return found


def chosen_weight(detected: np.ndarray, share: np.ndarray, *, keep: float) -> int:
    """Number of the weight above 0 whose attack is detected worst, AUROC nearest to 1/2, of those that succeed nearly
    as often as the attack of weight 0, which comes first; 0 where none does.

    Args:
      detected, share: AUROC and share of successes of each weight's attack.
      keep: share of the first one's successes that a weight must keep.
    """
    off = np.where((share >= keep * share[0]) & np.isfinite(detected), np.abs(detected - 0.5), np.inf)[1:]
    return 1 + int(np.argmin(off)) if np.isfinite(off).any() else 0


def tuning(data: "xr.Dataset") -> "tuple[np.ndarray, np.ndarray]":
    """AUROC and share of successes of each weight's attack, on validation images."""
    names = ("tuning_barrier", "tuning_reached", "tuning_genuine", "tuning_right")
    barrier, reached, genuine, right = (data[name].values for name in names)
    detected = detected_by_weight(barrier, reached.astype(bool), genuine, right.astype(bool))
    return detected, reached.mean(axis=(1, 2))


def detector_weight(data: "xr.Dataset") -> Table:
    """The weight that was taken; without an interval."""
    if "adaptive_weight" not in data:
        return Table()
    size = (data.sizes["member"], data.sizes["tuning_pair"])
    one = Interval(float(data.adaptive_weight), *[np.nan] * 4, *size, *[np.nan] * 3)
    return Table((Row(estimate_dict(one, "attack.detector_weight", population="adaptive", unit="logits / nat")),))


# ---- graphs of inputs of one class ----


def _graphs(data: "xr.Dataset") -> Table:
    """Components by threshold, and the minimax barrier of nodes to genuine ones. Classes are the units."""
    if "graph_peak" not in data:
        return Table()
    design = Design(("member", "graph_class"), compare="kind", least=LEAST)
    curve = {"by": ("threshold",), "band": "threshold", "where": "", "positive": True}
    wanted = [Estimate("path.components", "components", **curve), Estimate("path.nodes", "nodes", **curve)]
    wanted.append(Estimate("path.minimax_barrier", "minimax", where="reached", positive=True))
    return tabulate(graph_data(data), wanted, design)


def graph_data(data: "xr.Dataset") -> "xr.Dataset":
    """Of each member and class: components and nodes up to each threshold, minimax barriers by kind of node.

    The minimax barrier of a node is the lowest loss at which it is in one component with a genuine one, less its own.
    """
    import xarray as xr

    parts = (data[f"graph_{name}"] for name in ("peak", "loss", "left"))
    heights = joined(*(part.transpose("graph_class", "member", ...).values for part in parts))
    own = np.diagonal(heights, axis1=-2, axis2=-1)
    kinds = data.node_kind.values.astype(str)
    rise, known = to_genuine(heights, kinds == GENUINE), list(dict.fromkeys(kinds.tolist()))
    there = np.stack([np.isfinite(rise) & (kinds == kind) for kind in known])
    count, total = there.sum(axis=-1), np.where(there, rise, 0.0).sum(axis=-1)
    dims, of_kind = ("graph_class", "member", "threshold"), ("kind", "graph_class", "member")
    values = {
        "components": (dims, components.num_components(heights, THRESHOLDS)),
        "nodes": (dims, (own[..., None] <= THRESHOLDS).sum(axis=-2).astype(float)),
        "minimax": (of_kind, total / np.maximum(count, 1), {"units": "nats"}),
        "reached": (of_kind, count > 0),
    }
    return xr.Dataset(values, {"threshold": THRESHOLDS, "kind": known})


def joined(
    peak: Float[np.ndarray, "*B E"], loss: Float[np.ndarray, "*B G"], left: np.ndarray
) -> Float[np.ndarray, "*B G G"]:
    """Minimax heights of edges, in the order of `combinations`, and nodes; a node of another class joins nothing."""
    count = loss.shape[-1]
    height = np.full((*loss.shape, count), np.inf)
    first, last = np.asarray(list(combinations(range(count), 2)), int).reshape(-1, 2).T
    height[..., first, last] = height[..., last, first] = peak
    height[..., np.arange(count), np.arange(count)] = loss
    out = left.astype(bool)
    return components.minimax(np.where(out[..., :, None] | out[..., None, :], np.inf, height))


def to_genuine(heights: Float[np.ndarray, "*B G G"], genuine: Bool[np.ndarray, " G"]) -> Float[np.ndarray, "*B G"]:
    """What the loss rises from each node to the nearest of all genuine nodes but one, mean over that one; inf or NaN
    where there is no path. A genuine node has one genuine node fewer to reach, itself, hence "but one" for the others.

    Args:
      heights: minimax heights. genuine: which nodes are.
    """
    own = np.diagonal(heights, axis1=-2, axis2=-1)
    fewer = [components.height_to(heights, genuine & ~one) for one in np.eye(len(genuine), dtype=bool)[genuine]]
    with np.errstate(invalid="ignore"):
        return np.where(genuine, components.height_to(heights, genuine), np.mean(fewer, axis=0)) - own


# ---- claims, checks, headline ----


def claims(table: Table, config) -> list[dict]:
    """Verdicts on the config's claims; that of an AUROC is about what it exceeds chance by."""
    stated = {
        name: {"contrast": "difference", "radius": float(config.search.epsilon), **claim.to_dict()}
        | {"populations": CLAIMED[claim.measure]}
        for name, claim in config.claims.items()
    }

    def above_chance(row: Row) -> Row:
        ends = {end: row[end] - 0.5 for end in ("value", "low", "high") if row[end] is not None}
        return Row(row, **ends) if row["name"] == "auroc.barrier.area" else row

    def where(claim: dict) -> dict:
        population, reference = claim["populations"]
        matching = "raw" if claim["measure"] == "barrier.loss" else "matched"
        return {"population": population, "reference": reference, "matching": matching, "path": "line"}

    return verdicts(Table(tuple(map(above_chance, table))), stated, where, strata_of(table))


def checks(data: "xr.Dataset", table: Table, config) -> list[Check]:
    """Copies among members; whether barriers depend on the number of points; waypoints; the adaptive attack."""
    derived = derive(data)
    found = [Check(**duplicate_check(_of_genuine(of_members(data)))), *_pairs_of_any_images(derived)]
    for path in data.path.values.tolist():
        here = _high(derived, path)
        if here.any():
            found.append(worst_of(derived, partial(_points_are_enough, path=path)))
    others = [kind for kind in derived.kind.values.tolist() if kind != SOURCE]
    out = derived.out_of_plane.where(derived.valid.sel(path="bypass")).sel(kind=others)
    worst = float(np.nanmax(out.values, initial=0.0))
    detail = f"waypoints are out of their hyperplanes by up to {worst:.1e} of the line's length"
    found.append(Check("bypass.in_its_plane", worst <= PLANE, f"{detail}; expected at most {PLANE:g}"))
    return found + _detector_has_weight(data, config)


def _high(data: "xr.Dataset", path: str) -> np.ndarray:
    """Pairs that count on a path and have a barrier there or on the line, [kind, member, pair]."""
    there = data.valid.sel(path=path).copy()
    for kind in data.kind.values.tolist():
        if kind == SOURCE or not LEAST.kept(there.sel(kind=kind).values).any():
            there.loc[{"kind": kind}] = False
    fine = data.fine.astype(np.float64).sel(path=[path, "line"]).max("path") > data.attrs["tolerance"]
    return (there & fine).values


def _points_are_enough(data: "xr.Dataset", path: str) -> Check:
    """Whether twice as many points raise barriers. Of few left on a path a share would say nothing: it is among the
    pairs that have one on the path or on the line.
    """
    pairs, tolerance = _high(data, path), data.attrs["tolerance"]
    coarse, fine = (data[name].sel(path=path).values[pairs].astype(np.float64) for name in ("barrier", "fine"))
    high = fine > tolerance
    raised, most = int(np.sum(fine[high] - coarse[high] > FINE * fine[high])), max(1, (1 - OFTEN) * pairs.sum())
    left = "" if path == "line" else f", {high.sum()} of them on this path"
    detail = (
        f"of {pairs.sum()} pairs with a barrier above {tolerance:g} nats{left}, twice as many points raise {raised} by "
        f"over {100 * FINE:g} %; expected at most {int(most)}; if more, take a larger bypass.num_points"
    )
    return Check(f"{path}.points_are_enough", bool(raised <= most), detail)


def _pairs_of_any_images(data: "xr.Dataset") -> list[Check]:
    """A check that fails where pairs had to be made of images that some members classify wrongly."""
    genuine = data.sel(kind=GENUINE, path="line")
    right = (genuine.valid | ~genuine.known).all("pair").values
    if right.all():
        return []
    detail = (
        f"{(~right).sum()} of {len(right)} members do not classify both images of every genuine pair rightly, for "
        "too few images are right by all; expected none: better members or more images"
    )
    return [Check("pairs.classified_rightly", False, detail)]


def _detector_has_weight(data: "xr.Dataset", config) -> list[Check]:
    """Whether the detector has any weight in the adaptive attack."""
    if "adaptive_weight" not in data:
        return []
    weight, tried = float(data.adaptive_weight), ", ".join(f"{w:g}" for w in config.adaptive.weights)
    detail = (
        f"weight {weight:g} was taken, on validation images, of {tried}; "
        f"expected above 0; it is 0 where none keeps {100 * config.adaptive.keep:g} % of the attack's successes"
    )
    return [Check("adaptive.detector_has_weight", weight > 0, detail)]


def headline(table: Table, config) -> str:
    """How many lines rise and what a bypass leaves of it, and who is detected by it; of a sweep, at each value."""
    kinds = strata_of(table)
    if len(kinds) == 1:
        return " ".join(filter(None, (_joined(table, config), _detected(table, config))))
    parts = []
    for kind in kinds:
        about = {"population": "adversarial", "reference": GENUINE, "matching": "raw", "path": "line"}
        row = table.get("auroc.barrier.area", **about, **kind)
        parts.append(f"{'too few pairs' if row is None else row.text(1.0, 2)} at {named(kind)}")
    return f"The barrier of the line detects adversarial among genuine inputs with AUROC {'; '.join(parts)}."


def _joined(table: Table, config) -> str:
    """How many lines rise, and how many of these a bypass brings down again."""
    ways = ((GENUINE, "between two genuine images"), ("adversarial", "from a genuine to an adversarial image"))
    rises = {words: table.get("barrier.share", population=kind) for kind, words in ways}
    parts = [f"{_percent(row)} of the straight lines {words}" for words, row in rises.items() if row is not None]
    if not parts:
        return ""
    rise = f"the loss rises by over {config.bypass.tolerance:g} nats along {' and '.join(parts)}"
    removed = table.get("path.barrier_removed", population="adversarial", steps=None)
    away = f"; a bent path avoids {_percent(removed)} of the latter rises" if removed else ""
    return f"Between images of one prediction {rise}{away}."


def _detected(table: Table, config) -> str:
    """The AUROC of the line's barrier, and what an attack that evades it leaves of that."""

    def auroc(population: str) -> str:
        about = {"population": population, "reference": GENUINE, "matching": "raw", "path": "line"}
        row = table.get("auroc.barrier.area", **about)
        return "unknown (too few pairs)" if row is None else row.text(1.0, 2)

    if "adversarial" not in config.pairs.kinds:
        return ""
    evaded = ""
    if "adaptive" in config.pairs.kinds:
        weight = table.get("attack.detector_weight")
        evaded = "; no attack that evades it was found"
        if weight is not None and weight["value"] > 0:
            evaded = f", and {auroc('adaptive')} against an attack built to evade it"
    return f"As a detector of adversarial inputs this rise has AUROC {auroc('adversarial')} (guessing: 0.5){evaded}."


def _percent(row: Row) -> str:
    value, *ends = row.text(100.0, 0).split(" ", 1)
    return f"{value} %{' ' + ends[0] if ends else ''}"
