"""Reference sets on disk: written once in chunks, shared, memory-mapped; damaged or cut-off ones are made again."""

import json

import numpy as np
import pytest
from whole_runs import smoke_config

from landscape import runs
from landscape.training import references

POINTS = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
ABOUT = references.identity({"seed": 0}, "conv1", "train", np.arange(50))


@pytest.fixture
def run(tmp_path):
    with runs.open_run(smoke_config("train", tmp_path), tmp_path / "run") as opened:
        yield opened


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(references, "CHUNK", 4 * 6 * 20)  # 20 rows


def found(run, asked, about=ABOUT, fails_at=None):
    def observe(start, stop):
        asked.append((start, stop))
        if start == fails_at:
            raise KeyboardInterrupt
        return POINTS[start:stop]

    return references.reference_set(run, about, POINTS.shape, observe)


def folder(run):
    (only,) = [path for path in (run.artifacts / "reference").iterdir() if path.is_dir()]
    return only


def test_it_is_computed_once_in_chunks_and_read_as_a_memory_map(run):
    asked = []
    first = found(run, asked)
    assert asked == [(0, 20), (20, 40), (40, 50)] and isinstance(first, np.memmap)
    np.testing.assert_array_equal(first, POINTS)
    np.testing.assert_array_equal(found(run, asked), POINTS)
    assert len(asked) == 3 and not first.flags.writeable
    assert len(json.loads((folder(run) / "metadata.json").read_text())["checksums"]) == 3


def test_one_that_was_cut_off_while_it_was_written_leaves_nothing_and_is_made_again(run):
    with pytest.raises(KeyboardInterrupt):
        found(run, [], fails_at=20)
    assert not [path for path in (run.artifacts / "reference").iterdir() if path.is_dir()]
    np.testing.assert_array_equal(found(run, []), POINTS)


@pytest.mark.parametrize("damage", ["byte", "short", "metadata", "no points"])
def test_damage_is_noticed_and_repaired(run, damage, monkeypatch):
    found(run, [])
    points, metadata = folder(run) / "points.npy", folder(run) / "metadata.json"
    data = points.read_bytes()
    if damage == "byte":
        points.write_bytes(data[:-5] + bytes([data[-5] ^ 1]) + data[-4:])
    elif damage == "short":
        points.write_bytes(data[:-8])
    elif damage == "metadata":
        metadata.write_text(metadata.read_text()[:40])
    else:
        points.unlink()
    said, asked = [], []
    monkeypatch.setattr(type(run), "say", lambda self, line: said.append(line))
    np.testing.assert_array_equal(found(run, asked), POINTS)
    assert len(asked) == 3 and len(said) == 1 and "this reference set is made again" in said[0]
    assert damage != "byte" or "chunk 2 of 3 has another checksum" in said[0]


def test_other_images_layers_and_members_are_other_sets(run):
    others = [
        references.identity({"seed": 1}, "conv1", "train", np.arange(50)),
        references.identity({"seed": 0}, "conv2", "train", np.arange(50)),
        references.identity({"seed": 0}, "conv1", "train", np.arange(1, 51)),
    ]
    asked = []
    for about in [ABOUT, *others]:
        found(run, asked, about)
    assert len(asked) == 12


def test_points_that_are_not_finite_are_refused(run):
    with pytest.raises(ValueError, match="conv1: representations that are not finite"):
        references.reference_set(
            run, ABOUT, (50, 6), lambda start, stop: np.full((stop - start, 6), np.nan, np.float32)
        )
