"""What guided samplers draw from: unnormalised log densities over white coordinates u, in nats.

    local:   log p(c | decode(u)) / T - ||u - u0||^2 / (2 s^2)      around an embedding u0, as far as s white units
    global:  log p(c | decode(u)) / T + log N(u; 0, I)              anywhere that the prior calls a latent

All are batch functions `log_density(u [C, D], data, *shared) -> [C]`, row by row: `data` is a pytree with leading axis
C, `shared` the variables of networks and the like, given whole. T -> infinity leaves the second term alone: the same
sampler, unguided.

In white coordinates N(0, I) is the Gaussian fitted to the training latents, which DEFINES the global target of families
without a prior: there is no other sense in which a latent of theirs is likely. In a vae's own coordinates it is its
prior; in a sphere's a Gaussian, whose direction is uniform as the family has it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from landscape import objectives
from landscape.ensembles import Mapping, map_members, size
from landscape.latent.coordinates import Whitening, from_white
from landscape.models.bottlenecks import log_standard
from landscape.types import Apply, Ensemble, Labels, Values, Variables

LogProb = Callable[..., Values]  # (u [C, D], label [C], *shared) -> log p(c | decode(u)) [C], nats
LogDensity = Callable[..., Values]  # (u [C, D], data, *shared) -> [C], nats up to a constant


class Prior(NamedTuple):
    """What a target is without its classifier: a density that can be drawn from.

    log_density: (u [C, D], data) -> [C], nats up to a constant. draw: (key, u, data) of one chain -> u' like u [D].
    """

    log_density: Callable[[Array, Any], Values]
    draw: Callable[[jax.Array, Array, Any], Array]


class Local(NamedTuple):
    """Data of a local target: the class c, the embedding u0, its reach s (white units) and T, one a chain."""

    label: Labels
    origin: Float[Array, "C D"]
    radius: Values
    temperature: Values


class Global(NamedTuple):
    """Data of a global target: the class c and T, one a chain."""

    label: Labels
    temperature: Values


def _near(u: Float[Array, "C D"], data: Local) -> Values:
    # Divided before it is squared: s^2 of a small s would lose digits or vanish in float32.
    return -0.5 * jnp.sum(jnp.square((u - data.origin) / data.radius[:, None]), axis=-1)


def _draw_near(key: jax.Array, u: Float[Array, " D"], data: Local) -> Float[Array, " D"]:
    return data.origin + data.radius * jax.random.normal(key, u.shape, u.dtype)


LOCAL = Prior(_near, _draw_near)  # -||u - u0||^2 / (2 s^2). Data: `Local`.
GLOBAL = Prior(lambda u, data: log_standard(u), lambda key, u, data: jax.random.normal(key, u.shape, u.dtype))


def local(log_prob: LogProb) -> LogDensity:
    """log p(c | u) / T - ||u - u0||^2 / (2 s^2). Data: `Local`."""
    return _guided(log_prob, LOCAL)


def global_(log_prob: LogProb) -> LogDensity:
    """log p(c | u) / T + log N(u; 0, I). Data: `Global`."""
    return _guided(log_prob, GLOBAL)


def _guided(log_prob: LogProb, prior: Prior) -> LogDensity:
    def log_density(u: Float[Array, "C D"], data: Any, *shared: Any) -> Values:
        return log_prob(u, data.label, *shared) / data.temperature + prior.log_density(u, data)

    return log_density


# ---- log p(c | decode(u)) ----


def class_log_prob(apply: Apply, variables: Variables, x: Float[Array, "N ..."], label: Labels) -> Values:
    """log p(c | x) of one classifier, -objectives.loss: exact, with its gradient, at any confidence. Nats, [N]."""
    return -objectives.loss(apply(variables, x), label)


def vote_log_prob(apply: Apply, ensemble: Ensemble, x: Float[Array, "N ..."], label: Labels) -> Values:
    """log of the members' mean probability, log (1/S) sum_s p_s(c | x). Nats, [N].

    Summed as exp of log p_s about the largest, so a member that is certain of another class costs no digits. Its
    gradient is the mean of the members' gradients of log p_s weighted with p_s: members that already agree lead. All on
    one device, since gradients are taken through this function.
    """
    how = Mapping(kind="map" if jax.default_backend() == "cpu" else "vmap")

    def one(variables: Variables, x: Array, label: Array) -> Array:
        return class_log_prob(apply, variables, x, label)

    log_probs = map_members(one, ensemble, shared=(x, label), how=how)
    return jax.nn.logsumexp(log_probs, axis=0) - np.float32(np.log(size(ensemble)))


def decoded(decode: Callable[..., Array], log_prob: LogProb) -> LogProb:
    """log_prob of the decoded point, as a function of white coordinates:

        (u [C, D], label [C], whitening, autoencoder, classifier) -> log_prob(classifier, decode(autoencoder, z), label)

    with z = from_white(whitening, u): `shared` is those three, arguments so that they are not compiled in.

    Args:
      decode: (autoencoder's variables, z [C, D]) -> x.
      log_prob: (variables or ensemble, x, label) -> [C], such as `class_log_prob` with its `apply`.
    """

    def through(
        u: Float[Array, "C D"], label: Labels, whitening: Whitening, autoencoder: Variables, classifier: Any
    ) -> Values:
        return log_prob(classifier, decode(autoencoder, from_white(whitening, u)), label)

    return through
