"""Members that come of files: read and checked before anything long begins; what finetuning starts from."""

import contextlib
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from landscape import data, ensembles, presets, runs
from landscape.data import Dataset
from landscape.ensembles import map_members
from landscape.files import UserError
from landscape.models import checkpoints, contract, external, pretrained
from landscape.models.classifiers import Classifier
from landscape.models.pretrained import Imported
from landscape.training.members import Member
from landscape.types import Ensemble, Variables

LOOKED_AT = 8  # images that an own classifier is checked on
CHUNK = 200  # validation images of one call


def is_imported(config, member: Member) -> bool:
    """Whether a member is a file as it stands, and is not trained."""
    return member.file is not None and not config.model.finetune


def read(config, classifier: Classifier, dataset: Dataset, members: Sequence[Member]) -> dict[int, Imported]:
    """The weights in the files that members come of, by the file's number."""
    like = structure_of(config, classifier, dataset)
    paths = config.model.checkpoints
    found = {
        number: pretrained.load(paths[number], like, fresh_head=config.model.finetune)
        for number in sorted({member.file for member in members if member.file is not None})
    }
    if like is None:
        _refuse_unlike({paths[number]: one.variables for number, one in found.items()}, config.model.finetune)
    return found


def _refuse_unlike(weights: dict[str, Variables], trained: bool) -> None:
    """Refuses files (by path) that are unlike, where no `init` says what is right; whole numbers cannot be trained."""
    paths, first = list(weights), {}
    for path, variables in weights.items():
        leaves = checkpoints.leaves_of(variables)
        shapes = {name: np.shape(leaf) for name, leaf in leaves.items()}
        first = first or shapes
        odd = [name for name in sorted({*first, *shapes}) if first.get(name) != shapes.get(name)]
        if odd:
            raise UserError(
                f"{path}: {odd[0]} has shape {shapes.get(odd[0])}, and {first.get(odd[0])} in {paths[0]}; expected "
                "members of one architecture; leave one out"
            )
        whole = [name for name, leaf in leaves.items() if leaf.dtype.kind not in "fV"]
        if trained and whole:
            raise UserError(
                f"{path}: {whole[0]} holds whole numbers, which cannot be trained; expected weights; leave it out of "
                "the file"
            )


def structure_of(config, classifier: Classifier, dataset: Dataset) -> Variables | None:
    """Shapes and dtypes of one member's variables; None of a classifier without init."""
    if classifier.init is None:
        return None
    shape = (1, *dataset.images.shape[1:])
    with _named_init(config, shape):
        return jax.eval_shape(classifier.init, jax.random.key(0), jnp.zeros(shape))


def one_of(config, classifier: Classifier, dataset: Dataset, members: Sequence[Member]) -> Variables:
    """The first member's variables, or their shapes and dtypes: for what is looked at before any member is trained."""
    like = structure_of(config, classifier, dataset)
    if like is not None:
        return like
    refuse_untrainable(config.model.name, classifier, members)
    return read(config, classifier, dataset, members[:1])[members[0].file].variables


def _named_init(config, shape: tuple[int, ...]):
    """What the init of an own classifier raises is somebody's to mend."""
    if not presets.is_own(config.model.name):
        return contextlib.nullcontext()
    remedy = "expected variables; call it on such images yourself"
    return external.named(f"{config.model.name}: init fails on images {list(shape)}", remedy)


def check_own(
    config, classifier: Classifier, dataset: Dataset, found: dict[int, Imported], members: Sequence[Member]
) -> None:
    """Refuses an own classifier that breaks `contract`, with the weights of the first file or with initial ones."""
    chosen = dataset.splits["validation"][:LOOKED_AT]
    x = jnp.asarray(data.pixels(dataset.images[chosen]))
    if found:
        variables = next(iter(found.values())).variables
    else:
        with _named_init(config, x[:1].shape):
            variables = classifier.init(jax.random.key(config.seed), x[:1])
    trained = any(member.control != "untrained" and not is_imported(config, member) for member in members)
    contract.check(config.model.name, classifier, variables, x, len(dataset.class_names), trained=trained)


def check_accuracy(
    run: runs.Run, config, classifier: Classifier, dataset: Dataset, imported: Sequence[Member], ensemble: Ensemble
) -> None:
    """Prints the accuracy of each imported member on the validation split; refuses one that is no better than chance.

    Args:
      imported: members that are files; ensemble: their variables, [len(imported), ...].
    """
    index = dataset.splits["validation"]
    how = ensembles.parse(config.mapping, len(imported))

    def predict(variables, x):
        return jnp.argmax(classifier.apply(variables, x), axis=-1)

    program = jax.jit(lambda e, x: map_members(predict, e, shared=(x,), how=how))

    def work(start: int, stop: int):
        x = jnp.asarray(data.pixels(dataset.images[index[start:stop]]))
        return {"prediction": (("member", "example"), np.asarray(program(ensemble, x), np.int32))}

    stage = f"files.{config.model.checksums[imported[0].file][:8]}"  # held-out members have files of their own
    found = runs.chunks(run, stage, work, len(index), CHUNK)["prediction"][1]
    for member, predictions in zip(imported, found, strict=True):
        path = config.model.checkpoints[member.file]
        accuracy = contract.check_accuracy(path, predictions, dataset.labels[index])
        run.say(f"{path}: validation accuracy {accuracy:.1%}")


def starts(
    members: Sequence[Member],
    found: dict[int, Imported],
    initial: Callable[[Sequence[Member]], Ensemble] | None,
) -> Ensemble | None:
    """Where members' training begins, [S, ...]: the weights of their files, a head that those lack as it is drawn.

    None where no member has a file, so that all begin as they are drawn. `initial` draws the variables of members, of
    whom those without a file keep them.
    """
    if all(member.file is None for member in members):
        return None
    drawn = None if initial is None else initial(members)

    def start(i: int, member: Member) -> Variables:
        if member.file is None:
            return ensembles.take(drawn, i)
        own = found[member.file]
        leaves = checkpoints.leaves_of(own.variables)
        if own.missing:
            fresh = checkpoints.leaves_of(ensembles.take(drawn, i))
            leaves |= {name: fresh[name] for name in own.missing}
        return jax.tree.unflatten(jax.tree.structure(own.variables), list(leaves.values()))

    return ensembles.stack([start(i, member) for i, member in enumerate(members)])


def refuse_untrainable(name: str, classifier: Classifier, members: Sequence[Member]) -> None:
    """Refuses members that have to be trained and cannot be."""
    if classifier.init is None and any(member.file is None for member in members):
        raise UserError(
            f"{name}: has no init, so that no member can be trained; expected init(key, x) -> variables, or weights; "
            "add --config.model.checkpoints=FILES, and no --config.model.num_trained"
        )
