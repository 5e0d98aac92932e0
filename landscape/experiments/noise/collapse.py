"""Is flatness at the end of a noisy search a function of eta / M? The grid in numbers.

At each radius the scale-free drop at the points (eta, M) of the grid is fitted by a quadratic in log(eta / M), in
log eta, in log M, and by a quadratic surface in both. Reported is the share of the variance between points that each
explains, and of eta / M what it lacks of both, adjusted for the number of parameters:
1 - (1 - R^2) (C - 1) / (C - P). If eta / M is all that matters, it lacks nothing.

Eta / M also fixes the distance covered, so that what it explains with noise is reported less what it explains without,
at radius 0. It can only matter while the search is free to move: the share of coordinates at the boundary is checked.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from landscape.experiments.base import Check
from landscape.experiments.noise import POINT
from landscape.experiments.noise.config import NO_NOISE
from landscape.stats.claims import estimate_dict
from landscape.stats.intervals import Interval, within
from landscape.stats.resampling import crossed_bootstrap, one_by_one
from landscape.stats.table import Row, Table

if TYPE_CHECKING:
    import xarray as xr  # imported where it is used: half a second

BY = ("eta/M", "eta", "M", "both")
LACKING = "eta/M - both"
SHARE, ADJUSTED = "agreement.collapse", "agreement.collapse_adjusted"
NUM_RESAMPLES = 200  # of each kind; fixes the ends of an interval to about 6 % of its width
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
    """What each of BY explains under weights [S], [N], then what eta / M lacks of both, adjusted: [BY + 1].

    What is explained is the scale-free drop at every point: the mean over members of their ratios of sums.
    """
    ratios = (grid.drop @ examples) / (grid.margin @ examples)
    flat = ratios @ members / members.sum()
    plain, adjusted = np.array([explained(flat, features(by, grid.eta, grid.draws)) for by in BY]).T
    return np.append(plain, adjusted[BY.index("eta/M")] - adjusted[BY.index("both")])


def estimates(data: "xr.Dataset", seed: int) -> Table:
    """The rows of the fits at each radius, and of eta / M beside that at radius 0.

    None where too few images are common, or where all points are alike.
    """
    grids = grids_of(data)
    shape = next(iter(grids.values())).drop.shape[1:]
    if shape[1] < LEAST:
        return Table()
    ones = [np.ones(count) for count in shape]
    varying = {radius: grid for radius, grid in grids.items() if np.isfinite(shares(grid, *ones)).all()}
    if not varying:  # as where no step moves anything
        return Table()

    def statistic(members, examples):
        each = np.stack([shares(grid, members, examples) for grid in varying.values()])
        return np.stack([each, each - each[[*varying].index(0.0)] if 0.0 in varying else each])

    try:
        found = crossed_bootstrap(one_by_one(statistic), *shape, num_resamples=NUM_RESAMPLES, seed=seed)
    except ValueError:  # too few images: some resamples leave points alike
        return Table()
    return Table(tuple(_rows(found, varying)))


def _rows(found: Interval, varying: dict[float, Grid]) -> Iterator[Row]:
    for r, (radius, grid) in enumerate(varying.items()):
        rows: list[tuple[str, str, tuple[int, ...], dict[str, str]]]
        rows = [(SHARE, by, (0, r, b), {}) for b, by in enumerate(BY)]
        rows.append((ADJUSTED, LACKING, (0, r, len(BY)), {}))
        if radius > 0 and 0.0 in varying:
            rows.append((SHARE, "eta/M", (1, r, BY.index("eta/M")), {"reference": NO_NOISE}))
        for name, by, at, more in rows:
            one = _part(found, at, share=name == SHARE and not more)
            about = {"population": "noisy", "unit": "1", "by": by, "grid_radius": radius, "points": len(grid.eta)}
            yield Row(estimate_dict(one, name, **about, **more))


def _part(found: Interval, at: tuple[int, ...], *, share: bool) -> Interval:
    """One of an array of statistics; a share is cut to [0, 1]."""
    value, low, high, df, sem, skew = (float(x[at]) for x in (*found[:5], found.skew))
    one = found._replace(value=value, low=low, high=high, df=df, sem=sem, skew=skew)
    return within(one, 0.0, 1.0) if share else one


# ---- what is said of it ----


def check(data: "xr.Dataset") -> Check:
    """Whether most searches with noise are free to move, by the share of coordinates at the boundary."""
    common = data.grid_right.astype(bool).all("member").values
    if not common.any():
        return Check("grid.free", False, "no image is classified rightly by all sources; expected some")
    noisy = data.grid_at_boundary.isel(example=common).sel(grid_radius=data.grid_radius.values > 0)
    share = noisy.mean(["member", "example"]).values
    stuck = float((share > STUCK).mean())
    detail = f"with noise {100 * share.min():.0f} to {100 * share.max():.0f} % of the coordinates end at the boundary, "
    detail += f"at {100 * stuck:.0f} % of the points of the grid more than half of them; expected at fewer than 50 %"
    return Check("grid.free", stuck < 0.5, detail)


def shown(table: Table) -> Sequence[dict[str, Any]]:
    """What `sentence` reads, for the table at the top of the report: rows at the largest radius."""
    largest = max((row["grid_radius"] for row in table.select(SHARE)), default=0.0)
    plain = {"name": SHARE, "by": "eta/M", "reference": [None, NO_NOISE]}
    return plain | {"grid_radius": largest}, {"name": ADJUSTED, "grid_radius": largest}


def clause(table: Table) -> str:
    """`; flatness is ..`: whether it is a function of eta / M, at the largest radius; nothing where that is unknown."""
    largest = max((row["grid_radius"] for row in table.select(SHARE)), default=0.0)
    if largest == 0:
        return ""
    lacking = table.one(ADJUSTED, grid_radius=largest)
    return f"; {answer(lacking, table.get(SHARE, by='eta/M', reference=NO_NOISE, grid_radius=largest))}"


def answer(lacking: Row, beyond: Row | None) -> str:
    """The answer: eta / M must lack little of what both explain, and explain more than it does without noise.

    lacking: the adjusted share of eta / M less that of both. beyond: the share of eta / M less that at radius 0.
    """
    if lacking["high"] < -SMALLEST:
        return "flatness is no function of eta / M alone"
    if lacking["low"] > -SMALLEST and beyond is not None and beyond["low"] > 0:
        return "flatness is a function of eta / M, more than without noise"
    if lacking["low"] > -SMALLEST and beyond is not None and beyond["high"] < SMALLEST:
        return "flatness is a function of eta / M, but no more than without noise"
    return "whether flatness is a function of eta / M is left open"
