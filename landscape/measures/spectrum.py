"""Spectrum of the input Hessian of the loss: its largest eigenvalues, and where all of them lie.

Stochastic Lanczos quadrature: from a random unit vector v, T steps of Lanczos give a tridiagonal matrix with
eigenvalues theta_i and eigenvectors u_i, and the sum of f(theta_i) (first entry of u_i)^2 estimates v' f(H) v, whose
mean over v is tr f(H) / D. With f the indicator of an interval it is the share of the D eigenvalues that lie there.
Exact for the moments of H up to degree 2 T - 1, given v. The j-th largest theta is at most the j-th largest eigenvalue.

Programs give the tridiagonal matrices; what LAPACK does with them is done by NumPy, see `curvature.extremes`.

Source: Ubaru, Chen & Saad 2017 (SIAM Journal on Matrix Analysis 38:1075); Ghorbani et al. 2019, arXiv:1901.10159.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from landscape.measures.curvature import lanczos, loss_hessian, orthonormal
from landscape.types import Apply, Images, Labels, Variables

# Ends of the bins in which eigenvalues are counted, nats per squared pixel: half decades on both sides of 0.
EDGES = np.concatenate([-np.logspace(3, -3, 13), np.logspace(-3, 3, 13)])
MIDDLES = np.where(EDGES[:-1] * EDGES[1:] < 0, 0.0, np.sign(EDGES[1:]) * np.sqrt(np.abs(EDGES[:-1] * EDGES[1:])))


def tridiagonals(
    keys: jax.Array,
    variables: Variables,
    x: Images,
    label: Labels,
    *,
    apply: Apply,
    num_steps: int = 12,
    num_probes: int = 4,
) -> dict[str, Float[Array, "R T N"]]:
    """Lanczos' tridiagonal matrices of the input Hessian of the loss, from R = min(num_probes, D) orthogonal starts.

    Args:
      num_steps: T, at most D. K of them reach every eigenvalue of ReLU logits that is not 0.

    Returns:
      lanczos_diagonal and lanczos_coupling (of row t with row t - 1), each [R, T, N], nats per squared pixel.

    Raises:
      ValueError: fewer than one step or probe.
    """
    if min(num_steps, num_probes) < 1:
        raise ValueError(f"num_steps={num_steps}, num_probes={num_probes}: expected at least 1 of both; try 12 and 4")
    num_dims = x[0].size
    matvec = loss_hessian(variables, x, label, apply=apply)
    shape = (min(num_probes, num_dims), num_dims)
    normal = jax.vmap(lambda key: jax.random.normal(key, shape, x.dtype))(keys)

    def one(start):
        diagonal, coupling = lanczos(matvec, start, num_steps=num_steps)
        return {"lanczos_diagonal": diagonal.T, "lanczos_coupling": coupling.T}

    return lax.map(one, jnp.moveaxis(orthonormal(normal), 1, 0))


def quadrature(
    diagonal: Float[np.ndarray, "R T *N"], coupling: Float[np.ndarray, "R T *N"]
) -> tuple[Float[np.ndarray, "*N R T"], Float[np.ndarray, "*N R T"]]:
    """Nodes theta, rising, and weights of the R quadratures of every example; weights of one sum to 1."""
    diagonal, coupling = (np.moveaxis(np.asarray(part, np.float64), (0, 1), (-2, -1)) for part in (diagonal, coupling))
    t = np.arange(diagonal.shape[-1])
    matrices = np.zeros((*diagonal.shape, len(t)))
    matrices[..., t, t] = diagonal
    matrices[..., t[1:], t[:-1]] = coupling[..., 1:]  # the lower half is all that is read
    nodes, vectors = np.linalg.eigh(matrices)
    return nodes, np.square(vectors[..., 0, :])


def largest(nodes: Float[np.ndarray, "*N R T"], count: int) -> Float[np.ndarray, "B *N"]:
    """The first k eigenvalues, largest first: of all starts the best lower bound of each."""
    return np.moveaxis(nodes[..., ::-1][..., :count].max(axis=-2), -1, 0)


def density(
    nodes: Float[np.ndarray, "*N R T"], weights: Float[np.ndarray, "*N R T"], edges: np.ndarray = EDGES
) -> Float[np.ndarray, "B *N"]:
    """Estimated share of the eigenvalues in each bin, [B, *N] with B = len(edges) - 1; the outer bins have no end."""
    index = np.digitize(nodes, edges[1:-1])
    shares = [np.where(index == b, weights, 0.0).sum(axis=-1).mean(axis=-1) for b in range(len(edges) - 1)]
    return np.stack(shares)
