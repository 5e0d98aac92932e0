"""Classifiers: cut at any layer, with any norm, activation and convolution."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape.models import classifiers
from landscape.models.conv import plain

X = jnp.asarray(np.random.default_rng(0).uniform(size=(4, 8, 8, 3)), jnp.float32)
build = functools.partial(classifiers.build, num_classes=7, mean=(0.1, 0.2, 0.3), std=(0.5, 1.0, 2.0))


def variables_of(classifier, x=X):
    """Variables of the shapes of `init`, every one random: scales, shifts and running statistics too."""
    rng = np.random.default_rng(1)

    def leaf(path, shape):
        spread = np.sqrt(2 / np.prod(shape.shape[:-1])) if path[-1].key == "kernel" else 0.1
        offset = 1.0 if path[-1].key in ("scale", "var") else 0.0
        return jnp.asarray(offset + spread * rng.normal(size=shape.shape), shape.dtype)

    return jax.tree_util.tree_map_with_path(leaf, jax.eval_shape(classifier.init, jax.random.key(0), x))


# Deep ones take seconds to compile, so they are tried with the norm that has most state, and once without.
MODELS = [("resnet8", "batch")] + [(name, norm) for name in ("mlp", "cnn", "cnn_wide") for norm in classifiers.NORMS]
DEEP = [pytest.param(name, "batch", marks=pytest.mark.slow) for name in ("resnet18", "resnet20")]


@pytest.mark.parametrize(("name", "norm"), [*MODELS, *DEEP])
def test_head_of_features_is_apply_at_every_layer(name, norm):
    classifier = build(name, norm=norm)
    variables = variables_of(classifier)

    @jax.jit
    def by_both_roads(variables, x):
        return classifier.apply(variables, x), [
            classifier.head(variables, classifier.features(variables, x, layer), layer) for layer in classifier.layers
        ]

    logits, cut = by_both_roads(variables, X)
    assert logits.shape == (4, 7)
    np.testing.assert_allclose(classifier.apply(variables, X[:2]), logits[:2], atol=1e-5)  # each row by itself
    for layer, other in zip(classifier.layers, cut, strict=True):
        np.testing.assert_allclose(other, logits, atol=1e-5, err_msg=layer)


def test_features_from_a_layer_on_are_those_from_the_image():
    classifier = build("cnn")
    variables, h = variables_of(classifier), X
    for before, layer in itertools.pairwise(classifier.layers):
        h = classifier.features(variables, h, layer, before)
        np.testing.assert_allclose(h, classifier.features(variables, X, layer), atol=1e-5, err_msg=layer)
    with pytest.raises(ValueError, match="layer='conv1' from start='conv2': expected one behind it"):
        classifier.features(variables, h, "conv1", "conv2")
    np.testing.assert_array_equal(classifier.features(variables, X, "image"), X)


def test_the_imagenet_stem_cuts_a_side_by_four_and_pads_alike_on_both_sides():
    """Mirrored kernels of a mirrored image give the mirrored stem: true of symmetric padding alone (65 is odd)."""
    classifier = build("resnet8", norm="batch", stem="imagenet")
    x = jnp.asarray(np.random.default_rng(2).uniform(size=(1, 65, 61, 3)), jnp.float32)
    variables = variables_of(classifier, x)
    kernel = variables["params"]["stem"]["kernel"]
    variables["params"]["stem"]["kernel"] = kernel + kernel[::-1, ::-1]
    h = classifier.features(variables, x, "stem")
    assert h.shape == (1, 17, 16, 16)
    np.testing.assert_allclose(classifier.features(variables, x[:, ::-1, ::-1], "stem"), h[:, ::-1, ::-1], atol=1e-5)


@pytest.mark.parametrize("activation", list(classifiers.ACTIVATIONS))
def test_plain_convolution_reads_the_same_variables(activation):
    ours, theirs = (build("cnn", norm="group", activation=activation, conv=c) for c in (classifiers.convolution, plain))
    variables = variables_of(ours)
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, variables_of(theirs))

    @jax.jit
    def both(variables, x):
        """Logits, a gradient, and the gradient's slope along all-ones by pull-back and by push-forward."""
        ones = jnp.ones_like(x)
        outs = []
        for classifier in (ours, theirs):
            value, grad = jax.value_and_grad(lambda x, c=classifier: jnp.sum(jnp.sin(c.apply(variables, x))))(x)
            outs.append((classifier.apply(variables, x), grad, jnp.sum(grad), value))
        push = jax.jvp(lambda x: jnp.sum(jnp.sin(theirs.apply(variables, x))), (x,), (ones,))[1]
        return outs, push

    (mine, other), push = both(variables, X)
    np.testing.assert_allclose(mine[0], other[0], atol=1e-5)
    if activation != "relu":  # its gradient jumps at kinks
        np.testing.assert_allclose(mine[1], other[1], atol=1e-5)
        np.testing.assert_allclose(mine[2], push, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("norm", classifiers.NORMS)
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("name, stem", [("mlp", "small"), pytest.param("resnet8", "imagenet", marks=pytest.mark.slow)])
def test_piecewise_linear_classifiers_have_no_hessian_and_others_do(name, stem, norm, activation):
    model = classifiers.build(name, num_classes=4, norm=norm, activation=activation, stem=stem)
    key, key_x, key_v = jax.random.split(jax.random.key(0), 3)
    x, v = (jax.random.uniform(one, (1, 8, 8, 1)) for one in (key_x, key_v))
    variables = model.init(key, x)
    slope = jax.grad(lambda x: jnp.sum(model.apply(variables, x)[:, 0]))
    bent = jax.jit(lambda x: jax.jvp(slope, (x,), (v,))[1])(x)
    assert model.piecewise_linear == (not np.any(bent))


def test_batch_norm_updates_its_statistics_in_training_only():
    classifier = build("cnn", norm="batch")
    variables = variables_of(classifier)
    logits, stats = classifier.train_apply(variables, X)
    moved = stats["norm1"]["mean"] - variables["batch_stats"]["norm1"]["mean"]
    assert logits.shape == (4, 7) and float(jnp.abs(moved).max()) > 0
    assert build("cnn").train_apply(variables_of(build("cnn")), X)[1] == {}


def test_pixels_are_normalised_inside():
    """Moving mean and std along with the pixels changes nothing."""
    scaled = classifiers.build("cnn", num_classes=7, mean=(0.05, 0.1, 0.15), std=(0.25, 0.5, 1.0))
    variables = variables_of(build("cnn"))
    np.testing.assert_allclose(scaled.apply(variables, X / 2), build("cnn").apply(variables, X), atol=1e-5)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "cnnn"}, "model='cnnn': expected one of mlp, cnn"),
        ({"name": "cnn", "norm": "layer"}, "norm='layer': expected one of none, group, batch"),
        ({"name": "cnn", "activation": "elu"}, "activation='elu': expected one of relu"),
        ({"name": "cnn", "std": (0.0,)}, "expected positive numbers"),
        ({"name": "cnn", "stem": "imagenet"}, "stem='imagenet': expected 'small' for cnn"),
        ({"name": "resnet18", "stem": "large"}, "stem='large': expected one of small, imagenet"),
    ],
)
def test_unknown_choices_name_the_known_ones(fields, message):
    with pytest.raises(ValueError, match=message):
        classifiers.build(num_classes=3, **fields)
    with pytest.raises(ValueError, match="layer='conv9': cnn has image, conv1, conv2, conv3"):
        build("cnn").features({}, X, "conv9")


def test_bfloat16_is_of_all_products_and_of_nothing_that_is_kept():
    """Forward and backward; logits, gradients and running statistics are float32."""
    classifier = build("cnn", norm="batch")
    variables = variables_of(classifier)
    _, train_apply = classifiers.in_precision(classifier, "bfloat16")

    def loss(params):
        logits, batch_stats = train_apply({**variables, "params": params}, X)
        return jnp.sum(logits), (logits, batch_stats)

    traced, shapes = jax.make_jaxpr(jax.grad(loss, has_aux=True), return_shape=True)(variables["params"])
    lines = [line for line in str(traced).splitlines() if "conv_general_dilated[" in line or "dot_general[" in line]
    assert len(lines) > 4 and all(":bf16[" in line for line in lines)
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}
