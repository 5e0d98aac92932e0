"""Figures of a transfer run are drawn from its arrays and its table, whatever is missing, and say what these hold."""

import csv

import matplotlib as mpl
import numpy as np
import pytest
from ml_collections import ConfigDict
from transfer_arrays import SOURCES, attacks_of, config_of, made_up

from landscape.experiments import page
from landscape.experiments.transfer import estimates as te
from landscape.experiments.transfer import figures as fg
from landscape.experiments.transfer import pictures
from landscape.reporting import figures, plots, style
from landscape.stats.table import Row, Table, read_csv


@pytest.fixture(scope="module")
def content():
    """What a report draws from: the derived dataset, and the table as it is read from its file."""
    data = made_up(roles=["attacker"] * 4 + ["held_out"] * 3 + ["untrained", "shuffled"])
    data.prediction.values[:, :, 4, :60] = data.label.values[:60]  # one held-out member is not fooled by the first
    return te.derive(data), read_csv(te.estimate(data, config_of()).csv())


def drawn(fn, content, *more):
    with mpl.rc_context(style.RC):
        return fn(*content, *more)


def test_every_figure_is_drawn(content, tmp_path):
    found, absent = figures.draw(fg.FIGURES, content, tmp_path)
    assert not absent and len(found) == len(fg.FIGURES)
    assert (tmp_path / "main_column.svg").stat().st_size > 1000
    with open(tmp_path / "main.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 6
    (row,) = (r for r in rows if (r["budget"], r["guidance"]) == ("steps", "ball"))
    success = content[1].one("shared.held_out_success", guidance="ball", budget="steps")
    assert float(row["value"]) == success["value"] and row["equivalent_size"].startswith("2.0 [2.0")


def test_of_one_part_alone_the_rest_is_left_out(tmp_path):
    data = attacks_of("copies").drop_vars("held_out")
    content = te.derive(data), te.estimate(data, config_of())
    found, absent = figures.draw(fg.FIGURES, content, tmp_path)
    assert {one.spec.name for one in found} == {"main", "transfer", "counts", "directions", "examples"} and not absent
    (axes,) = drawn(fg.main, content).axes
    assert axes.get_title(loc="left") == "full budget, L∞ 0.15"


@pytest.mark.parametrize("spec", fg.FIGURES, ids=lambda spec: spec.name)
def test_a_figure_whose_array_is_missing_is_named_or_left_out(content, tmp_path, spec):
    for name in spec.needs:
        some = content[0].drop_vars(name)
        found, absent = figures.draw([spec], (some, content[1]), tmp_path)
        assert not found and len(absent) == (not spec.optional)


def test_nothing_to_draw(content):
    data, table = content
    empty = Table()
    for fn in (fg.guide_sets, fg.transfer, fg.counts, fg.joint, fg.geometry, fg.differences, fg.between):
        assert drawn(fn, (data, empty)) is None
    assert (
        drawn(fg.main, (data.assign(right=data.right & False, clean_prediction=data.clean_prediction + 1), table))
        is None
    )
    nobody = data.assign(smallest_radius=data.smallest_radius * 0 + np.inf)
    assert drawn(pictures.nearest, (nobody, table)) is None
    unfooled = data.assign(prediction=data.prediction * 0 + data.label)
    assert drawn(pictures.examples, (unfooled, table)) is None


def test_the_main_figure_holds_guides_and_matrix(content):
    _, table = content
    left, right = drawn(fg.main, content).axes
    curve = next(line for line in left.lines if len(line.get_xdata()) == 3)
    rows = table.select("shared.held_out_success", guidance="members", budget="steps")
    np.testing.assert_allclose(curve.get_ydata(), [100 * row["value"] for row in rows])
    level = 100 * table.one("shared.held_out_success", population="start")["value"]
    assert any(np.allclose(line.get_ydata(), level) for line in left.lines)
    boxes = [axes.get_position() for axes in (left, right)]
    assert boxes[0].x1 < boxes[1].x0 and boxes[0].y0 == boxes[1].y0
    labels = [t.get_text().replace("\n", " ") for t in right.get_xticklabels()]
    assert labels == ["attackers", "held out", "un- trained", "shuffled labels"]


def test_bars_of_the_matrix_are_shares(content):
    """Widths of the boxes of the first source at the first held-out member: same, different, not fooled."""
    data, _ = content
    _, (axes,) = style.panels(1, columns=1, height=2.0)
    fg.matrix_panel(axes, fg.matrix_of(data), title="")
    boxes = axes.collections[0].get_paths()[3 * SOURCES : 3 * SOURCES + 3]
    widths = [float(np.ptp(path.vertices[:, 0])) for path in boxes]
    np.testing.assert_allclose(widths, 0.92 * np.array([240 / 280, 0, 40 / 280]), atol=1e-9)


def test_attacks_stand_in_their_order_at_their_values(content):
    _, table = content
    figure = drawn(fg.transfer, content)
    labels = [t.get_text() for t in figure.axes[0].get_yticklabels()]
    assert labels == ["full budget, L∞ 0.15", "first flip, L∞ 0.25", "targeted, L2 1"]
    marks = [line.get_xdata()[0] for line in figure.axes[1].lines if line.get_marker() == "o"]
    conditions = ["clean_correct", "source_fooled", "clean_correct"]
    rows = [
        table.one("transfer.wrong", targets="held_out", attack=a["attack"], condition=c)
        for a, c in zip(fg.attacks(table), conditions, strict=True)
    ]
    np.testing.assert_allclose(marks, [100 * row["value"] for row in rows])


def test_examples_are_sorted_by_whom_they_fool(content):
    texts = [t.get_text() for t in drawn(pictures.examples, content).texts]
    assert [t for t in texts if t.endswith(" of 3")] == ["2 of 3"] * 12
    data, table = content
    every = data.assign(prediction=data.prediction.copy())
    every.prediction.values[:, :, 4, 20:30] = data.aim.values[20:30]
    texts = [t.get_text() for t in drawn(pictures.examples, (every, table)).texts]
    assert [t for t in texts if t.endswith(" of 3")] == ["2 of 3"] * 6 + ["3 of 3"] * 6


def test_pictures_between_classes_say_who_votes_for_what(content):
    data, _ = content
    said = [text.get_text() for text in drawn(pictures.between_pictures, content).texts]
    apart, pair = data.disagreement.values[0], int(data.pair_shown[0])
    assert f"{apart[1:-1, pair].max():.2f} nats" in said
    votes = data.vote.values[0, 1 + int(apart[1:-1, pair].argmax()), pair]
    first = int(np.argsort(-votes, kind="stable")[0])
    assert any(text.startswith(f"{pictures.classes(data)[first]} ({votes[first]})") for text in said)


def test_differences_stand_in_their_rows(content):
    _, table = content
    figure = drawn(fg.differences, content)
    panels = {axes.get_title(loc="left"): axes for axes in figure.axes}
    one = panels[fg.TITLES["distance.manifold"]]
    marks = [line for line in one.lines if len(line.get_xdata()) == 1 and line.get_marker() == "s"]
    rows = [
        table.one("distance.manifold", population="shared", reference="unshared", matching=m) for m in fg.COMPARISONS
    ]
    np.testing.assert_allclose([m.get_xdata()[0] for m in marks], [row["value"] for row in rows])
    free = panels[fg.TITLES["input_flatness.scale_free"]]
    assert sum(len(line.get_xdata()) == 1 and line.get_marker() == "s" for line in free.lines) == 1


def test_lines_between_classes_are_those_of_the_table(content):
    left, right = drawn(fg.between, content).axes
    curves = {line.get_color(): line.get_ydata() for line in left.lines}
    for space, look in fg.SPACES.items():
        rows = content[1].select("path.disagreement", space=space)
        np.testing.assert_allclose(curves[look.color], [row["value"] for row in rows])
    assert right.lines[0].get_ydata()[-1] == 100


def test_the_report_says_who_attacked_and_who_was_held_out(content):
    about = {"data": {"name": "digits"}, "smoke": False, "model": {}, "held_out_model": {}}
    facts = dict(page.facts(content[0].assign_attrs(stages="{}"), ConfigDict(about)))
    assert facts["classifiers"] == "4 attackers, 3 held out"


# ---- helpers that draw estimates ----


def row(value, half=0.1, **coords):
    return Row({"value": value, "low": value - half, "high": value + half, **coords})


def test_a_forest_has_a_line_a_label_and_no_mark_for_what_is_missing():
    looks = {
        "a": style.Look("A", "#000000"),
        "b": style.Look("B", "#ff0000", marker="s"),
        "c": style.Look("C", "#00ff00"),
    }
    figure = plots.forest({"one": {"a": [row(1.0), None], "b": [row(2.0), row(3.0)]}}, ["x", "y"], looks, scale=10.0)
    (axes,) = figure.axes
    marks = {
        line.get_marker(): line for line in axes.lines if len(line.get_xdata()) == 1 and line.get_marker() != "None"
    }
    assert marks["o"].get_xdata()[0] == 10.0 and round(marks["o"].get_ydata()[0]) == 0
    assert [t.get_text() for t in axes.get_yticklabels()] == ["x", "y"]
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["A", "B"]  # of C there is nothing
    assert plots.forest({"one": {"a": [None]}}, ["x"], looks) is None


def test_lines_have_intervals_and_a_value_without_one_none():
    table = Table(
        (
            row(0.3, k=2, of="a"),
            row(0.1, k=1, of="a"),
            Row({"value": 0.5, "low": None, "high": None, "k": 1, "of": "b"}),
        )
    )
    _, (axes,) = style.panels(1, columns=1, height=1.0)
    looks = {name: style.Look(name, "#000000") for name in "abc"}
    assert plots.lines_of(axes, table, "of", "k", looks, scale=100.0) == ["a", "b"]
    np.testing.assert_allclose(axes.lines[0].get_xdata(), [1, 2])
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [10, 30])
    segments = [np.ptp(path.vertices[:, 1]) for bars in axes.collections for path in bars.get_paths()]
    np.testing.assert_allclose(segments, [20, 20, 0], atol=1e-9)
