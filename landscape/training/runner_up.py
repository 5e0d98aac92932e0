"""Training examples changed at a layer of the classifier: moved toward the runner-up class, at random, or mixed.

With h the activations of an example at a layer (the image itself at layer "image"), an example that is chosen becomes

    h' = h + epsilon ||h|| d,      d = g / ||g||,    g = gradient of l_r(h) with respect to h,

r the *runner-up*: the class with the second largest logit l of this example. Through an autoencoder of the layer, the
move is one of the latent z = encode(h), with the gradient of l_r(decode(z)) with respect to z:

    residual   h' = h + decode(z + epsilon ||z|| d) - decode(z)
    replace    h' = decode(z + epsilon ||z|| d);    with epsilon 0 the reconstruction

An example is chosen with probability p, and where `correct` asks for it, only if it is classified correctly. No
gradient of training flows through d, nor through the length of the step. All is taken in inference mode, and by each
example itself: what happens to one does not depend on the others of its batch. The one exception is "batch_sum", the
gradient of the sum of an example's logits of the runner-up classes of *all* examples of the batch.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from landscape.search import unit
from landscape.spaces import l2_norm, per_example
from landscape.types import Labels, Logits

KINDS = ("runner_up", "random", "mixup", "batch_sum")
CODED = ("direct", "residual", "replace")  # whether a move goes through an autoencoder, and how
EACH_STEP = -1  # in the place of a layer's number: another one at random in every step

Points = Float[Array, "N ..."]


class Augmentation(NamedTuple):
    """How a member's training examples are changed: numbers, in which members of one program may differ.

    Attributes:
      kind: number of one of KINDS.
      layer: number of the layer among those of the program; EACH_STEP for mixup at a random one of them.
      probability: p that an example is chosen. mixup takes all examples.
      epsilon: length of the move over that of h, or of the latent.
      correct: 1 where only examples that are classified correctly are moved, 0 for all.
      alpha: of mixup's Beta(alpha, alpha).
      coded: number of one of CODED.
    """

    kind: ArrayLike = 0
    layer: ArrayLike = 0
    probability: ArrayLike = 0.0
    epsilon: ArrayLike = 0.0
    correct: ArrayLike = 0
    alpha: ArrayLike = 0.0
    coded: ArrayLike = 0


def acts(how: Augmentation) -> bool:
    """Whether examples are changed at all; what is not changed is no part of the program. Plain numbers."""
    if KINDS[int(how.kind)] == "mixup":
        return how.alpha > 0
    return how.probability > 0 and (how.epsilon > 0 or CODED[int(how.coded)] == "replace")


def runner_up(logits: Logits) -> Labels:
    """The class with the second largest logit."""
    first = jnp.argmax(logits, axis=-1)[:, None] == jnp.arange(logits.shape[-1])[None, :]
    return jnp.argmax(jnp.where(first, -jnp.inf, logits), axis=-1)


def toward(logits_fn: Callable[[Points], Logits], u: Points, chosen: Labels, *, together: ArrayLike = False) -> Points:
    """Unit directions, per example, of the gradient of its logit of a class with respect to u; 0 where that is 0.

    Args:
      logits_fn: of points u [N, ...], example by example.
      chosen: the class of each. together: whether it is the sum of its logits of the classes of *all* examples.
    """
    own = jax.nn.one_hot(chosen, jax.eval_shape(logits_fn, u).shape[-1], dtype=u.dtype)
    weights = jnp.where(together, jnp.sum(own, axis=0, keepdims=True), own)
    return unit(jax.grad(lambda u: jnp.sum(weights * logits_fn(u)))(u), "l2")


def at_random(key: jax.Array, u: Points) -> Points:
    """Uniform unit directions, one an example."""
    return unit(jax.random.normal(key, (u.size,), u.dtype).reshape(u.shape), "l2")


def chosen_examples(
    key: jax.Array, logits: Logits, label: Labels, probability: ArrayLike, correct: ArrayLike
) -> Bool[Array, " N"]:
    """Each with the probability given; only those classified correctly where `correct` is 1."""
    drawn = jax.random.uniform(key, label.shape) < probability
    return drawn & ((jnp.argmax(logits, axis=-1) == label) | (jnp.asarray(correct) == 0))


def moved(
    key: jax.Array,
    logits_fn: Callable[[Points], Logits],
    h: Points,
    label: Labels,
    how: Augmentation,
    coder: tuple[Callable, Callable] | None = None,
) -> Points:
    """Examples at a layer, those that are chosen moved; see the module's head.

    Args:
      logits_fn: logits of h in inference mode, with weights through which no gradient is asked for.
      coder: (encode, decode) of the layer's autoencoder; None for direct moves.
    """
    key_chosen, key_direction = jax.random.split(key)
    still = lax.stop_gradient(h)
    logits = logits_fn(still)
    encode, decode = coder or (lambda h: h, lambda u: u)
    z, frozen = encode(h), encode(still)
    branches = (
        lambda u: toward(
            lambda u: logits_fn(decode(u)), u, runner_up(logits), together=how.kind == KINDS.index("batch_sum")
        ),
        lambda u: at_random(key_direction, u),
    )
    direction = lax.switch(jnp.where(jnp.asarray(how.kind) == KINDS.index("random"), 1, 0), branches, frozen)
    step = lax.stop_gradient(per_example(how.epsilon * l2_norm(frozen), frozen) * direction)
    ends = decode(z + step)
    if coder is not None:
        ends = ends + jnp.where(jnp.asarray(how.coded) == CODED.index("residual"), h - decode(z), 0.0)
    chosen = chosen_examples(key_chosen, logits, label, how.probability, how.correct)
    return jnp.where(per_example(chosen, h), ends, h)


def mixed(key: jax.Array, h: Points, alpha: ArrayLike) -> tuple[Points, Int[Array, " N"], Float[Array, ""]]:
    """Each example mixed with another one of its batch: lam h + (1 - lam) h[partner], lam ~ Beta(alpha, alpha).

    Returns:
      The mixed examples, their partners and lam, one for the batch. The loss is lam times that of the own labels plus
      1 - lam times that of the partners'.

    Source: Zhang et al. 2018, arXiv:1710.09412, of images; Verma et al. 2019, arXiv:1806.05236, of a layer.
    """
    key_share, key_partner = jax.random.split(key)
    lam = jax.random.beta(key_share, alpha, alpha).astype(h.dtype)
    partner = jax.random.permutation(key_partner, h.shape[0])
    return lam * h + (1 - lam) * h[partner], partner, lam
