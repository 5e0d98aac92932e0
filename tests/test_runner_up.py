"""Moves toward the runner-up class: closed forms on a linear head, gates by counting, mixing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape.training import runner_up as moves
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


def test_batch_sum_is_the_gradient_of_the_logits_of_all_runner_ups():
    """As `logits[:, runner_up(logits)].sum()` has it."""
    chosen = runner_up(linear(H))
    gradient = jax.grad(lambda h: linear(h)[:, chosen].sum())(H)
    unit = np.asarray(gradient) / np.linalg.norm(gradient, axis=1, keepdims=True)
    expected = H + 0.3 * np.linalg.norm(H, axis=1, keepdims=True) * unit
    np.testing.assert_allclose(moved(KEY, linear, H, LABEL, how("batch_sum")), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["runner_up", "random"])
def test_the_step_has_the_length_asked_for_in_every_direction(kind):
    step = moved(KEY, linear, H, LABEL, how(kind)) - H
    np.testing.assert_allclose(np.linalg.norm(step, axis=1), 0.3 * np.linalg.norm(H, axis=1), rtol=1e-5)


def test_a_move_depends_on_its_example_alone_but_for_batch_sum():
    """The other examples are exchanged for ones with other runner-ups."""
    others, same = H.at[1:].set(-H[1:]), {}
    for kind in ("runner_up", "random", "batch_sum"):
        first, second = (moved(KEY, linear, batch, LABEL, how(kind))[0] for batch in (H, others))
        same[kind] = bool(jnp.array_equal(first, second))
    assert same == {"runner_up": True, "random": True, "batch_sum": False}


def test_the_gate_and_the_probability_by_counting():
    right = np.asarray(jnp.argmax(linear(H), axis=-1) == LABEL)
    assert 0 < right.sum() < 50
    gated = np.asarray(moved(KEY, linear, H, LABEL, how(correct=1)) != H).any(axis=1)
    np.testing.assert_array_equal(gated, right)
    many = jnp.tile(H, (80, 1))
    for probability in (0.25, 0.8):
        changed = np.asarray(moved(KEY, linear, many, jnp.tile(LABEL, 80), how(probability=probability)) != many)
        assert abs(changed.any(axis=1).mean() - probability) < 4 * np.sqrt(probability * (1 - probability) / 4000)
        np.testing.assert_array_equal(changed.any(axis=1), changed.all(axis=1))


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


def test_mixing_pairs_every_example_once_with_one_share():
    out, partner, share = jax.vmap(lambda key: moves.mixed(key, H, 2.0))(jax.random.split(KEY, 2000))
    np.testing.assert_array_equal(np.sort(partner[0]), np.arange(50))
    np.testing.assert_allclose(out[0], share[0] * H + (1 - share[0]) * H[partner[0]], rtol=1e-5, atol=1e-6)
    assert abs(share.mean() - 0.5) < 0.02 and abs(share.var() - 0.05) < 0.005  # of Beta(2, 2)


def test_what_acts():
    acting = [how(), how(epsilon=0.0, coded=CODED.index("replace")), how("mixup", probability=0.0, alpha=1.0)]
    idle = [Augmentation(), how(epsilon=0.0), how(probability=0.0), how("mixup"), how(epsilon=0.0, coded=1)]
    assert [*map(moves.acts, acting), *map(moves.acts, idle)] == [True] * 3 + [False] * 5
