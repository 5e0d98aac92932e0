"""A trajectory is plain SGD from a trained member: the same weights by another road, and as an artefact."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from landscape import ensembles, presets, runs
from landscape.data import Dataset
from landscape.files import UserError
from landscape.models import classifiers
from landscape.training import classifier_members, step, trajectory
from landscape.training.classifier_members import Hyper
from landscape.training.members import Member

HYPER = Hyper(3e-3, 0.0, 0.1, 0.0, 0.0)
MEMBERS = [Member(seed, "trained", HYPER) for seed in (0, 3)]
WALK = trajectory.Walk(learning_rate=0.05, momentum=0.9, num_epochs=2, num_models=3, batch_size=16)


def dataset(count=50):
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, count)
    images = np.clip(rng.normal(40 + 60 * label[:, None, None, None], 30, (count, 4, 4, 1)), 0, 255).astype(np.uint8)
    index = np.arange(count)
    return Dataset("made", images, label, index, ("a", "b", "c"), {"train": index[:40], "validation": index[40:]}, "0")


def classifier(norm="none"):
    return classifiers.build("cnn", num_classes=3, mean=(0.4,), std=(0.3,), norm=norm)


@pytest.fixture
def opened(tmp_path):
    config = presets.base("digits", True)
    config.experiment, config.artifacts = "noise", str(tmp_path / "artifacts")
    config.trajectory = {"learning_rate": 0.05, "momentum": 0.9, "num_epochs": 2, "num_models": 3}
    config.train.batch_size = 16
    with runs.open_run(config, tmp_path / "run") as run:
        yield run


def started(made):
    keys = jax.random.split(jax.random.key(1), len(MEMBERS))
    return ensembles.stack([made.init(key, jnp.zeros((1, 4, 4, 1))) for key in keys])


def collected(opened, made, variables, walk=WALK, members=MEMBERS):
    task = classifier_members.task_of(made)
    return trajectory.collect(opened, variables, members, dataset(), task, walk, seed=7, how=ensembles.Mapping())


@pytest.mark.slow
@pytest.mark.parametrize("norm", [pytest.param("none", marks=pytest.mark.slow), "batch"])
def test_a_trajectory_is_a_plain_loop_of_sgd(opened, norm):
    made, data = classifier(norm), dataset()
    variables = started(made)
    before = jax.tree.map(np.array, variables)
    points, losses = collected(opened, made, variables)
    jax.tree.map(np.testing.assert_array_equal, before, variables)  # the members stay as they are
    images = data.images[data.splits["train"]].astype(np.float32) / 255
    labels = data.labels[data.splits["train"]]
    for s, member in enumerate(MEMBERS):
        own = ensembles.take(variables, s)
        params, rest = own["params"], {k: v for k, v in own.items() if k != "params"}
        key = jax.random.fold_in(step.member_keys(7, jnp.asarray([member.seed]))[0], np.uint32(trajectory.KEY))
        tx = optax.sgd(0.05, momentum=0.9)
        state, passed = tx.init(params), []
        for t in range(4):  # two epochs of two batches; points after 1, 2 and 4 steps
            order = jax.random.permutation(jax.random.fold_in(jax.random.fold_in(key, step.ORDER), t // 2), 40)
            rows = np.asarray(order)[16 * (t % 2) : 16 * (t % 2 + 1)]

            def loss_fn(params, rest=rest, rows=rows):
                logits, stats = made.train_apply({"params": params, **rest}, jnp.asarray(images[rows]))
                smooth = 0.9 * jax.nn.one_hot(labels[rows], 3) + 0.1 / 3
                return -jnp.mean(jnp.sum(smooth * jax.nn.log_softmax(logits), axis=-1)), stats

            (loss, stats), grads = jax.value_and_grad(loss_fn, has_aux=True)(params)
            updates, state = tx.update(grads, state)
            params = optax.apply_updates(params, updates)
            rest = {"batch_stats": stats} if stats else {}
            passed.append(float(loss))
            if (k := (0, 1, None, 2)[t]) is not None:
                for ours, theirs in zip(
                    jax.tree.leaves(points), jax.tree.leaves({**rest, "params": params}), strict=True
                ):
                    # Sums of products in another order, over four steps.
                    np.testing.assert_allclose(ours[s, k], theirs, rtol=1e-4, atol=2e-6)
        np.testing.assert_allclose(losses[s], [passed[0], passed[1], np.mean(passed[2:])], rtol=1e-4)
    if norm == "batch":
        moved = jax.tree.leaves(jax.tree.map(lambda a, b: np.abs(a[:, -1] - b).max(), points, before)["batch_stats"])
        assert min(moved) > 1e-4


def test_a_member_walks_alone_as_with_others(opened):
    made = classifier()
    variables = started(made)
    both, _ = collected(opened, made, variables)
    alone, _ = collected(opened, made, ensembles.take(variables, np.array([1])), members=MEMBERS[1:])
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[1], b[0]), both, alone)


def test_trajectories_are_artefacts_and_depend_on_the_walk(opened, tmp_path):
    made, data = classifier(), dataset()
    variables = started(made)
    first = trajectory.ensemble(opened, opened.config, data, made, MEMBERS, variables)
    folders = sorted((tmp_path / "artifacts" / "trajectory").iterdir())
    assert len(folders) == 2 and jax.tree.leaves(first)[0].shape[:2] == (2, 3)
    again = trajectory.ensemble(opened, opened.config, data, made, MEMBERS, jax.tree.map(jnp.zeros_like, variables))
    jax.tree.map(np.testing.assert_array_equal, first, again)  # restored, not walked anew


def test_what_is_refused(opened):
    made = classifier()
    with pytest.raises(UserError, match="num_models=9: expected at most 4, the steps of 2 epochs"):
        collected(opened, made, started(made), WALK._replace(num_models=9))
    with pytest.raises(UserError, match=r"member 0 .* is not finite at step 1"):
        collected(opened, made, started(made), WALK._replace(learning_rate=1e30))
