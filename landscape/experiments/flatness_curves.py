"""The curves of a flatness run, with pointwise and simultaneous intervals: what the figures draw."""

import numpy as np

from landscape.experiments.flatness_contrasts import LEAST_CARRIED, Cells, Contrast, matching_of, mean
from landscape.stats.bands import simultaneous
from landscape.types import Arrays

CURVE_CELLS = ("genuine", "natural_error", "boosted", "adversarial", "noise")  # noise: of the attack's own norm
CONTROLS = ("untrained", "shuffled")  # members that learned nothing, or labels drawn at random
READINGS = ("raw", "iso", "scale_free")


def first_kind(coords: Arrays) -> int:
    """Index of the noise that is drawn: additive, or the first there is."""
    kinds = coords["noise"][1].tolist()
    return kinds.index("additive") if "additive" in kinds else 0


def _curve(contrasts: list[Contrast | None]) -> np.ndarray:
    """[5, L]: value, low, high, band_low, band_high; NaN where a cell is empty."""
    if any(c is None for c in contrasts):
        return np.full((5, len(contrasts)), np.nan)
    band = simultaneous(np.stack([c.u for c in contrasts]))
    ends = np.stack([band.low, band.high, band.band_low, band.band_high])
    ends[:, [c.carried < LEAST_CARRIED for c in contrasts]] = np.nan
    return np.concatenate([band.value[None], ends])


def curves(cells: Cells, controls: dict[str, Cells], coords: Arrays) -> Arrays:
    """The main figure: every cell of the 2 x 2, equal-norm noise and the control members, in three readings."""
    names = _names(cells)
    levels = range(len(coords["r"][1]))
    out = np.full((5, len(READINGS), len(names), len(levels)), np.nan)
    k = first_kind(coords)
    paired = _over_common_images(cells, "adversarial_iso", "boosted_iso")
    for i, reading in enumerate(READINGS):
        measure = "input_scale_free" if reading == "scale_free" else "input_probability_drop"
        for j, name in enumerate(names):
            if reading == "iso" and name not in ("boosted", "adversarial"):
                continue
            source, population = (controls[name], "genuine") if name in CONTROLS else (cells, _population(cells, name))
            if reading == "iso":
                source, population = paired, f"{population}_iso"
            out[:, i, j] = _curve([mean(source, measure, population, (k, level)) for level in levels])
    suffixes = ("", "_low", "_high", "_band_low", "_band_high")
    dims = ("reading", "cell", "sigma")
    coords_new: Arrays = {"reading": (("reading",), np.asarray(READINGS)), "cell": (("cell",), np.asarray(names))}
    return coords_new | {f"curve{s}": (dims, out[q].astype(np.float32)) for q, s in enumerate(suffixes)}


def _names(cells: Cells) -> tuple[str, ...]:
    """The lines of the main figure; a user's inputs are one where there are any."""
    return (*CURVE_CELLS, *CONTROLS, *(("user",) if cells.user is not None else ()))


def _over_common_images(cells: Cells, *names: str) -> Cells:
    """The cells with populations cut to the images that are valid in all of them, as their difference is."""
    at = [cells.names.index(name) for name in names]
    valid = cells.valid.copy()
    valid[:, at] = valid[:, at].all(axis=1, keepdims=True)
    return cells._replace(valid=valid)


def _population(cells: Cells, cell: str) -> str:
    return cells.noise if cell == "noise" else cell


def _by_cell(cells: Cells, fn, coords_like: tuple[int, ...]) -> np.ndarray:
    """fn(population) for every cell of the curves; NaN for the rest, which other pictures do not show."""
    told = [fn(_population(cells, name)) for name in CURVE_CELLS]
    rest = len(_names(cells)) - len(told)
    return np.stack([*told, *[np.full(coords_like, np.nan)] * rest]).astype(np.float32)


def _mean_of_members(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Mean over members of each one's mean over its own examples, as estimates are: [L, S, N] -> [L]; NaN for none."""
    kept = np.flatnonzero(mask.any(axis=1))
    if kept.size == 0:
        return np.full(values.shape[0], np.nan)
    return np.mean([values[:, s, mask[s]].mean(axis=1) for s in kept], axis=0)


def class_curve(cells: Cells, label: np.ndarray, coords: Arrays) -> Arrays:
    """Mean fall of the probability by true class; label [S, N]."""
    k = first_kind(coords)
    num_levels, num_classes = len(coords["r"][1]), len(coords["class"][1])

    def by_class(population: str) -> np.ndarray:
        drop = cells.values["input_probability_drop"][k][:, :, cells.names.index(population)]
        out = np.empty((num_classes, num_levels))
        for c in range(num_classes):
            out[c] = _mean_of_members(drop, cells.mask(population) & (label == c))
        return out

    return {"class_curve": (("cell", "class", "sigma"), _by_cell(cells, by_class, (num_classes, num_levels)))}


def shares(cells: Cells, coords: Arrays) -> Arrays:
    """Shares of noise draws that keep the tracked class, return to the true one, or go elsewhere."""
    k = first_kind(coords)

    def share(name: str):
        def of(population: str) -> np.ndarray:
            values = cells.values[name][k][:, :, cells.names.index(population)]
            return _mean_of_members(values, cells.mask(population))

        return _by_cell(cells, of, (len(coords["r"][1]),))

    kept, returned = share("input_kept"), share("input_returned")
    parts = {"share_kept": kept, "share_returned": returned, "share_elsewhere": np.clip(1 - kept - returned, 0, 1)}
    return {name: (("cell", "sigma"), value.astype(np.float32)) for name, value in parts.items()}


def noise_curve(cells: Cells, coords: Arrays) -> Arrays:
    """Mean fall of the probability under every kind of input noise, with pointwise intervals."""
    return _kinds(cells, "input_probability_drop", coords, "noise_curve", ("noise", "sigma"))


def weight_curve(cells: Cells, coords: Arrays) -> Arrays:
    """Mean fall of the probability under every kind of weight noise, with pointwise intervals."""
    return _kinds(cells, "weight_probability_drop", coords, "weight_curve", ("weight_noise", "xi"))


def _kinds(cells: Cells, measure: str, coords: Arrays, told: str, dims: tuple[str, str]) -> Arrays:
    """`told`, `told`_low, `told`_high [kind, cell, level]: means of a measure saved as [kind, level, ...]."""
    shape = (len(coords[dims[0]][1]), len(coords["r" if dims[1] == "sigma" else dims[1]][1]))

    def curve(population: str) -> np.ndarray:
        rows = [
            _curve([mean(cells, measure, population, (k, level)) for level in range(shape[1])])[:3]
            for k in range(shape[0])
        ]
        return np.stack(rows, axis=1)  # [3, kind, level]

    values = np.moveaxis(_by_cell(cells, curve, (3, *shape)), 1, 0)  # [3, cell, kind, level]
    cell = {"cell": (("cell",), np.asarray(_names(cells)))}
    named = zip((told, f"{told}_low", f"{told}_high"), values, strict=True)
    return cell | {name: ((dims[0], "cell", dims[1]), np.swapaxes(value, 0, 1)) for name, value in named}


def match_quality(cells: Cells) -> Arrays:
    """How good the match of adversarial with genuine inputs is, [member]."""
    found = matching_of(cells, "adversarial", "genuine")
    if found is None:
        return {}
    parts = {"match_share": found.share_kept, "match_smd_before": found.smd_before, "match_smd_after": found.smd_after}
    return {name: (("distinct",), np.asarray(value, np.float32)) for name, value in parts.items()}
