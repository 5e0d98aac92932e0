"""The one search on linear classifiers, where its end is known, and the contract every space keeps."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from landscape import ensembles, objectives, samplers, spaces
from landscape.attacks import rules
from landscape.samplers import fixed
from landscape.search import normalized_steps, search, steepest, unit

SHAPE = (4, 3, 2)  # H, W, C


def linear(variables, x):
    return x.reshape(x.shape[0], -1) @ variables["w"] + variables["b"][None, :]


def make(num_examples=5, low=0.0, high=1.0, seed=0):
    key_w, key_b, key_x = jax.random.split(jax.random.key(seed), 3)
    variables = {"w": jax.random.normal(key_w, (24, 2)), "b": jax.random.normal(key_b, (2,))}
    x = jax.random.uniform(key_x, (num_examples, *SHAPE), minval=low, maxval=high)
    return variables, x, jnp.arange(num_examples) % 2


@partial(jax.jit, static_argnames=("norm", "num_steps", "optimizer", "frames", "block_pixels"))
def compiled(variables, x, label, *, norm, step_size, optimizer, block_pixels, **options):
    """Once for all values. block_pixels: what `ensembles` reads while it is traced."""
    return search(
        jax.random.key(0),
        x,
        label,
        objective=objectives.descend(linear, objectives.log_odds),
        space=spaces.pixels(norm),
        sampler=fixed(variables),
        optimizer=steepest(norm, step_size) if optimizer is None else optimizer,
        **options,
    )


def run(variables, x, label, *, norm="linf", epsilon=0.1, num_steps=20, step_size=0.05, optimizer=None, **kwargs):
    options = {"norm": norm, "epsilon": epsilon, "num_steps": num_steps, "step_size": step_size, "optimizer": optimizer}
    return compiled(variables, x, label, block_pixels=ensembles.BLOCK_PIXELS, **options, **kwargs)


def direction(variables, label):
    """Gradient of the label's logit minus the other's, [N, H, W, C]."""
    own = variables["w"][:, label] - variables["w"][:, 1 - label]
    return np.asarray(own.T.reshape(-1, *SHAPE))


def test_linf_search_ends_in_the_corner():
    variables, x, label = make()
    found = run(variables, x, label).z
    np.testing.assert_allclose(found, np.clip(x - 0.1 * np.sign(direction(variables, label)), 0, 1), atol=1e-6)


def test_an_example_that_has_stopped_stays_though_its_value_falls_again():
    """Of a classifier that changes along the search: only its first draw reaches the value."""
    _, x, label = make()
    kinder = samplers.Sampler(lambda key, source: source, 0, at=lambda step, source: jnp.where(step == 0, 1.0, 0.0))
    found = search(
        jax.random.key(0),
        x,
        label,
        objective=lambda value, z, label: value + 1e-3 * z.sum((1, 2, 3)),
        space=spaces.pixels("linf"),
        sampler=kinder,
        optimizer=steepest("linf", 0.01),
        epsilon=0.1,
        num_steps=5,
        stop_value=0.5,
    )
    np.testing.assert_array_equal(found.z, x)


@pytest.mark.parametrize("scale", [1.0, 1e-26, 0.0])
def test_the_unit_of_a_tiny_gradient_has_length_one(scale):
    """The squares of 1e-26 vanish in float32."""
    gradient = scale * jax.random.normal(jax.random.key(0), (3, *SHAPE))
    expected = np.full(3, float(scale > 0))
    np.testing.assert_allclose(spaces.l2_norm(unit(gradient, "l2")), expected, rtol=1e-6)


def test_l2_search_ends_on_the_sphere_along_the_gradient():
    variables, x, label = make(low=0.4, high=0.6)
    d = direction(variables, label)
    expected = x - 0.2 * d / np.sqrt((d**2).sum((1, 2, 3), keepdims=True))
    np.testing.assert_allclose(run(variables, x, label, norm="l2", epsilon=0.2).z, expected, atol=1e-6)


@pytest.mark.parametrize("norm", spaces.NORMS)
@settings(max_examples=25, deadline=None)
@given(epsilon=st.floats(0, 2), reach=st.floats(0, 3), seed=st.integers(0, 99))
def test_projection_is_feasible_and_idempotent(norm, epsilon, reach, seed):
    space = spaces.pixels(norm)
    key_x, key_z = jax.random.split(jax.random.key(seed))
    origin = jax.random.uniform(key_x, (3, *SHAPE))
    z = origin + reach * jax.random.normal(key_z, origin.shape)
    once = space.project(z, origin, epsilon)
    size = {"linf": spaces.linf_norm, "l2": spaces.l2_norm}[norm]
    assert float(size(once - origin).max()) <= epsilon + 2e-6  # rounding of origin + delta, then of the norm's sum
    assert 0 <= float(once.min()) and float(once.max()) <= 1
    np.testing.assert_allclose(space.project(once, origin, epsilon), once, atol=2e-7)


def test_values_are_those_before_each_step():
    variables, x, label = make(low=0.4, high=0.6)
    found = run(variables, x, label, num_steps=2, step_size=0.05)
    d = direction(variables, label)
    gap = np.asarray(objectives.log_odds(linear(variables, x), label))
    np.testing.assert_allclose(found.value[0], -gap, atol=1e-5)
    np.testing.assert_allclose(found.value[1], -gap + 0.05 * np.abs(d).sum((1, 2, 3)), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.grad_norm[0], np.sqrt((d**2).sum((1, 2, 3))), rtol=1e-5)


def test_an_example_stops_at_its_value():
    variables, x, label = make(low=0.4, high=0.6)
    free = run(variables, x, label, num_steps=20, step_size=0.01, epsilon=0.2)
    wanted = free.value[7] - 1e-4  # reached at step 7 and not before, since a linear objective rises evenly
    stopped = run(variables, x, label, num_steps=20, step_size=0.01, epsilon=0.2, stop_value=wanted)
    np.testing.assert_array_equal(stopped.z, run(variables, x, label, num_steps=7, step_size=0.01, epsilon=0.2).z)
    np.testing.assert_array_equal(stopped.value[7:], jnp.broadcast_to(stopped.value[7][None], (13, 5)))


@pytest.mark.parametrize(("frames", "kept"), [(1, (6,)), (3, (2, 4, 6)), ((1, 3, 6), (1, 3, 6))])
def test_frames_are_iterates(frames, kept):
    variables, x, label = make()
    found = run(variables, x, label, num_steps=6, frames=frames, step_size=0.01)
    assert found.value.shape == (6, 5)
    for frame, steps in zip(found.frames, kept, strict=True):
        np.testing.assert_array_equal(frame, run(variables, x, label, num_steps=steps, step_size=0.01).z)


@pytest.mark.parametrize("frames", [4, (), (1, 3), (3, 3, 6), (0, 6)])
def test_wrong_frames_are_refused(frames):
    with pytest.raises(ValueError, match=r"multiple of frames|rise up to num_steps=6"):
        run(*make(), num_steps=6, frames=frames)


@pytest.mark.parametrize("norm", spaces.NORMS)
def test_a_flat_objective_moves_nothing(norm):
    variables, x, label = make()
    flat = jax.tree.map(jnp.zeros_like, variables)
    np.testing.assert_allclose(run(flat, x, label, norm=norm).z, x, atol=1e-7)


@pytest.mark.parametrize("norm", spaces.NORMS)
def test_random_starts_fill_the_ball(norm):
    keys = jax.random.split(jax.random.key(0), 400)
    origin = jnp.full((400, *SHAPE), 0.5)
    delta = spaces.random_start(keys, origin, 0.1, norm=norm) - origin
    size = {"linf": spaces.linf_norm, "l2": spaces.l2_norm}[norm](delta)
    # Share of a uniform ball of dimension D within (1/2)^(1/D) of the radius: one half, +- 4 standard errors.
    inner = float((size < 0.1 * 0.5 ** (1 / 24)).mean())
    assert float(size.max()) <= 0.1 + 1e-6 and abs(inner - 0.5) < 4 * 0.025


def test_unknown_norm_is_named():
    with pytest.raises(ValueError, match=r"norm='l1': expected one of linf, l2"):
        spaces.pixels("l1")


@pytest.mark.parametrize("block", [2, 3, 4])
def test_blocks_of_examples_change_nothing(monkeypatch, block):
    """Five examples in uneven blocks, each with its own radius, target and end."""
    variables, x, label = make()
    options = {"epsilon": jnp.linspace(0.0, 0.2, 5), "stop_value": jnp.array([jnp.inf, 0.0, 0.5, jnp.inf, -1.0])}
    whole = run(variables, x, label, **options, frames=2)
    monkeypatch.setattr(ensembles, "BLOCK_PIXELS", block * 24)
    for one, other in zip(whole, run(variables, x, label, **options, frames=2), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)


def test_rows_do_not_see_those_of_their_block(monkeypatch):
    monkeypatch.setattr(ensembles, "BLOCK_PIXELS", 3 * 24)
    variables, x, label = make()
    others = run(variables, jnp.concatenate([x[:2], 1 - x[2:]]), label).z
    np.testing.assert_array_equal(run(variables, x, label).z[:2], others[:2])


def test_a_search_in_a_latent_stays_in_its_ball_and_moves_by_the_decoder():
    """decode(z) = z A: the L2 search of a linear objective w ends at z0 + epsilon A w / ||A w||."""
    rng = np.random.default_rng(0)
    a, w = jnp.asarray(rng.normal(size=(3, 4)), jnp.float32), jnp.asarray(rng.normal(size=4), jnp.float32)
    space = spaces.latent(lambda x: x[:, :3], lambda z: z @ a)
    z0 = jnp.asarray(rng.normal(size=(5, 3)), jnp.float32)
    epsilon = jnp.linspace(0.5, 2.0, 5)
    found = search(
        jax.random.key(0),
        z0,
        None,
        objective=lambda variables, x, target: x @ w,
        space=space,
        sampler=fixed(()),
        optimizer=normalized_steps(0.3),
        epsilon=epsilon,
        num_steps=20,
    ).z
    along = a @ w / jnp.linalg.norm(a @ w)
    np.testing.assert_allclose(found, z0 + epsilon[:, None] * along[None], atol=1e-5)
    inside = space.project(z0 + 0.1, z0, 1.0)
    np.testing.assert_array_equal(inside, z0 + 0.1)


# ---- noisy classifiers ----


def ridge_logits(w, x):
    """Two logits whose difference is -(w . x - 1)^2 / 2."""
    value = -0.5 * jnp.square(x.reshape(x.shape[0], -1) @ w - 1.0)
    return jnp.stack([value, jnp.zeros_like(value)], axis=1)


def ascend(sampler, *, num_steps=1500, averaged=False, key=0):
    objective = objectives.ascend(ridge_logits, objectives.margin)
    objective = objectives.averaged(objective) if averaged else objective
    everywhere = spaces.latent(lambda x: x, lambda z: z)
    return search(
        jax.random.key(key),
        jnp.zeros((1, 1, 3, 1)),
        jnp.zeros(1, jnp.int32),
        objective=objective,
        space=everywhere,
        sampler=sampler,
        optimizer=optax.sgd(lambda t: 0.3 / (1 + 0.02 * t)),
        epsilon=jnp.inf,
        num_steps=num_steps,
        frames=10,
    )


def test_a_noisy_search_raises_the_smoothed_objective():
    """The mean of -(w' . x - 1)^2 / 2 over w' = w + s e is highest at w / (||w||^2 + s^2), as ridge regression is."""
    w, sigma = jnp.array([1.0, -0.5, 0.25]), 0.6
    smoothed = np.asarray(w) / (float(w @ w) + sigma**2)
    sampler = samplers.several(samplers.ball(w, sigma, kind="additive"), 16)
    found = ascend(sampler, averaged=True).frames[-4:].mean(axis=0).ravel()
    np.testing.assert_allclose(found, smoothed, atol=0.04)
    plain = ascend(fixed(w)).z.ravel()
    np.testing.assert_allclose(plain, np.asarray(w) / float(w @ w), atol=1e-3)
    assert np.abs(plain - smoothed).max() > 0.15  # else the two could not be distinguished


def test_the_best_iterate_is_kept_where_a_rank_is_given():
    """Steps too long for the top of -|z - 0.5|: the iterates swing, the best of them is kept, ends included."""
    objective = lambda variables, z, target: -jnp.abs(z[:, 0, 0, 0] - 0.5)  # noqa: E731
    z0 = jnp.array([0.1, 0.45]).reshape(2, 1, 1, 1)
    options = {"objective": objective, "space": spaces.pixels("linf"), "sampler": fixed(()), "epsilon": 1.0}
    options |= {"optimizer": steepest("linf", 0.3), "num_steps": 7, "frames": 7}
    found = search(jax.random.key(0), z0, None, rank=objective, **options)
    every = jnp.concatenate([z0[None], found.frames])[..., 0, 0, 0]
    best = np.abs(every - 0.5).argmin(axis=0)
    np.testing.assert_array_equal(found.z.ravel(), every[best, np.arange(2)])
    assert not np.array_equal(found.z, search(jax.random.key(0), z0, None, **options).z)


@pytest.mark.slow
def test_the_mean_of_several_gradients_is_several_draws_at_once():
    """Steps along the mean gradient of M draws in a row do as M draws at once; M = 1 changes no bit."""
    w, sigma = jnp.array([1.0, -0.5, 0.25]), 0.6
    sampler = samplers.ball(w, sigma, kind="additive")
    rule = normalized_steps(0.05)
    options = {"space": spaces.latent(lambda x: x, lambda z: z), "epsilon": jnp.inf, "sampler": sampler}
    options |= {"objective": objectives.ascend(ridge_logits, objectives.margin)}
    start, label, key = jnp.zeros((2, 1, 3, 1)), jnp.zeros(2, jnp.int32), jax.random.key(3)
    plain = search(key, start, label, optimizer=rule, num_steps=6, **options)
    same = search(key, start, label, optimizer=rules.mean_of(rule, 1), num_steps=6, **options)
    np.testing.assert_array_equal(plain.z, same.z)
    found = search(key, start, label, optimizer=rules.mean_of(rule, 3), num_steps=6, frames=6, **options)
    z = start
    for step in (0, 3):  # by hand: three gradients at one point, then one step
        total = 0.0
        for t in range(step, step + 3):
            drawn = samplers.drawn_at(sampler, key, jnp.int32(t))
            total += jax.grad(lambda z, drawn=drawn: jnp.sum(ridge_logits(drawn, z)[:, 0]))(z)
        np.testing.assert_allclose(found.frames[step + 1], z, rtol=1e-6)
        z = z + 0.05 * total / jnp.linalg.norm(total.reshape(2, -1), axis=1)[:, None, None, None]
    np.testing.assert_allclose(found.z, z, rtol=1e-4)
