"""Figures of a noise run. Of a sweep the first one shows all values, the others the first one."""

from functools import partial

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from landscape.experiments.base import named, of_one_kind, strata_of
from landscape.experiments.noise.collapse import POINT, SHARE, STUCK
from landscape.experiments.noise.config import NO_NOISE
from landscape.experiments.noise.estimates import HEADLINE, MEASURES
from landscape.reporting import plots, style
from landscape.reporting.figures import FigureSpec
from landscape.reporting.image_grid import ImageRow, image_grid
from landscape.reporting.style import GREY, INK, Look
from landscape.stats.table import ENDS, Row, Table

DASHED = (0, (4, 1.5))
AT_NORM = ("attack.success", "input_flatness.scale_free", "transfer.success", "distance.manifold")
AT_CONFIDENCE = (*AT_NORM[1:], "linearity.scale_free")
SEARCHES = {  # name -> (label, colour, marker)
    "pixels": ("adversarial, pixels", "#0072B2", "o"),
    "manifold": ("adversarial, manifold", "#009E73", "s"),
    "ascent": ("ascent to a class, pixels", "#CC79A7", "^"),
}
KINDS = {
    NO_NOISE: Look("no noise", INK, marker=""),
    "redrawn": Look("redrawn at every gradient", "#0072B2"),
    "frozen": Look("one frozen draw", "#D55E00", DASHED),
    "random_member": Look("random member", "#009E73", "", "^"),
    "trajectory": Look("trajectory (LGV)", "#CC79A7", "", "D"),
    "swag": Look("SWAG", "#E69F00", "", "s"),
}
KEPT = "accuracy that the noisy classifier keeps (%)"
MOST = 4  # pictures of each search


def of_kind(data: xr.Dataset, kind: str) -> list[str]:
    """The populations of a kind, by growing radius."""
    index = np.flatnonzero(data.kind.values.astype(str) == kind)
    order = index[np.argsort(data.radius.values[index], kind="stable")]
    return data.population.values[order].astype(str).tolist()


def kind_of(data: xr.Dataset, population: str) -> str:
    return str(data.kind.sel(population=population).values)


def label_of(data: xr.Dataset, population: str) -> str:
    """A population in words, with its radius where it has a dose."""
    kind, radius = kind_of(data, population), float(data.radius.sel(population=population))
    return f"{kind}, ξ = {radius:g}" if kind in ("redrawn", "frozen") else KINDS[kind].label


def searches_of(data: xr.Dataset) -> list[str]:
    return data.search.values.astype(str).tolist()


def kept(table: Table) -> dict[str, float]:
    """The accuracy of each population on x, %: of a frozen draw that of redrawn ones of its radius."""
    own = {row["population"]: 100 * row["value"] for row in table.select("accuracy.kept")}
    return {name: own.get(name.replace("frozen", "redrawn"), value) for name, value in own.items()}


def key(figure: Figure, data: xr.Dataset, *, columns: int) -> None:
    """What kinds of populations look like, above all panels."""
    drawn = {kind: look for kind, look in KINDS.items() if of_kind(data, kind)}
    handles = [Line2D([], [], color=one.color, linestyle=one.line, marker=one.marker) for one in drawn.values()]
    for kind, handle in zip(drawn, handles, strict=True):
        handle.set(markersize=3.6, markerfacecolor="white" if kind == "frozen" else KINDS[kind].color)
    style.legend_above(figure, handles, [look.label for look in drawn.values()], columns=columns)


# ---- a sweep ----


def sweep(data: xr.Dataset, table: Table) -> Figure | None:
    """What redrawing changes beside no noise and beside one frozen draw, at each kind of training."""
    every, redrawn = strata_of(table), of_kind(data, "redrawn")
    middle = redrawn[len(redrawn) // 2]
    references = {NO_NOISE: KINDS[NO_NOISE]._replace(marker="o"), middle.replace("redrawn", "frozen"): KINDS["frozen"]}
    panels = {}
    for name, matching in HEADLINE:
        about = {"search": searches_of(data)[0], "matching": matching, "population": middle}
        own = [[table.get(name, reference=one, **about, **kind) for one in references] for kind in every]
        if any(row for rows in own for row in rows):
            panels[f"{MEASURES[name].label},\nequal {matching}"] = own, "points"
    looks = [(f"beside {look.label}", look.color, look.marker) for look in references.values()]
    return plots.intervals(panels, [named(kind) for kind in every], scale=100.0, looks=looks) if panels else None


# ---- measures over the dose ----


def doses(data: xr.Dataset, table: Table, *, narrow: bool = False) -> Figure | None:
    """Measures at equal norm over the dose: a column a search; `narrow` has the first one, one column wide."""
    names, x = AT_NORM, kept(table)
    found = table.select([*names], matching="norm", reference=None)
    searches = [one for one in searches_of(data)[: 1 if narrow else None] if found.select(search=one)]
    if not searches or not x:
        return None
    width = style.COLUMN if narrow else style.PAGE
    options = {"width": width, "height": 1.05, "left": 0.68, "gap": (0.42, 0.14), "top": 0.62 if narrow else 0.42}
    figure, axes = style.panels(len(names) * len(searches), columns=len(searches), bottom=0.42, sharex=True, **options)
    panels = np.reshape(axes, (len(names), len(searches)))
    for row, name in zip(panels, names, strict=True):
        for one, search in zip(row, searches, strict=True):
            rows = found.select(name, search=search)
            rows = [Row(own, kept=x[own["population"]], kind=kind_of(data, own["population"])) for own in rows]
            _dose_panel(one, Table(tuple(rows)), MEASURES[name].factor, 0.012 * float(np.ptp([*x.values()])))
            one.tick_params(labelbottom=name == names[-1])
            if name == names[0]:
                one.set_title(SEARCHES[search][0])
        row[0].set_ylabel(f"{MEASURES[name].label}\n({MEASURES[name].unit})")
    span = np.array([value for name, value in x.items() if kind_of(data, name) != "frozen"])
    margin = 0.06 * max(float(np.ptp(span)), 1.0)
    axes[0].set_xlim(float(span.max()) + margin, float(span.min()) - margin)  # noise grows to the right
    style.shared_labels(figure, x="accuracy kept (%)" if narrow else KEPT)
    figure.align_ylabels(panels[:, 0])
    key(figure, data, columns=2 if narrow else 6)
    return figure


def _dose_panel(axes: Axes, rows: Table, factor: float, apart: float) -> None:
    """The search without noise as a line with its band, all others as dots; those of frozen draws are open."""
    looks = {kind: look for kind, look in KINDS.items() if kind != NO_NOISE}
    drawn = plots.lines_of(axes, rows, "kind", "kept", looks, scale=factor, room=apart)
    if "frozen" in drawn:
        axes.lines[drawn.index("frozen")].set_markerfacecolor("white")
    for row in rows.select(kind=NO_NOISE):
        axes.axhline(factor * row["value"], color=INK, linewidth=0.9)
        if row["low"] is not None:
            axes.axhspan(factor * row["low"], factor * row["high"], color=INK, alpha=0.07, linewidth=0)


def doses_table(data: xr.Dataset, table: Table) -> list[tuple]:
    """The rows of the main figure."""
    x = kept(table)
    rows: list[tuple] = [("search", "measure", "unit", "population", "accuracy_kept", *ENDS[:3])]
    for row in table.select([*AT_NORM], matching="norm", reference=None):
        name, factor = row["name"], MEASURES[row["name"]].factor
        ends = [np.nan if row[end] is None else factor * row[end] for end in ENDS[:3]]
        rows.append((row["search"], name, MEASURES[name].unit, row["population"], x[row["population"]], *ends))
    return rows


def changes(data: xr.Dataset, table: Table, names: tuple[str, ...], matching: str) -> Figure | None:
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


# ---- the grid ----

AXES = {"eta/M": "η / M (pixels)", "eta": "step size η (pixels)", "M": "draws a step M"}
OF_DRAWS = ("o", "s", "D", "^", "v")


def collapse(data: xr.Dataset, table: Table) -> Figure | None:
    """A row a radius, a column a quantity that flatness may be a function of; colour and marker are M.

    Open symbols: searches that end with most coordinates at the boundary.
    """
    rows = table.select("input_flatness.scale_free", population="noisy", search=None)
    if not rows:
        return None
    stuck = {tuple(row[dim] for dim in POINT) for row in table.select("attack.at_boundary") if row["value"] > STUCK}
    curve = "M = {:g}".format
    about = lambda row: {"eta/M": row["eta"] / row["draws"], "M": row["draws"], "curve": curve(row["draws"])}  # noqa: E731
    rows = Table(tuple(Row(row, **about(row), stuck=tuple(row[dim] for dim in POINT) in stuck) for row in rows))
    radii, several = ([*dict.fromkeys(row[dim] for row in rows)] for dim in POINT[:2])
    looks = plots.shades([*map(curve, several)], [*map(curve, several)])
    looks = {name: look._replace(marker=mark) for (name, look), mark in zip(looks.items(), OF_DRAWS, strict=False)}
    options = {"height": 1.25, "left": 0.62, "gap": (0.2, 0.36), "top": 0.5, "bottom": 0.42, "sharey": "row"}
    figure, axes = style.panels(len(radii) * len(AXES), columns=len(AXES), **options)
    for number, one in enumerate(axes):
        radius, by = radii[number // len(AXES)], [*AXES][number % len(AXES)]
        own = rows.select(grid_radius=radius)
        style.log_x(one, np.array([row[by] for row in own], float), small=True)
        plots.lines_of(one, own, "curve", by, looks, scale=100.0)
        for row in own.select(stuck=True):
            look = looks[row["curve"]]
            drawn = {"color": look.color, "marker": look.marker, "markerfacecolor": "white", "markersize": 3.2}
            one.plot(row[by], 100 * row["value"], zorder=3, **drawn)  # above the filled one of its line
        found = table.get(SHARE, by=by, reference=None, grid_radius=radius)
        said = f"explains {found.text(100.0, 0)} %" if found else "nothing varies"
        one.set_title(f"ξ = {radius:g}: {said}" if by == "eta/M" else said, fontsize=7)
        one.set_xlabel(AXES[by] if radius == radii[-1] else "")
        if by == "M":
            one.set_xticks(several, [f"{count:g}" for count in several])
    style.shared_labels(figure, y="margin lost under noise at the end (%)")
    opened = Line2D([], [], color=GREY, marker="o", markerfacecolor="white", linestyle="")
    plots.key(figure, looks.values(), more={"most coordinates at the boundary": opened} if stuck else {})
    return figure


# ---- pictures ----


def pictures(data: xr.Dataset, table: Table) -> Figure | None:
    """Results at equal norm of the first source: a row a population, a few images of each search."""
    names, shown = searches_of(data), min(MOST, data.sizes["shown"])
    image = ("height", "width", "channel")
    few = data[["picture", "picture_start"]].isel(shown=slice(shown))
    few = few.stack(column=("search", "shown")).transpose("population", "column", *image, ...)
    redrawn, frozen = of_kind(data, "redrawn"), of_kind(data, "frozen")
    middle = len(redrawn) // 2
    chosen = [NO_NOISE, *dict.fromkeys((redrawn[middle], redrawn[-1])), frozen[middle]]
    chosen += [name for kind in ("random_member", "trajectory", "swag") for name in of_kind(data, kind)]
    image_rows = [ImageRow("start", GREY, [*few.picture_start.values])]
    for name in chosen:
        own = few.picture.sel(population=name).values
        image_rows.append(ImageRow(label_of(data, name), KINDS[kind_of(data, name)].color, [*own]))
    groups = [(k * shown, (k + 1) * shown - 1, SEARCHES[name][0]) for k, name in enumerate(names)]
    before = [0.12 if i and i % shown == 0 else 0.0 for i in range(len(names) * shown)]
    return image_grid(image_rows, groups=groups, before=before, margin=1.25)


FIGURES = (
    FigureSpec(
        "sweep",
        "What training changes",
        "Effect of redrawing the classifier relative to no noise and to one frozen draw of the same radius, with 95 % "
        "intervals, for each swept value. Right of zero, results fool others more often or lose more of their margin. "
        "The figures below show the first value.",
        ("success",),
        sweep,
        when=lambda data, table: len(strata_of(table)) > 1,
    ),
    FigureSpec(
        "dose",
        "More noise, measured by the accuracy that it leaves",
        "All searches spend the same number of gradients, each with its best step size on validation images. Results "
        "are shortened to one length, and those that do not reach it are left out. Filled: a classifier redrawn at "
        "every gradient; open: one draw frozen for the whole search, which is another classifier but not noise, so "
        "what open and filled share is not due to noise. The line with its band is the search without noise; bars are "
        "95 % intervals over sources and images. A source's results are tried on the other sources, which never "
        "guide. Less margin lost is flatter. Off manifold: the L2 distance to the reconstruction by another source's "
        "autoencoder.",
        ("success", "kept"),
        of_one_kind(doses),
        narrow=of_one_kind(partial(doses, narrow=True)),
        table=of_one_kind(doses_table),
    ),
    FigureSpec(
        "changes",
        "Every kind of noise relative to none, at equal norm",
        "Paired differences from the search without noise, same images and sources, with 95 % intervals. Right of "
        "zero, results fool others more often; left of zero, in the columns of margin lost and off tangent, they end "
        "in flatter, straighter regions. ξ is the radius of the noise relative to each layer's weights.",
        ("success",),
        of_one_kind(partial(changes, names=(*AT_NORM, "linearity.scale_free"), matching="norm")),
    ),
    FigureSpec(
        "changes_confidence",
        "Every kind of noise relative to none, at equal confidence",
        "As above, but at the first point on the line from the start to the result where the source's log-odds of "
        "the goal is the same for all, so that confidence does not differ; images without such a point are left out. "
        "Off tangent: how far the margin departs from its linearisation within the length of the noise. Last column: "
        "how much farther or nearer that point is.",
        ("success",),
        of_one_kind(partial(changes, names=(*AT_CONFIDENCE, "distance.l2"), matching="confidence")),
    ),
    FigureSpec(
        "collapse",
        "Is it the noise of SGD?",
        "Flatness at the end of a search, for every step size η and number M of draws in a step, at an equal number "
        "of gradients. If flatness depends on the noise's temperature η / M alone, the left column is one curve and "
        "explains as much as can be explained. Without noise (row ξ = 0) only the distance covered is left, which is "
        "also a function of η / M; so a collapse in other rows is evidence only if it is better than in that row. "
        "Titles: share of the variance between points that a quadratic in the logarithm explains [95 % interval]. "
        "Bars are 95 % intervals. Open symbols: searches that end with more than half of the coordinates at the "
        "boundary, where η / M can matter little.",
        ("grid_margin_drop", "grid_margin", "grid_at_boundary"),
        of_one_kind(collapse),
    ),
    FigureSpec(
        "pictures",
        "The results themselves",
        "The first test images, first source, at equal norm; not selected.",
        ("picture", "picture_start"),
        of_one_kind(pictures),
        kind="png",
    ),
)
