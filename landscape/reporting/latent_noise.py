"""Figures of `latent`: unguided noise around embeddings, and draws of the fitted prior."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from landscape.reporting import plate, style
from landscape.reporting.latent_chains import BESIDE, decoded, pictured_radii, tests
from landscape.reporting.latent_parts import (
    DASHED,
    INK,
    families,
    family_key,
    family_rows,
    labels_of,
    look,
    mean,
    noise_by_radius,
    radius_axis,
    read,
)
from landscape.reporting.sheet import Strip, sheet

CURVES = (
    ("around_probability", "a  probability of class"),
    ("around_kept", "b  share with class"),
    ("around_moved", "c  distance (L2, pixels)"),
)
KINDS = (("gaussian", "-", "o"), ("shell", DASHED, ""))
PICTURED, DRAWS = 2, 6  # embeddings, draws of the prior


def noise(data: xr.Dataset) -> Figure | None:
    """Curves over the level of noise, a colour a family; right, how sure the classifier is of prior draws."""
    names = [f for f in families(data) if any(noise_by_radius(data, f"{name}.{f}") is not None for name, _ in CURVES)]
    if not names:
        return None
    figure, axes = style.panels(4, columns=4, height=1.75, left=0.5, top=0.48, gap=(0.42, 0.3), bottom=0.42)
    s = data["radius"].values
    order = np.argsort(s, kind="stable")
    for one, (name, title) in zip(axes, CURVES, strict=False):
        for family in names:
            for kind, line, marker in KINDS:
                values = noise_by_radius(data, f"{name}.{family}", kind)
                if values is not None:
                    drawn = {
                        "linestyle": line,
                        "marker": marker or ("_" if len(s) == 1 else ""),
                        "linewidth": 1.0,
                        "markersize": 2,
                    }
                    one.plot(s[order], mean(values, 0)[order], color=look(family).color, **drawn)
        radius_axis(one, s)
        one.set(title=title, xlabel="size s (white units)")
        one.grid(axis="y")
        one.set_ylim(*((0, None) if name == "around_moved" else (-0.02, 1.02)))
    _draws(axes[3], data, names)
    handles, labels = family_key(names)
    kinds = [Line2D([], [], color="#555555", linestyle=line, marker=marker, markersize=2) for _, line, marker in KINDS]
    style.legend_above(figure, handles + kinds, [*labels, "Gaussian", "shell"], columns=10)
    return figure


def _draws(axes: Axes, data: xr.Dataset, names: list[str]) -> None:
    """Largest class probability of decoded draws: thin 5 to 95 %, thick 25 to 75 %, tick the median."""
    for y, family in enumerate(names):
        values = read(data, f"prior_confidence.{family}", "member")
        if values is not None:
            ends = np.nanpercentile(values, (5, 25, 50, 75, 95))
            axes.plot(ends[[0, 4]], [y, y], color=look(family).color, linewidth=1.0)
            axes.plot(ends[[1, 3]], [y, y], color=look(family).color, linewidth=4.0, solid_capstyle="butt")
            axes.plot(ends[2], y, "|", color=INK, markersize=8)
    family_rows(axes, names)
    axes.set(title="d  draws of the prior", xlabel="largest probability", xlim=(0, 1))
    axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])


def pictures(data: xr.Dataset) -> Figure | None:
    """A row a family: two embeddings under growing noise, and draws of the fitted prior."""
    kinds, radii, rows = plate.names(data, "around"), pictured_radii(data), []
    if "gaussian" not in kinds:
        return None
    originals = tests(data)
    count = min(PICTURED, data.sizes["start"])
    for family in families(data):
        noisy = read(data, f"picture_around.{family}", "around", "start", "radius", "height", "width", "channel")
        draws = read(data, f"picture_prior.{family}", "shown_draw", "height", "width", "channel")
        if noisy is None and draws is None:
            continue
        back, images = decoded(data, family), []
        for row, image in enumerate(data["start"].values[:count].tolist()):
            images += [originals.get(image), back.get(image)]
            images += [None if noisy is None else noisy[kinds.index("gaussian"), row, r] for r in radii]
        images += [None] * DRAWS if draws is None else list(draws[:DRAWS])
        rows.append(Strip(look(family).label, look(family).color, images))
    each = 2 + len(radii)
    labels, s = labels_of(data, "start"), data["radius"].values
    groups = [(i * each, (i + 1) * each - 1, f"{labels[i]}, under noise of size s") for i in range(count)]
    heads = [*(["test", "s = 0"] + [f"{s[r]:.3g}" for r in radii]) * count]
    before = [BESIDE if i and i % each == 0 else 0.0 for i in range(count * each)] + [BESIDE]
    shown = max((len(strip.images) for strip in rows), default=0) - count * each
    if shown > 0:
        groups.append((count * each, count * each + shown - 1, "draws of the prior"))
    return sheet(rows, groups=groups, heads=heads, before=before) if rows else None
