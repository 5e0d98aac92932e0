"""Attacks on a classifier that is drawn anew each time it is used: ascent of the mean over draws."""

from collections.abc import Callable
from functools import partial

import jax

from landscape import objectives
from landscape.attacks import projected
from landscape.samplers import Sampler, several
from landscape.types import Apply, Images, Labels, Variables

DRAWS = 8  # in each step

Drawn = Callable[[Variables], Sampler]


def on_the_mean(
    keys: jax.Array,
    variables: Variables,
    x: Images,
    label: Labels,
    *,
    apply: Apply,
    sampler: Drawn,
    **budget,
) -> Images:
    """PGD on the mean log-odds of DRAWS fresh classifiers a step: expectation over transformations (EOT).

    Args:
      sampler: variables -> the random classifier, as `landscape.samplers` makes them.
      budget: as `projected.attack` takes it, with a `key` of the draws, the same for all examples.

    Source: Athalye et al. 2018, arXiv:1802.00420.
    """
    lower = objectives.averaged(apply, partial(objectives.descend, value_fn=objectives.gap), "loss")
    drawn = lambda variables: several(sampler(variables), DRAWS)  # noqa: E731
    return projected.attack(keys, variables, x, label, objective=lower, sampler=drawn, **budget)
