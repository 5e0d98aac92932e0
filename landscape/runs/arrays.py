"""arrays.nc: every array of a run, with named dims, units and a description."""

from typing import TYPE_CHECKING

from landscape.runs.directory import Run

if TYPE_CHECKING:
    import xarray as xr


def read_arrays(run: Run) -> "xr.Dataset":
    """All arrays of a finished run, in memory."""
    import xarray as xr

    return xr.load_dataset(run.directory / "arrays.nc", engine="h5netcdf")
