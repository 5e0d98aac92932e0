"""The autoencoders that moves go through: of images one for all classifiers, of a hidden layer one for each seed.

That of a hidden layer describes the activations of the classifier of that seed trained without augmentation, since
units differ between seeds. It is trained as in the experiment `autoencoders`, on (h - mean) / scale.
"""

import functools
from collections.abc import Callable, Sequence

from landscape import ensembles, runs
from landscape.data import Dataset
from landscape.experiments import descriptions, setting, works
from landscape.experiments.augmentation import arms
from landscape.experiments.augmentation.config import IMAGE
from landscape.experiments.setting import Setting
from landscape.files import UserError
from landscape.models.autoencoders import Autoencoder
from landscape.stats.contrasts import LEAST_PAIRED
from landscape.training import artifacts, classifier_members
from landscape.training.augmented_members import Coder
from landscape.training.members import Member


def check(config, dataset: Dataset) -> None:
    """Refuses training images that the autoencoders of the config do not fit, and too few test images to compare."""
    works.check(config, dataset)
    for name in ("num_examples", "num_probed"):
        if (count := min(config.measure[name], len(dataset.splits["test"]))) < LEAST_PAIRED:
            raise UserError(
                f"measure.{name}={config.measure[name]}: {count} test images; expected {LEAST_PAIRED} or more, in "
                "which arms are compared; take more"
            )
    names = arms.Layers.of(config, setting.classifier_of(config, dataset).layers).coded
    if IMAGE in names:
        descriptions.check_manifold(config, dataset)
    if {*names} - {IMAGE}:
        descriptions.check_images(config, dataset, ())
        descriptions.check_hidden(config, dataset)


def coders_of(
    config, run: runs.Run, prepared: Setting, seeds: Sequence[int], images: Coder | None
) -> tuple[Coder, ...]:
    """Those of every layer that the config asks for, for members of these seeds.

    images: that of `of_images`; None where the config does not ask for it.
    """
    names = arms.Layers.of(config, prepared.classifier.layers).coded
    return tuple(images if name == IMAGE else of_layer(config, run, prepared, name, seeds) for name in names)


def of_images(config, run: runs.Run, prepared: Setting) -> Coder | None:
    """The autoencoder of images, that of the first seed; None where no move goes through it."""
    if IMAGE not in arms.Layers.of(config, prepared.classifier.layers).coded:
        return None
    _, found = descriptions.of_images(config, run, prepared)
    functions = (found.autoencoder.encode, found.autoencoder.decode)
    return Coder(IMAGE, *functions, found.ensemble, (), (_about(config, found),))


def of_layer(config, run: runs.Run, prepared: Setting, name: str, seeds: Sequence[int]) -> Coder:
    """The autoencoders of a hidden layer of the classifiers of these seeds, trained without augmentation."""
    weights, hashes = plain_members(config, run, prepared, seeds)
    own, how = setting.with_members(config, len(seeds)), ensembles.parse(config.mapping, len(seeds))
    several = prepared._replace(ensemble=weights, members=[{"seed": seed} for seed in seeds], how=how)
    layer = descriptions.hidden_layer(own, several, name)._replace(sources=hashes)
    found = descriptions.train(own, run, several, layer, config.manifold.family, config.hidden.dim)
    contexts = {"autoencoder": found.ensemble, "mean": layer.context["mean"], "scale": layer.context["scale"]}
    about = {"num_points": config.hidden.num_points, "num_epochs": config.hidden.num_epochs, **_about(config, found)}
    each = tuple({"source": source, "number": i, **about} for i, source in enumerate(hashes))
    return Coder(name, *_standardised(found.autoencoder), contexts, tuple(seeds), each)


def plain_members(
    config, run: runs.Run, prepared: Setting, seeds: Sequence[int]
) -> tuple[ensembles.Ensemble, tuple[str, ...]]:
    """Classifiers of these seeds trained without augmentation, [S, ...], and their identity hashes."""
    dataset = prepared.dataset
    members = [Member(seed, "trained", classifier_members.members_of(config)[0].hyper) for seed in seeds]
    weights, _ = classifier_members.ensemble(run, config, dataset, prepared.classifier, members, "train.sources")
    abouts = (classifier_members.identity(config, dataset, member) for member in members)
    return weights, tuple(map(artifacts.identity_hash, abouts))


def _about(config, found: descriptions.Description) -> dict:
    """What an autoencoder's weights depend on beside data and source."""
    about = {name: value for name, value in config.autoencoder.to_dict().items() if name != "sweep"}
    return {"family": found.family, "size": found.size, **about}


@functools.lru_cache(maxsize=8)  # the same functions give the same compiled program
def _standardised(autoencoder: Autoencoder) -> tuple[Callable, Callable]:
    """(encode, decode) of activations by an autoencoder of standardised ones."""

    def encode(context, h):
        return autoencoder.encode(context["autoencoder"], (h - context["mean"][None]) / context["scale"])

    def decode(context, z):
        return autoencoder.decode(context["autoencoder"], z) * context["scale"] + context["mean"][None]

    return encode, decode
