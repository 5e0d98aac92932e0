"""The README stays true: its example runs, what it names exists."""

import re
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from landscape import experiments

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
CONFIGS = sorted(path.stem for path in (ROOT / "configs").glob("*.py"))
PAGES = [ROOT / "landscape" / "experiments" / name / "README.md" for name in experiments.EXPERIMENTS]


def test_it_is_short():
    assert len(README.splitlines()) <= 150 and len(README.split()) <= 1500


def test_the_notebook_example_runs():
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 1 and len(blocks[0].strip().splitlines()) <= 10
    names = {}
    exec(blocks[0], names)
    found = names["found"]
    assert found["margin_drop"].shape == (2, 5) and np.isfinite(found["margin_drop_sem"]).all()


def test_files_and_options_it_names_exist():
    named = set(re.findall(r"configs/\w+\.py", README)) - {"configs/NAME.py"}
    assert named == {f"configs/{name}.py" for name in CONFIGS}
    for name in re.findall(r"\((\.assets/[\w.]+)\)", README):
        assert (ROOT / name).is_file(), name
    flags = (ROOT / "landscape" / "runs" / "flags.py").read_text()
    for flag in ("workdir", "force", "reestimate"):
        assert f"--{flag}" in README and f'"{flag}"' in flags, flag


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_the_page_of_an_experiment_is_short_and_names_what_is_there(page):
    text = page.read_text()
    assert len(text.splitlines()) <= 120 and f"({page.relative_to(ROOT)})" in README
    assert all((page.parent / name).is_file() for name in re.findall(r"\]\(([\w./]+)\)", text))
    assert {path for path in re.findall(r"configs/\w+\.py", text) if not (ROOT / path).is_file()} == set()
    assert all(line.count("|") <= 6 for line in text.splitlines() if line.startswith("|"))
    used = set(re.findall(r"\bdata\.(\w+)", "".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))))
    experiment = experiments.load(page.parent.name)
    schema = experiment.schema
    shown = [text for spec in experiment.module("figures").FIGURES for text in (spec.title, spec.caption)]
    assert not [text for text in (*shown, *(quantity.about for quantity in schema.values())) if "`" in text]
    known = {*schema, *(dim for quantity in schema.values() for dim in quantity.dims)}
    assert {name for name in used if not hasattr(xr.Dataset, name)} <= known


def test_nothing_is_left_to_fill_in():
    assert not re.search(r"@[A-Z]+@|\b[A-Z]+_[A-Z]+\b|\bBENCH\b", README)


def test_its_test_command_is_what_ci_runs():
    assert "-m venv .venv && .venv/bin/pip install -e '.[test]' && .venv/bin/python -m pytest" in README
    assert "launch/check.sh" in (ROOT / ".ci" / "run").read_text()
    assert "-m pytest" in (ROOT / "launch" / "check.sh").read_text()
