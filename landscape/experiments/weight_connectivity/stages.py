"""The stages of a weight_connectivity run.

Paths between every two members: the straight line, with the second endpoint's units as they are and in the order that
makes it most like the first (`training.alignment`), each with the units' statistics as interpolation leaves them and
reset (`models.repair`); and trained curves. Along each, what all classifiers on it predict for test images, for what an
attack on the first endpoint makes of them and for what an attack on the second one does.

Source: Ainsworth et al. 2022, arXiv:2209.04836; Jordan et al. 2022, arXiv:2211.08403; Garipov et al. 2018,
arXiv:1802.10026.
"""

from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from landscape import ensembles, runs, tree
from landscape.attacks import projected
from landscape.ensembles import map_members
from landscape.experiments import setting
from landscape.experiments.base import TRAINED
from landscape.experiments.setting import Examples
from landscape.experiments.weight_connectivity.config import LEAST_MEMBERS
from landscape.experiments.weight_connectivity.estimates import Connection
from landscape.files import UserError
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
    """Every array of a run; what is on disk is not computed again.

    Raises:
      UserError: fewer than two trained members.
    """
    prepared, section = setting.prepare(config, run), config.weights
    coordinates = setting.coordinates(prepared)
    pairs = pairs_of(coordinates, prepared.trained)
    classifier, members = prepared.classifier, prepared.ensemble
    test = setting.examples(prepared.dataset, "test", section.num_examples, config.seed)
    bank = setting.examples(prepared.dataset, "train", section.num_images, config.seed)
    attacked = _attacked(config, run, classifier, members, test)
    orders = _matched(config, run, classifier, members, pairs, bank)
    curves, trained = {}, []
    for curve in section.curves:
        made_of = (classifier_members.members_of(config), members, pairs, curve)
        found, about = weight_curves.ensemble(run, config, prepared.dataset, classifier, *made_of)
        curves[curve] = found
        trained.append(about)
    found = _followed(config, run, classifier, members, pairs, orders, curves, (test, attacked, bank))
    if trained:
        names = {"curve_loss": "train_loss", "curve_accuracy": weight_curves.SCORED}
        dims = ("curve", "pair", "epoch")
        found |= {name: (dims, np.stack([one[saved] for one in trained])) for name, saved in names.items()}
    first = ensembles.take(members, int(pairs[0, 0]))
    found |= _planted(config, run, classifier, first, test, bank)
    found |= {"pair_member": (("pair", "end"), pairs.astype(np.int32))}
    coords = {"connection": [one.label for one in connections_of(config)], "input": list(INPUTS), "t": _places(config)}
    coords |= {"matching": list(section.matchings), "example": test.ids, **coordinates}
    coords |= {"curve": list(section.curves)} if trained else {}
    return xr.Dataset(found, coords)


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
    if not found:
        raise UserError(
            f"{int(trained.sum())} trained members: expected at least {LEAST_MEMBERS} of one kind of training; "
            "try a larger num_members"
        )
    return np.asarray(found, int)


def _places(config) -> np.ndarray:
    return np.linspace(0, 1, config.weights.num_points, dtype=np.float32)


def _attacked(config, run: runs.Run, classifier: Classifier, members: Ensemble, test: Examples) -> np.ndarray:
    """Each member's own adversarial examples of the test images, [S, N, H, W, C]."""
    search, count = config.search, ensembles.size(members)
    how = ensembles.parse(config.mapping, count)
    ball = {"norm": search.norm, "epsilon": search.epsilon, "step_size": search.step_size}
    ball |= {"num_steps": search.num_steps, "num_restarts": search.num_restarts}

    def attack(variables, keys, x, label):
        return projected.pgd(keys, variables, x, label, apply=classifier.apply, **ball)

    program = jax.jit(lambda members, *shared: map_members(attack, members, shared=shared, how=how))

    def work(start: int, stop: int) -> Arrays:
        keys = setting.example_keys(config.seed, "weights.attacked", test.ids[start:stop])
        z = program(members, keys, jnp.asarray(test.x[start:stop]), jnp.asarray(test.label[start:stop]))
        return {"z": (("member", "example", "height", "width", "channel"), np.asarray(z))}

    return runs.chunks(run, "weights.attacked", work, len(test.ids), config.chunk)["z"][1]


def _matched(config, run: runs.Run, classifier: Classifier, members: Ensemble, pairs, bank: Examples) -> Arrays:
    """order.GROUP [pair, matching, units of the group]: what `permute` takes of the second end."""
    active = jax.jit(lambda variables, x: activations(variables, x, classifier=classifier))
    host = jax.tree.map(np.asarray, members)

    def work(start: int, stop: int) -> Arrays:
        found = []
        for i, j in pairs[start:stop]:
            a, b = ensembles.take(host, i), ensembles.take(host, j)
            found.append([_order(config, active, matching, a, b, bank) for matching in config.weights.matchings])
        return {
            f"order.{group}": (
                ("pair", "matching", f"unit.{group}"),
                np.asarray([[order[group] for order in pair] for pair in found], np.int32),
            )
            for group in found[0][0]
        }

    return runs.chunks(run, "weights.matched", work, len(pairs), 1, dim="pair", unit="pairs")


def _order(config, active, matching: str, a: Variables, b: Variables, bank: Examples) -> Permutations:
    groups = groups_of(a)
    if matching == "weight":
        return weight_matching(a, b, seed=config.seed, restarts=config.weights.restarts)
    if matching == "activation":
        own, other = (jax.tree.map(np.asarray, active(variables, jnp.asarray(bank.x))) for variables in (a, b))
        return activation_matching(own, other, groups)
    return {name: np.arange(group.size) for name, group in groups.items()}


def _program(classifier: Classifier, statistics: str, how: ensembles.Mapping):
    """program(points [Q, P, ...], rows [T, P], x [Q, E, N, ...], label, bank) -> loss and wrong, [Q, T, E, N]."""

    def one(points, x, rows, label, bank):
        if statistics == "plain":
            return profile(points, rows, x, label, apply=classifier.apply)
        ends = [jax.tree.map(lambda leaf, i=i: leaf[i], points) for i in (0, -1)]
        # Batch norm's are its running statistics, which no target is needed for.
        own = [] if "batch_stats" in points else [moments(end, bank, classifier=classifier) for end in ends]
        both = ensembles.stack(own) if own else {}

        def restore(variables, place):
            target = tree.blend(place[jnp.asarray([0, -1])], both)
            return repaired(variables, target, bank, classifier=classifier)

        return profile(points, rows, x, label, apply=classifier.apply, restore=restore)

    return jax.jit(lambda points, x, rows, *shared: map_members(one, points, x, shared=(rows, *shared), how=how))


def _rows(config, curve: str, num_points: int) -> jax.Array:
    """Weights of the points at every place, [T, P]; a line is the chain of one piece."""
    weights = tree.CURVES["chain" if curve == "line" else curve]
    return jnp.stack([weights(jnp.float32(t), num_points) for t in _places(config)])


def _followed(config, run: runs.Run, classifier, members, pairs, orders: Arrays, curves: dict, inputs) -> Arrays:
    """loss and wrong, pair by pair."""
    test, attacked, bank = inputs
    section, host = config.weights, jax.tree.map(np.asarray, members)
    groups = groups_of(ensembles.take(host, 0))
    label, images = jnp.asarray(test.label), jnp.asarray(bank.x)
    how = ensembles.parse(config.mapping, CHUNK)
    programs = {statistics: _program(classifier, statistics, how) for statistics in STATISTICS}

    def line(pair: int, matching: str) -> Variables:
        i, j = pairs[pair]
        order = {group: orders[f"order.{group}"][1][pair, section.matchings.index(matching)] for group in groups}
        return ensembles.stack([ensembles.take(host, i), permute(ensembles.take(host, j), groups, order)])

    def work(start: int, stop: int) -> Arrays:
        chosen = range(start, stop)
        x = jnp.asarray(np.stack([np.stack([test.x, *attacked[pairs[pair]]]) for pair in chosen]))
        losses, errors = [], []
        for one in connections_of(config):
            if one.curve == "line":
                points, count = ensembles.stack([line(pair, one.matching) for pair in chosen]), 2
            else:
                points, count = ensembles.take(curves[one.curve], slice(start, stop)), section.num_waypoints + 2
            loss, wrong = programs[one.statistics](points, x, _rows(config, one.curve, count), label, images)
            losses.append(np.asarray(loss)[:, :, 0])
            errors.append(np.asarray(wrong).swapaxes(1, 2))
        return {
            "loss": (("connection", "pair", "t", "example"), np.stack(losses)),
            "wrong": (("connection", "pair", "input", "t", "example"), np.stack(errors)),
        }

    return runs.chunks(run, "weights.followed", work, len(pairs), CHUNK, dim="pair", unit="pairs")


def _planted(
    config, run: runs.Run, classifier: Classifier, member: Variables, test: Examples, bank: Examples
) -> Arrays:
    """The barrier that is left between a member and its copy with permuted units, 0 if the order is found again."""

    def work() -> Arrays:
        host, groups = jax.tree.map(np.asarray, member), groups_of(member)
        moved = permute(host, groups, shuffled(config.seed, groups))
        active = jax.jit(lambda variables, x: activations(variables, x, classifier=classifier))
        program = _program(classifier, "plain", ensembles.Mapping())
        left = []
        for matching in config.weights.matchings:
            order = _order(config, active, matching, host, moved, bank)
            points = ensembles.stack([ensembles.stack([host, permute(moved, groups, order)])])
            images = jnp.asarray(test.x)[None, None]
            loss, _ = program(points, images, _rows(config, "line", 2), jnp.asarray(test.label), jnp.asarray(bank.x))
            mean = np.asarray(loss, np.float64)[0, :, 0].mean(axis=-1)
            left.append(mean.max() - max(mean[0], mean[-1]))
        return {"planted": (("matching",), np.asarray(left))}

    return runs.once(run, "weights.planted", work)


def shuffled(seed: int, groups) -> Permutations:
    """A random order of every group's units; those that share statistics stay together."""
    rng = np.random.default_rng([seed, 3])
    found = {}
    for name, group in groups.items():
        sets = rng.permutation(np.arange(group.size).reshape(-1, group.together))
        found[name] = np.concatenate([rng.permutation(one) for one in sets])
    return found
