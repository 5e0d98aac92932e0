"""How the latent of a description is used, and how many bits an image takes."""

from typing import Any

import jax
import numpy as np
import xarray as xr

from landscape import ensembles
from landscape.ensembles import map_members
from landscape.experiments.autoencoders import OF_A_DESCRIPTION
from landscape.experiments.autoencoders.config import IMAGE
from landscape.experiments.base import run_once
from landscape.experiments.descriptions import UNITS, Description, Layer, code_index, encoded
from landscape.experiments.setting import Examples
from landscape.latent.statistics import active_units, effective_dimension, spectrum
from landscape.measures import rate
from landscape.models import baselines
from landscape.presets.names import CODED
from landscape.runs import Run

TABLED = 10000  # training images whose codes make the tables that lengths are measured by
STEPS = (0.25, 0.5, 1.0, 2.0)  # widths of the uniform quantiser, in standard deviations; see `rate.fit_quantiser`
BLOCK = 1000  # images that are decoded at once


def latents(config, run: Run, layer: Layer, cell: Description, test: Examples) -> xr.Dataset:
    """How a latent is used over the test images, and its rate: of codes, or after uniform quantisation (of images)."""

    def work() -> dict[str, Any]:
        z = encoded(config, layer, cell, test.x)
        if cell.family in CODED:
            return _codes(cell, *(code_index(config, cell, v) for v in (_trained(config, layer, cell), z)))
        flat = z.reshape(*z.shape[:2], -1)
        found = {"effective_dimension": np.asarray([effective_dimension(spectrum(m)) for m in flat])}
        if cell.family in UNITS:
            used = [active_units(m, relative=cell.family != "vae") for m in flat]
            found["active_units"] = np.asarray(used, np.float64)
        if layer.name == IMAGE and cell.family != "vae":
            found |= _rate_curve(config, cell, _trained(config, layer, cell), z, test.x)
        return found

    return run_once(run, f"latent.{cell.name}", work, OF_A_DESCRIPTION)


def _trained(config, layer: Layer, cell: Description) -> np.ndarray:
    """Latents of training images, that tables of code lengths are made from."""
    rows = np.random.default_rng(config.seed).permutation(len(layer.bank.x))[:TABLED]
    return encoded(config, layer, cell, layer.bank.x[rows])


def _codes(cell: Description, trained: np.ndarray, index: np.ndarray) -> dict[str, Any]:
    used = [rate.code_use(member, cell.size) for member in index]
    places = index.shape[-1]
    counts = np.full(places, cell.size)
    bits = [rate.code_lengths(fit, coded, counts) for fit, coded in zip(trained, index, strict=True)]
    return {
        "code_bits": np.asarray(bits, np.float32),
        "code_usage": np.asarray([u.usage for u in used]),
        "code_perplexity": np.asarray([u.perplexity for u in used]),
        "code_bound": np.float64(places * np.log2(cell.size)),
    }


def _rate_curve(config, cell: Description, trained: np.ndarray, z: np.ndarray, x: np.ndarray) -> dict[str, np.ndarray]:
    """Bits and errors [member, step, example] of latents that are rounded at every width."""
    decode = _decoder(cell, ensembles.parse(config.mapping, len(z)))
    bits, errors = (np.zeros((len(z), len(STEPS), len(x)), np.float32) for _ in range(2))
    for i, step in enumerate(STEPS):
        coarse = np.empty_like(z)
        for member, (fit, own) in enumerate(zip(trained, z, strict=True)):
            fit = fit.reshape(len(fit), -1)
            quantiser = rate.fit_quantiser(fit, step, orthonormal=cell.family == "pca")
            rounded, index = rate.quantise(quantiser, own.reshape(len(own), -1))
            bits[member, i] = rate.code_lengths(rate.quantise(quantiser, fit)[1], index, quantiser.counts)
            coarse[member] = rounded.reshape(own.shape)
        for start in range(0, len(x), BLOCK):
            back = np.asarray(decode(cell.ensemble, coarse[:, start : start + BLOCK]))
            gap = (back - x[None, start : start + BLOCK]).reshape(len(z), back.shape[1], -1)
            errors[:, i, start : start + BLOCK] = np.square(gap).mean(axis=-1)
    return {"rate_bits": bits, "rate_mse": errors}


def _decoder(cell: Description, how):
    def member(variables, z):
        if cell.autoencoder is None:
            return baselines.pca_decode(variables, z)
        return cell.autoencoder.decode(variables, z)

    return jax.jit(lambda e, z: map_members(member, e, z, how=how))
