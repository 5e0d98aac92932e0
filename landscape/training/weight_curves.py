"""Curves in weight space between pairs of trained classifiers, bent until the training loss along them is low.

A curve begins at one classifier, ends at the other and has B waypoints between them. Every step draws t ~ U[0, 1] and
lowers the classifiers' own training loss at the point t of the curve; the ends stay. The waypoints begin on the line
between the ends, equally far apart, and are kept as what they are away from it: so a pair is a member of
`training.loop` like any other, which knows nothing of ends.

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
from jaxtyping import Float, Int

from landscape import ensembles, files, runs, tree
from landscape.data import Dataset
from landscape.models.classifiers import Classifier
from landscape.training import artifacts, classifier_members
from landscape.training.classifier_members import Hyper
from landscape.training.members import Member
from landscape.training.step import Task
from landscape.types import Ensemble, Variables

KIND = "weight_curve"
VERSION = 1  # raised whenever the same identity would give other waypoints
SCORED = "middle_accuracy"
NUMBERS = 4096  # pair (i, j) is number (i + 1) NUMBERS + j: no number of a classifier


def points(offsets: Any, first: Variables, last: Variables) -> Variables:
    """The curve's points, leaves [P, ...]: the first end, waypoints, the last end.

    Args:
      offsets: of the waypoints from the line, leaves [B, ...]; leaves of the ends that it lacks stay on the line.
      first, last: the ends.
    """
    num_waypoints = jax.tree.leaves(offsets)[0].shape[0]
    t = np.arange(1, num_waypoints + 1, dtype=np.float32) / (num_waypoints + 1)

    def along(a, b):
        inner = a[None] + t.reshape(-1, *(1,) * a.ndim) * (b - a)[None]
        return jnp.concatenate([a[None], inner, b[None]])

    def bent(line, offset):
        return line.at[1:-1].add(offset)

    lines = jax.tree.map(along, first, last)
    return {**lines, "params": jax.tree.map(bent, lines["params"], offsets)}


@functools.lru_cache(maxsize=8)  # the same task gives the same compiled program
def task_of(classifier: Classifier, curve: str, num_waypoints: int) -> Task:
    """The training loss of classifiers at a random place of a curve; scored by the accuracy of its middle.

    Its context are the two ends.

    Args:
      curve: one of `tree.CURVES`.

    Raises:
      ValueError: an unknown curve, or no waypoint.
    """
    if curve not in tree.CURVES:
        raise ValueError(f"curve={curve!r}: expected one of {', '.join(tree.CURVES)}")
    if num_waypoints < 1:
        raise ValueError(f"num_waypoints={num_waypoints}: expected at least 1; without one the curve is the line")
    own = classifier_members.task_of(classifier)

    def init(key, x):
        params = jax.eval_shape(classifier.init, key, x)["params"]
        return {"params": jax.tree.map(lambda leaf: jnp.zeros((num_waypoints, *leaf.shape), leaf.dtype), params)}

    def at(variables, context, t):
        return tree.blend(tree.CURVES[curve](t, num_waypoints + 2), points(variables["params"], *context))

    def loss(variables, context, key, x, label, hyper):
        key_place, key_own = jax.random.split(key)
        value, _ = own.loss(at(variables, context, jax.random.uniform(key_place)), (), key_own, x, label, hyper)
        return value, {}

    def score(variables, context, x, label):
        logits, _ = classifier.train_apply(at(variables, context, jnp.float32(0.5)), x)
        return jnp.argmax(logits, axis=-1) == label

    return Task(init, loss, score, SCORED)


def hyper_of(config) -> Hyper:
    """The curve's own learning rate, and the label smoothing that its ends were trained with; no decay, no noise."""
    return Hyper(float(config.weights.learning_rate), 0.0, float(config.train.label_smoothing), 0.0, 0.0)


def ensemble(
    run: runs.Run,
    config,
    dataset: Dataset,
    classifier: Classifier,
    members: Sequence[Member],
    variables: Ensemble,
    pairs: Int[np.ndarray, "Q 2"],
    curve: str,
) -> tuple[Ensemble, dict[str, Float[np.ndarray, "Q E"]]]:
    """Curves between pairs of classifiers: restored where they exist, the missing ones bent together.

    Args:
      config: with `weights` (num_waypoints, num_epochs, learning_rate) and what `classifier_members.identity` reads.
      members, variables: the classifiers, and their weights [S, ...].
      pairs: numbers of the ends among them. curve: one of `tree.CURVES`.

    Returns:
      (points of each curve [Q, P, ...], its training loss and `SCORED` by epoch).

    Raises:
      UserError: a loss that is not finite.
      runs.Interrupted: a signal came; the same command goes on.
    """
    section, hyper = config.weights, hyper_of(config)
    ends = [ensembles.take(variables, pairs[:, i]) for i in range(2)]
    numbers = [int((i + 1) * NUMBERS + j) for i, j in pairs]
    bent = [Member(number, "trained", hyper) for number in numbers]
    sources = [artifacts.identity_hash(classifier_members.identity(config, dataset, member)) for member in members]
    about = [
        {
            "kind": KIND,
            "ends": [sources[i], sources[j]],
            "curve": curve,
            "num_bends": section.num_waypoints,  # its name when the first curves were saved
            "training": {"num_epochs": section.num_epochs, "batch_size": config.train.batch_size, **hyper._asdict()},
            "seed": config.seed,
            "member": number,
            "training_version": VERSION,
        }
        for (i, j), number in zip(pairs, numbers, strict=True)
    ]
    task, stage = task_of(classifier, curve, section.num_waypoints), f"weights.{curve}"
    like = jax.eval_shape(task.init, jax.random.key(0), jnp.zeros((1, *dataset.images.shape[1:])))

    def train(missing: Sequence[int], keep: artifacts.Keep) -> None:
        artifacts.train_together(
            run,
            dataset,
            task,
            bent,
            about,
            missing,
            keep,
            stage=stage,
            seed=config.seed,
            num_epochs=section.num_epochs,
            batch_size=config.train.batch_size,
            mapping=config.mapping,
            section="weights",
            context=tuple(ends),
        )

    found = artifacts.ensemble(run, f"train.{stage}", about, like, train)
    folders = [run.artifacts / KIND / artifacts.identity_hash(a) / artifacts.METADATA for a in about]
    saved = [files.read_json(folder)["curves"] for folder in folders]
    curves = {name: np.asarray([one[name] for one in saved], np.float32) for name in ("train_loss", SCORED)}
    return jax.jit(jax.vmap(points))(found["params"], *ends), curves
