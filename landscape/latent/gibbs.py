"""Guided sampling of discrete latents: P places, each holding one of B codes. No gradient, one place at a
time, and now and then all places at once.

Targets over index [P] are those of `landscape.latent.targets` with codes for points:

    global:  log p(c | decode(index)) / T + log prior(index)                            prior: places independent
    local:   log p(c | decode(index)) / T - ||u(index) - u(index0)||^2 / (2 s^2)
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from landscape.files import UserError
from landscape.latent.chains import JUMP_EVERY, check_steps, warm_up
from landscape.latent.targets import LogProb
from landscape.types import Values


class CodeChains(NamedTuple):
    """What the chains recorded.

    index: every (num_steps / F)-th state, the last one the last.
    log_density: of those states, nats up to the target's constant.
    acceptance: mean acceptance probability over steps of one place, of each chain; a proposal of the code that is there
      counts.
    changed: share of these steps that changed a code: low where few codes carry the prior, however many are accepted.
    jumped: mean acceptance probability of jumps; NaN for a chain without any.
    """

    index: Int[Array, "F C P"]
    log_density: Float[Array, "F C"]
    acceptance: Values
    changed: Values
    jumped: Values


def fit_code_prior(index: Int[np.ndarray, "N P"], num_codes: int) -> Float[np.ndarray, "P B"]:
    """log probability of every code at every place, (count + 1) / (N + B), nats (Laplace).

    Smoothing keeps every code reachable: without it a code that the training data never have at a place is never
    proposed there, and the global target forbids it.

    Raises:
      ValueError: indices outside 0 .. B - 1, or no example.
    """
    index = np.asarray(index)
    if index.ndim != 2 or not len(index) or index.min() < 0 or index.max() >= num_codes:
        raise ValueError(f"index of shape {index.shape}: expected [N, P] of codes 0 to {num_codes - 1}; flatten maps")
    places = index.shape[1]
    flat = index + num_codes * np.arange(places)[None]
    counts = np.bincount(flat.ravel(), minlength=places * num_codes).reshape(places, num_codes) + 1.0
    return np.log(counts / counts.sum(axis=1, keepdims=True)).astype(np.float32)


def likelihood(log_prob: LogProb) -> Callable[..., Values]:
    """(index [C, P], data, codes [B, E], *shared) -> log p(c | u) / T at u = codes[index] as [C, D], white coordinates.

    A target but for its prior, which `gibbs` adds. data: with a label and a temperature.
    """

    def log_likelihood(index: Int[Array, "C P"], data: Any, codes: Float[Array, "B E"], *shared: Any) -> Values:
        return log_prob(points(codes, index), data.label, *shared) / data.temperature

    return log_likelihood


def points(codes: Float[Array, "B E"], index: Int[Array, "C P"]) -> Float[Array, "C D"]:
    """The latents that codes stand for."""
    return codes[index].reshape(index.shape[0], -1)


def local_prior(
    codes: Float[Array, "B E"], origin: Float[Array, "C places E"], radius: Values
) -> Float[Array, "C places B"]:
    """The prior of the local target: codes near those of an embedding, each place for itself.

    log of exp(-||c_b - z0_p||^2 / (2 s^2)) over its sum over codes b, nats: what -||z - z0||^2 / (2 s^2) is on codes.

    Args:
      codes: points of the codes. origin: z0 of every chain, place by place. radius: s of every chain, unit of codes.
    """
    # Divided before it is squared, as in `targets.local`.
    scaled = codes[None, None] / radius[:, None, None, None]
    apart = scaled - (origin / radius[:, None, None])[:, :, None]
    return jax.nn.log_softmax(-0.5 * jnp.sum(jnp.square(apart), axis=-1), axis=-1)


def draw(key: jax.Array, log_prior: Float[Array, "*places B"]) -> Int[Array, "*places"]:
    """Codes drawn from a prior, each place for itself."""
    return jax.random.categorical(key, log_prior, axis=-1)


def gibbs(
    keys: jax.Array,
    log_likelihood: Callable[..., Values],
    index0: Int[Array, "C P"],
    log_prior: Float[Array, "*C places B"] | Float[np.ndarray, "*C places B"],
    data: Any,
    *,
    num_steps: int,
    frames: int,
    num_warmup: int = 0,
    shared: tuple = (),
    jumping: Bool[Array, " C"] | None = None,
) -> CodeChains:
    """Metropolis-within-Gibbs on exp(L(index)) times a prior of places that know nothing of each other.

    A step proposes one new code at one place, drawn uniformly, from the prior there, whatever code is there now; after
    JUMP_EVERY of these a jump proposes codes of all places, which passes between modes that no single code joins. The
    prior cancels against the proposal, and both are accepted with probability min(1, exp(L(index') - L(index))), which
    leaves the target invariant. All chains' proposals are decoded and classified as one batch; chain i depends on
    row i of the arguments alone, step t on fold_in(its key, t). Meant to be jitted whole.

    Args:
      log_likelihood: L, (index [C, P], data, *shared) -> [C], nats: see `likelihood`.
      index0: first states.
      log_prior: of codes by place, [P, B] for all chains (`fit_code_prior`) or [C, P, B] (`local_prior`).
      data: pytree with leading axis C, handed to log_likelihood. shared: pytrees that it is given whole.
      num_warmup, num_steps: steps before and while recording, as in `chains.sample`. P steps visit each place once on
        average.
      jumping: which chains jump, all of them by default; the others change one place instead.

    Raises:
      UserError: numbers of steps that do not fit, or places that do not.
    """
    check_steps(num_steps, frames)
    if log_prior.shape[-2] != index0.shape[-1]:
        raise UserError(f"log_prior for {log_prior.shape[-2]} places, index0 with {index0.shape[-1]}: expected as many")
    count, early = index0.shape[0], warm_up(num_warmup, num_steps, frames)
    log_prior = jnp.broadcast_to(jnp.asarray(log_prior), (count, *log_prior.shape[-2:]))
    jumping = jnp.ones(count, bool) if jumping is None else jumping

    step = _step(keys, lambda index: log_likelihood(index, data, *shared), log_prior, jumping, early)

    def frame(carry, steps):
        carry, _ = lax.scan(step, carry, steps)
        index, value = carry[:2]
        own = jnp.take_along_axis(log_prior, index[:, :, None], axis=-1)[..., 0]
        return carry, (index, value + jnp.sum(own, axis=-1))

    value0 = log_likelihood(index0, data, *shared)
    none = jnp.zeros(count, value0.dtype)
    steps = np.arange(early + num_steps).reshape(-1, num_steps // frames)
    first = (index0, value0, (none, none, none, jnp.zeros(count, jnp.int32)))
    (_, _, (accepted, changed, jumped, jumps)), every = lax.scan(frame, first, steps)
    recorded, log_density = (values[len(steps) - frames :] for values in every)
    return CodeChains(
        recorded, log_density, accepted / (num_steps - jumps), changed / (num_steps - jumps), jumped / jumps
    )


def _step(
    keys: jax.Array,
    log_likelihood: Callable[[Int[Array, "C P"]], Values],
    log_prior: Float[Array, "C P B"],
    jumping: Bool[Array, " C"],
    early: int,
) -> Callable[[tuple, Array], tuple[tuple, None]]:
    """One step of all chains for `lax.scan`: (index, value, sums), t -> the same after it.

    sums: from step `early` on, of acceptance probabilities and of changes of single places, of acceptance probabilities
    of jumps, and the number of jumps; each [C].
    """

    def step(carry, t):
        index, value, sums = carry
        proposal, uniform, jump = _propose(keys, t, index, log_prior, jumping)
        new_value = log_likelihood(proposal)
        # A proposal without a density is refused.
        ratio = new_value - value
        probability = jnp.where(jnp.isnan(ratio), 0.0, jnp.exp(jnp.minimum(ratio, 0.0)))
        accept = uniform < probability
        changed = accept & jnp.any(proposal != index, axis=-1)
        one, jump = ~jump & (t >= early), jump & (t >= early)
        of_step = (one * probability, one * changed.astype(value.dtype), jump * probability, jump)
        index, value = jnp.where(accept[:, None], proposal, index), jnp.where(accept, new_value, value)
        return (index, value, jax.tree.map(jnp.add, sums, of_step)), None

    return step


def _propose(
    keys: jax.Array,
    t: Array,
    index: Int[Array, "C P"],
    log_prior: Float[Array, "C P B"],
    jumping: Bool[Array, " C"],
) -> tuple[Array, Array, Array]:
    """(proposed index [C, P], uniform numbers [C], whether it is a jump [C]) of step t."""
    chains, every = jnp.arange(len(index)), jax.vmap(jax.random.split, (0, None))

    def one_place(keys):
        key_place, key_code = jnp.moveaxis(every(keys, 2), 1, 0)
        place = jax.vmap(lambda key: jax.random.randint(key, (), 0, index.shape[1]))(key_place)
        code = jax.vmap(draw)(key_code, log_prior[chains, place])
        return index.at[chains, place].set(code.astype(index.dtype))

    def jump(keys):
        return jnp.where(jumping[:, None], jax.vmap(draw)(keys, log_prior).astype(index.dtype), one_place(keys))

    key_move, key_accept = jnp.moveaxis(every(jax.vmap(jax.random.fold_in, (0, None))(keys, t), 2), 1, 0)
    now = t % (JUMP_EVERY + 1) == JUMP_EVERY
    proposal = lax.cond(now, jump, one_place, key_move)  # t is the same for all chains: one of them is computed
    return proposal, jax.vmap(jax.random.uniform)(key_accept), now & jumping
