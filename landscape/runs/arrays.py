"""arrays.nc: every array of a run, with named dims, units and a description."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape import files
from landscape.runs.chunks import Arrays
from landscape.runs.directory import Run

if TYPE_CHECKING:
    import xarray as xr

# Units and descriptions of the coordinates that runs share; others are described by who saves them.
COORDINATES = {
    "member": ("1", "trained classifier"),
    "seed": ("1", "base seed of the member"),
    "control": ("1", "how the member was trained"),
    "population": ("1", "set of inputs compared with others"),
    "example": ("1", "id of the image in its data set"),
    "class": ("1", "class name"),
    "r": ("1", "noise level sigma sqrt(D) / ||delta||"),
    "sigma": ("pixels", "standard deviation of the noise, images in [0, 1]"),
    "noise": ("1", "kind of input noise"),
    "xi": ("1", "size of the weight noise relative to the weights"),
    "weight_noise": ("1", "kind of weight noise"),
    "shown": ("1", "id of the pictured image in its data set"),
    "reading": ("1", "how populations are made comparable"),
    "cell": ("1", "set of inputs drawn as one line"),
    "audit_attack": ("1", "attack tried by the audit"),
    "audit_epsilon": ("pixels", "radius tried by the audit, images in [0, 1]"),
}


def write_arrays(
    run: Run, arrays: Arrays, coords: Arrays, attrs: Mapping[str, Mapping[str, str]], **about: str | int | float
) -> None:
    """Saves a run's arrays as `arrays.nc` (h5netcdf, uncompressed, atomically).

    Args:
      arrays: name -> (dims, array).
      coords: the same; a coordinate named like its dim indexes it.
      attrs: name -> {"units", "long_name"}, for each array and for coordinates that COORDINATES lacks.
      about: further attributes of the file, such as epsilon and norm; config, experiment, dataset and seed are added.

    Raises:
      ValueError: an array without units or description, or of a kind that NetCDF does not know.
    """
    import xarray as xr  # half a second, which looking at a finished run need not pay

    described = {name: _describe(name, *value, attrs) for name, value in {**arrays, **coords}.items()}
    for name, value in about.items():
        if isinstance(value, bool) or not isinstance(value, str | int | float | np.number):
            raise ValueError(f"attribute {name}={value!r}: expected a number or a text; NetCDF knows no others")
    dataset = xr.Dataset(
        {name: described[name] for name in arrays},
        {name: described[name] for name in coords},
        {
            "config": files.canonical_json(run.config.to_dict()),
            "experiment": run.config.experiment,
            "dataset": run.config.data.name,
            "seed": run.config.seed,
            **about,
        },
    )
    files.write_netcdf(run.directory / "arrays.nc", dataset)


def read_arrays(run: Run) -> "xr.Dataset":
    """What `write_arrays` saved, in memory."""
    import xarray as xr

    return xr.load_dataset(run.directory / "arrays.nc", engine="h5netcdf")


def _describe(
    name: str, dims: tuple[str, ...], array: np.ndarray, attrs: Mapping[str, Mapping[str, str]]
) -> tuple[tuple[str, ...], np.ndarray, dict[str, Any]]:
    array = np.asarray(array)
    if array.dtype.kind not in "biufU" or array.dtype == np.float16 or "/" in name:
        raise ValueError(
            f"{name}: dtype {array.dtype}; expected float32, float64, integers, bool or text, no / in names"
        )
    known = dict(zip(("units", "long_name"), COORDINATES.get(name, ()), strict=False))
    told = {**known, **attrs.get(name, {})}
    if not (told.get("units") and told.get("long_name")):
        raise ValueError(f"{name}: attributes {told}; expected units and long_name; add them to attrs[{name!r}]")
    return dims, array, told
