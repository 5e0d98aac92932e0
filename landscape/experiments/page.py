"""What reports of several experiments show: what was compared, tables of estimates, measures that a config names."""

import json
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ml_collections import ConfigDict

from landscape.data.dataset import class_mapping
from landscape.presets.measuring import first_noise
from landscape.presets.names import BASELINES
from landscape.reporting import numbers, plots, style
from landscape.reporting.figures import FigureSpec
from landscape.reporting.tables import Entry, Line, ReportTable, condition, contrast, words
from landscape.runs.progress import duration
from landscape.stats.table import Row, Table

if TYPE_CHECKING:
    import xarray as xr  # imported where it is used: half a second
    from matplotlib.figure import Figure

TABLE_ROWS = 12  # of the headline table where no estimate is marked for it


def facts(data: "xr.Dataset", config: ConfigDict) -> list[tuple[str, str]]:
    """What was compared, in a handful of (label, value)."""
    found = [("data set", config.data.name)]
    if {"guides", "held_out"} <= set(data.sizes):  # members are then only the guides that are measured one by one
        found.append(("classifiers", f"{data['guides'].values.max()} guides, {data.sizes['held_out']} held out"))
    elif "role" in data.coords:
        roles = data["role"].values.astype(str).tolist()
        found.append(("classifiers", f"{roles.count('attacker')} attackers, {roles.count('held_out')} held out"))
        other = [value for name, value in config.held_out_model.items() if value != config.model[name]]
        if other:
            found.append(("held out of another kind", ", ".join(map(str, other))))
    elif "member" in data.sizes:
        controls = data["control"].values.tolist() if "control" in data.coords else []
        number = controls.count("trained") if controls else data.sizes["member"]
        found.append(("classifiers", str(number)))
    if "class" in data.coords:
        found.append(("classes", class_mapping(data["class"].values.astype(str).tolist())))
    if "example" in data.sizes:
        own = data["valid"].sel(population="user").any("member").sum() if "user" in data.get("population", ()) else 0
        found.append(("images", str(data.sizes["example"] - int(own))))
    starts = [name for name in ("guided_example", "start") if name in data.sizes]  # the headline's come first
    if starts:
        found.append(("images started from", str(data.sizes[starts[0]])))
    if "epsilon" in data.attrs:
        norm = {"linf": "L∞", "l2": "L2"}.get(str(data.attrs.get("norm")), "")
        found.append(("attack radius", f"{norm} {numbers.text(float(data.attrs['epsilon']))}".strip()))
    stages = json.loads(data.attrs["stages"])
    if stages:
        found.append(("time", duration(float(sum(stages.values())))))
    if config.smoke:
        found.append(("smoke run", "hardly trained, few examples"))
    return found


def tables(table: Table, claims: Sequence[Mapping[str, Any]]) -> tuple[list[ReportTable], list[Row]]:
    """Tables of estimates that are best read side by side, and the headline's rows that none of them has."""
    compared, r = comparisons(table, claims)
    described = [row for row in table if row.get("family") and row.get("layer")]
    chosen = [row for row in table if row.get("headline")] or table.rows[:TABLE_ROWS]
    shown = {id(row) for row in (*compared, *described)}
    found = [comparison_table(compared, r)] if compared else []
    return [*found, *description_tables(described)], [row for row in chosen if id(row) not in shown]


# ---- differences of populations, in several comparisons ----

COMPARED = {
    "input_flatness.scale_free": "share of the margin lost",
    "input_flatness.scale_free_beyond_linear": "share of the margin lost, beyond linear",
    "input_flatness.probability_drop": "probability lost",
    "input_flatness.beyond_linear": "probability lost, beyond linear",
}


def comparisons(table: Table, claims: Sequence[Mapping[str, Any]]) -> tuple[Table, float]:
    """Differences of populations at the r of the first claim, or at that nearest to 0.3; and this r."""
    rows = Table(tuple(row for row in table.select([*COMPARED], run=None) if row.get("reference") and row.get("r")))
    wanted = next((claim["r"] for claim in claims if claim.get("r")), 0.3)
    r = min({row["r"] for row in rows}, key=lambda r: abs(math.log(r / wanted)), default=wanted)
    return Table(tuple(row for row in rows.select(r=r) if row.get("noise") in (None, "additive"))), r


def comparison_table(rows: Table, r: float) -> ReportTable:
    """A group a measure, one line a pair of populations and kind of training, one column a matching that any has."""
    found: dict[str, dict[str, dict[str, Row]]] = {}
    for row in rows:
        training = [
            f"{name.removeprefix('train_').replace('_', ' ')} {value:g}"
            for name, value in row.items()
            if name.startswith("train_")
        ]
        lines = found.setdefault(COMPARED[row["name"]], {})
        lines.setdefault(", ".join([contrast(row, twins=True), *training]), {}).setdefault(row["matching"], row)
    made = {row["matching"] for row in rows}
    columns = {key: title for key, title in style.MATCHINGS.items() if key in made}
    return ReportTable(
        columns=[(title, "") for title in columns.values()],
        groups={
            measure: [Line(name, [_compared(own.get(key)) for key in columns]) for name, own in found[measure].items()]
            for measure in COMPARED.values()
            if measure in found
        },
        first="contrast",
        note=f"Difference in drop at r = {numbers.text(r)} [95 % interval], and the share of inputs it speaks of; bold "
        "where the interval excludes 0. Same images: those that can reach equal confidence. Partners are pairs of "
        "inputs of nearly equal confidence.",
    )


def _compared(row: Row | None) -> Entry:
    """A difference, and the share of the inputs that it speaks of where that is not all."""
    if row is None:
        return Entry((numbers.MISSING,))
    kept = f"({100 * row['share_kept']:.0f} % kept)" if row.get("share_kept", 1.0) < 1 else ""
    return Entry((*numbers.parts(row), kept), bold=row.excludes_zero)


# ---- autoencoders and what they stand beside, of images and of hidden layers ----

USE = ("usage.perplexity", "usage.active_units", "usage.effective_dimension")
ERRORS = (  # heading, unit, factor, estimates of which the first that there is is shown
    ("MSE", "10⁻³", 1e3, "mse.reconstruction"),
    ("MSE", "drawn, 10⁻³", 1e3, "mse.draw"),
    ("MSE", "of PCA's, %", 100.0, "fvu.of_pca"),
    ("MSE", "of ae's, %", 100.0, "mse.of_ae"),
    ("PSNR", "dB", 1.0, "psnr.reconstruction"),
    ("SSIM", "", 1.0, "ssim.reconstruction"),
    ("FVU", "total, %", 100.0, "fvu.total"),
    ("FVU", "in class, %", 100.0, "fvu.in_class"),
    ("error", "of the norm, %", 100.0, "distance.of_norm"),
    ("error", "of a pair, %", 100.0, "distance.of_typical_pair"),
)
CLASSIFIED = (
    ("accuracy", "%", 100.0, "accuracy.substituted"),
    ("accuracy", "change, %", 100.0, "accuracy.change"),
    ("agrees", "%", 100.0, "agreement.substituted"),
    ("agrees", "held out, %", 100.0, "agreement.held_out"),
    ("KL", "nats", 1.0, "distance.kl"),
    ("rate", "bits", 1.0, "rate.kl", "rate.codes", "rate.quantised"),
    ("rate", "bits a dim", 1.0, "rate.bits_per_dim"),
    ("in use", "", 1.0, *USE),
    ("Fréchet", "back", 1.0, "frechet.reconstruction"),
    ("Fréchet", "samples", 1.0, "frechet.samples"),
)
KINDS = {"rate.kl": "KL", "rate.codes": "codes", **dict(zip(USE, ("perplexity", "units", "effective"), strict=True))}
OF_IMAGES = ("mse.reconstruction", "mse.draw")  # in the layer's unit: shown of images alone
OF_LAYERS = ("distance.of_norm", "distance.of_typical_pair")
DESCRIPTION_TABLES = (  # title, whether of images, columns
    ("Images: errors", True, [column for column in ERRORS if column[3] not in OF_LAYERS]),
    ("Images: what classifiers make of them, rates, samples", True, CLASSIFIED),
    ("Hidden layers", False, [column for column in (*ERRORS, *CLASSIFIED) if column[3] not in OF_IMAGES]),
)
DESCRIPTIONS_NOTE = (
    "Means over test images and seeds [95 % interval]; grey rows are baselines. FVU is the share of variance, in all "
    "or within classes, that is lost. Error is the root of the squared error over the norm of a point, or over the "
    "distance of a typical pair. Accuracy (and its change, in points), agreement with the prediction on the image "
    "(held out: of all other seeds' classifiers), and KL are the classifier's with the reconstruction in the layer's "
    "place. A class mean is chosen by the true label, so its accuracy near 100 % is no achievement. Rate is the "
    "divergence from the prior (KL), or the code length by tables of training images: of the codes, or of latents "
    "rounded at a share of their standard deviation σ (PCA: of the mean one, on every axis); bits a dim bound what a "
    "vae takes to tell the levels of the image's own pixels, beside histograms of each pixel by itself. In use are the "
    "perplexity of the codes and the share that occurs, units that move with the image (vae, sparse), or the "
    "effective dimension, (Σλ)² / Σλ² of the latent's variances. Fréchet distances of reconstructions (back) and prior "
    "samples are to training images, and extrapolated, so they may fall below 0; those of test images are the estimate "
    "frechet: floor."
)


def description_tables(rows: Sequence[Row]) -> list[ReportTable]:
    """Tables of estimates that have a `family` and a `layer`: two of images, one of hidden layers by layer.

    One line a family, size and swept value; the columns that any of the lines has. Baselines come last.
    """
    described: dict[tuple, dict[str, Row]] = {}
    for row in sorted(rows, key=lambda row: row.get("step") or 0):  # of several roundings the finest
        described.setdefault(_description(row), {}).setdefault(row["name"], row)
    families = list(dict.fromkeys(family for _, family, _, _ in described))
    order = sorted(described, key=lambda key: (key[1] in BASELINES, families.index(key[1]), key[2]))
    found = []
    for title, of_images, wanted in DESCRIPTION_TABLES:
        own = [key for key in order if (key[0] == "image") == of_images]
        columns = [column for column in wanted if any(_entry(described[key], column) for key in own)]
        groups: dict[str, list[Line]] = {"" if of_images else layer: [] for layer, *_ in described if own}
        for key in own:
            if not any(_entry(described[key], column) for column in columns):
                continue  # the histograms of pixels have no error
            groups["" if of_images else key[0]].append(_line(key, described[key], columns))
        if columns:
            headings = [column[:2] for column in columns]
            found.append(ReportTable(headings, {k: v for k, v in groups.items() if v}, title, "family, size"))
    return [*found[:-1], *(last._replace(note=DESCRIPTIONS_NOTE) for last in found[-1:])]


def _description(row: Row) -> tuple[str, str, int, str]:
    """(layer, family, size, swept values as text)."""
    swept = condition(row, hidden=("layer", "family", "dim", "codes", "step", "prior"))
    return row["layer"], row["family"], row.get("dim") or row.get("codes") or 0, swept


def _line(key: tuple[str, str, int, str], held: Mapping[str, Row], columns: Sequence[tuple]) -> Line:
    _, family, size, swept = key
    name = {"pca": "PCA", "kmeans": "k-means"}.get(family, family.replace("_", " "))
    entries = [_entry(held, column) or Entry((numbers.MISSING,)) for column in columns]
    return Line(f"{name} {size or ''}".strip(), entries, swept, family in BASELINES)


def _entry(held: Mapping[str, Row], column: tuple) -> Entry | None:
    """Value, interval and what it is the value of; None where there is none of the column's estimates."""
    _, _, factor, *names = column
    for name in names:
        value = held[name]["value"] if name in held else None
        if value is None or (name in USE and value < 0):  # whole numbers have no NaN: -1 is none
            continue
        kind = KINDS.get(name, "")
        if held[name].get("step") is not None:
            kind = f"at {numbers.text(held[name]['step'])} σ"
        if name == "usage.perplexity" and "usage.codes" in held:
            kind = f"{kind}, {100 * held['usage.codes']['value']:.0f} %"
        return Entry((*numbers.parts(held[name], factor, digits=3), kind))
    return None


# ---- measures that a config names, at the populations of its experiment ----


def measured_figures(rows: Table) -> list[FigureSpec]:
    """The figure of rows that `measured.table` made, of one kind of training; none where there are none."""
    caption = (
        "Mean of each measure that the config names in each population, with its 95 % interval over classifiers and "
        "images: further right is sharper, but for the certified radius and how often it is capped. Under input noise "
        "of r near 0.3 and weight noise of the middle size, each of its first kind; of several searches, eigenvalues "
        "or trainings, the first."
    )
    spec = FigureSpec("measures", "Measures by name", caption, (), lambda *content: _measured(rows))
    return [spec] if len(rows) else []


def _measured(rows: Table) -> "Figure | None":
    panels, names = {}, plots.in_order(row["population"] for row in rows)
    for name in dict.fromkeys(row["name"] for row in rows if "bin" not in row):  # a density is no number
        own = _of_one_level(rows.select(name))
        unit = {"1": "share"}.get(own.rows[0]["unit"], own.rows[0]["unit"].replace("^2", "²"))
        first, rest = words(name).split(": ", 1)
        title = f"{first}:\n{textwrap.fill(rest, 18)}"
        panels[title] = [own.get(name, population=one) for one in names], unit
    labels = [style.look(name).label for name in names]
    room = 0.2 + 0.06 * max(map(len, labels))
    return plots.intervals(panels, labels, columns=4, left=room) if panels else None


LEVELS = {  # which of several values a figure is of; of other columns the first
    "search": None,
    "noise": first_noise,
    "r": lambda levels: min(levels, key=lambda r: abs(math.log(r / 0.3))),
    "weight_noise": None,
    "xi": lambda sizes: sorted(sizes)[len(sizes) // 2],
    "rank": None,
}


def _of_one_level(rows: Table) -> Table:
    """Rows of one search, of one kind and level of noise, and of the largest eigenvalue."""
    for column, chosen in LEVELS.items():
        values = [row[column] for row in rows if column in row]
        rows = rows.select(**{column: chosen(values) if chosen else values[0]}) if values else rows
    return rows
