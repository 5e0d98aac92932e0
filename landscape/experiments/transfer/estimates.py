"""The numbers of a transfer run, from its arrays alone: what is derived, declared, claimed, checked and said first.

Attackers are tried on one another: means over ordered pairs. Held-out classifiers and controls see the examples of all
attackers alike: one value each, the mean over attackers, who are taken as given. An image counts where every classifier
that has learned is right, unless a `condition` says otherwise.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from landscape.experiments.base import Check
from landscape.experiments.transfer import geometry_estimates
from landscape.experiments.transfer.config import MEMBERS
from landscape.experiments.tuning import RISE, outside
from landscape.stats.claims import estimate_dict
from landscape.stats.contrasts import LEAST_DISTINCT, Least
from landscape.stats.effective import Effective, effective_interval
from landscape.stats.intervals import Interval, interval, of_share
from landscape.stats.pseudo_values import pseudo_values
from landscape.stats.resampling import crossed_bootstrap
from landscape.stats.table import Design, Estimate, Row, Table, tabulate, verdicts
from landscape.stats.transfer import (
    CONDITIONS,
    chance_matrix,
    condition_mask,
    counts_if_independent,
    excess,
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
SHARES = ("wrong", "same", "different", "chance", "noise", "aim")
MAIN = "clean_correct"  # the condition of the headline and the figures
POPULATIONS = {"pixels": "adversarial", "manifold": "manifold"}
NORMS = {"linf": "L-inf", "l2": "L2"}
JOINT_NORM = "linf"  # of searches against all attackers
ENOUGH = Least(examples=LEAST_DISTINCT)  # images without which nothing is said
INSIDE = 1e-5  # of the radius: rounding in float32
SAME = 1e-6  # logits: margins of two classifiers that are copies
NAN = float("nan")


def derive(data: "xr.Dataset") -> "xr.Dataset":
    """All classifiers, with the role that statistics take them in, and the images that all which have learned know."""
    role = roles(data.role.values.astype(str), (data.validation_margin.values > 0).mean(axis=1), data.sizes["class"])
    data = data.assign_coords(role=("target", role, data.role.attrs))
    right = (data.clean_prediction == data.label).isel(target=learned(data)).all("target")
    return data.assign(right=right.assign_attrs(units="1"))


def roles(role: np.ndarray, accuracy: Float[np.ndarray, " T"], num_classes: int) -> np.ndarray:
    """What statistics take each target for: its role, "unlearned" where a trained one is hardly better than chance."""
    trained = np.isin(role, (ATTACKER, HELD_OUT))
    middle = LEARNED * np.median(accuracy[trained]) + (1 - LEARNED) / num_classes
    return np.where(trained & (accuracy < middle), UNLEARNED, role)


def places(data: "xr.Dataset", role: str) -> np.ndarray:
    """Places on the axis of targets (of attackers, on that of sources as well) of those with a role."""
    return np.flatnonzero(data.role.values == role)


def learned(data: "xr.Dataset") -> np.ndarray:
    """Places of the attackers, then the held-out classifiers, that have learned."""
    return np.concatenate([places(data, ATTACKER), places(data, HELD_OUT)])


def held_out_places(data: "xr.Dataset") -> np.ndarray:
    """Places on the axis `held_out` of those that have learned."""
    return np.flatnonzero(np.isin(data.held_out.values, places(data, HELD_OUT)))


def estimate(data: "xr.Dataset", config) -> Table:
    """The table of a run; a part that was not computed has no rows."""
    data = derive(data)
    pairs = outcomes_of(data)
    table = of_transfer(data, pairs) + of_attacks(data, pairs) + fooled_together(data, pairs)
    if "joint_wrong" in data:
        table += of_joint(data)
    if "guided_wrong" in data:
        table += of_guides(data, config)
    if "geometry_margin" in data:
        table += geometry_estimates.of_geometry(data, config, learned(data), places(data, ATTACKER))
    if "disagreement" in data:
        table += geometry_estimates.between(data, len(learned(data)))
    first = {"attack": data.attack.values[0], "condition": MAIN, "targets": ["attackers", "held_out"]}
    gain = {"name": "shared.held_out_gain", "budget": "steps"}
    gain["search"] = str(data.search.values[0]) if "search" in data else None
    claimed = [claim.size for claim in config.claims.values() if "size" in claim] or [config.guides.sizes[-2]]
    return table.headline_rows(
        {"name": [f"transfer.{one}" for one in ("wrong", "same", "chance")], **first},
        {**gain, "guidance": MEMBERS, "size": claimed},
        {**gain, "guidance": "ball"},
    )


# ---- what becomes of one classifier's examples at another ----


def outcomes_of(data: "xr.Dataset", conditions: Sequence[str] = CONDITIONS) -> "xr.Dataset":
    """What targets make of each source's examples, as values whose means are shares (see `stats.transfer`).

    Args:
      data: as `derive` gives it.

    Returns:
      wrong, same, different, noise, aim (attack, source, target, example); chance and same_beyond_chance (..., of the
      condition's images); own (attack, source, example): whether the source itself errs. common (attack, condition,
      example): the images that count for all sources that have learned. First flips are read where sources are fooled
      alone, since elsewhere they ended nowhere in particular: under other conditions no image counts.
    """
    import xarray as xr

    prediction, label = data.prediction.values.astype(int), data.label.values
    count, sources = data.sizes["source"], places(data, ATTACKER)
    own = prediction[:, np.arange(count), np.arange(count)]
    clean = data.clean_prediction.values[learned(data)]
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
    found |= {"noise": (pair, data.noise_wrong.values), "aim": (pair, prediction == data.aim.values)}
    found |= {"chance": (conditioned, chance), "common": (("attack", "condition", "example"), common)}
    found |= {"same_beyond_chance": (conditioned, (outcome == 1)[:, None] - chance)}
    found |= {"own": (("attack", "source", "example"), own != label), "right": ("example", data.right.values)}
    about = {name: data[name].variable for name in ("attack", "kind", "norm", "epsilon")}
    return xr.Dataset(found, about | {"condition": list(conditions)})


def of_transfer(data: "xr.Dataset", pairs: "xr.Dataset") -> Table:
    """Means of all outcomes by attack, condition and targets, over the images that all pairs have in common."""
    table = Table()
    sources, aimed = places(data, ATTACKER), pairs.kind.values == "targeted"
    for targets, role in TARGETS.items():
        part, design = pairs.isel(source=sources, target=places(data, role)), Design(support="common", least=ENOUGH)
        if not part.sizes["target"]:
            continue
        if targets == "attackers":
            design = design._replace(crossed=("source", "example"), target="target")
        else:
            part, design = part.mean("source"), design._replace(crossed=("target", "example"))
            part["common"] = pairs.common  # which is no mean
        names = [name for name in SHARES if name != "aim"]
        table += tabulate(part, _shares([*names, "same_beyond_chance"], targets), design)
        table += tabulate(part.isel(attack=aimed), _shares(["aim"], targets), design) if aimed.any() else Table()
    return table


def _shares(names: Sequence[str], targets: str) -> Iterator[Estimate]:
    for name in names:
        about = {"population": "noise" if name == "noise" else "adversarial", "targets": targets}
        by = ("attack", "condition")
        yield Estimate(f"transfer.{name}", name, where="", by=by, share=name in SHARES, unit="1", about=about)


def of_attacks(data: "xr.Dataset", pairs: "xr.Dataset") -> Table:
    """How often each source is fooled itself, and how alike the directions of attackers are.

    agreement.perturbation: cosine between two attackers' perturbations, and between noise of their norms: clipped to
    [0, 1], independent perturbations of one image agree too. agreement.gradient: of the gradients at the clean image.
    """
    sources, crossed = places(data, ATTACKER), ("source", "example")
    success = Estimate(
        "attack.success", "own", where="", by=("attack",), share=True, about={"population": "adversarial"}
    )
    own = pairs[["own", "right"]].isel(source=sources)
    table = tabulate(own, [success], Design(crossed, support="right", least=ENOUGH))
    cosines = data[["perturbation_cosine", "random_cosine", "gradient_cosine"]].isel(source=sources, other=sources)

    def mean(name: str, of: str, population: str, *by: str) -> Estimate:
        return Estimate(f"agreement.{name}", of, where="", by=by, about={"population": population})

    return table + tabulate(
        cosines,
        [
            mean("perturbation", "perturbation_cosine", "adversarial", "attack"),
            mean("perturbation", "random_cosine", "noise", "attack"),
            mean("gradient", "gradient_cosine", "clean"),
        ],
        Design(crossed, target="other"),
    )


def fooled_together(data: "xr.Dataset", pairs: "xr.Dataset") -> Table:
    """How many held-out classifiers an example fools, beside independence given their clean margins.

    shared.correlation: covariance of two held-out classifiers' being fooled beyond what their margins say, over its
    variance; 0 where they are independent given the margin, 1 for copies. shared.fooled_count: share of examples that
    fool `count` of them. Means over sources, of images on which every source is fooled.
    """
    held, rows = places(data, HELD_OUT), []
    for a in range(pairs.sizes["attack"]):
        one = pairs.isel(attack=a).sel(condition="source_fooled")
        common = one.common.values
        if common.sum() < LEAST_DISTINCT:
            continue
        about = {"examples": int(common.sum()), "unit": "1", **_about(one, "attack", "kind", "norm", "epsilon")}
        margin = data.clean_margin.values[held][:, common]
        beyond, seen, expected = [], [], []
        for s in places(data, ATTACKER):
            fooled = one.wrong.values[s][held][:, common]
            chance = expected_given_margin(fooled, margin)
            beyond.append(excess(fooled, chance))
            seen.append(np.bincount(fooled.sum(axis=0), minlength=len(held) + 1) / fooled.shape[1])
            expected.append(counts_if_independent(chance))
        found = correlation(np.mean(beyond, axis=0))
        if found is not None:
            rows.append(estimate_dict(found, "shared.correlation", population="adversarial", **about))
        for population, shares in (("adversarial", np.mean(seen, 0)), ("independent", np.mean(expected, 0))):
            for count, share in enumerate(shares):
                value = _alone(float(share), len(held))
                more = {"population": population, "count": count, **about}
                rows.append(estimate_dict(value, "shared.fooled_count", **more))
    return Table(tuple(map(Row, rows)))


def correlation(beyond: Float[np.ndarray, "T T N"]) -> Interval | None:
    """Ratio of the mean over pairs to the mean over the diagonal, the delta method's influence array.

    None where targets are fooled always, or never, and nothing varies.
    """
    own = beyond[np.arange(len(beyond)), np.arange(len(beyond))]
    if len(beyond) < 3 or own.mean() < 1e-12:
        return None
    pairs = pseudo_values(beyond)
    ratio = pairs.mean() / own.mean()
    return interval(ratio + (pairs - ratio * own) / own.mean())


# ---- searches that have all attackers to fool ----


def of_joint(data: "xr.Dataset") -> Table:
    """Shares of images on which all attackers are fooled at once, what held-out classifiers make of them, and radii."""
    attackers, held = places(data, ATTACKER), places(data, HELD_OUT)
    names = ["joint_wrong", "smallest_radius", "own_radius", "smallest_wrong"]
    right = data.right.values[: data.sizes["joint_example"]]
    joint = data[names].rename(ball="epsilon").drop_vars(["target", "role", "target_seed", "source"], errors="ignore")
    joint = joint.isel(joint_example=right)
    everyone = joint.joint_wrong.isel(target=attackers).all("target")
    part = joint[["joint_wrong"]].isel(target=held).assign(everyone=everyone)
    shown = {"where": "", "by": ("objective", "epsilon"), "share": True, "unit": "1"}
    shown["about"] = {"population": "joint", "norm": JOINT_NORM}
    table = tabulate(
        part,
        [
            Estimate("shared.attackers_fooled", "everyone", **shown),
            Estimate("shared.held_out_fooled", "joint_wrong", **shown),
        ],
        Design(("target", "joint_example"), least=ENOUGH),
    )
    largest = float(joint.epsilon.values[-1])
    return table + radii(joint.isel(source=attackers, target=held), largest) if table else table


def radii(joint: "xr.Dataset", largest: float) -> Table:
    """The median smallest radius that fools all attackers, that of each alone, and how far the first lies beyond.

    distance.beyond_hardest: mean over images of the radius that fools all, over the largest of those that fool each.
    """
    radius, own = joint.smallest_radius.values.astype(float), joint.own_radius.values.astype(float)
    about, rows = {"population": "joint", "norm": JOINT_NORM}, []
    for name, values in (("distance.radius_all", radius[None]), ("distance.radius_one", own)):
        value = censored_median(np.minimum(values, largest), largest)
        if value is not None:
            rows.append(estimate_dict(value, name, unit="pixels", **about))
    there = np.isfinite(radius)
    if there.sum() >= LEAST_DISTINCT:
        count = {"unit": "1", "examples": int(there.sum())}
        ratio = interval((radius[there] / own[:, there].max(axis=0))[None])
        rows.append(estimate_dict(ratio, "distance.beyond_hardest", **about, **count))
        fooled = interval(joint.smallest_wrong.values[:, there].astype(float))
        fooled = of_share(fooled, int(there.sum()))
        rows.append(estimate_dict(fooled, "shared.smallest_held_out_fooled", **about, **count))
    return Table(tuple(map(Row, rows)))


def censored_median(values: Float[np.ndarray, "S N"], largest: float) -> Interval | None:
    """Median of values censored at `largest`, with the crossed bootstrap; an end that is censored is NaN."""
    value = crossed_bootstrap(lambda s, n: weighted_median(values, s, n), *values.shape)
    if value.value >= largest:
        return None
    return value._replace(high=value.high if value.high < largest else NAN)


def weighted_median(values: np.ndarray, weight_members: np.ndarray, weight_images: np.ndarray) -> float:
    """The smallest of values [S, N] up to which half of the weight lies."""
    weights = np.outer(weight_members, weight_images).ravel()
    order = np.argsort(values.ravel())
    at = np.searchsorted(np.cumsum(weights[order]), 0.5 * weights.sum())
    return float(values.ravel()[order][min(at, len(order) - 1)])


# ---- searches guided by several classifiers, or by one with noise ----


def guided(data: "xr.Dataset") -> "xr.Dataset":
    """What guide sets reach, of the held-out classifiers that have learned and the images that all of them know."""
    right = data.right.values[: data.sizes["guided_example"]]
    names = ["guided_wrong", "block_wrong", "start_wrong"]
    found = data[names].isel(guided_example=right, held_out=held_out_places(data))
    return found.drop_vars(["held_out", "guided_example"]).astype(np.float64)


def of_guides(data: "xr.Dataset", config) -> Table:
    """Held-out success of every guide set, what it adds to a smaller one, and its equivalent ensemble size.

    Held-out classifiers are the units of what is paired: of J of them the smallest two-sided p of Wilcoxon's signed
    ranks is 2 / 2^J, which stands beside the difference with its interval.
    """
    found, table = guided(data), Table()
    if found.sizes["guided_example"] < LEAST_DISTINCT or not found.sizes["held_out"]:
        return table
    design = Design(("held_out", "guided_example"), least=ENOUGH)
    by = ("guide_set", "budget")
    for search in found.search.values.astype(str):
        shown = {"where": "", "share": True, "at": {"search": search}, "unit": "1"}
        success, population = "shared.held_out_success", POPULATIONS[search]
        reached = Estimate(success, "guided_wrong", by=by, about={"population": population}, **shown)
        start = Estimate(success, "start_wrong", about={"population": "start"}, **shown)
        table += tabulate(found, [start, reached], design)
        for budget in found.budget.values.astype(str):
            about = {"population": population, "search": search, "budget": budget}
            table += gains(found.sel(search=search, budget=budget), about)
        steps = found.sel(search=search, budget="steps")
        table += equivalent_sizes(steps, {"population": population, "search": search, "budget": "steps"}, config.seed)
    return table


def gains(one: "xr.Dataset", about: Mapping[str, Any]) -> Table:
    """Held-out success less that of a reference: of one member, for k noisy members of the same k."""
    from scipy import stats

    success, rows = one.guided_wrong.transpose("guide_set", "held_out", "guided_example").values, []
    guidance, sizes = one.guidance.values.astype(str), one["size"].values
    for g in range(1, len(success)):
        same = (guidance == MEMBERS) & (sizes == sizes[g])
        reference = int(np.flatnonzero(same)[0]) if guidance[g] == "members_ball" else 0
        change = success[g] - success[reference]
        means = change.mean(axis=1)
        p = float(stats.wilcoxon(means).pvalue) if len(means) > 1 and np.any(means != 0) else None
        paired = {"held_out_gaining": int((means > 0).sum()), "held_out": len(means), "wilcoxon_p": p}
        more = {"unit": "1", "reference": str(one.guide_set.values[reference]), **about, **_set(one, g), **paired}
        rows.append(estimate_dict(interval(change), "shared.held_out_gain", **more))
    return Table(tuple(map(Row, rows)))


def equivalent_sizes(one: "xr.Dataset", about: Mapping[str, Any], seed: int) -> Table:
    """How many members together guide as well as each other guide set; what lies beyond the sizes tried has no number.

    `text` says what is beyond: `<1 [<1, 1.4]`.
    """
    success = one.guided_wrong.transpose("guide_set", "held_out", "guided_example").values
    plain = one.guidance.values.astype(str) == MEMBERS
    sizes, rows = one["size"].values[plain], []
    for g in np.flatnonzero(~plain).tolist():
        found = effective_interval(sizes, success[plain], success[g], seed=seed)
        ends = [k if 0 < k < np.inf else NAN for k in found[:3]]
        value = Interval(*ends, NAN, NAN, *success.shape[1:], NAN, NAN, NAN)
        more = {"unit": "members", "text": size_text(found, sizes), **about, **_set(one, g)}
        rows.append(estimate_dict(value, "shared.equivalent_size", **more))
    return Table(tuple(map(Row, rows)))


def size_text(found: Effective | Sequence[float], sizes: np.ndarray) -> str:
    """`2.1 [1.4, 3.0]`, with `<1` and `>16` for what is beyond the sizes tried."""

    def one(k: float) -> str:
        return f"<{sizes[0]}" if k == 0 else f">{sizes[-1]}" if np.isinf(k) else f"{k:.1f}"

    value, low, high = (one(float(k)) for k in found[:3])
    return f"{value} [{low}, {high}]"


def _set(one: "xr.Dataset", g: int) -> dict[str, Any]:
    return _about(one.isel(guide_set=g), "guide_set", "guidance", "size")


def _about(one: "xr.Dataset", *names: str) -> dict[str, Any]:
    """Scalar coordinates as columns."""
    return {name: one[name].values.item() for name in names}


def _alone(value: float, members: int) -> Interval:
    """A value without an interval."""
    return Interval(value, NAN, NAN, NAN, NAN, members, 0, NAN, NAN, NAN)


# ---- claims, checks, headline ----


def claims(table: Table, config) -> list[dict]:
    """Verdicts on the config's claims: about the attack of the headline, or about the first guided search."""
    attack, search = first_attack(table), config.guides.searches[0]
    stated = {}
    for name, claim in config.claims.items():
        if "size" in claim:
            populations, radius = (f"{claim.size} members", "one member"), float(config[search].epsilon)
        else:
            populations, radius = ("adversarial", "chance"), attack["epsilon"]
        about = {"contrast": "difference", "populations": populations, "radius": radius}
        stated[name] = about | claim.to_dict()

    def where(claim: Mapping[str, Any]) -> dict[str, Any]:
        if "size" in claim:
            return {"search": search, "budget": claim["matching"], "guidance": MEMBERS, "size": claim["size"]}
        return {"attack": attack["attack"], "condition": claim["matching"], "targets": "attackers"}

    return verdicts(table, stated, where)


def first_attack(table: Table) -> Row:
    """A row of the attack of the headline, for its coordinates."""
    return next(row for row in table if row["name"] == "agreement.perturbation")


def checks(data: "xr.Dataset", table: Table, config) -> list[Check]:
    """Classifiers that have learned and are distinct, perturbations in their balls, attacks that bite, tuned steps."""
    data = derive(data)
    found = [_learned(data), _distinct(data), *_inside(data), *_order(data, table)]
    return found + (_tuned(data, table) if "guided_wrong" in data else [])


def _learned(data: "xr.Dataset") -> Check:
    """Classifiers hardly better than chance are named, and have been left out of all means."""
    without = places(data, UNLEARNED)
    accuracy = (data.validation_margin.values > 0).mean(axis=1)
    named = ", ".join(f"member {i} ({100 * accuracy[i]:.0f} %)" for i in without)
    detail = f"left out, with little more than chance on validation images: {named}" if named else "all have learned"
    return Check("members.learned", not named, detail)


def _distinct(data: "xr.Dataset") -> Check:
    """Copies would make every mistake the same and every seed count for nothing."""
    trained = ~np.isin(data.role.values, CONTROLS)
    margin = data.validation_margin.values[trained].astype(float)
    apart = np.abs(margin[:, None] - margin[None]).max(axis=-1)
    pairs = [f"{i} and {j}" for i, j in zip(*np.where(np.triu(apart <= SAME, 1)), strict=True)]
    detail = f"copies of one another: members {'; '.join(pairs)}" if pairs else "no two members are alike"
    return Check("members.distinct", not pairs, detail)


def _inside(data: "xr.Dataset") -> Iterator[Check]:
    for a, name in enumerate(data.attack.values.astype(str)):
        norm, epsilon = str(data.norm.values[a]), float(data.epsilon.values[a])
        most = float(data.perturbation_norm.values[a].max())
        detail = f"largest {norm} norm {most:.4g} in a ball of {epsilon:g}"
        yield Check(f"{name}.inside", most <= epsilon * (1 + INSIDE), detail)


def _order(data: "xr.Dataset", table: Table) -> Iterator[Check]:
    """A source is fooled more often than others, and they more often than by noise of the same norm."""
    for name in data.attack.values[data.kind.values == "full"].astype(str):
        at = {"attack": name, "condition": MAIN, "targets": "attackers"}
        rows = [table.get("attack.success", attack=name)]
        rows += [table.get(f"transfer.{one}", **at) for one in ("wrong", "noise")]
        if None in rows:
            continue
        own, wrong, noise = (row["value"] for row in rows)
        detail = f"fooled: sources {100 * own:.1f} %, others {100 * wrong:.1f} %, by noise {100 * noise:.1f} %"
        yield Check(f"{name}.order", own >= wrong >= noise, detail)


def _tuned(data: "xr.Dataset", table: Table) -> list[Check]:
    """Whether step sizes lie inside their grid, and whether more guides do better at all: of copies they do not."""
    tuning = data.tuning.transpose("step_size", *(dim for dim in data.tuning.dims if dim != "step_size")).values
    ends = outside(tuning.reshape(len(tuning), -1))
    detail = f"{len(ends)} of {tuning[0].size} guide sets, searches and budgets gain {RISE:g} logits or more at an end"
    found = [Check("guides.tuned", not len(ends), f"{detail} of the grid")]
    for search in data.search.values.astype(str):
        rows = [*table.select("shared.held_out_success", search=search, budget="steps", guidance=MEMBERS)]
        if rows:
            sizes = ", ".join(str(row["size"]) for row in rows)
            shares = ", ".join(f"{100 * row['value']:.1f}" for row in rows)
            detail = f"held-out success of {sizes} members: {shares} %"
            found.append(Check(f"guides.{search}.rises", rows[-1]["value"] > rows[0]["value"], detail))
    return found


def headline(table: Table, config) -> str:
    """Transfer of the first attack, same mistakes beside chance, equivalent size of noise, joint searches."""
    attack = first_attack(table)
    at = {"attack": attack["attack"], "condition": MAIN}

    def share(name: str, targets: str = "attackers") -> str:
        return percent(table.get(f"transfer.{name}", targets=targets, **at))

    where = f"{NORMS[attack['norm']]} {attack['epsilon']:g}"
    text = (
        f"An adversarial example of one classifier ({where}) fools another one in {share('wrong')} of the cases; in "
        f"{share('same')} both make the same mistake, and by chance they would in {share('chance')}."
    )
    if config.held_out_model.to_dict() != config.model.to_dict():
        text += f" It fools classifiers of another architecture in {share('wrong', 'held_out')}."
    search = config.guides.searches[0]
    size = table.get("shared.equivalent_size", guidance="ball", search=search, budget="steps")
    if size is not None:
        text += (
            " For fooling held-out classifiers, one guide with noise on its weights equals an ensemble of "
            f"{size['text']} guides."
        )
    joint = [*table.select("shared.held_out_fooled", norm=attack["norm"], epsilon=attack["epsilon"])]
    if joint:
        best = max(joint, key=lambda row: row["value"])
        about = {"objective": best["objective"], "epsilon": best["epsilon"]}
        everyone = table.one("shared.attackers_fooled", **about)
        text += (
            f" A search against all {config.num_attackers} attackers at once fools them all on {percent(everyone)} of "
            f"the images, and held-out classifiers in {percent(best)} of the cases."
        )
    return text


def percent(row: Row | None) -> str:
    """A share in per cent with its interval where it has one."""
    return "an unknown share (too few images)" if row is None else f"{row.text(100.0)} %"
