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
from landscape.experiments import audits, setting, works
from landscape.experiments.augmentation import EXPERIMENT, MEASURED, arms
from landscape.experiments.augmentation.arms import Trial
from landscape.experiments.augmentation.coders import check, coders_of, of_images, plain_members
from landscape.experiments.augmentation.config import BEST, IMAGE, NOTHING
from landscape.experiments.base import Stage, run_once, run_stage
from landscape.experiments.setting import Examples, Setting, example_keys, stage_key
from landscape.measures.flatness import flatness
from landscape.measures.neighbors import nearest
from landscape.measures.weight_sharpness import weight_sharpness
from landscape.models.coders import flat
from landscape.spaces import l2_norm
from landscape.training import augmented_members, classifier_members, loop, step
from landscape.training.augmented_members import Coder, Program, member_of
from landscape.training.classifier_members import attack_of, task_of, used_by
from landscape.training.members import Member
from landscape.training.runner_up import batch_sum_beside_own, moved, runner_up
from landscape.types import Ensemble

SCHEMA = EXPERIMENT.schema
FIRST_SEED = 1000  # of the search's members, whose luck must not count for those that are reported
CHUNK = {"predicted": 1024, "measured": 128, "attacked": 64}  # images at a time
NUM_SHOWN = 8  # images pictured
MOVED = "moved_"  # files of moved images begin with it
SIDES = ("before", "after")
BATCH, MOST = 128, 1024  # images by which batch_sum is compared with the own runner-up: of a batch, in all; or fewer
TIMED = (NOTHING, BEST)


def compute(config, run: runs.Run) -> xr.Dataset:
    """Every array of a run; what is on disk is not computed again."""
    prepared = setting.prepare(config, run, partial(check, config))
    layers = arms.Layers.of(config, prepared.classifier.layers)
    trials = arms.trials_of(config, layers)
    images = of_images(config, run, prepared)
    searched = search(config, run, prepared, trials, images)
    means = (searched[name].mean("search_seed").values for name in ("trial_accuracy", "trial_loss"))
    chosen, best = arms.chosen(trials, *means, config.augmentation)
    counts = (config.measure.num_examples, config.measure.num_probed)
    test, probed = (setting.examples(prepared.dataset, "test", count, config.seed) for count in counts)
    coders = coders_of(config, run, prepared, range(config.num_members), images)
    trained = _trained(config, run, prepared, chosen, range(config.num_members), "arms", coders)
    names = [trial.arm for trial in chosen]
    data = predicted(config, run, prepared, trained, len(chosen), test)
    data = data.merge(measured(config, run, prepared, trained, len(chosen), probed))
    data = data.merge(attacked(config, run, prepared, trained, len(chosen), probed))
    if config.measures:
        data = data.merge(measured_by_name(config, run, prepared, trained, names, probed))
    each = config.num_members
    some = [names.index(name) * each + s for name in (NOTHING, best) for s in range(min(4, each))]
    data = data.merge(_audit(config, run, prepared, ensembles.take(trained, np.asarray(some))))
    by_name = {trial.arm: trial for trial in chosen}
    by_name[BEST] = by_name[best]
    data = data.merge(timed(config, run, prepared, by_name, coders)).merge(searched)
    moves = [trial for trial in chosen if arms.is_move(trial)]
    data = data.merge(looked_at(config, run, prepared, moves, coders, probed))
    if "batch_sum" in config.augmentation.controls:
        data = data.merge(batch_sums(config, run, prepared, test))
    about = {"arm": names, "setting": ("arm", [trial.setting(layers) for trial in chosen])}
    data = data.assign(label=("example", test.label)).assign_coords(about | setting.coordinates(prepared))
    return data.assign_attrs(best=best, epsilon=config.search.epsilon, norm=config.search.norm)


# ---- training ----


def _trained(
    config,
    run: runs.Run,
    prepared: Setting,
    trials: Sequence[Trial],
    seeds: Sequence[int],
    stage: str,
    coders: Sequence[Coder],
) -> Ensemble:
    """Members of every trial and seed, [trial * seed, ...], seeds fastest. Those of one seed begin alike and see the
    images in one order.

    They are trained seeds slowest, so that devices share cheap and dear trials evenly.
    """
    plain = classifier_members.members_of(config)[0].hyper

    def member(trial: Trial, seed: int) -> Member:
        return member_of(plain._replace(adversarial_epsilon=trial.radius or plain.adversarial_epsilon), seed, trial.how)

    members = [member(trial, seed) for seed in seeds for trial in trials]
    parts = {"coders": coders}
    num_epochs = config.augmentation.num_finetune_epochs
    if num_epochs:
        parts |= _starts(config, run, prepared, seeds)
        config = with_epochs(config, num_epochs)
    layers = arms.Layers.of(config, prepared.classifier.layers).direct
    own = (prepared.dataset, prepared.classifier, members, layers, f"train.{stage}")
    found = augmented_members.ensemble(run, config, *own, **parts)
    order = np.arange(len(members)).reshape(len(seeds), len(trials)).T.ravel()
    return ensembles.take(found, order)


def _starts(config, run: runs.Run, prepared: Setting, seeds: Sequence[int]) -> dict[str, Any]:
    """Trained members without augmentation that others start from, as `augmented_members.ensemble` takes them."""
    weights, hashes = plain_members(config, run, prepared, seeds)
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


def search(config, run: runs.Run, prepared: Setting, trials: Sequence[Trial], images: Coder | None) -> xr.Dataset:
    """Accuracy and loss of every trial on validation images, of seeds that are not reported."""
    seeds = range(FIRST_SEED, FIRST_SEED + config.augmentation.num_search_seeds)
    layers, section = arms.Layers.of(config, prepared.classifier.layers), config.augmentation
    own = config if section.num_finetune_epochs else with_epochs(config, section.num_search_epochs)
    coders = coders_of(config, run, prepared, seeds, images)
    found = _trained(own, run, prepared, trials, seeds, "search", coders)

    def work() -> dict[str, Any]:
        held_out = setting.examples(prepared.dataset, "validation", len(prepared.dataset.splits["validation"]), 0)

        def member(variables, x, label):
            logits = map_examples(lambda x: prepared.classifier.apply(variables, x), x)
            right = jnp.argmax(logits, axis=-1) == label
            return jnp.mean(right.astype(x.dtype)), jnp.mean(objectives.loss(logits, label))

        how = ensembles.parse(config.mapping, ensembles.size(found))
        program = jax.jit(lambda e, *shared: map_members(member, e, shared=shared, how=how))
        accuracy, loss = (np.asarray(v).reshape(len(trials), -1) for v in program(found, held_out.x, held_out.label))
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


def predicted(config, run: runs.Run, prepared: Setting, trained: Ensemble, count: int, test: Examples) -> xr.Dataset:
    """Predictions on test images."""
    apply, how = prepared.classifier.apply, ensembles.parse(config.mapping, ensembles.size(trained))

    def member(variables, x, label):
        logits = apply(variables, x)
        probabilities, onehot = jax.nn.softmax(logits), jax.nn.one_hot(label, logits.shape[-1])
        return {
            "right": jnp.argmax(logits, axis=-1) == label,
            "confidence": jnp.max(probabilities, axis=-1),
            "loss": objectives.loss(logits, label),
            "brier": jnp.sum(jnp.square(probabilities - onehot), axis=-1),
        }

    def work(chunk, ensemble) -> dict[str, jax.Array]:
        return _by_arm(map_members(member, ensemble, shared=(chunk["x"], chunk["true_label"]), how=how), count)

    images = setting.as_dataset(test)[["x", "true_label"]]
    return run_stage(run, Stage("predicted", work, images, CHUNK["predicted"], {"ensemble": trained}), SCHEMA)


def _probed(probed: Examples) -> xr.Dataset:
    """The images that are probed, by `probed`."""
    return setting.as_dataset(probed)[["x", "true_label"]].rename(example="probed")


def measured(config, run: runs.Run, prepared: Setting, trained: Ensemble, count: int, probed: Examples) -> xr.Dataset:
    """How predictions change under noise on the images and on the weights."""
    apply, section = prepared.classifier.apply, config.measure
    how = ensembles.parse(config.mapping, ensembles.size(trained))
    # Weight noise is that of the seed, the same in all arms; input noise that of the image.
    own = jax.vmap(jax.random.fold_in, (None, 0))(
        stage_key(config.seed, "weight"), jnp.arange(ensembles.size(trained), dtype=jnp.uint32) % config.num_members
    )
    sizes = (jnp.asarray([section.sigma], jnp.float32), jnp.asarray([section.xi], jnp.float32))

    def member(variables, key, keys, x, sigmas, xis):
        logits = apply(variables, x)
        tracked = jnp.argmax(logits, axis=-1).astype(jnp.int32)
        found = {"margin": objectives.margin(logits, tracked)}
        inputs = {"sigmas": sigmas, "num_trials": section.num_trials}
        weights = {"sigmas": xis, "num_draws": section.num_draws, "kind": "layer_relative"}
        for prefix, noisy in (
            ("input", flatness(keys, variables, x, tracked, apply=apply, **inputs)),
            ("weight", weight_sharpness(key, variables, x, tracked, apply=apply, **weights)),
        ):
            found |= {f"{prefix}_{name}": noisy[name][0] for name in ("probability_drop", "margin_drop")}
        return found

    def work(chunk, ensemble, own, sizes) -> dict[str, jax.Array]:
        shared = (example_keys(config.seed, "measured", chunk["probed"]), chunk["x"], *sizes)
        return _by_arm(map_members(member, ensemble, own, shared=shared, how=how), count)

    shared = {"ensemble": trained, "own": own, "sizes": sizes}
    return run_stage(run, Stage("measured", work, _probed(probed), CHUNK["measured"], shared, "probed"), SCHEMA)


def measured_by_name(
    config, run: runs.Run, prepared: Setting, trained: Ensemble, names: Sequence[str], probed: Examples
) -> xr.Dataset:
    """config.measures at the probed images, of every arm's classifiers; noise is as large as in the first arm."""
    each, parts = config.num_members, []
    for number, name in enumerate(names):
        own = prepared._replace(ensemble=ensembles.take(trained, slice(number * each, (number + 1) * each)))
        inputs = np.broadcast_to(probed.x, (each, 1, *probed.x.shape))
        parts.append(works.measured(config, run, own, inputs, probed, MEASURED, suffix=f".{name}"))
    return xr.concat(parts, "arm", data_vars="minimal", coords="minimal", compat="override", join="exact")


def _budget(config) -> dict[str, Any]:
    return {name: config.search[name] for name in ("norm", "epsilon", "num_steps", "num_restarts")}


def attacked(config, run: runs.Run, prepared: Setting, trained: Ensemble, count: int, probed: Examples) -> xr.Dataset:
    """Whether each member is right on the image and on what the attack on it makes of the image."""
    apply, how = prepared.classifier.apply, ensembles.parse(config.mapping, ensembles.size(trained))

    def member(variables, keys, x, label):
        z = projected.multi_targeted(keys, variables, x, label, apply=apply, **_budget(config))
        right = [jnp.argmax(apply(variables, at), axis=-1) == label for at in (x, z)]
        return {"robust": right[0] & right[1]}

    def work(chunk, ensemble) -> dict[str, jax.Array]:
        keys = example_keys(config.seed, "attacked", chunk["probed"])
        shared = (keys, chunk["x"], chunk["true_label"])
        return _by_arm(map_members(member, ensemble, shared=shared, how=how), count)

    stage = Stage("attacked", work, _probed(probed), CHUNK["attacked"], {"ensemble": trained}, "probed")
    return run_stage(run, stage, SCHEMA)


def _audit(config, run: runs.Run, prepared: Setting, members: Ensemble) -> xr.Dataset:
    """The audit of the attack on members with and without the best move, on validation images."""
    images = setting.examples(prepared.dataset, "validation", config.audit.num_examples, config.seed)
    budget = Budget(**_budget(config), step_size=config.search.step_size)
    how = {"apply": prepared.classifier.apply, "mapping": config.mapping, "seed": config.seed}
    return audits.audit_stage_dataset(run, members, images, budget=budget, **how)


# ---- the time of a step ----


def timed(
    config, run: runs.Run, prepared: Setting, by_name: Mapping[str, Trial], coders: Sequence[Coder]
) -> xr.Dataset:
    """Seconds of a training step of one member on one device, arms in turns in every round."""
    names = [name for name in TIMED if name in by_name]

    def work() -> dict[str, Any]:
        programs = [_steps(config, prepared, by_name[name], coders) for name in names]
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


def _steps(config, prepared: Setting, trial: Trial, coders: Sequence[Coder]):
    """A function that takes some steps of training of one member."""
    plain = classifier_members.members_of(config)[0].hyper
    member, dataset = member_of(plain, 0, trial.how), prepared.dataset
    program = Program.of(member)
    coder = coders[program.layer] if program.kind == "coded" else None
    layers = arms.Layers.of(config, prepared.classifier.layers).direct
    augmented = program.loss(prepared.classifier, layers, config.train.precision, coder)
    context = () if coder is None else coder.contexts_of([0])
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
    config, run: runs.Run, prepared: Setting, moves: Sequence[Trial], coders: Sequence[Coder], test: Examples
) -> xr.Dataset:
    """Every test image moved as in training, in the members that are trained without moves: what they predict then,
    and which training images are nearest in the layer.

    Moved images of the first member are written to `moved_ARM.npz`, in [0, 1], for `--config.inputs` of flatness.
    """
    layers = arms.Layers.of(config, prepared.classifier.layers)
    training = setting.examples(prepared.dataset, "train", config.measure.num_points, config.seed)

    def work() -> dict[str, Any]:
        parts = [_of_move(config, prepared, move, coders, test, training) for move in moves]
        for move, part in zip(moves, parts, strict=True):
            images = part.pop("images")
            if move.layer(layers) == IMAGE:
                saved = {"x": images.clip(0, 1), "label": test.label, "origin": test.x}
                files.write_npz(run.directory / f"{MOVED}{move.arm}.npz", saved)
        found = {name: np.stack([part[name] for part in parts]) for name in parts[0]}
        return found | {"images": test.x[:NUM_SHOWN]}

    found = run_once(run, "moves", work, SCHEMA).assign_coords(probed=test.ids)
    return found.assign_coords(move=[move.arm for move in moves], side=list(SIDES), shown=test.ids[:NUM_SHOWN])


def batch_sums(config, run: runs.Run, prepared: Setting, test: Examples) -> xr.Dataset:
    """How far the gradients of batch_sum are from those of each image's own runner-up, in members trained plainly."""
    layers, classifier = arms.Layers.of(config, prepared.classifier.layers).direct, prepared.classifier
    size = min(BATCH, len(test.x))
    count = min(MOST, len(test.x)) // size * size
    names = ("batch_cosine", "batch_length", "own_length")

    def member(variables, x):
        def at_layer(layer):
            def of_batch(x):
                h = classifier.features(variables, x, layer)
                return batch_sum_beside_own(lambda h: classifier.head(variables, h, layer), h)

            return [value.ravel() for value in jax.lax.map(of_batch, x)]

        return {name: jnp.stack(v) for name, v in zip(names, zip(*map(at_layer, layers), strict=True), strict=True)}

    def work() -> dict[str, Any]:
        ensemble = ensembles.take(prepared.ensemble, np.flatnonzero(prepared.trained))
        how = ensembles.parse(config.mapping, ensembles.size(ensemble))
        program = jax.jit(lambda e, x: map_members(member, e, shared=(x,), how=how))
        found = program(ensemble, test.x[:count].reshape(-1, size, *test.x.shape[1:]))
        return {name: jnp.moveaxis(value, 1, 0) for name, value in found.items()}

    return run_once(run, "batch_sums", work, SCHEMA).assign_coords(direct=list(layers), batched=test.ids[:count])


def _of_move(
    config, prepared: Setting, move: Trial, coders: Sequence[Coder], test: Examples, training: Examples
) -> dict[str, np.ndarray]:
    classifier = prepared.classifier
    layer = move.layer(arms.Layers.of(config, classifier.layers))
    always = move.how._replace(probability=1.0, correct=0)
    coder = next((coder for coder in coders if coder.layer == layer), None)

    def member(variables, key, context, x, label, points):
        at = partial(classifier.head, variables, layer=layer)
        own = None if coder is None else (partial(coder.encode, context), partial(coder.decode, context))
        h, known = (x, points) if layer == IMAGE else (classifier.features(variables, v, layer) for v in (x, points))
        logits, out = at(h), moved(key, at, h, label, always, own if move.how.coded else None)
        after = jnp.argmax(at(out), axis=-1)
        (near, index), (near_after, index_after) = (nearest(flat(v), flat(known), 1) for v in (h, out))
        found = {"changed": after != jnp.argmax(logits, axis=-1), "to_runner_up": after == runner_up(logits)}
        found |= {"distance_before": near[:, 0], "distance_after": near_after[:, 0]}
        found |= {"before": index[:, 0], "after": index_after[:, 0], "moved": out if layer == IMAGE else x}
        for side, v in zip(SIDES, (x, out), strict=True):
            error = jnp.full(len(x), jnp.nan)
            if layer == IMAGE and own is not None:
                error = l2_norm(v - own[1](own[0](v)))
            found[f"error_{side}"] = error
        return found

    keys = jax.vmap(jax.random.fold_in, (None, 0))(
        stage_key(config.seed, "moves"), jnp.arange(config.num_members, dtype=jnp.uint32)
    )
    ensemble = ensembles.take(prepared.ensemble, np.flatnonzero(prepared.trained))
    how = ensembles.parse(config.mapping, config.num_members)
    program = jax.jit(lambda e, k, c, *shared: map_members(member, e, k, c, shared=shared, how=how))
    context = () if coder is None else coder.contexts_of(range(config.num_members))
    found = {k: np.asarray(v) for k, v in program(ensemble, keys, context, test.x, test.label, training.x).items()}
    before, after, images = (found.pop(name) for name in (*SIDES, "moved"))
    found["was_in_class"], found["stays_in_class"] = (training.label[i] == test.label[None] for i in (before, after))
    found["images"] = images[0]
    blank = np.full_like(images[0, :NUM_SHOWN], np.nan)
    found["pictures"] = images[0, :NUM_SHOWN] if layer == IMAGE else blank
    found["neighbors"] = np.stack([training.x[i[0, :NUM_SHOWN]] for i in (before, after)])
    return found
