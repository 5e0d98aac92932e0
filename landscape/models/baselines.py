"""What an autoencoder is measured against: PCA of equal dimension, the class mean, and k-means of equal size.

Each is fitted to training points in closed form or by scikit-learn, and gives points back in their own shape.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from landscape.files import UserError
from landscape.models.bottlenecks import nearest

MOST_ENTRIES = 8192  # of a point whose covariance is taken whole: half a GiB


class Pca(NamedTuple):
    """Principal axes of points: mean [*shape], orthonormal axes [D, dim], falling variances [dim] in x squared."""

    mean: Float[Array, "..."]
    axes: Float[Array, "D dim"]
    variances: Float[Array, " dim"]


def fit_pca(x: Float[np.ndarray, "N ..."], dim: int) -> Pca:
    """The `dim` directions of largest variance (n - 1) of training points, from the covariance in double precision.

    Of points of more than MOST_ENTRIES numbers, whose covariance would fill the memory, by a randomised range finder
    with power iterations (Halko et al. 2011, arXiv:0909.4061), from scikit-learn.

    Raises:
      ValueError: dim outside 1 .. D, or fewer than two points.
    """
    flat = np.asarray(x).reshape(len(x), -1)
    most = flat.shape[1] if flat.shape[1] <= MOST_ENTRIES else min(flat.shape)
    if not 1 <= dim <= most or len(x) < 2:
        raise ValueError(f"dim={dim} for points {x.shape}: expected 1 to {most}, and two points or more")
    mean = flat.mean(axis=0, dtype=np.float64)
    if flat.shape[1] <= MOST_ENTRIES:
        centred = flat - mean
        values, vectors = np.linalg.eigh(centred.T @ centred / (len(x) - 1))
        order = np.argsort(values)[::-1][:dim]
        values, vectors = values[order], vectors[:, order]
    else:
        from sklearn.utils.extmath import randomized_svd  # importing it takes a second and a half

        centred = flat - mean.astype(np.float32)
        _, singular, axes = randomized_svd(centred, dim, n_iter=7, random_state=0)
        values, vectors = np.square(singular) / (len(x) - 1), axes.T
    single = [np.asarray(a, np.float32) for a in (mean.reshape(x.shape[1:]), vectors, values)]
    return Pca(*map(jnp.asarray, single))


def check_pca(name: str, num_points: int, shape: Sequence[int], dims: Sequence[int]) -> None:
    """Refuses more dimensions than `fit_pca` finds from that many points of a shape.

    Raises:
      UserError: names the points.
    """
    size, most = math.prod(shape), max(dims, default=0)
    if size > MOST_ENTRIES and most > num_points:
        raise UserError(
            f"PCA of {name} with {most} dimensions: expected at most {num_points}, the training points of {size} "
            "numbers; take more of them or smaller sizes"
        )


def pca_encode(pca: Pca, x: Float[Array, "N ..."]) -> Float[Array, "N dim"]:
    """Coordinates along the axes, unit of x."""
    return (x - pca.mean[None]).reshape(x.shape[0], -1) @ pca.axes


def pca_decode(pca: Pca, z: Float[Array, "N dim"]) -> Float[Array, "N ..."]:
    """The point of the plane with these coordinates."""
    return (z @ pca.axes.T).reshape(z.shape[0], *pca.mean.shape) + pca.mean[None]


def class_means(x: Float[np.ndarray, "N ..."], label: Int[np.ndarray, " N"], num_classes: int) -> Float[Array, "K ..."]:
    """Mean training point of every class; what gives back x is `class_means[label]`.

    Raises:
      ValueError: a class without a point.
    """
    count = np.bincount(label, minlength=num_classes)
    if len(count) > num_classes or (count == 0).any():
        raise ValueError(f"points a class {count.tolist()}: expected some of each of {num_classes} classes; take more")
    sums = np.zeros((num_classes, *x.shape[1:]))
    np.add.at(sums, label, x)
    return jnp.asarray(sums / count.reshape(-1, *(1,) * (x.ndim - 1)), jnp.float32)


def fit_kmeans(x: Float[np.ndarray, "N ..."], num_centres: int, *, seed: int) -> Float[Array, "B ..."]:
    """Centres of k-means (mini-batches of 4096; Sculley 2010, WWW), in the shape of the points."""
    from sklearn.cluster import MiniBatchKMeans  # likewise

    model = MiniBatchKMeans(num_centres, random_state=seed, batch_size=4096, n_init=3)
    model.fit(np.asarray(x, np.float32).reshape(len(x), -1))
    return jnp.asarray(model.cluster_centers_, jnp.float32).reshape(num_centres, *x.shape[1:])


def at_nearest(centres: Float[Array, "B ..."], x: Float[Array, "N ..."]) -> Float[Array, "N ..."]:
    """The centre nearest to every point."""
    return centres[nearest(centres.reshape(centres.shape[0], -1), x.reshape(x.shape[0], -1))]
