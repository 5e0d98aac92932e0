"""Adversarial training: on a linear classifier the inner search has a closed form; robust members resist attacks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape import data, ensembles, objectives, presets, runs, samplers, search, spaces
from landscape.models import classifiers
from landscape.training import classifier_members
from landscape.training.adversarial import Attack, hardest

RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.random((6, 3, 3, 1)), jnp.float32)
LABEL = jnp.asarray([0, 1, 0, 1, 0, 1])
WEIGHT = jnp.asarray(RNG.normal(size=(9, 2)), jnp.float32)


def linear(variables, x):
    return x.reshape(x.shape[0], -1) @ variables


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.9])
def test_on_a_linear_classifier_every_pixel_goes_all_the_way(epsilon):
    """Two classes: the loss rises along w_other - w_own everywhere, so the maximum is clip(x + epsilon sign)."""
    found = hardest(
        jax.random.key(0), WEIGHT, X, LABEL, jnp.float32(epsilon), apply=linear, attack=Attack("linf", 8, 0.3)
    )
    along = (WEIGHT[:, 1] - WEIGHT[:, 0])[None, :] * (1 - 2 * LABEL)[:, None]
    expected = jnp.clip(X + epsilon * jnp.sign(along).reshape(X.shape), 0.0, 1.0)
    np.testing.assert_allclose(found, expected, atol=0 if epsilon == 0 else 1e-6)


def test_l2_examples_stay_in_the_ball_and_in_the_box_and_raise_the_loss():
    found = hardest(jax.random.key(0), WEIGHT, X, LABEL, jnp.float32(0.4), apply=linear, attack=Attack("l2", 10, 0.25))
    assert float(jnp.max(spaces.l2_norm(found - X))) <= 0.4 * (1 + 1e-5)
    assert 0 <= float(found.min()) and float(found.max()) <= 1
    before, after = (objectives.loss(linear(WEIGHT, x), LABEL) for x in (X, found))
    assert np.all(np.asarray(after) > np.asarray(before) + 0.1)


def test_no_gradient_flows_through_the_search():
    def total(weight, x):
        return jnp.sum(hardest(jax.random.key(0), weight, x, LABEL, 0.1, apply=linear, attack=Attack("linf", 2, 0.5)))

    for slope in jax.grad(total, argnums=(0, 1))(WEIGHT, X):
        np.testing.assert_array_equal(slope, 0.0)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    dataset = data.load("digits", directory="", cache=str(tmp_path_factory.mktemp("cache")), seed=0)
    return dataset, classifiers.build("mlp", num_classes=10)


def members(tmp_path, dataset, classifier, **changes):
    config = presets.base("digits", smoke=True)
    config.experiment = "train"
    config.artifacts = str(tmp_path / "artifacts")
    config.num_members, config.control_members.untrained, config.train.num_epochs = 1, 0, 6
    config.train.label_smoothing = 0.0
    config.update_from_flattened_dict(changes)
    with runs.open_run(config, tmp_path / "run") as run:
        return classifier_members.ensemble(run, config, dataset, classifier)


def accuracy_under_attack(variables, classifier, x, label, epsilon):
    """Of projected gradient ascent on the margin, another objective than the one of training, with more steps."""
    found = search.search(
        jax.random.key(1),
        x,
        label,
        objective=objectives.descend(classifier.apply, objectives.margin),
        space=spaces.pixels("linf"),
        sampler=samplers.fixed(variables),
        optimizer=search.steepest("linf", epsilon / 8),
        epsilon=epsilon,
        num_steps=20,
    )
    return float(jnp.mean(classifier.apply(variables, found.z).argmax(axis=-1) == label))


@pytest.mark.slow  # two trainings
def test_a_robust_member_resists_and_the_plain_one_beside_it_is_as_without(tmp_path, digits):
    """Epsilon 0 and 0.15 of one sweep; 0 is another program's member: that of a run without adversarial training."""
    dataset, classifier = digits
    both, about = members(tmp_path / "both", dataset, classifier, **{"sweep.adversarial_epsilon": (0.0, 0.15)})
    plain, _ = members(tmp_path / "plain", dataset, classifier)
    assert [member["adversarial_epsilon"] for member in about] == [0.0, 0.15]
    jax.tree.map(np.testing.assert_array_equal, ensembles.take(both, slice(1)), plain)
    index = dataset.splits["test"]
    x, label = jnp.asarray(data.pixels(dataset.images[index])), jnp.asarray(dataset.labels[index], jnp.int32)
    under = [accuracy_under_attack(ensembles.take(both, s), classifier, x, label, 0.15) for s in (0, 1)]
    assert under[1] > under[0] + 0.2, under
