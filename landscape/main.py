"""Runs an experiment to its report.

    python -m landscape.main --config=configs/NAME.py[:DATASET[,smoke]] [--config.FIELD=VALUE ...]
                             [--workdir=DIR] [--force] [--plan]

A run that was stopped goes on with the same command; a finished one is only reported again.
"""

import shlex
import sys

from absl.flags import adopt_module_key_flags

from landscape import presets, runs
from landscape.files import UserError, disk_full
from landscape.runs import environment, flags, process, signals


def main() -> int:
    """The exit status: 0; 2 for bad input, told in one line; 130 or 143 for Ctrl-C or SIGTERM."""
    signals.install()
    adopt_module_key_flags(flags)  # what --help lists
    try:
        command = flags.parse()
        config = presets.resolve(command.config)
        presets.validate(config)
        if command.plan:
            _refuse_unplanned(config)
        with runs.open_run(config, command.workdir, command.force) as run:
            execute(run, plan=command.plan)
    except UserError as error:
        return _say(" ".join(str(error).split()), 2)
    except runs.Interrupted as error:
        return _say(f"stopped by {error}; the same command goes on from here", error.status)
    except Exception as error:
        if not disk_full(error):
            raise
        return _say("the disk is full; expected room for the run; free some space, then run the same command", 2)
    return 0


def execute(run: runs.Run, *, plan: bool) -> None:
    """Computes what is missing, then reports. JAX is imported only where there is something to compute."""
    if plan or not runs.finished(run):
        process.prepare(optimise=not run.config.smoke or run.config.experiment == "benchmark")
        import jax

        from landscape import experiments

        experiment = experiments.load(run.config.experiment)
        command = shlex.join(["python", "-m", "landscape.main", *sys.argv[1:]])
        devices = [str(device) for device in jax.devices()]
        if plan:
            return experiment.plan(run.config, run)
        environment.add(run.directory / "environment.json", command=command, devices=devices)
        experiment.run(run.config, run)
    runs.finish(run)
    from landscape.reporting import report

    path = report.write(run.directory)
    runs.print_summary(run, runs.read_summary(run), path)
    return None


def _refuse_unplanned(config) -> None:
    """Refuses --plan of an experiment that has none, before a folder is made for a run that never begins."""
    process.prepare(optimise=not config.smoke)
    from landscape import experiments

    if not hasattr(experiments.load(config.experiment), "plan"):
        raise UserError(f"--plan: {config.experiment} has none; expected flatness; leave the flag out")


def _say(line: str, status: int) -> int:
    print(line, file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
