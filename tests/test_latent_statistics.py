"""Statistics of latents against closed forms, other libraries and counts by hand."""

import numpy as np
import pytest
from scipy import stats
from sklearn.datasets import make_blobs

from landscape.latent import separability, statistics, two_sample
from landscape.latent.separability import knn_accuracy, linear_probe, stability
from landscape.latent.statistics import intrinsic_dimension
from landscape.latent.two_sample import gaussian_check, mmd


def normal(n, dim, seed=0):
    return np.random.default_rng(seed).normal(size=(n, dim))


def rotation(dim, seed=0):
    return np.linalg.qr(normal(dim, dim, seed))[0]


# ---- moments, correlations, dimensions ----


def test_moments_are_scipys():
    z = np.random.default_rng(0).gamma(2.0, size=(300, 3)) * [1.0, 5.0, 0.1] + [0.0, -3.0, 100.0]
    found = statistics.moments(z)
    np.testing.assert_allclose(found["mean"], z.mean(0))
    np.testing.assert_allclose(found["std"], z.std(0, ddof=1))
    np.testing.assert_allclose(found["skewness"], stats.skew(z), rtol=1e-9)
    np.testing.assert_allclose(found["excess_kurtosis"], stats.kurtosis(z), rtol=1e-9)
    np.testing.assert_allclose(statistics.norms(np.array([[3.0, 4.0], [0.0, 0.0]])), [5 / np.sqrt(2), 0.0])


def test_a_constant_dimension_has_no_shape_and_no_correlation():
    """0.1 thrice: its float64 mean is not 0.1, so that rounding would pass for a spread."""
    z = np.column_stack([np.full(3, 0.1), [1.0, 2.0, 4.0]])
    found = statistics.moments(z)
    assert found["std"][0] == 0 and np.isnan(found["skewness"][0]) and np.isnan(found["excess_kurtosis"][0])
    assert np.isfinite(found["skewness"][1])
    np.testing.assert_allclose(statistics.correlation(z), np.eye(2))


def test_correlation_and_spectrum_are_numpys():
    z = normal(50, 6) @ normal(6, 6, 1) + 10.0
    np.testing.assert_allclose(statistics.correlation(z), np.corrcoef(z, rowvar=False), atol=1e-12)
    found = statistics.spectrum(z)
    np.testing.assert_allclose(found, np.linalg.svd(z - z.mean(0), compute_uv=False) ** 2 / 49, rtol=1e-8)
    assert (statistics.spectrum(np.ones((5, 3))) == 0).all()


def test_effective_dimension_of_equal_variances_is_their_number():
    assert statistics.effective_dimension(np.full(7, 0.3)) == pytest.approx(7)
    assert statistics.effective_dimension(np.array([3.0, 1.0])) == pytest.approx(16 / 10)
    assert statistics.effective_dimension(np.zeros(4)) == 0


def test_active_units_counts_variances_above_the_threshold():
    z = normal(1000, 4) * np.sqrt([4.0, 1.0, 0.02, 0.005])
    assert statistics.active_units(z) == 3 and statistics.active_units(1e-3 * z) == 0
    assert statistics.active_units(z, relative=True) == 2  # 0.02 / 4 is below 0.01
    assert statistics.active_units(1e-3 * z, relative=True) == 2


@pytest.mark.parametrize(
    ("draw", "dim", "expected"),
    [
        # The mean of the estimator at N = 1000, by simulation (docstring): it is unbiased in few dimensions only.
        (lambda r, d: r.random((1000, d)), 2, 2.0),
        (lambda r, d: r.normal(size=(1000, d)), 10, 9.5),
        (lambda r, d: r.random((1000, d)), 10, 8.45),
    ],
)
def test_intrinsic_dimension_of_a_plane_in_thirty_dimensions(draw, dim, expected):
    """Its standard error is 4 % in simulation; an orthogonal map, shift and scale leave it alone, and so do copies."""
    points = draw(np.random.default_rng(3), dim)
    found = intrinsic_dimension(7 * points @ rotation(30)[:dim] + 50)
    assert abs(found - expected) < 4 * 0.045 * expected
    assert found == pytest.approx(intrinsic_dimension(points), rel=1e-3)  # rounding of float32 distances
    assert found == pytest.approx(intrinsic_dimension(np.concatenate([points, points[:50]])), rel=1e-3)


def test_intrinsic_dimension_says_what_it_cannot_know():
    grid = np.stack(np.meshgrid(*[np.arange(5.0)] * 3), -1).reshape(-1, 3)
    assert np.isnan(intrinsic_dimension(grid))
    with pytest.raises(ValueError, match="1 distinct points of 40: expected 20"):
        intrinsic_dimension(np.ones((40, 3)))


# ---- two sets ----


def test_mmd_is_the_sum_of_its_definition():
    a, b = normal(5, 2), normal(7, 2, 1) + 0.5

    def expected(width):
        kernel = lambda x, y: np.exp(-np.sum(np.square(x - y)) / (2 * width**2))  # noqa: E731
        within = [np.mean([kernel(x[i], x[j]) for i in range(len(x)) for j in range(len(x)) if i != j]) for x in (a, b)]
        return sum(within) - 2 * np.mean([kernel(x, y) for x in a for y in b])

    assert mmd(a, b, bandwidth=1.3)[0] == pytest.approx(expected(1.3), rel=1e-9)
    pooled = np.concatenate([a, b])
    squares = np.sum(np.square(pooled[:, None] - pooled), -1)[np.triu_indices(12, 1)]
    assert mmd(a, b)[0] == pytest.approx(expected(np.sqrt(np.median(squares))), rel=1e-9)


def test_mmd_of_shifted_gaussians():
    """Unbiased over 60 pairs of samples of unlike sizes; x - y ~ N(0 or m, 2 I), so that E k is Gaussian."""
    shift, dim, square = 1.0, 2, 4.0
    truth = 2 * (square / (square + 2)) ** (dim / 2) * (1 - np.exp(-(shift**2) / (2 * (square + 2))))
    move = shift * np.eye(dim)[0]
    found = [mmd(normal(60, dim, s), normal(100, dim, s + 500) + move, bandwidth=2.0, num_permutations=20)
             for s in range(60)]  # fmt: skip
    values, p_values = np.transpose(found)
    assert abs(values.mean() - truth) < 4 * values.std() / np.sqrt(60)
    assert p_values.mean() < 0.1  # the least is 1 / 21


def test_mmd_of_one_distribution(monkeypatch):
    """Around 0, and p-values are uniform on 1/100 .. 1: 100 pairs of samples, the larger one cut to 30 at random."""
    monkeypatch.setattr(two_sample, "MOST_POINTS", 30)
    found = [mmd(normal(20, 3, s), normal(40, 3, s + 1000), num_permutations=99, seed=s) for s in range(100)]
    values, p_values = np.transpose(found)
    assert abs(values.mean()) < 4 * values.std() / 10
    assert abs(p_values.mean() - 0.505) < 4 * np.sqrt(1 / 12 / 100)
    for level in (0.1, 0.5, 0.9):
        assert abs(np.mean(p_values <= level + 1e-9) - level) < 4 * np.sqrt(level * (1 - level) / 100)
    with pytest.raises(ValueError, match="all points are equal"):
        mmd(np.ones((5, 2)), np.ones((5, 2)))


@pytest.mark.parametrize("dim", [1, 6])
def test_a_gaussian_is_taken_for_its_fit(dim):
    """Any affine map of a Gaussian, over 6 seeds; the binomial error of one is 0.5 / sqrt(1000), of the mean less."""
    stretch, error = normal(dim, dim, 7) * np.logspace(-3, 3, dim), 0.5 / np.sqrt(1000)
    found = [
        gaussian_check(normal(3000, dim, s) @ stretch + 9, normal(1000, dim, s + 100) @ stretch + 9, s)
        for s in range(6)
    ]
    assert (np.abs(np.subtract(found, 0.5)) < 4 * error).all()
    assert abs(np.mean(found) - 0.5) < 4 * error / np.sqrt(6)


def test_draws_pass_through_a_fit_of_their_own():
    """As many dimensions as N / 8: plain draws of the fit would differ in every one of 6 seeds (0.6 or more)."""
    found = [gaussian_check(normal(250, 30, s), normal(2000, 30, s + 100), s) for s in range(6)]
    assert np.mean(found) < 0.57


@pytest.mark.parametrize("dim", [1, 20])
def test_what_is_no_gaussian_is_detected(dim):
    """Two clusters, a shift, another scale."""

    def clusters(seed):
        rng = np.random.default_rng(seed)
        z = rng.normal(size=(2000, dim))
        z[:, 0] += rng.choice([-6, 6], 2000)
        return z @ rotation(dim)

    z = normal(2000, dim)
    assert gaussian_check(clusters(0), clusters(1), 0) > 0.7
    assert gaussian_check(z, normal(2000, dim, 1) + np.eye(dim)[0], 0) > 0.6
    assert gaussian_check(z, 2 * normal(2000, dim, 1), 0) > 0.6


def test_gaussian_check_leaves_flat_directions_out():
    z = np.column_stack([normal(2000, 2), np.ones(2000)])
    assert abs(gaussian_check(z[:1000], z[1000:], 0) - 0.5) < 4 * 0.5 / np.sqrt(1000)
    with pytest.raises(ValueError, match="z_fit does not vary"):
        gaussian_check(np.ones((200, 2)), normal(200, 2), 0)
    with pytest.raises(ValueError, match="N >= 100"):
        gaussian_check(normal(200, 2), normal(99, 2), 0)


# ---- classes ----


@pytest.mark.parametrize("method", [linear_probe, knn_accuracy])
def test_blobs_are_read_without_error_and_noise_by_chance(method):
    z, y = make_blobs(1600, n_features=5, centers=4, cluster_std=0.3, random_state=1)
    assert method(z[:800], y[:800], z[800:], y[800:]).all()
    noise = np.random.default_rng(0).integers(0, 4, 1600)
    right = method(z[:800], noise[:800], z[800:], noise[800:])
    assert right.shape == (800,) and right.dtype == bool
    assert abs(right.mean() - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 800)


def test_the_probe_standardises_by_training_latents():
    """The class is in a dimension of 1e-4 beside one of 1e4 and a constant: unscaled, the penalty would hide it."""
    y = np.arange(400) % 2
    z = normal(400, 3) * [0.0, 1e4, 1e-5] + np.column_stack([np.ones(400), np.zeros(400), 1e-4 * y])
    assert linear_probe(z[:200], y[:200], z[200:], y[200:]).mean() > 0.99
    # Test latents all of one class: standardised by themselves, they would lose what sets them apart.
    ones = y == 1
    assert linear_probe(z, y, z[ones], y[ones]).mean() > 0.99


def test_the_probe_uses_a_fit_cut_short(monkeypatch):
    monkeypatch.setattr(separability, "MOST_STEPS", 1)
    z, y = make_blobs(200, n_features=5, centers=4, cluster_std=5.0, random_state=1)
    assert linear_probe(z, y, z, y).shape == (200,)  # with warnings as errors
    with pytest.raises(ValueError, match="y_train holds one class"):
        linear_probe(z, np.zeros(200, int), z, y)


def test_knn_votes():
    """From 0: classes 1 2 2 0 0 0 0 at distances 1 .. 7."""
    train, label = np.arange(1.0, 8.0)[:, None], np.array([1, 2, 2, 0, 0, 0, 0])
    winners = [
        int(np.argmax([knn_accuracy(train, label, np.zeros((1, 1)), np.array([c]), k)[0] for c in range(3)]))
        for k in range(1, 8)
    ]
    assert winners == [1, 1, 2, 2, 2, 0, 0]  # k = 2 and k = 5 tie: the class that holds the nearest


# ---- two seeds ----


def test_latents_equal_up_to_rotation_scale_and_shift_are_the_same():
    a = normal(300, 6) * [3.0, 2.0, 1.0, 1.0, 0.5, 0.1]
    np.testing.assert_allclose(stability(a, 5 * a @ rotation(6) + 3), 1.0, atol=1e-9)


def test_cka_is_that_of_its_gram_matrices():
    """Two roads: HSIC of centred N x N kernels over its norms (Kornblith et al., equation 3)."""
    a = normal(40, 3)
    b = np.column_stack([a[:, 0] ** 2, a[:, 1] + normal(40, 1, 1)[:, 0]])
    centring = np.eye(40) - 1 / 40
    k, m = (centring @ x @ x.T @ centring for x in (a, b))
    assert stability(a, b)[0] == pytest.approx(np.sum(k * m) / np.sqrt(np.sum(k * k) * np.sum(m * m)))


def test_r2_is_the_share_that_a_linear_map_can_give():
    """b = a + noise of variance 1/3 each: R^2 is 3/4 towards b, and by regression back as well; then 1/5 and 1/3."""
    a = normal(20000, 3)
    b = a + np.sqrt(1 / 3) * normal(20000, 3, 1)
    assert stability(a, b)[1] == pytest.approx(0.75, abs=4 * 0.75 / np.sqrt(20000))
    _, r2 = stability(a, np.column_stack([a[:, 0], 2 * normal(20000, 1, 2)[:, 0]]))
    assert r2 == pytest.approx((1 / 5 + 1 / 3) / 2, abs=0.02)


def test_r2_is_held_out():
    """Noise weights, as many as examples or more, fit perfectly and foretell nothing."""
    for dim in (100, 300):
        assert -0.2 < stability(normal(202, dim), normal(202, 2, 1))[1] < 0.1
    few = normal(202, 3)
    assert stability(few @ normal(3, 300, 1) + 0.01 * normal(202, 300, 2), few)[1] > 0.97


# ---- chains, and what is refused everywhere ----


def test_transitions_by_hand():
    """Chains 0 0 1 0 and 1 1 1 3: class 2 is never met, class 3 is never left."""
    found = statistics.transitions(np.array([[0, 1], [0, 1], [1, 1], [0, 3]]), 4)
    np.testing.assert_array_equal(found, [[1, 1, 0, 0], [1, 2, 0, 1], [0] * 4, [0] * 4])
    with pytest.raises(ValueError, match="expected 0 to 3"):
        statistics.transitions(np.array([[0], [4]]), 4)


@pytest.mark.parametrize("function", [statistics.moments, statistics.norms, intrinsic_dimension])
def test_values_that_are_not_finite_are_refused(function):
    with pytest.raises(ValueError, match="1 of 200 values that are NaN"):
        function(np.where(np.arange(200).reshape(100, 2) == 5, np.nan, 1.0))
    with pytest.raises(ValueError, match=r"expected \[N, D\]"):
        function(np.ones((0, 3)))
