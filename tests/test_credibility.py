"""What neighbours say: counts, majorities and conformal p-values on sets that can be counted by hand."""

import jax.numpy as jnp
import numpy as np

from landscape.latent.separability import stability
from landscape.measures import credibility

LABELS = np.array([[0, 0, 1], [2, 1, 1], [2, 0, 1]])  # three inputs, three neighbours each, nearest first


def test_neighbours_are_counted_and_ties_go_to_the_nearer_class():
    np.testing.assert_array_equal(credibility.class_counts(LABELS, 3), [[2, 1, 0], [0, 2, 1], [1, 1, 1]])
    np.testing.assert_array_equal(credibility.majority(LABELS, 3), [0, 1, 2])
    # Two of either class: ranks 1 + 4 against 2 + 3 tie, and argmax takes the lower class; 1 + 3 is nearer than 2 + 4.
    np.testing.assert_array_equal(credibility.majority(np.array([[1, 0, 1, 0], [0, 1, 0, 1]]), 2), [1, 0])
    # One near neighbour never outweighs two far ones.
    np.testing.assert_array_equal(credibility.majority(np.array([[0, 2, 3, 1, 1]]), 4), [1])


def test_nonconformity_counts_neighbours_of_other_classes_over_layers():
    layers = np.stack([LABELS, LABELS[::-1]])  # [layer, input, neighbour]
    expected = 3 - np.array([[2, 1, 0], [0, 2, 1], [1, 1, 1]])
    np.testing.assert_array_equal(credibility.nonconformity(layers, 3), expected + expected[::-1])
    # All neighbours of class 1 at every layer: nothing speaks against it, and everything against the others.
    np.testing.assert_array_equal(credibility.nonconformity(np.ones((2, 4, 5), int), 2), [[10, 0]] * 4)


def test_p_values_are_shares_of_calibration_scores():
    scores = np.array([[0, 1, 2, 3, 4]])
    expected = np.array([[5, 4, 3, 3, 1]]) / 5  # of scores 0, 1, 3, 3 those as high or higher, and the input itself
    np.testing.assert_allclose(credibility.p_values(scores, np.array([3, 0, 3, 1])), expected, rtol=1e-6)


def test_p_values_of_inputs_like_the_calibration_ones_are_small_no_more_often_than_they_say():
    """P(p <= a) <= a, over new calibration sets and new inputs."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(400):
        drawn = rng.integers(0, 6, 25)  # many ties
        found += np.asarray(credibility.p_values(drawn[:5, None], jnp.asarray(drawn[5:]))).ravel().tolist()
    for level in (0.1, 0.3, 0.5):
        share = np.mean(np.array(found) <= level)
        assert share < level + 4 * np.sqrt(level * (1 - level) / 400)  # inputs of one set are not independent


def test_mutual_neighbours_are_shares_of_the_union():
    one, other = np.array([[0, 1, 2], [3, 4, 5], [6, 7, 8]]), np.array([[2, 1, 0], [5, 9, 3], [0, 1, 2]])
    np.testing.assert_allclose(credibility.mutual_neighbours(one, other), [1.0, 2 / 4, 0.0], rtol=1e-6)


def test_cka_is_that_of_the_other_formula_and_does_not_see_rotations():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(30, 5)).astype(np.float32), rng.normal(size=(30, 8)).astype(np.float32)
    b[:, :3] += a[:, :3]
    # `stability` has it from D x E products of double precision.
    np.testing.assert_allclose(credibility.linear_cka(a, b), stability(a.astype(float), b.astype(float))[0], rtol=1e-5)
    turn = np.linalg.qr(rng.normal(size=(5, 5)))[0].astype(np.float32)
    np.testing.assert_allclose(credibility.linear_cka(a, 3 * a @ turn + 7), 1.0, rtol=1e-5)


def test_the_value_of_a_class_is_picked():
    np.testing.assert_array_equal(
        credibility.of_class(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([1, 0])), [2.0, 3.0]
    )
