"""Nearest neighbours against brute force in double precision."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from landscape import ensembles
from landscape.measures import neighbors
from landscape.measures.neighbors import nearest, nearest_of_another_class, num_nearer


def cloud(n, shape=(5,), seed=0, offset=0.0, scale=1.0):
    return (offset + scale * np.random.default_rng(seed).normal(size=(n, *shape))).astype(np.float32)


def brute(queries, points, k, exclude_self=False):
    """Every distance in float64, sorted with the lower index first among equals."""
    a, b = (np.asarray(x, np.float64).reshape(len(x), -1) for x in (queries, points))
    distance = np.sqrt(np.sum(np.square(a[:, None] - b[None]), axis=2))
    if exclude_self:
        np.fill_diagonal(distance, np.inf)
    index = np.argsort(distance, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(distance, index, axis=1), index


@pytest.mark.parametrize("k", [1, 3, 40])
@pytest.mark.parametrize("shape", [(5,), (4, 4, 1)])
def test_the_neighbours_are_those_of_brute_force(k, shape):
    queries, points = cloud(23, shape), cloud(40, shape, seed=1)
    distance, index = nearest(queries, points, k)
    expected, which = brute(queries, points, k)
    np.testing.assert_array_equal(index, which)
    np.testing.assert_allclose(distance, expected, rtol=1e-6)  # a float32 sum of 16 squares


@pytest.mark.parametrize("exclude_self", [False, True])
@pytest.mark.parametrize("block", [(1, 1), (7, 9), (23, 40), (8, 13), (1000, 3), (16, 10)])
def test_blocks_change_nothing(block, exclude_self):
    """Blocks that do and do not divide the numbers, down to single rows and fewer points than neighbours."""
    points = cloud(40, seed=1)
    queries = points if exclude_self else cloud(23)
    whole = nearest(queries, points, 6, exclude_self=exclude_self)
    parts = nearest(queries, points, 6, exclude_self=exclude_self, block=block)
    np.testing.assert_array_equal(parts[1], whole[1])
    np.testing.assert_allclose(parts[0], whole[0], rtol=1e-6)
    np.testing.assert_array_equal(whole[1], brute(queries, points, 6, exclude_self)[1])


@pytest.mark.parametrize("block", [(3, 2), (100, 100)])
def test_ties_go_to_the_lower_index(block):
    """Three copies of ten points are 0 apart, in order; a copy may be a neighbour where the point itself may not."""
    points = np.tile(cloud(10), (3, 1))
    distance, index = nearest(points[:10], points, 3, block=block)
    np.testing.assert_array_equal(index, np.arange(10)[:, None] + [[0, 10, 20]])
    np.testing.assert_array_equal(distance, 0.0)
    distance, index = nearest(points, points, 2, exclude_self=True, block=block)
    np.testing.assert_array_equal(index[10:20], np.arange(10)[:, None] + [[0, 20]])
    np.testing.assert_array_equal(distance, 0.0)


def test_close_points_far_from_zero_keep_their_digits():
    """At 100 with a spread of 1e-2, ||x||^2 - 2 x . q + ||q||^2 in float32 would be wrong by more than its value."""
    points = cloud(200, (20,), offset=100.0, scale=1e-2)
    queries = points[:50] + cloud(50, (20,), seed=1, scale=1e-3)
    distance, index = nearest(queries, points, 5, block=(16, 64))
    expected, which = brute(queries, points, 5)
    np.testing.assert_array_equal(index, which)
    np.testing.assert_allclose(distance, expected, rtol=1e-5)


def test_what_the_product_confuses_the_differences_sort():
    """Two tight fours far apart: the product's rounding is larger than the gaps, the result is right all the same."""
    queries = np.array([[1000.0, 0.0], [-1000.0, 0.0]], np.float32)
    gaps = np.array([4e-3, 1e-3, 3e-3, 2e-3], np.float32)  # unlike float32 neighbours of 1000, 6e-5 apart
    points = np.concatenate([np.stack([q[0] + 0 * gaps, gaps], 1) for q in queries])
    for k in (1, 2, 4):
        distance, index = nearest(queries, points, k)
        np.testing.assert_array_equal(index, np.array([[1, 3, 2, 0], [5, 7, 6, 4]])[:, :k])
        np.testing.assert_allclose(distance, np.tile(np.sort(gaps)[:k], (2, 1)), rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (dict(k=0), "k=0: expected 1 to 4"),
        (dict(k=5), "k=5: expected 1 to 4"),
        (dict(k=4, exclude_self=True), "k=4: expected 1 to 3"),
        (dict(k=1, exclude_self=True, queries=cloud(3)), "3 queries and 4 points"),
        (dict(k=1, block=(0, 8)), r"block=\(0, 8\): expected two numbers of 1 or more"),
    ],
)
def test_wrong_numbers_are_refused(arguments, match):
    with pytest.raises(ValueError, match=match):
        nearest(**{"queries": cloud(4), "points": cloud(4), **arguments})


def test_the_nearest_of_another_class_is_that_of_brute_force():
    queries, points = cloud(150, (3, 2)), cloud(40, (3, 2), seed=1)
    own, labels = np.arange(150) % 3, np.arange(40) % 3
    every = np.sqrt(np.square(queries[:, None].astype(float) - points[None]).sum(axis=(2, 3)))
    expected = np.where(own[:, None] == labels, np.inf, every).min(axis=1)
    np.testing.assert_allclose(nearest_of_another_class(queries, own, points, labels), expected, rtol=1e-9)
    assert np.isinf(nearest_of_another_class(queries, 0 * own, points, 0 * labels)).all()


@pytest.mark.parametrize("block", [(7, 9), (100, 100)])
def test_cosine_neighbours_are_those_of_brute_force_and_no_scale_moves_them(block):
    queries, points = cloud(23), cloud(40, seed=1)
    a, b = (x.astype(float) / np.linalg.norm(x.astype(float), axis=1, keepdims=True) for x in (queries, points))
    every = 1 - a @ b.T
    which = np.argsort(every, axis=1)[:, :4]
    scale = np.random.default_rng(2).uniform(0.1, 10, (40, 1)).astype(np.float32)
    distance, index = nearest(queries, scale * points, 4, metric="cosine", block=block)
    np.testing.assert_array_equal(index, which)
    np.testing.assert_allclose(distance, np.take_along_axis(every, which, 1), atol=1e-6)  # float32 of values up to 2


def test_the_cosine_distance_of_zeros_is_one_half():
    distance, index = nearest(np.zeros((1, 3), np.float32), np.eye(3, dtype=np.float32)[:2], 2, metric="cosine")
    np.testing.assert_allclose(distance, [[0.5, 0.5]], rtol=1e-6)
    np.testing.assert_array_equal(index, [[0, 1]])


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("block", [(1, 1), (7, 9), (100, 100)])
def test_the_number_of_nearer_points_is_that_of_brute_force(block, metric):
    queries, points, others = cloud(23), cloud(40, seed=1), cloud(23, seed=2)
    a, b, c = (x.astype(float) for x in (queries, points, others))
    if metric == "cosine":
        a, b, c = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b, c))
    every, own = np.linalg.norm(a[:, None] - b, axis=2), np.linalg.norm(a - c, axis=1)
    found = num_nearer(queries, points, others, metric=metric, block=block)
    np.testing.assert_array_equal(found, (every < own[:, None]).sum(axis=1))


def test_a_point_is_the_nearest_to_itself_and_its_neighbour_has_as_many_nearer_as_its_place():
    points = cloud(40, seed=1)
    np.testing.assert_array_equal(num_nearer(points, points, points), 0)
    _, index = nearest(points, points, 5)
    for place in range(5):  # the first is the point itself
        np.testing.assert_array_equal(num_nearer(points, points, points[np.asarray(index)[:, place]]), place)


def test_devices_share_the_queries_and_change_nothing(monkeypatch):
    """Two host devices against one, with queries that they do not divide evenly."""
    queries, others, points = cloud(23), cloud(23, seed=2), cloud(40, seed=1)

    def every():
        alone = nearest(points, points, 3, exclude_self=True)
        return nearest(queries, points, 6), alone, num_nearer(queries, points, others)

    assert ensembles.auto(1).examples == 2
    split = every()
    monkeypatch.setattr(ensembles, "auto", partial(ensembles.auto, devices=jax.devices()[:1]))
    jax.clear_caches()
    for one, other in zip(jax.tree.leaves(split), jax.tree.leaves(every()), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_the_largest_are_found_by_groups():
    """As top_k finds them, ties too: few values in many columns, and rows that end with -inf."""
    rng = np.random.default_rng(0)
    for values in (rng.normal(size=(20, 1024)), rng.integers(0, 4, (20, 1024)), np.full((2, 640), 3.0)):
        values = values.astype(np.float32)
        values[0, 5:] = -np.inf
        for found, expected in zip(neighbors._largest(jnp.asarray(values), 9), lax.top_k(values, 9), strict=True):
            np.testing.assert_array_equal(found, expected)
    assert neighbors._largest(jnp.zeros((2, 3)), 9)[0].shape == (2, 3)


def test_another_metric_is_refused():
    with pytest.raises(ValueError, match="metric='l1': expected one of euclidean, cosine"):
        nearest(cloud(4), cloud(4), 1, metric="l1")


def test_it_may_be_asked_for_by_members_that_are_split_over_devices():
    rng = np.random.default_rng(0)
    points, shifts = rng.random((40, 3)).astype(np.float32), np.array([0.0, 0.2], np.float32)
    found = jax.jit(
        lambda shifts: ensembles.map_members(
            lambda shift: nearest(points[:8] + shift, points, 2), shifts, how=ensembles.auto(2)
        )
    )(jnp.asarray(shifts))
    for s, shift in enumerate(shifts):
        for one, alone in zip(found, nearest(points[:8] + shift, points, 2), strict=True):
            np.testing.assert_allclose(one[s], alone, atol=1e-6)
