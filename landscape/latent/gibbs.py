"""Guided sampling of discrete latents: P places, each holding one of B codes. No gradient, one place at a time.

Targets over index [P] are those of `landscape.latent.targets` with codes for points:

    global:  log p(c | decode(index)) / T + log prior(index)                            prior: places independent
    local:   log p(c | decode(index)) / T - ||u(index) - u(index0)||^2 / (2 s^2)

`on_codes` makes a function of indices of any function of points.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from landscape.files import UserError
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


def fit_code_prior(
    index: Int[np.ndarray, "N P"], num_codes: int, *, smoothing: float = 1.0
) -> Float[np.ndarray, "P B"]:
    """log probability of every code at every place, (count + smoothing) / (N + smoothing B), nats (Laplace for 1).

    Smoothing keeps every code reachable: without it a code that the training data never have at a place is never
    proposed there, and the global target forbids it.

    Raises:
      ValueError: indices outside 0 .. B - 1, no example, or smoothing not positive.
    """
    index = np.asarray(index)
    if index.ndim != 2 or not len(index) or index.min() < 0 or index.max() >= num_codes:
        raise ValueError(f"index of shape {index.shape}: expected [N, P] of codes 0 to {num_codes - 1}; flatten maps")
    if not smoothing > 0:
        raise ValueError(f"smoothing={smoothing}: expected a positive number of examples; try 1.0")
    places = index.shape[1]
    flat = index + num_codes * np.arange(places)[None]
    counts = np.bincount(flat.ravel(), minlength=places * num_codes).reshape(places, num_codes) + smoothing
    return np.log(counts / counts.sum(axis=1, keepdims=True)).astype(np.float32)


def on_codes(of_points: Callable[..., Values], lookup: Callable[[Any, Array], Array]) -> Callable[..., Values]:
    """(index [C, P], data, codes, *shared) -> of_points(lookup(codes, index) as [C, D], data, *shared).

    Args:
      of_points: a log probability (u, label, *shared) or a log density (u, data, *shared) of white coordinates.
      lookup: (codes, index [C, P]) -> [C, P, E] or [C, D], such as `codes[index]` of vq or `fsq_point`, made white by
        the caller if radii are to be in white units.
    """

    def of_codes(index: Int[Array, "C P"], data: Any, codes: Any, *shared: Any) -> Values:
        return of_points(lookup(codes, index).reshape(index.shape[0], -1), data, *shared)

    return of_codes


def tempered(log_prob: LogProb) -> Callable[..., Values]:
    """log p(c | u) / T: a target but for its prior, which `gibbs` adds. Data: with a label and a temperature."""
    return lambda u, data, *shared: log_prob(u, data.label, *shared) / data.temperature


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
      keys: one a chain.
      log_likelihood: L, (index [C, P], data, *shared) -> [C], nats: `on_codes` of `tempered`.
      index0: first states.
      log_prior: of every code at every place, [P, B] for all chains (`fit_code_prior`: the global target) or
        [C, P, B] (`local_prior`: the local one).
      data: pytree with leading axis C, handed to log_likelihood.
      num_steps: a multiple of `frames`. P steps visit each place once on average.
      frames: F, number of states recorded.
      shared: pytrees given whole to log_likelihood.

    Raises:
      UserError: numbers of steps that do not fit, or places that do not.
    """
    num_places = index0.shape[-1]
    if num_steps < 1 or frames < 1 or num_steps % frames:
        raise UserError(
            f"num_steps={num_steps}, frames={frames}: expected num_steps a positive multiple of frames; try 1000, 100"
        )
    if log_prior.shape[-2] != num_places:
        raise UserError(f"log_prior for {log_prior.shape[-2]} places, index0 with {num_places}: expected as many")
    chains = jnp.arange(index0.shape[0])
    log_prior = jnp.broadcast_to(jnp.asarray(log_prior), (len(chains), *log_prior.shape[-2:]))

    def propose(key: jax.Array, log_prior: Array) -> tuple[Array, Array, Array]:
        key_place, key_code, key_accept = jax.random.split(key, 3)
        place = jax.random.randint(key_place, (), 0, num_places)
        return place, jax.random.categorical(key_code, log_prior[place]), jax.random.uniform(key_accept)

    def step(carry, t):
        index, value, accepted, changed = carry
        place, code, uniform = jax.vmap(lambda key, prior: propose(jax.random.fold_in(key, t), prior))(keys, log_prior)
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
