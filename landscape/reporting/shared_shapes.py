"""Figures of `shared` about what shared examples look like, and about where members disagree between classes."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from landscape.reporting import plate, style
from landscape.reporting.shared_parts import GREY, INK, finite
from landscape.reporting.sheet import Strip, sheet

MEASURES = {  # array -> (title, unit)
    "input_probability_drop": ("probability lost to noise", "probability"),
    "input_loss_rise": ("loss gained by noise", "nats"),
    "input_scale_free": ("margin lost to noise", "share, scale-free"),
    "worst_margin_drop": ("worst loss of margin", "logits"),
    "gradient_norm": ("gradient of the loss", "nats / pixel"),
    "hessian_top": ("curvature of the loss", "nats / pixel²"),
    "margin": ("margin of its class", "logits"),
    "delta_l2": ("L2 distance moved", "pixels"),
    "manifold": ("distance to reconstruction", "pixels"),
    "nearest": ("to the nearest training image", "pixels"),
    "nearest_true": ("neighbours of the true class", "share"),
    "nearest_taken": ("neighbours of its new class", "share"),
}
LOOKS = {  # population -> (label, colour, marker)
    "genuine": ("genuine", "#0072B2", "o"),
    "unshared": ("fools no held-out member", "#E69F00", "s"),
    "shared": ("fools every held-out one", "#D55E00", "s"),
    "joint": ("the same, searched on all attackers", "#CC79A7", "D"),
}
READINGS = {"raw": "raw", "change": "changed", "iso": "equal margin", "matched": "matched"}
GROUNDS = {"manifold": ("lines on the manifold", "#0072B2"), "pixels": ("blends of pixels", "#D55E00")}
IMAGE = ("height", "width", "channel")
CAPTION = 8  # letters of a class name beneath a picture


def means(data: xr.Dataset) -> Figure | None:
    """Each measure's mean in each population, a panel a measure."""
    if not finite(data["shape"].values):
        return None
    figure, axes = _panels(data, height=0.72, below=0.12)
    populations = plate.names(data, "shape_population")
    for m, one in enumerate(axes):
        for p, name in enumerate(populations):
            value, low, high = (float(data[f"shape{end}"].values[m, p]) for end in ("", "_low", "_high"))
            if np.isfinite(value):
                _, color, marker = LOOKS[name]
                ends = [[max(value - low, 0)], [max(high - value, 0)]] if np.isfinite(low) else None
                one.errorbar([p], [value], yerr=ends, color=color, marker=marker, markersize=4, elinewidth=1)
        one.set(xlim=(-0.6, len(populations) - 0.4))
        one.set_xticks([])
        one.grid(axis="y")
        one.locator_params(axis="y", nbins=4)
    _legend(figure, [name for p, name in enumerate(populations) if finite(data["shape"].values[:, p])])
    return figure


def differences(data: xr.Dataset) -> Figure | None:
    """Shared minus unshared examples of every measure, a row a reading."""
    if not finite(data["shape_difference"].values):
        return None
    figure, axes = _panels(data, height=0.76, below=0.2)
    contrasts = plate.names(data, "shape_contrast")
    found = [
        data[f"shape_difference{end}"].transpose("shape_measure", "shape_contrast", "reading").values
        for end in ("", "_low", "_high")
    ]
    readings = plate.names(data, "reading")
    rows = list(READINGS)
    for m, one in enumerate(axes):
        for c, kind in enumerate(contrasts):
            for r, reading in enumerate(readings):
                value, low, high = (float(part[m, c, r]) for part in found)
                if not np.isfinite(value):
                    continue
                _, color, marker = LOOKS[kind]
                y = (1.5 if reading == "scale_free" else rows.index(reading)) + 0.24 * (c - 0.5 * (len(contrasts) - 1))
                ends = [[max(value - low, 0)], [max(high - value, 0)]] if np.isfinite(low) else None
                one.errorbar([value], [y], xerr=ends, color=color, marker=marker, markersize=3, elinewidth=1)
        one.axvline(0, color=INK, linewidth=0.6, zorder=0)
        one.set(ylim=(len(rows) - 0.5, -0.5))
        scale_free = plate.names(data, "shape_measure")[m].endswith("scale_free")
        shown = [] if scale_free else range(len(rows))
        one.set_yticks(shown, [READINGS[rows[i]] if m % COLUMNS == 0 else "" for i in shown])
        one.tick_params(axis="y", length=0)
        one.grid(axis="x")
        one.locator_params(axis="x", nbins=3)
    _legend(figure, [kind for c, kind in enumerate(contrasts) if finite(found[0][:, c])])
    return figure


COLUMNS = 4


def _panels(data: xr.Dataset, *, height: float, below: float):
    """A panel for each measure, its unit beneath the title."""
    names = plate.names(data, "shape_measure")
    options = {"height": height, "left": 0.74, "gap": (0.42, 0.4 + below), "top": 0.5, "bottom": 0.1 + below}
    figure, axes = style.panels(len(names), columns=COLUMNS, **options)
    for one, name in zip(axes, names, strict=True):
        title, unit = MEASURES.get(name, (style.plain(name), ""))
        one.set_title(f"{title}\n({unit})", fontsize=6.5)
    return figure, axes


def _legend(figure: Figure, names: list[str]) -> None:
    looks = [LOOKS[name] for name in names]
    handles = [Line2D([], [], color=c, marker=m, linestyle="", markersize=4) for _, c, m in looks]
    style.legend_above(figure, handles, [label for label, *_ in looks], columns=4)


def between(data: xr.Dataset) -> Figure | None:
    """How far members disagree along lines between two classes, and how large it gets on each."""
    if not finite(data["between"].values):
        return None
    options = {"height": 1.6, "left": 0.5, "gap": (0.55, 0.3), "top": 0.3, "bottom": 0.42}
    figure, (left, right) = style.panels(2, columns=2, **options)
    t = data["step"].values.astype(float)
    for g, name in enumerate(plate.names(data, "ground")):
        _, color = GROUNDS[name]
        value, low, high = (
            data[f"between{end}"].transpose("ground", "step").values[g] for end in ("", "_low", "_high")
        )
        left.plot(t, value, color=color)
        left.fill_between(t, low, high, color=color, alpha=0.2, linewidth=0)
        peaks = np.sort(data["disagreement"].transpose("ground", "step", "pair").values[g].max(axis=0))
        right.step(peaks, 100 * np.arange(1, len(peaks) + 1) / len(peaks), color=color, where="post")
    left.set(xlabel="share of the line from one image to the other", ylabel="mean disagreement (nats)", xlim=(0, 1))
    left.set_ylim(bottom=0)
    right.set(xlabel="largest disagreement on a line (nats)", ylabel="lines with no more (%)", ylim=(0, 103))
    right.set_xlim(left=0)
    for one in (left, right):
        one.grid(axis="y")
    handles = [Line2D([], [], color=color) for _, color in GROUNDS.values()]
    style.legend_above(figure, handles, [label for label, _ in GROUNDS.values()], columns=2)
    return figure


def between_pictures(data: xr.Dataset) -> Figure | None:
    """The places of the largest disagreement on the lines where that is largest, and on those where it is smallest."""
    pictures = data["between_picture"].transpose("between_shown", "place", *IMAGE).values
    chosen = data["between_pair"].values
    apart = data["disagreement"].transpose("ground", "step", "pair").values[0][:, chosen]
    at = (1 + apart[1:-1].argmax(axis=0)).tolist()
    vote = data["vote"].transpose("ground", "step", "pair", "class").values[0][:, chosen]
    count = len(chosen)
    names = [style.plain(name, limit=CAPTION) for name in data["class"].values.astype(str)]
    split = -(-count // 2)

    def said(step: int, i: int, kept: int) -> str:
        order = np.argsort(-vote[step, i], kind="stable")[:kept]
        return "\n".join(f"{names[c]} ({vote[step, i, c]})" for c in order if vote[step, i, c])

    last = len(apart) - 1
    strips = [
        Strip("one end", GREY, list(pictures[:, 0]), texts=[said(0, i, 1) for i in range(count)]),
        Strip("between", INK, list(pictures[:, 1]), texts=[said(at[i], i, 2) for i in range(count)]),
        Strip("other end", GREY, list(pictures[:, 2]), above=0.1, texts=[said(last, i, 1) for i in range(count)]),
    ]
    peaks = [f"{apart[at[i], i]:.2f} nats" for i in range(count)]
    groups = [(0, split - 1, "where members disagree most"), (split, count - 1, "where they disagree least")]
    before = [0.15 if i == split else 0.0 for i in range(count)]
    return sheet(strips, groups=[g for g in groups if g[0] <= g[1]], heads=peaks, before=before, margin=0.75)
