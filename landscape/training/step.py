"""One member's training as pure functions: initial state, many steps, accuracy. Mapping over members is not here."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Float, Int, UInt8

from landscape import samplers
from landscape.models.classifiers import Classifier
from landscape.training.members import Hyper
from landscape.types import Labels, Logits, Variables

INIT, ORDER, NOISE = range(3)  # what the parts of a member's key are for


class Plan(NamedTuple):
    """What is fixed when the program is compiled, the same for all members.

    noisy_inputs, noisy_weights: whether members have such noise; without, none is drawn.
    """

    num_epochs: int
    batch_size: int
    num_examples: int
    noisy_inputs: bool
    noisy_weights: bool

    @property
    def epoch_steps(self) -> int:
        """Steps an epoch: what does not fill a batch sits out, other examples in every epoch."""
        return self.num_examples // self.batch_size


class State(NamedTuple):
    """One member in training.

    Attributes:
      params, batch_stats: Flax collections; batch_stats is {} without batch norm. opt_state: of AdamW.
      loss_sum: over the steps of this epoch so far, nats.
      bad_step: the first step whose loss was not finite, -1 for none.
    """

    params: Any
    batch_stats: Any
    opt_state: Any
    loss_sum: Array
    bad_step: Array


def member_keys(seed: int, members: Int[Array, " S"]) -> jax.Array:
    """Keys [S]: the base seed's key folded with each member's own seed."""
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), members)


def variables_of(state: State) -> Variables:
    """The Flax dict that `Classifier.apply` takes."""
    return {"params": state.params} | ({"batch_stats": state.batch_stats} if state.batch_stats else {})


def optimizer(hyper: Hyper, num_steps: int) -> optax.GradientTransformation:
    """AdamW; the learning rate falls as (1 + cos(pi t / T)) / 2; kernels decay, vectors (biases, norms) do not.

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


def init(key: jax.Array, image: UInt8[Array, "H W C"], *, classifier: Classifier) -> Variables:
    """A member's variables before training."""
    return classifier.init(jax.random.fold_in(key, INIT), image[None].astype(jnp.float32))


def begin(variables: Variables, hyper: Hyper, *, plan: Plan) -> State:
    """A member before its first step."""
    params = variables["params"]
    opt_state = optimizer(hyper, plan.num_epochs * plan.epoch_steps).init(params)
    return State(params, variables.get("batch_stats", {}), opt_state, jnp.float32(0), jnp.int32(-1))


def cross_entropy(logits: Logits, label: Labels, smoothing: Float[Array, ""]) -> Float[Array, ""]:
    """Mean over the batch of -sum_k q_k log p_k, q = (1 - smoothing) onehot + smoothing / K. Nats."""
    log_probs = jax.nn.log_softmax(logits)
    own = jnp.take_along_axis(log_probs, label[:, None], axis=-1)[:, 0]
    return -jnp.mean((1 - smoothing) * own + smoothing * jnp.mean(log_probs, axis=-1))


def advance(
    state: State,
    key: jax.Array,
    hyper: Hyper,
    labels: Labels,
    images: UInt8[Array, "N H W C"],
    epoch: Int[Array, ""],
    start: Int[Array, ""],
    stop: Int[Array, ""],
    *,
    classifier: Classifier,
    plan: Plan,
) -> State:
    """Steps `start` to `stop` of an epoch. How an epoch is cut into calls changes no bit of the result.

    The order of examples is a permutation drawn from (member, epoch), noise from (member, step).
    """
    order = jax.random.permutation(jax.random.fold_in(jax.random.fold_in(key, ORDER), epoch), plan.num_examples)
    tx = optimizer(hyper, plan.num_epochs * plan.epoch_steps)

    def step(i: Array, state: State) -> State:
        batch = lax.dynamic_slice(order, (i * plan.batch_size,), (plan.batch_size,))
        x, label = images[batch].astype(jnp.float32) / 255, labels[batch]
        count = epoch * plan.epoch_steps + i
        key_input, key_weight = jax.random.split(jax.random.fold_in(jax.random.fold_in(key, NOISE), count))
        if plan.noisy_inputs:  # drawn flat: see models.classifiers
            x = x + hyper.input_noise * jax.random.normal(key_input, (x.size,)).reshape(x.shape)

        def loss_fn(params):
            variables = variables_of(state._replace(params=params))
            if plan.noisy_weights:
                variables = samplers.perturb(key_weight, variables, hyper.weight_noise, kind="multiplicative")
            logits, batch_stats = classifier.train_apply(variables, x)
            return cross_entropy(logits, label, hyper.label_smoothing), batch_stats

        (loss, batch_stats), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        return State(
            params=optax.apply_updates(state.params, updates),
            batch_stats=batch_stats,
            opt_state=opt_state,
            loss_sum=jnp.where(i == 0, 0.0, state.loss_sum) + loss,
            bad_step=jnp.where((state.bad_step < 0) & ~jnp.isfinite(loss), count, state.bad_step),
        )

    return lax.fori_loop(start, stop, step, state)


def accuracy(
    variables: Variables,
    images: UInt8[Array, "N H W C"],
    labels: Labels,
    *,
    classifier: Classifier,
    batch_size: int = 256,
) -> Float[Array, ""]:
    """Share of examples whose largest logit is the label's."""
    num_examples = labels.shape[0]
    padded = -(-num_examples // batch_size) * batch_size
    index = (jnp.arange(padded) % num_examples).reshape(-1, batch_size)

    def right(batch):
        logits = classifier.apply(variables, images[batch].astype(jnp.float32) / 255)
        return jnp.argmax(logits, axis=-1) == labels[batch]

    return jnp.mean(lax.map(right, index).reshape(-1)[:num_examples])
