"""What a config of `autoencoders` may say. Imports no JAX."""

from landscape.presets import FAMILIES, Field

IMAGE, PIXELS = "image", "pixels"  # the layer that is no hidden one; the manifold that is none
# Hyperparameters of an autoencoder's training, the sweepable ones.
HYPER = ("learning_rate", "weight_decay", "noise", "contraction", "beta", "free_bits", "commitment", "restart")
HYPER += ("perceptual",)
FIELDS = {"hidden.families": Field(FAMILIES)}
