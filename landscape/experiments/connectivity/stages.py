"""The stages of a connectivity run.

Members and autoencoder -> what members say of clean images -> pairs -> the weight of the adaptive attack, on validation
images -> the second endpoint of every kind of pair -> paths -> pictures -> graphs of inputs of one class.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from landscape import ensembles, objectives, runs
from landscape.ensembles import map_members
from landscape.experiments import descriptions, setting
from landscape.experiments.base import Stage, run_stage
from landscape.experiments.connectivity import COMPUTED
from landscape.experiments.connectivity.config import LEAST_PAIRS
from landscape.experiments.connectivity.detection import ALWAYS, chosen_weight, tuning
from landscape.experiments.connectivity.endpoints import ITSELF, attack
from landscape.experiments.connectivity.graph import OWN, SHARED, graphs
from landscape.experiments.connectivity.pairs import NONE, Pairs, drawn, nodes_of, pairs_of
from landscape.experiments.connectivity.paths import TOGETHER, follow, searcher
from landscape.experiments.descriptions import Description
from landscape.experiments.setting import Examples, Setting, stage_key
from landscape.files import UserError
from landscape.measures import paths
from landscape.measures.barrier import line_rise
from landscape.measures.bypass import halvings, waypoints
from landscape.spaces import per_example

WANTED = 1.0  # logits: margin of steered attacks of a member without natural errors
PICTURED = ("genuine", "natural_error", "adversarial", "adaptive")
NUM_PICTURED = 3  # pairs of a kind
PLACES = ("first", "highest", "bypass", "last")
ALL_MEMBERS = ("genuine", "joint")  # kinds whose endpoints are the same for all members
IMAGE = ("height", "width", "channel")


class Split(NamedTuple):
    """Images of one split, what members say of them (`clean`), and the pairs of them."""

    examples: Examples
    clean: xr.Dataset
    pairs: Pairs


def compute(config, run: runs.Run) -> xr.Dataset:
    """Every array of a run; what is on disk is not computed again."""
    prepared = setting.prepare(config, run)
    cell = autoencoder(config, run, prepared)
    test = paired(config, run, prepared, cell, "test")
    tuned = tune(config, run, prepared, cell) if "adaptive" in config.pairs.kinds else xr.Dataset()
    points = endpoints(config, run, prepared, test, wanted(config, test, tuned), tuned)
    data = along(config, run, prepared, cell, test, points)
    data = data.merge(pictures(config, run, prepared, test, points, data))
    data = data.merge(graph(config, run, prepared, test, points)).merge(tuned).merge(about(test))
    axes = {"steps": list(halvings(config.bypass.num_steps)), "t": np.linspace(0, 1, config.bypass.num_points)}
    data, section = data.assign_coords(axes | setting.coordinates(prepared)), config.search
    return data.assign_attrs(epsilon=section.epsilon, norm=section.norm, tolerance=config.bypass.tolerance)


def autoencoder(config, run: runs.Run, prepared: Setting) -> Description:
    """One autoencoder of images, restored or trained."""
    one = setting.with_members(config, 1)
    first = prepared._replace(ensemble=ensembles.take(prepared.ensemble, slice(1)), members=prepared.members[:1])
    layer, family = descriptions.image_layer(one, first), config.manifold.family
    return descriptions.train(
        one, run, prepared, layer, family, descriptions.size_of(config, family, config.autoencoder.dim)
    )


def paired(config, run: runs.Run, prepared: Setting, cell: Description, split: str) -> Split:
    """The images of a split, what members say of them, and its pairs.

    Raises:
      UserError: there are not enough images for any pair.
    """
    section = config.pairs
    examples = setting.examples(prepared.dataset, split, section.num_examples, config.seed)
    apply, coder = prepared.classifier.apply, cell.autoencoder

    def member(variables, x):
        logits = apply(variables, x)
        prediction = jnp.argmax(logits, axis=-1)
        return prediction, objectives.margin(logits, prediction), jax.nn.softmax(logits)

    def work(chunk, ensemble, variables) -> dict[str, jax.Array]:
        found = map_members(member, ensemble, shared=(chunk["x"],), how=prepared.how)
        latent = coder.encode(variables, chunk["x"]).reshape(len(chunk["x"]), -1)
        names = ("clean_prediction", "clean_margin", "clean_probability")
        return dict(zip(names, found, strict=True)) | {"latent": latent}

    shared = {"ensemble": prepared.ensemble, "variables": ensembles.take(cell.ensemble, 0)}
    images = setting.as_dataset(examples)[["x"]]
    clean = run_stage(run, Stage(f"clean.{split}", work, images, config.chunk, shared), COMPUTED)
    # Where natural errors are no kind of pair, their reference images are left to the others.
    counts = {"num_pairs": section.num_pairs, "num_errors": section.num_errors * ("natural_error" in section.kinds)}
    probability = clean.clean_probability.values.mean(axis=0)
    found = pairs_of(examples.label, clean.clean_prediction.values, probability, seed=config.seed, **counts)
    if found.regular < LEAST_PAIRS:
        raise UserError(
            f"pairs.num_examples={section.num_examples}: {found.regular} pairs of {len(examples.label)} {split} images "
            f"that all {config.num_members} members classify rightly; expected {LEAST_PAIRS} or more; "
            "take more images, or members that are better trained"
        )
    return Split(examples, clean, found)


def wanted(config, split: Split, tuned: xr.Dataset) -> dict[str, np.ndarray]:
    """What attacks want of each pair, [S, Q]: `margin`, logits, as of the member's natural errors; `rise` of the line,
    nats, as of its genuine validation pairs.
    """
    count, clean = len(split.pairs.label), split.clean
    wrong = clean.clean_prediction.values != split.examples.label
    found = {"margin": drawn(clean.clean_margin.values, wrong, count, seed=(config.seed, 5), otherwise=WANTED)}
    found["rise"] = np.zeros_like(found["margin"])
    if "tuning_rise" in tuned:
        of_genuine = (tuned.tuning_rise.values, tuned.tuning_right.values)
        found["rise"] = drawn(*of_genuine, count, seed=(config.seed, 6), otherwise=0.0)
    return found


def chunk_of(split: Split, rows: np.ndarray, wanted: Mapping[str, np.ndarray]) -> xr.Dataset:
    """Pairs as stages take them; the reference image stands where an image is lacking, which no kind then reads."""
    examples, pairs = split.examples, split.pairs
    places = {name: getattr(pairs, name)[rows] for name in ("reference", "partner", "source")}
    found: dict[str, Any] = {
        name: (("pair", *IMAGE), examples.x[np.where(place == NONE, places["reference"], place)])
        for name, place in places.items()
    }
    found |= {"label": ("pair", pairs.label[rows].astype(np.int32))}
    found |= {"source_id": ("pair", examples.ids[places["source"]])}
    found |= {name: (("member", "pair"), values[:, rows]) for name, values in wanted.items()}
    return xr.Dataset(found)


def about(split: Split) -> xr.Dataset:
    """Which images a pair is of, its class, and how far its source image is from its reference image."""
    pairs, ids, latent = split.pairs, split.examples.ids, split.clean.latent.values.astype(np.float64)
    found = {"pair_class": pairs.label.astype(np.int32)}
    found["source_distance"] = np.linalg.norm(latent[pairs.reference] - latent[pairs.source], axis=1)
    for name in ("reference", "partner", "source"):
        place = getattr(pairs, name)
        found[f"{name}_id"] = np.where(place == NONE, NONE, ids[place])
    return xr.Dataset({name: ("pair", values) for name, values in found.items()})


# ---- the weight of the detector in the adaptive attack ----


def tune(config, run: runs.Run, prepared: Setting, cell: Description) -> xr.Dataset:
    """How much the adaptive attack should weigh the detector, on validation images.

    The detector is the barrier of the line from a genuine image. The attack wants its own line to rise as one of a
    genuine pair does, drawn from the member's own validation pairs, so that it is detected on neither side; lines
    without a barrier have a rise below 0, which is wanted as well (`barrier.line_rise`). Each weight of the distance
    from it is tried; taken is the one whose results are detected worst, see `detection.chosen_weight`.
    """
    held = paired(config, run, prepared, cell, "validation")
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

    nothing = np.zeros((len(prepared.members), len(held.pairs.label)), np.float32)
    whole = chunk_of(held, rows, {"margin": nothing, "rise": nothing}).rename(pair="tuning_pair")
    shared = {"ensemble": prepared.ensemble}
    found = run_stage(run, Stage("adaptive.genuine", genuine, whole, len(rows), shared, "tuning_pair"), COMPUTED)
    rise = wanted(config, held, found)["rise"]
    make = attack(config, apply, prepared.how, "adaptive")

    def tried(chunk, ensemble, pairs) -> dict[str, jax.Array]:
        each = [measured(make(pairs, ensemble, w)["endpoint"], ensemble, pairs) for w in chunk["weight"]]
        return {name: jnp.stack([one[i] for one in each]) for name, i in (("tuning_barrier", 0), ("tuning_reached", 2))}

    pairs = chunk_of(held, rows, {"margin": nothing, "rise": rise})
    shared |= {"pairs": {str(name): jnp.asarray(value.values) for name, value in pairs.items()}}
    weights = xr.Dataset(coords={"weight": np.asarray((0.0, *config.adaptive.weights), np.float32)})
    found = found.merge(run_stage(run, Stage("adaptive.tuning", tried, weights, 1, shared, "weight"), COMPUTED))
    taken = chosen_weight(*tuning(found), keep=config.adaptive.keep)
    return found.assign(adaptive_weight=found.weight[taken].drop_vars("weight"))


# ---- endpoints, and paths between them ----


def endpoints(config, run, prepared: Setting, split: Split, wanted, tuned: xr.Dataset) -> dict[str, np.ndarray]:
    """The second endpoints of every kind of pair, [S, n, H, W, C]."""
    found, count = {}, len(prepared.members)
    weight = jnp.float32(float(tuned.get("adaptive_weight", 0.0)))
    for kind in dict.fromkeys((*config.pairs.kinds, *(OWN + SHARED if config.graph.num_nodes else ()))):
        pairs = chunk_of(split, split.pairs.rows(kind), wanted)
        if kind in ITSELF:
            found[kind] = np.repeat(pairs[ITSELF[kind]].values[None], count, axis=0)
            continue
        work = attack(config, prepared.classifier.apply, prepared.how, kind)
        shared = {"ensemble": prepared.ensemble, "weight": weight}
        stage = Stage(f"endpoints.{kind}", work, pairs, config.pairs.chunk, shared, "pair")
        found[kind] = run_stage(run, stage, COMPUTED).endpoint.values
    return found


def along(
    config, run, prepared: Setting, cell: Description, split: Split, points: Mapping[str, np.ndarray]
) -> xr.Dataset:
    """What members say along every path of every kind of pair; NaN, or False of `valid`, where a kind has none."""
    by = searcher(config, prepared.classifier.apply, cell, prepared.how)
    shared = {"ensemble": prepared.ensemble, "autoencoder": ensembles.take(cell.ensemble, 0)}
    shared["key"] = stage_key(config.seed, "paths")
    own = tuple(path for path in config.paths.more if path != TOGETHER)
    more = [kind for kind in config.paths.kinds if kind in config.pairs.kinds]
    groups = {"line_bypass": (ALWAYS, config.pairs.kinds, None), "more": (own, more, config.paths.num_pairs)}
    together = [kind for kind in more if kind in ALL_MEMBERS] if TOGETHER in config.paths.more else []
    groups["all"] = ((TOGETHER,), together, config.paths.num_pairs)
    parts = []
    for name, (chosen, kinds, count) in groups.items():
        cases = [(kind, row) for kind in kinds for row in split.pairs.rows(kind)[:count].tolist()]
        if not (cases and chosen):
            continue
        inputs = cases_of(split, points, cases)
        stage = Stage(f"paths.{name}", follow(by, chosen), inputs, config.pairs.chunk, shared, "case")
        found = run_stage(run, stage, COMPUTED).assign_coords(path=list(chosen))
        parts.append(by_kind(found, cases, config.pairs.kinds, len(split.pairs.label)))
    by_path = [name for name, value in parts[0].items() if "path" in value.dims]
    whole = xr.concat([part[by_path] for part in parts], "path", join="exact", combine_attrs="override")
    known = [path for path in (*ALWAYS, *config.paths.more) if path in whole.path]
    return whole.sel(path=known).merge(parts[0].drop_vars([*by_path, "path"]))


def cases_of(split: Split, points: Mapping[str, np.ndarray], cases: list[tuple[str, int]]) -> xr.Dataset:
    """Pairs of several kinds, one after the other: reference image, second endpoint, class, and whether that is of
    another one.
    """
    rows = np.asarray([row for _, row in cases])
    first = {kind: split.pairs.rows(kind)[:1].sum() for kind, _ in cases}
    ends = np.stack([points[kind][:, row - first[kind]] for kind, row in cases], axis=1)
    found = {"reference": (("case", *IMAGE), split.examples.x[split.pairs.reference[rows]])}
    found |= {"endpoint": (("member", "case", *IMAGE), ends)}
    found |= {"label": ("case", split.pairs.label[rows].astype(np.int32))}
    return xr.Dataset(found | {"other_class": ("case", np.asarray([kind == "source" for kind, _ in cases]))})


def by_kind(data: xr.Dataset, cases: list[tuple[str, int]], kinds: tuple[str, ...], num_pairs: int) -> xr.Dataset:
    """From cases to (kind, pair)."""
    place = ([kinds.index(kind) for kind, _ in cases], [row for _, row in cases])
    found = {}
    for name, value in data.data_vars.items():
        value = value.transpose("case", ...)
        empty = False if value.dtype == bool else np.nan
        whole = np.full((len(kinds), num_pairs, *value.shape[1:]), empty, value.dtype)
        whole[place] = value.values
        saved = COMPUTED[name].dims  # in the order of the schema
        order = [*(dim for dim in ("path", "steps", "t") if dim in saved), "member", "pair"]
        found[name] = xr.DataArray(whole, dims=("kind", "pair", *value.dims[1:])).transpose("kind", *order)
    return xr.Dataset(found, {"path": data.path, "kind": list(kinds)})


# ---- pictures, graphs ----


def pictures(config, run, prepared: Setting, split: Split, points, data: xr.Dataset) -> xr.Dataset:
    """Of the pairs that count for the first member, those whose line is highest: both endpoints, the highest point of
    the line between them and where the bypass takes it, with the member's loss of the class.
    """
    first = data.sel(path="line").isel(member=0)
    barrier = first.barrier.where(first.valid, -np.inf)
    rows = {kind: np.argsort(-barrier.sel(kind=kind).values, kind="stable") for kind in config.pairs.kinds}
    rows = {kind: own[: int(first.valid.sel(kind=kind).sum())][:NUM_PICTURED] for kind, own in rows.items()}
    kinds = [kind for kind in PICTURED if len(rows.get(kind, ()))]
    by = searcher(config, prepared.classifier.apply, None, prepared.how)
    height, around = by.around.height, by.around

    def of_kind(variables, a, b, label, key):
        line, t = paths.line(a, b), paths.grid(config.bypass.num_points)[1:-1]
        peak = t[jnp.argmax(jax.lax.map(lambda t: height(variables, line(t), label), t), axis=0)]
        waypoint = waypoints(key, variables, a, b, label, peak, around=around)[-1]
        shown = jnp.stack([a, a + per_example(peak, a) * (b - a), waypoint, b], axis=1)
        return shown, jax.vmap(lambda x: height(variables, x, label), in_axes=1, out_axes=1)(shown)

    def work(chunk, variables, key) -> dict[str, jax.Array]:
        each = zip(*(chunk[name] for name in ("reference", "endpoint", "label")), strict=True)
        found = [of_kind(variables, *one, key) for one in each]
        return {n: jnp.stack([one[i] for one in found]) for i, n in enumerate(("picture", "picture_loss"))}

    if not kinds:
        return xr.Dataset()
    cases = [(kind, row) for kind in kinds for row in np.resize(rows[kind], NUM_PICTURED).tolist()]
    inputs = cases_of(split, points, cases).isel(member=0).drop_vars("other_class")
    inputs = {n: v.values.reshape(len(kinds), NUM_PICTURED, *v.shape[1:]) for n, v in inputs.items()}
    inputs = {n: (("picture_kind", "shown", *IMAGE[: v.ndim - 2]), v) for n, v in inputs.items()}
    shared = {"variables": ensembles.take(prepared.ensemble, 0), "key": stage_key(config.seed, "pictures")}
    stage = Stage("pictures", work, xr.Dataset(inputs), 1, shared, "picture_kind")
    found = run_stage(run, stage, COMPUTED).assign_coords(picture_kind=kinds, place=list(PLACES))
    known = np.arange(NUM_PICTURED) < np.asarray([[len(rows[kind])] for kind in kinds])  # fewer pairs than pictures
    return found.where(xr.DataArray(known, dims=("picture_kind", "shown")))


def graph(config, run, prepared: Setting, split: Split, points: Mapping[str, np.ndarray]) -> xr.Dataset:
    """Edges and nodes of the graphs of each class that has pairs enough."""
    nodes = nodes_of(split.pairs, config.graph.num_nodes, len(prepared.dataset.class_names))
    if not len(nodes.classes):
        return xr.Dataset()
    reference = split.examples.x[split.pairs.reference]

    def taken(kind: str, rows: np.ndarray) -> np.ndarray:
        """The nodes of a kind, [S, node, H, W, C]."""
        own = points[kind]
        return np.repeat(reference[None, rows], len(own), axis=0) if kind == "genuine" else own[:, rows]

    own = [np.concatenate([taken(kind, rows) for kind in OWN], axis=1) for rows in nodes.rows]
    same = [np.concatenate([taken(kind, rows)[0] for kind in SHARED]) for rows in nodes.rows]
    inputs = {"own": (("graph_class", "member", "node", *IMAGE), np.stack(own))}
    inputs |= {"same": (("graph_class", "shared_node", *IMAGE), np.stack(same))}
    data = xr.Dataset(inputs, {"graph_class": nodes.classes.astype(np.int32)})
    shared = {"ensemble": prepared.ensemble, "key": stage_key(config.seed, "graph")}
    work = graphs(config, prepared.classifier.apply, prepared.how)
    found = run_stage(run, Stage("graph", work, data, 1, shared, "graph_class"), COMPUTED)
    kinds = {"node_kind": ("node", np.repeat(OWN, nodes.count))}
    return found.assign_coords(kinds | {"shared_node_kind": ("shared_node", np.repeat(SHARED, nodes.count))})
