"""Checks of `shared`: members that have learned and are distinct, perturbations in their balls, attacks that bite."""

from collections.abc import Sequence

import numpy as np

from landscape.experiments.shared_setting import UNLEARNED
from landscape.experiments.shared_transfer import Attack
from landscape.experiments.shared_values import LEAST, Members, over_pairs, seen
from landscape.types import Arrays

INSIDE = 1e-5  # of the radius: rounding in float32
SAME = 1e-6  # logits: margins of two members that are copies


def checks(config, attacks: Sequence[Attack], arrays: Arrays, members: Members) -> list[dict]:
    """One dict each: name, passed, detail."""
    return [
        _learned(arrays),
        _distinct(arrays, config.num_members),
        *(_inside(attack, arrays, a) for a, attack in enumerate(attacks)),
        *_order(attacks, arrays, members),
    ]


def _check(name: str, passed, detail: str) -> dict:
    return {"name": name, "passed": bool(passed), "detail": detail}


def _learned(arrays: Arrays) -> dict:
    """Members hardly better than chance are named, and have been left out of all means."""
    without = np.flatnonzero(arrays["role"][1] == UNLEARNED)
    accuracy = (arrays["validation_margin"][1] > 0).mean(axis=1)
    named = ", ".join(f"member {i} ({100 * accuracy[i]:.0f} %)" for i in without)
    detail = f"left out, with little more than chance on validation images: {named}" if named else "all have learned"
    return _check("members.learned", not named, detail)


def _distinct(arrays: Arrays, count: int) -> dict:
    """Copies would make every mistake the same and every seed count for nothing."""
    margin = arrays["validation_margin"][1][:count].astype(float)
    apart = np.abs(margin[:, None] - margin[None]).max(axis=-1)
    pairs = [f"{i} and {j}" for i, j in zip(*np.where(np.triu(apart <= SAME, 1)), strict=True)]
    detail = f"copies of one another: members {'; '.join(pairs)}" if pairs else "no two members are alike"
    return _check("members.distinct", not pairs, detail)


def _inside(attack: Attack, arrays: Arrays, a: int) -> dict:
    most = float(arrays["perturbation_norm"][1][a].max())
    detail = f"largest {attack.norm} norm {most:.4g} in a ball of {attack.epsilon:g}"
    return _check(f"{attack.name}.inside", most <= attack.epsilon * (1 + INSIDE), detail)


def _order(attacks: Sequence[Attack], arrays: Arrays, members: Members) -> list[dict]:
    """A source is fooled more often than others, and they more often than by noise of the same norm."""
    found = []
    for a, attack in enumerate(attacks):
        one = seen(arrays, a, "clean_correct")
        if attack.kind != "full" or one.common.sum() < LEAST:
            continue
        rows = members.attackers
        own = float(one.of["wrong"][rows, rows][:, one.common].mean())
        wrong, noise = (
            float(over_pairs(one.of[name][..., one.common], members, "attackers").value) for name in ("wrong", "noise")
        )
        detail = f"fooled: sources {100 * own:.1f} %, others {100 * wrong:.1f} %, by noise {100 * noise:.1f} %"
        found.append(_check(f"{attack.name}.order", own >= wrong >= noise, detail))
    return found
