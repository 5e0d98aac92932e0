"""Curves through pytrees: against de Casteljau's construction, straight pieces, and their ends."""

import jax.numpy as jnp
import numpy as np
import pytest

from landscape import tree

POINTS = np.random.default_rng(0).normal(size=(4, 2, 3)).astype(np.float32)


def casteljau(points, t):
    while len(points) > 1:
        points = (1 - t) * points[:-1] + t * points[1:]
    return points[0]


@pytest.mark.parametrize("t", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_bezier_is_repeated_blending(t):
    found = tree.blend(tree.bezier(jnp.float32(t), 4), POINTS)
    np.testing.assert_allclose(found, casteljau(POINTS, np.float32(t)), atol=1e-6)


def test_a_chain_goes_straight_from_point_to_point():
    for piece, share in [(0, 0.0), (0, 0.25), (1, 0.5), (2, 0.75), (2, 1.0)]:
        found = tree.blend(tree.chain(jnp.float32((piece + share) / 3), 4), POINTS)
        np.testing.assert_allclose(found, (1 - share) * POINTS[piece] + share * POINTS[piece + 1], atol=1e-6)


@pytest.mark.parametrize("name", list(tree.CURVES))
def test_curves_begin_and_end_at_their_end_points_bit_for_bit(name):
    nested = {"a": POINTS, "b": {"c": POINTS[:, 0]}}
    for t, end in ((0.0, 0), (1.0, -1)):
        found = tree.blend(tree.CURVES[name](jnp.float32(t), 4), nested)
        np.testing.assert_array_equal(found["a"], POINTS[end])
        np.testing.assert_array_equal(found["b"]["c"], POINTS[end, 0])
    for t in np.linspace(0, 1, 7, dtype=np.float32):
        assert float(jnp.sum(tree.CURVES[name](jnp.asarray(t), 4))) == pytest.approx(1.0, abs=1e-6)
