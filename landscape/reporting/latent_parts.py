"""What figures of `latent` share: names in arrays.nc, looks of families and samplers, axes, colours of classes."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from landscape.reporting import plate, style
from landscape.reporting.autoencoder_cells import LOOKS, config_of, look

GREY, INK, SOFT = "#8a8a8a", "#222222", "#777777"
DASHED, DOTTED = (0, (4, 1.5)), (0, (1, 1.3))
NEAREST = 2e-3  # R-hat - 1 below which all are drawn alike

REFERENCE = {"color": GREY, "linewidth": 0.7, "linestyle": DASHED, "zorder": 0.5}


class Kernel(NamedTuple):
    """How one sampler is drawn: its line, and its family's colour made lighter (up to 1) or darker (down to -1)."""

    label: str
    line: Any
    marker: str
    shade: float


KERNELS = {
    "mala": Kernel("MALA", "-", "o", 0.0),
    "hmc": Kernel("HMC", DASHED, "s", 0.35),
    "nuts": Kernel("NUTS", DOTTED, "^", -0.45),
    "gibbs": Kernel("Gibbs", "-", "o", 0.0),
}


def kernel_look(name: str) -> Kernel:
    return KERNELS.get(name, Kernel(style.plain(name), DASHED, "v", 0.0))


def shaded(color: str, shade: float) -> tuple[float, ...]:
    """A colour mixed with white (shade > 0) or black (shade < 0)."""
    to = 1.0 if shade > 0 else 0.0
    return tuple(part + abs(shade) * (to - part) for part in to_rgb(color))


# ---- names ----


def families(data: xr.Dataset) -> list[str]:
    """Families of the run, in the order of LOOKS."""
    known, order = plate.names(data, "family"), list(LOOKS)
    return sorted(known, key=lambda name: order.index(name) if name in order else len(order))


def samplers(data: xr.Dataset, family: str) -> list[str]:
    """Samplers that a family's chains were drawn with, in the order of the run."""
    named = (name.rpartition(".") for name in plate.names(data, "sampler"))
    return [kernel for of, _, kernel in named if of == family]


def read(data: xr.Dataset, name: str, *dims: str) -> np.ndarray | None:
    """An array as float64, dimensions in this order, others last; None where it is missing or holds nothing."""
    if name not in data.variables or not set(dims) <= set(data[name].dims):
        return None
    values = data[name].transpose(*dims, ...).values.astype(np.float64)
    return values if np.isfinite(values).any() else None


def mean(values: np.ndarray, axis: int | tuple[int, ...]) -> np.ndarray:
    """The mean of what is finite; NaN where nothing is."""
    finite = np.isfinite(values)
    count = finite.sum(axis=axis)
    return np.where(count > 0, np.where(finite, values, 0.0).sum(axis=axis) / np.maximum(count, 1), np.nan)


def by_radius(data: xr.Dataset, name: str) -> np.ndarray | None:
    """Means over embeddings and chains, [member, radius]."""
    values = read(data, name, "member", "radius")
    return None if values is None else mean(values.reshape(*values.shape[:2], -1), -1)


def noise_by_radius(data: xr.Dataset, name: str, kind: str = "gaussian") -> np.ndarray | None:
    """The same of unguided noise of one kind."""
    kinds = plate.names(data, "around")
    values = read(data, name, "around", "member", "radius")
    if values is None or kind not in kinds:
        return None
    values = values[kinds.index(kind)]
    return mean(values.reshape(*values.shape[:2], -1), -1)


def class_names(data: xr.Dataset, *, limit: int = 10) -> list[str]:
    return [style.plain(name, limit=limit) for name in plate.names(data, "class")]


def labels_of(data: xr.Dataset, along: str) -> list[str]:
    """Class names of the images whose ids are along `along` (start, end); "" where unknown."""
    known = class_names(data)
    if not {"label", "example", along} <= set(data.variables):
        return [""] * data.sizes[along]
    of = dict(zip(data["example"].values.tolist(), data["label"].values.astype(int).tolist(), strict=True))
    found = [of.get(image) for image in data[along].values.tolist()]
    return ["" if c is None else known[c] if 0 <= c < len(known) else str(c) for c in found]


def states_kept(data: xr.Dataset) -> float | None:
    """How many states a group of chains kept: the most that their effective sample size is out of."""
    mcmc = config_of(data).get("mcmc", {})
    chains, frames = mcmc.get("num_chains"), mcmc.get("num_frames")
    return float(chains * frames) if chains and frames else None


# ---- axes ----


def radius_axis(axes: Axes, radii: np.ndarray, *, most: int = 4) -> None:
    """A log axis of s whose ticks are the values that were run."""
    known = np.unique(radii[np.isfinite(radii) & (radii > 0)])
    style.log_x(axes, known, small=True)
    axes.set_xlim(known[0] / 1.2, known[-1] * 1.2)
    ticks = known[:: -(-len(known) // most)]
    axes.set_xticks(ticks, [f"{tick:.3g}" for tick in ticks])


def log_y(axes: Axes, values: np.ndarray) -> None:
    """Make y logarithmic over the positive ones of `values`; nothing happens where there is none."""
    positive = values[np.isfinite(values) & (values > 0)]
    if len(positive):
        low, high = float(positive.min()) / 1.2, float(positive.max()) * 1.2
        axes.set_yscale("log")
        axes.set_ylim(low, high)
        style.log_axis(axes.yaxis, low, high, small=True)


def rhat_axis(axes: Axes, which: str, values: np.ndarray) -> None:
    """A log axis ("x" or "y") of R-hat - 1 whose ticks say R-hat, with lines at the customary 1.01 and 1.1."""
    finite = values[np.isfinite(values)]
    axis = axes.xaxis if which == "x" else axes.yaxis
    axes.set(**{f"{which}scale": "log"})
    axes.set(**{f"{which}lim": (0.8 * NEAREST, 1.6 * max(0.1, float(finite.max()) if len(finite) else 0.1))})
    axis.set_major_locator(FixedLocator([1e-2, 1e-1, 1.0, 10.0]))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{1 + value:.4g}"))
    for level in (0.01, 0.1):
        line = axes.axvline if which == "x" else axes.axhline
        line(level, **REFERENCE)


def curve(axes: Axes, x: np.ndarray, members: np.ndarray | None, color: Any, **drawn: Any) -> bool:
    """The members' mean as a line and each member [member, x] as a small dot; False where nothing is known."""
    if members is None or not np.isfinite(members).any():
        return False
    axes.plot(x, mean(members, 0), color=color, **({"linewidth": 1.2, "marker": "o", "markersize": 2.6} | drawn))
    if len(members) > 1:
        dots = {"markersize": 2.2, "alpha": 0.35, "markeredgewidth": 0, "linestyle": "", "zorder": 1.5}
        axes.plot(np.tile(x, len(members)), members.ravel(), "o", color=color, **dots)
    return True


def dots(
    axes: Axes, values: np.ndarray | None, y: float | int, color: Any, *, hollow: bool = False, marker: str = "o"
) -> bool:
    """Members as dots along a row, their mean as a black tick; False where nothing is known."""
    values = np.empty(0) if values is None else np.asarray(values, float).ravel()
    values = values[np.isfinite(values)]
    if not len(values):
        return False
    face = {"markerfacecolor": "white", "markeredgewidth": 0.9} if hollow else {"markeredgewidth": 0}
    axes.plot(values, np.full(len(values), y), marker, color=color, markersize=3.8, alpha=0.75, **face)
    axes.plot([values.mean()], [y], marker="|", color=INK, markersize=8, linestyle="", zorder=4)
    return True


def family_rows(axes: Axes, names: Sequence[str]) -> None:
    """A row a family, named on the left in its colour."""
    axes.set_yticks(range(len(names)), [look(name).label for name in names])
    for text, name in zip(axes.get_yticklabels(), names, strict=True):
        text.set_color(look(name).color)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="x")


def family_key(names: Sequence[str]) -> tuple[list[Line2D], list[str]]:
    looks = [look(name) for name in names]
    return [Line2D([], [], color=s.color, marker="o", markersize=3) for s in looks], [s.label for s in looks]


def class_colors(count: int) -> list[Any]:
    """A colour a class: ten that colour-blind readers tell apart (Paul Tol's muted set), more by hue."""
    muted = "#332288 #88CCEE #44AA99 #117733 #999933 #DDCC77 #CC6677 #882255 #AA4499 #888888".split()
    return muted[:count] if count <= 10 else [mpl.colormaps["hsv"](i / count) for i in range(count)]
