"""The one stage of a gather run: reading what others wrote. It needs no JAX."""

import xarray as xr

from landscape import experiments, runs
from landscape.experiments import joined
from landscape.experiments.gather import pages


def compute(config, run: runs.Run) -> xr.Dataset:
    """What each run says; the results tables of the pages, where these are asked for."""
    data = joined.read(config.runs, experiments.questions())
    if config.pages:
        for path in pages.write(config.pages, data):
            run.console.print(f"results written into {path}", soft_wrap=True, highlight=False, markup=False)
    return data
