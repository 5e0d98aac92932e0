"""The stages of a dictionaries run: one classifier, and of its last layers dictionaries of many seeds.

For each layer: points; starts; all settings trained, seeds and starts of one shape together; errors on test images;
agreement between seeds; what the logits lose with one feature.
"""

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Bool, Float, Int

from landscape import ensembles, runs
from landscape.data import Dataset
from landscape.ensembles import map_members
from landscape.experiments import setting
from landscape.experiments.dictionaries import SCHEMA
from landscape.experiments.dictionaries.config import KINDS, RANKS, STARTS, TIMES
from landscape.experiments.setting import Examples, Setting
from landscape.files import UserError
from landscape.measures.feature_agreement import correlations, cosines, matched
from landscape.models import baselines, dictionaries
from landscape.models.dictionaries import Dictionary, Hull
from landscape.training import dictionary_members
from landscape.training.dictionary_members import Course
from landscape.types import Arrays, Variables

BLOCK = 500  # images whose activations are taken, or points of which are encoded, at once
MATCHED = 4096  # points of test images that activations are compared on, at most
SPREAD = 3.0  # standard deviation of the logarithms of A where atoms of "archetypal" start at random
SHOWN = 6  # features pictured


class Layer(NamedTuple):
    """One layer of the classifier. A point is its activation at one place of an image, over `scale`.

    Attributes:
      name; shape: of h, [H, W, C] or [C]. scale: root of the mean square of h's entries over training points.
      train: training points [N, D]. test: points of test images [n, places, D]. mean: of the training points [D].
    """

    name: str
    shape: tuple[int, ...]
    scale: float
    train: np.ndarray
    test: np.ndarray
    mean: np.ndarray


class Kept(NamedTuple):
    """The settings of one layer, kind and width that are trained in one program, and those of them compared."""

    kind: str
    times: int
    grid: tuple[tuple[str, float], ...]  # (start, sparsity)

    def names(self, layer: str) -> list[str]:
        """Labels of its settings."""
        return [f"{layer}.{self.kind}.{self.times}.{start}.{sparsity:g}" for start, sparsity in self.grid]


def compute(config, run: runs.Run) -> xr.Dataset:
    """Every array of a run; what is on disk is not computed again."""
    prepared, section = setting.prepare(config, run, functools.partial(check, config)), config.dictionaries
    test = setting.examples(prepared.dataset, "test", config.num_examples, config.seed)
    training = setting.shuffled(prepared.dataset, "train", section.num_points, config.seed)
    names = prepared.classifier.layers[1:][-section.num_layers :]
    member, settings, compared = ensembles.take(prepared.ensemble, 0), [], []
    for name in names:
        layer = layer_of(prepared, member, name, training, test)
        own, of_compared = described(config, run, layer)
        settings.append(own)
        compared.append(of_compared.merge(removed(config, run, prepared, member, layer, test)))
    found = xr.concat(settings, "setting").merge(xr.concat(compared, "layer"))
    coords = {"layer": list(names), "kind": list(KINDS), "start": list(STARTS), "time": list(TIMES)}
    return found.drop_vars("features", errors="ignore").assign_coords(coords | {"example": test.ids})


def check(config, dataset: Dataset) -> None:
    """Refuses more layers than the classifier has, and layers with fewer points than a batch or features take."""
    section, classifier = config.dictionaries, setting.classifier_of(config, dataset)
    names = classifier.layers[1:][-section.num_layers :]
    if len(names) < section.num_layers:
        raise UserError(
            f"dictionaries.num_layers={section.num_layers}: expected at most {len(names)}, the classifier's; "
            f"add --config.dictionaries.num_layers={len(names)}"
        )
    num_images = min(section.num_points, len(dataset.splits["train"]))
    for name, (*places, width) in setting.layer_shapes(config, dataset, names).items():
        count, most = num_images * math.prod(places), max(section.widths)
        if count < max(section.batch_size, most * width):
            raise UserError(
                f"dictionaries.num_points={section.num_points}: {count} points of {name}; expected "
                f"{section.batch_size} or more for a batch, and {most * width}, the features of {most} times its "
                "width; take more images or smaller widths"
            )


# ---- points ----


def layer_of(prepared: Setting, member: Variables, name: str, training: Examples, test: Examples) -> Layer:
    """Points of a layer: of training images, and by image of test images."""
    take = jax.jit(lambda variables, x: prepared.classifier.features(variables, x, name))

    def features(x: np.ndarray) -> np.ndarray:
        return np.concatenate([np.asarray(take(member, x[i : i + BLOCK])) for i in range(0, len(x), BLOCK)])

    h, own = features(training.x), features(test.x)
    width = h.shape[-1]
    scale = float(np.sqrt(np.square(h).mean(dtype=np.float64)))
    points = (h / scale).reshape(-1, width)
    mean = points.mean(axis=0, dtype=np.float64).astype(np.float32)
    return Layer(name, h.shape[1:], scale, points, (own / scale).reshape(len(own), -1, width), mean)


# ---- training ----


def trained_together(section) -> list[Kept]:
    """All settings: of each kind widths and sparsities from random starts, and what is compared from every start.

    "archetypal" has what is compared alone.
    """
    found = []
    for kind, times in itertools.product(KINDS, section.widths):
        sparsities, one = sparsities_of(section, kind)
        compared = times == section.width
        curve = () if kind == "archetypal" else sparsities
        grid = [(STARTS[0], sparsity) for sparsity in curve]
        grid += [(start, one) for start in STARTS if compared and (start, one) not in grid]
        if grid:
            found.append(Kept(kind, times, tuple(grid)))
    return found


def sparsities_of(section, kind: str) -> tuple[tuple[float, ...], float]:
    """Sparsities of a kind's curve, and the one that seeds are compared at."""
    names = ("penalties", "penalty") if kind == "jumprelu" else ("ks", "k")
    return tuple(map(float, section[names[0]])), float(section[names[1]])


def start_atoms(config, run: runs.Run, layer: Layer, width: int) -> Arrays:
    """Atoms before training by start, [start, seed, W, D], and the points that archetypal atoms are mixed of."""
    section = config.dictionaries

    def work() -> Arrays:
        rng = np.random.default_rng([config.seed, width])
        random = rng.standard_normal((section.num_seeds, width, layer.train.shape[1])).astype(np.float32)

        def centres(count: int, seed: int) -> np.ndarray:
            return np.asarray(baselines.fit_kmeans(layer.train, count, seed=seed))

        own = np.stack([centres(width, config.seed + 1 + seed) for seed in range(section.num_seeds)])
        shared = np.broadcast_to(centres(width, config.seed), own.shape)
        hull = centres(min(section.hull * width, len(layer.train) // 4), config.seed)
        dims = ("start", "dictionary", "feature", "entry")
        return {"atoms": (dims, np.stack([random, own, shared])), "hull": (("point", "entry"), hull)}

    return runs.once(run, f"{layer.name}.starts.{width}", work)


def trained(config, run: runs.Run, layer: Layer, kept: Kept) -> tuple[Dictionary, Dictionary, np.ndarray]:
    """(before, after, times revived) of all settings and seeds of one program, [settings, seeds, ...]."""
    section = config.dictionaries
    count = section.num_seeds if kept.times == section.width else section.num_curve_seeds
    width, seeds = kept.times * layer.train.shape[1], np.arange(count)
    course = Course(
        kept.kind, section.num_epochs, section.batch_size, section.learning_rate, max(section.ks), section.revived
    )
    if kept.grid == tuple((STARTS[0], sparsity) for _, sparsity in kept.grid):  # no k-means where nobody starts there
        rng = np.random.default_rng([config.seed, width])
        begun = {"atoms": rng.standard_normal((1, count, width, layer.train.shape[1])).astype(np.float32)}
        hull = Hull(jnp.zeros((1, layer.train.shape[1])), jnp.float32(0))
    else:
        begun = {name: value for name, (_, value) in start_atoms(config, run, layer, width).items()}
        norm = np.linalg.norm(begun["hull"], axis=1).mean()
        hull = Hull(jnp.asarray(begun["hull"]), jnp.float32(section.relaxation * norm))
    how, h = ensembles.parse(config.mapping, count), jnp.asarray(layer.train)
    key = setting.stage_key(config.seed, f"dictionaries.{layer.name}.{width}")
    program = dictionary_members.program_of(course, how)

    def params(start: str, seed: int) -> dict[str, Any]:
        atoms, mixing = jnp.asarray(begun["atoms"][STARTS.index(start), seed]), None
        if kept.kind == "archetypal" and start == STARTS[0]:
            shape = (width, len(hull.points))
            mixing = SPREAD * jax.random.normal(jax.random.fold_in(jax.random.fold_in(key, seed), 2), shape)
        return dictionaries.start(kept.kind, atoms, hull, mixing)

    def work(first: int, last: int) -> Arrays:  # all seeds of some settings
        parts = []
        for start, sparsity in kept.grid[first:last]:
            members = ensembles.stack([params(start, int(seed)) for seed in seeds])
            keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.asarray(seeds))
            found = program(members, keys, jnp.full(count, sparsity, jnp.float32), hull, h)
            if not all(np.isfinite(np.asarray(leaf)).all() for leaf in found.after):
                raise UserError(
                    f"training: a dictionary {kept.kind} of {layer.name} is not finite; expected finite numbers; try a "
                    "smaller --config.dictionaries.learning_rate"
                )
            parts.append(jax.tree.map(np.asarray, found))
        joined = jax.tree.map(lambda *leaves: np.stack(leaves), *parts)
        arrays = {
            f"{name}.{field}": a
            for name in ("before", "after")
            for field, a in zip(Dictionary._fields, getattr(joined, name), strict=True)
        } | {"revived": joined.revived}
        return {name: (("setting", *(f"{name}{i}" for i in range(1, a.ndim))), a) for name, a in arrays.items()}

    stage = f"{layer.name}.{kept.kind}.{kept.times}"
    found = runs.chunks(run, stage, work, len(kept.grid), 1, dim="setting", unit="settings")
    both = [Dictionary(*(found[f"{name}.{field}"][1] for field in Dictionary._fields)) for name in ("before", "after")]
    return *both, found["revived"][1]


# ---- what is found ----


def described(config, run: runs.Run, layer: Layer) -> tuple[xr.Dataset, xr.Dataset]:
    """Errors of all settings of a layer, and the agreement of the compared ones."""
    section, parts, agreements = config.dictionaries, [], {}
    for kept in trained_together(section):
        before, after, revivals = trained(config, run, layer, kept)
        one = sparsities_of(section, kept.kind)[1]
        alive, found = [], []
        for i, (_, sparsity) in enumerate(kept.grid):
            own = ensembles.take(after, i)
            found.append(measured(layer, kept.kind, own, sparsity, int(max(section.ks))))
            alive.append(found[-1].pop("alive"))
        some = slice(section.num_curve_seeds)
        about = {name: np.stack([f[name][some] for f in found]) for name in found[0]} | {"revived": revivals[:, some]}
        dims = {"error": SCHEMA["error"].dims, "active": SCHEMA["active"].dims}
        arrays = {name: (dims.get(name, ("setting", "of_curve")), a) for name, a in about.items()}
        compared = [kept.times == section.width and sparsity == one for _, sparsity in kept.grid]
        count = len(kept.grid)
        labels = {"layer_of": [layer.name] * count, "kind_of": [kept.kind] * count, "times": [kept.times] * count}
        labels |= {"start_of": [s for s, _ in kept.grid], "sparsity": [s for _, s in kept.grid], "compared": compared}
        coords = {name: ("setting", value) for name, value in labels.items()} | {"setting": kept.names(layer.name)}
        away = np.square(layer.test - layer.mean[None, None]).mean(axis=(1, 2))
        arrays["from_mean"] = ("setting", "example"), np.broadcast_to(away, (count, len(away)))
        parts.append(xr.Dataset(arrays, coords))
        for i, (start, _) in enumerate(kept.grid):
            if compared[i]:
                both = tuple(ensembles.take(one, i) for one in (before, after))
                agreements[kept.kind, start] = agreement(config, run, layer, kept.kind, start, both, alive[i])
    joined = {
        name: np.stack([np.stack([agreements[kind, start][name] for start in STARTS]) for kind in KINDS])
        for name in ("atoms_agree", "activations_agree", "stayed")
    }
    return xr.concat(parts, "setting"), xr.Dataset({n: (SCHEMA[n].dims[1:], a) for n, a in joined.items()})


@functools.lru_cache(maxsize=8)  # compiled once, for all settings of a kind and shape
def _encoder(kind: str, most: int) -> Callable:
    """encode(dictionaries, h, sparsity) -> activations of every seed, [S, N, W]."""

    def one(dictionary, h, sparsity):
        return dictionaries.encode(kind, dictionary, h, sparsity, most)

    return jax.jit(lambda own, h, sparsity: map_members(one, own, shared=(h, sparsity)))


@functools.lru_cache(maxsize=8)
def _measure(kind: str, most: int) -> Callable:
    """measure(dictionaries, h, sparsity) -> errors and active features [S, N], whether a feature is active [S, W]."""

    def one(dictionary, h, sparsity):
        z = dictionaries.encode(kind, dictionary, h, sparsity, most)
        error = jnp.mean(jnp.square(dictionaries.decode(dictionary, z) - h), axis=1)
        return error, jnp.sum(z > 0, axis=1), jnp.any(z > 0, axis=0)

    return jax.jit(lambda own, h, sparsity: map_members(one, own, shared=(h, sparsity)))


def encoded(kind: str, own: Dictionary, points: np.ndarray, sparsity: float, most: int) -> np.ndarray:
    """Activations of every seed, [S, N, W]."""
    return np.asarray(_encoder(kind, most)(own, jnp.asarray(points), jnp.float32(sparsity)))


def measured(layer: Layer, kind: str, own: Dictionary, sparsity: float, most: int) -> dict[str, np.ndarray]:
    """error and active [S, N] of test images, dead [S]; alive [S, W]: features active at some training point."""
    program = _measure(kind, most)
    count, places, width = layer.test.shape
    size = min(BLOCK, count)

    def over(points: np.ndarray, rows: int) -> list[tuple]:
        starts = range(0, len(points), rows)
        blocks = (points[np.resize(np.arange(i, min(i + rows, len(points))), rows)] for i in starts)
        return [tuple(map(np.asarray, program(own, jnp.asarray(block), jnp.float32(sparsity)))) for block in blocks]

    parts = over(layer.test.reshape(-1, width), size * places)
    by_image = [np.concatenate([p[j] for p in parts], axis=1)[:, : count * places] for j in (0, 1)]
    error, active = (a.reshape(len(a), count, places).mean(axis=2) for a in by_image)
    alive = np.any([p[2] for p in over(layer.train, size * places)], axis=0)
    return {"error": error, "active": active, "dead": 1 - alive.mean(axis=1), "alive": alive}


def agreement(
    config, run: runs.Run, layer: Layer, kind: str, start: str, both: tuple[Dictionary, Dictionary], alive: np.ndarray
) -> dict[str, np.ndarray]:
    """`similarities` of one setting, on points of test images."""
    section, points = config.dictionaries, layer.test.reshape(-1, layer.test.shape[-1])
    points = points[np.random.default_rng(config.seed).permutation(len(points))[:MATCHED]]
    sparsity, most = sparsities_of(section, kind)[1], int(max(section.ks))

    def work() -> Arrays:
        found = similarities(both, [encoded(kind, own, points, sparsity, most) for own in both], alive)
        return {name: (SCHEMA[name].dims[3:], value) for name, value in found.items()}

    return {name: value for name, (_, value) in runs.once(run, f"{layer.name}.agreement.{kind}.{start}", work).items()}


def similarities(
    both: tuple[Dictionary, Dictionary], z: Sequence[np.ndarray], alive: Bool[np.ndarray, "S W"]
) -> dict[str, np.ndarray]:
    """Of every two seeds the mean similarity of matched features before and after training; how much atoms stayed.

    Of each dictionary the features that are alive at the end, at both times.

    Args:
      both: dictionaries of all seeds before and after. z: their activations at the same points, [S, N, W] each.

    Returns:
      atoms_agree, activations_agree [2, S, S], NaN on the diagonal; stayed [S].
    """
    count = len(alive)
    found = {name: np.full((2, count, count), np.nan) for name in ("atoms_agree", "activations_agree")}
    for (t, own), (i, j) in itertools.product(enumerate(both), itertools.combinations(range(count), 2)):
        atoms = cosines(own.atoms[i][alive[i]], own.atoms[j][alive[j]])
        active = correlations(z[t][i][:, alive[i]], z[t][j][:, alive[j]])
        for name, similarity in zip(found, (atoms, active), strict=True):
            found[name][t, i, j] = found[name][t, j, i] = matched(similarity)
    stayed = [np.sum(a * b, axis=1)[own].mean() for a, b, own in zip(both[0].atoms, both[1].atoms, alive, strict=True)]
    return found | {"stayed": np.asarray(stayed)}


# ---- one feature removed ----


def removed(config, run: runs.Run, prepared: Setting, member: Variables, layer: Layer, test: Examples) -> xr.Dataset:
    """What the logits of test images lose with each feature of the compared topk dictionaries from random starts.

    h becomes h - scale z_i d_i at all places, so that what the dictionary does not explain stays.
    """
    section = config.dictionaries
    kept = next(one for one in trained_together(section) if (one.kind, one.times) == (KINDS[0], section.width))
    own = ensembles.take(trained(config, run, layer, kept)[1], kept.grid.index((STARTS[0], float(section.k))))
    h = layer.test[: section.num_removed]

    def work() -> Arrays:
        z = encoded(KINDS[0], own, h.reshape(-1, h.shape[-1]), float(section.k), max(section.ks))
        z = z.reshape(len(z), *h.shape[:2], -1)  # seed, image, place, feature
        found = effects(prepared.classifier.head, member, layer, own, z, h)
        shown = strongest(found["logit_change"][0], found["share_active"][0], SHOWN, RANKS / len(h))
        order = np.argsort(-z[0].max(axis=1)[:, shown], axis=0, kind="stable")[:RANKS].T
        found |= {"picture_top": test.x[order], "shown_feature": shown}
        return {name: (SCHEMA[name].dims[1:], value) for name, value in found.items()}

    return xr.Dataset(runs.once(run, f"{layer.name}.removed", work))


def effects(
    head: Callable, member: Variables, layer: Layer, own: Dictionary, z: np.ndarray, h: np.ndarray
) -> dict[str, np.ndarray]:
    """logit_change, changed and share_active of every feature of every seed, [S, W].

    Args:
      head: of the classifier. z: activations [S, images, places, W]. h: points [images, places, D].
    """

    def logits(variables, points):
        whole = (layer.scale * points).reshape(len(points), *layer.shape)
        return head(variables, whole, layer.name)

    def one(atoms, z, variables, h):
        whole = logits(variables, h)
        top = jnp.argmax(whole, axis=1)

        def without(feature):
            atom, activation = feature
            left = logits(variables, h - activation[:, :, None] * atom[None, None])
            moved = jnp.abs(jnp.take_along_axis(left - whole, top[:, None], axis=1)[:, 0])
            active = jnp.any(activation > 0, axis=1)
            number, changed = jnp.sum(active), jnp.argmax(left, axis=1) != top
            return *(jnp.sum(jnp.where(active, v, 0.0)) / number for v in (moved, changed)), number / len(active)

        return jax.lax.map(without, (atoms, jnp.moveaxis(z, -1, 0)))

    program = jax.jit(lambda atoms, z, *shared: map_members(one, atoms, z, shared=shared))
    values = program(jnp.asarray(own.atoms), jnp.asarray(z), member, jnp.asarray(h))
    return dict(zip(("logit_change", "changed", "share_active"), map(np.asarray, values), strict=True))


def strongest(
    change: Float[np.ndarray, " W"], share: Float[np.ndarray, " W"], count: int, least: float
) -> Int[np.ndarray, " C"]:
    """Numbers of the features with the largest change, those active on a share of at least `least` first."""
    order = np.argsort(-np.nan_to_num(np.where(share >= least, change, -1.0), nan=-1.0), kind="stable")
    return order[:count]
