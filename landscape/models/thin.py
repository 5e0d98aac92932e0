"""The convolution of an image with few channels, as shifted slices and one matrix product.

A first layer reads 1 - 4 channels, too few to fill a vector register, and XLA's CPU convolution spends more on it than
on the layers behind. Gathering the A x B taps of every output place into one axis turns it into a product with a
[A B I, O] matrix: 3.6x faster forward and 2.5x backward for a 28 x 28 x 1 image, 3 x 3 kernel, stride 2, 16 channels.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

Strides = tuple[int, int]
Pads = tuple[tuple[int, int], tuple[int, int]]


def _taps(x: Array, size: tuple[int, int], strides: Strides, pads: Pads) -> Array:
    """What each kernel place sees: [N, *out, A B I], in the order of a kernel [A, B, I, O] reshaped to [A B I, O]."""
    padded = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    rows, columns = ((n - k) // s + 1 for n, k, s in zip(padded.shape[1:3], size, strides, strict=True))
    (down, right), (height, width) = strides, (strides[0] * (rows - 1) + 1, strides[1] * (columns - 1) + 1)
    slices = [padded[:, a : a + height : down, b : b + width : right] for a in range(size[0]) for b in range(size[1])]
    return jnp.concatenate(slices, axis=-1)


def forward(
    x: Float[Array, "N H W I"], w: Float[Array, "A B I O"], strides: Strides, pads: Pads, precision
) -> Float[Array, "N P Q O"]:
    """The convolution itself."""
    taps = _taps(x, w.shape[:2], strides, pads)
    return jnp.matmul(taps, w.reshape(-1, w.shape[-1]), precision=precision)


def input_gradient(
    x: Float[Array, "N H W I"],
    w: Float[Array, "A B I O"],
    g: Float[Array, "N P Q O"],
    strides: Strides,
    pads: Pads,
    precision,
) -> Float[Array, "N H W I"]:
    """dx: every tap's part of g, added up by phase (place modulo stride), the phases then interleaved.

    Adding shifted planes of one phase needs no zeros between them, which a spread-out g would be mostly made of.
    """
    num_a, num_b, channels, width = w.shape
    kernel = w.reshape(-1, width)
    planes = jnp.einsum("npqo,ko->knpq", g, kernel, precision=precision)
    planes = planes.reshape(num_a, num_b, channels, *g.shape[:3])
    rows, columns = (-(-size // stride) for size, stride in zip(x.shape[1:3], strides, strict=True))

    def shifted(plane, down, right):
        cut = ((0, 0, 0), (0, 0, 0), (-down, rows + down - g.shape[1], 0), (-right, columns + right - g.shape[2], 0))
        return lax.pad(plane, jnp.zeros((), plane.dtype), cut)

    def phase(p, q):
        # Pixel stride * m + p takes tap a of output place m + d, where stride * d = p + pad - a.
        total = jnp.zeros((channels, g.shape[0], rows, columns), g.dtype)
        for a in range(num_a):
            for b in range(num_b):
                down, right = p + pads[0][0] - a, q + pads[1][0] - b
                if down % strides[0] == 0 and right % strides[1] == 0:
                    total = total + shifted(planes[a, b], down // strides[0], right // strides[1])
        return total

    phases = jnp.stack([jnp.stack([phase(p, q) for q in range(strides[1])]) for p in range(strides[0])])
    whole = phases.transpose(3, 4, 0, 5, 1, 2)  # [N, rows, p, columns, q, I]
    whole = whole.reshape(x.shape[0], rows * strides[0], columns * strides[1], channels)
    return whole[:, : x.shape[1], : x.shape[2]]


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
