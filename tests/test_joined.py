"""What finished runs say together: joined by hand-written directories, gathered to a report, toured in one command."""

import json

import numpy as np
import pytest
import whole_runs
from ml_collections import ConfigDict
from whole_runs import load, smoke_config

from landscape import experiments, presets
from landscape.experiments import joined
from landscape.experiments.gather import estimates, pages
from landscape.experiments.tour.config import parts_of
from landscape.files import UserError, write_json, write_text
from landscape.stats.table import Row, Table, read_csv

ROW = {"low": None, "high": None, "level": 0.95, "members": 4, "examples": 9, "unit": "1", "generalises_to": "both"}
ROW |= {"sem": None, "df": None, "var_member": None, "var_example": None, "var_residual": None, "incomplete": 0}


def row(name, value, half=0.01, headline=True, **about):
    ends = {"value": value, "low": value - half, "high": value + half}
    return Row(
        {"name": name, "population": "adversarial", **ROW, **ends, **about} | ({"headline": True} if headline else {})
    )


def finished(folder, name="flatness", value=0.1, failed=(), verdict="supported", **config):
    """A directory as a finished run leaves it."""
    folder.mkdir(parents=True)
    checks = [{"name": n, "passed": n not in failed, "detail": ""} for n in ("a", "b", *failed)]
    claims = [{"name": "sharper", "verdict": verdict, "value": value, "low": value, "high": value}]
    summary = {
        "schema": 2,
        "experiment": name,
        "dataset": "digits",
        "headline": f"It is {value} | so.",
        "checks": checks,
    }
    write_json(folder / "summary.json", summary | {"claims": claims, "stages": {"x": 60.0, "y": 90.0}, "estimates": []})
    whole = {
        "experiment": name,
        "seed": 0,
        "data": {"name": "digits", "dir": "", "cache": str(folder)},
        "artifacts": str(folder),
    }
    write_json(folder / "config.json", whole | config)
    command = f"python -m landscape.main --config={folder}/{name}.py:digits,smoke --workdir={folder} --config.seed=1"
    write_json(folder / "environment.json", {"processors": 2, "devices": ["cpu:0"], "command": command})
    rows = [row("accuracy.test", 0.9), row("input_flatness.scale_free", value, reference="boosted")]
    rows.append(row("distance.l2", 1.0, headline=False))
    write_text(folder / "estimates.csv", Table(tuple(rows)).csv())
    return str(folder)


@pytest.fixture
def three(tmp_path):
    about = [{"seed": 0}, {"seed": 1, "value": 0.3, "failed": ("iso.reached",)}, {"seed": 2, "value": 0.002}]
    return [finished(tmp_path / f"run{i}", **one) for i, one in enumerate(about)]


def test_runs_are_named_by_what_differs_between_them(three, tmp_path):
    other = finished(tmp_path / "other", "train", seed=9, train={"momentum": 0.5, "sizes": [1, 2]})
    data = joined.read([*three, other], {})
    assert joined.labels(data) == [
        "flatness, digits, seed 0",
        "flatness, digits, seed 1",
        "flatness, digits, seed 2",
        "train, digits",
    ]
    twin = finished(tmp_path / "twin", seed=0)  # nothing tells it from the first but its folder
    assert joined.labels(joined.read([three[0], twin], {})) == ["flatness, digits, run0", "flatness, digits, twin"]
    assert data.seconds.values.tolist() == [150.0] * 4


def test_the_table_has_headline_rows_and_what_is_asked_for(three):
    data = joined.read(three, {})
    assert len(joined.table(data)) == 6 and len(joined.table(data, ["distance.l2"])) == 9
    one = joined.table(data).one("input_flatness.scale_free", run="flatness, digits, seed 1")
    assert one["value"] == 0.3 and one["config.seed"] == 1
    names = [(check.passed, check.detail) for check in joined.checks(data)]
    assert names[0] == (True, "2 of 2 checks passed") and names[1] == (
        False,
        "2 of 3 checks passed; failed: iso.reached",
    )


def test_quantities_are_those_of_the_most_runs_and_differences_first(three):
    table = joined.table(joined.read(three, {}))
    first, second = estimates.quantities(table)
    assert first.rows[0]["name"] == "input_flatness.scale_free" and len(first) == len(second) == 3
    assert estimates.headline(table, None) == (
        "3 runs, 3 of flatness. Input flatness: scale free, adversarial − boosted: between 0.002 and 0.3; the interval "
        "leaves 0 out in 2 of 3 runs."
    )


def test_runs_are_gathered_to_a_report_that_leads_to_theirs(three, tmp_path):
    config = load("gather", "")
    config.runs = (str(tmp_path / "run*"),)
    config = presets.resolve(config)
    experiments.validate(config)
    assert config.runs == tuple(three) and len(set(config.checksums)) == 3
    arrays, summary = whole_runs.done(config, tmp_path / "gathered")
    assert arrays.sizes["run"] == 3 and len(summary["estimates"]) == 6 and len(summary["checks"]) == 3
    page = (tmp_path / "gathered" / "report.html").read_text()
    assert all(f"{folder}/report.html" in page for folder in three) and "flatness, digits, seed 2" in page
    assert {"intervals.svg", "intervals.csv", "verdicts.svg"} <= {
        p.name for p in (tmp_path / "gathered/figures").iterdir()
    }


def test_a_run_that_was_done_again_is_another_config(three):
    before = presets.resolve(ConfigDict({"runs": tuple(three)})).checksums
    write_json(f"{three[0]}/summary.json", {"schema": 2})
    assert presets.resolve(ConfigDict({"runs": tuple(three)})).checksums != before


def test_what_is_no_finished_run_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    for pattern, message in (("empty", "none is a finished run"), ("no*", "no such file")):
        with pytest.raises(UserError, match=message):
            presets.resolve(ConfigDict({"runs": (str(tmp_path / pattern),)}))
    with pytest.raises(UserError, match="expected directories of finished runs"):
        experiments.validate(presets.resolve(load("gather", "")))
    write_json(tmp_path / "empty" / "summary.json", {})
    with pytest.raises(UserError, match=r"no config\.json, environment\.json, estimates\.csv"):
        joined.read([str(tmp_path / "empty")], {})


def test_pages_get_their_results_between_the_marks_and_nothing_else_changes(three, tmp_path):
    folder = tmp_path / "pages" / "flatness"
    folder.mkdir(parents=True)
    page = folder / "README.md"
    page.write_text(f"# flatness\n\n{pages.BEGIN}\nold\n{pages.END}\n\n## Limits\n")
    data = joined.read(three[:1], {})
    assert pages.write(str(folder.parent), data) == [page]
    text = page.read_text()
    line = "| `flatness.py:digits,smoke --config.seed=1` | 2 cores | 2.5 min | It is 0.1 \\| so. |"
    assert line in text and text.startswith("# flatness\n\n") and text.endswith("\n\n## Limits\n") and "old" not in text
    assert str(tmp_path) not in text  # no path of this machine
    pages.write(str(folder.parent), data)
    assert page.read_text() == text
    page.write_text("no marks")
    with pytest.raises(UserError, match="expected a page with one line"):
        pages.write(str(folder.parent), data)
    assert [pages.lasted(s) for s in (42.4, 216.0, 7560.0)] == ["42 s", "3.6 min", "2.1 h"]


@pytest.mark.parametrize("name", [name for name in experiments.EXPERIMENTS if name not in ("tour", "gather")])
def test_every_page_has_a_place_for_its_results(name):
    text = (whole_runs.ROOT / "landscape" / "experiments" / name / "README.md").read_text()
    assert text.count(pages.BEGIN) == text.count(pages.END) == 1 and text.index(pages.BEGIN) < text.index(pages.END)


# ---- a tour ----


def test_what_is_set_for_a_tour_is_set_for_all_its_parts_and_their_faults_are_named():
    config = load("tour", "digits,smoke")
    config.seed, config.model.name, config.train.learning_rate = 5, "mlp", 0.5
    config.parts.flatness.flatness.num_examples = 7
    parts = parts_of(presets.resolve(config))
    assert [*parts] == ["train", "gradients", "autoencoders", "latent", "flatness"]
    assert {(p.seed, p.model.name, p.train.learning_rate) for p in parts.values()} == {(5, "mlp", 0.5)}
    assert parts["flatness"].flatness.num_examples == 7
    config.parts.flatness.search.epsilon = 8.0
    with pytest.raises(UserError, match=r"parts.flatness.*epsilon=8"):
        experiments.validate(presets.resolve(config))
    config.order = ("flatnes",)
    with pytest.raises(UserError, match="expected one or more of"):
        experiments.validate(presets.resolve(config))


@pytest.mark.slow  # two whole runs
def test_a_tour_runs_its_parts_once_and_its_page_leads_to_them(tmp_path):
    changes = {"model.name": "mlp", "order": ("train", "flatness"), "parts.flatness.measures": ("flatness",)}
    config = smoke_config("tour", tmp_path, **changes)
    arrays, summary = whole_runs.done(config, tmp_path / "tour")
    assert arrays.experiment.values.tolist() == ["train", "flatness"]
    assert summary["headline"].startswith("A tour of digits: train, flatness.")
    page = (tmp_path / "tour" / "report.html").read_text()
    assert 'href="parts/train/report.html"' in page and page.count("<article") == 2
    table = read_csv((tmp_path / "tour" / "estimates.csv").read_text())
    assert table.one("accuracy.test", run="train, digits")["value"] == pytest.approx(
        read_csv((tmp_path / "tour/parts/train/estimates.csv").read_text())
        .select("accuracy.test", population="clean")
        .rows[0]["value"]
    )
    seen = []
    for name in ("train", "flatness"):
        seen.append(json.loads((tmp_path / f"tour/parts/{name}/environment.json").read_text())["began"])
    (tmp_path / "tour" / "summary.json").unlink()
    whole_runs.done(config, tmp_path / "tour")  # goes on: the parts are finished
    again = [
        json.loads((tmp_path / f"tour/parts/{n}/environment.json").read_text())["began"] for n in ("train", "flatness")
    ]
    assert seen == again
    assert np.isfinite(arrays.seconds).all()
