"""One family's latent as the experiment `latent` sees it: encoders, white coordinates, codes, statistics."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from landscape import ensembles, runs
from landscape.ensembles import Mapping, map_members
from landscape.experiments import autoencoder_cells as cells
from landscape.experiments import setting
from landscape.experiments.autoencoder_cells import Cell, Layer
from landscape.experiments.autoencoder_measures import UNITS, code_index, encoded
from landscape.experiments.setting import Examples, Setting, stage_key
from landscape.latent import around, gibbs, separability, statistics, two_sample
from landscape.latent.coordinates import Whitening, fit_whitening, from_white, to_white
from landscape.models import bottlenecks
from landscape.presets.names import CODED, OWN_PRIOR
from landscape.runs import Run
from landscape.types import Arrays

CORRELATED = 64  # dimensions up to which the matrix of correlations is kept
DRAWS = 2000  # of the prior, for the distance of the aggregate from it


class Family(NamedTuple):
    """A family's autoencoders of images, one a member, with coordinates fitted to their training latents.

    Attributes:
      cell: the autoencoders.
      whitening: [S, ...]. For codes it only scales: white coordinates of a grid mean nothing. There 1 is the root mean
        square distance of a place's code from the mean, so that s counts in distances between codes.
      z_train, z_test: flattened latents [S, n, D], of a VAE the posterior means.
      drawn_train, drawn: of a VAE a draw of the posterior for each of these images, else z_train and z_test.
      train: the training images of z_train.
    """

    cell: Cell
    whitening: Whitening
    z_train: np.ndarray
    z_test: np.ndarray
    drawn_train: np.ndarray
    drawn: np.ndarray
    train: Examples

    @property
    def name(self) -> str:
        return self.cell.family

    @property
    def directions(self) -> int:
        """Numbers that one white unit is shared by: those of a place's code, else 1."""
        return self.cell.autoencoder.latent[-1] if self.coded else 1

    @property
    def coded(self) -> bool:
        return self.name in CODED


def prepare(config, run: Run, prepared: Setting, layer: Layer, name: str, test: Examples) -> Family:
    """Restores or trains a family's members and fits their coordinates."""
    size = cells.size_of(config, name, config.autoencoder.dim)
    cell: Cell = cells.train(config, run, prepared, layer, name, size)
    train = setting.examples(prepared.dataset, "train", config.num_fit, config.seed)
    z_train, z_test = (
        (lambda z: z.reshape(*z.shape[:2], -1))(encoded(config, layer, cell, images)) for images in (train.x, test.x)
    )
    places = z_train.shape[-1] // cell.autoencoder.latent[-1]
    fits = [_scaling(z, places) if name in CODED else fit_whitening(z, ridge=1e-3) for z in z_train]
    whitening = ensembles.stack([jax.tree.map(jnp.asarray, fit) for fit in fits])
    drawn = (z_train, z_test)
    if name == "vae":
        drawn = tuple(_posterior_draws(config, cell, split, x) for split, x in (("train", train.x), ("test", test.x)))
    return Family(cell, whitening, z_train, z_test, *drawn, train)


def _posterior_draws(config, cell: Cell, split: str, x: np.ndarray) -> np.ndarray:
    """One draw of the posterior for each image, [S, n, D]: what a VAE's prior is the prior of."""
    how = ensembles.parse(config.mapping, config.num_members)

    def member(variables, key, x):
        return bottlenecks.draw(key, cell.autoencoder.posterior(variables, x))

    keys = jax.random.split(stage_key(config.seed, f"posterior.{split}"), config.num_members)
    x = jnp.asarray(x)
    return np.asarray(jax.jit(lambda e, k: map_members(member, e, k, shared=(x,), how=how))(cell.ensemble, keys))


def _scaling(z: np.ndarray, places: int) -> Whitening:
    """Coordinates that differ from z by one number: the sum of squares about the mean is 1 a place."""
    spread = np.sqrt(np.square(z - z.mean(axis=0)).sum(axis=1).mean() / places)
    scale, one = np.float32(spread), np.eye(z.shape[1], dtype=np.float32)
    return Whitening(np.zeros(z.shape[1], np.float32), scale * one, one / scale)


def decoder(family: Family) -> Callable:
    """decode(variables, z [N, D] flat) -> images, by way of the nearest point that the encoder could have given."""
    autoencoder = family.cell.autoencoder

    def decode(variables: Any, z):
        z = z.reshape(z.shape[0], *autoencoder.latent)
        return autoencoder.decode(variables, autoencoder.project(variables, z))

    return decode


def of_white(family: Family) -> Callable:
    """decode(whitening, variables, u [N, D]) -> images."""
    decode = decoder(family)
    return lambda whitening, variables, u: decode(variables, from_white(whitening, u))


def with_standard_prior(family: Family) -> Family:
    """The family in coordinates where its prior is N(0, I): its latent's own where it has a prior (vae; sphere, whose
    projection makes a Gaussian uniform), else the white ones, in which that is the Gaussian fitted to its latents."""
    if family.name not in OWN_PRIOR:
        return family
    mean, one = jnp.zeros_like(family.whitening.mean), jnp.eye(family.whitening.mean.shape[1])
    one = jnp.broadcast_to(one[None], family.whitening.root.shape)
    return family._replace(whitening=Whitening(mean, one, one))


def white(family: Family, z: np.ndarray, how: Mapping) -> np.ndarray:
    """White coordinates [S, n, D] of latents."""
    return np.asarray(jax.jit(lambda w, z: map_members(to_white, w, z, how=how))(family.whitening, z))


def codes_of(config, family: Family, rows: np.ndarray) -> Any:
    """First indices [S, C, P] of the test latents `rows`, log code prior [S, P, B], codes [S, B, E]; () if real.

    Codes are in white coordinates, which for them differ by one number from their own (`_scaling`).
    """
    if not family.coded:
        return ()
    levels = tuple(config.autoencoder.levels)
    index, trained = (code_index(config, family.cell, z) for z in (family.z_test[:, rows], family.z_train))
    count, num_codes = len(index), family.cell.size
    prior = np.stack([gibbs.fit_code_prior(own, num_codes) for own in trained])
    if family.name == "vq":
        codes = family.cell.ensemble["codebook"].codes
    else:
        points = bottlenecks.fsq_point(jnp.arange(num_codes), levels)
        codes = jnp.broadcast_to(points[None], (count, *points.shape))
    return jnp.asarray(index), jnp.asarray(prior), codes * family.whitening.inverse[:, :1, :1]


# ---- what the latent looks like ----


def statistics_of(config, run: Run, family: Family, test: Examples) -> Arrays:
    """Every statistic of the latent, by member; arrays [member, ...], latent dimensions along `latent_<family>`."""
    dim = f"latent_{family.name}"

    def one(member: int) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
        z, fit = family.z_test[member].astype(np.float64), family.z_train[member].astype(np.float64)
        found = {name: ((dim,), value) for name, value in statistics.moments(z).items() if name != "percentiles"}
        found["percentiles"] = (("percentile", dim), statistics.moments(z)["percentiles"])
        found["norms"] = (("example",), statistics.norms(z))
        found["spectrum"] = ((dim,), statistics.spectrum(z))
        if z.shape[1] <= CORRELATED:
            found["correlation"] = ((dim, f"other_{dim}"), statistics.correlation(z))
        # NaN where they say nothing: codes lie on a grid, on which TwoNN has no meaning, and few images on anything.
        distinct = not family.coded and len(np.unique(z, axis=0)) >= statistics.FEWEST
        dimension = statistics.intrinsic_dimension(z).value if distinct else np.nan
        enough = len(z) >= two_sample.FEWEST
        drawn_fit, drawn = (v[member].astype(np.float64) for v in (family.drawn_train, family.drawn))
        kept = _varying(drawn_fit, drawn)
        told_apart = np.nan
        if enough:
            told_apart = two_sample.gaussian_check(drawn_fit[:, kept], drawn[:, kept], config.seed).accuracy
        apart = two_sample.mmd(drawn, _reference(config, family, member), seed=config.seed)
        told = {
            "effective_dimension": statistics.effective_dimension(statistics.spectrum(z)),
            "intrinsic_dimension": dimension,
            "mmd": apart.value,
            "mmd_low": apart.low,
            "mmd_high": apart.high,
            "mmd_p": apart.p_value,
            "gaussian_accuracy": told_apart,
        }
        if family.name in UNITS:
            told["active_units"] = statistics.active_units(z, relative=family.name != "vae")
        found |= {name: ((), np.float64(value)) for name, value in told.items()}
        labels = (family.train.label, test.label)
        found["probe"] = (("example",), separability.linear_probe(fit, labels[0], z, labels[1]))
        found["knn"] = (("example",), separability.knn_accuracy(fit, labels[0], z, labels[1]))
        return found

    def work() -> Arrays:
        each = [one(member) for member in range(len(family.z_test))]
        found: Arrays = {
            f"{name}.{family.name}": (("member", *dims), np.stack([m[name][1] for m in each]))
            for name, (dims, _) in each[0].items()
        }
        pairs = [(a, b) for a in range(len(each)) for b in range(a + 1, len(each))]
        alike = [separability.stability(family.z_test[a], family.z_test[b], seed=config.seed) for a, b in pairs]
        found[f"cka.{family.name}"] = (("pair",), np.asarray([s.cka for s in alike]))
        both = [0.5 * (s.r2_a_to_b + s.r2_b_to_a) for s in alike]
        found[f"linear_r2.{family.name}"] = (("pair",), np.asarray(both))
        centred = family.z_test[0] - family.z_train[0].mean(axis=0)
        axes = np.linalg.svd(family.z_train[0] - family.z_train[0].mean(axis=0), full_matrices=False)[2][:2]
        found[f"projection.{family.name}"] = (("example", "axis"), (centred @ axes.T).astype(np.float32))
        return found

    return runs.once(run, f"statistics.{family.name}", work)


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
