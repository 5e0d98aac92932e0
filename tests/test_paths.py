"""Paths: ends, lengths and deviations by hand, and trained curves on valleys whose pass is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape.measures import paths
from landscape.measures.trained_paths import trained


def planar(*points):
    """Images of two pixels, one example."""
    return jnp.asarray(points, jnp.float32).reshape(len(points), 1, 1, 2, 1)


@pytest.mark.parametrize("kind", ["chain", "bezier"])
def test_ends_are_exact_and_equal_points_stay(kind):
    points = jax.random.uniform(jax.random.key(0), (4, 3, 5, 5, 1))
    path = paths.curve(points, kind)
    np.testing.assert_array_equal(path(jnp.float32(0)), points[0])
    np.testing.assert_array_equal(path(jnp.float32(1)), points[-1])
    same = paths.curve(jnp.repeat(points[:1], 4, axis=0), kind)
    for t in (0.1, 0.37, 0.9):
        np.testing.assert_array_equal(same(jnp.float32(t)), points[0])


@pytest.mark.parametrize("kind", ["chain", "bezier"])
def test_every_pair_may_stand_at_a_place_of_its_own(kind):
    path = paths.curve(jax.random.uniform(jax.random.key(0), (4, 3, 5, 5, 1)), kind)
    t = jnp.asarray([0.0, 0.3, 1.0])
    found = path(t)
    for i in range(3):
        np.testing.assert_allclose(found[i], path(t[i])[i], atol=1e-6)
    np.testing.assert_array_equal(found[2], path(jnp.float32(1))[2])


def test_a_detour_by_hand():
    path = paths.curve(planar((0.0, 0.0), (0.6, 0.8), (1.2, 0.0)))
    np.testing.assert_allclose(paths.length(path, 101), [2 / 1.2], rtol=1e-5)
    np.testing.assert_allclose(paths.length(paths.line(path(jnp.zeros(())), path(jnp.ones(()))), 9), [1.0], rtol=1e-6)
    with pytest.raises(ValueError, match="at least 2"):
        paths.length(path, 1)


def valley(floor):
    """Height along a valley y = floor(x) whose pass, at x = 1/2, is 0.3 high; its walls are steep."""

    def height(_, x, label):
        across, along = x[:, 0, 1, 0], x[:, 0, 0, 0]
        return 0.3 * jnp.square(4 * along * (1 - along)) + 100 * jnp.square(across - floor(along))

    return height


FLOORS = {
    "chain": lambda x: 0.2 + jnp.minimum(x, 1 - x),
    "bezier": lambda x: 0.2 + 1.6 * x * (1 - x),  # the Bezier curve that (0.5, 1.0) steers
}


def highest(height, path):
    t = jnp.linspace(0, 1, 501)
    return float(jnp.max(jax.lax.map(lambda t: height(None, path(t), None), t)))


@pytest.mark.parametrize("kind", ["chain", "bezier"])
def test_trained_curves_reach_a_known_pass(kind):
    a, b = planar((0.0, 0.2), (1.0, 0.2))
    height = valley(FLOORS[kind])
    assert highest(height, paths.line(a, b)) > 10
    options = {"kind": kind, "height": height, "num_steps": 1500, "learning_rate": 0.005}
    points = trained(jax.random.key(0), None, a, b, jnp.zeros(1, jnp.int32), **options)
    assert highest(height, paths.curve(points, kind)) == pytest.approx(0.3, rel=0.01)
    np.testing.assert_array_equal(points[0], a)
    np.testing.assert_array_equal(points[-1], b)


def test_trained_curves_stay_in_the_box():
    a, b = planar((0.0, 0.9), (1.0, 0.9))
    points = trained(
        jax.random.key(0), None, a, b, jnp.zeros(1, jnp.int32), kind="bezier", num_waypoints=2, num_steps=100,
        height=lambda _, x, label: -x[:, 0, 1, 0], learning_rate=0.05,
    )  # fmt: skip
    assert points.shape == (4, 1, 1, 2, 1)
    np.testing.assert_array_equal(points[1:3, 0, 0, 1, 0], 1.0)
    assert float(points.max()) <= 1 and float(points.min()) >= 0
