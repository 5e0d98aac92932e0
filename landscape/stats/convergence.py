"""Have Markov chains converged? Rank-normalised split R-hat, bulk and tail effective sizes, and series of labels.

Draws are [F, C, D]: F recorded states of C chains, D numbers a state. Every diagnostic cuts chains into halves (the
middle one of an odd number of states is left out), so that a chain which drifts differs from itself. Where a number is
the same in every state there is nothing to compare: NaN. Where a state is not finite nothing has converged: R-hat is
infinite, effective sizes are 0.

Source: Vehtari et al. 2021, arXiv:1903.08008.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

MOST_RHAT = 1.05  # below which chains are called alike
LEAST_ESS = 100.0  # effective draws of bulk and tail: the standard error of a share is then 0.05 or less
FEWEST = 4  # states of a chain
TAILS = (0.05, 0.95)  # quantiles whose effective sizes are those of the tails

Draws = Float[np.ndarray, "F C D"]
Halves = Float[np.ndarray, "n H D"]  # n = F // 2, H = 2 C


class Diagnosis(NamedTuple):
    """R-hat, bulk and tail effective size of every number of a state."""

    rhat: Float[np.ndarray, "..."] | np.float64
    bulk: Float[np.ndarray, "..."] | np.float64
    tail: Float[np.ndarray, "..."] | np.float64


def diagnose(draws: Draws) -> Diagnosis:
    """All three, each [D]."""
    if not draws.shape[-1]:
        return Diagnosis(*np.empty((3, 0)))
    return Diagnosis(rhat(draws), bulk_ess(draws), tail_ess(draws))


def worst(found: Diagnosis) -> Diagnosis:
    """The largest R-hat and the smallest sizes of whatever varies, scalars; NaN where nothing does."""
    known = ~np.isnan(found.rhat)
    if not known.any():
        return Diagnosis(*np.full(3, np.nan))
    ends = (found.rhat[known].max(), found.bulk[known].min(), found.tail[known].min())
    return Diagnosis(*np.asarray(ends))


def converged(found: Diagnosis) -> Bool[np.ndarray, "..."]:
    """Whether R-hat < 1.05 and both sizes >= 100 for everything along the last axis that varies, and something does."""
    known = ~np.isnan(found.rhat)
    passed = (found.rhat < MOST_RHAT) & (found.bulk >= LEAST_ESS) & (found.tail >= LEAST_ESS)
    return np.asarray((passed | ~known).all(axis=-1) & known.any(axis=-1))


def occupancy(labels: Int[np.ndarray, "F C *P"]) -> Float[np.ndarray, "F C I"]:
    """Indicator series of labels, such as predicted classes, or the codes at P places: whether a state has one.

    A series for each label (at each place) that at least F // 2 states have and at least F // 2 have not, which a label
    of one half-chain alone reaches. Rarer ones are pooled, and the pool is left out too where it is as rare: chains
    cannot tell a share below 1 / (2 C). No series, I = 0, where one label holds nearly all states.
    """
    frames, chains = labels.shape[:2]
    series = [np.empty((frames, chains, 0), bool)]
    for own in np.moveaxis(labels.reshape(frames, chains, -1), -1, 0):
        values, counts = np.unique(own, return_counts=True)
        common = own[..., None] == values[counts >= frames // 2]
        every = np.concatenate([common, ~common.any(axis=-1, keepdims=True)], axis=-1)
        counts = every.sum(axis=(0, 1))
        series.append(every[..., np.minimum(counts, own.size - counts) >= frames // 2])
    return np.concatenate(series, axis=-1).astype(np.float64)


# ---- R-hat ----


def rhat(draws: Draws) -> Float[np.ndarray, " D"]:
    """Rank-normalised split R-hat: 1 where all half-chains have the same location and the same spread.

    The larger one of sqrt((B / W + n - 1) / n) of normal scores z and of those of |x - median|: W is the mean variance
    within half-chains of n states, B / n the variance of their means. Normal scores are z = Phi^-1((r - 3/8) / (S +
    1/4)) of the ranks r among all S states (equal ones share their mean rank), so that heavy tails hide nothing.
    Infinite where half-chains differ though none ever moves.

    Source: Vehtari et al. 2021, sections 3.1, 4.1 and 4.2.
    """
    halves, defined = _halves(draws)
    folded = np.abs(halves - np.median(halves, axis=(0, 1), keepdims=True))
    found = np.fmax(_split_rhat(_scores(halves)), _split_rhat(_scores(folded)))
    return np.where(defined, found, np.inf)


def _split_rhat(halves: Halves) -> Float[np.ndarray, " D"]:
    num, within = len(halves), halves.var(axis=0, ddof=1).mean(axis=0)
    between = halves.mean(axis=0).var(axis=0, ddof=1)
    stuck, constant = np.ptp(halves, axis=0).max(axis=0) == 0, np.ptp(halves, axis=(0, 1)) == 0
    ratio = between / np.where(stuck, 1.0, within)
    return np.where(constant, np.nan, np.where(stuck, np.inf, np.sqrt(ratio + (num - 1) / num)))


# ---- effective sizes ----


def bulk_ess(draws: Draws) -> Float[np.ndarray, " D"]:
    """`ess` of normal scores (see `rhat`): how well the location is known, whatever the tails."""
    halves, defined = _halves(draws)
    return np.where(defined, _ess(_scores(halves)), 0.0)


def tail_ess(draws: Draws) -> Float[np.ndarray, " D"]:
    """The smaller `ess` of whether a state is at most the 5 % quantile, and the 95 % one: how well tails are known."""
    halves, defined = _halves(draws)
    ends = np.quantile(halves, TAILS, axis=(0, 1))
    low, high = (_ess((halves <= end).astype(np.float64)) for end in ends)
    tails = np.fmin(low, high)
    # A label that nearly all states have is at both quantiles: it is an indicator itself.
    return np.where(defined, np.where(np.isnan(tails), _ess(halves), tails), 0.0)


def ess(draws: Draws) -> Float[np.ndarray, " D"]:
    """Effective size S / tau: independent draws that would give the mean as well as these S = C F states do together.

    tau = 1 + 2 sum_t rho_t, with rho_t = 1 - (W - acov_t) / V, V = W (n - 1) / n + B / n (see `rhat`), acov_t the mean
    autocovariance at lag t, cut off by Geyer's initial monotone sequence, and at least 1 / log10 S. The standard error
    of a mean is the standard deviation over sqrt(ess); more than S is possible, where successive states are on
    opposite sides.

    Source: Vehtari et al. 2021, section 3.2.
    """
    halves, defined = _halves(draws)
    return np.where(defined, _ess(halves), 0.0)


def _ess(halves: Halves) -> Float[np.ndarray, " D"]:
    num, total = len(halves), halves.shape[0] * halves.shape[1]
    constant = np.ptp(halves, axis=(0, 1)) == 0
    acov = _autocovariance(halves).mean(axis=1)
    within = acov[0] * num / (num - 1)
    spread = acov[0] + halves.mean(axis=0).var(axis=0, ddof=1)
    rho = 1 - (within - acov) / np.where(constant, 1.0, spread)
    rho[0] = 1.0
    pairs = rho[: num // 2 * 2].reshape(num // 2, 2, -1)
    kept = np.logical_and.accumulate(pairs.sum(axis=1) > 0, axis=0)  # Geyer: sums of pairs are positive, and they fall
    falling = np.minimum.accumulate(pairs.sum(axis=1), axis=0)
    count = kept.sum(axis=0)
    # The even one of the first pair that is left out, where it is positive: less variance for antithetic chains.
    after = np.take_along_axis(pairs[:, 0], np.minimum(count, len(pairs) - 1)[None], axis=0)[0]
    tau = 2 * (kept * falling).sum(axis=0) - 1 + np.where(count < len(pairs), np.maximum(after, 0.0), 0.0)
    return np.where(constant, np.nan, total / np.maximum(tau, 1 / np.log10(total)))


def _autocovariance(halves: Halves) -> Halves:
    """sum_i (x_i - mean) (x_(i + t) - mean) / n of every half-chain, [t, 2C, D]."""
    from scipy import fft  # imported where it is used

    num = len(halves)
    size = fft.next_fast_len(2 * num, real=True)
    power = np.square(np.abs(fft.rfft(halves - halves.mean(axis=0), size, axis=0)))
    return fft.irfft(power, size, axis=0)[:num] / num


# ---- what all have in common ----


def _halves(draws: Draws) -> tuple[Halves, Bool[np.ndarray, " D"]]:
    """(half-chains [F // 2, 2 C, D], whether a number is finite in all states, if not it counts as 0)."""
    if len(draws) < FEWEST:
        raise ValueError(f"{len(draws)} states a chain: expected {FEWEST} or more, two in each half")
    draws = np.asarray(draws, np.float64)
    defined, half = np.isfinite(draws).all(axis=(0, 1)), len(draws) // 2
    draws = np.where(defined, draws, 0.0)
    return np.concatenate([draws[:half], draws[len(draws) - half :]], axis=1), defined


def _scores(halves: Halves) -> Halves:
    """Normal scores of ranks among all states."""
    from scipy.special import ndtri
    from scipy.stats import rankdata

    ranks = rankdata(halves.reshape(-1, halves.shape[-1]), axis=0)
    return ndtri((ranks - 0.375) / (len(ranks) + 0.25)).reshape(halves.shape)
