"""Guided searches: copies are one member, equal gradients are fewer steps, draws come from where they are said to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from transfer_arrays import config_of

from landscape import ensembles, objectives, samplers, spaces
from landscape.ensembles import Mapping
from landscape.experiments.setting import Examples, stage_key
from landscape.experiments.transfer import members as mb
from landscape.experiments.transfer.config import BUDGETS, GuideSet
from landscape.experiments.transfer.stages import GUIDES_KEY, Guides, ascent, blocks_of
from landscape.models import classifiers
from landscape.search import search, steepest

T, SIZES, RADIUS = 8, (1, 2, 4), 0.2


@pytest.fixture(scope="module")
def world():
    """Untrained classifiers and random images: (members, guides)."""
    classifier = classifiers.build("mlp", num_classes=5, mean=(0.5,), std=(0.3,), norm="none", activation="relu")
    x = np.asarray(jax.random.uniform(jax.random.key(0), (6, 6, 6, 1)))
    keys = jax.random.split(jax.random.key(1), SIZES[-1])
    attackers = ensembles.stack([classifier.init(key, jnp.asarray(x[:1])) for key in keys])
    label = np.asarray(jnp.argmax(classifier.apply(ensembles.take(attackers, 0), jnp.asarray(x)), -1), np.int32)
    images = Examples(x, label, np.arange(6))
    points = [samplers.perturb(key, attackers, 0.1, kind="additive") for key in jax.random.split(jax.random.key(2), 3)]
    walked = jax.tree.map(lambda *leaves: jnp.stack(leaves, axis=1), *points)
    targets = mb.Targets((classifier.apply,), (attackers,))
    roles = np.array(["attacker"] * 4)
    members = mb.Members(None, classifier, attackers, targets, roles, np.arange(4), images, images, Mapping(), {}, "")
    return members, Guides(attackers, walked, jax.random.split(jax.random.key(4), SIZES[-1]))


def found_by(world, guidance, size, radius=0.0, guides=None):
    """(images, goal) of a guide set."""
    members, own = world
    config = config_of(**{"guides.num_steps": T, "seed": 3, "pixels.epsilon": RADIUS})
    program = ascent(config, members, guides or own, GuideSet(guidance, size, radius))
    return [np.asarray(part) for part in program(members.test.x, members.test.label, 0.1)]


def plain(world, sampler, *, key=None, num_steps=T, together=False):
    """What the plain search finds."""
    members, _ = world
    apply = members.classifier.apply
    lower = objectives.descend(apply, objectives.log_odds)
    objective = objectives.averaged(lower) if together else lower
    return search(
        jax.random.key(0) if key is None else key,
        jnp.asarray(members.test.x),
        jnp.asarray(members.test.label),
        objective=objective,
        space=spaces.pixels("linf"),
        sampler=sampler,
        optimizer=steepest("linf", 0.1 * RADIUS),
        epsilon=RADIUS,
        num_steps=num_steps,
    ).z


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_k_members_at_equal_gradients_take_a_kth_of_the_steps(world, size):
    """By the plain search of that many steps, for every block."""
    members, _ = world
    images, goal = found_by(world, "members", size)
    label = jnp.asarray(members.test.label)
    for b, block in enumerate(blocks_of(GuideSet("members", size, 0.0), 4)):
        own = ensembles.take(members.attackers, block)
        for at, steps in zip(map(BUDGETS.index, ("gradients", "steps")), (T // size, T), strict=True):
            found = plain(world, samplers.fixed(own), num_steps=steps, together=True)
            np.testing.assert_allclose(images[b, at], found, atol=1e-6)
            margins = jax.vmap(lambda v, z=found: objectives.margin(members.classifier.apply(v, z), label))(own)
            np.testing.assert_allclose(goal[b, at], -margins.mean(axis=0), atol=1e-4)


def test_copies_are_one_member(world):
    """k copies of one member walk as it does, and so does one of them at random."""
    _, guides = world
    copies = jax.tree.map(lambda leaf: jnp.repeat(leaf[:1], 4, axis=0), guides.attackers)
    same = guides._replace(attackers=copies)
    one = found_by(world, "members", 1, guides=same)[0]
    for guidance, size in (("members", 2), ("members", 4), ("random", 4)):
        many = found_by(world, guidance, size, guides=same)[0]
        np.testing.assert_allclose(many[0, 1], one[0, 1], atol=1e-6)


@pytest.mark.slow
def test_noise_of_radius_0_is_none(world):
    np.testing.assert_array_equal(found_by(world, "members", 2)[0], found_by(world, "members_ball", 2)[0])
    np.testing.assert_array_equal(found_by(world, "ball", 1)[0], found_by(world, "frozen", 1)[0])


@pytest.mark.slow
def test_a_frozen_draw_is_one_other_classifier(world):
    """The search against that draw; the noise that is drawn anew goes elsewhere."""
    members, guides = world
    images = found_by(world, "frozen", 1, 0.3)[0]
    ball = samplers.ball(ensembles.take(members.attackers, 2), 0.3, kind="layer_relative")
    drawn = samplers.drawn_at(samplers.frozen(ball, guides.frozen[2]), jax.random.key(9), jnp.int32(5))
    np.testing.assert_allclose(images[2, 1], plain(world, samplers.fixed(drawn)), atol=1e-6)
    assert np.abs(images - found_by(world, "ball", 1, 0.3)[0]).max() > 1e-3


@pytest.mark.parametrize(
    ("guidance", "size"), [pytest.param("trajectory", 1, marks=pytest.mark.slow), ("swag", 1), ("random", 4)]
)
def test_one_classifier_a_step_is_drawn_from_where_it_is_said(world, guidance, size):
    _, guides = world
    images = found_by(world, guidance, size)[0]
    walked = ensembles.take(guides.trajectory, 0)
    sampler = {
        "trajectory": lambda: samplers.member(walked),
        "swag": lambda: samplers.swag(samplers.fit_swag(walked)),
        "random": lambda: samplers.member(guides.attackers),
    }[guidance]()
    found = plain(world, sampler, key=jax.random.fold_in(stage_key(3, f"{GUIDES_KEY}.pixels"), 0))
    np.testing.assert_allclose(images[0, 1], found, atol=1e-6)
    np.testing.assert_array_equal(images[0, 0], images[0, 1])  # one gradient a step: both budgets are one
