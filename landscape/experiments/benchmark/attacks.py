"""How much attacks find here beside the best of Foolbox's, image by image, on the same members and images.

Ours: `best_of` the recipes in `strong` in a ball, and the nearest image that any of NEAREST finds. Theirs:
`peers.strongest`. With T = `attack_steps` and K classes, passes through the classifier an image:

    in the ball   ours    10 T with a gradient (one untargeted search, nine targeted ones), T of Square without
                  theirs  at most 10 T with a gradient (PGD from ten starts, of what is still right), and what is below
    nearest       ours    T (FMN) and 50 K (DeepFool); in L2 also 6 T (C&W)
                  theirs  T (FMN) and at most 50 K (DeepFool); in L2 also 6 T (C&W) and T (DDN)

What theirs in fact spend is counted and saved. The radii are the median distances that FMN finds on validation images,
where an audit of `multi_targeted` is taken as well; all other settings are those of the sources.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from landscape import data, ensembles, objectives, runs
from landscape.attacks.minimum_norm import LENGTH
from landscape.attacks.projected import Budget
from landscape.attacks.recipes import STEP, best_of, strong
from landscape.attacks.recipes import run as attack
from landscape.data import Dataset
from landscape.ensembles import map_members
from landscape.experiments import audits, setting
from landscape.experiments.base import Stage, run_once, run_stage
from landscape.experiments.benchmark import OF_A_NORM, OF_ONE, OTHERS, races
from landscape.experiments.benchmark.config import ATTACKERS, NORMS
from landscape.experiments.benchmark.estimates import weighted_median
from landscape.experiments.setting import Examples, example_keys, examples, stage_key
from landscape.models.classifiers import Classifier
from landscape.training import classifier_members
from landscape.types import Apply, Ensemble

NEAREST = {"linf": ("fmn", "deepfool"), "l2": ("cw", "fmn", "deepfool")}
DEEPFOOL_STEPS = 50
RESTARTS = 10


def compute(config, run: runs.Run, dataset: Dataset, classifier: Classifier) -> xr.Dataset:
    """robust and distance by attacker, NaN where Foolbox takes no part; the radii, Foolbox's passes, and the audit."""
    own = setting.with_members(config, config.benchmark.num_attacked)
    ensemble, members = classifier_members.ensemble(run, own, dataset, classifier)
    apply, count = classifier.apply, ensembles.size(ensemble)
    validation = examples(dataset, "validation", config.audit.num_examples, config.seed)
    images = examples(dataset, "test", config.benchmark.num_attacked_examples, config.seed)
    radius = run_once(run, "radius", lambda: {"radius": radii(config, apply, ensemble, validation)}, OTHERS)
    ball = dict(zip(NORMS, radius.radius.values.tolist(), strict=True))
    steps = config.benchmark.attack_steps
    budget = Budget(norm="linf", epsilon=ball["linf"], step_size=STEP * ball["linf"] / steps, num_steps=steps)
    options = {"apply": apply, "budget": budget, "mapping": config.mapping, "seed": config.seed}
    audit = audits.audit_stage_dataset(run, ensemble, validation, **options)
    how = ensembles.parse(config.mapping, count)
    inputs = xr.Dataset(coords={"member": np.arange(count)})
    together = how.devices * how.examples  # members at once: one a device
    work = ours(config, ball, apply, ensemble, images)
    found = run_stage(run, Stage("attacks", work, inputs, together, dim="member", jit=False), OF_ONE | OTHERS)
    others = xr.full_like(found, np.nan)
    if races.peers_installed() and races.ported(config, config.model.name):
        moments = data.moments(dataset)
        one = [
            run_once(
                run, f"foolbox.{i}", lambda i=i: theirs(config, ball, moments, ensemble, images, i), OF_ONE | OTHERS
            )
            for i in range(count)
        ]
        others = xr.concat(one, "member").assign_coords(member=found.member)
    both = xr.concat([found, others[[*found]]], "attacker").transpose("attacker", *OF_A_NORM)
    coords = {"attacker": list(ATTACKERS), "norm": list(NORMS), "example": images.ids}
    coords |= {name: ("member", [one[name] for one in members]) for name in ("seed", "control")}
    return xr.merge([both, radius, others.drop_vars([*found]), audit], join="exact").assign_coords(coords)


def radii(config, apply: Apply, ensemble: Ensemble, images: Examples) -> np.ndarray:
    """The median distance over members and images in each norm, two digits, so that about half stay right in it."""
    found = []
    for norm in NORMS:

        def member(variables, keys, x, label, norm=norm):
            steps = config.benchmark.attack_steps
            z = attack("fmn", keys, variables, x, label, apply=apply, norm=norm, num_steps=steps)
            return LENGTH[norm](z - x)

        shared = (example_keys(config.seed, f"radius_{norm}", images.ids), jnp.asarray(images.x), images.label)
        distance = np.asarray(_mapped(config, member, ensemble)(ensemble, *shared))
        found.append(float(f"{weighted_median(distance, *(np.ones(n) for n in distance.shape)):.2g}"))
    return np.asarray(found, np.float64)


def ours(config, radius: dict[str, float], apply: Apply, ensemble: Ensemble, images: Examples):
    """work(chunk of members) -> robust, whether an image stays right in the ball, and distance, [norm, S, N] each."""
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

    def work(chunk) -> dict[str, jax.Array]:
        some = ensembles.take(ensemble, chunk["member"])
        found = [programs[norm](some, keys[norm], *images_of, jnp.float32(radius[norm])) for norm in NORMS]
        robust, distance = (jnp.stack([one[i] for one in found]).astype(jnp.float32) for i in (0, 1))
        return {"robust": robust, "distance": distance}

    return work


def _mapped(config, member, ensemble: Ensemble):
    """Jitted (ensemble, *shared) -> member of each."""
    how = ensembles.parse(config.mapping, ensembles.size(ensemble))
    return jax.jit(lambda some, *shared: map_members(member, some, shared=shared, how=how))


def theirs(config, radius: dict[str, float], moments, ensemble: Ensemble, images: Examples, i: int) -> dict[str, Any]:
    """The same of Foolbox on member i alone, [norm, 1, N], and the passes of an image [norm, 1]."""
    import torch

    from landscape.experiments.benchmark import peers

    mean, std = moments
    x, label = peers.images(images.x), torch.from_numpy(np.array(images.label)).long()
    net = peers.network(config.model.name, ensembles.take(ensemble, i), mean=mean, std=std)
    budget = {"num_steps": config.benchmark.attack_steps, "num_restarts": RESTARTS, "deepfool_steps": DEEPFOOL_STEPS}
    found = []
    for norm in NORMS:
        key = jax.random.fold_in(stage_key(config.seed, f"foolbox_{norm}"), i)
        torch.manual_seed(int(jax.random.bits(key)))
        found.append(peers.strongest(net, x, label, norm=norm, epsilon=radius[norm], **budget))
    columns = zip(("robust", "distance", "passes"), zip(*found, strict=True), strict=True)
    return {name: np.stack(values).astype(np.float32)[:, None] for name, values in columns}
