"""Moves h -> h' of any kind, and what the neighbours say along them.

A move is a straight line between two points of one space: the image, a hidden layer, or an autoencoder's latent, which
is decoded to images. Whatever it came from, it is seen at the layer where it is and at all layers behind it.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from landscape import spaces
from landscape.experiments import setting
from landscape.experiments.inputs import check_labels, read_npz
from landscape.experiments.neighbors.representations import IMAGE, Layers, apart, in_blocks, layers_of
from landscape.experiments.setting import Setting
from landscape.files import UserError
from landscape.measures import credibility, neighbors
from landscape.training import classifier_members, imported, runner_up
from landscape.types import Variables

USER, ARRAYS = "user", ("start", "end", "label")  # of a user's file


class Move(NamedTuple):
    """Straight moves of N examples from one point to another.

    Attributes:
      name: of the kind. layer: where its points are seen first.
      start, end: points [N, ...].
      aim: class moved to, [N]; None: the one predicted at the end.
      decode: points -> what the layer holds.
    """

    name: str
    layer: str
    start: np.ndarray
    end: np.ndarray
    aim: np.ndarray | None = None
    decode: Callable[[Array], Array] = spaces.same

    def along(self, steps: Float[np.ndarray, " T"]) -> Float[np.ndarray, "T N *shape"]:
        """What the layer holds at each share of the way; the first and the last are start and end."""
        t = steps.reshape(-1, *(1,) * self.start.ndim).astype(np.float32)
        points = (1 - t) * self.start[None] + t * self.end[None]
        flat = np.asarray(self.decode(jnp.asarray(points.reshape(-1, *points.shape[2:]))))
        return flat.reshape(*points.shape[:2], *flat.shape[1:])


def partners(label: Int[np.ndarray, " N"], wanted: Int[np.ndarray, " n"], seed: int) -> Int[np.ndarray, " n"]:
    """For each wanted class a row of `label` that has it, drawn at random; any row where none has."""
    rng = np.random.default_rng(seed)
    rows = [np.flatnonzero(label == one) for one in wanted]
    return np.array([rng.choice(found if len(found) else np.arange(len(label))) for found in rows])


def of_member(
    prepared: Setting,
    layers: Layers,
    variables: Variables,
    found: dict[str, np.ndarray],
    length: float,
    decode: Callable[[Array], Array],
) -> list[Move]:
    """The moves of a member: adversarial, on the manifold, between images, and to the runner-up at every layer.

    Args:
      found: `x`, `adversarial`, `partner` and `latent` (its two ends) of the examples moved, `partner_label`.
      length: of runner-up moves, in norms of the representation. decode: latents -> images.
    """
    classifier, x = prepared.classifier, found["x"]
    moves = [
        Move("adversarial", IMAGE, x, found["adversarial"]),
        Move("manifold", IMAGE, *found["latent"], decode=decode),
        Move("interpolation", IMAGE, x, found["partner"], found["partner_label"]),
    ]
    for layer in layers.names:

        def program(variables, x, layer=layer):
            h = classifier.features(variables, x, layer)
            return h, *runner_up.all_moved(lambda h: classifier.head(variables, h, layer), h, length)

        start, end, aim = map(np.asarray, jax.jit(program)(variables, x))
        moves.append(Move(f"runner_up.{layer}", layer, start, end, aim))
    return moves


def names_of(layers: Layers, mine: "Mine | None") -> dict[str, str]:
    """Every move of a run and its layer."""
    images = {name: IMAGE for name in ("adversarial", "manifold", "interpolation")}
    own = {} if mine is None else {USER: mine.layer}
    return images | {f"runner_up.{layer}": layer for layer in layers.names} | own


# ---- what is seen along them ----


class Known(NamedTuple):
    """What moves of one member are compared with: points of the reference set and the typical distance, by layer.

    label: classes of the reference set. k, metric: of the neighbours. num_classes: K.
    """

    points: dict[str, np.ndarray]
    typical: dict[str, float]
    label: np.ndarray
    k: int
    metric: str
    num_classes: int


def follow(
    move: Move,
    label: Int[np.ndarray, " N"],
    steps: Float[np.ndarray, " T"],
    layers: Layers,
    variables: Variables,
    known: Known,
) -> dict[str, np.ndarray]:
    """What the neighbours say along a move.

    Returns:
      FOLLOWED and `move_near`, the rows of the nearest PLACES reference points, each [T, L, N, ..]; NaN and -1 at
      layers where the move is not seen. `move_prediction` [T, N]; `aim` [N]; `move_counts` [N].
    """
    path = move.along(steps)
    shape, flat = path.shape[:2], path.reshape(-1, *path.shape[2:])
    prediction = np.asarray(_predict(layers, move.layer)(variables, flat)).reshape(shape)
    aim = prediction[-1] if move.aim is None else move.aim
    found = {name: np.full((shape[0], len(layers.names), shape[1]), np.nan, np.float32) for name in FOLLOWED}
    near = np.full((shape[0], len(layers.names), shape[1], PLACES), -1, np.int32)
    seen = in_blocks(layers.represent[move.layer], variables, flat)
    for layer, h in zip(layers.behind(move.layer), seen, strict=True):
        at, points, typical = layers.names.index(layer), known.points[layer], known.typical[layer]
        starts = np.tile(h[: shape[1]], (shape[0], 1))
        distance, index = map(np.asarray, neighbors.nearest(h, points, known.k, metric=known.metric))
        counts = (known.label[index][:, :, None] == np.arange(known.num_classes)).sum(axis=1).reshape(*shape, -1)
        values = {
            "move_true": counts[:, np.arange(shape[1]), label] / known.k,
            "move_aim": counts[:, np.arange(shape[1]), aim] / known.k,
            "move_purity": counts.max(axis=-1) / known.k,
            "move_majority": credibility.majority(known.label[index], known.num_classes),
            "move_rank": neighbors.num_nearer(h, points, starts, metric=known.metric),
            "move_length": apart(h, starts, known.metric) / typical,
            "move_far": distance[:, -1] / typical,
        }
        for name, value in values.items():
            found[name][:, at] = np.asarray(value).reshape(shape)
        near[:, at, :, : min(PLACES, known.k)] = index[:, :PLACES].reshape(*shape, -1)
    counts = (prediction[0] == label) & (aim != label)
    return found | {"move_near": near, "move_prediction": prediction, "aim": aim, "move_counts": counts}


FOLLOWED = ("move_true", "move_aim", "move_purity", "move_majority", "move_rank", "move_length", "move_far")
PLACES = 5  # neighbours that are kept for pictures


@functools.lru_cache(maxsize=64)  # the same function gives the same compiled program
def _head(head: Callable, layer: str) -> Callable[[Variables, Array], Array]:
    return jax.jit(lambda variables, h: jnp.argmax(head(variables, h, layer), axis=-1))


def _predict(layers: Layers, layer: str) -> Callable[[Variables, Array], Array]:
    return _head(layers.classifier.head, layer)


# ---- a user's own moves ----


class Mine(NamedTuple):
    """A user's moves, filled up with repeats to as many as other kinds have.

    start, end: [N, ...] of all members, or [S, N, ...] where `of_each`. label: true classes, [N]. given: which are no
    repeats, [N].
    """

    layer: str
    start: np.ndarray
    end: np.ndarray
    label: np.ndarray
    given: np.ndarray
    of_each: bool

    def of_member(self, i: int) -> Move:
        return Move(USER, self.layer, *(one[i] if self.of_each else one for one in (self.start, self.end)))


def read_moves(config) -> Mine:
    """Reads config.moves, FILE.npz: start, end and label, and perhaps layer, a name; images without it.

    Arrays: start and end, floats [N, ...] as the layer holds them, or [S, N, ...] with those of every member; label,
    integers [N], the true classes.

    Raises:
      UserError: no such file, a missing array, a wrong shape or layer, more than along.num_examples moves.
    """
    path, most = config.moves, config.along.num_examples
    dataset, classifier = setting.load(config)
    layers = layers_of(config, classifier)
    arrays = read_npz("moves", path, ARRAYS)
    layer, label = str(arrays.get("layer", IMAGE)), np.atleast_1d(arrays["label"])
    if layer not in layers.names:
        raise UserError(f"moves={path}: layer {layer!r}; expected one of {', '.join(layers.names)}")
    members = classifier_members.members_of(config, classifier)
    image = np.zeros((1, *dataset.images.shape[1:]), np.float32)
    one = imported.one_of(config, classifier, dataset, members)
    shape = jax.eval_shape(lambda v, x: classifier.features(v, x, layer), one, image).shape[1:]
    plain, each = (len(label), *shape), (len(members), len(label), *shape)
    for name in ("start", "end"):
        array = arrays[name]
        if array.shape not in (plain, each) or array.dtype.kind != "f" or not np.isfinite(array).all():
            raise UserError(
                f"moves={path}: {name} is {array.dtype} of shape {list(array.shape)}; expected finite floats of shape "
                f"{list(plain)}, as {layer} holds them, or {list(each)} with those of every member"
            )
    if arrays["start"].shape != arrays["end"].shape:
        raise UserError(f"moves={path}: start and end of unlike shapes; expected one shape")
    check_labels(f"moves={path}", label, dataset.class_names)
    if len(label) > most:
        raise UserError(f"moves={path}: {len(label)} moves; expected at most {most}; raise along.num_examples")
    rows, of_each = np.resize(np.arange(len(label)), most), arrays["start"].shape == each
    ends = (np.take(arrays[name].astype(np.float32), rows, axis=int(of_each)) for name in ("start", "end"))
    return Mine(layer, *ends, label[rows].astype(np.int32), np.arange(most) < len(label), of_each)
