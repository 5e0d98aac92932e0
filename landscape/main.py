"""Runs an experiment to its report.

    python -m landscape.main --config=configs/NAME.py[:DATASET[,smoke|,full]] [--config.FIELD=VALUE ...]
                             [--workdir=DIR] [--force] [--reestimate]

A run that was stopped goes on with the same command; a finished one is only reported again.
"""

import sys
import traceback

from absl.flags import adopt_module_key_flags

from landscape import experiments, presets, runs
from landscape.files import UserError, surroundings
from landscape.runs import flags, processes, signals


def main() -> int:
    """The exit status: 0; 2 for bad input, in one line; 128 + its number for a signal; 75 where others were lost."""
    status, line = work()
    if line and processes.first():
        print(line, file=sys.stderr)
    processes.leave(status, line)
    return status


def work() -> tuple[int, str]:
    """Does what the command line asks for: exit status, and the line that says what went wrong."""
    signals.install()
    command = None
    adopt_module_key_flags(flags)  # what --help lists
    try:
        command = flags.parse()
        config = presets.resolve(command.config)
        experiments.validate(config)
        if processes.expected():
            experiments.prepare(config)
            processes.start()
        with runs.open_run(config, command.workdir, command.force) as run:
            experiments.execute(run, reestimate=command.reestimate)
    except UserError as error:
        return 2, " ".join(str(error).split())
    except runs.Interrupted as error:
        without = " without --force" if command and command.force else ""
        return error.status, f"stopped by {error}; the same command{without} goes on from here"
    except Exception as error:
        if line := surroundings(error):
            return 2, line
        if not processes.several():
            raise
        processes.outlive(error)
        traceback.print_exc()
        return 1, f"process {processes.rank()} met an error that it did not expect: {type(error).__name__}"
    return 0, ""


if __name__ == "__main__":
    sys.exit(main())
