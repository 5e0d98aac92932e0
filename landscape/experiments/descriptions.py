"""Layers of classifiers, and what describes them: autoencoders and their baselines, by layer, family and size."""

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from landscape import data, ensembles, runs
from landscape.data import Dataset
from landscape.ensembles import map_members
from landscape.experiments import setting
from landscape.experiments.setting import Examples, Setting
from landscape.files import UserError
from landscape.models import autoencoders, baselines, bottlenecks, coders
from landscape.models.autoencoders import Autoencoder
from landscape.models.coders import flat
from landscape.presets.names import CODED
from landscape.spaces import l2_norm
from landscape.training import artifacts, autoencoder_members, classifier_members
from landscape.training.autoencoder_members import Described, Perception
from landscape.types import Ensemble

IMAGE = "image"
PLACED = ("ae", "denoising", "contractive")  # families whose real latent may be a map
WIDENING = 4  # a sparse latent has that many entries for each one that is kept
TYPICAL = 512  # images by which the typical norm of a latent is known
SPREAD_IMAGES = 256  # by which the variance of a layer that compares reconstructions is estimated
BLOCK = 1000  # images that are encoded, decoded or whose activations are taken at once


# ---- before anything is trained ----


def check_images(config, dataset: Dataset, wanted: Iterable[tuple[str, int]]) -> None:
    """Refuses what autoencoders of images would stumble over once the classifiers are trained.

    wanted: the family and size of each, as `train` takes them.

    Raises:
      UserError: a class without training images, or a size that does not fit the images.
    """
    count = np.bincount(dataset.labels[dataset.splits["train"]], minlength=len(dataset.class_names))
    if not count.all():
        raise UserError(
            f"data set {dataset.name!r}: no training image of class {dataset.class_names[int(count.argmin())]!r}; "
            "expected some of each class; add images, or leave the class out"
        )
    for family, size in wanted:
        options_of(config, IMAGE, dataset.images.shape[1:], family, size)


def check_manifold(config, dataset: Dataset) -> None:
    """`check_images` for the autoencoder of `of_images`."""
    family = config.manifold.family
    check_images(config, dataset, [(family, size_of(config, family, config.autoencoder.dim))])


def check_hidden(config, dataset: Dataset) -> None:
    """Refuses fewer training images for `hidden_layer` than hold every class. After `check_images`."""
    label = dataset.labels[setting.drawn(dataset, "train", config.seed)]
    first = [int(np.argmax(label == k)) for k in range(len(dataset.class_names))]
    if config.hidden.num_points <= max(first):
        raise UserError(
            f"hidden.num_points={config.hidden.num_points}: none of these training images is of class "
            f"{dataset.class_names[int(np.argmax(first))]!r}; expected some of each class; "
            f"try --config.hidden.num_points={max(first) + 1} or more"
        )


# ---- layers ----


class Layer(NamedTuple):
    """One layer of all classifiers, "image" being the pixels, and what its training points are like.

    A *point* is what autoencoders see: pixels of images, (h - mean) / scale of hidden layers.

    Attributes:
      name; shape: of one point.
      observe: observe(context, x) -> points of images. restore: restore(context, points) -> h.
      head: head(context, h) -> logits.
      context: {"classifier", "mean", "scale"} of every classifier, stacked [S, ...]; mean is that of the training
        points, scale the root of their mean variance over entries.
      class_means: mean h of each class, [S, K, *shape].
      training: training images; training_points: their points, [S, n, *shape], of images [1, n, ...] for all.
      sources: identity hashes of the classifiers, "" for images.
      levels: byte values that pixels of training images take, see `data.levels`; of hidden layers none.
    """

    name: str
    shape: tuple[int, ...]
    observe: Callable
    restore: Callable
    head: Callable
    context: dict[str, Any]
    class_means: np.ndarray
    training: Examples
    training_points: np.ndarray
    sources: tuple[str, ...]
    levels: tuple[int, ...] = ()


class Description(NamedTuple):
    """One way to describe a layer, for all members of the run.

    Attributes:
      layer, family, size: `size` is the dimension of the latent, the entries kept (sparse), the number of codes (vq,
        fsq) or centres (kmeans), 0 for class_mean.
      reconstruct: reconstruct(variables, points, label) -> points.
      ensemble: variables, stacked along the member axis.
      autoencoder: None for a baseline. curves: of its training by name, [member, epoch].
    """

    layer: str
    family: str
    size: int
    reconstruct: Callable
    ensemble: Ensemble
    autoencoder: Autoencoder | None = None
    curves: dict[str, np.ndarray] | None = None

    @property
    def name(self) -> str:
        return f"{self.layer}.{self.family}" + (f".{self.size}" if self.size else "")


def sources(config) -> np.ndarray:
    """Which classifier each member of the run belongs to: its seed's. [member]."""
    return np.asarray([member.seed for member in autoencoder_members.members_of(config)])


def image_layer(config, prepared: Setting) -> Layer:
    """The pixels themselves: a layer that is the same for all classifiers."""
    training = setting.examples(prepared.dataset, "train", len(prepared.dataset.splits["train"]), config.seed)
    apply = prepared.classifier.apply
    return Layer(
        IMAGE,
        training.x.shape[1:],
        lambda context, x: x,
        lambda context, points: points,
        lambda context, h: apply(context["classifier"], h),
        *_moments(prepared, training, training.x[None]),
        training,
        training.x[None],
        ("",) * config.num_members,
        data.levels(prepared.dataset),
    )


def hidden_layer(config, prepared: Setting, name: str) -> Layer:
    """A hidden layer of every classifier; `config.hidden.num_points` training images stand for all of them."""
    classifier = prepared.classifier
    training = setting.examples(prepared.dataset, "train", config.hidden.num_points, config.seed)
    program = jax.jit(
        lambda e, x: map_members(lambda v, x: classifier.features(v, x, name), e, shared=(x,), how=prepared.how)
    )
    h = np.concatenate([np.asarray(program(prepared.ensemble, training.x[b])) for b in blocks(len(training.x))], axis=1)
    context, means = _moments(prepared, training, h)
    mean, scale = (np.asarray(context[key]) for key in ("mean", "scale"))
    for s in range(len(h)):  # in place: these are the largest arrays of a run
        h[s] = (h[s] - mean[s]) / scale[s]

    def observe(context, x):
        return (classifier.features(context["classifier"], x, name) - context["mean"][None]) / context["scale"]

    return Layer(
        name,
        h.shape[2:],
        observe,
        lambda context, points: points * context["scale"] + context["mean"][None],
        lambda context, h: classifier.head(context["classifier"], h, name),
        context,
        means,
        training,
        h,
        _hashes(config, prepared),
    )


def _hashes(config, prepared: Setting) -> tuple[str, ...]:
    """Identity hashes of the trained classifiers, by seed."""
    members = classifier_members.members_of(config)[: config.num_members]
    return tuple(artifacts.identity_hash(classifier_members.identity(config, prepared.dataset, m)) for m in members)


@functools.lru_cache(maxsize=4)  # the same function gives the same compiled program
def _perceive(features: Callable, layer: str) -> Callable:
    """features(context, x) -> activations [N, F] of a classifier over the root of their total variance, `perceived`."""
    return lambda context, x: flat(features(context["classifier"], x, layer)) / context["perceived"]


def perception(config, prepared: Setting, layer: Layer) -> tuple[Perception | None, dict[str, Any]]:
    """How the classifiers see images, and the context that this takes; None and nothing where no member perceives.

    The variance is that over SPREAD_IMAGES training images.
    """
    section = config.autoencoder
    if layer.name != IMAGE or not any((section.perceptual, *section.sweep.perceptual)):
        return None, {}
    features, name = prepared.classifier.features, section.perceptual_layer
    x = layer.training.x[np.random.default_rng(config.seed).permutation(len(layer.training.x))[:SPREAD_IMAGES]]

    def spread(variables, x):
        h = flat(features(variables, x, name))
        return jnp.sqrt(jnp.sum(jnp.var(h, axis=0)))

    spreads = jax.jit(lambda e, x: map_members(spread, e, shared=(x,), how=prepared.how))(prepared.ensemble, x)
    return Perception(name, _perceive(features, name), _hashes(config, prepared)), {"perceived": spreads}


def _moments(prepared: Setting, training: Examples, h: np.ndarray) -> tuple[dict[str, Any], np.ndarray]:
    """The context of a layer and its class means, from training activations [S or 1, n, ...]."""
    mean = np.stack([a.mean(axis=0, dtype=np.float64) for a in h]).astype(np.float32)
    scale = np.sqrt([np.square(a - m).mean(dtype=np.float64) for a, m in zip(h, mean, strict=True)])
    means = np.stack([baselines.class_means(a, training.label, len(prepared.dataset.class_names)) for a in h])
    count = len(prepared.members)
    mean, scale, means = (np.broadcast_to(a, (count, *a.shape[1:])) for a in (mean, scale.astype(np.float32), means))
    return {"classifier": prepared.ensemble, "mean": jnp.asarray(mean), "scale": jnp.asarray(scale)}, means


def size_of(config, family: str, dim: int) -> int:
    """The size of a family's description where others have `dim` dimensions: the number of codes of vq and fsq."""
    if family == "vq":
        return config.autoencoder.num_codes
    return int(np.prod(config.autoencoder.levels)) if family == "fsq" else dim


def build(config, layer: Layer, family: str, size: int) -> tuple[Autoencoder, dict[str, Any]]:
    """The autoencoder of a description, and JSON values that tell what its weights depend on besides data and training.

    Raises:
      UserError, ValueError: values that do not fit each other.
    """
    pixels, options = layer.name == IMAGE, options_of(config, layer.name, layer.shape, family, size)
    about = {"family": family, "layer": layer.name, **options}
    if pixels:  # hidden layers are standardised by their context, since each classifier has its own
        options |= {"mean": layer.context["mean"][0], "scale": float(layer.context["scale"][0])}
        if family == "vae":
            options["pixel_levels"] = layer.levels
            about["pixel_levels"] = len(layer.levels)
    else:
        about |= {"num_points": config.hidden.num_points}
    return autoencoders.build(family, layer.shape, pixels=pixels, **options), about


def options_of(config, layer: str, shape: tuple[int, ...], family: str, size: int) -> dict[str, Any]:
    """What `autoencoders.build` takes of the config, for a layer whose points have a shape.

    Raises:
      UserError: a spatial latent whose size does not fit the images.
    """
    section = config.autoencoder
    network = section.network if layer == IMAGE else "dense"  # a hidden layer need be no map
    options: dict[str, Any] = {"network": network, "dim": size}
    options["widths"] = tuple(section.channels if network == "conv" else section.widths)
    if network == "conv" and section.blocks:
        options["blocks"] = section.blocks
    if family == "sparse":
        options |= {"dim": WIDENING * size, "k": size}
    if family == "vq":
        options |= {"dim": section.code_dim, "num_codes": size}
    if family == "fsq":
        options |= {"dim": len(section.levels), "levels": tuple(section.levels)}
    if family in CODED:
        options |= {"spatial": True} if network == "conv" else {"places": section.places}
    elif network == "conv" and section.spatial and family in PLACED:
        places = math.prod(coders.halvings(shape[:2], len(section.channels))[-1])
        if size % places:
            raise UserError(
                f"autoencoder.spatial=True with {size} dimensions: expected a multiple of the {places} places of the "
                f"last map; try {max(1, size // places) * places} in its place, or other channels"
            )
        options |= {"spatial": True, "dim": size // places}
    return options


def train(config, run: runs.Run, prepared: Setting, layer: Layer, family: str, size: int) -> Description:
    """One architecture on one layer, every seed and swept value: restored or trained."""
    autoencoder, about = build(config, layer, family, size)
    description = Description(layer.name, family, size, reconstruction(autoencoder), None, autoencoder)
    seen, spreads = perception(config, prepared, layer)
    described = Described(
        description.name,
        about,
        autoencoder,
        layer.shape,
        layer.observe,
        ensembles.take(layer.context | spreads, sources(config)),
        layer.sources,
        (config.autoencoder if layer.name == IMAGE else config.hidden).num_epochs,
        seen,
    )
    variables, curves = autoencoder_members.ensemble(run, config, prepared.dataset, described)
    return description._replace(ensemble=variables, curves=curves)


def of_images(config, run: runs.Run, prepared: Setting) -> tuple[Layer, Description]:
    """Images as a layer, and one autoencoder of them: of the first member's seed and the family of the manifold."""
    one, family = setting.with_members(config, 1), config.manifold.family
    first = prepared._replace(ensemble=ensembles.take(prepared.ensemble, slice(1)), members=prepared.members[:1])
    layer = image_layer(one, first)
    return layer, train(one, run, prepared, layer, family, size_of(config, family, config.autoencoder.dim))


def manifold(config, described: Description, x: np.ndarray) -> tuple[Ensemble, jax.Array]:
    """(variables of the first autoencoder, radius of searches in its latent): `config.manifold.epsilon` is in the
    typical norm of a latent, the root mean square distance of those of the first TYPICAL images from their mean."""
    variables = ensembles.take(described.ensemble, 0)
    z = jax.jit(described.autoencoder.encode)(variables, jnp.asarray(x[:TYPICAL]))
    norm = jnp.sqrt(jnp.mean(jnp.square(l2_norm(z - jnp.mean(z, axis=0, keepdims=True)))))
    return variables, config.manifold.epsilon * norm


def reconstruction(autoencoder: Autoencoder) -> Callable:
    """reconstruct(variables, points, label) -> points, for `Description`."""
    return lambda variables, points, label: autoencoder.decode(variables, autoencoder.encode(variables, points))


def decoder(autoencoder: Autoencoder) -> Callable:
    """decode(variables, z [N, ...]) -> points, by way of the nearest latent that the encoder could have given."""

    def decode(variables, z):
        z = z.reshape(z.shape[0], *autoencoder.latent)
        return autoencoder.decode(variables, autoencoder.project(variables, z))

    return decode


def baselines_of(config, layer: Layer, sizes: Sequence[int], *, num_centres: int) -> list[Description]:
    """PCA of every size that the layer has, for hidden layers the class mean and k-means (at most half the points)."""
    index = sources(config)
    sizes = [size for size in sizes if size <= np.prod(layer.shape)]

    def spread(fitted: list) -> Ensemble:
        """Fits of every classifier, or the one of images, along the member axis."""
        stacked = ensembles.stack(fitted)
        return ensembles.take(stacked, index if len(fitted) > 1 else np.zeros_like(index))

    full = [baselines.fit_pca(points, max(sizes)) for points in layer.training_points] if sizes else []
    found = []
    for size in sizes:
        cut = [pca._replace(axes=pca.axes[:, :size], variances=pca.variances[:size]) for pca in full]
        found.append(Description(layer.name, "pca", size, _through_pca, spread(cut)))
    if layer.name != IMAGE:
        mean, scale = (np.asarray(layer.context[key]) for key in ("mean", "scale"))
        means = (layer.class_means - mean[:, None]) / scale.reshape(-1, *(1,) * (layer.class_means.ndim - 1))
        found.append(Description(layer.name, "class_mean", 0, _to_class_mean, spread(list(jnp.asarray(means)))))
        if num_centres:
            num_centres = min(num_centres, layer.training_points.shape[1] // 2)
            centres = [baselines.fit_kmeans(points, num_centres, seed=config.seed) for points in layer.training_points]
            found.append(Description(layer.name, "kmeans", num_centres, _to_nearest, spread(centres)))
    return found


def _through_pca(pca, points, label):
    return baselines.pca_decode(pca, baselines.pca_encode(pca, points))


def _to_class_mean(means, points, label):
    return means[label]


def _to_nearest(centres, points, label):
    return baselines.at_nearest(centres, points)


# ---- latents ----

UNITS = ("vae", "sparse")  # families whose loss tells one latent dimension from a rotation of all


def blocks(count: int) -> list[slice]:
    """Slices of at most BLOCK of `count` images."""
    return [slice(i, i + BLOCK) for i in range(0, count, BLOCK)]


def encoded(config, layer: Layer, description: Description, x: np.ndarray) -> np.ndarray:
    """Latents of images, [member, n, ...]."""

    def member(variables, context, x):
        points = layer.observe(context, x)
        if description.autoencoder is None:
            return baselines.pca_encode(variables, points)
        return description.autoencoder.encode(variables, points)

    how, context = ensembles.parse(config.mapping, len(sources(config))), ensembles.take(layer.context, sources(config))
    program = jax.jit(lambda e, c, x: map_members(member, e, c, shared=(x,), how=how))
    parts = [np.asarray(program(description.ensemble, context, x[b])) for b in blocks(len(x))]
    return np.concatenate(parts, axis=1)


def decoded(config, description: Description, z: np.ndarray) -> np.ndarray:
    """Points of latents [member, n, ...]."""
    how, autoencoder = ensembles.parse(config.mapping, len(z)), description.autoencoder
    decode = baselines.pca_decode if autoencoder is None else autoencoder.decode
    program = jax.jit(lambda e, z: map_members(decode, e, z, how=how))
    return np.concatenate([np.asarray(program(description.ensemble, z[:, b])) for b in blocks(z.shape[1])], axis=1)


def code_index(config, description: Description, z: np.ndarray) -> np.ndarray:
    """Codes of latents [member, n, ...] of vq and fsq, [member, n, place]."""

    def one(member: int) -> np.ndarray:
        if description.family == "fsq":
            points = jnp.asarray(z[member].reshape(len(z[member]), -1, len(config.autoencoder.levels)))
            return np.asarray(bottlenecks.fsq_index(points, tuple(config.autoencoder.levels)))
        codes = description.ensemble["codebook"].codes[member]
        entries = jnp.asarray(z[member].reshape(-1, codes.shape[-1]))
        return np.asarray(bottlenecks.nearest(codes, entries)).reshape(len(z[member]), -1)

    return np.stack([one(member) for member in range(len(z))])
