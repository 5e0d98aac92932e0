"""The directory of one run: which config it belongs to, who uses it, what it was made with."""

import contextlib
import dataclasses
import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_collections import ConfigDict, FrozenConfigDict
from rich.console import Console

from landscape import files
from landscape.files import UserError
from landscape.runs import environment, processes

if TYPE_CHECKING:
    import xarray as xr

STAGES = "stages"
DATA = "data.json"  # of the stages: the checksum of what they are of
PARTS = "parts"  # runs that a run is made of
# What --force sets aside. Trained models are shared between runs and stay.
RESULTS = (STAGES, PARTS, "figures", "arrays.nc", "estimates.csv", "summary.json", "metrics.jsonl", "report.html")
RESULTS += ("environment.json", "failed.txt")
# Holds them until the new run is finished; MOVING, while they are on their way there or back.
EARLIER, MOVING = ".earlier", ".moving"
# Of a directory whose config cannot be read: without it nobody knows whose it is.
LOST = "delete the directory, which keeps trained members, or try another --workdir"
PIPE_WIDTH = 120  # columns of tables where the output is not a terminal


@dataclasses.dataclass(frozen=True)
class Run:
    """An open run: its directory is locked until `close`, or the end of the process.

    Attributes:
      directory: of everything the run writes, models aside.
      config: resolved and frozen.
      artifacts: directory of the trained models that all runs share.
      config_hash: sha256 of the canonical JSON of the config, 64 hexadecimal digits.
      console: where progress and results are shown.
      lock: holds the directory's lock.
      begun: stages that this process has logged to, and DATA once it has said what that is.
      made: folders made for it, the innermost first.
    """

    directory: Path
    config: ConfigDict
    artifacts: Path
    config_hash: str
    console: Console
    lock: contextlib.ExitStack
    begun: set[str] = dataclasses.field(default_factory=set)
    made: Sequence[Path] = ()

    def log(self, stage: str, step: int, **values: Any) -> None:
        """Adds the line of a step to metrics.jsonl; a value may be a number or an array with one entry a member.

        Training that goes on from a checkpoint logs some steps a second time. So when a process logs to a stage for the
        first time, lines of that stage from this step on are taken out.
        """
        path = self.directory / "metrics.jsonl"
        if stage not in self.begun:
            self.begun.add(stage)
            kept = [line for line in read_metrics(path) if line["stage"] != stage or line["step"] < step]
            if path.exists():
                files.write_text(path, "".join(map(_line, kept)))
        with open(path, "a", encoding="utf-8") as file:
            file.write(_line({"stage": stage, "step": step, **values}))

    def say(self, line: str) -> None:
        """Shows a line as it is."""
        self.console.print(line, soft_wrap=True, highlight=False, markup=False)

    def close(self) -> None:
        """Lets others use the directory."""
        self.lock.close()

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        if kind is not None and issubclass(kind, UserError):
            _leave_nothing(self.directory, self.made)
        self.close()


def open_console() -> Console:
    """Standard output, wide enough for tables where it is not a terminal."""
    console = Console()
    return console if console.is_terminal else Console(width=PIPE_WIDTH)


def open_run(config: ConfigDict, workdir: str | Path | None = None, force: bool = False) -> Run:
    """Makes the run's directory, or opens it again.

    Args:
      config: resolved. The same config opens the same directory.
      workdir: the directory; by default `runs/<experiment>/<dataset>-<8 digits of the config's hash>`.
      force: compute anew. An earlier run's results are deleted when the new run is finished, and put back where it
        ends with nothing computed.

    Raises:
      UserError: the directory is in use, belongs to another config, holds something else, or cannot be written.
    """
    config = FrozenConfigDict(config)
    resolved = files.plain(config.to_dict())
    config_hash = files.checksum(files.canonical_json(resolved))
    dataset = re.sub("[:/]", "-", config.data.name)  # tfds:NAME/CONFIG is one folder
    processes.same("configs", config_hash, "start all with the same command")
    processes.same("versions", environment.versions(), "install and check out the same on all hosts")
    directory = Path(workdir or f"runs/{config.experiment}/{dataset}-{config_hash[:8]}")
    artifacts, console = Path(config.artifacts), open_console()
    if not processes.first():
        directory, artifacts, console = processes.scratch(), processes.scratch(), Console(quiet=True)
    made = [folder for folder in (directory, *directory.parents) if not folder.exists()]
    with contextlib.ExitStack() as stack:
        try:
            _refuse_foreign(directory)
            files.check_folder(directory, "--workdir")
            if not (directory / "summary.json").exists():
                for field, folder in (("artifacts", artifacts), ("data.cache", config.data.get("cache"))):
                    if folder and not os.path.isdir(folder):  # one that is there may hold all that is needed
                        files.check_folder(folder, f"--config.{field}")
            stack.enter_context(files.lock(directory / ".lock", wait=False))
        except OSError as error:
            raise UserError(
                f"{directory}: {error.strerror}; expected a folder that can be written; try another --workdir"
            ) from error
        _refuse_other_config(directory, resolved)
        put_back(directory)
        if force:
            set_aside(directory)
        stack.callback(put_back, directory)  # however the run ends
        for folder in (directory, directory / "figures", *directory.glob(f"{STAGES}/*")):
            files.sweep(folder)
        changed = False
        if not (directory / "summary.json").exists():
            files.write_json(directory / "config.json", resolved)
        if not all((directory / name).exists() for name in ("summary.json", "environment.json")):
            changed = environment.write(directory / "environment.json", seed=config.seed)
        processes.mirror(directory, without=EARLIER)
        run = Run(directory, config, artifacts, config_hash, console, stack.pop_all(), made=made)
    if changed and (directory / STAGES).exists():
        run.say(
            "this run began with other versions of code or packages (environment.json); its finished parts are kept"
        )
    return run


def begin_on(run: Run, checksum: str, about: str, checks: Sequence[dict[str, Any]] = ()) -> None:
    """Notes which data a run is of, and says so. Its config does not tell: files of a folder may change between start
    and resume.

    Args:
      about: what the data are. checks: of them, for the report.

    Raises:
      UserError: stages were begun on other data.
    """
    path = run.directory / STAGES / DATA
    if path.exists() and files.read_json(path) != checksum:
        raise UserError(
            f"{run.directory}: begun on other data than is there now; expected the same images, classes and splits; "
            "put them back, or start over with --force"
        )
    files.write_json(path, checksum)
    environment.add(run.directory / "environment.json", data=about, data_checks=[*checks])
    if DATA not in run.begun:
        run.begun.add(DATA)
        run.say(f"data: {about}")


def finished(run: Run) -> bool:
    """Whether all is computed and saved. The report may be missing still."""
    return (run.directory / "summary.json").exists()


def finish(run: Run) -> None:
    """Removes the stages of a finished run: arrays.nc and summary.json now hold what they held."""
    if not finished(run):
        raise ValueError(f"{run.directory}: no summary.json; expected a finished run; write the summary first")
    for name in (STAGES, EARLIER):
        files.remove(run.directory / name)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All lines of metrics.jsonl, oldest first; what a kill or a power cut left of its last ones is passed over."""
    lines = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else ():
        with contextlib.suppress(ValueError):
            lines.append(json.loads(text))
    return [line for line in lines if isinstance(line, dict) and {"stage", "step"} <= line.keys()]


def _line(values: dict[str, Any]) -> str:
    return json.dumps(files.plain(values), ensure_ascii=False, allow_nan=False) + "\n"


def read_arrays(run: Run) -> "xr.Dataset":
    """All arrays of a finished run, in memory; a UserError where the file is missing or damaged."""
    import xarray as xr

    path = run.directory / "arrays.nc"
    try:
        return xr.load_dataset(path, engine="h5netcdf")
    except files.DAMAGED as error:
        raise UserError(
            f"{path}: not readable ({error}); expected the arrays that a run wrote; leave out --reestimate to compute "
            "them anew"
        ) from error


def set_aside(directory: Path) -> None:
    """Moves the results of an earlier run to EARLIER; of those of two runs the later ones, unfinished, are deleted."""
    there = [directory / name for name in RESULTS if (directory / name).exists()]
    if (directory / EARLIER).exists():
        for path in there:
            files.remove(path)
    elif there:
        (directory / MOVING).mkdir()
        for path in there:
            os.replace(path, directory / MOVING / path.name)
        os.replace(directory / MOVING, directory / EARLIER)


def put_back(directory: Path) -> None:
    """Undoes `set_aside` where nothing has been computed since, and where it, or this, was killed on its way."""
    if (directory / EARLIER).exists() and not _computed(directory):
        for name in RESULTS:
            files.remove(directory / name)
        os.replace(directory / EARLIER, directory / MOVING)
    if (directory / MOVING).exists():
        for path in (directory / MOVING).iterdir():
            os.replace(path, directory / path.name)
        (directory / MOVING).rmdir()


def _computed(directory: Path) -> bool:
    """Whether there is an array, or a state of training, in the results that are not set aside."""
    folders = [path for path in (directory / name for name in (STAGES, PARTS)) if path.exists()]
    return (directory / "arrays.nc").exists() or any(
        path.suffix in (".npz", ".nc") for folder in folders for path in folder.rglob("*")
    )


def _leave_nothing(directory: Path, made: Sequence[Path]) -> None:
    """Deletes what a command that was refused wrote to a directory in which nothing is computed, and the folders made
    for it."""
    written = ("config.json", "environment.json", f"{STAGES}/{DATA}", STAGES, ".lock")
    if not {*directory.rglob("*")} <= {directory / name for name in written}:
        return
    for name in written:
        files.remove(directory / name)
    for folder in made:
        with contextlib.suppress(OSError):  # another run has begun in it
            folder.rmdir()


def _refuse_foreign(directory: Path) -> None:
    """A folder of something else is left alone. A run killed in its first moments has no config.json yet."""
    if not directory.exists() or (directory / "config.json").exists():
        return
    found = [path.name for path in directory.iterdir() if not path.name.startswith((".lock", files.TEMPORARY))]
    if found:
        raise UserError(
            f"{directory}: holds {found[0]!r} but no config.json; expected a new folder or that of an earlier run; "
            "try another --workdir"
        )


def _refuse_other_config(directory: Path, resolved: dict[str, Any]) -> None:
    path = directory / "config.json"
    if not path.exists():
        return
    there, here = dict(_leaves(files.read_json(path, LOST))), dict(_leaves(resolved))
    changed = [name for name in sorted({*there, *here}) if there.get(name) != here.get(name)]
    if "experiment" in changed:
        raise UserError(
            f"{directory}: holds a run of the experiment {there.get('experiment')}, expected one of "
            f"{here['experiment']}, as the config is; try another --workdir"
        )
    if changed:
        differ = ", ".join(f"{name} {there.get(name)!r} there and {here.get(name)!r} here" for name in changed[:3])
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        raise UserError(f"{directory}: holds a run of another config ({differ}{more}); try another --workdir")


def _leaves(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of every field of nested dicts."""
    for name, item in value.items():
        if isinstance(item, dict) and item:
            yield from _leaves(item, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", item
