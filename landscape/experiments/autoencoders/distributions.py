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
from landscape.experiments.descriptions import Description, Layer, blocks, decoded, encoded, sources
from landscape.experiments.setting import Examples, Setting, stage_key
from landscape.models import baselines, bottlenecks
from landscape.presets.names import OWN_PRIOR
from landscape.runs import Run
from landscape.stats import frechet

FEWEST = 4  # images of each distribution, two of each half that distances are extrapolated from
FEATURES = 32  # principal axes of a classifier's last hidden layer in which Frechet distances are taken, at most;
IMAGES_A_FEATURE = 50  # fewer axes for few images, since covariances must be known


def distributions(
    config, run: Run, prepared: Setting, layer: Layer, described: list[Description], test: Examples
) -> xr.Dataset:
    """Frechet distances to training images: of test images (the floor), of their reconstructions, of prior samples.

    Not to the test images themselves: those and their reconstructions are pairs, and what is extrapolated to many
    images holds for independent sets.
    """

    count = len(sources(config))

    def work() -> dict[str, Any]:
        features, trained, classes = features_of(config, prepared, layer, test)

        def far(images: np.ndarray | None, strata: np.ndarray | None) -> np.ndarray:
            if images is None:
                return np.full(count, np.nan, np.float32)
            return distances(trained, features(images), classes, strata, config.seed).astype(np.float32)

        back = [far(decoded(config, one, encoded(config, layer, one, test.x)), test.label) for one in described]
        samples = [far(prior_samples(config, one, len(test.x)), None) for one in described]
        genuine = far(np.broadcast_to(test.x, (count, *test.x.shape)), test.label)
        stacked = {"frechet_reconstruction": np.stack(back), "frechet_samples": np.stack(samples)}
        return stacked | {"frechet_floor": genuine}

    found = run_once(run, "frechet", work, OTHERS)
    return found.assign_coords(description=[one.name for one in described])


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
        return np.concatenate([np.asarray(program(own, x[:, b])) for b in blocks(x.shape[1])], axis=1)

    rows = like(test.label, layer.training.label, config.seed)
    images = layer.training.x[rows]
    trained = all_of(np.broadcast_to(images, (len(chosen), *images.shape)))
    count = max(2, min(FEATURES, len(images) // IMAGES_A_FEATURE, trained.shape[-1]))
    axes = [baselines.fit_pca(t, count) for t in trained]

    def project(h: np.ndarray) -> np.ndarray:
        return np.stack([np.asarray(baselines.pca_encode(pca, jnp.asarray(m))) for pca, m in zip(axes, h, strict=True)])

    return (lambda x: project(all_of(x))), project(trained), layer.training.label[rows]


def like(label: np.ndarray, known: np.ndarray, seed: int) -> np.ndarray:
    """Random places in `known` that hold each class as often as `label` does (or as often as there are such)."""
    order = np.random.default_rng(seed).permutation(len(known))
    return np.concatenate([order[known[order] == k][: np.sum(label == k)] for k in np.unique(label)])


def distances(a: np.ndarray, b: np.ndarray, strata_a: np.ndarray, strata_b: np.ndarray | None, seed: int) -> np.ndarray:
    """Extrapolated Frechet distance of b from a in every classifier's features, over the variance of a there. [member].

    Feature scales differ between classifiers; as a share of tr cov(a) distances can be averaged.
    """
    far = [
        frechet.extrapolated(x, y, strata_a=strata_a, strata_b=strata_b, seed=seed) / x.var(axis=0, ddof=1).sum()
        for x, y in zip(a, b, strict=True)
    ]
    return np.asarray(far)


def prior_samples(config, description: Description, count: int) -> np.ndarray | None:
    """Images decoded from draws of the prior, [member, n, H, W, C]; None for families without one."""
    if description.family not in OWN_PRIOR:
        return None
    dim = description.autoencoder.latent[-1]
    z = jax.random.normal(stage_key(config.seed, f"prior.{description.name}"), (count * dim,)).reshape(count, dim)
    z = np.asarray(bottlenecks.sphere(z) if description.family == "sphere" else z)
    return decoded(config, description, np.broadcast_to(z, (len(sources(config)), *z.shape)))
