"""One member's training as pure functions: initial state, many steps, accuracy. Mapping over members is not here."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Float, Int, UInt8

from landscape.types import Images, Labels, Variables

INIT, ORDER, NOISE = range(3)  # what the parts of a member's key are for


class Task(NamedTuple):
    """What members are trained for: pure functions of one member. Images x are float32 in [0, 1].

    Attributes:
      init: init(key, x [1, H, W, C]) -> variables, {"params", and collections that steps change without gradients}.
      loss: loss(variables, context, key, x, label, hyper) -> (loss to be lowered, the changed collections by name).
      score: score(variables, context, x, label) -> values [N], whose mean over validation images is told.
      scored: name of that mean, such as "validation_accuracy".

    `context` is what a member is given and does not train, such as the classifier whose hidden layer it describes.
    """

    init: Callable
    loss: Callable
    score: Callable
    scored: str


class Plan(NamedTuple):
    """What is fixed when the program is compiled, the same for all members."""

    num_epochs: int
    batch_size: int
    num_examples: int

    @property
    def epoch_steps(self) -> int:
        """Steps an epoch: what does not fill a batch sits out, other examples in every epoch."""
        return self.num_examples // self.batch_size


class State(NamedTuple):
    """One member in training.

    Attributes:
      params: what the optimiser moves. rest: the other collections by name, such as batch_stats or a codebook.
      opt_state: of AdamW.
      loss_sum: over the steps of this epoch so far, nats.
      bad_step: the first step whose loss was not finite, -1 for none.
    """

    params: Any
    rest: dict[str, Any]
    opt_state: Any
    loss_sum: Array
    bad_step: Array


def member_keys(seed: int, members: Int[Array, " S"]) -> jax.Array:
    """Keys [S]: the base seed's key folded with each member's own seed."""
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), members)


def variables_of(state: State) -> Variables:
    """The dict of collections that the models' functions take."""
    return {"params": state.params, **state.rest}


def pixels(images: UInt8[Array, "N H W C"]) -> Images:
    """8-bit images as float32 in [0, 1]."""
    return images.astype(jnp.float32) / 255


def optimizer(hyper: Any, num_steps: int) -> optax.GradientTransformation:
    """AdamW; the learning rate falls as (1 + cos(pi t / T)) / 2; kernels decay, vectors (biases, norms) do not.

    `hyper` has learning_rate and weight_decay.

    Source: Loshchilov & Hutter 2019, arXiv:1711.05101, and 2017, arXiv:1608.03983.
    """

    def schedule(count):
        return hyper.learning_rate * 0.5 * (1.0 + jnp.cos(jnp.pi * count / num_steps))

    def kernels(params):
        return jax.tree.map(lambda leaf: leaf.ndim > 1, params)

    return optax.chain(
        optax.flatten(optax.scale_by_adam()),  # one vector: compiles in a fifth of the time
        optax.add_decayed_weights(hyper.weight_decay, mask=kernels),
        optax.scale_by_learning_rate(schedule),
    )


def init(key: jax.Array, image: UInt8[Array, "H W C"], *, task: Task) -> Variables:
    """A member's variables before training."""
    return task.init(jax.random.fold_in(key, INIT), image[None].astype(jnp.float32))


def begin(variables: Variables, hyper: Any, *, plan: Plan) -> State:
    """A member before its first step."""
    rest = dict(variables)
    params = rest.pop("params")
    opt_state = optimizer(hyper, plan.num_epochs * plan.epoch_steps).init(params)
    return State(params, rest, opt_state, jnp.float32(0), jnp.int32(-1))


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

    The order of examples is a permutation drawn from (member, epoch), noise from (member, step).
    """
    order = jax.random.permutation(jax.random.fold_in(jax.random.fold_in(key, ORDER), epoch), plan.num_examples)
    tx = optimizer(hyper, plan.num_epochs * plan.epoch_steps)

    def step(i: Array, state: State) -> State:
        batch = lax.dynamic_slice(order, (i * plan.batch_size,), (plan.batch_size,))
        x, label = pixels(images[batch]), labels[batch]
        count = epoch * plan.epoch_steps + i
        key_step = jax.random.fold_in(jax.random.fold_in(key, NOISE), count)

        def loss_fn(params):
            return task.loss(variables_of(state._replace(params=params)), context, key_step, x, label, hyper)

        (loss, changed), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        return State(
            params=optax.apply_updates(state.params, updates),
            rest=state.rest | changed,
            opt_state=opt_state,
            loss_sum=jnp.where(i == 0, 0.0, state.loss_sum) + loss,
            bad_step=jnp.where((state.bad_step < 0) & ~jnp.isfinite(loss), count, state.bad_step),
        )

    return lax.fori_loop(start, stop, step, state)


def mean_score(
    variables: Variables,
    context: Any,
    images: UInt8[Array, "N H W C"],
    labels: Labels,
    *,
    task: Task,
    batch_size: int = 256,
) -> Float[Array, ""]:
    """The mean of the task's score over examples, each counted once."""
    num_examples = labels.shape[0]
    padded = -(-num_examples // batch_size) * batch_size
    index = (jnp.arange(padded) % num_examples).reshape(-1, batch_size)

    def scores(batch):
        return task.score(variables, context, pixels(images[batch]), labels[batch])

    return jnp.mean(lax.map(scores, index).reshape(-1)[:num_examples])
