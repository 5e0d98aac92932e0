"""What the experiment `shared` works with: attackers, held-out members, controls, and what they say of clean images.

Members 0 .. A - 1 are the *attackers*: searches see them. The trained ones behind them are *held out*: they judge, and
no search ever sees them; they may be of another architecture. Untrained members and members trained on shuffled labels
are *controls*: they judge too, and are told of by themselves. A trained member that has not learned, or that another
one is a copy of, is named by a check; one that has not learned is left out of every mean, as a control is.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from landscape import ensembles, objectives, runs
from landscape.ensembles import Mapping, map_members
from landscape.experiments import autoencoder_cells as cells
from landscape.experiments import setting
from landscape.experiments.autoencoder_cells import Cell, Layer
from landscape.experiments.setting import Examples, Setting
from landscape.models.classifiers import Classifier
from landscape.training import classifier_members
from landscape.types import Apply, Arrays, Ensemble, Variables

ATTACKER, HELD_OUT, UNLEARNED = "attacker", "held_out", "unlearned"
CONTROLS = ("untrained", "shuffled")
# A member has learned if its accuracy is above this share of the way from chance to the median of the trained ones.
LEARNED = 0.5


class Judges(NamedTuple):
    """Members that judge, a group for each architecture, one group after the other on the axis of judges.

    applies: (variables, x) -> logits of each group. groups: its members, [T_g, ...]. mapping: of the config.
    """

    applies: tuple[Apply, ...]
    groups: tuple[Ensemble, ...]
    mapping: str = "auto"

    def map(self, fn: Callable[..., Any], groups: tuple[Ensemble, ...], *shared: Any) -> Any:
        """fn(apply, variables, *shared) for every judge, results [T, ...]; `groups` are those of `self`, as arguments
        of the program that this is part of.
        """
        hows = [ensembles.parse(self.mapping, ensembles.size(group)) for group in groups]
        parts = [
            map_members(partial(fn, apply), group, shared=shared, how=how)
            for apply, group, how in zip(self.applies, groups, hows, strict=True)
        ]
        return jax.tree.map(lambda *part: jnp.concatenate(part), *parts)

    def one(self, number: int) -> tuple[Apply, Variables]:
        """(apply, variables) of one judge."""
        for apply, group in zip(self.applies, self.groups, strict=True):
            if number < ensembles.size(group):
                return apply, ensembles.take(group, number)
            number -= ensembles.size(group)
        raise IndexError(f"judge {number} beyond the last one")

    def take(self, chosen: np.ndarray) -> "Judges":
        """Some of the judges, by growing number."""
        ends = np.cumsum([0, *map(ensembles.size, self.groups)])
        rows = [chosen[(low <= chosen) & (chosen < high)] - low for low, high in pairwise(ends)]
        kept = [i for i, row in enumerate(rows) if len(row)]
        groups = tuple(ensembles.take(self.groups[i], rows[i]) for i in kept)
        return Judges(tuple(self.applies[i] for i in kept), groups, self.mapping)


class SharedSetting(NamedTuple):
    """All that searches and judgements are made of.

    Attributes:
      prepared: data, and the members of the attackers' architecture as they were trained. classifier: of attackers and
        controls. class_names: [K].
      attackers: [A, ...]. judges: all members, attackers first, then held-out ones and controls, T of them.
      names: what each judge is, "attacker", "held_out" or the kind of control, [T]. seeds: of each, [T].
      test, validation: images.
      how: mapping of the attackers.
    """

    prepared: Setting
    classifier: Classifier
    class_names: list[str]
    attackers: Ensemble
    judges: Judges
    names: np.ndarray
    seeds: np.ndarray
    test: Examples
    validation: Examples
    how: Mapping


def prepare(config, run: runs.Run) -> SharedSetting:
    """Restores or trains the members and draws the images."""
    count, model = config.num_attackers, config.held_out_model.to_dict()
    if model == config.model.to_dict():
        prepared: Setting = setting.prepare(config, run)
        members = prepared.members
        judges = Judges((prepared.classifier.apply,), (prepared.ensemble,), config.mapping)
    else:
        prepared = setting.prepare(setting.with_members(config, count), run)
        own, classifier = prepared.ensemble, setting.classifier_of(config, prepared.dataset, **model)
        other, about = _held_out(config, run, prepared, classifier, model)
        members = [*prepared.members[:count], *about, *prepared.members[count:]]
        controls = len(prepared.members) - count
        groups = [(prepared.classifier, ensembles.take(own, slice(count))), (classifier, other)]
        groups += [(prepared.classifier, ensembles.take(own, slice(count, None)))] if controls else []
        judges = Judges(tuple(c.apply for c, _ in groups), tuple(group for _, group in groups), config.mapping)
    kinds = [member["control"] for member in members]
    names = [ATTACKER if i < count else HELD_OUT if kind == "trained" else kind for i, kind in enumerate(kinds)]
    return SharedSetting(
        prepared,
        prepared.classifier,
        list(prepared.dataset.class_names),
        ensembles.take(prepared.ensemble, slice(count)),
        judges,
        np.asarray(names),
        np.asarray([member["seed"] for member in members]),
        setting.examples(prepared.dataset, "test", config.num_examples, config.seed),
        setting.examples(prepared.dataset, "validation", config.num_validation, config.seed),
        ensembles.parse(config.mapping, count),
    )


def _held_out(config, run: runs.Run, prepared: Setting, classifier: Classifier, model: dict):
    """Held-out members of another architecture, with the seeds that those of the attackers' own would have."""
    other = ConfigDict(config.to_dict())
    other.model = model
    members = classifier_members.members_of(other)
    if model["checkpoints"] and not model["finetune"]:  # files of their own, and what is trained beside them
        count = config.num_members - config.num_attackers
        members = [member._replace(seed=member.seed + config.num_attackers) for member in members[:count]]
    else:
        members = members[config.num_attackers : config.num_members]
    return classifier_members.ensemble(run, other, prepared.dataset, classifier, members, "training.held_out")


def manifold(config, run: runs.Run, shared: SharedSetting) -> tuple[Layer, Cell]:
    """The images as a layer, and the one autoencoder of them, of the first seed."""
    one = setting.with_members(config, 1)
    first = shared.prepared._replace(
        ensemble=ensembles.take(shared.attackers, slice(1)), members=shared.prepared.members[:1]
    )
    layer, family = cells.image_layer(one, first), config.manifold.family
    size = cells.size_of(config, family, config.autoencoder.dim)
    return layer, cells.train(one, run, shared.prepared, layer, family, size)


def clean(run: runs.Run, shared: SharedSetting) -> Arrays:
    """clean_prediction [target, example] and clean_margin (of the label, logits); validation_margin, of all classes'
    leads over the label's rivals on validation images, [target, validation_example]; role [target].
    """

    def judge(apply, variables, x, label, other, other_label):
        logits = apply(variables, x)
        margin = objectives.margin(logits, label)
        return jnp.argmax(logits, axis=-1), margin, objectives.margin(apply(variables, other), other_label)

    def work() -> Arrays:
        images = (*shared.test[:2], *shared.validation[:2])
        program = jax.jit(lambda groups, *s: shared.judges.map(judge, groups, *s))
        prediction, margin, held = program(shared.judges.groups, *map(jnp.asarray, images))
        return {
            "clean_prediction": (("target", "example"), np.asarray(prediction, np.int16)),
            "clean_margin": (("target", "example"), np.asarray(margin)),
            "validation_margin": (("target", "validation_example"), np.asarray(held)),
        }

    found = runs.once(run, "clean", work)
    right = (found["validation_margin"][1] > 0).mean(axis=1)
    return found | {"role": (("target",), roles(shared.names, right, len(shared.class_names)))}


def roles(names: np.ndarray, accuracy: np.ndarray, num_classes: int) -> np.ndarray:
    """What statistics take each target for: its name, "unlearned" where a trained one is hardly better than chance."""
    trained = np.isin(names, (ATTACKER, HELD_OUT))
    middle = LEARNED * np.median(accuracy[trained]) + (1 - LEARNED) / num_classes
    return np.where(trained & (accuracy < middle), UNLEARNED, names)
