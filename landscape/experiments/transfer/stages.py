"""The stages of a transfer run: what all say of clean images, every attack of every attacker tried on every target, the
audit; then, as `config.parts` says, searches against all attackers, guided searches, local geometry and lines between
classes. Of a sweep each kind of training has all of them, on the same images and with the same random numbers.
"""

from collections.abc import Callable, Mapping
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from landscape import ensembles, objectives, populations, runs, samplers, spaces
from landscape.attacks import joint, projected
from landscape.attacks.joint import LENGTH
from landscape.attacks.projected import Budget, equal_norm_noise
from landscape.ensembles import Rows, map_members, over_examples
from landscape.experiments import audits, descriptions, works
from landscape.experiments.base import Quantity, Stage, run_once, run_stage
from landscape.experiments.descriptions import Description, Layer
from landscape.experiments.setting import Examples, example_keys, stage_key
from landscape.experiments.transfer import GUIDES, IMAGE, INPUTS, MEASURED, OF_ONE_TRAINING
from landscape.experiments.transfer.config import BUDGETS, MEMBERS, Attack, GuideSet, attacks_of, guide_sets
from landscape.experiments.transfer.estimates import ATTACKER, HELD_OUT, derive, positions
from landscape.experiments.transfer.members import Members, manifold, prepare, walks
from landscape.measures import neighbors
from landscape.measures.curvature import curvature
from landscape.measures.flatness import flatness
from landscape.measures.mapping import ensemble_measure
from landscape.measures.worst_case import worst_case
from landscape.objectives import JOINT
from landscape.samplers import Sampler
from landscape.search import search, steepest
from landscape.spaces import l2_norm
from landscape.training import classifier_members, trajectory
from landscape.types import Apply, Ensemble

AUDITED = 8  # attackers of each kind of training
PICTURED = {"picture": 48, "joint_picture": 24, "between_picture": 6}  # images; of lines of each sort
NORM = "linf"  # of searches against all attackers, and of local geometry
GUIDES_KEY, GEOMETRY_KEY = "ladder", "shapes"  # of random numbers; other words draw others than earlier runs have
# Arrays of one guide set.
OF_ONE_SET = {n: q._replace(dims=tuple(d for d in q.dims if d != "guide_set")) for n, q in GUIDES.items()}
MADE = ("clean", "own", "joint", "own_iso", "joint_iso")  # inputs of local geometry

Chunk = Mapping[str, jax.Array]


def compute(config, run: runs.Run) -> xr.Dataset:
    """Every array of a run; what is on disk is not computed again."""
    every, attacks, parts = prepare(config, run), attacks_of(config), set(config.parts)
    layer, description = manifold(config, run, every[0]) if {"geometry", "between"} & parts else (None, None)
    label, found = ("example", every[0].test.label), []
    clean = [clean_images(run, members) for members in every]
    known = [derive(own.assign(label=label).assign_coords(coordinates(every[0], parts))) for own in clean]
    right = np.all([one.right.values for one in known], axis=0)
    for members, own, known_one in zip(every, clean, known, strict=True):
        one = [own, transfer(config, run, members, attacks)]
        if "joint" in parts:
            one.append(against_all(config, run, members))
        if "guides" in parts:
            one.append(guided(config, run, members))
        if "geometry" in parts:
            one.append(measured(config, run, members, layer, description))
        if "between" in parts:
            one.append(between(config, run, members, description, known_one, right))
        training = {name: ("training", [value]) for name, value in members.training.items()}
        found.append(xr.merge(one).expand_dims("training").assign_coords(training))
    data = xr.concat(found, "training", data_vars="all", coords="different", compat="equals", join="exact")
    data = data.merge(audit(config, run, every, attacks[0])).assign_coords(coordinates(every[0], parts))
    start = (("shown", *IMAGE), every[0].test.x[: PICTURED["picture"]])
    data = data.assign(label=label, picture_start=start)
    return data.assign_attrs(epsilon=attacks[0].epsilon, norm=attacks[0].norm)


def coordinates(members: Members, parts: set[str]) -> dict[str, Any]:
    """Coordinates of images, sources, targets and classes."""
    roles = members.roles
    attackers = members.seeds[: ensembles.size(members.attackers)]
    held_out = {"held_out": np.flatnonzero(roles == HELD_OUT)} if {"guides", "geometry"} & parts else {}
    found = {"source": attackers, "target": np.arange(len(roles)), "role": ("target", roles)}
    return found | held_out | {"class": list(members.prepared.dataset.class_names), "example": members.test.ids}


def clean_images(run: runs.Run, members: Members) -> xr.Dataset:
    """What every target says of the clean test images, and its margins on validation images."""

    def target(apply, variables, x, label, other, other_label):
        logits = apply(variables, x)
        margin = objectives.margin(logits, label)
        return jnp.argmax(logits, axis=-1), margin, objectives.margin(apply(variables, other), other_label)

    def work() -> dict[str, Any]:
        images = map(jnp.asarray, (*members.test[:2], *members.validation[:2]))
        program = jax.jit(lambda groups, *shared: members.targets.map(target, groups, *shared))
        prediction, margin, other = program(members.targets.groups, *images)
        found = {"clean_prediction": prediction.astype(jnp.int16), "clean_margin": margin}
        return found | {"validation_margin": other}

    return run_once(run, f"clean{members.suffix}", work, OF_ONE_TRAINING)


def with_few_pictures(run: runs.Run, stage: Stage, name: str) -> xr.Dataset:
    """The results of a stage that makes a picture `name` of every image, few of which are kept."""
    dims = OF_ONE_TRAINING[name].dims
    every = OF_ONE_TRAINING[name]._replace(dims=(stage.dim, *dims[1:]))
    data = run_stage(run, stage, OF_ONE_TRAINING | {name: every})
    few = data[name].isel({stage.dim: slice(PICTURED[name])}).drop_vars(stage.dim)
    return data.drop_vars(name).assign({name: few.rename({stage.dim: dims[0]})})


# ---- attacks ----


def transfer(config, run: runs.Run, members: Members, attacks: list[Attack]) -> xr.Dataset:
    """Every attack on the test images, tried on every target; a stage for each kind and norm, with all its radii."""
    images, parts = members.images(), []
    for (kind, norm), own in groupby(attacks, lambda attack: attack[:2]):
        own = list(own)
        epsilons = jnp.asarray([attack.epsilon for attack in own], jnp.float32)
        shared = {"attackers": members.attackers, "groups": members.targets.groups, "epsilons": epsilons}
        work, name = attacked(config, members, kind, norm), f"transfer.{kind}.{norm}{members.suffix}"
        found = with_few_pictures(run, Stage(name, work, images, config.chunk, shared), "picture")
        about = {name: ("attack", [attack[i] for attack in own]) for i, name in enumerate(Attack._fields)}
        parts.append(found.assign_coords(about))
    pictures = parts[0].picture
    return xr.concat([part.drop_vars("picture") for part in parts], "attack").assign(picture=pictures)


def attacked(config, members: Members, kind: str, norm: str):
    """chunk -> what becomes of the examples of one kind and norm at all radii, beside noise of their norms."""
    apply, targets, section = members.classifier.apply, members.targets, config.transfer

    def one(variables, x, label, keys, epsilons):
        def within(epsilon):
            ball = {"apply": apply, "norm": norm, "epsilon": epsilon}
            if kind == "full":
                return projected.multi_targeted(keys, variables, x, label, num_steps=section.num_steps, **ball)
            steps = {"step_size": section.step * epsilon, "num_steps": section.num_steps}
            return projected.first_flip(keys, variables, x, label, **steps, **ball)

        return jnp.moveaxis(jax.lax.map(within, epsilons), 0, 1)

    def work(chunk: Chunk, attackers, groups, epsilons) -> dict[str, jax.Array]:
        x, label = chunk["x"], chunk["label"]
        keys, noise_keys = (example_keys(config.seed, n, chunk["example"]) for n in ("transfer", "transfer.noise"))
        rows = (*map(Rows, (x, label, keys)), epsilons)
        found = jnp.moveaxis(map_members(one, attackers, shared=rows, how=members.how), 2, 0)  # attack, source, ...
        length = jax.lax.map(LENGTH[norm], (found - x[None, None]).reshape(-1, *x.shape))
        noise = jax.lax.map(partial(equal_norm_noise, noise_keys, x, norm=norm), length).reshape(found.shape)
        return {
            "prediction": jnp.moveaxis(targets.predict(groups, found), 0, 2).astype(jnp.int16),
            "noise_wrong": jnp.moveaxis(targets.errs(groups, noise, label), 0, 2),
            "perturbation_norm": length.reshape(found.shape[:3]),
            "picture": found[0, 0],
        }

    return work


def budget_of(config, epsilon: float, norm: str) -> Budget:
    """The full budget in a ball."""
    return Budget(norm, epsilon, config.transfer.step * epsilon, config.transfer.num_steps)


def audit(config, run: runs.Run, every: list[Members], attack: Attack) -> xr.Dataset:
    """The audit of the full budget in the largest ball of the headline's norm, on validation images.

    Of the first attackers. In smaller balls more images may fall to other searches; how many is not asked here.
    """
    epsilon = float(config.transfer[attack.norm][-1])
    audited = [ensembles.take(members.attackers, slice(AUDITED)) for members in every]
    return audits.audit_stage_dataset(
        run,
        jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *audited),
        Examples(*(part[: config.audit.num_examples] for part in every[0].validation)),
        apply=every[0].classifier.apply,
        budget=budget_of(config, epsilon, attack.norm),
        mapping=config.mapping,
        seed=config.seed,
    )


# ---- searches that have all attackers to fool ----


def against_all(config, run: runs.Run, members: Members) -> xr.Dataset:
    """Searches against all attackers by every objective in every ball, and the smallest ball that fools all, each."""
    count = min(config.joint.num_examples, len(members.test.label))
    radii = jnp.asarray(config.transfer[NORM], jnp.float32)
    numbers = jnp.asarray([JOINT.index(name) for name in config.joint.objectives], jnp.int32)
    shared = {"attackers": members.attackers, "groups": members.targets.groups, "numbers": numbers, "radii": radii}
    images, name = members.images(count, "joint_example"), f"joint{members.suffix}"
    stage = Stage(name, in_balls(config, members), images, config.chunk, shared, "joint_example")
    found = with_few_pictures(run, stage, "joint_picture")
    return found.assign_coords(objective=list(config.joint.objectives), ball=np.asarray(config.transfer[NORM], float))


def in_balls(config, members: Members):
    """chunk -> who errs on what was found in each ball, and the smallest radii with what was found there."""
    section, apply, targets = config.joint, members.classifier.apply, members.targets
    search = {"apply": apply, "norm": NORM, "num_steps": section.num_steps}
    smallest = {"kind": JOINT.index("hardmin"), "largest": float(config.transfer[NORM][-1])}
    smallest |= {"num_halvings": section.num_halvings}

    def balls(x, label, keys, attackers, numbers, radii):
        def ball(number, epsilon):
            step = {"epsilon": epsilon, "step_size": config.transfer.step * epsilon}
            return joint.fool_all(keys, attackers, x, label, kind=number, start="image", **step, **search)

        found = jax.lax.map(lambda i: jax.lax.map(lambda epsilon: ball(i, epsilon), radii), numbers)
        return jnp.moveaxis(found, 2, 0)

    def of_all(x, label, keys, ensemble):
        return joint.smallest_radius(keys, ensemble, x, label, **smallest, **search)

    def alone(variables, *images):
        return of_all(*images, jax.tree.map(lambda leaf: leaf[None], variables))[0]

    def work(chunk: Chunk, attackers, groups, numbers, radii) -> dict[str, jax.Array]:
        images = (chunk["x"], chunk["label"], example_keys(config.seed, "joint", chunk["joint_example"]))
        found = jnp.moveaxis(over_examples(balls, *images, shared=(attackers, numbers, radii)), 0, 2)
        radius, nearest = over_examples(of_all, *images, shared=(attackers,))
        return {
            "joint_wrong": jnp.moveaxis(targets.errs(groups, found, chunk["label"]), 0, 2),
            "smallest_radius": radius,
            "own_radius": map_members(alone, attackers, shared=tuple(map(Rows, images)), how=members.how),
            "joint_picture": nearest,
        }

    return work


# ---- searches guided by k members, by one with noise or by one at random, tried on held-out ones ----
#
# Guide sets of k members run on disjoint blocks of the attackers, which together are all of them; each member of a
# block gives one gradient a step. Sets of one member run on every attacker, with noise of `config.noise` on its weights
# (drawn at every step, or once), or drawing from its trajectory. Two budgets come of one search: "steps", where every
# set takes T steps, and "gradients", where k members take T / k of them, so that all spend T gradients: the last
# iterate of either, each with its own step size, chosen on validation images from one grid by the margin that the
# unperturbed guides have lost at the end.


class Guides(NamedTuple):
    """What guide sets draw from: attackers [A, ...], the trajectory of each [A, K, ...], keys of frozen draws [A]."""

    attackers: Ensemble
    trajectory: Ensemble
    frozen: jax.Array


def guides_of(config, run: runs.Run, members: Members) -> Guides:
    """Restores or walks the trajectories of the attackers, where a guide set asks for them."""
    trained = [one for one in classifier_members.members_of(config) if one.control == "trained"]
    trained = [one for one in trained if {f"train_{n}": v for n, v in one.hyper._asdict().items()} == members.training]
    own = trained[: config.num_attackers]
    keys = [jax.random.fold_in(stage_key(config.seed, f"{GUIDES_KEY}.frozen"), member.seed) for member in own]
    walked = jax.tree.map(lambda leaf: leaf[:, None], members.attackers)  # where nothing draws from it
    if walks(config):
        dataset = members.prepared.dataset
        walked = trajectory.ensemble(run, config, dataset, members.classifier, own, members.attackers)
    return Guides(members.attackers, walked, jnp.stack(keys))


def blocks_of(guides: GuideSet, count: int) -> np.ndarray:
    """The attackers of each disjoint block, [B, size]."""
    return np.arange(count - count % guides.size).reshape(-1, guides.size)


def ascent(config, members: Members, sources: Guides, guides: GuideSet) -> Callable:
    """program(x, label, step_size) -> (images [B, budget, N, H, W, C], goal [B, budget, N]) of a guide set's blocks.

    goal: minus the mean margin of the label over the unperturbed members of the block, logits.
    """
    apply, num_steps, largest = members.classifier.apply, config.guides.num_steps, config.guides.sizes[-1]
    norm, epsilon = config.pixels.norm, float(config.pixels.epsilon)
    blocks = blocks_of(guides, ensembles.size(sources.attackers))
    lower = objectives.descend(apply, objectives.log_odds)
    together = objectives.averaged(objectives.descend(apply, objectives.log_odds))
    # Frames come every T / largest steps: that of T / k steps is the (largest / k)th.
    at = np.asarray([largest // guides.gradients - 1, largest - 1])

    def of_block(block: Ensemble, walked: Ensemble, frozen: jax.Array, number, x, label, step_size):
        found = search(
            jax.random.fold_in(stage_key(config.seed, f"{GUIDES_KEY}.pixels"), number),
            x,
            label,
            objective=lower if guides.alone else together,
            space=spaces.pixels(norm),
            sampler=sampler_of(config, guides, block, walked, frozen),
            optimizer=steepest(norm, step_size * epsilon),
            epsilon=epsilon,
            num_steps=num_steps,
            frames=largest,
        )
        images = found.frames[at]

        def margin(variables):
            return jax.lax.map(lambda x: objectives.margin(apply(variables, x), label), images)

        goal = -jnp.mean(jax.lax.map(margin, block), axis=0)
        return jnp.moveaxis(images, 1, 0), goal.T

    how, first = ensembles.parse(config.mapping, len(blocks)), blocks[:, 0]
    per_block = (ensembles.take(sources.attackers, blocks), ensembles.take(sources.trajectory, first))
    per_block += (sources.frozen[first], jnp.asarray(first))

    @jax.jit
    def program(per_block, x, label, step_size):
        shared = (Rows(x), Rows(label), step_size)
        return tuple(jnp.moveaxis(a, 2, 1) for a in map_members(of_block, *per_block, shared=shared, how=how))

    return partial(program, per_block)


def sampler_of(config, guides: GuideSet, block: Ensemble, walked: Ensemble, frozen: jax.Array) -> Sampler:
    """Who gives the gradient of a step.

    All members of a block at once; each with noise of its own; or one classifier: a member of the block, a draw from
    the first one's trajectory, or the first one with noise.
    """
    noise = {"kind": config.noise.kind}
    if guides.guidance == MEMBERS:
        return samplers.fixed(block)
    if guides.guidance == "members_ball":

        def draw(key, block):
            noisy = partial(samplers.perturb, sigma=guides.radius, **noise)
            return jax.vmap(noisy)(jax.random.split(key, guides.size), block)

        return Sampler(draw, block)
    if guides.guidance in ("ball", "frozen"):
        ball = samplers.ball(jax.tree.map(lambda leaf: leaf[0], block), guides.radius, **noise)
        return ball if guides.guidance == "ball" else samplers.frozen(ball, frozen)
    if guides.guidance == "swag":
        return samplers.swag(samplers.fit_swag(walked))
    return samplers.member(block if guides.guidance == "random" else walked)


def guided(config, run: runs.Run, members: Members) -> xr.Dataset:
    """Every guide set, its step sizes tuned on validation images, tried on the held-out classifiers on test images."""
    sources, held_out, sets = guides_of(config, run, members), members.held_out, guide_sets(config)
    count = min(config.guides.num_examples, len(members.test.label))
    validation, test = (Examples(*(part[:count] for part in images)) for images in (members.validation, members.test))
    sizes, errs = np.asarray(config.guides.step_sizes, np.float32), jax.jit(held_out.errs)

    def of_set(guides: GuideSet) -> dict[str, Any]:
        ascend = ascent(config, members, sources, guides)
        goals = [np.asarray(ascend(validation.x, validation.label, s)[1]).mean(axis=(0, 2)) for s in sizes]
        chosen = sizes[np.argmax(goals, axis=0)]
        images = jnp.stack([ascend(test.x, test.label, s)[0][:, b] for b, s in enumerate(chosen)], axis=1)
        wrong = np.asarray(errs(held_out.groups, images, jnp.asarray(test.label))).astype(np.float32)
        by_block = np.full((len(BUDGETS), config.num_attackers, count), np.nan, np.float32)
        by_block[:, : wrong.shape[1]] = wrong.mean(axis=0).swapaxes(0, 1)
        found = {"tuning": np.stack(goals), "block_wrong": by_block}
        return found | {"guided_wrong": wrong.mean(axis=1).swapaxes(0, 1)}

    found = [run_once(run, f"guides.{g.name}{members.suffix}", partial(of_set, g), OF_ONE_SET) for g in sets]
    about = {name: ("guide_set", [getattr(g, name) for g in sets]) for name in ("guidance", "size")}
    about |= {"budget": list(BUDGETS), "step_size": np.asarray(config.guides.step_sizes, float)}
    return xr.concat(found, "guide_set").assign_coords(about | {"guided_example": test.ids})


# ---- local geometry of shared examples ----


def measured(config, run: runs.Run, members: Members, layer: Layer, description: Description) -> xr.Dataset:
    """Every input of every source: what the source and held-out classifiers say of it, and what is measured there.

    All in one L-inf ball, at: the image (`clean`), the source's own attack (`own`), the search that has all attackers
    to fool (`joint`), and the last two steered, for each source, to the same log-odds (`own_iso`, `joint_iso`).
    """
    held_out, num_near = members.held_out, config.geometry.num_neighbors
    measure = partial(measured_at, config, members.classifier.apply)

    def work(chunk, attackers, groups, autoencoder, references, reference_label) -> dict[str, jax.Array]:
        x, label, ids = chunk["x"], chunk["label"], chunk["geometry_example"]
        inputs, found = searched(config, members, attackers, x, label, ids)
        tracked, every = found["prediction"], inputs.reshape(-1, *x.shape)
        keys = example_keys(config.seed, GEOMETRY_KEY, ids)
        found |= ensemble_measure(measure, keys, attackers, inputs, tracked, how=members.how)
        off = jax.lax.map(lambda x: l2_norm(description.reconstruct(autoencoder, x, label) - x), every)
        far, index = neighbors.nearest(every.reshape(-1, *x.shape[1:]), references, num_near)
        near = reference_label[index].reshape(*tracked.shape, -1)
        found |= {
            "manifold": off.reshape(tracked.shape),
            "nearest": far[:, 0].reshape(tracked.shape),
            "nearest_true": (near == label[None, None, :, None]).mean(axis=-1),
            "nearest_taken": (near == tracked[..., None]).mean(axis=-1),
            "wrong": held_out.errs(groups, inputs, label),
        }
        made = {"made": inputs} if config.measures else {}
        return made | {f"geometry_{name}": value for name, value in found.items()}

    shared = {"attackers": members.attackers, "groups": held_out.groups}
    shared |= {"autoencoder": ensembles.take(description.ensemble, 0)}
    shared |= {"references": jnp.asarray(layer.training.x), "reference_label": jnp.asarray(layer.training.label)}
    images, name = members.images(config.geometry.num_examples, "geometry_example"), f"geometry{members.suffix}"
    stage = Stage(name, work, images, config.chunk, shared, "geometry_example")
    schema = OF_ONE_TRAINING | {"made": Quantity((*INPUTS, *IMAGE), "pixels", "the inputs")}
    found = run_stage(run, stage, schema).assign_coords(input=list(MADE))
    if config.measures:
        found = found.drop_vars("made").merge(measured_by_name(config, run, members, found.made.values))
    return found


def measured_by_name(config, run: runs.Run, members: Members, inputs: np.ndarray) -> xr.Dataset:
    """config.measures at the inputs of local geometry, [S, P, N, H, W, C], by their sources."""
    count = ensembles.size(members.attackers)
    own = members.prepared._replace(
        ensemble=members.attackers,
        members=[{"seed": seed} for seed in members.seeds[:count].tolist()],
        trained=np.ones(count, bool),
        how=members.how,
    )
    images = Examples(*(part[: inputs.shape[2]] for part in members.test))
    about = {"suffix": members.suffix, "budget": budget_of(config, attacks_of(config)[0].epsilon, NORM)}
    return works.measured(config, run, own, inputs, images, INPUTS, **about)


def searched(config, members: Members, attackers: Ensemble, x, label, ids) -> tuple[jax.Array, dict[str, jax.Array]]:
    """inputs [S, P, N, ...], and what each source says of them."""
    apply, section, epsilon = members.classifier.apply, config.geometry, attacks_of(config)[0].epsilon
    ball = {"apply": apply, "norm": NORM, "epsilon": epsilon, "step_size": config.transfer.step * epsilon}
    full = ball | {"num_steps": config.transfer.num_steps}
    alone = {"apply": apply, "norm": NORM, "epsilon": epsilon, "num_steps": config.transfer.num_steps}
    keys, joint_keys = (example_keys(config.seed, name, ids) for name in ("transfer", "joint"))
    hardest = JOINT.index("hardmin")
    together = joint.fool_all(joint_keys, attackers, x, label, kind=hardest, start="image", **full)

    def member(variables, x, label, keys, together):
        own = projected.multi_targeted(keys, variables, x, label, **alone)

        def steered(start):
            ended = jnp.argmax(apply(variables, start), axis=-1).astype(label.dtype)
            wanted = jnp.full(label.shape, section.iso_log_odds)
            key = jax.vmap(jax.random.fold_in, (0, None))(keys, 1)
            return projected.steered(key, variables, x, ended, wanted, num_steps=section.iso_steps, start=start, **ball)

        ends = jnp.stack([own, together])
        inputs = jnp.concatenate([x[None], ends, jax.lax.map(steered, ends)])
        said = populations.outcome(variables, inputs, x, label, apply=apply)._asdict()
        return inputs, {name: said[name] for name in ("prediction", "margin", "log_odds", "delta_l2")}

    return map_members(member, attackers, shared=(x, label, keys, together), how=members.how)


def measured_at(config, apply: Apply, keys, variables, x, tracked) -> dict[str, jax.Array]:
    """What is measured at inputs [N, ...] of one source, each [N]."""
    section, epsilon, about = config.geometry, attacks_of(config)[0].epsilon, (keys, variables, x, tracked)
    sigmas = jnp.asarray([section.noise * epsilon], jnp.float32)
    flat = flatness(*about, apply=apply, sigmas=sigmas, num_trials=section.num_trials)
    ascent = {"norm": NORM, "rho": section.rho * epsilon, "num_steps": section.num_worst, "num_restarts": 1}
    found = {f"input_{name}": value[0] for name, value in flat.items()}
    found |= worst_case(*about, apply=apply, **ascent)
    found |= curvature(*about, apply=apply, num_steps=section.num_lanczos, num_probes=section.num_probes)
    return {name: found[name] for name in MEASURED if name in found}


# ---- lines between two classes ----


def disagreement(probability: Float[Array, "S *N K"]) -> Float[Array, "*N"]:
    """What a prediction says of the classifier that made it, I = H(mean_s p_s) - mean_s H(p_s), nats, of probabilities.

    The mutual information of class and classifier: 0 where all say the same, however unsure they are, at most log K.

    Source: Houlsby et al. 2011, arXiv:1112.5745, for this split of a prediction's entropy.
    """
    one, mean = (-jnp.sum(jax.scipy.special.xlogy(p, p), axis=-1) for p in (probability, probability.mean(axis=0)))
    return mean - one.mean(axis=0)


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


def between(
    config, run: runs.Run, members: Members, description: Description, clean: xr.Dataset, right: np.ndarray
) -> xr.Dataset:
    """Lines between pairs of images that all classifiers which have learned know; nothing where there is no pair.

    Straight lines between the embeddings of two test images, decoded, and blends of the same images in pixels. Pictured
    are the manifold's line of the pairs of the largest disagreement on it, then of the smallest.

    Args:
      clean: what these members say of clean images, as `derive` gives it. right: images that all kinds of training
        know.
    """
    pairs = pairs_of(clean.label.values, right, config.between.num_pairs, config.seed)
    if not len(pairs):
        return xr.Dataset()
    few, t = PICTURED["between_picture"], np.linspace(0, 1, config.between.num_points, dtype=np.float32)
    program = on_lines(members, description, np.sort(positions(clean, ATTACKER, HELD_OUT)))

    def work() -> dict[str, Any]:
        ends = [jnp.asarray(members.test.x[pairs[:, i]]) for i in range(2)]
        apart, vote, line = map(np.asarray, program(ensembles.take(description.ensemble, 0), *ends, jnp.asarray(t)))
        inside = apart[0, 1:-1]  # an end is no picture between
        order = np.argsort(-inside.max(axis=0), kind="stable")
        shown = np.concatenate([order[:few], order[few:][-few:]])
        at = 1 + inside.argmax(axis=0)[shown]
        steps = np.stack([np.zeros_like(at), at, np.full_like(at, len(t) - 1)], axis=1)
        found = {"disagreement": apart, "vote": vote.astype(np.int16), "pictured": shown.astype(np.int32)}
        return found | {"between_picture": line[steps, shown[:, None]]}

    found = run_once(run, f"between{members.suffix}", work, OF_ONE_TRAINING)
    return found.assign_coords(space=["manifold", "pixels"], step=t)


def on_lines(members: Members, description: Description, chosen: np.ndarray):
    """(autoencoder, first, last, t) -> disagreement, vote of the chosen targets on both lines, and the manifold's."""
    targets, autoencoder = members.targets.take(chosen), description.autoencoder
    num_classes = len(members.prepared.dataset.class_names)

    @jax.jit
    def program(groups, own, first, last, t):
        decode = partial(descriptions.decoder(autoencoder), own)
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
