"""Sparse dictionaries of a hidden layer: pure functions of one dictionary.

A *point* h [D] is a layer's activation at one place of an image, in units of the root of its mean square. A dictionary
of W features writes it as few of its atoms d_i, of length 1:

    e = (h - b) W_e + b_e,    z = activation(e) >= 0,    h^ = z D + b.

    KINDS: "topk"        z = the k largest entries of relu(e) (Gao et al. 2024, arXiv:2406.04093)
           "jumprelu"    z = e 1[e > theta], theta learnt for each feature (Rajamanoharan et al. 2024, arXiv:2407.14435)
           "archetypal"  z as of topk; D = the rows of A C + L over their lengths, A row-stochastic, C points of the
                         data, L of at most a given length a row (Fel et al. 2025, arXiv:2502.12892)

The atoms of "archetypal" lie in the cone of the data up to L. For this points are not centred: within a convex hull
that has 0 inside, every direction would be allowed.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Float

from landscape.types import Values

KINDS = ("topk", "jumprelu", "archetypal")
BANDWIDTH = 0.3  # of the kernel that the gradient of a step is estimated by; points have a mean square of 1 an entry
THRESHOLD = 0.3  # where theta starts
PEAK = 0.9  # weight in A of the point that an archetypal atom starts at


class Dictionary(NamedTuple):
    """What a trained dictionary computes with, whatever kind it is.

    atoms: rows of length 1. threshold: theta; 0 where an entry is kept by its rank.
    """

    atoms: Float[Array, "*S W D"]
    encoder: Float[Array, "*S D W"]
    encoder_bias: Float[Array, "*S W"]
    bias: Float[Array, "*S D"]
    threshold: Float[Array, "*S W"]


class Hull(NamedTuple):
    """What atoms of "archetypal" are mixed of: points C, and the largest length of a row of L, in units of points."""

    points: Float[Array, "P D"]
    relaxation: Float[ArrayLike, ""]


# ---- parameters ----


def start(
    kind: str, atoms: Float[Array, "W D"], hull: Hull, mixing: Float[Array, "W P"] | None = None
) -> dict[str, Array]:
    """Parameters before training: the given atoms, the encoder their transpose, no biases.

    Args:
      kind: one of KINDS. Atoms of "archetypal" start at the points of C in their directions.
      mixing: of "archetypal", the logarithm of A where atoms are not near single points.

    Raises:
      ValueError: another kind.
    """
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r}: expected one of {', '.join(KINDS)}")
    own = {}
    if kind == "archetypal":
        own = {"mixing": peaked(atoms, hull) if mixing is None else mixing, "relaxation": jnp.zeros_like(atoms)}
        atoms = atoms_of(kind, own, hull)
    else:
        own = {"atoms": unit(atoms)}
        atoms = own["atoms"]
    own |= {"encoder": atoms.T, "encoder_bias": jnp.zeros(len(atoms)), "bias": jnp.zeros(atoms.shape[1])}
    return own | ({"log_threshold": jnp.full(len(atoms), jnp.log(THRESHOLD))} if kind == "jumprelu" else {})


def peaked(directions: Float[Array, "W D"], hull: Hull) -> Float[Array, "W P"]:
    """Logarithms of rows of A with weight PEAK at the point of C that is nearest in direction, equal ones elsewhere."""
    count = len(hull.points)
    near = jnp.argmax(directions @ unit(hull.points).T, axis=1)
    rest = jnp.log((1 - PEAK) / (count - 1))
    return rest + (jnp.log(PEAK) - rest) * jax.nn.one_hot(near, count)


def unit(rows: Float[Array, "W D"]) -> Float[Array, "W D"]:
    """Rows over their lengths; 0 stays 0."""
    return rows * lax.rsqrt(jnp.maximum(jnp.sum(jnp.square(rows), axis=1, keepdims=True), 1e-12))


def atoms_of(kind: str, params: dict[str, Array], hull: Hull) -> Float[Array, "W D"]:
    """The atoms that parameters mean, of length 1."""
    if kind != "archetypal":
        return unit(params["atoms"])
    length = jnp.sqrt(jnp.maximum(jnp.sum(jnp.square(params["relaxation"]), axis=1, keepdims=True), 1e-12))
    short = params["relaxation"] * jnp.minimum(1.0, hull.relaxation / length)
    return unit(jax.nn.softmax(params["mixing"], axis=1) @ hull.points + short)


def dictionary_of(kind: str, params: dict[str, Array], hull: Hull) -> Dictionary:
    """The dictionary that parameters mean."""
    atoms = atoms_of(kind, params, hull)
    threshold = jnp.exp(params["log_threshold"]) if kind == "jumprelu" else jnp.zeros(len(atoms))
    return Dictionary(atoms, params["encoder"], params["encoder_bias"], params["bias"], threshold)


# ---- points to features and back ----


def encode(kind: str, dictionary: Dictionary, h: Float[Array, "N D"], k: ArrayLike, most: int) -> Float[Array, "N W"]:
    """Activations z of the features.

    Args:
      k: entries kept, of kinds that keep some by rank; may be traced. most: the largest k there is.
    """
    e = (h - dictionary.bias[None]) @ dictionary.encoder + dictionary.encoder_bias[None]
    return jump(e, dictionary.threshold) if kind == "jumprelu" else largest(e, k, most)


def decode(dictionary: Dictionary, z: Float[Array, "N W"]) -> Float[Array, "N D"]:
    """h^ = z D + b."""
    return z @ dictionary.atoms + dictionary.bias[None]


def largest(e: Float[Array, "N W"], k: ArrayLike, most: int) -> Float[Array, "N W"]:
    """The k largest entries of every row where they are positive, the others 0; of equal ones the first.

    Raises:
      ValueError: `most`, the largest k, outside 1 .. W.
    """
    if not 1 <= most <= e.shape[1]:
        raise ValueError(f"most={most}: expected 1 to {e.shape[1]}, the number of features")
    e = jax.nn.relu(e)
    _, index = lax.top_k(lax.stop_gradient(e), most)
    kept = jnp.broadcast_to((jnp.arange(most) < k)[None], index.shape)
    rows = jnp.arange(e.shape[0])[:, None]
    return jnp.where(jnp.zeros(e.shape, bool).at[rows, index].set(kept), e, 0.0)


@jax.custom_vjp
def jump(e: Float[Array, "N W"], threshold: Float[Array, " W"]) -> Float[Array, "N W"]:
    """e 1[e > theta]. The gradient in theta is estimated by a rectangle K of width epsilon = BANDWIDTH around theta:
    -theta / epsilon K((e - theta) / epsilon)."""
    return jnp.where(e > threshold[None], e, 0.0)


def _jump_forward(e, threshold):
    return jump(e, threshold), (e, threshold)


def _jump_backward(kept, g):
    e, threshold = kept
    return jnp.where(e > threshold[None], g, 0.0), -threshold * jnp.sum(g * _near(e, threshold), axis=0)


jump.defvjp(_jump_forward, _jump_backward)


@jax.custom_vjp
def count_above(e: Float[Array, "N W"], threshold: Float[Array, " W"]) -> Values:
    """Entries of every row above theta. Its gradient in theta is -1 / epsilon K((e - theta) / epsilon), in e 0."""
    return jnp.sum((e > threshold[None]).astype(e.dtype), axis=1)


def _count_forward(e, threshold):
    return count_above(e, threshold), (e, threshold)


def _count_backward(kept, g):
    e, threshold = kept
    return jnp.zeros_like(e), -jnp.sum(g[:, None] * _near(e, threshold), axis=0)


count_above.defvjp(_count_forward, _count_backward)


def _near(e: Float[Array, "N W"], threshold: Float[Array, " W"]) -> Float[Array, "N W"]:
    """1 / epsilon K((e - theta) / epsilon)."""
    return (jnp.abs(e - threshold[None]) < BANDWIDTH / 2) / BANDWIDTH


def loss(
    kind: str, params: dict[str, Array], h: Float[Array, "N D"], sparsity: ArrayLike, most: int, hull: Hull
) -> tuple[Float[Array, ""], tuple[Float[Array, "N W"], Float[Array, "N D"]]]:
    """Squared error a point, with the penalty on the number of active features; activations and residuals h - h^.

    topk, archetypal: mean ||h - h^||^2 / D. jumprelu: + sparsity x (active features), theta by the estimate of `jump`.

    Args:
      sparsity: k of kinds that keep some by rank, else the weight of the penalty; may be traced.
    """
    own = dictionary_of(kind, params, hull)
    z = encode(kind, own, h, sparsity, most)
    residual = h - decode(own, z)
    found = jnp.mean(jnp.square(residual))
    if kind == "jumprelu":
        e = (h - own.bias[None]) @ own.encoder + own.encoder_bias[None]
        found += sparsity * jnp.mean(count_above(e, own.threshold))
    return found, (z, residual)
