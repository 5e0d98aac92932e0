"""Figures of `gradients` are drawn from its arrays alone, whatever is missing, and say what the arrays hold."""

import csv

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import to_hex

from landscape.reporting import (
    figures,
    gradient_agreement,
    gradient_ascents,
    gradient_ends,
    gradient_guided,
    gradient_maps,
    gradient_objectives,
    gradient_parts,
    report,
    sheet,
    style,
)

GUIDES = ("mean", "least", "cautious", "agreeing", "disagreeing")
KINDS = ("image", "noise", "zeros")
PIXEL = ("height", "width", "channel")
ROWS = ("kind", "start", "class")


def gradient_arrays(
    *,
    families=("vae", "vq"),
    layers=("conv3",),
    members=3,
    judges=2,
    sizes=(1, 2, 4),
    starts=3,
    guided_starts=4,
    examples=6,
    shown=3,
    classes=10,
    side=(6, 6),
    channels=1,
    steps=6,
    frames=3,
    seed=0,
):
    """A Dataset as `gradients` saves it, with made-up numbers of the right kind and every gap the format allows."""
    rng = np.random.default_rng(seed)
    pixel, pairs = (*side, channels), members * (members - 1) // 2
    rows, guided = (3, starts, classes), (3, guided_starts)

    def u(*shape):
        return rng.random(shape).astype(np.float32)

    def g(*shape):
        return rng.normal(size=shape).astype(np.float32)

    variables = {
        "label": (("example",), rng.integers(0, classes, examples).astype(np.int32)),
        "prediction": (("member", "example"), rng.integers(0, classes, (members, examples)).astype(np.int32)),
        "picture": (("shown", *PIXEL), u(shown, *pixel)),
        "picture_gradient": (("shown", "class", *PIXEL), g(shown, classes, *pixel)),
        "picture_smooth": (("sigma", "shown", "class", *PIXEL), g(2, shown, classes, *pixel)),
        "smooth_cosine": (("sigma", "pair", "class", "example"), u(2, pairs, classes, examples)),
        "guided_target": (("guided_start",), (np.arange(guided_starts) % classes).astype(np.int32)),
    }
    for place in ("pixels", *families):
        along = ("value", "pair", "class", "example")
        variables[f"gradient_cosine.{place}"] = (along, u(4, pairs, classes, examples))
    for family in families:
        variables |= {
            f"pushed_to_pixels.{family}": (("member", "class", "example"), u(members, classes, examples)),
            f"pushed_to_step.{family}": (("step", "member", "class", "example"), u(3, members, classes, examples)),
            f"picture_pushed.{family}": (("shown", "class", *PIXEL), g(shown, classes, *pixel)),
            f"picture_difference.{family}": (("shown", "class", *PIXEL), g(shown, classes, *pixel)),
            f"picture_decoded.{family}": (("shown", *PIXEL), u(shown, *pixel)),
        }
    for place in ("pixels", *families, *layers):
        each = ("probability", "moved", "nearest", *(() if place in layers else ("held_out",)))
        variables |= {f"ascent_{name}.{place}": (("member", *ROWS), u(members, *rows)) for name in each}
        variables |= {
            f"ascent_value.{place}": (("member", "t", *ROWS), -u(members, steps, *rows)),
            f"ascent_grad_norm.{place}": (("member", "t", *ROWS), u(members, steps, *rows)),
            f"picture_ascent.{place}": ((*ROWS, "frame", *PIXEL), u(*rows, frames + 1, *pixel)),
        }
    for place in ("pixels", *families)[:2]:
        about = ("size", "guide")
        two = {
            "guided_held_out": ((*about, "judge", "guided_t"), (len(sizes), 5, judges, steps + 1)),
            "guided_own": ((*about, "guided_t"), (len(sizes), 5, steps + 1)),
            "guided_held_out_far": ((*about, "judge"), (len(sizes), 5, judges)),
            "guided_far": (about, (len(sizes), 5)),
            "guided_margin": ((*about, "judge"), (len(sizes), 5, judges)),
            "guided_margin_drop": ((*about, "judge"), (len(sizes), 5, judges)),
            **{f"guided_{name}": (about, (len(sizes), 5)) for name in ("moved", "nearest", "error")},
        }
        found = {name: ((*dims, "kind", "guided_start"), u(*shape, *guided)) for name, (dims, shape) in two.items()}
        along = (*about, "kind", "guided_start", *PIXEL)
        found["picture_guided"] = (along, u(len(sizes), 5, *guided, *pixel))
        for _, values in found.values():
            values[0, 1:] = np.nan  # of one classifier alone only the mean is an objective
        found["picture_guided_start"] = (("kind", "guided_start", *PIXEL), u(*guided, *pixel))
        variables |= {f"{name}.{place}": value for name, value in found.items()}
    ids = 100 + np.arange(examples)
    coords = {
        "value": ["probability", "log_probability", "logit", "margin"],
        "sigma": [0.1, 0.3],
        "step": [0.01, 0.1, 0.5],
        "kind": list(KINDS),
        "size": np.asarray(sizes),
        "guide": list(GUIDES),
        "family": list(families),
        "class": [f"class {i}" for i in range(classes)],
        "example": ids,
        "start": ids[:starts],
        "guided_start": ids[:guided_starts],
        "shown": ids[:shown],
    }
    if layers:
        coords["layer"] = list(layers)
    value = '{"value": "log_probability"}'
    config = f'{{"maps": {value}, "ascent": {value}, "guided": {value}}}'
    return xr.Dataset(variables, coords, {"experiment": "gradients", "dataset": "digits", "config": config})


def absent_of(data, directory):
    """Names of the figures that could not be drawn; the others are not empty."""
    drawn, absent = figures.draw(figures.FIGURES["gradients"], (data,), directory)
    assert all(path.stat().st_size > 2000 for figure in drawn for path in figure.paths)
    return {figure.plate.name: figure.reason for figure in absent}


def drawn_by(draw, data):
    with mpl.rc_context(style.RC):
        return draw(data)


@pytest.fixture(scope="module")
def data():
    """Arrays of a run with everything; tests only read them."""
    return gradient_arrays()


@pytest.fixture(scope="module")
def folder(data, tmp_path_factory):
    """The figures of that run."""
    directory = tmp_path_factory.mktemp("figures")
    assert absent_of(data, directory) == {}
    return directory


def test_all_figures_are_drawn(folder):
    names = {path.name for path in folder.iterdir()}
    assert {"guided.svg", "guided_column.svg", "guided.pdf", "guided.csv", "maps.png", "ascent_target.png"} <= names


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        pytest.param(
            {"families": (), "layers": (), "side": (4, 14), "channels": 3, "sizes": (4, 1, 2)}, marks=pytest.mark.slow
        ),
        {"layers": (), "members": 1, "judges": 1, "starts": 1, "guided_starts": 1, "shown": 1, "sizes": (1,)},
        {"families": ("unheard_of", "fsq", "ae"), "side": (14, 4), "classes": 100, "frames": 1, "steps": 1},
        pytest.param(
            {"families": ("vae",), "classes": 2, "examples": 3, "guided_starts": 2, "sizes": (1, 2, 3, 4, 5, 6, 8, 16)},
            marks=pytest.mark.slow,
        ),
    ],
    ids=["colour images in pixels alone", "one of everything", "tall images of many classes", "two classes"],
)
def test_other_shapes_are_drawn(tmp_path, changes):
    assert absent_of(gradient_arrays(**changes), tmp_path) == {}


@pytest.mark.slow
def test_what_is_missing_is_left_out_place_by_place(tmp_path):
    data = gradient_arrays()
    gone = ("guided_own.pixels", "guided_margin.vae", "picture_guided.vae", "picture_guided_start.pixels", "label")
    gone += ("picture_smooth", "picture_decoded.vq", "smooth_cosine", "pushed_to_step.vae", "ascent_nearest.pixels")
    data = data.drop_vars([*gone, "ascent_held_out.vae", "ascent_grad_norm.conv3", "ascent_value.vq", "picture"])
    for name in ("guided_held_out.vae", "gradient_cosine.pixels", "picture_ascent.vq", "ascent_probability.conv3"):
        data[name] = data[name].where(False)
    assert absent_of(data, tmp_path) == {}


def test_figures_without_arrays_are_named(data, tmp_path):
    gone = [name for name in data.data_vars if name not in ("label", "prediction", "guided_target")]
    absent = absent_of(data.drop_vars(gone), tmp_path)
    assert set(absent) == {plate.name for plate in figures.FIGURES["gradients"]}
    assert absent["guided"] == "its values are missing, or too few to draw"
    assert absent_of(data.drop_vars("kind"), tmp_path)["ascent_ends"] == "arrays.nc has no kind"


@pytest.mark.slow
def test_the_same_arrays_give_the_same_bytes_and_any_order_of_sizes_the_same_curves(data, folder, tmp_path):
    turned = data.isel(size=[2, 0, 1])
    with mpl.rc_context(style.RC):
        for plate in figures.FIGURES["gradients"]:
            again = style.save(plate.draw(data), tmp_path / f"x.{plate.kind}").read_bytes()
            assert again == (folder / f"{plate.name}.{plate.kind}").read_bytes(), plate.name
            if plate.name in ("guided", "guided_objectives"):
                assert again == style.save(plate.draw(turned), tmp_path / "x.svg").read_bytes()


# ---- guided by several ----


def test_the_csv_of_the_main_figure_equals_the_arrays(data, folder):
    with (folder / "guided.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * len(KINDS) * data.sizes["size"] * data.sizes["guided_t"]
    for row in rows:
        here = {"kind": row["start"], "size": int(row["guides"]), "guide": "mean"}
        told = data[f"guided_held_out.{row['place']}"].sel(here).isel(guided_t=int(row["step"]))
        judges = told.mean("guided_start").values.astype(np.float64)
        own = data[f"guided_own.{row['place']}"].sel(here).isel(guided_t=int(row["step"])).values.mean()
        wanted = {"held_out": judges.mean(), "judges_low": judges.min(), "judges_high": judges.max(), "guides_own": own}
        assert {name: float(row[name]) for name in wanted} == pytest.approx(wanted, rel=1e-5)


def test_panels_of_the_main_figure_hold_a_solid_and_a_dashed_line_for_each_number_of_guides(data):
    figure = drawn_by(gradient_guided.guided, data)
    panels = [axes for axes in figure.axes if axes.lines]
    assert len(panels) == 2 * len(KINDS)
    for index, axes in enumerate(panels):
        place, kind = ("pixels", "vae")[index // 3], KINDS[index % 3]
        solid, dashed = axes.lines[::2], axes.lines[1::2]
        assert len(solid) == len(dashed) == data.sizes["size"]
        for s, (line, own) in enumerate(zip(solid, dashed, strict=True)):
            here = {"kind": kind, "guide": "mean"}
            held_out = data[f"guided_held_out.{place}"].sel(here).isel(size=s).mean(("judge", "guided_start"))
            np.testing.assert_allclose(line.get_ydata(), held_out.values, rtol=1e-5)
            guides = data[f"guided_own.{place}"].sel(here).isel(size=s).mean("guided_start")
            np.testing.assert_allclose(own.get_ydata(), guides.values, rtol=1e-5)
            assert line.get_linestyle() == "-" and own.get_linestyle() != "-"
            assert to_hex(line.get_color()) == to_hex(own.get_color())


def test_rows_of_the_main_figure_are_a_start_and_its_ends_by_kind(data):
    assert gradient_guided.pictured_sizes(gradient_arrays(sizes=(1, 2, 4, 8, 16))) == [0, 2, 4]
    room = gradient_parts.rooms(data, "guided_held_out")[1]
    row = gradient_guided.pictures(data, room, [0, 2], [3])[0]
    assert len(row) == 9
    for k in range(3):
        np.testing.assert_array_equal(row[3 * k], data["picture_guided_start.vae"].values[k, 3])
        np.testing.assert_array_equal(row[3 * k + 2], data["picture_guided.vae"].values[2, 0, k, 3])


def test_pictured_starts_climb_different_classes_first(data):
    data = data.assign(guided_target=(("guided_start",), np.asarray([7, 7, 1, 7])))
    assert gradient_guided.pictured_starts(data, 3) == [0, 2, 1]
    assert gradient_guided.pictured_starts(data, 9) == [0, 2, 1, 3]


def test_curves_over_the_number_of_guides_equal_the_arrays_and_skip_what_was_not_run(data):
    figure = drawn_by(gradient_objectives.objectives, data)
    columns = [(place, quantity) for place in ("pixels", "vae") for quantity, _ in gradient_objectives.MEASURES]
    for axes, (place, quantity) in zip(figure.axes, columns, strict=True):
        lines = [line for line in axes.lines if line.get_linestyle() != "None"]
        assert len(lines) == len(GUIDES)
        for g, line in enumerate(lines):
            here = {"guide": g, "kind": 0}
            if quantity == "flatness":
                drop, margin = (
                    data[f"guided_{name}.{place}"].isel(here).sum("guided_start", skipna=False).values
                    for name in ("margin_drop", "margin")
                )
                wanted = (drop / margin).mean(axis=1)
            elif quantity == "far":
                top = data[f"guided_held_out_far.{place}"].isel(here).mean(("judge", "guided_start"))
                wanted = (top / data[f"guided_far.{place}"].isel(here).mean("guided_start")).values
            elif quantity == "held_out":
                last = data[f"guided_held_out.{place}"].isel(here | {"guided_t": -1})
                wanted = last.mean(("judge", "guided_start")).values
            else:
                wanted = data[f"guided_{quantity}.{place}"].isel(here).mean("guided_start").values
            wanted = wanted if g == 0 else wanted[1:]
            np.testing.assert_allclose(line.get_ydata(), wanted, rtol=1e-4)
            np.testing.assert_array_equal(line.get_xdata(), data["size"].values[-len(wanted) :])


def test_a_manifold_where_nothing_moves_has_no_scale_of_rounding():
    data = gradient_arrays()
    names = [name for name in data if name.startswith("guided_moved.")]
    assert names
    for name in names:
        data[name] = 0 * data[name] + 1e-7
    figure = drawn_by(gradient_objectives.objectives, data)
    moved = [axes for axes in figure.axes if axes.get_title(loc="left").startswith("f")]
    assert moved and moved[0].get_ylim()[1] >= 1e-3


def test_numbers_under_pictures_of_objectives_are_those_of_the_largest_number_of_guides(data):
    room = gradient_parts.rooms(data, "picture_guided")[0]
    images, texts = gradient_objectives._row(data, room, 2, 1, 3)
    np.testing.assert_array_equal(images[0], data["picture_guided_start.pixels"].values[1, 3])
    np.testing.assert_array_equal(images[4], data["picture_guided.pixels"].values[2, 3, 1, 3])
    ends = data["guided_held_out.pixels"].isel(size=2, kind=1, guided_start=3, guided_t=-1).mean("judge").values
    assert texts[1:] == [f"{p:.2f}" for p in ends]
    assert gradient_objectives._row(data, room, 0, 1, 3)[0][2] is None  # least of one guide was not run


# ---- gradients ----


def test_maps_say_what_the_gradient_of_each_family_is(data):
    names = [name.replace("\n", " ") for name, *_ in gradient_maps.rows_of(data)]
    assert names[:3] == ["pixels", "SmoothGrad σ = 0.1", "SmoothGrad σ = 0.3"]
    assert names[3:] == ["vae push-forward", "vae finite step", "vq straight-through", "vq finite step"]


def test_the_predicted_class_is_what_most_classifiers_say(data):
    data = data.isel(example=slice(2)).assign_coords(example=[7, 9])
    data = data.assign(prediction=(("member", "example"), np.asarray([[1, 4], [3, 4], [3, 2]])))
    assert gradient_maps.predicted(data) == {7: 3, 9: 4}


def test_signed_pictures_are_symmetric_about_white(data):
    pictures, scale = gradient_parts.coloured(np.asarray([[[[-2.0]]], [[[0.0]]], [[[1.0]]]]))
    assert scale == "±2"
    blue, white, red = (picture[0, 0] for picture in pictures)
    assert blue[2] > blue[0] and red[0] > red[2]
    np.testing.assert_allclose(white, white[0], atol=0.01)
    assert gradient_parts.coloured(np.zeros((1, 2, 2, 3)))[0][0] == pytest.approx(0.5)


def test_agreement_is_told_of_the_class_that_the_first_of_a_pair_predicts(data):
    rows = gradient_agreement.agreements(data)
    assert [row.block for row in rows] == ["pixels"] * 4 + ["SmoothGrad"] * 2 + ["vae"] * 4 + ["vq"] * 4
    values, prediction = data["gradient_cosine.vae"].values[2], data["prediction"].values
    pairs = [(0, 1), (0, 2), (1, 2)]
    own = [np.mean([values[p, prediction[a, n], n] for n in range(6)]) for p, (a, _) in enumerate(pairs)]
    logit = rows[8]
    assert logit.name == "logit"
    np.testing.assert_allclose(logit.own, own, rtol=1e-5)
    np.testing.assert_allclose(logit.all, values.mean(axis=(1, 2)), rtol=1e-5)


def test_panels_of_agreement_hold_pairs_classifiers_and_steps(data):
    a, b, c = drawn_by(gradient_agreement.agreement, data).axes
    dots = [line for line in a.lines if line.get_marker() == "o"]
    assert len(dots) == 2 * 14 and all(len(line.get_xdata()) == data.sizes["pair"] for line in dots)
    values, prediction = data["pushed_to_pixels.vae"].values, data["prediction"].values
    own = np.asarray([[values[m, prediction[m, n], n] for n in range(6)] for m in range(3)])
    told = [line for line in b.lines if line.get_marker() == "o"]
    np.testing.assert_allclose(told[0].get_xdata(), own.mean(axis=1), rtol=1e-5)
    others = (values.sum(axis=1) - own) / 9
    np.testing.assert_allclose(told[1].get_xdata(), others.mean(axis=1), rtol=1e-5)
    np.testing.assert_allclose(c.lines[0].get_ydata(), data["pushed_to_step.vae"].mean(("member", "class", "example")))


# ---- ascents of one classifier ----


def test_the_fixed_class_is_the_first_that_no_start_is_of():
    data = gradient_arrays()
    data["label"].values[:3] = (0, 2, 1)
    assert gradient_ascents.fixed_target(data) == 3
    assert gradient_ascents.fixed_target(data.isel({"class": slice(3)})) == 0


def test_recorded_pictures_are_told_with_the_steps_made_before_them(data):
    np.testing.assert_array_equal(gradient_ascents.steps_of(data), [0, 2, 4, 6])
    room = gradient_parts.rooms(data, "picture_ascent")[0]
    images, texts = gradient_ascents._courses(data, [room], "noise", 1, 5, [0, 3])
    np.testing.assert_array_equal(images[1], data["picture_ascent.pixels"].values[1, 1, 5, 3])
    assert texts == ["", f"{data['ascent_held_out.pixels'].values[0, 1, 1, 5]:.2f}"]


def test_hidden_layers_tell_the_guides_own_probability_and_no_distance_on_the_axis_of_pixels(data):
    room = gradient_parts.rooms(data, "picture_ascent")[-1]
    assert room.hidden and room.name == "conv3"
    np.testing.assert_array_equal(gradient_ascents.final(data, room), data["ascent_probability.conv3"].values[0])
    figure = drawn_by(gradient_ends.ends, data)
    told = data["ascent_moved.conv3"].sel(kind="image").values.mean()
    assert figure.axes[1].texts[0].get_text() == f"{told:.2g} units of the layer"
    assert len(figure.axes[1].texts) == len(figure.axes[2].texts) == 3
    assert gradient_ascents.sample(data).get_figheight() == pytest.approx(
        gradient_ascents.sample(gradient_arrays(layers=())).get_figheight()
    )


def test_changes_are_the_end_less_the_start(monkeypatch, data):
    seen = []
    monkeypatch.setattr(gradient_ascents, "coloured", lambda changes: (seen.append(changes), (list(changes), ""))[1])
    drawn_by(gradient_ascents.sample, data)
    assert len(seen) == 2 * 3  # image and noise, in three places
    pictures = data["picture_ascent.vae"].values.astype(np.float64)
    np.testing.assert_allclose(seen[3], pictures[1, 0, :, -1] - pictures[1, 0, :, 0], rtol=1e-5)


def test_curves_by_step_are_means_over_starts_and_classes_and_zeros_are_one_start(data):
    axes = drawn_by(gradient_ends.curves, data).axes
    assert len(axes) == 2 * 4
    for row, name in enumerate(("ascent_value", "ascent_grad_norm")):
        for column, place in enumerate(("pixels", "vae", "vq", "conv3")):
            lines = axes[4 * row + column].lines
            assert len(lines) == len(KINDS)
            for kind, line in zip(KINDS, lines, strict=True):
                values = data[f"{name}.{place}"].sel(kind=kind)
                values = values.isel(start=[0]) if kind == "zeros" else values
                np.testing.assert_allclose(line.get_ydata(), values.mean(("member", "start", "class")), rtol=1e-5)


def test_a_layers_vanishing_gradient_does_not_stretch_the_axis_of_the_others():
    data = gradient_arrays()
    data["ascent_grad_norm.conv3"] *= 1e-12
    axes = drawn_by(gradient_ends.curves, data).axes
    low, high = axes[4].get_ylim()
    assert low > 0.1 and high < 2 and axes[7].get_ylim() == (low, high)


def test_ends_hold_a_dot_for_each_classifier(data):
    a, b, _ = drawn_by(gradient_ends.ends, data).axes
    dots = [line for line in a.lines if line.get_marker() == "o"]
    assert len(dots) == 3 * 3 * 2 + 3
    np.testing.assert_allclose(
        dots[1].get_xdata(), data["ascent_probability.pixels"].sel(kind="image").mean(("start", "class")), rtol=1e-5
    )
    assert dots[1].get_markerfacecolor() == "white" != dots[0].get_markerfacecolor()
    moved = [line for line in b.lines if line.get_marker() == "o"]
    assert len(moved) == 3 * 3  # and none of the layer, whose unit is another
    zeros = data["ascent_moved.vae"].sel(kind="zeros").isel(start=0).mean("class")
    np.testing.assert_allclose(moved[5].get_xdata(), zeros, rtol=1e-5)


# ---- parts ----


def test_at_most_ten_classes_are_shown_with_those_that_matter():
    data = gradient_arrays(classes=25)
    assert gradient_parts.shown_classes(data, [20, -1, 3]) == [0, 1, 2, 3, 4, 5, 6, 7, 8, 20]
    assert gradient_parts.shown_classes(gradient_arrays(classes=4)) == [0, 1, 2, 3]


def test_frames_and_texts_of_a_sheet_are_where_it_says():
    black, white = (np.full((2, 2, 1), value) for value in (0.0, 1.0))
    row = sheet.Strip(
        "row", "#222222", [black, white], 0.2, ("under", ""), ("", "#00ff00"), "right", ((0, 1, "over both"),)
    )
    figure = drawn_by(lambda rows: sheet.sheet(rows, width=3.0), [row])
    canvas = np.asarray(figure.axes[0].get_images()[0].get_array())
    green = (canvas[..., 1] == 1) & (canvas[..., 0] == 0)
    assert green.any() and not green[:, : canvas.shape[1] // 2 - sheet.FRAME].any()
    assert canvas[canvas.shape[0] // 2, -sheet.FRAME - 1, 0] == 1 and green[canvas.shape[0] // 2, -1]
    places = {text.get_text(): text.get_position() for text in figure.texts}
    assert places["over both"][1] > places["row"][1] > places["under"][1]
    assert places["row"][0] < places["under"][0] < places["over both"][0] < places["right"][0]


def test_the_report_tells_guides_and_judges(data):
    facts = report._facts(data, {"dataset": "digits"}, {})
    assert ("classifiers", "4 guides, 2 judges") in facts
    assert ("images started from", "4") in facts  # by several guides, as the headline says, not the 3 of one guide
