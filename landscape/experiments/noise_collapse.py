"""Is flatness at the end of a noisy search a function of eta / M? The grid of `noise_grid` in numbers.

Three looks at the scale-free drop of every cell (eta, M), all with an interval:

- **fits**, at each radius: a quadratic in log(eta / M), in log eta, in log M, and a quadratic surface in both; told is
  the share of the variance between cells that each explains, plain and adjusted for its number of parameters,
  1 - (1 - R^2) (C - 1) / (C - P). If eta / M is all that matters, it explains what both explain.
- **control**: eta / M also fixes the way gone, so that what it explains with noise is told less what it explains
  without, at radius 0.
- **slopes**, without any fit of a shape: the change of the drop for a doubling of M between cells of equal eta / M,
  which is 0 if eta / M is all that matters, beside that for a doubling of eta / M between cells of equal M.

Eta / M can only matter while the walk is free: told is the share of coordinates at the boundary, for every cell.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from landscape.stats import influence
from landscape.stats.claims import estimate_dict
from landscape.stats.intervals import Interval, interval, of_share
from landscape.stats.resampling import crossed_bootstrap
from landscape.types import Arrays

BY = ("eta/M", "eta", "M", "both")
LESS = ("eta/M - both", "eta/M - eta")
CONTROL = "radius 0"
ALONG = ("M at equal eta/M", "eta/M at equal M")
NUM_RESAMPLES = 400  # places the ends of an interval to about 7 % of its width
LEAST = 5
SMALLEST = 0.1  # share of the variance: eta / M explains what both explain if it lacks less
STUCK = 0.5  # share of the coordinates at the boundary beyond which eta / M can hardly matter


class Grid(NamedTuple):
    """The grid on its images: drop, margin, boundary [C, S, N] and the cells' eta, draws, radius [C]."""

    drop: np.ndarray
    margin: np.ndarray
    boundary: np.ndarray
    eta: np.ndarray
    draws: np.ndarray
    radius: np.ndarray


def grid_of(arrays: Arrays) -> Grid:
    """The grid's arrays, cut to the images that all sources classify rightly."""
    common = arrays["grid_right"][1].all(axis=0)
    values = (arrays[f"grid_{name}"][1][..., common].astype(np.float64) for name in ("drop", "margin", "boundary"))
    return Grid(*values, *(arrays[f"grid_{name}"][1].astype(np.float64) for name in ("eta", "draws", "radius")))


# ---- fits ----


def features(by: str, eta: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Columns of the fit, [C, P]."""
    a, b = np.log(eta), np.log(draws)
    if by == "both":
        return np.stack([np.ones_like(a), a, b, a * a, a * b, b * b], axis=1)
    u = {"eta/M": a - b, "eta": a, "M": b}[by]
    return np.stack([np.ones_like(u), u, u * u], axis=1)


def explained(values: np.ndarray, columns: np.ndarray) -> tuple[float, float]:
    """(share of the variance of values [C] that least squares on columns [C, P] explains, the same adjusted).

    Both NaN without variance, the adjusted one where no degree of freedom is left too.
    """
    centred = values - values.mean()
    total = centred @ centred
    if total <= 1e-12 * max(float(values @ values), 1e-30):
        return float("nan"), float("nan")
    weights, _, rank, _ = np.linalg.lstsq(columns, values, rcond=None)
    left = float(np.square(values - columns @ weights).sum() / total)
    free = len(values) - rank
    return 1 - left, 1 - left * (len(values) - 1) / free if free > 0 else float("nan")


def cell_flatness(drop: np.ndarray, margin: np.ndarray, members: np.ndarray, examples: np.ndarray) -> np.ndarray:
    """Scale-free drop of every cell [C] from drop, margin [C, S, N] under weights [S], [N]: mean of members' ratios."""
    ratios = (drop @ examples) / (margin @ examples)
    return ratios @ members / members.sum()


def shares(grid: Grid, radii: Sequence[float], members: np.ndarray, examples: np.ndarray) -> np.ndarray:
    """Shares explained at every radius, [R, 2, BY + LESS]: plain and adjusted."""
    flat = cell_flatness(grid.drop, grid.margin, members, examples)
    found = []
    for level in radii:
        at = grid.radius == level
        each = np.array([explained(flat[at], features(by, grid.eta[at], grid.draws[at])) for by in BY]).T
        less = [each[:, 0] - each[:, BY.index(name.removeprefix("eta/M - "))] for name in LESS]
        found.append(np.column_stack([each, *less]))
    return np.asarray(found)


def fits(grid: Grid, radii: Sequence[float], seed: int) -> tuple[list[dict], np.ndarray]:
    """(estimates of the fits and of their control, plain shares [3, R, BY] with their ends)."""
    drawn = np.full((3, len(radii), len(BY)), np.nan)
    ones = np.ones(grid.drop.shape[1]), np.ones(grid.drop.shape[2])
    varying = [i for i, share in enumerate(shares(grid, radii, *ones)) if np.isfinite(share).all()]
    control = [varying.index(i) for i in varying if radii[i] == 0]
    if not varying:  # all cells alike, as where no step moves anything
        return [], drawn
    levels = [radii[i] for i in varying]

    def statistic(members, examples):
        each = shares(grid, levels, members, examples)
        return np.stack([each, each - each[control[0]]]) if control else each[None]

    try:
        told = crossed_bootstrap(statistic, *grid.drop.shape[1:], num_resamples=NUM_RESAMPLES, seed=seed)
    except ValueError:  # too few images: some resamples leave cells alike
        return [], drawn
    found = []
    for r, level in enumerate(levels):
        for a, name in enumerate(("agreement.collapse", "agreement.collapse_adjusted")):
            for b, by in enumerate((*BY, *LESS)):
                about = {"by": by, "radius": float(level), "cells": int(np.sum(grid.radius == level))}
                one = _part(told, (0, r, a, b), share=a == 0 and b < len(BY))
                shown = level == levels[-1] and (a, by) in ((0, "eta/M"), (1, LESS[0]))  # what `answer` reads
                found.append(_entry(one, name, about, headline=shown))
                if a == 0 and b < len(BY):
                    drawn[:, varying[r], b] = one.value, one.low, one.high
                if control and level > 0:
                    less = _part(told, (1, r, a, b), share=False)
                    shown = level == levels[-1] and (a, by) == (0, "eta/M")
                    found.append(_entry(less, name, about | {"reference": CONTROL}, headline=shown))
    return found, drawn


def _part(told: Interval, at: tuple[int, ...], *, share: bool) -> Interval:
    """One of an array of statistics, with its value inside the interval; a share is cut to [0, 1].

    Noise between cells is fitted as well, and resamples have more of it: where cells hardly differ, all of their shares
    may lie above that of the data.
    """
    value, low, high, sem = (float(x[at]) for x in (told.value, told.low, told.high, told.sem))
    low, high = min(low, value), max(high, value)
    if share:
        low, high = float(np.clip(low, 0, 1)), float(np.clip(high, 0, 1))
    return told._replace(value=value, low=low, high=high, sem=sem)


def _entry(one: Interval, name: str, about: dict, *, headline: bool = False) -> dict:
    entry = estimate_dict(one, name, population="noisy", unit="1", **about, search="pixels")
    return entry | ({"headline": True} if headline else {})


# ---- slopes ----


def slope_weights(along: str, eta: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Weights [C] of the least-squares slope along log2 of M or of eta, with a mean of its own for each group of cells.

    Groups are of equal eta / M, along M, or of equal M, along eta (which is along eta / M there). All 0 where no group
    has two cells.
    """
    group, x = (eta / draws, draws) if along == ALONG[0] else (draws, eta)
    group = np.round(np.log2(group), 6)
    x = np.log2(x)
    centred = x - np.array([x[group == g].mean() for g in group])
    total = centred @ centred
    return centred / total if total > 0 else centred


def slopes(grid: Grid, radii: Sequence[float]) -> list[dict]:
    """Change of the scale-free drop per doubling, at each radius and less that at radius 0."""
    everything = np.ones(grid.drop.shape[1:], bool)
    u = np.stack([influence.ratio(d, m, everything) for d, m in zip(grid.drop, grid.margin, strict=True)])
    found = []
    for along in ALONG:
        of = {}
        for level in radii:
            at = grid.radius == level
            weights = slope_weights(along, grid.eta[at], grid.draws[at])
            if not weights.any():
                continue
            of[level] = np.tensordot(weights, u[at], 1)
            about = {"along": along, "radius": float(level)}
            name = "input_flatness.scale_free_per_doubling"
            found.append(_entry(interval(of[level]), name, about))
            if level > 0 and 0.0 in of:
                found.append(_entry(interval(of[level] - of[0.0]), name, about | {"reference": CONTROL}))
    return found


# ---- all of it ----


def estimates(seed: int, arrays: Arrays) -> tuple[list[dict], Arrays]:
    """(estimates, arrays for the figure) of the grid."""
    grid = grid_of(arrays)
    radii = np.unique(grid.radius).tolist()
    found, drawn = [], np.full((3, len(radii), len(BY)), np.nan)
    flat, stuck = np.full(len(grid.eta), np.nan), np.zeros(len(grid.eta), bool)
    if grid.drop.shape[-1] >= LEAST:
        flat = cell_flatness(grid.drop, grid.margin, np.ones(grid.drop.shape[1]), np.ones(grid.drop.shape[2]))
        stuck = is_stuck(grid)
        found, drawn = fits(grid, radii, seed)
        found += slopes(grid, radii)
        for c, values in enumerate(grid.boundary):
            about = {"eta": float(grid.eta[c]), "draws": int(grid.draws[c]), "radius": float(grid.radius[c])}
            found.append(_entry(of_share(interval(values), values.shape[1]), "attack.at_boundary", about))
    lines: Arrays = {"grid_flatness": (("grid_cell",), flat), "grid_stuck": (("grid_cell",), stuck)}
    for name, value in zip(("collapse", "collapse_low", "collapse_high"), drawn, strict=True):
        lines[name] = (("grid_radius_level", "by"), value)
    return found, lines | {"grid_radius_value": (("grid_radius_level",), np.asarray(radii))}


def is_stuck(grid: Grid) -> np.ndarray:
    """Whether most coordinates end at the boundary, [cells]: there eta / M can hardly matter."""
    return grid.boundary.mean(axis=(1, 2)) > STUCK


def check(grid: Grid) -> dict:
    """Whether walks of most cells with noise are free to move, by the share of coordinates at the boundary."""
    if not grid.boundary.shape[-1]:
        return {"name": "grid.free", "passed": False, "detail": "no image is classified rightly by all sources"}
    share = grid.boundary.mean(axis=(1, 2))[grid.radius > 0]
    beyond = float(is_stuck(grid)[grid.radius > 0].mean())
    detail = f"with noise {100 * share.min():.0f} to {100 * share.max():.0f} % of the coordinates end at the boundary, "
    detail += f"in {100 * beyond:.0f} % of the cells more than half of them"
    return {"name": "grid.free", "passed": beyond < 0.5, "detail": detail}


def sentence(estimates: Sequence[dict]) -> str:
    """Whether flatness is a function of eta / M, at the largest radius; nothing where it could not be judged."""
    radii = sorted({e["radius"] for e in estimates if e["name"] == "agreement.collapse"})
    if not radii or radii[-1] == 0:
        return ""

    def of(name: str, **about) -> dict | None:
        about = {"name": name, "radius": radii[-1], "reference": None, **about}
        return next((e for e in estimates if all(e.get(key) == value for key, value in about.items())), None)

    lacking = of("agreement.collapse_adjusted", by=LESS[0])
    return f" {answer(lacking, of('agreement.collapse', by='eta/M', reference=CONTROL))}."


def answer(lacking: dict, beyond: dict | None) -> str:
    """The answer: eta / M must lack little of what both explain, and explain more than it does without noise.

    lacking: the adjusted share of eta / M less that of both. beyond: the share of eta / M less that at radius 0.
    """
    if lacking["high"] < -SMALLEST:
        return "Flatness is no function of eta / M alone"
    if lacking["low"] > -SMALLEST and beyond is not None and beyond["low"] > 0:
        return "Flatness is a function of eta / M, more than without noise"
    if lacking["low"] > -SMALLEST and beyond is not None and beyond["high"] < SMALLEST:
        return "Flatness is a function of eta / M no more than without noise"
    return "Whether flatness is a function of eta / M is left open"
