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
from landscape.experiments.tour.config import arguments_of, parts_of
from landscape.files import UserError, write_json, write_text
from landscape.stats.table import TECHNICAL, Row, Table, read_csv

ROW = {"population": "adversarial", "level": 0.95, "members": 4, "examples": 9, "unit": "1", "generalises_to": "both"}
ROW |= dict.fromkeys(TECHNICAL)


def row(name, value, **about):
    return Row(ROW, name=name, value=value, low=value - 0.01, high=value + 0.01, **about)


def finished(folder, name="flatness", value=0.1, failed=(), **config):
    """A directory as a finished run leaves it."""
    folder.mkdir(parents=True)
    summary = {
        "schema": 2,
        "experiment": name,
        "dataset": "digits",
        "headline": f"It is {value} | so.",
        "checks": [{"name": n, "passed": n not in failed, "detail": ""} for n in ("a", "b", *failed)],
        "claims": [{"name": "sharper", "verdict": "supported"}],
        "stages": {"x": 60.0, "y": 90.0},
    }
    write_json(folder / "summary.json", summary)
    data = {"name": "digits", "dir": "", "cache": str(folder)}
    write_json(folder / "config.json", {"experiment": name, "seed": 0, "data": data, "artifacts": str(folder)} | config)
    command = f"python -m landscape.main --config={folder}/{name}.py:digits,smoke --workdir={folder} --config.seed=1"
    write_json(folder / "environment.json", {"processors": 2, "devices": ["cpu:0"], "command": command})
    rows = [row("accuracy.test", 0.9, headline=True)]
    rows.append(row("input_flatness.scale_free", value, reference="boosted", headline=True))
    write_text(folder / "estimates.csv", Table((*rows, row("distance.l2", 1.0))).csv())
    return str(folder)


@pytest.fixture
def three(tmp_path):
    about = [{"seed": 0}, {"seed": 1, "value": 0.3, "failed": ("iso.reached",)}, {"seed": 2, "value": 0.002}]
    return [finished(tmp_path / f"run{i}", **one) for i, one in enumerate(about)]


def test_runs_are_named_by_what_differs_between_them(three, tmp_path):
    other = finished(tmp_path / "other", "train", seed=9, train={"momentum": 0.5, "sizes": [1, 2]})
    data = joined.read([*three, other], {})
    assert joined.labels(data) == [*(f"flatness, digits, seed {i}" for i in range(3)), "train, digits"]
    twin = finished(tmp_path / "twin", seed=0)  # nothing differs from the first but its folder
    smoke = finished(tmp_path / "smoke", seed=0, aim=1, bits=2, size=3, smoke=True)
    assert joined.labels(joined.read([three[1], smoke], {}))[1] == "flatness, digits, smoke True, seed 0, aim 1"
    assert joined.labels(joined.read([three[0], twin], {})) == ["flatness, digits, run0", "flatness, digits, twin"]
    assert data.seconds.values.tolist() == [150.0] * 4


def test_the_table_has_headline_rows_and_what_is_asked_for(three):
    data = joined.read(three, {})
    table = joined.estimate(data, ConfigDict())
    assert len(table) == 6 and len(joined.estimate(data, ConfigDict({"names": ("distance.l2",)}))) == 9
    one = table.one("input_flatness.scale_free", run="flatness, digits, seed 1")
    assert one["value"] == 0.3 and one["config.seed"] == 1
    first, second, _ = ((check.passed, check.detail) for check in joined.checks(data, table, None))
    assert first == (True, "2 of 2 checks passed")
    assert second == (False, "2 of 3 checks passed; failed: iso.reached")
    first, second = estimates.quantities(table)  # those of the most runs first, and of these differences
    assert first.rows[0]["name"] == "input_flatness.scale_free" and len(first) == len(second) == 3
    assert estimates.headline(table, None) == (
        "3 runs, 3 of flatness. Input flatness: scale free, adversarial − boosted: between 0.002 and 0.3; the interval "
        "excludes 0 in 2 of 3."
    )


def test_kinds_of_training_and_numbers_of_guides_are_quantities_and_lines_of_their_own():
    guided = [row("confidence.guided_held_out", 0.1 * k, space="pixels", guides=k, run="a") for k in (1, 4)]
    swept = [row("accuracy.test", w, train_weight_decay=w, run="a") for w in (0.0, 0.5)]
    found = estimates.quantities(Table((*guided, *swept)))
    assert [len(rows) for rows in found] == [2, 1, 1]
    assert [estimates.line(one) for one in found[0]] == ["a, weight decay 0", "a, weight decay 0.5"]
    assert estimates.title(found[2].rows[0]) == "confidence: guided held out, adversarial, pixels, 4 guides"


def test_what_is_no_effect_depends_on_the_quantity():
    def said(*rows):
        return estimates.headline(Table(rows), None)

    raw, matched = (
        row("barrier.loss", v, reference="genuine", matching=m) for m, v in (("raw", 0.3), ("matched", 0.1))
    )
    both = [Row(one, run=run) for one in (raw, matched) for run in ("a", "b")]
    assert [len(rows) for rows in estimates.quantities(Table(tuple(both)))] == [2, 2]
    assert "adversarial − genuine (raw): between 0.3 and 0.3; the interval excludes 0 in 2 of 2." in said(*both)
    scores = [row("auroc.barrier.area", v, reference="genuine", run=r) for r, v in (("a", 0.505), ("b", 0.6))]
    assert said(*scores).endswith("between 0.505 and 0.6; the interval excludes 0.5 in 1 of 2.")
    levels = [row("accuracy.test", 0.9, run=run) for run in ("a", "b")]
    assert said(*levels).endswith("between 0.9 and 0.9.")
    assert said(row("accuracy.test", 0.9, run="a, x"), row("mse.draw", 0.9, run="b, x")).endswith(
        "2 runs, 1 of a and 1 of b; no quantity is shared by two of them."
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
    drawn = {path.name for path in (tmp_path / "gathered/figures").iterdir()}
    assert {"intervals.svg", "intervals.csv", "verdicts.svg"} <= drawn


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
    page = tmp_path / "pages" / "flatness" / "README.md"
    page.parent.mkdir(parents=True)
    page.write_text(f"# flatness\n\n{pages.BEGIN}\nold\n{pages.END}\n\n## Limits\n")
    data, folder = joined.read(three[:1], {}), str(tmp_path / "pages")
    assert pages.write(folder, data) == pages.write(folder, data) == [page]  # twice is once
    line = "| `flatness.py:digits,smoke --config.seed=1` | 2 cores | 2 min 30 s | It is 0.1 \\| so. |"  # no path
    assert page.read_text() == f"# flatness\n\n{pages.BEGIN}\n{pages.HEAD}{line}\n{pages.END}\n\n## Limits\n"
    page.write_text("no marks")
    with pytest.raises(UserError, match="expected a page with one line"):
        pages.write(folder, data)


def test_every_page_has_a_place_for_its_results():
    for name in (name for name in experiments.EXPERIMENTS if name not in ("tour", "gather")):
        text = (whole_runs.ROOT / "landscape" / "experiments" / name / "README.md").read_text()
        assert text.count(pages.BEGIN) == text.count(pages.END) == 1, name
        assert text.index(pages.BEGIN) < text.index(pages.END), name


# ---- a tour ----


def test_what_is_set_for_a_tour_is_set_for_all_its_parts_and_their_faults_are_named():
    config = load("tour", "digits,smoke")
    config.seed, config.model.name, config.train.learning_rate = 5, "mlp", 0.5
    config.parts.flatness.flatness.num_examples = 7
    parts = parts_of(presets.resolve(config))
    assert [*parts] == ["train", "gradients", "autoencoders", "latent", "flatness", "neighbors"]
    assert {(p.seed, p.model.name, p.train.learning_rate) for p in parts.values()} == {(5, "mlp", 0.5)}
    assert parts["flatness"].flatness.num_examples == 7
    config.parts.flatness.search.epsilon = 8.0
    with pytest.raises(UserError, match=r"parts.flatness.*epsilon=8"):
        experiments.validate(presets.resolve(config))
    config.order = ("flatnes",)
    with pytest.raises(UserError, match="expected one or more of"):
        experiments.validate(presets.resolve(config))


def test_the_command_of_a_part_gives_the_part_alone():
    """Its config is the one that the tour runs."""
    config = load("tour", "digits,smoke")
    config.seed, config.parts.flatness.flatness.num_examples = 5, 7
    given = [
        "--config=configs/tour.py:digits,smoke",
        "--config.seed=5",
        "--workdir=DIR",
        "--config.order=('flatness',)",
    ]
    given += ["--config.parts.flatness.flatness.num_examples=7", "--config.sweep.ema=()", "--force"]
    for name, part in parts_of(presets.resolve(config)).items():
        first, seed, *others = arguments_of(name, part, given)
        assert (first, seed) == (f"--config=configs/{name}.py:digits,smoke", "--config.seed=5")
        swept = ["--config.sweep.ema=()"] * bool(part.sweep)
        assert others == ["--config.flatness.num_examples=7"] * (name == "flatness") + swept
        alone = load(name, "digits,smoke")
        alone.seed = 5
        if name == "flatness":
            alone.flatness.num_examples = 7
        assert presets.resolve(alone).to_dict() == part.to_dict()


@pytest.mark.slow  # two whole runs
def test_a_tour_runs_its_parts_once_and_its_page_leads_to_them(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["main", "--config=configs/tour.py:digits,smoke", "--config.seed=0"])
    changes = {"model.name": "mlp", "order": ("train", "flatness"), "parts.flatness.measures": ("flatness",)}
    config = smoke_config("tour", tmp_path, **changes)
    arrays, summary = whole_runs.done(config, tmp_path / "tour")
    assert arrays.experiment.values.tolist() == ["train", "flatness"]
    assert pages.short(arrays.command.values[0]) == "train.py:digits,smoke --config.seed=0"
    assert summary["headline"].startswith("A tour of digits: train, flatness.")
    page = (tmp_path / "tour" / "report.html").read_text()
    assert 'href="parts/train/report.html"' in page and page.count("<article") == 2
    table, part = (read_csv((tmp_path / f"tour/{at}estimates.csv").read_text()) for at in ("", "parts/train/"))
    found = table.one("accuracy.test", run="train, digits")
    assert found["value"] == part.one("accuracy.test", population="clean")["value"]

    def began():
        every = (tmp_path / f"tour/parts/{name}/environment.json" for name in ("train", "flatness"))
        return [json.loads(path.read_text())["began"] for path in every]

    before = began()
    (tmp_path / "tour" / "summary.json").unlink()
    whole_runs.done(config, tmp_path / "tour")  # goes on: the parts are finished
    assert began() == before
    assert np.isfinite(arrays.seconds).all()
