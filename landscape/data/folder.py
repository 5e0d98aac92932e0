"""Any user's images: DIR/<split>/<class>/*.png, .jpg and the like."""

import os
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np

from landscape.data.dataset import SPLITS, Raw, Source, class_mapping, fingerprint
from landscape.data.decode import SUFFIXES, decode_all
from landscape.files import UserError
from landscape.presets.paths import refuse_other_encoding

LAYOUT = "expected DIR/train/<class>/*.png|jpg, DIR/test/<class>/... and, if you have one, DIR/validation/<class>/..."


def source(directory: str, resize: int = 0) -> Source:
    """A folder of images as a source; a tenth of train becomes the validation split where there is none.

    Classes are the sorted names of the folders in train, as numbers where all are whole numbers, in Unicode's composed
    form. An example's id is its position among the sorted paths of all images, so adding files renumbers those behind
    them. What is no image is left alone and counted.

    Args:
      resize: side of the square that each image is brought to; 0 leaves their size, which has to be one.
    """
    if not directory:
        raise UserError(f"data set 'folder' without a directory: {LAYOUT}; try --config.data.dir=DIR")
    root = Path(directory).expanduser()
    if not root.is_dir():
        raise UserError(f"data set 'folder': {root} is not a directory, {LAYOUT}; check --config.data.dir")
    try:
        classes, listing, others = _list(root)
    except OSError as error:
        raise UserError(
            f"data set 'folder': {error.filename} cannot be read ({error.strerror}), expected a folder of images; "
            "check its permissions"
        ) from error
    stamp = fingerprint((str(path.relative_to(root)), path) for paths in listing.values() for path in paths)
    left = ", ".join(f"{count} {suffix or 'without a suffix'}" for suffix, count in sorted(others.items()))
    about = f"images of {root}, classes {class_mapping(classes)}" + (f", other files left out: {left}" if left else "")
    place = f"{root.resolve()}{f' at {resize}' if resize else ''}"
    return Source("folder", place, about, stamp, lambda: _read(classes, listing, resize))


def _folders(directory: Path) -> list[Path]:
    found = sorted(path for path in directory.iterdir() if not path.name.startswith("."))
    for path in found:
        if path.is_symlink() and not path.exists():
            raise UserError(f"data set 'folder': {path} is a link that leads nowhere; fetch it again or remove it")
    return [path for path in found if path.is_dir()]


def _list(root: Path) -> tuple[tuple[str, ...], dict[tuple[str, str], list[Path]], Counter]:
    """(classes in order, (split, class) -> sorted image files, number of other files by suffix), all checked."""
    present = {path.name for path in _folders(root)}
    _refuse_layout(root, present)
    splits = [split for split in SPLITS if split in present]
    found = {(split, folder): _class_of(folder) for split in splits for folder in _folders(root / split)}
    names = [name for (split, _), name in found.items() if split == "train"]
    classes = tuple(sorted(names, key=int if all(n.isascii() and n.isdigit() for n in names) else str))
    listing, others = {}, Counter()
    for (split, folder), name in found.items():
        if name not in classes:
            raise UserError(
                f"data set 'folder': class {name!r} of {root / split} is not in train, expected one of "
                f"{[*classes]}; add training images or remove it"
            )
        if (split, name) in listing:
            raise UserError(
                f"data set 'folder': {root / split} has two folders {name!r}, expected one a class; join them"
            )
        entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
        listing[split, name] = [path for path in entries if path.suffix.lower() in SUFFIXES]
        others.update(path.suffix.lower() for path in entries if path.suffix.lower() not in SUFFIXES)
        if split == "train" and not listing[split, name]:
            inner = [path.name for path in entries if path.is_dir()]
            hint = f"it holds the folders {inner[:4]}; move their images into it" if inner else "add some or remove it"
            raise UserError(f"data set 'folder': {folder} has no image, expected {', '.join(SUFFIXES)}; {hint}")
    for split in splits:
        if not any(images for (s, _), images in listing.items() if s == split):
            raise UserError(f"data set 'folder': split {root / split} is empty, {LAYOUT}; add images or remove it")
    return classes, listing, others


def _class_of(folder: Path) -> str:
    """The class that a folder is of, whose name file systems may have composed or not."""
    refuse_other_encoding("data set 'folder': class", folder.name)
    return unicodedata.normalize("NFC", folder.name)


def _refuse_layout(root: Path, present: set[str]) -> None:
    """Refuses a root whose splits are missing, or are others than it seems; says where they may be."""
    if (root / "val" / "val_annotations.txt").is_file():
        raise UserError(
            f"data set 'folder': {root} is Tiny ImageNet as published, whose val/ has no class folders, {LAYOUT}; try "
            "the data set tiny_imagenet in the place of folder"
        )
    for split in ("train", "test"):
        if split in present:
            continue
        deeper = [name for name in sorted(present) if (root / name / split).is_dir()]
        hint = f"; try --config.data.dir={root / deeper[0]}" if deeper else ""
        raise UserError(f"data set 'folder': {root} has no folder {split!r} (it has {sorted(present)}), {LAYOUT}{hint}")
    misnamed = present & {"val", "valid", "dev"}
    if "validation" not in present and misnamed:
        name = min(misnamed)
        raise UserError(f"data set 'folder': {root} has a folder {name!r}, {LAYOUT}; rename it to 'validation'")


def _read(classes: tuple[str, ...], listing: dict[tuple[str, str], list[Path]], resize: int) -> Raw:
    rows = sorted((path, split, name) for (split, name), paths in listing.items() for path in paths)
    images = decode_all([(_printable(path), path) for path, _, _ in rows], resize)
    labels = np.array([classes.index(name) for _, _, name in rows], np.int32)
    splits = {
        split: np.array([i for i, row in enumerate(rows) if row[1] == split], np.int64)
        for split in dict.fromkeys(split for split, _ in listing)
    }
    return Raw(images, labels, np.arange(len(rows), dtype=np.int64), classes, splits)


def _printable(path: Path) -> str:
    """A path for messages; bytes that are no UTF-8 as escapes."""
    return os.fsencode(path).decode(errors="backslashreplace")
