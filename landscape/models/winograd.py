"""A 3 x 3 convolution without strides of many channels, with fewer products: Winograd's.

An output tile of m x m pixels is interpolated from (m + 2)^2 products a channel pair in the place of 9 m^2: 4 times
fewer for m = 4, 2.25 times for m = 2. With `points` t and infinity, input tile d, kernel g and output tile y are

    y = A^T [(G g G^T) * (B^T d B)] A,    A^T = V_m^T, G = V_3 / f, B^T = f V_a^{-T},    a = m + 2,

where V_n holds the powers 0 .. n - 1 of each point (the last power alone for infinity) and f_i = prod_j (t_i - t_j).
Products of all tiles at one of the a^2 places are one matrix product. On CPU this is 1.9 to 3.7x faster than XLA's
convolution for the layers of a ResNet-18 (16 x 16 x 64 to 2 x 2 x 512), forward and for the input's gradient. Sums are
rounded otherwise: the largest difference is 6e-6 of the largest value at m = 4, 2e-6 at m = 2.

Source: Lavin & Gray 2016, arXiv:1509.09308; points with small constants: Barabasz et al. 2020, arXiv:1803.10986.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from landscape.models.products import Pads

POINTS = {2: (0.0, 1.0, -1.0), 4: (0.0, 1.0, -1.0, 0.5, -2.0)}  # by the size m of a tile
LEAST_CHANNELS = 64  # below, the products are too narrow
LEAST_TILES = 8  # below, transforming the kernel costs more than it saves


def is_worth(x: Array, w: Array, strides: tuple[int, int], pads: Pads) -> bool:
    """Whether this is the faster way: on CPU, for many channels and more than a few tiles."""
    if w.shape[:2] != (3, 3) or strides != (1, 1) or min(w.shape[2:]) < LEAST_CHANNELS or min(*pads[0], *pads[1]) < 0:
        return False
    rows, columns = _sizes(x, pads)
    m = _tile(rows, columns)
    tiles = x.shape[0] * -(-rows // m) * -(-columns // m)
    return min(rows, columns) > 0 and tiles >= LEAST_TILES and jax.default_backend() == "cpu"


def convolve(x: Float[Array, "N H W I"], w: Float[Array, "3 3 I O"], pads: Pads, precision) -> Float[Array, "N P Q O"]:
    """The convolution; made of sums and matrix products, and so are its derivatives."""
    rows, columns = _sizes(x, pads)
    m = _tile(rows, columns)
    to_tile, to_kernel, to_output = _transforms(m)
    num_down, num_right, a = -(-rows // m), -(-columns // m), m + 2
    more = (m * num_down - rows, m * num_right - columns)
    x = jnp.pad(x, ((0, 0), *((low, high + add) for (low, high), add in zip(pads, more, strict=True)), (0, 0)))
    kernel = jnp.asarray(np.kron(to_kernel, to_kernel), w.dtype) @ w.reshape(9, -1)
    down = _mix(to_tile, [x[:, i : i + m * (num_down - 1) + 1 : m] for i in range(a)], axis=0)
    tiles = _mix(to_tile, [down[:, :, :, j : j + m * (num_right - 1) + 1 : m] for j in range(a)], axis=1)
    tiles = lax.optimization_barrier(tiles.reshape(a * a, -1, w.shape[2]))
    products = jnp.matmul(tiles, kernel.reshape(a * a, *w.shape[2:]), precision=precision)
    products = lax.optimization_barrier(products).reshape(a, a, x.shape[0], num_down, num_right, -1)
    across = _mix(to_output, [products[:, j] for j in range(a)], axis=4)
    across = across.reshape(a, x.shape[0], num_down, m * num_right, -1)
    y = _mix(to_output, list(across), axis=2)
    return y.reshape(x.shape[0], m * num_down, m * num_right, -1)[:, :rows, :columns]


def _sizes(x: Array, pads: Pads) -> tuple[int, int]:
    """Output rows and columns."""
    return tuple(size + sum(pad) - 2 for size, pad in zip(x.shape[1:3], pads, strict=True))


def _tile(rows: int, columns: int) -> int:
    return 2 if max(rows, columns) <= 2 else 4


def _transforms(m: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """B^T [a, a], G [a, 3] and A^T [m, a]."""
    points = np.array(POINTS[m])
    scale = [np.prod([t - u for u in points if u != t]) for t in points] + [1.0]

    def powers(n: int) -> np.ndarray:
        return np.concatenate([points[:, None] ** np.arange(n), np.eye(n)[-1:]])

    scale = np.array(scale)[:, None]
    return scale * np.linalg.inv(powers(m + 2)).T, powers(3) / scale, powers(m).T


def _mix(matrix: np.ndarray, parts: list[Array], *, axis: int) -> Array:
    """The rows of a small constant matrix times `parts`, stacked along an axis: sums that XLA fuses."""
    kept = [[(c, part) for c, part in zip(row, parts, strict=True) if abs(c) > 1e-9] for row in matrix.tolist()]
    return jnp.stack([sum(c * part for c, part in row) for row in kept], axis=axis)
