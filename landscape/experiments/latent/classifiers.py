"""Which classifiers guide the chains of a latent run, and which evaluate what is found."""

import numpy as np

from landscape import ensembles
from landscape.experiments.setting import Setting
from landscape.types import Ensemble


def classifiers_of(prepared: Setting, count: int) -> tuple[Ensemble, Ensemble]:
    """(own, held-out classifiers), both [S, ...]: the members' own classifiers, and those of the next seed.

    A ring: each classifier guides in one row and is held out in another, so rows are not quite as independent as
    intervals over members take them.
    """
    order = np.arange(count)
    return ensembles.take(prepared.ensemble, order), ensembles.take(prepared.ensemble, np.roll(order, -1))


def guides_of(config, prepared: Setting) -> Ensemble:
    """Guides of each member's chains: its own classifier [S, ...]; of a vote all but the held-out one [S, S-1, ...]."""
    if config.mcmc.guide == "member":
        return classifiers_of(prepared, config.num_members)[0]
    order = np.arange(config.num_members)
    voters = [np.delete(order, (s + 1) % config.num_members) for s in order]
    return ensembles.take(prepared.ensemble, np.asarray(voters))
