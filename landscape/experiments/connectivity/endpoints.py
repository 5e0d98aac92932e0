"""The second endpoint of every kind of pair; the first one is the pair's reference image, a genuine one of class c.

- genuine: its partner, another image of class c. boosted: the same, made surer of c by the attack.
- adversarial: the source image, of another class, attacked toward c. adversarial_iso: the same, steered to a margin
  that natural errors have. joint: the attack that all members guide together, one image for all of them.
- adaptive: the attack that wants the line from the reference image to rise as those of genuine pairs do.
- natural_error: an image of another class that the member takes for c by itself.
- source: the clean source image; not of class c, but evaluated with it: what its own contents have in the way.

All attacks have one ball, pixels.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from landscape import objectives
from landscape.attacks import evading, projected
from landscape.ensembles import Mapping as How
from landscape.ensembles import map_members
from landscape.experiments.setting import example_keys
from landscape.measures.barrier import line_rise
from landscape.types import Apply, Images

ITSELF = {"genuine": "partner", "natural_error": "source", "source": "source"}  # kinds that nothing is searched for
Chunk = Mapping[str, jax.Array]
Work = Callable[..., dict[str, jax.Array]]


class Attacks(NamedTuple):
    """What the attacks of one run share. ball: norm, epsilon, step_size."""

    config: Any
    apply: Apply
    how: How

    @property
    def ball(self) -> dict[str, Any]:
        search = self.config.search
        return {"norm": search.norm, "epsilon": search.epsilon, "step_size": search.step_size}

    @property
    def full(self) -> dict[str, Any]:
        search = self.config.search
        return self.ball | {"num_steps": search.num_steps, "num_restarts": search.num_restarts}


def attack(config, apply: Apply, how: How, kind: str) -> Work:
    """(chunk, ensemble, weight) -> {"endpoint": [S, n, H, W, C]} of a kind that is searched for.

    chunk: images `reference`, `partner` and `source` [n, ...], `label` [n], `source_id` [n], which keys are of;
    `margin` [S, n], logits, that steered attacks want; `rise` [S, n], nats, that adaptive attacks want of the line.
    weight: of the distance from that rise, logits for a nat.
    """
    by = Attacks(config, apply, how)

    def work(chunk: Chunk, ensemble, weight) -> dict[str, jax.Array]:
        match kind:
            case "boosted":
                found = _toward(by, chunk, ensemble, chunk["partner"])
            case "adversarial":
                found = _toward(by, chunk, ensemble, chunk["source"])
            case "adversarial_iso":
                found = _steered(by, chunk, ensemble)
            case "adaptive":
                found = _adaptive(by, chunk, ensemble, weight)
            case "joint":
                found = jnp.repeat(_joint(by, chunk, ensemble)[None], chunk["margin"].shape[0], axis=0)
            case _:
                raise ValueError(f"kind {kind!r}: expected one that is searched for")
        return {"endpoint": found}

    return work


def _keys(by: Attacks, chunk: Chunk, number: int) -> jax.Array:
    keys = example_keys(by.config.seed, "ends", chunk["source_id"])
    return jax.vmap(jax.random.fold_in, (0, None))(keys, number)


def _toward(by: Attacks, chunk: Chunk, ensemble, x: Images) -> jax.Array:
    """Toward the class, [S, n, ...]."""

    def one(variables):
        return projected.targeted_pgd(_keys(by, chunk, 0), variables, x, chunk["label"], apply=by.apply, **by.full)

    return map_members(one, ensemble, how=by.how)


def _steered(by: Attacks, chunk: Chunk, ensemble) -> jax.Array:
    """From the attacked source image to the margin that is wanted."""
    keys = example_keys(by.config.seed, "ends", chunk["source_id"])
    options = {"num_steps": by.config.pairs.iso_steps, "apply": by.apply, **by.ball}

    def one(variables, start, wanted):
        return projected.steered(keys, variables, chunk["source"], chunk["label"], wanted, start=start, **options)

    return map_members(one, ensemble, _toward(by, chunk, ensemble, chunk["source"]), chunk["margin"], how=by.how)


def _adaptive(by: Attacks, chunk: Chunk, ensemble, weight) -> jax.Array:
    """Toward the class, the rise of the line from the reference image as it is wanted."""
    section = by.config.adaptive

    def score(variables, x, target):
        label, (reference, wanted) = target
        rise = line_rise(variables, reference, x, label, apply=by.apply, num_points=section.num_points)
        return jnp.abs(rise - wanted)

    budget = by.ball | {"num_steps": section.num_steps, "num_restarts": 1}
    options = {"apply": by.apply, "score": score, "weight": weight, "enough": section.enough, **budget}

    def one(variables, wanted):
        target = (chunk["reference"], wanted)
        return evading.evade(_keys(by, chunk, 3), variables, chunk["source"], chunk["label"], target, **options)

    return map_members(one, ensemble, chunk["rise"], how=by.how)


def _joint(by: Attacks, chunk: Chunk, ensemble) -> jax.Array:
    """Toward the class for the mean of all members, [n, ...]."""
    mean = objectives.averaged(objectives.ascend(by.apply, objectives.gap))
    keys = _keys(by, chunk, 0)
    return projected.attack(keys, ensemble, chunk["source"], chunk["label"], objective=mean, **by.full)
