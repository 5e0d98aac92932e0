"""Dictionaries of one layer trained together: seeds, starts and sparsities as members of one program.

Points are the same for all members. An epoch is a pass over them in an order of the member's own. Features that no
point of an epoch made active begin anew in the direction of what a point of its last batch lacks (Bricken et al. 2023,
"Towards Monosemanticity", neuron resampling), in the first part of training.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from landscape.ensembles import Mapping, map_members
from landscape.models import dictionaries
from landscape.models.dictionaries import Dictionary, Hull

ORDER, REVIVAL = range(2)  # what the parts of a key are for


class Course(NamedTuple):
    """What all members of a program have in common.

    most: the largest k. revived: share of the epochs, from the first on, after which inactive features begin anew.
    """

    kind: str
    num_epochs: int
    batch_size: int
    learning_rate: float
    most: int
    revived: float


class State(NamedTuple):
    """One dictionary in training. fired: features that were active since the epoch began. revivals: features that began
    anew, over all epochs."""

    params: dict[str, Array]
    opt_state: Any
    fired: Bool[Array, " W"]
    revivals: Int[Array, ""]


class Trained(NamedTuple):
    """Dictionaries before and after training, and features that began anew for each one there is."""

    before: Dictionary
    after: Dictionary
    revived: Float[Array, "*S"]


def optimizer(course: Course, num_steps: int) -> optax.GradientTransformation:
    """Adam, its learning rate falling along half a cosine."""
    schedule = optax.cosine_decay_schedule(course.learning_rate, num_steps)
    return optax.chain(optax.scale_by_adam(), optax.scale_by_learning_rate(schedule))


def train(
    params: dict[str, Array],
    key: jax.Array,
    sparsity: Float[Array, ""],
    hull: Hull,
    h: Float[Array, "N D"],
    *,
    course: Course,
) -> Trained:
    """One dictionary from its parameters before training on.

    Args:
      params: as `dictionaries.start` makes them. key: of the order of points and of revivals.
      sparsity: see `dictionaries.loss`. h: training points; what does not fill a batch sits out an epoch.
    """
    num_batches = h.shape[0] // course.batch_size
    tx = optimizer(course, course.num_epochs * num_batches)

    def step(i: Array, carry: tuple) -> tuple:
        state, order, _ = carry
        batch = h[lax.dynamic_slice(order, (i * course.batch_size,), (course.batch_size,))]

        def loss(params):
            return dictionaries.loss(course.kind, params, batch, sparsity, course.most, hull)

        grads, (z, residual) = jax.grad(loss, has_aux=True)(state.params)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return State(params, opt_state, state.fired | jnp.any(z > 0, axis=0), state.revivals), order, residual

    def epoch(number: Array, state: State) -> State:
        own = jax.random.fold_in(key, number)
        order = jax.random.permutation(jax.random.fold_in(own, ORDER), h.shape[0])
        state = state._replace(fired=jnp.zeros_like(state.fired))
        begun = (state, order, jnp.zeros((course.batch_size, h.shape[1])))
        state, _, residual = lax.fori_loop(0, num_batches, step, begun)
        idle = ~state.fired & (number < course.revived * course.num_epochs)
        return revived(jax.random.fold_in(own, REVIVAL), state, idle, residual, course.kind, hull)

    width = params["encoder"].shape[1]
    begun = State(params, tx.init(params), jnp.zeros(width, bool), jnp.int32(0))
    state = lax.fori_loop(0, course.num_epochs, epoch, begun)
    before, after = (dictionaries.dictionary_of(course.kind, own, hull) for own in (params, state.params))
    return Trained(before, after, state.revivals / width)


def revived(
    key: jax.Array,
    state: State,
    idle: Bool[Array, " W"],
    residual: Float[Array, "N D"],
    kind: str,
    hull: Hull,
) -> State:
    """The state with idle features begun anew in the directions of residuals h - h^.

    Points are drawn in proportion to ||h - h^||^2, each once: of more idle features than points the last ones wait.
    Encoder and atom are the direction, as in `dictionaries.start`, and Adam's moments of the feature 0.
    """
    rank = jnp.cumsum(idle) - 1
    idle = idle & (rank < residual.shape[0])
    error = jnp.sum(jnp.square(residual), axis=1)
    drawn = jnp.argsort(-jnp.log(error + 1e-12) - jax.random.gumbel(key, error.shape))
    chosen = drawn[jnp.clip(rank, 0, residual.shape[0] - 1)]
    fresh = dictionaries.start(kind, dictionaries.unit(residual[chosen]), hull)

    def replaced(old: dict[str, Array], new: Callable[[str], Array]) -> dict[str, Array]:
        def one(name: str) -> Array:
            if name == "bias":
                return old[name]
            where = idle[None, :] if name == "encoder" else idle.reshape(-1, *(1,) * (old[name].ndim - 1))
            return jnp.where(where, new(name), old[name])

        return {name: one(name) for name in old}

    adam, *rest = state.opt_state
    mu, nu = (replaced(moment, lambda name, m=moment: jnp.zeros_like(m[name])) for moment in (adam.mu, adam.nu))
    params = replaced(state.params, fresh.__getitem__)
    opt_state = (adam._replace(mu=mu, nu=nu), *rest)
    return State(params, opt_state, state.fired, state.revivals + jnp.sum(idle))


@functools.lru_cache(maxsize=4)  # compiled once, however often its members are trained chunk by chunk
def program_of(course: Course, how: Mapping) -> Callable[..., Trained]:
    """train(params, keys, sparsity, *, hull, h) of all members, stacked [S, ...]; hull and h are the same for all."""

    @jax.jit
    def program(params, keys, sparsity, hull, h):
        one = functools.partial(train, course=course)
        return map_members(one, params, keys, sparsity, shared=(hull, h), how=how)

    return program
