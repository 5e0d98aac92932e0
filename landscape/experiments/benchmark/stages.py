"""The stages of a benchmark: races, one stage each; attacks beside Foolbox's; rates by the number of classifiers."""

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from landscape import data, ensembles, runs
from landscape.experiments import setting
from landscape.experiments.base import run_once
from landscape.experiments.benchmark import OF_ONE, OTHERS, attacks, races
from landscape.experiments.benchmark.config import NOT_ASKED, OURS, PEERS, WAYS, num_members, ways_of
from landscape.experiments.benchmark.races import Task
from landscape.models import classifiers
from landscape.presets.names import RESNETS

MISSING = "PyTorch and Foolbox are not both installed, so they are left out; try pip install -e '.[peers]'"
NUM_CLASSES = 200  # of generated classifiers
IMAGES = {"cnn": (28, 1), "resnet18": (64, 3)}  # side and channels of the images generated for them
RESIDUAL = {"norm": "batch", "stem": "imagenet"}
PRODUCT = {"cpu": 1024}  # side of the matrices whose product sets the scale, elsewhere 8192


def compute(config, run: runs.Run) -> xr.Dataset:
    """Every array of a run; what is on disk is not computed again."""
    if config.benchmark.part == "members":
        return by_count(config, run)
    if not races.peers_installed():
        run.console.print(MISSING, markup=False, highlight=False, soft_wrap=True)
    if config.benchmark.part == "resnet":
        count = max(num_members(config, race) for race in config.benchmark.races)
        return all_races(config, run, {m: generated(config, m, count) for m in config.benchmark.models})
    dataset, classifier = setting.load(config)
    runs.begin_on(run, dataset.checksum, dataset.about)
    images = setting.examples(dataset, "test", config.benchmark.num_examples, config.seed)
    tasks = {}
    for model in config.benchmark.models:
        stem = config.model.stem if model in RESNETS else "small"  # the others have no other
        own = setting.classifier_of(config, dataset, name=model, stem=stem)
        tasks[model] = races.task(config, model, own, data.moments(dataset), images)
    found = all_races(config, run, tasks)
    return found.merge(attacks.compute(config, run, dataset, classifier), join="exact", combine_attrs="drop_conflicts")


def all_races(config, run: runs.Run, tasks: dict[str, Task]) -> xr.Dataset:
    """Every race of every classifier."""
    found = []
    for race in config.benchmark.races:
        of_race = []
        for model, task in tasks.items():
            part = races.first(task, num_members(config, race))
            of_race.append(run_once(run, f"{race}_{model}", lambda r=race, t=part: one_race(config, r, t), OF_ONE))
        found.append(xr.concat(of_race, "model"))
    coords = {"race": list(config.benchmark.races), "model": list(tasks), "way": list(WAYS)}
    together = xr.concat(found, "race").transpose("race", "model", ...)
    return together.assign_coords(coords | {"round": np.arange(config.benchmark.num_repeats)})


def one_race(config, race: str, task: Task) -> dict[str, Any]:
    """Rounds of one race, and why ways take no part in it."""
    asked = ways_of(config, race)
    others = [way for way in asked if way in PEERS]
    theirs, gap, reason = races.peer(config, race, task, others) if others else ({}, np.nan, "")
    why = [NOT_ASKED if way not in asked else reason if way in PEERS else "" for way in WAYS]
    return {
        "seconds": races.race(races.own(config, race, task) | theirs, config.benchmark.num_repeats),
        "images": np.int64(races.num_images(config, race, len(task.images.x))),
        "classifiers": np.int64(ensembles.size(task.ensemble)),
        "examples": np.int64(len(task.images.x)),
        "left_out": np.array(why),
        "logit_difference": np.float32(gap),
    }


# ---- rates by the number of classifiers, with random weights and on generated images ----


def generated(config, model: str, count: int) -> Task:
    """Classifiers with random weights, and images of uniform noise."""
    side, channels = IMAGES[model]
    moments = (0.5,) * channels, (0.25,) * channels
    images = np.random.default_rng(config.seed).random(
        (config.benchmark.num_examples, side, side, channels), np.float32
    )
    examples = setting.Examples(images, np.zeros(len(images), np.int32), np.arange(len(images)))
    classifier = _built(model, mean=moments[0], std=moments[1])
    return races.task(setting.with_members(config, count), model, classifier, moments, examples)


def _built(model: str, **more) -> classifiers.Classifier:
    return classifiers.build(model, num_classes=NUM_CLASSES, **(RESIDUAL if model == "resnet18" else {}), **more)


def by_count(config, run: runs.Run) -> xr.Dataset:
    """member_seconds (model, count, race, round), what they cost, and the rate of a large matrix product."""
    about, found = config.benchmark, []
    for m in about.models:
        names = {f"members_{m}_{count}": count for count in about.counts}
        of_model = [run_once(run, n, lambda m=m, c=c: of_count(config, m, c), OF_ONE) for n, c in names.items()]
        found.append(xr.concat(of_model, "count"))
    together = xr.concat(found, "model").transpose("model", "count", "race", ...)
    rate = run_once(run, "matrix_product", lambda: {"product_rate": np.float64(product_rate())}, OTHERS)
    coords = {"model": list(about.models), "count": list(about.counts), "race": list(about.races)}
    return together.merge(rate).assign_coords(coords | {"round": np.arange(about.num_repeats)})


def of_count(config, model: str, count: int) -> dict[str, np.ndarray]:
    """Rounds of each race with so many classifiers, and the operations of a round."""
    task, seconds, flops = generated(config, model, count), [], []
    for race in config.benchmark.races:
        stepped = race == "train_step"
        work = races.train_step(task)[0] if stepped else races.program(config, race, task, task.how)
        seconds.append(races.race({OURS: work}, config.benchmark.num_repeats)[WAYS.index(OURS)])
        flops.append(count * forward_passes(config)[race] * forward_flops(task))
    return {"member_seconds": np.stack(seconds), "flops": np.asarray(flops, np.float64)}


def forward_passes(config) -> dict[str, int]:
    """Forward passes that cost as much as one member's work; a backward pass costs one, or two with the weights'."""
    noisy = len(races.SIGMAS) * config.benchmark.num_trials + 1
    return {"pgd": 2 * config.search.num_steps, "input_noise": noisy, "train_step": 3}


def forward_flops(task: Task) -> float:
    """Of one member's forward pass, counted with the plain convolution."""
    direct = _built(task.model, conv=jax.lax.conv_general_dilated)
    x = jax.ShapeDtypeStruct(task.images.x.shape, jnp.float32)
    return jax.jit(direct.apply).lower(ensembles.take(task.ensemble, 0), x).cost_analysis()["flops"]


def product_rate() -> float:
    """FLOP/s of a product of large float32 matrices, the best of five."""
    side = PRODUCT.get(jax.default_backend(), 8192)
    product, matrix = jax.jit(jnp.matmul), jnp.ones((side, side), jnp.float32)
    taken = []
    for _ in range(6):
        begin = time.perf_counter()
        product(matrix, matrix).block_until_ready()
        taken.append(time.perf_counter() - begin)
    return 2 * side**3 / min(taken[1:])
