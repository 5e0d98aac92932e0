"""The stages of a transfer run: what all say of clean images, every attack of every attacker tried on every target,
gradients, audit, searches against all attackers; then guides, local geometry and lines between classes.
"""

from collections.abc import Mapping
from functools import partial
from itertools import groupby
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from landscape import ensembles, objectives, runs
from landscape.attacks import joint, projected
from landscape.attacks.joint import LENGTH
from landscape.attacks.projected import Budget, equal_norm_noise
from landscape.ensembles import Rows, map_members, over_examples
from landscape.experiments import audits
from landscape.experiments.base import Quantity, Schema, Stage, run_once, run_stage
from landscape.experiments.setting import Examples, example_keys, targets_of
from landscape.experiments.transfer import EXPERIMENT, IMAGE, geometry, guides, members
from landscape.experiments.transfer.config import Attack, attacks_of
from landscape.experiments.transfer.members import Members
from landscape.objectives import JOINT
from landscape.spaces import l2_norm

AUDITED = 4  # attackers
PICTURED = 48  # images of the headline's attack
JOINTLY_PICTURED = 24
NORM = "linf"  # of searches against all attackers
SEARCHES = {"full": projected.pgd, "first_flip": projected.first_flip, "targeted": projected.targeted_pgd}

Chunk = Mapping[str, jax.Array]


def compute(config, run: runs.Run) -> xr.Dataset:
    """Every array of a run; what is on disk is not computed again."""
    prepared = members.prepare(config, run)
    needed = {"geometry", "between"} & set(config.parts) or "manifold" in config.guides.searches
    layer, cell = members.manifold(config, run, prepared) if needed else (None, None)
    attacks = attacks_of(config)
    first = clean(run, prepared)
    parts = [first, transfer(config, run, prepared, attacks), gradients(config, run, prepared)]
    parts.append(audit(config, run, prepared, attacks))
    if "joint" in config.parts:
        parts.append(against_all(config, run, prepared))
    if "guides" in config.parts:
        parts.append(guides.guided(config, run, prepared, cell))
    if "geometry" in config.parts:
        parts.append(geometry.measured(config, run, prepared, layer, cell))
    if "between" in config.parts:
        parts.append(geometry.between(config, run, prepared, cell, first))
    data = xr.merge(parts, combine_attrs="drop_conflicts").assign_coords(coordinates(config, prepared))
    return data.assign_attrs(epsilon=attacks[0].epsilon, norm=attacks[0].norm)


def coordinates(config, prepared: Members) -> dict[str, Any]:
    """Coordinates of sources, targets and classes."""
    attackers = prepared.seeds[: config.num_attackers]
    held_out = {"held_out": np.flatnonzero(prepared.roles == "held_out")}
    return {
        "source": attackers,
        "other": attackers,
        "target": np.arange(len(prepared.roles)),
        "target_seed": ("target", prepared.seeds),
        "role": ("target", prepared.roles),
        "class": list(prepared.prepared.dataset.class_names),
        **(held_out if {"guides", "geometry"} & set(config.parts) else {}),
    }


def with_all_pictures(name: str, dim: str) -> Schema:
    """The schema of a stage that makes a picture of every image; few of them are kept."""
    return EXPERIMENT.schema | {name: Quantity((dim, *IMAGE), *EXPERIMENT.schema[name][1:])}


def few_pictures(data: xr.Dataset, name: str, dim: str, count: int) -> xr.Dataset:
    """The same with pictures of the first `count` images alone."""
    few = data[name].isel({dim: slice(count)}).drop_vars(dim).rename({dim: EXPERIMENT.schema[name].dims[0]})
    return data.drop_vars(name).assign({name: few})


def clean(run: runs.Run, prepared: Members) -> xr.Dataset:
    """What every target says of the clean test images, and its margins on validation images."""

    def target(apply, variables, x, label, other, other_label):
        logits = apply(variables, x)
        margin = objectives.margin(logits, label)
        return jnp.argmax(logits, axis=-1), margin, objectives.margin(apply(variables, other), other_label)

    def work() -> dict[str, Any]:
        images = (*prepared.test[:2], *prepared.validation[:2])
        program = jax.jit(lambda groups, *s: prepared.targets.map(target, groups, *s))
        prediction, margin, other = program(prepared.targets.groups, *map(jnp.asarray, images))
        found = {"clean_prediction": prediction.astype(jnp.int16), "clean_margin": margin, "validation_margin": other}
        return found | {"label": prepared.test.label}

    return run_once(run, "clean", work, EXPERIMENT.schema).assign_coords(example=prepared.test.ids)


# ---- attacks ----


def transfer(config, run: runs.Run, prepared: Members, attacks: list[Attack]) -> xr.Dataset:
    """Every attack on the test images, tried on every target; a stage for each kind and norm, with all its radii."""
    images = prepared.images(len(prepared.test.label))
    aim = targets_of(prepared.test.label, len(prepared.prepared.dataset.class_names), config.seed)
    images["aim"] = ("example", aim)
    shared = {"attackers": prepared.attackers, "groups": prepared.targets.groups}
    parts = []
    for (kind, norm), own in groupby(attacks, lambda attack: attack[1:3]):
        own = list(own)
        epsilons = jnp.asarray([attack.epsilon for attack in own], jnp.float32)
        work = attacked(config, prepared, kind, norm, picture=not parts)
        stage = Stage(f"transfer.{kind}.{norm}", work, images, config.chunk, shared | {"epsilons": epsilons})
        found = run_stage(run, stage, with_all_pictures("picture", "example"))
        about = {name: ("attack", [attack[i] for attack in own]) for i, name in enumerate(Attack._fields) if i}
        parts.append(found.assign_coords(attack=[attack.name for attack in own], **about))
    first = few_pictures(parts[0], "picture", "example", PICTURED)
    parts[0] = first.drop_vars("picture")
    pictures = xr.Dataset({"picture": first.picture, "picture_start": images.x[:PICTURED].drop_vars("example").rename(
        example="shown")})  # fmt: skip
    return xr.concat(parts, "attack").merge(pictures).assign(aim=("example", aim))


def attacked(config, prepared: Members, kind: str, norm: str, *, picture: bool):
    """chunk -> what becomes of the examples of one kind and norm at all radii, beside noise of their norms."""
    apply, search = prepared.classifier.apply, SEARCHES[kind]

    def one(variables, x, label, aim, keys, epsilons):
        def within(epsilon):
            budget = {"norm": norm, "epsilon": epsilon, "step_size": config.transfer.step * epsilon}
            budget |= {"num_restarts": config.transfer.num_restarts} if kind == "full" else {}
            toward = aim if kind == "targeted" else label
            return search(keys, variables, x, toward, apply=apply, num_steps=config.transfer.num_steps, **budget)

        return jnp.moveaxis(jax.lax.map(within, epsilons), 0, 1)

    def work(chunk: Chunk, attackers, groups, epsilons) -> dict[str, jax.Array]:
        x, label = chunk["x"], chunk["label"]
        keys, noise_keys = (example_keys(config.seed, n, chunk["example"]) for n in ("transfer", "transfer.noise"))
        rows = (*map(Rows, (x, label, chunk["aim"], keys)), epsilons)
        found = jnp.moveaxis(map_members(one, attackers, shared=rows, how=prepared.how), 2, 0)  # attack, source, ...
        delta = found - x[None, None]
        flat = delta.reshape(-1, *x.shape)
        length = jax.lax.map(LENGTH[norm], flat)
        noise = jax.lax.map(partial(equal_norm_noise, noise_keys, x, norm=norm), length).reshape(found.shape)
        length = length.reshape(found.shape[:3])
        another = jax.vmap(jax.random.fold_in, (0, None))(noise_keys, 1)
        again = jax.lax.map(partial(equal_norm_noise, another, x, norm=norm), length[:, 0])
        both = jnp.stack([noise[:, 0], again], axis=1) - x[None, None]
        arrays = {
            "prediction": jnp.moveaxis(prepared.targets.predict(groups, found), 0, 2).astype(jnp.int16),
            "noise_wrong": jnp.moveaxis(prepared.targets.errs(groups, noise, label), 0, 2),
            "perturbation_norm": length,
            "perturbation_cosine": jax.lax.map(cosines, delta),
            "random_cosine": jax.lax.map(cosines, both)[:, 0, 1],
        }
        return arrays | ({"picture": found[0, 0]} if picture else {})

    return work


def cosines(delta: Float[Array, "S N ..."]) -> Float[Array, "S S N"]:
    """Cosine between the perturbations of every two members, image by image; 0 where one has none."""
    flat = delta.reshape(*delta.shape[:2], -1)
    length = jax.vmap(l2_norm)(flat)
    unit = flat / jnp.where(length > 0, length, 1.0)[..., None]
    return jnp.einsum("snd,tnd->stn", unit, unit)


def gradients(config, run: runs.Run, prepared: Members) -> xr.Dataset:
    """Cosines between attackers' gradients of the label's log-odds at clean images."""
    apply = prepared.classifier.apply

    def one(variables, x, label):
        return jax.grad(lambda x: jnp.sum(objectives.gap(apply(variables, x), label)))(x)

    def work(chunk: Chunk, attackers) -> dict[str, jax.Array]:
        rows = (Rows(chunk["x"]), Rows(chunk["label"]))
        return {"gradient_cosine": cosines(map_members(one, attackers, shared=rows, how=prepared.how))}

    images = prepared.images(len(prepared.test.label))
    stage = Stage("gradients", work, images, config.chunk, {"attackers": prepared.attackers})
    return run_stage(run, stage, EXPERIMENT.schema)


def audit(config, run: runs.Run, prepared: Members, attacks: list[Attack]) -> xr.Dataset:
    """The audit of the full budget in the largest ball of the headline's norm, on validation images.

    Of the first attackers. In smaller balls one ascent is no bound of what can be found, which transfer does not ask.
    """
    attack = max((a for a in attacks if a[1:3] == attacks[0][1:3]), key=lambda a: a.epsilon)
    section = config.transfer
    return audits.audit_stage_dataset(
        run,
        ensembles.take(prepared.attackers, slice(AUDITED)),
        Examples(*(part[: config.audit.num_examples] for part in prepared.validation)),
        apply=prepared.classifier.apply,
        budget=Budget(
            attack.norm, attack.epsilon, section.step * attack.epsilon, section.num_steps, section.num_restarts
        ),
        mapping=config.mapping,
        seed=config.seed,
    )


# ---- searches that have all attackers to fool ----


def against_all(config, run: runs.Run, prepared: Members) -> xr.Dataset:
    """Searches against all attackers by every objective in every ball, and the smallest ball that fools all, each."""
    count = min(config.joint.num_examples, len(prepared.test.label))
    radii = jnp.asarray(config.transfer[NORM], jnp.float32)
    numbers = jnp.asarray([JOINT.index(name) for name in config.joint.objectives], jnp.int32)
    shared = {"attackers": prepared.attackers, "groups": prepared.targets.groups, "numbers": numbers, "radii": radii}
    work = in_balls(config, prepared)
    stage = Stage("joint", work, prepared.images(count, "joint_example"), config.chunk, shared, "joint_example")
    found = run_stage(run, stage, with_all_pictures("joint_picture", "joint_example"))
    found = few_pictures(found, "joint_picture", "joint_example", JOINTLY_PICTURED)
    return found.assign_coords(objective=list(config.joint.objectives), ball=np.asarray(config.transfer[NORM], float))


def in_balls(config, prepared: Members):
    """chunk -> who errs on what was found in each ball, and the smallest radii with what was found there."""
    section, apply, targets = config.joint, prepared.classifier.apply, prepared.targets
    search = {"apply": apply, "norm": NORM, "num_steps": section.num_steps}
    smallest = {"kind": JOINT.index(section.radius_objective), "largest": float(config.transfer[NORM][-1])}
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
        each = map_members(alone, attackers, shared=tuple(map(Rows, images)), how=prepared.how)
        return {
            "joint_wrong": jnp.moveaxis(targets.errs(groups, found, chunk["label"]), 0, 2),
            "smallest_radius": radius,
            "own_radius": each,
            "smallest_wrong": targets.errs(groups, nearest, chunk["label"]),
            "joint_picture": nearest,
        }

    return work
