"""The host's loop over epochs: all members together, with progress, metrics and checkpoints it can go on from."""

import functools
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, UInt8

from landscape import files, runs
from landscape.data import Dataset
from landscape.ensembles import Mapping, map_members
from landscape.files import UserError
from landscape.runs import processes
from landscape.training import step
from landscape.training.members import Member, stack_hyper
from landscape.training.step import Task
from landscape.types import Ensemble

BLOCK = 1024  # images copied to the device at a time
SEGMENT_SECONDS = 2.0  # of work between two looks at signals
FIRST_STEPS = 32  # of the first call, which compiles; the next ones go by the clock
CHECKPOINT_SECONDS = 10.0  # of work that a kill may lose
CHECKPOINT_SHARE = 0.1  # of the time, at most, goes into writing checkpoints


class Curves(NamedTuple):
    """What was seen after each epoch, [S, E].

    train_loss: mean over the epoch's steps. validation: the task's mean score on validation images.
    """

    train_loss: np.ndarray
    validation: np.ndarray


class Position(NamedTuple):
    """Where training stands: epochs done, and steps done within the current one."""

    epoch: int
    step: int


def train(
    run: runs.Run,
    members: Sequence[Member],
    dataset: Dataset,
    task: Task,
    *,
    context: Any = (),
    seed: int,
    num_epochs: int,
    batch_size: int,
    optimizer: str = "adamw",
    used: tuple[str, ...] = (),
    how: Mapping,
    checkpoint: Path,
    name: str,
    stage: str,
    section: str = "train",
    start: Ensemble | None = None,
) -> tuple[Ensemble, Curves]:
    """Trains members together, from their last checkpoint if there is one; progress goes to metrics.jsonl, too.

    A member depends on (seed, its own entry, the data, the task) only: not on the others, nor on interruptions.

    Args:
      task: what they are trained for; context: its `context` of each, stacked [S, ...].
      optimizer, used: see `step.Plan`.
      checkpoint: file of the training state; deleted by the caller once the members are safe.
      name: what is being trained; a checkpoint of another name is not used.
      stage: name in progress and metrics. section: of the config, named in errors.
      start: the members' variables before training; None for initial ones of the task.

    Raises:
      UserError: a loss that is not finite, with member and step.
      runs.Interrupted: a signal came; the checkpoint is up to date.
    """
    plan = step.plan_of(num_epochs, batch_size, dataset, optimizer, used)
    _say_if_one_batch(run, stage, section, batch_size, plan)
    images, per_member = inputs_of(members, dataset, context=context, seed=seed)
    validation = dataset.splits["validation"]
    held_out = on_device(dataset.images, validation), jnp.asarray(dataset.labels[validation])
    programs = programs_of(task, plan, how)
    variables = initialise(members, dataset, task, seed=seed, how=how) if start is None else start
    state = programs.begin(variables, per_member[2])
    curves = Curves(*np.full((2, len(members), num_epochs), np.nan, np.float32))
    state, curves, begun = _restore(checkpoint, name, state) or (state, curves, Position(0, 0))
    kept = partial(programs.kept, shared=(images,))
    with runs.progress(run, stage, num_epochs * plan.epoch_steps, "steps") as bar:
        bar.restore(begun.epoch * plan.epoch_steps + begun.step)
        advance = partial(programs.advance, images=images, per_member=per_member)
        pieces = _segments(advance, state, begun, plan, partial(_save, checkpoint, name, curves))
        for state, at, done in pieces:
            refuse_bad(members, np.asarray(state.bad_step), section)
            bar.advance(done, _means(curves, at.epoch, task.scored))
            if at.step == plan.epoch_steps:
                curves.train_loss[:, at.epoch] = np.asarray(state.loss_sum) / plan.epoch_steps
                curves.validation[:, at.epoch] = programs.evaluate(kept(state, *per_member), context, *held_out)
                scores = {"train_loss": curves.train_loss[:, at.epoch], task.scored: curves.validation[:, at.epoch]}
                run.log(stage, at.epoch + 1, **scores)
    return kept(state, *per_member), curves


def _say_if_one_batch(run: runs.Run, stage: str, section: str, asked: int, plan: step.Plan) -> None:
    if plan.batch_size < asked:
        run.say(f"{stage}: {section}.batch_size={asked} is more than all {plan.batch_size} images; they are a batch")


def inputs_of(members: Sequence[Member], dataset: Dataset, *, context: Any, seed: int) -> tuple[jax.Array, tuple]:
    """(training images on the device, what each member is given of its own: context, keys, hyperparameters, labels)."""
    labels = dataset.labels[dataset.splits["train"]]
    own_labels = jnp.asarray(np.stack([labels_of(m, labels, seed) for m in members]))
    keys = step.member_keys(seed, jnp.asarray([m.seed for m in members]))
    hyper = jax.tree.map(jnp.asarray, stack_hyper(members))
    return on_device(dataset.images, dataset.splits["train"]), (context, keys, hyper, own_labels)


def on_device(images: UInt8[np.ndarray, "N H W C"], index: np.ndarray) -> UInt8[Array, "M H W C"]:
    """`images[index]` on the device. Beside it only one block of images is held: taken at once, they would be there
    once more on the host, and once more while they are copied."""
    found = jnp.zeros((len(index), *images.shape[1:]), images.dtype)
    for start in range(0, len(index), BLOCK):
        block = images[index[start : start + BLOCK]]
        found = _put(found, block, start).block_until_ready()  # else blocks would queue up
    return found


@partial(jax.jit, donate_argnums=0)
def _put(array: Array, block: Array, start: ArrayLike) -> Array:
    return jax.lax.dynamic_update_slice_in_dim(array, block, start, axis=0)


def _segments(
    advance: Callable, state: step.State, at: Position, plan: step.Plan, save: Callable
) -> Iterator[tuple[step.State, Position, int]]:
    """The steps from `at` on, in pieces of about SEGMENT_SECONDS: (state, where it stands, steps of the piece).

    Once a piece has been dealt with, the state is saved where that is due, or where a signal has come, which is raised.
    """
    size = min(plan.epoch_steps, FIRST_STEPS)
    saved, save_seconds, timed = time.monotonic(), 0.0, False
    while at.epoch < plan.num_epochs:
        stop = min(at.step + size, plan.epoch_steps)
        began = time.monotonic()
        state = jax.block_until_ready(advance(state, at.epoch, at.step, stop))
        if timed:
            rate = (stop - at.step) / (time.monotonic() - began)
            size = int(np.clip(rate * SEGMENT_SECONDS, 1, plan.epoch_steps))
        yield state, Position(at.epoch, stop), stop - at.step
        timed, at = True, Position(at.epoch, stop) if stop < plan.epoch_steps else Position(at.epoch + 1, 0)
        due = time.monotonic() - saved >= max(CHECKPOINT_SECONDS, save_seconds / CHECKPOINT_SHARE)
        size, due = processes.agree([size, due])  # clocks differ
        if due:
            began = time.monotonic()
            save(state, at)
            saved = time.monotonic()
            save_seconds = saved - began
        try:
            runs.check()
        except runs.Interrupted:
            save(state, at)
            raise


def initialise(members: Sequence[Member], dataset: Dataset, task: Task, *, seed: int, how: Mapping) -> Ensemble:
    """Variables of members before training, stacked [S, ...]."""
    keys = step.member_keys(seed, jnp.asarray([m.seed for m in members]))
    return _initialise(task, how)(keys, jnp.asarray(dataset.images[0]))


class Programs(NamedTuple):
    """The compiled programs of training: functions of all members, one call each.

    begin(variables, hyper) -> state. advance(state, epoch, start, stop, *, images, per_member) -> state.
    kept(state, *per_member, shared=(images,)) -> variables. evaluate(variables, context, images, labels) -> scores [S].
    """

    begin: Callable
    advance: Callable
    kept: Callable
    evaluate: Callable


@functools.lru_cache(maxsize=4)  # a program is compiled once a process, however often training goes on
def programs_of(task: Task, plan: step.Plan, how: Mapping) -> Programs:
    """The programs of a task; `inputs_of` makes what they are given."""

    def begin(variables, hyper):  # laid out over devices as `advanced` leaves it, else that is compiled twice
        return map_members(partial(step.begin, plan=plan), variables, hyper, how=how)

    @partial(jax.jit, donate_argnums=0)
    def advanced(state, *per_member, shared):
        one = partial(step.advance, task=task, plan=plan)
        return map_members(one, state, *per_member, shared=shared, how=how)

    def advance(state, *bounds, images, per_member):
        return advanced(state, *per_member, shared=(images, *map(jnp.int32, bounds)))

    def kept(state, *per_member, shared):
        if "ema" not in plan.used:
            return step.variables_of(state)
        one = partial(step.averaged_variables, task=task, plan=plan)
        return map_members(one, state, *per_member, shared=shared, how=how)

    def evaluate(variables, context, *shared):
        return map_members(partial(step.mean_score, task=task), variables, context, shared=shared, how=how)

    return Programs(jax.jit(begin), advance, jax.jit(kept), jax.jit(evaluate))


@functools.lru_cache(maxsize=4)
def _initialise(task: Task, how: Mapping) -> Callable:
    init = partial(step.init, task=task)
    return jax.jit(lambda keys, image: map_members(init, keys, shared=(image,), how=how))


def labels_of(member: Member, labels: np.ndarray, seed: int) -> np.ndarray:
    """A member's training labels: permuted once for all if "shuffled", which keeps how often each class occurs."""
    if member.control != "shuffled":
        return labels
    return np.random.default_rng([seed, member.seed, zlib.crc32(b"labels")]).permutation(labels)


def refuse_bad(members: Sequence[Member], bad_step: np.ndarray, section: str) -> None:
    """Refuses a member whose loss was not finite; `bad_step` [S] as in `step.State`."""
    for member, bad in zip(members, bad_step, strict=True):
        if bad >= 0:
            raise UserError(
                f"training: the loss of member {member.seed} ({member.control}, learning_rate "
                f"{member.hyper.learning_rate:g}) is not finite at step {bad}; expected a finite loss; "
                f"try a smaller --config.{section}.learning_rate"
            )


def _means(curves: Curves, epoch: int, scored: str) -> str:
    """What the progress bar shows behind: means over members after the last whole epoch."""
    if epoch == 0:
        return ""
    loss, score = (float(curve[:, epoch - 1].mean()) for curve in curves)
    return f"loss {loss:.4g}, {scored.replace('_', ' ')} {score:.3g}"


def _save(path: Path, name: str, curves: Curves, state: step.State, at: Position) -> None:
    leaves = {f"leaf{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(state))}
    files.write_npz(path, {"name": np.array(name), "at": np.array(at), **curves._asdict(), **leaves})


def checkpoint_name(path: Path) -> str | None:
    """What the checkpoint at `path` is of; None where there is none, or a damaged one."""
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as saved:
            return str(saved["name"])
    except files.DAMAGED:
        return None


def _restore(path: Path, name: str, like: step.State) -> tuple[step.State, Curves, Position] | None:
    """What `_save` wrote; None where there is nothing, or nothing of this name, shape and whole."""
    leaves, structure = jax.tree.flatten(like)
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as saved:
            found = [saved[f"leaf{i}"] for i in range(len(leaves))]
            if str(saved["name"]) != name or [a.shape for a in found] != [a.shape for a in leaves]:
                return None
            curves = Curves(*(saved[field] for field in Curves._fields))
            at = Position(*map(int, saved["at"]))
    except files.DAMAGED:
        return None
    # Laid out as `like` is: in another way, or bound to a device as it is not, the step would be compiled once more.
    layouts = [leaf.sharding if leaf.committed else None for leaf in leaves]
    return jax.tree.unflatten(structure, map(jax.device_put, found, layouts)), curves, at
