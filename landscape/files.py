"""Files that are either whole or absent: atomic writes, checksums and locks.

Every write goes to a temporary file in the target's own folder, is flushed to the disk (fsync) and renamed onto the
target, so a process killed at any moment leaves the old file or the new one, never a part of it.
"""

import contextlib
import errno
import fcntl
import functools
import hashlib
import json
import math
import os
import shutil
import sys
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

# What reading a broken .npz may raise: NumPy, the archive and its compression each have errors of their own.
DAMAGED = (
    OSError,
    EOFError,
    KeyError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # of file systems that have none
TEMPORARY = ".tmp-"  # start of the names of files still being written; what a killed process leaves is swept later


class UserError(ValueError):
    """Bad input or surroundings, in one line: what came, what was expected, what to try. Exit status 2."""


def write_with(path: str | os.PathLike, writer: Callable[[Path], Any]) -> Path:
    """Calls writer(temporary path, with the suffix of `path`), then moves what it wrote onto `path`. Returns `path`.

    The writer makes a file, or a folder; an earlier folder is deleted just before the move. Folders above are made. An
    exception in `writer` leaves what was there as it was; a full disk is a UserError.
    """
    path = Path(path)
    temporary = path.with_name(f"{TEMPORARY}{uuid.uuid4().hex[:12]}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        writer(temporary)
        for written in (temporary, *temporary.rglob("*")):
            _flush(written)
        if temporary.is_dir():
            remove(path)
        os.replace(temporary, path)
        _flush(path.parent)  # the rename itself has to reach the disk too
    except BaseException as error:
        with contextlib.suppress(OSError):
            remove(temporary)
        if disk_full(error):
            raise UserError(
                f"{path}: the disk is full; expected room for this file; free some space, then run the same command"
            ) from error
        raise
    return path


def write_bytes(path: str | os.PathLike, data: bytes) -> Path:
    """Writes `data`, atomically."""
    return write_with(path, lambda temporary: temporary.write_bytes(data))


def write_text(path: str | os.PathLike, text: str) -> Path:
    """Writes `text` as UTF-8, atomically."""
    return write_bytes(path, text.encode())


def write_json(path: str | os.PathLike, value: Any) -> Path:
    """Writes `value` as indented JSON, atomically; `plain` says how arrays and NaN are written."""
    return write_text(path, json.dumps(plain(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_npz(path: str | os.PathLike, arrays: Mapping[str, np.ndarray]) -> Path:
    """Writes named arrays as an uncompressed .npz (whose members carry checksums), atomically."""

    def write(temporary: Path) -> None:
        with zipfile.ZipFile(temporary, "w") as archive:  # np.savez refuses some names ("file")
            for name, array in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)

    return write_with(path, write)


def write_netcdf(path: str | os.PathLike, dataset: Any) -> Path:
    """Writes an xarray Dataset through h5netcdf, uncompressed, atomically."""
    return write_with(path, lambda temporary: dataset.to_netcdf(temporary, engine="h5netcdf"))


def read_json(path: str | os.PathLike, remedy: str = "delete it") -> Any:
    """The value in a JSON file; a UserError with the remedy where the file is damaged."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(
            f"{path}: not readable as JSON ({error}); expected a file written by landscape; {remedy}"
        ) from None


def plain(value: Any) -> Any:
    """`value` as JSON knows it: arrays and tuples become lists, NumPy scalars numbers, NaN and infinities null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value


def canonical_json(value: Any) -> str:
    """One text for equal values: keys sorted, no spaces. What checksums of configs are taken of."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def checksum(data: bytes | str) -> str:
    """sha256 of bytes, or of a text's UTF-8 (with the bytes of file names that are none), as 64 hexadecimal digits."""
    return hashlib.sha256(data.encode(errors="surrogateescape") if isinstance(data, str) else data).hexdigest()


def file_checksum(path: Path) -> str:
    """sha256 of a file's bytes, as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def lock(path: str | os.PathLike, *, wait: bool = True) -> Iterator[None]:
    """Holds an exclusive lock (flock) on the file `path`, made if need be; it ends with the block or the process.

    With `wait` another holder is waited for. Without, it is a UserError that names the holder's process and host. Some
    file systems have no locks: then a line says so, once a folder, and the block runs without one.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise UserError(
                f"{path.parent}: in use by {holder}; expected a folder that no other run is using; "
                "wait for that run to end, or choose another folder"
            ) from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            _say_without_lock(path.parent)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {os.uname().nodename}")
        file.flush()
        yield


@functools.cache
def _say_without_lock(folder: Path) -> None:
    print(
        f"{folder}: its file system has no locks; going on without; start no other run that uses it meanwhile",
        file=sys.stderr,
    )


def check_folder(path: str | os.PathLike, field: str) -> None:
    """Refuses a folder of results that is a file, or can be neither made nor written: before work rather than after it.

    field: of the command line, in which another folder may be given.
    """
    path = Path(path).absolute()
    there = next(place for place in (path, *path.parents) if os.path.lexists(place))
    found = "is no folder" if not there.is_dir() else "cannot be written" if not os.access(there, 7) else ""
    if found:
        raise UserError(f"{path}: {there} {found}; expected a folder to write to; try another {field}=DIR")


def surroundings(error: BaseException) -> str:
    """What an exception says of a disk or a file that nobody expected to fail, in one line; "" for others."""
    if disk_full(error):
        return "the disk is full; expected room for the run; free some space, then run the same command"
    if isinstance(error, OSError) and error.filename is not None:
        name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else error.filename
        return f"{name}: {error.strerror}; expected a path that can be read and written; check it and its permissions"
    return ""


def disk_full(error: BaseException) -> bool:
    """Whether an exception says that a disk or a quota is full, whoever raised it: HDF5 and Orbax wrap the errno, NumPy
    has words of its own."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    full = (os.strerror(errno.ENOSPC), "Not enough free space to write")
    return isinstance(error, Exception) and any(words in str(error) for words in full)


def stat(path: Path) -> os.stat_result:
    """Size and time of a file of somebody's data; a UserError where a link leads nowhere, or it cannot be looked at."""
    try:
        return path.stat()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}), expected a file; fetch it again") from error


def sweep(folder: str | os.PathLike) -> None:
    """Deletes what killed writers left in `folder`; the caller holds the folder's lock."""
    for path in Path(folder).glob(f"{TEMPORARY}*"):
        remove(path)


def remove(path: Path) -> None:
    """Deletes a file, or a folder with all that is in it; nothing where there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """fsync of a file or a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
