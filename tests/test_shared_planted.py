"""Parts of the experiment `shared`: numbers of planted members whose mistakes are known, checks, what is refused."""

import jax.numpy as jnp
import numpy as np
import pytest
from whole_runs import load

from landscape import experiments, presets
from landscape.experiments import (
    shared_checks,
    shared_estimates,
    shared_found,
    shared_ladder,
    shared_transfer,
)
from landscape.experiments.shared_setting import roles
from landscape.experiments.shared_transfer import Attack, attacks_of, cosines
from landscape.experiments.shared_values import members_of, seen, told
from landscape.files import UserError
from landscape.objectives import JOINT
from landscape.reporting import shared_ladder as looks
from landscape.stats.intervals import interval
from landscape.stats.transfer import CONDITIONS

K, SOURCES, HELD = 5, 4, 3


def planted(kind, images=300, seed=0):
    """Arrays of one attack on SOURCES attackers and HELD held-out members whose mistakes are known."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, K, images)
    count = SOURCES + HELD
    clean = np.broadcast_to(label, (count, images)).copy()
    clean[:, :20] = (label[:20] + 1) % K  # natural errors of all
    mistake = (label + rng.integers(1, K, images)) % K
    told = np.broadcast_to(mistake, (SOURCES, count, images)).copy()
    if kind == "chance":  # every member errs, whichever way
        told = (label + rng.integers(1, K, (SOURCES, count, images))) % K
    if kind == "immune":  # only the source is fooled
        told[:] = label
        told[np.arange(SOURCES), np.arange(SOURCES)] = mistake
    if kind == "permuted":  # the last held-out member's classes are turned by one
        told[:, -1] = (told[:, -1] + 1) % K
        clean[-1] = (clean[-1] + 1) % K
    role = np.array(["attacker"] * SOURCES + ["held_out"] * HELD)
    margin = rng.normal(1, 1, (count, images))
    arrays = {
        "role": (("target",), role),
        "label": (("example",), label),
        "clean_prediction": (("target", "example"), clean),
        "clean_margin": (("target", "example"), margin),
        "aim": (("example",), (label + 1) % K),
        "validation_margin": (("target", "v"), rng.normal(1, 1, (count, 50))),
        "prediction": (("attack", "source", "target", "example"), told[None]),
        "noise_wrong": (("attack", "source", "target", "example"), np.zeros((1, *told.shape), bool)),
        "perturbation_norm": (("attack", "source", "example"), np.full((1, SOURCES, images), 0.1)),
    }
    return arrays


ATTACK = Attack("full.linf.0.1", "full", "linf", 0.1)


def mean_of(arrays, quantity, targets="attackers", condition="clean_correct"):
    return told(seen(arrays, 0, condition), quantity, members_of(arrays["role"][1]), targets)


def test_copies_make_the_same_mistake_always():
    arrays = planted("copies")
    for targets in ("attackers", "held_out"):
        same = mean_of(arrays, "same", targets)
        assert same.value == 1.0 and same.high == 1.0 and same.low > 0.98
        # By chance mistakes agree about once in the K - 1 that there are.
        assert mean_of(arrays, "chance", targets).value == pytest.approx(1 / (K - 1), abs=0.05)
        assert mean_of(arrays, "same_beyond_chance", targets).low > 0.6


def test_controls_and_the_aim_are_told_by_themselves():
    arrays = planted("copies")
    arrays["role"] = (("target",), np.array(["attacker"] * SOURCES + ["held_out"] * (HELD - 1) + ["untrained"]))
    label, told_by = arrays["label"][1], arrays["prediction"][1][0]
    told_by[:, -1] = (label + 1) % K  # an untrained member says the aim always
    assert mean_of(arrays, "aim", "untrained").value == 1.0
    assert mean_of(arrays, "aim", "held_out").value == pytest.approx(1 / (K - 1), abs=0.05)
    assert mean_of(arrays, "wrong", "shuffled") is None  # there is none
    members = members_of(arrays["role"][1])
    assert members.all.tolist() == list(range(SOURCES + HELD - 1)) and members.controls["untrained"].tolist() == [6]


def test_held_out_members_are_told_by_themselves():
    """Attackers fool one another always, held-out members on the first 150 images alone."""
    arrays = planted("copies")
    label, told_by = arrays["label"][1], arrays["prediction"][1][0]
    told_by[:, SOURCES:, 150:] = label[150:]
    assert mean_of(arrays, "wrong").value == 1.0
    assert mean_of(arrays, "wrong", "held_out").value == pytest.approx(130 / 280)  # 20 are natural errors


def test_mistakes_at_random_are_chance():
    arrays = planted("chance")
    assert mean_of(arrays, "wrong").value == 1.0
    beyond = mean_of(arrays, "same_beyond_chance")
    assert beyond.low <= 0 <= beyond.high and beyond.high - beyond.low < 0.1


def test_the_zero_line_and_an_attack_that_does_not_transfer():
    arrays = planted("immune")
    for quantity in ("wrong", "same", "chance", "noise"):
        found = mean_of(arrays, quantity)
        assert found.value == 0 and found.low == 0 and found.high < 0.02
    members = members_of(arrays["role"][1])
    (order,) = shared_checks._order([ATTACK], arrays, members)
    assert order["passed"] and "others 0.0 %" in order["detail"]
    # If noise did more than the attack, the check says so.
    arrays["noise_wrong"] = (arrays["noise_wrong"][0], np.ones_like(arrays["noise_wrong"][1]))
    assert not shared_checks._order([ATTACK], arrays, members)[0]["passed"]


def test_permuted_classes_give_permuted_mistakes():
    """The member errs on every clean image but its natural errors, so that it leaves no image in common; of all images
    its mistakes are the source's, turned."""
    arrays = planted("permuted")
    assert seen(arrays, 0, "clean_correct").common.sum() <= 20
    one = seen(arrays, 0, "all")
    turned = (arrays["prediction"][1][0, 0, -1] - 1) % K
    np.testing.assert_array_equal(turned, arrays["prediction"][1][0, 0, 0])
    assert one.of["same"][0, -1].mean() == 0.0
    assert one.of["same"][0, -2].mean() == 1.0


def test_conditions_choose_their_images():
    arrays = planted("copies")
    clean, whole = (seen(arrays, 0, c) for c in ("clean_correct", "all"))
    assert clean.common.sum() == 280 and whole.common.sum() == 300
    arrays["prediction"][1][0, 1, 1, 20:120] = arrays["label"][1][20:120]  # the second source fails on 100
    fooled = seen(arrays, 0, "source_fooled")
    np.testing.assert_array_equal(fooled.mask.sum(axis=1), [280, 180, 280, 280])
    assert fooled.common.sum() == 180
    # Where sets differ the chance rate of a mean is that of the images it is over.
    np.testing.assert_array_equal(fooled.of["chance"][0, 2][~fooled.common], 0)
    assert fooled.own_chance[0, 2][20:120].mean() > 0.1


def test_a_member_with_random_labels_is_named_and_left_out():
    names = np.array(["attacker", "attacker", "attacker", "held_out", "held_out", "untrained"])
    accuracy = np.array([0.9, 0.92, 0.12, 0.88, 0.91, 0.1])
    found = roles(names, accuracy, 10)
    assert found.tolist() == ["attacker", "attacker", "unlearned", "held_out", "held_out", "untrained"]
    assert members_of(found).attackers.tolist() == [0, 1]
    margin = np.where(np.random.default_rng(0).random((6, 200)) < accuracy[:, None], 1.0, -1.0)
    arrays = {"role": (("target",), found), "validation_margin": (("target", "v"), margin)}
    check = shared_checks._learned(arrays)
    assert not check["passed"] and "member 2" in check["detail"] and "member 5" not in check["detail"]
    arrays["role"] = (("target",), roles(names, np.full(6, 0.9), 10))
    assert shared_checks._learned(arrays)["passed"]


def test_copies_are_flagged():
    margin = np.random.default_rng(0).normal(size=(5, 50))
    assert shared_checks._distinct({"validation_margin": ((), margin)}, 5)["passed"]
    margin[3] = margin[1]
    check = shared_checks._distinct({"validation_margin": ((), margin)}, 5)
    assert not check["passed"] and "1 and 3" in check["detail"]
    assert shared_checks._distinct({"validation_margin": ((), margin)}, 3)["passed"]  # controls are no copies


def test_perturbations_outside_the_ball_are_flagged():
    arrays = planted("copies")
    assert shared_checks._inside(ATTACK, arrays, 0)["passed"]
    arrays["perturbation_norm"][1][0, 1, 5] = 0.1001
    assert not shared_checks._inside(ATTACK, arrays, 0)["passed"]


def test_members_fooled_together():
    """Copies have correlation 1, members fooled independently, given their margins, about 0."""
    arrays, members = planted("copies", images=1500), None
    members = members_of(arrays["role"][1])
    rng = np.random.default_rng(2)
    label, margin = arrays["label"][1], arrays["clean_margin"][1]
    margin[SOURCES:] = rng.normal(1, 1, margin.shape[1])[None]  # attackers' margins say nothing of it
    chance = 1 / (1 + np.exp(margin))
    shape = arrays["prediction"][1].shape[1:]
    for together, low, high in ((True, 0.999, 1.001), (False, -0.05, 0.05)):
        draw = rng.random((SOURCES, 1, shape[2])) if together else rng.random(shape)
        wrong = draw < chance[None]
        wrong[np.arange(SOURCES), np.arange(SOURCES)] = True
        arrays["prediction"][1][0] = np.where(wrong, (label + 1) % K, label)
        (found,), counts = shared_estimates._together([ATTACK], arrays, members)
        assert found["name"] == "shared.correlation" and low <= found["value"] <= high
        assert found["low"] <= found["value"] <= found["high"]
        # Of copies both parts of the ratio are one in every image, so that nothing varies.
        assert (found["high"] - found["low"] < 1e-6) == together
        observed, expected = counts["count_seen"][1][0], counts["count_expected"][1][0]
        assert observed.sum() == pytest.approx(1) and expected.sum() == pytest.approx(1)
        assert (np.abs(observed - expected).max() > 0.1) == together


# ---- parts ----


def test_the_held_out_architecture_follows_the_attackers_and_not_they_it():
    config = load("shared")
    config.update_from_flattened_dict({"held_out_model.name": "mlp"})
    assert (config.model.name, config.held_out_model.name) == ("cnn", "mlp")
    config = load("shared")
    config.update_from_flattened_dict({"model.name": "mlp"})
    assert (config.model.name, config.held_out_model.name) == ("mlp", "mlp")


def test_claims_say_what_they_are_about(monkeypatch):
    """Populations and radii are those of the run, whatever the config was changed to."""
    config = load("shared")
    config.update_from_flattened_dict({"claims.many_guide_better.size": 2, "transfer.linf": (0.1, 0.2, 0.3)})
    config.ladder.searches = ("manifold", "pixels")
    attacks = attacks_of(config)
    gain = np.random.default_rng(0).uniform(0.1, 0.2, (8, 9))
    monkeypatch.setattr(shared_estimates.shared_ladder_estimates, "gain", lambda *_: interval(gain))
    monkeypatch.setattr(shared_estimates, "told", lambda *_: None)
    monkeypatch.setattr(shared_estimates, "seen", lambda *_: None)
    members = members_of(np.array(["attacker"] * 4 + ["held_out"] * 3))
    guided, shared = shared_estimates._claims(config, attacks, {}, members)
    assert shared["radius"] == 0.2 and shared["verdict"] == "undecided"
    assert guided["populations"] == ["2 members", "one member"] and guided["search"] == "manifold"
    assert guided["radius"] == config.manifold.epsilon and guided["verdict"] == "supported"
    gain[:] = 0.0  # the same for all members and images: nothing to judge it by
    assert shared_estimates._claims(config, attacks, {}, members)[0]["verdict"] == "undecided"


def test_attacks_of_a_config():
    config = load("shared")
    found = attacks_of(config)
    assert found[0] == Attack("full.linf.0.15", "full", "linf", 0.15)
    assert len({a.name for a in found}) == len(found) == 10
    assert {a.epsilon for a in found if a.kind != "full"} == {0.25, 1.5}
    config.transfer.linf, config.transfer.attacks = (0.1,), ("targeted", "full")
    assert attacks_of(config)[0].name == "full.linf.0.1"


def test_cosines_by_hand():
    delta = jnp.array([[[3.0, 4.0], [0.0, 0.0]], [[4.0, -3.0], [1.0, 0.0]], [[-3.0, -4.0], [2.0, 0.0]]])
    found = np.asarray(cosines(delta))
    np.testing.assert_allclose(found[:, :, 0], [[1, 0, -1], [0, 1, 0], [-1, 0, 1]], atol=1e-6)
    np.testing.assert_allclose(found[:, :, 1], [[0, 0, 0], [0, 1, 1], [0, 1, 1]], atol=1e-6)


def test_the_median_radius_is_weighted_and_censored():
    values = np.array([[1.0, 2.0, 3.0, 9.0]])
    ones = np.ones(4)
    assert shared_found.weighted_median(values, np.ones(1), ones) == 2.0
    assert shared_found.weighted_median(values, np.ones(1), np.array([0.0, 0, 3, 1])) == 3.0
    many = np.r_[np.linspace(0.1, 0.2, 60), np.full(40, 0.3)][None]
    found = shared_found._median_interval(many, 0.3)
    assert found.value == pytest.approx(np.sort(many[0])[49])
    assert found.low < found.value < found.high < 0.3
    assert np.isnan(shared_found._median_interval(many[:, 7:], 0.3).high)  # 53 of 93: some resamples have a minority
    assert shared_found._median_interval(many[:, 30:], 0.3) is None


def test_radii_by_hand():
    arrays = planted("copies", images=40)
    arrays["smallest_radius"] = (("n",), np.r_[np.full(20, 0.3), np.full(10, 0.2), np.full(10, np.inf)])
    arrays["own_radius"] = (("s", "n"), np.tile([[0.1], [0.15], [0.1], [0.05]], (1, 40)))
    arrays["smallest_wrong"] = (("t", "n"), np.ones((SOURCES + HELD, 40), bool))
    members = members_of(arrays["role"][1])
    found = {e["name"]: e for e in shared_found._radii(arrays, members, np.ones(40, bool), 0.5)}
    assert found["distance.radius_all"]["value"] == 0.3
    assert found["distance.radius_one"]["value"] == 0.1
    assert found["distance.beyond_hardest"]["value"] == pytest.approx((20 * 2 + 10 * 0.2 / 0.15) / 30)
    assert found["shared.smallest_held_out_fooled"]["value"] == 1.0
    assert found["distance.beyond_hardest"]["examples"] == 30


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("num_attackers", 2, "expected more than 2"),
        ("num_members", 17, "expected at least num_attackers [+] 2 = 18"),
        ("transfer.attacks", ("first_flip",), "expected full among them"),
        ("transfer.linf", (0.2, 0.1), "expected growing radii"),
        ("transfer.linf", (), "expected one radius or more"),
        ("transfer.l2", (0.0, 1.0), "expected growing radii above 0"),
        ("transfer.step", 0.0, "expected a share of the radius above 0"),
        ("joint.objectives", ("mean",), "expected one of loss"),
        ("ladder.sizes", (1, 3, 16), "expected 1, 2, 4, ..., each twice the one before"),
        ("ladder.sizes", (1, 2, 4), "expected to end at num_attackers=16"),
        ("ladder.num_steps", 40, "expected a multiple of the largest of ladder.sizes"),
        ("ladder.step_sizes", (0.2, 0.1), "expected growing shares of the radius"),
        ("ladder.rungs", ("balls",), "did you mean ball"),
        ("claims.many_guide_better.size", 3, "expected one of ladder.sizes"),
        ("claims.many_guide_better.matching", "clean_correct", "expected one of gradients, steps"),
        ("between.num_points", 2, "at least 3: both ends"),
        ("shapes.rho", 0.5, "less than 0.5"),
        ("claims.mistakes_are_shared.measure", "transfer.wrong", "expected one of transfer.same_beyond_chance"),
        ("claims.mistakes_are_shared.matching", "source_fooled", "sets that all pairs have in common"),
    ],
)
def test_what_is_refused(field, value, message):
    config = load("shared")
    with config.unlocked():
        config.update_from_flattened_dict({field: value})
    with pytest.raises(UserError, match=message):
        experiments.validate(config)


def test_names_are_those_of_the_rooms():
    assert presets.names.JOINT == JOINT
    assert presets.names.SHARED_ATTACKS == shared_transfer.KINDS
    assert presets.names.BUDGETS == shared_ladder.BUDGETS
    assert set(presets.names.RUNGS) | {"members"} == set(looks.RUNGS)
    assert CONDITIONS[1] == "clean_correct"
