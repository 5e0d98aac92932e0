"""Estimates of `gradients` from arrays whose means are known: zeros are one start, the own class one of all."""

import numpy as np
import pytest
from ml_collections import ConfigDict

from landscape.experiments import gradient_estimates as estimates
from landscape.experiments.gradient_maps import pairs_of
from landscape.experiments.gradient_places import KINDS
from landscape.objectives import GUIDES


def test_the_own_class_is_each_members_and_others_are_the_rest():
    values = np.random.default_rng(0).random((2, 3, 2))  # [member, class, image]
    prediction = np.array([[0, 2], [1, 1]])
    found = estimates._own_and_others(values, prediction)
    np.testing.assert_allclose(found["own"], [[values[0, 0, 0], values[0, 2, 1]], [values[1, 1, 0], values[1, 1, 1]]])
    rest = [[values[0, [1, 2], 0].mean(), values[0, [0, 1], 1].mean()], values[1, [0, 2]].mean(axis=0)]
    np.testing.assert_allclose(found["others"], rest)


def test_pairs_are_told_of_the_class_that_their_first_member_predicts():
    values = np.random.default_rng(1).random((6, 3, 2))
    prediction = np.array([[0, 2], [1, 1], [2, 0], [0, 0]])
    found = estimates._pairwise(values, prediction)
    expected = [values[p, prediction[a], np.arange(2)].mean() for p, (a, _) in enumerate(pairs_of(4))]
    assert found["own"].value == pytest.approx(np.mean(expected)) and found["own"].members == 4
    assert found["all"].value == pytest.approx(values.mean())


def test_zeros_are_one_start_however_often_they_are_climbed():
    """Copies would pass for a sample: of them the first alone is told, and intervals are over seeds."""
    rng = np.random.default_rng(2)
    ends = rng.random((5, len(KINDS), 4, 3))  # [member, kind, start, class]
    ends[:, 2, 1:] = 100.0
    found = estimates._ascents({"ascent_probability.vae": ends, "ascent_held_out.vae": ends}, "vae")
    of = {(e["name"], e["start"]): e for e in found}
    zeros = of["confidence.ascended", "zeros"]
    assert zeros["value"] == pytest.approx(ends[:, 2, 0].mean()) and zeros["generalises_to"] == "new seeds"
    image = of["confidence.ascended", "image"]
    assert image["value"] == pytest.approx(ends[:, 0].mean()) and image["generalises_to"] == "both"
    assert "given" not in image and of["confidence.ascended_held_out", "image"]["given"] == "these judges"
    assert {e["population"] for e in found} == {"ascended", "dreamed"}


SIZES, JUDGES, STEPS, STARTS, BLOCKS = (1, 2, 4), 4, 3, 6, 2


def guided_arrays():
    """Of the first size only the mean is known; of zeros starts 3 to 5 climb the classes of 0 to 2 again."""
    rng = np.random.default_rng(3)
    lead, rows = (len(SIZES), len(GUIDES)), (len(KINDS), STARTS)
    found = {"guided_held_out": rng.random((*lead, JUDGES, STEPS, *rows)), "guided_own": rng.random((*lead, 3, *rows))}
    found |= {f"guided_{n}": 1 + rng.random((*lead, *rows)) for n in ("moved", "nearest", "error")}
    found |= {"guided_far": np.ones((*lead, *rows)), "guided_held_out_far": rng.random((*lead, JUDGES, *rows))}
    found["guided_margin"] = 1 + rng.random((*lead, JUDGES, *rows))
    found["guided_margin_drop"] = 0.3 * found["guided_margin"]
    found["guided_by_block"] = rng.random((*lead, BLOCKS, *rows))
    found["guided_by_block"][-1, :, 1:] = np.nan  # one block of the largest size
    for value in found.values():
        value[0, 1:] = np.nan
    named = {f"{name}.pixels": value for name, value in found.items()}
    return named | {"guided_distance": np.asarray(1.5), "guided_target": np.array([0, 1, 2, 0, 1, 2])}


def test_guided_ascents_are_told_of_judges_and_starts_given_their_guides():
    values = guided_arrays()
    config = ConfigDict({"guided": {"sizes": SIZES, "sigma": 0.1}})
    found = estimates._guided(values, "pixels", config)

    def of(name, **about):
        plain = {"reference": None, "distance": None} | about
        return [e for e in found if e["name"] == name and all(e.get(k) == v for k, v in plain.items())]

    held_out = values["guided_held_out.pixels"]
    (one,) = of("confidence.guided_held_out", start="noise", guide="least", guides=2, given="these guides")
    assert one["value"] == pytest.approx(held_out[1, GUIDES.index("least"), :, -1, 1].mean())
    assert (one["members"], one["examples"], one["population"]) == (JUDGES, STARTS, "dreamed")
    assert of("confidence.guided_held_out", guide="least", guides=1) == []  # of one guide it says nothing
    (zeros,) = of("confidence.guided_held_out", start="zeros", guide="mean", guides=4, given="these guides")
    assert zeros["value"] == pytest.approx(held_out[2, 0, :, -1, 2, :3].mean()) and zeros["examples"] == 3
    (gain,) = (e for e in found if e.get("reference") == "1 guides" and e["start"] == "image")
    assert gain["value"] == pytest.approx((held_out[2, 0, :, -1, 0] - held_out[0, 0, :, -1, 0]).mean())
    flat = of("input_flatness.scale_free", start="image", guide="mean", guides=2)
    assert flat[0]["value"] == pytest.approx(0.3) and flat[0]["sigma"] == 0.1
    blocks = of("confidence.guided_held_out", start="image", guide="mean", given="these judges")
    assert {e["guides"] for e in blocks} == {1, 2}  # one block is no sample of blocks
    assert blocks[1]["value"] == pytest.approx(values["guided_by_block.pixels"][1, 0, :, 0].mean())
