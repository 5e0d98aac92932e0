"""Reference sets: the hidden representations of a split for one member at one layer, as artefacts that runs share.

`<artifacts>/reference/<hash>/` holds `points.npy`, one row an image, and `metadata.json` with the identity and a
checksum for every chunk of rows. The hash is that of the identity: the member's own, the layer, and the images. The
folder is moved to its place whole, and read as a memory map: what is not used is not loaded.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from landscape import files, runs
from landscape.runs import processes
from landscape.training import artifacts

KIND = "reference"
POINTS, METADATA = "points.npy", "metadata.json"
CHUNK = 64 << 20  # bytes of points that are computed, written and summed at once


def identity(member: dict[str, Any], layer: str, split: str, ids: np.ndarray) -> dict[str, Any]:
    """What the points depend on, as JSON values.

    Args:
      member: identity of the classifier. ids: of the images in their data set, in the order of the rows.
    """
    rows = files.checksum(np.ascontiguousarray(ids, np.int64).tobytes())
    return {"kind": KIND, "member": artifacts.identity_hash(member), "layer": layer, "split": split, "images": rows}


def reference_set(
    run: runs.Run,
    about: dict[str, Any],
    shape: Sequence[int],
    observe: Callable[[int, int], Float[np.ndarray, "n D"]],
) -> Float[np.ndarray, "N D"]:
    """The points of an identity: found, or computed and written; a read-only memory map.

    One that is damaged, or was cut off while it was written, is named and made again.

    Args:
      run: the open run; its `artifacts` is the directory of all artefacts.
      about: of `identity`. shape: [N, D]. observe: (start, stop) -> points of these rows, float32.
    """
    folder = run.artifacts / KIND / artifacts.identity_hash(about)
    processes.mirror(folder)
    found = _restore(folder, about, tuple(shape), run)
    if found is None:
        if processes.first():
            _write(folder, about, tuple(shape), observe)
        processes.mirror(folder)
        found = np.load(folder / POINTS, mmap_mode="r")
    return found


def chunks_of(shape: Sequence[int]) -> list[slice]:
    """The rows of each chunk: CHUNK bytes, at least one row."""
    rows = max(1, CHUNK // max(1, 4 * shape[1]))
    return [slice(i, min(i + rows, shape[0])) for i in range(0, shape[0], rows)]


def _write(folder: Path, about: dict[str, Any], shape: tuple[int, ...], observe: Callable) -> None:
    def write(temporary: Path) -> None:
        temporary.mkdir()
        sums, header = [], {"descr": "<f4", "fortran_order": False, "shape": shape}
        with open(temporary / POINTS, "wb") as file:  # no map: on a full disk that ends the process without a word
            np.lib.format.write_array_header_1_0(file, header)
            for rows in chunks_of(shape):
                runs.check()  # a signal ends it between chunks
                points = np.asarray(observe(rows.start, rows.stop), "<f4")
                if not np.isfinite(points).all():
                    raise ValueError(f"{about['layer']}: representations that are not finite; expected numbers")
                file.write(points.tobytes())
                sums.append(files.checksum(points.tobytes()))
        files.write_json(temporary / METADATA, {"identity": about, "shape": shape, "checksums": sums})

    with files.lock(folder.parent.parent / ".saving"):
        files.sweep(folder.parent)
        files.write_with(folder, write)


def _restore(folder: Path, about: dict[str, Any], shape: tuple[int, ...], run: runs.Run) -> np.ndarray | None:
    """The points on disk; None where there are none, or not these."""
    if not folder.exists():
        return None
    try:
        metadata = files.read_json(folder / METADATA)
        points = np.load(folder / POINTS, mmap_mode="r", allow_pickle=False)
        if metadata["identity"] != files.plain(about) or points.shape != shape or points.dtype != np.float32:
            raise ValueError(f"it holds {points.dtype} of shape {list(points.shape)}, or is of another identity")
        sums = [files.checksum(points[rows].tobytes()) for rows in chunks_of(shape)]
        wrong = [i for i, pair in enumerate(zip(sums, metadata["checksums"], strict=True)) if len(set(pair)) > 1]
        if wrong:
            raise ValueError(f"chunk {wrong[0]} of {len(sums)} has another checksum than when it was written")
    except files.DAMAGED as error:
        run.say(f"{folder}: damaged ({' '.join(str(error).split())[:200]}); this reference set is made again")
        return None
    return points
