"""Folders and zips in the layout of tiny-imagenet-200: what they become, and each message about bad ones."""

import errno
import zipfile
from pathlib import Path

import natural
import numpy as np
import pytest
from PIL import Image
from test_data import check_contract, refused

from landscape import data, runs
from landscape.data import tiny_imagenet
from landscape.files import UserError

PER_CLASS = 10


@pytest.fixture(autouse=True)
def nowhere_else(monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tensorflow_datasets"))


@pytest.fixture
def load(tmp_path):
    return lambda directory, seed=0: data.load(
        "tiny_imagenet", directory=str(directory), cache=tmp_path / "cache", seed=seed
    )


@pytest.fixture
def folder(tmp_path):
    return natural.write(tmp_path / "crops", PER_CLASS)


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def mode(path: Path) -> str:
    with Image.open(path) as image:
        return image.mode


def wnids(folder: Path) -> list[str]:
    return sorted((folder / "wnids.txt").read_text().split())


def annotations(folder: Path) -> dict[str, str]:
    return dict(line.split("\t")[:2] for line in (folder / "val/val_annotations.txt").read_text().splitlines())


def test_images_labels_names_and_splits_are_those_of_the_folder(load, folder):
    dataset = load(folder)
    check_contract(dataset)
    known = wnids(folder)
    assert set(dataset.class_names) == set(natural.PHOTOGRAPHS)
    words = dict(line.split("\t") for line in (folder / "words.txt").read_text().splitlines())
    assert list(dataset.class_names) == [words[wnid].split(",")[0] for wnid in known]
    train = sorted(folder.glob("train/*/images/*.JPEG"))
    val = sorted(folder.glob("val/images/*.JPEG"))
    order = np.argsort(dataset.ids)
    assert np.array_equal(dataset.images[order], np.stack([pixels(path) for path in (*train, *val)]))
    labels = [path.parts[-3] for path in train] + [annotations(folder)[path.name] for path in val]
    assert np.array_equal(dataset.labels[order], [known.index(wnid) for wnid in labels])
    assert sorted(dataset.ids[dataset.splits["test"]]) == list(range(len(train), len(train) + len(val)))
    assert np.array_equal(np.bincount(dataset.labels[dataset.splits["validation"]]), np.ones(10))  # a tenth of train
    assert "whose val is the test split" in dataset.about and "validation 10 images drawn from" in dataset.about


def test_grey_and_cmyk_images_become_colour(load, folder):
    grey = wnids(folder)[-1]
    path = folder / f"train/{grey}/images/{grey}_0.JPEG"
    assert mode(path) == "L"  # grass
    colour = np.zeros((64, 64, 3), np.uint8)
    colour[:32], colour[32:] = (200, 30, 60), (20, 180, 90)
    inks = folder / f"train/{grey}/images/{grey}_1.JPEG"
    Image.fromarray(colour).convert("CMYK").save(inks, quality=95)
    assert b"Adobe" in inks.read_bytes() and mode(inks) == "CMYK"  # inverted, as Adobe's programs write it
    dataset = load(folder)
    order, train = np.argsort(dataset.ids), sorted(folder.glob("train/*/images/*.JPEG"))
    found = dataset.images[order[train.index(path)]]
    assert np.array_equal(found, np.repeat(np.asarray(Image.open(path))[:, :, None], 3, axis=2))
    assert np.abs(dataset.images[order[train.index(inks)]].astype(int) - colour)[4:28].max() < 12


def test_folder_zip_and_prepared_records_are_one_set(load, folder, tmp_path, monkeypatch):
    whole = load(folder)
    published = tmp_path / "published"
    published.mkdir()
    folder.rename(published / "tiny-imagenet-200")
    assert load(published).checksum == whole.checksum
    records = next((tmp_path / "cache").glob("*-records"))
    with monkeypatch.context() as patch:
        patch.setattr(tiny_imagenet, "_prepare", lambda *_: pytest.fail("prepared what is prepared"))
        assert load(records).checksum == whole.checksum
    archive = natural.archive(published / "tiny-imagenet-200")
    assert load(archive).checksum == load(published).checksum == whole.checksum
    with refused("not found in", "tiny-imagenet-200 or its zip", "--config.data.dir"):
        load(tmp_path / "tensorflow_datasets")
    with refused(str(tmp_path / "tensorflow_datasets")):
        load("")


def test_only_changed_files_are_prepared_again(load, folder, monkeypatch):
    before = load(folder)
    (folder / "test/images/test_0.JPEG").write_bytes(b"left alone")
    with monkeypatch.context() as patch:
        patch.setattr(tiny_imagenet, "_read", lambda *_: pytest.fail("read though nothing changed"))
        assert load(folder).checksum == before.checksum
    path = next(folder.glob("train/*/images/*.JPEG"))
    path.write_bytes(next(folder.glob("val/images/*.JPEG")).read_bytes())
    assert load(folder).checksum != before.checksum


def test_classes_of_one_word_have_their_id_beside(load, folder):
    first, second = wnids(folder)[:2]
    (folder / "words.txt").write_text(f"{first}\tcrane, bird\n{second}\tcrane, machine\n")
    assert load(folder).class_names[:3] == (f"crane ({first})", f"crane ({second})", wnids(folder)[2])


def train_image(folder: Path, number: int = 3) -> Path:
    """One of the first class."""
    wnid = wnids(folder)[0]
    return folder / "train" / wnid / "images" / f"{wnid}_{number}.JPEG"


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def without(path: Path, start: str) -> None:
    """The text without the lines that begin so."""
    path.write_text("".join(line for line in path.read_text().splitlines(True) if not line.startswith(start)))


def extend(path: Path, line: str) -> None:
    path.write_text(path.read_text() + line)


LABELS, VAL_7 = "val/val_annotations.txt", "val/images/val_7.JPEG"


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    ("spoil", "parts"),
    [
        (lambda f: halve(train_image(f)), ["_3.JPEG: cannot be read", "truncated", "replace it"]),
        (lambda f: (f / VAL_7).write_bytes(b""), ["val/images/val_7.JPEG: cannot be read"]),
        (lambda f: train_image(f).unlink(), ["_3.JPEG is not there", "_boxes.txt lists it"]),
        (lambda f: (f / VAL_7).unlink(), ["val/images/val_7.JPEG is not there", "val_annotations.txt lists it"]),
        (lambda f: without(f / LABELS, "val_7."), ["val/images/val_7.JPEG has no line in val/val_annotations.txt"]),
        (
            lambda f: extend(f / LABELS, "val_7.JPEG\tn01234567\t0\t0\t1\t1\n"),
            ["val/val_annotations.txt says", "n01234567", "a class of wnids.txt"],
        ),
        (
            lambda f: [path.unlink() for path in train_image(f).parent.glob("*.JPEG")],
            ["/images holds no image of this class"],
        ),
        (lambda f: without(f / "wnids.txt", wnids(f)[0]), ["_0.JPEG is of a class that wnids.txt does not list"]),
        (
            lambda f: Image.new("RGB", (65, 64)).save(f / VAL_7),
            ["val/images/val_7.JPEG: 64 x 65 pixels, expected 64 x 64"],
        ),
        (lambda f: (f / LABELS).write_bytes(b"\xff\xfe\x00"), ["val/val_annotations.txt is no text"]),
        (lambda f: (f / "words.txt").write_bytes(b"n01\tcaf\xe9\n"), ["words.txt is no text"]),
        (
            lambda f: Image.new("RGB", (64, 64)).save(f / VAL_7, "PCX"),
            ["val/images/val_7.JPEG: cannot be read", "expected a PNG or JPEG"],
        ),
        (lambda f: (f / LABELS).unlink(), ["val/val_annotations.txt is missing"]),
    ],
)
def test_what_is_broken_is_named_and_nothing_passes_for_whole(load, folder, tmp_path, spoil, parts, zipped):
    spoil(folder)
    place = natural.archive(folder) if zipped else folder
    for _ in range(2):  # what the first try left does not pass for whole
        with refused(str(place), *parts):
            load(place)
    assert not list((tmp_path / "cache").glob("*/images.npy")) and not list((tmp_path / "cache").glob(".tmp*"))


def test_a_link_that_leads_nowhere_is_named_and_a_mended_file_is_read(load, folder, capsys):
    path = train_image(folder)
    path.unlink()
    path.symlink_to(folder / "nowhere")
    with refused(str(path), "cannot be read", "fetch it again"):
        load(folder)
    path.unlink()
    path.write_bytes(train_image(folder, 2).read_bytes())
    check_contract(load(folder))
    shown = capsys.readouterr().out
    assert "preparing: 150/150 images in" in shown and "decoding: 150/150 images in" in shown


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3000])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 255
    path.write_bytes(content)


def leave(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("crops/../../outside.txt", "x")


@pytest.mark.parametrize(
    ("spoil", "parts"),
    [
        (truncate, ["cannot be read", "expected a whole zip", "fetch it again"]),
        (flip, ["JPEG cannot be read", "Bad CRC-32", "expected a whole zip"]),
        (leave, ["crops/../../outside.txt", "expected names inside one folder"]),
        (lambda path: path.write_bytes(b"<html>404</html>"), ["not a zip", "expected a whole zip"]),
        (lambda path: zipfile.ZipFile(path, "w").close(), ["wnids.txt is missing"]),
    ],
)
def test_zips_that_are_refused(load, folder, tmp_path, spoil, parts):
    archive = natural.archive(folder)
    spoil(archive)
    with refused(str(archive), *parts):
        load(archive)
    assert not (tmp_path / "outside.txt").exists()
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["lock"]


@pytest.mark.parametrize(
    ("failure", "raised", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), UserError, "the disk is full"),
        (runs.Interrupted(15), runs.Interrupted, ""),
    ],
)
def test_preparation_that_is_cut_short_leaves_nothing(load, folder, tmp_path, monkeypatch, failure, raised, message):
    calls = iter(range(10**6))

    def check():
        if next(calls) == 100:
            raise failure

    with monkeypatch.context() as patch, pytest.raises(raised, match=message or None):
        patch.setattr(runs, "check_here", check)
        load(folder)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["lock"]
    check_contract(load(folder))
