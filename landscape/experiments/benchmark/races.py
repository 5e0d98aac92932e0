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
from landscape.experiments.benchmark.config import AGREEMENT, DISAGREES, OURS, WAYS, num_members, ways_of
from landscape.experiments.setting import Examples, example_keys, stage_key
from landscape.measures.bypass import Around, waypoints
from landscape.measures.flatness import ensemble_flatness
from landscape.measures.weight_sharpness import ensemble_weight_sharpness
from landscape.models.classifiers import Classifier
from landscape.training import classifier_members, step
from landscape.types import Ensemble

SIGMAS = (0.05, 0.2)  # pixels
XIS = (0.03, 0.1)  # relative to the weights
REST = 0.02  # seconds between two ways, in which the threads of one library go to sleep

Thunk = Callable[[], object]


class Task(NamedTuple):
    """One model's common ground. label: [S, N], what each member predicts on the images. how: OURS' mapping."""

    model: str
    classifier: Classifier
    moments: tuple[tuple[float, ...], tuple[float, ...]]
    ensemble: Ensemble
    images: Examples
    label: jax.Array
    how: Mapping


def task(config, model: str, classifier: Classifier, moments: tuple, images: Examples) -> Task:
    """Members with their initial weights: how long dense arithmetic takes does not depend on their values."""
    keys = jax.random.split(stage_key(config.seed, "init"), config.num_members)
    ensemble = ensembles.stack([jax.jit(classifier.init)(key, jnp.asarray(images.x[:1])) for key in keys])
    how = ensembles.parse(config.mapping, config.num_members)
    logits = map_members(classifier.apply, ensemble, shared=(jnp.asarray(images.x),), how=how)
    return Task(model, classifier, moments, ensemble, images, jnp.argmax(logits, axis=-1), how)


def peers_installed() -> bool:
    """Whether PyTorch and Foolbox are there."""
    return all(importlib.util.find_spec(name) for name in ("torch", "foolbox"))


def first(task: Task, count: int) -> Task:
    """The task with its first members only."""
    how = task.how._replace(devices=min(task.how.devices, count))
    return task._replace(ensemble=ensembles.take(task.ensemble, slice(count)), label=task.label[:count], how=how)


def num_images(config, race: str, num_examples: int) -> int:
    """Images that pass through a classifier in a race: forward, or forward and backward for searches and gradient."""
    if race == "bypass":
        return num_members(config, race) * config.benchmark.num_waypoint_steps * config.benchmark.num_pairs
    per_member = {
        "input_noise": len(SIGMAS) * config.benchmark.num_trials,
        "weight_noise": len(XIS) * config.benchmark.num_draws,
        "pgd": config.search.num_steps,
    }.get(race, 1)
    return num_members(config, race) * per_member * num_examples


def own(config, race: str, task: Task) -> dict[str, Thunk]:
    """The programs of a race that need no peer."""
    ways = ways_of(config, race)
    if race == "train_step":
        together, alone = train_step(task, task.how)
        return {OURS: together} | ({"loop": alone} if "loop" in ways else {})
    sole = Mapping(devices=1)
    mappings = {OURS: task.how, "one_device": sole, "map": sole, "vmap": Mapping(kind="vmap")}
    programs = {way: program(config, race, task, how) for way, how in mappings.items() if way in ways}
    if "loop" in ways:
        single, x = jax.jit(_single(race, task)), jnp.asarray(task.images.x)
        members = [(ensembles.take(task.ensemble, i), x, task.label[i]) for i in range(ensembles.size(task.ensemble))]
        programs["loop"] = lambda: jax.block_until_ready([single(*member) for member in members])
    return programs


def program(config, race: str, task: Task, how: Mapping) -> Thunk:
    """One jitted program for all members."""
    return {"input_noise": _input_noise, "weight_noise": _weight_noise, "pgd": _pgd, "bypass": _bypass}.get(
        race, partial(_passes, race)
    )(config, task, how)


def _run(compiled: Callable, *arguments, **named) -> Thunk:
    return lambda: jax.block_until_ready(compiled(*arguments, **named))


def _mapped(member: Callable, how: Mapping) -> Callable:
    """Jitted (ensemble, label, *shared) -> member of each."""
    return jax.jit(lambda ensemble, label, *shared: map_members(member, ensemble, label, shared=shared, how=how))


def _own_x(task: Task) -> jax.Array:
    x = jnp.asarray(task.images.x)
    return jnp.broadcast_to(x[None, None], (task.label.shape[0], 1, *x.shape))


def _input_noise(config, task: Task, how: Mapping) -> Thunk:
    measure = partial(ensemble_flatness, apply=task.classifier.apply, num_trials=config.benchmark.num_trials, how=how)
    keys = example_keys(config.seed, "input_noise", task.images.ids)
    arguments = (keys, task.ensemble, _own_x(task), task.label[:, None], task.label, jnp.asarray(task.images.x))
    return _run(jax.jit(measure), *arguments, sigmas=jnp.asarray(SIGMAS))


def _weight_noise(config, task: Task, how: Mapping) -> Thunk:
    own = {"apply": task.classifier.apply, "num_draws": config.benchmark.num_draws, "how": how}
    keys = example_keys(config.seed, "weight_noise", task.images.ids)[: len(task.label)]
    arguments = (keys, task.ensemble, _own_x(task), task.label[:, None])
    return _run(jax.jit(partial(ensemble_weight_sharpness, **own)), *arguments, sigmas=jnp.asarray(XIS))


def _pgd(config, task: Task, how: Mapping) -> Thunk:
    attack = partial(projected.pgd, apply=task.classifier.apply, norm="linf", num_steps=config.search.num_steps)

    def member(variables, label, keys, x, epsilon, step_size):
        return attack(keys, variables, x, label, epsilon=epsilon, step_size=step_size)

    keys, x = example_keys(config.seed, "pgd", task.images.ids), jnp.asarray(task.images.x)
    ball = (jnp.float32(config.search.epsilon), jnp.float32(config.search.step_size))
    return _run(_mapped(member, how), task.ensemble, task.label, keys, x, *ball)


def _bypass(config, task: Task, how: Mapping) -> Thunk:
    def height(variables, x, label):
        return objectives.loss(task.classifier.apply(variables, x), label)

    around = Around(height, num_steps=config.benchmark.num_waypoint_steps)

    def member(variables, label, a, b, peak):
        return waypoints(variables, a, b, label, peak, around=around)

    a, b = pairs(config, task)
    shared = (jnp.asarray(a), jnp.asarray(b), jnp.full(len(a), 0.5))
    return _run(_mapped(member, how), task.ensemble, task.label[:, : len(a)], *shared)


def _passes(race: str, config, task: Task, how: Mapping) -> Thunk:
    single = _single(race, task)

    def member(variables, label, x):
        return single(variables, x, label)

    return _run(_mapped(member, how), task.ensemble, task.label, jnp.asarray(task.images.x))


def pairs(config, task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Both ends of the lines of the bypass race."""
    count = config.benchmark.num_pairs
    return task.images.x[:count], task.images.x[-count:]


def _single(race: str, task: Task) -> Callable:
    """(variables, x, label) -> logits, or the gradient of the summed log-odds with respect to x."""
    if race == "forward":
        return lambda variables, x, label: task.classifier.apply(variables, x)
    climb = objectives.ascend(task.classifier.apply, objectives.gap)
    return lambda variables, x, label: jax.grad(lambda x: jnp.sum(climb(variables, x, label)))(x)


def train_step(task: Task, how: Mapping) -> tuple[Thunk, Thunk]:
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
    together = jax.jit(lambda images, *members: map_members(member, *members, shared=(images,), how=how))
    alone, each = jax.jit(member), [ensembles.take(members, i) for i in range(count)]
    return (
        lambda: jax.block_until_ready(together(images, *members)),
        lambda: [jax.block_until_ready(alone(*one, images)) for one in each],
    )


def ported(config, model: str) -> bool:
    """Whether the model can be rebuilt in PyTorch."""
    from landscape.experiments.benchmark import peers

    if model == "resnet18":
        return config.benchmark.part == "resnet"  # whose blocks are those of torchvision
    plain = config.model.norm == "none" and config.model.activation == "relu"
    return plain and model in peers.PORTED


def peer(config, race: str, task: Task, ways: Sequence[str]) -> tuple[dict[str, Thunk], float, dict[str, int], str]:
    """PyTorch's and Foolbox's programs, how far their logits are from ours, threads each is fastest with, and "".

    Where logits differ by more than AGREEMENT there are none, and the reason: it would not be the same work.
    """
    import torch

    from landscape.experiments.benchmark import peers

    mean, std = task.moments
    members = [ensembles.take(task.ensemble, i) for i in range(len(task.label))]
    nets, last = ([peers.network(task.model, v, mean=mean, std=std) for v in members] for _ in range(2))
    last = peers.channels_last(last)
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
        return {}, gap, {}, DISAGREES
    labels = [torch.from_numpy(np.array(label)).long() for label in task.label]
    search = {name: config.search[name] for name in ("epsilon", "step_size", "num_steps")}
    work = {
        "input_noise": partial(peers.input_noise, sigmas=SIGMAS, num_trials=config.benchmark.num_trials),
        "weight_noise": partial(peers.weight_noise, sigmas=XIS, num_draws=config.benchmark.num_draws),
        "pgd": partial(peers.pgd, **search),
        "bypass": partial(peers.bypass, num_steps=config.benchmark.num_waypoint_steps),
    }[race]
    programs = {
        "pytorch": lambda: work(nets, x, labels),
        "pytorch_channels_last": lambda: work(last, x_last, labels),
        "foolbox": lambda: peers.foolbox_pgd(nets, x, labels, **search),
    }
    if race == "bypass":
        a, b = (peers.images(ends, turned=turned) for ends in pairs(config, task))
        labels = [label[: len(a)] for label in labels]
        programs = {
            "pytorch": lambda: work(nets, a, b, labels),
            "pytorch_one_by_one": lambda: [
                work(nets, a[i : i + 1], b[i : i + 1], [label[i : i + 1] for label in labels]) for i in range(len(a))
            ],
        }
    counts = thread_counts(os.cpu_count() or 1, few=not turned)
    programs = {way: programs[way] for way in ways}
    threads = {way: peers.best_threads(work, counts, time.perf_counter) for way, work in programs.items()}
    return {way: peers.with_threads(work, threads[way]) for way, work in programs.items()}, gap, threads, ""


def thread_counts(cores: int, *, few: bool) -> list[int]:
    """Numbers of threads that are tried: powers of two up to all cores; all alone where a round takes long."""
    return [cores] if few else sorted({*(2**k for k in range(cores.bit_length())), cores})


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
