"""Distributions of the barriers of `connectivity`: how many are at most so high, quantiles, how many are taken away."""

import numpy as np

from landscape.experiments.connectivity_along import ALWAYS
from landscape.experiments.connectivity_ends import READ_AS
from landscape.experiments.connectivity_told import TRADED, Found, Told, about, carried, mean, members
from landscape.measures.bypass import halvings
from landscape.stats.claims import estimate_dict
from landscape.stats.intervals import of_share
from landscape.stats.resampling import crossed_bootstrap
from landscape.types import Arrays

HEIGHTS = np.concatenate([[0.0], np.geomspace(1e-3, 30, 46)])  # nats, at which distribution functions are taken
GONE = 0.95  # share of the line's barrier that a bypass has to take away
QUANTILES = np.asarray((0.5, 0.9))
RESAMPLES = 400  # places the ends to about 6 % of the width


def distributions(config, told: Told) -> Found:
    """Quantiles and shares of barriers taken away; for figures below and gone.

    below [kind, below_path, barrier_height, below_end]: the distribution function and its interval.
    gone [kind, frame]: share taken away by the first bend, by steps of its search; steps_needed [kind, member, pair]:
    the fewest of these after which it has, inf where it has not, NaN where there is no barrier.
    """
    gone = _gone(config, told)
    return Found(_quantiles(told) + gone.estimates, _below(told) | gone.curves)


def _below(told: Told) -> Arrays:
    """Mean over members of the share of a kind's pairs whose barrier is at most each of HEIGHTS, and its interval."""
    curve = np.full((len(told.kinds), len(ALWAYS), len(HEIGHTS), 3), np.nan)
    for k, kind in enumerate(told.kinds):
        for p, path in enumerate(ALWAYS):
            if kind == READ_AS or not told.has(kind, path):
                continue
            values, mask = told.of("barrier", kind, path), told.mask(kind, path)
            for h, height in enumerate(HEIGHTS):
                one = mean(kind, (values <= height).astype(float), mask)
                curve[k, p, h] = of_share(one, carried(mask))[:3]
    return {
        "below": (("kind", "below_path", "barrier_height", "below_end"), curve),
        "below_path": (("below_path",), np.asarray(ALWAYS)),
        "barrier_height": (("barrier_height",), HEIGHTS),
    }


def _quantiles(told: Told) -> list[dict]:
    """Median and upper tenth of the barriers of every kind on the line and after the bypass, pairs of all members."""
    found = []
    for path in ALWAYS:
        for kind in told.kinds:
            if kind in (READ_AS, TRADED) or not told.has(kind, path):
                continue
            rows = members(told.mask(kind, path))
            values, mask = (part[rows] for part in (told.of("barrier", kind, path), told.mask(kind, path)))
            order = np.argsort(np.where(mask, values, np.inf), axis=None)
            ordered = np.where(mask, values, 0.0).ravel()[order]

            def quantiles(weight_s, weight_n, order=order, ordered=ordered, mask=mask):
                weight = np.cumsum((np.outer(weight_s, weight_n) * mask).ravel()[order])
                return ordered[np.minimum(np.searchsorted(weight, QUANTILES * weight[-1]), len(ordered) - 1)]

            both = crossed_bootstrap(quantiles, *mask.shape, num_resamples=RESAMPLES)
            for i, share in enumerate(QUANTILES):
                one = both._replace(value=both.value[i], low=both.low[i], high=both.high[i], sem=both.sem[i])
                coords = {"population": kind, "path": path, "quantile": share, "examples": carried(mask)}
                found.append(estimate_dict(one, "barrier.quantile", unit="nats", **coords))
    return found


def _gone(config, told: Told) -> Found:
    """How many lines have a barrier above the tolerance, and of how many of these the bypass has taken GONE of it away,
    in the end and by steps.
    """
    steps = np.asarray(halvings(config.bypass.num_steps))
    curve = np.full((len(told.kinds), len(steps)), np.nan)
    needed = np.full((len(told.kinds), *told.arrays["valid"][1].shape[2:]), np.nan, np.float32)
    found = []
    for k, kind in enumerate(told.kinds):
        if kind == READ_AS or not told.has(kind, "bypass"):
            continue
        line = told.of("barrier", kind, "line")
        every = told.mask(kind, "line")
        has = of_share(mean(kind, (line > config.bypass.tolerance).astype(float), every), carried(every))
        found.append(estimate_dict(has, "barrier.share", unit="1", path="line", **about(kind, every)))
        mask = told.mask(kind, "bypass") & (line > config.bypass.tolerance)
        reached = told.kind("after", kind) <= (1 - GONE) * line[:, None]
        first = np.where(reached.any(axis=1), steps[reached.argmax(axis=1)], np.inf)
        needed[k] = np.where(mask, first, np.nan)
        if not len(members(mask)):
            continue
        coords = about(kind, mask) | {"path": "bypass"}
        gone = told.of("barrier", kind, "bypass") <= (1 - GONE) * line
        one = of_share(mean(kind, gone.astype(float), mask), carried(mask))
        found.append(estimate_dict(one, "path.gone", unit="1", **coords))
        for f, count in enumerate(steps.tolist()):
            one = mean(kind, reached[:, f].astype(float), mask)
            curve[k, f] = one.value
            one = of_share(one, carried(mask))
            found.append(estimate_dict(one, "path.gone", unit="1", **coords, steps=count, bends=1))
    arrays = {"gone": (("kind", "frame"), curve), "steps_needed": (("kind", "member", "pair"), needed)}
    return Found(found, arrays)
