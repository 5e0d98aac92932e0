"""Estimates and figures of `gradients` from made-up arrays whose means are known, whatever is missing."""

import csv

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from ml_collections import ConfigDict
from whole_runs import load

from landscape.experiments import gradients, page
from landscape.experiments.base import described
from landscape.experiments.gradients import estimates
from landscape.experiments.gradients import figures as drawing
from landscape.experiments.gradients.figures import FIGURES
from landscape.reporting import figures, image_grid, style
from landscape.stats.intervals import interval
from landscape.stats.table import Table

SCHEMA = gradients.EXPERIMENT.schema
STARTS = ("image", "noise", "zeros")
FULL = {
    "member": 4, "held_out": 4, "example": 8, "class": 5, "ascent_example": 5, "guided_example": 6, "pair": 6,
    "training": 1, "sigma": 2, "step_length": 3, "step": 6, "guided_step": 5, "frame": 3, "start": 3,
    "shown": 2, "shown_class": 5, "guided_shown": 3, "height": 6, "width": 6, "channel": 1, "guides": 3, "objective": 2,
}  # fmt: skip
OF_IMAGES = ("gradient_cosine", "picture", "picture_gradient", "ascent_held_out")


def made_up(*, spaces=("pixels", "vae", "vq"), layers=("conv3",), guides=(1, 2, 4), seed=0, **sizes):
    """A Dataset as `gradients` saves it, with numbers in (0.1, 0.9) and every gap the format allows."""
    rng, every = np.random.default_rng(seed), (*spaces, *layers)
    sizes = FULL | sizes
    sizes |= {"pair": sizes["member"] * (sizes["member"] - 1) // 2, "guides": len(guides), "space": len(every)}
    sizes["shown_class"] = min(10, sizes["class"])
    coords = {dim: np.arange(count) for dim, count in sizes.items() if dim in SCHEMA and dim not in ("check",)}
    coords |= {"space": list(every), "start": list(STARTS), "guides": list(guides), "objective": ["mean", "agreeing"]}
    coords |= {"sigma": [0.1, 0.3], "step_length": [0.01, 0.1, 0.5]}
    coords |= {"class": [f"class {k}" for k in range(sizes["class"])]}
    coords |= {"control": ("member", ["trained"] * sizes["member"]), "seed": ("member", coords.pop("member"))}
    variables = {}
    for name, (dims, *_) in SCHEMA.items():
        if name in coords or name.startswith(("audit", "check", "train_", "file")) or name == "member":
            continue
        values = rng.uniform(0.1, 0.9, [sizes[dim] for dim in dims])
        variables[name] = (dims, values.astype(np.float32) if dims else np.float32(1.5))
    data = xr.Dataset(variables, coords).assign_attrs(maps_value="log_probability", ascent_value="log_probability")
    labels = rng.integers(0, sizes["class"], (sizes["member"] + 1, sizes["example"]))
    own = np.broadcast_to(labels[1:], (sizes["training"], *labels[1:].shape))
    data["prediction"], data["label"] = (("training", "member", "example"), own), ("example", labels[0])
    data["kind_of_space"] = ("space", ["pixels", *["manifold"] * (len(spaces) - 1), *["layer"] * len(layers)])
    data["guided_target"] = ("guided_example", np.arange(sizes["guided_example"]) % min(3, sizes["class"]))
    data["course_class"], data["guided_reached"] = 1, xr.ones_like(data.guided_reached)
    for name in data.data_vars:
        if "space" in data[name].dims and data[name].dtype.kind == "f":
            data[name] = data[name].where(measured(data, name))
    return described(data, SCHEMA)


def measured(data, name):
    """Where a variable has a value: (space, ...) as stages leave it."""
    kind = data.kind_of_space
    found = kind != "layer" if name in OF_IMAGES else kind == kind
    found = kind == "manifold" if name in ("pushed_to_pixels", "pushed_to_step") else found
    if "guides" in data[name].dims or name == "picture_guided_start":
        found = xr.DataArray(np.arange(len(kind)) < 2, dims="space") & (kind != "layer")
    return found


def config_of(data):
    config = load("gradients")
    config.guided.sizes = tuple(data.guides.values.tolist())
    return config


@pytest.fixture(scope="module")
def data():
    """Arrays of a run with everything; tests only read them."""
    return made_up()


@pytest.fixture(scope="module")
def table(data):
    return estimates.estimate(data, config_of(data))


@pytest.fixture
def few():
    """Arrays of two spaces and two numbers of guides, to be changed."""
    return made_up(spaces=("pixels", "vae"), layers=(), guides=(1, 4))


# ---- estimates ----


def test_the_own_class_is_each_members_and_others_are_the_rest(data, table):
    value = data.pushed_to_pixels.sel(space="vae").isel(training=0).values.astype(float)
    own = np.take_along_axis(value, data.prediction.values[0][:, None], axis=1)[:, 0]
    at = {"space": "vae", "class_value": "log_probability"}
    assert table.one("agreement.pushed_with_pixels", classes="own", **at)["value"] == pytest.approx(own.mean())
    others = table.one("agreement.pushed_with_pixels", classes="others", **at)
    assert others["value"] == pytest.approx((value.sum(axis=1) - own).mean() / 4, rel=1e-6)


def test_pairs_are_of_the_class_that_their_first_member_predicts(data, table):
    values, images = data.gradient_cosine.sel(space="vae").values[0], np.arange(8)
    first = np.triu_indices(4, 1)[0]
    expected = [values[p, data.prediction.values[0, a], images].mean() for p, a in enumerate(first)]
    own = table.one("agreement.gradient", classes="own", space="vae")
    assert own["value"] == pytest.approx(np.mean(expected), rel=1e-6) and own["class_value"] == "log_probability"
    every = table.one("agreement.gradient", classes="all", space="vae")
    assert every["value"] == pytest.approx(values.mean(), rel=1e-6)
    one = made_up(member=1)
    assert not estimates.estimate(one, config_of(one)).select("agreement.gradient")


def test_cosines_that_differ_between_images_alone_have_an_interval_over_images(data):
    c = np.random.default_rng(0).normal(size=8)
    alike = data.assign(gradient_cosine=data.gradient_cosine * 0 + xr.DataArray(c, dims="example"))
    row = estimates.estimate(alike, config_of(data)).one("agreement.gradient", classes="all", space="vae")
    assert row["high"] == pytest.approx(interval(c[None]).high, rel=1e-6)


def test_values_of_a_sweep_are_estimated_alone_and_named(tmp_path):
    data = made_up(spaces=("pixels", "vae"), layers=(), guides=(1, 4), training=2)
    data = data.assign_coords(train_weight_decay=("training", [0.0, 1.0]))
    config = config_of(data)
    table = estimates.estimate(data, config)
    alone = estimates.estimate(data.isel(training=[1]).drop_vars("train_weight_decay"), config)
    found = table.select(train_weight_decay=1.0)
    assert [row["value"] for row in found] == [row["value"] for row in alone] and len(table) == 2 * len(alone)
    at = {"space": "pixels", "start": "image", "objective": "mean", "reference": None, "distance": None}
    many, few = (alone.one("confidence.guided_held_out", guides=k, **at).text(digits=2) for k in (4, 1))
    text = estimates.headline(table, config)
    assert f"{many} instead of {few} in pixels (a paired difference of " in text and text.endswith("at weight decay 1.")
    assert " at weight decay 0; " in text and len(estimates.checks(data, table, config)) == 3
    found, absent = figures.draw(FIGURES[:3], (estimates.derive(data), table), tmp_path)
    assert absent == [] and [one.spec.name for one in found] == ["sweep", "guided", "guided_pictures"]
    with mpl.rc_context(style.RC):
        panels = drawing.sweep(data, table).axes
    assert [label.get_text() for label in panels[0].get_yticklabels()] == ["weight decay 0", "weight decay 1"]
    dots = [float(line.get_xdata()[0]) for line in panels[0].lines if line.get_marker() == "o"]
    wanted = [row["value"] for k in (1, 4) for row in table.select("confidence.guided_held_out", guides=k, **at)]
    assert dots == pytest.approx(wanted)


def test_zeros_are_one_start_however_often_they_are_ascended_from(data, table, few):
    """Copies would pass for a sample: of them the first alone counts, and too few for an interval."""
    wanted = few.ascent_moved.sel(space="vae", start="zeros").isel(ascent_example=0).mean()
    few.ascent_moved.loc[{"start": "zeros"}][..., 1:, :] = 100.0
    zeros = estimates.estimate(few, config_of(few)).one("distance.ascended", space="vae", start="zeros")
    assert zeros["value"] == pytest.approx(float(wanted)) and zeros["examples"] == 1 and zeros["low"] is None
    image = table.one("distance.ascended", space="vae", start="image")
    assert image["generalises_to"] == "both" and image["low"] < image["value"] < image["high"]
    assert {row["population"] for row in table.select("distance.ascended")} == {"ascended", "synthesised"}
    assert table.one("distance.ascended", space="conv3", start="image")["unit"] == "unit of the layer"
    assert not table.select("confidence.ascended_held_out", space="conv3")


def test_guided_ascents_are_of_held_out_classifiers_and_starts_given_their_guides(data, table):
    held_out = data.guided_held_out.sel(space="pixels").isel(training=0, guided_step=-1)
    at = {"space": "pixels", "start": "noise", "objective": "agreeing", "guides": 2, "reference": None}
    row = table.one("confidence.guided_held_out", distance=None, given="these guides", **at)
    chosen = held_out.sel(start="noise", objective="agreeing", guides=2)
    assert row["value"] == pytest.approx(float(chosen.mean()), rel=1e-6)
    assert (row["members"], row["examples"], row["population"]) == (4, 6, "synthesised")
    zeros = table.one("confidence.guided_held_out", **at | {"start": "zeros"}, distance=None, given="these guides")
    wanted = held_out.sel(start="zeros", objective="agreeing", guides=2).isel(guided_example=slice(3)).mean()
    assert zeros["value"] == pytest.approx(float(wanted), rel=1e-6) and zeros["examples"] == 3
    mean = held_out.sel(start="image", objective="mean")
    gain = table.one("confidence.guided_held_out", space="pixels", start="image", reference="1 guide")
    assert gain["value"] == pytest.approx(float((mean.sel(guides=4) - mean.sel(guides=1)).mean()), rel=1e-5)
    assert gain["guides"] == 4 and gain["objective"] == "mean"


def test_objectives_are_compared_at_one_distance_where_both_get_there():
    """Agreeing ascents of every other start stay near: the comparison takes the others."""
    data = made_up(spaces=("pixels", "vae"), layers=(), guides=(1, 4), guided_example=12)
    data["guided_target"] = ("guided_example", np.arange(12) % 3)
    plain = data.guided_held_out_there.sel(objective="mean", drop=True)
    data["guided_held_out_there"] = xr.concat([plain, plain + 0.05], data.objective).transpose(
        *data.guided_held_out_there.dims
    )
    here = {"objective": "agreeing", "start": "image"}
    data.guided_reached.loc[here][..., ::2] = 0
    data["guided_held_out_there"] = data.guided_held_out_there * data.guided_reached
    at = {"space": "pixels", "guides": 4, "start": "image", "objective": "agreeing"}
    found = estimates.estimate(data, config_of(data))
    assert found.one("path.reached_distance", **at)["value"] == 0.5
    less = found.one("confidence.guided_held_out", reference="mean", **at)
    assert less["value"] == pytest.approx(0.05, rel=1e-5) and (less["examples"], less["distance"]) == (6, 1.5)
    data.guided_reached.loc[here][..., :9] = 0
    found = estimates.estimate(data, config_of(data))
    assert found.get("confidence.guided_held_out", reference="mean", **at) is None  # too few


def test_the_headline_says_what_more_guides_do(few):
    held_out = 0.1 * few.guided_held_out
    few["guided_held_out"] = (held_out + xr.DataArray([0.1, 0.4], dims="guides")).transpose(*held_out.dims)
    table = estimates.estimate(few, config_of(few))
    text = estimates.headline(table, config_of(few))
    assert "With 4 guides instead of 1, classifiers that took no part give it a probability of 0.4" in text
    gain = {"reference": "1 guide", "space": "pixels", "start": "image", "objective": "mean", "distance": None}
    more = table.one("confidence.guided_held_out", **gain).text(digits=2)
    assert f" in pixels (a paired difference of {more}), and of" in text and more.startswith("0.3")
    assert " instead of 0.1" in text and text.endswith("So more guides help in both.")
    few["guided_held_out"] = held_out + 0.5
    text = estimates.headline(estimates.estimate(few, config_of(few)), config_of(few))
    assert text.endswith("More guides do not clearly help.")


def test_checks_can_fail(data, table):
    risen = data.copy(deep=True)
    risen["ascent_value"] = risen.ascent_value + 10.0 * risen.step
    risen["pushed_to_step"] = risen.pushed_to_step * 0 + xr.DataArray([0.99, 0.9, 0.5], dims="step_length")
    passed = {c.name: c.passed for c in estimates.checks(risen, table, config_of(data))}
    assert all(passed.values()) and set(passed) >= {"ascent.conv3", "push_forward.vae"}
    risen["pushed_to_step"] = risen.pushed_to_step * 0.5
    risen["ascent_value"] = -risen.ascent_value
    passed = {c.name: c.passed for c in estimates.checks(risen, table, config_of(data))}
    assert not any(passed.values()) and "push_forward.vq" not in passed  # codes do not follow small steps


# ---- figures ----


def drawn(data, table, directory):
    """Names of the figures that could not be drawn, and why."""
    _, absent = figures.draw(FIGURES, (estimates.derive(data), table), directory)
    return {figure.spec.name: figure.reason for figure in absent}


@pytest.mark.slow
def test_all_figures_are_written(data, table, tmp_path):
    assert drawn(data, table, tmp_path) == {}
    names = {path.name for path in tmp_path.iterdir() if path.stat().st_size > 2000}
    assert {"guided.svg", "guided_column.svg", "guided.pdf", "guided.csv", "maps.png", "ascent_target.png"} <= names


def test_all_figures_are_drawn_and_the_csv_is_the_table(data, table, tmp_path, unsaved):
    assert drawn(data, table, tmp_path) == {}
    with (tmp_path / "guided.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 2 * 3 * 3 * 5  # by whom, spaces, starts, numbers of guides, steps
    for row in rows:
        name = "confidence.guided_held_out_along" if row["by"] == "held_out" else "confidence.guided_along"
        at = {"space": row["space"], "start": row["start"], "guides": int(row["guides"])}
        assert float(row["value"]) == table.one(name, guided_step=int(row["step"]), **at)["value"]


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param(
            {"spaces": ("pixels", "vae"), "layers": (), "width": 14, "height": 4, "channel": 3}, marks=pytest.mark.slow
        ),
        {"member": 1, "held_out": 1, "ascent_example": 1, "guided_example": 1, "guided_shown": 1, "shown": 1,
         "layers": (), "guides": (1,)},
        pytest.param({"spaces": ("pixels", "unheard_of", "fsq"), "height": 14, "width": 4, "class": 100, "frame": 1,
                      "step": 1}, marks=pytest.mark.slow),
    ],
    ids=["colour", "one of everything", "tall images of many classes"],
)  # fmt: skip
def test_other_shapes_are_drawn(tmp_path, changes):
    data = made_up(**changes)
    absent = drawn(data, estimates.estimate(data, config_of(data)), tmp_path)
    assert set(absent) <= ({"agreement"} if changes.get("member") == 1 else set())
    assert all(path.stat().st_size > 2000 for path in tmp_path.iterdir() if path.suffix != ".csv")


def test_what_is_missing_is_named(data, table, tmp_path, unsaved):
    derived = estimates.derive(data)
    every = [name for name in data.data_vars if "space" in data[name].dims]
    _, absent = figures.draw(FIGURES, (derived.drop_vars(every), Table()), tmp_path)
    assert len(absent) == len(FIGURES) - 2 and all("arrays.nc has no" in one.reason for one in absent)
    _, absent = figures.draw(FIGURES, (derived, Table()), tmp_path)
    kept = {"sweep", "guided_pictures", "maps", "ascent_target", "ascent_sample"}  # of the dataset alone, or of a sweep
    assert {one.spec.name for one in absent} == {f.name for f in FIGURES} - kept


def test_panels_of_the_main_figure_hold_a_solid_and_a_dashed_line_for_each_number_of_guides(data, table):
    with mpl.rc_context(style.RC):
        panels = drawing.guided(data, table).axes
    assert len(panels) == 2 * 3
    held_out = estimates.derive(data).guided_held_out.sel(space="vae", start="image", objective="mean").isel(training=0)
    solid, dashed = panels[3].lines[:3], panels[3].lines[3:]
    for k, (line, own) in enumerate(zip(solid, dashed, strict=True)):
        wanted = held_out.isel(guides=k).mean(["held_out", "guided_example"])
        np.testing.assert_allclose(line.get_ydata(), wanted, rtol=1e-6)
        assert line.get_linestyle() == "-" and own.get_linestyle() == "--" and line.get_color() == own.get_color()


def test_numbers_under_pictures_are_those_of_the_pictures(data, monkeypatch):
    seen, first = [], data.isel(training=0, drop=True)
    monkeypatch.setattr(drawing, "image_grid", lambda image_rows, **how: seen.extend(image_rows))
    drawing.guided_pictures(first, Table())
    row = seen[3]  # the first start of noise: after three of images
    assert row.name.startswith("noise → ") and len(row.images) == 5 and len(seen) == 2 * 6
    at = {"space": "pixels", "start": "noise", "guides": 4, "objective": "agreeing"}
    np.testing.assert_allclose(row.images[4], data.picture_guided.sel(at).isel(guided_shown=0), rtol=1e-6)
    after = first.guided_held_out.sel(at).isel(guided_step=-1, guided_example=0)
    assert row.texts[4] == f"{float(after.mean()):.2f}"
    seen.clear()
    monkeypatch.setattr(drawing, "note", lambda *args, **how: None)
    drawing.courses(first, Table())
    one = first.ascent_held_out.sel(space="pixels", start="image").isel({"member": 0, "ascent_example": 0, "class": 1})
    assert seen[0].texts[-1] == f"{float(one):.2f}" and seen[0].texts[0] == ""
    layer = first.ascent_probability.sel(space="conv3", start="image")
    own = float(layer.isel({"member": 0, "ascent_example": 0, "class": 1}))  # the guide's own
    assert seen[3 * 6].texts[-1] == f"{own:.2f}"


def test_changes_are_the_end_less_the_start(data, monkeypatch):
    seen = []
    monkeypatch.setattr(drawing, "coloured", lambda changes: (seen.append(changes), (list(changes), ""))[1])
    with mpl.rc_context(style.RC):
        drawing.every_class(data.isel(training=0, drop=True), Table())
    assert len(seen) == 2 * 3  # image and noise, in three spaces
    here = {"space": "vae", "start": "noise"}
    begun = data.picture_course.sel(here).isel(ascent_example=0, frame=0)
    np.testing.assert_allclose(seen[3], data.picture_end.sel(here).astype(float) - begun.astype(float), rtol=1e-6)


def test_maps_say_what_the_gradient_of_each_family_is(data):
    names = [name.replace("\n", " ") for name, *_ in drawing.rows_of(data)]
    smooth = ["SmoothGrad σ = 0.1", "SmoothGrad σ = 0.3"]
    assert names == ["pixels", *smooth, "vae push-forward", "vq straight-through"]


def test_frames_and_texts_of_an_image_grid_are_where_it_says():
    black, white = (np.full((2, 2, 1), value) for value in (0.0, 1.0))
    row = image_grid.ImageRow(
        "row", "#222222", [black, white], 0.2, ("under", ""), ("", "#00ff00"), "right", ((0, 1, "over both"),)
    )
    with mpl.rc_context(style.RC):
        figure = image_grid.image_grid([row], width=3.0)
    canvas = np.asarray(figure.axes[0].get_images()[0].get_array())
    green = (canvas[..., 1] == 1) & (canvas[..., 0] == 0)
    assert green.any() and not green[:, : canvas.shape[1] // 2 - image_grid.FRAME].any()
    assert canvas[canvas.shape[0] // 2, -image_grid.FRAME - 1, 0] == 1 and green[canvas.shape[0] // 2, -1]
    places = {text.get_text(): text.get_position() for text in figure.texts}
    assert places["over both"][1] > places["row"][1] > places["under"][1]
    assert places["row"][0] < places["under"][0] < places["over both"][0] < places["right"][0]


def test_the_report_says_how_many_guide_and_are_held_out(data):
    facts = page.facts(data.assign_attrs(stages="{}"), ConfigDict({"data": {"name": "digits"}, "smoke": False}))
    assert ("classifiers", "4 guides, 4 held out") in facts and ("images started from", "6") in facts
