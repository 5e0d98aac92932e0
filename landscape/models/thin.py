"""The convolution of an image with few channels, as shifted slices and one matrix product.

A first layer reads 1 - 4 channels, too few to fill a vector register, and XLA's CPU convolution spends more on it than
on the layers behind. Gathering the A x B taps of every output place into one axis turns it into a product with a
[A B I, O] matrix. Forward, two neighbouring places are gathered at once: longer runs to copy and a wider product, at
the cost of products with zero. For a 28 x 28 x 1 image, 3 x 3 kernel, stride 2 and 16 channels, with bias and relu,
that is 2.4x faster than XLA's convolution, and single places 1.8x.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

Strides = tuple[int, int]
Pads = tuple[tuple[int, int], tuple[int, int]]


def _places(x: Array, size: tuple[int, int], strides: Strides, pads: Pads) -> tuple[int, int]:
    """Output rows P and columns Q."""
    return tuple((n + sum(p) - k) // s + 1 for n, p, k, s in zip(x.shape[1:3], pads, size, strides, strict=True))


def _taps(x: Array, size: tuple[int, int], strides: Strides, pads: Pads) -> Array:
    """What each kernel place sees: [N, P, Q, A B I], in the order of a kernel [A, B, I, O] reshaped to [A B I, O]."""
    padded = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    rows, columns = _places(x, size, strides, pads)
    (down, right), (height, width) = strides, (strides[0] * (rows - 1) + 1, strides[1] * (columns - 1) + 1)
    slices = [padded[:, a : a + height : down, b : b + width : right] for a in range(size[0]) for b in range(size[1])]
    return jnp.concatenate(slices, axis=-1)


def _pairs(x: Array, size: tuple[int, int], strides: Strides, pads: Pads) -> Array:
    """What two neighbouring places of a row see together: [N, P, ceil(Q / 2), A (B + stride) I]."""
    rows, columns = _places(x, size, strides, pads)
    pairs, height = -(-columns // 2), strides[0] * (rows - 1) + 1
    run, jump = (size[1] + strides[1]) * x.shape[-1], 2 * strides[1] * x.shape[-1]
    more = (2 * pairs - columns) * strides[1]  # zeros for the second place of the last pair
    padded = jnp.pad(x, ((0, 0), pads[0], (pads[1][0], pads[1][1] + more), (0, 0)))
    flat = padded.reshape(*padded.shape[:2], -1)
    windows = [
        jnp.concatenate(
            [flat[:, a : a + height : strides[0], m * jump : m * jump + run] for a in range(size[0])], axis=-1
        )
        for m in range(pairs)
    ]
    return jnp.stack(windows, axis=2)


def forward(
    x: Float[Array, "N H W I"], w: Float[Array, "A B I O"], strides: Strides, pads: Pads, precision
) -> Float[Array, "N P Q O"]:
    """The convolution itself."""
    rows, columns = _places(x, w.shape[:2], strides, pads)
    windows = _pairs(x, w.shape[:2], strides, pads)
    # The kernel twice, the second time moved on by a stride: [A (B + stride) I, 2 O].
    twice = [jnp.pad(w, ((0, 0), (low, high), (0, 0), (0, 0))) for low, high in ((0, strides[1]), (strides[1], 0))]
    kernel = jnp.stack(twice, axis=3).reshape(windows.shape[-1], -1)
    out = jnp.matmul(windows, kernel, precision=precision)
    return out.reshape(x.shape[0], rows, -1, w.shape[-1])[:, :, :columns]


def num_places(x: Array, w: Array, strides: Strides, pads: Pads) -> int:
    """Output places of an image."""
    rows, columns = _places(x, w.shape[:2], strides, pads)
    return rows * columns


def product(
    x: Float[Array, "N H W I"], w: Float[Array, "A B I O"], strides: Strides, pads: Pads, precision
) -> Float[Array, "N P Q O"]:
    """The convolution with single places gathered, for many channels and few places."""
    taps = _taps(x, w.shape[:2], strides, pads)
    return jnp.matmul(taps, w.reshape(-1, w.shape[-1]), precision=precision)


def kernel_gradient(
    x: Float[Array, "N H W I"],
    w: Float[Array, "A B I O"],
    g: Float[Array, "N P Q O"],
    strides: Strides,
    pads: Pads,
    precision,
) -> Float[Array, "A B I O"]:
    """dw: the taps times g, summed over examples and places."""
    taps = _taps(x, w.shape[:2], strides, pads)
    return jnp.einsum("npqk,npqo->ko", taps, g, precision=precision).reshape(w.shape)
