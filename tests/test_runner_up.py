"""Moves toward the runner-up class: closed forms on a linear head, gates by counting, mixing."""

from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from landscape import populations
from landscape.experiments import inputs, setting
from landscape.training import runner_up as moves
from landscape.training import step
from landscape.training.runner_up import CODED, KINDS, Augmentation, moved, runner_up

W = jax.random.normal(jax.random.key(0), (6, 4))
H = jax.random.normal(jax.random.key(1), (50, 6))
LABEL = jax.random.randint(jax.random.key(2), (50,), 0, 4)
KEY = jax.random.key(3)


def linear(h):
    return h @ W


def how(kind="runner_up", **numbers):
    return Augmentation(kind=KINDS.index(kind), **{"probability": 1.0, "epsilon": 0.3} | numbers)


def test_the_move_is_the_closed_form_on_a_linear_head():
    second = np.argsort(np.asarray(linear(H)), axis=1)[:, -2]
    np.testing.assert_array_equal(runner_up(linear(H)), second)
    columns = np.asarray(W).T[second]
    unit = columns / np.linalg.norm(columns, axis=1, keepdims=True)
    expected = H + 0.3 * np.linalg.norm(H, axis=1, keepdims=True) * unit
    np.testing.assert_allclose(moved(KEY, linear, H, LABEL, how()), expected, rtol=1e-5, atol=1e-6)
    images = jnp.clip(H[:, None, :, None], 0, 1)
    at = lambda w, x: linear(x[:, 0, :, 0])  # noqa: E731
    ends = np.asarray(moves.all_moved(partial(at, ()), images, 0.3)[0])
    assert ends.min() < 0 and ends.max() > 1
    np.testing.assert_array_equal(populations.augmented((), images, 0.3, apply=at), ends.clip(0, 1))
    every, classes = moves.all_moved(linear, H, 0.3)
    np.testing.assert_allclose(every, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(classes, second)


def test_augmented_inputs_take_the_place_of_test_images():
    """Moved by the first classifier that is trained; the others are not asked."""
    images = np.asarray(jnp.clip(H[:, None, :, None], 0, 1))
    classifier = SimpleNamespace(apply=lambda w, x: x[:, 0, :, 0] @ w)
    prepared = setting.Setting(None, classifier, jnp.stack([-W, W, W + 1]), [], np.arange(3) > 0, None)
    test = setting.Examples(images, np.asarray(LABEL), np.arange(50))
    config = ConfigDict({"population": "augmented", "augmented": {"epsilon": 0.3}})
    found = inputs.of_population(config, prepared, test)
    expected = populations.augmented(W, jnp.asarray(images), 0.3, apply=classifier.apply)
    np.testing.assert_allclose(found.x, expected, atol=1e-6)
    config.population = "genuine"
    assert inputs.of_population(config, prepared, test) is test


def test_batch_sum_is_the_gradient_of_the_logits_of_all_runner_ups():
    """As `logits[:, runner_up(logits)].sum()` has it."""
    chosen = runner_up(linear(H))
    gradient = jax.grad(lambda h: linear(h)[:, chosen].sum())(H)
    unit = np.asarray(gradient) / np.linalg.norm(gradient, axis=1, keepdims=True)
    expected = H + 0.3 * np.linalg.norm(H, axis=1, keepdims=True) * unit
    np.testing.assert_allclose(moved(KEY, linear, H, LABEL, how("batch_sum")), expected, rtol=1e-5, atol=1e-6)
    cosine, length, own = moves.batch_sum_beside_own(linear, H)
    columns = np.asarray(W).T[np.asarray(chosen)]
    np.testing.assert_allclose(own, np.linalg.norm(columns, axis=1), rtol=1e-5)
    np.testing.assert_allclose(length, np.linalg.norm(columns.sum(axis=0)) * np.ones(50), rtol=1e-5)
    expected = columns @ columns.sum(axis=0) / (np.asarray(own) * np.asarray(length))
    np.testing.assert_allclose(cosine, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["runner_up", "random"])
def test_the_step_has_the_length_asked_for_in_every_direction(kind):
    delta = moved(KEY, linear, H, LABEL, how(kind)) - H
    np.testing.assert_allclose(np.linalg.norm(delta, axis=1), 0.3 * np.linalg.norm(H, axis=1), rtol=1e-5)


def test_a_move_depends_on_its_example_alone_but_for_batch_sum():
    """The other examples are exchanged for ones with other runner-ups."""
    others, same = H.at[1:].set(-H[1:]), {}
    for kind in ("runner_up", "random", "batch_sum"):
        first, second = (moved(KEY, linear, batch, LABEL, how(kind))[0] for batch in (H, others))
        same[kind] = bool(jnp.array_equal(first, second))
    assert same == {"runner_up": True, "random": True, "batch_sum": False}


def changed(*args, **more):
    """Which examples are moved, and that those are moved in every entry."""
    rows = np.asarray(moved(*args, **more) != args[2])
    np.testing.assert_array_equal(rows.any(axis=1), rows.all(axis=1))
    return rows.any(axis=1)


def test_the_gate_and_the_probability_by_counting():
    right = np.asarray(jnp.argmax(linear(H), axis=-1) == LABEL)
    assert 0 < right.sum() < 50
    np.testing.assert_array_equal(changed(KEY, linear, H, LABEL, how(correct=1)), right)
    np.testing.assert_array_equal(changed(KEY, linear, H, LABEL, how(probability=0.5)), np.arange(50) < 25)
    both = changed(KEY, linear, H, LABEL, how(probability=0.5, correct=1))
    np.testing.assert_array_equal(both, right & (np.arange(50) < 25))
    keys = jax.random.split(KEY, 1000)
    some = jax.jit(jax.vmap(lambda key: moved(key, linear, H[:9], LABEL[:9], how(probability=0.25)) != H[:9]))(keys)
    counts = np.asarray(some).any(axis=2).sum(axis=1)
    assert set(counts.tolist()) == {2, 3} and abs(counts.mean() - 9 * 0.25) < 4 * np.sqrt(0.1875 / 1000)


def test_every_example_is_drawn_as_often_as_the_probability_says():
    """The first of a batch, which training shows in random order."""
    plan = step.Plan(num_epochs=1, batch_size=8, num_examples=32)
    orders = jax.jit(jax.vmap(lambda epoch: step.order(KEY, epoch, plan)))(jnp.arange(2000))
    drawn = np.asarray(orders).reshape(2000, 4, 8)[:, :, :2].reshape(2000, 8)  # p = 1/4
    share = np.bincount(drawn.ravel(), minlength=32) / 2000
    assert np.abs(share - 0.25).max() < 4 * np.sqrt(0.25 * 0.75 / 2000)


def test_directions_are_of_those_drawn_alone_without_gradients_of_weights():
    """The same moves in less room; a pass forward and one back to h of half of the batch, counted in operations."""
    less = moved(KEY, linear, H, LABEL, how(probability=0.4), room=0.5)
    np.testing.assert_allclose(less, moved(KEY, linear, H, LABEL, how(probability=0.4)), rtol=1e-6)
    first, second = jnp.ones((64, 128)), jnp.ones((128, 4))

    def moving(weights, h):
        def at(h):
            return jnp.tanh(h @ weights[0]) @ weights[1]

        return jnp.sum(moved(KEY, at, h, LABEL[:32], how(probability=0.5), room=0.5))

    compiled = jax.jit(moving).lower((first, second), jnp.ones((32, 64))).compile()
    products = 2 * 16 * (first.size + second.size)  # of one pass of 16 examples
    assert 2 * products <= compiled.cost_analysis()["flops"] < 2.3 * products


def test_members_of_one_room_are_those_of_like_probabilities():
    assert [moves.room_of(how(probability=p)) for p in (0.1, 0.3, 0.5, 0.6, 1.0)] == [0.125, 0.5, 0.5, 1.0, 1.0]
    assert moves.room_of(how("mixup", probability=0.0, alpha=1.0)) == 0.5


def test_no_gradient_flows_through_the_direction_or_the_length():
    weight = jnp.arange(6.0)[None]
    gradient = jax.grad(lambda h: jnp.sum(weight * moved(KEY, linear, h, LABEL, how())))(H)
    np.testing.assert_allclose(gradient, jnp.broadcast_to(weight, H.shape), atol=1e-6)


A = jax.random.normal(jax.random.key(7), (6, 3))
CODER = (lambda h: h @ A, lambda z: z @ A.T)  # a linear autoencoder


@pytest.mark.parametrize("coded", CODED[1:])
def test_a_move_through_an_autoencoder_is_the_closed_form(coded):
    numbers = how(coded=CODED.index(coded))
    z = np.asarray(H @ A)
    gradient = np.asarray(W).T[np.asarray(runner_up(linear(H)))] @ np.asarray(A)
    unit = gradient / np.linalg.norm(gradient, axis=1, keepdims=True)
    ends = (z + 0.3 * np.linalg.norm(z, axis=1, keepdims=True) * unit) @ np.asarray(A).T
    expected = ends if coded == "replace" else H + ends - z @ np.asarray(A).T
    np.testing.assert_allclose(moved(KEY, linear, H, LABEL, numbers, CODER), expected, rtol=2e-5, atol=2e-5)
    nothing = moved(KEY, linear, H, LABEL, numbers._replace(epsilon=0.0), CODER)
    still = H if coded == "residual" else z @ np.asarray(A).T
    np.testing.assert_allclose(nothing, still, atol=1e-5)


def test_without_a_gradient_nothing_moves():
    flat = moved(KEY, lambda h: jnp.zeros((h.shape[0], 4)) + 0 * h[:, :1], H, LABEL, how())
    np.testing.assert_array_equal(flat, H)
    np.testing.assert_array_equal(moves.all_moved(lambda h: 0 * h[:, :4], H, 0.3)[0], H)


def test_mixing_pairs_every_example_once_with_one_share():
    partner, share = jax.vmap(lambda key: moves.mixing(key, 50, 2.0))(jax.random.split(KEY, 2000))
    np.testing.assert_array_equal(np.sort(partner[0]), np.arange(50))
    assert abs(share.mean() - 0.5) < 0.02 and abs(share.var() - 0.05) < 0.005  # of Beta(2, 2)


def test_what_acts():
    acting = [how(), how(epsilon=0.0, coded=CODED.index("replace")), how("mixup", probability=0.0, alpha=1.0)]
    idle = [Augmentation(), how(epsilon=0.0), how(probability=0.0), how("mixup"), how(epsilon=0.0, coded=1)]
    assert [*map(moves.acts, acting), *map(moves.acts, idle)] == [True] * 3 + [False] * 5
