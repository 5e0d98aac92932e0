"""Figures of `shared` over attacks: mean transfer, how many members an example fools, directions, joint searches."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from landscape.reporting import plate, style
from landscape.reporting.shared_parts import GREY, INK, NORMS, attack_label, condition_of, finite, in_order

LOOKS = {  # quantity -> (label, colour, marker)
    "wrong": ("fooled", INK, "o"),
    "same": ("same mistake", "#D55E00", "s"),
    "chance": ("same by chance", "#E69F00", "|"),
    "noise": ("by noise of that norm", GREY, "^"),
}
TARGETS = {"attackers": "other attackers", "held_out": "held-out members"}
OBJECTIVES = {
    "loss": ("mean loss", "#0072B2", "o"),
    "logits": ("mean logits", "#56B4E9", "s"),
    "probability": ("mean probability", "#009E73", "^"),
    "softmin": ("soft minimum", "#E69F00", "D"),
    "hardmin": ("hard minimum", "#D55E00", "v"),
}
MADE_BY = {
    "attackers": ("all attackers", "#0072B2", "o"),
    "one attacker": ("one attacker", "#D55E00", "s"),
    "random signs": ("random signs", GREY, "^"),
}


def means(data: xr.Dataset) -> Figure | None:
    """Mean shares of every attack, a panel for each kind of judge."""
    order, count = in_order(data), data.sizes["attack"]
    if not finite(data["mean"].values):
        return None
    options = {"height": 0.24 * count, "left": 1.35, "gap": (0.2, 0.3), "top": 0.42, "bottom": 0.42}
    figure, axes = style.panels(len(TARGETS), columns=len(TARGETS), sharex=True, **options)
    for one, (targets, title) in zip(axes, TARGETS.items(), strict=True):
        for row, a in enumerate(order):
            for q, (quantity, (_, color, marker)) in enumerate(LOOKS.items()):
                at = {"condition": condition_of(data, a), "targets": targets, "quantity": quantity}
                value, low, high = (100 * float(data[f"mean{e}"].isel(attack=a).sel(at)) for e in ("", "_low", "_high"))
                if not np.isfinite(value):
                    continue
                ends = [[max(value - low, 0)], [max(high - value, 0)]] if np.isfinite(low) else None
                y = row + 0.17 * (q - 1.5)
                drawn = {"color": color, "marker": marker, "markersize": 6 if marker == "|" else 3}
                one.errorbar([value], [y], xerr=ends, elinewidth=0.8, linestyle="", **drawn)
        one.set_title(title)
        one.set(xlim=(-2, 102), ylim=(count - 0.4, -0.6))
        one.grid(axis="x")
        one.set_yticks(range(count), [attack_label(data, a) for a in order] if one is axes[0] else [""] * count)
        one.tick_params(axis="y", length=0)
        for row in range(1, count):
            one.axhline(row - 0.5, color="#eeeeee", linewidth=0.6, zorder=0)
    style.shared_labels(figure, x="share of judges and images (%)")
    handles = [Line2D([], [], color=c, marker=m, linestyle="", markersize=4) for _, c, m in LOOKS.values()]
    style.legend_above(figure, handles, [label for label, *_ in LOOKS.values()], columns=4)
    return figure


def counts(data: xr.Dataset) -> Figure | None:
    """How many held-out members an example fools, beside independence given their clean margins."""
    seen = data["count_seen"].transpose("attack", "count").values
    expected = data["count_expected"].transpose("attack", "count").values
    chosen = [a for a in in_order(data) if finite(seen[a])]
    if not chosen:
        return None
    options = {"height": 0.95, "left": 0.44, "gap": (0.26, 0.46), "top": 0.42, "bottom": 0.42}
    figure, axes = style.panels(len(chosen), columns=5, **options)
    x = np.arange(seen.shape[1])
    for one, a in zip(axes, chosen, strict=True):
        one.bar(x, 100 * seen[a], color="#0072B2", width=0.7)
        one.plot(x, 100 * expected[a], color=INK, marker="_", markersize=7, linestyle="", markeredgewidth=1.4)
        one.set_title(attack_label(data, a))
        one.set_ylim(bottom=0)
        one.grid(axis="y")
        one.set_xticks(x[:: max(1, len(x) // 4)])
        one.locator_params(axis="y", nbins=4)
    style.shared_labels(figure, x="held-out members fooled", y="share of examples (%)")
    handles = [
        Line2D([], [], color="#0072B2", linewidth=5),
        Line2D([], [], color=INK, marker="_", linestyle="", markersize=7),
    ]
    style.legend_above(figure, handles, ["seen", "if independent, given each member's clean margin"], columns=2)
    return figure


def joint(data: xr.Dataset) -> Figure | None:
    """What searches that have all attackers to fool do to them, and to held-out members, over the radius."""
    titles = {"joint_all": "images that fool every attacker", "joint_held_out": "held-out members fooled"}
    return _over_radius(data, titles, "objective", OBJECTIVES, top=0.58)


def universal(data: xr.Dataset) -> Figure | None:
    """One perturbation for all images: whom it fools, over the radius."""
    titles = {"universal_attackers": "attackers fooled", "universal_held_out": "held-out members fooled"}
    return _over_radius(data, titles, "made_by", MADE_BY, top=0.42)


def _over_radius(data: xr.Dataset, titles: dict[str, str], along: str, looks: dict, *, top: float) -> Figure | None:
    """A panel for each array named in `titles`, a curve for each entry of the dim `along`; None without any curve."""
    options = {"height": 1.7, "left": 0.5, "gap": (0.3, 0.3), "top": top, "bottom": 0.42}
    figure, axes = style.panels(len(titles), columns=len(titles), sharey=True, **options)
    drawn: set[str] = set()
    for one, (name, title) in zip(axes, titles.items(), strict=True):
        drawn |= _lines(data, one, name, along, looks)
        one.set_title(title)
    if not drawn:
        return None
    axes[0].set_ylabel("share (%)")
    _finish(figure, looks, drawn)
    return figure


def _lines(data: xr.Dataset, axes, name: str, along: str, looks: dict) -> set[str]:
    """Curves of `name` over the radius; the names of those that were drawn."""
    if name not in data.variables:
        return set()
    radius, drawn = data["ball"].values.astype(float), set()
    room = 0.008 * (np.ptp(radius) or 1.0)
    for i, key in enumerate(plate.names(data, along)):
        value, low, high = (100 * data[f"{name}{e}"].sel({along: key}).values for e in ("", "_low", "_high"))
        _, color, marker = looks.get(key, (key, GREY, "o"))
        keep = np.isfinite(value)
        if not keep.any():
            continue
        ends = np.nan_to_num(np.clip(np.stack([value - low, high - value]), 0, None))[:, keep]
        x = radius + room * (i - (data.sizes[along] - 1) / 2)
        axes.errorbar(
            x[keep], value[keep], yerr=ends, color=color, marker=marker, linewidth=1, elinewidth=0.7, markersize=3
        )
        drawn.add(key)
    axes.set_ylim(-3, 103)
    if len(radius) == 1:
        axes.set_xlim(radius[0] - 0.05, radius[0] + 0.05)
    axes.grid(axis="y")
    axes.set_xticks(radius, [f"{r:g}" for r in radius])
    return drawn


def _finish(figure: Figure, looks: dict, drawn: set[str]) -> None:
    style.shared_labels(figure, x=f"{NORMS['linf']} radius (pixels, images in [0, 1])")
    shown = [look for key, look in looks.items() if key in drawn]
    handles = [Line2D([], [], color=c, marker=m, markersize=3.4, linewidth=1) for _, c, m in shown]
    style.legend_above(figure, handles, [label for label, *_ in shown], columns=3)


def directions(data: xr.Dataset) -> Figure | None:
    """Spread over pairs of attackers of the mean cosine of their perturbations, and of their gradients."""
    gradients = data["gradient_cosine"].transpose("source", "other", "example").values
    found = data["perturbation_cosine"].transpose("attack", "source", "other", "example").values
    alone = data["random_cosine"].transpose("attack", "example").values.mean(axis=1)
    rows = [("gradients, clean images", gradients, 0.0)]
    rows += [(attack_label(data, a), found[a], alone[a]) for a in in_order(data)]
    count = len(rows)
    options = {"height": 0.2 * count, "left": 1.45, "top": 0.12, "bottom": 0.42}
    figure, (one,) = style.panels(1, columns=1, width=0.75 * style.PAGE, **options)
    for y, (_, cosine, random) in enumerate(rows):
        one.plot(random, y, "^", color=GREY, markersize=4)
        pairs = cosine.mean(axis=-1)[~np.eye(len(cosine), dtype=bool)]
        one.plot(pairs, np.full(len(pairs), y), "|", color="#0072B2", markersize=6, alpha=0.25)
        one.plot(pairs.mean(), y, "o", color=INK, markersize=3.5)
    one.set_yticks(range(count), [name for name, *_ in rows])
    one.tick_params(axis="y", length=0)
    one.set(ylim=(count - 0.4, -0.6), xlabel="mean cosine between two attackers (triangle: between random ones)")
    one.set_xlim(min(-0.05, one.get_xlim()[0]), 1.01)
    one.grid(axis="x")
    return figure
