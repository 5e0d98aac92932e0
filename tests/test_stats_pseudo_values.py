"""Pseudo-values of members that are tried on one another: closed forms, and the coverage of their interval."""

import numpy as np
import pytest

from landscape.stats import contrasts, influence
from landscape.stats.contrasts import Least, Sample
from landscape.stats.intervals import interval
from landscape.stats.pseudo_values import of_pairs, pseudo_values


def pairs_of(values):
    return values[~np.eye(len(values), dtype=bool)]


def test_of_sums_of_members_they_are_the_members():
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(2, 5, 7))
    values = source[:, None] + target[None]
    values[np.arange(5), np.arange(5)] = np.nan  # never read
    np.testing.assert_allclose(pseudo_values(values), source + target, atol=1e-12)
    alike = source[:, None] + source[None]  # of unordered pairs: each member counts twice, as in 2 / S of them
    np.testing.assert_allclose(pseudo_values(alike), 2 * source, atol=1e-12)
    np.testing.assert_array_equal(of_pairs(alike[:2, :2]), alike[[0, 1], [1, 0]])


def test_their_mean_is_that_over_ordered_pairs_and_they_are_linear():
    rng = np.random.default_rng(1)
    one, other = rng.normal(size=(2, 4, 4, 9))
    np.testing.assert_allclose(pseudo_values(one).mean(axis=0), pairs_of(one).mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(pseudo_values(one) - pseudo_values(other), pseudo_values(one - other), atol=1e-12)


@pytest.mark.parametrize("shape", [(2, 2, 5), (1, 1, 5)])
def test_what_is_refused(shape):
    with pytest.raises(ValueError, match=r"expected \[..., S, S, N\] with S >= 3"):
        pseudo_values(np.zeros(shape))


def sample_of(values, mask):
    """Values [source, target, example] as a sample of pairs."""
    return Sample(np.moveaxis(values, 1, 0), mask, pairs=True)


def mean_of(values, mask):
    return contrasts.mean(sample_of(values, mask)).u


def crossed(rng, count, images):
    """Source, target and image effects, their interactions with images, and noise; targets differ most."""
    shapes = {
        (count, 1, 1): 0.3,
        (1, count, 1): 1.0,
        (1, 1, images): 1.0,
        (count, 1, images): 1.0,
        (1, count, images): 1.0,
        (count, count, images): 1.0,
    }
    return sum(sd * rng.normal(size=shape) for shape, sd in shapes.items())


@pytest.mark.parametrize("masked", [False, True])
def test_the_interval_covers_where_targets_differ_and_that_of_means_over_targets_does_not(masked):
    """Nominal 95 %; the mean over targets first, one value a source, knows nothing of how targets differ."""
    rng, count, images, repeats = np.random.default_rng(3), 4, 40, 600
    covered = np.zeros(2)
    for _ in range(repeats):
        values = crossed(rng, count, images)
        mask = rng.random((count, images)) < 0.8 if masked else np.ones((count, images), bool)
        over_targets = np.where(np.eye(count, dtype=bool)[..., None], 0.0, values).sum(axis=1) / (count - 1)
        both = mean_of(values, mask), influence.masked_mean(over_targets, mask)
        np.testing.assert_allclose(*(u.mean() for u in both), atol=1e-10)  # both estimate the same
        for k, u in enumerate(both):
            found = interval(u)
            covered[k] += found.low <= 0 <= found.high
    assert covered[0] / repeats > 0.91  # 0.95 less 4 standard errors
    assert covered[1] / repeats < 0.88  # 0.86 here; a coverage of 0.95 has a standard error of 0.009


def test_two_members_have_a_value_without_interval_and_one_has_none():
    values, mask = crossed(np.random.default_rng(8), 2, 30), np.ones((2, 30), bool)
    found = contrasts.mean(sample_of(values, mask)).interval()
    assert found.value == pytest.approx(pairs_of(values).mean()) and np.isnan([found.low, found.high]).all()
    assert contrasts.mean(sample_of(values[:1, :1], mask[:1])) is None


def test_a_source_without_examples_enough_is_no_target_either():
    values, mask = crossed(np.random.default_rng(10), 5, 30), np.ones((5, 30), bool)
    mask[2, 3:] = False
    found = contrasts.mean(sample_of(values, mask), Least(examples=5))
    rest = [0, 1, 3, 4]
    np.testing.assert_array_equal(found.u, mean_of(values[np.ix_(rest, rest)], mask[rest]))
    assert contrasts.mean(sample_of(values, mask), Least(examples=5, members=5)) is None


def test_a_ratio_over_pairs_is_refused():
    values = np.ones((4, 4, 9))
    with pytest.raises(ValueError, match="a ratio over pairs of members"):
        contrasts.mean(Sample(values, np.ones((4, 9), bool), per=values, pairs=True))
