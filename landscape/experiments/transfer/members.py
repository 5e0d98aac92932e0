"""Attackers, held-out classifiers and controls of a transfer run.

Members 0 .. A - 1 are the *attackers*: searches see them. The trained ones behind them are *held out*: no search ever
sees them; they may be of another architecture. Untrained members and members trained on shuffled labels are *controls*.
All of them are *targets*, on which examples are tried. Of a sweep each value has attackers and held-out classifiers of
its own, and all have the same controls.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from ml_collections import ConfigDict

from landscape import ensembles, runs
from landscape.data import Dataset
from landscape.ensembles import Mapping, map_members
from landscape.experiments import descriptions, setting, works
from landscape.experiments.base import TRAINED
from landscape.experiments.descriptions import Description, Layer
from landscape.experiments.setting import Examples, Setting
from landscape.experiments.transfer.estimates import ATTACKER, HELD_OUT
from landscape.files import UserError
from landscape.models.classifiers import Classifier
from landscape.training import classifier_members, trajectory
from landscape.types import Apply, Ensemble


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
        parts = [
            map_members(
                partial(fn, apply), group, shared=shared, how=ensembles.parse(self.mapping, ensembles.size(group))
            )
            for apply, group in zip(self.applies, groups, strict=True)
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

    def take(self, chosen: np.ndarray) -> "Targets":
        """Some of the targets, by growing number."""
        found, low = [], 0
        for apply, group in zip(self.applies, self.groups, strict=True):
            high = low + ensembles.size(group)
            rows = chosen[(low <= chosen) & (chosen < high)] - low
            found += [(apply, ensembles.take(group, rows))] if len(rows) else []
            low = high
        return Targets(*zip(*found, strict=True), self.mapping)


class Members(NamedTuple):
    """All that searches and trials are made of, of one kind of training.

    Attributes:
      prepared: data, and the members of the attackers' architecture as they were trained. classifier: of attackers and
        controls.
      attackers: [A, ...]. targets: all members, attackers first, then held-out ones and controls, T of them.
      roles: ATTACKER, HELD_OUT or the kind of control, [T]. seeds: of each, [T].
      test, validation: images. how: mapping of the attackers.
      training: hyperparameters of the attackers. suffix: of the names of stages, "" where nothing is swept.
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
    training: dict[str, float]
    suffix: str

    @property
    def held_out(self) -> Targets:
        """The held-out ones alone."""
        return self.targets.take(np.flatnonzero(self.roles == HELD_OUT))

    def images(self, count: int | None = None, dim: str = "example") -> xr.Dataset:
        """x and label of the first `count` test images (all where None) along `dim`, for a stage."""
        x = ((dim, "height", "width", "channel"), self.test.x[:count])
        return xr.Dataset({"x": x, "label": (dim, self.test.label[:count])}, {dim: self.test.ids[:count]})


def walks(config) -> bool:
    """Whether a guide set draws from trajectories."""
    return "guides" in config.parts and bool({"trajectory", "swag"} & set(config.guides.sets))


def check(config, dataset: Dataset) -> None:
    """Refuses a data set with too few images, or images that the autoencoder does not fit."""
    works.check(config, dataset)
    trajectory.check(config, dataset, used=walks(config))
    if {"geometry", "between"} & {*config.parts}:
        descriptions.check_manifold(config, dataset)
    count, wanted = len(dataset.splits["train"]), config.geometry.num_neighbors
    if "geometry" in config.parts and wanted > count:
        raise UserError(f"geometry.num_neighbors={wanted}: expected at most the {count} training images; try 10")


def prepare(config, run: runs.Run) -> list[Members]:
    """Restores or trains the members and draws the images: those of each kind of training."""
    count, model = config.num_attackers, config.held_out_model.to_dict()
    same = model == config.model.to_dict()
    prepared = setting.prepare(config if same else setting.with_members(config, count), run, partial(check, config))
    own = (prepared.classifier.apply, prepared.ensemble, prepared.members)
    other = own if same else _held_out(config, run, prepared, model)
    images = [
        setting.examples(prepared.dataset, split, number, config.seed)
        for split, number in (("test", config.num_examples), ("validation", config.num_validation))
    ]
    swept, found = [name for name, values in config.sweep.items() if len(values) > 1], []

    def kind_of(member: dict) -> tuple[float, ...] | None:
        """The swept values that a member was trained with, None of a control."""
        return tuple(member[name] for name in swept) if member["control"] == "trained" else None

    for kind in dict.fromkeys(filter(lambda kind: kind is not None, map(kind_of, prepared.members))):
        groups, about = [], []
        for (apply, ensemble, members), wanted in (
            [(own, (kind, None))] if same else [(own, (kind,)), (other, (kind,)), (own, (None,))]
        ):
            rows = [i for i, member in enumerate(members) if kind_of(member) in wanted]
            groups += [(apply, ensembles.take(ensemble, np.asarray(rows)))] if rows else []
            about += [members[i] for i in rows]
        roles = [ATTACKER] * count + [HELD_OUT if m["control"] == "trained" else m["control"] for m in about[count:]]
        of_kind = Members(
            prepared,
            prepared.classifier,
            ensembles.take(groups[0][1], slice(count)),
            Targets(*zip(*groups, strict=True), config.mapping),
            np.asarray(roles),
            np.asarray([member["seed"] for member in about]),
            *images,
            ensembles.parse(config.mapping, count),
            {name: about[0][name.removeprefix("train_")] for name in TRAINED},
            "".join(f".{name}_{value:g}" for name, value in zip(swept, kind, strict=True)),
        )
        found.append(of_kind)
    return found


def _held_out(config, run: runs.Run, prepared: Setting, model: dict) -> tuple[Apply, Ensemble, list[dict]]:
    """Held-out members of another architecture, with the seeds that those of the attackers' own would have."""
    classifier = setting.classifier_of(config, prepared.dataset, **model)
    other, count = ConfigDict(config.to_dict()), config.num_attackers
    other.model = model
    members = [member for member in classifier_members.members_of(other) if member.control == "trained"]
    if model["checkpoints"] and not model["finetune"]:  # files of their own, and what is trained beside them
        members = [m._replace(seed=m.seed + count) for m in members[: config.num_members - count]]
    else:
        members = [member for member in members if member.seed >= count]
    found = classifier_members.ensemble(run, other, prepared.dataset, classifier, members, "training.held_out")
    return classifier.apply, *found


def manifold(config, run: runs.Run, members: Members) -> tuple[Layer, Description]:
    """The images as a layer, and the one autoencoder of them, of the first seed."""
    return descriptions.of_images(config, run, members.prepared._replace(ensemble=members.attackers))
