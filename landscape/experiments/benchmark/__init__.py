"""How fast are flatness, weight noise and attacks here, beside PyTorch and Foolbox, and which mapping of members wins?

Are attacks as strong as Foolbox's? See `benchmark_attacks`.

Every race times the same work on the same weights and images, contestants in turns, and reports medians over rounds of
ratios within a round. Peers are written as a careful user would: see `peers`. Speeds hold for the machine they were
measured on, with nothing else running.
"""

import math

import numpy as np

from landscape import data, runs
from landscape.experiments import benchmark_attacks as attacks
from landscape.experiments import benchmark_large as large
from landscape.experiments import benchmark_races as races
from landscape.experiments import setting
from landscape.experiments.benchmark_races import CONTESTANTS, OURS, PEERS, RACES, median
from landscape.presets.names import RESNETS
from landscape.runs import environment
from landscape.types import Arrays

NOT_INSTALLED = "skipped: not installed"
NO_PORT = "skipped: no port"
DISAGREES = "skipped: logits differ"
PARTS = {"resnet": large.run_resnet, "members": large.run_members}  # others than the default, on generated images
ATTRIBUTES = {
    "seconds": {"units": "s", "long_name": "wall time of one round"},
    "images": {"units": "1", "long_name": "images through a classifier in one round"},
    "logit_difference": {"units": "logits", "long_name": "largest difference between a network and its PyTorch port"},
    "torch_threads": {"units": "1", "long_name": "threads a PyTorch contestant ran fastest with, 0 for others"},
    "race": {"units": "1", "long_name": "piece of work"},
    "model": {"units": "1", "long_name": "classifier"},
    "peer": {"units": "1", "long_name": "who does the work"},
    "round": {"units": "1", "long_name": "number of the round"},
}


def run(config, run: runs.Run) -> None:
    """Runs the races that are not on disk yet, one stage each, and writes arrays.nc and summary.json."""
    if config.benchmark.part in PARTS:
        return PARTS[config.benchmark.part](config, run)
    installed = races.peers_installed()
    if not installed:
        run.console.print(
            "PyTorch and Foolbox are not both installed: their rows are skipped; try pip install -e '.[peers]'",
            markup=False, highlight=False, soft_wrap=True,
        )  # fmt: skip
    dataset = data.load(config.data.name, directory=config.data.dir, cache=config.data.cache, seed=config.seed)
    environment.add(run.directory / "environment.json", data=dataset.about)
    images = setting.examples(dataset, "test", config.benchmark.num_examples, config.seed)
    models, timed = tuple(config.benchmark.models), {}
    for model in models:
        stem = config.model.stem if model in RESNETS else "small"  # the others have no other
        classifier = setting.classifier_of(config, dataset, name=model, stem=stem)
        task = races.task(config, model, classifier, data.moments(dataset), images)
        for race in RACES:
            part = races.first(task, races.num_members(config, race))
            timed[race, model] = runs.once(
                run, f"{race}_{model}", lambda race=race, task=part: _timed(config, race, task, installed)
            )
    arrays = {
        name: (("race", "model", *dims), np.stack([np.stack([timed[r, m][name][1] for m in models]) for r in RACES]))
        for name, (dims, _) in timed[next(iter(RACES)), models[0]].items()
    }
    attacked = setting.examples(dataset, "test", config.benchmark.num_attacked_examples, config.seed)
    classifier = setting.classifier_of(config, dataset)
    found, audited = attacks.attack_stage(config, run, dataset, classifier, data.moments(dataset), attacked)
    _save(config, run, arrays | found, models, len(images.x), attacked.ids, installed, audited)


def _timed(config, race: str, task: races.Task, installed: bool) -> Arrays:
    thunks, gap, threads = races.own(config, race, task), math.nan, {}
    if installed and set(RACES[race]) & set(PEERS) and races.ported(config, task.model):
        peers, gap, threads = races.peer(config, race, task)
        thunks |= peers
    return {
        "seconds": (("peer", "round"), races.race(thunks, config.benchmark.num_repeats)),
        "images": ((), np.int64(races.num_images(config, race, len(task.images.x)))),
        "logit_difference": ((), np.float32(gap)),
        "torch_threads": (("peer",), np.array([threads.get(name, 0) for name in CONTESTANTS])),
    }


def estimates(config, arrays: Arrays, models: tuple[str, ...], num_examples: int, installed: bool) -> list[dict]:
    """Images a second of every contestant, and how many times faster OURS is; empty values where one was skipped."""
    seconds, images = arrays["seconds"][1], arrays["images"][1]
    told = []
    for (r, race), (m, model) in ((a, b) for a in enumerate(RACES) for b in enumerate(models)):
        ours = seconds[r, m, CONTESTANTS.index(OURS)]
        for peer in (OURS, *RACES[race]):
            theirs = seconds[r, m, CONTESTANTS.index(peer)]
            quantities = {"": (images[r, m] / theirs, "images/s")}
            if peer != OURS:
                quantities[".ratio"] = (theirs / ours, "times")
            for ending, (values, unit) in quantities.items():
                entry = {"name": f"throughput.{race}{ending}", "population": ""}
                if np.isnan(values).any():
                    differs = arrays["logit_difference"][1][r, m] > races.AGREEMENT
                    note = NOT_INSTALLED if not installed else DISAGREES if differs else NO_PORT
                    entry |= {"value": None, "low": None, "high": None, "level": None, "note": note}
                else:
                    entry |= dict(zip(("value", "low", "high", "level"), median(values), strict=True))
                entry |= {"members": races.num_members(config, race), "examples": num_examples, "unit": unit}
                entry |= {"generalises_to": "this machine", "model": model, "peer": peer}
                told.append(entry | {"headline": ending == ".ratio"})
    return told


def _save(
    config,
    run: runs.Run,
    arrays: Arrays,
    models: tuple[str, ...],
    num_examples: int,
    ids,
    installed,
    audited: list[dict],
) -> None:
    coords = {
        "race": (("race",), np.array(list(RACES))),
        "model": (("model",), np.array(models)),
        "peer": (("peer",), np.array(CONTESTANTS)),
        "round": (("round",), np.arange(config.benchmark.num_repeats)),
        "attacker": (("attacker",), np.array(attacks.ATTACKERS)),
        "norm": (("norm",), np.array(attacks.NORMS)),
        "attacked": (("attacked",), np.arange(config.benchmark.num_attacked)),
        "example": (("example",), ids),
    }
    runs.write_arrays(run, arrays, coords, ATTRIBUTES | attacks.ATTRIBUTES, num_steps=config.search.num_steps)
    told = estimates(config, arrays, models, num_examples, installed)
    strength, checks = attacks.attack_estimates(config, arrays)
    checks = audited + checks
    gaps = arrays["logit_difference"][1]
    if np.isfinite(gaps).any():
        checks.append(
            {
                "name": "peers compute the same network",
                "passed": bool(np.nanmax(gaps) <= races.AGREEMENT),
                "detail": f"largest difference of logits {np.nanmax(gaps):.1e}, expected at most {races.AGREEMENT}",
            }
        )
    runs.write_summary(run, headline=headline(told, models), estimates=told + strength, checks=checks)


def headline(told: list[dict], models: tuple[str, ...]) -> str:
    """The ratios beside the plain PyTorch loop and Foolbox, else those beside other mappings, in words."""

    def ratios(race: str, peer: str) -> str:
        wanted = {"name": f"throughput.{race}.ratio", "peer": peer}
        found = [e for e in told if all(e[k] == v for k, v in wanted.items()) and e["value"] is not None]
        return " and ".join(f"{e['value']:.2f}x ({e['model']})" for e in found)

    parts = {
        "input-noise flatness": ratios("input_noise", "pytorch"),
        "weight noise": ratios("weight_noise", "pytorch"),
        "PGD": ratios("pgd", "foolbox"),
    }
    if all(parts.values()):
        noise = ", ".join(f"{what} {parts[what]}" for what in ("input-noise flatness", "weight noise"))
        return f"Times faster than a plain PyTorch loop: {noise}; than Foolbox on PyTorch: PGD {parts['PGD']}."
    return (
        f"Gradients of {' and '.join(models)} members: times faster than one member at a time on one device "
        f"{ratios('gradient', 'map')}, than vmap {ratios('gradient', 'vmap')}. No peer took part."
    )
