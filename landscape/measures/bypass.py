"""Bypass: a way around the highest point of a straight line between two inputs.

The highest point B of the line from a to b is moved to B', which lowers

    f(x) + 0.1 mean((x - B)^2) + 1e-8 TV(x - B)

by Adam, every iterate kept in [0, 1] and in the hyperplane through B orthogonal to b - a, which the path a, B', b still
has to cross. Done again on each half while a barrier is left, the path is a polygon. What is found is an upper bound of
the height that has to be climbed.

Source: Vrabel et al. 2024, arXiv:2409.05800.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import ArrayLike

from landscape import objectives, spaces
from landscape.samplers import fixed
from landscape.search import search
from landscape.spaces import per_example
from landscape.types import Images, Labels, Values

NEAR, SMOOTH = 0.1, 1e-8  # weights of the mean square and of the total variation of what is added

Height = Callable[[Any, Images, Labels], Values]


def around(
    variables: Any,
    a: Images,
    b: Images,
    label: Labels,
    peak: Values,
    *,
    height: Height,
    num_steps: int = 1024,
    learning_rate: ArrayLike = 0.005,
) -> Images:
    """B' of every pair, the last iterate, pixels. Where a and b are one point there is no plane to keep.

    Args:
      variables: whatever `height` takes: one classifier, or many.
      a, b: ends, pixels in [0, 1].
      label: class tracked on the way.
      peak: share of the way from a to b at which B lies, [N] in [0, 1].
      height: (variables, x, label) -> f [N], what is to be lowered, such as the loss, or the largest loss of members.
      num_steps, learning_rate: of Adam.
    """
    through = a + per_example(peak, a) * (b - a)

    def objective(variables, x, target):
        label, through = target
        added = x - through
        near = jnp.mean(jnp.square(added), axis=(1, 2, 3))
        return -(height(variables, x, label) + NEAR * near + SMOOTH * objectives.total_variation(added))

    return search(
        jax.random.key(0),  # nothing is drawn
        through,
        (label, through),
        objective=objective,
        space=spaces.section(b - a),
        sampler=fixed(variables),
        optimizer=optax.adam(learning_rate),
        epsilon=jnp.inf,
        num_steps=num_steps,
    ).z
