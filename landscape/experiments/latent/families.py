"""One family's latent as `latent` and `gradients` see it: encoders, white coordinates, codes."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from landscape import ensembles
from landscape.ensembles import Mapping, map_members
from landscape.experiments import descriptions, setting
from landscape.experiments.descriptions import Description, Layer, code_index, encoded
from landscape.experiments.setting import Examples, Setting, stage_key
from landscape.latent import gibbs
from landscape.latent.coordinates import Whitening, fit_whitening, from_white, to_white
from landscape.models import bottlenecks
from landscape.presets.names import CODED, OWN_PRIOR
from landscape.runs import Run


class Family(NamedTuple):
    """A family's autoencoders of images, one a member, with coordinates fitted to their training latents.

    Attributes:
      cell: the autoencoders.
      whitening: [S, ...]. For codes it only scales: white coordinates of a grid mean nothing. There 1 is the root mean
        square distance of a place's code from the mean, so that s counts in distances between codes.
      z_train, z_test: flattened latents [S, n, D], of a VAE the posterior means.
      drawn_train, drawn: of a VAE a draw of the posterior for each of these images, else z_train and z_test.
      train: the training images of z_train.
    """

    cell: Description
    whitening: Whitening
    z_train: np.ndarray
    z_test: np.ndarray
    drawn_train: np.ndarray
    drawn: np.ndarray
    train: Examples

    @property
    def name(self) -> str:
        return self.cell.family

    @property
    def directions(self) -> int:
        """Numbers that one white unit is shared by: those of a place's code, else 1."""
        return self.cell.autoencoder.latent[-1] if self.coded else 1

    @property
    def coded(self) -> bool:
        return self.name in CODED


def prepare(config, run: Run, prepared: Setting, layer: Layer, name: str, test: Examples) -> Family:
    """Restores or trains a family's members and fits their coordinates."""
    size = descriptions.size_of(config, name, config.autoencoder.dim)
    cell: Description = descriptions.train(config, run, prepared, layer, name, size)
    train = setting.examples(prepared.dataset, "train", config.num_fit, config.seed)
    z_train, z_test = (
        (lambda z: z.reshape(*z.shape[:2], -1))(encoded(config, layer, cell, images)) for images in (train.x, test.x)
    )
    places = z_train.shape[-1] // cell.autoencoder.latent[-1]
    fits = [_scaling(z, places) if name in CODED else fit_whitening(z, ridge=1e-3) for z in z_train]
    whitening = ensembles.stack([jax.tree.map(jnp.asarray, fit) for fit in fits])
    drawn = (z_train, z_test)
    if name == "vae":
        drawn = tuple(_posterior_draws(config, cell, split, x) for split, x in (("train", train.x), ("test", test.x)))
    return Family(cell, whitening, z_train, z_test, *drawn, train)


def _posterior_draws(config, cell: Description, split: str, x: np.ndarray) -> np.ndarray:
    """One draw of the posterior for each image, [S, n, D]: what a VAE's prior is the prior of."""
    how = ensembles.parse(config.mapping, config.num_members)

    def member(variables, key, x):
        return bottlenecks.draw(key, cell.autoencoder.posterior(variables, x))

    keys = jax.random.split(stage_key(config.seed, f"posterior.{split}"), config.num_members)
    x = jnp.asarray(x)
    return np.asarray(jax.jit(lambda e, k: map_members(member, e, k, shared=(x,), how=how))(cell.ensemble, keys))


def _scaling(z: np.ndarray, places: int) -> Whitening:
    """Coordinates that differ from z by one number: the sum of squares about the mean is 1 a place."""
    spread = np.sqrt(np.square(z - z.mean(axis=0)).sum(axis=1).mean() / places)
    scale, one = np.float32(spread), np.eye(z.shape[1], dtype=np.float32)
    return Whitening(np.zeros(z.shape[1], np.float32), scale * one, one / scale)


def decoder(family: Family) -> Callable:
    """decode(variables, z [N, D] flat) -> images, by way of the nearest point that the encoder could have given."""
    autoencoder = family.cell.autoencoder

    def decode(variables: Any, z):
        z = z.reshape(z.shape[0], *autoencoder.latent)
        return autoencoder.decode(variables, autoencoder.project(variables, z))

    return decode


def of_white(family: Family) -> Callable:
    """decode(whitening, variables, u [N, D]) -> images."""
    decode = decoder(family)
    return lambda whitening, variables, u: decode(variables, from_white(whitening, u))


def with_standard_prior(family: Family) -> Family:
    """The family in coordinates where its prior is N(0, I): its latent's own where it has a prior (vae; sphere, whose
    projection makes a Gaussian uniform), else the white ones, in which that is the Gaussian fitted to its latents."""
    if family.name not in OWN_PRIOR:
        return family
    mean, one = jnp.zeros_like(family.whitening.mean), jnp.eye(family.whitening.mean.shape[1])
    one = jnp.broadcast_to(one[None], family.whitening.root.shape)
    return family._replace(whitening=Whitening(mean, one, one))


def white(family: Family, z: np.ndarray, how: Mapping) -> np.ndarray:
    """White coordinates [S, n, D] of latents."""
    return np.asarray(jax.jit(lambda w, z: map_members(to_white, w, z, how=how))(family.whitening, z))


def codes_of(config, family: Family, rows: np.ndarray) -> Any:
    """First indices [S, C, P] of the test latents `rows`, log code prior [S, P, B], codes [S, B, E]; () if real.

    Codes are in white coordinates, which for them differ by one number from their own (`_scaling`).
    """
    if not family.coded:
        return ()
    levels = tuple(config.autoencoder.levels)
    index, trained = (code_index(config, family.cell, z) for z in (family.z_test[:, rows], family.z_train))
    count, num_codes = len(index), family.cell.size
    prior = np.stack([gibbs.fit_code_prior(own, num_codes) for own in trained])
    if family.name == "vq":
        codes = family.cell.ensemble["codebook"].codes
    else:
        points = bottlenecks.fsq_point(jnp.arange(num_codes), levels)
        codes = jnp.broadcast_to(points[None], (count, *points.shape))
    return jnp.asarray(index), jnp.asarray(prior), codes * family.whitening.inverse[:, :1, :1]
