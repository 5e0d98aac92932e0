"""From the arrays of a flatness run to its estimates, claims, curves and headline."""

from typing import NamedTuple

import numpy as np

from landscape import runs
from landscape.experiments import flatness_curves as drawn_from
from landscape.experiments.flatness_arrays import describe
from landscape.experiments.flatness_contrasts import (
    ISO,
    USER,
    Cells,
    Contrast,
    combine,
    difference,
    masked_reached,
    mean,
    without_user,
)
from landscape.experiments.flatness_words import checks_of, headline_of
from landscape.experiments.setting import Setting
from landscape.stats import claims as verdicts
from landscape.stats.auroc import separation
from landscape.stats.claims import estimate_dict
from landscape.stats.duplicates import distinct_members, duplicate_check
from landscape.stats.intervals import of_share
from landscape.types import Arrays

# Told at this r where a claim names no other: noise of a third of the perturbation's length stays local.
HEADLINE_R = 0.3
LEAST_RANKED = 10  # examples of either kind, for each member, below which a resample may hold none
SATURATED_GAP = 15.0  # nats; beyond, a float32 -log_softmax has lost its digits
# The last one is taken against random noise of the attack's own norm.
DIFFERENCES = (
    ("adversarial", "boosted"),
    ("adversarial", "genuine"),
    ("boosted", "genuine"),
    ("adversarial", "noise"),
)
# The 2 x 2 of {not optimised, optimised} x {right, wrong}.
EFFECTS = {
    "optimised": {"boosted": 0.5, "adversarial": 0.5, "genuine": -0.5, "natural_error": -0.5},
    "wrong": {"natural_error": 0.5, "adversarial": 0.5, "genuine": -0.5, "boosted": -0.5},
    "interaction": {"adversarial": 1.0, "genuine": 1.0, "boosted": -1.0, "natural_error": -1.0},
}
# A user's inputs that a member classifies rightly and wrongly, each beside the clean images of its kind.
SPLIT = {"user_right": "genuine", "user_wrong": "natural_error"}
CURVATURE = ("gradient_norm", "hessian_top", "hessian_trace", "probability_hessian_top", "probability_hessian_trace")
WORST = ("worst_loss_rise", "worst_margin_drop")


class Results(NamedTuple):
    """What `estimate` makes: curves to be saved, estimates, judged claims, checks and the headline sentence."""

    curves: Arrays
    estimates: list[dict]
    claims: list[dict]
    checks: list[dict]
    headline: str


def cells_of(config, arrays: Arrays, coords: Arrays, members: np.ndarray) -> Cells:
    """The chosen members' values by population; a user's inputs also split by whether the member is right there."""
    where = ("member", "population", "example")
    named = {n: a for n, (dims, a) in arrays.items() if dims[-3:] == where and a.dtype.kind in "fb"}
    values = {n: a[..., members, :, :] for n, a in named.items()}
    values["saturated"] = (values["error_probability"] < 1 / (1 + np.exp(SATURATED_GAP))).astype(float)
    valid, prediction = arrays["valid"][1][members], arrays["prediction"][1][members]
    names = tuple(coords["population"][1].tolist())
    if "user" in names:
        at = names.index("user")
        right = prediction[:, at] == arrays["label"][1][members]
        parts = [valid[:, at] & right, valid[:, at] & ~right]
        values = {n: np.concatenate([a, a[..., [at, at], :]], axis=-2) for n, a in values.items()}
        valid = np.concatenate([valid, np.stack(parts, axis=1)], axis=1)
        prediction = np.concatenate([prediction, prediction[:, [at, at]]], axis=1)
        names = (*names, *SPLIT)
    cells = Cells(values, valid, names, prediction, noise=f"noise_{config.search.norm}", matches={})
    return without_user(cells, len(USER)) if "user" in names else cells


def estimate(config, prepared: Setting, arrays: Arrays, coords: Arrays) -> Results:
    """Every number the report tells, with its interval over members and images."""
    trained = np.flatnonzero(prepared.trained)
    everyone = cells_of(config, arrays, coords, trained)
    clean_margin = np.nan_to_num(everyone.of("margin", "genuine"))
    distinct = trained[distinct_members(clean_margin)]
    cells, label = cells_of(config, arrays, coords, distinct), arrays["label"][1][distinct]
    label = label[:, : cells.valid.shape[-1]]  # behind the test images stand a user's inputs
    kinds = np.asarray([m["control"] for m in prepared.members])
    controls = {name: cells_of(config, arrays, coords, np.flatnonzero(kinds == name)) for name in drawn_from.CONTROLS}

    r = coords["r"][1]
    wanted = next((claim.r for claim in config.claims.values() if "r" in claim), HEADLINE_R)
    headline_level = int(np.argmin(np.abs(np.log(r / wanted))))
    estimates = [*_quality(cells), *_populations(cells)]
    claims, drawn, headline = [], {}, "Populations were searched; no measure was asked for."
    if "flatness" in config.measures:
        estimates += _input_flatness(cells, coords, headline_level)
        estimates += _detectors(cells, coords, headline_level)
        claims = _claims(config, cells, coords)
        drawn |= drawn_from.curves(cells, controls, coords) | drawn_from.class_curve(cells, label, coords)
        drawn |= drawn_from.shares(cells, coords) | drawn_from.noise_curve(cells, coords)
        headline = headline_of(estimates, float(r[headline_level]))
    if "weight" in config.measures:
        estimates += _weight_sharpness(cells, coords)
        drawn |= drawn_from.weight_curve(cells, coords)
    named = {"worst": ("input_flatness", WORST), "curvature": ("curvature", CURVATURE)}
    for measure, (room, names) in named.items():
        if measure in config.measures:
            estimates += [e for name in names for e in _told(cells, name, f"{room}.{name}", describe(name)["units"])]
    checks = [duplicate_check(clean_margin), *checks_of(config, cells)]
    return Results(drawn | drawn_from.match_quality(cells), estimates, claims, checks, headline)


def save(
    config, run: runs.Run, prepared: Setting, arrays: Arrays, coords: Arrays, results: Results, audit_checks
) -> None:
    """Writes arrays.nc, then summary.json."""
    own = {"audit_attack", "audit_epsilon"}
    coords = coords | {name: arrays[name] for name in own}
    arrays = {name: value for name, value in arrays.items() if name not in own} | results.curves
    if results.curves:
        coords |= {name: arrays.pop(name) for name in ("reading", "cell") if name in arrays}
    told = {name: describe(name) for name in (*arrays, "noise_scale")}
    told |= {
        name: {"units": "1", "long_name": f"{name.replace('_', ' ')} of the member"}
        for name in prepared.members[0]
        if coords[name][0] == ("member",)  # the kinds of weight noise have the name of a hyperparameter
    }
    search = config.search
    runs.write_arrays(run, arrays, coords, told, epsilon=search.epsilon, norm=search.norm)
    runs.write_summary(
        run,
        headline=results.headline,
        estimates=results.estimates,
        checks=[*audit_checks, *results.checks],
        claims=results.claims,
    )


def _entry(
    contrast: Contrast | None, name: str, population: str, unit: str, *, share: bool = False, **about
) -> list[dict]:
    """The estimate of a contrast, or none where there is no contrast; `share`: see `of_share`."""
    if contrast is None:
        return []
    found = contrast.interval
    if share:
        found = of_share(found, contrast.examples)
    return [
        estimate_dict(
            found,
            name,
            population=population,
            unit=unit,
            examples=contrast.examples,
            incomplete=contrast.incomplete,
            **contrast.about,
            **about,
        )
    ]


def _quality(cells: Cells) -> list[dict]:
    right = cells.mask("genuine").astype(float)
    contrast = Contrast(right, right.shape[1], 0, right.shape[1])
    return _entry(contrast, "accuracy.test", "clean", "1", share=True, headline=True)


def _populations(cells: Cells) -> list[dict]:
    """Attack success, the share that reached the margin, the distance moved and the share of saturated examples."""
    right = cells.mask("genuine")
    out = []
    for name in ("adversarial", "boundary", "adversarial_iso", "boosted_iso"):
        reached = masked_reached(cells.mask(name), right)
        about = "attack.reached_margin" if name.endswith("iso") else "attack.success"
        out += _entry(reached, about, name, "1", share=True, headline=name == "adversarial")
    for name in cells.told:
        for norm in ("l2", "linf"):
            out += _entry(mean(cells, f"delta_{norm}", name), f"distance.{norm}", name, "pixels")
        out += _entry(mean(cells, "saturated", name), "confidence.gap_above_15", name, "1", share=True)
    return out


def _input_flatness(cells: Cells, coords: Arrays, headline_level: int) -> list[dict]:
    kinds, r, sigma, scale = (coords[name][1] for name in ("noise", "r", "sigma", "noise_scale"))
    out = []
    for k, kind in enumerate(kinds.tolist()):
        main = kind == "additive"
        for level in range(len(r)):
            at = (k, level)
            about = {"noise": kind, "r": float(r[level]), "sigma": float(sigma[level] / scale[k])}
            first = main and level == headline_level
            for measure, unit in (("probability_drop", "probability"), ("scale_free", "1")):
                told = f"input_flatness.{measure}"
                natural = "scale_free" if measure == "scale_free" else "raw"
                for name in cells.told if main else ():
                    out += _entry(
                        mean(cells, f"input_{measure}", name, at), told, name, unit, matching=natural, **about
                    )
                for a, b in DIFFERENCES:
                    b = cells.noise if b == "noise" else b
                    found = difference(cells, f"input_{measure}", a, b, at, matching=natural)
                    marked = first and (a, b) == DIFFERENCES[0]
                    out += _entry(found, told, a, unit, reference=b, matching=natural, headline=marked, **about)
            if main:
                out += _at_equal_margin(cells, at, about, first)
            if first:
                out += _effects(cells, at, about) + _users(cells, at, about)
                for measure, unit in (("loss_rise", "nats"), ("margin_drop", "logits")):
                    out += _told(cells, f"input_{measure}", f"input_flatness.{measure}", unit, at, **about)
    return out


def _at_equal_margin(cells: Cells, at, about: dict, first: bool) -> list[dict]:
    out = []
    for a, b, matching in (
        ("adversarial", "boosted", "iso"),
        ("adversarial", "boosted", "matched"),
        ("adversarial", "genuine", "matched"),
        ("boosted", "genuine", "matched"),
    ):
        found = difference(cells, "input_probability_drop", a, b, at, matching=matching)
        told = {"reference": b, "matching": matching, "headline": first and b == "boosted", **about}
        out += _entry(found, "input_flatness.probability_drop", a, "probability", **told)
    return out


def _effects(cells: Cells, at, about: dict) -> list[dict]:
    out = []
    for measure, matching in (("probability_drop", "raw"), ("scale_free", "scale_free")):
        for name, weights in EFFECTS.items():
            found = combine(cells, f"input_{measure}", weights, at)
            told = {"measure": measure, "matching": matching, **about}
            unit = "1" if measure == "scale_free" else "probability"
            out += _entry(found, f"input_flatness.effect.{name}", "2 x 2", unit, **told)
    return out


def _users(cells: Cells, at, about: dict) -> list[dict]:
    """A user's inputs against genuine ones, and each part against the clean images that are as right or wrong."""
    if cells.user is None:
        return []
    out = []
    for a, b in (("user", "genuine"), *SPLIT.items()):
        for measure, matching, unit in (
            ("probability_drop", "raw", "probability"),
            ("probability_drop", "matched", "probability"),
            ("scale_free", "scale_free", "1"),
        ):
            found = difference(cells, f"input_{measure}", a, b, at, matching=matching)
            told = {"reference": b, "matching": matching, "headline": a == "user", **about}
            out += _entry(found, f"input_flatness.{measure}", a, unit, **told)
    return out


def _told(cells: Cells, measure: str, told: str, unit: str, at=(), **about) -> list[dict]:
    """A measure by population, and the adversarial minus boosted and minus genuine differences in all its readings."""
    readings = ("scale_free",) if measure.endswith("scale_free") else ("raw", "iso", "matched")
    out = []
    for name in cells.told:
        out += _entry(mean(cells, measure, name, at), told, name, unit, matching=readings[0], **about)
    for a, b in DIFFERENCES[:2]:
        for matching in readings:
            if matching != "iso" or b in ISO:
                found = difference(cells, measure, a, b, at, matching=matching)
                out += _entry(found, told, a, unit, reference=b, matching=matching, **about)
    return out


def _weight_sharpness(cells: Cells, coords: Arrays) -> list[dict]:
    out = []
    for k, kind in enumerate(coords["weight_noise"][1].tolist()):
        for level, xi in enumerate(coords["xi"][1].tolist()):
            about = {"weight_noise": kind, "xi": xi}
            for measure, unit in (("probability_drop", "probability"), ("scale_free", "1")):
                out += _told(cells, f"weight_{measure}", f"weight_sharpness.{measure}", unit, (k, level), **about)
    return out


def _detectors(cells: Cells, coords: Arrays, level: int) -> list[dict]:
    """Does the drop tell adversarial inputs apart? High drop says adversarial, fixed beforehand."""
    kinds = coords["noise"][1].tolist()
    if "additive" not in kinds:
        return []
    at, out = (kinds.index("additive"), level), []
    about = {"noise": "additive", "r": float(coords["r"][1][level]), "sigma": float(coords["sigma"][1][level])}
    for reference in ("genuine", "natural_error", "boosted"):
        masks = cells.mask("adversarial"), cells.mask(reference)
        kept = np.minimum(masks[0].sum(axis=1), masks[1].sum(axis=1)) >= LEAST_RANKED
        if kept.sum() == 0:
            continue
        scores = [
            np.nan_to_num(cells.of("input_probability_drop", name, at))[kept] for name in ("adversarial", reference)
        ]
        found = separation(*scores, mask_positive=masks[0][kept], mask_negative=masks[1][kept])
        for name, value in zip(("area", "tpr_at_1_percent", "tpr_at_5_percent"), found, strict=True):
            told = f"auroc.input_flatness.{name}"
            carried = int((masks[0] | masks[1])[kept].any(axis=0).sum())
            named = {"population": "adversarial", "reference": reference, "unit": "1", "examples": carried}
            out.append(estimate_dict(value, told, **named, **about))
    return out


def claimed(config, cells: Cells, coords: Arrays) -> list[tuple[dict, Contrast | None]]:
    """The config's claims, each at the noise level of its r, with its contrast; None where too few inputs are left."""
    kinds, r = coords["noise"][1].tolist(), coords["r"][1]
    found = []
    for name, claim in config.claims.items():
        level = int(np.argmin(np.abs(np.log(r / claim.r))))
        measure = claim.measure.replace("input_flatness.", "input_")
        at = (kinds.index("additive"), level)
        contrast = difference(cells, measure, *claim.populations, at, matching=claim.matching)
        found.append(({"name": name, **claim.to_dict(), "r": float(r[level])}, contrast))
    return found


def _claims(config, cells: Cells, coords: Arrays) -> list[dict]:
    found = claimed(config, cells, coords)
    return verdicts.judge([claim for claim, _ in found], [None if c is None else c.interval for _, c in found])
