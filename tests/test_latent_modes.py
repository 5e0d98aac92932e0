"""Chains on planted targets of two modes: groups that pass as converged know how much of the target each one holds."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from landscape.latent import chains, gibbs, targets
from landscape.stats.convergence import Diagnosis, converged, diagnose, occupancy, worst

GROUPS, CHAINS = 40, 8
REACH = 3.0  # spread of the prior, from which jumps are drawn
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


def above(low, high, share, width):
    return (1 - share) * stats.norm.sf(0, low, width) + share * stats.norm.sf(0, high, width)


PLANTED = {  # log density [C, 2] -> [C], its share of states whose first number is positive
    "equal": (wells(-4.0, 4.0, 0.5, 1.0), 0.5),
    "uneven": (wells(-4.0, 4.0, 0.75, 1.0), 0.75),
    "overlapping": (wells(-1.5, 1.5, 0.5, 0.6), 0.5),
    "moons": (moons, 0.5),
}


@cache
def groups_of(name, jumps, seed=0):
    """(whether groups pass [G], their shares of positive first numbers [G]) of chains that start wider than the prior."""
    log_target, _ = PLANTED[name]
    zero = jnp.zeros((COUNT, 2))
    data = targets.Local(jnp.zeros(COUNT, int), zero, jnp.full(COUNT, REACH), jnp.ones(COUNT))
    target = targets.local(lambda u, label: log_target(u) - targets.LOCAL.log_density(u, data_of(u)))

    def data_of(u):
        return targets.Local(None, jnp.zeros_like(u), jnp.full(u.shape[:1], REACH), None)

    keys = jax.random.split(jax.random.key(seed), (2, COUNT))
    start = 1.5 * jax.vmap(targets.LOCAL.draw)(keys[0], zero, data)
    options = STEPS | {"kernel": "mala", "step_size": 0.5, "num_warmup": 200, "prior": targets.LOCAL if jumps else None}
    found = jax.jit(lambda keys, start: chains.sample(keys, target, start, data, **options))(keys[1], start)
    return verdicts(found.positions, found.positions[..., 0] > 0)


def verdicts(positions, positive):
    """Of every group: whether it has converged, and the share of states that are positive."""
    positions, positive = (np.asarray(v, np.float64).reshape(100, GROUPS, CHAINS, -1) for v in (positions, positive))
    passed = []
    for g in range(GROUPS):
        series = (positions[:, g], occupancy(positive[:, g, :, 0].astype(int)))
        found = [worst(diagnose(one))[0] for one in series]
        passed.append(bool(converged(Diagnosis(*np.transpose(found)))))
    return np.asarray(passed), positive.mean(axis=(0, 2, 3))
