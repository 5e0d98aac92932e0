"""Stage of `connectivity`: the graph whose nodes are inputs that a member predicts as one class.

Nodes of a class are images of its pairs: anchors (genuine), others (boosted), and results of attacks on carriers, in
pixels (adversarial), on the manifold, and against noisy classifiers; no two nodes come of one image. The height of an
edge is the largest loss on the better of the line and its bypass. In a second graph all nodes are the same for all
members, the attacks guided by all of them (joint), and an edge is as high as the path that is lowest for the member
that it is worst for; beside it stands what each member by itself joins of the same nodes.
"""

from collections.abc import Callable
from functools import cache, partial
from itertools import combinations
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from landscape import ensembles, runs
from landscape.ensembles import map_examples, map_members
from landscape.experiments.connectivity_along import highest, loss
from landscape.experiments.connectivity_ends import Make
from landscape.experiments.connectivity_setting import Connected, Pairs
from landscape.experiments.setting import stage_key
from landscape.measures import paths
from landscape.measures.bypass import Around, bypass
from landscape.stats import components
from landscape.types import Arrays

OWN = ("genuine", "boosted", "adversarial", "manifold", "same_noisy")
SHARED = ("genuine", "joint")
NODES = {  # kind of pair: (population of its node, place on the class's list of pairs, in units of the nodes of a kind)
    "genuine": ("genuine", 0),
    "boosted": ("boosted", 0),
    "adversarial": ("adversarial", 0),
    "manifold": ("manifold", 1),
    "same_noisy": ("noisy", 2),
    "joint": ("joint", 0),
}
CARRIERS = 3  # kinds whose nodes need carriers of their own


class Nodes(NamedTuple):
    """How many nodes of each kind a class has, the classes, and rows of their pairs, [class, row]."""

    count: int
    classes: np.ndarray
    rows: np.ndarray


def nodes_of(pairs: Pairs, most: int, num_classes: int) -> Nodes:
    """As many nodes of each kind, at most `most`, as half of the classes have pairs enough for; those classes."""
    by_class = [np.flatnonzero(pairs.label[: pairs.regular] == c) for c in range(num_classes)]
    enough = np.asarray([len(rows) // CARRIERS for rows in by_class])
    sizes = [count for count in range(1, most + 1) if 2 * np.sum(enough >= count) >= np.sum(enough > 0) > 0]
    count = max(sizes, default=0)
    classes = np.flatnonzero(enough >= count) if count else np.zeros(0, int)
    rows = [by_class[c][: CARRIERS * count] for c in classes]
    return Nodes(count, classes, np.asarray(rows, int).reshape(len(classes), CARRIERS * count))


def graph(config, run: runs.Run, connected: Connected, pairs: Pairs, make: Make) -> Arrays:
    """graph_peak [graph_class, member, edge], of each class's edges in order, and graph_loss [graph_class, member,
    node]; shared_peak [graph_class, shared_edge] and shared_loss [graph_class, shared_node], the largest of all
    members; alone_peak, alone_loss, with an axis of members, of the same nodes for each member by itself. graph_left,
    shared_left and alone_left: whether a node is predicted as another class.
    """
    nodes = nodes_of(pairs, config.graph.num_nodes, len(connected.prepared.dataset.class_names))
    if not len(nodes.classes):
        return {}
    own, shared = _program(config, connected), _program(config, connected, together=True)
    key = stage_key(config.seed, "graph")

    @cache
    def of_kind(kind: str) -> np.ndarray:
        """The nodes of a kind, of all classes one after the other, [S, class x node, H, W, C]."""
        place = NODES[kind][1] * nodes.count
        found = make(kind, nodes.rows[:, place : place + nodes.count].ravel())
        return found.a if kind == "genuine" else found.b

    def taken(kind: str, c: int) -> np.ndarray:
        return of_kind(kind)[:, c * nodes.count : (c + 1) * nodes.count]

    def work(start: int, stop: int) -> Arrays:
        found = []
        for c in range(start, stop):
            label = int(nodes.classes[c])
            mine = np.concatenate([taken(kind, c) for kind in OWN], axis=1)
            same = np.concatenate([taken(kind, c)[0] for kind in SHARED])
            each = np.repeat(same[None], len(mine), axis=0)
            found.append(
                own(connected.ensemble, mine, label, key)
                + shared(connected.ensemble, same, label, key)
                + own(connected.ensemble, each, label, key)
            )
        told = [np.stack([np.asarray(one[i]) for one in found]) for i in range(9)]
        dims = {"graph": ("member", "edge", "node"), "shared": ("shared_edge", "shared_node")}
        dims["alone"] = ("member", *dims["shared"])
        return {
            f"{graph}_{name}": (("graph_class", *axes[:-2], axes[-2] if name == "peak" else axes[-1]), told.pop(0))
            for graph, axes in dims.items()
            for name in ("peak", "loss", "left")
        }

    found = runs.chunks(run, "graph", work, len(nodes.classes), 1, dim="graph_class", unit="classes")
    return found | {
        "graph_class": (("graph_class",), nodes.classes.astype(np.int32)),
        "node_kind": (("node",), np.repeat([NODES[kind][0] for kind in OWN], nodes.count)),
        "shared_node_kind": (("shared_node",), np.repeat([NODES[kind][0] for kind in SHARED], nodes.count)),
    }


def _program(config, connected: Connected, together: bool = False) -> Callable:
    """(ensemble, nodes [S, G, ...] or, of one graph for all members, [G, ...], label, key) -> heights of all edges, and
    loss and whether another class is predicted of each node.
    """
    apply, section = connected.classifier.apply, config.bypass

    height = partial(highest if together else loss, apply)
    around = Around(
        height,
        num_steps=config.graph.num_steps,
        learning_rate=section.learning_rate,
        num_points=section.num_points,
        tolerance=section.tolerance,
    )

    def top(variables, path, label):
        values = jax.lax.map(lambda t: height(variables, path(t), label), paths.grid(2 * section.num_points - 1))
        return jnp.max(values, axis=0)

    def edges(a, b, labels, key, variables):
        over = bypass(key, variables, a, b, labels, around=around, depth=1)
        ways = [paths.line(a, b), paths.curve(over.points)]
        return jnp.minimum(*(top(variables, path, labels) for path in ways))

    def member(variables, nodes, label, key):
        first, last = np.asarray(list(combinations(range(nodes.shape[0]), 2)), int).T
        labels = jnp.full(len(first), label, jnp.int32)
        peak = map_examples(edges, nodes[first], nodes[last], labels, shared=(key, variables))
        own = jnp.full(nodes.shape[0], label, jnp.int32)
        return peak, height(variables, nodes, own), own

    def left(v, x, label):
        return jnp.argmax(apply(v, x), axis=-1) != label

    if together:

        def program(ensemble, nodes, label, key):
            peak, loss, own = member(ensemble, nodes, label, key)
            out = map_members(lambda v: left(v, nodes, own), ensemble, how=ensembles.Mapping())
            return peak, loss, jnp.any(out, axis=0)
    else:

        def of_member(variables, nodes, label, key):
            peak, loss, own = member(variables, nodes, label, key)
            return peak, loss, left(variables, nodes, own)

        def program(ensemble, nodes, label, key):
            return map_members(of_member, ensemble, nodes, shared=(label, key), how=connected.how)

    return jax.jit(program)


def joined(peak: np.ndarray, loss: np.ndarray, left: np.ndarray) -> np.ndarray:
    """Minimax heights [..., G, G] of edges [..., E] and nodes [..., G]; a node of another class joins nothing."""
    count = loss.shape[-1]
    height = np.full((*loss.shape, count), np.inf)
    first, last = np.asarray(list(combinations(range(count), 2)), int).T
    height[..., first, last] = height[..., last, first] = peak
    height[..., np.arange(count), np.arange(count)] = loss
    out = left.astype(bool)
    height = np.where(out[..., :, None] | out[..., None, :], np.inf, height)
    return components.minimax(height)
