"""Estimates, checks and headline of the experiment `autoencoders`, from its arrays. NumPy, float64."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from landscape.experiments.autoencoder_cells import IMAGE
from landscape.measures import reconstruction
from landscape.models.autoencoders import WEIGHED, Penalties
from landscape.presets.names import CODED, YARDSTICKS
from landscape.stats import influence
from landscape.stats.claims import estimate_dict
from landscape.stats.duplicates import duplicate_check
from landscape.stats.intervals import Interval, interval, of_share
from landscape.training.autoencoder_members import Hyper
from landscape.types import Arrays

BETTER_THAN_PCA = ("ae", "denoising", "vae")  # families that are expected to beat PCA of equal dimension
USE = {  # array: (name, unit)
    "guide_confidence": ("confidence.ascended_guide", "1"),
    "held_out_confidence": ("confidence.ascended_held_out", "1"),
    "held_out_success": ("transfer.ascended_held_out", "1"),
    "moved": ("distance.ascended", "pixels"),
    "nearest_training": ("distance.nearest_training", "pixels"),
    "error_under_another": ("mse.under_another", "1"),
}


def estimate(config, arrays: Arrays, coords: Arrays) -> tuple[list[dict], list[dict]]:
    """(estimates, checks) of everything in the arrays, one set a value of a sweep."""
    values = {name: array for name, (_, array) in {**arrays, **coords}.items()}
    found: list[dict] = []
    told = set()
    for swept, index in strata(config, coords):
        for c, cell in enumerate(values["cell"]):
            own = _swept_of(str(values["cell_family"][c]), swept)
            if (c, *own.items()) not in told:  # other points of the sweep have the same members
                told.add((c, *own.items()))
                about = _about(values, c) | own
                if about["family"] == "vae":  # what its rates and errors are at
                    about["beta"] = float(values["beta"][index][0])
                found += _quality(values, c, str(cell), about, index)
                found += _latent(values, c, about, index)
                found += _distributions(values, str(cell), about, index)
        found += _use(values, swept, index)
    # Of images as they are: members differ in their classifiers alone, so that the first point of a sweep tells all.
    first = strata(config, coords)[0][1]
    found.append(_of_members(values["frechet_floor"][first], "frechet.floor"))
    return found, _checks(config, values)


def strata(config, coords: Arrays) -> list[tuple[dict[str, float], np.ndarray]]:
    """(swept values, members that have them), in order of appearance."""
    swept = [name for name in Hyper._fields if len(config.autoencoder.sweep[name])]
    points = list(zip(*(coords[name][1].tolist() for name in swept), strict=True)) or [()] * len(coords["seed"][1])
    groups: dict[tuple, list[int]] = {}
    for member, point in enumerate(points):
        groups.setdefault(point, []).append(member)
    return [(dict(zip(swept, point, strict=True)), np.asarray(index)) for point, index in groups.items()]


def _swept_of(family: str, swept: dict[str, float]) -> dict[str, float]:
    """The swept values that a family's members depend on."""
    known = (*(set(Hyper._fields) - set(Penalties._fields)), *WEIGHED.get(family, ()))
    return {name: value for name, value in swept.items() if name in known and family not in YARDSTICKS}


def _about(values: dict[str, Any], c: int) -> dict[str, Any]:
    size = int(values["cell_size"][c])
    family = str(values["cell_family"][c])
    about = {"layer": str(values["cell_layer"][c]), "family": family}
    if not size:
        return about
    return about | {"codes" if family in (*CODED, "kmeans") else "dim": size}


def _quality(values: dict[str, Any], c: int, cell: str, about: dict, index: np.ndarray) -> list[dict]:
    """Errors, shares of variance, and what the classifier makes of the reconstruction."""
    mse = values["mse"][c][index].astype(np.float64)
    layer = list(values["layer"]).index(about["layer"])
    every = np.ones(mse.shape, bool)
    found = []

    def add(u: np.ndarray | Interval, name: str, unit: str = "1", **more) -> None:
        told = u if isinstance(u, Interval) else interval(u)
        found.append({**estimate_dict(told, name, population="clean", unit=unit, **about), **more})

    def share_of(part: str) -> np.ndarray:
        return influence.ratio(mse, values[part][layer][index].astype(np.float64), every)

    image = about["layer"] == IMAGE
    add(mse, "mse.reconstruction", headline=image)
    add(share_of("from_mean"), "fvu.total")
    add(share_of("from_class_mean"), "fvu.in_class", headline=not image)
    add(_root(share_of("from_zero")), "distance.of_norm")
    add(_root(0.5 * share_of("from_mean")), "distance.of_typical_pair")
    for other, name in (("pca", "fvu.of_pca"), ("ae", "mse.of_ae")):
        c_other = _same_size(values, about, other)
        if about["family"] not in ("pca", "sparse", other) and c_other is not None:
            theirs = values["mse"][c_other][index].astype(np.float64)
            add(influence.ratio(mse, theirs, every), name, headline=image and other == "pca")
    seeds = values["seed"][index]
    original, label = values["original"][seeds], values["label"][None]
    prediction = values["prediction"][c][index]
    num = prediction.shape[1]
    change = (prediction == label).astype(float) - (original == label)
    add(of_share(interval((prediction == label).astype(float)), num), "accuracy.substituted")
    add(change, "accuracy.change", headline=not image)
    add(of_share(interval((prediction == original).astype(float)), num), "agreement.substituted")
    add(values["kl"][c][index].astype(np.float64), "distance.kl", "nats")
    if image:
        i = list(values["image_cell"]).index(cell)
        add(np.asarray(reconstruction.psnr(np.maximum(mse, 1e-12))), "psnr.reconstruction", "dB")
        add(values["ssim"][i][index].astype(np.float64), "ssim.reconstruction")
        held = values["judged"][i][index] == values["original"][None]  # [member, judge, example]
        foreign = np.arange(held.shape[1])[None, :] != seeds[:, None]
        # Members share their judges: of these classifiers, the interval speaks of new images alone.
        each = np.stack([h[f].mean(axis=0) for h, f in zip(held, foreign, strict=True)])
        add(of_share(interval(each.mean(axis=0, keepdims=True)), num), "agreement.held_out")
    if "draw_mse" in values and np.isfinite(values["draw_mse"][c][index]).all():
        add(values["draw_mse"][c][index].astype(np.float64), "mse.draw")
    return found


def _root(u: np.ndarray) -> np.ndarray:
    """The square root of an estimate given by its influence array [S, N]: sqrt(R_s) + (u - R_s) / (2 sqrt(R_s))."""
    mean = u.mean(axis=1, keepdims=True)
    root = np.sqrt(np.maximum(mean, 1e-300))
    return root + (u - mean) / (2 * root)


def _same_size(values: dict[str, Any], about: dict, family: str) -> int | None:
    """The cell of another family of the same layer and dimension; None for what has no dimension."""
    for c in range(len(values["cell"])):
        same = values["cell_layer"][c] == about["layer"] and values["cell_size"][c] == about.get("dim")
        if values["cell_family"][c] == family and same:
            return c
    return None


def _latent(values: dict[str, Any], c: int, about: dict, index: np.ndarray) -> list[dict]:
    """Use of the latent, and its rate where that is defined."""

    def has(name: str, row: int) -> bool:
        return name in values and bool(np.isfinite(values[name][row][index]).all())

    def of(u: np.ndarray, name: str, unit: str = "1", **more) -> dict:
        return estimate_dict(interval(u), name, population="clean", unit=unit, **about, **more)

    along = list(values["image_cell"])
    cell = str(values["cell"][c])
    i = along.index(cell) if cell in along else -1
    found = []
    for name, told, unit in (
        ("active_units", "usage.active_units", "1"),
        ("effective_dimension", "usage.effective_dimension", "1"),
        ("code_usage", "usage.codes", "1"),
        ("code_perplexity", "usage.perplexity", "1"),
    ):
        if has(name, c):
            u = interval(values[name][c][index].astype(np.float64)[:, None])
            u = u._replace(high=min(u.high, 1.0)) if name == "code_usage" else u
            found.append(estimate_dict(u, told, population="clean", unit=unit, **about))
    if has("code_bits", c):
        found.append(of(values["code_bits"][c][index].astype(np.float64), "rate.codes", "bits"))
    if has("latent_kl", c):
        bits = values["latent_kl"][c][index].astype(np.float64) / np.log(2)
        found.append(of(bits, "rate.kl", "bits", prior="standard normal"))
        if has("nll", c):  # what the evidence lower bound allows: an upper bound of -log2 p(x)
            nats = values["nll"][c][index].astype(np.float64) + values["latent_kl"][c][index]
            size = np.log(2) * np.prod(values["picture"].shape[1:])
            found.append(of(nats / size, "rate.bits_per_dim", "bits", prior="standard normal"))
    if i >= 0 and has("rate_bits", i):
        for s, step in enumerate(values["step"]):
            bits, error = (values[name][i][index][:, s].astype(np.float64) for name in ("rate_bits", "rate_mse"))
            found.append(of(bits, "rate.quantised", "bits", step=float(step)))
            found.append(of(error, "mse.quantised", step=float(step)))
    return found


def _distributions(values: dict[str, Any], cell: str, about: dict, index: np.ndarray) -> list[dict]:
    """Frechet distances of what a cell of images makes from training images."""
    along = list(values["image_cell"])
    if cell not in along:
        return []
    told = {name: values.get(f"frechet_{name}") for name in ("reconstruction", "samples")}
    rows = {name: table[along.index(cell)][index] for name, table in told.items() if table is not None}
    return [_of_members(u, f"frechet.{name}", **about) for name, u in rows.items() if np.isfinite(u).all()]


def _of_members(u: np.ndarray, name: str, **about) -> dict:
    """An estimate from one value a member, [S]."""
    return estimate_dict(interval(u[:, None]), name, population="clean", unit="1", **about)


def _use(values: dict[str, Any], swept: dict, index: np.ndarray) -> list[dict]:
    """What ascents reached, as far as each went (raw) and at equal distance from the start, where there is one.

    A manifold's ascent begins at its own reconstruction: where another's ends nearer than that, the start is left out.
    """
    found = []
    held_out, moved = (values[name][:, index].astype(np.float64) for name in ("held_out_along", "moved_along"))
    common = moved[:, :, 0].max(axis=0) <= moved.max(axis=2).min(axis=0)  # [member, start]
    held_out, moved = at_equal_distance(moved, held_out, moved)
    for i, cell in enumerate(values["use_cell"]):
        about = {"manifold": str(cell), **swept}

        def add(u: np.ndarray, name: str, unit: str, about: dict = about, **more) -> None:
            share = name.startswith(("confidence.", "transfer."))
            told = of_share(interval(u), u.shape[1]) if share else interval(u)
            found.append(estimate_dict(told, name, population="manifold", unit=unit, **about, **more))

        for name, (told, unit) in USE.items():
            add(values[name][i][index].astype(np.float64), told, unit, matching="raw")
        if common.any(axis=1).all():
            told = {"matching": "distance", "matched": float(common.mean())}
            add(influence.masked_mean(held_out[i], common), "confidence.ascended_held_out", "1", **told)
            add(influence.masked_mean(moved[i], common), "distance.ascended", "pixels", **told)
    return found


def at_equal_distance(moved: np.ndarray, *values: np.ndarray) -> list[np.ndarray]:
    """Values [cell, member, step, start] where every ascent was about as far as the shortest of its start and member.

    The step is the one whose distance is nearest to the least, over cells, of the furthest distances. [cell, member,
    start] each.
    """
    distance = moved.max(axis=2, keepdims=True).min(axis=0, keepdims=True)
    step = np.abs(moved - distance).argmin(axis=2, keepdims=True)
    return [np.take_along_axis(v, step, axis=2)[:, :, 0] for v in values]


def _checks(config, values: dict[str, Any]) -> list[dict]:
    """What must hold if nothing is broken."""
    mse = values["mse"].mean(axis=-1)  # [cell, member]
    finite = bool(np.isfinite(mse).all())
    found = [{"name": "errors.finite", "passed": finite, "detail": f"{mse.size} mean errors of cells and members"}]
    for c, family in enumerate(values["cell_family"]):
        about = _about(values, c)
        pca = _same_size(values, about, "pca")
        compared = about["layer"] == IMAGE and about.get("dim") == config.autoencoder.dim
        if family in BETTER_THAN_PCA and pca is not None and compared and not config.smoke:
            better = bool((mse[c] < mse[pca]).all())
            detail = f"mean squared error {mse[c].mean():.4g}, PCA of {about['dim']} dimensions {mse[pca].mean():.4g}"
            found.append({"name": f"beats_pca.{values['cell'][c]}", "passed": better, "detail": detail})
    for layer in values["layer"][1:]:
        c = list(values["cell"]).index(f"{layer}.class_mean")
        own = values["mse"][c].mean(axis=1) / values["from_class_mean"][list(values["layer"]).index(layer)].mean(axis=1)
        told = f"in-class share {own.min():.6f} to {own.max():.6f} of what it is a share of; expected 1"
        found.append({"name": f"class_mean.{layer}", "passed": bool(np.allclose(own, 1, atol=1e-3)), "detail": told})
    seeds = values["seed"]
    trained = [c for c in range(len(values["cell"])) if np.isfinite(values["train_loss"][c]).any()]
    same = [duplicate_check(values["mse"][c]) for c in trained if len(set(seeds)) == len(seeds)]
    if same:
        worst = next((check for check in same if not check["passed"]), same[0])
        found.append({**worst, "name": "seeds.distinct", "passed": all(check["passed"] for check in same)})
    return found


def headline(config, estimates: Sequence[dict]) -> str:
    """The answer in two sentences: images beside PCA, and the deepest layer. Of a sweep, the config's own point."""
    dim, family = config.autoencoder.dim, config.autoencoder.families[0]
    swept = {
        name: min(config.autoencoder.sweep[name], key=lambda value, name=name: abs(value - config.autoencoder[name]))
        for name in Hyper._fields
        if len(config.autoencoder.sweep[name])
    }

    def of(name: str, **about) -> list[dict]:
        own = [e for e in estimates if e["name"] == name and all(e.get(k) == v for k, v in about.items())]
        return [e for e in own if all(e.get(k, v) == v for k, v in swept.items())]

    size = {} if family in CODED else {"dim": dim}
    error = of("mse.reconstruction", layer=IMAGE, family=family, **size)[0]
    much = f"{error['codes']} codes" if family in CODED else f"{dim} dimensions"
    text = f"With {much} {family} gives test images back with a mean squared error of {_told(error)}"
    for bits in of("rate.codes", layer=IMAGE, family=family):
        text += f" at {_told(bits)} bits"
    for share in of("fvu.of_pca", layer=IMAGE, family=family, **size):
        text += f", {_percent(share)} of PCA's"
    text += "."
    hidden = [e for e in of("accuracy.change", family="ae") if e["layer"] != IMAGE]
    if hidden:
        last = sorted((e for e in hidden if e["layer"] == hidden[-1]["layer"]), key=lambda e: e["dim"])
        few, many = last[0], last[-1]
        text += (
            f" With what ae makes of {few['dim']} dimensions in the place of {few['layer']} the accuracy changes by "
            f"{_points(few)} points"
        )
        text += f", with {many['dim']} by {_points(many)}." if many["dim"] > few["dim"] else "."
    if swept:
        text += f" (At {', '.join(f'{name} = {value:g}' for name, value in swept.items())}; the table has all.)"
    return text


def _told(entry: dict) -> str:
    if entry["low"] is None:
        return f"{entry['value']:.3g}"
    return f"{entry['value']:.3g} [{entry['low']:.3g}, {entry['high']:.3g}]"


def _percent(entry: dict) -> str:
    if entry["low"] is None:
        return f"{100 * entry['value']:.0f} %"
    return f"{100 * entry['value']:.1f} [{100 * entry['low']:.1f}, {100 * entry['high']:.1f}] %"


def _points(entry: dict) -> str:
    if entry["low"] is None:
        return f"{100 * entry['value']:+.1f}"
    return f"{100 * entry['value']:+.1f} [{100 * entry['low']:+.1f}, {100 * entry['high']:+.1f}]"
