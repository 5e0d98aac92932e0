"""AUROC, bootstrap, verdicts and estimates."""

import itertools
import json

import numpy as np
import pytest
from scipy import special, stats

from landscape.stats.auroc import member_separation, roc, separation
from landscape.stats.claims import decide, estimate_dict, holm, p_beyond, p_value, p_within
from landscape.stats.intervals import interval, sides, t_quantile
from landscape.stats.resampling import crossed_band, crossed_bootstrap, one_by_one


def brute_force(positive, negative):
    area = np.mean((positive[:, None] > negative[None, :]) + 0.5 * (positive[:, None] == negative[None, :]))
    rates = []
    for allowed in (0.01, 0.05):
        thresholds = [
            t for t in np.append(np.concatenate([positive, negative]), np.inf) if np.mean(negative >= t) <= allowed
        ]
        rates.append(max(np.mean(positive >= t) for t in thresholds))
    return [area, *rates]


def test_auroc_and_true_positive_rates_are_the_brute_force_ones():
    rng = np.random.default_rng(0)
    positive = np.round(rng.standard_normal((3, 120)) + 1, 1)  # rounded: many ties
    negative = np.round(rng.standard_normal((3, 120)), 1)
    mask = rng.random((3, 120)) < 0.7
    plain = np.array(member_separation(positive, negative))
    masked = np.array(member_separation(np.where(mask, positive, np.nan), negative, mask_positive=mask))
    for s in range(3):
        np.testing.assert_allclose(plain[:, s], brute_force(positive[s], negative[s]), atol=1e-12)
        np.testing.assert_allclose(masked[:, s], brute_force(positive[s][mask[s]], negative[s]), atol=1e-12)
    np.testing.assert_allclose(member_separation(positive, positive).auroc, 0.5)
    with pytest.raises(ValueError, match="no positive example"):
        member_separation(positive, negative, mask_positive=np.zeros((3, 120), bool))


def test_the_interval_of_an_auroc_is_that_of_its_log_odds():
    rng = np.random.default_rng(1)
    positive, negative = rng.standard_normal((2, 5, 30)) + np.array([1.5, 0.0])[:, None, None]
    found, turned = (separation(*both, num_resamples=60).auroc for both in ((positive, negative), (negative, positive)))
    half = t_quantile(found.df) * found.sem / (found.value * (1 - found.value))
    odds = special.logit(found.value) + np.array([-half, half])
    np.testing.assert_allclose([found.low, found.high], special.expit(odds), rtol=1e-12)
    np.testing.assert_allclose([turned.low, turned.high], [1 - found.high, 1 - found.low], rtol=1e-9)
    # Two groups of images and one member: the variance of DeLong et al. 1988.
    first, scores = np.arange(30) < 12, np.round([positive[:1], negative[:1]], 1)
    alone = separation(*scores, mask_positive=first[None], mask_negative=~first[None], num_resamples=9).auroc
    apart = scores[0, 0, first, None] - scores[1, 0, ~first]
    ordered = (apart > 0) + 0.5 * (apart == 0)
    expected = ordered.mean(1).var(ddof=1) / 12 + ordered.mean(0).var(ddof=1) / 18
    np.testing.assert_allclose([alone.value, alone.sem**2], [ordered.mean(), expected])
    assert (apart == 0).any() and alone.generalises_to == "new images"
    # Verdicts agree with it.
    assert p_beyond(found, found.low, "greater") == pytest.approx(0.05) == p_beyond(found, -found.high, "less")
    perfect = separation(positive + 9, negative, num_resamples=20)
    np.testing.assert_allclose([(one.low, one.high) for one in perfect], 1.0, rtol=1e-12)


def test_the_area_under_the_roc_is_the_auroc_and_straight_rises_are_taken_at_their_upper_end():
    rng = np.random.default_rng(4)
    positive = np.round(rng.standard_normal((4, 60)) + 1, 1)  # rounded: many ties
    negative = np.round(rng.standard_normal((4, 60)), 1)
    mask = rng.random((4, 60)) < 0.6
    rates = np.linspace(0, 1, 20_001)
    found = roc(positive, negative, rates, mask_positive=mask, num_resamples=10)
    expected = member_separation(positive, negative, mask_positive=mask).auroc.mean()
    assert np.trapezoid(found[0], rates) == pytest.approx(expected, abs=1e-4)
    assert np.all(np.diff(found[0]) >= 0) and np.all((found[1] <= found[0]) & (found[0] <= found[2]))
    few = np.array([0.0, 0.5, 1.0])
    np.testing.assert_allclose(roc(positive + 9, negative, few, num_resamples=10), 1.0, rtol=1e-12)
    # Half of both above, then all positives, then the other negatives: at 1/2 the curve rises from 1/2 to 1.
    high, low = np.tile([3.0, 1.0], (4, 1)), np.tile([3.0, 0.0], (4, 1))
    np.testing.assert_allclose(roc(high, low, few, num_resamples=10)[0], [0.0, 1.0, 1.0])
    np.testing.assert_allclose(roc(np.zeros((4, 9)), np.zeros((4, 9)), few, num_resamples=10)[0], few)


def test_a_band_of_the_bootstrap_holds_at_all_levels_together():
    """20 levels that hardly go together, members and images with effects of their own."""
    rng, hits, apart, tries = np.random.default_rng(5), 0, 0, 60
    for trial in range(tries):
        values = rng.normal(size=(20, 10, 1)) + rng.normal(size=(20, 1, 40)) + rng.normal(size=(20, 10, 40))

        def means(weight_s, weight_n, values=values):
            means = np.einsum("rs,lsn,rn->rl", weight_s, values, weight_n, optimize=True)
            return means / weight_s.sum(axis=1, keepdims=True) / weight_n.sum(axis=1, keepdims=True)

        _, low, high = crossed_band(means, 10, 40, num_resamples=300, seed=trial)
        hits += np.all((low <= 0) & (high >= 0))
        found = crossed_bootstrap(means, 10, 40, num_resamples=300, seed=trial)
        apart += np.all((found.low <= 0) & (found.high >= 0))
    # 95 % of 60 is 57 with a spread of 1.7; level by level all 20 hold together far less often.
    assert hits >= 52 and apart <= 40


# Effects of members (on the positive alone), of images, and of both together.
MIXES = {"members": (0.7, 0.1, 1.2), "images": (0.0, 1.0, 0.5), "all": (0.5, 0.7, 0.7)}
# Where only the residual varies, the largest of three estimates of one variance is taken (`crossed_variance`): too long
# an interval. Where AUROCs lie from below 0.5 to 1, most at 1, few of them often show no low one.
MIXES |= {"residual": (0.0, 0.0, 1.2), "spread": (1.0, 0.3, 0.3)}
COVERAGE = {"residual": (0.97, 0.99)}  # else 0.93 to 0.98


@pytest.mark.parametrize(
    ("mix", "num_members", "tries"),
    [
        ("images", 6, 40),
        *(pytest.param(mix, s, 1000, marks=pytest.mark.slow) for mix in MIXES for s in (4, 8, 16)),
    ],
)
def test_separation_interval_covers_the_true_auroc(mix, num_members, tries):
    rng, hits = np.random.default_rng(3), 0
    member, example, residual = MIXES[mix]
    truth = stats.norm.cdf(1 / np.sqrt(member**2 + 2 * example**2 + 2 * residual**2))
    for _ in range(tries):
        positive, negative = (
            example * rng.standard_normal((1, 60)) + residual * rng.standard_normal((num_members, 60)) for _ in "pn"
        )
        shift = 1 + member * rng.standard_normal((num_members, 1))
        result = separation(positive + shift, negative, num_resamples=25).auroc
        hits += result.low <= truth <= result.high
    assert result.generalises_to == "both" and 0 <= result.low < result.high <= 1
    least, most = COVERAGE.get(mix, (0.93, 0.98))
    below, above = (3 * np.sqrt(end * (1 - end) / tries) for end in (least, most))  # 1000 tries leave room above
    assert least - below <= hits / tries <= most + above


def test_bootstrap_of_a_mean_agrees_with_the_two_way_interval():
    rng = np.random.default_rng(4)
    values = 0.3 * rng.exponential(size=(8, 1)) + rng.standard_normal((1, 100)) + rng.standard_normal((8, 100))

    def mean(weight_s, weight_n):
        return np.einsum("rs,sn,rn->r", weight_s, values, weight_n, optimize=True) / (8 * 100)

    booted, wanted = crossed_bootstrap(mean, 8, 100, num_resamples=2000, seed=1), interval(values)
    assert booted.value == pytest.approx(wanted.value)
    np.testing.assert_allclose([booted.sem, booted.df], [wanted.sem, wanted.df], rtol=0.1)
    assert booted.skew == pytest.approx(wanted.skew, abs=0.08)
    ends = booted.value + booted.sem * t_quantile(booted.df) * np.array([-1, 1]) * sides(booted.skew)
    np.testing.assert_allclose([booted.low, booted.high], ends, rtol=1e-10)
    one = crossed_bootstrap(one_by_one(lambda s, n: mean(s[None], n[None])[0]), 8, 100, num_resamples=2000, seed=1)
    np.testing.assert_allclose(one[:5], booted[:5])
    few = crossed_bootstrap(lambda s, n: n @ values[0] / 100, 1, 100, num_resamples=2000)
    assert few.generalises_to == "new images"
    assert few.sem == pytest.approx(stats.sem(values[0]), rel=0.1)
    with pytest.raises(ValueError, match="undefined on"):
        crossed_bootstrap(lambda s, n: np.where(n[:, 0] > 0, 1.0, np.nan), 4, 10)
    with pytest.raises(ValueError, match="on the data"):
        crossed_bootstrap(lambda s, n: np.full(len(s), np.nan), 4, 10)


def test_holm_by_hand():
    np.testing.assert_allclose(holm(np.array([0.04, 0.01, 0.03])), [0.06, 0.03, 0.06])
    np.testing.assert_allclose(holm(np.array([0.5, np.nan, 0.6])), [1.0, 1.0, 1.0])


def measured(mean, spread=1.0, num_members=6, num_examples=80):
    rng = np.random.default_rng(5)
    values = spread * (rng.standard_normal((1, num_examples)) + rng.standard_normal((num_members, num_examples)))
    return interval(values - values.mean() + mean)


def claim(name="main"):
    fields = dict(measure="input_flatness.scale_free", populations=("adversarial", "boosted"), contrast="difference")
    fields |= dict(name=name, r=0.3, matching="raw", direction="greater", smallest_effect=0.1)
    return fields


def said(found, **more):
    return decide([claim() | more], [found])[0]["verdict"]


def test_verdicts():
    assert said(measured(1.0)) == said(measured(-1.0), direction="less") == "supported"
    assert said(measured(-1.0)) == said(measured(1.0), direction="less") == "opposite"
    part = measured(0.3)  # beyond 0, and not beyond the smallest effect
    assert 0 < part.low < 0.1
    assert said(part) == said(measured(-0.3), direction="less") == "detected"
    assert said(part, smallest_effect=0) == "supported"
    # Negligible if significant, too, in either direction.
    assert said(measured(0.02, spread=0.05)) == said(measured(-0.02, spread=0.01)) == "negligible"
    assert said(measured(0.02)) == said(interval(np.ones((1, 1)))) == "undecided"
    with pytest.raises(ValueError, match="direction='up'"):
        said(measured(1.0), direction="up")
    with pytest.raises(ValueError, match="smallest_effect=-1"):
        said(measured(1.0), direction="less", smallest_effect=-1)


def test_p_values_are_below_5_percent_exactly_where_the_interval_is_beyond_zero_or_an_effect_or_within_it():
    """Of skewed values too, shifted until 0 or the effect is at, just inside or just outside of either end."""
    values = np.random.default_rng(5).exponential(size=(6, 1)) + np.random.default_rng(6).standard_normal((6, 80))
    cut = measured(0.5)._replace(low=0.0)  # as the interval of a share is
    assert p_value(measured(0.5)) < 0.05 <= p_value(cut)
    for sign in (1, -1):
        found = interval(sign * values)
        assert sign * found.skew > 0.2
        for end in (found.low, found.high):
            assert p_value(interval(sign * values - end)) == pytest.approx(0.05)
            for shift in np.array([-0.5, -1e-6, 1e-6, 0.5]):
                result = interval(sign * values - end - shift)
                assert (p_value(result) < 0.05) == (not result.low <= 0 <= result.high)
            for effect, shift in itertools.product((-0.2, 0.0, 0.4), (-0.5, -1e-6, 1e-6, 0.5)):
                result = interval(sign * values - end + effect - shift)
                assert (p_beyond(result, effect, "greater") < 0.05) == (result.low > effect)
                assert (p_beyond(result, -effect, "less") < 0.05) == (result.high < effect)
                wide = (found.high - found.low + effect) / 2
                assert (p_within(result, wide) < 0.05) == (-wide < result.low and result.high < wide)


def test_verdicts_are_corrected_over_the_primaries():
    results = [measured(1.0), measured(0.0), measured(-1.0)]
    decided = decide([claim("a"), claim("b"), claim("c")], results)
    assert [entry["verdict"] for entry in decided] == ["supported", "undecided", "opposite"]
    np.testing.assert_allclose([entry["p"] for entry in decided], holm(np.array([p_value(r) for r in results])))
    json.dumps(decided, allow_nan=False)
    # So is what an interval that ends a little beyond the smallest effect, or a little within it, allows to say.
    wide, narrow = measured(0.0), measured(0.0, spread=0.05)
    beyond = measured(0.1 - wide.low + 0.05 * wide.sem)
    within = measured(0.1 - narrow.high - 0.05 * narrow.sem, spread=0.05)
    assert [said(one) for one in (beyond, within)] == ["supported", "negligible"]
    for one, p_of in ((beyond, lambda one: p_beyond(one, 0.1, "greater")), (within, lambda one: p_within(one, 0.1))):
        name = "p_beyond" if one is beyond else "p_within"
        both = decide([claim("a"), claim("b")], [one, one])
        assert [entry["verdict"] for entry in both] == ["detected"] * 2
        np.testing.assert_allclose([entry[name] for entry in both], [2 * p_of(one)] * 2)
        assert both[0]["p"] <= both[0]["p_beyond"]
        # Beside one that is sure it is tested last, with no correction.
        sure = measured(9.0) if one is beyond else measured(0.0, spread=0.01)
        assert decide([claim("a"), claim("b")], [sure, one])[1]["verdict"] == said(one)
    # One without data stays undecided, and counts.
    some, none = decide([claim("a"), claim("b")], [measured(0.5), None])
    assert none["verdict"] == "undecided" and none["value"] is none["p"] is none["p_beyond"] is None
    np.testing.assert_allclose(some["p"], 2 * p_value(measured(0.5)))


def without(field, **more):
    return {key: value for key, value in claim().items() if key != field} | more


def test_claims_that_lack_something_are_refused():
    for size in ("sigma", "radius"):  # instead of r
        assert decide([without("r", **{size: 0.3})], [measured(1.0)])[0]["verdict"] == "supported"
    with pytest.raises(ValueError, match="4 claims"):
        decide([claim()] * 4, [measured(1.0)] * 4)
    with pytest.raises(ValueError, match="expected at most 6"):
        decide([claim()] * 7, [measured(1.0)] * 7, strata=2)
    with pytest.raises(ValueError, match=r"lacks the size of its noise.*one of r, sigma, radius"):
        decide([without("r")], [measured(1.0)])
    with pytest.raises(ValueError, match="lacks direction"):
        decide([without("direction")], [measured(1.0)])


def test_estimate_dict_is_plain_and_its_name_is_checked():
    entry = estimate_dict(
        interval(np.ones((1, 1))),
        "accuracy.test",
        population="genuine",
        unit="share",
        sigma=np.float32(0.5),
        examples=7,
    )
    assert entry["low"] is None and entry["sigma"] == 0.5 and entry["examples"] == 7 and entry["value"] == 1.0
    assert {"name", "population", "value", "low", "high", "level", "members", "unit", "generalises_to"} <= entry.keys()
    json.dumps(entry, allow_nan=False)
    for name, words in [
        ("flatness.drop", "begins with 'flatness'"),
        ("accuracy.Test", "joined by dots"),
        ("mse", "dots"),
    ]:
        with pytest.raises(ValueError, match=words):
            estimate_dict(measured(0.0), name, population="genuine", unit="share")
