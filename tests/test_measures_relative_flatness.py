"""Relative flatness of the last layer: the dense Hessian, closed form, scaling, saturation, what is refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape import ensembles, objectives
from landscape.files import UserError
from landscape.measures.mapping import ensemble_measure
from landscape.measures.relative_flatness import relative_flatness
from landscape.models import classifiers, external
from landscape.models.contract import check_last_layer

SHAPE, K = (4, 4, 1), 3
KEYS = jax.random.split(jax.random.key(0), 5)
X = jax.random.uniform(jax.random.key(1), (5, *SHAPE))
LABEL = jnp.array([0, 1, 2, 0, 1])


def network(name="mlp", seed=0):
    """A classifier with every weight drawn, the last layer too, and its measure."""
    model = classifiers.build(name, num_classes=K)
    variables = model.init(jax.random.key(seed), X)
    logits = variables["params"]["logits"]
    logits["kernel"] = jax.random.normal(jax.random.key(seed + 1), logits["kernel"].shape)
    about = {"features": model.features, "head": model.head, "layer": model.layers[-1]}
    return model, variables, jax.jit(functools.partial(relative_flatness, **about))


def linear(layers=("flat",)):
    """Of outside: pixels, flattened, times a matrix."""

    def head(w, h, layer):
        return h @ w

    def features(w, x, layer):
        return x.reshape(x.shape[0], -1)

    return external.of(lambda w, x: head(w, features(w, x, ""), ""), None, layers=layers, features=features, head=head)


def test_it_is_the_trace_of_the_dense_hessian_between_the_rows():
    model, variables, measure = network("cnn")
    found = measure(KEYS, variables, X, LABEL)["relative_flatness"]
    last, rest = variables["params"]["logits"], variables["params"]
    phi = model.features(variables, X, model.layers[-1]).reshape(5, -1)

    def loss(kernel, phi, label):
        changed = {"params": rest | {"logits": last | {"kernel": kernel}}}
        return objectives.loss(model.head(changed, phi[None], model.layers[-1]), label[None])[0]

    kernel = last["kernel"]  # [D, K]
    hessians = jax.jit(jax.vmap(jax.hessian(loss), (None, 0, 0)))(kernel, phi, LABEL)
    traces = np.einsum("ndsdt->nst", hessians)
    np.testing.assert_allclose(found, np.sum(traces * (kernel.T @ kernel)[None], axis=(1, 2)), rtol=1e-4)


def test_a_linear_classifier_in_closed_form():
    """Two classes: ||x||^2 p (1 - p) ||w_0 - w_1||^2, also where p rounds to 1."""
    model, w = linear(), np.random.default_rng(0).normal(size=(16, 2))
    flat = np.asarray(X, np.float64).reshape(5, -1)
    for scale in (1.0, 8.0):
        gap = np.abs(flat @ (scale * (w[:, 0] - w[:, 1])))
        share = np.exp(-gap) / (1 + np.exp(-gap)) ** 2
        expected = np.square(flat).sum(axis=1) * share * scale**2 * np.square(w[:, 0] - w[:, 1]).sum()
        variables = {"params": jnp.asarray(scale * w, jnp.float32)}
        about = {"features": model.features, "head": model.head, "layer": "flat"}
        found = relative_flatness(KEYS, variables, X, LABEL, **about)["relative_flatness"]
        np.testing.assert_allclose(found, expected, rtol=1e-4)  # a gap of 30 logits is rounded to 4e-6
    assert gap.max() > 20


def test_scaling_one_layer_up_and_the_next_down_or_moving_all_rows_changes_nothing():
    model, variables, measure = network()
    found = measure(KEYS, variables, X, LABEL)["relative_flatness"]
    p = variables["params"]
    last = p["logits"]
    up = jax.tree.map(lambda w: 4 * w, p["dense2"])
    scaled = {"params": p | {"dense2": up, "logits": last | {"kernel": last["kernel"] / 4}}}
    np.testing.assert_allclose(model.apply(scaled, X), model.apply(variables, X), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(measure(KEYS, scaled, X, LABEL)["relative_flatness"], found, rtol=1e-5)
    moved = {"params": p | {"logits": last | {"kernel": last["kernel"] + 0.1 * jnp.arange(256.0)[:, None] / 256}}}
    np.testing.assert_allclose(measure(KEYS, moved, X, LABEL)["relative_flatness"], found, rtol=1e-3)
    louder = {"params": p | {"logits": jax.tree.map(lambda w: 2 * w, last)}}
    assert not np.allclose(measure(KEYS, louder, X, LABEL)["relative_flatness"], found, rtol=0.1)


def test_members_and_populations_are_mapped_like_those_of_other_measures():
    _, _, measure = network()
    members = [network(seed=seed)[1] for seed in (0, 5)]
    x = jnp.stack([jnp.stack([X, 1 - X]), jnp.stack([X**2, X[::-1]])])  # [S, P, N, ...]
    label = jnp.broadcast_to(LABEL, (2, 2, 5))
    found = ensemble_measure(measure, KEYS, ensembles.stack(members), x, label)["relative_flatness"]
    for s in range(2):
        for p in range(2):
            alone = measure(KEYS, members[s], x[s, p], LABEL)["relative_flatness"]
            np.testing.assert_allclose(found[s, p], alone, rtol=1e-5)


def test_a_classifier_without_a_last_dense_layer_is_refused():
    check = functools.partial(check_last_layer, "measures=relative_flatness", "my.py:build")
    model, variables, _ = network("cnn")
    check(model, variables, X)
    w = {"params": jnp.eye(16)[:, :K]}
    check(linear(), w, X)
    check(linear(layers=()), w, X)  # affine in the pixels
    plain = external.of(lambda v, x: model.apply({"params": v}, x), None)
    with pytest.raises(UserError, match=r"measures=relative_flatness: .*it names no hidden layer.*leave measures"):
        check(plain, {"params": variables["params"]}, X)
    cut = external.complete(model._replace(layers=model.layers[:-1]))
    with pytest.raises(UserError, match="what follows 'conv2', the last of its layers, is not affine"):
        check(cut, variables, X)
