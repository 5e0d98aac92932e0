"""Rates by the number of classifiers, with random weights and on generated images."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from landscape import ensembles, runs
from landscape.experiments import setting
from landscape.experiments.base import run_once
from landscape.experiments.benchmark import BY_COUNT, OTHERS, races
from landscape.experiments.benchmark.config import OURS, WAYS
from landscape.experiments.benchmark.races import Task, Thunk
from landscape.models import classifiers

NUM_CLASSES = 200
IMAGES = {"cnn": (28, 1), "resnet18": (64, 3)}  # side and channels
RESIDUAL = {"norm": "batch", "stem": "imagenet"}
PRODUCT = {"cpu": 1024}  # side of the matrices whose product sets the scale, elsewhere 8192


def generated(config, model: str, count: int) -> Task:
    """Classifiers with random weights, and images of uniform noise."""
    side, channels = IMAGES[model]
    mean, std = (0.5,) * channels, (0.25,) * channels
    more = RESIDUAL if model == "resnet18" else {}
    classifier = classifiers.build(model, num_classes=NUM_CLASSES, mean=mean, std=std, **more)
    num = config.benchmark.num_examples
    x = np.random.default_rng(config.seed).random((num, side, side, channels), np.float32)
    images = setting.Examples(x, np.zeros(num, np.int32), np.arange(num))
    return races.task(setting.with_members(config, count), model, classifier, (mean, std), images)


def compute(config, run: runs.Run) -> xr.Dataset:
    """member_seconds (model, count, race, round), what they cost, and the rate of a large matrix product."""
    counts, models, names = (tuple(config.benchmark[name]) for name in ("counts", "models", "races"))
    found = [
        xr.concat(
            [
                run_once(run, f"members_{m}_{c}", lambda m=m, c=c: of_count(config, names, m, c), BY_COUNT)
                for c in counts
            ],
            "count",
        )
        for m in models
    ]
    rate = run_once(run, "matrix_product", lambda: {"product_rate": np.float64(product_rate())}, OTHERS)
    together = (
        xr.concat(found, "model")
        .merge(rate)
        .assign_coords(
            model=list(models), count=list(counts), race=list(names), round=np.arange(config.benchmark.num_repeats)
        )
    )
    return together.transpose("model", "count", "race", "round", missing_dims="ignore")


def of_count(config, names: tuple[str, ...], model: str, count: int) -> dict[str, np.ndarray]:
    """Rounds of each race with so many classifiers, and the operations of a round."""
    task = generated(config, model, count)
    taken = [races.race({OURS: _program(config, race, task)}, config.benchmark.num_repeats) for race in names]
    work = [count * forward_passes(config)[race] * forward_flops(task) for race in names]
    return {"member_seconds": np.stack([one[WAYS.index(OURS)] for one in taken]), "flops": np.asarray(work, np.float64)}


def _program(config, race: str, task: Task) -> Thunk:
    return races.train_step(task, task.how)[0] if race == "train_step" else races.program(config, race, task, task.how)


def forward_passes(config) -> dict[str, int]:
    """Forward passes that cost as much as one member's work; a backward pass costs one, or two with the weights'."""
    noisy = len(races.SIGMAS) * config.benchmark.num_trials + 1
    return {"pgd": 2 * config.search.num_steps, "input_noise": noisy, "train_step": 3}


def forward_flops(task: Task) -> float:
    """Of one member's forward pass, counted with the plain convolution."""
    side, channels = IMAGES[task.model]
    more = RESIDUAL if task.model == "resnet18" else {}
    direct = classifiers.build(task.model, num_classes=NUM_CLASSES, conv=jax.lax.conv_general_dilated, **more)
    x = jax.ShapeDtypeStruct((len(task.images.x), side, side, channels), jnp.float32)
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
