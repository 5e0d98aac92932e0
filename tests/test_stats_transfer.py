"""What classifiers make of one another's adversarial examples: planted members, permutations, Poisson-binomial sums."""

import itertools

import numpy as np
import pytest

from landscape.stats.intervals import interval
from landscape.stats.pseudo_values import pseudo_values
from landscape.stats.transfer import (
    CONDITIONS,
    OUTCOMES,
    chance_matrix,
    chance_of_same,
    condition_mask,
    counts_if_independent,
    excess,
    expected_given_margin,
    outcomes,
)


def predictions(seed=0, images=400, num_classes=5, wrong=0.7):
    """(label, two sets of predictions) that err on a share of the images, whichever way."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, num_classes, images)
    own, seen = (
        np.where(rng.random(images) < wrong, (label + rng.integers(1, num_classes, images)) % num_classes, label)
        for _ in range(2)
    )
    return label, own, seen


def test_outcomes_by_hand():
    label = np.array([0, 0, 0, 0, 0])
    own = np.array([1, 1, 1, 0, 0])
    seen = np.array([0, 1, 2, 0, 3])
    told = [OUTCOMES[i] for i in outcomes(own, seen, label)]
    assert told == ["unfooled", "same", "different", "unfooled", "different"]


def test_a_copy_makes_the_same_mistakes_and_a_permuted_member_the_permuted_ones():
    label, own, _ = predictions()
    fooled = own != label
    assert np.all(outcomes(own, own, label)[fooled] == 1)
    turn = np.array([1, 2, 3, 4, 0])  # a member whose classes are permuted says turn[c] where the other says c
    permuted = turn[own]
    told = outcomes(own, permuted, label)
    assert not np.any(told == 1)  # never the same class as the source, since turn has no fixed point
    assert np.array_equal(told == 0, permuted == label)
    back = np.argsort(turn)[permuted]
    assert np.array_equal(outcomes(own, back, label), outcomes(own, own, label))


def test_chance_is_the_mean_over_all_ways_to_deal_out_the_mistakes():
    label = np.array([0, 0, 0, 0, 1, 1, 1, 1, 0])
    own = np.array([1, 2, 2, 1, 0, 2, 2, 0, 0])  # the last one does not err
    seen = np.array([1, 2, 1, 1, 2, 2, 2, 0, 1])
    mask = np.ones(9, bool)
    shares = []
    for first in itertools.permutations(range(4)):
        for second in itertools.permutations(range(4, 8)):
            dealt = seen[[*first, *second, 8]]
            shares.append(np.mean(outcomes(own, dealt, label) == 1))
    assert chance_of_same(own, seen, label, mask).mean() == pytest.approx(np.mean(shares))
    assert chance_of_same(own, seen, label, mask)[8] == 0


def test_chance_reads_the_mask_alone():
    label, own, seen = predictions()
    mask = np.arange(400) < 250
    short = chance_of_same(own[mask], seen[mask], label[mask], np.ones(250, bool))
    whole = chance_of_same(own, seen, label, mask)
    np.testing.assert_allclose(whole[mask], short, atol=1e-15)
    assert not np.any(whole[~mask])


def test_of_mistakes_made_at_random_the_rate_is_chance():
    """The interval of the difference covers 0 about as often as it says, with chance estimated from the same images."""
    inside = 0
    for seed in range(200):
        label, own, seen = predictions(seed, images=150, num_classes=3)
        mask = np.ones(150, bool)
        apart = (outcomes(own, seen, label) == 1) - chance_of_same(own, seen, label, mask)
        found = interval(apart[None])
        inside += found.low <= 0 <= found.high
    # Binomial(200, 0.95) lies in [180, 198] with probability 0.997.
    assert 180 <= inside <= 199


def test_the_delta_method_gives_the_spread_of_the_chance_rate():
    """Beside its standard deviation over 300 sets of images; means alone, b(own), would fall short of it."""
    rng = np.random.default_rng(1)
    values, errors = [], []
    for _ in range(300):
        label = np.zeros(200, int)
        own, seen = (rng.choice([1, 2, 3], 200, p=[0.7, 0.2, 0.1]) for _ in range(2))
        c = chance_of_same(own, seen, label, np.ones(200, bool))
        values.append(c.mean())
        errors.append(c.std(ddof=1) / np.sqrt(200))
    # The standard deviation of 300 values is known to 4 %.
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.15)


def test_the_matrix_is_the_rate_of_each_pair():
    label, own, seen = predictions()
    both = np.stack([own, seen])
    matrix = chance_matrix(both, np.stack([both, both]), label, np.ones((2, 400), bool))
    assert matrix.shape == (2, 2, 400)
    np.testing.assert_array_equal(matrix[0, 1], chance_of_same(own, seen, label, np.ones(400, bool)))
    np.testing.assert_array_equal(matrix[1, 0], chance_of_same(seen, own, label, np.ones(400, bool)))


def test_conditions():
    label = np.array([0, 0, 0, 0])
    clean = np.array([[0, 0, 0, 1], [0, 0, 1, 0], [0, 0, 0, 0]])
    own = np.array([[1, 0, 1, 1], [1, 1, 0, 0]])
    masks = {name: condition_mask(name, clean, own, label) for name in CONDITIONS}
    assert masks["all"].all() and masks["all"].shape == (2, 4)
    np.testing.assert_array_equal(masks["clean_correct"], [[True, True, False, False]] * 2)
    np.testing.assert_array_equal(masks["source_fooled"], [[True, False, False, False], [True, True, False, False]])
    with pytest.raises(ValueError, match="expected one of all, clean_correct, source_fooled"):
        condition_mask("fooled", clean, own, label)


# ---- how many are fooled ----


def test_expected_given_margin_falls_and_keeps_the_mean():
    rng = np.random.default_rng(0)
    margin = rng.normal(2, 1, (3, 500))
    margin[0, :10] = 1.5  # ties share one value
    fooled = rng.random((3, 500)) < 1 / (1 + np.exp(margin))
    p = expected_given_margin(fooled, margin)
    order = np.argsort(margin, axis=1)
    assert np.all(np.diff(np.take_along_axis(p, order, 1), axis=1) <= 1e-12)
    np.testing.assert_allclose(p.mean(axis=1), fooled.mean(axis=1))
    assert len(set(p[0, :10])) == 1
    # Near the truth, in the mean over images, to about three standard errors of 500 decisions in some 10 steps.
    assert np.abs(p - 1 / (1 + np.exp(margin))).mean() < 0.06


def test_counts_of_independent_targets_are_poisson_binomial():
    chance = np.array([[0.1, 0.5], [0.7, 0.5], [0.4, 0.5]])
    found = counts_if_independent(chance)
    expected = np.zeros(4)
    for image in range(2):
        for fooled in itertools.product((0, 1), repeat=3):
            p = np.prod([chance[t, image] if f else 1 - chance[t, image] for t, f in enumerate(fooled)])
            expected[sum(fooled)] += p / 2
    np.testing.assert_allclose(found, expected)


def pairs(values):
    return values[~np.eye(len(values), dtype=bool)]


def test_targets_fooled_together_are_seen_and_independent_ones_are_not():
    rng = np.random.default_rng(3)
    margin = rng.normal(1, 1, 2000)
    p = 1 / (1 + np.exp(margin))
    alone = rng.random((6, 2000)) < p
    # The same chances, from one draw an image that all targets share half of the time.
    shared = rng.random(2000) < 0.5
    one = rng.random(2000) < p
    together = np.where(shared, one, rng.random((6, 2000)) < p)
    margins = np.broadcast_to(margin, (6, 2000))
    for fooled, wanted in ((alone, 0.0), (together, 0.5 * 0.5 * np.mean(p * (1 - p)) * 2)):
        found = interval(pseudo_values(excess(fooled, expected_given_margin(fooled, margins))))
        # Covariance of two targets: both share the draw with probability 1/2.
        assert found.low <= wanted <= found.high
        assert found.high - found.low < 0.03
    assert found.low > 0


def test_plain_independence_would_be_refused_on_independent_targets():
    """Why the margin is given: with one chance for all images, targets that share nothing seem to share."""
    rng = np.random.default_rng(4)
    margin = rng.normal(1, 2, 2000)
    alone = rng.random((6, 2000)) < 1 / (1 + np.exp(margin))
    plain = np.broadcast_to(alone.mean(axis=1, keepdims=True), alone.shape)
    assert interval(pseudo_values(excess(alone, plain))).low > 0.02


def test_excess_of_a_copy_is_its_variance():
    rng = np.random.default_rng(5)
    fooled = np.broadcast_to(rng.random(300) < 0.3, (3, 300))
    chance = np.full((3, 300), fooled.mean())
    p = fooled[0].mean()
    np.testing.assert_allclose(pairs(excess(fooled, chance)).mean(), p * (1 - p))
