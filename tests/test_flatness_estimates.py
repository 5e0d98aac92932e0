"""The four readings on planted values: what is put in comes out, and what must not matter does not."""

import numpy as np
import pytest

from landscape.experiments import flatness_contrasts as contrasts
from landscape.experiments import flatness_curves
from landscape.experiments.flatness_contrasts import Cells
from landscape.populations import POPULATIONS

S, N, L = 6, 160, 2


def planted(seed=0, scale=1.0, offset=0.1):
    """Margins ~ U(2, 8); margin drops 0.1 m, adversarial ones (0.1 + offset) m; p drop = m drop / 50."""
    rng = np.random.default_rng(seed)
    share = np.full(len(POPULATIONS), 0.1)
    share[[POPULATIONS.index(n) for n in ("adversarial", "adversarial_iso")]] += offset
    margin = rng.uniform(2, 8, (S, len(POPULATIONS), N))
    member, image = rng.normal(0, 0.005, (S, 1, 1)), rng.normal(0, 0.01, (1, 1, N))
    drop = margin * (share[None, :, None] + member + image + rng.normal(0, 0.01, margin.shape))
    values = {
        "margin": scale * margin,
        "input_margin_drop": scale * np.stack([np.stack([drop, 2 * drop])]),
        "input_probability_drop": np.stack([np.stack([drop, 2 * drop])]) / 50,
    }
    valid = np.ones(margin.shape, bool)
    wrong = rng.random((S, N)) < 0.1
    wrong[:, :3] = True  # some images are wrong for every member
    for name in POPULATIONS:
        valid[:, POPULATIONS.index(name)] = wrong if name == "natural_error" else ~wrong
    prediction = rng.integers(0, 3, margin.shape)
    return Cells(values, valid, POPULATIONS, prediction)


def covers(contrast, truth):
    found = contrast.interval
    return found.low < truth < found.high and found.high - found.low < 0.1


def test_a_planted_difference_is_found_in_the_scale_free_reading():
    cells = planted()
    assert covers(
        contrasts.difference(cells, "input_scale_free", "adversarial", "boosted", (0, 0), matching="scale_free"), 0.1
    )
    assert covers(
        contrasts.difference(cells, "input_scale_free", "adversarial", "boosted", (0, 1), matching="scale_free"), 0.2
    )
    assert covers(
        contrasts.difference(cells, "input_scale_free", "boosted", "genuine", (0, 0), matching="scale_free"), 0.0
    )


@pytest.mark.parametrize("matching", ["raw", "iso", "matched"])
def test_a_planted_difference_is_found_at_equal_margin(matching):
    """Margins have one distribution here, so that every reading has the same truth: 0.1 E[m] / 50 = 0.01."""
    found = contrasts.difference(
        planted(), "input_probability_drop", "adversarial", "boosted", (0, 0), matching=matching
    )
    assert covers(found, 0.01)


@pytest.mark.parametrize(
    "measure,matching", [("input_scale_free", "scale_free"), ("input_probability_drop", "matched")]
)
def test_logits_times_ten_change_nothing(measure, matching):
    one, ten = (
        contrasts.difference(planted(scale=s), measure, "adversarial", "genuine", (0, 0), matching=matching)
        for s in (1.0, 10.0)
    )
    np.testing.assert_allclose(one.u, ten.u, rtol=1e-9, atol=1e-12)


def test_matching_removes_a_difference_that_is_all_margin():
    """Adversarial margins are higher, drops are a function of the margin alone: raw differs, matched does not."""
    cells = planted(offset=0.0)
    at = POPULATIONS.index("adversarial")
    rng = np.random.default_rng(1)
    higher = rng.uniform(4, 10, (S, N))
    cells.values["margin"][:, at] = higher
    cells.values["input_probability_drop"][0, 0, :, at] = 0.1 * higher / 50 + rng.normal(0, 0.001, (S, N))
    raw = contrasts.difference(cells, "input_probability_drop", "adversarial", "genuine", (0, 0)).interval
    matched = contrasts.difference(
        cells, "input_probability_drop", "adversarial", "genuine", (0, 0), matching="matched"
    ).interval
    assert raw.low > 0.002 and matched.low < 0.0005 < 0.002 < raw.value and abs(matched.value) < 0.0005


def test_main_effects_of_the_two_by_two():
    cells = planted()
    base, at = "input_probability_drop", (0, 0)
    means = {name: contrasts.mean(cells, base, name, at).interval.value for name in POPULATIONS[:4]}
    wrong = contrasts.combine(
        cells, base, {"natural_error": 0.5, "adversarial": 0.5, "genuine": -0.5, "boosted": -0.5}, at
    )
    expected = 0.5 * (means["natural_error"] + means["adversarial"] - means["genuine"] - means["boosted"])
    np.testing.assert_allclose(wrong.interval.value, expected, rtol=1e-9)
    assert covers(wrong, 0.005)


def test_pairing_is_within_each_member_and_counts_what_is_not_common():
    cells = planted()
    rng = np.random.default_rng(2)
    at = [POPULATIONS.index(n) for n in ("adversarial", "boosted")]
    cells.valid[:, at] &= rng.random((S, 2, N)) < 0.7
    both = cells.mask("adversarial") & cells.mask("boosted")
    found = contrasts.difference(cells, "input_probability_drop", "adversarial", "boosted", (0, 0))
    drops = [cells.of("input_probability_drop", n, (0, 0)) for n in ("adversarial", "boosted")]
    expected = [np.mean((drops[0] - drops[1])[s, both[s]]) for s in range(S)]
    np.testing.assert_allclose(found.u.mean(axis=1), expected, rtol=1e-9)
    assert found.examples == both.any(axis=0).sum() and found.incomplete == (both.any(0) & ~both.all(0)).sum() > 0


def test_iso_compares_the_steered_populations():
    cells = planted()
    cells.values["input_probability_drop"][:, :, :, POPULATIONS.index("adversarial_iso")] += 0.5
    raw, iso = (
        contrasts.difference(cells, "input_probability_drop", "adversarial", "boosted", (0, 0), matching=m)
        for m in ("raw", "iso")
    )
    np.testing.assert_allclose(iso.interval.value - raw.interval.value, 0.5, atol=0.02)


def test_an_unknown_reading_is_refused():
    for measure, matching in (("input_probability_drop", "match"), ("input_probability_drop", "scale_free")):
        with pytest.raises(ValueError, match="expected one of raw, iso, matched, scale_free"):
            contrasts.difference(planted(), measure, "adversarial", "boosted", (0, 0), matching=matching)


def test_a_population_without_examples_has_no_estimate():
    cells = planted()
    cells.valid[:, POPULATIONS.index("boundary")] = False
    assert contrasts.mean(cells, "input_probability_drop", "boundary", (0, 0)) is None
    assert contrasts.difference(cells, "input_probability_drop", "boundary", "genuine", (0, 0)) is None
    assert (
        contrasts.difference(cells, "input_probability_drop", "boundary", "genuine", (0, 0), matching="matched") is None
    )


def test_no_difference_is_told_from_a_handful_of_pairs():
    """Disjoint halves of one population's images are no reason to compare their means instead."""
    cells = planted()
    at = [POPULATIONS.index(n) for n in ("adversarial_iso", "boosted_iso")]
    cells.valid[:, at[0], : N // 2] = False
    cells.valid[:, at[1], N // 2 :] = False
    assert (
        contrasts.difference(cells, "input_probability_drop", "adversarial", "boosted", (0, 0), matching="iso") is None
    )


def test_a_member_without_natural_errors_is_left_out():
    cells = planted()
    cells.valid[0, POPULATIONS.index("natural_error")] = False
    assert contrasts.mean(cells, "input_probability_drop", "natural_error", (0, 0)).u.shape[0] == S - 1


def test_curves_hold_the_means_and_bands_enclose_the_intervals():
    cells = planted()
    controls = cells._replace(
        values={k: v[..., :1, :, :] for k, v in cells.values.items()},
        valid=cells.valid[:1],
        prediction=cells.prediction[:1],
    )
    coords = {
        "noise": (("noise",), np.array(["additive"])),
        "r": (("sigma",), np.array([0.1, 0.3])),
        "class": (("class",), np.array(["a", "b", "c"])),
    }
    nobody = controls._replace(
        values={k: v[..., :0, :, :] for k, v in cells.values.items()},
        valid=cells.valid[:0],
        prediction=cells.prediction[:0],
    )
    curves = flatness_curves.curves(cells, {"untrained": controls, "shuffled": nobody}, coords)
    by_kind = flatness_curves.noise_curve(cells, coords)
    cell = curves["cell"][1].tolist()
    i = cell.index("adversarial")
    expected = [contrasts.mean(cells, "input_probability_drop", "adversarial", (0, k)).interval.value for k in (0, 1)]
    np.testing.assert_allclose(curves["curve"][1][0, i], expected, rtol=1e-5)
    names = ("curve_band_low", "curve_low", "curve", "curve_high", "curve_band_high")
    ladder = np.stack([curves[name][1][0, i] for name in names])
    assert (np.diff(ladder, axis=0) >= 0).all() and (np.diff(ladder, axis=0) > 0).any()
    iso = curves["curve"][1][1]
    assert np.isfinite(iso[[cell.index("boosted"), i]]).all() and np.isnan(iso[cell.index("genuine")]).all()

    assert np.isfinite(curves["curve"][1][0, cell.index("untrained")]).all()
    assert np.isnan(curves["curve"][1][:, cell.index("shuffled")]).all()
    for name in ("", "_low", "_high"):  # one kind of noise: the same numbers as the main figure's
        assert by_kind[f"noise_curve{name}"][0] == ("noise", "cell", "sigma")
        ours, main = by_kind[f"noise_curve{name}"][1][0], curves[f"curve{name}"][1][0]
        np.testing.assert_array_equal(
            ours[: len(flatness_curves.CURVE_CELLS)], main[: len(flatness_curves.CURVE_CELLS)]
        )

    label = np.arange(N) % 3
    by_class = flatness_curves.class_curve(cells, np.broadcast_to(label, (S, N)), coords)["class_curve"][1]
    drop, mask = cells.of("input_probability_drop", "adversarial", (0, 1)), cells.mask("adversarial")
    expected = np.mean([drop[s, mask[s] & (label == 2)].mean() for s in range(S)])
    np.testing.assert_allclose(by_class[i, 2, 1], expected, rtol=1e-5)


@pytest.mark.parametrize("images,bounded", [(1, False), (4, False), (5, True)])
def test_a_handful_of_images_has_a_value_and_no_interval(images, bounded):
    cells = planted()
    cells.valid[:, POPULATIONS.index("natural_error")] = np.arange(N) < images
    for found in (
        contrasts.mean(cells, "input_probability_drop", "natural_error", (0, 0)),
        contrasts.difference(cells, "input_probability_drop", "natural_error", "genuine", (0, 0)),
    ):
        assert np.isfinite(found.interval.value) and np.isfinite(found.interval.low) == bounded
    coords = {"noise": (("noise",), np.array(["additive"])), "r": (("sigma",), np.array([0.1, 0.3]))}
    nobody = {name: cells._replace(valid=cells.valid & False) for name in flatness_curves.CONTROLS}
    curves = flatness_curves.curves(cells, nobody, coords)
    at = curves["cell"][1].tolist().index("natural_error")
    assert np.isfinite(curves["curve"][1][0, at]).all()
    assert (np.isfinite(curves["curve_band_low"][1][0, at]) == bounded).all()


def test_the_iso_curves_differ_by_the_iso_estimate():
    """Half of the adversarial inputs reach the margin, those of larger drops: both lines are over their images."""
    cells = planted()
    a, b = (POPULATIONS.index(name) for name in ("adversarial_iso", "boosted_iso"))
    drop = cells.values["input_probability_drop"]
    cells.valid[:, a] &= drop[0, 0, :, b] > np.median(drop[0, 0, :, b])
    coords = {"noise": (("noise",), np.array(["additive"])), "r": (("sigma",), np.array([0.1, 0.3]))}
    nobody = {name: cells._replace(valid=cells.valid & False) for name in flatness_curves.CONTROLS}
    curves = flatness_curves.curves(cells, nobody, coords)
    at = [curves["cell"][1].tolist().index(name) for name in ("adversarial", "boosted")]
    lines = curves["curve"][1][1, at]
    for k in range(2):
        found = contrasts.difference(
            cells, "input_probability_drop", "adversarial", "boosted", (0, k), matching="iso"
        ).interval
        np.testing.assert_allclose(lines[0, k] - lines[1, k], found.value, rtol=1e-5)


def test_a_matched_difference_tells_how_good_the_match_is_and_needs_pairs():
    cells = planted()
    found = contrasts.difference(cells, "input_probability_drop", "adversarial", "genuine", (0, 0), matching="matched")
    quality = contrasts.matching_of(cells, "adversarial", "genuine")
    assert found.about["share_kept"] == pytest.approx(quality.share_kept.mean())
    assert set(found.about) == {"share_kept", "smd_before", "smd_after", "same_class"}
    few = planted()
    few.valid[:, POPULATIONS.index("adversarial"), 9:] = False  # at most nine pairs a member, fifty in all
    assert few.mask("adversarial").sum() > 20
    assert (
        contrasts.difference(few, "input_probability_drop", "adversarial", "genuine", (0, 0), matching="matched")
        is None
    )
