"""The two ends of every kind of pair that `connectivity` joins.

All attacks have one ball, pixels, and aim at the pair's class c; `noisy` ones see a fresh classifier of the noise ball
at every step. The kinds:

- genuine: anchor and other, two images of class c.
- boosted: anchor, and other made surer of c by the attack.
- adversarial: anchor, and the carrier of another class with the attack. adversarial_iso: the same, steered to a margin
  that natural errors have. joint: the attack that all members guide together, one image for all of them.
- adaptive, adaptive_unseen: the attack that wants the line to rise as those of genuine pairs do, the line from the
  anchor or, not knowing it, from other.
- natural_error: anchor, and an image of another class that the member takes for c by itself.
- carrier: anchor and clean carrier. Its far end is of another class; it is read with class c, as the control of what
  the carrier's own contents have in the way.
- two_adversarial: the attack on both carriers.
- same_start, same_member, same_attack, same_noisy, both_noisy: two attacks on one carrier, the second from another
  start, on the member before, stopped at the first flip, against noisy classifiers; both of these, from two starts.
- dreamed: anchor, and what ascent makes of random pixels. manifold: anchor, and an attack in the autoencoder's latent.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from landscape import ensembles
from landscape.experiments import connectivity_attacks as attack
from landscape.experiments.connectivity_attacks import Attacks, Chunk, attacks
from landscape.experiments.connectivity_setting import NONE, Connected, Pairs
from landscape.experiments.setting import example_keys

BOOSTED, NATURAL = "boosted", "natural_error"
READ_AS = "carrier"  # its far end is not of the class that it is read with


class Wanted(NamedTuple):
    """What attacks are after beside the class.

    margin: of steered attacks, logits, [S, Q]. rise: of the line, of adaptive attacks, nats, [S, Q] (see
    `barrier.line_rise`). weight: of the latter's distance from it, logits for a nat.
    """

    margin: np.ndarray
    rise: np.ndarray
    weight: float


def chunk_of(config, connected: Connected, pairs: Pairs, rows: np.ndarray, wanted: Wanted) -> Chunk:
    """The chunk of these rows of the pairs; where an image is lacking stands the anchor, which no kind then reads."""
    places = [np.where(place[rows] == NONE, pairs.anchor[rows], place[rows]) for place in pairs[:4]]
    ids = connected.test.ids[pairs.carrier[rows]]
    return Chunk(
        *(jnp.asarray(connected.test.x[place]) for place in places),
        jnp.asarray(pairs.label[rows], jnp.int32),
        example_keys(config.seed, "ends", ids),
        *(jnp.asarray(values[:, rows], jnp.float32) for values in wanted[:2]),
        jnp.float32(wanted.weight),
    )


class Ends(NamedTuple):
    """Both ends of some pairs for every member, [S, n, H, W, C], and their class [n]."""

    a: np.ndarray
    b: np.ndarray
    label: np.ndarray


Make = Callable[[str, np.ndarray], Ends]


def maker(config, connected: Connected, pairs: Pairs, wanted: Wanted) -> Make:
    """make(kind, rows) -> the ends of these pairs, on the host. Every kind is compiled once, for chunks of one size."""
    size, programs = min(config.pairs.chunk, pairs.regular), {}
    autoencoder = ensembles.take(connected.cell.ensemble, 0)

    def make(kind: str, rows: np.ndarray) -> Ends:
        if kind not in programs:
            programs[kind] = jax.jit(of(config, connected, kind))
        found = []
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            chunk = chunk_of(config, connected, pairs, np.resize(part, size), wanted)
            a, b = programs[kind](connected.ensemble, autoencoder, chunk)
            found.append([np.asarray(end)[:, : len(part)] for end in (a, b)])
        a, b = (np.concatenate(ends, axis=1) for ends in zip(*found, strict=True))
        return Ends(a, b, pairs.label[rows].astype(np.int32))

    return make


def of(config, connected: Connected, kind: str) -> Callable[[Any, Any, Chunk], tuple[jax.Array, jax.Array]]:
    """(ensemble, autoencoder, chunk) -> both ends, [S, n, H, W, C] each, of one of KINDS."""
    one = partial(_MADE[kind], attacks(config, connected))

    def ends(ensemble, autoencoder, chunk: Chunk):
        a, b = one(ensemble, autoencoder, chunk)
        count = ensembles.size(ensemble)
        return tuple(x if x.ndim == chunk.anchor.ndim + 1 else jnp.repeat(x[None], count, axis=0) for x in (a, b))

    return ends


def _of_carrier(by: Attacks, ensemble, c: Chunk, start: int = 0):
    return attack.attacked(by, ensemble, c.carrier, c.label, c.keys, start)


_MADE = {
    "genuine": lambda by, e, _, c: (c.anchor, c.other),
    BOOSTED: lambda by, e, _, c: (c.anchor, attack.attacked(by, e, c.other, c.label, c.keys)),
    "adversarial": lambda by, e, _, c: (c.anchor, _of_carrier(by, e, c)),
    "adversarial_iso": lambda by, e, _, c: (c.anchor, attack.steered(by, e, c.carrier, c.label, c.keys, c.margin)),
    "joint": lambda by, e, _, c: (c.anchor, attack.joint(by, e, c)),
    "adaptive": lambda by, e, _, c: (c.anchor, attack.adaptive(by, e, c, c.anchor)),
    "adaptive_unseen": lambda by, e, _, c: (c.anchor, attack.adaptive(by, e, c, c.other)),
    NATURAL: lambda by, e, _, c: (c.anchor, c.carrier),
    READ_AS: lambda by, e, _, c: (c.anchor, c.carrier),
    "two_adversarial": lambda by, e, _, c: (_of_carrier(by, e, c), attack.attacked(by, e, c.second, c.label, c.keys)),
    "same_start": lambda by, e, _, c: (_of_carrier(by, e, c), _of_carrier(by, e, c, 1)),
    "same_member": lambda by, e, _, c: (_of_carrier(by, e, c), jnp.roll(_of_carrier(by, e, c), 1, axis=0)),
    "same_attack": lambda by, e, _, c: (_of_carrier(by, e, c), attack.flipped(by, e, c.carrier, c.label)),
    "same_noisy": lambda by, e, _, c: (_of_carrier(by, e, c), attack.noisy(by, e, c.carrier, c.label, c.keys, 0)),
    "both_noisy": lambda by, e, _, c: tuple(attack.noisy(by, e, c.carrier, c.label, c.keys, start) for start in (0, 1)),
    "dreamed": lambda by, e, _, c: (c.anchor, attack.dreamed(by, e, c)),
    "manifold": lambda by, e, a, c: (c.anchor, attack.manifold(by, e, a, c)),
}
KINDS = tuple(_MADE)
