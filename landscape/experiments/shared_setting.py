"""What the experiment `shared` works with: attackers, held-out members, controls, and what they say of clean images.

Members 0 .. A - 1 are the *attackers*: searches see them. The trained ones behind them are *held out*: they judge, and
no search ever sees them. Untrained members and members trained on shuffled labels are *controls*: they judge too, and
are told of by themselves. A trained member that has not learned, or that another one is a copy of, is named by a check;
one that has not learned is left out of every mean, as a control is.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from landscape import ensembles, objectives, runs
from landscape.ensembles import Mapping, map_members
from landscape.experiments import setting
from landscape.experiments.setting import Examples, Setting
from landscape.models.classifiers import Classifier
from landscape.types import Arrays, Ensemble

ATTACKER, HELD_OUT, UNLEARNED = "attacker", "held_out", "unlearned"
# A member has learned if its accuracy is above this share of the way from chance to the median of the trained ones.
LEARNED = 0.5


class SharedSetting(NamedTuple):
    """All that searches and judgements are made of.

    Attributes:
      prepared: data, and all members as they were trained. classifier: of all members. class_names: [K].
      attackers: [A, ...]. targets: all members, attackers first, then held-out ones and controls, [T, ...].
      names: what each target is, "attacker", "held_out" or the kind of control, [T]. seeds: of each, [T].
      test, validation: images.
      how: mapping of the attackers. how_targets: of all members.
    """

    prepared: Setting
    classifier: Classifier
    class_names: list[str]
    attackers: Ensemble
    targets: Ensemble
    names: np.ndarray
    seeds: np.ndarray
    test: Examples
    validation: Examples
    how: Mapping
    how_targets: Mapping


def prepare(config, run: runs.Run) -> SharedSetting:
    """Restores or trains the members and draws the images."""
    prepared: Setting = setting.prepare(config, run)
    count = config.num_attackers
    kinds = [member["control"] for member in prepared.members]
    names = [ATTACKER if i < count else HELD_OUT if kind == "trained" else kind for i, kind in enumerate(kinds)]
    return SharedSetting(
        prepared,
        prepared.classifier,
        list(prepared.dataset.class_names),
        ensembles.take(prepared.ensemble, slice(count)),
        prepared.ensemble,
        np.asarray(names),
        np.asarray([member["seed"] for member in prepared.members]),
        setting.examples(prepared.dataset, "test", config.num_examples, config.seed),
        setting.examples(prepared.dataset, "validation", config.num_validation, config.seed),
        ensembles.parse(config.mapping, count),
        prepared.how,
    )


def clean(run: runs.Run, shared: SharedSetting) -> Arrays:
    """clean_prediction [target, example] and clean_margin (of the label, logits); validation_margin, of all classes'
    leads over the label's rivals on validation images, [target, validation_example]; role [target].
    """
    apply = shared.classifier.apply

    def judge(variables, x, label, other, other_label):
        logits = apply(variables, x)
        margin = objectives.margin(logits, label)
        return jnp.argmax(logits, axis=-1), margin, objectives.margin(apply(variables, other), other_label)

    def work() -> Arrays:
        images = (*shared.test[:2], *shared.validation[:2])
        program = jax.jit(lambda e, *s: map_members(judge, e, shared=s, how=shared.how_targets))
        prediction, margin, held = program(shared.targets, *map(jnp.asarray, images))
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
