"""What does an autoencoder's latent space look like; what lies around and between embeddings?

Stages: classifiers -> for each family: autoencoders, statistics, noise around embeddings, guided chains near and far,
paths -> estimates -> report.
"""

import numpy as np

from landscape import runs
from landscape.experiments import autoencoder_cells as cells
from landscape.experiments import latent_estimates as estimates
from landscape.experiments import latent_families as families
from landscape.experiments import latent_guided as guided
from landscape.experiments import latent_stages as stages
from landscape.experiments import setting
from landscape.latent.statistics import PERCENTILES
from landscape.types import Arrays

AROUND, PATHS = ("gaussian", "shell"), ("linear", "spherical")

ABOUT = {  # first part of an array's name: (units, long_name)
    "label": ("1", "true class"),
    "mean": ("1", "mean of a latent dimension over test images, unit of the latent"),
    "std": ("1", "standard deviation of a latent dimension, unit of the latent"),
    "skewness": ("1", "skewness of a latent dimension"),
    "excess_kurtosis": ("1", "excess kurtosis of a latent dimension"),
    "percentiles": ("1", "percentiles of a latent dimension, unit of the latent"),
    "norms": ("1", "norm of a latent over the root of its dimension, unit of the latent"),
    "spectrum": ("1", "variances along the principal axes of the latent, unit of the latent squared"),
    "correlation": ("1", "correlation of latent dimensions"),
    "active_units": ("1", "latent dimensions that move with the image (vae, sparse: of others a rotation is free)"),
    "effective_dimension": ("1", "participation ratio of the spectrum"),
    "intrinsic_dimension": ("1", "TwoNN estimate of the dimension of the set of latents"),
    "mmd": ("1", "squared maximum mean discrepancy of the latents from the prior, or from the fitted Gaussian"),
    "mmd_low": ("1", "lower end of its 95 % interval"),
    "mmd_high": ("1", "upper end of its 95 % interval"),
    "mmd_p": ("1", "p-value of no discrepancy"),
    "gaussian_accuracy": (
        "1",
        "accuracy of telling latents (vae: posterior draws; of many dimensions the 64 widest) from a fitted Gaussian",
    ),
    "probe": ("1", "whether a linear probe of the latent is right"),
    "knn": ("1", "whether the 10 nearest training latents vote for the true class"),
    "cka": ("1", "linear centred kernel alignment of two seeds' latents"),
    "linear_r2": ("1", "held-out R^2 of the best linear map between two seeds' latents"),
    "projection": ("1", "first two principal coordinates, first member, unit of the latent"),
    "decoded_probability": ("1", "probability of the own class of the decoded embedding, own classifier"),
    "decoded_held_out": ("1", "the same, classifier of the next seed"),
    "around_probability": ("1", "probability of the own class after noise in the latent, own classifier"),
    "around_held_out": ("1", "the same, classifier of the next seed"),
    "around_kept": ("1", "share of noisy latents that keep the own class"),
    "around_moved": ("pixels", "L2 distance of the decoded image from the test image"),
    "prior_confidence": (
        "1",
        "largest class probability of decoded draws of the fitted prior (Gaussian, or frequencies of codes)",
    ),
    "prior_prediction": ("1", "predicted class of those draws"),
    "local_probability": ("1", "probability of the own class along local chains, own classifier"),
    "local_held_out": ("1", "the same, classifier of the next seed"),
    "local_moved": ("pixels", "L2 distance of the decoded image from the test image"),
    "local_drift": (
        "1",
        "root mean square distance from the embedding over dimensions (codes: over places), white units",
    ),
    "local_acceptance": ("1", "mean acceptance probability of local chains"),
    "local_divergent": ("1", "share of the steps of local chains whose energy error passes 1000 nats"),
    "local_changed": ("1", "share of the steps of local chains that change a code"),
    "local_rhat": ("1", "split R-hat of the worst dimension (codes: of the log density)"),
    "local_ess": ("1", "effective sample size of the worst dimension (codes: of the log density)"),
    "global_probability": ("1", "probability of the class aimed at along global chains, own classifier"),
    "global_held_out": ("1", "the same, classifier of the next seed"),
    "global_acceptance": ("1", "mean acceptance probability of global chains"),
    "global_divergent": ("1", "share of the steps of global chains whose energy error passes 1000 nats"),
    "global_changed": ("1", "share of the steps of global chains that change a code"),
    "global_rhat": ("1", "split R-hat of the worst dimension (codes: of the log density)"),
    "global_ess": ("1", "effective sample size of the worst dimension (codes: of the log density)"),
    "mixing": ("1", "steps of recorded chains from a predicted class to a predicted class"),
    "path_probability": ("1", "class probabilities by every classifier (judge) along paths between embeddings"),
    "picture": ("1", "test images, in [0, 1]"),
    "picture_around": ("1", "decoded noisy latents, first member and trial"),
    "picture_prior": ("1", "decoded draws of the fitted prior, first member"),
    "picture_local": ("1", "decoded states of local chains, first member and chain"),
    "picture_global": ("1", "decoded last states of global chains, first member and chain"),
    "picture_path": ("1", "decoded points of paths, first member"),
    "family": ("1", "family of autoencoders"),
    "kernel": ("1", "sampler"),
    "radius": (
        "1",
        "size of the noise, or reach s of the target, white units (codes: distance of a place's code from the mean)",
    ),
    "around": ("1", "kind of noise"),
    "path": ("1", "kind of path"),
    "percentile": ("1", "percentile"),
    "guided": ("1", "whether a classifier guides the chain"),
    "start": ("1", "id of the image whose embedding chains start around"),
}


def run(config, run: runs.Run) -> None:
    """Runs every stage that is not on disk yet and writes arrays.nc and summary.json."""
    prepared = setting.prepare(config, run)
    test = setting.examples(prepared.dataset, "test", config.num_examples, config.seed)
    layer = cells.image_layer(config, prepared)
    # In random order, since a folder's come class by class: chains and paths begin at the first ones.
    order = np.random.default_rng(config.seed).permutation(len(test.label))
    test = setting.Examples(*(part[order] for part in test))
    starts = setting.Examples(*(part[: config.mcmc.num_embeddings] for part in test))
    ends = setting.Examples(*(part[: 2 * config.paths.num_pairs] for part in test))
    pixel = ("height", "width", "channel")
    arrays: Arrays = {"label": (("example",), test.label), "picture": (("end", *pixel), ends.x)}
    for name in config.families:
        family = families.prepare(config, run, prepared, layer, name, test)
        kernels = guided.kernels_of(config, family)
        arrays |= families.statistics_of(config, run, family, test)
        arrays |= stages.noise_around(config, run, prepared, family, starts)
        for kernel in kernels:
            arrays |= guided.local_chains(config, run, prepared, family, starts, kernel)
            arrays |= guided.global_chains(config, run, prepared, family, kernel)
        arrays |= stages.between(config, run, prepared, family, ends)
    names = [f"{family}.{kernel}" for family in config.families for kernel in config.mcmc.kernels]
    coords: Arrays = {
        "example": (("example",), test.ids),
        "start": (("start",), starts.ids),
        "end": (("end",), ends.ids),
        "class": (("class",), np.asarray(prepared.dataset.class_names)),
        "radius": (("radius",), np.asarray(config.mcmc.radii)),
        "around": (("around",), np.asarray(AROUND)),
        "path": (("path",), np.asarray(PATHS)),
        "percentile": (("percentile",), np.asarray(PERCENTILES)),
        "family": (("family",), np.asarray(config.families)),
        "guided": (("guided",), np.asarray(["guided", "unguided"])),
        "seed": (("member",), np.arange(config.num_members)),
        "sampler": (("sampler",), np.asarray([n for n in names if f"local_rhat.{n}" in arrays])),
    }
    attrs = {name: dict(zip(("units", "long_name"), ABOUT[name.split(".")[0]], strict=True)) for name in arrays}
    attrs |= {name: dict(zip(("units", "long_name"), ABOUT[name], strict=True)) for name in coords if name in ABOUT}
    attrs["end"] = {"units": "1", "long_name": "id of the image at an end of a path"}
    attrs["sampler"] = {"units": "1", "long_name": "family and sampler of chains"}
    found, checks = estimates.estimate(config, arrays)
    runs.write_arrays(run, arrays, coords, attrs)
    runs.write_summary(run, headline=estimates.headline(config, found), estimates=found, checks=checks)
