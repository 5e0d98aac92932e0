"""Folders prepared by TensorFlow Datasets; reading one needs no TensorFlow, preparing most sets does."""

import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from landscape import runs
from landscape.data.dataset import SPLITS, Raw, Source, fingerprint
from landscape.data.decode import decode_all
from landscape.files import UserError

INFO = "dataset_info.json"
BLOCK = 1024  # records read between two looks at signals


def root(directory: str) -> Path:
    """Where prepared folders are looked for: the given directory, else TFDS's own."""
    return Path(directory or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def can_prepare() -> bool:
    """Whether TensorFlow, with which TFDS prepares most data sets, is installed."""
    return importlib.util.find_spec("tensorflow") is not None


def locate(name: str, directory: str) -> Path:
    """The prepared folder of `name` (NAME, NAME/CONFIG or NAME:VERSION), prepared now where TensorFlow is installed.

    Raises:
      UserError: not prepared and TensorFlow is missing, or TFDS does not know the name.
    """
    path = find(name, root(directory))
    if path is None and not can_prepare():
        raise UserError(
            f"data set 'tfds:{name}': no prepared folder in {root(directory)}, and preparing one needs TensorFlow; "
            "try pip install 'landscape[prepare]', or --config.data.dir=DIR of a folder prepared elsewhere with "
            "file_format='array_record'"
        )
    return path or prepare(name, directory)


def find(name: str, place: Path) -> Path | None:
    """The folder with the prepared records of `name`, `place` itself or in it: the highest version, or None."""
    if _name(place) == name.split("/")[0].split(":")[0]:
        return place
    inside = place / name.replace(":", "/")
    found = [p.parent for p in inside.glob("**/" + INFO) if not any(q.startswith("incomplete") for q in p.parts)]
    configs = sorted({str(path.parent.relative_to(place)) for path in found if path != inside})
    if len(configs) > 1:
        raise UserError(
            f"data set 'tfds:{name}': {place} holds several configs, {configs}, expected one to be named; "
            f"try tfds:{configs[0]}"
        )
    versions = {path: [int(n) if n.isdigit() else -1 for n in path.name.split(".")] for path in found}
    return max(versions, key=versions.__getitem__, default=None)


def _name(path: Path) -> str | None:
    """The data set's name in a folder's own records, None where it has none."""
    try:
        return json.loads((path / INFO).read_text())["name"]
    except (OSError, ValueError, KeyError):
        return None


def prepare(name: str, directory: str) -> Path:
    """Downloads and prepares a data set with TFDS, as array_record files; the folder they are in."""
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=str(root(directory)), file_format="array_record")
        builder.download_and_prepare()
    except Exception as error:  # TFDS passes on whatever a download, a disk or a builder's own code raises
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"data set 'tfds:{name}': TFDS could not prepare it ({type(error).__name__}: {reason}), expected the name "
            "of an image classification set in its catalogue; check the name and the network"
        ) from error
    return Path(builder.data_dir)


def source(name: str, path: Path, resize: int = 0) -> Source:
    """A prepared folder as a source; a tenth of train becomes validation, a fifth test, where they are missing."""
    stamp = fingerprint((p.name, p) for p in sorted(path.iterdir()) if p.is_file())
    about = f"{name.removeprefix('tfds:')} as TensorFlow Datasets prepared it"
    place = f"{path.resolve()}{f' at {resize}' if resize else ''}"
    return Source(name, place, about, stamp, lambda: read(name, path, resize))


def read(name: str, path: Path, resize: int = 0) -> Raw:
    """All records of the splits train, validation and test, in this order.

    Within a split they are sorted by their feature `id` where they have one, else as stored. An example's id is that
    feature where it is a whole number, unique over all splits and below 2**31; else its position in this order.
    Images are decoded here, not by TFDS, whose result depends on whether OpenCV is installed; a feature `file_name`
    is what messages call them.
    """
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder_from_directory(str(path))
        image, label = _features(name, builder.info)
        records = builder.as_data_source(decoders={image: tfds.decode.SkipDecoding()})
        splits = [split for split in SPLITS if split in records]
        if "train" not in splits:
            raise UserError(
                f"data set {name!r}: {path} has the splits {sorted(records)}, expected 'train' among them; "
                "prepare it again"
            )
        with runs.progress(None, "reading", sum(len(records[split]) for split in splits), "records") as bar:
            rows = [(split, row) for split in splits for row in _ordered(records[split], bar)]
    except UserError:
        raise
    except Exception as error:  # the readers raise many kinds for damaged or foreign files
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"data set {name!r}: {path} cannot be read ({type(error).__name__}: {reason}), expected a folder prepared "
            "by TFDS with file_format='array_record'; prepare it again"
        ) from error
    named = [row.get("file_name", f"number {i} of {split} in {path}".encode()) for i, (split, row) in enumerate(rows)]
    encoded = [(name.decode(), row[image]) for name, (_, row) in zip(named, rows, strict=True)]
    return Raw(
        decode_all(encoded, resize),
        np.array([row[label] for _, row in rows], np.int32),
        _ids([row for _, row in rows]),
        tuple(builder.info.features[label].names),
        {s: np.array([i for i, (split, _) in enumerate(rows) if split == s], np.int64) for s in splits},
    )


def _features(name: str, info: Any) -> tuple[str, str]:
    """Names of the image and the label feature: the supervised pair, else `image` and `label`."""
    import tensorflow_datasets as tfds

    image, label = info.supervised_keys or ("image", "label")
    features = dict(info.features)
    is_pair = isinstance(features.get(image), tfds.features.Image) and isinstance(
        features.get(label), tfds.features.ClassLabel
    )
    if not is_pair:
        raise UserError(
            f"data set {name!r}: its features are {sorted(features)}, expected an Image and a ClassLabel, named "
            f"{image!r} and {label!r}; choose an image classification set"
        )
    return image, label


def _ordered(records: Any, bar: Any) -> list[dict[str, Any]]:
    rows = []
    for start in range(0, len(records), BLOCK):  # several at once take less than half the time
        rows += records.__getitems__(list(range(start, min(start + BLOCK, len(records)))))
        bar.advance(len(rows) - start)
        runs.check_here()
    return sorted(rows, key=lambda row: row["id"]) if "id" in rows[0] else rows


def _ids(rows: list[dict[str, Any]]) -> np.ndarray:
    own = [row.get("id") for row in rows]
    whole = all(isinstance(i, int | np.integer) and 0 <= i < 2**31 for i in own)
    return np.array(own if whole and len(set(own)) == len(own) else range(len(rows)), np.int64)
