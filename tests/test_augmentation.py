"""Augmentation against NumPy loops over examples; what is drawn has the distribution that is said."""

import jax
import jax.numpy as jnp
import numpy as np

from landscape.training.augmentation import random_crop, random_flip

RNG = np.random.default_rng(0)
X = RNG.uniform(0.1, 1.0, size=(400, 5, 6, 2)).astype(np.float32)  # no pixel is 0: zeros are those of the padding


def cropped(image, pad, down, right):
    """The image's size out of the padded image, `down` and `right` of its corner."""
    padded = np.pad(image, ((pad, pad), (pad, pad), (0, 0)))
    return padded[down : down + image.shape[0], right : right + image.shape[1]]


def test_every_crop_is_one_of_the_padded_image_and_all_are_equally_likely():
    pad, count = 2, np.zeros((5, 5), int)
    for image, found in zip(X, np.asarray(jax.jit(random_crop)(jax.random.key(0), X, jnp.float32(pad))), strict=True):
        places = [p for p in np.ndindex(5, 5) if np.array_equal(found, cropped(image, pad, *p))]
        assert len(places) == 1  # exactly, bit for bit
        count[places[0]] += 1
    assert ((count - 16) ** 2 / 16).sum() < 51.2  # chi-squared of 24 degrees of freedom: p = 0.001
    np.testing.assert_array_equal(random_crop(jax.random.key(0), jnp.asarray(X), 0.0), X)


def test_images_are_mirrored_or_left_with_the_probability_asked_for():
    flipped = np.asarray(jax.jit(random_flip)(jax.random.key(1), X, jnp.float32(0.3)))
    mirrored = np.array([np.array_equal(a, b[:, ::-1]) for a, b in zip(flipped, X, strict=True)])
    left = np.array([np.array_equal(a, b) for a, b in zip(flipped, X, strict=True)])
    assert np.all(mirrored ^ left)
    assert abs(mirrored.mean() - 0.3) < 4 * np.sqrt(0.3 * 0.7 / len(X))
    for probability, expected in ((0.0, X), (1.0, X[:, :, ::-1])):
        np.testing.assert_array_equal(random_flip(jax.random.key(1), jnp.asarray(X), probability), expected)
