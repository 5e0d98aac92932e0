"""Whether step sizes that a search took lie inside the grid they were chosen from. NumPy."""

import numpy as np
from jaxtyping import Float, Int

RISE = 0.1  # logits gained at an end of the grid that say the best step size lies beyond it


def outside(goal: Float[np.ndarray, "E A"]) -> Int[np.ndarray, " B"]:
    """Searches whose best step size may lie outside the grid.

    Args:
      goal: what each search reached with each step size, [step size, search], logits; higher is better.

    Returns:
      The numbers of searches that are best at an end of the grid and more than RISE better than beside it; all of them
      where the grid has one step size alone.
    """
    if len(goal) < 2:
        return np.arange(goal.shape[1])
    best = goal.argmax(axis=0)
    rises = np.where(best == 0, goal[0] - goal[1], np.where(best == len(goal) - 1, goal[-1] - goal[-2], 0.0))
    return np.flatnonzero(rises > RISE)
