"""What classifiers make of one another's adversarial examples: planted members, permutations, Poisson-binomial sums."""

import itertools

import numpy as np
import pytest

from landscape.stats.intervals import interval
from landscape.stats.transfer import (
    CONDITIONS,
    OUTCOMES,
    chance_of_same,
    condition_mask,
    counts_if_independent,
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
    found = [OUTCOMES[i] for i in outcomes(own, seen, label)]
    assert found == ["unfooled", "same", "different", "unfooled", "different"]


def test_a_copy_makes_the_same_mistakes_and_a_permuted_member_the_permuted_ones():
    label, own, _ = predictions()
    fooled = own != label
    assert np.all(outcomes(own, own, label)[fooled] == 1)
    turn = np.array([1, 2, 3, 4, 0])  # a member whose classes are permuted says turn[c] where the other says c
    permuted = turn[own]
    found = outcomes(own, permuted, label)
    assert not np.any(found == 1)  # never the same class as the source, since turn has no fixed point
    assert np.array_equal(found == 0, permuted == label)
    back = np.argsort(turn)[permuted]
    assert np.array_equal(outcomes(own, back, label), outcomes(own, own, label))


def test_chance_is_the_share_of_pairs_of_two_images_of_a_class_that_agree():
    label = np.array([0, 0, 0, 0, 1, 1, 1, 0, 2])
    own = np.array([1, 2, 2, 1, 0, 2, 2, 0, 1])  # the last but one does not err, the last is alone in its class
    seen = np.array([1, 2, 1, 1, 2, 2, 2, 1, 1])
    found = chance_of_same(own, seen, label, np.ones(9, bool))
    for rows in ([0, 1, 2, 3], [4, 5, 6]):
        pairs = [own[i] == seen[j] for i, j in itertools.permutations(rows, 2)]
        assert found[rows].mean() == pytest.approx(np.mean(pairs))
    assert found[7] == 0 and np.isnan(found[8])


def test_chance_is_an_influence_array():
    """An image's value less the mean is what the rate gains, per weight, as the image is given more of it."""
    label, own, seen = predictions(images=60, num_classes=3, wrong=1.0)
    rows, eps = label == 0, 1e-6
    found = chance_of_same(own[rows], seen[rows], label[rows], np.ones(rows.sum(), bool))

    def rate(weight):
        pairs = np.outer(weight, weight) * ~np.eye(len(weight), dtype=bool)
        return np.sum(pairs * (own[rows][:, None] == seen[rows])) / pairs.sum()

    even = np.ones(rows.sum())
    gains = [(rate(even + eps * one) - rate(even)) / eps * len(even) for one in np.eye(len(even))]
    np.testing.assert_allclose(found - found.mean(), gains, atol=1e-5)


def test_chance_reads_the_mask_alone():
    label, own, seen = predictions()
    mask = np.arange(400) < 250
    short = chance_of_same(own[mask], seen[mask], label[mask], np.ones(250, bool))
    whole = chance_of_same(own, seen, label, mask)
    np.testing.assert_allclose(whole[mask], short, atol=1e-15)
    assert not np.any(whole[~mask])


@pytest.mark.parametrize("images", [150, 24])  # on which both err: 24 images a class, or 4
def test_of_mistakes_made_at_random_the_rate_is_chance(images):
    """The interval of the difference covers 0 about as often as it says, with chance estimated from the same images."""
    inside = 0
    for seed in range(200):
        label, own, seen = predictions(seed, images=images, num_classes=3)
        chance = chance_of_same(own, seen, label, np.ones(images, bool))
        apart = np.where(np.isnan(chance), 0, (outcomes(own, seen, label) == 1) - chance)
        found = interval(apart[None])
        inside += found.low <= 0 <= found.high
    # Binomial(200, 0.95) lies in [180, 198] with probability 0.997.
    assert 180 <= inside <= 199


def test_chance_of_few_shared_mistakes_is_that_of_independent_ones():
    """Three images a class, the target copying seven mistakes in ten: own pairs would raise 1/4 to 0.43 on average."""
    rng, images = np.random.default_rng(0), 3 * 2000
    label = np.arange(images) % 2000 * 5  # every class has mistakes of its own
    own, fresh = label + rng.integers(1, 5, images), label + rng.integers(1, 5, images)
    seen = np.where(rng.random(images) < 0.7, own, fresh)
    found = interval(chance_of_same(own, seen, label, np.ones(images, bool))[None])
    assert abs(found.value - 1 / 4) < 4 * found.sem and found.sem < 0.01


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
