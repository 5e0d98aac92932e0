"""Classifiers trained on examples that are changed at a layer (`runner_up`), as members beside plain ones.

Members of one program may differ in kind, layer and numbers, so that a whole grid is trained at once. A member whose
examples are not changed (probability or epsilon 0) is the plain member of `classifier_members`: the same program, the
same identity, the same bits.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import ArrayLike

from landscape import ensembles, runs
from landscape.data import Dataset
from landscape.models import classifiers
from landscape.models.classifiers import Classifier
from landscape.training import artifacts, classifier_members
from landscape.training.classifier_members import SCHEDULE, attack_of, cross_entropy, task_of, used_by
from landscape.training.members import Member
from landscape.training.runner_up import (
    CODED,
    EACH_STEP,
    KINDS,
    Augmentation,
    acts,
    chosen_of,
    drawn_of,
    mixing,
    moved,
    room_of,
    stepped,
    toward_runner_up,
)
from landscape.types import Ensemble, Logits

VERSION = 2  # raised whenever the same identity would train to other weights

# Those of a plain classifier, then those of `Augmentation`.
Hyper = NamedTuple("Hyper", [(name, ArrayLike) for name in (*classifier_members.Hyper._fields, *Augmentation._fields)])
NUM_PLAIN = len(classifier_members.Hyper._fields)
NOTHING = Augmentation()
UNGUIDED = ("random", "mixup")


class Coder(NamedTuple):
    """Autoencoders of a layer that moves go through: one for all members, or one for each seed.

    Attributes:
      layer: whose activations they describe; "image" for the pixels.
      encode, decode: encode(context, h) -> z, decode(context, z) -> h.
      contexts: what these take, stacked [seed, ...]. seeds: of the rows, () where one row serves all.
      about: JSON values of all that a row depends on, one a row.
    """

    layer: str
    encode: Callable
    decode: Callable
    contexts: Any
    seeds: tuple[int, ...]
    about: tuple[dict[str, Any], ...]

    def row(self, seed: int) -> int:
        """The row of a member's seed."""
        return self.seeds.index(seed) if self.seeds else 0

    def contexts_of(self, seeds: Sequence[int]) -> Any:
        """What members of these seeds are given, stacked [S, ...]; on the host, of one row a view."""
        contexts = jax.tree.map(np.asarray, self.contexts)
        if not self.seeds:
            return jax.tree.map(lambda leaf: np.broadcast_to(leaf, (len(seeds), *leaf.shape[1:])), contexts)
        return ensembles.take(contexts, np.asarray([self.row(seed) for seed in seeds]))


def member_of(plain: classifier_members.Hyper, seed: int, how: Augmentation = NOTHING) -> Member:
    """A member to be trained with an augmentation; without one, plainly."""
    return Member(seed, "trained", Hyper(*map(float, (*plain, *how))))


def augmentation_of(hyper: Hyper) -> Augmentation:
    """The numbers of the augmentation alone."""
    return Augmentation(*hyper[NUM_PLAIN:])


def plain_of(member: Member) -> Member:
    """The member without its augmentation."""
    return member._replace(hyper=classifier_members.Hyper(*member.hyper[:NUM_PLAIN]))


class Program(NamedTuple):
    """What decides which members are trained in one program.

    Attributes:
      kind: "plain", "guided" by gradients of the classifier, "unguided" (random directions, mixup), or "coded".
      layer: number of the coder; 0 for others. room: see `runner_up.room_of`.
    """

    kind: str = "plain"
    layer: int = 0
    room: float = 0.0

    @classmethod
    def of(cls, member: Member) -> "Program":
        """That of a member."""
        how = augmentation_of(member.hyper)
        if not acts(how):
            return cls()
        if how.coded:
            return cls("coded", int(how.layer), room_of(how))
        return cls("unguided" if KINDS[int(how.kind)] in UNGUIDED else "guided", 0, room_of(how))

    def loss(
        self, classifier: Classifier, layers: tuple[str, ...], precision: str, coder: Coder | None
    ) -> Callable | None:
        """Its loss, see `loss_of` and `coded_loss_of`; None for plain members."""
        if self.kind == "plain":
            return None
        if coder is None:
            return loss_of(classifier, layers, precision, self.room, guided=self.kind == "guided")
        return coded_loss_of(classifier, coder.layer, precision, (coder.encode, coder.decode), self.room)

    def name(self, coder: Coder | None) -> str:
        """Of its stage."""
        parts = (self.kind, coder.layer if coder else "", f"{self.room:g}" if self.room else "")
        return ".".join(filter(None, parts))


@functools.lru_cache(maxsize=8)  # the same function gives the same compiled program
def loss_of(
    classifier: Classifier, layers: tuple[str, ...], precision: str = "float32", room: float = 1.0, *, guided: bool
) -> Callable:
    """(variables, context, key, x, label, hyper) -> (loss of the changed examples, batch_stats of the images).

    The running statistics are those of a pass of the images as they are; the changed examples are normalised by their
    own batch. Directions are those of the images in inference mode, at all layers by one pass forward and one back:
    XLA's convolutions are slow in branches, of which each member takes another one.

    Args:
      layers: those that `Augmentation.layer` counts, in order; of one that is drawn in each step, all.
      room: the largest share of a batch that is moved, see `runner_up.room_of`.
      guided: whether members move by gradients of the classifier; otherwise at random, or mix.
    """
    _, train_apply = classifiers.in_precision(classifier, precision)

    def changed(variables, key, x, label, how):
        """Logits of the changed examples, the partners of mixing and the share of each example itself."""
        key_layer, key_share, key_drawn, key_direction = jax.random.split(key, 4)
        layer = jnp.where(how.layer == EACH_STEP, jax.random.randint(key_layer, (), 0, len(layers)), how.layer)
        drawn, frozen = drawn_of(key_drawn, len(x), how, room), lax.stop_gradient(variables)
        partner, share, mixes = jnp.arange(len(x)), jnp.ones(()), how.kind == KINDS.index("mixup")
        if guided:
            directions, logits = _gradients(classifier, frozen, layers, x[: len(drawn)], drawn, how)
        else:
            directions, logits = _random(key_direction, classifier, frozen, layers, x[: len(drawn)], how)
            alpha = jnp.where(mixes, how.alpha, 1.0)  # where vmap computes both branches
            partner, share = lax.cond(mixes, lambda: mixing(key_share, len(x), alpha), lambda: (partner, share))
        chosen, h, start = chosen_of(drawn, logits, label[: len(drawn)], how), x, "image"
        for i, name in enumerate(layers):
            h = h if name == start else train_apply(variables, h, start=start, stop=name)[0]
            branches = (lambda h: h, lambda h, i=i: stepped(h, directions[i], chosen, how.epsilon))
            branches += () if guided else (lambda h: share * h + (1 - share) * h[partner],)
            h, start = lax.switch(jnp.where(layer == i, jnp.where(mixes, 2, 1), 0), branches, h), name
        return train_apply(variables, h, start=start)[0], partner, share

    def loss(variables, context, key, x, label, hyper):
        batch_stats = train_apply(variables, x)[1]
        logits, partner, share = changed(variables, key, x, label, augmentation_of(hyper))
        own, other = (cross_entropy(logits, one, hyper.label_smoothing) for one in (label, label[partner]))
        return share * own + (1 - share) * other, batch_stats

    return loss


def _gradients(classifier: Classifier, variables, layers, x, drawn, how: Augmentation) -> tuple[tuple, Logits]:
    """Gradients of the runner-up's logit at every layer, and the logits: what is added there to the activations moves
    it so."""

    def logits_fn(added):
        h, start = x, "image"
        for name, one in zip(layers, added, strict=True):
            h, start = classifier.features(variables, h, name, start) + one, name
        return classifier.head(variables, h, start)

    added = tuple(jnp.zeros(shape, x.dtype) for shape in _shapes(classifier, variables, layers, x))
    return toward_runner_up(logits_fn, added, together=how.kind == KINDS.index("batch_sum"), among=drawn)


def _random(key, classifier: Classifier, variables, layers, x, how: Augmentation) -> tuple[list, Logits]:
    """Random directions at every layer, of which one is read, parts of one draw; and the logits where the gate is."""
    shapes = _shapes(classifier, variables, layers, x)
    sizes = [math.prod(shape) for shape in shapes]
    drawn = lax.cond(
        how.kind == KINDS.index("random"),
        lambda: jax.random.normal(key, (max(sizes),), x.dtype),
        lambda: jnp.zeros((max(sizes),), x.dtype),
    )
    like = jax.eval_shape(classifier.apply, variables, x)
    logits = lax.cond(
        how.correct > 0, lambda: classifier.apply(variables, x), lambda: jnp.zeros(like.shape, like.dtype)
    )
    return [drawn[:size].reshape(shape) for size, shape in zip(sizes, shapes, strict=True)], logits


def _shapes(classifier: Classifier, variables, layers, x) -> list[tuple[int, ...]]:
    """Of the activations of images at every layer."""
    return [jax.eval_shape(functools.partial(classifier.features, layer=n), variables, x).shape for n in layers]


@functools.lru_cache(maxsize=8)
def coded_loss_of(
    classifier: Classifier, layer: str, precision: str, coding: tuple[Callable, Callable], room: float = 1.0
) -> Callable:
    """The same of moves in one layer through its autoencoder; coding: (encode, decode) of a `Coder`, which take the
    member's `context`."""
    _, train_apply = classifiers.in_precision(classifier, precision)

    def loss(variables, context, key, x, label, hyper):
        frozen, how = lax.stop_gradient(variables), augmentation_of(hyper)
        h = x if layer == "image" else train_apply(variables, x, stop=layer)[0]
        coder = tuple(functools.partial(fn, context) for fn in coding)
        h = moved(key, lambda h: classifier.head(frozen, h, layer), h, label, how, coder, room=room)
        logits = train_apply(variables, h, start=layer)[0]
        return cross_entropy(logits, label, hyper.label_smoothing), train_apply(variables, x)[1]

    return loss


def identity(
    config, dataset: Dataset, member: Member, layers: Sequence[str], coders: Sequence[Coder] = ()
) -> dict[str, Any]:
    """Everything the weights of a member depend on, as JSON values; that of the plain member where nothing changes."""
    about, how = classifier_members.identity(config, dataset, plain_of(member)), augmentation_of(member.hyper)
    if not acts(how):
        return about
    known = [coder.layer for coder in coders] if how.coded else layers
    layer = "each_step" if how.layer == EACH_STEP else known[int(how.layer)]
    named = {"kind": KINDS[int(how.kind)], "layer": layer, "coded": CODED[int(how.coded)], "version": VERSION}
    if layer == "each_step":
        named["layers"] = list(layers)
    if how.coded:
        coder = coders[int(how.layer)]
        named["autoencoder"] = coder.about[coder.row(member.seed)]
    return about | {"augmentation": how._asdict() | named}


def ensemble(
    run: runs.Run,
    config,
    dataset: Dataset,
    classifier: Classifier,
    members: Sequence[Member],
    layers: tuple[str, ...],
    stage: str,
    *,
    coders: Sequence[Coder] = (),
    start: Callable[[Sequence[Member]], Ensemble | None] = lambda members: None,
    source: Callable[[Member], str] = lambda member: "",
) -> Ensemble:
    """Members of `member_of`, restored where they exist, the missing ones trained together; [S, ...].

    Args:
      config: as `classifier_members.ensemble` takes it. layers: see `loss_of`.
      stage: name of the training in progress and metrics.
      coders: those that `Augmentation.layer` counts, of members whose moves go through an autoencoder.
      start: weights that members start from, stacked: None for initial ones. source: what these are, "" for none.

    Raises:
      UserError: training met a loss that is not finite.
      runs.Interrupted: a signal came while training; the same command goes on.
    """
    about = [identity(config, dataset, member, layers, coders) for member in members]
    about = [one | ({"start": source(m)} if source(m) else {}) for one, m in zip(about, members, strict=True)]
    like = jax.eval_shape(classifier.init, jax.random.key(0), jnp.zeros((1, *dataset.images.shape[1:])))
    schedule = {name: config.train[name] for name in SCHEDULE} | {"seed": config.seed}

    def program_of(member: Member) -> tuple[tuple[str, ...], Program]:
        """What members have in common that are trained together."""
        return used_by(member), Program.of(member)

    def train(missing: Sequence[int], keep: artifacts.Keep) -> None:
        for used, program in sorted({program_of(members[i]) for i in missing}):
            coder = coders[program.layer] if program.kind == "coded" else None
            own = members if program.kind != "plain" else [plain_of(member) for member in members]
            augmented = program.loss(classifier, layers, config.train.precision, coder)
            artifacts.train_together(
                run,
                dataset,
                task_of(classifier, used, config.train.precision, attack_of(config), augmented),
                own,
                about,
                [i for i in missing if program_of(members[i]) == (used, program)],
                keep,
                stage=".".join((stage, program.name(coder), *used)),
                mapping=config.mapping,
                used=used,
                context=() if coder is None else coder.contexts_of([member.seed for member in members]),
                starts=start,
                **schedule,
            )

    return artifacts.ensemble(run, stage, about, like, train)
