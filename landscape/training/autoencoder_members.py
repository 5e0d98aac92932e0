"""Autoencoders as members: their hyperparameters, task, identity, and the ensemble of one architecture.

Members differ in seed and in swept numbers that change no shape; another family or bottleneck is another program.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike

from landscape import runs
from landscape.data import Dataset
from landscape.models.autoencoders import WEIGHED, Autoencoder, Penalties
from landscape.training import artifacts
from landscape.training.members import Member, grid
from landscape.training.step import Task
from landscape.types import Ensemble

KIND = "autoencoder"
VERSION = 1  # raised whenever the same identity would train to other weights
SCORED = "validation_mse"


# Hyperparameters that change no shape: the optimiser's, as of a classifier, and those of `Penalties`.
Hyper = NamedTuple("Hyper", [(n, ArrayLike) for n in ("learning_rate", "weight_decay", *Penalties._fields)])


class Perception(NamedTuple):
    """How classifiers see images, for the perceptual term of `Autoencoder.losses`.

    Attributes:
      layer: whose activations are compared.
      features: features(context, x) -> activations [N, F] in units of the root of their total variance.
      sources: identity hashes of the members' classifiers.
    """

    layer: str
    features: Callable
    sources: tuple[str, ...]


class Described(NamedTuple):
    """What an architecture is and what it describes.

    Attributes:
      stage: name of its training in progress and metrics.
      about: JSON values: its family, sizes and layer.
      autoencoder: its functions.
      shape: of one point.
      observe: observe(context, x) -> points, what an autoencoder sees of images.
      context: of all members, stacked [S, ...]: () for images; of a hidden layer the classifier and what standardises.
      sources: identity hashes of the members' classifiers, "" for images.
      num_epochs: of training.
      perception: of members with the perceptual term; None where there is none.
    """

    stage: str
    about: dict[str, Any]
    autoencoder: Autoencoder
    shape: tuple[int, ...]
    observe: Callable
    context: Any
    sources: tuple[str, ...]
    num_epochs: int
    perception: Perception | None = None

    def perceives(self, member: Member) -> bool:
        """Whether a member is trained with the perceptual term."""
        return self.perception is not None and member.hyper.perceptual > 0


def members_of(config) -> list[Member]:
    """Every swept value of `config.autoencoder.sweep` for every seed, seeds fastest."""
    section = config.autoencoder
    base = Hyper(*(float(section[name]) for name in Hyper._fields))
    return grid(base, section.sweep.to_dict(), config.num_members)


@functools.lru_cache(maxsize=4)
def task_of(
    autoencoder: Autoencoder, shape: tuple[int, ...], observe: Callable, perceive: Callable | None = None
) -> Task:
    """The loss of the autoencoder's family; scored by the mean squared error of the reconstruction.

    perceive: `Perception.features`, of members with the perceptual term.
    """

    def init(key, image):
        return autoencoder.init(key, jnp.zeros((1, *shape)))

    def loss(variables, context, key, x, label, hyper):
        penalties = Penalties(*(getattr(hyper, name) for name in Penalties._fields))
        own = None if perceive is None else functools.partial(perceive, context)
        terms, codebook = autoencoder.losses(variables, key, observe(context, x), penalties, own)
        return jnp.mean(terms["loss"]), {} if codebook is None else {"codebook": codebook}

    def score(variables, context, x, label):
        point = observe(context, x)
        error = autoencoder.decode(variables, autoencoder.encode(variables, point)) - point
        return jnp.mean(jnp.square(error.reshape(error.shape[0], -1)), axis=1)

    return Task(init, loss, score, SCORED)


def identity(config, dataset: Dataset, described: Described, member: Member) -> dict[str, Any]:
    """Everything the weights of a member depend on, as JSON values; what its hash is taken of.

    Penalties that the family's training does not take are left out: of a sweep over them one member is trained.
    """
    section = config.autoencoder
    idle = set(Penalties._fields) - set(WEIGHED.get(described.about["family"], ()))
    seen_by = {}
    if described.perceives(member):
        idle -= {"perceptual"}
        seen_by = {"layer": described.perception.layer, "source": described.perception.sources[member.seed]}
    hyper = {name: value for name, value in member.hyper._asdict().items() if name not in idle}
    return {
        **artifacts.common_identity(config, dataset, member),
        "kind": KIND,
        "model": described.about,
        "source": described.sources[member.seed],
        **({"perception": seen_by} if seen_by else {}),
        "training": {"num_epochs": described.num_epochs, "batch_size": section.batch_size, **hyper},
        "training_version": VERSION,
    }


def ensemble(run: runs.Run, config, dataset: Dataset, described: Described) -> tuple[Ensemble, dict[str, np.ndarray]]:
    """All members of one architecture, restored or trained, and their training curves by name [S, E].

    Raises:
      UserError: training met a loss that is not finite.
      runs.Interrupted: a signal came while training; the same command goes on.
    """
    members = members_of(config)
    about = [identity(config, dataset, described, member) for member in members]
    like = jax.eval_shape(described.autoencoder.init, jax.random.key(0), jnp.zeros((1, *described.shape)))

    def train(missing: Sequence[int], keep: artifacts.Keep) -> None:
        # Members with and without the perceptual term come apart: their programs differ, and so may last bits.
        for perceived in (False, True):
            chosen = [i for i in missing if described.perceives(members[i]) == perceived]
            if chosen:
                perceive = described.perception.features if perceived else None
                artifacts.train_together(
                    run,
                    dataset,
                    task_of(described.autoencoder, described.shape, described.observe, perceive),
                    members,
                    about,
                    chosen,
                    keep,
                    stage=described.stage + (".perceptual" if perceived else ""),
                    mapping=config.mapping,
                    section="autoencoder",
                    context=described.context,
                    seed=config.seed,
                    num_epochs=described.num_epochs,
                    batch_size=config.autoencoder.batch_size,
                )

    variables = artifacts.ensemble(run, f"train.{described.stage}", about, like, train)
    saved = [artifacts.curves_of(run, a) for a in about]
    return variables, {name: np.asarray([s[name] for s in saved], np.float32) for name in ("train_loss", SCORED)}
