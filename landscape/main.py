"""Runs an experiment to its report.

    python -m landscape.main --config=configs/NAME.py[:DATASET[,smoke]] [--config.FIELD=VALUE ...]
                             [--workdir=DIR] [--force] [--reestimate]

A run that was stopped goes on with the same command; a finished one is only reported again.
"""

import shlex
import sys
import traceback

from absl.flags import adopt_module_key_flags

from landscape import experiments, presets, runs
from landscape.files import UserError, disk_full
from landscape.runs import environment, flags, process, processes, signals


def main() -> int:
    """The exit status: 0; 2 for bad input, in one line; 130 or 143 for Ctrl-C or SIGTERM; 75 where others were lost."""
    status, line = work()
    if line and processes.first():
        print(line, file=sys.stderr)
    processes.leave(status, line)
    return status


def work() -> tuple[int, str]:
    """Does what the command line asks for: exit status, and the line that says what went wrong."""
    signals.install()
    adopt_module_key_flags(flags)  # what --help lists
    try:
        command = flags.parse()
        config = presets.resolve(command.config)
        experiments.validate(config)
        if processes.expected():
            _prepare(config)
            processes.start()
        with runs.open_run(config, command.workdir, command.force) as run:
            execute(run, reestimate=command.reestimate)
    except UserError as error:
        return 2, " ".join(str(error).split())
    except runs.Interrupted as error:
        return error.status, f"stopped by {error}; the same command goes on from here"
    except Exception as error:
        if disk_full(error):
            return 2, "the disk is full; expected room for the run; free some space, then run the same command"
        if not processes.several():
            raise
        processes.outlive(error)
        traceback.print_exc()
        return 1, f"process {processes.rank()} met an error that it did not expect: {type(error).__name__}"
    return 0, ""


def execute(run: runs.Run, *, reestimate: bool = False) -> None:
    """Computes what is missing, then reports. JAX is imported only where there is something to compute."""
    experiment = experiments.package(run.config.experiment)
    if reestimate and not experiment:
        raise UserError(
            f"--reestimate: expected one of {', '.join(experiments.PACKAGES)}; {run.config.experiment} cannot yet; "
            "leave the flag out"
        )
    if reestimate and not runs.finished(run):
        raise UserError(
            f"--reestimate: {run.directory} is no finished run; expected one; leave the flag out to make it"
        )
    if not runs.finished(run):
        _prepare(run.config)
        import jax

        command = shlex.join(["python", "-m", "landscape.main", *sys.argv[1:]])
        devices = [str(device) for device in jax.devices()]
        environment.add(run.directory / "environment.json", command=command, devices=devices)
        experiments.load(run.config.experiment).run(run.config, run)
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


def _prepare(config) -> None:
    """Before JAX starts. Programs of a smoke run are compiled in haste, except where they are timed."""
    process.prepare(optimise=not config.smoke or config.experiment == "benchmark")


if __name__ == "__main__":
    sys.exit(main())
