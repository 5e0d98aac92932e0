"""Figures of `connectivity` about the graph of inputs of one class, and about how attacks were tuned."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from landscape.reporting import style
from landscape.reporting.style import GREY, INK, finite

SETS = {
    "components": ("one member, its own inputs", "#0072B2"),
    "alone_components": ("one member, shared inputs", "#0072B2"),
    "shared_components": ("all members, shared inputs", "#D55E00"),
}


def components(data: xr.Dataset) -> Figure | None:
    """Number of components against the loss up to which nodes and paths are there; dotted, the number of nodes."""
    known = [name for name in SETS if finite(data[name].values)]
    if not known:
        return None
    figure, axes = style.panels(len(known), columns=3, height=1.6, left=0.5, gap=(0.4, 0.3), top=0.3, bottom=0.42)
    t = data["threshold"].values
    for one, name in zip(axes, known, strict=True):
        title, color = SETS[name]
        one.plot(t, data[f"{name}_nodes"].values, color=GREY, linestyle=":", label="inputs that are there")
        one.plot(t, data[name].values, color=color, label="components")
        if f"{name}_low" in data:
            one.fill_between(t, data[f"{name}_low"].values, data[f"{name}_high"].values, color=color, alpha=0.18, lw=0)
        style.log_x(one, t)
        one.set_title(title)
        top = 1.3 * float(np.nanmax(data[f"{name}_nodes"].values))  # room for the legend
        one.set(ylim=(0, top), ylabel="mean over classes" if one is axes[0] else "", xlabel="loss up to (nats)")
        one.grid()
        one.legend(loc="upper left", fontsize=6.5)
    return figure


def tuning(data: xr.Dataset) -> Figure | None:
    """What each weight of the barrier makes of the detector, and of the attack's success, on validation images."""
    auroc, reached = (data[name].values.astype(float) for name in ("tuning_auroc", "tuning_share"))
    if not finite(auroc):
        return None
    weights, taken = data["weight"].values.astype(float), float(data["adaptive_weight"].values)
    place = np.arange(len(weights))
    figure, (left, right) = style.panels(2, columns=2, height=1.4, left=0.5, gap=(0.55, 0.3), top=0.15, bottom=0.42)
    for one, values, label in ((left, auroc, "AUROC of the barrier"), (right, 100 * reached, "success (%)")):
        one.plot(place, values, color=INK, marker="o", markersize=3)
        chosen = np.flatnonzero(weights == taken)
        one.plot(chosen, values[chosen], "o", color="none", markeredgecolor="#D55E00", markersize=8)
        one.set_xticks(place, [style.short_number(w) for w in weights])
        one.set(xlabel="weight (logits / nat)", ylabel=label)
        one.grid()
    return figure
