"""Stage of `connectivity`: how much attacks that know the detector should care for it, on validation images.

The detector is the barrier of the line from a genuine image. An attack that knows it wants its own line to rise as one
of a genuine pair does, drawn from the member's own validation pairs, so that it stands out on neither side; lines
without a barrier have a rise below 0, which is wanted as well (`barrier.line_rise`).
Each weight of the distance from it is tried; taken is the one whose results the detector tells from genuine pairs with
an AUROC nearest to 1/2, among those that reach the class nearly as often as the attack that does not care.
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
from landscape.measures.barrier import line_rise
from landscape.types import Arrays


def tune(config, run: runs.Run, connected: Connected, pairs_of: Callable) -> Arrays:
    """adaptive_weight: the one taken. tuning_barrier, tuning_reached [weight, member, tuning_pair]: of each weight, 0
    the first; tuning_genuine, tuning_rise, tuning_right [member, tuning_pair]: barrier and rise of genuine pairs, and
    which count.
    """
    told = connectivity_setting.clean(config, run, connected, "validation")
    held = connected._replace(test=connected.held)
    pairs = pairs_of(config, connected, told, "validation")
    rows = np.arange(pairs.regular)[: config.adaptive.num_pairs]
    weights = np.asarray((0.0, *config.adaptive.weights), np.float32)
    apply = connected.classifier.apply

    def judge(v, a, b, label):
        right = [jnp.argmax(apply(v, x), axis=-1) == label for x in (a, b)]
        # The detector's grid, and the attack's, of which its rise depends where there is no barrier.
        fine, own = (
            line_rise(v, a, b, label, apply=apply, num_points=section.num_points)
            for section in (config.bypass, config.adaptive)
        )
        return jnp.maximum(fine, 0.0), own, right[0] & right[1]

    def program(kind: str):
        def told(ensemble, autoencoder, chunk):
            a, b = ends.of(config, held, kind)(ensemble, autoencoder, chunk)
            return map_members(judge, ensemble, a, b, shared=(chunk.label,), how=connected.how)

        return jax.jit(told)

    autoencoder = ensembles.take(connected.cell.ensemble, 0)
    nothing = np.zeros((ensembles.size(connected.ensemble), len(pairs.label)), np.float32)

    def barriers(of_kind, wanted: ends.Wanted) -> list[np.ndarray]:
        chunk = ends.chunk_of(config, held, pairs, rows, wanted)
        return [np.asarray(part) for part in of_kind(connected.ensemble, autoencoder, chunk)]

    def genuine() -> Arrays:
        found = barriers(program("genuine"), ends.Wanted(nothing, nothing, 0.0))
        names = ("tuning_genuine", "tuning_rise", "tuning_right")
        return {name: (("member", "tuning_pair"), part) for name, part in zip(names, found, strict=True)}

    found = runs.once(run, "adaptive.genuine", genuine)
    rise = wanted_rises(found, len(pairs.label), config.seed)
    adaptive = program("adaptive")

    def work(start: int, stop: int) -> Arrays:
        told = [barriers(adaptive, ends.Wanted(nothing, rise, float(weight))) for weight in weights[start:stop]]
        dims = ("weight", "member", "tuning_pair")
        names = {"tuning_barrier": 0, "tuning_reached": 2}
        return {name: (dims, np.stack([one[i] for one in told])) for name, i in names.items()}

    found |= runs.chunks(run, "adaptive.tuning", work, len(weights), 1, dim="weight", unit="weights")
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


def wanted_rises(tuned: Arrays, num_pairs: int, seed: int) -> np.ndarray:
    """Rises that attacks want, nats, [S, Q]: drawn from those of each member's genuine validation pairs."""
    rise, right = (tuned[f"tuning_{name}"][1] for name in ("rise", "right"))
    rng = np.random.default_rng([seed, 6])
    wanted = np.zeros((len(rise), num_pairs), np.float32)
    for s in range(len(rise)):
        own = rise[s][right[s].astype(bool)]
        if len(own):
            wanted[s] = rng.choice(own, size=num_pairs)
    return wanted
