"""Figures of a noise run. Of a sweep they show the first value."""

from typing import NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from landscape.experiments.base import of_one_kind
from landscape.experiments.noise.collapse import POINT, SHARE, STUCK
from landscape.experiments.noise.config import NO_NOISE
from landscape.reporting import plots, style
from landscape.reporting.figures import FigureSpec
from landscape.reporting.image_grid import ImageRow, image_grid
from landscape.stats.table import ENDS, Table

GREY, INK = "#8a8a8a", "#222222"
DASHED = (0, (4, 1.5))


class Measure(NamedTuple):
    """How a measure is written: its name, unit, and the factor its values are multiplied by."""

    label: str
    unit: str
    factor: float


MEASURES = {
    "attack.success": Measure("source fooled", "%", 100.0),
    "input_flatness.scale_free": Measure("margin lost", "% under noise", 100.0),
    "transfer.success": Measure("others fooled", "%", 100.0),
    "distance.manifold": Measure("off manifold", "L2 pixels", 1.0),
    "linearity.scale_free": Measure("off tangent", "% of margin", 100.0),
    "distance.l2": Measure("off start", "L2 pixels", 1.0),
}
AT_NORM = ("attack.success", "input_flatness.scale_free", "transfer.success", "distance.manifold")
AT_MARGIN = ("input_flatness.scale_free", "transfer.success", "distance.manifold", "linearity.scale_free")
SEARCHES = {  # name -> (label, colour, marker)
    "pixels": ("adversarial, pixels", "#0072B2", "o"),
    "manifold": ("adversarial, manifold", "#009E73", "s"),
    "ascent": ("ascent to a class, pixels", "#CC79A7", "^"),
}
KINDS = {  # name -> (label, colour, marker)
    NO_NOISE: ("no noise", INK, ""),
    "redrawn": ("redrawn at every gradient", "#0072B2", "o"),
    "frozen": ("one frozen draw", "#D55E00", "o"),
    "random_member": ("random member", "#009E73", "^"),
    "trajectory": ("trajectory (LGV)", "#CC79A7", "D"),
    "swag": ("SWAG", "#E69F00", "s"),
}
UNDOSED = ("random_member", "trajectory", "swag")
KEPT = "accuracy that the noisy classifier keeps (%)"
MOST = 4  # pictures of each search


def of_kind(data: xr.Dataset, kind: str) -> list[str]:
    """The populations of a kind, by growing radius."""
    index = np.flatnonzero(data.kind.values.astype(str) == kind)
    order = index[np.argsort(data.radius.values[index], kind="stable")]
    return data.population.values[order].astype(str).tolist()


def label_of(data: xr.Dataset, name: str) -> str:
    """A population in words, with its radius where it has a dose."""
    one = data.sel(population=name)
    kind, radius = str(one.kind.values), float(one.radius)
    short = {"redrawn": "redrawn", "frozen": "frozen"}.get(kind)
    return f"{short}, ξ = {radius:g}" if short else KINDS[kind][0]


def searches_of(data: xr.Dataset) -> list[str]:
    return data.search.values.astype(str).tolist()


def kept(data: xr.Dataset, table: Table) -> dict[str, float]:
    """Where each population stands on x, %: a frozen draw at the accuracy of redrawn ones of its radius."""
    own = {row["population"]: 100 * row["value"] for row in table.select("accuracy.kept")}
    return {name: own.get(name.replace("frozen", "redrawn"), value) for name, value in own.items()}


# ---- measures over the dose ----


def measured(table: Table, name: str, search: str, matching: str) -> xr.Dataset | None:
    """Values of a measure by population; None without any."""
    found = table.select(name, search=search, matching=matching, reference=None)
    return found.cube("population") * MEASURES[name].factor if found else None


def _doses(
    data: xr.Dataset, table: Table, rows: tuple[str, ...], matching: str, *, narrow: bool = False
) -> Figure | None:
    """A column a search, a row a measure."""
    names = searches_of(data)[: 1 if narrow else None]
    found = {(name, s): measured(table, name, s, matching) for name in rows for s in names}
    names = [s for s in names if any(found[name, s] is not None for name in rows)]
    if not names:
        return None
    width = style.COLUMN if narrow else style.PAGE
    options = {"width": width, "height": 1.05, "left": 0.68, "gap": (0.42, 0.14), "top": 0.62 if narrow else 0.42}
    figure, axes = style.panels(len(rows) * len(names), columns=len(names), bottom=0.42, sharex=True, **options)
    panels, x = np.reshape(axes, (len(rows), len(names))), kept(data, table)
    for row, name in zip(panels, rows, strict=True):
        for one, search in zip(row, names, strict=True):
            if found[name, search] is None:
                one.text(0.5, 0.5, "too few images", ha="center", va="center", color=GREY, transform=one.transAxes)
            else:
                _panel(one, data, x, found[name, search])
            one.grid(axis="y")
            one.tick_params(labelbottom=name == rows[-1])
            if name == rows[0]:
                one.set_title(SEARCHES[search][0])
        row[0].set_ylabel(f"{MEASURES[name].label}\n({MEASURES[name].unit})")
    span = np.array([x[name] for kind in (NO_NOISE, "redrawn", *UNDOSED) for name in of_kind(data, kind)])
    room = 0.06 * max(float(np.ptp(span)), 1.0)
    axes[0].set_xlim(float(span.max()) + room, float(span.min()) - room)  # noise grows to the right
    style.shared_labels(figure, x="accuracy kept (%)" if narrow else KEPT)
    figure.align_ylabels(panels[:, 0])
    _key(figure, data, columns=2 if narrow else 6)
    return figure


def _panel(axes: Axes, data: xr.Dataset, x: dict[str, float], values: xr.Dataset) -> None:
    known = values.population.values.tolist()
    shift = 0.006 * float(np.ptp([*x.values()]))  # so that intervals of one radius do not hide each other

    def points(kind: str, aside: float = 0.0, **look) -> None:
        names = [name for name in of_kind(data, kind) if name in known]
        if names:
            value, low, high = (values[end].sel(population=names).values for end in ENDS[:3])
            ends = np.nan_to_num(np.abs([value - low, high - value]))
            _, color, marker = KINDS[kind]
            drawn = {"color": color, "marker": marker, "elinewidth": 0.7, "capsize": 0} | look
            axes.errorbar(np.array([x[name] + aside for name in names]), value, yerr=ends, **drawn)

    if NO_NOISE in known:
        plain = values.sel(population=NO_NOISE)
        axes.axhspan(float(plain.low), float(plain.high), color=INK, alpha=0.07, linewidth=0)
        axes.axhline(float(plain.value), color=INK, linewidth=0.9)
    points("redrawn", shift, markersize=3.6, linewidth=1.3)
    points("frozen", -shift, markersize=3.6, linewidth=0.9, linestyle=DASHED, markerfacecolor="white")
    for kind in UNDOSED:
        points(kind, markersize=4.2, linestyle="", zorder=3)


def _key(figure: Figure, data: xr.Dataset, *, columns: int) -> None:
    handles, labels = [], []
    for kind, (label, color, marker) in KINDS.items():
        if of_kind(data, kind):
            line = DASHED if kind == "frozen" else "-" if kind in (NO_NOISE, "redrawn") else ""
            drawn = {"marker": marker, "markersize": 3.6, "markerfacecolor": "white" if kind == "frozen" else color}
            handles.append(Line2D([], [], color=color, linestyle=line, linewidth=1.1, **drawn))
            labels.append(label)
    style.legend_above(figure, handles, labels, columns=columns)


@of_one_kind
def doses(data: xr.Dataset, table: Table) -> Figure | None:
    """Measures at equal norm over the dose, both columns wide."""
    return _doses(data, table, AT_NORM, "norm")


@of_one_kind
def doses_narrow(data: xr.Dataset, table: Table) -> Figure | None:
    """The first search alone, one column wide."""
    return _doses(data, table, AT_NORM, "norm", narrow=True)


@of_one_kind
def doses_at_margin(data: xr.Dataset, table: Table) -> Figure | None:
    """The same at equal margin, where success says nothing."""
    return _doses(data, table, AT_MARGIN, "margin")


@of_one_kind
def doses_table(data: xr.Dataset, table: Table) -> list[tuple]:
    """The rows of the main figure."""
    x = kept(data, table)
    rows: list[tuple] = [("search", "measure", "unit", "population", "accuracy_kept", *ENDS[:3])]
    for row in table.select([*AT_NORM], matching="norm", reference=None):
        name, factor = row["name"], MEASURES[row["name"]].factor
        ends = [np.nan if row[end] is None else factor * row[end] for end in ENDS[:3]]
        rows.append((row["search"], name, MEASURES[name].unit, row["population"], x[row["population"]], *ends))
    return rows


# ---- differences ----


def _changes(data: xr.Dataset, table: Table, names: tuple[str, ...], matching: str) -> Figure | None:
    """Paired differences of every population from no noise, a column a measure."""
    populations = [name for kind in KINDS if kind != NO_NOISE for name in of_kind(data, kind)]
    rows, scale = {}, {}
    for name in names:
        about = {"matching": matching, "reference": NO_NOISE}
        own = [[table.get(name, search=s, population=one, **about) for s in searches_of(data)] for one in populations]
        if any(row for each in own for row in each):
            written = MEASURES[name]
            rows[written.label] = own, "points" if written.unit.startswith("%") else written.unit
            scale[written.label] = written.factor
    looks = [SEARCHES[name] for name in searches_of(data)]
    labels = [label_of(data, name) for name in populations]
    return plots.intervals(rows, labels, scale=scale, looks=looks) if rows else None


@of_one_kind
def changes(data: xr.Dataset, table: Table) -> Figure | None:
    """Every population beside no noise at equal norm."""
    return _changes(data, table, (*AT_NORM, "linearity.scale_free"), "norm")


@of_one_kind
def changes_at_margin(data: xr.Dataset, table: Table) -> Figure | None:
    """The same at equal margin."""
    return _changes(data, table, (*AT_MARGIN, "distance.l2"), "margin")


# ---- the grid ----

AXES = (("eta/M", "η / M (pixels)"), ("eta", "step size η (pixels)"), ("M", "draws a step M"))
COLORS = ("#9ecae1", "#4292c6", "#08519c", "#08306b", "#222222")
MARKERS = ("o", "s", "D", "^", "v")


@of_one_kind
def collapse(data: xr.Dataset, table: Table) -> Figure | None:
    """A row a radius, a column a quantity that flatness may be a function of; colour and marker are M.

    Open symbols: searches that end with most coordinates at the boundary.
    """
    rows = table.select("input_flatness.scale_free", population="noisy", search=None)
    if not rows:
        return None
    flat, stuck = rows.cube(*POINT), table.select("attack.at_boundary").cube(*POINT).value > STUCK
    options = {"height": 1.25, "left": 0.62, "gap": (0.2, 0.36), "top": 0.5, "bottom": 0.42, "sharey": "row"}
    radii, several = flat.grid_radius.values, flat.draws.values
    figure, axes = style.panels(len(radii) * len(AXES), columns=len(AXES), **options)
    for row, radius in zip(np.reshape(axes, (len(radii), len(AXES))), radii.tolist(), strict=True):
        for one, (by, label) in zip(row, AXES, strict=True):
            at = {"grid_radius": radius}
            _collapse_panel(one, 100 * flat.value.sel(at), stuck.sel(at), by)
            found = table.select(SHARE, by=by, reference=None, **at).rows
            said = f"explains {found[0].text(100.0, 0)} %" if found else "nothing varies"
            one.set_title(f"ξ = {radius:g}: {said}" if one is row[0] else said, fontsize=7)
            one.set_xlabel(label if radius == radii[-1] else "")
    style.shared_labels(figure, y="margin lost under noise at the end (%)")
    looks = [{"color": COLORS[m % 5], "marker": MARKERS[m % 5], "markersize": 3.4} for m in range(len(several))]
    labels = [f"M = {count:g}" for count in several]
    style.legend_above(figure, [Line2D([], [], **look) for look in looks], labels, columns=len(several))
    return figure


def _collapse_panel(axes: Axes, flat: xr.DataArray, stuck: xr.DataArray, by: str) -> None:
    eta, several = flat.eta.values, flat.draws.values
    for m, count in enumerate(several):
        x = {"eta/M": eta / count, "eta": eta, "M": np.full(len(eta), count)}[by]
        y, still = flat.sel(draws=count).values, stuck.sel(draws=count).values
        color = COLORS[m % 5]
        axes.plot(x, y, linestyle="" if by == "M" else "-", linewidth=0.8, color=color)
        for some, face in ((~still, color), (still, "white")):
            drawn = {"color": color, "marker": MARKERS[m % 5], "markerfacecolor": face, "markersize": 3.4}
            axes.plot(x[some], y[some], linestyle="", **drawn)
    places = {"eta/M": (eta[:, None] / several).ravel(), "eta": eta, "M": several}[by]
    style.log_x(axes, places.astype(float), small=True)
    if by == "M":
        axes.set_xticks(several, [f"{count:g}" for count in several])
    axes.grid(axis="y")


# ---- step sizes and pictures ----


@of_one_kind
def tuning(data: xr.Dataset, table: Table) -> Figure | None:
    """Margin toward the goal on validation images over the step size; ringed is what each population took."""
    goal = data.validation_goal.mean("member")
    options = {"height": 1.9, "left": 0.5, "gap": (0.42, 0.3), "top": 0.42}
    figure, axes = style.panels(data.sizes["search"], columns=3, **options)
    size, redrawn = data.step_size.values, of_kind(data, "redrawn")
    for one, search in zip(axes, searches_of(data), strict=True):
        for name in data.population.values.astype(str).tolist():
            own = {"search": search, "population": name}
            curve, chosen = goal.sel(own).values, float(data.chosen_step_size.sel(own).isel(member=0))
            color, line, wide = _shade(str(data.kind.sel(population=name).values), name, redrawn)
            one.plot(size, curve, color=color, linestyle=line, linewidth=wide, zorder=1 + wide)
            at = int(np.argmin(np.abs(size - chosen)))
            one.plot(size[at], curve[at], "o", markersize=3, markerfacecolor="white", color=color, zorder=3)
        style.log_x(one, size, small=True)
        one.set_xticks(size, [f"{s:g}" for s in size])
        one.set(title=SEARCHES[search][0], xlabel="step size (share of the radius)")
        one.grid(axis="y")
    axes[0].set_ylabel("source's margin toward the goal (logits)")
    shown = [("no noise", INK, "-"), ("redrawn, darker with the radius", "#2171b5", "-")]
    shown += [("frozen draws", KINDS["frozen"][1], DASHED), ("others", GREY, "-")]
    handles = [Line2D([], [], color=color, linestyle=line) for _, color, line in shown]
    style.legend_above(figure, handles, [label for label, *_ in shown], columns=4)
    return figure


def _shade(kind: str, name: str, redrawn: list[str]) -> tuple:
    """(colour, line, width) of a population among the step-size curves: redrawn ones darken with the radius."""
    if kind == NO_NOISE:
        return INK, "-", 1.6
    if kind == "redrawn":
        share = (1 + redrawn.index(name)) / len(redrawn)
        light, dark = np.array([0.62, 0.79, 0.88]), np.array([0.03, 0.19, 0.42])
        return tuple(light + share * (dark - light)), "-", 1.2
    return (KINDS["frozen"][1], DASHED, 0.6) if kind == "frozen" else (GREY, "-", 0.6)


@of_one_kind
def pictures(data: xr.Dataset, table: Table) -> Figure | None:
    """Results at equal norm of the first source: a row a population, a few images of each search."""
    names, shown = searches_of(data), min(MOST, data.sizes["shown"])
    image = ("height", "width", "channel")
    found = data.picture.isel(shown=slice(shown)).transpose("population", "search", "shown", *image)
    starts = data.picture_start.isel(shown=slice(shown)).transpose("search", "shown", *image).values
    flat = lambda images: images.reshape(-1, *images.shape[2:])  # noqa: E731
    image_rows = [ImageRow("start", GREY, [*flat(starts)])]
    redrawn, frozen = of_kind(data, "redrawn"), of_kind(data, "frozen")
    middle = len(redrawn) // 2
    chosen = [NO_NOISE, *dict.fromkeys((redrawn[middle], redrawn[-1])), frozen[middle]]
    for name in [*chosen, *(one for kind in UNDOSED for one in of_kind(data, kind))]:
        color = KINDS[str(data.kind.sel(population=name).values)][1]
        image_rows.append(ImageRow(label_of(data, name), color, [*flat(found.sel(population=name).values)]))
    groups = [(k * shown, (k + 1) * shown - 1, SEARCHES[name][0]) for k, name in enumerate(names)]
    before = [0.12 if i and i % shown == 0 else 0.0 for i in range(len(names) * shown)]
    return image_grid(image_rows, groups=groups, before=before, margin=1.25)


FIGURES = (
    FigureSpec(
        "dose",
        "More noise, as the accuracy that it leaves",
        "Each search spends the same number of gradients, with the step size that is best for it on validation images; "
        "results are shortened to one length, and those that do not come so far are left out. Filled: a classifier "
        "redrawn at every gradient; open: one draw frozen for the whole search, which is another classifier but no "
        "noise, so what open and filled share is not due to noise. The line with its band is the search without noise; "
        "bars are 95 % intervals over sources and images. A source's results are tried on the other sources, which "
        "never guided. Less margin lost is flatter. Off manifold: the L2 distance to the reconstruction by another "
        "source's autoencoder.",
        ("success", "kept"),
        doses,
        narrow=doses_narrow,
        table=doses_table,
    ),
    FigureSpec(
        "changes",
        "Every kind of noise beside none, at equal norm",
        "Paired differences from the search without noise, same images and sources, with 95 % intervals. Those right "
        "of zero fool others more often; those left of zero in the columns of margin lost and off tangent end in "
        "flatter, straighter places. ξ is the radius of the noise relative to each layer's weights.",
        ("success",),
        changes,
    ),
    FigureSpec(
        "dose_margin",
        "The same at equal margin",
        "At the first point on the line from the start to the result where the source's margin toward the goal is the "
        "same for all (images without such a point are left out), so that confidence is no longer what differs. Off "
        "tangent: how far the margin strays from its linearisation within the length of the noise.",
        ("success", "kept"),
        doses_at_margin,
    ),
    FigureSpec(
        "changes_margin",
        "Every kind of noise beside none, at equal margin",
        "Read as above, over the images for which both reach the margin. The last column says how much farther or "
        "nearer that point is.",
        ("success",),
        changes_at_margin,
    ),
    FigureSpec(
        "collapse",
        "Is it the noise of SGD?",
        "How flat a search ends, for every step size and number of draws a step, at an equal number of gradients. If "
        "flatness is a matter of the noise's temperature η / M alone, the left column is one curve and explains as "
        "much as can be explained. The row ξ = 0 has no noise: there only the distance covered, also a function of "
        "η / M, is left, and a collapse in other rows that is no better than in that one is no evidence. Titles: share "
        "of the variance between points that a quadratic in the logarithm explains [95 % interval]. Open: more than "
        "half of the coordinates end at the boundary, where η / M can matter little.",
        ("grid_margin_drop", "grid_margin", "grid_at_boundary"),
        collapse,
    ),
    FigureSpec(
        "tuning",
        "How step sizes were chosen",
        "On validation images: the mean margin toward the goal that the unperturbed source gives the end of the "
        "search. Ringed: what was taken; a ring at an end of the grid might lie beyond it.",
        ("validation_goal", "chosen_step_size"),
        tuning,
    ),
    FigureSpec(
        "pictures",
        "The results themselves",
        "The first test images, first source, at equal norm; not chosen.",
        ("picture", "picture_start"),
        pictures,
        kind="png",
    ),
)
