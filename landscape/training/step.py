"""One member's training as pure functions: initial state, many steps, accuracy. Mapping over members is not here."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, ArrayLike, Float, Int, UInt8

from landscape.data import Dataset
from landscape.types import Images, Labels, Variables

INIT, ORDER, NOISE, STATISTICS = range(4)  # what the parts of a member's key are for
SCORED = 256  # examples that are scored at a time
STATISTICS_BATCHES = 16  # that the statistics of averaged weights are taken of


class Task(NamedTuple):
    """What members are trained for: pure functions of one member. Images x are float32 in [0, 1].

    Attributes:
      init: init(key, x [1, H, W, C]) -> variables, {"params", and collections that steps change without gradients}.
      loss: loss(variables, context, key, x, label, hyper) -> (loss to be lowered, the changed collections by name).
      score: score(variables, context, x, label) -> values [N], whose mean over validation images is reported.
      scored: name of that mean, such as "validation_accuracy".
      statistics: statistics(variables, context, key, x, label, hyper) -> the collections that `loss` changes, of this
        batch alone; averaged weights need it.

    `context` is what a member is given and does not train, such as the classifier whose hidden layer it describes.
    """

    init: Callable
    loss: Callable
    score: Callable
    scored: str
    statistics: Callable | None = None


class Plan(NamedTuple):
    """What is fixed when the program is compiled, the same for all members.

    Attributes:
      optimizer: one of OPTIMIZERS, or "constant": SGD with momentum whose learning rate stays, without weight decay.
      used: names of the optional hyperparameters that are above 0. Of them "warmup_epochs" and "ema" are read here.
        What is not used is no part of the program.
    """

    num_epochs: int
    batch_size: int
    num_examples: int
    optimizer: str = "adamw"
    used: tuple[str, ...] = ()

    @property
    def epoch_steps(self) -> int:
        """Steps an epoch: what does not fill a batch sits out, other examples in every epoch."""
        return self.num_examples // self.batch_size


def plan_of(num_epochs: int, batch_size: int, dataset: Dataset, *more: Any) -> Plan:
    """The plan of training on a data set, whose images are one batch where they are fewer. more: optimizer and used."""
    num_examples = len(dataset.splits["train"])
    return Plan(num_epochs, min(batch_size, num_examples), num_examples, *more)


class State(NamedTuple):
    """One member in training.

    Attributes:
      params: what the optimiser moves. rest: the other collections by name, such as batch_stats or a codebook.
      opt_state: of the optimiser.
      loss_sum: over the steps of this epoch so far, nats.
      bad_step: the first step whose loss was not finite, -1 for none.
      average: the averaged params; () where they are not used.
    """

    params: Any
    rest: dict[str, Any]
    opt_state: Any
    loss_sum: Array
    bad_step: Array
    average: Any = ()


def member_keys(seed: int, members: Int[Array, " S"]) -> jax.Array:
    """Keys [S]: the base seed's key folded with each member's own seed."""
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), members)


def variables_of(state: State) -> Variables:
    """The dict of collections that the models' functions take."""
    return {"params": state.params, **state.rest}


def pixels(images: UInt8[Array, "N H W C"]) -> Images:
    """8-bit images as float32 in [0, 1]."""
    return images.astype(jnp.float32) / 255


OPTIMIZERS = {  # name: (hyper, decay) -> parts of the chain; `decay` adds weight_decay times the kernels
    # One vector: compiles in a fifth of the time.
    "adamw": lambda hyper, decay: (optax.flatten(optax.scale_by_adam()), decay),
    "sgd": lambda hyper, decay: (decay, optax.trace(hyper.momentum, nesterov=True)),
}


def optimizer(hyper: Any, plan: Plan) -> optax.GradientTransformation:
    """AdamW, or SGD with Nesterov momentum; kernels decay, vectors (biases, norms) do not. "constant": plain SGD.

    Of T steps the first W = warmup_epochs x steps an epoch raise the learning rate in equal parts, (t + 1) / W; then it
    falls as (1 + cos(pi (t - W) / (T - W))) / 2. The decay of SGD is part of the gradient that momentum collects.

    Args:
      hyper: has learning_rate and weight_decay; momentum for "sgd", warmup_epochs where that is used.

    Source: Loshchilov & Hutter 2019, arXiv:1711.05101, and 2017, arXiv:1608.03983; Goyal et al. 2017, arXiv:1706.02677,
      for the warm-up.
    """
    if plan.optimizer == "constant":
        return optax.sgd(hyper.learning_rate, momentum=hyper.momentum)
    num_steps = plan.num_epochs * plan.epoch_steps

    def fall(count, num_steps):
        return hyper.learning_rate * 0.5 * (1.0 + jnp.cos(jnp.pi * count / num_steps))

    def schedule(count):
        if "warmup_epochs" not in plan.used:
            return fall(count, num_steps)
        warm = hyper.warmup_epochs * plan.epoch_steps
        rise = hyper.learning_rate * jnp.minimum((count + 1) / warm, 1.0)
        return jnp.where(count < warm, rise, fall(count - warm, num_steps - warm))

    def kernels(params):
        return jax.tree.map(lambda leaf: leaf.ndim > 1, params)

    decay = optax.add_decayed_weights(hyper.weight_decay, mask=kernels)
    return optax.chain(*OPTIMIZERS[plan.optimizer](hyper, decay), optax.scale_by_learning_rate(schedule))


def init(key: jax.Array, image: UInt8[Array, "H W C"], *, task: Task) -> Variables:
    """A member's variables before training."""
    return task.init(jax.random.fold_in(key, INIT), image[None].astype(jnp.float32))


def begin(variables: Variables, hyper: Any, *, plan: Plan) -> State:
    """A member before its first step."""
    rest = dict(variables)
    params = rest.pop("params")
    average = params if "ema" in plan.used else ()
    return State(params, rest, optimizer(hyper, plan).init(params), jnp.float32(0), jnp.int32(-1), average)


def order(key: jax.Array, epoch: Int[ArrayLike, ""], plan: Plan) -> Int[Array, " N"]:
    """The examples in the order of an epoch, a permutation drawn from (member, epoch)."""
    return jax.random.permutation(jax.random.fold_in(jax.random.fold_in(key, ORDER), epoch), plan.num_examples)


def advance(
    state: State,
    context: Any,
    key: jax.Array,
    hyper: Any,
    labels: Labels,
    images: UInt8[Array, "N H W C"],
    epoch: Int[Array, ""],
    start: Int[Array, ""],
    stop: Int[Array, ""],
    *,
    task: Task,
    plan: Plan,
) -> State:
    """Steps `start` to `stop` of an epoch. How an epoch is cut into calls changes no bit of the result.

    The order of examples is drawn from (member, epoch), augmentation and noise from (member, step).
    """
    examples = order(key, epoch, plan)
    tx = optimizer(hyper, plan)

    def step(i: Array, state: State) -> State:
        batch = lax.dynamic_slice(examples, (i * plan.batch_size,), (plan.batch_size,))
        x, label = pixels(images[batch]), labels[batch]
        count = epoch * plan.epoch_steps + i
        key_step = jax.random.fold_in(jax.random.fold_in(key, NOISE), count)

        def loss_fn(params):
            return task.loss(variables_of(state._replace(params=params)), context, key_step, x, label, hyper)

        (loss, changed), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return State(
            params=params,
            rest=state.rest | changed,
            opt_state=opt_state,
            loss_sum=jnp.where(i == 0, 0.0, state.loss_sum) + loss,
            bad_step=jnp.where((state.bad_step < 0) & ~jnp.isfinite(loss), count, state.bad_step),
            average=next_average(state.average, params, hyper.ema, count) if "ema" in plan.used else (),
        )

    return lax.fori_loop(start, stop, step, state)


def next_average(average: Any, params: Any, decay: Float[ArrayLike, ""], count: Int[ArrayLike, ""]) -> Any:
    """The exponential average of the params after steps 0 .. t = count: sum_s d^(t - s) w_s / sum_s d^(t - s).

    Args:
      average: the one before, not read at count 0. decay: d in [0, 1); 0 leaves the last params.

    Source: Polyak & Juditsky 1992 (SIAM J. Control Optim. 30:838), with weights that forget.
    """
    share = (1 - decay) / (1 - decay ** (count + 1))
    return jax.tree.map(lambda mean, new: mean + share * (new - mean), average, params)


def averaged_variables(
    state: State,
    context: Any,
    key: jax.Array,
    hyper: Any,
    labels: Labels,
    images: UInt8[Array, "N H W C"],
    *,
    task: Task,
    plan: Plan,
) -> Variables:
    """The averaged params, and the running statistics that belong to them.

    Those of the state belong to its last params. They are taken anew, as the mean over STATISTICS_BATCHES training
    batches (an epoch's, if fewer) as they are shown in training.
    """
    variables = variables_of(state._replace(params=state.average))
    num_batches = min(plan.epoch_steps, STATISTICS_BATCHES)
    batches = order(key, 0, plan)[: num_batches * plan.batch_size].reshape(num_batches, plan.batch_size)
    keys = jax.random.split(jax.random.fold_in(key, STATISTICS), num_batches)

    def statistics(at):
        key, batch = at
        return task.statistics(variables, context, key, pixels(images[batch]), labels[batch], hyper)

    return variables | jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), lax.map(statistics, (keys, batches)))


def mean_score(
    variables: Variables, context: Any, images: UInt8[Array, "N H W C"], labels: Labels, *, task: Task
) -> Float[Array, ""]:
    """The mean of the task's score over examples, each counted once."""
    num_examples = labels.shape[0]
    padded = -(-num_examples // SCORED) * SCORED
    index = (jnp.arange(padded) % num_examples).reshape(-1, SCORED)

    def scores(batch):
        return task.score(variables, context, pixels(images[batch]), labels[batch])

    return jnp.mean(lax.map(scores, index).reshape(-1)[:num_examples])
