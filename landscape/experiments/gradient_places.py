"""Where the experiment `gradients` moves: pixels, the manifolds of autoencoders, hidden layers of classifiers.

Guides are the first classifiers, judges the rest, which guide nothing. One autoencoder of each family, that of the
first seed, serves all classifiers, so that their gradients can be compared; that of the second seed judges.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from landscape import ensembles, spaces
from landscape.experiments import autoencoder_cells as cells
from landscape.experiments import latent_families as families
from landscape.experiments import setting
from landscape.experiments.autoencoder_cells import Layer
from landscape.experiments.latent_families import Family
from landscape.experiments.setting import Examples, Setting, example_keys
from landscape.latent.coordinates import Whitening, from_white, to_white
from landscape.models.bottlenecks import log_standard
from landscape.presets.names import OWN_PRIOR
from landscape.runs import Run
from landscape.spaces import Space
from landscape.types import Apply, Ensemble

PIXELS = "pixels"
KINDS = ("image", "noise", "zeros")  # what ascents start from


class Place(NamedTuple):
    """A space of searches with all that goes with it.

    Attributes:
      name: "pixels", a family of autoencoders, or a hidden layer.
      space: space(own, guide) -> Space. apply: what the objective asks, (guide, decoded) -> logits.
      noise: noise(own, guide, eps) -> points, of standard normal numbers [N, D]: Gaussian noise with the moments of
        training points (pixels: clipped to [0, 1]).
      log_prior: log_prior(own, z) -> nats [N], up to a constant; None in pixels and hidden layers.
      guides: one a classifier that may guide, stacked: its variables, in a hidden layer with the layer's moments.
      own: variables of the place, the same for all classifiers.
      shape: of one point. size: typical distance of a training point from their mean, the place's unit of length.
    """

    name: str
    space: Callable[[Any, Any], Space]
    apply: Apply
    noise: Callable
    log_prior: Callable | None
    guides: Ensemble
    own: Any
    shape: tuple[int, ...]
    size: float

    @property
    def hidden(self) -> bool:
        """Whether points are no images."""
        return self.log_prior is None and self.name != PIXELS


def guides_of(config, prepared: Setting) -> Ensemble:
    """The classifiers that may guide, [S, ...]: as many as the largest number of them together."""
    return ensembles.take(prepared.ensemble, slice(max(config.guided.sizes)))


def judges_of(config, prepared: Setting) -> Ensemble:
    """The classifiers that guide nothing, [J, ...]."""
    return ensembles.take(prepared.ensemble, slice(max(config.guided.sizes), config.num_members))


def manifolds(config, run: Run, prepared: Setting, test: Examples) -> tuple[Layer, list[Family]]:
    """The layer of images, and each family's autoencoders of two seeds: the first moves, the second judges."""
    few = setting.with_members(config, 2)
    layer = cells.image_layer(few, prepared)
    return layer, [families.prepare(few, run, prepared, layer, name, test) for name in config.families]


def pixels(config, prepared: Setting, layer: Layer) -> Place:
    """The image itself, in [0, 1], within an L2 ball where one is asked for."""
    bank = layer.bank.x
    mean, std = bank.mean(), bank.std()

    def noise(own, guide, eps):
        return jnp.clip(mean + std * eps.reshape(-1, *bank.shape[1:]), 0.0, 1.0)

    return Place(
        PIXELS,
        lambda own, guide: spaces.pixels("l2"),
        prepared.classifier.apply,
        noise,
        None,
        guides_of(config, prepared),
        (),
        bank.shape[1:],
        _typical(bank),
    )


def manifold(config, prepared: Setting, family: Family) -> Place:
    """The latent of a family's first autoencoder, flat."""
    decode, autoencoder = families.decoder(family), family.cell.autoencoder
    variables, whitening = (ensembles.take(part, 0) for part in (family.cell.ensemble, family.whitening))

    def space(own, guide):
        variables, _ = own
        return spaces.latent(
            lambda x: autoencoder.encode(variables, x).reshape(x.shape[0], -1), partial(decode, variables)
        )

    def log_prior(own: tuple[Any, Whitening], z):
        if family.name in OWN_PRIOR:
            return autoencoder.log_prior(z.reshape(z.shape[0], *autoencoder.latent))
        return log_standard(to_white(own[1], z))

    return Place(
        family.name,
        space,
        prepared.classifier.apply,
        lambda own, guide, eps: from_white(own[1], eps),
        log_prior,
        guides_of(config, prepared),
        (variables, whitening),
        (family.z_train.shape[-1],),
        _typical(family.z_train[0]),
    )


def hidden(config, prepared: Setting, name: str) -> tuple[Place, Layer]:
    """A hidden layer of every classifier that guides ascents, and what training images are there."""
    count = config.num_alone
    few = prepared._replace(
        ensemble=ensembles.take(prepared.ensemble, slice(count)),
        members=prepared.members[:count],
        how=ensembles.parse(config.mapping, count),
    )
    layer = cells.hidden_layer(setting.with_members(config, count), few, name)
    classifier = prepared.classifier
    place = Place(
        layer.name,
        lambda own, guide: spaces.hidden(lambda x: classifier.features(guide["classifier"], x, layer.name)),
        lambda guide, h: classifier.head(guide["classifier"], h, layer.name),
        lambda own, guide, eps: guide["mean"][None] + guide["scale"] * eps.reshape(-1, *layer.shape),
        None,
        layer.context,
        (),
        layer.shape,
        float(np.mean(np.asarray(layer.context["scale"])) * np.prod(layer.shape) ** 0.5),
    )
    return place, layer


def starts(config, place: Place, own, guide, x, eps):
    """Points to start from, one after the other of each kind: encoded images, Gaussian noise, zeros. [3 n, ...].

    eps: standard normal numbers [n, D], see `normal`.
    """
    encoded = place.space(own, guide).encode(x)
    return jnp.concatenate([encoded, place.noise(own, guide, eps), jnp.zeros_like(encoded)])


def normal(config, place: Place, stage: str, ids: np.ndarray) -> jax.Array:
    """Standard normal numbers of a stage, one row a start whose image's id is given: [n, D]."""
    keys = example_keys(config.seed, f"{stage}.{place.name}", ids)
    return jax.vmap(lambda key: jax.random.normal(key, (int(np.prod(place.shape)),)))(keys)


def _typical(points: np.ndarray) -> float:
    """Root mean square distance of points [n, ...] from their mean."""
    flat = points.reshape(len(points), -1).astype(np.float64)
    return float(np.sqrt(np.square(flat - flat.mean(axis=0)).sum(axis=1).mean()))
