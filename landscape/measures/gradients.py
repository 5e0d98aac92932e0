"""Which pixels, or which directions of a manifold, raise each class: gradients of a class's value for one classifier.

Every function takes a batch of examples and gives results row by row; members are mapped outside.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Float

from landscape.ensembles import map_examples
from landscape.spaces import draw_flat, fold
from landscape.types import Apply, Images, Labels, Logits, Values, Variables


def class_gradients(
    variables: Variables,
    x: Float[Array, "N ..."],
    *,
    apply: Apply,
    value_fn: Callable[[Logits, Labels], Values],
    num_classes: int,
    decode: Callable[[Array], Images] | None = None,
) -> Float[Array, "K N ..."]:
    """Gradient of every class's value with respect to the input, or to a latent.

    Args:
      x: images, or points z of a latent with `decode` (z -> images), which the gradient is then with respect to.
      value_fn: one of `objectives.VALUES`, or any like it.
      num_classes: K.

    Returns:
      [K, N, ...] in the shape of x; units of the value over those of x.
    """

    def of_class(label: Array):
        def total(x, variables):
            images = x if decode is None else decode(x)
            return jnp.sum(value_fn(apply(variables, images), jnp.full(x.shape[:1], label)))

        return map_examples(jax.grad(total), x, shared=(variables,))

    return lax.map(of_class, jnp.arange(num_classes))


def smooth_gradients(
    keys: jax.Array,
    variables: Variables,
    x: Images,
    *,
    apply: Apply,
    value_fn: Callable[[Logits, Labels], Values],
    num_classes: int,
    sigma: ArrayLike,
    num_trials: int,
) -> Float[Array, "K N ..."]:
    """SmoothGrad: the mean of `class_gradients` at x + sigma eps, eps ~ N(0, I).

    Args:
      keys: one an example; trial r draws from fold_in(key, r), the same for all classes, members and sigmas.
      sigma: pixels. num_trials: R.

    Returns:
      [K, N, ...] in the shape of x; units of the value over pixels.

    Source: Smilkov et al. 2017, arXiv:1706.03825.
    """

    def trial(total, r):
        eps = draw_flat(jax.random.normal, fold(keys, r), x)
        noisy = x + sigma * eps
        return total + class_gradients(variables, noisy, apply=apply, value_fn=value_fn, num_classes=num_classes), None

    total, _ = lax.scan(trial, jnp.zeros((num_classes, *x.shape), x.dtype), jnp.arange(num_trials))
    return total / num_trials


def push_forward(
    decode: Callable[[Array], Images], z: Float[Array, "N ..."], direction: Float[Array, "N ..."]
) -> Float[Array, "N H W C"]:
    """J direction, J the Jacobian of the decoder at z: what a small step in the latent does to the image, exactly.

    The pullback u -> J^T u is linear, so its own pullback is J: forward mode by reverse mode alone, which decoders
    with a convolution of their own backward pass have.

    Returns:
      Pixels over the unit of the direction.

    Source: Townsend 2017, "A new trick for calculating Jacobian vector products".
    """
    images, pull_back = jax.vjp(decode, z)
    _, forward = jax.vjp(lambda u: pull_back(u)[0], jnp.zeros_like(images))
    return forward(direction)[0]


def difference(
    decode: Callable[[Array], Images], z: Float[Array, "N ..."], direction: Float[Array, "N ..."], step: ArrayLike
) -> Float[Array, "N H W C"]:
    """(decode(z + step direction) - decode(z)) / step: the same by a step of finite size, across kinks and codes."""
    return (decode(z + step * direction) - decode(z)) / step


def unit(g: Float[Array, "*batch D"]) -> Float[Array, "*batch D"]:
    """g over its length; 0 where that is 0.

    Divided by the largest entry first: the squares of a saturated probability's gradient would vanish in float32.
    """
    largest = jnp.max(jnp.abs(g), axis=-1, keepdims=True)
    g = g / jnp.where(largest > 0, largest, 1.0)
    length = jnp.linalg.norm(g, axis=-1, keepdims=True)
    return g / jnp.where(length > 0, length, 1.0)


def cosine(one: Float[Array, "*#batch D"], other: Float[Array, "*#batch D"]) -> Float[Array, "*out"]:
    """Cosine of two gradients; 0 where one of them is 0."""
    return jnp.sum(unit(one) * unit(other), axis=-1)
