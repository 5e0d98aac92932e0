"""Stage of `connectivity`: how much attacks that know the detector should care for it, on validation images.

Each weight of the barrier in the attack's objective is tried on pairs of validation images; taken is the one whose
results the barrier of the line tells least well from genuine pairs, among those that reach the class nearly as often as
the attack that does not care.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from landscape import ensembles, runs
from landscape.ensembles import map_members
from landscape.experiments import connectivity_ends as ends
from landscape.experiments import connectivity_setting
from landscape.experiments.connectivity_detector import chosen_weight, told_by_weight
from landscape.experiments.connectivity_setting import Connected
from landscape.measures.barrier import line_barrier
from landscape.types import Arrays

KINDS = ("genuine", "adaptive")


def tune(config, run: runs.Run, connected: Connected, pairs_of: Callable) -> Arrays:
    """adaptive_weight: the one taken. tuning_barrier, tuning_reached [weight, member, tuning_pair]: of each weight, 0
    the first; tuning_genuine [member, tuning_pair]: the barrier of genuine pairs.
    """
    told = connectivity_setting.clean(run, connected, "validation")
    held = connected._replace(test=connected.held)
    pairs = pairs_of(config, connected, told, "validation")
    rows = np.arange(pairs.regular)[: config.adaptive.num_pairs]
    weights = np.asarray((0.0, *config.adaptive.weights), np.float32)
    apply, num_points = connected.classifier.apply, config.bypass.num_points

    def judge(v, a, b, label):
        right = [jnp.argmax(apply(v, x), axis=-1) == label for x in (a, b)]
        return line_barrier(v, a, b, label, apply=apply, num_points=num_points), right[0] & right[1]

    @jax.jit
    def program(ensemble, autoencoder, chunk):
        told = {}
        for kind in KINDS:
            a, b = ends.of(config, held, kind)(ensemble, autoencoder, chunk)
            told[kind] = map_members(judge, ensemble, a, b, shared=(chunk.label,), how=connected.how)
        return told

    autoencoder = ensembles.take(connected.cell.ensemble, 0)
    wanted = np.zeros((ensembles.size(connected.ensemble), len(pairs.label)), np.float32)

    def work(start: int, stop: int) -> Arrays:
        found = []
        for weight in weights[start:stop]:
            chunk = ends.chunk_of(config, held, pairs, rows, wanted, float(weight))
            found.append(jax.tree.map(np.asarray, program(connected.ensemble, autoencoder, chunk)))
        barrier, reached = (np.stack([one["adaptive"][i] for one in found]) for i in range(2))
        genuine, right = found[0]["genuine"]
        cells = ("member", "tuning_pair")
        return {
            "tuning_barrier": (("weight", *cells), barrier),
            "tuning_reached": (("weight", *cells), reached),
            "tuning_genuine": (cells, genuine),
            "tuning_right": (cells, right),
        }

    found = runs.chunks(run, "adaptive.tuning", work, len(weights), 1, dim="weight", unit="weights")
    barrier, reached, genuine, right = (
        found[f"tuning_{name}"][1] for name in ("barrier", "reached", "genuine", "right")
    )
    told = told_by_weight(barrier, reached.astype(bool), genuine, right.astype(bool))
    share = reached.mean(axis=(1, 2))
    return found | {
        "weight": (("weight",), weights),
        "tuning_auroc": (("weight",), told),
        "tuning_share": (("weight",), share),
        "adaptive_weight": ((), np.asarray(weights[chosen_weight(told, share, keep=config.adaptive.keep)])),
    }
