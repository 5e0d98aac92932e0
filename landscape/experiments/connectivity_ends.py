"""The two ends of every kind of pair that `connectivity` joins.

All attacks have one ball, pixels, and aim at the pair's class c; `noisy` ones see a fresh classifier of the noise ball
at every step. The kinds:

- genuine: anchor and other, two images of class c.
- boosted: anchor, and other made surer of c by the attack.
- adversarial: anchor, and the carrier of another class with the attack. adversarial_iso: the same, steered to a margin
  that natural errors have. joint: the attack that all members guide together, one image for all of them.
- adaptive, adaptive_unseen: the attack that keeps the line's barrier low, from the anchor or, not knowing it, from
  other.
- natural_error: anchor, and an image of another class that the member takes for c by itself.
- carrier: anchor and clean carrier. Its far end is of another class; it is read with class c, as the control of what
  the carrier's own contents have in the way.
- two_adversarial: the attack on both carriers.
- same_start, same_member, same_attack, same_noisy, both_noisy: two attacks on one carrier, the second from another
  start, on another member, stopped at the first flip, against noisy classifiers; both of these, from two starts.
- dreamed: anchor, and what ascent makes of random pixels. manifold: anchor, and an attack in the autoencoder's latent.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from landscape import ensembles, objectives, samplers, spaces
from landscape.attacks import evading, projected
from landscape.ensembles import map_members
from landscape.experiments.connectivity_setting import NONE, Connected, Pairs
from landscape.experiments.setting import example_keys, stage_key
from landscape.measures.barrier import line_barrier
from landscape.samplers import fixed
from landscape.search import normalized_steps, search
from landscape.spaces import draw_flat
from landscape.types import Images, Labels

NATURAL = "natural_error"
READ_AS = "carrier"  # its far end is not of the class that it is read with
DREAM_STEP = 0.02  # of a dream's steps, of the diagonal of the box


class Chunk(NamedTuple):
    """Images of some pairs, [n, ...], and what their ends are made with.

    wanted: margin of steered attacks, logits, [S, n]. weight: of the barrier in adaptive attacks.
    """

    anchor: Images
    other: Images
    carrier: Images
    second: Images
    label: Labels
    keys: jax.Array
    wanted: jax.Array
    weight: jax.Array


def chunk_of(config, connected: Connected, pairs: Pairs, rows: np.ndarray, wanted: np.ndarray, weight: float) -> Chunk:
    """The chunk of these rows of the pairs; where an image is lacking stands the anchor, which no kind then reads."""
    places = [np.where(place[rows] == NONE, pairs.anchor[rows], place[rows]) for place in pairs[:4]]
    ids = connected.test.ids[pairs.carrier[rows]]
    return Chunk(
        *(jnp.asarray(connected.test.x[place]) for place in places),
        jnp.asarray(pairs.label[rows], jnp.int32),
        example_keys(config.seed, "ends", ids),
        jnp.asarray(wanted[:, rows], jnp.float32),
        jnp.float32(weight),
    )


class Ends(NamedTuple):
    """Both ends of some pairs for every member, [S, n, H, W, C], and their class [n]."""

    a: np.ndarray
    b: np.ndarray
    label: np.ndarray


Make = Callable[[str, np.ndarray], Ends]


def maker(config, connected: Connected, pairs: Pairs, wanted: np.ndarray, weight: float) -> Make:
    """make(kind, rows) -> the ends of these pairs, on the host. Every kind is compiled once, for chunks of one size.

    Args:
      wanted: margins of steered attacks, logits, [S, Q]. weight: of the barrier in adaptive attacks.
    """
    size, programs = min(config.pairs.chunk, pairs.regular), {}
    autoencoder = ensembles.take(connected.cell.ensemble, 0)

    def make(kind: str, rows: np.ndarray) -> Ends:
        if kind not in programs:
            programs[kind] = jax.jit(of(config, connected, kind))
        found = []
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            chunk = chunk_of(config, connected, pairs, np.resize(part, size), wanted, weight)
            a, b = programs[kind](connected.ensemble, autoencoder, chunk)
            found.append([np.asarray(end)[:, : len(part)] for end in (a, b)])
        a, b = (np.concatenate(ends, axis=1) for ends in zip(*found, strict=True))
        return Ends(a, b, pairs.label[rows].astype(np.int32))

    return make


def of(config, connected: Connected, kind: str) -> Callable[[Any, Any, Chunk], tuple[jax.Array, jax.Array]]:
    """(ensemble, autoencoder, chunk) -> both ends, [S, n, H, W, C] each, of one of KINDS."""
    one = partial(_MADE[kind], _Maker(config, connected))

    def ends(ensemble, autoencoder, chunk: Chunk):
        a, b = one(ensemble, autoencoder, chunk)
        count = ensembles.size(ensemble)
        return tuple(x if x.ndim == chunk.anchor.ndim + 1 else jnp.repeat(x[None], count, axis=0) for x in (a, b))

    return ends


class _Maker:
    """The attacks of one run: what they share is said once."""

    def __init__(self, config, connected: Connected):
        self.config, self.apply, self.how = config, connected.classifier.apply, connected.how
        self.autoencoder, self.latent_norm = connected.cell.autoencoder, connected.latent_norm
        section = config.search
        self.ball = {"norm": section.norm, "epsilon": section.epsilon, "step_size": section.step_size}
        self.full = self.ball | {"num_steps": section.num_steps}

    def each(self, fn, ensemble, *per_member):
        return map_members(fn, ensemble, *per_member, how=self.how)

    def attacked(self, ensemble, x, label, keys, start: int = 0):
        """Toward the class, [S, n, ...]; `start` numbers the random start."""
        keys = _folded(keys, start)
        return self.each(lambda v: projected.targeted_pgd(keys, v, x, label, apply=self.apply, **self.full), ensemble)

    def flipped(self, ensemble, x, label):
        """From the image, stopped where the class leads by FLIP_MARGIN."""
        toward = objectives.ascend(self.apply, objectives.margin)
        stop = {"start": "image", "stop_value": projected.FLIP_MARGIN}
        keys = jax.random.split(jax.random.key(0), x.shape[0])  # nothing is drawn
        return self.each(lambda v: projected.attack(keys, v, x, label, objective=toward, **stop, **self.full), ensemble)

    def noisy(self, ensemble, x, label, keys, start: int):
        """Toward the class, every step against a fresh classifier of the noise ball."""
        keys, key = _folded(keys, start), jax.random.fold_in(stage_key(self.config.seed, "ends.noisy"), start)
        sampler = partial(samplers.ball, sigma=self.config.noise.radius, kind=self.config.noise.kind)
        options = {"objective": objectives.ascend(self.apply, objectives.gap), "sampler": sampler, "key": key}
        return self.each(lambda v: projected.attack(keys, v, x, label, **options, **self.full), ensemble)

    def steered(self, ensemble, x, label, keys, wanted):
        def one(v, start, wanted):
            steps = {"num_steps": self.config.pairs.iso_steps, "apply": self.apply, "start": start}
            return projected.steered(keys, v, x, label, wanted, **steps, **self.ball)

        return self.each(one, ensemble, self.attacked(ensemble, x, label, keys), wanted)

    def adaptive(self, ensemble, chunk: Chunk, anchor):
        section = self.config.adaptive

        def score(v, x, target):
            label, anchor = target
            return line_barrier(v, anchor, x, label, apply=self.apply, num_points=section.num_points)

        budget = self.ball | {"num_steps": section.num_steps, "num_restarts": 1}
        options = {"apply": self.apply, "score": score, "weight": chunk.weight, "enough": section.enough, **budget}
        keys = _folded(chunk.keys, 3)
        return self.each(lambda v: evading.evade(keys, v, chunk.carrier, chunk.label, anchor, **options), ensemble)

    def joint(self, ensemble, chunk: Chunk):
        """Toward the class for the mean of all members, [n, ...]."""
        mean = objectives.averaged(self.apply, partial(objectives.ascend, value_fn=objectives.gap), "loss")
        keys = _folded(chunk.keys, 0)
        return projected.attack(keys, ensemble, chunk.carrier, chunk.label, objective=mean, **self.full)

    def dreamed(self, ensemble, chunk: Chunk):
        keys = _folded(chunk.keys, 4)
        start = draw_flat(lambda key, shape: jax.random.uniform(key, shape), keys, chunk.anchor)
        whole = float(np.sqrt(chunk.anchor[0].size))
        ball = {"norm": "l2", "epsilon": whole, "step_size": DREAM_STEP * whole, "start": "image"}
        toward = {"objective": objectives.ascend(self.apply, objectives.gap), "num_steps": self.config.search.num_steps}
        return self.each(lambda v: projected.attack(keys, v, start, chunk.label, **toward, **ball), ensemble)

    def manifold(self, ensemble, autoencoder, chunk: Chunk):
        encode, decode = coded(self.autoencoder, autoencoder)
        epsilon = self.config.manifold.epsilon * self.latent_norm
        steps = self.config.search.num_steps

        def one(v):
            found = search(
                jax.random.key(0),  # nothing is drawn
                encode(chunk.carrier),
                chunk.label,
                objective=objectives.ascend(self.apply, objectives.gap),
                space=spaces.latent(encode, decode),
                sampler=fixed(v),
                optimizer=normalized_steps(epsilon / 10),
                epsilon=epsilon,
                num_steps=steps,
            )
            return decode(found.z)

        return self.each(one, ensemble)


def coded(autoencoder, variables):
    """(encode, decode) of an autoencoder, decode of points brought to where its latents live."""
    return (
        lambda x: autoencoder.encode(variables, x),
        lambda z: autoencoder.decode(variables, autoencoder.project(variables, z)),
    )


def _folded(keys, number: int):
    return jax.vmap(jax.random.fold_in, (0, None))(keys, number)


def _of_carrier(maker: _Maker, ensemble, c: Chunk, start: int = 0):
    return maker.attacked(ensemble, c.carrier, c.label, c.keys, start)


_MADE = {
    "genuine": lambda m, e, _, c: (c.anchor, c.other),
    "boosted": lambda m, e, _, c: (c.anchor, m.attacked(e, c.other, c.label, c.keys)),
    "adversarial": lambda m, e, _, c: (c.anchor, _of_carrier(m, e, c)),
    "adversarial_iso": lambda m, e, _, c: (c.anchor, m.steered(e, c.carrier, c.label, c.keys, c.wanted)),
    "joint": lambda m, e, _, c: (c.anchor, m.joint(e, c)),
    "adaptive": lambda m, e, _, c: (c.anchor, m.adaptive(e, c, c.anchor)),
    "adaptive_unseen": lambda m, e, _, c: (c.anchor, m.adaptive(e, c, c.other)),
    NATURAL: lambda m, e, _, c: (c.anchor, c.carrier),
    READ_AS: lambda m, e, _, c: (c.anchor, c.carrier),
    "two_adversarial": lambda m, e, _, c: (_of_carrier(m, e, c), m.attacked(e, c.second, c.label, c.keys)),
    "same_start": lambda m, e, _, c: (_of_carrier(m, e, c), _of_carrier(m, e, c, 1)),
    "same_member": lambda m, e, _, c: (_of_carrier(m, e, c), jnp.roll(_of_carrier(m, e, c), 1, axis=0)),
    "same_attack": lambda m, e, _, c: (_of_carrier(m, e, c), m.flipped(e, c.carrier, c.label)),
    "same_noisy": lambda m, e, _, c: (_of_carrier(m, e, c), m.noisy(e, c.carrier, c.label, c.keys, 0)),
    "both_noisy": lambda m, e, _, c: tuple(m.noisy(e, c.carrier, c.label, c.keys, start) for start in (0, 1)),
    "dreamed": lambda m, e, _, c: (c.anchor, m.dreamed(e, c)),
    "manifold": lambda m, e, a, c: (c.anchor, m.manifold(e, a, c)),
}
KINDS = tuple(_MADE)
