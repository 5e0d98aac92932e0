"""Stage of `connectivity`: the exact maximum of the loss along lines, which a grid of points can only miss.

With ReLU the logits are piecewise linear along a line, and the loss, convex in them, has its maximum at a kink or at an
end (`barrier.kinks`). In float64, for some pairs and one member, as the reference of the grid.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from landscape import ensembles, objectives, presets, runs
from landscape.experiments import setting
from landscape.experiments.connectivity_ends import Make
from landscape.experiments.connectivity_setting import Connected, Pairs
from landscape.measures import barrier
from landscape.types import Apply, Arrays, Variables

KINDS = ("genuine", "adversarial")
BLOCK = 64  # places at once
SIDE = 1e-10  # of the line: where slopes beside a kink are taken


def exact(config, run: runs.Run, connected: Connected, pairs: Pairs, make: Make) -> Arrays:
    """exact_barrier [exact_kind, exact_pair], nats, of the first member and the first pairs; num_kinks beside it.

    Nothing for networks that are not piecewise linear: group norm divides by what depends on the image. Nothing for own
    classifiers, of which that is not known.
    """
    if presets.is_own(config.model.name):
        return {}
    kinds = tuple(kind for kind in KINDS if kind in config.pairs.kinds)
    count = min(config.exact.num_pairs, pairs.regular)
    if config.model.activation != "relu" or config.model.norm == "group" or not kinds or not count:
        return {}
    # The plain convolution: the fast one has no push-forward.
    plain = setting.classifier_of(config, connected.prepared.dataset, conv=jax.lax.conv_general_dilated)
    both = [make(kind, np.arange(count)) for kind in kinds]
    lines = np.stack([[one.a[0], one.b[0]] for one in both])  # [kind, end, pair, H, W, C]
    label = both[0].label
    of_line = barrier_of(plain.apply, ensembles.take(connected.ensemble, 0))

    def work(start: int, stop: int) -> Arrays:
        told = np.zeros((2, len(kinds), stop - start))
        for k in range(len(kinds)):
            for i in range(start, stop):
                told[:, k, i - start] = of_line(*lines[k, :, i], int(label[i]))
        dims = ("exact_kind", "exact_pair")
        return {name: (dims, told[i]) for i, name in enumerate(("exact_barrier", "num_kinks"))}

    found = runs.chunks(run, "exact", work, count, 1, dim="exact_pair", unit="pairs")
    return found | {"exact_kind": (("exact_kind",), np.asarray(kinds))}


def barrier_of(apply: Apply, variables: Variables) -> Callable[[np.ndarray, np.ndarray, int], tuple[float, int]]:
    """(a, b, label) -> (barrier of the line at the highest of its kinks, how many places were looked at)."""

    def logits(variables, start, way, t):
        return jax.jvp(lambda t: apply(variables, start + t[:, None, None, None] * way), (t,), (jnp.ones_like(t),))

    program = jax.jit(logits)

    def of_line(a: np.ndarray, b: np.ndarray, label: int) -> tuple[float, int]:
        with jax.enable_x64(True):
            exact = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), jnp.float64), variables)
            start, end = (jnp.asarray(part, jnp.float64)[None] for part in (a, b))

            def at(t: np.ndarray):
                return program(exact, start, end - start, jnp.asarray(np.clip(t, 0, 1)))

            def block(t: np.ndarray):
                return at(t)[0], at(t + SIDE)[1], at(t - SIDE)[1]

            def sides(t: np.ndarray):
                padded = np.resize(t, -(-len(t) // BLOCK) * BLOCK).reshape(-1, BLOCK)
                parts = zip(*map(block, padded), strict=True)
                return tuple(np.concatenate(part)[: len(t)] for part in parts)

            places = barrier.kinks(sides)
            values = jnp.asarray(sides(places)[0])
            losses = np.asarray(objectives.loss(values, jnp.full(len(places), label, jnp.int32)))
            return losses.max() - max(losses[0], losses[-1]), len(places)  # both ends are among them

    return of_line
