"""The stages of a tour are whole runs of other experiments, each in a folder of its own, which resume as such."""

import sys

import xarray as xr

from landscape import experiments, runs
from landscape.experiments import joined
from landscape.experiments.tour.config import arguments_of, parts_of
from landscape.runs.directory import PARTS


def compute(config, run: runs.Run) -> xr.Dataset:
    """Runs each part that is not finished, then reads what all of them say."""
    parts = parts_of(config)
    directories = [run.directory / PARTS / name for name in parts]
    for number, (directory, (name, part)) in enumerate(zip(directories, parts.items(), strict=True), 1):
        run.console.rule(f"{number} of {len(parts)}: {name}", align="left")
        with runs.open_run(part, directory) as opened:
            experiments.execute(opened, arguments=arguments_of(name, part, sys.argv[1:]))
    return joined.read([str(directory) for directory in directories], experiments.questions())
