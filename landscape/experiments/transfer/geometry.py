"""Stages of a transfer run: local geometry of shared examples, and where classifiers disagree between two classes.

Local geometry is measured by each source, all in one L-inf ball, at: the image (`clean`), the source's own attack
(`own`), the search that has all attackers to fool (`joint`), and the last two steered, for each source, to one margin
(`own_iso`, `joint_iso`). Which of them are shared is what the held-out classifiers say.

Disagreement at a point is what a prediction says of the classifier that made it,

    I = H(mean_s p_s) - mean_s H(p_s)      nats,

the mutual information of class and classifier: 0 where all say the same, however unsure they are, at most log K.
Source: Houlsby et al. 2011, arXiv:1112.5745, for this split of a prediction's entropy.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from landscape import ensembles, populations, runs
from landscape.attacks import joint, projected
from landscape.ensembles import map_members
from landscape.experiments.base import Stage, run_once, run_stage
from landscape.experiments.descriptions import Description, Layer
from landscape.experiments.setting import example_keys
from landscape.experiments.transfer import EXPERIMENT, MEASURED
from landscape.experiments.transfer.estimates import derive, learned
from landscape.experiments.transfer.members import Members
from landscape.measures import neighbors
from landscape.measures.curvature import curvature
from landscape.measures.flatness import ensemble_flatness
from landscape.measures.mapping import ensemble_measure
from landscape.measures.worst_case import worst_case
from landscape.objectives import JOINT
from landscape.spaces import l2_norm

NORM = "linf"
KEY = "shapes"  # of the random numbers; another word draws others than earlier runs have
MADE = ("clean", "own", "joint", "own_iso", "joint_iso")
SPACES = ("manifold", "pixels")
PICTURED = 6  # pairs of the largest and of the smallest disagreement


def epsilon_of(config) -> float:
    """The ball of the headline, pixels."""
    radii = config.transfer[NORM]
    return float(radii[len(radii) // 2])


def measured(config, run: runs.Run, members: Members, layer: Layer, cell: Description) -> xr.Dataset:
    """Every input of every source: what the source and held-out classifiers say of it, and what is measured there."""
    count, held_out = min(config.geometry.num_examples, len(members.test.label)), members.held_out
    made, measure = searched(config, members), measures(config, members, cell)

    def work(chunk, attackers, groups, autoencoder, bank, bank_label) -> dict[str, jax.Array]:
        x, label, ids = chunk["x"], chunk["label"], chunk["geometry_example"]
        keys = {name: example_keys(config.seed, name, ids) for name in ("transfer", "joint", KEY)}
        inputs, said = made(attackers, x, label, keys["transfer"], keys["joint"])
        found = measure(keys[KEY], attackers, autoencoder, inputs, said["prediction"], label, x)
        far, index = neighbors.nearest(inputs.reshape(-1, *x.shape[1:]), bank, config.geometry.num_neighbors)
        near = bank_label[index].reshape(*said["prediction"].shape, -1)
        found |= {name: said[name] for name in ("prediction", "margin", "delta_l2")}
        found |= {"nearest": far[:, 0].reshape(near.shape[:-1])}
        found |= {"nearest_true": (near == label[None, None, :, None]).mean(axis=-1)}
        found |= {"nearest_taken": (near == said["prediction"][..., None]).mean(axis=-1)}
        found |= {"wrong": held_out.errs(groups, inputs, label)}
        return {f"geometry_{name}": value for name, value in found.items()}

    shared = {"attackers": members.attackers, "groups": held_out.groups}
    shared |= {"autoencoder": ensembles.take(cell.ensemble, 0)}
    shared |= {"bank": jnp.asarray(layer.bank.x), "bank_label": jnp.asarray(layer.bank.label)}
    images = members.images(count, "geometry_example")
    stage = Stage("geometry", work, images, config.chunk, shared, "geometry_example")
    return run_stage(run, stage, EXPERIMENT.schema).assign_coords(input=list(MADE))


def searched(config, members: Members):
    """(attackers, x, label, keys, joint_keys) -> inputs [S, P, N, ...], and what each source says of them."""
    apply, section, epsilon = members.classifier.apply, config.geometry, epsilon_of(config)
    ball = {"apply": apply, "norm": NORM, "epsilon": epsilon, "step_size": config.transfer.step * epsilon}
    full = ball | {"num_steps": config.transfer.num_steps}

    def member(variables, x, label, keys, together):
        own = projected.pgd(keys, variables, x, label, num_restarts=config.transfer.num_restarts, **full)

        def steered(start):
            ended = jnp.argmax(apply(variables, start), axis=-1).astype(label.dtype)
            wanted = jnp.full(label.shape, section.iso_margin)
            key = jax.vmap(jax.random.fold_in, (0, None))(keys, 1)
            return projected.steered(key, variables, x, ended, wanted, num_steps=section.iso_steps, start=start, **ball)

        ends = jnp.stack([own, together])
        inputs = jnp.concatenate([x[None], ends, jax.lax.map(steered, ends)])
        return inputs, populations.judge(variables, inputs, x, label, apply=apply)._asdict()

    def program(attackers, x, label, keys, joint_keys):
        kind = JOINT.index(config.joint.radius_objective)
        together = joint.fool_all(joint_keys, attackers, x, label, kind=kind, start="image", **full)
        return map_members(member, attackers, shared=(x, label, keys, together), how=members.how)

    return program


def measures(config, members: Members, cell: Description):
    """(keys, attackers, autoencoder, inputs, tracked, label, x) -> measures, each [S, P, N]."""
    apply, section, how = members.classifier.apply, config.geometry, members.how
    epsilon = epsilon_of(config)
    sigmas = jnp.asarray([section.noise * epsilon], jnp.float32)
    ascent = {"norm": NORM, "rho": section.rho * epsilon, "num_steps": section.num_worst, "num_restarts": 1}
    worst = partial(worst_case, apply=apply, **ascent)
    bent = partial(curvature, apply=apply, num_steps=section.num_lanczos, num_probes=section.num_probes)

    def program(keys, attackers, autoencoder, inputs, tracked, label, x) -> dict[str, jax.Array]:
        labels = jnp.broadcast_to(label[None], (inputs.shape[0], *label.shape))
        options = {"apply": apply, "sigmas": sigmas, "num_trials": section.num_trials, "how": how}
        flat = ensemble_flatness(keys, attackers, inputs, tracked, labels, x, **options)
        found = {f"input_{name}": flat[name][0, 0] for name in ("probability_drop", "margin_drop")}
        for measure in (worst, bent):
            found |= ensemble_measure(measure, keys, attackers, inputs, tracked, how=how)

        def off(x):
            return l2_norm(cell.reconstruct(autoencoder, x, label) - x)

        manifold = jax.lax.map(off, inputs.reshape(-1, *x.shape)).reshape(tracked.shape)
        return {name: value for name, value in found.items() if name in MEASURED} | {"manifold": manifold}

    return program


# ---- lines between two classes ----


def disagreement(probability: Float[Array, "S *N K"]) -> Float[Array, "*N"]:
    """Mutual information of class and classifier, nats, of probabilities. See the module's head."""
    return _entropy(probability.mean(axis=0)) - _entropy(probability).mean(axis=0)


def _entropy(probability):
    return -jnp.sum(jax.scipy.special.xlogy(probability, probability), axis=-1)


def pairs_of(label: np.ndarray, right: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Up to `count` pairs [M, 2] of images of unlike classes, all of them marked in `right`, no image in two pairs."""
    waiting = np.random.default_rng([seed, 2]).permutation(np.flatnonzero(right)).tolist()
    found = []
    while waiting and len(found) < count:
        first = waiting.pop(0)
        partner = next((i for i in waiting if label[i] != label[first]), None)
        if partner is not None:
            waiting.remove(partner)
            found.append((first, partner))
    return np.asarray(found, int).reshape(-1, 2)


def between(config, run: runs.Run, members: Members, cell: Description, clean: xr.Dataset) -> xr.Dataset:
    """Lines between pairs of images that all classifiers which have learned know; nothing where there is no pair.

    Straight lines between the embeddings of two test images, decoded, and blends of the same images in pixels. Pictured
    are the manifold's line of the pairs of the largest disagreement on it, then of the smallest.
    """
    known = derive(
        clean.assign_coords(role=("target", members.roles), **{"class": list(members.prepared.dataset.class_names)})
    )
    pairs = pairs_of(known.label.values, known.right.values, config.between.num_pairs, config.seed)
    if not len(pairs):
        return xr.Dataset()
    t = np.linspace(0, 1, config.between.num_points, dtype=np.float32)
    program = on_lines(members, cell, np.sort(learned(known)))

    def work() -> dict[str, Any]:
        ends = [jnp.asarray(members.test.x[pairs[:, i]]) for i in range(2)]
        apart, vote, line = map(np.asarray, program(ensembles.take(cell.ensemble, 0), *ends, jnp.asarray(t)))
        inside = apart[0, 1:-1]  # an end is no picture between
        order = np.argsort(-inside.max(axis=0), kind="stable")
        shown = np.concatenate([order[:PICTURED], order[PICTURED:][-PICTURED:]])
        at = 1 + inside.argmax(axis=0)[shown]
        steps = np.stack([np.zeros_like(at), at, np.full_like(at, len(t) - 1)], axis=1)
        found = {"disagreement": apart, "vote": vote.astype(np.int16), "endpoints": pairs.astype(np.int32)}
        return found | {"pair_shown": shown.astype(np.int32), "between_picture": line[steps, shown[:, None]]}

    found = run_once(run, "between", work, EXPERIMENT.schema)
    return found.assign_coords(space=list(SPACES), step=t).set_coords("pair_shown")


def on_lines(members: Members, cell: Description, chosen: np.ndarray):
    """(autoencoder, first, last, t) -> disagreement, vote of the chosen targets on both lines, and the manifold's."""
    targets, autoencoder = members.targets.take(chosen), cell.autoencoder
    num_classes = len(members.prepared.dataset.class_names)

    @jax.jit
    def program(groups, own, first, last, t):
        def decode(z):
            return autoencoder.decode(own, autoencoder.project(own, z))

        z0, z1 = (autoencoder.encode(own, x) for x in (first, last))
        manifold = jax.lax.map(lambda t: decode((1 - t) * z0 + t * z1), t)
        lines = jnp.stack([manifold, jax.lax.map(lambda t: (1 - t) * first + t * last, t)])

        def target(apply, variables, flat):
            return jax.lax.map(lambda x: jax.nn.softmax(apply(variables, x)), flat)

        said = targets.map(target, groups, lines.reshape(-1, *first.shape))
        vote = jnp.sum(jax.nn.one_hot(jnp.argmax(said, axis=-1), num_classes, dtype=jnp.int32), axis=0)
        steps = lines.shape[:3]
        return disagreement(said).reshape(steps), vote.reshape(*steps, num_classes), lines[0]

    return partial(program, targets.groups)
