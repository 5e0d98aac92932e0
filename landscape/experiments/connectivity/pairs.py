"""Which images make a pair, and what stands at its second end.

A *pair* is two inputs that a member predicts as one class c. Pairs are made of images that all members classify
rightly, class by class in turn: the `reference` image and its `partner` are of class c; the `source` image is of
another class, and its most probable wrong class, by the members' mean, is c; there attacks aim. Natural errors come
behind them, each with a reference image of the class that it is most often taken for. No image is in two pairs, so
that pairs are the units of all statistics. Where members are so poor that hardly any pair is left, pairs are made of
the labels alone, and count for the members that predict their class.

The first endpoint is the reference image. The second one is, by kind,

- genuine: the partner. boosted: the same, made surer of c by the attack.
- adversarial: the source image, attacked toward c. adversarial_iso: the same, steered to log-odds that natural errors
  have. joint: the attack that all members guide together, one image for all of them.
- adaptive: the attack that wants the line from the reference image to rise as those of genuine pairs do.
- natural_error: an image of another class that the member takes for c by itself.
- source: the clean source image; not of class c, but evaluated with it: what its own contents have in the way.

All attacks have one ball, pixels.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from landscape import objectives
from landscape.attacks import evading, projected
from landscape.ensembles import Mapping, map_members
from landscape.experiments.setting import example_keys
from landscape.measures.barrier import line_rise
from landscape.types import Apply

NONE = -1  # where a pair lacks an image
UNTOUCHED = {"genuine": "partner", "natural_error": "source", "source": "source"}  # kinds that nothing is searched for


class Pairs(NamedTuple):
    """Numbers of each pair's images on the axis of examples, [Q], NONE where there is none.

    The first `regular` pairs have all three; the others are natural errors, the error standing as `source`. label: the
    class c.
    """

    reference: np.ndarray
    partner: np.ndarray
    source: np.ndarray
    label: np.ndarray
    regular: int

    def rows(self, kind: str) -> np.ndarray:
        """The rows of a kind's pairs."""
        first, last = (self.regular, len(self.label)) if kind == "natural_error" else (0, self.regular)
        return np.arange(first, last)


def pairs_of(
    label: Int[np.ndarray, " N"],
    prediction: Int[np.ndarray, "S N"],
    probability: Float[np.ndarray, "N K"],
    *,
    num_pairs: int,
    num_errors: int,
    seed: int,
) -> Pairs:
    """Up to `num_pairs` regular pairs and up to `num_errors` natural errors; probability is the members' mean."""
    rng = np.random.default_rng([seed, 4])
    right = np.all(prediction == label, axis=0)
    masked = probability.copy()
    masked[np.arange(len(label)), label] = -np.inf
    likely = masked.argmax(axis=1)
    order = rng.permutation(np.flatnonzero(right)).tolist()
    # Natural errors first draw their reference images from the end of the order, so that they do not starve.
    errors, left = _errors(label, prediction, order, num_errors, rng)
    found = _in_turn(label, left, likely[:, None] == np.arange(probability.shape[1]), num_pairs)
    rows = [*found, *((reference, NONE, error, c) for reference, error, c in errors)]
    return Pairs(*np.asarray(rows, int).reshape(-1, 4).T, regular=len(found))


def pairs_by_label(label: Int[np.ndarray, " N"], *, num_pairs: int, seed: int) -> Pairs:
    """Up to `num_pairs` regular pairs of any images, sources of any other class, whatever members predict."""
    order = np.random.default_rng([seed, 4]).permutation(len(label)).tolist()
    found = _in_turn(label, order, np.ones((len(label), label.max() + 1), bool), num_pairs)
    return Pairs(*np.asarray(found, int).reshape(-1, 4).T, regular=len(found))


def _in_turn(
    label: Int[np.ndarray, " N"], left: list[int], aimed: Bool[np.ndarray, "N K"], num_pairs: int
) -> list[tuple[int, int, int, int]]:
    """(reference, partner, source, class) of the images that are left, class by class in turn; aimed: the classes that
    an image may be the source of.
    """
    found, classes = [], sorted(set(label.tolist()))
    while classes and len(found) < num_pairs:
        for c in tuple(classes):
            genuine = [i for i in left if label[i] == c][:2]
            source = [i for i in left if aimed[i, c] and label[i] != c][:1]
            if len(genuine) < 2 or not source:
                classes.remove(c)
                continue
            left = [i for i in left if i not in (*genuine, *source)]
            found.append((*genuine, *source, c))
            if len(found) == num_pairs:
                break
    return found


def _errors(label, prediction, order: list[int], count: int, rng) -> tuple[list[tuple[int, int, int]], list[int]]:
    """((reference, error, class) of each natural error, the images that are left)."""
    wrong = np.flatnonzero(np.any(prediction != label, axis=0))
    found, left = [], list(order)
    for error in rng.permutation(wrong).tolist()[:count]:
        own = prediction[:, error]
        values, counts = np.unique(own[own != label[error]], return_counts=True)
        c = int(values[counts.argmax()])
        reference = next((i for i in reversed(left) if label[i] == c), None)
        if reference is not None:
            left.remove(reference)
            found.append((reference, error, c))
    return found, left


def drawn(
    values: Float[np.ndarray, "S N"], mask: np.ndarray, count: int, *, seed: tuple[int, int], otherwise: float
) -> Float[np.ndarray, "S Q"]:
    """`count` values drawn from each member's own masked ones, with replacement; `otherwise` where it has none."""
    rng = np.random.default_rng(seed)
    found = np.full((len(values), count), otherwise, np.float32)
    for own, one, valid in zip(found, values, mask.astype(bool), strict=True):
        if valid.any():
            own[:] = rng.choice(one[valid], size=count)
    return found


def nodes_of(pairs: Pairs, most: int, num_classes: int) -> dict[int, np.ndarray]:
    """class -> rows of the pairs whose inputs are nodes of its graph: as many, at most `most`, as half of the classes
    with pairs have; classes with fewer have no graph.
    """
    by_class = [np.flatnonzero(pairs.label[: pairs.regular] == c) for c in range(num_classes)]
    enough = np.asarray([len(rows) for rows in by_class])
    sizes = [count for count in range(1, most + 1) if 2 * np.sum(enough >= count) >= np.sum(enough > 0) > 0]
    return {c: by_class[c][: sizes[-1]] for c in range(num_classes) if sizes and enough[c] >= sizes[-1]}


def attack(config, apply: Apply, how: Mapping, kind: str) -> Callable[..., dict[str, jax.Array]]:
    """(chunk, ensemble, weight) -> {"endpoint": [S, n, H, W, C]} of a kind that is searched for.

    chunk: images `reference`, `partner` and `source` [n, ...], `label` [n], `source_id` [n], which keys are of;
    `log_odds` [S, n], nats, that steered attacks want; `rise` [S, n], nats, that adaptive attacks want of the line.
    weight: of the distance from that rise, logits for a nat.
    """
    search, adaptive = config.search, config.adaptive
    ball = {name: search[name] for name in ("norm", "epsilon", "step_size")}
    full = ball | {name: search[name] for name in ("num_steps", "num_restarts")}

    def off(variables, x, target):
        """How far the line's rise is from the one that is wanted, nats."""
        label, (reference, rise) = target
        found = line_rise(variables, reference, x, label, apply=apply, num_points=adaptive.num_points)
        return jnp.abs(found - rise)

    def of_member(variables, log_odds, rise, chunk, keys, weight) -> jax.Array:
        x, label = chunk["partner" if kind == "boosted" else "source"], chunk["label"]
        if kind == "adaptive":
            options = {"score": off, "weight": weight, "num_steps": adaptive.num_steps, **ball}
            return evading.evade(keys, variables, x, label, (chunk["reference"], rise), apply=apply, **options)
        found = projected.targeted_pgd(keys, variables, x, label, apply=apply, **full)
        if kind == "adversarial_iso":
            options = {"start": found, "num_steps": config.pairs.iso_steps, **ball}
            found = projected.steered(keys, variables, x, label, log_odds, apply=apply, **options)
        return found

    def work(chunk, ensemble, weight) -> dict[str, jax.Array]:
        keys = example_keys(config.seed, "ends", chunk["source_id"])
        keys = jax.vmap(jax.random.fold_in, (0, None))(keys, 3 if kind == "adaptive" else 0)
        wanted = (chunk["log_odds"], chunk["rise"])
        if kind != "joint":
            shared = (chunk, keys, weight)
            return {"endpoint": map_members(of_member, ensemble, *wanted, shared=shared, how=how)}
        # For the mean of all members.
        mean = objectives.averaged(objectives.ascend(apply, objectives.log_odds))
        found = projected.attack(keys, ensemble, chunk["source"], chunk["label"], objective=mean, **full)
        return {"endpoint": jnp.repeat(found[None], len(wanted[0]), axis=0)}

    return work
