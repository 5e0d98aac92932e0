"""Paths from reference images to the second endpoints of pairs: how they are found, and what members predict on them.

Every pair has the straight line and the bypass, some pairs more: a trained Bezier curve, the bypass on the
autoencoder's manifold, whose endpoints are what it makes of theirs, and the bypass that is low for all members at once
(of kinds whose endpoints all members share).

Paths join the nodes of graphs as well: inputs that are predicted as one class, an edge as high as the better of line
and bypass.
"""

from collections.abc import Callable
from itertools import combinations
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from landscape import ensembles, objectives
from landscape.ensembles import Mapping, map_examples, map_members
from landscape.experiments.connectivity.config import TOGETHER
from landscape.measures import barrier, paths
from landscape.measures.bypass import Around, Bypass, bypass, halvings
from landscape.measures.paths import Path
from landscape.models.autoencoders import Autoencoder
from landscape.types import Apply

# Nodes of a class's graph: reference images, partners made surer, attacked source images. No two come of one image.
NODES = ("genuine", "boosted", "adversarial")


class Search(NamedTuple):
    """What the paths of one run are searched with."""

    config: Any
    apply: Apply
    how: Mapping

    def loss(self, variables, x, label):
        """Of one classifier, nats, [n]."""
        return objectives.loss(self.apply(variables, x), label)

    def highest(self, ensemble, x, label):
        """The largest loss of all members, nats, [n]: a path that is low in it is low for every member."""
        return jnp.max(map_members(lambda v: self.loss(v, x, label), ensemble, how=Mapping()), axis=0)

    def predicts(self, variables, x, label):
        """Whether the class is predicted, [n]."""
        return jnp.argmax(self.apply(variables, x), axis=-1) == label

    def around(self, height, **changes) -> Around:
        """How waypoints are searched, in pixels unless changed."""
        section = self.config.bypass
        fields = ("num_steps", "learning_rate", "num_points", "tolerance")
        return Around(height, **{name: section[name] for name in fields} | changes)


def follow(by: Search, name: str, coder: Autoencoder) -> Callable[..., dict[str, jax.Array]]:
    """(chunk, ensemble, autoencoder, key) -> what members predict along a path, [S, ..., n].

    chunk: `reference` [n, H, W, C], `endpoint` [S, n, H, W, C], `label` [n], `other_class` [n], whether the endpoint
    is of another class.
    """
    depth = by.config.bypass.depth

    def of_member(variables, b, a, label, other, autoencoder, key) -> dict[str, jax.Array]:
        found: dict[str, jax.Array] = {}
        match name:
            case "line":
                path = paths.line(a, b)
                logits = by.apply(variables, b)
                found = {"end_log_odds": objectives.log_odds(logits, label), "end_loss": objectives.loss(logits, label)}
            case "bypass":
                around = by.around(by.loss, frames=halvings(by.config.bypass.num_steps))
                over = bypass(variables, a, b, label, around=around, depth=depth)
                path, found = paths.curve(over.points), _of_search(by, variables, a, b, label, over)
            case "bezier":
                points = paths.trained(key, variables, a, b, label, height=by.loss, **by.config.curves)
                path = paths.curve(points, name)
            case "manifold_bypass":

                def decode(z):
                    return coder.decode(autoencoder, coder.project(autoencoder, z))

                ends = (coder.encode(autoencoder, x) for x in (a, b))
                around = by.around(by.loss, decode=decode)
                latent = paths.curve(bypass(variables, *ends, label, around=around, depth=depth).points)

                def path(t):
                    return decode(latent(t))

        return found | _along(by, variables, path, label, other, name)

    def of_all(variables, points, label, other) -> dict[str, jax.Array]:
        return _along(by, variables, paths.curve(points), label, other, name)

    def work(chunk, ensemble, autoencoder, key) -> dict[str, jax.Array]:
        a, b, about = chunk["reference"], chunk["endpoint"], (chunk["label"], chunk["other_class"])
        if name == TOGETHER:
            over = bypass(ensemble, a, b[0], about[0], around=by.around(by.highest), depth=depth)
            return map_members(of_all, ensemble, shared=(over.points, *about), how=by.how)
        return map_members(of_member, ensemble, b, shared=(a, *about, autoencoder, key), how=by.how)

    return work


def _closest(by: Search, variables, path: Path, label, intervals: int) -> tuple[barrier.Profile, barrier.Profile]:
    """What a member predicts on a grid, and that with more points around the highest one."""
    coarse = barrier.profile(variables, path, label, paths.grid(intervals + 1), apply=by.apply)
    return coarse, barrier.closely(variables, path, label, coarse, apply=by.apply)


def _along(by: Search, variables, path: Path, label, other, name: str) -> dict[str, jax.Array]:
    """What a member predicts along a path, on whose every piece is a grid of `bypass.num_points`."""
    pieces = {"line": 1, "bezier": 2}.get(name, 2**by.config.bypass.depth)
    intervals = pieces * (by.config.bypass.num_points - 1)
    coarse, near = _closest(by, variables, path, label, intervals)
    _, fine = _closest(by, variables, path, label, 2 * intervals)
    first, last = (by.predicts(variables, path(jnp.float32(t)), label) for t in (0.0, 1.0))
    rise = barrier.barrier(near.loss)
    return {
        "valid": first & (last != other),
        "barrier": rise,
        "left": jnp.max(near.left, axis=0),
        "fine": jnp.maximum(barrier.barrier(fine.loss), rise),
        "profile": coarse.loss[::pieces],
    }


def _of_search(by: Search, variables, a, b, label, over: Bypass) -> dict[str, jax.Array]:
    """after [F, n]: the barrier with the first waypoint alone, by steps of its search (`halvings`); out_of_plane [n]:
    how far the waypoint is out of its hyperplane, over the line's length.
    """

    def after(waypoint):
        path = paths.curve(jnp.stack([a, waypoint, b]))
        return barrier.barrier(_closest(by, variables, path, label, 2 * (by.config.bypass.num_points - 1))[1].loss)

    out = out_of_plane(a, b, over.iterates[-1], over.peak)
    return {"after": jax.lax.map(after, over.iterates), "out_of_plane": out}


def out_of_plane(a, b, waypoint, peak):
    """|<w - B, b - a>| / |b - a|^2, w the waypoint, B the line's point at `peak`: in units of the line's length.

    How far w went is no unit: where the loss has no slope it moves by rounding alone, in any direction.
    """
    along, moved = (part.reshape(part.shape[0], -1) for part in (b - a, waypoint - a))
    square = jnp.maximum(jnp.sum(jnp.square(along), axis=1), jnp.finfo(along.dtype).tiny)
    return jnp.abs(jnp.sum(along * (moved - peak[:, None] * along), axis=1)) / square


# ---- graphs of inputs of one class ----


def graphs(by: Search) -> Callable[..., dict[str, jax.Array]]:
    """(chunk, ensemble) -> heights of all edges, and loss and whether another class is predicted of all nodes.

    chunk: `nodes` [class, S, node, ...], `graph_class` [class].
    """
    around, t = by.around(by.loss, num_steps=by.config.graph.num_steps), paths.grid(2 * by.config.bypass.num_points - 1)

    def top(variables, path, label):
        return jnp.max(jax.lax.map(lambda t: by.loss(variables, path(t), label), t), axis=0)

    def edges(a, b, label, variables):
        over = bypass(variables, a, b, label, around=around, depth=1)
        return jnp.minimum(*(top(variables, path, label) for path in (paths.line(a, b), paths.curve(over.points))))

    def of_member(variables, nodes, label) -> dict[str, jax.Array]:
        first, last = np.asarray(list(combinations(range(nodes.shape[0]), 2)), int).T
        each, own = (jnp.broadcast_to(label, (count,)) for count in (len(first), len(nodes)))
        return {
            "graph_peak": map_examples(edges, nodes[first], nodes[last], each, shared=(variables,)),
            "graph_loss": by.loss(variables, nodes, own),
            "graph_left": ~by.predicts(variables, nodes, own),
        }

    def work(chunk, ensemble) -> dict[str, jax.Array]:
        classes = zip(chunk["nodes"], chunk["graph_class"], strict=True)
        return ensembles.stack([map_members(of_member, ensemble, n, shared=(c,), how=by.how) for n, c in classes])

    return work
