"""Classifiers along a trajectory of SGD with a constant learning rate, started from a trained one.

Each is another good classifier nearby. Drawn at random they make LGV (Gubri et al. 2022, arXiv:2207.13129), a Gaussian
fitted to them SWAG (Maddox et al. 2019, arXiv:1902.02476): `samplers.member`, `samplers.fit_swag`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from landscape import ensembles, runs
from landscape.data import Dataset
from landscape.ensembles import Mapping
from landscape.files import UserError
from landscape.models.classifiers import Classifier
from landscape.training import artifacts, classifier_members, loop, step
from landscape.training.members import Member
from landscape.training.step import Task
from landscape.types import Ensemble

KIND = "trajectory"
VERSION = 1  # raised whenever the same identity would give other weights
STAGE = "trajectory"
KEY = 2**31 - 7  # folded into a member's key: the walk draws an order of its own


class Walk(NamedTuple):
    """How a trajectory is walked, the same for all members.

    Attributes:
      learning_rate, momentum: of SGD, constant. num_epochs: its length.
      num_models: K, points kept: after k / K of the steps, k = 1 .. K.
      batch_size: examples a step; those that do not fill a batch sit out, others in every epoch.
    """

    learning_rate: float
    momentum: float
    num_epochs: int
    num_models: int
    batch_size: int

    def stops(self, num_examples: int) -> np.ndarray:
        """Steps done at each of the points kept, [K]; a UserError where there are fewer steps than points."""
        total = self.num_epochs * (num_examples // min(self.batch_size, num_examples))
        if total < self.num_models:
            raise UserError(
                f"trajectory.num_models={self.num_models}: expected at most {total}, the steps of {self.num_epochs} "
                f"epochs on {num_examples} training images; try a larger --config.trajectory.num_epochs"
            )
        return total * np.arange(1, self.num_models + 1) // self.num_models


def collect(
    run: runs.Run,
    variables: Ensemble,
    members: Sequence[Member],
    dataset: Dataset,
    task: Task,
    walk: Walk,
    *,
    seed: int,
    how: Mapping,
) -> tuple[Ensemble, Float[np.ndarray, "S K"]]:
    """Walks from trained members [S, ...] together: their points [S, K, ...] and mean losses before each, nats.

    SGD with heavy-ball momentum and no weight decay. A member's walk depends on (seed, its own entry, the data, the
    task) only; the members themselves stay as they are.

    Raises:
      UserError: fewer steps than points, a loss that is not finite.
      runs.Interrupted: a signal came.
    """
    plan = step.plan_of(walk.num_epochs, walk.batch_size, dataset, "constant")
    rates = {"learning_rate": walk.learning_rate, "momentum": walk.momentum}
    members = [member._replace(hyper=member.hyper._replace(**rates)) for member in members]
    images, (_, keys, hyper, labels) = loop.inputs_of(members, dataset, context=(), seed=seed)
    keys = jax.vmap(jax.random.fold_in, (0, None))(keys, np.uint32(KEY))
    stops = walk.stops(plan.num_examples)
    programs = loop.programs_of(task, plan, how)
    state = programs.begin(jax.tree.map(jnp.copy, variables), hyper)  # whose memory the programs take
    points, losses, at = [], [], 0
    with runs.progress(run, STAGE, int(stops[-1]), "steps") as bar:
        for stop in map(int, stops):
            total, start = 0.0, at
            while at < stop:  # a program's steps are of one epoch
                epoch, first = divmod(at, plan.epoch_steps)
                last = min(plan.epoch_steps, first + stop - at)
                before = np.array(state.loss_sum) if first else 0.0  # a sum over the epoch so far
                state = programs.advance(state, epoch, first, last, images=images, per_member=((), keys, hyper, labels))
                total, at = total + np.asarray(state.loss_sum) - before, at + last - first
            loop.refuse_bad(members, np.asarray(state.bad_step), "trajectory")
            points.append(jax.tree.map(np.array, step.variables_of(state)))
            losses.append(total / (stop - start))
            bar.advance(stop - start)
            runs.check()
    return jax.tree.map(lambda *leaves: np.stack(leaves, axis=1), *points), np.stack(losses, axis=1)


def walk_of(config) -> Walk:
    """The walk that a config asks for."""
    section = config.trajectory
    rates = float(section.learning_rate), float(section.momentum)
    return Walk(*rates, section.num_epochs, section.num_models, config.train.batch_size)


def check(config, dataset: Dataset, *, used: bool = True) -> None:
    """Refuses a data set too small for the walk that a config asks for: before members are trained on it."""
    if used:
        walk_of(config).stops(len(dataset.splits["train"]))


def ensemble(
    run: runs.Run, config, dataset: Dataset, classifier: Classifier, members: Sequence[Member], variables: Ensemble
) -> Ensemble:
    """The trajectories [S, K, ...] of members that a config asks for: restored where they exist, else walked together.

    Args:
      members, variables: trained classifiers, and their weights [S, ...].
    """
    walk = walk_of(config)
    about = [
        {
            "kind": KIND,
            "source": artifacts.identity_hash(classifier_members.identity(config, dataset, member)),
            "walk": walk._asdict(),
            "trajectory_version": VERSION,
        }
        for member in members
    ]
    one = jax.eval_shape(lambda v: ensembles.take(v, 0), variables)
    like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((walk.num_models, *leaf.shape), leaf.dtype), one)
    task = classifier_members.task_of(classifier)

    def work(missing: Sequence[int], keep: artifacts.Keep) -> None:
        chosen = [members[i] for i in missing]
        how = ensembles.parse(config.mapping, len(chosen))
        started = ensembles.take(variables, np.asarray(missing))
        points, losses = collect(run, started, chosen, dataset, task, walk, seed=config.seed, how=how)
        keep(missing, points, {"train_loss": losses})

    return artifacts.ensemble(run, STAGE, about, like, work)
