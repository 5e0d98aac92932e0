"""The stages of an augmentation run: search on validation images, training of all arms, what they are like, the moves.

Sources: as in `landscape.training.runner_up`; mixup of Verma et al. 2019, arXiv:1806.05236.
"""

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from ml_collections import ConfigDict

from landscape import ensembles, files, objectives, runs
from landscape.attacks import projected
from landscape.attacks.projected import Budget
from landscape.ensembles import map_examples, map_members
from landscape.experiments import audits, descriptions, setting
from landscape.experiments.augmentation import EXPERIMENT, arms
from landscape.experiments.augmentation.arms import Trial
from landscape.experiments.augmentation.config import BEST, IMAGE, NOTHING, layers_of
from landscape.experiments.base import Stage, run_once, run_stage
from landscape.experiments.setting import Examples, Setting, example_keys, stage_key
from landscape.measures.flatness import flatness
from landscape.measures.neighbors import nearest
from landscape.measures.weight_sharpness import weight_sharpness
from landscape.models.coders import flat
from landscape.spaces import l2_norm
from landscape.training import artifacts, augmented_members, classifier_members, loop, step
from landscape.training.augmented_members import Coder, member_of
from landscape.training.classifier_members import attack_of, task_of, used_by
from landscape.training.members import Member
from landscape.training.runner_up import acts, moved, runner_up
from landscape.types import Ensemble

SCHEMA = EXPERIMENT.schema
FIRST_SEED = 1000  # of the search's members, whose luck must not count for those that are reported
CHUNK = {"measured": 128, "attacked": 64}  # images at a time
NUM_SHOWN = 8  # images pictured
MOVED = "moved_"  # files of moved images begin with it
SIDES = ("before", "after")
TIMED = (NOTHING, BEST, "random", "manifold_mixup")


def compute(config, run: runs.Run) -> xr.Dataset:
    """Every array of a run; what is on disk is not computed again."""
    prepared = setting.prepare(config, run)
    coder = coder_of(config, run, prepared)
    layers = layers_of(config.augmentation.layers, prepared.classifier.layers)
    trials = arms.trials_of(config, layers)
    searched = search(config, run, prepared, trials, coder)
    means = (searched[name].mean("search_seed").values for name in ("trial_accuracy", "trial_loss"))
    chosen, best = arms.chosen(trials, *means, config.augmentation)
    test = setting.examples(prepared.dataset, "test", config.measure.num_examples, config.seed)
    trained = train(config, run, prepared, chosen, coder)
    names = [trial.arm for trial in chosen]
    data = measured(config, run, prepared, trained, len(chosen), test)
    data = data.merge(attacked(config, run, prepared, trained, len(chosen), test))
    each = config.num_members
    some = [names.index(name) * each + s for name in (NOTHING, best) for s in range(min(4, each))]
    data = data.merge(_audit(config, run, prepared, ensembles.take(trained, np.asarray(some))))
    by_name = {trial.arm: trial for trial in chosen}
    by_name[BEST] = by_name[best]
    data = data.merge(timed(config, run, prepared, by_name, coder)).merge(searched)
    moves = [trial for trial in chosen if arms.is_move(trial)]
    data = data.merge(looked_at(config, run, prepared, moves, coder, test))
    about = {"arm": names, "setting": ("arm", [trial.setting(layers) for trial in chosen])}
    data = data.assign(label=("example", test.label)).assign_coords(about | setting.coordinates(prepared))
    return data.assign_attrs(best=best, epsilon=config.search.epsilon, norm=config.search.norm)


def coder_of(config, run: runs.Run, prepared: Setting) -> Coder | None:
    """The autoencoder of images, that of the first seed for all members; None where no arm takes it."""
    if not config.augmentation.coded:
        return None
    _, found = descriptions.of_images(config, run, prepared)
    about = {name: value for name, value in config.autoencoder.to_dict().items() if name != "sweep"}
    about = {"family": found.family, "size": found.size, **about}
    return Coder(found.autoencoder, ensembles.take(found.ensemble, 0), about)


# ---- training ----


def _trained(
    config, run: runs.Run, prepared: Setting, trials: Sequence[Trial], seeds: Sequence[int], stage: str, coder
) -> Ensemble:
    """Members of every trial and seed, [trial * seed, ...], seeds fastest.

    They are trained seeds slowest, so that devices share cheap and dear trials evenly.
    """
    plain = classifier_members.members_of(config)[0].hyper

    def member(trial: Trial, seed: int) -> Member:
        return member_of(plain._replace(adversarial_epsilon=trial.radius or plain.adversarial_epsilon), seed, trial.how)

    members = [member(trial, seed) for seed in seeds for trial in trials]
    parts = {"coder": coder}
    num_epochs = config.augmentation.num_finetune_epochs
    if num_epochs:
        parts |= _starts(config, run, prepared, plain, seeds, stage)
        config = with_epochs(config, num_epochs)
    layers = layers_of(config.augmentation.layers, prepared.classifier.layers)
    own = (prepared.dataset, prepared.classifier, members, layers, f"train.{stage}")
    found = augmented_members.ensemble(run, config, *own, **parts)
    order = np.arange(len(members)).reshape(len(seeds), len(trials)).T.ravel()
    return ensembles.take(found, order)


def _starts(config, run: runs.Run, prepared: Setting, plain: Any, seeds: Sequence[int], stage: str) -> dict[str, Any]:
    """Trained members without augmentation that others start from, as `augmented_members.ensemble` takes them."""
    sources = [Member(seed, "trained", plain) for seed in seeds]
    own = (prepared.dataset, prepared.classifier, sources, f"train.{stage}.sources")
    weights, _ = classifier_members.ensemble(run, config, *own)
    hashes = [
        artifacts.identity_hash(classifier_members.identity(config, prepared.dataset, source)) for source in sources
    ]
    index = {seed: i for i, seed in enumerate(seeds)}
    return {
        "start": lambda members: ensembles.take(weights, np.asarray([index[member.seed] for member in members])),
        "source": lambda member: hashes[index[member.seed]],
    }


def with_epochs(config, num_epochs: int) -> ConfigDict:
    """The config with another length of training."""
    found = ConfigDict(config.to_dict())
    found.train.num_epochs = num_epochs
    return found


def train(config, run: runs.Run, prepared: Setting, chosen: Sequence[Trial], coder: Coder | None) -> Ensemble:
    """The members of every arm, [arm * member, ...]; those of one seed begin alike and see the images in one order."""
    return _trained(config, run, prepared, chosen, range(config.num_members), "arms", coder)


def search(config, run: runs.Run, prepared: Setting, trials: Sequence[Trial], coder: Coder | None) -> xr.Dataset:
    """Accuracy and loss of every trial on validation images, of seeds that are not reported."""
    seeds = range(FIRST_SEED, FIRST_SEED + config.augmentation.num_search_seeds)
    layers = layers_of(config.augmentation.layers, prepared.classifier.layers)

    section = config.augmentation
    own = config if section.num_finetune_epochs else with_epochs(config, section.num_search_epochs)
    found = _trained(own, run, prepared, trials, seeds, "search", coder)

    def work() -> dict[str, Any]:
        images = setting.examples(prepared.dataset, "validation", len(prepared.dataset.splits["validation"]), 0)

        def member(variables, x, label):
            logits = map_examples(lambda x: prepared.classifier.apply(variables, x), x)
            right = jnp.argmax(logits, axis=-1) == label
            return jnp.mean(right.astype(x.dtype)), jnp.mean(objectives.loss(logits, label))

        how = ensembles.parse(config.mapping, ensembles.size(found))
        program = jax.jit(lambda e, *shared: map_members(member, e, shared=shared, how=how))
        accuracy, loss = (np.asarray(v).reshape(len(trials), -1) for v in program(found, images.x, images.label))
        return {"trial_accuracy": accuracy, "trial_loss": loss}

    about = {
        "trial": np.arange(len(trials)),
        "trial_arm": ("trial", [trial.arm for trial in trials]),
        "trial_setting": ("trial", [trial.setting(layers) for trial in trials]),
        "trial_epsilon": ("trial", [float(trial.size) for trial in trials]),
    }
    return run_once(run, "searched", work, SCHEMA).assign_coords(about)


# ---- what the arms are like ----


def _by_arm(found: Mapping[str, jax.Array], count: int) -> dict[str, jax.Array]:
    """[arm * member, N] -> [arm, member, N]."""
    return {name: value.reshape(count, -1, value.shape[-1]) for name, value in found.items()}


def measured(config, run: runs.Run, prepared: Setting, trained: Ensemble, count: int, test: Examples) -> xr.Dataset:
    """Predictions on test images, and how they change under noise on the images and on the weights."""
    apply, section = prepared.classifier.apply, config.measure
    how = ensembles.parse(config.mapping, ensembles.size(trained))
    # Weight noise is that of the seed, the same in all arms; input noise that of the image.
    own = jax.vmap(jax.random.fold_in, (None, 0))(
        stage_key(config.seed, "weight"), jnp.arange(ensembles.size(trained), dtype=jnp.uint32) % config.num_members
    )
    sizes = (jnp.asarray([section.sigma], jnp.float32), jnp.asarray([section.xi], jnp.float32))

    def member(variables, key, keys, x, label, sigmas, xis):
        logits = apply(variables, x)
        probabilities, predicted = jax.nn.softmax(logits), jnp.argmax(logits, axis=-1).astype(label.dtype)
        onehot = jax.nn.one_hot(label, logits.shape[-1])
        found = {
            "right": predicted == label,
            "confidence": jnp.max(probabilities, axis=-1),
            "loss": objectives.loss(logits, label),
            "brier": jnp.sum(jnp.square(probabilities - onehot), axis=-1),
            "margin": objectives.margin(logits, predicted),
        }
        inputs = {"sigmas": sigmas, "num_trials": section.num_trials}
        weights = {"sigmas": xis, "num_draws": section.num_draws, "kind": "layer_relative"}
        for prefix, noisy in (
            ("input", flatness(keys, variables, x, predicted, apply=apply, **inputs)),
            ("weight", weight_sharpness(key, variables, x, predicted, apply=apply, **weights)),
        ):
            found |= {f"{prefix}_{name}": noisy[name][0] for name in ("probability_drop", "margin_drop")}
        return found

    def work(chunk, ensemble, own, sizes) -> dict[str, jax.Array]:
        keys = example_keys(config.seed, "measured", chunk["example"])
        shared = (keys, chunk["x"], chunk["true_label"], *sizes)
        return _by_arm(map_members(member, ensemble, own, shared=shared, how=how), count)

    shared = {"ensemble": trained, "own": own, "sizes": sizes}
    images = setting.as_dataset(test)[["x", "true_label"]]
    return run_stage(run, Stage("measured", work, images, CHUNK["measured"], shared), SCHEMA)


def _budget(config) -> dict[str, Any]:
    return {name: config.search[name] for name in ("norm", "epsilon", "num_steps", "num_restarts")}


def attacked(config, run: runs.Run, prepared: Setting, trained: Ensemble, count: int, test: Examples) -> xr.Dataset:
    """Whether each member is right on the image and on what the attack on it makes of the image."""
    apply, how = prepared.classifier.apply, ensembles.parse(config.mapping, ensembles.size(trained))

    def member(variables, keys, x, label):
        z = projected.multi_targeted(keys, variables, x, label, apply=apply, **_budget(config))
        right = [jnp.argmax(apply(variables, at), axis=-1) == label for at in (x, z)]
        return {"robust": right[0] & right[1]}

    def work(chunk, ensemble) -> dict[str, jax.Array]:
        keys = example_keys(config.seed, "attacked", chunk["example"])
        shared = (keys, chunk["x"], chunk["true_label"])
        return _by_arm(map_members(member, ensemble, shared=shared, how=how), count)

    images = setting.as_dataset(test)[["x", "true_label"]]
    return run_stage(run, Stage("attacked", work, images, CHUNK["attacked"], {"ensemble": trained}), SCHEMA)


def _audit(config, run: runs.Run, prepared: Setting, members: Ensemble) -> xr.Dataset:
    """The audit of the attack on members with and without the best move, on validation images."""
    images = setting.examples(prepared.dataset, "validation", config.audit.num_examples, config.seed)
    budget = Budget(**_budget(config), step_size=config.search.step_size)
    how = {"apply": prepared.classifier.apply, "mapping": config.mapping, "seed": config.seed}
    return audits.audit_stage_dataset(run, members, images, budget=budget, **how)


# ---- the time of a step ----


def timed(config, run: runs.Run, prepared: Setting, by_name: Mapping[str, Trial], coder: Coder | None) -> xr.Dataset:
    """Seconds of a training step of one member on one device, arms in turns in every round."""
    names = [name for name in TIMED if name in by_name]

    def work() -> dict[str, Any]:
        programs = [_steps(config, prepared, by_name[name], coder) for name in names]
        for program in programs:
            program()  # compiles
        seconds = np.empty((len(names), config.timing.num_rounds))
        for at in range(config.timing.num_rounds):
            for i in np.random.default_rng([config.seed, at]).permutation(len(names)):
                begun = time.perf_counter()
                programs[i]()
                seconds[i, at] = (time.perf_counter() - begun) / config.timing.num_steps
        return {"step_seconds": seconds}

    return run_once(run, "timed", work, SCHEMA).assign_coords(timed=names)


def _steps(config, prepared: Setting, trial: Trial, coder: Coder | None):
    """A function that takes some steps of training of one member."""
    plain = classifier_members.members_of(config)[0].hyper
    member, dataset = member_of(plain, 0, trial.how), prepared.dataset
    context, augmented = (), None
    if acts(trial.how):
        coded = trial.how.coded > 0
        autoencoder = coder.autoencoder if coded else None
        layers = layers_of(config.augmentation.layers, prepared.classifier.layers)
        augmented = augmented_members.loss_of(prepared.classifier, layers, config.train.precision, autoencoder)
        context = jax.tree.map(lambda leaf: leaf[None], coder.variables) if coded else ()
    used = used_by(member)
    task = task_of(prepared.classifier, used, config.train.precision, attack_of(config), augmented)
    plan = step.plan_of(config.train.num_epochs, config.train.batch_size, dataset, config.train.optimizer, used)
    how = ensembles.Mapping()
    images, per_member = loop.inputs_of([member], dataset, context=context, seed=config.seed)
    programs = loop.programs_of(task, plan, how)
    state = programs.begin(loop.initialise([member], dataset, task, seed=config.seed, how=how), per_member[2])
    count, held = min(config.timing.num_steps, plan.epoch_steps), [state]

    def steps() -> None:
        held[0] = jax.block_until_ready(programs.advance(held[0], 0, 0, count, images=images, per_member=per_member))

    return steps


# ---- what the moves do ----


def looked_at(
    config, run: runs.Run, prepared: Setting, moves: Sequence[Trial], coder: Coder | None, test: Examples
) -> xr.Dataset:
    """Every test image moved as in training, in the members that are trained without moves: what they predict then,
    and which training images are nearest in the layer.

    Moved images of the first member are written to `moved_ARM.npz`, in [0, 1], for `--config.inputs` of flatness.
    """
    layers = layers_of(config.augmentation.layers, prepared.classifier.layers)
    training = setting.examples(prepared.dataset, "train", config.measure.num_points, config.seed)

    def work() -> dict[str, Any]:
        parts = [_of_move(config, prepared, move, coder, test, training) for move in moves]
        for move, part in zip(moves, parts, strict=True):
            images = part.pop("images")
            if arms.layer_of(move, layers) == IMAGE:
                saved = {"x": images.clip(0, 1), "label": test.label, "origin": test.x}
                files.write_npz(run.directory / f"{MOVED}{move.arm}.npz", saved)
        found = {name: np.stack([part[name] for part in parts]) for name in parts[0]}
        return found | {"images": test.x[:NUM_SHOWN]}

    found = run_once(run, "moves", work, SCHEMA)
    return found.assign_coords(move=[move.arm for move in moves], side=list(SIDES), shown=test.ids[:NUM_SHOWN])


def _of_move(
    config, prepared: Setting, move: Trial, coder: Coder | None, test: Examples, training: Examples
) -> dict[str, np.ndarray]:
    classifier, coded = prepared.classifier, move.how.coded > 0
    layer = arms.layer_of(move, layers_of(config.augmentation.layers, classifier.layers))
    always = move.how._replace(probability=1.0, correct=0)

    def member(variables, key, context, x, label, points):
        at = partial(classifier.head, variables, layer=layer)
        coders = None
        if coder is not None:
            coders = tuple(partial(fn, context) for fn in (coder.autoencoder.encode, coder.autoencoder.decode))
        h, known = (x, points) if layer == IMAGE else (classifier.features(variables, v, layer) for v in (x, points))
        logits, out = at(h), moved(key, at, h, label, always, coders if coded else None)
        after = jnp.argmax(at(out), axis=-1)
        (near, index), (near_after, index_after) = (nearest(flat(v), flat(known), 1) for v in (h, out))
        found = {"changed": after != jnp.argmax(logits, axis=-1), "to_runner_up": after == runner_up(logits)}
        found |= {"distance_before": near[:, 0], "distance_after": near_after[:, 0]}
        found |= {"before": index[:, 0], "after": index_after[:, 0], "moved": out if layer == IMAGE else x}
        for side, v in zip(SIDES, (x, out), strict=True):
            error = jnp.full(len(x), jnp.nan)
            if layer == IMAGE and coders is not None:
                error = l2_norm(v - coders[1](coders[0](v)))
            found[f"error_{side}"] = error
        return found

    keys = jax.vmap(jax.random.fold_in, (None, 0))(
        stage_key(config.seed, "moves"), jnp.arange(config.num_members, dtype=jnp.uint32)
    )
    ensemble = ensembles.take(prepared.ensemble, np.flatnonzero(prepared.trained))
    how = ensembles.parse(config.mapping, config.num_members)
    program = jax.jit(lambda e, k, *shared: map_members(member, e, k, shared=shared, how=how))
    context = () if coder is None else coder.variables
    found = {k: np.asarray(v) for k, v in program(ensemble, keys, context, test.x, test.label, training.x).items()}
    before, after, images = (found.pop(name) for name in (*SIDES, "moved"))
    found["was_in_class"], found["stays_in_class"] = (training.label[i] == test.label[None] for i in (before, after))
    found["images"] = images[0]
    blank = np.full_like(images[0, :NUM_SHOWN], np.nan)
    found["pictures"] = images[0, :NUM_SHOWN] if layer == IMAGE else blank
    found["neighbors"] = np.stack([training.x[i[0, :NUM_SHOWN]] for i in (before, after)])
    return found
