"""A figure of `gradients`: what gradients of different classifiers, places and step lengths have in common."""

from typing import NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from landscape.reporting import plate, style
from landscape.reporting.autoencoder_cells import look
from landscape.reporting.gradient_parts import VALUES, dots_on_row, families, number, over
from landscape.reporting.latent_parts import mean, read

OWN, ALL = "#0072B2", "#E69F00"
ROW, APART = 0.155, 0.17  # inches a row; rows apart: own class above, others below


class Agreement(NamedTuple):
    """A row of panel a: its name, the block it belongs to with its colour, pairs' means [pair] of the classes."""

    name: str
    block: str
    color: str
    own: np.ndarray
    all: np.ndarray


def own_class(values: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Of values [row, class, example] those of the class in prediction [row, example]."""
    return np.take_along_axis(values, prediction[:, None], axis=1)[:, 0]


def agreements(data: xr.Dataset) -> list[Agreement]:
    """Cosines of two classifiers' gradients; the own class is the one that the first of a pair predicts."""
    prediction = data["prediction"].transpose("member", "example").values.astype(int)
    first = prediction[np.triu_indices(len(prediction), 1)[0]]
    found = []

    def add(name: str, block: str, color: str, values: np.ndarray) -> None:
        if np.isfinite(values).any():
            found.append(Agreement(name, block, color, mean(own_class(values, first), 1), over(values, 1)))

    def by_value(array: str, block: str, color: str) -> None:
        values = read(data, array, "value", "pair", "class", "example")
        for v, value in enumerate(plate.names(data, "value") if values is not None else ()):
            add(VALUES.get(value, (style.plain(value), ""))[0], block, color, values[v])

    by_value("gradient_cosine.pixels", "pixels", "#222222")
    smooth = read(data, "smooth_cosine", "sigma", "pair", "class", "example")
    if smooth is not None:
        for s in np.argsort(data["sigma"].values, kind="stable"):
            add(f"σ = {number(float(data['sigma'].values[s]))}", "SmoothGrad", "#222222", smooth[s])
    for family in families(data):
        by_value(f"gradient_cosine.{family}", look(family).label, look(family).color)
    return found


def agreement(data: xr.Dataset) -> Figure | None:
    """a: between classifiers. b: push-forward and gradient of pixels. c: push-forward and finite difference."""
    told, known = agreements(data), families(data)
    pushed = [f for f in known if read(data, f"pushed_to_pixels.{f}") is not None]
    stepped = [f for f in known if read(data, f"pushed_to_step.{f}") is not None]
    if not told and not pushed and not stepped:
        return None
    tall = max(2.3, ROW * (len(told) + 0.5 * len({row.block for row in told})))
    figure = Figure(figsize=(style.PAGE, tall + 0.86))
    side = (tall - 0.68) / 2
    if told:
        _between(figure.add_axes(_box(figure, 1.62, 0.42, 2.35, tall)), told)
    if pushed:
        _to_pixels(figure.add_axes(_box(figure, 4.75, 0.42 + side + 0.68, 2.05, side)), data, pushed)
    if stepped:
        _to_step(figure.add_axes(_box(figure, 4.75, 0.42, 2.05, side)), data, stepped)
    keys = [
        Line2D([], [], color=OWN, marker="o", markersize=3.5, linestyle=""),
        Line2D([], [], color=ALL, marker="o", markersize=3.5, markerfacecolor="white", linestyle=""),
        Line2D([], [], color="#222222", marker="|", markersize=7, linestyle=""),
    ]
    labels = ["class that the classifier predicts", "all classes (b: all others)", "mean"]
    style.legend_above(figure, keys, labels, columns=3)
    return figure


def _box(figure: Figure, x: float, bottom: float, wide: float, tall: float) -> tuple[float, float, float, float]:
    width, height = figure.get_size_inches()
    return x / width, bottom / height, wide / width, tall / height


def _cosine_axis(axes: Axes) -> None:
    """An axis of cosines that begins at 0, or at -1 where something is negative."""
    drawn = np.concatenate([np.asarray(line.get_xdata(), float) for line in axes.lines] or [np.zeros(1)])
    axes.set_xlim(-1 if drawn.min() < -0.05 else min(-0.02, float(drawn.min())), 1.02)
    axes.axvline(0, color="#8a8a8a", linewidth=0.6, zorder=0.5)
    axes.grid(axis="x")


def _between(axes: Axes, told: list[Agreement]) -> None:
    """A row a value and place, blocks half a row apart and named on the left."""
    places, y = [], -0.5
    for i, row in enumerate(told):
        fresh = i == 0 or row.block != told[i - 1].block
        y += 1.5 if fresh else 1.0
        places.append(y)
        dots_on_row(axes, row.own, y - APART, OWN)
        dots_on_row(axes, row.all, y + APART, ALL, hollow=True)
        if fresh:
            # To the left of the longest name of a value, in points.
            how = {"textcoords": "offset points", "annotation_clip": False, "weight": "bold", "va": "center"}
            axes.annotate(
                row.block, (0, y), (-112, 0), xycoords=("axes fraction", "data"), color=row.color, fontsize=7, **how
            )
    axes.set_yticks(places, [row.name for row in told])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(y + 0.7, 0.3)
    _cosine_axis(axes)
    axes.set(title="a  two classifiers' gradients", xlabel="cosine")


def _to_pixels(axes: Axes, data: xr.Dataset, known: list[str]) -> None:
    """A row a family; dots are classifiers."""
    prediction = data["prediction"].transpose("member", "example").values.astype(int)
    for y, family in enumerate(known):
        values = read(data, f"pushed_to_pixels.{family}", "member", "class", "example")
        own = own_class(values, prediction)
        others = (values.sum(axis=1) - own) / max(1, values.shape[1] - 1)
        dots_on_row(axes, mean(own, 1), y - APART, OWN)
        dots_on_row(axes, mean(others, 1), y + APART, ALL, hollow=True)
    axes.set_yticks(range(len(known)), [look(family).label for family in known])
    for text, family in zip(axes.get_yticklabels(), known, strict=True):
        text.set_color(look(family).color)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(known) - 0.5, -0.5)
    _cosine_axis(axes)
    axes.set(title="b  push-forward and pixel gradient", xlabel="cosine")


def _to_step(axes: Axes, data: xr.Dataset, known: list[str]) -> None:
    """A line a family over the length of the step; dots are classifiers."""
    steps = data["step"].values.astype(float)
    order = np.argsort(steps, kind="stable")
    lowest = 0.0
    for family in known:
        values = over(read(data, f"pushed_to_step.{family}", "member", "step"), 2)[:, order]
        s = look(family)
        lowest = min(lowest, float(np.nanmin(values)))
        axes.plot(
            steps[order], mean(values, 0), color=s.color, marker=s.marker, markersize=3.5, linewidth=1.1, label=s.label
        )
        dots = {"markersize": 2.2, "alpha": 0.35, "markeredgewidth": 0, "linestyle": ""}
        axes.plot(np.tile(steps[order], len(values)), values.ravel(), "o", color=s.color, **dots)
    style.log_x(axes, steps, small=True)
    axes.set_xlim(steps.min() / 1.3, steps.max() * 1.3)
    axes.set_xticks(steps[order], [number(step) for step in steps[order]])
    axes.legend(loc="best", fontsize=7)
    axes.set_ylim(-1 if lowest < -0.1 else min(-0.06, lowest), 1.06)
    axes.grid(axis="y")
    axes.set(title="c  push-forward and finite step", xlabel="step (typical distances)", ylabel="cosine")
