"""What lies around and between latents: sizes, directions, moments, exact ends."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape.latent import around, paths

N, D = 4000, 6


def keys(num=N, seed=0):
    return jax.random.split(jax.random.key(seed), num)


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def test_noise_has_its_moments_and_one_draw_for_all_levels():
    u, levels = normal(N, D, seed=1), jnp.array([0.0, 0.5, 2.0])
    points = around.gaussian(keys(), u, levels)
    np.testing.assert_array_equal(points[0], u)
    eps = np.asarray(points[2] - u) / 2
    np.testing.assert_allclose((points[1] - u) / 0.5, eps, atol=1e-5)
    # Standard errors of means 1/sqrt(N), of variances sqrt(2/N), of covariances 1/sqrt(N): 4 of each.
    assert np.abs(eps.mean(axis=0)).max() < 4 / np.sqrt(N)
    assert np.abs(np.cov(eps, rowvar=False) - np.eye(D)).max() < 4 * np.sqrt(2 / N)


def test_shells_have_their_radius_and_no_preferred_direction():
    u, radii = normal(N, D, seed=1), jnp.array([0.3, 1.5])
    points = around.shell(keys(), u, radii)
    lengths = np.linalg.norm(points - u[None], axis=-1)
    np.testing.assert_allclose(lengths, np.asarray(radii)[:, None] * np.sqrt(D) * np.ones((1, N)), rtol=1e-5)
    direction = np.asarray(points[1] - u) / 1.5
    np.testing.assert_allclose((points[0] - u) / 0.3, direction, atol=1e-5)
    assert np.abs(direction.mean(axis=0)).max() < 4 / np.sqrt(N)
    # E x_i x_j = delta_ij; the variance of x_i^2 on the sphere is (2 D - 2) / (D + 2) < 2.
    assert np.abs(direction.T @ direction / N - np.eye(D)).max() < 4 * np.sqrt(2 / N)


@pytest.mark.parametrize("draw", [around.gaussian, around.shell])
def test_an_examples_draws_do_not_depend_on_the_others(draw):
    u, levels = normal(8, D), jnp.array([0.5, 1.0])
    every = draw(keys(8), u, levels)
    np.testing.assert_array_equal(every[:, 2:5], draw(keys(8)[2:5], u[2:5], levels))
    np.testing.assert_array_equal(every[1:], draw(keys(8), u, levels[1:]))
    assert not np.allclose(every, draw(keys(8, seed=1), u, levels))


def test_the_prior_is_standard_normal_row_by_row():
    u = around.prior(jax.random.key(0), N, D)
    assert np.abs(u.mean(axis=0)).max() < 4 / np.sqrt(N)
    assert np.abs(np.cov(u, rowvar=False) - np.eye(D)).max() < 4 * np.sqrt(2 / N)
    np.testing.assert_array_equal(around.prior(jax.random.key(0), 5, D), u[:5])


@pytest.mark.parametrize("path", [paths.linear, paths.spherical])
def test_ends_are_exact(path):
    a, b = normal(7, D), 3 * normal(7, D, seed=1)
    points = path(a, b, 5)
    assert points.shape == (5, 7, D)
    np.testing.assert_array_equal(points[0], a)
    np.testing.assert_array_equal(points[-1], b)
    # The way back is the same way.
    np.testing.assert_allclose(path(b, a, 5)[::-1], points, atol=1e-5)
    with pytest.raises(ValueError, match="num_points=1"):
        path(a, b, 1)


def test_a_line_has_equal_steps():
    a, b = normal(7, D), normal(7, D, seed=1)
    steps = np.diff(paths.linear(a, b, 9), axis=0)
    np.testing.assert_allclose(steps, np.broadcast_to((b - a) / 8, steps.shape), atol=1e-6)


def test_an_arc_turns_evenly_and_its_length_changes_linearly():
    a, b = normal(7, D), 3 * normal(7, D, seed=1)
    points = np.asarray(paths.spherical(a, b, 9), np.float64)
    lengths = np.linalg.norm(points, axis=-1)
    t = np.linspace(0, 1, 9)[:, None]
    np.testing.assert_allclose(lengths, (1 - t) * lengths[0] + t * lengths[-1], rtol=1e-5)
    unit = points / lengths[..., None]
    angles = np.arccos(np.sum(unit[1:] * unit[:-1], axis=-1))
    total = np.arccos(np.sum(unit[0] * unit[-1], axis=-1))
    np.testing.assert_allclose(angles, np.broadcast_to(total / 8, angles.shape), rtol=1e-3)  # float64 of float32 points
    # In the plane of its ends: no part of the middle lies outside it.
    basis = np.linalg.qr(np.stack([unit[0], unit[-1]], axis=-1))[0]
    outside = unit[4] - np.einsum("nde,nfe,nf->nd", basis, basis, unit[4])
    np.testing.assert_allclose(outside, 0.0, atol=1e-5)


def test_where_no_arc_exists_the_line_serves():
    a = jnp.asarray([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    b = jnp.asarray([[2.0, 0.0], [1.0, 1e-5], [-1.0, 0.0], [0.0, 3.0]])  # parallel, nearly, antipodal, from the centre
    np.testing.assert_allclose(paths.spherical(a, b, 5), paths.linear(a, b, 5), atol=1e-6)


def test_arcs_and_lines_meet_at_small_angles():
    angle = 2e-3  # just beyond the switch
    a, b = jnp.array([[1.0, 0.0]]), jnp.array([[np.cos(angle), np.sin(angle)]], jnp.float32)
    np.testing.assert_allclose(paths.spherical(a, b, 5), paths.linear(a, b, 5), atol=1e-6)
    t = np.linspace(0, 1, 5)[:, None]
    exact = np.stack([np.cos(t * angle), np.sin(t * angle)], axis=-1)
    np.testing.assert_allclose(paths.spherical(a, b, 5), exact, atol=3e-7)
