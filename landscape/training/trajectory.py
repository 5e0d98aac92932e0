"""Classifiers along a trajectory of SGD with a constant learning rate, started from a trained one.

Each is another good classifier nearby. Drawn at random they make LGV (Gubri et al. 2022, arXiv:2207.13129), a Gaussian
fitted to them SWAG (Maddox et al. 2019, arXiv:1902.02476): `samplers.member`, `samplers.fit_swag`.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, Float, Int, UInt8

from landscape import ensembles, runs
from landscape.data import Dataset
from landscape.data.device import on_device
from landscape.ensembles import Mapping, map_members
from landscape.files import UserError
from landscape.models.classifiers import Classifier
from landscape.training import artifacts, classifier_members, step
from landscape.training.members import Member, stack_hyper
from landscape.training.step import Task
from landscape.types import Ensemble, Labels, Variables

KIND = "trajectory"
VERSION = 1  # raised whenever the same identity would give other weights
STAGE = "trajectory"


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
        """Steps done at each of the points kept, [K]."""
        total = self.num_epochs * (num_examples // self.batch_size)
        return total * np.arange(1, self.num_models + 1) // self.num_models


class State(NamedTuple):
    """A member under way: params and momentum, `rest` (such as batch_stats), loss_sum in nats since the last point."""

    params: Any
    rest: dict[str, Any]
    momentum: Any
    loss_sum: Float[Array, ""]


def begin(variables: Variables, walk: Walk) -> State:
    """A trained member before its first step."""
    rest = dict(variables)
    params = rest.pop("params")
    return State(params, rest, optimizer(walk).init(params), jnp.float32(0))


def optimizer(walk: Walk) -> optax.GradientTransformation:
    """SGD with heavy-ball momentum and no weight decay."""
    return optax.sgd(walk.learning_rate, momentum=walk.momentum or None)


def advance(
    state: State,
    key: jax.Array,
    hyper: Any,
    images: UInt8[Array, "N H W C"],
    labels: Labels,
    start: Int[Array, ""],
    stop: Int[Array, ""],
    *,
    task: Task,
    walk: Walk,
) -> State:
    """Steps `start` to `stop` of one member's walk. The order of examples is drawn from (key, epoch)."""
    num_examples, epoch_steps = images.shape[0], images.shape[0] // walk.batch_size

    def order(epoch):
        return jax.random.permutation(jax.random.fold_in(jax.random.fold_in(key, step.ORDER), epoch), num_examples)

    batches = lax.map(order, jnp.arange(walk.num_epochs))[:, : epoch_steps * walk.batch_size]
    batches = batches.reshape(-1, walk.batch_size)
    tx = optimizer(walk)

    def one(t: Array, state: State) -> State:
        x, label = step.pixels(images[batches[t]]), labels[batches[t]]
        key_step = jax.random.fold_in(jax.random.fold_in(key, step.NOISE), t)

        def loss_fn(params):
            return task.loss({"params": params, **state.rest}, (), key_step, x, label, hyper)

        (loss, changed), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
        updates, momentum = tx.update(grads, state.momentum, state.params)
        params = optax.apply_updates(state.params, updates)
        return State(params, state.rest | changed, momentum, jnp.where(t == start, 0.0, state.loss_sum) + loss)

    return lax.fori_loop(start, stop, one, state)


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

    A member's walk depends on (seed, its own entry, the data, the task) only; the members themselves stay as they are.

    Raises:
      UserError: fewer examples than a batch, fewer steps than points, a loss that is not finite.
      runs.Interrupted: a signal came.
    """
    train = dataset.splits["train"]
    if len(train) < walk.batch_size:
        raise UserError(
            f"train.batch_size={walk.batch_size}: expected at most {len(train)}, the size of the training split"
        )
    stops = walk.stops(len(train))
    if stops[0] < 1:
        raise UserError(
            f"trajectory.num_models={walk.num_models}: expected at most {stops[-1]}, the steps of "
            f"{walk.num_epochs} epochs; try a larger --config.trajectory.num_epochs"
        )
    keys = jax.vmap(jax.random.fold_in, (0, None))(
        step.member_keys(seed, jnp.asarray([m.seed for m in members])), np.uint32(KEY)
    )
    hyper = jax.tree.map(jnp.asarray, stack_hyper(members))
    shared = (on_device(dataset.images, train), jnp.asarray(dataset.labels[train].astype(np.int32)))
    program = _program(task, walk, how)
    state = jax.vmap(functools.partial(begin, walk=walk))(variables)
    points, losses, start = [], [], 0
    with runs.progress(run, STAGE, int(stops[-1]), "steps") as bar:
        for stop in map(int, stops):
            state = program(state, keys, hyper, (*shared, jnp.int32(start), jnp.int32(stop)))
            points.append(jax.tree.map(np.asarray, {"params": state.params, **state.rest}))
            losses.append(np.asarray(state.loss_sum) / (stop - start))
            _refuse_bad(members, losses[-1], stop)
            bar.advance(stop - start)
            start = stop
            runs.check()
    return jax.tree.map(lambda *leaves: np.stack(leaves, axis=1), *points), np.stack(losses, axis=1)


KEY = 2**31 - 7  # folded into a member's key: the walk draws an order of its own


@functools.lru_cache(maxsize=4)  # a program is compiled once a process
def _program(task: Task, walk: Walk, how: Mapping) -> Callable:
    one = functools.partial(advance, task=task, walk=walk)
    return jax.jit(lambda state, keys, hyper, shared: map_members(one, state, keys, hyper, shared=shared, how=how))


def _refuse_bad(members: Sequence[Member], loss: np.ndarray, step_number: int) -> None:
    for member, value in zip(members, loss, strict=True):
        if not np.isfinite(value):
            raise UserError(
                f"trajectory: the loss of member {member.seed} is not finite by step {step_number}; expected a finite "
                "loss; try a smaller --config.trajectory.learning_rate"
            )


def walk_of(config) -> Walk:
    """The walk that a config asks for, with training's batches."""
    section = config.trajectory
    return Walk(
        float(section.learning_rate),
        float(section.momentum),
        section.num_epochs,
        section.num_models,
        config.train.batch_size,
    )


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
