"""What shared adversarial examples are like beside unshared ones, and where classifiers disagree between two classes.

An adversarial example, on which its source errs, is *unshared* where every held-out classifier is right and *shared*
where every one errs; *joint* where it comes of the search that had all attackers to fool and is shared in that sense.
Images count that every classifier which has learned knows. Shared and unshared ones come of the same attack, but not of
the same images: shared ones come of images that are easy to fool all with. So differences are taken five ways: `raw`;
`change`, of what the attack has changed, each example less its own image; `iso`, each example steered to one margin;
`matched`, of partners of equal margin; `scale_free`.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from landscape.stats.contrasts import LEAST_DISTINCT
from landscape.stats.table import Design, Estimate, Row, Table, tabulate

if TYPE_CHECKING:
    import xarray as xr  # imported where it is used: half a second

SOURCE = {  # population: the input it is taken from
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
    "confidence.margin": ("margin", ""),
    "distance.l2": ("delta_l2", ""),
    "distance.manifold": ("manifold", ""),
    "distance.nearest_training": ("nearest", ""),
    "purity.true_class": ("nearest_true", ""),
    "purity.predicted_class": ("nearest_taken", ""),
}
DESIGN = Design(("source", "geometry_example"), twins=TWINS, paired=False)
REACHED = 0.1  # logits from the margin that inputs are steered to


def by_population(data: "xr.Dataset", iso_margin: float, learned: np.ndarray, attackers: np.ndarray) -> "xr.Dataset":
    """The attackers' values by population, with who belongs to it.

    Args:
      data: as `estimates.derive` gives it. iso_margin: that of steered inputs, logits. learned, attackers: places on
        the axis of targets.

    Returns:
      Measures (source, population, geometry_example) without their prefix, and NAME_change, less the clean image's.
      valid: who belongs. right: the images that count. among: those that a population's examples are a share of.
    """
    import xarray as xr

    names = [str(name) for name in data if str(name).startswith("geometry_") and "input" in data[name].dims]
    inputs = data[names].rename({name: name.removeprefix("geometry_") for name in names})
    place = [data.input.values.tolist().index(name) for name in SOURCE.values()]
    held_out = np.isin(data.held_out.values, learned)
    inputs = inputs.drop_vars([*inputs.coords]).isel(source=attackers, held_out=held_out)
    right, label = (
        xr.DataArray(data[name].values[: inputs.sizes["geometry_example"]], dims="geometry_example")
        for name in ("right", "label")
    )

    def populations(values):
        return values.isel(input=place).rename(input="population").assign_coords(population=list(SOURCE))

    measures = inputs[[name for name, _ in MEASURES.values() if name in inputs]].astype(np.float64)
    changes = {f"{n}_change": (v - v.isel(input=0)).assign_attrs(v.attrs) for n, v in measures.items()}
    found = populations(measures.assign(changes).assign(prediction=inputs.prediction))
    fooled = right & (found.prediction != label)
    none, every = (populations(one) for one in (~inputs.wrong.any("held_out"), inputs.wrong.all("held_out")))
    names = xr.DataArray(list(SOURCE), dims="population")
    valid = xr.where(names == "genuine", right, fooled & xr.where(names == "unshared", none, every))
    bases = [name.removesuffix("_iso") for name in SOURCE]
    steered = names != bases
    base = valid.sel(population=bases).assign_coords(population=list(SOURCE))
    reached = np.abs(found.margin - iso_margin) <= REACHED  # and still an error of its source
    valid = xr.where(steered, base & fooled & reached, valid)
    return found.assign(valid=valid, right=right, among=xr.where(steered, base, right))


def of_geometry(data: "xr.Dataset", config, learned: np.ndarray, attackers: np.ndarray) -> Table:
    """Means of each measure in each population, differences in all comparisons, and how many examples there are."""
    found = by_population(data, config.geometry.iso_margin, learned, attackers)
    radii = config.transfer.linf
    about = {"norm": "linf", "epsilon": float(radii[len(radii) // 2])}
    table = tabulate(found, declare(found, about), DESIGN)
    return Table(tuple(row for row in table if row["low"] is not None))  # of fewer examples nothing is said


def declare(data: "xr.Dataset", about: dict) -> Iterator[Estimate]:
    """Counts, then every measure that there is."""
    for name, groups in (("shared.belonging", MEANS[1:]), ("shared.reached_margin", TWINS.values())):
        counted = {"where": "among", "groups": [*groups], "share": True, "about": about}
        yield Estimate(name, "valid", **counted)
    for name, (of, per) in MEASURES.items():
        if of not in data:
            continue
        yield Estimate(name, of, per, groups=MEANS, share=name.startswith("purity"), about=about)
        for matching in ("scale_free",) if per else ("raw", "iso", "matched"):
            yield Estimate(name, of, per, versus=PAIRS, matching=matching, about=about)
        if not per:
            yield Estimate(name, f"{of}_change", versus=PAIRS, about=about | {"matching": "change"})


def between(data: "xr.Dataset", members: int) -> Table:
    """Disagreement along the lines and at its largest on each, over pairs of images; classifiers are as given.

    Args:
      members: how many classifiers disagree.
    """
    apart = data[["disagreement"]].drop_vars(["pair"], errors="ignore").astype(np.float64)
    peak = apart.rename(disagreement="peak").max("step", keep_attrs=True)
    peaks = peak.rename(space="population")
    design = Design(("member", "pair"))
    table = tabulate(apart, [Estimate("path.disagreement", "disagreement", where="", by=("space", "step"))], design)
    largest = ("path.largest_disagreement", "peak")
    both = [Estimate(*largest, where=""), Estimate(*largest, where="", versus=[("manifold", "pixels")])]
    table += tabulate(peaks, both, design)
    few = apart.sizes["pair"] < LEAST_DISTINCT
    return Table() if few else Table(tuple(Row(row, members=members) for row in table))
