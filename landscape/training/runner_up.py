"""Training examples changed at a layer of the classifier: moved toward the runner-up class, at random, or mixed.

With h the activations of an example at a layer (the image itself at layer "image"), an example that is chosen becomes

    h' = h + epsilon ||h|| d,      d = g / ||g||,    g = gradient of l_r(h) with respect to h,

r the *runner-up*: the class with the second largest logit l of this example. Through an autoencoder of the layer, the
move is one of the latent z = encode(h), with the gradient of l_r(decode(z)) with respect to z:

    residual   h' = h + decode(z + epsilon ||z|| d) - decode(z)
    replace    h' = decode(z + epsilon ||z|| d);    with epsilon 0 the reconstruction

An example is drawn with probability p, and where `correct` asks for it, moved only if it is classified correctly. Of
a batch of B the first p B are drawn: training shows it in random order, so that every example has the same chance, and
directions are computed for those drawn alone, one pass forward and one back to h, without gradients of weights. No
gradient of training flows through d, nor through the length of the step. All is taken in inference mode, and by each
example itself: the move of one does not depend on the others of its batch. The one exception is "batch_sum", the
gradient of the sum of an example's logits of the runner-up classes of *all* examples drawn.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

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
      layer: number of the layer, of moves through an autoencoder of the autoencoder, among those of the program;
        EACH_STEP for mixup at a random layer.
      probability: p that an example is drawn. mixup takes all examples.
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


def room_of(how: Augmentation) -> float:
    """Share of a batch that a program has room to move: 1, 1/2, 1/4 or 1/8, the least that holds p. Plain numbers.

    Members of one room are trained in one program, whatever their p. Mixup, which draws nothing, is in that of 1/2.
    """
    if KINDS[int(how.kind)] == "mixup":
        return 0.5
    return next(room for room in (0.125, 0.25, 0.5, 1.0) if how.probability <= room)


def runner_up(logits: Logits) -> Labels:
    """The class with the second largest logit."""
    first = jnp.argmax(logits, axis=-1)[:, None] == jnp.arange(logits.shape[-1])[None, :]
    return jnp.argmax(jnp.where(first, -jnp.inf, logits), axis=-1)


def toward_runner_up(
    logits_fn: Callable[[Any], Logits],
    u: Any,
    logits: Logits | None = None,
    *,
    together: ArrayLike = False,
    among: ArrayLike = True,
) -> tuple[Any, Logits]:
    """Gradients of the logit of each example's runner-up class with respect to u, and the logits at u.

    One pass forward and one back, without gradients of weights.

    Args:
      logits_fn: of points u [N, ...], or a pytree of such, example by example.
      logits: by which runners-up are found; those at u where None.
      together: whether it is the sum of an example's logits of the classes of *all* examples `among` [N].
    """
    found, back = jax.vjp(logits_fn, u)
    logits = found if logits is None else logits
    own = jax.nn.one_hot(runner_up(logits), found.shape[-1], dtype=found.dtype)
    of_all = jnp.sum(per_example(among, own) * own, axis=0, keepdims=True)
    return back(jnp.where(together, of_all, own))[0], found


def all_moved(logits_fn: Callable[[Points], Logits], h: Points, epsilon: ArrayLike) -> tuple[Points, Labels]:
    """Every point moved directly toward its runner-up class, by epsilon in norms of h; and these classes."""
    gradient, logits = toward_runner_up(logits_fn, h)
    return h + per_example(epsilon * l2_norm(h), h) * unit(gradient, "l2"), runner_up(logits)


def batch_sum_beside_own(
    logits_fn: Callable[[Points], Logits], h: Points
) -> tuple[Float[Array, " N"], Float[Array, " N"], Float[Array, " N"]]:
    """How far the gradient of "batch_sum" is from that of each example's own runner-up, for one batch.

    Returns:
      (cosine of the two, length of the first, length of the second), logits over the unit of h.
    """
    summed, own = (toward_runner_up(logits_fn, h, together=together)[0] for together in (True, False))
    cosine = jnp.sum((unit(summed, "l2") * unit(own, "l2")).reshape(len(h), -1), axis=1)
    return cosine, l2_norm(summed), l2_norm(own)


def at_random(key: jax.Array, u: Points) -> Points:
    """Uniform directions, one an example, of random length."""
    return jax.random.normal(key, (u.size,), u.dtype).reshape(u.shape)


def drawn_of(key: jax.Array, num: int, how: Augmentation, room: float) -> Bool[Array, " C"]:
    """Which of the first ceil(room N) of N examples are drawn: floor(p N + u) of them, u uniform in [0, 1), the first.

    room: the largest share of the batch that is drawn, see `room_of`; fixed when the program is compiled.
    """
    return jnp.arange(math.ceil(room * num)) < jnp.floor(how.probability * num + jax.random.uniform(key))


def chosen_of(drawn: Bool[Array, " C"], logits: Logits, label: Labels, how: Augmentation) -> Bool[Array, " C"]:
    """Those drawn; where `how.correct` is 1, of them those that are classified correctly."""
    right = jnp.argmax(logits, axis=-1) == label
    return drawn & (right | (jnp.asarray(how.correct) == 0))


def stepped(h: Points, direction: Float[Array, "C ..."], chosen: Bool[Array, " C"], epsilon: ArrayLike) -> Points:
    """The first examples, those chosen, moved by epsilon ||h|| in their directions [C, ...], of any length."""
    part = lax.stop_gradient(h[: len(chosen)])
    step = per_example(jnp.where(chosen, epsilon * l2_norm(part), 0.0), part) * unit(direction, "l2")
    return h + jnp.concatenate([lax.stop_gradient(step), jnp.zeros_like(h[len(chosen) :])])


def moved(
    key: jax.Array,
    logits_fn: Callable[[Points], Logits],
    h: Points,
    label: Labels,
    how: Augmentation,
    coder: tuple[Callable, Callable] | None = None,
    *,
    room: float = 1.0,
) -> Points:
    """Examples at a layer, the first ones moved; see the module's head.

    Args:
      logits_fn: logits of h in inference mode, with weights through which no gradient is asked for.
      coder: (encode, decode) of the layer's autoencoder; None for direct moves.
      room: see `drawn_of`.
    """
    key_drawn, key_direction = jax.random.split(key)
    drawn = drawn_of(key_drawn, len(h), how, room)
    part = h[: len(drawn)]
    still = lax.stop_gradient(part)
    encode, decode = coder or (lambda h: h, lambda u: u)
    z = encode(part)
    frozen = lax.stop_gradient(z)

    def by_gradient(u):
        logits = None if coder is None else logits_fn(still)
        together = how.kind == KINDS.index("batch_sum")
        direction, at = toward_runner_up(lambda u: logits_fn(decode(u)), u, logits, together=together, among=drawn)
        return direction, at if logits is None else logits

    def by_chance(u):
        return at_random(key_direction, u), logits_fn(still)

    direction, logits = lax.cond(how.kind == KINDS.index("random"), by_chance, by_gradient, frozen)
    chosen = chosen_of(drawn, logits, label[: len(drawn)], how)
    if coder is None:
        return stepped(h, direction, chosen, how.epsilon)
    ends = decode(stepped(z, direction, chosen, how.epsilon))
    ends = ends + jnp.where(jnp.asarray(how.coded) == CODED.index("residual"), part - decode(z), 0.0)
    return jnp.concatenate([jnp.where(per_example(chosen, part) > 0, ends, part), h[len(part) :]])


def mixing(key: jax.Array, num: int, alpha: ArrayLike) -> tuple[Int[Array, " N"], Float[Array, ""]]:
    """How every example is mixed with another one of its batch: lam h + (1 - lam) h[partner], lam ~ Beta(alpha, alpha).

    Returns:
      Partners, a permutation, and lam, one for the batch. The loss is lam times that of the own labels plus 1 - lam
      times that of the partners'.

    Source: Zhang et al. 2018, arXiv:1710.09412, of images; Verma et al. 2019, arXiv:1806.05236, of a layer.
    """
    key_share, key_partner = jax.random.split(key)
    return jax.random.permutation(key_partner, num), jax.random.beta(key_share, alpha, alpha).astype(jnp.float32)
