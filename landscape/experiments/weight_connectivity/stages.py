"""The stages of a weight_connectivity run.

Paths between every two members: the straight line, with the second endpoint's units as they are and in the order that
makes it most like the first (`training.alignment`), each with the units' statistics as interpolation leaves them and
reset (`models.repair`); and trained curves. Along each, what all classifiers on it predict for test images, for what an
attack on the first endpoint makes of them and for what an attack on the second one does.

Source: Ainsworth et al. 2022, arXiv:2209.04836; Jordan et al. 2022, arXiv:2211.08403; Garipov et al. 2018,
arXiv:1802.10026.
"""

from collections.abc import Callable
from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from landscape import ensembles, runs, tree
from landscape.attacks import projected
from landscape.ensembles import map_members
from landscape.experiments import audits, setting
from landscape.experiments.base import TRAINED, Stage, run_once, run_stage
from landscape.experiments.setting import Examples, Setting
from landscape.experiments.weight_connectivity import COMPUTED, SAVED
from landscape.experiments.weight_connectivity.estimates import Connection
from landscape.measures.weight_barrier import profile
from landscape.models.classifiers import Classifier
from landscape.models.permutations import Permutations, groups_of, permute
from landscape.models.repair import moments, repaired
from landscape.training import classifier_members, weight_curves
from landscape.training.alignment import activation_matching, activations, weight_matching
from landscape.types import Arrays, Ensemble, Variables

STATISTICS = ("plain", "reset")
INPUTS = ("clean", "first", "second")  # test images; adversarial examples of the first endpoint, of the second one
CHUNK = 2  # pairs


def compute(config, run: runs.Run) -> xr.Dataset:
    """Every array of a run; what is on disk is not computed again."""
    prepared, section = setting.prepare(config, run), config.weights
    coordinates = setting.coordinates(prepared)
    pairs = pairs_of(coordinates, prepared.trained)
    test = setting.examples(prepared.dataset, "test", section.num_examples, config.seed)
    training = setting.examples(prepared.dataset, "train", section.num_images, config.seed)
    z = attacked(config, run, prepared, test)
    own = (prepared.dataset, prepared.classifier, classifier_members.members_of(config), prepared.ensemble, pairs)
    curves = {curve: weight_curves.ensemble(run, config, *own, curve) for curve in section.curves}
    found = followed(config, run, prepared, pairs, curves, test, z, training)
    found |= {"pair_member": (("pair", "end"), pairs.astype(np.int32))}
    first = ensembles.take(prepared.ensemble, int(pairs[0, 0]))
    planted = run_once(run, "weights.planted", lambda: _planted(config, prepared, first, test, training), SAVED)
    coords = {"connection": [one.label for one in connections_of(config)], "input": list(INPUTS), "t": _grid(config)}
    coords |= {"matching": list(section.matchings), "example": test.ids, **coordinates}
    return xr.Dataset(found, coords).merge(planted).merge(audits.audit_dataset(config, run, prepared))


def connections_of(config) -> list[Connection]:
    """Lines with every matching, plain and reset, then curves: their running statistics, if any, are reset."""
    lines = [Connection("line", one, statistics) for one in config.weights.matchings for statistics in STATISTICS]
    last = STATISTICS[config.model.norm == "batch"]
    return lines + [Connection(curve, "none", last) for curve in config.weights.curves]


def pairs_of(coordinates: dict, trained: np.ndarray) -> np.ndarray:
    """Every two trained members of one kind of training, [Q, 2], the smaller number first.

    Args:
      coordinates: of the member axis, as `setting.coordinates` has them.
    """
    kinds = list(zip(*(coordinates[name][1] for name in TRAINED if name in coordinates), strict=True))
    kinds = kinds or [()] * len(trained)
    found = [two for two in combinations(np.flatnonzero(trained), 2) if kinds[two[0]] == kinds[two[1]]]
    return np.asarray(found, int)


def attacked(config, run: runs.Run, prepared: Setting, test: Examples) -> np.ndarray:
    """Each member's own adversarial examples of the test images, [S, N, H, W, C]."""
    fields = ("norm", "epsilon", "num_steps", "num_restarts")
    budget = {name: config.search[name] for name in fields} | {"apply": prepared.classifier.apply}

    def attack(variables, keys, x, label):
        return projected.multi_targeted(keys, variables, x, label, **budget)

    def work(chunk, ensemble) -> dict[str, jax.Array]:
        keys = setting.example_keys(config.seed, "weights.attacked", chunk["example"])
        shared = (keys, chunk["x"], chunk["true_label"])
        return {"z": map_members(attack, ensemble, shared=shared, how=prepared.how)}

    images, shared = setting.as_dataset(test)[["x", "true_label"]], {"ensemble": prepared.ensemble}
    return run_stage(run, Stage("weights.attacked", work, images, config.chunk, shared), COMPUTED).z.values


def orders(config, classifier: Classifier, training: Examples) -> Callable[[Variables, Variables, str], Permutations]:
    """order(a, b, matching) -> what `permute` takes of b."""
    active = jax.jit(lambda variables: activations(variables, jnp.asarray(training.x), classifier=classifier))

    def order(a: Variables, b: Variables, matching: str) -> Permutations:
        groups = groups_of(a)
        if matching == "weight":
            return weight_matching(a, b, seed=config.seed)
        if matching == "activation":
            return activation_matching(*(jax.tree.map(np.asarray, active(one)) for one in (a, b)), groups)
        return {name: np.arange(group.size) for name, group in groups.items()}

    return order


def _grid(config) -> np.ndarray:
    return np.linspace(0, 1, config.weights.num_points, dtype=np.float32)


def _program(config, classifier: Classifier, statistics: str, how: ensembles.Mapping) -> Callable:
    """program(points [Q, P, ...], curve, x [Q, E, N, ...], label, training images) -> loss and wrong, [Q, T, E, N]."""

    def one(points, x, rows, label, training):
        if statistics == "plain":
            return profile(points, rows, x, label, apply=classifier.apply)
        # Batch norm's are its running statistics, which no target is needed for.
        ends = [] if "batch_stats" in points else [ensembles.take(points, end) for end in (0, -1)]
        both = ensembles.stack([moments(end, training, classifier=classifier) for end in ends]) if ends else {}

        def restore(variables, weights):
            target = tree.blend(weights[jnp.asarray([0, -1])], both)
            return repaired(variables, target, training, classifier=classifier)

        return profile(points, rows, x, label, apply=classifier.apply, restore=restore)

    mapped = jax.jit(lambda points, x, rows, *shared: map_members(one, points, x, shared=(rows, *shared), how=how))

    def program(points, curve: str, x, label, training):
        weights = tree.CURVES["chain" if curve == "line" else curve]  # a line is the chain of one piece
        num_points = jax.tree.leaves(points)[0].shape[1]
        rows = jnp.stack([weights(jnp.float32(t), num_points) for t in _grid(config)])
        return mapped(points, x, rows, label, training)

    return program


def followed(
    config, run: runs.Run, prepared: Setting, pairs, curves: dict[str, Ensemble], test: Examples, z, training: Examples
) -> Arrays:
    """loss and wrong, pair by pair."""
    classifier, host = prepared.classifier, jax.tree.map(np.asarray, prepared.ensemble)
    images = (jnp.asarray(test.label), jnp.asarray(training.x))
    how, order = ensembles.parse(config.mapping, CHUNK), orders(config, classifier, training)
    programs = {statistics: _program(config, classifier, statistics, how) for statistics in STATISTICS}

    def lines(start: int, stop: int, matching: str) -> Ensemble:
        found = []
        for i, j in pairs[start:stop]:
            a, b = ensembles.take(host, i), ensembles.take(host, j)
            found.append(ensembles.stack([a, permute(b, groups_of(a), order(a, b, matching))]))
        return ensembles.stack(found)

    def work(start: int, stop: int) -> Arrays:
        x = jnp.asarray(np.stack([np.stack([test.x, *z[pair]]) for pair in pairs[start:stop]]))
        matched = {matching: lines(start, stop, matching) for matching in config.weights.matchings}
        losses, errors = [], []
        for one in connections_of(config):
            line = one.curve == "line"
            points = matched[one.matching] if line else ensembles.take(curves[one.curve], slice(start, stop))
            loss, wrong = programs[one.statistics](points, one.curve, x, *images)
            losses.append(np.asarray(loss)[:, :, 0])
            errors.append(np.asarray(wrong).swapaxes(1, 2))
        return {name: (SAVED[name].dims, np.stack(v)) for name, v in (("loss", losses), ("wrong", errors))}

    return runs.chunks(run, "weights.followed", work, len(pairs), CHUNK, dim="pair", unit="pairs")


def _planted(config, prepared: Setting, member: Variables, test: Examples, training: Examples) -> dict[str, list]:
    """The barrier that is left between a member and its copy with permuted units, 0 if the order is found again."""
    host, groups = jax.tree.map(np.asarray, member), groups_of(member)
    moved = permute(host, groups, shuffled(config.seed, groups))
    program = _program(config, prepared.classifier, "plain", ensembles.Mapping())
    order, left = orders(config, prepared.classifier, training), []
    inputs = (jnp.asarray(test.x)[None, None], jnp.asarray(test.label), jnp.asarray(training.x))
    for matching in config.weights.matchings:
        points = ensembles.stack([ensembles.stack([host, permute(moved, groups, order(host, moved, matching))])])
        loss, _ = program(points, "line", *inputs)
        mean = np.asarray(loss, np.float64)[0, :, 0].mean(axis=-1)
        left.append(mean.max() - max(mean[0], mean[-1]))
    return {"planted": left}


def shuffled(seed: int, groups) -> Permutations:
    """A random order of every group's units; those that share statistics stay together."""
    rng = np.random.default_rng([seed, 3])
    found = {}
    for name, group in groups.items():
        sets = rng.permutation(np.arange(group.size).reshape(-1, group.together))
        found[name] = np.concatenate([rng.permutation(one) for one in sets])
    return found
