"""Data sets from generated files: splits, caches, checksums, and each message about bad input."""

import contextlib
import errno
import gzip
import io
import json
import mmap
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from landscape import data, files
from landscape.data import cache, digits, fashion_mnist, prepared
from landscape.data.load import complete, stratified
from landscape.files import UserError
from landscape.runs import processes, signals
from landscape.training.loop import on_device


@pytest.fixture(autouse=True)
def nowhere_else(monkeypatch, tmp_path):
    """Keeps the machine's own data sets, and TensorFlow, out of every test."""
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "debian/usr/share/datasets/fashion-mnist")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tensorflow_datasets"))
    monkeypatch.setattr(prepared, "can_prepare", lambda: False)


@pytest.fixture
def load(tmp_path):
    return lambda name, directory="", seed=0: data.load(
        name, directory=str(directory), cache=tmp_path / "cache", seed=seed
    )


def write_idx(path: Path, array: np.ndarray) -> None:
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    content = header + array.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_fashion(place: Path, suffix: str = ".gz", num_train: int = 120, num_test: int = 30) -> dict[str, np.ndarray]:
    place.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(3)
    arrays = {}
    for prefix, n in (("train", num_train), ("t10k", num_test)):
        arrays[f"{prefix}-images-idx3-ubyte"] = rng.integers(0, 256, (n, 5, 4), np.uint8)
        arrays[f"{prefix}-labels-idx1-ubyte"] = (np.arange(n) % 10).astype(np.uint8)
    for name, array in arrays.items():
        write_idx(place / f"{name}{suffix}", array)
    return arrays


def write_folder(root: Path, splits=("train", "test"), classes=("cat", "dog"), n=6, mode="L", shape=(4, 3)) -> None:
    for s, split in enumerate(splits):
        for c, name in enumerate(classes):
            (root / split / name).mkdir(parents=True)
            for i in range(n):
                level = 100 * s + 10 * c + i
                Image.new(mode, shape[::-1], level if mode == "L" else (level, 1, 2)).save(
                    root / split / name / f"{i}.png"
                )


def png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def write_tfds(root: Path, splits=("train", "test"), n=20, with_id=True, name="tiny") -> Path:
    """A prepared folder of 4 x 4 grey images, all pixels = id, label = id % 2; written without TensorFlow."""
    tfds = pytest.importorskip("tensorflow_datasets")
    features = {
        "image": tfds.features.Image(shape=(4, 4, 1)),
        "label": tfds.features.ClassLabel(names=["even", "odd"]),
    } | ({"id": np.int64} if with_id else {})

    def examples(start):
        for i in range(start, start + n):
            found = {"image": png(np.full((4, 4), i, np.uint8)), "label": i % 2, "id": i}
            yield i, {key: found[key] for key in features}

    made = {
        "VERSION": tfds.core.Version("1.0.0"),
        "name": name,
        "_info": lambda self: tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features)),
        "_split_generators": lambda self, _: {s: examples(100 * k) for k, s in enumerate(splits)},
        "_generate_examples": lambda self: None,
    }
    builder_class = type(name, (tfds.core.GeneratorBasedBuilder,), made, skip_registration=True)
    builder = builder_class(data_dir=str(root), file_format="array_record")
    builder.download_and_prepare()
    return Path(builder.data_dir)


def check_contract(dataset: data.Dataset) -> None:
    n = len(dataset.images)
    assert dataset.images.dtype == np.uint8 and dataset.images.ndim == 4
    assert dataset.labels.dtype == np.int32 and dataset.labels.shape == (n,)
    assert dataset.ids.dtype == np.int64 and len(np.unique(dataset.ids)) == n
    assert list(dataset.splits) == ["train", "validation", "test"]
    assert all(len(index) > 0 and index.dtype == np.int64 for index in dataset.splits.values())
    assert np.array_equal(np.sort(np.concatenate(list(dataset.splits.values()))), np.arange(n))
    assert set(dataset.labels) <= set(range(len(dataset.class_names)))
    assert re.fullmatch("[0-9a-f]{64}", dataset.checksum)


@contextlib.contextmanager
def refused(*parts: str):
    """Expects a UserError of one line, with all the parts."""
    with pytest.raises(UserError) as error:
        yield
    assert "\n" not in str(error.value)
    for part in parts:
        assert part in str(error.value)


# ---- splits ----


@settings(max_examples=50, deadline=None)
@given(
    counts=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    cuts=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    seed=st.integers(0, 99),
)
def test_stratified_parts_are_disjoint_cover_all_and_keep_class_shares(counts, cuts, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    a, b = sorted(round(cut * len(labels)) for cut in cuts)
    sizes = (a, b - a, len(labels) - b)
    parts = stratified(labels, sizes, seed)
    assert tuple(len(part) for part in parts) == sizes
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(len(labels)))
    for part, size in zip(parts, sizes, strict=True):
        expected = size * np.array(counts) / len(labels)
        assert np.all(np.abs(np.bincount(labels[part], minlength=len(counts)) - expected) <= 2)


# ---- digits ----


def test_digits(load):
    dataset = load("digits")
    check_contract(dataset)
    assert {split: len(index) for split, index in dataset.splits.items()} == {
        "train": 1197,
        "validation": 200,
        "test": 400,
    }
    assert dataset.images.shape == (1797, 8, 8, 1) and dataset.class_names == tuple("0123456789")
    # Published values are 0 .. 16; the first image's first row is 0 0 5 13 9 1 0 0 and it shows a zero.
    assert dataset.images[0, 0, :, 0].tolist() == [0, 0, 80, 207, 143, 16, 0, 0]
    assert dataset.labels[0] == 0 and dataset.images.max() == 255
    other = load("digits", seed=1)
    assert np.array_equal(other.ids, dataset.ids) and np.array_equal(other.images, dataset.images)
    assert not np.array_equal(other.splits["test"], dataset.splits["test"])
    assert other.checksum != dataset.checksum == load("digits").checksum


# ---- pixels and moments ----


def test_pixels_and_moments(load, tmp_path):
    write_folder(tmp_path / "set", mode="RGB", n=8)
    dataset = load("folder", tmp_path / "set")
    x = data.pixels(dataset.images[dataset.splits["train"]])
    assert x.dtype == np.float32
    assert data.pixels(np.array([0, 51, 255], np.uint8)).tolist() == pytest.approx([0.0, 0.2, 1.0])
    mean, std = data.moments(dataset)
    assert mean == pytest.approx(x.mean((0, 1, 2), dtype=np.float64), rel=1e-6)
    assert std[0] == pytest.approx(x[..., 0].std(dtype=np.float64), rel=1e-6)
    assert std[1:] == (1.0, 1.0)  # constant channels
    images = np.random.default_rng(0).integers(0, 256, (2600, 2, 3, 1), np.uint8)  # several blocks, the last not whole
    images[:1300] //= 8
    index = np.arange(2600)
    dataset = data.Dataset("made", images, index % 2, index, ("a", "b"), {"train": index[:2500]}, "0")
    (mean,), (std,) = data.moments(dataset)
    assert mean == pytest.approx(images[:2500].mean() / 255, rel=1e-12)
    assert std == pytest.approx(images[:2500].std() / 255, rel=1e-12)
    assert data.levels(dataset) == tuple(range(256))


def test_levels_are_the_values_that_training_pixels_take(load):
    dataset = load("digits")
    found = data.levels(dataset)
    assert len(found) == 17 and found == tuple(np.unique(dataset.images[dataset.splits["train"]]))
    index = data.level_index((0, 10, 255))
    assert index[[0, 5, 6, 10, 132, 133, 255]].tolist() == [0, 0, 1, 1, 1, 2, 2]
    images, every = np.arange(200, dtype=np.uint8).reshape(50, 2, 2, 1), np.arange(50)
    several = data.Dataset("made", images, every % 2, every, ("a", "b"), {"train": every}, "0")
    assert data.levels(several) == tuple(range(256))  # 8 bits, of which a few do not occur


# ---- Fashion-MNIST from IDX files ----


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("inside", ["", "usr/share/datasets/fashion-mnist"])
def test_fashion_from_idx_files(load, tmp_path, monkeypatch, suffix, inside):
    monkeypatch.setattr(fashion_mnist, "DEBIAN", Path("/usr/share/datasets/fashion-mnist"))  # not looked at: DIR given
    arrays = write_fashion(tmp_path / "set" / inside, suffix)
    dataset = load("fashion_mnist", tmp_path / "set")
    check_contract(dataset)
    assert dataset.images.shape == (150, 5, 4, 1) and dataset.class_names[9] == "Ankle boot"
    assert np.array_equal(dataset.images[:120, ..., 0], arrays["train-images-idx3-ubyte"])
    assert np.array_equal(dataset.images[dataset.splits["test"], ..., 0], arrays["t10k-images-idx3-ubyte"])
    assert np.array_equal(dataset.ids, np.arange(150))
    assert np.array_equal(np.bincount(dataset.labels[dataset.splits["validation"]]), np.ones(10))  # 120 / 12 = 10


def test_fashion_from_the_place_of_the_debian_package_and_from_a_prepared_folder(load, tmp_path):
    write_tfds(tmp_path / "prepared", n=24, name="fashion_mnist")
    dataset = load("fashion_mnist", tmp_path / "prepared")
    check_contract(dataset)
    assert dataset.name == "fashion_mnist" and len(dataset.splits["validation"]) == 2  # 24 / 12
    write_fashion(fashion_mnist.DEBIAN)
    check_contract(load("fashion_mnist"))


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        ("t10k-labels-idx1-ubyte", None, ["lacks t10k-labels-idx1-ubyte"]),
        ("train-labels-idx1-ubyte", np.zeros(7, np.uint8), ["(120, 5, 4)", "(7,)", "apt-get"]),
        ("train-labels-idx1-ubyte", np.full(120, 10, np.uint8), ["labels run from 0 to 10", "0 to 9"]),
        ("train-labels-idx1-ubyte", lambda good: good[:-5], ["train-labels-idx1-ubyte.gz", "IDX", "fetch it again"]),
        ("train-labels-idx1-ubyte", lambda good: gzip.compress(gzip.decompress(good)[:-1]), ["IDX", "fetch it again"]),
        ("train-labels-idx1-ubyte", lambda good: gzip.compress(b"<html>404</html>"), ["IDX", "fetch it again"]),
        ("train-labels-idx1-ubyte", lambda good: b"", ["IDX", "fetch it again"]),
    ],
)
def test_fashion_files_that_are_missing_damaged_or_unlike_are_named(load, tmp_path, name, content, parts):
    write_fashion(tmp_path / "set")
    path = tmp_path / f"set/{name}.gz"
    if content is None:
        path.unlink()
    elif callable(content):
        path.write_bytes(content(path.read_bytes()))
    else:
        write_idx(path, content)
    with refused(*parts):
        load("fashion_mnist", tmp_path / "set")
    write_fashion(tmp_path / "set")
    check_contract(load("fashion_mnist", tmp_path / "set"))


# ---- folders of images ----


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3)])
def test_folder(load, tmp_path, mode, channels):
    write_folder(tmp_path / "set", splits=("train", "validation", "test"), mode=mode)
    (tmp_path / "set/train/cat/notes.txt").write_text("not an image")
    (tmp_path / "set/train/.hidden").mkdir()
    dataset = load("folder", tmp_path / "set")
    check_contract(dataset)
    assert dataset.images.shape == (36, 4, 3, channels) and dataset.class_names == ("cat", "dog")
    for split, base in (("train", 0), ("validation", 100), ("test", 200)):
        index = dataset.splits[split]
        expected = [(base + 10 * c + i) for c in range(2) for i in range(6)]
        assert dataset.images[index, 0, 0, 0].tolist() == expected
        assert dataset.labels[index].tolist() == [0] * 6 + [1] * 6


def test_folder_without_validation_carves_it_from_train(load, tmp_path):
    write_folder(tmp_path / "set", n=20)
    dataset = load("folder", tmp_path / "set")
    check_contract(dataset)
    assert len(dataset.splits["train"]) == 36 and len(dataset.splits["test"]) == 40
    assert np.array_equal(np.bincount(dataset.labels[dataset.splits["validation"]]), [2, 2])
    assert dataset.images[dataset.splits["validation"]].max() < 100  # train images only


def test_one_colour_image_makes_the_set_coloured_and_jpegs_are_read(load, tmp_path):
    """Grey ones, before it and behind it, fill all channels."""
    write_folder(tmp_path / "set")
    Image.new("RGB", (3, 4), (10, 200, 30)).save(tmp_path / "set/train/cat/colour.JPG")
    images = load("folder", tmp_path / "set").images
    grey = np.array([np.all(image == image[:, :, :1]) for image in images])
    assert images.shape[-1] == 3 and grey.sum() == 24 and grey[0] and grey[-1]
    assert np.all(np.abs(images[~grey][0].astype(int) - [[[10, 200, 30]]]) < 12)


def test_a_changed_folder_is_not_served_from_the_cache(load, tmp_path):
    write_folder(tmp_path / "set")
    before = load("folder", tmp_path / "set")
    Image.new("L", (3, 4), 255).save(tmp_path / "set/train/cat/6.png")
    after = load("folder", tmp_path / "set")
    assert len(after.images) == len(before.images) + 1 and after.checksum != before.checksum


def test_images_are_read_as_viewers_show_them(load, tmp_path):
    """Upright, on white, 16 bits scaled, in colour where one of the set is, whatever the file is called."""
    rng, root = np.random.default_rng(0), tmp_path / "set"
    write_folder(root, shape=(4, 6))
    seen = rng.integers(0, 256, (4, 6, 3), np.uint8)
    turned = Image.Exif()
    turned[0x0112] = 6  # stored a quarter turn to the left
    alpha = np.where(np.arange(24).reshape(4, 6) % 3 == 0, 0, 255).astype(np.uint8)
    white = np.where(alpha[:, :, None] == 0, 255, seen)
    half = np.full((4, 6), 102, np.uint8)
    palette = Image.fromarray((alpha > 0).astype(np.uint8), "P")
    palette.putpalette([9, 9, 9, 220, 10, 20] + [0] * 762)
    wide = (257 * seen[:, :, 0].astype(np.uint16)).astype(np.uint16)
    grey = np.repeat(seen[:, :, :1], 3, axis=2)
    expected = {
        "a.png": seen,
        "b.bmp": seen,
        "c.tif": seen,
        "d.ppm": seen,
        "e.png": white,
        "f.png": grey,
        "g.webp": seen,
        "h.png": np.where(alpha[:, :, None] == 0, 255, np.array([220, 10, 20])),
        "i.png": np.round(255 + (grey.astype(float) - 255) * 0.4),
        "j.gif": grey,
        "k.tiff": grey,
        "l.pgm": grey,
    }
    folder = root / "train/cat"
    Image.fromarray(np.rot90(seen)).save(folder / "a.png", exif=turned)
    for name in ("b.bmp", "c.tif", "d.ppm"):
        Image.fromarray(seen).save(folder / name)
    Image.fromarray(np.dstack([seen, alpha])).save(folder / "e.png")
    Image.fromarray(wide).save(folder / "f.png")
    Image.fromarray(seen).save(folder / "g.webp", lossless=True)
    palette.save(folder / "h.png", transparency=0)
    Image.fromarray(np.dstack([seen[:, :, 0], half])).save(folder / "i.png")
    for name in ("j.gif", "l.pgm"):
        Image.fromarray(seen[:, :, 0]).save(folder / name)
    Image.fromarray(wide).save(folder / "k.tiff")
    images = load("folder", root).images
    names = sorted(path.name for path in folder.iterdir())
    start = 12  # test comes first among sorted paths
    for name, image in expected.items():
        np.testing.assert_array_equal(images[start + names.index(name)], image, err_msg=name)


def test_images_of_several_sizes_become_squares_where_asked_for(tmp_path):
    write_folder(tmp_path / "set", n=20)
    wide = np.zeros((8, 24), np.uint8)
    wide[:, 8:16] = 200  # the middle, which is what stays
    Image.fromarray(wide).save(tmp_path / "set/train/cat/wide.png")
    options = {"directory": str(tmp_path / "set"), "cache": tmp_path / "cache"}
    dataset = data.load("folder", **options, resize=6)
    check_contract(dataset)
    assert dataset.images.shape[1:] == (6, 6, 1) and dataset.images[40 + 20].mean() > 170
    other = data.load("folder", **options, resize=5)
    assert other.images.shape[1:] == (5, 5, 1) and other.checksum != dataset.checksum


def test_whole_numbers_are_classes_in_their_order_and_names_are_one_in_all_their_forms(load, tmp_path):
    write_folder(tmp_path / "numbers", classes=[str(i) for i in range(1, 13)], n=2)
    dataset = load("folder", tmp_path / "numbers")
    assert dataset.class_names == tuple(map(str, range(1, 13)))
    assert "classes 0 1, 1 2, 2 3" in dataset.about and "11 12;" in dataset.about
    paths = sorted((tmp_path / "numbers").rglob("*.png"))
    assert [int(path.parent.name) - 1 for path in paths] == dataset.labels.tolist()
    write_folder(tmp_path / "words", splits=("train",), classes=("caf\u00e9", "10", "9"))
    write_folder(tmp_path / "words", splits=("test",), classes=("cafe\u0301", "10", "9"))
    (tmp_path / "words/train/9/notes.txt").touch()
    (tmp_path / "words/test/9/photo.heic").touch()
    found = load("folder", tmp_path / "words")
    assert found.class_names == ("10", "9", "caf\u00e9")
    assert np.bincount(found.labels[found.splits["test"]]).tolist() == [6, 6, 6]
    assert "other files left out: 1 .heic, 1 .txt;" in found.about


def test_copies_of_training_images_among_held_out_ones_are_counted(load, tmp_path):
    write_folder(tmp_path / "set")
    assert load("folder", tmp_path / "set").checks[0]["passed"]
    shutil.copy(tmp_path / "set/train/cat/0.png", tmp_path / "set/test/dog/copy.png")
    (check,) = load("folder", tmp_path / "set").checks
    assert check["name"] == "data.no_copies" and not check["passed"]
    assert "1 of 13 test images in train or validation" in check["detail"]
    assert load("digits").checks[0]["passed"]


def test_validation_images_among_test_ones_are_refused_by_their_ids(load, monkeypatch):
    """Whether or not their pixels are the same."""
    source, number = digits.source(), np.arange(1797)
    splits = {"train": number[:1400], "validation": number[1400:1600], "test": number[1590:]}
    raw = source.read()._replace(ids=number[::-1].copy(), splits=splits)
    monkeypatch.setattr(digits, "source", lambda: source._replace(fingerprint="overlap", read=lambda: raw))
    with pytest.raises(ValueError, match=r"10 examples .* that of id 197 in validation and test; expected each in one"):
        load("digits")


def test_a_folder_that_may_not_be_read_is_one_line(load, tmp_path, monkeypatch):
    write_folder(tmp_path / "set")
    read = Path.iterdir

    def iterdir(path):
        if path.name == "dog":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    with refused("train/dog cannot be read (Permission denied)", "check its permissions"):
        load("folder", tmp_path / "set")


def test_paths_with_spaces_unicode_and_files_that_are_no_utf8(load, tmp_path, monkeypatch):
    root = tmp_path / "my photos [1] \u732b"
    write_folder(root)
    os.rename(root / "train/cat/0.png", os.fsencode(root) + b"/train/cat/\xe9.png")
    check_contract(load("folder", root))
    monkeypatch.setenv("HOME", str(tmp_path))
    check_contract(data.load("folder", directory=f"~/{root.name}", cache="~/a cache"))
    assert (tmp_path / "a cache/lock").exists()


def test_a_cache_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "cache").touch()
    with refused("cache is no folder", "expected a folder to write to", "--config.data.cache=DIR"):
        data.load("digits", cache=tmp_path / "cache")


def save(root: Path, name: str, image: Image.Image, kind: str = "PNG") -> None:
    image.save(root / name, kind)


@pytest.mark.parametrize(
    ("spoil", "parts"),
    [
        (
            lambda root: save(root, "train/dog/9.png", Image.new("L", (5, 5))),
            ["train/dog/9.png", "5 x 5", "expected 4 x 3", "test/cat/0.png", "--config.data.resize=64"],
        ),
        (
            lambda root: (root / "test/cat/0.png").write_bytes(b"\x89PNG\r\n\x1a\n but no more"),
            ["test/cat/0.png", "cannot be read", "replace it"],
        ),
        (
            lambda root: save(root, "test/cat/0.png", Image.new("L", (3, 4)), "PCX"),
            ["test/cat/0.png", "cannot be read", "expected a PNG or JPEG"],
        ),
        (
            lambda root: (root / "train/dog/9.png").symlink_to(root / "nowhere"),
            ["train/dog/9.png", "cannot be read", "fetch it again"],
        ),
        (
            lambda root: save(root, "train/dog/9.png", Image.fromarray(np.zeros((4, 3), np.float32)), "TIFF"),
            ["train/dog/9.png", "kind 'F'", "8-bit"],
        ),
        (
            lambda root: [path.unlink() for path in (root / "test").rglob("*.png")],
            ["test is empty", "expected DIR/train"],
        ),
        (lambda root: (root / "train/bird").mkdir(), ["train/bird has no image", ".png"]),
        (lambda root: (root / "test/bird").mkdir(), ["class 'bird'", "not in train", "['cat', 'dog']"]),
        (
            lambda root: (root / "test").rename(root / "evaluation"),
            ["no folder 'test'", "evaluation", "expected DIR/train"],
        ),
        (lambda root: (root / "val").mkdir(), ["folder 'val'", "rename it to 'validation'"]),
        (
            lambda root: Image.new("L", (3, 4)).save(
                root / "train/cat/9.png", save_all=True, append_images=[Image.new("L", (3, 4), 9)]
            ),
            ["train/cat/9.png", "holds 2 frames", "save the one that is meant"],
        ),
        (lambda root: (root / "train/emu").symlink_to("/nowhere/emu"), ["train/emu", "leads nowhere", "remove it"]),
        (lambda root: (root / "train/cat/loop.png").symlink_to("loop.png"), ["loop.png", "cannot be read"]),
        (lambda root: (root / "train/cat/x.png").mkdir(), ["train/cat/x.png", "cannot be read"]),
        (
            lambda root: os.rename(root / "train/cat", os.fsencode(root) + b"/train/caf\xe9"),
            [r"class=b'caf\xe9'", "expected a name in UTF-8", "rename it"],
        ),
        (
            lambda root: [
                shutil.copytree(root / "train/cat", root / "train" / name) for name in ("cafe\u0301", "caf\u00e9")
            ],
            ["train has two folders 'caf\u00e9'", "join them"],
        ),
        (
            lambda root: [shutil.rmtree(path) for path in (root / "test").iterdir()],
            ["test is empty", "expected DIR/train"],
        ),
        (
            lambda root: (root.rename(root.parent / "a"), root.mkdir(), (root.parent / "a").rename(root / "in")),
            ["no folder 'train' (it has ['in'])", "try --config.data.dir=", "set/in"],
        ),
        (
            lambda root: files.write_text(root / "val/val_annotations.txt", ""),
            ["Tiny ImageNet as published", "try the data set tiny_imagenet"],
        ),
        (
            lambda root: (
                [(path.mkdir(), path.rename(root / "train/dog/images")) for path in [root / "inner"]]
                and [path.unlink() for path in (root / "train/dog").glob("*.png")]
            ),
            ["train/dog has no image", "it holds the folders ['images']", "move their images"],
        ),
        (lambda root: [shutil.rmtree(root / split / "dog") for split in ("train", "test")], ["only class is 'cat'"]),
        (
            lambda root: [Image.new("L", (3, 4)).save(path) for path in (root / "train").rglob("*.png")],
            ["all 12 training images are the same"],
        ),
    ],
)
def test_folder_messages(load, tmp_path, spoil, parts):
    write_folder(tmp_path / "set")
    spoil(tmp_path / "set")
    with refused(*parts):
        load("folder", tmp_path / "set")


@pytest.mark.parametrize(
    ("name", "directory", "parts"),
    [
        ("fashion", "", ["'fashion'", "digits, fashion_mnist, cifar10, cifar100, tiny_imagenet, folder, tfds:NAME"]),
        ("fashion_mnist", "", ["debian", "tensorflow_datasets", "apt-get download", "dpkg -x"]),
        ("fashion_mnist", "absent", ["absent", "IDX", "TFDS", "--config.data.dir"]),
        ("folder", "", ["without a directory", "--config.data.dir"]),
        ("folder", "absent", ["absent is not a directory"]),
        ("tfds:cifar10", ".", ["'tfds:cifar10'", "landscape[prepare]", "array_record"]),
        ("cifar10", ".", ["'tfds:cifar10'", "landscape[prepare]"]),
        ("cifar100", ".", ["'tfds:cifar100'", "landscape[prepare]"]),
    ],
)
def test_sets_that_are_unknown_or_not_there(load, tmp_path, name, directory, parts):
    with refused(*parts):
        load(name, directory and tmp_path / directory)


def test_too_few_examples_for_the_splits_that_are_missing():
    with refused("'made'", "1 example(s)", "at least 3", "validation and test"):
        complete({"train": np.arange(1)}, np.zeros(1, int), name="made", validation=0.1, test=0.2, seed=0)


# ---- folders prepared by TFDS ----


@pytest.mark.parametrize("with_id", [True, False])
def test_prepared_folder(load, tmp_path, with_id):
    path = write_tfds(tmp_path / "prepared", with_id=with_id)
    dataset = load("tfds:tiny", tmp_path / "prepared")
    check_contract(dataset)
    values = dataset.images[:, 0, 0, 0]
    assert dataset.images.shape == (40, 4, 4, 1) and dataset.class_names == ("even", "odd")
    assert sorted(values.tolist()) == [*range(20), *range(100, 120)]
    assert np.array_equal(dataset.labels, values % 2)
    assert set(values[dataset.splits["test"]]) == set(range(100, 120)) and len(dataset.splits["validation"]) == 2
    assert np.array_equal(dataset.ids, values if with_id else np.arange(40))
    assert load("tfds:tiny", path).checksum == dataset.checksum  # the folder itself may be named, too


def test_prepared_folder_without_test_split_carves_it_from_train(load, tmp_path):
    write_tfds(tmp_path / "prepared", splits=("train",))
    dataset = load("tfds:tiny", tmp_path / "prepared")
    check_contract(dataset)
    assert {split: len(index) for split, index in dataset.splits.items()} == {"train": 14, "validation": 2, "test": 4}


def test_tfds_prepares_where_tensorflow_is_installed(load, tmp_path, monkeypatch):
    tfds, place, asked = pytest.importorskip("tensorflow_datasets"), tmp_path / "tensorflow_datasets", []
    monkeypatch.setattr(prepared, "can_prepare", lambda: True)

    def builder(name, **options):
        asked.append({"name": name, **options})
        if name != "tiny":
            raise LookupError("no such\n set")
        return SimpleNamespace(data_dir=place / "tiny/1.0.0", download_and_prepare=lambda: write_tfds(place))

    monkeypatch.setattr(tfds, "builder", builder)
    check_contract(load("tfds:tiny"))
    assert asked == [{"name": "tiny", "data_dir": str(place), "file_format": "array_record"}]
    with refused("'tfds:tinny'", "no such set", "check the name"):
        load("tfds:tinny")


def test_of_several_versions_the_highest_is_read_and_configs_must_be_named(tmp_path):
    for version in ("1.0.0", "1.10.0", "1.9.0"):
        files.write_json(tmp_path / "tiny/plain" / version / "dataset_info.json", {"name": "tiny"})
    assert prepared.find("tiny", tmp_path) == tmp_path / "tiny/plain/1.10.0"
    assert prepared.find("tiny/plain:1.9.0", tmp_path) == tmp_path / "tiny/plain/1.9.0"
    files.write_json(tmp_path / "tiny/other/1.0.0/dataset_info.json", {})
    with refused("several configs", "tfds:tiny/other"):
        prepared.find("tiny", tmp_path)
    assert prepared.find("tiny/plain", tmp_path) == tmp_path / "tiny/plain/1.10.0"


def cut_records(path: Path) -> None:
    records = next(path.glob("*train*"))
    records.write_bytes(records.read_bytes()[:10])


def name_other_format(path: Path) -> None:
    info = json.loads((path / "dataset_info.json").read_text())
    (path / "dataset_info.json").write_text(json.dumps({**info, "fileFormat": "tfrecord"}))


@pytest.mark.parametrize("spoil", [cut_records, name_other_format])
def test_a_prepared_folder_that_cannot_be_read(load, tmp_path, spoil):
    path = write_tfds(tmp_path / "prepared")
    spoil(path)
    with refused(str(path), "cannot be read", "file_format='array_record'; prepare it again"):
        load("tfds:tiny", tmp_path / "prepared")


# ---- the cache ----


def flip_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("images.npy", flip_byte),
        ("images.npy", lambda path: np.save(path, np.load(path)[::-1])),  # valid in form: only the checksum can tell
        ("images.npy", lambda path: path.write_bytes(path.read_bytes()[:999])),
        ("labels.npy", lambda path: path.write_bytes(b"")),
        ("ids.npy", Path.unlink),
        ("about.json", lambda path: path.write_text("{}")),
        ("about.json", Path.unlink),
    ],
)
def test_damaged_cache_is_rebuilt(load, tmp_path, monkeypatch, name, damage):
    write_fashion(tmp_path / "set")
    before = load("fashion_mnist", tmp_path / "set")
    pixels = before.images.copy()
    (folder,) = (tmp_path / "cache").glob("fashion_mnist-*")
    damage(folder / name)
    after = load("fashion_mnist", tmp_path / "set")
    assert after.checksum == before.checksum and np.array_equal(after.images, pixels)
    monkeypatch.setattr(fashion_mnist, "read_idx", lambda path: pytest.fail("decoded although a cache was there"))
    assert load("fashion_mnist", tmp_path / "set").checksum == before.checksum


def test_images_are_mapped_from_the_cache_and_cannot_be_changed(load):
    images = load("digits").images
    assert isinstance(images.base.base, mmap.mmap) or isinstance(images.base, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        images[0] = 0


def test_on_the_device_are_the_chosen_images_in_their_order():
    images = np.random.default_rng(0).integers(0, 256, (3000, 2, 3, 1), np.uint8)
    index = np.random.default_rng(1).permutation(3000)[:2500]  # two blocks and a part
    found = on_device(images, index)
    assert found.dtype == np.uint8 and np.array_equal(found, images[index])


@pytest.mark.parametrize("cut", ["interrupt", "signal", "full disk"])
def test_what_is_cut_short_leaves_no_cache(load, tmp_path, monkeypatch, cut):
    """A signal is not shared: other processes may have the data in their caches, and never come to be asked."""
    write_folder(tmp_path / "set")
    monkeypatch.setattr(processes, "any_of", lambda value: pytest.fail("waits for other processes"))
    full = OSError(errno.ENOSPC, "No space left on device")
    failing, error, expected = {
        "interrupt": ((cache.files, "write_json"), KeyboardInterrupt(), pytest.raises(KeyboardInterrupt)),
        "full disk": ((np, "save"), full, refused(str(tmp_path / "cache"), "the disk is full")),
        "signal": (None, None, pytest.raises(signals.Interrupted)),
    }[cut]
    if failing:
        monkeypatch.setattr(*failing, lambda *_, **__: (_ for _ in ()).throw(error))
    else:
        monkeypatch.setattr(signals, "_received", [signal.SIGTERM])
    with expected:
        load("folder", tmp_path / "set")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["lock"]


def test_what_is_said_of_a_set_tells_where_its_splits_come_from(load, tmp_path):
    drawn = "drawn from the published train, stratified by class, with seed 0"
    assert load("digits").about.endswith(
        f"published as one set; train 1197 images, validation 200 images {drawn}, test 400 images {drawn}"
    )
    write_fashion(tmp_path / "set")
    about = load("fashion_mnist", tmp_path / "set").about
    assert about.endswith(f"as train and test; train 110 images, validation 10 images {drawn}, test 30 images")


@pytest.mark.slow
def test_ten_thousand_jpegs_are_decoded_in_seconds_and_in_the_memory_of_their_array(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(10_000):  # smooth ones, as photographs are: noise compresses to three times the bytes
        small = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8))
        small.resize((64, 64), Image.Resampling.BICUBIC).save(tmp_path / f"{i}.jpg", quality=90)
    measured = subprocess.run(
        [sys.executable, "-c", DECODING, str(tmp_path)], check=True, capture_output=True, text=True
    )
    seconds, peak = map(float, measured.stdout.splitlines()[-1].split())
    print(f"{seconds:.2f} s, {peak / 1e6:.0f} MB above what was held before, the array of 123 MB included")
    assert seconds < 10
    assert peak < 1e9 + 10_000 * 64 * 64 * 3


DECODING = """
import sys, time
from pathlib import Path
from types import SimpleNamespace
from landscape.data.decode import decode_all
items = [(path.name, path) for path in Path(sys.argv[1]).iterdir()]
used = lambda: 1024 * int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])  # peak, bytes
before, start = used(), time.perf_counter()
images = decode_all(items)
assert images.shape == (10_000, 64, 64, 3)
print(time.perf_counter() - start, used() - before)
"""
