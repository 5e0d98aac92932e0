"""Races: one piece of work each, done in several ways on the same weights and images, in turns."""

import importlib.util
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from landscape import ensembles, objectives
from landscape.attacks import projected
from landscape.ensembles import Mapping, map_members
from landscape.experiments.benchmark.config import (
    AGREEMENT,
    DISAGREES,
    NO_PORT,
    NOT_INSTALLED,
    ONE_BY_ONE,
    OURS,
    WAYS,
    num_members,
    ways_of,
)
from landscape.experiments.setting import Examples, example_keys, stage_key
from landscape.measures import surface
from landscape.measures.curvature import curvature
from landscape.measures.flatness import ensemble_flatness
from landscape.measures.mapping import ensemble_measure
from landscape.measures.weight_sharpness import ensemble_weight_sharpness
from landscape.models.classifiers import Classifier
from landscape.training import classifier_members, step
from landscape.types import Apply, Ensemble

SIGMAS = (0.05, 0.2)  # pixels
XIS = (0.03, 0.1)  # relative to the weights
LANCZOS, PROBES = 12, 16  # steps for the top eigenvalue, probes of the trace
SIDE = 15  # of the grid of a surface
# A smoke run is compiled in haste (see `runs.process`); for what is timed, XLA's own values hold again.
OPTIMISED = {
    "xla_backend_optimization_level": 3,
    "xla_cpu_use_fusion_emitters": True,
    "xla_cpu_parallel_codegen_split_count": 32,
}
REST = 0.02  # seconds between two ways, in which the threads of one library go to sleep

Thunk = Callable[[], object]


class Task(NamedTuple):
    """What all ways share in the races of one model.

    label: [S, N], what each member predicts on the images. how: OURS' mapping. jit: compiles what is timed.
    """

    model: str
    classifier: Classifier
    moments: tuple[tuple[float, ...], tuple[float, ...]]
    ensemble: Ensemble
    images: Examples
    label: jax.Array
    how: Mapping
    jit: Callable


def task(config, model: str, classifier: Classifier, moments: tuple, images: Examples) -> Task:
    """Members with their initial weights: how long dense arithmetic takes does not depend on their values."""
    keys = jax.random.split(stage_key(config.seed, "init"), config.num_members)
    ensemble = ensembles.stack([jax.jit(classifier.init)(key, jnp.asarray(images.x[:1])) for key in keys])
    how = ensembles.parse(config.mapping, config.num_members)
    logits = map_members(classifier.apply, ensemble, shared=(jnp.asarray(images.x),), how=how)
    return Task(model, classifier, moments, ensemble, images, jnp.argmax(logits, axis=-1), how, compiler(config.smoke))


def compiler(smoke: bool) -> Callable:
    """jax.jit with XLA's optimisations, also where the process was started without."""
    given = os.environ.get("XLA_FLAGS", "")
    options = {name: value for name, value in OPTIMISED.items() if smoke and name in given}
    return partial(jax.jit, compiler_options=options) if options else jax.jit


def peers_installed() -> bool:
    """Whether PyTorch and Foolbox are there."""
    return all(importlib.util.find_spec(name) for name in ("torch", "foolbox"))


def first(task: Task, count: int) -> Task:
    """The task with its first members only."""
    how = task.how._replace(devices=min(task.how.devices, count))
    return task._replace(ensemble=ensembles.take(task.ensemble, slice(count)), label=task.label[:count], how=how)


def num_images(config, race: str, num_examples: int) -> int:
    """Images that pass through a classifier in a race, forward; in searches and gradients backward as well."""
    count, about = num_members(config, race), config.benchmark
    draws = {"input_noise": len(SIGMAS) * about.num_trials, "weight_noise": len(XIS) * about.num_draws}
    if race == "curvature":  # an image is one whose curvature is found
        return count * num_examples
    return count * num_examples * (draws | {"pgd": config.search.num_steps, "surface": SIDE**2}).get(race, 1)


# ---- the ways that need no peer ----


def own(config, race: str, task: Task) -> dict[str, Thunk]:
    """The programs of a race that need no peer."""
    ways = ways_of(config, race)
    if race == "train_step":
        together, loop = train_step(task)
        return {OURS: together} | ({"loop": loop} if "loop" in ways else {})
    mappings = {OURS: task.how, "one_device": Mapping(devices=1), "map": Mapping(devices=1)}
    mappings["vmap"] = Mapping(kind="vmap")
    programs = {way: program(config, race, task, how) for way, how in mappings.items() if way in ways}
    if "loop" in ways:
        single, x = task.jit(_gradient(task.classifier.apply)), jnp.asarray(task.images.x)
        members = [(ensembles.take(task.ensemble, i), task.label[i], x) for i in range(ensembles.size(task.ensemble))]
        programs["loop"] = lambda: jax.block_until_ready([single(*member) for member in members])
    return programs


def program(config, race: str, task: Task, how: Mapping) -> Thunk:
    """One jitted program for all members."""
    x, apply = jnp.asarray(task.images.x), task.classifier.apply
    keys = example_keys(config.seed, race, task.images.ids)
    inputs = (task.ensemble, jnp.broadcast_to(x[None, None], (len(task.label), 1, *x.shape)), task.label[:, None])
    if race == "input_noise":
        measure = partial(ensemble_flatness, apply=apply, num_trials=config.benchmark.num_trials, how=how)
        arguments, named = (keys, *inputs, task.label, x), {"sigmas": jnp.asarray(SIGMAS)}
    elif race == "weight_noise":
        measure = partial(ensemble_weight_sharpness, apply=apply, num_draws=config.benchmark.num_draws, how=how)
        own = jax.random.split(stage_key(config.seed, race), len(task.label))
        arguments, named = (own, *inputs), {"sigmas": jnp.asarray(XIS)}
    elif race == "curvature":
        options = {"piecewise_linear": task.classifier.piecewise_linear, "num_steps": LANCZOS, "num_probes": PROBES}
        measure = partial(ensemble_measure, partial(curvature, apply=apply, **options), how=how)
        arguments, named = (keys, *inputs), {}
    else:
        member, shared = _gradient(apply), (x,)
        if race == "pgd":
            ball = (jnp.float32(config.search.epsilon), jnp.float32(config.search.step_size))
            member, shared = _pgd(apply, config.search.num_steps), (x, keys, *ball)
        if race == "surface":
            member, shared = _surface(task.classifier), (planes_of(config, task), jnp.asarray(surface.grid(SIDE)))
        arguments, named = (task.ensemble, task.label, *shared), {}

        def measure(ensemble, label, *shared):
            return map_members(member, ensemble, label, shared=shared, how=how)

    compiled = task.jit(measure)
    return lambda: jax.block_until_ready(compiled(*arguments, **named))


def _pgd(apply: Apply, num_steps: int) -> Callable:
    """(variables, label, x, keys, epsilon, step size) -> the images found."""
    attack = partial(projected.pgd, apply=apply, norm="linf", num_steps=num_steps)
    return lambda variables, label, x, keys, epsilon, step_size: attack(
        keys, variables, x, label, epsilon=epsilon, step_size=step_size
    )


def _surface(classifier: Classifier) -> Callable:
    """(variables, label, planes, at) -> log-odds and decisions at the points of every plane."""
    how = {"apply": classifier.apply, "through": classifier.through}
    return lambda variables, label, planes, at: surface.surfaces(variables, planes, at, label, **how)[:2]


def planes_of(config, task: Task) -> surface.Plane:
    """A random plane through every image."""
    noise = np.random.default_rng(config.seed).normal(size=(2, *task.images.x.shape)).astype(np.float32)
    return jax.jit(jax.vmap(surface.through))(*(jnp.asarray(task.images.x + one) for one in (0 * noise[0], *noise)))


def _gradient(apply: Apply) -> Callable:
    """(variables, label, x) -> the gradient of the summed log-odds with respect to x."""
    value = objectives.ascend(apply, objectives.log_odds)
    return lambda variables, label, x: jax.grad(lambda x: jnp.sum(value(variables, x, label)))(x)


def train_step(task: Task) -> tuple[Thunk, Thunk]:
    """One training step (AdamW, one batch of all images): of all members in one program, and member by member."""
    count, num = task.label.shape
    plan = step.Plan(num_epochs=1, batch_size=num, num_examples=num)
    hyper = classifier_members.Hyper(1e-3, 1e-4, 0.0, 0.0, 0.0)
    advance = partial(step.advance, task=classifier_members.task_of(task.classifier), plan=plan)

    def member(state, key, hyper, label, images):
        return advance(state, (), key, hyper, label, images, jnp.int32(0), jnp.int32(0), jnp.int32(1))

    images = jnp.asarray(np.round(255 * task.images.x), jnp.uint8)
    hyper = jax.tree.map(lambda leaf: jnp.broadcast_to(jnp.float32(leaf), (count,)), hyper)
    states = jax.jit(jax.vmap(partial(step.begin, plan=plan)))(task.ensemble, hyper)
    members = (states, step.member_keys(0, jnp.arange(count)), hyper, task.label)
    together = task.jit(lambda images, *members: map_members(member, *members, shared=(images,), how=task.how))
    alone, each = task.jit(member), [ensembles.take(members, i) for i in range(count)]
    return (
        lambda: jax.block_until_ready(together(images, *members)),
        lambda: [jax.block_until_ready(alone(*one, images)) for one in each],
    )


# ---- PyTorch and Foolbox ----


def ported(config, model: str) -> bool:
    """Whether the model can be rebuilt in PyTorch."""
    from landscape.experiments.benchmark import peers

    if model == "resnet18":
        return config.benchmark.part == "resnet"  # whose blocks are those of torchvision
    plain = config.model.norm == "none" and config.model.activation == "relu"
    return plain and model in peers.PORTED


def peer(config, race: str, task: Task, ways: Sequence[str]) -> tuple[dict[str, Thunk], float, str]:
    """PyTorch's and Foolbox's programs, how far their logits are from ours, and "".

    Or none, and the reason. Where logits differ by more than AGREEMENT it would not be the same work.
    """
    if not peers_installed() or not ported(config, task.model):
        return {}, np.nan, NO_PORT if peers_installed() else NOT_INSTALLED
    import torch

    from landscape.experiments.benchmark import peers

    mean, std = task.moments
    members = [ensembles.take(task.ensemble, i) for i in range(len(task.label))]
    nets, last = ([peers.network(task.model, v, mean=mean, std=std) for v in members] for _ in range(2))
    last = [net.to(memory_format=torch.channels_last) for net in last]
    turned = task.model in peers.PORTED
    x = peers.images(task.images.x, turned=turned)
    x_last = x.contiguous(memory_format=torch.channels_last)
    ours = [np.asarray(jax.jit(task.classifier.apply)(v, task.images.x)) for v in members]
    gap = max(
        float(np.abs(net(images).numpy() - logits).max() / max(1.0, np.abs(logits).max()))
        for models, images in ((nets, x), (last, x_last))
        for net, logits in zip(models, ours, strict=True)
    )
    if not gap <= AGREEMENT:
        return {}, gap, DISAGREES
    labels = [torch.from_numpy(np.array(label)).long() for label in task.label]
    search = {name: config.search[name] for name in ("epsilon", "step_size", "num_steps")}
    plane = _as_theirs(planes_of(config, task), turned) if race == "surface" else {}
    work = {
        "surface": partial(peers.surface, **plane),
        "input_noise": partial(peers.input_noise, sigmas=SIGMAS, num_trials=config.benchmark.num_trials),
        "weight_noise": partial(peers.weight_noise, sigmas=XIS, num_draws=config.benchmark.num_draws),
        "pgd": partial(peers.pgd, **search),
        "curvature": partial(peers.curvature, num_steps=LANCZOS, num_probes=PROBES),
    }[race]
    programs = {
        "pytorch": lambda: work(nets, x, labels),
        "pytorch_channels_last": lambda: work(last, x_last, labels),
        "foolbox": lambda: peers.foolbox_pgd(nets, x, labels, **search),
        ONE_BY_ONE: lambda: [work(nets, x[i : i + 1], [label[i : i + 1] for label in labels]) for i in range(len(x))],
    }
    counts = thread_counts(os.cpu_count() or 1, few=not turned)
    return {way: peers.with_best_threads(programs[way], counts) for way in ways}, gap, ""


def _as_theirs(planes: surface.Plane, turned: bool) -> dict:
    """Directions, coordinates and radii as `peers.surface` takes them."""
    import torch

    from landscape.experiments.benchmark import peers

    directions = [peers.images(one, turned=turned) for one in (planes.first, planes.second)]
    radius = torch.from_numpy(np.array(jax.vmap(surface.radius)(planes)))
    return {"plane": directions, "at": torch.from_numpy(surface.grid(SIDE)), "radius": radius}


def thread_counts(cores: int, *, few: bool) -> list[int]:
    """Numbers of threads that are tried: powers of two up to all cores; all alone where a round takes long."""
    return [cores] if few else sorted({*(2**k for k in range(cores.bit_length())), cores})


# ---- turns ----


def race(programs: dict[str, Thunk], num_repeats: int) -> np.ndarray:
    """Seconds [way, round] in the order of WAYS, NaN for those that take no part.

    Each runs once before (compilation, caches); then they take turns, a different one first in every round.
    """
    names = list(programs)
    for name in names:
        programs[name]()
    seconds = np.full((len(WAYS), num_repeats), np.nan, np.float32)
    for repeat in range(num_repeats):
        first = repeat % len(names)
        for name in names[first:] + names[:first]:
            time.sleep(REST)
            begin = time.perf_counter()
            programs[name]()
            seconds[WAYS.index(name), repeat] = time.perf_counter() - begin
    return seconds
