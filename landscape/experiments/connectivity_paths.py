"""Stages of `connectivity`: the paths of every kind of pair, chunk by chunk, and the arrays that they make together."""

from functools import partial

import jax
import numpy as np

from landscape import ensembles, runs
from landscape.experiments import connectivity_ends as ends
from landscape.experiments.connectivity_along import ALWAYS, END, TOGETHER, Tell, teller
from landscape.experiments.connectivity_ends import READ_AS, Make
from landscape.experiments.connectivity_setting import NONE, Connected, Pairs
from landscape.experiments.setting import stage_key
from landscape.types import Arrays

# Kinds whose ends are the same for all members, who all are to predict one class there.
SHARED_ENDS = ("genuine", "joint")
OF_BYPASS = ("after", "plane")  # what a bypass alone tells


def follow(
    config, run: runs.Run, connected: Connected, pairs: Pairs, make: Make
) -> dict[tuple[str, str], dict[str, np.ndarray]]:
    """What is told of every kind of pair and path, (kind, path) -> name -> values [S, Q], NaN where a kind has no pair.

    Also of each kind alone, path END: end_margin, and read_as: whether the member predicts the class at the first end
    and not at the other.
    """
    found: dict[tuple[str, str], dict[str, np.ndarray]] = {}
    total = len(pairs.label)
    # One program for all kinds: what makes their ends is small beside it.
    tellers: dict[tuple[str, ...], Tell] = {}
    for kind in config.pairs.kinds:
        rows = rows_of(pairs, kind)
        groups = {"paths": (ALWAYS, rows)}
        if kind in config.paths.kinds:
            together = tuple(path for path in config.paths.more if path in TOGETHER)
            own = tuple(path for path in config.paths.more if path not in TOGETHER)
            few = rows[: config.paths.num_pairs]
            groups |= {"more": (own, few), "together": (together if kind in SHARED_ENDS else (), few)}
        for stage, (chosen, rows) in groups.items():
            if not (len(rows) and chosen):
                continue
            if chosen not in tellers:
                tellers[chosen] = jax.jit(teller(config, connected, chosen))
            size = min(config.pairs.chunk, pairs.regular)
            arrays = _stage(config, run, connected, f"{kind}.{stage}", partial(make, kind), tellers[chosen], rows, size)
            for name, (_, values) in arrays.items():
                path, name = name.split(".")
                wide = np.full((*values.shape[:-1], total), np.nan, np.float32)
                wide[..., rows] = values
                found.setdefault((kind, path), {})[name] = wide
    return found


def rows_of(pairs: Pairs, kind: str) -> np.ndarray:
    """The places of a kind's pairs."""
    return np.arange(pairs.regular, len(pairs.label)) if kind == ends.NATURAL else np.arange(pairs.regular)


def few_of(config, pairs: Pairs) -> np.ndarray:
    """Places of each kind's first pairs, [kind, few], which all its paths join; NONE where a kind has fewer."""
    rows = [rows_of(pairs, kind)[: config.paths.num_pairs] for kind in config.pairs.kinds]
    few = np.full((len(rows), max(map(len, rows))), NONE)
    for own, found in zip(few, rows, strict=True):
        own[: len(found)] = found
    return few


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


def assemble(found: dict, kinds: tuple[str, ...], names: tuple[str, ...], few: np.ndarray) -> Arrays:
    """Arrays [kind, path, member, pair] of everything told along paths; without path what ends tell, and OF_BYPASS.

    Profiles would be most of a file: all pairs have those of the line and the bypass, `few` pairs those of all paths.
    """
    shape = next(iter(found.values()))["valid"].shape
    arrays: Arrays = {}
    told = [key for values in found.values() for key in values]
    for name in dict.fromkeys(told):
        cells = {place: values[name] for place, values in found.items() if name in values}
        inner = next(iter(cells.values())).shape[1:-1]
        alone = name in OF_BYPASS or all(path == END for _, path in cells)
        whole = np.full((len(kinds), 1 if alone else len(names), shape[0], *inner, shape[1]), np.nan, np.float32)
        for (kind, path), value in cells.items():
            whole[kinds.index(kind), 0 if alone else names.index(path)] = value
        extra = {"profile": ("t",), "after": ("frame",)}.get(name, ())
        dims = ("member", *extra, "pair")
        arrays[name] = (("kind", *dims), whole[:, 0]) if alone else (("kind", "path", *dims), whole)
    arrays |= _profiles(arrays.pop("profile")[1], few, names)
    valid = arrays["valid"][1]
    if READ_AS in kinds:
        valid[kinds.index(READ_AS)] = np.where(
            np.isnan(valid[kinds.index(READ_AS)]), np.nan, arrays["read_as"][1][kinds.index(READ_AS)][None]
        )
    del arrays["read_as"]
    return arrays


def _profiles(whole: np.ndarray, few: np.ndarray, names: tuple[str, ...]) -> Arrays:
    """line_profile, bypass_profile [kind, member, t, pair]; where there are more paths few_profile
    [kind, path, member, t, few] and few_pair [kind, few], the places of its pairs.
    """
    arrays: Arrays = {
        f"{path}_profile": (("kind", "member", "t", "pair"), whole[:, names.index(path)]) for path in ALWAYS
    }
    if names == ALWAYS:
        return arrays
    chosen = np.stack([of_kind[..., rows] for of_kind, rows in zip(whole, few, strict=True)])
    chosen = np.where((few == NONE)[:, None, None, None], np.nan, chosen).astype(np.float32)
    return arrays | {
        "few_profile": (("kind", "path", "member", "t", "few"), chosen),
        "few_pair": (("kind", "few"), few.astype(np.int32)),
    }
