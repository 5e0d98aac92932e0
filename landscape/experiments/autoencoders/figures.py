"""Figures of an autoencoders run: curves and intervals come from the table, pictures and training from the dataset.

Of a sweep the figure `sweep` shows all values, the others the first ones.
"""

import functools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from landscape.experiments.autoencoders.config import HYPER, IMAGE, PIXELS
from landscape.experiments.autoencoders.estimates import about_of, at_point, of_sweep
from landscape.experiments.base import named, strata, strata_of
from landscape.presets.names import BASELINES, CODED, FAMILIES
from landscape.reporting import figures, plots, style
from landscape.reporting.figures import FigureSpec
from landscape.reporting.image_grid import ImageRow, image_grid
from landscape.reporting.style import Look
from landscape.stats.table import ENDS, Row, Table

DASHED, DOTTED, GREY = (0, (4, 1.5)), (0, (1, 1.3)), "#8a8a8a"
LOOKS = {
    **{family: style.LOOKS[family] for family in FAMILIES},
    "pca": Look("PCA", GREY, DOTTED, "."),
    "class_mean": Look("class mean", GREY, DASHED, ""),
    "kmeans": Look("k-means", "#b8b8b8", (0, (5, 1.5, 1, 1.5)), ""),
    "histogram": Look("histograms", GREY, DASHED, "x"),
}
INK, GOOD, BAD = "#333333", "#0072B2", "#D55E00"  # frames: what a held-out classifier says of a picture
NAMES, MOST = 0.9, 9  # inches left of pictures for names; starts pictured
MOST_PANELS = 12
SIZES = ("dim", "codes")
USE = {  # title: series -> estimate
    "confidence in the class": {"guide": "confidence.ascended_guide", "held_out": "confidence.ascended_held_out"},
    "error under others\n(mean squared)": {"result": "mse.under_another"},
    "distance moved\n(L2, pixels)": {"result": "distance.ascended"},
    "to a training image\n(L2, pixels)": {"result": "distance.nearest_training"},
}
WHO = {
    "guide": Look("the classifier that guides", "#E69F00", marker="s"),
    "held_out": Look("a held-out classifier", "#0072B2"),
    "result": Look("the result", "#222222", marker="D"),
}
RATES = {"rate.quantised": "mse.quantised", "rate.kl": "mse.draw", "rate.codes": "mse.reconstruction"}  # bits: error
SWEPT = {  # title: estimate
    "mean squared error": "mse.reconstruction",
    "KL from the prior (bits)": "rate.kl",
    "code length (bits)": "rate.codes",
}
DEPTH = {  # estimate: (y axis, title)
    "fvu.in_class": ("share of the variance within classes", "a  what the bottleneck loses"),
    "distance.kl": ("KL (nats)", "b  what that costs"),
}


def look(family: str) -> Look:
    """The look of a family or baseline; unknown ones are grey under their own name."""
    return LOOKS.get(family, Look(style.plain(family), GREY))


def of_first(figure: FigureSpec) -> dict[str, Callable]:
    """How a figure is drawn of the first point of a sweep alone."""

    def at_first(draw: Callable[..., Any], data: xr.Dataset, table: Table) -> Any:
        numbered = of_sweep(data).assign_coords(member=np.arange(data.sizes["member"]))
        point, members = strata(numbered, HYPER)[0]
        return draw(data.isel(member=members.member.values), at_point(table, point))

    ways = {way: getattr(figure, way) for way in ("draw", "narrow", "table")}
    return {way: functools.partial(at_first, draw) for way, draw in ways.items() if draw}


def size_of(row: Row) -> int:
    """Dimension of the latent or number of codes; 0 of what has none."""
    return int(row.get("dim") or row.get("codes") or 0)


def in_order(data: xr.Dataset, layer: str | None = None) -> list[str]:
    """Descriptions, or those of one layer, by family in the order of LOOKS and then by size."""
    names, about = data.description.values.astype(str).tolist(), {}
    for name in names:
        about[name] = about_of(data, name)
    families = [*LOOKS, *(own["family"] for own in about.values())]
    kept = [name for name in names if layer in (None, about[name]["layer"])]
    return sorted(kept, key=lambda name: (families.index(about[name]["family"]), size_of(Row(about[name]))))


def label_of(about: dict[str, Any]) -> str:
    """`ae 8`, `vq 64`, `class mean`."""
    size = size_of(Row(about))
    return f"{look(about['family']).label} {size}" if size else look(about["family"]).label


def compared(data: xr.Dataset) -> list[str]:
    """Descriptions of images at the dimension where families are compared, and those of codes."""
    size = data.attrs["compared_size"]
    return [name for name in in_order(data, IMAGE) if about_of(data, name).get("dim", size) == size]


def looks_of(families: Iterable[str]) -> dict[str, Look]:
    """The looks of families, in the order of LOOKS."""
    known = set(families)
    return {name: look(name) for name in [*LOOKS, *sorted(known - set(LOOKS))] if name in known}


# ---- the main figure: by depth ----


def depth(data: xr.Dataset, table: Table, width: float = style.PAGE) -> Figure | None:
    """What is lost and what it costs, by layer, a line a size; by size where there is one layer."""
    layers, narrow = figures.names(data, "layer"), width < style.PAGE
    rows = {name: table.select(name) for name in DEPTH}
    if not any(len(own) for own in rows.values()):
        return None
    room = dict(columns=1, height=1.8, gap=(0.3, 0.5)) if narrow else dict(columns=2, height=2.3, gap=(0.62, 0.4))
    figure, panels = style.panels(2, width=width, top=0.65 if narrow else 0.48, **room)
    family = main_family(table)
    deeper = sorted({size_of(row) for row in rows["fvu.in_class"].select(family=family) if row["layer"] != IMAGE})
    sizes = plots.shades(deeper, [f"{look(family).label} {size}" for size in deeper])
    for axes, (name, (label, title)) in zip(panels, DEPTH.items(), strict=True):
        if len(layers) > 1:
            _by_layer(axes, rows[name], layers, family, sizes)
        else:
            by_size(axes, rows[name])
        axes.set(ylabel=label, title=title)
        axes.grid(axis="y")
        plots.log_y(axes)
    if narrow:
        panels[0].set_xlabel("")
    looks = looks_of({row["family"] for row in rows["distance.kl"]})
    if len(layers) > 1:
        pca = {"pca": Look("PCA, same colours", GREY, DOTTED, "")}
        looks = sizes | pca | {name: looks[name] for name in ("class_mean", "kmeans") if name in looks}
    plots.key(figure, looks.values(), columns=3 if narrow else 9)
    return figure


def main_family(table: Table) -> str:
    """The family that depth is followed by: `ae` where hidden layers have it, else their first one."""
    rows = [row for row in table.select("fvu.in_class") if row["family"] not in BASELINES]
    families = [row["family"] for row in rows if row["layer"] != IMAGE] or [row["family"] for row in rows]
    return "ae" if "ae" in families or not families else families[0]


def _by_layer(axes: Axes, rows: Table, layers: list[str], family: str, sizes: dict[int, Look]) -> None:
    """A line a size of the main family with its intervals; baselines without."""
    places = np.arange(1.0, len(layers) + 1)

    def line(own: Table, look: Look, *, band: bool = False) -> None:
        if own:
            cube = own.cube("layer").reindex(layer=layers)
            style.line(axes, places, cube.value.values, look, *((cube.low.values, cube.high.values) if band else ()))

    for size, one in sizes.items():
        line(rows.select(family="pca", dim=size), one._replace(line=DOTTED, marker="."))
        own = rows.select(family=family, **{"codes" if family in CODED else "dim": size})
        line(own, one._replace(marker="o"), band=True)
    for name in ("class_mean", "kmeans"):
        line(rows.select(family=name), look(name))
    axes.set_xticks(places, [style.plain(name, limit=12) for name in layers])
    axes.set_xlim(0.75, len(layers) + 0.25)
    axes.set_xlabel("layer, the pixels first")


def by_size(axes: Axes, rows: Table) -> None:
    """A line a family against the dimension of the latent, with intervals; codes and centres as level lines."""
    for row in rows:
        if "dim" not in row:
            axes.axhline(row["value"], color=look(row["family"]).color, linestyle=DASHED, linewidth=0.9)
    real = Table(tuple(row for row in rows if "dim" in row))
    if real:
        sizes = sorted({row["dim"] for row in real})
        style.log_x(axes, np.array(sizes, float))
        axes.set_xticks(sizes[:: -(-len(sizes) // 7)], sizes[:: -(-len(sizes) // 7)])
        plots.lines_of(axes, real, "family", "dim", looks_of(row["family"] for row in real))
    axes.set_xlabel("dimensions of the latent")


def depth_table(data: xr.Dataset, table: Table) -> list[tuple]:
    """The rows of the main figure, of all families."""
    rows: list[tuple] = [("layer", "family", "size", "estimate", *ENDS[:3])]
    for row in table.select([*DEPTH]):
        ends = [np.nan if row[end] is None else row[end] for end in ENDS[:3]]
        rows.append((row["layer"], row["family"], size_of(row), row["name"], *ends))
    return rows


# ---- error against bits and dimensions ----


def rates(data: xr.Dataset, table: Table) -> Figure | None:
    """Mean squared error of test images against bits an image (left) and against dimensions (right)."""
    errors = table.select("mse.reconstruction", layer=IMAGE)
    if not errors:
        return None
    figure, (left, right) = style.panels(2, columns=2, height=2.7, top=0.48, gap=(0.3, 0.4), left=0.7, sharey=True)
    bits = _rate_lines(left, table)
    by_size(right, Table(tuple(row for row in errors if row["family"] not in CODED)))
    if bits:
        style.log_x(left, np.asarray(bits))
    left.set(xlabel="bits an image", ylabel="mean squared error (pixels in [0, 1])", title="a  rate")
    right.set_title("b  dimensions")
    for axes in (left, right):
        axes.grid()
    plots.log_y(left)
    plots.key(figure, looks_of(row["family"] for row in errors).values(), columns=9)
    return figure


def _rate_lines(axes: Axes, table: Table) -> list[float]:
    """A line a size after rounding, one of all sizes of a posterior, a point of codes; returns the bits drawn."""
    lines: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for bits, errors in RATES.items():
        for row in table.select(bits, layer=IMAGE):
            about = {name: row[name] for name in ("layer", "family", *SIZES, "step") if name in row}
            line = (row["family"], row["dim"] if bits == "rate.quantised" else 0)
            lines.setdefault(line, []).append((row["value"], table.one(errors, **about)["value"]))
    for (family, size), points in lines.items():
        s, (x, y) = look(family), np.transpose(sorted(points, reverse=True))
        axes.plot(x, y, color=s.color, linestyle=s.line, linewidth=0.9, alpha=0.85)
        marked = slice(1 if size else None)  # after rounding where it is finest
        axes.plot(x[marked], y[marked], color=s.color, marker=s.marker, markersize=4, linestyle="", zorder=4)
        if size and family in ("ae", "pca"):
            offset = {"textcoords": "offset points", "fontsize": 6, "color": s.color}
            axes.annotate(f"{size}", (x[-1], y[-1]), (-2, 3), ha="right", **offset)
    return [bits for points in lines.values() for bits, _ in points]


def sweep(data: xr.Dataset, table: Table) -> Figure | None:
    """Errors of images at every point of the sweep, and what their rates are."""
    points = strata_of(table, HYPER)
    about = {name: about_of(data, name) for name in compared(data)}
    panels: dict[str, dict[str, list[Row | None]]] = {}
    for title, name in SWEPT.items():
        rows = {n: [table.get(name, **own, **point) for point in points] for n, own in about.items()}
        rows = {n: own for n, own in rows.items() if any(own)}
        panels |= {title: rows} if rows else {}
    looks = {name: look(own["family"])._replace(label=label_of(own)) for name, own in about.items()}
    return plots.forest(panels, [named(point) for point in points], looks, columns=3) if panels else None


def bits(data: xr.Dataset, table: Table) -> Figure | None:
    """Bits an entry of an image: those of its pixels' histograms and of every vae."""
    rows = sorted(table.select("rate.bits_per_dim"), key=lambda row: row["family"] not in BASELINES)
    if len(rows) < 2:
        return None
    labels = [label_of({name: row[name] for name in ("family", *SIZES) if name in row}) for row in rows]
    return plots.intervals({"bits to tell an image": (rows, "bits an entry")}, labels)


# ---- use ----


def use(data: xr.Dataset, table: Table) -> Figure | None:
    """Confidence of guide and held-out classifier, error under another autoencoder, distances; a row a manifold."""
    names = manifolds(data)
    panels = {
        title: {who: [table.get(name, manifold=m, matching="raw") for m in names] for who, name in series.items()}
        for title, series in USE.items()
    }
    return plots.forest(panels, [manifold_label(data, name) for name in names], WHO)


def manifolds(data: xr.Dataset) -> list[str]:
    """Where a class was ascended, families in the order of LOOKS and pixels last."""
    order = [*in_order(data), PIXELS]
    return sorted(figures.names(data, "manifold"), key=order.index)


def manifold_label(data: xr.Dataset, name: str) -> str:
    """`ae 8`, or `pixels`."""
    return name if name == PIXELS else label_of(about_of(data, name))


def along(data: xr.Dataset, table: Table) -> Figure | None:
    """Held-out confidence against distance moved, from the decoded start on; a line a manifold, means of all."""
    means = data[["moved", "confidence"]].mean(["member", "start"])
    if not np.isfinite(means.confidence.values).any():
        return None
    figure, (axes,) = style.panels(1, columns=1, height=2.3, left=0.6, top=0.3)
    for name in manifolds(data):
        s = Look(PIXELS, GREY) if name == PIXELS else look(about_of(data, name)["family"])
        x, y = (means[of].sel(manifold=name).values for of in ("moved", "confidence"))
        axes.plot(x, y, color=s.color, linestyle=s.line, linewidth=1.1, label=manifold_label(data, name))
        axes.plot(x[-1:], y[-1:], color=s.color, marker=s.marker, markersize=4, linestyle="")
    axes.set(xlabel="L2 distance from the start (pixels)", ylabel="held-out confidence in the class")
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlim(0, None)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.grid()
    style.legend_above(figure, *axes.get_legend_handles_labels(), columns=5)
    return figure


def frechet(data: xr.Dataset, table: Table) -> Figure | None:
    """Frechet distances of reconstructions and prior samples to training images; a row a description."""
    names = in_order(data, IMAGE)
    rows, floor = {}, table.get("frechet.floor")
    for kind, title in (("reconstruction", "reconstructions"), ("samples", "samples of the prior")):
        own = [table.get(f"frechet.{kind}", **about_of(data, name)) for name in names]
        if any(own):
            rows[title] = [floor, *own], "Fréchet distance / variance"
    labels = ["test images", *(label_of(about_of(data, name)) for name in names)]
    return plots.intervals(rows, labels) if rows else None


# ---- pictures and training ----


def _image_row(name: str, images: xr.DataArray, **more: Any) -> ImageRow:
    """Pictures with a name; those that are missing are left blank."""
    pictures = images.transpose(..., "height", "width", "channel").values
    return ImageRow(name, INK, [one if np.isfinite(one).any() else None for one in pictures], **more)


def _grid(rows: list[ImageRow], made: int, **about: Any) -> Figure | None:
    """Rows of pictures; None where all those from row `made` on are missing."""
    known = any(image is not None for row in rows[made:] for image in row.images)
    return image_grid(rows, margin=NAMES, cell=0.6, **about) if known else None


def reconstructions(data: xr.Dataset, table: Table) -> Figure | None:
    """Test images and what each description at the compared size gives back, with its error over all of them."""
    image_rows = [_image_row("test images", data.picture, right="MSE")]
    for name in compared(data):
        about = about_of(data, name)
        rows = table.select("mse.reconstruction", **about).rows
        error = f"{rows[0]['value']:#.3g}" if rows else ""
        image_rows.append(_image_row(label_of(about), data.picture_back.sel(description=name), right=error))
    return _grid(image_rows, 1, room=0.5)


def samples(data: xr.Dataset, table: Table) -> Figure | None:
    """Images decoded from draws of the prior."""
    images = {name: data.picture_sample.sel(description=name) for name in in_order(data, IMAGE)}
    known = {name: own for name, own in images.items() if bool(own.notnull().any())}
    return _grid([_image_row(label_of(about_of(data, name)), own) for name, own in known.items()], 0)


def ends(data: xr.Dataset, table: Table) -> Figure | None:
    """What an ascent started from and what it made of it on each manifold, by the first member."""
    data = data.isel(start=slice(MOST))
    classes = figures.names(data, "class")
    heads = [f"to {style.plain(classes[t], limit=7)}" for t in data.target.values.astype(int).tolist()]
    image_rows = [_image_row("start", data.picture_start)]
    for name in manifolds(data):
        won = data.success.sel(manifold=name).isel(member=0).values
        frames = [GOOD if w > 0.5 else BAD if np.isfinite(w) else "" for w in won]
        images = data.picture_end.sel(manifold=name)
        image_rows.append(_image_row(manifold_label(data, name), images, frames=frames))
    return _grid(image_rows, 0, heads=heads)


def training(data: xr.Dataset, table: Table) -> Figure | None:
    """Validation error (lines) and training loss (dotted) by epoch; a panel a family of images, and a hidden layer."""
    groups: dict[tuple[str, str], list[str]] = {}
    for name in in_order(data):
        if np.isfinite(data.validation_mse.sel(description=name).values).any():
            about = about_of(data, name)
            groups.setdefault((about["layer"], about["family"]), []).append(name)
    layers = figures.names(data, "layer")
    order = sorted(groups, key=lambda key: layers.index(key[0]))[:MOST_PANELS]
    if not order:
        return None
    sizes = sorted({about_of(data, name).get("dim", 0) for key in order for name in groups[key]} - {0})
    shades = plots.shades(sizes, [f"{size} dimensions" for size in sizes])
    room = {"left": 0.62, "gap": (0.62, 0.5), "right": 0.35, "bottom": 0.4}
    figure, panels = style.panels(len(order), columns=4, height=1.05, top=0.5, **room)
    for axes, (layer, family) in zip(panels, order, strict=True):
        for name in groups[layer, family]:
            one = data[["validation_mse", "train_loss"]].sel(description=name).dropna("epoch", how="all")
            color = shades.get(about_of(data, name).get("dim"), look(family)).color
            marker = "." if one.sizes["epoch"] == 1 else ""
            error, loss = one.validation_mse.transpose("epoch", "member"), one.train_loss.mean("member")
            axes.plot(one.epoch, error, color=color, linewidth=0.6, alpha=0.8, marker=marker)
            axes.plot(one.epoch, loss, color=color, linestyle=DOTTED, linewidth=1.0, marker=marker)
        plots.log_y(axes, small=True)
        axes.grid(axis="y")
        axes.set_title(
            look(family).label if layer == IMAGE else f"{style.plain(layer, limit=14)}, {look(family).label}"
        )
    style.shared_labels(figure, "epoch", "MSE on validation images")
    plots.key(figure, [*shades.values(), Look("training loss", GREY, DOTTED, "")], columns=6)
    return figure


SWEEP = FigureSpec(
    "sweep",
    "What the swept values change",
    "Descriptions of images at the size where families are compared, for each swept value, with 95 % intervals. "
    "Families whose training takes no swept value are left out. The figures below show the first value.",
    ("mse",),
    sweep,
    when=lambda data, table: len(strata_of(table, HYPER)) > 1,
)
OF_FIRST = (
    FigureSpec(
        "depth",
        "How much fits through a bottleneck",
        "a: test error as a share of the variance within classes, so 1 (dashed) is the error of the class mean alone; "
        "lower keeps more of the differences between images of one class. b: how much the classifier's output changes "
        "when the reconstruction replaces the layer. Colours are dimensions, bands 95 % intervals, dotted lines PCA "
        "of the same dimension. (With images alone, x is the dimension, colours are families, and dashed lines those "
        "with codes.)",
        ("mse", "kl", "from_class_mean"),
        depth,
        narrow=functools.partial(depth, width=style.COLUMN),
        table=depth_table,
    ),
    FigureSpec(
        "rates",
        "Error against bits, and against dimensions",
        "Lower and further left is better. a: bits are those of ever more coarsely rounded latents (ae and PCA: one "
        "curve for each size, which is written at the coarse end), of the divergence from the prior (vae, with the "
        "error of a posterior draw), or of the codes (vq, fsq). b: the same error without a limit on bits; sparse "
        "keeps k of 4 k numbers and is drawn at k; bars are 95 % intervals.",
        ("mse",),
        rates,
    ),
    FigureSpec(
        "bits",
        "What it takes to tell an image itself",
        "Bits for each entry (pixel and channel) of a test image, in bins of the levels that pixels have: an upper "
        "bound by a vae (divergence from the prior and -log likelihood), and the code length by the histograms that "
        "each pixel by itself has over training images. Where a vae lies above those, it is a worse code than to "
        "know nothing of how pixels go together. Bars are 95 % intervals.",
        ("nll", "pixel_bits"),
        bits,
        optional=True,
    ),
    FigureSpec(
        "reconstructions",
        "What comes back",
        "Test images above, and what each family makes of them at the dimension where families are compared (vq and "
        "fsq: number of codes); first seed. Right: mean squared error over all test images and seeds.",
        ("picture", "picture_back"),
        reconstructions,
        kind="png",
    ),
    FigureSpec(
        "samples",
        "Draws from the prior",
        "Images decoded from random latents, for the families whose prior is known; not selected, first seed.",
        ("picture_sample",),
        samples,
        kind="png",
        optional=True,
    ),
    FigureSpec(
        "use",
        "Ascent to another class on each manifold",
        "Dots with 95 % intervals over seeds and starts. First panel: probability of the target class under the "
        "classifier that guided and under one that did not; where they lie far apart, the ascent only fools its "
        "guide. Other panels: error of the result under the autoencoders of another seed, mean over families; its "
        "distance from the start, and from the nearest training image. In pixels, the ascent had a ball as wide as "
        "the median distance of the config's first family.",
        ("confidence", "moved"),
        use,
    ),
    FigureSpec(
        "along",
        "The ascent, step by step",
        "Probability of the target class under a classifier that did not guide, against the distance from the "
        "original image; a line begins at the decoded start, as far away as the reconstruction errs. Among manifolds, "
        "higher at equal distance is better. Pixels rise soonest, by changes that no autoencoder reconstructs (second "
        "panel above). Means over images and seeds.",
        ("confidence", "moved"),
        along,
    ),
    FigureSpec(
        "ends",
        "The ascended images",
        "Above each column is the target class; the frame is blue where a classifier that did not guide predicts it, "
        "orange where it does not. First seed.",
        ("picture_start", "picture_end", "success", "target"),
        ends,
        kind="png",
    ),
    FigureSpec(
        "frechet",
        "Distance of distributions",
        "Fréchet distance to training images in the features of each seed's classifier, extrapolated to infinitely "
        "many images (so it may fall below 0), with 95 % intervals over seeds. Images with the value of the first row "
        "are as near to training images as other real images. Reconstructions are of test images.",
        ("frechet_reconstruction",),
        frechet,
    ),
    FigureSpec(
        "training",
        "How training went",
        "Error on validation images (thin lines, one a seed) and the mean training loss (dotted, in a unit of its own "
        "where the family has one): lines should be level at the end, and not rise.",
        ("train_loss", "validation_mse"),
        training,
    ),
)
FIGURES = (SWEEP, *(figure._replace(**of_first(figure)) for figure in OF_FIRST))
