"""The Square attack: random search by squares, without gradients; what an audit holds gradients against."""

import math

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Float

from landscape import objectives
from landscape.search import better
from landscape.spaces import draw_flat, pixels
from landscape.types import Apply, Images, Labels, Variables

# Share of the pixels that a square covers first; it is halved at these shares of the steps.
COVERED = 0.8
HALVED = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)


def sides(height: int, width: int, num_steps: int) -> list[int]:
    """Side of the square of each step: sqrt(p H W) rounded, p = 0.8 halved as the steps go by; 1 to min(H, W)."""
    found = []
    for t in range(num_steps):
        share = COVERED / 2 ** sum(t >= at * num_steps for at in HALVED)
        found.append(max(1, min(round(math.sqrt(share * height * width)), height, width)))
    return found


def square(
    keys: jax.Array,
    variables: Variables,
    x: Images,
    label: Labels,
    *,
    apply: Apply,
    norm: str,
    epsilon: ArrayLike,
    num_steps: int = 1000,
) -> Float[Array, "N H W C"]:
    """Random search: a change of one square is kept where it lowers the margin of the class.

    L-inf: starts with vertical stripes of -+ epsilon; a proposal sets one square, every channel for itself, to -+
    epsilon. L2: a proposal adds a square of one sign, its weights falling from the middle, to the perturbation, which
    is then brought to length epsilon. (The original moves mass between two windows of a perturbation; this keeps its
    schedule, shapes and acceptance.)

    Args:
      keys: one an example. norm: "linf" or "l2". epsilon: pixels.

    Source: Andriushchenko et al. 2020, arXiv:1912.00049.
    """
    height, width, channels = x.shape[1:]
    project = pixels(norm).project
    rows, columns = jnp.arange(height), jnp.arange(width)

    def value(z):
        return -objectives.margin(apply(variables, z), label)

    def window(key, side):
        """1 within a random square and its place from the middle, each [H, W]."""
        key_row, key_column = jax.random.split(key)
        top = jax.random.randint(key_row, (), 0, height - side + 1)
        left = jax.random.randint(key_column, (), 0, width - side + 1)
        inside = ((rows >= top) & (rows < top + side))[:, None] & ((columns >= left) & (columns < left + side))[None]
        middle = (side - 1) / 2
        away = jnp.maximum(jnp.abs(rows - top - middle)[:, None], jnp.abs(columns - left - middle)[None])
        return inside, jnp.where(inside, 1.0 / (1.0 + away), 0.0)

    def proposal(key, z, x, side, epsilon):
        key_window, key_sign = jax.random.split(key)
        inside, weight = window(key_window, side)
        sign = jax.random.rademacher(key_sign, (channels,), z.dtype)[None, None]
        if norm == "linf":
            return jnp.where(inside[..., None], x + epsilon * sign, z)
        bump = weight[..., None] * sign
        delta = z - x
        # Half the length of a square's own norm: a proposal turns the perturbation, it does not replace it.
        delta = delta + epsilon * 0.5 * bump / jnp.sqrt(jnp.sum(jnp.square(bump)))
        return x + delta * epsilon / jnp.maximum(jnp.sqrt(jnp.sum(jnp.square(delta))), 1e-12)

    radius = jnp.broadcast_to(jnp.asarray(epsilon, x.dtype), x.shape[:1])
    own, start = (jax.vmap(jax.random.fold_in, (0, None))(keys, i) for i in range(2))
    if norm == "linf":
        stripes = jax.vmap(lambda key: jax.random.rademacher(key, (1, width, channels), x.dtype))(start)
        z0 = x + radius[:, None, None, None] * jnp.broadcast_to(stripes, x.shape)
    else:
        noise = draw_flat(jax.random.normal, start, x)
        z0 = (
            x
            + radius[:, None, None, None]
            * noise
            / jnp.linalg.norm(noise.reshape(len(x), -1), axis=1)[:, None, None, None]
        )
    z0 = project(z0, x, epsilon)

    def step(best, at):
        t, side = at
        step_keys = jax.vmap(jax.random.fold_in, (0, None))(own, t)
        z = jax.vmap(proposal, (0, 0, 0, None, 0))(step_keys, best[0], x, side, radius)
        z = project(z, x, epsilon)
        return better(best, (z, value(z))), None

    steps = (jnp.arange(num_steps), jnp.asarray(sides(height, width, num_steps)))
    best = better((x, value(x)), (z0, value(z0)))
    return lax.scan(step, best, steps)[0][0]
