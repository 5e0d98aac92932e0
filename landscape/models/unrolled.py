"""The convolution of a small map as one matrix product.

On maps of a few pixels XLA's CPU convolution spends its time on padding: for 2 x 2 pixels and 32 channels a product
with the whole [H W I, P Q O] matrix of the linear map is about 40x faster. That matrix is small, and cheap to make.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

MOST_ENTRIES = 1 << 17  # of the matrix; beyond, the convolution wins
MOST_PIXELS = 16


def is_small(x: Array, w: Array, strides: tuple[int, int], pads: tuple[tuple[int, int], tuple[int, int]]) -> bool:
    """Whether a convolution is better written out."""
    places = np.prod([len(_places(*axis)) for axis in _axes(x, w, strides, pads)])
    pixels = x.shape[1] * x.shape[2]
    return bool(pixels <= MOST_PIXELS and pixels * x.shape[3] * places * w.shape[3] <= MOST_ENTRIES)


def convolve(
    x: Float[Array, "N H W I"],
    w: Float[Array, "A B I O"],
    strides: tuple[int, int],
    pads: tuple[tuple[int, int], tuple[int, int]],
    precision,
) -> Float[Array, "N P Q O"]:
    """The convolution; autodiff of it, in either mode, is made of matrix products too."""
    down, across = (_touched(*axis) for axis in _axes(x, w, strides, pads))
    kernel = jnp.einsum("hpa,wqb,abio->hwipqo", *(jnp.asarray(t, w.dtype) for t in (down, across)), w)
    out = (down.shape[1], across.shape[1], w.shape[-1])
    y = jnp.matmul(x.reshape(x.shape[0], -1), kernel.reshape(-1, int(np.prod(out))), precision=precision)
    return y.reshape(x.shape[0], *out)


def _axes(x: Array, w: Array, strides, pads):
    return zip(x.shape[1:3], w.shape[:2], strides, pads, strict=True)


def _places(size: int, taps: int, stride: int, pad: tuple[int, int]) -> np.ndarray:
    """First pixel under the kernel at every output place."""
    return np.arange(0, size + sum(pad) - taps + 1, stride) - pad[0]


def _touched(size: int, taps: int, stride: int, pad: tuple[int, int]) -> np.ndarray:
    """[pixels, places, taps]: 1 where a pixel lies under a tap of the kernel at a place."""
    under = _places(size, taps, stride, pad)[:, None] + np.arange(taps)[None, :]
    return (np.arange(size)[:, None, None] == under[None]).astype(np.float32)
