"""Radii that are only known to exceed the end of the grid: the Kaplan-Meier curve and its median."""

import numpy as np
from jaxtyping import Bool, Float


def kaplan_meier(
    radius: Float[np.ndarray, " N"], observed: Bool[np.ndarray, " N"], weights: Float[np.ndarray, " N"] | None = None
) -> tuple[Float[np.ndarray, " G"], Float[np.ndarray, " G"]]:
    """Share of examples whose radius exceeds t, from right-censored radii.

    S(t) = product over event radii t_g <= t of (1 - d_g / n_g), d_g the weight of the events at t_g, n_g that of all
    with radius >= t_g: an example censored at t_g is still at risk there.

    Args:
      radius: where the event happened, or where looking ended; any unit.
      observed: True where the event was seen, False where only "beyond `radius`" is known.
      weights: counts of a bootstrap, default 1 each.

    Returns:
      (t [G], S(t) [G]) at the distinct event radii, rising.

    Raises:
      ValueError: no examples, NaN radii or no weight at all.

    Source: Kaplan & Meier 1958 (JASA 53:457).
    """
    radius = np.asarray(radius, dtype=np.float64)
    weights = np.ones(radius.shape) if weights is None else np.asarray(weights, dtype=np.float64)
    if radius.size == 0 or np.any(np.isnan(radius)) or not weights.sum() > 0:
        raise ValueError(
            f"{radius.size} radii, {int(np.isnan(radius).sum())} of them NaN, total weight {weights.sum():g}: expected "
            "at least one, all known or censored; mark radii beyond the grid observed=False at the grid's end."
        )
    events = np.unique(radius[observed & (weights > 0)])
    happened = np.array([weights[observed & (radius == t)].sum() for t in events])
    at_risk = np.array([weights[radius >= t].sum() for t in events])
    return events, np.cumprod(1 - happened / at_risk) if events.size else events


def kaplan_meier_median(
    radius: Float[np.ndarray, " N"], observed: Bool[np.ndarray, " N"], weights: Float[np.ndarray, " N"] | None = None
) -> float:
    """Smallest radius at which S(t) <= 1/2; inf where the curve stays above (the median lies beyond the grid)."""
    events, survival = kaplan_meier(radius, observed, weights)
    below = np.flatnonzero(survival <= 0.5 + 1e-12)  # 1e-12: rounding of the product
    return float(events[below[0]]) if below.size else float("inf")
