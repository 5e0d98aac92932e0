"""Stages of `connectivity`: paths between the ends of every pair, and what a member says along them.

Every kind of pair has the straight line and the bypass. Some have more: a trained chain and a Bezier curve, the bypass
that noisy classifiers find, the bypass that is low for all members at once (of kinds whose ends all members share), and
line and bypass on the autoencoder's manifold, where ends are what it makes of theirs.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from landscape import ensembles, objectives, runs, samplers
from landscape.ensembles import map_members
from landscape.experiments import connectivity_ends as ends
from landscape.experiments.connectivity_ends import READ_AS, Make, coded
from landscape.experiments.connectivity_setting import Connected, Pairs
from landscape.experiments.setting import stage_key
from landscape.measures import barrier, paths, trained_paths
from landscape.measures.bypass import Around, bypass
from landscape.measures.paths import Path
from landscape.presets.names import BYPASS_FRAMES
from landscape.spaces import l2_norm
from landscape.types import Arrays

ALWAYS = ("line", "bypass")
ALL = "all"
END = "end"  # in the place of a path: what is told of the second end
PLACES = 9  # of a path, at which its distance to the manifold is taken


def follow(
    config, run: runs.Run, connected: Connected, pairs: Pairs, make: Make
) -> dict[tuple[str, str], dict[str, np.ndarray]]:
    """What is told of every kind of pair and path, (kind, path) -> name -> values [S, Q], NaN where a kind has no pair.

    Also of each kind alone, path END: end_margin, first_loss, last_loss, and valid: whether the member predicts the
    class at both ends (for READ_AS at the first one, and not at the other).
    """
    found: dict[tuple[str, str], dict[str, np.ndarray]] = {}
    regular, total = np.arange(pairs.regular), len(pairs.label)
    # One program for all kinds: what makes their ends is small beside it.
    tellers: dict[tuple[str, ...], Callable] = {}
    for kind in config.pairs.kinds:
        rows = regular if kind != ends.NATURAL else np.arange(pairs.regular, total)
        groups = {ALWAYS: rows}
        if kind in config.paths.kinds:
            groups[tuple(p for p in config.paths.more if p != ALL)] = rows[: config.paths.num_pairs]
            if kind in SHARED_ENDS and ALL in config.paths.more:
                groups[(ALL,)] = rows[: config.paths.num_pairs]
        for chosen, rows in groups.items():
            if not (len(rows) and chosen):
                continue
            if chosen not in tellers:
                tellers[chosen] = jax.jit(_teller(config, connected, chosen, ends_of=chosen == ALWAYS))
            stage = f"{kind}.{STAGES.get(chosen, 'more')}"
            size = min(config.pairs.chunk, pairs.regular)
            arrays = _stage(config, run, connected, stage, partial(make, kind), tellers[chosen], rows, size)
            for name, (_, values) in arrays.items():
                path, name = name.split(".")
                wide = np.full((*values.shape[:-1], total), np.nan, np.float32)
                wide[..., rows] = values
                found.setdefault((kind, path), {})[name] = wide
    return found


SHARED_ENDS = ("genuine", "joint")
STAGES = {ALWAYS: "paths", (ALL,): "together"}


def _stage(config, run, connected: Connected, stage: str, make, tell, rows: np.ndarray, size: int) -> Arrays:
    """The chosen paths of one kind, chunk by chunk; names are "path.name"."""
    autoencoder = ensembles.take(connected.cell.ensemble, 0)
    key = stage_key(config.seed, "paths")

    def work(start: int, stop: int) -> Arrays:
        # A chunk that is cut short is filled up, so that it compiles nothing.
        told = tell(connected.ensemble, autoencoder, *make(np.resize(rows[start:stop], size)), key)
        return {name: (_dims(name, value.ndim), np.asarray(value)[..., : stop - start]) for name, value in told.items()}

    return runs.chunks(run, stage, work, len(rows), size, dim="pair", unit="pairs")


def _dims(name: str, ndim: int) -> tuple[str, ...]:
    return ("member", "pair") if ndim == 2 else ("member", name.split(".")[1], "pair")


def _teller(config, connected: Connected, chosen: tuple[str, ...], *, ends_of: bool) -> Callable[..., dict[str, Any]]:
    """(ensemble, autoencoder, a, b [S, n, ...], label, key) -> "path.name" -> [S, ..., n]."""
    apply, how = connected.classifier.apply, connected.how
    section, num_points = config.bypass, config.bypass.num_points

    def height(variables, x, label):
        return objectives.loss(apply(variables, x), label)

    def highest(ensemble, x, label):
        """The largest loss of all members: a path that is low in it is low for every member."""
        losses = map_members(lambda v: height(v, x, label), ensemble, how=ensembles.Mapping())
        return jnp.max(losses, axis=0)

    around = Around(
        height,
        num_steps=section.num_steps,
        learning_rate=section.learning_rate,
        num_points=num_points,
        tolerance=section.tolerance,
    )
    noisy = partial(samplers.ball, sigma=config.noise.radius, kind=config.noise.kind)

    def found(name: str, v, decode, encode, a, b, label, key) -> tuple[Path, dict]:
        """A path's images by t, and what only its search can tell."""
        if name == "line":
            return paths.line(a, b), {}
        if name in ("chain", "bezier"):
            trained = config.curves
            options = {"num_bends": trained.num_bends, "num_steps": trained.num_steps, "num_draws": trained.num_draws}
            points = trained_paths.trained(
                key, v, a, b, label, kind=name, height=height, learning_rate=trained.learning_rate, **options
            )
            return paths.curve(points, name), {}
        if name.startswith("manifold"):
            z = (encode(a), encode(b))
            if name == "manifold_line":
                path = paths.line(*z)
            else:
                path = paths.curve(
                    bypass(key, v, *z, label, around=around._replace(decode=decode), depth=section.depth).points
                )
            return lambda t: decode(path(t)), {}
        if name == "noisy":
            over = bypass(key, v, a, b, label, around=around._replace(sampler=noisy), depth=section.depth)
            return paths.curve(over.points), {}
        over = bypass(key, v, a, b, label, around=around._replace(frames=BYPASS_FRAMES), depth=section.depth)
        return paths.curve(over.points), _of_search(v, a, b, label, over)

    def _of_search(v, a, b, label, over):
        """after [F, n]: the barrier with the first bend alone, after each part of its steps; plane [n]: how far the
        bend is out of the hyperplane, over how far it went."""

        def after(bend):
            told = barrier.profile(v, paths.curve(jnp.stack([a, bend, b])), label, apply=apply, num_points=num_points)
            return barrier.barriers(told["loss"])["barrier"]

        return {"after": jax.lax.map(after, over.iterates), "plane": _out_of_plane(a, b, over.iterates[-1], num_points)}

    def along(v, path: Path, label, name: str) -> dict:
        """What a member says along a path."""
        pieces = 2**section.depth if name not in ("line", "manifold_line") else 1
        told = barrier.profile(v, path, label, apply=apply, num_points=pieces * (num_points - 1) + 1)
        fine = barrier.profile(v, path, label, apply=apply, num_points=2 * pieces * (num_points - 1) + 1)
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

    def shape(path: Path, name: str, autoencoder, label) -> dict:
        """What does not depend on a member."""
        reconstruct = connected.cell.reconstruct

        def off(t):
            x = path(t)
            return l2_norm(reconstruct(autoencoder, x, label) - x)

        pieces = 2**section.depth if name not in ("line", "manifold_line") else 1
        deviation = paths.deviation(path, pieces * 8 + 1)
        return {
            "length": paths.length(path, pieces * 8 + 1),
            "manifold": jnp.mean(jax.lax.map(off, paths.grid(PLACES)), axis=0),
            **{f"deviation_{norm}": value for norm, value in deviation.items()},
        }

    def member(v, a, b, autoencoder, label, key):
        encode, decode = coded(connected.cell.autoencoder, autoencoder)
        told = {}
        for i, name in enumerate(chosen):
            path, more = found(name, v, decode, encode, a, b, label, jax.random.fold_in(key, i))
            one = along(v, path, label, name) | shape(path, name, autoencoder, label) | more
            one["valid"] = _valid(v, path(jnp.zeros(())), path(jnp.ones(())), label)
            told |= {f"{name}.{key}": value for key, value in one.items()}
        if ends_of:
            told[f"{END}.end_margin"] = objectives.margin(apply(v, b), label)
            told[f"{END}.read_as"] = _read_as(v, a, b, label)
        return told

    def _right(v, x, label):
        return jnp.argmax(apply(v, x), axis=-1) == label

    def _valid(v, a, b, label):
        return (_right(v, a, label) & _right(v, b, label)).astype(jnp.float32)

    def _read_as(v, a, b, label):
        return (_right(v, a, label) & ~_right(v, b, label)).astype(jnp.float32)

    def together(ensemble, a, b, autoencoder, label, key):
        """One path for all members, and what each says along it."""
        over = bypass(key, ensemble, a, b, label, around=around._replace(height=highest), depth=section.depth)
        points = over.points

        def one(v, points):
            path = paths.curve(points)
            told = along(v, path, label, ALL) | shape(path, ALL, autoencoder, label)
            return told | {"valid": _valid(v, a, b, label)}

        told = map_members(one, ensemble, shared=(points,), how=how)
        return {f"{ALL}.{key}": value for key, value in told.items()}

    def each(ensemble, autoencoder, a, b, label, key):
        return map_members(member, ensemble, a, b, shared=(autoencoder, label, key), how=how)

    def at_once(ensemble, autoencoder, a, b, label, key):
        return together(ensemble, a[0], b[0], autoencoder, label, key)

    return at_once if chosen == (ALL,) else each


def _out_of_plane(a, b, bend, num_points: int):
    """|<bend - B, n>| over |bend - B|, n the unit normal, B the nearest grid point of the line; 0 where unmoved."""
    way, moved = (part.reshape(part.shape[0], -1) for part in (b - a, bend - a))
    length = jnp.maximum(jnp.linalg.norm(way, axis=1), jnp.finfo(way.dtype).tiny)
    share = jnp.sum(way * moved, axis=1) / jnp.square(length)
    place = jnp.round(share * (num_points - 1)) / (num_points - 1)
    went = jnp.linalg.norm(moved - place[:, None] * way, axis=1)
    return jnp.where(went > 1e-6, jnp.abs(share - place) * length / jnp.maximum(went, 1e-6), 0.0)


def assemble(found: dict, kinds: tuple[str, ...], names: tuple[str, ...]) -> Arrays:
    """Arrays [kind, path, member, pair] of everything told along paths, and [kind, member, pair] of the ends."""
    shape = next(iter(found.values()))["valid"].shape
    arrays: Arrays = {}
    told = [key for values in found.values() for key in values]
    for name in dict.fromkeys(told):
        cells = {place: values[name] for place, values in found.items() if name in values}
        inner = next(iter(cells.values())).shape[1:-1]
        if all(path == END for _, path in cells):
            whole = np.full((len(kinds), *shape), np.nan, np.float32)
            for (kind, _), value in cells.items():
                whole[kinds.index(kind)] = value
            arrays[name] = (("kind", "member", "pair"), whole)
            continue
        whole = np.full((len(kinds), len(names), shape[0], *inner, shape[1]), np.nan, np.float32)
        for (kind, path), value in cells.items():
            whole[kinds.index(kind), names.index(path)] = value
        extra = {"profile": ("t",), "after": ("frame",)}.get(name, ())
        arrays[name] = (("kind", "path", "member", *extra, "pair"), whole)
    valid = arrays["valid"][1]
    if READ_AS in kinds:
        valid[kinds.index(READ_AS)] = np.where(
            np.isnan(valid[kinds.index(READ_AS)]), np.nan, arrays["read_as"][1][kinds.index(READ_AS)][None]
        )
    del arrays["read_as"]
    return arrays
