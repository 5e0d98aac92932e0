"""Odd but valid sets of images: every experiment ends, or says in one line what it has too few of."""

import json
import math

import numpy as np
import pytest
from PIL import Image
from whole_runs import done, load

from landscape import experiments, presets
from landscape.files import UserError
from landscape.stats.table import read_csv

pytestmark = pytest.mark.slow
EXPERIMENTS = sorted(set(experiments.EXPERIMENTS) - {"gather", "tour", "dictionaries", "benchmark"})
NAMES = ("caf\u00e9", "<b>two words", "$5 & $x_1$", "x" * 200, "new\nline", "\u732b", "100%", "a,b")


def write(root, classes, num_train=30, num_test=30, constant=False):
    """A folder set whose classes are the place of a bright band."""
    rng = np.random.default_rng(0)
    for split, num in (("train", num_train), ("test", num_test)):
        for c, name in enumerate(classes):
            folder = root / split / name
            folder.mkdir(parents=True)
            start = c * 12 // len(classes)
            for i in range(num):
                image = np.full((12, 12), 20) if constant else rng.integers(0, 80, (12, 12))
                image[start : start + max(1, 12 // len(classes))] += 150
                Image.fromarray(image.astype(np.uint8)).save(folder / f"{i}.png")
    return root


SETS = {
    "two classes": lambda root: write(root, ("cat", "dog"), num_train=60),
    "three classes": lambda root: write(root, ("cat", "dog", "fox")),
    "a class without test images": lambda root: [
        path.unlink() for path in (write(root, ("cat", "dog", "fox", "owl")) / "test/owl").iterdir()
    ],
    "five images a class": lambda root: write(root, ("cat", "dog", "fox"), 5, 5),
    "a constant class": lambda root: write(root, ("cat", "dog", "fox"), constant=True),
    "odd names": lambda root: write(root, NAMES, 12, 6),
}


@pytest.mark.parametrize("kind", SETS)
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_ends_on_odd_sets_or_says_what_they_lack(tmp_path, name, kind):
    SETS[kind](tmp_path / "set")
    config = load(name, "folder,smoke")
    config.data.dir, config.data.cache = str(tmp_path / "set"), str(tmp_path / "data")
    config.artifacts = str(tmp_path / "artifacts")
    if "trajectory" in config:
        config.trajectory.num_epochs = 4  # of a step or two each: with fewer all would be refused
    if "pairs" in config:  # which needs more validation images than are here
        config.pairs.kinds = tuple(kind for kind in config.pairs.kinds if kind != "adaptive")
    config = presets.resolve(config)
    experiments.validate(config)
    try:
        _, summary = done(config, tmp_path / "run")
    except UserError as error:  # too few images for pairs, steps or neighbours: said before anything is trained
        assert "\n" not in str(error) and not (tmp_path / "artifacts").exists()
        return
    assert summary["headline"] and "nan" not in json.dumps(summary).lower().split()
    rows = read_csv((tmp_path / "run/estimates.csv").read_text())
    assert len(rows) and all(row["value"] is None or math.isfinite(row["value"]) for row in rows)
    page = (tmp_path / "run/report.html").read_text()
    assert "<b>two words" not in page
