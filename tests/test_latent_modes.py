"""Chains on planted targets of two modes: groups that pass as converged know how much of the target each one holds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape.latent import chains, gibbs, targets
from landscape.stats.convergence import converged, diagnose, occupancy

GROUPS, CHAINS = 40, 8
REACH = 3.0  # spread of the prior, from which jumps are drawn (white units)
STEPS = {"num_steps": 1200, "frames": 100}
COUNT = GROUPS * CHAINS


def wells(low, high, share, width):
    """log density of two round Gaussians at `low` and `high` on the first axis, the second one with `share`."""

    def log_target(u):
        apart = jnp.stack([u[..., 0] - low, u[..., 0] - high])
        logs = -0.5 * (apart**2 + u[None, ..., 1] ** 2) / width**2
        return jax.nn.logsumexp(logs + jnp.log(jnp.array([1 - share, share]))[:, None], axis=0)

    return log_target


def moons(u):
    """Two crescents of a ring (Rezende & Mohamed 2015, arXiv:1505.05770, table 1, first energy)."""
    ring = -0.5 * ((jnp.linalg.norm(u, axis=-1) - 2) / 0.4) ** 2
    return ring + jnp.logaddexp(-0.5 * ((u[..., 0] - 2) / 0.6) ** 2, -0.5 * ((u[..., 0] + 2) / 0.6) ** 2)


PLANTED = {  # log density [C, 2] -> [C], its share of states whose first number is positive
    "equal": (wells(-4.0, 4.0, 0.5, 1.0), 0.5),
    "uneven": (wells(-4.0, 4.0, 0.75, 1.0), 0.75),
    "overlapping": (wells(-1.5, 1.5, 0.5, 0.6), 0.5),
    "moons": (moons, 0.5),
}


def groups_of(name, jumps):
    """(whether groups pass [G], their shares of positive first numbers [G]); chains start wider than the prior."""
    zero, reach = jnp.zeros((COUNT, 2)), jnp.full(COUNT, REACH)
    data = targets.Local(jnp.zeros(COUNT, int), zero, reach, jnp.ones(COUNT))
    prior = targets.Prior(lambda u, data: -0.5 * jnp.sum(jnp.square(u / REACH), axis=-1), targets.LOCAL.draw)
    keys = jax.random.split(jax.random.key(0), (2, COUNT))
    start = 1.5 * jax.vmap(prior.draw)(keys[0], zero, data)
    options = STEPS | {"kernel": "mala", "step_size": 0.5, "num_warmup": 200, "prior": prior if jumps else None}
    sampled = jax.jit(lambda keys, start: chains.sample(keys, lambda u, _: PLANTED[name][0](u), start, data, **options))
    positions = sampled(keys[1], start).positions
    return verdicts(positions, positions[..., 0] > 0)


def verdicts(positions, positive):
    """Of every group: whether it has converged, and the share of states that are positive."""
    positions = np.asarray(positions, np.float64).reshape(STEPS["frames"], GROUPS, CHAINS, -1)
    positive, passed = np.asarray(positive).reshape(positions.shape[:3]), []
    for g in range(GROUPS):
        series = np.concatenate([positions[:, g], occupancy(positive[:, g].astype(int))], axis=-1)
        passed.append(bool(converged(diagnose(series))))
    return np.asarray(passed), positive.mean(axis=(0, 2))


def few_are_wrong(passed, share, truth):
    assert np.sum(np.abs(share[passed] - truth) > 0.1) <= 0.05 * passed.sum()


SLOWLY = [pytest.param(name, marks=pytest.mark.slow) for name in ("equal", "uneven", "overlapping")]


@pytest.mark.parametrize("name", ["moons", *SLOWLY])
def test_most_groups_with_jumps_pass_and_few_of_these_err(name):
    passed, share = groups_of(name, jumps=True)
    assert passed.mean() > 0.6
    few_are_wrong(passed, share, PLANTED[name][1])


@pytest.mark.slow
@pytest.mark.parametrize("name", PLANTED)
def test_without_jumps_hardly_a_group_passes(name):
    """By chance all chains of a group may begin in one well; no diagnostic of chains can know of the other one."""
    passed, share = groups_of(name, jumps=False)
    assert passed.mean() <= 0.05  # 0 of 40 each: a group may be believed that passes though no jump was accepted
    if name != "overlapping":  # whose chains do cross, now and then
        assert np.mean(np.abs(share - PLANTED[name][1]) > 0.1) > 0.3


# ---- codes ----

PLACES = 8
ONES = np.array([np.binary_repr(state, PLACES).count("1") for state in range(2**PLACES)])  # of every state
DEPTH, TILT = 5.0, 0.4


def two_wells(index, data, *shared):
    """Deepest at all zeros and at all ones, which are 2 TILT apart; half of each is DEPTH higher."""
    ones = 2 * jnp.mean(index.astype(jnp.float32), axis=-1) - 1
    return DEPTH * jnp.square(ones) + TILT * ones


@pytest.mark.parametrize("jumps", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_codes_with_jumps_pass_and_few_of_these_err(jumps):
    weights = np.exp(np.asarray(two_wells(jnp.asarray(np.arange(2**PLACES)[:, None] >> np.arange(PLACES) & 1), None)))
    truth = weights[ONES > PLACES / 2].sum() / weights.sum()
    keys = jax.random.split(jax.random.key(0), (2, COUNT))
    prior = jnp.full((PLACES, 2), np.float32(np.log(0.5)))
    start, jumping = jax.vmap(gibbs.draw, (0, None))(keys[0], prior), jnp.full(COUNT, jumps)
    sampled = jax.jit(lambda keys, start: gibbs.gibbs(keys, two_wells, start, prior, None, jumping=jumping, **STEPS))
    index = np.asarray(sampled(keys[1], start).index)
    passed, share = verdicts(index, index.sum(axis=-1) > PLACES / 2)
    if not jumps:
        assert passed.mean() < 0.1
        return
    assert passed.mean() > 0.6
    few_are_wrong(passed, share, truth)
