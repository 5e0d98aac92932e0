"""Barriers of lines and ways around them: closed forms, a known pass, the exact maximum, projections in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape import objectives, spaces
from landscape.measures import barrier, bypass, paths
from landscape.measures.bypass import Around
from landscape.models import classifiers

SHAPE = (6, 6, 1)


def images(seed, count=5):
    """Half of the pixels are 0, as in pictures on black ground."""
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.random((count, *SHAPE)) * (rng.random((count, *SHAPE)) < 0.5), jnp.float32)


class Joined:
    """Images that a network joins, with the class of the first ones."""

    classifier = classifiers.build("mlp", num_classes=4, mean=(0.3,), std=(0.2,), norm="none", activation="relu")

    def __init__(self, count=5):
        self.apply, self.a, self.b = self.classifier.apply, images(1, count), images(2, count)
        self.variables = jax.tree.map(lambda w: 3 * w, self.classifier.init(jax.random.key(3), images(0)))
        self.label = jnp.argmax(self.apply(self.variables, self.a), axis=-1)

    def loss(self, variables, x, label):
        return objectives.loss(self.apply(variables, x), label)

    def line(self, num_points=33):
        line = paths.line(self.a, self.b)
        return barrier.profile(self.variables, line, self.label, paths.grid(num_points), apply=self.apply)


def test_the_ends_are_exact_and_other_classes_are_seen():
    one = Joined()
    found = one.line()
    for end, x in ((0, one.a), (-1, one.b)):
        np.testing.assert_allclose(found.loss[end], one.loss(one.variables, x, one.label), rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(
            found.left[end] > 0, jnp.argmax(one.apply(one.variables, x), axis=-1) != one.label
        )
    assert 0 < found.left[-1].sum()


def test_a_convex_loss_has_no_barrier():
    weights = jax.random.normal(jax.random.key(0), (36, 4))
    line, label = paths.line(images(1), images(2)), jnp.zeros(5, jnp.int32)
    options = {"apply": lambda w, x: x.reshape(x.shape[0], -1) @ w}
    found = barrier.profile(weights, line, label, paths.grid(33), **options)
    np.testing.assert_allclose(barrier.barrier(found.loss), 0.0, atol=1e-6)


def test_values_by_hand():
    values = jnp.asarray([[1.0, 0.0], [4.0, 1.0], [2.0, 2.0], [2.0, 3.0], [3.0, 4.0]])
    np.testing.assert_allclose(barrier.barrier(values), [1.0, 0.0])


def test_a_peak_between_the_points_of_a_grid_is_found():
    """The loss of class 0 along the first pixel is highest at 0.37, log 2, and falls to both sides."""

    def pointed(_, x):
        return jnp.stack([jnp.zeros(x.shape[0]), -30 * jnp.abs(x[:, 0, 0, 0] - 0.37)], axis=1)

    a, b = jnp.zeros((2, *SHAPE)), jnp.ones((2, *SHAPE))
    b = b.at[1].set(0.5)  # there it stands at t = 0.74
    path, label = paths.line(a, b), jnp.zeros(2, jnp.int32)
    coarse = barrier.profile(None, path, label, paths.grid(8), apply=pointed)
    near = barrier.closely(None, path, label, coarse, apply=pointed)
    assert np.all(np.asarray(barrier.barrier(coarse.loss)) < 0.8 * np.log(2))
    # Half a step of 1 / 56 beside the peak the loss is log(1 + exp(-30 / 112)).
    least = np.log1p(np.exp(-30 / 112)) - np.log1p(np.exp(-30 * 0.37)) - 1e-5
    assert np.all(np.asarray(barrier.barrier(near.loss)) >= least)
    np.testing.assert_array_equal(near.loss[jnp.asarray([0, -1])], coarse.loss[jnp.asarray([0, -1])])


@pytest.mark.slow
def test_a_barrier_is_that_at_the_kinks_of_a_relu_network():
    """Logits of one layer are piecewise linear along a line and turn at -c / w; the loss, convex in them, is highest
    at one of these places or at an end.
    """
    missed = 0.0
    label, path = jnp.arange(3), paths.line(jnp.zeros((3, 1, 1, 1)), jnp.ones((3, 1, 1, 1)))

    def apply(weights, x):
        (w, c), out, v = weights
        t = x[:, 0, 0, :1]
        return jnp.maximum(w[None] * t + c[None], 0) @ out + v[None] * t

    for seed in range(6):
        rng = np.random.default_rng(seed)
        (w, c), out, v = weights = 4 * rng.normal(size=(2, 30)), rng.normal(size=(30, 3)), rng.normal(size=3)
        places = np.concatenate([[0.0, 1.0], -c / w])
        places = places[(places >= 0) & (places <= 1)][:, None]
        values = np.maximum(w * places + c, 0) @ out + v * places
        losses = np.log(np.exp(values[:, None] - values[..., None]).sum(axis=2))
        exact = losses.max(axis=0) - losses[:2].max(axis=0)
        weights = jax.tree.map(jnp.asarray, weights)
        coarse, grid = (barrier.profile(weights, path, label, paths.grid(n), apply=apply) for n in (9, 33))
        found = np.asarray(barrier.barrier(barrier.closely(weights, path, label, grid, apply=apply).loss))
        assert np.all(found <= exact + 1e-4) and np.all(found >= exact - 0.02 * exact - 1e-3)
        missed = max(missed, np.max(exact - np.asarray(barrier.barrier(coarse.loss))))
    assert missed > 0.01  # by a coarse grid


def test_what_attacks_steer_is_the_rise_of_the_profile_and_so_is_its_gradient():
    one = Joined(12)

    def whole(b):
        line = paths.line(one.a, b)
        loss = barrier.profile(one.variables, line, one.label, paths.grid(9), apply=one.apply).loss
        return jnp.max(loss[1:-1], axis=0) - jnp.maximum(loss[0], loss[-1])

    def quick(b):
        return barrier.line_rise(one.variables, one.a, b, one.label, apply=one.apply, num_points=9)

    found = np.asarray(quick(one.b))
    assert 2 < (found > 0).sum() < 10  # some have a barrier, others none
    # Losses here go up to 24 nats, of which 1e-6 is float32's rounding.
    np.testing.assert_allclose(found, whole(one.b), rtol=1e-4, atol=5e-5)
    slopes = [np.asarray(jax.grad(lambda b, fn=fn: jnp.sum(fn(b)))(one.b)) for fn in (quick, whole)]
    steep = np.abs(slopes[1]).max(axis=(1, 2, 3)) > 0.01
    assert steep[found > 0].any() and steep[found < 0].any()
    np.testing.assert_allclose(*slopes, rtol=1e-3, atol=2e-5)


# ---- the way around ----


def nearest(z, through, normal):
    """The projection in float64, by bisection of lambda."""
    unit = normal / np.linalg.norm(normal)
    low, high = -1e8, 1e8
    for _ in range(200):
        middle = 0.5 * (low + high)
        excess = unit @ (np.clip(z - middle * unit, 0, 1) - through)
        low, high = (middle, high) if excess > 0 else (low, middle)
    return np.clip(z - low * unit, 0, 1)


def off_plane(normal, moved):
    """Distance of moves from the hyperplane, over their length, at least 0.1."""
    normal, moved = (np.asarray(part, np.float64).reshape(len(part), -1) for part in (normal, moved))
    rest = np.abs((normal * moved).sum(axis=1)) / np.linalg.norm(normal, axis=1)
    return rest / np.maximum(np.linalg.norm(moved, axis=1), 0.1)


@pytest.mark.parametrize("spread", [0.0, 0.01, 0.3, 5.0])
def test_the_projection_is_the_nearest_point_of_plane_and_box(spread):
    a, b = images(1, 20), images(2, 20)
    through = a + 0.3 * (b - a)
    z = through + spread * jax.random.normal(jax.random.key(0), a.shape)
    found = np.asarray(spaces.section(b - a).project(z, through, 0.0), np.float64)
    assert found.min() >= 0 and found.max() <= 1 and off_plane(b - a, found - np.asarray(through)).max() <= 1e-5
    flat = [np.asarray(part, np.float64).reshape(20, -1) for part in (z, through, b - a, found)]
    for z, through, normal, found in zip(*flat, strict=True):
        np.testing.assert_allclose(found, nearest(z, through, normal), atol=1e-5)


def way_around(height, a, b, label, variables=None, depth=1, **more):
    around = Around(height=height, **more)
    return jax.jit(lambda v, a, b, label: bypass.bypass(v, a, b, label, around=around, depth=depth))(
        variables, a, b, label
    )


def highest(height, path, label, variables=None):
    return np.asarray(jax.lax.map(lambda t: height(variables, path(t), label), paths.grid(401))).max(axis=0)


def test_a_known_pass_is_reached_where_the_line_is_highest():
    """A ridge between x_0 = 0 and x_0 = 1, 3 high on the straight way at x_0 = 0.3 and 0.9 at its pass, x_1 = 0.8."""

    def ridge(_, x, label):
        along = jnp.exp(-jnp.square((x[:, 0, 0, 0] - 0.3) / 0.15))
        return along * (0.3 + 0.7 * jnp.square((x[:, 0, 1, 0] - 0.8) / 0.6)) * 3

    a, b = jnp.asarray([[[[0.0], [0.2]]]]), jnp.asarray([[[[1.0], [0.2]]]])
    label = jnp.zeros(1, jnp.int32)
    assert highest(ridge, paths.line(a, b), label) == pytest.approx([3.0], rel=1e-3)
    found = way_around(ridge, a, b, label, num_points=21)
    assert highest(ridge, paths.curve(found.points), label) == pytest.approx([0.9], rel=0.01)
    np.testing.assert_allclose(found.peak, [0.3], atol=1e-6)
    np.testing.assert_allclose(found.points[1][0, 0, :, 0], [0.3, 0.8], atol=0.02)


def test_the_waypoint_is_drawn_to_where_it_began():
    """Of a quadratic height c |x - x*|^2 the waypoint with 0.1 mean((x - B)^2) is the weighted mean of x* and B."""
    rng = np.random.default_rng(0)
    a = jnp.asarray(rng.uniform(0.4, 0.6, (3, *SHAPE)), jnp.float32)
    b = a.at[:, 0, 0, 0].add(0.3)  # the plane leaves all other pixels free
    through = a + 0.5 * (b - a)
    lowest = through + jnp.asarray(rng.uniform(-0.3, 0.3, a.shape), jnp.float32).at[:, 0, 0, 0].set(0.0)

    def height(_, x, label):
        return bypass.NEAR / 36 * jnp.sum(jnp.square(x - lowest), axis=(1, 2, 3))

    label, half = jnp.zeros(3, jnp.int32), jnp.full(3, 0.5)
    found = bypass.waypoints(None, a, b, label, half, around=Around(height=height))[-1]
    np.testing.assert_allclose(found, 0.5 * (through + lowest), atol=5e-3)


def test_what_is_added_is_smooth_where_that_counts(monkeypatch):
    one, half, rough = Joined(), jnp.full(5, 0.5), []
    around, middle = Around(height=one.loss, num_steps=60), one.a + 0.5 * (one.b - one.a)
    for weight in (bypass.SMOOTH, 3.0):
        monkeypatch.setattr(bypass, "SMOOTH", weight)
        found = bypass.waypoints(one.variables, one.a, one.b, one.label, half, around=around)[-1]
        rough.append(float(objectives.total_variation(found - middle).mean()))
    assert rough[1] < 0.8 * rough[0]


@pytest.mark.slow
def test_pieces_that_are_low_stay_and_high_ones_are_bent_again_within_their_planes():
    one = Joined(12)
    line = one.line().loss
    limit = jnp.maximum(line[0], line[-1])
    high = np.asarray(line[1:-1].max(axis=0) > limit + 0.01)
    assert 0 < high.sum() < 12
    ends, options = (one.a, one.b, one.label, one.variables), {"num_steps": 6, "frames": (2, 4, 6)}
    once, twice = (way_around(one.loss, *ends, depth, **options) for depth in (1, 2))
    flat = np.asarray(twice.points)
    np.testing.assert_array_equal(flat[[0, -1]], np.stack([one.a, one.b]))
    middle, quarter = np.asarray(one.a + 0.5 * (one.b - one.a)), np.asarray(one.a + 0.25 * (one.b - one.a))
    np.testing.assert_array_equal(flat[2][~high], middle[~high])
    np.testing.assert_allclose(flat[1][~high], quarter[~high], atol=1e-7)
    assert np.all(np.abs(flat[2] - middle)[high].max(axis=(1, 2, 3)) > 1e-3)
    np.testing.assert_array_equal(flat[2], once.points[1])  # what was found first is kept
    np.testing.assert_array_equal(twice.iterates[-1], once.points[1])
    through = one.a + twice.peak.reshape(-1, 1, 1, 1) * (one.b - one.a)
    for iterate in twice.iterates:
        assert off_plane(one.b - one.a, iterate - through).max() <= 1e-5
        assert np.asarray(iterate).min() >= 0 and np.asarray(iterate).max() <= 1
    rises = [highest(one.loss, paths.curve(way.points), one.label, one.variables) - limit for way in (once, twice)]
    straight = line.max(axis=0) - limit
    assert np.all(rises[0] <= straight + 1e-3) and np.all(rises[1] <= rises[0] + 1e-3)
    assert rises[1].sum() < rises[0].sum() < straight.sum()


def test_one_row_does_not_depend_on_the_others():
    one = Joined(40)
    ends = (one.a, one.b, one.label)
    whole = way_around(one.loss, *ends, one.variables, 2, num_steps=20).points
    part = way_around(one.loss, *(x[7:23] for x in ends), one.variables, 2, num_steps=20).points
    np.testing.assert_allclose(whole[:, 7:23], part, atol=1e-5)


def test_a_way_around_in_a_latent_is_the_same_as_in_pixels_where_the_decoder_changes_nothing():
    one = Joined()
    a, b = (0.3 + 0.2 * x for x in (one.a, one.b))  # far from the box, which latents do not have
    label, how = jnp.argmax(one.apply(one.variables, a), axis=-1), {"num_steps": 12, "learning_rate": 0.002}
    pixels = way_around(one.loss, a, b, label, one.variables, **how).points
    latent = way_around(one.loss, a, b, label, one.variables, decode=lambda z: z, **how).points
    assert np.abs(pixels[1] - paths.line(a, b)(jnp.float32(0.5))).max() > 0.005
    np.testing.assert_allclose(pixels, latent, atol=2e-5)
