"""Whether measures agree: do they put the images in the same order of how much sharper it is around adversarial inputs?

Each measure gives every image a difference, adversarial minus boosted, as found or at equal confidence. Spearman's rank
correlation of two measures' differences is 1 where both say the same of all images, and 0 where one says nothing of the
other.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from landscape.experiments.flatness.config import PAIRS, TWINS
from landscape.stats.claims import estimate_dict
from landscape.stats.contrasts import LEAST_PAIRED, Least
from landscape.stats.intervals import interval
from landscape.stats.rank_correlation import spearman
from landscape.stats.table import Row, Table

if TYPE_CHECKING:
    import xarray as xr  # imported where it is used: half a second

NAME = "agreement.rank_correlation"
# Short name of each measure -> variable. Of the radius, small is sharp.
AGREEING = {"noise": "input_probability_drop", "worst": "worst_margin_drop", "linear": "linearity_margin"}
AGREEING |= {"slope": "gradient_norm", "top": "hessian_top", "trace": "hessian_trace", "tangent": "tangent_curvature"}
AGREEING |= {"certify": "certified_radius", "weights": "weight_probability_drop", "last": "relative_flatness"}


def table(config, here: dict, data: "xr.Dataset") -> Table:
    """Rank correlations, with two-way intervals, of each two measures that there are.

    here: the input noise that stands for all, its kind and r.
    """
    data = data.isel(example=data.support.sel(population="genuine").values)
    at = {"noise": [here["noise"]], "r": [here["r"]]}
    if "xi" in data:
        at |= {"weight_noise": data.weight_noise.values[:1], "xi": data.xi.values[[middle(config.weight.xi)]]}
    values = {}
    for name, variable in AGREEING.items():
        if variable in data:
            one = data[variable].sel({dim: value for dim, value in at.items() if dim in data[variable].dims})
            one = one.squeeze([dim for dim in at if dim in one.dims], drop=True)
            values[name] = one.transpose("population", "member", "example") * (-1 if name == "certify" else 1)
    rows = []
    for matching, (a, b) in {"raw": PAIRS[0], "iso": tuple(TWINS[name] for name in PAIRS[0])}.items():
        mask = data.valid.sel(population=[a, b]).all("population").transpose("member", "example").values
        kept = Least(examples=LEAST_PAIRED).kept(mask)
        if len(values) < 2 or not kept.any():
            continue
        differences = [(one.sel(population=a) - one.sel(population=b)).values for one in values.values()]
        u = spearman(np.stack(differences)[:, kept], mask[kept])
        about = {"population": PAIRS[0][0], "reference": PAIRS[0][1], "matching": matching, "unit": "1"}
        about["examples"] = int(mask[kept].any(axis=0).sum())
        for i, j in zip(*np.triu_indices(len(values), 1), strict=True):
            found = interval(u[i, j])
            found = found._replace(low=max(found.low, -1.0), high=min(found.high, 1.0))
            names = {"measure": [*values][i], "other": [*values][j]}
            rows.append(Row(estimate_dict(found, NAME, **about, **names)))
    return Table(tuple(rows))


def middle(sizes: Sequence[float]) -> int:
    """The index of the weight noise's size that stands for all."""
    return len(sizes) // 2
