"""What the set of a family's latents looks like: every statistic by member. NumPy, but for draws of the prior."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from landscape.experiments.base import run_once
from landscape.experiments.descriptions import UNITS
from landscape.experiments.latent import COMPUTED
from landscape.experiments.latent.families import Family
from landscape.experiments.setting import Examples
from landscape.latent import around, separability, statistics, two_sample
from landscape.latent.coordinates import fit_whitening, from_white
from landscape.models import bottlenecks
from landscape.runs import Run

CORRELATED = 64  # dimensions up to which the matrix of correlations is kept
DRAWS = 2000  # of the prior, for the distance of the aggregate from it
MOMENTS = ("mean", "std", "skewness", "excess_kurtosis")


def statistics_of(config, run: Run, family: Family, test: Examples) -> xr.Dataset:
    """Every statistic of the latent, by member; STATISTICS of the schema."""

    def work() -> dict[str, np.ndarray]:
        each = [_of_member(config, family, test, member) for member in range(len(family.z_test))]
        found = {name: np.stack([m[name] for m in each]) for name in each[0]}
        found |= dict(zip(("cka", "linear_r2"), _alike(family, config.seed), strict=True))
        centre = family.z_train[0].mean(axis=0)
        axes = np.linalg.svd(family.z_train[0] - centre, full_matrices=False)[2][:2]
        found["projection"] = ((family.z_test[0] - centre) @ axes.T).astype(np.float32)
        few = family.z_test.shape[-1] <= CORRELATED
        first = family.z_test[0].astype(np.float64)
        found["correlation"] = statistics.correlation(first) if few else np.full((1, 1), np.nan)
        return found

    return run_once(run, f"statistics.{family.name}", work, COMPUTED)


def _of_member(config, family: Family, test: Examples, member: int) -> dict[str, Any]:
    """Statistics of one member; NaN where they say nothing: codes lie on a grid, on which TwoNN has no meaning."""
    z, fit = family.z_test[member].astype(np.float64), family.z_train[member].astype(np.float64)
    drawn_fit, drawn = (v[member].astype(np.float64) for v in (family.drawn_train, family.drawn))
    moments, spectrum = statistics.moments(z), statistics.spectrum(z)
    found = {name: moments[name] for name in MOMENTS} | {"norms": statistics.norms(z), "spectrum": spectrum}
    distinct = not family.coded and len(np.unique(z, axis=0)) >= statistics.FEWEST
    kept, accuracy = _varying(drawn_fit, drawn), np.nan
    if len(z) >= two_sample.FEWEST:
        accuracy = two_sample.gaussian_check(drawn_fit[:, kept], drawn[:, kept], config.seed).accuracy
    apart = two_sample.mmd(drawn, _reference(config, family, member), seed=config.seed)
    units = family.name in UNITS
    labels = (family.train.label, test.label)
    return found | {
        "effective_dimension": statistics.effective_dimension(spectrum),
        "intrinsic_dimension": statistics.intrinsic_dimension(z).value if distinct else np.nan,
        "active_units": float(statistics.active_units(z, relative=family.name != "vae")) if units else np.nan,
        "mmd": apart.value,
        "mmd_p": apart.p_value,
        "gaussian_accuracy": accuracy,
        "probe": separability.linear_probe(fit, labels[0], z, labels[1]),
        "knn": separability.knn_accuracy(fit, labels[0], z, labels[1]),
    }


def _alike(family: Family, seed: int) -> np.ndarray:
    """[2, S, S]: alignment and R^2 of linear maps of two members' latents; a member is like itself."""
    count = len(family.z_test)
    found = np.ones((2, count, count))
    for a in range(count):
        for b in range(a + 1, count):
            one = separability.stability(family.z_test[a], family.z_test[b], seed=seed)
            found[:, a, b] = found[:, b, a] = one.cka, 0.5 * (one.r2_a_to_b + one.r2_b_to_a)
    return found


def _varying(z: np.ndarray, other: np.ndarray) -> np.ndarray:
    """At most the CORRELATED widest dimensions of z, without those that are constant in z or other. Places."""
    spread = np.where(other.std(axis=0) > 0, z.std(axis=0), 0.0)
    widest = np.argsort(-spread)[:CORRELATED]
    return np.sort(widest[spread[widest] > 0])


def _reference(config, family: Family, member: int) -> np.ndarray:
    """Draws of what latents are compared with: the prior of vae and sphere, else the Gaussian fitted to z_train."""
    key = jax.random.fold_in(jax.random.key(config.seed), member)
    eps = np.asarray(around.prior(key, DRAWS, family.z_test.shape[-1]))
    if family.name == "vae":
        return eps
    if family.name == "sphere":
        return np.asarray(bottlenecks.sphere(jnp.asarray(eps)))
    fit = fit_whitening(family.z_train[member], ridge=1e-6)
    return np.asarray(from_white(fit, eps))
