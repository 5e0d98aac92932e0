"""Two further parts of `benchmark`, on generated images: a ResNet-18 beside PyTorch, and members a second on a device.

`resnet`: torchvision's ResNet-18 (stem "imagenet", batch norm, random weights, 200 classes) on 64 x 64 images: PGD and
input-noise flatness beside a channels-last PyTorch loop with all cores, and a training step of all members in one
program beside one jitted step a member. In turns, ratios within a round.

`members`: members a second of the training step, PGD and input-noise flatness for 1, 4, 16, .. members of the small
`cnn` and of that ResNet-18, and what share of a large matrix product's FLOP/s they reach.
"""

import os
import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from landscape import ensembles, runs
from landscape.ensembles import Mapping, map_members
from landscape.experiments import benchmark_races as races
from landscape.experiments import setting
from landscape.experiments.benchmark_races import CONTESTANTS, OURS, Task, Thunk
from landscape.models import classifiers
from landscape.training import classifier_members, step
from landscape.types import Arrays

NUM_CLASSES = 200
MODELS = {"cnn": (28, 1), "resnet18": (64, 3)}  # side and channels of the images
RESIDUAL = {"norm": "batch", "stem": "imagenet"}
RACES = {"pgd": "pytorch_channels_last", "input_noise": "pytorch_channels_last", "train_step": "loop"}  # beside whom
PRODUCT = {"cpu": 1024}  # side of the matrices whose product sets the scale, elsewhere 8192
ATTRIBUTES = {
    "seconds": {"units": "s", "long_name": "wall time of one round"},
    "member_seconds": {"units": "s", "long_name": "wall time of one round, by number of members"},
    "share": {"units": "1", "long_name": "share of the FLOP/s that a large matrix product reaches"},
    "race": {"units": "1", "long_name": "piece of work"},
    "model": {"units": "1", "long_name": "classifier"},
    "peer": {"units": "1", "long_name": "who does the work"},
    "count": {"units": "1", "long_name": "number of members"},
    "round": {"units": "1", "long_name": "number of the round"},
}


def task_of(config, model: str, count: int) -> Task:
    """Members with random weights and images of uniform noise."""
    side, channels = MODELS[model]
    mean, std = (0.5,) * channels, (0.25,) * channels
    more = RESIDUAL if model == "resnet18" else {}
    classifier = classifiers.build(model, num_classes=NUM_CLASSES, mean=mean, std=std, **more)
    num = config.benchmark.num_examples
    x = np.random.default_rng(config.seed).random((num, side, side, channels), np.float32)
    images = setting.Examples(x, np.zeros(num, np.int32), np.arange(num))
    return races.task(setting.with_members(config, count), model, classifier, (mean, std), images)


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


def run_resnet(config, run: runs.Run) -> None:
    """The races of a ResNet-18: arrays.nc and summary.json."""
    task, seconds, gaps = task_of(config, "resnet18", config.benchmark.num_searched), {}, {}
    for race, peer in RACES.items():

        def timed(race=race, peer=peer) -> Arrays:
            gap = np.nan
            if race == "train_step":
                thunks = dict(zip((OURS, peer), train_step(task, task.how), strict=True))
            else:
                thunks = {OURS: races.own(config, race, task)[OURS]}
                if races.peers_installed():
                    others, gap, _ = races.peer(config, race, task, only=peer)
                    thunks |= others
            taken = races.race(thunks, config.benchmark.num_repeats)
            return {"seconds": (("peer", "round"), taken), "gap": ((), np.float32(gap))}

        found = runs.once(run, f"{race}_resnet18", timed)
        seconds[race], gaps[race] = found["seconds"][1], float(found["gap"][1])
    entries = []
    for race, peer in RACES.items():
        theirs, ours = (seconds[race][CONTESTANTS.index(name)] for name in (peer, OURS))
        entries.append(_entry(config, f"throughput.{race}.ratio", theirs / ours, "times", "resnet18", peer, True))
        entries.append(
            _entry(config, f"throughput.{race}", len(task.label) / ours, "members/s", "resnet18", OURS, False)
        )
    for entry in entries:
        entry |= {"members": len(task.label)}
    headline = "ResNet-18 on 64 x 64, times faster than " + ", ".join(
        f"{peer.replace('_', ' ')}: {race} {entry['value']:.2f}x" if entry["value"] else f"{race} not measured"
        for (race, peer), entry in zip(RACES.items(), entries[::2], strict=True)
    )
    stacked = np.stack([seconds[race] for race in RACES])[:, None]
    arrays = {"seconds": (("race", "model", "peer", "round"), stacked)}
    coords = {"model": ("resnet18",), "peer": CONTESTANTS}
    worst = np.nanmax([*gaps.values(), 0.0])
    check = {"name": "peers compute the same network", "passed": bool(worst <= races.AGREEMENT)}
    _save(config, run, arrays, coords, headline + ".", entries, [check | {"detail": f"largest difference {worst:.1e}"}])


def run_members(config, run: runs.Run) -> None:
    """Members a second by their number: arrays.nc and summary.json."""
    counts, models = tuple(config.benchmark.counts), tuple(config.benchmark.models)
    peak = _product_rate()
    shape = (len(RACES), len(models), len(counts))
    seconds, share, entries = (
        np.full((*shape, config.benchmark.num_repeats), np.nan, np.float32),
        np.full(shape, np.nan),
        [],
    )
    for m, model in enumerate(models):
        for c, count in enumerate(counts):

            def timed(model=model, count=count) -> Arrays:
                task = task_of(config, model, count)
                taken = [_times(_thunk(config, race, task), config.benchmark.num_repeats) for race in RACES]
                work = [count * factor * _forward_flops(task) for factor in _passes(config).values()]
                return {
                    "seconds": (("race", "round"), np.stack(taken)),
                    "flops": (("race",), np.array(work, np.float64)),
                }

            found = runs.once(run, f"members_{model}_{count}", timed)
            seconds[:, m, c] = found["seconds"][1]
            share[:, m, c] = found["flops"][1] / np.median(seconds[:, m, c], axis=-1) / peak
            for r, race in enumerate(RACES):
                entries.append(
                    _entry(config, f"throughput.{race}", count / seconds[r, m, c], "members/s", model, OURS, True)
                    | {"members": count, "share": float(share[r, m, c])}
                )
    times = np.median(seconds[0, :, -1], axis=-1) / np.median(seconds[0, :, 0], axis=-1)
    headline = f"PGD of {counts[-1]} members takes, in times of {counts[0]}: " + ", ".join(
        f"{model} {value:.1f}" for model, value in zip(models, times, strict=True)
    )
    headline += f". Largest share of a matrix product's {peak / 1e12:.2f} TFLOP/s: {share.max():.2f}."
    own = np.full((*shape[:2], len(CONTESTANTS), seconds.shape[-1]), np.nan, np.float32)
    own[:, :, CONTESTANTS.index(OURS)] = seconds[:, :, -1]
    arrays = {
        "seconds": (("race", "model", "peer", "round"), own),
        "member_seconds": (("race", "model", "count", "round"), seconds),
        "share": (("race", "model", "count"), share),
    }
    _save(config, run, arrays, {"model": models, "peer": CONTESTANTS, "count": counts}, headline, entries, [])


def _thunk(config, race: str, task: Task) -> Thunk:
    return train_step(task, task.how)[0] if race == "train_step" else races.own(config, race, task)[OURS]


def _times(thunk: Thunk, num_repeats: int) -> np.ndarray:
    return races.race({OURS: thunk}, num_repeats)[CONTESTANTS.index(OURS)]


def _passes(config) -> dict[str, int]:
    """Forward passes that cost as much as one member's work; a backward pass costs one, or two with the weights'."""
    noisy = len(races.SIGMAS) * config.benchmark.num_trials + 1
    return {"pgd": 2 * config.search.num_steps, "input_noise": noisy, "train_step": 3}


def _forward_flops(task: Task) -> float:
    """Of one member's forward pass, counted with the plain convolution."""
    side, channels = MODELS[task.model]
    more = RESIDUAL if task.model == "resnet18" else {}
    direct = classifiers.build(task.model, num_classes=NUM_CLASSES, conv=jax.lax.conv_general_dilated, **more)
    x = jax.ShapeDtypeStruct((len(task.images.x), side, side, channels), jnp.float32)
    return jax.jit(direct.apply).lower(ensembles.take(task.ensemble, 0), x).cost_analysis()["flops"]


def _product_rate() -> float:
    """FLOP/s of a product of large float32 matrices, the best of five."""
    side = PRODUCT.get(jax.default_backend(), 8192)
    product, matrix = jax.jit(jnp.matmul), jnp.ones((side, side), jnp.float32)
    taken = []
    for _ in range(6):
        begin = time.perf_counter()
        product(matrix, matrix).block_until_ready()
        taken.append(time.perf_counter() - begin)
    return 2 * side**3 / min(taken[1:])


def _entry(config, name: str, values: np.ndarray, unit: str, model: str, peer: str, headline: bool) -> dict:
    missing = {"value": None, "low": None, "high": None, "level": None, "note": "skipped: not installed"}
    estimate = dict(zip(("value", "low", "high", "level"), races.median(values), strict=True))
    entry = {"name": name, "population": "", **(missing if np.isnan(values).any() else estimate)}
    entry |= {"examples": config.benchmark.num_examples, "unit": unit, "generalises_to": "this machine"}
    return entry | {"model": model, "peer": peer, "headline": headline}


def _save(
    config, run: runs.Run, arrays: Arrays, coords: dict, headline: str, estimates: list[dict], checks: list
) -> None:
    coords = {"race": tuple(RACES), "round": range(config.benchmark.num_repeats), **coords}
    labelled = {name: ((name,), np.array(list(values))) for name, values in coords.items()}
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    runs.write_arrays(run, arrays, labelled, ATTRIBUTES, num_steps=config.search.num_steps, load=load)
    runs.write_summary(run, headline=headline, estimates=estimates, checks=checks)
