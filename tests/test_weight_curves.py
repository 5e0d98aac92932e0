"""Curves in weight space: their points, a known pass, and training that is the classifiers' own."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

from landscape import ensembles, presets, runs, tree
from landscape.data import Dataset
from landscape.files import UserError
from landscape.measures.weight_barrier import profile
from landscape.models import classifiers
from landscape.models.classifiers import Classifier
from landscape.training import classifier_members, step, weight_curves

PAIRS = np.array([[0, 1], [0, 2]])


def dataset(count=50):
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, count)
    images = np.clip(rng.normal(40 + 60 * label[:, None, None, None], 30, (count, 4, 4, 1)), 0, 255).astype(np.uint8)
    index = np.arange(count)
    return Dataset("made", images, label, index, ("a", "b", "c"), {"train": index[:40], "validation": index[40:]}, "0")


@pytest.fixture
def opened(tmp_path):
    config = presets.base("digits", True)
    config.experiment, config.artifacts = "noise", str(tmp_path / "artifacts")
    config.train.update(batch_size=16, label_smoothing=0.1)
    config.num_members = 3
    config.control_members = {"untrained": 0, "shuffled": 0}
    config.weights = {"num_epochs": 2, "learning_rate": 0.01}
    with runs.open_run(config, tmp_path / "run") as run:
        yield run


def bent(opened, made, variables, pairs=PAIRS, curve="bezier", data=None, **changes):
    """`weight_curves.ensemble` with another `config.weights`."""
    config = ConfigDict(opened.config.to_dict())
    config.weights.update(changes)
    members = classifier_members.members_of(config)
    data = dataset() if data is None else data
    return weight_curves.ensemble(opened, config, data, made, members, variables, pairs, curve)


def started(made, count=3):
    """Kernels as they are drawn before training; biases, scales and running statistics a little moved."""
    rng = np.random.default_rng(1)

    def leaf(path, shape):
        name, spread = path[-1].key, np.sqrt(2 / np.prod(shape.shape[:-1]))
        values = rng.normal(size=(count, *shape.shape)) * (spread if name == "kernel" else 0.05)
        return jnp.asarray(values + (name in ("scale", "var")), jnp.float32)

    return jax.tree_util.tree_map_with_path(leaf, jax.eval_shape(made.init, jax.random.key(1), jnp.zeros((1, 4, 4, 1))))


# ---- a loss over two weights ----


def ridge(w):
    """Between w_0 = 0 and w_0 = 1, 3 high on the straight way and 0.9 at its pass, w_1 = 0.8."""
    return 3 * jnp.exp(-jnp.square((w[0] - 0.5) / 0.05)) * (0.3 + 0.7 * jnp.square((w[1] - 0.8) / 0.6))


def planted():
    """A classifier of two weights whose loss of label 0 is softplus(ridge), whatever the image."""

    def apply(variables, x):
        height = ridge(variables["params"]["w"]["kernel"][0])
        return jnp.broadcast_to(jnp.stack([-height, 0.0])[None], (x.shape[0], 2))

    def init(key, x):
        return {"params": {"w": {"kernel": jnp.zeros((1, 2))}}}

    cut = (lambda v, x, layer: x, lambda v, h, layer: apply(v, h), ("image",))
    return Classifier(init, apply, lambda v, x: (apply(v, x), {}), *cut, lambda v, x, visit: apply(v, x))


@pytest.mark.parametrize("curve", ["bezier", "chain"])
def test_a_known_pass_is_reached(opened, curve):
    made, data = planted(), dataset()
    data = data._replace(labels=np.zeros_like(data.labels), class_names=("a", "b"))
    ends = {"params": {"w": {"kernel": jnp.asarray([[[0.0, 0.2]], [[1.0, 0.2]]])}}}
    points = bent(opened, made, ends, PAIRS[:1], curve, data, num_epochs=300, learning_rate=0.02)
    t = jnp.linspace(0, 1, 2001)
    rows = jax.vmap(lambda t: tree.CURVES[curve](t, 3))(t)
    loss, _ = profile(ensembles.take(points, 0), rows, jnp.zeros((1, 1, 4, 4, 1)), jnp.zeros(1, int), apply=made.apply)
    straight = float(jax.nn.softplus(3.0))
    lowest = float(jax.nn.softplus(0.9))  # which no curve between the two sides is below
    assert lowest - 1e-4 <= float(loss.max()) <= 1.01 * lowest < 0.5 * straight, float(loss.max()) / lowest
    np.testing.assert_allclose(
        np.asarray(loss)[[0, -1], 0, 0], float(jax.nn.softplus(ridge(jnp.asarray([0.0, 0.2])))), rtol=1e-6
    )


# ---- curves between networks ----


def test_a_curve_begins_as_the_line_and_keeps_its_ends():
    made = classifiers.build("mlp", num_classes=3, norm="batch")
    variables = jax.tree.map(np.asarray, started(made))
    first, last = (ensembles.take(variables, i) for i in range(2))
    zero = weight_curves.task_of(made, "chain").init(jax.random.key(0), jnp.zeros((1, 4, 4, 1)))["params"]
    for moved in (0.0, 0.5):
        points = weight_curves.points(jax.tree.map(lambda leaf, moved=moved: leaf + moved, zero), first, last)
        for name, off in (("params", moved), ("batch_stats", 0.0)):
            for point, a, b in zip(*(jax.tree.leaves(part[name]) for part in (points, first, last)), strict=True):
                np.testing.assert_array_equal(point[jnp.asarray([0, -1])], np.stack([a, b]))
                np.testing.assert_allclose(point[1], 0.5 * (a + b) + off, atol=1e-6)


@pytest.mark.parametrize("norm", [pytest.param("none", marks=pytest.mark.slow), "batch"])
def test_bending_is_a_plain_loop_over_random_places(opened, norm):
    made, data = classifiers.build("mlp", num_classes=3, mean=(0.4,), std=(0.3,), norm=norm), dataset()
    variables = started(made)
    points = bent(opened, made, variables)
    images = data.images[data.splits["train"]].astype(np.float32) / 255
    labels = data.labels[data.splits["train"]]
    q, (i, j) = 1, PAIRS[1]
    a, b = (ensembles.take(jax.tree.map(np.asarray, variables), s) for s in (i, j))
    number = (i + 1) * weight_curves.NUMBERS + j
    key = step.member_keys(opened.config.seed, jnp.asarray([number]))[0]
    theta = jax.tree.map(lambda a, b: 0.5 * (a + b), a["params"], b["params"])
    tx = optax.adam(lambda count: 0.01 * 0.5 * (1 + jnp.cos(jnp.pi * count / 4)))
    state = tx.init(theta)

    @jax.grad
    def slope(theta, t, x, label):
        at = jax.tree.map(
            lambda a, m, b: (1 - t) ** 2 * a + 2 * t * (1 - t) * m + t**2 * b, a["params"], theta, b["params"]
        )
        logits, _ = made.train_apply({**a, "params": at}, x)
        smooth = 0.9 * jax.nn.one_hot(label, 3) + 0.1 / 3
        return -jnp.mean(jnp.sum(smooth * jax.nn.log_softmax(logits), axis=-1))

    @jax.jit
    def advance(theta, state, t, x, label):
        updates, state = tx.update(slope(theta, t, x, label), state)
        return optax.apply_updates(theta, updates), state

    for count in range(4):  # two epochs of two batches
        order = jax.random.permutation(jax.random.fold_in(jax.random.fold_in(key, step.ORDER), count // 2), 40)
        rows = np.asarray(order)[16 * (count % 2) : 16 * (count % 2 + 1)]
        fresh = jax.random.fold_in(jax.random.fold_in(key, step.NOISE), count)
        t = jax.random.uniform(jax.random.split(fresh)[0])
        theta, state = advance(theta, state, t, images[rows], labels[rows])
    found = jax.tree.map(lambda leaf: leaf[q, 1], points["params"])
    for one, other in zip(*map(jax.tree.leaves, (found, theta)), strict=True):
        # Adam divides by the gradient's size: where that is rounding, so is the step's sign.
        assert np.mean(np.abs(np.asarray(one) - other) < 1e-4) > 0.99
    assert ("batch_stats" in points) == (norm == "batch")


@pytest.mark.slow
def test_a_pair_bends_alone_as_with_others_and_is_kept(opened, tmp_path):
    made = classifiers.build("mlp", num_classes=3)
    variables = started(made)
    both = bent(opened, made, variables, curve="chain")
    folders = sorted((tmp_path / "artifacts" / "weight_curve").iterdir())
    assert len(folders) == 2
    restored = bent(opened, made, variables, PAIRS[1:], "chain")
    for folder in folders:
        folder.rename(tmp_path / folder.name)
    alone = bent(opened, made, variables, PAIRS[1:], "chain")
    for one in (restored, alone):
        jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[1], b[0]), both, one)


def test_a_loss_that_is_not_finite_is_refused(opened):
    made = classifiers.build("mlp", num_classes=3)
    with pytest.raises(UserError, match=r"weights\.learning_rate"):
        bent(opened, made, started(made), learning_rate=1e30)
