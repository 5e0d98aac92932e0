"""Markov chains over a latent: MALA, HMC and NUTS of blackjax with jumps between modes, many chains at once.

Warm-up adapts each chain's step size to its kernel's usual acceptance, then freezes it: what is recorded comes from one
fixed kernel, a valid Markov chain for the target. The mass matrix is I, since white coordinates are scaled already.
Whether chains have converged is said by `landscape.stats.convergence`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
from blackjax.adaptation.step_size import dual_averaging_adaptation
from jax import lax
from jaxtyping import Array, ArrayLike, Bool, Float

from landscape.files import UserError
from landscape.latent.targets import LogDensity, Prior
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
JUMP_EVERY = 2  # steps of the kernel to a jump
JUMP_KEY = 2**30  # added to a step's number for the key of its jump


class Chains(NamedTuple):
    """What the chains recorded after warm-up.

    positions: every (num_steps / F)-th state, the last one the last: the memory is bounded whatever num_steps is.
    log_density: of those states, nats up to the target's constant.
    acceptance: mean acceptance probability over all recorded steps but jumps, of each chain.
    divergent: share of steps whose energy error passed blackjax's threshold of 1000 nats; 0 for MALA, which has none.
    jumped: mean acceptance probability of the recorded jumps; NaN for a chain without any.
    """

    positions: Float[Array, "F C D"]
    log_density: Float[Array, "F C"]
    acceptance: Values
    divergent: Values
    jumped: Values


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
    prior: Prior | None = None,
    jumping: Bool[Array, " C"] | None = None,
) -> Chains:
    """Runs C independent chains; chain i depends on row i of the arguments alone (up to float rounding of batches).

    Pure and meant to be jitted whole. Step t of a chain draws from fold_in(its key, t), warm-up first. Step sizes are
    adapted by dual averaging of their logarithm (Hoffman & Gelman 2014, arXiv:1111.4246, section 3.2), from a first
    value that may be off by orders of magnitude; without warm-up they stay as given.

    Jumps, after every JUMP_EVERY steps, let chains pass between modes that small steps cannot join: a draw u' of the
    prior replaces u with probability min(1, L(u') / L(u)), where L is the target over the prior, its likelihood. This
    independence Metropolis step (Tierney 1994, section 2.3.3) leaves the target invariant. How often jumps are taken is
    about how much narrower than the prior the target is, so that in many dimensions they may be rare.

    Args:
      log_density: (u [C, D], data, *shared) -> [C], differentiable in u, row by row; see `landscape.latent.targets`.
      start: first states; of finite density.
      data: pytree with leading axis C, handed to log_density. shared: pytrees that it is given whole.
      kernel: one of ACCEPTANCE.
      step_size: first guess, white units: of a leapfrog step, and for MALA the standard deviation of its noise,
        u + step_size^2 / 2 grad + step_size eps, which is HMC with one leapfrog step.
      num_warmup, num_steps: steps before and while recording; num_steps a multiple of `frames`, F states recorded, and
        num_warmup rounded up to one of num_steps / F.
      prior: what jumps are drawn from; None for chains without them.
      jumping: which chains jump, all of them by default.

    Raises:
      UserError: unknown kernel, numbers of steps that do not fit.
    """
    if kernel not in ACCEPTANCE:
        raise UserError(f"kernel={kernel!r}: expected one of {', '.join(ACCEPTANCE)}; try mala")
    check_steps(num_steps, frames)
    counts = {"num_warmup": num_warmup, "num_steps": num_steps, "frames": frames}

    jumping = jnp.full(len(start), prior is not None) if jumping is None else jumping

    def chain(key: jax.Array, u: Array, data: Any, jumping: Array):
        one = jax.tree.map(lambda leaf: leaf[None], data)
        moves = _kernel(kernel, u.shape[-1], lambda u: log_density(u[None], one, *shared)[0])
        jump = prior and _jump(prior, data, jumping, moves.init)
        return _chain(key, moves, jump, u, jnp.asarray(step_size, u.dtype), ACCEPTANCE[kernel], **counts)

    positions, values, *of_steps, jumped = jax.vmap(chain)(keys, start, data, jumping)
    jumped = jnp.where(jumping, jumped, jnp.nan)
    return Chains(jnp.swapaxes(positions, 0, 1), values.T, *of_steps, jumped)


def check_steps(num_steps: int, frames: int) -> None:
    """UserError where frames are not spread evenly over the steps."""
    if num_steps < 1 or frames < 1 or num_steps % frames:
        raise UserError(
            f"num_steps={num_steps}, frames={frames}: expected num_steps a positive multiple of frames; try 1000, 100"
        )


def warm_up(num_warmup: int, num_steps: int, frames: int) -> int:
    """num_warmup, rounded up to a multiple of the num_steps / frames steps between recorded states."""
    between = num_steps // frames
    return -(-num_warmup // between) * between


class _Moves(NamedTuple):
    """init(u) -> state; advance(key, t, state, step_size) -> (state, acceptance, divergent)."""

    init: Callable
    advance: Callable


def _chain(
    key: jax.Array, moves: _Moves, jump: Callable | None, u: Array, step_size: Array, acceptance: float,
    *, num_warmup: int, num_steps: int, frames: int,
):  # fmt: skip
    """One chain: (states [F, D], their log densities [F], acceptance, share that diverged, acceptance of jumps)."""
    tune_init, tune, tuned = dual_averaging_adaptation(acceptance)
    none = jnp.zeros((), u.dtype)

    def move(t, state, step_size):
        state, *of_step = moves.advance(jax.random.fold_in(key, t), t, state, step_size)
        if jump is None:
            return state, (*of_step, none)
        # t is the same for all chains, so that a jump is computed where it is made alone.
        key_jump = jax.random.fold_in(key, JUMP_KEY + t)
        state, taken = lax.cond(
            t % JUMP_EVERY == JUMP_EVERY - 1, lambda s: jump(key_jump, s), lambda s: (s, none), state
        )
        return state, (*of_step, taken)

    def step(carry, t):
        state, tuning, sums = carry
        adapted = tuned(tuning).astype(u.dtype) if early else step_size
        state, of_step = move(t, state, jnp.where(t < early, jnp.exp(tuning.log_step_size), adapted))
        # One step without a density must not spoil the running mean for ever.
        tuning = _where(t < early, tune(tuning, jnp.nan_to_num(of_step[0])), tuning)
        return (state, tuning, _where(t < early, sums, jax.tree.map(jnp.add, sums, of_step))), None

    def frame(carry, steps):
        carry, _ = lax.scan(step, carry, steps)
        return carry, (carry[0].position, carry[0].logdensity)

    # Warm-up and what is recorded are one program, which is compiled once.
    early = warm_up(num_warmup, num_steps, frames)
    steps = np.arange(early + num_steps).reshape(-1, num_steps // frames)
    first = (moves.init(u), tune_init(step_size), (none, none, none))
    (_, _, sums), recorded = lax.scan(frame, first, steps)
    positions, values = (values[len(steps) - frames :] for values in recorded)
    count = np.sum(steps[steps >= early] % JUMP_EVERY == JUMP_EVERY - 1)
    accepted, diverged, jumped = sums
    return positions, values, accepted / num_steps, diverged / num_steps, jumped / count if count else jnp.nan * none


def _where(condition: Array, a: Any, b: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), a, b)


def _jump(prior: Prior, data: Any, jumping: Array, init: Callable) -> Callable:
    """jump(key, state) -> (state, acceptance probability) of one chain; 0 of one that does not jump."""

    def log_prior(u: Array) -> Array:
        return prior.log_density(u[None], jax.tree.map(lambda leaf: leaf[None], data))[0]

    def jump(key: jax.Array, state: Any) -> tuple[Any, Array]:
        key_draw, key_accept = jax.random.split(key)
        new = init(prior.draw(key_draw, state.position, data))
        before, after = (one.logdensity - log_prior(one.position) for one in (state, new))
        # A draw without a density is refused.
        probability = jnp.where(jumping, jnp.exp(jnp.minimum(after - before, 0.0)), 0.0)
        probability = jnp.where(jnp.isnan(probability), 0.0, probability)
        accept = jax.random.uniform(key_accept) < probability
        return _where(accept, new, state), probability

    return jump


def _kernel(name: str, dim: int, at: Callable) -> _Moves:
    """The moves of a kernel for the log density `at`."""
    mass, algorithm = jnp.ones(dim), {"mala": blackjax.mala, "hmc": blackjax.hmc, "nuts": blackjax.nuts}[name]
    kernel = algorithm.build_kernel()

    def advance(key, t, state, step_size):
        if name == "mala":  # whose step is half the variance of the noise
            state, info = kernel(key, state, at, 0.5 * jnp.square(step_size))
            return state, info.acceptance_rate, jnp.zeros((), state.position.dtype)
        share = jnp.modf(jnp.float32(GOLDEN) * t)[0]
        count = 1 + jnp.floor((2 * LEAPFROG_STEPS - 1) * share).astype(jnp.int32)
        state, info = kernel(key, state, at, step_size, mass, count if name == "hmc" else MAX_DOUBLINGS)
        return state, info.acceptance_rate, info.is_divergent.astype(state.position.dtype)

    return _Moves(lambda u: algorithm.init(u, at), advance)
