"""Stage of `connectivity`: what lines and bypasses look like, for the first pairs of some kinds, first member."""

import jax
import jax.numpy as jnp
import numpy as np

from landscape import ensembles, objectives, runs
from landscape.experiments.connectivity_ends import NATURAL, Make
from landscape.experiments.connectivity_setting import Connected, Pairs
from landscape.experiments.setting import stage_key
from landscape.measures import paths
from landscape.measures.bypass import Around, bends
from landscape.spaces import per_example
from landscape.types import Arrays

KINDS = ("genuine", "natural_error", "adversarial", "adaptive")
PLACES = ("first", "highest", "bypass", "last")
PICTURED = 3  # pairs of a kind


def pictures(config, run: runs.Run, connected: Connected, pairs: Pairs, make: Make) -> Arrays:
    """picture [shown, place, ...]: both ends, the highest point of the line between them and where the bypass takes it;
    picture_loss [shown, place], nats, of the class; picture_kind [shown].
    """
    kinds = [kind for kind in KINDS if kind in config.pairs.kinds and len(_rows(pairs, kind))]
    apply, section = connected.classifier.apply, config.bypass

    def height(v, x, label):
        return objectives.loss(apply(v, x), label)

    around = Around(height, num_steps=section.num_steps, learning_rate=section.learning_rate)

    @jax.jit
    def program(variables, a, b, label, key):
        line, t = paths.line(a, b), paths.grid(section.num_points)[1:-1]
        values = jax.lax.map(lambda t: height(variables, line(t), label), t)
        peak = t[jnp.argmax(values, axis=0)]
        bend = bends(key, variables, a, b, label, peak, around=around)[-1]
        shown = jnp.stack([a, a + per_example(peak, a) * (b - a), bend, b], axis=1)
        return shown, jax.vmap(lambda x: height(variables, x, label), in_axes=1, out_axes=1)(shown)

    first, key = ensembles.take(connected.ensemble, 0), stage_key(config.seed, "pictures")

    def work(start: int, stop: int) -> Arrays:
        found = []
        for kind in kinds[start:stop]:
            a, b, label = make(kind, np.resize(_rows(pairs, kind), PICTURED))
            found.append(program(first, a[0], b[0], label, key))
        shown, loss = (np.stack([np.asarray(one[i]) for one in found]) for i in range(2))
        dims = ("picture_kind", "shown", "place")
        return {"picture": ((*dims, "height", "width", "channel"), shown), "picture_loss": (dims, loss)}

    found = runs.chunks(run, "pictures", work, len(kinds), 1, dim="picture_kind", unit="kinds")
    return found | {
        "picture_kind": (("picture_kind",), np.asarray(kinds)),
        "place": (("place",), np.asarray(PLACES)),
    }


def _rows(pairs: Pairs, kind: str) -> np.ndarray:
    every = np.arange(len(pairs.label))
    return every[pairs.regular :][:PICTURED] if kind == NATURAL else every[: pairs.regular][:PICTURED]
