"""Rank correlations: SciPy's values, coverage of their intervals, ties, masks."""

import numpy as np
import pytest
from scipy import stats

from landscape.stats.intervals import interval
from landscape.stats.rank_correlation import spearman


def test_values_are_those_of_scipy_over_each_members_own_examples():
    """Also with ties; what is outside the mask is not read, and a measure without two values has no order."""
    rng = np.random.default_rng(0)
    values = np.stack([rng.normal(size=(2, 30)), rng.integers(0, 4, size=(2, 30)), np.ones((2, 30))])
    values[0] += 0.5 * values[1]
    mask = np.ones((2, 30), bool)
    mask[1, 20:] = False
    values[:, 1, 20:] = np.nan
    found = spearman(values, mask)
    for s, n in enumerate((30, 20)):
        expected = stats.spearmanr(values[0, s, :n], values[1, s, :n]).statistic
        np.testing.assert_allclose(found[0, 1, s].mean(), expected, rtol=1e-12)
    np.testing.assert_allclose(found[[0, 1], [0, 1]], 1, atol=1e-12)  # with itself: no spread
    np.testing.assert_allclose(found, found.swapaxes(0, 1))
    assert np.all(found[2] == 0)
    np.testing.assert_allclose(spearman(np.exp(values[:2]), mask), found[:2, :2], atol=1e-12)  # ranks are all it knows
    with pytest.raises(ValueError, match=r"member\(s\) 1 have fewer than 3"):
        spearman(values, mask & (np.arange(30) < np.array([30, 2])[:, None]))


def test_deviations_are_those_of_leaving_one_out():
    """The jackknife's pseudo-values, of measures with many ties, to first order in 1 / 200."""
    rng = np.random.default_rng(1)
    a = rng.integers(0, 5, 200).astype(float)
    b = a + rng.integers(0, 4, 200)
    found = spearman(np.stack([a, b])[:, None], np.ones((1, 200), bool))[0, 1, 0]
    whole = stats.spearmanr(a, b).statistic
    left = [stats.spearmanr(np.delete(a, i), np.delete(b, i)).statistic for i in range(200)]
    np.testing.assert_allclose(found - whole, 199 * (whole - np.array(left)), atol=0.02 * found.std())


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_intervals_cover_as_often_as_they_say(correlation):
    """150 draws of 8 members that share half of the variance of 40 images: coverage within 90 and 100 %."""
    rng = np.random.default_rng(1)
    truth = 6 / np.pi * np.arcsin(correlation / 2)
    mix, hits = np.linalg.cholesky([[1, correlation], [correlation, 1]]), 0
    for _ in range(150):
        shared, own = rng.normal(size=(2, 1, 40)), rng.normal(size=(2, 8, 40))
        found = interval(spearman(np.einsum("ab,bsn->asn", mix, (shared + own) / 2**0.5), np.ones((8, 40), bool))[0, 1])
        hits += found.low <= truth <= found.high
    assert 0.9 <= hits / 150 <= 1
