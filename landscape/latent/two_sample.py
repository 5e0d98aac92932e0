"""Whether two sets of latents come from one distribution, and whether one set is Gaussian."""

import zlib

import numpy as np
from jaxtyping import Float
from scipy.spatial.distance import cdist
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from landscape.latent.statistics import checked

ROUNDS, LEAVES = 60, 15  # trees of the classifier of `gaussian_check`, and leaves of each
FEWEST = 100  # latents that it is tested on
MOST_POINTS = 2000  # of a set, of which MMD is taken: (2 MOST_POINTS)^2 numbers are held
FLAT = 1e-8  # share of the largest variance below which a direction is left out of the Gaussian


# ---- maximum mean discrepancy ----


def mmd(
    a: Float[np.ndarray, "N D"],
    b: Float[np.ndarray, "M D"],
    *,
    bandwidth: float | None = None,
    num_permutations: int = 200,
    seed: int = 0,
) -> tuple[float, float]:
    """Unbiased squared maximum mean discrepancy with the kernel k(x, y) = exp(-||x - y||^2 / (2 s^2)), and its p-value.

        MMD^2 = mean_{i != j} k(a_i, a_j) + mean_{i != j} k(b_i, b_j) - 2 mean_{i, j} k(a_i, b_j)

    It is 0 on average for one distribution, so values below 0 occur.

    Args:
      a, b: the two sets; a larger one is replaced by MOST_POINTS of it at random.
      bandwidth: s; the median distance of all pairs of distinct points of both sets if None.
      num_permutations: shufflings of the pooled points behind the p-value, (1 + how many reach MMD^2) / (1 + all).
      seed: of the subsets and shufflings.

    Returns:
      (MMD^2 in [-2, 2], p-value of "they are alike").

    Raises:
      ValueError: unlike dimensions, fewer than two points, all points equal.

    Source: Gretton et al. 2012 (Journal of Machine Learning Research 13), lemma 6, and section 8 for the median.
    """
    a, b = checked(a, "a"), checked(b, "b")
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"sets of shapes {a.shape}, {b.shape}: expected one D")
    rng = np.random.default_rng(seed)
    a, b = (x if len(x) <= MOST_POINTS else x[rng.choice(len(x), MOST_POINTS, replace=False)] for x in (a, b))
    pooled = np.concatenate([a, b])
    squares = cdist(pooled, pooled, "sqeuclidean")
    if bandwidth is None:
        pairs = squares[np.triu_indices(len(pooled), 1)]
        if not (pairs > 0).any():
            raise ValueError("all points are equal: expected some spread; has the encoder collapsed?")
        bandwidth = float(np.sqrt(np.median(pairs[pairs > 0])))
    kernel = np.exp(-squares / (2 * bandwidth**2))
    np.fill_diagonal(kernel, 0.0)
    is_a = np.arange(len(pooled)) < len(a)
    value = float(_mmd_of(kernel, is_a[:, None])[0])
    shuffled = np.stack([rng.permutation(is_a) for _ in range(num_permutations)], axis=1)
    # 1e-12: equal shufflings may differ in the last digit.
    reached = int(np.sum(_mmd_of(kernel, shuffled) >= value - 1e-12))
    return value, (1 + reached) / (1 + num_permutations)


def _mmd_of(kernel: Float[np.ndarray, "P P"], is_a: np.ndarray) -> Float[np.ndarray, " L"]:
    """MMD^2 of every labelling is_a [P, L] of the pooled points; the kernel has a diagonal of 0."""
    is_a = is_a.astype(np.float64)
    n, m = is_a[:, 0].sum(), len(is_a) - is_a[:, 0].sum()
    to_a = kernel @ is_a
    to_b = kernel.sum(axis=1, keepdims=True) - to_a
    within = np.sum(is_a * to_a, axis=0) / (n * (n - 1)) + np.sum((1 - is_a) * to_b, axis=0) / (m * (m - 1))
    return within - 2 * np.sum(is_a * to_b, axis=0) / (n * m)


# ---- a classifier ----


def gaussian_check(z_fit: Float[np.ndarray, "N D"], z_test: Float[np.ndarray, "M D"], seed: int) -> float:
    """Accuracy of a classifier that distinguishes `z_test` from as many draws of the Gaussian fitted to `z_fit`.

    Both are seen along the principal axes of the fit, each over its standard deviation, with log ||.|| besides. Boosted
    trees learn from one half and are tested on the other: folds that take turns would make the outcomes dependent.
    Logistic regression on z and z^2 would see nothing, since the fit has these means; neighbours see little of one
    uneven axis among many (two clusters 6 deviations apart in 8 dimensions: 0.57, where the trees reach 0.69).

    The covariance of N latents is wrong by about sqrt(D / N), which alone sets `z_test` apart from draws of it. So the
    draws pass through a fit of their own: N others of the same Gaussian are drawn, fitted, and give the axes.

    Args:
      z_fit: gives mean and covariance. Directions with less than 1e-8 of the largest variance are left out. The
        two fits are wrong in unlike ways: Gaussian latents come out at 0.515 with N / D = 30 and at 0.506 with 150.
      z_test: other latents than those of the fit.
      seed: of the draws and halves.

    Raises:
      ValueError: unlike dimensions, fewer than 100 latents to test, a fit without variance.

    Source: Lopez-Paz & Oquab 2017, arXiv:1610.06545, for the test by a classifier.
    """
    z_fit, z_test = checked(z_fit, "z_fit"), checked(z_test, "z_test", fewest=FEWEST)
    if z_fit.shape[1] != z_test.shape[1]:
        raise ValueError(f"z_fit {z_fit.shape}, z_test {z_test.shape}: expected one number of dimensions")
    # A stream of its own: latents drawn by `default_rng(seed)` would meet themselves among the draws.
    rng = np.random.default_rng([seed, zlib.crc32(b"gaussian_check")])
    real = _along_axes(z_fit, z_test)
    # Standard, since the axes and scales of the fit are taken out again.
    drawn = _along_axes(rng.normal(size=(len(z_fit), real.shape[1])), rng.normal(size=real.shape))
    # As random draws: the order of latents may mean something.
    learn, test = zip(*(np.array_split(_with_norm(rng.permutation(z)), 2) for z in (real, drawn)), strict=True)
    model = HistGradientBoostingClassifier(max_iter=ROUNDS, max_leaf_nodes=LEAVES, early_stopping=False, random_state=0)
    # One thread: where other work holds the cores, its threads wait for each other many times as long as they compute.
    with threadpool_limits(1, "openmp"):
        model.fit(np.concatenate(learn), _kinds(learn))
        return float(np.mean(model.predict(np.concatenate(test)) == _kinds(test)))


def _along_axes(fit: Float[np.ndarray, "N D"], z: Float[np.ndarray, "M D"]) -> Float[np.ndarray, "M E"]:
    """`z` along the principal axes of `fit`, in standard deviations; directions without variance are left out."""
    mean = fit.mean(axis=0)
    values, vectors = np.linalg.eigh((fit - mean).T @ (fit - mean) / (len(fit) - 1))
    if values[-1] <= 0:
        raise ValueError("z_fit does not vary: expected latents with some variance")
    kept = values > FLAT * values[-1]
    return (z - mean) @ (vectors[:, kept] / np.sqrt(values[kept]))


def _with_norm(z: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N D+1"]:
    """`z` with its log norm as one more column; a norm of 0 counts as 1e-12."""
    return np.column_stack([z, np.log(np.maximum(np.linalg.norm(z, axis=1), 1e-12))])


def _kinds(pair: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """1 for the latents and 0 for the draws, in the order of their concatenation."""
    return np.repeat([1, 0], [len(pair[0]), len(pair[1])])
