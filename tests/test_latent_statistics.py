"""Statistics of latents against closed forms, counts by hand, and the coverage that their docstrings state."""

import jaxtyping
import numpy as np
import pytest
from scipy import stats
from sklearn.datasets import make_blobs

from landscape.latent import separability, statistics
from landscape.latent.separability import knn_accuracy, linear_probe, stability
from landscape.latent.statistics import intrinsic_dimension, mixing_matrix
from landscape.latent.two_sample import gaussian_check, mmd


def normal(n, dim, seed=0):
    return np.random.default_rng(seed).normal(size=(n, dim))


@pytest.fixture
def unchecked():
    """Without the import hook's checks of shapes, as users run: what is refused must be refused by the function."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


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
    np.testing.assert_allclose(found["percentiles"], np.percentile(z, [1, 5, 25, 50, 75, 95, 99], axis=0))


def test_moments_of_a_gaussian_within_their_standard_errors():
    n = 20000
    found = statistics.moments(2 * normal(n, 4) + 1)
    assert (np.abs(found["skewness"]) < 4 * np.sqrt(6 / n)).all()
    assert (np.abs(found["excess_kurtosis"]) < 4 * np.sqrt(24 / n)).all()
    assert (np.abs(found["std"] - 2) < 4 * 2 / np.sqrt(2 * n)).all()


def test_a_constant_dimension_has_no_shape_and_no_correlation():
    """0.1 thrice: its float64 mean is not 0.1, so that rounding would pass for a spread."""
    z = np.column_stack([np.full(3, 0.1), [1.0, 2.0, 4.0]])
    found = statistics.moments(z)
    assert found["std"][0] == 0 and np.isnan(found["skewness"][0]) and np.isnan(found["excess_kurtosis"][0])
    assert np.isfinite(found["skewness"][1])
    np.testing.assert_allclose(statistics.correlation(z), np.eye(2))


def test_norms_are_those_of_a_standard_gaussian():
    np.testing.assert_allclose(statistics.norms(np.array([[3.0, 4.0], [0.0, 0.0]])), [5 / np.sqrt(2), 0.0])
    # ||z||^2 / D has mean 1 and variance 2 / D.
    squares = np.square(statistics.norms(normal(5000, 16)))
    assert abs(squares.mean() - 1) < 4 * np.sqrt(2 / 16 / 5000)


def test_correlation_and_spectrum_are_numpys():
    z = normal(50, 6) @ normal(6, 6, 1) + 10.0
    np.testing.assert_allclose(statistics.correlation(z), np.corrcoef(z, rowvar=False), atol=1e-12)
    found = statistics.spectrum(z)
    np.testing.assert_allclose(found, np.linalg.svd(z - z.mean(0), compute_uv=False) ** 2 / 49, rtol=1e-8)
    np.testing.assert_allclose(found.sum(), z.var(0, ddof=1).sum())
    assert (statistics.spectrum(np.ones((5, 3))) == 0).all()


def test_effective_dimension_of_equal_variances_is_their_number():
    assert statistics.effective_dimension(np.full(7, 0.3)) == pytest.approx(7)
    assert statistics.effective_dimension(np.array([2.0, 0.0, 0.0])) == pytest.approx(1)
    assert statistics.effective_dimension(np.array([3.0, 1.0])) == pytest.approx(16 / 10)
    assert statistics.effective_dimension(np.zeros(4)) == 0
    # Sampled: E sum v^2 = D (1 + (D + 1) / n), hence D / (1 + (D + 1) / n) = 9.89 for n = 1000.
    assert statistics.effective_dimension(statistics.spectrum(normal(1000, 10))) == pytest.approx(9.89, abs=0.05)


def test_active_units_counts_variances_above_the_threshold():
    z = normal(1000, 4) * np.sqrt([4.0, 1.0, 0.02, 0.005])
    assert statistics.active_units(z) == 3
    assert statistics.active_units(z, 0.5) == 2
    assert statistics.active_units(z, relative=True) == 2  # 0.02 / 4 is below 0.01
    assert statistics.active_units(1e-3 * z) == 0
    assert statistics.active_units(1e-3 * z, relative=True) == 2


# ---- TwoNN ----


@pytest.mark.parametrize(
    ("draw", "dim", "expected"),
    [
        # The mean of the estimator at N = 1000, by simulation (docstring): it is unbiased in few dimensions only.
        (lambda r, d: r.random((1000, d)), 2, 2.0),
        (lambda r, d: r.normal(size=(1000, d)), 2, 2.0),
        (lambda r, d: r.normal(size=(1000, d)), 10, 9.5),
        (lambda r, d: r.random((1000, d)), 10, 8.45),
    ],
)
def test_intrinsic_dimension_of_a_plane_in_thirty_dimensions(draw, dim, expected):
    points = draw(np.random.default_rng(3), dim)
    found = intrinsic_dimension(7 * points @ rotation(30)[:dim] + 50)
    assert abs(found.value - expected) < 4 * found.sem
    assert found.sem / found.value < 0.06  # 0.035 - 0.045 in simulation: the interval says something
    assert found.high - found.value == pytest.approx(stats.norm.ppf(0.975) * found.sem)
    assert found.duplicates == 0 and found.points == 1000
    # An orthogonal map, shift and scale move float32 distances by about 1e-6.
    assert found.value == pytest.approx(intrinsic_dimension(points).value, rel=1e-3)


def test_intrinsic_dimension_interval_covers():
    """120 samples: the true dimension is covered, and the standard error is the spread of the estimates.

    With mu taken as independent, the standard error would be 0.78 of the spread.
    """
    found = [intrinsic_dimension(normal(400, 2, seed)) for seed in range(120)]
    covers = np.mean([f.low <= 2 <= f.high for f in found])
    assert covers > 0.95 - 4 * np.sqrt(0.95 * 0.05 / 120)
    ratio = np.mean([f.sem for f in found]) / np.std([f.value for f in found])
    assert abs(ratio - 1) < 2.5 / np.sqrt(2 * 120)  # a standard deviation of 120 is known to 1 / sqrt(240)


def test_intrinsic_dimension_leaves_copies_out():
    z = normal(300, 3)
    once, twice = intrinsic_dimension(z), intrinsic_dimension(np.concatenate([z, z[:50], z[:10]]))
    assert twice.duplicates == 60 and twice.points == 300
    assert twice.value == pytest.approx(once.value, rel=1e-4)  # the mean that is taken out moves the rounding


def test_intrinsic_dimension_says_what_it_cannot_tell():
    grid = np.stack(np.meshgrid(*[np.arange(5.0)] * 3), -1).reshape(-1, 3)
    assert np.isnan(intrinsic_dimension(grid).value)
    with pytest.raises(ValueError, match="1 distinct points of 40: expected 20"):
        intrinsic_dimension(np.ones((40, 3)))


# ---- MMD ----


def population_mmd(shift, dim, bandwidth):
    """MMD^2 of N(0, I) and N(m, I), ||m|| = shift: x - y ~ N(0 or m, 2 I), E exp(-||x - y||^2 / 2 s^2) is Gaussian."""
    square = bandwidth**2
    return 2 * (square / (square + 2)) ** (dim / 2) * (1 - np.exp(-(shift**2) / (2 * (square + 2))))


def test_mmd_is_the_sum_of_its_definition():
    a, b = normal(5, 2), normal(7, 2, 1) + 0.5
    kernel = lambda x, y: np.exp(-np.sum(np.square(x - y)) / (2 * 1.3**2))  # noqa: E731
    within = [np.mean([kernel(x[i], x[j]) for i in range(len(x)) for j in range(len(x)) if i != j]) for x in (a, b)]
    expected = sum(within) - 2 * np.mean([kernel(x, y) for x in a for y in b])
    assert mmd(a, b, bandwidth=1.3).value == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("n", "m", "dim", "shift"), [(300, 300, 5, 0.5), (300, 100, 5, 1.5), (60, 300, 2, 1.0)])
def test_mmd_of_shifted_gaussians(n, m, dim, shift):
    """Unbiased over 100 pairs of samples, each interval of the nominal coverage, all told apart."""
    truth, move = population_mmd(shift, dim, 2.0), shift * np.eye(dim)[0]
    found = [
        mmd(normal(n, dim, seed), normal(m, dim, seed + 500) + move, bandwidth=2.0, num_permutations=20)
        for seed in range(100)
    ]
    values = np.array([f.value for f in found])
    assert abs(values.mean() - truth) < 4 * values.std() / 10
    covers = np.mean([f.low <= truth <= f.high for f in found])
    assert covers > 0.95 - 4 * np.sqrt(0.95 * 0.05 / 100)
    assert np.mean([f.sem for f in found]) / values.std() == pytest.approx(1, abs=4 / np.sqrt(200))
    assert np.mean([f.p_value for f in found]) < 0.1  # the least is 1 / 21


def test_mmd_of_one_distribution():
    """Around 0, and p-values are uniform: 200 pairs of samples of unlike sizes, seeds crossed with nothing."""
    found = [mmd(normal(30, 3, s), normal(40, 3, s + 1000), num_permutations=99, seed=s) for s in range(200)]
    values, p_values = np.array([f.value for f in found]), np.array([f.p_value for f in found])
    assert abs(values.mean()) < 4 * values.std() / np.sqrt(200)
    # Uniform on 1/100 .. 1: the mean is 0.505 and 10 % are at most 0.1.
    assert abs(p_values.mean() - 0.505) < 4 * np.sqrt(1 / 12 / 200)
    for level in (0.1, 0.5, 0.9):
        assert abs(np.mean(p_values <= level + 1e-9) - level) < 4 * np.sqrt(level * (1 - level) / 200)
    assert np.mean([f.low <= 0 <= f.high for f in found]) > 0.93  # too wide, rather than too narrow


def test_mmd_takes_the_median_distance_and_at_most_max_points():
    a, b = normal(50, 3), normal(20, 3, 1)
    found = mmd(a, b, max_points=30, seed=1)
    assert (found.points_a, found.points_b) == (30, 20)
    whole = mmd(a, b)
    pooled = np.concatenate([a, b])
    apart = np.sqrt(np.sum(np.square(pooled[:, None] - pooled), -1))[np.triu_indices(70, 1)]
    assert whole.bandwidth == pytest.approx(np.median(apart))
    assert mmd(a, b, max_points=30, seed=1) == found and mmd(a, b, max_points=30, seed=2) != found
    assert mmd(b, a).value == pytest.approx(whole.value)


def test_mmd_refuses(unchecked):
    with pytest.raises(ValueError, match="all points are equal"):
        mmd(np.ones((5, 2)), np.ones((5, 2)))
    with pytest.raises(ValueError, match=r"bandwidth=0\.0: expected a positive length"):
        mmd(normal(5, 2), normal(5, 2), bandwidth=0.0)
    with pytest.raises(ValueError, match="expected one D"):
        mmd(normal(5, 2), normal(5, 3))


# ---- a Gaussian or not ----


@pytest.mark.parametrize("dim", [1, 6])
def test_a_gaussian_is_not_told_from_its_fit(dim):
    """Any affine map of a Gaussian, over 12 seeds; the binomial error of one is 0.5 / sqrt(1000), of the mean less."""
    stretch, error = normal(dim, dim, 7) * np.logspace(-3, 3, dim), 0.5 / np.sqrt(1000)
    found = [
        gaussian_check(normal(3000, dim, s) @ stretch + 9, normal(1000, dim, s + 100) @ stretch + 9, s)
        for s in range(12)
    ]
    accuracies = np.array([f.accuracy for f in found])
    assert (np.abs(accuracies - 0.5) < 4 * error).all()
    assert abs(accuracies.mean() - 0.5) < 4 * error / np.sqrt(12)
    assert all(f.examples == 1000 and f.low < f.accuracy < f.high for f in found)
    assert np.mean([f.p_value < 0.05 for f in found]) < 0.3


def test_draws_pass_through_a_fit_of_their_own():
    """As many dimensions as N / 8: plain draws of the fit would be told apart in every one of 6 seeds (0.6 or more)."""
    found = [gaussian_check(normal(250, 30, s), normal(2000, 30, s + 100), s).accuracy for s in range(6)]
    assert np.mean(found) < 0.57


@pytest.mark.parametrize("dim", [1, 3, 20])
def test_two_clusters_are_told_from_a_gaussian(dim):
    def draw(seed):
        rng = np.random.default_rng(seed)
        z = rng.normal(size=(2000, dim))
        z[:, 0] += rng.choice([-6, 6], 2000)
        return z @ rotation(dim)

    found = gaussian_check(draw(0), draw(1), 0)
    assert found.accuracy > 0.7 and found.low > 0.5 and found.p_value < 1e-6


def test_a_shift_or_another_scale_is_told():
    z = normal(2000, 3)
    assert gaussian_check(z, normal(2000, 3, 1) + np.eye(3)[0], 0).accuracy > 0.6
    assert gaussian_check(z, 2 * normal(2000, 3, 1), 0).accuracy > 0.65


def test_gaussian_check_leaves_flat_directions_out(unchecked):
    z = np.column_stack([normal(2000, 2), np.ones(2000)])
    assert abs(gaussian_check(z[:1000], z[1000:], 0).accuracy - 0.5) < 4 * 0.5 / np.sqrt(1000)
    with pytest.raises(ValueError, match="z_fit does not vary"):
        gaussian_check(np.ones((200, 2)), normal(200, 2), 0)
    with pytest.raises(ValueError, match="N >= 100"):
        gaussian_check(normal(200, 2), normal(99, 2), 0)
    with pytest.raises(ValueError, match="expected one number of dimensions"):
        gaussian_check(normal(200, 2), normal(200, 3), 0)


# ---- classes ----


@pytest.mark.parametrize("method", [linear_probe, knn_accuracy])
def test_blobs_are_read_without_error_and_noise_by_chance(method):
    z, y = make_blobs(1600, n_features=5, centers=4, cluster_std=0.3, random_state=1)
    assert method(z[:800], y[:800], z[800:], y[800:]).all()
    noise = np.random.default_rng(0).integers(0, 4, 1600)
    right = method(z[:800], noise[:800], z[800:], noise[800:])
    assert right.shape == (800,) and right.dtype == bool
    assert abs(right.mean() - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 800)


def test_correctness_is_that_of_each_example():
    z = np.array([[-1.0], [-1.1], [-0.9], [1.0], [1.1], [0.9]])
    y = np.array([7, 7, 7, 3, 3, 3])
    for method, more in ((linear_probe, {}), (knn_accuracy, {"k": 3})):
        right = method(z, y, np.array([[-1.0], [1.0], [1.0], [-1.0]]), np.array([7, 3, 7, 5]), **more)
        np.testing.assert_array_equal(right, [True, True, False, False])


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
    with pytest.raises(ValueError, match="k=8: expected 1 to 7"):
        knn_accuracy(train, label, train, label, 8)


def test_labels_belong_to_latents(unchecked):
    z, y = normal(20, 3), np.arange(20) % 2
    with pytest.raises(ValueError, match="expected one label a latent"):
        knn_accuracy(z, y, z[:, :2], y)
    with pytest.raises(ValueError, match="expected one label a latent"):
        linear_probe(z, y[:19], z, y)


# ---- two seeds ----


def test_stability_of_latents_equal_up_to_rotation_scale_and_shift():
    a = normal(300, 6) * [3.0, 2.0, 1.0, 1.0, 0.5, 0.1]
    found = stability(a, 5 * a @ rotation(6) + 3)
    np.testing.assert_allclose(found, 1.0, atol=1e-9)


def test_cka_is_that_of_its_gram_matrices():
    """Two roads: HSIC of centred N x N kernels over its norms (Kornblith et al., equation 3)."""
    a = normal(40, 3)
    b = np.column_stack([a[:, 0] ** 2, a[:, 1] + normal(40, 1, 1)[:, 0]])
    centring = np.eye(40) - 1 / 40
    k, m = (centring @ x @ x.T @ centring for x in (a, b))
    assert stability(a, b).cka == pytest.approx(np.sum(k * m) / np.sqrt(np.sum(k * k) * np.sum(m * m)))


def test_stability_of_independent_latents_is_none():
    found = stability(normal(20000, 4), normal(20000, 6, 1))
    assert 0 <= found.cka < 5 * np.sqrt(4 * 6) / 20000
    # Held out, a fit of 4 or 6 noise weights costs about that many in 10000.
    assert -20 / 10000 < found.r2_a_to_b < 4 / 10000 and -20 / 10000 < found.r2_b_to_a < 4 / 10000


def test_r2_is_the_share_that_a_linear_map_can_give():
    """b = a + noise of variance 1/3 each: R^2 is 3/4 towards b, and by regression back as well."""
    a = normal(20000, 3)
    b = a + np.sqrt(1 / 3) * normal(20000, 3, 1)
    found = stability(a, b)
    np.testing.assert_allclose([found.r2_a_to_b, found.r2_b_to_a], 0.75, atol=4 * 0.75 / np.sqrt(20000))
    more = stability(a, np.column_stack([a[:, 0], 2 * normal(20000, 1, 2)[:, 0]]))
    np.testing.assert_allclose([more.r2_a_to_b, more.r2_b_to_a], [1 / 5, 1 / 3], atol=0.02)


def test_r2_is_held_out():
    """Noise weights, as many as examples or more, fit perfectly and foretell nothing; a map is found even so."""
    for dim in (100, 300):
        assert -0.2 < stability(normal(202, dim), normal(202, 2, 1)).r2_a_to_b < 0.1
    few = normal(202, 3)
    assert stability(few @ normal(3, 300, 1) + 0.01 * normal(202, 300, 2), few).r2_a_to_b > 0.99


def test_stability_refuses(unchecked):
    with pytest.raises(ValueError, match="5 and 6 latents"):
        stability(normal(5, 2), normal(6, 2))
    with pytest.raises(ValueError, match="the same for all examples"):
        stability(np.ones((5, 2)), normal(5, 2))


# ---- chains ----


def test_mixing_matrix_by_hand():
    """Chains 0 0 1 0 and 1 1 1 3: class 2 is never met, class 3 is never left."""
    found = mixing_matrix(np.array([[0, 1], [0, 1], [1, 1], [0, 3]]), 4)
    np.testing.assert_array_equal(found.counts, [[1, 1, 0, 0], [1, 2, 0, 1], [0] * 4, [0] * 4])
    np.testing.assert_allclose(found.shares[:2], [[0.5, 0.5, 0, 0], [0.25, 0.5, 0, 0.25]])
    assert np.isnan(found.shares[2:]).all()
    assert np.isnan(mixing_matrix(np.zeros((1, 3), int), 2).shares).all()  # no step at all
    for states in ([[0], [4]], [[-1], [0]]):
        with pytest.raises(ValueError, match="expected 0 to 3"):
            mixing_matrix(np.array(states), 4)


# ---- what is refused everywhere ----


@pytest.mark.parametrize(
    "function", [statistics.moments, statistics.correlation, statistics.norms, intrinsic_dimension]
)
def test_values_that_are_not_finite_are_refused(function):
    with pytest.raises(ValueError, match="1 of 200 values that are NaN"):
        function(np.where(np.arange(200).reshape(100, 2) == 5, np.nan, 1.0))
    with pytest.raises(ValueError, match=r"expected \[N, D\]"):
        function(np.ones((0, 3)))
