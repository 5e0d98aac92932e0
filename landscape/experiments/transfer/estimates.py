"""The numbers of a transfer run, from its arrays alone: what is derived, declared, claimed, checked and said first.

Attackers are tried on one another: means over ordered pairs. Held-out classifiers and controls see the examples of all
attackers alike: one value each, the mean over attackers, who are taken as given. An image counts where every classifier
that has learned is right, unless a `condition` says otherwise. Of a sweep everything is estimated at each of its values
(dim `training`), among the classifiers that were trained with it.

An adversarial example, on which its source errs, is *unshared* where every held-out classifier is right and *shared*
where every one errs; *joint* where it comes of the search that had all attackers to fool and is shared in that sense.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from landscape.experiments import measured
from landscape.experiments.base import Check, by_stratum, named, strata, strata_of
from landscape.experiments.transfer import INPUTS
from landscape.experiments.transfer.config import MEMBERS, Attack, attacks_of
from landscape.experiments.tuning import RISE, outside
from landscape.presets.names import ISO_TOLERANCE
from landscape.stats.claims import estimate_dict
from landscape.stats.contrasts import LEAST_DISTINCT, Least
from landscape.stats.duplicates import duplicate_check
from landscape.stats.effective import Effective, effective_interval
from landscape.stats.intervals import Interval, interval
from landscape.stats.resampling import crossed_bootstrap
from landscape.stats.table import Design, Estimate, Row, Table, tabulate, verdicts
from landscape.stats.transfer import (
    CONDITIONS,
    chance_matrix,
    condition_mask,
    counts_if_independent,
    expected_given_margin,
    outcomes,
)

if TYPE_CHECKING:
    import xarray as xr  # imported where it is used: half a second

ATTACKER, HELD_OUT, UNLEARNED = "attacker", "held_out", "unlearned"
CONTROLS = ("untrained", "shuffled")
TARGETS = {"attackers": ATTACKER, "held_out": HELD_OUT, **{name: name for name in CONTROLS}}  # who an example meets
# A classifier has learned if its accuracy is above this share of the way from chance to the median of the trained ones.
LEARNED = 0.5
SHARES = ("wrong", "same", "different", "chance", "noise")
MAIN = "clean_correct"  # the condition of the headline and the figures
NORMS = {"linf": "L-inf", "l2": "L2"}
JOINT = {"population": "joint", "norm": "linf", "given": "these attackers"}  # searches against them all
GUIDED = {"population": "adversarial", "given": "these guides"}
ATTACK = Attack._fields  # coordinates that name an attack
ENOUGH = Least(examples=LEAST_DISTINCT)  # images without which nothing is said
INSIDE = 1e-5  # of the radius: rounding in float32
NAN = float("nan")

SOURCE = {  # population of local geometry: the input it is taken from
    "genuine": "clean",
    "unshared": "own",
    "shared": "own",
    "joint": "joint",
    "unshared_iso": "own_iso",
    "shared_iso": "own_iso",
    "joint_iso": "joint_iso",
}
MEANS = ("genuine", "unshared", "shared", "joint")
PAIRS = (("shared", "unshared"), ("joint", "unshared"))
TWINS = {name: f"{name}_iso" for name in MEANS[1:]}
MEASURES = {  # name: (variable, per)
    "input_flatness.probability_drop": ("input_probability_drop", ""),
    "input_flatness.scale_free": ("input_margin_drop", "margin"),
    "input_flatness.worst_margin_drop": ("worst_margin_drop", ""),
    "curvature.gradient_norm": ("gradient_norm", ""),
    "curvature.hessian_top": ("hessian_top", ""),
    "confidence.log_odds": ("log_odds", ""),
    "distance.l2": ("delta_l2", ""),
    "distance.manifold": ("manifold", ""),
    "distance.nearest_training": ("nearest", ""),
    "purity.true_class": ("nearest_true", ""),
    "purity.predicted_class": ("nearest_taken", ""),
}
ARCHITECTURE = ("name", "norm", "activation", "stem")  # of a model


def derive(data: "xr.Dataset") -> "xr.Dataset":
    """All classifiers, with the role that statistics take them in, and the images that all which have learned know.

    A trained classifier that is hardly better than chance on validation images has the role "unlearned".
    """
    accuracy = (data.validation_margin > 0).mean("validation_example")
    trained = data.role.isin((ATTACKER, HELD_OUT))
    least = LEARNED * accuracy.where(trained).median("target") + (1 - LEARNED) / data.sizes["class"]
    role = data.role.astype(object).where(~trained | (accuracy >= least), UNLEARNED).astype(str)
    right = ((data.clean_prediction == data.label) | ~role.isin((ATTACKER, HELD_OUT))).all("target")
    return data.assign_coords(role=role.drop_attrs()).assign(right=right.assign_attrs(units="1"))


def of_one(training: "xr.Dataset") -> "xr.Dataset":
    """The arrays of a stratum without the dim of trainings, of which it has one."""
    return training.isel(training=0, drop=True)


def positions(data: "xr.Dataset", *roles: str) -> np.ndarray:
    """Positions on the axis of targets (of attackers, on that of sources too) of those with a role, in their order."""
    return np.concatenate([np.flatnonzero(data.role.values == role) for role in roles])


def estimate(data: "xr.Dataset", config) -> Table:
    """The table of a run; a part that was not computed has no rows."""
    table = by_stratum(derive(data), lambda training: _of_training(of_one(training), config))
    first = attacks_of(config)[0]._asdict()
    gain = {"name": "shared.held_out_gain", "budget": "steps"}
    claimed = [claim.size for claim in config.claims.values() if "size" in claim] or [config.guides.sizes[-2]]
    return table.headline_rows(
        {"name": [f"transfer.{one}" for one in ("wrong", "same", "chance")]}
        | {"condition": MAIN, "targets": ["attackers", "held_out"], **first},
        {**gain, "guidance": MEMBERS, "size": claimed},
        {**gain, "guidance": "ball"},
    )


def _of_training(data: "xr.Dataset", config) -> Table:
    """The table of one kind of training. Coordinates name attacks and guide sets, not their numbers."""
    pairs = outcomes_of(data)
    table = of_transfer(data, pairs) + of_attacks(data, pairs) + fooled_together(data, pairs)
    if "joint_wrong" in data:
        table += of_joint(data)
    if "guided_wrong" in data:
        table += of_guides(data, config)
    if "geometry_margin" in data:
        table += of_geometry(data, config)
    if "disagreement" in data:
        table += of_lines(data)
    numbers = ("attack", "guide_set")
    return Table(tuple(Row({name: row[name] for name in row if name not in numbers}) for row in table))


# ---- what becomes of one classifier's examples at another ----


def outcomes_of(data: "xr.Dataset", conditions: Sequence[str] = CONDITIONS) -> "xr.Dataset":
    """What targets make of each source's examples, as values whose means are shares (see `stats.transfer`).

    Args:
      data: of one kind of training, as `derive` gives it.

    Returns:
      wrong, same, different, noise (attack, source, target, example); chance and same_beyond_chance (..., of the
      condition's images): a same mistake that there is nothing to compare with counts as one by chance; own (attack,
      source, example): whether the source itself errs. common (attack, condition, example): the images that count for
      all sources that have learned. First flips are read where sources are fooled alone, since elsewhere they ended
      nowhere in particular: under other conditions no image counts.
    """
    import xarray as xr

    prediction, label = data.prediction.values.astype(int), data.label.values
    count, sources = data.sizes["source"], positions(data, ATTACKER)
    own = prediction[:, np.arange(count), np.arange(count)]
    clean = data.clean_prediction.values[positions(data, ATTACKER, HELD_OUT)]
    outcome = outcomes(own[:, :, None], prediction, label)
    common = np.zeros((len(own), len(conditions), len(label)), bool)
    chance = np.zeros((len(own), len(conditions), *prediction.shape[1:]))
    for a, c in np.ndindex(common.shape[:2]):
        if data.kind.values[a] == "first_flip" and conditions[c] != "source_fooled":
            continue
        mask = condition_mask(conditions[c], clean, own[a], label)
        common[a, c] = mask[sources].all(axis=0)
        chance[a, c] = chance_matrix(own[a], prediction[a], label, np.broadcast_to(common[a, c], mask.shape))
    pair = ("attack", "source", "target", "example")
    conditioned = ("attack", "condition", *pair[1:])
    found = {"wrong": (pair, outcome != 0), "same": (pair, outcome == 1), "different": (pair, outcome == 2)}
    same = (outcome == 1)[:, None]
    chance = np.where(np.isnan(chance), same, chance)
    found |= {"noise": (pair, data.noise_wrong.values), "chance": (conditioned, chance)}
    found |= {"same_beyond_chance": (conditioned, same - chance)}
    found |= {"common": (("attack", "condition", "example"), common)}
    found |= {"own": (("attack", "source", "example"), own != label), "right": ("example", data.right.values)}
    about = {name: data[name].variable for name in ATTACK}
    return xr.Dataset(found, about | {"condition": list(conditions)})


def of_transfer(data: "xr.Dataset", pairs: "xr.Dataset") -> Table:
    """Means of all outcomes by attack, condition and targets, over the images that all pairs have in common."""
    table = Table()
    for targets, role in TARGETS.items():
        part = pairs.isel(source=positions(data, ATTACKER), target=positions(data, role))
        design = Design(("source", "example"), target="target", support="common", least=ENOUGH)
        if targets != "attackers":
            part = part.mean("source").assign(common=pairs.common)  # which is no mean
            design = design._replace(crossed=("target", "example"), target="")
        declared = [
            Estimate(
                f"transfer.{name}",
                name,
                where="",
                by=("attack", "condition"),
                share=name in SHARES,
                unit="1",
                about={"population": "noise" if name == "noise" else "adversarial", "targets": targets},
            )
            for name in (*SHARES, "same_beyond_chance")
        ]
        table += tabulate(part, declared, design) if part.sizes["target"] else Table()
    return table


def of_attacks(data: "xr.Dataset", pairs: "xr.Dataset") -> Table:
    """How often each source is fooled itself."""
    about = {"population": "adversarial"}
    success = Estimate("attack.success", "own", where="", by=("attack",), share=True, about=about)
    own = pairs[["own", "right"]].isel(source=positions(data, ATTACKER))
    return tabulate(own, [success], Design(("source", "example"), support="right", least=ENOUGH))


def fooled_together(data: "xr.Dataset", pairs: "xr.Dataset") -> Table:
    """Share of examples that fool `count` held-out classifiers, beside independence given their clean margins.

    Means over sources, of images on which every source is fooled.
    """
    held, rows = positions(data, HELD_OUT), []
    for a in range(pairs.sizes["attack"]):
        one = pairs.isel(attack=a).sel(condition="source_fooled")
        common = one.common.values
        if common.sum() < LEAST_DISTINCT:
            continue
        margin = data.clean_margin.values[held][:, common]
        fooled = [one.wrong.values[s][held][:, common] for s in positions(data, ATTACKER)]
        shares = {
            "adversarial": [np.bincount(f.sum(axis=0), minlength=len(held) + 1) / f.shape[1] for f in fooled],
            "independent": [counts_if_independent(expected_given_margin(f, margin)) for f in fooled],
        }
        about = {"examples": int(common.sum()), "unit": "1", **_about(one, *ATTACK)}
        for population, found in shares.items():
            for count, share in enumerate(np.mean(found, axis=0).tolist()):
                alone = Interval(share, NAN, NAN, NAN, NAN, len(held), 0, NAN, NAN, NAN)
                more = {"population": population, "count": count, **about}
                rows.append(estimate_dict(alone, "shared.fooled_count", **more))
    return Table(tuple(map(Row, rows)))


def _about(one: "xr.Dataset", *names: str) -> dict[str, Any]:
    """Scalar coordinates as columns."""
    return {name: one[name].values.item() for name in names}


# ---- searches that have all attackers to fool ----


def of_joint(data: "xr.Dataset") -> Table:
    """Shares of images on which all attackers are fooled at once, what held-out classifiers make of them, and radii."""
    right = data.right.values[: data.sizes["joint_example"]]
    joint = data[["joint_wrong", "smallest_radius", "own_radius"]].rename(ball="epsilon").isel(joint_example=right)
    wrong = joint.joint_wrong.drop_vars(["target", "role"], errors="ignore")
    everyone = wrong.isel(target=positions(data, ATTACKER)).all("target")
    part = wrong.isel(target=positions(data, HELD_OUT)).to_dataset().assign(everyone=everyone)
    shown = {"where": "", "by": ("objective", "epsilon"), "share": True, "unit": "1", "about": JOINT}
    declared = [
        Estimate("shared.attackers_fooled", "everyone", **shown),
        Estimate("shared.held_out_fooled", "joint_wrong", **shown),
    ]
    table = tabulate(part, declared, Design(("target", "joint_example"), least=ENOUGH))
    if not table:
        return table
    largest, rows = float(joint.epsilon.values[-1]), []
    own = joint.own_radius.values[positions(data, ATTACKER)]
    for name, radius in (("distance.radius_all", joint.smallest_radius.values[None]), ("distance.radius_one", own)):
        value = censored_median(radius.astype(float), largest)
        rows += [] if value is None else [Row(estimate_dict(value, name, unit="pixels", **JOINT))]
    return table + Table(tuple(rows))


def censored_median(values: Float[np.ndarray, "S N"], largest: float) -> Interval | None:
    """Median of values censored at `largest`, with the crossed bootstrap; an end that is censored is NaN."""
    shape, values = values.shape, np.minimum(values, largest).ravel()
    order = np.argsort(values)

    def median(members: np.ndarray, images: np.ndarray) -> np.ndarray:
        below = np.cumsum((members[:, :, None] * images[:, None, :]).reshape(len(members), -1)[:, order], axis=1)
        return values[order[np.argmax(below >= 0.5 * below[:, -1:], axis=1)]]

    value = crossed_bootstrap(median, *shape)
    if value.value >= largest:
        return None
    return value._replace(high=value.high if value.high < largest else NAN)


# ---- searches guided by several classifiers, or by one with noise ----


def guided(data: "xr.Dataset") -> "xr.Dataset":
    """What guide sets reach, of the held-out classifiers that have learned and the images that all of them know."""
    right = data.right.values[: data.sizes["guided_example"]]
    there = np.isin(data.held_out.values, positions(data, HELD_OUT))
    found = data[["guided_wrong", "block_wrong"]].isel(guided_example=right, held_out=there)
    return found.drop_vars(["held_out", "guided_example"]).astype(np.float64)


def of_guides(data: "xr.Dataset", config) -> Table:
    """Held-out success of every guide set, what it adds to a smaller one, and its equivalent ensemble size.

    Held-out classifiers are the units of what is paired: of J of them the smallest two-sided p of Wilcoxon's signed
    ranks is 2 / 2^J, which stands beside the difference with its interval.
    """
    found, table = guided(data), Table()
    if found.sizes["guided_example"] < LEAST_DISTINCT or not found.sizes["held_out"]:
        return table
    shown = {"where": "", "by": ("guide_set", "budget"), "share": True, "unit": "1"}
    reached = Estimate("shared.held_out_success", "guided_wrong", about=GUIDED, **shown)
    table += tabulate(found, [reached], Design(("held_out", "guided_example"), least=ENOUGH))
    for budget in found.budget.values.astype(str):
        about = {"budget": budget, **GUIDED}
        one = found.sel(budget=budget).transpose("guide_set", "held_out", "guided_example", ...)
        rows = [*gains(one, about), *(equivalent_sizes(one, about, config.seed) if budget == "steps" else ())]
        table += Table(tuple(map(Row, rows)))
    return table


def gains(one: "xr.Dataset", about: Mapping[str, Any]) -> Iterator[dict]:
    """Held-out success less that of a reference: of one member, for k noisy members of the same k."""
    from scipy import stats

    success, guidance, sizes = one.guided_wrong.values, one.guidance.values.astype(str), one["size"].values
    for g in range(1, len(success)):
        size = sizes[g] if guidance[g] == "members_ball" else 1
        (reference,) = np.flatnonzero((guidance == MEMBERS) & (sizes == size))
        change = success[g] - success[reference]
        means = change.mean(axis=1)
        p = float(stats.wilcoxon(means).pvalue) if len(means) > 1 and np.any(means != 0) else None
        paired = {"held_out_gaining": int((means > 0).sum()), "held_out": len(means), "wilcoxon_p": p}
        more = {"unit": "1", "reference": f"{MEMBERS}.{size}", **about, **paired}
        more |= _about(one.isel(guide_set=g), "guidance", "size")
        yield estimate_dict(interval(change), "shared.held_out_gain", **more)


def equivalent_sizes(one: "xr.Dataset", about: Mapping[str, Any], seed: int) -> Iterator[dict]:
    """How many members together guide as well as each other guide set; what lies beyond the sizes tried has no number.

    `text` says what is beyond: `<1 [<1, 1.4]`.
    """
    success, plain = one.guided_wrong.values, one.guidance.values.astype(str) == MEMBERS
    sizes = one["size"].values[plain]
    for g in np.flatnonzero(~plain).tolist():
        found = effective_interval(sizes, success[plain], success[g], seed=seed)
        ends = [k if 0 < k < np.inf else NAN for k in found[:3]]
        value = Interval(*ends, NAN, NAN, *success.shape[1:], NAN, NAN, NAN)
        more = {"unit": "members", "text": size_text(found, sizes), **about}
        more |= _about(one.isel(guide_set=g), "guidance", "size")
        yield estimate_dict(value, "shared.equivalent_size", **more)


def size_text(found: Effective | Sequence[float], sizes: np.ndarray) -> str:
    """`2.1 [1.4, 3.0]`, with `<1` and `>16` for what is beyond the sizes tried."""

    def one(k: float) -> str:
        return f"<{sizes[0]}" if k == 0 else f">{sizes[-1]}" if np.isinf(k) else f"{k:.1f}"

    value, low, high = (one(float(k)) for k in found[:3])
    return f"{value} [{low}, {high}]"


# ---- what shared examples are like beside unshared ones ----


def by_population(data: "xr.Dataset", iso_log_odds: float) -> "xr.Dataset":
    """The attackers' values by population, with who belongs to it.

    Args:
      data: of one kind of training, as `derive` gives it. iso_log_odds: those of steered inputs, nats.

    Returns:
      Measures (source, population, geometry_example) without their prefix, and NAME_change, less the clean image's.
      valid: who belongs. right: the images that count. among: those that a population's examples are a share of.
    """
    import xarray as xr

    names = [str(name) for name in data if str(name).startswith("geometry_")]
    inputs = data[names].rename({name: name.removeprefix("geometry_") for name in names})
    at = [data.input.values.tolist().index(name) for name in SOURCE.values()]
    there = np.isin(data.held_out.values, positions(data, HELD_OUT))
    inputs = inputs.drop_vars([*inputs.coords]).isel(source=positions(data, ATTACKER), held_out=there)
    right, label = (
        xr.DataArray(data[name].values[: inputs.sizes["geometry_example"]], dims="geometry_example")
        for name in ("right", "label")
    )

    def populations(values):
        return values.isel(input=at).rename(input="population").assign_coords(population=list(SOURCE))

    measures = inputs[[*dict.fromkeys(name for of in MEASURES.values() for name in of if name in inputs)]].astype(
        np.float64
    )
    changes = {f"{n}_change": (v - v.isel(input=0)).assign_attrs(v.attrs) for n, v in measures.items()}
    found = populations(measures.assign(changes).assign(prediction=inputs.prediction))
    fooled = right & (found.prediction != label)
    none, every = (populations(one) for one in (~inputs.wrong.any("held_out"), inputs.wrong.all("held_out")))
    names = xr.DataArray(list(SOURCE), dims="population")
    valid = xr.where(names == "genuine", right, fooled & xr.where(names == "unshared", none, every))
    bases = [name.removesuffix("_iso") for name in SOURCE]
    steered = names != bases
    base = valid.sel(population=bases).assign_coords(population=list(SOURCE))
    reached = np.abs(found.log_odds - iso_log_odds) <= ISO_TOLERANCE  # and still an error of its source
    valid = xr.where(steered, base & fooled & reached, valid)
    return found.assign(valid=valid, right=right, among=xr.where(steered, base, right))


def of_measures(data: "xr.Dataset", config) -> Table:
    """The rows of `config.measures`, of each population of local geometry."""
    dims = (INPUTS[0], "population", INPUTS[2])

    def one(training: "xr.Dataset") -> Table:
        one = of_one(training)
        valid = by_population(one, config.geometry.iso_log_odds).valid
        at = [one.input.values.tolist().index(name) for name in SOURCE.values()]
        own = one.isel(source=positions(one, ATTACKER), input=at).rename(input="population")
        return measured.table(own.assign_coords(population=list(SOURCE)), valid, dims)

    return by_stratum(derive(data), one)


def of_geometry(data: "xr.Dataset", config) -> Table:
    """Means of each measure in each population, differences in all comparisons, and how many examples there are."""
    found = by_population(data, config.geometry.iso_log_odds)
    about = {"norm": "linf", "epsilon": attacks_of(config)[0].epsilon}
    design = Design(("source", "geometry_example"), twins=TWINS, paired=False)
    table = tabulate(found, _geometry(found, about), design)
    return Table(tuple(row for row in table if row["low"] is not None))  # of fewer examples nothing is said


def _geometry(data: "xr.Dataset", about: dict) -> Iterator[Estimate]:
    """Counts, then every measure that there is."""
    for name, groups in (("shared.belonging", MEANS[1:]), ("shared.reached_log_odds", TWINS.values())):
        yield Estimate(name, "valid", where="among", groups=[*groups], share=True, about=about)
    for name, (of, per) in MEASURES.items():
        if of not in data:
            continue
        yield Estimate(name, of, per, groups=MEANS, share=name.startswith("purity"), about=about)
        for matching in ("raw", "iso", "matched"):
            yield Estimate(name, of, per, versus=PAIRS, matching=matching, about=about)
        if not per:
            yield Estimate(name, f"{of}_change", versus=PAIRS, about=about | {"matching": "change"})


def of_lines(data: "xr.Dataset") -> Table:
    """Disagreement along lines and at its largest on each, over pairs of images; the classifiers are as given."""
    apart = data[["disagreement"]].astype(np.float64)
    if apart.sizes["pair"] < LEAST_DISTINCT:
        return Table()
    peaks = apart.rename(disagreement="peak").max("step", keep_attrs=True).rename(space="population")
    design, members = Design(("member", "pair")), len(positions(data, ATTACKER, HELD_OUT))
    along = Estimate("path.disagreement", "disagreement", where="", by=("space", "step"))
    largest = partial(Estimate, "path.largest_disagreement", "peak", where="")
    table = tabulate(apart, [along], design)
    table += tabulate(peaks, [largest(), largest(versus=[("manifold", "pixels")])], design)
    return Table(tuple(Row(row, members=members) for row in table))


# ---- claims, checks, headline ----


def claims(table: Table, config) -> list[dict]:
    """Verdicts on the config's claims: about the attack of the headline, or about guided searches."""
    attack = attacks_of(config)[0]._asdict()
    stated = {}
    for name, claim in config.claims.items():
        about = {"populations": ("adversarial", "chance"), "radius": attack["epsilon"]}
        if "size" in claim:
            about = {"populations": (f"{claim.size} members", "one member"), "radius": float(config.pixels.epsilon)}
        stated[name] = {"contrast": "difference", **about, **claim.to_dict()}

    def where(claim: Mapping[str, Any]) -> dict[str, Any]:
        if "size" in claim:
            return {"budget": claim["matching"], "guidance": MEMBERS, "size": claim["size"]}
        return {**attack, "condition": claim["matching"], "targets": "attackers"}

    return verdicts(table, stated, where, strata_of(table))


def checks(data: "xr.Dataset", table: Table, config) -> list[Check]:
    """Classifiers that have learned and are distinct, perturbations in their balls, attacks that bite, tuned steps.

    Of a sweep the first value at which a check fails stands for all.
    """
    found: dict[str, Check] = {}
    for coords, training in strata(derive(data)):
        for check in _checks(of_one(training), table.select(**coords)):
            if check.name not in found or (found[check.name].passed and not check.passed):
                detail = f"{named(coords)}: {check.detail}" if coords else check.detail
                found[check.name] = check._replace(detail=detail)
    return [*found.values()]


def _checks(data: "xr.Dataset", table: Table) -> Iterator[Check]:
    accuracy = (data.validation_margin.values > 0).mean(axis=1)
    without = ", ".join(f"member {i} ({100 * accuracy[i]:.0f} %)" for i in positions(data, UNLEARNED))
    detail = f"expected all to learn; left out, with little more than chance on validation images: {without}"
    yield Check("members.learned", not without, detail if without else "all have learned, as is expected")
    # Copies would make every mistake the same and every seed count for nothing.
    yield Check(**duplicate_check(data.validation_margin.values[~np.isin(data.role.values, CONTROLS)]))
    for a in range(data.sizes["attack"]):
        attack = _about(data.isel(attack=a), *ATTACK)
        kind, norm, epsilon = attack.values()
        most = float(data.perturbation_norm.values[a].max())
        detail = f"largest {norm} norm {most:.4g}; expected at most {epsilon:g}"
        yield Check(f"{kind}.{norm}.{epsilon:g}.inside", most <= epsilon * (1 + INSIDE), detail)
        rows = [table.get("attack.success", **attack)]
        # A first flip ends nowhere in particular where its source is not fooled.
        condition = "source_fooled" if kind == "first_flip" else MAIN
        at = {"condition": condition, "targets": "attackers", **attack}
        rows += [table.get(f"transfer.{one}", **at) for one in ("wrong", "noise")]
        if None not in rows:
            own, wrong, noise = (row["value"] for row in rows)
            detail = f"fooled: sources {100 * own:.1f} %, others {100 * wrong:.1f} %, by noise {100 * noise:.1f} %"
            detail += "; expected none to be above the one before"
            yield Check(f"{kind}.{norm}.{epsilon:g}.order", own >= wrong >= noise, detail)
    if "guided_wrong" in data:
        yield from _tuned(data, table)


def _tuned(data: "xr.Dataset", table: Table) -> Iterator[Check]:
    """Whether step sizes lie inside their grid, and whether more guides do better at all: of copies they do not."""
    tuning = data.tuning.transpose("step_size", ...).values
    ends = outside(tuning.reshape(len(tuning), -1))
    detail = (
        f"{len(ends)} of {tuning[0].size} guide sets and budgets gain {RISE:g} logits or more at an end of the grid of "
        "step sizes; expected none"
    )
    yield Check("guides.tuned", not len(ends), detail)
    rows = [*table.select("shared.held_out_success", budget="steps", guidance=MEMBERS)]
    if rows:
        sizes = ", ".join(str(row["size"]) for row in rows)
        shares = ", ".join(f"{100 * row['value']:.1f}" for row in rows)
        detail = f"held-out success of {sizes} members: {shares} %; expected the last to be above the first"
        yield Check("guides.rises", rows[-1]["value"] > rows[0]["value"], detail)


def headline(table: Table, config) -> str:
    """Transfer of the first attack, same mistakes beside chance, equivalent size of noise.

    Of a sweep, transfer at each of its values.
    """
    attack = attacks_of(config)[0]._asdict()
    example = f"An adversarial example of one classifier ({NORMS[attack['norm']]} {attack['epsilon']:.3g})"

    def share(name: str, targets: str = "attackers", **kind: float) -> str:
        return percent(table.get(f"transfer.{name}", targets=targets, condition=MAIN, **attack, **kind))

    if len(kinds := strata_of(table)) > 1:
        parts = (f"{share('wrong', **kind)} at {named(kind)}" for kind in kinds)
        return f"{example} fools another one of the same training in {'; '.join(parts)} of the cases."
    text = (
        f"{example} fools another one in {share('wrong')} of the cases; in {share('same')} both make the "
        f"same mistake, and by chance they would in {share('chance')}."
    )
    if any(config.held_out_model.get(name) != config.model.get(name) for name in ARCHITECTURE):
        text += f" It fools classifiers of another architecture in {share('wrong', 'held_out')}."
    size = table.get("shared.equivalent_size", guidance="ball", budget="steps")
    if size is not None:
        text += (
            " For fooling held-out classifiers, one guide with noise on its weights equals an ensemble of "
            f"{size['text']} guides."
        )
    return text


def percent(row: Row | None) -> str:
    """A share in per cent with its interval where it has one."""
    return "an unknown share (too few images)" if row is None else f"{row.text(100.0)} %"
