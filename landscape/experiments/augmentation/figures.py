"""Figures of an augmentation run: paired differences of all arms, the search, what the moves do, moved images."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from landscape.experiments.augmentation.config import BEST, NOTHING
from landscape.reporting import plots, style
from landscape.reporting.figures import FigureSpec
from landscape.reporting.image_grid import SOFT, ImageRow, image_grid
from landscape.reporting.style import INK, Look
from landscape.stats.table import ENDS, Row, Table

PANELS = {  # title -> (estimate, unit, scale)
    "accuracy": ("accuracy.test", "points", 100.0),
    "loss": ("calibration.nll", "nats", 1.0),
    "calibration error": ("calibration.ece", "points", 100.0),
    "robust accuracy": ("attack.robust_accuracy", "points", 100.0),
    "margin lost,\ninput noise": ("input_flatness.scale_free", "points", 100.0),
    "margin lost,\nweight noise": ("weight_sharpness.scale_free", "points", 100.0),
}
SPEAKS = {
    "new": Look("new seeds and new images", "#0072B2"),
    "these": Look("new seeds, these images", "#E69F00", marker="s"),
}
NAMES = {"image": "pixels", "random": "random, equal length", "random_tuned": "random, tuned"}
CHOSEN = Look("chosen for its arm", "#D55E00", marker="o")
TRIED = Look("tried", "#8a8a8a", marker="o")
RATES = {  # title -> (estimate, unit, scale)
    "prediction changes": ("augmentation.changes_prediction", "%", 100.0),
    "to the runner-up": ("augmentation.to_runner_up", "%", 100.0),
    "neighbour of true class": ("purity.nearest_after", "%", 100.0),
    "distance to neighbour": ("distance.nearest_of_before", "times that before", 1.0),
}


def label(arm: str) -> str:
    """An arm's name in figures."""
    return NAMES.get(arm, style.plain(arm))


def labels_of(data: xr.Dataset, arms: list[str]) -> list[str]:
    """Names of arms, the best move marked."""
    best = data.attrs.get("best")
    return [f"{label(arm)} (chosen)" if arm == best else label(arm) for arm in arms]


def differences(data: xr.Dataset, table: Table) -> Figure | None:
    """What every arm changes, by measure."""
    arms = [arm for arm in data.arm.values.tolist() if arm not in (NOTHING, BEST)]
    panels = {}
    for title, (name, _, _) in PANELS.items():
        found = {}
        for images in SPEAKS:
            rows = [table.get(name, population=arm, reference=NOTHING, images=images) for arm in arms]
            found[images] = rows
        panels[title] = found
    units = {title: unit for title, (_, unit, _) in PANELS.items()}
    scale = {title: own for title, (_, _, own) in PANELS.items()}
    return plots.forest(
        panels, labels_of(data, arms), SPEAKS, units=units, scale=scale, columns=3, zero=True, left=1.35
    )


def differences_table(data: xr.Dataset, table: Table) -> list[tuple]:
    """The rows of the main figure."""
    names = [name for name, _, _ in PANELS.values()]
    rows = [row for row in table.select(names) if row.get("reference")]
    keys = ("name", "population", "reference", "images")
    return [
        (*keys, *ENDS[:3]),
        *((*(row[k] for k in keys), *(np.nan if row[e] is None else row[e] for e in ENDS[:3])) for row in rows),
    ]


def search(data: xr.Dataset, table: Table) -> Figure:
    """Accuracy and loss on validation images of all that was tried, by arm."""
    of, arms = data.trial_arm.values.tolist(), list(dict.fromkeys(data.trial_arm.values.tolist()))
    figure, panels = style.panels(2, columns=2, height=0.24 * len(arms) + 0.2, left=1.35, top=0.35)
    accuracy, loss = (data[name].mean("search_seed").values for name in ("trial_accuracy", "trial_loss"))
    order = np.lexsort((loss, -accuracy.round(9)))
    first = {arm: next(i for i in order if of[i] == arm) for arm in arms}
    for axes, values, title in ((panels[0], 100 * accuracy, "accuracy (%)"), (panels[1], loss, "loss (nats)")):
        for line, arm in enumerate(arms):
            own = [i for i, name in enumerate(of) if name == arm]
            spread = np.linspace(-0.25, 0.25, len(own)) if len(own) > 1 else np.zeros(1)
            axes.plot(values[own], line + spread, "o", color=TRIED.color, markersize=2.6, alpha=0.8)
            axes.plot(values[first[arm]], line + spread[own.index(first[arm])], "o", color=CHOSEN.color, markersize=4)
        plots.name_rows(axes, labels_of(data, arms))
        axes.set_xlabel(f"validation {title}")
    panels[1].tick_params(axis="y", labelleft=False)
    plots.key(figure, [TRIED._replace(line=""), CHOSEN._replace(line="")])
    return figure


def moves(data: xr.Dataset, table: Table) -> Figure | None:
    """What moves do to predictions and to neighbours, by arm, in classifiers trained without them."""
    arms = data.move.values.tolist()
    rows: dict[str, tuple[list[Row | None], str]] = {
        title: ([table.get(name, population=arm) for arm in arms], unit) for title, (name, unit, _) in RATES.items()
    }
    scale = {title: own for title, (_, _, own) in RATES.items()}
    return plots.intervals(rows, labels_of(data, arms), scale=scale, columns=4)


def pictures(data: xr.Dataset, table: Table) -> Figure | None:
    """Moved images, and the nearest training image in each layer before and after."""
    rows = [ImageRow("test images", INK, list(data.images.values))]
    for arm in data.move.values.tolist():
        one = data.sel(move=arm)
        if np.isfinite(one.pictures).all():
            rows.append(ImageRow(f"moved: {label(arm)}", "#D55E00", list(one.pictures.values), above=0.06))
        for side, color in (("before", SOFT), ("after", "#0072B2")):
            images = list(one.neighbors.sel(side=side).values)
            name = f"nearest, {label(arm)}" if side == "before" else "after the move"
            rows.append(ImageRow(name, color, images, above=0.06 * (side == "before")))
    return image_grid(rows, margin=1.5, cell=0.5)


FIGURES = (
    FigureSpec(
        "differences",
        "What each way of training changes",
        "Difference from classifiers trained without augmentation, paired by seed and image, with 95 % intervals. "
        "Every arm is the best of its trials on validation images; 'random, equal length' has the settings of the "
        "chosen move. Higher is better for accuracies, lower for everything else.",
        ("right",),
        differences,
        table=differences_table,
    ),
    FigureSpec(
        "search",
        "What was tried",
        "Mean accuracy and loss on validation images of every trial; of each arm the highest accuracy is taken, of "
        "equal ones the lowest loss.",
        ("trial_accuracy",),
        search,
    ),
    FigureSpec(
        "moves",
        "What the moves do",
        "Test images moved as in training, in classifiers trained without moves: how often the prediction changes, how "
        "often it becomes the runner-up class, how often the nearest training example in that layer is of the true "
        "class after the move, and how far it is.",
        ("changed",),
        moves,
    ),
    FigureSpec(
        "pictures",
        "Moved images, and their neighbours",
        "Test images, moved images of the first classifier, and for every layer the training image whose activations "
        "are nearest before and after the move.",
        ("pictures", "neighbors"),
        pictures,
        kind="png",
    ),
)
