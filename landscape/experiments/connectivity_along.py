"""What `connectivity` tells of the paths between the ends of pairs: the search for each, and what members say along it.

Every pair has the straight line and the bypass, some pairs more: a trained chain and a Bezier curve, the bypass
and the curves that noisy classifiers find, those that are low for all members at once (of kinds whose ends all members
share), and line and bypass on the autoencoder's manifold, where ends are what it makes of theirs.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from landscape import objectives, samplers
from landscape.ensembles import Mapping, map_members
from landscape.experiments.connectivity_attacks import coded
from landscape.experiments.connectivity_setting import Connected
from landscape.measures import barrier, paths, trained_paths
from landscape.measures.bypass import Around, Bypass, bypass, halvings
from landscape.measures.paths import Path
from landscape.presets.names import CURVES
from landscape.spaces import l2_norm

ALWAYS = ("line", "bypass")
ALL = "all"
TOGETHER = (ALL, "chain_all", "bezier_all")  # paths that all members search
END = "end"  # in the place of a path: what is told of the second end
STRAIGHT = ("line", "manifold_line")
PLACES = 9  # of a path, at which its distance to the manifold is taken

Tell = Callable[..., dict[str, Any]]


class _Search(NamedTuple):
    """What the paths of one run are searched with. around: of the bypass of one member in pixels."""

    config: Any
    connected: Connected
    around: Around


class _Pair(NamedTuple):
    """Both ends of some pairs for one member, [n, ...], their class [n], and how latents are made of them."""

    a: jax.Array
    b: jax.Array
    label: jax.Array
    encode: Callable
    decode: Callable


def teller(config, connected: Connected, chosen: tuple[str, ...]) -> Tell:
    """(ensemble, autoencoder, a, b [S, n, ...], label, key) -> "path.name" -> [S, ..., n], of the chosen paths."""
    section = config.bypass
    around = Around(
        partial(loss, connected.classifier.apply),
        num_steps=section.num_steps,
        learning_rate=section.learning_rate,
        num_points=section.num_points,
        tolerance=section.tolerance,
    )
    by = _Search(config, connected, around)

    def each(ensemble, autoencoder, a, b, label, key):
        one = partial(_of_member, by, chosen)
        return map_members(one, ensemble, a, b, shared=(autoencoder, label, key), how=connected.how)

    return partial(_together, by, chosen) if set(chosen) <= set(TOGETHER) else each


def _of_member(by: _Search, chosen, v, a, b, autoencoder, label, key) -> dict:
    """Every chosen path of one member; with the line, which every kind has, its ends as well."""
    apply = by.connected.classifier.apply
    pair = _Pair(a, b, label, *coded(by.connected.cell.autoencoder, autoencoder))
    told = {}
    for i, name in enumerate(chosen):
        path, more = _found(by, name, v, pair, jax.random.fold_in(key, i))
        one = _along(by, v, path, label, name) | _shape(by, path, name, autoencoder, label) | more
        one["valid"] = _valid(apply, v, path(jnp.zeros(())), path(jnp.ones(())), label)
        told |= {f"{name}.{quantity}": value for quantity, value in one.items()}
    if "line" in chosen:
        told[f"{END}.end_margin"] = objectives.margin(apply(v, b), label)
        told[f"{END}.read_as"] = (_right(apply, v, a, label) & ~_right(apply, v, b, label)).astype(jnp.float32)
    return told


def _together(by: _Search, chosen, ensemble, autoencoder, a, b, label, key) -> dict:
    """Paths that are low in the largest loss of all members, and what each member says along them."""
    apply, config = by.connected.classifier.apply, by.config
    height = partial(highest, apply)
    pair = _Pair(a[0], b[0], label, *coded(by.connected.cell.autoencoder, autoencoder))  # all members share these ends
    told = {}
    for i, name in enumerate(chosen):
        own, kind = jax.random.fold_in(key, i), name.removesuffix(f"_{ALL}")
        if name == ALL:
            around, kind = by.around._replace(height=height), "chain"
            points = bypass(own, ensemble, *pair[:3], around=around, depth=config.bypass.depth).points
        else:
            points = _trained(by, kind, height, ensemble, pair, own)

        def one(v, points, name=name, kind=kind):
            path = paths.curve(points, kind)
            found = _along(by, v, path, label, name) | _shape(by, path, name, autoencoder, label)
            return found | {"valid": _valid(apply, v, pair.a, pair.b, label)}

        found = map_members(one, ensemble, shared=(points,), how=by.connected.how)
        told |= {f"{name}.{quantity}": value for quantity, value in found.items()}
    return told


def loss(apply, variables, x, label):
    """Of one classifier, nats, [n]."""
    return objectives.loss(apply(variables, x), label)


def highest(apply, ensemble, x, label):
    """The largest loss of all members, nats, [n]: a path that is low in it is low for every member."""
    return jnp.max(map_members(lambda v: loss(apply, v, x, label), ensemble, how=Mapping()), axis=0)


def _right(apply, v, x, label):
    return jnp.argmax(apply(v, x), axis=-1) == label


def _valid(apply, v, a, b, label):
    return (_right(apply, v, a, label) & _right(apply, v, b, label)).astype(jnp.float32)


def _found(by: _Search, name: str, v, pair: _Pair, key) -> tuple[Path, dict]:
    """A path's images by t, and what only its search can tell."""
    a, b, label, encode, decode = pair
    config, around, depth = by.config, by.around, by.config.bypass.depth
    match name:
        case "line":
            return paths.line(a, b), {}
        case "chain" | "bezier" | "chain_noisy" | "bezier_noisy":
            kind, *noise = name.split("_")
            sampler = {"sampler": _noisy(config)} if noise else {}
            return paths.curve(_trained(by, kind, around.height, v, pair, key, **sampler), kind), {}
        case "manifold_line":
            path = paths.line(encode(a), encode(b))
            return lambda t: decode(path(t)), {}
        case "manifold_bypass":
            around = around._replace(decode=decode)
            path = paths.curve(bypass(key, v, encode(a), encode(b), label, around=around, depth=depth).points)
            return lambda t: decode(path(t)), {}
        case "noisy":
            around = around._replace(sampler=_noisy(config))
            return paths.curve(bypass(key, v, a, b, label, around=around, depth=depth).points), {}
        case "bypass":
            around = around._replace(frames=halvings(config.bypass.num_steps))
            over = bypass(key, v, a, b, label, around=around, depth=depth)
            return paths.curve(over.points), _of_search(by, v, pair, over)
    raise ValueError(f"path {name!r}: expected one that a single member searches, none of {', '.join(TOGETHER)}")


def _trained(by: _Search, kind: str, height, variables, pair: _Pair, key, **sampler) -> jax.Array:
    """The points of a trained curve."""
    options = {"kind": kind, "height": height, **by.config.curves.to_dict(), **sampler}
    return trained_paths.trained(key, variables, pair.a, pair.b, pair.label, **options)


def _noisy(config) -> Callable:
    """variables -> a classifier of the noise ball around them, drawn anew at every step."""
    return partial(samplers.ball, sigma=config.noise.radius, kind=config.noise.kind)


def _of_search(by: _Search, v, pair: _Pair, over: Bypass) -> dict:
    """after [F, n]: the barrier with the first bend alone, by steps of its search (`halvings`); plane [n]: how far the
    bend is out of its hyperplane, over how far it went.
    """
    apply, num_points = by.connected.classifier.apply, 2 * (by.around.num_points - 1) + 1

    def after(bend):
        path = paths.curve(jnp.stack([pair.a, bend, pair.b]))
        told = barrier.profile(v, path, pair.label, apply=apply, num_points=num_points)
        t, told = barrier.closely(v, path, pair.label, told, apply=apply)
        return barrier.barriers(told["loss"], t)["barrier"]

    plane = _out_of_plane(pair.a, pair.b, over.iterates[-1], over.peak)
    return {"after": jax.lax.map(after, over.iterates), "plane": plane}


def _pieces(by: _Search, name: str) -> int:
    """Pieces of a path whose resolution is that of the line each."""
    if name in STRAIGHT:
        return 1
    return by.config.curves.num_bends + 1 if name.startswith(CURVES) else 2**by.config.bypass.depth


def _along(by: _Search, v, path: Path, label, name: str) -> dict:
    """What a member says along a path."""
    pieces, apply = _pieces(by, name), by.connected.classifier.apply

    def on(intervals: int):
        told = barrier.profile(v, path, label, apply=apply, num_points=intervals + 1)
        return told, *barrier.closely(v, path, label, told, apply=apply)

    intervals = pieces * (by.around.num_points - 1)
    (told, t, closer), (_, fine_t, fine) = on(intervals), on(2 * intervals)
    nats, error = (barrier.barriers(closer[one], t) for one in ("loss", "error_probability"))
    return {
        "barrier": nats["barrier"],
        "above_line": nats["above_line"],
        "peak": nats["peak"],
        "probability": error["barrier"],
        "left": jnp.max(closer["left"], axis=0),
        "climb": jnp.max(closer["loss"], axis=0) - told["loss"][0],
        "fine": jnp.maximum(barrier.barriers(fine["loss"], fine_t)["barrier"], nats["barrier"]),
        "profile": told["loss"][::pieces],
        "first_loss": told["loss"][0],
        "last_loss": told["loss"][-1],
    }


def _shape(by: _Search, path: Path, name: str, autoencoder, label) -> dict:
    """How long a path is, how far it goes from the line, and how far from the manifold."""
    reconstruct, num_points = by.connected.cell.reconstruct, 8 * _pieces(by, name) + 1

    def off(t):
        x = path(t)
        return l2_norm(reconstruct(autoencoder, x, label) - x)

    return {
        "length": paths.length(path, num_points),
        "manifold": jnp.mean(jax.lax.map(off, paths.grid(PLACES)), axis=0),
        **{f"deviation_{norm}": value for norm, value in paths.deviation(path, num_points).items()},
    }


def _out_of_plane(a, b, bend, peak):
    """|<bend - B, n>| over |bend - B|, n the unit normal, B the point of the line at `peak`; 0 where unmoved."""
    way, moved = (part.reshape(part.shape[0], -1) for part in (b - a, bend - a))
    length = jnp.maximum(jnp.linalg.norm(way, axis=1), jnp.finfo(way.dtype).tiny)
    beside = moved - peak[:, None] * way
    went = jnp.linalg.norm(beside, axis=1)
    out = jnp.abs(jnp.sum(way * beside, axis=1)) / length
    return jnp.where(went > 1e-6, out / jnp.maximum(went, 1e-6), 0.0)
