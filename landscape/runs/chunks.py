"""Work in pieces that survive a kill: each chunk of a stage is a file, and what has its file is not done again."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from landscape import files
from landscape.files import UserError
from landscape.runs.directory import STAGES, Run
from landscape.runs.progress import duration, progress
from landscape.runs.signals import check

# name -> (dims, array), as landscape.types has it; imported from there it would start JAX.
Arrays = dict[str, tuple[tuple[str, ...], np.ndarray]]

ABOUT = "__chunk__"  # the entry of a chunk's file that holds its dims, range and seconds


def chunks(
    run: Run,
    stage: str,
    fn: Callable[[int, int], Arrays],
    total: int,
    size: int,
    *,
    dim: str = "example",
    unit: str = "examples",
) -> Arrays:
    """fn over 0 .. total in chunks of `size`, saved one by one and joined along `dim`.

    Args:
      run: the open run; files go to `stages/<stage>/<start>.npz`.
      stage: its name; unique in the run.
      fn: fn(start, stop) -> Arrays of that range: NumPy arrays (the conversion is part of its work) with dims. Arrays
        without `dim` must come out the same from every chunk. Where a device's memory is too small for a chunk, it is
        made of smaller ranges, each half as long as the last one tried; said once, and kept for the rest of the stage.
      total, size: fixed when the stage begins. A resumed stage keeps its chunk size whatever is asked for, since
        another size may change last bits.
      dim: the axis that chunks are parts of.
      unit: of the progress bar.

    Returns:
      Arrays with `dim` of length `total`.

    Raises:
      Interrupted: a signal came; checked between chunks.
      UserError: the stage was begun with another total; not even a range of one fits the memory.
      ValueError: fn returned arrays that do not fit its range or each other.
    """
    if total < 1 or size < 1:
        raise ValueError(f"{stage}: total={total}, size={size}: expected at least 1 of each; is the split empty?")
    folder, size = _begin(run, stage, total=total, size=size, dim=dim)
    parts = []
    with progress(run, stage, total, unit) as bar:
        for start in range(0, total, size):
            check()
            stop = min(start + size, total)
            part = _read(folder, start, stop)
            if part is None:
                part = _compute(folder, start, stop, lambda: _fitting(run, folder, fn, start, stop, dim, unit), dim)
                bar.advance(stop - start)
            else:
                bar.restore(stop - start)
            parts.append(part)
    check()
    return _join(stage, parts, dim)


def once(run: Run, stage: str, fn: Callable[[], Arrays]) -> Arrays:
    """fn() -> Arrays, saved: a stage of one piece."""
    check()
    folder, _ = _begin(run, stage, total=1, size=1, dim=None)
    arrays = _read(folder, 0, 1)
    if arrays is None:
        arrays = _compute(folder, 0, 1, fn, None)
        state = f"done in {duration(_seconds(folder))}"
    else:
        state = "found done"
    run.say(f"{stage}: {state}")
    check()
    return arrays


def piece(run: Run, stage: str) -> int:
    """How many are worked on at once in a stage that has begun: its chunk size, or less where memory was too small."""
    begun = files.read_json(run.directory / STAGES / stage / "stage.json")
    return begun.get("part", begun["size"])


def stage_seconds(run: Run) -> dict[str, float]:
    """Seconds of work of each stage, in the order they were begun: the sum over its chunks, whichever process did them.

    Of a run that goes on; `finish` deletes its stages.
    """
    folders = [path.parent for path in (run.directory / STAGES).glob("*/stage.json")]
    order = {folder: files.read_json(folder / "stage.json")["began"] for folder in folders}
    return {folder.name: _seconds(folder) for folder in sorted(folders, key=order.__getitem__)}


def _begin(run: Run, stage: str, *, total: int, size: int, dim: str | None) -> tuple[Path, int]:
    """The stage's folder and its chunk size, both as they were when it first began."""
    folder = run.directory / STAGES / stage
    path = folder / "stage.json"
    if not path.exists():
        others = [files.read_json(other)["began"] for other in folder.parent.glob("*/stage.json")]
        began = 1 + max(others, default=0)  # a number rather than a time: clocks may be set back
        files.write_json(path, {"total": total, "size": size, "dim": dim, "began": began})
        return folder, size
    begun = files.read_json(path)
    if (begun["total"], begun["dim"]) != (total, dim):
        raise UserError(
            f"{folder}: begun with {begun['total']} along {begun['dim']}, now {total} along {dim}; expected the same; "
            "the code or the data have changed since: start over with --force"
        )
    return folder, begun["size"]


def _fitting(
    run: Run, folder: Path, fn: Callable[[int, int], Arrays], start: int, stop: int, dim: str, unit: str
) -> Arrays:
    """fn of a range, in as many ranges of the stage's `part` as it takes; a smaller part where memory ends.

    Processes that work together run out of memory together: they have the same programs and devices.
    """
    path = folder / "stage.json"
    begun = files.read_json(path)
    part = min(begun.get("part", begun["size"]), stop - start)
    while True:
        try:
            pieces = [fn(first, min(first + part, stop)) for first in range(start, stop, part)]
            break
        except Exception as error:
            if not _out_of_memory(error):
                raise
            reason = " ".join(str(error).split())[:200]
        # Outside of the handler, where the error no longer holds on to what was made before it.
        if part == 1:
            raise UserError(
                f"{folder.name}: one of the {unit} by itself is more than the device's memory holds ({reason}); "
                "expected room for it; try fewer members, --config.mapping=map, or a larger device"
            )
        tried, part = part, -(-part // 2)
        files.write_json(path, {**begun, "part": part})
        run.say(f"{folder.name}: out of memory with {tried} {unit} at once; going on with {part}")
    return pieces[0] if len(pieces) == 1 else _join(folder.name, pieces, dim)


def _out_of_memory(error: Exception) -> bool:
    """Whether a device has no memory left; by JAX's names, since JAX is not imported here."""
    return type(error).__name__ in ("JaxRuntimeError", "XlaRuntimeError") and "RESOURCE_EXHAUSTED" in str(error)


def _compute(folder: Path, start: int, stop: int, fn: Callable[[], Arrays], dim: str | None) -> Arrays:
    """Runs fn, saves what it returns, returns it as it will be read back."""
    began = time.perf_counter()
    arrays = {name: (tuple(dims), np.asarray(array)) for name, (dims, array) in fn().items()}
    seconds = time.perf_counter() - began
    for name, (dims, array) in arrays.items():
        if dim in dims and array.shape[dims.index(dim)] != stop - start:
            raise ValueError(f"{name}: shape {array.shape} for {dims}; expected {dim} = {stop - start}")
    about = {
        "start": start,
        "stop": stop,
        "seconds": seconds,
        "dims": {name: dims for name, (dims, _) in arrays.items()},
    }
    saved = {name: array for name, (_, array) in arrays.items()}
    files.write_npz(folder / f"{start}.npz", {**saved, ABOUT: np.array(json.dumps(about))})
    return arrays


def _read(folder: Path, start: int, stop: int) -> Arrays | None:
    """A chunk from its file; None where there is none or it is damaged (its checksums do not fit)."""
    try:
        with open(folder / f"{start}.npz", "rb") as file, np.load(file, allow_pickle=False) as saved:
            about = json.loads(str(saved[ABOUT]))
            if (about["start"], about["stop"]) != (start, stop):
                return None
            return {name: (tuple(dims), saved[name]) for name, dims in about["dims"].items()}
    except files.DAMAGED:
        return None


def _seconds(folder: Path) -> float:
    """Sum over the chunks there."""
    total = 0.0
    for path in folder.glob("*.npz"):
        with np.load(path, allow_pickle=False) as saved:
            total += json.loads(str(saved[ABOUT]))["seconds"]
    return total


def _join(stage: str, parts: list[Arrays], dim: str) -> Arrays:
    """Chunks joined along `dim`; arrays without it are the same in all and taken once."""
    first = parts[0]
    joined: dict[str, Any] = {}
    for name, (dims, array) in first.items():
        pieces = [part[name][1] for part in parts]
        if dim in dims:
            joined[name] = (dims, np.concatenate(pieces, axis=dims.index(dim)))
        elif all(np.array_equal(array, piece, equal_nan=array.dtype.kind == "f") for piece in pieces):
            joined[name] = (dims, array)
        else:
            raise ValueError(f"{stage}: {name} has no dim {dim} and differs between chunks; expected one value for all")
    return joined
