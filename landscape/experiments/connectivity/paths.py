"""Paths from reference images to the second endpoints of pairs: how they are found, and what members say along them.

Every pair has the straight line and the bypass, some pairs more: a trained Bezier curve, the bypass on the
autoencoder's manifold, whose endpoints are what it makes of theirs, and the bypass that is low for all members at once
(of kinds whose endpoints all members share).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from landscape import objectives
from landscape.ensembles import Mapping, map_members
from landscape.experiments.descriptions import Description
from landscape.measures import barrier, paths, trained_paths
from landscape.measures.bypass import Around, Bypass, bypass, halvings
from landscape.measures.paths import Path
from landscape.spaces import l2_norm
from landscape.types import Apply

TOGETHER = "all"  # the path that all members search
PLACES = 9  # of a path, at which its distance to the manifold is taken


class Search(NamedTuple):
    """What the paths of one run are searched with. around: of the bypass of one member in pixels."""

    config: Any
    apply: Apply
    cell: Description
    how: Mapping
    around: Around


class Joined(NamedTuple):
    """Some pairs: endpoints a and b [n, ...] of one member, their class [n], whether b is of another class [n]."""

    a: jax.Array
    b: jax.Array
    label: jax.Array
    other: jax.Array


def searcher(config, apply: Apply, cell: Any, how: Mapping) -> Search:
    """How the paths of a config are searched; `cell` is the autoencoder, None where no path needs one."""
    section = config.bypass
    fields = ("num_steps", "learning_rate", "num_points", "tolerance")
    around = Around(partial(loss, apply), **{name: section[name] for name in fields})
    return Search(config, apply, cell, how, around)


def follow(by: Search, chosen: tuple[str, ...]) -> Callable[..., dict[str, jax.Array]]:
    """(chunk, ensemble, autoencoder, key) -> what members say along the chosen paths, [S, path, ..., n].

    chunk: `reference` [n, H, W, C], `endpoint` [S, n, H, W, C], `label` [n], `other_class` [n].
    """

    def work(chunk, ensemble, autoencoder, key) -> dict[str, jax.Array]:
        about = (chunk["reference"], chunk["label"], chunk["other_class"])
        if chosen == (TOGETHER,):
            return _together(by, ensemble, chunk["endpoint"][0], *about, autoencoder, key)
        one = partial(_of_member, by, chosen)
        return map_members(one, ensemble, chunk["endpoint"], shared=(*about, autoencoder, key), how=by.how)

    return work


def _of_member(by: Search, chosen, variables, b, a, label, other, autoencoder, key) -> dict:
    """Every chosen path of one member; with the line, which every kind has, its endpoint as well."""
    pair, parts, found = Joined(a, b, label, other), [], {}
    for i, name in enumerate(chosen):
        path, more = _found(by, name, variables, pair, autoencoder, jax.random.fold_in(key, i))
        own = _along(by, variables, path, label, name) | _shape(by, path, name, autoencoder, label)
        parts.append(own | {"valid": _valid(by.apply, variables, path, pair)})
        found |= more
    if "line" in chosen:
        found["end_margin"] = objectives.margin(by.apply(variables, b), label)
        found["end_loss"] = parts[0]["profile"][-1]
        profiles = {f"{name}_profile": part["profile"] for name, part in zip(chosen, parts, strict=True)}
        found |= profiles
    parts = [{name: value for name, value in part.items() if name != "profile"} for part in parts]
    return found | {name: jnp.stack([part[name] for part in parts]) for name in parts[0]}


def _together(by: Search, ensemble, b, a, label, other, autoencoder, key) -> dict:
    """The bypass that is low in the largest loss of all members, and what each member says along it."""
    around = by.around._replace(height=partial(highest, by.apply))
    found = bypass(jax.random.fold_in(key, 0), ensemble, a, b, label, around=around, depth=by.config.bypass.depth)

    def one(variables, points):
        path, pair = paths.curve(points), Joined(a, b, label, other)
        own = _along(by, variables, path, label, TOGETHER) | _shape(by, path, TOGETHER, autoencoder, label)
        own["valid"] = _valid(by.apply, variables, path, pair)
        return {name: value[None] for name, value in own.items() if name != "profile"}

    return map_members(one, ensemble, shared=(found.points,), how=by.how)


def loss(apply: Apply, variables, x, label):
    """Of one classifier, nats, [n]."""
    return objectives.loss(apply(variables, x), label)


def highest(apply: Apply, ensemble, x, label):
    """The largest loss of all members, nats, [n]: a path that is low in it is low for every member."""
    return jnp.max(map_members(lambda v: loss(apply, v, x, label), ensemble, how=Mapping()), axis=0)


def _right(apply: Apply, variables, x, label):
    return jnp.argmax(apply(variables, x), axis=-1) == label


def _valid(apply: Apply, variables, path: Path, pair: Joined):
    """Whether both endpoints, as the path has them, are predicted as they have to be."""
    first, last = (_right(apply, variables, path(jnp.float32(t)), pair.label) for t in (0.0, 1.0))
    return first & (last != pair.other)


def _found(by: Search, name: str, variables, pair: Joined, autoencoder, key) -> tuple[Path, dict]:
    """A path's images by t, and what only its search can say."""
    a, b, label, _ = pair
    config, around, depth = by.config, by.around, by.config.bypass.depth
    match name:
        case "line":
            return paths.line(a, b), {}
        case "bypass":
            around = around._replace(frames=halvings(config.bypass.num_steps))
            over = bypass(key, variables, a, b, label, around=around, depth=depth)
            return paths.curve(over.points), _of_search(by, variables, pair, over)
        case "bezier":
            options = {"kind": name, "height": around.height, **config.curves.to_dict()}
            return paths.curve(trained_paths.trained(key, variables, a, b, label, **options), name), {}
        case "manifold_bypass":
            made = by.cell.autoencoder

            def decode(z):
                return made.decode(autoencoder, made.project(autoencoder, z))

            around = around._replace(decode=decode)
            ends = (made.encode(autoencoder, x) for x in (a, b))
            path = paths.curve(bypass(key, variables, *ends, label, around=around, depth=depth).points)
            return lambda t: decode(path(t)), {}
    raise ValueError(f"path {name!r}: expected one that a single member searches, not {TOGETHER}")


def _of_search(by: Search, variables, pair: Joined, over: Bypass) -> dict:
    """after [F, n]: the barrier with the first waypoint alone, by steps of its search (`halvings`); out_of_plane [n]:
    how far the waypoint is out of its hyperplane, over how far it went.
    """
    num_points = 2 * (by.around.num_points - 1) + 1

    def after(waypoint):
        path = paths.curve(jnp.stack([pair.a, waypoint, pair.b]))
        coarse = barrier.profile(variables, path, pair.label, apply=by.apply, num_points=num_points)
        t, fine = barrier.closely(variables, path, pair.label, coarse, apply=by.apply)
        return barrier.barriers(fine["loss"], t)["barrier"]

    out = out_of_plane(pair.a, pair.b, over.iterates[-1], over.peak)
    return {"after": jax.lax.map(after, over.iterates), "out_of_plane": out}


def _pieces(by: Search, name: str) -> int:
    """Pieces of a path whose resolution is that of the line each."""
    if name == "line":
        return 1
    return by.config.curves.num_waypoints + 1 if name == "bezier" else 2**by.config.bypass.depth


def _along(by: Search, variables, path: Path, label, name: str) -> dict:
    """What a member says along a path."""
    pieces, apply = _pieces(by, name), by.apply

    def on(intervals: int):
        coarse = barrier.profile(variables, path, label, apply=apply, num_points=intervals + 1)
        return coarse, *barrier.closely(variables, path, label, coarse, apply=apply)

    intervals = pieces * (by.around.num_points - 1)
    (coarse, t, closer), (_, fine_t, fine) = on(intervals), on(2 * intervals)
    nats, error = (barrier.barriers(closer[one], t) for one in ("loss", "error_probability"))
    return {
        "barrier": nats["barrier"],
        "above_line": nats["above_line"],
        "probability": error["barrier"],
        "left": jnp.max(closer["left"], axis=0),
        "fine": jnp.maximum(barrier.barriers(fine["loss"], fine_t)["barrier"], nats["barrier"]),
        "profile": coarse["loss"][::pieces],
    }


def _shape(by: Search, path: Path, name: str, autoencoder, label) -> dict:
    """How long a path is, and how far from the manifold."""

    def off(t):
        x = path(t)
        return l2_norm(by.cell.reconstruct(autoencoder, x, label) - x)

    return {
        "length": paths.length(path, 8 * _pieces(by, name) + 1),
        "manifold": jnp.mean(jax.lax.map(off, paths.grid(PLACES)), axis=0),
    }


def out_of_plane(a, b, waypoint, peak):
    """|<w - B, n>| over |w - B|, w the waypoint, n the unit normal, B the line's point at `peak`; 0 where unmoved."""
    along, moved = (part.reshape(part.shape[0], -1) for part in (b - a, waypoint - a))
    length = jnp.maximum(jnp.linalg.norm(along, axis=1), jnp.finfo(along.dtype).tiny)
    beside = moved - peak[:, None] * along
    went = jnp.linalg.norm(beside, axis=1)
    out = jnp.abs(jnp.sum(along * beside, axis=1)) / length
    return jnp.where(went > 1e-6, out / jnp.maximum(went, 1e-6), 0.0)
