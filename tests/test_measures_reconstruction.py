"""Errors and their shares, SSIM against its definition, the Frechet distance in closed form and at infinity."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import linalg

from landscape.measures import reconstruction
from landscape.stats.frechet import extrapolated, frechet


def images(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).uniform(size=shape), jnp.float32)


def test_the_class_mean_explains_collapsed_features_in_total_and_nothing_in_class():
    rng = np.random.default_rng(0)
    label = jnp.arange(60) % 3
    means = 10 * rng.normal(size=(3, 8))
    h = jnp.asarray(means[label] + 0.01 * rng.normal(size=(60, 8)), jnp.float32)
    class_means = jnp.stack([h[label == k].mean(0) for k in range(3)])
    found = reconstruction.errors(h, class_means[label], label, mean=h.mean(0), class_means=class_means)
    total, within = (found["mse"].sum() / found[name].sum() for name in ("from_mean", "from_class_mean"))
    assert total < 1e-4
    np.testing.assert_allclose(within, 1.0, rtol=1e-6)


@pytest.mark.parametrize("shape", [(3, 14, 13, 2), (3, 8, 8, 1)])
def test_ssim_is_its_definition(shape):
    x, y = images(*shape), images(*shape, seed=1)
    side = 11 if shape[1] > 11 else 7
    line = np.exp(-0.5 * ((np.arange(side) - side // 2) / 1.5) ** 2)
    w = (np.outer(line, line) / line.sum() ** 2)[:, :, None]
    expected = []
    for a, b in zip(np.asarray(x, np.float64), np.asarray(y, np.float64), strict=True):
        windows = []
        for i in range(shape[1] - side + 1):
            for j in range(shape[2] - side + 1):
                p, q = a[i : i + side, j : j + side], b[i : i + side, j : j + side]
                mp, mq = (w * p).sum((0, 1)), (w * q).sum((0, 1))
                vp, vq, c = ((w * u).sum((0, 1)) for u in ((p - mp) ** 2, (q - mq) ** 2, (p - mp) * (q - mq)))
                top = (2 * mp * mq + 1e-4) * (2 * c + 9e-4)
                windows.append(top / ((mp**2 + mq**2 + 1e-4) * (vp + vq + 9e-4)))
        expected.append(np.mean(windows))
    # Variances are differences of sums of about 1 in float32, beside c2 = 9e-4.
    np.testing.assert_allclose(jax.jit(reconstruction.ssim)(x, y), expected, rtol=1e-3, atol=1e-4)


def test_ssim_of_equal_and_of_constant_images():
    x = images(4, 12, 12, 3)
    np.testing.assert_allclose(reconstruction.ssim(x, x), 1.0, atol=1e-5)
    a, b = jnp.full((1, 12, 12, 1), 0.2), jnp.full((1, 12, 12, 1), 0.6)
    np.testing.assert_allclose(reconstruction.ssim(a, b), (2 * 0.12 + 1e-4) / (0.04 + 0.36 + 1e-4), rtol=1e-4)
    assert float(reconstruction.ssim(x, 1 - x).max()) < 0  # turned into its negative: negative covariance


def test_frechet_of_gaussians_is_the_closed_form():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(400, 5)) @ rng.normal(size=(5, 5))
    b = rng.normal(size=(300, 5)) @ rng.normal(size=(5, 5)) + 1.0
    ca, cb = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    expected = np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(ca + cb - 2 * linalg.sqrtm(ca @ cb).real)
    np.testing.assert_allclose(frechet(a, b), expected, rtol=1e-8)
    np.testing.assert_allclose(frechet(b, a), expected, rtol=1e-8)
    np.testing.assert_allclose(frechet(a, a + 2.0), 5 * 4.0, rtol=1e-8)
    np.testing.assert_allclose(frechet(a, a), 0.0, atol=1e-8)


def test_two_halves_of_one_set_are_no_distance_apart_at_infinity():
    """Over 40 pairs: the plain distance is far from 0, the extrapolated one within its standard error of it."""
    plain, at_infinity = [], []
    for seed in range(40):
        x = np.random.default_rng(seed).normal(size=(800, 6))
        plain.append(frechet(x[:400], x[400:]))
        at_infinity.append(extrapolated(x[:400], x[400:], seed=seed))
    sem = np.std(at_infinity, ddof=1) / np.sqrt(40)
    assert abs(np.mean(at_infinity)) < 4 * sem and np.mean(plain) > 10 * sem


def test_sets_drawn_class_by_class_are_halved_class_by_class():
    """Balanced mixtures: with halves at random the distance of two sets of one distribution comes out below 0."""
    centres = 3 * np.random.default_rng(99).normal(size=(10, 4))
    label = np.repeat(np.arange(10), 40)
    by_class, at_random = [], []
    for seed in range(30):
        a, b = centres[label] + np.random.default_rng(seed).normal(size=(2, 400, 4))
        by_class.append(extrapolated(a, b, strata_a=label, strata_b=label, seed=seed))
        at_random.append(extrapolated(a, b, seed=seed))
    sem = np.std(by_class, ddof=1) / np.sqrt(30)
    assert abs(np.mean(by_class)) < 4 * sem
    assert np.mean(at_random) < -10 * sem
