"""Figures of a flatness run's measures by population; what figures take by population, as curves or single inputs."""

from collections.abc import Iterable, Mapping
from functools import partial

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from landscape.experiments.base import of_one_kind
from landscape.experiments.flatness.agreement import AGREEING
from landscape.experiments.flatness.agreement import NAME as AGREEMENT
from landscape.reporting import figures, plots, style
from landscape.reporting.figures import FigureSpec
from landscape.stats.table import Table

TWO_BY_TWO = ("genuine", "natural_error", "boosted", "adversarial")  # {as found, searched for} x {right, wrong}
CURVATURE = {
    "gradient_norm": "gradient norm, loss\n(nats per pixel unit)",
    "hessian_top": "top eigenvalue, loss\n(nats per pixel unit²)",
    "hessian_trace": "Hessian trace, loss\n(nats per pixel unit²)",
    "probability_hessian_top": "top eigenvalue, 1 − p\n(per pixel unit²)",
    "probability_hessian_trace": "Hessian trace, 1 − p\n(per pixel unit²)",
}
WORST = {"worst_loss_rise": "worst-case loss rise\n(nats)", "worst_margin_drop": "worst-case margin drop\n(logits)"}
STRAYS = {
    "linearity_loss": "departure from the\ntangent, loss (nats)",
    "linearity_margin": "departure from the\ntangent, margin (logits)",
}
CERTIFIED = {  # title: estimate, unit, scale
    "certified radius": ("certified_radius.mean", "pixels (L2)", 1.0),
    "all draws agree": ("certified_radius.capped", "% of inputs", 100.0),
    "nothing is certified": ("certified_radius.abstains", "% of inputs", 100.0),
}
TANGENT = {
    f"{name}_curvature": f"mean curvature, {where}\n(nats per pixel unit²)"
    for name, where in (("tangent", "along the data"), ("normal", "across"), ("random", "anywhere"))
}
WEIGHED = {"weight_sharpness.hessian_top": "top eigenvalue", "weight_sharpness.hessian_trace": "trace"}


def drawn(table: Table, names: Iterable[str], *dims: str, **rows) -> xr.Dataset | None:
    """Curves of populations over `dims`, by the names that have a look; None where the table has none of them."""
    found = table.select(reference=None, population=[*names], **{"matching": None} | rows)
    if not found:
        return None
    cube = found.cube("population", *dims)
    return cube.assign_coords(population=[_shown(name) for name in cube.population.values.tolist()])


def _shown(population: str) -> str:
    """Whose colour and name a population has: a twin those of its namesake, beside which it is not drawn."""
    return "noise" if population.startswith("noise_") else population.removesuffix("_iso")


def compared(data: xr.Dataset) -> tuple[str, ...]:
    """The 2 x 2, and noise of the attack's own norm."""
    return (*TWO_BY_TWO, f"noise_{data.attrs['norm']}")


def pooled(data: xr.Dataset, values: xr.DataArray) -> dict[str, np.ndarray]:
    """Finite values of each population over members and valid inputs, flat; populations without any are left out."""
    valid = values.where(data.valid)
    found = {name: valid.sel(population=name).values for name in plots.in_order(figures.names(data, "population"))}
    return {name: one[np.isfinite(one)] for name, one in found.items() if np.isfinite(one).any()}


def spreads(data: xr.Dataset, table: Table, *, measures: Mapping[str, str]) -> Figure | None:
    """Measures at the inputs, by population: a panel each, under its label."""
    return plots.spreads({label: pooled(data, data[name]) for name, label in measures.items()})


@of_one_kind
def agreement(data: xr.Dataset, table: Table) -> Figure | None:
    """Rank correlations of measures, as found and at equal confidence; NaN where the interval holds 0."""
    known = [name for name, variable in AGREEING.items() if variable in data]
    shown = []
    for how in ("raw", "iso"):
        rows, matrix = table.select(AGREEMENT, matching=how), np.where(np.eye(len(known)) > 0, 1.0, np.nan)
        for row in rows:
            at = known.index(row["measure"]), known.index(row["other"])
            matrix[at] = matrix[at[::-1]] = row["value"] if row.excludes_zero else np.nan
        shown += [(style.MATCHINGS[how], matrix)] if rows else []
    look = {"limits": (-1.0, 1.0), "cmap": "PuOr", "names": known}
    return plots.matrices(shown, len(shown), ("", ""), **look) if shown else None


@of_one_kind
def spectrum(data: xr.Dataset, table: Table) -> Figure | None:
    """Where the eigenvalues of the input Hessian lie, one line a population; those near 0 are a number."""
    cube = drawn(table, compared(data), "bin", name="curvature.spectral_density")
    if cube is None:
        return None
    figure, (axes,) = style.panels(1, columns=1, width=style.PAGE * 0.7, height=1.8, top=0.65)
    plots.curves(axes, cube.sel(bin=cube.bin > 0), "bin")
    near = 100 * cube.value.sel(bin=0.0)
    axes.set_title(
        f"{near.min():.0f} to {near.max():.0f} % of the eigenvalues, by population, lie nearer to 0", fontsize=7
    )
    axes.set(xlabel="eigenvalue of the input Hessian of the loss (nats per pixel unit²)", ylabel="share of all")
    plots.legend(figure, [cube], "95 % interval", columns=4)
    return figure


@of_one_kind
def certified(data: xr.Dataset, table: Table) -> Figure | None:
    """Mean certified radius by population, and how often all draws agree or nothing is certified."""
    found = table.select("certified_radius.mean", reference=None)
    names = plots.in_order(row["population"] for row in found)
    panels = {
        title: ([table.get(name, population=one, reference=None) for one in names], unit)
        for title, (name, unit, _) in CERTIFIED.items()
    }
    scale = {title: times for title, (*_, times) in CERTIFIED.items()}
    return plots.intervals(panels, [style.look(one).label for one in names], scale=scale, columns=3) if names else None


@of_one_kind
def weight_hessians(data: xr.Dataset, table: Table) -> Figure | None:
    """Curvature in the weights by population, over the images that those above and those beneath have in common."""
    rows = {name: table.select(name, reference=None) for name in WEIGHED}
    names = list(dict.fromkeys(row["population"] for row in rows["weight_sharpness.hessian_top"]))
    labels = [style.look(name).label for name in plots.in_order(names)]
    panels = {
        title: ([rows[name].get(name, population=one) for one in plots.in_order(names)], "nats per unit²")
        for name, title in WEIGHED.items()
    }
    return plots.intervals(panels, labels, columns=2) if names else None


FIGURES = (
    FigureSpec(
        "curvature",
        "Gradient and curvature",
        "Spread over inputs (thin 5 to 95 %, thick 25 to 75 %, black tick the median); further right is steeper "
        "or sharper. Axes are logarithmic where the values span decades.",
        (*CURVATURE, "valid"),
        of_one_kind(partial(spreads, measures=CURVATURE)),
        optional=True,
    ),
    FigureSpec(
        "worst",
        "The worst nearby input",
        "The largest change that projected ascent finds in a small ball around each input (thin 5 to 95 %, thick "
        "25 to 75 %, black tick the median); further right is a sharper place.",
        (*WORST, "valid"),
        of_one_kind(partial(spreads, measures=WORST)),
        optional=True,
    ),
    FigureSpec(
        "agreement",
        "Do the measures agree?",
        "Rank correlation over images of what two measures say of adversarial minus boosted inputs; sand-coloured "
        "where its 95 % interval holds 0. Intervals are not corrected for the number of pairs. noise: probability "
        "drop under input noise; worst: worst-case margin drop; linear: departure of the margin from its tangent; "
        "slope, top, trace: gradient norm, top eigenvalue and trace of the loss's Hessian; tangent: curvature along "
        "the data; certify: minus the certified radius; weights: probability drop under weight noise; last: "
        "relative flatness of the last layer.",
        ("valid", "log_odds"),
        agreement,
        optional=True,
        when=lambda data, table: bool(table.select(AGREEMENT)),
    ),
    FigureSpec(
        "spectrum",
        "The spectrum of the input Hessian",
        "Share of the eigenvalues of the loss's input Hessian in each half decade, by stochastic Lanczos quadrature, "
        "with 95 % intervals; further right is sharper.",
        ("spectral_density",),
        spectrum,
        optional=True,
    ),
    FigureSpec(
        "tangent",
        "Curvature along the data and across them",
        "Mean curvature over the directions in which the nearest training images lie, over as many random ones across "
        "these, and over random ones (thin 5 to 95 %, thick 25 to 75 %, black tick the median).",
        (*TANGENT, "valid"),
        of_one_kind(partial(spreads, measures=TANGENT)),
        optional=True,
    ),
    FigureSpec(
        "linearity",
        "Departure from the tangent",
        "Spread over inputs (thin 5 to 95 %, thick 25 to 75 %, black tick the median) of the largest departure from "
        "the tangent within a small ball: further right is less linear.",
        (*STRAYS, "valid"),
        of_one_kind(partial(spreads, measures=STRAYS)),
        optional=True,
    ),
    FigureSpec(
        "certified",
        "Certified radius",
        "Radius in which, with 99.9 % confidence for each input, the majority of noisy copies keeps the tracked class, "
        "0 where none is certified: further right is flatter. Where all draws agree, more of them would certify more. "
        "95 % intervals.",
        ("certified_radius",),
        certified,
        optional=True,
    ),
    FigureSpec(
        "weight_hessian",
        "Curvature in the weights",
        "Hessian of the mean loss in all weights, mean over classifiers with its 95 % interval. The first three "
        "populations are of the same images, and so are the last two.",
        ("weight_hessian_top",),
        weight_hessians,
        optional=True,
    ),
)
