"""Measures where the truth is known: quadratic and logistic classifiers, and a ReLU network whose layers are scaled."""

import functools

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from landscape import objectives
from landscape.measures import certified, weight_hessian
from landscape.measures.certified import certified_radius
from landscape.measures.curvature import curvature
from landscape.measures.flatness import flatness
from landscape.measures.linearity import linearity
from landscape.measures.relative_flatness import relative_flatness
from landscape.measures.spectrum import density, largest, quadrature, tridiagonals
from landscape.measures.tangent import local_directions, tangent_curvature
from landscape.measures.weight_sharpness import weight_sharpness
from landscape.measures.worst_case import worst_case

SHAPE, D = (2, 4, 1), 8
ROOT = np.random.default_rng(0).normal(size=(D, D))
CURVED = (ROOT + ROOT.T) / 4
SLOPE = np.random.default_rng(1).normal(size=D)


def given(count, seed=0):
    keys = jax.random.split(jax.random.key(seed), count)
    return keys, jax.random.uniform(jax.random.key(seed + 1), (count, *SHAPE)), jnp.zeros(count, jnp.int32)


def quadratic(variables, x):
    """Two logits whose difference is slope . x + x' curved x / 2."""
    slope, curved = variables
    flat = x.reshape(x.shape[0], -1)
    value = flat @ slope + 0.5 * jnp.sum(flat * (flat @ curved), axis=1)
    return jnp.stack([value, jnp.zeros_like(value)], axis=1)


QUADRATIC = jnp.float32(SLOPE), jnp.float32(CURVED)
LOGISTIC = jnp.float32(SLOPE), jnp.zeros((D, D))


def hessians(variables, x):
    """Input Hessians of the loss of class 0, e (p dg dg' - curved), in double precision."""
    slope, curved = (np.asarray(part, np.float64) for part in variables)
    flat = np.asarray(x, np.float64).reshape(len(x), -1)
    gaps = flat @ slope + 0.5 * np.einsum("nd,de,ne->n", flat, curved, flat)
    gradient, p = slope + flat @ curved, special.expit(gaps)[:, None, None]
    return (1 - p) * (p * gradient[:, :, None] * gradient[:, None, :] - curved)


def within_errors(found, truth):
    """Whether the mean of independent estimates is within 4 of its standard errors of the mean truth."""
    miss = np.asarray(found, np.float64) - truth
    return abs(miss.mean()) < 4 * miss.std(ddof=1) / len(miss) ** 0.5


# ---- average rise, eigenvalues, density, tangent spaces ----


def test_the_average_rise_of_a_quadratic_and_its_standard_error():
    """E[g(x) - g(x + sigma e)] = -sigma^2 tr(A) / 2; of 4000 examples, whose mean square error is known to 3 %."""
    keys, x, label = given(4000)
    run = functools.partial(flatness, apply=quadratic, sigmas=jnp.array([0.1, 0.5]), num_trials=16)
    found = jax.jit(run)(keys, QUADRATIC, x, label)
    for i, sigma in enumerate((0.1, 0.5)):
        truth = -0.5 * sigma**2 * np.trace(CURVED)
        assert within_errors(found["margin_drop"][i], truth)
        errors = np.mean(np.square(found["margin_drop"][i] - truth)), np.mean(np.square(found["margin_drop_sem"][i]))
        assert errors[1] / errors[0] == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize("variables", [QUADRATIC, LOGISTIC], ids=["quadratic", "logistic"])
def test_the_spectrum_is_that_of_the_dense_hessian(variables):
    """First eigenvalues to rounding. The density is exact with D starts, and with two right in the mean."""
    keys, x, label = given(300)
    values = np.linalg.eigvalsh(hessians(variables, x))
    edges = np.array([-9.0, -0.1, -1e-4, 1e-4, 0.1, 0.3, 9.0])
    truth = np.stack([np.histogram(row, edges)[0] / D for row in values], axis=1)
    for num_probes in (D, 2):
        run = functools.partial(tridiagonals, apply=quadratic, num_steps=D, num_probes=num_probes)
        found = jax.jit(run)(keys, variables, x, label)
        nodes, weights = quadrature(*(np.asarray(found[f"lanczos_{part}"]) for part in ("diagonal", "coupling")))
        np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-9)
        size = np.abs(values).max(axis=1)
        assert np.all(np.abs(largest(nodes, 3) - values[:, ::-1][:, :3].T) <= 1e-4 * size)
        shares = density(nodes, weights, edges)
        if num_probes == D:  # an eigenvalue within rounding of an edge may fall on its other side
            near = np.abs(values[:, :, None] - edges).min(axis=(1, 2)) < 1e-5
            assert near.mean() < 0.1
            np.testing.assert_allclose(shares[:, ~near], truth[:, ~near], atol=1e-3)
        else:
            there = truth.mean(axis=1) > 0.02
            assert there.sum() >= 2
            assert all(within_errors(share, own) for share, own in zip(shares[there], truth[there], strict=True))
    if variables is LOGISTIC:  # one eigenvalue p (1 - p) ||w||^2, all others 0
        p = special.expit(np.asarray(x, np.float64).reshape(300, -1) @ SLOPE)
        np.testing.assert_allclose(largest(nodes, 1)[0], p * (1 - p) * np.square(SLOPE).sum(), rtol=1e-4)
        np.testing.assert_allclose(shares[2].mean(), 1 - 1 / D, atol=0.03)


def test_curvature_in_the_tangent_space_across_it_and_anywhere():
    """The tangent space exactly, whatever basis is given; random subspaces in the mean."""
    keys, x, label = given(2000)
    spanning = np.random.default_rng(2).normal(size=(2000, 3, D)).astype(np.float32)
    basis = np.linalg.qr(np.moveaxis(spanning.astype(np.float64), 1, 2))[0]
    hessian = hessians(QUADRATIC, x)
    tangent = np.einsum("ndj,nde,nej->n", basis, hessian, basis)
    found = jax.jit(functools.partial(tangent_curvature, apply=quadratic))(keys, QUADRATIC, x, label, spanning)
    np.testing.assert_allclose(found["tangent_curvature"], tangent / 3, atol=1e-4)
    everything = np.trace(hessian, axis1=1, axis2=2)
    assert within_errors(found["normal_curvature"], (everything - tangent) / (D - 3))
    assert within_errors(found["random_curvature"], everything / D)
    with pytest.raises(ValueError, match="tangent of 5 dimensions: expected at most 4"):
        tangent_curvature(keys[:1], QUADRATIC, x[:1], label[:1], jnp.ones((1, 5, D)), apply=quadratic)


def test_local_directions_are_those_of_the_nearest_points():
    """Two planes far apart: each image gets the directions of its own."""
    rng = np.random.default_rng(0)
    planes = [np.linalg.qr(rng.normal(size=(D, 2)))[0] for _ in range(2)]
    points = np.concatenate([5 * k + rng.normal(size=(40, 2)) @ plane.T for k, plane in enumerate(planes)])
    points = points.reshape(-1, *SHAPE).astype(np.float32)
    found = local_directions(points[[0, 79]], points, num_neighbors=12, dim=2)
    for own, plane in zip(found.astype(np.float64), planes, strict=True):
        np.testing.assert_allclose(own.T @ own, plane @ plane.T, atol=1e-5)
    with pytest.raises(ValueError, match="dim=12: expected 1 to 11"):
        local_directions(points[:1], points, num_neighbors=12, dim=12)


# ---- certified radius ----


def test_the_certified_radius_of_a_linear_classifier():
    """The truth is the distance to the hyperplane: exceeded with probability alpha at most, the mean as binomial
    counts of agreeing draws say."""
    sigma, num_draws, alpha, count = 0.5, 60, 0.05, 3000
    keys, x, _ = given(count)
    gaps = np.asarray(x, np.float64).reshape(count, -1) @ SLOPE
    label = jnp.asarray(gaps < 0, jnp.int32)
    options = {"apply": quadratic, "sigma": sigma, "num_choosing": num_draws, "num_draws": num_draws, "alpha": alpha}
    run = jax.jit(functools.partial(certified_radius, **options))
    found = run(keys, LOGISTIC, x, label)
    radius, distance = np.asarray(found["certified_radius"]), np.abs(gaps) / np.linalg.norm(SLOPE)
    share = special.ndtr(distance / sigma)
    most = alpha + 4 * (alpha * (1 - alpha) / count) ** 0.5
    assert np.mean(radius > distance) <= most
    table = sigma * certified.radii(num_draws, alpha)
    counts = stats.binom.pmf(np.arange(num_draws + 1), num_draws, share[:, None])
    right = stats.binom.cdf(29, 60, 1 - share) + np.where(gaps > 0, stats.binom.pmf(30, 60, share), 0)  # ties: class 0
    assert within_errors(radius, right * (counts @ table))
    assert within_errors(found["certified_capped"], right * share**num_draws)
    np.testing.assert_allclose(radius[np.asarray(found["certified_capped"]) == 1], table[-1], rtol=1e-6)
    assert np.all(radius[np.asarray(found["certified_abstains"]) == 1] == 0)
    # On the hyperplane, where draws that choose the class must not count again: they would certify twice as often.
    on = x - jnp.asarray((gaps / np.square(SLOPE).sum())[:, None] * SLOPE, jnp.float32).reshape(x.shape)
    assert (
        1 - np.mean(run(keys, LOGISTIC, on, label)["certified_abstains"])
        <= alpha + 4 * (alpha * (1 - alpha) / count) ** 0.5
    )
    other = run(keys, LOGISTIC, x, 1 - label)
    assert np.all((np.asarray(other["certified_radius"]) == 0) | (radius == 0)) and other["certified_radius"].max() > 0


def test_radii_follow_the_lower_bound_of_clopper_and_pearson():
    """P(at least k of n agree) is alpha at the bound, by the binomial law itself; half of the draws certify nothing."""
    table = certified.radii(50, 0.01)
    assert table.shape == (51,) and np.all(table[:26] == 0) and np.all(np.diff(table[40:]) > 0)
    for agreeing in (40, 50):
        low = special.ndtr(table[agreeing])
        assert stats.binom.sf(agreeing - 1, 50, low) == pytest.approx(0.01)


# ---- scaling one layer up and the next down ----


def relu(variables, x):
    return head(variables, features(variables, x))


def features(variables, x, layer=""):
    p = variables["params"]
    return jax.nn.relu(x.reshape(x.shape[0], -1) @ p["first"]["kernel"] + p["first"]["bias"][None])


def head(variables, h, layer=""):
    p = variables["params"]
    return h @ p["last"]["kernel"] + p["last"]["bias"][None]


def network(scale=1.0):
    """8 - 5 - 3, its first layer multiplied and its last kernel divided by `scale`."""
    rng = np.random.default_rng(3)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)  # noqa: E731
    first = {"kernel": scale * draw(D, 5), "bias": scale * draw(5)}
    return {"params": {"first": first, "last": {"kernel": draw(5, 3) / scale, "bias": draw(3)}}}


def every_measure(keys, variables, x, label):
    """All measures of the input, and those of the weights that are free of scale."""
    ball = {"apply": relu, "norm": "l2", "rho": 0.2, "num_steps": 5}
    spanning = jax.random.normal(jax.random.key(9), (len(x), 2, D))
    found = flatness(keys, variables, x, label, apply=relu, sigmas=jnp.array([0.2]), num_trials=8)
    found |= {"linearity": linearity(keys, variables, x, label, **ball)}
    found |= worst_case(keys, variables, x, label, **ball)
    found |= curvature(keys, variables, x, label, apply=relu, num_steps=4, num_probes=4)
    found |= certified_radius(keys, variables, x, label, apply=relu, sigma=0.5, num_choosing=8, num_draws=32)
    found |= tangent_curvature(keys, variables, x, label, spanning, apply=relu)
    found |= relative_flatness(keys, variables, x, label, features=features, head=head, layer="")
    noisy = weight_sharpness(
        keys[0], variables, x, label, apply=relu, sigmas=jnp.array([0.1]), num_draws=4, kind="multiplicative"
    )
    return found | {f"weight_{name}": value for name, value in noisy.items()}


def test_scaling_layers_moves_no_measure_of_the_input_and_the_weights_top_eigenvalue_as_theory_says(monkeypatch):
    """With S the factors of the weights, H becomes S^-1 H S^-1."""
    monkeypatch.setattr(weight_hessian, "BLOCK", 4)  # three blocks, the last one filled up
    keys, x, _ = given(10)
    label = jnp.argmax(relu(network(), x), axis=-1)
    where = jnp.arange(10) != 3
    run = jax.jit(every_measure)
    measured = {scale: run(keys, network(scale), x, label) for scale in (1.0, 4.0)}
    for name, value in measured[1.0].items():
        size = float(jnp.abs(value).max())
        np.testing.assert_allclose(measured[4.0][name], value, rtol=1e-3, atol=1e-3 * size + 1e-7, err_msg=name)
        assert size > 0 or name == "hessian_bottom" or name.startswith("certified") or name == "returned", name

    weights, restore = jax.flatten_util.ravel_pytree(network()["params"])
    total = lambda w: jnp.mean(objectives.loss(relu({"params": restore(w)}, x[where]), label[where]))  # noqa: E731
    dense = np.asarray(jax.jit(jax.hessian(total))(weights), np.float64)
    options = {"apply": relu, "num_steps": weights.size, "num_probes": weights.size}
    of_weights = jax.jit(functools.partial(weight_hessian.weight_hessian, **options))
    for scale in (1.0, 4.0):
        up = {"kernel": jnp.full((D, 5), scale), "bias": jnp.full(5, scale)}
        down = {"kernel": jnp.full((5, 3), 1 / scale), "bias": jnp.ones(3)}
        factors = np.asarray(jax.flatten_util.ravel_pytree({"first": up, "last": down})[0], np.float64)
        expected = dense / factors[:, None] / factors
        found = of_weights(keys[0], network(scale), x, label, where)
        np.testing.assert_allclose(found["weight_hessian_top"], np.linalg.eigvalsh(expected)[-1], rtol=1e-3)
        np.testing.assert_allclose(found["weight_hessian_trace"], np.trace(expected), rtol=1e-3)
    assert np.isnan(of_weights(keys[0], network(), x, label, jnp.zeros(10, bool))["weight_hessian_top"])
