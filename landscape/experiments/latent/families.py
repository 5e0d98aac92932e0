"""Who takes part in a latent run: classifiers that guide and evaluate, each family's autoencoders with their white
coordinates and codes.

Member s is a classifier with the autoencoder of its seed. Swept classifiers of one seed have one autoencoder.
"""

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
from landscape.latent.coordinates import Whitening, fit_scaling, fit_whitening, from_white, to_white
from landscape.models import bottlenecks
from landscape.presets.names import CODED, OWN_PRIOR
from landscape.runs import Run
from landscape.types import Apply, Ensemble


class Members(NamedTuple):
    """The trained classifiers of a run.

    Attributes:
      apply: (variables, x) -> logits. num_classes: of these.
      own, held_out: the members' own classifiers, and those of the next seed of the same training, [S, ...]. A ring:
        each classifier guides in one row and is held out in another, so rows are not quite as independent as intervals
        over members take them.
      guides: of chains: the own one, or of a vote all of the same training but the held-out one, [S, n - 1, ...].
      seeds: [S], which of a family's autoencoders a member has.
      how: the mapping of members.
    """

    apply: Apply
    num_classes: int
    own: Ensemble
    held_out: Ensemble
    guides: Ensemble
    seeds: np.ndarray
    how: Mapping


def members_of(config, prepared: Setting) -> Members:
    """The trained classifiers, seeds fastest, and who guides and evaluates whom."""
    count, seeds = int(prepared.trained.sum()), np.arange(config.num_members)
    of_value = np.arange(count).reshape(-1, len(seeds))  # a row for each kind of training
    voters = [np.delete(row, (s + 1) % len(seeds)) for row in of_value for s in seeds]
    guides = of_value.ravel() if config.mcmc.guide == "member" else np.asarray(voters)
    chosen = (of_value.ravel(), np.roll(of_value, -1, axis=1).ravel(), guides)
    how = ensembles.parse(config.mapping, count)
    every = (ensembles.take(prepared.ensemble, index) for index in chosen)
    num_classes = len(prepared.dataset.class_names)
    return Members(prepared.classifier.apply, num_classes, *every, np.tile(seeds, len(of_value)), how)


class Family(NamedTuple):
    """A family's autoencoders of images, one a seed or (`of_members`) one a member, with fitted coordinates.

    Attributes:
      autoencoders: those of images.
      whitening: [S, ...]. For codes it only scales: white coordinates of a grid mean nothing. There 1 is the root mean
        square distance of a place's code from the mean, so that s counts in distances between codes.
      z_train, z_test: flattened latents [S, n, D], of a VAE the posterior means.
      drawn_train, drawn: of a VAE a draw of the posterior for each of these images, else z_train and z_test.
      train: the training images of z_train.
    """

    autoencoders: Description
    whitening: Whitening
    z_train: np.ndarray
    z_test: np.ndarray
    drawn_train: np.ndarray
    drawn: np.ndarray
    train: Examples

    @property
    def name(self) -> str:
        return self.autoencoders.family

    @property
    def directions(self) -> int:
        """Numbers that one white unit is shared by: those of a place's code, else 1."""
        return self.autoencoders.autoencoder.latent[-1] if self.coded else 1

    @property
    def coded(self) -> bool:
        return self.name in CODED


def prepare(config, run: Run, prepared: Setting, layer: Layer, name: str, test: Examples) -> Family:
    """Restores or trains a family's autoencoders, one a seed, and fits their coordinates."""
    size = descriptions.size_of(config, name, config.autoencoder.dim)
    own: Description = descriptions.train(config, run, prepared, layer, name, size)
    train = setting.examples(prepared.dataset, "train", config.num_fit, config.seed)
    z_train, z_test = (
        (lambda z: z.reshape(*z.shape[:2], -1))(encoded(config, layer, own, images)) for images in (train.x, test.x)
    )
    code = own.autoencoder.latent[-1]
    fits = [fit_scaling(z, code) if name in CODED else fit_whitening(z, ridge=1e-3) for z in z_train]
    whitening = ensembles.stack([jax.tree.map(jnp.asarray, fit) for fit in fits])
    drawn = (z_train, z_test)
    if name == "vae":
        drawn = tuple(_posterior_draws(config, own, split, x) for split, x in (("train", train.x), ("test", test.x)))
    return Family(own, whitening, z_train, z_test, *drawn, train)


def of_members(family: Family, seeds: np.ndarray) -> Family:
    """The family with the autoencoder of each member's seed, [S, ...]."""
    names = ("whitening", "z_train", "z_test", "drawn_train", "drawn")
    own = family.autoencoders._replace(ensemble=ensembles.take(family.autoencoders.ensemble, seeds))
    return family._replace(autoencoders=own, **{n: ensembles.take(getattr(family, n), seeds) for n in names})


def _posterior_draws(config, own: Description, split: str, x: np.ndarray) -> np.ndarray:
    """One draw of the posterior for each image, [S, n, D]: what a VAE's prior is the prior of."""
    how = ensembles.parse(config.mapping, config.num_members)

    def member(variables, key, x):
        return bottlenecks.draw(key, own.autoencoder.posterior(variables, x))

    keys = jax.random.split(stage_key(config.seed, f"posterior.{split}"), config.num_members)
    x = jnp.asarray(x)
    return np.asarray(jax.jit(lambda e, k: map_members(member, e, k, shared=(x,), how=how))(own.ensemble, keys))


def of_white(family: Family) -> Callable:
    """decode(whitening, variables, u [N, D]) -> images."""
    decode = descriptions.decoder(family.autoencoders.autoencoder)
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


def codes_of(config, family: Family) -> Any:
    """Log code prior [S, P, B], codes [S, B, E] in white coordinates; () if real.

    For codes these differ by one number from their own (`fit_scaling`).
    """
    if not family.coded:
        return ()
    levels, num_codes = tuple(config.autoencoder.levels), family.autoencoders.size
    trained = code_index(config, family.autoencoders, family.z_train)
    prior = np.stack([gibbs.fit_code_prior(own, num_codes) for own in trained])
    if family.name == "vq":
        codes = family.autoencoders.ensemble["codebook"].codes
    else:
        points = bottlenecks.fsq_point(jnp.arange(num_codes), levels)
        codes = jnp.broadcast_to(points[None], (len(trained), *points.shape))
    return jnp.asarray(prior), codes * family.whitening.inverse[:, :1, :1]
