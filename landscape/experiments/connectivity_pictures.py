"""Stage of `connectivity`: what lines and bypasses look like where lines of some kinds are highest, first member."""

import jax
import jax.numpy as jnp
import numpy as np

from landscape import ensembles, objectives, runs
from landscape.experiments.connectivity_ends import Make
from landscape.experiments.connectivity_setting import Connected
from landscape.experiments.connectivity_told import Told
from landscape.experiments.setting import stage_key
from landscape.measures import paths
from landscape.measures.bypass import Around, bends
from landscape.spaces import per_example
from landscape.types import Arrays

KINDS = ("genuine", "natural_error", "adversarial", "adaptive")
PLACES = ("first", "highest", "bypass", "last")
PICTURED = 3  # pairs of a kind


def pictures(config, run: runs.Run, connected: Connected, make: Make, told: Told) -> Arrays:
    """Of the pairs that count for the first member, those whose barrier on the line is highest.

    picture [shown, place, ...]: both ends, the highest point of the line between them and where the bypass takes it;
    picture_loss [shown, place], nats, of the class; picture_kind [shown].
    """
    kinds = [kind for kind in KINDS if kind in config.pairs.kinds and len(_rows(told, kind))]
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
            rows = _rows(told, kind)
            a, b, label = make(kind, np.resize(rows, PICTURED))
            made = [np.asarray(part).copy() for part in program(first, a[0], b[0], label, key)]
            for part in made:
                part[len(rows) :] = np.nan  # fewer pairs than pictures
            found.append(made)
        shown, loss = (np.stack([one[i] for one in found]) for i in range(2))
        dims = ("picture_kind", "shown", "place")
        return {"picture": ((*dims, "height", "width", "channel"), shown), "picture_loss": (dims, loss)}

    found = runs.chunks(run, "pictures", work, len(kinds), 1, dim="picture_kind", unit="kinds")
    return found | {
        "picture_kind": (("picture_kind",), np.asarray(kinds)),
        "place": (("place",), np.asarray(PLACES)),
    }


def _rows(told: Told, kind: str) -> np.ndarray:
    barrier = np.where(told.mask(kind, "line")[0], told.of("barrier", kind, "line")[0], -np.inf)
    return np.argsort(-barrier, kind="stable")[: min(PICTURED, int(np.isfinite(barrier).sum()))]
