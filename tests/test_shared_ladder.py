"""The ladder of `shared`: copies are one member, equal gradients are fewer steps, and its statistics by hand."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from landscape import ensembles, objectives, samplers, spaces
from landscape.ensembles import Mapping
from landscape.experiments import shared_ladder_estimates, shared_setting
from landscape.experiments.setting import Examples, stage_key
from landscape.experiments.shared_ladder import BUDGETS, Ground, Guides, Rung, blocks_of, climber, rungs_of
from landscape.experiments.shared_ladder_estimates import worth_text
from landscape.experiments.shared_values import members_of
from landscape.models import classifiers
from landscape.search import search, steepest

T, SIZES, RADIUS = 8, (1, 2, 4), 0.2
ALL = ("ball", "frozen", "trajectory", "swag", "random", "members_ball")


def config_of(rungs=ALL, sizes=SIZES):
    return ConfigDict(
        dict(
            seed=3,
            num_attackers=sizes[-1],
            num_members=sizes[-1] + 3,
            ladder=dict(
                sizes=sizes, rungs=rungs, searches=("pixels",), num_steps=T, step_sizes=(0.1, 0.3), num_examples=6
            ),
            noise=dict(kind="layer_relative", radius=0.3, re_estimate=False),
            trajectory=dict(num_models=3),
            pixels=dict(norm="linf", epsilon=RADIUS),
            mapping="auto",
            claims=dict(),
        )
    )


GROUND = Ground("pixels", "linf", RADIUS, lambda _: spaces.pixels("linf"), ())


@pytest.fixture(scope="module")
def world():
    """Untrained classifiers and random images: (shared, guides)."""
    classifier = classifiers.build("mlp", num_classes=5, mean=(0.5,), std=(0.3,), norm="none", activation="relu")
    x = np.asarray(jax.random.uniform(jax.random.key(0), (6, 6, 6, 1)))
    keys = jax.random.split(jax.random.key(1), SIZES[-1])
    attackers = ensembles.stack([classifier.init(key, jnp.asarray(x[:1])) for key in keys])
    label = np.asarray(jnp.argmax(classifier.apply(ensembles.take(attackers, 0), jnp.asarray(x)), -1), np.int32)
    images = Examples(x, label, np.arange(6))
    points = [samplers.perturb(key, attackers, 0.1, kind="additive") for key in jax.random.split(jax.random.key(2), 3)]
    walked = jax.tree.map(lambda *leaves: jnp.stack(leaves, axis=1), *points)
    judges = shared_setting.Judges((classifier.apply,), (attackers,))
    shared = shared_setting.SharedSetting(
        None, classifier, [str(k) for k in range(5)], attackers, judges, np.array(["attacker"] * 4), np.arange(4),
        images, images, Mapping(),
    )  # fmt: skip
    return shared, Guides(attackers, walked, jax.random.split(jax.random.key(4), SIZES[-1]))


def climbed(world, rung, step_size=0.1, guides=None, sizes=SIZES):
    shared, own = world
    program = climber(config_of(sizes=sizes), shared, guides or own, GROUND, rung)
    return [np.asarray(part) for part in program(shared.test.x, shared.test.label, step_size)]


def test_rungs_of_a_config():
    found = rungs_of(config_of())
    assert [(r.name, r.size) for r in found] == [
        ("members", 1), ("members", 2), ("members", 4), ("ball", 1), ("frozen", 1), ("trajectory", 1), ("swag", 1),
        ("random", 4), ("members_ball", 2), ("members_ball", 4),
    ]  # fmt: skip
    assert [r.gradients for r in found] == [1, 2, 4, 1, 1, 1, 1, 1, 2, 4]
    assert {r.name for r in found if r.radius > 0} == {"ball", "frozen", "members_ball"}
    assert blocks_of(found[1], 4).tolist() == [[0, 1], [2, 3]] and blocks_of(found[7], 4).tolist() == [[0, 1, 2, 3]]


@pytest.mark.parametrize("size", [pytest.param(k, marks=() if k == 2 else pytest.mark.slow) for k in SIZES])
def test_k_members_at_equal_gradients_take_a_kth_of_the_steps(world, size):
    """By the plain search of that many steps, for every block."""
    shared, _ = world
    images, goal = climbed(world, Rung("members", size, 0.0))
    objective = objectives.averaged(
        shared.classifier.apply, partial(objectives.descend, value_fn=objectives.gap), "loss"
    )
    x, label = jnp.asarray(shared.test.x), jnp.asarray(shared.test.label)
    for b, block in enumerate(blocks_of(Rung("members", size, 0.0), 4)):
        members = ensembles.take(shared.attackers, block)
        for budget, steps in zip(BUDGETS, (T // size, T), strict=True):
            found = search(
                jax.random.key(0),
                x,
                label,
                objective=objective,
                space=spaces.pixels("linf"),
                sampler=samplers.fixed(members),
                optimizer=steepest("linf", 0.1 * RADIUS),
                epsilon=RADIUS,
                num_steps=steps,
            ).z
            at = BUDGETS.index(budget)
            np.testing.assert_allclose(images[b, at], found, atol=1e-6)
            margins = jax.vmap(lambda v, z=found: objectives.margin(shared.classifier.apply(v, z), label))(members)
            np.testing.assert_allclose(goal[b, at], -margins.mean(axis=0), atol=1e-4)


def test_copies_are_one_member(world):
    """k copies of one member walk as it does: at equal steps, and at equal gradients as far as k times fewer steps."""
    _, guides = world
    copies = jax.tree.map(lambda leaf: jnp.repeat(leaf[:1], 4, axis=0), guides.attackers)
    same = guides._replace(attackers=copies)
    one = climbed(world, Rung("members", 1, 0.0), guides=same)[0]
    for size in SIZES[1:]:
        many = climbed(world, Rung("members", size, 0.0), guides=same)[0]
        np.testing.assert_allclose(many[0, 1], one[0, 1], atol=1e-6)
    np.testing.assert_allclose(climbed(world, Rung("random", 4, 0.0), guides=same)[0][0, 1], one[0, 1], atol=1e-6)


@pytest.mark.slow
def test_noise_of_radius_0_is_none(world):
    one = climbed(world, Rung("members", 2, 0.0))[0]
    none = climbed(world, Rung("members_ball", 2, 0.0))[0]
    np.testing.assert_array_equal(one, none)
    ball = climbed(world, Rung("ball", 1, 0.0))[0]
    np.testing.assert_array_equal(ball, climbed(world, Rung("frozen", 1, 0.0))[0])


def test_a_frozen_draw_is_one_other_classifier(world):
    """The search against that draw; the noise that is redrawn goes elsewhere."""
    shared, guides = world
    rung = Rung("frozen", 1, 0.3)
    images = climbed(world, rung)[0]
    apply, label = shared.classifier.apply, jnp.asarray(shared.test.label)
    own = ensembles.take(shared.attackers, 2)
    ball = samplers.frozen(samplers.ball(own, 0.3, kind="layer_relative"), guides.frozen[2])
    other = samplers.drawn_at(ball, jax.random.key(9), jnp.int32(5))
    found = search(
        jax.random.key(0),
        jnp.asarray(shared.test.x),
        label,
        objective=objectives.descend(apply, objectives.gap),
        space=spaces.pixels("linf"),
        sampler=samplers.fixed(other),
        optimizer=steepest("linf", 0.1 * RADIUS),
        epsilon=RADIUS,
        num_steps=T,
    ).z
    np.testing.assert_allclose(images[2, 1], found, atol=1e-6)
    assert np.abs(images - climbed(world, Rung("ball", 1, 0.3))[0]).max() > 1e-3


@pytest.mark.parametrize(("name", "size"), [("trajectory", 1), ("swag", 1), ("random", 4)])
def test_one_classifier_a_step_is_drawn_from_where_it_says(world, name, size):
    shared, guides = world
    images = climbed(world, Rung(name, size, 0.0))[0]
    apply, label = shared.classifier.apply, jnp.asarray(shared.test.label)
    walked = ensembles.take(guides.trajectory, 0)
    sampler = {
        "trajectory": lambda: samplers.member(walked),
        "swag": lambda: samplers.swag(samplers.fit_swag(walked)),
        "random": lambda: samplers.member(guides.attackers),
    }[name]()
    found = search(
        jax.random.fold_in(stage_key(3, "ladder.pixels"), 0),
        jnp.asarray(shared.test.x),
        label,
        objective=objectives.descend(apply, objectives.gap),
        space=spaces.pixels("linf"),
        sampler=sampler,
        optimizer=steepest("linf", 0.1 * RADIUS),
        epsilon=RADIUS,
        num_steps=T,
    ).z
    np.testing.assert_allclose(images[0, 1], found, atol=1e-6)
    np.testing.assert_array_equal(images[0, 0], images[0, 1])  # one gradient a step: both budgets are one


# ---- statistics ----


def planted(curve, ball, images=200, judges=6, seed=0):
    """Arrays of a ladder (1, 2, 4, ball) with held-out success `curve` and `ball`, from common luck."""
    rng = np.random.default_rng(seed)
    luck = rng.random((judges, images))
    shares = [*curve, ball]
    wrong = np.stack([luck < s for s in shares]).astype(np.float32)[None, :, None].repeat(2, axis=2)
    label = np.zeros(images, int)
    role = np.array(["attacker"] * 4 + ["held_out"] * judges, "<U12")
    block = np.full((1, len(shares), 2, 4, wrong.shape[-1]), np.nan)
    block[:, :, :, :2] = wrong.mean(axis=3)[:, :, :, None]
    block[..., 0, :] += 0.1
    start = np.zeros((1, judges, wrong.shape[-1]), bool)
    start[..., :3] = True  # of every judge
    tuning = np.zeros((1, len(shares), 3, 2))
    tuning[:, :, 1] = 1.0
    return {
        "ladder_wrong": (("search", "rung", "budget", "judge", "ladder_example"), wrong),
        "ladder_tuning": (("search", "rung", "step_size", "budget"), tuning),
        "ladder_block": (("search", "rung", "budget", "block", "ladder_example"), block),
        "ladder_start": (("search", "judge", "ladder_example"), start),
        "clean_prediction": (("target", "example"), np.tile(label, (4 + judges, 1))),
        "label": (("example",), label),
        "role": (("target",), role),
    }


def told(arrays, rungs=("ball",)):
    config = config_of(rungs=rungs)
    return shared_ladder_estimates.estimates(config, arrays, members_of(arrays["role"][1]))


def find(found, name, **about):
    (one,) = [e for e in found.estimates if e["name"] == name and all(e.get(k) == v for k, v in about.items())]
    return one


def test_what_noise_is_worth():
    found = told(planted((0.2, 0.4, 0.6), 0.4))
    worth = find(found, "shared.effective_members", rung="ball", budget="steps")
    assert worth["value"] == pytest.approx(2.0) and worth["low"] == pytest.approx(2.0)
    assert worth["told"] == "2.0 [2.0, 2.0]" and worth["unit"] == "members"
    np.testing.assert_allclose(found.curves["effective"][1][0, 3, 1], 2.0)
    assert np.isnan(found.curves["effective"][1][0, :3]).all()
    assert all(check["passed"] for check in found.checks)


def test_blocks_and_starts_are_told_of_the_images_that_all_know():
    """As the points beside them are: the first image, which one member errs on, does not count."""
    arrays = planted((0.2, 0.4, 0.6), 0.4)
    arrays["clean_prediction"][1][5, 0] += 1
    arrays["ladder_wrong"][1][..., 0] = 1.0
    arrays["ladder_block"][1][..., 0] = 1.0
    found = told(arrays)
    block, points = (found.curves[name][1] for name in ("ladder_block_told", "ladder_told"))
    np.testing.assert_allclose(block[..., 1], points)
    np.testing.assert_allclose(block[..., 0], points + 0.1)
    assert np.isnan(block[..., 2:]).all()
    count = arrays["ladder_start"][1].shape[-1]
    before = find(found, "shared.held_out_success", population="start")
    assert before["value"] == pytest.approx(2 / (count - 1)) == found.curves["ladder_before"][1][0]


def test_what_is_worth_less_than_one_says_so():
    found = told(planted((0.2, 0.4, 0.6), 0.05))
    worth = find(found, "shared.effective_members", rung="ball", budget="steps")
    assert worth["value"] is None and worth["told"] == "<1 [<1, <1]"
    assert worth_text((np.inf, 3.0, np.inf), np.array(SIZES)) == ">4 [3.0, >4]"


def test_copies_are_worth_one_and_flagged():
    found = told(planted((0.4, 0.4, 0.4), 0.4))
    worth = find(found, "shared.effective_members", rung="ball", budget="steps")
    assert worth["told"] == "1.0 [1.0, 1.0]"
    (rises,) = [c for c in found.checks if c["name"] == "ladder.pixels.rises"]
    assert not rises["passed"]


def test_gains_are_paired_by_judge():
    found = told(planted((0.2, 0.4, 0.6), 0.1))
    gain = find(found, "shared.held_out_gain", rung="members", size=4, budget="steps")
    assert gain["value"] == pytest.approx(0.4, abs=0.05) and gain["low"] > 0.3
    assert (gain["judges_gaining"], gain["judges"]) == (6, 6)
    assert gain["wilcoxon_p"] == pytest.approx(2 / 2**6)
    assert gain["reference"] == "one member"
    loss = find(found, "shared.held_out_gain", rung="ball", budget="steps")
    assert loss["high"] < 0 and loss["judges_gaining"] == 0
    assert not [
        e for e in found.estimates if e["name"] == "shared.held_out_gain" and e["size"] == 1 and e["rung"] == "members"
    ]
    config = config_of(rungs=("ball",))
    arrays = planted((0.2, 0.4, 0.6), 0.1)
    by_claim = shared_ladder_estimates.gain(config, arrays, members_of(arrays["role"][1]), 4, "steps")
    assert by_claim.value == pytest.approx(gain["value"])


def test_noisy_members_are_set_beside_as_many():
    arrays = planted((0.2, 0.4, 0.6), 0.5)
    wrong = arrays["ladder_wrong"][1]
    arrays["ladder_wrong"] = (arrays["ladder_wrong"][0], np.concatenate([wrong, wrong[:, 2:3]], axis=1))
    tuning = arrays["ladder_tuning"][1]
    arrays["ladder_tuning"] = (arrays["ladder_tuning"][0], np.concatenate([tuning, tuning[:, :1]], axis=1))
    found = told(arrays, rungs=("members_ball",))
    two = find(found, "shared.held_out_gain", rung="members_ball", size=2, budget="steps")
    assert two["reference"] == "2 members" and two["value"] == pytest.approx(0.1, abs=0.04)
    four = find(found, "shared.held_out_gain", rung="members_ball", size=4, budget="steps")
    assert four["value"] == 0 and four["wilcoxon_p"] is None


def test_images_that_a_member_gets_wrong_are_left_out():
    arrays = planted((0.2, 0.4, 0.6), 0.4)
    arrays["clean_prediction"][1][7, :150] = 1
    found = find(told(arrays), "shared.held_out_success", rung="ball", budget="steps")
    assert found["examples"] == 50


def test_a_held_out_member_that_has_not_learned_judges_nothing():
    arrays = planted((0.2, 0.4, 0.6), 0.4)
    arrays["ladder_wrong"][1][..., 2, :] = 1.0
    arrays["role"][1][4 + 2] = "unlearned"
    arrays["clean_prediction"][1][4 + 2] = 1
    found = find(told(arrays), "shared.held_out_success", rung="members", size=1, budget="steps")
    assert found["members"] == 5 and found["value"] == pytest.approx(0.2, abs=0.06)


def test_a_grid_that_ends_too_soon_is_flagged():
    arrays = planted((0.2, 0.4, 0.6), 0.4)
    arrays["ladder_tuning"][1][0, 2, 2, 1] = 3.0
    (check,) = [c for c in told(arrays).checks if c["name"] == "ladder.tuned"]
    assert not check["passed"] and check["detail"].startswith("1 of 8")
