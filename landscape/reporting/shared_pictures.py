"""Pictures of `shared`: examples that fool many held-out members beside those that fool few, and what fools all."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from landscape.reporting import style
from landscape.reporting.shared_parts import GREY, INK
from landscape.reporting.sheet import Strip, sheet

MOST = 6  # pictures of each sort
IMAGE = ("height", "width", "channel")


def examples(data: xr.Dataset) -> Figure | None:
    """Adversarial examples of the first attacker by the number of held-out members that they fool."""
    shown = data.sizes["shown"]
    start = data["picture_start"].transpose("shown", *IMAGE).values
    found = data["picture"].transpose("shown", *IMAGE).values
    held = data["role"].values.astype(str) == "held_out"
    says = data["prediction"].isel(attack=0, source=0).transpose("target", "example").values[:, :shown]
    label = data["label"].values[:shown]
    right = np.all(
        data["clean_prediction"].transpose("target", "example").values[_learned(data)][:, :shown] == label, 0
    )
    fooled = (says[held] != label).sum(axis=0)
    index = np.flatnonzero(right & (says[0] != label))
    if not len(index):
        return None
    index = index[np.argsort(fooled[index], kind="stable")]
    few, many = index[:MOST], index[::-1][: min(MOST, len(index) - min(MOST, len(index) // 2))]
    few = few[: len(index) // 2] if len(index) < 2 * MOST else few
    order = [*few, *many]
    scale = float(np.abs(found - start)[order].max()) or 1.0
    names = data["class"].values.astype(str) if "class" in data.coords else None
    written = (lambda c: style.plain(names[c], limit=8)) if names is not None else str
    strips = [
        Strip("image", GREY, list(start[order]), texts=[written(label[i]) for i in order]),
        Strip("adversarial", INK, list(found[order]), texts=[written(says[0, i]) for i in order]),
        Strip(
            "difference",
            GREY,
            list(0.5 + 0.5 * (found - start)[order] / scale),
            texts=[f"{fooled[i]} of {held.sum()}" for i in order],
            right=f"±{scale:.2g}",
        ),
    ]
    groups = [(0, len(few) - 1, "fool fewest held-out members")] if len(few) else []
    groups.append((len(few), len(order) - 1, "fool most"))
    before = [0.15 if len(few) and i == len(few) else 0.0 for i in range(len(order))]
    return sheet(strips, groups=groups, before=before, margin=0.85, room=0.4)


def beside(data: xr.Dataset) -> Figure | None:
    """Examples of the first attacker beside those that all attackers guided, on the same images."""
    shown = min(data.sizes["shown"], data.sizes["shape_shown"])
    start, own = (data[n].transpose("shown", *IMAGE).values[:shown] for n in ("picture_start", "picture"))
    joint = data["shape_picture"].transpose("shape_shown", *IMAGE).values[:shown]
    wrong = data["shape_wrong"].isel(source=0).transpose("judge", "input", "shape_example").values[..., :shown]
    inputs = data["input"].values.astype(str).tolist()
    clean, alone, together = (wrong[:, inputs.index(name)].sum(axis=0) for name in ("clean", "own", "joint"))
    index = np.flatnonzero(clean == 0)
    index = index[np.argsort((alone - together)[index], kind="stable")][: 2 * MOST]
    if not len(index):
        return None
    deltas = [(found - start)[index] for found in (own, joint)]
    scale = max(float(np.abs(delta).max()) for delta in deltas) or 1.0
    grey = [list(0.5 + 0.5 * delta / scale) for delta in deltas]
    count = len(wrong)
    strips = [
        Strip("image", GREY, list(start[index])),
        Strip("of one", INK, list(own[index])),
        Strip("difference", GREY, grey[0], texts=[f"{alone[i]} of {count}" for i in index], right=f"±{scale:.2g}"),
        Strip("of all", INK, list(joint[index])),
        Strip("difference", GREY, grey[1], texts=[f"{together[i]} of {count}" for i in index], right=f"±{scale:.2g}"),
    ]
    return sheet(strips, margin=0.85, room=0.4)


def _learned(data: xr.Dataset) -> np.ndarray:
    return np.isin(data["role"].values.astype(str), ("attacker", "held_out"))


def universals(data: xr.Dataset) -> Figure | None:
    """The universal perturbations, a row a maker, a column a radius, each on its own scale."""
    found = data["universal"].transpose("made_by", "ball", *IMAGE).values
    radius = data["ball"].values.astype(float)
    strips = []
    for made_by, row in zip(data["made_by"].values.astype(str), found, strict=True):
        pictures = [0.5 + 0.5 * delta / r for delta, r in zip(row, radius, strict=True)]
        strips.append(Strip(made_by, INK, pictures, frames=["#bbbbbb"] * len(pictures)))
    return sheet(strips, heads=[f"±{r:g}" for r in radius], margin=0.95, cell=0.8)


def nearest(data: xr.Dataset) -> Figure | None:
    """The nearest image found that fools every attacker, beside its start; the radius beneath."""
    radius = data["smallest_radius"].values
    found = data["joint_picture"].transpose("joint_shown", *IMAGE).values
    start = data["picture_start"].transpose("shown", *IMAGE).values
    index = np.flatnonzero(
        np.isfinite(radius[: min(len(found), len(start))]) & (radius[: min(len(found), len(start))] > 0)
    )
    index = index[: 2 * MOST]
    if not len(index):
        return None
    strips = [
        Strip("image", GREY, list(start[index])),
        Strip("fools all", INK, list(found[index]), texts=[f"{radius[i]:.3f}" for i in index]),
    ]
    return sheet(strips, margin=0.75)
