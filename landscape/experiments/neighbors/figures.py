"""Figures of a `neighbors` run: curves come from the table, pictures and pairs of members from the dataset."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from landscape.experiments.base import first_stratum, of_one_kind
from landscape.experiments.neighbors.estimates import ADVERSARIAL, ALL, GENUINE, NEVER, SIMILARITIES, among
from landscape.reporting import plots, style
from landscape.reporting.figures import FigureSpec
from landscape.reporting.image_grid import ImageRow, image_grid
from landscape.reporting.style import Look
from landscape.stats.table import ENDS, Row, Table

MAIN = (GENUINE, "boosted", ADVERSARIAL)
SHARES = {"purity.true_class": "a  of the true class", "purity.predicted_class": "b  of the predicted class"}
TRUE, AIM, OTHER = (
    "#0072B2",
    "#D55E00",
    "#bbbbbb",
)  # frames: neighbours of the true class, of the one reached, of others
TICKS = 100  # of a rug: one for each per cent
ACROSS = 3  # neighbours pictured at each step
DASHED = (0, (4, 1.5))
MOVES = {"adversarial": "adversarial", "manifold": "on the manifold", "interpolation": "to another image"}
TITLES = {"cka": "linear CKA", "mutual": "shared neighbours (Jaccard)"}
CONFIDENCE = "confidence"
DETECTORS = {
    ALL: Look("credibility over all layers", style.EXTRA_COLORS[0]),
    "image": Look("of pixels alone", style.EXTRA_COLORS[2], marker="^"),
    "hidden": Look("of hidden layers alone", style.EXTRA_COLORS[4], marker="v"),
    CONFIDENCE: Look("confidence", style.GREY, marker="s"),
}


def title_of(move: str) -> str:
    """A move as a figure names it."""
    return MOVES.get(move) or ("yours" if move == "user" else move.replace("runner_up.", "runner-up, "))


def layer_axis(axes: Axes, layers: list[str], *, more: str = "") -> None:
    """x over layers in order, and one more place where there is one."""
    names = [style.plain(name, limit=8) for name in layers] + [more] * bool(more)
    step = -(-len(names) // 8)
    axes.set_xticks(range(0, len(names), step), names[::step])
    axes.set_xlim(-0.45, len(names) - 0.55)
    axes.grid(axis="y")


# ---- classes of neighbours by layer ----


def shares(data: xr.Dataset, table: Table, *, width: float = style.PAGE) -> Figure | None:
    """Shares of neighbours of the true and of the predicted class by layer, and where neighbourhoods flip."""
    table, layers = first_stratum(table), data.layer.values.tolist()
    rows = table.select([*SHARES], population=[*MAIN], reference=None)
    if not rows:
        return None
    narrow = width < style.PAGE
    room = {
        "height": 1.5 if narrow else 2.0,
        "top": 0.58 if narrow else 0.4,
        "bottom": 0.45,
        "gap": (0.3, 0.4),
        "width": width,
    }
    figure, panels = style.panels(2, columns=1 if narrow else 2, sharey=True, **room)
    names = [name for name in MAIN if rows.select(population=name)]
    for axes, (measure, title) in zip(panels, SHARES.items(), strict=True):
        for name in names:
            _by_layer(axes, rows.select(measure, population=name), layers, style.look(name))
        layer_axis(axes, layers, more=NEVER if measure == "purity.predicted_class" else "")
        axes.set(ylim=(-0.16 if measure == "purity.predicted_class" else 0, 1.02), title=title)
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
    _rug(panels[1], table, layers)
    style.shared_labels(figure, "layer", "share of the neighbours")
    plots.key(figure, map(style.look, names), band="95 % interval", columns=2 if narrow else 7)
    return figure


def _by_layer(axes: Axes, rows: Table, layers: list[str], look: Look, *, scale: float = 1.0) -> None:
    """One line with its interval over the layers."""
    by_name = {row["layer"]: row for row in rows}
    x = np.array([number for number, name in enumerate(layers) if name in by_name], float)
    ends = [
        scale
        * np.array([np.nan if by_name[name][end] is None else by_name[name][end] for name in layers if name in by_name])
        for end in ENDS[:3]
    ]
    style.line(axes, x, ends[0], look, *ends[1:])


def _rug(axes: Axes, table: Table, layers: list[str]) -> None:
    """Ticks at the foot of a panel: one for each per cent of adversarial inputs, at the layer of their flip."""
    for place, name in enumerate([*layers, NEVER]):
        row = table.get("purity.flips_at", population=ADVERSARIAL, flip=name)
        number = 0 if row is None else round(TICKS * row["value"])
        at = place + 0.4 * ((np.arange(number) + 0.5) / max(number, 1) - 0.5)
        axes.plot(
            at, np.full(number, -0.09), "|", color=style.look(ADVERSARIAL).color, markersize=7, markeredgewidth=0.5
        )


def shares_table(data: xr.Dataset, table: Table) -> list[tuple]:
    """The rows of the main figure."""
    found: list[tuple] = [("measure", "population", "layer", *ENDS[:3])]
    for row in table.select([*SHARES, "purity.flips_at"], population=[*MAIN], reference=None):
        at = (row["name"], row["population"], row.get("layer") or row["flip"])
        found.append((*at, *(np.nan if row[end] is None else row[end] for end in ENDS[:3])))
    return found


# ---- pictures ----


def rows_of(data: xr.Dataset, move: int, shown: int, title: str) -> list[ImageRow]:
    """Images along a move, and beneath each its neighbours at every layer, framed by whose they are."""
    steps, layers = data.step.values, data.layer.values.tolist()
    names = data["class"].values.astype(str)
    path, near = data.shown_path.values[move, shown], data.shown_near.values[move, shown]
    label, said = int(data.shown_label.values[shown]), data.shown_prediction.values[move, shown]
    across = min(ACROSS, near.shape[-1])
    images: list[np.ndarray | None] = [None] * (across * len(steps))
    texts = [""] * len(images)
    for t, image in enumerate(path):
        images[across * t] = image if np.isfinite(image).all() else None
        texts[across * t] = style.plain(names[said[t]], limit=8)
    head = {"above": 0.16, "titles": [(0, len(images) - 1, title)]}
    rows = [ImageRow("", style.INK, images, texts=texts, **head)] if any(image is not None for image in images) else []
    for number, layer in enumerate(layers):
        index, classes = (
            one[move, shown][:, number, :across] for one in (data.shown_near.values, data.shown_class.values)
        )
        if (index < 0).all():
            continue
        frames = [TRUE if c == label else AIM if c == said[-1] else OTHER for c in classes.ravel()]
        pictures = list(data.picture.values[index.ravel()])
        rows.append(ImageRow(style.plain(layer, limit=9), style.INK, pictures, frames=frames, **({} if rows else head)))
    return rows


def _grid(data: xr.Dataset, wanted: list[tuple[int, int]]) -> Figure | None:
    names = data["class"].values.astype(str)
    moves, steps = data.move.values.tolist(), data.step.values
    rows: list[ImageRow] = []
    for move, shown in wanted:
        label = style.plain(names[int(data.shown_label.values[shown])], limit=14)
        rows += rows_of(data, move, shown, f"{title_of(moves[move])}: an image of class {label}")
    across = min(ACROSS, data.sizes["place"]) if "place" in data.sizes else ACROSS
    columns = across * len(steps)
    groups = [(across * t, across * t + across - 1, f"{100 * step:.0f} % of the way") for t, step in enumerate(steps)]
    before = [0.14 if column and column % across == 0 else 0.0 for column in range(columns)]
    return image_grid(rows, groups=groups, before=before, cell=0.36)


def adversarial_rows(data: xr.Dataset, table: Table) -> Figure | None:
    """Neighbours along adversarial moves."""
    return _grid(data, [(0, shown) for shown in range(data.sizes["shown"])])


def other_rows(data: xr.Dataset, table: Table) -> Figure | None:
    """Neighbours of the first pictured image along the other moves between images, and one in the middle layer."""
    moves = data.move.values.tolist()
    middle = [i for i, name in enumerate(moves) if name.startswith("runner_up.")]
    chosen = [i for i, name in enumerate(moves) if name in ("manifold", "interpolation")]
    return _grid(data, [(i, 0) for i in [*chosen, middle[len(middle) // 2]]])


# ---- detection ----


def credibilities(data: xr.Dataset, table: Table) -> Figure:
    """Credibility of every population, all members together."""
    pooled = {}
    for name in data.population.values.tolist():
        one = data.sel(population=name)
        values = one.credibility.sel(over=ALL).transpose(*one.valid.dims).values[one.valid.values.astype(bool)]
        pooled |= {name: values} if len(values) > 1 else {}
    return plots.histogram_rows(pooled, "credibility: conformal p-value of the predicted class")


def detection(data: xr.Dataset, table: Table) -> Figure | None:
    """How well credibility over several sets of layers, and the classifier's confidence, detect each population."""
    rows = first_stratum(table).select(["auroc.credibility.area", "auroc.confidence.area"])
    pairs = list(dict.fromkeys((row["population"], row["reference"]) for row in rows))
    labels = [f"{style.look(a).label}, among {style.look(b).label}" for a, b in pairs]
    series = {
        over: [rows.get("auroc.credibility.area", population=a, reference=b, over=over) for a, b in pairs]
        for over in DETECTORS
    }
    series[CONFIDENCE] = [rows.get("auroc.confidence.area", population=a, reference=b) for a, b in pairs]
    figure = plots.forest({"AUROC (guessing: 0.5)": series}, labels, DETECTORS, columns=1)
    for axes in figure.axes if figure else ():
        axes.axvline(0.5, color="#888888", linewidth=0.6, zorder=0.6)
    return figure


# ---- moves ----


def along(data: xr.Dataset, table: Table) -> Figure | None:
    """Shares of neighbours of the true class and of the class moved to, along every move, a line a layer."""
    lines = {"path.true_class": "-", "path.aim_class": DASHED}
    return _panels(data, table, lines, "share of the neighbours", dashed="class moved to", top=1.02)


def flips(data: xr.Dataset, table: Table) -> Figure | None:
    """Share of the images whose neighbours have changed sides at each step, a line for each layer where they do."""
    return _panels(data, table, {"path.flips_at": "-"}, "share of the images", by="flip", top=1.02)


def agreement(data: xr.Dataset, table: Table) -> Figure | None:
    """Whether the neighbours of two members, and of a layer and the last one, are of one class along every move."""
    lines = {"path.members_agree": "-", "path.layers_agree": DASHED}
    return _panels(data, table, lines, "share of the images", dashed="with the last layer", top=1.02)


def distances(data: xr.Dataset, table: Table) -> Figure | None:
    """Distance to the data along every move, over the typical one, a line a layer."""
    return _panels(data, table, {"path.to_data": "-"}, "distance to data / typical")


def _panels(
    data: xr.Dataset,
    table: Table,
    lines: dict,
    label: str,
    *,
    by: str = "layer",
    dashed: str = "",
    top: float | None = None,
) -> Figure | None:
    """A panel a move: estimates by step, name -> dash, a line a layer; `dashed`: what the dashed ones are."""
    table, layers, places = first_stratum(table), data.layer.values.tolist(), data[by].values.tolist()
    moves = [move for move in data.move.values.tolist() if table.select([*lines], move=move)]
    if not moves:
        return None
    room = {"height": 1.15, "top": 0.45, "gap": (0.18, 0.42)}
    figure, panels = style.panels(len(moves), columns=4, sharey=True, sharex=True, **room)
    looks = plots.shades(layers, layers) | {NEVER: Look(NEVER, style.GREY, marker="s")}
    for axes, move in zip(panels, moves, strict=True):
        for name, dash in lines.items():
            for place in places:
                rows = sorted(table.select(name, move=move, **{by: place}), key=lambda row: row["step"])
                ends = [np.array([_number(row, end) for row in rows]) for end in ENDS[:3]]
                steps = np.array([row["step"] for row in rows], float)
                style.line(axes, steps, ends[0], looks[place]._replace(line=dash), *(ends[1:] if dash == "-" else ()))
        axes.set(title=title_of(move), xlim=(-0.03, 1.03))
        axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        axes.grid(axis="y")
    panels[0].set_ylim(0, top or 1.05 * max(axes.dataLim.y1 for axes in panels))
    style.shared_labels(figure, "share of the way", label)
    more = [Look(dashed, "#555555", DASHED, "")] * bool(dashed)
    plots.key(figure, [*(looks[place] for place in places), *more], columns=8)
    return figure


def _number(row: Row, end: str) -> float:
    return np.nan if row[end] is None else row[end]


# ---- pairs of members ----


def pairs(data: xr.Dataset, table: Table) -> Figure | None:
    """Transfer between members against how alike they are, a dot a pair, by layer and by measure of similarity."""
    data = among(data)
    table, layers, count = first_stratum(table), data.layer.values.tolist()[1:], data.sizes["member"]
    if count < 3 or not layers:
        return None
    right = data.all_right.values.astype(bool)
    transfer = data.fooled.transpose("member", "target", "example").values[..., right].mean(axis=-1)
    i, j = np.triu_indices(count, 1)
    layers = layers[:: -(-len(layers) // 4)]
    room = {"height": 1.25, "top": 0.3, "bottom": 0.2, "left": 0.62, "gap": (0.3, 0.72)}
    figure, panels = style.panels(2 * len(layers), columns=len(layers), sharey=True, **room | {"bottom": 0.45})
    for axes, (kind, layer) in zip(panels, [(k, one) for k in SIMILARITIES for one in layers], strict=True):
        own = data[kind].sel(layer=layer)
        own = (
            own.values
            if kind == "cka"
            else own.transpose("member", "target", "example").values[..., right].mean(axis=-1)
        )
        row = table.get("transfer.rank_correlation", layer=layer, similarity=kind)
        axes.plot(own[i, j], 100 * (0.5 * (transfer + transfer.T))[i, j], "o", color=style.EXTRA_COLORS[0], alpha=0.7)
        title = style.plain(layer, limit=10)
        axes.set_title(title if row is None else f"{title}: ρ = {row.text(1.0, 2)}", fontsize=7)
        axes.set_xlabel(TITLES[kind])
        axes.grid()
    style.shared_labels(figure, "", "adversarial inputs that transfer (%)")
    return figure


def of_first(draw):
    """The same drawing, of the first kind of training alone."""
    return of_one_kind(draw)


FIGURES = (
    FigureSpec(
        "neighbors",
        "Which class do the nearest training images have?",
        "Share of an input's nearest training images that are of its true class (left) and of the predicted class "
        "(right), from the pixels to the last layer; for genuine and boosted inputs both classes are one. Ticks at the "
        "foot of the right panel: each is 1 % of the adversarial inputs, at the layer from which on most of their "
        "neighbours are of the predicted class.",
        ("share_true", "share_predicted"),
        shares,
        narrow=lambda data, table: shares(data, table, width=style.COLUMN),
        table=shares_table,
    ),
    FigureSpec(
        "rows",
        "The neighbours along adversarial moves",
        "From an image (left) to its adversarial version (right): beneath each step its nearest training images, one "
        "row a layer. Frames are blue for the true class, orange for the class reached at the end, grey for others. "
        "The class predicted at each step stands beneath its image. First member.",
        ("shown_near",),
        adversarial_rows,
        kind="png",
    ),
    FigureSpec(
        "credibility",
        "How far do neighbours support the prediction?",
        "Credibility is the share of calibration images whose true class has no more support from neighbours over "
        "all layers. Low values say that the prediction is not what the training images near it say. Lines are "
        "medians; all members together.",
        ("p_value",),
        credibilities,
    ),
    FigureSpec(
        "detection",
        "Does that detect adversarial inputs?",
        "AUROC with 95 % intervals of low credibility, over three sets of layers, and of low confidence as detectors.",
        ("p_value",),
        detection,
    ),
    FigureSpec(
        "moves",
        "Classes of the neighbours along moves",
        "Solid: share of the neighbours of the true class, with its 95 % interval; dashed: of the class moved to. One "
        "line a layer; a move within a hidden layer is seen there and behind. Moves count where the start is right.",
        ("move_true",),
        along,
    ),
    FigureSpec(
        "flips",
        "Where neighbours change sides along moves",
        "Share of the images, by the layer from which on the neighbours' most frequent class is the one moved to, or "
        "never, with 95 % intervals. Of a move within a hidden layer, the layers from there on count.",
        ("move_majority",),
        flips,
    ),
    FigureSpec(
        "agreement",
        "Do classifiers and layers agree along moves?",
        "Solid: share of the images where the neighbours of two classifiers, each along its own move, have the same "
        "most frequent class, with its 95 % interval, over images whose moves count for all classifiers; dashed: where "
        "those of a layer and of the last one have. One line a layer.",
        ("move_majority",),
        agreement,
    ),
    FigureSpec(
        "distances",
        "Do moves leave the data?",
        "Distance to the k-th nearest training image over its median for validation images: 1 is as near as these. One "
        "line a layer; shading is its 95 % interval.",
        ("move_far",),
        distances,
    ),
    FigureSpec(
        "other_rows",
        "The neighbours along other moves",
        "The first image above on the way to a search on the autoencoder's manifold, to another image of the class "
        "reached above, and in a hidden layer to the runner-up, where there is no image to show.",
        ("shown_near",),
        other_rows,
        kind="png",
    ),
    FigureSpec(
        "pairs",
        "Do members that see alike share adversarial examples?",
        "A dot is a pair of members: how alike they are at a layer against the share of adversarial inputs of one that "
        "fool the other, mean of both directions. ρ: rank correlation with its 95 % interval.",
        ("cka", "mutual"),
        pairs,
    ),
)
FIGURES = tuple(spec._replace(draw=of_first(spec.draw)) if spec.name != "neighbors" else spec for spec in FIGURES)
