"""Estimates and claims of the experiment `shared`, from its arrays. NumPy, float64."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from landscape.experiments import (
    shared_checks,
    shared_found,
    shared_ladder_estimates,
    shared_shape_estimates,
    shared_words,
)
from landscape.experiments.shared_transfer import Attack
from landscape.experiments.shared_values import (
    LEAST,
    QUANTITIES,
    TARGETS,
    Members,
    Seen,
    members_of,
    seen,
    told,
)
from landscape.stats import claims as verdicts
from landscape.stats.claims import estimate_dict
from landscape.stats.intervals import interval, of_share, t_quantile
from landscape.stats.pseudo_values import pseudo_values
from landscape.stats.transfer import CONDITIONS, OUTCOMES, counts_if_independent, excess, expected_given_margin
from landscape.types import Arrays


class Results(NamedTuple):
    """What `estimate` makes: arrays for the figures, estimates, judged claims, checks and the headline."""

    curves: Arrays
    estimates: list[dict]
    claims: list[dict]
    checks: list[dict]
    headline: str


def conditions_of(attack: Attack) -> tuple[str, ...]:
    """First flips are read where the source is fooled alone: elsewhere they ended nowhere in particular."""
    return CONDITIONS[-1:] if attack.kind == "first_flip" else CONDITIONS


def estimate(config, attacks: Sequence[Attack], arrays: Arrays) -> Results:
    """Every number the report tells, with its interval over members and images."""
    members = members_of(arrays["role"][1])
    num_sources, num_targets = arrays["prediction"][1].shape[1:3]
    cells = (len(attacks), len(CONDITIONS))
    curves = {
        "share": np.full((*cells, len(OUTCOMES), num_sources, num_targets), np.nan),
        "share_chance": np.full((*cells, num_sources, num_targets), np.nan),
        "share_half": np.full((*cells, num_sources, num_targets), np.nan),
    }
    curves |= {
        name: np.full((*cells, len(TARGETS), len(QUANTITIES)), np.nan) for name in ("mean", "mean_low", "mean_high")
    }
    found: list[dict] = []
    for a, attack in enumerate(attacks):
        for condition in conditions_of(attack):
            one, c = seen(arrays, a, condition), CONDITIONS.index(condition)
            _cells(one, curves, (a, c))
            for t, targets in enumerate(TARGETS):
                for q, quantity in enumerate(QUANTITIES):
                    value = told(one, quantity, members, targets)
                    if value is None or (quantity == "aim" and attack.kind != "targeted"):
                        continue
                    for end, number in zip(("", "_low", "_high"), value[:3], strict=True):
                        curves[f"mean{end}"][a, c, t, q] = number
                    shown = a == 0 and condition == "clean_correct" and quantity in ("wrong", "same", "chance")
                    shown &= targets in ("attackers", "held_out")
                    entry = estimate_dict(
                        value,
                        f"transfer.{quantity}",
                        population="noise" if quantity == "noise" else "adversarial",
                        unit="1",
                        examples=int(one.common.sum()),
                        matching=condition,
                        targets=targets,
                        **_of(attack),
                    )
                    found.append(entry | ({"headline": True} if shown else {}))
        found += _sources(attack, arrays, members, a)
    found += _directions(attacks, arrays, members)
    together, counts = _together(attacks, arrays, members)
    found += together
    joint, joint_curves = shared_found.estimates(config, arrays, members)
    ladder = shared_ladder_estimates.estimates(config, arrays, members)
    shapes = shared_shape_estimates.shapes(config, arrays, members)
    between = shared_shape_estimates.between(arrays, members)
    found += joint + ladder.estimates + shapes.estimates + between.estimates
    dims = ("attack", "condition")
    lines: Arrays = {
        "share": ((*dims, "outcome", "source", "target"), curves["share"]),
        "share_chance": ((*dims, "source", "target"), curves["share_chance"]),
        "share_half": ((*dims, "source", "target"), curves["share_half"]),
        **{name: ((*dims, "targets", "quantity"), curves[name]) for name in ("mean", "mean_low", "mean_high")},
    }
    claims = _claims(config, attacks, arrays, members)
    checks = shared_checks.checks(config, attacks, arrays, members) + ladder.checks
    curves = lines | counts | joint_curves | ladder.curves | shapes.curves | between.curves
    return Results(curves, found, claims, checks, shared_words.headline(config, attacks, found))


def _of(attack: Attack) -> dict:
    return {"attack": attack.kind, "norm": attack.norm, "epsilon": attack.epsilon}


def _cells(one: Seen, curves: dict[str, np.ndarray], at: tuple[int, int]) -> None:
    """Shares of every pair over the source's own images, and half the width of their intervals."""
    for s, mask in enumerate(one.mask):
        n = int(mask.sum())
        if n < LEAST:
            continue
        of = {name: one.of[name][s][:, mask].mean(axis=-1) for name in ("wrong", "same", "different")}
        curves["share"][at][:, s] = 1 - of["wrong"], of["same"], of["different"]
        curves["share_chance"][at][s] = one.own_chance[s][:, mask].mean(axis=-1)
        spread = one.of["wrong"][s][:, mask].std(axis=-1, ddof=1)
        curves["share_half"][at][s] = t_quantile(float(n - 1), 0.95) * spread / np.sqrt(n)


def _sources(attack: Attack, arrays: Arrays, members: Members, a: int) -> list[dict]:
    """Share of images on which each source itself is fooled, of those that all members classify rightly."""
    one = seen(arrays, a, "clean_correct")
    if one.common.sum() < LEAST:
        return []
    rows = members.attackers
    value = of_share(interval(one.of["wrong"][rows, rows][:, one.common]), int(one.common.sum()))
    return [estimate_dict(value, "attack.success", population="adversarial", unit="1", **_of(attack))]


def _directions(attacks: Sequence[Attack], arrays: Arrays, members: Members) -> list[dict]:
    """Mean cosine between attackers' perturbations, between noise of their norms, and between attackers' gradients.

    Clipped to [0, 1], independent perturbations of one image agree too: the noise is their zero line. That of gradients
    is 0.
    """
    rows = np.ix_(members.attackers, members.attackers)
    found = []
    for a, attack in enumerate(attacks):
        value = interval(pseudo_values(arrays["perturbation_cosine"][1][a][rows].astype(float)))
        entry = estimate_dict(value, "agreement.perturbation", population="adversarial", unit="1", **_of(attack))
        found.append(entry)
        value = interval(arrays["random_cosine"][1][a].astype(float)[None])
        found.append(estimate_dict(value, "agreement.perturbation", population="noise", unit="1", **_of(attack)))
    value = interval(pseudo_values(arrays["gradient_cosine"][1][rows].astype(float)))
    return [*found, estimate_dict(value, "agreement.gradient", population="clean", unit="1")]


def _together(attacks: Sequence[Attack], arrays: Arrays, members: Members) -> tuple[list[dict], Arrays]:
    """How many held-out members an example fools, beside independence given their clean margins.

    shared.correlation: covariance of two held-out members' being fooled beyond what their margins say, over its
    variance; 0 where members are independent given the margin, 1 for copies. Mean over sources.
    """
    held, found = members.held_out, []
    shape = (len(attacks), len(held) + 1)
    counts = {"count_seen": np.full(shape, np.nan), "count_expected": np.full(shape, np.nan)}
    for a, attack in enumerate(attacks):
        one = seen(arrays, a, conditions_of(attack)[-1])
        common = one.common
        if common.sum() < LEAST:
            continue
        margin = arrays["clean_margin"][1][held][:, common]
        beyond, observed, expected = [], [], []
        for s in members.attackers:
            fooled = one.of["wrong"][s][held][:, common] > 0
            chance = expected_given_margin(fooled, margin)
            beyond.append(excess(fooled, chance))
            observed.append(np.bincount(fooled.sum(axis=0), minlength=len(held) + 1) / fooled.shape[1])
            expected.append(counts_if_independent(chance))
        counts["count_seen"][a], counts["count_expected"][a] = np.mean(observed, 0), np.mean(expected, 0)
        value = correlation(np.mean(beyond, axis=0))
        if value is not None:
            about = {"examples": int(common.sum()), **_of(attack)}
            found.append(estimate_dict(value, "shared.correlation", population="adversarial", unit="1", **about))
    return found, {name: (("attack", "count"), value) for name, value in counts.items()}


def correlation(beyond: np.ndarray):
    """Ratio of the mean over pairs to the mean over the diagonal of [T, T, N], the delta method's influence array.

    None where targets are fooled always, or never, and nothing varies.
    """
    own = beyond[np.arange(len(beyond)), np.arange(len(beyond))]
    if len(beyond) < 3 or own.mean() < 1e-12:
        return None
    pairs = pseudo_values(beyond)
    ratio = pairs.mean() / own.mean()
    return interval(ratio + (pairs - ratio * own) / own.mean())


def _claims(config, attacks: Sequence[Attack], arrays: Arrays, members: Members) -> list[dict]:
    """The config's claims: about the attack of the headline, or about the ladder's first search."""
    stated, intervals = [], []
    for name, claim in config.claims.items():
        about = {"name": name, "contrast": "difference", **claim.to_dict()}
        if claim.measure == "shared.held_out_success":
            first = config.ladder.searches[0]
            about |= {"populations": (f"{claim.size} members", "one member"), "search": first}
            about["radius"] = float(config[first].epsilon)
            intervals.append(shared_ladder_estimates.gain(config, arrays, members, claim.size, claim.matching))
        else:
            about |= {"populations": ("adversarial", "chance"), "radius": attacks[0].epsilon}
            quantity = claim.measure.split(".")[1]
            intervals.append(told(seen(arrays, 0, claim.matching), quantity, members, "attackers"))
        stated.append(about)
    # What is the same for all members and images has no spread to be judged by.
    return verdicts.judge(stated, [None if found is None or found.sem == 0 else found for found in intervals])
