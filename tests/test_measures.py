"""What all measures keep: an example does not see its companions, members are as if alone, bad numbers refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape.ensembles import Mapping
from landscape.measures import welford
from landscape.measures.certified import certified_radius
from landscape.measures.curvature import curvature
from landscape.measures.flatness import flatness
from landscape.measures.linearity import linearity
from landscape.measures.mapping import ensemble_measure
from landscape.measures.spectrum import tridiagonals
from landscape.measures.worst_case import worst_case

SHAPE = (2, 3, 1)
SIGMAS = jnp.array([0.1, 0.3])
MEASURES = {
    "certified": (certified_radius, {"sigma": 0.05, "num_choosing": 4, "num_draws": 32}),
    "curvature": (curvature, {"num_steps": 6, "num_probes": 6}),
    "flatness": (flatness, {"sigmas": SIGMAS, "num_trials": 4}),
    "linearity": (linearity, {"norm": "l2", "rho": 0.1, "num_steps": 3}),
    "spectrum": (tridiagonals, {"num_steps": 2, "num_probes": 2}),
    "worst_case": (worst_case, {"norm": "l2", "rho": 0.1, "num_steps": 3}),
}


def mlp(variables, x):
    return jnp.tanh(x.reshape(x.shape[0], -1) @ variables["w"]) @ variables["v"]


def given():
    keys = jax.random.split(jax.random.key(0), 4)
    variables = {"w": jax.random.normal(keys[0], (6, 5)), "v": jax.random.normal(keys[1], (5, 3))}
    x = jax.random.uniform(keys[2], (5, *SHAPE))
    return jax.random.split(keys[3], 5), variables, x, jnp.arange(5) % 3


@pytest.mark.parametrize("name", MEASURES)
def test_an_example_does_not_see_its_companions(name):
    measure, options = MEASURES[name]
    run = jax.jit(functools.partial(measure, apply=mlp, **options))
    keys, variables, x, label = given()
    whole = run(keys, variables, x, label)
    others = run(keys, variables, x.at[1:].set(0.9), label.at[1:].set(2))
    turned = run(keys[::-1], variables, x[::-1], label[::-1])
    for one, other, back in zip(*map(jax.tree.leaves, (whole, others, turned)), strict=True):
        np.testing.assert_allclose(other[..., 0], one[..., 0], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(back[..., ::-1], one, rtol=1e-4, atol=1e-6)
    moved = [np.abs(a - b).max() for a, b in zip(*map(jax.tree.leaves, (whole, others)), strict=True)]
    assert max(moved) > 1e-3


@pytest.mark.parametrize(
    ("name", "bad", "match"),
    [
        ("certified", {"alpha": 1.0}, "alpha=1.0: expected draws, and an alpha between 0 and 1"),
        ("curvature", {"num_probes": 1}, "num_probes=1"),
        ("flatness", {"num_trials": 1}, "num_trials=1"),
        ("linearity", {"norm": "l1"}, "norm='l1': expected one of linf, l2"),
        ("spectrum", {"num_steps": 0}, "num_steps=0, num_probes=2: expected at least 1"),
        ("worst_case", {"num_restarts": 0}, "num_restarts=0"),
    ],
)
def test_bad_numbers_are_refused(name, bad, match):
    measure, options = MEASURES[name]
    keys, variables, x, label = given()
    with pytest.raises(ValueError, match=match):
        measure(keys, variables, x, label, apply=mlp, **options | bad)


@pytest.mark.parametrize("how", [Mapping(), Mapping(devices=2), Mapping(examples=2)])
def test_every_member_and_population_is_measured(how):
    """Against a loop, with a measure that shows its arguments; three members on two devices."""
    keys = jax.random.split(jax.random.key(0), 5)
    scale = jnp.array([1.0, 10.0, 100.0])
    x = jax.random.uniform(jax.random.key(2), (3, 2, 5, 3, 3, 1))
    label = jax.random.randint(jax.random.key(3), (3, 2, 5), 0, 4)

    def measure(keys, variables, x, label):
        drawn = jax.vmap(jax.random.uniform)(keys)
        return {"sum": variables * x.sum(axis=(1, 2, 3)) + drawn, "two": jnp.stack([label, label + 1])}

    together = jax.jit(functools.partial(ensemble_measure, measure, how=how))(keys, scale, x, label)
    drawn = jax.vmap(jax.random.uniform)(keys)
    expected = scale[:, None, None] * x.sum(axis=(3, 4, 5)) + drawn[None, None]
    np.testing.assert_allclose(together["sum"], expected, rtol=1e-5)
    np.testing.assert_array_equal(together["two"], jnp.stack([label, label + 1]))


def test_welford_keeps_the_spread_of_values_far_from_zero():
    values = (1e4 + np.random.default_rng(0).normal(size=(50, 3))).astype(np.float32)
    state, _ = jax.lax.scan(
        lambda state, row: (welford.update(state, row), None), welford.start(jnp.zeros(3)), jnp.asarray(values)
    )
    mean, sem = welford.finish(state)
    np.testing.assert_allclose(mean, values.astype(np.float64).mean(axis=0), rtol=1e-6)
    # 1e4 has a spacing of 1e-3 in float32: the running mean carries that against a spread of 1.
    np.testing.assert_allclose(sem, values.astype(np.float64).std(axis=0, ddof=1) / np.sqrt(50), rtol=2e-3)
