"""How much attacks find here beside the best of Foolbox's, example by example, on the same trained members and images.

Ours: `best_of` the recipes in `strong` in a ball, and the nearest image that any of NEAREST finds. Theirs:
`peers.strongest`. With T = `attack_steps` and K classes, passes through the classifier an image:

    in the ball   ours    10 T with a gradient (one untargeted search, nine targeted ones), T of Square without
                  theirs  at most 10 T with a gradient (PGD from ten starts, of what is still right), and what is below
    nearest       ours    T (FMN) and 50 K (DeepFool); in L2 also 6 T (C&W)
                  theirs  T (FMN) and at most 50 K (DeepFool); in L2 also 6 T (C&W) and T (DDN)

What theirs in fact spend is counted and saved. The radii are the median distances that FMN finds on validation images,
where an audit of the untargeted search is taken as well; all other settings are those of the sources.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from landscape import ensembles, objectives, runs
from landscape.attacks import projected
from landscape.attacks.minimum_norm import LENGTH
from landscape.attacks.projected import Budget
from landscape.attacks.recipes import STEP, best_of, strong
from landscape.attacks.recipes import run as attack
from landscape.data import Dataset
from landscape.ensembles import map_members
from landscape.experiments import audits
from landscape.experiments.setting import Examples, example_keys, examples, stage_key
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
FOUND = ("norm", "attacked", "example")
DIMS = ("attacker", *FOUND)
ATTRIBUTES = {
    "robust": {"units": "1", "long_name": "whether no attack in the ball fools the member"},
    "distance": {"units": "pixel", "long_name": "to the nearest image found that is not given the class, 0 if wrong"},
    "radius": {"units": "pixel", "long_name": "of the ball, median distance that FMN finds on validation images"},
    "passes": {"units": "1", "long_name": "images through a member for each image attacked, Foolbox's attacks"},
    "audit": {"units": "1", "long_name": "robust accuracy, mean over members; `audited` is APGD-CE"},
    "attacker": {"units": "1", "long_name": "whose attacks"},
    "attacked": {"units": "1", "long_name": "trained member"},
    "norm": {"units": "1", "long_name": "norm of the perturbation"},
}


def attack_stage(
    config, run: runs.Run, dataset: Dataset, classifier: Classifier, moments, images: Examples
) -> tuple[Arrays, list[dict]]:
    """robust and distance [attacker, norm, attacked, example] on trained members; NaN where Foolbox takes no part.

    With the radius of each norm, how many passes Foolbox's took, and the audit; its checks.
    """
    chosen = ConfigDict(config.to_dict())
    chosen.num_members, chosen.control_members = config.benchmark.num_attacked, {"untrained": 0, "shuffled": 0}
    ensemble, _ = classifier_members.ensemble(run, chosen, dataset, classifier)
    model, apply, members = config.model.name, classifier.apply, ensembles.size(ensemble)
    validation = examples(dataset, "validation", config.audit.num_examples, config.seed)
    radius = runs.once(run, f"attack_radius_{model}", lambda: radii(config, apply, ensemble, validation))
    radii_of = dict(zip(NORMS, radius["radius"][1].tolist(), strict=True))
    audited, checks = audits.audit_stage(
        run,
        f"attack_audit_{model}",
        ensemble,
        validation,
        apply=apply,
        budget=budget_of(config, "linf", radii_of["linf"]),
        mapping=config.mapping,
        seed=config.seed,
        attack=untargeted,
    )
    how = ensembles.parse(config.mapping, members)
    together = how.devices * how.examples  # members at once: one a device
    part = {"dim": "attacked", "unit": "members"}
    own = runs.chunks(
        run, f"attacks_{model}", ours(config, radii_of, apply, ensemble, images), members, together, **part
    )
    work = partial(theirs, config, radii_of, moments, ensemble, images)
    other = runs.chunks(run, f"foolbox_{model}", work, members, 1, **part)
    both = {name: (DIMS, np.stack([own[name][1], other[name][1]])) for name in own}
    return both | radius | {"passes": other["passes"]} | audited, checks


def untargeted(keys, variables, x, label, *, step_size, **budget):
    """APGD-CE, called as `projected.pgd` is; it chooses its own step sizes."""
    return projected.apgd(keys, variables, x, label, **budget)


def budget_of(config, norm: str, radius: float) -> Budget:
    """What the audited attack may spend."""
    steps = config.benchmark.attack_steps
    return Budget(norm=norm, epsilon=radius, step_size=STEP * radius / steps, num_steps=steps)


def radii(config, apply: Apply, ensemble: Ensemble, images: Examples) -> Arrays:
    """radius [norm]: the median distance over members and images, two digits, so that about half stay right in it."""
    found = []
    for norm in NORMS:

        def member(variables, keys, x, label, norm=norm):
            z = attack(
                "fmn", keys, variables, x, label, apply=apply, norm=norm, num_steps=config.benchmark.attack_steps
            )
            return LENGTH[norm](z - x)

        shared = (example_keys(config.seed, f"radius_{norm}", images.ids), jnp.asarray(images.x), images.label)
        distance = np.asarray(_mapped(config, member, ensemble)(ensemble, *shared))
        found.append(float(f"{median(distance, *(np.ones(n) for n in distance.shape)):.2g}"))
    return {"radius": (("norm",), np.asarray(found, np.float64))}


def ours(config, radius: dict[str, float], apply: Apply, ensemble: Ensemble, images: Examples):
    """(start, stop) -> of these members: robust, whether an example stays right in the ball; distance; [norm, S, N]."""
    steps = config.benchmark.attack_steps

    def member(norm, variables, keys, x, label, epsilon):
        options = {"apply": apply, "norm": norm}
        names = strong(apply(variables, x[:1]).shape[-1])
        z = best_of(names, keys, variables, x, label, epsilon=epsilon, num_steps=steps, **options)
        distance = jnp.where(objectives.margin(apply(variables, x), label) < 0, 0.0, jnp.inf)
        for name in NEAREST[norm]:
            num_steps = DEEPFOOL_STEPS if name == "deepfool" else steps
            near = attack(name, keys, variables, x, label, num_steps=num_steps, **options)
            lost = objectives.margin(apply(variables, near), label) < 0
            distance = jnp.where(lost, jnp.minimum(distance, LENGTH[norm](near - x)), distance)
        return objectives.margin(apply(variables, z), label) >= 0, distance

    programs = {norm: _mapped(config, partial(member, norm), ensemble) for norm in NORMS}
    images_of = (jnp.asarray(images.x), jnp.asarray(images.label))
    keys = {norm: example_keys(config.seed, f"attacks_{norm}", images.ids) for norm in NORMS}

    def work(start: int, stop: int) -> Arrays:
        some = ensembles.take(ensemble, slice(start, stop))
        found = [programs[norm](some, keys[norm], *images_of, jnp.float32(radius[norm])) for norm in NORMS]
        return {
            name: (FOUND, np.stack([np.asarray(f[i]) for f in found]).astype(np.float32))
            for i, name in enumerate(("robust", "distance"))
        }

    return work


def _mapped(config, member, ensemble: Ensemble):
    """Jitted (ensemble, *shared) -> member of each."""
    how = ensembles.parse(config.mapping, ensembles.size(ensemble))
    return jax.jit(lambda some, *shared: map_members(member, some, shared=shared, how=how))


def theirs(
    config, radius: dict[str, float], moments, ensemble: Ensemble, images: Examples, start: int, stop: int
) -> Arrays:
    """The same of Foolbox on members start to stop, and its passes [norm, S] an image; NaN where it takes no part."""
    from landscape.experiments import benchmark_races as races

    shape = (len(NORMS), stop - start, len(images.label))
    if not races.peers_installed() or not races.ported(config, config.model.name):
        robust, distance, passes = (np.full(s, np.nan, np.float32) for s in (shape, shape, shape[:2]))
    else:
        import torch

        from landscape.experiments import peers

        mean, std = moments
        x, label = peers.images(images.x), torch.from_numpy(np.array(images.label)).long()
        budget = {
            "num_steps": config.benchmark.attack_steps,
            "num_restarts": RESTARTS,
            "deepfool_steps": DEEPFOOL_STEPS,
        }
        found = []
        for norm in NORMS:
            for i in range(start, stop):
                key = jax.random.fold_in(stage_key(config.seed, f"foolbox_{norm}"), i)
                torch.manual_seed(int(jax.random.bits(key)))
                net = peers.network(config.model.name, ensembles.take(ensemble, i), mean=mean, std=std)
                found.append(peers.strongest(net, x, label, norm=norm, epsilon=radius[norm], **budget))
        robust, distance, passes = (
            np.stack(values).astype(np.float32).reshape(s)
            for values, s in zip(zip(*found, strict=True), (shape, shape, shape[:2]), strict=True)
        )
    return {"robust": (FOUND, robust), "distance": (FOUND, distance), "passes": (FOUND[:2], passes)}


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
            apart = [int(np.sum(robust[a, n] > robust[1 - a, n])) for a in (0, 1)]
            beside = f"; right under ours alone {apart[0]}, under Foolbox's alone {apart[1]} of {robust[0, n].size}"
            checks += [_check("robust accuracy", norm, excess.value, ALLOWED["robust"], beside)]
            checks += [_check("median distance", norm, ratio.value, ALLOWED["distance"])]
        for name, (estimate, unit) in found.items():
            entry = {"name": name, "population": "", "level": 0.95, "unit": unit, "norm": norm, "peer": "foolbox"}
            entry |= {key: getattr(estimate, key) for key in ("value", "low", "high")}
            entry |= {"members": num_members, "examples": num_examples, "model": config.model.name}
            entry |= {"epsilon": float(arrays["radius"][1][n])} if "robust" in name else {}
            entry |= {
                "generalises_to": generalises_to(num_members, num_examples),
                "headline": name.endswith(("excess", "ratio")),
            }
            told.append(entry)
    return told, checks


def _bootstrap(config, statistic, like):
    return crossed_bootstrap(statistic, *like.shape[2:], seed=config.seed)


def _check(what: str, norm: str, value: float, allowed: float, beside: str = "") -> dict:
    difference = allowed < 1
    words = f"{100 * value:.2f} points above" if difference else f"{value:.4f} times"
    limit = f"{100 * allowed:.1f} points" if difference else f"{allowed:.2f} times"
    return {
        "name": f"{what} in {norm} is that of Foolbox's best",
        "passed": bool(value <= allowed),
        "detail": f"ours is {words} that of the best of Foolbox's; expected at most {limit}{beside}",
    }
