"""The main figure of `gradients`: ascents guided by k classifiers, as pictures and as curves of held-out judges."""

from typing import NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from landscape.reporting import plate, style
from landscape.reporting.autoencoder_axes import size_colors
from landscape.reporting.gradient_parts import PICTURE, Room, class_name, kind_look, kinds, over, rooms, some
from landscape.reporting.latent_parts import DASHED, mean, read
from landscape.reporting.sheet import Strip, lefts, note, picture_size, sheet

PLAIN = "mean"  # the objective of the main figure
APART = 0.16  # inches between groups of pictures


class Course(NamedTuple):
    """Probability of the class climbed by step, of one place, number of guides and kind of start.

    Attributes:
      size, place, kind: number of guides, place, kind of start.
      judges: [judge, t], mean over starts; guides: [t], the guides' own.
    """

    size: int
    place: str
    kind: str
    judges: np.ndarray
    guides: np.ndarray | None


def courses(data: xr.Dataset) -> list[Course]:
    """All of the plain objective: by place, kind of start, rising number of guides."""
    if PLAIN not in plate.names(data, "guide"):
        return []
    data = data.isel(guide=plate.names(data, "guide").index(PLAIN))
    found = []
    for room in rooms(data, "guided_held_out"):
        held_out = read(data, f"guided_held_out.{room.name}", "kind", "size", "judge", "guided_t")
        own = read(data, f"guided_own.{room.name}", "kind", "size", "guided_t")
        for k, kind in enumerate(kinds(data)):
            for s in np.argsort(data["size"].values, kind="stable"):
                if np.isfinite(held_out[k, s]).any():
                    guides = None if own is None else over(own[k, s], 1)
                    size = int(data["size"].values[s])
                    found.append(Course(size, room.name, kind, over(held_out[k, s], 2), guides))
    return found


def pictured_sizes(data: xr.Dataset, most: int = 3) -> list[int]:
    """Rows along "size" that pictures are shown of, rising: the first, the middle, the last."""
    order = np.argsort(data["size"].values, kind="stable")
    return order[some(len(order), most)].tolist()


def pictured_starts(data: xr.Dataset, count: int) -> list[int]:
    """The first starts whose classes to climb differ, then the others, `count` in all."""
    targets = data["guided_target"].values.astype(int).tolist()
    order = [targets.index(target) for target in dict.fromkeys(targets)]
    return (order + [i for i in range(len(targets)) if i not in order])[:count]


def pictures(data: xr.Dataset, room: Room, sizes: list[int], starts: list[int]) -> list[list[np.ndarray]]:
    """Rows of pictures: for every kind of start the start and where k guides lead it, by the plain objective."""
    guide = plate.names(data, "guide").index(PLAIN)
    ends = read(data, f"picture_guided.{room.name}", "guide", "kind", "guided_start", "size", *PICTURE)
    begun = read(data, f"picture_guided_start.{room.name}", "kind", "guided_start", *PICTURE)
    if ends is None or begun is None:
        return []
    return [
        [image for k in range(len(begun)) for image in (begun[k, i], *(ends[guide, k, i, s] for s in sizes))]
        for i in starts
    ]


def guided(data: xr.Dataset, *, width: float = style.PAGE) -> Figure | None:
    """Pictures above, pixels over manifold; beneath, the judges' probability by step. Columns: kinds of start."""
    told = courses(data)
    if not told:
        return None
    narrow = width < style.PAGE
    sizes = pictured_sizes(data, 2 if narrow else 3)
    shown, known = rooms(data, "guided_held_out"), kinds(data)
    starts = pictured_starts(data, 2 if narrow else 3)
    targets = data["guided_target"].values.astype(int).tolist()
    goals = [f"→ {class_name(data, targets[i], limit=6 if narrow else 9)}" for i in starts]
    margin, each = 0.62 if narrow else 0.8, 1 + len(sizes)
    strips = []
    for r, room in enumerate(shown):
        for i, (goal, images) in enumerate(zip(goals, pictures(data, room, sizes, starts), strict=False)):
            name = f"{room.label}\n{goal}" if i == 0 else goal
            strips.append(Strip(name, room.color, images, 0.1 if i == 0 and r else 0.0))
    before = [(0.1 if narrow else APART) if j and j % each == 0 else 0.0 for j in range(each * len(known))]
    groups = [(k * each, (k + 1) * each - 1, kind_look(kind).label) for k, kind in enumerate(known)]
    heads = ["start", *(_times(data, s, first=i == 0 and not narrow) for i, s in enumerate(sizes))] * len(known)
    tall, gap, head = (0.95, 0.16, 0.5) if narrow else (1.15, 0.16, 0.42)
    below = head + len(shown) * (tall + gap) - gap + 0.42
    figure = None
    if strips:
        layout = {"groups": groups, "heads": heads, "before": before, "width": width, "margin": margin}
        figure = sheet(strips, below=below, **layout)
        shape = next(image.shape for image in strips[0].images)
        size = picture_size(shape, each * len(known), before, width=width - 0.06, margin=margin)
        left = lefts(each * len(known), before, size, margin)
        edges = [(left[k * each], left[(k + 1) * each - 1] + size[0]) for k in range(len(known))]
    else:
        figure = Figure(figsize=(width, below))
        step = (width - margin - 0.06) / len(known)
        edges = [(margin + k * step, margin + (k + 1) * step - 0.12) for k in range(len(known))]
    colors = size_colors(sorted({course.size for course in told}))
    for r, room in enumerate(shown):
        for k, kind in enumerate(known):
            x, end = edges[k]
            bottom = 0.42 + (len(shown) - 1 - r) * (tall + gap)
            axes = figure.add_axes(_box(figure, x, bottom, end - x, tall))
            _panel(axes, [c for c in told if (c.place, c.kind) == (room.name, kind)], colors)
            axes.tick_params(labelleft=k == 0, labelbottom=r == len(shown) - 1)
            if k == 0:
                axes.set_ylabel(room.label, color=room.color)
            if r == len(shown) - 1:
                axes.set_xlabel("step")
            if not strips and r == 0:
                axes.set_title(kind_look(kind).label)
    high = figure.get_figheight()
    top = high - below + 0.06
    note(figure, 0.06, top, "probability of the class, by classifiers that do not guide", va="top", weight="bold")
    _key(figure, colors, top + 0.14, narrow)
    return figure


def _times(data: xr.Dataset, s: int, *, first: bool) -> str:
    k = int(data["size"].values[s])
    return f"{k} guide{'s' if k > 1 else ''}" if first else f"{k}"


def _box(figure: Figure, x: float, bottom: float, wide: float, tall: float) -> tuple[float, float, float, float]:
    width, height = figure.get_size_inches()
    return x / width, bottom / height, wide / width, tall / height


def _panel(axes: Axes, told: list[Course], colors: dict) -> None:
    for course in told:
        color, line = colors[course.size], mean(course.judges, 0)
        t = np.arange(len(line))
        known = np.isfinite(course.judges).any(axis=0)
        if len(course.judges) > 1:
            ends = np.nanmin(course.judges[:, known], axis=0), np.nanmax(course.judges[:, known], axis=0)
            axes.fill_between(t[known], *ends, color=color, alpha=0.18, linewidth=0)
        axes.plot(t, line, color=color, linewidth=1.2)
        if course.guides is not None:
            axes.plot(t, course.guides, color=color, linewidth=0.7, linestyle=DASHED)
        axes.set_xlim(0, max(1, t[-1]))
        axes.set_xticks([0, t[-1] // 2, t[-1]])
        for text, side in zip(axes.get_xticklabels(), ("left", "center", "right"), strict=True):
            text.set_ha(side)  # so that numbers of neighbouring panels do not touch
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.grid(axis="y")


def _key(figure: Figure, colors: dict, top: float, narrow: bool) -> None:
    """Number of guides by colour, then what lines and bands are."""
    handles: list = [Line2D([], [], color=color, linewidth=1.6) for color in colors.values()]
    labels = [f"{size} guide{'s' if size > 1 else ''}" if i == 0 else f"{size}" for i, size in enumerate(colors)]
    soft = "#555555"
    handles += [Line2D([], [], color=soft, linewidth=0.8, linestyle=DASHED), Patch(color=soft, alpha=0.25, linewidth=0)]
    labels += ["guides themselves", "range of judges"]
    figure.legend(
        handles,
        labels,
        loc="upper left",
        bbox_to_anchor=(0.01, 1 - top / figure.get_figheight()),
        borderaxespad=0,
        borderpad=0,
        ncols=4 if narrow else len(labels),
        fontsize=6.5 if narrow else 7,
        columnspacing=1.1,
        handletextpad=0.5,
        handlelength=1.6,
    )


def guided_narrow(data: xr.Dataset) -> Figure | None:
    return guided(data, width=style.COLUMN)


def guided_table(data: xr.Dataset) -> list[tuple]:
    """A row a place, kind of start, number of guides and step: the lines of the figure and the range of judges."""
    rows: list[tuple] = [("place", "start", "guides", "step", "held_out", "judges_low", "judges_high", "guides_own")]
    for course in courses(data):
        for t, values in enumerate(course.judges.T):
            own = np.nan if course.guides is None else course.guides[t]
            known = values[np.isfinite(values)]
            low, high = (known.min(), known.max()) if len(known) else (np.nan, np.nan)
            rows.append((course.place, course.kind, course.size, t, float(mean(values, 0)), low, high, own))
    return rows
