"""Any user's images: DIR/<split>/<class>/*.png|jpg."""

from pathlib import Path

import numpy as np

from landscape.data.dataset import SPLITS, Raw, Source, fingerprint
from landscape.data.decode import decode_all
from landscape.files import UserError

SUFFIXES = (".png", ".jpg", ".jpeg")
LAYOUT = "expected DIR/train/<class>/*.png|jpg, DIR/test/<class>/... and, if you have one, DIR/validation/<class>/..."


def source(directory: str) -> Source:
    """A folder of images as a source; a tenth of train becomes the validation split where there is none.

    Classes are the sorted names of the folders in train. An example's id is its position among the sorted paths of
    all images, so adding files renumbers those behind them.
    """
    if not directory:
        raise UserError(f"data set 'folder' without a directory: {LAYOUT}; try --config.data.dir=DIR")
    root = Path(directory).expanduser()
    if not root.is_dir():
        raise UserError(f"data set 'folder': {root} is not a directory, {LAYOUT}; check --config.data.dir")
    listing = _list(root)
    stamp = fingerprint((str(path.relative_to(root)), path) for paths in listing.values() for path in paths)
    return Source("folder", str(root.resolve()), f"images of {root}", stamp, lambda: _read(root, listing))


def _folders(directory: Path) -> list[Path]:
    return sorted(path for path in directory.iterdir() if path.is_dir() and not path.name.startswith("."))


def _list(root: Path) -> dict[tuple[str, str], list[Path]]:
    """(split, class) -> sorted image files, with every split and class checked."""
    present = {path.name for path in _folders(root)}
    for split in ("train", "test"):
        if split not in present:
            raise UserError(f"data set 'folder': {root} has no folder {split!r} (it has {sorted(present)}), {LAYOUT}")
    misnamed = present & {"val", "valid", "dev"}
    if "validation" not in present and misnamed:
        name = min(misnamed)
        raise UserError(f"data set 'folder': {root} has a folder {name!r}, {LAYOUT}; rename it to 'validation'")
    classes = [path.name for path in _folders(root / "train")]
    listing = {}
    for split in (s for s in SPLITS if s in present):
        for folder in _folders(root / split):
            images = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
            if folder.name not in classes:
                raise UserError(
                    f"data set 'folder': class {folder.name!r} of {root / split} is not in train, expected one of "
                    f"{classes}; add training images or remove it"
                )
            if split == "train" and not images:
                raise UserError(f"data set 'folder': {folder} has no image, expected {SUFFIXES}; add some or remove it")
            listing[split, folder.name] = images
        if not any(images for (s, _), images in listing.items() if s == split):
            raise UserError(f"data set 'folder': split {root / split} is empty, {LAYOUT}; add images or remove it")
    return listing


def _read(root: Path, listing: dict[tuple[str, str], list[Path]]) -> Raw:
    class_names = tuple(sorted({name for split, name in listing if split == "train"}))
    rows = sorted((path, split, name) for (split, name), paths in listing.items() for path in paths)
    images = decode_all([(str(path), path) for path, _, _ in rows])
    labels = np.array([class_names.index(name) for _, _, name in rows], np.int32)
    splits = {
        split: np.array([i for i, row in enumerate(rows) if row[1] == split], np.int64)
        for split in dict.fromkeys(split for split, _ in listing)
    }
    return Raw(images, labels, np.arange(len(rows), dtype=np.int64), class_names, splits)
