"""Markov chains over a latent: MALA, HMC and NUTS of blackjax, many chains at once, and whether they have converged.

Warm-up adapts each chain's step size to its kernel's usual acceptance, then freezes it: what is recorded comes from one
fixed kernel, a valid Markov chain for the target. The mass matrix is I, since white coordinates are scaled already.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
from blackjax import diagnostics
from blackjax.adaptation.step_size import dual_averaging_adaptation
from jax import lax
from jaxtyping import Array, ArrayLike, Float

from landscape.files import UserError
from landscape.latent.targets import LogDensity
from landscape.types import Values

# Acceptance to adapt to: optimal for MALA (Roberts & Rosenthal 1998) and HMC (Beskos et al. 2013) in many dimensions,
# customary for NUTS (Hoffman & Gelman 2014).
ACCEPTANCE = {"mala": 0.574, "hmc": 0.65, "nuts": 0.8}
MAX_DOUBLINGS = 6  # of a NUTS trajectory: 63 gradients a step at most, since chains in step wait for the longest
LEAPFROG_STEPS = 4  # of an HMC trajectory, on average
# HMC's trajectories take 1 to 2 L - 1 leapfrog steps, L on average: one of fixed length that happens to be a period of
# the target would return to where it began for ever (Neal 2011, section 3.2). Multiples of the golden ratio, modulo 1,
# choose: whatever the state and for all chains alike, since chains in step wait for the longest.
GOLDEN = (np.sqrt(5) - 1) / 2


class Chains(NamedTuple):
    """What the chains recorded after warm-up.

    positions: every (num_steps / F)-th state, the last one the last: the memory is bounded whatever num_steps is.
    log_density: of those states, nats up to the target's constant.
    acceptance: mean acceptance probability over all recorded steps, of each chain.
    divergent: share of steps whose energy error passed blackjax's threshold of 1000 nats; 0 for MALA, which has none.
    """

    positions: Float[Array, "F C D"]
    log_density: Float[Array, "F C"]
    acceptance: Values
    divergent: Values


def sample(
    keys: jax.Array,
    log_density: LogDensity,
    start: Float[Array, "C D"],
    data: Any,
    *,
    kernel: str,
    step_size: ArrayLike,
    num_warmup: int,
    num_steps: int,
    frames: int,
    shared: tuple = (),
) -> Chains:
    """Runs C independent chains; chain i depends on row i of the arguments alone (up to float rounding of batches).

    Pure and meant to be jitted whole. Step t of a chain draws from fold_in(its key, t), warm-up first. Step sizes are
    adapted by dual averaging of their logarithm (Hoffman & Gelman 2014, arXiv:1111.4246, section 3.2), from a first
    value that may be off by orders of magnitude; without warm-up they stay as given.

    Args:
      log_density: (u [C, D], data, *shared) -> [C], differentiable in u, row by row; see `landscape.latent.targets`.
      start: first states; of finite density.
      data: pytree with leading axis C, handed to log_density. shared: pytrees that it is given whole.
      kernel: one of ACCEPTANCE.
      step_size: first guess, white units: of a leapfrog step, and for MALA the standard deviation of its noise,
        u + step_size^2 / 2 grad + step_size eps, which is HMC with one leapfrog step.
      num_warmup, num_steps: steps before and while recording; num_steps a multiple of `frames`, F states recorded.

    Raises:
      UserError: unknown kernel, numbers of steps that do not fit.
    """
    if kernel not in ACCEPTANCE:
        raise UserError(f"kernel={kernel!r}: expected one of {', '.join(ACCEPTANCE)}; try mala")
    check_steps(num_steps, frames)
    counts = {"num_warmup": num_warmup, "num_steps": num_steps, "frames": frames}

    def chain(key: jax.Array, u: Array, data: Any):
        def at(u: Array) -> Array:
            return log_density(u[None], jax.tree.map(lambda leaf: leaf[None], data), *shared)[0]

        return _chain(key, at, u, jnp.asarray(step_size, u.dtype), kernel, **counts)

    positions, values, acceptance, divergent = jax.vmap(chain)(keys, start, data)
    return Chains(jnp.swapaxes(positions, 0, 1), values.T, acceptance, divergent)


def check_steps(num_steps: int, frames: int) -> None:
    """UserError where frames are not spread evenly over the steps."""
    if num_steps < 1 or frames < 1 or num_steps % frames:
        raise UserError(
            f"num_steps={num_steps}, frames={frames}: expected num_steps a positive multiple of frames; try 1000, 100"
        )


def _chain(key: jax.Array, at: Callable, u: Array, step_size: Array, kernel: str, *, num_warmup, num_steps, frames):
    """One chain of the log density `at`: (states [F, D], their log densities [F], acceptance, share that diverged)."""
    init, advance = _kernel(kernel, u.shape[-1])
    tune_init, tune, tuned = dual_averaging_adaptation(ACCEPTANCE[kernel])

    def warm_up(carry, t):
        state, tuning = carry
        state, acceptance, _ = advance(jax.random.fold_in(key, t), t, state, at, jnp.exp(tuning.log_step_size))
        # One step without a density must not spoil the running mean for ever.
        return (state, tune(tuning, jnp.nan_to_num(acceptance))), None

    def step(carry, t):
        state, accepted, diverged = carry
        state, acceptance, divergent = advance(jax.random.fold_in(key, t), t, state, at, step_size)
        return (state, accepted + acceptance, diverged + divergent), None

    def frame(carry, steps):
        carry, _ = lax.scan(step, carry, steps)
        return carry, (carry[0].position, carry[0].logdensity)

    state = init(u, at)
    if num_warmup:
        (state, tuning), _ = lax.scan(warm_up, (state, tune_init(step_size)), jnp.arange(num_warmup))
        step_size = tuned(tuning).astype(u.dtype)
    steps = num_warmup + jnp.arange(num_steps).reshape(frames, -1)
    none = jnp.zeros((), u.dtype)
    (_, accepted, diverged), (positions, values) = lax.scan(frame, (state, none, none), steps)
    return positions, values, accepted / num_steps, diverged / num_steps


def _kernel(name: str, dim: int) -> tuple[Callable, Callable]:
    """(init(u, log_density), advance(key, t, state, log_density, step_size) -> (state, acceptance, divergent))."""
    mass, algorithm = jnp.ones(dim), {"mala": blackjax.mala, "hmc": blackjax.hmc, "nuts": blackjax.nuts}[name]
    kernel = algorithm.build_kernel()

    def advance(key, t, state, at, step_size):
        if name == "mala":  # whose step is half the variance of the noise
            state, info = kernel(key, state, at, 0.5 * jnp.square(step_size))
            return state, info.acceptance_rate, jnp.zeros((), state.position.dtype)
        share = jnp.modf(jnp.float32(GOLDEN) * t)[0]
        count = 1 + jnp.floor((2 * LEAPFROG_STEPS - 1) * share).astype(jnp.int32)
        state, info = kernel(key, state, at, step_size, mass, count if name == "hmc" else MAX_DOUBLINGS)
        return state, info.acceptance_rate, info.is_divergent.astype(state.position.dtype)

    return algorithm.init, advance


# ---- have they converged? ----


def rhat(positions: Float[Array, "F C D"] | Float[np.ndarray, "F C D"]) -> Float[np.ndarray, " D"]:
    """Split R-hat: the spread over all half-chains against that within them, 1 where all show the same distribution.

    sqrt((B / W + n - 1) / n), W the mean variance within half-chains of n states, B / n the variance of their means.
    One value a dimension; NaN where no half-chain ever moves, or a state is NaN, or frames are fewer than 4.

    Source: Gelman et al. 2013 (Bayesian Data Analysis), section 11.4, through blackjax.
    """
    return _diagnosed(diagnostics.potential_scale_reduction, positions)


def ess(positions: Float[Array, "F C D"] | Float[np.ndarray, "F C D"]) -> Float[np.ndarray, " D"]:
    """Effective sample size: independent draws that would give the mean as well as these C F states do together.

    From the autocorrelations of half-chains (Geyer's initial monotone sequence). The standard error of a mean is the
    standard deviation over sqrt(ess). More than C F is possible, where successive states are on opposite sides. One
    value a dimension; NaN as for `rhat`.

    Source: Gelman et al. 2013, section 11.5, through blackjax.
    """
    return _diagnosed(diagnostics.effective_sample_size, positions)


def _diagnosed(diagnostic: Callable, positions: Array | np.ndarray) -> np.ndarray:
    """A diagnostic of half-chains [2C, F // 2, D], the last state of an odd number left out."""
    x = np.asarray(positions, np.float64)
    half = len(x) // 2
    if half < 2:
        return np.full(x.shape[-1], np.nan)
    halves = np.concatenate([x[:half], x[half : 2 * half]], axis=1).swapaxes(0, 1)
    undefined = np.all(np.ptp(halves, axis=1) == 0, axis=0) | ~np.isfinite(halves).all(axis=(0, 1))
    # blackjax works in float32, where a mean far from 0 would drown the variance; both ignore an affine map.
    halves = np.where(undefined, 0.0, halves)
    halves = (halves - halves.mean(axis=(0, 1))) / np.where(undefined, 1.0, halves.std(axis=(0, 1)))
    # Constant dimensions would be 0 / 0; a ramp stands in for them. The result's axes are squeezed: D = 1 has none.
    halves = np.where(undefined, np.arange(half)[None, :, None], halves).astype(np.float32)
    values = np.asarray(jax.jit(diagnostic)(halves), np.float64).reshape(-1)
    return np.where(undefined, np.nan, values)
