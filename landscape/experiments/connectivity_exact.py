"""Stage of `connectivity`: the exact maximum of the loss along lines, which a grid of points can only miss.

With ReLU the logits are piecewise linear along a line, and the loss, convex in them, has its maximum at a kink or at an
end (`barrier.kinks`). In float64, for some pairs and one member, as the reference of the grid.
"""

import jax
import jax.numpy as jnp
import numpy as np

from landscape import ensembles, objectives, runs
from landscape.experiments import setting
from landscape.experiments.connectivity_ends import Make
from landscape.experiments.connectivity_setting import Connected, Pairs
from landscape.measures import barrier
from landscape.types import Arrays

KINDS = ("genuine", "adversarial")
BLOCK = 64  # places at once
SIDE = 1e-10  # of the line: where slopes beside a kink are taken


def exact(config, run: runs.Run, connected: Connected, pairs: Pairs, make: Make) -> Arrays:
    """exact_barrier and grid_barrier [exact_kind, exact_pair], nats, of the first member; num_kinks beside them.

    Nothing for networks that are not piecewise linear.
    """
    kinds = tuple(kind for kind in KINDS if kind in config.pairs.kinds)
    count = min(config.exact.num_pairs, pairs.regular)
    if config.model.activation != "relu" or not kinds:
        return {}
    # The plain convolution: the fast one has no push-forward.
    plain = setting.classifier_of(config, connected.prepared.dataset, conv=jax.lax.conv_general_dilated)
    both = [make(kind, np.arange(count)) for kind in kinds]
    lines = np.stack([[one.a[0], one.b[0]] for one in both])  # [kind, end, pair, H, W, C]
    label = both[0].label
    variables = ensembles.take(connected.ensemble, 0)

    def work(start: int, stop: int) -> Arrays:
        told = np.zeros((3, len(kinds), stop - start))
        for k in range(len(kinds)):
            for i in range(start, stop):
                a, b = lines[k, :, i]
                told[:, k, i - start] = _one(plain.apply, variables, a, b, int(label[i]), config.bypass.num_points)
        dims = ("exact_kind", "exact_pair")
        return {name: (dims, told[i]) for i, name in enumerate(("exact_barrier", "grid_barrier", "num_kinks"))}

    found = runs.chunks(run, "exact", work, count, 1, dim="exact_pair", unit="pairs")
    return found | {"exact_kind": (("exact_kind",), np.asarray(kinds))}


def _one(apply, variables, a: np.ndarray, b: np.ndarray, label: int, num_points: int) -> tuple[float, float, int]:
    """(exact barrier, barrier on the grid, number of kinks) of the line from a to b."""
    with jax.enable_x64(True):
        exact = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), jnp.float64), variables)
        start, way = (jnp.asarray(part, jnp.float64)[None] for part in (a, b - a))

        @jax.jit
        def at(variables, t):
            def logits(t):
                return apply(variables, start + t[:, None, None, None] * way)

            return jax.jvp(logits, (t,), (jnp.ones_like(t),))

        def block(t: np.ndarray):
            told = [at(exact, jnp.asarray(np.clip(t + side, 0, 1))) for side in (0.0, SIDE, -SIDE)]
            return told[0][0], told[1][1], told[2][1]

        def sides(t: np.ndarray):
            padded = np.resize(t, -(-len(t) // BLOCK) * BLOCK).reshape(-1, BLOCK)
            parts = zip(*map(block, padded), strict=True)
            return tuple(np.concatenate(part)[: len(t)] for part in parts)

        def losses(t: np.ndarray) -> np.ndarray:
            logits = jnp.asarray(sides(t)[0])
            return np.asarray(objectives.loss(logits, jnp.full(len(t), label, jnp.int32)))

        places = barrier.kinks(sides)
        ends_at = losses(np.asarray([0.0, 1.0])).max()
        grid = np.linspace(0, 1, num_points)
        return losses(places).max() - ends_at, losses(grid).max() - ends_at, len(places)
