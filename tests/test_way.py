"""The way of an attack on a classifier whose log-odds are known: where it flips, and equal confidence on both sides."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from landscape import objectives
from landscape.attacks.way import at, first_reaching, points

SHAPE = (2, 2, 1)
W = jnp.array([2.0, -1.0, 0.5, 1.5])
BALL = {"norm": "linf", "epsilon": 0.3, "step_size": 0.04, "num_steps": 12}
POSITIONS, LEVELS = (-1.0, -0.5, 0.0, 0.5, 1.0), (0.2, 0.6, 5.0)


def logistic(w, x):
    """Two classes: log-odds w . (x - 1/2) of class 0."""
    gaps = (x.reshape(x.shape[0], -1) - 0.5) @ w
    return jnp.stack([gaps, jnp.zeros_like(gaps)], axis=1)


def test_points_between_frames_and_the_first_that_reaches_a_level():
    frames = jnp.arange(5.0)[:, None, None, None, None] ** 2 * jnp.ones((1, 3, 1, 1, 1))
    value = lambda z: z[:, 0, 0, 0]  # noqa: E731
    np.testing.assert_allclose(value(at(frames, jnp.array([0.0, 1.5, 4.0]))), [0, 2.5, 16])
    values = jnp.stack([value(frame) for frame in frames]).at[1, 2].set(-jnp.inf)
    step, reached = first_reaching(value, frames, values, jnp.array([0.0, 17.0, 1.0]))
    assert reached.tolist() == [True, False, True]
    np.testing.assert_allclose(step, [0, 4, 1], atol=2e-3)  # a masked frame does not count; its step may be entered
    step, _ = first_reaching(value, frames, values, jnp.array([2.5, 2.5, 9.0]))
    np.testing.assert_allclose(step[::2], [1.5, 3], atol=2e-3)


def test_where_it_flips_and_where_both_sides_are_equally_sure():
    x = 0.5 + 0.4 * jax.random.uniform(jax.random.key(0), (40, *SHAPE), minval=-0.5)
    label = jnp.zeros(40, jnp.int32)
    run = functools.partial(points, apply=logistic, positions=POSITIONS, log_odds=LEVELS, **BALL)
    found = jax.jit(run)(W, x, label)
    gap = lambda z: np.asarray(jax.vmap(jax.vmap(lambda x: logistic(W, x)[:, 0]))(z))  # noqa: E731
    clean, lowest = (
        gap(x[None, None])[0, 0],
        gap(jnp.clip(x - 0.3 * jnp.sign(W).reshape(1, *SHAPE), 0, 1)[None, None])[0, 0],
    )
    valid = np.asarray(found["along_valid"])
    np.testing.assert_array_equal(valid, (clean > 0) & (lowest <= 0))
    assert 5 < valid.sum() < 35
    along = gap(found["along"])
    np.testing.assert_allclose(along[0, 0], clean, atol=1e-6)  # both ways begin at the image,
    np.testing.assert_allclose(along[1, 0], clean, atol=1e-6)
    assert np.all(along[0, 2, valid] <= 1e-6) and np.all(along[0, 2, valid] > -0.01)  # flip,
    np.testing.assert_allclose(along[0, 4], lowest, atol=1e-5)  # and end at the corner of the ball
    assert np.all(np.diff(along[0][:, valid], axis=0) < 1e-6) and np.all(np.diff(along[1], axis=0) > -1e-6)
    moved = np.abs(np.asarray(found["along"] - x[None, None])).max(axis=(3, 4, 5))
    np.testing.assert_allclose(moved[0, :3, valid], moved[1, :3, valid], atol=1e-5)  # after as many steps
    assert moved.max() < 0.3 + 1e-6

    reached = np.asarray(found["across_valid"])
    assert reached.sum(axis=1).tolist()[2] == 0 and 0 < reached[1].sum() < reached[0].sum() <= valid.sum()
    for level, there, own in zip(LEVELS[:2], reached, np.moveaxis(gap(found["across"]), 0, 1), strict=False):
        np.testing.assert_allclose(own[0, there], level, atol=2e-3)
        np.testing.assert_allclose(own[1, there], -level, atol=2e-3)
        z = found["across"][:, :, there][:, LEVELS.index(level)]
        losses = [objectives.loss(logistic(W, z[i]), jnp.full(there.sum(), i)) for i in range(2)]
        np.testing.assert_allclose(losses[0], losses[1], atol=2e-3)
    # Whoever is less sure than the level finds it on the boosted way: farther from the corner than the image.
    unsure = reached[1] & (clean < LEVELS[1])
    assert unsure.any()
