"""The shape of an experiment: stages that fit their schema or are refused, and a tiny experiment through every door."""

import errno
import gc
import importlib
import json
import os
import shutil
import sys
import textwrap
from pathlib import Path
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from whole_runs import smoke_config

from landscape import experiments, runs
from landscape.experiments import descriptions, execute, setting
from landscape.experiments.base import Quantity, Stage, described, run_once, run_stage
from landscape.files import UserError
from landscape.models import baselines, classifiers
from landscape.stats.table import read_csv

SCHEMA = {
    "example": Quantity(("example",), "1", "id"),
    "x": Quantity(("example",), "pixels", "input"),
    "square": Quantity(("level", "example"), "pixels^2", "x squared, times each level"),
    "total": Quantity((), "pixels", "sum over all"),
}


@pytest.fixture
def run(tmp_path):
    config = smoke_config("flatness", tmp_path)
    with runs.open_run(config, tmp_path / "run") as opened:
        yield opened


def without_its_last_layer(num_classes, image_shape):
    cnn = classifiers.build("cnn", num_classes=num_classes, mean=[0.5], std=[0.3])
    return cnn._replace(layers=cnn.layers[:-1])


OWN = {"model.name": "test_experiments:without_its_last_layer"}
CONV = {"autoencoder.network": "conv", "autoencoder.spatial": True, "autoencoder.channels": (4, 8)}
LATE = [  # of digits: 4 places in a map that is halved twice
    ("noise", {"trajectory.num_models": 10**6}, r"num_models=1000000: expected at most \d+, the steps of"),
    ("neighbors", {"neighbors.k": 5000, "neighbors.num_reference": 10**5}, r"neighbors.k=5000: expected fewer"),
    ("connectivity", {"pairs.num_examples": 12}, r"num_examples=12: [0-4] pairs of 12 test images.*take more"),
    (
        "flatness",
        {"measures": ("flatness", "tangent"), "tangent.dim": 33, "tangent.num_neighbors": 40},
        "at most 32, half of",
    ),
    ("flatness", OWN | {"measures": ("flatness", "relative")}, "what follows 'conv2', the last .*, is not affine"),
    *(
        (name, {"measures": ("tangent",), "tangent.dim": 33, "tangent.num_neighbors": 40}, "at most 32")
        for name in ("noise", "neighbors")
    ),
    ("transfer", {"geometry.num_neighbors": 10**5}, r"num_neighbors=100000: expected at most the \d+ training"),
    ("latent", {"num_fit": 9}, "num_fit=9: 9 training images of .*expected 10 or more"),
    ("latent", {"num_examples": 3}, "num_examples=3: 3 test images; expected 4 or more"),
    ("autoencoders", {"num_examples": 3}, "num_examples=3: 3 test images.*expected 4 or more"),
    ("autoencoders", {"hidden.num_points": 10}, "hidden.num_points=10: none .* is of class '.'.*num_points=[1-9]"),
    ("autoencoders", CONV | {"autoencoder.dims": (8, 10)}, "with 10 dimensions: .*the 4 places.*try 8"),
    ("autoencoders", CONV | {"hidden.dims": (6,)}, "with 6 dimensions: .*the 4 places.*try 4"),
    ("augmentation", {"measure.num_examples": 9}, "num_examples=9: 9 test images; expected 10 or more"),
    ("augmentation", {"measure.num_probed": 9}, "num_probed=9: 9 test images; expected 10 or more"),
    ("gradients", {"hidden.num_points": 10, "ascent.layers": ("conv1",)}, "hidden.num_points=10: none"),
    ("augmentation", {"hidden.num_points": 10, "augmentation.coded_layers": ("conv3",)}, "hidden.num_points=10: none"),
    *(
        (name, CONV | {"autoencoder.dim": 9} | more, "with 9 dimensions: .*the 4 places of the last map; try 8")
        for name, more in {
            "latent": {},
            "gradients": {"families": ("ae",)},
            "augmentation": {"manifold.family": "ae", "augmentation.coded_layers": ("image",)},
            "connectivity": {"manifold.family": "ae"},
            "flatness": {"manifold.family": "ae", "populations": ("reconstructed",)},
            "neighbors": {"manifold.family": "ae"},
            "noise": {"manifold.family": "ae"},
            "surfaces": {"manifold.family": "ae", "surfaces.planes": ("adversarial", "latent")},
            "transfer": {"manifold.family": "ae"},
        }.items()
    ),
]


def test_a_data_set_that_does_not_fit_is_refused_before_anything_is_trained(tmp_path, shared):
    for name, changes, line in LATE:
        config = smoke_config(name, tmp_path, **changes, **{"data.cache": shared["data.cache"]})
        with runs.open_run(config, tmp_path / "run") as run, pytest.raises(UserError, match=line) as refused:
            experiments.load(name).run(config, run)
        assert "\n" not in str(refused.value) and not (tmp_path / "artifacts").exists()
        shutil.rmtree(tmp_path / "run")


def test_every_class_needs_training_images_and_pca_as_many_points_as_dimensions(tmp_path, shared):
    config = smoke_config("autoencoders", tmp_path, **{"data.cache": shared["data.cache"]})
    dataset, _ = setting.load(config)
    kept = dataset.splits["train"][dataset.labels[dataset.splits["train"]] != 3]
    with pytest.raises(UserError, match="no training image of class '3'; expected some of each class"):
        descriptions.check_images(config, dataset._replace(splits=dataset.splits | {"train": kept}), ())
    enough = next(n for n in range(1, 10**4) if len({*setting.labels(dataset, "train", n, config.seed)}) == 10)
    config.hidden.num_points = enough - 1
    with pytest.raises(UserError, match=f"try --config.hidden.num_points={enough} or more"):
        descriptions.check_hidden(config, dataset)
    config.hidden.num_points = enough
    descriptions.check_hidden(config, dataset)
    shape, most = (65, 64, 2), (baselines.MOST_ENTRIES, 1)
    baselines.check_pca("image", 20, shape, (8, 20))
    baselines.check_pca("image", 20, most, (32,))
    with pytest.raises(UserError, match="PCA of image with 21 dimensions: expected at most 20"):
        baselines.check_pca("image", 20, shape, (8, 21))
    points = np.random.default_rng(0).normal(size=(20, *shape)).astype(np.float32)
    with pytest.raises(ValueError, match="dim=21"):  # as the fit itself says
        baselines.fit_pca(points, 21)


def stage(work, size=4, total=10, **shared):
    inputs = xr.Dataset({"x": ("example", np.arange(total, dtype=np.float32))}, {"example": 100 + np.arange(total)})
    return Stage("square", work, inputs, size, shared)


def squares(chunk, levels):
    return {"square": levels[:, None] * jnp.square(chunk["x"])[None]}


LEVELS = np.array([1.0, 3.0], np.float32)


def noted(shapes):
    """The same work, which notes what it is traced with."""

    def work(chunk, levels):
        shapes.append(chunk["x"].shape)
        return squares(chunk, levels)

    return work


def test_a_stage_gives_labelled_arrays_with_units_and_goes_on_where_it_stopped(run):
    shapes = []
    found = run_stage(run, stage(noted(shapes), levels=LEVELS), SCHEMA)
    np.testing.assert_array_equal(found.square, LEVELS[:, None] * np.square(np.arange(10.0))[None])
    assert found.square.dims == ("level", "example") and found.example.values.tolist() == list(range(100, 110))
    assert found.square.attrs == {"units": "pixels^2", "long_name": "x squared, times each level"}
    assert shapes == [(4,)]  # traced once: the short last chunk is filled up
    run_stage(run, stage(noted(shapes), levels=LEVELS), SCHEMA)
    assert len(shapes) == 1  # nothing is computed again
    (run.directory / "stages/square/4.npz").unlink()
    xr.testing.assert_identical(run_stage(run, stage(noted(shapes), levels=LEVELS), SCHEMA), found)
    assert len(shapes) == 2


def test_where_memory_is_too_small_chunks_really_get_smaller(run, monkeypatch):
    """The program is given no more rows than the range that fits; results are those of whole chunks."""
    whole = run_stage(run, stage(squares, levels=LEVELS)._replace(name="whole"), SCHEMA)
    error = type("JaxRuntimeError", (Exception,), {})

    def hungry(chunk, levels):
        if chunk["x"].shape[0] > 2:
            raise error("RESOURCE_EXHAUSTED: out of memory")
        return squares(chunk, levels)

    monkeypatch.setattr(jax, "eval_shape", lambda program, *arguments: {})
    found = run_stage(run, stage(hungry, levels=LEVELS), SCHEMA)
    xr.testing.assert_identical(found, whole)


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (lambda chunk: {"cube": chunk["x"]}, "cube has dims 1; the schema has None; write its Quantity"),
        (lambda chunk: {"square": chunk["x"]}, r"square has dims 1; the schema has \('level', 'example'\)"),
    ],
)
def test_arrays_that_the_schema_lacks_are_refused_before_anything_is_computed(run, work, message):
    with pytest.raises(ValueError, match=message):
        run_stage(run, stage(work), SCHEMA)
    assert not list((run.directory / "stages").glob("*/*.npz"))
    with pytest.raises(ValueError, match=r"x has dims \('member',\); the schema has \('example',\)"):
        described(xr.Dataset({"x": ("member", [1.0])}), SCHEMA)


def test_a_stage_of_one_piece(run):
    found = run_once(run, "total", lambda: {"total": np.float32(45)}, SCHEMA)
    assert float(found.total) == 45 and found.total.attrs["units"] == "pixels"
    assert float(run_once(run, "total", lambda: pytest.fail("done before"), SCHEMA).total) == 45


# ---- a tiny experiment, from its package to its report ----

TINY = {
    "__init__": """
        \"\"\"How bright are test images?\"\"\"
        from landscape.experiments.base import SCHEMA, Experiment, Quantity

        BRIGHT = Quantity(("member", "example"), "pixels", "mean pixel, times one more than the member")
        EXPERIMENT = Experiment(__name__, "How bright are test images?", SCHEMA | {"bright": BRIGHT})
    """,
    "stages": """
        import jax.numpy as jnp
        from landscape.experiments import setting
        from landscape.experiments.base import Stage, run_stage
        from tiny import EXPERIMENT

        def compute(config, run):
            dataset, _ = setting.load(config)
            images = setting.as_dataset(setting.examples(dataset, "test", config.num_shown, config.seed))

            def work(chunk):
                mean = chunk["x"].mean(axis=(1, 2, 3))
                return {"bright": jnp.arange(1.0, 5.0)[:, None] * mean[None]}

            data = run_stage(run, Stage("bright", work, images, 8), EXPERIMENT.schema)
            return data.assign_coords(seed=("member", [0, 1, 2, 3]), control=("member", ["trained"] * 4))
    """,
    "estimates": """
        from landscape.experiments.base import Check
        from landscape.stats.table import Design, Estimate, tabulate

        def derive(data):
            return data

        def estimate(data, config):
            table = tabulate(data, [Estimate("confidence.bright", "bright", where="")], Design())
            return table.headline_rows({"name": "confidence.bright"})

        def claims(table, config):
            return []

        def checks(data, table, config):
            return [Check("bright.positive", bool((data.bright > 0).all()), "all above 0")]

        def headline(table, config):
            return f"Test images are {table.one('confidence.bright').text(1.0, 3)} pixels bright."
    """,
    "figures": """
        from landscape.reporting import style
        from landscape.reporting.figures import FigureSpec

        def bright(data, table):
            figure, (axes,) = style.panels(1, columns=1, height=1.5)
            axes.hist(data.bright.values.ravel())
            axes.set_xlabel("brightness (pixels)")
            return figure

        FIGURES = (FigureSpec("bright", "Brightness", "Further right is brighter.", ("bright",), bright),)
    """,
}


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """The config of an experiment of 60 lines, registered by two."""
    package = tmp_path / "tiny"
    package.mkdir()
    for name, text in TINY.items():
        (package / f"{name}.py").write_text(textwrap.dedent(text).lstrip())
    assert sum(len(text.splitlines()) for text in TINY.values()) < 120
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    monkeypatch.setitem(experiments.EXPERIMENTS, "tiny", "tiny")
    config = smoke_config("train", tmp_path)
    config.experiment, config.num_shown = "tiny", 20
    yield config
    for name in [name for name in sys.modules if name.split(".")[0] == "tiny"]:
        del sys.modules[name]


def test_a_tiny_experiment_goes_from_its_config_to_its_report(tiny, tmp_path):
    with pytest.raises(UserError, match=r"control_members.untrained=1: tiny has no control"):
        experiments.validate(tiny)
    tiny.control_members.untrained = 0
    experiments.validate(tiny)
    with runs.open_run(tiny, tmp_path / "run") as run:
        execute(run)
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    data = xr.load_dataset(tmp_path / "run/arrays.nc", engine="h5netcdf")
    row = read_csv((tmp_path / "run/estimates.csv").read_text()).one("confidence.bright")
    assert (
        row["value"] == pytest.approx(float(data.bright.mean()), rel=1e-6) and row["low"] < row["value"] < row["high"]
    )
    assert (row["members"], row["examples"], row["unit"]) == (4, 20, "pixels")
    assert summary["headline"] == f"Test images are {row.text(1.0, 3)} pixels bright."
    assert summary["checks"] == [{"name": "bright.positive", "passed": True, "detail": "all above 0"}]
    page = (tmp_path / "run/report.html").read_text()
    assert "How bright are test images?" in page and "Further right is brighter." in page and "Not drawn" not in page
    before = (tmp_path / "run/summary.json").read_text()
    with runs.open_run(tiny, tmp_path / "run") as run:
        execute(run, reestimate=True)
    assert (tmp_path / "run/summary.json").read_text() == before


def lost(path):
    path.unlink()


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def changed(path):
    data = bytearray(path.read_bytes())
    data[-40] ^= 1
    path.write_bytes(data)


def test_results_that_are_lost_cut_or_changed_are_noticed_and_made_anew(tiny, tmp_path, capsys):
    """By the same command, in a directory that was moved meanwhile, of a run that once found its disk full."""
    tiny.control_members.untrained = 0
    setting.load(tiny)  # decoded and cached while there was room
    with (
        runs.open_run(tiny, tmp_path / "before") as run,
        mock.patch.object(np.lib.format, "write_array", side_effect=OSError(errno.ENOSPC, "No space left on device")),
        pytest.raises(UserError, match=r"stages/bright/0.npz: the disk is full"),
    ):
        execute(run)
    (tmp_path / "before").rename(tmp_path / "run")

    def again():
        with runs.open_run(tiny, tmp_path / "run") as run:
            execute(run)
        capsys.readouterr()
        found = [(tmp_path / "run" / name).read_bytes() for name in ("estimates.csv", "figures/bright.svg")]
        return found, xr.load_dataset(tmp_path / "run/arrays.nc", engine="h5netcdf")

    whole, arrays = again()
    everywhere = [(damage, name) for damage in (lost, cut, changed) for name in ("estimates.csv", "arrays.nc")]
    for damage, name in [*everywhere, (cut, "summary.json")]:  # nothing says what a changed summary was
        damage(tmp_path / "run" / name)
        damage(tmp_path / "run/figures/bright.svg")
        found, data = again()
        assert found == whole, (damage, name)
        xr.testing.assert_equal(data, arrays)
    cut(tmp_path / "run/arrays.nc")
    with runs.open_run(tiny, tmp_path / "run") as run, pytest.raises(UserError, match=r"arrays.nc: not readable"):
        execute(run, reestimate=True)


@pytest.mark.slow
def test_a_hundred_runs_in_one_process_leave_neither_memory_nor_open_files(tiny, tmp_path):
    tiny.control_members.untrained = 0

    def held():
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE"), len(os.listdir("/proc/self/fd"))

    seen = []
    for seed in range(100):
        tiny.seed = seed % 2  # of one shape, so that programs are compiled once
        with runs.open_run(tiny, tmp_path / str(seed)) as run:
            execute(run)
        shutil.rmtree(tmp_path / str(seed))
        seen.append(held())
    memory, opened = zip(*seen, strict=True)
    print(f"memory after 20 and 100 runs: {memory[19] / 1e6:.0f} and {memory[-1] / 1e6:.0f} MB")
    assert opened[-1] <= opened[19] and memory[-1] < memory[19] + 50e6


def test_estimates_that_fail_say_so_and_are_made_once_they_are_mended(tiny, tmp_path, monkeypatch):
    tiny.control_members.untrained = 0
    estimates = importlib.import_module("tiny.estimates")
    with monkeypatch.context() as broken, runs.open_run(tiny, tmp_path / "run") as run:
        broken.setattr(estimates, "checks", lambda *_: 1 / 0)
        with pytest.raises(UserError, match=r"all arrays are computed .* ZeroDivisionError .* --reestimate goes on"):
            execute(run)
        assert "ZeroDivisionError" in (run.directory / "failed.txt").read_text()
    with runs.open_run(tiny, tmp_path / "run") as run:
        execute(run, reestimate=True)
        assert runs.finished(run) and not (run.directory / "failed.txt").exists()
