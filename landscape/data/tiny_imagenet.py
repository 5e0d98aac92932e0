"""Tiny ImageNet: the published folder `tiny-imagenet-200` or its zip; 200 classes, 64 x 64 x 3 (Le & Yang 2015).

    wnids.txt                        one class a line, by its WordNet id
    words.txt                        WNID <tab> words, for many more ids
    train/WNID/images/*.JPEG         and WNID_boxes.txt, a line an image
    val/images/*.JPEG                and val_annotations.txt: FILE <tab> WNID <tab> ..
    test/images/*.JPEG               without labels, left alone

Everything is checked before anything is written; then a builder of TensorFlow Datasets prepares it as array_record,
without TensorFlow, and what was prepared is read as any other set is.
"""

import hashlib
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from landscape import files, runs
from landscape.data import prepared
from landscape.data.dataset import Raw, Source, fingerprint
from landscape.files import UserError

NAME, FOLDER = "tiny_imagenet", "tiny-imagenet-200"
SUFFIXES = (".jpeg", ".jpg")
WNIDS, WORDS, VAL, ANNOTATIONS = "wnids.txt", "words.txt", "val/images", "val/val_annotations.txt"
LAYOUT = f"expected {FOLDER} or its zip as published"
RECORDS_VERSION = 1  # raise it when something else is prepared


class Tree(NamedTuple):
    """The files of the published folder, wherever they are.

    Attributes:
      place: the folder or zip.
      names: what it holds: sorted paths with "/", relative to the folder; test images are not among them.
      read: read(name) -> bytes; raises UserError.
    """

    place: Path
    names: tuple[str, ...]
    read: Callable[[str], bytes]


class Row(NamedTuple):
    """An image: "train" or "test" (which is published as val), its name in the tree, its class."""

    split: str
    file: str
    wnid: str


def source(directory: str, cache: str | Path) -> Source:
    """Tiny ImageNet as a source. The published `val` is the test split; a tenth of train becomes validation.

    Labels count the sorted WordNet ids, as folders of classes are numbered elsewhere. An example's id is its position
    among the sorted images of train, those of val counted on behind. Class names are the first words of words.txt.

    Args:
      directory: the folder, its zip, a folder with one of them in it, or one prepared earlier by TFDS.
      cache: where the prepared records go.
    """
    root = Path(directory or ".").expanduser()
    place = _find(root) if directory else None
    if place is None:
        found = prepared.find(NAME, prepared.root(directory))
        if found is None:
            looked = root if directory else f"{prepared.root('')} (prepared by TFDS)"
            raise UserError(f"{NAME}: not found in {looked}, {LAYOUT}; try --config.data.dir=DIR that holds it")
        return prepared.source(NAME, found)._replace(about=_about(found), read=lambda: _named(found))
    stamp = _fingerprint(place)
    key = hashlib.sha256(str(place.resolve()).encode()).hexdigest()[:8]
    records = Path(cache) / f"{NAME}-{key}-records"
    return Source(NAME, str(place.resolve()), _about(place), stamp, lambda: _read(place, records, stamp))


def _about(place: Path) -> str:
    return f"{place}, in the layout of {FOLDER}, whose val is the test split here and whose test is left alone"


def _find(root: Path) -> Path | None:
    """The published folder or zip at `root` or in it."""
    if root.is_file():
        return root
    for folder in (root, root / FOLDER):
        if (folder / WNIDS).is_file():
            return folder
    archive = root / f"{FOLDER}.zip"
    return archive if archive.is_file() else None


def _fingerprint(place: Path) -> str:
    """Changes with the name, size or time of any file but test images."""
    named = [(place.name, place)] if place.is_file() else [(name, place / name) for name in _walk(place)]
    return files.checksum(files.canonical_json(fingerprint(named)))


def _walk(folder: Path) -> list[str]:
    found = []
    for where, folders, names in os.walk(folder):
        inside = PurePosixPath(os.path.relpath(where, folder))
        folders[:] = [name for name in folders if not name.startswith(".") and str(inside / name) != "test"]
        found += [str(inside / name) for name in names if not name.startswith(".")]
    return sorted(found)


def _open_folder(place: Path) -> Tree:
    def read(name: str) -> bytes:
        try:
            return (place / name).read_bytes()
        except OSError as error:
            raise UserError(f"{place / name}: cannot be read ({error.strerror}), {LAYOUT}; fetch it again") from error

    return Tree(place, tuple(_walk(place)), read)


def _open_zip(place: Path) -> Tree:
    """A zip is read member by member, whose checksums are verified; nothing of it is extracted."""
    try:
        archive = zipfile.ZipFile(place)
    except files.DAMAGED as error:
        raise UserError(f"{place}: cannot be read ({error}), expected a whole zip; fetch it again") from error
    members = [member for member in archive.namelist() if not member.endswith("/")]
    for member in members:
        if member.startswith("/") or "\\" in member or ".." in PurePosixPath(member).parts:
            raise UserError(f"{place}: holds {member!r}, expected names inside one folder; fetch it from another place")
    tops = [member.removesuffix(WNIDS) for member in members if PurePosixPath(member).name == WNIDS]
    top = min(tops, key=len, default="")
    inside = {member.removeprefix(top): member for member in members if member.startswith(top)}
    names = sorted(n for n in inside if not n.startswith("test/") and not PurePosixPath(n).name.startswith("."))

    def read(name: str) -> bytes:
        try:
            return archive.read(inside[name])
        except files.DAMAGED as error:
            raise UserError(f"{place}: {name} cannot be read ({error}), expected a whole zip; fetch it again") from None

    return Tree(place, tuple(names), read)


def rows(tree: Tree) -> list[Row]:
    """All labelled images in the order of their ids.

    Raises:
      UserError: a class without images or not in wnids.txt; an annotation of an image that is not there or of an
        unknown class; an image of val without one. Names the file.
    """

    def refuse(file: str, what: str, remedy: str = "fetch it again") -> None:
        raise UserError(f"{tree.place}: {file} {what}; {remedy}")

    present = set(tree.names)
    for name in (WNIDS, ANNOTATIONS):
        if name not in present:
            refuse(name, f"is missing, {LAYOUT}")
    wnids = set(_lines(tree, WNIDS))
    images = {wnid: [] for wnid in sorted(wnids)}
    val = []
    for name in tree.names:
        if not name.lower().endswith(SUFFIXES):
            continue
        folder = str(PurePosixPath(name).parent)
        if folder == VAL:
            val.append(name)
        elif folder.startswith("train/"):
            wnid = folder.split("/")[1]
            if wnid not in wnids:
                refuse(name, f"is of a class that {WNIDS} does not list", f"add the line {wnid}, or remove the image")
            images[wnid].append(name)
    for wnid, found in images.items():
        if not found:
            refuse(f"train/{wnid}/images", f"holds no image of this class of {WNIDS}, expected some *.JPEG")
        boxes = f"train/{wnid}/{wnid}_boxes.txt"
        for line in _lines(tree, boxes) if boxes in present else ():
            file = f"train/{wnid}/images/{line.split()[0]}"
            if file not in present:
                refuse(file, f"is not there, expected since {boxes} lists it")
    labels = {}
    for line in _lines(tree, ANNOTATIONS):
        file, wnid = (*line.split()[:2], "")[:2]
        if f"{VAL}/{file}" not in present:
            refuse(f"{VAL}/{file}", f"is not there, expected since {ANNOTATIONS} lists it")
        if wnid not in wnids or f"{VAL}/{file}" in labels:
            refuse(ANNOTATIONS, f"says {line[:40]!r}, expected each file once, with a class of {WNIDS}")
        labels[f"{VAL}/{file}"] = wnid
    for name in val:
        if name not in labels:
            refuse(name, f"has no line in {ANNOTATIONS}", "fetch both again")
    if not val:
        refuse(VAL, f"holds no image, {LAYOUT}")
    train = [Row("train", name, wnid) for wnid, found in images.items() for name in found]
    return train + [Row("test", name, labels[name]) for name in val]


def _lines(tree: Tree, name: str) -> list[str]:
    try:
        return [line for line in tree.read(name).decode().splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise UserError(f"{tree.place}: {name} is no text ({error.reason}), {LAYOUT}; fetch it again") from error


def _read(place: Path, records: Path, fingerprint: str) -> Raw:
    """What the records hold, prepared first where they are missing or of other files."""
    stamp = records / "fingerprint"
    wanted = f"{RECORDS_VERSION} {fingerprint}"
    if not stamp.is_file() or stamp.read_text() != wanted:
        tree = _open_zip(place) if place.is_file() else _open_folder(place)
        found, words = rows(tree), _lines(tree, WORDS) if WORDS in tree.names else []

        def prepare(temporary: Path) -> None:
            folder = _prepare(temporary, tree, found)
            (folder / WORDS).write_text("\n".join(words), encoding="utf-8")
            (temporary / stamp.name).write_text(wanted)

        files.write_with(records, prepare)
    return _named(prepared.find(NAME, records))


def _prepare(folder: Path, tree: Tree, found: list[Row]) -> Path:
    """Writes the records below `folder` with TFDS; where they are."""
    import tensorflow_datasets as tfds

    features = {
        "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
        "label": tfds.features.ClassLabel(names=sorted({row.wnid for row in found})),
        "id": np.int64,
        "file_name": tfds.features.Text(),
    }

    class TinyImagenet(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        name = NAME
        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> Any:
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features), supervised_keys=("image", "label")
            )

        def _log_download_bytes(self) -> None:
            """Says nothing: nothing is downloaded, and the folder is moved once it is whole."""

        _log_download_done = _log_download_bytes

        def _split_generators(self, _: Any) -> dict[str, Iterator]:
            return {split: self._generate_examples(split) for split in ("train", "test")}

        def _generate_examples(self, split: str) -> Iterator:
            for i, row in enumerate(found):
                if row.split == split:
                    image = tree.read(row.file)
                    yield i, {"image": image, "label": row.wnid, "id": i, "file_name": f"{tree.place}: {row.file}"}
                    bar.advance()
                    runs.check_here()

    tfds.disable_progress_bar()
    builder = TinyImagenet(data_dir=str(folder), file_format="array_record")
    with runs.progress(None, "preparing", len(found), "images") as bar:
        builder.download_and_prepare()
    return Path(builder.data_dir)


def _named(folder: Path) -> Raw:
    """The prepared records, classes named by the first word of theirs, with the WordNet id where two share it."""
    raw = prepared.read(NAME, folder)
    lines = (folder / WORDS).read_text(encoding="utf-8").splitlines() if (folder / WORDS).is_file() else []
    words = dict(line.split("\t", 1) for line in lines if "\t" in line)
    names = [words.get(wnid, wnid).split(",")[0].strip() for wnid in raw.class_names]
    unique = [n if names.count(n) == 1 else f"{n} ({w})" for n, w in zip(names, raw.class_names, strict=True)]
    return raw._replace(class_names=tuple(unique))
