"""What a figure of a report is: a drawing, the arrays it needs and the sentence that says how to read it."""

from collections.abc import Callable
from typing import NamedTuple

import xarray as xr
from matplotlib.figure import Figure

Draw = Callable[..., Figure | None]  # of the dataset, or of the derived dataset and the table


class Plate(NamedTuple):
    """One figure that an experiment defines.

    Attributes:
      name: file name without its ending.
      title: heading in the report.
      caption: one sentence that says how to read it.
      needs: variables of arrays.nc; where one is missing the report names the figure as absent.
      draw: arrays -> figure, or None when they hold nothing finite to draw.
      narrow: the same one column wide, for papers and phones (main figure).
      table: arrays -> rows with a header, the figure's data as CSV (main figure).
      kind: "svg" for lines, "png" for pictures.
      optional: left out silently when its arrays are absent, since the config may switch it off.
      when: of what is drawn from; left out silently where it says no.
    """

    name: str
    title: str
    caption: str
    needs: tuple[str, ...]
    draw: Draw
    narrow: Draw | None = None
    table: Callable[..., list[tuple]] | None = None
    kind: str = "svg"
    optional: bool = False
    when: Callable[..., bool] = lambda *content: True


def trained(data: xr.Dataset) -> xr.Dataset:
    """The members that statistics use: all but the untrained and shuffled controls."""
    if "control" not in data.coords:
        return data
    return data.isel(member=(data["control"].values.astype(str) == "trained").nonzero()[0])


def names(data: xr.Dataset, dim: str) -> list[str]:
    """Labels along a dimension as text; numbers counted from 0 where it has none."""
    if dim not in data.coords:
        return [str(i) for i in range(data.sizes[dim])]
    return [str(value) for value in data[dim].values]
