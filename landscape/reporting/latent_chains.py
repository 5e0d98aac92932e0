"""Figures of `latent`: guided chains around embeddings, as pictures and as curves over their reach s."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from landscape.presets.names import CODED
from landscape.reporting import plate, style
from landscape.reporting.latent_parts import (
    DASHED,
    GREY,
    by_radius,
    curve,
    families,
    kernel_look,
    labels_of,
    look,
    noise_by_radius,
    radius_axis,
    read,
    samplers,
    shaded,
)
from landscape.reporting.sheet import MARGIN, Strip, sheet

EMBEDDINGS, MOST_RADII = 6, 4  # of pictures
BESIDE = 0.09  # inches between groups of pictures
LINES = ("guided, own classifier", "guided, next seed's", "noise, own classifier", "noise, next seed's")


def main_family(data: xr.Dataset) -> str | None:
    """`vae` where its chains were run, else the first family with real latents, else the first one."""
    run = [family for family in families(data) if samplers(data, family)]
    real = [family for family in run if family not in CODED]
    return "vae" if "vae" in run else next(iter(real or run), None)


# ---- pictures ----


def strips(data: xr.Dataset, family: str, radii: list[int], frames: tuple[int, ...], noise: bool, name=None):
    """(strips, one an embedding; heads; widths left before columns; groups) of the first sampler's chains.

    Columns: test image, its reconstruction where a path starts at it, and for each radius some states of the first
    chain, with one of unguided noise.
    """
    kernel = samplers(data, family)[0]
    states = read(
        data, f"picture_local.{family}.{kernel}", "start", "radius", "shown_frame", "height", "width", "channel"
    )
    if states is None:
        return None
    frames = [frame for frame in frames if frame < states.shape[2]] or [states.shape[2] - 1]
    noisy = read(data, f"picture_around.{family}", "around", "start", "radius", "height", "width", "channel")
    kinds = plate.names(data, "around")
    noisy = noisy[kinds.index("gaussian")] if noise and noisy is not None and "gaussian" in kinds else None
    originals, back = tests(data), decoded(data, family)
    found = []
    labels = labels_of(data, "start")
    for row, image in enumerate(data["start"].values.tolist()):
        images = [originals.get(image), back.get(image)]
        for r in radii:
            images += [states[row, r, frame] for frame in frames]
            images += [noisy[row, r]] if noisy is not None else []
        found.append(Strip(name or labels[row], "#333333", images))
    each = len(frames) + (noisy is not None)
    heads = ["test", "decoded"] + [*["guided"] * len(frames), *["noise"] * (noisy is not None)] * len(radii)
    before = [0.0, 0.0] + [BESIDE if i % each == 0 else 0.0 for i in range(each * len(radii))]
    s = data["radius"].values
    groups = [(2 + i * each, 1 + (i + 1) * each, f"s = {s[r]:.3g}") for i, r in enumerate(radii)]
    return found, heads, before, groups


def tests(data: xr.Dataset) -> dict[int, np.ndarray]:
    pictures = read(data, "picture", "end", "height", "width", "channel")
    return {} if pictures is None else dict(zip(data["end"].values.tolist(), pictures, strict=True))


def decoded(data: xr.Dataset, family: str) -> dict[int, np.ndarray]:
    """Reconstructions by image id: the beginnings of paths."""
    pictures = read(data, f"picture_path.{family}", "path", "t", "couple", "height", "width", "channel")
    return {} if pictures is None else dict(zip(data["end"].values.tolist(), pictures[0, 0], strict=False))


def pictured_radii(data: xr.Dataset) -> list[int]:
    """Rows along "radius" that pictures are shown of, rising."""
    order = np.argsort(data["radius"].values, kind="stable")
    count = min(len(order), MOST_RADII)
    return order[np.round(np.linspace(0, len(order) - 1, count)).astype(int)].tolist()


def pictures(data: xr.Dataset) -> Figure | None:
    """The same for the other families: two embeddings each, the same ones in all."""
    rows: list[Strip] = []
    for family in families(data):
        if family == main_family(data) or not samplers(data, family):
            continue
        told = strips(data, family, pictured_radii(data), (2, 5), True)
        if told is not None:
            some, heads, before, groups = told
            for i, strip in enumerate(some[:2]):
                named = strip._replace(name=look(family).label if i == 0 else "", color=look(family).color)
                rows.append(named._replace(above=0.06 if i == 0 and rows else 0.0))
    return sheet(rows, groups=groups, heads=heads, before=before, width=style.PAGE) if rows else None


# ---- the main figure ----


def chains(data: xr.Dataset, *, width: float = style.PAGE) -> Figure | None:
    """Pictures of guided chains of one family, and beneath them the class's probability and acceptance against s."""
    family = main_family(data)
    if family is None or by_radius(data, f"local_probability.{family}.{samplers(data, family)[0]}") is None:
        return None
    narrow = width < style.PAGE
    told = strips(data, family, pictured_radii(data), (5,) if narrow else (2, 5), not narrow)
    below = 4.45 if narrow else 2.25
    if told is None:
        figure = Figure(figsize=(width, below))
    else:
        some, heads, before, groups = told
        some = [strip._replace(name=style.plain(strip.name, limit=6 if narrow else 10)) for strip in some]
        count = 4 if narrow else EMBEDDINGS
        shown = {"groups": groups, "heads": heads, "before": before, "width": width, "below": below}
        figure = sheet(some[:count], margin=0.48 if narrow else MARGIN, **shown)
    boxes = ((2.6, 1.3), (0.4, 1.3)) if narrow else ((0.42, 1.3), (0.42, 1.3))
    height, left = figure.get_figheight(), 0.55
    across = width - left - 0.12 if narrow else (width - left - 0.75) / 2
    for i, (bottom, tall) in enumerate(boxes):
        x = left if narrow or i == 0 else left + across + 0.63
        axes = figure.add_axes((x / width, bottom / height, across / width, tall / height))
        (probability if i == 0 else _acceptance)(axes, data, family)
        axes.set_xlabel("reach s of chains, size s of noise (white units)" if i == 0 else "reach s (white units)")
    handles = key(look(family).color)
    place = {"loc": "lower left", "bbox_to_anchor": (-0.02, 1.0), "handletextpad": 0.5, "columnspacing": 1.2}
    place |= {"fontsize": 6.5} if narrow else {}
    figure.axes[-2].legend(handles, LINES, ncols=2, **place)
    figure.axes[-1].legend(ncols=3, **place)
    return figure


def key(color: str) -> list[Line2D]:
    pairs = ((color, "-"), (color, DASHED), (GREY, "-"), (GREY, DASHED))
    faces = [{"markerfacecolor": "white" if line != "-" else c} for c, line in pairs]
    how = {"marker": "o", "markersize": 3.2, "linewidth": 1.2}
    return [
        Line2D([], [], color=c, linestyle=line, **how, **face) for (c, line), face in zip(pairs, faces, strict=True)
    ]


def probability(axes: Axes, data: xr.Dataset, family: str) -> None:
    """Probability of the own class: guided chains and unguided noise, by own and next seed's classifier."""
    s, color, kernel = data["radius"].values, look(family).color, samplers(data, family)[0]
    order = np.argsort(s, kind="stable")
    for quantity, line in (("probability", "-"), ("held_out", DASHED)):
        for values, shown in (
            (noise_by_radius(data, f"around_{quantity}.{family}"), GREY),
            (by_radius(data, f"local_{quantity}.{family}.{kernel}"), color),
        ):
            if values is not None:
                face = shown if line == "-" else "white"
                curve(axes, s[order], values[:, order], shown, linestyle=line, markerfacecolor=face)
    radius_axis(axes, s)
    axes.set_ylim(-0.02, 1.02)
    axes.set_ylabel("probability of own class")
    axes.grid(axis="y")


def _acceptance(axes: Axes, data: xr.Dataset, family: str) -> None:
    s = data["radius"].values
    order = np.argsort(s, kind="stable")
    for kernel in samplers(data, family):
        values, k = by_radius(data, f"local_acceptance.{family}.{kernel}"), kernel_look(kernel)
        if values is not None:
            drawn = {"linestyle": k.line, "marker": k.marker, "label": k.label}
            curve(axes, s[order], values[:, order], shaded(look(family).color, k.shade), **drawn)
    radius_axis(axes, s)
    axes.set_ylim(-0.02, 1.02)
    axes.set_ylabel("acceptance")
    axes.grid(axis="y")


def chains_narrow(data: xr.Dataset) -> Figure | None:
    return chains(data, width=style.COLUMN)


def chains_table(data: xr.Dataset) -> list[tuple]:
    """A row a family, sampler, s and member: means over embeddings and chains; R-hat is the worst embedding's."""
    columns = ("probability", "held_out", "drift", "moved", "acceptance", "rhat", "ess")
    rows: list[tuple] = [
        ("family", "sampler", "s", "member", *columns[:-2], "rhat_worst", "ess", "noise_probability", "noise_held_out")
    ]
    s, members = data["radius"].values, data.sizes["member"]
    for family in families(data):
        noise = [noise_by_radius(data, f"around_{name}.{family}") for name in ("probability", "held_out")]
        for kernel in samplers(data, family):
            told = [by_radius(data, f"local_{name}.{family}.{kernel}") for name in columns]
            rhat = read(data, f"local_rhat.{family}.{kernel}", "member", "radius")
            if rhat is not None:
                # Chains that never moved have no R-hat: nothing is worse.
                worst = np.where(np.isfinite(rhat), rhat, np.inf).reshape(*rhat.shape[:2], -1).max(axis=-1)
                told[columns.index("rhat")] = worst
            for r in np.argsort(s, kind="stable"):
                for m in range(members):
                    cells = (np.nan if values is None else values[m, r] for values in (*told, *noise))
                    rows.append((family, kernel, s[r], m, *cells))
    return rows


# ---- all families ----


def guided(data: xr.Dataset) -> Figure | None:
    """The class's probability against s, a panel a family."""
    shown = [f for f in families(data) if samplers(data, f)]
    shown = [f for f in shown if by_radius(data, f"local_probability.{f}.{samplers(data, f)[0]}") is not None]
    if not shown:
        return None
    figure, axes = style.panels(len(shown), columns=5, height=1.15, top=0.45, gap=(0.12, 0.4), sharey=True)
    for i, (one, family) in enumerate(zip(axes, shown, strict=True)):
        probability(one, data, family)
        one.set_title(f"{look(family).label}, {kernel_look(samplers(data, family)[0]).label}")
        one.set_ylabel("")
        one.tick_params(axis="y", labelleft=i % 5 == 0)
    style.shared_labels(figure, "reach s of chains, size s of noise (white units)", "probability of own class")
    handles = key("#333333")
    style.legend_above(figure, handles, list(LINES), columns=4)
    return figure
