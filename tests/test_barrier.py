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


@pytest.fixture(scope="module")
def network():
    classifier = classifiers.build("mlp", num_classes=4, mean=(0.3,), std=(0.2,), norm="none", activation="relu")
    variables = classifier.init(jax.random.key(3), images(0))
    return classifier.apply, jax.tree.map(lambda w: 3 * w, variables)


def line_of(network, a, b, num_points=33):
    apply, variables = network
    label = jnp.argmax(apply(variables, a), axis=-1)
    return barrier.profile(variables, paths.line(a, b), label, apply=apply, num_points=num_points)


def test_a_line_from_a_point_to_itself_has_no_barrier(network):
    found = barrier.barriers(line_of(network, images(1), images(1))["loss"])
    np.testing.assert_array_equal(found["barrier"], 0.0)
    np.testing.assert_allclose(found["above_line"], 0.0, atol=1e-6)


def test_a_line_has_the_same_barrier_from_both_ends(network):
    apply, variables = network
    a, b = images(1), images(2)
    label = jnp.zeros(5, jnp.int32)
    both = [
        barrier.profile(variables, paths.line(*ends), label, apply=apply, num_points=17) for ends in ((a, b), (b, a))
    ]
    there, back = (barrier.barriers(one["loss"]) for one in both)
    for name in ("barrier", "above_line"):
        np.testing.assert_allclose(there[name], back[name], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(there["peak"], 1 - back["peak"], atol=1e-6)
    assert np.asarray(there["barrier"]).max() > 0.01


def test_finer_grids_never_lower_it(network):
    found = [
        barrier.barriers(line_of(network, images(1), images(2), 2**k + 1)["loss"])["barrier"] for k in (1, 3, 5, 6)
    ]
    assert np.all(np.diff(np.stack(found), axis=0) >= -1e-6)


def test_the_ends_are_exact_and_left_is_told(network):
    apply, variables = network
    a, b = images(1), images(2)
    label = jnp.argmax(apply(variables, a), axis=-1)
    found = line_of(network, a, b)
    np.testing.assert_allclose(found["loss"][0], objectives.loss(apply(variables, a), label), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["loss"][-1], objectives.loss(apply(variables, b), label), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found["left"][-1] > 0, jnp.argmax(apply(variables, b), axis=-1) != label)
    with pytest.raises(ValueError, match="at least 2"):
        line_of(network, a, b, 1)


def test_a_convex_loss_has_no_barrier():
    weights = jax.random.normal(jax.random.key(0), (36, 4))
    linear = (lambda w, x: x.reshape(x.shape[0], -1) @ w, weights)
    found = barrier.barriers(line_of(linear, images(1), images(2))["loss"])
    np.testing.assert_allclose(found["barrier"], 0.0, atol=1e-6)
    np.testing.assert_allclose(found["above_line"], 0.0, atol=1e-5)


def test_values_by_hand():
    values = jnp.asarray([[1.0, 0.0], [4.0, 1.0], [2.0, 2.0], [2.0, 3.0], [3.0, 4.0]])
    found = barrier.barriers(values)
    np.testing.assert_allclose(found["barrier"], [1.0, 0.0])
    np.testing.assert_allclose(found["above_line"], [2.5, 0.0])
    np.testing.assert_allclose(found["peak"], [0.25, 1.0])


def pointed(_, x):
    """Logits of two classes; the loss of class 0 along the first pixel is highest at 0.37, log 2, and falls to both
    sides."""
    return jnp.stack([jnp.zeros(x.shape[0]), -30 * jnp.abs(x[:, 0, 0, 0] - 0.37)], axis=1)


def test_a_peak_between_the_points_of_a_grid_is_found():
    a, b = jnp.zeros((2, *SHAPE)), jnp.ones((2, *SHAPE))
    b = b.at[1].set(0.5)  # there it stands at t = 0.74
    path, label = paths.line(a, b), jnp.zeros(2, jnp.int32)
    told = barrier.profile(None, path, label, apply=pointed, num_points=8)
    coarse = np.asarray(barrier.barriers(told["loss"])["barrier"])
    t, near = barrier.closely(None, path, label, told, apply=pointed)
    found = barrier.barriers(near["loss"], t)
    assert np.all(coarse < 0.8 * np.log(2))
    np.testing.assert_allclose(found["peak"], [0.37, 0.74], atol=1 / 7 / 16)
    # Half a step of 1 / 56 beside the peak the loss is log(1 + exp(-30 / 112)).
    assert np.all(np.asarray(found["barrier"]) >= np.log1p(np.exp(-30 / 112)) - np.log1p(np.exp(-30 * 0.37)) - 1e-5)
    np.testing.assert_array_equal(near["loss"][0], told["loss"][0])
    np.testing.assert_array_equal(near["loss"][-1], told["loss"][-1])
    np.testing.assert_allclose(near["error_probability"], 1 - np.exp(-np.asarray(near["loss"])), atol=1e-5)
    at_ends = barrier.closely(None, paths.line(a, a), label, told, apply=pointed)[0]
    assert at_ends.min() == 0 and at_ends.max() == 1


# ---- the exact maximum ----


def test_a_barrier_is_that_at_the_kinks_of_a_relu_network():
    """Logits of one layer are piecewise linear along a line and turn at -c / w; the loss, convex in them, is highest
    at one of these places or at an end.
    """
    missed = 0.0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        (w, c), out, v = 4 * rng.normal(size=(2, 30)), rng.normal(size=(30, 3)), rng.normal(size=3)

        def logits(t, w=w, c=c, out=out, v=v):
            return np.maximum(w * t + c, 0) @ out + v * t

        def apply(_, x, logits=logits, w=w, c=c, out=out, v=v):
            t = x[:, 0, 0, :1]
            return jnp.maximum(jnp.asarray(w)[None] * t + jnp.asarray(c)[None], 0) @ jnp.asarray(out) + v[None] * t

        places = np.concatenate([[0.0, 1.0], -c / w])
        values = logits(places[(places >= 0) & (places <= 1)][:, None])
        losses = np.log(np.exp(values[:, None] - values[..., None]).sum(axis=2))
        exact = losses.max(axis=0) - losses[:2].max(axis=0)
        label, zeros = jnp.arange(3), jnp.zeros((3, 1, 1, 1))
        path = paths.line(zeros, zeros + 1)
        coarse = barrier.profile(None, path, label, apply=apply, num_points=9)
        t, fine = barrier.closely(None, path, label, barrier.profile(None, path, label, apply=apply, num_points=33),
                                  apply=apply)  # fmt: skip
        found = barrier.barriers(fine["loss"], t)["barrier"]
        assert np.all(found <= exact + 1e-4) and np.all(found >= exact - 0.02 * exact - 1e-3)
        missed = max(missed, np.max(exact - np.asarray(barrier.barriers(coarse["loss"])["barrier"])))
    assert missed > 0.01  # by a coarse grid


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


@pytest.mark.parametrize("spread", [0.0, 0.01, 0.3, 5.0])
def test_the_projection_is_the_nearest_point_of_plane_and_box(spread):
    a, b = images(1, 20), images(2, 20)
    through = a + 0.3 * (b - a)
    z = through + spread * jax.random.normal(jax.random.key(0), a.shape)
    found = np.asarray(spaces.section(b - a).project(z, through, 0.0), np.float64)
    assert found.min() >= 0 and found.max() <= 1
    flat = [np.asarray(part, np.float64).reshape(20, -1) for part in (z, through, b - a, found)]
    for z, through, normal, found in zip(*flat, strict=True):
        np.testing.assert_allclose(found, nearest(z, through, normal), atol=1e-5)
        rest = abs(normal @ (found - through)) / np.linalg.norm(normal)
        assert rest <= 1e-5 * max(np.linalg.norm(found - through), 0.1)


def two_wells(_, x, label):
    """A ridge between x_0 = 0 and x_0 = 1, 1 high on the straight way and 0.3 at its pass, x_1 = 0.8."""
    ridge = jnp.exp(-jnp.square((x[:, 0, 0, 0] - 0.5) / 0.15))
    return ridge * (0.3 + 0.7 * jnp.square((x[:, 0, 1, 0] - 0.8) / 0.6)) * 3


def way_around(height, a, b, label, variables=None, depth=1, **more):
    around = Around(height=height, **more)
    return jax.jit(
        lambda key, v, a, b, label: bypass.bypass(key, v, a, b, label, around=around, depth=depth)
    )(jax.random.key(0), variables, a, b, label)  # fmt: skip


def highest(height, path, label, variables=None, num_points=401):
    t = jnp.linspace(0, 1, num_points)
    return np.asarray(jax.lax.map(lambda t: height(variables, path(t), label), t)).max(axis=0)


def test_a_known_pass_is_reached():
    a = jnp.asarray([[[[0.0], [0.2]]]])
    b = jnp.asarray([[[[1.0], [0.2]]]])
    label = jnp.zeros(1, jnp.int32)
    assert highest(two_wells, paths.line(a, b), label) == pytest.approx([3.0], rel=1e-6)
    found = way_around(two_wells, a, b, label)
    assert highest(two_wells, paths.curve(found.points), label) == pytest.approx([0.9], rel=0.01)


def test_the_bend_stands_where_the_line_is_highest():
    def ridge(_, x, label):
        return two_wells(_, x + jnp.asarray([[[[0.2], [0.0]]]]), label)  # at x_0 = 0.3

    a = jnp.asarray([[[[0.0], [0.2]]]])
    b = jnp.asarray([[[[1.0], [0.2]]]])
    found = way_around(ridge, a, b, jnp.zeros(1, jnp.int32), num_points=21)
    np.testing.assert_allclose(found.peak, [0.3], atol=1e-6)
    np.testing.assert_allclose(found.points[1][0, 0, :, 0], [0.3, 0.8], atol=0.02)


def test_the_bend_is_drawn_to_where_it_began():
    """Of a quadratic height c |x - x*|^2 the waypoint with 0.1 mean((x - B)^2) is the weighted mean of x* and B."""
    rng = np.random.default_rng(0)
    a = jnp.asarray(rng.uniform(0.4, 0.6, (3, *SHAPE)), jnp.float32)
    b = a.at[:, 0, 0, 0].add(0.3)  # the plane leaves all other pixels free
    through = a + 0.5 * (b - a)
    lowest = through + jnp.asarray(rng.uniform(-0.3, 0.3, a.shape), jnp.float32).at[:, 0, 0, 0].set(0.0)
    weight = bypass.NEAR / 36

    def height(_, x, label):
        return weight * jnp.sum(jnp.square(x - lowest), axis=(1, 2, 3))

    around = Around(height=height, num_steps=1024)
    label, half = jnp.zeros(3, jnp.int32), jnp.full(3, 0.5)
    found = bypass.waypoints(jax.random.key(0), None, a, b, label, half, around=around)[-1]
    np.testing.assert_allclose(found, 0.5 * (through + lowest), atol=5e-3)


def test_what_is_added_is_smooth_where_that_counts(monkeypatch, network):
    apply, variables = network
    a, b = images(1), images(2)
    label = jnp.argmax(apply(variables, a), axis=-1)
    around, rough = Around(height=height_of(apply), num_steps=60), []
    for weight in (bypass.SMOOTH, 3.0):
        monkeypatch.setattr(bypass, "SMOOTH", weight)
        found = bypass.waypoints(jax.random.key(0), variables, a, b, label, jnp.full(5, 0.5), around=around)[-1]
        rough.append(float(objectives.total_variation(found - (a + 0.5 * (b - a))).mean()))
    assert rough[1] < 0.8 * rough[0]


def height_of(apply):
    return lambda variables, x, label: objectives.loss(apply(variables, x), label)


def test_the_way_around_stays_in_its_plane_and_lowers_the_loss(network):
    apply, variables = network
    a, b = images(1), images(2)
    label = jnp.argmax(apply(variables, a), axis=-1)
    peak = barrier.barriers(line_of(network, a, b)["loss"])["peak"]
    around = Around(height=height_of(apply), num_steps=200, frames=(50, 100, 150, 200))
    over = bypass.waypoints(jax.random.key(0), variables, a, b, label, peak, around=around)
    through = a + peak.reshape(-1, 1, 1, 1) * (b - a)
    before, after = (height_of(apply)(variables, x, label) for x in (through, over[-1]))
    assert np.all(np.asarray(after) <= np.asarray(before) + 1e-6) and np.asarray(after - before).min() < -0.1
    for iterate in over:
        normal, moved = (np.asarray(part, np.float64).reshape(5, -1) for part in (b - a, iterate - through))
        rest = np.abs((normal * moved).sum(axis=1)) / np.linalg.norm(normal, axis=1)
        assert np.all(rest <= 1e-5 * np.maximum(np.linalg.norm(moved, axis=1), 0.1))
        assert np.asarray(iterate).min() >= 0 and np.asarray(iterate).max() <= 1


def test_pieces_that_are_low_stay_and_high_ones_are_bent_again(network):
    apply, variables = network
    a, b = images(1, 12), images(2, 12)
    label = jnp.argmax(apply(variables, a), axis=-1)
    line = barrier.profile(variables, paths.line(a, b), label, apply=apply, num_points=33)["loss"]
    limit = jnp.maximum(line[0], line[-1])
    high = np.asarray(line[1:-1].max(axis=0) > limit + 0.01)
    assert 0 < high.sum() < 12
    found = {
        depth: way_around(height_of(apply), a, b, label, variables, depth, num_steps=6, frames=(2, 4, 6))
        for depth in (1, 2)
    }
    flat = np.asarray(found[2].points)
    np.testing.assert_array_equal(flat[0], a)
    np.testing.assert_array_equal(flat[-1], b)
    middle, quarter = np.asarray(a + 0.5 * (b - a)), np.asarray(a + 0.5 * (a + 0.5 * (b - a) - a))
    np.testing.assert_array_equal(flat[2][~high], middle[~high])
    np.testing.assert_allclose(flat[1][~high], quarter[~high], atol=1e-7)
    assert np.all(np.abs(flat[2] - middle)[high].max(axis=(1, 2, 3)) > 1e-3)
    np.testing.assert_array_equal(flat[2], found[1].points[1])  # what was found first is kept
    np.testing.assert_array_equal(found[2].iterates[-1], found[1].points[1])
    rises = [highest(height_of(apply), paths.curve(one.points), label, variables) for one in found.values()]
    rises = [np.asarray(rise - limit) for rise in rises]
    straight = np.asarray(line.max(axis=0) - limit)
    assert np.all(rises[0] <= straight + 1e-3) and np.all(rises[1] <= rises[0] + 1e-3)
    assert rises[1].sum() < rises[0].sum() < straight.sum()


def test_one_row_does_not_depend_on_the_others(network):
    apply, variables = network
    a, b = images(1, 40), images(2, 40)
    label = jnp.argmax(apply(variables, a), axis=-1)
    whole = way_around(height_of(apply), a, b, label, variables, 2, num_steps=20).points
    part = way_around(height_of(apply), a[7:23], b[7:23], label[7:23], variables, 2, num_steps=20).points
    np.testing.assert_allclose(whole[:, 7:23], part, atol=1e-5)


def test_a_way_around_in_a_latent_is_the_same_as_in_pixels_where_the_decoder_changes_nothing(network):
    apply, variables = network
    a, b = 0.3 + 0.2 * images(1), 0.3 + 0.2 * images(2)  # far from the box, which latents do not have
    label = jnp.argmax(apply(variables, a), axis=-1)
    how = {"num_steps": 12, "learning_rate": 0.002}
    pixels = way_around(height_of(apply), a, b, label, variables, **how).points
    latent = way_around(height_of(apply), a, b, label, variables, decode=lambda z: z, **how).points
    assert np.abs(pixels[1] - paths.line(a, b)(jnp.float32(0.5))).max() > 0.005
    np.testing.assert_allclose(pixels, latent, atol=2e-5)


def test_what_attacks_steer_is_the_rise_of_the_profile_and_so_is_its_gradient(network):
    apply, variables = network
    a, b = images(1, 12), images(2, 12)
    label = jnp.argmax(apply(variables, a), axis=-1)

    def whole(b):
        loss = barrier.profile(variables, paths.line(a, b), label, apply=apply, num_points=9)["loss"]
        return jnp.max(loss[1:-1], axis=0) - jnp.maximum(loss[0], loss[-1])

    def quick(b):
        return barrier.line_rise(variables, a, b, label, apply=apply, num_points=9)

    found = np.asarray(quick(b))
    assert 2 < (found > 0).sum() < 10  # some have a barrier, others none
    # Losses here go up to 24 nats, of which 1e-6 is float32's rounding.
    np.testing.assert_allclose(found, whole(b), rtol=1e-4, atol=5e-5)
    loss = line_of(network, a, b, 9)["loss"]
    np.testing.assert_allclose(np.maximum(found, 0), barrier.barriers(loss)["barrier"], rtol=1e-4, atol=5e-5)
    slopes = [np.asarray(jax.grad(lambda b, fn=fn: jnp.sum(fn(b)))(b)) for fn in (quick, whole)]
    steep = np.abs(slopes[1]).max(axis=(1, 2, 3)) > 0.01
    assert steep[found > 0].any() and steep[found < 0].any()
    np.testing.assert_allclose(*slopes, rtol=1e-3, atol=2e-5)
