"""Curves in weight space between pairs of trained classifiers, bent until the training loss along them is low.

A curve begins at one classifier, ends at the other and has a waypoint between them. Every step draws t ~ U[0, 1] and
lowers the loss of training images, as they are, at the point t of the curve; the ends stay. The waypoint begins in the
middle of the line between the ends and is kept as what it is away from it: so a pair is a member of `training.loop`
like any other, which knows nothing of ends.

With batch norm the loss in training is normalised by its own batch; running statistics of a point of the curve are
nowhere trained and have to be taken anew (`models.repair.statistics_of`).

Source: Garipov et al. 2018, arXiv:1802.10026.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from landscape import ensembles, runs, tree
from landscape.data import Dataset
from landscape.models.classifiers import Classifier
from landscape.training import artifacts, classifier_members
from landscape.training.classifier_members import Hyper
from landscape.training.members import Member
from landscape.training.step import Task
from landscape.types import Ensemble, Variables

VERSION = 1  # raised whenever the same identity would give other waypoints
NUMBERS = 4096  # pair (i, j) is number (i + 1) NUMBERS + j: no number of a classifier


def points(offset: Any, first: Variables, last: Variables) -> Variables:
    """The curve's points, leaves [3, ...]: the first end, the waypoint, the last end.

    Args:
      offset: of the waypoint's parameters from the middle of the line, leaves [1, ...].
      first, last: the ends.
    """
    lines = jax.tree.map(lambda a, b: jnp.stack([a, a + np.float32(0.5) * (b - a), b]), first, last)
    return {**lines, "params": jax.tree.map(lambda line, one: line.at[1:-1].add(one), lines["params"], offset)}


@functools.lru_cache(maxsize=8)  # the same task gives the same compiled program
def task_of(classifier: Classifier, curve: str) -> Task:
    """The training loss of classifiers at a random point of a curve; scored by the accuracy of its middle.

    Its context are the two ends.

    Args:
      curve: one of `tree.CURVES`.
    """
    own = classifier_members.task_of(classifier)

    def init(key, x):
        params = jax.eval_shape(classifier.init, key, x)["params"]
        return {"params": jax.tree.map(lambda leaf: jnp.zeros((1, *leaf.shape), leaf.dtype), params)}

    def at(variables, context, t):
        return tree.blend(tree.CURVES[curve](t, 3), points(variables["params"], *context))

    def loss(variables, context, key, x, label, hyper):
        key_place, key_own = jax.random.split(key)
        value, _ = own.loss(at(variables, context, jax.random.uniform(key_place)), (), key_own, x, label, hyper)
        return value, {}

    def score(variables, context, x, label):
        logits, _ = classifier.train_apply(at(variables, context, jnp.float32(0.5)), x)
        return jnp.argmax(logits, axis=-1) == label

    return Task(init, loss, score, "middle_accuracy")


def ensemble(
    run: runs.Run,
    config,
    dataset: Dataset,
    classifier: Classifier,
    members: Sequence[Member],
    variables: Ensemble,
    pairs: Int[np.ndarray, "Q 2"],
    curve: str,
) -> Ensemble:
    """Points of curves between pairs of classifiers, [Q, 3, ...]: restored where they exist, the others bent together.

    Args:
      config: with `weights` (num_epochs, learning_rate) and what `classifier_members.identity` reads.
      members, variables: the classifiers, and their weights [S, ...].
      pairs: numbers of the ends among them. curve: one of `tree.CURVES`.

    Raises:
      UserError: a loss that is not finite.
      runs.Interrupted: a signal came; the same command goes on.
    """
    # The curve's own learning rate, and the config's label smoothing; no decay, no noise, no crops.
    hyper = Hyper(float(config.weights.learning_rate), 0.0, float(config.train.label_smoothing), 0.0, 0.0)
    ends = [ensembles.take(variables, pairs[:, i]) for i in range(2)]
    bent = [Member(int((i + 1) * NUMBERS + j), "trained", hyper) for i, j in pairs]
    sources = [artifacts.identity_hash(classifier_members.identity(config, dataset, member)) for member in members]
    shared = {"num_epochs": config.weights.num_epochs, "batch_size": config.train.batch_size}
    about = [
        {
            "kind": "weight_curve",
            "ends": [sources[i], sources[j]],
            "curve": curve,
            "num_bends": 1,
            "training": shared | hyper._asdict(),
            "seed": config.seed,
            "member": member.seed,
            "training_version": VERSION,
        }
        for (i, j), member in zip(pairs, bent, strict=True)
    ]
    task, stage = task_of(classifier, curve), f"weights.{curve}"
    like = jax.eval_shape(task.init, jax.random.key(0), jnp.zeros((1, *dataset.images.shape[1:])))
    how = {"seed": config.seed, "mapping": config.mapping, "section": "weights", "context": tuple(ends), **shared}

    def train(missing: Sequence[int], keep: artifacts.Keep) -> None:
        artifacts.train_together(run, dataset, task, bent, about, missing, keep, stage=stage, **how)

    found = artifacts.ensemble(run, f"train.{stage}", about, like, train)
    return jax.jit(jax.vmap(points))(found["params"], *ends)
