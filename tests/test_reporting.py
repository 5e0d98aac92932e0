"""Reports are made from saved arrays alone: whole, self-contained, the same each time, and honest about gaps."""

import csv
import json
import re
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from landscape.files import UserError
from landscape.reporting import figures, numbers, report, tables

POPULATIONS = (
    *("genuine", "natural_error", "adversarial", "boosted", "boundary"),
    *("noise_linf", "noise_l2", "adversarial_iso", "boosted_iso"),
)
CELLS = ("genuine", "natural_error", "boosted", "adversarial", "noise", "untrained")
SHARPNESS = dict(zip(CELLS, (0.25, 1.1, 0.4, 0.8, 0.3, 0.05), strict=True))


def flatness_arrays(*, members=6, untrained=2, examples=60, classes=10, channels=1, levels=9, shown=12, seed=0):
    """A Dataset as `flatness` saves it, with smooth made-up curves and every gap the format allows."""
    rng = np.random.default_rng(seed)
    r = np.geomspace(0.03, 3, levels) if levels > 1 else np.array([0.3])
    noises = ("additive", "multiplicative", "envelope", "sphere", "linf_ball", "additive_clipped")
    kinds = ("multiplicative", "layer_relative", "filter_normalised", "additive")
    xi = np.geomspace(0.01, 0.5, 6)
    total, side = members + untrained, 8
    sharp = np.array([SHARPNESS.get(name.split("_iso")[0], 0.3) for name in POPULATIONS])

    def curve(sharpness, x):
        return 1 - np.exp(-sharpness * x**1.5)

    each = sharp[:, None] * rng.lognormal(0, 0.6, (total, len(POPULATIONS), examples)) if False else (
        sharp[None, :, None] * rng.lognormal(0, 0.6, (total, len(POPULATIONS), examples))
    )
    drop = curve(each[None, None], r[None, :, None, None, None]) * np.linspace(1, 0.6, 6)[:, None, None, None, None]
    valid = rng.random((total, len(POPULATIONS), examples)) < 0.9
    valid[:, 1] &= rng.random((total, examples)) < 0.1  # few natural errors
    curves = np.full((3, len(CELLS), levels), np.nan)
    for j, cell in enumerate(CELLS):
        curves[0, j] = curve(SHARPNESS[cell], r)
        curves[2, j] = 1.4 * curve(SHARPNESS[cell], 0.8 * r)
    curves[1, 2], curves[1, 3] = curve(0.4, r), curve(0.6, r)
    if levels > 3:
        curves[0, 1, -2:] = np.nan
    half = 0.04 * (0.3 + curves)
    pixel = (len(POPULATIONS), shown, side, side, channels)
    picture = np.clip(rng.random((1, *pixel[1:])) ** 2 + 0.15 * np.sign(rng.normal(size=pixel)), 0, 1)
    spm = ("sigma", "member", "population", "example")
    mpe = spm[1:]
    by_class = curve(sharp[[0, 1, 3, 2]][:, None, None] * rng.lognormal(0, 0.4, (4, classes, 1)), r)
    by_class = np.concatenate([by_class, np.full((2, classes, levels), np.nan)])
    by_class[1, ::3] = np.nan  # classes without natural errors
    weight = np.stack([curve(SHARPNESS[cell] * 4, xi) for cell in CELLS]) * np.ones((4, 1, 1))
    weight[3, 4:] = np.nan
    kept = 1 - 0.9 * curves[0]
    variables = {
        "valid": (mpe, valid),
        "prediction": (mpe, rng.integers(0, classes, drop.shape[2:])),
        "input_probability_drop": (("noise", *spm), drop),
        "curve": (("reading", "cell", "sigma"), curves),
        "curve_low": (("reading", "cell", "sigma"), curves - half / 2),
        "curve_high": (("reading", "cell", "sigma"), curves + half / 2),
        "curve_band_low": (("reading", "cell", "sigma"), curves - half),
        "curve_band_high": (("reading", "cell", "sigma"), curves + half),
        "class_curve": (("cell", "class", "sigma"), by_class),
        "weight_curve": (("weight_noise", "cell", "xi"), weight),
        "weight_curve_low": (("weight_noise", "cell", "xi"), weight - 0.03),
        "weight_curve_high": (("weight_noise", "cell", "xi"), weight + 0.03),
        "share_kept": (("cell", "sigma"), kept),
        "share_returned": (("cell", "sigma"), 0.6 * (1 - kept)),
        "share_elsewhere": (("cell", "sigma"), 0.4 * (1 - kept)),
        "pictures": (("population", "shown", "height", "width", "channel"), picture),
        "picture_prediction": (("population", "shown"), rng.integers(0, classes, pixel[:2])),
        "picture_label": (("shown",), rng.integers(0, classes, shown)),
        "gradient_norm": (mpe, 0.1 * each**2),
        "hessian_top": (mpe, each**3),
        "hessian_trace": (mpe, 5 * each**3),
        "probability_hessian_trace": (mpe, each * rng.normal(size=each.shape)),
        "worst_loss_rise": (mpe, each),
        "worst_margin_drop": (mpe, 2 * each),
        "audit": (("audit_attack", "audit_epsilon"), np.exp(-np.outer([0.5, 2, 8, 12], np.linspace(0, 0.3, 7)))),
    }
    variables["picture_prediction"][1][0] = variables["picture_label"][1]
    coords = {
        "control": ("member", ["trained"] * members + ["untrained"] * untrained),
        "seed": ("member", np.arange(total)),
        "population": list(POPULATIONS),
        "example": np.arange(examples),
        "r": ("sigma", r),
        "sigma": r * 0.1,
        "noise": list(noises),
        "xi": xi,
        "weight_noise": list(kinds),
        "reading": ["raw", "iso", "scale_free"],
        "cell": list(CELLS),
        "class": [str(i) for i in range(classes)],
        "shown": np.arange(shown),
        "audit_attack": ["noise", "transfer", "fgsm", "pgd"],
        "audit_epsilon": np.linspace(0, 0.3, 7),
    }
    variables = {k: (d, v.astype(np.float32) if v.dtype == np.float64 else v) for k, (d, v) in variables.items()}
    return xr.Dataset(variables, coords, {"experiment": "flatness", "dataset": "digits", "epsilon": 0.15, "norm": "linf"})


def flatness_summary(*, failed=True, bounded=True):
    def estimate(name, population, value, half, **coords):
        low, high = (value - half, value + half) if bounded else (None, None)
        told = {"level": 0.95, "members": 6, "examples": 60, "unit": "probability", "generalises_to": "both"}
        return {"name": name, "population": population, "value": value, "low": low, "high": high, **told, **coords}

    estimates = [estimate("accuracy.test", "genuine", 0.97283917, 0.0041, headline=True)]
    for r in (0.1, 0.3, 1.0):
        for reference, size in (("boosted", 0.05), ("genuine", 0.09), ("natural_error", -0.02)):
            where = {"reference": reference, "noise": "additive", "r": r, "sigma": 0.1 * r}
            for matching in ("raw", "iso", "matched"):
                name = "input_flatness.probability_drop"
                if matching != "iso" or reference == "boosted":
                    estimates.append(estimate(name, "adversarial", size * r, 0.01, matching=matching, **where))
            estimates.append(
                estimate("input_flatness.scale_free", "adversarial", 2 * size, 0.12, matching="scale_free", **where)
            )
    estimates.append(estimate("attack.success", "adversarial", 0.9312345678, 0.02, headline=True))
    claim = {"measure": "input_flatness.scale_free", "populations": ["adversarial", "boosted"], "r": 0.3}
    claim |= {"matching": "scale_free", "direction": "greater", "smallest_effect": 0.02, "p": 0.0004}
    claims = [
        {"name": "sharper_at_equal_confidence", **claim, "value": 0.1, "low": 0.08, "high": 0.12, "verdict": "supported"},
        {"name": "weights", **claim, "value": 0.01, "low": -0.03, "high": 0.05, "verdict": "undecided"},
    ]
    checks = [{"name": "audit.monotone", "passed": True, "detail": "success rises with epsilon"}]
    checks += [{"name": "duplicates", "passed": False, "detail": "members 2 and 5 agree on every input"}] * failed
    return {
        "schema": 1,
        "experiment": "flatness",
        "dataset": "digits",
        "config_hash": "3f9a" * 16,
        "headline": "At equal margin, probability falls 5.1 [4.2, 6.0] points more around adversarial than around "
        "boosted inputs; raw, 9.3 [8.0, 10.6].",
        "stages": {"train": 31.2, "attack": 12.0, "input": 22.0},
        "claims": claims,
        "estimates": estimates,
        "checks": checks,
    }


def save_run(directory, data, summary):
    """A finished run as `report.write` finds it."""
    directory.mkdir(parents=True, exist_ok=True)
    data.to_netcdf(directory / "arrays.nc", engine="h5netcdf")
    config = {"experiment": summary["experiment"], "seed": 0, "search": {"norm": "linf", "epsilon": 0.15}, "sweep": {}}
    environment = {"versions": {"jax": "0.10.2"}, "devices": ["cpu:0", "cpu:1"], "git_commit": None}
    for name, value in (("summary", summary), ("config", config), ("environment", environment)):
        (directory / f"{name}.json").write_text(json.dumps(value))
    return directory
