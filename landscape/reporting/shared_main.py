"""The main figure of `shared`: how many members must guide a search, and who is fooled by whose examples."""

import xarray as xr
from matplotlib.figure import Figure

from landscape.reporting import plate, shared_ladder, shared_matrix, style
from landscape.reporting.shared_parts import finite

LEFT, BETWEEN, RIGHT, TOP, BOTTOM = 0.48, 0.5, 0.16, 0.78, 0.44  # inches
SHARE = 0.4  # of what is left, that the ladder takes


def main(data: xr.Dataset) -> Figure | None:
    """The ladder's first search at equal steps, beside the matrix of the headline's attack."""
    if not finite(data["ladder_told"].values) or not finite(data["share"].values):
        return None
    width = style.PAGE
    room = width - LEFT - BETWEEN - RIGHT
    across = (SHARE * room, (1 - SHARE) * room)
    high = max(2.0, data.sizes["source"] * shared_matrix.height_of(data, across[1]))
    height = TOP + BOTTOM + high
    figure = Figure(figsize=(width, height))
    starts = (LEFT, LEFT + across[0] + BETWEEN)
    ladder, matrix = (
        figure.add_axes((start / width, BOTTOM / height, wide / width, high / height))
        for start, wide in zip(starts, across, strict=True)
    )
    shared_ladder.panel(ladder, data, plate.names(data, "search")[0], "steps")
    ladder.set(xlabel=shared_ladder.X, ylabel=shared_ladder.Y)
    shared_matrix.panel(matrix, data, step=1 if high / data.sizes["source"] > 0.1 else 2, narrow=True)
    for start, wide, keys in zip(starts, across, (shared_ladder.keys(data), shared_matrix.keys()), strict=True):
        place = (start + 0.5 * wide) / width, 1 - 0.03 / height
        options = {"borderaxespad": 0, "borderpad": 0, "columnspacing": 1.0, "handletextpad": 0.5, "fontsize": 6.5}
        figure.legend(*keys, loc="upper center", bbox_to_anchor=place, ncols=2, labelspacing=0.25, **options)
    return figure
