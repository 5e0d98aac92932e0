"""Adversarial training: a step is taken at the images that the member as it is now finds hardest, near the given ones.

    min over w of E[ max over ||delta|| <= epsilon of loss(w, clip(x + delta), label) ]

Source: Madry et al. 2018, arXiv:1706.06083.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
from jax import lax
from jaxtyping import ArrayLike, Float

from landscape import objectives, samplers, spaces
from landscape.search import search, steepest
from landscape.types import Images, Labels, Variables


class Attack(NamedTuple):
    """The inner maximisation, the same for all members.

    norm: of the ball, one of `spaces.NORMS`. num_steps: of steepest ascent. step_size: of one, in units of epsilon.
    """

    norm: str
    num_steps: int
    step_size: float


def hardest(
    key: jax.Array,
    variables: Variables,
    x: Images,
    label: Labels,
    epsilon: Float[ArrayLike, ""],
    *,
    apply: Callable,
    attack: Attack,
) -> Images:
    """Images within epsilon of x, in [0, 1], whose loss is raised by projected ascent from a random point of the ball.

    No gradient flows through it. With epsilon 0 these are the images themselves.

    Args:
      epsilon: radius, pixels; a number, in which members may differ.
      apply: of inference mode: batch norm takes its running statistics here, so that what is found for an image depends
        on that image alone, and the batch's in the step itself. Pang et al. 2021, arXiv:2010.00467, compare both.
    """
    variables = lax.stop_gradient(variables)  # so that the step's gradient does not linearise the search
    key_start, key_search = jax.random.split(key)
    start = spaces.random_start(jax.random.split(key_start, x.shape[0]), x, epsilon, norm=attack.norm)
    found = search(
        key_search,
        start,
        label,
        objective=objectives.ascend(apply, objectives.loss),
        space=spaces.pixels(attack.norm),
        sampler=samplers.fixed(variables),
        optimizer=steepest(attack.norm, attack.step_size * epsilon),
        epsilon=epsilon,
        num_steps=attack.num_steps,
        origin=x,
    )
    return lax.stop_gradient(found.z)
