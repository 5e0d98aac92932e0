"""Stage of `shared`: between images of two classes, where do members disagree?

Straight lines between the embeddings of two test images, decoded, and blends of the same images in pixels. The
disagreement of members at a point is what a prediction tells of the member that made it,

    I = H(mean_s p_s) - mean_s H(p_s)      nats,

the mutual information of class and member: 0 where all say the same, however unsure they are, at most log K.

Source: Houlsby et al. 2011, arXiv:1112.5745, for this split of a prediction's entropy.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from landscape import ensembles, runs
from landscape.experiments.autoencoder_cells import Cell
from landscape.experiments.shared_setting import SharedSetting
from landscape.experiments.shared_values import members_of
from landscape.types import Arrays

GROUNDS = ("manifold", "pixels")
PICTURED = 6  # pairs of the largest and of the smallest peak


def disagreement(probability: Float[Array, "S *N K"]) -> Float[Array, "*N"]:
    """Mutual information of class and member, nats: of probabilities [S, ..., K] -> [...]. See the module's head."""
    return _entropy(probability.mean(axis=0)) - _entropy(probability).mean(axis=0)


def _entropy(probability):
    return -jnp.sum(jax.scipy.special.xlogy(probability, probability), axis=-1)


def pairs_of(label: np.ndarray, right: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Up to `count` pairs [M, 2] of images of unlike classes, all of them marked in `right`, no image in two pairs."""
    waiting = np.random.default_rng([seed, 2]).permutation(np.flatnonzero(right)).tolist()
    found = []
    while waiting and len(found) < count:
        first = waiting.pop(0)
        other = next((i for i in waiting if label[i] != label[first]), None)
        if other is not None:
            waiting.remove(other)
            found.append((first, other))
    return np.asarray(found, int).reshape(-1, 2)


def between(config, run: runs.Run, shared: SharedSetting, cell: Cell, clean: Arrays) -> Arrays:
    """Lines between pairs of images that all members which have learned classify rightly.

    pair [pair, end]: places on the axis of examples. disagreement [ground, step, pair], nats. vote [ground, step, pair,
    class]: how many members predict each class there. between_picture [between_shown, place, ...]: the manifold's
    start, its place of the largest disagreement and its end, for the pairs between_pair [between_shown] of the largest
    such disagreement, then of the smallest. Nothing where there is no pair.
    """
    members = members_of(clean["role"][1])
    label = shared.test.label
    right = np.all(clean["clean_prediction"][1][members.all] == label, axis=0)
    pairs = pairs_of(label, right, config.between.num_pairs, config.seed)
    if not len(pairs):
        return {}
    num_classes = len(shared.class_names)
    judges = shared.judges.take(np.sort(members.all))
    t = np.linspace(0, 1, config.between.num_points, dtype=np.float32)
    autoencoder = cell.autoencoder

    @jax.jit
    def program(groups, own, first, last, t):
        def decode(z):
            return autoencoder.decode(own, autoencoder.project(own, z))

        z0, z1 = (autoencoder.encode(own, x) for x in (first, last))
        manifold = jax.lax.map(lambda t: decode((1 - t) * z0 + t * z1), t)
        lines = jnp.stack([manifold, jax.lax.map(lambda t: (1 - t) * first + t * last, t)])

        def judge(apply, variables, flat):
            return jax.lax.map(lambda x: jax.nn.softmax(apply(variables, x)), flat)

        said = judges.map(judge, groups, lines.reshape(-1, *first.shape))
        vote = jnp.sum(jax.nn.one_hot(jnp.argmax(said, axis=-1), num_classes, dtype=jnp.int32), axis=0)
        steps = lines.shape[:3]
        return disagreement(said).reshape(steps), vote.reshape(*steps, num_classes), lines[0]

    def work() -> Arrays:
        ends = [jnp.asarray(shared.test.x[pairs[:, i]]) for i in range(2)]
        apart, vote, line = map(
            np.asarray, program(judges.groups, ensembles.take(cell.ensemble, 0), *ends, jnp.asarray(t))
        )
        inside = apart[0, 1:-1]  # an end is no picture between
        peak = inside.max(axis=0)
        order = np.argsort(-peak, kind="stable")
        shown = np.concatenate([order[:PICTURED], order[PICTURED:][-PICTURED:]])
        at = 1 + inside.argmax(axis=0)[shown]
        steps = np.stack([np.zeros_like(at), at, np.full_like(at, len(t) - 1)], axis=1)
        return {
            "step": (("step",), t),
            "pair": (("pair", "end"), pairs.astype(np.int32)),
            "disagreement": (("ground", "step", "pair"), apart),
            "vote": (("ground", "step", "pair", "class"), vote.astype(np.int16)),
            "between_pair": (("between_shown",), shown.astype(np.int32)),
            "between_picture": (("between_shown", "place", "height", "width", "channel"), line[steps, shown[:, None]]),
        }

    return runs.once(run, "between", work)
