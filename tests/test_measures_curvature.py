"""Curvature against dense Hessians, exact and estimated traces, spectra that end early, saturation in float32."""

import functools
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

from landscape import objectives
from landscape.measures.curvature import curvature, extremes, lanczos, orthonormal, trace
from landscape.models.classifiers import build

PREFIXES = ("", "probability_")


def inputs(num_examples, side):
    x = np.random.default_rng(1).uniform(size=(num_examples, side, side, 1))
    return jnp.asarray(x, jnp.float32), jax.random.split(jax.random.key(0), num_examples)


def mlp(variables, x):
    """Two dense layers with gelu; every example has a bias of its own, so that its confidence can be set."""
    first, last, bias = variables
    return jax.nn.gelu(x.reshape(x.shape[0], -1) @ first) @ last + bias


def mlp_init(num_examples):
    key_first, key_last = jax.random.split(jax.random.key(4))
    first, last = jax.random.normal(key_first, (9, 8)), jax.random.normal(key_last, (8, 4))
    return first, last, jnp.zeros((num_examples, 4))


mlp_curvature = jax.jit(functools.partial(curvature, apply=mlp, num_steps=9, num_probes=9))


@pytest.mark.parametrize(
    "activation, exact, num_steps",
    [("relu", True, 1), ("gelu", False, 24), pytest.param("relu", False, 12, marks=pytest.mark.slow)],
)
def test_default_classifier_equals_the_dense_hessians(activation, exact, num_steps):
    """By products with Hessians, and by the gradients of logits that are piecewise linear.

    The last layer is enlarged so that the network is as sure as a trained one.
    """
    model, plain = (
        build("cnn", num_classes=10, activation=activation, **conv)
        for conv in ({}, {"conv": jax.lax.conv_general_dilated})
    )
    variables = jax.tree.map(lambda leaf: 2 * leaf, model.init(jax.random.key(3), jnp.zeros((1, 8, 8, 1))))
    x, keys = inputs(3, 8)
    label = jnp.array([1, 2, 3]).at[0].set(jnp.argmax(model.apply(variables, x)[0]))
    assert model.piecewise_linear == (activation == "relu")
    counts = {"num_steps": num_steps, "num_probes": 2 if exact else 64}
    run = functools.partial(curvature, apply=model.apply, piecewise_linear=exact, **counts)
    out = jax.jit(run)(keys, variables, x, label)

    @jax.jit
    def dense(flat, c):
        def both(flat):
            logits = plain.apply(variables, flat.reshape(1, 8, 8, 1))
            return jnp.concatenate([objectives.loss(logits, c[None]), objectives.error_probability(logits, c[None])])

        return jax.jacrev(both)(flat), jax.hessian(both)(flat)

    for n in range(3):
        gradient, hessian = dense(x[n].ravel(), label[n])
        np.testing.assert_allclose(out["gradient_norm"][n], np.linalg.norm(gradient[0]), rtol=1e-4)
        for i, prefix in enumerate(PREFIXES):
            values = np.linalg.eigvalsh(np.asarray(hessian[i], np.float64))
            size = max(np.abs(values).max(), 1e-6)
            assert size > 1e-3  # not saturated: something is compared
            assert abs(out[f"{prefix}hessian_top"][n] - values[-1]) <= 1e-3 * size
            assert abs(out[f"{prefix}hessian_bottom"][n] - values[0]) <= 1e-2 * size
            # Eigenvalues of both signs cancel in the trace, so its error is relative to their sizes.
            assert abs(out[f"{prefix}hessian_trace"][n] - values.sum()) <= 1e-4 * np.abs(values).sum()
            assert out[f"{prefix}hessian_trace_sem"][n] == 0


@pytest.mark.parametrize("num_pixels", [30, 6])
def test_gradients_of_piecewise_linear_logits_have_the_whole_hessian(num_pixels):
    """Of linear classifiers, to float32's rounding: H = W (diag p - p p') W', from log-odds -3 to 60, with classes of
    equal or no weights. With fewer pixels than classes products with Hessians take over."""
    gaps, rng = np.array([-3.0, 0.0, 1e-3, 5.0, 10.0, 60.0]), np.random.default_rng(2)
    weights = rng.normal(size=(num_pixels, 7)).astype(np.float32)
    weights[:, 3], weights[:, 5] = weights[:, 2], 0.0
    x, label = rng.uniform(size=(6, num_pixels, 1, 1)).astype(np.float32), np.array([1, 1, 2, 1, 5, 0])
    logits = x.reshape(6, -1) @ weights
    bias = np.zeros((6, 7), np.float32)
    bias[range(6), label] = gaps - np.asarray(objectives.log_odds(jnp.asarray(logits), jnp.asarray(label)))
    linear = lambda variables, x: x.reshape(6, -1) @ variables[0] + variables[1]  # noqa: E731
    run = functools.partial(curvature, apply=linear, piecewise_linear=True, num_steps=num_pixels, num_probes=num_pixels)
    found = jax.jit(run)(jax.random.split(jax.random.key(0), 6), (weights, bias), x, label)
    wide = x.reshape(6, -1).astype(float) @ weights + bias
    p = np.exp(wide - logsumexp(wide, axis=1, keepdims=True))
    for n, c in enumerate(label):
        own = p[n, c]
        centred = weights - (weights @ p[n])[:, None]
        loss = (centred * p[n]) @ centred.T
        slope = np.delete(weights - weights[:, [c]], c, axis=1) @ np.delete(p[n], c)  # of the loss
        np.testing.assert_allclose(found["gradient_norm"][n], np.linalg.norm(slope), rtol=1e-5)
        for prefix, hessian in (("", loss), ("probability_", own * (loss - np.outer(slope, slope)))):
            values = np.linalg.eigvalsh(hessian)
            size = 1e-5 * np.abs(values).max()
            assert abs(found[f"{prefix}hessian_top"][n] - values[-1]) < size
            assert abs(found[f"{prefix}hessian_bottom"][n] - values[0]) < size
            assert abs(found[f"{prefix}hessian_trace"][n] - values.sum()) < size * num_pixels
            assert found[f"{prefix}hessian_trace_sem"][n] == 0


@pytest.mark.parametrize("num_probes", [4, 12, 15])
def test_the_trace_is_within_its_standard_error(num_probes):
    """As Student's t with R - 1 degrees of freedom says, for symmetric matrices of 16 dims drawn at random."""
    root = np.random.default_rng(0).normal(size=(2000, 16, 16))
    matrices = jnp.asarray(root + np.swapaxes(root, 1, 2), jnp.float32)
    keys, truth = jax.random.split(jax.random.key(0), 2000), np.trace(np.asarray(matrices), axis1=1, axis2=2)
    matvec = lambda v: jnp.einsum("nij,nj->ni", matrices, v)  # noqa: E731
    exact, nothing = trace(matvec, keys, jnp.zeros((2000, 16)), num_probes=16)
    np.testing.assert_allclose(exact, truth, atol=1e-4)
    assert jnp.all(nothing == 0)
    mean, error = map(np.asarray, trace(matvec, keys, jnp.zeros((2000, 16)), num_probes=num_probes))
    miss = mean - truth
    assert abs(miss.mean()) < 4 * miss.std() / 2000**0.5
    assert np.mean(miss**2) == pytest.approx(np.mean(error**2), rel=0.12)  # three standard errors of the former
    inside = np.mean(np.abs(miss) <= stats.t.ppf(0.975, num_probes - 1) * error)
    assert 0.935 <= inside <= 0.965  # Binomial(2000, 0.95) has a spread of 0.005


def test_probes_are_orthonormal_and_span_what_was_drawn():
    """Also of vectors that are nearly alike, which one pass would leave at an angle. To ten times float32's rounding of
    a unit vector, and of what was drawn to a hundred times."""
    drawn = np.random.default_rng(0).normal(size=(3, 6, 40))
    drawn[1] = drawn[1, :1] + 1e-3 * drawn[1]
    found = np.asarray(jax.jit(orthonormal)(jnp.asarray(drawn, jnp.float32)), np.float64)
    np.testing.assert_allclose(found @ found.swapaxes(1, 2), np.broadcast_to(np.eye(6), (3, 6, 6)), atol=1e-6)
    left = drawn - (drawn @ found.swapaxes(1, 2)) @ found
    assert np.abs(left).max() < 1e-5 * np.abs(drawn).max()


def test_no_program_waits_for_lapack():
    """Two host devices in LAPACK at once wait for each other's threads for ever (jaxlib 0.10.2): no factorisation in
    what is compiled, of curvature or of anything else."""
    x, keys = inputs(3, 3)
    label = jnp.array([1, 2, 3])
    run = functools.partial(curvature, apply=mlp, num_steps=4, num_probes=4)
    assert "lapack" not in jax.jit(run).lower(keys, mlp_init(3), x, label).as_text()
    called = r"\b(jnp|lax|jax\.\w+)\.linalg\.(?!norm\b)\w+|\brandom\.(orthogonal|multivariate_normal)\b"
    for path in sorted((Path(__file__).parents[1] / "landscape").rglob("*.py")):
        assert not re.search(called, path.read_text()), path


def test_float32_equals_float64_out_to_saturation():
    """Gradient norm, top eigenvalue and trace to 1e-4 at log-odds 0 to 60, against plain formulas in float64."""
    gaps = jnp.array([0.0, 5.0, 10.0, 20.0, 60.0])
    x, keys = inputs(5, 3)
    first, last, bias = mlp_init(5)
    label = jnp.full(5, 1)
    bias = bias.at[:, 1].set(gaps - objectives.log_odds(mlp((first, last, bias), x), label))
    out = mlp_curvature(keys, (first, last, bias), x, label)
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf, np.float64)), (first, last, bias, x))

        @jax.jit
        def naive(first, last, bias, x):
            def both(flat, bias):
                logits = mlp((first, last, bias[None]), flat[None])[0]
                odds = jnp.sum(jnp.delete(jnp.exp(logits - logits[1]), 1))  # of the other classes, to the tracked one
                return jnp.stack([jnp.log1p(odds), odds / (1 + odds)])

            flat = x.reshape(5, -1)
            return [jax.vmap(f(both))(flat, bias) for f in (jax.jacrev, jax.hessian)]

        gradients, hessians = (np.asarray(part) for part in naive(*wide))
    np.testing.assert_allclose(out["gradient_norm"], np.linalg.norm(gradients[:, 0], axis=1), rtol=1e-4)
    for i, prefix in enumerate(PREFIXES):
        values = np.linalg.eigvalsh(hessians[:, i])
        np.testing.assert_allclose(out[f"{prefix}hessian_top"], values[:, -1], rtol=1e-4)
        error = np.abs(out[f"{prefix}hessian_trace"] - values.sum(axis=1))
        assert np.all(error <= 1e-4 * np.abs(values).sum(axis=1))
    assert out["hessian_top"][0] > 1e6 * out["hessian_top"][-1] > 0


def test_lanczos_goes_on_where_the_space_ends():
    """Identity, zero, rank two, full and tiny matrices in one batch: exact ends of the spectrum after D steps."""
    root = np.random.default_rng(0).normal(size=(6, 6))
    low_rank = np.zeros((6, 6))
    low_rank[0, 0], low_rank[1, 1] = -3.0, 2.0
    matrices = np.stack([2.5 * np.eye(6), np.zeros((6, 6)), low_rank, root + root.T, 1e-9 * (root + root.T)])
    matrices = jnp.asarray(matrices, jnp.float32)
    start = jax.random.normal(jax.random.key(0), (5, 6))

    @functools.partial(jax.jit, static_argnums=0)
    def ends(num_steps):
        return extremes(*lanczos(lambda v: jnp.einsum("nij,nj->ni", matrices, v), start, num_steps=num_steps))

    values = np.linalg.eigvalsh(np.asarray(matrices, np.float64))
    size = np.abs(values).max(axis=1)
    for num_steps in (6, 60):
        bottom, top = ends(num_steps)
        assert np.all(np.abs(bottom - values[:, 0]) <= 2e-5 * size)
        assert np.all(np.abs(top - values[:, -1]) <= 2e-5 * size)
    bottom, top = ends(2)  # inside the spectrum with too few steps
    assert np.all(bottom >= values[:, 0] - 1e-5 * size) and np.all(top <= values[:, -1] + 1e-5 * size)
    assert top[3] < values[3, -1] - 1e-3
