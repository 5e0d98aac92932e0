"""The stages of a connectivity run.

Members and autoencoder -> what members predict for clean images -> pairs -> the weight of the adaptive attack, on
validation images -> the second endpoint of every kind of pair -> paths -> pictures -> graphs of inputs of one class.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from landscape import ensembles, objectives, runs
from landscape.data import Dataset
from landscape.ensembles import map_members
from landscape.experiments import descriptions, setting, works
from landscape.experiments.base import Stage, run_stage
from landscape.experiments.connectivity import COMPUTED, IMAGE, MEASURED, SAVED
from landscape.experiments.connectivity.config import ALWAYS, LEAST_PAIRS, TOGETHER
from landscape.experiments.connectivity.estimates import chosen_weight, tuning
from landscape.experiments.connectivity.pairs import (
    NONE,
    UNTOUCHED,
    Pairs,
    attack,
    drawn,
    nodes_of,
    pairs_by_label,
    pairs_of,
)
from landscape.experiments.connectivity.paths import NODES, Search, follow, graphs
from landscape.experiments.descriptions import Description
from landscape.experiments.setting import Examples, Setting, stage_key
from landscape.files import UserError
from landscape.measures import paths
from landscape.measures.barrier import line_rise
from landscape.measures.bypass import halvings, waypoints
from landscape.spaces import per_example

WANTED = 1.0  # nats: log-odds of steered attacks of a member without natural errors
PICTURED = ("genuine", "natural_error", "adversarial", "adaptive")
NUM_PICTURED = 3  # pairs of a kind
POINTS = ("first", "highest", "bypass", "last")
SAME = ("genuine", "joint")  # kinds whose endpoints are the same for all members


class Split(NamedTuple):
    """Images of one split, what members predict for them (`clean`), and the pairs of them."""

    examples: Examples
    clean: xr.Dataset
    pairs: Pairs


def compute(config, run: runs.Run) -> xr.Dataset:
    """Every array of a run; what is on disk is not computed again."""
    prepared = setting.prepare(config, run, partial(check, config))
    _, coder = descriptions.of_images(config, run, prepared)
    by = Search(config, prepared.classifier.apply, prepared.how)
    test = paired(config, run, prepared, coder, "test")
    tuned = tune(config, run, prepared, coder) if "adaptive" in config.pairs.kinds else xr.Dataset()
    points = endpoints(config, run, prepared, test, tuned)
    data = along(by, run, prepared, coder, test, points)
    data = data.merge(pictures(by, run, prepared, test, points, data)).merge(about(test))
    data = data.merge(graph(by, run, prepared, test, points)).merge(tuned)
    if config.measures:
        data = data.merge(measured_by_name(config, run, prepared, test, points))
    axes = {"steps": list(halvings(config.bypass.num_steps)), "t": np.linspace(0, 1, config.bypass.num_points)}
    data, section = data.assign_coords(axes | setting.coordinates(prepared)), config.search
    return data.assign_attrs(epsilon=section.epsilon, norm=section.norm, tolerance=config.bypass.tolerance)


def check(config, dataset: Dataset) -> None:
    """Refuses images that the autoencoder does not fit, or of which not even perfect members leave pairs enough."""
    works.check(config, dataset)
    descriptions.check_manifold(config, dataset)
    section = config.pairs
    for split in ("test", "validation") if "adaptive" in section.kinds else ("test",):
        label = setting.labels(dataset, split, section.num_examples, config.seed)
        count = pairs_by_label(label, num_pairs=LEAST_PAIRS, seed=config.seed).regular
        if count < LEAST_PAIRS:
            hint = ", or leave adaptive out of pairs.kinds" if split == "validation" else ""
            raise UserError(
                f"pairs.num_examples={section.num_examples}: {count} pairs of {len(label)} {split} images, each of two "
                f"of one class and one of another; expected {LEAST_PAIRS} or more; take more {split} images{hint}"
            )


def paired(config, run: runs.Run, prepared: Setting, coder: Description, split: str) -> Split:
    """The images of a split, what members predict for them, and its pairs."""
    section = config.pairs
    examples = setting.examples(prepared.dataset, split, section.num_examples, config.seed)

    def member(variables, x):
        logits = prepared.classifier.apply(variables, x)
        prediction = jnp.argmax(logits, axis=-1)
        return prediction, objectives.log_odds(logits, prediction), jax.nn.softmax(logits)

    def work(chunk, ensemble, variables) -> dict[str, jax.Array]:
        found = map_members(member, ensemble, shared=(chunk["x"],), how=prepared.how)
        latent = coder.autoencoder.encode(variables, chunk["x"]).reshape(len(chunk["x"]), -1)
        names = ("clean_prediction", "clean_log_odds", "clean_probability")
        return dict(zip(names, found, strict=True)) | {"latent": latent}

    shared = {"ensemble": prepared.ensemble, "variables": ensembles.take(coder.ensemble, 0)}
    images = setting.as_dataset(examples)[["x"]]
    clean = run_stage(run, Stage(f"clean.{split}", work, images, config.chunk, shared), COMPUTED)
    # Where natural errors are no kind of pair, their reference images are left to the others.
    counts = {"num_pairs": section.num_pairs, "num_errors": section.num_errors * ("natural_error" in section.kinds)}
    probability = clean.clean_probability.values.mean(axis=0)
    found = pairs_of(examples.label, clean.clean_prediction.values, probability, seed=config.seed, **counts)
    if found.regular < LEAST_PAIRS:
        run.say(
            f"pairs: {found.regular} of {len(examples.label)} {split} images that all {config.num_members} members "
            "classify rightly; going on with pairs of any images, which count for members that predict their class"
        )
        found = pairs_by_label(examples.label, num_pairs=section.num_pairs, seed=config.seed)
    return Split(examples, clean, found)


def pairs_as_dataset(split: Split, rows: np.ndarray, log_odds=0.0, rise=0.0) -> xr.Dataset:
    """Pairs as attacks take them; the reference image stands where an image is lacking, which no kind then reads.

    log_odds, rise: that attacks want of each pair, [S, Q], see `pairs.attack`.
    """
    examples, pairs = split.examples, split.pairs
    index = {name: getattr(pairs, name)[rows] for name in ("reference", "partner", "source")}
    found: dict[str, Any] = {
        name: (("pair", *IMAGE), examples.x[np.where(own == NONE, index["reference"], own)])
        for name, own in index.items()
    }
    found |= {"label": ("pair", pairs.label[rows].astype(np.int32))}
    found |= {"source_id": ("pair", examples.ids[index["source"]])}
    shape = (split.clean.sizes["member"], len(pairs.label))
    for name, values in (("log_odds", log_odds), ("rise", rise)):
        found[name] = (("member", "pair"), np.broadcast_to(np.float32(values), shape)[:, rows])
    return xr.Dataset(found)


def about(split: Split) -> xr.Dataset:
    """Which images a pair is of, its class, and how far its source image is from its reference image."""
    pairs, ids, latent = split.pairs, split.examples.ids, split.clean.latent.values.astype(np.float64)
    found = {"pair_class": pairs.label.astype(np.int32)}
    found["source_distance"] = np.linalg.norm(latent[pairs.reference] - latent[pairs.source], axis=1)
    for name in ("reference", "partner", "source"):
        index = getattr(pairs, name)
        found[f"{name}_id"] = np.where(index == NONE, NONE, ids[index])
    return xr.Dataset({name: ("pair", values) for name, values in found.items()})


# ---- the weight of the detector in the adaptive attack ----


def tune(config, run: runs.Run, prepared: Setting, coder: Description) -> xr.Dataset:
    """How much the adaptive attack should weigh the detector, on validation images.

    The detector is the barrier of the line from a genuine image. The attack wants its own line to rise as one of a
    genuine pair does, drawn from the member's own validation pairs, so that it is detected on neither side; lines
    without a barrier have a rise below 0, which is wanted as well (`barrier.line_rise`). Each weight of the distance
    from it is tried; taken is the one whose results are detected worst, see `estimates.chosen_weight`.
    """
    held = paired(config, run, prepared, coder, "validation")
    rows, apply = np.arange(held.pairs.regular)[: config.adaptive.num_pairs], prepared.classifier.apply
    grids = (config.bypass.num_points, config.adaptive.num_points)  # the detector's, and the attack's

    def member(variables, b, a, label):
        right = [jnp.argmax(apply(variables, x), axis=-1) == label for x in (a, b)]
        fine, own = (line_rise(variables, a, b, label, apply=apply, num_points=count) for count in grids)
        return jnp.maximum(fine, 0.0), own, right[0] & right[1]

    def measured(b, ensemble, chunk):
        shared = (chunk["reference"], chunk["label"])
        return map_members(member, ensemble, b, shared=shared, how=prepared.how)

    def genuine(chunk, ensemble) -> dict[str, jax.Array]:
        b = jnp.repeat(chunk["partner"][None], ensembles.size(ensemble), axis=0)
        names = ("tuning_genuine", "tuning_rise", "tuning_right")
        return dict(zip(names, measured(b, ensemble, chunk), strict=True))

    whole, shared = pairs_as_dataset(held, rows).rename(pair="tuning_pair"), {"ensemble": prepared.ensemble}
    found = run_stage(run, Stage("adaptive.genuine", genuine, whole, len(rows), shared, "tuning_pair"), COMPUTED)
    make = attack(config, apply, prepared.how, "adaptive")

    def tried(chunk, ensemble, pairs) -> dict[str, jax.Array]:
        each = [measured(make(pairs, ensemble, w)["endpoint"], ensemble, pairs) for w in chunk["weight"]]
        return {name: jnp.stack([one[i] for one in each]) for name, i in (("tuning_barrier", 0), ("tuning_reached", 2))}

    pairs = pairs_as_dataset(held, rows, rise=rises(config, found, held))
    shared |= {"pairs": {str(name): jnp.asarray(value.values) for name, value in pairs.items()}}
    weights = xr.Dataset(coords={"weight": np.asarray((0.0, *config.adaptive.weights), np.float32)})
    found = found.merge(run_stage(run, Stage("adaptive.tuning", tried, weights, 1, shared, "weight"), COMPUTED))
    taken = chosen_weight(*tuning(found), keep=config.adaptive.keep)
    return found.assign(adaptive_weight=found.weight[taken].drop_vars("weight"))


def rises(config, tuned: xr.Dataset, split: Split) -> np.ndarray:
    """What adaptive attacks want each line to rise by, [S, Q] nats, as the member's genuine validation pairs do."""
    of_genuine = (tuned.tuning_rise.values, tuned.tuning_right.values)
    return drawn(*of_genuine, len(split.pairs.label), seed=(config.seed, 6), otherwise=0.0)


# ---- endpoints, and paths between them ----


def endpoints(config, run, prepared: Setting, split: Split, tuned: xr.Dataset) -> dict[str, np.ndarray]:
    """The second endpoints of every kind of pair, [S, n, H, W, C].

    Steered attacks want log-odds that the member's natural errors have.
    """
    found, clean = {}, split.clean
    wrong = clean.clean_prediction.values != split.examples.label
    errors = (clean.clean_log_odds.values, wrong, len(split.pairs.label))
    wanted = {"log_odds": drawn(*errors, seed=(config.seed, 5), otherwise=WANTED)}
    wanted |= {"rise": rises(config, tuned, split)} if tuned else {}
    weight = jnp.float32(float(tuned.get("adaptive_weight", 0.0)))
    for kind in dict.fromkeys((*config.pairs.kinds, *(NODES if config.graph.num_nodes else ()))):
        pairs = pairs_as_dataset(split, split.pairs.rows(kind), **wanted)
        if kind in UNTOUCHED:
            found[kind] = np.repeat(pairs[UNTOUCHED[kind]].values[None], len(prepared.members), axis=0)
            continue
        work = attack(config, prepared.classifier.apply, prepared.how, kind)
        shared = {"ensemble": prepared.ensemble, "weight": weight}
        stage = Stage(f"endpoints.{kind}", work, pairs, config.pairs.chunk, shared, "pair")
        found[kind] = run_stage(run, stage, COMPUTED).endpoint.values
    return found


def along(
    by: Search, run, prepared: Setting, coder: Description, split: Split, points: Mapping[str, np.ndarray]
) -> xr.Dataset:
    """What members predict along every path of every kind of pair; NaN, or False of `valid`, where there is none."""
    config = by.config
    key = jax.random.fold_in(stage_key(config.seed, "paths"), 0)
    shared = {"ensemble": prepared.ensemble, "autoencoder": ensembles.take(coder.ensemble, 0), "key": key}
    by_path, whole = [], xr.Dataset()
    for path in (*ALWAYS, *config.paths.more):
        kinds, count = (config.pairs.kinds, None) if path in ALWAYS else (config.paths.kinds, config.paths.num_pairs)
        kinds = [kind for kind in kinds if kind in config.pairs.kinds and (path != TOGETHER or kind in SAME)]
        cases = [(kind, row) for kind in kinds for row in split.pairs.rows(kind)[:count].tolist()]
        if not cases:
            continue
        work, inputs = follow(by, path, coder.autoencoder), cases_as_dataset(split, points, cases)
        found = run_stage(run, Stage(f"paths.{path}", work, inputs, config.pairs.chunk, shared, "case"), COMPUTED)
        found = by_kind(found.rename(profile=f"{path}_profile"), cases, config.pairs.kinds, len(split.pairs.label))
        of_path = [name for name in found if "path" in SAVED.get(name, COMPUTED["profile"]).dims]
        by_path.append(found[of_path].assign_coords(path=path))
        if path in ALWAYS:
            whole = whole.merge(found.drop_vars(of_path))
    whole = whole.merge(xr.concat(by_path, "path", join="exact", combine_attrs="override"))
    return whole.map(lambda value: value.transpose(*SAVED[value.name].dims))


def measured_by_name(config, run, prepared: Setting, split: Split, points: Mapping[str, np.ndarray]) -> xr.Dataset:
    """config.measures at the second endpoints of every kind but `source`, each stage of kinds made from one image."""
    kinds = [kind for kind in config.pairs.kinds if kind != "source"]
    made_from = {"genuine": "partner", "boosted": "partner", "natural_error": "natural_error"}
    parts = []
    for group in dict.fromkeys(made_from.get(kind, "source") for kind in kinds):
        own = [kind for kind in kinds if made_from.get(kind, "source") == group]
        rows, inputs = split.pairs.rows(own[0]), np.stack([points[kind] for kind in own], axis=1)
        if not len(rows):  # no member has a natural error
            continue
        index = (split.pairs.partner if group == "partner" else split.pairs.source)[rows]
        images = Examples(*(part[index] for part in split.examples))
        found = works.measured(config, run, prepared, inputs, images, MEASURED, suffix=f".{group}")
        parts.append(found.assign_coords(kind=own, pair=rows))
    data = xr.concat(parts, "kind", data_vars="minimal", coords="minimal", compat="override", join="outer")
    data = data.reindex(kind=list(config.pairs.kinds), pair=np.arange(len(split.pairs.label))).drop_vars("pair")
    return data.map(lambda value: value.transpose(..., *MEASURED))


def cases_as_dataset(split: Split, points: Mapping[str, np.ndarray], cases: list[tuple[str, int]]) -> xr.Dataset:
    """Pairs of several kinds, one after the other: reference image, second endpoint, class, and whether that is of
    another one.
    """
    rows = np.asarray([row for _, row in cases])
    ends = [points[kind][:, np.flatnonzero(split.pairs.rows(kind) == row)[0]] for kind, row in cases]
    found = {"reference": (("case", *IMAGE), split.examples.x[split.pairs.reference[rows]])}
    found |= {"endpoint": (("member", "case", *IMAGE), np.stack(ends, axis=1))}
    found |= {"label": ("case", split.pairs.label[rows].astype(np.int32))}
    return xr.Dataset(found | {"other_class": ("case", np.asarray([kind == "source" for kind, _ in cases]))})


def by_kind(data: xr.Dataset, cases: list[tuple[str, int]], kinds: tuple[str, ...], num_pairs: int) -> xr.Dataset:
    """From cases to (kind, pair)."""
    empty = {name: False if value.dtype == bool else np.nan for name, value in data.items()}
    kind, pair = zip(*cases, strict=True)
    data = (
        data.assign_coords(kind=("case", list(kind)), pair=("case", list(pair)))
        .set_index(case=("kind", "pair"))
        .unstack("case", fill_value=empty)
    )
    return (
        data.reindex(kind=list(kinds), pair=np.arange(num_pairs), fill_value=empty)
        .drop_vars("pair")
        .assign_coords(kind=list(kinds))
    )


# ---- pictures, graphs ----


def pictures(by: Search, run, prepared: Setting, split: Split, points, data: xr.Dataset) -> xr.Dataset:
    """Of the pairs that count for the first member, those whose line is highest: both endpoints, the highest point of
    the line between them and where the bypass takes it, with the member's loss of the class.
    """
    first, cases = data.sel(path="line").isel(member=0), []
    for kind in (one for one in PICTURED if one in by.config.pairs.kinds):
        own = first.sel(kind=kind)
        order = np.argsort(-own.barrier.where(own.valid, -np.inf).values, kind="stable")
        cases += [(kind, row) for row in order[: min(NUM_PICTURED, int(own.valid.sum()))].tolist()]
    if not cases:
        return xr.Dataset()

    def work(chunk, variables) -> dict[str, jax.Array]:
        a, b, label = (chunk[name] for name in ("reference", "endpoint", "label"))
        line, t = paths.line(a, b), paths.grid(by.config.bypass.num_points)[1:-1]
        peak = t[jnp.argmax(jax.lax.map(lambda t: by.loss(variables, line(t), label), t), axis=0)]
        waypoint = waypoints(variables, a, b, label, peak, around=by.around(by.loss))[-1]
        shown = jnp.stack([a, a + per_example(peak, a) * (b - a), waypoint, b], axis=1)
        loss = jax.vmap(lambda x: by.loss(variables, x, label), in_axes=1, out_axes=1)(shown)
        return {"picture": shown, "picture_loss": loss}

    inputs = cases_as_dataset(split, points, cases).isel(member=0).drop_vars("other_class").rename(case="shown")
    shared = {"variables": ensembles.take(prepared.ensemble, 0)}
    found = run_stage(run, Stage("pictures", work, inputs, len(cases), shared, "shown"), COMPUTED)
    return found.assign_coords(picture_kind=("shown", [kind for kind, _ in cases]), point=list(POINTS))


def graph(by: Search, run, prepared: Setting, split: Split, points: Mapping[str, np.ndarray]) -> xr.Dataset:
    """Edges and nodes of the graphs of each class that has pairs enough."""
    rows = nodes_of(split.pairs, by.config.graph.num_nodes, len(prepared.dataset.class_names))
    if not rows:
        return xr.Dataset()
    genuine = np.repeat(split.examples.x[split.pairs.reference][None], len(prepared.members), axis=0)
    ends = [genuine if kind == "genuine" else points[kind] for kind in NODES]
    nodes = np.stack([np.concatenate([end[:, own] for end in ends], axis=1) for own in rows.values()])
    data = xr.Dataset({"nodes": (("graph_class", "member", "node", *IMAGE), nodes)})
    data = data.assign_coords(graph_class=np.asarray([*rows], np.int32))
    stage = Stage("graph", graphs(by), data, 1, {"ensemble": prepared.ensemble}, "graph_class")
    kinds = np.repeat(NODES, nodes.shape[2] // len(NODES))
    return run_stage(run, stage, COMPUTED).assign_coords(node_kind=("node", kinds))
