"""Pictures of a `gradients` run: gradients of each class, courses of ascents, and where several guides lead."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from landscape.experiments.gradients.estimates import MEAN, PIXELS, hidden
from landscape.presets.names import CODED
from landscape.reporting import figures, style
from landscape.reporting.image_grid import SOFT, ImageRow, image_grid, note, signed
from landscape.stats.table import Table

INK, MARK = "#333333", "#009E73"
IMAGES = 2  # whose gradients are shown, each taking many rows
FRAMES = 5  # of a course
ROWS = {"image": 3, "noise": 2, "zeros": 1}  # starts of each kind
SPACES = 3  # that one start is shown in


def ordered(values: xr.DataArray, *dims: str) -> np.ndarray:
    """An array as float64, dims in this order, others last."""
    return values.transpose(*dims, ...).values.astype(np.float64)


def class_name(data: xr.Dataset, number: int | None, limit: int = 9) -> str:
    """A class in at most `limit` letters, "?" where unknown."""
    return "?" if number is None else style.plain(figures.names(data, "class")[number], limit=limit)


def labels(data: xr.Dataset, dim: str) -> list[int | None]:
    """True classes of images whose ids are along `dim`; None where unknown."""
    known = dict(zip(data.example.values.tolist(), data.label.values.tolist(), strict=True)) if "label" in data else {}
    return [known.get(image) for image in data[dim].values.tolist()]


def start_name(data: xr.Dataset, kind: str, label: int | None) -> str:
    """The class of the image that is started from, or the kind of start."""
    return class_name(data, label) if kind == "image" else kind


def share(value: float) -> str:
    """A probability in two decimals, "" where unknown."""
    return f"{value:.2f}" if np.isfinite(value) else ""


def coloured(changes: np.ndarray) -> tuple[list[np.ndarray], str]:
    """Signed pictures [n, H, W, C] on one symmetric scale, as RGB, and how far that scale goes."""
    finite = np.abs(changes[np.isfinite(changes)])
    scale = float(finite.max()) if finite.size and finite.max() > 0 else 1.0
    return list(signed(changes, scale)), f"±{style.short_number(float(f'{scale:.2g}'))}"


def known(data: xr.Dataset, name: str) -> list[str]:
    """Spaces that have pictures of a name."""
    found = np.isfinite(data[name]).any([dim for dim in data[name].dims if dim != "space"])
    return data.space.values[found.values].tolist()


# ---- gradients ----


def rows_of(data: xr.Dataset) -> list[tuple[str, np.ndarray, np.ndarray | None]]:
    """(name, signed pictures [shown, class, ...], the images [shown, ...] they belong to) of every kind of map."""
    found = []
    images, gradients = (data[name] for name in ("picture", "picture_gradient"))
    for space in known(data, "picture_gradient"):
        kind = "" if space == PIXELS else "\nstraight-through" if space in CODED else "\npush-forward"
        one = ordered(gradients.sel(space=space), "shown", "shown_class")
        found.append((f"{space}{kind}", one, ordered(images.sel(space=space), "shown")))
        if space == PIXELS and "picture_smooth" in data:
            smooth = ordered(data.picture_smooth, "sigma", "shown", "shown_class")
            found += [(f"SmoothGrad\nσ = {s:g}", one, None) for s, one in zip(data.sigma.values, smooth, strict=True)]
        elif space != PIXELS and "picture_step" in data:
            step = ordered(data.sel(space=space).picture_step, "shown", "shown_class")
            found.append((f"{space}\nfinite step", step, None))
    return found


def maps(data: xr.Dataset, table: Table) -> Figure | None:
    """Shown images, and beside each the signed gradient of every class, in pixels and on every manifold."""
    rows = rows_of(data)
    if not rows:
        return None
    classes = data.shown_class.values.tolist()
    votes = data.prediction.transpose("example", "member").sel(example=data.shown.values).values
    image_rows = []
    for i in range(min(IMAGES, data.sizes["shown"])):
        guess = int(np.bincount(votes[i]).argmax())
        frames = ["", *(MARK if c == guess else "" for c in classes)]
        for n, (name, values, images) in enumerate(rows):
            changes, scale = coloured(values[i])
            above = 0.0 if n == 0 and i == 0 else 0.2 if n == 0 else 0.06 if images is not None else 0.0
            first = None if images is None else images[i]
            image_rows.append(ImageRow(name, INK, [first, *changes], above, (), frames, scale))
    value = style.plain(data.attrs.get("maps_value", "value"))
    heads = ["image", *(class_name(data, c, 7) for c in classes)]
    groups = [(1, len(classes), f"gradient of the {value} of class")]
    room = {"before": [0.0, 0.12], "margin": 0.98, "room": 0.5, "cell": 0.45, "below": 0.2}
    figure = image_grid(image_rows, heads=heads, groups=groups, **room)
    if figure is not None:
        grey = rows[0][1].shape[-1] == 1
        colors = "blue lowers, red raises" if grey else "colours that raise it, against grey"
        text = f"{colors}, ± is the end of a row's scale; green frame: the predicted class"
        note(figure, 0.98, figure.get_figheight() - 0.04, text, va="bottom", color=SOFT, fontsize=6.5)
    return figure


# ---- one guide ----


def last_probability(data: xr.Dataset, space: str) -> np.ndarray | None:
    """Probability at the end [start, ascent_example, class] of the ascents that are pictured: by others, or the guide.

    Nobody but the guide itself has the points of a hidden layer.
    """
    name = "ascent_probability" if hidden(data, space) else "ascent_held_out"
    if name not in data or "class" not in data[name].dims:
        return None
    return ordered(data[name].sel(space=space).isel(member=0), "start", "ascent_example", "class")


def courses(data: xr.Dataset, table: Table) -> Figure | None:
    """One class raised from every start: recorded pictures, two spaces side by side."""
    spaces, goal = known(data, "picture_course"), int(data.course_class)
    if not spaces:
        return None
    count = data.sizes["frame"]
    frames = np.unique(np.round(np.linspace(0, count - 1, min(count, FRAMES))).astype(int))
    across = min(2, len(spaces))
    each, image_rows, groups = len(frames), [], []
    for block in (spaces[i : i + across] for i in range(0, len(spaces), across)):
        titles = [(r * each, (r + 1) * each - 1, space) for r, space in enumerate(block)]
        if not groups:
            groups, titles = titles, []
        for k, kind in enumerate(data.start.values.tolist()):
            for i in range(min(ROWS.get(kind, 1), data.sizes["ascent_example"])):
                pictures, texts = [], []
                for space in block:
                    seen = ordered(data.sel(space=space).picture_course, "start", "ascent_example", "frame")
                    ends = last_probability(data, space)
                    pictures += list(seen[k, i, frames])
                    texts += [*[""] * (each - 1), "" if ends is None else share(ends[k, i, goal])]
                above = 0.2 if titles else 0.07 if i == 0 else 0.0
                name = start_name(data, kind, labels(data, "ascent_example")[i])
                image_rows.append(ImageRow(name, INK, pictures, above, texts, titles=titles))
                titles = []
    steps = data.frame.values[frames].tolist()
    heads = [f"step {t}" if n == 0 else f"{t}" for n, t in enumerate(steps)] * across
    before = [0.18 if j == each else 0.0 for j in range(across * each)]
    figure = image_grid(image_rows, groups=groups, heads=heads, before=before, top=0.16)
    note(figure, 0.06, 0.04, f"toward class {class_name(data, goal)}", va="top", weight="bold")
    return figure


def every_class(data: xr.Dataset, table: Table) -> Figure | None:
    """One start of each kind, raised to every class: ends, and what they changed on one symmetric scale a row."""
    spaces = [space for space in known(data, "picture_end") if not hidden(data, space)][:SPACES]
    if not spaces:
        return None
    classes, image_rows, groups = data.shown_class.values.tolist(), [], []
    for space in spaces:
        here = data.sel(space=space)
        ends = ordered(here.picture_end, "start", "shown_class")
        begun = ordered(here.picture_course, "start", "ascent_example", "frame")[:, 0, 0]
        after = last_probability(data, space)
        titles = [(1, len(classes), f"{space}, toward class")]
        if not groups:
            groups, titles = titles, []
        for k, kind in enumerate(data.start.values.tolist()):
            texts = ["", *("" if after is None else share(after[k, 0, c]) for c in classes)]
            name = start_name(data, kind, labels(data, "ascent_example")[0])
            image_rows.append(ImageRow(name, INK, [begun[k], *ends[k]], 0.2 if titles else 0.04, texts, titles=titles))
            titles = []
            if kind != "zeros":  # what is added to nothing is the picture itself
                changes, scale = coloured(ends[k] - begun[k])
                image_rows.append(ImageRow("change", SOFT, [None, *changes], right=scale))
    heads = ["start", *(class_name(data, c, 7) for c in classes)]
    return image_grid(image_rows, groups=groups, heads=heads, before=[0.0, 0.1], room=0.5, cell=0.42)


# ---- several guides ----


def columns_of(data: xr.Dataset) -> list[tuple[int, str, str]]:
    """(number of guides, objective, heading) of the ends pictured: few to many by the mean, then the others."""
    counts = sorted(data.guides.values.tolist())
    picked = [counts[i] for i in np.unique(np.round(np.linspace(0, len(counts) - 1, min(len(counts), 3))).astype(int))]
    found = [(k, MEAN, f"{k} guide{'s' if k > 1 else ''}" if k == picked[0] else f"{k}") for k in picked]
    others = [name for name in data.objective.values.tolist() if name != MEAN]
    return found + [(counts[-1], name, style.plain(name)) for name in others if counts[-1] > 1]


def guided(data: xr.Dataset, table: Table) -> Figure | None:
    """Starts and where they lead, by number of guides and objective; spaces side by side."""
    spaces = known(data, "picture_guided")
    if not spaces:
        return None
    columns = columns_of(data)
    places = [data.guided_example.values.tolist().index(image) for image in data.guided_shown.values.tolist()]
    origins, targets = labels(data, "guided_shown"), data.guided_target.values[places].tolist()
    image_rows = []
    for k, kind in enumerate(data.start.values.tolist()):
        for n in range(min(ROWS.get(kind, 1), len(places))):
            pictures, texts = [], []
            for space in spaces:
                here = data.sel(space=space).isel(start=k)
                pictures.append(ordered(here.picture_guided_start, "guided_shown")[n])
                ends = ordered(here.picture_guided, "guides", "objective", "guided_shown")
                after = ordered(here.isel(guided_step=-1).guided_held_out, "guides", "objective", "guided_example")
                texts.append("")
                for count, objective, _ in columns:
                    at = (data.guides.values.tolist().index(count), data.objective.values.tolist().index(objective))
                    pictures.append(ends[*at, n])
                    texts.append(share(float(after[*at, places[n]].mean())))
            name = f"{start_name(data, kind, origins[n])} → {class_name(data, targets[n])}"
            image_rows.append(ImageRow(name, INK, pictures, 0.08 if n == 0 and image_rows else 0.0, texts))
    each = 1 + len(columns)
    groups = [(r * each, (r + 1) * each - 1, space) for r, space in enumerate(spaces)]
    before = [0.16 if j and j % each == 0 else 0.0 for j in range(each * len(spaces))]
    heads = ["start", *(heading for *_, heading in columns)] * len(spaces)
    return image_grid(image_rows, groups=groups, heads=heads, before=before, margin=0.95)
