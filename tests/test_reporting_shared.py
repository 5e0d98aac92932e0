"""Figures of `shared` are drawn from its arrays alone, whatever is missing, and say what the arrays hold."""

import csv

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr

from landscape.reporting import (
    figures,
    report,
    shared_ladder,
    shared_main,
    shared_matrix,
    shared_means,
    shared_pictures,
    shared_shapes,
    style,
)
from landscape.reporting.shared_parts import in_order


def shared_arrays(*, sources=4, roles=("attacker",) * 4 + ("held_out",) * 3 + ("untrained", "shuffled"), seed=0):
    """A Dataset as `shared` saves it, with made-up numbers of the right kind."""
    rng = np.random.default_rng(seed)
    attacks = [("full", "linf", 0.15), ("full", "linf", 0.1), ("first_flip", "linf", 0.15), ("targeted", "l2", 1.0)]
    conditions, quantities = ["all", "clean_correct", "source_fooled"], [*shared_means.LOOKS, "different"]
    a, t, n, shown = len(attacks), len(roles), 20, 12
    pixel = ("height", "width", "channel")
    share = rng.dirichlet([2, 1, 1], (a, 3, sources, t)).transpose(0, 1, 4, 2, 3)
    cells = ("attack", "condition", "outcome", "source", "target")
    variables = {"share": (cells, share)}
    variables["share_chance"] = ((*cells[:2], *cells[3:]), share[:, :, 1] / 2)
    variables["share_half"] = ((*cells[:2], *cells[3:]), share[:, :, 1] / 9)
    mean = rng.uniform(0.2, 0.8, (a, 3, 2, len(quantities)))
    for end, aside in (("", 0), ("_low", -0.1), ("_high", 0.1)):
        variables[f"mean{end}"] = (("attack", "condition", "targets", "quantity"), mean + aside)
        for name, along in (
            ("joint_all", "objective"),
            ("joint_held_out", "objective"),
            ("universal_attackers", "made_by"),
            ("universal_held_out", "made_by"),
        ):
            size = 5 if along == "objective" else 3
            variables[f"{name}{end}"] = ((along, "ball"), np.linspace(0.2, 0.8, size * 2).reshape(size, 2) + aside)
    for name in ("count_seen", "count_expected"):
        variables[name] = (("attack", "count"), rng.dirichlet(np.ones(4), a))
    cosine = rng.uniform(0.2, 0.6, (a, sources, sources, n))
    variables["perturbation_cosine"] = (("attack", "source", "other", "example"), cosine)
    variables["random_cosine"] = (("attack", "example"), rng.uniform(0, 0.2, (a, n)))
    variables["gradient_cosine"] = (("source", "other", "example"), cosine[0])
    label = rng.integers(0, 3, n)
    variables["label"] = (("example",), label)
    variables["clean_prediction"] = (("target", "example"), np.tile(label, (t, 1)))
    told = np.tile(label, (a, sources, t, 1))
    told[:, :, 0] = (label + 1) % 3
    told[:, :, 4, :10] = (label[:10] + 1) % 3  # the first ten fool one held-out member
    variables["prediction"] = (("attack", "source", "target", "example"), told)
    variables["picture"] = (("shown", *pixel), rng.random((shown, 6, 6, 1)))
    variables["picture_start"] = (("shown", *pixel), rng.random((shown, 6, 6, 1)))
    variables["joint_picture"] = (("joint_shown", *pixel), rng.random((8, 6, 6, 1)))
    variables["smallest_radius"] = (("joint_example",), np.r_[np.inf, 0.0, rng.uniform(0.1, 0.2, 10)])
    variables["universal"] = (("made_by", "ball", *pixel), rng.uniform(-0.1, 0.1, (3, 2, 6, 6, 1)))
    rungs = [("members", 1), ("members", 2), ("members", 4), ("ball", 1), ("random", 4), ("members_ball", 2)]
    told = rng.uniform(0.2, 0.8, (2, len(rungs), 2))
    for end, aside in (("", 0), ("_low", -0.1), ("_high", 0.1)):
        variables[f"ladder_told{end}"] = (("search", "rung", "budget"), told + aside)
    blocks = told[..., None] + rng.normal(0, 0.02, (*told.shape, 4))
    blocks[:, 1, :, 2:] = blocks[:, 2, :, 1:] = np.nan
    variables["ladder_block_told"] = (("search", "rung", "budget", "block"), blocks)
    variables["effective"] = (("search", "rung", "budget", "effective_end"), np.full((*told.shape, 3), 1.5))
    variables["ladder_tuning"] = (("search", "rung", "step_size", "budget"), rng.normal(size=(2, len(rungs), 3, 2)))
    variables["ladder_step"] = (("search", "rung", "budget"), np.full(told.shape, 0.1))
    shapes = rng.uniform(0.2, 0.8, (len(shared_shapes.MEASURES), 4))
    apart = rng.uniform(0, 0.2, (2, 5, 9))
    for end, aside in (("", 0), ("_low", -0.1), ("_high", 0.1)):
        variables[f"shape{end}"] = (("shape_measure", "shape_population"), shapes + aside)
        difference = np.full((len(shapes), 2, 5), np.nan)
        difference[:, :, :4] = (shapes - 0.5 + aside)[:, None]
        difference[:, 1] += 0.01
        variables[f"shape_difference{end}"] = (("shape_measure", "shape_contrast", "reading"), difference)
        variables[f"between{end}"] = (("ground", "step"), apart.mean(axis=2) + aside / 10)
    variables["shape_picture"] = (("shape_shown", *pixel), rng.random((10, 6, 6, 1)))
    wrong = np.zeros((3, sources, 5, n), bool)
    wrong[:, :, 2, 2:5] = wrong[:2, :, 2, 5] = True  # on these the joint search fools three, or two, of three
    wrong[:, :, 1, 4] = True  # as the first attacker's example does on one of them
    wrong[0, :, :, 0] = True  # an error on the image itself
    variables["shape_wrong"] = (("judge", "source", "input", "shape_example"), wrong)
    variables["ladder_before"] = (("search",), np.array([0.1, 0.05]))
    variables["disagreement"] = (("ground", "step", "pair"), apart)
    variables["vote"] = (("ground", "step", "pair", "class"), rng.integers(0, 5, (2, 5, 9, 3)))
    variables["between_pair"] = (("between_shown",), np.argsort(-apart[0].max(axis=0)))
    variables["between_picture"] = (("between_shown", "place", *pixel), rng.random((9, 3, 6, 6, 1)))
    coords = {"shape_measure": list(shared_shapes.MEASURES), "shape_population": list(shared_shapes.LOOKS)}
    coords |= {"input": ["clean", "own", "joint", "own_iso", "joint_iso"]}
    coords |= {"shape_contrast": ["shared", "joint"], "reading": [*shared_shapes.READINGS, "scale_free"]}
    coords |= {"ground": list(shared_shapes.GROUNDS), "step": ("step", np.linspace(0, 1, 5))}
    coords |= {"search": ["pixels", "manifold"], "budget": ["gradients", "steps"], "step_size": [0.05, 0.1, 0.2]}
    coords |= {"rung_name": ("rung", [n for n, _ in rungs]), "size": ("rung", [k for _, k in rungs])}
    coords |= {"condition": conditions, "quantity": quantities, "targets": list(shared_means.TARGETS)}
    coords |= {"outcome": ["unfooled", "same", "different"], "source": np.arange(sources), "class": ["a", "b", "$5"]}
    coords |= {"objective": list(shared_means.OBJECTIVES), "made_by": list(shared_means.MADE_BY), "ball": [0.1, 0.15]}
    coords |= {"role": ("target", list(roles)), "attack": [f"{k}.{m}.{r}" for k, m, r in attacks]}
    coords |= {name: ("attack", [x[i] for x in attacks]) for i, name in enumerate(("kind", "norm", "epsilon"))}
    return xr.Dataset(variables, coords)


def drawn(fn, data):
    with mpl.rc_context(style.RC):
        return fn(data)


def test_every_figure_is_drawn(tmp_path):
    found, absent = figures.draw(figures.FIGURES["shared"], (shared_arrays(),), tmp_path)
    assert not absent and len(found) == len(figures.FIGURES["shared"])
    assert (tmp_path / "matrix_column.svg").stat().st_size > 1000
    with open(tmp_path / "matrix.csv") as file:
        rows = list(csv.DictReader(file))
    data = shared_arrays()
    assert len(rows) == 4 * 9
    share = data["share"].isel(attack=0, source=1, target=5).sel(condition="clean_correct", outcome="same")
    row = rows[9 + 5]
    assert float(row["same"]) == float(share) and row["role"] == "held_out"
    assert float(row["chance_of_same"]) == pytest.approx(float(share) / 2)


def test_a_ladder_without_noise_is_drawn():
    data = shared_arrays()
    figure = drawn(shared_ladder.ladder, data.isel(rung=data["rung_name"].values == "members"))
    assert len(figure.axes) == 4


def test_bars_of_a_cell_are_its_shares():
    """Widths of the first row's boxes, in cells: same, different, not fooled."""
    data = shared_arrays()
    figure = drawn(shared_matrix.matrix, data)
    boxes = figure.axes[0].collections[0].get_paths()[:3]
    widths = [float(np.ptp(path.vertices[:, 0])) for path in boxes]
    share = data["share"].isel(attack=0, source=0, target=0).sel(condition="clean_correct")
    expected = [float(share.sel(outcome=o)) for o in ("same", "different", "unfooled")]
    np.testing.assert_allclose(widths, 0.92 * np.array(expected), rtol=1e-6)


def test_members_are_drawn_role_by_role():
    roles = ("attacker", "unlearned", "attacker", "attacker", "held_out", "held_out")
    figure = drawn(shared_matrix.matrix, shared_arrays(roles=roles))
    labels = [t.get_text() for t in figure.axes[0].get_xticklabels()]
    assert labels == ["attackers", "held out", "not learned"]


def test_means_stand_at_their_values():
    data = shared_arrays()
    figure = drawn(shared_means.means, data)
    labels = [t.get_text() for t in figure.axes[0].get_yticklabels()]
    assert labels == ["full budget, L∞ 0.1", "full budget, L∞ 0.15", "first flip, L∞ 0.15", "targeted, L2 1"]
    assert in_order(data) == [1, 0, 2, 3]
    points = [float(line.get_xdata()[0]) for line in figure.axes[1].lines if len(line.get_xdata()) == 1]
    at = {"targets": "held_out", "quantity": "wrong"}
    # First flips are read where the sources are fooled, the others where all were right.
    for a, condition in ((1, "clean_correct"), (2, "source_fooled")):
        assert any(
            p == pytest.approx(100 * float(data["mean"].isel(attack=a).sel(condition=condition, **at))) for p in points
        )


def test_examples_are_sorted_by_whom_they_fool():
    figure = drawn(shared_pictures.examples, shared_arrays())
    texts = [t.get_text() for t in figure.texts]
    told = [t for t in texts if t.endswith(" of 3")]
    assert told == ["0 of 3"] * 2 + ["1 of 3"] * 4 + ["1 of 3"] * 6 and "$5" in texts


def test_nothing_to_draw():
    data = shared_arrays()
    empty = data.assign({n: data[n] * np.nan for n in ("share", "mean", "count_seen", "joint_all", "joint_held_out")})
    for fn in (shared_matrix.matrix, shared_means.means, shared_means.counts, shared_means.joint):
        assert drawn(fn, empty) is None
    nobody = data.assign(smallest_radius=data["smallest_radius"] * 0 + np.inf)
    assert drawn(shared_pictures.nearest, nobody) is None
    unfooled = data.assign(prediction=data["prediction"] * 0 + data["label"])
    assert drawn(shared_pictures.examples, unfooled) is None


def test_the_ladder_stands_at_its_values():
    data = shared_arrays()
    figure = drawn(shared_ladder.ladder, data)
    assert [a.get_title(loc="left") for a in figure.axes[:2]] == ["pixels, equal steps", "manifold, equal steps"]
    one = figure.axes[3]  # manifold, equal gradients
    told = 100 * data["ladder_told"].sel(search="manifold", budget="gradients").values
    line = next(c[0] for c in one.containers if len(c[0].get_xdata()) == 3)
    np.testing.assert_allclose(line.get_xdata(), [1, 2, 4])
    np.testing.assert_allclose(line.get_ydata(), told[:3])
    dashed = [
        float(line.get_ydata()[0]) for line in one.lines if len(line.get_xdata()) == 2 and line.get_xdata()[1] == 1
    ]
    np.testing.assert_allclose(sorted(dashed), [5.0, *sorted(told[[3, 4]])])  # below all, where searches start
    rows = shared_ladder.ladder_table(data)
    assert len(rows) == 1 + 2 * 2 * 6 and rows[0][:4] == ("search", "budget", "rung", "members")
    row = next(r for r in rows if r[:4] == ("pixels", "steps", "ball", 1))
    assert row[4] == pytest.approx(100 * float(data["ladder_told"].sel(search="pixels", budget="steps")[3]))
    assert row[7:] == (1.5, 1.5, 1.5)
    assert drawn(shared_ladder.ladder, data.assign(ladder_told=data["ladder_told"] * np.nan)) is None


def test_the_report_says_who_attacked_and_who_judged():
    facts = dict(report._facts(shared_arrays(), {"dataset": "digits"}, {}))
    assert facts["classifiers"] == "4 attackers, 3 held out"


def test_the_main_figure_holds_the_ladder_and_the_matrix():
    data = shared_arrays()
    ladder, matrix = drawn(shared_main.main, data).axes
    curve = next(line for line in ladder.lines if len(line.get_xdata()) == 3)
    told = data["ladder_told"].sel(search="pixels", budget="steps").values[:3]
    np.testing.assert_allclose(curve.get_ydata(), 100 * told)
    alone = drawn(shared_matrix.matrix, data).axes[0]
    for mine, other in zip(matrix.collections[0].get_paths(), alone.collections[0].get_paths(), strict=True):
        np.testing.assert_array_equal(mine.vertices, other.vertices)
    boxes = [axes.get_position() for axes in (ladder, matrix)]
    assert boxes[0].x1 < boxes[1].x0 and boxes[0].y0 == boxes[1].y0


def test_differences_stand_in_their_rows():
    """A panel holds raw, equal margin and matched; that of what is free of scale one row."""
    data = shared_arrays()
    names = list(shared_shapes.MEASURES)
    data["shape_difference"][names.index("input_scale_free")] = np.array([[np.nan] * 4 + [0.3]] * 2)
    figure = drawn(shared_shapes.differences, data)
    panel = figure.axes[names.index("manifold")]
    points = [line for line in panel.lines if len(line.get_xdata()) == 1 and line.get_marker() == "s"]
    told = data["shape_difference"].sel(shape_measure="manifold", shape_contrast="shared").values[:4]
    np.testing.assert_allclose([p.get_xdata()[0] for p in points], told)
    assert [round(p.get_ydata()[0]) for p in points] == [0, 1, 2, 3]
    assert [t.get_text() for t in panel.get_yticklabels()] == ["raw", "changed", "equal margin", "matched"]
    free = figure.axes[names.index("input_scale_free")]
    assert not free.get_yticklabels() and "scale-free" in free.get_title(loc="left")
    told = [line.get_xdata()[0] for line in free.lines if line.get_marker() == "s"]
    assert told == [0.3]


def test_pictures_between_classes_say_who_votes_for_what():
    data = shared_arrays()
    figure = drawn(shared_shapes.between_pictures, data)
    said = [text.get_text() for text in figure.texts]
    peak = float(data["disagreement"].values[0].max())
    assert f"{peak:.2f} nats" in said
    pair = int(data["between_pair"].values[0])
    at = int(data["disagreement"].values[0][:, pair].argmax())
    votes = data["vote"].values[0][at, pair]
    first = int(np.argsort(-votes, kind="stable")[0])
    name = ["a", "b", "$5"][first]
    assert any(text.startswith(f"{name} ({votes[first]})") for text in said)


def test_shapes_stand_at_their_values():
    data = shared_arrays()
    figure = drawn(shared_shapes.means, data)
    for m, axes in enumerate(figure.axes):
        points = [line for line in axes.lines if len(line.get_xdata()) == 1 and line.get_marker() in ("o", "s", "D")]
        np.testing.assert_allclose([p.get_ydata()[0] for p in points], data["shape"].values[m])
        assert [p.get_color() for p in points] == [color for _, color, _ in shared_shapes.LOOKS.values()]


def test_lines_between_classes_are_drawn_as_they_are_told():
    data = shared_arrays()
    left, right = drawn(shared_shapes.between, data).axes
    curves = {line.get_color(): line for line in left.lines}
    for g, (_, color) in enumerate(shared_shapes.GROUNDS.values()):
        np.testing.assert_allclose(curves[color].get_ydata(), data["between"].values[g])
    peaks = data["disagreement"].values[0].max(axis=0)
    np.testing.assert_allclose(right.lines[0].get_xdata(), np.sort(peaks))
    assert right.lines[0].get_ydata()[-1] == 100


def test_pictures_are_of_the_images_on_which_all_attackers_gain_most():
    figure = drawn(shared_pictures.beside, shared_arrays())
    said = [t.get_text() for t in figure.texts if " of " in t.get_text() and t.get_text()[0].isdigit()]
    # Six of ten columns are named twice, first by one attacker: images 2, 3 gain three, 5 two, the rest nothing.
    assert said[:3] == ["0 of 3"] * 3 and said[len(said) // 2 :][:4] == ["3 of 3", "3 of 3", "2 of 3", "0 of 3"]
    assert len(said) == 2 * 9  # one of the ten shown is an error from the start


def test_the_zero_line_of_directions_is_that_of_noise():
    data = shared_arrays()
    axes = drawn(shared_means.directions, data).axes[0]
    marks = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "^"]
    told = data["random_cosine"].values.mean(axis=1)
    np.testing.assert_allclose(marks, [0.0, *told[in_order(data)]])


def test_pictures_between_classes_are_grouped_and_ordered():
    data = shared_arrays()
    figure = drawn(shared_shapes.between_pictures, data)
    groups = {t.get_text(): t.get_position()[0] for t in figure.texts if "disagree" in t.get_text()}
    assert groups["where members disagree most"] < groups["where they disagree least"]
    heads = sorted((t.get_position()[0], t.get_text()) for t in figure.texts if t.get_text().endswith("nats"))
    inside = data["disagreement"].values[0][1:-1].max(axis=0)[data["between_pair"].values]
    assert [text for _, text in heads] == [f"{value:.2f} nats" for value in inside]
