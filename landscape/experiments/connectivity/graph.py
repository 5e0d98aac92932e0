"""Graphs whose nodes are inputs that are predicted as one class, its edges the better of the line and its bypass.

Nodes of a class are images of its pairs: reference images (genuine), partners made surer (boosted), and attacked source
images (adversarial); no two nodes come of one image. In a second graph all nodes are the same for all members, the
attacks guided by all of them (joint), and an edge is as high as the path that is lowest for the member that it is worst
for; beside it stands what each member by itself joins of the same nodes.
"""

from collections.abc import Callable
from functools import partial
from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np

from landscape import ensembles
from landscape.ensembles import map_examples, map_members
from landscape.experiments.connectivity.paths import highest, loss
from landscape.measures import paths
from landscape.measures.bypass import Around, bypass
from landscape.types import Apply

OWN = ("genuine", "boosted", "adversarial")
SHARED = ("genuine", "joint")


def graphs(config, apply: Apply, how: ensembles.Mapping) -> Callable[..., dict[str, jax.Array]]:
    """(chunk, ensemble, key) -> peak, loss and left of the three graphs, of classes one after the other.

    chunk: `own` [class, S, node, ...], `same` [class, shared_node, ...], `graph_class` [class].
    """
    programs = (_program(config, apply, how), _program(config, apply, how, together=True))

    def of_class(own, same, label, ensemble, key) -> dict[str, jax.Array]:
        each = jnp.repeat(same[None], own.shape[0], axis=0)
        found = {"graph": programs[0](ensemble, own, label, key), "shared": programs[1](ensemble, same, label, key)}
        found["alone"] = programs[0](ensemble, each, label, key)
        names = ("peak", "loss", "left")
        return {f"{g}_{n}": value for g, parts in found.items() for n, value in zip(names, parts, strict=True)}

    def work(chunk, ensemble, key) -> dict[str, jax.Array]:
        nodes = zip(chunk["own"], chunk["same"], chunk["graph_class"], strict=True)
        return ensembles.stack([of_class(*one, ensemble, key) for one in nodes])

    return work


def _program(config, apply: Apply, how: ensembles.Mapping, together: bool = False) -> Callable:
    """(ensemble, nodes [S, G, ...] or, of one graph for all members, [G, ...], label, key) -> heights of all edges, and
    loss and whether another class is predicted of each node.
    """
    section = config.bypass
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
        found = [paths.line(a, b), paths.curve(over.points)]
        return jnp.minimum(*(top(variables, path, labels) for path in found))

    def member(variables, nodes, label, key):
        first, last = np.asarray(list(combinations(range(nodes.shape[0]), 2)), int).T
        labels = jnp.broadcast_to(label, first.shape).astype(jnp.int32)
        peak = map_examples(edges, nodes[first], nodes[last], labels, shared=(key, variables))
        own = jnp.broadcast_to(label, nodes.shape[:1]).astype(jnp.int32)
        return peak, height(variables, nodes, own), own

    def left(variables, x, label):
        return jnp.argmax(apply(variables, x), axis=-1) != label

    def of_all(ensemble, nodes, label, key):
        peak, losses, own = member(ensemble, nodes, label, key)
        out = map_members(lambda v: left(v, nodes, own), ensemble, how=ensembles.Mapping())
        return peak, losses, jnp.any(out, axis=0)

    def of_member(variables, nodes, label, key):
        peak, losses, own = member(variables, nodes, label, key)
        return peak, losses, left(variables, nodes, own)

    def each(ensemble, nodes, label, key):
        return map_members(of_member, ensemble, nodes, shared=(label, key), how=how)

    return of_all if together else each
