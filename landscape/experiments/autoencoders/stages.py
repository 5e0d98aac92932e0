"""The stages of an autoencoders run: classifiers; of images, then of each hidden layer, every description trained and
measured; distances of distributions; ascents on the manifolds of images.
"""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from landscape import ensembles, objectives, presets, runs
from landscape.data import Dataset
from landscape.ensembles import map_members
from landscape.experiments import descriptions, setting
from landscape.experiments.autoencoders import EXPERIMENT, OF_A_DESCRIPTION, OF_A_LAYER, OTHERS, PIXELS
from landscape.experiments.autoencoders.ascents import ascents
from landscape.experiments.autoencoders.config import HYPER, IMAGE
from landscape.experiments.autoencoders.distributions import FEWEST, distributions, like, prior_samples
from landscape.experiments.base import Stage, run_once, run_stage
from landscape.experiments.descriptions import UNITS, Description, Layer, code_index, decoded, encoded, sources
from landscape.experiments.setting import Examples, Setting, example_keys
from landscape.files import UserError
from landscape.latent.statistics import active_units, effective_dimension, spectrum
from landscape.measures import rate, reconstruction
from landscape.models import baselines, bottlenecks
from landscape.models.autoencoders import WEIGHED, Penalties
from landscape.presets.names import CODED
from landscape.training import autoencoder_members

CHUNK = 500 * 784  # entries of the points of a chunk: seconds of work for eight members on two cores
SHOWN = 8  # test images that are pictured
TABLED = 10000  # training images whose codes make the tables that lengths are measured by
STEPS = (0.25, 0.5, 1.0, 2.0)  # widths of the uniform quantiser, in standard deviations; see `rate.fit_quantiser`
MEASURED = OF_A_DESCRIPTION | OF_A_LAYER | {"example": EXPERIMENT.schema["example"]}


def compute(config, run: runs.Run) -> xr.Dataset:
    """Every array of a run; what is on disk is not computed again."""
    prepared = setting.prepare(config, run, partial(check, config))
    test = setting.examples(prepared.dataset, "test", config.num_examples, config.seed)
    images = setting.as_dataset(test).drop_vars("origin")
    images = images.merge(originals(run, prepared, images))
    layer = descriptions.image_layer(config, prepared)
    pixels = pixel_codes(config, run, layer, test)
    own = image_descriptions(config, run, prepared, layer)
    parts = [described_layer(config, run, prepared, layer, own, test, images)]
    whole = [distributions(config, run, prepared, layer, own, test), ascents(config, run, prepared, layer, own)]
    for name in hidden_layers(config, prepared.classifier.layers):
        layer = descriptions.hidden_layer(config, prepared, name)  # its points are large: let go before the next one's
        own = hidden_descriptions(config, run, prepared, layer)
        parts.append(described_layer(config, run, prepared, layer, own, test, images))
    described = _together([part.drop_vars([*OF_A_LAYER, "layer"]) for part in parts], "description")
    layers = _together([part[[*OF_A_LAYER]] for part in parts], "layer")
    data = xr.merge([described, layers, *whole], join="left", compat="no_conflicts", combine_attrs="drop")
    shown = shown_of(test)
    data = data.assign(label=("example", test.label), original=images.original).assign(pixels)
    data["picture"] = ("shown", *PIXELS), test.x[shown]
    coords = {"class": list(prepared.dataset.class_names), "seed": ("member", sources(config))}
    data = data.assign_coords(coords | {"shown": test.ids[shown], "step": list(STEPS)})
    return data.assign_attrs(compared_size=config.autoencoder.dim)


def _together(parts: list[xr.Dataset], dim: str) -> xr.Dataset:
    """Datasets joined along a dim; NaN where one has no such variable, or fewer epochs."""
    how = {"coords": "minimal", "compat": "override", "join": "outer", "combine_attrs": "drop"}
    return xr.concat(parts, dim, data_vars="all", **how)


def hidden_layers(config, known: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the layers to be described, in the order of the config; `known`: the classifier's, the image first."""
    return known[1:] if presets.ALL in config.hidden.layers else tuple(config.hidden.layers)


def check(config, dataset: Dataset) -> None:
    """Refuses sizes that images or layers do not fit, and too few images: before anything is trained."""
    image = dataset.images.shape[1:]
    wanted, sizes = wanted_of_images(config, image)
    descriptions.check_images(config, dataset, wanted)
    label = setting.labels(dataset, "test", config.num_examples, config.seed)
    count = len(like(label, dataset.labels[dataset.splits["train"]], config.seed))
    if count < FEWEST:
        raise UserError(
            f"num_examples={config.num_examples}: {count} test images and as many training images of their classes; "
            f"expected {FEWEST} or more, whose distributions are compared; take more"
        )
    num_train = len(dataset.splits["train"])
    baselines.check_pca(IMAGE, num_train, image, sizes)
    names = hidden_layers(config, setting.classifier_of(config, dataset).layers)
    if names:
        descriptions.check_hidden(config, dataset)
        for name, shape in setting.layer_shapes(config, dataset, names).items():
            sizes = _fitting(config.hidden.dims, shape)
            baselines.check_pca(name, min(config.hidden.num_points, num_train), shape, sizes)


# ---- which descriptions there are ----


def wanted_of_images(config, shape: tuple[int, ...]) -> tuple[list[tuple[str, int]], list[int]]:
    """Family and size of all autoencoders of images of a shape, and the sizes of PCA.

    Each family at `dim`, some at `dims` as well, and what hidden layers are described by, so that a bottleneck can be
    followed from the image on.
    """
    section = config.autoencoder
    deeper = config.hidden.families if config.hidden.layers else ()
    several = [family for family in section.families_at_dims if family in section.families]
    real = [(family, section.dim) for family in section.families]
    real += [(family, dim) for family in several for dim in section.dims]
    real += [(family, dim) for family in deeper for dim in _fitting(config.hidden.dims, shape)]
    wanted = [(family, size) for family, size in real if family not in CODED]
    sizes = sorted({size for _, size in wanted} or {section.dim})
    coded = (family for family in (*section.families, *deeper) if family in CODED)
    wanted += [(family, descriptions.size_of(config, family, section.dim)) for family in coded]
    return list(dict.fromkeys(wanted)), sizes


def image_descriptions(config, run: runs.Run, prepared: Setting, layer: Layer) -> list[Description]:
    """All autoencoders of images, and PCA of each size."""
    wanted, sizes = wanted_of_images(config, layer.shape)
    found = [descriptions.train(config, run, prepared, layer, family, size) for family, size in wanted]
    return found + descriptions.baselines_of(config, layer, sizes, num_centres=0)


def hidden_descriptions(config, run: runs.Run, prepared: Setting, layer: Layer) -> list[Description]:
    """The autoencoders of a hidden layer, and its baselines."""
    section = config.hidden
    sizes = _fitting(section.dims, layer.shape)
    wanted = [
        (f, d) for f in section.families for d in ((descriptions.size_of(config, f, 0),) if f in CODED else sizes)
    ]
    found = [descriptions.train(config, run, prepared, layer, family, size) for family, size in wanted]
    return found + descriptions.baselines_of(config, layer, sizes, num_centres=section.num_centres)


def _fitting(sizes: tuple[int, ...], shape: tuple[int, ...]) -> list[int]:
    """The sizes that are no larger than a point of the shape."""
    return [size for size in sizes if size <= math.prod(shape)]


# ---- what is measured of one layer ----


def described_layer(
    config, run: runs.Run, prepared: Setting, layer: Layer, own: list[Description], test: Examples, images: xr.Dataset
) -> xr.Dataset:
    """Everything measured of all descriptions of a layer, and of the layer itself."""
    found = []
    for description in own:
        parts = [reconstructions(config, run, prepared, layer, description, images)]
        if description.autoencoder is not None or (description.family == "pca" and layer.name == IMAGE):
            parts.append(latents(config, run, layer, description, test))
        data = xr.merge([*parts, _training(config, description)], combine_attrs="drop")
        if layer.name == IMAGE:
            data = data.assign(_pictures(config, description, test))
        found.append(data.assign_coords(description=description.name))
    names = ("described_layer", "family", "size")
    columns = zip(*((description.layer, description.family, description.size) for description in own), strict=True)
    about = {name: ("description", list(column)) for name, column in zip(names, columns, strict=True)}
    together = _together([one.drop_vars([*OF_A_LAYER]) for one in found], "description").assign_coords(about)
    return together.assign(found[0][[*OF_A_LAYER]].drop_vars("description").expand_dims(layer=[layer.name]))


def _training(config, description: Description) -> xr.Dataset:
    """The curves of a description's training, and its hyperparameters: those of which its weights depend."""
    if description.autoencoder is None:
        return xr.Dataset()
    curves = {name: (("member", "epoch"), curve) for name, curve in description.curves.items()}
    taken = {*autoencoder_members.Hyper._fields} - {*Penalties._fields} | {*WEIGHED.get(description.family, ())}
    taken |= {"perceptual"} if description.layer == IMAGE else set()
    hyper = [member.hyper for member in autoencoder_members.members_of(config)]
    values = {name: ("member", [float(getattr(one, name)) for one in hyper]) for name in HYPER if name in taken}
    return xr.Dataset(curves | values, {"epoch": 1 + np.arange(description.curves["train_loss"].shape[1])})


def shown_of(test: Examples) -> np.ndarray:
    """Places of the images that are pictured: the first of each class in turn."""
    order = np.lexsort((np.arange(len(test.label)), [np.sum(test.label[:i] == y) for i, y in enumerate(test.label)]))
    return order[:SHOWN]


def _pictures(config, description: Description, test: Examples) -> dict[str, Any]:
    """Reconstructions of the images shown, and prior samples, by the first member."""
    rows = shown_of(test)
    back = description.reconstruct(ensembles.take(description.ensemble, 0), jnp.asarray(test.x[rows]), test.label[rows])
    found = {"picture_back": (("shown", *PIXELS), np.asarray(back, np.float32))}
    samples = prior_samples(config, description, SHOWN)
    return found if samples is None else found | {"picture_sample": (("draw", *PIXELS), samples[0])}


def originals(run: runs.Run, prepared: Setting, images: xr.Dataset) -> xr.Dataset:
    """What every classifier predicts on the test images themselves."""

    def work(chunk, ensemble):
        def member(variables, x):
            return jnp.argmax(prepared.classifier.apply(variables, x), axis=-1).astype(jnp.int16)

        return {"original": map_members(member, ensemble, shared=(chunk["x"],), how=prepared.how)}

    shared = {"ensemble": prepared.ensemble}
    return run_stage(run, Stage("originals", work, images, 1000, shared), EXPERIMENT.schema)


def reconstructions(
    config, run: runs.Run, prepared: Setting, layer: Layer, description: Description, images: xr.Dataset
) -> xr.Dataset:
    """How well a description gives back the test images' points, and what classifiers make of them."""
    how, chosen = ensembles.parse(config.mapping, len(sources(config))), sources(config)
    autoencoder, apply = description.autoencoder, prepared.classifier.apply

    def member(variables, context, means, seed, keys, x, label, original, classifiers):
        points = layer.observe(context, x)
        back = description.reconstruct(variables, points, label)
        h, again = layer.restore(context, points), layer.restore(context, back)
        before, after = layer.head(context, h), layer.head(context, again)
        out = reconstruction.errors(h, again, label, mean=context["mean"], class_means=means)
        out["from_zero"] = jnp.mean(jnp.square(h.reshape(h.shape[0], -1)), axis=1)
        out["kl"] = objectives.divergence(before, after)
        out["prediction"] = jnp.argmax(after, axis=-1).astype(jnp.int16)
        if layer.name == IMAGE:
            out["ssim"] = reconstruction.ssim(x, back)
            same = jax.lax.map(lambda v: jnp.argmax(apply(v, back), axis=-1), classifiers) == original
            others = jnp.arange(len(original))[:, None] != seed
            out["others_agree"] = jnp.sum(same & others, axis=0).astype(jnp.float32)
        if autoencoder is not None and autoencoder.posterior is not None:
            out |= _of_posterior(layer, autoencoder, variables, context, keys, points, h)
        return out

    def work(chunk, ensemble, context, means, seeds, classifiers):
        keys = example_keys(config.seed, f"draw.{layer.name}", chunk["example"])
        shared = (keys, chunk["x"], chunk["true_label"], chunk["original"], classifiers)
        return map_members(member, ensemble, context, means, seeds, shared=shared, how=how)

    context, means = ensembles.take((layer.context, jnp.asarray(layer.class_means)), chosen)
    shared = {"ensemble": description.ensemble, "context": context, "means": means, "seeds": jnp.asarray(chosen)}
    most, total = max(16, CHUNK // int(np.prod(layer.shape))), images.sizes["example"]
    size = -(-total // -(-total // most))
    stage = Stage(f"measure.{description.name}", work, images, size, shared | {"classifiers": prepared.ensemble})
    return run_stage(run, stage, MEASURED)


def _of_posterior(layer: Layer, autoencoder, variables, context, keys, points, h) -> dict[str, jax.Array]:
    """What is measured of a draw of the posterior, one an example."""
    posterior = autoencoder.posterior(variables, points)
    eps = jax.vmap(lambda key: jax.random.normal(key, posterior.mean.shape[1:]))(keys)
    drawn = autoencoder.decode(variables, posterior.mean + jnp.exp(0.5 * posterior.log_var) * eps)
    apart = layer.restore(context, drawn) - h
    out = {"draw_mse": jnp.mean(jnp.square(apart.reshape(h.shape[0], -1)), axis=1)}
    out["latent_kl"] = jnp.sum(bottlenecks.kl_to_standard(posterior), axis=-1)
    if layer.name == IMAGE:
        own = jax.vmap(partial(jax.random.fold_in, data=1))(keys)
        out["nll"] = jax.vmap(partial(_nll, autoencoder, variables))(own, points)
    return out


def _nll(autoencoder, variables, key, point):
    """-log p(x | z) of one image in the bins of its levels, z a draw of its posterior. Nats."""
    return autoencoder.losses(variables, key, point[None], Penalties())[0]["nll"][0]


# ---- how the latent is used, and how many bits an image takes ----


def latents(config, run: runs.Run, layer: Layer, description: Description, test: Examples) -> xr.Dataset:
    """How a latent is used over the test images, and its rate: of codes, or after uniform quantisation (of images)."""
    family, coded = description.family, description.family in CODED

    def work() -> dict[str, Any]:
        z = encoded(config, layer, description, test.x)
        rated = layer.name == IMAGE and family != "vae"
        if coded or rated:
            trained = encoded(config, layer, description, _tabled(config, layer))
        if coded:
            return _codes(description, *(code_index(config, description, v) for v in (trained, z)))
        flat = z.reshape(*z.shape[:2], -1)
        found = {"effective_dimension": np.asarray([effective_dimension(spectrum(m)) for m in flat])}
        if family in UNITS:
            used = [active_units(m, relative=family != "vae") for m in flat]
            found["active_units"] = np.asarray(used, np.float64)
        return found | (_rate_curve(config, description, trained, z, test.x) if rated else {})

    return run_once(run, f"latent.{description.name}", work, OF_A_DESCRIPTION)


def pixel_codes(config, run: runs.Run, layer: Layer, test: Examples) -> xr.Dataset:
    """Bits of test images by the histograms of training images, for comparison, and pixels that these cannot code."""

    def work() -> dict[str, Any]:
        unseen = ~np.isin(np.rint(255 * test.x), layer.levels)
        bits = rate.pixel_bits(_tabled(config, layer), test.x, layer.levels)
        return {"pixel_bits": bits, "unseen_levels": unseen.mean(axis=(1, 2, 3))}

    return run_once(run, "latent.pixels", work, OTHERS)


def _tabled(config, layer: Layer) -> np.ndarray:
    """Training images that make the tables of code lengths."""
    return layer.training.x[np.random.default_rng(config.seed).permutation(len(layer.training.x))[:TABLED]]


def _codes(description: Description, trained: np.ndarray, index: np.ndarray) -> dict[str, Any]:
    size, places = description.size, index.shape[-1]
    used = [rate.code_use(member, size) for member in index]
    counts = np.full(places, size)
    bits = [rate.code_lengths(fit, coded, counts) for fit, coded in zip(trained, index, strict=True)]
    return {
        "code_bits": np.asarray(bits, np.float32),
        "code_usage": np.asarray([u.usage for u in used]),
        "code_perplexity": np.asarray([u.perplexity for u in used]),
        "code_bound": np.float64(places * np.log2(size)),
    }


def _rate_curve(config, description: Description, trained: np.ndarray, z: np.ndarray, x: np.ndarray) -> dict[str, Any]:
    """Bits and errors [member, step, example] of latents that are rounded at every width."""
    bits, errors = (np.zeros((len(z), len(STEPS), len(x)), np.float32) for _ in range(2))
    for i, step in enumerate(STEPS):
        coarse = np.empty_like(z)
        for member, (fit, own) in enumerate(zip(trained, z, strict=True)):
            fit = fit.reshape(len(fit), -1)
            quantiser = rate.fit_quantiser(fit, step, orthonormal=description.family == "pca")
            rounded, index = rate.quantise(quantiser, own.reshape(len(own), -1))
            bits[member, i] = rate.code_lengths(rate.quantise(quantiser, fit)[1], index, quantiser.counts)
            coarse[member] = rounded.reshape(own.shape)
        back = decoded(config, description, coarse)
        errors[:, i] = [np.square(own - x).reshape(len(x), -1).mean(axis=1) for own in back]
    return {"rate_bits": bits, "rate_mse": errors}
