"""Figures of a transfer run are drawn from its arrays and its table, whatever is missing, and say what these hold."""

import csv

import matplotlib as mpl
import numpy as np
import pytest
from ml_collections import ConfigDict
from transfer_arrays import SOURCES, attacks_of, config_of, made_up, together

from landscape.experiments import page
from landscape.experiments.transfer import estimates as te
from landscape.experiments.transfer import figures as fg
from landscape.reporting import figures, plots, style
from landscape.stats.table import Row, Table, read_csv


def content_of(*kinds, **swept):
    """What a report draws from: the derived dataset, and the table as it is read from its file."""
    data = together(*kinds, **swept)
    return te.derive(data), read_csv(te.estimate(data, config_of()).csv())


@pytest.fixture(scope="module")
def content():
    data = made_up(roles=["attacker"] * 4 + ["held_out"] * 3 + ["untrained", "shuffled"])
    data.prediction.values[:, :, 4, :60] = data.label.values[:60]  # one held-out member is not fooled by the first
    return content_of(data)


@pytest.fixture(scope="module")
def one(content):
    """The same, as the figures of one kind of training take it."""
    return te.of_one(content[0]), content[1]


def drawn(fn, content):
    with mpl.rc_context(style.RC):
        return fn(*content)


@pytest.mark.slow
def test_every_figure_is_written(content, tmp_path):
    found, absent = figures.draw(fg.FIGURES, content, tmp_path)
    assert not absent and len(found) == len(fg.FIGURES) - 1  # of a sweep there is none
    assert (tmp_path / "main_column.svg").stat().st_size > 1000


def test_every_figure_is_drawn(content, tmp_path, unsaved):
    found, absent = figures.draw(fg.FIGURES, content, tmp_path)
    assert not absent and len(found) == len(fg.FIGURES) - 1
    with open(tmp_path / "main.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 6
    (row,) = (r for r in rows if (r["budget"], r["guidance"]) == ("steps", "ball"))
    success = content[1].one("shared.held_out_success", guidance="ball", budget="steps")
    assert float(row["value"]) == success["value"] and row["equivalent_size"].startswith("2.0 [2.0")
    about = {"data": {"name": "digits"}, "smoke": False, "model": {}, "held_out_model": {}}
    facts = dict(page.facts(together(made_up()).assign_attrs(stages="{}"), ConfigDict(about)))
    assert facts["classifiers"] == "4 attackers, 3 held out"


def test_of_one_part_alone_the_rest_is_left_out(tmp_path, unsaved):
    content = content_of(attacks_of("copies").drop_vars("held_out"))
    found, absent = figures.draw(fg.FIGURES, content, tmp_path)
    assert {one.spec.name for one in found} == {"main", "transfer", "counts", "examples"} and not absent


def test_a_sweep_has_a_figure_of_all_values_and_the_others_of_the_first(tmp_path, unsaved):
    kinds = attacks_of("copies"), attacks_of("immune")
    content = content_of(*kinds, weight_decay=[0.1, 1.0])
    found, absent = figures.draw(fg.FIGURES, content, tmp_path)
    assert [one.spec.name for one in found] == ["sweep", "main", "transfer", "counts", "examples"] and not absent
    axes = drawn(fg.sweep, content).axes[0]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["weight decay 0.1", "weight decay 1"]
    assert [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o"] == [100.0, 0.0]
    (_, first), (_, alone) = (fg.first(fg.transfer)(*c).axes for c in (content, content_of(kinds[0])))
    assert [line.get_xdata()[0] for line in first.lines] == [line.get_xdata()[0] for line in alone.lines]


@pytest.mark.parametrize("spec", fg.OF_ONE, ids=lambda spec: spec.name)
def test_a_figure_whose_array_is_missing_is_named_or_left_out(content, tmp_path, spec, unsaved):
    for name in spec.needs:
        some = content[0].drop_vars(name)
        found, absent = figures.draw([spec], (some, content[1]), tmp_path)
        assert not found and len(absent) == (not spec.optional)


def test_nothing_to_draw(one):
    data, table = one
    for fn in (fg.guide_sets, fg.transfer, fg.counts, fg.joint, fg.differences, fg.between):
        assert drawn(fn, (data, Table())) is None
    unknown = data.assign(right=data.right & False, clean_prediction=data.clean_prediction + 1)
    assert drawn(fg.main, (unknown, table)) is None
    nobody = data.assign(smallest_radius=data.smallest_radius * 0 + np.inf)
    assert drawn(fg.nearest, (nobody, table)) is None
    unfooled = data.assign(prediction=data.prediction * 0 + data.label)
    assert drawn(fg.examples, (unfooled, table)) is None


def test_the_main_figure_holds_guides_and_matrix(one):
    _, table = one
    left, right = drawn(fg.main, one).axes
    curve = next(line for line in left.lines if len(line.get_xdata()) == 3)
    rows = table.select("shared.held_out_success", guidance="members", budget="steps")
    np.testing.assert_allclose(curve.get_ydata(), [100 * row["value"] for row in rows])
    labels = [t.get_text().replace("\n", " ") for t in right.get_xticklabels()]
    assert labels == ["attackers", "held out", "un- trained", "shuffled labels"]
    assert right.get_title(loc="left") == "full budget, L∞ 0.14"


def test_bars_of_the_matrix_are_shares(one):
    """Widths of the bars of the first source at the first held-out member: same, different, not fooled."""
    _, (axes,) = style.panels(1, columns=1, height=2.0)
    fg.matrix_panel(axes, fg.matrix_of(one[0]), title="")
    widths = [bars[SOURCES].get_width() for bars in axes.containers[:3]]
    np.testing.assert_allclose(widths, 0.92 * np.array([240 / 280, 0, 40 / 280]), atol=1e-9)


def test_attacks_stand_in_their_order_at_their_values(one):
    data, table = one
    figure = drawn(fg.transfer, one)
    labels = [t.get_text() for t in figure.axes[0].get_yticklabels()]
    assert labels == ["full budget, L∞ 0.14", "first flip, L∞ 0.25", "full budget, L2 1"]
    marks = [line.get_xdata()[0] for line in figure.axes[1].lines if line.get_marker() == "o"]
    conditions = ["clean_correct", "source_fooled", "clean_correct"]
    rows = [
        table.one("transfer.wrong", targets="held_out", condition=condition, **attack)
        for attack, condition in zip(fg.attacks_of(data), conditions, strict=True)
    ]
    np.testing.assert_allclose(marks, [100 * row["value"] for row in rows])


def test_examples_are_sorted_by_whom_they_fool(one):
    data, table = one
    every = data.assign(prediction=data.prediction.copy())
    every.prediction.values[:, :, 4, 20:30] = every.prediction.values[:, :, 5, 20:30]
    texts = [t.get_text() for t in drawn(fg.examples, (every, table)).texts]
    assert [t for t in texts if t.endswith(" of 3")] == ["2 of 3"] * 6 + ["3 of 3"] * 6


def test_pictures_between_classes_say_who_votes_for_what(one):
    data, _ = one
    said = [text.get_text() for text in drawn(fg.between_pictures, one).texts]
    apart, pair = data.disagreement.values[0], int(data.pictured[0])
    assert f"{apart[1:-1, pair].max():.2f} nats" in said
    votes = data.vote.values[0, 1 + int(apart[1:-1, pair].argmax()), pair]
    first = int(np.argsort(-votes, kind="stable")[0])
    assert any(text.startswith(f"{fg.classes(data)[first]} ({votes[first]})") for text in said)


def test_differences_stand_in_their_rows(one):
    _, table = one
    panels = {axes.get_title(loc="left"): axes for axes in drawn(fg.differences, one).axes}
    about = {"population": "shared", "reference": "unshared"}
    for name, matchings in (
        ("distance.manifold", fg.COMPARISONS),
        ("input_flatness.scale_free", ["raw", "iso", "matched"]),
    ):
        lines = panels[fg.TITLES[name]].lines
        marks = [line.get_xdata()[0] for line in lines if len(line.get_xdata()) == 1 and line.get_marker() == "s"]
        rows = [table.one(name, matching=matching, **about) for matching in matchings]
        np.testing.assert_allclose(marks, [row["value"] for row in rows])


def test_lines_between_classes_are_those_of_the_table(one):
    left, right = drawn(fg.between, one).axes
    curves = {line.get_color(): line.get_ydata() for line in left.lines}
    for space, look in fg.SPACES.items():
        rows = one[1].select("path.disagreement", space=space)
        np.testing.assert_allclose(curves[look.color], [row["value"] for row in rows])
    assert right.lines[0].get_ydata()[-1] == 100


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
