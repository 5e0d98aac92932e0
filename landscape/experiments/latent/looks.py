"""How families and samplers are drawn, everywhere in a report of a latent run."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D

from landscape.reporting import figures, style
from landscape.reporting.style import Look
from landscape.stats.table import Table

GREY, DASHED, DOTTED = "#8a8a8a", (0, (4, 1.5)), (0, (1, 1.3))
REFERENCE = {"color": GREY, "linewidth": 0.7, "linestyle": DASHED, "zorder": 0.5}
SAMPLERS = {  # its line, and its family's colour made lighter (up to 1) or darker (down to -1)
    "mala": (Look("MALA", "", "-", "o"), 0.0),
    "hmc": (Look("HMC", "", DASHED, "s"), 0.35),
    "nuts": (Look("NUTS", "", DOTTED, "^"), -0.45),
    "gibbs": (Look("Gibbs", "", "-", "o"), 0.0),
}


def in_order(data: xr.Dataset) -> list[str]:
    """Families of the run, in the order of their looks."""
    order = list(style.LOOKS)
    return sorted(figures.names(data, "family"), key=lambda name: order.index(name) if name in order else len(order))


def family_key(names: list[str]) -> tuple[list[Line2D], list[str]]:
    looks = [style.look(name) for name in names]
    return [Line2D([], [], color=s.color, marker=s.marker, markersize=3) for s in looks], [s.label for s in looks]


def sampler_look(kernel: str, color: str) -> Look:
    """A sampler's line in its family's colour."""
    look, shade = SAMPLERS.get(kernel, (Look(style.plain(kernel), "", DASHED, "v"), 0.0))
    return look._replace(color=mixed(color, shade))


def mixed(color: str, shade: float) -> Any:
    """A colour mixed with white (shade > 0) or black (shade < 0)."""
    return tuple(part + abs(shade) * ((1.0 if shade > 0 else 0.0) - part) for part in to_rgb(color))


def samplers(data: xr.Dataset, family: str) -> list[str]:
    """Samplers that ran in a family's latent, in the order of the run."""
    ran = data.sampled.sel(family=family)
    return ran.kernel.values[ran.values].tolist()


def curve(axes: Axes, rows: Table, x: str, look: Look, *, band: bool = True) -> bool:
    """One line over x, with its intervals where they are wanted; False where the table has no rows of it."""
    if not len(rows):
        return False
    cube = rows.cube(x)
    ends = (cube.low.values, cube.high.values) if band else ()
    return style.line(axes, cube[x].values, cube.value.values, look, *ends)


def radius_axis(axes: Axes, data: xr.Dataset) -> None:
    """A log axis of s with the values that were run as ticks."""
    s = np.sort(data.radius.values)
    style.log_x(axes, s, small=True)
    ticks = s[:: -(-len(s) // 4)]
    axes.set_xticks(ticks, [f"{tick:.3g}" for tick in ticks])
    axes.grid(axis="y")
