"""Figures of a `gradients` run: curves and intervals come from the table, pictures from the dataset.

Of a sweep the first figure shows all values, the others the first one.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from landscape.experiments.base import named, of_one_kind, strata_of
from landscape.experiments.gradients.estimates import (
    AGREEING,
    AGREEMENT,
    DISTANT,
    GIVEN,
    HELD_OUT,
    MEAN,
    PIXELS,
    guides,
    spaces,
)
from landscape.presets.names import CODED
from landscape.reporting import figures as drawing
from landscape.reporting import plots, style
from landscape.reporting.figures import FigureSpec
from landscape.reporting.image_grid import SOFT, ImageRow, image_grid, note, signed
from landscape.reporting.style import Look
from landscape.stats.table import ENDS, Row, Table

INK, MARK = "#333333", "#009E73"
FRAMES = 9  # of a course
ROWS = {"image": 3, "noise": 2, "zeros": 1}  # starts of each kind
DASHED = (0, (4, 1.5))
STARTS = {"image": "from images", "noise": "from noise", "zeros": "from zeros"}
OBJECTIVES = {MEAN: Look("mean of the guides", "#222222"), AGREEING: Look("agreeing pixels", "#009E73", marker="^")}
ALONG = {f"{HELD_OUT}_along": "held_out", "confidence.guided_along": "guides"}  # curves, and by whom they are
MEASURES = (  # of where guided ascents end: title, name, whether at one distance
    ("a  held-out\nprobability", HELD_OUT, False),
    ("b  the same at\none distance", HELD_OUT, True),
    ("c  share that goes\nas far as that", DISTANT, True),
    ("d  to nearest train-\ning image (pixels)", "distance.guided_to_training", False),
    ("e  margin lost\nto noise (share)", "input_flatness.scale_free", False),
)


def shown(space: str) -> str:
    """A space as a figure names it."""
    return space if space == PIXELS else style.plain(space, limit=12)


# ---- a sweep ----


def sweep(data: xr.Dataset, table: Table) -> Figure | None:
    """The held-out probability that the fewest and the most guides reach, at each kind of training."""
    every, counts = strata_of(table), sorted({int(count) for count in data.guides.values[[0, -1]]})
    at = {"start": "image", "objective": MEAN, "reference": None, "distance": None, **GIVEN}
    panels = {}
    for space in spaces(data, "guided_moved"):
        here = at | {"space": space}
        own = [[table.get(HELD_OUT, guides=count, **here, **kind) for count in counts] for kind in every]
        panels[shown(space)] = own, "held-out probability"
    looks = [(guides(count), color, "o") for count, color in zip(counts, ("#56B4E9", "#222222"), strict=False)]
    return plots.intervals(panels, [named(kind) for kind in every], looks=looks)


def of_first(draw: Callable[..., Any]) -> Callable[[xr.Dataset, Table], Any]:
    """The same drawing, of the first kind of training alone."""
    return of_one_kind(lambda data, table: draw(data.isel(training=0, drop=True), table))


# ---- several guides ----


def guided(data: xr.Dataset, table: Table, *, width: float = style.PAGE) -> Figure | None:
    """One panel a space and kind of start: the held-out probability by step, and dashed what the guides give."""
    found, narrow = table.select([*ALONG]), width < style.PAGE
    if not found:
        return None
    held_out, own = (found.select(name).cube("space", "start", "guides", "guided_step") for name in ALONG)
    rows, across = held_out.space.values.tolist(), held_out.start.values.tolist()
    counts = held_out.guides.values.tolist()
    looks = plots.shades(counts, [guides(counts[0]), *map(str, counts[1:])])
    dashed = {k: look._replace(line=DASHED) for k, look in looks.items()}
    room = {"height": 1.0 if narrow else 1.3, "top": 0.62 if narrow else 0.45, "gap": (0.12, 0.22), "width": width}
    figure, panels = style.panels(len(rows) * len(across), columns=len(across), sharex=True, sharey=True, **room)
    for axes, (space, start) in zip(panels, [(s, k) for s in rows for k in across], strict=True):
        at = {"space": space, "start": start}
        plots.lines(axes, held_out.sel(at), "guided_step", "guides", looks)
        plots.lines(axes, own.sel(at), "guided_step", "guides", dashed, interval=False)
        axes.set_ylim(0, 1)
        axes.tick_params(labelbottom=space == rows[-1])
        if space == rows[0]:
            axes.set_title(STARTS[start])
        if start == across[0]:
            axes.set_ylabel(shown(space))
    style.shared_labels(figure, "step", "" if narrow else "probability of the target class")
    more = Look("guides themselves", "#555555", DASHED, "")
    plots.key(figure, [*looks.values(), more], columns=4 if narrow else 7)
    return figure


def guided_table(data: xr.Dataset, table: Table) -> list[tuple]:
    """The rows of the main figure."""
    rows: list[tuple] = [("by", "space", "start", "guides", "step", *ENDS[:3])]
    for row in table.select([*ALONG]):
        at = (row["space"], row["start"], row["guides"], row["guided_step"])
        rows.append((ALONG[row["name"]], *at, *(np.nan if row[end] is None else row[end] for end in ENDS[:3])))
    return rows


def objectives(data: xr.Dataset, table: Table) -> Figure | None:
    """Ends of ascents from images against the number of guides: a line an objective, a row a space."""
    ends = table.select(start="image", reference=None, **GIVEN)
    rows = list(dict.fromkeys(row["space"] for row in ends.select(HELD_OUT)))
    if not rows:
        return None
    room = {"height": 1.15, "left": 0.62, "top": 0.62, "bottom": 0.42, "gap": (0.36, 0.2)}
    figure, panels = style.panels(len(rows) * len(MEASURES), columns=len(MEASURES), sharex=True, **room)
    for index, axes in enumerate(panels):
        space, (title, name, distant) = rows[index // len(MEASURES)], MEASURES[index % len(MEASURES)]
        style.log_x(axes, data.guides.values.astype(float), small=True)
        own = [row for row in ends.select(name, space=space) if ("distance" in row) == distant]
        plots.lines_of(axes, Table(tuple(own)), "objective", "guides", OBJECTIVES)
        axes.set_xticks(data.guides.values, data.guides.values)
        axes.set_ylim(0, 1 if index % len(MEASURES) < 3 else None)
        axes.tick_params(labelbottom=space == rows[-1])
        if space == rows[0]:
            axes.set_title(title, fontsize=7)
        if index % len(MEASURES) == 0:
            axes.set_ylabel(shown(space))
    style.shared_labels(figure, "number of guides")
    plots.key(figure, OBJECTIVES.values())
    return figure


# ---- gradients ----


def agreement(data: xr.Dataset, table: Table) -> Figure | None:
    """Cosines of two classifiers' gradients, of the predicted class and of all: a row a space, then SmoothGrad's."""
    rows: dict[str, dict[str, Row]] = {}
    for row in table.select([AGREEMENT, "agreement.smooth_gradient"]):
        name = f"SmoothGrad, σ = {row['sigma']:g}" if "sigma" in row else shown(row["space"])
        rows.setdefault(name, {})[row["classes"]] = row
    titles = {"own": "predicted class", "all": "all classes"}
    columns = {title: ([row.get(key) for row in rows.values()], "cosine") for key, title in titles.items()}
    return plots.intervals(columns, list(rows)) if rows else None


def manifold(data: xr.Dataset, table: Table) -> Figure | None:
    """The push-forward beside the gradient of pixels, and beside finite steps: rows of each family."""
    rows, classes = {}, {"own": "predicted class", "others": "other classes"}
    for row in table.select(["agreement.pushed_with_pixels", "agreement.pushed_with_step"]):
        other = f"step of {row['step_length']:g}" if "step_length" in row else f"pixels, {classes[row['classes']]}"
        rows[f"{shown(row['space'])}: with {other}"] = row
    return plots.intervals({"": (list(rows.values()), "cosine with the push-forward")}, list(rows)) if rows else None


# ---- one guide ----


def ends(data: xr.Dataset, table: Table) -> Figure | None:
    """Where ascents of one guide end: probability by the guide and by others, distances; a row a space and start."""
    rows = table.select("confidence.ascended")
    starts = [{"space": row["space"], "start": row["start"]} for row in rows]
    panels = {
        "probability\nby the guide": ("confidence.ascended", ""),
        "probability by\nother classifiers": ("confidence.ascended_held_out", ""),
        "distance\nfrom the start": ("distance.ascended", "pixels (L2)"),
        "distance to the\nnearest training image": ("distance.ascended_to_training", "pixels (L2)"),
    }
    found = {}
    for title, (name, unit) in panels.items():
        own = [table.get(name, **at) for at in starts]
        found[title] = [row if row and row["unit"] in ("1", "pixels") else None for row in own], unit
    labels = [f"{shown(at['space'])}, {STARTS[at['start']]}" for at in starts]
    return plots.intervals(found, labels) if rows else None


# ---- pictures ----


def ordered(values: xr.DataArray, *dims: str) -> np.ndarray:
    """An array as float64, dims in this order, others last."""
    return values.transpose(*dims, ...).values.astype(np.float64)


def class_name(data: xr.Dataset, number: int | None, limit: int = 9) -> str:
    """A class in at most `limit` letters, "?" where unknown."""
    return "?" if number is None else style.plain(drawing.names(data, "class")[number], limit=limit)


def start_name(data: xr.Dataset, start: str, image: int) -> str:
    """The class of the image that is started from, or the kind of start."""
    known = dict(zip(data.example.values.tolist(), data.label.values.tolist(), strict=True))
    return class_name(data, known.get(image)) if start == "image" else start


def share(value: float) -> str:
    """A probability in two decimals, "" where unknown."""
    return f"{value:.2f}" if np.isfinite(value) else ""


def coloured(changes: np.ndarray) -> tuple[list[np.ndarray], str]:
    """Signed pictures [n, H, W, C] on one symmetric scale, as RGB, and how far that scale goes."""
    finite = np.abs(changes[np.isfinite(changes)])
    scale = float(finite.max()) if finite.size and finite.max() > 0 else 1.0
    return list(signed(changes, scale)), f"±{style.short_number(float(f'{scale:.2g}'))}"


def rows_of(data: xr.Dataset) -> list[tuple[str, np.ndarray, np.ndarray | None]]:
    """(name, signed pictures [shown, class, ...], the images [shown, ...] they belong to) of every kind of map."""
    found = []
    for space in spaces(data, "picture_gradient"):
        here = data.sel(space=space)
        kind = "" if space == PIXELS else "\nstraight-through" if space in CODED else "\npush-forward"
        gradient = ordered(here.picture_gradient, "shown", "shown_class")
        found.append((f"{space}{kind}", gradient, ordered(here.picture, "shown")))
        if space == PIXELS:
            smooth = ordered(data.picture_smooth, "sigma", "shown", "shown_class")
            found += [(f"SmoothGrad\nσ = {s:g}", one, None) for s, one in zip(data.sigma.values, smooth, strict=True)]
    return found


def maps(data: xr.Dataset, table: Table) -> Figure | None:
    """Shown images, and beside each the signed gradient of every class, in pixels and on every manifold."""
    rows = rows_of(data)
    if not rows:
        return None
    classes = data.shown_class.values.tolist()
    votes = data.prediction.transpose("example", "member").sel(example=data.shown.values).values
    image_rows = []
    for i, own in enumerate(votes):
        guess = int(np.bincount(own).argmax())
        frames = ["", *(MARK if c == guess else "" for c in classes)]
        for n, (name, values, images) in enumerate(rows):
            changes, scale = coloured(values[i])
            above = 0.2 if n == 0 and i else 0.06 if n and images is not None else 0.0
            first = None if images is None else images[i]
            image_rows.append(ImageRow(name, INK, [first, *changes], above, (), frames, scale))
    value = style.plain(data.attrs.get("maps_value", "value"))
    heads = ["image", *(class_name(data, c, 7) for c in classes)]
    groups = [(1, len(classes), f"gradient of the {value} of class")]
    room = {"before": [0.0, 0.12], "margin": 0.98, "room": 0.5, "cell": 0.45, "below": 0.2}
    figure = image_grid(image_rows, heads=heads, groups=groups, **room)
    colors = (
        "red raises the class, blue lowers it" if data.sizes["channel"] == 1 else "colours that raise it, against grey"
    )
    text = f"{colors}, ± is the end of a row's scale; green frame: the predicted class"
    note(figure, 0.98, figure.get_figheight() - 0.04, text, va="bottom", color=SOFT, fontsize=6.5)
    return figure


# ---- pictures of ascents: spaces one below the other ----


def by_space(
    data: xr.Dataset,
    known: Sequence[str],
    rows: Callable[[xr.Dataset, str], Iterator[ImageRow]],
    heads: Sequence[str],
    **room: Any,
) -> Figure | None:
    """rows(what is in a space, kind of start) of every start below the name of the space, columns under `heads`."""
    image_rows: list[ImageRow] = []
    groups = [(0, len(heads) - 1, space) for space in known]
    for group in groups:
        here = data.sel(space=group[2])
        own = [row for start in data.start.values.tolist() for row in rows(here.sel(start=start), start)]
        image_rows += [own[0]._replace(above=0.2, titles=[group]) if image_rows else own[0], *own[1:]]
    return image_grid(image_rows, groups=groups[:1], heads=heads, **room)


def last_probability(here: xr.Dataset) -> xr.DataArray:
    """Probability at the end of the ascents that are pictured: by others, of a hidden layer by the guide itself.

    Nobody but the guide itself has the points of a hidden layer.
    """
    return (here.ascent_probability if here.kind_of_space == "layer" else here.ascent_held_out).isel(member=0)


def courses(data: xr.Dataset, table: Table) -> Figure | None:
    """One class raised from every start: recorded"""
    goal, count = int(data.course_class), data.sizes["frame"]
    frames = np.unique(np.round(np.linspace(0, count - 1, min(count, FRAMES))).astype(int))

    def rows(here: xr.Dataset, start: str) -> Iterator[ImageRow]:
        after = last_probability(here).isel({"class": goal})
        for i, image in enumerate(data.ascent_example.values.tolist()[: ROWS[start]]):
            seen = ordered(here.picture_course.isel(ascent_example=i, frame=frames), "frame")
            texts = [*[""] * (len(frames) - 1), share(float(after[i]))]
            yield ImageRow(start_name(data, start, image), INK, list(seen), texts=texts)

    heads = [f"step {t}" if n == 0 else f"{t}" for n, t in enumerate(data.frame.values[frames].tolist())]
    figure = by_space(data, spaces(data, "picture_course"), rows, heads, top=0.16)
    if figure is not None:
        note(figure, 0.06, 0.04, f"toward class {class_name(data, goal)}", va="top", weight="bold")
    return figure


def every_class(data: xr.Dataset, table: Table) -> Figure | None:
    """One start of each kind, raised to every class: ends, and what they changed on one symmetric scale a row."""
    classes = data.shown_class.values.tolist()

    def rows(here: xr.Dataset, start: str) -> Iterator[ImageRow]:
        ends, begun = (
            ordered(here.picture_end, "shown_class"),
            ordered(here.picture_course.isel(ascent_example=0, frame=0)),
        )
        after = last_probability(here).isel(ascent_example=0)
        texts = ["", *(share(float(after.isel({"class": c}))) for c in classes)]
        name = start_name(data, start, int(data.ascent_example[0]))
        yield ImageRow(name, INK, [begun, *ends], 0.04, texts)
        if start != "zeros":  # what is added to nothing is the picture itself
            changes, scale = coloured(ends - begun)
            yield ImageRow("change", SOFT, [None, *changes], right=scale)

    images = [one for one in spaces(data, "picture_end") if data.kind_of_space.sel(space=one) != "layer"]
    heads = ["start", *(class_name(data, c, 7) for c in classes)]
    return by_space(data, images, rows, heads, before=[0.0, 0.1], room=0.5, cell=0.42)


def guided_pictures(data: xr.Dataset, table: Table) -> Figure | None:
    """Starts and where they lead, by number of guides and objective: few to many by the mean, then the others."""
    counts = data.guides.values.tolist()
    columns = [(MEAN, count) for count in counts]
    columns += [(name, counts[-1]) for name in data.objective.values.tolist() if name != MEAN and counts[-1] > 1]
    targets = data.guided_target.sel(guided_example=data.guided_shown.values).values.tolist()

    def rows(here: xr.Dataset, start: str) -> Iterator[ImageRow]:
        after = here.guided_held_out.isel(guided_step=-1).mean("held_out")
        for i, image in enumerate(data.guided_shown.values.tolist()[: ROWS[start]]):
            at = [{"objective": objective, "guides": count} for objective, count in columns]
            pictures = [ordered(here.picture_guided_start.isel(guided_shown=i))]
            pictures += [ordered(here.picture_guided.sel(one).isel(guided_shown=i)) for one in at]
            texts = ["", *(share(float(after.sel(one | {"guided_example": image}))) for one in at)]
            name = f"{start_name(data, start, image)} → {class_name(data, targets[i])}"
            yield ImageRow(name, INK, pictures, texts=texts)

    names = [guides(count) if name == MEAN else style.plain(name) for name, count in columns]
    return by_space(data, spaces(data, "picture_guided"), rows, ["start", *names], margin=0.95, cell=0.6)


FIGURES = (
    FigureSpec(
        "sweep",
        "What training changes",
        "Probability of the target class under held-out classifiers at the end of ascents from images, guided by few "
        "and by many classifiers, with 95 % intervals, for each swept value. The figures below show the first value.",
        ("guided_held_out",),
        sweep,
        when=lambda data, table: len(strata_of(table)) > 1,
    ),
    FigureSpec(
        "guided",
        "Where several classifiers lead together",
        "Each step raises the probability of a class other than the image's own. Solid: that probability under "
        "held-out classifiers, with its 95 % interval given these guides; dashed: under the guides. Where solid lies "
        "below dashed, the guides believe something that others do not; where more guides raise the solid line, they "
        "have found what other classifiers see too.",
        ("guided_held_out",),
        of_first(guided),
        narrow=of_first(partial(guided, width=style.COLUMN)),
        table=of_first(guided_table),
    ),
    FigureSpec(
        "guided_pictures",
        "The same as pictures",
        "Starts are not selected; the class after the arrow is the target. Beneath each picture is the mean "
        "probability of that class under held-out classifiers.",
        ("picture_guided", "picture_guided_start", "guided_target"),
        of_first(guided_pictures),
        kind="png",
    ),
    FigureSpec(
        "objectives",
        "Two ways of being guided",
        "Ends of ascents from images. The guides' mean is raised in all pixels, or only in those where all guides' "
        "gradients have the same sign (agreeing). Good ascents are high in a and low in d and e. Agreeing ones move "
        "less, so b compares both at equal distance from the start, among the ascents that reach it (c).",
        ("guided_held_out",),
        of_first(objectives),
    ),
    FigureSpec(
        "maps",
        "Which pixels raise each class",
        "Means over several classifiers. For real latents (ae, vae, sphere) the push-forward is the change of the "
        "image as the latent moves along its gradient; for codes (vq, fsq) it is straight-through, as if the nearest "
        "code moved along. A column is pale where the predicted class is nearly certain, so that its log probability "
        "has nothing left to gain.",
        ("picture_gradient", "picture"),
        of_first(maps),
        kind="png",
    ),
    FigureSpec(
        "agreement",
        "Do two classifiers have the same gradients?",
        "Cosine of two classifiers' gradients for the same image and class (manifolds: of their push-forwards), with "
        "95 % intervals over classifiers: further right, a gradient depends more on the data and less on the "
        "classifier.",
        ("prediction", "gradient_cosine"),
        of_first(agreement),
    ),
    FigureSpec(
        "manifold",
        "What the manifold's gradient does in pixels",
        "Cosine of the push-forward with the gradient of pixels (how much of it lies along the manifold), and with "
        "the change by finite steps in the latent (1 where the derivative still holds; codes do not follow small "
        "steps). Step lengths are in typical distances of a latent from the mean.",
        ("pushed_to_pixels",),
        of_first(manifold),
        optional=True,
    ),
    FigureSpec(
        "ascent_target",
        "One class from many starts",
        "Recorded states of ascents toward one class, guided by one classifier; starts are not selected. Beneath the "
        "last picture is the probability of the class under held-out classifiers. A point of a hidden layer is no "
        "image: the picture is the training image nearest to it there, and the probability is the guide's own.",
        ("picture_course", "course_class"),
        of_first(courses),
        kind="png",
    ),
    FigureSpec(
        "ascent_sample",
        "Every class from one start",
        "Ends of ascents guided by one classifier, and beneath each its change (red: brighter, blue: darker; in "
        "colour images, mid-grey is no change). In pixels, a high number beneath a picture that looks like nothing "
        "means that classifiers share something that we do not see.",
        ("picture_end", "picture_course"),
        of_first(every_class),
        kind="png",
    ),
    FigureSpec(
        "ascent_ends",
        "Where ascents end",
        "Means over starts and classes, with 95 % intervals over classifiers and starts where there are at least "
        "five. A class that the guide sees and others do not is adversarial; an end far from every training image has "
        "left the data. Distances in hidden layers have another unit and are in the table.",
        ("ascent_probability",),
        of_first(ends),
    ),
)
