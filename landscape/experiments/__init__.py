"""The experiments by name: `run(config, run)` each, and `plan(config, run)` where one can be told beforehand.

A module is imported when its name is asked for: that is what starts JAX.
"""

import importlib
from types import ModuleType

from landscape.files import UserError

EXPERIMENTS = {
    "train": "landscape.experiments.train",
    "flatness": "landscape.experiments.flatness",
    "gradients": "landscape.experiments.gradients",
    "autoencoders": "landscape.experiments.autoencoders",
    "latent": "landscape.experiments.latent",
    "noise": "landscape.experiments.noise",
    "shared": "landscape.experiments.shared",
    "connectivity": "landscape.experiments.connectivity",
    "benchmark": "landscape.experiments.benchmark",
}


def load(name: str) -> ModuleType:
    """The module of an experiment."""
    if name not in EXPERIMENTS:
        raise UserError(f"experiment={name!r}: expected one of {', '.join(EXPERIMENTS)}; see configs/")
    return importlib.import_module(EXPERIMENTS[name])
