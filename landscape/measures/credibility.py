"""What nearest neighbours say of an input: shares of classes, and conformal credibility over layers.

Neighbours come as labels of the k nearest points of a reference set, nearest first, at one layer or at several.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from numpy import ndarray

Data = Array | ndarray


def class_counts(labels: Int[Data, "*B k"], num_classes: int) -> Int[Array, "*B K"]:
    """How many of the k neighbours are of each class."""
    classes = jnp.arange(num_classes).reshape(*(1,) * labels.ndim, num_classes)
    return jnp.sum(labels[..., None] == classes, axis=-2)


def majority(labels: Int[Data, "*B k"], num_classes: int) -> Int[Array, "*B"]:
    """The most frequent class of the neighbours; of classes that are as frequent, the one with nearer neighbours.

    Nearer is the smaller sum of ranks.
    """
    k = labels.shape[-1]
    weight = k * k + jnp.arange(k, 0, -1)  # all ranks together outweigh no neighbour
    classes = jnp.arange(num_classes).reshape(*(1,) * labels.ndim, num_classes)
    return jnp.argmax(jnp.sum(jnp.where(labels[..., None] == classes, weight[:, None], 0), axis=-2), axis=-1)


def nonconformity(labels: Int[Data, "L *B k"], num_classes: int) -> Int[Array, "*B K"]:
    """Neighbours, over all layers, that are not of a class: alpha_j = sum over layers of |{neighbours of class /= j}|.

    Args:
      labels: of the k neighbours at each of L layers.

    Returns:
      For every class j, from 0 (all neighbours are of it) to L k (none is).

    Source: Papernot & McDaniel 2018, arXiv:1803.04765, equation 1.
    """
    return jnp.sum(labels.shape[-1] - class_counts(labels, num_classes), axis=0)


def p_values(scores: Int[Data, "*B K"], calibration: Int[Data, " C"]) -> Float[Array, "*B K"]:
    """Conformal p-values: the share of calibration inputs whose score of their true class is as high or higher.

    p_j = (1 + |{c: alpha_c >= alpha_j}|) / (C + 1). Were an input drawn as the calibration inputs are, the p-value of
    its true class would be at most a with probability at most a, for every a; the 1 counts the input itself.

    Args:
      scores: nonconformity of every class. calibration: of calibration inputs, with their true classes.

    Returns:
      p-values of every class. That of the predicted class is the prediction's credibility.

    Source: Papernot & McDaniel 2018, arXiv:1803.04765, equation 2; the 1 as in Vovk et al. 2005, Algorithmic Learning
    in a Random World, equation 2.20.
    """
    scores, ordered = jnp.asarray(scores), jnp.sort(jnp.asarray(calibration))
    below = jnp.searchsorted(ordered, scores.reshape(-1), side="left").reshape(scores.shape)
    return (1 + len(calibration) - below) / jnp.float32(len(calibration) + 1)


def of_class(values: Float[Data, "*B K"] | Int[Data, "*B K"], label: Int[Data, "*B"]) -> Array:
    """The value of one class each."""
    return jnp.take_along_axis(jnp.asarray(values), jnp.asarray(label)[..., None], axis=-1)[..., 0]


def mutual_neighbours(one: Int[Data, "N k"], other: Int[Data, "N k"]) -> Float[Array, " N"]:
    """Jaccard index of two sets of k neighbours among the same points: |A and B| / |A or B|, from 0 to 1.

    Args:
      one, other: indices of the neighbours of the same N inputs in two spaces; each k are distinct.
    """
    both = jnp.sum(one[:, :, None] == other[:, None, :], axis=(1, 2))
    return both / (2 * one.shape[1] - both)


def linear_cka(one: Float[Data, "N D"], other: Float[Data, "N E"]) -> Float[Array, ""]:
    """Linear centred kernel alignment of two representations of the same inputs, from 0 to 1.

    ||A^T B||_F^2 / (||A^T A||_F ||B^T B||_F), A and B centred; from the N x N products A A^T, so that D and E may be
    large. 1 where they differ by a rotation, a shift and a scale. NaN where one does not vary.

    Source: Kornblith et al. 2019, arXiv:1905.00414, equations 1 to 4 with the linear kernel.
    """

    def kernel(h):
        h = h - jnp.mean(h, axis=0, keepdims=True)
        h = h / jnp.sqrt(jnp.sum(jnp.square(h)))  # for the range of single precision
        return jnp.matmul(h, h.T, precision=jax.lax.Precision.HIGHEST)

    a, b = kernel(one), kernel(other)
    return jnp.sum(a * b) / jnp.sqrt(jnp.sum(jnp.square(a)) * jnp.sum(jnp.square(b)))
