"""Files are whole or absent, whatever goes wrong while they are written."""

import errno
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from landscape import files
from landscape.files import UserError


def _failing(error):
    def writer(path):
        path.write_bytes(b"half")
        raise error

    return writer


def test_a_failing_writer_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.json"
    files.write_json(path, {"old": 1})
    with pytest.raises(RuntimeError, match="broken"):
        files.write_with(path, _failing(RuntimeError("broken")))
    assert files.read_json(path) == {"old": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_the_target_is_untouched_until_the_writer_is_done(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    files.write_text(path, "old")

    def writer(temporary):
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == path.parent  # a rename over file systems is no rename
        assert temporary.suffix == path.suffix  # some writers go by it

    files.write_with(path, writer)
    assert path.read_text() == "new"


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        OSError("Not enough free space to write 22118400 bytes after offset 128"),
        RuntimeError("write failed: errno = 28, error message = 'No space left on device'"),
    ],
)
def test_a_full_disk_is_told_in_one_line(tmp_path, error):
    with pytest.raises(UserError, match=r"the disk is full; expected room .*; free some space"):
        files.write_with(tmp_path / "a", _failing(error))
    assert not list(tmp_path.iterdir())


def test_other_errors_are_not_called_a_full_disk(tmp_path):
    with pytest.raises(PermissionError):
        files.write_with(tmp_path / "a", _failing(PermissionError(errno.EACCES, "Permission denied")))


@pytest.mark.parametrize("name", ["file", "allow_pickle", "x"])
def test_npz_holds_any_names_and_dtypes(tmp_path, name):
    arrays = {
        name: np.arange(6, dtype=np.float32).reshape(2, 3).T,
        "text": np.array(["a", "bc"]),
        "scalar": np.array(True),
        "empty": np.zeros((0, 3), np.int64),
    }
    with np.load(files.write_npz(tmp_path / "a.npz", arrays), allow_pickle=False) as saved:
        assert set(saved.files) == set(arrays)
        for key, array in arrays.items():
            assert saved[key].dtype == array.dtype
            np.testing.assert_array_equal(saved[key], array)


def test_npz_refuses_objects_and_notices_damage(tmp_path):
    path = tmp_path / "a.npz"
    with pytest.raises(ValueError, match="Object arrays"):
        files.write_npz(path, {"x": np.array([None, {}])})
    files.write_npz(path, {"x": np.zeros(1000)})
    data = bytearray(path.read_bytes())
    data[4000] ^= 1
    path.write_bytes(data)
    with np.load(path) as saved, pytest.raises(zipfile.BadZipFile):
        saved["x"]


def test_json_knows_arrays_and_tells_nan_as_null(tmp_path):
    value = {"a": np.float32(0.5), "b": np.array([1.0, np.nan]), "c": (1, float("inf")), "d": tmp_path, "e": True}
    path = files.write_json(tmp_path / "a.json", value)
    assert files.read_json(path) == {"a": 0.5, "b": [1.0, None], "c": [1, None], "d": str(tmp_path), "e": True}


def test_damaged_json_is_told_in_one_line(tmp_path):
    files.write_text(tmp_path / "a.json", '{"a": ')
    with pytest.raises(UserError, match="not readable as JSON"):
        files.read_json(tmp_path / "a.json")


def test_canonical_json_does_not_depend_on_order_or_on_kinds_of_sequences():
    one = files.canonical_json({"b": (1, 2), "a": {"y": 1e-3, "x": "é"}})
    assert one == files.canonical_json({"a": {"x": "é", "y": np.float64(0.001)}, "b": [1, 2]})
    assert one == '{"a":{"x":"é","y":0.001},"b":[1,2]}'


def test_checksums_are_sha256():
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert files.checksum(b"") == files.checksum("") == empty


def test_a_held_lock_is_refused_with_its_holder_and_free_after(tmp_path):
    path = tmp_path / "run" / ".lock"
    with files.lock(path):
        with pytest.raises(UserError, match=r"run: in use by process \d+ on .*; expected a folder"):
            with files.lock(path, wait=False):
                pass
    with files.lock(path, wait=False):
        pass


def _add_one(folder, times):
    for _ in range(times):
        with files.lock(folder / "lock"):
            count = int((folder / "count").read_text())
            files.write_text(folder / "count", str(count + 1))


def test_waiting_locks_keep_writers_apart(tmp_path):
    (tmp_path / "count").write_text("0")
    with ThreadPoolExecutor(4) as pool:  # each holds the file open by itself, as processes do
        list(pool.map(lambda _: _add_one(tmp_path, 10), range(4)))
    assert (tmp_path / "count").read_text() == "40"


def test_sweep_takes_only_what_killed_writers_left(tmp_path):
    files.write_text(tmp_path / "a.txt", "kept")
    (tmp_path / f"{files.TEMPORARY}123-a.txt").write_text("half")
    files.sweep(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
