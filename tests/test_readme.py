"""The README stays true: its example runs, what it names exists."""

import re
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_notebook_example_runs():
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 1 and len(blocks[0].strip().splitlines()) <= 10
    names = {}
    exec(blocks[0], names)
    found = names["found"]
    assert found["margin_drop"].shape == (2, 5) and np.isfinite(found["margin_drop_sem"]).all()


def test_files_and_options_it_names_exist():
    named = set(re.findall(r"configs/\w+\.py", README)) - {"configs/NAME.py"}
    assert named == {f"configs/{path.name}" for path in (ROOT / "configs").glob("*.py")}
    for name in re.findall(r"\((\.assets/[\w.]+)\)", README):
        assert (ROOT / name).is_file(), name
    flags = (ROOT / "landscape" / "runs" / "flags.py").read_text()
    for flag in ("workdir", "force", "plan"):
        assert f"--{flag}" in README and f'"{flag}"' in flags, flag


def test_nothing_is_left_to_fill_in():
    assert not re.search(r"@[A-Z]+@|\b[A-Z]+_[A-Z]+\b|\bBENCH\b", README)


def test_its_test_command_is_what_ci_runs():
    assert "-m venv .venv && .venv/bin/pip install -e '.[test]' && .venv/bin/python -m pytest" in README
    assert "launch/check.sh" in (ROOT / ".ci" / "run").read_text()
    assert "-m pytest" in (ROOT / "launch" / "check.sh").read_text()
