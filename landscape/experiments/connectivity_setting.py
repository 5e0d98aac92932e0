"""What the experiment `connectivity` works with: members, the autoencoder, and which images make a pair.

A *pair* is two inputs that a member predicts as one class c. Pairs are made of images that all members classify
rightly, four for each: the `anchor` and `other`, of class c, and two carriers, `carrier` and `second`, of other classes
whose most probable wrong class, by the members' mean, is c; there attacks aim. Natural errors come behind them, each
with an anchor of the class that it is most often taken for. No image is in two pairs, so that pairs are the units of
all statistics.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from landscape import ensembles, objectives, runs
from landscape.ensembles import Mapping, map_members
from landscape.experiments import autoencoder_cells as cells
from landscape.experiments import setting
from landscape.experiments.autoencoder_cells import Cell
from landscape.experiments.setting import Examples, Setting
from landscape.models.classifiers import Classifier
from landscape.spaces import l2_norm
from landscape.types import Arrays, Ensemble

NONE = -1  # where a pair lacks an image


class Pairs(NamedTuple):
    """Places of each pair's images on the axis of examples, [Q], NONE where there is none.

    The first `regular` pairs have all four; the others are natural errors, the error standing as `carrier`. label: the
    class c.
    """

    anchor: np.ndarray
    other: np.ndarray
    carrier: np.ndarray
    second: np.ndarray
    label: np.ndarray
    regular: int


class Connected(NamedTuple):
    """All that pairs and paths are made of.

    cell: one autoencoder of images. latent_norm: root mean squared norm of its centred latents. held: validation
    images, on which weights of attacks are chosen.
    """

    prepared: Setting
    classifier: Classifier
    ensemble: Ensemble
    cell: Cell
    latent_norm: float
    test: Examples
    held: Examples
    how: Mapping


def prepare(config, run: runs.Run) -> Connected:
    """Restores or trains members and autoencoder, and takes the images."""
    prepared = setting.prepare(config, run)
    one = setting.with_members(config, 1)
    first = prepared._replace(ensemble=ensembles.take(prepared.ensemble, slice(1)), members=prepared.members[:1])
    layer, family = cells.image_layer(one, first), config.manifold.family
    cell = cells.train(one, run, prepared, layer, family, cells.size_of(config, family, config.autoencoder.dim))
    bank = jnp.asarray(layer.bank.x)
    z = cell.autoencoder.encode(ensembles.take(cell.ensemble, 0), bank)
    spread = float(jnp.sqrt(jnp.mean(jnp.square(l2_norm(z - jnp.mean(z, axis=0, keepdims=True))))))
    images = [
        setting.examples(prepared.dataset, split, config.pairs.num_examples, config.seed)
        for split in ("test", "validation")
    ]
    return Connected(prepared, prepared.classifier, prepared.ensemble, cell, spread, *images, prepared.how)


def clean(config, run: runs.Run, connected: Connected, split: str) -> Arrays:
    """clean_prediction and clean_margin (of the predicted class) [member, example]; probability [example, class], the
    members' mean; latent [example, latent].
    """
    classifier, examples = connected.classifier, connected.test if split == "test" else connected.held

    def judge(variables, x):
        logits = classifier.apply(variables, x)
        prediction = jnp.argmax(logits, axis=-1)
        return prediction, objectives.margin(logits, prediction), jax.nn.softmax(logits)

    program = jax.jit(lambda e, x: map_members(judge, e, shared=(x,), how=connected.how))
    encode, count = jax.jit(connected.cell.autoencoder.encode), len(examples.x)
    size = min(config.chunk, count)

    def work(start: int, stop: int) -> Arrays:
        # A chunk that is cut short is filled up, so that it compiles nothing.
        x = jnp.asarray(examples.x[np.resize(np.arange(start, stop), size)])
        told = program(connected.ensemble, x)
        prediction, margin, probability = (np.asarray(part)[:, : stop - start] for part in told)
        z = np.asarray(encode(ensembles.take(connected.cell.ensemble, 0), x))[: stop - start]
        return {
            "clean_prediction": (("member", "example"), prediction.astype(np.int16)),
            "clean_margin": (("member", "example"), margin),
            "probability": (("example", "class"), probability.mean(axis=0)),
            "latent": (("example", "latent"), z.reshape(len(z), -1)),
        }

    return runs.chunks(run, f"clean.{split}", work, count, size, dim="example")


def pairs_of(
    label: np.ndarray, prediction: np.ndarray, probability: np.ndarray, *, num_pairs: int, num_errors: int, seed: int
) -> Pairs:
    """Up to `num_pairs` regular pairs, class by class in turn, and up to `num_errors` natural errors.

    Args:
      label: [N]. prediction: [S, N]. probability: mean over members, [N, K].
    """
    rng = np.random.default_rng([seed, 4])
    right = np.all(prediction == label, axis=0)
    masked = probability.copy()
    masked[np.arange(len(label)), label] = -np.inf
    likely = masked.argmax(axis=1)
    order = rng.permutation(np.flatnonzero(right)).tolist()
    # Natural errors first draw their anchors from the end of the order, so that they do not starve.
    errors, left = _errors(label, prediction, order, num_errors, rng)
    found, classes = [], sorted(set(label.tolist()))
    while classes and len(found) < num_pairs:
        for c in tuple(classes):
            genuine = [i for i in left if label[i] == c][:2]
            carriers = [i for i in left if likely[i] == c and label[i] != c][:2]
            if len(genuine) < 2 or len(carriers) < 2:
                classes.remove(c)
                continue
            used = {*genuine, *carriers}
            left = [i for i in left if i not in used]
            found.append((*genuine, *carriers, c))
            if len(found) == num_pairs:
                break
    rows = [*found, *((anchor, NONE, error, NONE, c) for anchor, error, c in errors)]
    return Pairs(*np.asarray(rows, int).reshape(-1, 5).T, regular=len(found))


def _errors(label, prediction, order: list[int], count: int, rng) -> tuple[list[tuple[int, int, int]], list[int]]:
    """((anchor, error, class) of each natural error, the images that are left)."""
    wrong = np.flatnonzero(np.any(prediction != label, axis=0))
    found, left = [], list(order)
    for error in rng.permutation(wrong).tolist()[:count]:
        told = prediction[:, error]
        values, counts = np.unique(told[told != label[error]], return_counts=True)
        c = int(values[counts.argmax()])
        anchor = next((i for i in reversed(left) if label[i] == c), None)
        if anchor is not None:
            left.remove(anchor)
            found.append((anchor, error, c))
    return found, left
