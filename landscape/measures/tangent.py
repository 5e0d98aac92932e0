"""Curvature along the data and across them: means of v' H v over unit vectors of three subspaces of equal dimension.

H is the input Hessian of the loss, and with q_1 .. q_d an orthonormal basis of a subspace,

    curvature of the subspace = (1 / d) sum_j q_j' H q_j = tr(Q H Q') / d,

the mean curvature over all its directions. The subspaces are the tangent space of the data at the image, a random one
of what is orthogonal to it, and a random one of all directions; the mean over the last is tr H / D.

The tangent space is that of the nearest training images: their first d principal directions.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from landscape.measures import neighbors
from landscape.measures.curvature import loss_hessian, orthonormal
from landscape.types import Apply, Images, Labels, Values, Variables

SUBSPACES = ("tangent", "normal", "random")


def local_directions(
    x: Float[np.ndarray, "N H W C"], points: Float[np.ndarray, "M H W C"], *, num_neighbors: int, dim: int
) -> Float[np.ndarray, "N d D"]:
    """The first d principal directions of each image's nearest points, [N, d, D], orthonormal. NumPy.

    Raises:
      ValueError: more directions than num_neighbors points have, num_neighbors - 1.
    """
    if not 1 <= dim < num_neighbors:
        raise ValueError(f"dim={dim}: expected 1 to {num_neighbors - 1}, what {num_neighbors} neighbours span")
    _, index = neighbors.nearest(x, points, num_neighbors)
    near = points.reshape(len(points), -1)[np.asarray(index)]
    _, _, directions = np.linalg.svd(near - near.mean(axis=1, keepdims=True), full_matrices=False)
    return directions[:, :dim].astype(x.dtype)


def tangent_curvature(
    keys: jax.Array,
    variables: Variables,
    x: Images,
    label: Labels,
    tangent: Float[Array, "N d D"],
    *,
    apply: Apply,
) -> dict[str, Values]:
    """Mean curvature of the loss in the tangent space, across it, and in a random subspace; see the module's head.

    Args:
      tangent: d independent vectors that span each example's tangent space, flattened.

    Returns:
      tangent_curvature, normal_curvature, random_curvature: each [N], nats per squared pixel.

    Raises:
      ValueError: the subspaces do not fit beside one another: 2 d > D.
    """
    dim, num_dims = tangent.shape[1:]
    if 2 * dim > num_dims:
        raise ValueError(f"tangent of {dim} dimensions: expected at most {num_dims // 2}, half of the pixels")
    drawn = jax.vmap(lambda key: jax.random.normal(key, (2, dim, num_dims), x.dtype))(keys)
    beside = orthonormal(jnp.concatenate([tangent, drawn[:, 0]], axis=1))  # the tangent space first
    basis = jnp.concatenate([beside, orthonormal(drawn[:, 1])], axis=1)
    matvec = loss_hessian(variables, x, label, apply=apply)
    along = lax.map(lambda v: jnp.sum(v * matvec(v), axis=1), jnp.moveaxis(basis, 1, 0))
    means = along.reshape(len(SUBSPACES), dim, -1).mean(axis=1)
    return {f"{name}_curvature": mean for name, mean in zip(SUBSPACES, means, strict=True)}
