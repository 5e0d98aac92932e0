"""The numbers of a dictionaries run, from its arrays alone.

All dictionaries are of one classifier: numbers speak of new seeds of the dictionary and, where they are of test images,
of new images. What is compared between seeds is a mean over pairs, whose interval comes from the jackknife over seeds
(`stats.pseudo_values`).
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.experiments.base import Check
from landscape.experiments.dictionaries.config import KINDS, RANKS, STARTS
from landscape.stats.contrasts import Least
from landscape.stats.table import Design, Estimate, Row, Table, tabulate

if TYPE_CHECKING:
    import xarray as xr  # imported where it is used: half a second

BY_IMAGE = Design(crossed=("of_curve", "example"))
BY_SEED = Design(crossed=("of_curve", ""))
OF_SEEDS = Design(crossed=("dictionary", ""))
OF_PAIRS = Design(crossed=("dictionary", ""), target="target", least=Least(paired=1))
AGREEMENT = {"agreement.atoms": "atoms_agree", "agreement.activations": "activations_agree"}
TOPK, JUMPRELU, ARCHETYPAL = KINDS
RANDOM, OWN, SHARED = STARTS
SHARED_START = 0.97  # a smaller mean cosine at step 0 says that seeds do not start together
SAME = 1 - 1e-6  # a larger mean cosine of two trained seeds says that one is a copy of the other


def derive(data: "xr.Dataset") -> "xr.Dataset":
    """The arrays as they are."""
    return data


def estimate(data: "xr.Dataset", config) -> Table:
    """The table of a run."""
    table = of_settings(data) + of_agreement(data)
    table += of_removal(data, RANKS / min(config.dictionaries.num_removed, data.sizes["example"]))
    last = str(data.layer.values[-1])
    one = {"layer": last, "time": "after"}
    shown = [{"name": [*AGREEMENT], **one, "reference": None}]
    shown += [{"name": "agreement.atoms", "layer": last, "time": "before", "reference": None, "start": RANDOM}]
    shown += [{"name": "agreement.activations", **one, "reference": TOPK, "start": RANDOM}]
    shown += [{"name": "agreement.activations", **one, "reference": RANDOM, "kind": TOPK}]
    shown += [{"name": ["fvu.dictionary", "usage.active", "usage.dead"], "layer": last, "compared": 1, "start": RANDOM}]
    shown += [{"name": "distance.logit_without", "layer": last}]
    return table.headline_rows(*shown)


def about_of(data: "xr.Dataset", index: int) -> dict[str, Any]:
    """The columns that name a setting."""
    one = data.isel(setting=index)
    about = {"layer": str(one.layer_of.values), "kind": str(one.kind_of.values), "start": str(one.start_of.values)}
    numbers = {"times": int(one.times), "sparsity": float(one.sparsity), "compared": int(one.compared)}
    return about | numbers


def of_settings(data: "xr.Dataset") -> Table:
    """What each setting leaves unexplained, with how many active features, and how many features are dead."""
    table, names = Table(), ("error", "from_mean", "active", "dead", "revived")
    for index in range(data.sizes["setting"]):
        one, how = data[[*names]].isel(setting=index).reset_coords(drop=True), {"where": ""}
        how["about"] = about_of(data, index)
        by_image = [
            Estimate("fvu.dictionary", "error", per="from_mean", positive=True, **how),
            Estimate("usage.active", "active", positive=True, unit="features a point", **how),
        ]
        by_seed = [
            Estimate("usage.dead", "dead", share=True, **how),
            Estimate("usage.revived", "revived", positive=True, unit="times a feature", **how),
        ]
        table += tabulate(one[[*names[:3]]], by_image, BY_IMAGE) + tabulate(one[[*names[3:]]], by_seed, BY_SEED)
    return table


def of_agreement(data: "xr.Dataset") -> Table:
    """Mean over pairs of seeds; what the constraint adds to it at the same start, and the start to the same kind.

    None where a seed has no living feature, so that a pair has no agreement.
    """
    import xarray as xr

    table, count = Table(), data.sizes["dictionary"]
    itself = xr.DataArray(np.eye(count, dtype=bool), dims=("target", "dictionary"))
    own = data[[*AGREEMENT.values()]].where(~itself, 0.0)  # the diagonal is not read
    for name, of in AGREEMENT.items():
        part = own[[of]].assign(known=own[of].notnull().all(["target", "dictionary"]))
        how = {"where": "known", "unit": "1"}
        means = Estimate(name, of, by=("layer", "kind", "start", "time"), **how)
        kinds = Estimate(name, of, by=("layer", "start", "time"), versus=[(ARCHETYPAL, TOPK)], **how)
        starts = [(SHARED, RANDOM), (OWN, RANDOM), (SHARED, OWN)]
        starts = Estimate(name, of, by=("layer", "kind", "time"), versus=starts, **how)
        table += tabulate(part, [means], OF_PAIRS)
        table += tabulate(part, [kinds], OF_PAIRS._replace(compare="kind"))
        table += tabulate(part, [starts], OF_PAIRS._replace(compare="start"))
    stayed = Estimate("agreement.with_start", "stayed", by=("layer", "kind", "start"), where="", unit="1")
    return table + tabulate(data[["stayed"]], [stayed], OF_SEEDS)


def of_removal(data: "xr.Dataset", least: float) -> Table:
    """What removing one feature does, for the mean feature and for that with the largest effect on the logit, chosen on
    these images among the features that are active on a share of at least `least`.
    """
    change, changed = data.logit_change, data.changed
    enough = change.where(data.share_active >= least)
    at = enough.fillna(-1).argmax("feature")
    kinds = {
        "mean": (change.mean("feature"), changed.mean("feature")),
        "strongest": (enough.isel(feature=at), changed.isel(feature=at)),
    }
    table = Table()
    for feature, (moved, turned) in kinds.items():
        how = {"where": "known", "by": ("layer",), "about": {"feature": feature}}
        one = moved.rename("moved").to_dataset().assign(kept=1 - turned).reset_coords(drop=True)
        one = one.assign(known=np.isfinite(one.moved))  # of few images, no feature of a seed may be active on enough
        one = one.assign_coords(layer=data.layer)
        found = [
            Estimate("distance.logit_without", "moved", unit="logits", positive=True, **how),
            Estimate("agreement.without", "kept", share=True, **how),
        ]
        table += tabulate(one, found, OF_SEEDS)
    return table


def claims(table: Table, config) -> list[dict]:
    """None are stated."""
    return []


def checks(data: "xr.Dataset", table: Table, config) -> list[Check]:
    """Errors are finite, no more than k features are active, seeds that share a start do so, and none is a copy."""
    error = data.error.values
    known = int(np.isfinite(error).sum())
    found = [Check("errors.finite", known == error.size, f"{known} of {error.size} errors are finite; expected all")]
    ranked = data.isel(setting=data.kind_of.values != JUMPRELU)
    over = float((ranked.active.max(["of_curve", "example"]) - ranked.sparsity).max())
    detail = f"largest mean of an image minus k: {over:.3g}; expected at most 0"
    found.append(Check("active.at_most_k", over <= 1e-6, detail))
    pairs = ~np.eye(data.sizes["dictionary"], dtype=bool)
    before = data.atoms_agree.sel(start=SHARED, time="before").values[..., pairs]
    detail = f"smallest mean cosine at step 0: {before.min():.6f}; expected above {SHARED_START:g}"
    detail += " (1, but for features that die in one seed alone)"
    found.append(Check("start.shared", bool((before > SHARED_START).all()), detail))
    after = data.atoms_agree.sel(time="after").values[..., pairs]
    detail = f"largest mean cosine of two seeds {np.nanmax(after):.6f}; expected below {SAME:.6f}"
    return [*found, Check("seeds.distinct", bool(np.nanmax(after) < SAME), detail)]


def headline(table: Table, config) -> str:
    """How alike features of two seeds are by constraint and by start, in the last layer.

    By activations: cosines of atoms that all lie in one cone are large whatever training does.
    """
    layer = [row["layer"] for row in table.select("agreement.atoms")][-1]

    def effect(name: str, **versus: str) -> Row:
        return table.one(name, layer=layer, time="after", **versus)

    def level(name: str, kind: str, start: str = RANDOM, time: str = "after") -> str:
        return table.one(name, layer=layer, kind=kind, start=start, time=time, reference=None).text(1.0, 2)

    by_kind = {"population": ARCHETYPAL, "reference": TOPK, "start": RANDOM}
    atoms, active = AGREEMENT
    needed = [(TOPK, RANDOM), (ARCHETYPAL, RANDOM), (TOPK, OWN), (TOPK, SHARED)]
    rows = (table.get(active, layer=layer, kind=k, start=s, time="after", reference=None) for k, s in needed)
    if None in rows:
        return f"The agreement of seeds is not defined on {layer}, where a dictionary has no living feature."
    constraint = effect(active, **by_kind)
    shared = effect(active, kind=TOPK, population=SHARED, reference=RANDOM)
    text = f"Matched features of two seeds correlate by {level(active, TOPK)} on {layer} (topk, random starts), by "
    text += f"{level(active, ARCHETYPAL)} with the archetypal constraint, and without it by {level(active, TOPK, OWN)} "
    text += f"from k-means of each seed's own and by {level(active, TOPK, SHARED)} from one shared k-means: "
    text += (
        f"{verdict(constraint, shared)} By cosines of atoms the constraint adds {signed(effect(atoms, **by_kind))}, "
    )
    text += f"but its random mixtures agree by {level(atoms, ARCHETYPAL, time='before')} before any training, random "
    return text + f"directions by {level(atoms, TOPK, time='before')}."


def verdict(constraint: Row, shared: Row) -> str:
    """Which of the two explanations holds, of the effect of either alone."""
    by = f"(constraint {signed(constraint)}, shared start {signed(shared)})."
    if None in (constraint["low"], shared["low"]):
        return f"too few seeds to tell by how much {by}"
    ends = {"the constraint": constraint, "the shared start": shared}
    helping = [name for name, row in ends.items() if row["low"] > 0]
    if len(helping) == 2:
        larger = max(ends, key=lambda name: ends[name]["value"])
        apart = constraint["low"] > shared["high"] or shared["low"] > constraint["high"]
        return f"either alone makes seeds agree more, {f'{larger} more so' if apart else 'about equally'} {by}"
    return (
        f"{helping[0]} alone makes seeds agree more {by}" if helping else f"neither alone makes seeds agree more {by}"
    )


def signed(row: Row) -> str:
    """`+0.32 [+0.30, +0.34]`."""
    value, *ends = (f"{row[end]:+.2f}" for end in ("value", "low", "high") if row[end] is not None)
    return f"{value} [{', '.join(ends)}]" if ends else value
