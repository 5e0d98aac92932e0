"""Figures of a `gradients` run: curves and intervals come from the table, pictures from the dataset."""

from typing import Any

import xarray as xr
from matplotlib.figure import Figure

from landscape.experiments.gradients import pictures
from landscape.experiments.gradients.estimates import AGREEMENT, DISTANT, GIVEN, HELD_OUT, MEAN, PIXELS, guides
from landscape.reporting import plots, style
from landscape.reporting.figures import FigureSpec
from landscape.reporting.style import Look
from landscape.stats.table import ENDS, Row, Table

DASHED = (0, (4, 1.5))
STARTS = {
    "image": Look("from images", "#0072B2", marker=""),
    "noise": Look("from noise", "#E69F00", marker=""),
    "zeros": Look("from zeros", "#222222", marker=""),
}
OBJECTIVES = {MEAN: Look("mean of the guides", "#222222"), "agreeing": Look("agreeing pixels", "#009E73", marker="^")}
VALUES = {"probability": "probability", "log_probability": "log probability", "logit": "logit", "margin": "margin"}
MEASURES = (  # of where guided ascents end: title, name, coordinates
    ("a  held-out\nprobability", HELD_OUT, {"distance": None}),
    ("b  the same at\none distance", HELD_OUT, {}),
    ("c  share that goes\nas far as that", DISTANT, {}),
    ("d  to nearest train-\ning image (pixels)", "distance.guided_to_training", {}),
    ("e  margin lost\nto noise (share)", "input_flatness.scale_free", {}),
)


def shown(space: str) -> str:
    """A space as a figure names it."""
    return space if space == PIXELS else style.plain(space, limit=12)


# ---- several guides ----


def along(table: Table) -> dict[str, xr.Dataset]:
    """Probability along the ascents, by the held-out classifiers and by the guides: over space, start, guides, step."""
    names = {"held_out": f"{HELD_OUT}_along", "guides": "confidence.guided_along"}
    rows = {name: table.select(own) for name, own in names.items()}
    return {name: own.cube("space", "start", "guides", "guided_step") for name, own in rows.items() if own}


def guided(data: xr.Dataset, table: Table, *, width: float = style.PAGE) -> Figure | None:
    """One panel a space and kind of start: the held-out probability by step, and dashed what the guides give."""
    cubes = along(table)
    if "held_out" not in cubes:
        return None
    cube, narrow = cubes["held_out"], width < style.PAGE
    rows, across = cube.space.values.tolist(), cube.start.values.tolist()
    counts = cube.guides.values.tolist()
    looks = plots.shades(counts, [guides(counts[0]), *map(str, counts[1:])])
    room = {"height": 1.0 if narrow else 1.3, "top": 0.62 if narrow else 0.45, "gap": (0.12, 0.22), "width": width}
    figure, panels = style.panels(len(rows) * len(across), columns=len(across), sharex=True, sharey=True, **room)
    for axes, (space, start) in zip(panels, [(s, k) for s in rows for k in across], strict=True):
        at = {"space": space, "start": start}
        plots.lines(axes, cube.sel(at), "guided_step", "guides", looks)
        if "guides" in cubes:
            own = {k: look._replace(line=DASHED) for k, look in looks.items()}
            plots.lines(axes, cubes["guides"].sel(at), "guided_step", "guides", own, interval=False)
        axes.set_ylim(0, 1)
        axes.tick_params(labelbottom=space == rows[-1])
        if space == rows[0]:
            axes.set_title(STARTS[start].label)
        if start == across[0]:
            axes.set_ylabel(shown(space))
    style.shared_labels(figure, "step", "" if narrow else "probability of the target class")
    more = Look("guides themselves", "#555555", DASHED, "")
    plots.key(figure, [*looks.values(), more], columns=4 if narrow else 7)
    return figure


def guided_narrow(data: xr.Dataset, table: Table) -> Figure | None:
    """The same, one column wide."""
    return guided(data, table, width=style.COLUMN)


def guided_table(data: xr.Dataset, table: Table) -> list[tuple]:
    """The rows of the main figure."""
    rows: list[tuple] = [("by", "space", "start", "guides", "step", *ENDS[:3])]
    for name, cube in along(table).items():
        for row in cube.to_dataframe().dropna(subset="value").reset_index().to_dict("records"):
            at = (row["space"], row["start"], row["guides"], row["guided_step"])
            rows.append((name, *at, *(row[end] for end in ENDS[:3])))
    return rows


def objectives(data: xr.Dataset, table: Table) -> Figure | None:
    """Ends of ascents from images against the number of guides: a line an objective, a row a space."""
    ends = table.select(start="image", reference=None, **GIVEN)
    spaces = list(dict.fromkeys(row["space"] for row in ends.select(HELD_OUT)))
    if not spaces:
        return None
    room = {"height": 1.15, "left": 0.62, "top": 0.62, "bottom": 0.42, "gap": (0.36, 0.2)}
    figure, panels = style.panels(len(spaces) * len(MEASURES), columns=len(MEASURES), sharex=True, **room)
    for index, axes in enumerate(panels):
        space, (title, name, where) = spaces[index // len(MEASURES)], MEASURES[index % len(MEASURES)]
        rows = ends.select(name, space=space, **where)
        if name == HELD_OUT and not where:
            rows = Table(tuple(row for row in rows if "distance" in row))
        cube = rows.cube("objective", "guides") if rows else None
        if cube is not None:
            known = {name: OBJECTIVES[name] for name in cube.objective.values.tolist()}
            plots.lines(axes, cube.sortby("guides"), "guides", "objective", known)
        counts = data.guides.values
        style.log_x(axes, counts.astype(float), small=True)
        axes.set_xticks(counts, counts)
        axes.set_ylim(0, 1 if index % len(MEASURES) < 3 else None)
        axes.tick_params(labelbottom=space == spaces[-1])
        if space == spaces[0]:
            axes.set_title(title, fontsize=7)
        if index % len(MEASURES) == 0:
            axes.set_ylabel(shown(space))
    style.shared_labels(figure, "number of guides")
    plots.key(figure, OBJECTIVES.values())
    return figure


# ---- gradients ----


def agreement(data: xr.Dataset, table: Table) -> Figure | None:
    """Cosines of two classifiers' gradients, of the predicted class and of all: a row a space and value."""
    found = table.select([AGREEMENT, "agreement.smooth_gradient"])
    rows: dict[str, dict[str, Row]] = {}
    for row in found:
        value = VALUES.get(row["class_value"], row["class_value"])
        value = f"SmoothGrad, σ = {row['sigma']:g}" if "sigma" in row else value
        rows.setdefault(f"{shown(row['space'])}: {value}", {})[row["classes"]] = row
    if not rows:
        return None
    titles = {"own": "predicted class", "all": "all classes"}
    columns = {title: ([row.get(key) for row in rows.values()], "cosine") for key, title in titles.items()}
    return plots.intervals(columns, list(rows))


def manifold(data: xr.Dataset, table: Table) -> Figure | None:
    """The push-forward beside the gradient of pixels, and beside finite steps: rows of each family."""
    rows, classes = {}, {"own": "predicted class", "others": "other classes"}
    for row in table.select(["agreement.pushed_with_pixels", "agreement.pushed_with_step"]):
        other = f"step of {row['step_length']:g}" if "step_length" in row else f"pixels, {classes[row['classes']]}"
        rows[f"{shown(row['space'])}: with {other}"] = row
    return plots.intervals({"": (list(rows.values()), "cosine with the push-forward")}, list(rows)) if rows else None


# ---- one guide ----


def ascents(data: xr.Dataset, table: Table) -> Figure | None:
    """The objective by step: a panel a space, a line a kind of start."""
    rows = table.select("path.ascended_value")
    if not rows:
        return None
    cube = rows.cube("space", "start", "step")
    known = cube.space.values.tolist()
    figure, panels = style.panels(len(known), columns=4, height=1.3, left=0.68, gap=(0.12, 0.4), sharey=True)
    for axes, space in zip(panels, known, strict=True):
        looks = {name: STARTS[name] for name in cube.start.values.tolist()}
        plots.lines(axes, cube.sel(space=space), "step", "start", looks)
        axes.set_title(shown(space))
    value = VALUES.get(str(data.attrs.get("ascent_value", "")), "objective")
    style.shared_labels(figure, "step", f"{value} of the target class")
    plots.key(figure, STARTS.values())
    return figure


def ends(data: xr.Dataset, table: Table) -> Figure | None:
    """Where ascents of one guide end: probability by the guide and by others, distances; a row a space and start."""
    rows = table.select("confidence.ascended")
    if not rows:
        return None
    places = [{"space": row["space"], "start": row["start"]} for row in rows]
    labels = [f"{shown(at['space'])}, {STARTS[at['start']].label}" for at in places]

    def of(name: str) -> list[Row | None]:
        found = [table.get(name, **at) for at in places]
        return [row if row is None or row["unit"] in ("1", "pixels") else None for row in found]

    names = {
        "probability\nby the guide": ("confidence.ascended", ""),
        "probability by\nother classifiers": ("confidence.ascended_held_out", ""),
        "distance\nfrom the start": ("distance.ascended", "pixels (L2)"),
        "distance to the\nnearest training image": ("distance.ascended_to_training", "pixels (L2)"),
    }
    return plots.intervals({title: (of(name), unit) for title, (name, unit) in names.items()}, labels)


def several_steps(data: xr.Dataset, *_: Any) -> bool:
    return data.sizes.get("step", 0) > 1


FIGURES = (
    FigureSpec(
        "guided",
        "Where several classifiers lead together",
        "Each step raises a class that the image is not of. Solid: the probability of that class by classifiers that "
        "take no part, with its 95 % interval given these guides; dashed: by the guides themselves. Where solid lies "
        "below dashed, the guides believe something that others do not; where more guides lift the solid line, they "
        "found what other classifiers see too.",
        ("guided_held_out",),
        guided,
        narrow=guided_narrow,
        table=guided_table,
    ),
    FigureSpec(
        "guided_pictures",
        "The same as pictures",
        "Starts are not chosen; after the arrow the class that is raised. Beneath each picture the mean probability of "
        "that class by classifiers that took no part.",
        ("picture_guided", "picture_guided_start", "guided_target"),
        pictures.guided,
        kind="png",
    ),
    FigureSpec(
        "objectives",
        "Two ways of being guided",
        "Ends of ascents from images. The guides' mean is raised in all pixels, or only in those where all guides' "
        "gradients have one sign (agreeing). Good ascents are high in a and low in d and e. Agreeing ones move less, "
        "so b compares both at one distance from the start, of the ascents that go there (c).",
        ("guided_held_out",),
        objectives,
    ),
    FigureSpec(
        "maps",
        "Which pixels raise each class",
        "Means of several classifiers. Of real latents (ae, vae, sphere) the push-forward is what the image does as "
        "the latent moves along its gradient, and the finite step says how far that holds. Of codes (vq, fsq) the "
        "gradient is straight-through, as if the nearest code moved along: a step may change nothing (blank) or jump. "
        "Where the predicted class is nearly certain its log probability has nothing left to gain: a pale column.",
        ("picture_gradient", "picture"),
        pictures.maps,
        kind="png",
    ),
    FigureSpec(
        "agreement",
        "Do two classifiers have the same gradients?",
        "Cosine of two classifiers' gradients for the same image and class (manifolds: of their push-forwards), with "
        "95 % intervals over classifiers: further right, more of a gradient belongs to the data than to the "
        "classifier. A probability and its logarithm point the same way.",
        ("prediction", "gradient_cosine"),
        agreement,
    ),
    FigureSpec(
        "manifold",
        "What the manifold's gradient does in pixels",
        "Cosine of the push-forward with the gradient of pixels (how much of it lies along the manifold), and with "
        "what finite steps in the latent do, their length in typical distances of a latent from the mean (1 where the "
        "derivative still holds; codes do not follow small steps).",
        ("pushed_to_pixels",),
        manifold,
        optional=True,
    ),
    FigureSpec(
        "ascent_target",
        "One class from many starts",
        "Recorded states of ascents toward one class, guided by one classifier; starts are not chosen. Beneath the "
        "last picture the probability of the class by classifiers that took no part. A point of a hidden layer is no "
        "image: shown is the training image nearest to it there, and the probability is the guide's own.",
        ("picture_course", "course_class"),
        pictures.courses,
        kind="png",
    ),
    FigureSpec(
        "ascent_sample",
        "Every class from one start",
        "Ends of ascents guided by one classifier, and beneath each what it changed (red brighter, blue darker; in "
        "colour images no change is mid-grey). In pixels a high number beneath a picture that looks like nothing is "
        "what classifiers share beyond what we see.",
        ("picture_end", "picture_course"),
        pictures.every_class,
        kind="png",
    ),
    FigureSpec(
        "ascent_curves",
        "How ascents rise",
        "Means over starts and classes with 95 % intervals. A line that still rises at the end needs more steps.",
        ("ascent_value",),
        ascents,
        when=several_steps,
    ),
    FigureSpec(
        "ascent_ends",
        "Where ascents end",
        "Means over starts and classes, with 95 % intervals over classifiers and starts where there are five or more. "
        "A class that the guide sees and others do not is adversarial; an end far from every training image left the "
        "data. Distances in hidden layers have another unit and are in the table.",
        ("ascent_probability",),
        ends,
    ),
)
