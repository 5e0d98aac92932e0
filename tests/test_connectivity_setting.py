"""Pairs: whose images are whose, and that no image is in two; the attack that knows a detector; its weight."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from landscape.experiments.connectivity_setting import NONE, pairs_of
from landscape.experiments.connectivity_told import Told

from landscape import objectives, presets
from landscape.attacks import evading, projected
from landscape.experiments import connectivity_along, connectivity_detector, connectivity_ends
from landscape.presets.names import PATHS

PLACES = ("anchor", "other", "carrier", "second")


def said(num_images=400, num_members=3, num_classes=4, seed=0):
    """Labels, predictions with a tenth of errors that members partly share, mean probabilities."""
    rng = np.random.default_rng(seed)
    label = rng.integers(num_classes, size=num_images)
    probability = rng.dirichlet(np.ones(num_classes), size=num_images)
    prediction = np.tile(label, (num_members, 1))
    wrong = rng.random((num_members, num_images)) < 0.1
    prediction[wrong] = rng.integers(num_classes, size=wrong.sum())
    return label, prediction, probability


def test_pairs_are_what_they_are_called_and_share_no_image():
    label, prediction, probability = said()
    pairs = pairs_of(label, prediction, probability, num_pairs=30, num_errors=25, seed=0)
    right = np.all(prediction == label, axis=0)
    regular = np.arange(len(pairs.label)) < pairs.regular
    assert pairs.regular == 30 and (~regular).sum() == 25
    used = np.concatenate([getattr(pairs, place) for place in PLACES])
    used = used[used != NONE]
    assert len(used) == len(set(used.tolist())) == 4 * 30 + 2 * 25
    for place in ("anchor", "other"):
        rows = regular if place == "other" else slice(None)
        chosen = getattr(pairs, place)[rows]
        assert np.all(right[chosen]) and np.array_equal(label[chosen], pairs.label[rows])
    for place in ("carrier", "second"):
        chosen = getattr(pairs, place)[regular]
        others = np.where(np.arange(4) == label[chosen][:, None], -1, probability[chosen])
        assert np.all(right[chosen]) and np.array_equal(others.argmax(axis=1), pairs.label[regular])
    assert np.all(pairs.other[~regular] == NONE) and np.all(pairs.second[~regular] == NONE)
    errors = pairs.carrier[~regular]
    assert np.all(np.any(prediction[:, errors] == pairs.label[~regular], axis=0))
    assert np.all(label[errors] != pairs.label[~regular])
    counts = np.bincount(pairs.label[regular], minlength=4)
    assert counts.max() - counts.min() <= 1  # class by class in turn


def test_few_images_give_few_pairs():
    label, prediction, probability = said(num_images=40)
    pairs = pairs_of(label, prediction, probability, num_pairs=30, num_errors=0, seed=0)
    assert 0 < pairs.regular < 10 and len(pairs.label) == pairs.regular


def test_the_words_of_configs_are_those_of_the_experiment():
    assert set(presets.PAIRS) == set(connectivity_ends.KINDS)
    assert PATHS[:2] == connectivity_along.ALWAYS and connectivity_along.ALL in PATHS


def test_a_bend_out_of_its_plane_is_told():
    rng = np.random.default_rng(0)
    a, b = (jnp.asarray(rng.random((2, 4, 4, 1)), jnp.float32) for _ in range(2))
    way = (b - a).reshape(2, -1)
    beside = jnp.asarray(rng.normal(size=way.shape), jnp.float32)
    beside -= jnp.sum(beside * way, axis=1, keepdims=True) / jnp.sum(way * way, axis=1, keepdims=True) * way
    beside /= jnp.linalg.norm(beside, axis=1, keepdims=True)
    unit = way / jnp.linalg.norm(way, axis=1, keepdims=True)
    for out in (0.0, 0.003):
        bend = a + 0.25 * (b - a) + (0.5 * beside + 0.5 * out * unit).reshape(a.shape)
        found = connectivity_along._out_of_plane(a, b, bend, jnp.full(2, 0.25))
        np.testing.assert_allclose(found, out, atol=1e-5)
        # From another place of the line it is far out, however near the next point of a grid.
        assert np.all(connectivity_along._out_of_plane(a, b, bend, jnp.full(2, 0.35)) > 0.05)
    np.testing.assert_array_equal(connectivity_along._out_of_plane(a, b, a, jnp.zeros(2)), 0.0)


# ---- the detector ----


def planted(
    score_positive, score_negative, *, kinds=("genuine", "adversarial"), margin=None, errors=None, classes=None
):
    """Told of two kinds, or three, with given barriers; pairs count where they have one."""
    stack = [score_negative, score_positive] + ([errors] if errors is not None else [])
    barrier = np.stack(stack)[:, None]
    valid = np.isfinite(barrier).astype(float)
    arrays = {
        **{score: ((), barrier) for score in connectivity_detector.SCORES},
        "valid": ((), valid),
        "end_margin": ((), np.ones_like(barrier[:, 0]) if margin is None else margin),
        "pair_class": ((), np.zeros(barrier.shape[-1], int) if classes is None else classes),
    }
    return Told(arrays, kinds, ("line",))


def aurocs(told, far=None):
    far = np.zeros(told.arrays["barrier"][1].shape[-1]) if far is None else far
    found = connectivity_detector.detector(connectivity_detector.separated(None, told, far))
    return {
        (e["population"], e["reference"], e["matching"]): e for e in found.estimates if e["name"] == "auroc.barrier"
    }, found.curves


def test_genuine_pairs_called_adversarial_are_not_told():
    scores = np.random.default_rng(0).exponential(size=(5, 60))
    found, curves = aurocs(planted(scores, scores))
    one = found["adversarial", "genuine", "raw"]
    assert one["value"] == pytest.approx(0.5, abs=1e-12) and one["low"] <= 0.5 <= one["high"]
    roc, rate = curves["roc"][1][0, 0, 0], curves["rate"][1]
    np.testing.assert_allclose(roc, rate, atol=1 / 60 + 1e-9)


def test_equal_barriers_make_the_diagonal():
    found, curves = aurocs(planted(np.zeros((5, 40)), np.zeros((5, 40))))
    assert found["adversarial", "genuine", "raw"]["value"] == 0.5
    np.testing.assert_allclose(curves["roc"][1][0, 0, 0], curves["rate"][1], atol=1e-12)


def test_a_difference_that_margins_make_is_gone_where_they_are_equal():
    """Barriers that are a function of the margin alone tell attacks from errors until margins are matched."""
    rng = np.random.default_rng(1)
    margins = np.stack([rng.uniform(0, 2, (6, 300)), rng.uniform(0, 2, (6, 300)), rng.uniform(0.5, 2.5, (6, 300))])
    half = np.arange(300) < 150  # regular pairs, then errors
    own = margins + 0.01 * rng.normal(size=margins.shape)
    genuine, adversarial, error = (
        np.where(mask, values, np.nan) for mask, values in zip((half, half, ~half), own, strict=True)
    )
    told = planted(
        adversarial, genuine, kinds=("genuine", "adversarial_iso", "natural_error"), margin=margins, errors=error
    )
    found, _ = aurocs(told, far=np.zeros(300))
    assert found["adversarial_iso", "natural_error", "raw"]["value"] < 0.4
    one = found["adversarial_iso", "natural_error", "matched"]
    assert one["value"] == pytest.approx(0.5, abs=0.03) and one["low"] < 0.5 < one["high"]


@pytest.mark.parametrize("what", ["far", "class"])
def test_a_difference_that_another_covariate_makes_is_gone_where_it_is_equal(what):
    """Barriers that are a function of the carrier's distance, or of the class, which errors have otherwise."""
    rng = np.random.default_rng(2)
    half = np.arange(400) < 200
    far = np.where(half, rng.uniform(0, 2, 400), rng.uniform(0.5, 2.5, 400))
    classes = np.where(half, rng.random(400) < 0.3, rng.random(400) < 0.6).astype(int)
    level = far if what == "far" else classes + 1.0
    own = level + 0.01 * rng.normal(size=(6, 400))
    margin = rng.normal(size=(3, 6, 400))
    told = planted(
        np.where(half, own, np.nan), np.where(half, own, np.nan), margin=margin, errors=np.where(half, np.nan, own),
        kinds=("genuine", "adversarial_iso", "natural_error"), classes=classes,
    )  # fmt: skip
    found, _ = aurocs(told, far)
    assert found["adversarial_iso", "natural_error", "raw"]["value"] < 0.42
    one = found["adversarial_iso", "natural_error", "matched"]
    assert one["value"] == pytest.approx(0.5, abs=0.06) and one["low"] < 0.5 < one["high"] and one["same_class"]


def test_members_with_few_errors_are_left_out_and_counted():
    rng = np.random.default_rng(3)
    half = np.arange(300) < 150
    scores, errors = rng.exponential(size=(6, 300)), rng.exponential(size=(6, 300))
    errors[2, 154:] = np.nan  # four are left
    told = planted(
        np.where(half, scores, np.nan), np.where(half, scores, np.nan), errors=np.where(half, np.nan, errors),
        kinds=("genuine", "adversarial_iso", "natural_error"),
    )  # fmt: skip
    found, _ = aurocs(told)
    assert found["adversarial_iso", "natural_error", "raw"]["members"] == 5
    assert found["adversarial_iso", "genuine", "raw"]["members"] == 6
    errors[:3, 154:] = np.nan  # three members would be left, too few for an interval
    told = planted(
        np.where(half, scores, np.nan), np.where(half, scores, np.nan), errors=np.where(half, np.nan, errors),
        kinds=("genuine", "adversarial_iso", "natural_error"),
    )  # fmt: skip
    assert ("adversarial_iso", "natural_error", "raw") not in aurocs(told)[0]


def test_as_few_pairs_as_are_taken_leave_hardly_a_resample_undefined():
    """Every member has just as many errors as it needs: an interval is found, which six of each would not give."""
    rng, half = np.random.default_rng(5), np.arange(300) < 150
    scores, errors = rng.exponential(size=(8, 300)), rng.exponential(size=(8, 300))
    least = connectivity_detector._least(8)
    assert least == 8 and connectivity_detector._least(16) == 9
    for count, known in ((least, True), (least - 1, False)):
        few = np.full((8, 300), np.nan)
        few[:, 150 : 150 + count] = errors[:, :count]
        told = planted(
            np.where(half, scores, np.nan), np.where(half, scores, np.nan), errors=few,
            kinds=("genuine", "adversarial_iso", "natural_error"),
        )  # fmt: skip
        assert (("adversarial_iso", "natural_error", "raw") in aurocs(told)[0]) == known


def test_barriers_below_rounding_tie():
    """Half of the scores are 0 on either side but for rounding, which must not order them."""
    rng = np.random.default_rng(4)
    own = np.where(np.arange(200) % 2, 0.0, rng.exponential(size=(5, 200)))
    found, _ = aurocs(planted(own + 5e-7 * (own == 0), own))
    assert found["adversarial", "genuine", "raw"]["value"] == pytest.approx(0.5, abs=1e-12)


def test_the_objective_of_an_attack_that_knows_a_detector_by_hand():
    def apply(_, x):
        return jnp.stack([jnp.zeros(x.shape[0]), x[:, 0, 0, 0]], axis=1)

    x = jnp.asarray([0.5, 3.0]).reshape(2, 1, 1, 1)
    objective = evading.evading(apply, lambda v, x, target: target[1] * x[:, 0, 0, 0], enough=1.0)
    label = jnp.ones(2, jnp.int32)
    found = objective(None, x, (label, jnp.full(2, 0.1), jnp.asarray([1.0, 2.0])))
    np.testing.assert_allclose(found, [0.5 - 0.05, 1.0 - 0.6], rtol=1e-6)  # margins 0.5 and 3, of which 1 is enough


def test_a_planted_feature_is_told_until_the_attack_knows_it():
    """The norm of an image, which attacks raise, tells them, but not one that cares."""
    rng = np.random.default_rng(0)
    clean = jnp.asarray(rng.uniform(0.3, 0.5, (64, 4, 4, 1)), jnp.float32)
    weights = jnp.asarray(np.abs(rng.normal(size=(16, 2))) * [-1.0, 1.0], jnp.float32)
    label = jnp.ones(64, jnp.int32)

    def apply(weights, x):
        return x.reshape(x.shape[0], -1) @ weights - jnp.asarray([[0.0, 6.0]])

    def norm(x):
        return jnp.sum(jnp.square(x), axis=(1, 2, 3))

    typical = jnp.median(norm(clean))

    def score(variables, x, target):
        return jnp.abs(norm(x) - typical)  # the attack wants to be like the others, not beyond them

    keys = jax.random.split(jax.random.key(0), 64)
    ball = {"norm": "linf", "epsilon": 0.3, "step_size": 0.02, "num_steps": 200}
    plain = projected.targeted_pgd(keys, weights, clean, label, apply=apply, **ball)
    told = {"apply": apply, "score": score, "enough": 0.05, **ball}
    caring = evading.evade(keys, weights, clean, label, None, weight=10.0, **told)
    scores = {name: np.asarray(norm(x))[None] for name, x in
              (("clean", clean), ("plain", plain), ("caring", caring))}  # fmt: skip
    reached = [np.asarray(objectives.margin(apply(weights, x), label)) > 0 for x in (plain, caring)]
    assert reached[0].all()
    raw = connectivity_detector.member_separation(scores["plain"], scores["clean"]).auroc[0]
    adaptive = connectivity_detector.member_separation(scores["caring"], scores["clean"]).auroc[0]
    # Of 64 images on either side the AUROC of equal scores has a standard error of 0.05.
    assert raw > 0.95 and adaptive == pytest.approx(0.5, abs=0.1) and reached[1].mean() > 0.95


def test_the_weight_that_is_told_most_nearly_by_chance_and_still_succeeds_is_taken():
    genuine, every = np.tile(np.arange(10.0), (4, 1)), np.ones((4, 10), bool)
    attacks = np.stack([genuine + 5, genuine + 1, 0 * genuine])
    few = every & (np.arange(10) < 3)
    told = connectivity_detector.told_by_weight(attacks, np.stack([every, every, few]), genuine, every)
    np.testing.assert_allclose(told, [0.875, 0.595, 0.05], atol=1e-12)  # 0 ties with one of ten
    assert (
        connectivity_detector.chosen_weight(told, np.array([1.0, 1.0, 1.0]), keep=0.95) == 1
    )  # 0.05 is far below chance
    told[2] = 0.45
    assert connectivity_detector.chosen_weight(told, np.array([1.0, 1.0, 0.94]), keep=0.95) == 1
    assert connectivity_detector.chosen_weight(told, np.array([1.0, 1.0, 0.96]), keep=0.95) == 2
    told[0] = 0.5
    assert connectivity_detector.chosen_weight(told, np.array([1.0, 1.0, 0.96]), keep=0.95) == 2  # 0 does not care
    none = connectivity_detector.told_by_weight(attacks[:2], np.stack([every, ~every]), genuine, every)
    assert np.isnan(none[1]) and connectivity_detector.chosen_weight(none, np.array([1.0, 1.0]), keep=0.95) == 0
