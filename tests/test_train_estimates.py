"""Calibration and agreement from logits: closed forms, and truths planted in simulated predictions."""

import numpy as np
import pytest

from landscape.experiments import train_estimates as te

RNG = np.random.default_rng(0)


def logits_of(prediction, num_classes, scale=5.0):
    """Logits that predict given classes."""
    return (scale * np.eye(num_classes)[prediction]).astype(np.float32)


def members_of(*controls, **swept):
    return [{"seed": s, "control": c, **{k: v[s] for k, v in swept.items()}} for s, c in enumerate(controls)]


def test_loss_and_brier_of_known_probabilities():
    probs = np.array([[[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]]])
    logits, label = (np.log(probs) + 3.0).astype(np.float32), np.array([0, 1])
    np.testing.assert_allclose(te.probabilities(logits), probs, rtol=1e-6)
    np.testing.assert_allclose(te.losses(logits, label), -np.log([[0.7, 0.1]]), rtol=1e-6)
    expected = [[0.3**2 + 0.2**2 + 0.1**2, 0.1**2 + 0.9**2 + 0.8**2]]
    np.testing.assert_allclose(te.brier(logits, label), expected, rtol=1e-6)


def test_calibration_error_by_hand():
    """Two bins: (0.8, right), (0.9, wrong) above one half; (0.4, right) below."""
    confidence, right = np.array([[0.8, 0.9, 0.4]]), np.array([[True, False, True]])
    np.testing.assert_allclose(te.calibration_error(confidence, right, num_bins=2), [(0.7 + 0.6) / 3])
    weighted = te.calibration_error(confidence, right, num_bins=2, weight=np.array([2.0, 0.0, 1.0]))
    np.testing.assert_allclose(weighted, [(0.4 + 0.6) / 3])


def test_a_calibrated_classifier_has_almost_no_calibration_error():
    confidence = RNG.uniform(0.2, 1.0, (2, 20000))
    right = RNG.uniform(size=confidence.shape) < confidence
    error = te.calibration_error(confidence, right, num_bins=15)
    assert np.all(error < 3 * np.sqrt(15 / 20000))


def predictions(label, accuracy, num_members, num_classes, *, hard=0.0):
    """Members right with probability `accuracy`, else a random other class, independently; on a share `hard` of the
    images all of them repeat member 0."""
    wrong = (label + RNG.integers(1, num_classes, (num_members, len(label)))) % num_classes
    made = np.where(RNG.uniform(size=wrong.shape) < accuracy, label, wrong)
    return np.where(RNG.uniform(size=len(label)) < hard, made[:1], made)


def test_expected_disagreement_of_independent_members_is_what_is_seen():
    label = RNG.integers(0, 4, 40000)
    prediction = predictions(label, 0.8, 3, 4)
    seen = te.disagreements(prediction).mean(axis=-1)
    expected = te.expected_disagreements(np.eye(4)[prediction], label).mean(axis=-1)
    theory = 1 - (0.8**2 + 3 * (0.2 / 3) ** 2)
    for s, t in ((0, 1), (0, 2), (1, 2)):
        assert abs(seen[s, t] - theory) < 4 * 0.5 / np.sqrt(40000)
        assert abs(expected[s, t] - theory) < 4 * 0.5 / np.sqrt(40000)


def test_expected_disagreement_is_the_product_of_confusion_matrices():
    label = RNG.integers(0, 3, 200)
    prediction = predictions(label, 0.6, 2, 3)
    onehot = np.eye(3)[prediction]
    rows = np.stack([[onehot[s, label == y].mean(axis=0) for y in range(3)] for s in range(2)])
    agree = sum(np.mean(label == y) * rows[0, y] @ rows[1, y] for y in range(3))
    np.testing.assert_allclose(te.expected_disagreements(onehot, label).mean(axis=-1)[0, 1], 1 - agree)


def test_influence_of_a_pair_mean():
    """Its mean is the mean over pairs; its member part is twice a member's deviation, as the jackknife has it."""
    values = RNG.normal(size=(5, 5, 30))
    values += values.swapaxes(0, 1)
    influence = te.pair_influence(values)
    pairs = values[np.triu_indices(5, 1)].mean(axis=0)
    np.testing.assert_allclose(influence.mean(axis=0), pairs)
    total = pairs.mean()
    for s in range(5):
        rest = np.delete(np.delete(values, s, 0), s, 1)[np.triu_indices(4, 1)].mean()
        # Leaving s out: total - rest = (2 / S) (mean over pairs with s - mean over pairs without it).
        with_s = np.delete(values[s], s, 0).mean()
        np.testing.assert_allclose(total - rest, 2 / 5 * (with_s - rest))
        np.testing.assert_allclose(influence[s].mean() - total, 2 * (with_s - total))


@pytest.mark.parametrize(("hard", "low", "high"), [(0.0, 0.9, 1.1), (0.5, 0.4, 0.6)])
def test_ratio_tells_shared_errors_from_unrelated_ones(hard, low, high):
    label = RNG.integers(0, 4, 4000)
    logits = logits_of(predictions(label, 0.8, 6, 4, hard=hard), 4)
    estimates, checks = te.estimate(logits, label, members_of(*["trained"] * 6), (), class_names="abcd", num_bins=15)
    by_name = {e["name"]: e for e in estimates if e["name"] != "accuracy.class"}
    ratio = by_name["agreement.ratio"]
    assert low < ratio["low"] < ratio["value"] < ratio["high"] < high
    assert abs(by_name["accuracy.test"]["value"] - 0.8) < 0.02
    assert sum(e["name"] == "accuracy.class" for e in estimates) == 4
    assert all(check["passed"] for check in checks)


def test_sweeps_are_strata_and_controls_are_checked():
    label = RNG.integers(0, 4, 400)
    good, bad, chance = predictions(label, 0.95, 2, 4), predictions(label, 0.6, 2, 4), RNG.integers(0, 4, (1, 400))
    logits = logits_of(np.concatenate([bad, good, chance, label[None]]), 4)
    members = members_of(*["trained"] * 4, "untrained", "shuffled", learning_rate=[1.0, 1.0, 2.0, 2.0, 1.0, 1.0])
    estimates, checks = te.estimate(logits, label, members, ["learning_rate"], class_names="abcd", num_bins=15)
    accuracy = {e.get("learning_rate", e.get("control")): e["value"] for e in estimates if e["name"] == "accuracy.test"}
    assert accuracy[1.0] < 0.7 < 0.9 < accuracy[2.0] and accuracy["shuffled"] == 1.0 and accuracy["untrained"] < 0.4
    passed = {check["name"]: check["passed"] for check in checks}
    assert passed["controls.untrained"] and not passed["controls.shuffled"] and passed["accuracy.above_chance"]
    text = te.headline(estimates, "cnn on digits", ["learning_rate"])
    assert text.startswith("2 classifiers (cnn on digits, learning_rate 2 (the best of 2 values)) are right on 9")
    assert "times what unrelated errors of equal accuracy would give" in text


def test_members_that_agree_everywhere_and_are_never_wrong():
    label = np.arange(40) % 4
    logits = logits_of(np.stack([label] * 4), 4)
    estimates, checks = te.estimate(logits, label, members_of(*["trained"] * 4), (), class_names="abcd", num_bins=15)
    names = [e["name"] for e in estimates]
    assert "agreement.disagreement" in names and "agreement.ratio" not in names
    assert not {check["name"]: check["passed"] for check in checks}["members.distinct"]
    assert te.headline(estimates, "cnn on digits", ()).endswith("of the test images.")


def test_tables_are_named_per_member_bin_class_and_pair():
    label = np.array([0, 1, 1, 2])
    logits = logits_of(np.array([[0, 1, 1, 2], [0, 1, 2, 2]]), 4)
    tables = te.tables(logits, label, num_bins=3)
    np.testing.assert_allclose(tables["accuracy"][1], [1.0, 0.75])
    np.testing.assert_array_equal(tables["disagreement"][1], np.float32([[0, 0.25], [0.25, 0]]))
    np.testing.assert_array_equal(tables["class_accuracy"][1], np.float32([[1, 1, 1, np.nan], [1, 0.5, 1, np.nan]]))
    np.testing.assert_array_equal(tables["bin_count"][1], [[0, 0, 4], [0, 0, 4]])
    assert np.isnan(tables["bin_accuracy"][1][:, :2]).all()
    # Given class 1, member 1 says 1 or 2 evenly, member 0 always 1; elsewhere both are always right.
    np.testing.assert_allclose(tables["disagreement_expected"][1][0, 1], 0.25)
