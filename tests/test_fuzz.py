"""Damaged files and odd values of configs: what reads them gives a result or one line, never a traceback."""

import gzip
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from whole_runs import load

from landscape import data, experiments, files, presets
from landscape.data import fashion_mnist, tiny_imagenet
from landscape.data.decode import decode
from landscape.experiments import base, inputs
from landscape.files import UserError
from landscape.models import checkpoints
from landscape.runs.chunks import ABOUT
from landscape.runs.chunks import _read as read_chunk
from landscape.stats.table import Row, Table

ROOT = Path(__file__).parents[1]
MANY = [pytest.param(25, id="some"), pytest.param(10_000, id="many", marks=pytest.mark.slow)]
SMALL = np.random.default_rng(0).integers(0, 256, (3, 4), np.uint8)
MADE = data.Dataset("made", SMALL[None, :, :, None], np.zeros(1, np.int32), np.zeros(1, int), ("a", "b"), {}, "0")


def saved(write) -> bytes:
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def picture(kind: str, mode: str = "L") -> bytes:
    return saved(lambda buffer: Image.fromarray(SMALL).convert(mode).save(buffer, kind))


def idx() -> bytes:
    return bytes([0, 0, 8, 2, 0, 0, 0, 3, 0, 0, 0, 4]) + SMALL.tobytes()


def published() -> bytes:
    """A zip in the layout of Tiny ImageNet, of one class."""

    def write(buffer):
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in {
                "t/wnids.txt": b"n1\n",
                "t/train/n1/images/n1_0.JPEG": picture("JPEG"),
                "t/val/val_annotations.txt": b"val_0.JPEG\tn1\t0\n",
                "t/val/images/val_0.JPEG": picture("JPEG"),
            }.items():
                archive.writestr(name, content)

    return saved(write)


def read_zip(path: Path) -> None:
    tree = tiny_imagenet._open_zip(path)
    for row in tiny_imagenet.rows(tree):
        tree.read(row.file)


def weights(path: Path) -> None:
    found = checkpoints.read(path)
    assert all(np.isfinite(array).all() for array in found.values())


def a_safetensors() -> bytes:
    from safetensors.numpy import save

    return save({"w": np.ones((2, 3), np.float32), "b": np.zeros(3, np.float32)})


def a_chunk() -> bytes:
    about = json.dumps({"start": 0, "stop": 1, "seconds": 1.0, "dims": {"x": ["example"]}})
    return saved(lambda buffer: np.savez(buffer, x=np.ones(1), **{ABOUT: np.array(about)}))


def a_table() -> bytes:
    return Table((Row(name="accuracy.test", population="", value=0.5, low=None, high=1.0, r=0.3),)).csv().encode()


FILES = {  # suffix, content, reader
    "idx": ("", idx(), fashion_mnist.read_idx),
    "idx.gz": (".gz", gzip.compress(idx()), fashion_mnist.read_idx),
    **{
        kind: (f".{kind.lower()}", picture(kind, mode), lambda path: decode(path, path.name))
        for kind, mode in {
            "PNG": "LA",
            "JPEG": "L",
            "GIF": "P",
            "TIFF": "L",
            "BMP": "RGB",
            "PPM": "L",
            "WEBP": "RGB",
        }.items()
    },
    "zip": (".zip", published(), read_zip),
    "inputs": (
        ".npz",
        saved(lambda buffer: np.savez(buffer, x=SMALL[None, :, :, None] / 255.0, label=[1])),
        lambda path: inputs.read_inputs(str(path), MADE),
    ),
    "weights": (".npz", saved(lambda buffer: np.savez(buffer, w=np.ones(5))), weights),
    "safetensors": (".safetensors", a_safetensors(), weights),
    "chunk": (".npz", a_chunk(), lambda path: read_chunk(path.parent, int(path.stem), 1)),
    "summary": (".json", json.dumps({"schema": 2, "checks": [], "headline": "é"}).encode(), files.read_json),
    "estimates": (".csv", a_table(), base.read_estimates),
}


@st.composite
def damaged(draw, content: bytes) -> bytes:
    """A file cut, with bytes changed, put in or left out, or of anything at all."""
    found = bytearray(content)
    for _ in range(draw(st.integers(0, 3))):
        at, kind = draw(st.integers(0, max(len(found) - 1, 0))), draw(st.sampled_from(["flip", "cut", "put", "drop"]))
        if kind == "flip" and found:
            found[at] ^= draw(st.integers(1, 255))
        elif kind == "cut":
            del found[at:]
        elif kind == "put":
            found[at:at] = draw(st.binary(max_size=8))
        else:
            del found[at : at + draw(st.integers(1, 8))]
    return draw(st.one_of(st.just(bytes(found)), st.binary(max_size=40))) if draw(st.booleans()) else bytes(found)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")  # Pillow and NumPy say what they doubt
@pytest.mark.parametrize("count", MANY)
@pytest.mark.parametrize("name", FILES)
def test_any_bytes_give_a_result_or_one_line(tmp_path, name, count):
    suffix, content, read = FILES[name]
    path = tmp_path / f"0{suffix}"

    @settings(max_examples=count, deadline=None, database=None, suppress_health_check=[*HealthCheck])
    @given(damaged(content))
    def holds(given_bytes):
        path.write_bytes(given_bytes)
        try:
            read(path)
        except UserError as error:
            assert str(path.name) in str(error) and len(str(error)) < 2000

    path.write_bytes(content)
    read(path)  # the whole file is read
    holds()


NUMBERS = st.one_of(st.integers(-(2**40), 2**40), st.sampled_from([-1, 0, 1, 2]))
KINDS = {  # of a field -> values that the command line may give it
    bool: st.booleans(),
    int: NUMBERS,
    float: st.floats(),
    str: st.one_of(st.text(max_size=8), st.sampled_from(["quantile 0.5", "a:b", "x.py:f", "tfds:x", "last", "cnn"])),
    tuple: st.lists(st.one_of(st.floats(), NUMBERS, st.text(max_size=5)), max_size=3).map(tuple),
}


@pytest.mark.parametrize("count", MANY)
@pytest.mark.parametrize("name", ["flatness", "transfer", "gradients"])
def test_any_value_of_any_field_is_taken_or_refused_in_one_line(name, count):
    fields = {field: value for field, value in presets.leaves(load(name)) if type(value) in KINDS}

    @settings(max_examples=2 * count, deadline=None, database=None, suppress_health_check=[*HealthCheck])
    @given(st.data())
    def holds(drawn):
        config = load(name)
        for field in drawn.draw(st.lists(st.sampled_from(sorted(fields)), min_size=1, max_size=2, unique=True)):
            try:
                config.update_from_flattened_dict({field: drawn.draw(KINDS[type(fields[field])])})
            except (TypeError, ValueError):  # as the command line would
                return
        try:
            experiments.validate(presets.resolve(config))
        except UserError as error:
            assert len(str(error)) < 2000

    holds()


def test_nothing_is_unpickled():
    """Pickles can run code: no module loads one, and NumPy's are refused wherever arrays are read."""
    for path in (ROOT / "landscape").rglob("*.py"):
        text = path.read_text()
        assert "pickle.load" not in text and "import pickle" not in text and "allow_pickle=True" not in text, path


def test_a_pickle_in_the_place_of_arrays_is_refused(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.array([{"a": 1}], object), label=np.zeros(1, int))
    for read in (lambda: inputs.read_inputs(str(tmp_path / "x.npz"), MADE), lambda: weights(tmp_path / "x.npz")):
        with pytest.raises(UserError, match="Object arrays cannot be loaded"):
            read()
