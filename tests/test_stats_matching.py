"""Matching on a margin and the matched difference: planted truths."""

import numpy as np
import pytest

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
        value_t, value_r, found.partner, margin_reference=margin_r, classes_reference=inside
    ), found


@pytest.mark.parametrize("kind", [pytest.param("disjoint", marks=pytest.mark.slow), "shared", "classes"])
def test_difference_of_two_populations_from_one_set_covers_zero(kind):
    rng, hits, tries = np.random.default_rng(11), 0, 300
    for _ in range(tries):
        influence, _ = difference(*two_populations(rng, kind, num_examples=64))
        result = interval(influence)
        hits += result.low <= 0 <= result.high
    assert 0.91 <= hits / tries <= 0.985  # three standard errors of 0.95 are 0.038


def test_a_planted_effect_is_found_where_the_raw_difference_has_the_other_sign():
    rng = np.random.default_rng(1)
    sets = two_populations(rng, "shared", num_examples=512, effect=0.4, shift=-0.7)
    influence, found = difference(*sets)
    result = interval(influence)
    assert interval(sets[2] - sets[3]).high < 0
    assert result.low < 0.4 < result.high and result.low > 0
    assert np.all(np.abs(found.smd_before) > 0.4) and np.all(np.abs(found.smd_after) < 0.02)


def test_one_image_in_two_pairs_is_one_unit():
    """Values made of image effects alone, each image treated once and partner once: the difference is exactly 0."""
    rng = np.random.default_rng(3)
    value = np.broadcast_to(rng.standard_normal((1, 200)), (4, 200))
    partner = np.broadcast_to(np.roll(np.arange(200), 1), (4, 200))
    influence = matched_difference(value, value, partner, margin_reference=rng.standard_normal((4, 200)))
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


def test_closest_pairs_come_first_by_hand():
    margin_t = np.array([[1.0, 1.2, 9.0]])
    margin_r = np.array([[1.15, 0.7, 4.0]])
    everyone = np.ones((1, 3), bool)
    found = match(margin_t, margin_r, everyone, everyone)
    assert found.partner.tolist() == [[1, 0, -1]]  # 1.2 takes 1.15 although 1.0 comes first; 9.0 has nobody


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
        matched_difference(margin, margin, far.partner, margin_reference=margin)


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
        allowed = (apart[0] <= limits[0]) & (apart[1] <= limits[1]) & treated[s][:, None] & reference[s][None]
        i = np.flatnonzero(both.partner[s] >= 0)
        assert np.all(allowed[i, both.partner[s][i]])
        # Taken in order of distance: no allowed pair of two that are left, or closer than both of theirs.
        distance = np.where(allowed, (apart[0] / limits[0]) ** 2 + (apart[1] / limits[1]) ** 2, np.inf)
        of_treated, of_reference = np.full((2, 80), np.inf)
        of_treated[i] = of_reference[both.partner[s][i]] = distance[i, both.partner[s][i]]
        assert not np.any(distance < np.minimum(of_treated[:, None], of_reference[None]))
