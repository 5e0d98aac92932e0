"""The stages of a benchmark: races, one stage each; attacks beside Foolbox's; rates by the number of classifiers."""

from typing import Any

import numpy as np
import xarray as xr

from landscape import data, ensembles, runs
from landscape.experiments import setting
from landscape.experiments.base import run_once
from landscape.experiments.benchmark import OF_A_RACE, attacks, by_count, races
from landscape.experiments.benchmark.config import NO_PORT, NOT_ASKED, NOT_INSTALLED, PEERS, WAYS, num_members, ways_of
from landscape.experiments.benchmark.races import Task
from landscape.presets.names import RESNETS
from landscape.runs import environment

MISSING = "PyTorch and Foolbox are not both installed, so they are left out; try pip install -e '.[peers]'"


def compute(config, run: runs.Run) -> xr.Dataset:
    """Every array of a run; what is on disk is not computed again."""
    if config.benchmark.part == "members":
        return by_count.compute(config, run)
    if not races.peers_installed():
        run.console.print(MISSING, markup=False, highlight=False, soft_wrap=True)
    if config.benchmark.part == "resnet":
        count = max(num_members(config, race) for race in config.benchmark.races)
        return all_races(config, run, {m: by_count.generated(config, m, count) for m in config.benchmark.models})
    dataset, classifier = setting.load(config)
    environment.add(run.directory / "environment.json", data=dataset.about)
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
            of_race.append(run_once(run, f"{race}_{model}", lambda r=race, t=part: one_race(config, r, t), OF_A_RACE))
        found.append(xr.concat(of_race, "model"))
    coords = {"race": list(config.benchmark.races), "model": list(tasks), "way": list(WAYS)}
    together = xr.concat(found, "race")
    together = together.transpose("race", "model", ...)
    return together.assign_coords(coords | {"round": np.arange(config.benchmark.num_repeats)})


def one_race(config, race: str, task: Task) -> dict[str, Any]:
    """Rounds of one race, and why ways take no part in it."""
    asked, gap, threads = ways_of(config, race), np.nan, {}
    why = {way: "" if way in asked else NOT_ASKED for way in WAYS}
    programs, others = races.own(config, race, task), [way for way in asked if way in PEERS]
    reason = NOT_INSTALLED if not races.peers_installed() else "" if races.ported(config, task.model) else NO_PORT
    if others and not reason:
        theirs, gap, threads, reason = races.peer(config, race, task, others)
        programs |= theirs
    why |= {way: reason for way in others}
    return {
        "seconds": races.race(programs, config.benchmark.num_repeats),
        "images": np.int64(races.num_images(config, race, len(task.images.x))),
        "classifiers": np.int64(ensembles.size(task.ensemble)),
        "examples": np.int64(len(task.images.x)),
        "left_out": np.array([why[way] for way in WAYS]),
        "torch_threads": np.array([threads.get(way, 0) for way in WAYS]),
        "logit_difference": np.float32(gap),
    }
