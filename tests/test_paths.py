"""Paths between two inputs: their ends, and a trained curve on a valley whose pass is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape.measures import paths


def planar(*points):
    """Images of two pixels, one example."""
    return jnp.asarray(points, jnp.float32).reshape(len(points), 1, 1, 2, 1)


@pytest.mark.parametrize("kind", ["chain", "bezier"])
def test_ends_are_exact_and_every_pair_may_stand_at_a_place_of_its_own(kind):
    points = jax.random.uniform(jax.random.key(0), (4, 3, 5, 5, 1))
    path = paths.curve(points, kind)
    np.testing.assert_array_equal(path(jnp.float32(0)), points[0])
    np.testing.assert_array_equal(path(jnp.float32(1)), points[-1])
    t = jnp.asarray([0.0, 0.3, 1.0])
    for i, own in enumerate(path(t)):
        np.testing.assert_allclose(own, path(t[i])[i], atol=1e-6)
    same = paths.curve(jnp.repeat(points[:1], 4, axis=0), kind)
    np.testing.assert_array_equal(same(jnp.float32(0.37)), points[0])
    with pytest.raises(ValueError, match="at least 2"):
        paths.grid(1)


def test_a_chain_by_hand():
    path = paths.curve(planar((0.0, 0.0), (0.6, 0.8), (1.2, 0.0)))
    np.testing.assert_allclose(path(jnp.float32(0.25)).ravel(), [0.3, 0.4], rtol=1e-6)
    np.testing.assert_allclose(path(jnp.float32(0.75)).ravel(), [0.9, 0.4], rtol=1e-6)


def test_a_trained_curve_reaches_a_known_pass():
    """Along a valley y = floor(x), which the curve through (0.5, 1.0) follows, its pass, at x = 1/2, is 0.3 high."""

    def height(_, x, label):
        across, along = x[:, 0, 1, 0], x[:, 0, 0, 0]
        floor = 0.2 + 1.6 * along * (1 - along)
        return 0.3 * jnp.square(4 * along * (1 - along)) + 100 * jnp.square(across - floor)

    def highest(path):
        return float(jnp.max(jax.lax.map(lambda t: height(None, path(t), None), paths.grid(501))))

    a, b = planar((0.0, 0.2), (1.0, 0.2))
    assert highest(paths.line(a, b)) > 10
    points = paths.trained(jax.random.key(0), None, a, b, jnp.zeros(1, jnp.int32), height=height, num_steps=1500)
    assert highest(paths.curve(points, "bezier")) == pytest.approx(0.3, rel=0.01)
    np.testing.assert_array_equal(points[jnp.asarray([0, -1])], jnp.stack([a, b]))


def test_a_trained_curve_stays_in_the_box():
    a, b = planar((0.0, 0.9), (1.0, 0.9))
    points = paths.trained(
        jax.random.key(0), None, a, b, jnp.zeros(1, jnp.int32), height=lambda _, x, label: -x[:, 0, 1, 0],
        num_steps=100, learning_rate=0.05,
    )  # fmt: skip
    assert float(points[1, 0, 0, 1, 0]) == 1.0 and float(points.max()) <= 1 and float(points.min()) >= 0
