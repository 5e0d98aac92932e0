"""The numbers of a neighbors run, from its arrays alone: classes of neighbours, detection, moves, pairs of members."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float

from landscape.experiments import measured
from landscape.experiments.base import Check, by_stratum, first_stratum, of_members, strata_of
from landscape.experiments.neighbors import INPUT
from landscape.stats.claims import estimate_dict
from landscape.stats.contrasts import separation
from landscape.stats.duplicates import distinct_members, duplicate_check
from landscape.stats.intervals import MIN_MEMBERS, Interval
from landscape.stats.resampling import crossed_bootstrap, one_by_one
from landscape.stats.table import Design, Estimate, Row, Table, tabulate, verdicts

if TYPE_CHECKING:
    import xarray as xr  # imported where it is used: half a second

GENUINE, ADVERSARIAL = "genuine", "adversarial"
ALL = "all"  # layers that credibility is taken over
CLEAN = (GENUINE, "natural_error")
DESIGN = Design(apart=frozenset({"natural_error"}), target="target")
ALONG = Design(crossed=("member", "moved"), target="target")
NEVER = "never"  # in the place of a layer
LEVEL = 0.1  # of p-values, at which their share is checked
SLACK = 1e-6  # pixels: float32 rounding of image + perturbation
SIMILARITIES = ("cka", "mutual")


def derive(data: "xr.Dataset") -> "xr.Dataset":
    """The distinct members, with credibilities, where neighbourhoods flip, and what members and layers agree on."""
    import xarray as xr

    data = of_members(data)
    kept = distinct_members(_of_genuine(data))
    data = data.isel(member=kept, target=kept)
    data = data.assign_coords(number=("member", np.arange(data.sizes["member"])))
    label = data.label
    own = data.p_value.isel({"class": data.prediction})
    true = data.p_value.isel({"class": label})
    others = data.p_value.where(xr.DataArray(np.arange(data.sizes["class"]), dims="class") != label).max("class")
    last, layers = data.majority.isel(layer=-1, drop=True), data.layer.values.tolist()
    flips = first_of_rest((data.majority == data.prediction).transpose(..., "layer").values)
    dims = (*data.majority.transpose(..., "layer").dims[:-1], "flip")
    right = (data.prediction.sel(population=GENUINE, drop=True) == label).all("member")
    majority = data.majority.sel(population=[GENUINE])
    found = {
        "credibility": own,
        "doubt": 1 - own,
        "unsure": 1 - data.confidence,
        "true_p_value": true,
        "vote_right": true > others,
        "flips": (dims, flips),
        "as_last": data.majority == last,
        "as_other": majority == majority.rename(member="target"),
        "fooled": data.seen != label,
        "all_right": right,
    }
    found = {name: one if isinstance(one, tuple) else one.reset_coords(drop=True) for name, one in found.items()}
    data = data.assign(found).assign_coords(flip=[*layers, NEVER])
    for name in found:
        data[name].attrs = {"units": "1"}
    return data


def first_of_rest(said: Bool[np.ndarray, "*B L"]) -> Bool[np.ndarray, "*B M"]:
    """Marks the first entry from which on all are true, of M = L + 1 places; the last place where there is none."""
    rest = np.logical_and.accumulate(said[..., ::-1], axis=-1)[..., ::-1]
    rest = np.concatenate([rest, np.ones_like(rest[..., :1])], axis=-1)
    return rest & ~np.concatenate([np.zeros_like(rest[..., :1]), rest[..., :-1]], axis=-1)


def _of_genuine(data: "xr.Dataset") -> np.ndarray:
    """Confidences on clean images, [member, example]: equal for copies of a member."""
    return data.confidence.sel(population=GENUINE).transpose("member", "example").values


def estimate(data: "xr.Dataset", config) -> Table:
    """The table of a run."""
    table = by_stratum(derive(data), _of_stratum)
    first, last = _ends(table)
    ends = {"layer": [first, last], "reference": None}
    return table.headline_rows(
        {"name": ["purity.true_class", "purity.predicted_class"], "population": [ADVERSARIAL, GENUINE], **ends},
        {"name": "auroc.credibility.area", "reference": GENUINE, "over": ALL},
        {"name": "auroc.credibility.area", "population": [ADVERSARIAL, "adaptive"]},
        {"name": "auroc.confidence.area", "population": [ADVERSARIAL, "adaptive"]},
        {"name": "accuracy.neighbors", "population": [GENUINE, ADVERSARIAL], "over": ALL},
        {"name": "distance.to_data", "population": ADVERSARIAL, **ends},
        {"name": "transfer.rank_correlation"},
        {"name": "transfer.success"},
    )


def of_measures(data: "xr.Dataset", config) -> Table:
    """The rows of `config.measures`."""
    return by_stratum(derive(data), lambda part: measured.table(part, part.valid, INPUT))


def _of_stratum(data: "xr.Dataset") -> Table:
    data = among(data)
    return tabulate(data, declare(data), DESIGN) + along(data)


def among(data: "xr.Dataset") -> "xr.Dataset":
    """Some of the members, as targets too."""
    return data.isel(target=data.number.values)


def declare(data: "xr.Dataset") -> Iterator:
    """Classes of neighbours, distances, flips, detection, agreement, and what goes with transfer."""
    names = data.population.values.tolist()
    searched = [name for name in names if name not in CLEAN]
    by_layer = {"by": ("layer",)}
    yield Estimate("purity.true_class", "share_true", share=True, **by_layer)
    yield Estimate("purity.predicted_class", "share_predicted", share=True, **by_layer)
    yield Estimate("purity.majority", "purity", share=True, **by_layer)
    versus = [(ADVERSARIAL, other) for other in (GENUINE, "boosted", "natural_error")]
    yield Estimate("purity.true_class", "share_true", versus=versus, **by_layer)
    if layers := with_unit(data.far):
        yield Estimate("distance.to_data", "far", positive=True, at={"layer": layers}, **by_layer)
    yield Estimate("purity.flips_at", "flips", by=("flip",), share=True)
    against = [(name, GENUINE) for name in searched] + [(ADVERSARIAL, "boosted")]
    over = {"by": ("over",)}
    yield Estimate("auroc.credibility", "doubt", versus=against, statistic=separation, **over)
    yield Estimate("auroc.confidence", "unsure", versus=against, statistic=separation)
    yield Estimate("confidence.credibility", "credibility", share=True, **over)
    yield Estimate("accuracy.neighbors", "vote_right", share=True, **over)
    yield Estimate("agreement.layers", "as_last", share=True, **by_layer)
    yield Estimate("agreement.members", "as_other", groups=[GENUINE], share=True, **by_layer)
    yield Estimate("transfer.success", "fooled", where="all_right", about={"population": ADVERSARIAL}, share=True)
    yield alike


def along(data: "xr.Dataset") -> Table:
    """What neighbours say along moves, by move, step and layer, at the layers where a move is seen."""
    table, names = Table(), [name for name, one in data.data_vars.items() if {"member", "move", "moved"} <= {*one.dims}]
    for move in data.move.values.tolist():
        part = data[names].sel(move=move, drop=True)
        part = part.isel(layer=np.isfinite(part.move_true.values).any(axis=(0, 1, 3)).nonzero()[0])
        estimates = _of_move(move, part.layer.values.tolist(), with_unit(part.move_far))
        table += tabulate(of_majority(part), estimates, ALONG)
    return table


def of_majority(part: "xr.Dataset") -> "xr.Dataset":
    """With what the most frequent classes of neighbours along one move say: where they flip to the class moved to, and
    whether they are those of the last layer and of each other member, on examples whose move counts for all members.
    """
    majority = part.move_majority.reset_coords(drop=True)
    flips = first_of_rest((majority == part.aim).transpose(..., "layer").values)
    dims = (*majority.transpose(..., "layer").dims[:-1], "flip")
    found = {
        "move_flips": (dims, flips),
        "move_as_last": majority == majority.isel(layer=-1, drop=True),
        "move_as_other": majority == majority.rename(member="target"),
        "all_count": part.move_counts.astype(bool).reset_coords(drop=True).all("member"),
    }
    return part.assign(found).assign_coords(flip=[*part.layer.values.tolist(), NEVER])


def with_unit(distance: "xr.DataArray") -> list[str]:
    """The layers where distances have a unit: not those where half of the images lie on training images."""
    return [layer for layer in distance.layer.values.tolist() if np.isfinite(distance.sel(layer=layer)).all()]


def _of_move(move: str, seen: list[str], layers: list[str]) -> Iterator[Estimate]:
    """Estimates along a move that is seen at some layers; distances have a unit at some of these."""
    how = {"where": "move_counts", "by": ("step", "layer"), "about": {"move": move}}
    for name in ("true", "aim"):
        yield Estimate(f"path.{name}_class", f"move_{name}", share=True, **how)
    yield Estimate("path.purity", "move_purity", share=True, **how)
    yield Estimate("path.rank_of_start", "move_rank", positive=True, **how)
    for name, variable in (("length", "move_length"), ("to_data", "move_far")) if layers else ():
        yield Estimate(f"path.{name}", variable, positive=True, at={"layer": layers}, **how)
    yield Estimate("path.flips_at", "move_flips", share=True, **how | {"by": ("step", "flip")})
    if seen[:-1]:
        yield Estimate("path.layers_agree", "move_as_last", share=True, at={"layer": seen[:-1]}, **how)
    yield Estimate("path.members_agree", "move_as_other", share=True, **how | {"where": "all_count"})


# ---- do members that see alike share adversarial examples? ----


def alike(data: "xr.Dataset") -> Table:
    """How alike members are at each layer, and the rank correlation with transfer over pairs of members."""
    count, right = data.sizes["member"], data.all_right.transpose("member", "example", missing_dims="ignore").values
    right = right.all(axis=0) if right.ndim > 1 else right
    if count < 2 or right.sum() < 2:
        return Table()
    dims, rows = ("member", "target", "example"), []
    transfer = data.fooled.transpose(*dims).values[:, :, right].astype(np.float64)
    pairs = np.triu_indices(count, 1)
    for layer in data.layer.values.tolist()[1:]:  # the image is the same for all
        here = data.sel(layer=layer)
        for kind in SIMILARITIES:
            own = here[kind].transpose(*dims, missing_dims="ignore").values.astype(np.float64)
            own = np.broadcast_to(own[..., None], transfer.shape) if kind == "cka" else own[:, :, right]
            about = {"population": GENUINE, "unit": "1", "layer": layer, "similarity": kind}
            mean = Interval(
                float(own.mean(axis=-1)[pairs].mean()), *[np.nan] * 4, count, int(right.sum()), *[np.nan] * 3
            )
            rows.append(Row(estimate_dict(mean, "agreement.similarity", **about)))
            found = _correlation(own, transfer)
            if found is not None:
                rows.append(Row(estimate_dict(found, "transfer.rank_correlation", **about)))
    return Table(tuple(rows))


def _correlation(similar: Float[np.ndarray, "S S N"], transfer: Float[np.ndarray, "S S N"]) -> Interval | None:
    """Over pairs of members, with the interval of the crossed bootstrap; the value alone where resamples leave too few
    pairs, None where all pairs are the same.
    """
    count, examples = similar.shape[1:]

    def statistic(members: np.ndarray, weights: np.ndarray) -> float:
        return pair_correlation(*(one @ weights / weights.sum() for one in (similar, transfer)), members)

    value = statistic(np.ones(count), np.ones(examples))
    if not np.isfinite(value):
        return None
    alone = Interval(value, *[np.nan] * 4, count, examples, *[np.nan] * 3)
    if count < MIN_MEMBERS:
        return alone
    try:
        found = crossed_bootstrap(one_by_one(statistic), count, examples)
    except ValueError:  # undefined on too many resamples
        return alone
    return found._replace(low=max(found.low, -1.0), high=min(found.high, 1.0))


def pair_correlation(
    one: Float[np.ndarray, "S S"], other: Float[np.ndarray, "S S"], weight: Float[np.ndarray, " S"]
) -> float:
    """Spearman's rank correlation over unordered pairs of members of two matrices, each the mean of both directions.

    A pair weighs the product of its members' weights: of resampled members, copies make no pair of their own. NaN where
    a matrix is the same for all pairs that weigh.
    """
    i, j = np.triu_indices(len(weight), 1)
    weights = weight[i] * weight[j]
    ranks = [weighted_ranks(0.5 * (m + m.T)[i, j], weights) for m in (one, other)]
    if not weights.sum() > 0:
        return np.nan
    centred = [rank - np.average(rank, weights=weights) for rank in ranks]
    spread = [np.average(np.square(c), weights=weights) for c in centred]
    if not min(spread) > 1e-12:
        return np.nan
    return float(np.average(centred[0] * centred[1], weights=weights) / np.sqrt(spread[0] * spread[1]))


def weighted_ranks(values: Float[np.ndarray, " P"], weight: Float[np.ndarray, " P"]) -> Float[np.ndarray, " P"]:
    """The weight of smaller values, and half that of equal ones: midranks, where weights are counts, up to a shift."""
    smaller, equal = (values[None, :] < values[:, None]), (values[None, :] == values[:, None])
    return (smaller + 0.5 * equal) @ weight


# ---- claims, checks and headline ----


def _ends(table: Table) -> tuple[str, str]:
    """The first and the last layer."""
    layers = [row["layer"] for row in table.select("purity.true_class")]
    return layers[0], layers[-1]


def claims(table: Table, config) -> list[dict]:
    """Verdicts. An AUROC counts from 1/2; shares of neighbours are those at the last layer."""

    def above_chance(row: Row) -> Row:
        ends = {end: row[end] - 0.5 for end in ("value", "low", "high") if row[end] is not None}
        return Row(row, **ends) if row["name"].startswith("auroc.") else row

    def where(claim: dict) -> dict:
        population, reference = claim["populations"]
        more = {"layer": _ends(table)[1], "matching": "raw"} if claim["measure"].startswith("purity") else {"over": ALL}
        return {"population": population, "reference": reference, **more}

    stated = {
        name: {"radius": float(config.search.epsilon), **claim.to_dict()} for name, claim in config.claims.items()
    }
    return verdicts(Table(tuple(map(above_chance, table))), stated, where, strata_of(table))


def checks(data: "xr.Dataset", table: Table, config) -> list[Check]:
    """Copies among members, inputs in their ball, and p-values that are not too small too often."""
    found = [Check(**duplicate_check(_of_genuine(of_members(data))))]
    derived, epsilon = derive(data), data.attrs["epsilon"]
    within = [name for name in ("boosted", ADVERSARIAL, "noise", "adaptive") if name in data.population.values]
    furthest = float(data.delta.sel(population=within).max())
    detail = f"furthest input is {furthest:.7f} pixels from its image; expected at most {epsilon:.7f}"
    found.append(Check("search.inside_ball", furthest <= epsilon + SLACK, detail))
    low = float((derived.true_p_value.sel(population=GENUINE, over=ALL) <= LEVEL).mean())
    size = 1 / data.sizes["example"] + 1 / data.attrs["num_calibration"]
    limit = LEVEL + 4 * float(np.sqrt(LEVEL * (1 - LEVEL) * size))
    detail = (
        f"true classes of {100 * low:.1f} % of the clean test images have a p-value of {LEVEL:g} or less; expected "
    )
    detail += f"at most {100 * limit:.1f} %, since calibration images are drawn as they are"
    return [*found, Check("credibility.calibrated", low <= limit, detail)]


def headline(table: Table, config) -> str:
    """The answer in two sentences; of a sweep, of its first value."""
    table = first_stratum(table)
    first, last = _ends(table)

    def share(name: str, layer: str) -> str:
        row = table.get(name, population=ADVERSARIAL, layer=layer, reference=None)
        return "none" if row is None else _percent(row)

    text = f"Of the {config.neighbors.k} training images nearest to an adversarial input, "
    text += f"{share('purity.true_class', first)} are of its true class in pixels"
    if first != last:
        text += f", and {share('purity.true_class', last)} at the last layer, {last}, where "
        text += f"{share('purity.predicted_class', last)} are of the class it is taken for"
    text += "."
    return text + _detection(table)


def _detection(table: Table) -> str:
    """The sentence on detection; nothing where too few inputs are adversarial."""
    every, image, hidden = (_detected(table, ADVERSARIAL, over) for over in (ALL, "image", "hidden"))
    alone = table.get("auroc.confidence.area", population=ADVERSARIAL, reference=GENUINE)
    if every is None or alone is None:
        return ""
    knows = _detected(table, "adaptive", ALL)
    text = " Low support of the prediction by neighbours detects adversarial among genuine images with AUROC "
    text += f"{every} (guessing: 0.5)"
    text += f" over all layers, {image} in pixels and {hidden} in hidden layers alone" if image and hidden else ""
    text += f"; low confidence of the classifier with {alone.text(1.0, 2)}"
    return f"{text}{'' if knows is None else f'; an attack that knows the detector leaves {knows}'}."


def _detected(table: Table, population: str, over: str) -> str | None:
    row = table.get("auroc.credibility.area", population=population, reference=GENUINE, over=over)
    return None if row is None else row.text(1.0, 2)


def _percent(row: Row) -> str:
    value, *ends = row.text(100.0, 0).split(" ", 1)
    return f"{value} %{' ' + ends[0] if ends else ''}"
