"""How every figure looks: colours, line styles, names of populations, axes, saving."""

import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from landscape.files import write_with

COLUMN = 3.35  # inches: one column of a two-column paper, and the width drawn for phones
PAGE = 6.9  # inches: both columns
INK, GREY = "#222222", "#8a8a8a"
LEGEND_ROW = 0.16  # inches: a row of a legend

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
    "boosted_iso": Look("boosted, equal confidence", "#56B4E9", (0, (4, 1.5)), "s"),
    "adversarial_iso": Look("adversarial, equal confidence", "#D55E00", (0, (4, 1.5)), "s"),
    "boundary": Look("boundary", "#009E73", marker="D"),
    "noise": Look("equal-norm noise", "#8a8a8a", marker="^"),
    "noise_linf": Look("noise, equal L∞ norm", "#8a8a8a", marker="^"),
    "noise_l2": Look("noise, equal L2 norm", "#8a8a8a", (0, (4, 1.5)), "^"),
    "manifold": Look("on the manifold", "#CC79A7", marker="D"),
    "noisy": Look("against noisy weights", "#E69F00", (0, (4, 1.5)), "X"),
    "reconstructed": Look("reconstructed", "#CC79A7", (0, (4, 1.5)), "p"),
    "adaptive": Look("adaptive attack", "#6A3D9A", (0, (4, 1.5)), "v"),
    "untrained": Look("untrained", "#222222", (0, (1, 1.5)), ""),
    "shuffled": Look("shuffled labels", "#222222", (0, (5, 1.5, 1, 1.5)), ""),
    "augmented": Look("augmented", "#009E73", (0, (4, 1.5)), "P"),
    "user": Look("your inputs", "#CC79A7", marker="v"),
    # Families of autoencoders, which never stand beside populations.
    "ae": Look("ae", "#0072B2"),
    "denoising": Look("denoising", "#56B4E9", marker="s"),
    "contractive": Look("contractive", "#009E73", marker="^"),
    "sparse": Look("sparse", "#E69F00", marker="v"),
    "sphere": Look("sphere", "#CC79A7", marker="D"),
    "vae": Look("vae", "#D55E00", marker="P"),
    "vq": Look("vq", "#222222", marker="X"),
    "fsq": Look("fsq", "#6A3D9A", marker="h"),
}
# What is made equal before populations are compared.
MATCHINGS = {"raw": "as found", "raw_of_iso": "as found, same images", "iso": "equal confidence", "matched": "partners"}
# For comparison: their often wide bands are drawn faintly.
BACKGROUND = tuple(LOOKS[name] for name in ("natural_error", "noise", "untrained", "shuffled"))
EXTRA_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#222222", "#8a8a8a")


def finite(values: np.ndarray) -> bool:
    """Whether there is anything to draw."""
    return bool(np.isfinite(values).any())


def look(name: str) -> Look:
    """The look of a population or family; unknown names get a plain grey line and their own name."""
    return LOOKS.get(name, Look(plain(name), "#8a8a8a"))


def plain(name: object, *, limit: int = 40) -> str:
    """A name as one short line: underscores and line breaks become spaces, long ones lose their middle."""
    text = " ".join(str(name).replace("_", " ").split())
    if len(text) <= limit:
        return text
    head = limit // 2
    return f"{text[:head].rstrip()}…{text[-(limit - head - 1) :].lstrip()}"


def panels(
    count: int,
    *,
    columns: int,
    width: float = PAGE,
    height: float,
    left: float = 0.58,
    top: float = 0.45,
    bottom: float = 0.42,
    gap: tuple[float, float] = (0.26, 0.32),
    right: float = 0.1,
    **share: Any,
) -> tuple[Figure, list[Axes]]:
    """A figure of `count` axes in rows of at most `columns`; all lengths in inches.

    Fixed margins instead of an automatic layout: drawing everything twice to measure it takes as long as the rest.

    Args:
      height: of one panel.
      left, right, top, bottom: space for labels around the panels; the defaults hold a legend, titles and axis labels.
      gap: (across, down) between panels; across holds tick labels where y is not shared.
      share: sharex, sharey.
    """
    columns = min(columns, count)
    rows = -(-count // columns)
    panel_width = (width - left - right - gap[0] * (columns - 1)) / columns
    total = top + bottom + rows * height + gap[1] * (rows - 1)
    figure = Figure(figsize=(width, total))
    layout = {"left": left / width, "right": 1 - right / width, "top": 1 - top / total, "bottom": bottom / total}
    layout |= {"wspace": gap[0] / panel_width, "hspace": gap[1] / height}
    axes = list(figure.subplots(rows, columns, squeeze=False, gridspec_kw=layout, **share).flat)
    for unused in axes[count:]:
        unused.remove()
    if share.get("sharex") and rows > 1:
        for above in axes[(rows - 1) * columns - (len(axes) - count) : (rows - 1) * columns]:
            above.tick_params(labelbottom=True)
    return figure, axes[:count]


def shared_labels(figure: Figure, x: str = "", y: str = "") -> None:
    """One label below and one left of all panels."""
    width, height = figure.get_size_inches()
    frame = figure.axes[0].get_gridspec().get_subplot_params(figure)
    size = {"fontsize": RC["axes.labelsize"], "color": RC["axes.labelcolor"]}
    figure.supxlabel(x, x=(frame.left + frame.right) / 2, y=0.05 / height, **size)
    figure.supylabel(y, x=0.05 / width, y=(frame.bottom + frame.top) / 2, **size)


def legend_above(place: Figure | Axes, handles: list, labels: list[str], *, columns: int) -> None:
    """A legend along the top edge of a figure, or above one panel; a row of it takes 0.16 inches."""
    if isinstance(place, Figure):
        where = {"loc": "upper center", "bbox_to_anchor": (0.5, 1 - 0.03 / place.get_figheight())}
    else:
        where = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.02)}
    place.legend(
        handles,
        labels,
        **where,
        borderaxespad=0,
        borderpad=0,
        ncols=columns,
        columnspacing=1.4,
        handletextpad=0.5,
    )


def short_number(value: float, _position: int = 0) -> str:
    """`3`, `0.01` and `2000` as they are, beyond 1e-3 and 1e4 as `1e-4` and `1e+04`."""
    if 999.5 <= abs(value) < 1e4:  # where three digits would be written 1e+03
        return f"{value:.0f}"
    return f"{value:.3g}" if 1e-3 <= abs(value) < 1e4 or value == 0 else f"{value:.0e}".replace("e-0", "e-")


def _log_ticks(low: float, high: float, *, small: bool) -> np.ndarray:
    """Few round numbers within [low, high]: decades, with 3s, with 2s and 5s, or all, whichever gives enough."""
    decades = 10.0 ** np.arange(np.floor(np.log10(low)) - 1, np.ceil(np.log10(high)) + 1)
    for steps in ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0), range(1, 10)):
        ticks = np.sort(np.outer(decades, steps).ravel())
        ticks = ticks[(ticks >= low * 0.97) & (ticks <= high * 1.03)]
        if len(ticks) >= (4 if len(steps) == 1 and not small else 2):
            return ticks[:: -(-len(ticks) // (4 if small else 7))]
    return np.array([low, high])


def log_axis(axis: Any, low: float, high: float, *, small: bool = False) -> None:
    """A log axis over [low, high] with a few plain numbers and no minor clutter; a single level is the only tick."""
    ticks = np.array([low]) if low == high else _log_ticks(low, high, small=small)
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(short_number))
    axis.set_minor_formatter(NullFormatter())


def log_x(axes: Axes, x: np.ndarray, *, small: bool = False) -> None:
    """Make x logarithmic over its positive values, with a little space at both ends; `small` panels get few ticks."""
    x = x[np.isfinite(x) & (x > 0)]
    axes.set_xscale("log")
    log_axis(axes.xaxis, float(x.min()), float(x.max()), small=small)
    space = 1.06 if x.min() < x.max() else 2.0
    axes.set_xlim(x.min() / space, x.max() * space)


def line(axes: Axes, x: np.ndarray, y: np.ndarray, look: Look, low: Any = None, high: Any = None) -> bool:
    """One curve with its band where that is known; False when there is nothing finite to draw."""
    keep = np.isfinite(x) & np.isfinite(y) & ((x > 0) | (axes.get_xscale() != "log"))
    if not keep.any():
        return False
    order = np.flatnonzero(keep)[np.argsort(x[keep], kind="stable")]
    if low is not None:
        inside = order[np.isfinite(low[order]) & np.isfinite(high[order])]
        alpha = 0.08 if look in BACKGROUND else 0.2
        axes.fill_between(x[inside], low[inside], high[inside], color=look.color, alpha=alpha, linewidth=0)
    marker = look.marker or ("_" if len(order) == 1 else "")
    axes.plot(x[order], y[order], color=look.color, linestyle=look.line, marker=marker)
    return True


def thin_lines(axes: Axes, x: np.ndarray, values: np.ndarray, color: str, *, alpha: float) -> None:
    """Many curves [lines, x] as one artist, which draws several times faster; dots where x is a single value."""
    if len(x) == 1:
        axes.plot(np.repeat(x, len(values)), values[:, 0], ".", color=color, alpha=alpha)
        return
    segments = np.stack([np.broadcast_to(x, values.shape), values], axis=-1)
    axes.add_collection(LineCollection(segments, colors=color, linewidths=0.5, alpha=alpha))
    axes.autoscale_view(scalex=False)


def save(figure: Figure, path: Path) -> Path:
    """Write a figure atomically; the same arrays give the same bytes.

    A class name may hold letters that the font lacks: they become boxes, which is no reason to warn or stop.
    """
    metadata = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}, ".png": {"Software": None}}[path.suffix]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        return write_with(path, lambda temporary: figure.savefig(temporary, metadata=metadata, dpi=200))
