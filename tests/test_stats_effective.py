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


def hits(rng, share, judges, images, spread=0.0):
    base = rng.random(images)
    chance = np.clip(share + spread * rng.normal(size=(judges, 1)), 0, 1)
    return (base < chance).astype(float)


def test_copies_are_worth_one_and_say_so():
    rng = np.random.default_rng(0)
    one = hits(rng, 0.4, 8, 200, spread=0.1)
    found = effective_interval(SIZES, np.stack([one] * 5), one)
    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)
    assert found.flat


def test_a_rung_that_is_a_size_is_worth_that_size():
    rng = np.random.default_rng(1)
    curve = np.stack([hits(np.random.default_rng(9), p, 8, 500) for p in (0.1, 0.2, 0.4, 0.6, 0.8)])
    found = effective_interval(SIZES, curve, curve[2])
    assert found[:3] == pytest.approx((4.0, 4.0, 4.0)) and not found.flat
    between = hits(rng, 0.3, 8, 500)  # other images' luck: half way between 2 and 4
    found = effective_interval(SIZES, curve, between)
    assert found.low < 2**1.5 < found.high and 2 < found.value < 4


@pytest.mark.parametrize(("share", "value"), [(0.02, 0.0), (0.98, np.inf)])
def test_what_no_size_equals_is_censored(share, value):
    rng = np.random.default_rng(2)
    curve = np.stack([hits(np.random.default_rng(9), p, 8, 300) for p in (0.2, 0.3, 0.4, 0.5, 0.6)])
    found = effective_interval(SIZES, curve, hits(rng, share, 8, 300))
    assert found.value == found.low == found.high == value


def test_the_interval_covers_the_truth():
    """60 sets of judges and images, the rung's success that of the curve at 2^1.5."""
    inside, widths = 0, []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        curve = np.stack([(rng.random((8, 250)) < p) for p in (0.2, 0.3, 0.4, 0.5, 0.6)]).astype(float)
        rung = (rng.random((8, 250)) < 0.35).astype(float)
        found = effective_interval(SIZES, curve, rung, num_resamples=200)
        inside += found.low <= 2**1.5 <= found.high
        widths.append(np.log2(found.high / found.low))
    # Wider than nominal, since residual noise is drawn twice; Binomial(60, 0.95) is at least 53 with probability 0.99.
    assert inside >= 53
    assert np.median(widths) < 1.5
