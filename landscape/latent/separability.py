"""How easily classes are read from latents, and how alike the latents of two seeds are."""

import warnings

import numpy as np
from jaxtyping import Bool, Float, Int
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from landscape.latent.statistics import checked
from landscape.measures.neighbors import nearest

MOST_STEPS = 1000  # of the logistic fit
NEIGHBORS = 10  # that vote on the class of a latent
FEWEST = 4  # latents that are compared, two of each half
PENALTIES = 10.0 ** np.arange(-8, 7)  # of ridge regression, in sums of squares of a typical dimension


def linear_probe(
    z_train: Float[np.ndarray, "N D"],
    y_train: Int[np.ndarray, " N"],
    z_test: Float[np.ndarray, "M D"],
    y_test: Int[np.ndarray, " M"],
) -> Bool[np.ndarray, " M"]:
    """Whether multinomial logistic regression on standardised latents names the class of every test example.

    Mean and standard deviation are of the training latents; weights are penalised as scikit-learn does by default
    (C = 1). A fit that 1000 steps of L-BFGS do not finish is used as it stands.

    Raises:
      ValueError: fewer than two classes in training, unlike shapes.
    """
    _check_pairs(z_train, y_train, z_test, y_test)
    if len(np.unique(y_train)) < 2:
        raise ValueError("y_train holds one class: expected two or more; draw training examples of every class")
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=MOST_STEPS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(checked(z_train, "z_train"), y_train)
    return model.predict(checked(z_test, "z_test", fewest=1)) == y_test


def knn_accuracy(
    z_train: Float[np.ndarray, "N D"],
    y_train: Int[np.ndarray, " N"],
    z_test: Float[np.ndarray, "M D"],
    y_test: Int[np.ndarray, " M"],
    k: int = NEIGHBORS,
) -> Bool[np.ndarray, " M"]:
    """Whether most of the k nearest training latents (L2, as they are) have the class of every test example.

    Of classes with equally many neighbours, the one with the nearest wins.

    Raises:
      ValueError: k outside 1 .. N, unlike shapes.
    """
    _check_pairs(z_train, y_train, z_test, y_test)
    # Centred in double precision, since the search may run in single.
    centre = np.mean(z_train, axis=0, dtype=np.float64)
    test, train = (checked(z, "z", fewest=1) - centre for z in (z_test, z_train))
    _, index = nearest(test.astype(np.float32), train.astype(np.float32), k)
    votes = np.asarray(y_train)[np.asarray(index)]
    agree = votes[:, :, None] == votes[:, None, :]
    # argmax takes the first of equal counts: the class of the nearest neighbour among them.
    return votes[np.arange(len(votes)), np.argmax(agree.sum(axis=2), axis=1)] == y_test


def _check_pairs(z_train: np.ndarray, y_train: np.ndarray, z_test: np.ndarray, y_test: np.ndarray) -> None:
    shapes = [np.shape(a) for a in (z_train, y_train, z_test, y_test)]
    labels = (shapes[0][:1], shapes[2][:1])
    if shapes[0][1:] != shapes[2][1:] or labels != (shapes[1], shapes[3]):
        raise ValueError(f"z and y of shapes {shapes}: expected one label a latent, and one number of dimensions")


def stability(z_a: Float[np.ndarray, "N D"], z_b: Float[np.ndarray, "N E"], *, seed: int = 0) -> tuple[float, float]:
    """(linear centred kernel alignment, R^2 of the best linear maps between halves of the examples) of two latents.

    CKA = ||A^T B||_F^2 / (||A^T A||_F ||B^T B||_F), A and B centred: 1 for latents equal up to rotation, shift and
    scale. Independent latents have about sqrt(d_a d_b) / N, d their effective dimensions, rather than 0.
    R^2 = 1 - sum ||b - b^||^2 / sum ||b - mean||^2: ridge regression with intercept (and the mean) on one random half,
    its penalty chosen there by leaving one out, tested on the other half, both ways, sums pooled. Plain least squares
    would fit noise, without bound, where dimensions are about as many as examples. The mean of a to b and b to a: 1 for
    maps without error, about 0 or below where neither says anything of the other.

    Raises:
      ValueError: unlike numbers of examples, fewer than FEWEST, or latents that do not vary.

    Source: Kornblith et al. 2019, arXiv:1905.00414, equation 4 with the linear kernel.
    """
    z_a, z_b = (checked(z, name, fewest=FEWEST) for name, z in (("z_a", z_a), ("z_b", z_b)))
    if len(z_a) != len(z_b):
        raise ValueError(f"{len(z_a)} and {len(z_b)} latents: expected those of the same examples, in one order")
    if min(np.ptp(z_a, axis=0).max(), np.ptp(z_b, axis=0).max()) == 0:
        raise ValueError("latents that are the same for all examples: expected some variance; drop this member")
    a, b = z_a - z_a.mean(axis=0), z_b - z_b.mean(axis=0)
    cka = np.sum(np.square(a.T @ b)) / (np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b))
    halves = np.array_split(np.random.default_rng(seed).permutation(len(a)), 2)
    return float(min(cka, 1.0)), 0.5 * (_held_out_r2(a, b, halves) + _held_out_r2(b, a, halves))


def _held_out_r2(x: np.ndarray, y: np.ndarray, halves: list[np.ndarray]) -> float:
    """1 - sum of squared residuals / sum of squares about the mean, each half predicted by the fit to the other."""
    residual = total = 0.0
    for fit, test in (halves, halves[::-1]):
        spread = np.square(x[fit] - x[fit].mean(axis=0)).sum() / x.shape[1]
        model = RidgeCV(alphas=spread * PENALTIES).fit(x[fit], y[fit])
        residual += np.sum(np.square(y[test] - model.predict(x[test]).reshape(y[test].shape)))
        total += np.sum(np.square(y[test] - y[fit].mean(axis=0)))
    return float(1 - residual / total)
