"""What stands between an encoder and a decoder: pure functions from an encoder's output e to the latent z.

Gradients pass straight through what rounds or picks: z = e + stop_gradient(q(e) - e), so dz/de = 1.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, ArrayLike, Float, Int


def straight_through(e: Float[Array, "..."], q: Float[Array, "..."]) -> Float[Array, "..."]:
    """The value of q with the gradient of e (Bengio et al. 2013, arXiv:1308.3432)."""
    return e + lax.stop_gradient(q - e)


# ---- real latents ----


def sphere(e: Float[Array, "N D"]) -> Float[Array, "N D"]:
    """sqrt(D) e / ||e||: the sphere on which a standard Gaussian lives; the first axis where e is 0."""
    squares = jnp.sum(jnp.square(e), axis=-1, keepdims=True)
    # Two `where`: the gradient of the branch not taken must be finite too.
    length = jnp.sqrt(jnp.where(squares > 0, squares, 1.0))
    pole = jnp.zeros_like(e).at[:, 0].set(1.0)
    return e.shape[-1] ** 0.5 * jnp.where(squares > 0, e / length, pole)


def top_k(e: Float[Array, "N D"], k: int) -> Float[Array, "N D"]:
    """The k entries of largest size of every row, the others 0 (Makhzani & Frey 2014, arXiv:1312.5663).

    Raises:
      ValueError: k outside 1 .. D.
    """
    if not 1 <= k <= e.shape[-1]:
        raise ValueError(f"k={k}: expected 1 to {e.shape[-1]}, the dimension of the latent; try {e.shape[-1] // 4}")
    _, index = lax.top_k(jnp.abs(e), k)
    kept = jnp.any(jax.nn.one_hot(index, e.shape[-1], dtype=bool), axis=-2)
    return jnp.where(kept, e, 0.0)


# ---- a Gaussian posterior ----


class Gaussian(NamedTuple):
    """A diagonal Gaussian for every example: mean, log variance, both [N, D]."""

    mean: Float[Array, "N D"]
    log_var: Float[Array, "N D"]


def gaussian(e: Float[Array, "N E"]) -> Gaussian:
    """Halves of the encoder's output, E = 2 D."""
    return Gaussian(*jnp.split(e, 2, axis=-1))


def draw(key: jax.Array, posterior: Gaussian) -> Float[Array, "N D"]:
    """mean + exp(log_var / 2) eps, eps ~ N(0, I) (Kingma & Welling 2014, arXiv:1312.6114)."""
    eps = jax.random.normal(key, (posterior.mean.size,), posterior.mean.dtype).reshape(posterior.mean.shape)
    return posterior.mean + jnp.exp(0.5 * posterior.log_var) * eps


def kl_to_standard(posterior: Gaussian) -> Float[Array, "N D"]:
    """KL(N(mean, var) || N(0, 1)) of every dimension, (mean^2 + var - 1 - log var) / 2. Nats."""
    return 0.5 * (jnp.square(posterior.mean) + jnp.expm1(posterior.log_var) - posterior.log_var)


def with_free_bits(kl: Float[Array, "N D"], free: ArrayLike) -> Float[Array, " N"]:
    """sum_d max(free, mean over the batch of KL_d), with the gradient of the batch mean; per example [N], nats.

    A dimension below `free` nats on average costs that much and has no gradient, so it is not pushed to nothing.

    Source: Kingma et al. 2016, arXiv:1606.04934, equation 15.
    """
    open_ = jnp.mean(kl, axis=0, keepdims=True) > free
    return jnp.sum(jnp.where(open_, kl, jnp.asarray(free, kl.dtype)), axis=-1)


def log_standard(z: Float[Array, "N D"]) -> Float[Array, " N"]:
    """log N(z; 0, I), nats."""
    return -0.5 * jnp.sum(jnp.square(z), axis=-1) - 0.5 * z.shape[-1] * math.log(2 * math.pi)


# ---- a learned codebook ----


class Codebook(NamedTuple):
    """Codes and what their running means are made of (van den Oord et al. 2017, arXiv:1711.00937, appendix A.1).

    codes: [B, D]. counts: decayed number of vectors at each code, [B]. sums: decayed sum of those vectors, [B, D].
    """

    codes: Float[Array, "B D"]
    counts: Float[Array, " B"]
    sums: Float[Array, "B D"]


DECAY = 0.99  # of the running means


def new_codebook(key: jax.Array, num_codes: int, dim: int) -> Codebook:
    """Codes ~ N(0, 1 / D), each as if seen once."""
    codes = jax.random.normal(key, (num_codes * dim,)).reshape(num_codes, dim) / dim**0.5
    return Codebook(codes, jnp.ones(num_codes), codes)


def nearest(codes: Float[Array, "B D"], e: Float[Array, "N D"]) -> Int[Array, " N"]:
    """Index of the code nearest to every vector, in L2."""
    # ||e||^2 is the same for all codes.
    return jnp.argmin(jnp.sum(jnp.square(codes), axis=-1)[None, :] - 2 * e @ codes.T, axis=-1)


def update(
    key: jax.Array, book: Codebook, e: Float[Array, "N D"], index: Int[Array, " N"], restart: ArrayLike
) -> Codebook:
    """The running k-means step: counts and sums decay towards the batch's, codes are sums over counts.

    A code whose count has fallen below `restart` times the mean count starts again at a random vector of the batch,
    with the mean count (Dhariwal et al. 2020, arXiv:2005.00341, section 3); 0 means never.
    """
    num_codes = book.codes.shape[0]
    if jax.default_backend() == "cpu":  # 60 times faster there; elsewhere its order of addition is not fixed
        batch_counts = jax.ops.segment_sum(jnp.ones_like(index, e.dtype), index, num_codes)
        batch_sums = jax.ops.segment_sum(e, index, num_codes)
    else:
        one_hot = jax.nn.one_hot(index, num_codes, dtype=e.dtype)
        batch_counts, batch_sums = jnp.sum(one_hot, axis=0), one_hot.T @ e
    counts = DECAY * book.counts + (1 - DECAY) * batch_counts
    sums = DECAY * book.sums + (1 - DECAY) * batch_sums
    dead = counts < restart * jnp.mean(counts)
    fresh = e[jax.random.randint(key, counts.shape, 0, e.shape[0])]
    mean = jnp.mean(counts)
    counts = jnp.where(dead, mean, counts)
    sums = jnp.where(dead[:, None], mean * fresh, sums)
    return Codebook(sums / counts[:, None], counts, sums)


# ---- a fixed grid ----


def fsq(e: Float[Array, "... C"], levels: tuple[int, ...]) -> Float[Array, "... C"]:
    """Finite scalar quantisation: channel c takes one of levels[c] values in [-1, 1], gradients straight through.

    e is bounded by a shifted tanh so that rounding yields exactly L values, -floor(L / 2) .. ceil(L / 2) - 1, which
    are then divided by floor(L / 2).

    Source: Mentzer et al. 2023, arXiv:2309.15505.

    Raises:
      ValueError: other than one level count a channel, or one below 2.
    """
    if e.shape[-1] != len(levels) or min(levels) < 2:
        raise ValueError(f"levels={levels} for {e.shape[-1]} channels: expected one number >= 2 a channel")
    counts = _along(levels, e)
    half = (counts - 1) * (1 + 1e-3) / 2  # just beyond the ends, which the tanh then reaches
    offset = np.where(counts % 2 == 0, 0.5, 0.0)
    shift = np.arctanh(offset / half)  # puts e = 0 at value 0
    half, offset, shift, width = (value.astype(e.dtype) for value in (half, offset, shift, counts // 2))
    bounded = jnp.tanh(e + shift) * half - offset
    return straight_through(bounded, jnp.round(bounded)) / width


def fsq_nearest(z: Float[Array, "... C"], levels: tuple[int, ...]) -> Float[Array, "... C"]:
    """The grid point nearest to z, which lives where `fsq` puts its values; gradients straight through."""
    counts = _along(levels, z).astype(np.float32)
    half = counts // 2
    return straight_through(z, jnp.clip(jnp.round(z * half), -half, counts - 1 - half) / half)


def fsq_index(z: Float[Array, "... C"], levels: tuple[int, ...]) -> Int[Array, "..."]:
    """Number of a grid point in 0 .. prod(levels) - 1, the first channel fastest."""
    half, step = (_along(levels, z).astype(np.int32) // 2), _along(_steps(levels), z).astype(np.int32)
    return jnp.sum(jnp.round(z * half + half).astype(jnp.int32) * step, axis=-1)


def fsq_point(index: Int[Array, "..."], levels: tuple[int, ...]) -> Float[Array, "... C"]:
    """The grid point of a number: the inverse of `fsq_index`."""
    index = index[..., None]
    counts, step = (_along(values, index).astype(np.int32) for values in (levels, _steps(levels)))
    return (index // step % counts - counts // 2).astype(jnp.float32) / (counts // 2)


def _along(values: Sequence[int], like: Array) -> np.ndarray:
    """Numbers of channels along the last of as many axes as `like` has."""
    return np.asarray(values, np.float64).reshape((1,) * (like.ndim - 1) + (-1,))


def _steps(levels: tuple[int, ...]) -> list[int]:
    """What one step of each channel is worth."""
    return [math.prod(levels[:i]) for i in range(len(levels))]
