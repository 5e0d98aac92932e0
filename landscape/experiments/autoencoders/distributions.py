"""Distances of distributions of images, in the feature space of a classifier."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from landscape import ensembles
from landscape.ensembles import map_members
from landscape.experiments.autoencoders import OTHERS
from landscape.experiments.base import run_once
from landscape.experiments.descriptions import Description, Layer, sources
from landscape.experiments.setting import Examples, Setting, stage_key
from landscape.models import baselines, bottlenecks
from landscape.presets.names import OWN_PRIOR
from landscape.runs import Run
from landscape.stats import frechet

FEATURES = 32  # principal axes of a classifier's last hidden layer in which Frechet distances are taken, at most;
IMAGES_A_FEATURE = 50  # fewer axes for few images, since covariances must be known
BLOCK = 1000  # images that are decoded at once


def distributions(
    config, run: Run, prepared: Setting, layer: Layer, cells: list[Description], test: Examples
) -> xr.Dataset:
    """Frechet distances to training images: of test images (the floor), of their reconstructions, of prior samples.

    Not to the test images themselves: those and their reconstructions are pairs, and what is extrapolated to many
    images holds for independent sets.
    """

    def work() -> dict[str, Any]:
        features, trained, classes = features_of(config, prepared, layer, test)

        def far(images: np.ndarray | None, strata: np.ndarray | None) -> np.ndarray:
            if images is None:
                return np.full(len(sources(config)), np.nan, np.float32)
            return distances(trained, features(images), classes, strata, config.seed).astype(np.float32)

        genuine = np.broadcast_to(test.x, (len(sources(config)), *test.x.shape))
        back = [far(decoded_images(config, cell, test.x), test.label) for cell in cells]
        samples = [far(prior_samples(config, cell, len(test.x)), None) for cell in cells]
        found = {"frechet_reconstruction": np.stack(back), "frechet_samples": np.stack(samples)}
        return found | {"frechet_floor": far(genuine, test.label)}

    found = run_once(run, "frechet", work, OTHERS)
    return found.assign_coords(description=[cell.name for cell in cells])


def features_of(config, prepared: Setting, layer: Layer, test: Examples):
    """(images [member, n, ...]) -> features [member, n, F] in each member's classifier, and those of training images.

    A classifier's last hidden layer, along the principal axes of as many training images there.
    """
    classifier, chosen = prepared.classifier, sources(config)
    how = ensembles.parse(config.mapping, len(chosen))
    own = ensembles.take(prepared.ensemble, chosen)

    def last(variables, x):
        h = classifier.features(variables, x, classifier.layers[-1])
        return h.reshape(h.shape[0], -1)

    program = jax.jit(lambda e, x: map_members(last, e, x, how=how))

    def all_of(x: np.ndarray) -> np.ndarray:
        parts = [np.asarray(program(own, x[:, i : i + 500])) for i in range(0, x.shape[1], 500)]
        return np.concatenate(parts, axis=1)

    rows = like(test.label, layer.bank.label, config.seed)
    images = layer.bank.x[rows]
    trained = all_of(np.broadcast_to(images, (len(chosen), *images.shape)))
    count = max(2, min(FEATURES, len(images) // IMAGES_A_FEATURE, trained.shape[-1]))
    axes = [baselines.fit_pca(t, count) for t in trained]

    def project(h: np.ndarray) -> np.ndarray:
        return np.stack([np.asarray(baselines.pca_encode(pca, jnp.asarray(m))) for pca, m in zip(axes, h, strict=True)])

    return (lambda x: project(all_of(x))), project(trained), layer.bank.label[rows]


def like(label: np.ndarray, known: np.ndarray, seed: int) -> np.ndarray:
    """Random places in `known` that hold each class as often as `label` does (or as often as there are such)."""
    order = np.random.default_rng(seed).permutation(len(known))
    return np.concatenate([order[known[order] == k][: np.sum(label == k)] for k in np.unique(label)])


def distances(a: np.ndarray, b: np.ndarray, strata_a: np.ndarray, strata_b: np.ndarray | None, seed: int) -> np.ndarray:
    """Extrapolated Frechet distance of b from a in every classifier's features, over the variance of a there. [member].

    Feature scales differ between classifiers; as a share of tr cov(a) distances can be averaged.
    """
    pairs = zip(a, b, strict=True)
    far = [
        frechet.extrapolated(x, y, strata_a=strata_a, strata_b=strata_b, seed=seed) / x.var(axis=0, ddof=1).sum()
        for x, y in pairs
    ]
    return np.asarray(far)


def decoded_images(config, cell: Description, x: np.ndarray) -> np.ndarray:
    """Reconstructions of images, [member, n, H, W, C]."""
    how = ensembles.parse(config.mapping, len(sources(config)))
    label = np.zeros(len(x), np.int32)
    program = jax.jit(lambda e, *s: map_members(cell.reconstruct, e, shared=s, how=how))
    blocks = [slice(i, i + BLOCK) for i in range(0, len(x), BLOCK)]
    return np.concatenate([np.asarray(program(cell.ensemble, x[i], label[i])) for i in blocks], axis=1)


def prior_samples(config, cell: Description, count: int) -> np.ndarray | None:
    """Images decoded from draws of the prior, [member, n, H, W, C]; None for families without one."""
    if cell.family not in OWN_PRIOR:
        return None
    how = ensembles.parse(config.mapping, len(sources(config)))
    dim = cell.autoencoder.latent[-1]
    z = jax.random.normal(stage_key(config.seed, f"prior.{cell.name}"), (count * dim,)).reshape(count, dim)
    z = np.asarray(bottlenecks.sphere(z) if cell.family == "sphere" else z)
    decode = jax.jit(lambda e, z: map_members(cell.autoencoder.decode, e, shared=(z,), how=how))
    return np.concatenate([np.asarray(decode(cell.ensemble, z[i : i + BLOCK])) for i in range(0, count, BLOCK)], axis=1)
