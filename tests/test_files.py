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


@pytest.mark.parametrize("error", [RuntimeError("broken"), PermissionError(errno.EACCES, "Permission denied")])
def test_a_failing_writer_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "a.json"
    files.write_json(path, {"old": 1})
    with pytest.raises(type(error)):
        files.write_with(path, _failing(error))
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
def test_a_full_disk_is_one_line(tmp_path, error):
    with pytest.raises(UserError, match=r"the disk is full; expected room .*; free some space"):
        files.write_with(tmp_path / "a", _failing(error))
    assert not list(tmp_path.iterdir())


def test_npz_holds_any_names_and_dtypes_but_objects_and_notices_damage(tmp_path):
    path = tmp_path / "a.npz"
    arrays = {"file": np.arange(6, dtype=np.float32).reshape(2, 3).T, "text": np.array(["a", "bc"])}
    arrays |= {"allow_pickle": np.array(True), "empty": np.zeros((0, 3), np.int64), "x": np.zeros(1000)}
    with np.load(files.write_npz(path, arrays), allow_pickle=False) as saved:
        assert {name: array.dtype for name, array in saved.items()} == {n: a.dtype for n, a in arrays.items()}
        for name, array in arrays.items():
            np.testing.assert_array_equal(saved[name], array)
    with pytest.raises(ValueError, match="Object arrays"):
        files.write_npz(path, {"x": np.array([None, {}])})
    data = bytearray(path.read_bytes())
    data[-1000] ^= 1
    path.write_bytes(data)
    with np.load(path) as saved, pytest.raises(zipfile.BadZipFile):
        saved["x"]


def test_json_knows_arrays_has_null_for_nan_and_is_refused_where_damaged(tmp_path):
    value = {"a": np.float32(0.5), "b": np.array([1.0, np.nan]), "c": (1, float("inf")), "d": tmp_path, "e": True}
    path = files.write_json(tmp_path / "a.json", value)
    assert files.read_json(path) == {"a": 0.5, "b": [1.0, None], "c": [1, None], "d": str(tmp_path), "e": True}
    path.write_text('{"a": ')
    with pytest.raises(UserError, match="not readable as JSON"):
        files.read_json(path)


def test_canonical_json_does_not_depend_on_order_or_on_kinds_of_sequences():
    one = files.canonical_json({"b": (1, 2), "a": {"y": 1e-3, "x": "é"}})
    assert one == files.canonical_json({"a": {"x": "é", "y": np.float64(0.001)}, "b": [1, 2]})
    assert one == '{"a":{"x":"é","y":0.001},"b":[1,2]}'


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


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS])
def test_a_file_system_without_locks_is_said_once_and_used(tmp_path, monkeypatch, capsys, number):
    def flock(file, how):
        raise OSError(number, "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", flock)
    for _ in range(2):
        with files.lock(tmp_path / "lock", wait=False):
            files.write_text(tmp_path / "a.txt", "done")
    assert (tmp_path / "a.txt").read_text() == "done"
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{tmp_path}: its file system has no locks; going on without;")


def test_a_folder_that_cannot_be_written_is_refused_with_the_field_that_names_it(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("/nowhere/at/all")
    files.check_folder(tmp_path / "new/inner", "--x")
    for name in ("file", "file/inner", "link"):
        with pytest.raises(UserError, match=rf"{name}.* is no folder; expected a folder .* try another --x=DIR"):
            files.check_folder(tmp_path / name, "--x")
    monkeypatch.setattr(files.os, "access", lambda path, how: False)
    with pytest.raises(UserError, match=rf"new/inner: {tmp_path} cannot be written; .* --x=DIR"):
        files.check_folder(tmp_path / "new/inner", "--x")
    assert not (tmp_path / "new").exists()


def test_what_disks_and_files_say_is_one_line_and_bugs_are_not():
    denied = PermissionError(errno.EACCES, "Permission denied", "/there/a.npz")
    assert files.surroundings(denied).startswith("/there/a.npz: Permission denied; expected a path that can be read")
    assert files.surroundings(OSError(errno.ENOSPC, "No space left on device")).startswith("the disk is full")
    assert files.surroundings(ValueError("a bug")) == files.surroundings(OSError("not of a file")) == ""


def test_names_that_are_no_utf8_have_a_checksum():
    assert files.checksum("\udce9") == files.checksum(b"\xe9") != files.checksum("\xe9")


def test_sweep_takes_only_what_killed_writers_left(tmp_path):
    files.write_text(tmp_path / "a.txt", "kept")
    (tmp_path / f"{files.TEMPORARY}123-a.txt").write_text("half")
    files.sweep(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
