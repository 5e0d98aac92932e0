"""The stages of a neighbors run: searches, then for each member its neighbours and its moves, then pairs of members."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from landscape import ensembles, runs
from landscape.experiments import audits, descriptions, setting, works
from landscape.experiments.base import run_once
from landscape.experiments.neighbors import COMPUTED, MOVED, moves, searches
from landscape.experiments.neighbors.config import populations_of
from landscape.experiments.neighbors.moves import Mine, Move
from landscape.experiments.neighbors.representations import (
    IMAGE,
    Layers,
    Reference,
    check,
    in_blocks,
    layers_of,
    reference_of,
    typical_distance,
)
from landscape.experiments.quantities import VALUES
from landscape.experiments.setting import Examples, Setting
from landscape.measures import credibility, neighbors
from landscape.populations import CLEAN

Work = Callable[[int], dict[str, tuple[tuple[str, ...], np.ndarray]]]


def compute(config, run: runs.Run) -> xr.Dataset:
    """Every array of a run; what is on disk is not computed again."""
    mine = moves.read_moves(config) if config.moves else None  # before any long work
    prepared = setting.prepare(config, run, partial(check, config))
    layers = layers_of(config, prepared.classifier)
    test = setting.shuffled(prepared.dataset, "test", config.neighbors.num_examples, config.seed)
    audit = audits.audit_dataset(config, run, prepared)
    _, described = descriptions.of_images(config, run, prepared)
    reference = reference_of(config, run, prepared, layers)
    images = setting.as_dataset(test)
    made = searches.search(config, run, prepared, layers, reference, described, images)
    seen = neighbours(config, run, prepared, layers, reference, test, made)
    if config.measures:
        seen = seen.merge(works.measured(config, run, prepared, made.inputs.values, test, VALUES))
    data = by_population(config, seen, made, test.label)
    data = data.merge(between_members(config, run, prepared, layers, test, made, seen))
    weights = jax.tree.map(lambda leaf: leaf[0], described.ensemble)
    decode = jax.jit(partial(descriptions.decoder(described.autoencoder), weights))
    data = data.merge(
        along_moves(config, run, prepared, layers, reference, test, made, seen, decode, mine), join="exact"
    )
    coords = setting.coordinates(prepared) | {"layer": list(layers.names), "example": test.ids}
    coords |= {"over": list(sets_of(len(layers.names)))}
    data = data.merge(audit).assign(label=("example", test.label)).assign_coords(coords)
    about = {"epsilon": config.search.epsilon, "norm": config.search.norm}
    return data.assign_attrs(about | {"num_calibration": len(calibration_of(config, prepared).x)})


def by_member(run: runs.Run, name: str, work: Work, count: int) -> xr.Dataset:
    """work(member) -> arrays of that member, saved one by one and joined along `member`."""

    def one(start: int, stop: int) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
        parts = [work(i) for i in range(start, stop)]
        return {n: (("member", *dims), np.stack([part[n][1] for part in parts])) for n, (dims, _) in parts[0].items()}

    return xr.Dataset(runs.chunks(run, name, one, count, 1, dim="member", unit="members"))


# ---- neighbours of the inputs ----


def calibration_of(config, prepared: Setting) -> Examples:
    """Validation images: none of them is a reference or a test image."""
    return setting.examples(prepared.dataset, "validation", config.neighbors.num_calibration, config.seed)


def neighbours(
    config, run: runs.Run, prepared: Setting, layers: Layers, reference: Reference, test: Examples, made: xr.Dataset
) -> xr.Dataset:
    """What the neighbours of every input say, at every layer and over all: by `input`, and `near` of clean images."""
    section, num_classes = config.neighbors, len(prepared.dataset.class_names)
    calibration = calibration_of(config, prepared)
    num_calibration, inputs = len(calibration.x), made.inputs.values
    program = jax.jit(lambda *a: _summary(*a, num_classes=num_classes))
    apply = jax.jit(lambda v, x: ensembles.map_examples(lambda x, v: prepared.classifier.apply(v, x), x, shared=(v,)))

    def work(i: int) -> dict[str, Any]:
        variables, flat = ensembles.take(prepared.ensemble, i), inputs[i].reshape(-1, *test.x.shape[1:])
        every = in_blocks(layers.represent[layers.names[0]], variables, np.concatenate([calibration.x, flat]))
        found = [
            neighbors.nearest(h, reference.points(i, name), section.k, metric=section.metric)
            for name, h in zip(layers.names, every, strict=True)
        ]
        distance, index = (np.stack([np.asarray(one[j]) for one in found]) for j in range(2))
        typical = np.array([typical_distance(far[:num_calibration]) for far in distance])
        labels = reference.images.label[index]
        probs = jax.nn.softmax(np.concatenate([np.asarray(apply(variables, one)) for one in inputs[i]]))
        seen = program(
            labels[:, num_calibration:], labels[:, :num_calibration], calibration.label, probs, _repeated(test, flat)
        )
        seen = {name: np.asarray(value) for name, value in seen.items()}
        seen["far"] = distance[:, num_calibration:, -1] / typical[:, None]
        shape = inputs[i].shape[:2]
        return _arrays(seen, shape) | {
            "typical": (("layer",), typical),
            "near": (COMPUTED["near"].dims[1:], index[:, num_calibration : num_calibration + shape[1]]),
        }

    return by_member(run, "neighbours", work, len(prepared.members))


def _repeated(test: Examples, flat: np.ndarray) -> np.ndarray:
    """True classes of all inputs, which are made from the test images in their order."""
    return np.tile(test.label, len(flat) // len(test.label))


def sets_of(num_layers: int) -> dict[str, slice]:
    """The sets of layers that credibility is taken over: all, the image alone, and those behind it."""
    parts = {"image": slice(1), "hidden": slice(1, None)} if num_layers > 1 else {}
    return {"all": slice(None)} | parts


def _summary(labels, calibration_labels, calibration_label, probs, label, *, num_classes: int) -> dict[str, Any]:
    """What the labels of neighbours [L, n, k] say of inputs of probabilities [n, K] and true classes [n]."""
    prediction = jnp.argmax(probs, axis=-1)

    def p_value(labels, calibration_labels):
        scores = credibility.of_class(credibility.nonconformity(calibration_labels, num_classes), calibration_label)
        return credibility.p_values(credibility.nonconformity(labels, num_classes), scores)

    counts = credibility.class_counts(labels, num_classes) / labels.shape[-1]
    shape = counts.shape[:-1]
    return {
        "share_true": credibility.of_class(counts, jnp.broadcast_to(label[None], shape)),
        "share_predicted": credibility.of_class(counts, jnp.broadcast_to(prediction[None], shape)),
        "purity": jnp.max(counts, axis=-1),
        "majority": credibility.majority(labels, num_classes),
        "p_value": jnp.stack([p_value(labels[at], calibration_labels[at]) for at in sets_of(len(labels)).values()]),
        "prediction": prediction,
        "confidence": jnp.max(probs, axis=-1),
    }


def _arrays(seen: dict[str, np.ndarray], shape: tuple[int, int]) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
    """Values of a member's inputs, [L, P N], [P N] or [O, P N, K], by input and example, with their dims."""
    found = {}
    for name, value in seen.items():
        dims = tuple("input" if dim == "population" else dim for dim in COMPUTED[name].dims[1:])
        if "layer" in dims:
            found[name] = (dims, np.moveaxis(value.reshape(len(value), *shape), 0, 1))
        elif "class" in dims:
            found[name] = (dims, value.reshape(len(value), *shape, value.shape[-1]))
        else:
            found[name] = (dims, value.reshape(shape))
    return found


def by_population(config, seen: xr.Dataset, made: xr.Dataset, label: np.ndarray) -> xr.Dataset:
    """By population instead of by input: clean images stand twice, as `genuine` and as `natural_error`."""
    inputs, names = searches.inputs_of(config), populations_of(config)
    source = xr.DataArray([inputs.index("clean" if name in CLEAN else name) for name in names], dims="population")
    found = {"prediction": seen.prediction.values, "decoded_right": made.decoded_right.values}
    masks = searches.populations(inputs, found, label)
    valid = (("member", "population", "example"), np.stack([masks[name] for name in names], axis=1))
    data = seen.drop_vars("near").assign(delta=made.delta.drop_vars("example")).isel(input=source).assign(valid=valid)
    return data.assign_coords(population=list(names))


# ---- pairs of members ----


def between_members(
    config, run: runs.Run, prepared: Setting, layers: Layers, test: Examples, made: xr.Dataset, seen: xr.Dataset
) -> xr.Dataset:
    """How alike members are at each layer, and what each predicts for the adversarial inputs of the others."""
    adversarial = made.inputs.values[:, searches.inputs_of(config).index("adversarial")]
    count = len(prepared.members)

    @jax.jit
    def alike(h, near):
        cka = jax.lax.map(lambda a: jax.lax.map(lambda b: credibility.linear_cka(a, b), h), h)
        mutual = jax.lax.map(lambda a: jax.lax.map(lambda b: credibility.mutual_neighbours(a, b), near), near)
        return cka, mutual

    def work() -> dict[str, Any]:
        represent = layers.represent[layers.names[0]]
        each = [in_blocks(represent, ensembles.take(prepared.ensemble, i), test.x) for i in range(count)]
        near = seen.near.values
        found = [alike(np.stack([one[layer] for one in each]), near[:, layer]) for layer in range(len(layers.names))]
        flat = adversarial.reshape(-1, *test.x.shape[1:])

        def predicted(variables, x):
            return jnp.argmax(prepared.classifier.apply(variables, x), axis=-1)

        program = jax.jit(
            lambda e, x: ensembles.map_members(predicted, e, shared=(ensembles.Rows(x),), how=prepared.how)
        )
        by_target = np.asarray(program(prepared.ensemble, flat)).reshape(count, count, -1)
        cka, mutual = (np.stack([np.asarray(one[j]) for one in found]) for j in range(2))
        return {"cka": cka, "mutual": mutual, "seen": np.swapaxes(by_target, 0, 1)}

    return run_once(run, "members", work, COMPUTED)


# ---- moves ----


def along_moves(
    config,
    run: runs.Run,
    prepared: Setting,
    layers: Layers,
    reference: Reference,
    test: Examples,
    made: xr.Dataset,
    seen: xr.Dataset,
    decode: Callable,
    mine: Mine | None,
) -> xr.Dataset:
    """What the neighbours say along every move of every member, and pictures of the first member's."""
    count, names = config.along.num_examples, moves.names_of(layers, mine)
    count = min(count, len(test.x))
    steps = np.linspace(0, 1, config.along.num_steps)
    inputs = searches.inputs_of(config)
    adversarial = made.inputs.values[:, inputs.index("adversarial"), :count]
    taken = seen.prediction.values[:, inputs.index("adversarial"), :count]
    latent = made.latent.values[:, :, :count]

    def moves_of(i: int) -> list[Move]:
        partner = moves.partners(test.label, _another(taken[i], test.label[:count], prepared), config.seed)
        found = {"x": test.x[:count], "adversarial": adversarial[i], "latent": latent[i]}
        found |= {"partner": test.x[partner], "partner_label": test.label[partner]}
        variables = ensembles.take(prepared.ensemble, i)
        own = moves.of_member(prepared, layers, variables, found, config.along.runner_up, decode)
        return own if mine is None else [*own, mine.of_member(i)]

    def work(i: int) -> dict[str, Any]:
        variables = ensembles.take(prepared.ensemble, i)
        known = moves.Known(
            {name: reference.points(i, name) for name in layers.names},
            dict(zip(layers.names, seen.typical.values[i].tolist(), strict=True)),
            reference.images.label,
            config.neighbors.k,
            config.neighbors.metric,
            len(prepared.dataset.class_names),
        )
        each = []
        for move in moves_of(i):
            user = mine is not None and move.name == moves.USER
            label = mine.label if user else test.label[:count]
            one = moves.follow(move, label, steps, layers, variables, known)
            each.append(one | {"move_counts": one["move_counts"] & mine.given} if user else one)
        return {name: (DIMS_OF_MOVES[name], np.stack([one[name] for one in each])) for name in each[0]}

    found = by_member(run, "moves", work, len(prepared.members))
    shown = pictures(config, found, moves_of(0), steps, reference, test, prepared)
    coords = {"move": list(names), "step": steps, "moved_layer": ("move", list(names.values()))}
    return found.drop_vars("move_near").merge(shown).assign_coords(coords)


def _another(taken: np.ndarray, label: np.ndarray, prepared: Setting) -> np.ndarray:
    """The class that adversarial inputs reached; another one where they kept the true class."""
    return np.where(taken != label, taken, (label + 1) % len(prepared.dataset.class_names))


MOVES = ("move_prediction", "move_counts", "aim", *moves.FOLLOWED)
DIMS_OF_MOVES = {name: COMPUTED[name].dims[1:] for name in MOVES} | {"move_near": (*MOVED[1:], "place")}


def pictures(
    config,
    found: xr.Dataset,
    own: list[Move],
    steps: np.ndarray,
    reference: Reference,
    test: Examples,
    prepared: Setting,
) -> xr.Dataset:
    """The first member's first moves that count for the adversarial one: images on the way and their neighbours."""
    order = np.argsort(~found.move_counts.values[0, 0], kind="stable")[: config.along.num_shown]
    near = np.moveaxis(found.move_near.values[0][:, :, :, order], 3, 1)
    rows, index = np.unique(near, return_inverse=True)
    classes = np.where(near < 0, -1, reference.images.label[near])
    path = np.full((len(own), len(order), len(steps), *test.x.shape[1:]), np.nan, np.float32)
    for number, move in enumerate(own):
        if move.layer == IMAGE and move.name != moves.USER:
            path[number] = np.moveaxis(move.along(steps)[:, order], 0, 1)
    arrays = {
        "shown_near": np.where(near < 0, -1, index.reshape(near.shape)),
        "shown_class": classes,
        "shown_path": path,
        "shown_prediction": np.moveaxis(found.move_prediction.values[0][:, :, order], 2, 1),
        "shown_label": test.label[order],
        "picture": np.where((rows < 0)[:, None, None, None], np.nan, reference.images.x[rows]),
    }
    return xr.Dataset({name: (COMPUTED[name].dims, value) for name, value in arrays.items()})
