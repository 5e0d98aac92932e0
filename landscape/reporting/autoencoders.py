"""Figures of `autoencoders`: which family and which bottleneck describe images, or a hidden layer, best?"""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from landscape.reporting import plate, style
from landscape.reporting.style import Look

DASHED, DOTTED, GREY = (0, (4, 1.5)), (0, (1, 1.3)), "#8a8a8a"
# One colour and marker a family, everywhere in a report (Okabe-Ito and a purple); yardsticks are grey.
LOOKS = {
    "ae": Look("ae", "#0072B2"),
    "denoising": Look("denoising", "#56B4E9", marker="s"),
    "contractive": Look("contractive", "#009E73", marker="^"),
    "sparse": Look("sparse", "#E69F00", marker="v"),
    "sphere": Look("sphere", "#CC79A7", marker="D"),
    "vae": Look("vae", "#D55E00", marker="P"),
    "vq": Look("vq", "#222222", marker="X"),
    "fsq": Look("fsq", "#6A3D9A", marker="h"),
    "pca": Look("PCA", GREY, DOTTED, "."),
    "class_mean": Look("class mean", GREY, DASHED, ""),
    "kmeans": Look("k-means", "#b8b8b8", (0, (5, 1.5, 1, 1.5)), ""),
}
YARDSTICKS, CODED = ("pca", "class_mean", "kmeans"), ("vq", "fsq")
IMAGE, PIXELS = "image", "pixels"
HYPER = ("learning_rate", "weight_decay", "noise", "contraction", "beta", "free_bits", "commitment")
GOOD, BAD = "#0072B2", "#D55E00"  # what a classifier says of a picture
MOST_PANELS = 12


class Cell(NamedTuple):
    """A row of the arrays along "cell"; `image` is its row along "image_cell", None for a hidden layer's."""

    index: int
    layer: str
    family: str
    size: int
    image: int | None

    @property
    def label(self) -> str:
        return f"{look(self.family).label} {self.size}" if self.size else look(self.family).label


def look(family: str) -> Look:
    """The look of a family; unknown ones are grey under their own name."""
    return LOOKS.get(family, Look(style.plain(family), GREY))


def cells_of(data: xr.Dataset, *, layer: str | None = None) -> list[Cell]:
    """All cells, or those of one layer, by family in the order of LOOKS and then by size."""
    along = plate.names(data, "image_cell") if "image_cell" in data.sizes else []
    told = zip(*(data[f"cell_{name}"].values.tolist() for name in ("layer", "family", "size")), strict=True)
    named = zip(plate.names(data, "cell"), told, strict=True)
    found = [Cell(i, *about, along.index(name) if name in along else None) for i, (name, about) in enumerate(named)]
    order = list(LOOKS)
    rank = {family: i for i, family in enumerate(order)}
    found.sort(key=lambda cell: (rank.get(cell.family, len(order)), cell.family, cell.size))
    return [cell for cell in found if layer in (None, cell.layer)]


def layers_of(data: xr.Dataset) -> list[str]:
    return plate.names(data, "layer") if "layer" in data.coords else sorted(set(data["cell_layer"].values.tolist()))


def config_of(data: xr.Dataset) -> dict[str, Any]:
    """The run's config as it is saved in the attributes; {} where it is not."""
    return json.loads(data.attrs.get("config") or "{}")


def compared_size(data: xr.Dataset) -> int | None:
    """The dimension at which families of images are compared: the config's, else the one most families have."""
    told = config_of(data).get("autoencoder", {}).get("dim")
    if told is not None:
        return int(told)
    sizes = [cell.size for cell in cells_of(data, layer=IMAGE) if cell.family not in (*CODED, *YARDSTICKS)]
    return max(sorted(set(sizes)), key=sizes.count) if sizes else None


def compared(data: xr.Dataset) -> list[Cell]:
    """Cells of images at the dimension where families are compared, and those of codes."""
    size = compared_size(data)
    return [cell for cell in cells_of(data, layer=IMAGE) if cell.family in CODED or cell.size == size]


def settings(data: xr.Dataset) -> list[tuple[str, np.ndarray]]:
    """(swept values as text, members that have them): one entry with the text "" where nothing was swept."""
    count = data.sizes["member"]
    swept = [name for name in HYPER if name in data.coords and len(set(data[name].values.tolist())) > 1]
    texts = [", ".join(f"{style.plain(n)} {float(data[n].values[i]):.3g}" for n in swept) for i in range(count)]
    return [(text, np.flatnonzero(np.asarray(texts) == text)) for text in dict.fromkeys(texts)]


def one_setting(data: xr.Dataset) -> tuple[xr.Dataset, str]:
    """The members of one point of a sweep, the config's own where it is among them, and its name ("" if none)."""
    known = settings(data)
    if len(known) == 1:
        return data, ""
    own = config_of(data).get("autoencoder", {})

    def apart(entry: tuple[str, np.ndarray]) -> int:
        first = entry[1][0]
        return sum(name in data.coords and float(data[name].values[first]) != own.get(name) for name in HYPER)

    text, members = min(known, key=apart)
    return data.isel(member=members), text


def values_of(data: xr.Dataset, name: str, cell: Cell) -> np.ndarray | None:
    """An array's values of one cell, members first; None where it has none (NaN, or -1 for whole numbers)."""
    if name not in data.variables or "member" not in data[name].dims:
        return None
    along = "image_cell" if "image_cell" in data[name].dims else "cell"
    row = cell.image if along == "image_cell" else cell.index
    if row is None or along not in data[name].dims:
        return None
    values = data[name].isel({along: row}).transpose("member", ...).values
    values = np.where(values < 0, np.nan, values.astype(float)) if values.dtype.kind in "iu" else values.astype(float)
    return values if np.isfinite(values).any() else None


def means_of(data: xr.Dataset, name: str, cell: Cell) -> np.ndarray | None:
    """The same as one mean a member, [member]."""
    values = values_of(data, name, cell)
    return None if values is None else values.reshape(len(values), -1).mean(axis=1)


def shares_in_class(data: xr.Dataset, cell: Cell) -> np.ndarray | None:
    """Error as a share of what the class mean leaves, [member]; None where something is missing."""
    error = means_of(data, "mse", cell)
    if error is None or "from_class_mean" not in data.variables or cell.layer not in layers_of(data):
        return None
    rest = data["from_class_mean"].isel(layer=layers_of(data).index(cell.layer)).transpose("member", ...).values
    rest = rest.reshape(len(rest), -1).mean(axis=1, dtype=np.float64)
    return error / np.where(rest > 0, rest, np.nan)


def _size_colors(sizes: Sequence[int]) -> dict[int, Any]:
    """A colour a size, dark to light; the yellow end is left out, since it fades on white."""
    places = np.linspace(0.0, 0.82, len(sizes)) if len(sizes) > 1 else [0.35]
    return {size: mpl.colormaps["viridis"](place) for size, place in zip(sorted(sizes), places, strict=True)}


def _log_y(axes: Axes, *, small: bool = False, include: Sequence[float] = ()) -> None:
    """Make y logarithmic over what is drawn and `include`; nothing happens where nothing positive is drawn."""
    drawn = [line.get_ydata() for line in axes.lines if line.get_transform() == axes.transData]
    limits = _limits([*drawn, np.asarray(include)])
    if limits is not None:
        axes.set_yscale("log")
        axes.set_ylim(*limits)
        _ticks(axes, *limits, small=small)


def _ticks(axes: Axes, low: float, high: float, *, small: bool = False) -> None:
    """Ticks of a log axis that lie within its limits: `log_axis` also takes round places 3 % outside."""
    style.log_axis(axes.yaxis, low / 0.97, high / 1.03, small=small)


def _limits(drawn: Sequence[Any], *, above: float = 1.15) -> tuple[float, float] | None:
    """(low, high) of a log axis around all positive values, with two round numbers in it; None without any value."""
    values = np.concatenate([np.asarray(y, float) for y in drawn]) if drawn else np.empty(0)
    values = values[np.isfinite(values) & (values > 0)]
    if not len(values):
        return None
    low, high = values.min() / 1.15, values.max() * above
    round_ = np.outer(10.0 ** np.arange(np.floor(np.log10(low)) - 1, np.log10(high) + 2), (1, 2, 5)).ravel()
    if np.sum((round_ >= low) & (round_ <= high)) < 2:
        low, high = min(low, round_[round_ <= values.min()].max()), max(high, round_[round_ >= values.max()].min())
    return float(low), float(high)


def _columns(count: int, *, most: int = 9) -> int:
    """Columns of a legend whose rows are equally long, at most `most`."""
    rows = -(-count // most)
    return -(-count // max(rows, 1))


def _note(figure: Figure, setting: str) -> None:
    """Which point of a sweep is drawn, in the lower left corner; the tables have all."""
    if setting:
        told = "at " + setting.replace(", ", "\n")
        figure.text(0.005, 0.01, told, ha="left", va="bottom", fontsize=6, color="#777777")


# ---- 1. the main figure ----

DEPTH = (("share of the variance within classes", "a  what the bottleneck loses"), ("KL (nats)", "b  what that costs"))


def main_family(data: xr.Dataset) -> str | None:
    """`ae` where it was trained, else the first trained family; None without one."""
    families = [cell.family for cell in cells_of(data) if cell.family not in YARDSTICKS]
    return "ae" if "ae" in families else families[0] if families else None


def depth(data: xr.Dataset, *, width: float = style.PAGE) -> Figure | None:
    """In-class FVU and KL after substitution by depth, a line a bottleneck; by size where there is one layer."""
    data, setting = one_setting(data)
    measured = [(cell, shares_in_class(data, cell), means_of(data, "kl", cell)) for cell in cells_of(data)]
    if not any(values is not None and np.isfinite(values).any() for _, *both in measured for values in both):
        return None
    layers = [name for name in layers_of(data) if any(cell.layer == name for cell, *_ in measured)]
    narrow = width < style.PAGE
    by_layer = len(layers) > 1
    keys = _depth_keys(data, measured, narrow) if by_layer else _family_keys([cell.family for cell, *_ in measured])
    columns = _columns(len(keys), most=3 if narrow else 9)
    top = 0.3 + 0.16 * -(-len(keys) // columns)
    shape = dict(columns=1, height=1.8, gap=(0.3, 0.5)) if narrow else dict(columns=2, height=2.3, gap=(0.62, 0.4))
    figure, axes = style.panels(2, width=width, top=top, **shape)
    for index, (one, (unit, title)) in enumerate(zip(axes, DEPTH, strict=True)):
        told = [(cell, values[index]) for cell, *values in measured if values[index] is not None]
        if index == 0 and by_layer:  # the class mean, by construction
            one.axhline(1, color=GREY, linestyle=DASHED, linewidth=1.0, zorder=1)
            told = [(cell, values) for cell, values in told if cell.family != "class_mean"]
        (_by_layer if by_layer else _by_size)(one, data, told, layers)
        one.set(ylabel=unit, title=title)
        one.grid(axis="y")
        _log_y(one, include=(1.0,) if index == 0 and by_layer else ())
    if narrow:
        axes[0].set_xlabel("")
    style.legend_above(figure, [key for key, _ in keys], [text for _, text in keys], columns=columns)
    _note(figure, setting)
    return figure


def _depth_keys(data: xr.Dataset, measured: list, narrow: bool) -> list[tuple[Line2D, str]]:
    family = main_family(data)
    sizes = sorted({cell.size for cell, *_ in measured if cell.family == family})
    colors = _size_colors(sizes)
    keys = [(Line2D([], [], color=colors[size], marker="o"), str(size)) for size in sizes]
    if keys:
        unit = "codes" if family in CODED else "dimensions"
        keys[0] = (
            keys[0][0],
            f"{look(family).label} {sizes[0]}" if narrow else f"{look(family).label}, {sizes[0]} {unit}",
        )
    for yardstick in YARDSTICKS:
        some = sorted({cell.size for cell, *_ in measured if cell.family == yardstick})
        if some:
            s = look(yardstick)
            text = (
                ("PCA" if narrow else "PCA, same colours")
                if yardstick == "pca"
                else f"{s.label} {some[0]}"
                if some[0]
                else s.label
            )
            keys.append((Line2D([], [], color=s.color, linestyle=s.line, linewidth=1.0), text))
    return keys


def _by_layer(axes: Axes, data: xr.Dataset, told: list[tuple[Cell, np.ndarray]], layers: list[str]) -> None:
    """A line a size of the main family, with a band from the lowest to the highest member; yardsticks thin."""
    family = main_family(data)
    colors = _size_colors(sorted({cell.size for cell, _ in told if cell.family == family}))
    groups: dict[tuple[str, int], dict[str, np.ndarray]] = {}
    for cell, values in told:
        groups.setdefault((cell.family, cell.size), {})[cell.layer] = values
    for (kind, size), by_layer in groups.items():
        if kind != family and (kind not in YARDSTICKS or (kind == "pca" and size not in colors)):
            continue
        x = np.asarray([layers.index(name) for name in layers if name in by_layer])
        y = np.stack([by_layer[layers[i]] for i in x])
        y = np.where(y > 0, y, np.nan)
        mean = y.mean(axis=1)
        if kind == family:
            axes.fill_between(x, y.min(axis=1), y.max(axis=1), color=colors[size], alpha=0.2, linewidth=0)
            axes.plot(x, mean, color=colors[size], marker="o", zorder=3)
            if len(x) == 1:
                axes.plot(np.repeat(x, y.shape[1]), y[0], ".", color=colors[size], alpha=0.5, markersize=2)
        else:
            color = colors[size] if kind == "pca" else look(kind).color
            line = {"linestyle": look(kind).line, "marker": "." if len(x) == 1 or kind == "pca" else ""}
            axes.plot(x, mean, color=color, linewidth=1.0, markersize=2.5, **line)
    axes.set_xticks(range(len(layers)), [style.plain(name, limit=12) for name in layers])
    axes.set_xlim(-0.25, len(layers) - 0.75)
    axes.set_xlabel("layer, the pixels first")


def _by_size(axes: Axes, data: xr.Dataset, told: list[tuple[Cell, np.ndarray]], layers: list[str]) -> None:
    """A line a family against the dimension of the latent, dots the members; codes and centres as level lines."""
    x: list[int] = []
    for family in dict.fromkeys(cell.family for cell, _ in told):
        s, own = look(family), [(cell.size, values) for cell, values in told if cell.family == family]
        if family in (*CODED, "class_mean", "kmeans"):
            for _, values in own:
                axes.axhline(np.nanmean(values), color=s.color, linestyle=DASHED, linewidth=0.9)
            continue
        sizes = [size for size, _ in own]
        axes.plot(sizes, [values.mean() for _, values in own], color=s.color, linestyle=s.line, marker=s.marker)
        for size, values in own:
            axes.plot(np.full(len(values), size), values, ".", color=s.color, alpha=0.5, markersize=2)
        x += sizes
    if x:
        _size_axis(axes, x)
    axes.set_xlabel("dimensions of the latent")


def _size_axis(axes: Axes, sizes: Sequence[int]) -> None:
    """A log axis whose ticks are the sizes themselves, thinned where they are many."""
    known = np.unique(np.asarray(sizes, float))
    style.log_x(axes, known)
    axes.set_xlim(known[0] / 1.25, known[-1] * 1.25)
    ticks = known[:: -(-len(known) // 7)]
    axes.set_xticks(ticks, [f"{tick:.0f}" for tick in ticks])


def _family_keys(families: Sequence[str]) -> list[tuple[Line2D, str]]:
    known = [name for name in LOOKS if name in families] + [n for n in dict.fromkeys(families) if n not in LOOKS]
    looks = [look(name) for name in known]
    return [(Line2D([], [], color=s.color, linestyle=s.line, marker=s.marker, markersize=4), s.label) for s in looks]


def depth_narrow(data: xr.Dataset) -> Figure | None:
    return depth(data, width=style.COLUMN)


def depth_table(data: xr.Dataset) -> list[tuple]:
    """One row a cell and member: what the main figure shows, and of all families."""
    swept = [name for name in HYPER if len({*data[name].values.tolist()} if name in data.coords else ()) > 1]
    rows: list[tuple] = [("layer", "family", "size", "member", "seed", *swept, "fvu_in_class", "kl")]
    seed = data["seed"].values if "seed" in data.coords else np.arange(data.sizes["member"])
    nothing = np.full(data.sizes["member"], np.nan)
    for cell in cells_of(data):
        both = [shares_in_class(data, cell), means_of(data, "kl", cell)]
        share, kl = (nothing if values is None else values for values in both)
        for i in range(data.sizes["member"]):
            told = (data[name].values[i] for name in swept)
            rows.append((cell.layer, cell.family, cell.size, i, seed[i], *told, share[i], kl[i]))
    return rows


# ---- 2. rate and distortion ----


def rates(data: xr.Dataset) -> Figure | None:
    """Mean squared error of test images against bits an image (left) and against dimensions (right)."""
    whole = data
    data, setting = one_setting(data)
    cells = [cell for cell in cells_of(data, layer=IMAGE) if means_of(data, "mse", cell) is not None]
    if not cells:
        return None
    keys = _family_keys([cell.family for cell in cells])
    columns = _columns(len(keys))
    top = 0.3 + 0.16 * -(-len(keys) // columns)
    figure, (left, right) = style.panels(2, columns=2, height=2.7, top=top, gap=(0.3, 0.4), right=0.6, sharey=True)
    bits = [x for cell in cells for x in _rate_of(left, data, cell)] + _posterior_rates(left, whole, cells)
    _coarse_ends(left, data, cells)
    _by_size(right, data, [(c, means_of(data, "mse", c)) for c in cells if c.family not in CODED], [])
    bits = [x for x in bits if np.isfinite(x) and x > 0]
    if bits:
        style.log_x(left, np.asarray(bits))
    left.set(xlabel="bits an image", ylabel="mean squared error (pixels in [0, 1])", title="a  rate")
    right.set_title("b  dimensions")
    for axes in (left, right):
        axes.grid()
    limits = _limits([line.get_ydata() for axes in (left, right) for line in axes.lines], above=1.4)
    if limits is None:
        return None
    low, high = limits
    left.set_yscale("log")
    left.set_ylim(low, high)
    _ticks(left, low, high)
    decibels = right.twinx()
    decibels.set_ylim(-10 * np.log10(low), -10 * np.log10(high))
    decibels.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    decibels.spines["right"].set_visible(True)
    decibels.set_ylabel("PSNR of that error (dB)")
    style.legend_above(figure, [key for key, _ in keys], [text for _, text in keys], columns=columns)
    _note(figure, setting)
    return figure


def _rate_of(axes: Axes, data: xr.Dataset, cell: Cell) -> list[float]:
    """Draws a quantised cell's curve, or the point of one with codes; returns the bits drawn."""
    s = look(cell.family)
    curve = _quantised(data, cell)
    if curve is not None:
        x, y = curve
        axes.plot(x, y, color=s.color, linestyle=s.line, linewidth=0.9, alpha=0.85)
        axes.plot(x[:1], y[:1], color=s.color, marker=s.marker, markersize=3, linestyle="")
        return x.tolist()
    used, error = means_of(data, "code_bits", cell), means_of(data, "mse", cell)
    if used is None or error is None:
        return []
    x, y = [float(used.mean())], float(error.mean())
    if "code_bound" in data.variables and np.isfinite(bound := float(data["code_bound"].values[cell.image])):
        axes.plot([x[0], bound], [y, y], color=s.color, linewidth=0.9)
        axes.plot([bound], [y], color=s.color, marker="|", markersize=7)
        x.append(bound)
    axes.plot(x[:1], [y], color=s.color, marker=s.marker, markersize=5.5, linestyle="", zorder=4)
    return x


def _quantised(data: xr.Dataset, cell: Cell) -> tuple[np.ndarray, np.ndarray] | None:
    """(bits, error) of the uniformly quantised latent, finest first."""
    bits, error = values_of(data, "rate_bits", cell), values_of(data, "rate_mse", cell)
    if bits is None or error is None:
        return None
    x, y = bits.mean(axis=0), error.mean(axis=(0, 2))
    order = np.argsort(-x)
    return x[order], y[order]


def _posterior_rates(axes: Axes, whole: xr.Dataset, cells: list[Cell]) -> list[float]:
    """Families with a posterior: a line through their sizes, one for each point of a sweep; returns the bits drawn."""
    drawn: list[float] = []
    for family in dict.fromkeys(cell.family for cell in cells):
        own = [cell for cell in cells if cell.family == family]
        told = [(values_of(whole, "latent_kl", cell), means_of(whole, "draw_mse", cell)) for cell in own]
        told = [(latent, error) for latent, error in told if latent is not None and error is not None]
        for _, members in settings(whole) if told else ():
            x = [latent[members].mean() / np.log(2) for latent, _ in told]
            y = [error[members].mean() for _, error in told]
            s = look(family)
            axes.plot(x, y, color=s.color, marker=s.marker, linewidth=0.9, markersize=4.5, zorder=4)
            drawn += x
    return drawn


def _coarse_ends(axes: Axes, data: xr.Dataset, cells: list[Cell]) -> None:
    """The sizes, written once above the coarse ends of all curves of a size."""
    ends: dict[int, list[tuple[float, float]]] = {}
    for cell in cells:
        curve = _quantised(data, cell) if cell.family in ("ae", "pca") else None
        if curve is not None:
            ends.setdefault(cell.size, []).append((curve[0][-1], curve[1][-1]))
    for index, (size, places) in enumerate(sorted(ends.items())):
        x, y = max(places, key=lambda place: place[1])
        text = f"{size} dims" if index == 0 else str(size)
        axes.annotate(text, (x, y), (2, 3), textcoords="offset points", va="bottom", fontsize=6.5, color="#555555")


# ---- 3. pictures ----

MARGIN, LABEL, GAP, BLOCK = 1.05, 0.16, 0.05, 0.16  # inches: row names, texts above, between pictures, between blocks
INK = "#333333"


class Row(NamedTuple):
    """Pictures [n, H, W, C] side by side; `told` stands right of them, `frames` are colours or "" a picture."""

    name: str
    images: np.ndarray
    color: str = INK
    told: str = ""
    frames: Sequence[str] = ()


def _grid(
    rows: list[Row],
    *,
    over: Sequence[str] = (),
    blocks: Sequence[str] = ("",),
    told: str = "",
    side: float = 0.5,
    room: float = 0.1,
) -> Figure | None:
    """Rows of pictures. over: a text above each column. blocks: titles of equal groups of columns. told: heading of
    what stands on the right, within `room` inches.
    """
    count = len(rows[0].images) if rows else 0
    if not count or not any(np.isfinite(row.images).any() for row in rows):
        return None
    _, tall, wide, _ = rows[0].images.shape
    per = -(-count // len(blocks))
    free = style.PAGE - MARGIN - room - BLOCK * (len(blocks) - 1) - GAP * count
    side = min(side, free / count * max(1.0, tall / wide))
    across, down = side * min(1.0, wide / tall), side * min(1.0, tall / wide)
    left = [MARGIN + i * (across + GAP) + (i // per) * BLOCK for i in range(count)]
    head = 0.06 + LABEL * (bool(any(blocks)) + bool(len(over) or told))
    size = (left[-1] + across + room, head + len(rows) * (down + GAP) + 0.03)
    figure = Figure(figsize=size)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, size[0]), ylim=(0, size[1]), aspect="auto")
    axes.set_axis_off()
    for index, row in enumerate(rows):
        bottom = size[1] - head - (index + 1) * (down + GAP) + GAP
        middle = bottom + down / 2
        axes.text(MARGIN - 0.08, middle, row.name, ha="right", va="center", fontsize=7.5, color=row.color)
        axes.text(left[-1] + across + 0.08, middle, row.told, ha="left", va="center", fontsize=7, color=row.color)
        shown = np.clip(np.nan_to_num(np.asarray(row.images, float), nan=0.9), 0, 1)
        for i, image in enumerate(shown):
            image = image[..., 0] if image.shape[-1] == 1 else image[..., :3]
            box = (left[i], left[i] + across, bottom, bottom + down)
            axes.imshow(image, cmap="gray", vmin=0, vmax=1, extent=box, interpolation="nearest", aspect="auto")
            if i < len(row.frames) and row.frames[i]:
                corner = (left[i], bottom)
                axes.add_patch(Rectangle(corner, across, down, fill=False, edgecolor=row.frames[i], linewidth=1.4))
    axes.set(xlim=(0, size[0]), ylim=(0, size[1]))  # imshow moves them
    above = size[1] - head + 0.03
    for i, text in enumerate(over[:count]):
        axes.text(left[i] + across / 2, above, text, ha="center", va="bottom", fontsize=6.5, color=INK)
    axes.text(left[-1] + across + 0.08, above, told, ha="left", va="bottom", fontsize=7, color=INK)
    for b, title in enumerate(blocks):
        first, last = b * per, min(count, (b + 1) * per) - 1
        if title and first <= last:
            x = (left[first] + left[last] + across) / 2
            axes.text(x, size[1] - 0.04, title, ha="center", va="top", fontsize=8, color=INK)
    return figure


def _pictures(data: xr.Dataset, name: str, **index: int) -> np.ndarray:
    return data[name].isel(index).transpose(..., "height", "width", "channel").values


def _color(family: str) -> str:
    return GREY if family in YARDSTICKS else INK


def reconstructions(data: xr.Dataset) -> Figure | None:
    """Shown test images and what each cell at the compared dimension gives back, with its error over all of them."""
    one, _ = one_setting(data)
    rows = [Row("test images", _pictures(data, "picture"))]
    for cell in compared(data):
        error = means_of(one, "mse", cell)
        told = "" if error is None else f"{error.mean():#.3g}".rstrip(".")
        images = _pictures(data, "picture_cell", image_cell=cell.image)
        rows.append(Row(cell.label, images, _color(cell.family), told))
    return _grid(rows, told="MSE", room=0.55) if len(rows) > 1 else None


def samples(data: xr.Dataset) -> Figure | None:
    """Images decoded from draws of the prior."""
    along = plate.names(data, "sample_cell")
    known = {name: cell for name, cell in zip(plate.names(data, "cell"), _in_order(data), strict=True)}
    order = sorted(along, key=lambda name: cells_of(data).index(known[name]) if name in known else -1)
    rows = [
        Row(known[name].label if name in known else style.plain(name), _pictures(data, "picture_samples")[i])
        for name, i in ((name, along.index(name)) for name in order)
    ]
    return _grid(rows)


def _in_order(data: xr.Dataset) -> list[Cell]:
    return sorted(cells_of(data), key=lambda cell: cell.index)


def neighbours(data: xr.Dataset) -> Figure | None:
    """For each hidden layer, training images nearest to shown images and to their reconstructions there."""
    layers, own = plate.names(data, "hidden_layer"), plate.names(data, "hidden_cell")
    if not layers:
        return None
    count = min(data.sizes["shown"], max(2, 18 // len(layers)))
    data = data.isel(shown=slice(count))
    by_name = dict(zip(plate.names(data, "cell"), _in_order(data), strict=True))
    original, nearest, back = (_pictures(data, f"picture{n}") for n in ("", "_neighbour", "_neighbour_cell"))
    rows = [Row("test images", np.concatenate([original] * len(layers)))]
    rows.append(Row("nearest to\nthe layer itself", np.concatenate(list(nearest))))
    empty = np.full(original.shape, np.nan)
    told = [(by_name[name], i) for i, name in enumerate(own) if name in by_name]
    for family, size in dict.fromkeys((c.family, c.size) for c in cells_of(data)):
        here = {cell.layer: i for cell, i in told if (cell.family, cell.size) == (family, size)}
        if here:
            images = [back[here[layer]] if layer in here else empty for layer in layers]
            same = [np.array_equal(a, b) for one, h in zip(images, nearest, strict=True) for a, b in zip(one, h)]  # noqa: B905
            frames = [GOOD if kept else "" for kept in same]
            rows.append(Row(f"… through {look(family).label} {size}", np.concatenate(images), frames=frames))
    return _grid(rows, blocks=[style.plain(name, limit=20) for name in layers])


# ---- 4. use ----

USES = (
    ("held_out_confidence", "confidence in the class", "a  class reached?"),
    ("error_under_another", "mean squared error", "b  under another ae"),
    ("moved", "L2 (pixels)", "c  distance moved"),
    ("nearest_training", "L2 (pixels)", "d  to a training image"),
)


class Manifold(NamedTuple):
    """A row along "use_cell"."""

    index: int
    label: str
    look: Look


def manifolds(data: xr.Dataset) -> list[Manifold]:
    """Where a class was climbed, families in the order of LOOKS and pixels last."""
    along = plate.names(data, "use_cell")
    by_name = dict(zip(plate.names(data, "cell"), _in_order(data), strict=True))
    order = cells_of(data)

    def rank(name: str) -> int:
        return len(order) + (name == PIXELS) if name not in by_name else order.index(by_name[name])

    found = []
    for name in sorted(along, key=rank):
        cell = by_name.get(name)
        s = Look(PIXELS, GREY) if cell is None else look(cell.family)
        found.append(Manifold(along.index(name), style.plain(name) if cell is None else cell.label, s))
    return found


def use(data: xr.Dataset) -> Figure | None:
    """Confidence of guide and held-out classifier, error under another autoencoder, distances; a row a manifold."""
    reference = plate.names(data, "use_cell")[:1]
    data, setting = one_setting(data)
    shown = [entry for entry in USES if entry[0] in data.variables and np.isfinite(data[entry[0]].values).any()]
    rows = manifolds(data)
    if not shown or not rows:
        return None
    figure, axes = style.panels(
        len(shown), columns=4, height=max(0.9, 0.23 * len(rows)), left=0.95, top=0.28, gap=(0.3, 0.5), sharey=True
    )
    for one, (name, unit, title) in zip(axes, shown, strict=True):
        values = data[name].transpose("use_cell", "member", "start").values.mean(axis=2)
        if name == "held_out_confidence":
            _confidences(one, data, rows, values)
        else:
            for y, row in enumerate(rows):
                _dots(one, values[row.index], y, row.look.color)
        if name == "error_under_another":
            usual = next(
                (c for n, c in zip(plate.names(data, "cell"), _in_order(data), strict=True) if [n] == reference)
            )
            error = means_of(data, "mse", usual)
            if error is not None:
                one.axvline(error.mean(), color="#888888", linestyle=DASHED, linewidth=0.8, zorder=0)
        one.set(xlabel=unit, title=title)
        one.grid(axis="x")
        one.set_yticks(range(len(rows)), [row.label for row in rows])
        one.tick_params(axis="y", length=0)
        one.set_ylim(len(rows) - 0.4, -0.6)
        if name != "held_out_confidence":
            one.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
            one.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
            one.set_xlim(0, 1.1 * float(np.nanmax(values)) or 1.0)
    _note(figure, setting)
    return figure


def _dots(axes: Axes, values: np.ndarray, y: float | int, color: str, *, hollow: bool = False) -> None:
    """Members as dots, their mean as a black tick."""
    values = values[np.isfinite(values)]
    if len(values):
        face = {"markerfacecolor": "white", "markeredgewidth": 0.9} if hollow else {"markeredgewidth": 0}
        axes.plot(values, np.full(len(values), y), "o", color=color, markersize=3.6, alpha=0.75, **face)
        axes.plot([values.mean()], [y], marker="|", color="#222222", markersize=8, linestyle="", zorder=4)


def _confidences(axes: Axes, data: xr.Dataset, rows: list[Manifold], held_out: np.ndarray) -> None:
    """Held-out confidence in colour, the guide's hollow; a line joins the two means."""
    guide = None
    if "guide_confidence" in data.variables:
        guide = data["guide_confidence"].transpose("use_cell", "member", "start").values.mean(axis=2)
    for y, row in enumerate(rows):
        own = held_out[row.index]
        if guide is not None and np.isfinite(guide[row.index]).any():
            ends = [np.nanmean(own), np.nanmean(guide[row.index])]
            axes.plot(ends, [y + 0.17, y - 0.17], color="#cccccc", linewidth=1.0, zorder=0)
            _dots(axes, guide[row.index], y - 0.17, row.look.color, hollow=True)
        _dots(axes, own, y + 0.17, row.look.color)
    axes.set_xlim(-0.03, 1.03)
    axes.set_xticks([0, 0.5, 1])
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))


def use_pictures(data: xr.Dataset) -> Figure | None:
    """What an ascent started from and what it made of it on each manifold, by the first member."""
    count = min(data.sizes["start"], 9)
    data = data.isel(start=slice(count))
    known = plate.names(data, "class") if "class" in data.sizes else []
    targets = data["target"].values.astype(int).tolist() if "target" in data.variables else []
    over = [f"to {style.plain(known[t] if 0 <= t < len(known) else t, limit=7)}" for t in targets]
    rows = [Row("start", _pictures(data, "picture_start"))]
    for manifold in manifolds(data):
        frames: list[str] = []
        if "held_out_success" in data.variables:
            won = data["held_out_success"].isel(use_cell=manifold.index, member=0).values
            frames = [GOOD if w > 0.5 else BAD if np.isfinite(w) else "" for w in won]
        rows.append(Row(manifold.label, _pictures(data, "picture_use", use_cell=manifold.index), frames=frames))
    return _grid(rows, over=over)


# ---- 5. distributions, training ----


def frechet(data: xr.Dataset) -> Figure | None:
    """Frechet distances of reconstructions and prior samples to test images, a row a cell."""
    data, setting = one_setting(data)
    panels = []
    for name, title in (("reconstruction", "a  reconstructions"), ("samples", "b  samples of the prior")):
        told = [(cell, means_of(data, f"frechet_{name}", cell)) for cell in cells_of(data, layer=IMAGE)]
        told = [(cell, values) for cell, values in told if values is not None]
        if told:
            panels.append((title, told))
    if not panels:
        return None
    most = max(len(told) for _, told in panels)
    figure, axes = style.panels(
        len(panels), columns=2, height=max(0.8, 0.17 * most), left=0.95, top=0.28, gap=(0.95, 0.0)
    )
    for one, (title, told) in zip(axes, panels, strict=True):
        for y, (cell, values) in enumerate(told):
            _dots(one, values, y, look(cell.family).color)
        if "frechet_floor" in data.variables and np.isfinite(data["frechet_floor"].values).any():
            one.axvline(np.nanmean(data["frechet_floor"].values), color="#555555", linestyle=DASHED, linewidth=0.8)
        one.set(xlabel="Fréchet distance (classifier features)", title=title)
        one.set_yticks(range(len(told)), [cell.label for cell, _ in told])
        one.tick_params(axis="y", length=0)
        one.set_ylim(most - 0.4, -0.6)
        one.margins(x=0.08)
        one.xaxis.set_major_locator(MaxNLocator(5))
        one.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}".replace("-", "−")))
        one.grid(axis="x")
    _note(figure, setting)
    return figure


def training(data: xr.Dataset) -> Figure | None:
    """Validation error (lines) and training loss (dotted) by epoch; a panel a family of images, and a hidden layer."""
    data, setting = one_setting(data)
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells_of(data):
        if any(values_of(data, name, cell) is not None for name in ("validation_mse", "train_loss")):
            groups.setdefault((cell.layer, cell.family), []).append(cell)
    if len(groups) > MOST_PANELS:
        family = main_family(data)
        groups = {key: cells for key, cells in groups.items() if key[0] == IMAGE or key[1] == family}
    order = layers_of(data)
    ranked = sorted(groups.items(), key=lambda item: order.index(item[0][0]) if item[0][0] in order else len(order))
    ranked = ranked[:MOST_PANELS]
    if not ranked:
        return None
    sizes = sorted({cell.size for _, cells in ranked for cell in cells if cell.family not in CODED})
    colors = _size_colors(sizes) if sizes else {}
    keys = [
        (Line2D([], [], color=colors[size]), f"{size} dimensions" if size == sizes[0] else str(size)) for size in sizes
    ]
    keys.append((Line2D([], [], color=GREY, linestyle=DOTTED), "training loss"))
    top = 0.32 + 0.16 * -(-len(keys) // 8)
    figure, axes = style.panels(
        len(ranked), columns=4, height=1.05, top=top, left=0.62, gap=(0.62, 0.5), right=0.35, bottom=0.4
    )
    epoch = data["epoch"].values if "epoch" in data.coords else np.arange(1, data.sizes["epoch"] + 1)
    for one, ((layer, family), cells) in zip(axes, ranked, strict=True):
        losses = _curves(one, data, cells, epoch, colors)
        one.set_title(
            f"{look(family).label}" if layer == IMAGE else f"{style.plain(layer, limit=14)}, {look(family).label}"
        )
        one.grid(axis="y")
        _log_y(one, small=True)
        one.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        if losses:
            _other_scale(one, losses, epoch, cells[0].family)
    style.shared_labels(figure, "epoch", "MSE on validation images")
    style.legend_above(figure, [key for key, _ in keys], [text for _, text in keys], columns=8)
    _note(figure, setting)
    return figure


def _curves(axes: Axes, data: xr.Dataset, cells: list[Cell], epoch: np.ndarray, colors: dict) -> list[tuple]:
    """Draws the curves of one panel; returns the (color, mean loss) that are on another scale than the errors."""
    apart = []
    curves = [values_of(data, name, cell) for cell in cells for name in ("validation_mse", "train_loss")]
    last = max(int(np.isfinite(curve).any(axis=0).nonzero()[0].max()) for curve in curves if curve is not None)
    epoch = epoch[: last + 1]
    marker = "." if last == 0 else ""
    axes.set_xlim(min(0, epoch[0]), max(epoch[-1], 1) * 1.04)
    for cell in cells:
        color = colors.get(cell.size, look(cell.family).color)
        error, loss = (values_of(data, name, cell) for name in ("validation_mse", "train_loss"))
        if error is not None:
            axes.plot(epoch, error.T[: last + 1], color=color, linewidth=0.6, alpha=0.8, marker=marker)
        if loss is not None:
            mean = loss.mean(axis=0)[: last + 1]
            near = error is None or np.nanmedian(mean) < 30 * np.nanmedian(error)
            if near:
                axes.plot(epoch, mean, color=color, linestyle=DOTTED, linewidth=1.0, marker=marker)
            else:
                apart.append((color, mean))
    return apart


def _other_scale(axes: Axes, losses: list[tuple], epoch: np.ndarray, family: str) -> None:
    """Losses in another unit, on an axis of their own on the right."""
    other = axes.twinx()
    for color, mean in losses:
        marker = "." if len(mean) == 1 else ""
        other.plot(epoch[: len(mean)], mean, color=color, linestyle=DOTTED, linewidth=1.0, marker=marker)
    _log_y(other, small=True)
    other.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}" if value >= 100 else f"{value:.3g}"))
    other.spines["right"].set_visible(True)
    if family == "vae":
        other.set_title("nats", fontsize=6.5, loc="right", color="#555555")


PLATES = (
    plate.Plate(
        "depth",
        "How much of a layer fits through a bottleneck, by depth",
        "a: test error as a share of the variance within classes, so 1 (dashed) is what the class mean alone "
        "gives; lower keeps more of what tells images of one class apart. b: how much the classifier's output "
        "changes when the reconstruction takes the layer's place. Colours are dimensions, bands the range over seeds, "
        "dotted lines PCA of the same dimension. (With images alone, x is the dimension, colours are families, and "
        "dashed lines those with codes.)",
        ("mse", "kl", "from_class_mean"),
        depth,
        narrow=depth_narrow,
        table=depth_table,
    ),
    plate.Plate(
        "rates",
        "Error against bits, and against dimensions",
        "Lower and further left is better. a: latents rounded ever more coarsely (a curve a size: ae, PCA and their "
        "kin), the divergence from the prior (vae, with the error of a posterior draw), the entropy of the codes with "
        "a bar to the most they can hold (vq, fsq). b: the same error without a limit on bits; small dots are "
        "seeds.",
        ("mse",),
        rates,
    ),
    plate.Plate(
        "reconstructions",
        "What comes back",
        "Test images above, and what each family makes of them at the dimension where families are compared (vq and "
        "fsq: number of codes); first seed. Right: mean squared error over all test images and seeds.",
        ("picture", "picture_cell"),
        reconstructions,
        kind="png",
    ),
    plate.Plate(
        "samples",
        "Draws from the prior",
        "Images decoded from random latents, for the families whose prior is known; not chosen, first seed.",
        ("picture_samples",),
        samples,
        kind="png",
        optional=True,
    ),
    plate.Plate(
        "use",
        "Climbing to another class on each manifold",
        "Dots are seeds, ticks their means. a: confidence in the class that was climbed, of the classifier that guided "
        "(hollow) and of one that did not (filled); a long grey line is an ascent that only fools its guide. b: error "
        "of the result under another seed's autoencoder (dashed: on test images themselves). c, d: how far it went, "
        "and how far it is from the nearest training image; pixels went as far as the first row.",
        ("held_out_confidence",),
        use,
    ),
    plate.Plate(
        "use_pictures",
        "The climbed images",
        "Above each column the class that was climbed; a blue frame where a classifier that did not guide sees that "
        "class, orange where it does not. First seed.",
        ("picture_start", "picture_use"),
        use_pictures,
        kind="png",
    ),
    plate.Plate(
        "frechet",
        "Distance of distributions",
        "Fréchet distance to the test images in the features of each seed's classifier, extrapolated to infinitely "
        "many images (so it may fall below 0); dots are seeds, dashed is the distance of training images. "
        "Reconstructions are of those same test images, so they may come nearer than other images do.",
        ("frechet_reconstruction",),
        frechet,
    ),
    plate.Plate(
        "neighbours",
        "Which training image is nearest in a hidden layer?",
        "Below each test image the training image nearest to it in the layer, then the one nearest to its "
        "reconstruction; framed blue where the bottleneck did not change the neighbour. First seed.",
        ("picture", "picture_neighbour", "picture_neighbour_cell"),
        neighbours,
        kind="png",
        optional=True,
    ),
    plate.Plate(
        "training",
        "How training went",
        "Error on validation images (thin lines, one a seed) and the mean training loss (dotted; on the right where "
        "its unit is another), colours as in the first figure: lines should be level at the end, and not rise.",
        ("train_loss", "validation_mse"),
        training,
    ),
)
