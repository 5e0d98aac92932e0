"""How much attacks find here beside the best of Foolbox's, example by example, on the same trained members and images.

Ours: `best_of` the recipes in `strong` in a ball, and the nearest image that any of NEAREST finds. Theirs:
`peers.strongest`, with as many gradients: PGD starts ten times, since ours is one untargeted search and nine targeted
ones; C&W, FMN and DeepFool take as many steps as ours, and DDN as many as FMN.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from landscape import ensembles, objectives, runs
from landscape.attacks.minimum_norm import LENGTH
from landscape.attacks.recipes import best_of, strong
from landscape.attacks.recipes import run as attack
from landscape.data import Dataset
from landscape.ensembles import map_members
from landscape.experiments.setting import Examples, example_keys, stage_key
from landscape.models.classifiers import Classifier
from landscape.stats.intervals import generalises_to, interval, of_share
from landscape.stats.resampling import crossed_bootstrap
from landscape.training import classifier_members
from landscape.types import Apply, Arrays, Ensemble

ATTACKERS = ("landscape", "foolbox")
NORMS = ("linf", "l2")
NEAREST = {"linf": ("fmn", "deepfool"), "l2": ("cw", "fmn", "deepfool")}
DEEPFOOL_STEPS = 50
RESTARTS = 10
FURTHEST = 1e3  # pixels; beyond any image
ALLOWED = {"robust": 0.005, "distance": 1.02}  # how much weaker than Foolbox's best ours may be: share, ratio
DIMS = ("attacker", "norm", "attacked", "example")
ATTRIBUTES = {
    "robust": {"units": "1", "long_name": "whether no attack in the ball fools the member"},
    "distance": {"units": "pixel", "long_name": "to the nearest image found that is not given the class, 0 if wrong"},
    "attacker": {"units": "1", "long_name": "whose attacks"},
    "attacked": {"units": "1", "long_name": "trained member"},
    "norm": {"units": "1", "long_name": "norm of the perturbation"},
}


def attack_stage(config, run: runs.Run, dataset: Dataset, classifier: Classifier, moments, images: Examples) -> Arrays:
    """robust and distance [attacker, norm, attacked, example] on trained members; NaN where Foolbox takes no part."""
    chosen = ConfigDict(config.to_dict())
    chosen.num_members, chosen.control_members = config.benchmark.num_attacked, {"untrained": 0, "shuffled": 0}
    ensemble, _ = classifier_members.ensemble(run, chosen, dataset, classifier)

    def work() -> Arrays:
        found = [
            [ours(config, norm, classifier.apply, ensemble, images) for norm in NORMS],
            [theirs(config, norm, moments, ensemble, images) for norm in NORMS],
        ]
        return {
            name: (DIMS, np.asarray([[f[i] for f in each] for each in found], np.float32))
            for i, name in enumerate(("robust", "distance"))
        }

    return runs.once(run, f"attacks_{config.model.name}", work)


def ours(config, norm: str, apply: Apply, ensemble: Ensemble, images: Examples) -> tuple[np.ndarray, np.ndarray]:
    """Whether each example stays right in the ball, and its distance, [S, N]."""
    steps = config.benchmark.attack_steps

    def member(variables, keys, x, label, epsilon):
        options = {"apply": apply, "norm": norm}
        z = best_of(
            strong(apply(variables, x[:1]).shape[-1]),
            keys,
            variables,
            x,
            label,
            epsilon=epsilon,
            num_steps=steps,
            **options,
        )
        distance = jnp.where(objectives.margin(apply(variables, x), label) < 0, 0.0, jnp.inf)
        for name in NEAREST[norm]:
            num_steps = DEEPFOOL_STEPS if name == "deepfool" else steps
            near = attack(name, keys, variables, x, label, num_steps=num_steps, **options)
            lost = objectives.margin(apply(variables, near), label) < 0
            distance = jnp.where(lost, jnp.minimum(distance, LENGTH[norm](near - x)), distance)
        return objectives.margin(apply(variables, z), label) >= 0, distance

    keys = example_keys(config.seed, f"attacks_{norm}", images.ids)
    shared = (keys, jnp.asarray(images.x), jnp.asarray(images.label), jnp.float32(config.benchmark.radius[norm]))
    how = ensembles.parse(config.mapping, ensembles.size(ensemble))
    return jax.tree.map(np.asarray, jax.jit(partial(map_members, member, shared=shared, how=how))(ensemble))


def theirs(config, norm: str, moments, ensemble: Ensemble, images: Examples) -> tuple[np.ndarray, np.ndarray]:
    """The same of Foolbox; NaN where it takes no part."""
    from landscape.experiments import benchmark_races as races

    if not races.peers_installed() or not races.ported(config, config.model.name):
        nothing = np.full((ensembles.size(ensemble), len(images.label)), np.nan)
        return nothing, nothing
    import torch

    from landscape.experiments import peers

    torch.manual_seed(int(jax.random.bits(stage_key(config.seed, f"foolbox_{norm}"))))
    mean, std = moments
    x, label = peers.images(images.x), torch.from_numpy(np.array(images.label)).long()
    budget = {"num_steps": config.benchmark.attack_steps, "num_restarts": RESTARTS, "deepfool_steps": DEEPFOOL_STEPS}
    found = []
    for i in range(ensembles.size(ensemble)):
        net = peers.network(config.model.name, ensembles.take(ensemble, i), mean=mean, std=std)
        found.append(peers.strongest(net, x, label, norm=norm, epsilon=config.benchmark.radius[norm], **budget))
    return tuple(np.stack(values) for values in zip(*found, strict=True))


def median(distance: np.ndarray, weight_members: np.ndarray, weight_examples: np.ndarray) -> float:
    """The weighted median of the positive ones of values [S, N]: images that are wrong as they are have no distance."""
    order = np.argsort(distance, axis=None)
    weights = (np.outer(weight_members, weight_examples) * (distance > 0)).ravel()[order]
    return float(distance.ravel()[order][np.searchsorted(np.cumsum(weights), 0.5 * weights.sum())])


def attack_estimates(config, arrays: Arrays) -> tuple[list[dict], list[dict]]:
    """Robust accuracy and median distance of both, the paired difference and the ratio of medians; and the checks.

    Where no image was found its distance counts as FURTHEST.
    """
    robust, distance = (arrays[name][1].astype(np.float64) for name in ("robust", "distance"))
    distance = np.where(np.isnan(distance), np.nan, np.minimum(distance, FURTHEST))
    num_members, num_examples = robust.shape[2:]
    both = ATTACKERS if np.isfinite(robust).all() else ATTACKERS[:1]
    told, checks = [], []
    for n, norm in enumerate(NORMS):
        found = {}
        for a, attacker in enumerate(both):
            found[f"attack.robust_accuracy.{attacker}"] = (of_share(interval(robust[a, n]), num_examples), "1")
            found[f"attack.distance.{attacker}"] = (
                _bootstrap(config, partial(median, distance[a, n]), robust),
                "pixel",
            )
        if len(both) == 2:
            excess = interval(robust[0, n] - robust[1, n])
            own, other = distance[:, n]
            ratio = _bootstrap(config, lambda s, i, a=own, b=other: median(a, s, i) / median(b, s, i), robust)
            found |= {"attack.robust_accuracy.excess": (excess, "1"), "attack.distance.ratio": (ratio, "1")}
            checks += [_check("robust accuracy", norm, excess.value, ALLOWED["robust"])]
            checks += [_check("median distance", norm, ratio.value, ALLOWED["distance"])]
        for name, (estimate, unit) in found.items():
            entry = {"name": name, "population": "", "level": 0.95, "unit": unit, "norm": norm, "peer": "foolbox"}
            entry |= {key: getattr(estimate, key) for key in ("value", "low", "high")}
            entry |= {"members": num_members, "examples": num_examples, "model": config.model.name}
            entry |= {"epsilon": config.benchmark.radius[norm]} if "robust" in name else {}
            entry |= {
                "generalises_to": generalises_to(num_members, num_examples),
                "headline": name.endswith(("excess", "ratio")),
            }
            told.append(entry)
    return told, checks


def _bootstrap(config, statistic, like):
    return crossed_bootstrap(statistic, *like.shape[2:], seed=config.seed)


def _check(what: str, norm: str, value: float, allowed: float) -> dict:
    difference = allowed < 1
    words = f"{100 * value:.2f} points above" if difference else f"{value:.4f} times"
    limit = f"{100 * allowed:.1f} points" if difference else f"{allowed:.2f} times"
    return {
        "name": f"{what} in {norm} is that of Foolbox's best",
        "passed": bool(value <= allowed),
        "detail": f"ours is {words} that of the best of Foolbox's; expected at most {limit}",
    }
