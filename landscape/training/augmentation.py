"""Random changes of training images on the device: every example of a batch its own, all without a loop."""

import jax
import jax.numpy as jnp
from jaxtyping import ArrayLike, Float

from landscape.types import Images


def random_crop(key: jax.Array, x: Images, pad: Float[ArrayLike, ""]) -> Images:
    """Cuts the image's own size out of the image with `pad` zeros on each side, at a random place.

    y[i, j] = x[i + a, j + b], 0 outside, with a and b uniform in {-pad, .., pad}. `pad` is a number, not a shape:
    members may differ in it.

    Args:
      pad: pixels, a whole number.

    Source: He et al. 2016, arXiv:1512.03385, section 4.2.
    """
    num, height, width, _ = x.shape
    pad = jnp.asarray(pad, jnp.float32)
    shift = (jnp.floor(jax.random.uniform(key, (num * 2,)) * (2 * pad + 1)) - pad).astype(jnp.int32).reshape(num, 2)
    rows = jnp.arange(height)[None, :] + shift[:, :1]
    columns = jnp.arange(width)[None, :] + shift[:, 1:]
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    rows, columns = jnp.clip(rows, 0, height - 1), jnp.clip(columns, 0, width - 1)
    # On two cores 0.3 ms for 128 images of 32 x 32 x 3; slices under vmap take 0.4, products with one-hot matrices 1.8.
    moved = x[jnp.arange(num)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return jnp.where(inside[..., None], moved, 0.0)


def random_flip(key: jax.Array, x: Images, probability: Float[ArrayLike, ""]) -> Images:
    """Each image mirrored left to right with that probability."""
    mirrored = jax.random.uniform(key, (x.shape[0],)) < probability
    return jnp.where(mirrored[:, None, None, None], x[:, :, ::-1], x)
