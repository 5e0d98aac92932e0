"""What classifiers between trained ones say: loss and errors along lines and curves in weight space.

Barriers of the profiles are those of `measures.barrier`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from landscape import objectives, tree
from landscape.types import Apply, Labels, Variables

Restore = Callable[[Variables, Float[Array, " P"]], Variables]


def profile(
    points: Variables,
    weights: Float[Array, "T P"],
    x: Float[Array, "E N H W C"],
    label: Labels,
    *,
    apply: Apply,
    restore: Restore | None = None,
) -> tuple[Float[Array, "T E N"], Bool[Array, "T E N"]]:
    """(loss of the label, nats; whether another class is predicted) of the classifiers sum_i weights[t, i] points_i.

    Args:
      points: leaves [P, ...], the ends first and last. weights: of `tree.CURVES`, one row a point.
      x: E sets of images that have their labels in common, such as images and what attacks make of them.
      restore: restore(variables, weights [P]) -> the classifier with its units' statistics as they should be there.
    """

    def at(own):
        variables = tree.blend(own, points)
        variables = variables if restore is None else restore(variables, own)

        def seen(images):
            logits = apply(variables, images)
            return objectives.loss(logits, label), jnp.argmax(logits, axis=-1) != label

        return jax.lax.map(seen, x)

    return jax.lax.map(at, weights)
