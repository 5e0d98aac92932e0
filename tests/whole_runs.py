"""Experiments run from their configs, through the same door as `main`. Not a test: what tests of whole runs share."""

import importlib.util
import json
from functools import partial
from pathlib import Path
from unittest import mock

import jax
import numpy as np
import xarray as xr
from ml_collections import ConfigDict

from landscape import data, ensembles, experiments, presets, runs
from landscape.attacks import audit as audits
from landscape.experiments import execute, setting

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


def done(config: ConfigDict, directory: Path, *, devices: int = 1, audited: bool = True) -> tuple[xr.Dataset, dict]:
    """Runs an experiment, by default on one device as a smoke run is: (its arrays, its summary).

    Every check has to say what it expected beside what it measured. audited: False for `made_up_audit`, where the audit
    is not what is looked at: it takes a fifth of a smoke run.
    """
    own = partial(ensembles.auto, devices=jax.devices()[:devices])
    audit = audits.audit if audited else made_up_audit
    changed = mock.patch.object(ensembles, "auto", own), mock.patch("landscape.experiments.audits.audit", audit)
    with changed[0], changed[1], runs.open_run(config, directory) as run:
        execute(run)
    summary = json.loads((directory / "summary.json").read_text())
    silent = {check["name"]: check["detail"] for check in summary["checks"] if "expected" not in check["detail"]}
    assert config.experiment in ("tour", "gather") or not silent, silent
    return xr.load_dataset(directory / "arrays.nc", engine="h5netcdf"), summary


def moved_of(config: ConfigDict, pictures: np.ndarray) -> np.ndarray:
    """How far pictures [N, H, W, C] are from the nearest test image, over its norm."""
    dataset, _ = setting.load(config)
    images = data.pixels(dataset.images[dataset.splits["test"]])
    away = np.linalg.norm((pictures[:, None] - images[None]).reshape(len(pictures), len(images), -1), axis=2)
    return (away / np.linalg.norm(images.reshape(len(images), -1), axis=1)).min(axis=1)


def made_up_audit(keys, ensemble, x, label, *, budget, attack=audits.projected.multi_targeted, **_) -> tuple:
    """Arrays and a check as `attacks.audit.audit` returns them, of an attack before which all fall."""
    epsilons = np.array([*audits.MULTIPLES, audits.LARGE[budget.norm]], np.float32)
    robust, names = np.linspace(1, 0, len(epsilons)), ("noise", "transfer", "fgsm", audits.NAMES.get(attack, "audited"))
    coords = {"audit_attack": (("audit_attack",), np.asarray(names)), "audit_epsilon": (("audit_epsilon",), epsilons)}
    arrays = {"audit": (("audit_attack", "audit_epsilon"), np.tile(robust, (len(names), 1)).astype(np.float32))}
    return arrays | coords, [audits.check("falls_with_radius", True, "made up", "so")]
