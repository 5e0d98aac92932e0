"""Matching on a margin and the matched difference: planted truths."""

import numpy as np
import pytest

from landscape.stats import matching
from landscape.stats.intervals import interval
from landscape.stats.matching import match, matched_difference


def steep(margin):
    return 3 * np.tanh(margin / 2) + 0.5 * margin


def population(rng, shape, *, image_margin, image_value, member=0.15, effect=0.0, shift=0.0, classes=0):
    """(margins, values) [S, N]: values steep in the margin, shared image effects, small member effects."""
    margin = 1 + shift + image_margin + 0.5 * rng.standard_normal(shape) + 0.3 * classes
    value = steep(margin) + image_value + 0.5 * rng.standard_normal(shape) + 0.4 * classes + effect
    return margin, value + member * rng.standard_normal((shape[0], 1))


def two_populations(rng, kind, *, num_members=4, num_examples=96, effect=0.0, shift=0.0):
    """Margins, values and masks of a treated and a reference population that differ by `effect` only.

    disjoint: random halves of one set of images; shared: two versions of each image; classes: shared, matched on class.
    """
    shape = (num_members, num_examples)

    def image():
        return rng.standard_normal((1, num_examples))

    everyone = np.ones(shape, bool)
    classes = rng.integers(0, 5, (2, 1, num_examples)) if kind == "classes" else np.zeros((2, 1, num_examples), int)
    common, own = image(), image()
    margin_r, value_r = population(rng, shape, image_margin=own, image_value=0.5 * common, classes=classes[1])
    if kind == "disjoint":
        margin_t, value_t = margin_r, value_r + effect
        treated = np.broadcast_to(rng.permutation(num_examples) < num_examples // 2, shape)
        return margin_t, margin_r, value_t, value_r, treated, ~treated, None
    margin_t, value_t = population(
        rng,
        shape,
        image_margin=0.7 * own + 0.7 * image(),
        image_value=0.5 * common + 0.5 * image(),
        effect=effect,
        shift=shift,
        classes=classes[0],
    )
    both = tuple(np.broadcast_to(c, shape) for c in classes) if kind == "classes" else None
    return margin_t, margin_r, value_t, value_r, everyone, everyone, both


def difference(margin_t, margin_r, value_t, value_r, treated, reference, classes):
    labels = dict(zip(("classes_treated", "classes_reference"), classes, strict=True)) if classes else {}
    found = match(margin_t, margin_r, treated, reference, **labels)
    inside = classes[1] if classes and found.same_class else None
    return matched_difference(
        value_t, value_r, found.partner, margin_treated=margin_t, margin_reference=margin_r, classes_reference=inside
    ), found


@pytest.mark.parametrize(
    ("kind", "tries"),
    [("shared", 60), *(pytest.param(kind, 300, marks=pytest.mark.slow) for kind in ("shared", "classes", "disjoint"))],
)
def test_difference_of_two_populations_from_one_set_covers_zero(kind, tries):
    rng, hits = np.random.default_rng(11), 0
    for _ in range(tries):
        influence, _ = difference(*two_populations(rng, kind, num_examples=64, shift=-0.7))
        result = interval(influence)
        hits += result.low <= 0 <= result.high
    error = 3 * np.sqrt(0.95 * 0.05 / tries)
    assert 0.95 - error <= hits / tries <= 0.95 + error


def test_a_planted_effect_is_found_where_the_raw_difference_has_the_other_sign():
    rng = np.random.default_rng(1)
    sets = two_populations(rng, "shared", num_examples=512, effect=0.4, shift=-0.7)
    influence, found = difference(*sets)
    result = interval(influence)
    assert abs(result.value - 0.4) < 0.1  # without the adjustment for what margins differ still: 0.25
    assert interval(sets[2] - sets[3]).high < 0
    assert result.low < 0.4 < result.high and result.low > 0
    assert np.all(np.abs(found.smd_before) > 0.4) and np.all(np.abs(found.smd_after) < 0.12)


def test_one_image_in_two_pairs_is_one_unit():
    """Values made of image effects alone, each image treated once and partner once: the difference is exactly 0."""
    rng = np.random.default_rng(3)
    value = np.broadcast_to(rng.standard_normal((1, 200)), (4, 200))
    partner = np.broadcast_to(np.roll(np.arange(200), 1), (4, 200))
    margin = rng.standard_normal((4, 200))
    treated = np.take_along_axis(margin, partner, axis=1)
    influence = matched_difference(value, value, partner, margin_treated=treated, margin_reference=margin)
    naive = np.std(value[0] - value[0, partner[0]], ddof=1) / np.sqrt(200)
    result = interval(influence)
    assert abs(result.value) < 1e-12
    assert result.sem < 0.3 * naive  # pairs taken as independent units would give `naive`


def test_pairs_respect_caliper_class_and_use_each_partner_once():
    margin_t, margin_r, _, _, treated, reference, classes = two_populations(np.random.default_rng(5), "classes")
    reference = reference & (np.arange(96) < 60)
    found = match(margin_t, margin_r, treated, reference, classes_treated=classes[0], classes_reference=classes[1])
    assert found.same_class
    for s, partner in enumerate(found.partner):
        i = np.flatnonzero(partner >= 0)
        j = partner[i]
        assert np.unique(j).size == i.size == found.pairs[s] and np.all(reference[s, j])
        assert np.all(np.abs(margin_t[s, i] - margin_r[s, j]) <= found.caliper[s])
        assert np.all(classes[0][s, i] == classes[1][s, j])
        np.testing.assert_allclose(found.caliper[s], 0.2 * np.std(margin_r[s, reference[s]], ddof=1))
        np.testing.assert_allclose(found.share_kept[s], i.size / 96)
    assert found.distinct_partners == np.unique(found.partner[found.partner >= 0]).size


def most_and_closest(distance):
    """(number of pairs, minus their total distance) of the best of all ways to pair rows with columns; inf: no pair."""

    def best(row, free):
        if row == len(distance):
            return 0, 0.0
        found = [best(row + 1, free)]
        for column in free:
            if np.isfinite(distance[row, column]):
                pairs, total = best(row + 1, free - {column})
                found.append((pairs + 1, total - distance[row, column]))
        return max(found)

    return best(0, frozenset(range(distance.shape[1])))


@pytest.mark.parametrize("covariates", [1, 2])
@pytest.mark.parametrize("digits", [1, 9])  # 1: many ties
def test_the_most_pairs_of_least_total_distance_are_those_of_all_ways_to_pair(covariates, digits, monkeypatch):
    monkeypatch.setattr(matching, "CALIPER", 0.7)  # so that there is a choice
    rng = np.random.default_rng(0)
    everyone = np.ones((25, 6), bool)
    masks = everyone & (np.arange(6) < 5), everyone
    values = np.round(rng.standard_normal((covariates, 2, 25, 6)) * rng.choice([0.1, 0.5], (25, 1)), digits)
    found = match(*values[0], *masks, others=[tuple(one) for one in values[1:]])
    assert 0.3 < found.share_kept.mean() < 0.95
    for s in range(25):
        radii = 0.7 * values[:, 1, s].std(axis=1, ddof=1)
        apart = np.abs(values[:, 0, s, :5, None] - values[:, 1, s, None]) / radii[:, None, None]
        distance = np.where((apart <= 1).all(axis=0), np.sqrt(np.square(apart).sum(axis=0)), np.inf)
        i = np.flatnonzero(found.partner[s] >= 0)
        got = i.size, -distance[i, found.partner[s, i]].sum()
        np.testing.assert_allclose(got, most_and_closest(distance), atol=1e-9)


def test_classes_are_left_out_where_they_leave_too_few_pairs():
    margin = np.linspace(0, 1, 40)[None, :]
    everyone = np.ones((1, 40), bool)
    zeros, ones = np.zeros((1, 40), int), np.ones((1, 40), int)
    found = match(margin, margin, everyone, everyone, classes_treated=zeros, classes_reference=ones)
    assert not found.same_class and found.pairs[0] == 40


def test_impossible_matches_are_refused_or_reported():
    margin, everyone = np.linspace(0, 1, 10)[None, :], np.ones((1, 10), bool)
    with pytest.raises(ValueError, match="fewer than 2 reference examples"):
        match(margin, margin, everyone, everyone & (np.arange(10) < 1))
    far = match(margin + 100, margin, everyone, everyone)
    assert far.pairs.tolist() == [0] and np.isnan(far.smd_after[0]) and far.share_kept[0] == 0
    with pytest.raises(ValueError, match="fewer than 2 matched pairs"):
        matched_difference(margin, margin, far.partner, margin_treated=margin, margin_reference=margin)


def test_further_covariates_keep_pairs_within_their_calipers_too():
    rng = np.random.default_rng(3)
    treated, reference = rng.random((2, 3, 80)) < 0.7
    margins, others = rng.normal(size=(2, 3, 80)), 100 * rng.normal(size=(2, 3, 80))
    alone = match(*margins, treated, reference)
    both = match(*margins, treated, reference, others=[tuple(others)])
    rescaled = match(*margins, treated, reference, others=[tuple(0.01 * others)])
    np.testing.assert_array_equal(both.partner, rescaled.partner)  # whatever the unit
    assert 0 < both.pairs.sum() < alone.pairs.sum()
    for s in range(3):
        limits = [0.2 * values[1][s][reference[s]].std(ddof=1) for values in (margins, others)]
        apart = [np.abs(values[0][s][:, None] - values[1][s][None]) for values in (margins, others)]
        i = np.flatnonzero(both.partner[s] >= 0)
        assert all(np.all(one[i, both.partner[s][i]] <= limit) for one, limit in zip(apart, limits, strict=True))
