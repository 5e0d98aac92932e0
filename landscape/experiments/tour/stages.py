"""The stages of a tour are whole runs of other experiments, each in a folder of its own, which resume as such."""

import xarray as xr

from landscape import experiments, runs
from landscape.experiments import joined
from landscape.experiments.tour.config import parts_of
from landscape.runs.directory import PARTS


def compute(config, run: runs.Run) -> xr.Dataset:
    """Runs each part that is not finished, then reads what all of them say."""
    parts = parts_of(config)
    directories = [run.directory / PARTS / name for name in parts]
    for number, (directory, part) in enumerate(zip(directories, parts.values(), strict=True), 1):
        run.console.rule(f"{number} of {len(parts)}: {part.experiment}", align="left")
        with runs.open_run(part, directory) as opened:
            experiments.execute(opened)
    return joined.read([str(directory) for directory in directories], experiments.questions())
