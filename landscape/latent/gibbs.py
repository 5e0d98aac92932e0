"""Guided sampling of discrete latents: P places, each holding one of B codes. No gradient, one place at a time.

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
from jaxtyping import Array, Float, Int

from landscape.files import UserError
from landscape.latent.chains import check_steps
from landscape.latent.targets import LogProb
from landscape.types import Values


class CodeChains(NamedTuple):
    """What the chains recorded.

    index: every (num_steps / F)-th state, the last one the last.
    log_density: of those states, nats up to the target's constant.
    acceptance: mean acceptance probability over all steps, of each chain; a proposal of the code that is there counts.
    changed: share of steps that changed a code: low where few codes carry the prior, however many are accepted.
    """

    index: Int[Array, "F C P"]
    log_density: Float[Array, "F C"]
    acceptance: Values
    changed: Values


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


def draw(key: jax.Array, log_prior: Float[Array, "places B"]) -> Int[Array, " places"]:
    """Codes drawn from a prior, each place for itself: a start as wide as the target is without guidance."""
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
    shared: tuple = (),
) -> CodeChains:
    """Metropolis-within-Gibbs on exp(L(index)) times a prior of places that know nothing of each other.

    Every step proposes one new code at one place, drawn uniformly, from the prior there, whatever code is there now.
    The prior cancels against the proposal, and the step is accepted with probability min(1, exp(L(index') - L(index))),
    which leaves the target invariant. All chains' proposals are decoded and classified as one batch; chain i depends on
    row i of the arguments alone, step t on fold_in(its key, t). Meant to be jitted whole.

    Args:
      log_likelihood: L, (index [C, P], data, *shared) -> [C], nats: see `likelihood`.
      index0: first states.
      log_prior: of codes by place, [P, B] for all chains (`fit_code_prior`) or [C, P, B] (`local_prior`).
      data: pytree with leading axis C, handed to log_likelihood. shared: pytrees that it is given whole.
      num_steps: a multiple of `frames`, F states recorded. P steps visit each place once on average.

    Raises:
      UserError: numbers of steps that do not fit, or places that do not.
    """
    check_steps(num_steps, frames)
    if log_prior.shape[-2] != index0.shape[-1]:
        raise UserError(f"log_prior for {log_prior.shape[-2]} places, index0 with {index0.shape[-1]}: expected as many")
    chains = jnp.arange(index0.shape[0])
    log_prior = jnp.broadcast_to(jnp.asarray(log_prior), (len(chains), *log_prior.shape[-2:]))

    def step(carry, t):
        index, value, accepted, changed = carry
        place, code, uniform = jax.vmap(_propose, (0, None, 0))(keys, t, log_prior)
        proposal = index.at[chains, place].set(code.astype(index.dtype))
        new_value = log_likelihood(proposal, data, *shared)
        # A proposal without a density is refused.
        ratio = new_value - value
        probability = jnp.where(jnp.isnan(ratio), 0.0, jnp.exp(jnp.minimum(ratio, 0.0)))
        accept = uniform < probability
        changed += accept & (code != index[chains, place])
        index, value = jnp.where(accept[:, None], proposal, index), jnp.where(accept, new_value, value)
        return (index, value, accepted + probability, changed), None

    def frame(carry, steps):
        carry, _ = lax.scan(step, carry, steps)
        index, value = carry[:2]
        own = jnp.take_along_axis(log_prior, index[:, :, None], axis=-1)[..., 0]
        return carry, (index, value + jnp.sum(own, axis=-1))

    value0 = log_likelihood(index0, data, *shared)
    none = jnp.zeros(index0.shape[:1], value0.dtype)
    steps = jnp.arange(num_steps).reshape(frames, -1)
    (_, _, accepted, changed), (recorded, log_density) = lax.scan(frame, (index0, value0, none, none), steps)
    return CodeChains(recorded, log_density, accepted / num_steps, changed / num_steps)


def _propose(key: jax.Array, t: Array, log_prior: Float[Array, "P B"]) -> tuple[Array, Array, Array]:
    """(place, code, uniform number) of step t."""
    key_place, key_code, key_accept = jax.random.split(jax.random.fold_in(key, t), 3)
    place = jax.random.randint(key_place, (), 0, len(log_prior))
    return place, jax.random.categorical(key_code, log_prior[place]), jax.random.uniform(key_accept)
