"""The ladder of `shared`: how often held-out members are fooled, by how many members and by which noise guide."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from landscape.reporting import plate, style
from landscape.reporting.shared_parts import GREY, INK, finite

RUNGS = {  # name -> (label, colour, marker)
    "members": ("k members", INK, "o"),
    "members_ball": ("k members with noise", "#D55E00", "s"),
    "ball": ("one with noise", "#0072B2", "s"),
    "frozen": ("one frozen draw", "#E69F00", "D"),
    "trajectory": ("one's trajectory", "#CC79A7", "v"),
    "swag": ("one's SWAG", "#56B4E9", "^"),
    "random": ("one at random a step", "#009E73", "P"),
}
BUDGETS = {"steps": "equal steps", "gradients": "equal gradients"}
SEARCHES = {"pixels": "pixels", "manifold": "manifold"}
DOTS = (0, (1, 1.5))
LINES = ("members", "members_ball")
X, Y = "members that guide together, k", "held-out members fooled (%)"
LEGEND_ROW = 0.16  # inches


def ladder(data: xr.Dataset) -> Figure | None:
    """A column a search, a row a budget."""
    return _ladder(data, plate.names(data, "search"), tuple(BUDGETS), width=style.PAGE)


def ladder_column(data: xr.Dataset) -> Figure | None:
    """The first search at equal steps, one column wide."""
    return _ladder(data, plate.names(data, "search")[:1], ("steps",), width=style.COLUMN)


def ladder_table(data: xr.Dataset) -> list[tuple]:
    """The figure's data."""
    rows: list[tuple] = [
        ("search", "budget", "rung", "members", "value", "low", "high", "worth", "worth_low", "worth_high")
    ]
    for search in plate.names(data, "search"):
        for budget in BUDGETS:
            for r, name in enumerate(data["rung_name"].values.astype(str)):
                told = _told(data, search, budget)[:, r]
                worth = data["effective"].sel(search=search, budget=budget).isel(rung=r).values
                rows.append((search, budget, name, int(data["size"].values[r]), *told, *worth))
    return rows


def _told(data: xr.Dataset, search: str, budget: str) -> np.ndarray:
    """Value and ends of every rung, [3, rung], %."""
    at = {"search": search, "budget": budget}
    return np.stack([100 * data[f"ladder_told{end}"].sel(at).values.astype(float) for end in ("", "_low", "_high")])


def _ladder(data: xr.Dataset, searches: list[str], budgets: tuple[str, ...], *, width: float) -> Figure | None:
    if not finite(data["ladder_told"].values):
        return None
    count, columns = len(searches) * len(budgets), 4 if width == style.PAGE else 2
    entries = keys(data)
    options = {
        "height": 2.0,
        "left": 0.5,
        "gap": (0.22, 0.42),
        "top": 0.26 + LEGEND_ROW * -(-len(entries[0]) // columns),
        "bottom": 0.4,
    }
    figure, axes = style.panels(count, columns=len(searches), width=width, sharex=True, sharey=True, **options)
    for i, one in enumerate(axes):
        panel(one, data, searches[i % len(searches)], budgets[i // len(searches)])
        one.tick_params(labelbottom=True)
    style.shared_labels(figure, x=X, y=Y)
    style.legend_above(figure, *entries, columns=columns)
    return figure


def keys(data: xr.Dataset) -> tuple[list[Line2D], list[str]]:
    """Handles and labels of the legend."""
    known = [name for name in RUNGS if name in set(data["rung_name"].values.astype(str))]
    handles = [Line2D([], [], color=RUNGS[n][1], marker=RUNGS[n][2], markersize=3.6, linewidth=1.2) for n in known]
    handles.append(Line2D([], [], color=GREY, marker="o", markersize=2, linestyle=""))
    handles.append(Line2D([], [], color=GREY, linestyle=DOTS, linewidth=1))
    return handles, [RUNGS[n][0] for n in known] + ["a block of k", "before any search"]


def panel(axes: Axes, data: xr.Dataset, search: str, budget: str) -> None:
    """One search at one budget."""
    _lines(axes, data, search, budget)
    sizes = np.unique(data["size"].values)
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [str(k) for k in sizes])
    axes.minorticks_off()
    axes.set_title(f"{SEARCHES.get(search, search)}, {BUDGETS[budget]}")
    axes.grid(axis="y")


def _lines(axes: Axes, data: xr.Dataset, search: str, budget: str) -> None:
    value, low, high = _told(data, search, budget)
    names, sizes = data["rung_name"].values.astype(str), data["size"].values.astype(float)
    blocks = 100 * data["ladder_block_told"].sel(search=search, budget=budget).transpose("rung", "block").values
    for name in LINES:
        index = np.flatnonzero((names == name) & np.isfinite(value))
        if not len(index):
            continue
        _, color, marker = RUNGS[name]
        x = sizes[index] * (1.03 if name == "members_ball" else 1.0)
        ends = np.nan_to_num(np.abs(np.stack([value - low, high - value])[:, index]))
        axes.errorbar(
            x,
            value[index],
            yerr=ends,
            color=color,
            marker=marker,
            markersize=3.4,
            linewidth=1.3,
            elinewidth=0.8,
            zorder=3,
        )
        for r in index if name == "members" else ():
            told = blocks[r][np.isfinite(blocks[r])]
            axes.plot(np.full(len(told), sizes[r] / 1.06), told, "o", color=GREY, markersize=1.6, zorder=2)
    if "ladder_before" in data.variables:
        axes.axhline(100 * float(data["ladder_before"].sel(search=search)), color=GREY, linewidth=1, linestyle=DOTS)
    marked = [r for r in range(len(names)) if names[r] not in LINES and np.isfinite(value[r])]
    places = np.geomspace(1.15, max(sizes.max() / 1.15, 1.2), len(marked))
    for place, r in zip(places, marked, strict=True):
        _, color, marker = RUNGS.get(names[r], (names[r], GREY, "o"))
        axes.axhspan(low[r], high[r], color=color, alpha=0.06, linewidth=0)
        axes.axhline(value[r], color=color, linewidth=1.0, linestyle=(0, (4, 1.5)))
        axes.plot([place], [value[r]], marker=marker, color=color, markersize=4, zorder=4)


def tuning(data: xr.Dataset) -> Figure | None:
    """Minus the label's margin on validation images over the step size; ringed what each rung took."""
    if not finite(data["ladder_tuning"].values):
        return None
    searches = plate.names(data, "search")
    options = {"height": 1.5, "left": 0.5, "gap": (0.3, 0.42), "top": 0.62, "bottom": 0.42}
    figure, axes = style.panels(len(searches) * len(BUDGETS), columns=2, sharex=True, **options)
    step = data["step_size"].values.astype(float)
    names, sizes = data["rung_name"].values.astype(str), data["size"].values
    for one, (search, budget) in zip(axes, [(s, b) for s in searches for b in BUDGETS], strict=True):
        at = {"search": search, "budget": budget}
        goal = data["ladder_tuning"].sel(at).transpose("rung", "step_size").values
        taken = data["ladder_step"].sel(at).values
        for r, name in enumerate(names):
            _, color, _ = RUNGS.get(name, (name, GREY, "o"))
            wide = 0.6 + 0.3 * np.log2(sizes[r])
            one.plot(step, goal[r], color=color, linewidth=wide)
            i = int(np.argmin(np.abs(step - taken[r])))
            one.plot(step[i], goal[r, i], "o", color=color, markerfacecolor="white", markersize=3)
        style.log_x(one, step, small=True)
        one.set_xticks(step, [f"{s:g}" for s in step])
        one.set_title(f"{SEARCHES.get(search, search)}, {BUDGETS[budget]}")
        one.grid(axis="y")
    style.shared_labels(figure, x="step size (share of the radius)", y="minus the label's margin (logits)")
    known = [name for name in RUNGS if name in set(names)]
    handles = [Line2D([], [], color=RUNGS[n][1]) for n in known]
    style.legend_above(figure, handles, [RUNGS[n][0] for n in known], columns=4)
    return figure
