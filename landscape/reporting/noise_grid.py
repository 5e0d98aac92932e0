"""Figure of `noise`: does flatness at the end collapse on eta / M?"""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from landscape.reporting import plate, style

AXES = (("eta/M", "η / M (pixels)"), ("eta", "step size η (pixels)"), ("M", "draws a step M"))
COLORS = ("#9ecae1", "#4292c6", "#08519c", "#08306b", "#222222")
MARKERS = ("o", "s", "D", "^", "v")


def collapse(data: xr.Dataset) -> Figure | None:
    """A row a radius, a column a quantity that flatness may be a function of; colour and marker are M.

    Open symbols: walks that end with most coordinates at the boundary.
    """
    flat = 100 * data["grid_flatness"].values.astype(float)
    if not np.isfinite(flat).any():
        return None
    stuck = data["grid_stuck"].values == 1
    eta, draws, radius = (data[f"grid_{name}"].values.astype(float) for name in ("eta", "draws", "radius"))
    levels, several = data["grid_radius_value"].values.astype(float), np.unique(draws)
    options = {"height": 1.25, "left": 0.62, "gap": (0.2, 0.36), "top": 0.5, "bottom": 0.42, "sharey": "row"}
    figure, axes = style.panels(len(levels) * len(AXES), columns=len(AXES), **options)
    known = plate.names(data, "by")
    for r, level in enumerate(levels):
        for c, (by, label) in enumerate(AXES):
            one = axes[r * len(AXES) + c]
            at = radius == level
            x = {"eta/M": eta / draws, "eta": eta, "M": draws}[by]
            for m, count in enumerate(several):
                own = at & (draws == count)
                order = np.flatnonzero(own)[np.argsort(x[own], kind="stable")]
                line = "" if by == "M" else "-"
                one.plot(x[order], flat[order], linestyle=line, linewidth=0.8, color=COLORS[m % 5])
                for free, face in ((~stuck[order], COLORS[m % 5]), (stuck[order], "white")):
                    drawn = {"color": COLORS[m % 5], "marker": MARKERS[m % 5], "markerfacecolor": face}
                    one.plot(x[order][free], flat[order][free], linestyle="", markersize=3.4, **drawn)
            style.log_x(one, x[at], small=True)
            if by == "M":
                one.set_xticks(several, [f"{count:g}" for count in several])
            one.grid(axis="y")
            share, low, high = (
                100 * float(data[f"collapse{end}"].values[r, known.index(by)]) for end in ("", "_low", "_high")
            )
            told = f"explains {share:.0f} % [{low:.0f}, {high:.0f}]" if np.isfinite(share) else "nothing varies"
            one.set_title(f"ξ = {level:g}: {told}" if c == 0 else told, fontsize=7)
            if r == len(levels) - 1:
                one.set_xlabel(label)
    style.shared_labels(figure, y="margin lost under noise at the end (%)")
    handles = [Line2D([], [], color=COLORS[m % 5], marker=MARKERS[m % 5], markersize=3.4) for m in range(len(several))]
    style.legend_above(figure, handles, [f"M = {count:g}" for count in several], columns=len(several))
    return figure
