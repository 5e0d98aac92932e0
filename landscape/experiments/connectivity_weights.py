"""Stage of `connectivity`: are classifiers joined in weight space, and do adversarial examples of one end stay so?

Ways between every two of the first members: the straight line, with the second end's units as they are and in the order
that makes it most like the first (`training.alignment`), each with the units' statistics as interpolation leaves them
and reset (`models.repair`); and trained curves. Along each, what all classifiers on it say of test images, of what an
attack on the first end makes of them and of what an attack on the second one does.

Source: Ainsworth et al. 2022, arXiv:2209.04836; Jordan et al. 2022, arXiv:2211.08403; Garipov et al. 2018,
arXiv:1802.10026.
"""

from itertools import combinations
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from landscape import ensembles, runs, tree
from landscape.attacks import projected
from landscape.ensembles import map_members
from landscape.experiments import setting
from landscape.experiments.setting import Examples, Setting
from landscape.measures.weight_barrier import profile
from landscape.models.classifiers import Classifier
from landscape.models.permutations import Permutations, groups_of, permute
from landscape.models.repair import moments, repaired
from landscape.presets.names import WEIGHT_MATCHINGS as MATCHINGS
from landscape.training import classifier_members, weight_curves
from landscape.training.alignment import activation_matching, activations, weight_matching
from landscape.types import Arrays, Ensemble, Variables

STATISTICS = ("plain", "reset")
INPUTS = ("clean", "first", "second")  # test images; adversarial examples of the first end, of the second one
CHUNK = 2  # pairs
LEAST_MEMBERS = 2

ABOUT = {  # array: (units, long_name)
    "weight_loss": ("nats", "loss of the label on the test image"),
    "weight_wrong": ("1", "whether another class than the label is predicted"),
    "weight_pair_member": ("1", "places of the pair's ends on the axis of members"),
    "weight_planted": ("nats", "barrier between a member and its copy with permuted units, after matching"),
    "weight_curve_loss": ("nats", "training loss of the curve at random places, mean over an epoch"),
    "weight_middle_accuracy": ("1", "accuracy of the curve's middle on validation images, after each epoch"),
    "weight_t": ("1", "share of the way from the first end to the second"),
    "weight_profile": ("1", "mean over pairs and images: of the loss in nats, of errors a share"),
    "weight_profile_low": ("1", "lower end of its band, which holds at all places together with 95 %"),
    "weight_profile_high": ("1", "upper end of its band, which holds at all places together with 95 %"),
    "weight_pair_profile": ("1", "mean over images, of each pair"),
    "weight_kept": ("1", "share wrong on the way from the attacked end, mean over ordered pairs"),
    "weight_kept_low": ("1", "lower end of its band, which holds at all places together with 95 %"),
    "weight_kept_high": ("1", "upper end of its band, which holds at all places together with 95 %"),
    "weight_curve": ("1", "kind of trained curve"),
    "weight_input": ("1", "what classifiers are shown: test images, adversarial examples of the first or second end"),
    "weight_matching": ("1", "by what the second end's units are put in order"),
    "weight_value": ("1", "what a profile is of"),
    "weight_kept_of": ("1", "what is shown"),
    "way_curve": ("1", "kind of way: line, or a trained curve"),
    "way_matching": ("1", "by what the second end's units are put in order"),
    "way_statistics": ("1", "whether the units' statistics are reset"),
}


class Way(NamedTuple):
    """A way between two classifiers.

    curve: "line" or one of `tree.CURVES`. matching: one of MATCHINGS. statistics: one of STATISTICS; with batch norm
    "reset" takes running statistics anew at the ends as well, so that their losses change a little.
    """

    curve: str
    matching: str
    statistics: str


def ways_of(config) -> list[Way]:
    """Lines with every matching, plain and reset, then curves: their running statistics, if any, are reset."""
    lines = [Way("line", matching, statistics) for matching in config.weights.matchings for statistics in STATISTICS]
    last = STATISTICS[config.model.norm == "batch"]
    return lines + [Way(curve, "none", last) for curve in config.weights.curves]


def pairs_of(count: int) -> np.ndarray:
    """Every two of `count` members, [Q, 2], the smaller number first."""
    return np.asarray(list(combinations(range(count), 2)), int).reshape(-1, 2)


def weights(config, run: runs.Run, prepared: Setting) -> Arrays:
    """What the classifiers on every way between every two of the first trained members say.

    weight_loss [weight_way, weight_pair, weight_step, weight_example], nats, of clean images. weight_wrong [weight_way,
    weight_pair, weight_input, weight_step, weight_example]. weight_pair_member [weight_pair, weight_end].
    weight_planted [weight_matching], nats. weight_order.GROUP [weight_pair, weight_matching, ...], the order that the
    second end's units are put in. weight_curve_loss, weight_middle_accuracy [weight_curve, weight_pair, weight_epoch].

    Raises:
      ValueError: fewer than two trained members, an unknown matching.
    """
    section, classifier = config.weights, prepared.classifier
    chosen = np.flatnonzero(prepared.trained)[: section.num_members]
    if len(chosen) < LEAST_MEMBERS:
        raise ValueError(f"{len(chosen)} trained members: expected at least {LEAST_MEMBERS}; try a larger num_members")
    if unknown := set(section.matchings) - set(MATCHINGS):
        raise ValueError(f"weights.matchings={unknown}: expected some of {', '.join(MATCHINGS)}")
    members, pairs = ensembles.take(prepared.ensemble, chosen), pairs_of(len(chosen))
    test = setting.examples(prepared.dataset, "test", section.num_examples, config.seed)
    bank = setting.examples(prepared.dataset, "train", section.num_images, config.seed)
    attacked = _attacked(config, run, classifier, members, test)
    orders = _matched(config, run, classifier, members, pairs, bank)
    all_members = classifier_members.members_of(config)
    curves, bent = {}, []
    for curve in section.curves:
        found, about = weight_curves.ensemble(
            run, config, prepared.dataset, classifier, [all_members[i] for i in chosen], members, pairs, curve
        )
        curves[curve] = found
        bent.append(about)
    found = _followed(config, run, classifier, members, pairs, orders, curves, (test, attacked, bank))
    found |= orders
    if bent:
        dims = ("weight_curve", "weight_pair", "weight_epoch")
        names = {"weight_curve_loss": "train_loss", "weight_middle_accuracy": weight_curves.SCORED}
        found |= {name: (dims, np.stack([one[saved] for one in bent])) for name, saved in names.items()}
        found["weight_curve"] = (("weight_curve",), np.asarray(section.curves))
    ways = ways_of(config)
    found |= {
        f"way_{field}": (("weight_way",), np.asarray([way[i] for way in ways])) for i, field in enumerate(Way._fields)
    }
    return found | {
        "weight_pair_member": (("weight_pair", "weight_end"), chosen[pairs].astype(np.int32)),
        "weight_input": (("weight_input",), np.asarray(INPUTS)),
        "weight_matching": (("weight_matching",), np.asarray(section.matchings)),
        "weight_t": (("weight_step",), _places(config)),
        **_planted(config, run, classifier, ensembles.take(members, 0), test, bank),
    }


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
    """weight_order.GROUP [weight_pair, weight_matching, units of the group]: what `permute` takes of the second end."""
    active = jax.jit(lambda variables, x: activations(variables, x, classifier=classifier))
    host = jax.tree.map(np.asarray, members)

    def work(start: int, stop: int) -> Arrays:
        found = []
        for i, j in pairs[start:stop]:
            a, b = ensembles.take(host, i), ensembles.take(host, j)
            found.append([_order(config, active, matching, a, b, bank) for matching in config.weights.matchings])
        return {
            f"weight_order.{group}": (
                ("weight_pair", "weight_matching", f"weight_unit.{group}"),
                np.asarray([[order[group] for order in pair] for pair in found], np.int32),
            )
            for group in found[0][0]
        }

    return runs.chunks(run, "weights.matched", work, len(pairs), 1, dim="weight_pair", unit="pairs")


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
    """weight_loss and weight_wrong, pair by pair."""
    test, attacked, bank = inputs
    section, host = config.weights, jax.tree.map(np.asarray, members)
    groups = groups_of(ensembles.take(host, 0))
    label, images = jnp.asarray(test.label), jnp.asarray(bank.x)
    how = ensembles.parse(config.mapping, CHUNK)
    programs = {statistics: _program(classifier, statistics, how) for statistics in STATISTICS}

    def line(pair: int, matching: str) -> Variables:
        i, j = pairs[pair]
        order = {group: orders[f"weight_order.{group}"][1][pair, section.matchings.index(matching)] for group in groups}
        return ensembles.stack([ensembles.take(host, i), permute(ensembles.take(host, j), groups, order)])

    def work(start: int, stop: int) -> Arrays:
        chosen = range(start, stop)
        x = jnp.asarray(np.stack([np.stack([test.x, *attacked[pairs[pair]]]) for pair in chosen]))
        losses, errors = [], []
        for way in ways_of(config):
            if way.curve == "line":
                points, count = ensembles.stack([line(pair, way.matching) for pair in chosen]), 2
            else:
                points, count = ensembles.take(curves[way.curve], slice(start, stop)), section.num_bends + 2
            loss, wrong = programs[way.statistics](points, x, _rows(config, way.curve, count), label, images)
            losses.append(np.asarray(loss)[:, :, 0])
            errors.append(np.asarray(wrong).swapaxes(1, 2))
        tail = ("weight_step", "weight_example")
        return {
            "weight_loss": (("weight_way", "weight_pair", *tail), np.stack(losses)),
            "weight_wrong": (("weight_way", "weight_pair", "weight_input", *tail), np.stack(errors)),
        }

    return runs.chunks(run, "weights.followed", work, len(pairs), CHUNK, dim="weight_pair", unit="pairs")


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
        return {"weight_planted": (("weight_matching",), np.asarray(left))}

    return runs.once(run, "weights.planted", work)


def shuffled(seed: int, groups) -> Permutations:
    """A random order of every group's units; those that share statistics stay together."""
    rng = np.random.default_rng([seed, 3])
    found = {}
    for name, group in groups.items():
        sets = rng.permutation(np.arange(group.size).reshape(-1, group.together))
        found[name] = np.concatenate([rng.permutation(one) for one in sets])
    return found
