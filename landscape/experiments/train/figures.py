"""Figures of a train run: how good are the members, and how different?"""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from landscape.experiments.base import named, of_members, strata
from landscape.experiments.train.estimates import disagreements, expected_disagreements
from landscape.presets.names import SWEPT
from landscape.reporting import figures, plots, style
from landscape.reporting.figures import FigureSpec
from landscape.stats.calibration import bin_sums, bins_of, calibration_error
from landscape.stats.table import Table

CONTROLS = {"shuffled": ("shuffled labels", "#8a8a8a"), "untrained": ("untrained", "#222222")}
NUM_BINS = 15  # of confidence, where no calibration error was estimated, which says how many it has
DASHED = {"color": "#888888", "linewidth": 0.8, "linestyle": (0, (3, 2))}
Groups = list[tuple[str, str, np.ndarray]]  # label, colour, member indices


def trained_groups(data: xr.Dataset) -> Groups:
    """Trained members by the values of the swept fields."""
    kinds = strata(of_members(data.assign_coords(number=("member", np.arange(data.sizes["member"])))))
    return [
        (named(coords) or "trained", style.EXTRA_COLORS[i % 7], one.number.values)
        for i, (coords, one) in enumerate(kinds)
    ]


def groups(data: xr.Dataset) -> Groups:
    """Trained members, then the controls."""
    control = data["control"].values.astype(str)
    kinds = [kind for kind in CONTROLS if kind in control]
    return trained_groups(data) + [(*CONTROLS[kind], np.flatnonzero(control == kind)) for kind in kinds]


def _panels(shown: Groups, height: float, title: float = 0.0) -> tuple[Figure, list[Axes]]:
    """Two panels under the key of the groups; one colour needs none."""
    top = 0.14 + title + 0.17 * -(-len(shown) // 3)
    figure, axes = style.panels(2, columns=2, height=height, top=top, gap=(0.65, 0.4))
    if len(shown) > 1 or shown[0][0] != "trained":
        looks = [style.Look(label, color) for label, color, _ in shown]
        plots.key(figure, looks, columns=4 if len(shown) <= 4 else 3)
    return figure, axes


def num_bins(table: Table) -> int:
    """Bins of confidence, as many as the calibration error has."""
    return next((row["num_bins"] for row in table.select("calibration.ece")), NUM_BINS)


def accuracies(data: xr.Dataset, table: Table) -> Figure | None:
    """Test accuracy of each trained member, and of each class."""
    accuracy = data.right.mean("example").values
    by_class = data.right.where(data.of_class).mean("example").transpose("class", "member").values
    shown, names = trained_groups(data), figures.names(data, "class")
    everyone = np.concatenate([members for _, _, members in shown])
    few, long = len(names) <= 20, max(map(len, names)) > 3
    order = np.arange(len(names)) if few else np.argsort(by_class[:, everyone].mean(axis=1), kind="stable")
    figure, (left, right) = _panels(shown, 1.75, title=0.16)
    for _, color, members in shown:
        left.plot(members, accuracy[members], "o", color=color)
        right.plot(np.arange(len(names)), by_class[order][:, members], ".", color=color, alpha=0.6, markersize=4)
    left.set(xlabel="member", ylabel="test accuracy", title="a  by member", xlim=(-0.6, everyone.max() + 0.6))
    left.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    right.set(xlabel="class" if few else "classes, hardest first", ylabel="test accuracy", title="b  by class")
    if few:
        turned = {"rotation": 40, "ha": "right", "rotation_mode": "anchor", "fontsize": 6} if long else {}
        right.set_xticks(range(len(names)), [style.plain(name, limit=9) for name in names], **turned)
        right.set_xlabel("" if long else "class")
    for axes in (left, right):
        axes.grid(axis="y")
    return figure


def accuracies_table(data: xr.Dataset, table: Table) -> list[tuple]:
    """One row a member: its seed, kind, hyperparameters (without those that are 0 for all) and scores."""
    used = [name for name in SWEPT if f"train_{name}" in data.coords and data[f"train_{name}"].values.any()]
    right, confidence = data.right.values, data.confidence.values.astype(np.float64)
    columns = {"seed": data.seed.values, "control": data.control.values}
    columns |= {name: data[f"train_{name}"].values for name in used}
    columns |= {"accuracy": right.mean(axis=1)} | {n: data[n].mean("example").values for n in ("loss", "brier")}
    columns["ece"] = calibration_error(confidence, right, num_bins=num_bins(table))
    return [("member", *columns), *((i, *(v[i] for v in columns.values())) for i in range(len(right)))]


def curves(data: xr.Dataset, table: Table) -> Figure | None:
    """Training loss and validation accuracy against epochs, a line a member."""
    epoch, marker = data["epoch"].values, "." if data.sizes["epoch"] == 1 else ""
    panels = {"train_loss": "training loss (nats)", "validation_accuracy": "validation accuracy"}
    values = {name: data[name].transpose("member", "epoch").values for name in panels}
    shown = [group for group in groups(data) if any(style.finite(own[group[2]]) for own in values.values())]
    if not shown:
        return None
    figure, axes = _panels(shown, 1.75)
    for one, (name, label) in zip(axes, panels.items(), strict=True):
        for _, color, members in shown:
            one.plot(epoch, values[name][members].T, color=color, linewidth=0.9, alpha=0.8, marker=marker)
        one.set(xlabel="epoch", ylabel=label)
        one.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        one.grid(axis="y")
    losses = values["train_loss"][np.isfinite(values["train_loss"])]
    if len(losses) and losses.max() > 10 * losses.min() > 0:
        axes[0].set_yscale("log")
        style.log_axis(axes[0].yaxis, float(losses.min()), float(losses.max()), small=True)
    return figure


def reliability(data: xr.Dataset, table: Table) -> Figure | None:
    """Accuracy against confidence in bins, and how many images each bin holds."""
    values, number, shown = data.confidence.values.astype(np.float64), num_bins(table), trained_groups(data)
    bins = bins_of(values, number)
    count = bin_sums(np.ones_like(values), bins, number)
    with np.errstate(invalid="ignore"):  # an empty bin is left out of the curve
        accuracy, confidence = (bin_sums(v, bins, number) / count for v in (data.right.values.astype(float), values))
    figure, (left, right) = _panels(shown, 2.0)
    left.plot([0, 1], [0, 1], **DASHED)
    for _, color, members in shown:
        look = {"color": color, "marker": "o", "linewidth": 0.8, "alpha": 0.7}
        left.plot(confidence[members].T, accuracy[members].T, **look)
        right.plot((np.arange(number) + 0.5) / number, count[members].T, **look)
    left.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="confidence", ylabel="accuracy")
    right.set(xlim=(0, 1.02), xlabel="confidence", ylabel="images in the bin", yscale="symlog")
    ticks = [0, *(10**k for k in range(len(str(int(count.max())))))]
    right.set_yticks(ticks, [str(tick) for tick in ticks])
    right.set_ylim(bottom=0)
    right.minorticks_off()
    for axes in (left, right):
        axes.grid()
    return figure


def disagreement(data: xr.Dataset, table: Table) -> Figure | None:
    """Which pairs of trained members disagree, and how that compares with unrelated errors."""
    _, data = strata(of_members(data))[0]  # members of unlike training differ for another reason
    if data.sizes["member"] < 2:
        return None
    prediction = data.prediction.values
    observed = disagreements(prediction).mean(axis=-1)
    expected = expected_disagreements(np.eye(data.sizes["class"])[prediction], data.label.values).mean(axis=-1)
    upper = np.triu_indices(len(prediction), 1)
    figure, (left, right) = style.panels(2, columns=2, height=2.5, top=0.25, gap=(1.15, 0.4), bottom=0.45)
    np.fill_diagonal(observed, np.nan)
    plots.matrix(left, observed, "member", "a  share predicted differently")
    x, y = expected[upper], observed[upper]
    end = max(x.max(), y.max()) * 1.1 or 1.0
    right.plot([0, end], [0, end], **DASHED)
    right.plot(x, y, "o", color=style.EXTRA_COLORS[0], alpha=0.7)
    right.set(xlim=(0, end), ylim=(0, end), title="b  pairs of members")
    right.set(xlabel="expected if errors were unrelated", ylabel="observed disagreement")
    right.grid()
    return figure


FIGURES = (
    FigureSpec(
        "accuracies",
        "How good are they?",
        "A dot is one trained member. The spread within a column is due to the seed alone; in the right panel, low "
        "columns are classes that are hard for all.",
        ("prediction",),
        accuracies,
        table=accuracies_table,
    ),
    FigureSpec(
        "disagreement",
        "How different are they?",
        "Left: share of test images on which two members disagree. Right: each pair against what equally accurate "
        "members with independent errors would show; below the dashed line the same images are hard for both. In a "
        "sweep, members are those of the first value.",
        ("prediction",),
        disagreement,
    ),
    FigureSpec(
        "reliability",
        "Are their confidences right?",
        "Where a line lies below the dashed diagonal, the member is more confident than accurate. The right panel "
        "shows how many images each point stands for.",
        ("confidence",),
        reliability,
    ),
    FigureSpec(
        "training",
        "How training went",
        "One line for each member: training loss should fall and validation accuracy level off. Members with shuffled "
        "labels show what fitting random labels looks like.",
        ("train_loss", "validation_accuracy"),
        curves,
    ),
)
