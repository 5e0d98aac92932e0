"""Stages of `shared`: adversarial examples of every attacker, seen by every member.

An *attack* is a norm, a radius and a kind: "full" (the whole budget away from the label), "first_flip" (stopped once
the label has lost) or "targeted" (toward another class, the same for all attackers). Beside each stands noise of the
norms of its perturbations.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from landscape import objectives, runs
from landscape.attacks import projected
from landscape.attacks.joint import LENGTH
from landscape.attacks.projected import equal_norm_noise
from landscape.ensembles import Rows, map_members
from landscape.experiments.autoencoder_use import targets_of
from landscape.experiments.setting import example_keys
from landscape.experiments.shared_setting import SharedSetting
from landscape.spaces import l2_norm
from landscape.types import Arrays

KINDS = ("full", "first_flip", "targeted")
PICTURED = 48  # images of the headline's attack


class Attack(NamedTuple):
    """One attack: name, kind, norm and radius in pixels."""

    name: str
    kind: str
    norm: str
    epsilon: float


def attacks_of(config) -> list[Attack]:
    """All attacks of a config, in order; the first one is that of the headline: the full budget, the middle radius."""
    found = []
    for norm in ("linf", "l2"):
        radii = [float(r) for r in config.transfer[norm]]
        middle = len(radii) // 2
        for kind in config.transfer.attacks if radii else ():
            chosen = [*radii[middle:], *radii[:middle]] if kind == "full" else radii[-1:]
            found += [Attack(f"{kind}.{norm}.{r:g}", kind, norm, r) for r in chosen]
    return sorted(found, key=lambda attack: attack.kind != "full" or attack.norm != found[0].norm)


def cosines(delta: Float[Array, "S N ..."]) -> Float[Array, "S S N"]:
    """Cosine between the perturbations of every two members, image by image; 0 where one has none."""
    flat = delta.reshape(*delta.shape[:2], -1)
    length = jax.vmap(l2_norm)(flat)
    unit = flat / jnp.where(length > 0, length, 1.0)[..., None]
    return jnp.einsum("snd,tnd->stn", unit, unit)


def transferred(config, run: runs.Run, shared: SharedSetting) -> Arrays:
    """Every attack on the test images, in chunks.

    prediction [attack, source, target, example]: what each target predicts for each source's example; noise_wrong
    [attack, source, target, example]: whether it errs on noise of the same norm; perturbation_norm [attack, source,
    example], pixels, in the attack's norm; perturbation_cosine [attack, source, other, example], and random_cosine
    [attack, example] of two independent draws of that noise, which the box makes alike; aim [example]: the class of
    targeted attacks; picture and picture_start [shown, ...] of the first attack and source.
    """
    chosen, attacks = shared.test, attacks_of(config)
    aim = targets_of(chosen.label, len(shared.class_names), config.seed)
    keys = example_keys(config.seed, "transfer", chosen.ids)
    noise_keys = example_keys(config.seed, "transfer.noise", chosen.ids)
    programs: dict[tuple[str, str], Callable] = {}
    parts = []
    for attack in attacks:
        program = programs.setdefault((attack.kind, attack.norm), _program(config, shared, attack))

        def work(start: int, stop: int, program=program, attack=attack) -> Arrays:
            rows = slice(start, stop)
            images = (chosen.x[rows], chosen.label[rows], aim[rows], keys[rows], noise_keys[rows])
            found = program(
                shared.attackers, shared.judges.groups, *map(jnp.asarray, images), jnp.float32(attack.epsilon)
            )
            told = {name: np.asarray(value) for name, value in found.items()}
            pair = ("source", "target", "example")
            arrays: Arrays = {
                "prediction": (pair, told["prediction"].swapaxes(0, 1).astype(np.int16)),
                "noise_wrong": (pair, told["noise_wrong"].swapaxes(0, 1)),
                "perturbation_norm": (("source", "example"), told["perturbation_norm"]),
                "perturbation_cosine": (("source", "other", "example"), told["perturbation_cosine"]),
                "random_cosine": (("example",), told["random_cosine"]),
            }
            if attack == attacks[0]:
                arrays["picture"] = (("example", "height", "width", "channel"), told["picture"])
            return arrays

        parts.append(runs.chunks(run, f"transfer.{attack.name}", work, len(chosen.label), config.chunk))
    shown = slice(min(PICTURED, len(chosen.label)))
    dims, pictures = parts[0].pop("picture")
    found: Arrays = {n: (("attack", *d), np.stack([part[n][1] for part in parts])) for n, (d, _) in parts[0].items()}
    return found | {
        "aim": (("example",), aim),
        "picture": (("shown", *dims[1:]), pictures[shown]),
        "picture_start": (("shown", *dims[1:]), chosen.x[shown]),
    }


def _program(config, shared: SharedSetting, attack: Attack) -> Callable:
    """program(attackers, judges, x, label, aim, keys, noise_keys, epsilon) of one kind and norm; radii are numbers."""
    apply, kind, norm = shared.classifier.apply, attack.kind, attack.norm
    search = {"full": projected.pgd, "first_flip": projected.first_flip, "targeted": projected.targeted_pgd}[kind]

    def one(variables, x, label, aim, keys, epsilon):
        budget = {"norm": norm, "epsilon": epsilon, "step_size": config.transfer.step * epsilon}
        budget |= {"num_restarts": config.transfer.num_restarts} if kind == "full" else {}
        toward = aim if kind == "targeted" else label
        return search(keys, variables, x, toward, apply=apply, num_steps=config.transfer.num_steps, **budget)

    def judge(apply, variables, found, noise, label):
        says = jax.lax.map(lambda x: jnp.argmax(apply(variables, x), axis=-1), found)
        return says, jax.lax.map(lambda x: jnp.argmax(apply(variables, x), axis=-1) != label, noise)

    @jax.jit
    def program(attackers, judges, x, label, aim, keys, noise_keys, epsilon):
        found = map_members(one, attackers, shared=(*map(Rows, (x, label, aim, keys)), epsilon), how=shared.how)
        delta = found - x[None]
        length = jax.lax.map(LENGTH[norm], delta)
        noise = jax.lax.map(partial(equal_norm_noise, noise_keys, x, norm=norm), length)
        another = jax.vmap(jax.random.fold_in, (0, None))(noise_keys, 1)
        apart = jnp.stack([noise[0], equal_norm_noise(another, x, length[0], norm=norm)]) - x[None]
        says, wrong = shared.judges.map(judge, judges, found, noise, label)
        return {
            "prediction": says,
            "noise_wrong": wrong,
            "perturbation_norm": length,
            "perturbation_cosine": cosines(delta),
            "random_cosine": cosines(apart)[0, 1],
            "picture": found[0],
        }

    return program


def gradients(config, run: runs.Run, shared: SharedSetting) -> Arrays:
    """gradient_cosine [source, other, example]: between attackers' gradients of the label's log-odds, clean images."""
    apply, chosen = shared.classifier.apply, shared.test

    def one(variables, x, label):
        return jax.grad(lambda x: jnp.sum(objectives.gap(apply(variables, x), label)))(x)

    program = jax.jit(lambda e, *s: cosines(map_members(one, e, shared=tuple(map(Rows, s)), how=shared.how)))

    def work(start: int, stop: int) -> Arrays:
        rows = slice(start, stop)
        found = program(shared.attackers, jnp.asarray(chosen.x[rows]), jnp.asarray(chosen.label[rows]))
        return {"gradient_cosine": (("source", "other", "example"), np.asarray(found))}

    return runs.chunks(run, "gradients", work, len(chosen.label), config.chunk)
