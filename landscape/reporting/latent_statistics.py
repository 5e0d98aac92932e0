"""Figures of `latent`: what the set of a family's latents looks like, in numbers."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from landscape.presets.names import OWN_PRIOR
from landscape.reporting import style
from landscape.reporting.latent_parts import (
    GREY,
    REFERENCE,
    dots,
    families,
    family_key,
    family_rows,
    look,
    mean,
    read,
)

MOST_DOTS = 400  # of a family
DIMENSIONS = (
    ("nominal", "|", "given"),
    ("active_units", "s", "active"),
    ("effective_dimension", "o", "effective"),
    ("intrinsic_dimension", "^", "intrinsic"),
)
MEASURES = (  # name, title, unit, value of chance or of nothing
    ("mmd", "b  MMD² from prior", "", 0.0),
    ("gaussian_accuracy", "c  told from Gaussian", "accuracy", 0.5),
    ("probe", "d  class, linear probe", "accuracy", None),
    ("knn", "e  class, 10 neighbours", "accuracy", None),
    ("cka", "f  alike between seeds", "CKA", None),
    ("linear_r2", "g  alike between seeds", "R² of a linear map", None),
)


# ---- measures ----


def measures(data: xr.Dataset) -> Figure | None:
    """A row a family, a panel a measure; a dot a seed, or a pair of seeds."""
    names = families(data)
    values = {name: [_measured(data, name, family) for family in names] for name, *_ in MEASURES}
    shown = [entry for entry in MEASURES if any(v is not None for v in values[entry[0]])]
    dimensions = {family: _dimensions(data, family) for family in names}
    if not shown and not any(dimensions.values()):
        return None
    figure, axes = style.panels(
        1 + len(shown), columns=4, height=max(0.8, 0.2 * len(names)), left=0.85, top=0.45, bottom=0.4, gap=(0.18, 0.62)
    )
    _draw_dimensions(axes[0], names, dimensions)
    for one, (name, title, unit, nothing) in zip(axes[1:], shown, strict=True):
        for y, (family, told) in enumerate(zip(names, values[name], strict=True)):
            hollow = name == "mmd" and family not in OWN_PRIOR
            if name == "mmd":
                _ends(one, data, family, y)
            dots(one, told, y, look(family).color, hollow=hollow)
        if nothing is not None:
            one.axvline(nothing, **REFERENCE)
        one.set(title=title, xlabel=unit)
        one.margins(x=0.1)
        one.locator_params(axis="x", nbins=4)
    for i, one in enumerate(axes):
        family_rows(one, names)
        one.tick_params(axis="y", labelleft=i % 4 == 0)
    keys = [
        Line2D([], [], color="#555555", marker=marker, linestyle="", markersize=6 if marker == "|" else 4)
        for _, marker, _ in DIMENSIONS
    ]
    keys[1].set_markerfacecolor("white")
    style.legend_above(figure, keys, [f"{text} dimensions" for *_, text in DIMENSIONS], columns=4)
    return figure


def _ends(axes: Axes, data: xr.Dataset, family: str, y: int) -> None:
    """The interval of each member's discrepancy, which its points have; 95 %."""
    low, high = (_measured(data, f"mmd_{end}", family) for end in ("low", "high"))
    if low is not None and high is not None:
        place = y + 0.5 * (np.arange(len(low)) - (len(low) - 1) / 2) / max(1, len(low))
        axes.hlines(place, low, high, color=look(family).color, linewidth=0.8, alpha=0.6)


def _measured(data: xr.Dataset, name: str, family: str) -> np.ndarray | None:
    """[member], or [pair]."""
    values = read(data, f"{name}.{family}")
    return None if values is None else mean(values.reshape(len(values), -1), -1)


def _dimensions(data: xr.Dataset, family: str) -> dict[str, np.ndarray]:
    found = {name: _measured(data, name, family) for name, *_ in DIMENSIONS[1:]}
    spectrum = read(data, f"spectrum.{family}", "member")
    found["nominal"] = None if spectrum is None else np.asarray([float(spectrum.shape[1])])
    return {name: values for name, values in found.items() if values is not None}


def _draw_dimensions(axes: Axes, names: Sequence[str], told: dict[str, dict[str, np.ndarray]]) -> None:
    drawn = [np.empty(0)]
    for y, family in enumerate(names):
        for name, marker, _ in DIMENSIONS:
            values = told[family].get(name, np.empty(0))
            drawn.append(values)
            if name == "nominal":
                axes.plot(values, np.full(len(values), y), "|", color=GREY, markersize=9, markeredgewidth=1.4)
            else:
                face = {"markerfacecolor": "white"} if name == "active_units" else {"alpha": 0.75}
                axes.plot(values, np.full(len(values), y), marker, color=look(family).color, markersize=3.8, **face)
    known = np.concatenate(drawn)
    if np.any(known > 0):
        style.log_x(axes, known, small=True)
        axes.set_xlim(known[known > 0].min() / 1.3, known[np.isfinite(known)].max() * 1.3)
    axes.set(title="a  dimensions", xlabel="number")


# ---- distributions ----


def spread(data: xr.Dataset) -> Figure | None:
    """Cumulative spectrum, lengths, skewness and excess kurtosis."""
    names = [f for f in families(data) if any(read(data, f"{n}.{f}") is not None for n in ("spectrum", "norms"))]
    if not names:
        return None
    figure, axes = style.panels(4, columns=2, height=max(1.5, 0.26 * len(names)), left=0.85, top=0.45, gap=(0.85, 0.62))
    for family in names:
        spectrum = read(data, f"spectrum.{family}", "member")
        if spectrum is not None:
            _cumulate(axes[0], np.where(np.isfinite(spectrum), spectrum, 0.0), look(family).color)
    longest = max((line.get_xdata()[-1] for line in axes[0].lines), default=1)
    style.log_x(axes[0], np.asarray([1.0, float(longest)]))
    axes[0].set(title="a  spectrum", xlabel="principal axes", ylabel="share of the variance", ylim=(0, 1.03))
    axes[0].grid()
    _lengths(axes[1], data, names)
    examples = data.sizes.get("example", 0)
    for one, name, error in ((axes[2], "skewness", 6), (axes[3], "excess_kurtosis", 24)):
        for y, family in enumerate(names):
            _strip(one, read(data, f"{name}.{family}", "member"), y, look(family).color)
        if examples:
            half = 2 * np.sqrt(error / examples)
            one.axvspan(-half, half, color="#e4e4e4", zorder=0)
        one.axvline(0, **REFERENCE)
        one.set_xscale("symlog", linthresh=1.0, linscale=1.0)
        _symlog_ticks(one)
        family_rows(one, names)
        one.set_xlabel(f"{style.plain(name)} of a dimension")
    axes[2].set_title("c  skewness")
    axes[3].set_title("d  excess kurtosis")
    style.legend_above(figure, *family_key(names), columns=8)
    return figure


def _cumulate(axes: Axes, spectrum: np.ndarray, color: str) -> None:
    total = spectrum.sum(axis=1, keepdims=True)
    shares = np.cumsum(spectrum, axis=1) / np.where(total > 0, total, np.nan)
    x = np.arange(1, shares.shape[1] + 1)
    axes.plot(x, shares.T, color=color, linewidth=0.5, alpha=0.4)
    axes.plot(x, mean(shares, 0), color=color, marker="." if len(x) <= 16 else "")


def _lengths(axes: Axes, data: xr.Dataset, names: Sequence[str]) -> None:
    """Histograms of the latents' lengths over their median, a row a family, all members together."""
    told = {family: read(data, f"norms.{family}", "member") for family in names}
    scaled = {f: (v / np.nanmedian(v, axis=1, keepdims=True)).ravel() for f, v in told.items() if v is not None}
    scaled = {f: v[np.isfinite(v)] for f, v in scaled.items()}
    every = np.concatenate([*scaled.values(), np.ones(1)])
    edges = np.linspace(min(0.5, every.min()), max(1.5, every.max()) + 1e-6, 61)
    for y, family in enumerate(names):
        counts = np.histogram(scaled.get(family, np.empty(0)), edges)[0]
        if counts.any():
            top = y + 0.4 - 0.85 * counts / counts.max()
            axes.fill_between(edges[:-1], y + 0.4, top, step="post", color=look(family).color, alpha=0.8, linewidth=0)
    family_rows(axes, names)
    axes.set(title="b  lengths", xlabel="length of a latent over the median length")


def _strip(axes: Axes, values: np.ndarray | None, y: int, color: str) -> None:
    """Dimensions of all members as dots, spread over the row so that they can be told apart."""
    values = np.empty(0) if values is None else values.ravel()
    values = values[np.isfinite(values)]
    values = np.sort(values)[:: -(-len(values) // MOST_DOTS)] if len(values) else values
    offset = 0.56 * (np.arange(len(values)) * 0.618034 % 1) - 0.28
    axes.plot(values, y + offset, "o", color=color, markersize=2.6, alpha=0.55, markeredgewidth=0)


def _symlog_ticks(axes: Axes) -> None:
    low, high = axes.get_xlim()
    ticks = [t for t in (-100, -30, -10, -3, -1, 0, 1, 3, 10, 30, 100) if low <= t <= high]
    axes.set_xticks(ticks, [f"{t}".replace("-", "−") for t in ticks])
    axes.xaxis.set_minor_locator(style.NullLocator())
