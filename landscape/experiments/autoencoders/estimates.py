"""The numbers of an autoencoders run, from its arrays alone. NumPy, float64.

One *description* is a layer, a family and a size. Members of unlike hyperparameters (a sweep) are strata: each
description is estimated at every value of those that its own training takes.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from landscape.experiments.autoencoders.config import HYPER, IMAGE
from landscape.experiments.base import Check, named, strata, strata_of
from landscape.presets.names import BASELINES, CODED, HISTOGRAM
from landscape.stats import influence
from landscape.stats.claims import estimate_dict
from landscape.stats.contrasts import Least
from landscape.stats.duplicates import duplicate_check
from landscape.stats.intervals import interval
from landscape.stats.table import Design, Estimate, Row, Table, tabulate

if TYPE_CHECKING:
    import xarray as xr  # imported where it is used: half a second

BETTER_THAN_PCA = ("ae", "denoising", "vae")  # families that are expected to beat PCA of equal dimension
CLEAN = {"population": "clean"}
NO_DIMENSION = (*CODED, "kmeans")  # families whose size is a number of codes
NO_COLUMNS = ("description", "described_layer", "size")  # of a row, which has layer, family, and `dim` or `codes`


class Measure(NamedTuple):
    """The mean of a variable, or its ratio to another; by further dims; whether it is a share."""

    of: str
    per: str = ""
    by: tuple[str, ...] = ()
    share: bool = False


MEASURES = {
    "mse.reconstruction": Measure("mse"),
    "fvu.total": Measure("mse", "variance"),
    "fvu.in_class": Measure("mse", "variance_in_class"),
    "fvu.of_pca": Measure("mse", "mse_of_pca"),
    "mse.of_ae": Measure("mse", "mse_of_ae"),
    "mse.draw": Measure("draw_mse"),
    "psnr.reconstruction": Measure("psnr"),
    "ssim.reconstruction": Measure("ssim"),
    "accuracy.substituted": Measure("right", share=True),
    "accuracy.change": Measure("change"),
    "agreement.substituted": Measure("agrees", share=True),
    "agreement.held_out": Measure("agrees_elsewhere", share=True),
    "distance.kl": Measure("kl"),
    "rate.kl": Measure("kl_bits"),
    "rate.bits_per_dim": Measure("bits_per_dim"),
    "rate.codes": Measure("code_bits"),
    "rate.quantised": Measure("rate_bits", by=("step",)),
    "mse.quantised": Measure("rate_mse", by=("step",)),
}
ROOTS = {"distance.of_norm": "square_norm", "distance.of_typical_pair": "square_pair"}  # of mse over these
OF_SEEDS = {  # one value a member
    "usage.active_units": Measure("active_units"),
    "usage.effective_dimension": Measure("effective_dimension"),
    "usage.codes": Measure("code_usage", share=True),
    "usage.perplexity": Measure("code_perplexity"),
    "frechet.reconstruction": Measure("frechet_reconstruction"),
    "frechet.samples": Measure("frechet_samples"),
}
ONE_A_MEMBER = Design(crossed=("member", ""))
ASCENTS = {
    "confidence.ascended_guide": Measure("guide_confidence", share=True),
    "confidence.ascended_held_out": Measure("end_confidence", share=True),
    "transfer.ascended_held_out": Measure("success", share=True),
    "distance.ascended": Measure("end_moved"),
    "distance.nearest_training": Measure("nearest_training"),
    "mse.under_another": Measure("error_under_another"),
}
AT_EQUAL_DISTANCE = {
    "confidence.ascended_held_out": Measure("level_confidence", share=True),
    "distance.ascended": Measure("level_moved"),
}
# Starts count where every manifold has a point at the common distance; each member needs one.
OF_STARTS = Design(crossed=("member", "start"), least=Least(1, 10**9, paired=0))


# ---- what follows from the arrays ----


def _beside(data: "xr.Dataset", other: str) -> "xr.DataArray":
    """The errors of another family of the same layer and dimension; NaN where there is none."""
    names = data.description.values.astype(str).tolist()
    found = [same_size(data, about_of(data, name), other) for name in names]
    family = data.family.values.astype(str)
    known = np.array([one is not None for one in found]) & ~np.isin(family, ("pca", "sparse", other))
    errors = data.mse.sel(description=[one or name for one, name in zip(found, names, strict=True)]).values
    return data.mse.copy(data=np.where(known[:, None, None], errors, np.nan))


def derive(data: "xr.Dataset") -> "xr.Dataset":
    """With what follows from the arrays: variables of estimates."""
    import xarray as xr

    own = data.original.isel(classifier=xr.Variable("member", data.seed.values))  # of each member on the image itself
    right = (data.prediction == data.label).astype(float)
    errors = np.maximum(data.mse, 1e-12).astype(np.float64)
    # What belongs to layers, for each description that of its layer.
    of_layer = {
        name: data[name].sel(layer=data.described_layer) for name in ("from_mean", "from_class_mean", "from_zero")
    }
    found = {
        "right": right,
        "change": right - (own == data.label),
        "agrees": (data.prediction == own).astype(float),
        "mse_of_pca": _beside(data, "pca"),
        "mse_of_ae": _beside(data, "ae"),
        "variance": of_layer["from_mean"],
        "variance_in_class": of_layer["from_class_mean"],
        "square_norm": of_layer["from_zero"],
        "square_pair": 2 * of_layer["from_mean"],
        "psnr": -10 * np.log10(errors).where(data.described_layer == IMAGE),
        "end_confidence": data.confidence.isel(ascent_step=-1),
        "end_moved": data.moved.isel(ascent_step=-1),
    }
    if "latent_kl" in data:  # of vae alone
        found["kl_bits"] = data.latent_kl.astype(np.float64) / np.log(2)
    size = np.prod([data.sizes[dim] for dim in ("height", "width", "channel")])
    found["pixel_bits_per_dim"] = data.pixel_bits / size
    if "nll" in data:
        # What the evidence lower bound allows for an entry of an image: an upper bound of -log2 p(x).
        found["bits_per_dim"] = (data.nll.astype(np.float64) + data.latent_kl) / (np.log(2) * size)
    units = {"psnr": "dB", "end_moved": "pixels", "kl_bits": "bits"}
    units |= dict.fromkeys(("bits_per_dim", "pixel_bits_per_dim"), "bits")
    return data.assign(
        {name: one.reset_coords(drop=True).assign_attrs(units=units.get(name, "1")) for name, one in found.items()}
    )


def at_equal_distance(data: "xr.Dataset") -> "xr.Dataset":
    """With each ascent where it was about as far from its start as the shortest one of its start and member.

    That is the step whose distance is nearest to the least, over manifolds, of the furthest distances. `common`: no
    manifold's ascent begins, at its own reconstruction, beyond the end of another one's.
    """
    moved = data.moved.astype(np.float64)
    reach = moved.max("ascent_step").min("manifold")
    step = np.abs(moved - reach).argmin("ascent_step", skipna=False)
    level = {f"level_{name}": data[name].isel(ascent_step=step) for name in ("confidence", "moved")}
    return data.assign(common=moved.isel(ascent_step=0).max("manifold") <= reach, **level)


def groups(data: "xr.Dataset") -> Iterator[tuple[dict[str, float], "xr.Dataset"]]:
    """(coordinates, part) of the descriptions whose training takes the same swept hyperparameters, at each point."""
    several = {
        name: tuple(n for n in HYPER if n in data and len(np.unique(data[n].sel(description=name))) > 1)
        for name in data.description.values.astype(str).tolist()
    }
    for swept in dict.fromkeys(several.values()):
        part = data.sel(description=[name for name, own in several.items() if own == swept])
        yield from strata(part.assign({name: part[name].isel(description=0) for name in swept}), swept)


def about_of(data: "xr.Dataset", name: str) -> dict[str, Any]:
    """The columns of a description: layer, family and, where it has a size, `dim` or `codes`."""
    one = data[["described_layer", "family", "size"]].sel(description=name)
    family, size = str(one.family.values), int(one["size"])
    about: dict[str, Any] = {"layer": str(one.described_layer.values), "family": family}
    return about | ({"codes" if family in NO_DIMENSION else "dim": size} if size else {})


def same_size(data: "xr.Dataset", about: Mapping[str, Any], family: str) -> str | None:
    """The description by another family of the same layer and dimension; None for what has no dimension."""
    same = (data.described_layer == about["layer"]) & (data["size"] == about.get("dim", -1)) & (data.family == family)
    found = data.description.values[same.values].astype(str).tolist()
    return found[0] if found else None


# ---- estimates ----


def estimate(data: "xr.Dataset", config) -> Table:
    """The table of a run: every description, ascents on every manifold, the distance of test images."""
    derived, rows = derive(data), []
    about = {name: about_of(data, name) for name in data.description.values.astype(str).tolist()}
    for coords, part in groups(derived):
        found = measured(_of_all(part), MEASURES, "description", Design()) + of_roots(part)
        found += measured(part, OF_SEEDS, "description", ONE_A_MEMBER)
        rows += [Row(row, **about[row["description"]], **coords) for row in found]
    rows = [Row({name: value for name, value in row.items() if name not in NO_COLUMNS}) for row in rows]
    table = Table(tuple(rows)) + of_pixels(derived) + of_ascents(derived) + of_test_images(data)
    hidden = [name for name in data.layer.values.astype(str).tolist() if name != IMAGE]
    return table.headline_rows(
        {"name": ["mse.reconstruction", "fvu.of_pca"], "layer": IMAGE},
        {"name": ["fvu.in_class", "accuracy.change"], "layer": hidden},
    )


def _of_all(part: "xr.Dataset") -> "xr.Dataset":
    """With the share of other classifiers that predict of the reconstruction what they predict of the image, (example).

    Members share these classifiers: of them as they are, its interval speaks of new images alone.
    """
    if "others_agree" not in part:
        return part
    share = part.others_agree.astype(np.float64) / (part.sizes["classifier"] - 1)
    return part.assign(agrees_elsewhere=share.mean("member", skipna=False))


def measured(
    data: "xr.Dataset", measures: Mapping[str, Measure], dim: str, design: Design, where: str = "", **about: str
) -> Table:
    """The measures at each place along `dim` that has values for them, of those that `where` marks; more columns."""
    table = Table()
    for name, (of, per, by, share) in measures.items():
        used = [one for one in (of, per) if one]
        known = finite(data, used, dim)
        if known.any():
            fields = {"where": where, "by": (dim, *by), "share": share, "about": about or CLEAN}
            chosen = data[[*used, *([where] if where else [])]].isel({dim: known})
            table += tabulate(chosen, [Estimate(name, of, per, **fields)], design)
    return table


def finite(data: "xr.Dataset", names: Sequence[str], dim: str) -> Bool[np.ndarray, " D"]:
    """Where along `dim` all variables are there and finite throughout."""
    found = np.ones(data.sizes[dim], bool)
    for name in names:
        if name not in data:
            return np.zeros_like(found)
        found &= np.isfinite(data[name]).all([one for one in data[name].dims if one != dim]).values
    return found


def of_roots(part: "xr.Dataset") -> Table:
    """Errors as distances: the root of the squared error over that of a norm, or of a typical pair."""
    rows = []
    for name, per in ROOTS.items():
        for i in np.flatnonzero(finite(part, ["mse", per], "description")).tolist():
            one = part[["mse", per]].isel(description=i).transpose("member", "example")
            u = root(influence.ratio(one.mse.values, one[per].values, np.ones(one.mse.shape, bool)))
            about = {"description": str(one.description.values), "unit": "1", **CLEAN}
            rows.append(Row(estimate_dict(interval(u), name, **about)))
    return Table(tuple(rows))


def root(u: Float[np.ndarray, "S N"]) -> Float[np.ndarray, "S N"]:
    """The square root of an estimate given by its influence array: sqrt(R_s) + (u - R_s) / (2 sqrt(R_s))."""
    mean = u.mean(axis=1, keepdims=True)
    found = np.sqrt(np.maximum(mean, 1e-300))
    return found + (u - mean) / (2 * found)


def of_pixels(derived: "xr.Dataset") -> Table:
    """Bits of images by the histograms of their pixels, which a model of images has to beat."""
    if not np.isfinite(derived.pixel_bits_per_dim.values).all():
        return Table()
    about = {"layer": IMAGE, "family": HISTOGRAM, **CLEAN}
    declared = Estimate("rate.bits_per_dim", "pixel_bits_per_dim", where="", about=about)
    return tabulate(derived[["pixel_bits_per_dim"]], [declared], Design())


def of_test_images(data: "xr.Dataset") -> Table:
    """The distance of test images as they are: the first point of a sweep has all classifiers."""
    _, first = strata(of_sweep(data), HYPER)[0]
    if "frechet_floor" not in data or not np.isfinite(first.frechet_floor.values).all():
        return Table()
    floor = Estimate("frechet.floor", "frechet_floor", where="", about=CLEAN)
    return tabulate(first[["frechet_floor"]], [floor], ONE_A_MEMBER)


def of_sweep(data: "xr.Dataset") -> "xr.Dataset":
    """With the hyperparameters of members, whatever description has them, instead of those of descriptions."""
    return data.assign({name: data[name].max("description") for name in HYPER if name in data})


def of_ascents(data: "xr.Dataset") -> Table:
    """What ascents reached, as far as each went (raw) and at equal distance from the start, where there is one.

    A manifold's ascent begins at its own reconstruction: where another's ends nearer than that, the start is left out.
    """
    table = Table()
    for coords, members in strata(of_sweep(data), HYPER):
        chosen, along = at_equal_distance(members), ("manifold", OF_STARTS)
        found = measured(chosen, ASCENTS, *along, population="manifold", matching="raw")
        level = {"where": "common", "population": "manifold", "matching": "distance"}
        found += measured(chosen, AT_EQUAL_DISTANCE, *along, **level)
        table += Table(tuple(Row(row, **coords) for row in found))
    return table


def claims(table: Table, config) -> list[dict]:
    """None are stated."""
    return []


# ---- checks ----


def checks(data: "xr.Dataset", table: Table, config) -> list[Check]:
    """Errors are finite, autoencoders beat PCA, the class mean errs as it must, no member is another's copy."""
    mse = data.mse.mean("example")
    known = int(np.isfinite(mse.values).sum())
    detail = f"{known} of {mse.size} mean errors of descriptions and members are finite; expected all"
    found = [Check("errors.finite", known == mse.size, detail)]
    if not config.smoke:
        found += _beats_pca(data, config.autoencoder.dim)
    share = float(data.unseen_levels.mean())
    detail = f"{100 * share:.4g} % of the test images' pixels have a value that no training image has; expected 0"
    found.append(Check("pixels.levels", share == 0, detail))
    for layer in data.layer.values.astype(str).tolist():
        name = f"{layer}.class_mean"
        if name in data.description:
            share = mse.sel(description=name) / data.from_class_mean.sel(layer=layer).mean("example")
            low, high = float(share.min()), float(share.max())
            detail = f"the class mean's error is {low:.6f} to {high:.6f} times the variance within classes; expected 1"
            found.append(Check(f"class_mean.{layer}", bool(np.allclose(share, 1, atol=1e-3)), detail))
    same = [
        duplicate_check(part.mse.isel(description=i).values)
        for _, part in groups(data)
        for i in np.flatnonzero(finite(part, ["learning_rate"], "description"))
    ]
    if same:
        worst = next((check for check in same if not check["passed"]), same[0])
        found.append(Check("seeds.distinct", worst["passed"], worst["detail"]))
    return found


def _beats_pca(data: "xr.Dataset", dim: int) -> Iterator[Check]:
    """Whether families of images that should do better than PCA of as many dimensions do, every member."""
    mse = data.mse.mean("example")
    for name in data.description.values.astype(str).tolist():
        about = about_of(data, name)
        pca = same_size(data, about, "pca")
        if about["family"] in BETTER_THAN_PCA and pca and about["layer"] == IMAGE and about["dim"] == dim:
            own, other = mse.sel(description=name).values, mse.sel(description=pca).values
            detail = f"mean squared error {own.mean():.4g}, PCA of {dim} dimensions {other.mean():.4g}"
            detail += "; expected less than PCA, for every seed"
            yield Check(f"beats_pca.{name}", bool((own < other).all()), detail)


# ---- what is said first ----


def headline(table: Table, config) -> str:
    """Images beside PCA, which family errs least, and the deepest layer; of a sweep, at its first values."""
    first = strata_of(table, HYPER)[0]
    table = at_point(table, first)
    dim, family = config.autoencoder.dim, config.autoencoder.families[0]
    of_images = {"layer": IMAGE, "family": family} | ({} if family in CODED else {"dim": dim})
    error, bits = table.one("mse.reconstruction", **of_images), table.get("rate.codes", **of_images)
    coded = f"Coded by {family} with {error.get('codes')} codes"
    text = coded if family in CODED else f"Squeezed into {dim} numbers by {family}"
    text += f", test images come back with a mean squared error of {significant(error)}"
    text += f" at {significant(bits)} bits an image" if bits else ""
    share = table.get("fvu.of_pca", **of_images)
    text += f", {share.text(100.0)} % of PCA's" if share else ""
    rivals = table.select("mse.reconstruction", layer=IMAGE, dim=dim)
    rivals = [row for row in rivals if row["family"] not in BASELINES]
    if len(rivals) > 1:
        best = min(rivals, key=lambda row: row["value"])["family"]
        text += f"; of the {len(rivals)} families with {dim} numbers, {best} errs least"
    hidden = [row for row in table.select("accuracy.change", family="ae") if row["layer"] != IMAGE]
    last = sorted((row for row in hidden if row["layer"] == hidden[-1]["layer"]), key=lambda row: row["dim"])
    if last:
        text += f". When the layer {last[0]['layer']} is replaced by what ae rebuilds from {last[0]['dim']} numbers, "
        text += f"the classifier's accuracy changes by {points(last[0])} points"
        text += f"; from {last[-1]['dim']} numbers, by {points(last[-1])} points" if len(last) > 1 else ""
    return text + (f". (At {named(first)}; the table has all.)" if first else ".")


def at_point(table: Table, point: Mapping[str, float]) -> Table:
    """The rows at one point of a sweep, and those whose training takes none of the swept values."""
    return table.select(**{name: [value, None] for name, value in point.items()})


def significant(row: Row, scale: float = 1.0, form: str = ".3g") -> str:
    """`0.0118 [0.0111, 0.0125]`, the value alone where there is no interval."""
    value, *ends = (format(scale * row[end], form) for end in ("value", "low", "high") if row[end] is not None)
    return f"{value} [{', '.join(ends)}]" if ends else value


def points(row: Row) -> str:
    """A change of a share in points."""
    return significant(row, 100.0, "+.1f")
