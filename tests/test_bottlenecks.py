"""What stands between encoder and decoder, in closed form: straight-through gradients, KL, codebooks, grids."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from landscape.models import bottlenecks
from landscape.models.bottlenecks import Codebook, Gaussian


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def test_straight_through_has_one_value_and_the_others_gradient():
    e, q = normal(4, 3), normal(4, 3, seed=1)
    weight = normal(4, 3, seed=2)
    value, gradient = jax.value_and_grad(lambda e: jnp.sum(weight * bottlenecks.straight_through(e, q)))(e)
    np.testing.assert_allclose(value, jnp.sum(weight * q), rtol=1e-5)
    np.testing.assert_array_equal(gradient, weight)


def test_sphere_has_radius_sqrt_d_and_a_gradient_along_it():
    e = normal(5, 7).at[0].set(0.0)
    z, pull = jax.vjp(bottlenecks.sphere, e)
    np.testing.assert_allclose(jnp.sum(z**2, axis=1), 7.0, rtol=1e-5)
    gradient = pull(normal(5, 7, seed=1))[0]
    assert jnp.isfinite(gradient).all() and jnp.all(gradient[0] == 0)
    np.testing.assert_allclose(jnp.sum(gradient * e, axis=1), 0.0, atol=1e-5)
    np.testing.assert_allclose(bottlenecks.sphere(3 * e), z, rtol=1e-5)


def test_top_k_keeps_the_largest():
    e = jnp.array([[1.0, -3.0, 2.0, 0.5], [0.1, 0.2, -0.3, 0.4]])
    expected = [[0, -3, 2, 0], [0, 0, -0.3, 0.4]]
    np.testing.assert_array_equal(bottlenecks.top_k(e, 2), np.asarray(expected, np.float32))
    gradient = jax.grad(lambda e: jnp.sum(bottlenecks.top_k(e, 2)))(e)
    np.testing.assert_array_equal(gradient, np.asarray(expected) != 0)
    with pytest.raises(ValueError, match="k=5: expected 1 to 4"):
        bottlenecks.top_k(e, 5)


def test_kl_is_that_of_numerical_integration():
    posterior = Gaussian(jnp.array([[0.3, -2.0, 0.0]]), jnp.array([[-1.0, 0.5, 0.0]]))
    grid = np.linspace(-12, 12, 200_001)
    for d in range(3):
        q = stats.norm(posterior.mean[0, d], np.exp(0.5 * posterior.log_var[0, d]))
        integrand = np.where(q.pdf(grid) > 0, q.pdf(grid) * (q.logpdf(grid) - stats.norm.logpdf(grid)), 0.0)
        np.testing.assert_allclose(
            bottlenecks.kl_to_standard(posterior)[0, d], np.trapezoid(integrand, grid), atol=1e-5
        )


def test_draws_have_the_posteriors_moments():
    n = 20_000
    posterior = Gaussian(jnp.tile(jnp.array([[0.5, -1.0]]), (n, 1)), jnp.tile(jnp.array([[-1.0, 1.0]]), (n, 1)))
    z = np.asarray(bottlenecks.draw(jax.random.key(0), posterior), np.float64)
    var = np.exp([-1.0, 1.0])
    assert (np.abs(z.mean(0) - [0.5, -1.0]) < 4 * np.sqrt(var / n)).all()
    assert (np.abs(z.var(0) - var) < 4 * var * np.sqrt(2 / n)).all()
    assert not np.array_equal(z, bottlenecks.draw(jax.random.key(1), posterior))


def test_free_bits_are_a_floor_of_the_batch_mean():
    kl = jnp.array([[0.1, 2.0], [0.3, 4.0]])
    np.testing.assert_allclose(bottlenecks.with_free_bits(kl, 0.5), [2.5, 4.5], rtol=1e-6)
    np.testing.assert_allclose(bottlenecks.with_free_bits(kl, 0.0), kl.sum(1), rtol=1e-6)
    gradient = jax.grad(lambda kl: jnp.mean(bottlenecks.with_free_bits(kl, 0.5)))(kl)
    np.testing.assert_allclose(gradient, [[0, 0.5], [0, 0.5]])


def test_a_codebook_moves_to_the_means_of_its_vectors():
    """Two clusters, two codes, many identical batches: counts, sums and codes end at the batch's own."""
    e = jnp.concatenate([normal(30, 2) * 0.1 + 3.0, normal(10, 2, seed=1) * 0.1 - 3.0])
    codes = jnp.array([[1.0, 1.0], [-1.0, -1.0]])
    book = Codebook(codes, jnp.ones(2), codes)

    def step(book, key):
        return bottlenecks.update(key, book, e, bottlenecks.nearest(book.codes, e), 0.03), None

    book, _ = jax.lax.scan(step, book, jax.random.split(jax.random.key(0), 2000))
    np.testing.assert_allclose(book.codes, [e[:30].mean(0), e[30:].mean(0)], atol=1e-4)
    np.testing.assert_allclose(book.counts, [30, 10], rtol=1e-4)


def test_a_dead_code_starts_again_at_a_vector_of_the_batch():
    e = normal(20, 2) + 5
    codes = jnp.array([[5.0, 5.0], [-100.0, 0.0]])
    book = Codebook(codes, jnp.array([20.0, 1e-3]), codes * jnp.array([[20.0], [1e-3]]))
    moved = bottlenecks.update(jax.random.key(0), book, e, bottlenecks.nearest(codes, e), 0.03)
    assert jnp.any(jnp.all(jnp.abs(moved.codes[1:] - e) < 1e-5, axis=1))
    np.testing.assert_allclose(moved.counts[1], jnp.mean(jnp.array([20.0, 0.99e-3])), rtol=1e-5)
    alive = bottlenecks.update(jax.random.key(0), book._replace(counts=jnp.ones(2)), e, jnp.arange(20) % 2, 0.03)
    assert not jnp.any(jnp.all(jnp.abs(alive.codes[1:] - e) < 1e-5, axis=1))
    plain = bottlenecks.update(jax.random.key(0), book, e, bottlenecks.nearest(codes, e), 0.0)
    np.testing.assert_allclose(plain.codes[1], codes[1], rtol=1e-5)


@pytest.mark.parametrize("levels", [(2,), (3,), (8, 5), (7, 4, 2)])
def test_the_grid_has_every_level_and_no_other(levels):
    e = jnp.stack(jnp.meshgrid(*[jnp.linspace(-6, 6, 97)] * len(levels)), axis=-1).reshape(-1, len(levels))
    z = bottlenecks.fsq(e, levels)
    index = np.asarray(bottlenecks.fsq_index(z, levels))
    assert sorted(set(index.tolist())) == list(range(int(np.prod(levels))))
    np.testing.assert_allclose(bottlenecks.fsq_point(jnp.asarray(index), levels), z, atol=1e-6)
    assert float(jnp.max(jnp.abs(z))) <= 1.0
    np.testing.assert_allclose(bottlenecks.fsq(jnp.zeros((1, len(levels))), levels), 0.0, atol=1e-6)


def test_the_grids_gradient_is_that_of_the_bound():
    e, levels = normal(6, 2), (8, 5)
    half, shift = np.array([3.5 * 1.001, 2 * 1.001]), np.array([np.arctanh(0.5 / 3.5035), 0.0])
    gradient = jax.grad(lambda e: jnp.sum(bottlenecks.fsq(e, levels)))(e)
    np.testing.assert_allclose(gradient, half / np.cosh(np.asarray(e) + shift) ** 2 / [4, 2], rtol=1e-4)
    with pytest.raises(ValueError, match="levels"):
        bottlenecks.fsq(e, (8, 5, 5))


@pytest.mark.parametrize("levels", [(8, 5, 5), (2, 3), (7,)])
def test_the_nearest_grid_point_is_the_one_of_all_points(levels):
    grid = bottlenecks.fsq_point(jnp.arange(math.prod(levels)), levels)
    z = jax.random.uniform(jax.random.key(0), (200, len(levels)), minval=-1.6, maxval=1.6)
    ours = bottlenecks.fsq_nearest(z, levels)
    apart = jnp.sum(jnp.square(z[:, None] - grid[None]), axis=-1)
    best = jnp.take_along_axis(apart, jnp.argmin(apart, axis=1)[:, None], axis=1)[:, 0]
    np.testing.assert_allclose(jnp.sum(jnp.square(z - ours), axis=-1), best, atol=1e-5)
    np.testing.assert_allclose(bottlenecks.fsq_nearest(grid, levels), grid, atol=1e-6)
