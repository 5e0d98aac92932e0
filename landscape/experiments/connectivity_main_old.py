"""Are inputs of one prediction joined by low-loss paths, and do adversarial ones differ?

Stages: members and autoencoder -> what members say of clean images -> pairs -> the weight of adaptive attacks, on
validation images -> every kind of pair with its paths -> exact maxima of some lines -> the graph of inputs of one class
-> classifiers joined in weight space -> estimates.
"""

import numpy as np

from landscape import runs
from landscape.experiments import (
    connectivity_adaptive,
    connectivity_exact,
    connectivity_graph,
    connectivity_pictures,
    connectivity_results,
    connectivity_setting,
    connectivity_weight_estimates,
    connectivity_weights,
)
from landscape.experiments.connectivity_along import ALWAYS
from landscape.experiments.connectivity_arrays import describe
from landscape.experiments.connectivity_ends import NATURAL, Wanted, maker
from landscape.experiments.connectivity_paths import assemble, few_of, follow
from landscape.experiments.connectivity_setting import NONE, Connected, Pairs
from landscape.experiments.connectivity_told import LEAST, Told
from landscape.files import UserError
from landscape.measures.bypass import halvings
from landscape.types import Arrays

WANTED = 1.0  # logits: margin of steered attacks of a member without natural errors


def run(config, run: runs.Run) -> None:
    """Runs every stage that is not on disk yet and writes arrays.nc and summary.json."""
    connected = connectivity_setting.prepare(config, run)
    told = connectivity_setting.clean(config, run, connected, "test")
    pairs = _pairs(config, connected, told, "test")
    margins = wanted_margins(told, pairs, connected.test.label, config.seed)
    tuned, wanted = {}, Wanted(margins, np.zeros_like(margins), 0.0)
    if {"adaptive", "adaptive_unseen"} & set(config.pairs.kinds):
        tuned = connectivity_adaptive.tune(config, run, connected, _pairs)
        rise = connectivity_adaptive.wanted_rises(tuned, len(pairs.label), config.seed)
        wanted = Wanted(margins, rise, float(tuned["adaptive_weight"][1]))
    make = maker(config, connected, pairs, wanted)
    found = follow(config, run, connected, pairs, make)
    names = (*ALWAYS, *config.paths.more)
    arrays = assemble(found, tuple(config.pairs.kinds), names, few_of(config, pairs)) | tuned
    made_of = (config, run, connected, pairs, make)
    arrays |= connectivity_exact.exact(*made_of) | connectivity_graph.graph(*made_of)
    arrays |= connectivity_pictures.pictures(
        config, run, connected, make, Told(arrays, tuple(config.pairs.kinds), names)
    )
    latent = told["latent"][1].astype(np.float64)
    arrays |= {
        "carrier_distance": (("pair",), np.linalg.norm(latent[pairs.anchor] - latent[pairs.carrier], axis=1)),
        "pair_class": (("pair",), pairs.label.astype(np.int32)),
        "carrier_class": (("pair",), connected.test.label[pairs.carrier].astype(np.int32)),
    }
    arrays |= {
        f"{place}_id": (("pair",), np.where(rows == NONE, NONE, connected.test.ids[rows]))
        for place, rows in zip(pairs._fields, pairs[:4], strict=False)
    }
    ways, between = {}, connectivity_weight_estimates.Results({}, [], [])
    if config.weights.num_members:
        ways = connectivity_weights.weights(config, run, connected.prepared)
        between = connectivity_weight_estimates.estimates(ways)
    results = connectivity_results.estimate(config, arrays, tuple(config.pairs.kinds), names, between.estimates)
    arrays |= ways | results.curves | between.curves
    coords = _coords(config, connected, arrays, names)
    attrs = {name: about for name in (*arrays, *coords) if (about := describe(name))}
    section = config.search
    runs.write_arrays(run, arrays, coords, attrs, epsilon=section.epsilon, norm=section.norm)
    runs.write_summary(
        run,
        headline=results.headline,
        estimates=results.estimates,
        checks=results.checks + between.checks,
        claims=results.claims,
    )


def _pairs(config, connected: Connected, told: Arrays, split: str) -> Pairs:
    """The pairs of a split.

    Raises:
      UserError: there are not enough images for any pair.
    """
    examples = connected.test if split == "test" else connected.held
    prediction, probability = told["clean_prediction"][1].astype(int), told["probability"][1]
    section = config.pairs
    # Where natural errors are no kind of pair, their anchors are left to the others.
    counts = {"num_pairs": section.num_pairs, "num_errors": section.num_errors if NATURAL in section.kinds else 0}
    pairs = connectivity_setting.pairs_of(examples.label, prediction, probability, seed=config.seed, **counts)
    if pairs.regular < LEAST:
        raise UserError(
            f"pairs.num_examples={section.num_examples}: {pairs.regular} pairs of {len(examples.label)} {split} images "
            f"that all {config.num_members} members classify rightly; expected {LEAST} or more; "
            "take more images, or members that are better trained"
        )
    return pairs


def wanted_margins(told: Arrays, pairs: Pairs, label: np.ndarray, seed: int) -> np.ndarray:
    """Margins that attacks are steered to, logits, [S, Q]: drawn from those of each member's own natural errors."""
    prediction, margin = told["clean_prediction"][1].astype(int), told["clean_margin"][1]
    rng = np.random.default_rng([seed, 5])
    wanted = np.full((len(prediction), len(pairs.label)), WANTED, np.float32)
    for s in range(len(prediction)):
        own = margin[s][prediction[s] != label]
        if len(own):
            wanted[s] = rng.choice(own, size=wanted.shape[1])
    return wanted


def _coords(config, connected: Connected, arrays: Arrays, names: tuple[str, ...]) -> Arrays:
    num_points = arrays["line_profile"][1].shape[-2]
    named = [name for name, (dims, values) in arrays.items() if dims == (name,) or values.dtype.kind == "U"]
    coords = {name: arrays.pop(name) for name in named}
    return coords | {
        "seed": (("member",), np.asarray([member["seed"] for member in connected.prepared.members])),
        "kind": (("kind",), np.asarray(config.pairs.kinds)),
        "path": (("path",), np.asarray(names)),
        "t": (("t",), np.linspace(0, 1, num_points)),
        "frame": (("frame",), np.asarray(halvings(config.bypass.num_steps))),
        "class": (("class",), np.asarray(connected.prepared.dataset.class_names)),
    }
