"""The experiments by name, and how one is run. A module is imported when it is needed, and JAX with its stages."""

import importlib
import shlex
import sys
from typing import Any

from landscape import presets, runs
from landscape.experiments.base import Experiment
from landscape.files import UserError
from landscape.runs import environment, process, processes

EXPERIMENTS = {
    "train": "landscape.experiments.train",
    "flatness": "landscape.experiments.flatness",
    "gradients": "landscape.experiments.gradients",
    "autoencoders": "landscape.experiments.autoencoders",
    "latent": "landscape.experiments.latent",
    "noise": "landscape.experiments.noise",
    "transfer": "landscape.experiments.transfer",
    "connectivity": "landscape.experiments.connectivity",
    "weight_connectivity": "landscape.experiments.weight_connectivity",
    "benchmark": "landscape.experiments.benchmark",
    "tour": "landscape.experiments.tour",
    "gather": "landscape.experiments.gather",
}
NOT_YET = ("autoencoders",)  # without the shape of `base`: they have `run` alone, and import JAX
PACKAGES = tuple(name for name in EXPERIMENTS if name not in NOT_YET)


def load(name: str) -> Any:
    """An experiment: what `run(config, run)` is called on."""
    if name not in EXPERIMENTS:
        raise UserError(f"experiment={name!r}: expected one of {', '.join(EXPERIMENTS)}; see configs/")
    module = importlib.import_module(EXPERIMENTS[name])
    return module.EXPERIMENT if name in PACKAGES else module


def package(name: str) -> Experiment | None:
    """The experiment of that name where it has the shape of `base`. Imports no JAX."""
    return load(name) if name in PACKAGES else None


def validate(config) -> None:
    """Refuses a config that would run but mean something else, in one line; UserError."""
    found = package(config.experiment)
    presets.validate(config, found.fields if found else {})
    if found:
        found.check(config, dict(presets.leaves(config)))


def questions() -> dict[str, str]:
    """What each experiment asks."""
    return {name: found.question for name in PACKAGES if (found := package(name))}


def execute(run: runs.Run, *, reestimate: bool = False) -> None:
    """Computes what is missing, then reports. JAX is imported only where there is something to compute."""
    experiment = package(run.config.experiment)
    if reestimate and not experiment:
        raise UserError(
            f"--reestimate: expected one of {', '.join(PACKAGES)}; {run.config.experiment} cannot yet; "
            "leave the flag out"
        )
    if reestimate and not runs.finished(run):
        raise UserError(
            f"--reestimate: {run.directory} is no finished run; expected one; leave the flag out to make it"
        )
    if not runs.finished(run):
        prepare(run.config)
        import jax

        command = shlex.join(["python", "-m", "landscape.main", *sys.argv[1:]])
        devices = [str(device) for device in jax.devices()]
        environment.add(run.directory / "environment.json", command=command, devices=devices)
        load(run.config.experiment).run(run.config, run)
    elif reestimate:
        experiment.summarise(run.config, run)
    else:
        run.console.print("finished before: reported again; --force computes it anew", highlight=False)
    runs.finish(run)
    if not processes.first():
        return None
    from landscape.reporting import report

    path = experiment.report(run) if experiment else report.write(run.directory)
    runs.print_summary(run, runs.read_summary(run), path)
    return None


def prepare(config) -> None:
    """Before JAX starts. Programs of a smoke run are compiled in haste."""
    process.prepare(optimise=not config.smoke)
