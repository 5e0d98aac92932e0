"""Figures of `connectivity` about ways between classifiers: the loss along them, and what stays adversarial."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from landscape.reporting import plate, style
from landscape.reporting.plate import Plate
from landscape.reporting.style import INK, finite

LINE = "line"
MATCHINGS = {  # -> (label, colour)
    "none": ("units as they are", INK),
    "weight": ("matched by weights", "#0072B2"),
    "activation": ("matched by activations", "#D55E00"),
}
CURVES = {"bezier": ("Bezier curve", "#009E73"), "chain": ("chain of lines", "#CC79A7")}
STATISTICS = {"plain": ("as interpolated", "-"), "reset": ("statistics reset", (0, (3, 1.3)))}
VALUES = {"loss": ("test loss (nats)", 1.0), "error": ("test errors (%)", 100.0)}
KEPT = {"adversarial": ("adversarial at the attacked end", "#D55E00"), "clean": ("the images themselves", "#0072B2")}
WAY = "share of the way from one end to the other"
TICKS = ([0, 0.5, 1], ["0", "0.5", "1"])
COLUMNS = 4


def ways(data: xr.Dataset) -> list[tuple[str, str, str]]:
    """(curve, matching, statistics) of every way."""
    fields = [data[f"way_{name}"].values.astype(str) for name in ("curve", "matching", "statistics")]
    return list(zip(*fields, strict=True))


def looks(way: tuple[str, str, str]):
    """(colour, line style) of a way: the order of units, or the curve, gives the colour."""
    curve, matching, statistics = way
    color = MATCHINGS[matching][1] if curve == LINE else CURVES[curve][1]
    return color, STATISTICS[statistics][1] if curve == LINE else "-"


def profiles(data: xr.Dataset) -> Figure | None:
    """Loss and errors on every way: the mean over pairs with its band, and, thin, each pair."""
    if not finite(data["weight_profile"].values):
        return None
    names, found = plate.names(data, "weight_value"), ways(data)
    options = {"height": 1.55, "left": 0.5, "gap": (0.2, 0.32), "top": 0.68, "bottom": 0.42, "sharex": True}
    columns = 2 if any(curve != LINE for curve, *_ in found) else 1
    figure, axes = style.panels(columns * len(names), columns=columns, sharey="row", **options)
    t = data["weight_t"].values.astype(float)
    dims = ("weight_value", "weight_way", "weight_step")
    ends = [data[f"weight_profile{end}"].transpose(*dims).values for end in ("", "_low", "_high")]
    pairs = data["weight_pair_profile"].transpose("weight_value", "weight_way", "weight_pair", "weight_step").values
    for v, name in enumerate(names):
        label, scale = VALUES[name]
        row = axes[columns * v : columns * (v + 1)]
        for w, way in enumerate(found):
            color, line = looks(way)
            plain = way == (LINE, "none", "plain")
            # The line between units as they are stands in both panels: what everything else is compared with.
            shown = row if plain else row[:1] if way[0] == LINE else row[1:]
            for one in shown:
                value, low, high = (scale * end[v, w] for end in ends)
                if way[2] == "plain" or way[0] != LINE:
                    style.thin_lines(one, t, scale * pairs[v, w], color, alpha=0.15)
                one.fill_between(t, low, high, color=color, alpha=0.2, linewidth=0)
                one.plot(t, value, color=color, linestyle=line)
        row[0].set_ylabel(label)
        for one in row:
            one.set_xlim(0, 1)
            one.set_xticks(*TICKS)
            one.grid(axis="y")
        if name == "loss":
            row[0].set_yscale("log")
            seen = scale * pairs[v][np.isfinite(pairs[v]) & (pairs[v] > 0)]
            style.log_axis(row[0].yaxis, float(seen.min()), float(seen.max()))
        else:
            row[0].set_ylim(bottom=0)
    axes[0].set_title("the straight line")
    if columns == 2:
        axes[1].set_title("curves between units as they are")
    style.shared_labels(figure, x=WAY)
    _legend(figure, found)
    return figure


def _legend(figure: Figure, found: list[tuple[str, str, str]]) -> None:
    kinds = [MATCHINGS[name] for name in MATCHINGS if any(way[0] == LINE and way[1] == name for way in found)]
    kinds += [CURVES[name] for name in CURVES if any(way[0] == name for way in found)]
    handles: list = [Line2D([], [], color=color) for _, color in kinds]
    labels = [label for label, _ in kinds]
    for name, (label, line) in STATISTICS.items():
        if name == "reset" and any(way[0] == LINE and way[2] == name for way in found):
            handles.append(Line2D([], [], color="#777777", linestyle=line))
            labels.append(label)
    handles.append(Patch(color="#777777", alpha=0.3, linewidth=0))
    labels.append("95 % band of the mean over pairs")
    style.legend_above(figure, handles, labels, columns=4)


def title(way: tuple[str, str, str]) -> str:
    """A way in words."""
    curve, matching, statistics = way
    if curve != LINE:
        return CURVES[curve][0]
    return f"line, {MATCHINGS[matching][0]}" + (",\nstatistics reset" if statistics == "reset" else "")


def kept(data: xr.Dataset) -> Figure | None:
    """What share of one end's adversarial examples is wrong on the way to the other end, a panel a way."""
    if not finite(data["weight_kept"].values):
        return None
    found = ways(data)
    options = {"height": 1.1, "left": 0.5, "gap": (0.2, 0.5), "top": 0.62, "bottom": 0.42}
    figure, axes = style.panels(len(found), columns=COLUMNS, sharex=True, sharey=True, **options)
    t = data["weight_t"].values.astype(float)
    dims = ("weight_way", "weight_kept_of", "weight_step")
    ends = [100 * data[f"weight_kept{end}"].transpose(*dims).values for end in ("", "_low", "_high")]
    for w, (one, way) in enumerate(zip(axes, found, strict=True)):
        for k, name in enumerate(plate.names(data, "weight_kept_of")):
            value, low, high = (end[w, k] for end in ends)
            color = KEPT[name][1]
            one.fill_between(t, low, high, color=color, alpha=0.2, linewidth=0)
            one.plot(t, value, color=color)
        one.set_title(title(way), fontsize=6.5)
        one.set(xlim=(0, 1), ylim=(0, 103))
        one.set_xticks(*TICKS)
        one.grid(axis="y")
    style.shared_labels(figure, x="share of the way from the attacked end to the other one", y="wrong (%)")
    handles = [Line2D([], [], color=color) for _, color in KEPT.values()]
    handles.append(Patch(color="#777777", alpha=0.3, linewidth=0))
    style.legend_above(figure, handles, [*(label for label, _ in KEPT.values()), "95 % band"], columns=3)
    return figure


NEEDS = ("way_curve", "way_matching", "way_statistics", "weight_t")
PLATES = (
    Plate(
        "weight_profiles",
        "From one classifier to another, in weight space",
        "Test loss and errors of the classifiers on the way between two members: on the straight line, with the second "
        "one's hidden units as they are or in the order most like the first one's, and, dashed, with the units' mean "
        "and spread reset; and on trained curves. Thin: each pair. Bands hold at all places together, over members and "
        "images, for this training set. A way found is an upper bound: another one may be lower.",
        ("weight_profile", "weight_profile_low", "weight_profile_high", "weight_pair_profile", *NEEDS),
        profiles,
        optional=True,
    ),
    Plate(
        "weight_kept",
        "What stays adversarial on the way to another classifier",
        "Share of images that the classifiers on the way get wrong: adversarial examples made on one end, and the "
        "images that they are made from. At the right the other end stands, which has never seen the attack. Images "
        "that every member classifies rightly and on which every member is fooled by its own attack. Where the images "
        "themselves go wrong, a wrong answer says little about the attack.",
        ("weight_kept", "weight_kept_low", "weight_kept_high", *NEEDS),
        kept,
        optional=True,
    ),
)
