"""Trained members as artefacts that runs share, one a member: restored where they exist, trained where they do not.

`<artifacts>/classifier/<hash>/` holds an Orbax checkpoint and `metadata.json`. The hash is that of the member's
identity: everything its weights depend on, and nothing else.
"""

import contextlib
import errno
import hashlib
import os
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from landscape import data, ensembles, files, runs
from landscape.data import Dataset
from landscape.models.classifiers import Classifier
from landscape.runs import directory
from landscape.training import loop
from landscape.training.members import Member, members_of
from landscape.types import Ensemble, Variables

KIND = "classifier"
TRAINING_VERSION = 2  # raised whenever the same identity would train to other weights
STAGES = {  # (input noise, weight noise): name in progress and metrics
    (False, False): "training",
    (True, False): "training.input_noise",
    (False, True): "training.weight_noise",
    (True, True): "training.both_noises",
}
CHECKPOINT, METADATA = "checkpoint", "metadata.json"


def identity(config, dataset: Dataset, member: Member) -> dict[str, Any]:
    """Everything the weights of a member depend on, as JSON values; what its hash is taken of.

    Not in it: how many members there are, how they are mapped, devices, paths and versions of libraries.
    """
    mean, std = data.moments(dataset)
    training = {"control": member.control}
    if member.control != "untrained":
        training |= {"num_epochs": config.train.num_epochs, "batch_size": config.train.batch_size}
        training |= member.hyper._asdict()
    return {
        "kind": KIND,
        "data": {"name": dataset.name, "checksum": dataset.checksum},
        "split": {name: len(index) for name, index in dataset.splits.items()},
        "preprocessing": {"mean": mean, "std": std},
        "model": {**config.model.to_dict(), "num_classes": len(dataset.class_names)},
        "training": training,
        "seed": config.seed,
        "member": member.seed,
        "x64": bool(jax.config.jax_enable_x64),
        "smoke": config.smoke,  # compiled without optimisation, which changes last bits
        "training_version": TRAINING_VERSION,
    }


def identity_hash(about: dict[str, Any]) -> str:
    """sha256 of the canonical JSON of an identity."""
    return files.checksum(files.canonical_json(about))


def ensemble(run: runs.Run, config, dataset: Dataset, classifier: Classifier) -> tuple[Ensemble, list[dict]]:
    """All members a config asks for: restored where they exist, the missing ones trained together.

    Args:
      run: the open run; its `artifacts` is the directory of all trained members.
      config: with `seed`, `model`, `train`, `sweep`, `num_members`, `control_members`, `mapping`.
      dataset, classifier: of that config.

    Returns:
      (ensemble [S_total, ...], one dict a member: seed, control and every hyperparameter).

    Raises:
      UserError: training met a loss that is not finite.
      runs.Interrupted: a signal came while training; the same command goes on.
    """
    members = members_of(config)
    about = [identity(config, dataset, member) for member in members]
    like = jax.eval_shape(classifier.init, jax.random.key(0), jnp.zeros((1, *dataset.images.shape[1:])))
    folders = [run.artifacts / KIND / identity_hash(a) for a in about]
    found = [restore(folder, a, like, run) for folder, a in zip(folders, about, strict=True)]
    missing = [i for i, entry in enumerate(found) if entry is None]
    if len(missing) < len(members):
        run.console.print(f"members: {len(members) - len(missing)} of {len(members)} found trained", highlight=False)
    if missing:
        _train_missing(run, config, dataset, classifier, members, about, missing)
        for i in missing:
            found[i] = restore(folders[i], about[i], like, run)
    variables = ensembles.stack(found)
    return variables, [{"seed": m.seed, "control": m.control, **m.hyper._asdict()} for m in members]


def curves(run: runs.Run, config, dataset: Dataset) -> loop.Curves:
    """Training curves of the members of `ensemble`, which has run before; NaN for untrained ones. [S_total, E]."""
    members = members_of(config)
    found = loop.Curves(*np.full((2, len(members), config.train.num_epochs), np.nan, np.float32))
    for s, member in enumerate(members):
        folder = run.artifacts / KIND / identity_hash(identity(config, dataset, member))
        for name, values in files.read_json(folder / METADATA)["curves"].items():
            if values:
                getattr(found, name)[s] = values
    return found


def _train_missing(
    run: runs.Run,
    config,
    dataset: Dataset,
    classifier: Classifier,
    members: Sequence[Member],
    about: Sequence[dict[str, Any]],
    missing: Sequence[int],
) -> None:
    """Trains the missing ones of all members, one kind of noise in one program, and saves each as an artefact."""
    stages = run.directory / directory.STAGES
    names = [identity_hash(a) for a in about]

    def keep(chosen: Sequence[int], variables: Ensemble, curves: dict[str, np.ndarray]) -> None:
        host = jax.tree.map(np.asarray, variables)
        for position, i in enumerate(chosen):
            own = {curve: values[position].tolist() for curve, values in curves.items()}
            save(run.artifacts / KIND, about[i], ensembles.take(host, position), own)

    def train(chosen: Sequence[int], stage: str) -> None:
        checkpoint = stages / f"{stage}-state" / "checkpoint.npz"
        # A run killed while it saved its members finds some of them; its checkpoint is still of all that were trained.
        begun = [i for i, name in enumerate(names) if name in (loop.checkpoint_name(checkpoint) or "")]
        chosen = begun if set(chosen) <= set(begun) else chosen
        variables, curves = loop.train(
            run,
            [members[i] for i in chosen],
            dataset,
            classifier,
            seed=config.seed,
            num_epochs=config.train.num_epochs,
            batch_size=config.train.batch_size,
            how=ensembles.parse(config.mapping, len(chosen)),
            checkpoint=checkpoint,
            name=files.canonical_json([names[i] for i in chosen]),
            stage=stage,
        )
        keep(chosen, variables, curves._asdict())
        checkpoint.unlink(missing_ok=True)

    def work() -> dict:
        untrained = [i for i in missing if members[i].control == "untrained"]
        for noise, stage in STAGES.items():
            chosen = [i for i in missing if i not in untrained and loop.noise_of(members[i]) == noise]
            if chosen:
                train(chosen, stage)
        if untrained:
            chosen = [members[i] for i in untrained]
            how = ensembles.parse(config.mapping, len(chosen))
            variables = loop.initialise(chosen, dataset, classifier, seed=config.seed, how=how)
            keep(untrained, variables, dict.fromkeys(loop.Curves._fields, np.zeros((len(chosen), 0))))
        return {"members": (("member",), np.asarray([names[i] for i in missing]))}

    (stages / "training" / "0.npz").unlink(missing_ok=True)  # members trained by this very run and lost since
    runs.once(run, "training", work)


def save(root: Path, about: dict[str, Any], variables: Variables, curves: dict[str, list[float]]) -> Path:
    """Writes one member's artefact; returns its folder, `root` / hash.

    The folder is written beside its place and moved there whole, so that readers see all of it or nothing. Of two runs
    that trained the same member both are right, and the last one's stays.
    """
    import orbax.checkpoint as ocp  # takes seconds, and most runs find their members trained

    folder = root / identity_hash(about)
    temporary = root / f"{files.TEMPORARY}{uuid.uuid4().hex[:12]}-{folder.name[:8]}"
    try:
        temporary.mkdir(parents=True)
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save((temporary / CHECKPOINT).absolute(), variables)
        metadata = {"identity": about, "checksum": _checksum(variables), "jax": jax.__version__, "curves": curves}
        files.write_json(temporary / METADATA, metadata)
        _replace(temporary, folder)
    except Exception as error:
        if files.disk_full(error):
            raise files.UserError(f"{folder}: the disk is full; expected room for a member; free some space") from error
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def restore(folder: Path, about: dict[str, Any], like: Variables, run: runs.Run) -> Variables | None:
    """A member's variables from its artefact; None where there is none.

    One that is damaged, or that is not the member its folder's name promises, is told of and counts as absent.

    Args:
      folder: of the artefact; about: identity of the member; like: shapes and dtypes of its variables.
    """
    if not folder.exists():
        return None
    import orbax.checkpoint as ocp

    try:
        metadata = files.read_json(folder / METADATA)
        if files.plain(about) != metadata["identity"]:
            raise ValueError("its metadata tells of another member")
        with ocp.StandardCheckpointer() as checkpointer:
            variables = checkpointer.restore((folder / CHECKPOINT).absolute(), like)
        if _checksum(variables) != metadata["checksum"]:
            raise ValueError("its weights have another checksum than its metadata says")
    except Exception as error:  # Orbax raises errors of many kinds for damaged files
        reason = " ".join(str(error).split())[:200]
        run.console.print(
            f"{folder}: damaged ({reason}); this member is trained again", highlight=False, markup=False, soft_wrap=True
        )
        return None
    if metadata["jax"] != jax.__version__:
        run.console.print(
            f"{folder.name[:8]}: trained with JAX {metadata['jax']}, this is {jax.__version__}", highlight=False
        )
    return variables


def _replace(temporary: Path, folder: Path) -> None:
    """Moves a finished folder to its place. A folder cannot be renamed onto a filled one, so that one steps aside."""
    aside = temporary.with_name(temporary.name + "-old")
    for _ in range(100):  # another run may put its own there in between
        with contextlib.suppress(FileNotFoundError):
            os.rename(folder, aside)
            shutil.rmtree(aside, ignore_errors=True)
        try:
            os.rename(temporary, folder)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
    raise files.UserError(f"{folder}: others keep writing it; expected one run at a time; wait, then go on")


def _checksum(variables: Variables) -> str:
    """sha256 over the names, shapes, dtypes and bytes of all leaves, in the tree's order."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.shape} {array.dtype}".encode() + array.tobytes())
    return digest.hexdigest()
