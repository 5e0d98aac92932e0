"""Connected components of sublevel sets: nodes joined where the highest point of a path between them is low enough.

Node i is there from its own height b_i on, the edge (i, j) from the height h_ij of its path. At a threshold t two nodes
are in one component if a chain of edges with h <= t joins them; the lowest such t is their *minimax* height

    H_ij = min over chains from i to j of the largest h on the chain,

which is what single linkage clusters by (Gower & Ross 1969, Applied Statistics 18:54).
"""

import numpy as np
from jaxtyping import Bool, Float


def minimax(height: Float[np.ndarray, "*B G G"]) -> Float[np.ndarray, "*B G G"]:
    """H of symmetric heights; the diagonal holds the nodes' own heights. inf where an edge is lacking."""
    found = np.array(height, np.float64)
    for k in range(found.shape[-1]):
        found = np.minimum(found, np.maximum(found[..., :, k, None], found[..., None, k, :]))
    return found


def num_components(
    joined: Float[np.ndarray, "*B G G"], thresholds: Float[np.ndarray, " L"]
) -> Float[np.ndarray, "*B L"]:
    """Number of components at each threshold, of `minimax` heights: sum over nodes that are there of one over the size
    of their component.
    """
    own = np.diagonal(joined, axis1=-2, axis2=-1)
    found = []
    for t in thresholds:
        there = own <= t
        together = (joined <= t) & there[..., None, :] & there[..., :, None]
        size = together.sum(axis=-1)
        found.append(np.where(there, 1 / np.maximum(size, 1), 0.0).sum(axis=-1))
    return np.stack(found, axis=-1)


def height_to(joined: Float[np.ndarray, "*B G G"], group: Bool[np.ndarray, " G"]) -> Float[np.ndarray, "*B G"]:
    """The lowest minimax height to any other node of a group; inf where there is none."""
    others = np.where(group & ~np.eye(len(group), dtype=bool), joined, np.inf)
    return others.min(axis=-1)
