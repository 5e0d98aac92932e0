"""Attacks that must fool many classifiers at one image.

Ensembles [S, ...] go in whole: an objective over members needs them together. `landscape.objectives.JOINT` names what
is raised; what counts is always that the label has lost with every member.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Bool, Float

from landscape import objectives
from landscape.attacks.projected import adaptive, attack
from landscape.objectives import JOINT, Objective
from landscape.spaces import LENGTH, per_example
from landscape.types import Apply, Ensemble, Images, Labels


def all_lost(apply: Apply) -> Objective:
    """By how much every member has lost the label, -max_s m_s, logits: above 0 where all are fooled. Target: labels.

    Its classifiers are (ensemble, anything), as those of `objectives.jointly`.
    """
    hardest = objectives.jointly(apply)

    def rank(chosen: tuple[Ensemble, Any], x: Images, label: Labels):
        return hardest((chosen[0], JOINT.index("hardmin")), x, label)

    return rank


def fool_all(
    keys, ensemble: Ensemble, x, label, *, apply: Apply, kind: ArrayLike, keep_best: bool = True, **budget
) -> Float[Array, "N H W C"]:
    """Away from the label for all members at once within a ball.

    Args:
      kind: number of one of `objectives.JOINT`; another one compiles nothing.
      keep_best: the step that is nearest to fooling all, not the last one; restarts are compared by the same.
      budget: as `projected.attack` takes it.

    Source: Tramer et al. 2018, arXiv:1705.07204, and Liu et al. 2017, arXiv:1611.02770, for mean objectives.
    """
    objective, rank = objectives.jointly(apply), all_lost(apply)
    return attack(keys, (ensemble, kind), x, label, objective=objective, rank=rank, keep_best=keep_best, **budget)


def smallest_radius(
    keys: jax.Array,
    ensemble: Ensemble,
    x: Images,
    label: Labels,
    *,
    apply: Apply,
    kind: ArrayLike,
    norm: str,
    largest: ArrayLike,
    num_steps: int = 40,
    num_halvings: int = 8,
) -> tuple[Float[Array, " N"], Float[Array, "N H W C"]]:
    """The smallest ball in which `fool_all` finds a point that fools every member, by bisection for each image.

    Every search is auto-PGD from the image, whose steps shrink where progress stalls: with steps of one size the margin
    of the hardest member, a minimum, keeps being thrown from one member's side to the other's. A ball that the search
    fails in is taken to hold nothing, so that the radius is an upper bound of the true one. What is found is often
    nearer than the radius it was looked for in: the next interval ends there. Beside the convex programme of 3 and 8
    linear members the radius comes out up to 1.1 % too large in L2, and up to 13 % in L-inf, where sign steps cannot
    follow the edge on which two members are equally hard.

    Args:
      largest: the radius that is tried first, pixels.
      num_halvings: N more searches leave an interval of at most `largest` / 2^N.

    Returns:
      (radius [N], pixels, which the image beside it keeps exactly; 0 where all members are wrong on the image itself,
      inf where the largest ball does not do; images [N, H, W, C], where none was found the image itself.)
    """
    objective, lost = objectives.jointly(apply), all_lost(apply)
    search = {"objective": objective, "rank": lost, "norm": norm, "num_steps": num_steps, "start": "image"}

    def fooled(z) -> Bool[Array, " N"]:
        return lost((ensemble, 0), z, label) > 0

    def narrow(state, number):
        low, high, best = state
        # First the largest ball. Nothing more is looked for where that failed, or where the image does it alone.
        radius = jnp.where(number == 0, largest, jnp.where(jnp.isinf(high), low, 0.5 * (low + high)))
        z = adaptive(keys, (ensemble, kind), x, label, epsilon=radius, **search)
        there = fooled(z) & (radius < high)
        near = per_example(there, z) > 0
        high = jnp.where(there, jnp.minimum(radius, LENGTH[norm](z - x)), high)
        return (jnp.where(there, low, jnp.maximum(low, radius)), high, jnp.where(near, z, best)), None

    none = jnp.zeros(x.shape[:1], x.dtype)
    start = (none, jnp.where(fooled(x), 0.0, jnp.inf), x)
    # One loop for all, so that the search is compiled once.
    (_, radius, images), _ = lax.scan(narrow, start, jnp.arange(num_halvings + 1))
    return radius, images
