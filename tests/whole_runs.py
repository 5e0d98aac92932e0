"""Experiments run from their configs, through the same door as `main`. Not a test: what tests of whole runs share."""

import importlib.util
import json
from functools import partial
from pathlib import Path
from unittest import mock

import jax
import xarray as xr
from ml_collections import ConfigDict

from landscape import ensembles, experiments, presets, runs
from landscape.experiments import execute

ROOT = Path(__file__).parents[1]


def load(name: str, arg: str = "digits") -> ConfigDict:
    """What `--config=configs/NAME.py:ARG` means."""
    spec = importlib.util.spec_from_file_location(f"config_{name}", ROOT / "configs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(arg)


def smoke_config(name: str, folder: Path, **changes) -> ConfigDict:
    """`configs/NAME.py:digits,smoke` with dotted changes, valid; what runs share lies in `folder`."""
    config = load(name, "digits,smoke")
    config.artifacts, config.data.cache = str(folder / "artifacts"), str(folder / "data")
    config.update_from_flattened_dict(changes)
    config = presets.resolve(config)
    experiments.validate(config)
    return config


def done(config: ConfigDict, directory: Path, *, devices: int = 1) -> tuple[xr.Dataset, dict]:
    """Runs an experiment, by default on one device as a smoke run is: (its arrays, its summary).

    Every check has to say what it expected beside what it measured.
    """
    own = partial(ensembles.auto, devices=jax.devices()[:devices])
    with mock.patch.object(ensembles, "auto", own), runs.open_run(config, directory) as run:
        execute(run)
    summary = json.loads((directory / "summary.json").read_text())
    silent = {check["name"]: check["detail"] for check in summary["checks"] if "expected" not in check["detail"]}
    assert config.experiment in ("tour", "gather") or not silent, silent
    return xr.load_dataset(directory / "arrays.nc", engine="h5netcdf"), summary
