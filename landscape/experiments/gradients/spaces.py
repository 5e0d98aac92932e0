"""Spaces in which `gradients` moves: pixels, the manifolds of autoencoders, hidden layers of classifiers.

The first classifiers guide; those beyond the largest number of guides guide nothing and are held out. One autoencoder
of each family, that of the first seed, serves all classifiers, so that their gradients can be compared.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from landscape import ensembles, spaces
from landscape.experiments import descriptions, setting
from landscape.experiments.descriptions import Layer, encoded
from landscape.experiments.setting import Setting, example_keys
from landscape.latent.coordinates import Whitening, fit_scaling, fit_whitening, from_white, to_white
from landscape.models.bottlenecks import log_standard
from landscape.presets.names import CODED, OWN_PRIOR
from landscape.runs import Run
from landscape.spaces import Space
from landscape.types import Apply, Ensemble

PIXELS = "pixels"
STARTS = ("image", "noise", "zeros")  # what ascents start from
RIDGE = 1e-3  # of the whitening of latents


class AscentSpace(NamedTuple):
    """A space of searches with all that goes with it.

    Attributes:
      name: "pixels", a family of autoencoders, or a hidden layer. kind: "pixels", "manifold" or "layer".
      space: space(own, guide) -> Space. apply: what the objective asks, (guide, decoded) -> logits.
      noise: noise(own, guide, eps) -> points, of standard normal numbers [N, D]: Gaussian noise with the moments of
        training points (pixels: clipped to [0, 1]).
      log_prior: log_prior(own, z) -> nats [N], up to a constant; None in pixels and hidden layers.
      guides: the classifiers that may guide, stacked: their variables, in a hidden layer with the layer's moments.
      own: variables of the space, the same for all classifiers.
      shape: of one point. size: typical distance of a training point from their mean, the unit of steps and radii.
    """

    name: str
    kind: str
    space: Callable[[Any, Any], Space]
    apply: Apply
    noise: Callable
    log_prior: Callable | None
    guides: Ensemble
    own: Any
    shape: tuple[int, ...]
    size: float


def guides_of(config, prepared: Setting) -> Ensemble:
    """The classifiers that may guide, [S, ...]: as many as the largest number of them together."""
    return ensembles.take(prepared.ensemble, slice(max(config.guided.sizes)))


def held_out_of(config, prepared: Setting) -> Ensemble:
    """The classifiers that guide nothing, [J, ...]."""
    return ensembles.take(prepared.ensemble, slice(max(config.guided.sizes), config.num_members))


def alone(config, guides: Ensemble) -> tuple[Ensemble, ensembles.Mapping]:
    """The classifiers that are measured one by one, and how they are mapped."""
    return ensembles.take(guides, slice(config.num_alone)), ensembles.parse(config.mapping, config.num_alone)


def images(config, prepared: Setting) -> Layer:
    """The layer of images, with all training images."""
    return descriptions.image_layer(setting.with_members(config, 1), prepared)


def pixels(config, prepared: Setting, layer: Layer) -> AscentSpace:
    """The image itself, in [0, 1], within an L2 ball where one is asked for."""
    points = layer.training.x
    mean, std, shape = points.mean(), points.std(), points.shape[1:]
    return AscentSpace(
        name=PIXELS,
        kind=PIXELS,
        space=lambda own, guide: spaces.pixels("l2"),
        apply=prepared.classifier.apply,
        noise=lambda own, guide, eps: jnp.clip(mean + std * eps.reshape(-1, *shape), 0.0, 1.0),
        log_prior=None,
        guides=guides_of(config, prepared),
        own=(),
        shape=shape,
        size=_typical(points),
    )


def manifold(config, run: Run, prepared: Setting, layer: Layer, family: str) -> AscentSpace:
    """The latent of a family's autoencoder, flat; `config.num_fit` training images fit its coordinates."""
    few = setting.with_members(config, 1)
    size = descriptions.size_of(few, family, few.autoencoder.dim)
    description = descriptions.train(few, run, prepared, layer, family, size)
    autoencoder, variables = description.autoencoder, ensembles.take(description.ensemble, 0)
    train = setting.examples(prepared.dataset, "train", config.num_fit, config.seed)
    z = encoded(few, layer, description, train.x)[0].reshape(len(train.x), -1)
    fit = fit_scaling(z, autoencoder.latent[-1]) if family in CODED else fit_whitening(z, ridge=RIDGE)
    decode = descriptions.decoder(autoencoder)

    def space(own, guide):
        variables, _ = own
        encode = lambda x: autoencoder.encode(variables, x).reshape(x.shape[0], -1)  # noqa: E731
        return spaces.latent(encode, partial(decode, variables))

    def log_prior(own: tuple[Any, Whitening], z):
        if family in OWN_PRIOR:
            return autoencoder.log_prior(z.reshape(z.shape[0], *autoencoder.latent))
        return log_standard(to_white(own[1], z))

    return AscentSpace(
        name=family,
        kind="manifold",
        space=space,
        apply=prepared.classifier.apply,
        noise=lambda own, guide, eps: from_white(own[1], eps),
        log_prior=log_prior,
        guides=guides_of(config, prepared),
        own=(variables, jax.tree.map(jnp.asarray, fit)),
        shape=(z.shape[-1],),
        size=_typical(z),
    )


def hidden(config, prepared: Setting, name: str) -> tuple[AscentSpace, Layer]:
    """A hidden layer of every classifier that guides alone, and what training images are there."""
    count = config.num_alone
    few = prepared._replace(
        ensemble=ensembles.take(prepared.ensemble, slice(count)),
        members=prepared.members[:count],
        how=ensembles.parse(config.mapping, count),
    )
    layer = descriptions.hidden_layer(setting.with_members(config, count), few, name)
    classifier = prepared.classifier
    found = AscentSpace(
        name=layer.name,
        kind="layer",
        space=lambda own, guide: spaces.hidden(lambda x: classifier.features(guide["classifier"], x, layer.name)),
        apply=lambda guide, h: classifier.head(guide["classifier"], h, layer.name),
        noise=lambda own, guide, eps: guide["mean"][None] + guide["scale"] * eps.reshape(-1, *layer.shape),
        log_prior=None,
        guides=layer.context,
        own=(),
        shape=layer.shape,
        size=float(np.mean(np.asarray(layer.context["scale"])) * np.prod(layer.shape) ** 0.5),
    )
    return found, layer


def starts(space: AscentSpace, own, guide, x, eps):
    """Points to start from, one after the other of each kind: encoded images, Gaussian noise, zeros. [3 n, ...].

    eps: standard normal numbers [n, D], see `normal`.
    """
    encoded = space.space(own, guide).encode(x)
    return jnp.concatenate([encoded, space.noise(own, guide, eps), jnp.zeros_like(encoded)])


def normal(config, space: AscentSpace, stage: str, ids: np.ndarray) -> jax.Array:
    """Standard normal numbers of a stage, one row a start whose image's id is given: [n, D]."""
    keys = example_keys(config.seed, f"{stage}.{space.name}", ids)
    return jax.vmap(lambda key: jax.random.normal(key, (int(np.prod(space.shape)),)))(keys)


def _typical(points: np.ndarray) -> float:
    """Root mean square distance of points [n, ...] from their mean."""
    flat = points.reshape(len(points), -1).astype(np.float64)
    return float(np.sqrt(np.square(flat - flat.mean(axis=0)).sum(axis=1).mean()))
