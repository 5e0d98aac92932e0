"""What configs share: words, values that go with a data set, and the check of a finished config. Imports no JAX.

A config file shows only what it changes:

    dataset, smoke, full = presets.parse(arg)
    config = presets.base(dataset, smoke)
    config.experiment = "flatness"
"""

from landscape.presets.check import OPPOSITE_PAIRS, POPULATIONS, Field, leaves, validate
from landscape.presets.measuring import measures
from landscape.presets.names import (
    ALL,
    FAMILIES,
    INPUT_NOISES,
    LAST,
    LAYERS,
    WEIGHT_NOISES,
)
from landscape.presets.resolve import is_own, resolve
from landscape.presets.values import AUGMENTED, DATASETS, NOISE, autoencoder, base, parse, search

__all__ = [
    "ALL",
    "AUGMENTED",
    "DATASETS",
    "Field",
    "FAMILIES",
    "INPUT_NOISES",
    "LAST",
    "LAYERS",
    "NOISE",
    "OPPOSITE_PAIRS",
    "POPULATIONS",
    "WEIGHT_NOISES",
    "autoencoder",
    "base",
    "is_own",
    "leaves",
    "measures",
    "parse",
    "resolve",
    "search",
    "validate",
]
