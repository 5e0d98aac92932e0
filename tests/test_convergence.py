"""Diagnostics of chains against their definitions term by term, theory, and chains that are broken in known ways."""

import numpy as np
import pytest
from scipy import stats

from landscape.stats import convergence
from landscape.stats.convergence import Diagnosis, bulk_ess, ess, occupancy, rhat, tail_ess

EVERY = (rhat, bulk_ess, tail_ess)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def autoregressive(rho, *shape):
    """Chains of standard normal numbers with correlation rho^t at lag t."""
    draws = normal(*shape)
    for t in range(1, len(draws)):
        draws[t] = rho * draws[t - 1] + np.sqrt(1 - rho**2) * draws[t]
    return draws


# ---- the definitions, written out for one number ----


def halves_of(x):
    """[2C, n] of one number's chains [F, C]."""
    half = len(x) // 2
    return np.concatenate([x[:half].T, x[-half:].T])


def scores(halves):
    ranks = stats.rankdata(halves, method="average").reshape(halves.shape)
    return stats.norm.ppf((ranks - 3 / 8) / (halves.size + 1 / 4))


def split_rhat(halves):
    num = halves.shape[1]
    within, between = halves.var(axis=1, ddof=1).mean(), num * halves.mean(axis=1).var(ddof=1)
    return np.sqrt((between / within + num - 1) / num)


def geyer(halves):
    """Lag by lag, as in the paper's section 3.2: sums of pairs as long as they are positive, none above the last."""
    count, num = halves.shape
    centred = halves - halves.mean(axis=1, keepdims=True)
    acov = [np.mean(np.sum(centred[:, : num - t] * centred[:, t:], axis=1) / num) for t in range(num)]
    within = acov[0] * num / (num - 1)
    spread = acov[0] + halves.mean(axis=1).var(ddof=1)
    rho = [1.0] + [1 - (within - a) / spread for a in acov[1:]]
    tau, last, t = -1.0, np.inf, 0
    while t + 1 < num and rho[t] + rho[t + 1] > 0:
        last = min(last, rho[t] + rho[t + 1])
        tau, t = tau + 2 * last, t + 2
    tau += max(rho[t], 0.0) if t + 1 < num else 0.0
    return count * num / max(tau, 1 / np.log10(count * num))


@pytest.mark.parametrize("rho", [-0.6, 0.0, 0.9])
@pytest.mark.parametrize("frames", [60, 61])
def test_diagnostics_are_their_definitions(rho, frames):
    draws = autoregressive(rho, frames, 4, 3)
    draws[..., 1] = np.exp(draws[..., 1])  # ranks of a monotone map are the same
    draws[..., 2] = np.round(4 * draws[..., 2])  # ties
    for d in range(3):
        halves = halves_of(draws[..., d])
        folded = np.abs(halves - np.median(halves))
        tails = [geyer((halves <= np.quantile(halves, q)).astype(float)) for q in (0.05, 0.95)]
        expected = (max(split_rhat(scores(halves)), split_rhat(scores(folded))), geyer(scores(halves)), min(tails))
        np.testing.assert_allclose([one(draws)[d] for one in EVERY], expected, rtol=1e-9)
        np.testing.assert_allclose(ess(draws)[d], geyer(halves), rtol=1e-9)


def test_rhat_of_two_levels_by_hand():
    """Half-chains 00, 00, 10, 11: with scores 0 and 1, W = 1/8 and B / n = 11/48, whatever the scores."""
    draws = np.array([[0, 0, 0, 0], [1, 0, 1, 1]], float).T[..., None]
    np.testing.assert_allclose(rhat(draws), np.sqrt(11 / 6 + 1 / 2))


# ---- theory ----


def test_independent_draws_count_fully():
    """Also where no moment exists."""
    draws = np.stack([normal(1000, 8) + 100.0, np.random.default_rng(1).standard_cauchy((1000, 8))], axis=-1)
    np.testing.assert_allclose(rhat(draws), 1.0, atol=0.005)
    for size in (bulk_ess, tail_ess):
        np.testing.assert_allclose(size(draws), 8000, rtol=0.15)


@pytest.mark.parametrize("share", [0.03, 0.97])
def test_a_label_of_nearly_all_states_counts_as_its_complement_does(share):
    draws = (np.random.default_rng(2).random((200, 32)) < share).astype(float)[..., None]
    assert tail_ess(draws)[0] == pytest.approx(tail_ess(1 - draws)[0]) and tail_ess(draws)[0] > 3000


def test_correlated_draws_count_as_theory_says():
    draws = autoregressive(0.9, 4000, 8, 2)
    for size in (ess, bulk_ess):
        np.testing.assert_allclose(size(draws), 32000 * 0.1 / 1.9, rtol=0.2)


def test_what_is_wrong_with_chains_is_found():
    """One chain elsewhere; one of another scale, whose mean is right; all drifting alike; one with heavy tails."""
    apart, wide, drifting, heavy = normal(4, 400, 8)
    apart[:, 0] += 3
    wide[:, 0] *= 5
    drifting += np.linspace(-3, 3, 400)[:, None]
    heavy = np.random.default_rng(1).standard_cauchy((400, 8))
    heavy[:, 0] += 3
    draws = np.stack([apart, wide, drifting, heavy], axis=-1)
    assert (rhat(draws) > convergence.MOST_RHAT).all()
    assert bulk_ess(draws)[2] < 100
    assert not convergence.converged(convergence.diagnose(draws))


def test_what_never_changes_and_what_is_not_finite():
    draws = normal(100, 4, 4)
    draws[..., 1], draws[..., 2], draws[3, 2, 3] = 0.1, np.arange(4)[None], np.nan
    alone = [one(draws[..., :1])[0] for one in EVERY]
    found = np.array([one(draws) for one in EVERY])
    np.testing.assert_allclose(found[:, 0], alone)  # whatever stands beside it
    assert np.isnan(found[:, 1]).all()
    assert found[0, 2] == np.inf and (found[1:, 2] < 5).all()
    assert found[:, 3].tolist() == [np.inf, 0, 0]
    with pytest.raises(ValueError, match="3 states a chain: expected 4"):
        rhat(draws[:3])


# ---- what a run makes of them ----


def test_everything_that_varies_must_pass():
    good, none = (1.04, 100.0, 100.0), (np.nan,) * 3
    rows = [good, none, (1.05, 500, 500), (1.0, 99, 500), (1.0, 500, 99)]
    found = [convergence.converged(Diagnosis(*np.transpose([good, row]))) for row in rows]
    assert found == [True, True, False, False, False]
    assert not convergence.converged(Diagnosis(*np.transpose([none, none])))  # nothing has moved
    assert convergence.worst(Diagnosis(*np.transpose([none, rows[3], rows[2]]))) == (1.05, 99, 500)
    assert np.isnan(convergence.worst(convergence.diagnose(np.zeros((8, 2, 0))))).all()


def test_occupancy_is_of_what_half_a_chain_could_hold():
    """Of 10 states of 4 chains: a label of 5 states counts, two of 4 and 3 are pooled, one of 2 alone is nothing."""
    first = np.repeat([0, 1, 2, 3], [28, 5, 4, 3]).reshape(10, 4)
    second = np.repeat([7, 8], [38, 2]).reshape(10, 4)
    found = occupancy(np.stack([first, second], axis=-1))
    np.testing.assert_array_equal(found, np.stack([first == 0, first == 1, first >= 2], axis=-1))
    assert occupancy(second).shape == (10, 4, 0)
    np.testing.assert_array_equal(occupancy(first), found)


def test_arviz_agrees():
    arviz = pytest.importorskip("arviz")
    draws = autoregressive(0.5, 100, 4, 1)
    for one, method in ((rhat, "rhat"), (bulk_ess, "bulk"), (tail_ess, "tail")):
        x = draws[..., 0].T
        expected = arviz.rhat(x) if method == "rhat" else arviz.ess(x, method=method)
        np.testing.assert_allclose(one(draws)[0], expected, rtol=1e-6)
