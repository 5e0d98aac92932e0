"""Decoded data sets kept on disk as uint8 arrays, so that images are decoded once."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from landscape import files
from landscape.data.dataset import Raw, Source

CACHE_VERSION = 3  # raise it when a source begins to decode differently
ABOUT = "about.json"


def digest(raw: Raw) -> Any:
    """sha256, as an object of hashlib, over the class names and the dtype, shape and bytes of images, labels, ids."""
    found = hashlib.sha256(json.dumps(list(raw.class_names)).encode())
    _update(found, {"images": raw.images, "labels": raw.labels, "ids": raw.ids})
    return found


def checksum(content: Any, splits: dict[str, np.ndarray]) -> str:
    """sha256 (hex) of a data set: what `digest` has taken in, and its splits. One pass over the images serves several
    ways to split them."""
    found = content.copy()
    _update(found, {f"split_{name}": index for name, index in sorted(splits.items())})
    return found.hexdigest()


def _update(found: Any, arrays: dict[str, np.ndarray]) -> None:
    for name, array in arrays.items():
        found.update(f"{name} {array.dtype.str} {array.shape}".encode())
        found.update(np.ascontiguousarray(array).data)


def cached(source: Source, directory: str | Path) -> tuple[Raw, Any]:
    """The source's data, from its cache where that is intact and the source has not changed since; and its `digest`.

    The cache is one folder of .npy files a source, its images mapped into memory rather than read: the system brings in
    the pages that are used, and takes them back when it needs memory. Each time it is checked against its own sha256;
    a damaged one, or one made from other source files, is decoded again and replaced (whole, under a lock: two runs may
    start at once).

    Args:
      source: what to read.
      directory: of the caches; made if missing.
    """
    directory = Path(directory)
    place = files.checksum(source.location)[:8]
    plain_name = "".join(c if c.isalnum() or c in "-_." else "-" for c in source.name)
    path = directory / f"{plain_name}-{place}"
    fingerprint = files.checksum(files.canonical_json([CACHE_VERSION, source.name, source.fingerprint]))
    files.check_folder(directory, "--config.data.cache")
    with files.lock(directory / "lock"):
        files.sweep(directory)
        found = _read(path, fingerprint)
        if found is None:
            files.write_with(path, lambda temporary: _write(temporary, source.read(), fingerprint))
            found = _read(path, fingerprint)
    if found is None:
        raise files.UserError(
            f"{path}: not what was just written there; expected a disk that keeps it; try another --config.data.cache"
        )
    return found


def _write(folder: Path, raw: Raw, fingerprint: str) -> None:
    folder.mkdir()
    splits = {f"split_{name}": index for name, index in raw.splits.items()}
    for name, array in {"images": raw.images, "labels": raw.labels, "ids": raw.ids, **splits}.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=False)
    about = {
        "fingerprint": fingerprint,
        "checksum": checksum(digest(raw), raw.splits),
        "class_names": raw.class_names,
        "splits": list(raw.splits),
    }
    files.write_json(folder / ABOUT, about)


def _read(folder: Path, fingerprint: str) -> tuple[Raw, Any] | None:
    """The cached data and its digest, or None where there is none, it is damaged, or was made from other files."""

    def load(name: str, mode: str | None = None) -> np.ndarray:
        return np.load(folder / f"{name}.npy", mmap_mode=mode, allow_pickle=False).view(np.ndarray)

    try:
        about = files.read_json(folder / ABOUT)
        if about["fingerprint"] != fingerprint:
            return None
        splits = {name: load(f"split_{name}") for name in about["splits"]}
        raw = Raw(load("images", "r"), load("labels"), load("ids"), tuple(about["class_names"]), splits)
    except files.DAMAGED:
        return None
    content = digest(raw)
    return (raw, content) if checksum(content, splits) == about["checksum"] else None
