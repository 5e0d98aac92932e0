"""An attack that knows a detector: it has a class to reach and a score to keep low, in one ball."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import ArrayLike

from landscape import objectives
from landscape.attacks.projected import attack
from landscape.objectives import Objective
from landscape.types import Apply, Images, Labels, Values, Variables

Score = Callable[[Variables, Images, Any], Values]


def evading(apply: Apply, score: Score, *, enough: float) -> Objective:
    """min(margin_c(x), enough) - weight * score(x). Target: (labels c [N], weight, what else the score takes [N]).

    Beyond `enough` logits of margin nothing counts but the score (the objective of Carlini & Wagner 2017,
    arXiv:1608.04644, with the score instead of the norm).
    """

    def objective(variables: Variables, x: Images, target: tuple[Labels, ArrayLike, Any]) -> Values:
        label, weight, others = target
        reached = jnp.minimum(objectives.margin(apply(variables, x), label), enough)
        return reached - weight * score(variables, x, (label, others))

    return objective


def evade(
    keys,
    variables,
    x,
    label,
    others: Any,
    *,
    apply: Apply,
    score: Score,
    weight: ArrayLike,
    enough: float = 1.0,
    **budget,
) -> Images:
    """Toward the class `label` within the ball, with a low score.

    A detector is only as good as what it is worth against this (Carlini & Wagner 2017, arXiv:1705.07263; Tramer et al.
    2020, arXiv:2002.08347).

    Args:
      others: what a detector sees an input beside, a pytree with leading axis N.
      score: (variables, x, (label, others)) -> [N], high where the detector says "adversarial"; differentiable.
      weight: of the score, in logits for each of its units; may be traced.
      enough: margin of the class, logits, beyond which more is no gain.
      budget: as `projected.attack` takes it.
    """
    weights = jnp.broadcast_to(jnp.asarray(weight, x.dtype), label.shape)
    objective = evading(apply, score, enough=enough)
    return attack(keys, variables, x, (label, weights, others), objective=objective, **budget)
