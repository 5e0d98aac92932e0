"""Fashion-MNIST: 60000 + 10000 grey images of 28 x 28 in ten classes (Xiao et al. 2017, arXiv:1708.07747)."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from landscape.data import prepared
from landscape.data.dataset import Raw, Source, fingerprint
from landscape.files import UserError

CLASS_NAMES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
ABOUT = "Fashion-MNIST, published as train and test"
DEBIAN = Path("/usr/share/datasets/fashion-mnist")  # where the Debian package dataset-fashion-mnist puts its files
VALIDATION = 1 / 12  # 5000 of 60000
FILES = {
    ("train", "images"): "train-images-idx3-ubyte",
    ("train", "labels"): "train-labels-idx1-ubyte",
    ("test", "images"): "t10k-images-idx3-ubyte",
    ("test", "labels"): "t10k-labels-idx1-ubyte",
}
ADVICE = (
    "try apt-get download dataset-fashion-mnist && dpkg -x dataset-fashion-mnist_*.deb DIR (needs no root), then "
    "--config.data.dir=DIR"
)


def source(directory: str) -> Source:
    """Fashion-MNIST as a source, from the first of these places that has it.

    With a directory only that is looked at: the four IDX files (.gz or not) in it or in its
    usr/share/datasets/fashion-mnist, or a folder prepared by TFDS in it. Without one: Debian's place, TFDS's own
    folder, and last a download by TFDS where TensorFlow is installed. From IDX files an example's id is its row, test
    rows counted on behind the training rows; see `prepared` for the others.

    Raises:
      UserError: nowhere found (names all places), or some of the four files missing.
    """
    if directory:
        root = Path(directory).expanduser()
        places = [root, root / DEBIAN.relative_to("/")]
    else:
        places = [DEBIAN]
    for place in places:
        paths = {key: _existing(place, name) for key, name in FILES.items()}
        if all(paths.values()):
            return _source(place, paths)
        if any(paths.values()):
            missing = [name for key, name in FILES.items() if not paths[key]]
            raise UserError(f"fashion_mnist: {place} lacks {', '.join(missing)} (.gz or not), expected four; {ADVICE}")
    builder = prepared.find("fashion_mnist", prepared.root(directory))
    if builder is None and not directory and prepared.can_prepare():
        builder = prepared.prepare("fashion_mnist", directory)
    if builder is None:
        looked = f"{', '.join(map(str, places))} (IDX files), {prepared.root(directory)} (folder prepared by TFDS)"
        raise UserError(f"fashion_mnist: not found; looked at {looked}; {ADVICE}")
    return prepared.source("fashion_mnist", builder)._replace(validation=VALIDATION)


def _existing(place: Path, name: str) -> Path | None:
    return next((p for p in (place / name, place / f"{name}.gz") if p.is_file()), None)


def _source(place: Path, paths: dict[tuple[str, str], Path]) -> Source:
    stamp = fingerprint((path.name, path) for path in paths.values())
    return Source("fashion_mnist", str(place.resolve()), ABOUT, stamp, lambda: _read(paths), validation=VALIDATION)


def _read(paths: dict[tuple[str, str], Path]) -> Raw:
    arrays = {key: read_idx(path) for key, path in paths.items()}
    for split in ("train", "test"):
        images, labels = arrays[split, "images"], arrays[split, "labels"]
        if images.ndim != 3 or labels.shape != images.shape[:1]:
            raise UserError(
                f"fashion_mnist: {paths[split, 'images']} and {paths[split, 'labels']} hold {images.shape} and "
                f"{labels.shape}, expected images [N, H, W] and labels [N]; {ADVICE}"
            )
    num_train = len(arrays["train", "labels"])
    images = np.concatenate([arrays["train", "images"], arrays["test", "images"]])[..., None]
    labels = np.concatenate([arrays["train", "labels"], arrays["test", "labels"]]).astype(np.int32)
    ids = np.arange(len(labels), dtype=np.int64)
    return Raw(images, labels, ids, CLASS_NAMES, {"train": ids[:num_train], "test": ids[num_train:]})


def read_idx(path: Path) -> np.ndarray:
    """The uint8 array of an IDX file, gzipped or not.

    IDX: two zero bytes, the type (8 = unsigned byte), the number of axes, each axis as a big-endian uint32, then the
    bytes, last axis fastest (LeCun, Cortes & Burges, the MNIST database).

    Raises:
      UserError: unreadable, cut short, or not such a file.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read ({error}), expected a gzipped IDX file; fetch it again") from error
    num_axes = content[3] if len(content) > 3 else 0
    header = 4 + 4 * num_axes
    if content[:3] == b"\x00\x00\x08" and 0 < num_axes <= 3 and len(content) >= header:
        shape = tuple(int(n) for n in np.frombuffer(content, ">u4", count=num_axes, offset=4))
        if len(content) == header + math.prod(shape):
            return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
    raise UserError(
        f"{path}: {len(content)} bytes that start with {content[:4]!r}, expected an IDX file of unsigned bytes "
        "of the length its header says; fetch it again"
    )
