"""Members trained on changed examples: without changes they are the plain ones, and BatchNorm sees the images alone."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_training import DATASET, config_of

from landscape import ensembles, runs
from landscape.models.classifiers import build
from landscape.training import artifacts, augmented_members, classifier_members
from landscape.training.augmented_members import Coder, coded_loss_of, loss_of, member_of
from landscape.training.runner_up import CODED, EACH_STEP, KINDS, Augmentation, moved

CLASSIFIER = build("mlp", num_classes=3, norm="batch")
LAYERS = CLASSIFIER.layers
ENDS = (LAYERS[0], LAYERS[-1])
MOVE = Augmentation(layer=1, probability=1.0, epsilon=0.2)
RANDOM, MIXUP = KINDS.index("random"), KINDS.index("mixup")


def hyper(config):
    return classifier_members.members_of(config)[0].hyper


@pytest.mark.slow  # three trainings
def test_without_changes_a_member_is_the_plain_one_bit_for_bit(tmp_path):
    """Probability 0, and epsilon 0: the same artefact and the same weights, beside members that are changed."""
    config = config_of(tmp_path, **{"control_members.untrained": 0})
    with runs.open_run(config, tmp_path / "run") as run:
        numbers = [MOVE._replace(probability=0.0), MOVE, MOVE._replace(epsilon=0.0), MOVE._replace(layer=0)]
        members = [member_of(hyper(config), seed, how) for how in numbers for seed in (0, 1)]
        found = augmented_members.ensemble(run, config, DATASET, CLASSIFIER, members, LAYERS, "arms")
    other = config_of(tmp_path, artifacts=str(tmp_path / "others"), **{"control_members.untrained": 0})
    with runs.open_run(other, tmp_path / "other") as run:
        plain, _ = classifier_members.ensemble(run, other, DATASET, CLASSIFIER)
    for at in (slice(0, 2), slice(4, 6)):
        jax.tree.map(np.testing.assert_array_equal, ensembles.take(found, at), plain)
    kernels = np.asarray(found["params"]["dense2"]["kernel"])
    assert not np.allclose(kernels[2:4], kernels[:2]) and not np.allclose(kernels[6:8], kernels[2:4])


def test_only_members_that_are_changed_have_an_identity_of_their_own(tmp_path):
    config = config_of(tmp_path)
    plain = classifier_members.identity(config, DATASET, classifier_members.members_of(config)[0])
    coders = [Coder(layer, None, None, None, (), ({"number": 0},)) for layer in ENDS]

    def identity(how):
        return augmented_members.identity(config, DATASET, member_of(hyper(config), 0, how), LAYERS, coders)

    for how in (Augmentation(), MOVE._replace(probability=0.0), MOVE._replace(epsilon=0.0)):
        assert identity(how) == plain
    numbers = [MOVE, MOVE._replace(layer=0), MOVE._replace(kind=RANDOM), MOVE._replace(correct=1)]
    numbers += [MOVE._replace(coded=1), MOVE._replace(coded=1, layer=0)]
    numbers += [Augmentation(kind=MIXUP, layer=layer, alpha=1.0) for layer in (0, EACH_STEP)]
    hashes = [artifacts.identity_hash(identity(how)) for how in numbers]
    assert len({*hashes, artifacts.identity_hash(plain)}) == len(numbers) + 1


def batch():
    x = jax.random.uniform(jax.random.key(0), (16, 4, 4, 1))
    variables = CLASSIFIER.init(jax.random.key(1), x)
    return variables, x, jax.random.randint(jax.random.key(2), (16,), 0, 3)


def numbers(how):
    plain = classifier_members.Hyper(0.1, 0.0, 0.1, 0.0, 0.0)
    return augmented_members.Hyper(*(jnp.float32(value) for value in (*plain, *how)))


@partial(jax.jit, static_argnames="guided")
def changed(params, rest, x, label, how, guided):
    """(loss, running statistics), gradient; one program for all layers, as members of one program have it."""

    def loss(params):
        variables, key = {**rest, "params": params}, jax.random.key(3)
        return loss_of(CLASSIFIER, ENDS, guided=guided)(variables, (), key, x, label, how)

    return jax.value_and_grad(loss, has_aux=True)(params)


@jax.jit
def plain(params, rest, x, label):
    def loss(params):
        logits, statistics = CLASSIFIER.train_apply({**rest, "params": params}, x)
        return classifier_members.cross_entropy(logits, label, jnp.float32(0.1)), statistics

    return jax.value_and_grad(loss, has_aux=True)(params)


def parts():
    variables, x, label = batch()
    rest = {"batch_stats": variables["batch_stats"]}
    return variables["params"], rest, x, label


def test_running_statistics_are_those_of_the_images_as_they_are():
    (expected, statistics), _ = plain(*parts())
    for how in (MOVE, MOVE._replace(kind=RANDOM), Augmentation(kind=MIXUP, layer=EACH_STEP, alpha=1.0)):
        (value, found), _ = changed(*parts(), numbers(how), guided=how == MOVE)
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-7), found, statistics)
        assert np.isfinite(value) and abs(value - expected) > 1e-4


def test_with_nothing_moved_loss_and_gradient_are_those_of_the_images_at_every_layer():
    """The training-mode cut: up to a layer, then the rest, is the whole."""
    (expected, _), gradient = plain(*parts())
    for layer in range(len(ENDS)):
        (value, _), found = changed(*parts(), numbers(MOVE._replace(layer=layer, probability=0.0)), guided=True)
        np.testing.assert_allclose(value, expected, rtol=1e-5)
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), found, gradient)


def test_directions_of_all_layers_at_once_are_those_of_each_alone():
    """The loss beside that of `moved` at each layer, and through an autoencoder that changes nothing."""
    classifier = build("mlp", num_classes=3)
    _, x, label = batch()
    variables, key = classifier.init(jax.random.key(1), x), jax.random.key(3)
    at_once = jax.jit(loss_of(classifier, ENDS, room=0.5, guided=True))
    for i, layer in enumerate(ENDS):
        how = MOVE._replace(layer=i, probability=0.5)
        head = partial(classifier.head, variables, layer=layer)
        out = moved(key, head, classifier.features(variables, x, layer), label, how)
        expected = classifier_members.cross_entropy(head(out), label, jnp.float32(0.1))
        np.testing.assert_allclose(at_once(variables, (), key, x, label, numbers(how))[0], expected, rtol=1e-5)
    coded = coded_loss_of(classifier, ENDS[-1], "float32", (lambda context, h: h, lambda context, z: z), 0.5)
    how = how._replace(coded=CODED.index("replace"))
    np.testing.assert_allclose(coded(variables, (), key, x, label, numbers(how))[0], expected, rtol=1e-5)
