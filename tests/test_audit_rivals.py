"""Paired comparisons of an audit on made-up results: what is beyond chance, of all members or of one; used radii."""

import jax.numpy as jnp
import numpy as np
import pytest

from landscape.attacks import audit_rivals
from landscape.attacks.audit_rivals import Place, finds_more


def fallen(shares, num_examples):
    """Right [S, N] of members of which the first so many images fall."""
    return np.stack([(np.arange(num_examples) >= share * num_examples).astype(float) for share in shares])


def test_a_rival_that_finds_as_much_finds_no_more():
    ours = fallen([0.5, 0.5], 100)
    assert not finds_more(ours, ours, 0.0)
    assert not finds_more(ours, fallen([0.4, 0.5], 100), 0.0)  # less
    other = np.roll(ours, 3, axis=1)  # other images, as many
    assert not finds_more(ours, other, 0.0)


def test_more_than_allowed_and_beyond_chance():
    """5 of 100 images: 0.05 -+ 0.044. 1 of 20: 0.05 -+ 0.1."""
    assert finds_more(fallen([0, 0], 100), fallen([0.05, 0.05], 100), 0.04)
    assert not finds_more(fallen([0, 0], 100), fallen([0.05, 0.05], 100), 0.06)
    assert not finds_more(fallen([0, 0], 20), fallen([0.05, 0.05], 20), 0.04)


def test_members_share_their_images_and_count_once():
    """One image of 20 that falls for all of 50 members is one image."""
    assert not finds_more(fallen([0] * 50, 20), fallen([0.05] * 50, 20), 0.0)


def test_one_member_of_many_is_seen_where_the_mean_is_within_what_is_allowed():
    ours, theirs = fallen([0] * 8, 100), fallen([0.3] + [0] * 7, 100)
    assert (ours - theirs).mean() < 0.04
    assert finds_more(ours, theirs, 0.04)
    assert not finds_more(ours, theirs, 0.16)  # of one member twice as much is allowed


@pytest.mark.parametrize(("agreements", "at", "expected"), [(2, 0.01, True), (2, 0.03, False), (4, 0.03, True)])
def test_at_the_radius_itself_agreements_are_counted(agreements, at, expected):
    ours = fallen([0, 0], 100)
    places = (Place(0.2, jnp.zeros(()), ours), Place(0.1, jnp.zeros(()), ours))
    rival = audit_rivals.Rival("another", agreements, 0.02)
    check = audit_rivals.compared("another", rival, places, (fallen([at, at], 100), ours), 0.01)
    assert check["passed"] == expected, check


@pytest.mark.parametrize(("share", "fixed", "random"), [(0.0, True, True), (0.05, False, True), (0.15, False, False)])
def test_precisions_agree_by_slack_and_those_of_a_random_classifier_by_chance(share, fixed, random):
    """5 of 100 images: 0.05, three standard errors 0.065; 15 of 100: 0.15, 0.107. In either direction."""
    less, more = fallen([0, 0], 100), fallen([share, share], 100)
    for ours, theirs in ((less, more), (more, less)):
        places = (Place(0.2, jnp.zeros(()), ours), Place(0.1, jnp.zeros(()), ours))
        check = lambda **drawn: audit_rivals.float64_agrees(places, (ours, theirs), 0.01, **drawn)["passed"]  # noqa: E731
        assert check() == fixed and check(random=True) == random


def test_what_both_find_is_not_missed():
    ours = fallen([0.5, 0.5], 100)
    place = Place(0.1, jnp.zeros(()), ours)
    assert audit_rivals.without_gradients(place, fallen([0.4, 0.5], 100))["passed"]
    others = 1 - ours  # half of the images fall, none of which ours fools
    check = audit_rivals.without_gradients(place, others)
    assert not check["passed"] and "fools 50.0 %" in check["detail"]


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize(("share", "expected"), [(1.0, True), (0.9, False), (0.5, False)])
def test_the_radius_is_used_where_nobody_is_fooled(norm, share, expected):
    """Perturbations of one pixel by 0.2 of two members. Images whose first pixel passes 0.69 fall."""
    x = jnp.full((10, 2, 2, 1), 0.5)
    delta = jnp.zeros((2, 10, 2, 2, 1)).at[:, :, 0, 0, 0].set(0.2)
    right = lambda z: np.asarray(z[:, :, 0, 0, 0] <= 0.69).astype(float)  # noqa: E731
    found = x[None] + share * delta
    check = audit_rivals.radius_used(x, Place(0.2, found, right(found)), right, norm)
    assert check["passed"] == expected
    fell = 0.0 if share == 1 else 100.0
    assert f"carried on to it {fell:.1f} %" in check["detail"], check
    # Whoever is fooled already needs no more of it.
    check = audit_rivals.radius_used(x, Place(0.2, found, np.zeros((2, 10))), right, norm)
    assert check["passed"]


def test_a_radius_that_is_not_used_is_told_even_where_more_of_it_would_fool_nobody():
    x = jnp.full((10, 2, 2, 1), 0.5)
    right = lambda z: np.ones(z.shape[:2])  # noqa: E731
    for share, expected in ((1.0, True), (0.9, False)):
        # The second member alone falls short.
        found = jnp.stack([x + 0.2, x + share * 0.2])
        check = audit_rivals.radius_used(x, Place(0.2, found, right(found)), right, "linf")
        assert check["passed"] == expected, check


def test_one_image_of_one_member_without_a_gradient_is_told():
    """One pixel that moves is a gradient."""
    x = jnp.full((50, 2, 2, 1), 0.5)
    stepped = jnp.stack([x, x]).at[:, :, 0, 1, 0].set(0.6)
    assert audit_rivals.gradients_reach(x, stepped)["passed"]
    check = audit_rivals.gradients_reach(x, stepped.at[1, 7].set(0.5))
    assert not check["passed"] and "1.0 % of the examples, of the worst member 2.0 %" in check["detail"]
