"""Curves and single values of a flatness run by population, as its figures take them."""

from collections.abc import Iterable, Mapping

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from landscape.reporting import figures, plots
from landscape.stats.table import Table

TWO_BY_TWO = ("genuine", "natural_error", "boosted", "adversarial")  # {as found, searched for} x {right, wrong}


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
