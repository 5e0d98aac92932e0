"""The estimates of each measure by name, and those of `config.measures` at the populations of any experiment.

Pure: they are made of arrays that `works.measured` computed. Imports no JAX.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from landscape.experiments.base import BY_NAME
from landscape.experiments.quantities import PREFIX
from landscape.presets.measuring import first_noise
from landscape.stats.table import Design, Estimate, Table, tabulate

if TYPE_CHECKING:
    import xarray as xr  # imported where it is used: half a second

# Name, variable and what it is divided by, of input flatness.
DROP = ("input_flatness.probability_drop", "input_probability_drop")
SCALE_FREE = ("input_flatness.scale_free", "input_margin_drop", "margin")
OTHERS = [(f"input_flatness.{name}", f"input_{name}") for name in ("loss_rise", "margin_drop")]
# What is lost above what the classifier linearised at each input loses: under the main noise.
BEYOND = {DROP: ("input_flatness.beyond_linear", "beyond_linear")}
BEYOND[SCALE_FREE] = ("input_flatness.scale_free_beyond_linear", "margin_beyond_linear", "margin")
CURVATURE = ("gradient_norm", "hessian_top", "hessian_trace", "probability_hessian_top", "probability_hessian_trace")
WEIGHT = {"by": ("weight_noise", "xi")}
MEANS: Mapping[str, tuple[Estimate, ...]] = {  # of each measure but flatness under input noise
    "weight": (
        Estimate("weight_sharpness.probability_drop", "weight_probability_drop", **WEIGHT),
        Estimate("weight_sharpness.scale_free", "weight_margin_drop", "margin", **WEIGHT),
    ),
    "relative": (Estimate("weight_sharpness.relative_flatness", "relative_flatness", positive=True),),
    "worst": tuple(Estimate(f"input_flatness.{name}", name) for name in ("worst_loss_rise", "worst_margin_drop")),
    "curvature": tuple(Estimate(f"curvature.{name}", name) for name in CURVATURE),
    "tangent": tuple(
        Estimate(f"curvature.{name}_curvature", f"{name}_curvature") for name in ("tangent", "normal", "random")
    ),
    "linearity": (
        Estimate("linearity.linearity_loss", "linearity_loss"),
        Estimate("linearity.linearity_margin", "linearity_margin"),
        Estimate("linearity.scale_free", "linearity_margin", "margin", positive=True),
    ),
    "certified": (
        Estimate("certified_radius.mean", "certified_radius", positive=True),
        *(Estimate(f"certified_radius.{name}", f"certified_{name}", share=True) for name in ("abstains", "capped")),
    ),
    "spectrum": (
        Estimate("curvature.eigenvalue", "hessian_eigenvalues", by=("rank",)),
        Estimate("curvature.spectral_density", "spectral_density", by=("bin",), positive=True),
    ),
}


def beyond_linear(data: "xr.Dataset") -> "xr.Dataset":
    """With what is lost under the main noise above what the linearised classifier loses, where that was measured."""
    if "linear_margin_drop" not in data:
        return data
    parts = {"beyond_linear": "probability_drop", "margin_beyond_linear": "margin_drop"}
    main = data.sel(noise=first_noise(data.noise.values.tolist()), drop=True)
    found = {name: main[f"input_{of}"] - data[f"linear_{of}"] for name, of in parts.items()}
    return data.assign({n: one.assign_attrs(data[f"linear_{parts[n]}"].attrs) for n, one in found.items()})


def table(data: "xr.Dataset", valid: "xr.DataArray", dims: tuple[str, str, str], by: tuple[str, ...] = ()) -> Table:
    """Means of every measure that a run took, in each population, under the names that `flatness` has for them.

    Args:
      data: of members that are all trained alike, as `works.measured` names its arrays. valid: who belongs to which
        population. dims: of members, populations and examples. by: further dims of both, that give a row each.
    """
    names = [name for name in data.variables if str(name).startswith(PREFIX)]
    own = data[names].rename({name: str(name).removeprefix(PREFIX) for name in names})
    own = beyond_linear(own.assign(valid=valid & own.margin.notnull()))
    members, populations, examples = dims
    design = Design(crossed=(members, examples), compare=populations)
    return tabulate(own, _means(own, by), design)


def _means(data: "xr.Dataset", by: tuple[str, ...]) -> Iterator[Estimate]:
    """The declared means of what there is, each with the name of its measure."""
    found = {"flatness": tuple(_under_noise(data)) if "input_margin_drop" in data else ()} | MEANS
    for measure, means in found.items():
        for one in means:
            if one.of in data:
                about = {**one.about, BY_NAME: measure}
                yield dataclasses.replace(one, by=(*by, *one.by), about=about)


def _under_noise(data: "xr.Dataset") -> Iterator[Estimate]:
    for one in (DROP, SCALE_FREE, *OTHERS):
        yield Estimate(*one, by=("noise", "r"), band="r")
    main = {"noise": first_noise(data.noise.values.tolist())}
    for one in BEYOND.values():
        yield Estimate(*one, by=("r",), band="r", about=main)
