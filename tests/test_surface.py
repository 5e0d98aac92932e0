"""Surfaces over planes in closed form and point by point; counts of points, and what several areas have in common."""

from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape import objectives
from landscape.measures import surface
from landscape.models import classifiers
from landscape.stats import areas

POINTS = 9


def three(seed=0, shape=(2, 3, 1)):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(3, *shape)), jnp.float32)


def test_a_plane_holds_its_three_points_in_orthonormal_coordinates():
    a, b, c = three()
    plane = surface.through(a, b, c)
    for at, expected in zip(plane.at, (a, b, c), strict=True):
        np.testing.assert_allclose(surface.point(plane, at), expected, atol=1e-6)
    gram = [[float(jnp.sum(x * y)) for x in plane[1:3]] for y in plane[1:3]]
    np.testing.assert_allclose(gram, np.eye(2), atol=1e-6)
    lengths = [float(jnp.linalg.norm((x - a).ravel())) for x in (b, c)]
    np.testing.assert_allclose(np.linalg.norm(plane.at, axis=1)[1:], lengths, rtol=1e-6)
    assert float(surface.radius(plane)) == pytest.approx(max(lengths), rel=1e-6)
    flat = surface.through(a, b, b)  # three points on a line, and one point: nothing is divided by 0
    np.testing.assert_allclose(flat.at, plane.at[jnp.asarray([0, 1, 1])], atol=1e-6)
    assert not np.any(surface.through(a, a, a).at) and np.isfinite(flat.second).all()


def test_the_surface_of_a_linear_classifier_is_a_half_plane_and_of_a_quadratic_one_a_bowl():
    plane, at = surface.through(*three()), jnp.asarray(2 * surface.grid(POINTS))
    w = jnp.asarray(np.random.default_rng(1).normal(size=(6, 2)), jnp.float32)
    found = surface.surface(w, plane, at, 1, apply=lambda w, x: x.reshape(len(x), -1) @ w)
    slope = (w[:, 1] - w[:, 0]) @ jnp.stack([part.ravel() for part in plane[:3]], axis=1)
    expected = slope[0] + at @ slope[1:]
    np.testing.assert_allclose(found.log_odds, expected, atol=1e-5)
    np.testing.assert_array_equal(found.decision, expected > 0)

    def bowl(centre, x):
        value = -jnp.sum(jnp.square(x - centre[None]), axis=(1, 2, 3))
        return jnp.stack([value, jnp.zeros_like(value)], axis=-1)

    b = surface.point(plane, plane.at[1])
    found = surface.surface(b, plane, at, 0, apply=bowl)
    np.testing.assert_allclose(found.log_odds, -jnp.sum(jnp.square(at - plane.at[1][None]), axis=1), atol=1e-5)


def test_every_point_is_a_forward_pass_whatever_the_blocks(monkeypatch):
    weights = [
        jnp.asarray(np.random.default_rng(i).normal(size=size), jnp.float32) for i, size in ((2, (6, 5)), (3, (5, 4)))
    ]

    def apply(weights, x):
        return jnp.tanh(x.reshape(len(x), -1) @ weights[0]) @ weights[1]

    sets = [three(seed) for seed in range(2)]
    planes = jax.vmap(surface.through)(*(jnp.stack(part) for part in zip(*sets, strict=True)))
    at, label = jnp.asarray(surface.grid(5)), jnp.asarray([1, 3])
    monkeypatch.setattr(surface, "BLOCK_PIXELS", 7 * 6)  # blocks of 7 of 25 points
    found = surface.surfaces(weights, planes, at, label, apply=apply)
    for p, (a, b, c) in enumerate(sets):
        plane = surface.through(a, b, c)
        x = jnp.stack([plane.origin + surface.radius(plane) * (s * plane.first + t * plane.second) for s, t in at])
        logits = apply(weights, x)
        np.testing.assert_allclose(found.log_odds[p], objectives.log_odds(logits, jnp.full(25, label[p])), atol=1e-5)
        np.testing.assert_allclose(found.margin[p], objectives.margin(logits, jnp.full(25, label[p])), atol=1e-5)
        np.testing.assert_array_equal(found.decision[p], logits.argmax(-1))


@pytest.mark.parametrize(("name", "norm"), [("mlp", "none"), ("cnn", "batch")])
def test_what_the_first_layer_puts_out_can_be_interpolated(name, norm):
    made = classifiers.build(name, num_classes=3, mean=(0.4,), std=(0.3,), norm=norm)
    plane, at = surface.through(*three(shape=(5, 5, 1))), jnp.asarray(surface.grid(3))
    variables = made.init(jax.random.key(0), plane.origin[None])
    found, plain = (
        jax.jit(lambda v, t=t: surface.surface(v, plane, at, 1, apply=made.apply, through=t))(variables)
        for t in (made.through, None)
    )
    np.testing.assert_allclose(found.log_odds, plain.log_odds, atol=1e-5 * np.abs(plain.log_odds).max())


def test_rings_make_up_the_disc():
    ring, at = surface.rings(POINTS), surface.grid(POINTS)
    away = np.linalg.norm(at, axis=1)
    assert np.all((ring >= 0) == (away <= 1 + 1e-6)) and ring.max() == POINTS // 2
    assert np.flatnonzero(ring == 0).tolist() == [len(at) // 2] and not np.any(at[len(at) // 2])
    assert np.all(np.abs(away[ring >= 0] * (POINTS // 2) - ring[ring >= 0]) <= 0.5)
    assert np.mean(surface.rings(101) >= 0) == pytest.approx(np.pi * (50 / 101) ** 2, abs=1e-3)
    with pytest.raises(ValueError, match="num_points=4: expected an odd number"):
        surface.grid(4)


def counted(wrong, ring):
    return np.asarray(surface.counts(jnp.asarray(wrong), ring))


def test_counts_say_how_many_points_all_and_any_of_some_members_err_on():
    rng = np.random.default_rng(0)
    ring = rng.integers(0, 3, 40)
    wrong = rng.random((4, 2, 40)) < np.array([0.2, 0.5, 0.6, 0.7])[:, None, None]
    found = counted(wrong, ring)
    assert found.shape == (2, 3, 4, 4)
    np.testing.assert_array_equal(found.sum(axis=(1, 3)), wrong.sum(axis=-1).T)
    number = areas.by_number(found)
    np.testing.assert_array_equal(
        number, [[(one.sum(0) == k).sum() for k in range(1, 5)] for one in wrong.swapaxes(0, 1)]
    )
    for size in range(1, 5):
        some = [wrong[list(own)] for own in combinations(range(4), size)]
        expected = [np.mean([how(one, axis=0).sum(axis=-1) for one in some], axis=0) for how in (np.all, np.any)]
        np.testing.assert_allclose(areas.all_and_any(number, size), expected)
    order = [2, 0, 3, 1]  # of members is of no account
    np.testing.assert_array_equal(counted(wrong[order], ring), found[:, :, order])


def test_independent_areas_are_those_of_products_of_shares_ring_by_ring():
    rng = np.random.default_rng(0)
    ring = np.repeat([0, 1], [10, 30])
    wrong = rng.random((3, 2, 40)) < 0.4
    found = areas.if_independent(counted(wrong, ring), np.bincount(ring))
    share = np.stack([wrong[..., ring == r].mean(axis=-1) for r in range(2)], axis=-1)  # member, plane, ring
    np.testing.assert_allclose(found[:, 2], share.prod(axis=0) @ [10, 30])
    np.testing.assert_allclose(found.sum(axis=1), (1 - (1 - share).prod(axis=0)) @ [10, 30])
    np.testing.assert_allclose(found @ [1, 2, 3], wrong.sum(axis=(0, 2)))  # every area is kept
    # Areas that are placed independently have that in common, and the same area of all has all of it.
    many = np.arange(20_000) % 2
    apart = areas.by_number(counted(rng.random((3, 1, len(many))) < [[[0.3]], [[0.5]], [[0.6]]], many))
    every, some = areas.all_and_any(apart, 3)
    assert (every / some).item() == pytest.approx(0.09 / 0.86, abs=0.01)
    same = areas.by_number(counted(np.repeat(wrong[:1], 3, axis=0), ring))
    every, some = areas.all_and_any(same, 3)
    np.testing.assert_array_equal(every, some)


def test_a_ratio_over_pairs_is_that_of_sums_and_moves_as_its_parts_do():
    rng = np.random.default_rng(0)
    top, bottom = rng.random((2, 3, 3, 5)), 1 + rng.random((2, 3, 3, 5))
    off = ~np.eye(3, dtype=bool)
    found = areas.ratio_of_pairs(top, bottom)
    ratio = top[:, off].sum(axis=(1, 2)) / bottom[:, off].sum(axis=(1, 2))
    np.testing.assert_allclose(found[:, off].mean(axis=(1, 2)), ratio)
    more = bottom.copy()
    more[0, 0, 1, 2] += 1e-6
    moved = top[0, off].sum() / more[0, off].sum()
    influence = (found[0, 0, 1, 2] - ratio[0]) / (top - ratio[:, None, None, None] * bottom)[0, 0, 1, 2]
    assert (moved - ratio[0]) / 1e-6 == pytest.approx(-ratio[0] * influence / 30, rel=1e-3)
    assert np.isnan(areas.ratio_of_pairs(top, 0 * bottom)).all()


def test_the_principal_plane_holds_a_flat_path():
    rng = np.random.default_rng(0)
    axes, start = np.linalg.qr(rng.normal(size=(7, 2)))[0].T, rng.normal(size=7)
    at = np.concatenate([np.zeros((1, 2)), rng.normal(size=(5, 2)) * [3, 1]])
    found, marks, captured = surface.principal(start + at @ axes)
    assert captured == pytest.approx(1.0)
    np.testing.assert_allclose(start + marks @ found, start + at @ axes, atol=1e-12)
    _, _, less = surface.principal(start + at @ axes + 0.1 * rng.normal(size=(6, 7)))
    assert 0.9 < less < 1
