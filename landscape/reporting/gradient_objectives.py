"""Figures of `gradients`: what each way of being guided by k classifiers leads to, as curves over k and as pictures."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from landscape.reporting import plate, style
from landscape.reporting.autoencoder_axes import size_axis
from landscape.reporting.gradient_guided import pictured_starts
from landscape.reporting.gradient_parts import (
    PICTURE,
    Room,
    class_name,
    guide_look,
    kinds,
    labels_along,
    level,
    over,
    rooms,
    share,
)
from landscape.reporting.latent_parts import mean, read
from landscape.reporting.sheet import Strip, sheet

MEASURES = (  # quantity, title
    ("held_out", "a  held-out\nprobability"),
    ("far", "b  the same at\none distance"),
    ("nearest", "c  to nearest\ntraining (L2)"),
    ("error", "d  MSE, another\nautoencoder"),
    ("flatness", "e  margin lost\nto noise (share)"),
    ("moved", "f  distance\nmoved (L2)"),
)
LEAST = 1e-3  # that a scale ends at: codes that never moved are apart by rounding
PICTURED = {"image": 4, "noise": 2, "zeros": 1}  # starts of a kind


def by_judge(data: xr.Dataset, quantity: str, place: str, kind: str) -> np.ndarray | None:
    """A quantity of where ascents of one kind of start end, mean over starts, [guide, size, judge or 1].

    flatness: the sum of margins' falls over the sum of margins, so that no small margin is divided by. far: held-out
    probability where ascents are as far from their starts as `guided_distance`, of those that go there.
    """
    if kind not in kinds(data):
        return None
    k = kinds(data).index(kind)
    if quantity == "flatness":
        drop, margin = (
            read(data, f"guided_{name}.{place}", "kind", "guide", "size", "judge") for name in ("margin_drop", "margin")
        )
        if drop is None or margin is None:
            return None
        drop, margin = over(drop[k], 3), over(margin[k], 3)
        return np.divide(drop, margin, out=np.full(drop.shape, np.nan), where=margin > 0)
    if quantity == "held_out":
        values = read(data, f"guided_held_out.{place}", "kind", "guided_t", "guide", "size", "judge")
        return None if values is None else over(values[k, -1], 3)
    if quantity == "far":
        top = read(data, f"guided_held_out_far.{place}", "kind", "guide", "size", "judge")
        gone = read(data, f"guided_far.{place}", "kind", "guide", "size")
        if top is None or gone is None:
            return None
        top, gone = over(top[k], 3), over(gone[k], 2)[..., None]
        return np.divide(top, gone, out=np.full(top.shape, np.nan), where=gone > 0)
    values = read(data, f"guided_{quantity}.{place}", "kind", "guide", "size")
    return None if values is None else over(values[k], 2)[..., None]


def objectives(data: xr.Dataset) -> Figure | None:
    """Ends of ascents from images against the number of guides: a line an objective, a row a place."""
    shown = rooms(data, "guided_held_out")
    first = kinds(data)[0]
    if not shown:
        return None
    figure, axes = style.panels(
        len(shown) * len(MEASURES),
        columns=len(MEASURES),
        height=1.15,
        left=0.62,
        top=0.55,
        bottom=0.42,
        gap=(0.36, 0.2),
    )
    sizes = data["size"].values.astype(float)
    order, names = np.argsort(sizes, kind="stable"), plate.names(data, "guide")
    for r, room in enumerate(shown):
        for m, (quantity, title) in enumerate(MEASURES):
            one, values = axes[r * len(MEASURES) + m], by_judge(data, quantity, room.name, first)
            for g, name in enumerate(names):
                if values is not None and np.isfinite(values[g]).any():
                    _line(one, sizes[order], values[g, order], name)
            size_axis(one, data["size"].values.tolist())
            one.set_xlabel("")
            one.grid(axis="y")
            top = 1.0 if quantity in ("held_out", "far") or values is None else 1.08 * max(level(values), LEAST)
            one.set_ylim(0, top)
            one.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
            one.yaxis.set_major_formatter(FuncFormatter(style.short_number))  # narrow: its neighbour is near
            one.tick_params(labelbottom=r == len(shown) - 1)
            if r == 0:
                one.set_title(title, fontsize=7)
            if m == 0:
                one.set_ylabel(room.label, color=room.color)
    style.shared_labels(figure, "number of guides k")
    looks = [guide_look(name) for name in names]
    keys = [Line2D([], [], color=s.color, linestyle=s.line, marker=s.marker, markersize=3.5) for s in looks]
    style.legend_above(figure, keys, [s.label for s in looks], columns=len(looks))
    return figure


def _line(axes, x: np.ndarray, values: np.ndarray, name: str) -> None:
    """The judges' mean as a line, each judge as a small dot, [size, judge]."""
    s = guide_look(name)
    known = np.isfinite(values).any(axis=1)
    axes.plot(
        x[known], mean(values[known], 1), color=s.color, linestyle=s.line, marker=s.marker, linewidth=1.1, markersize=3
    )
    if values.shape[1] > 1:
        dots = {"markersize": 2, "alpha": 0.35, "markeredgewidth": 0, "linestyle": ""}
        axes.plot(np.repeat(x, values.shape[1]), values.ravel(), "o", color=s.color, **dots)


def pictures(data: xr.Dataset) -> Figure | None:
    """Ends by objective at the largest number of guides; beneath each the judges' mean probability of the class."""
    size, names = int(np.argmax(data["size"].values)), plate.names(data, "guide")
    shown = rooms(data, "picture_guided")
    if not shown:
        return None
    strips: list[Strip] = []
    labels, targets = labels_along(data, "guided_start"), data["guided_target"].values.astype(int)
    for k, kind in enumerate(kinds(data)):
        for n, i in enumerate(pictured_starts(data, PICTURED.get(kind, 1))):
            images, texts = [], []
            for room in shown:
                more = _row(data, room, size, k, i)
                images += more[0]
                texts += more[1]
            origin = class_name(data, labels[i]) if kind == "image" else kind
            name = f"{origin}\n→ {class_name(data, int(targets[i]))}"
            strips.append(Strip(name, "#333333", images, 0.08 if n == 0 and strips else 0.0, texts))
    each = 1 + len(names)
    groups = [(r * each, (r + 1) * each - 1, room.label) for r, room in enumerate(shown)]
    before = [0.16 if j and j % each == 0 else 0.0 for j in range(each * len(shown))]
    return sheet(strips, groups=groups, heads=["start", *names] * len(shown), before=before, margin=0.8)


def _row(data: xr.Dataset, room: Room, size: int, kind: int, start: int) -> tuple[list, list[str]]:
    """(pictures, texts): the start, then the end by every objective."""
    ends = read(data, f"picture_guided.{room.name}", "size", "kind", "guided_start", "guide", *PICTURE)
    begun = read(data, f"picture_guided_start.{room.name}", "kind", "guided_start", *PICTURE)
    told = read(data, f"guided_held_out.{room.name}", "size", "kind", "guided_start", "guide", "judge", "guided_t")
    ends = ends[size, kind, start]
    texts = [""] * (1 + len(ends))
    if told is not None:
        # Of the largest number of guides there is one block, so that these numbers are of these pictures.
        before, after = (mean(told[size, kind, start, ..., t], 1) for t in (0, -1))
        texts = [share(float(mean(before, 0))), *(share(float(p)) for p in after)]
    images = [None if begun is None else begun[kind, start]]
    return images + [image if np.isfinite(image).any() else None for image in ends], texts
