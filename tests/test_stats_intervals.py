"""The crossed interval, masked means and ratios, simultaneous bands, duplicated members."""

import itertools

import numpy as np
import pytest
from scipy import stats

from landscape.stats.bands import simultaneous
from landscape.stats.duplicates import distinct_members, duplicate_check
from landscape.stats.influence import masked_mean, ratio
from landscape.stats.intervals import interval, of_share, sides, two_way

DRAWS = {  # of mean 0 and standard deviation 1
    "normal": lambda rng, size: rng.standard_normal(size),
    "exponential": lambda rng, size: rng.exponential(size=size) - 1,
    "lognormal": lambda rng, size: (rng.lognormal(size=size) - np.exp(0.5)) / np.sqrt(np.e * (np.e - 1)),
}


def crossed(rng, shape, *, member=0.3, example=1.0, residual=1.0, kinds=("normal",) * 3):
    """Values [..., S, N] with mean 0 from independent member, example and residual effects."""
    *tries, num_members, num_examples = shape
    shapes = (*tries, num_members, 1), (*tries, 1, num_examples), shape
    return sum(
        sd * DRAWS[kind](rng, size) for sd, kind, size in zip((member, example, residual), kinds, shapes, strict=True)
    )


def coverage(rng, shape, **effects):
    low, high = two_way(crossed(rng, shape, **effects)).ends()
    return np.mean((low <= 0) & (0 <= high))


def test_interval_is_its_formula():
    values = crossed(np.random.default_rng(0), (5, 12), kinds=("normal", "exponential", "normal"))
    s, n = values.shape
    rows, columns, grand = values.mean(1), values.mean(0), values.mean()
    a, b = n * rows.var(ddof=1), s * columns.var(ddof=1)
    e = sum((values[i, j] - rows[i] - columns[j] + grand) ** 2 for i in range(s) for j in range(n)) / (
        (s - 1) * (n - 1)
    )
    v = max(a + b - e, a, b)
    sem, df = np.sqrt(v / (s * n)), v / (max(a - e / 4, 0) / (s - 2) + b / (n - 2))
    skew = (stats.kstat(rows, 3) / s**2 + stats.kstat(columns, 3) / n**2) / sem**3
    got = interval(values)
    np.testing.assert_allclose([got.value, got.sem, got.df, got.skew], [grand, sem, df, skew], rtol=1e-12)
    half = stats.t.ppf(0.975, df) * sem * sides(skew)
    np.testing.assert_allclose([got.low, got.high], [grand - half[0], grand + half[1]], rtol=1e-12)
    np.testing.assert_allclose(
        [got.var_member, got.var_example, got.var_residual], [max((a - e) / n, 0), max((b - e) / s, 0), e], rtol=1e-12
    )
    assert (got.members, got.examples, got.generalises_to) == (5, 12, "both")


def test_skewed_halves_invert_the_cubic_up_to_the_largest_skewness_and_are_one_without():
    k, z = np.array([-1 / 3, -0.1, 0.2, 1 / 3]), stats.norm.ppf(0.975)
    for t, x in zip(z * sides(k) * np.array([[1], [-1]]), (z, -z), strict=True):
        np.testing.assert_allclose(t + k * t**2 / 3 + k**2 * t**3 / 27 + k / 6, x, rtol=1e-9)
    np.testing.assert_allclose(sides(0.0), 1, atol=1e-5)
    np.testing.assert_array_equal(sides(-0.4), sides(1 / 3)[::-1])


@pytest.mark.parametrize(("kind", "least"), [("normal", 0.925), ("exponential", 0.915)])
def test_coverage_of_the_crossed_interval(kind, least):
    """3000 tries: 0.95 has a standard error of 0.004. Symmetric t intervals cover 0.87 of exponential effects."""
    found = coverage(np.random.default_rng(0), (3000, 4, 64), member=1.0, residual=0.3, kinds=(kind,) * 3)
    assert least <= found <= 0.985


LIMITS = {"normal": (0.92, 0.98), "exponential": (0.92, 0.98), "lognormal": (0.88, 0.99)}


@pytest.mark.slow
@pytest.mark.parametrize("kind", LIMITS)
@pytest.mark.parametrize("num_members", [4, 8, 16])
def test_coverage_where_members_images_or_the_residual_dominate_and_any_of_them_is_skewed(num_members, kind):
    rng = np.random.default_rng(num_members)
    low, high = LIMITS[kind]
    skewed = [(kind,) * 3, *(tuple(kind if i == j else "normal" for j in range(3)) for i in range(3))]
    mixes = [(1, 0.1, 0.1), (1, 1, 1), (0.5, 0.2, 2), (0.3, 1, 0.1), (0.3, 1, 1), (0.1, 1, 1), (0.1, 0.1, 1)]
    found = {}
    for num_examples, kinds, mix in itertools.product((64, 256), skewed, mixes):
        effects = dict(zip(("member", "example", "residual"), mix, strict=True))
        found[num_examples, kinds, mix] = coverage(rng, (1500, num_members, num_examples), kinds=kinds, **effects)
    below, above = (3 * np.sqrt(end * (1 - end) / 1500) for end in (low, high))
    assert min(found.values()) >= low - below and max(found.values()) <= high + above, found


def test_interval_over_images_or_seeds_alone_is_the_one_sample_t_corrected_for_skewness():
    values = crossed(np.random.default_rng(1), (3, 40))
    got, seeds = interval(values), interval(values.T[:10, :1])
    for found, sample in ((got, values.mean(0)), (seeds, values.T[:10, 0])):
        n = sample.size
        skew = stats.skew(sample, bias=False) / np.sqrt(n)
        low, high = sample.mean() + stats.sem(sample) * stats.t.ppf([0.025, 0.975], n - 2) * sides(skew)
        np.testing.assert_allclose([found.low, found.high, found.df, found.skew], [low, high, n - 2, skew], rtol=1e-9)
    assert got.generalises_to == "new images"
    assert seeds.generalises_to == "new seeds"
    single = interval(values[:1])
    assert single.generalises_to == "new images" and np.isfinite(single.low) and np.isnan(single.var_member)
    assert np.isnan(interval(values[:1, :1]).low)


def test_constants_have_zero_width_and_bad_values_are_refused():
    got = interval(np.full((4, 6), 2.5))
    assert (got.value, got.low, got.high, got.df) == (2.5, 2.5, 2.5, 2.0)
    broken = np.ones((4, 6))
    broken[1, 2] = np.nan
    with pytest.raises(ValueError, match=r"1 of 24 values.*expected finite.*by a mask"):
        interval(broken)


@pytest.mark.parametrize("shift", [0.0, 0.1])
def test_degrees_of_freedom_are_at_most_those_of_members_or_images(shift):
    """All column means are equal, and row means differ by less than the residual explains: shares of both are 0, or all
    rounding."""
    values = np.tile([[1.1, -0.9] * 3, [-1.1, 0.9] * 3], (2, 1)) + shift
    with np.errstate(all="raise"):
        found = two_way(values)
    assert found.df == pytest.approx(4.0) and found.sem > 0  # S - 2 = 2, N - 2 = 4


def test_masked_mean_is_plain_when_full_and_the_sample_formula_when_not():
    rng = np.random.default_rng(2)
    values = crossed(rng, (4, 30))
    np.testing.assert_allclose(masked_mean(values, np.ones((4, 30), bool)), values, atol=1e-12)
    mask = np.zeros((1, 30), bool)
    mask[0, rng.permutation(30)[:9]] = True
    inside = values[:1][mask]
    hidden = np.where(mask, values[:1], np.nan)  # what is masked out is never read
    got = interval(masked_mean(hidden, mask))
    np.testing.assert_allclose([got.value, got.sem], [inside.mean(), stats.sem(inside)], rtol=1e-10)


def test_few_valid_images_have_few_degrees_of_freedom_and_keep_coverage():
    rng = np.random.default_rng(3)
    hits, tries = 0, 600
    for _ in range(tries):
        mask = (np.arange(300) < 12) & (rng.random((4, 300)) < 0.8)
        result = interval(masked_mean(crossed(rng, (4, 300), member=0.2), mask))
        hits += result.low <= 0 <= result.high
    assert result.df < 30
    assert 0.93 <= hits / tries <= 0.98


def test_ratio_is_the_ratio_of_means_and_its_interval_covers():
    rng = np.random.default_rng(4)
    hits, tries = 0, 800
    for _ in range(tries):
        size = rng.gamma(4.0, size=(1, 100)) * np.exp(0.2 * rng.standard_normal((6, 100)))
        part = size * (0.3 + 0.2 * rng.standard_normal((1, 100)) + 0.05 * rng.standard_normal((6, 1)))
        mask = rng.random((6, 100)) < 0.8
        influence = ratio(part, size, mask)
        result = interval(1 - influence)
        hits += result.low <= 0.7 <= result.high
    np.testing.assert_allclose(influence.mean(1), (part * mask).sum(1) / (size * mask).sum(1), rtol=1e-12)
    np.testing.assert_allclose(ratio(10 * part, 10 * size, mask), influence, rtol=1e-10)
    assert 0.92 <= hits / tries <= 0.98


def test_masks_that_leave_nothing_are_refused():
    mask = np.ones((3, 5), bool)
    mask[2] = False
    with pytest.raises(ValueError, match=r"member\(s\) 2 have no valid example"):
        masked_mean(np.zeros((3, 5)), mask)
    with pytest.raises(ValueError, match="mean 0 for member"):
        ratio(np.ones((2, 5)), np.zeros((2, 5)), np.ones((2, 5), bool))


def test_band_covers_the_whole_curve_jointly_and_contains_the_interval():
    rng = np.random.default_rng(5)
    joint, pointwise, tries = 0, 0, 300
    for _ in range(tries):
        # neighbouring levels share part of their member, image and residual effects
        levels = np.stack([crossed(rng, (6, 40)) for _ in range(6)])
        curve = 0.5 * levels + 0.5 * np.roll(levels, 1, axis=0)
        band = simultaneous(curve, num_draws=1000)
        joint += np.all((band.band_low <= 0) & (0 <= band.band_high))
        pointwise += np.all((band.low <= 0) & (0 <= band.high))
        assert np.all(band.band_low <= band.low) and np.all(band.band_high >= band.high)
    assert 0.92 <= joint / tries <= 0.985
    assert pointwise / tries < 0.90  # the correction is needed


def test_band_of_one_level_or_of_copies_is_the_interval():
    values = crossed(np.random.default_rng(6), (5, 30))
    single, wanted = simultaneous(values[None]), interval(values)
    np.testing.assert_allclose([single.band_low[0], single.band_high[0]], [wanted.low, wanted.high], rtol=1e-12)
    copies = simultaneous(np.stack([values, 3 * values, np.full_like(values, 0.1)]))
    np.testing.assert_allclose(copies.band_high[0], wanted.high, rtol=0.03)  # simulation error of the critical value
    np.testing.assert_allclose([copies.band_low[2], copies.band_high[2]], 0.1)
    few = simultaneous(np.stack([values[:2], -(values[:2] ** 2)]))
    assert np.all(few.band_high > few.high)


def test_duplicated_members_are_flagged_and_do_not_shrink_the_interval():
    rng = np.random.default_rng(7)
    values = crossed(rng, (4, 50))
    doubled = np.concatenate([values, values + 1e-9 * rng.standard_normal(values.shape)])
    kept = distinct_members(doubled)
    assert kept.tolist() == [True] * 4 + [False] * 4
    assert interval(doubled[kept]) == interval(values)
    assert interval(doubled).df > interval(values).df  # what the check guards against
    check = duplicate_check(doubled)
    assert check["name"] == "members.distinct" and not check["passed"]
    assert "member 4 repeats member 0" in check["detail"] and "4 distinct members of 8" in check["detail"]
    assert duplicate_check(values)["passed"] and distinct_members(values).all()


def test_a_share_has_an_interval_within_its_range():
    """Everything right on 20 images: the exact binomial end 0.025^(1/20), not certainty."""
    ones = of_share(interval(np.ones((8, 20))), 20)
    np.testing.assert_allclose((ones.low, ones.high), (stats.beta.ppf(0.025, 20, 1), 1.0), rtol=1e-9)
    none = of_share(interval(np.zeros((8, 20))), 20)
    np.testing.assert_allclose((none.low, none.high), (0.0, stats.beta.ppf(0.975, 1, 20)), rtol=1e-9)
    values = np.ones((8, 20))
    values[:, 0] = 0
    cut = of_share(interval(values), 20)
    assert interval(values).high > 1 == cut.high and cut.low == interval(values).low
