"""Does flatness at the end of a noisy search collapse on eta / M? The grid of `noise_grid` in numbers.

At each radius, the scale-free drop of every cell (eta, M) is fitted by a quadratic in log(eta / M), in log eta, in
log M, and by a quadratic surface in both; told is the share of the variance between cells that each fit explains. If
flatness is a matter of eta / M alone the first share comes near the last, whatever the other two are.
"""

from collections.abc import Sequence

import numpy as np

from landscape.stats.claims import estimate_dict
from landscape.stats.intervals import Interval
from landscape.stats.resampling import crossed_bootstrap
from landscape.types import Arrays

BY = ("eta/M", "eta", "M", "both")
NUM_RESAMPLES = 400  # places the ends of an interval to about 7 % of its width
LEAST = 5


def features(by: str, eta: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Columns of the fit, [C, P]."""
    a, b = np.log(eta), np.log(draws)
    if by == "both":
        return np.stack([np.ones_like(a), a, b, a * a, a * b, b * b], axis=1)
    u = {"eta/M": a - b, "eta": a, "M": b}[by]
    return np.stack([np.ones_like(u), u, u * u], axis=1)


def explained(values: np.ndarray, columns: np.ndarray) -> float:
    """Share of the variance of values [C] that least squares on columns [C, P] explains; NaN without variance."""
    centred = values - values.mean()
    total = centred @ centred
    if total <= 1e-12 * max(float(values @ values), 1e-30):
        return float("nan")
    fitted = columns @ np.linalg.lstsq(columns, values, rcond=None)[0]
    return float(1 - np.square(values - fitted).sum() / total)


def cell_flatness(drop: np.ndarray, margin: np.ndarray, members: np.ndarray, examples: np.ndarray) -> np.ndarray:
    """Scale-free drop of every cell [C] from drop, margin [C, S, N] under weights [S], [N]: mean of members' ratios."""
    ratios = (drop @ examples) / (margin @ examples)
    return ratios @ members / members.sum()


def estimates(config, arrays: Arrays) -> tuple[list[dict], Arrays]:
    """(estimates, arrays for the figure) of the grid."""
    common = arrays["right"][1].all(axis=(0, 1))
    drop, margin = (arrays[name][1][..., common].astype(np.float64) for name in ("grid_drop", "grid_margin"))
    eta, draws, radius = (arrays[f"grid_{name}"][1].astype(np.float64) for name in ("eta", "draws", "radius"))
    radii = np.unique(radius)
    share = np.full((3, len(radii), len(BY)), np.nan)
    found: list[dict] = []
    lines: Arrays = {"grid_flatness": (("grid_cell",), np.full(len(eta), np.nan))}
    if drop.shape[-1] >= LEAST:
        ones = np.ones(drop.shape[1]), np.ones(drop.shape[2])
        lines["grid_flatness"] = (("grid_cell",), cell_flatness(drop, margin, *ones))
        for r, level in enumerate(radii):
            at = np.flatnonzero(radius == level)
            columns = [features(by, eta[at], draws[at]) for by in BY]

            def statistic(members, examples, at=at, columns=columns):
                cells = cell_flatness(drop[at], margin[at], members, examples)
                shares = [explained(cells, c) for c in columns]
                return np.asarray([*shares, shares[0] - shares[1]])

            try:
                told = crossed_bootstrap(
                    statistic, drop.shape[1], drop.shape[2], num_resamples=NUM_RESAMPLES, seed=config.seed
                )
            except ValueError:  # all cells alike, as where no step moves anything
                continue
            for b, by in enumerate((*BY, "eta/M - eta")):
                one = _part(told, b, share=b < len(BY))
                if b < len(BY):
                    share[:, r, b] = one.value, one.low, one.high
                shown = by == "eta/M" and level == radii[-1]
                about = {"by": by, "radius": float(level), "cells": len(at), "search": "pixels"}
                entry = estimate_dict(one, "agreement.collapse", population="noisy", unit="1", **about)
                found.append(entry | ({"headline": True} if shown else {}))
    for name, value in zip(("collapse", "collapse_low", "collapse_high"), share, strict=True):
        lines[name] = (("grid_radius_level", "by"), value)
    return found, lines | {"grid_radius_value": (("grid_radius_level",), radii)}


def _part(told: Interval, b: int, *, share: bool) -> Interval:
    """Entry b of a vector of statistics; a share is cut to [0, 1]."""
    value, low, high = (float(np.asarray(x)[b]) for x in (told.value, told.low, told.high))
    if share:
        low, high = float(np.clip(low, 0, 1)), float(np.clip(high, 0, 1))
    return told._replace(value=value, low=low, high=high, sem=float(np.asarray(told.sem)[b]))


def sentence(estimates: Sequence[dict]) -> str:
    """What the grid says, or nothing where it could not be judged."""

    def of(by: str, radius: float) -> str:
        entry = next(e for e in told if e["by"] == by and e["radius"] == radius)
        return f"{100 * entry['value']:.0f} % [{100 * entry['low']:.0f}, {100 * entry['high']:.0f}]"

    told = [e for e in estimates if e["name"] == "agreement.collapse"]
    if not told:
        return ""
    radii = sorted({e["radius"] for e in told})
    text = (
        f" Of how flatness differs over step sizes and draws, eta / M explains {of('eta/M', radii[-1])} at radius "
        f"{radii[-1]:g} (eta alone {of('eta', radii[-1])})"
    )
    if radii[0] == 0 and len(radii) > 1:
        text += f", {of('eta/M', 0.0)} without noise"
    return text + "."
