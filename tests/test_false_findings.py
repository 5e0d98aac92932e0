"""Whole experiments on simulated arrays: how often do intervals cover the truth, and headlines and claims find nothing?

Arrays have the shape that an experiment saves, rows are those that it declares itself, and effects of members and
images, and of both with populations, are drawn anew in every repeat: normal, or skewed as an exponential is.
"""

import collections
import dataclasses

import numpy as np
import pytest
import xarray as xr
from whole_runs import load

from landscape import populations
from landscape.experiments.connectivity import estimates as connectivity
from landscape.experiments.flatness import estimates as flatness
from landscape.experiments.transfer import estimates as transfer
from landscape.experiments.transfer.config import attacks_of
from landscape.stats.table import Estimate, Row, Table, tabulate

pytestmark = pytest.mark.slow
KINDS = ("normal", "skewed")
CASES = [(members, kind) for members in (4, 8, 16) for kind in KINDS]
FOUND = ("supported", "detected", "opposite")


def effects(rng, kind, shape, parts):
    """Sum of independent effects [shape], each of a standard deviation and the same along the axes that it leaves out.

    parts: axes that an effect has -> its standard deviation.
    """
    draw = {"normal": rng.standard_normal, "skewed": lambda size: rng.exponential(size=size) - 1}[kind]
    sizes = {axes: [n if axis in axes else 1 for axis, n in enumerate(shape)] for axes in parts}
    return sum(sd * draw(sizes[axes]) for axes, sd in parts.items()) + np.zeros(shape)


def between(share, repeats, least=0.90, most=0.98):
    """Whether a coverage is within its limits, up to three standard errors of each."""
    below, above = (3 * np.sqrt(limit * (1 - limit) / repeats) for limit in (least, most))
    return least - below <= share <= most + above


def assert_covered(repeats, rows, truth, number):
    """Intervals cover the truth in 90 to 98 % of repeats, of members and effects of each kind and of all together.

    rows: (rng, kind, members) -> rows of one repeat, `number` of them. truth: (row, kind) -> what a row estimates.
    """
    hits = collections.defaultdict(list)
    for members, kind in CASES:
        rng = np.random.default_rng(members)
        for row in (row for _ in range(repeats) for row in rows(rng, kind, members)):
            about = tuple(row.get(field) for field in ("name", "population", "reference", "matching"))
            hits[about].append(row["low"] <= truth(row, kind) <= row["high"])
    found = {about: np.reshape(one, (len(CASES), repeats)).mean(axis=1) for about, one in hits.items()}
    assert len(found) == number
    assert all(between(share, repeats) for one in found.values() for share in one), found
    assert all(between(one.mean(), repeats * len(CASES)) for one in found.values()), found


# ---- flatness ----

NAMES = list(populations.POPULATIONS)
AT = {name: i for i, name in enumerate(NAMES)}
TWIN_OF = {twin: name for name, twin in flatness.TWINS.items()}
# Of members, images and both alone, and each with the population: axes member, population, example.
PARTS = {(0,): 0.3, (2,): 0.7, (0, 1): 0.2, (1, 2): 0.5, (0, 1, 2): 0.7}
OF_LOG_ODDS = {(2,): 0.6, (1, 2): 0.4, (0, 1, 2): 0.7}  # nats
SPREAD, SLOPE = 0.05, 0.02  # of the probability that noise takes: by PARTS, and per nat of log-odds
KNOWN, HARD = 0.97, 0.4  # chance that a member is right on most images, and on a fifth of them


def planted(**own):
    """One number a population: its own, 0 of the others; a twin has that of the population that it is made from."""
    return np.array([own.get(TWIN_OF.get(name, name), 0.0) for name in NAMES])


LOST = 0.2 + planted(adversarial=0.05, boosted=-0.02, natural_error=0.03)  # probability that noise takes
SHARE = 0.3 + planted(adversarial=0.04, boosted=0.01)  # of the margin
SURER = planted(boosted=0.5, adversarial=-0.3)  # nats; twins are as sure as the clean image


def flatness_config():
    config = load("flatness")
    config.measures, config.flatness.levels, config.flatness.noises = ("flatness",), (0.3,), ("additive",)
    return config


def flatness_arrays(rng, kind, members, images, lost=LOST, share=SHARE, surer=SURER):
    """The arrays of a run as they are saved, derived: noise takes `lost` of the probability and `share` of the margin.

    Who is valid depends on the image and on chance; what is lost grows with log-odds.
    """
    shape, twins = (members, len(NAMES), images), [name in TWIN_OF for name in NAMES]
    log_odds = 3 + effects(rng, kind, shape, OF_LOG_ODDS) + surer[:, None]
    log_odds[:, twins] = log_odds[:, [AT["genuine"]]]
    margin = np.exp(effects(rng, "normal", shape, {(2,): 0.3, (0, 1, 2): 0.2}))
    drop = lost[:, None] + SLOPE * (log_odds - 3) + SPREAD * effects(rng, kind, shape, PARTS)
    part = share[:, None] + SPREAD * effects(rng, kind, shape, PARTS)
    linear = 0.1 + 0.01 * effects(rng, kind, shape, PARTS)
    right = rng.random((members, images)) < np.where(rng.random(images) < 0.8, KNOWN, HARD)
    valid = right[:, None] & ((rng.random(shape) < 0.9) | (np.array(NAMES) == "genuine")[:, None])
    valid[:, AT["natural_error"]] = ~right
    dims, drops = ("member", "population", "example"), ("noise", "r", "member", "population", "example")
    arrays = {"margin": (dims, margin), "log_odds": (dims, log_odds), "valid": (dims, valid)}
    arrays |= {"prediction": (dims, rng.integers(0, 3, shape)), "label": ("example", np.zeros(images, int))}
    arrays |= {
        "input_probability_drop": (drops, drop[None, None]),
        "linear_probability_drop": (drops[1:], 0 * drop[None]),
    }
    arrays |= {"input_margin_drop": (drops, (part * margin)[None, None])}
    arrays |= {"linear_margin_drop": (drops[1:], (linear * margin)[None])}
    coords = {"population": NAMES, "example": np.arange(images), "noise": ["additive"], "r": [0.3], "class": ["a"]}
    return flatness.derive(xr.Dataset(arrays, coords | {"control": ("member", ["trained"] * members)}))


def declared(data, *names, pairs=flatness.PAIRS[:1], matchings=("raw", "iso", "matched")):
    """What the experiment declares under these names: means of two populations, and differences of some pairs alone."""
    for one in flatness.declare(data, flatness_config()):
        if not isinstance(one, Estimate) or one.name not in names or one.about.get("measure") == "scale_free":
            continue
        if one.versus and one.matching in matchings:
            yield dataclasses.replace(one, versus=pairs)
        elif not one.versus and (one.groups is None or one.share or one.combine):
            yield one if one.share else dataclasses.replace(one, groups=("genuine", "natural_error"))


def truth_of(row):
    """What a row of `flatness_arrays` estimates."""
    name, a, b = row["name"], *(AT.get(row.get(side)) for side in ("population", "reference"))
    if name == "accuracy.test":
        return 0.8 * KNOWN + 0.2 * HARD
    if name.startswith("input_flatness.effect"):
        weights = flatness.EFFECTS[name.rpartition(".")[2]]
        return sum(weight * (LOST + SLOPE * SURER)[AT[one]] for one, weight in weights.items())
    if name == flatness.SCALE_FREE[0]:
        return SHARE[a] - (0 if b is None else SHARE[b])
    surer = np.where([one in TWIN_OF for one in NAMES], 0.0, SURER)
    raw = LOST + SLOPE * surer
    if b is None:
        return raw[a]
    return LOST[a] - LOST[b] if row["matching"] in ("iso", "matched") else raw[a] - raw[b]


def test_intervals_of_flatness_cover_means_differences_partners_ratios_and_effects():
    names = (flatness.DROP[0], flatness.SCALE_FREE[0], "input_flatness.effect.interaction", "accuracy.test")

    def rows(rng, kind, members):
        data = flatness_arrays(rng, kind, members, 64)
        return tabulate(data, declared(data, *names), flatness.DESIGN)

    assert_covered(120, rows, lambda row, kind: truth_of(row), number=12)


def test_the_interval_of_detection_covers_the_chance_that_an_adversarial_input_loses_more():
    """Of two images of one member, whose common effect no comparison within it shows."""
    rng, name = np.random.default_rng(0), "auroc.input_flatness"

    def value(population, kind):
        apart = {axes: sd for axes, sd in PARTS.items() if axes != (0,)}
        parts = [SLOPE * sd for sd in OF_LOG_ODDS.values()] + [SPREAD * sd for sd in apart.values()]
        found = effects(rng, kind, (10**6, len(parts)), {(0, 1): 1.0}) @ parts
        return (LOST + SLOPE * SURER)[AT[population]] + found

    truth = {kind: np.mean(value("adversarial", kind) > value("boosted", kind)) for kind in KINDS}

    def rows(rng, kind, members):
        data = flatness_arrays(rng, kind, members, 48)
        return tabulate(data, declared(data, name), flatness.DESIGN).select(f"{name}.area")

    assert_covered(60, rows, lambda row, kind: truth[kind], number=1)


def headline_and_claims(rng, kind, config, **planted):
    """Whether the headline takes a side, and the verdicts, of a run in which populations are drawn alike."""
    alike = {"lost": np.full(len(NAMES), 0.2), "share": np.full(len(NAMES), 0.3), "surer": np.zeros(len(NAMES))}
    data = flatness_arrays(rng, kind, 8, 48, **alike | planted)
    names = (flatness.SCALE_FREE[0], flatness.BEYOND[flatness.SCALE_FREE][0])
    own = [one for one in declared(data, *names, pairs=flatness.PAIRS, matchings=("raw", "iso")) if one.versus]
    # The claims' rows, declared last, are among the others.
    table = tabulate(data, {(one.name, one.matching): one for one in reversed(own)}.values(), flatness.DESIGN)
    text = flatness.headline(table, config)
    return flatness.UNCLEAR not in text, [claim["verdict"] for claim in flatness.claims(table, config)], text


def test_flatness_finds_no_difference_between_populations_that_are_alike_and_finds_a_planted_one():
    """A side in the headline, or a verdict on either of its two claims, in at most one of twenty runs."""
    rng, config, repeats = np.random.default_rng(0), flatness_config(), 1000
    for claim in config.claims.values():
        claim.smallest_effect = 0.0  # nothing is negligible
    runs = [headline_and_claims(rng, KINDS[i % 2], config) for i in range(repeats)]
    sides = np.mean([side for side, *_ in runs])
    claimed = np.mean([any(one in FOUND for one in verdicts) for _, verdicts, _ in runs])
    assert between(sides, repeats, 0.0, 0.05) and between(claimed, repeats, 0.0, 0.05), (sides, claimed)
    share = 0.3 + 0.08 * np.array([name.startswith("adversarial") for name in NAMES])
    for i in range(25):
        side, verdicts, text = headline_and_claims(rng, KINDS[i % 2], config, share=share)
        assert side and "The landscape is sharper" in text and set(verdicts) <= {"supported", "detected"}, text


# ---- connectivity ----


def barriers(rng, config, higher=0.0):
    """The verdict on barriers of a run whose pairs of both kinds have barriers drawn alike; nats, mostly 0."""
    shape, parts = (8, 2, 60), {(0,): 0.3, (2,): 0.7, (0, 1): 0.2, (1, 2): 0.5, (0, 1, 2): 0.7}
    high = np.maximum(effects(rng, "skewed", shape, parts) + np.array([0.0, higher])[:, None], 0)
    dims = ("member", "kind", "pair")
    arrays = {"barrier": (("path", *dims), high[None]), "valid": (("path", *dims), rng.random((1, *shape)) < 0.8)}
    data = xr.Dataset(arrays, {"kind": ["genuine", "adversarial"], "path": ["line"]})
    (one,) = (one for one in differences(data) if one.name == "barrier.loss")
    return connectivity.claims(tabulate(data, [one], connectivity.DESIGN), config)[0]["verdict"]


def differences(data):
    """What `connectivity` declares of differences."""
    return (one for one in connectivity.declare(data) if isinstance(one, Estimate) and one.versus)


def test_connectivity_claims_no_barrier_that_is_as_high_elsewhere():
    rng, config, repeats = np.random.default_rng(0), load("connectivity"), 1000
    (name,) = (name for name, claim in config.claims.items() if claim.measure == "barrier.loss")
    config.claims = {name: config.claims[name].to_dict() | {"smallest_effect": 0.0}}
    share = np.mean([barriers(rng, config) in FOUND for _ in range(repeats)])
    assert between(share, repeats, 0.0, 0.05), share
    assert all(barriers(rng, config, higher=1.0) == "supported" for _ in range(25))


# ---- transfer ----

CLASSES, CONDITION = 4, "clean_correct"
# Of sources, targets, images and their pairs: axes source, target, example.
FOOLS = {(0,): 0.4, (1,): 0.6, (2,): 0.8, (0, 2): 0.4, (1, 2): 0.4, (0, 1, 2): 1.0}


def attacked(rng, kind, members, images, same=0.0):
    """The arrays of a run whose attackers err where a sum of effects is above 0, on any of the other classes.

    same: chance that a target errs as its source does, where both err.
    """
    label = rng.integers(0, CLASSES, images)
    errs = effects(rng, kind, (members, members, images), FOOLS) > 0
    mistake = rng.integers(1, CLASSES, errs.shape)
    own = mistake[np.arange(members), np.arange(members)][:, None]
    said = np.where(errs, label + np.where(rng.random(errs.shape) < same, own, mistake), label) % CLASSES
    attack = attacks_of(load("transfer"))[0]._asdict()
    arrays = {"prediction": (("attack", "source", "target", "example"), said[None]), "label": ("example", label)}
    arrays |= {"clean_prediction": (("target", "example"), np.tile(label, (members, 1)))}
    arrays |= {"noise_wrong": (("attack", "source", "target", "example"), np.zeros((1, *errs.shape), bool))}
    arrays |= {"right": ("example", np.ones(images, bool))}
    coords = {name: ("attack", [value]) for name, value in attack.items()}
    data = xr.Dataset(arrays, coords | {"role": ("target", [transfer.ATTACKER] * members)})
    return transfer.of_transfer(data, transfer.outcomes_of(data, [CONDITION]))


def test_intervals_of_transfer_cover_and_mistakes_at_random_are_not_claimed_to_be_shared():
    config = load("transfer")
    config.claims = {"shared": config.claims.mistakes_are_shared.to_dict() | {"smallest_effect": 0.0}}
    truth, claimed, rng = {}, [], np.random.default_rng(0)
    for kind in KINDS:
        sums = effects(rng, kind, (10**6, len(FOOLS)), {(0, 1): 1.0}) @ [*FOOLS.values()]
        truth |= {("transfer.wrong", kind): np.mean(sums > 0), ("transfer.same_beyond_chance", kind): 0.0}

    def rows(rng, kind, members):
        table = attacked(rng, kind, members, 60)
        claimed.append(transfer.claims(table, config)[0]["verdict"] in FOUND)
        return table.select(["transfer.wrong", "transfer.same_beyond_chance"])

    assert_covered(100, rows, lambda row, kind: truth[row["name"], kind], number=2)
    assert between(np.mean(claimed), len(claimed), 0.0, 0.05), np.mean(claimed)
    planted = [attacked(rng, KINDS[i % 2], 16, 60, same=0.8) for i in range(20)]
    assert all(transfer.claims(table, config)[0]["verdict"] == "supported" for table in planted)


def guided(rng, config, better=0.0):
    """The verdict on several guides of a run in which they do as well as one."""
    shape, size = (2, 6, 60), config.claims.many_guide_better.size
    chance = effects(rng, "normal", shape, {(1,): 0.6, (2,): 0.8, (0, 1): 0.2, (0, 2): 0.5, (0, 1, 2): 1.0})
    wrong = chance + np.array([0.0, better])[:, None, None] > 0
    arrays = {"guided_wrong": (("guide_set", "held_out", "guided_example"), wrong.astype(float))}
    coords = {"guidance": ("guide_set", [transfer.MEMBERS] * 2), "size": ("guide_set", [1, size])}
    rows = transfer.gains(xr.Dataset(arrays, coords), {"budget": "steps", **transfer.GUIDED})
    return transfer.claims(Table(tuple(map(Row, rows))), config)[0]["verdict"]


def test_transfer_does_not_claim_that_many_guides_do_better_where_one_does_as_well():
    rng, config, repeats = np.random.default_rng(0), load("transfer"), 600
    config.claims = {"many_guide_better": config.claims.many_guide_better.to_dict() | {"smallest_effect": 0.0}}
    share = np.mean([guided(rng, config) in FOUND for _ in range(repeats)])
    assert between(share, repeats, 0.0, 0.05), share
    assert all(guided(rng, config, better=2.0) == "supported" for _ in range(25))
