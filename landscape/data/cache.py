"""Decoded data sets kept on disk as uint8 arrays, so that images are decoded once."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from landscape import files
from landscape.data.dataset import Raw, Source

CACHE_VERSION = 1  # raise it when a source begins to decode differently


def checksum(raw: Raw) -> str:
    """sha256 (hex) over the dtype, shape and bytes of every array, the class names and the splits."""
    digest = hashlib.sha256(json.dumps(list(raw.class_names)).encode())
    splits = {f"split_{name}": index for name, index in sorted(raw.splits.items())}
    for name, array in {"images": raw.images, "labels": raw.labels, "ids": raw.ids, **splits}.items():
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def cached(source: Source, directory: str | Path) -> Raw:
    """The source's data, from its cache file where that is intact and the source has not changed since.

    The cache is one npz file a source. It is read back against its own sha256; a damaged file, or one made from
    other source files, is decoded again and replaced (atomically, under a lock: two runs may start at once).

    Args:
      source: what to read.
      directory: of the cache files; made if missing.
    """
    directory = Path(directory)
    place = hashlib.sha256(source.location.encode()).hexdigest()[:8]
    plain_name = "".join(c if c.isalnum() or c in "-_." else "-" for c in source.name)
    path = directory / f"{plain_name}-{place}.npz"
    fingerprint = json.loads(json.dumps([CACHE_VERSION, source.name, source.fingerprint]))
    with files.lock(directory / "lock"):
        files.sweep(directory)
        raw = _read(path, fingerprint)
        if raw is None:
            raw = source.read()
            _write(path, raw, fingerprint)
    return raw


def _write(path: Path, raw: Raw, fingerprint: Any) -> None:
    about = {"fingerprint": fingerprint, "checksum": checksum(raw), "class_names": list(raw.class_names)}
    splits = {f"split_{name}": index for name, index in raw.splits.items()}
    arrays = {"images": raw.images, "labels": raw.labels, "ids": raw.ids, **splits}
    # straight to the file: `files.write_npz` would hold a second copy of the images in memory
    files.write_with(path, lambda temporary: np.savez(temporary, **arrays, about=np.array(json.dumps(about))))


def _read(path: Path, fingerprint: Any) -> Raw | None:
    """The cached data, or None where there is no file, it is damaged, or it was made from other files."""
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as saved:
            about = json.loads(str(saved["about"]))
            if about["fingerprint"] != fingerprint:
                return None
            splits = {name.removeprefix("split_"): saved[name] for name in saved.files if name.startswith("split_")}
            raw = Raw(saved["images"], saved["labels"], saved["ids"], tuple(about["class_names"]), splits)
    except files.DAMAGED:
        return None
    return raw if checksum(raw) == about["checksum"] else None
