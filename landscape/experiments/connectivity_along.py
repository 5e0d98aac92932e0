"""What `connectivity` tells of the paths between the ends of pairs: the search for each, and what members say along it.

Every kind of pair has the straight line and the bypass. Some have more: a trained chain and a Bezier curve, the bypass
that noisy classifiers find, the bypass that is low for all members at once (of kinds whose ends all members share), and
line and bypass on the autoencoder's manifold, where ends are what it makes of theirs.
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
from landscape.measures.bypass import Around, Bypass, bypass
from landscape.measures.paths import Path
from landscape.presets.names import BYPASS_FRAMES
from landscape.spaces import l2_norm

ALWAYS = ("line", "bypass")
ALL = "all"
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
        partial(_loss, connected.classifier.apply),
        num_steps=section.num_steps,
        learning_rate=section.learning_rate,
        num_points=section.num_points,
        tolerance=section.tolerance,
    )
    by = _Search(config, connected, around)

    def each(ensemble, autoencoder, a, b, label, key):
        one = partial(_of_member, by, chosen)
        return map_members(one, ensemble, a, b, shared=(autoencoder, label, key), how=connected.how)

    return partial(_together, by) if chosen == (ALL,) else each


def _of_member(by: _Search, chosen, v, a, b, autoencoder, label, key) -> dict:
    """Every chosen path of one member; with the paths that every kind has, its ends as well."""
    apply = by.connected.classifier.apply
    pair = _Pair(a, b, label, *coded(by.connected.cell.autoencoder, autoencoder))
    told = {}
    for i, name in enumerate(chosen):
        path, more = _found(by, name, v, pair, jax.random.fold_in(key, i))
        one = _along(by, v, path, label, name) | _shape(by, path, name, autoencoder, label) | more
        one["valid"] = _valid(apply, v, path(jnp.zeros(())), path(jnp.ones(())), label)
        told |= {f"{name}.{quantity}": value for quantity, value in one.items()}
    if chosen == ALWAYS:
        told[f"{END}.end_margin"] = objectives.margin(apply(v, b), label)
        told[f"{END}.read_as"] = (_right(apply, v, a, label) & ~_right(apply, v, b, label)).astype(jnp.float32)
    return told


def _together(by: _Search, ensemble, autoencoder, a, b, label, key) -> dict:
    """One path for all members, low in the largest of their losses, and what each says along it."""
    apply = by.connected.classifier.apply
    a, b = a[0], b[0]  # all members share these ends
    around = by.around._replace(height=partial(_highest, apply))
    points = bypass(key, ensemble, a, b, label, around=around, depth=by.config.bypass.depth).points

    def one(v, points):
        path = paths.curve(points)
        told = _along(by, v, path, label, ALL) | _shape(by, path, ALL, autoencoder, label)
        return told | {"valid": _valid(apply, v, a, b, label)}

    told = map_members(one, ensemble, shared=(points,), how=by.connected.how)
    return {f"{ALL}.{quantity}": value for quantity, value in told.items()}


def _loss(apply, variables, x, label):
    return objectives.loss(apply(variables, x), label)


def _highest(apply, ensemble, x, label):
    """The largest loss of all members: a path that is low in it is low for every member."""
    return jnp.max(map_members(lambda v: _loss(apply, v, x, label), ensemble, how=Mapping()), axis=0)


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
        case "chain" | "bezier":
            points = trained_paths.trained(
                key, v, a, b, label, kind=name, height=around.height, **config.curves.to_dict()
            )
            return paths.curve(points, name), {}
        case "manifold_line":
            path = paths.line(encode(a), encode(b))
            return lambda t: decode(path(t)), {}
        case "manifold_bypass":
            around = around._replace(decode=decode)
            path = paths.curve(bypass(key, v, encode(a), encode(b), label, around=around, depth=depth).points)
            return lambda t: decode(path(t)), {}
        case "noisy":
            sampler = partial(samplers.ball, sigma=config.noise.radius, kind=config.noise.kind)
            around = around._replace(sampler=sampler)
            return paths.curve(bypass(key, v, a, b, label, around=around, depth=depth).points), {}
        case "bypass":
            around = around._replace(frames=BYPASS_FRAMES)
            over = bypass(key, v, a, b, label, around=around, depth=depth)
            return paths.curve(over.points), _of_search(by, v, pair, over)
    raise ValueError(f"path {name!r}: expected a path that one member searches; {ALL} is searched by all of them")


def _of_search(by: _Search, v, pair: _Pair, over: Bypass) -> dict:
    """after [F, n]: the barrier with the first bend alone, after each part of its steps; plane [n]: how far the bend is
    out of the hyperplane, over how far it went.
    """
    apply, num_points = by.connected.classifier.apply, by.around.num_points

    def after(bend):
        path = paths.curve(jnp.stack([pair.a, bend, pair.b]))
        told = barrier.profile(v, path, pair.label, apply=apply, num_points=num_points)
        return barrier.barriers(told["loss"])["barrier"]

    plane = _out_of_plane(pair.a, pair.b, over.iterates[-1], num_points)
    return {"after": jax.lax.map(after, over.iterates), "plane": plane}


def _pieces(by: _Search, name: str) -> int:
    """Pieces of a path whose resolution is that of the line each."""
    return 1 if name in STRAIGHT else 2**by.config.bypass.depth


def _along(by: _Search, v, path: Path, label, name: str) -> dict:
    """What a member says along a path."""
    pieces, apply = _pieces(by, name), by.connected.classifier.apply
    intervals = pieces * (by.around.num_points - 1)
    told, fine = (barrier.profile(v, path, label, apply=apply, num_points=k * intervals + 1) for k in (1, 2))
    loss, error = (barrier.barriers(told[one]) for one in ("loss", "error_probability"))
    return {
        "barrier": loss["barrier"],
        "above_line": loss["above_line"],
        "peak": loss["peak"],
        "probability": error["barrier"],
        "left": jnp.max(told["left"], axis=0),
        "climb": jnp.max(told["loss"], axis=0) - told["loss"][0],
        "fine": barrier.barriers(fine["loss"])["barrier"],
        "profile": told["loss"][::pieces],
        "first_loss": told["loss"][0],
        "last_loss": told["loss"][-1],
    }


def _shape(by: _Search, path: Path, name: str, autoencoder, label) -> dict:
    """What does not depend on a member."""
    reconstruct, num_points = by.connected.cell.reconstruct, 8 * _pieces(by, name) + 1

    def off(t):
        x = path(t)
        return l2_norm(reconstruct(autoencoder, x, label) - x)

    return {
        "length": paths.length(path, num_points),
        "manifold": jnp.mean(jax.lax.map(off, paths.grid(PLACES)), axis=0),
        **{f"deviation_{norm}": value for norm, value in paths.deviation(path, num_points).items()},
    }


def _out_of_plane(a, b, bend, num_points: int):
    """|<bend - B, n>| over |bend - B|, n the unit normal, B the nearest grid point of the line; 0 where unmoved."""
    way, moved = (part.reshape(part.shape[0], -1) for part in (b - a, bend - a))
    length = jnp.maximum(jnp.linalg.norm(way, axis=1), jnp.finfo(way.dtype).tiny)
    share = jnp.sum(way * moved, axis=1) / jnp.square(length)
    place = jnp.round(share * (num_points - 1)) / (num_points - 1)
    went = jnp.linalg.norm(moved - place[:, None] * way, axis=1)
    return jnp.where(went > 1e-6, jnp.abs(share - place) * length / jnp.maximum(went, 1e-6), 0.0)
