"""Trained members as artefacts that runs share, one a member: restored where they exist, trained where they do not.

`<artifacts>/<kind>/<hash>/` holds an Orbax checkpoint and `metadata.json`. The hash is that of the member's identity:
everything its weights depend on, and nothing else. Which members there are and what they are trained for is not known
here.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from landscape import ensembles, files, runs
from landscape.data import Dataset
from landscape.runs import directory, processes
from landscape.training import loop
from landscape.training.members import Member
from landscape.training.step import Task
from landscape.types import Ensemble, Variables

CHECKPOINT, METADATA = "checkpoint", "metadata.json"

# keep(chosen numbers, their variables [len(chosen), ...], curves by name [len(chosen), E]) saves trained members.
Keep = Callable[[Sequence[int], Ensemble, dict[str, np.ndarray]], None]


def identity_hash(about: dict[str, Any]) -> str:
    """sha256 of the canonical JSON of an identity."""
    return files.checksum(files.canonical_json(about))


def common_identity(config, dataset: Dataset, member: Member) -> dict[str, Any]:
    """What the identities of all kinds of members have in common, as JSON values."""
    return {
        "data": {"name": dataset.name, "checksum": dataset.checksum},
        "split": {name: len(index) for name, index in dataset.splits.items()},
        "seed": config.seed,
        "member": member.seed,
        "x64": bool(jax.config.jax_enable_x64),
        "smoke": config.smoke,  # compiled without optimisation, which changes last bits
    }


def ensemble(
    run: runs.Run,
    stage: str,
    about: Sequence[dict[str, Any]],
    like: Variables,
    train: Callable[[Sequence[int], Keep], None],
) -> Ensemble:
    """Members by their identities: restored where they exist, the missing ones trained. [S, ...].

    Args:
      run: the open run; its `artifacts` is the directory of all trained members.
      stage: name under which the training's time is kept.
      about: identities; each has "kind". Equal ones are one member, trained once.
      like: shapes and dtypes of one member's variables.
      train: train(missing numbers, keep) -> None, calls keep with what it trained.
    """
    names = [identity_hash(a) for a in about]
    folders = [run.artifacts / a["kind"] / name for a, name in zip(about, names, strict=True)]
    found = [restore(folder, a, like, run) for folder, a in zip(folders, about, strict=True)]
    absent = [i for i, entry in enumerate(found) if entry is None]
    missing = [i for i in absent if i in _firsts(names)]
    if len(absent) < len(about):
        what = "members" if stage == "training" else stage
        run.say(f"{what}: {len(about) - len(absent)} of {len(about)} found trained")

    def keep(chosen: Sequence[int], variables: Ensemble, curves: dict[str, np.ndarray]) -> None:
        host = jax.tree.map(np.asarray, variables)
        for position, i in enumerate(chosen):
            own = {curve: values[position].tolist() for curve, values in curves.items()}
            save(folders[i].parent, about[i], ensembles.take(host, position), own)

    def work() -> dict:
        train(missing, keep)
        return {"members": (("member",), np.asarray([names[i] for i in missing]))}

    if missing:
        files.check_folder(run.artifacts, "--config.artifacts")
        # Members trained by this very run and lost since.
        (run.directory / directory.STAGES / stage / "0.npz").unlink(missing_ok=True)
        runs.once(run, stage, work)
        for i in absent:
            found[i] = restore(folders[i], about[i], like, run)
    return ensembles.stack(found)


def train_together(
    run: runs.Run,
    dataset: Dataset,
    task: Task,
    members: Sequence[Member],
    about: Sequence[dict[str, Any]],
    chosen: Sequence[int],
    keep: Keep,
    *,
    stage: str,
    mapping: str,
    context: Any = (),
    starts: Callable[[Sequence[Member]], Ensemble | None] = lambda members: None,
    **course: Any,
) -> None:
    """Trains the chosen members in one program, from the checkpoint of a stopped run if there is one; keeps them.

    Args:
      context: of all members, stacked [S, ...]; see `step.Task`.
      starts: weights that members start from, stacked; None for the task's initial ones.
      course: what else `loop.train` takes.
    """
    checkpoint = run.directory / directory.STAGES / f"{stage}-state" / "checkpoint.npz"
    names = [identity_hash(a) for a in about]
    # A run killed while it saved its members finds some of them; its checkpoint is still of all that were trained.
    begun = [i for i in _firsts(names) if names[i] in (loop.checkpoint_name(checkpoint) or "")]
    chosen = begun if set(chosen) <= set(begun) else chosen
    variables, curves = loop.train(
        run,
        [members[i] for i in chosen],
        dataset,
        task,
        context=ensembles.take(context, np.asarray(chosen)),
        how=ensembles.parse(mapping, len(chosen)),
        checkpoint=checkpoint,
        name=files.canonical_json([names[i] for i in chosen]),
        stage=stage,
        start=starts([members[i] for i in chosen]),
        **course,
    )
    keep(chosen, variables, {"train_loss": curves.train_loss, task.scored: curves.validation})
    checkpoint.unlink(missing_ok=True)


def _firsts(names: Sequence[str]) -> list[int]:
    """Where each name comes for the first time."""
    return [i for i, name in enumerate(names) if name not in names[:i]]


def save(root: Path, about: dict[str, Any], variables: Variables, curves: dict[str, list[float]]) -> Path:
    """Writes one member's artefact; returns its folder, `root` / hash.

    The folder is moved to its place whole. Of two runs that trained the same member both are right: the last one stays.
    """
    folder = root / identity_hash(about)
    if not processes.first():
        return folder  # `restore` brings it here

    def write(temporary: Path) -> None:
        temporary.mkdir()
        with _checkpointer() as checkpointer:
            checkpointer.save((temporary / CHECKPOINT).absolute(), variables)
        metadata = {"identity": about, "checksum": _checksum(variables), "jax": jax.__version__, "curves": curves}
        files.write_json(temporary / METADATA, metadata)

    with files.lock(root.parent / ".saving"):
        files.sweep(root)
        return files.write_with(folder, write)


def curves_of(run: runs.Run, about: dict[str, Any]) -> dict[str, list[float]]:
    """The training curves saved with a member, by name; {} of one that was not trained."""
    return files.read_json(run.artifacts / about["kind"] / identity_hash(about) / METADATA)["curves"]


def restore(folder: Path, about: dict[str, Any], like: Variables, run: runs.Run) -> Variables | None:
    """A member's variables from its artefact; None where there is none.

    One that is damaged, or that is not the member its folder's name promises, is named and counts as absent.

    Args:
      folder: of the artefact; about: identity of the member; like: shapes and dtypes of its variables.
    """
    processes.mirror(folder)
    if not folder.exists():
        return None
    try:
        metadata = files.read_json(folder / METADATA)
        if files.plain(about) != metadata["identity"]:
            raise ValueError("its metadata is of another member")
        with _checkpointer() as checkpointer:
            variables = checkpointer.restore((folder / CHECKPOINT).absolute(), like)
        if _checksum(variables) != metadata["checksum"]:
            raise ValueError("its weights have another checksum than its metadata says")
    except Exception as error:  # Orbax raises errors of many kinds for damaged files
        reason = " ".join(str(error).split())[:200]
        run.say(f"{folder}: damaged ({reason}); this member is trained again")
        return None
    if metadata["jax"] != jax.__version__:
        run.say(f"{folder.name[:8]}: trained with JAX {metadata['jax']}, this is {jax.__version__}")
    return variables


def _checkpointer():
    """Orbax's, of this process alone: each has files of its own."""
    import orbax.checkpoint as ocp  # takes seconds, and most runs find their members trained

    if not processes.several():
        return ocp.StandardCheckpointer()
    own = processes.rank()
    options = ocp.options.MultiprocessingOptions(
        primary_host=own, active_processes={own}, barrier_sync_key_prefix=f"process{own}"
    )
    return ocp.StandardCheckpointer(multiprocessing_options=options)


def _checksum(variables: Variables) -> str:
    """sha256 over the names, shapes, dtypes and bytes of all leaves, in the tree's order."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.shape} {array.dtype}".encode() + array.tobytes())
    return digest.hexdigest()
