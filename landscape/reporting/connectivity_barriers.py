"""Figures of `connectivity` over pairs: distributions of barriers, ROC curves, profiles, means by kind and path."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from landscape.reporting import plate, style
from landscape.reporting.style import GREY, INK, finite

LOOKS = {  # kind of pair -> (label, colour, marker)
    kind: (kind.replace("_", " "), color, marker)
    for kind, color, marker in (
        ("genuine", "#0072B2", "o"),
        ("boosted", "#56B4E9", "s"),
        ("natural_error", "#E69F00", "o"),
        ("adversarial", "#D55E00", "s"),
        ("adversarial_iso", "#D55E00", "D"),
        ("joint", "#D55E00", "^"),
        ("adaptive", "#CC79A7", "s"),
        ("adaptive_unseen", "#CC79A7", "D"),
        ("manifold", "#009E73", "s"),
        ("dreamed", "#222222", "v"),
        ("two_adversarial", "#D55E00", "P"),
        ("same_start", "#8a8a8a", "o"),
        ("same_member", "#8a8a8a", "s"),
        ("same_attack", "#8a8a8a", "D"),
        ("same_noisy", "#8a8a8a", "^"),
        ("both_noisy", "#8a8a8a", "v"),
        ("carrier", "#8a8a8a", "x"),
    )
}
MAIN = ("genuine", "boosted", "natural_error", "adversarial", "adaptive")
PATHS = {
    "line": "straight line",
    "bypass": "bypass",
    "chain": "trained chain",
    "bezier": "Bezier curve",
    "noisy": "noisy bypass",
    "chain_noisy": "noisy chain",
    "bezier_noisy": "noisy Bezier curve",
    "all": "bypass, all members",
    "chain_all": "chain, all members",
    "bezier_all": "Bezier, all members",
    "manifold_line": "manifold, line",
    "manifold_bypass": "manifold, bypass",
}
READINGS = {
    "adversarial.genuine.raw": ("raw", "#D55E00", "-"),
    "adversarial.boosted.raw": ("from boosted ones", "#56B4E9", ":"),
    "adversarial_iso.natural_error.matched": ("from natural errors, matched", "#E69F00", "--"),
    "adaptive.genuine.raw": ("adaptive attack", "#CC79A7", "-."),
}
DASHES = {"line": "-", "bypass": "--"}
NEAR_ZERO = 0.01  # nats: below, the axis is linear


def told(data: xr.Dataset, name: str, kind: str, path: str) -> np.ndarray:
    """Values of the pairs that count, of all members, in one row."""
    if kind not in plate.names(data, "kind") or path not in plate.names(data, "path"):
        return np.zeros(0)
    at = {"kind": kind, "path": path}
    values, valid = (data[array].sel(at).transpose("member", "pair").values for array in (name, "valid"))
    return values[valid == 1]


def main(data: xr.Dataset) -> Figure | None:
    """Distribution functions beside ROC curves."""
    return _main(data, columns=2, width=style.PAGE)


def main_column(data: xr.Dataset) -> Figure | None:
    """The same, one below the other."""
    return _main(data, columns=1, width=style.COLUMN)


def _main(data: xr.Dataset, *, columns: int, width: float) -> Figure | None:
    if not finite(data["below"].values):
        return None
    options = {"width": width, "left": 0.5, "gap": (0.55, 0.62), "top": 0.62 if columns == 1 else 0.46}
    told_apart = "roc" in data  # not where no kind is told from another
    figure, (left, *right) = style.panels(1 + told_apart, columns=columns, height=2.1, bottom=0.42, **options)
    shown = [kind for kind in MAIN if _distribution(left, data, kind)]
    if not shown:
        return None
    left.set_xscale("symlog", linthresh=NEAR_ZERO, linscale=0.5)
    height, share = data["barrier_height"].values, data["below"].sel(kind=shown).isel(below_end=0)
    short = np.flatnonzero((share.transpose(..., "barrier_height").values < 1).any(axis=(0, 1)))
    # To where all pairs lie below, if that is reached.
    top = max(height[min(short.max(initial=0) + 1, len(height) - 1)], NEAR_ZERO)
    ticks = [tick for tick in (0, 0.01, 0.1, 1, 10) if tick <= top]
    left.set(xlabel="barrier (nats)", ylabel="pairs (%)", ylim=(0, 102), xlim=(0, top))
    left.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    left.minorticks_off()
    left.grid()
    rows = 2 if columns == 1 else 1
    handles = [Line2D([], [], color=LOOKS[kind][1]) for kind in shown]
    style.legend_above(figure, handles, [LOOKS[kind][0] for kind in shown], columns=-(-len(shown) // rows))
    if right:
        roc(right[0], data)
    return figure


def _distribution(axes, data: xr.Dataset, kind: str) -> bool:
    """Distribution functions of a kind's barriers with their bands; whether there is one."""
    if kind not in plate.names(data, "kind"):
        return False
    height = data["barrier_height"].values
    curves = data["below"].sel(kind=kind).transpose("below_path", "below_end", "barrier_height").values
    for name, curve in zip(plate.names(data, "below_path"), curves, strict=True):
        value, low, high = 100 * curve
        axes.plot(height, value, color=LOOKS[kind][1], linestyle=DASHES[name], linewidth=1.2)
        if name == "line":  # the others lie on top of one another
            axes.fill_between(height, low, high, color=LOOKS[kind][1], alpha=0.14, linewidth=0)
    return finite(curves)


def roc(axes, data: xr.Dataset) -> None:
    """ROC curves of the line's barrier in READINGS."""
    axes.plot([0, 100], [0, 100], color="#cccccc", linewidth=0.8, zorder=0)
    names, rate = plate.names(data, "roc_reading"), 100 * data["rate"].values
    curves = data["roc"].transpose("roc_path", "roc_reading", "roc_end", "rate").values[0]
    for name, (label, color, dashes) in READINGS.items():
        if name not in names:
            continue
        value, low, high = 100 * curves[names.index(name)]
        axes.plot(rate, value, color=color, linestyle=dashes, label=label)
        axes.fill_between(rate, low, high, color=color, alpha=0.13, linewidth=0)
    axes.set(xlabel="told adversarial though not (%)", ylabel="adversarial told (%)", xlim=(0, 100), ylim=(0, 101))
    axes.grid()
    if set(names) & set(READINGS):
        axes.legend(loc="lower right", fontsize=6.5)


def main_table(data: xr.Dataset) -> list[tuple]:
    """Quantiles of the barriers."""
    shares = (0.1, 0.25, 0.5, 0.75, 0.9)
    rows: list[tuple] = [("pairs", "path", "count", *(f"quantile {q:g} (nats)" for q in shares))]
    for kind in plate.names(data, "kind"):
        for path in ("line", "bypass"):
            values = told(data, "barrier", kind, path)
            if len(values):
                rows.append((kind, path, len(values), *(f"{q:.4g}" for q in np.quantile(values, shares))))
    return rows


def kinds(data: xr.Dataset) -> Figure | None:
    """Mean barriers of every kind of pair on the line and after the bypass."""
    return _means(data, lambda path: path in DASHES)


def paths(data: xr.Dataset) -> Figure | None:
    """Mean barriers on all other paths, of the kinds that have them."""
    return _means(data, lambda path: path not in DASHES)


def _means(data: xr.Dataset, wanted) -> Figure | None:
    """A row a kind of pair, a panel a path."""
    value, low, high = (data[f"mean_barrier{end}"].transpose("kind", "path").values for end in ("", "_low", "_high"))
    names, every = plate.names(data, "kind"), plate.names(data, "path")
    shown = [p for p in range(value.shape[1]) if wanted(every[p]) and finite(value[:, p])]
    rows = [k for k in range(value.shape[0]) if finite(value[k, shown])]
    if not rows:
        return None
    top = 1.3 * max(float(np.nanmax(np.where(np.isfinite(high), high, value)[:, shown])), NEAR_ZERO)
    columns = min(4, len(shown))
    options = {"height": 0.17 * len(rows), "left": 1.75, "gap": (0.16, 0.42), "top": 0.3, "bottom": 0.42}
    figure, axes = style.panels(len(shown), columns=columns, sharex=True, **options)
    for n, (one, p) in enumerate(zip(axes, shown, strict=True)):
        for y, k in enumerate(rows):
            if not np.isfinite(value[k, p]):
                continue
            _, color, marker = LOOKS[names[k]]
            ends = None
            if np.isfinite(low[k, p]):
                ends = [[max(value[k, p] - low[k, p], 0)], [max(high[k, p] - value[k, p], 0)]]
            one.errorbar([value[k, p]], [y], xerr=ends, color=color, marker=marker, markersize=3.5, elinewidth=1)
        one.set_title(PATHS[every[p]])
        one.set_xscale("symlog", linthresh=NEAR_ZERO, linscale=0.5)
        ticks = [tick for tick in (0, 0.01, 0.1, 1, 10) if tick <= top]
        one.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        one.minorticks_off()
        one.set(ylim=(len(rows) - 0.5, -0.5), xlim=(-0.1 * NEAR_ZERO, top))
        one.set_yticks(range(len(rows)), [LOOKS[names[k]][0] if n % columns == 0 else "" for k in rows])
        one.tick_params(axis="y", length=0)
        one.tick_params(axis="x", labelbottom=True)
        one.grid(axis="x")
    style.shared_labels(figure, x="mean barrier (nats)")
    return figure


def profiles(data: xr.Dataset) -> Figure | None:
    """The loss along lines and bypasses, a panel for each of the main kinds."""
    t = data["t"].values
    shown = [kind for kind in MAIN if len(told(data, "barrier", kind, "line"))]
    if not shown:
        return None
    options = {"height": 1.2, "left": 0.5, "gap": (0.22, 0.3), "top": 0.3, "bottom": 0.42, "sharey": True}
    figure, axes = style.panels(len(shown), columns=len(shown), **options)
    for one, kind in zip(axes, shown, strict=True):
        label, color, _ = LOOKS[kind]
        for path, dashes in (("line", "-"), ("bypass", "--")):
            _band(one, data, kind, path, t, color, dashes)
        if kind not in ("genuine", "boosted", "natural_error") and "carrier" in plate.names(data, "kind"):
            _band(one, data, "carrier", "line", t, GREY, ":")
        one.set_title(label)
        one.set(xlim=(0, 1), yscale="symlog")
        one.set_yscale("symlog", linthresh=NEAR_ZERO, linscale=0.5)
        one.set_yticks([0, 0.01, 0.1, 1, 10], ["0", "0.01", "0.1", "1", "10"])
        one.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        one.minorticks_off()
        one.set_ylim(0, None)
        one.grid()
    style.shared_labels(figure, x="share of the path, from the genuine image", y="loss (nats)")
    return figure


def _band(axes, data: xr.Dataset, kind: str, path: str, t, color, dashes) -> None:
    values = data[f"{path}_profile"].sel(kind=kind).transpose("t", "member", "pair").values
    values = values[:, data["valid"].sel(kind=kind, path=path).transpose("member", "pair").values == 1]
    if values.shape[1] == 0:
        return
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75), axis=1)
    axes.plot(t, middle, color=color, linestyle=dashes, linewidth=1.2)
    axes.fill_between(t, low, high, color=color, alpha=0.12, linewidth=0)


def steps(data: xr.Dataset) -> Figure | None:
    """How many steps take barriers away, by kind of pair."""
    gone, names = data["gone"].transpose("kind", "frame").values, plate.names(data, "kind")
    rows = [k for k in range(len(names)) if names[k] in MAIN and finite(gone[k])]
    if not rows:
        return None
    figure, (one,) = style.panels(1, columns=1, width=style.COLUMN + 1.6, height=1.8, left=0.5, right=1.9, top=0.15)
    for k in rows:
        label, color, marker = LOOKS[names[k]]
        one.plot(
            data["frame"].values, 100 * gone[k], color=color, marker=marker, markersize=3, linewidth=1, label=label
        )
    style.log_x(one, data["frame"].values)
    one.set(xlabel="steps of the bend's search", ylabel="barriers taken away (%)", ylim=(0, 102))
    one.grid()
    one.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), fontsize=6, labelcolor=INK)
    return figure
