"""The headline says more, less, or neither, and names readings that disagree."""

import pytest

from landscape.experiments.flatness_words import headline_of


def told(matching, value, low, high, name="probability_drop"):
    return {
        "name": f"input_flatness.{name}",
        "population": "adversarial",
        "reference": "boosted",
        "noise": "additive",
        "r": 0.3,
        "matching": matching,
        "value": value,
        "low": low,
        "high": high,
    }


RAW = told("raw", -0.02, -0.03, -0.01)
ISO = told("iso", 0.01, 0.005, 0.015)
MATCHED = told("matched", 0.01, 0.005, 0.015) | {"share_kept": 0.08}
FREE = told("scale_free", 0.0, -0.01, 0.01, "scale_free")


def test_readings_that_disagree_are_named():
    text = headline_of([RAW, ISO, FREE], 0.3)
    assert text.startswith("At equal margin, probability falls 1.0 [0.5, 1.5] points more around adversarial")
    assert "raw, 2.0 [1.0, 3.0] points less" in text and "disagree in sign (more: iso; less: raw)." in text
    assert "not clearly more or less (0.0 [-1.0, 1.0] % of the margin)" in text


def test_the_matched_reading_tells_how_many_it_speaks_of():
    text = headline_of([ISO, RAW, MATCHED, FREE], 0.3)
    assert "; matched, 1.0 [0.5, 1.5] points more (8 % found a partner); scale-free" in text


def test_an_interval_over_zero_is_no_disagreement():
    assert "disagree" not in headline_of([ISO, told("raw", -0.001, -0.01, 0.008), FREE], 0.3)


def test_a_disagreement_below_what_is_printed_is_none():
    assert "disagree" not in headline_of([ISO, told("raw", -1e-6, -2e-6, -1e-7), FREE], 0.3)


def test_a_disagreement_against_genuine_inputs_is_told_too():
    against = [dict(e, reference="genuine") for e in (RAW, MATCHED)]
    text = headline_of([ISO, dict(RAW, value=0.02, low=0.01, high=0.03), FREE, *against], 0.3)
    assert text.endswith("Against genuine inputs the readings disagree in sign (more: matched; less: raw).")
    assert "boosted inputs (noise r = 0.3)" in text and text.count("disagree") == 1


@pytest.mark.parametrize("estimates", [[], [ISO], [dict(RAW, r=0.1)]])
def test_without_the_raw_reading_it_says_so(estimates):
    assert headline_of(estimates, 0.3).startswith("No comparison is told")


def test_without_the_iso_reading_it_says_so():
    assert "too few inputs reached an equal margin" in headline_of([RAW, FREE], 0.3)
