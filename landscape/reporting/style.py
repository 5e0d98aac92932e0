"""How every figure looks: colours, line styles, names of populations, axes, saving."""

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from landscape.files import write_with

COLUMN = 3.35  # inches: one column of a two-column paper, and the width drawn for phones
PAGE = 6.9  # inches: both columns

RC = {
    "font.family": "DejaVu Sans",  # ships with matplotlib, so a report looks the same on every machine
    "font.size": 7.5,
    "text.parse_math": False,  # a class may be called "$5"
    "axes.titlesize": 8,
    "axes.titlelocation": "left",
    "axes.titlepad": 5,
    "axes.labelsize": 7.5,
    "axes.labelcolor": "#333333",
    "axes.edgecolor": "#888888",
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.4,
    "lines.markersize": 2.8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.color": "#888888",
    "ytick.color": "#888888",
    "xtick.labelcolor": "#333333",
    "ytick.labelcolor": "#333333",
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "legend.handlelength": 1.8,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.hashsalt": "landscape",  # ids inside the file, and so the file, are the same each time
    "pdf.fonttype": 42,
}


class Look(NamedTuple):
    """How one population is drawn: the same everywhere in a report."""

    label: str
    color: str
    line: Any = "-"
    marker: str = "o"


# Okabe-Ito. Blues are classified rightly, warm colours wrongly; squares mark inputs that a search made.
LOOKS = {
    "genuine": Look("genuine", "#0072B2"),
    "natural_error": Look("natural error", "#E69F00"),
    "boosted": Look("boosted", "#56B4E9", marker="s"),
    "adversarial": Look("adversarial", "#D55E00", marker="s"),
    "boosted_iso": Look("boosted, equal margin", "#56B4E9", (0, (4, 1.5)), "s"),
    "adversarial_iso": Look("adversarial, equal margin", "#D55E00", (0, (4, 1.5)), "s"),
    "boundary": Look("boundary", "#009E73", marker="D"),
    "noise": Look("equal-norm noise", "#8a8a8a", marker="^"),
    "noise_linf": Look("noise, equal L∞ norm", "#8a8a8a", marker="^"),
    "noise_l2": Look("noise, equal L2 norm", "#8a8a8a", (0, (4, 1.5)), "^"),
    "untrained": Look("untrained", "#222222", (0, (1, 1.5)), ""),
    "user": Look("your inputs", "#CC79A7", marker="v"),
}
EXTRA_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#222222", "#8a8a8a")


def look(name: str) -> Look:
    """The look of a population or cell; unknown names get a plain grey line and their own name."""
    return LOOKS.get(name, Look(plain(name), "#8a8a8a"))


def plain(name: object, *, limit: int = 40) -> str:
    """A name as one short line: underscores and line breaks become spaces, long ones lose their middle."""
    text = " ".join(str(name).replace("_", " ").split())
    if len(text) <= limit:
        return text
    head = limit // 2
    return f"{text[:head].rstrip()}…{text[-(limit - head - 1) :].lstrip()}"


def panels(rows: int, columns: int, *, width: float, height: float, **share: Any) -> tuple[Figure, np.ndarray]:
    """A figure of rows x columns axes (always a 2-D array), laid out so that nothing overlaps."""
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.04, h_pad=0.04, wspace=0.03, hspace=0.04)
    return figure, figure.subplots(rows, columns, squeeze=False, **share)


def legend(figure: Figure, names: Iterable[str], *, columns: int, band: str = "") -> None:
    """One legend above all panels; `band` says what the shading around the lines is."""
    handles = []
    for name in names:
        style = look(name)
        line = Line2D([], [], color=style.color, linestyle=style.line, marker=style.marker, label=style.label)
        handles.append(line)
    if band:
        handles.append(Patch(color="#0072B2", alpha=0.18, linewidth=0, label=band))
    figure.legend(handles=handles, loc="outside upper center", ncols=columns, columnspacing=1.4, handletextpad=0.5)


def _short_number(value: float, _position: int = 0) -> str:
    return f"{value:.3g}" if 1e-3 <= abs(value) < 1e4 or value == 0 else f"{value:.0e}".replace("e-0", "e-")


def _log_ticks(low: float, high: float, *, small: bool) -> np.ndarray:
    """Few round places within [low, high]: decades, then also 3s, then also 2s and 5s, until two are inside."""
    decades = 10.0 ** np.arange(np.floor(np.log10(low)) - 1, np.ceil(np.log10(high)) + 1)
    for steps in ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0)):
        ticks = np.sort(np.outer(decades, steps).ravel())
        ticks = ticks[(ticks >= low * 0.97) & (ticks <= high * 1.03)]
        if len(ticks) >= (2 if small or len(steps) > 1 else 4):
            return ticks[:: -(-len(ticks) // (4 if small else 7))]
    return np.array([low, high])


def log_axis(axis: Any, low: float, high: float, *, small: bool = False) -> None:
    """A log axis over [low, high] with a few plain numbers and no minor clutter; a single level is the only tick."""
    ticks = np.array([low]) if low == high else _log_ticks(low, high, small=small)
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(_short_number))
    axis.set_minor_formatter(NullFormatter())


def log_x(axes: Axes, x: np.ndarray, *, small: bool = False) -> None:
    """Make x logarithmic over its positive values, with a little room at both ends; `small` panels get few ticks."""
    x = x[np.isfinite(x) & (x > 0)]
    axes.set_xscale("log")
    log_axis(axes.xaxis, x.min(), x.max(), small=small)
    room = 1.06 if x.min() < x.max() else 2.0
    axes.set_xlim(x.min() / room, x.max() * room)


def line(axes: Axes, x: np.ndarray, y: np.ndarray, name: str, low: Any = None, high: Any = None) -> bool:
    """One population's curve with its band where that is known; False when there is nothing finite to draw."""
    style = look(name)
    keep = np.isfinite(x) & (x > 0) & np.isfinite(y)
    if not keep.any():
        return False
    order = np.flatnonzero(keep)[np.argsort(x[keep], kind="stable")]
    if low is not None:
        inside = order[np.isfinite(low[order]) & np.isfinite(high[order])]
        axes.fill_between(x[inside], low[inside], high[inside], color=style.color, alpha=0.18, linewidth=0)
    marker = style.marker or ("_" if len(order) == 1 else "")
    axes.plot(x[order], y[order], color=style.color, linestyle=style.line, marker=marker)
    return True


def grid_shape(count: int, *, columns: int) -> tuple[int, int]:
    """(rows, columns) for `count` small panels, at most `columns` wide."""
    columns = min(columns, count)
    return -(-count // columns), columns


def save(figure: Figure, path: Path) -> Path:
    """Write a figure atomically; the same arrays give the same bytes.

    A class name may hold letters that the font lacks: they become boxes, which is no reason to warn or stop.
    """
    metadata = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}, ".png": {"Software": None}}[path.suffix]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        return write_with(path, lambda temporary: figure.savefig(temporary, metadata=metadata, dpi=200))
