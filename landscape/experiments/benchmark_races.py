"""What `benchmark` times: one piece of work a race, and the contestants that do it on the same weights and images."""

import importlib.util
import math
import os
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from landscape import ensembles, objectives
from landscape.attacks import projected
from landscape.ensembles import Mapping, map_members
from landscape.experiments.setting import Examples, example_keys, stage_key
from landscape.measures.bypass import Around, bends
from landscape.measures.flatness import ensemble_flatness
from landscape.measures.weight_sharpness import ensemble_weight_sharpness
from landscape.models.classifiers import Classifier
from landscape.types import Ensemble

SIGMAS = (0.05, 0.2)  # pixels
XIS = (0.03, 0.1)  # relative to the weights
OURS = "landscape"
# race -> who takes part beside OURS (members mapped as `config.mapping` says). PEERS need the `peers` extra.
PEERS = ("pytorch", "pytorch_channels_last", "pytorch_one_by_one", "foolbox")
MAPPINGS = ("one_device", "map", "vmap", "loop")
RACES = {
    "input_noise": ("pytorch", "pytorch_channels_last"),
    "weight_noise": ("pytorch", "pytorch_channels_last"),
    "pgd": ("one_device", "pytorch", "pytorch_channels_last", "foolbox"),
    "bypass": ("one_device", "pytorch", "pytorch_one_by_one"),
    "forward": ("map", "vmap", "loop"),
    "gradient": ("map", "vmap", "loop"),
}
CONTESTANTS = (OURS, *MAPPINGS, *PEERS)
AGREEMENT = 1e-4  # largest difference of logits between a network and its port, or of the largest logit where above 1
LEVEL = 0.95  # of intervals of medians
REST = 0.02  # seconds between two contestants, in which the threads of one library go to sleep

SEARCHES = ("pgd", "bypass")

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


def num_members(config, race: str) -> int:
    """Members that take part in a race: a search takes long, so fewer do there."""
    return min(config.num_members, config.benchmark.num_searched) if race in SEARCHES else config.num_members


def first(task: Task, count: int) -> Task:
    """The task with its first members only."""
    how = task.how._replace(devices=min(task.how.devices, count))
    return task._replace(ensemble=ensembles.take(task.ensemble, slice(count)), label=task.label[:count], how=how)


def num_images(config, race: str, num_examples: int) -> int:
    """Images that pass through a classifier in a race: forward, or forward and backward for searches and gradient."""
    if race == "bypass":
        return num_members(config, race) * config.benchmark.num_bends * config.benchmark.num_pairs
    per_member = {
        "input_noise": len(SIGMAS) * config.benchmark.num_trials,
        "weight_noise": len(XIS) * config.benchmark.num_draws,
        "pgd": config.search.num_steps,
    }.get(race, 1)
    return num_members(config, race) * per_member * num_examples


def own(config, race: str, task: Task) -> dict[str, Thunk]:
    """The contestants of a race that need no peer."""
    sole = Mapping(devices=1)
    mappings = {OURS: task.how, "one_device": sole, "map": sole, "vmap": Mapping(kind="vmap")}
    thunks = {name: _program(config, race, task, how) for name, how in mappings.items() if name in (OURS, *RACES[race])}
    if "loop" in RACES[race]:
        single, x = jax.jit(_single(race, task)), jnp.asarray(task.images.x)
        members = [(ensembles.take(task.ensemble, i), x, task.label[i]) for i in range(ensembles.size(task.ensemble))]
        thunks["loop"] = lambda: jax.block_until_ready([single(*member) for member in members])
    return thunks


def _program(config, race: str, task: Task, how: Mapping) -> Thunk:
    """One jitted program for all members."""
    x, label = jnp.asarray(task.images.x), task.label
    keys = example_keys(config.seed, race, task.images.ids)
    own_x = jnp.broadcast_to(x[None, None], (label.shape[0], 1, *x.shape))
    if race == "input_noise":
        measure = partial(
            ensemble_flatness, apply=task.classifier.apply, num_trials=config.benchmark.num_trials, how=how
        )
        arguments = (keys, task.ensemble, own_x, label[:, None], label, x)
        program, named = jax.jit(measure), {"sigmas": jnp.asarray(SIGMAS)}
    elif race == "weight_noise":
        measure = partial(
            ensemble_weight_sharpness, apply=task.classifier.apply, num_draws=config.benchmark.num_draws, how=how
        )
        arguments = (keys[: len(label)], task.ensemble, own_x, label[:, None])
        program, named = jax.jit(measure), {"sigmas": jnp.asarray(XIS)}
    elif race == "pgd":
        attack = partial(projected.pgd, apply=task.classifier.apply, norm="linf", num_steps=config.search.num_steps)

        def member(variables, label, keys, x, epsilon, step_size):
            return attack(keys, variables, x, label, epsilon=epsilon, step_size=step_size)

        shared = (keys, x, jnp.float32(config.search.epsilon), jnp.float32(config.search.step_size))
        program = jax.jit(lambda ensemble, label, *shared: map_members(member, ensemble, label, shared=shared, how=how))
        arguments, named = (task.ensemble, label, *shared), {}
    elif race == "bypass":
        around = Around(
            lambda v, x, label: objectives.loss(task.classifier.apply(v, x), label),
            num_steps=config.benchmark.num_bends,
        )

        def member(variables, label, a, b, peak):
            return bends(jax.random.key(0), variables, a, b, label, peak, around=around)

        a, b = pairs(config, task)
        shared = (jnp.asarray(a), jnp.asarray(b), jnp.full(len(a), 0.5))
        program = jax.jit(lambda ensemble, label, *shared: map_members(member, ensemble, label, shared=shared, how=how))
        arguments, named = (task.ensemble, label[:, : len(a)], *shared), {}
    else:
        single = _single(race, task)

        def member(variables, label, x):
            return single(variables, x, label)

        program = jax.jit(lambda ensemble, label, x: map_members(member, ensemble, label, shared=(x,), how=how))
        arguments, named = (task.ensemble, label, x), {}
    return lambda: jax.block_until_ready(program(*arguments, **named))


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


def ported(config, model: str) -> bool:
    """Whether the model can be rebuilt in PyTorch."""
    from landscape.experiments import peers

    plain = config.model.norm == "none" and config.model.activation == "relu"
    return plain and model in peers.PORTED


def peer(config, race: str, task: Task, only: str | None = None) -> tuple[dict[str, Thunk], float, dict[str, int]]:
    """The PyTorch and Foolbox contestants, how far their logits are from ours, and the threads each is fastest with.

    `only` one of them takes part, with a thread a core: where trying each number of threads would take minutes. Where
    logits differ by more than AGREEMENT there are none: it would not be the same work.
    """
    import torch

    from landscape.experiments import peers

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
        return {}, gap, {}
    labels = [torch.from_numpy(np.array(label)).long() for label in task.label]
    search = {name: config.search[name] for name in ("epsilon", "step_size", "num_steps")}
    work = {
        "input_noise": partial(peers.input_noise, sigmas=SIGMAS, num_trials=config.benchmark.num_trials),
        "weight_noise": partial(peers.weight_noise, sigmas=XIS, num_draws=config.benchmark.num_draws),
        "pgd": partial(peers.pgd, **search),
        "bypass": partial(peers.bypass, num_steps=config.benchmark.num_bends),
    }[race]
    if race == "bypass":
        a, b = (peers.images(ends, turned=turned) for ends in pairs(config, task))
        labels = [label[: len(a)] for label in labels]
        thunks = {
            "pytorch": lambda: work(nets, a, b, labels),
            "pytorch_one_by_one": lambda: [
                work(nets, a[i : i + 1], b[i : i + 1], [label[i : i + 1] for label in labels]) for i in range(len(a))
            ],
        }
    else:
        thunks = {
            "pytorch": lambda: work(nets, x, labels),
            "pytorch_channels_last": lambda: work(last, x_last, labels),
        }
    if race == "pgd":
        thunks["foolbox"] = lambda: peers.foolbox_pgd(nets, x, labels, **search)
    cores = os.cpu_count() or 1
    counts = range(cores if only else 1, cores + 1)
    thunks = {name: thunk for name, thunk in thunks.items() if only in (None, name)}
    threads = {name: peers.best_threads(thunk, counts, time.perf_counter) for name, thunk in thunks.items()}

    def with_threads(name: str) -> Thunk:
        def run():
            torch.set_num_threads(threads[name])
            return thunks[name]()

        return run

    return {name: with_threads(name) for name in thunks}, gap, threads


def race(thunks: dict[str, Thunk], num_repeats: int) -> np.ndarray:
    """Seconds [contestant, repeat] in the order of CONTESTANTS, NaN for those who do not take part.

    Each runs once before (compilation, caches); then they take turns, a different one first in every round.
    """
    names = list(thunks)
    for name in names:
        thunks[name]()
    seconds = np.full((len(CONTESTANTS), num_repeats), np.nan, np.float32)
    for repeat in range(num_repeats):
        first = repeat % len(names)
        for name in names[first:] + names[:first]:
            time.sleep(REST)
            begin = time.perf_counter()
            thunks[name]()
            seconds[CONTESTANTS.index(name), repeat] = time.perf_counter() - begin
    return seconds


def median(values: np.ndarray) -> tuple[float, float, float, float]:
    """The median, and the narrowest interval between order statistics that covers the true one with LEVEL.

    Between the k-th smallest and the k-th largest of n independent values it lies with probability
    1 - 2 P(Binomial(n, 1/2) < k), whatever their distribution. Fewer than 6 values reach less than 95 % at k = 1.

    Returns:
      (median, low, high, level reached).
    """
    ordered = np.sort(np.asarray(values, float))
    n = len(ordered)
    cover = {k: 1 - 2 * sum(math.comb(n, i) for i in range(k)) / 2**n for k in range(1, n // 2 + 1)} or {1: 0.0}
    k = max((k for k, level in cover.items() if level >= LEVEL), default=1)
    return float(np.median(ordered)), float(ordered[k - 1]), float(ordered[-k]), cover[k]
