"""Shapes of shared examples: which belong to a population, differences in every reading, disagreement by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from landscape.experiments import shared_shape_estimates as told
from landscape.experiments.shared_between import disagreement, pairs_of
from landscape.experiments.shared_shapes import INPUTS
from landscape.experiments.shared_values import Members
from landscape.reporting import shared_shapes as looks

A, J, N = 5, 4, 60  # the second attacker and the first judge have not learned
MEMBERS = Members(np.array([0, 2, 3, 4]), np.arange(A + 1, A + J))
CONFIG = ConfigDict(dict(shapes=dict(iso_margin=2.0), transfer=dict(linf=(0.1, 0.2, 0.3))))
STEP = {"unshared": 0.0, "shared": 1.5}


def planted(seed=0, slope=0.0):
    """Arrays in which a measure is the image's own value, `slope` times the margin, and 1.5 more where shared.

    Images go in threes: none of the judges errs on the first, all on the second, one on the third; on what the joint
    search finds all err but on the last twelve. Steered, no judge errs. Images of the second sort have 2 more anyway.
    """
    rng = np.random.default_rng(seed)
    shape = (A, len(INPUTS), N)
    label = np.zeros(N, int)
    prediction = np.ones(shape, int)
    prediction[:, 0] = prediction[1] = 0
    kind = np.arange(N) % 3
    wrong = np.zeros((J, *shape), bool)
    wrong[:, :, 1] = kind == 1
    wrong[1, :, 1] |= kind == 2
    wrong[:, :, 2, :-12] = True
    wrong[:, 1] = True  # whatever is said of the one that has not learned
    wrong[0] = True
    margin = rng.uniform(1, 4, shape) + np.where(kind == 1, 0.5, 0.0)
    margin[:, 3:] = 2.0
    everyone = wrong[1:].all(axis=0)
    everyone[:, 3:] = everyone[:, 1:3]
    value = slope * margin + 1.5 * everyone + 0.05 * rng.normal(size=N) + 2.0 * (kind == 1)
    arrays = {f"shape_{name}": value for name in told.MEASURES if name != "input_scale_free"}
    arrays |= {"shape_margin": margin, "shape_input_margin_drop": 0.3 * margin + 0.2 * margin * everyone}
    arrays["shape_nearest_true"] = np.ones(shape)
    arrays["shape_prediction"] = prediction
    arrays = {name: (("source", "input", "shape_example"), value) for name, value in arrays.items()}
    arrays["shape_wrong"] = (("judge", "source", "input", "shape_example"), wrong)
    arrays["label"] = (("example",), label)
    arrays["clean_prediction"] = (("target", "example"), np.zeros((A + J, N), int))
    return arrays


def test_who_belongs():
    arrays = planted()
    arrays["clean_prediction"][1][7, 3] = 1  # a held-out member errs on the image itself
    arrays["clean_prediction"][1][A, 4] = 1  # which does not matter of one that has not learned
    arrays["shape_prediction"][1][3, 1, 6] = 0  # one source is not fooled
    arrays["shape_margin"][1][2, 3, 9] = 2.2  # one was not brought to the margin
    arrays["shape_prediction"][1][4, 3, 12] = 0  # one was brought back to its class
    cells = told.cells_of(CONFIG, arrays, MEMBERS)
    kind, image = np.arange(N) % 3, np.arange(N)
    right = image != 3
    whole = (len(MEMBERS.attackers), N)
    np.testing.assert_array_equal(cells.mask("genuine"), np.broadcast_to(right, whole))
    unshared = np.broadcast_to((kind == 0) & right, whole).copy()
    unshared[2, 6] = False
    np.testing.assert_array_equal(cells.mask("unshared"), unshared)
    np.testing.assert_array_equal(cells.mask("shared"), np.broadcast_to((kind == 1) & right, whole))
    np.testing.assert_array_equal(cells.mask("joint"), np.broadcast_to(right & (image < N - 12), whole))
    # Steered ones are those that they are steered from, whatever judges make of them now.
    unshared[1, 9] = unshared[3, 12] = False
    np.testing.assert_array_equal(cells.mask("unshared_iso"), unshared)
    np.testing.assert_array_equal(cells.mask("shared_iso"), cells.mask("shared"))
    np.testing.assert_array_equal(cells.mask("joint_iso"), cells.mask("joint"))


def test_a_judge_that_has_not_learned_has_no_say():
    arrays = planted()
    arrays["shape_wrong"][1][3] = True  # the last judge errs always
    everyone = told.cells_of(CONFIG, arrays, MEMBERS)
    without = told.cells_of(CONFIG, arrays, Members(MEMBERS.attackers, MEMBERS.held_out[:2]))
    assert not everyone.mask("unshared").any() and without.mask("unshared").any()


@pytest.mark.parametrize("slope", [0.0, 1.0])
def test_differences_in_every_reading(slope):
    """Shared ones have 1.5 more, their images 2 more, and raw what half a logit of margin brings besides."""
    cells = told.cells_of(CONFIG, planted(slope=slope), MEMBERS)
    readings = ("raw", "change", "iso", "matched")
    found = {r: told.contrast(cells, "manifold", "shared", r) for r in readings}
    value = {name: one.interval() for name, one in found.items()}
    assert value["raw"].value == pytest.approx(3.5 + 0.5 * slope, abs=0.15 + 0.3 * slope)
    assert value["iso"].value == pytest.approx(3.5, abs=0.05)
    assert value["matched"].value == pytest.approx(3.5, abs=0.15)
    if slope == 0:  # the images' own part is gone
        assert value["change"].value == pytest.approx(1.5, abs=1e-9)
    assert all(one.low <= one.value <= one.high for one in value.values())
    joint = told.contrast(cells, "manifold", "joint", "change").interval()
    assert joint.value == pytest.approx(1.5, abs=1e-9 + slope)
    assert told.contrast(cells, "manifold", "shared", "scale_free") is None
    assert told.contrast(cells, "input_scale_free", "shared", "raw") is None
    assert found["raw"].least == 20  # of either kind there are so many images


def test_the_scale_free_difference_is_blind_to_scale():
    arrays = planted()
    one = told.contrast(told.cells_of(CONFIG, arrays, MEMBERS), "input_scale_free", "shared", "scale_free")
    assert one.interval().value == pytest.approx(0.2, abs=1e-9)
    for name in ("shape_margin", "shape_input_margin_drop"):
        arrays[name][1][...] *= 7.0
    again = told.contrast(told.cells_of(CONFIG, arrays, MEMBERS), "input_scale_free", "shared", "scale_free")
    assert again.interval().value == pytest.approx(0.2, abs=1e-9)


def test_estimates_and_curves_say_the_same():
    found = told.shapes(CONFIG, planted(), MEMBERS)
    assert {e["population"] for e in found.estimates} == set(told.SOURCE) - {"genuine"} | {"genuine"}
    one = [e for e in found.estimates if e["name"] == "distance.manifold" and e.get("matching") == "iso"]
    assert [e["population"] for e in one] == ["shared", "joint"] and all(e["reference"] == "unshared" for e in one)
    at = (list(told.MEASURES).index("manifold"), 0, told.READINGS.index("iso"))
    assert found.curves["shape_difference"][1][at] == one[0]["value"]
    assert found.curves["shape_difference_low"][1][at] == one[0]["low"]
    count = {e["population"]: e["value"] for e in found.estimates if e["name"] == "shared.belonging"}
    assert count == {"unshared": pytest.approx(1 / 3), "shared": pytest.approx(1 / 3), "joint": pytest.approx(0.8)}
    reached = {e["population"]: e["value"] for e in found.estimates if e["name"] == "shared.reached_margin"}
    assert reached == {"unshared_iso": 1.0, "shared_iso": 1.0, "joint_iso": 1.0}
    assert set(told.MEASURES) == set(looks.MEASURES) and set(told.TOLD) == set(looks.LOOKS)


def test_a_share_that_is_always_one_has_an_interval_all_the_same():
    found = told.shapes(CONFIG, planted(), MEMBERS).estimates
    shares = [e for e in found if e["name"] == "purity.true_class" and "reference" not in e]
    assert len(shares) == 4 and all(e["value"] == e["high"] == 1.0 and 0.8 < e["low"] < 1.0 for e in shares)
    assert {e["population"]: e["examples"] for e in shares}["shared"] == 20


def test_nothing_is_told_of_nothing():
    arrays = planted()
    arrays["shape_prediction"][1][...] = 0
    found = told.shapes(CONFIG, arrays, MEMBERS)
    assert {e["population"] for e in found.estimates if e["name"] != "shared.belonging"} == {"genuine"}
    assert np.isnan(found.curves["shape_difference"][1]).all()
    assert told.between({}, MEMBERS).estimates == []


def test_disagreement_in_closed_form():
    one = jnp.asarray([0.7, 0.2, 0.1])
    np.testing.assert_allclose(disagreement(jnp.stack([one, one])), 0.0, atol=1e-6)
    np.testing.assert_allclose(disagreement(jnp.full((5, 4, 3), 1 / 3)), 0.0, atol=1e-6)
    np.testing.assert_allclose(disagreement(jnp.eye(3)), np.log(3), rtol=1e-6)
    p = np.asarray(jax.nn.softmax(jax.random.normal(jax.random.key(0), (4, 7, 5)), axis=-1), np.float64)
    mean = p.mean(axis=0)
    divergence = (p * np.log(p / mean)).sum(axis=-1).mean(axis=0)  # the mean divergence of members from their mean
    np.testing.assert_allclose(disagreement(jnp.asarray(p)), divergence, rtol=1e-4)


def test_pairs_are_of_two_classes_that_all_know():
    label = np.asarray([0, 0, 1, 1, 2, 2, 2, 0])
    right = np.asarray([1, 1, 1, 0, 1, 1, 0, 1], bool)
    pairs = pairs_of(label, right, 4, seed=0)
    assert len(pairs) == 3 and len(np.unique(pairs)) == 6  # no image in two pairs
    assert np.all(label[pairs[:, 0]] != label[pairs[:, 1]]) and np.all(right[pairs])
    np.testing.assert_array_equal(pairs, pairs_of(label, right, 4, seed=0))
    assert pairs_of(label, label == 0, 4, seed=0).shape == (0, 2)


def test_lines_are_told_with_their_intervals():
    rng = np.random.default_rng(1)
    apart = rng.uniform(0, 0.1, (2, 5, 40))
    apart[0, 2] += 0.5  # the manifold's middle
    found = told.between({"disagreement": (("ground", "step", "pair"), apart)}, MEMBERS)
    manifold, pixels, difference = found.estimates
    np.testing.assert_allclose(manifold["value"], apart[0].max(axis=0).mean())
    assert difference["reference"] == "pixels"
    assert manifold["members"] == 7 and manifold["examples"] == 40 and manifold["generalises_to"] == "new images"
    np.testing.assert_allclose(difference["value"], manifold["value"] - pixels["value"])
    np.testing.assert_allclose(found.curves["between"][1], apart.mean(axis=-1))
    half = 2.0227 * apart[0, 2].std(ddof=1) / np.sqrt(40)  # Student's t of 39 degrees of freedom
    np.testing.assert_allclose(found.curves["between_high"][1][0, 2] - apart[0, 2].mean(), half, rtol=1e-3)
