"""The numbers of a flatness run, from its arrays alone: what is derived, declared, claimed, checked and said first."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from landscape.data.dataset import class_mapping
from landscape.experiments.base import Check, by_stratum, named, of_members, strata_of, worst_of
from landscape.experiments.flatness import agreement
from landscape.experiments.flatness.along_estimates import alike_across_the_flip, along, of_the_way
from landscape.experiments.flatness.config import COMPARED_WITH, MATCHINGS, PAIRS, TWINS
from landscape.experiments.measured import BEYOND, DROP, MEANS, OTHERS, SCALE_FREE, beyond_linear
from landscape.presets.measuring import first_noise
from landscape.stats import contrasts
from landscape.stats.contrasts import Least, Sample
from landscape.stats.duplicates import distinct_members, duplicate_check
from landscape.stats.table import Design, Estimate, Row, Table, tabulate, verdicts

if TYPE_CHECKING:
    import xarray as xr  # imported where it is used: half a second

HEADLINE_R = 0.3  # the headline's r where no claim names another: noise of a third of the perturbation stays local
SATURATED = 15.0  # nats of log-odds; beyond, a float32 -log_softmax has lost its digits
BALL_SLACK = 1e-6  # pixels: float32 rounding of image + perturbation, as `attacks.audit` allows
TINY = 5e-4  # 0.05 points, which the headline would print as 0.0 or 0.1: no disagreement hangs on less
BALANCED = 0.1  # standardised differences of log-odds within it count as alike
SMALL = 0.5  # of the distance to the nearest image of another class: a perturbation up to it is small
# A user's inputs, all and where the member is right and wrong, and the clean images that they are compared with.
USER = {"user": "genuine", "user_right": "genuine", "user_wrong": "natural_error"}
# The 2 x 2 of {not optimised, optimised} x {right, wrong}.
EFFECTS = {
    "optimised": {"boosted": 0.5, "adversarial": 0.5, "genuine": -0.5, "natural_error": -0.5},
    "wrong": {"natural_error": 0.5, "adversarial": 0.5, "genuine": -0.5, "boosted": -0.5},
    "interaction": {"adversarial": 1.0, "genuine": 1.0, "boosted": -1.0, "natural_error": -1.0},
}
MEAN_ALONE = ("certified_radius.abstains", "certified_radius.capped", "curvature.spectral_density")
UNCLEAR = "not clearly sharper or flatter"
FAR = 0.2  # accuracy on a user's inputs below that on test images: labels may be in another order
WHOLE = 0.99  # of the adversarial inputs that rounding to 8 bits leaves as they are predicted
KEPT = 0.1  # of the images whose twins reach their log-odds, at least: fewer say little about the others
CONTROLS = ("untrained", "shuffled")  # members that learned nothing, or labels drawn at random
# What the classifier linearised at each input loses under the main noise.
LINEAR = {DROP: ("input_flatness.linear_probability_drop", "linear_probability_drop")}
LINEAR[SCALE_FREE] = ("input_flatness.linear_scale_free", "linear_margin_drop", "margin")
NOTHING_LINEAR = tuple(one[0] for one in BEYOND.values())  # names of which linear classifiers have 0
BESIDE = {"genuine": "genuine images", "boosted": "boosted inputs"}  # what the headline compares adversarial ones with
# The primary comparison: at equal position, free of scale, and above what linear classifiers show as well.
PRIMARY = {"name": BEYOND[SCALE_FREE][0], "matching": "iso"}
DESIGN = Design(twins=TWINS, apart=frozenset({"natural_error", *USER}), support="support")


def derive(data: "xr.Dataset") -> "xr.Dataset":
    """The distinct trained members, with all variables that statistics and figures are of."""
    import xarray as xr

    data = of_members(data)
    data = data.isel(member=distinct_members(clean_margin(data)))
    data = _split_user(data) if "user" in data.population else data
    data = data.assign(support=support(data))
    valid = data.valid
    found = {
        "right": valid.sel(population="genuine", drop=True),
        "saturated": data.log_odds > SATURATED,
        # The curves of twins are over the images of both, as their difference is.
        "paired": valid & valid.sel(population=[*TWINS.values()]).all("population"),
        "of_class": valid & (data.label == xr.DataArray(np.arange(data.sizes["class"]), dims="class")),
    }
    if "input_kept" in data:
        found["input_elsewhere"] = 1 - data.input_kept - data.input_returned
    return beyond_linear(data.assign({name: one.assign_attrs(units="1") for name, one in found.items()}))


def clean_margin(data: "xr.Dataset") -> np.ndarray:
    """Margins on clean images, [member, example]: equal for copies of a member."""
    return np.nan_to_num(data.margin.sel(population="genuine").values)


def estimate(data: "xr.Dataset", config) -> Table:
    """The table of a run; control members are populations of their own, of clean images."""
    derived = derive(data)
    table = by_stratum(derived, lambda part: tabulate(part, declare(part, config), DESIGN) + along(part))
    for control in CONTROLS:
        others = of_members(data, control).assign(support=support(data))
        table += along(others, control)
        if "flatness" in config.measures and others.sizes["member"]:
            curve = {"groups": ("genuine",), "by": ("r",), "band": "r", "at": {"noise": main_noise(config)}}
            curve["about"] = {"population": control}
            table += tabulate(others, [Estimate(*of, **curve) for of in (DROP, SCALE_FREE)], DESIGN)
    drops, added = [DROP[0], SCALE_FREE[0], BEYOND[SCALE_FREE][0]], list(config.populations)
    here = {"matching": MATCHINGS, "reference": [*BESIDE], **main(data.r.values, config)}
    return table.headline_rows(
        {"name": ["accuracy.test", "accuracy.user"]},
        {"name": "attack.success", "population": "adversarial"},
        {"name": drops, "population": "adversarial", **here},
        {"name": drops, "population": "user", "reference": "genuine"},
        # Of several that a config adds, the first: the table stays short.
        {"name": SCALE_FREE[0], "population": added[:1], "matching": "raw", **main(data.r.values, config)},
    )


def iso_pairs(config) -> list[tuple[str, str]]:
    """The pairs of equal log-odds: genuine images are among them where twins are at those of their clean image."""
    return PAIRS if config.search.iso_log_odds == "clean" else PAIRS[:1]


def _iso(config) -> dict[str, list[tuple[str, str]]]:
    """These pairs by matching: at equal confidence, and as found where that is reached."""
    return dict.fromkeys(("iso", "raw_of_iso"), iso_pairs(config))


def added_pairs(config) -> list[tuple[str, str]]:
    """The populations that a config adds, each with what it is compared with."""
    return [(name, COMPARED_WITH[name]) for name in config.populations]


def declare(data: "xr.Dataset", config) -> Iterator[Estimate | Callable[["xr.Dataset"], Table]]:
    """Every number: of input noise at each r, of everything else by population with differences in all matchings."""
    clean = {"groups": ("genuine",), "about": {"population": "clean"}}
    yield Estimate("accuracy.test", "right", where="", share=True, **clean)
    if "user" in data.population:
        yield Estimate("accuracy.user", "user_is_right", where="", share=True, groups=("user",))
    yield Estimate("attack.success", "valid", where="right", groups=("adversarial", "boundary"), share=True)
    yield Estimate("attack.reached_log_odds", "valid", where="right", groups=(*TWINS.values(),), share=True)
    for norm in ("l2", "linf"):
        yield Estimate(f"distance.{norm}", f"delta_{norm}")
    yield Estimate("distance.of_another_class", "delta_l2", "nearest_other", groups=("adversarial", "boosted"))
    yield Estimate("purity.predicted_class", "nearest_taken", groups=("adversarial",), share=True)
    yield Estimate("confidence.log_odds_above_15", "saturated", share=True)
    if "flatness" in config.measures:
        yield from _under_noise(data, config)
        yield from _curves(data, config)
    for measure, means in MEANS.items():
        for one in (mean for mean in means if measure in config.measures and mean.of in data):
            yield from [one] if one.name in MEAN_ALONE else _everywhere(config, one)
    if "weight_hessian_top" in data:
        yield _of_weights
    yield partial(agreement.table, config, main(data.r.values, config))


def _everywhere(config, mean: Estimate) -> Iterator[Estimate]:
    """A mean, and its differences in each matching, which may be below 0 where it may not."""
    yield mean
    asked = [*PAIRS, *added_pairs(config)]
    compared = {"raw": asked, "matched": asked} | _iso(config)
    for matching, pairs in compared.items():
        yield dataclasses.replace(mean, versus=pairs, matching=matching, positive=False)


def _under_noise(data: "xr.Dataset", config) -> Iterator[Estimate]:
    """Means and differences of the main noise, most of them at each r; effects, detection and claims at one."""
    here, by = main(data.r.values, config), {"by": ("noise", "r"), "band": "r"}
    noise, one_kind = f"noise_{config.search.norm}", {"noise": here["noise"]}
    pairs = [*PAIRS, ("boosted", "genuine"), *added_pairs(config)]
    compared = {"raw": [*pairs, ("adversarial", noise)], "matched": pairs} | _iso(config)
    for one in (DROP, SCALE_FREE):
        yield Estimate(*one, at=one_kind, **by)
        for matching, which in compared.items():
            yield Estimate(*one, versus=which, matching=matching, **by)
        for name, weights in EFFECTS.items():
            about = {"population": "2 x 2", "measure": one[0].split(".")[1]}
            yield Estimate(f"input_flatness.effect.{name}", *one[1:], combine=weights, at=here, about=about)
        if "beyond_linear" in data:
            yield from _everywhere(config, Estimate(*BEYOND[one], by=("r",), band="r", about=one_kind))
    for one in OTHERS:
        yield from _everywhere(config, Estimate(*one, at=here))
    if "user" in data.population:
        for one in (DROP, SCALE_FREE):
            for matching in ("raw", "matched"):
                yield Estimate(*one, at=here, versus=[*USER.items()], matching=matching)
    against = [("adversarial", reference) for reference in ("genuine", "natural_error", "boosted")]
    yield Estimate("auroc.input_flatness", DROP[1], at=here, versus=against, statistic=contrasts.separation, unit="1")
    known = {one[0]: one for one in (DROP, SCALE_FREE, *BEYOND.values(), *OTHERS)}
    for claim in config.claims.values():
        if claim.matching == "iso" and tuple(claim.populations) not in iso_pairs(config):
            continue  # genuine images are at equal log-odds with twins at those of their clean image alone
        of, r = known[claim.measure], {"r": nearest(data.r.values, claim.r)}
        about = {"at": one_kind | r} if "noise" in data[of[1]].dims else {"at": r, "about": one_kind}
        yield Estimate(*of, versus=[tuple(claim.populations)], matching=claim.matching, **about)


def _curves(data: "xr.Dataset", config) -> Iterator[Estimate]:
    """Curves that only the figures draw."""
    one_kind = {"noise": main_noise(config)}
    groups = ("genuine", "natural_error", "boosted", "adversarial", f"noise_{config.search.norm}")
    genuine = ("genuine",) if config.search.iso_log_odds == "clean" else ()
    iso = {"where": "paired", "groups": (*genuine, *TWINS.values())}
    for one in (DROP, SCALE_FREE):
        yield Estimate(*one, at=one_kind, by=("r",), band="r", about={"matching": "iso"}, **iso)
        if "beyond_linear" in data:
            yield Estimate(*LINEAR[one], groups=groups, by=("r",), about=one_kind)
            yield Estimate(*LINEAR[one], by=("r",), about=one_kind | {"matching": "iso"}, **iso)
    yield Estimate(*DROP, groups=groups, by=("noise", "r"), band="r")
    rows = {"groups": groups, "at": one_kind}
    yield Estimate("input_flatness.class_drop", DROP[1], where="of_class", by=("class", "r"), **rows)
    for part in ("kept", "returned", "elsewhere"):
        yield Estimate(f"input_flatness.{part}", f"input_{part}", by=("r",), share=True, **rows)


def _of_weights(data: "xr.Dataset") -> Table:
    """The Hessian of the weights: of one value a member, in the populations that it is measured on."""
    names = [f"weight_hessian_{name}" for name in ("top", "trace")]
    known = np.isfinite(data[names[0]])
    data, groups = data[names].assign(known=known), known.population.values[known.any("member").values].tolist()
    rows = []
    for name in names:
        about = {"name": name.replace("_", "_sharpness.", 1), "of": name, "where": "known"}
        rows += [Estimate(**about, groups=groups), Estimate(**about, versus=PAIRS)]
        rows.append(Estimate(**about, versus=PAIRS[:1], matching="iso"))
    return tabulate(data, rows, Design(crossed=("member", ""), twins=TWINS, least=Least(paired=1)))


def claims(table: Table, config) -> list[dict]:
    """Verdicts on the config's claims."""
    return verdicts(table, config.claims.to_dict(), lambda claim: where(config, claim), strata_of(table))


def where(config, claim) -> dict:
    """The coordinates of the row that a claim is about."""
    a, b = claim["populations"]
    r = nearest(np.asarray(config.flatness.levels), claim["r"])
    return {"population": a, "reference": b, "matching": claim["matching"], "noise": main_noise(config), "r": r}


def main(r: np.ndarray, config) -> dict:
    """The noise that the headline is of: its kind, and of the levels r that of the first claim that has one."""
    wanted = next((claim.r for claim in config.claims.values() if "r" in claim), HEADLINE_R)
    return {"noise": main_noise(config), "r": nearest(r, wanted)}


def main_noise(config) -> str:
    """The kind of input noise that means, the headline and most figures are of."""
    return first_noise(config.flatness.noises)


def nearest(r: np.ndarray, wanted: float) -> float:
    """The noise level nearest to the one wanted, on the log scale."""
    return float(r[np.argmin(np.abs(np.log(r / wanted)))])


# ---- a user's inputs, which stand behind the test images on the example axis ----


def support(data: "xr.Dataset") -> "xr.DataArray":
    """The examples that each population could hold (population, example): no others count for it."""
    import xarray as xr

    names = data.population.values.tolist()
    mine = data.valid.sel(population="user", drop=True).any("member") if "user" in names else data.example < 0
    return xr.DataArray([name in USER for name in names], {"population": names}, "population") == mine


def _split_user(data: "xr.Dataset") -> "xr.Dataset":
    """With the populations user_right and user_wrong, by whether the member is right."""
    mine = data.valid.sel(population="user", drop=True)
    right = data.prediction.sel(population="user", drop=True) == data.label
    names = [*data.population.values.tolist(), "user_right", "user_wrong"]
    data = data.sel(population=[*names[:-2], "user", "user"]).assign_coords(population=names)
    data["user_is_right"] = (mine & right).assign_attrs(units="1")
    data["valid"] = data.valid.copy()
    data.valid.loc[{"population": "user_right"}] = mine & right
    data.valid.loc[{"population": "user_wrong"}] = mine & ~right
    return data


# ---- checks ----


def match_quality(data: "xr.Dataset", pair: tuple[str, str] = PAIRS[1]) -> "xr.Dataset | None":
    """How well one population matches another: share_kept, smd_before, smd_after, by member."""
    import xarray as xr

    samples = []
    for name in pair:
        one = data.sel(population=name)
        samples += [Sample(one.log_odds.values, one.valid.values, None, one.log_odds.values, one.prediction.values)]
    found = contrasts.partners(*samples)
    if found is None:
        return None
    values = {name: ("member", getattr(found, name)) for name in ("share_kept", "smd_before", "smd_after")}
    return xr.Dataset(values)


def checks(data: "xr.Dataset", table: Table, config) -> list[Check]:
    """Copies among members; inputs inside their ball, whole at 8 bits and near their image; log-odds reached, and alike
    once matched.
    """
    copies = [Check(**duplicate_check(clean_margin(of_members(data)))), *_user_accuracy(data, table)]
    data = derive(data)
    each = [lambda part: _inside_ball(part, config), _whole_at_8_bits, _is_small, _reached, _balanced]
    each += [alike_across_the_flip] if "across_log_odds" in data else []
    return [*copies, *(worst_of(data, check) for check in each)]


def _user_accuracy(data: "xr.Dataset", table: Table) -> list[Check]:
    """Whether a user's inputs get their labels about as often as test images do; far less often is said."""
    own = table.select("accuracy.user")
    if not len(own.rows):
        return []
    test, user = (np.mean([row["value"] for row in rows]) for rows in (table.select("accuracy.test"), own))
    classes = class_mapping(data["class"].values.astype(str).tolist())
    detail = (
        f"members are right on {100 * user:.1f} % of your inputs and on {100 * test:.1f} % of test images; expected at "
        f"most {100 * FAR:g} points less, unless they are adversarial; labels may be in another order than {classes}"
    )
    return [Check("inputs.accuracy", bool(test - user <= FAR), detail)]


def _inside_ball(data: "xr.Dataset", config) -> Check:
    """Every searched input of every member, on the test images themselves."""
    searched = ["adversarial", "boosted", "boundary", *TWINS.values()]
    furthest = float(data[f"delta_{config.search.norm}"].sel(population=searched).max())
    radius = config.search.epsilon
    detail = f"largest distance {furthest:.4g} pixels; expected at most {radius:.4g}"
    return Check("search.inside_ball", furthest <= radius + BALL_SLACK, detail)


def _whole_at_8_bits(data: "xr.Dataset") -> Check:
    """Whether adversarial inputs stay what they are as 8-bit images."""
    kept = _values(data, "survives_8_bits", "adversarial")
    if not kept.size:
        return Check("search.survives_8_bits", True, "no input is adversarial, so nothing is expected")
    share = float(kept.mean())
    detail = f"{100 * share:.1f} % of adversarial inputs predicted alike after rounding to 8 bits; expected at least "
    return Check("search.survives_8_bits", share >= WHOLE, f"{detail}{100 * WHOLE:g} %")


def _is_small(data: "xr.Dataset") -> Check:
    """Whether adversarial inputs stay nearer to their image than half way to an image of another class."""
    moved = (
        np.median(_values(data, "delta_l2", "adversarial")) if data.valid.sel(population="adversarial").any() else 0.0
    )
    other = float(np.median(data.nearest_other.values[np.isfinite(data.nearest_other.values)]))
    taken = data.nearest_taken.values[data.valid.sel(population="adversarial").values]
    detail = (
        f"median L2 length {moved:.2f} pixels, {moved / other:.2f} of the way to the nearest image of another class "
        f"({other:.2f}), expected at most {SMALL:g}; {100 * taken.mean() if taken.size else 0:.0f} % lie nearest to an "
        "image of the predicted class"
    )
    return Check("search.is_small", moved <= SMALL * other, detail)


def _reached(data: "xr.Dataset") -> Check:
    """Whether enough inputs could be steered to their log-odds, and how far they went for it."""
    right = max(int(data.right.sum()), 1)
    shares = {name: float(data.valid.sel(population=name).sum() / right) for name in TWINS.values()}
    moved = {name: _values(data, "delta_l2", name) for name in shares}
    reached = ", ".join(f"{100 * share:.0f} % of {name.replace('_', ' ')}" for name, share in shares.items())
    far = ", ".join(f"{name.replace('_', ' ')} {v.mean():.2f}" for name, v in moved.items() if v.size) or "none"
    detail = f"log-odds reached by {reached}, expected at least {100 * KEPT:g} %; mean L2 distance from the image in "
    detail += f"pixels: {far}"
    return Check("iso.reached", min(shares.values()) >= KEPT, detail)


def _balanced(data: "xr.Dataset") -> Check:
    """Whether matched log-odds are alike, where there is a match."""
    worst, parts = 0.0, []
    for pair in PAIRS:
        quality = match_quality(data, pair)
        if quality is None or not np.isfinite(quality.smd_after).any():
            continue
        most, kept = float(np.nanmax(np.abs(quality.smd_after))), 100 * float(quality.share_kept.mean())
        worst = max(worst, most)
        parts.append(f"{' with '.join(pair)}: mean log-odds differ by up to {most:.3f} SD, {kept:.0f} % have a partner")
    parts = parts or ["no adversarial input has a partner"]
    detail = "; ".join([*parts, f"expected a difference of at most {BALANCED:g} SD"])
    return Check("matching.balanced", worst <= BALANCED, detail)


def _values(data: "xr.Dataset", name: str, population: str) -> np.ndarray:
    """A variable of one population over its valid examples, flat."""
    return data[name].sel(population=population).values[data.valid.sel(population=population).values]


# ---- the headline ----


def headline(table: Table, config) -> str:
    """The answer: adversarial beside genuine and boosted inputs at the headline's noise level and at equal confidence,
    and how many of all comparisons point where.

    Of a sweep, the primary comparison at each of its values.
    """
    if "flatness" not in config.measures:
        return "Input flatness was not measured; the other measures are among the estimates."
    here = main(np.asarray(config.flatness.levels), config)
    if len(kinds := strata_of(table)) > 1:
        return _headline_of_sweep(table, here, kinds)
    measured = table.select(population="adversarial", reference=[*BESIDE], **here)

    def beside(name: str, how: str) -> dict[str, Row]:
        return {row["reference"]: row for row in measured.select(name, matching=how)}

    if "boosted" not in beside(SCALE_FREE[0], "raw"):
        return "No comparison can be made: too few inputs are adversarial; see the checks and estimates."
    # As inputs were found, they differ in confidence as well: that alone decides nothing.
    how = "iso" if (alike := beside(SCALE_FREE[0], "iso")) else "raw"
    beyond = beside(BEYOND[SCALE_FREE][0], how)
    own = config.search.iso_log_odds == "clean"
    where = f"at {'the confidence of the clean image' if own else 'equal confidence'}"
    noise = f"{'' if here['noise'] == 'additive' else _said(here['noise']) + ' '}noise (r = {here['r']:.2g})"
    text = f"The landscape is {_side(beyond or alike) if alike else UNCLEAR} around adversarial inputs: "
    said = "as they were found, at unlike confidences, since too few inputs reached equal confidence, "
    reached = [f"{100 * row.get('share_kept', 1.0):.0f} %" for row in alike.values()]
    text += f"{where}, which {reached[0]} of them reach, " if alike else said
    text += f"{noise} takes {_of_margin(beyond or alike or beside(SCALE_FREE[0], 'raw'))}"
    text += ", beyond what it takes from linear classifiers with the same gradients." if beyond else "."
    return text + _range(specifications(table, here["r"])) + of_the_way(table)


def _side(rows: dict[str, Row]) -> str:
    """What the comparisons with both references say clearly."""
    signs = {np.sign(row["value"]) if row["low"] is None or row.excludes_zero else 0.0 for row in rows.values()}
    agree = len(signs) == 1 and {*rows} == {*BESIDE}
    return {1.0: "sharper", -1.0: "flatter"}.get(signs.pop(), UNCLEAR) if agree else UNCLEAR


def _of_margin(rows: dict[str, Row]) -> str:
    """How much more of the margin than around each reference."""
    parts = []
    for name, said in BESIDE.items():
        if name in rows:
            more = _more(rows[name]) if parts else f"{_more(rows[name], 'percentage points')} of the margin"
            parts.append(f"{more} than around {said}")
    return ", and ".join(parts)


def specifications(table: Table, r: float) -> list[Row]:
    """Adversarial minus genuine or boosted inputs at r, in every matching, measure and kind of noise."""
    names = [DROP[0], SCALE_FREE[0], *NOTHING_LINEAR]
    rows = table.select(names, population="adversarial", reference=[*BESIDE], matching=MATCHINGS, r=r)
    return [row for row in rows if row.get("noise")]


def _range(rows: Sequence[Row]) -> str:
    """How many of all comparisons clearly point where, and of those in which linear classifiers show nothing."""
    if not any(_clear(rows)):
        return ""
    text = f" Of all {len(rows)} comparisons under noise on the input (reference, matching, measure, kind of noise) "
    text += "{} say clearly sharper and {} clearly flatter".format(*_clear(rows))
    shares = [100 * row["value"] for row in rows if row["name"] in (SCALE_FREE[0], PRIMARY["name"])]
    if shares:
        text += f", those of the margin from {min(shares):z.1f} to {max(shares):z.1f} points"
    strict = [row for row in rows if row["name"] in NOTHING_LINEAR and row["matching"] != "raw"]
    if strict:
        text += f"; of the {len(strict)} in which linear classifiers show nothing "
        text += "{} say sharper and {} flatter".format(*_clear(strict))
    return text + "."


def _clear(rows: Sequence[Row]) -> tuple[int, int]:
    """How many are clearly above 0, and below."""
    signs = [np.sign(row["value"]) for row in rows if row.excludes_zero and abs(row["value"]) >= TINY]
    return signs.count(1.0), signs.count(-1.0)


def _said(noise: str) -> str:
    return noise.replace("_", " ")


def _headline_of_sweep(table: Table, here: dict, kinds: list[dict[str, float]]) -> str:
    """The primary comparison at each value of a sweep."""
    parts = []
    for kind in kinds:
        row = table.get(**PRIMARY, population="adversarial", reference="boosted", **here, **kind)
        parts.append(f"{'too few inputs' if row is None else f'{row.text(100.0)} points'} at {named(kind)}")
    return (
        f"Share of the margin that noise (r = {here['r']:.2g}) takes beyond linear around adversarial inputs, minus "
        f"that around boosted ones at equal confidence: {'; '.join(parts)}."
    )


def _more(e: Row, unit: str = "") -> str:
    """A difference in words, times 100: "2.7 [2.2, 3.1] points less"; what is not clear as "0.1 [-1.0, 1.2] more"."""
    sign = -1 if e["value"] < 0 and (e["low"] is None or e.excludes_zero) else 1
    ends = [] if e["low"] is None else sorted(100 * sign * e[end] for end in ("low", "high"))
    interval = f" [{ends[0]:z.1f}, {ends[1]:z.1f}]" if ends else ""
    return f"{100 * sign * e['value']:z.1f}{interval}{' ' * bool(unit)}{unit} {'less' if sign < 0 else 'more'}"
