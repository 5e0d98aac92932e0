"""Attackers, held-out classifiers and controls of a transfer run.

Members 0 .. A - 1 are the *attackers*: searches see them. The trained ones behind them are *held out*: no search ever
sees them; they may be of another architecture. Untrained members and members trained on shuffled labels are *controls*.
All of them are *targets*, on which examples are tried.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from ml_collections import ConfigDict

from landscape import ensembles, runs
from landscape.ensembles import Mapping, map_members
from landscape.experiments import descriptions, setting
from landscape.experiments.descriptions import Description, Layer
from landscape.experiments.setting import Examples, Setting
from landscape.experiments.transfer.estimates import ATTACKER, HELD_OUT
from landscape.models.classifiers import Classifier
from landscape.training import classifier_members
from landscape.types import Apply, Ensemble, Variables


class Targets(NamedTuple):
    """Classifiers that examples are tried on, a group for each architecture, one after the other on the target axis.

    applies: (variables, x) -> logits of each group. groups: its members, [T_g, ...]. mapping: of the config.
    """

    applies: tuple[Apply, ...]
    groups: tuple[Ensemble, ...]
    mapping: str = "auto"

    def map(self, fn: Callable[..., Any], groups: tuple[Ensemble, ...], *shared: Any) -> Any:
        """fn(apply, variables, *shared) of every target, results [T, ...]; `groups` are those of `self`, as arguments
        of the program that this is part of.
        """
        hows = [ensembles.parse(self.mapping, ensembles.size(group)) for group in groups]
        parts = [
            map_members(partial(fn, apply), group, shared=shared, how=how)
            for apply, group, how in zip(self.applies, groups, hows, strict=True)
        ]
        return jax.tree.map(lambda *part: jnp.concatenate(part), *parts)

    def predict(self, groups: tuple[Ensemble, ...], images: jax.Array) -> jax.Array:
        """The class that every target predicts for images [..., N, H, W, C]: [T, ..., N]."""

        def one(apply, variables, flat):
            return jax.lax.map(lambda x: jnp.argmax(apply(variables, x), axis=-1), flat)

        found = self.map(one, groups, images.reshape(-1, *images.shape[-4:]))
        return found.reshape(found.shape[0], *images.shape[:-3])

    def errs(self, groups: tuple[Ensemble, ...], images: jax.Array, label: jax.Array) -> jax.Array:
        """Whether every target errs on images [..., N, H, W, C] of labels [N]: [T, ..., N]."""
        found = self.predict(groups, images)
        return found != jnp.broadcast_to(label, found.shape)

    def one(self, number: int) -> tuple[Apply, Variables]:
        """(apply, variables) of one target."""
        for apply, group in zip(self.applies, self.groups, strict=True):
            if number < ensembles.size(group):
                return apply, ensembles.take(group, number)
            number -= ensembles.size(group)
        raise IndexError(f"target {number} beyond the last one")

    def take(self, chosen: np.ndarray) -> "Targets":
        """Some of the targets, by growing number."""
        ends = np.cumsum([0, *map(ensembles.size, self.groups)])
        rows = [chosen[(low <= chosen) & (chosen < high)] - low for low, high in pairwise(ends)]
        kept = [i for i, row in enumerate(rows) if len(row)]
        groups = tuple(ensembles.take(self.groups[i], rows[i]) for i in kept)
        return Targets(tuple(self.applies[i] for i in kept), groups, self.mapping)


class Members(NamedTuple):
    """All that searches and trials are made of.

    Attributes:
      prepared: data, and the members of the attackers' architecture as they were trained. classifier: of attackers and
        controls.
      attackers: [A, ...]. targets: all members, attackers first, then held-out ones and controls, T of them.
      roles: ATTACKER, HELD_OUT or the kind of control, [T]. seeds: of each, [T].
      test, validation: images. how: mapping of the attackers.
    """

    prepared: Setting
    classifier: Classifier
    attackers: Ensemble
    targets: Targets
    roles: np.ndarray
    seeds: np.ndarray
    test: Examples
    validation: Examples
    how: Mapping

    @property
    def held_out(self) -> Targets:
        """The held-out ones alone."""
        return self.targets.take(np.flatnonzero(self.roles == HELD_OUT))

    def images(self, count: int, dim: str = "example") -> xr.Dataset:
        """x and label of the first `count` test images along `dim`, for a stage."""
        x = ((dim, "height", "width", "channel"), self.test.x[:count])
        return xr.Dataset({"x": x, "label": (dim, self.test.label[:count])}, {dim: self.test.ids[:count]})


def prepare(config, run: runs.Run) -> Members:
    """Restores or trains the members and draws the images."""
    count, model = config.num_attackers, config.held_out_model.to_dict()
    if model == config.model.to_dict():
        prepared: Setting = setting.prepare(config, run)
        members = prepared.members
        targets = Targets((prepared.classifier.apply,), (prepared.ensemble,), config.mapping)
    else:
        prepared = setting.prepare(setting.with_members(config, count), run)
        own, classifier = prepared.ensemble, setting.classifier_of(config, prepared.dataset, **model)
        other, about = _held_out(config, run, prepared, classifier, model)
        members = [*prepared.members[:count], *about, *prepared.members[count:]]
        controls = len(prepared.members) - count
        groups = [(prepared.classifier, ensembles.take(own, slice(count))), (classifier, other)]
        groups += [(prepared.classifier, ensembles.take(own, slice(count, None)))] if controls else []
        targets = Targets(tuple(c.apply for c, _ in groups), tuple(group for _, group in groups), config.mapping)
    kinds = [member["control"] for member in members]
    roles = [ATTACKER if i < count else HELD_OUT if kind == "trained" else kind for i, kind in enumerate(kinds)]
    return Members(
        prepared,
        prepared.classifier,
        ensembles.take(prepared.ensemble, slice(count)),
        targets,
        np.asarray(roles),
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


def manifold(config, run: runs.Run, members: Members) -> tuple[Layer, Description]:
    """The images as a layer, and the one autoencoder of them, of the first seed."""
    one = setting.with_members(config, 1)
    first = members.prepared._replace(
        ensemble=ensembles.take(members.attackers, slice(1)), members=members.prepared.members[:1]
    )
    layer, family = descriptions.image_layer(one, first), config.manifold.family
    size = descriptions.size_of(config, family, config.autoencoder.dim)
    return layer, descriptions.train(one, run, members.prepared, layer, family, size)
