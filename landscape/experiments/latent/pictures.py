"""Picture figures of a latent run: chains, noise and draws of the prior, global chains, paths."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from landscape.experiments.latent.estimates import main_family
from landscape.reporting import figures, style
from landscape.reporting.image_grid import ImageRow, image_grid
from landscape.stats.table import Table

EMBEDDINGS, MOST_RADII, DRAWS, MOST_CLASSES, POINTS, PAIRS = 6, 4, 5, 14, 9, 2
APART = 0.09  # inches between groups of pictures


def in_order(data: xr.Dataset) -> list[str]:
    """Families of the run, in the order of their looks."""
    order = list(style.LOOKS)
    return sorted(figures.names(data, "family"), key=lambda name: order.index(name) if name in order else len(order))


def samplers(data: xr.Dataset, family: str) -> list[str]:
    """Samplers that ran in a family's latent, in the order of the run."""
    ran = data.sampled.sel(family=family)
    return ran.kernel.values[ran.values].tolist()


def classes_of(data: xr.Dataset, along: str) -> list[str]:
    """Class names of the images whose ids are along `along` (start, end)."""
    known = [style.plain(name, limit=10) for name in figures.names(data, "class")]
    of = dict(zip(data.example.values.tolist(), data.label.values.tolist(), strict=True))
    return [known[of[image]] for image in data[along].values.tolist()]


def radii_shown(data: xr.Dataset) -> list[float]:
    """Radii that pictures are shown of, rising."""
    s = np.sort(data.radius.values)
    return s[np.round(np.linspace(0, len(s) - 1, min(len(s), MOST_RADII))).astype(int)].tolist()


def around(data: xr.Dataset, family: str, start: int, frames: int) -> list[np.ndarray | None]:
    """Test image, what its embedding decodes to, and at each radius states of a chain and one noisy latent."""
    ends, decoded = data.end.values.tolist(), data.picture_path.sel(family=family).isel(path=0, t=0)
    number = ends.index(start) if start in ends else len(ends)  # beyond the images that paths join: not pictured
    images = [data.picture.isel(end=number).values if number < len(ends) else None]
    images.append(decoded.isel(pair=number).values if number < decoded.sizes["pair"] else None)
    for s in radii_shown(data):
        here = {"family": family, "radius": s, "start": start}
        images += list(data.picture_local.sel(here).values[-frames:])
        images.append(data.picture_around.sel(here).values)
    return [None if image is None or not np.isfinite(image).all() else image for image in images]


def heads_of(data: xr.Dataset, frames: int) -> dict:
    """Texts above the columns of `around`, and the inches before each."""
    s = radii_shown(data)
    heads = ["test", "decoded"] + [*["guided"] * frames, "noise"] * len(s)
    before = [0.0, 0.0] + [APART, *[0.0] * frames] * len(s)
    groups = [(2 + i * (frames + 1), 1 + (i + 1) * (frames + 1), f"s = {radius:.3g}") for i, radius in enumerate(s)]
    return {"heads": heads, "before": before, "groups": groups}


def of_embeddings(data: xr.Dataset, table: Table) -> Figure | None:
    """A row an embedding of the main family."""
    family, names = main_family(in_order(data)), classes_of(data, "start")
    image_rows = [
        ImageRow(style.plain(name, limit=10), "#333333", around(data, family, start, data.sizes["frame"]))
        for name, start in zip(names, data.start.values.tolist()[:EMBEDDINGS], strict=False)
    ]
    return image_grid(image_rows, **heads_of(data, data.sizes["frame"]))


def of_families(data: xr.Dataset, table: Table) -> Figure | None:
    """One embedding in every family: chains and noise around it, and draws of the prior."""
    start, image_rows = data.start.values.tolist()[0], []
    for family in in_order(data):
        draws = data.picture_prior.sel(family=family).values[:DRAWS]
        images = [*around(data, family, start, 1), *(d if np.isfinite(d).all() else None for d in draws)]
        image_rows.append(ImageRow(style.look(family).label, style.look(family).color, images))
    about, count = heads_of(data, 1), min(DRAWS, data.sizes["shown"])
    first = len(about["heads"])
    about["before"] += [APART] + [0.0] * (count - 1)
    about["groups"] += [(first, first + count - 1, "draws of the prior")]
    return image_grid(image_rows, **about)


def of_classes(data: xr.Dataset, table: Table) -> Figure | None:
    """Last states of guided chains: a column a class, a row a family."""
    image_rows = []
    for family in in_order(data):
        images = data.picture_global.sel(family=family).values[:MOST_CLASSES]
        if np.isfinite(images).all():
            image_rows.append(ImageRow(style.look(family).label, style.look(family).color, list(images)))
    heads = [style.plain(name, limit=7) for name in figures.names(data, "class")][:MOST_CLASSES]
    return image_grid(image_rows, heads=heads, groups=[(0, len(heads) - 1, "class that the chain is guided toward")])


def paths(data: xr.Dataset, table: Table) -> Figure | None:
    """Two pairs side by side, a row for each family and kind of path."""
    names, half = classes_of(data, "end"), data.sizes["pair"]
    apart = [i for i in range(half) if names[i] != names[half + i]] or list(range(half))
    pairs = apart[:PAIRS]
    points = np.round(np.linspace(0, data.sizes["t"] - 1, min(POINTS, data.sizes["t"]))).astype(int)
    image_rows = []
    for family in in_order(data):
        for kind in figures.names(data, "path"):
            states = data.picture_path.sel(family=family, path=kind).transpose("pair", "t", ...).values
            images = [states[pair, t] for pair in pairs for t in points]
            above = 0.06 if kind == figures.names(data, "path")[0] and image_rows else 0.0
            image_rows.append(ImageRow(f"{style.look(family).label}, {kind}", style.look(family).color, images, above))
    steps = len(points)
    groups = [(i * steps, (i + 1) * steps - 1, f"{names[p]} to {names[half + p]}") for i, p in enumerate(pairs)]
    before = [0.12 if i and i % steps == 0 else 0.0 for i in range(len(pairs) * steps)]
    return image_grid(image_rows, groups=groups, before=before, margin=1.18)
