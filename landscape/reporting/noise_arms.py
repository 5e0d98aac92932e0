"""Figures of `noise` that set all arms side by side: paired changes from no noise, and pictures."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from landscape.reporting import style
from landscape.reporting.noise_parts import ARMS, GREY, INK, QUANTITIES, SEARCHES, label_of, of_kind, searches, told
from landscape.reporting.sheet import Strip, sheet

COLUMNS = ("success", "flatness", "transfer", "manifold", "linearity")
PICTURED = ("none", "fresh", "frozen", "member", "trajectory", "swag")
MOST = 4  # images of each search


def changes(data: xr.Dataset) -> Figure | None:
    """Paired change of every arm from no noise at equal norm, a column a quantity."""
    return _changes(data, "norm", COLUMNS)


def changes_at_margin(data: xr.Dataset) -> Figure | None:
    """The same at equal margin."""
    return _changes(data, "margin", ("flatness", "transfer", "manifold", "linearity", "distance"))


def _changes(data: xr.Dataset, matching: str, quantities: tuple[str, ...]) -> Figure | None:
    names = searches(data)
    found = {(q, s): told(data, "change", s, matching, q) for q in quantities for s in names}
    arms = [a for a in range(data.sizes["arm"]) if str(data["kind"].values[a]) != "none"]
    if not arms or all(values is None for values in found.values()):
        return None
    height = 0.21 * len(arms)
    options = {"height": height, "left": 1.2, "gap": (0.14, 0.3), "top": 0.42, "bottom": 0.46}
    figure, axes = style.panels(len(quantities), columns=len(quantities), **options)
    for one, quantity in zip(axes, quantities, strict=True):
        one.axvline(0, color=INK, linewidth=0.8)
        for s, search in enumerate(names):
            values = found[quantity, search]
            if values is None:
                continue
            _, color, marker = SEARCHES[search]
            y = np.arange(len(arms)) + 0.24 * (s - (len(names) - 1) / 2)
            keep = np.isfinite(values.value[arms])
            at = np.asarray(arms)[keep]
            middle, low, high = (part[at] for part in values)
            ends = np.nan_to_num(np.abs(np.stack([middle - low, high - middle])))
            drawn = {"color": color, "marker": marker, "markersize": 2.8, "elinewidth": 0.7, "linestyle": ""}
            one.errorbar(middle, y[keep], xerr=ends, **drawn)
        for y in np.flatnonzero(np.diff([list(ARMS).index(str(data["kind"].values[a])) for a in arms])):
            one.axhline(y + 0.5, color="#dddddd", linewidth=0.6)
        written = QUANTITIES[quantity]
        one.set_title(written.label)
        one.set_xlabel("points" if written.unit.startswith("%") else written.unit)
        one.set_ylim(len(arms) - 0.4, -0.6)
        one.locator_params(axis="x", nbins=3)
        one.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", "−")))
        one.grid(axis="x")
        one.set_yticks(range(len(arms)), [label_of(data, a) for a in arms] if one is axes[0] else [""] * len(arms))
        one.tick_params(axis="y", length=0)
    handles = [Line2D([], [], color=c, marker=m, linestyle="", markersize=3.4) for _, c, m in map(SEARCHES.get, names)]
    style.legend_above(figure, handles, [SEARCHES[name][0] for name in names], columns=3)
    return figure


def pictures(data: xr.Dataset) -> Figure | None:
    """Results at equal norm of the first source: a row an arm, a few images of each search."""
    names = searches(data)
    shown = min(MOST, data.sizes["shown"])
    image = ("height", "width", "channel")
    starts = data["picture_start"].transpose("search", "shown", *image).values
    found = data["picture"].transpose("search", "arm", "shown", *image).values
    order = [data["search"].values.astype(str).tolist().index(name) for name in names]
    strips = [Strip("start", GREY, [starts[s, i] for s in order for i in range(shown)])]
    for kind in PICTURED:
        arms = of_kind(data, kind)
        if kind in ("fresh", "frozen") and len(arms) > 2:
            arms = arms[[len(arms) // 2, -1]] if kind == "fresh" else arms[[len(arms) // 2]]
        for a in arms:
            images = [found[s, a, i] for s in order for i in range(shown)]
            strips.append(Strip(label_of(data, int(a)), ARMS[kind][1], images))
    groups = [(k * shown, (k + 1) * shown - 1, SEARCHES[name][0]) for k, name in enumerate(names)]
    before = [0.12 if i and i % shown == 0 else 0.0 for i in range(len(names) * shown)]
    return sheet(strips, groups=groups, before=before, margin=1.25)
