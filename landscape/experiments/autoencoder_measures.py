"""Latents of images and codes of latents, that several experiments measure."""

import jax
import jax.numpy as jnp
import numpy as np

from landscape import ensembles
from landscape.ensembles import map_members
from landscape.experiments.autoencoder_cells import Cell, Layer, sources
from landscape.models import bottlenecks, yardsticks

UNITS = ("vae", "sparse")  # families whose loss tells one latent dimension from a rotation of all


def encoded(config, layer: Layer, cell: Cell, x: np.ndarray, *, block: int = 1000) -> np.ndarray:
    """Latents of images, [member, n, ...]."""
    how = ensembles.parse(config.mapping, len(sources(config)))
    context = ensembles.take(layer.context, sources(config))
    program = _encoder(layer, cell, how)
    parts = [np.asarray(program(cell.ensemble, context, x[i : i + block])) for i in range(0, len(x), block)]
    return np.concatenate(parts, axis=1)


def _encoder(layer: Layer, cell: Cell, how):
    def member(variables, context, x):
        points = layer.observe(context, x)
        if cell.autoencoder is None:
            return yardsticks.pca_encode(variables, points)
        return cell.autoencoder.encode(variables, points)

    return jax.jit(lambda e, c, x: map_members(member, e, c, shared=(x,), how=how))


def code_index(config, cell: Cell, z: np.ndarray) -> np.ndarray:
    """Codes of latents [member, n, ...] of vq and fsq, [member, n, place]."""

    def one(member: int) -> np.ndarray:
        if cell.family == "fsq":
            points = jnp.asarray(z[member].reshape(len(z[member]), -1, len(config.autoencoder.levels)))
            return np.asarray(bottlenecks.fsq_index(points, tuple(config.autoencoder.levels)))
        codes = cell.ensemble["codebook"].codes[member]
        entries = jnp.asarray(z[member].reshape(-1, codes.shape[-1]))
        return np.asarray(bottlenecks.nearest(codes, entries)).reshape(len(z[member]), -1)

    return np.stack([one(member) for member in range(len(z))])
