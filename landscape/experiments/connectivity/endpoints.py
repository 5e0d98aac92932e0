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
from functools import partial

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


def attack(config, apply: Apply, how: How, kind: str) -> Work:
    """(chunk, ensemble, weight) -> {"endpoint": [S, n, H, W, C]} of a kind that is searched for.

    chunk: images `reference`, `partner` and `source` [n, ...], `label` [n], `source_id` [n], which keys are of;
    `margin` [S, n], logits, that steered attacks want; `rise` [S, n], nats, that adaptive attacks want of the line.
    weight: of the distance from that rise, logits for a nat.
    """
    search = config.search
    ball = {"norm": search.norm, "epsilon": search.epsilon, "step_size": search.step_size}
    full = ball | {"num_steps": search.num_steps, "num_restarts": search.num_restarts}

    def keys(chunk: Chunk, number: int) -> jax.Array:
        return jax.vmap(jax.random.fold_in, (0, None))(example_keys(config.seed, "ends", chunk["source_id"]), number)

    def toward(chunk: Chunk, ensemble, x: Images) -> jax.Array:
        def one(variables):
            return projected.targeted_pgd(keys(chunk, 0), variables, x, chunk["label"], apply=apply, **full)

        return map_members(one, ensemble, how=how)

    def steered(chunk: Chunk, ensemble) -> jax.Array:
        options = {"num_steps": config.pairs.iso_steps, "apply": apply, **ball}
        own = example_keys(config.seed, "ends", chunk["source_id"])

        def one(variables, start, wanted):
            images = (chunk["source"], chunk["label"], wanted)
            return projected.steered(own, variables, *images, start=start, **options)

        return map_members(one, ensemble, toward(chunk, ensemble, chunk["source"]), chunk["margin"], how=how)

    def adaptive(chunk: Chunk, ensemble, weight) -> jax.Array:
        section = config.adaptive

        def score(variables, x, target):
            label, (reference, wanted) = target
            rise = line_rise(variables, reference, x, label, apply=apply, num_points=section.num_points)
            return jnp.abs(rise - wanted)

        budget = ball | {"num_steps": section.num_steps, "num_restarts": 1}
        options = {"apply": apply, "score": score, "weight": weight, "enough": section.enough, **budget}

        def one(variables, wanted):
            target = (chunk["reference"], wanted)
            return evading.evade(keys(chunk, 3), variables, chunk["source"], chunk["label"], target, **options)

        return map_members(one, ensemble, chunk["rise"], how=how)

    def joint(chunk: Chunk, ensemble) -> jax.Array:
        mean = objectives.averaged(apply, partial(objectives.ascend, value_fn=objectives.gap), "loss")
        return projected.attack(keys(chunk, 0), ensemble, chunk["source"], chunk["label"], objective=mean, **full)

    def work(chunk: Chunk, ensemble, weight) -> dict[str, jax.Array]:
        match kind:
            case "boosted":
                found = toward(chunk, ensemble, chunk["partner"])
            case "adversarial":
                found = toward(chunk, ensemble, chunk["source"])
            case "adversarial_iso":
                found = steered(chunk, ensemble)
            case "adaptive":
                found = adaptive(chunk, ensemble, weight)
            case "joint":
                found = jnp.repeat(joint(chunk, ensemble)[None], chunk["margin"].shape[0], axis=0)
            case _:
                raise ValueError(f"kind {kind!r}: expected one that is searched for")
        return {"endpoint": found}

    return work
