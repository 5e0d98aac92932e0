"""Attacks that make the far ends of pairs of `connectivity`, all with one ball and toward the pair's class."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from landscape import objectives, samplers, spaces
from landscape.attacks import evading, projected
from landscape.ensembles import Mapping, map_members
from landscape.experiments.connectivity_setting import Connected
from landscape.experiments.setting import stage_key
from landscape.measures.barrier import line_rise
from landscape.models.autoencoders import Autoencoder
from landscape.samplers import fixed
from landscape.search import normalized_steps, search
from landscape.spaces import draw_flat
from landscape.types import Apply, Images, Labels

DREAM_STEP = 0.02  # of a dream's steps, of the diagonal of the box


class Chunk(NamedTuple):
    """Images of some pairs, [n, ...], and what their ends are made with.

    margin: wanted of steered attacks, logits, [S, n]. rise: of the line, wanted of adaptive attacks, nats, [S, n].
    weight: of the distance from it, logits for a nat.
    """

    anchor: Images
    other: Images
    carrier: Images
    second: Images
    label: Labels
    keys: jax.Array
    margin: jax.Array
    rise: jax.Array
    weight: jax.Array


class Attacks(NamedTuple):
    """What the attacks of one run share. ball: norm, epsilon, step_size. full: the ball, num_steps, num_restarts."""

    config: object
    apply: Apply
    autoencoder: Autoencoder
    latent_norm: float
    ball: dict
    full: dict
    how: Mapping


def attacks(config, connected: Connected) -> Attacks:
    """Those that a config asks for."""
    section = config.search
    ball = {"norm": section.norm, "epsilon": section.epsilon, "step_size": section.step_size}
    full = ball | {"num_steps": section.num_steps, "num_restarts": section.num_restarts}
    cell = connected.cell
    return Attacks(
        config, connected.classifier.apply, cell.autoencoder, connected.latent_norm, ball, full, connected.how
    )


def attacked(by: Attacks, ensemble, x, label, keys, start: int = 0):
    """Toward the class, [S, n, ...]; `start` numbers the random start."""
    keys = _folded(keys, start)
    return map_members(
        lambda v: projected.targeted_pgd(keys, v, x, label, apply=by.apply, **by.full), ensemble, how=by.how
    )


def flipped(by: Attacks, ensemble, x, label):
    """From the image, stopped where the class leads by FLIP_MARGIN."""
    toward = objectives.ascend(by.apply, objectives.margin)
    stop = by.full | {"start": "image", "stop_value": projected.FLIP_MARGIN, "num_restarts": 1}
    keys = jax.random.split(jax.random.key(0), x.shape[0])  # nothing is drawn
    return map_members(lambda v: projected.attack(keys, v, x, label, objective=toward, **stop), ensemble, how=by.how)


def noisy(by: Attacks, ensemble, x, label, keys, start: int):
    """Toward the class, every step against a fresh classifier of the noise ball."""
    keys, key = _folded(keys, start), jax.random.fold_in(stage_key(by.config.seed, "ends.noisy"), start)
    sampler = partial(samplers.ball, sigma=by.config.noise.radius, kind=by.config.noise.kind)
    options = {"objective": objectives.ascend(by.apply, objectives.gap), "sampler": sampler, "key": key}
    return map_members(lambda v: projected.attack(keys, v, x, label, **options, **by.full), ensemble, how=by.how)


def steered(by: Attacks, ensemble, x, label, keys, wanted):
    def one(v, start, wanted):
        steps = {"num_steps": by.config.pairs.iso_steps, "apply": by.apply, "start": start}
        return projected.steered(keys, v, x, label, wanted, **steps, **by.ball)

    return map_members(one, ensemble, attacked(by, ensemble, x, label, keys), wanted, how=by.how)


def adaptive(by: Attacks, ensemble, chunk: Chunk, anchor):
    """Toward the class, the rise of the line from the anchor as it is wanted."""
    section = by.config.adaptive

    def score(v, x, target):
        label, (anchor, wanted) = target
        found = line_rise(v, anchor, x, label, apply=by.apply, num_points=section.num_points)
        return jnp.abs(found - wanted)

    budget = by.ball | {"num_steps": section.num_steps, "num_restarts": 1}
    options = {"apply": by.apply, "score": score, "weight": chunk.weight, "enough": section.enough, **budget}
    keys = _folded(chunk.keys, 3)

    def one(v, wanted):
        return evading.evade(keys, v, chunk.carrier, chunk.label, (anchor, wanted), **options)

    return map_members(one, ensemble, chunk.rise, how=by.how)


def joint(by: Attacks, ensemble, chunk: Chunk):
    """Toward the class for the mean of all members, [n, ...]."""
    mean = objectives.averaged(by.apply, partial(objectives.ascend, value_fn=objectives.gap), "loss")
    keys = _folded(chunk.keys, 0)
    return projected.attack(keys, ensemble, chunk.carrier, chunk.label, objective=mean, **by.full)


def dreamed(by: Attacks, ensemble, chunk: Chunk):
    keys = _folded(chunk.keys, 4)
    start = draw_flat(lambda key, shape: jax.random.uniform(key, shape), keys, chunk.anchor)
    whole = float(np.sqrt(chunk.anchor[0].size))
    ball = {"norm": "l2", "epsilon": whole, "step_size": DREAM_STEP * whole, "start": "image"}
    toward = {"objective": objectives.ascend(by.apply, objectives.gap), "num_steps": by.config.search.num_steps}
    return map_members(lambda v: projected.attack(keys, v, start, chunk.label, **toward, **ball), ensemble, how=by.how)


def manifold(by: Attacks, ensemble, autoencoder, chunk: Chunk):
    encode, decode = coded(by.autoencoder, autoencoder)
    epsilon = by.config.manifold.epsilon * by.latent_norm
    steps = by.config.search.num_steps

    def one(v):
        found = search(
            jax.random.key(0),  # nothing is drawn
            encode(chunk.carrier),
            chunk.label,
            objective=objectives.ascend(by.apply, objectives.gap),
            space=spaces.latent(encode, decode),
            sampler=fixed(v),
            optimizer=normalized_steps(epsilon / 10),
            epsilon=epsilon,
            num_steps=steps,
        )
        return decode(found.z)

    return map_members(one, ensemble, how=by.how)


def coded(autoencoder, variables):
    """(encode, decode) of an autoencoder, decode of points brought to where its latents live."""
    return (
        lambda x: autoencoder.encode(variables, x),
        lambda z: autoencoder.decode(variables, autoencoder.project(variables, z)),
    )


def _folded(keys, number: int):
    return jax.vmap(jax.random.fold_in, (0, None))(keys, number)
