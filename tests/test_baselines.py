"""PCA, class means and k-means where the answer is known."""

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.decomposition import PCA

from landscape.models import baselines


def points(n=60, shape=(3, 4, 1), seed=0):
    rng = np.random.default_rng(seed)
    size = int(np.prod(shape))
    return (rng.normal(size=(n, size)) @ rng.normal(size=(size, size)) + 1.0).astype(np.float32).reshape(n, *shape)


def test_pca_leaves_what_the_other_axes_hold():
    """The squared error is the sum of the discarded eigenvalues, and scikit-learn's reconstruction is the same."""
    x = points()
    whole, pca = baselines.fit_pca(x, 12), baselines.fit_pca(x, 4)
    back = baselines.pca_decode(pca, baselines.pca_encode(pca, jnp.asarray(x)))
    error = np.sum(np.square(np.asarray(back) - x)) / (len(x) - 1)
    np.testing.assert_allclose(error, whole.variances[4:].sum(), rtol=1e-4)
    theirs = PCA(4).fit(x.reshape(60, -1).astype(np.float64))
    expected = theirs.inverse_transform(theirs.transform(x.reshape(60, -1)))
    np.testing.assert_allclose(np.asarray(back).reshape(60, -1), expected, atol=1e-4)
    np.testing.assert_allclose(pca.variances, theirs.explained_variance_, rtol=1e-5)
    np.testing.assert_allclose(pca.axes.T @ pca.axes, np.eye(4), atol=1e-5)


def test_all_axes_give_the_points_back():
    x = points()
    pca = baselines.fit_pca(x, 12)
    np.testing.assert_allclose(baselines.pca_decode(pca, baselines.pca_encode(pca, jnp.asarray(x))), x, atol=1e-4)
    with pytest.raises(ValueError, match=r"dim=13 .* expected 1 to 12"):
        baselines.fit_pca(x, 13)


def test_wide_points_have_the_same_axes(monkeypatch):
    """Those whose covariance is not taken: found at random, with a spectrum that falls, to float32."""
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(200, 40)) * 0.8 ** np.arange(40) @ rng.normal(size=(40, 300)) + 5.0).astype(np.float32)
    whole = baselines.fit_pca(x, 5)
    monkeypatch.setattr(baselines, "MOST_ENTRIES", 299)
    found = baselines.fit_pca(x, 5)
    np.testing.assert_allclose(found.variances, whole.variances, rtol=1e-4)
    np.testing.assert_allclose(np.abs(np.sum(found.axes * whole.axes, axis=0)), 1.0, atol=1e-3)
    with pytest.raises(ValueError, match=r"dim=201 .* expected 1 to 200"):
        baselines.fit_pca(x, 201)


def test_class_means_are_those_of_their_members():
    x, label = points(30), np.arange(30) % 3
    found = baselines.class_means(x, label, 3)
    np.testing.assert_allclose(found, [x[label == k].mean(0) for k in range(3)], rtol=1e-5)
    with pytest.raises(ValueError, match=r"\[10, 10, 10, 0\]: expected some of each of 4 classes"):
        baselines.class_means(x, label, 4)


def test_kmeans_finds_clusters_that_lie_apart():
    rng = np.random.default_rng(0)
    truth = np.array([[0, 0], [20, 0], [0, 20]], np.float32)
    x = (truth[np.arange(90) % 3] + 0.1 * rng.normal(size=(90, 2))).astype(np.float32)
    centres = baselines.fit_kmeans(x, 3, seed=0)
    back = baselines.at_nearest(centres, jnp.asarray(x))
    np.testing.assert_allclose(back, [x[np.arange(90) % 3 == i % 3].mean(0) for i in range(90)], atol=0.1)
