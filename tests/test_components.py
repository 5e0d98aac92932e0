"""Components of sublevel sets: by hand, and against single linkage and graph search of SciPy."""

import numpy as np
import pytest
from scipy.cluster.hierarchy import cophenet, linkage
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import squareform

from landscape.stats.components import height_to, minimax, num_components


def heights(seed, count=12):
    """Random edges no lower than the nodes at their ends."""
    rng = np.random.default_rng(seed)
    own = rng.random(count)
    edges = np.triu(rng.random((count, count)), 1)
    edges = np.maximum(edges + edges.T, np.maximum(own[:, None], own[None]))
    edges[np.arange(count), np.arange(count)] = own
    return edges


@pytest.mark.parametrize("seed", range(4))
def test_minimax_is_single_linkage(seed):
    edges = heights(seed)
    found = minimax(edges)
    off = edges - np.diag(np.diag(edges))
    expected = squareform(cophenet(linkage(squareform(off), "single")))
    np.testing.assert_allclose(found[~np.eye(12, dtype=bool)], expected[~np.eye(12, dtype=bool)])
    np.testing.assert_allclose(np.diag(found), np.diag(edges))


@pytest.mark.parametrize("seed", range(4))
def test_components_are_those_of_a_graph_search(seed):
    edges = heights(seed)
    thresholds = np.linspace(0, 1.1, 23)
    expected = []
    for t in thresholds:
        there = np.diag(edges) <= t
        expected.append(connected_components(edges[there][:, there] <= t)[0] if there.any() else 0)
    np.testing.assert_allclose(num_components(minimax(edges)[None], thresholds)[0], expected)
    assert max(expected) > 2 and expected[-1] == 1


def test_the_way_to_a_group_by_hand():
    edges = np.array([[0.0, 5.0, 1.0], [5.0, 0.5, 2.0], [1.0, 2.0, 0.2]])
    found = height_to(minimax(edges), np.array([True, True, False]))
    np.testing.assert_allclose(found, [2.0, 2.0, 1.0])  # 0 reaches 1 by way of 2; a node is no way to itself
    np.testing.assert_array_equal(height_to(minimax(edges), np.array([True, False, False]))[0], np.inf)
