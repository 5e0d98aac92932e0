"""The experiments by name. A module is imported when its name is asked for, and JAX with the stages of it."""

import importlib
from typing import Any

from landscape import presets
from landscape.experiments.base import Experiment
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
    "weight_connectivity": "landscape.experiments.weight_connectivity",
    "benchmark": "landscape.experiments.benchmark",
}
# Of the shape of `base`; the others have `run` alone, and import JAX.
PACKAGES = ("train", "flatness", "connectivity", "weight_connectivity")


def load(name: str) -> Any:
    """An experiment: what `run(config, run)` is called on."""
    if name not in EXPERIMENTS:
        raise UserError(f"experiment={name!r}: expected one of {', '.join(EXPERIMENTS)}; see configs/")
    module = importlib.import_module(EXPERIMENTS[name])
    return module.EXPERIMENT if name in PACKAGES else module


def package(name: str) -> Experiment | None:
    """The experiment of that name where it has the shape of `base`. Imports no JAX."""
    return load(name) if name in PACKAGES else None


def validate(config) -> None:
    """Refuses a config that would run but mean something else, in one line; UserError."""
    presets.validate(config)
    if found := package(config.experiment):
        found.check(config, dict(presets.leaves(config)))
