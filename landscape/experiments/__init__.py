"""The experiments by name, and how one is run. A module is imported when it is needed, and JAX with its stages."""

import importlib
import shlex
import sys
from collections.abc import Sequence

from landscape import files, presets, runs
from landscape.experiments.base import Experiment
from landscape.files import UserError
from landscape.runs import environment, process, processes

EXPERIMENTS = {
    "train": "landscape.experiments.train",
    "flatness": "landscape.experiments.flatness",
    "gradients": "landscape.experiments.gradients",
    "autoencoders": "landscape.experiments.autoencoders",
    "dictionaries": "landscape.experiments.dictionaries",
    "latent": "landscape.experiments.latent",
    "noise": "landscape.experiments.noise",
    "transfer": "landscape.experiments.transfer",
    "connectivity": "landscape.experiments.connectivity",
    "weight_connectivity": "landscape.experiments.weight_connectivity",
    "surfaces": "landscape.experiments.surfaces",
    "augmentation": "landscape.experiments.augmentation",
    "neighbors": "landscape.experiments.neighbors",
    "benchmark": "landscape.experiments.benchmark",
    "tour": "landscape.experiments.tour",
    "gather": "landscape.experiments.gather",
}
SMALL = ("mlp", "cnn", "cnn_wide")  # networks for which a second core saves less than it takes to compile for it


def load(name: str) -> Experiment:
    """An experiment. Its modules are imported when they are needed, JAX with its stages.

    Raises:
      UserError: there is none of that name.
    """
    if name not in EXPERIMENTS:
        raise UserError(f"experiment={name!r}: expected one of {', '.join(EXPERIMENTS)}; see configs/")
    return importlib.import_module(EXPERIMENTS[name]).EXPERIMENT


def validate(config) -> None:
    """Refuses a config that would run but mean something else, in one line; UserError."""
    experiment = load(config.experiment)
    presets.validate(config, experiment.fields)
    for name, count in config.get("control_members", {}).items():
        if count and not experiment.controls:
            raise UserError(
                f"control_members.{name}={count}: {config.experiment} has no control members; leave it at 0"
            )
    experiment.check(config, dict(presets.leaves(config)))


def questions() -> dict[str, str]:
    """What each experiment asks."""
    return {name: load(name).question for name in EXPERIMENTS}


def execute(run: runs.Run, *, reestimate: bool = False, arguments: Sequence[str] | None = None) -> None:
    """Computes what is missing, then reports. JAX is imported only where there is something to compute.

    arguments: of the command that makes this run, where it is not that of the process.
    """
    experiment = load(run.config.experiment)
    if not reestimate and runs.finished(run) and (damaged := processes.agree(runs.damaged(run))):
        run.say(f"{run.directory}: {', '.join(damaged)} missing, or changed since the run ended; made anew")
        files.remove(run.directory / "summary.json")
        reestimate = "arrays.nc" not in damaged
    computed = runs.finished(run) or (run.directory / "arrays.nc").exists()  # of estimates that failed
    if reestimate and not computed:
        raise UserError(
            f"--reestimate: {run.directory} is no finished run; expected one; leave the flag out to make it"
        )
    if not reestimate and not runs.finished(run):
        prepare(run.config)
        import jax

        command = shlex.join(["python", "-m", "landscape.main", *(sys.argv[1:] if arguments is None else arguments)])
        devices = [str(device) for device in jax.devices()]
        environment.add(run.directory / "environment.json", command=command, devices=devices)
        experiment.run(run.config, run)
    elif reestimate:
        experiment.summarise(run.config, run)
        run.console.print(f"estimated anew from arrays.nc: {run.directory / 'estimates.csv'}", highlight=False)
    else:
        run.console.print("finished before: reported again; --force computes it anew", highlight=False)
    runs.finish(run)
    if processes.first():
        runs.print_summary(run, runs.read_summary(run), experiment.report(run))


def prepare(config) -> None:
    """Before JAX starts. Programs of a smoke run are compiled in haste, those of small networks for one device."""
    small = config.smoke and config.get("model", {}).get("name") in SMALL and config.experiment != "benchmark"
    process.prepare(optimise=not config.smoke, split=not small)
