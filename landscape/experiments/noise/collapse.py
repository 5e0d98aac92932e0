"""Is flatness at the end of a noisy search a function of eta / M? The grid in numbers.

Three looks at the scale-free drop at every point (eta, M) of the grid:

- **fits**, at each radius: a quadratic in log(eta / M), in log eta, in log M, and a quadratic surface in both. Reported
  is the share of the variance between points that each explains, plain and adjusted for its number of parameters,
  1 - (1 - R^2) (C - 1) / (C - P). If eta / M is all that matters, it explains what both explain.
- **control**: eta / M also fixes the distance covered, so that what it explains with noise is reported less what it
  explains without, at radius 0.
- **slopes**, without any fit of a shape: the change of the drop for a doubling of M between points of equal eta / M,
  which is 0 if eta / M is all that matters, beside that for a doubling of eta / M between points of equal M.

Eta / M can only matter while the search is free to move: the share of coordinates at the boundary is checked.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from landscape.experiments.base import Check
from landscape.experiments.noise import POINT
from landscape.experiments.noise.config import NO_NOISE
from landscape.stats import influence
from landscape.stats.claims import estimate_dict
from landscape.stats.intervals import Interval, interval
from landscape.stats.resampling import crossed_bootstrap
from landscape.stats.table import Row, Table

if TYPE_CHECKING:
    import xarray as xr  # imported where it is used: half a second

BY = ("eta/M", "eta", "M", "both")
LESS = ("eta/M - both", "eta/M - eta")
ALONG = ("M at equal eta/M", "eta/M at equal M")
SHARE, ADJUSTED = "agreement.collapse", "agreement.collapse_adjusted"
NUM_RESAMPLES = 400  # places the ends of an interval to about 7 % of its width
LEAST = 5  # images
SMALLEST = 0.1  # share of the variance: eta / M explains what both explain if it lacks less
STUCK = 0.5  # share of the coordinates at the boundary beyond which eta / M can hardly matter


class Grid(NamedTuple):
    """The grid at one radius: drop and margin [C, S, N] at its points, and their eta and draws [C]."""

    drop: np.ndarray
    margin: np.ndarray
    eta: np.ndarray
    draws: np.ndarray


def grids_of(data: "xr.Dataset") -> dict[float, Grid]:
    """The grid at each radius, on the images that all sources classify rightly."""
    common = data.grid_right.astype(bool).all("member").values
    data = data.stack(point=POINT[1:]).transpose("grid_radius", "point", "member", "example", ...)
    drop, margin = (data[name].values[..., common].astype(np.float64) for name in ("grid_margin_drop", "grid_margin"))
    eta, draws = (data[name].values.astype(np.float64) for name in ("eta", "draws"))
    radii = data.grid_radius.values.tolist()
    return {radius: Grid(*values, eta, draws) for radius, *values in zip(radii, drop, margin, strict=True)}


def estimates(data: "xr.Dataset", seed: int) -> Table:
    """The rows of fits and slopes; none where too few images are common."""
    grids = grids_of(data)
    if next(iter(grids.values())).drop.shape[-1] < LEAST:
        return Table()
    return Table((*fits(grids, seed), *slopes(grids)))


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


def shares(grid: Grid, members: np.ndarray, examples: np.ndarray) -> np.ndarray:
    """Shares explained under weights [S], [N], [2, BY + LESS]: plain and adjusted.

    What is explained is the scale-free drop at every point: the mean over members of their ratios of sums.
    """
    ratios = (grid.drop @ examples) / (grid.margin @ examples)
    flat = ratios @ members / members.sum()
    each = np.array([explained(flat, features(by, grid.eta, grid.draws)) for by in BY]).T
    less = [each[:, 0] - each[:, BY.index(name.removeprefix("eta/M - "))] for name in LESS]
    return np.column_stack([each, *less])


def fits(grids: dict[float, Grid], seed: int) -> Iterator[Row]:
    """Rows of the fits at each radius, and of their control; nothing where all points are alike."""
    shape = next(iter(grids.values())).drop.shape[1:]
    ones = [np.ones(count) for count in shape]
    varying = {radius: grid for radius, grid in grids.items() if np.isfinite(shares(grid, *ones)).all()}
    if not varying:  # as where no step moves anything
        return
    control = [*varying].index(0.0) if 0.0 in varying else None

    def statistic(members, examples):
        each = np.stack([shares(grid, members, examples) for grid in varying.values()])
        return each[None] if control is None else np.stack([each, each - each[control]])

    try:
        found = crossed_bootstrap(statistic, *shape, num_resamples=NUM_RESAMPLES, seed=seed)
    except ValueError:  # too few images: some resamples leave points alike
        return
    for r, (radius, grid) in enumerate(varying.items()):
        for a, name in enumerate((SHARE, ADJUSTED)):
            for b, by in enumerate((*BY, *LESS)):
                about = {"by": by, "grid_radius": radius, "points": len(grid.eta)}
                yield _row(_part(found, (0, r, a, b), share=a == 0 and b < len(BY)), name, about)
                if control is not None and radius > 0:
                    less = _part(found, (1, r, a, b), share=False)
                    yield _row(less, name, about | {"reference": NO_NOISE})


def _part(found: Interval, at: tuple[int, ...], *, share: bool) -> Interval:
    """One of an array of statistics, with its value inside the interval; a share is cut to [0, 1].

    Noise between points is fitted as well, and resamples have more of it: where points hardly differ, all of their
    shares may lie above that of the data.
    """
    value, low, high, sem = (float(x[at]) for x in (found.value, found.low, found.high, found.sem))
    low, high = min(low, value), max(high, value)
    if share:
        low, high = float(np.clip(low, 0, 1)), float(np.clip(high, 0, 1))
    return found._replace(value=value, low=low, high=high, sem=sem)


def _row(one: Interval, name: str, about: dict[str, Any]) -> Row:
    return Row(estimate_dict(one, name, population="noisy", unit="1", **about))


# ---- slopes ----


def slope_weights(along: str, eta: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Weights [C] of the least-squares slope along log2 of M or of eta, with a mean of its own for each group.

    Groups are of equal eta / M, along M, or of equal M, along eta (which is along eta / M there). All 0 where no group
    has two points.
    """
    group, x = (eta / draws, draws) if along == ALONG[0] else (draws, eta)
    group = np.round(np.log2(group), 6)
    x = np.log2(x)
    centred = x - np.array([x[group == g].mean() for g in group])
    total = centred @ centred
    return centred / total if total > 0 else centred


def slopes(grids: dict[float, Grid]) -> Iterator[Row]:
    """Rows of the change of the scale-free drop per doubling, at each radius and less that at radius 0."""
    name = "input_flatness.scale_free_per_doubling"
    for along in ALONG:
        of = {}
        for radius, grid in grids.items():
            weights = slope_weights(along, grid.eta, grid.draws)
            if not weights.any():
                continue
            u = influence.ratio(grid.drop, grid.margin, np.ones(grid.drop.shape[1:], bool))
            of[radius] = np.tensordot(weights, u, 1)
            about = {"along": along, "grid_radius": radius}
            yield _row(interval(of[radius]), name, about)
            if radius > 0 and 0.0 in of:
                yield _row(interval(of[radius] - of[0.0]), name, about | {"reference": NO_NOISE})


# ---- what is said of it ----


def check(data: "xr.Dataset") -> Check:
    """Whether most searches with noise are free to move, by the share of coordinates at the boundary."""
    common = data.grid_right.astype(bool).all("member").values
    if not common.any():
        return Check("grid.free", False, "no image is classified rightly by all sources")
    noisy = data.grid_at_boundary.isel(example=common).sel(grid_radius=data.grid_radius.values > 0)
    share = noisy.mean(["member", "example"]).values
    stuck = float((share > STUCK).mean())
    detail = f"with noise {100 * share.min():.0f} to {100 * share.max():.0f} % of the coordinates end at the boundary, "
    detail += f"at {100 * stuck:.0f} % of the points of the grid more than half of them"
    return Check("grid.free", stuck < 0.5, detail)


def shown(table: Table) -> Sequence[dict[str, Any]]:
    """What `sentence` reads, for the table at the top of the report."""
    radii = {row["grid_radius"] for row in table.select(SHARE)}
    at = {"grid_radius": max(radii, default=0.0)}
    plain = {"name": SHARE, "by": "eta/M", "reference": [None, NO_NOISE], **at}
    return plain, {"name": ADJUSTED, "by": LESS[0], "reference": None, **at}


def sentence(table: Table) -> str:
    """Whether flatness is a function of eta / M, at the largest radius; nothing where it cannot be decided."""
    radii = sorted({row["grid_radius"] for row in table.select(SHARE)})
    if not radii or radii[-1] == 0:
        return ""
    at = {"grid_radius": radii[-1]}
    lacking = table.select(ADJUSTED, by=LESS[0], reference=None, **at).rows[0]
    beyond = table.select(SHARE, by="eta/M", reference=NO_NOISE, **at).rows
    return f" {answer(lacking, beyond[0] if beyond else None)}."


def answer(lacking: Row, beyond: Row | None) -> str:
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
