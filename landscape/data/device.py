"""Images from a file that is mapped into memory to the device, with no second copy on the host."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, UInt8

BLOCK = 1024  # images copied at a time


def on_device(images: UInt8[np.ndarray, "N H W C"], index: np.ndarray) -> UInt8[Array, "M H W C"]:
    """`images[index]` on the device. Beside it only one block of images is held: taken at once, they would be there
    once more on the host, and once more while they are copied."""
    found = jnp.zeros((len(index), *images.shape[1:]), images.dtype)
    for start in range(0, len(index), BLOCK):
        block = images[index[start : start + BLOCK]]
        found = _put(found, block, start).block_until_ready()  # else blocks would queue up
    return found


@functools.partial(jax.jit, donate_argnums=0)
def _put(array: Array, block: Array, start: ArrayLike) -> Array:
    return jax.lax.dynamic_update_slice_in_dim(array, block, start, axis=0)
