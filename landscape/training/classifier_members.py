"""Classifiers as members: their hyperparameters, task, identity, and the ensemble that a config asks for."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from landscape import data, ensembles, files, presets, runs, samplers
from landscape.data import Dataset
from landscape.models import classifiers, repair
from landscape.models.classifiers import Classifier
from landscape.models.pretrained import Imported
from landscape.presets.resolve import ARCHITECTURE
from landscape.training import artifacts, augmentation, imported, loop
from landscape.training.adversarial import Attack, hardest
from landscape.training.members import CONTROLS, Member, grid
from landscape.training.step import Task
from landscape.types import Ensemble, Labels, Logits

KIND = "classifier"
VERSION = 3  # raised whenever the same identity would train to other weights
SCORED = "validation_accuracy"
SCHEDULE = ("num_epochs", "batch_size", "optimizer")  # of `config.train`, the same for all members
# Hyperparameters that may be 0, which leaves out what they are of: it costs nothing and draws nothing.
OPTIONAL = ("input_noise", "weight_noise", "warmup_epochs", "ema", "crop", "flip", "adversarial_epsilon")
AUGMENTED = 24  # what the key of a step is folded with for an augmented loss


class Hyper(NamedTuple):
    """Hyperparameters that change no shape: numbers of one member, or arrays [S] along the member axis.

    Attributes:
      learning_rate: at its highest; it falls to 0 along half a cosine.
      weight_decay: of kernels; multiplied by the learning rate at each step. See `step.optimizer`.
      label_smoothing: share of the target spread evenly over all classes.
      input_noise: standard deviation of Gaussian noise on the training images, pixels in [0, 1].
      weight_noise: standard deviation of multiplicative Gaussian noise on the weights, fresh at each step.
      momentum: of SGD, Nesterov's; AdamW does not read it.
      warmup_epochs: in which the learning rate rises, before it falls.
      ema: decay of the exponential average of weights that is then kept; see `step.next_average`.
      crop: pixels of zeros on each side of which a random crop is taken. flip: probability of a mirrored image.
      adversarial_epsilon: radius of adversarial training, pixels in [0, 1]; see `adversarial.hardest`.
    """

    learning_rate: ArrayLike
    weight_decay: ArrayLike
    label_smoothing: ArrayLike
    input_noise: ArrayLike
    weight_noise: ArrayLike
    momentum: ArrayLike = 0.9
    warmup_epochs: ArrayLike = 0.0
    ema: ArrayLike = 0.0
    crop: ArrayLike = 0.0
    flip: ArrayLike = 0.0
    adversarial_epsilon: ArrayLike = 0.0


def members_of(config, classifier: Classifier | None = None) -> list[Member]:
    """Trained members, every swept value for every seed (seeds fastest), then untrained and shuffled controls.

    Controls take the hyperparameters of `config.train`, and the seeds 0, 1, ... again; a `classifier` without init has
    none. With checkpoints, seed i is file i and those behind the files are trained; or, to be finetuned, every seed
    starts from file i mod the number of files.
    """
    section = config.train.to_dict() | {"adversarial_epsilon": config.train.adversarial.epsilon}
    base = Hyper(*(float(section[name]) for name in Hyper._fields))
    controls = [
        Member(seed, control, base) for control in CONTROLS[1:] for seed in range(config.control_members[control])
    ]
    if classifier is not None and classifier.init is None:
        controls = []
    trained = grid(base, config.sweep.to_dict(), config.num_members)
    count = len(config.model.checkpoints)
    if count and config.model.finetune:
        return [member._replace(file=member.seed % count) for member in trained] + controls
    files_first = [Member(seed, "trained", base, file=seed) for seed in range(min(count, config.num_members))]
    return files_first + [member for member in trained if member.seed >= count] + controls


def cross_entropy(logits: Logits, label: Labels, smoothing: Float[Array, ""]) -> Float[Array, ""]:
    """Mean over the batch of -sum_k q_k log p_k, q = (1 - smoothing) onehot + smoothing / K. Nats."""
    log_probs = jax.nn.log_softmax(logits)
    own = jnp.take_along_axis(log_probs, label[:, None], axis=-1)[:, 0]
    return -jnp.mean((1 - smoothing) * own + smoothing * jnp.mean(log_probs, axis=-1))


@functools.lru_cache(maxsize=16)  # the same task gives the same compiled program
def task_of(
    classifier: Classifier,
    used: tuple[str, ...] = (),
    precision: str = "float32",
    attack: Attack | None = None,
    augmented: Callable | None = None,
) -> Task:
    """Cross-entropy of labels; scored by accuracy, in float32.

    used: of OPTIONAL, what the members have above 0; nothing is drawn for what is not in it. precision: of steps, from
    `classifiers.PRECISIONS`. attack: how images are attacked where "adversarial_epsilon" is used. augmented: the loss
    in the place of that of the images, (variables, context, key, x, label, hyper) -> (loss, batch_stats), see
    `augmented_members`.
    """
    apply, train_apply = classifiers.in_precision(classifier, precision)
    statistics_of = repair.statistics_of(classifier._replace(train_apply=train_apply))

    def shown(variables, key, x, label, hyper):
        """The weights and the images of a step: augmented, attacked, with noise."""
        # The first two are those of `split(key)`, whatever follows.
        key_input, key_weight, key_crop, key_flip, key_attack = jax.random.split(key, 5)
        if "weight_noise" in used:
            variables = samplers.perturb(key_weight, variables, hyper.weight_noise, kind="multiplicative")
        if "crop" in used:
            x = augmentation.random_crop(key_crop, x, hyper.crop)
        if "flip" in used:
            x = augmentation.random_flip(key_flip, x, hyper.flip)
        if "adversarial_epsilon" in used:
            x = hardest(key_attack, variables, x, label, hyper.adversarial_epsilon, apply=apply, attack=attack)
        if "input_noise" in used:  # drawn flat: see models.classifiers
            x = x + hyper.input_noise * jax.random.normal(key_input, (x.size,)).reshape(x.shape)
        return variables, x

    def loss(variables, context, key, x, label, hyper):
        variables, x = shown(variables, key, x, label, hyper)
        if augmented is None:
            logits, batch_stats = train_apply(variables, x)
            value = cross_entropy(logits, label, hyper.label_smoothing)
        else:
            value, batch_stats = augmented(variables, context, jax.random.fold_in(key, AUGMENTED), x, label, hyper)
        return value, {"batch_stats": batch_stats} if batch_stats else {}

    def statistics(variables, context, key, x, label, hyper):
        variables = statistics_of(*shown(variables, key, x, label, hyper))
        return {name: variables[name] for name in variables if name != "params"}

    def right(variables, context, x, label):
        return jnp.argmax(classifier.apply(variables, x), axis=-1) == label

    return Task(classifier.init, loss, right, SCORED, statistics)


def identity(config, dataset: Dataset, member: Member) -> dict[str, Any]:
    """Everything the weights of a member depend on, as JSON values; what its hash is taken of.

    Not in it: how many members there are, how they are mapped, devices, paths and versions of libraries.
    """
    mean, std = statistics_of(config, dataset)
    training = {"control": member.control}
    if member.file is not None:
        training |= {"file": config.model.checksums[member.file]}
    if member.control != "untrained" and not imported.is_imported(config, member):
        training |= {name: config.train[name] for name in (*SCHEDULE, "precision")}
        training |= member.hyper._asdict()
        if "adversarial_epsilon" in used_by(member):
            training |= attack_of(config)._asdict()
    return {
        **artifacts.common_identity(config, dataset, member),
        "kind": KIND,
        "preprocessing": {"mean": mean, "std": std},
        "model": {name: config.model[name] for name in (*ARCHITECTURE, "code") if name in config.model}
        | {"num_classes": len(dataset.class_names)},
        "training": training,
        "training_version": VERSION,
    }


def statistics_of(config, dataset: Dataset) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation that pixels are normalised by: the config's, or those of the training images."""
    mean, std = tuple(config.model.mean), tuple(config.model.std)
    channels = dataset.images.shape[-1]
    if len(mean) not in (0, 1, channels):
        raise files.UserError(
            f"model.mean={mean}: expected {channels} numbers, one a channel of the data, or one for all; leave it out "
            "to take those of the training images"
        )
    return (mean, std) if mean else data.moments(dataset)


def ensemble(
    run: runs.Run,
    config,
    dataset: Dataset,
    classifier: Classifier,
    members: Sequence[Member] | None = None,
    stage: str = "training",
) -> tuple[Ensemble, list[dict]]:
    """All members a config asks for, or some of them: restored where they exist, the missing ones trained together.

    Args:
      run: the open run; its `artifacts` is the directory of all trained members.
      config: with `seed`, `model`, `train`, `sweep`, `num_members`, `control_members`, `mapping`.
      dataset, classifier: of that config.
      members: of `members_of`; all of them where None.
      stage: name of the training in progress and metrics.

    Returns:
      (ensemble [S_total, ...], one dict a member: seed, control and every hyperparameter; with files, `file`).

    Raises:
      UserError: files that do not fit, or a classifier that breaks `models.contract`; training met a loss that is not
        finite.
      runs.Interrupted: a signal came while training; the same command goes on.
    """
    members = members_of(config, classifier) if members is None else members
    imported.refuse_untrainable(config.model.name, classifier, members)
    found = imported.read(config, classifier, dataset, members)
    if presets.is_own(config.model.name):
        imported.check_own(config, classifier, dataset, found, members)
    own = [member for member in members if not imported.is_imported(config, member)]
    _refuse_wide_crops(own, min(dataset.images.shape[1:3]))
    parts = []
    if len(own) < len(members):
        as_files = [member for member in members if imported.is_imported(config, member)]
        parts.append(ensembles.stack([found[member.file].variables for member in as_files]))
        imported.check_accuracy(run, config, classifier, dataset, as_files, parts[0])
    if own:
        parts.append(_trained(run, config, dataset, classifier, own, stage, found))
    variables = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts) if len(parts) > 1 else parts[0]
    return variables, [_about(config, member) for member in members]


def _refuse_wide_crops(members: Sequence[Member], side: int) -> None:
    """Refuses crops that would hold zeros alone."""
    widest = max((member.hyper.crop for member in members), default=0)
    if widest >= side:
        raise files.UserError(
            f"train.crop={widest:g}: expected less than {side} pixels, the shorter side of the images; try {side // 8}"
        )


def _about(config, member: Member) -> dict[str, Any]:
    """What is saved of a member: seed, control and hyperparameters, and where files come in, the file's path."""
    paths = config.model.checkpoints
    file = {"file": "" if member.file is None else paths[member.file]} if paths else {}
    return {"seed": member.seed, "control": member.control, **member.hyper._asdict(), **file}


def _trained(
    run: runs.Run,
    config,
    dataset: Dataset,
    classifier: Classifier,
    members: Sequence[Member],
    stage: str,
    found: dict[int, Imported],
) -> Ensemble:
    """The members that are trained: restored, or trained together, from the weights that were found in files."""
    about = [identity(config, dataset, member) for member in members]
    like = imported.structure_of(config, classifier, dataset)
    like = next(iter(found.values())).variables if like is None else like
    schedule = {name: config.train[name] for name in SCHEDULE} | {"seed": config.seed}

    def train(missing: Sequence[int], keep: artifacts.Keep) -> None:
        untrained = [i for i in missing if members[i].control == "untrained"]
        # Members that use other parts come apart: their programs differ, and so may last bits.
        for used in sorted({used_by(members[i]) for i in missing if i not in untrained}):
            artifacts.train_together(
                run,
                dataset,
                task_of(classifier, used, config.train.precision, attack_of(config)),
                members,
                about,
                [i for i in missing if i not in untrained and used_by(members[i]) == used],
                keep,
                stage=".".join((stage, *used)),
                mapping=config.mapping,
                used=used,
                starts=starts,
                **schedule,
            )
        if untrained:
            chosen = [members[i] for i in untrained]
            keep(untrained, initial(chosen), {})

    def initial(chosen: Sequence[Member]) -> Ensemble:
        how = ensembles.parse(config.mapping, len(chosen))
        return loop.initialise(chosen, dataset, task_of(classifier), seed=config.seed, how=how)

    def starts(chosen: Sequence[Member]) -> Ensemble | None:
        return imported.starts(chosen, found, None if classifier.init is None else initial)

    return artifacts.ensemble(run, stage, about, like, train)


def curves(run: runs.Run, config, dataset: Dataset, classifier: Classifier | None = None) -> dict[str, np.ndarray]:
    """Training curves of the members of `ensemble`, which has run before, by name; NaN for untrained ones. [S, E]."""
    members = members_of(config, classifier)
    found = np.full((2, len(members), config.train.num_epochs), np.nan, np.float32)
    for s, member in enumerate(members):
        if imported.is_imported(config, member):
            continue
        saved = artifacts.curves_of(run, identity(config, dataset, member))
        if saved:
            found[:, s] = saved["train_loss"], saved[SCORED]
    return {"train_loss": found[0], SCORED: found[1]}


def attack_of(config) -> Attack:
    """The attack of adversarial training."""
    section = config.train.adversarial
    return Attack(section.norm, section.num_steps, float(section.step_size))


def used_by(member: Member) -> tuple[str, ...]:
    """What of OPTIONAL a member is trained with."""
    return tuple(name for name in OPTIONAL if getattr(member.hyper, name) > 0)
