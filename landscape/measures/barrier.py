"""Barriers: how far a classifier's loss rises along a path between two inputs.

For losses f along a path of T points, its ends first and last,

    barrier = max over t of f(t) - max(f(0), f(1)) >= 0

f is the loss, nats, of the class that both ends are predicted as; a path has *left the class* where another one is
predicted. A path found is an upper bound: the rise along other paths may be lower.

Source: Garipov et al. 2018, arXiv:1802.10026.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from landscape import arguments, objectives
from landscape.measures.paths import Path, grid, line
from landscape.spaces import per_example
from landscape.types import Apply, Images, Labels, Values, Variables

CLOSER = 15  # points around the highest one of a grid
DECODED = 0.5  # pixels by which what an autoencoder decodes may leave [0, 1]


class Profile(NamedTuple):
    """Outputs of a classifier along paths: the loss, nats, and 1 where another class is predicted, else 0."""

    loss: Float[Array, "T N"]
    left: Float[Array, "T N"]


def profile(variables: Variables, path: Path, label: Labels, t: Float[Array, "T *N"], *, apply: Apply) -> Profile:
    """Loss and prediction along paths of images.

    Args:
      path: t -> images; a path in a latent has to be decoded first.
      label: tracked class.
      t: [T], such as `paths.grid`; or [T, N], of every path its own.
    """
    if arguments.concrete(variables, label, t):
        arguments.check(variables, path(t[0]), label, apply=apply, slack=DECODED)

    def at(t):
        logits = apply(variables, path(t))
        loss = objectives.loss(logits, label)
        return Profile(loss, (jnp.argmax(logits, axis=-1) != label).astype(loss.dtype))

    return jax.lax.map(at, t)


def closely(variables: Variables, path: Path, label: Labels, coarse: Profile, *, apply: Apply) -> Profile:
    """A `profile` on a grid together with CLOSER more points between the neighbours of its highest one."""
    last = coarse.loss.shape[0] - 1
    top = jnp.argmax(coarse.loss, axis=0)
    low, high = (jnp.clip(top + step, 0, last) / last for step in (-1, 1))
    near = low[None] + grid(CLOSER + 2)[1:-1, None] * (high - low)[None]
    more = profile(variables, path, label, near, apply=apply)
    # The ends stay the first and the last ones.
    return jax.tree.map(lambda one, other: jnp.concatenate([one[:-1], other, one[-1:]]), coarse, more)


def barrier(values: Float[Array, "T *N"]) -> Float[Array, "*N"]:
    """The barrier of values along a path, the first and the last one of its ends."""
    return jnp.max(values, axis=0) - jnp.maximum(values[0], values[-1])


def line_rise(variables: Variables, a: Images, b: Images, label: Labels, *, apply: Apply, num_points: int) -> Values:
    """How far the loss between a and b is above both ends, or how far below the worse one it stays, nats, [N].

    The largest loss of the inner points of a grid less that of the worse end; its positive part is the barrier on that
    grid. Below 0 it still has a gradient, which a barrier of 0 has not. The gradient is that at the highest inner point
    alone, which by the envelope theorem is all of it.
    """

    def loss(x):
        return objectives.loss(apply(variables, x), label)

    path, inner = line(jax.lax.stop_gradient(a), jax.lax.stop_gradient(b)), grid(num_points)[1:-1]
    top = jnp.argmax(jax.lax.map(lambda t: loss(path(t)), inner), axis=0)
    share = per_example(inner[top], a)
    return loss(a + share * (b - a)) - jnp.maximum(loss(a), loss(b))
