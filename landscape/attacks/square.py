"""The Square attack: random search by squares, without gradients; what an audit holds gradients against."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, ArrayLike, Float

from landscape import objectives
from landscape.search import better
from landscape.spaces import fold, pixels
from landscape.types import Apply

# Share of the pixels that a square covers first (Croce & Hein 2020, appendix A); it is halved at these shares of the
# steps.
COVERED = 0.8
HALVED = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
TILES = 5  # of the first perturbation in L2, along the shorter side
SMALLEST = {"linf": 1, "l2": 3}


def sides(height: int, width: int, num_steps: int, *, norm: str = "linf") -> list[int]:
    """Side of the square of each step: sqrt(p H W) rounded, p = 0.8 halved as the steps go by; at most min(H, W).

    L2: the next odd number from 3 up, so that a square has a middle.
    """
    found = []
    for t in range(num_steps):
        share = COVERED / 2 ** sum(t >= at * num_steps for at in HALVED)
        side = max(SMALLEST[norm], round(math.sqrt(share * height * width)))
        found.append(min(side if norm == "linf" else side | 1, height, width))
    return found


def nested(height: int, width: int) -> np.ndarray:
    """Nested rectangles, highest in the middle: sum over k = 0 .. M of 1 / (n + 1 - k)^2, [height, width].

    n = floor(height / 2), and M(r, s) = n - max(|r - n|, |s - floor(width / 2)|) at row r and column s, from 0.

    Source: Andriushchenko et al. 2020, arXiv:1912.00049, section 3.4.
    """
    n = height // 2
    rows, columns = np.abs(np.arange(height) - n)[:, None], np.abs(np.arange(width) - width // 2)[None, :]
    reach = n - np.maximum(rows, columns)
    terms = 1.0 / np.square(n + 1.0 - np.arange(n + 1))
    return np.cumsum(terms)[reach]


def bump(side: int) -> np.ndarray:
    """A square of two halves of opposite sign, each of nested rectangles; of unit L2 norm. [side, side]."""
    half = side // 2
    found = np.concatenate([nested(side, half), -nested(side, side - half)], axis=1)
    return found / np.linalg.norm(found)


def square(
    keys, variables, x, label, *, apply: Apply, norm: str, epsilon: ArrayLike, num_steps: int
) -> Float[Array, "N H W C"]:
    """Random search: a change of one square is kept where it lowers the margin of the class.

    L-inf: starts with vertical stripes of -+ epsilon; a proposal sets one square, every channel for itself, to -+
    epsilon. L2: starts with tiles; a proposal empties one window and gives the length it held, and what is unused of
    epsilon, to another (`moved_mass`).

    Source: Andriushchenko et al. 2020, arXiv:1912.00049, algorithms 1 to 3.
    """
    project = pixels(norm).project
    start, propose = {"linf": (stripes, filled), "l2": (tiles, moved_mass)}[norm]
    schedule = sides(*x.shape[1:3], num_steps, norm=norm)
    shapes = np.zeros((max(schedule) + 1, *x.shape[1:3]), np.float32)  # of each side, in the upper left corner
    for side in set(schedule):
        shapes[side, :side, :side] = 1.0 if norm == "linf" else bump(side)
    shapes = jnp.asarray(shapes, x.dtype)

    def value(z):
        return -objectives.margin(apply(variables, z), label)

    radius = jnp.broadcast_to(jnp.asarray(epsilon, x.dtype), x.shape[:1])
    own, first = (fold(keys, i) for i in range(2))
    z0 = project(x + jax.vmap(start, (0, 0, None))(first, radius, x[0]), x, epsilon)

    def step(best, at):
        t, side = at
        step_keys = fold(own, t)
        delta = jax.vmap(propose, (0, 0, 0, None, None))(step_keys, best[0] - x, radius, shapes[side], side)
        z = project(x + delta, x, epsilon)
        return better(best, (z, value(z))), None

    steps = (jnp.arange(num_steps), jnp.asarray(schedule))
    best = better((x, value(x)), (z0, value(z0)))
    return lax.scan(step, best, steps)[0][0]


# ---- one example: first perturbations (key, epsilon, like) and proposals (key, delta, epsilon, shape, side) ----

Image = Float[Array, "H W C"]


def stripes(key: jax.Array, epsilon: ArrayLike, like: Image) -> Image:
    """Columns of -+ epsilon, every channel for itself."""
    return jnp.broadcast_to(epsilon * jax.random.rademacher(key, (1, *like.shape[1:]), like.dtype), like.shape)


def filled(key: jax.Array, delta: Image, epsilon: ArrayLike, shape: Float[Array, "H W"], side: ArrayLike) -> Image:
    """One square of -+ epsilon, every channel for itself."""
    key_window, key_sign = jax.random.split(key)
    sign = jax.random.rademacher(key_sign, delta.shape[-1:], delta.dtype)
    (inside,) = placed(key_window, side, shape)
    return jnp.where(inside > 0, epsilon * sign[None, None], delta)


def tiles(key: jax.Array, epsilon: ArrayLike, like: Image) -> Image:
    """Squares side by side, of random sign in every channel and random orientation, of length epsilon in all."""
    height, width, channels = like.shape
    side = max(1, min(height, width) // TILES)
    down, across = height // side, width // side
    key_sign, key_turn = jax.random.split(key)
    one = jnp.asarray(bump(side), like.dtype)
    sign = jax.random.rademacher(key_sign, (down, across, channels), like.dtype)
    turned = jax.random.bernoulli(key_turn, 0.5, (down, across))
    each = jnp.where(turned[:, :, None, None], one.T[None, None], one[None, None])  # [down, across, side, side]
    whole = jnp.einsum("dars,dac->drasc", each, sign).reshape(down * side, across * side, channels)
    left = [(n - m * side) // 2 for n, m in ((height, down), (width, across))]
    pads = [(left[0], height - down * side - left[0]), (left[1], width - across * side - left[1]), (0, 0)]
    return epsilon * jnp.pad(whole, pads) / jnp.sqrt(jnp.sum(jnp.square(whole)))


def moved_mass(key: jax.Array, delta: Image, epsilon: ArrayLike, shape: Float[Array, "H W"], side: ArrayLike) -> Image:
    """The length of two windows, and a channel's share of what is unused of epsilon, all within the first of them.

        u = +-bump + delta_1 / ||delta_1||,    delta_1 <- u / ||u|| sqrt(||delta_(1 or 2)||^2 + unused / C),
        delta_2 <- 0 outside window 1,         unused = epsilon^2 - ||delta||^2

    every channel for itself: ||delta|| is epsilon afterwards, before the box.

    Args:
      shape: the bump of that side, in the upper left corner.
    """
    key_turn, key_sign, key_one, key_other = jax.random.split(key, 4)
    channels, inside = delta.shape[-1], (shape != 0).astype(delta.dtype)
    oriented = jnp.where(jax.random.bernoulli(key_turn), transposed(shape), shape)
    one, pattern = placed(key_one, side, inside, oriented)
    (other,) = placed(key_other, side, inside)
    either = jnp.maximum(one, other)
    sign = jax.random.rademacher(key_sign, (1, 1, channels), delta.dtype)

    def length(values):
        return jnp.sqrt(jnp.sum(jnp.square(values), axis=(0, 1), keepdims=True))

    here = delta * one
    held = length(here)
    turned = sign * pattern + here / jnp.where(held > 0, held, 1.0)
    unused = jnp.maximum(jnp.square(epsilon) - jnp.sum(jnp.square(delta)), 0.0)
    available = jnp.sqrt(jnp.square(length(delta * either)) + unused / channels)
    size = length(turned)
    return delta * (1 - either) + turned * available / jnp.where(size > 0, size, 1.0)


def placed(key: jax.Array, side: ArrayLike, *shapes: Float[Array, "H W"]) -> list[Float[Array, "H W 1"]]:
    """What lies in a square in the upper left corner, at one random position in the image."""
    key_row, key_column = jax.random.split(key)
    height, width = shapes[0].shape
    top = jax.random.randint(key_row, (), 0, height - side + 1)
    left = jax.random.randint(key_column, (), 0, width - side + 1)
    return [jnp.roll(shape, (top, left), axis=(0, 1))[..., None] for shape in shapes]


def transposed(shape: Float[Array, "H W"]) -> Float[Array, "H W"]:
    """What lies in a square in the upper left corner, rows and columns exchanged; the image may be no square."""
    size = max(shape.shape)
    padded = jnp.pad(shape, [(0, size - n) for n in shape.shape])
    return padded.T[: shape.shape[0], : shape.shape[1]]
