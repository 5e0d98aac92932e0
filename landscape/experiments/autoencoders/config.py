"""What a config of `autoencoders` may say. Imports no JAX."""

from typing import Any

from ml_collections import ConfigDict

from landscape.presets import FAMILIES, Field, autoencoder_check

IMAGE, PIXELS = "image", "pixels"  # the layer that is no hidden one; the manifold that is none
# Hyperparameters of an autoencoder's training, the sweepable ones.
HYPER = ("learning_rate", "weight_decay", "noise", "contraction", "beta", "free_bits", "commitment", "restart")
HYPER += ("perceptual",)
FIELDS = {"hidden.families": Field(FAMILIES)}


def check(config: ConfigDict, fields: dict[str, Any]) -> None:
    """UserError for sizes, layers and numbers of members that do not fit each other."""
    autoencoder_check.check(config, fields)
