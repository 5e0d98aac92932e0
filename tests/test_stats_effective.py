"""The effective number of classifiers: closed forms, censoring, planted truth."""

import numpy as np
import pytest

from landscape.stats.effective import effective_interval, effective_size

SIZES = np.array([1, 2, 4, 8, 16])


@pytest.mark.parametrize(
    ("reached", "expected"),
    [(0.1, 1.0), (0.2, 2.0), (0.15, 2**0.5), (0.35, 2**2.5), (0.5, 16.0), (0.05, 0.0), (0.6, np.inf)],
)
def test_on_a_line_in_log_k(reached, expected):
    assert effective_size(SIZES, np.array([0.1, 0.2, 0.3, 0.4, 0.5]), reached) == pytest.approx(expected)


def test_a_dip_is_pooled():
    """(0.3, 0.1) becomes (0.2, 0.2): the smaller of the sizes that succeed as often."""
    curve = np.array([0.1, 0.3, 0.1, 0.4, 0.5])
    assert effective_size(SIZES, curve, 0.2) == pytest.approx(2.0)
    assert effective_size(SIZES, curve, 0.3) == pytest.approx(2**2.5)


def fooled(share, seed=9):
    """Of 8 targets, all by the same images."""
    return np.tile(np.random.default_rng(seed).random(500) < share, (8, 1)).astype(float)


def test_a_search_that_does_as_well_as_a_size_has_that_size():
    curve = np.stack([fooled(share) for share in (0.1, 0.2, 0.4, 0.6, 0.8)])
    found = effective_interval(SIZES, curve, curve[2])
    assert found[:3] == pytest.approx((4.0, 4.0, 4.0)) and not found.flat
    between = effective_interval(SIZES, curve, fooled(0.3, seed=1))  # other images' luck: half way between 2 and 4
    assert between.low < 2**1.5 < between.high and 2 < between.value < 4
    copies = effective_interval(SIZES, np.stack([curve[0]] * 5), curve[0])
    assert copies[:3] == (1.0, 1.0, 1.0) and copies.flat


@pytest.mark.parametrize(("share", "value"), [(0.02, 0.0), (0.98, np.inf)])
def test_what_no_size_equals_is_censored(share, value):
    curve = np.stack([fooled(p) for p in (0.2, 0.3, 0.4, 0.5, 0.6)])
    found = effective_interval(SIZES, curve, fooled(share, seed=2))
    assert found.value == found.low == found.high == value


def test_the_interval_covers_the_truth():
    """60 sets of targets and images, the success of the search that of the curve at 2^1.5."""
    inside, widths = 0, []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        curve = np.stack([(rng.random((8, 250)) < p) for p in (0.2, 0.3, 0.4, 0.5, 0.6)]).astype(float)
        reached = (rng.random((8, 250)) < 0.35).astype(float)
        found = effective_interval(SIZES, curve, reached, num_resamples=100)
        inside += found.low <= 2**1.5 <= found.high
        widths.append(np.log2(min(found.high, SIZES[-1]) / max(found.low, SIZES[0])))
    # Binomial(60, 0.95) is at least 53 with probability 0.99.
    assert inside >= 53
    assert np.median(widths) < 1.5
