"""How well an autoencoder gives back its input: one value an example, so that ratios and intervals come last.

Shares of variance are made of their parts: with e_i = ||x_i - x^_i||^2 / D,

    FVU          = sum_i e_i / sum_i ||x_i - mean||^2 / D           total
    FVU in class = sum_i e_i / sum_i ||x_i - mean of its class||^2 / D

Means are of the training examples. Deep layers collapse to their class means, so the total flatters there: the class
mean itself scores 1 in class and little in total. `stats.influence.ratio` gives either with its interval.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from landscape.models.conv import plain
from landscape.types import Images, Labels, Values

WINDOW, SPREAD = 11, 1.5  # pixels: side and standard deviation of the Gaussian window of SSIM
LUMINANCE, CONTRAST = 0.01**2, 0.03**2  # its two constants, for images in [0, 1]


def errors(
    x: Float[Array, "N ..."],
    reconstruction: Float[Array, "N ..."],
    label: Labels,
    *,
    mean: Float[Array, "..."],
    class_means: Float[Array, "K ..."],
) -> dict[str, Values]:
    """Mean squared error and what it is a share of.

    Args:
      x, reconstruction: points of one shape and unit.
      label: true classes.
      mean, class_means: of the training examples.

    Returns:
      mse, from_mean, from_class_mean: squared distance over the number of entries, each [N], unit of x squared.
    """
    return {
        "mse": _mean_square(x - reconstruction),
        "from_mean": _mean_square(x - mean[None]),
        "from_class_mean": _mean_square(x - class_means[label]),
    }


def psnr(mse: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
    """Peak signal-to-noise ratio of images in [0, 1], -10 log10(mse). dB, infinite without error."""
    return -10 * jnp.log10(mse)


def ssim(x: Images, y: Images) -> Values:
    """Structural similarity, the mean over positions and channels of

        (2 m_x m_y + c1) (2 s_xy + c2) / ((m_x^2 + m_y^2 + c1) (s_x^2 + s_y^2 + c2)),

    m, s^2 and s_xy the mean, variance and covariance under a Gaussian window (11 x 11 pixels, standard deviation 1.5;
    on smaller images the largest odd side that fits) at every position where it lies inside the image.

    Returns:
      [N] in [-1, 1]; 1 for equal images.

    Source: Wang et al. 2004 (IEEE Transactions on Image Processing 13:4).
    """
    side = min(WINDOW, *(size - 1 + size % 2 for size in x.shape[1:3]))
    line = np.exp(-0.5 * np.square((np.arange(side) - side // 2) / SPREAD))
    window = np.outer(line, line) / line.sum() ** 2

    def blurred(z: Array) -> Array:
        each = jnp.moveaxis(z, -1, 1).reshape(-1, *z.shape[1:3], 1)  # channels one by one
        kernel = jnp.asarray(window, z.dtype)[:, :, None, None]
        return plain(each, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    # Taken from the mean of both first, since a variance is a small difference of squares.
    centre = 0.5 * jnp.mean(x + y, axis=(1, 2, 3), keepdims=True)
    a, b = x - centre, y - centre
    mean_a, mean_b = blurred(a), blurred(b)
    var = blurred(a * a) - mean_a**2 + blurred(b * b) - mean_b**2
    cov = blurred(a * b) - mean_a * mean_b
    shift = jnp.repeat(centre, x.shape[-1], axis=0)
    mean_x, mean_y = mean_a + shift, mean_b + shift
    luminance = (2 * mean_x * mean_y + LUMINANCE) / (mean_x**2 + mean_y**2 + LUMINANCE)
    each = luminance * (2 * cov + CONTRAST) / (var + CONTRAST)
    return jnp.mean(each.reshape(x.shape[0], -1), axis=1)


def _mean_square(difference: Float[Array, "N ..."]) -> Values:
    return jnp.mean(jnp.square(difference.reshape(difference.shape[0], -1)), axis=1)
