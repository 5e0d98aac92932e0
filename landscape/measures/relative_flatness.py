"""Relative flatness of the last layer: curvature of an example's loss in the weights of the last dense layer, times
the size of these weights.

With logits W phi(x) + b, w_s the rows of W, p the softmax and H_ss' the blocks of the Hessian of the loss in W,

    kappa(x) = sum_ss' <w_s, w_s'> tr H_ss' = ||phi(x)||^2 (sum_s p_s ||w_s||^2 - ||sum_s p_s w_s||^2)

since H_ss' = (p_s [s = s'] - p_s p_s') phi phi'. That is ||phi||^2 times the variance of the rows under p, and is taken
as ||phi||^2 sum_{s < s'} p_s p_s' ||w_s - w_s'||^2, which keeps its digits where p is near 1. Units of the logits
squared; it depends on no label. To scale phi by a and W by 1 / a changes nothing, and neither does adding one vector to
all rows; to scale logits alone does.

Source: Petzka et al. 2021, arXiv:2001.00939, the trace form, here of the loss of a single example.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from landscape.types import Images, Labels, Logits, Variables


def last_weights(
    variables: Variables, h: Float[Array, " *shape"], *, head: Callable[[Variables, Array], Logits]
) -> Float[Array, "K D"]:
    """The rows w_s of a head that is affine, its Jacobian at one flattened point h.

    head: (variables, h [1, *shape]) -> logits [1, K].
    """
    jacobian = jax.jacrev(lambda h: head(variables, h[None])[0])(h)
    return jacobian.reshape(jacobian.shape[0], -1)


def relative_flatness(
    keys: jax.Array,
    variables: Variables,
    x: Images,
    label: Labels,
    *,
    features: Callable[[Variables, Images, str], Array],
    head: Callable[[Variables, Array, str], Logits],
    layer: str,
) -> dict[str, Float[Array, " N"]]:
    """kappa of every input; see the module's head. Nothing is drawn, and labels play no part.

    Args:
      features, head, layer: of a `models.classifiers.Classifier`, the layer its last one, whose head is a dense layer;
        see `models.contract.check_last_layer`.

    Returns:
      relative_flatness: [N], at least 0.
    """
    phi = features(variables, x, layer)
    weights = last_weights(variables, jnp.zeros_like(phi[0]), head=lambda v, h: head(v, h, layer))
    gram = weights @ weights.T
    square = jnp.diag(gram)
    apart = jnp.maximum(square[:, None] + square[None] - 2 * gram, 0)  # ||w_s - w_s'||^2, each pair twice
    p = jax.nn.softmax(head(variables, phi, layer))
    spread = 0.5 * jnp.sum((p @ apart) * p, axis=1)
    return {"relative_flatness": jnp.sum(jnp.square(phi.reshape(phi.shape[0], -1)), axis=1) * spread}
