"""How alike the features of two dictionaries are, feature by feature, after the best one-to-one matching. On the host.

A feature is matched with at most one of the other dictionary, so that the sum of similarities is largest (Hungarian
method; Kuhn 1955, Naval Research Logistics Quarterly 2:83, as SciPy has it).
"""

import numpy as np
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment


def matched(similarity: Float[np.ndarray, "A B"]) -> float:
    """Mean similarity of matched features over the smaller dictionary; NaN where one has none.

    max over one-to-one maps p of 1 / min(A, B) sum_i s[i, p(i)].
    """
    if not similarity.size:
        return float("nan")
    return float(similarity[linear_sum_assignment(similarity, maximize=True)].mean())


def cosines(a: Float[np.ndarray, "A D"], b: Float[np.ndarray, "B D"]) -> Float[np.ndarray, "A B"]:
    """Cosines of atoms; 0 with an atom of length 0."""
    return _unit(a) @ _unit(b).T


def correlations(a: Float[np.ndarray, "N A"], b: Float[np.ndarray, "N B"]) -> Float[np.ndarray, "A B"]:
    """Pearson correlations of activations over points; 0 with a feature that is the same at all of them."""
    return _unit((a - a.mean(axis=0)).T) @ _unit((b - b.mean(axis=0)).T).T


def _unit(rows: np.ndarray) -> np.ndarray:
    rows = np.asarray(rows, np.float64)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, length, out=np.zeros_like(rows), where=length > 1e-9)
