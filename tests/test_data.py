"""Data sets from generated files: splits, caches, checksums, and each message about bad input."""

import errno
import gzip
import io
import json
import mmap
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from landscape import data
from landscape.data import cache, fashion_mnist, prepared
from landscape.data.device import on_device
from landscape.data.splits import stratified
from landscape.files import UserError
from landscape.runs import processes, signals


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
    }

    def info(self):
        own_id = {"id": np.int64} if with_id else {}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict({**features, **own_id}))

    def examples(start):
        for i in range(start, start + n):
            own_id = {"id": i} if with_id else {}
            yield i, {"image": png(np.full((4, 4), i, np.uint8)), "label": i % 2, **own_id}

    builder_class = type(
        name,
        (tfds.core.GeneratorBasedBuilder,),
        {
            "VERSION": tfds.core.Version("1.0.0"),
            "name": name,
            "_info": info,
            "_split_generators": lambda self, _: {s: examples(100 * k) for k, s in enumerate(splits)},
            "_generate_examples": lambda self: None,
        },
        skip_registration=True,
    )
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


def check_message(error: pytest.ExceptionInfo, *parts: str) -> None:
    """One line, with all the parts."""
    message = str(error.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


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


def test_stratified_is_exact_on_equal_classes_and_depends_on_the_seed_alone():
    labels = np.tile(np.arange(10), 60)
    first, again, other = (stratified(labels, (50, 550), seed)[0] for seed in (1, 1, 2))
    assert np.array_equal(np.bincount(labels[first]), np.full(10, 5))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert len(np.intersect1d(first, other)) < 20  # independent draws share 50 * 50 / 600, about 4


def test_stratified_refuses_sizes_of_another_sum():
    with pytest.raises(ValueError, match="expected a sum of 4"):
        stratified(np.zeros(4, np.int32), (1, 2), 0)


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


def test_fashion_from_the_place_of_the_debian_package(load):
    write_fashion(fashion_mnist.DEBIAN)
    check_contract(load("fashion_mnist"))


def test_fashion_missing_tells_all_places_and_a_remedy(load, tmp_path):
    with pytest.raises(UserError) as error:
        load("fashion_mnist")
    check_message(
        error, str(fashion_mnist.DEBIAN), str(tmp_path / "tensorflow_datasets"), "apt-get download", "dpkg -x"
    )
    with pytest.raises(UserError) as error:
        load("fashion_mnist", tmp_path / "absent")
    check_message(error, str(tmp_path / "absent"), "IDX", "TFDS", "--config.data.dir")


def test_fashion_with_a_file_missing_names_it(load, tmp_path):
    write_fashion(tmp_path / "set")
    (tmp_path / "set/t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(UserError) as error:
        load("fashion_mnist", tmp_path / "set")
    check_message(error, "t10k-labels-idx1-ubyte", str(tmp_path / "set"))


@pytest.mark.parametrize("damage", ["truncated gzip", "truncated content", "not IDX", "empty"])
def test_damaged_idx_file_is_named(load, tmp_path, damage):
    arrays = write_fashion(tmp_path / "set")
    path = tmp_path / "set/train-labels-idx1-ubyte.gz"
    good = path.read_bytes()
    bad = {
        "truncated gzip": good[:-5],
        "truncated content": gzip.compress(gzip.decompress(good)[:-1]),
        "not IDX": gzip.compress(b"<html>404</html>"),
        "empty": b"",
    }
    path.write_bytes(bad[damage])
    with pytest.raises(UserError) as error:
        load("fashion_mnist", tmp_path / "set")
    check_message(error, str(path), "IDX", "fetch it again")
    write_idx(path, arrays["train-labels-idx1-ubyte"])
    check_contract(load("fashion_mnist", tmp_path / "set"))


def test_unequal_numbers_of_images_and_labels(load, tmp_path):
    write_fashion(tmp_path / "set")
    write_idx(tmp_path / "set/train-labels-idx1-ubyte.gz", np.zeros(7, np.uint8))
    with pytest.raises(UserError) as error:
        load("fashion_mnist", tmp_path / "set")
    check_message(error, "(120, 5, 4)", "(7,)", "apt-get")


def test_labels_out_of_range(load, tmp_path):
    write_fashion(tmp_path / "set")
    write_idx(tmp_path / "set/train-labels-idx1-ubyte.gz", np.full(120, 10, np.uint8))
    with pytest.raises(UserError) as error:
        load("fashion_mnist", tmp_path / "set")
    check_message(error, "labels run from 0 to 10", "0 to 9")


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
    write_folder(tmp_path / "set")
    Image.new("RGB", (3, 4), (10, 200, 30)).save(tmp_path / "set/train/dog/colour.JPG")
    dataset = load("folder", tmp_path / "set")
    assert dataset.images.shape[-1] == 3
    assert np.all(dataset.images[0] == dataset.images[0, :, :, :1])  # a grey one fills all channels
    assert dataset.images[..., 1].max() > 190


def test_a_changed_folder_is_not_served_from_the_cache(load, tmp_path):
    write_folder(tmp_path / "set")
    before = load("folder", tmp_path / "set")
    Image.new("L", (3, 4), 255).save(tmp_path / "set/train/cat/6.png")
    after = load("folder", tmp_path / "set")
    assert len(after.images) == len(before.images) + 1 and after.checksum != before.checksum


def spoil_size(root):
    Image.new("L", (5, 5)).save(root / "train/dog/9.png")


def spoil_file(root):
    (root / "test/cat/0.png").write_bytes(b"\x89PNG\r\n\x1a\n but no more")


def spoil_depth(root):
    Image.fromarray(np.zeros((4, 3), np.uint16)).save(root / "train/dog/9.png")


def spoil_kind(root):
    Image.new("L", (3, 4)).save(root / "test/cat/0.png", "TIFF")


def spoil_link(root):
    (root / "train/dog/9.png").symlink_to(root / "nowhere")


def spoil_split(root):
    for path in (root / "test").rglob("*.png"):
        path.unlink()


def spoil_class(root):
    (root / "train/bird").mkdir()


def spoil_test_class(root):
    (root / "test/bird").mkdir()


def spoil_test(root):
    (root / "test").rename(root / "evaluation")


def spoil_validation(root):
    (root / "val").mkdir()


@pytest.mark.parametrize(
    ("spoil", "parts"),
    [
        (spoil_size, ["train/dog/9.png", "5 x 5", "expected 4 x 3", "test/cat/0.png"]),
        (spoil_file, ["test/cat/0.png", "cannot be read", "replace it"]),
        (spoil_kind, ["test/cat/0.png", "cannot be read", "expected a PNG or JPEG"]),
        (spoil_link, ["train/dog/9.png", "cannot be read", "fetch it again"]),
        (spoil_depth, ["train/dog/9.png", "I;16", "8-bit"]),
        (spoil_split, ["test is empty", "expected DIR/train"]),
        (spoil_class, ["train/bird has no image", ".png"]),
        (spoil_test_class, ["class 'bird'", "not in train", "['cat', 'dog']"]),
        (spoil_test, ["no folder 'test'", "evaluation", "expected DIR/train"]),
        (spoil_validation, ["folder 'val'", "rename it to 'validation'"]),
    ],
)
def test_folder_messages(load, tmp_path, spoil, parts):
    write_folder(tmp_path / "set")
    spoil(tmp_path / "set")
    with pytest.raises(UserError) as error:
        load("folder", tmp_path / "set")
    check_message(error, *parts)


def test_folder_needs_a_directory_that_exists(load, tmp_path):
    with pytest.raises(UserError) as error:
        load("folder")
    check_message(error, "without a directory", "--config.data.dir")
    with pytest.raises(UserError) as error:
        load("folder", tmp_path / "absent")
    check_message(error, "absent is not a directory")


def test_too_few_images_to_carve_from(load, tmp_path):
    write_folder(tmp_path / "set", classes=("cat",), n=1)
    with pytest.raises(UserError) as error:
        load("folder", tmp_path / "set")
    check_message(error, "1 example(s)", "at least 2", "validation")


def test_unknown_name_lists_the_known(load):
    with pytest.raises(UserError) as error:
        load("fashion")
    check_message(error, "'fashion'", "digits, fashion_mnist, cifar10, cifar100, tiny_imagenet, folder, tfds:NAME")


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


def test_fashion_from_a_prepared_folder(load, tmp_path):
    write_tfds(tmp_path / "prepared", n=24, name="fashion_mnist")
    dataset = load("fashion_mnist", tmp_path / "prepared")
    check_contract(dataset)
    assert dataset.name == "fashion_mnist" and len(dataset.splits["validation"]) == 2  # 24 / 12


def test_tfds_prepares_where_tensorflow_is_installed(load, tmp_path, monkeypatch):
    tfds = pytest.importorskip("tensorflow_datasets")
    monkeypatch.setattr(prepared, "can_prepare", lambda: True)
    asked = {}

    class Builder:
        data_dir = ""

        def download_and_prepare(self):
            self.data_dir = str(write_tfds(tmp_path / "tensorflow_datasets"))

    def builder(name, **options):
        asked.update(options, name=name)
        return Builder()

    monkeypatch.setattr(tfds, "builder", builder)
    check_contract(load("tfds:tiny"))
    assert asked == {
        "name": "tiny", "data_dir": str(tmp_path / "tensorflow_datasets"), "file_format": "array_record"
    }  # fmt: skip

    def unknown(name, **options):
        raise LookupError("no such\n set")

    monkeypatch.setattr(tfds, "builder", unknown)
    with pytest.raises(UserError) as error:
        load("tfds:tinny")
    check_message(error, "'tfds:tinny'", "no such set", "check the name")


def test_not_prepared_and_no_tensorflow(load, tmp_path):
    with pytest.raises(UserError) as error:
        load("tfds:cifar10", tmp_path)
    check_message(error, "'tfds:cifar10'", str(tmp_path), "landscape[prepare]", "array_record")


def test_of_several_versions_the_highest_is_read_and_configs_must_be_named(tmp_path):
    for version in ("1.0.0", "1.10.0", "1.9.0"):
        folder = tmp_path / "tiny/plain" / version
        folder.mkdir(parents=True)
        (folder / "dataset_info.json").write_text(json.dumps({"name": "tiny"}))
    assert prepared.find("tiny", [tmp_path]) == tmp_path / "tiny/plain/1.10.0"
    assert prepared.find("tiny/plain:1.9.0", [tmp_path]) == tmp_path / "tiny/plain/1.9.0"
    other = tmp_path / "tiny/other/1.0.0"
    other.mkdir(parents=True)
    (other / "dataset_info.json").write_text("{}")
    with pytest.raises(UserError) as error:
        prepared.find("tiny", [tmp_path])
    check_message(error, "several configs", "tfds:tiny/other")
    assert prepared.find("tiny/plain", [tmp_path]) == tmp_path / "tiny/plain/1.10.0"


def test_damaged_prepared_folder(load, tmp_path):
    path = write_tfds(tmp_path / "prepared")
    records = next(path.glob("*train*"))
    records.write_bytes(records.read_bytes()[:10])
    with pytest.raises(UserError) as error:
        load("tfds:tiny", tmp_path / "prepared")
    check_message(error, str(path), "cannot be read", "prepare it again")


def test_prepared_folder_in_another_file_format(load, tmp_path):
    path = write_tfds(tmp_path / "prepared")
    info = json.loads((path / "dataset_info.json").read_text())
    (path / "dataset_info.json").write_text(json.dumps({**info, "fileFormat": "tfrecord"}))
    with pytest.raises(UserError) as error:
        load("tfds:tiny", tmp_path / "prepared")
    check_message(error, str(path), "file_format='array_record'")


# ---- the cache ----


def flip_byte(folder: Path) -> None:
    path = folder / "images.npy"
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)


def swap_images(folder: Path) -> None:
    """Valid in form, but with other pixels: only the checksum can tell."""
    np.save(folder / "images.npy", np.load(folder / "images.npy")[::-1])


@pytest.mark.parametrize(
    "damage",
    [
        flip_byte,
        swap_images,
        lambda folder: (folder / "images.npy").write_bytes((folder / "images.npy").read_bytes()[:999]),
        lambda folder: (folder / "labels.npy").write_bytes(b""),
        lambda folder: (folder / "ids.npy").unlink(),
        lambda folder: (folder / "about.json").write_text("{}"),
        lambda folder: (folder / "about.json").unlink(),
    ],
)
def test_damaged_cache_is_rebuilt(load, tmp_path, monkeypatch, damage):
    write_fashion(tmp_path / "set")
    before = load("fashion_mnist", tmp_path / "set")
    pixels = before.images.copy()
    (folder,) = (tmp_path / "cache").glob("fashion_mnist-*")
    damage(folder)
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


def test_moments_of_many_images_are_counted_in_blocks():
    images = np.random.default_rng(0).integers(0, 256, (2600, 2, 3, 1), np.uint8)
    images[:1300] //= 8
    index = np.arange(2600)
    dataset = data.Dataset("made", images, index % 2, index, ("a", "b"), {"train": index[:2500]}, "0")
    (mean,), (std,) = data.moments(dataset)
    assert mean == pytest.approx(images[:2500].mean() / 255, rel=1e-12)
    assert std == pytest.approx(images[:2500].std() / 255, rel=1e-12)


def test_a_decoding_that_is_interrupted_leaves_no_cache(load, tmp_path, monkeypatch):
    write_fashion(tmp_path / "set")
    monkeypatch.setattr(cache.files, "write_json", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        load("fashion_mnist", tmp_path / "set")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["lock"]


def test_a_signal_ends_decoding_without_asking_other_processes(load, tmp_path, monkeypatch):
    """They may have the data in their caches, and never come to be asked."""
    write_folder(tmp_path / "set")
    monkeypatch.setattr(processes, "any_of", lambda value: pytest.fail("waits for other processes"))
    monkeypatch.setattr(signals, "_received", [signal.SIGTERM])
    with pytest.raises(signals.Interrupted):
        load("folder", tmp_path / "set")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["lock"]


def test_a_full_disk_is_told_and_leaves_no_cache(load, tmp_path, monkeypatch):
    write_fashion(tmp_path / "set")
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(np, "save", lambda *_, **__: (_ for _ in ()).throw(full))
    with pytest.raises(UserError) as error:
        load("fashion_mnist", tmp_path / "set")
    check_message(error, str(tmp_path / "cache"), "the disk is full")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["lock"]


def test_what_is_said_of_a_set_tells_where_its_splits_come_from(load, tmp_path):
    drawn = "drawn from the published train, stratified by class, with seed 0"
    assert load("digits").about.endswith(
        f"published as one set; train 1197 images, validation 200 images {drawn}, test 400 images {drawn}"
    )
    write_fashion(tmp_path / "set")
    about = load("fashion_mnist", tmp_path / "set").about
    assert about.endswith(f"as train and test; train 110 images, validation 10 images {drawn}, test 30 images")


def test_checksum_tells_any_change_of_content(load, tmp_path):
    arrays = write_fashion(tmp_path / "set")
    sums = [load("fashion_mnist", tmp_path / "set").checksum]
    images = arrays["train-images-idx3-ubyte"].copy()
    images[3, 2, 1] ^= 1
    write_idx(tmp_path / "set/train-images-idx3-ubyte.gz", images)
    sums.append(load("fashion_mnist", tmp_path / "set").checksum)
    write_idx(tmp_path / "set/t10k-labels-idx1-ubyte.gz", np.zeros(30, np.uint8))
    sums.append(load("fashion_mnist", tmp_path / "set").checksum)
    assert len(set(sums)) == 3


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
from landscape.data.decode import decode_all
items = [(path.name, path) for path in Path(sys.argv[1]).iterdir()]
used = lambda: 1024 * int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])  # peak, bytes
before, start = used(), time.perf_counter()
images = decode_all(items)
assert images.shape == (10_000, 64, 64, 3)
print(time.perf_counter() - start, used() - before)
"""
